// SPDX-License-Identifier: Apache-2.0
//! The worker host: takes jobs over the network, brings what they lack into its store, has them run by the same workers as on
//! the recording machine, sends the outputs back. Unaware of the graph and of who else works.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use thunk::{Error, ObjectName, Reduction, Store};
use tokio::io::{AsyncBufReadExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, RwLock, Semaphore};
use tokio::time::Instant;

use super::key::Key;
use super::message::{self, Body, Hello, Names, Received, VERSION};
use super::stream::{Security, Stream};
use crate::backend::{Answer, Backend as _};
use crate::cache::Cache;
use crate::local::Local;
use crate::protocol::{self, Done};
use crate::sharing::Sharing;
use crate::worker::Manner;
use crate::{needs, own};

/// Runs the thunks of engines on other machines (`ggforce --engine remote=HOST:PORT`).
#[derive(Parser)]
#[command(name = "ggforce worker", version)]
pub struct Arguments {
    /// Where to listen. Port 0 is any that is free; the first line on standard output tells which.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "new_key")]
    listen: Option<String>,
    /// The key that engines must hold too [default: ~/.config/gg/key, if it is there]. Without one, only this machine is listened to.
    #[arg(long, value_name = "FILE", env = "GG_KEY")]
    key: Option<PathBuf>,
    /// Make a new key in this file, and do nothing else.
    #[arg(long, value_name = "FILE")]
    new_key: Option<PathBuf>,
    /// Run this many commands at once [default: one per processor].
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
    /// Where to keep what commands need [default: worker, in the user's cache directory for gg].
    #[arg(long, value_name = "DIRECTORY")]
    cache: Option<PathBuf>,
    /// How much of that to keep, in megabytes.
    #[arg(long, value_name = "N", default_value = "10240")]
    cache_size: u64,
    /// A storage that is looked into before an engine is asked for what is lacking.
    #[arg(long, value_name = "URI", env = "GG_STORAGE_URI", hide_env_values = true)]
    storage: Option<String>,
}

/// That a command still runs is said this often.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// An object on its way to somebody else is waited for so long before it is looked for again.
const WAIT: Duration = Duration::from_millis(500);
/// A storage that has failed is looked into again after so long, then after longer,
const FIRST_REST: Duration = Duration::from_secs(1);
/// up to this.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// No object of this size is taken.
const LARGEST: u64 = 1 << 40;

struct Host {
    store: Rc<Store>,
    local: Local,
    cache: Cache,
    storage: Option<Behind>,
    slots: Semaphore,
    jobs: usize,
    security: Security,
    /// Objects that are on their way here for some job.
    coming: RefCell<HashSet<ObjectName>>,
    came: Notify,
    /// Held by every job, and wholly by whoever cleans up.
    in_use: RwLock<()>,
    /// Somebody cleans up, or waits to.
    cleaning: Cell<bool>,
    /// Nobody else's objects are in the store while this is open.
    _lock: File,
}

/// The storage behind the store.
struct Behind {
    uri: String,
    sharing: RefCell<Rc<Sharing>>,
    opened: Cell<Instant>,
    rest: Cell<Duration>,
}

impl Behind {
    async fn open(store: &Rc<Store>, uri: &str) -> Result<Self> {
        Ok(Self {
            uri: uri.into(),
            sharing: RefCell::new(Sharing::open(Rc::clone(store), uri, Rc::default()).await?),
            opened: Cell::new(Instant::now()),
            rest: Cell::new(FIRST_REST),
        })
    }

    /// A host outlives many storages: one that has failed is opened anew.
    async fn get(&self, store: &Rc<Store>) -> Result<Rc<Sharing>> {
        let sharing = Rc::clone(&self.sharing.borrow());
        let (held, rest) = (self.opened.get().elapsed(), self.rest.get());
        if !sharing.is_broken() || held < rest {
            return Ok(sharing);
        }
        self.opened.set(Instant::now());
        self.rest.set(if held > LONGEST_REST * 2 { FIRST_REST } else { (rest * 2).min(LONGEST_REST) });
        let sharing = Sharing::open(Rc::clone(store), &self.uri, Rc::default()).await?;
        self.sharing.replace(Rc::clone(&sharing));
        Ok(sharing)
    }
}

