// SPDX-License-Identifier: Apache-2.0
//! The one command that a build driver has a shell start, as the shell would execute it: where it is found in `PATH`, in which directory,
//! with which variables. Where it is deferred nothing is left for the shell to do but to print and to rename what it
//! gives, and it need not be started. Starting one, and what it tells of itself, would take longer than all else. Does
//! not know what becomes of the command.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use models::recognise::Program;
use models::shell::{Step, steps};
use nix::unistd::{AccessFlags, access};

use crate::carry::Move;
use crate::defer;
use crate::programs::Facts;
use crate::recorder::Recorder;
use crate::request::Exec;

/// What a shell was to do.
pub struct Line {
    /// The command.
    pub command: Exec,
    /// What is printed on the way.
    pub prints: Vec<u8>,
    /// Some of it after the command.
    pub prints_after: bool,
    /// What it makes gets other names after it.
    pub moves: Vec<Move>,
}

/// What the shell that is about to be executed was to do, if that is no more than one command.
pub fn line(recorder: &Recorder, exec: &Exec, facts: &Facts) -> Option<Line> {
    let invocation = &exec.invocation;
    if !is_understood(facts, invocation.argv.first()?) || invocation.env.iter().any(changes_shells) {
        return None;
    }
    let steps = steps(&invocation.argv)?;
    let mut place = Place::of(recorder, exec)?;
    let (mut command, mut prints, mut prints_after, mut moves) = (None, Vec::new(), false, Vec::new());
    for step in steps {
        match step {
            Step::Print(text) => {
                prints_after |= command.is_some();
                prints.extend(text);
            }
            Step::Enter(to) => place.enter(Path::new(&to))?,
            Step::Run { variables, argv } => {
                let next = execute(exec, &place, variables, argv)?;
                match &command {
                    None => command = Some(next),
                    Some(_) => {
                        let moved = Move::of(recorder, &next)?;
                        // Each once, and none of them onto another: then their order makes no difference.
                        let apart = |other: &Move| {
                            ![&other.from, &other.to].contains(&&moved.from) && other.to != moved.to
                        };
                        moves.iter().all(apart).then(|| moves.push(moved))?;
                    }
                }
            }
        }
    }
    can_print(exec, prints.len()).then_some(Line { command: command?, prints, prints_after, moves })
}

/// Can the process print a text of this length? It takes no more than so much.
pub fn can_print(exec: &Exec, length: usize) -> bool {
    let closed = exec.fds.is_some_and(|fds| fds[1].mode == 0);
    length == 0 || exec.prints && !closed && length <= wire::PRINT_MAX
}

/// Is it a shell that keeps to what all keep to, and reads no file of the user's first?
fn is_understood(facts: &Facts, called: &OsStr) -> bool {
    // busybox has programs of its own where others look into PATH.
    const SHELLS: [&str; 4] = ["ash", "bash", "dash", "sh"];
    let is_one = |path: &Path| path.file_name().is_some_and(|name| SHELLS.iter().any(|shell| name == *shell));
    facts.program == Program::Shell && is_one(&facts.real) && is_one(Path::new(called))
}

/// Does a variable make a shell do more, or something else: functions, options, files to be read?
pub fn changes_shells((name, _): (&OsStr, &OsStr)) -> bool {
    const NAMES: [&str; 8] =
        ["BASHOPTS", "BASH_ENV", "BASH_XTRACEFD", "CDPATH", "ENV", "OPTIND", "POSIXLY_CORRECT", "SHELLOPTS"];
    NAMES.iter().any(|known| name == *known) || name.as_bytes().starts_with(b"BASH_FUNC_")
}

/// Where a shell is.
struct Place {
    /// Links resolved.
    real: PathBuf,
    /// As it is called in `PWD`.
    called: PathBuf,
}

impl Place {
    /// Where it begins: it believes `PWD` if that leads there.
    fn of(recorder: &Recorder, exec: &Exec) -> Option<Self> {
        let real = &exec.invocation.cwd;
        let called = exec.invocation.var("PWD").map(Path::new).filter(|pwd| pwd.is_absolute());
        let called = called.filter(|pwd| defer::same_directory(recorder, pwd, real)).unwrap_or(real);
        let plain = |part: Component| matches!(part, Component::RootDir | Component::Normal(_));
        called.components().all(plain).then(|| Self { called: called.to_path_buf(), real: real.clone() })
    }

    /// Goes elsewhere; nothing where that may fail, or shells do not agree.
    fn enter(&mut self, to: &Path) -> Option<()> {
        let is_up = |part| part == Component::ParentDir;
        // From behind a link there are two ways upwards; two slashes may be another root.
        if to.as_os_str().as_bytes().starts_with(b"//")
            || to.components().any(is_up) && self.called != self.real
        {
            return None;
        }
        let mut called = PathBuf::new();
        for part in self.called.join(to).components() {
            match part {
                Component::CurDir => {}
                // The way up from a directory, not from a link to one.
                Component::ParentDir if !std::fs::symlink_metadata(&called).ok()?.is_dir() => return None,
                Component::ParentDir => {
                    called.pop();
                }
                part => called.push(part),
            }
        }
        let real = std::fs::canonicalize(&called).ok()?;
        (real.is_dir() && may_execute(&real)).then_some(())?;
        (self.real, self.called) = (real, called);
        Some(())
    }
}

/// The command that a shell script starts, which has changed neither directory nor variables.
pub fn started(recorder: &Recorder, exec: &Exec, argv: Vec<OsString>) -> Option<Exec> {
    execute(exec, &Place::of(recorder, exec)?, Vec::new(), argv)
}

/// The command as the shell executes it.
fn execute(
    exec: &Exec,
    place: &Place,
    variables: Vec<(OsString, OsString)>,
    argv: Vec<OsString>,
) -> Option<Exec> {
    if variables.iter().any(|(name, _)| name == "PATH" || changes_shells((name, OsStr::new("")))) {
        return None;
    }
    let mut command = exec.clone();
    let invocation = &mut command.invocation;
    let name = argv.first()?;
    invocation.program = if name.as_bytes().contains(&b'/') {
        Some(place.real.join(name)).filter(|path| is_program(path))?
    } else {
        find(name, invocation.var("PATH")?, &place.real)?
    };
    invocation.program = observe::tidy(&invocation.program);
    invocation.argv = argv;
    invocation.cwd.clone_from(&place.real);
    invocation.env.set("PWD", &place.called);
    for (name, value) in variables {
        invocation.env.set(name, value);
    }
    Some(command)
}

/// Where shells find a program.
fn find(name: &OsStr, path: &OsStr, cwd: &Path) -> Option<PathBuf> {
    // `%builtin` in the path of dash; a home directory in that of bash.
    if name.is_empty() || path.as_bytes().iter().any(|byte| b"%~".contains(byte)) {
        return None;
    }
    let directories = path.as_bytes().split(|&byte| byte == b':').map(OsStr::from_bytes);
    directories.map(|directory| cwd.join(directory).join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    may_execute(path) && std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

fn may_execute(path: &Path) -> bool {
    access(path, AccessFlags::X_OK).is_ok()
}
