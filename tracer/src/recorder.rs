// SPDX-License-Identifier: Apache-2.0
//! What all threads of a recording share, how it begins and ends, its commands, and what of it is written down. Where placeholders
//! stand, who forces them, what changes meanwhile and how models see the files is each in a module of its own. Decides nothing.

mod changes;
mod forcing;
mod outputs;
mod world;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use models::World as _;
use models::scanner::{Moment, Scanner};
use thunk::{FileId, KNOWN_TREES, ObjectKind, ObjectName, OutputRef, Store, Tree, is_below, trace};
use wire::Descriptor;

use crate::context::{Role, Running};
use crate::descriptors::Descriptors;
use crate::early::Early;
use crate::executions::Executions;
use crate::following::Following;
use crate::force::OnDemand;
use crate::headers::Headers;
use crate::includes;
use crate::install::Install;
use crate::kept::Kept;
use crate::known_trees::KnownTrees;
use crate::learned::{Failed, Learned};
use crate::library_names::LibraryNames;
use crate::libtool::Scripts;
use crate::linked::Linked;
use crate::log::Log;
use crate::looks::Looks;
use crate::originals::Originals;
use crate::programs::Programs;
use crate::questions::Questions;
use crate::silent::Silent;
use crate::standing::Standing;
use crate::toolchain::Toolchains;
use crate::undo::Placed;
use crate::watch::Watch;
use crate::watch::environment::Mentions;

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
    /// Commands that were learned, and failed with other inputs when they were forced.
    pub failed: Failed,
    /// What libtool's scripts do.
    pub libtool: Scripts,
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
    library_names: LibraryNames,
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
    /// What contents speak of secrets.
    pub mentions: Mentions,
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
    pub standing: Standing,
    /// The programs that make calls which are not understood, for which all that was pending is there.
    foreign: Mutex<HashSet<u32>>,
    /// Dependency files that can be had without their compiles.
    pub early: Early,
    /// Dependency files of links that were given in place of true ones.
    pub linked_files: Linked,
    /// What was put in place last.
    pub placed: Placed,
    /// What files held that one command wrote and another changed.
    pub kept: Kept,
    /// What stood where this replay puts something, if this is one.
    pub originals: OnceLock<Originals>,
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
    /// Commands that were learned, and failed with other inputs when they were forced before.
    pub failed: Failed,
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
    /// What the build is given beside its standard streams.
    pub given: Vec<Descriptor>,
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
        let Parts {
            install,
            store,
            trace,
            left,
            failed,
            directory,
            project,
            root,
            defers,
            sight,
            log,
            given,
            cookie,
        } = parts;
        let empty = directory.join("empty");
        std::fs::create_dir(&empty)?;
        let answers = store.cache_dir("answers")?;
        let silent = Arc::new(Silent::new(answers.clone()));
        let (scanner, looks) = (includes::scanner(&store, &project)?, Looks::default());
        // An engine may put something else there at any time.
        for name in left.iter().filter_map(|path| path.file_name()) {
            scanner.changes(name.as_bytes());
            looks.changes(name.as_bytes());
        }
        if !left.is_empty() {
            log.iter().for_each(|log| log.note_placeholders());
        }
        Ok(Self {
            toolchains: Toolchains::new(
                store.cache_dir("toolchains")?,
                directory.clone(),
                Arc::clone(&silent),
            ),
            learned: Learned::new(store.cache_dir("learned")?),
            failed,
            libtool: Scripts::new(store.cache_dir("libtool")?),
            trees: Mutex::default(),
            questions: Questions::new(empty, store.cache_dir("places")?, answers, silent),
            on_demand: OnDemand::new(&install.ggforce, store.root()),
            following: OnceLock::new(),
            programs: Programs::new(&store.cache_dir("programs")?.join("known")),
            executions: Executions::default(),
            library_names: LibraryNames::default(),
            descriptors: Descriptors::default(),
            quiet: Mutex::new(scanner.now()),
            scanner,
            headers: Headers::new(KnownTrees::open(store.cache_dir(KNOWN_TREES)?.join("known")), &project),
            looks,
            socket: socket_in(&directory),
            project,
            mentions: Mentions::default(),
            started: trace.started(),
            defers,
            sight,
            watch: Watch::new(sight, socket_in(&directory), log.clone(), given)?,
            log,
            cookie,
            build: OnceLock::new(),
            directory,
            originals: OnceLock::new(),
            forced: Mutex::default(),
            refused: Mutex::default(),
            linked: Mutex::default(),
            complained: AtomicBool::new(false),
            refused_tracers: AtomicBool::new(false),
            commands: Mutex::new(vec![root]),
            outputs: Mutex::new(left.into_iter().collect()),
            standing: Standing::default(),
            foreign: Mutex::default(),
            early: Early::default(),
            linked_files: Linked::default(),
            placed: Placed::default(),
            kept: Kept::default(),
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
        found.unwrap_or_else(|| commands[0].start(Role::Tool, None))
    }

    /// May this program, which makes a call that is not understood, look at what is pending and not there yet? Who only starts others
    /// does not.
    pub fn may_miss(&self, id: u32) -> bool {
        !lock(&self.foreign).contains(&id) && !self.command(id).role.is_driver()
    }

    /// All that was pending is there for this program now.
    pub fn misses_nothing(&self, id: u32) {
        lock(&self.foreign).insert(id);
    }

    /// When the build began, by the clock that files are stamped with.
    pub fn began(&self) -> SystemTime {
        SystemTime::now() - self.started.elapsed()
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

    /// What became of the commands so far, for people.
    pub fn counts(&self) -> String {
        let [deferred, declined, ran] = *lock(&self.counts);
        format!("{deferred} deferred, {declined} declined, {ran} ran")
    }

    /// Writes into the trace what the build left where, and how it ended.
    ///
    /// # Errors
    /// The trace cannot be written to.
    pub fn end(&self, code: i32) -> thunk::Result<()> {
        self.on_demand.end();
        includes::keep(self);
        self.headers.keep();
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

    /// What marks calls of hooks.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Can those that ask be answered in the call, by the net's own threads? What is deferred would keep these busy.
    pub fn answers_at_once(&self) -> bool {
        !self.defers && self.sight == Sight::Net && observe::net::takes_requests()
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

    /// The same, kept in the store: who replays the build knows which of them it has put there itself.
    pub fn keep_names(&self, directory: &Path) -> Option<ObjectName> {
        let names = trace::names(self.list(directory).ok()?);
        self.store.put(ObjectKind::Value, &names).ok()
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
            thunk::say!(
                "ggtrace: a program of the build traces others, as debuggers and strace do: \
                 that fails under --method ptrace, and works under --method auto"
            );
        }
    }

    /// Says that the trace cannot be written to: once, what follows is no better.
    pub fn complain(&self, error: &thunk::Error) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            thunk::say!("ggtrace: {error}");
        }
    }
}
