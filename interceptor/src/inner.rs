// SPDX-License-Identifier: Apache-2.0
//! Files that the C library opens for itself. A program that asks for a locale opens up to 28 of them, and the kernel's question about
//! each takes much longer than a hook; most tools of a build ask for one. No function of ours stands before these opens. But glibc makes them all in one function of its own, `__open_nocancel`: where a program asks for a locale, the
//! first instruction of that is written over with a jump to ours. Where that cannot be done, because of threads,
//! another C library or memory that must not be written to, the kernel asks as ever.
//!
//! Ours does what a program's locale needs: it opens for reading, and records. All else it leaves to the kernel's question.

use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch;
use crate::hooks::conclude;
use crate::libc::{self, Next, environ};
use crate::log::{self, Log, What};
use crate::open::is_surely_none;
use crate::place::At;
use crate::record::note;
use crate::session::Session;
use crate::sys::{self, AT_FDCWD, Errno, O_CLOEXEC, O_RDONLY};
use crate::text::{Strings, string, value_of};
use wire::log::{bits, kind};

type Open = unsafe extern "C" fn(*const c_char, c_int, u32) -> c_int;

// SAFETY: the prototype that it has in glibc.
static OPEN: Next<Open> = unsafe { Next::new(c"__open_nocancel") };
static TRIED: AtomicBool = AtomicBool::new(false);

/// Before a program asks for this locale.
///
/// # Safety
/// Null, or a string.
pub(crate) unsafe fn take_over(session: &Session, locale: *const c_char) {
    // SAFETY: as the caller promises.
    let named = |name: &CStr| unsafe { string(locale) }.is_some_and(|locale| locale == name);
    // What is built in needs no file, nor does a question for what there is.
    if TRIED.load(Ordering::Relaxed) || locale.is_null() || named(c"C") || named(c"POSIX") {
        return;
    }
    if (!named(c"") || is_set()) && libc::is_single_threaded() && sys::is_marking() {
        // A child of `vfork` would write into its parent.
        if Log::ready(session).is_some() && sys::getpid() == log::process() {
            TRIED.store(true, Ordering::Relaxed);
            if let Some(open) = OPEN.get() {
                // SAFETY: glibc's function is longer than a jump, ours takes its place, and there is one thread.
                unsafe { arch::lead_elsewhere(open as usize, opens as Open as usize) };
            }
        }
    }
}

/// Does the environment name a locale of which there are files? `LC_ALL` says it for all, configure scripts for one.
fn is_set() -> bool {
    // SAFETY: the C library's own variable; it reads the same in a moment.
    let environment = || unsafe { Strings::new(environ.cast_const()) }.iter();
    let names = |entry: &CStr, name: &str| value_of(entry, name).is_some_and(|value| !value.is_empty());
    let is_built_in =
        |entry: &CStr| entry.to_bytes().ends_with(b"=C") || entry.to_bytes().ends_with(b"=POSIX");
    match environment().find(|entry| names(entry, "LC_ALL")) {
        Some(all) => !is_built_in(all),
        None => environment().any(|entry| {
            (names(entry, "LANG") || entry.to_bytes().starts_with(b"LC_")) && !is_built_in(entry)
        }),
    }
}

/// In place of glibc's: for its own calls only, in which no thread may be cancelled.
unsafe extern "C" fn opens(path: *const c_char, flags: c_int, mode: u32) -> c_int {
    conclude(recorded(path, flags).unwrap_or_else(|| sys::open_unmarked(path, flags, mode)))
}

/// Nothing where the kernel is to ask.
fn recorded(path: *const c_char, flags: c_int) -> Option<Result<c_int, Errno>> {
    let session = Session::current().filter(|_| flags & !O_CLOEXEC == O_RDONLY)?;
    // In a child of `vfork`, as `posix_spawn` has one, the log knows the parent only.
    let log = Log::ready(session).filter(|_| sys::getpid() == log::process())?;
    let result = sys::open_at(AT_FDCWD, path, flags);
    let seen = match result {
        Ok(fd) => seen(fd, &log).or_else(|| {
            sys::close(fd);
            None
        })?,
        Err(_) => 0,
    };
    let result_of = What::new(kind::OPEN, result.map(|fd| fd as usize));
    let what = What { bits: seen, value: flags as u32, ..result_of };
    note(session, &log, what, At(AT_FDCWD, path));
    Some(result)
}

/// What there is to say of a file that was opened; nothing if something may have to be forced first.
fn seen(fd: c_int, log: &Log) -> Option<u16> {
    if is_surely_none(fd) {
        return Some(0);
    }
    let is_directory = sys::fstat(fd).is_ok_and(|stat| stat.is_directory());
    (is_directory && !log.has_placeholders()).then_some(bits::KNOWN | bits::DIRECTORY)
}
