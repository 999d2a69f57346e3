// SPDX-License-Identifier: Apache-2.0
//! What becomes of a request: an exec is deferred or runs, an open waits until its file is there. Everything a command
//! needs to find where it looks is forced before it starts; what it opens later asks again.

use std::io;
use std::sync::Arc;

use models::Invocation;
use models::recognise::{Executable, Program};
use thunk::trace::{Command, Disposition, Observed};

use crate::carry::{self, Carry, Move};
use crate::context::{Role, Running};
use crate::defer::Deferred;
use crate::linked::Linked;
use crate::plans::{carry_out, planned};
use crate::programs::Facts;
use crate::recipe::{self, unforced};
use crate::recorder::{OWN, Recorder};
use crate::request::{Exec, Open};
use crate::runs::{Run, learns, parent, part_of_tool, run, running};
use crate::shell::{self, Line};
use crate::undo::Put;
use crate::{learned, libtool, process};

/// What to tell the interceptor.
#[derive(Debug)]
pub enum Answer {
    /// Go on.
    Run {
        /// Id of the command, for what it starts.
        command: u32,
        /// See [`wire::reply_flags`].
        flags: u32,
    },
    /// The command is done.
    Exit {
        /// Its id; 0 where nothing was done.
        command: u32,
        /// Its exit code.
        code: i32,
        /// What goes to standard output before; nothing where the process cannot print.
        prints: Vec<u8>,
    },
    /// The call fails.
    Fail {
        /// As the system call would.
        errno: i32,
        /// What is to be said, or nothing if it has been.
        why: String,
    },
    /// The process ends by a signal, so that make removes what it was making.
    Killed,
}

impl Answer {
    /// Go on; no command is begun.
    pub const GO: Self = Self::Run { command: 0, flags: 0 };
}

/// A process is about to open a file that may be a placeholder, or a directory: who reads that looks at what is in it, which is asked for
/// its size and its time before it is opened, if it is.
pub fn open(recorder: &Recorder, open: &Open) -> Answer {
    let (path, command) = (open.path.as_path(), recorder.command(open.command));
    // Who has started what was deferred drives a build: it asks whether files are there, and how old they are.
    if open.looks && command.starts_deferred {
        return Answer::GO;
    }
    if path.is_dir() {
        recorder.fill(path);
        return Answer::GO;
    }
    if command.role == Role::Make {
        // Make reads one dependency file after the other, each of which it would wait for. If one of them cannot be
        // had, that is said when it is its turn.
        let _ = recorder.force(&recorder.early.beside(path, recorder.outputs()));
    }
    if command.role == Role::Ninja && Linked::give(recorder, path) {
        return Answer::GO;
    }
    let mut found = recorder.placeholders([path].into_iter());
    if found.is_empty() && !recorder.shares_files(open.pid) {
        // The same file under a name of ours.
        found = process::file_seen_by(open.pid, path)
            .map(|file| recorder.outputs_that_are(file))
            .unwrap_or_default();
        if found.is_empty() {
            let why = "it is seen from another root or with other mounts";
            return unforced(recorder, open.pid, &path.display().to_string(), why);
        }
    }
    match recorder.force(&found) {
        Ok(()) => Answer::GO,
        Err(why) => unforced(recorder, open.pid, &path.display().to_string(), &why),
    }
}

/// Tells who asked that the answer takes a moment; told again, that it is decided that the command runs, and that what
/// it needs is not there yet.
pub type Pending<'a> = &'a dyn Fn();

/// Where nobody can be told.
pub fn at_once() {}

/// A process is about to execute a program. `pending` is called only if a child can wait.
pub fn exec(recorder: &Recorder, exec: &Arc<Exec>, pending: Pending<'_>) -> Answer {
    let mut command = asked_for(recorder, exec);
    let parent = parent(recorder, exec);
    if let Some(answer) = recipe::stopped(recorder, exec, &parent) {
        return answer;
    }
    if let Err(why) = there(recorder, exec, &parent, &mut command) {
        let what = exec.invocation.program.display().to_string();
        return recipe::cannot_start(recorder, exec, &parent, &what, &why);
    }
    if command.disposition == Disposition::Deferred {
        return deferred(recorder, &parent, command, Vec::new(), &[]);
    }
    if parent.inside_tool || exec.parent == OWN {
        return part_of_tool(recorder, exec, &parent);
    }
    let Ok(facts) = facts(recorder, exec) else {
        // The exec fails, and says why itself.
        return Answer::Run { command: exec.parent, flags: 0 };
    };
    // A build driver goes on with other commands. What the kernel may refuse to execute the driver is to hear of itself.
    let waits = exec.waits && is_native(&facts.executable) && recorder.defers && parent.role.is_driver();
    if waits {
        pending();
    }
    if may_be_done(recorder, exec, &parent)
        && let Some(answer) = carried(recorder, exec, &parent, &facts, &command, Vec::new())
    {
        return answer;
    }
    if let Some(answer) = without_shell(recorder, exec, &parent, &facts, &command) {
        return answer;
    }
    if recorder.defers
        && let Some(answer) = libtool::compile(recorder, exec, &parent, &facts, &command, Vec::new(), &[])
    {
        return answer;
    }
    if let Some(watched) = &parent.watched
        && matches!(facts.program, Program::Compiler(_) | Program::Launcher)
    {
        watched.starts(&exec.invocation);
    }
    let prints = modelled(recorder, exec, &parent, facts.program, &mut command);
    let running = running(recorder, exec, &parent, &facts);
    let mut place = learns(&running, &parent, command.disposition).then(|| place(recorder, exec));
    if let Some(place) = &mut place
        && may_be_learned(recorder, exec, &parent)
    {
        learn(recorder, exec, place, &mut command);
    }
    if command.disposition == Disposition::Deferred {
        return deferred(recorder, &parent, command, prints, &[]);
    }
    let pending = waits.then_some(pending);
    run(recorder, exec, &parent, &facts, Run { command, running, place, pending })
}

