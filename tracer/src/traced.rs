// SPDX-License-Identifier: Apache-2.0
//! `--method ptrace`: the build runs under ptrace, and no library is in it. What its processes do comes as events; what they
//! execute is told by what they became.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitStatus;

use anyhow::Result;
use observe::{Event, Gate, Options, Pid, Role, Sink};

use crate::decide;
use crate::launch::{self, Image};
use crate::process;
use crate::recorder::Recorder;

/// Runs the build until it and all that it started have ended: what is under the filter cannot go on without a tracer.
///
/// # Errors
/// It cannot be started or traced.
pub fn run(
    recorder: &Recorder,
    program: &Path,
    argv: &[OsString],
    env: &[(OsString, OsString)],
    signals: &[(i32, libc::sighandler_t)],
    started: impl FnOnce(Pid),
) -> Result<ExitStatus> {
    let image = Image::new(program, argv, env)?;
    let gate = Gate::new()?;
    let child = launch::fork(&image, &gate, signals)?;
    started(child);
    let run = gate.follow(&Options::default(), &mut Follower { recorder });
    if run.is_err() {
        // One that did not get as far as being traced ends by itself.
        // SAFETY: takes a number and a null pointer.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    }
    Ok(run?.status)
}

/// Where the follower's events go.
struct Follower<'a> {
    recorder: &'a Recorder,
}

impl Sink for Follower<'_> {
    fn event(&mut self, pid: Pid, event: Event) {
        let watch = &self.recorder.watch;
        // A script is what was asked for; its interpreter comes after it.
        if let Event::Executed(place, Role::Program) = &event
            && let Some(mut exec) = process::executed(pid, &place.named)
        {
            exec.parent = watch.program_of(pid);
            decide::observed(self.recorder, &exec);
        }
        watch.event(pid, watch.next(), event);
    }
}