/// `ggforce worker`.
///
/// # Errors
/// It cannot listen there; the key or the store cannot be used.
pub fn main(arguments: &Arguments) -> Result<()> {
    if let Some(path) = &arguments.new_key {
        return Key::create(path);
    }
    own::hide();
    let listen = arguments.listen.as_deref().context("nowhere to listen: --listen HOST:PORT")?;
    let jobs = crate::engines::jobs(arguments.jobs)?;
    let root = match &arguments.cache {
        Some(path) => path.clone(),
        None => thunk::default_store_dir()?.join("worker"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, serve(arguments, listen, jobs, &root))
}

async fn serve(arguments: &Arguments, listen: &str, jobs: usize, root: &Path) -> Result<()> {
    let security = Security::by(Key::find(arguments.key.as_deref())?.as_ref())?;
    let addresses =
        tokio::net::lookup_host(listen).await.with_context(|| format!("{listen}: no such place"))?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    addresses.iter().try_for_each(|address| security.may_listen(*address))?;
    let listener = TcpListener::bind(addresses.as_slice())
        .await
        .with_context(|| format!("cannot listen at {listen}"))?;
    let store = Rc::new(Store::open(root)?);
    let lock = alone(&store)?;
    store.sweep();
    let _ = sandbox::sweep(&store.root().join("sandbox"));
    let storage = match arguments.storage.as_deref().filter(|uri| !uri.is_empty()) {
        Some(uri) => Some(Behind::open(&store, uri).await?),
        None => None,
    };
    let host = Rc::new(Host {
        local: Local::new(jobs, store.root(), Manner::elsewhere()?),
        cache: Cache::new(Rc::clone(&store), arguments.cache_size.saturating_mul(1 << 20)),
        storage,
        slots: Semaphore::new(jobs),
        jobs,
        security,
        coming: RefCell::default(),
        came: Notify::new(),
        in_use: RwLock::new(()),
        cleaning: Cell::new(false),
        _lock: lock,
        store,
    });
    if let Some(protocol::Result::Broken(why)) = host.local.ready().await?.result {
        bail!(why);
    }
    // Who is not told where knows it already.
    let _ = writeln!(std::io::stdout(), "listening at {}", listener.local_addr()?);
    let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let host = Rc::clone(&host);
                    tokio::task::spawn_local(async move {
                        if let Err(error) = host.attend(stream).await {
                            thunk::say!("ggforce worker: {from}: {error:#}");
                        }
                    });
                }
                // Too many connections, perhaps: they end.
                Err(error) => {
                    thunk::say!("ggforce worker: {error}");
                    tokio::time::sleep(WAIT).await;
                }
            },
            _ = tokio::signal::ctrl_c() => break,
            _ = end.recv() => break,
        }
    }
    host.store.files().flush();
    Ok(())
}

/// A host removes from its store what it takes for old: so that must be nobody else's.
fn alone(store: &Store) -> Result<File> {
    let root = store.root().display();
    let path = store.root().join("host");
    let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    if !thunk::try_lock(&lock) {
        bail!("{root}: another worker has its objects there: --cache DIRECTORY names another place");
    }
    let traces = store.root().join("traces");
    if std::fs::read_dir(&traces).is_ok_and(|mut traces| traces.next().is_some()) {
        bail!(
            "{root}: builds are recorded in this store, and a worker would remove what they need: --cache DIRECTORY names another place"
        );
    }
    Ok(lock)
}

