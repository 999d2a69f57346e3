// SPDX-License-Identifier: Apache-2.0
//! The loop that keeps a back end busy: ready thunks go to it in the graph's order, answers make others ready. Thunks that a
//! back end did not manage are tried again, and where another copy of a running one may be faster, it is started, in slots that would
//! stay empty or in place of one that is late. What a thunk needs before it runs, and what its answer means, is [`Work`]: this knows no store.
//!
//! Approach: one thread. Answers come back through a set of tasks; nothing waits but the loop. Time is tokio's, so that
//! the simulator's clock can run ahead, but for what a back end gives it to rest.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use thunk::following::Order;
use thunk::{ObjectName, Reduction};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::Instant;

use crate::backend::{Answer, Backend};
use crate::follow::Orders;
use crate::graph::{Graph, NodeId};
use crate::pace::Pace;
use crate::protocol::Failed;

/// What there is to do before and after a thunk runs.
pub trait Work {
    /// A ready thunk is about to run.
    ///
    /// # Errors
    /// Nothing can go on.
    fn start(&mut self, graph: &mut Graph, id: NodeId) -> Result<Start>;
    /// It gave this. `resolved` is what [`Work::start`] named.
    ///
    /// # Errors
    /// Nothing can go on.
    fn reduced(&mut self, graph: &mut Graph, id: NodeId, resolved: ObjectName, given: Given) -> Result<End>;
    /// Its command failed; `resolved` as above.
    ///
    /// # Errors
    /// Nothing can go on.
    fn failed(&mut self, graph: &Graph, id: NodeId, resolved: ObjectName, failed: Failed) -> Result<()>;
    /// No back end could run it, and this is why; `resolved` as above.
    ///
    /// # Errors
    /// Nothing can go on.
    fn broken(&mut self, graph: &Graph, id: NodeId, resolved: ObjectName, why: &str) -> Result<()>;
    /// More is to be forced.
    ///
    /// # Errors
    /// Nothing can go on.
    fn ordered(&mut self, graph: &mut Graph, order: Order) -> Result<()>;
    /// Slots would stay empty while somebody waits: adds something that nobody waits for, if there is any.
    fn aside(&mut self, _: &mut Graph) -> bool {
        false
    }
    /// Does somebody wait for something?
    fn is_awaited(&self) -> bool {
        false
    }
    /// Adds more of what is to be forced to the graph: only a little if there is something to answer, be it `busy`. Tells whether there is
    /// still more.
    ///
    /// # Errors
    /// Nothing can go on.
    fn load_more(&mut self, _graph: &mut Graph, _busy: bool) -> Result<bool> {
        Ok(false)
    }
    /// All that can be started is: time to put in place what has ended, and to tell where things stand. Tells when this is to be called again
    /// at the latest, if it matters.
    fn show(&mut self, graph: &Graph, running: usize) -> Option<Instant>;
}

/// What a thunk gave.
pub struct Given {
    /// Its reduction.
    pub reduction: Reduction,
    /// Paths that were added to its inputs.
    pub completed: Vec<std::path::PathBuf>,
}

/// What becomes of a ready thunk.
pub enum Start {
    /// It runs, under this name.
    Run(ObjectName),
    /// It need not, or cannot.
    Ends(End),
}

/// How it ends with a thunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is reduced.
    Reduced,
    /// It cannot be.
    Failed,
    /// Not yet: it waits for thunks that it returned.
    Waits,
}

/// How to go on.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Go on after a failure with what does not need what failed.
    pub keep_going: bool,
    /// What nobody waits for is done aside only: while somebody waits for something else, in slots that would stay empty.
    pub on_demand: bool,
}

/// What the loop counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Copies that were started beside another one, or in its place.
    pub copies: usize,
    /// Answers that a back end did not manage to give.
    pub lost: usize,
    /// Ended by Ctrl-C.
    pub interrupted: bool,
    /// What could have begun, and did not because something else had failed.
    pub not_begun: Vec<ObjectName>,
}

/// A back end that fails this often with one thunk will not do it.
const TRIES: u32 = 3;
/// A thunk runs at most so many times at once.
const COPIES: usize = 3;
/// Where it is not known how long runs take lately, one that takes longer than this many times what was expected is late.
const LATE: u32 = 2;
/// Expectations below this are no ground for a copy.
const SHORT: Duration = Duration::from_millis(500);
/// While others wait, no more than one of so many slots has a copy of what is not late: each helps only if the other is.
const HEDGED: usize = 16;

