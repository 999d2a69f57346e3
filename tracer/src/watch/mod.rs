// SPDX-License-Identifier: Apache-2.0
//! Which process belongs to which command, and what each command has done so far. Takes events from whatever sees
//! them, in any order across processes: they are numbered, and put in order when the command has ended. Knows nothing of
//! what is made of them: see [`finish`].
//!
//! A command ends when the process that executed it has ended and no known process of it lives; what lives on when the build
//! is over is cut off there.

pub mod environment;
mod exact;
mod finish;
mod writes;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use observe::{Ends, Event, Pid, Process};
use thunk::trace::Status;

use crate::process;
use crate::recorder::{Recorder, Sight, lock};
use crate::request::Exec;

pub use finish::is_made_up;
pub use writes::Writes;

/// A command that has been started.
#[derive(Debug)]
pub struct Begun {
    /// Its number in the trace.
    pub id: u32,
    /// What was executed.
    pub exec: Exec,
    /// It starts commands: what they do is not its own doing.
    pub drives: bool,
    /// Is it to be remembered, so that it can be deferred when it comes again?
    pub learn: bool,
    /// Why it cannot be deferred when it comes again, as far as that is known from the start.
    pub obstacles: Vec<String>,
    /// Where its descriptors lead.
    pub descriptors: Vec<String>,
    /// When it began, by the clock that files are stamped with.
    pub began: i64,
    /// How many events there had been by then.
    pub first: u64,
    /// When it began, since the recording did.
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
    /// Why it cannot be deferred when it comes again, as far as that was seen while it ran.
    pub obstacles: Vec<String>,
}

/// A command that runs.
struct Group {
    begun: Begun,
    root: Option<Pid>,
    /// How the root ended, once it has.
    status: Option<Status>,
    live: HashSet<Pid>,
    events: Vec<(u64, Event)>,
    obstacles: Vec<String>,
}

#[derive(Default)]
struct Table {
    /// The command on whose record each program is, by the program's number.
    groups_of: HashMap<u32, u32>,
    groups: HashMap<u32, Group>,
    /// What each process runs.
    processes: HashMap<Pid, Member>,
    /// Programs that a hook was told may run, and of which the kernel has not said that they do.
    expected: HashMap<u32, (PathBuf, Vec<OsString>)>,
    /// Where the ends of processes are awaited, if nobody tells of them.
    ends: Option<Arc<Ends>>,
}

/// A process.
struct Member {
    /// The program that it runs.
    id: u32,
    /// How its end is noticed.
    process: Option<Process>,
}

