// SPDX-License-Identifier: Apache-2.0
//! Runs a command in the sandbox under observation: brings together the crates `sandbox` and `observe`, which do not know
//! each other. Unaware of thunks.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::thread::JoinHandle;

use anyhow::Result;
use observe::Touches;
use sandbox::{Job, Outcome, Sandbox};

type Follower = JoinHandle<std::result::Result<Touches, observe::Error>>;

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
pub fn run(sandbox: &mut Sandbox, job: &Job) -> Result<(Outcome, Touches)> {
    let gate = observe::Gate::new()?;
    let door = Door { fd: gate.child_fd(), gate: Some(gate).into(), follower: Cell::new(None) };
    let outcome = sandbox.run_through(&door, job);
    let Some(follower) = door.follower.take() else {
        // It did not get as far as having a process; that there is no error then cannot be.
        return Ok((outcome?, Touches::new()));
    };
    let followed = follower
        .map_err(observe::Error::Thread)
        .and_then(|thread| thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload)));
    // Without a tracer, the process does not get through the gate: the cause counts, not what came of it.
    let touches = followed?;
    Ok((outcome?, touches))
}
