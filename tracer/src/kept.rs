// SPDX-License-Identifier: Apache-2.0
//! What files held that one command had written and another was about to change, to rename, or to give another mode: `ranlib` after `ar`,
//! `strip` after a link, `>>` after `>`, `chmod`; and what a build driver removes that commands of its have used: ninja's files with arguments, make's
//! intermediate ones. Looked at before the call is made, because afterwards nobody can tell what the first had left,
//! nor what the second found. Knows nothing of what commands are.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use foldhash::HashMap;
use thunk::{FileFacts, ObjectName, Placeholder, is_made_up};

use crate::context::Running;
use crate::recorder::{Recorder, lock};

/// Who changes files when they are forced, and not now.
const DEFERRED: u32 = 0;

/// A file as it was before a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The number that an event would have had then.
    pub number: u64,
    /// The command that was about to change it; [`DEFERRED`] if it does so later.
    pub by: u32,
    /// Its content.
    pub value: ObjectName,
    /// What the file was.
    pub facts: FileFacts,
    /// Its permissions.
    pub mode: u32,
}

/// All that were kept, by real path.
#[derive(Debug, Default)]
pub struct Kept {
    of: Mutex<HashMap<OsString, Vec<Version>>>,
}

impl Kept {
    /// Has this command been about to change it before? What it finds later may be its own work.
    pub fn has(&self, path: &Path, by: u32) -> bool {
        lock(&self.of)
            .get(path.as_os_str())
            .is_some_and(|versions| versions.iter().any(|version| version.by == by))
    }

    /// Adds one.
    pub fn add(&self, path: PathBuf, version: Version) {
        lock(&self.of).entry(path.into()).or_default().push(version);
    }

    /// The first that was kept after event `since`.
    pub fn first_since(&self, path: &Path, since: u64) -> Option<Version> {
        let kept = lock(&self.of);
        let versions = kept.get(path.as_os_str())?.iter().filter(|version| version.number > since);
        versions.min_by_key(|version| version.number).cloned()
    }
}

impl Recorder {
    /// A process of this program is about to change what stands at this path, to rename it, to give it another mode or time, or, if it
    /// drives a build, to remove it.
    pub fn keep(&self, pid: u32, program: u32, path: &Path) {
        let Running { group: by, drives, .. } = self.command(program);
        let began = self.watch.began(by);
        if !self.sight.is_complete() || !drives && began.is_none() {
            return;
        }
        // What is seen with another root, or other mounts, is another file.
        if !self.shares_files(pid) {
            return;
        }
        let Ok(real) = fs::canonicalize(path) else { return };
        if is_made_up(&real) || self.is_own(&real) {
            return;
        }
        let Some(metadata) = fs::symlink_metadata(&real).ok().filter(fs::Metadata::is_file) else { return };
        let changed = FileFacts::of(&metadata).changed_at();
        // What is younger than a command is its own work, or that of one beside it. A driver's own is for others.
        let is_own = || self.kept.has(&real, by) || began.is_some_and(|began| changed > began);
        if !drives && is_own() || !matches!(Placeholder::read_to_replace(&real), Ok(None)) {
            return;
        }
        self.keep_version(real, by, &metadata);
    }

    /// A deferred command changes this file: a placeholder is about to take its place, and the command that wrote it may not be on record yet.
    pub fn keep_replaced(&self, real: &Path) {
        let Some(metadata) = fs::symlink_metadata(real).ok().filter(fs::Metadata::is_file) else { return };
        if self.sight.is_complete() && matches!(Placeholder::read_to_replace(real), Ok(None)) {
            self.keep_version(real.to_path_buf(), DEFERRED, &metadata);
        }
    }

    fn keep_version(&self, real: PathBuf, by: u32, metadata: &fs::Metadata) {
        let (number, facts) = (self.watch.next(), FileFacts::of(metadata));
        // What cannot be read is not known.
        if let Ok(value) = self.store.put_seen(&real, &facts) {
            let mode = metadata.permissions().mode() & 0o7777;
            self.kept.add(real, Version { number, by, value, facts, mode });
        }
    }
}

#[cfg(test)]
mod tests {
    use thunk::{FileId, ObjectKind};

    use super::*;

    #[test]
    fn the_first_that_was_kept_later_counts() {
        let kept = Kept::default();
        let path = Path::new("/w/lib.a");
        let facts = FileFacts { id: FileId::of(&fs::metadata("/").unwrap()), executable: false };
        let version = |number, by| {
            let value = ObjectName::of(ObjectKind::Value, &[number as u8]);
            Version { number, by, value, facts, mode: 0o644 }
        };
        for (number, by) in [(30, 4), (20, 3)] {
            kept.add(path.into(), version(number, by));
        }
        assert_eq!(kept.first_since(path, 7), Some(version(20, 3)));
        assert_eq!(kept.first_since(path, 20), Some(version(30, 4)));
        assert_eq!(kept.first_since(path, 30), None);
        assert!(kept.has(path, 4) && !kept.has(path, 5) && !kept.has(Path::new("/w/a.o"), 4));
    }
}
