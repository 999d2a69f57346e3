// SPDX-License-Identifier: Apache-2.0
//! The two halves of an observation: what the child does between `fork` and `exec`, and what its parent does
//! meanwhile. They meet at a gate, a pair of sockets:
//!
//! ```text
//! child   fork ─ (sandbox, directories, …) ─ READY, wait ─────────────────── filter ─ exec ─ …
//! parent  fork ─────────────────────────────────────────── attach ─ GO, loop: wait, step, resume ─ …
//! ```
//!
//! The kernel says who sent READY, as the parent sees it: the two may be in different process namespaces, and the child
//! a grandchild. A gate does not use `SIGSTOP`, which the first process of a namespace ignores.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::ExitStatus;
use std::thread;
use std::time::Instant;

use crate::channel::{self, Message};
use crate::follow::{Follow, Live};
use crate::{Error, Judge, Options, Pid, Sink, filter, ptrace};

/// What the child says; `FAILED` with an errno.
const READY: u8 = 1;
const FAILED: u8 = 2;

/// How a followed command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The exit status of the process that came through the gate.
    pub status: ExitStatus,
    /// It was killed, with all that it started, because its time was up.
    pub timed_out: bool,
    /// How often a process was stopped.
    pub stops: u64,
}

/// Something to be read while a command runs.
pub(crate) struct Stream {
    reader: Option<PipeReader>,
    pub(crate) bytes: Vec<u8>,
}

impl Stream {
    pub(crate) fn new(reader: PipeReader) -> Self {
        Self { reader: Some(reader), bytes: Vec::new() }
    }

    fn fd(&self) -> RawFd {
        // poll ignores negative descriptors.
        self.reader.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Reads once from a pipe that `poll` called readable or closed.
    fn read(&mut self) -> io::Result<()> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let mut buffer = [0; 16 * 1024];
        match reader.read(&mut buffer) {
            Ok(0) => self.reader = None,
            Ok(length) => self.bytes.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Makes a child wait for its tracer. Create it before `fork`; call [`Gate::enter`] in the child and
/// [`Gate::follow`] in the parent.
///
/// Where the child is not to know the parent's half, as in a `pre_exec` of [`std::process::Command`], [`Gate::split`] it:
/// `spawn` waits for the exec, which waits for [`Guard::follow`], so that has to run in another thread by then.
#[derive(Debug)]
pub struct Gate {
    guard: Guard,
    entrance: Entrance,
}

/// The parent's half of a [`Gate`].
#[derive(Debug)]
pub struct Guard {
    parent: OwnedFd,
}

/// The child's half of a [`Gate`]. The parent drops its copy after the fork, or would not notice that the child has died.
#[derive(Debug)]
pub struct Entrance {
    child: OwnedFd,
    /// The number of the parent's end, of which a fork makes a copy.
    parent: RawFd,
}

impl Entrance {
    /// See [`Gate::enter`].
    ///
    /// # Errors
    /// See there.
    pub fn enter(&self) -> io::Result<()> {
        // Otherwise this process itself would keep the connection open that it waits at.
        // SAFETY: this is the child's copy of the descriptor, and nothing in the child uses it again: it executes a program or exits.
        unsafe { libc::close(self.parent) };
        channel::say(self.child.as_raw_fd(), READY, 0)?;
        let mut go = 0_u8;
        loop {
            // SAFETY: the kernel writes at most one byte, to `go`.
            match unsafe { libc::recv(self.child.as_raw_fd(), (&raw mut go).cast(), 1, 0) } {
                0 => return Err(io::Error::from_raw_os_error(libc::EPIPE)),
                1.. => break,
                _ => {
                    let error = io::Error::last_os_error();
                    if error.raw_os_error() != Some(libc::EINTR) {
                        return Err(error);
                    }
                }
            }
        }
        filter::install()
    }

    /// See [`Gate::fail`].
    pub fn fail(&self, error: &io::Error) {
        // If the parent does not listen any more, there is nobody to tell.
        let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
        let _ = channel::say(self.child.as_raw_fd(), FAILED, errno);
    }
}

impl Gate {
    /// A gate for one child.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new() -> Result<Self, Error> {
        let (parent, child) = channel::pair().map_err(Error::Gate)?;
        let entrance = Entrance { child, parent: parent.as_raw_fd() };
        Ok(Self { guard: Guard { parent }, entrance })
    }

    /// The two halves apart.
    #[must_use]
    pub fn split(self) -> (Entrance, Guard) {
        (self.entrance, self.guard)
    }

    /// The descriptor that must stay open in the child until it has executed its program, for children that close all they
    /// do not know. It is closed on exec.
    #[must_use]
    pub fn child_fd(&self) -> RawFd {
        self.entrance.child.as_raw_fd()
    }

    /// The child's half: waits until it is traced, then puts itself under the filter. What follows is observed, and
    /// should be `exec`. To be called once, in the process that will execute the command, after a `fork` that copied the
    /// descriptors (not `vfork`). Async-signal-safe, allocates nothing.
    ///
    /// # Errors
    /// When there is no tracer or no filter: the child must not go on, but report it with [`Gate::fail`] and exit.
    pub fn enter(&self) -> io::Result<()> {
        self.entrance.enter()
    }

    /// The child's half, too: tells the parent that the command cannot be started. Async-signal-safe.
    pub fn fail(&self, error: &io::Error) {
        self.entrance.fail(error);
    }

    /// The parent's half: see [`Guard::follow`].
    ///
    /// # Errors
    /// See there.
    pub fn follow(self, options: &Options, sink: &mut dyn Sink) -> Result<Run, Error> {
        self.follow_and_read(options, sink, &mut [])
    }

    pub(crate) fn follow_and_read(
        self,
        options: &Options,
        sink: &mut dyn Sink,
        streams: &mut [Stream],
    ) -> Result<Run, Error> {
        let (entrance, guard) = self.split();
        // From here on only the child holds its end: if it dies, we notice.
        drop(entrance);
        guard.run(options, sink, None, streams)
    }
}

impl Guard {
    /// The parent's half: waits for the child to come to the gate, attaches to it, and reports what it and all
    /// its descendants do until the last of them has ended.
    ///
    /// The process is reaped here; `waitpid` for it fails afterwards. While this runs, no other thread of the
    /// caller may wait for it, or for "any child" without `__WNOTHREAD`: it would be given tracees' stops. Works in a thread of its
    /// own, so that the calling thread may have other children and be a tracer itself. The judge is asked in the thread that
    /// traces: all else waits meanwhile.
    ///
    /// # Errors
    /// When the child ends or fails before it executes its program, or cannot be attached to. Then the child ends
    /// by itself, and the caller reaps it, if it was not attached to yet.
    pub fn follow(
        self,
        options: &Options,
        sink: &mut dyn Sink,
        judge: Option<&dyn Judge>,
    ) -> Result<Run, Error> {
        self.run(options, sink, judge, &mut [])
    }

    fn run(
        self,
        options: &Options,
        sink: &mut dyn Sink,
        judge: Option<&dyn Judge>,
        streams: &mut [Stream],
    ) -> Result<Run, Error> {
        let Self { parent } = self;
        let deadline = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let pid = wait_ready(&parent, deadline)?;
        let live = Live::default();
        let (result, timed_out) = thread::scope(|scope| {
            let (done, end) = io::pipe().map_err(Error::Gate)?;
            let (parent, live) = (&parent, &live);
            let tracer = move || {
                let _end = end;
                ptrace::seize(pid).map_err(|source| Error::Attach { pid, source })?;
                let follow = Follow::new(pid, options.rest, live, sink, judge);
                // A child that is dead already is reported by the loop.
                let _ = channel::say(parent.as_raw_fd(), READY, 0);
                follow.run().map_err(Error::Wait)
            };
            let tracer = thread::Builder::new()
                .name("observe".into())
                .spawn_scoped(scope, tracer)
                .map_err(Error::Thread)?;
            let watched = watch(&done, streams, deadline, live);
            if watched.is_err() {
                live.doom();
            }
            let result = tracer.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))?;
            Ok((result, watched.map_err(Error::Wait)?))
        })?;
        if let Some(source) = failure(&parent) {
            return Err(Error::Start(source));
        }
        let (status, stops) = result;
        Ok(Run { status: status.ok_or(Error::Stolen { pid })?, timed_out, stops })
    }
}

