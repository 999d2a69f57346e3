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
        Worker::start(command.stderr(Stdio::from(nowhere)))
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

    /// As [`Self::ask`], by a worker that is to end something else before.
    async fn ask_behind(&self, name: &ObjectName) -> Result<Option<Answer>> {
        let queue = self
            .busy
            .borrow()
            .iter()
            .find(|queue| queue.upgrade().is_some_and(|queue| queue.has_room()))
            .cloned();
        let queue = queue.filter(|_| self.idle.borrow().is_empty()).unwrap_or_default();
        // If it has died, another one is started.
        let Some(Ok(mut turn)) = queue.upgrade().map(|queue| queue.push_behind(&name.to_string())) else {
            return self.ask(name).await.map(Some);
        };
        let worker = loop {
            match tokio::time::timeout(SHORT, &mut turn).await {
                Ok(Ok(worker)) => break worker,
                Ok(Err(_)) => return Ok(None),
                Err(_) => self.relieve(),
            }
        };
        let done = self.hear(worker).await?;
        if done.not_begun { Ok(None) } else { self.read(name, done).map(Some) }
    }

    /// If a worker has nothing to do and something waits behind what another one does, it need not. A worker that has not taken the
    /// job before it cannot be relieved yet.
    fn relieve(&self) {
        if !self.idle.borrow().is_empty() {
            let mut relieved = false;
            self.each_queue(|queue| relieved = relieved || queue.withdraw());
        }
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
        let took = began.elapsed();
        self.pace.set(Some(self.pace.get().map_or(took, |pace| (pace * 3 + took) / 4)));
        if done.unable {
            self.unable.set(true);
        }
        if !matches!(done.result, Some(protocol::Result::Reduced(_))) {
            // After a failure nothing may be wanted.
            self.each_queue(|queue| {
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
        self.relieve();
    }

    fn each_queue(&self, mut act: impl FnMut(&Queue)) {
        self.busy.borrow().iter().filter_map(Weak::upgrade).for_each(|queue| act(&queue));
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
        if self.pace.get().is_some_and(|pace| pace < SHORT) { self.jobs } else { 0 }
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
