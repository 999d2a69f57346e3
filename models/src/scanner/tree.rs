// SPDX-License-Identifier: Apache-2.0
//! Directories and files as far as they were asked about: which names exist ([`directory`]), and what the files contain ([`file`]),
//! one by one or together ([`set`]).
//! Here is how a path leads to one. Unaware of search paths.
//!
//! Files come and go while a build runs. Each scan has an epoch, and nothing that was checked in an earlier one is
//! believed; nor is in this scan what was checked before it, where a name on the way is [doubted](super::doubts): a directory is
//! looked at once per epoch, and if its stamp is no longer the same, every name that was missing in it is asked for again. (A listing
//! would be dearer: in an in-tree build each compile adds an object file to a directory of thousands.) Only when an answer really
//! changes does the directory's `changed_at` move on, and with it what was concluded from the old answer is void.

mod directory;
mod file;
mod set;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::directives::{NameId, Names, Parsed, name_id};
use super::disk::{Files, Kind, Stamp};
use super::doubts::{Doubted, Doubts};
use super::exact::Texts;
use super::intern::{Fast, Table};

pub(super) use directory::{Dir, Slot};
pub(super) use file::File;
pub(super) use set::{Set, SetId};

/// Number of a directory.
pub(super) type DirId = u32;
/// Number of a file.
pub(super) type FileId = u32;

/// Stands for a time in which nothing is known to have changed: see [`Tree::calm`].
pub(super) type Calm = u64;

/// The time of who knows of none. Nothing is ever beyond doubt in it.
pub(super) const NO_CALM: Calm = 0;

/// All directories and files known so far.
pub(super) struct Tree {
    pub names: Names,
    pub texts: Texts,
    dirs: Table<Arc<Path>, Dir>,
    files: Table<(DirId, NameId), File>,
    pub sets: Table<Arc<[FileId]>, Set>,
    contents: Mutex<HashMap<Stamp, Arc<Parsed>, Fast>>,
    pub doubts: Doubts,
    /// Which paths lead through no link.
    straight: Mutex<HashMap<PathBuf, bool, Fast>>,
    /// The number of the newest change.
    changes: AtomicU64,
    /// How often a file was another one than was looked at when it was read.
    turned: AtomicU64,
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
    /// A name is an absolute path.
    pub absolute: bool,
}

impl Trail {
    /// Adds what another answer rests on.
    pub fn extend(&mut self, other: &Self) {
        self.watch.extend_from_slice(&other.watch);
        self.through.extend_from_slice(&other.through);
        self.absolute |= other.absolute;
    }
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
            sets: Table::new(),
            contents: Mutex::default(),
            doubts: Doubts::default(),
            straight: Mutex::default(),
            changes: AtomicU64::new(1),
            turned: AtomicU64::new(0),
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

    /// How often a file was another one than was looked at when it was read. Then what scans are told of it is new, though no scan has
    /// begun since: whoever remembers what they are told of several has to ask again.
    pub fn turned(&self) -> u64 {
        self.turned.load(SeqCst)
    }

    /// Counts a change.
    pub fn next_change(&self) -> u64 {
        self.changes.fetch_add(1, SeqCst) + 1
    }
}

impl View<'_> {
    /// The number of a directory by its path, which has no `..`.
    pub fn dir_of(&self, path: &Path, parent: Option<(DirId, NameId)>) -> DirId {
        self.tree.dirs.intern(path, || {
            let path: Arc<Path> = path.into();
            let parts = path.as_os_str().as_bytes().split(|&c| c == b'/').filter(|part| !part.is_empty());
            let names = parts.map(|part| name_id(&self.tree.names, part)).collect();
            let dir = Dir::new(path.clone(), names, parent, self.files.fixed(&path));
            (path, dir)
        })
    }

    /// The number of the file with this name (without `/`) in a directory.
    fn file_of(&self, dir: DirId, name: NameId) -> FileId {
        self.tree.files.intern(&(dir, name), || {
            let (parent, text) = (self.tree.dir(dir), self.tree.names.get(name));
            let path: Arc<Path> = parent.path.join(OsStr::from_bytes(text)).into();
            ((dir, name), File::new(dir, name, path, parent.fixed))
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
        matches!(self.slot(dir, last), Slot::File | Slot::Linked).then(|| self.file_in(dir, last))
    }

    /// The number of the file with this name in a directory, which may say that it is a link.
    pub fn file_in(&self, dir: DirId, name: NameId) -> FileId {
        let file = self.file_of(dir, name);
        self.tree.file(file).linked.store(self.slot(dir, name) == Slot::Linked, SeqCst);
        file
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
                trail.absolute = true;
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

    /// The paths of directories, sorted, each once.
    pub fn paths<'d>(&self, dirs: impl Iterator<Item = &'d DirId>) -> Vec<Arc<Path>> {
        let mut paths: Vec<_> = dirs.map(|&dir| self.tree.dir(dir).path.clone()).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    fn is_calm(&self, since: &AtomicU64) -> bool {
        self.calm != NO_CALM && since.load(SeqCst) == self.calm
    }
}
