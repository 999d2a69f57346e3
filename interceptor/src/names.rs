// SPDX-License-Identifier: Apache-2.0
//! Entries of directories that come and go: devices, symbolic links, and what is removed by a function that knows of both kinds.

use core::ffi::{c_char, c_int};

use crate::arch::nr;
use crate::log::{Log, What};
use crate::open::keep_removed;
use crate::place::At;
use crate::record::{note, note_link, one_int};
use crate::session::Session;
use crate::sys::{self, AT_FDCWD, AT_REMOVEDIR, Errno, five};
use wire::log::kind;

/// `mknod` and `mknodat`.
///
/// # Safety
/// The arguments are the program's.
pub(crate) unsafe fn makes_node(
    session: &Session,
    next: &dyn Fn() -> c_int,
    at: At,
    mode: u32,
    device: u64,
) -> Result<c_int, Errno> {
    // The kernel's numbers of devices are shorter than the C library's, which refuses those that do not fit.
    if u32::try_from(device).is_err() {
        return Ok(next());
    }
    let args = five!(at.0, at.1, mode, device);
    // SAFETY: as the caller promises.
    unsafe { one_int(session, next, kind::MAKE, at, nr::MKNODAT, args) }
}

/// `unlink` and `unlinkat`.
///
/// # Safety
/// The arguments are the program's.
pub(crate) unsafe fn unlinks(
    session: &Session,
    next: &dyn Fn() -> c_int,
    at: At,
    flags: c_int,
) -> Result<c_int, Errno> {
    keep_removed(session, at);
    // SAFETY: as the caller promises.
    unsafe { one_int(session, next, kind::REMOVE, at, nr::UNLINKAT, five!(at.0, at.1, flags)) }
}

/// `remove`: a file, or else a directory.
///
/// # Safety
/// The arguments are the program's.
pub(crate) unsafe fn removes(
    session: &Session,
    next: &dyn Fn() -> c_int,
    path: *const c_char,
) -> Result<c_int, Errno> {
    let Some(log) = Log::ready(session) else { return Ok(next()) };
    keep_removed(session, At(AT_FDCWD, path));
    let call = |flags| {
        // SAFETY: as the caller promises.
        let result = unsafe { sys::marked(nr::UNLINKAT, five!(AT_FDCWD, path, flags)) };
        note(session, &log, What::new(kind::REMOVE, result), At(AT_FDCWD, path));
        result
    };
    let result = match call(0) {
        Err(Errno::ISDIR) => call(AT_REMOVEDIR),
        result => result,
    };
    result.map(|value| value as c_int)
}

/// `symlink` and `symlinkat`.
///
/// # Safety
/// The arguments are the program's.
pub(crate) unsafe fn symlinks(
    session: &Session,
    next: &dyn Fn() -> c_int,
    target: *const c_char,
    at: At,
) -> Result<c_int, Errno> {
    let Some(log) = Log::ready(session) else { return Ok(next()) };
    // SAFETY: as the caller promises.
    let result = unsafe { sys::marked(nr::SYMLINKAT, five!(target, at.0, at.1)) };
    note_link(session, &log, What::new(kind::SYMLINK, result), at, target);
    result.map(|value| value as c_int)
}
