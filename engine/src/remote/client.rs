// SPDX-License-Identifier: Apache-2.0
//! The back end on another machine: connections to a worker host, one for each job under way. Gives it what it lacks, takes
//! the outputs, believes neither without looking.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use thunk::{ObjectName, Store};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::message::{self, Body, Hello, Received, VERSION};
use super::stream::{Security, Stream};
use crate::backend::{Answer, Backend, Forcing};
use crate::distant::{self, Limits};
use crate::{needs, worker};

/// Until both know who the other is.
const GREETING: Duration = Duration::from_secs(10);
/// So many greetings in a row that were cut short are no accident: it does not want us.
const CUT: u32 = 3;
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
    /// Has it ever greeted us?
    met: Cell<bool>,
    /// Greetings that were cut short since, and when the last one was.
    cut: Cell<(u32, Option<Instant>)>,
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
        let (met, cut) = (Cell::default(), Cell::default());
        let mut remote = Self { store, address, label, jobs: slots, security, idle, limits, met, cut };
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
        let started = Instant::now();
        let socket = Security::call(&self.address).await?;
        let greeted =
            tokio::time::timeout(GREETING, self.greet(socket)).await.context("it does not answer")?;
        match &greeted {
            Ok(_) => {
                self.met.set(true);
                self.cut.take();
            }
            // It is there: what it says now it would say again.
            Err(error) if !is_cut(error) || self.is_cut_again(started) => self.limits.close(),
            Err(_) => {}
        }
        greeted
    }

    /// A greeting that began then was cut short. Is that what always happens? Those that were cut together count once.
    fn is_cut_again(&self, started: Instant) -> bool {
        let (mut count, last) = self.cut.get();
        if last.is_none_or(|last| last <= started) {
            count += 1;
            self.cut.set((count, Some(Instant::now())));
        }
        count >= CUT
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
                    self.give(stream, thunk, needed, &names.names).await?;
                }
                Body::Piece(first) => {
                    let received = message::receive_object(stream, &self.store, first, LARGEST).await?;
                    if let Received::Unstored(why) = received {
                        return Err(why);
                    }
                }
                Body::Done(done) => {
                    self.limits.note(&self.store, thunk, &done);
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

    /// Nobody gets more of the store than the thunk needs. What the store has lost no host can do without.
    async fn give(
        &self,
        stream: &mut Stream,
        thunk: &ObjectName,
        needed: &BTreeSet<ObjectName>,
        names: &[String],
    ) -> Result<()> {
        for name in names {
            let name: ObjectName = name.parse()?;
            if !needed.contains(&name) {
                bail!("it asks for {name}, which is no business of the thunk");
            }
            if let Err(lost) = message::send_object(stream, &self.store, &name, false).await? {
                self.limits.exclude(*thunk);
                return Err(lost.into());
            }
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

    fn is_met(&self) -> bool {
        self.met.get()
    }

    fn can_execute(&self, thunk: &ObjectName) -> bool {
        self.limits.allow(&self.store, thunk)
    }

    fn force(&self, thunk: ObjectName) -> Forcing<'_> {
        Box::pin(async move { self.ask(&thunk).await.into() })
    }
}

/// Did the connection end before anything was said that tells why? The network may have failed, or the worker host ended.
fn is_cut(error: &anyhow::Error) -> bool {
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kind.is_some_and(|kind| {
        let cut = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted];
        cut.contains(&kind) || matches!(kind, ErrorKind::BrokenPipe | ErrorKind::TimedOut)
    })
}

#[cfg(test)]
mod tests {
    use thunk::{Input, ObjectKind, ReducedOutput, Reduction, Thunk};
    use tokio::net::TcpListener;

    use super::*;
    use crate::protocol::{self, Done};
    use crate::remote::message::{Names, Piece};

