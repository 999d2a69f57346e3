// SPDX-License-Identifier: Apache-2.0
//! A process that outlives its maker's `kill -9`, to end in good order what the maker was watching over. It sleeps until
//! then. Knows nothing of what is recorded, nor of which programs do what.
//!
//! What it does is for files' sake. A build driver that is told by a signal removes the target that it is in the middle of, which
//! it would otherwise take for made the next time; so drivers must be told, must be able to remove files, must not have seen one of their
//! commands fail before, and nothing may write to the target after that. Hence:
//!
//! ```text
//! all processes         are stopped, again and again, until there is no new one
//! those that would die  are killed: there is no handler for SIGTERM, or it is that of who forked them
//! the others            get SIGTERM and may tidy up: their calls go on, but for execs; then they are killed
//! ```
//!
//! Who is meant: who has the mark in the environment it was started with, the first process, all that descends from those, and whoever
//! makes a call that comes to the listener. So nobody can be missed who has a net above and no mark: it is asked about.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use crate::calls::Call;
use crate::channel;
use crate::members::Members;
use crate::net::{Desk, Listener, Notification};
use crate::running;
use crate::{Pid, Process, Verdict, arch};

/// What the child says, with its listener if it has one.
const STARTED: u8 = 1;

/// How long the dying may take to be dead. Those that the kernel holds up are not waited for any longer.
const DYING: Duration = Duration::from_secs(3);
/// How long it may take to tidy up.
const TIDYING: Duration = Duration::from_secs(10);
/// How long what is killed when it next makes a call has time to make one.
const LAST: Duration = Duration::from_secs(10);
/// How often it is looked whether all is over.
const TICK: Duration = Duration::from_millis(10);
/// How often it is looked for new processes that make no call.
const LOOK: Duration = Duration::from_millis(200);

/// The guardian of a process, as that process has it: when this is dropped, the guardian ends, and does nothing.
#[derive(Debug)]
pub struct Guardian {
    pid: Pid,
    to: OwnedFd,
    desk: Arc<Desk>,
}

/// How a child of the guarded process makes itself known.
#[derive(Clone, Copy, Debug)]
pub struct Ward {
    to: RawFd,
}