/// What the trace will say of the command, if it runs.
fn asked_for(recorder: &Recorder, exec: &Exec) -> Command {
    let Invocation { program, argv, cwd, .. } = &exec.invocation;
    Command {
        id: 0,
        parent: exec.parent,
        cwd: cwd.clone(),
        argv: argv.clone(),
        program: program.clone(),
        kind: String::new(),
        disposition: Disposition::Ran,
        reason: String::new(),
        thunk: None,
        outputs: Vec::new(),
        at_us: recorder.started.elapsed().as_micros() as u64,
        took_us: 0,
    }
}

/// How long it has taken by now to decide.
pub fn took_us(recorder: &Recorder, command: &Command) -> u64 {
    (recorder.started.elapsed().as_micros() as u64).saturating_sub(command.at_us)
}

/// Sees to it that the program is there, where it is a placeholder. One that was run before need not be there to be deferred.
fn there(recorder: &Recorder, exec: &Exec, parent: &Running, command: &mut Command) -> Result<(), String> {
    let made = recorder.placeholders([exec.invocation.program.as_path()].into_iter());
    if !made.is_empty() && may_be_learned(recorder, exec, parent) {
        learn(recorder, exec, &mut place(recorder, exec), command);
    }
    if command.disposition == Disposition::Deferred { Ok(()) } else { recorder.force(&made) }
}

/// What the program is.
fn facts(recorder: &Recorder, exec: &Exec) -> io::Result<Arc<Facts>> {
    let Invocation { program, argv, .. } = &exec.invocation;
    let name = argv.first().map_or(program.as_os_str(), |name| name.as_os_str());
    let facts = recorder.program(program, name)?;
    Ok(match (facts.program, argv.get(1)) {
        // `busybox cp …`
        (Program::Busybox, Some(applet)) => recorder.program(program, applet).unwrap_or(facts),
        _ => facts,
    })
}

/// Defers the command if a model understands it. What is returned is to be printed in its place.
fn modelled(
    recorder: &Recorder,
    exec: &Exec,
    parent: &Running,
    program: Program,
    command: &mut Command,
) -> Vec<u8> {
    let planned = recorder.defers.then(|| planned(recorder, exec, parent, program)).flatten();
    let Some((kind, planned)) = planned else { return Vec::new() };
    command.kind = kind.to_string();
    let outcome = planned.and_then(|plan| {
        if !shell::can_print(exec, plan.prints.len()) {
            return Err("verbose output, more than can be printed in its place".to_owned());
        }
        Ok((carry_out(recorder, exec, parent, &plan)?, plan.prints))
    });
    match outcome {
        Ok((deferred, prints)) => {
            command.disposition = Disposition::Deferred;
            command.thunk = Some(deferred.thunk);
            command.outputs = deferred.outputs;
            prints
        }
        Err(reason) => {
            command.disposition = Disposition::Declined;
            command.reason = reason;
            Vec::new()
        }
    }
}

/// Can a process that a build driver starts be told that all is done?
fn may_be_done(recorder: &Recorder, exec: &Exec, parent: &Running) -> bool {
    recorder.defers && exec.prints && parent.role.is_driver()
}

/// Will the kernel execute it?
fn is_native(executable: &Executable) -> bool {
    match executable {
        Executable::Dynamic { interpreter } | Executable::Jealous { interpreter } => interpreter.exists(),
        Executable::Static => true,
        _ => false,
    }
}

/// Is it one of the programs of which [`Carry`] knows commands?
fn may_be_carried(facts: &Facts) -> bool {
    facts.program.is_carrier() || facts.program == Program::CMake
}

/// Does itself what a program is to do that is more trouble to start than that.
fn carried(
    recorder: &Recorder,
    exec: &Exec,
    parent: &Running,
    facts: &Facts,
    command: &Command,
    mut prints: Vec<u8>,
) -> Option<Answer> {
    if !may_be_carried(facts) || !is_native(&facts.executable) || !recorder.is_ours(exec.pid) {
        return None;
    }
    let carry = Carry::of(recorder, exec, facts)?;
    let id = recorder.start(exec.parent, parent, parent.start(Role::Other, None));
    let done = carry.make(recorder, id)?;
    prints.extend(done.prints);
    if !shell::can_print(exec, prints.len()) {
        return None;
    }
    let Invocation { program, argv, cwd, .. } = exec.invocation.clone();
    let took_us = took_us(recorder, command);
    let command = Command { id, program, argv, cwd, took_us, ..command.clone() };
    let record = carry::observed(recorder, id, done.touches, done.obstacle);
    let recorded = recorder.record(&command).and_then(|()| recorder.trace.observed(&record));
    // What it did is done: to do it again would fail.
    recorded.unwrap_or_else(|error| recorder.complain(&error));
    Some(Answer::Exit { command: id, code: 0, prints })
}

