// SPDX-License-Identifier: Apache-2.0
//! The net: sees the calls of a process and all its descendants without stopping them by ptrace. A seccomp filter sends
//! every call of the table to us and lets it wait for our answer, except those that bear a cookie: who makes them tells of
//! them in another way.
//!
//! ```text
//! parent  pair ─ Net::start ─ fork ──────────────── receive the listener ─ threads: receive, foresee, tell, answer
//! child                         Entrance::enter: filter, hand over ─ exec (asks already) ─ …
//! ```
//!
//! Nor is asked what the C library does with a file that it has open, where the filter can know that (`nameless.rs`), nor what the
//! loader does in each program (`loader.rs`).
//!
//! What comes of a call is not told, so it is foreseen (`foresee.rs`), just before the call is let go on.
//!
//! If we are killed, the calls of the table fail with `ENOSYS` in all processes that are left: they cannot go on, but
//! nothing they do goes unseen. With a [`Guardian`] they wait for it instead, which ends them.

mod constant;
mod desk;
mod listener;
pub(crate) mod loader;
mod maps;
mod memory;
mod nameless;
mod redirect;
mod supervise;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;

use crate::channel::{self, Message};
use crate::event::Event;
use crate::guardian::Ward;
use crate::{Error, Guardian, Judge, Pid, Sink, filter};

#[cfg(test)]
pub(crate) use constant::Asked;
pub(crate) use constant::{Constant, WITHIN_PAGE};
pub(crate) use desk::Desk;
pub(crate) use listener::{Listener, Notification};
use loader::Loader;
use supervise::Supervise;

/// What the child says: here is the listener; there is none, with the errno.
const INSTALLED: u8 = 1;
const REFUSED: u8 = 2;

/// The number of the call in which a process asks by itself: see [`Judge::answer`].
pub const REQUEST: u32 = crate::arch::REQUEST;

/// Can a process ask so, and be sure to be asked for its question once only? Since Linux 5.19.
pub fn takes_requests() -> bool {
    static TAKES: OnceLock<bool> = OnceLock::new();
    *TAKES.get_or_init(filter::waits_for_answers)
}

/// What marks reads of standard input and writes to standard output and error that are not to be seen, in place of `cookie`.
#[must_use]
pub const fn mark_of_streams(cookie: u64) -> u64 {
    filter::mark_of_streams(cookie)
}

/// Takes the events of all processes, from several threads at once: those of one thread of a process in the order in
/// which they happen, and each before its call goes on.
pub trait SharedSink: Send + Sync {
    /// `process` is about to do this.
    fn event(&self, process: Pid, event: Event);
}

impl<T: Sink> SharedSink for Mutex<T> {
    fn event(&self, process: Pid, event: Event) {
        self.lock().unwrap_or_else(PoisonError::into_inner).event(process, event);
    }
}

impl<T: SharedSink + ?Sized> Sink for &T {
    fn event(&mut self, process: Pid, event: Event) {
        SharedSink::event(*self, process, event);
    }
}

/// Why there is no net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Only one listener can be above a process.
    #[error("another supervisor of system calls is above this process already (seccomp user notification)")]
    Busy,
    /// The kernel is too old, or made without it.
    #[error("this kernel has no seccomp user notification")]
    Unsupported,
    /// The kernel has said this.
    #[error("cannot install a seccomp filter: {}", io::Error::from_raw_os_error(*.0))]
    Errno(i32),
    /// The child ended before it came to it.
    #[error("the process ended before it could be put under the seccomp filter")]
    NeverReady,
}

impl Refusal {
    fn of(errno: i32) -> Self {
        match errno {
            libc::EBUSY => Self::Busy,
            libc::ENOSYS | libc::EINVAL => Self::Unsupported,
            errno => Self::Errno(errno),
        }
    }
}

