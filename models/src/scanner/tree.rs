// SPDX-License-Identifier: Apache-2.0
//! Directories and files as far as they were asked about: which names exist, and what the files contain.
//! Unaware of search paths.
//!
//! Files come and go while a build runs. Each scan has an epoch, and nothing that was checked in an earlier one is
//! believed; nor is in this scan what was checked before it, where a name on the way is [doubted](super::doubts): a directory is looked at once per epoch, and if its stamp is no longer the same, every name
//! that was missing in it is asked for again. (A listing would be dearer: in an in-tree build each compile
//! adds an object file to a directory of thousands.) Only when an answer really changes does the directory's
//! `changed_at` move on, and with it what was concluded from the old answer is void.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::directives::{self, NameId, Names, Parsed, name_id};
use super::disk::{Files, Kind, Stamp};
use super::doubts::{Doubted, Doubts};
use super::exact::{Script, Texts, script};
use super::intern::{Fast, Table, hash};
use super::{Included, Mark};

/// Number of a directory.
pub(super) type DirId = u32;
/// Number of a file.
pub(super) type FileId = u32;

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// Nothing.
    Absent,
    /// A regular file. That it still is one shows when the file itself is checked.
    File,
    /// A regular file through a symbolic link.
    Linked,
    /// A directory or another thing that cannot be included.
    Other,
    /// A symbolic link to no regular file: that can change without a trace in this directory.
    Loose,
}

/// Stands for a time in which nothing is known to have changed: see [`Tree::calm`].
pub(super) type Calm = u64;

/// The time of who knows of none. Nothing is ever beyond doubt in it.
pub(super) const NO_CALM: Calm = 0;

pub(super) struct Dir {
    /// Absolute, without `.` and (almost always) without `..`.
    pub path: Arc<Path>,
    /// The components of the path.
    names: Box<[NameId]>,
    /// For a directory below another one that is searched: where that says "absent", nobody needs to look.
    parent: Option<(DirId, NameId)>,
    fixed: bool,
    verified: AtomicU64,
    /// When it was beyond doubt last.
    calm: AtomicU64,
    changed_at: AtomicU64,
    state: Mutex<DirState>,
}

#[derive(Default)]
struct DirState {
    /// Of the directory, if it exists.
    stamp: Option<Stamp>,
    /// The stamp was too young to be relied on.
    young: bool,
    slots: HashMap<NameId, Slot, Fast>,
    loose: bool,
    /// Links lead there: names do not tell what changes on the way.
    winding: bool,
}

pub(super) struct File {
    pub path: Arc<Path>,
    pub dir: DirId,
    name: NameId,
    fixed: bool,
    assembler: bool,
    linked: AtomicBool,
    verified: AtomicU64,
    /// When it was beyond doubt last.
    calm: AtomicU64,
    state: Mutex<FileState>,
}

#[derive(Default)]
struct FileState {
    stamp: Option<Stamp>,
    /// What scans are told of the file with this stamp, once one was.
    included: Option<Arc<Included>>,
    parsed: Option<(Stamp, Arc<Parsed>)>,
    /// What the preprocessor does with a text that it was given: perhaps not this one any more.
    script: Option<Arc<Script>>,
    /// The text was read when its stamp was too young to be relied on.
    young: bool,
}

impl FileState {
    fn set(&mut self, stamp: Option<Stamp>) {
        if stamp != self.stamp {
            self.stamp = stamp;
            self.included = None;
        }
    }
}

/// All directories and files known so far.
pub(super) struct Tree {
    pub names: Names,
    pub texts: Texts,
    dirs: Table<Arc<Path>, Dir>,
    files: Table<(DirId, NameId), File>,
    contents: Mutex<HashMap<Stamp, Arc<Parsed>, Fast>>,
    pub doubts: Doubts,
    /// The number of the newest change.
    changes: AtomicU64,
    /// The newest calm, and what it rests on.
    calm: Mutex<(Calm, [u64; 3])>,
    weight: AtomicUsize,
}

/// One scan's view: what was checked in this epoch or later is believed; where there are doubts, what this scan or a later one checked.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub tree: &'a Tree,
    pub files: &'a dyn Files,
    pub epoch: u64,
    /// This scan's own number.
    pub scan: u64,
    pub doubted: &'a Doubted,
    pub calm: Calm,
}

