// SPDX-License-Identifier: Apache-2.0
//! One directory: what the names in it that were asked for stand for, and whether that is still so. Unaware of what files contain.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
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
pub(super) enum Slot {
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
    loose: bool,
    /// Links lead there: names do not tell what changes on the way.
    winding: bool,
}

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

    /// Can it be that something happened to what is in this directory since it was looked at?
    pub(super) fn doubts_directory(&self, id: DirId) -> bool {
        let dir = self.tree.dir(id);
        self.doubts(dir, &locked(&dir.state))
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

    /// Has this directory been beyond doubt for as long as this scan's calm lasts?
    pub fn is_calm_directory(&self, id: DirId) -> bool {
        let dir = self.tree.dir(id);
        (dir.fixed && dir.verified.load(SeqCst) > 0) || self.is_calm(&dir.calm)
    }
}
