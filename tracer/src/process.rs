// SPDX-License-Identifier: Apache-2.0
//! What `/proc` tells of a process. Knows nothing of commands but the number in
//! the session's variable.

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use observe::Pid;
use wire::FdIdentity;

/// The process that started this one.
pub fn parent_of(pid: Pid) -> Option<Pid> {
    status_field(pid, "PPid:")?.parse().ok().filter(|&parent| parent > 0)
}

/// Do paths lead this process where they lead us? Not in another root, nor with other mounts; nor, for all that can be told, where it cannot
/// be looked at.
pub fn shares_files(pid: u32) -> bool {
    // The recorder stays where it is.
    static OURS: OnceLock<Option<(PathBuf, u64, u64)>> = OnceLock::new();
    let seen_by = |process: &str| {
        let mounts = fs::read_link(format!("/proc/{process}/ns/mnt")).ok()?;
        let root = fs::metadata(format!("/proc/{process}/root")).ok()?;
        Some((mounts, root.dev(), root.ino()))
    };
    let ours = OURS.get_or_init(|| seen_by("self"));
    ours.is_some() && seen_by(&pid.to_string()) == *ours
}

/// What stands at an absolute path as this process sees it: device and inode.
pub fn file_seen_by(pid: u32, path: &Path) -> Option<(u64, u64)> {
    let below = path.strip_prefix("/").ok()?;
    let metadata = fs::metadata(Path::new(&format!("/proc/{pid}/root")).join(below)).ok()?;
    metadata.is_file().then(|| (metadata.dev(), metadata.ino()))
}

/// The command in the session's variable of the program that the process executed last, if the session is the one of
/// this socket: a recorder may run below another one.
pub fn command_of(pid: Pid, socket: &Path) -> Option<u32> {
    let environ = read_at_once(&format!("/proc/{pid}/environ"))?;
    command_in(environ.split(|&b| b == 0).find_map(session_in)?, socket)
}

/// Is this entry of an environment the session's variable, of the session of this socket?
pub fn is_of_session(entry: &[u8], socket: &Path) -> bool {
    session_in(entry).is_some_and(|session| command_in(session, socket).is_some())
}

fn session_in(entry: &[u8]) -> Option<&OsStr> {
    let value = entry.strip_prefix(wire::SESSION_VARIABLE.as_bytes())?.strip_prefix(b"=")?;
    Some(OsStr::from_bytes(value))
}

/// The command in a value of the session's variable.
pub fn command_in(session: &OsStr, socket: &Path) -> Option<u32> {
    let mut fields = session.as_bytes().split(|&b| b == b':');
    let number = fields.next()?;
    let ours = fields.next_back()? == socket.as_os_str().as_bytes();
    std::str::from_utf8(number).ok()?.parse().ok().filter(|_| ours)
}

/// A file whose size is not known beforehand: each read of one in `/proc` makes its text anew, or looks into a process.
fn read_at_once(path: &str) -> Option<Vec<u8>> {
    // More than a status takes; an environment may take several reads.
    const MUCH: usize = 4 * 1024;
    let mut file = fs::File::open(path).ok()?;
    let mut content = vec![0; MUCH];
    let mut length = 0;
    loop {
        match file.read(&mut content[length..]).ok()? {
            0 => break,
            read => length += read,
        }
        if length == content.len() {
            content.resize(length * 2, 0);
        }
    }
    content.truncate(length);
    Some(content)
}

fn status_field(pid: Pid, name: &str) -> Option<String> {
    let status = read_at_once(&format!("/proc/{pid}/status"))?;
    let status = String::from_utf8_lossy(&status);
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

/// What a link of `/proc/PID/fd` leads to; zeros where it is closed.
pub fn identity(link: &str) -> FdIdentity {
    fs::metadata(link).map_or_else(|_| FdIdentity::default(), |metadata| crate::judge::identity(&metadata))
}

/// Where the descriptors of a process lead, from 0 on, as `/proc` shows it.
pub fn descriptors(pid: Pid) -> Vec<String> {
    let mut numbers: Vec<u32> = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    // One far above the others is not worth a list that long.
    numbers.retain(|&number| number < 64);
    let Some(&last) = numbers.last() else { return Vec::new() };
    let link = |fd: u32| fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok();
    let mut descriptors = vec![String::new(); last as usize + 1];
    for fd in numbers {
        if let Some(path) = link(fd) {
            descriptors[fd as usize] = shown(&path);
        }
    }
    descriptors
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
