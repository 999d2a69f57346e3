// SPDX-License-Identifier: Apache-2.0
//! All objects that thunks need to be computed: their inputs, those of the thunks that make their inputs, and what is in their trees.
//! Knows nothing of what is computed already.

use std::collections::{BTreeMap, HashSet};

use crate::error::{Error, Result};
use crate::name::{ObjectKind, ObjectName};
use crate::store::Store;
use crate::tree::TreeNode;

/// A set that grows by thunks.
#[derive(Debug)]
pub struct Closure<'a> {
    store: &'a Store,
    /// The objects, and whether one is needed as an executable.
    pub objects: BTreeMap<ObjectName, bool>,
    /// The thunks among them that were looked into.
    pub thunks: HashSet<ObjectName>,
}

impl<'a> Closure<'a> {
    /// Nothing yet, of this store.
    #[must_use]
    pub fn of(store: &'a Store) -> Self {
        Self { store, objects: BTreeMap::new(), thunks: HashSet::new() }
    }

    /// Adds an object that needs no other.
    pub fn add(&mut self, name: ObjectName, executable: bool) {
        *self.objects.entry(name).or_default() |= executable;
    }

    /// Adds a thunk and all that it needs.
    ///
    /// # Errors
    /// The first object that the store does not have, or that is damaged. What others need has been added nevertheless.
    pub fn thunk(&mut self, name: ObjectName) -> Result<()> {
        let mut result = Ok(());
        let mut note = |error: Error| {
            if result.is_ok() {
                result = Err(error);
            }
        };
        let mut pending = vec![name];
        while let Some(name) = pending.pop() {
            if !self.thunks.insert(name) {
                continue;
            }
            self.add(name, false);
            let thunk = match self.store.thunk(&name) {
                Ok(thunk) => thunk,
                Err(error) => {
                    note(error);
                    continue;
                }
            };
            thunk.values.iter().for_each(|input| self.add(input.value, false));
            thunk.executables.iter().for_each(|input| self.add(input.value, true));
            if let Some(function) = thunk.function.filter(|function| function.kind() == ObjectKind::Value) {
                self.add(function, true);
            }
            for tree in &thunk.trees {
                if self.objects.contains_key(tree) {
                    continue;
                }
                self.add(*tree, false);
                match self.store.tree(tree) {
                    Ok(tree) => {
                        for entry in tree.entries() {
                            if let TreeNode::File { value, executable } = entry.node {
                                self.add(value, executable);
                            }
                        }
                    }
                    Err(error) => note(error),
                }
            }
            pending.extend(thunk.thunks.iter().map(|input| input.from.thunk));
        }
        result
    }
}
