// SPDX-License-Identifier: Apache-2.0
//! The worker's side of one command: makes everything ready, starts the sandbox's init process, listens to the
//! command's output, kills it when its time is up, and waits until nothing of it is left.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::child::{self, CArray, Plan, Verdict};
use crate::{
    Error, ExecFailure, Gate, Job, Layer, Outcome, Result, Sandbox, Status, Stdin, Tree, Upper, Usage, sys,
};

impl Sandbox {
    /// Runs one command on the files of the last [`Sandbox::sync`]. When this returns, no process of it is left.
    ///
    /// # Errors
    /// The sandbox could not be set up. Whatever the command itself does, even if it cannot be executed, is no
    /// error but an [`Outcome`].
    pub fn run(&mut self, job: &Job) -> Result<Outcome> {
        self.start(job, None)
    }

    /// As [`Sandbox::run`]; the command's process passes a gate before it executes its program.
    ///
    /// # Errors
    /// As [`Sandbox::run`]; or the process did not get through.
    pub fn run_through(&mut self, gate: &dyn Gate, job: &Job) -> Result<Outcome> {
        self.start(job, Some(gate))
    }

    fn start(&mut self, job: &Job, gate: Option<&dyn Gate>) -> Result<Outcome> {
        let begun = Instant::now();
        self.reap_ended(MOST_ENDING)?;
        let layer = match job.layer {
            Layer::Memory if self.support.memory_layer => "mem",
            _ => "disk",
        };
        self.count += 1;
        let number = self.count.to_string();
        let mut upper = Upper::create(&self.directory.join(layer), &number, Arc::clone(self.tree.shape()))?;
        prepare(job, &self.tree, &mut upper)?;

        let (theirs, ours) = ends(self.stdin(&job.stdin)?)?;
        let overlay_options = overlay_options(layer, &number, self.support.user_namespace)?;
        let running = self.begin(job, gate, overlay_options, &theirs)?;
        drop(theirs);
        if let Some(gate) = gate {
            gate.started();
        }

        let mut output = Output::new(ours.stdout, ours.stderr, job.output_limit)?;
        let deadline = job.timeout.map(|timeout| begun + timeout);
        let (status, mut usage) = self.follow(running, &mut output, ours.done.as_fd(), deadline)?;
        let [stdout, stderr] = output.bytes;
        usage.wall = begun.elapsed();
        Ok(Outcome { status, stdout, stderr, usage, upper })
    }

    /// Starts the init process, which starts the command.
    fn begin(
        &self,
        job: &Job,
        gate: Option<&dyn Gate>,
        overlay_options: CString,
        ends: &Theirs,
    ) -> Result<Running> {
        let scratch = c_string(job, self.directory.as_os_str().as_bytes().to_vec())?;
        let argv = job.argv.iter().map(|a| c_string(job, a.as_bytes().to_vec()));
        let env = job.env.iter().map(|(k, v)| c_string(job, [k.as_bytes(), b"=", v.as_bytes()].concat()));
        let plan = Plan {
            memory: &self.memory,
            worker: self.worker.as_fd(),
            scratch: &scratch,
            overlay_options,
            user_namespace: self.support.user_namespace,
            standard: [ends.stdin.as_fd(), ends.stdout.as_fd(), ends.stderr.as_fd()],
            done: ends.done.as_fd(),
            program: c_string(job, job.program.as_os_str().as_bytes().to_vec())?,
            argv: CArray::new(argv.collect::<Result<_>>()?),
            env: CArray::new(env.collect::<Result<_>>()?),
            cwd: c_string(job, job.cwd.as_os_str().as_bytes().to_vec())?,
            umask: job.umask & 0o777,
            gate,
        };
        if gate.is_some_and(|gate| gate.fd() <= child::DONE) {
            return Err(Error::setup("set up descriptors", io::Error::from_raw_os_error(libc::EBADF)));
        }
        self.memory.report().reset();
        Running::start(&plan)
    }

