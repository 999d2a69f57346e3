// SPDX-License-Identifier: Apache-2.0
//! Where the descriptors of a process lead, in the words of `/proc`, which takes 5 µs for each: what was seen of a file
//! before holds for as long as the file stands there. Knows nothing of commands.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;

use foldhash::HashMap;
use observe::Pid;
use wire::FdIdentity;

use crate::process;
use crate::recorder::lock;
use crate::request::Exec;

/// The device of `/dev/null`.
pub const NULL: u64 = libc::makedev(1, 3);

/// When this many files are remembered, all are forgotten.
const MANY: usize = 1 << 12;

/// What is remembered.
#[derive(Debug)]
pub struct Descriptors {
    /// Paths by device and inode.
    paths: Mutex<HashMap<(u64, u64), String>>,
    /// The devices of pipes and sockets, whose names are made of their inodes.
    pipes: Option<u64>,
    sockets: Option<u64>,
}

impl Default for Descriptors {
    fn default() -> Self {
        let device = |fd: OwnedFd| File::from(fd).metadata().ok().map(|metadata| metadata.dev());
        Self {
            paths: Mutex::default(),
            pipes: std::io::pipe().ok().and_then(|(end, _)| device(end.into())),
            sockets: UnixDatagram::unbound().ok().and_then(|socket| device(socket.into())),
        }
    }
}

impl Descriptors {
    /// Those that a program will have which a process is about to execute, from 0 on.
    pub fn of(&self, exec: &Exec) -> Vec<String> {
        let pid = exec.pid.cast_signed();
        let (Some(fds), Some(others)) = (&exec.fds, &exec.others) else { return process::descriptors(pid) };
        let standard = (0..).zip(fds.iter().copied());
        let mut shown: Vec<String> = Vec::new();
        // Nearly all programs are given one file several times.
        let mut before: Option<(FdIdentity, usize)> = None;
        for (number, leads) in standard.chain(others.iter().map(|other| (other.number, other.leads))) {
            if leads != FdIdentity::default() {
                let at = number as usize;
                shown.resize(shown.len().max(at + 1), String::new());
                shown[at] = match before.filter(|(other, _)| *other == leads && has_one_name(&leads)) {
                    Some((_, other)) => shown[other].clone(),
                    None => self.shown(pid, number, &leads),
                };
                before = Some((leads, at));
            }
        }
        shown
    }

    fn shown(&self, pid: Pid, number: u32, leads: &FdIdentity) -> String {
        let FdIdentity { dev, ino, mode, .. } = *leads;
        match mode & libc::S_IFMT {
            libc::S_IFIFO if Some(dev) == self.pipes => return format!("pipe:[{ino}]"),
            libc::S_IFSOCK if Some(dev) == self.sockets => return format!("socket:[{ino}]"),
            _ => {}
        }
        let stands = |path: &String| {
            fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (dev, ino))
        };
        let is_sure = has_one_name(leads);
        let known = if is_sure { lock(&self.paths).get(&(dev, ino)).cloned() } else { None };
        if let Some(path) = known.filter(stands) {
            return path;
        }
        let path = process::descriptor(pid, number).unwrap_or_default();
        if is_sure && path.starts_with('/') {
            let mut paths = lock(&self.paths);
            if paths.len() >= MANY {
                paths.clear();
            }
            paths.insert((dev, ino), path.clone());
        }
        path
    }
}

/// Of several names it is not known which one was opened.
fn has_one_name(leads: &FdIdentity) -> bool {
    leads.nlink == 1 || leads.mode & libc::S_IFMT == libc::S_IFDIR
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd as _, RawFd};

    use wire::Descriptor;

    use super::*;
    use crate::judge::identity;

    #[test]
    fn they_are_what_the_kernel_shows_also_when_files_change_their_names() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        let file = File::create(&a).unwrap();
        let (pipe, _writer) = std::io::pipe().unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        let folder = File::open(directory.path()).unwrap();
        let fds = [file.as_raw_fd(), pipe.as_raw_fd(), socket.as_raw_fd(), folder.as_raw_fd()];
        let link = |fd: RawFd| format!("/proc/self/fd/{fd}");
        let others = fds.map(|fd| Descriptor {
            number: fd as u32,
            reserved: 0,
            leads: identity(&fs::metadata(link(fd)).unwrap()),
        });
        let exec =
            |fds| Exec { pid: std::process::id(), fds, others: Some(others.to_vec()), ..Exec::default() };
        let known = Descriptors::default();
        let agree = || {
            let shown = known.of(&exec(Some([FdIdentity::default(); 3])));
            for fd in fds {
                assert_eq!(shown[fd as usize], fs::read_link(link(fd)).unwrap().to_str().unwrap());
            }
        };
        agree();
        agree();
        fs::rename(&a, &b).unwrap();
        agree();
        fs::write(&a, "another").unwrap();
        agree();
        fs::remove_file(&b).unwrap();
        agree();
        // Where they were not told they are looked for: those that an exec leaves open.
        let stays = nix::unistd::dup(&folder).unwrap(); // dup(2): without O_CLOEXEC
        let shown = known.of(&exec(None));
        assert_eq!(shown[stays.as_raw_fd() as usize], directory.path().to_str().unwrap());
        assert!(shown.get(fds[3] as usize).is_none_or(String::is_empty), "one that the exec closes");
    }
}