/// What an answer rests on.
#[derive(Default)]
pub(super) struct Trail {
    /// Directories whose names were asked for.
    pub watch: Vec<DirId>,
    /// Directories left again by `..`, which must exist.
    pub through: Vec<DirId>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tree {
    pub fn new() -> Self {
        Self {
            names: Table::new(),
            texts: Texts::new(),
            dirs: Table::new(),
            files: Table::new(),
            contents: Mutex::default(),
            doubts: Doubts::default(),
            changes: AtomicU64::new(1),
            calm: Mutex::new((NO_CALM, [0; 3])),
            weight: AtomicUsize::new(0),
        }
    }

    /// About how many bytes all this takes.
    pub fn weight(&self) -> usize {
        let entries =
            self.names.len() as usize * 96 + self.dirs.len() as usize * 320 + self.files.len() as usize * 320;
        let entries = entries + self.texts.len() as usize * 112;
        entries + self.weight.load(SeqCst)
    }

    pub fn add_weight(&self, bytes: usize) {
        self.weight.fetch_add(bytes, SeqCst);
    }

    /// The number of the newest change: what is concluded now holds until a directory changes later than this.
    pub fn now(&self) -> u64 {
        self.changes.load(SeqCst)
    }

    pub fn dir(&self, id: DirId) -> &Dir {
        self.dirs.get(id)
    }

    pub fn file(&self, id: FileId) -> &File {
        self.files.get(id)
    }

    /// How many directories there are.
    pub fn dir_count(&self) -> DirId {
        self.dirs.len()
    }

    /// Has this directory been asked for this name?
    pub fn knows(&self, dir: DirId, name: NameId) -> bool {
        locked(&self.dir(dir).state).slots.contains_key(&name)
    }

    pub fn changed_at(&self, dir: DirId) -> u64 {
        self.dir(dir).changed_at.load(SeqCst)
    }

    /// The calm of a scan: the same as the one before if since then no other name came into doubt, no directory gave another answer, and
    /// what was looked at as long ago is still believed.
    pub fn calm(&self, doubted: &Doubted, epoch: u64) -> Calm {
        let rests_on = [doubted.version, epoch, self.now()];
        let mut known = locked(&self.calm);
        if known.0 == NO_CALM || known.1 != rests_on {
            *known = (known.0 + 1, rests_on);
        }
        known.0
    }

    /// Counts a change.
    pub fn next_change(&self) -> u64 {
        self.changes.fetch_add(1, SeqCst) + 1
    }

    fn touch(&self, dir: &Dir) {
        dir.changed_at.store(self.next_change(), SeqCst);
    }
}

impl View<'_> {
    /// The number of a directory by its path, which has no `..`.
    fn dir_of(&self, path: &Path, parent: Option<(DirId, NameId)>) -> DirId {
        self.tree.dirs.intern(path, || {
            let path: Arc<Path> = path.into();
            let parts = path.as_os_str().as_bytes().split(|&c| c == b'/').filter(|part| !part.is_empty());
            let dir = Dir {
                names: parts.map(|part| name_id(&self.tree.names, part)).collect(),
                path: path.clone(),
                parent,
                fixed: self.files.fixed(&path),
                verified: AtomicU64::new(0),
                calm: AtomicU64::new(NO_CALM),
                changed_at: AtomicU64::new(0),
                state: Mutex::default(),
            };
            (path, dir)
        })
    }

    /// The number of the file with this name (without `/`) in a directory.
    pub fn file_of(&self, dir: DirId, name: NameId) -> FileId {
        self.tree.files.intern(&(dir, name), || {
            let (parent, text) = (self.tree.dir(dir), self.tree.names.get(name));
            let path: Arc<Path> = parent.path.join(OsStr::from_bytes(text)).into();
            let extension = path.extension().map(OsStrExt::as_bytes);
            let file = File {
                dir,
                name,
                fixed: parent.fixed,
                assembler: matches!(extension, Some(b"s" | b"S" | b"sx" | b"asm")),
                path,
                linked: AtomicBool::new(false),
                verified: AtomicU64::new(0),
                calm: AtomicU64::new(NO_CALM),
                state: Mutex::default(),
            };
            ((dir, name), file)
        })
    }

    /// The directory at an absolute path. `None` where a `..` leads nowhere.
    pub fn directory(&self, path: &[u8], trail: &mut Trail) -> Option<DirId> {
        let mut parts = path.split(|&c| c == b'/').filter(|p| !matches!(*p, b"" | b".")).peekable();
        let mut plain = vec![];
        while let Some(part) = parts.next_if(|p| *p != b"..") {
            plain.push(b'/');
            plain.extend_from_slice(part);
        }
        if plain.is_empty() {
            plain.push(b'/');
        }
        let mut dir = self.dir_of(Path::new(OsStr::from_bytes(&plain)), None);
        for part in parts {
            dir = self.step(dir, part, trail)?;
        }
        Some(dir)
    }

