// SPDX-License-Identifier: Apache-2.0
//! A back end that runs nothing: each thunk takes as long as it took when it was reduced, on any number of workers, with the
//! latency, failures and stragglers of a network, on a clock that runs ahead. It shows what the scheduler makes of many
//! workers. Knows no store but for the reductions that it plays.
//!
//! The clock is tokio's paused one: when all tasks sleep, it jumps to the next that wakes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use thunk::following::Order;
use thunk::trace::Trace;
use thunk::{ObjectName, Reduction, Store};
use tokio::time::Instant;

use crate::backend::{Answer, Backend, Forcing};
use crate::graph::{Graph, NodeId};
use crate::protocol::Failed;
use crate::schedule::{End, Given, Options, Schedule, Start, Work};

/// What is simulated, as the command line gives it: `workers=384,latency=50,failures=0.01`.
#[derive(Clone, Debug)]
pub struct Scene {
    /// How many thunks run at once.
    workers: usize,
    /// Milliseconds from the engine to a worker and back.
    latency: f64,
    /// A run takes up to this share longer or shorter.
    jitter: f64,
    /// The share of runs that are lost half-way.
    failures: f64,
    /// The share of runs that take `slowness` times as long.
    stragglers: f64,
    slowness: f64,
    /// Milliseconds that a worker needs before its first thunk.
    cold: f64,
    seed: u64,
}

impl FromStr for Scene {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut scene = Self {
            workers: 2,
            latency: 0.0,
            jitter: 0.0,
            failures: 0.0,
            stragglers: 0.0,
            slowness: 5.0,
            cold: 0.0,
            seed: 1,
        };
        for item in text.split(',').filter(|item| !item.is_empty()) {
            let (name, value) =
                item.split_once('=').ok_or_else(|| format!("\"{item}\" is not NAME=NUMBER"))?;
            let number: f64 = value.parse().map_err(|_| format!("\"{value}\" is no number"))?;
            if !(0.0..=1e9).contains(&number) {
                return Err(format!("{name}={value} is out of range"));
            }
            match name {
                "workers" => scene.workers = (number as usize).max(1),
                "latency" => scene.latency = number,
                "jitter" => scene.jitter = number.min(1.0),
                "failures" => scene.failures = number,
                "stragglers" => scene.stragglers = number,
                "slowness" => scene.slowness = number,
                "cold" => scene.cold = number,
                "seed" => scene.seed = number as u64,
                _ => return Err(format!("\"{name}\" is nothing that can be simulated")),
            }
        }
        Ok(scene)
    }
}

/// Random numbers: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    /// Evenly in 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

struct Simulated {
    scene: Scene,
    reductions: HashMap<ObjectName, Reduction>,
    random: RefCell<Random>,
    /// Workers that have run something already and are free.
    warm: RefCell<usize>,
}

/// A worker that is free and warm afterwards, also if what it runs is given up.
struct Busy<'a>(&'a RefCell<usize>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *self.0.borrow_mut() += 1;
    }
}

impl Simulated {
    /// How long a run takes from request to answer, and whether it is lost then.
    fn fate(&self, wall: Duration) -> (Duration, bool) {
        let scene = &self.scene;
        let mut random = self.random.borrow_mut();
        let mut time = wall.mul_f64(1.0 + scene.jitter * (2.0 * random.next() - 1.0));
        if random.next() < scene.stragglers {
            time = time.mul_f64(scene.slowness);
        }
        let lost = random.next() < scene.failures;
        if lost {
            time = time.mul_f64(random.next());
        }
        let mut overhead = scene.latency;
        let mut warm = self.warm.borrow_mut();
        match warm.checked_sub(1) {
            Some(left) => *warm = left,
            None => overhead += scene.cold,
        }
        (time + Duration::from_secs_f64(overhead / 1000.0), lost)
    }
}

impl Backend for Simulated {
    fn label(&self) -> &str {
        "simulated"
    }

    fn job_count(&self) -> usize {
        self.scene.workers
    }

    fn copies_may_help(&self) -> bool {
        true
    }

    fn force(&self, thunk: ObjectName) -> Forcing<'_> {
        Box::pin(async move {
            let Some(reduction) = self.reductions.get(&thunk) else {
                return Answer::Broken("it has no reduction to play".into());
            };
            let (time, lost) = self.fate(reduction.wall);
            let worker = Busy(&self.warm);
            tokio::time::sleep(time).await;
            drop(worker);
            if lost {
                Answer::Broken("lost, as simulated".into())
            } else {
                Answer::Reduced { reduction: reduction.clone(), completed: Vec::new() }
            }
        })
    }
}

