// SPDX-License-Identifier: Apache-2.0
//! What build drivers, of which nobody wants to know it, read from standard input and print: a filter cannot tell processes apart, and
//! the kernel would ask about each line that a configure script prints. The C library's streams call no function that a hook could stand before,
//! but glibc reads and writes in one function each: at load, in a driver, the first instructions of these are written over
//! with jumps to ours. Where that cannot be done, or something else is found there, the kernel asks as ever.

use core::ffi::{c_int, c_void};

use crate::arch::{self, nr};
use crate::hooks::conclude;
use crate::libc::{self, cancellable};
use crate::session::Session;
use crate::sys;

type Transfer = unsafe extern "C" fn(c_int, *mut c_void, usize) -> isize;

/// Called once, at load.
pub(crate) fn take_over(session: &Session) {
    if !session.is_unheard() || !sys::is_marking() || !libc::is_glibc() || !libc::is_single_threaded() {
        return;
    }
    // Later it would wait for the loader, in functions that may be called while that waits.
    libc::prepare_cancellation();
    for (ours, theirs) in [(reads as Transfer, libc::weak_read()), (writes, libc::weak_write())] {
        // SAFETY: code that is called has a return at its end, and is followed by more of its library.
        if !theirs.is_null() && unsafe { arch::is_cancellable(theirs as usize) } {
            // SAFETY: glibc's function is longer than a jump, ours does what it does, and there is one thread.
            unsafe { arch::lead_elsewhere(theirs as usize, ours as usize) };
        }
    }
}

/// In place of glibc's `read`.
unsafe extern "C" fn reads(fd: c_int, buffer: *mut c_void, count: usize) -> isize {
    transfer(nr::READ, fd, buffer, count, fd == 0)
}

/// In place of glibc's `write`.
unsafe extern "C" fn writes(fd: c_int, buffer: *mut c_void, count: usize) -> isize {
    transfer(nr::WRITE, fd, buffer, count, matches!(fd, 1 | 2))
}

fn transfer(number: usize, fd: c_int, buffer: *mut c_void, count: usize, is_standard: bool) -> isize {
    // A program may have left the session.
    let is_marked = is_standard && Session::current().is_some();
    let result = cancellable(|| sys::transfer(number, fd, buffer, count, is_marked));
    conclude(result.map(|count| count as isize))
}
