// SPDX-License-Identifier: Apache-2.0
//! The functions that open a file by a descriptor. Where it is a placeholder, the caller waits until the tracer has put
//! the real file in its place, and gets that. Any other file costs one `ioctl`. Where it is a directory, the caller
//! waits for the placeholders in it: who reads it will ask how large they are before opening them, if at all.

use core::ffi::{c_char, c_int};

use crate::arch::{Stat, nr};
use crate::ask::Request;
use crate::libc::{self, cancellable};
use crate::log::{Log, What};
use crate::own;
use crate::path::Located;
use crate::place::{At, report_new};
use crate::record::note;
use crate::room::Room;
use crate::session::Session;
use crate::sys::{
    self, AT_FDCWD, AT_SYMLINK_NOFOLLOW, Errno, O_ACCMODE, O_CLOEXEC, O_CREAT, O_DIRECTORY, O_EXCL, O_NOCTTY,
    O_NONBLOCK, O_PATH, O_RDONLY, O_TMPFILE, O_TRUNC, five,
};
use crate::text::{Strings, string};
use wire::log::{bits, kind};
use wire::{FdIdentity, PLACEHOLDER_HEAD, PLACEHOLDER_MARK, reply_kind, request_flags, request_kind};

/// What an open means for a placeholder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Its content does not matter.
    Ignore,
    /// It is read.
    Read,
    /// Part of it is changed, the rest stays.
    Change,
}

pub(crate) fn intent(flags: c_int) -> Intent {
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
    next: &dyn Fn() -> c_int,
    at: At,
    flags: c_int,
    mode: u32,
) -> Result<c_int, Errno> {
    // Where nothing is made, the caller gives no mode.
    let mode = if makes(flags) { mode } else { 0 };
    Opening { session, next, at, flags, mode }.run()
}

/// Those that are called without a mode, by what was compiled with checks: with flags that need one the C library ends the program.
pub(crate) fn opens_checked(
    session: &Session,
    next: &dyn Fn() -> c_int,
    at: At,
    flags: c_int,
) -> Result<c_int, Errno> {
    if makes(flags) { Ok(next()) } else { opens(session, next, at, flags, 0) }
}

fn makes(flags: c_int) -> bool {
    flags & O_CREAT != 0 || flags & O_TMPFILE == O_TMPFILE
}

/// One `open`, whichever function was called.
pub(crate) struct Opening<'a> {
    pub(crate) session: &'a Session,
    /// The C library's function.
    pub(crate) next: &'a dyn Fn() -> c_int,
    pub(crate) at: At,
    pub(crate) flags: c_int,
    pub(crate) mode: u32,
}

