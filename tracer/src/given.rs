// SPDX-License-Identifier: Apache-2.0
//! The descriptors that this process was started with, which are the build's: the standard streams, of which some may
//! be closed, and what there is beside them. Knows nothing of what comes through them.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

use wire::{Descriptor, FdIdentity, MAX_DESCRIPTOR};

use crate::process::identity;

/// Which of the standard streams were closed, one bit for each.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Rust opens `/dev/null` for standard streams that are closed before it calls `main`. This comes before that.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    for fd in 0..3 {
        // SAFETY: takes numbers only.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            CLOSED.fetch_or(1 << fd, Ordering::Relaxed);
        }
    }
}

fn is_closed(fd: i32) -> bool {
    CLOSED.load(Ordering::Relaxed) & (1 << fd) != 0
}

/// Where standard input, output and error lead.
pub fn streams() -> [FdIdentity; 3] {
    [0, 1, 2].map(|fd| if is_closed(fd) { FdIdentity::default() } else { of(fd as u32) })
}

/// What is given beside them. To be asked before this process has opened anything that it passes on.
pub fn others() -> Vec<Descriptor> {
    // SAFETY: takes numbers only.
    let is_passed_on = |fd: u32| unsafe { libc::fcntl(fd.cast_signed(), libc::F_GETFD) } == 0;
    let passed_on = (3..MAX_DESCRIPTOR).filter(|&fd| is_passed_on(fd));
    passed_on.map(|number| Descriptor { number, reserved: 0, leads: of(number) }).collect()
}

fn of(fd: u32) -> FdIdentity {
    identity(&format!("/proc/self/fd/{fd}"))
}

/// For the build's process, between `fork` and `exec`: closes again what was closed. Async-signal-safe.
pub fn close_again() -> io::Result<()> {
    for fd in (0..3).filter(|&fd| is_closed(fd)) {
        // SAFETY: it leads to `/dev/null`, and nothing in this process uses it.
        unsafe { libc::close(fd) };
    }
    Ok(())
}
