// SPDX-License-Identifier: Apache-2.0
//! A program that runs: what it will be to those that it starts, and that it is begun in the records, once all that it needs before
//! it starts is there. Does not decide whether it runs.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use models::recognise::{self, Builder, Executable, Program};
use models::{Invocation, Node, World as _};
use thunk::trace::{Command, Disposition, Observed};
use wire::reply_flags;

use crate::carrying;
use crate::context::{Role, Running};
use crate::decide::{Answer, Pending, took_us};
use crate::learned;
use crate::libtool;
use crate::log::Ways as _;
use crate::needed::{Needed, is_unseen, needed, pending};
use crate::programs::Facts;
use crate::recipe::{cannot_start, unforced};
use crate::recorder::{OWN, Recorder, Sight};
use crate::request::Exec;
use crate::watch::{Begun, file_clock};

/// What is larger is no response file that somebody wrote for a command, though it may be named as one.
const LONGEST_RESPONSE: u64 = 64 << 20;

/// Is it to be remembered what the command does? What a model understands needs no other, and copying a file costs no more than
/// deferring that does.
pub fn learns(running: &Running, parent: &Running, disposition: Disposition) -> bool {
    !running.carries
        && !running.drives
        && (running.role != Role::Tool || disposition == Disposition::Declined)
        && parent.role.is_driver()
        && disposition != Disposition::Deferred
}

/// A command that is to run.
pub struct Run<'a> {
    /// What the trace will say of it.
    pub command: Command,
    /// What it will be to those that it starts.
    pub running: Running,
    /// Where it is to be remembered what it does, if it is.
    pub place: Option<learned::Place>,
    /// To be told where what it needs is not there yet, if somebody can be.
    pub pending: Option<Pending<'a>>,
}

/// Has a command run, once what it needs is there.
pub fn run(recorder: &Recorder, exec: &Arc<Exec>, parent: &Running, facts: &Facts, run: Run<'_>) -> Answer {
    let Run { mut command, running, place, pending } = run;
    let (carries, names, drives) = (running.carries, running.names, running.drives);
    // What a program without hooks starts has the same flags.
    let opaque = running.opaque;
    let removes = running.role.is_driver();
    let is_command = running.is_command(parent);
    // Who is none of those that are known to look whether files are there, or how old they are, may look how large they are.
    let minds_sizes = !carries && !names && facts.program != Program::CMake;
    // Where commands are deferred this part is, by its model, if that does not decline it, and what it is a part of runs each time.
    let is_deferrable = running.role == Role::Tool && !is_command && parent.passes_on(exec.fds.as_ref());
    if is_deferrable && !recorder.defers {
        recorder.watch.forgoes(parent.group);
    }
    command.id = recorder.start(exec.parent, parent, running);
    let needed = if carries {
        Needed::default()
    } else {
        needed(recorder, facts, &exec.invocation, command.disposition)
    };
    let asks = if needed.waits || minds_sizes { reply_flags::FACTS } else { 0 };
    let mut answer = Answer::Run {
        command: command.id,
        flags: flags(recorder, &facts.executable, &exec.invocation, carries, names)
            | asks
            | if removes { reply_flags::DRIVES } else { 0 }
            | if drives && !opaque { reply_flags::UNHEARD } else { 0 },
    };
    if let Some(pending) = pending
        && !needed.now.is_empty()
    {
        pending();
    }
    if let Err(why) = recorder.force(&needed.now) {
        let what = format!("what {} needs", exec.invocation.program.display());
        answer = cannot_start(recorder, exec, parent, &what, &why);
    }
    command.took_us = took_us(recorder, &command);
    if let Err(error) = recorder.record(&command) {
        recorder.complain(&error);
        return Answer::Fail { errno: libc::EIO, why: String::new() };
    }
    if matches!(answer, Answer::Run { .. }) {
        if is_command && recorder.records() {
            begin(recorder, exec, command.id, drives, place, parent);
        }
        if goes_by_the_processor(recorder, &exec.invocation) {
            recorder.watch.obstacle(if is_command { command.id } else { parent.group }, Observed::PROCESSOR);
        }
        enter(recorder, exec, command.id);
    }
    answer
}

