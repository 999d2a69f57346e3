// SPDX-License-Identifier: Apache-2.0
//! Changes of mode, times and length by a path that are not quite one system call.

use core::ffi::{c_char, c_int, c_void};

use crate::arch::nr;
use crate::log::{Log, What};
use crate::open::{keep, keep_attributes};
use crate::place::At;
use crate::record::{note, one_int, told};
use crate::session::Session;
use crate::sys::{self, AT_FDCWD, Errno, five};
use wire::log::kind;

/// `chmod` and `fchmodat`: the kernel's call has no flags; with some the C library goes its own ways.
///
/// # Safety
/// The arguments are the program's.
pub(crate) unsafe fn changes_mode(
    session: &Session,
    next: &dyn Fn() -> c_int,
    at: At,
    mode: u32,
    flags: c_int,
) -> Result<c_int, Errno> {
    if flags != 0 {
        return told(session, next, kind::ATTRIBUTES, at);
    }
    keep_attributes(session, at, 0);
    let args = five!(at.0, at.1, mode);
    // SAFETY: as the caller promises.
    unsafe { one_int(session, next, kind::ATTRIBUTES, at, nr::FCHMODAT, args) }
}

/// `utimensat`, and `futimens` with a null path, which to the kernel means the descriptor. What the C library refuses
/// before it asks the kernel it is left to refuse.
///
/// # Safety
/// The arguments are the program's.
pub(crate) unsafe fn sets_times(
    session: &Session,
    next: &dyn Fn() -> c_int,
    is_descriptor: bool,
    at: At,
    times: *const c_void,
    flags: c_int,
) -> Result<c_int, Errno> {
    if is_descriptor != at.1.is_null() || is_descriptor && at.0 < 0 {
        return Ok(next());
    }
    if !is_descriptor {
        keep_attributes(session, at, flags);
    }
    let args = five!(at.0, at.1, times, flags);
    // SAFETY: as the caller promises.
    unsafe { one_int(session, next, kind::ATTRIBUTES, at, nr::UTIMENSAT, args) }
}

/// `utime` and `utimes`, by the number of the call.
///
/// # Safety
/// The arguments are the program's.
pub(crate) unsafe fn sets_times_of(
    session: &Session,
    next: &dyn Fn() -> c_int,
    path: *const c_char,
    times: *const c_void,
    call: usize,
) -> Result<c_int, Errno> {
    let at = At(AT_FDCWD, path);
    keep_attributes(session, at, 0);
    // SAFETY: as the caller promises.
    unsafe { one_int(session, next, kind::ATTRIBUTES, at, call, five!(path, times)) }
}

/// `truncate`.
///
/// # Safety
/// The arguments are the program's.
pub(crate) unsafe fn truncates(
    session: &Session,
    next: &dyn Fn() -> c_int,
    path: *const c_char,
    size: i64,
) -> Result<c_int, Errno> {
    let Some(log) = Log::ready(session) else { return Ok(next()) };
    keep(session, At(AT_FDCWD, path), 0);
    // SAFETY: as the caller promises.
    let result = unsafe { sys::marked(nr::TRUNCATE, five!(path, size)) };
    let what = What { value: u32::from(size == 0), ..What::new(kind::TRUNCATE, result) };
    // A negative size is refused before the path is looked at.
    if result != Err(Errno::INVAL) {
        note(session, &log, what, At(AT_FDCWD, path));
    }
    result.map(|value| value as c_int)
}
