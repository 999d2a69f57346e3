// SPDX-License-Identifier: Apache-2.0
//! Keeps a worker host's store within a size: what was not used for longest goes first. Unlike a user's store, it holds
//! nothing that could not be had again.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::DirEntry;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use thunk::{ObjectName, Store};

/// A store of bounded size.
pub struct Cache {
    store: Rc<Store>,
    limit: u64,
    /// When an object was last used, in jobs.
    used: RefCell<HashMap<ObjectName, u64>>,
    now: Cell<u64>,
    /// What is there, as far as it was used since the start: what was there before is seen when the first of it goes.
    size: Cell<u64>,
}

impl Cache {
    /// Keeps the store within `limit` bytes.
    pub fn new(store: Rc<Store>, limit: u64) -> Self {
        let cache = Self { store, limit, used: RefCell::default(), now: Cell::new(0), size: Cell::new(0) };
        let there = cache.objects().unwrap_or_default();
        cache.size.set(there.iter().map(ObjectName::size).sum());
        cache.used.borrow_mut().extend(there.into_iter().map(|name| (name, 0)));
        cache
    }

    /// These are used now.
    pub fn note(&self, names: impl IntoIterator<Item = ObjectName>) {
        self.now.set(self.now.get() + 1);
        let mut used = self.used.borrow_mut();
        for name in names {
            if used.insert(name, self.now.get()).is_none() {
                self.size.set(self.size.get() + name.size());
            }
        }
    }

    /// Is it too large?
    pub fn is_full(&self) -> bool {
        self.size.get() > self.limit
    }

    /// Removes objects until half of the room is free. Nothing may use the store meanwhile.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn shrink(&self) -> Result<()> {
        let mut used = self.used.borrow_mut();
        let mut all: Vec<(u64, ObjectName)> =
            self.objects()?.into_iter().map(|name| (used.get(&name).copied().unwrap_or(0), name)).collect();
        all.sort_unstable();
        let mut size: u64 = all.iter().map(|(_, name)| name.size()).sum();
        used.clear();
        for (when, name) in all {
            if size > self.limit / 2 {
                self.store.remove(&name)?;
                size -= name.size();
            } else {
                used.insert(name, when);
            }
        }
        self.size.set(size);
        self.forget_reductions()
    }

    /// Removes reductions that are of no use any more: without them a host that works for months would have millions.
    fn forget_reductions(&self) -> Result<()> {
        for (name, path) in self.named("reductions")? {
            if !self.store.contains(&name) || self.store.reduction(&name).is_none() {
                std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    fn objects(&self) -> Result<Vec<ObjectName>> {
        let mut names = Vec::new();
        for directory in ["blobs", "exec"] {
            names.extend(self.named(directory)?.into_iter().map(|(name, _)| name));
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The files of a directory of the store that have names of objects.
    fn named(&self, directory: &str) -> Result<Vec<(ObjectName, PathBuf)>> {
        let path = self.store.root().join(directory);
        let entries = std::fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))?;
        let named = |entry: DirEntry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()));
        Ok(entries.flatten().filter_map(named).collect())
    }
}

#[cfg(test)]
mod tests {
    use thunk::{ObjectKind, ReducedOutput, Reduction};

    use super::*;

    #[test]
    fn what_was_used_last_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Rc::new(Store::open(&dir.path().join("store")).unwrap());
        let put = |byte: u8| store.put(ObjectKind::Value, &[byte; 1000]).unwrap();
        let old = put(0);
        let cache = Cache::new(Rc::clone(&store), 4000);
        let names: Vec<ObjectName> = (1..=4).map(put).collect();
        for name in &names {
            assert!(!cache.is_full());
            cache.note([*name]);
        }
        cache.note([names[0]]);
        assert!(cache.is_full());
        cache.shrink().unwrap();
        assert!(!cache.is_full());
        assert_eq!(
            [old, names[0], names[1], names[2], names[3]].map(|n| store.contains(&n)),
            [false, true, false, false, true]
        );
    }

    #[test]
    fn reductions_go_with_what_they_are_about() {
        let dir = tempfile::tempdir().unwrap();
        let store = Rc::new(Store::open(&dir.path().join("store")).unwrap());
        let put = |kind, byte: u8| store.put(kind, &[byte; 1000]).unwrap();
        let thunks: Vec<ObjectName> = (0..3).map(|byte| put(ObjectKind::Thunk, byte)).collect();
        let values: Vec<ObjectName> = (10..13).map(|byte| put(ObjectKind::Value, byte)).collect();
        for (thunk, value) in thunks.iter().zip(&values) {
            let outputs = vec![ReducedOutput { path: "/x".into(), value: *value, executable: false }];
            store.put_reduction(thunk, &Reduction { outputs, ..Reduction::default() }).unwrap();
        }
        let cache = Cache::new(Rc::clone(&store), 9000);
        // Of the first both stay, of the second the thunk only, of the third the value only.
        cache.note([thunks[0], values[0], thunks[1], values[2]]);
        cache.shrink().unwrap();
        assert_eq!(
            [thunks[1], values[2], thunks[2], values[1]].map(|n| store.contains(&n)),
            [true, true, false, false]
        );
        assert!(store.reduction(&thunks[0]).is_some());
        let left = std::fs::read_dir(store.root().join("reductions")).unwrap().count();
        assert_eq!(left, 1);
    }
}