/// Whether it is a compiler or not, and whatever its model says of it.
fn goes_by_the_processor(recorder: &Recorder, invocation: &Invocation) -> bool {
    let mut read = |path: &Path| {
        let path = invocation.absolute(path);
        match recorder.node(&path) {
            None | Some(Node::Directory) => Ok(None),
            Some(Node::File) if path.metadata()?.len() > LONGEST_RESPONSE => {
                Err(ErrorKind::FileTooLarge.into())
            }
            Some(Node::File | Node::Placeholder) => recorder.read(&path).map(|text| Some(text.to_vec())),
            Some(Node::Other) => Err(ErrorKind::InvalidInput.into()),
        }
    };
    models::processor::decides(&invocation.argv, &mut read)
}

/// A program that a tool runs for its own purposes, or that the recorder does.
pub fn part_of_tool(recorder: &Recorder, exec: &Arc<Exec>, parent: &Running) -> Answer {
    let program = &exec.invocation.program;
    let Ok(executable) = recorder.executable_at(program) else {
        // The exec fails, and says why itself.
        return Answer::Run { command: exec.parent, flags: 0 };
    };
    // What a tool wants to know of a file it opens that for.
    let flags = flags(recorder, &executable, &exec.invocation, false, true);
    if exec.parent == OWN {
        return Answer::Run { command: OWN, flags };
    }
    // Its hooks wait for what it opens, or the kernel does. Where neither is, nobody does.
    if is_unseen(recorder, &executable)
        && let Err(why) = recorder.force(&pending(recorder))
    {
        return unforced(recorder, exec.pid, &format!("what {} needs", program.display()), &why);
    }
    let mut running = parent.start(Role::Other, exec.fds.as_ref());
    running.opaque = is_opaque(&executable);
    running.names = true;
    let command = recorder.start(exec.parent, parent, running);
    enter(recorder, exec, command);
    Answer::Run { command, flags }
}

/// Can no hook be in it?
fn is_opaque(executable: &Executable) -> bool {
    matches!(executable, Executable::Static | Executable::Foreign | Executable::Jealous { .. })
}

/// What the program will be to those that it starts.
pub fn running(recorder: &Recorder, exec: &Exec, parent: &Running, facts: &Facts) -> Running {
    let role = role(recorder, facts, &exec.invocation);
    let mut running = parent.start(role, exec.fds.as_ref());
    running.opaque = is_opaque(&facts.executable);
    if role == Role::Libtool && recorder.defers {
        running.watched = libtool::watched(recorder, exec, facts);
    }
    let first = recorder.build.get().is_none_or(|&pid| pid.cast_unsigned() == exec.pid);
    // Without hooks nobody would tell where placeholders go.
    running.carries = recorder.sight != Sight::Tracer
        && !running.opaque
        && carrying::carries(recorder, facts, &exec.invocation);
    running.names = role != Role::Other || is_shell(recorder, facts);
    running.top = parent.top && !exec.spawned && first;
    // The script that the user ran by hand drives a build as make does.
    running.drives |= running.top && is_shell(recorder, facts);
    running
}

/// The process that asks is about to become this program. One that is spawned is not there yet.
fn enter(recorder: &Recorder, exec: &Arc<Exec>, id: u32) {
    if recorder.sight == Sight::Net && !exec.marked {
        // The kernel will say so, too.
        recorder.watch.expect(id, exec);
    }
    if exec.marked {
        // The hook will, but not what the kernel reads, and when that is looked for it may be gone.
        let _ = recorder.executed(&exec.invocation.program);
    }
    // The first program of the build is asked about by the recorder, before there is a process.
    if !exec.spawned && exec.pid != std::process::id() {
        recorder.watch.runs(exec.pid.cast_signed(), id);
    }
}