/// Defers the command that a build driver has a shell start for it, so that the shell need not start either.
fn without_shell(
    recorder: &Recorder,
    exec: &Exec,
    parent: &Running,
    facts: &Facts,
    command: &Command,
) -> Option<Answer> {
    let is_asked = may_be_done(recorder, exec, parent);
    let Line { command: inner, mut prints, prints_after, moves } =
        is_asked.then(|| shell::line(recorder, exec, facts)).flatten()?;
    let program = &inner.invocation.program;
    if !recorder.placeholders([program.as_path()].into_iter()).is_empty() {
        return None;
    }
    let facts = recorder.program(program, inner.invocation.argv.first()?).ok()?;
    if matches!(facts.program, Program::Shell | Program::Libtool) {
        return libtool::compile(recorder, &inner, parent, &facts, command, prints, &moves);
    }
    if may_be_carried(&facts) {
        return moves
            .is_empty()
            .then(|| carried(recorder, &inner, parent, &facts, command, prints))
            .flatten();
    }
    // What listens to the shell listens to what the shell starts.
    let shell = parent.start(Role::Other, exec.fds.as_ref());
    let (kind, planned) = planned(recorder, &inner, &shell, facts.program)?;
    let plan = planned.ok()?;
    let gives = |moved: &Move| plan.outputs.iter().any(|output| output.path == moved.from);
    if !moves.iter().all(gives) || prints_after && !plan.prints.is_empty() {
        return None;
    }
    prints.extend_from_slice(&plan.prints);
    if !shell::can_print(exec, prints.len()) {
        return None;
    }
    let Deferred { thunk, outputs } = carry_out(recorder, &inner, &shell, &plan).ok()?;
    let Invocation { program, argv, cwd, .. } = inner.invocation;
    let command = Command {
        cwd,
        argv,
        program,
        kind: kind.to_string(),
        disposition: Disposition::Deferred,
        thunk: Some(thunk),
        outputs,
        ..command.clone()
    };
    let answer = deferred(recorder, parent, command, prints, &moves);
    // What cannot be moved after all is for the shell, and for whom it starts to say so: what was deferred is deferred once more.
    moves.iter().all(|moved| moved.make(recorder).is_ok()).then_some(answer)
}

/// The command was deferred: that is written down, and its process is done.
pub fn deferred(
    recorder: &Recorder,
    parent: &Running,
    mut command: Command,
    prints: Vec<u8>,
    moved: &[Move],
) -> Answer {
    command.id = recorder.start(command.parent, parent, parent.start(Role::Other, None));
    recorder.starts_deferred(command.parent);
    command.took_us = took_us(recorder, &command);
    recorder.watch.obstacle(parent.group, Observed::PART_DEFERRED);
    if let Err(error) = recorder.record(&command) {
        // A deferred command that no trace names would never be forced by `ggforce` alone.
        recorder.complain(&error);
        return Answer::Fail { errno: libc::EIO, why: String::new() };
    }
    if let Some(thunk) = command.thunk {
        let moved = moved.iter().map(|moved| moved.to.clone());
        let paths = command.outputs.into_iter().chain(moved).collect();
        recorder.placed.note(command.id, vec![Put::Placeholders(thunk, paths)]);
    }
    Answer::Exit { command: command.id, code: 0, prints }
}

/// May a command that was observed before be deferred here? A script that starts it may look at its exit code; make and its like do
/// so for no other purpose than to end.
fn may_be_learned(recorder: &Recorder, exec: &Exec, parent: &Running) -> bool {
    recorder.defers
        && !parent.inside_tool
        && parent.role.is_driver()
        && parent.passes_on(exec.fds.as_ref())
        && recorder.is_ours(exec.pid)
}

/// Where it is kept what the command did before.
fn place(recorder: &Recorder, exec: &Exec) -> learned::Place {
    recorder.learned.place(exec, recorder.install.interceptor.as_os_str(), recorder.watch.given())
}

/// Defers the command if it is one that was observed before, or says why not.
fn learn(recorder: &Recorder, exec: &Exec, place: &mut learned::Place, command: &mut Command) {
    match learned::defer(recorder, exec, place) {
        Some(Ok(deferred)) => {
            command.kind = learned::LEARNED.into();
            command.reason = String::new();
            command.disposition = Disposition::Deferred;
            command.thunk = Some(deferred.thunk);
            command.outputs = deferred.outputs;
        }
        Some(Err(why)) if command.reason.is_empty() => command.reason = why,
        _ => {}
    }
}
