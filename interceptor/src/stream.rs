// SPDX-License-Identifier: Apache-2.0
//! The functions that open a stream: of a file or of a directory. Both are a descriptor that we open, given to the C
//! library. What is more than that is the C library's from the start, looked at by name beforehand as far as
//! placeholders go.

use core::ffi::{c_char, c_int, c_void};

use crate::libc;
use crate::log::{Log, What};
use crate::open::{Intent, Opening, intent, keep, prepare};
use crate::place::{At, report_new};
use crate::record::{note, told};
use crate::session::Session;
use crate::sys::{
    self, AT_FDCWD, Errno, O_APPEND, O_CLOEXEC, O_CREAT, O_DIRECTORY, O_EXCL, O_NONBLOCK, O_PATH, O_RDONLY,
    O_RDWR, O_TRUNC, O_WRONLY,
};
use crate::text::string;
use wire::log::{bits, kind};
use wire::request_flags;

/// The mode that the C library gives to files that it creates.
const MODE: u32 = 0o666;

/// `fopen`.
///
/// # Safety
/// `mode` is null or a string.
pub(crate) unsafe fn opens(
    session: &Session,
    next: &dyn Fn() -> *mut c_void,
    path: *const c_char,
    mode: *const c_char,
) -> Result<*mut c_void, Errno> {
    // SAFETY: as the caller promises.
    let flags = unsafe { string(mode) }.and_then(|mode| plain_flags(mode.to_bytes()));
    let (Some(flags), Some(_)) = (flags, Log::ready(session)) else {
        // SAFETY: as the caller promises.
        return unsafe { reopens(session, next, path, mode) };
    };
    let missing = || {
        libc::set_errno(Errno::NOSYS);
        -1
    };
    let fd = Opening { session, next: &missing, at: At(AT_FDCWD, path), flags, mode: MODE }.run()?;
    if flags & (O_APPEND | O_RDWR) == O_APPEND {
        // `fdopen` leaves this out where the descriptor appends already.
        sys::seek_end(fd);
    }
    // SAFETY: as the caller promises.
    owned(fd, unsafe { libc::fdopen(fd, mode) })
}

/// `freopen`, and every `fopen` that is not plain.
///
/// # Safety
/// `mode` is null or a string.
pub(crate) unsafe fn reopens(
    session: &Session,
    next: &dyn Fn() -> *mut c_void,
    path: *const c_char,
    mode: *const c_char,
) -> Result<*mut c_void, Errno> {
    if path.is_null() {
        return Ok(next());
    }
    // SAFETY: as the caller promises.
    let flags = unsafe { string(mode) }.and_then(|mode| flags(mode.to_bytes())).unwrap_or(O_PATH);
    if !session.carries() {
        match intent(flags) {
            Intent::Ignore => {}
            Intent::Read => prepare(session, AT_FDCWD, path, 0)?,
            Intent::Change => prepare(session, AT_FDCWD, path, request_flags::WRITE)?,
        }
    }
    if flags & (O_PATH | O_EXCL) == 0 && flags & (O_WRONLY | O_RDWR) != 0 {
        keep(session, At(AT_FDCWD, path), 0);
    }
    let existed = flags & O_CREAT != 0 && sys::exists(AT_FDCWD, path) != Err(Errno::NOENT);
    let stream = next();
    if session.carries() && !stream.is_null() && flags & (O_CREAT | O_TRUNC) != 0 {
        report_new(session, AT_FDCWD, path);
    }
    if let Some(log) = Log::ready(session).filter(|_| !sys::is_marking()) {
        let result = if stream.is_null() { Err(libc::errno()) } else { Ok(0) };
        let created = flags & O_CREAT != 0 && !existed && result.is_ok();
        let bits = if created { bits::CREATED } else { 0 };
        let what = What { bits, value: flags as u32, ..What::new(kind::OPEN, result) };
        note(session, &log, what, At(AT_FDCWD, path));
    }
    Ok(stream)
}

/// `opendir`.
pub(crate) fn opens_directory(
    session: &Session,
    next: &dyn Fn() -> *mut c_void,
    path: *const c_char,
) -> Result<*mut c_void, Errno> {
    let Some(log) = Log::ready(session) else { return Ok(next()) };
    let at = At(AT_FDCWD, path);
    let flags = O_RDONLY | O_NONBLOCK | O_DIRECTORY | O_CLOEXEC;
    let fd = Opening { session, next: &|| -1, at, flags, mode: 0 }.run()?;
    note(session, &log, What::new(kind::LIST, Ok(0)), at);
    owned(fd, libc::fdopendir(fd))
}

/// `mkstemp` and its siblings, which the C library makes: afterwards the template is the path.
pub(crate) fn makes_temporary(
    session: &Session,
    next: &dyn Fn() -> c_int,
    path: *const c_char,
) -> Result<c_int, Errno> {
    let fd = next();
    if let Some(log) = Log::ready(session).filter(|_| fd >= 0 && !sys::is_marking()) {
        let value = (O_RDWR | O_CREAT | O_EXCL) as u32;
        let what = What { bits: bits::CREATED, value, ..What::new(kind::OPEN, Ok(fd as usize)) };
        note(session, &log, what, At(AT_FDCWD, path));
    }
    Ok(fd)
}

/// `mkdtemp`.
pub(crate) fn makes_temporary_directory(
    session: &Session,
    next: &dyn Fn() -> *mut c_char,
    path: *const c_char,
) -> Result<*mut c_char, Errno> {
    let mut made = core::ptr::null_mut();
    let made = core::cell::Cell::from_mut(&mut made);
    let call = || {
        made.set(next());
        if made.get().is_null() { -1 } else { 0 }
    };
    told(session, &call, kind::MAKE, At(AT_FDCWD, path))?;
    Ok(made.get())
}

/// The stream that a descriptor was opened for; without one the descriptor is closed again.
fn owned(fd: c_int, stream: *mut c_void) -> Result<*mut c_void, Errno> {
    if stream.is_null() {
        let errno = libc::errno();
        sys::close(fd);
        return Err(errno);
    }
    Ok(stream)
}

/// The flags of `open` for a mode of `fopen`; nothing where it is none.
fn flags(mode: &[u8]) -> Option<c_int> {
    let (first, rest) = mode.split_first()?;
    let mut flags = match first {
        b'r' => O_RDONLY,
        b'w' => O_WRONLY | O_CREAT | O_TRUNC,
        b'a' => O_WRONLY | O_CREAT | O_APPEND,
        _ => return None,
    };
    for letter in rest.iter().take_while(|&&letter| letter != b',') {
        match letter {
            b'+' => flags = flags & !O_WRONLY | O_RDWR,
            b'x' => flags |= O_EXCL,
            b'e' => flags |= O_CLOEXEC,
            _ => {}
        }
    }
    Some(flags)
}

/// The same for modes that mean the same to every C library and to `fdopen`. (`m` maps the file, `,ccs=` converts it;
/// glibc looks at the first letters only.)
fn plain_flags(mode: &[u8]) -> Option<c_int> {
    let is_plain = mode.len() <= 4 && mode.iter().skip(1).all(|letter| b"+bxe".contains(letter));
    flags(mode).filter(|_| is_plain)
}