/// Could a child be put under a net? Tried in a thread that ends at once, because a filter cannot be taken off again.
///
/// # Errors
/// It could not, and why.
pub fn available() -> Result<(), Refusal> {
    // Nobody answers: what the thread does to end must not be asked about, and is not in the table.
    let program = filter::notifying(0, &[]);
    let tried = thread::Builder::new().spawn(move || filter::install_notifying(&program).map(drop));
    let result = tried.map_err(|error| Refusal::of(crate::tracee::errno(&error)))?.join();
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Refusal::of(crate::tracee::errno(&error))),
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

/// The child's half, to be moved to where it is forked: a `pre_exec` of [`std::process::Command`] will do.
#[derive(Debug)]
pub struct Entrance {
    program: Vec<libc::sock_filter>,
    child: OwnedFd,
    /// The number of the parent's end, of which a fork makes a copy.
    parent: RawFd,
    guardian: Option<Ward>,
}

impl Entrance {
    /// Puts the calling process, and all that will descend from it, under the net. To be called once, after a `fork` that
    /// copied the descriptors (not `vfork`). Async-signal-safe, allocates nothing. What follows is seen, and should be
    /// `exec`; [`Net::start`] must have been called.
    ///
    /// # Errors
    /// There is no net. The parent has been told, and the child can go on without.
    pub fn enter(&self) -> io::Result<()> {
        // SAFETY: this is the child's copy of the descriptor, and nothing in the child uses it again: it executes a program or exits.
        unsafe { libc::close(self.parent) };
        match filter::install_notifying(&self.program) {
            // The listener is closed here: if the parent dies, nothing may keep calls waiting. The guardian has it before anybody
            // is asked, and looks for it only then.
            Ok(listener) => {
                if let Some(guardian) = self.guardian {
                    // One that has been killed cannot take over; all else is as ever.
                    let _ = guardian.enter_with(listener.as_raw_fd());
                }
                channel::hand_over(self.child.as_raw_fd(), INSTALLED, listener.as_raw_fd())
            }
            Err(error) => {
                if let Some(guardian) = self.guardian {
                    let _ = guardian.enter();
                }
                let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
                channel::say(self.child.as_raw_fd(), REFUSED, errno)?;
                Err(error)
            }
        }
    }
}

/// The parent's half.
#[derive(Debug)]
pub struct Net {
    parent: OwnedFd,
    desk: Arc<Desk>,
}

/// The two halves of a net for one child and its descendants. Calls with `cookie` as their sixth argument are not seen; if
/// it is 0, all are.
///
/// # Errors
/// The process has no descriptors left.
pub fn pair(cookie: u64) -> Result<(Entrance, Net), Error> {
    halves(cookie, desk::unguarded().map_err(Error::Gate)?, None)
}

/// The same, with a guardian that takes over if we are killed.
///
/// # Errors
/// The process has no descriptors left.
pub fn guarded_pair(cookie: u64, guardian: &Guardian) -> Result<(Entrance, Net), Error> {
    halves(cookie, guardian.desk(), Some(guardian.ward()))
}

fn halves(cookie: u64, desk: Arc<Desk>, guardian: Option<Ward>) -> Result<(Entrance, Net), Error> {
    let (parent, child) = channel::pair().map_err(Error::Gate)?;
    let of_loader = loader::known().into_iter().flat_map(Loader::constants);
    let constants: Vec<_> = nameless::known().iter().copied().chain(of_loader).collect();
    let program = filter::notifying(cookie, &constants);
    let entrance = Entrance { program, child, parent: parent.as_raw_fd(), guardian };
    Ok((entrance, Net { parent, desk }))
}

