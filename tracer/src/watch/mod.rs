// SPDX-License-Identifier: Apache-2.0
//! Which process belongs to which command, and what each command has done so far. Takes events from whatever sees
//! them, in any order across processes: they are numbered, and put in order when the command has ended. Knows nothing of
//! what is made of them: see [`finish`]. What is known of processes is in [`table`], what is known of one command in [`command`].
//!
//! A command ends when the process that executed it has ended and no known process of it lives; what lives on when the build
//! is over is cut off there.

mod command;
pub mod environment;
mod exact;
mod finish;
mod left;
mod names;
mod table;
mod ways_back;
mod writes;

use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use foldhash::HashSet;
use observe::{Ends, Event, Pid};
use wire::Descriptor;

use crate::log::{Entry, Log, Owner, Ways};
use crate::process;
use crate::recorder::{Recorder, Sight, lock};
use crate::request::Exec;

use command::Group;
pub use command::{Begun, Ended, file_clock};
use table::Table;
pub use writes::Writes;

/// All commands and processes of a build.
pub struct Watch {
    table: Mutex<Table>,
    newest: process::Newest,
    log: Option<Arc<Log>>,
    /// The number of the next event, where there is no log.
    next: AtomicU64,
    /// What the build was given beside its standard streams.
    given: Vec<Descriptor>,
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
    pub fn new(
        sight: Sight,
        socket: PathBuf,
        log: Option<Arc<Log>>,
        given: Vec<Descriptor>,
    ) -> io::Result<Self> {
        let (done, received) = channel();
        // A tracer is told of all ends.
        let ends = if sight == Sight::Tracer { None } else { Some(Arc::new(Ends::new()?)) };
        Ok(Self {
            table: Mutex::new(Table { socket, ends, ..Table::default() }),
            newest: process::Newest::default(),
            log,
            next: AtomicU64::new(1),
            given,
            writes: Mutex::default(),
            done: Mutex::new(Some(done)),
            received: Mutex::new(Some(received)),
            worker: Mutex::default(),
        })
    }

