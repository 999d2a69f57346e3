// SPDX-License-Identifier: Apache-2.0
//! `ggtrace --replay TRACE`: goes through a recorded build again, without make, and defers anew what the changes since then
//! reach. Writes the trace that the build would leave now, and prints its path.
//!
//! Commands are taken in the order in which their outputs came to be, so that each finds what those before it leave:
//!
//! - Deferred, and nothing that it uses has changed: it stays as it is.
//! - Deferred, and something has, or a thunk that it needs is another one now: its model plans it again on the files of today, as if
//!   make had just started it. Where no model knows it, the inputs are those that it had.
//! - It ran and was observed, and what it used is the same: its outputs stay. What it used of other commands' outputs is forced
//!   and compared first.
//! - It ran, and other contents are in its files: it is deferred with these. Where something else is different, or there is
//!   something about it that no thunk can say, the replay ends and says so.
//!
//! What build drivers looked at is not asked about here; `ggforce` has done that.

mod furnish;
mod links;
mod ran;
mod rules;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use models::Invocation;
use thunk::trace::{self, Command, Current, Disposition, Product, Step, Trace, Uses};
use thunk::{ObjectName, OutputRef, Store, Thunk, real_place};

use crate::context::Running;
use crate::defer::{self, Deferred};
use crate::install::Install;
use crate::learned::Failed;
use crate::originals::Originals;
use crate::recorder::{Parts, Recorder, Sight};
use crate::server::Server;
use crate::session_directory::SessionDirectory;
use crate::{includes, learned, plans, process};

/// Replays it.
///
/// # Errors
/// The trace cannot be read, or a command cannot be followed: one line says which and why.
pub fn run(path: &Path) -> Result<ExitCode> {
    let install = Install::find()?;
    let store = Store::open_default()?;
    let trace = Trace::read(path)?;
    let writer = trace::Writer::create(&store, None, &trace.cwd, &trace.argv, &trace.placed)?;
    let directory = SessionDirectory::create()?;
    let fds = [0, 1, 2].map(|fd| process::identity(&format!("/proc/self/fd/{fd}")));
    let recorder = Arc::new(Recorder::new(Parts {
        install,
        store,
        trace: writer,
        left: trace.placed.clone(),
        failed: Failed::new(),
        directory: directory.path().to_path_buf(),
        project: trace.cwd.clone(),
        root: Running::root(&fds),
        defers: true,
        // What runs here is asked, not recorded.
        sight: Sight::Hooks,
        log: None,
        given: Vec::new(),
        cookie: 0,
    })?);
    // Compilers that are asked about includes may find placeholders.
    Server::start(Arc::clone(&recorder)).context("cannot answer on the session's socket")?;
    let originals = recorder.originals.get_or_init(Originals::default);
    let mut replay = Replay::new(&recorder, &trace);
    if let Err(why) = replay.all().and_then(|()| replay.write()) {
        // Who is told to run the build must find what the build left: make takes a placeholder for what it stands for.
        recorder.on_demand.end();
        originals.put_back(&recorder.store)?;
        // And nobody must take this one for the last build.
        let _ = std::fs::remove_file(recorder.trace.path());
        return Err(why);
    }
    includes::keep(&recorder);
    recorder.headers.keep();
    recorder.store.files().flush();
    let mut line = recorder.trace.path().as_os_str().as_bytes().to_vec();
    line.push(b'\n');
    std::io::stdout().write_all(&line)?;
    Ok(ExitCode::SUCCESS)
}

struct Replay<'a> {
    recorder: &'a Recorder,
    trace: &'a Trace,
    current: Current<'a>,
    /// Thunks that are other ones now.
    remade: HashMap<ObjectName, ObjectName>,
    /// Paths that hold something else than recorded, at this point of the build.
    stale: BTreeSet<PathBuf>,
    /// Commands as they are now, by number.
    commands: HashMap<u32, Command>,
    /// Where this replay put something.
    placed: BTreeSet<PathBuf>,
    /// Where outputs of thunks stood in the end, other than at their own paths: commands that moved or copied them had put them there.
    carried: HashMap<ObjectName, Vec<PathBuf>>,
    /// Such as are other ones now, and were not put there yet.
    elsewhere: HashMap<PathBuf, OutputRef>,
    /// Outputs that this replay moved as a command had moved them.
    moved: HashMap<PathBuf, OutputRef>,
    /// Paths that the commands up to this point of the build have written.
    made: HashSet<PathBuf>,
    /// Paths at which placeholders of commands that were deferred then were put.
    deferred: HashSet<PathBuf>,
    /// These, and the paths at which anything was put by programs that carry placeholders along.
    placed_then: HashSet<PathBuf>,
    /// The modes that commands up to this point of the build have given.
    modes: HashMap<PathBuf, u32>,
    /// Outputs of this replay that are the last, up to this point of the build, to have been put at these paths.
    standing: HashMap<PathBuf, OutputRef>,
    /// Symbolic links of commands that are deferred anew, by where they are, that are the last up to this point to stand there.
    links: HashMap<PathBuf, OutputRef>,
}

