// SPDX-License-Identifier: Apache-2.0
//! Forcing while the build goes on: one `ggforce` process that is told where placeholders stand, forces them as they come, and what
//! somebody waits for before the rest, or only that. It ends when the recorder does. What it is told and tells is `thunk::following`; the
//! recorder itself knows nothing of engines.

use std::collections::HashMap;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use thunk::following::{self, News, Order};

use crate::recorder::lock;
use crate::{force, termination};

/// What the user wants of it.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many commands run at once; `None` leaves it to the engine.
    pub jobs: Option<usize>,
    /// Go on after a command has failed.
    pub keep_going: bool,
}

/// What the engine is there for.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// For all that is deferred.
    Everything(Options),
    /// For what somebody waits for.
    OnDemand,
}

/// The engine that follows this recording.
#[derive(Debug)]
pub struct Following {
    child: Mutex<Child>,
    manner: Manner,
    stream: Mutex<UnixStream>,
    shared: Arc<Shared>,
    next: AtomicU32,
}

#[derive(Debug, Default)]
struct Shared {
    /// Who waits for which order; `None` when no answer will come any more.
    waiting: Mutex<Option<HashMap<u32, Sender<bool>>>>,
    /// A command has failed, and the engine starts no further one but for who waits.
    stopped: AtomicBool,
}

impl Following {
    /// Starts the engine.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &Path, store: &Path, manner: Manner) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket")?;
        let mut command = force::engine(program, store);
        command.arg("--follow");
        match manner {
            // That one cannot be had tells those who want it.
            Manner::OnDemand => _ = command.args(["--on-demand", "--keep-going"]).stdout(Stdio::null()),
            Manner::Everything(options) => {
                if let Some(jobs) = options.jobs {
                    command.arg("--jobs").arg(jobs.to_string());
                }
                if options.keep_going {
                    command.arg("--keep-going");
                }
            }
        }
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        let shared =
            Arc::new(Shared { waiting: Mutex::new(Some(HashMap::new())), stopped: AtomicBool::new(false) });
        let (mut stream, told) = (ours.try_clone().context("cannot make a socket")?, Arc::clone(&shared));
        let (sender, started) = mpsc::channel();
        // The engine ends with the thread that starts it. Whoever needs one may end sooner.
        let listen = move || {
            let spawned = command.spawn();
            drop(command);
            if let Ok(child) = &spawned
                && matches!(manner, Manner::OnDemand)
            {
                termination::interrupt_engine(child.id());
            }
            if sender.send(spawned).is_err() {
                return;
            }
            while let Ok(Some(news)) = following::read::<News>(&mut stream) {
                told.hear(&news);
            }
            // Those that still wait learn that nobody answers them.
            lock(&told.waiting).take();
        };
        std::thread::Builder::new().name("engine".into()).spawn(listen).context("cannot start a thread")?;
        let cannot = || format!("cannot run {}", program.display());
        let child = started.recv().with_context(cannot)?.with_context(cannot)?;
        let (child, stream, next) = (Mutex::new(child), Mutex::new(ours), AtomicU32::new(1));
        Ok(Self { child, manner, stream, shared, next })
    }

    /// Placeholders stand at these paths.
    pub fn add(&self, paths: impl IntoIterator<Item = PathBuf>) {
        // If the engine has ended, its exit code tells.
        let _ = self.order(paths, 0, false);
    }

    /// Waits until the placeholders at these paths are forced. `None`: the engine has ended, and can be asked nothing.
    pub fn force(&self, paths: &[PathBuf]) -> Option<Result<(), String>> {
        let failed = || "a command that it needs has failed".to_owned();
        self.ask(paths).map(|done| done.then_some(()).ok_or_else(failed))
    }

    fn ask(&self, paths: &[PathBuf]) -> Option<bool> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = mpsc::channel();
        lock(&self.shared.waiting).as_mut()?.insert(number, sender);
        self.order(paths.iter().cloned(), number, false).ok()?;
        answer.recv().ok()
    }

    /// Has a command failed, so that nothing further is to be started but what somebody waits for?
    pub fn stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Relaxed)
    }

    /// The build has left placeholders at these paths, and is over: waits until they are forced.
    ///
    /// # Errors
    /// How the engine ended cannot be found out.
    pub fn finish(&self, paths: Vec<PathBuf>) -> std::io::Result<ExitStatus> {
        let _ = self.order(paths, 0, true);
        lock(&self.child).wait()
    }

    /// Ends the engine at once. A signal might come before it listens to signals.
    pub fn abandon(&self) {
        let _ = lock(&self.stream).shutdown(Shutdown::Both);
        if matches!(self.manner, Manner::OnDemand) {
            // Its number may be another's once it has been waited for.
            termination::forget_engine();
        }
        let _ = lock(&self.child).wait();
    }

    /// Does somebody wait?
    pub fn is_asked(&self) -> bool {
        lock(&self.shared.waiting).as_ref().is_some_and(|waiting| !waiting.is_empty())
    }

    fn order(
        &self,
        paths: impl IntoIterator<Item = PathBuf>,
        number: u32,
        last: bool,
    ) -> std::io::Result<()> {
        let paths = paths.into_iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
        following::write(&mut *lock(&self.stream), &Order { paths, number, last })
    }
}

impl Shared {
    fn hear(&self, news: &News) {
        if news.stopped {
            self.stopped.store(true, Ordering::Relaxed);
        }
        let waiting = lock(&self.waiting).as_mut().and_then(|waiting| waiting.remove(&news.number));
        if let Some(waiting) = waiting {
            // It may have been told already that the engine is gone.
            let _ = waiting.send(news.done);
        }
    }
}
