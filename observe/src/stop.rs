// SPDX-License-Identifier: Apache-2.0
//! What a wait status means, as an enum. Pure: no system call, no state.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// `PTRACE_EVENT_*`, in bits 16 up of the status.
const EVENT_FORK: i32 = 1;
const EVENT_VFORK: i32 = 2;
const EVENT_CLONE: i32 = 3;
const EVENT_EXEC: i32 = 4;
const EVENT_SECCOMP: i32 = 7;
const EVENT_STOP: i32 = 128;
/// Set in the signal number of a system call stop (`PTRACE_O_TRACESYSGOOD`).
const SYSCALL_BIT: i32 = 0x80;

/// Why a thread stopped, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It is no more.
    Ended(ExitStatus),
    /// A system call of the table is about to be executed.
    Entry,
    /// The system call that it was sent into has ended.
    Exit,
    /// It made a new process or thread, which is traced already.
    Born,
    /// It now runs another program.
    Exec,
    /// This signal is about to be delivered to it.
    Signal(i32),
    /// It is stopped together with its whole process, as by `SIGSTOP` or Ctrl-Z.
    Group,
    /// It has just been attached, or has been continued after a group stop.
    Attached,
    /// A stop that means nothing here.
    Other,
}

/// Reads a status that `waitpid` gave for a seized thread.
pub(crate) fn decode(status: i32) -> Stop {
    if !libc::WIFSTOPPED(status) {
        return if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            Stop::Ended(ExitStatus::from_raw(status))
        } else {
            Stop::Other
        };
    }
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        0 if signal == libc::SIGTRAP | SYSCALL_BIT => Stop::Exit,
        0 => Stop::Signal(signal),
        EVENT_SECCOMP => Stop::Entry,
        EVENT_FORK | EVENT_VFORK | EVENT_CLONE => Stop::Born,
        EVENT_EXEC => Stop::Exec,
        EVENT_STOP if matches!(signal, libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) => {
            Stop::Group
        }
        EVENT_STOP => Stop::Attached,
        _ => Stop::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped(signal: i32, event: i32) -> i32 {
        event << 16 | signal << 8 | 0x7f
    }

    #[test]
    fn ends() {
        assert_eq!(decode(0), Stop::Ended(ExitStatus::from_raw(0)));
        assert_eq!(decode(0x0300), Stop::Ended(ExitStatus::from_raw(0x0300)));
        let Stop::Ended(status) = decode(0x89) else { panic!("killed with a core dump") };
        assert_eq!((status.signal(), status.core_dumped()), (Some(libc::SIGKILL), true));
    }

    #[test]
    fn stops() {
        let trap = libc::SIGTRAP;
        for (status, stop) in [
            (stopped(trap | 0x80, 0), Stop::Exit),
            (stopped(trap, EVENT_SECCOMP), Stop::Entry),
            (stopped(trap, EVENT_FORK), Stop::Born),
            (stopped(trap, EVENT_VFORK), Stop::Born),
            (stopped(trap, EVENT_CLONE), Stop::Born),
            (stopped(trap, EVENT_EXEC), Stop::Exec),
            (stopped(trap, EVENT_STOP), Stop::Attached),
            (stopped(libc::SIGSTOP, EVENT_STOP), Stop::Group),
            (stopped(libc::SIGTTOU, EVENT_STOP), Stop::Group),
            // A SIGSTOP that is about to be delivered, and a breakpoint's SIGTRAP: both are the tracee's own.
            (stopped(libc::SIGSTOP, 0), Stop::Signal(libc::SIGSTOP)),
            (stopped(trap, 0), Stop::Signal(trap)),
            (stopped(libc::SIGRTMIN(), 0), Stop::Signal(libc::SIGRTMIN())),
            (stopped(trap, 5), Stop::Other),
            (0xffff, Stop::Other),
        ] {
            assert_eq!(decode(status), stop, "{status:#x}");
        }
    }
}
