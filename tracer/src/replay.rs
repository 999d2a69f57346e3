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

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use models::Invocation;
use thunk::trace::{self, Change, Command, Current, Disposition, Now, Observed, Product, Step, Trace, Uses};
use thunk::{AtomicFile, ObjectName, OutputRef, Placeholder, Store, Thunk, has_no_content};

use crate::context::Running;
use crate::defer::{self, Deferred};
use crate::install::Install;
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
    /// Paths at which placeholders stood when it was recorded.
    deferred: HashSet<PathBuf>,
    /// The modes that commands up to this point of the build have given.
    modes: HashMap<PathBuf, u32>,
    /// Outputs of this replay that are the last, up to this point of the build, to have been put at these paths.
    standing: HashMap<PathBuf, OutputRef>,
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
            deferred: trace.outputs().into_iter().collect(),
            modes: HashMap::new(),
            standing: HashMap::new(),
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
            return Ok(());
        }
        self.furnish(&thunk)?;
        let again = self.again(command, name, &thunk);
        let again = again.map_err(|why| anyhow!("{} cannot be replayed: {why}", title(command)))?;
        self.note(command, name, &again);
        Ok(())
    }

    /// Something else is about to stand here.
    fn keep(&self, path: &Path) -> Result<()> {
        let kept = self.recorder.originals.get().map(|originals| originals.keep(&self.recorder.store, path));
        Ok(kept.unwrap_or(Ok(()))?)
    }

    /// What stands here now, at this point of the build, is as it was recorded.
    fn leave(&mut self, path: &Path) {
        self.stale.remove(path);
        self.standing.remove(path);
    }

    fn note(&mut self, command: &Command, name: ObjectName, again: &Deferred) {
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
    }

    /// What a thunk gave before stands elsewhere too, where others may read it.
    fn carry(&mut self, name: ObjectName, again: &Deferred) {
        for path in self.carried.get(&name).into_iter().flatten() {
            let Some(Product::Output(output)) = self.current.products().get(path) else { continue };
            if again.thunk == name {
                self.stale.remove(path);
                continue;
            }
            let output = OutputRef { thunk: again.thunk, ..output.clone() };
            self.elsewhere.insert(path.clone(), output);
            self.stale.insert(path.clone());
        }
    }

    /// A command is to read what stands at this path now: if that was moved or copied there, what is there now is put there.
    fn bring(&mut self, path: &Path) -> Result<()> {
        let Some(output) = self.elsewhere.remove(path) else { return Ok(()) };
        let mode = self.mode_at(path, &output);
        self.put(path, output, mode)
    }

    /// The mode of an output that is put here: what a command up to this point of the build has given it, or the one
    /// that it has where it was made.
    fn mode_at(&self, path: &Path, output: &OutputRef) -> u32 {
        let there = || [Some(path), output.output.as_deref()].into_iter().flatten();
        let has = || there().find_map(|path| path.symlink_metadata().ok().filter(std::fs::Metadata::is_file));
        let given = self.modes.get(path).copied();
        given.or_else(|| Some(has()?.permissions().mode() & 0o7777)).unwrap_or(0o644)
    }

    /// Does again what a command did that moved files, where other outputs of deferred commands are in their places now. Tells whether that is all
    /// that it has to do.
    fn moves(&mut self, observed: &Observed) -> Result<bool> {
        let stale = self.stale_among(observed, &[Uses::MOVED_AWAY]);
        let pairs: Option<Vec<_>> =
            stale.iter().map(|from| Some((from, self.moved_to(observed, from)?))).collect();
        let Some(pairs) = pairs.filter(|pairs| !pairs.is_empty()) else { return Ok(false) };
        let mut moves = Vec::with_capacity(pairs.len());
        for (from, to) in pairs {
            let Now::Placeholder(output) = self.current.now(&from.path) else { return Ok(false) };
            moves.push((from.path.to_path_buf(), to.to_path_buf(), output));
        }
        for touch in observed.with(Uses::OUTPUT) {
            self.leave(&touch.path);
        }
        for (from, to, output) in moves {
            make_directory_of(&to)?;
            self.keep(&from)?;
            self.recorder.note_outputs([to.clone()])?;
            std::fs::rename(&from, &to).with_context(|| format!("cannot move {}", from.display()))?;
            self.current.forget(&from);
            self.current.forget(&to);
            self.stale.remove(&from);
            self.stale.insert(to.clone());
            self.placed.insert(to.clone());
            self.moved.remove(&from);
            self.moved.insert(to, output);
        }
        Ok(true)
    }

    /// Where a command put a file that it only moved: the one that it left, or of several the one at whose place the build left what had been made there.
    fn moved_to<'b>(&self, observed: &'b Observed, from: &trace::Touch) -> Option<&'b Path> {
        if from.uses.has(Uses::READ) {
            return None;
        }
        let only_moved = |to: &trace::Touch| to.uses.has(Uses::MOVED_HERE) && !to.uses.has(Uses::WRITTEN);
        let mut outputs = observed.with(Uses::OUTPUT);
        let mut left = observed.with(Uses::MOVED_AWAY);
        if let (Some(to), None, Some(_), None) = (outputs.next(), outputs.next(), left.next(), left.next()) {
            return only_moved(to).then_some(&*to.path);
        }
        let made_there = |to: &trace::Touch| match self.current.products().get(&to.path) {
            Some(Product::Output(output)) => output.output.as_deref() == Some(&*from.path),
            _ => false,
        };
        let mut found = observed.with(Uses::OUTPUT).filter(|to| only_moved(to) && made_there(to));
        let (to, None) = (found.next()?, found.next()) else { return None };
        Some(&*to.path)
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

    /// Makes the command find what it found: the outputs of other commands, and no older outputs of its own.
    fn furnish(&mut self, thunk: &Thunk) -> Result<()> {
        for input in &thunk.thunks {
            let mut from = input.from.clone();
            if let Some(now) = self.remade.get(&from.thunk) {
                from.thunk = *now;
            }
            match self.current.now(&input.path) {
                Now::Placeholder(standing) if standing == from => continue,
                Now::File(value, _) if self.current.gives(&from) == Some(value) => continue,
                _ => {
                    let mode = self.mode_at(&input.path, &from);
                    self.put(&input.path, from, mode)?;
                }
            }
        }
        let inputs = || thunk.values.iter().chain(&thunk.executables);
        for input in inputs() {
            self.bring(&input.path)?;
        }
        self.bring_back(thunk)?;
        self.clear(thunk)
    }

    /// Removes what a command left the last time, but for what it changes in place.
    fn clear(&self, thunk: &Thunk) -> Result<()> {
        let inputs = || thunk.values.iter().chain(&thunk.executables);
        for output in thunk.outputs.iter().chain(&thunk.optional_outputs) {
            let changed_in_place = inputs().any(|input| input.path == *output)
                || thunk.thunks.iter().any(|input| input.path == *output);
            if !changed_in_place && output.symlink_metadata().is_ok_and(|m| !m.is_dir()) {
                self.keep(output)?;
                std::fs::remove_file(output)
                    .with_context(|| format!("cannot remove {}", output.display()))?;
                self.current.forget(output);
            }
        }
        Ok(())
    }

    /// Puts back what commands before it had made, where that is gone, or is what commands after it have made of it.
    fn bring_back(&mut self, thunk: &Thunk) -> Result<()> {
        let values = thunk.values.iter().map(|input| (input, false));
        for (input, executable) in values.chain(thunk.executables.iter().map(|input| (input, true))) {
            let path = &input.path;
            let is_other = match self.current.now(path) {
                Now::Missing => self.trace.packed || self.current.products().written.contains(path),
                Now::File(now, _) => now != input.value && self.made.contains(path),
                Now::Placeholder(output) => {
                    self.made.contains(path)
                        && self.current.gives(&output).is_some_and(|now| now != input.value)
                }
                Now::Other => false,
            };
            if is_other && !self.stale.contains(path) {
                self.restore(path, &input.value, executable)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &Path, output: OutputRef, mode: u32) -> Result<()> {
        make_directory_of(path)?;
        self.recorder.note_outputs([path.to_path_buf()])?;
        let file = defer::placeholder(self.recorder, path, output, mode)?;
        file.commit(path)?;
        self.current.forget(path);
        self.placed.insert(path.to_path_buf());
        Ok(())
    }

    /// Puts an intermediate file back that the build had made by a command that ran.
    fn restore(&mut self, path: &Path, value: &ObjectName, executable: bool) -> Result<()> {
        make_directory_of(path)?;
        self.keep(path)?;
        let content = self.recorder.store.read(value)?;
        let mode = if executable { 0o777 } else { 0o666 };
        let mut file = AtomicFile::create_in(path.parent().unwrap_or(Path::new("/")), mode)?;
        file.write_all(&content).with_context(|| format!("cannot write {}", path.display()))?;
        file.commit(path)?;
        self.current.forget(path);
        self.placed.insert(path.to_path_buf());
        Ok(())
    }

    fn observed(&mut self, observed: &Observed) -> Result<()> {
        let Some(command) = self.trace.command(observed.id) else { return Ok(()) };
        if observed.drives() {
            let uses = [Uses::READ, Uses::EXECUTED, Uses::MOVED_AWAY];
            return self.driver(command, &self.stale_among(observed, &uses));
        }
        // Who only passes on what a command gives does so with what it gives now. What it reads besides may tell it
        // what to pass on, and how it ends may end the build.
        let carried = self.carried(observed);
        let uses = [Uses::READ, Uses::EXECUTED, Uses::LINKED, Uses::INPUT | Uses::WRITTEN];
        let mut stale = self.stale_among(observed, &uses);
        stale.retain(|touch| !carried.contains(&*touch.path));
        let mut changes = self.compare(command, &stale)?;
        changes.extend(self.current.changes_since(observed));
        let mut moved = self.stale_among(observed, &[Uses::MOVED_AWAY]);
        moved.retain(|touch| !stale.iter().any(|other| other.path == touch.path));
        let is_moved = |path: &Path| moved.iter().any(|touch| &*touch.path == path);
        changes.retain(|change| !carried.contains(&*change.path) && !is_moved(&change.path));
        // What is another output now, and was read by another name, from which a link leads to it.
        let is_linked = |touch: &&trace::Touch| {
            touch.uses.has(Uses::INPUT)
                && touch.before.is_some()
                && changes.iter().any(|change| *change.path == *touch.path)
                && matches!(self.current.now(&touch.path), Now::Placeholder(_))
        };
        let linked: Vec<_> = observed.touches.iter().filter(is_linked).collect();
        changes.retain(|change| !linked.iter().any(|touch| *touch.path == *change.path));
        changes.extend(self.compare(command, &linked)?);
        if changes.is_empty() {
            if self.only_carries(observed) || self.moves(observed)? {
                return Ok(());
            }
            changes = self.compare(command, &moved)?;
        }
        let outputs = observed.with(Uses::OUTPUT).map(|touch| touch.path.to_path_buf());
        let Some(first) = changes.first() else {
            outputs.for_each(|path| self.leave(&path));
            return Ok(());
        };
        let cannot = |why: &str| {
            anyhow!(
                "{first}, so {} must run again, which no replay can do: {why}; run the build",
                title(command)
            )
        };
        // What it prints is shown when it is forced.
        let known = [Observed::PRINTS, Observed::REWRITES, Observed::MOVES];
        let harmless = |why: &String| known.contains(&why.as_str());
        if let Some(obstacle) = observed.obstacles.iter().find(|why| !harmless(why)) {
            return Err(cannot(obstacle));
        }
        if let Some(other) = changes.iter().find(|change| !change.is_content) {
            return Err(match other == first {
                true => cannot("it may do something else then"),
                false => cannot(&other.to_string()),
            });
        }
        let name = observed.thunk.ok_or_else(|| cannot("it has no thunk"))?;
        let thunk = self.recorder.store.thunk(&name)?;
        self.bring_back(&thunk)?;
        self.clear(&thunk)?;
        let again = learned::anew(self.recorder, name).map_err(|why| cannot(&why))?;
        self.note(command, name, &again);
        if let Some(now) = self.commands.get_mut(&command.id) {
            // Its outputs come to be where they came to be before: when it ended.
            now.at_us = observed.ended_us;
        }
        Ok(())
    }

    /// What a command used in one of these ways, of what holds something else than it did.
    fn stale_among<'b>(&self, observed: &'b Observed, uses: &[Uses]) -> Vec<&'b trace::Touch> {
        let used = observed.touches.iter().filter(|touch| uses.iter().any(|how| touch.uses.has(*how)));
        used.filter(|touch| self.stale.contains(&*touch.path)).collect()
    }

    /// Forces what a command used, and tells what of it has another content.
    fn compare(&mut self, command: &Command, used: &[&trace::Touch]) -> Result<Vec<Change>> {
        for touch in used {
            self.bring(&touch.path)?;
        }
        self.recorder
            .force(&self.recorder.placeholders(used.iter().map(|touch| &*touch.path)))
            .map_err(|why| anyhow!("what {} uses cannot be forced: {why}", title(command)))?;
        let changes = used.iter().filter_map(|touch| {
            self.current.forget(&touch.path);
            self.current.compare(&touch.path, touch.before.as_ref())
        });
        Ok(changes.collect())
    }

    /// The paths whose placeholders a command passed on, without a look at what these stand for.
    fn carried<'b>(&self, observed: &'b Observed) -> HashSet<&'b Path> {
        let is_placeholder = |touch: &trace::Touch| match touch.before {
            Some(before) => {
                wire::size_may_be_placeholder(before.size())
                    && self
                        .recorder
                        .store
                        .read(&before)
                        .is_ok_and(|text| matches!(Placeholder::decode(&touch.path, &text), Ok(Some(_))))
            }
            None => self.deferred.contains(&*touch.path),
        };
        let inputs = observed.with(Uses::INPUT).filter(|touch| is_placeholder(touch));
        inputs.map(|touch| &*touch.path).collect()
    }

    /// Gives what was put in place anew the permissions that a command gave it.
    fn give_modes(&self, observed: &Observed) -> Result<()> {
        let given = observed.touches.iter().filter_map(|touch| Some((&*touch.path, touch.mode?)));
        for (path, mode) in given.filter(|(path, _)| self.placed.contains(*path)) {
            let there = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file);
            if there.is_some_and(|there| there.permissions().mode() & 0o7777 != mode) {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
                    .with_context(|| format!("cannot change the mode of {}", path.display()))?;
                self.current.forget(path);
            }
        }
        Ok(())
    }

    /// A driver whose own input was made by a command that is another one now may start other commands. Dependency files, the work of
    /// compilers, tell it only what to do again.
    fn driver(&self, command: &Command, stale: &[&trace::Touch]) -> Result<()> {
        let learned = self.trace.commands.iter().filter(|command| command.kind == learned::LEARNED);
        let observed = self.trace.observed.iter().map(|observed| observed.id);
        let ran: HashSet<u32> = observed.chain(learned.map(|command| command.id)).collect();
        let by_ran = |path: &Path| {
            let remade = self.commands.values().filter(|command| ran.contains(&command.id));
            remade.into_iter().any(|command| command.outputs.iter().any(|output| output == path))
        };
        match stale.iter().find(|touch| by_ran(&touch.path)) {
            Some(touch) => bail!(
                "{} is made anew, and {} looked at it: its commands may be others now; record the build again",
                touch.path.display(),
                title(command)
            ),
            None => Ok(()),
        }
    }

    /// Did the command only move outputs of deferred commands? They are followed by what stands at the build's end.
    fn only_carries(&self, observed: &Observed) -> bool {
        let carried = |path: &Path| matches!(self.current.products().get(path), Some(Product::Output(_)));
        let listened = observed.obstacles.iter().any(|obstacle| obstacle == Observed::HEARD);
        let mut outputs = observed.with(Uses::OUTPUT).peekable();
        if outputs.peek().is_none() {
            // What it wrote and did not remove itself, others have moved on, or removed.
            let own =
                |touch: &trace::Touch| touch.uses.has(Uses::REMOVED) || touch.uses.has(Uses::MOVED_AWAY);
            let mut wrote = observed.with(Uses::WRITTEN);
            return !listened && wrote.all(|touch| own(touch) || has_no_content(&touch.path));
        }
        outputs.all(|touch| touch.after.is_none() && carried(&touch.path))
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
        let mut last = HashSet::new();
        let mut standing = Vec::new();
        for (path, product) in &self.current.products().last {
            let output = match product {
                Product::Output(output) => {
                    let thunk = self.remade.get(&output.thunk).copied().unwrap_or(output.thunk);
                    OutputRef { thunk, output: output.output.clone() }
                }
                Product::Link(_) => {
                    last.insert(path.as_path());
                    continue;
                }
                // A command that ran may be deferred by now, or what it moved is.
                Product::Value { .. } => match self.standing.get(path).or_else(|| self.moved.get(path)) {
                    Some(output) => output.clone(),
                    None => {
                        last.insert(path.as_path());
                        continue;
                    }
                },
            };
            last.insert(path.as_path());
            standing.push((path, output));
        }
        writer.standing(standing.iter().map(|(path, output)| (path.as_path(), output)))?;
        // What the build had moved on or removed.
        for path in self.placed.iter().filter(|path| !last.contains(path.as_path())) {
            if path.symlink_metadata().is_ok_and(|file| file.is_file()) {
                std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        let (code, _) = self.trace.end.unwrap_or_default();
        self.recorder.on_demand.end();
        Ok(writer.end(code, self.recorder.started.elapsed().as_micros() as u64)?)
    }
}

fn make_directory_of(path: &Path) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))
}

/// How messages name a command.
fn title(command: &Command) -> String {
    const LONG: usize = 80;
    let words: Vec<_> = command.argv.iter().map(|word| OsStr::to_string_lossy(word)).collect();
    let line = words.join(" ");
    match line.char_indices().nth(LONG) {
        Some((end, _)) => format!("command {} ({} …)", command.id, &line[..end]),
        None => format!("command {} ({line})", command.id),
    }
}
