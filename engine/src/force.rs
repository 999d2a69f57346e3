// SPDX-License-Identifier: Apache-2.0
//! The engine: forces the thunks that targets need and puts the results in place as they come.
//!
//! Approach: the loop in [`crate::schedule`] takes ready thunks in the order of the graph. Here each is resolved (inputs made by
//! other thunks become values) and looked up again (an unchanged input may make a changed thunk one that is known)
//! before it runs; afterwards its reduction is stored and its outputs are put where placeholders stand.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use thunk::following::{self, Order};
use thunk::{FailedThunks, ObjectName, Placeholder, Reduction, Store, Thunk};
use tokio::time::Instant;

use crate::backend::Backend;
use crate::durations::Durations;
use crate::escapes::{self, Known};
use crate::follow::{Asked, Follower, Orders};
use crate::graph::{Graph, NodeId, resolve};
use crate::home::Home;
use crate::materialise::{Placer, Target};
use crate::progress::{Numbers, Progress};
use crate::protocol::Failed;
use crate::returned::{self, Returned};
use crate::schedule::{End, Given, Options, Schedule, Start, Work};
use crate::targets::Targets;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Thunks that ran.
    pub run: usize,
    /// Thunks whose reduction was known.
    pub known: usize,
    /// Thunks that failed.
    pub failed: usize,
    /// Exit code of the first command that failed.
    pub code: i32,
    /// Targets that could not be put in place.
    pub unplaced: usize,
    /// Ended by Ctrl-C.
    pub interrupted: bool,
}

struct Engine<'a> {
    store: &'a Store,
    backend: Rc<dyn Backend>,
    progress: &'a mut Progress,
    placer: Placer<'a>,
    /// Targets that are not in the graph yet.
    rest: std::vec::IntoIter<Target>,
    /// Targets by the thunk they wait for.
    waiting: HashMap<ObjectName, Vec<Target>>,
    /// Thunks that are reduced, whose outputs are to be put in place when the workers have something to do,
    due: Vec<ObjectName>,
    /// and by then at the latest.
    due_by: Option<Instant>,
    /// Reductions of this run, which others' inputs come from.
    reductions: HashMap<ObjectName, Reduction>,
    /// Those of them that depend on more than the thunk says, by a completion somewhere below. They are not stored.
    passing: HashSet<ObjectName>,
    /// Those of gg's own of which a reduction is known that is not the end of it: they returned thunks.
    unfinished: HashSet<ObjectName>,
    /// What thunks gave that wait for thunks that they returned.
    returned: HashMap<NodeId, Returned>,
    /// Commands of this run whose inputs were completed, and a path that one of them looked for.
    completed: (usize, Option<PathBuf>),
    summary: Summary,
    durations: Durations,
    failures: FailedThunks<'a>,
    options: Options,
    /// Told whose outputs are put in place.
    home: Rc<Home>,
    /// The recorder that gives orders.
    follower: Option<Follower>,
    /// What there is to say of thunks for which nobody has waited, where only those who wait are told.
    untold: HashMap<NodeId, Said>,
}

/// What there is to say of a thunk.
enum Said {
    /// What its command wrote.
    Wrote(Vec<u8>, Vec<u8>),
    /// How the command of this thunk failed.
    Failed(ObjectName, Failed),
    /// Why it could not be forced.
    Cannot(String),
}

