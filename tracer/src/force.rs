// SPDX-License-Identifier: Apache-2.0
//! Forcing on demand, while recording: one engine that is started when the build first wants to look at a placeholder,
//! and then answers to the end. It is told what else is pending, which it does aside. Where one follows the build
//! anyway (`--force`) this one is started only if that one is killed. The recorder itself knows nothing of engines.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::following::{Following, Manner};
use crate::recorder::lock;
use crate::termination;

/// Who forces on demand.
#[derive(Debug)]
pub struct OnDemand {
    program: PathBuf,
    store: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    engine: Option<Arc<Following>>,
    /// Where placeholders stand of which the engine has not been told.
    untold: Vec<PathBuf>,
    /// No further engine is to be started.
    ended: bool,
}

impl OnDemand {
    /// By this `ggforce`, with this store.
    pub fn new(program: &Path, store: &Path) -> Self {
        Self { program: program.into(), store: store.into(), state: Mutex::default() }
    }

    /// Placeholders stand at these paths.
    pub fn add(&self, paths: impl IntoIterator<Item = PathBuf>) {
        let mut state = lock(&self.state);
        state.untold.extend(paths);
        // It does nothing with them while nobody waits.
        if let Some(engine) = state.engine.clone().filter(|engine| engine.is_asked()) {
            engine.add(std::mem::take(&mut state.untold));
        }
    }

    /// Forces the placeholders among `paths`. On failure the engine has said why on standard error.
    ///
    /// # Errors
    /// A clause that tells what to say.
    pub fn force(&self, paths: &[PathBuf]) -> Result<(), String> {
        // One that was killed is noticed when it is asked; the next one tells more than that.
        for _ in 0..2 {
            let engine = self.engine()?;
            if let Some(answer) = engine.force(paths) {
                return answer;
            }
            let mut state = lock(&self.state);
            if state.engine.as_ref().is_some_and(|known| Arc::ptr_eq(known, &engine)) {
                state.engine = None;
                engine.abandon();
            }
        }
        Err("ggforce has ended early".into())
    }

    fn engine(&self) -> Result<Arc<Following>, String> {
        let mut state = lock(&self.state);
        if termination::came() || state.ended {
            return Err("the build is being ended".into());
        }
        let engine = match &state.engine {
            Some(engine) => Arc::clone(engine),
            None => {
                let started = Following::start(&self.program, &self.store, Manner::OnDemand);
                Arc::clone(state.engine.insert(Arc::new(started.map_err(|error| format!("{error:#}"))?)))
            }
        };
        engine.add(std::mem::take(&mut state.untold));
        Ok(engine)
    }

    /// Nobody waits any more.
    pub fn end(&self) {
        let mut state = lock(&self.state);
        state.ended = true;
        if let Some(engine) = state.engine.take() {
            engine.abandon();
        }
    }
}

/// The command that starts the engine, which ends when the thread that starts it does.
pub fn engine(program: &Path, store: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("GG_DIR", store).env_remove("LD_PRELOAD").env_remove(wire::SESSION_VARIABLE);
    // Ctrl-C reaches the build, which then asks no more; the engine ends by itself.
    command.process_group(0);
    // One that nobody waits for any more, since the recorder has ended, ends too.
    // SAFETY: between fork and exec only prctl and signal are called, with integers.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT);
            // The recorder may ignore it.
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        });
    }
    command
}
