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
    let (stopped, status) = match wait() {
        Ok(stop) => stop,
        Err(end) => return end,
    };
    match decode(status) {
        Stop::Ended(_) => Redirected::Done,
        // After the exec of another thread than the first, it has the first one's id.
        Stop::Exec => {
            if arch::exit_instead(stopped, code).is_err() {
                kill(stopped);
            }
            let _ = ptrace::detach(stopped, 0);
            Redirected::Done
        }
        Stop::Signal(signal) => {
            let _ = ptrace::detach(stopped, signal);
            Redirected::Failed
        }
        _ => {
            let _ = ptrace::detach(stopped, 0);
            Redirected::Failed
        }
    }
}

/// The next stop of what this thread traces; if it has ended without one, what that means: where it has exited by itself, the exec had
/// failed before it could be interrupted. Its end is not taken: our process may be the one that started it, and wait for it
/// in another thread.
fn wait() -> Result<(Pid, i32), Redirected> {
    let which = libc::__WALL | libc::__WNOTHREAD;
    loop {
        // SAFETY: all its fields are integers and addresses, for which zero is a value.
        let mut ended: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let look = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | which;
        // SAFETY: the kernel writes one structure.
        if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut ended, look) } == 0 {
            match ended.si_code {
                libc::CLD_EXITED => return Err(Redirected::Failed),
                libc::CLD_KILLED | libc::CLD_DUMPED => return Err(Redirected::Done),
                _ => {}
            }
            let mut status = 0;
            // SAFETY: the kernel writes one int to `status`.
            let tid = unsafe { libc::waitpid(-1, &raw mut status, which | libc::WUNTRACED) };
            if tid > 0 {
                return Ok((tid, status));
            }
        }
        if io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            // Its parent, which is ours too, has waited for it already.
            return Err(Redirected::Failed);
        }
    }
}

/// Better no process than one that runs what must not run.
fn kill(tid: Pid) {
    // SAFETY: takes numbers only.
    unsafe { libc::syscall(libc::SYS_tkill, tid, libc::SIGKILL) };
}
