// SPDX-License-Identifier: Apache-2.0
//! Forcing on demand, while recording: runs the engine's program on the placeholders that the build wants to look at.
//! The recorder itself knows nothing of engines.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::recorder::lock;
use crate::termination;

/// Runs `ggforce`.
#[derive(Debug)]
pub struct Forcer {
    program: PathBuf,
    store: PathBuf,
    /// One at a time: what two commands wait for is often the same, and one engine uses all processors already.
    turn: Mutex<()>,
}

impl Forcer {
    /// A forcer with this `ggforce` and store.
    pub fn new(program: &Path, store: &Path) -> Self {
        Self { program: program.into(), store: store.into(), turn: Mutex::new(()) }
    }

    /// Forces the placeholders among `paths`. On failure the engine has said why on standard error.
    ///
    /// # Errors
    /// A clause that tells what to say.
    pub fn force(&self, paths: &[PathBuf]) -> Result<(), String> {
        if paths.is_empty() {
            return Ok(());
        }
        let _turn = lock(&self.turn);
        if termination::came() {
            return Err("the build is being ended".into());
        }
        let cannot = |e: std::io::Error| format!("cannot run {}: {e}", self.program.display());
        let mut command = engine(&self.program, &self.store);
        command.args(["--on-demand", "--paths-from", "-"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(cannot)?;
        if let Some(mut input) = child.stdin.take() {
            let mut list = Vec::new();
            for path in paths {
                list.extend_from_slice(path.as_os_str().as_bytes());
                list.push(0);
            }
            // An engine that ended early has said why, and its exit code tells.
            let _ = input.write_all(&list);
        }
        let status = termination::wait_for_engine(&mut child).map_err(cannot)?;
        if status.success() { Ok(()) } else { Err(format!("ggforce has said why, and ended with {status}")) }
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
