// SPDX-License-Identifier: Apache-2.0
//! Which thunks failed when they were last forced, or were not begun because others had. A plain build would have left nothing where
//! they, or what needs them, have placeholders: the next recording clears these away, so that make makes their targets anew and nothing is
//! built on top of them. Not a cache of failures: a thunk that failed is run again when it is asked for.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::name::ObjectName;
use crate::store::Store;

/// The thunks of a store that are marked as failed.
pub struct FailedThunks<'a> {
    store: &'a Store,
    marked: HashSet<ObjectName>,
    /// Answers so far: does a thunk need one of these?
    doomed: HashMap<ObjectName, bool>,
}

impl<'a> FailedThunks<'a> {
    /// Those that are marked now.
    #[must_use]
    pub fn of(store: &'a Store) -> Self {
        let entries = fs::read_dir(directory(store)).into_iter().flatten().flatten();
        let marked = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        Self { store, marked, doomed: HashMap::new() }
    }

    /// Is none marked?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.marked.is_empty()
    }

    /// Those that are marked.
    #[must_use]
    pub fn marked(self) -> HashSet<ObjectName> {
        self.marked
    }

    /// Marks a thunk whose command failed, or was not begun because another had.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn mark(&mut self, thunk: &ObjectName) -> Result<()> {
        if self.marked.insert(*thunk) {
            let path = directory(self.store);
            fs::create_dir_all(&path).map_err(Error::io("make the store's directory", &path))?;
            let path = path.join(thunk.to_string());
            fs::write(&path, b"").map_err(Error::io("write", &path))?;
        }
        Ok(())
    }

    /// Takes the mark from a thunk, if it has one.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn clear(&mut self, thunk: &ObjectName) -> Result<()> {
        if self.marked.remove(thunk) {
            let path = directory(self.store).join(thunk.to_string());
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &path)(e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Did this thunk fail, or one that it needs? What cannot be read is not known to.
    pub fn reach(&mut self, thunk: &ObjectName) -> bool {
        if self.marked.is_empty() {
            return false;
        }
        // Depth first without recursion: chains of thunks can be long.
        let mut open = vec![(*thunk, false)];
        while let Some((name, needs_known)) = open.pop() {
            if self.doomed.contains_key(&name) {
                continue;
            }
            let needs = self.store.thunk(&name).map(|thunk| thunk.thunks).unwrap_or_default();
            if needs_known || needs.is_empty() || self.marked.contains(&name) {
                let doomed = self.marked.contains(&name)
                    || needs.iter().any(|need| self.doomed.get(&need.from.thunk) == Some(&true));
                self.doomed.insert(name, doomed);
            } else {
                open.push((name, true));
                open.extend(needs.iter().map(|need| (need.from.thunk, false)));
            }
        }
        self.doomed.get(thunk) == Some(&true)
    }

    /// Clears the marks that were come upon so far: nothing stands any more for what they made.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn clear_reached(&mut self) -> Result<()> {
        let reached: Vec<ObjectName> =
            self.marked.iter().filter(|thunk| self.doomed.contains_key(thunk)).copied().collect();
        reached.iter().try_for_each(|thunk| self.clear(thunk))
    }
}

fn directory(store: &Store) -> PathBuf {
    store.root().join("failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OutputRef, Thunk, ThunkInput};

    fn needing(store: &Store, name: &str, needs: &[ObjectName]) -> ObjectName {
        let input = |&thunk: &ObjectName| ThunkInput {
            from: OutputRef { thunk, output: None },
            path: thunk.to_string().into(),
        };
        let thunk = Thunk {
            function: Some(ObjectName::of(crate::ObjectKind::Value, b"program")),
            args: vec![name.into()],
            thunks: needs.iter().map(input).collect(),
            outputs: vec!["out".into()],
            ..Thunk::default()
        };
        store.put_thunk(&thunk).unwrap()
    }

    #[test]
    fn a_failure_reaches_what_needs_it_until_it_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (good, bad) = (needing(&store, "good", &[]), needing(&store, "bad", &[]));
        let both = needing(&store, "both", &[good, bad]);
        let top = needing(&store, "top", &[both]);
        assert!(!FailedThunks::of(&store).reach(&top));
        FailedThunks::of(&store).mark(&bad).unwrap();
        let mut failed = FailedThunks::of(&store);
        let reached = [good, bad, both, top].map(|thunk| failed.reach(&thunk));
        assert_eq!(reached, [false, true, true, true]);
        failed.clear_reached().unwrap();
        failed.clear(&bad).unwrap();
        assert!(FailedThunks::of(&store).is_empty());
        assert!(!FailedThunks::of(&store).reach(&top));
    }
}
