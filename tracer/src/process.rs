// SPDX-License-Identifier: Apache-2.0
//! What `/proc` tells of a process. Knows nothing of commands but the number in
//! the session's variable.

use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::OnceLock;

use nix::unistd::{getegid, geteuid};
use observe::Pid;
use wire::FdIdentity;

/// Do paths lead this process where they lead us? Not in another root, nor with other mounts; nor, for all that can be
/// told, where it cannot be looked at.
pub fn shares_files(pid: u32) -> bool {
    // The recorder stays where it is.
    static OURS: OnceLock<Option<[(u64, u64); 2]>> = OnceLock::new();
    let seen_by = |process: &str| {
        let object = |what: &str| {
            let metadata = fs::metadata(format!("/proc/{process}/{what}")).ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        Some([object("ns/mnt")?, object("root")?])
    };
    let ours = OURS.get_or_init(|| seen_by("self"));
    ours.is_some() && seen_by(&pid.to_string()) == *ours
}

/// May this process do what we may, and do files that it makes belong to us? Not where it runs as another user or group; nor, for all
/// that can be told, where it cannot be looked at.
pub fn shares_user(pid: u32) -> bool {
    // It belongs to whom the process runs as.
    let is_same =
        |process: fs::Metadata| (process.uid(), process.gid()) == (geteuid().as_raw(), getegid().as_raw());
    fs::metadata(format!("/proc/{pid}")).is_ok_and(is_same)
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

/// The children of a process that have not ended.
pub fn living_children(pid: Pid) -> Vec<Pid> {
    let lives = |child: &Pid| observe::Process::open(*child).is_ok_and(|child| !child.has_ended());
    threads(pid)
        .filter_map(|thread| read_at_once(&format!("/proc/{pid}/task/{thread}/children")))
        .flat_map(|text| numbers(&text).filter(lives).collect::<Vec<_>>())
        .collect()
}

/// Which process, or thread, the kernel has made last.
#[derive(Debug)]
pub struct Newest(Option<fs::File>);

impl Default for Newest {
    fn default() -> Self {
        // Not every kernel is built with it; nor does `/proc/loadavg` tell the same in every container.
        Self(fs::File::open("/proc/sys/kernel/ns_last_pid").ok())
    }
}

impl Newest {
    /// Its id, if that can be told.
    pub fn pid(&self) -> Option<Pid> {
        let mut text = [0; 16];
        let length = self.0.as_ref()?.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(text.get(..length)?).ok()?.trim().parse().ok()
    }
}

/// The threads of a process: nearly always one, which is told without a list of them.
fn threads(pid: Pid) -> impl Iterator<Item = Pid> {
    /// Those of a directory with one directory in it.
    const LINKS_OF_ONE: u64 = 3;
    let task = format!("/proc/{pid}/task");
    let several = fs::metadata(&task).is_ok_and(|metadata| metadata.nlink() > LINKS_OF_ONE);
    let listed = several.then(|| fs::read_dir(task).into_iter().flatten()).into_iter().flatten();
    let names = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    (!several).then_some(pid).into_iter().chain(names)
}

fn numbers(text: &[u8]) -> impl Iterator<Item = Pid> {
    text.split(|&byte| byte == b' ').filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok())
}

/// A file whose size is not known beforehand: each read of one in `/proc` makes its text anew, or looks into a process.
fn read_at_once(path: &str) -> Option<Vec<u8>> {
    let mut file = fs::File::open(path).ok()?;
    // Most are short. An environment may take several reads.
    let mut content = vec![0; 4 * 1024];
    let mut length = 0;
    loop {
        match file.read(content.get_mut(length..)?).ok()? {
            0 => break,
            read => length += read,
        }
        if length == content.len() {
            content.resize(2 * length, 0);
        }
    }
    content.truncate(length);
    Some(content)
}

/// What a link of `/proc/PID/fd` leads to; zeros where it is closed.
pub fn identity(link: &str) -> FdIdentity {
    fs::metadata(link).map_or_else(|_| FdIdentity::default(), |metadata| crate::judge::identity(&metadata))
}

/// Where the descriptors lead, from 0 on, that a program will have which a process is about to execute, as `/proc` shows it.
pub fn descriptors(pid: Pid) -> Vec<String> {
    /// One far above the others is not worth a list that long.
    const MANY: usize = 64;
    let mut descriptors = Vec::new();
    // Links are read below it: to walk from the root to each takes longer than to read it.
    let Ok(directory) = fs::File::open(format!("/proc/{pid}/fd")) else { return descriptors };
    let mut entries = [0; 2048];
    loop {
        let read = next_entries(&directory, &mut entries);
        if read.is_empty() {
            return descriptors;
        }
        for fd in names(read).filter_map(|name| name.to_str().ok()?.parse().ok()).filter(|&fd| fd < MANY) {
            if closes_on_exec(pid, fd) {
                continue;
            }
            descriptors.resize(descriptors.len().max(fd + 1), String::new());
            descriptors[fd] = target_of(&directory, fd).unwrap_or_default();
        }
    }
}

fn closes_on_exec(pid: Pid, fd: usize) -> bool {
    let info = read_at_once(&format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
    // proc_pid_fdinfo(5): a line "flags:", with an octal number.
    let mut lines = info.split(|&byte| byte == b'\n').filter_map(|line| line.strip_prefix(b"flags:"));
    let flags =
        lines.next().and_then(|text| i32::from_str_radix(std::str::from_utf8(text).ok()?.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_CLOEXEC != 0)
}

/// The next entries of a directory, as the kernel writes them; nothing at its end.
fn next_entries<'a>(directory: &fs::File, buffer: &'a mut [u8]) -> &'a [u8] {
    let (fd, address, size) = (directory.as_raw_fd(), buffer.as_mut_ptr(), buffer.len());
    // SAFETY: the kernel writes no further than told.
    let read = unsafe { libc::syscall(libc::SYS_getdents64, fd, address, size) };
    buffer.get(..usize::try_from(read).unwrap_or(0)).unwrap_or_default()
}

/// The names in such entries: each has two numbers of 8 bytes, its length in 2 bytes, its type in one, and its name.
fn names(mut entries: &[u8]) -> impl Iterator<Item = &CStr> {
    const LENGTH: usize = 16;
    const NAME: usize = LENGTH + 2 + 1;
    std::iter::from_fn(move || {
        let length = entries.get(LENGTH..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))?;
        let (entry, rest) = entries.split_at_checked(usize::from(length))?;
        entries = rest;
        CStr::from_bytes_until_nul(entry.get(NAME..)?).ok()
    })
}

