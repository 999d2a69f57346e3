// SPDX-License-Identifier: Apache-2.0
//! The back end on this machine: one worker process per job slot, started when it is first needed, and again after it
//! died. Knows how to talk to workers, not what they do.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use prost::Message as _;
use thunk::ObjectName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::backend::{Answer, Backend, Forcing};
use crate::protocol::{self, Done, Job};
use crate::worker::Manner;
use crate::{own, worker};

/// Local workers.
pub struct Local {
    jobs: usize,
    store: PathBuf,
    manner: Manner,
    idle: RefCell<Vec<Worker>>,
    /// What workers have refused: they would again.
    refused: RefCell<HashSet<ObjectName>>,
    /// One has said that it can run nothing.
    unable: Cell<bool>,
}

struct Worker {
    stream: UnixStream,
    /// It ends, and ends its command, when the stream is closed: were it killed, what the command has started would go
    /// on where there are no namespaces.
    process: Child,
}

impl Local {
    /// A back end that runs `jobs` commands at once.
    pub fn new(jobs: usize, store: &Path, manner: Manner) -> Self {
        let (idle, refused, unable) = (RefCell::default(), RefCell::default(), Cell::default());
        Self { jobs, store: store.into(), manner, idle, refused, unable }
    }

    fn start(&self) -> Result<Worker> {
        let (ours, theirs) = StdUnixStream::pair().context("cannot make a socket")?;
        ours.set_nonblocking(true).context("cannot make a socket")?;
        let program = own::program()?;
        // Which says nothing there. /dev/null need not exist.
        let nowhere = io::stderr().as_fd().try_clone_to_owned().context("cannot start a worker")?;
        let mut command = Command::new(&program);
        if !self.completes() {
            // What runs there is somebody else's. It must not find this machine's secrets in /proc.
            command.env_clear();
        }
        let process = command
            .arg("--worker")
            .arg(&self.store)
            .arg("--manner")
            .arg(self.manner.name())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(nowhere))
            // Ctrl-C is for the engine, which then ends its workers.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Worker { stream: UnixStream::from_std(ours).context("cannot make a socket")?, process })
    }

    /// Ends the workers and waits for them: what they used is counted as this process's.
    pub async fn finish(&self) {
        let workers = std::mem::take(&mut *self.idle.borrow_mut());
        for Worker { stream, mut process } in workers {
            drop(stream);
            if tokio::time::timeout(Duration::from_secs(5), process.wait()).await.is_err() {
                // It may have ended in this moment.
                let _ = process.start_kill();
            }
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
        self.converse(String::new()).await
    }

    async fn ask(&self, name: &ObjectName) -> Result<Answer> {
        let done = self.converse(name.to_string()).await?;
        if done.refused {
            self.refused.borrow_mut().insert(*name);
        }
        worker::read_answer(name, done)
    }

    async fn converse(&self, thunk: String) -> Result<Done> {
        let idle = self.idle.borrow_mut().pop();
        let mut worker = match idle {
            Some(worker) => worker,
            None => self.start()?,
        };
        let job = protocol::frame(&Job { thunk });
        let done = match worker.answer(&job).await {
            Ok(done) => done,
            Err(error) => return Err(worker.died(&error).await),
        };
        let done = Done::decode(done.as_slice())?;
        if done.unable {
            self.unable.set(true);
        }
        self.idle.borrow_mut().push(worker);
        Ok(done)
    }
}

/// A worker that says no more has ended, or is about to.
const PARTING: Duration = Duration::from_secs(1);

impl Worker {
    /// How it ended.
    async fn died(&mut self, error: &io::Error) -> anyhow::Error {
        let status = tokio::time::timeout(PARTING, self.process.wait()).await;
        match status {
            Ok(Ok(status)) if status.signal() == Some(libc::SIGKILL) => {
                anyhow!("the worker was killed (for want of memory, perhaps)")
            }
            Ok(Ok(status)) => anyhow!("the worker has died ({status})"),
            _ => anyhow!("the worker says no more ({error})"),
        }
    }

    /// What it answers to this message. Head and body come together, nearly always.
    async fn answer(&mut self, message: &[u8]) -> io::Result<Vec<u8>> {
        self.stream.write_all(message).await?;
        let mut got = Vec::with_capacity(4096);
        loop {
            if self.stream.read_buf(&mut got).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some((head, body)) = got.split_first_chunk()
                && body.len() >= protocol::body_len(*head)?
            {
                let head = head.len();
                return Ok(got.split_off(head));
            }
        }
    }
}

impl Backend for Local {
    fn label(&self) -> &str {
        "local"
    }

    fn job_count(&self) -> usize {
        self.jobs
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
}