    /// From a directory to one beside or below it.
    fn step(&self, dir: DirId, part: &[u8], trail: &mut Trail) -> Option<DirId> {
        let here = self.tree.dir(dir);
        if part != b".." {
            let name = name_id(&self.tree.names, part);
            return Some(self.dir_of(&here.path.join(OsStr::from_bytes(part)), Some((dir, name))));
        }
        trail.watch.push(dir);
        if !self.exists(dir) {
            return None;
        }
        trail.through.push(dir);
        // The directory above a link's target is not the one that holds the link. Left as it is written.
        let link = self.files.look(&here.path, false).is_some_and(|(kind, _)| kind == Kind::Link);
        Some(match here.path.parent() {
            Some(_) if link || here.path.ends_with("..") => self.dir_of(&here.path.join(".."), None),
            Some(parent) => self.dir_of(parent, None),
            None => dir,
        })
    }

    /// The file that `name`, seen from a directory, names; if it is a regular file. Absolute names have their own start.
    pub fn find(&self, start: DirId, name: NameId, trail: &mut Trail) -> Option<FileId> {
        let (dir, last) = self.descend(start, name, trail)?;
        trail.watch.push(dir);
        match self.slot(dir, last) {
            Slot::File => Some(self.file_of(dir, last)),
            Slot::Linked => {
                let file = self.file_of(dir, last);
                self.tree.file(file).linked.store(true, SeqCst);
                Some(file)
            }
            Slot::Absent | Slot::Other | Slot::Loose => None,
        }
    }

    /// The files in the directory that `name`, seen from another directory, names; if it is one.
    pub fn files_in(&self, start: DirId, name: NameId, trail: &mut Trail) -> Vec<FileId> {
        let Some((dir, last)) = self.descend(start, name, trail) else { return vec![] };
        trail.watch.push(dir);
        if matches!(self.slot(dir, last), Slot::Absent | Slot::File | Slot::Linked) {
            return vec![];
        }
        let Some(dir) = self.step(dir, self.tree.names.get(last), trail) else { return vec![] };
        trail.watch.push(dir);
        let mut names = self.files.names(&self.tree.dir(dir).path).unwrap_or_default();
        names.sort_unstable();
        let ids = names.iter().map(|n| name_id(&self.tree.names, n.as_bytes()));
        ids.filter_map(|id| self.find(dir, id, trail)).collect()
    }

    /// The directory that the last part of a name is in, and that part.
    fn descend(&self, start: DirId, name: NameId, trail: &mut Trail) -> Option<(DirId, NameId)> {
        let text = self.tree.names.get(name);
        let (mut dir, mut last) = (start, name);
        if memchr::memchr(b'/', text).is_some() {
            if text[0] == b'/' {
                dir = self.directory(b"/", trail)?;
            }
            let mut parts = text.split(|&c| c == b'/').filter(|p| !matches!(*p, b"" | b".")).peekable();
            let mut part = parts.next()?;
            while parts.peek().is_some() {
                dir = self.step(dir, part, trail)?;
                part = parts.next()?;
            }
            last = name_id(&self.tree.names, part);
        }
        let possible = !matches!(&**self.tree.names.get(last), b"" | b"." | b"..");
        possible.then_some((dir, last))
    }

    /// Is it the same directory as the other, under whatever name? `None` where there is none.
    pub fn identity(&self, dir: DirId) -> Option<(u64, u64)> {
        self.verify(dir);
        locked(&self.tree.dir(dir).state).stamp.map(|s| (s.dev, s.ino))
    }

    /// Does the directory exist?
    pub fn exists(&self, dir: DirId) -> bool {
        self.identity(dir).is_some()
    }

    fn slot(&self, id: DirId, name: NameId) -> Slot {
        self.verify(id);
        let dir = self.tree.dir(id);
        let mut state = locked(&dir.state);
        if state.stamp.is_none() {
            return Slot::Absent;
        }
        if let Some(&slot) = state.slots.get(&name) {
            return slot;
        }
        let slot = self.ask(dir, name);
        state.loose |= slot == Slot::Loose;
        state.slots.insert(name, slot);
        drop(state);
        self.tree.doubts.asked(id, name);
        self.tree.add_weight(12);
        slot
    }

    /// Asks again for a name that is doubted.
    pub fn ask_again(&self, id: DirId, name: NameId) {
        self.verify(id);
        let dir = self.tree.dir(id);
        let mut state = locked(&dir.state);
        if state.stamp.is_none() {
            return;
        }
        let Some(old) = state.slots.get(&name).copied() else { return };
        let new = self.ask(dir, name);
        if new != old {
            state.slots.insert(name, new);
            state.loose |= new == Slot::Loose;
            self.tree.touch(dir);
        }
    }

