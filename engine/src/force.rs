// SPDX-License-Identifier: Apache-2.0
//! The engine: forces the thunks that targets need and puts the results in place as they come.
//!
//! Approach: one thread, one loop. Ready thunks are taken in the order of the graph, resolved (inputs made by other thunks
//! become values), looked up again (an unchanged input may make a changed thunk one that is known), and given to a
//! back end. Answers come back through a set of tasks; each makes others ready. Nothing waits but the loop.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use thunk::{ObjectName, Reduction, Store};
use tokio::task::JoinSet;

use crate::backend::{Answer, Backend};
use crate::durations::Durations;
use crate::escapes::{self, Known};
use crate::graph::{Graph, NodeId, resolve};
use crate::materialise::{Placer, Target};
use crate::progress::{Numbers, Progress};

/// How to force.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Go on after a failure with what does not need what failed.
    pub keep_going: bool,
}

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

/// A back end that fails this often with one thunk will not do it.
const TRIES: u32 = 3;

struct Engine<'a> {
    store: &'a Store,
    options: Options,
    progress: &'a mut Progress,
    graph: Graph,
    placer: Placer<'a>,
    /// Targets by the thunk they wait for.
    waiting: HashMap<ObjectName, Vec<Target>>,
    /// Reductions of this run, which others' inputs come from.
    reductions: HashMap<ObjectName, Reduction>,
    /// Those of them that depend on more than the thunk says, by a completion somewhere below. They are not stored.
    passing: HashSet<ObjectName>,
    /// Commands of this run whose inputs were completed, and a path that one of them looked for.
    completed: (usize, Option<PathBuf>),
    summary: Summary,
    tries: HashMap<NodeId, u32>,
    durations: Durations,
    stopping: bool,
}

/// Forces the targets.
///
/// # Errors
/// The store is damaged or cannot be written to. Commands that fail are no error: the summary counts them.
pub async fn force(
    store: &Store,
    targets: Vec<Target>,
    backend: Rc<dyn Backend>,
    options: Options,
    progress: &mut Progress,
) -> Result<Summary> {
    let mut engine = Engine {
        store,
        options,
        progress,
        graph: Graph::default(),
        placer: Placer::new(store),
        waiting: HashMap::new(),
        reductions: HashMap::new(),
        passing: HashSet::new(),
        completed: (0, None),
        summary: Summary::default(),
        tries: HashMap::new(),
        durations: Durations::open(&store.root().join("cache/durations")),
        stopping: false,
    };
    engine.load(targets)?;
    engine.run(backend).await?;
    engine.tell_completed();
    Ok(engine.summary)
}

