// SPDX-License-Identifier: Apache-2.0
//! What all threads of a recording share.

mod world;

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use models::World as _;
use models::recognise::Executable;
use models::scanner::{Moment, Scanner};
use observe::{Event, Transfer};
use thunk::{
    FileId, ObjectName, OutputRef, Placeholder, Store, Tree, is_below, is_made_up, real_place, trace,
};
use wire::log::Changed;

use crate::context::Running;
use crate::descriptors::Descriptors;
use crate::early::Early;
use crate::executions::Executions;
use crate::following::{self, Following, Manner};
use crate::force::OnDemand;
use crate::headers::Headers;
use crate::install::Install;
use crate::learned::Learned;
use crate::log::Log;
use crate::looks::{Looks, Steps, Way};
use crate::programs::{Facts, Programs};
use crate::questions::Questions;
use crate::standing::Standing;
use crate::toolchain::Toolchains;
use crate::undo::Placed;
use crate::watch::Watch;

pub use world::is_shared_library;

/// Id of the command in whose name the recorder runs compilers itself.
pub const OWN: u32 = u32::MAX;

/// One recording.
pub struct Recorder {
    /// The parts of this installation.
    pub install: Install,
    /// Where objects go.
    pub store: Store,
    /// The closures of tools.
    pub toolchains: Toolchains,
    /// What is remembered of commands that no model knows.
    pub learned: Learned,
    /// What tools say of themselves.
    pub questions: Questions,
    /// Who forces on demand.
    pub on_demand: OnDemand,
    /// The engine that forces while the build goes on, where one does.
    following: OnceLock<Following>,
    /// What programs are.
    programs: Programs,
    /// What the kernel reads to execute them.
    executions: Executions,
    /// Where descriptors of processes lead.
    pub descriptors: Descriptors,
    /// Who finds included files.
    pub scanner: Scanner,
    /// Since when only that has changed of which the names are known.
    quiet: Mutex<Moment>,
    /// And what makes trees of them.
    pub headers: Headers,
    /// Where paths lead.
    looks: Looks,
    /// The trace.
    pub trace: trace::Writer,
    /// Where interceptors ask.
    pub socket: PathBuf,
    /// Where they write what they see.
    log: Option<Arc<Log>>,
    /// What marks the calls of theirs that the kernel need not ask about; 0 for none.
    cookie: u64,
    /// Where the build was started.
    pub project: PathBuf,
    /// When it began.
    pub started: Instant,
    /// May commands be deferred?
    pub defers: bool,
    /// How much is seen.
    pub sight: Sight,
    /// What runs, and what it did so far.
    pub watch: Watch,
    /// The process that was started as the build, once it is there.
    pub build: OnceLock<observe::Pid>,
    /// A directory of its own.
    directory: PathBuf,
    /// Files that were put where placeholders stood, as they were put.
    forced: Mutex<HashMap<PathBuf, FileId>>,
    /// Placeholders that could not be forced when a directory was read.
    refused: Mutex<HashMap<FileId, PathBuf>>,
    /// Which outputs of this recording will be programs or shared libraries, and which will not.
    linked: Mutex<HashMap<OutputRef, bool>>,
    /// Trees that were needed before.
    trees: Mutex<HashMap<ObjectName, Arc<Tree>>>,
    /// Has somebody been told that the trace cannot be written?
    complained: AtomicBool,
    /// And that debuggers do not work?
    refused_tracers: AtomicBool,
    /// Commands by id; 0 stands for the recorder.
    commands: Mutex<Vec<Running>>,
    /// Paths at which this recording put placeholders, saw them put or found them: those that the trace names.
    outputs: Mutex<BTreeSet<PathBuf>>,
    /// What stands there.
    standing: Standing,
    /// Dependency files that can be had without their compiles.
    pub early: Early,
    /// What was put in place last.
    pub placed: Placed,
    /// Deferred, declined, ran.
    counts: Mutex<[u32; 3]>,
}

/// The socket on which a recorder with this directory listens.
pub fn socket_in(directory: &Path) -> PathBuf {
    directory.join("socket")
}

