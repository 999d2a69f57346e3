// SPDX-License-Identifier: Apache-2.0
//! What is asked of a sandbox and what it answers. Plain data.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::{Error, Result, Upper};

/// One command to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The program: an absolute path inside the sandbox.
    pub program: PathBuf,
    /// Its arguments, `argv[0]` included.
    pub argv: Vec<OsString>,
    /// Its whole environment. A `TMPDIR` in it is made as a directory.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory: absolute, made if it is missing.
    pub cwd: PathBuf,
    /// Its file mode creation mask.
    pub umask: u32,
    /// Where its standard input comes from.
    pub stdin: Stdin,
    /// Directories that must exist, such as those of its outputs: absolute, made if they are missing.
    pub directories: Vec<PathBuf>,
    /// It is killed, with all its children, after this time.
    pub timeout: Option<Duration>,
    /// It is killed when it has written more than this to standard output and standard error together, which are
    /// kept in memory.
    pub output_limit: usize,
    /// Where its writes go.
    pub layer: Layer,
}

impl Job {
    /// A job with empty environment, umask 022, no standard input, no time limit, 256 MiB of output at most, its
    /// writes in memory.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, argv: Vec<OsString>, cwd: impl Into<PathBuf>) -> Job {
        Job {
            program: program.into(),
            argv,
            env: Vec::new(),
            cwd: cwd.into(),
            umask: 0o022,
            stdin: Stdin::Null,
            directories: Vec::new(),
            timeout: None,
            output_limit: 256 << 20,
            layer: Layer::Memory,
        }
    }

    /// It cannot be run.
    pub(crate) fn bad(&self, reason: &'static str) -> Error {
        Error::BadJob { program: self.program.clone(), reason }
    }

    /// Can it be run as far as can be seen without looking at anything?
    pub(crate) fn check(&self) -> Result<()> {
        if !self.program.is_absolute() {
            return Err(self.bad("its path is not absolute"));
        }
        if self.argv.is_empty() {
            return Err(self.bad("it has no arguments, not even its name"));
        }
        Ok(())
    }
}

/// Where standard input comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Null,
    /// A file outside of the sandbox, which the command can read and not change.
    File(PathBuf),
}

/// Where a command's writes go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layer {
    /// To a tmpfs of the worker, limited to half of the machine's memory: 1 ms faster per command. Where the kernel cannot
    /// do it (before Linux 6.6, as an ordinary user), the same as `Disk`.
    #[default]
    Memory,
    /// To the file system of the scratch directory, from where results can be hard-linked away.
    Disk,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// Killed when its time was up.
    TimedOut,
    /// Killed because of more output than [`Job::output_limit`].
    OutputLimit,
    /// It never began: the program cannot be executed.
    NotStarted(ExecFailure),
}

impl Status {
    /// Of a process that has ended, as `wait` tells it.
    pub(crate) fn of_ended(status: libc::c_int) -> Self {
        let status = ExitStatus::from_raw(status);
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, signal) => Self::Signaled(signal.unwrap_or(libc::SIGKILL)),
        }
    }
}

/// Why a program cannot be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecFailure {
    /// There is no such program in the sandbox.
    Missing,
    /// The program is there; its interpreter (of `#!`, or the dynamic loader) is not.
    InterpreterMissing,
    /// It is not executable, or a directory.
    NotPermitted,
    /// It is no program for this machine.
    BadFormat,
    /// The working directory cannot be entered.
    BadDirectory,
    /// Arguments and environment are too large.
    TooLarge,
    /// Any other error of execve, as errno.
    Other(i32),
}

impl fmt::Display for ExecFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExecFailure::Missing => "the program is not among the inputs",
            ExecFailure::InterpreterMissing => {
                "the program's interpreter or dynamic loader is not among the inputs"
            }
            ExecFailure::NotPermitted => "the program is not executable",
            ExecFailure::BadFormat => "the program is not in a format that this machine executes",
            ExecFailure::BadDirectory => "the working directory cannot be entered",
            ExecFailure::TooLarge => "the arguments and the environment are larger than the system allows",
            ExecFailure::Other(errno) => return io::Error::from_raw_os_error(*errno).fmt(f),
        })
    }
}

/// What a command used, its waited-for children included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// From before the sandbox was set up to after it was gone.
    pub wall: Duration,
    /// Memory of the largest process, in KiB.
    pub max_rss: u64,
}

/// What came of a command.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// All that was written to its standard output.
    pub stdout: Vec<u8>,
    /// All that was written to its standard error.
    pub stderr: Vec<u8>,
    /// What it used. CPU times and memory are zero if it was killed by the sandbox.
    pub usage: Usage,
    /// What it did to files.
    pub upper: Upper,
}