/// A command of the build is about to run: what its processes do is written down.
fn begin(
    recorder: &Recorder,
    exec: &Arc<Exec>,
    id: u32,
    drives: bool,
    learn: Option<learned::Place>,
    parent: &Running,
) {
    if parent.group != 0 && drives {
        recorder.watch.obstacle(parent.group, Observed::DRIVES);
    }
    let mut obstacles = Vec::new();
    if !drives && !parent.passes_on_or_discards(exec.fds.as_ref()) {
        obstacles.push(Observed::HEARD.to_owned());
    }
    // Its size and times can be had without a call that would be noticed.
    if exec.fds.is_some_and(|[input, ..]| input.mode & libc::S_IFMT == libc::S_IFREG) {
        obstacles.push("has a file as its standard input".to_owned());
    }
    recorder.watch.begin(Begun {
        id,
        within: parent.group,
        exec: Arc::clone(exec),
        drives,
        learn,
        elsewhere: !drives && !recorder.shares_files(exec.pid),
        obstacles,
        // One that is spawned, and the build itself, is looked at when it is there.
        descriptors: if exec.spawned || exec.pid == std::process::id() {
            Vec::new()
        } else {
            recorder.descriptors.of(exec)
        },
        began: file_clock(),
        first: recorder.watch.next(),
        at: Instant::now(),
    });
}

/// Is this a shell, or a script for one?
fn is_shell(recorder: &Recorder, facts: &Facts) -> bool {
    match &facts.executable {
        Executable::Script { interpreter, argument } => {
            // `#!/usr/bin/env bash`
            let name = argument.as_deref().filter(|_| interpreter.ends_with("env"));
            let path = match name {
                Some(name) => Path::new("/bin").join(name),
                None => interpreter.clone(),
            };
            let called = path.file_name().unwrap_or_default();
            recorder.program(&path, called).is_ok_and(|facts| facts.program == Program::Shell)
        }
        _ => facts.program == Program::Shell,
    }
}

/// The command that executes this one. A program in which no hook is starts others unseen: if the process is one of those by
/// now, it is told by its executable.
pub fn parent(recorder: &Recorder, exec: &Exec) -> Running {
    let known = recorder.command(exec.parent);
    if !known.opaque || recorder.sight.is_complete() {
        return known;
    }
    let Ok(program) = std::fs::read_link(format!("/proc/{}/exe", exec.pid)) else { return known };
    let name = program.file_name().unwrap_or_default();
    let Ok(facts) = recorder.program(&program, name) else { return known };
    known.start(role(recorder, &facts, &Invocation::default()), None)
}

fn role(recorder: &Recorder, facts: &Facts, invocation: &Invocation) -> Role {
    match facts.program {
        Program::Builder(Builder::Make | Builder::Bmake) => Role::Make,
        Program::Builder(Builder::Ninja | Builder::Samurai) => Role::Ninja,
        Program::Libtool => Role::Libtool,
        Program::Compiler(_)
        | Program::Ar(_)
        | Program::Ranlib(_)
        | Program::Ld(_)
        | Program::As
        | Program::Strip(_)
        | Program::Objcopy(_)
        | Program::Launcher => Role::Tool,
        Program::Shell if runs_libtool(recorder, invocation) => Role::Libtool,
        _ => Role::Other,
    }
}

/// `sh ../libtool --mode=compile …`
fn runs_libtool(recorder: &Recorder, invocation: &Invocation) -> bool {
    let mut arguments = invocation.argv.iter().skip(1);
    let script = arguments.find(|a| !a.as_bytes().starts_with(b"-") || a.as_bytes().contains(&b'c'));
    script.is_some_and(|script| {
        let path = invocation.absolute(script);
        recorder.program(&path, script).is_ok_and(|f| f.program == Program::Libtool)
    })
}

fn flags(
    recorder: &Recorder,
    executable: &Executable,
    invocation: &Invocation,
    carries: bool,
    names: bool,
) -> u32 {
    let takes_none = matches!(executable, Executable::Foreign | Executable::Jealous { .. })
        || recognise::lists_what_it_loads(executable, invocation);
    let foreign = if takes_none { reply_flags::NO_PRELOAD } else { 0 };
    let carry = if carries { reply_flags::CARRY } else { 0 };
    let at_once = if recorder.answers_at_once() { reply_flags::AT_ONCE } else { 0 };
    foreign | carry | at_once | if names { reply_flags::NAMES } else { 0 }
}
