// SPDX-License-Identifier: Apache-2.0
//! Which process runs which program, and which program is on the record of which command. Knows neither events nor threads.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use observe::{Ends, Pid, Process};
use thunk::trace::Status;

use super::command::{Ended, Group, LEAVES_PROCESSES, READS_INPUT};
use crate::log::Owner;
use crate::process;
use crate::request::Exec;

#[derive(Default)]
pub(super) struct Table {
    /// The command on whose record each program is, by the program's number.
    pub groups_of: HashMap<u32, u32>,
    /// The commands that run.
    pub groups: HashMap<u32, Group>,
    /// What each process runs.
    pub processes: HashMap<Pid, Member>,
    /// Every process that there was.
    pub seen: HashMap<Pid, Seen>,
    /// How many that were.
    pub count: u64,
    /// Which command has started each; 0 is none.
    pub within: HashMap<u32, u32>,
    /// Commands that have ended, of which all has been read that hooks wrote down.
    pub ended: HashSet<u32>,
    /// Programs in which no hook is: those that they start have their number in the environment.
    pub opaque: HashSet<u32>,
    /// Programs whose number others have in the environment, too: those that something executed which no hook saw.
    pub borrowed: HashSet<u32>,
    /// Programs that a hook was told may run, and of which the kernel has not said that they do.
    pub expected: HashMap<u32, Arc<Exec>>,
    /// The session's socket, by which its variable is known.
    pub socket: PathBuf,
    /// Where the ends of processes are awaited, if nobody tells of them.
    pub ends: Option<Arc<Ends>>,
}

/// A process.
pub(super) struct Member {
    /// The program that it runs.
    pub id: u32,
    /// How its end is noticed.
    pub process: Option<Process>,
}

impl Member {
    fn has_ended(&self, pid: Pid) -> bool {
        self.process.as_ref().map_or_else(|| observe::has_ended(pid), Process::has_ended)
    }
}

/// A process that there was, and may be yet.
pub(super) struct Seen {
    /// The last program that it ran.
    id: u32,
    /// How many had been seen before.
    before: u64,
}

impl Table {
    pub fn minds_streams(&self, member: &Member, input: bool) -> bool {
        let group = self.groups.get(&self.group_of(member.id));
        group.is_some_and(|group| !(group.begun.drives || input && group.has_obstacle(READS_INPUT)))
    }

    pub fn group_of(&self, id: u32) -> u32 {
        self.groups_of.get(&id).copied().unwrap_or(0)
    }

    /// The program that a process runs, as far as that can be found out.
    pub fn resolve(&mut self, pid: Pid) -> u32 {
        if let Some(member) = self.processes.get(&pid) {
            return member.id;
        }
        let named = |table: &Self| {
            process::command_of(pid, &table.socket).filter(|id| table.groups_of.contains_key(id))
        };
        // One that was spawned has its own command's number. One that was forked has the number that its parent was given, or one
        // from further above, if nobody could give it any.
        let spawned = if self.expected.is_empty() { None } else { named(self) };
        let id = match spawned.filter(|id| self.expected.contains_key(id)) {
            Some(spawned) => spawned,
            None => self.of_ancestor(pid).or_else(|| named(self)).unwrap_or(0),
        };
        // It was in no command before that it could end by leaving.
        let _ = self.enter(pid, id);
        id
    }

    /// The program of the nearest ancestor that is known; those between are of it, too.
    fn of_ancestor(&mut self, pid: Pid) -> Option<u32> {
        let mut between = Vec::new();
        let mut ancestor = pid;
        loop {
            let parent = observe::parent_of(ancestor)?;
            if let Some(member) = self.processes.get(&parent) {
                let id = member.id;
                for pid in between {
                    let _ = self.enter(pid, id);
                }
                return Some(id);
            }
            // Ids are given away again: what looks like a loop is none of ours.
            if between.contains(&parent) {
                return None;
            }
            between.push(parent);
            ancestor = parent;
        }
    }

    /// The command on whose record it is what hooks write into the log in this name: the one that it names, or if that has ended, the
    /// one that started it.
    pub fn on_record_of(&self, owner: Owner) -> u32 {
        let named = owner.command;
        let id = if self.opaque.contains(&named) || !self.groups_of.contains_key(&named) {
            self.seen.get(&owner.process).map_or(named, |seen| seen.id)
        } else {
            named
        };
        let mut group = self.group_of(id);
        while self.ended.contains(&group) {
            group = self.within.get(&group).copied().unwrap_or(0);
        }
        group
    }