    /// Can it be that something happened to what is at this path since it was looked at?
    fn doubts(&self, dir: &Dir, state: &DirState) -> bool {
        state.winding || state.loose || dir.names.iter().any(|&name| self.doubted.has(name))
    }

    fn ask(&self, dir: &Dir, name: NameId) -> Slot {
        let path = dir.path.join(OsStr::from_bytes(self.tree.names.get(name)));
        match self.files.look(&path, false) {
            None => Slot::Absent,
            Some((Kind::File, _)) => Slot::File,
            Some((Kind::Link, _)) => match self.files.look(&path, true) {
                Some((Kind::File, _)) => Slot::Linked,
                _ => Slot::Loose,
            },
            Some(_) => Slot::Other,
        }
    }

    /// Makes sure that the directory's answers are of this epoch.
    pub fn verify(&self, id: DirId) {
        let dir = self.tree.dir(id);
        let verified = dir.verified.load(SeqCst);
        if verified >= self.scan || (dir.fixed && verified > 0) {
            return;
        }
        // Parents are locked after children, never the other way round.
        let mut state = locked(&dir.state);
        let verified = dir.verified.load(SeqCst);
        if verified >= self.scan {
            return;
        }
        if verified >= self.epoch && !self.doubts(dir, &state) {
            dir.calm.store(self.calm, SeqCst);
            dir.verified.fetch_max(self.scan, SeqCst);
            return;
        }
        let absent = dir.parent.is_some_and(|(parent, name)| self.slot(parent, name) == Slot::Absent);
        let seen = if absent { None } else { self.files.look(&dir.path, true) };
        let stamp = seen.filter(|(kind, _)| *kind == Kind::Directory).map(|(_, stamp)| stamp);
        let same = match (&stamp, &state.stamp) {
            (Some(new), Some(old)) => new.same_object(old),
            (None, None) => true,
            _ => false,
        };
        let mut changed = !same;
        if !same {
            state.slots.clear();
            state.loose = false;
        } else if stamp != state.stamp || state.young || state.loose {
            let all = stamp != state.stamp || state.young;
            let doubtful =
                |slot: Slot| slot == Slot::Loose || (all && !matches!(slot, Slot::File | Slot::Linked));
            let names: Vec<_> =
                state.slots.iter().filter(|(_, s)| doubtful(**s)).map(|(n, s)| (*n, *s)).collect();
            for (name, old) in names {
                let new = self.ask(dir, name);
                if new != old {
                    state.slots.insert(name, new);
                    state.loose |= new == Slot::Loose;
                    changed = true;
                }
            }
        }
        if !same || verified == 0 {
            state.winding = !self.files.straight(&dir.path);
        }
        state.stamp = stamp;
        state.young = stamp.is_some_and(|s| !s.settled(SystemTime::now()));
        // Nothing rests on a directory that nobody looked at before.
        if changed && verified > 0 {
            self.tree.touch(dir);
        }
        dir.verified.fetch_max(self.scan, SeqCst);
    }

    /// The state of a file in this epoch; `None` if it is no regular file any more, in which case all that
    /// was concluded from it is void.
    pub fn check(&self, id: FileId) -> Option<Arc<Included>> {
        let file = self.tree.file(id);
        let verified = file.verified.load(SeqCst);
        if verified >= self.scan || (file.fixed && verified > 0) || self.is_calm(&file.calm) {
            return self.tell(file, &mut locked(&file.state));
        }
        let doubted = verified < self.epoch || self.doubted.has(file.name) || file.linked.load(SeqCst) || {
            let dir = self.tree.dir(file.dir);
            self.doubts(dir, &locked(&dir.state))
        };
        let mut state = locked(&file.state);
        if !doubted && state.stamp.is_some_and(|stamp| !stamp.shared) {
            file.calm.store(self.calm, SeqCst);
            file.verified.fetch_max(self.scan, SeqCst);
            return self.tell(file, &mut state);
        }
        let stamp = self.files.look(&file.path, true).filter(|(k, _)| *k == Kind::File).map(|(_, s)| s);
        if stamp != state.stamp && state.stamp.is_some() {
            // Another file may have come in its place, or a link.
            let link = self.files.look(&file.path, false).is_some_and(|(kind, _)| kind == Kind::Link);
            file.linked.store(link, SeqCst);
        }
        state.set(stamp);
        let checked = self.tell(file, &mut state);
        file.verified.fetch_max(self.scan, SeqCst);
        drop(state);
        if stamp.is_none() {
            let dir = self.tree.dir(file.dir);
            let mut state = locked(&dir.state);
            state.slots.remove(&file.name);
            self.tree.touch(dir);
        }
        checked
    }

