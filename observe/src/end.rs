// SPDX-License-Identifier: Apache-2.0
//! The ends of processes that are not our children: when, and with which status. Knows nothing of tracing.

use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::{Pid, tracee};

/// A process of which the end can be awaited. It stands for that process even when its id has been given to another.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    fd: OwnedFd,
}

impl Process {
    /// The process that has this id now.
    ///
    /// # Errors
    /// There is none, or no descriptor left.
    pub fn open(pid: Pid) -> io::Result<Self> {
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor; nobody else has it.
        Ok(Self { pid, fd: unsafe { OwnedFd::from_raw_fd(fd as i32) } })
    }

    /// Its id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Has it ended?
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the kernel reads and writes this one structure, and does not wait.
        unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
    }

    /// Waits for its end.
    pub(crate) fn wait(&self) {
        while !self.has_ended() {
            let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: the kernel reads and writes this one structure.
            unsafe { libc::poll(&raw mut poll, 1, -1) };
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It has ended, or belongs to somebody else.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: takes numbers only.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.fd.as_raw_fd(), signal, 0, 0) };
        if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// How it ended, once it has. Its parent may have waited for it (known from Linux 6.15 on) or not (known always, if
    /// it is a process of ours).
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        // Whoever waits for it does so between two of these at most once.
        self.reaped().or_else(|| self.zombie()).or_else(|| self.reaped())
    }

    /// The status that the kernel kept for whoever has a descriptor.
    fn reaped(&self) -> Option<ExitStatus> {
        self.info(libc::PIDFD_INFO_EXIT).map(|info| ExitStatus::from_raw(info.exit_code))
    }

    /// What the kernel tells of it, if it knows this.
    fn info(&self, what: libc::c_uint) -> Option<libc::pidfd_info> {
        // SAFETY: all its fields are integers, for which zero is a value.
        let mut info: libc::pidfd_info = unsafe { mem::zeroed() };
        info.mask = what.into();
        // SAFETY: the kernel reads and writes one structure of the size that is part of the request's number.
        let told = unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) } == 0;
        (told && info.mask & u64::from(what) != 0).then_some(info)
    }

    /// The status that waits for the parent.
    fn zombie(&self) -> Option<ExitStatus> {
        if !self.has_ended() {
            return None;
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The name before it may contain anything.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        if fields.next()? != "Z" {
            return None;
        }
        let status = fields.next_back()?.parse().ok()?;
        // It is still this process, unless it has been waited for meanwhile.
        self.signal(0).is_ok().then(|| ExitStatus::from_raw(status))
    }

    /// The process that started it. Linux 6.13 tells that without making a text of all else.
    fn parent(&self) -> Option<Pid> {
        self.info(libc::PIDFD_INFO_PID).map(|info| info.ppid.cast_signed()).filter(|&parent| parent > 0)
    }
}

/// The process that started the one with this id.
#[must_use]
pub fn parent_of(pid: Pid) -> Option<Pid> {
    let parent = Process::open(pid).ok()?.parent();
    parent.or_else(|| tracee::parent_of(pid)).filter(|&parent| parent > 0)
}

/// Has the process with this id ended, be it waited for or not?
#[must_use]
pub fn has_ended(pid: Pid) -> bool {
    tracee::has_ended(pid)
}

impl AsRawFd for Process {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Waits for the ends of many processes at once. Processes can be added while another thread waits.
#[derive(Debug)]
pub struct Ends {
    epoll: OwnedFd,
}

impl Ends {
    /// Of no process yet.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes a number.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor; nobody else has it.
        Ok(Self { epoll: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// From now on the end of this process is told, once, as this number. It must live on until then.
    ///
    /// # Errors
    /// The kernel has no memory left, or watches as many as the user may.
    pub fn add(&self, process: &Process, key: u64) -> io::Result<()> {
        self.watch(process.as_fd(), key)
    }

    /// Something else to wake up for, once: when this descriptor can be read.
    ///
    /// # Errors
    /// As for [`Ends::add`].
    pub fn watch(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let events = (libc::EPOLLIN | libc::EPOLLONESHOT) as u32;
        let mut event = libc::epoll_event { events, u64: key };
        // SAFETY: the kernel reads one event.
        let added = unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event)
        };
        if added == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The numbers of processes that have ended; none when the time is up.
    ///
    /// # Errors
    /// None that is to be expected.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<u64>> {
        let timeout = timeout.map_or(-1, |time| i32::try_from(time.as_millis()).unwrap_or(i32::MAX));
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        // SAFETY: the kernel writes at most as many events as there is room for.
        let count = unsafe {
            libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), events.len() as i32, timeout)
        };
        match usize::try_from(count) {
            Ok(count) => Ok(events[..count].iter().map(|event| event.u64).collect()),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
                error => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sh(script: &str) -> std::process::Child {
        Command::new("/bin/sh").args(["-c", script]).spawn().unwrap()
    }

    #[test]
    fn ends_are_told_before_and_after_the_parent_has_waited() {
        let ends = Ends::new().unwrap();
        let mut children: Vec<_> = ["exit 0", "exit 7", "kill -9 $$"].into_iter().map(sh).collect();
        let processes: Vec<_> =
            children.iter().map(|child| Process::open(child.id() as Pid).unwrap()).collect();
        for (process, key) in processes.iter().zip(0..) {
            ends.add(process, key).unwrap();
        }
        let mut told = Vec::new();
        while told.len() < children.len() {
            told.extend(ends.wait(Some(Duration::from_secs(30))).unwrap());
        }
        told.sort_unstable();
        assert_eq!(told, [0, 1, 2]);
        for (child, process) in children.iter_mut().zip(&processes) {
            assert!(has_ended(child.id() as Pid));
            let zombie = process.status();
            let status = child.wait().unwrap();
            assert_eq!(zombie, Some(status));
            assert!(has_ended(child.id() as Pid));
            // Older kernels do not keep it.
            assert!(process.status().is_none_or(|kept| kept == status));
            assert!(process.has_ended());
        }
    }

    #[test]
    fn a_parent_is_told_in_either_way() {
        let me = std::process::id() as Pid;
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id() as Pid;
        assert_eq!(parent_of(pid), Some(me));
        assert_eq!(tracee::parent_of(pid), Some(me));
        // Older kernels do not tell.
        assert!(Process::open(pid).unwrap().parent().is_none_or(|parent| parent == me));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(parent_of(pid), None);
    }

    #[test]
    fn one_that_lives_has_no_status() {
        let me = Process::open(std::process::id() as Pid).unwrap();
        assert!(!me.has_ended() && !has_ended(me.pid()));
        assert_eq!(me.status(), None);
        let ends = Ends::new().unwrap();
        ends.add(&me, 1).unwrap();
        assert!(ends.wait(Some(Duration::from_millis(10))).unwrap().is_empty());
    }
}