    /// The command that a process belonged to last; one that is none if that is not known.
    pub fn last_command_of(&self, pid: Pid) -> u32 {
        const UNKNOWN: u32 = u32::MAX;
        self.seen.get(&pid).map_or(UNKNOWN, |seen| self.group_of(seen.id))
    }

    /// Was the one command started neither by the other, be it through others, nor by one that is not known?
    pub fn is_beside(&self, mut one: u32, other: u32) -> bool {
        while one != other {
            match self.within.get(&one) {
                Some(0) => return true,
                Some(&above) => one = above,
                None => return false,
            }
        }
        false
    }

    /// Is each process known that the kernel has made after this one, up to the one with this id? Then so are all its children. Only
    /// what has just begun can be told of that way: ids are given away again. So is what was never seen before it ends, which is seldom
    /// anything else, a shell's child that has read a variable. Wrong is that only if, of a process that is older than a whole round of
    /// ids, the next few happen to belong to what has been seen lately.
    pub fn knows_all_after(&self, pid: Pid, newest: Pid) -> bool {
        /// As many are looked for.
        const FEW: Pid = 16;
        /// So many processes of the build are seen in less than a round of ids, of which there are 32,000 at least by default.
        const RECENT: u64 = 1024;
        let is_recent = |seen: &Seen| self.count - seen.before <= RECENT;
        let has_just_begun = self.processes.get(&pid).and(self.seen.get(&pid)).is_none_or(is_recent);
        has_just_begun
            && (pid..pid.saturating_add(FEW)).contains(&newest)
            && (pid + 1..=newest).all(|later| self.seen.get(&later).is_some_and(is_recent))
    }

    pub fn enter(&mut self, pid: Pid, id: u32) -> Option<Ended> {
        let to = self.group_of(id);
        let before = match self.processes.get_mut(&pid) {
            Some(member) => {
                if let Some(seen) = self.seen.get_mut(&pid) {
                    seen.id = id;
                }
                Some(std::mem::replace(&mut member.id, id))
            }
            None => {
                let process = self.ends.as_ref().and_then(|ends| {
                    // One that has ended already is noticed at the build's end only.
                    let process = Process::open(pid).ok()?;
                    ends.add(&process, pid as u64).ok()?;
                    Some(process)
                });
                self.processes.insert(pid, Member { id, process });
                self.seen.insert(pid, Seen { id, before: self.count });
                self.count += 1;
                None
            }
        };
        let from = before.map(|id| self.group_of(id));
        if let Some(group) = self.groups.get_mut(&to) {
            group.live.insert(pid);
            if id == to && group.root.is_none() {
                group.root = Some(pid);
            }
        }
        let from = from.filter(|&from| from != to)?;
        self.left(from, pid, Status::Unknown)
    }

    pub fn leave(&mut self, pid: Pid, status: Option<ExitStatus>) -> Option<Ended> {
        let id = self.processes.remove(&pid)?.id;
        let status = status.map_or(Status::Unknown, |status| match (status.code(), status.signal()) {
            (Some(code), _) => Status::Exited(code as u8),
            (None, Some(signal)) => Status::Killed(signal as u8),
            (None, None) => Status::Unknown,
        });
        self.left(self.group_of(id), pid, status)
    }

    fn left(&mut self, from: u32, pid: Pid, status: Status) -> Option<Ended> {
        let group = self.groups.get_mut(&from)?;
        group.live.remove(&pid);
        if group.root == Some(pid) {
            group.status = Some(status);
            // That others have ended before it may yet be told.
            let processes = &mut self.processes;
            group.live.retain(|&pid| {
                let lives = processes.get(&pid).is_some_and(|member| !member.has_ended(pid));
                if !lives {
                    processes.remove(&pid);
                }
                lives
            });
            // What these do yet is done when it is done, and in a sandbox not at all.
            if !group.live.is_empty() {
                group.obstacle(LEAVES_PROCESSES);
            }
        }
        if group.status.is_none() || !group.live.is_empty() {
            return None;
        }
        self.groups.remove(&from).map(Group::end)
    }

    pub fn cut(&mut self, id: u32) -> Option<Ended> {
        self.groups.remove(&id).map(Group::end)
    }
}
