// SPDX-License-Identifier: Apache-2.0
//! A worker process as the engine has it. Jobs go to it as packets, answers come back as a stream. Whoever owns a [`Worker`]
//! awaits its answer; one more may wait for it in its [`Queue`], with a job that the worker takes as soon as it has answered. Knows
//! nothing of who is to get which worker.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use nix::sys::socket::{MsgFlags, recv};
use socket2::{Domain, Socket, Type};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::protocol::{self, Done, Job, LONGEST};

/// A worker that says no more has ended, or is about to.
const PARTING: Duration = Duration::from_secs(1);
const NO_SOCKET: &str = "cannot make a socket";

/// It ends, and ends its command, when this is dropped: were it killed, what the command has started would go on where
/// there are no namespaces.
pub struct Worker {
    answers: UnixStream,
    /// What it has said beyond the last answer.
    said: Vec<u8>,
    process: Child,
    /// Its jobs. Others have weak references to it.
    pub queue: Rc<Queue>,
}

/// Jobs on their way to a worker.
pub struct Queue {
    jobs: Socket,
    /// The worker's own end: what is taken from here it never sees. None, where nothing is put behind what it does.
    taken: Option<Socket>,
    /// Since when it has what it does now, as far as the engine knows.
    began: Cell<Instant>,
    /// The job behind the one that runs.
    next: RefCell<Option<Next>>,
}

struct Next {
    /// As it was sent.
    job: Vec<u8>,
    /// Gets the worker, for the answer.
    turn: oneshot::Sender<Worker>,
}

impl Worker {
    /// Starts one; the command is all but what it reads and writes. `takes_two`: one more job may be put behind what it does.
    pub fn start(command: &mut Command, takes_two: bool) -> Result<Self> {
        let (ours, theirs) = StdUnixStream::pair().context(NO_SOCKET)?;
        ours.set_nonblocking(true).context(NO_SOCKET)?;
        let (mut queue, theirs_too) = Queue::new().context(NO_SOCKET)?;
        if takes_two {
            queue.taken = Some(theirs_too.try_clone().context(NO_SOCKET)?);
        }
        let process = command
            .stdin(Stdio::from(OwnedFd::from(theirs_too)))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            // Ctrl-C is for the engine, which then ends its workers.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.as_std().get_program().display()))?;
        let answers = UnixStream::from_std(ours).context(NO_SOCKET)?;
        Ok(Self { answers, said: Vec::with_capacity(4096), process, queue: Rc::new(queue) })
    }

