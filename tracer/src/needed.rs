// SPDX-License-Identifier: Apache-2.0
//! What is to be forced before a command starts: what it looks at where no hook can wait for it, and what it is given by name. What else it
//! opens it waits for when it does.

use std::path::PathBuf;

use models::libraries::runtime_libraries;
use models::recognise::{Executable, Program};
use models::{Invocation, World as _};
use thunk::trace::Disposition;

use crate::carrying::{is_tool_of_cmake, owns_before_others};
use crate::programs::Facts;
use crate::recorder::{Recorder, Sight};

/// Does the program open files without anybody being asked first?
pub fn is_unseen(recorder: &Recorder, executable: &Executable) -> bool {
    match executable {
        Executable::Static | Executable::Jealous { .. } | Executable::Foreign => {
            !recorder.sight.is_complete()
        }
        _ => false,
    }
}

/// All placeholders that this recording knows of.
pub fn pending(recorder: &Recorder) -> Vec<PathBuf> {
    recorder.placeholders(recorder.outputs().iter().map(PathBuf::as_path))
}

/// The placeholders that a command needs.
#[derive(Default)]
pub struct Needed {
    /// Before it starts.
    pub now: Vec<PathBuf>,
    /// Are there others on its command line, for which it waits when it looks at them?
    pub waits: bool,
}

/// The placeholders that a command which runs will look at where no hook can wait for them, and those that it most likely
/// opens: forced together, in parallel. If it is given a dependency file, it is not likely to open the object that it
/// is of, though it may be given that as well.
pub fn needed(
    recorder: &Recorder,
    facts: &Facts,
    invocation: &Invocation,
    disposition: Disposition,
) -> Needed {
    let mut paths = Vec::new();
    match &facts.executable {
        Executable::Script { interpreter, .. } => paths.push(interpreter.clone()),
        // Nobody sees what it opens: everything that is pending must be there, unless it only starts others.
        _ if is_unseen(recorder, &facts.executable) && !matches!(facts.program, Program::Builder(_)) => {
            paths.extend(pending(recorder));
        }
        Executable::Dynamic { .. } => {
            // ld.so opens libraries before any hook exists.
            let library_path = invocation.var("LD_LIBRARY_PATH").filter(|v| !v.is_empty());
            if (facts.has_search_path || library_path.is_some())
                && let Some(elf) = recorder.elf(&facts.real)
            {
                paths.extend(runtime_libraries(&elf, &facts.real, library_path, &invocation.cwd, recorder));
            }
        }
        _ => {}
    }
    let reads_arguments = match facts.program {
        Program::Shell | Program::Libtool | Program::Builder(_) => false,
        Program::CMake => is_tool_of_cmake(invocation),
        _ => disposition != Disposition::Deferred,
    };
    let mut waits = false;
    if reads_arguments {
        let named = invocation.argv.iter().skip(1).map(|a| invocation.absolute(a)).collect::<Vec<_>>();
        let can_wait =
            recorder.sight != Sight::Tracer && matches!(facts.executable, Executable::Dynamic { .. });
        let first = recorder.early.among(&named);
        waits = can_wait && !first.is_empty();
        paths.extend(if waits { first } else { named });
    }
    if owns_before_others(recorder, facts, invocation) {
        // In directories, too.
        let named: Vec<PathBuf> = paths.iter().filter_map(|path| path.canonicalize().ok()).collect();
        paths.extend(recorder.outputs().into_iter().filter(|path| named.iter().any(|n| path.starts_with(n))));
    }
    Needed { now: recorder.placeholders(paths.iter().map(PathBuf::as_path)), waits }
}
