// SPDX-License-Identifier: Apache-2.0
//! The processes of a command that runs without namespaces: its start, its end, and the end of what it leaves behind.
//! Knows nothing of trees and translation.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use crate::child::{self, CArray};
use crate::run::Running;
use crate::{Error, Result, Status, Usage, network, sys};

/// What is executed.
pub(crate) struct Program {
    pub(crate) file: CString,
    pub(crate) argv: CArray,
    pub(crate) env: CArray,
    pub(crate) directory: CString,
    pub(crate) umask: libc::mode_t,
    /// Is it to have none?
    pub(crate) without_network: bool,
}

impl Program {
    /// Starts it, with these as its standard input, output and error, all above 2; or says why it cannot be executed.
    pub(crate) fn start(&self, standard: [BorrowedFd<'_>; 3]) -> Result<io::Result<Running>> {
        let (mut from, to) = {
            let (from, to) = sys::pipe().map_err(|e| Error::setup("make a pipe", e))?;
            (File::from(from), to)
        };
        // SAFETY: the child has a copy of all memory, does nothing but system calls, and executes a program or exits.
        let pid = sys::check(unsafe { libc::fork() })
            .map_err(|e| Error::setup("start the command's process", e))?;
        if pid == 0 {
            let error = self.become_it(standard).raw_os_error().unwrap_or(libc::EIO).to_ne_bytes();
            // SAFETY: writes four bytes that are there; then ends the process without running what its parent had registered.
            unsafe {
                libc::write(to.as_raw_fd(), error.as_ptr().cast(), error.len());
                libc::_exit(127)
            }
        }
        drop(to);
        let process = sys::pidfd_open(pid).map_err(|e| Error::setup("watch over the command", e))?;
        let running = Running { pid, process, waited: false };
        let mut error = [0; 4];
        // The pipe is closed by the execution.
        Ok(match from.read_exact(&mut error) {
            Ok(()) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(error))),
            Err(_) => Ok(running),
        })
    }

    /// In the new process: only system calls. Says why it is still here.
    fn become_it(&self, standard: [BorrowedFd<'_>; 3]) -> io::Error {
        child::reset_signals();
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: integers, descriptors that are open, strings and arrays of ours, a structure that is only read.
        let ready = unsafe {
            sys::check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0))
                .and_then(|_| sys::check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)))
                .and_then(|_| sys::check(libc::setsid()))
                .and_then(|_| sys::check(libc::setrlimit(libc::RLIMIT_CORE, &raw const none)))
                .and_then(|_| sys::check(libc::dup2(standard[0].as_raw_fd(), 0)))
                .and_then(|_| sys::check(libc::dup2(standard[1].as_raw_fd(), 1)))
                .and_then(|_| sys::check(libc::dup2(standard[2].as_raw_fd(), 2)))
                .and_then(|_| sys::check(libc::chdir(self.directory.as_ptr())))
        };
        if let Err(error) = ready {
            return error;
        }
        if self.without_network
            && let Err(error) = network::deny()
        {
            return error;
        }
        // SAFETY: an integer; a string and two arrays that end with null pointers.
        unsafe {
            libc::umask(self.umask);
            libc::execve(self.file.as_ptr(), self.argv.as_ptr(), self.env.as_ptr());
        }
        io::Error::last_os_error()
    }
}

/// Waits for the command itself, and says how it ended and what it used.
pub(crate) fn reap(mut running: Running, killed: Option<Status>) -> Result<(Status, Usage)> {
    let mut status = 0;
    // SAFETY: rusage is plain integers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: our own child; both results have room.
        match sys::check(unsafe { libc::wait4(running.pid, &raw mut status, 0, &raw mut usage) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) => break,
            Err(error) => return Err(Error::setup("wait for the command", error)),
        }
    }
    running.waited = true;
    if let Some(status) = killed {
        return Ok((status, Usage::default()));
    }
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.try_into().unwrap_or(0))
            + Duration::from_micros(time.tv_usec.try_into().unwrap_or(0))
    };
    let (user, system) = (time(usage.ru_utime), time(usage.ru_stime));
    let max_rss = usage.ru_maxrss.try_into().unwrap_or(0);
    Ok((Status::of_ended(status), Usage { user, system, wall: Duration::ZERO, max_rss }))
}

/// Ends what the command has left behind: those that lost their parent are this process's children now.
pub(crate) fn end_all() {
    loop {
        let mut status = 0;
        // SAFETY: the result has room.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
            0 => {
                for child in children() {
                    // SAFETY: integers.
                    unsafe { libc::kill(child, libc::SIGKILL) };
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            1.. => {}
            _ => return,
        }
    }
}

/// This process's children.
fn children() -> Vec<libc::pid_t> {
    let own = std::process::id().to_string();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| {
            let pid: libc::pid_t = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name, in parentheses, may hold anything: state and parent follow the last one.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
            (parent == own).then_some(pid)
        })
        .collect()
}
