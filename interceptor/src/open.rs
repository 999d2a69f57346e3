// SPDX-License-Identifier: Apache-2.0
//! The functions that open a file. Where it is a placeholder, the caller waits until the tracer has put the real file in its place, and
//! gets that. Any other file costs two `lseek`.

use core::ffi::{c_char, c_int, c_void};

use crate::arch::Stat;
use crate::ask::Request;
use crate::path::Located;
use crate::place::report_new;
use crate::session::Session;
use crate::sys::{
    self, AT_FDCWD, Errno, O_ACCMODE, O_CLOEXEC, O_CREAT, O_DIRECTORY, O_EXCL, O_NOCTTY, O_NONBLOCK, O_PATH,
    O_RDONLY, O_TRUNC, O_WRONLY, PATH_MAX,
};
use crate::text::{Strings, string};
use wire::{FdIdentity, PLACEHOLDER_HEAD, PLACEHOLDER_MARK, reply_kind, request_flags, request_kind};

/// What an open means for a placeholder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Intent {
    /// Its content does not matter.
    Ignore,
    /// It is read.
    Read,
    /// Part of it is changed, the rest stays.
    Change,
}

fn intent(flags: c_int) -> Intent {
    if flags & (O_PATH | O_DIRECTORY | O_TRUNC) != 0 || flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL {
        Intent::Ignore
    } else if flags & O_ACCMODE == O_RDONLY {
        Intent::Read
    } else {
        Intent::Change
    }
}

/// `open`, `openat` and their siblings.
pub(crate) fn opens(
    session: &Session,
    call: &dyn Fn() -> c_int,
    dirfd: c_int,
    path: *const c_char,
    flags: c_int,
) -> Result<c_int, Errno> {
    if session.carries() {
        let fd = call();
        if fd >= 0 && flags & (O_CREAT | O_TRUNC) != 0 {
            report_new(session, dirfd, path);
        }
        return Ok(fd);
    }
    match intent(flags) {
        Intent::Ignore => Ok(call()),
        Intent::Read => {
            let fd = call();
            if fd < 0 || !is_placeholder(fd) {
                return Ok(fd);
            }
            let forced = force(session, dirfd, path, 0);
            sys::close(fd);
            // The file under this name is another one now.
            forced.map(|()| call())
        }
        Intent::Change => {
            prepare(session, dirfd, path, request_flags::WRITE)?;
            Ok(call())
        }
    }
}

/// `fopen`, `freopen` and their siblings: looked at by name beforehand.
///
/// # Safety
/// `mode` is null or a string.
pub(crate) unsafe fn opens_stream(
    session: &Session,
    call: &dyn Fn() -> *mut c_void,
    path: *const c_char,
    mode: *const c_char,
) -> Result<*mut c_void, Errno> {
    // SAFETY: as the caller promises.
    let flags = unsafe { string(mode) }.map_or(O_PATH, |mode| stream_flags(mode.to_bytes()));
    if path.is_null() {
        return Ok(call());
    }
    if session.carries() {
        let stream = call();
        if !stream.is_null() && flags & (O_CREAT | O_TRUNC) != 0 {
            report_new(session, AT_FDCWD, path);
        }
        return Ok(stream);
    }
    match intent(flags) {
        Intent::Ignore => {}
        Intent::Read => prepare(session, AT_FDCWD, path, 0)?,
        Intent::Change => prepare(session, AT_FDCWD, path, request_flags::WRITE)?,
    }
    Ok(call())
}

/// The flags of `open` that matter here for a mode of `fopen`.
fn stream_flags(mode: &[u8]) -> c_int {
    let update = mode.iter().take_while(|&&letter| letter != b',').any(|&letter| letter == b'+');
    match mode.first() {
        Some(b'r') if update => O_WRONLY,
        Some(b'r') => O_RDONLY,
        Some(b'w') => O_WRONLY | O_CREAT | O_TRUNC,
        Some(b'a') => O_WRONLY | O_CREAT,
        _ => O_PATH,
    }
}

/// Before `dlopen`: forces a library that is named by its path.
///
/// # Safety
/// `path` is null or a string.
pub(crate) unsafe fn prepare_library(session: &Session, path: *const c_char) {
    // SAFETY: as the caller promises.
    let Some(name) = (unsafe { string(path) }) else { return };
    if name.to_bytes().contains(&b'/') && !session.carries() {
        // Where forcing fails `dlopen` will say that this is no library.
        let _ = prepare(session, AT_FDCWD, path, 0);
    }
}

/// Forces what is at `path` if it is a placeholder.
fn prepare(session: &Session, dirfd: c_int, path: *const c_char, flags: u32) -> Result<(), Errno> {
    if placeholder_at(dirfd, path, 0) { force(session, dirfd, path, flags) } else { Ok(()) }
}

/// Could this file be a placeholder?
pub(crate) fn may_be(stat: &Stat) -> bool {
    stat.is_file() && u64::try_from(stat.size).is_ok_and(wire::size_may_be_placeholder)
}

/// Is this file, just opened, a placeholder?
#[inline]
fn is_placeholder(fd: c_int) -> bool {
    sys::end_of(fd).is_some_and(wire::size_may_be_placeholder)
        && sys::fstat(fd).is_ok_and(|stat| may_be(&stat))
        && has_head(fd)
}

#[cold]
fn has_head(fd: c_int) -> bool {
    let mut head = [0; PLACEHOLDER_HEAD + PLACEHOLDER_MARK.len()];
    let length = sys::pread(fd, &mut head, 0).unwrap_or(0);
    wire::head_is_placeholder(head.get(..length).unwrap_or_default())
}

/// Is the file at this path a placeholder? `flags` are those of `fstatat`.
pub(crate) fn placeholder_at(dirfd: c_int, path: *const c_char, flags: c_int) -> bool {
    if !sys::stat_at(dirfd, path, flags).is_ok_and(|stat| may_be(&stat)) {
        return false;
    }
    let Ok(fd) = sys::open_at(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) else {
        return false;
    };
    let found = has_head(fd);
    sys::close(fd);
    found
}

/// Asks for the real file. Where no tracer answers, the open fails: what stands there is not what anybody wants to read.
#[cold]
#[inline(never)]
fn force(session: &Session, dirfd: c_int, path: *const c_char, flags: u32) -> Result<(), Errno> {
    let mut folder = [0; PATH_MAX];
    let mut buffer = [0; PATH_MAX];
    // SAFETY: the kernel has just opened a file by this name, so it is a string.
    let Some(located) = (unsafe { Located::at(dirfd, path, &mut folder) }) else { return Err(Errno::IO) };
    let cwd = sys::getcwd(&mut buffer);
    let [folder, slash, name] = located.parts();
    let reply = Request {
        kind: request_kind::OPEN,
        flags,
        umask: 0,
        fds: [FdIdentity::default(); 3],
        parts: &[folder, slash, name, cwd, b"\0"],
        argv: Strings::EMPTY,
        envp: Strings::EMPTY,
        stderr: Some(2),
    }
    .ask(session);
    match reply {
        Some(reply) if reply.kind == reply_kind::FAIL => Err(Errno(reply.value)),
        Some(_) => Ok(()),
        None => Err(Errno::IO),
    }
}
