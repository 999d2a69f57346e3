// SPDX-License-Identifier: Apache-2.0
//! The back end on AWS Lambda: sees to it that the storage has what a thunk needs, calls the function, takes the outputs. Unaware of
//! the graph, and of how the function does it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use prost::Message as _;
use serde_json::Value;
use storage::Traffic;
use thunk::{ObjectName, Store};

use super::aws::Service;
use super::calls::Calls;
use super::cost::Cost;
use super::fault::Fault;
use super::message::{self, Answer, Event, VERSION};
use super::uploads::{Provided, Uploads};
use crate::backend::{self, Backend, Forcing};
use crate::distant::{self, Limits};
use crate::protocol::Done;
use crate::sharing::Sharing;
use crate::worker;

/// Calls at once: a tenth of what a new account may have.
const JOBS: usize = 100;
/// With how many calls the function may fail for one thunk. The first failure is often a matter of the instance.
const CRASHES: u32 = 3;
/// The same where its time was up: the second time, it has its inputs.
const LATE: u32 = 2;
/// How often the function may miss something in the storage for one thunk: what a tree holds it knows only once it has the tree.
const REPAIRS: u32 = 4;
/// What a function has that never answered, for the bill.
const MEMORY: u64 = 2048;

/// Our function in one region.
pub struct Lambda {
    store: Rc<Store>,
    sharing: Rc<Sharing>,
    uploads: Uploads,
    /// The storage, as the function is told.
    uri: String,
    service: Service,
    label: String,
    jobs: usize,
    calls: Calls,
    cost: Cell<Cost>,
    /// The function's memory, as it said last.
    memory: Cell<u64>,
    /// What functions said that they moved.
    traffic: Cell<Traffic>,
    limits: Limits,
}

impl Lambda {
    /// The function in this region, or the user's. What keeps it from being called is told too.
    ///
    /// # Errors
    /// There is no region, or no storage that it could reach.
    pub async fn open(
        store: Rc<Store>,
        region: Option<&str>,
        jobs: Option<usize>,
        storage: Option<(&Rc<Sharing>, &str)>,
    ) -> Result<(Self, Option<String>)> {
        let reachable = storage.filter(|(_, uri)| !uri.starts_with("file:"));
        let (sharing, uri) = reachable
            .context("it needs a storage that functions reach too: --storage s3://… or redis://…")?;
        let service = Service::open(region, "--engine lambda=REGION").await?;
        allow_connections();
        let jobs = jobs.unwrap_or(JOBS).max(1);
        let lambda = Self {
            uploads: Uploads::new(Rc::clone(&store), Rc::clone(sharing), uri),
            sharing: Rc::clone(sharing),
            uri: uri.into(),
            label: format!("lambda={}", service.region),
            service,
            jobs,
            calls: Calls::new(jobs),
            cost: Cell::default(),
            memory: Cell::new(MEMORY),
            traffic: Cell::default(),
            limits: Limits::default(),
            store,
        };
        let fault = lambda.calls.call(|| lambda.service.probe()).await.err();
        if let Some(Fault::Refused(_)) = fault {
            lambda.limits.close();
        }
        Ok((lambda, fault.map(|fault| fault.why().to_owned())))
    }

    async fn ask(&self, thunk: &ObjectName) -> Result<backend::Answer> {
        let (mut event, mut provided) = self.event(thunk).await?;
        let (mut crashes, mut late, mut repairs) = (0, 0, 0);
        loop {
            let why = match self.calls.call(|| self.invoke(&event)).await {
                Ok(answer) if answer.lacking.is_empty() => return self.take(thunk, answer).await,
                Ok(answer) => {
                    repairs += 1;
                    if repairs > REPAIRS {
                        bail!("the function does not find in the storage what was put there");
                    }
                    let lacking = answer.lacking.iter().map(|name| name.parse());
                    let lacking = lacking.collect::<thunk::Result<Vec<ObjectName>>>()?;
                    let repaired = self.uploads.repair(thunk, &lacking, &provided).await;
                    repaired.context("inputs cannot be uploaded")?;
                    (event, provided) = self.event(thunk).await?;
                    continue;
                }
                Err(Fault::Crashed(why)) => {
                    crashes += 1;
                    why
                }
                Err(Fault::Late(why)) => {
                    late += 1;
                    why
                }
                Err(Fault::Refused(why)) => {
                    self.limits.close();
                    bail!(why);
                }
                Err(Fault::Throttled(why) | Fault::Unavailable(why)) => bail!(why),
            };
            if crashes == CRASHES || late == LATE {
                self.limits.exclude(*thunk);
                bail!(why);
            }
        }
    }

