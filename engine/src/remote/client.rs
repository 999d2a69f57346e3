// SPDX-License-Identifier: Apache-2.0
//! The back end on another machine: connections to a worker host, one for each job under way. Gives it what it lacks, takes
//! the outputs, believes neither without looking.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use thunk::{ObjectName, Store};
use tokio::net::TcpStream;

use super::message::{self, Body, Hello, Received, VERSION};
use super::stream::{Security, Stream};
use crate::backend::{Answer, Backend, Forcing};
use crate::distant::{self, Limits};
use crate::{needs, worker};

/// Until both know who the other is.
const GREETING: Duration = Duration::from_secs(10);
/// Nothing that a command writes is larger.
const LARGEST: u64 = 1 << 40;

/// A worker host.
pub struct Remote {
    store: Rc<Store>,
    address: String,
    label: String,
    jobs: usize,
    security: Security,
    idle: RefCell<Vec<Stream>>,
    limits: Limits,
}

impl Remote {
    /// The worker host at `HOST:PORT`. Without `jobs` it says how many commands it runs; if it does not answer now, it may
    /// later, and one is sent to it to find out: the reason is given too.
    pub async fn open(
        store: Rc<Store>,
        address: &str,
        jobs: Option<usize>,
        security: Security,
    ) -> (Self, Option<anyhow::Error>) {
        let label = format!("remote={address}");
        let idle = RefCell::default();
        let (address, slots, limits) = (address.into(), jobs.unwrap_or(1), Limits::default());
        let mut remote = Self { store, address, label, jobs: slots, security, idle, limits };
        match remote.connect().await {
            Ok((stream, slots)) => {
                remote.jobs = jobs.unwrap_or(slots as usize).max(1);
                remote.idle.borrow_mut().push(stream);
                (remote, None)
            }
            Err(error) => (remote, Some(error)),
        }
    }

    async fn connect(&self) -> Result<(Stream, u32)> {
        let socket = Security::call(&self.address).await?;
        // From here on it is there: what fails now would fail again.
        let greeted =
            tokio::time::timeout(GREETING, self.greet(socket)).await.context("it does not answer")?;
        if greeted.is_err() {
            self.limits.close();
        }
        greeted
    }

    async fn greet(&self, socket: TcpStream) -> Result<(Stream, u32)> {
        let mut stream = self.security.connect(socket).await?;
        message::send(&mut stream, Body::Hello(Hello { version: VERSION, slots: 0 })).await?;
        // One that does not know us says goodbye here.
        let hello = message::receive_hello(&mut stream).await.context("it refuses, or is no worker")?;
        Ok((stream, hello.slots))
    }

    async fn ask(&self, thunk: &ObjectName) -> Result<Answer> {
        let idle = self.idle.borrow_mut().pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => self.connect().await?.0,
        };
        let answer = self.converse(&mut stream, thunk).await?;
        // Who broke says no more.
        if !matches!(answer, Answer::Broken(_)) {
            self.idle.borrow_mut().push(stream);
        }
        Ok(answer)
    }

    async fn converse(&self, stream: &mut Stream, thunk: &ObjectName) -> Result<Answer> {
        message::send(stream, Body::Job(thunk.to_string())).await?;
        let mut given = None;
        loop {
            match message::expect(stream).await? {
                Body::Alive(_) => {}
                Body::Lacking(names) => {
                    let needed = match &mut given {
                        Some(needed) => needed,
                        None => given.insert(needs::all(&self.store, thunk)?),
                    };
                    self.give(stream, needed, &names.names).await?;
                }
                Body::Piece(first) => {
                    let received = message::receive_object(stream, &self.store, first, LARGEST).await?;
                    if let Received::Unstored(why) = received {
                        return Err(why);
                    }
                }
                Body::Done(done) => {
                    if done.refused {
                        self.limits.exclude(*thunk);
                    }
                    let answer = worker::read_answer(thunk, done)?;
                    if let Answer::Reduced { reduction, completed } = &answer {
                        distant::accept(&self.store, thunk, reduction, completed.is_empty(), |name| {
                            self.store.contains(name)
                        })?;
                    }
                    return Ok(answer);
                }
                _ => bail!("it speaks out of turn"),
            }
        }
    }

    /// Nobody gets more of the store than the thunk needs.
    async fn give(&self, stream: &mut Stream, needed: &BTreeSet<ObjectName>, names: &[String]) -> Result<()> {
        for name in names {
            let name: ObjectName = name.parse()?;
            if !needed.contains(&name) {
                bail!("it asks for {name}, which is no business of the thunk");
            }
            message::send_object(stream, &self.store, &name, false).await?;
        }
        Ok(())
    }
}

impl Backend for Remote {
    fn label(&self) -> &str {
        &self.label
    }

    fn job_count(&self) -> usize {
        self.jobs
    }

    fn copies_may_help(&self) -> bool {
        true
    }

    fn can_execute(&self, thunk: &ObjectName) -> bool {
        self.limits.allow(&self.store, thunk)
    }

    fn force(&self, thunk: ObjectName) -> Forcing<'_> {
        Box::pin(async move { self.ask(&thunk).await.into() })
    }
}