/// Locks; a thread that panicked while holding the lock left consistent data, since each update is one operation.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a recording is made of.
pub struct Parts {
    /// The parts of this installation.
    pub install: Install,
    /// Where objects go.
    pub store: Store,
    /// The trace, which names these paths of placeholders already.
    pub trace: trace::Writer,
    /// Where placeholders stand before the build starts.
    pub left: Vec<PathBuf>,
    /// A directory of its own, for the socket and probes.
    pub directory: PathBuf,
    /// Where the build is started.
    pub project: PathBuf,
    /// What stands above the build.
    pub root: Running,
    /// May commands be deferred?
    pub defers: bool,
    /// How much is seen.
    pub sight: Sight,
    /// Where interceptors write what they see.
    pub log: Option<Arc<Log>>,
    /// What marks the calls of theirs that the kernel need not ask about; 0 for none.
    pub cookie: u64,
}

/// How much of what processes do is seen, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Hooks alone: what they ask about.
    Hooks,
    /// Hooks, and the kernel where none are: everything.
    Net,
    /// A tracer, and no hooks: everything.
    Tracer,
}

impl Sight {
    /// Does nothing go unseen?
    pub fn is_complete(self) -> bool {
        self != Self::Hooks
    }
}

impl Recorder {
    /// A recording that has seen nothing yet.
    ///
    /// # Errors
    /// The store or the session's directory cannot be written to.
    pub fn new(parts: Parts) -> anyhow::Result<Self> {
        let Parts { install, store, trace, left, directory, project, root, defers, sight, log, cookie } =
            parts;
        let empty = directory.join("empty");
        std::fs::create_dir(&empty)?;
        let (scanner, looks) = (Scanner::default(), Looks::default());
        // An engine may put something else there at any time.
        for name in left.iter().filter_map(|path| path.file_name()) {
            scanner.changes(name.as_bytes());
            looks.changes(name.as_bytes());
        }
        if !left.is_empty() {
            log.iter().for_each(|log| log.note_placeholders());
        }
        Ok(Self {
            toolchains: Toolchains::new(store.cache_dir("toolchains")?, directory.clone()),
            learned: Learned::new(store.cache_dir("learned")?),
            trees: Mutex::default(),
            questions: Questions::new(empty),
            on_demand: OnDemand::new(&install.ggforce, store.root()),
            following: OnceLock::new(),
            programs: Programs::new(&store.cache_dir("programs")?.join("known")),
            executions: Executions::default(),
            descriptors: Descriptors::default(),
            quiet: Mutex::new(scanner.now()),
            scanner,
            headers: Headers::default(),
            looks,
            socket: socket_in(&directory),
            project,
            started: Instant::now(),
            defers,
            sight,
            watch: Watch::new(sight, socket_in(&directory), log.clone())?,
            log,
            cookie,
            build: OnceLock::new(),
            directory,
            forced: Mutex::default(),
            refused: Mutex::default(),
            linked: Mutex::default(),
            complained: AtomicBool::new(false),
            refused_tracers: AtomicBool::new(false),
            commands: Mutex::new(vec![root]),
            outputs: Mutex::new(left.into_iter().collect()),
            standing: Standing::default(),
            early: Early::default(),
            placed: Placed::default(),
            counts: Mutex::default(),
            install,
            store,
            trace,
        })
    }

    /// What is known of the command with this id.
    pub fn command(&self, id: u32) -> Running {
        let commands = lock(&self.commands);
        let found = commands.get(id as usize).cloned();
        found.unwrap_or_else(|| commands[0].start(crate::context::Role::Tool, None))
    }

    /// A new program that `parent` executes, whose id is `above`; tells its own.
    pub fn start(&self, above: u32, parent: &Running, mut running: Running) -> u32 {
        running.above = above;
        let mut commands = lock(&self.commands);
        let id = commands.len() as u32;
        if running.is_command(parent) {
            running.group = id;
        }
        self.watch.belongs(id, running.group, running.opaque);
        commands.push(running);
        id
    }

    /// A command was deferred that this program started.
    pub fn starts_deferred(&self, program: u32) {
        let mut commands = lock(&self.commands);
        let mut id = program;
        while let Some(running) = commands.get_mut(id as usize).filter(|running| !running.starts_deferred) {
            running.starts_deferred = true;
            id = running.above;
        }
    }

