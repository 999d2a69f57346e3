// SPDX-License-Identifier: Apache-2.0
//! Keeps a worker host's store within a size: what was not used for longest goes first. Unlike a user's store, it holds
//! nothing that could not be had again.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
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
        Ok(())
    }

    fn objects(&self) -> Result<Vec<ObjectName>> {
        let mut names = Vec::new();
        for directory in ["blobs", "exec"] {
            let path = self.store.root().join(directory);
            let entries =
                std::fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))?;
            names.extend(
                entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<ObjectName>().ok()),
            );
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use thunk::ObjectKind;

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
}
