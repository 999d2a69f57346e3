// SPDX-License-Identifier: Apache-2.0
//! Names behind which something may have changed, or may change at any time, since it was looked at. Whoever knows which
//! names a build changes ([`Files::changes`]) need not have everything looked at again in every scan: only what has such
//! a name in its path. Knows names and who was asked for them, not what stands there.

use std::collections::HashSet;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::directives::NameId;
use super::disk::Files;
use super::intern::{Bits, Fast, hash};
use super::tree::{DirId, Tree};

/// When doubted names were asked for in more directories than this, looking at everything costs no more.
const MANY: usize = 400;

/// The doubts of one moment.
#[derive(Default)]
pub(super) struct Doubted {
    /// Another one when a name has been added.
    pub version: u64,
    names: Bits,
    /// Names from this number on are not known to be beyond doubt.
    known: NameId,
}

impl Doubted {
    pub fn has(&self, name: NameId) -> bool {
        name >= self.known || self.names.has(name)
    }
}

/// All doubts about a tree.
#[derive(Default)]
pub(super) struct Doubts {
    state: Mutex<State>,
    /// Of the newest [`Doubted`].
    version: AtomicU64,
}

#[derive(Default)]
struct State {
    now: Arc<Doubted>,
    /// Doubted names of which all directories are in `asked`.
    collected: Bits,
    /// [`Files::extent`], [`Told::count`] and the number of names for which that is so.
    extent: u64,
    told: u32,
    looked: NameId,
    /// Which directories were asked for which doubted names.
    asked: Vec<(DirId, NameId)>,
}

/// Names that a scanner was told of, by their hashes.
#[derive(Default)]
pub(super) struct Told {
    hashes: Mutex<HashSet<u64, Fast>>,
    /// How many of them were known to a tree when they were told.
    count: AtomicU32,
}

impl Told {
    /// What has this name changes from now on.
    pub fn add(&self, name: &[u8], tree: &Tree) {
        let new = self.hashes.lock().unwrap_or_else(PoisonError::into_inner).insert(hash(name));
        // A name that is not known yet is looked for when it is.
        if new && tree.names.find(name).is_some() {
            self.count.fetch_add(1, SeqCst);
        }
    }
}

impl Doubts {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A directory was asked for a name, and has an answer by now. `doubted`: the doubts of whoever asked.
    pub fn asked(&self, dir: DirId, name: NameId, doubted: &Doubted) {
        // Nearly always. A name that comes into doubt from now on is looked for in all directories.
        if !doubted.names.has(name) && self.version.load(SeqCst) == doubted.version {
            return;
        }
        let mut state = self.state();
        // What is not known yet is found when it is.
        if name < state.now.known && state.now.has(name) && state.asked.len() <= MANY {
            state.asked.push((dir, name));
        }
    }

    /// The doubts of this moment, and which directories to ask again for which names; nothing where these are too many.
    pub fn now(
        &self,
        tree: &Tree,
        files: &dyn Files,
        told: &Told,
    ) -> (Arc<Doubted>, Option<Vec<(DirId, NameId)>>) {
        // First, so that what changes meanwhile is found next time.
        let (extent, count, known) = (files.extent(), told.count.load(SeqCst), tree.names.len());
        let mut state = self.state();
        let all = extent != state.extent || count != state.told;
        if all || known > state.looked {
            let mut names = state.now.names.clone();
            let mut new = Vec::new();
            {
                let hashes = told.hashes.lock().unwrap_or_else(PoisonError::into_inner);
                for id in if all { 0 } else { state.looked }..known {
                    let name = tree.names.get(id);
                    if names.has(id) || files.changes(name) || hashes.contains(&hash(name)) {
                        names.add(id);
                        if !state.collected.has(id) {
                            new.push(id);
                        }
                    }
                }
            }
            // Directories that are asked for one of these from here on say so; those that were asked before are looked for
            // without the lock, for which they may wait with theirs.
            let version = state.now.version + u64::from(!new.is_empty());
            state.now = Arc::new(Doubted { version, names, known: known.max(state.now.known) });
            self.version.store(version, SeqCst);
            drop(state);
            let dirs = |name| {
                (0..tree.dir_count()).filter(move |&dir| tree.knows(dir, name)).map(move |dir| (dir, name))
            };
            let asked: Vec<_> = new.iter().flat_map(|&name| dirs(name)).collect();
            state = self.state();
            state.asked.extend(asked);
            state.asked.sort_unstable();
            state.asked.dedup();
            for name in new {
                state.collected.add(name);
            }
            // Only now: until then every scan does this itself.
            state.looked = state.looked.max(known);
            (state.extent, state.told) = (state.extent.max(extent), state.told.max(count));
        }
        let again = (state.asked.len() <= MANY).then(|| state.asked.clone());
        (Arc::clone(&state.now), again)
    }
}