type Tasks = JoinSet<(NodeId, Option<Answer>)>;

/// Why a thunk should have another copy.
#[derive(Clone, Copy)]
enum Why {
    /// Its last one takes much longer than it should.
    Late,
    /// All would wait for it if it came to be late, or it takes longer than anything so far.
    Holds,
}

/// A thunk that a back end has.
struct Run {
    resolved: ObjectName,
    /// When the last of its copies was started.
    started: Instant,
    copies: Vec<AbortHandle>,
    /// The last was started before the one before was late.
    is_hedged: bool,
    /// One was given up. That is done once: what was expected may be wrong.
    begun_anew: bool,
}

/// The loop's state.
pub struct Schedule {
    graph: Graph,
    backend: Rc<dyn Backend>,
    options: Options,
    running: HashMap<NodeId, Run>,
    tries: HashMap<NodeId, u32>,
    /// The longest run so far, of those without copies.
    longest: Duration,
    pace: Pace,
    stopping: bool,
    tally: Tally,
}

impl Schedule {
    /// Runs everything in the graph on the back end, and what is ordered until the last order.
    ///
    /// # Errors
    /// What [`Work`] says.
    pub async fn run(
        graph: Graph,
        backend: Rc<dyn Backend>,
        options: Options,
        orders: Option<Orders>,
        work: &mut dyn Work,
    ) -> Result<Tally> {
        let mut schedule = Self {
            graph,
            backend,
            options,
            running: HashMap::new(),
            tries: HashMap::new(),
            longest: Duration::ZERO,
            pace: Pace::default(),
            stopping: false,
            tally: Tally::default(),
        };
        schedule.turn(orders, work).await?;
        if schedule.stopping {
            schedule.tally.not_begun.extend(schedule.graph.all_ready());
        }
        Ok(schedule.tally)
    }

    async fn turn(&mut self, mut orders: Option<Orders>, work: &mut dyn Work) -> Result<()> {
        let mut tasks = Tasks::new();
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        let slots = self.backend.job_count();
        loop {
            let copies = self.backend.copies_may_help();
            if !self.stopping && copies {
                // Before what is ready: a slot for what is late gives back the one in which it hangs.
                self.copy(&mut tasks, slots, false);
            }
            let before = tasks.len();
            while let Some(id) = self.next(tasks.len(), slots, work) {
                match work.start(&mut self.graph, id)? {
                    Start::Run(resolved) => {
                        // What is urgent begins at once, though all slots are taken.
                        let behind = tasks.len() >= slots && !self.options.on_demand;
                        self.dispatch(&mut tasks, id, resolved, behind);
                    }
                    Start::Ends(end) => self.end(id, end),
                }
            }
            if !self.stopping && copies {
                self.copy(&mut tasks, slots, true);
            }
            if tasks.len() > before {
                // The back end begins before what is done is put in place.
                tokio::task::yield_now().await;
            }
            let more = work.load_more(&mut self.graph, !self.running.is_empty())?;
            // What is behind others has not begun. On demand all have.
            let begun = if self.options.on_demand { usize::MAX } else { slots };
            let by = work.show(&self.graph, self.running.len().min(begun));
            if self.running.is_empty() && orders.is_none() && !more {
                return Ok(());
            }
            if orders.is_none() && !more {
                // Timers of the runtime are no finer than a millisecond. Who gives orders waits for what was ordered.
                std::thread::sleep(self.backend.leisure());
            }
            tokio::select! {
                Some(joined) = tasks.join_next() => {
                    self.joined(joined, work)?;
                    // All that is known counts: what was not begun because something failed is not to begin now.
                    while let Some(joined) = tasks.try_join_next() {
                        self.joined(joined, work)?;
                    }
                }
                order = next(&mut orders) => match order {
                    Some(order) => {
                        if order.last {
                            orders = None;
                        }
                        work.ordered(&mut self.graph, order)?;
                    }
                    // Whoever gave orders is gone.
                    None => {
                        self.tally.interrupted = true;
                        return Ok(());
                    }
                },
                _ = &mut interrupt => {
                    // Dropping the tasks and the back end ends its workers; nothing half-written has a name.
                    self.tally.interrupted = true;
                    return Ok(());
                }
                _ = tick.tick() => {}
                () = until(by) => {}
                // After a look at what back ends say.
                () = tokio::task::yield_now(), if more => {}
            }
        }
    }