impl Engine<'_> {
    fn load(&mut self, targets: Vec<Target>) -> Result<()> {
        let durations = &self.durations;
        for target in targets {
            let thunk = target.output.thunk;
            let mut known = Vec::new();
            let context = || format!("{} cannot be forced", target.path.display());
            self.graph
                .add(self.store, thunk, &|thunk| durations.get(thunk), &mut |name, found| {
                    known.push((name, found))
                })
                .with_context(context)?;
            self.waiting.entry(thunk).or_default().push(target);
            for (name, Known { reduction, completed }) in known {
                self.summary.known += 1;
                self.progress.command_said(&reduction.stdout, &reduction.stderr);
                if completed {
                    self.passing.insert(name);
                }
                self.reductions.insert(name, reduction);
            }
        }
        self.graph.prioritise();
        let ready: Vec<ObjectName> =
            self.waiting.keys().filter(|name| self.reductions.contains_key(name)).copied().collect();
        for name in ready {
            self.place(&name);
        }
        Ok(())
    }

    async fn run(&mut self, backend: Rc<dyn Backend>) -> Result<()> {
        let mut tasks: JoinSet<(NodeId, ObjectName, Answer)> = JoinSet::new();
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            while !self.stopping && tasks.len() < backend.job_count() {
                let Some(id) = self.graph.next_ready() else { break };
                if let Some(resolved) = self.start(id)? {
                    let backend = Rc::clone(&backend);
                    tasks.spawn_local(async move {
                        let answer = backend.force(resolved).await;
                        (id, resolved, answer)
                    });
                }
            }
            self.show(tasks.len());
            if tasks.is_empty() {
                return Ok(());
            }
            tokio::select! {
                Some(joined) = tasks.join_next() => {
                    let (id, resolved, answer) = joined.context("a task of the engine ended early")?;
                    self.answered(id, resolved, answer, backend.label())?;
                }
                _ = &mut interrupt => {
                    // Dropping the tasks and the back end ends its workers; nothing half-written has a name.
                    self.summary.interrupted = true;
                    return Ok(());
                }
                _ = tick.tick() => {}
            }
        }
    }

    /// Prepares a thunk that is `Running` from now on. `None`: it needs no back end after all.
    fn start(&mut self, id: NodeId) -> Result<Option<ObjectName>> {
        let name = self.graph.name(id);
        let thunk = self.store.thunk(&name)?;
        if thunk.thunks.is_empty() {
            return Ok(Some(name));
        }
        let resolved = match resolve(thunk, |need| self.reductions.get(need).cloned()) {
            Ok(resolved) => resolved,
            Err(why) => {
                self.progress.say(&format!("{name} cannot run: {why}"));
                self.fail(id, 1);
                return Ok(None);
            }
        };
        let resolved = self.store.put_thunk(&resolved)?;
        if let Some(Known { reduction, completed }) = escapes::known(self.store, &resolved) {
            self.summary.known += 1;
            self.progress.command_said(&reduction.stdout, &reduction.stderr);
            self.reduced(id, reduction, completed)?;
            return Ok(None);
        }
        Ok(Some(resolved))
    }

    fn answered(&mut self, id: NodeId, resolved: ObjectName, answer: Answer, label: &str) -> Result<()> {
        match answer {
            Answer::Reduced { reduction, completed } => {
                self.summary.run += 1;
                self.durations.put(&self.store.thunk(&resolved)?, reduction.wall);
                self.progress.command_said(&reduction.stdout, &reduction.stderr);
                if !completed.is_empty() {
                    self.completed.0 += 1;
                    let example = completed.iter().find(|path| path.is_file()).or(completed.first());
                    self.completed.1 = self.completed.1.take().or(example.cloned());
                }
                self.reduced(id, reduction, !completed.is_empty())
            }
            Answer::Failed(failed) => {
                let thunk = self.store.thunk(&resolved)?;
                self.progress.command_failed(&thunk, &failed);
                self.fail(id, failed.code);
                Ok(())
            }
            Answer::Broken(why) => {
                let tries = self.tries.entry(id).or_default();
                *tries += 1;
                if *tries < TRIES && !self.stopping {
                    self.graph.retry(id);
                } else {
                    self.progress.say(&format!("{resolved} could not be run ({label}): {why}"));
                    self.fail(id, 1);
                }
                Ok(())
            }
        }
    }

    fn reduced(&mut self, id: NodeId, reduction: Reduction, completed: bool) -> Result<()> {
        let name = self.graph.name(id);
        if completed || self.graph.needs(id).any(|need| self.passing.contains(&need)) {
            self.passing.insert(name);
        } else {
            self.store.put_reduction(&name, &reduction)?;
        }
        self.reductions.insert(name, reduction);
        self.graph.reduced(id);
        self.place(&name);
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

    fn fail(&mut self, id: NodeId, code: i32) {
        if self.summary.failed == 0 {
            self.summary.code = code;
        }
        self.summary.failed += 1;
        self.graph.failed(id);
        self.stopping |= !self.options.keep_going;
    }

    /// Puts the outputs of a reduced thunk where their placeholders stand.
    fn place(&mut self, name: &ObjectName) {
        let Some(reduction) = self.reductions.get(name) else { return };
        for target in self.waiting.remove(name).unwrap_or_default() {
            let output = reduction.output(target.output.output.as_deref());
            if let Err(error) = self.placer.put(&target, output) {
                self.summary.unplaced += 1;
                self.progress.say(&format!("{}: {error:#}", target.path.display()));
            }
        }
    }

    fn show(&mut self, running: usize) {
        let counts = self.graph.counts();
        let done = counts.reduced + counts.failed + counts.blocked;
        self.progress.update(Numbers { done, running, total: counts.total });
    }
}
