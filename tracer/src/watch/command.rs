// SPDX-License-Identifier: Apache-2.0
//! A command from its beginning to its end: what it was given, and what it did so far. Knows nothing of which
//! process does it, nor of what is made of it.

use std::sync::Arc;
use std::time::Instant;

use foldhash::HashSet;
use observe::{Event, Pid, Stream};
use thunk::trace::{Observed, Status};
use wire::{Descriptor, FdIdentity};

use crate::descriptors;
use crate::learned;
use crate::request::Exec;

/// Why a command cannot be deferred that depends on what it is given there.
pub(super) const READS_INPUT: &str = "reads its standard input";

/// Why a command has no thunk that goes on after it has ended.
pub(super) const LEAVES_PROCESSES: &str = "leaves processes behind";

/// A command that has been started.
#[derive(Debug)]
pub struct Begun {
    /// Its number in the trace.
    pub id: u32,
    /// What was executed.
    pub exec: Arc<Exec>,
    /// The command that started it.
    pub within: u32,
    /// It starts commands: what they do is not its own doing.
    pub drives: bool,
    /// Where it is to be remembered, so that it can be deferred when it comes again; if it is.
    pub learn: Option<learned::Place>,
    /// Do its paths lead elsewhere than ours?
    pub elsewhere: bool,
    /// Why it cannot be deferred when it comes again, as far as that is known from the start.
    pub obstacles: Vec<String>,
    /// Where its descriptors lead.
    pub descriptors: Vec<String>,
    /// When it began, by the clock that files are stamped with.
    pub began: i64,
    /// How many events there had been by then.
    pub first: u64,
    /// When it began.
    pub at: Instant,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How it began.
    pub begun: Begun,
    /// How it ended.
    pub status: Status,
    /// When.
    pub at: Instant,
    /// The same by the clock that files are stamped with.
    pub ended: i64,
    /// What it did, in any order.
    pub events: Vec<(u64, Event)>,
    /// What it printed, in any order: to standard output or error, if it is known what.
    pub printed: Vec<(u64, i32, Option<Vec<u8>>)>,
    /// Why it cannot be deferred when it comes again, as far as that was seen while it ran.
    pub obstacles: Vec<String>,
}

/// A command that runs.
pub(super) struct Group {
    pub begun: Begun,
    pub root: Option<Pid>,
    /// How the root ended, once it has.
    pub status: Option<Status>,
    pub live: HashSet<Pid>,
    events: Vec<(u64, Event)>,
    printed: Vec<(u64, i32, Option<Vec<u8>>)>,
    obstacles: Vec<String>,
}

impl Group {
    pub fn new(begun: Begun) -> Self {
        Self {
            root: None,
            status: None,
            live: HashSet::default(),
            events: Vec::new(),
            printed: Vec::new(),
            obstacles: Vec::new(),
            begun,
        }
    }

    pub fn event(&mut self, number: u64, event: Event, given: &[Descriptor]) {
        match event {
            // What make and its like print is nothing that somebody wants to know again.
            Event::Input(_) | Event::Printed(..) if self.begun.drives => {}
            Event::Input(stream) => {
                if self.stands_at(&stream, &[0], given) {
                    self.obstacle(READS_INPUT);
                }
            }
            Event::Printed(stream, text) => {
                if self.stands_at(&stream, &[1, 2], given) {
                    self.obstacle(Observed::PRINTS);
                    self.printed.push((number, stream.fd, text));
                }
            }
            event => self.events.push((number, event)),
        }
    }

    /// Is this one of the streams that the command was given, and not a file or pipe of its own? `given` is what all
    /// are given beside these: a shell makes a standard stream of it for what it starts (`>&5`).
    fn stands_at(&self, stream: &Stream, which: &[usize], given: &[Descriptor]) -> bool {
        let Some(fds) = &self.begun.exec.fds else { return true };
        let is_it = |fd: &FdIdentity| (fd.dev, fd.ino) == (stream.dev, stream.ino);
        stream.rdev != descriptors::NULL
            && (which.iter().any(|&fd| is_it(&fds[fd])) || given.iter().any(|other| is_it(&other.leads)))
    }

    pub fn obstacle(&mut self, why: &str) {
        if !self.has_obstacle(why) {
            self.obstacles.push(why.to_owned());
        }
    }

    pub fn has_obstacle(&self, why: &str) -> bool {
        self.obstacles.iter().any(|known| known == why)
    }

    pub fn end(self) -> Ended {
        Ended {
            status: self.status.unwrap_or(Status::Unknown),
            at: Instant::now(),
            ended: file_clock(),
            events: self.events,
            printed: self.printed,
            obstacles: self.obstacles,
            begun: self.begun,
        }
    }
}

/// The clock that files are stamped with, in nanoseconds. What was changed before now has no later time. What is changed from
/// now on has a later one, or that of the last tick: changes within a tick are told by who was seen to make them.
pub fn file_clock() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
