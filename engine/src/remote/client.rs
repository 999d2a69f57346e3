// SPDX-License-Identifier: Apache-2.0
//! The back end on another machine: connections to a worker host, one for each job under way. Gives it what it lacks, takes
//! the outputs, believes neither without looking.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use thunk::{ObjectName, Reduction, Store};
use tokio::net::TcpStream;

use super::message::{self, Body, Hello, VERSION};
use super::stream::{Security, Stream};
use crate::backend::{Answer, Backend, Forcing};
use crate::{needs, worker};

/// A worker host that says nothing for so long is gone: it says that it lives more often.
const SILENCE: Duration = Duration::from_secs(30);
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
    /// It is there, but will not work for us.
    refused: Cell<bool>,
    /// What it has said that it can never run.
    unfit: RefCell<HashSet<ObjectName>>,
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
        let (address, slots, refused) = (address.into(), jobs.unwrap_or(1), Cell::new(false));
        let mut remote =
            Self { store, address, label, jobs: slots, security, idle, refused, unfit: RefCell::default() };
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
            self.refused.set(true);
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
        self.idle.borrow_mut().push(stream);
        Ok(answer)
    }

    async fn converse(&self, stream: &mut Stream, thunk: &ObjectName) -> Result<Answer> {
        message::send(stream, Body::Job(thunk.to_string())).await?;
        let mut given = None;
        loop {
            match receive(stream).await? {
                Body::Alive(_) => {}
                Body::Lacking(names) => {
                    let needed = match &mut given {
                        Some(needed) => needed,
                        None => given.insert(needs::all(&self.store, thunk)?),
                    };
                    self.give(stream, needed, &names.names).await?;
                }
                Body::Piece(first) => {
                    message::receive_object(stream, &self.store, first, LARGEST).await?;
                }
                Body::Done(done) => {
                    if done.refused {
                        self.unfit.borrow_mut().insert(*thunk);
                    }
                    let answer = worker::read_answer(thunk, done)?;
                    if let Answer::Reduced { reduction, completed } = &answer {
                        self.accept(thunk, reduction, completed.is_empty())?;
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

    /// The reduction becomes the store's, if it is one of this thunk and its outputs have come.
    fn accept(&self, name: &ObjectName, reduction: &Reduction, alone: bool) -> Result<()> {
        let thunk = self.store.thunk(name)?;
        if !alone {
            bail!("it completed the inputs from files of its own");
        }
        for output in &reduction.outputs {
            if !thunk.outputs.contains(&output.path) && !thunk.optional_outputs.contains(&output.path) {
                bail!("it gives {}, which is no output", output.path.display());
            }
            if !self.store.contains(&output.value) {
                bail!("it keeps the content of {}", output.path.display());
            }
        }
        if let Some(path) = thunk.outputs.iter().find(|path| reduction.output(Some(path)).is_none()) {
            bail!("it does not give {}", path.display());
        }
        Ok(self.store.put_reduction(name, reduction)?)
    }
}

async fn receive(stream: &mut Stream) -> Result<Body> {
    let received = tokio::time::timeout(SILENCE, message::receive(stream)).await;
    received.context("it has fallen silent")??.context("the connection was closed")
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

    /// What was learned, or completed before, may need files that only this machine has.
    fn can_execute(&self, thunk: &ObjectName) -> bool {
        !self.refused.get()
            && !self.unfit.borrow().contains(thunk)
            && self.store.completion(thunk).is_empty()
            && !self.store.thunk(thunk).is_ok_and(|thunk| thunk.learned)
    }

    fn force(&self, thunk: ObjectName) -> Forcing<'_> {
        Box::pin(async move {
            match self.ask(&thunk).await {
                Ok(answer) => answer,
                Err(error) => Answer::Broken(format!("{error:#}")),
            }
        })
    }
}