    /// The thunk that is to be started now, with so many tasks running.
    fn next(&mut self, tasks: usize, slots: usize, work: &mut dyn Work) -> Option<NodeId> {
        if !self.options.on_demand {
            // Of what somebody waits for, what needs nothing that has failed is done all the same.
            let goes_on = !self.stopping || self.graph.next_is_urgent() == Some(true);
            let more = goes_on && tasks < slots + self.backend.room_behind();
            return if more { self.graph.next_ready() } else { None };
        }
        let free = tasks < slots;
        loop {
            match self.graph.next_is_urgent() {
                // What was begun aside holds up nobody.
                Some(true) => {
                    let urgent = self.running.keys().filter(|id| self.graph.is_urgent(**id)).count();
                    return if urgent < slots { self.graph.next_ready() } else { None };
                }
                next if free && work.is_awaited() => match next {
                    Some(_) => return self.graph.next_ready(),
                    None if work.aside(&mut self.graph) => {}
                    None => return None,
                },
                _ => return None,
            }
        }
    }

    fn dispatch(&mut self, tasks: &mut Tasks, id: NodeId, resolved: ObjectName, behind: bool) -> &mut Run {
        let backend = Rc::clone(&self.backend);
        let handle = tasks.spawn_local(async move {
            let answer = match behind {
                true => backend.force_behind(resolved).await,
                false => Some(backend.force(resolved).await),
            };
            (id, answer)
        });
        let now = Instant::now();
        let run = Run { resolved, started: now, copies: Vec::new(), is_hedged: false, begun_anew: false };
        let run = self.running.entry(id).or_insert(run);
        run.started = now;
        run.copies.push(handle);
        run
    }

    /// Starts more copies of what is late, and of what everybody would wait for if it came to be late, the longest path first, before
    /// what is ready: in free slots, or, where others wait for one, in place of what is late. `idle`: nothing else is to be done. Then it
    /// takes less to get one.
    fn copy(&mut self, tasks: &mut Tasks, slots: usize, idle: bool) {
        let mut free = slots.saturating_sub(tasks.len());
        let replaces = free == 0 && !idle && self.backend.ends_what_is_given_up();
        let replaces = replaces && self.graph.next_is_urgent().is_some();
        if free == 0 && !replaces {
            return;
        }
        let mut wanted = self.wanted(slots, idle);
        wanted.sort_unstable_by_key(|(id, _)| (Reverse(self.graph.remaining(*id)), *id));
        let hedged = self.running.values().filter(|run| run.is_hedged).count();
        let mut hedges = if idle { free } else { (slots / HEDGED).saturating_sub(hedged) };
        for (id, why) in wanted {
            match why {
                Why::Holds if free > 0 && hedges > 0 => hedges -= 1,
                Why::Late if free > 0 => self.took(id),
                Why::Late if replaces && self.gives_up(id) => self.took(id),
                _ => continue,
            }
            free = free.saturating_sub(1);
            self.tally.copies += 1;
            let resolved = self.running[&id].resolved;
            self.dispatch(tasks, id, resolved, false).is_hedged = matches!(why, Why::Holds);
        }
    }

    /// Ends the only copy of what is late, unless that was done before; tells whether it did.
    fn gives_up(&mut self, id: NodeId) -> bool {
        let run = self.running.get_mut(&id).filter(|run| run.copies.len() == 1 && !run.begun_anew);
        let Some(run) = run else { return false };
        run.begun_anew = true;
        run.copies.drain(..).for_each(|copy| copy.abort());
        true
    }

