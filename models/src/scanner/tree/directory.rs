// SPDX-License-Identifier: Apache-2.0
//! One directory: what the names in it that were asked for stand for, and whether that is still so. Unaware of what files contain.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::{DirId, NO_CALM, Tree, View, locked};
use crate::scanner::directives::NameId;
use crate::scanner::disk::{Kind, Stamp};
use crate::scanner::intern::Fast;

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
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

pub struct Dir {
    /// Absolute, without `.` and (almost always) without `..`.
    pub path: Arc<Path>,
    /// The components of the path.
    names: Box<[NameId]>,
    /// For a directory below another one that is searched: where that says "absent", nobody needs to look.
    parent: Option<(DirId, NameId)>,
    pub(super) fixed: bool,
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
    /// It has another stamp than when it was asked for files that are there: what has become of them shows when they are looked at.
    outlived: bool,
    loose: bool,
    /// Links lead there: names do not tell what changes on the way.
    winding: bool,
}

/// What a directory has said so far.
pub struct Said {
    /// The directory in which it was found, and its name there.
    pub parent: Option<(DirId, NameId)>,
    pub exists: bool,
    /// If it can be relied on.
    pub stamp: Option<Stamp>,
    pub slots: Vec<(NameId, Slot)>,
}

/// For more names than this a directory is listed.
const FEW: usize = 16;

impl Dir {
    /// A directory at which nobody has looked yet; `names` are the components of its path.
    pub(super) fn new(
        path: Arc<Path>,
        names: Box<[NameId]>,
        parent: Option<(DirId, NameId)>,
        fixed: bool,
    ) -> Self {
        Self {
            path,
            names,
            parent,
            fixed,
            verified: AtomicU64::new(0),
            calm: AtomicU64::new(NO_CALM),
            changed_at: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }
}

impl Tree {
    /// Has this directory been asked for this name?
    pub fn knows(&self, dir: DirId, name: NameId) -> bool {
        locked(&self.dir(dir).state).slots.contains_key(&name)
    }

    pub fn changed_at(&self, dir: DirId) -> u64 {
        self.dir(dir).changed_at.load(SeqCst)
    }

    fn touch(&self, dir: &Dir) {
        dir.changed_at.store(self.next_change(), SeqCst);
    }
}

impl View<'_> {
    /// Is it the same directory as the other, under whatever name? `None` where there is none.
    pub fn identity(&self, dir: DirId) -> Option<(u64, u64)> {
        self.verify(dir);
        locked(&self.tree.dir(dir).state).stamp.map(|s| (s.dev, s.ino))
    }

    /// Does the directory exist?
    pub fn exists(&self, dir: DirId) -> bool {
        self.identity(dir).is_some()
    }

    pub(super) fn slot(&self, id: DirId, name: NameId) -> Slot {
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
        self.tree.doubts.asked(id, name, self.doubted);
        self.tree.add_weight(12);
        slot
    }

    /// Does the directory say this of these names? Where it has the stamp that it had when it said so, it is taken at its word.
    pub fn says(
        &self,
        id: DirId,
        exists: bool,
        stamp: Option<Stamp>,
        slots: impl Iterator<Item = (NameId, Slot)>,
    ) -> bool {
        self.verify(id);
        let dir = self.tree.dir(id);
        let mut state = locked(&dir.state);
        if state.stamp.is_none() {
            return !exists;
        }
        if !exists {
            return false;
        }
        let as_before = !state.young && stamp == state.stamp;
        // The stamp may be older than what has happened to a doubted name.
        let is_told = |name: NameId, slot: Slot| {
            as_before
                && slot != Slot::Loose
                && (dir.fixed || !self.doubted.has(name))
                // Whether files are there shows when they are looked at; if somebody has, more is known than this.
                && !self.has_looked_at(id, name)
        };
        let (mut same, mut unknown) = (true, Vec::new());
        for (name, slot) in slots {
            match state.slots.get(&name) {
                Some(now) => same &= *now == slot,
                None if is_told(name, slot) => {
                    state.slots.insert(name, slot);
                    self.tree.doubts.asked(id, name, self.doubted);
                }
                None => unknown.push((name, slot)),
            }
        }
        // One look at the whole of it tells of most that they are not there.
        let names = if unknown.len() > FEW { self.files.names(&dir.path).ok() } else { None };
        let names: Option<HashSet<Vec<u8>>> =
            names.map(|names| names.into_iter().map(OsString::into_vec).collect());
        for (name, slot) in unknown {
            let is_there = names.as_ref().is_none_or(|names| names.contains(&**self.tree.names.get(name)));
            let now = if is_there { self.ask(dir, name) } else { Slot::Absent };
            state.loose |= now == Slot::Loose;
            state.slots.insert(name, now);
            self.tree.doubts.asked(id, name, self.doubted);
            same &= now == slot;
        }
        same
    }

