// SPDX-License-Identifier: Apache-2.0
//! Advisory locks on open files: held until the last descriptor of the opening is closed, so also if the holder is killed.

use std::fs::File;
use std::os::fd::AsRawFd as _;

fn flock(file: &File, operation: libc::c_int) -> bool {
    // SAFETY: a descriptor that is open for as long as `file` is borrowed, and an integer.
    unsafe { libc::flock(file.as_raw_fd(), operation) == 0 }
}

/// Takes the lock, if nobody else has it. A file system that has no locks gives none.
#[must_use]
pub fn try_lock(file: &File) -> bool {
    flock(file, libc::LOCK_EX | libc::LOCK_NB)
}

/// Waits until nobody has the lock alone, and takes part in it. On a file system that has no locks there is none to be had alone either.
pub(crate) fn share_lock(file: &File) {
    flock(file, libc::LOCK_SH);
}

/// Waits for the lock, does this with the file, and gives the lock back. Without it where there are no locks.
pub(crate) fn locked<T>(file: &mut File, work: impl FnOnce(&mut File) -> T) -> T {
    let held = flock(file, libc::LOCK_EX);
    let result = work(file);
    if held {
        flock(file, libc::LOCK_UN);
    }
    result
}
