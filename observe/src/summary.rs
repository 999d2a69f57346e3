// SPDX-License-Identifier: Apache-2.0
//! What a command did, path by path: a [`Sink`] that keeps one [`Touch`] for each path. Knows no processes: all of
//! the command's are one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use foldhash::HashSet;

use crate::Pid;
use crate::event::{Access, Event, Kind, Place, Role, Sink, Transfer};
use crate::linked::Linked;
use crate::tracee::without_ways_back;

/// What can be done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Opened for reading, or read by the kernel to execute a program.
    Read,
    /// Executed, as a program or as the interpreter of a script.
    Executed,
    /// Asked for (stat, access, readlink, chdir, …) and there.
    Found,
    /// Asked for and not there.
    Missing,
    /// Asked for and not allowed.
    Denied,
    /// A directory whose entries were read.
    Listed,
    /// Opened for writing, or truncated.
    Written,
    /// Made: it was not there just before.
    Created,
    /// Its name was removed.
    Removed,
    /// It was renamed to something else.
    MovedAway,
    /// Something else was renamed to it.
    MovedHere,
    /// It was given another name (a hard link).
    Linked,
    /// Its mode, owner, times or extended attributes were changed.
    Attributes,
}

/// All that was done to one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    uses: u16,
    /// What was done first.
    pub first: Use,
    /// The command depends on what this path held before it started: it was read, executed, updated in place, renamed or linked,
    /// and was not of the command's own making.
    pub input: bool,
    /// Was there anything before the command changed it? Not always known.
    pub existed: Option<bool>,
    /// Could the command tell whether there was? Not if it opened it to write it anew, or renamed something to it.
    pub noticed: bool,
    /// A device, a pipe or a socket.
    pub special: bool,
    /// The path with all links resolved, where it differs and is known: of what was opened, executed or changed.
    pub real: Option<PathBuf>,
}

impl Touch {
    fn new(first: Use) -> Self {
        Self { uses: 0, first, input: false, existed: None, noticed: false, special: false, real: None }
    }

    /// Was this done to it?
    #[must_use]
    pub fn has(&self, what: Use) -> bool {
        self.uses & bit(what) != 0
    }
}

const fn bit(what: Use) -> u16 {
    1 << what as u16
}

/// What a command did to the file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touches {
    /// By their bytes, which are compared faster than their components.
    paths: BTreeMap<OsString, Touch>,
    /// Renames and hard links in their order: old name, new name.
    pub transfers: Vec<(Transfer, PathBuf, PathBuf)>,
    /// A socket was opened that is not of this machine only.
    pub network: bool,
    /// It opened memory, messages or semaphores that others may have open.
    pub shares: bool,
    /// Its paths may lead elsewhere than ours: it took another root, other mounts or namespaces.
    pub remounted: bool,
    /// 32-bit or x32 system calls were made: there may be touches that are not listed.
    pub foreign: bool,
    /// How many calls named a path that could not be read: as many touches may not be listed.
    pub gaps: u64,
    /// What the command made, or unmade; what is below is its own too. With links resolved, and as named.
    own: HashSet<OsString>,
    /// Symbolic links that it made, as named, and what each leads to.
    links: BTreeMap<PathBuf, PathBuf>,
    /// Hard links that it made.
    linked: Linked,
}