/// Where a descriptor of a process leads, as `/proc` shows it.
pub fn descriptor(pid: Pid, fd: u32) -> Option<String> {
    let target = fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
    Some(String::from_utf8_lossy(target.as_os_str().as_bytes()).into_owned())
}

/// Where a link with this number in a directory leads.
fn target_of(directory: &fs::File, number: usize) -> Option<String> {
    let name = CString::new(number.to_string()).ok()?;
    let mut target = [0_u8; libc::PATH_MAX as usize];
    // SAFETY: the name is NUL-terminated; the kernel writes no further than told.
    let length = unsafe {
        libc::readlinkat(directory.as_raw_fd(), name.as_ptr(), target.as_mut_ptr().cast(), target.len())
    };
    let target = target.get(..usize::try_from(length).ok()?)?;
    Some(String::from_utf8_lossy(target).into_owned())
}

/// Names of this machine, and its kernel.
pub fn machine() -> Vec<u8> {
    let mut names = std::mem::MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: the kernel writes one utsname, in which any bytes are valid.
    let names = unsafe {
        libc::uname(names.as_mut_ptr());
        names.assume_init()
    };
    let parts = [names.sysname, names.nodename, names.release, names.version, names.machine];
    parts.as_flattened().iter().map(|&byte| byte.cast_unsigned()).collect()
}

/// How much a process may have of what the kernel limits, the processors on which it may run, and how it stands back behind
/// others; nothing where it is gone.
pub fn limits(pid: u32) -> (Vec<[u64; 2]>, Vec<u8>, [i64; 2]) {
    const KINDS: u32 = 16;
    let pid = pid.cast_signed();
    let limit = |kind| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the kernel writes one rlimit; nothing is set.
        unsafe { libc::prlimit(pid, kind, std::ptr::null(), &raw mut limit) };
        [limit.rlim_cur, limit.rlim_max]
    };
    let mut processors = vec![0; size_of::<libc::cpu_set_t>()];
    // SAFETY: the kernel writes no more than there is room, which is aligned as no more than bytes are to it.
    unsafe { libc::syscall(libc::SYS_sched_getaffinity, pid, processors.len(), processors.as_mut_ptr()) };
    // SAFETY: these take and give numbers.
    let priorities = unsafe {
        [
            libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, pid),
            libc::syscall(libc::SYS_sched_getscheduler, pid),
        ]
    };
    ((0..KINDS).map(limit).collect(), processors, priorities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_those_that_the_directory_has() {
        let pid = std::process::id() as Pid;
        let file = fs::File::open("/dev/zero").unwrap();
        let high = file.as_raw_fd().max(40);
        // SAFETY: the new number belongs to nobody; closed below.
        assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), high) }, high);
        let shown = descriptors(pid);
        assert_eq!(shown[file.as_raw_fd() as usize], "", "it is closed by then");
        assert_eq!(shown[high as usize], "/dev/zero");
        // SAFETY: it was made above.
        unsafe { libc::close(high) };
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        // Its loader may have others open for a moment.
        let few = descriptors(child.id() as Pid);
        assert!(few.len() >= 3 && few[..3].iter().all(|path| !path.is_empty()), "{few:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(descriptors(child.id() as Pid), [""; 0]);
    }

    #[test]
    fn the_newest_process_is_a_later_one_each_time() {
        let Some(before) = Newest::default().pid() else { return };
        let newest = Newest::default();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        // Others start processes, too, and the first ids follow the last.
        assert_ne!(newest.pid(), Some(before));
        assert_eq!(newest.pid().map(|newest| newest > 0), Some(true));
    }
}
