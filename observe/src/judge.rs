// SPDX-License-Identifier: Apache-2.0
//! Who is asked before a program is executed or a file opened, and what can be answered. Knows neither how the question
//! comes up nor how an answer is carried out.

use std::any::Any;
use std::ffi::OsString;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Event, Pid};

/// A program that is about to be executed.
#[derive(Clone, Debug)]
pub struct Exec {
    /// The process.
    pub pid: Pid,
    /// Its parent, as far as it is still known.
    pub parent: Pid,
    /// The program: absolute, with its links.
    pub path: PathBuf,
    /// The arguments, `argv[0]` included.
    pub argv: Vec<OsString>,
    /// The environment; entries without a `=` are left out.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory.
    pub cwd: PathBuf,
    /// The file mode creation mask.
    pub umask: u32,
    /// What standard input, output and error are; nothing for a descriptor that is closed.
    pub fds: [Option<Metadata>; 3],
}

/// Stands for what a path leads to: see [`Judge::way`].
pub type Way = Arc<dyn Any + Send + Sync>;

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What would happen anyway.
    Go,
    /// The program is not to run an instruction: its process ends with this exit code. For an exec only; an open goes on.
    Exit(u8),
    /// The call fails with this error.
    Fail(i32),
}

/// Decides about what no hook sees. May take its time: only the thread that asks is held up, in the net. A tracer
/// has one thread for all, which waits, too.
///
/// Processes that it starts in the calling thread must have ended, and been waited for, when it answers.
pub trait Judge: Send + Sync {
    /// A program that exists and may be executed is about to be.
    fn exec(&self, exec: &Exec) -> Verdict {
        let _ = exec;
        Verdict::Go
    }

    /// Is this exec one that is known already, by other means? Then nothing more is asked about it. Must be quick. The path is
    /// absolute, with its links; `parent` looks for the process's parent.
    fn knows(&self, pid: Pid, path: &Path, argv: &[OsString], parent: &dyn Fn() -> Option<Pid>) -> bool {
        let _ = (pid, path, argv, parent);
        false
    }

    /// Does it matter that this process reads its standard input (`input`), or what it writes to its standard output or
    /// error? Must be quick.
    fn minds_streams(&self, pid: Pid, input: bool) -> bool {
        let _ = (pid, input);
        true
    }

    /// A process asks by itself, with the net's mark: what it says, and what it is told. Nothing where nobody answers here. Must not take
    /// long.
    fn answer(&self, pid: Pid, message: &[u8]) -> Option<Vec<u8>> {
        let _ = (pid, message);
        None
    }

    /// [`Verdict::Exit`] could not be carried out: the exec failed for another reason, or the process cannot be traced
    /// because somebody else does so already. If the latter (`runs`), the program runs.
    fn not_deferred(&self, exec: &Exec, runs: bool) {
        let _ = (exec, runs);
    }

    /// May a regular file of this size be one that `open` wants to be asked about? Must be quick.
    fn may_be_placeholder(&self, size: u64) -> bool {
        let _ = size;
        false
    }

    /// Is `open` to be asked about directories too? Must be quick.
    fn may_hold_placeholders(&self) -> bool {
        false
    }

    /// Is `open` to be asked about this file before it is opened for writing? Must be quick.
    fn keeps(&self, path: &Path) -> bool {
        let _ = path;
        false
    }

    /// What stands for where this absolute path leads: the same one again for as long as nothing on the way there, nor what it
    /// leads to, may have changed. Nothing where that is not known. Must be quick.
    fn way(&self, path: &Path) -> Option<Way> {
        let _ = path;
        None
    }

    /// As [`crate::executed`], in no directory, of an absolute path, by who knows it without looking. Must be quick.
    fn executed(&self, program: &Path) -> Option<Arc<[Event]>> {
        let _ = program;
        None
    }

    /// A regular file or a directory that exists is about to be opened, under this absolute path.
    fn open(&self, pid: Pid, path: &Path, writes: bool) -> Verdict {
        let _ = (pid, path, writes);
        Verdict::Go
    }

    /// Is `foreign` to be asked about this process? Must be quick.
    fn minds_foreign(&self, pid: Pid) -> bool {
        let _ = pid;
        false
    }

    /// A call that is not decoded is about to be made, which may look at any file.
    fn foreign(&self, pid: Pid) -> Verdict {
        let _ = pid;
        Verdict::Go
    }
}