/// Forces the targets, and what a recorder orders meanwhile, if one does.
///
/// # Errors
/// The store is damaged or cannot be written to. Commands that fail are no error: the summary counts them.
pub async fn force(
    store: &Store,
    targets: Vec<Target>,
    backend: Rc<dyn Backend>,
    home: Rc<Home>,
    options: Options,
    recorder: Option<(Orders, Follower)>,
    progress: &mut Progress,
) -> Result<Summary> {
    let (orders, follower) = recorder.unzip();
    let mut engine = Engine {
        store,
        backend: Rc::clone(&backend),
        progress,
        placer: Placer::new(store),
        rest: targets.into_iter(),
        waiting: HashMap::new(),
        due: Vec::new(),
        due_by: None,
        reductions: HashMap::new(),
        passing: HashSet::new(),
        unfinished: HashSet::new(),
        returned: HashMap::new(),
        completed: (0, None),
        summary: Summary::default(),
        durations: Durations::open(&store.root().join("cache/durations")),
        failures: FailedThunks::of(store),
        options,
        home,
        follower,
        untold: HashMap::new(),
    };
    let mut graph = Graph::default();
    if engine.load_more(&mut graph, false)? {
        graph.prioritise();
    }
    let ended = Schedule::run(graph, backend, options, orders, &mut engine).await;
    // Whatever has ended it.
    engine.place_due();
    if let Some(more) = engine.summary.unplaced.checked_sub(SHOWN).filter(|more| *more > 0) {
        engine.progress.say(&format!("{more} more files could not be put in place"));
    }
    let ended = ended?;
    // Their inputs may be what has to be mended: make is to have them made anew, too.
    ended.not_begun.iter().try_for_each(|name| engine.failures.mark(name))?;
    engine.summary.interrupted = ended.interrupted;
    engine.tell_completed();
    Ok(engine.summary)
}

/// Outputs of so many thunks are put in place together, which takes half the time of one after the other between answers of workers,
const TOGETHER: usize = 16;
/// unless that means to wait for longer than this: nobody is to see it.
const SOON: Duration = Duration::from_millis(10);

/// So many targets are in the graph before the first thunk begins, and so many come with each further look at them. To read 10,000 thunks
/// takes a fifth of a second, in which workers can do something.
const FIRST: usize = 512;
/// So many while workers have something to do, which may end at any time.
const MORE: usize = 32;

/// So many files that cannot be put in place are named: on a full disk it is all of them.
const SHOWN: usize = 10;

