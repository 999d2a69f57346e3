// SPDX-License-Identifier: Apache-2.0
//! Questions about a path that are not quite one system call.

use core::ffi::{c_int, c_void};

use crate::arch::{STAT_VERSIONS, nr};
use crate::place::At;
use crate::record::one_int;
use crate::session::Session;
use crate::sys::{Errno, five};
use wire::log::kind;

/// `__xstat` and its siblings, by which programs of before glibc 2.33 call `stat`.
///
/// # Safety
/// The arguments are the program's.
pub(crate) unsafe fn stats(
    session: &Session,
    next: &dyn Fn() -> c_int,
    version: c_int,
    at: At,
    stat: *mut c_void,
    flags: c_int,
) -> Result<c_int, Errno> {
    if !STAT_VERSIONS.contains(&version) {
        return Ok(next());
    }
    let args = five!(at.0, at.1, stat, flags);
    // SAFETY: as the caller promises.
    unsafe { one_int(session, next, kind::LOOKUP, at, nr::NEWFSTATAT, args) }
}

/// `faccessat` and its siblings: the call with flags is younger than the one without.
///
/// # Safety
/// The arguments are the program's.
pub(crate) unsafe fn accesses(
    session: &Session,
    next: &dyn Fn() -> c_int,
    at: At,
    mode: c_int,
    flags: c_int,
) -> Result<c_int, Errno> {
    let (number, args) = match flags {
        0 => (nr::FACCESSAT, five!(at.0, at.1, mode)),
        _ => (nr::FACCESSAT2, five!(at.0, at.1, mode, flags)),
    };
    // SAFETY: as the caller promises.
    unsafe { one_int(session, next, kind::LOOKUP, at, number, args) }
}