    /// Collects output until the command has ended, or is killed; tells how.
    fn follow(
        &mut self,
        running: Running,
        output: &mut Output,
        done: BorrowedFd<'_>,
        deadline: Option<Instant>,
    ) -> Result<(Status, Usage)> {
        let killed = running.listen(output, done, deadline, self.leash.as_ref())?;
        let verdict = self.memory.report().verdict();
        if killed.is_some() || matches!(verdict, Verdict::Killed) {
            running.wait()?;
        } else {
            self.ending.push_back(running);
        }
        output.drain()?;
        match killed {
            Some(status) => Ok((status, Usage::default())),
            None => judge(verdict),
        }
    }

    /// Forgets the sandboxes that have ended; waits for the oldest ones if there are more than `most` others.
    pub(crate) fn reap_ended(&mut self, most: usize) -> Result<()> {
        while let Some(oldest) = self.ending.front_mut() {
            if !oldest.has_ended() && self.ending.len() <= most {
                break;
            }
            self.ending.pop_front().map_or(Ok(()), Running::wait)?;
        }
        Ok(())
    }

    /// A descriptor of standard input, by which the command can change nothing: not even with `/proc/self/fd/0`, or as
    /// root. A read-only mount sees to that.
    fn stdin(&self, stdin: &Stdin) -> Result<OwnedFd> {
        let opened = match stdin {
            Stdin::Null => sys::openat(self.scratch.as_fd(), c"dev/null", libc::O_RDONLY)
                .map_err(|e| Error::file("cannot open", Path::new("/dev/null"), e)),
            Stdin::File(path) => open_read_only(path).map_err(|e| Error::file("cannot read", path, e)),
        };
        sys::above_standard(opened?).map_err(|e| Error::setup("set up descriptors", e))
    }
}

/// What the sandbox's processes hold.
struct Theirs {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    done: OwnedFd,
}

/// The other ends.
struct Ours {
    stdout: OwnedFd,
    stderr: OwnedFd,
    /// Ends with the last process of the sandbox.
    done: OwnedFd,
}

fn ends(stdin: OwnedFd) -> Result<(Theirs, Ours)> {
    let pipe = || sys::pipe().map_err(|e| Error::setup("make a pipe", e));
    let ((out_read, out_write), (err_read, err_write), (done_read, done_write)) = (pipe()?, pipe()?, pipe()?);
    let theirs = Theirs { stdin, stdout: out_write, stderr: err_write, done: done_write };
    Ok((theirs, Ours { stdout: out_read, stderr: err_read, done: done_read }))
}

/// So many sandboxes without a process may still be on their way out.
const MOST_ENDING: usize = 4;

fn open_read_only(path: &Path) -> io::Result<OwnedFd> {
    let mount = sys::clone_mount(&sys::cstr(path)?)?;
    if sys::file_type(&sys::fstat(&mount)?) != libc::S_IFREG {
        return Err(io::Error::other("is no regular file"));
    }
    sys::make_read_only(mount.as_fd(), false)?;
    let link = sys::cstr(format!("/proc/self/fd/{}", mount.as_raw_fd()))?;
    sys::openat(sys::CWD, &link, libc::O_RDONLY)
}

