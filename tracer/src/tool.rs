// SPDX-License-Identifier: Apache-2.0
//! Runs a tool to find out about it: observed, so that it is known what it used, or not, where it cannot be. It may
//! take so long and no longer. Unaware of what it is asked for, and of what becomes of the answer.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::memfd::{MFdFlags, memfd_create};
use observe::{Ends, Process, Touches};

use crate::touched::Touched;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// An absolute path.
    pub program: &'a Path,
    /// The arguments, `argv[0]` included.
    pub argv: &'a [OsString],
    /// The whole environment.
    pub env: &'a [(OsString, OsString)],
    /// Where.
    pub directory: &'a Path,
    /// When this has passed, it and all that it started are killed.
    pub limit: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Done {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// What came of it that was observed.
#[derive(Debug)]
pub struct Observed {
    /// What came of it.
    pub done: Done,
    /// When it was started.
    pub start: SystemTime,
    /// All that it used and that this rests on, or why that is not known.
    pub used: Result<Touched, String>,
    /// It has looked at what shows in no file that stays: on another machine it might do something else.
    pub asks_the_machine: bool,
}

/// Why there is nothing.
#[derive(Debug)]
pub enum Failure {
    /// It was killed because its time was up. What it had used, if that is known.
    Hangs(Touched),
    /// It cannot be run, or not be observed.
    Cannot(String),
}

impl Job<'_> {
    /// Runs it under observation. It has no input.
    ///
    /// # Errors
    /// It cannot be observed, or does not end. That it fails is no error.
    pub fn observed(&self) -> Result<Observed, Failure> {
        let command = observe::Command {
            argv: self.settled(),
            env: self.env.to_vec(),
            cwd: self.directory.to_path_buf(),
            ..observe::Command::new(self.program)
        };
        let options = observe::Options { timeout: Some(self.limit), rest: observe::Rest::Kill };
        let start = SystemTime::now();
        let seen =
            observe::observe(&command, &options).map_err(|error| Failure::Cannot(error.to_string()))?;
        if seen.timed_out {
            return Err(Failure::Hangs(Touched::used(&seen.touches, self.directory)));
        }
        let used = Touched::of(&seen.touches, self.directory);
        let asks_the_machine = asks_the_machine(&seen.touches);
        let done = Done { status: seen.status, stdout: seen.stdout, stderr: seen.stderr };
        Ok(Observed { done, start, used, asks_the_machine })
    }

    /// Runs it unobserved, with this for its standard input.
    ///
    /// # Errors
    /// It cannot be run, or does not end.
    pub fn unobserved(&self, input: &[u8]) -> Result<Done, Failure> {
        self.run(input).map_err(|error| Failure::Cannot(error.to_string()))?.ok_or_else(|| {
            Failure::Hangs(Touched { found: [self.program.to_path_buf()].into(), ..Touched::default() })
        })
    }

    fn run(&self, input: &[u8]) -> io::Result<Option<Done>> {
        let mut command = Command::new(self.program);
        if let Some((name, arguments)) = self.settled().split_first() {
            command.arg0(name).args(arguments);
        }
        command.env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.directory);
        // Files have no end that somebody else may hold open, nor do they fill up.
        let (stdout, stderr) = (memory(&[])?, memory(&[])?);
        command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        command.stdin(if input.is_empty() { Stdio::null() } else { memory(input)?.into() });
        // All that it starts can be killed with it, and it does not outlive the recorder.
        command.process_group(0);
        // SAFETY: between fork and exec only prctl is called, with integers.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let Some(status) = end(command.spawn()?, self.limit)? else { return Ok(None) };
        Ok(Some(Done { status, stdout: all(stdout)?, stderr: all(stderr)? }))
    }

    /// The arguments for running the program elsewhere than where the command runs: programs that find their parts from
    /// `argv[0]` must not find them, or find others, because of that.
    fn settled(&self) -> Vec<OsString> {
        let mut argv = self.argv.to_vec();
        if let Some(name) = argv.first_mut()
            && name.as_bytes().contains(&b'/')
        {
            *name = self.program.into();
        }
        argv
    }
}

fn asks_the_machine(touches: &Touches) -> bool {
    /// How many processors there are, which says how many of its parts run at once (`-flto=auto`).
    const PROCESSORS: [&str; 3] = ["online", "possible", "present"];
    let counts = |path: &Path| {
        path.strip_prefix("/sys/devices/system/cpu")
            .is_ok_and(|name| PROCESSORS.map(Path::new).contains(&name))
    };
    let mut paths = touches.iter().map(|(path, _)| path);
    paths.any(|path| path == Path::new("/proc/cpuinfo") || path.starts_with("/sys/devices") && !counts(path))
}

/// Writes a shell script. Another process does: what this one has open for writing, a child that another test starts in that moment has
/// too, and the kernel executes nothing that anybody has open for writing.
#[cfg(test)]
pub fn write_script(path: &Path, script: &str) {
    let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$0\" && chmod 755 \"$0\"";
    let status = Command::new("sh").args(["-c", write]).arg(path).arg(script).status();
    assert!(status.is_ok_and(|status| status.success()), "{}", path.display());
}

/// A file in memory, to be read from its beginning.
fn memory(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("ggtrace-tool", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

fn all(mut file: File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut content)?;
    Ok(content)
}

/// Waits for the first process of a group, and kills the others; nothing if it had to be killed.
fn end(mut tool: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let group = tool.id().cast_signed();
    let has_ended = || {
        let (ends, process) = (Ends::new()?, Process::open(group)?);
        ends.add(&process, 0)?;
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if !ends.wait(Some(left))?.is_empty() {
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    };
    let has_ended: io::Result<bool> = has_ended();
    // SAFETY: numbers only. The group's first process has not been waited for: its id is nobody else's.
    unsafe { libc::kill(-group, libc::SIGKILL) };
    let status = tool.wait()?;
    Ok(has_ended?.then_some(status))
}
