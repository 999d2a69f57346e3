// SPDX-License-Identifier: Apache-2.0
//! The back end on this machine: one worker process per job slot, started when it is first needed, and again after it
//! died. While jobs are short, each worker is given a second one before it has answered the first: it goes on with that at
//! once, and the engine takes the answer meanwhile. Knows who has which worker, not how a worker is talked to or what it does.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use thunk::ObjectName;
use tokio::process::Command;

use self::worker::{Queue, Worker};
use crate::backend::{Answer, Backend, Forcing, ForcingBehind};
use crate::own;
use crate::protocol::{self, Done};
use crate::worker::{Manner, read_answer};

mod worker;

/// Where jobs take longer than this, the time between two of them is nothing, and a job behind one might wait for long.
const SHORT: Duration = Duration::from_millis(20);

/// Where jobs take less than this, it counts what it costs to wake the engine for each answer, and to have a command stand back for it.
const TINY: Duration = Duration::from_millis(4);

/// With more workers than these, answers come often enough for none to wait long for the next job, and each has one more file open
/// in the engine that can have two.
const FEW: usize = 128;

/// Local workers.
pub struct Local {
    jobs: usize,
    store: PathBuf,
    manner: Manner,
    idle: RefCell<Vec<Worker>>,
    /// Of the workers that have something to do.
    busy: RefCell<Vec<Weak<Queue>>>,
    /// How long jobs take: an average in which the last ones count most. Nothing before the first.
    pace: Cell<Option<Duration>>,
    /// What workers have refused: they would again.
    refused: RefCell<HashSet<ObjectName>>,
    /// One has said that it can run nothing.
    unable: Cell<bool>,
}

impl Local {
    /// A back end that runs `jobs` commands at once.
    pub fn new(jobs: usize, store: &Path, manner: Manner) -> Self {
        Self {
            jobs,
            store: store.into(),
            manner,
            idle: RefCell::default(),
            busy: RefCell::default(),
            pace: Cell::default(),
            refused: RefCell::default(),
            unable: Cell::default(),
        }
    }

    fn start(&self) -> Result<Worker> {
        // Which says nothing there. /dev/null need not exist.
        let nowhere = io::stderr().as_fd().try_clone_to_owned().context("cannot start a worker")?;
        let mut command = Command::new(own::program()?);
        if !self.completes() {
            // What runs there is somebody else's. It must not find this machine's secrets in /proc.
            command.env_clear();
        }
        command.arg("--worker").arg(&self.store).arg("--manner").arg(self.manner.name());
        Worker::start(command.stderr(Stdio::from(nowhere)), self.jobs <= FEW)
    }

    /// Ends the workers and waits for them.
    pub async fn finish(&self) {
        let workers = std::mem::take(&mut *self.idle.borrow_mut());
        for worker in workers {
            worker.finish().await;
        }
    }

    /// For whoever passes on that a thunk could not be run: this, and whether it ever could.
    pub fn broken(&self, name: &ObjectName, why: String) -> Done {
        Done { refused: !self.can_execute(name), ..protocol::Result::Broken(why).into() }
    }

    /// Can anything run here? If not, the result says why.
    ///
    /// # Errors
    /// That cannot be found out.
    pub async fn ready(&self) -> Result<Done> {
        self.converse("").await
    }

    async fn ask(&self, name: &ObjectName) -> Result<Answer> {
        let done = self.converse(&name.to_string()).await?;
        self.read(name, done)
    }

    /// As [`Self::ask`], by a worker that is to end something else before. Nothing, if that takes longer than it seemed: others may
    /// have nothing to do, or only what is less urgent.
    async fn ask_behind(&self, name: &ObjectName) -> Result<Option<Answer>> {
        if !self.idle.borrow().is_empty() {
            return self.ask(name).await.map(Some);
        }
        let has_room = |queue: &Rc<Queue>| queue.ends_within(SHORT) && queue.has_room();
        // No more than a weak reference: whoever waits here hears that the worker is gone by the end of its queue.
        let queue = self.queues().find(has_room).map_or_else(Weak::new, |queue| Rc::downgrade(&queue));
        let turn = queue.upgrade().and_then(|queue| queue.push_behind(&name.to_string()).ok());
        let Some(mut turn) = turn else { return Ok(None) };
        let worker = loop {
            match tokio::time::timeout(SHORT, &mut turn).await {
                Ok(Ok(worker)) => break worker,
                Ok(Err(_)) => return Ok(None),
                // It may have begun just now; or not even what is before it, by a worker that is slow to start.
                Err(_) => {
                    let _ = queue.upgrade().is_some_and(|queue| queue.withdraw());
                }
            }
        };
        let done = self.hear(worker).await?;
        if done.not_begun { Ok(None) } else { self.read(name, done).map(Some) }
    }

