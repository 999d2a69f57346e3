// SPDX-License-Identifier: Apache-2.0
//! The descriptor by which the kernel tells of calls and takes answers. Knows no calls.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::context::Args;
use crate::{Pid, Verdict, arch};

/// Let the kernel run the thread that an answer wakes on the same processor, at once: nearly halves the time.
const SYNC_WAKE_UP: u64 = 1;

/// A call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notification {
    /// The kernel's number for it.
    pub id: u64,
    /// The thread.
    pub tid: Pid,
    /// `AUDIT_ARCH_*`: by which table `nr` is to be read.
    pub arch: u32,
    /// The number of the call.
    pub nr: u32,
    /// Its arguments, as far as the kernel looks at them.
    pub args: Args,
}

impl Notification {
    /// As the kernel writes it.
    pub(crate) fn of(raw: &libc::seccomp_notif) -> Self {
        Self {
            id: raw.id,
            tid: raw.pid as Pid,
            arch: raw.data.arch,
            nr: raw.data.nr as u32,
            args: arch::arguments(raw.data.arch, raw.data.args),
        }
    }
}

/// The listener of a filter.
#[derive(Debug)]
pub(crate) struct Listener {
    fd: OwnedFd,
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Listener {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        // Older kernels than 6.6 do not have it, and need more time.
        // SAFETY: the argument is a number.
        unsafe { libc::ioctl(fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
        Self { fd }
    }

    /// Waits for a call, which is written to `raw` before anything else can happen; nothing when no process is left that could
    /// make one, or when `stop` is set: a signal makes this thread look.
    pub(crate) fn receive(&self, stop: &AtomicBool, raw: &mut libc::seccomp_notif) -> Option<Notification> {
        while !stop.load(Ordering::Relaxed) {
            // SAFETY: all its fields are integers; the kernel wants them zero.
            *raw = unsafe { mem::zeroed() };
            // SAFETY: the kernel writes one structure of the size that is part of the request's number.
            let result =
                unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut *raw) };
            if result == 0 {
                return Some(Notification::of(raw));
            }
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => {}
                // Who made the call was killed before we could take it; or, since Linux 6.11, all are gone.
                Some(libc::ENOENT) if !self.is_over() => {}
                // Anything else should not be, and would be so for ever.
                _ => return None,
            }
        }
        None
    }

    /// Is no process left that could make a call?
    pub(crate) fn is_over(&self) -> bool {
        self.poll(0, 0) != 0
    }

    /// The same, and waits for it as long as that.
    pub(super) fn is_over_within(&self, time: Duration) -> bool {
        self.poll(0, time.as_millis() as i32) != 0
    }

    /// Does a call come within that time? Not any more when no process is left.
    pub(crate) fn is_asked_within(&self, time: Duration) -> bool {
        self.poll(libc::POLLIN, time.as_millis() as i32) & libc::POLLIN != 0
    }

    /// Does a call wait to be received?
    pub(super) fn is_asked(&self) -> bool {
        self.poll(libc::POLLIN, 0) & libc::POLLIN != 0
    }

    /// What is so of `events` and of `POLLHUP`, which is asked about always: at once, after milliseconds, or (-1) some time.
    fn poll(&self, events: i16, timeout: i32) -> i16 {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events, revents: 0 };
        // SAFETY: the kernel reads and writes this one structure.
        if unsafe { libc::poll(&raw mut poll, 1, timeout) } > 0 { poll.revents } else { 0 }
    }

    /// Lets all calls go on, unseen, until no process is left. Allocates nothing, takes no lock: for a child after `fork`.
    pub(super) fn let_go(&self) {
        // SAFETY: all its fields are integers, for which zero is a value.
        let mut raw = unsafe { mem::zeroed() };
        loop {
            // Unlike receiving, this ends with the last process on all kernels.
            let events = self.poll(libc::POLLIN, -1);
            if events & libc::POLLIN != 0 {
                let Some(call) = self.receive(&AtomicBool::new(false), &mut raw) else { return };
                self.answer(call.id, Verdict::Go);
            } else if events != 0 {
                return;
            }
        }
    }

    /// Does the call still wait? If so, what was read from its thread was that thread's.
    pub(super) fn is_valid(&self, id: u64) -> bool {
        // SAFETY: the kernel reads one number.
        unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) == 0 }
    }

    /// Answers: the call is executed, or fails. False if nobody waits for it any more.
    pub(crate) fn answer(&self, id: u64, verdict: Verdict) -> bool {
        let (error, flags) = match verdict {
            Verdict::Fail(errno) => (-errno, 0),
            Verdict::Go | Verdict::Exit(_) => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        };
        self.respond(libc::seccomp_notif_resp { id, val: 0, error, flags })
    }

    /// Answers: the call is not executed, and gives this.
    pub(super) fn give(&self, id: u64, value: i64) -> bool {
        self.respond(libc::seccomp_notif_resp { id, val: value, error: 0, flags: 0 })
    }

    fn respond(&self, response: libc::seccomp_notif_resp) -> bool {
        // SAFETY: the kernel reads one structure of this type.
        unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response) == 0 }
    }
}