impl Host {
    /// One connection, until its other end closes it.
    async fn attend(self: &Rc<Self>, stream: TcpStream) -> Result<()> {
        let mut stream = BufStream::new(self.security.accept(stream).await?);
        let hello = tokio::time::timeout(HEARTBEAT, message::receive_hello(&mut stream)).await;
        hello.context("it does not say what it wants")??;
        let slots = u32::try_from(self.jobs).unwrap_or(u32::MAX);
        message::send(&mut stream, Body::Hello(Hello { version: VERSION, slots })).await?;
        while let Some(body) = message::receive(&mut stream).await? {
            let Body::Job(name) = body else { bail!("it speaks out of turn") };
            let name = name.parse()?;
            let mut done = self.alongside(&mut stream, &name).await;
            if done.as_ref().is_ok_and(may_be_mended) && patiently(&mut stream, self.mend(&name)).await? {
                done = self.alongside(&mut stream, &name).await;
            }
            match done {
                Ok(done) => message::send(&mut stream, Body::Done(done)).await?,
                // The last words here: whether both still know where they are is not known.
                Err(why) => {
                    let broken = protocol::Result::Broken(format!("{why:#}"));
                    let _ = message::send(&mut stream, Body::Done(broken.into())).await;
                    return Err(why);
                }
            }
            if self.cache.is_full() && !self.cleaning.replace(true) {
                // Whoever runs something else may take long, and the next job is to be heard meanwhile.
                let host = Rc::clone(self);
                tokio::task::spawn_local(async move { host.clean_up().await });
            }
        }
        Ok(())
    }

    async fn alongside(&self, stream: &mut BufStream<Stream>, name: &ObjectName) -> Result<Done> {
        let _used = patiently(stream, self.in_use.read()).await?;
        self.job(stream, name).await
    }

    async fn job(&self, stream: &mut BufStream<Stream>, name: &ObjectName) -> Result<Done> {
        self.bring(stream, name).await?;
        self.cache.note(needs::all(&self.store, name)?);
        let is_whole = |reduction: &Reduction| {
            reduction.outputs.iter().all(|output| self.store.verify(&output.value).is_ok())
        };
        let reduction = match self.store.reduction(name).filter(is_whole) {
            Some(reduction) => reduction,
            None => match self.run(stream, name).await? {
                Answer::Reduced { reduction, .. } => reduction,
                Answer::Failed(failed) => return Ok(protocol::Result::Failed(failed).into()),
                Answer::Broken(why) => return Ok(self.local.broken(name, why)),
            },
        };
        self.cache.note(reduction.outputs.iter().map(|output| output.value));
        for output in &reduction.outputs {
            // Of one that is lost here the engine is told, which takes no reduction without it.
            let _ = message::send_object(stream, &self.store, &output.value, output.executable).await?;
        }
        Ok(protocol::Result::Reduced(reduction.encode()).into())
    }

    /// Runs the thunk. If the engine goes away meanwhile, so does the command.
    async fn run(&self, stream: &mut BufStream<Stream>, name: &ObjectName) -> Result<Answer> {
        let slot = self.slots.acquire();
        let running = async {
            let _slot = slot.await;
            self.local.force(*name).await
        };
        let mut running = std::pin::pin!(running);
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.reset();
        loop {
            tokio::select! {
                answer = &mut running => return Ok(answer),
                _ = heartbeat.tick() => message::send(stream, Body::Alive(true)).await?,
                // Nothing is to come now but the end.
                read = stream.fill_buf() => {
                    let ended = read.map_or(true, <[u8]>::is_empty);
                    bail!(if ended { "it went away before the command's end" } else { "it speaks out of turn" });
                }
            }
        }
    }

    /// Brings all that the thunk needs into the store: from the storage, else from the engine.
    async fn bring(&self, stream: &mut BufStream<Stream>, name: &ObjectName) -> Result<()> {
        loop {
            let lacking = match needs::lacking(&self.store, name) {
                // A thunk or a tree: nobody can work with it as it is.
                Err(Error::Corrupt { path, .. }) => {
                    self.remove_damaged(&named(&path)?)?;
                    continue;
                }
                told => told?,
            };
            if lacking.is_empty() {
                return Ok(());
            }
            let mine = Coming::of(self, &lacking);
            if mine.names.is_empty() {
                message::send(stream, Body::Alive(true)).await?;
                let _ = tokio::time::timeout(WAIT, self.came.notified()).await;
                continue;
            }
            let sharing = match &self.storage {
                Some(storage) => {
                    let sharing = storage.get(&self.store).await;
                    sharing.inspect_err(|error| thunk::say!("ggforce worker: {error:#}")).ok()
                }
                None => None,
            };
            let asked = match &sharing {
                Some(sharing) => patiently(stream, sharing.fetch_objects(&mine.names)).await??,
                None => mine.names.clone(),
            };
            if !asked.is_empty() {
                self.ask(stream, &asked).await?;
            }
            for complaint in sharing.iter().flat_map(|sharing| sharing.complaints()) {
                thunk::say!("ggforce worker: {complaint}");
            }
        }
    }

