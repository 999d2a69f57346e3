// SPDX-License-Identifier: Apache-2.0
//! Calls that name a path and do nothing else that concerns us: made by ourselves, marked, and recorded. Without a log
//! they are the C library's. Knows no particular call but `readlink`.

use core::ffi::{CStr, c_char, c_int};

use crate::arch::nr;
use crate::libc;
use crate::log::{Log, What};
use crate::open::prepare;
use crate::path::descriptor_link;
use crate::place::At;
use crate::room::{Buffer, Room};
use crate::session::Session;
use crate::sys::{self, AT_FDCWD, AT_SYMLINK_NOFOLLOW, Errno, O_CLOEXEC, O_PATH, five};
use crate::text::Text;
use wire::log::{MAX_STRING, bits, kind};
use wire::request_flags;

/// Makes a call about one path. `next` is the C library's function.
///
/// # Safety
/// The call is what the program asked for.
#[inline(never)]
pub(crate) unsafe fn one(
    session: &Session,
    next: &dyn Fn() -> isize,
    kind: u16,
    at: At,
    number: usize,
    args: [usize; 5],
) -> Result<isize, Errno> {
    let log = Log::ready(session);
    // Nearly all programs want facts, and in most recordings of configure scripts there is nothing to wait for.
    if session.wants_facts()
        && matches!(number, nr::NEWFSTATAT | nr::STATX)
        && log.as_ref().is_none_or(Log::has_placeholders)
    {
        prepare(session, at.0, at.1, request_flags::LOOK)?;
    }
    let Some(log) = log else { return Ok(next()) };
    // SAFETY: as the caller promises.
    let result = unsafe { sys::marked(number, args) };
    if result == Err(Errno::NOSYS) {
        // The C library may know another way.
        return Ok(next());
    }
    if kind != kind::LOOKUP || number == nr::READLINKAT || result != Err(Errno::INVAL) {
        note(session, &log, What::new(kind, result), at);
    }
    result.map(|value| value as isize)
}

/// The same for functions that return an `int`.
///
/// # Safety
/// As [`one`].
pub(crate) unsafe fn one_int(
    session: &Session,
    next: &dyn Fn() -> c_int,
    kind: u16,
    at: At,
    number: usize,
    args: [usize; 5],
) -> Result<c_int, Errno> {
    // SAFETY: as the caller promises.
    let result = unsafe { one(session, &|| next() as isize, kind, at, number, args) };
    result.map(|value| value as c_int)
}

/// Makes a call about two paths; `value` goes into the record.
///
/// # Safety
/// The call is what the program asked for.
#[inline(never)]
pub(crate) unsafe fn two(
    session: &Session,
    next: &dyn Fn() -> c_int,
    (kind, value): (u16, u32),
    paths: [At; 2],
    number: usize,
    args: [usize; 5],
) -> Result<c_int, Errno> {
    let Some(log) = Log::ready(session) else { return Ok(next()) };
    // SAFETY: as the caller promises.
    let result = unsafe { sys::marked(number, args) };
    if result == Err(Errno::NOSYS) {
        return Ok(next());
    }
    note_two(session, &log, What { value, ..What::new(kind, result) }, paths);
    result.map(|value| value as c_int)
}

/// Makes a call that is not recorded, only kept from the filter.
///
/// # Safety
/// The call is what the program asked for, and names no path.
pub(crate) unsafe fn none(
    session: &Session,
    next: &dyn Fn() -> c_int,
    number: usize,
    args: [usize; 5],
) -> Result<c_int, Errno> {
    if Log::ready(session).is_none() {
        return Ok(next());
    }
    // SAFETY: as the caller promises.
    unsafe { sys::marked(number, args) }.map(|value| value as c_int)
}

/// Has the C library make the call, which the filter sees; where there is none, it is recorded here.
pub(crate) fn told(session: &Session, next: &dyn Fn() -> c_int, kind: u16, at: At) -> Result<c_int, Errno> {
    let result = next();
    if let Some(log) = Log::ready(session).filter(|_| !sys::is_marking()) {
        let result = if result < 0 { Err(libc::errno()) } else { Ok(result as usize) };
        note(session, &log, What::new(kind, result), at);
    }
    Ok(result)
}

/// Records what was done to a path.
#[inline]
pub(crate) fn note(session: &Session, log: &Log, what: What, at: At) {
    const NOTDIR: c_int = -Errno::NOTDIR.0;
    let exists = if what.result == NOTDIR && is_there(at) { bits::FIRST_EXISTS } else { 0 };
    let what = What { bits: what.bits | exists, ..what };
    let may_go_elsewhere = match what.kind {
        kind::OPEN => wire::log::opens_to_change(what.value),
        kind::TRUNCATE | kind::ATTRIBUTES => true,
        _ => false,
    };
    if may_go_elsewhere && what.result >= 0 && !at.1.is_null() && is_link(at) {
        note_target(log, at);
    }
    match named(at.1, what.result) {
        Some(name) if at.0 == AT_FDCWD || name.first() == Some(&b'/') => {
            log.append(session, what, name, &[]);
        }
        Some(name) => note_below(session, log, what, at.0, name),
        None if matches!(what.kind, kind::ATTRIBUTES | kind::LIST) && at.0 >= 0 => {
            note_below(session, log, what, at.0, &[]);
        }
        None => {}
    }
}

/// Is this path a symbolic link?
fn is_link(at: At) -> bool {
    let mut target = [0_u8; 1];
    let args = five!(at.0, at.1, target.as_mut_ptr(), target.len());
    // SAFETY: the kernel has just used the path; it writes one byte at most.
    unsafe { sys::marked(nr::READLINKAT, args) }.is_ok()
}