    fn read(&self, name: &ObjectName, done: Done) -> Result<Answer> {
        if done.refused {
            self.refused.borrow_mut().insert(*name);
        }
        read_answer(name, done)
    }

    async fn converse(&self, thunk: &str) -> Result<Done> {
        let idle = self.idle.borrow_mut().pop();
        let worker = match idle {
            Some(worker) => worker,
            None => self.start()?,
        };
        if let Err(error) = worker.queue.push(thunk) {
            return Err(worker.died(&error).await);
        }
        self.busy.borrow_mut().push(Rc::downgrade(&worker.queue));
        self.hear(worker).await
    }

    /// What the worker answers; then it goes to the next.
    async fn hear(&self, mut worker: Worker) -> Result<Done> {
        let began = Instant::now();
        let done = match worker.answer().await {
            Ok(done) => done,
            Err(error) => return Err(worker.died(&error).await),
        };
        if !done.not_begun {
            let took = began.elapsed();
            self.pace.set(Some(self.pace.get().map_or(took, |pace| (pace * 3 + took) / 4)));
        }
        if done.unable {
            self.unable.set(true);
        }
        if let Some(protocol::Result::Failed(_) | protocol::Result::Broken(_)) = done.result {
            // After a failure nothing may be wanted.
            self.queues().for_each(|queue| {
                queue.withdraw();
            });
        }
        if let Some(worker) = worker.pass_on() {
            self.rest(worker);
        }
        Ok(done)
    }

    /// The worker has nothing to do.
    fn rest(&self, worker: Worker) {
        let is_other = |queue: &Weak<Queue>| queue.as_ptr() != Rc::as_ptr(&worker.queue);
        // Those that were dropped are gone too.
        self.busy.borrow_mut().retain(|queue| is_other(queue) && queue.strong_count() > 0);
        self.idle.borrow_mut().push(worker);
        // What waits behind another one need not: one such.
        let _ = self.queues().any(|queue| queue.withdraw());
    }

    /// Those of busy workers.
    fn queues(&self) -> impl Iterator<Item = Rc<Queue>> {
        let queues: Vec<_> = self.busy.borrow().iter().filter_map(Weak::upgrade).collect();
        queues.into_iter()
    }
}

impl Backend for Local {
    fn label(&self) -> &str {
        "local"
    }

    fn job_count(&self) -> usize {
        self.jobs
    }

    fn room_behind(&self) -> usize {
        if self.pace.get().is_none_or(|pace| pace >= SHORT) {
            return 0;
        }
        self.queues().filter(|queue| queue.ends_within(SHORT)).count()
    }

    fn leisure(&self) -> Duration {
        let Some(pace) = self.pace.get().filter(|pace| *pace < TINY) else { return Duration::ZERO };
        let queues: Vec<_> = self.queues().collect();
        if queues.len() < self.jobs || queues.iter().any(|queue| queue.has_room()) {
            return Duration::ZERO;
        }
        // When one of them last took up its next job, each had another one behind: none is at its end before about as long as one takes.
        let since = queues.iter().map(|queue| queue.runs_for()).min();
        (pace / 2).saturating_sub(since.unwrap_or(pace))
    }

    fn can_execute(&self, thunk: &ObjectName) -> bool {
        !self.unable.get() && !self.refused.borrow().contains(thunk)
    }

    fn completes(&self) -> bool {
        !matches!(self.manner, Manner::FarAway | Manner::Translated)
    }

    fn force(&self, thunk: ObjectName) -> Forcing<'_> {
        Box::pin(async move { self.ask(&thunk).await.into() })
    }

    fn force_behind(&self, thunk: ObjectName) -> ForcingBehind<'_> {
        Box::pin(async move { self.ask_behind(&thunk).await.transpose().map(Answer::from) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_may_wait_while_short_jobs_wait_behind_short_jobs() {
        let local = Local::new(2, Path::new("/nowhere"), Manner::Bare);
        let queues = [(); 2].map(|()| Rc::new(Queue::waiting().unwrap()));
        let tiny = Duration::from_millis(3);
        let leisure = |pace| {
            local.pace.set(pace);
            local.leisure()
        };
        assert_eq!(leisure(Some(tiny)), Duration::ZERO);
        local.busy.borrow_mut().extend(queues.iter().map(Rc::downgrade));
        let _turns = [queues[0].push_behind("a").unwrap()];
        assert_eq!(leisure(Some(tiny)), Duration::ZERO, "one has nothing behind what it does");
        let _turn = queues[1].push_behind("b").unwrap();
        assert_eq!(leisure(None), Duration::ZERO);
        assert_eq!(leisure(Some(TINY)), Duration::ZERO);
        queues.iter().for_each(|queue| queue.push("c").unwrap());
        assert!((1..=tiny.as_micros() / 2).contains(&leisure(Some(tiny)).as_micros()));
        std::thread::sleep(tiny / 2);
        assert_eq!(leisure(Some(tiny)), Duration::ZERO);
    }
}