    /// What it answers to the job that it has had the longest. Head and body come together, nearly always; so may the answer to
    /// the next job.
    pub async fn answer(&mut self) -> io::Result<Done> {
        loop {
            if let Some(done) = protocol::take(&mut self.said)? {
                return Ok(done);
            }
            if self.answers.read_buf(&mut self.said).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// How it ended.
    pub async fn died(mut self, error: &io::Error) -> anyhow::Error {
        let status = tokio::time::timeout(PARTING, self.process.wait()).await;
        match status {
            Ok(Ok(status)) if status.signal() == Some(libc::SIGKILL) => {
                anyhow!("the worker was killed (for want of memory, perhaps)")
            }
            Ok(Ok(status)) => anyhow!("the worker has died ({status})"),
            _ => anyhow!("the worker says no more ({error})"),
        }
    }

    /// Ends it and waits for it: what it used is counted as this process's.
    pub async fn finish(self) {
        let Self { answers, mut process, queue, .. } = self;
        drop((answers, queue));
        if tokio::time::timeout(Duration::from_secs(5), process.wait()).await.is_err() {
            // It may have ended in this moment.
            let _ = process.start_kill();
        }
    }

    /// Gives it to whoever waits for it, if anybody does: else it has nothing to do, and comes back.
    pub fn pass_on(self) -> Option<Self> {
        self.queue.began.set(Instant::now());
        let next = self.queue.next.take();
        match next {
            None => Some(self),
            Some(Next { job, turn }) => match turn.send(self) {
                Ok(()) => None,
                // Nobody awaits that answer any more.
                Err(worker) => worker.queue.take_back(&job).then_some(worker),
            },
        }
    }
}

impl Queue {
    /// And the worker's end of it.
    fn new() -> io::Result<(Self, Socket)> {
        let (jobs, theirs) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None)?;
        // It never holds more than two.
        jobs.set_nonblocking(true)?;
        Ok((Self { jobs, taken: None, began: Cell::new(Instant::now()), next: RefCell::default() }, theirs))
    }

    /// Of a worker that takes nothing.
    #[cfg(test)]
    pub fn waiting() -> io::Result<Self> {
        let (queue, taken) = Self::new()?;
        Ok(Self { taken: Some(taken), ..queue })
    }

    /// Gives the worker, which has none, a job.
    pub fn push(&self, thunk: &str) -> io::Result<()> {
        self.began.set(Instant::now());
        self.send(thunk, false).map(drop)
    }

    fn send(&self, thunk: &str, behind: bool) -> io::Result<Vec<u8>> {
        let job = protocol::frame(&Job { thunk: thunk.into(), behind });
        self.jobs.send(&job)?;
        Ok(job)
    }

    /// For how long it has had what it does now.
    pub fn runs_for(&self) -> Duration {
        self.began.get().elapsed()
    }

    /// May something be behind what runs, if that takes no longer than this?
    pub fn ends_within(&self, time: Duration) -> bool {
        self.taken.is_some() && self.runs_for() < time
    }

    /// Is nothing behind what runs, or can be taken back since nobody waits for it?
    pub fn has_room(&self) -> bool {
        let given_up = self.next.borrow().as_ref().map(|next| next.turn.is_closed());
        match given_up {
            None => true,
            Some(given_up) => given_up && self.withdraw(),
        }
    }

    /// Gives the worker a job that it takes when it has answered the one that it has; there must be room. Then the worker
    /// comes, for its answer; or nothing, if the job was withdrawn or the worker is no more.
    pub fn push_behind(&self, thunk: &str) -> io::Result<oneshot::Receiver<Worker>> {
        let job = self.send(thunk, true)?;
        let (turn, gets) = oneshot::channel();
        self.next.replace(Some(Next { job, turn }));
        Ok(gets)
    }

    /// Takes back the job behind the one that runs, unless there is none or it has begun.
    pub fn withdraw(&self) -> bool {
        let taken = self.next.borrow().as_ref().is_some_and(|next| self.take_back(&next.job));
        if taken {
            self.next.take();
        }
        taken
    }

    /// Takes this job back from the worker, if it is the next that it would take.
    fn take_back(&self, job: &[u8]) -> bool {
        let Some(taken) = &self.taken else { return false };
        let mut packet = [0; LONGEST];
        let mut received = |flags| {
            let len = recv(taken.as_raw_fd(), &mut packet, flags | MsgFlags::MSG_DONTWAIT).unwrap_or(0);
            packet[..len] == *job
        };
        // The worker may be slow to take even the one before, and then that would be gone. Jobs only ever get fewer here.
        received(MsgFlags::MSG_PEEK) && received(MsgFlags::empty())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn take(queue: &Queue) -> Job {
        let mut packet = [0; LONGEST];
        let mut taken = queue.taken.as_ref().unwrap();
        let len = taken.read(&mut packet).unwrap();
        protocol::take(&mut packet[..len].to_vec()).unwrap().unwrap()
    }

    #[test]
    fn what_is_behind_can_be_taken_back_until_it_begins() {
        let queue = Queue::waiting().unwrap();
        queue.push("a").unwrap();
        assert!(queue.has_room());
        let mut turn = queue.push_behind("b").unwrap();
        assert!(!queue.has_room());
        // Not even the one before it has been taken.
        assert!(!queue.withdraw());
        assert_eq!(take(&queue), Job { thunk: "a".into(), behind: false });
        assert!(turn.try_recv().is_err_and(|why| why == oneshot::error::TryRecvError::Empty));
        assert!(queue.withdraw());
        assert!(turn.try_recv().is_err_and(|why| why == oneshot::error::TryRecvError::Closed));
        assert!(queue.has_room());
        assert!(!queue.withdraw());

        let turn = queue.push_behind("c").unwrap();
        assert_eq!(take(&queue), Job { thunk: "c".into(), behind: true });
        assert!(!queue.withdraw());
        drop(turn);
        assert!(!queue.has_room(), "it runs, though nobody waits for it");
    }

    #[test]
    fn there_is_room_where_somebody_has_given_up() {
        let queue = Queue::waiting().unwrap();
        queue.push("a").unwrap();
        take(&queue);
        drop(queue.push_behind("b").unwrap());
        assert!(queue.has_room());
        let _turn = queue.push_behind("c").unwrap();
        assert_eq!(take(&queue).thunk, "c");
    }
}