/// All commands and processes of a build.
pub struct Watch {
    table: Mutex<Table>,
    next: AtomicU64,
    writes: Mutex<Writes>,
    done: Mutex<Option<Sender<Ended>>>,
    received: Mutex<Option<Receiver<Ended>>>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Watch {
    /// Of no process yet.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn new(sight: Sight) -> io::Result<Self> {
        let (done, received) = channel();
        // A tracer is told of all ends. Where no more is seen than what hooks ask, nobody cares.
        let ends = if sight == Sight::Net { Some(Arc::new(Ends::new()?)) } else { None };
        Ok(Self {
            table: Mutex::new(Table { ends, ..Table::default() }),
            next: AtomicU64::new(1),
            writes: Mutex::default(),
            done: Mutex::new(Some(done)),
            received: Mutex::new(Some(received)),
            worker: Mutex::default(),
        })
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

impl Watch {
    /// Begins to write down what commands did, in a thread of its own: they do not wait for it.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(recorder: &Arc<Recorder>) -> io::Result<()> {
        let Some(received) = lock(&recorder.watch.received).take() else { return Ok(()) };
        let shared = Arc::clone(recorder);
        let work = move || received.into_iter().for_each(|ended| finish::finish(&shared, ended));
        let worker = std::thread::Builder::new().name("records".into()).spawn(work)?;
        *lock(&recorder.watch.worker) = Some(worker);
        let ends = lock(&recorder.watch.table).ends.clone();
        if let Some(ends) = ends {
            let shared = Arc::clone(recorder);
            std::thread::Builder::new().name("ends".into()).spawn(move || shared.watch.await_ends(&ends))?;
        }
        Ok(())
    }

    /// Waits for the ends of processes, for as long as the recorder lives.
    fn await_ends(&self, ends: &Ends) {
        while let Ok(ended) = ends.wait(None) {
            for pid in ended {
                let mut table = lock(&self.table);
                let pid = pid as Pid;
                // Its id may have been given to another one by now, that is known and lives.
                let gone = table.processes.get(&pid).and_then(|member| member.process.as_ref());
                if let Some(process) = gone.filter(|process| process.has_ended()) {
                    let status = process.status();
                    let ended = table.leave(pid, status);
                    self.finish(ended);
                }
            }
        }
    }

    /// The kernel will say that a process executes this program, about which a hook has asked.
    pub fn expect(&self, id: u32, program: &Path, argv: &[OsString]) {
        lock(&self.table).expected.insert(id, (program.to_path_buf(), argv.to_vec()));
    }

    /// A process executes a program in the name of this command. Is it what a hook has asked about?
    pub fn arrives(&self, pid: Pid, id: u32, program: &Path, argv: &[OsString]) -> bool {
        let mut table = lock(&self.table);
        // What inherits the name may execute something else.
        if !table.expected.get(&id).is_some_and(|(path, arguments)| path == program && arguments == argv) {
            return false;
        }
        table.expected.remove(&id);
        let ended = table.enter(pid, id);
        self.finish(ended);
        true
    }

    /// [`Watch::obstacle`] for the command that a process belongs to.
    pub fn obstacle_of(&self, pid: Pid, why: &str) {
        let group = {
            let mut table = lock(&self.table);
            let id = table.resolve(pid);
            table.group_of(id)
        };
        self.obstacle(group, why);
    }

    /// The program with this number is part of a command.
    pub fn belongs(&self, id: u32, group: u32) {
        lock(&self.table).groups_of.insert(id, group);
    }

    /// A command is about to run.
    pub fn begin(&self, begun: Begun) {
        let mut table = lock(&self.table);
        table.groups_of.insert(begun.id, begun.id);
        let group = Group {
            root: None,
            status: None,
            live: HashSet::new(),
            events: Vec::new(),
            obstacles: Vec::new(),
            begun,
        };
        table.groups.insert(group.begun.id, group);
    }

    /// The command cannot be deferred when it comes again, because of this.
    pub fn obstacle(&self, group: u32, why: &str) {
        if let Some(group) = lock(&self.table).groups.get_mut(&group)
            && !group.obstacles.iter().any(|known| known == why)
        {
            group.obstacles.push(why.to_owned());
        }
    }

    /// From now on the process runs the program with this number.
    pub fn runs(&self, pid: Pid, id: u32) {
        let mut table = lock(&self.table);
        let ended = table.enter(pid, id);
        self.finish(ended);
    }

    /// The program that a process runs.
    pub fn program_of(&self, pid: Pid) -> u32 {
        lock(&self.table).resolve(pid)
    }

    /// A process did this. Numbers grow in the order of what happened.
    pub fn event(&self, pid: Pid, number: u64, event: Event) {
        let mut table = lock(&self.table);
        match event {
            Event::Forked(child) => {
                let id = table.resolve(pid);
                if !table.processes.contains_key(&child) {
                    let ended = table.enter(child, id);
                    self.finish(ended);
                }
            }
            Event::Ended(status) => {
                let ended = table.leave(pid, Some(status));
                self.finish(ended);
            }
            event => {
                let id = table.resolve(pid);
                let group = table.group_of(id);
                if let Some(change) = writes::change(&event) {
                    lock(&self.writes).note(change, number, group);
                }
                if let Some(group) = table.groups.get_mut(&group) {
                    group.events.push((number, event));
                }
            }
        }
    }

    /// The build is over: what still runs is cut off, and all that ended is written down when this returns.
    pub fn close(&self) {
        let rest: Vec<Ended> = {
            let mut table = lock(&self.table);
            let mut ids: Vec<u32> = table.groups.keys().copied().collect();
            ids.sort_unstable();
            ids.into_iter().filter_map(|id| table.cut(id)).collect()
        };
        rest.into_iter().for_each(|ended| self.finish(Some(ended)));
        drop(lock(&self.done).take());
        if let Some(worker) = lock(&self.worker).take() {
            // One that panicked has said so.
            let _ = worker.join();
        }
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The changes that were seen so far.
    pub fn writes(&self) -> std::sync::MutexGuard<'_, Writes> {
        lock(&self.writes)
    }

    fn finish(&self, ended: Option<Ended>) {
        if let (Some(ended), Some(done)) = (ended, lock(&self.done).as_ref()) {
            // Without somebody to receive it nothing is written down.
            let _ = done.send(ended);
        }
    }
}

impl Table {
    fn group_of(&self, id: u32) -> u32 {
        self.groups_of.get(&id).copied().unwrap_or(0)
    }

    /// The program that a process runs, as far as that can be found out.
    fn resolve(&mut self, pid: Pid) -> u32 {
        if let Some(member) = self.processes.get(&pid) {
            return member.id;
        }
        let named = process::command_of(pid).filter(|id| self.groups_of.contains_key(id));
        // One that was spawned has its own command's number. One that was forked has the number that its parent was given, or one
        // from further above, if nobody could give it any.
        let id = match named.filter(|id| self.expected.contains_key(id)) {
            Some(spawned) => spawned,
            None => self.of_ancestor(pid).or(named).unwrap_or(0),
        };
        // It was in no command before that it could end by leaving.
        let _ = self.enter(pid, id);
        id
    }

    fn of_ancestor(&self, pid: Pid) -> Option<u32> {
        let mut ancestor = pid;
        // As many as there may be processes; a loop cannot be.
        for _ in 0..1 << 15 {
            let parent = process::parent_of(ancestor)?;
            if let Some(member) = self.processes.get(&parent) {
                return Some(member.id);
            }
            ancestor = parent;
        }
        None
    }

    fn enter(&mut self, pid: Pid, id: u32) -> Option<Ended> {
        let to = self.group_of(id);
        let before = match self.processes.get_mut(&pid) {
            Some(member) => Some(std::mem::replace(&mut member.id, id)),
            None => {
                let process = self.ends.as_ref().and_then(|ends| {
                    // One that has ended already is noticed at the build's end only.
                    let process = Process::open(pid).ok()?;
                    ends.add(&process, pid as u64).ok()?;
                    Some(process)
                });
                self.processes.insert(pid, Member { id, process });
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

    fn leave(&mut self, pid: Pid, status: Option<ExitStatus>) -> Option<Ended> {
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
        }
        if group.status.is_none() || !group.live.is_empty() {
            return None;
        }
        self.groups.remove(&from).map(Group::end)
    }

    fn cut(&mut self, id: u32) -> Option<Ended> {
        let mut group = self.groups.remove(&id)?;
        // A driver that outlives what it was started as is the build itself, replaced by another program.
        if !group.live.is_empty() && group.status.is_some() {
            group.obstacles.push("leaves processes behind".to_owned());
        }
        Some(group.end())
    }
}

impl Group {
    fn end(self) -> Ended {
        Ended {
            status: self.status.unwrap_or(Status::Unknown),
            at: Instant::now(),
            ended: file_clock(),
            events: self.events,
            obstacles: self.obstacles,
            begun: self.begun,
        }
    }
}