impl Touches {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All paths, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &Touch)> {
        self.paths.iter().map(|(path, touch)| (Path::new(path), touch))
    }

    /// What was done to a path, as it was named.
    #[must_use]
    pub fn get(&self, path: impl AsRef<Path>) -> Option<&Touch> {
        self.paths.get(path.as_ref().as_os_str())
    }

    /// What the command depends on: files that it read, executed or changed in place and that were there before it.
    pub fn inputs(&self) -> impl Iterator<Item = (&Path, &Touch)> {
        self.iter().filter(|(_, touch)| touch.input)
    }

    /// What the command asked for before it made anything of that name, in vain.
    pub fn missing(&self) -> impl Iterator<Item = &Path> {
        self.with(Use::Missing).filter(|(_, touch)| touch.existed == Some(false)).map(|(path, _)| path)
    }

    /// What was there before the command and what it asked for, without depending on its content.
    pub fn looked_up(&self) -> impl Iterator<Item = &Path> {
        self.with(Use::Found).filter(|(_, t)| !t.input && t.existed != Some(false)).map(|(path, _)| path)
    }

    /// The paths to which this was done.
    pub fn with(&self, what: Use) -> impl Iterator<Item = (&Path, &Touch)> {
        self.iter().filter(move |(_, touch)| touch.has(what))
    }

    /// Two paths at which it left one file, having linked one to the other.
    #[must_use]
    pub fn one_file(&self) -> Option<[&Path; 2]> {
        self.linked.shared()
    }

    fn touch(&mut self, path: PathBuf, what: Use) -> &mut Touch {
        let touch = self.paths.entry(path.into_os_string()).or_insert_with(|| Touch::new(what));
        touch.uses |= bit(what);
        touch
    }

    /// Is this, or a directory that it is in, of the command's own making?
    fn is_own(&self, path: &Path) -> bool {
        if self.own.is_empty() {
            return false;
        }
        let path = path.as_os_str().as_bytes();
        let ends = path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        ends.chain([path.len()]).any(|end| self.own.contains(OsStr::from_bytes(&path[..end])))
    }

    /// Where a path leads that a link of the command's own is in: when the command has ended nobody can tell any more.
    fn behind(&self, path: &Path) -> Option<PathBuf> {
        /// As many as the kernel follows.
        const MANY: usize = 40;
        let mut found: Option<PathBuf> = None;
        for _ in 0..MANY {
            let path = found.as_deref().unwrap_or(path);
            let lead = |part| Some((self.links.get(part)?, path.strip_prefix(part).ok()?));
            let Some((target, rest)) = path.ancestors().find_map(lead) else { return found };
            found = Some(if rest.as_os_str().is_empty() { target.clone() } else { target.join(rest) });
        }
        None
    }

    /// The same for a name that stands for itself, be it a link's.
    fn name_behind(&self, path: &Path) -> Option<PathBuf> {
        Some(self.behind(path.parent()?)?.join(path.file_name()?))
    }

    /// What an event comes to behind links of the command's own. Who asks for a link, or changes it, need not mean where it leads.
    fn event_behind(&self, event: &Event) -> Option<Event> {
        let place = |place: &Place| Some(Place::new(self.behind(&place.named)?, place.real.clone()));
        let name = |place: &Place| Some(Place::new(self.name_behind(&place.named)?, place.real.clone()));
        Some(match event {
            Event::Opened(at, kind, access) => Event::Opened(place(at)?, *kind, *access),
            Event::Executed(at, role) => Event::Executed(place(at)?, *role),
            Event::Listed(path) => Event::Listed(self.behind(path)?),
            Event::Found(path) => Event::Found(self.name_behind(path)?),
            Event::Missing(path) => Event::Missing(self.name_behind(path)?),
            Event::Denied(path) => Event::Denied(self.name_behind(path)?),
            Event::Attributes(path) => Event::Attributes(self.name_behind(path)?),
            Event::Made(at) => Event::Made(name(at)?),
            Event::Symlinked(at, target) => Event::Symlinked(name(at)?, target.clone()),
            Event::Removed(at) => Event::Removed(name(at)?),
            Event::Transferred(how, from, to) => {
                let ends = (name(from), name(to));
                if let (None, None) = ends {
                    return None;
                }
                let or = |end: Option<Place>, place: &Place| end.unwrap_or_else(|| place.clone());
                Event::Transferred(*how, or(ends.0, from), or(ends.1, to))
            }
            _ => return None,
        })
    }

    /// A link of the command's own was made, or is gone.
    fn note_link(&mut self, event: &Event) {
        match event {
            Event::Symlinked(place, target) => {
                let directory = place.named.parent().unwrap_or(Path::new("/"));
                self.links.insert(place.named.clone(), self.led(directory, target));
            }
            Event::Removed(place) => drop(self.links.remove(&place.named)),
            Event::Transferred(how, from, to) => {
                let [moved, there] = [from, to].map(|place| self.links.remove(&place.named));
                let left = match how {
                    Transfer::Link => moved.clone(),
                    Transfer::Exchange => there,
                    Transfer::Rename | Transfer::RenameToNew => None,
                };
                self.links.extend(left.map(|target| (from.named.clone(), target)));
                self.links.extend(moved.map(|target| (to.named.clone(), target)));
            }
            _ => {}
        }
    }

    /// Where a link in this directory leads. Out of a directory of the command's own `..` leads to where that is in, and the directory
    /// may be gone when somebody looks.
    fn led(&self, directory: &Path, target: &Path) -> PathBuf {
        let is_own = |way: &Path| self.own.contains(way.as_os_str()) && !self.links.contains_key(way);
        without_ways_back(directory.to_path_buf(), target, is_own)
    }

    fn make_own(&mut self, place: &Place) {
        self.own.insert(place.named.clone().into_os_string());
        self.own.extend(place.real.clone().map(PathBuf::into_os_string));
    }

    /// Something was done to a path, which tells whether it was there.
    fn note(&mut self, path: PathBuf, what: Use, exists: bool) {
        let own = self.is_own(&path);
        let touch = self.touch(path, what);
        if !own {
            touch.existed.get_or_insert(exists);
            touch.noticed = true;
        }
    }

    /// The content of a place mattered.
    fn depend(&mut self, place: Place, what: Use) {
        let own = self.is_own(place.real());
        let Place { named, real } = place;
        let touch = self.touch(named, what);
        touch.real = real;
        if !own {
            touch.input = true;
            touch.existed.get_or_insert(true);
        }
    }

    /// A place was changed.
    fn change(&mut self, place: &Place, what: Use, existed: Option<bool>) {
        let own = self.is_own(place.real());
        let touch = self.touch(place.named.clone(), what);
        touch.real.clone_from(&place.real);
        if !own && touch.existed.is_none() {
            touch.existed = existed;
        }
        self.make_own(place);
    }

    /// The same by a call that does something else, or nothing, where there is something else.
    fn change_noticing(&mut self, place: &Place, what: Use, existed: bool) {
        let own = self.is_own(place.real());
        self.touch(place.named.clone(), what).noticed |= !own;
        self.change(place, what, Some(existed));
    }

    fn opened(&mut self, place: Place, access: Access) {
        if access.created && !access.emptied {
            self.change_noticing(&place, Use::Created, false);
        } else if access.created {
            self.change(&place, Use::Created, Some(false));
        }
        if access.writes && (access.created || access.emptied) {
            self.change(&place, Use::Written, Some(true));
        }
        if access.writes && !access.created && !access.emptied {
            if access.reads {
                self.depend(place.clone(), Use::Read);
            }
            // What is not overwritten stays: the result depends on what was there.
            self.depend(place.clone(), Use::Written);
            self.make_own(&place);
        } else if access.reads {
            self.depend(place, Use::Read);
        }
    }

    fn transferred(&mut self, how: Transfer, from: &Place, to: &Place) {
        match how {
            Transfer::Rename | Transfer::RenameToNew => {
                self.linked.rename(from.real(), to.real());
                self.depend(from.clone(), Use::MovedAway);
                if how == Transfer::RenameToNew {
                    self.change_noticing(to, Use::MovedHere, false);
                } else {
                    self.change(to, Use::MovedHere, None);
                }
                self.make_own(from);
            }
            Transfer::Exchange => {
                for place in [from, to] {
                    self.depend(place.clone(), Use::MovedAway);
                    self.depend(place.clone(), Use::MovedHere);
                }
                self.make_own(from);
                self.make_own(to);
            }
            Transfer::Link => {
                self.linked.link(from.real(), to.real());
                self.depend(from.clone(), Use::Linked);
                self.change_noticing(to, Use::Created, false);
            }
        }
        self.transfers.push((how, from.named.clone(), to.named.clone()));
    }
}