impl<'a> Replay<'a> {
    fn new(recorder: &'a Recorder, trace: &'a Trace) -> Self {
        let current = Current::new(&recorder.store, trace);
        let mut carried: HashMap<ObjectName, Vec<PathBuf>> = HashMap::new();
        for (path, product) in &current.products().last {
            if let Product::Output(output) = product
                && output.output.as_ref().is_some_and(|own| own != path)
            {
                carried.entry(output.thunk).or_default().push(path.clone());
            }
        }
        let deferred = trace.commands.iter().filter(|command| command.disposition == Disposition::Deferred);
        let deferred = deferred.flat_map(|command| &command.outputs);
        Self {
            recorder,
            trace,
            current,
            remade: HashMap::new(),
            stale: BTreeSet::new(),
            commands: HashMap::new(),
            placed: BTreeSet::new(),
            carried,
            elsewhere: HashMap::new(),
            moved: HashMap::new(),
            made: HashSet::new(),
            deferred: deferred.cloned().collect(),
            placed_then: trace.outputs().into_iter().collect(),
            modes: HashMap::new(),
            standing: HashMap::new(),
            links: HashMap::new(),
        }
    }

    fn all(&mut self) -> Result<()> {
        for step in self.trace.steps() {
            match step {
                Step::Deferred(command, name) => {
                    self.deferred(command, name)?;
                    self.made.extend(command.outputs.iter().cloned());
                }
                Step::Observed(observed) => {
                    self.observed(observed)?;
                    if !self.commands.contains_key(&observed.id) {
                        self.leave_links(observed)?;
                    }
                    self.give_modes(observed)?;
                    let modes = observed
                        .touches
                        .iter()
                        .filter_map(|touch| Some((touch.path.to_path_buf(), touch.mode?)));
                    self.modes.extend(modes);
                    let written = observed.with(Uses::OUTPUT).map(|touch| touch.path.to_path_buf());
                    self.made.extend(written);
                }
            }
        }
        Ok(())
    }

    fn deferred(&mut self, command: &Command, name: ObjectName) -> Result<()> {
        let thunk = self.recorder.store.thunk(&name)?;
        let used = thunk.values.iter().chain(&thunk.executables).map(|input| &input.path);
        let needs_remade = thunk.thunks.iter().any(|input| self.remade.contains_key(&input.from.thunk))
            || used.into_iter().any(|path| self.stale.contains(path));
        if !needs_remade && self.current.change_for(&thunk)?.is_none() {
            command.outputs.iter().for_each(|path| self.leave(path));
            return self.leave_links_of(&thunk);
        }
        self.make_directories_for(&thunk)?;
        self.furnish(&thunk)?;
        let again = self.again(command, name, &thunk);
        let again = again.map_err(|why| anyhow!("{} cannot be replayed: {why}", command.title()))?;
        self.note(command, name, &again)
    }

    /// What stands here now, at this point of the build, is as it was recorded.
    fn leave(&mut self, path: &Path) {
        self.stale.remove(path);
        self.standing.remove(path);
    }