    /// Begins to write down what commands did, in a thread of its own: they do not wait for it.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(recorder: &Arc<Recorder>) -> io::Result<()> {
        let Some(received) = lock(&recorder.watch.received).take() else { return Ok(()) };
        let shared = Arc::clone(recorder);
        let work = move || {
            thunk::turn::late();
            received.into_iter().for_each(|ended| finish::finish(&shared, ended));
        };
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
        table.within.insert(begun.id, begun.within);
        table.groups.insert(begun.id, Group::new(begun));
    }

    /// The command cannot be deferred when it comes again, because of this.
    pub fn obstacle(&self, group: u32, why: &str) {
        if let Some(group) = lock(&self.table).groups.get_mut(&group) {
            group.obstacle(why);
        }
    }

    /// What this command does need not be remembered.
    pub fn forgoes(&self, group: u32) {
        if let Some(group) = lock(&self.table).groups.get_mut(&group) {
            group.begun.learn = None;
        }
    }

    /// When this command began, by the clock that files are stamped with, if it runs and is none that drives others:
    /// what these do themselves is on no record.
    pub fn began(&self, group: u32) -> Option<i64> {
        let table = lock(&self.table);
        table.groups.get(&group).filter(|group| !group.begun.drives).map(|group| group.begun.began)
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

    /// Does it matter that a process reads its standard input, or what it prints? Not with build drivers and their
    /// forked children, nor once the first is known.
    pub fn minds_streams(&self, pid: Pid, input: bool) -> bool {
        let table = lock(&self.table);
        let Some(member) = table.processes.get(&pid) else {
            // What was executed is known; so it was forked, and runs what its parent does. If that is not known, it is
            // found out when the call is told.
            let parent = observe::parent_of(pid).and_then(|parent| table.processes.get(&parent));
            return parent.is_none_or(|parent| table.minds_streams(parent, input))
                || !table.expected.is_empty();
        };
        table.minds_streams(member, input)
    }

    /// A process did this. Numbers grow in the order of what happened.
    pub fn event(&self, pid: Pid, number: u64, event: Event) {
        if matches!(event, Event::Ended(_)) {
            self.look_for_orphans(pid);
        }
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
                    group.event(number, event, &self.given);
                }
            }
        }
    }

    /// What the build was given beside its standard streams.
    pub fn given(&self) -> &[Descriptor] {
        &self.given
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
                    if entry.begins.is_some_and(|begins| begins == id || table.group_of(begins) != id) {
                        continue;
                    }
                    if let Some(change) = writes::change(&entry.event) {
                        writes.note(change, entry.sequence, id);
                    }
                    ended.events.push((entry.sequence, entry.event));
                }
                table.ended.insert(id);
            }
            Err(error) => ended.obstacles.push(format!("what hooks saw of it cannot be read: {error}")),
        }
        if log.lost() > 0 {
            ended.obstacles.push("hooks could not write down all that they saw".to_owned());
        }
    }

    /// Has another command, which goes on and of which hooks have written down what nobody has read, changed what
    /// stands at this path in one of these events?
    pub fn changes_now(&self, path: &Path, group: u32, events: &Range<u64>, ways: &dyn Ways) -> bool {
        let changes = |entry: &Entry| writes::change(&entry.event).is_some_and(|change| change.is_of(path));
        self.unread(group, events, ways).is_none_or(|unread| unread.iter().any(changes))
    }

    /// What commands that make started beside this one have made in a directory in one of these events. `None` if that cannot be found
    /// out, or if more was changed there: by these, or by others, such as those that it started itself and waited for.
    pub fn made_beside(
        &self,
        directory: &Path,
        group: u32,
        events: &Range<u64>,
        ways: &dyn Ways,
    ) -> Option<HashSet<PathBuf>> {
        let mut found = self.writes().in_directory(directory, group, events);
        // The locks of what is known must not be held while more is read.
        let unread = self.unread(group, events, ways)?;
        let table = lock(&self.table);
        for entry in &unread {
            if let Some(change) = writes::change(&entry.event) {
                found.note(directory, &change, entry.sequence, table.last_command_of(entry.process));
            }
        }
        let are_beside = found.by.iter().all(|&other| table.is_beside(other, group));
        if are_beside { found.all_made() } else { None }
    }

    /// What hooks have written down of others than this command, and nobody has read, of these events. `None` if it cannot be read.
    fn unread(&self, group: u32, events: &Range<u64>, ways: &dyn Ways) -> Option<Vec<Entry>> {
        let Some(log) = &self.log else { return Some(Vec::new()) };
        let mut entries = {
            let table = lock(&self.table);
            log.changes(|owner| table.on_record_of(owner) != group, events, Some(ways)).ok()?
        };
        entries.retain(|entry| events.contains(&entry.sequence));
        Some(entries)
    }

    /// A process is about to end: whom it leaves nobody could tell to be of its command any more. A tracer is told of them when they are made.
    fn look_for_orphans(&self, pid: Pid) {
        {
            let table = lock(&self.table);
            let drives =
                |member| table.groups.get(&table.group_of(member)).is_some_and(|group| group.begun.drives);
            if table.ends.is_none() || table.processes.get(&pid).is_some_and(|member| drives(member.id)) {
                return;
            }
            // To be told of its children takes far longer.
            if self.newest.pid().is_some_and(|newest| table.knows_all_after(pid, newest)) {
                return;
            }
        }
        let children = process::living_children(pid);
        if children.is_empty() {
            return;
        }
        let mut table = lock(&self.table);
        let id = table.resolve(pid);
        for child in children {
            if !table.processes.contains_key(&child) {
                let ended = table.enter(child, id);
                self.finish(ended);
            }
        }
    }

    /// Where only hooks see anything: finds processes in what they have written.
    fn look_for_processes(&self) {
        let Some(owners) = self.log.as_ref().and_then(|log| log.owners().ok()) else { return };
        for Owner { command, process } in owners {
            let mut table = lock(&self.table);
            if table.groups_of.contains_key(&command) && !table.seen.contains_key(&process) {
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

#[cfg(test)]
mod tests;
