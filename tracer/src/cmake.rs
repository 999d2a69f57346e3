// SPDX-License-Identifier: Apache-2.0
//! What cmake does to tell how far a build is ([`models::cmake`]), done by the recorder: writes down what is done now, counts, and has
//! the line printed by the process that would have been cmake. How lines look CMake itself was asked. Does not know
//! whether what the line tells of is done then: no more does CMake, which says it before.

use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use models::cmake::{COUNT, Echo, MARK, is_of_terminal};
use models::{Answer, World as _};
use thunk::ObjectKind;
use thunk::trace::{Touch, Uses};
use wire::FdIdentity;

use crate::carry::{Done, operand, place, touch, write};
use crate::carrying::has_others_preloaded;
use crate::descriptors;
use crate::looks::is_gone;
use crate::programs::Facts;
use crate::recorder::Recorder;
use crate::request::Exec;
use crate::shell;
use crate::watch::environment;

/// No line's beginning is longer.
const HEAD: usize = 16;

/// What to tell.
pub struct Progress {
    echo: Echo,
    answer: Arc<Answer>,
    is_terminal: bool,
    umask: u32,
}

impl Progress {
    /// What this cmake is to tell, if it is that, and the recorder can.
    pub fn of(recorder: &Recorder, exec: &Exec, facts: &Facts) -> Option<Self> {
        let invocation = &exec.invocation;
        let mut echo = Echo::of(&invocation.argv)?;
        let is_cmake = facts.real.file_name().is_some_and(|name| name == "cmake");
        if !is_cmake || has_others_preloaded(recorder, invocation) {
            return None;
        }
        let is_terminal = is_terminal(&exec.fds?[1])?;
        if let Some(progress) = &mut echo.progress {
            // Where the process finds it.
            let (path, above) = operand(recorder, exec, progress.directory.as_os_str())?;
            progress.directory = above.join(path.file_name()?);
        }
        let kept = environment::kept(&invocation.env, recorder.install.interceptor.as_os_str());
        let kept = kept.iter().map(|variable| thunk::split_variable(variable));
        let env = kept.chain(invocation.env.of(is_of_terminal)).collect();
        let question = echo.question(&invocation.program, env);
        let answer = recorder.ask(&question).ok()?;
        let longest = echo.prints(&answer, is_terminal, None)?.len() + HEAD;
        let told = Self { echo, answer, is_terminal, umask: exec.umask };
        shell::can_print(exec, longest).then_some(told)
    }

    /// Does it, as the command with this number. Nothing where it could not be done; to do it again does no harm.
    pub fn make(self, recorder: &Recorder, id: u32) -> Option<Done> {
        let Self { echo, answer, is_terminal, umask } = self;
        let mut touches = Vec::new();
        let mut done = None;
        if let Some(progress) = &echo.progress {
            let directory = &progress.directory;
            let count = directory.join(COUNT);
            match read_small(&count) {
                Ok(all) => {
                    let before = Some(recorder.store.put(ObjectKind::Value, &all).ok()?);
                    let uses = Uses::FOUND | Uses::READ | Uses::INPUT;
                    touches.push(Touch { before, ..touch(&place(&count), uses) });
                    for mark in &progress.marks {
                        touches.push(mark_done(recorder, id, &directory.join(mark), umask)?);
                    }
                    touches.push(touch(&place(directory), Uses::FOUND | Uses::LISTED));
                    done = Some((fs::read_dir(directory).ok()?.count().checked_sub(1)?, all));
                }
                // Nobody counts.
                Err(error) if is_gone(&error) => {
                    touches.push(touch(&place(&count), Uses::MISSING));
                }
                Err(_) => return None,
            }
        }
        let done = done.as_ref().map(|(done, all)| (*done, &all[..]));
        let prints = echo.prints(&answer, is_terminal, done)?;
        Some(Done { touches, prints, obstacle: "tells how far the build is" })
    }
}

/// Reads a file that holds a number.
fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    const LONG: u64 = 100;
    let file = fs::metadata(path)?;
    if !file.is_file() || file.len() > LONG { Err(io::ErrorKind::InvalidData.into()) } else { fs::read(path) }
}

/// What is done now. What stands there may be no file, and then is for CMake.
fn mark_done(recorder: &Recorder, id: u32, path: &Path, umask: u32) -> Option<Touch> {
    let stands = fs::symlink_metadata(path).ok();
    stands.is_none_or(|file| file.is_file()).then(|| write(recorder, id, path, MARK, umask))?
}

/// Is it a terminal? Nothing of another device, which may be one.
fn is_terminal(fd: &FdIdentity) -> Option<bool> {
    match fd.mode & libc::S_IFMT {
        libc::S_IFCHR if fd.rdev == descriptors::NULL => Some(false),
        // Those of windows and of remote shells (Documentation/admin-guide/devices.txt).
        libc::S_IFCHR => (136..=143).contains(&libc::major(fd.rdev)).then_some(true),
        _ => Some(false),
    }
}
