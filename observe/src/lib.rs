// SPDX-License-Identifier: Apache-2.0
//! Runs a command and tells which files it and all its descendants touched, and how. Knows no thunks and no models.
//!
//! A seccomp filter stops the processes at system calls that name a path, and at exec; all other calls run at full
//! speed. What is seen does not depend on the program: static ones, the dynamic loader, hand-made system calls. There are two
//! ways to stop them, of which the same [`Event`]s come: a *tracer* (ptrace), and the *net* (seccomp notifications).
//!
//! | | tracer | net |
//! |---|---|---|
//! | cost of a call | 15–25 µs, all in one thread | about 1.5 times a bare notification, which is 3.5 µs |
//! | what comes of a call | is told | is foreseen |
//! | calls that bear a cookie | are seen | go by |
//! | debuggers and `strace` inside | do not work, which is told | work |
//! | how processes end | is told | `exit_group` is; for more see [`Process`] |
//! | when the observer is killed | they die | their calls fail with `ENOSYS`; a [`Guardian`] ends them |
//!
//! ```text
//! calls    what a call does ─┐
//! x86_64   number → call ────┼─▶ filter   which calls stop                    (child, before exec)
//!                            └─▶ handle   arguments → Request; Request, Outcome → events   ◀─ tracee, executed, image:
//!                                            │                                                looking into a thread
//! stop     wait status → Stop ──▶ follow   wait, step, resume; is told the outcome         ◀─ ptrace: the requests
//! net/     listener ────────────▶ supervise  receive, answer; asks foresee for the outcome
//! ask      puts an exec or an open before the Judge, for both
//! guardian outlives a killed observer, and ends what it observed; running: which processes there are
//! gate     child and parent meet; command: fork and exec; summary: events → one Touch per path; end: pidfds
//! ```
//!
//! [`observe`] runs a [`Command`] under the tracer and returns an [`Observation`]. Its two halves are a [`Gate`]: a child
//! made by somebody else (inside a sandbox, say) calls [`Gate::enter`] before it executes its program, the parent
//! [`Gate::follow`], with any [`Sink`] for the [`Event`]s; [`Touches`] is the one that sums them up. The net is [`net::pair`],
//! used alike. Both may ask a [`Judge`], who can have an exec end its process, a file replaced before it is opened, or
//! either fail.
//!
//! # Limits
//!
//! - Linux 5.8 or later (`PTRACE_GET_SYSCALL_INFO`, `openat2`, `faccessat2`).
//! - Set-user-ID programs run without their privilege, unless the caller is root: ptrace and the filter take it.
//! - A process cannot be traced twice, nor be in two nets.
//! - `io_uring` fails with `ENOSYS` and `open_by_handle_at` with `EPERM`, so that nothing goes by unseen.
//! - 32-bit and x32 calls are not decoded; [`Touches::foreign`] tells that there were some.
//! - A call's strings are read when it is entered. A program that changes them in another thread at that moment is not
//!   followed: this finds out what programs do, it does not keep them from doing it.
//! - A program that puts a supervisor of its own (seccomp user notification) above its calls hides those from the tracer. In
//!   the net it cannot have one.
//! - What a process does through descriptors that it was given or received is the doing of who opened them.
//! - The net foresees with our own rights, so it errs about processes that have given up theirs, and takes to succeed what it
//!   cannot foresee: see `foresee.rs`. What other processes do between its look and the call it does not see.

mod ask;
mod calls;
mod channel;
mod command;
mod context;
mod end;
mod event;
mod executed;
mod failure;
mod filter;
mod follow;
mod foresee;
mod gate;
mod guardian;
mod handle;
mod image;
mod judge;
mod linked;
mod members;
pub mod net;
mod ptrace;
mod running;
mod stop;
mod summary;
mod tracee;

#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod arch;
#[cfg(not(target_arch = "x86_64"))]
compile_error!("this architecture has no system call table: write one like x86_64.rs");

use std::ffi::OsString;
use std::io;
use std::time::Duration;

pub use command::{Command, Observation, observe};
pub use end::{Ends, Process, has_ended, parent_of};
pub use event::{Access, Event, Kind, Place, Role, Sink, Stream, Transfer};
pub use executed::executed;
pub use failure::is_about_paths;
pub use gate::{Entrance, Gate, Guard, Run};
pub use guardian::{Guardian, Ward};
pub use judge::{Exec, Judge, Verdict, Way};
pub use members::kill_last;
pub use summary::{Touch, Touches, Use};
pub use tracee::{own_list, tidy, without_ways_back};

/// The id of a process or thread.
pub type Pid = i32;

/// How long to follow a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// When this has passed, all its processes are killed.
    pub timeout: Option<Duration>,
    /// What becomes of the processes that outlive the first.
    pub rest: Rest,
}

/// What becomes of the processes that outlive the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    /// They are followed until they end.
    #[default]
    Wait,
    /// They are killed.
    Kill,
}

/// Why a command was not observed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No process could be made.
    #[error("cannot fork a process to observe: {0}")]
    Fork(#[source] io::Error),
    /// The child could not get as far as running its program.
    #[error("cannot start the command to observe: {0}")]
    Start(#[source] io::Error),
    /// No pipe, no socket.
    #[error("cannot talk to the process to observe: {0}")]
    Gate(#[source] io::Error),
    /// The child did not come to the gate.
    #[error("the process to observe ended, or its time was up, before it could be traced")]
    NeverReady,
    /// No thread could be made.
    #[error("cannot start the tracing thread: {0}")]
    Thread(#[source] io::Error),
    /// ptrace is not allowed.
    #[error(
        "cannot trace process {pid}: {source} (is ptrace forbidden here? see /proc/sys/kernel/yama/ptrace_scope, \
         or the container's seccomp profile)"
    )]
    Attach {
        /// The process.
        pid: Pid,
        /// What the kernel said.
        source: io::Error,
    },
    /// Waiting failed.
    #[error("cannot wait for the observed processes: {0}")]
    Wait(#[source] io::Error),
    /// Its status went to somebody else.
    #[error("the status of the observed process {pid} was taken by another thread that waits for any child")]
    Stolen {
        /// The process.
        pid: Pid,
    },
    /// The kernel's strings cannot contain it.
    #[error("a NUL byte in {0:?}: no argument, variable or path can contain one")]
    Nul(OsString),
}
