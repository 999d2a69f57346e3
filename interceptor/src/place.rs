// SPDX-License-Identifier: Apache-2.0
//! Names that files get: after a rename or a link, a placeholder (or a directory that may hold some) is at a new path, which the tracer
//! wants to know. So is what a carrying program creates.

use core::ffi::{c_char, c_int};

use crate::arch::nr;
use crate::ask::Request;
use crate::open::{keep, placeholder_at};
use crate::path::{Located, descriptor};
use crate::record::two;
use crate::room::{Buffer, Room};
use crate::session::Session;
use crate::sys::{
    self, AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, Errno, O_CLOEXEC, O_DIRECTORY, O_PATH, five,
};
use crate::text::{Strings, Text, string};
use wire::log::kind;
use wire::{FdIdentity, request_flags, request_kind};

/// A path as an `…at` call sees it.
#[derive(Clone, Copy)]
pub(crate) struct At(pub(crate) c_int, pub(crate) *const c_char);

/// `rename` and its siblings.
///
/// # Safety
/// The arguments are the program's.
pub(crate) unsafe fn renames(
    session: &Session,
    next: &dyn Fn() -> c_int,
    old: At,
    new: At,
    flags: u32,
) -> Result<c_int, Errno> {
    // Nobody finds it under its old name again, nor what was at the new one.
    keep(session, old, AT_SYMLINK_NOFOLLOW);
    keep(session, new, AT_SYMLINK_NOFOLLOW);
    let args = five!(old.0, old.1, new.0, new.1, flags);
    // SAFETY: as the caller promises.
    let result = unsafe { two(session, next, (kind::RENAME, flags), [old, new], nr::RENAMEAT2, args) }?;
    report_placed(session, result, old, new, flags);
    Ok(result)
}

/// `link` and `linkat`.
///
/// # Safety
/// The arguments are the program's.
pub(crate) unsafe fn links(
    session: &Session,
    next: &dyn Fn() -> c_int,
    old: At,
    new: At,
    flags: c_int,
) -> Result<c_int, Errno> {
    if flags & AT_EMPTY_PATH != 0 {
        // A file that may have no name: the kernel's side looks what it is.
        return Ok(next());
    }
    let args = five!(old.0, old.1, new.0, new.1, flags);
    // SAFETY: as the caller promises.
    let result = unsafe { two(session, next, (kind::LINK, 0), [old, new], nr::LINKAT, args) }?;
    report_placed(session, result, old, new, 0);
    Ok(result)
}

fn report_placed(session: &Session, result: c_int, old: At, new: At, flags: u32) {
    const RENAME_EXCHANGE: u32 = 2;
    if result == 0 {
        report_moved(session, new, old);
        if flags & RENAME_EXCHANGE != 0 {
            report_moved(session, old, new);
        }
    }
}

/// Reports what is at `new` and was at `old`, if the tracer wants to know of such a thing.
fn report_moved(session: &Session, new: At, old: At) {
    let Ok(stat) = sys::stat_at(new.0, new.1, AT_SYMLINK_NOFOLLOW) else { return };
    if stat.is_directory() {
        report(session, new, old, request_flags::DIRECTORY);
    } else if crate::open::may_be(&stat) && placeholder_at(new.0, new.1, AT_SYMLINK_NOFOLLOW) {
        report(session, new, old, 0);
    }
}

/// The path of the directory in which something stands, and its name there. To others its own path may lead elsewhere, if it begins in
/// `/proc/self` or in a directory that is gone.
fn place<'a>(at: At, name: &'a [u8], buffer: &'a mut Buffer) -> Option<[&'a [u8]; 3]> {
    let slash = name.iter().rposition(|&byte| byte == b'/');
    let (folder, name) = name.split_at(slash.map_or(0, |slash| slash + 1));
    if name == b"\0" {
        return None;
    }
    let fd = {
        let mut text = Text::new(buffer);
        text.push(if folder.is_empty() { b"." } else { folder });
        sys::open_at(at.0, text.finish()?.as_ptr(), O_PATH | O_DIRECTORY | O_CLOEXEC).ok()?
    };
    let folder = descriptor(fd, buffer);
    sys::close(fd);
    Some([folder?, b"/", name])
}

/// Reports a file that a carrying program has just created or emptied.
#[cold]
pub(crate) fn report_new(session: &Session, dirfd: c_int, path: *const c_char) {
    report(session, At(dirfd, path), At(AT_FDCWD, c"".as_ptr()), 0);
}

#[cold]
#[inline(never)]
fn report(session: &Session, new: At, old: At, flags: u32) {
    let Some(mut room) = Room::<4>::new() else { return };
    let [real, new_folder, old_folder, buffer] = room.buffers();
    // SAFETY: the kernel has just used both names, so they are strings.
    let located = unsafe { (Located::at(new.0, new.1, new_folder), Located::at(old.0, old.1, old_folder)) };
    let (named, old) = located;
    // SAFETY: as before.
    let place = unsafe { string(new.1) }.and_then(|name| place(new, name.to_bytes_with_nul(), real));
    let Some([folder, slash, name]) = place.or(named.map(|named| named.parts())) else { return };
    let cwd = match sys::getcwd(buffer) {
        // It is gone.
        [] if place.is_some() => b"/",
        cwd => cwd,
    };
    let [old_folder, old_slash, old_name] = old.unwrap_or(Located::plain(c"")).parts();
    // Whatever the answer, the file has its name.
    let _ = Request {
        kind: request_kind::PLACED,
        command: session.command,
        flags,
        umask: 0,
        fds: [FdIdentity::default(); 3],
        others: &[],
        parts: &[folder, slash, name, cwd, b"\0", old_folder, old_slash, old_name],
        argv: Strings::EMPTY,
        envp: Strings::EMPTY,
        stderr: Some(2),
    }
    .ask(session);
}