impl Sink for Touches {
    fn event(&mut self, _: Pid, mut event: Event) {
        if !self.links.is_empty()
            && let Some(behind) = self.event_behind(&event)
        {
            // All that is the command's own is a link. Of what is changed behind one, nothing is left to be said under the
            // other name; of what is opened by it that it was, and of what is looked for in vain that it was looked for.
            match &mut event {
                Event::Opened(place, ..) | Event::Executed(place, _)
                    if self.name_behind(&place.named).is_none() =>
                {
                    place.real = None;
                    self.take(behind);
                }
                Event::Missing(_) | Event::Denied(_) => self.take(behind),
                _ => event = behind,
            }
        }
        self.note_link(&event);
        self.take(event);
    }
}

impl Touches {
    fn take(&mut self, event: Event) {
        match event {
            Event::Opened(place, Kind::File, access) => self.opened(place, access),
            Event::Opened(place, Kind::Directory, _) => self.note(place.named, Use::Found, true),
            Event::Opened(place, Kind::Special, access) => {
                for (done, what) in [(access.reads, Use::Read), (access.writes, Use::Written)] {
                    if done {
                        self.note(place.named.clone(), what, true);
                        self.touch(place.named.clone(), what).special = true;
                    }
                }
            }
            Event::Executed(place, role) => {
                if role != Role::Loader {
                    self.depend(place.clone(), Use::Executed);
                }
                self.depend(place, Use::Read);
            }
            Event::Found(path) => self.note(path, Use::Found, true),
            Event::Missing(path) => self.note(path, Use::Missing, false),
            Event::Denied(path) => drop(self.touch(path, Use::Denied)),
            Event::Listed(path) => self.note(path, Use::Listed, true),
            Event::Made(place) | Event::Symlinked(place, _) => {
                self.change_noticing(&place, Use::Created, false)
            }
            Event::Transferred(how, from, to) => self.transferred(how, &from, &to),
            Event::Removed(place) => {
                self.linked.remove(place.real());
                self.change_noticing(&place, Use::Removed, true);
            }
            Event::Attributes(path) => self.note(path, Use::Attributes, true),
            Event::Network => self.network = true,
            Event::Remounted => self.remounted = true,
            Event::Shares => self.shares = true,
            Event::Foreign => self.foreign = true,
            Event::Gap => self.gaps += 1,
            Event::Forked(_) | Event::Ended(_) | Event::Moved | Event::Traces => {}
            Event::Input(_) | Event::Printed(..) => {}
        }
    }
}