    fn note(&mut self, command: &Command, name: ObjectName, again: &Deferred) -> Result<()> {
        for path in &again.outputs {
            let output = OutputRef { thunk: again.thunk, output: Some(path.clone()) };
            self.standing.insert(path.clone(), output);
        }
        if again.thunk == name {
            again.outputs.iter().for_each(|path| {
                self.stale.remove(path);
            });
        } else {
            self.remade.insert(name, again.thunk);
            self.stale.extend(again.outputs.iter().cloned());
        }
        again.outputs.iter().for_each(|path| self.current.forget(path));
        // Whoever used them may have named them by a way over links, as this one did.
        let left = self.trace.observed.iter().find(|observed| observed.id == command.id);
        let left = left.into_iter().flat_map(|observed| observed.with(Uses::OUTPUT));
        let named = left.map(|touch| &*touch.path).chain(command.outputs.iter().map(PathBuf::as_path));
        for path in named.filter(|path| real_place(path).is_ok_and(|real| real != **path)) {
            self.current.forget(path);
            if again.thunk != name {
                self.stale.insert(path.to_path_buf());
            }
        }
        self.placed.extend(again.outputs.iter().cloned());
        self.carry(name, again);
        let outputs = again.outputs.clone();
        let now = Command {
            disposition: Disposition::Deferred,
            reason: String::new(),
            thunk: Some(again.thunk),
            outputs,
            ..command.clone()
        };
        self.commands.insert(command.id, now);
        self.put_links(again.thunk)
    }

    /// Defers a command anew.
    fn again(&self, command: &Command, name: ObjectName, thunk: &Thunk) -> Result<Deferred, String> {
        let invocation = Invocation {
            program: command.program.clone(),
            argv: command.argv.clone(),
            env: thunk.env.iter().map(|variable| thunk::split_variable(variable)).collect(),
            cwd: command.cwd.clone(),
        };
        let called = command.argv.first().map_or(command.program.as_os_str(), |name| name.as_os_str());
        let facts = self.recorder.program(&command.program, called);
        let facts = facts.map_err(|error| format!("{}: {error}", command.program.display()))?;
        match plans::plan(self.recorder, &invocation, facts.program) {
            Some((_, plan)) => {
                let plan = plan?;
                let umask = thunk.umask.unwrap_or(0o022);
                // Nobody reads a dependency file now: what it would say is found out here.
                defer::defer(self.recorder, &invocation, &plan, umask, false).map_err(|decline| decline.0)
            }
            None => learned::anew(self.recorder, name),
        }
    }

    /// Writes the new trace.
    fn write(&self) -> Result<()> {
        let writer = &self.recorder.trace;
        for command in &self.trace.commands {
            writer.command(self.commands.get(&command.id).unwrap_or(command))?;
        }
        for observed in self.trace.observed.iter().filter(|o| !self.commands.contains_key(&o.id)) {
            writer.observed(observed)?;
        }
        // A trace has paths as they were named, a thunk those without links.
        let place = |path: &Path| real_place(path).unwrap_or_else(|_| path.to_path_buf());
        let mut last = HashSet::new();
        let mut standing = Vec::new();
        for (path, product) in &self.current.products().last {
            let real = place(path);
            let output = match product {
                Product::Output(output) => {
                    let thunk = self.remade.get(&output.thunk).copied().unwrap_or(output.thunk);
                    Some(OutputRef { thunk, output: output.output.clone() })
                }
                Product::Link(_) => self.links.get(path).or_else(|| self.links.get(&real)).cloned(),
                // A command that ran may be deferred by now, or what it moved is.
                Product::Value { .. } => {
                    let at = |path: &Path| self.standing.get(path).or_else(|| self.moved.get(path));
                    at(path).or_else(|| at(&real)).cloned()
                }
            };
            standing.extend(output.map(|output| (path, output)));
            last.insert(real);
        }
        // What programs keep for themselves is nothing that the build left, but where one of them is to run again.
        for path in &self.current.products().kept {
            last.insert(place(path));
            standing.extend(self.standing.get(path).map(|output| (path, output.clone())));
        }
        writer.standing(standing.iter().map(|(path, output)| (path.as_path(), output)))?;
        // What the build had moved on or removed.
        for path in self.placed.iter().filter(|path| !last.contains(&place(path))) {
            if path.symlink_metadata().is_ok_and(|file| file.is_file() || file.is_symlink()) {
                std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        self.settle_links()?;
        let left = &self.current.products().directories;
        let stays = |directory: &Path| left.contains(directory);
        self.recorder.originals.get().into_iter().for_each(|originals| originals.remove_directories(stays));
        let (code, _) = self.trace.end.unwrap_or_default();
        self.recorder.on_demand.end();
        Ok(writer.end(code, self.recorder.started.elapsed().as_micros() as u64)?)
    }
}