    /// What the function is told, after all that the thunk needs was uploaded; and how that is provided.
    async fn event(&self, thunk: &ObjectName) -> Result<(Value, Provided)> {
        let mut provided = self.uploads.provide(thunk).await.context("inputs cannot be uploaded")?;
        let event = Event {
            version: VERSION,
            storage: self.uri.clone(),
            thunk: thunk.to_string(),
            contents: std::mem::take(&mut provided.contents),
            packs: provided.packs.iter().map(ObjectName::to_string).collect(),
        };
        Ok((message::to_json(&event), provided))
    }

    /// One call, and what it costs.
    async fn invoke(&self, event: &Value) -> Result<Answer, Fault> {
        let mut call = Call { lambda: self, started: Instant::now(), ended: false };
        let said = self.service.invoke(event).await;
        call.ended = true;
        let answer = match said {
            Ok(said) => match message::from_json::<Answer>(&said) {
                Ok(answer) if answer.version == VERSION => answer,
                Ok(answer) => {
                    return Err(Fault::Refused(format!(
                        "the function is of another version of gg ({}, not {VERSION}): ggforce deploy updates it",
                        answer.version
                    )));
                }
                Err(error) => return Err(Fault::Crashed(format!("what the function says: {error:#}"))),
            },
            Err(fault) => {
                if let Fault::Crashed(_) | Fault::Late(_) = fault {
                    self.pay(call.started.elapsed(), self.memory.get());
                }
                return Err(fault);
            }
        };
        self.pay(Duration::from_millis(answer.millis), answer.memory);
        self.memory.set(answer.memory);
        let Traffic { requests, up, down } = self.traffic.get();
        self.traffic.set(Traffic {
            requests: requests + answer.requests,
            up: up + answer.up,
            down: down + answer.down,
        });
        if answer.late { Err(Fault::Late("the function's time was up".into())) } else { Ok(answer) }
    }

    fn pay(&self, took: Duration, memory: u64) {
        let mut cost = self.cost.get();
        cost.add(took, memory);
        self.cost.set(cost);
    }

    /// The answer's outputs come into the store; nothing else that it holds does.
    async fn take(&self, thunk: &ObjectName, answer: Answer) -> Result<backend::Answer> {
        let done = match answer.done {
            Some(done) => done,
            None => {
                let name: ObjectName = answer.done_at.parse()?;
                self.fetch(&[name]).await?;
                Done::decode(self.store.read(&name)?.as_slice())?
            }
        };
        self.limits.note(&self.store, thunk, &done);
        let done = worker::read_answer(thunk, done)?;
        if let backend::Answer::Reduced { reduction, completed } = &done {
            let values: BTreeSet<ObjectName> = reduction.outputs.iter().map(|output| output.value).collect();
            if self.sharing.home().wants(thunk) {
                for content in &answer.contents {
                    content
                        .put(&self.store, |name| values.contains(name))
                        .context("what the function gives")?;
                }
                self.fetch(&values.iter().copied().collect::<Vec<_>>()).await?;
            }
            self.sharing.note(values);
            let there = |name: &ObjectName| self.store.contains(name) || self.sharing.knows(name);
            distant::accept(&self.store, thunk, reduction, completed.is_empty(), there)?;
        }
        Ok(done)
    }

    async fn fetch(&self, names: &[ObjectName]) -> Result<()> {
        match self.sharing.fetch_objects(names).await?.first() {
            None => Ok(()),
            Some(name) => bail!("the storage does not have {name}, which the function put there"),
        }
    }
}

impl Backend for Lambda {
    fn label(&self) -> &str {
        &self.label
    }

    fn job_count(&self) -> usize {
        self.jobs
    }

    fn copies_may_help(&self) -> bool {
        true
    }

    fn ends_what_is_given_up(&self) -> bool {
        false
    }

    fn can_execute(&self, thunk: &ObjectName) -> bool {
        self.limits.allow(&self.store, thunk)
    }

    fn force(&self, thunk: ObjectName) -> Forcing<'_> {
        Box::pin(async move { self.ask(&thunk).await.into() })
    }

    fn dollars(&self) -> Option<f64> {
        Some(self.cost.get().dollars())
    }

    fn report(&self) -> Vec<String> {
        if self.cost.get() == Cost::default() {
            return Vec::new();
        }
        let Traffic { requests, up, down } = self.traffic.get();
        let (up, down) = (up.div_ceil(1024), down.div_ceil(1024));
        vec![
            format!("{}: {} without the storage", self.label, self.cost.get()),
            format!("{}: {requests} requests to the storage, {up} KB stored, {down} KB fetched", self.label),
        ]
    }
}

/// A call under way. Lambda has no way to stop one: who waits for it no more (another copy was faster, somebody pressed
/// Ctrl-C) pays for it all the same, and more than for the time until then.
struct Call<'a> {
    lambda: &'a Lambda,
    started: Instant,
    ended: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.lambda.pay(self.started.elapsed(), self.lambda.memory.get());
        }
    }
}

/// Each call under way is a connection: as many as the system lets this process have.
fn allow_connections() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both get a pointer to a structure that lives as long as the call.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