/// Makes the directories that the job needs.
fn prepare(job: &Job, tree: &Tree, upper: &mut Upper) -> Result<()> {
    job.check()?;
    upper.prepare(tree, &job.cwd, 0o755)?;
    for directory in &job.directories {
        upper.prepare(tree, directory, 0o755)?;
    }
    if let Some((_, directory)) = job.env.iter().find(|(name, _)| name == "TMPDIR") {
        // One that is no proper absolute path is the program's business, as outside.
        match upper.prepare(tree, Path::new(directory), 0o1777) {
            Err(Error::BadPath { .. }) | Ok(()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(crate) fn c_string(job: &Job, bytes: Vec<u8>) -> Result<CString> {
    CString::new(bytes)
        .map_err(|_| job.bad("it has a NUL byte in its path, arguments, environment or directory"))
}

/// Options of the overlay. Paths are relative to the scratch directory, and need no quoting.
///
/// `volatile`: without it, the end of the mount would wait for all of the disk's unwritten data. Links between layers
/// (redirect_dir, metacopy) are off everywhere, since they are in user namespaces: renaming an input directory
/// fails with EXDEV, and mv copies, as between file systems.
fn overlay_options(layer: &str, number: &str, user_namespace: bool) -> Result<CString> {
    let mode = if user_namespace { "userxattr" } else { "redirect_dir=off,metacopy=off" };
    let volatile = if layer == "disk" { ",volatile" } else { "" };
    let directories = format!("upperdir={layer}/{number}/upper,workdir={layer}/{number}/work");
    sys::cstr(format!("lowerdir=tree,{directories},index=off,{mode}{volatile}"))
        .map_err(|e| Error::setup("mount an overlay", e))
}

fn judge(verdict: Verdict) -> Result<(Status, Usage)> {
    let failed = |failure| Ok((Status::NotStarted(failure), Usage::default()));
    match verdict {
        Verdict::Ended { status, user, system, max_rss } => {
            let time = |[seconds, micros]: [i64; 2]| {
                Duration::from_secs(seconds.try_into().unwrap_or(0))
                    + Duration::from_micros(micros.try_into().unwrap_or(0))
            };
            let max_rss = max_rss.try_into().unwrap_or(0);
            let (user, system) = (time(user), time(system));
            Ok((Status::of_ended(status), Usage { user, system, wall: Duration::ZERO, max_rss }))
        }
        Verdict::NoDirectory => failed(ExecFailure::BadDirectory),
        Verdict::NotExecuted { errno, interpreter_missing } => failed(match errno {
            libc::ENOENT if interpreter_missing => ExecFailure::InterpreterMissing,
            libc::ENOENT | libc::ENOTDIR => ExecFailure::Missing,
            libc::EACCES | libc::EPERM | libc::EISDIR => ExecFailure::NotPermitted,
            libc::ENOEXEC | libc::ELIBBAD => ExecFailure::BadFormat,
            libc::E2BIG => ExecFailure::TooLarge,
            errno => ExecFailure::Other(errno),
        }),
        Verdict::SetupFailed { step, error } => {
            let hint = match (step, error.raw_os_error()) {
                ("mount an overlay", Some(libc::EPERM | libc::EINVAL | libc::ENODEV)) => {
                    "; overlayfs in a user namespace needs Linux 5.11 and, for the scratch directory, a file system with \
                     user.* attributes (ext4, xfs, btrfs)"
                }
                _ => "",
            };
            Err(Error::Setup { step, error, hint: hint.to_owned() })
        }
        Verdict::Killed => Err(Error::Killed),
    }
}

/// A started sandbox. Dropped before its end, it is killed.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: libc::pid_t,
    pub(crate) process: OwnedFd,
    pub(crate) waited: bool,
}

impl Running {
    fn start(plan: &Plan<'_>) -> Result<Running> {
        let flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_PIDFD | libc::SIGCHLD;
        let mut pidfd: libc::c_int = -1;
        let none = std::ptr::null_mut::<libc::c_int>();
        // SAFETY: as fork: the child has a copy of all memory, and does nothing but system calls until it exits. The
        // kernel stores the pidfd through the third argument, in the parent.
        let pid =
            unsafe { libc::syscall(libc::SYS_clone, flags, none, &raw mut pidfd, none, none) } as libc::pid_t;
        if pid == 0 {
            child::init(plan);
        }
        let pid = sys::check(pid).map_err(|e| Error::setup("start its init process", e))?;
        // SAFETY: clone succeeded, so this is a new descriptor that is ours.
        let process = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Running { pid, process, waited: false })
    }

    /// Collects output until the sandbox ends, or must be killed: then says why. Whoever holds the other end of `leash` wants it to go on.
    pub(crate) fn listen(
        &self,
        output: &mut Output,
        done: BorrowedFd<'_>,
        deadline: Option<Instant>,
        leash: Option<&OwnedFd>,
    ) -> Result<Option<Status>> {
        let leash = leash.map_or(-1, AsRawFd::as_raw_fd);
        loop {
            let timeout = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if timeout == Some(Duration::ZERO) {
                self.kill();
                return Ok(Some(Status::TimedOut));
            }
            let [out, err] = output.descriptors();
            let mut polled = [done.as_raw_fd(), out, err, leash].map(|fd| libc::pollfd {
                fd,
                // Nothing is said there: only its end is of interest.
                events: if fd == leash { libc::POLLRDHUP } else { libc::POLLIN },
                revents: 0,
            });
            let millis =
                timeout.map_or(-1, |t| t.as_millis().saturating_add(1).try_into().unwrap_or(i32::MAX));
            // SAFETY: four pollfds; poll passes over those with a negative descriptor.
            if unsafe { libc::poll(polled.as_mut_ptr(), 4, millis) } < 0 {
                match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => continue,
                    error => return Err(Error::setup("wait for the command", error)),
                }
            }
            if polled[1].revents != 0 {
                output.read(0)?;
            }
            if polled[2].revents != 0 {
                output.read(1)?;
            }
            if output.is_over() {
                self.kill();
                return Ok(Some(Status::OutputLimit));
            }
            if polled[0].revents != 0 {
                return Ok(None);
            }
            if polled[3].revents != 0 {
                self.kill();
                return Err(Error::Abandoned);
            }
        }
    }

    fn kill(&self) {
        // The one error there can be is that it has ended already.
        sys::kill(self.process.as_fd()).ok();
    }

    fn has_ended(&mut self) -> bool {
        // SAFETY: our own child; nobody wants its status.
        self.waited = unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), libc::WNOHANG) } == self.pid;
        self.waited
    }

    fn wait(mut self) -> Result<()> {
        self.reap().map_err(|e| Error::setup("wait for the command", e))
    }

    fn reap(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.waited, true) {
            return Ok(());
        }
        loop {
            // SAFETY: our own child; nobody wants its status.
            match sys::check(unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) }) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(drop),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.waited {
            self.kill();
            self.reap().ok();
        }
    }
}