/// Nothing is stored and nothing is put anywhere.
#[derive(Default)]
struct Nothing {
    failed: usize,
}

impl Work for Nothing {
    fn start(&mut self, graph: &mut Graph, id: NodeId) -> Result<Start> {
        Ok(Start::Run(graph.name(id)))
    }

    fn reduced(&mut self, _: &mut Graph, _: NodeId, _: ObjectName, _: Given) -> Result<End> {
        Ok(End::Reduced)
    }

    fn failed(&mut self, _: &Graph, _: NodeId, _: ObjectName, _: Failed) -> Result<()> {
        self.failed += 1;
        Ok(())
    }

    fn broken(&mut self, _: &Graph, _: NodeId, _: ObjectName, _: &str) -> Result<()> {
        self.failed += 1;
        Ok(())
    }

    fn ordered(&mut self, _: &mut Graph, _: Order) -> Result<()> {
        Ok(())
    }

    fn show(&mut self, _: &Graph, _: usize) -> Option<Instant> {
        None
    }
}

/// What a simulation showed.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    thunks: usize,
    workers: usize,
    makespan: Duration,
    path: Duration,
    work: Duration,
    /// What no schedule undercuts, as the graph is.
    least: Duration,
    copies: usize,
    lost: usize,
    failed: usize,
    engine: Duration,
}

impl Shown {
    /// No schedule is shorter than this, whatever the graph looks like otherwise.
    fn bound(&self) -> Duration {
        self.path.max(self.work / u32::try_from(self.workers).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = self.bound().as_secs_f64();
        write!(
            f,
            "{} thunks on {} workers: makespan {:.3} s, bound {bound:.3} s (critical path {:.3} s, work {:.3} s), ratio {:.3}; \
             by the graph {:.3} s at least, ratio {:.3}; {} copies, {} lost, {} failed; engine {:.1} us per thunk",
            self.thunks,
            self.workers,
            self.makespan.as_secs_f64(),
            self.path.as_secs_f64(),
            self.work.as_secs_f64(),
            self.makespan.as_secs_f64() / bound.max(1e-9),
            self.least.as_secs_f64(),
            self.makespan.as_secs_f64() / self.least.max(self.bound()).as_secs_f64().max(1e-9),
            self.copies,
            self.lost,
            self.failed,
            self.engine.as_secs_f64() * 1e6 / self.thunks.max(1) as f64
        )
    }
}

/// Plays the thunks of a trace whose reductions are known.
///
/// # Errors
/// The trace cannot be read, or a thunk was never forced.
pub fn simulate(store: &Store, trace: &Trace, scene: Scene) -> Result<Shown> {
    let mut graph = Graph::default();
    let mut reductions = HashMap::new();
    for name in trace.commands.iter().filter_map(|command| command.thunk) {
        // The reduction of a thunk is that of the run under its resolved name, kept under its own name, too.
        graph.add(store, name, &mut |_, _| None, &mut |name| {
            reductions.extend(store.reduction(name).map(|reduction| (*name, reduction)));
            false
        })?;
    }
    play(graph, reductions, scene)
}

fn play(mut graph: Graph, reductions: HashMap<ObjectName, Reduction>, scene: Scene) -> Result<Shown> {
    let thunks = graph.counts().total;
    if thunks == 0 {
        bail!("this trace deferred nothing");
    }
    graph
        .expect(|name| reductions.get(name).map(|reduction| reduction.wall))
        .map_err(|name| anyhow::anyhow!("{name} was never forced; run ggforce first"))?;
    graph.prioritise();
    let (path, work) = graph.bounds();
    let workers = scene.workers;
    let least = graph.least(workers);
    let random = RefCell::new(Random(scene.seed));
    let backend = Rc::new(Simulated { scene, reductions, random, warm: RefCell::new(0) });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .context("cannot start the engine")?;
    let mut nothing = Nothing::default();
    let real = std::time::Instant::now();
    let (makespan, tally) = tokio::task::LocalSet::new().block_on(&runtime, async {
        let start = Instant::now();
        let tally =
            Schedule::run(graph, backend, Options { keep_going: true, on_demand: false }, None, &mut nothing)
                .await?;
        anyhow::Ok((start.elapsed(), tally))
    })?;
    let (copies, lost, failed) = (tally.copies, tally.lost, nothing.failed);
    let engine = real.elapsed();
    Ok(Shown { thunks, workers, makespan, path, work, least, copies, lost, failed, engine })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::tests::thunk;

    /// `count` compiles of `ms` each, one link.
    fn build(store: &Store, count: usize, ms: u64) -> (Graph, HashMap<ObjectName, Reduction>) {
        let mut names = Vec::new();
        for n in 0..count {
            names.push(store.put_thunk(&thunk(&format!("/w/{n}.o"), &[])).unwrap());
        }
        let link = store.put_thunk(&thunk("/w/a.out", &names)).unwrap();
        let mut graph = Graph::default();
        graph.add(store, link, &mut |_, _| None, &mut |_| false).unwrap();
        names.push(link);
        let wall = Duration::from_millis(ms);
        (graph, names.into_iter().map(|name| (name, Reduction { wall, ..Reduction::default() })).collect())
    }

    #[test]
    fn virtual_time_is_exact_and_passes_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (graph, reductions) = build(&store, 100, 10_000);
        let shown = play(graph, reductions, "workers=10,latency=1000".parse().unwrap()).unwrap();
        // Ten rounds of compiles, one link, each with its latency; and what timers round up to, a millisecond.
        let expected = Duration::from_secs(11 * 11);
        assert!(
            shown.makespan >= expected && shown.makespan < expected + Duration::from_millis(20),
            "{shown}"
        );
        assert_eq!(shown.bound(), Duration::from_secs(101));
        assert_eq!(shown.least, Duration::from_secs(110), "the link waits for all compiles");
    }