/// Waits for READY; the id of the process that sent it.
fn wait_ready(parent: &OwnedFd, deadline: Option<Instant>) -> Result<Pid, Error> {
    let mut fds = [pollfd(parent.as_raw_fd())];
    if !poll(&mut fds, deadline).map_err(Error::Gate)? {
        return Err(Error::NeverReady);
    }
    match channel::receive(parent, 0).map_err(Error::Gate)? {
        Some(Message { what: READY, sender: Some(pid), .. }) if pid > 0 => Ok(pid),
        Some(Message { what: FAILED, errno, .. }) => Err(Error::Start(io::Error::from_raw_os_error(errno))),
        _ => Err(Error::NeverReady),
    }
}

/// What the child said after it was attached to, if anything.
fn failure(parent: &OwnedFd) -> Option<io::Error> {
    let message = channel::receive(parent, libc::MSG_DONTWAIT).ok()??;
    Some(io::Error::from_raw_os_error(message.errno))
}

/// Reads the streams until the tracer is done, and kills the command when its time is up. Was it?
fn watch(
    done: &PipeReader,
    streams: &mut [Stream],
    deadline: Option<Instant>,
    live: &Live,
) -> io::Result<bool> {
    let mut deadline = deadline;
    let mut timed_out = false;
    loop {
        let mut fds: Vec<_> = streams.iter().map(|stream| pollfd(stream.fd())).collect();
        fds.push(pollfd(done.as_raw_fd()));
        if !poll(&mut fds, deadline)? {
            live.doom();
            (deadline, timed_out) = (None, true);
            continue;
        }
        let mut quiet = true;
        for (stream, fd) in streams.iter_mut().zip(&fds) {
            if fd.revents != 0 {
                stream.read()?;
                quiet = false;
            }
        }
        // What was written is read first. A pipe that somebody outside still holds is not waited for.
        if quiet && fds.last().is_some_and(|done| done.revents != 0) {
            return Ok(timed_out);
        }
    }
}

fn pollfd(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// Waits until something can be read; false when the deadline has come first.
fn poll(fds: &mut [libc::pollfd], deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let timeout = deadline.map_or(-1, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up: waking too early would be waking twice.
            i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
        });
        // SAFETY: the kernel reads and writes `fds.len()` elements of `fds`.
        let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
        if ready > 0 {
            return Ok(true);
        }
        if ready == 0 {
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(false);
            }
            continue;
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINTR) {
            return Err(error);
        }
    }
}