    /// Adds a command to the trace.
    ///
    /// # Errors
    /// The trace cannot be written to.
    pub fn record(&self, command: &trace::Command) -> thunk::Result<()> {
        lock(&self.counts)[command.disposition as usize] += 1;
        if let Some(thunk) = command.thunk {
            for path in &command.outputs {
                self.standing.put(path, OutputRef { thunk, output: Some(path.clone()) });
            }
        }
        self.trace.command(command)?;
        if command.thunk.is_some() {
            self.tell_engine(&command.outputs);
        }
        Ok(())
    }

    /// Placeholders stand at these paths.
    fn tell_engine(&self, paths: &[PathBuf]) {
        match self.following.get() {
            Some(following) => following.add(paths.iter().cloned()),
            None => self.on_demand.add(paths.iter().cloned()),
        }
    }

    /// Forces from now on while the build goes on.
    ///
    /// # Errors
    /// The engine cannot be started.
    pub fn follow(&self, options: following::Options) -> anyhow::Result<()> {
        let manner = Manner::Everything(options);
        let _ = self.following.set(Following::start(&self.install.ggforce, self.store.root(), manner)?);
        Ok(())
    }

    /// The engine that forces while the build goes on, where one does.
    pub fn following(&self) -> Option<&Following> {
        self.following.get()
    }

    /// Has a command failed whose failure ends the build?
    pub fn stops(&self) -> bool {
        self.following.get().is_some_and(Following::stopped)
    }

    /// What became of the commands so far, for people.
    pub fn counts(&self) -> String {
        let [deferred, declined, ran] = *lock(&self.counts);
        format!("{deferred} deferred, {declined} declined, {ran} ran")
    }

    /// Writes into the trace where placeholders may stand from now on, if it is not known yet. Done before one is put, so that
    /// none is forgotten if the recorder is killed: make would never have it made again.
    ///
    /// # Errors
    /// The trace cannot be written to.
    pub fn note_outputs(&self, paths: impl IntoIterator<Item = PathBuf>) -> thunk::Result<()> {
        let mut outputs = lock(&self.outputs);
        let mut new = Vec::new();
        for path in paths {
            self.puts(&path);
            if !outputs.contains(&path) {
                new.push(path);
            }
        }
        if !new.is_empty() {
            self.log.iter().for_each(|log| log.note_placeholders());
        }
        self.trace.placed(new.iter().map(PathBuf::as_path))?;
        outputs.extend(new);
        Ok(())
    }

    /// The same for a path, with links on the way, at which something that may be a placeholder stands since a copy or
    /// rename; or a directory of such.
    ///
    /// # Errors
    /// As [`Recorder::note_outputs`].
    pub fn note_placed(&self, path: &Path, old: Option<&Path>, directory: bool) -> thunk::Result<()> {
        let Ok(path) = real_place(path) else { return Ok(()) };
        if !directory {
            self.standing.changed(&path);
            self.tell_engine(std::slice::from_ref(&path));
            return self.note_outputs([path]);
        }
        let Some(old) = old.and_then(|old| real_place(old).ok()) else { return Ok(()) };
        let below = |p: &PathBuf| p.strip_prefix(&old).ok().map(|rest| path.join(rest));
        let moved: Vec<PathBuf> = lock(&self.outputs).iter().filter_map(below).collect();
        moved.iter().for_each(|path| self.standing.changed(path));
        self.tell_engine(&moved);
        self.note_outputs(moved)
    }

    /// A process whose calls the kernel tells of renames or links this, or has just done so. Hooks see for themselves whether it is a
    /// placeholder; here it is at one of the two places.
    pub fn transferred(&self, how: Transfer, from: &Path, to: &Path) {
        if !self.has_outputs() {
            return;
        }
        let known = [from, to].map(|path| std::fs::symlink_metadata(path).ok());
        let directory = known.iter().flatten().any(std::fs::Metadata::is_dir);
        let may_be = |file: &std::fs::Metadata| file.is_file() && wire::size_may_be_placeholder(file.len());
        if !directory && !known.iter().flatten().any(may_be) {
            return;
        }
        let back = (how == Transfer::Exchange).then_some((to, from));
        for (old, new) in std::iter::once((from, to)).chain(back) {
            if let Err(error) = self.note_placed(new, Some(old), directory) {
                self.complain(&error);
            }
        }
    }