    fn is_calm(&self, since: &AtomicU64) -> bool {
        self.calm != NO_CALM && since.load(SeqCst) == self.calm
    }

    /// Has this directory been beyond doubt for as long as this scan's calm lasts?
    pub fn is_calm_directory(&self, id: DirId) -> bool {
        let dir = self.tree.dir(id);
        (dir.fixed && dir.verified.load(SeqCst) > 0) || self.is_calm(&dir.calm)
    }

    /// The directives of a file that has been beyond doubt for as long as this scan's calm lasts.
    pub fn calm_directives(&self, id: FileId) -> Option<Arc<Parsed>> {
        let file = self.tree.file(id);
        let is_fixed = file.fixed && file.verified.load(SeqCst) > 0;
        if !is_fixed && !self.is_calm(&file.calm) {
            return None;
        }
        // Who reads it may have to wait for it to be forced.
        let state = file.state.try_lock().ok()?;
        let (of, parsed) = state.parsed.as_ref()?;
        (!state.young && state.stamp == Some(*of)).then(|| Arc::clone(parsed))
    }

    /// What scans are told of a file in its present state: one and the same to all, as most are told of the same files.
    fn tell(&self, file: &File, state: &mut FileState) -> Option<Arc<Included>> {
        let stamp = state.stamp?;
        let linked = file.linked.load(SeqCst);
        if let Some(known) = state.included.as_ref().filter(|known| known.linked == linked) {
            return Some(Arc::clone(known));
        }
        let directory = self.tree.dir(file.dir).path.clone();
        let mark = state.included.as_ref().map_or_else(Mark::unique, |known| known.mark);
        let included = Arc::new(Included { path: file.path.clone(), directory, stamp, linked, mark });
        state.included = Some(Arc::clone(&included));
        Some(included)
    }

    /// The stamp of a file when it was looked at last.
    pub fn stamp(&self, id: FileId) -> Option<Stamp> {
        locked(&self.tree.file(id).state).stamp
    }

    /// What the preprocessor does with a file; `None` where it cannot be read, or changes.
    pub fn script(&self, id: FileId) -> Option<Arc<Script>> {
        self.check(id)?;
        let content = self.parsed(id).ok()?.content;
        let file = self.tree.file(id);
        let mut state = locked(&file.state);
        if let Some(known) = state.script.as_ref().filter(|known| known.content == content) {
            return Some(Arc::clone(known));
        }
        let text = self.files.read(&file.path).ok()?;
        let made = Arc::new(script(&text, &self.tree.names, &self.tree.texts));
        if made.content != content {
            return None;
        }
        self.tree.add_weight(made.weight);
        state.script = Some(Arc::clone(&made));
        Some(made)
    }

    /// The directives of a file; after [`check`](Self::check).
    pub fn parsed(&self, id: FileId) -> io::Result<Arc<Parsed>> {
        let file = self.tree.file(id);
        let mut state = locked(&file.state);
        if let (Some(stamp), Some((of, parsed))) = (&state.stamp, &state.parsed)
            && stamp == of
            && !state.young
        {
            return Ok(parsed.clone());
        }
        // A file under several names is read once. A young stamp gets no entry there, nor does an assembler text:
        // under another name, it could be read as C.
        if let Some(stamp) = state.stamp
            && !file.assembler
            && let Some(parsed) = locked(&self.tree.contents).get(&stamp)
        {
            state.parsed = Some((stamp, parsed.clone()));
            return Ok(parsed.clone());
        }
        let text = self.files.read(&file.path)?;
        // Reading may have changed it: a placeholder was forced. And it may be written this very moment.
        let before = state.stamp;
        state.set(self.files.look(&file.path, true).filter(|(k, _)| *k == Kind::File).map(|(_, s)| s));
        state.young = state.stamp != before || state.stamp.is_none_or(|s| !s.settled(SystemTime::now()));
        let parsed = match &state.parsed {
            Some((_, old)) if old.content == hash(&text) => old.clone(),
            _ => {
                let parsed = Arc::new(directives::parse(&text, file.assembler, &self.tree.names));
                self.tree.add_weight(parsed.weight());
                parsed
            }
        };
        if let Some(stamp) = state.stamp {
            state.parsed = Some((stamp, parsed.clone()));
            if !state.young && !file.assembler {
                locked(&self.tree.contents).insert(stamp, parsed.clone());
                self.tree.add_weight(80);
            }
        }
        Ok(parsed)
    }
}