    async fn ask(&self, stream: &mut BufStream<Stream>, asked: &[ObjectName]) -> Result<()> {
        let names = asked.iter().map(ObjectName::to_string).collect();
        message::send(stream, Body::Lacking(Names { names })).await?;
        let mut unstored = None;
        for name in asked {
            let Body::Piece(first) = message::expect(stream).await? else {
                bail!("it does not send what was asked for")
            };
            if first.name != name.to_string() {
                bail!("it sends {} for {name}", first.name.chars().take(64).collect::<String>());
            }
            match message::receive_object(stream, &self.store, first, LARGEST).await? {
                Received::Stored => {}
                Received::Absent => bail!("it lacks {name} itself"),
                Received::Unstored(why) => unstored = unstored.or(Some(why)),
            }
        }
        unstored.map_or(Ok(()), Err)
    }

    /// A job came to nothing: if an object that it needs is damaged, by a fault of the disk, say, that goes, so that it
    /// can be brought again. Tells whether there was one.
    async fn mend(&self, name: &ObjectName) -> bool {
        let needed = needs::all(&self.store, name).unwrap_or_default();
        let damaged: Vec<ObjectName> = needed
            .into_iter()
            .filter(|name| matches!(self.store.verify(name), Err(Error::Corrupt { .. })))
            .collect();
        if damaged.is_empty() {
            return false;
        }
        let _alone = self.in_use.write().await;
        // Workers remember what is in the store.
        self.local.finish().await;
        let removed = damaged.iter().try_for_each(|name| self.remove_damaged(name));
        removed.inspect_err(|error| thunk::say!("ggforce worker: {error:#}")).is_ok()
    }

    fn remove_damaged(&self, name: &ObjectName) -> Result<()> {
        thunk::say!(
            "ggforce worker: {name} was damaged in {}: it is fetched anew",
            self.store.root().display()
        );
        Ok(self.store.remove(name)?)
    }

    /// Between jobs: brings the cache back to its size.
    async fn clean_up(&self) {
        let _alone = self.in_use.write().await;
        self.cleaning.set(false);
        // Workers remember what is in the store.
        self.local.finish().await;
        if let Err(error) = self.cache.shrink() {
            thunk::say!("ggforce worker: the cache cannot be made smaller: {error:#}");
        }
    }
}

/// The object that is to be in a file of the store.
fn named(path: &Path) -> Result<ObjectName> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Ok(name.parse()?)
}

/// Did it come to nothing for another reason than that it cannot be done here at all?
fn may_be_mended(done: &Done) -> bool {
    matches!(done.result, Some(protocol::Result::Broken(_))) && !done.refused && !done.unable
}

/// Says now and then that it is still there, until something is done that the engine has no part in.
async fn patiently<T>(stream: &mut BufStream<Stream>, work: impl Future<Output = T>) -> Result<T> {
    let mut work = std::pin::pin!(work);
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.reset();
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            _ = heartbeat.tick() => message::send(stream, Body::Alive(true)).await?,
        }
    }
}

/// Objects that one job fetches; others that need them wait.
struct Coming<'a> {
    host: &'a Host,
    names: Vec<ObjectName>,
}

impl<'a> Coming<'a> {
    /// Those of the objects that nobody fetches already.
    fn of(host: &'a Host, lacking: &[ObjectName]) -> Self {
        let mut coming = host.coming.borrow_mut();
        let names = lacking.iter().filter(|name| coming.insert(**name)).copied().collect();
        Self { host, names }
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        let mut coming = self.host.coming.borrow_mut();
        self.names.iter().for_each(|name| {
            coming.remove(name);
        });
        self.host.came.notify_waiters();
    }
}
