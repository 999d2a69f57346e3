// SPDX-License-Identifier: Apache-2.0
//! A process, all that descend from it, and those that bear a mark: to be stopped and ended together. Knows nothing of why.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::running::{self, Running};
use crate::{Pid, Process};

/// Where processes come faster than they can be stopped, it has to be left at that.
const MOST_LOOKS: usize = 100;

/// Is this entry of the environment that a process was started with the mark?
type Mark<'a> = &'a dyn Fn(&[u8]) -> bool;

/// The processes, as far as they are known.
pub(crate) struct Members<'a> {
    first: Option<Pid>,
    /// Nothing where nobody has one.
    is_marked: Option<Mark<'a>>,
    pub(crate) known: HashMap<Pid, Process>,
}

impl<'a> Members<'a> {
    pub(crate) fn new(first: Option<Pid>, is_marked: Option<Mark<'a>>) -> Self {
        Self { first, is_marked, known: HashMap::new() }
    }

    /// Finds those that are not known yet.
    pub(crate) fn look(&mut self) -> Vec<Pid> {
        self.known.retain(|_, process| !process.has_ended());
        let all = running::all();
        let mut new = Vec::new();
        let mut descends = true;
        while descends {
            descends = false;
            for one in &all {
                if self.known.contains_key(&one.pid) || !self.is_meant(one) {
                    continue;
                }
                let Ok(process) = Process::open(one.pid) else { continue };
                // The id may have been given to another meanwhile.
                if one.is_still_there() {
                    self.known.insert(one.pid, process);
                    new.push(one.pid);
                    descends = true;
                }
            }
        }
        new
    }

    fn is_meant(&self, one: &Running) -> bool {
        self.first == Some(one.pid)
            || self.known.contains_key(&one.parent)
            || self.is_marked.is_some_and(|mark| one.environment().split(|&byte| byte == 0).any(mark))
    }

    pub(crate) fn pids(&self) -> Vec<Pid> {
        self.known.keys().copied().collect()
    }

    pub(crate) fn signal(&self, pids: &[Pid], signal: i32) {
        for process in pids.iter().filter_map(|pid| self.known.get(pid)) {
            // One that has ended meanwhile needs none.
            let _ = process.signal(signal);
        }
    }

    /// Stops them, again and again, until there is no new one.
    pub(crate) fn stop(&mut self) {
        for _ in 0..MOST_LOOKS {
            let new = self.look();
            if new.is_empty() {
                return;
            }
            self.signal(&new, libc::SIGSTOP);
        }
    }

    pub(crate) fn kill_all(&mut self) {
        for _ in 0..MOST_LOOKS {
            self.signal(&self.pids(), libc::SIGKILL);
            if self.look().is_empty() {
                return;
            }
        }
    }

    pub(crate) fn await_ends(&self, pids: &[Pid], time: Duration) {
        let end = Instant::now() + time;
        for process in pids.iter().filter_map(|pid| self.known.get(pid)) {
            while !process.has_ended() && Instant::now() < end {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Kills a process after all that descend from it, which have so long to be dead: whoever waits for it does not hear of its end while
/// one of them still writes. None of them goes on meanwhile.
pub fn kill_last(top: Pid, patience: Duration) {
    let mut members = Members::new(Some(top), None);
    members.stop();
    let below: Vec<Pid> = members.pids().into_iter().filter(|&pid| pid != top).collect();
    members.signal(&below, libc::SIGKILL);
    members.await_ends(&below, patience);
    members.signal(&[top], libc::SIGKILL);
}