impl Net {
    /// Starts the threads that wait for the child and then for calls. To be called before the fork, because the child's exec
    /// is the first call to be answered.
    ///
    /// The child's half is to be dropped after the fork, or it would not be noticed that the child has died
    /// ([`std::process::Command`] holds what it was given in `pre_exec`).
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(
        self,
        sink: Arc<dyn SharedSink>,
        judge: Option<Arc<dyn Judge>>,
    ) -> Result<Supervisor, Error> {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let wait = move || {
            let listener = match channel::receive(&self.parent, 0) {
                Ok(Some(Message { what: INSTALLED, fd: Some(fd), .. })) => Ok(Listener::new(fd)),
                Ok(Some(Message { what: REFUSED, errno, .. })) => Err(Refusal::of(errno)),
                _ => Err(Refusal::NeverReady),
            };
            match listener {
                Ok(listener) => {
                    let supervise = Supervise::new(listener, self.desk, sink, judge);
                    shared.change(Phase::Installed(Arc::clone(&supervise)));
                    supervise.run();
                    shared.change(Phase::Over);
                }
                Err(refusal) => shared.change(Phase::Refused(refusal)),
            }
        };
        thread::Builder::new().name("net".into()).spawn(wait).map_err(Error::Thread)?;
        Ok(Supervisor { state })
    }
}

/// How far the supervisor has come.
#[derive(Clone, Default)]
enum Phase {
    /// The child has not said anything yet.
    #[default]
    Waiting,
    /// The child has no net.
    Refused(Refusal),
    /// There are processes under the net.
    Installed(Arc<Supervise>),
    /// There were, and are none any more.
    Over,
}

#[derive(Default)]
struct State {
    phase: Mutex<Phase>,
    changed: Condvar,
}

impl State {
    fn change(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.changed.notify_all();
    }

    /// Waits until it is another one than those.
    fn after(&self, before: impl Fn(&Phase) -> bool) -> Phase {
        let phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let phase = self.changed.wait_while(phase, |phase| before(phase));
        phase.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The threads behind a net. They go on when this is dropped, until no process is left.
pub struct Supervisor {
    state: Arc<State>,
}

impl Supervisor {
    /// Waits until the child has put itself under the net, or could not.
    ///
    /// # Errors
    /// It could not, and why. It goes on without, or has ended.
    pub fn installed(&self) -> Result<(), Refusal> {
        match self.state.after(|phase| matches!(phase, Phase::Waiting)) {
            Phase::Refused(refusal) => Err(refusal),
            Phase::Waiting | Phase::Installed(_) | Phase::Over => Ok(()),
        }
    }

    /// Waits until no process is left under the net.
    pub fn wait(&self) {
        self.state.after(|phase| matches!(phase, Phase::Waiting | Phase::Installed(_)));
    }

    /// For the end of the caller, when there are processes under the net that outlive it: leaves a process behind that
    /// lets all their calls go on, unseen, and ends with the last of them. Nothing is left if there are none.
    ///
    /// It is a child of the caller, in a session of its own, with no descriptor open but the listener. Before, the calls
    /// that are being answered are: a judge that is being asked is waited for. From then on, nothing is told any more.
    ///
    /// # Errors
    /// No process can be made.
    pub fn leave(self) -> io::Result<Option<Pid>> {
        let phase = self.state.phase.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Phase::Installed(supervise) = phase else { return Ok(None) };
        let listener = supervise.listener();
        if listener.is_over() {
            return Ok(None);
        }
        // A call that one of our threads has taken and not answered would wait for ever.
        supervise.stop();
        // SAFETY: the child makes system calls only, allocates nothing, and does not return.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => caretake(listener),
            child => Ok(Some(child)),
        }
    }
}

/// Lets all calls go on, in a child that holds nothing else.
fn caretake(listener: &Listener) -> ! {
    let fd = listener.as_raw_fd() as libc::c_uint;
    // SAFETY: takes numbers and a constant string. The descriptors that are closed are this child's copies, and nothing here
    // uses them; nor does anything run after `_exit`.
    unsafe {
        libc::setsid();
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        libc::chdir(c"/".as_ptr());
        if fd > 0 {
            libc::syscall(libc::SYS_close_range, 0, fd - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, fd + 1, libc::c_uint::MAX, 0);
        listener.let_go();
        libc::_exit(0)
    }
}
