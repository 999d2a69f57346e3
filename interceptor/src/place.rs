// SPDX-License-Identifier: Apache-2.0
//! Names that files get: after a rename or a link, a placeholder (or a directory that may hold some) is at a new path, which the tracer
//! wants to know. So is what a carrying program creates.

use core::ffi::{c_char, c_int};

use crate::arch::nr;
use crate::ask::Request;
use crate::open::placeholder_at;
use crate::path::Located;
use crate::record::two;
use crate::session::Session;
use crate::sys::{self, AT_FDCWD, AT_SYMLINK_NOFOLLOW, Errno, PATH_MAX, five};
use crate::text::Strings;
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

/// Reports a file that a carrying program has just created or emptied.
#[cold]
pub(crate) fn report_new(session: &Session, dirfd: c_int, path: *const c_char) {
    report(session, At(dirfd, path), At(AT_FDCWD, c"".as_ptr()), 0);
}

#[cold]
#[inline(never)]
fn report(session: &Session, new: At, old: At, flags: u32) {
    let mut new_folder = [0; PATH_MAX];
    let mut old_folder = [0; PATH_MAX];
    let mut buffer = [0; PATH_MAX];
    // SAFETY: the kernel has just used both names, so they are strings.
    let located =
        unsafe { (Located::at(new.0, new.1, &mut new_folder), Located::at(old.0, old.1, &mut old_folder)) };
    let (Some(new), old) = located else { return };
    let cwd = sys::getcwd(&mut buffer);
    let [folder, slash, name] = new.parts();
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
