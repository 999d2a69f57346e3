// SPDX-License-Identifier: Apache-2.0
//! Runs a command in the sandbox under observation: brings together the crates `sandbox` and `observe`, which do not know
//! each other. Unaware of thunks.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::thread::JoinHandle;

use observe::Touches;
use sandbox::{Job, Outcome, Sandbox};

/// Why a command could not be observed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sandbox could not be set up.
    #[error(transparent)]
    Sandbox(sandbox::Error),
    /// The command could not be traced.
    #[error(transparent)]
    Observe(observe::Error),
}

type Follower = JoinHandle<Result<Touches, observe::Error>>;

/// The gate at which the tracer waits for the command's process.
struct Door {
    fd: RawFd,
    gate: RefCell<Option<observe::Gate>>,
    follower: Cell<Option<io::Result<Follower>>>,
}

impl sandbox::Gate for Door {
    fn fd(&self) -> RawFd {
        self.fd
    }

    fn enter(&self) -> io::Result<()> {
        match &*self.gate.borrow() {
            Some(gate) => gate.enter(),
            None => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    }

    fn started(&self) {
        let gate = self.gate.take();
        // A thread, because the sandbox listens to the command meanwhile. Time is kept there, too.
        self.follower.set(gate.map(|gate| {
            std::thread::Builder::new().name("follow".into()).spawn(move || {
                let mut touches = Touches::new();
                gate.follow(&observe::Options::default(), &mut touches)?;
                Ok(touches)
            })
        }));
    }
}

/// As [`Sandbox::run`], and tells which files the command touched.
///
/// # Errors
/// As [`Sandbox::run`]; or the command cannot be traced.
pub fn run(sandbox: &mut Sandbox, job: &Job) -> Result<(Outcome, Touches), Error> {
    let gate = observe::Gate::new().map_err(Error::Observe)?;
    let door = Door { fd: gate.child_fd(), gate: Some(gate).into(), follower: Cell::new(None) };
    let outcome = sandbox.run_through(&door, job);
    let Some(follower) = door.follower.take() else {
        // It did not get as far as having a process; that there is no error then cannot be.
        return outcome.map(|outcome| (outcome, Touches::new())).map_err(Error::Sandbox);
    };
    let followed = follower
        .map_err(observe::Error::Thread)
        .and_then(|thread| thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload)));
    match (outcome, followed) {
        (Ok(outcome), Ok(touches)) => Ok((outcome, touches)),
        // Without a tracer, the process does not get through the gate. The cause counts, not what came of it.
        (Err(_), Err(error @ (observe::Error::Attach { .. } | observe::Error::Thread(_)))) => {
            Err(Error::Observe(error))
        }
        (Err(error), _) => Err(Error::Sandbox(error)),
        (Ok(_), Err(error)) => Err(Error::Observe(error)),
    }
}