/// What was changed has another name than the one that the call gave.
#[cold]
#[inline(never)]
fn note_target(log: &Log, at: At) {
    let Some(mut room) = Room::<1>::new() else { return log.note_also_changed(None) };
    let [buffer] = room.buffers();
    let Ok(fd) = sys::open_at(at.0, at.1, O_PATH | O_CLOEXEC) else {
        return log.note_also_changed(None);
    };
    match descriptor_link(fd, buffer) {
        Ok(path) if path.starts_with(b"/") => log.note_also_changed(Some(path)),
        // A pipe or a socket.
        Ok(_) => {}
        Err(_) => log.note_also_changed(None),
    }
    sys::close(fd);
}

/// The same for a path below a descriptor, or for the descriptor's own.
#[cold]
#[inline(never)]
fn note_below(session: &Session, log: &Log, what: What, dirfd: c_int, name: &[u8]) {
    let Some(mut room) = Room::<1>::new() else { return note_gap(session, log, what) };
    let [buffer] = room.buffers();
    match absolute(dirfd, name, buffer) {
        Below::Path(path) => log.append(session, what, path, &[]),
        Below::Nameless => {}
        Below::Unknown => note_gap(session, log, what),
    }
}

/// Records what was done with two paths.
#[inline(never)]
fn note_two(session: &Session, log: &Log, mut what: What, [old, new]: [At; 2]) {
    if what.result < 0 {
        let (first, second) = (is_there(old), is_there(new));
        what.bits |= if first { bits::FIRST_EXISTS } else { 0 };
        what.bits |= if second { bits::SECOND_EXISTS } else { 0 };
    }
    let Some(mut room) = Room::<2>::new() else { return note_gap(session, log, what) };
    let [old_buffer, new_buffer] = room.buffers();
    match (place(what, old, old_buffer), place(what, new, new_buffer)) {
        (Below::Path(old), Below::Path(new)) => log.append(session, what, old, new),
        (Below::Unknown, _) | (_, Below::Unknown) => note_gap(session, log, what),
        _ => {}
    }
}

/// Is there anything at this path, be it a link?
#[cold]
#[inline(never)]
fn is_there(at: At) -> bool {
    sys::stat_at(at.0, at.1, AT_SYMLINK_NOFOLLOW).is_ok()
}

/// Records a symbolic link: a path, and a string that is none of ours.
#[inline(never)]
pub(crate) fn note_link(session: &Session, log: &Log, what: What, at: At, target: *const c_char) {
    let Some(mut room) = Room::<1>::new() else { return note_gap(session, log, what) };
    let [buffer] = room.buffers();
    let target = named(target, what.result);
    match (place(what, at, buffer), target) {
        (Below::Path(path), Some(target)) => log.append(session, what, path, target),
        (Below::Unknown, Some(_)) => note_gap(session, log, what),
        _ => {}
    }
}

/// A path could not be told. A descriptor that is none makes the call fail, and touches nothing.
fn note_gap(session: &Session, log: &Log, what: What) {
    if what.result != -Errno::BADF.0 {
        log.append(session, What { kind: kind::GAP, ..what }, &[], &[]);
    }
}

/// Where a path below a descriptor is.
enum Below<'a> {
    Path(&'a [u8]),
    /// Nowhere: the directory was removed, or it is none.
    Nameless,
    Unknown,
}

fn place<'a>(what: What, at: At, buffer: &'a mut Buffer) -> Below<'a> {
    match named(at.1, what.result) {
        Some(name) if at.0 == AT_FDCWD || name.first() == Some(&b'/') => Below::Path(name),
        Some(name) => absolute(at.0, name, buffer),
        // What has AT_EMPTY_PATH.
        None if at.0 >= 0 && what.result >= 0 => absolute(at.0, &[], buffer),
        None => Below::Nameless,
    }
}

/// The descriptor's path, and `name` below it.
fn absolute<'a>(dirfd: c_int, name: &[u8], buffer: &'a mut Buffer) -> Below<'a> {
    let length = match descriptor_link(dirfd, buffer) {
        Ok(path) if path.starts_with(b"/") && !path.ends_with(b" (deleted)") => path.len(),
        Ok(_) => return Below::Nameless,
        Err(_) => return Below::Unknown,
    };
    let added = match buffer.get_mut(length..) {
        _ if name.is_empty() => Some(0),
        Some(space) => Text::new(space).push(b"/").push(name).complete(),
        None => None,
    };
    match added.and_then(|added| buffer.get(..length + added)) {
        Some(path) => Below::Path(path),
        None => Below::Unknown,
    }
}

/// The string that a call named, if the kernel has read it: what it has not read may be no string. Nothing for an empty one.
#[inline]
pub(crate) fn named<'a>(path: *const c_char, result: c_int) -> Option<&'a [u8]> {
    const FAULT: c_int = -Errno::FAULT.0;
    const NAMETOOLONG: c_int = -Errno::NAMETOOLONG.0;
    if path.is_null() || result == FAULT {
        return None;
    }
    let name: &[u8] = if result == NAMETOOLONG {
        short(path)?
    } else {
        // SAFETY: the kernel has found its NUL.
        unsafe { CStr::from_ptr(path) }.to_bytes()
    };
    (!name.is_empty()).then_some(name)
}

/// A string that may have no end: one of its names is too long, or the whole.
#[cold]
fn short<'a>(path: *const c_char) -> Option<&'a [u8]> {
    for length in 0..MAX_STRING {
        // SAFETY: the kernel has read as many bytes, or up to the NUL.
        if unsafe { *path.add(length) } == 0 {
            // SAFETY: as many bytes were read just now.
            return Some(unsafe { core::slice::from_raw_parts(path.cast(), length) });
        }
    }
    None
}