    #[test]
    fn lost_runs_are_repeated_and_stragglers_overtaken() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let ratio = |scene: &str| {
            let (graph, reductions) = build(&store, 200, 5_000);
            let shown = play(graph, reductions, scene.parse().unwrap()).unwrap();
            assert_eq!(shown.failed, 0, "{shown}");
            (shown.makespan.as_secs_f64() / shown.bound().as_secs_f64(), shown)
        };
        let (slow, shown) = ratio("workers=20,stragglers=0.05,slowness=20,failures=0.02,seed=3");
        // Without copies one straggler alone would take 100 s, twice the bound.
        assert!(slow < 1.6 && shown.copies > 0 && shown.lost > 0, "{shown}");
    }

    /// How many of 40 builds took more than a quarter longer than they must, one compile of which takes as long as sixteen others.
    fn prolonged(scene: &str) -> usize {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let is_prolonged = |seed: &usize| {
            let (graph, mut reductions) = build(&store, 401, 500);
            let long = store.put_thunk(&thunk("/w/0.o", &[])).unwrap();
            reductions.get_mut(&long).unwrap().wall = Duration::from_secs(8);
            let shown = play(graph, reductions, format!("{scene},seed={seed}").parse().unwrap()).unwrap();
            shown.makespan > shown.bound().mul_f64(1.25)
        };
        (1..=40).filter(is_prolonged).count()
    }

    #[test]
    fn few_that_hang_behind_or_are_lost_prolong_nothing_much_on_few_workers_and_on_many() {
        for (workers, most) in [(2, 0), (16, 13), (100, 2), (400, 2)] {
            let faults = format!("workers={workers},failures=0.01,stragglers=0.05,jitter=0.1");
            let count = prolonged(&faults);
            assert!(count <= most, "{workers} workers: {count} of 40");
        }
    }

    /// Whatever is expected is wrong then, and nothing is late by it.
    #[test]
    fn where_all_are_slow_none_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (graph, reductions) = build(&store, 400, 1_000);
        let shown =
            play(graph, reductions, "workers=8,stragglers=1,slowness=3,jitter=0.2".parse().unwrap()).unwrap();
        assert!(shown.copies < 60, "{shown}");
        assert!(shown.makespan < shown.bound() * 7 / 2, "{shown}");
    }

    /// Each run that is lost takes long enough for a copy to be begun before.
    #[test]
    fn what_nobody_can_run_is_given_up_though_a_copy_is_always_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (graph, reductions) = build(&store, 3, 5_000);
        let scene = "workers=20,stragglers=1,slowness=20,failures=1,seed=3";
        let shown = play(graph, reductions, scene.parse().unwrap()).unwrap();
        assert!(shown.failed > 0 && shown.lost < 20, "{shown}");
    }

    #[test]
    fn a_scene_that_makes_no_sense_is_refused() {
        for bad in ["workers", "workers=x", "speed=1", "failures=-1", "latency=inf"] {
            assert!(bad.parse::<Scene>().is_err(), "{bad}");
        }
    }
}
