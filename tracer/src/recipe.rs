// SPDX-License-Identifier: Apache-2.0
//! What build drivers start after a failure, and recipes that need what cannot be had. Plain make would not have begun them: none may
//! leave a file that make takes for done. An exit code may get lost, in a pipe or an `if`; make removes what a recipe was making that
//! has ended by a signal, unless it was told to ignore that, or to keep the target. Does not know which line of a recipe it ends.

use std::collections::BTreeSet;
use std::sync::Once;
use std::time::{Duration, Instant};

use observe::{Pid, Process, parent_of};

use crate::context::{Role, Running};
use crate::decide::Answer;
use crate::process::living_children;
use crate::recorder::{OWN, Recorder};
use crate::request::Exec;

/// Why no result is kept of a command that was refused something.
const UNFORCED: &str = "it needs what cannot be forced";
/// What was killed has ended soon, unless the kernel is busy with it.
const PATIENCE: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(1);

/// A command has failed that the build does not wait for: what becomes of what a build driver starts then. All that has begun goes on to
/// its end, as beside a failure in plain make.
pub fn stopped(recorder: &Recorder, exec: &Exec, parent: &Running) -> Option<Answer> {
    static TOLD: Once = Once::new();
    if !recorder.stops() || exec.parent == OWN || parent.inside_tool {
        return None;
    }
    let answer = match parent.role {
        Role::Make => Answer::Killed,
        // It knows by its own log what is done, and takes signals for the user's.
        Role::Ninja => Answer::Exit { command: 0, code: 1, prints: Vec::new() },
        Role::Libtool | Role::Tool | Role::Other => return None,
    };
    // What make reads, by `$(shell …)`, goes into rules and commands.
    if !parent.passes_on(exec.fds.as_ref()) {
        return None;
    }
    TOLD.call_once(|| {
        thunk::say!("ggtrace: a command has failed: what is started now is ended at once, to end the build")
    });
    Some(answer)
}

/// What a process needs cannot be forced. Its recipe is ended, if it is part of one.
pub fn unforced(recorder: &Recorder, pid: u32, what: &str, why: &str) -> Answer {
    let pid = pid.cast_signed();
    let why = format!("{what} cannot be forced: {why}");
    recorder.watch.obstacle_of(pid, UNFORCED);
    if let Some(top) = top_of_recipe(recorder, pid) {
        // Who asks may not live to say it.
        thunk::say!("ggtrace: {why}");
        kill(top);
        return Answer::Fail { errno: libc::EIO, why: String::new() };
    }
    Answer::Fail { errno: libc::EIO, why }
}

/// The same of what a program needs before it starts. A line that make starts without a shell is the recipe itself.
pub fn cannot_start(recorder: &Recorder, exec: &Exec, parent: &Running, what: &str, why: &str) -> Answer {
    let is_line = parent.role == Role::Make && !parent.inside_tool && parent.passes_on(exec.fds.as_ref());
    if !is_line {
        return unforced(recorder, exec.pid, what, why);
    }
    thunk::say!("ggtrace: {what} cannot be forced: {why}");
    Answer::Killed
}

/// The process at or above this one that a build driver has started. None where the driver itself asks, or its child before it
/// has executed anything: make is told that this fails.
fn top_of_recipe(recorder: &Recorder, pid: Pid) -> Option<Pid> {
    let role = |pid| recorder.command(recorder.watch.program_of(pid)).role;
    let drives = |pid| matches!(role(pid), Role::Make | Role::Ninja);
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

/// Kills a process after all that it has started, so that make does not hear of its end while somebody still writes.
fn kill(top: Pid) {
    let Ok(top) = Process::open(top) else { return };
    // Who is to stop forks no more, and a shell does not go on to its next command. If one of them has ended, so much the better.
    let _ = top.signal(libc::SIGSTOP);
    let mut below = Vec::new();
    let mut seen = BTreeSet::new();
    let mut parents = vec![top.pid()];
    while let Some(parent) = parents.pop() {
        for child in living_children(parent).into_iter().filter(|&child| seen.insert(child)) {
            let Ok(process) = Process::open(child) else { continue };
            let _ = process.signal(libc::SIGSTOP);
            below.push(process);
            parents.push(child);
        }
    }
    for process in &below {
        let _ = process.signal(libc::SIGKILL);
    }
    let since = Instant::now();
    while !below.iter().all(Process::has_ended) && since.elapsed() < PATIENCE {
        std::thread::sleep(STEP);
    }
    let _ = top.signal(libc::SIGKILL);
}