    /// What the directory has said so far.
    pub fn said(&self, id: DirId) -> Said {
        let dir = self.tree.dir(id);
        let state = locked(&dir.state);
        Said {
            parent: dir.parent,
            exists: state.stamp.is_some(),
            stamp: state.stamp.filter(|_| !state.young && !state.outlived),
            slots: state.slots.iter().map(|(name, slot)| (*name, *slot)).collect(),
        }
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

    /// Can it be that something happened to what is in this directory since it was looked at?
    pub(super) fn doubts_directory(&self, id: DirId) -> bool {
        let dir = self.tree.dir(id);
        self.doubts(dir, &locked(&dir.state))
    }

    /// What is a file under this name, is one through a link or is not.
    pub(super) fn relink(&self, id: DirId, name: NameId, linked: bool) {
        let slot = if linked { Slot::Linked } else { Slot::File };
        let mut state = locked(&self.tree.dir(id).state);
        if let Some(known) =
            state.slots.get_mut(&name).filter(|known| matches!(known, Slot::File | Slot::Linked))
        {
            *known = slot;
        }
    }

    /// What was a file under this name is none any more.
    pub(super) fn forget(&self, id: DirId, name: NameId) {
        let dir = self.tree.dir(id);
        let mut state = locked(&dir.state);
        state.slots.remove(&name);
        self.tree.touch(dir);
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

    /// Does the directory say now what it said at `at`?
    pub fn is_unchanged(&self, id: DirId, at: u64) -> bool {
        self.verify(id);
        self.tree.changed_at(id) <= at
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
            (state.loose, state.outlived) = (false, false);
        } else if stamp != state.stamp || state.young || state.loose {
            let all = stamp != state.stamp || state.young;
            state.outlived |= all;
            let doubtful =
                |slot: Slot| slot == Slot::Loose || (all && !matches!(slot, Slot::File | Slot::Linked));
            // That something else is there than a file at which somebody has looked shows when that is looked at.
            let unseen = |name: NameId| all && !self.has_looked_at(id, name);
            let names: Vec<_> = state
                .slots
                .iter()
                .filter(|(name, slot)| doubtful(**slot) || unseen(**name))
                .map(|(name, slot)| (*name, *slot))
                .collect();
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
            state.winding = !self.is_straight(&dir.path, true);
        }
        state.stamp = stamp;
        state.young = stamp.is_some_and(|s| !s.settled(SystemTime::now()));
        // Nothing rests on a directory that nobody looked at before.
        if changed && verified > 0 {
            self.tree.touch(dir);
        }
        dir.verified.fetch_max(self.scan, SeqCst);
    }

    /// Does this path, as far as it exists, lead through no symbolic link? If not, names do not tell what changes on the way. What is
    /// known of a path is known for good, but for those that are to be looked at anew: where a link takes the place of a directory
    /// above, its name is told.
    fn is_straight(&self, path: &Path, anew: bool) -> bool {
        let known = if anew { None } else { locked(&self.tree.straight).get(path).copied() };
        known.unwrap_or_else(|| {
            let straight = match (path.parent(), path.file_name()) {
                (None, _) => true,
                // It ends in `..`, which is left where it stands behind a link.
                (_, None) => false,
                (Some(parent), Some(_)) => {
                    let is_link = self.files.look(path, false).is_some_and(|(kind, _)| kind == Kind::Link);
                    !is_link && self.is_straight(parent, false)
                }
            };
            locked(&self.tree.straight).insert(path.into(), straight);
            straight
        })
    }

    /// Has this directory been beyond doubt for as long as this scan's calm lasts?
    pub fn is_calm_directory(&self, id: DirId) -> bool {
        let dir = self.tree.dir(id);
        (dir.fixed && dir.verified.load(SeqCst) > 0) || self.is_calm(&dir.calm)
    }
}
