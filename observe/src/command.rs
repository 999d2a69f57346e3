// SPDX-License-Identifier: Apache-2.0
//! Starting a command under observation: fork, set the child up, meet at the gate. Knows nothing of tracing.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, PipeWriter};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::ptr;

use crate::gate::{Gate, Run, Stream};
use crate::summary::Touches;
use crate::{Error, Options, Pid};

/// What to run. Standard input is empty; standard output and error are collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program: a path, relative to `cwd` if not absolute; `PATH` is not searched.
    pub program: PathBuf,
    /// The arguments, `argv[0]` included.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory.
    pub cwd: PathBuf,
    /// The file mode creation mask; the caller's if not given.
    pub umask: Option<u32>,
}

impl Command {
    /// A command with its program as `argv[0]`, an empty environment, in `/`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let program = program.into();
        let argv = vec![program.clone().into_os_string()];
        Self { program, argv, env: Vec::new(), cwd: PathBuf::from("/"), umask: None }
    }
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// How it ended.
    pub status: ExitStatus,
    /// It was killed, with all that it started, because its time was up.
    pub timed_out: bool,
    /// How often one of its processes was stopped: a measure of what observing it cost.
    pub stops: u64,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
    /// What it did to the file system.
    pub touches: Touches,
}

/// Runs a command and tells what it and all its descendants did to the file system.
///
/// # Errors
/// When it cannot be started or traced. That it fails is no error.
pub fn observe(command: &Command, options: &Options) -> Result<Observation, Error> {
    let image = Image::new(command)?;
    let gate = Gate::new()?;
    let (stdout, stdout_end) = io::pipe().map_err(Error::Gate)?;
    let (stderr, stderr_end) = io::pipe().map_err(Error::Gate)?;
    let mut streams = [Stream::new(stdout), Stream::new(stderr)];
    let child = fork(&image, &gate, &stdout_end, &stderr_end)?;
    drop((stdout_end, stderr_end));
    let mut touches = Touches::new();
    let run = gate.follow_and_read(options, &mut touches, &mut streams).inspect_err(|_| reap(child))?;
    let Run { status, timed_out, stops } = run;
    let [stdout, stderr] = streams.map(|stream| stream.bytes);
    Ok(Observation { status, timed_out, stops, stdout, stderr, touches })
}

/// A command as the kernel wants it, made before the fork because a child may not allocate.
struct Image {
    program: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
    umask: Option<u32>,
}

impl Image {
    fn new(command: &Command) -> Result<Self, Error> {
        let variable = |(name, value): &(OsString, OsString)| {
            let mut text = name.clone();
            text.push("=");
            text.push(value);
            c_string(&text)
        };
        Ok(Self {
            program: c_string(command.program.as_os_str())?,
            argv: command.argv.iter().map(|arg| c_string(arg)).collect::<Result<_, _>>()?,
            env: command.env.iter().map(variable).collect::<Result<_, _>>()?,
            cwd: c_string(command.cwd.as_os_str())?,
            umask: command.umask,
        })
    }
}

fn c_string(text: &OsStr) -> Result<CString, Error> {
    CString::new(text.as_bytes()).map_err(|_| Error::Nul(text.to_owned()))
}

/// The pointers of a null-terminated array.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

fn fork(image: &Image, gate: &Gate, stdout: &PipeWriter, stderr: &PipeWriter) -> Result<Pid, Error> {
    let (argv, env) = (pointers(&image.argv), pointers(&image.env));
    // SAFETY: the child calls async-signal-safe functions only, and allocates nothing.
    match unsafe { libc::fork() } {
        -1 => Err(Error::Fork(io::Error::last_os_error())),
        0 => {
            let error = exec(image, gate, &argv, &env, [stdout.as_raw_fd(), stderr.as_raw_fd()]);
            gate.fail(&error);
            // SAFETY: ends the child without running what the parent registered to run at its own end.
            unsafe { libc::_exit(127) }
        }
        child => Ok(child),
    }
}

/// The child's way from `fork` to `exec`. Returns only if it cannot be gone.
fn exec(
    image: &Image,
    gate: &Gate,
    argv: &[*const libc::c_char],
    env: &[*const libc::c_char],
    [stdout, stderr]: [i32; 2],
) -> io::Error {
    // SAFETY: system calls on descriptors and on strings made before the fork. What they change (directory, mask, signals,
    // descriptors 0 to 2) is this child's own. `argv` and `env` end with a null pointer.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        // Rust programs ignore it, and what is ignored stays so after exec.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        if libc::chdir(image.cwd.as_ptr()) != 0 {
            return io::Error::last_os_error();
        }
        if let Some(mask) = image.umask {
            libc::umask(mask);
        }
        let stdin = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        // If the caller has some of these closed, a pipe may have their numbers: up and out of the way first.
        let mut fds = [stdin, stdout, stderr];
        for fd in &mut fds {
            *fd = libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, 3);
            if *fd < 0 {
                return io::Error::last_os_error();
            }
        }
        for (fd, number) in fds.into_iter().zip(0..) {
            if libc::dup2(fd, number) < 0 {
                return io::Error::last_os_error();
            }
        }
        if let Err(error) = gate.enter() {
            return error;
        }
        libc::execve(image.program.as_ptr(), argv.as_ptr(), env.as_ptr());
    }
    io::Error::last_os_error()
}

/// A child that did not get as far as being traced ends by itself, since nobody is at the gate any more, but leaves its
/// status behind. One that was traced is reaped already.
fn reap(child: Pid) {
    // SAFETY: takes a number and a null pointer.
    unsafe { libc::waitpid(child, ptr::null_mut(), 0) };
}
