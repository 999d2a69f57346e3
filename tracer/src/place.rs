// SPDX-License-Identifier: Apache-2.0
//! An empty directory that one recording has for itself, under a name that later ones have as well: what a tool says in
//! it may hold that name. Knows nothing of tools.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// More recordings than this at one time do without.
const MOST: usize = 16;

/// The directory, for as long as this lives.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    lock: File,
}

impl Place {
    /// The first in `base` that nobody has. None where there are no locks.
    pub fn take(base: &Path) -> Option<Self> {
        (0..MOST).find_map(|number| {
            let lock = base.join(format!("{number}.lock"));
            let lock = File::options().write(true).create(true).truncate(false).open(lock).ok()?;
            if !thunk::try_lock(&lock) {
                return None;
            }
            let place = Self { path: base.join(number.to_string()), lock };
            match fs::create_dir(&place.path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return None,
                _ => {}
            }
            // What a tool has left.
            if !place.is_empty() {
                fs::remove_dir_all(&place.path).and_then(|()| fs::create_dir(&place.path)).ok()?;
            }
            Some(place)
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Is nothing in it?
    pub fn is_empty(&self) -> bool {
        fs::read_dir(&self.path).is_ok_and(|mut entries| entries.next().is_none())
    }
}

impl Drop for Place {
    /// Before the lock is closed: a child that was forked a moment ago, and has not executed its program yet, has it too.
    fn drop(&mut self) {
        // SAFETY: takes a descriptor that is open, and a number. What is not given up here is with the last that has it.
        unsafe { libc::flock(self.lock.as_raw_fd(), libc::LOCK_UN) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_for_itself_and_the_next_one_has_it_empty() {
        let base = tempfile::tempdir().unwrap();
        let first = Place::take(base.path()).unwrap();
        let second = Place::take(base.path()).unwrap();
        assert_ne!(first.path(), second.path());
        let path = first.path().to_path_buf();
        // As a child of this process has it for a moment.
        let _inherited = first.lock.try_clone().unwrap();
        fs::create_dir(path.join("left")).unwrap();
        assert!(!first.is_empty() && second.is_empty());
        drop(first);
        let next = Place::take(base.path()).unwrap();
        assert_eq!(next.path(), path);
        assert!(next.is_empty());
    }
}