    /// Every path at which a placeholder of this recording may stand.
    pub fn outputs(&self) -> Vec<PathBuf> {
        lock(&self.outputs).iter().cloned().collect()
    }

    /// Writes into the trace what the build left where, and how it ended.
    ///
    /// # Errors
    /// The trace cannot be written to.
    pub fn end(&self, code: i32) -> thunk::Result<()> {
        self.on_demand.end();
        let standing = self.standing.of(self.outputs(), &self.store, &self.early);
        self.trace.standing(standing.iter().map(|(path, output)| (path.as_path(), output)))?;
        self.trace.end(code, self.started.elapsed().as_micros() as u64)
    }

    /// What to put into the environment of a process that the recorder itself starts under the interceptor.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        self.environment_of(OWN, 0)
    }

    /// What to put into the environment of the command with this id.
    pub fn environment_of(&self, id: u32, flags: u32) -> Vec<(OsString, OsString)> {
        // What the recorder runs itself is on no record.
        let log = self.log.as_deref().filter(|_| id != OWN);
        let cookie = if log.is_some() { self.cookie } else { 0 };
        let mut session = OsString::from(format!("{id}:{flags}:{cookie:016x}:"));
        session.push(&self.install.standin);
        session.push(":");
        session.push(log.map_or(Path::new(""), Log::path));
        session.push(":");
        session.push(&self.socket);
        vec![
            ("LD_PRELOAD".into(), self.install.interceptor.clone().into_os_string()),
            (wire::SESSION_VARIABLE.into(), session),
        ]
    }

    /// Forces the placeholders among `paths`, under all names that this recording knows of them: what is one file before it
    /// is forced is one file after.
    ///
    /// # Errors
    /// As [`OnDemand::force`].
    pub fn force(&self, paths: &[PathBuf]) -> Result<(), String> {
        let inode = |path: &Path| {
            let metadata = std::fs::symlink_metadata(path).ok()?;
            (metadata.is_file() && metadata.nlink() > 1).then_some((metadata.dev(), metadata.ino()))
        };
        let linked: BTreeSet<(u64, u64)> = paths.iter().filter_map(|p| inode(p)).collect();
        if linked.is_empty() {
            return self.force_all(paths);
        }
        let names = self.outputs().into_iter().filter(|p| inode(p).is_some_and(|i| linked.contains(&i)));
        self.force_all(&paths.iter().cloned().chain(names).collect::<Vec<_>>())
    }

    fn force_all(&self, paths: &[PathBuf]) -> Result<(), String> {
        if paths.is_empty() {
            return Ok(());
        }
        let turned = Early::turn(self, paths);
        // One that was killed answers no more: another does then.
        let result = match self.following.get().and_then(|following| following.force(paths)) {
            Some(answer) => answer,
            None => self.on_demand.force(paths),
        };
        // Whatever it has put where.
        *lock(&self.quiet) = self.scanner.now();
        self.looks.forget();
        if result.is_err() {
            turned.into_iter().for_each(|turned| turned.back(self));
        }
        result?;
        let mut forced = lock(&self.forced);
        for path in paths {
            if let Ok(real) = std::fs::canonicalize(path)
                && let Ok(metadata) = std::fs::metadata(&real)
            {
                forced.insert(real, FileId::of(&metadata));
            }
        }
        Ok(())
    }

    /// An output of this recording: will it be a program or a shared library?
    pub fn note_linked(&self, output: OutputRef, linked: bool) {
        lock(&self.linked).insert(output, linked);
    }

    /// Forces the placeholders in a directory, but for those of which this was tried before. What cannot be forced stays, and whoever opens
    /// it is told.
    pub fn fill(&self, directory: &Path) {
        let found = self.placeholders_in(directory);
        if !found.is_empty() && self.force(&found).is_err() {
            let left = self.placeholders(found.iter().map(PathBuf::as_path));
            let mut refused = lock(&self.refused);
            refused.extend(left.into_iter().filter_map(|path| Some((file_at(&path)?, path))));
        }
    }

    /// The placeholders in a directory, that are not known to fail.
    fn placeholders_in(&self, directory: &Path) -> Vec<PathBuf> {
        let Ok(directory) = std::fs::canonicalize(directory) else { return Vec::new() };
        let below = (Bound::Excluded(directory.as_path()), Bound::Unbounded);
        let outputs = lock(&self.outputs);
        let below = outputs.range::<Path, _>(below).take_while(|path| path.starts_with(&directory));
        let within = below.filter(|path| path.parent() == Some(&directory)).cloned().collect::<Vec<_>>();
        drop(outputs);
        let mut found = self.placeholders(within.iter().map(PathBuf::as_path));
        let refused = lock(&self.refused);
        found.retain(|path| file_at(path).is_none_or(|file| refused.get(&file) != Some(path)));
        found
    }

    /// The placeholders that are this file, by device and inode.
    pub fn outputs_that_are(&self, file: (u64, u64)) -> Vec<PathBuf> {
        let is_it = |path: &PathBuf| {
            std::fs::symlink_metadata(path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == file)
        };
        let found: Vec<PathBuf> = self.outputs().into_iter().filter(is_it).collect();
        self.placeholders(found.iter().map(PathBuf::as_path))
    }

    /// May placeholders stand anywhere?
    pub fn has_outputs(&self) -> bool {
        !lock(&self.outputs).is_empty()
    }

    /// Is this file, at its real path, as it was when it replaced a placeholder? Then it is what the command found there, though
    /// it is younger than the command.
    pub fn was_forced(&self, real: &Path, id: &FileId) -> bool {
        lock(&self.forced).get(real) == Some(id)
    }

    /// What marks calls of hooks.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// What the build has changed, where everything that it changes is noticed before it can ask for anything that rests on it.
    fn changed(&self) -> Option<&Changed> {
        self.log.as_deref().filter(|_| self.sight == Sight::Net).map(Log::changed)
    }

    /// Since when only that has changed of which [`Recorder::may_have_changed`] knows.
    pub fn quiet(&self) -> Moment {
        match self.changed() {
            Some(changed) if !changed.is_all() => *lock(&self.quiet),
            _ => self.scanner.now(),
        }
    }

    /// The recorder itself puts something at this path.
    pub fn puts(&self, path: &Path) {
        let name = path.file_name().unwrap_or_default().as_bytes();
        self.scanner.changes(name);
        self.looks.changes(name);
    }

    /// The recorder itself did this, in the place of the command with this number.
    pub fn did(&self, command: u32, event: &Event) {
        self.changes(event);
        self.watch.wrote(command, event);
    }

    /// What the build changes, for as long as it can be told by names.
    fn changed_names(&self) -> Option<&Changed> {
        self.changed().filter(|changed| !changed.is_all())
    }

    /// Where an absolute path leads.
    pub fn way(&self, path: &Path) -> Arc<Way> {
        self.looks.path(path, self.changed_names())
    }

    /// The same where it can be told when it leads elsewhere; not for what is made up by the kernel, which is another thing for each
    /// process.
    pub fn lasting_way(&self, path: &Path) -> Option<Arc<Way>> {
        let changed = self.changed_names()?;
        if is_made_up(path) {
            return None;
        }
        Some(self.looks.path(path, Some(changed))).filter(|way| !way.end().is_some_and(is_made_up))
    }

    /// The same for a directory.
    pub fn lasting_lead(&self, path: &Path) -> Option<Arc<Way>> {
        let changed = self.changed_names()?;
        (!is_made_up(path)).then(|| self.looks.lead(path, Some(changed)))
    }

    /// What the program at `path` is when it is called `name`.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    pub fn program(&self, path: &Path, name: &OsStr) -> io::Result<Arc<Facts>> {
        self.programs.facts(&self.way(path), name)
    }

    /// How the kernel executes the program at `path`.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    pub fn executable_at(&self, path: &Path) -> io::Result<Executable> {
        self.programs.executable(&self.way(path))
    }

    /// A footprint of what a command needs.
    pub fn steps(&self) -> Steps<'_> {
        Steps::new(&self.looks, self.changed_names())
    }

    /// May something with this name have been changed by the build since it began?
    pub fn may_have_changed(&self, name: &[u8]) -> bool {
        self.changed().is_some_and(|changed| changed.has(name))
    }

    /// Grows with what [`Recorder::may_have_changed`] knows.
    pub fn extent_of_changes(&self) -> u64 {
        self.changed().map_or(0, Changed::extent)
    }

    /// A process whose calls the kernel asks about is about to do this.
    pub fn changes(&self, event: &Event) {
        let Some(changed) = self.changed() else { return };
        let note = |path: &Path| changed.note(path.as_os_str().as_bytes());
        match event {
            Event::Opened(_, _, access) if !access.writes && !access.created => {}
            Event::Opened(place, ..)
            | Event::Made(place)
            | Event::Symlinked(place, _)
            | Event::Removed(place) => {
                note(&place.named);
                note(place.real());
            }
            Event::Transferred(_, from, to) => {
                [&*from.named, from.real(), &to.named, to.real()].into_iter().for_each(note);
            }
            Event::Attributes(path) => {
                note(path);
                std::fs::canonicalize(path).iter().for_each(|real| note(real));
            }
            Event::Network | Event::Foreign | Event::Gap => changed.note_all(),
            _ => {}
        }
    }

    /// Is anything written down of what commands do?
    pub fn records(&self) -> bool {
        self.sight.is_complete() || self.log.is_some()
    }

    /// Is this path the recorder's own, which is none of the build's business?
    pub fn is_own(&self, path: &Path) -> bool {
        is_below(path, &self.directory)
            || is_below(path, self.store.root())
            // As bytes: paths are compared by their components, from the end on.
            || path.as_os_str() == self.install.interceptor.as_os_str()
            || path.as_os_str() == self.install.standin.as_os_str()
    }

    /// The names in a directory, as the trace keeps them.
    pub fn names_in(&self, directory: &Path) -> Option<ObjectName> {
        Some(trace::listing(self.list(directory).ok()?))
    }

    /// The same without what the build itself has put there: what a build driver that looks for sources finds, before and after.
    pub fn names_of_others(&self, directory: &Path) -> Option<ObjectName> {
        let real = std::fs::canonicalize(directory).ok()?;
        let names = self.list(&real).ok()?;
        let (outputs, writes) = (lock(&self.outputs), self.watch.writes());
        let others = names.into_iter().filter(|name| {
            let path = real.join(name);
            !outputs.contains(&path) && !writes.has(&path)
        });
        Some(trace::listing(others.collect()))
    }

    /// A tree of the store.
    ///
    /// # Errors
    /// As [`Store::tree`].
    pub fn tree(&self, name: &ObjectName) -> thunk::Result<Arc<Tree>> {
        if let Some(tree) = lock(&self.trees).get(name) {
            return Ok(Arc::clone(tree));
        }
        let tree = Arc::new(self.store.tree(name)?);
        lock(&self.trees).insert(*name, Arc::clone(&tree));
        Ok(tree)
    }

    /// Says why a debugger does not work: once, others fail for the same reason.
    pub fn refuse_tracers(&self) {
        if !self.refused_tracers.swap(true, Ordering::Relaxed) {
            eprintln!(
                "ggtrace: a program of the build traces others, as debuggers and strace do: \
                 that fails under --method ptrace, and works under --method auto"
            );
        }
    }

    /// Says that the trace cannot be written to: once, what follows is no better.
    pub fn complain(&self, error: &thunk::Error) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            eprintln!("ggtrace: {error}");
        }
    }

    /// The placeholders among these paths.
    pub fn placeholders<'a>(&self, paths: impl Iterator<Item = &'a Path>) -> Vec<PathBuf> {
        let may_be = |path: &Path| {
            self.way(path).file().is_some_and(|(_, facts)| wire::size_may_be_placeholder(facts.id.size))
        };
        let is = |path: &&Path| may_be(path) && matches!(Placeholder::read(path), Ok(Some(_)));
        paths.filter(is).map(Path::to_path_buf).collect()
    }
}

/// The identity of what stands at a path.
fn file_at(path: &Path) -> Option<FileId> {
    std::fs::symlink_metadata(path).ok().map(|metadata| FileId::of(&metadata))
}