impl Engine<'_> {
    /// Adds what the targets need to the graph, and puts in place what is known; tells which thunk each target takes.
    fn load(&mut self, graph: &mut Graph, targets: Vec<Target>) -> Result<Vec<NodeId>> {
        let mut ids = Vec::with_capacity(targets.len());
        let mut ready = Vec::new();
        for target in targets {
            let thunk = target.output.thunk;
            let context = || format!("{} cannot be forced", target.path.display());
            ids.push(self.add(graph, thunk).with_context(context)?);
            self.waiting.entry(thunk).or_default().push(target);
            ready.push(thunk);
        }
        self.place(&ready);
        Ok(ids)
    }

    /// Adds a thunk and what it needs to the graph, as far as that is not known.
    fn add(&mut self, graph: &mut Graph, thunk: ObjectName) -> Result<NodeId> {
        let (store, durations, home) = (self.store, &self.durations, &self.home);
        let mut found = Vec::new();
        let unfinished = &mut self.unfinished;
        let mut reduced = |name: &ObjectName| match escapes::known(store, name) {
            Some(known) if returned::is_unfinished(store, &known.reduction) => {
                unfinished.insert(*name);
                false
            }
            known => {
                let reduced = known.is_some();
                found.extend(known.map(|known| (*name, known)));
                reduced
            }
        };
        let mut estimate = |name: &ObjectName, thunk: &Thunk| {
            if thunk.workdir.is_none() {
                // One of gg's own: it may return a thunk, and that is read here.
                home.want(*name);
            }
            durations.get(thunk)
        };
        let id = graph.add(store, thunk, &mut estimate, &mut reduced);
        for (name, Known { reduction, completed }) in found {
            self.summary.known += 1;
            self.wrote_before(graph, graph.id(&name), &reduction)?;
            if completed {
                self.passing.insert(name);
            }
            self.reductions.insert(name, reduction);
        }
        id
    }

    /// Keeps what a thunk gave, and puts its outputs in place, unless some are thunks: these are to be forced before. `stored`: its
    /// reduction is in the store under its own name.
    fn keep(
        &mut self,
        graph: &mut Graph,
        id: NodeId,
        reduction: Reduction,
        completed: bool,
        stored: bool,
    ) -> Result<End> {
        let name = graph.name(id);
        if completed || graph.needs(id).any(|need| self.passing.contains(&need)) {
            self.passing.insert(name);
        } else if !stored {
            self.store.put_reduction(&name, &reduction)?;
        }
        let returned = match Returned::among(self.store, &reduction) {
            Ok(None) => return self.settle(name, reduction),
            Ok(Some(returned)) => returned,
            Err(why) => return self.cannot_go_on(graph, id, &format!("{why:#}")),
        };
        let more: Result<Vec<NodeId>> = returned.thunks().map(|thunk| self.add(graph, thunk)).collect();
        let why = match more.map(|more| graph.waits_for(id, &more)) {
            Ok(Ok(hurried)) => {
                self.returned.insert(id, returned);
                self.tell_held(graph, &hurried)?;
                return Ok(End::Waits);
            }
            Ok(Err(cyclic)) => format!("it returned {}, which needs what it gives", graph.name(cyclic)),
            Err(why) => format!("{why:#}"),
        };
        self.cannot_go_on(graph, id, &why)
    }

    /// The last word on a thunk.
    fn settle(&mut self, name: ObjectName, reduction: Reduction) -> Result<End> {
        self.failures.clear(&name)?;
        self.reductions.insert(name, reduction);
        self.due.push(name);
        // Who completes inputs looks for what is in place, and such a reduction is not stored.
        let soon = if self.passing.contains(&name) { Duration::ZERO } else { SOON };
        let by = Instant::now() + soon;
        self.due_by = Some(self.due_by.map_or(by, |before| before.min(by)));
        Ok(End::Reduced)
    }

    /// About to run: its outputs are to come here if they are to be put in place.
    fn wanted(&self, name: ObjectName, resolved: ObjectName) -> ObjectName {
        if self.waiting.contains_key(&name) {
            self.home.want(resolved);
        }
        resolved
    }

    fn cannot_go_on(&mut self, graph: &Graph, id: NodeId, why: &str) -> Result<End> {
        let why = format!("{} cannot be forced: {why}", graph.name(id));
        self.say(graph, Some(id), Said::Cannot(why))?;
        Ok(End::Failed)
    }

    /// What a command said that is known already. If all that it gives is in place, the build waited for it, and was told.
    fn wrote_before(&mut self, graph: &Graph, id: Option<NodeId>, reduction: &Reduction) -> Result<()> {
        let stands = |path: &Path| path.is_file() && matches!(Placeholder::read(path), Ok(None));
        let says = !reduction.stdout.is_empty() || !reduction.stderr.is_empty();
        let outputs = &reduction.outputs;
        if says && !outputs.is_empty() && outputs.iter().all(|output| stands(&output.path)) {
            return Ok(());
        }
        self.wrote(graph, id, reduction)
    }

    fn wrote(&mut self, graph: &Graph, id: Option<NodeId>, reduction: &Reduction) -> Result<()> {
        let Reduction { stdout, stderr, .. } = reduction;
        if stdout.is_empty() && stderr.is_empty() {
            return Ok(());
        }
        self.say(graph, id, Said::Wrote(stdout.clone(), stderr.clone()))
    }

    /// Says this of a thunk, or once somebody waits for it: of what is done aside nobody has asked to be told.
    fn say(&mut self, graph: &Graph, id: Option<NodeId>, said: Said) -> Result<()> {
        match id.filter(|id| self.options.on_demand && !graph.is_urgent(*id)) {
            Some(id) => {
                self.untold.insert(id, said);
                Ok(())
            }
            None => self.tell(graph, id, said),
        }
    }

    /// Somebody waits for these from now on.
    fn tell_held(&mut self, graph: &Graph, hurried: &[NodeId]) -> Result<()> {
        for &id in hurried {
            if let Some(said) = self.untold.remove(&id) {
                self.tell(graph, Some(id), said)?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, graph: &Graph, id: Option<NodeId>, said: Said) -> Result<()> {
        match said {
            Said::Wrote(stdout, stderr) => self.progress.command_said(&stdout, &stderr),
            Said::Failed(resolved, failed) => {
                if let Some(id) = id {
                    self.failures.mark(&graph.name(id))?;
                }
                let thunk = self.store.thunk(&resolved)?;
                self.progress.command_failed(&thunk, &failed);
                self.count_failure(failed.code);
            }
            Said::Cannot(why) => {
                self.progress.say(&why);
                self.count_failure(1);
            }
        }
        Ok(())
    }

    /// Once per run: models should have known.
    fn tell_completed(&mut self) {
        let (count, Some(example)) = &self.completed else { return };
        let (commands, model, inputs) = if *count == 1 {
            ("command", "its model", "its inputs")
        } else {
            ("commands", "their models", "their inputs")
        };
        self.progress.note(&format!(
            "{count} {commands} looked at files that {model} did not name (for example {}); {inputs} were completed",
            example.display()
        ));
    }

    fn count_failure(&mut self, code: i32) {
        if self.summary.failed == 0 {
            self.summary.code = code;
        }
        self.summary.failed += 1;
        if !self.options.keep_going {
            self.follower.iter_mut().for_each(Follower::stopped);
        }
    }

    /// Puts in place what waits for that.
    fn place_due(&mut self) {
        let due = std::mem::take(&mut self.due);
        self.due_by = None;
        self.place(&due);
    }

    /// Puts the outputs of those of the thunks that are reduced where their placeholders stand.
    fn place(&mut self, thunks: &[ObjectName]) {
        let mut all = Vec::new();
        for name in thunks {
            let Some(reduction) = self.reductions.get(name) else { continue };
            for target in self.waiting.remove(name).unwrap_or_default() {
                let output = reduction.output(target.output.output.as_deref());
                all.push((target, output));
            }
        }
        self.placer.put_all(&all, |target, error| {
            self.summary.unplaced += 1;
            if self.summary.unplaced <= SHOWN {
                self.progress.say(&format!("{}: {error:#}", target.path.display()));
            }
        });
    }
}

impl Work for Engine<'_> {
    fn start(&mut self, graph: &mut Graph, id: NodeId) -> Result<Start> {
        let name = graph.name(id);
        if let Some(returned) = self.returned.remove(&id) {
            return Ok(Start::Ends(match returned.finish(|need| self.reductions.get(need).cloned()) {
                Ok(reduction) => self.settle(name, reduction)?,
                Err(why) => self.cannot_go_on(graph, id, &why)?,
            }));
        }
        let (resolved, is_ours) = if graph.needs(id).next().is_none() {
            // What was looked up when it was added still holds. So it need not be read either.
            if !self.unfinished.contains(&name) {
                return Ok(Start::Run(self.wanted(name, name)));
            }
            (name, false)
        } else {
            let thunk = self.store.thunk(&name)?;
            let is_ours = thunk.workdir.is_some();
            match resolve(thunk, |need| self.reductions.get(need).cloned()) {
                Ok(resolved) => (self.store.put_thunk(&resolved)?, is_ours),
                Err(why) => return Ok(Start::Ends(self.cannot_go_on(graph, id, &why)?)),
            }
        };
        if let Some(Known { reduction, completed }) = escapes::known(self.store, &resolved) {
            self.summary.known += 1;
            self.wrote_before(graph, Some(id), &reduction)?;
            let stored = resolved == name;
            return Ok(Start::Ends(self.keep(graph, id, reduction, completed, stored)?));
        }
        if !is_ours {
            // It may return a thunk, and that is read here.
            self.home.want(resolved);
        }
        Ok(Start::Run(self.wanted(name, resolved)))
    }

    fn reduced(&mut self, graph: &mut Graph, id: NodeId, resolved: ObjectName, given: Given) -> Result<End> {
        let Given { reduction, completed } = given;
        self.summary.run += 1;
        if let Some(main) = reduction.outputs.first() {
            self.durations.put(&main.path, reduction.wall);
        }
        self.wrote(graph, Some(id), &reduction)?;
        if !completed.is_empty() {
            self.completed.0 += 1;
            let example = completed.iter().find(|path| path.is_file()).or(completed.first());
            self.completed.1 = self.completed.1.take().or(example.cloned());
        }
        // The worker has stored it under the name that it was given.
        let stored = resolved == graph.name(id);
        self.keep(graph, id, reduction, !completed.is_empty(), stored)
    }

    fn failed(&mut self, graph: &Graph, id: NodeId, resolved: ObjectName, failed: Failed) -> Result<()> {
        self.say(graph, Some(id), Said::Failed(resolved, failed))
    }

    fn broken(&mut self, graph: &Graph, id: NodeId, resolved: ObjectName, why: &str) -> Result<()> {
        self.say(graph, Some(id), Said::Cannot(format!("{resolved} could not be run {why}")))
    }

    fn ordered(&mut self, graph: &mut Graph, order: Order) -> Result<()> {
        let paths: Vec<PathBuf> = following::paths(&order.paths).collect();
        if self.options.on_demand
            && order.number == 0
            && let Some(follower) = &mut self.follower
        {
            follower.note(paths);
            return Ok(());
        }
        let mut targets = Targets::new(self.store);
        for path in &paths {
            // Files come and go while a build goes on: what is wrong with one is no reason to end.
            if let Err(error) = targets.add(path)
                && path.exists()
            {
                self.progress.say(&format!("{error:#}"));
                self.summary.unplaced += 1;
            }
        }
        let mut nodes = Vec::with_capacity(targets.found.len());
        for target in targets.found {
            let path = target.path.clone();
            match self.load(graph, vec![target]) {
                Ok(ids) => nodes.extend(ids),
                Err(error) => {
                    self.progress.say(&format!("{}: {error:#}", path.display()));
                    self.summary.unplaced += 1;
                }
            }
        }
        nodes.iter().for_each(|id| graph.prioritise_from(*id));
        if order.number != 0
            && let Some(follower) = &mut self.follower
        {
            let hurried: Vec<NodeId> = nodes.iter().flat_map(|id| graph.hurry(*id)).collect();
            follower.add(Asked { number: order.number, nodes, paths });
            self.tell_held(graph, &hurried)?;
        }
        Ok(())
    }

    fn aside(&mut self, graph: &mut Graph) -> bool {
        while let Some(path) = self.follower.as_mut().and_then(Follower::take) {
            let mut targets = Targets::new(self.store);
            // What is wrong with one is told when somebody wants it.
            if targets.add(&path).is_err() {
                continue;
            }
            for target in targets.found {
                if let Ok(id) = self.add(graph, target.output.thunk) {
                    graph.prioritise_from(id);
                    return true;
                }
            }
        }
        false
    }

    fn is_awaited(&self) -> bool {
        self.follower.as_ref().is_some_and(Follower::is_asked)
    }

    fn load_more(&mut self, graph: &mut Graph, busy: bool) -> Result<bool> {
        if self.rest.as_slice().is_empty() {
            return Ok(false);
        }
        // Where some outputs stay elsewhere it must be known which before anything begins.
        let count = match busy {
            _ if self.home.leaves_some() => usize::MAX,
            true => MORE,
            false => FIRST,
        };
        let block = self.rest.by_ref().take(count).collect();
        self.load(graph, block)?;
        let more = !self.rest.as_slice().is_empty();
        if !more {
            graph.prioritise();
        }
        Ok(more)
    }

    fn show(&mut self, graph: &Graph, running: usize) -> Option<Instant> {
        let is_time = self.due_by.is_some_and(|by| by <= Instant::now());
        if is_time || self.due.len() >= TOGETHER || running == 0 || self.follower.is_some() {
            self.place_due();
        }
        self.follower.iter_mut().for_each(|follower| follower.answer(graph));
        let counts = graph.counts();
        let done = counts.reduced + counts.failed + counts.blocked;
        self.progress.update(Numbers { done, running, total: counts.total, dollars: self.backend.dollars() });
        self.due_by
    }
}

#[cfg(test)]
mod tests;
