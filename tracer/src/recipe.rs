// SPDX-License-Identifier: Apache-2.0
//! What build drivers start after a failure, and recipes that need what cannot be had. Plain make would not have begun them: none may
//! leave a file that make takes for done. An exit code may get lost, in a pipe or an `if`; make removes what a recipe was making that
//! has ended by a signal, unless it was told to ignore that, or to keep the target. Does not know which line of a recipe it ends.

use std::sync::Once;
use std::time::Duration;

use observe::{Pid, kill_last, parent_of};

use crate::context::{Role, Running};
use crate::decide::Answer;
use crate::recorder::Recorder;
use crate::request::Exec;

/// Why no result is kept of a command that was refused something.
const UNFORCED: &str = "it needs what cannot be forced";
/// What was killed has ended soon, unless the kernel is busy with it.
const PATIENCE: Duration = Duration::from_millis(500);

/// A command has failed that the build does not wait for: what becomes of what a build driver starts then. All that has begun goes on to
/// its end, as beside a failure in plain make.
pub fn stopped(recorder: &Recorder, exec: &Exec, parent: &Running) -> Option<Answer> {
    static TOLD: Once = Once::new();
    if !recorder.stops() || !is_line(exec, parent) {
        return None;
    }
    TOLD.call_once(|| {
        thunk::say!("ggtrace: a command has failed: what is started now is ended at once, to end the build")
    });
    Some(match parent.role {
        // It knows by its own log what is done, and takes signals for the user's.
        Role::Ninja => Answer::Exit { command: 0, code: 1, prints: Vec::new() },
        _ => Answer::Killed,
    })
}

/// Does a build driver start it for the sake of what it does? What make reads, by `$(shell …)`, goes into rules and commands.
fn is_line(exec: &Exec, parent: &Running) -> bool {
    parent.role.is_driver() && !parent.inside_tool && parent.passes_on(exec.fds.as_ref())
}

/// What a process needs cannot be forced. Its recipe is ended, if it is part of one.
pub fn unforced(recorder: &Recorder, pid: u32, what: &str, why: &str) -> Answer {
    let pid = pid.cast_signed();
    let why = told(what, why);
    recorder.watch.obstacle_of(pid, UNFORCED);
    if let Some(top) = top_of_recipe(recorder, pid) {
        // Who asks may not live to say it.
        thunk::say!("ggtrace: {why}");
        kill_last(top, PATIENCE);
        return Answer::Fail { errno: libc::EIO, why: String::new() };
    }
    Answer::Fail { errno: libc::EIO, why }
}

/// The same of what a program needs before it starts. A line that make starts without a shell is the recipe itself.
pub fn cannot_start(recorder: &Recorder, exec: &Exec, parent: &Running, what: &str, why: &str) -> Answer {
    if parent.role != Role::Make || !is_line(exec, parent) {
        return unforced(recorder, exec.pid, what, why);
    }
    thunk::say!("ggtrace: {}", told(what, why));
    Answer::Killed
}

fn told(what: &str, why: &str) -> String {
    format!("{what} cannot be forced: {why}")
}

/// The process at or above this one that a build driver has started. None where the driver itself asks, or its child before it
/// has executed anything: make is told that this fails.
fn top_of_recipe(recorder: &Recorder, pid: Pid) -> Option<Pid> {
    let drives = |pid| recorder.command(recorder.watch.program_of(pid)).role.is_driver();
    if drives(pid) {
        return None;
    }
    let build = recorder.build.get().copied();
    let mut top = pid;
    loop {
        let above = parent_of(top).filter(|_| Some(top) != build)?;
        if drives(above) {
            return Some(top);
        }
        top = above;
    }
}