/// Standard output and standard error on their way into memory.
pub(crate) struct Output {
    pipes: [Option<File>; 2],
    pub(crate) bytes: [Vec<u8>; 2],
    limit: usize,
}

impl Output {
    pub(crate) fn new(out: OwnedFd, err: OwnedFd, limit: usize) -> Result<Output> {
        let nonblocking =
            |fd: BorrowedFd<'_>| sys::set_nonblocking(fd).map_err(|e| Error::setup("set up descriptors", e));
        nonblocking(out.as_fd())?;
        nonblocking(err.as_fd())?;
        Ok(Output { pipes: [out, err].map(|fd| Some(File::from(fd))), bytes: Default::default(), limit })
    }

    /// For poll: −1 where there is nothing more to come.
    fn descriptors(&self) -> [libc::c_int; 2] {
        [0, 1].map(|i| self.pipes[i].as_ref().map_or(-1, AsRawFd::as_raw_fd))
    }

    fn is_over(&self) -> bool {
        self.bytes.iter().map(Vec::len).sum::<usize>() > self.limit
    }

    /// Reads what is there, up to the capacity of a pipe.
    fn read(&mut self, which: usize) -> Result<bool> {
        let Some(pipe) = &mut self.pipes[which] else { return Ok(false) };
        let bytes = &mut self.bytes[which];
        let old = bytes.len();
        bytes.resize(old + 64 * 1024, 0);
        let result = pipe.read(&mut bytes[old..]);
        bytes.truncate(old + result.as_ref().map_or(0, |n| *n));
        match result {
            Ok(0) => self.pipes[which] = None,
            Ok(_) => return Ok(true),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(Error::setup("read the command's output", error)),
        }
        Ok(false)
    }

    /// Takes what the pipes still hold when all writers are gone.
    pub(crate) fn drain(&mut self) -> Result<()> {
        for which in [0, 1] {
            while self.read(which)? {}
        }
        Ok(())
    }
}
