// SPDX-License-Identifier: Apache-2.0
//! The working directory, from which relative paths of later records start; and directories that are read.

use core::ffi::{c_char, c_int};

use crate::arch::nr;
use crate::log::{self, Log, What};
use crate::place::At;
use crate::record::{named, note};
use crate::room::Room;
use crate::session::Session;
use crate::sys::{self, Errno, five};
use wire::log::kind;

/// `chdir` to a path, `fchdir` where that is none.
///
/// A child of `vfork` has its own directory but not its own memory: from then on everybody here looks who and where he is.
///
/// # Safety
/// The arguments are the program's.
pub(crate) unsafe fn changes(
    session: &Session,
    next: &dyn Fn() -> c_int,
    path: Option<*const c_char>,
    fd: c_int,
) -> Result<c_int, Errno> {
    let Some(log) = Log::ready(session) else { return Ok(next()) };
    let process = sys::getpid();
    if process != log::process() {
        log::be_unsure();
    }
    log.tell_once(session, process);
    // SAFETY: as the caller promises.
    let result = unsafe {
        match path {
            Some(path) => sys::marked(nr::CHDIR, five!(path)),
            None => sys::marked(nr::FCHDIR, five!(fd)),
        }
    };
    let what = What::new(if path.is_some() { kind::CHDIR } else { kind::FCHDIR }, result);
    let name = path.and_then(|path| named(path, what.result));
    if name.is_some() || path.is_none() && result.is_ok() {
        let mut room = if result.is_ok() { Room::<1>::new() } else { None };
        let now = room.as_mut().map(|room| {
            let [buffer] = room.buffers();
            sys::getcwd(buffer)
        });
        log.append_as(session, process, what, name.unwrap_or_default(), now.unwrap_or_default());
    }
    result.map(|_| 0)
}

/// `fts_open` and `nftw`: without this option the C library changes the directory by itself, unseen.
pub(crate) fn walks(options: c_int, stays: c_int) {
    if options & stays == 0 {
        log::be_unsure();
    }
}

/// `fdopendir`: the directory is read from now on.
pub(crate) fn list(session: &Session, fd: c_int) {
    if let Some(log) = Log::ready(session) {
        note(session, &log, What::new(kind::LIST, Ok(0)), At(fd, core::ptr::null()));
    }
}