impl Opening<'_> {
    /// Opens and records.
    pub(crate) fn run(&self) -> Result<c_int, Errno> {
        let log = Log::ready(self.session);
        let creates = self.flags & O_CREAT != 0 && self.flags & O_PATH == 0;
        // The kernel does not tell whether it has made the file.
        let existed = creates
            && log.is_some()
            && self.flags & O_EXCL == 0
            && sys::exists(self.at.0, self.at.1) != Err(Errno::NOENT);
        let mut seen = 0;
        let result = self.open(log.is_some(), &mut seen);
        if let Some(log) = log {
            let created = creates && !existed && result.is_ok();
            let what = What {
                bits: seen | if created { bits::CREATED } else { 0 },
                value: self.flags as u32,
                ..What::new(kind::OPEN, result.map(|fd| fd as usize))
            };
            note(self.session, &log, what, self.at);
        }
        result
    }

    /// Opens what is to be opened; `seen` gets what is known of it.
    fn open(&self, is_recorded: bool, seen: &mut u16) -> Result<c_int, Errno> {
        let (session, At(dirfd, path)) = (self.session, self.at);
        if session.carries() {
            self.keep();
            let fd = self.call(is_recorded)?;
            if self.flags & (O_CREAT | O_TRUNC) != 0 {
                report_new(session, dirfd, path);
            }
            return Ok(fd);
        }
        match intent(self.flags) {
            Intent::Ignore => {
                self.keep();
                let fd = self.call(is_recorded)?;
                if self.flags & (O_DIRECTORY | O_PATH) == O_DIRECTORY && self.flags & O_TMPFILE != O_TMPFILE {
                    self.fill();
                }
                Ok(fd)
            }
            Intent::Read => {
                let fd = self.call(is_recorded)?;
                // Nearly all files are passed over by this alone.
                if is_surely_none(fd) {
                    return Ok(fd);
                }
                let Ok(stat) = sys::fstat(fd) else { return Ok(fd) };
                *seen = bits::KNOWN
                    | if stat.is_directory() { bits::DIRECTORY } else { 0 }
                    | if stat.is_special() { bits::SPECIAL } else { 0 };
                if stat.is_directory() {
                    self.fill();
                }
                if !may_be(&stat) || !has_head(fd) {
                    return Ok(fd);
                }
                let forced = force(session, dirfd, path, 0);
                sys::close(fd);
                // The file under this name is another one now.
                forced.and_then(|()| self.call(is_recorded))
            }
            Intent::Change => {
                prepare(session, dirfd, path, request_flags::WRITE)?;
                self.keep();
                self.call(is_recorded)
            }
        }
    }

    /// Has what is in this directory forced. Where that fails, who opens it will be told. Without a log the call was
    /// not marked, and who has seen it has done so.
    fn fill(&self) {
        let (session, At(dirfd, path)) = (self.session, self.at);
        if !session.reads_names() && Log::ready(session).is_some_and(|log| log.has_placeholders()) {
            let _ = force(session, dirfd, path, 0);
        }
    }

    /// Has the recorder look at what is about to be written over.
    fn keep(&self) {
        let makes_new = self.flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL;
        let writes = self.flags & O_ACCMODE != O_RDONLY || self.flags & O_TRUNC != 0;
        if writes && !makes_new && self.flags & (O_PATH | O_DIRECTORY) == 0 {
            keep(self.session, self.at, 0);
        }
    }

    fn call(&self, is_recorded: bool) -> Result<c_int, Errno> {
        if !is_recorded {
            let fd = (self.next)();
            return if fd < 0 { Err(libc::errno()) } else { Ok(fd) };
        }
        let At(dirfd, path) = self.at;
        // SAFETY: what the program asked for; the kernel looks at the path.
        let call = || unsafe { sys::marked(nr::OPENAT, five!(dirfd, path, self.flags, self.mode)) };
        cancellable(call).map(|fd| fd as c_int)
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
pub(crate) fn prepare(session: &Session, dirfd: c_int, path: *const c_char, flags: u32) -> Result<(), Errno> {
    if placeholder_at(dirfd, path, 0) { force(session, dirfd, path, flags) } else { Ok(()) }
}

/// Is what was just opened certainly no placeholder, nor a directory? Not certain where there is no size to go by.
#[inline]
pub(crate) fn is_surely_none(fd: c_int) -> bool {
    sys::rest_of(fd).is_some_and(|size| !wire::size_may_be_placeholder(u64::from(size)))
}

/// Could this file be a placeholder?
pub(crate) fn may_be(stat: &Stat) -> bool {
    stat.is_file() && u64::try_from(stat.size).is_ok_and(wire::size_may_be_placeholder)
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

/// The file at this path is about to be changed or renamed; `flags` are those of `fstatat`. If the build may have
/// written it before, the recorder has a look at it first: nobody could tell later what the command that wrote it had
/// left, nor what this one found. Where only hooks see anything, nobody wants to know.
pub(crate) fn keep(session: &Session, at: At, flags: c_int) {
    keep_for(session, at, flags, 0, false);
}

/// The same where it gets another mode or time, which an empty file has, too.
pub(crate) fn keep_attributes(session: &Session, at: At, flags: c_int) {
    keep_for(session, at, flags, 0, true);
}

/// The same where a build driver removes it.
pub(crate) fn keep_removed(session: &Session, at: At) {
    if session.drives() {
        keep_for(session, at, AT_SYMLINK_NOFOLLOW, request_flags::REMOVES, false);
    }
}

fn keep_for(session: &Session, at: At, flags: c_int, why: u32, empty_too: bool) {
    if session.cookie == 0 {
        return;
    }
    let Some(log) = Log::ready(session) else { return };
    if !sys::stat_at(at.0, at.1, flags).is_ok_and(|stat| stat.is_file() && (empty_too || stat.size > 0)) {
        return;
    }
    // SAFETY: the kernel has just found a file by this name, so it is a string.
    let Some(name) = (unsafe { string(at.1) }) else { return };
    if log.may_have_changed(name.to_bytes()) {
        // Whatever the answer, the call is made.
        let _ = ask_about(session, request_kind::CHANGE, at, why);
    }
}

/// Asks for the real file. Where no tracer answers, the open fails: what stands there is not what anybody wants to read.
fn force(session: &Session, dirfd: c_int, path: *const c_char, flags: u32) -> Result<(), Errno> {
    ask_about(session, request_kind::OPEN, At(dirfd, path), flags)
}

#[cold]
#[inline(never)]
fn ask_about(session: &Session, kind: u32, At(dirfd, path): At, flags: u32) -> Result<(), Errno> {
    let Some(mut room) = Room::<3>::new() else { return Err(Errno::NOMEM) };
    let [folder, buffer, own] = room.buffers();
    // SAFETY: the kernel has just found a file by this name, so it is a string.
    let Some(located) = (unsafe { Located::at(dirfd, path, folder) }) else { return Err(Errno::IO) };
    let cwd = sys::getcwd(buffer);
    let [folder, slash, name] = own::parts(located, own);
    let reply = Request {
        kind,
        command: session.command,
        flags,
        umask: 0,
        fds: [FdIdentity::default(); 3],
        others: &[],
        parts: &[folder, slash, name, cwd, b"\0"],
        argv: Strings::EMPTY,
        envp: Strings::EMPTY,
        stderr: Some(2),
    }
    .ask(session);
    match reply {
        Some(reply) if matches!(reply.kind, reply_kind::FAIL | reply_kind::KILLED) => Err(Errno(reply.value)),
        Some(_) => Ok(()),
        None => Err(Errno::IO),
    }
}