    /// What the engine makes of a worker host that, given a job, says this; and what became of the engine's store.
    fn told(
        says: impl FnOnce(&ObjectName) -> Vec<Body>,
    ) -> (Result<Answer>, Rc<Store>, ObjectName, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = Rc::new(Store::open(&dir.path().join("store")).unwrap());
        let input = store.put(ObjectKind::Value, b"input").unwrap();
        let thunk = Thunk {
            function: Some(input),
            args: vec!["t".into()],
            program: Some("/bin/t".into()),
            workdir: Some("/w".into()),
            values: vec![Input { path: "/w/a".into(), value: input }],
            outputs: vec!["/w/b".into()],
            ..Thunk::default()
        };
        let name = store.put_thunk(&thunk).unwrap();
        let says = says(&name);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let worker = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                message::receive_hello(&mut stream).await.unwrap();
                message::send(&mut stream, Body::Hello(Hello { version: VERSION, slots: 1 })).await.unwrap();
                let asked = message::expect(&mut stream).await.unwrap();
                assert_eq!(asked, Body::Job(name.to_string()));
                for body in says {
                    // The engine may have had enough.
                    if message::send(&mut stream, body).await.is_err() {
                        break;
                    }
                }
                while message::receive(&mut stream).await.is_ok_and(|body| body.is_some()) {}
            };
            let engine = async {
                let security = Security::by(None).unwrap();
                let (remote, fault) = Remote::open(Rc::clone(&store), &address, None, security).await;
                assert!(fault.is_none());
                remote.ask(&name).await
            };
            tokio::join!(engine, worker).0
        });
        (answer, store, name, dir)
    }

    fn output(path: &str, content: &[u8]) -> ReducedOutput {
        let value = ObjectName::of(ObjectKind::Value, content);
        ReducedOutput { path: path.into(), value, executable: false }
    }

    fn reduced(outputs: Vec<ReducedOutput>) -> Done {
        let reduction = Reduction { outputs, ..Reduction::default() };
        protocol::Result::Reduced(reduction.encode()).into()
    }

    fn piece(of: &[u8], data: &[u8]) -> Body {
        let name = ObjectName::of(ObjectKind::Value, of).to_string();
        Body::Piece(Piece { name, data: data.into(), ..Piece::default() })
    }

    #[test]
    fn an_honest_worker_is_believed() {
        let says =
            |_: &ObjectName| vec![piece(b"out", b"out"), Body::Done(reduced(vec![output("/w/b", b"out")]))];
        let (answer, store, name, _dir) = told(says);
        assert!(matches!(answer.unwrap(), Answer::Reduced { .. }));
        assert!(store.reduction(&name).is_some());
    }

    #[test]
    fn a_hostile_worker_gets_nothing_and_changes_nothing() {
        let private = ObjectName::of(ObjectKind::Value, b"a key in the store").to_string();
        let completed = |mut done: Done| {
            done.completed = vec![b"/etc/shadow".to_vec()];
            Body::Done(done)
        };
        let out = || piece(b"out", b"out");
        let cases: Vec<(&str, Vec<Body>)> = vec![
            ("no business of the thunk", vec![Body::Lacking(Names { names: vec![private] })]),
            ("", vec![Body::Lacking(Names { names: vec!["../../etc/passwd".into()] })]),
            ("which is no output", vec![out(), Body::Done(reduced(vec![output("/etc/passwd", b"out")]))]),
            (
                "which is no output",
                vec![out(), Body::Done(reduced(vec![output("/w/b", b"out"), output("/w/../x", b"out")]))],
            ),
            ("it does not give /w/b", vec![Body::Done(reduced(Vec::new()))]),
            ("keeps the content", vec![Body::Done(reduced(vec![output("/w/b", b"out")]))]),
            ("", vec![piece(b"out", b"OUT"), Body::Done(reduced(vec![output("/w/b", b"out")]))]),
            ("", vec![piece(b"out", b"out and more")]),
            ("files of its own", vec![out(), completed(reduced(vec![output("/w/b", b"out")]))]),
            ("out of turn", vec![Body::Job("T".into())]),
            ("out of turn", vec![Body::Hello(Hello { version: VERSION, slots: 9 })]),
            ("", vec![Body::Done(protocol::Result::Reduced(vec![0xff; 100]).into())]),
            ("answered nothing", vec![Body::Done(Done::default())]),
        ];
        for (number, (why, says)) in cases.into_iter().enumerate() {
            let (answer, store, name, _dir) = told(|_| says);
            let said = format!("{:#}", answer.err().unwrap_or_else(|| panic!("case {number} is believed")));
            assert!(said.contains(why), "case {number}: {said}");
            assert!(store.reduction(&name).is_none(), "case {number}");
        }
    }
}
