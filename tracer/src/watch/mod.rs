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

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::log::{Log, Owner, Ways};
use foldhash::{HashMap, HashSet};
use observe::{Ends, Event, Pid, Process, Stream};
use thunk::trace::Status;

use crate::recorder::{Recorder, Sight, lock};
use crate::request::Exec;
use crate::{learned, process};

pub use writes::Writes;

/// Why a command cannot be deferred that depends on what it is given there.
const READS_INPUT: &str = "reads its standard input";

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
    /// What it printed, in any order: to standard output or error, if it is known what.
    pub printed: Vec<(u64, i32, Option<Vec<u8>>)>,
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
    printed: Vec<(u64, i32, Option<Vec<u8>>)>,
    obstacles: Vec<String>,
}

#[derive(Default)]
struct Table {
    /// The command on whose record each program is, by the program's number.
    groups_of: HashMap<u32, u32>,
    /// The commands that run.
    groups: HashMap<u32, Group>,
    /// What each process runs.
    processes: HashMap<Pid, Member>,
    /// The last program of every process that there was.
    last: HashMap<Pid, u32>,
    /// Commands that have ended, and those that started them.
    ended: HashMap<u32, u32>,
    /// Programs in which no hook is: those that they start have their number in the environment.
    opaque: HashSet<u32>,
    /// Programs whose number others have in the environment, too: those that something executed which no hook saw.
    borrowed: HashSet<u32>,
    /// Programs that a hook was told may run, and of which the kernel has not said that they do.
    expected: HashMap<u32, Arc<Exec>>,
    /// The session's socket, by which its variable is known.
    socket: PathBuf,
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
    log: Option<Arc<Log>>,
    /// The number of the next event, where there is no log.
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
    pub fn new(sight: Sight, socket: PathBuf, log: Option<Arc<Log>>) -> io::Result<Self> {
        let (done, received) = channel();
        // A tracer is told of all ends.
        let ends = if sight == Sight::Tracer { None } else { Some(Arc::new(Ends::new()?)) };
        Ok(Self {
            table: Mutex::new(Table { socket, ends, ..Table::default() }),
            log,
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
            std::thread::Builder::new()
                .name("ends".into())
                .spawn(move || shared.watch.await_ends(&ends, shared.sight))?;
        }
        Ok(())
    }

    /// Waits for the ends of processes, for as long as the recorder lives.
    fn await_ends(&self, ends: &Ends, sight: Sight) {
        /// So often it is looked for processes that nobody has told of.
        const EVERY: Duration = Duration::from_millis(100);
        let timeout = (sight == Sight::Hooks).then_some(EVERY);
        while let Ok(ended) = ends.wait(timeout) {
            if timeout.is_some() {
                self.look_for_processes();
            }
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
    pub fn expect(&self, id: u32, exec: &Arc<Exec>) {
        lock(&self.table).expected.insert(id, Arc::clone(exec));
    }

    /// A process is about to execute this program. Is it the one of which a hook has asked a moment ago, itself or, if it spawns
    /// it, its parent? Told without a look at the environment, and not if there are several that it may be.
    pub fn is_announced(
        &self,
        pid: Pid,
        program: &Path,
        argv: &[OsString],
        parent: &dyn Fn() -> Option<Pid>,
    ) -> bool {
        let (id, asker, spawned) = {
            let table = lock(&self.table);
            let same = |exec: &Exec| exec.invocation.program == program && exec.invocation.argv == argv;
            let mut found = table.expected.iter().filter(|(_, exec)| same(exec));
            let (Some((&id, exec)), None) = (found.next(), found.next()) else { return false };
            (id, exec.pid.cast_signed(), exec.spawned)
        };
        let asked = if spawned { parent() == Some(asker) } else { pid == asker };
        asked && self.arrives(pid, id, program, argv)
    }

    /// The environment of a program that no hook has asked about names this one.
    pub fn names_another(&self, id: u32) {
        lock(&self.table).borrowed.insert(id);
    }

    /// A process executes a program in the name of this command. Is it what a hook has asked about?
    pub fn arrives(&self, pid: Pid, id: u32, program: &Path, argv: &[OsString]) -> bool {
        let mut table = lock(&self.table);
        // What inherits the name may execute something else.
        let same = |exec: &Arc<Exec>| exec.invocation.program == program && exec.invocation.argv == argv;
        if !table.expected.get(&id).is_some_and(same) {
            return false;
        }
        table.expected.remove(&id);
        let ended = table.enter(pid, id);
        if let Some(group) = table.groups.get_mut(&id).filter(|group| group.begun.descriptors.is_empty()) {
            group.begun.descriptors = process::descriptors(pid);
        }
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

    /// The program with this number is part of a command; are there hooks in it?
    pub fn belongs(&self, id: u32, group: u32, opaque: bool) {
        let mut table = lock(&self.table);
        table.groups_of.insert(id, group);
        if opaque {
            table.opaque.insert(id);
        }
    }

    /// A command is about to run.
    pub fn begin(&self, begun: Begun) {
        let mut table = lock(&self.table);
        table.groups_of.insert(begun.id, begun.id);
        let group = Group {
            root: None,
            status: None,
            live: HashSet::default(),
            events: Vec::new(),
            printed: Vec::new(),
            obstacles: Vec::new(),
            begun,
        };
        table.groups.insert(group.begun.id, group);
    }

    /// The command cannot be deferred when it comes again, because of this.
    pub fn obstacle(&self, group: u32, why: &str) {
        if let Some(group) = lock(&self.table).groups.get_mut(&group) {
            group.obstacle(why);
        }
    }

    /// From now on the process runs the program with this number.
    pub fn runs(&self, pid: Pid, id: u32) {
        let mut table = lock(&self.table);
        let ended = table.enter(pid, id);
        self.finish(ended);
    }

    /// The program that a process runs, which is in one with hooks: they say that it has this number.
    pub fn program_with_hooks(&self, pid: Pid, named: u32) -> u32 {
        let mut table = lock(&self.table);
        let is_its_own = !table.processes.contains_key(&pid)
            && table.groups_of.contains_key(&named)
            && !table.opaque.contains(&named)
            && !table.borrowed.contains(&named)
            && !table.expected.contains_key(&named);
        if !is_its_own {
            return table.resolve(pid);
        }
        // A child of that program's process. It was in no command before that it could end by leaving.
        let _ = table.enter(pid, named);
        named
    }

    /// The program that a process runs.
    pub fn program_of(&self, pid: Pid) -> u32 {
        lock(&self.table).resolve(pid)
    }

    /// Does it matter that a process reads its standard input, or what it prints? Not with build drivers and their forked children, nor once the first
    /// is known.
    pub fn minds_streams(&self, pid: Pid, input: bool) -> bool {
        let table = lock(&self.table);
        let Some(member) = table.processes.get(&pid) else {
            // What was executed is known; so it was forked, and runs what its parent does. If that is not known, it is found out when the call
            // is told.
            let parent = observe::parent_of(pid).and_then(|parent| table.processes.get(&parent));
            return parent.is_none_or(|parent| table.minds_streams(parent, input))
                || !table.expected.is_empty();
        };
        table.minds_streams(member, input)
    }

    /// A process did this. Numbers grow in the order of what happened.
    pub fn event(&self, pid: Pid, number: u64, event: Event) {
        let mut table = lock(&self.table);
        match event {
            Event::Moved => {
                if let Some(log) = &self.log {
                    log.note_move();
                }
            }
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
                    group.event(number, event);
                }
            }
        }
    }

    /// The build is over: what still runs is cut off, and all that ended is written down when this returns.
    pub fn close(&self) {
        let rest: Vec<Ended> = {
            let mut table = lock(&self.table);
            let mut ids: Vec<u32> = table.groups.keys().copied().collect();
            // What is written for one that has ended counts for the one that started it, which has a smaller number.
            ids.sort_unstable_by(|a, b| b.cmp(a));
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
        match &self.log {
            Some(log) => log.next_sequence(),
            None => self.next.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// What hooks have written into the log for a command that has ended, and for those before it that wrote more after their
    /// end; added to its events.
    pub fn add_logged(&self, ended: &mut Ended, ways: &dyn Ways) {
        let Some(log) = &self.log else { return };
        let id = ended.begun.id;
        let entries = {
            let table = lock(&self.table);
            log.take(|owner| table.on_record_of(owner) == id, Some(ways))
        };
        match entries {
            Ok(entries) => {
                let mut table = lock(&self.table);
                let mut writes = lock(&self.writes);
                for entry in entries {
                    // How a command begins is in the record of who started it, and known anyway.
                    let begins = entry.begins.filter(|_| matches!(entry.event, Event::Executed(..)));
                    if begins.is_some_and(|begins| begins == id || table.group_of(begins) != id) {
                        continue;
                    }
                    if let Some(change) = writes::change(&entry.event) {
                        writes.note(change, entry.sequence, id);
                    }
                    ended.events.push((entry.sequence, entry.event));
                }
                table.ended.insert(id, ended.begun.within);
            }
            Err(error) => ended.obstacles.push(format!("what hooks saw of it cannot be read: {error}")),
        }
        if log.lost() > 0 {
            ended.obstacles.push("hooks could not write down all that they saw".to_owned());
        }
    }

    /// Has another command, which goes on and of which hooks have written down what nobody has read, changed what stands at this path from
    /// event `first` on?
    pub fn changes_now(&self, path: &Path, group: u32, first: u64, ways: &dyn Ways) -> bool {
        let Some(log) = &self.log else { return false };
        let entries = {
            let table = lock(&self.table);
            log.peek(|owner| table.on_record_of(owner) != group, Some(ways))
        };
        let is_it = |entry: &crate::log::Entry| {
            entry.sequence >= first && writes::change(&entry.event).is_some_and(|change| change.is_of(path))
        };
        entries.map_or(true, |entries| entries.iter().any(is_it))
    }

    /// Where only hooks see anything: finds processes in what they have written.
    fn look_for_processes(&self) {
        let Some(owners) = self.log.as_ref().and_then(|log| log.owners().ok()) else { return };
        for Owner { command, process } in owners {
            let mut table = lock(&self.table);
            if table.groups_of.contains_key(&command) && !table.last.contains_key(&process) {
                let ended = table.enter(process, command);
                self.finish(ended);
            }
        }
    }

    /// The recorder did this in the place of a command, which is on no other record.
    pub fn wrote(&self, command: u32, event: &Event) {
        if let Some(change) = writes::change(event) {
            lock(&self.writes).note(change, self.next(), command);
        }
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
    fn minds_streams(&self, member: &Member, input: bool) -> bool {
        let group = self.groups.get(&self.group_of(member.id));
        group.is_some_and(|group| !(group.begun.drives || input && group.has_obstacle(READS_INPUT)))
    }

    fn group_of(&self, id: u32) -> u32 {
        self.groups_of.get(&id).copied().unwrap_or(0)
    }

    /// The program that a process runs, as far as that can be found out.
    fn resolve(&mut self, pid: Pid) -> u32 {
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
    fn on_record_of(&self, owner: Owner) -> u32 {
        let named = owner.command;
        let id = if self.opaque.contains(&named) || !self.groups_of.contains_key(&named) {
            self.last.get(&owner.process).copied().unwrap_or(named)
        } else {
            named
        };
        let mut group = self.group_of(id);
        while let Some(&above) = self.ended.get(&group) {
            group = above;
        }
        group
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
        self.last.insert(pid, id);
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
            group.obstacle("leaves processes behind");
        }
        Some(group.end())
    }
}

impl Group {
    fn event(&mut self, number: u64, event: Event) {
        match event {
            // What make and its like print is nothing that somebody wants to know again.
            Event::Input(_) | Event::Printed(..) if self.begun.drives => {}
            Event::Input(stream) => {
                if self.stands_at(&stream, &[0]) {
                    self.obstacle(READS_INPUT);
                }
            }
            Event::Printed(stream, text) => {
                if self.stands_at(&stream, &[1, 2]) {
                    self.obstacle(thunk::trace::Observed::PRINTS);
                    self.printed.push((number, stream.fd, text));
                }
            }
            event => self.events.push((number, event)),
        }
    }

    /// Is this one of the streams that the command was given, and not a file or pipe of its own?
    fn stands_at(&self, stream: &Stream, which: &[usize]) -> bool {
        const NULL: u64 = libc::makedev(1, 3);
        let Some(given) = &self.begun.exec.fds else { return true };
        stream.rdev != NULL
            && which.iter().any(|&fd| (given[fd].dev, given[fd].ino) == (stream.dev, stream.ino))
    }

    fn obstacle(&mut self, why: &str) {
        if !self.has_obstacle(why) {
            self.obstacles.push(why.to_owned());
        }
    }

    fn has_obstacle(&self, why: &str) -> bool {
        self.obstacles.iter().any(|known| known == why)
    }

    fn end(self) -> Ended {
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

#[cfg(test)]
mod tests;