impl Guardian {
    /// Makes the guardian, a child of the calling process in a session of its own, with no descriptor of the caller's but `held`: a lock on
    /// that file lasts until the guardian has done what is to be done, too. `is_marked` says of an entry of a process's environment whether
    /// that process is one of those to be ended.
    ///
    /// # Errors
    /// No process can be made.
    ///
    /// # Safety
    /// The calling process has no other threads: what they have locked would be locked for ever in the guardian.
    pub unsafe fn start(held: BorrowedFd<'_>, is_marked: impl Fn(&[u8]) -> bool) -> io::Result<Self> {
        let (from, to) = channel::pair()?;
        let desk = Arc::new(Desk::new()?);
        let guarded = Process::open(std::process::id().cast_signed())?;
        // SAFETY: the caller promises that there are no other threads; the child does not return.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                detach([from.as_raw_fd(), guarded.as_raw_fd(), held.as_raw_fd()]);
                let guard = || {
                    guarded.wait();
                    take_over(&from, &desk, &is_marked);
                };
                // The caller's stack is not this process's to unwind.
                let _ = panic::catch_unwind(AssertUnwindSafe(guard));
                // SAFETY: ends this process; nothing of the caller's is to be done at its end.
                unsafe { libc::_exit(0) }
            }
            pid => Ok(Self { pid, to, desk }),
        }
    }

    /// For the child that will be the first process.
    #[must_use]
    pub fn ward(&self) -> Ward {
        Ward { to: self.to.as_raw_fd() }
    }

    pub(crate) fn desk(&self) -> Arc<Desk> {
        Arc::clone(&self.desk)
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // SAFETY: takes numbers; it is our child, and nobody else has waited for it.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

impl Ward {
    /// Makes the calling process the first of those that are guarded. To be called in a child after a `fork` that copied the
    /// descriptors, unless [`crate::net::Entrance::enter`] does so. Async-signal-safe.
    ///
    /// # Errors
    /// The guardian is gone.
    pub fn enter(self) -> io::Result<()> {
        channel::say(self.to, STARTED, 0)
    }

    pub(crate) fn enter_with(self, listener: RawFd) -> io::Result<()> {
        channel::hand_over(self.to, STARTED, listener)
    }
}

/// Leaves the caller's terminal, directory and descriptors, but for these.
fn detach(kept: [RawFd; 3]) {
    let mut kept = kept.map(|fd| fd as libc::c_uint);
    kept.sort_unstable();
    let close = |from: libc::c_uint, to: libc::c_uint| {
        // SAFETY: takes numbers. These are this process's copies, which nothing here uses.
        unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
    };
    let mut next = 0;
    for fd in kept {
        if fd > next {
            close(next, fd - 1);
        }
        next = fd + 1;
    }
    close(next, libc::c_uint::MAX);
    // A descriptor for each process of a large build may be more than is usual.
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: these take numbers and constant strings, and the kernel reads and writes `limit`.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
        libc::setsid();
        libc::chdir(c"/".as_ptr());
        // Who means the recorder by its name does not mean this one.
        libc::prctl(libc::PR_SET_NAME, c"gg-guardian".as_ptr());
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGPIPE] {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}

/// Ends all that was guarded.
fn take_over(from: &OwnedFd, desk: &Desk, is_marked: &dyn Fn(&[u8]) -> bool) {
    // A child that is about to say something still holds its end.
    let Ok(Some(message)) = channel::receive(from, 0) else { return };
    let mut build = Members::new(message.sender, Some(is_marked));
    build.stop();
    let (tidying, dying): (Vec<_>, Vec<_>) = build.pids().into_iter().partition(|&pid| running::tidies(pid));
    build.signal(&dying, libc::SIGKILL);
    build.await_ends(&dying, DYING);
    let listener = message.fd.map(Listener::new);
    if let Some(listener) = &listener {
        // They are stopped before they see what comes of it.
        for call in desk.left() {
            answer(listener, &Notification::of(&call));
        }
    }
    build.signal(&tidying, libc::SIGTERM);
    build.signal(&tidying, libc::SIGCONT);
    if !build.attend(listener.as_ref(), TIDYING, running::tidies) {
        build.kill_all();
        build.attend(listener.as_ref(), LAST, |_| false);
    }
}

impl Members<'_> {
    /// Answers calls as long as that, or until nobody is left; is it so? Who was not known is told to end, if it `tidies`, or
    /// killed.
    fn attend(&mut self, listener: Option<&Listener>, time: Duration, tidies: impl Fn(Pid) -> bool) -> bool {
        let end = Instant::now() + time;
        let mut looked = Instant::now();
        // SAFETY: all its fields are integers, for which zero is a value.
        let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        while Instant::now() < end {
            if let Some(listener) = listener {
                if listener.is_asked_within(TICK) {
                    let Some(call) = listener.receive(&AtomicBool::new(false), &mut raw) else { return true };
                    self.meet(crate::tracee::process_of(call.tid), &tidies);
                    answer(listener, &call);
                    continue;
                }
                if listener.is_over() {
                    return true;
                }
            } else {
                thread::sleep(TICK);
            }
            if looked.elapsed() > LOOK || self.known.values().all(Process::has_ended) {
                for pid in self.look() {
                    self.end(pid, &tidies);
                }
                looked = Instant::now();
                if listener.is_none() && self.known.is_empty() {
                    return true;
                }
            }
        }
        false
    }

    /// Takes in who made a call.
    fn meet(&mut self, pid: Pid, tidies: &impl Fn(Pid) -> bool) {
        if self.known.get(&pid).is_some_and(|process| !process.has_ended()) {
            return;
        }
        // It waits for the answer, so it is the one that has this id.
        if let Ok(process) = Process::open(pid) {
            self.known.insert(pid, process);
            self.end(pid, tidies);
        }
    }

    fn end(&self, pid: Pid, tidies: &impl Fn(Pid) -> bool) {
        self.signal(&[pid], if tidies(pid) { libc::SIGTERM } else { libc::SIGKILL });
    }
}

/// No program is started any more; all else goes on.
fn answer(listener: &Listener, call: &Notification) {
    let native = call.arch == arch::AUDIT_ARCH;
    let row = arch::TABLE.iter().find(|row| native && row.nr == call.nr);
    let is_exec = row.is_some_and(|row| matches!(row.call, Call::Exec(..)));
    listener.answer(call.id, if is_exec { Verdict::Fail(libc::EIO) } else { Verdict::Go });
}