    /// What is running and should have another copy.
    fn wanted(&mut self, slots: usize, idle: bool) -> Vec<(NodeId, Why)> {
        let slots = u32::try_from(slots).unwrap_or(u32::MAX);
        let left =
            |(id, run): (&NodeId, &Run)| self.graph.remaining(*id).saturating_sub(run.started.elapsed());
        let path = self.running.iter().map(left).max().unwrap_or_default();
        // In how long all could be done.
        let all = if idle { path } else { path.max(self.graph.left() / slots) };
        // On demand, what else there is to be done is not known.
        let knows_all = idle || !self.options.on_demand;
        let risk = self.pace.risk();
        let ends = self.backend.ends_what_is_given_up();
        let mut wanted = Vec::new();
        for (&id, run) in &self.running {
            let (elapsed, remaining) = (run.started.elapsed(), self.graph.remaining(id));
            let expected = self.graph.expected(id);
            let usually =
                expected.and_then(|expected| self.pace.late_after(expected)).map(|late| late.max(SHORT));
            let mostly = expected.map(|expected| expected.max(SHORT) * LATE);
            // What is paid for in any case is not called late in haste.
            let late = if ends { usually.or(mostly) } else { usually.max(mostly) };
            let is_late = late.is_some_and(|late| elapsed > late);
            // Begun anew only when it is late, it and what waits for it would be done so much later than all.
            let by = late.map(|late| (late.saturating_sub(elapsed) + remaining).saturating_sub(all));
            // A free slot costs nothing; for another one others wait. Of many that are alike none matters much.
            let cost = if idle { Duration::ZERO } else { expected.unwrap_or_default() / slots };
            let holds = knows_all && all > SHORT && remaining >= all / 2;
            let holds = holds && by.is_some_and(|by| by.mul_f64(risk) > cost);
            let lingers = idle && elapsed > self.longest.max(SHORT) * LATE;
            let why = if is_late { Why::Late } else { Why::Holds };
            let most = if is_late { COPIES } else { 2 };
            let is_spent = self.tries.get(&id).is_some_and(|tries| *tries >= TRIES);
            if (is_late || holds || lingers) && run.copies.len() < most && !is_spent {
                wanted.push((id, why));
            }
        }
        wanted
    }

    /// The last copy of this one has taken so long, whether it has ended or only seems to hang.
    fn took(&mut self, id: NodeId) {
        if let (Some(run), Some(expected)) = (self.running.get(&id), self.graph.expected(id)) {
            self.pace.took(expected, run.started.elapsed());
        }
    }

    fn joined(
        &mut self,
        joined: std::result::Result<(NodeId, Option<Answer>), JoinError>,
        work: &mut dyn Work,
    ) -> Result<()> {
        let (id, answer) = match joined {
            Ok(answered) => answered,
            Err(error) if error.is_cancelled() => return Ok(()),
            Err(error) => return Err(error).context("a task of the engine ended early"),
        };
        // Another copy was faster.
        let Some(run) = self.running.get(&id) else { return Ok(()) };
        let resolved = run.resolved;
        match answer {
            Some(Answer::Reduced { reduction, completed }) => {
                self.ran(id);
                let end = work.reduced(&mut self.graph, id, resolved, Given { reduction, completed })?;
                self.end(id, end);
            }
            Some(Answer::Failed(failed)) => {
                self.ran(id);
                work.failed(&self.graph, id, resolved, failed)?;
                self.fail(id);
            }
            Some(Answer::Broken(why)) => self.came_back(id, Some(why), work)?,
            None => self.came_back(id, None, work)?,
        }
        Ok(())
    }

    /// It has run: other copies are not needed.
    fn ran(&mut self, id: NodeId) {
        // Which of several has answered is not known.
        if let Some(run) = self.running.get(&id).filter(|run| run.copies.len() == 1) {
            self.longest = self.longest.max(run.started.elapsed());
            self.took(id);
        }
        if let Some(run) = self.running.remove(&id) {
            run.copies.iter().for_each(AbortHandle::abort);
        }
    }

    /// There is no result: for this reason, or because it was not begun.
    fn came_back(&mut self, id: NodeId, why: Option<String>, work: &mut dyn Work) -> Result<()> {
        // Each copy counts: where two take turns, one is always under way.
        let tries = self.tries.entry(id).or_default();
        if why.is_some() {
            self.tally.lost += 1;
            *tries += 1;
        }
        let Some(run) = self.running.get_mut(&id) else { return Ok(()) };
        run.copies.retain(|copy| !copy.is_finished());
        if !run.copies.is_empty() {
            return Ok(());
        }
        let resolved = run.resolved;
        self.running.remove(&id);
        match why {
            Some(why) if *tries >= TRIES || self.stopping && !self.graph.is_urgent(id) => {
                let why = format!("({}): {why}", self.backend.label());
                work.broken(&self.graph, id, resolved, &why)?;
                self.fail(id);
            }
            _ => self.graph.retry(id),
        }
        Ok(())
    }

    fn end(&mut self, id: NodeId, end: End) {
        match end {
            End::Reduced => self.graph.reduced(id),
            End::Failed => self.fail(id),
            End::Waits => {}
        }
    }

    fn fail(&mut self, id: NodeId) {
        self.graph.failed(id);
        self.stopping |= !self.options.keep_going;
    }
}

/// Waits until then; for ever, where there is no time.
pub async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The next order; never, where none are given.
async fn next(orders: &mut Option<Orders>) -> Option<Order> {
    match orders {
        Some(orders) => orders.recv().await,
        None => std::future::pending().await,
    }
}
