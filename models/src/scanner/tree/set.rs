// SPDX-License-Identifier: Apache-2.0
//! Files of one directory that are read together: commands of a build read much the same files of most directories, so that few sets stand
//! for what would else be hundreds of files in each command. A set is checked as a whole for as long as nothing is known to have happened.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use super::{DirId, FileId, NO_CALM, View, locked};
use crate::scanner::intern::Fast;
use crate::scanner::{FileSet, Included, Mark};

/// Number of a set.
pub(in super::super) type SetId = u32;

/// Some of the files of a directory.
pub(in super::super) struct Set {
    dir: DirId,
    /// Sorted.
    pub files: Arc<[FileId]>,
    verified: AtomicU64,
    /// When it was beyond doubt last.
    calm: AtomicU64,
    state: Mutex<SetState>,
}

#[derive(Default)]
struct SetState {
    /// What scans are told, once one was, and how often files had turned out to be others while they were read by then.
    told: Option<(u64, Arc<FileSet>)>,
    /// Stands for the files in states that can be relied on.
    settled: Option<Mark>,
}

impl View<'_> {
    /// The sets that these files make, in the order in which their directories come. Each of the first `alone` is a set of its own: no
    /// other command has one with a source of this one.
    pub fn sets_of(&self, files: &[FileId], alone: usize) -> Vec<SetId> {
        let (alone, together) = files.split_at(alone.min(files.len()));
        let mut sets: Vec<SetId> = alone.iter().map(|&file| self.set_of(vec![file])).collect();
        let mut places: std::collections::HashMap<DirId, usize, Fast> = Default::default();
        let mut by_directory: Vec<Vec<FileId>> = Vec::new();
        let (mut last, mut place) = (None, 0);
        for &file in together {
            let dir = self.tree.file(file).dir;
            if last != Some(dir) {
                place = *places.entry(dir).or_insert_with(|| {
                    by_directory.push(Vec::new());
                    by_directory.len() - 1
                });
                last = Some(dir);
            }
            by_directory[place].push(file);
        }
        sets.extend(by_directory.into_iter().map(|files| self.set_of(files)));
        sets
    }

    /// The set of these files, of which there is one at least, all of one directory.
    pub fn set_of(&self, mut files: Vec<FileId>) -> SetId {
        files.sort_unstable();
        self.tree.sets.intern(&files[..], || {
            let files: Arc<[FileId]> = files.as_slice().into();
            self.tree.add_weight(192 + 12 * files.len());
            let set = Set {
                dir: self.tree.file(files[0]).dir,
                files: Arc::clone(&files),
                verified: AtomicU64::new(0),
                calm: AtomicU64::new(NO_CALM),
                state: Mutex::default(),
            };
            (files, set)
        })
    }

    /// The state of all files of a set, as [`View::check`] of each; `None` if one is no regular file any more.
    pub fn check_set(&self, id: SetId) -> Option<Arc<FileSet>> {
        let set = self.tree.sets.get(id);
        let turned = self.tree.turned();
        let verified = set.verified.load(SeqCst);
        let is_fixed = verified > 0 && self.tree.dir(set.dir).fixed;
        if (verified >= self.scan || is_fixed || self.is_calm(&set.calm))
            && let Some((_, told)) = locked(&set.state).told.as_ref().filter(|(then, _)| *then == turned)
        {
            return Some(Arc::clone(told));
        }
        let files = set.files.iter().map(|&file| self.check(file)).collect::<Option<Vec<_>>>()?;
        let is_calm = set.files.iter().all(|&file| self.is_calm(&self.tree.file(file).calm));
        let mut state = locked(&set.state);
        let told = match &state.told {
            Some((_, told)) if is_same(told, &files) => Arc::clone(told),
            _ => Arc::new(self.told(set, files)),
        };
        // A later scan knows better.
        if set.verified.load(SeqCst) <= self.scan {
            state.told = Some((turned, Arc::clone(&told)));
            if is_calm {
                set.calm.store(self.calm, SeqCst);
            }
            set.verified.store(self.scan, SeqCst);
        }
        Some(told)
    }

    fn told(&self, set: &Set, files: Vec<Arc<Included>>) -> FileSet {
        let mut mark = Mark::default();
        files.iter().for_each(|file| mark ^= file.mark);
        FileSet { directory: self.tree.dir(set.dir).path.clone(), files: files.into(), mark }
    }

    /// Were all files of a set, in the states of which it was told, old enough to be relied on when they were read?
    pub fn is_settled(&self, id: SetId, told: &FileSet) -> bool {
        let set = self.tree.sets.get(id);
        if locked(&set.state).settled == Some(told.mark) {
            return true;
        }
        let mut pairs = set.files.iter().zip(&told.files);
        let settled = pairs.all(|(&file, included)| self.settled(file) == Some(included.mark));
        if settled {
            locked(&set.state).settled = Some(told.mark);
        }
        settled
    }
}

fn is_same(told: &FileSet, files: &[Arc<Included>]) -> bool {
    told.files.iter().zip(files).all(|(a, b)| Arc::ptr_eq(a, b))
}
