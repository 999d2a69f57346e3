// SPDX-License-Identifier: Apache-2.0
//! Makes an exec end its process instead of running the program. A notification can refuse an exec or let it through;
//! this lets it through under ptrace, and has the process exit before it runs an instruction.
//!
//! ```text
//! process     execve ─ waits for the answer ──────────────── exec ─ stops ─────────── exit_group(code)
//! this thread                     seize ─ answer ─ interrupt ─────── wait ─ write, detach
//! ```
//!
//! Seizing does not wake the process. The interruption is for an exec that fails: it makes the thread stop on its way
//! back to its program, where it is let go; an exec that succeeds stops earlier. To be run in a thread of its own: a
//! tracer is a thread, and this one must have no other children.

use std::io;

use crate::stop::{Stop, decode};
use crate::{Pid, arch, ptrace};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirected {
    /// The process ends with the code, or was killed on the way.
    Done,
    /// The kernel has refused the exec; the process goes on as it was.
    Failed,
    /// The process cannot be traced: it runs the program.
    Runs,
}

/// `answer` lets the exec go on.
pub(super) fn exit(tid: Pid, code: u8, answer: impl FnOnce() -> bool) -> Redirected {
    let seized = ptrace::seize_for_exec(tid).is_ok();
    let gone = !answer();
    if !seized {
        return if gone { Redirected::Done } else { Redirected::Runs };
    }
    // If this fails, the thread is in no state to be interrupted: dead.
    let _ = ptrace::interrupt(tid);
    while let Some((stopped, status)) = wait() {
        match decode(status) {
            Stop::Ended(_) => {}
            // After the exec of another thread than the first, it has the first one's id.
            Stop::Exec => {
                if arch::exit_instead(stopped, code).is_err() {
                    kill(stopped);
                }
                let _ = ptrace::detach(stopped, 0);
                return Redirected::Done;
            }
            Stop::Signal(signal) => {
                let _ = ptrace::detach(stopped, signal);
                return Redirected::Failed;
            }
            _ => {
                let _ = ptrace::detach(stopped, 0);
                return Redirected::Failed;
            }
        }
    }
    Redirected::Done
}

/// The next stop or end of what this thread traces.
fn wait() -> Option<(Pid, i32)> {
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one int to `status`.
        let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        if tid > 0 {
            return Some((tid, status));
        }
        if io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}

/// Better no process than one that runs what must not run.
fn kill(tid: Pid) {
    // SAFETY: takes numbers only.
    unsafe { libc::syscall(libc::SYS_tkill, tid, libc::SIGKILL) };
}
