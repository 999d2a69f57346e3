// SPDX-License-Identifier: Apache-2.0
//! Looking into a stopped thread: its memory, its directory, its descriptors, and the file system as it sees it,
//! whatever root and mounts it has. Knows no system call.

use std::ffi::{CStr, CString, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::Pid;

/// A page boundary is the only place where a string in memory can stop being readable.
const PAGE: u64 = 4096;
/// Most paths are shorter: not a whole page is copied for them.
const SHORT: usize = 256;
/// How often a lookup is tried again that the kernel gave up because something was renamed meanwhile.
const TRIES: usize = 64;

/// Reads up to `buffer.len()` bytes at `address`; less where the readable memory ends.
pub(crate) fn read_memory(tid: Pid, address: u64, buffer: &mut [u8]) -> Option<usize> {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: buffer.len() };
    // SAFETY: `local` describes `buffer`, which is ours alone; `remote` is an address in another process, which the kernel checks.
    let read = unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read).ok()
}

/// Writes all of it to `address`.
pub(crate) fn write_memory(tid: Pid, address: u64, bytes: &[u8]) -> bool {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: `local` describes `bytes`, which is only read; `remote` is an address in another process, which the kernel checks.
    let written = unsafe { libc::process_vm_writev(tid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(written).is_ok_and(|written| written == bytes.len())
}

/// The NUL-terminated string at `address`, without its NUL: a path, so at most `PATH_MAX` long.
pub(crate) fn read_path(tid: Pid, address: u64) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(SHORT);
    while path.len() < libc::PATH_MAX as usize {
        let length = path.len();
        let at = address.checked_add(length as u64)?;
        let to_page_end = (PAGE - at % PAGE) as usize;
        let wanted = if length < SHORT { SHORT } else { libc::PATH_MAX as usize } - length;
        path.resize(length + wanted.min(to_page_end), 0);
        let read = read_memory(tid, at, &mut path[length..])?;
        path.truncate(length + read);
        if let Some(nul) = path[length..].iter().position(|&byte| byte == 0) {
            path.truncate(length + nul);
            return Some(path);
        }
        if read == 0 {
            return None;
        }
    }
    None
}

/// `path` without the parts that mean nothing: empty ones, `.`, and a final slash. `..` stays, because what it
/// means depends on links.
#[must_use]
pub fn tidy(path: &Path) -> PathBuf {
    if is_tidy(path.as_os_str().as_bytes()) { path.to_owned() } else { path.components().collect() }
}

/// `path`, which goes on from `from`, without the parts that lead by `..` out of directories that are no links, as `is_own` tells.
#[must_use]
pub fn without_ways_back(from: PathBuf, path: &Path, is_own: impl Fn(&Path) -> bool) -> PathBuf {
    path.components().fold(from, |mut way, component| {
        if component != Component::ParentDir || !is_own(&way) || !way.pop() {
            way.push(component);
        }
        way
    })
}

/// Is there nothing in this path that means nothing? Nearly all are so, and taking them apart costs more than this look.
fn is_tidy(path: &[u8]) -> bool {
    let parts = path.strip_prefix(b"/").filter(|rest| !rest.is_empty());
    parts.is_some_and(|parts| parts.split(|&byte| byte == b'/').all(|part| !matches!(part, b"" | b".")))
}

/// Is `tid` the first thread of its process? Then it has the process's id.
pub(crate) fn is_process(tid: Pid) -> bool {
    // SAFETY: signal 0 is not sent; the call only checks that the thread exists in that process.
    let found = unsafe { libc::syscall(libc::SYS_tgkill, tid, tid, 0) } == 0;
    // What may not be signalled is there, too.
    found || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// The process that a thread belongs to.
pub(crate) fn process_of(tid: Pid) -> Pid {
    if is_process(tid) {
        return tid;
    }
    let status = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok()).unwrap_or(tid)
}

/// The process that started the one of this thread.
pub(crate) fn parent_of(tid: Pid) -> Option<Pid> {
    stat_field(tid, 1)?.parse().ok()
}

/// Has a thread ended, be it waited for or not?
pub(crate) fn has_ended(tid: Pid) -> bool {
    stat_field(tid, 0).is_none_or(|state| state == "Z" || state == "X")
}

/// One of the fields that the kernel tells of a thread, by its place after the name.
fn stat_field(tid: Pid, place: usize) -> Option<String> {
    // One read: each makes the text anew.
    let mut text = [0; 256];
    let length = File::open(format!("/proc/{tid}/stat")).ok()?.read(&mut text).ok()?;
    let text = text.get(..length)?;
    // The name, which may hold anything, ends with the last parenthesis: then come the state and the parent.
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let field = text.get(end + 1..)?.split(|&byte| byte == b' ').nth(place + 1)?;
    String::from_utf8(field.to_vec()).ok()
}

/// A thread that is stopped, or waits for an answer, and the file system as it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// The thread.
    pub tid: Pid,
    /// It has our own root and mounts: an absolute path means to it what it means to us.
    pub shared: bool,
}

impl View {
    /// Our own.
    pub(crate) fn own() -> Self {
        Self { tid: std::process::id() as Pid, shared: true }
    }

    fn proc(self, name: &str) -> String {
        format!("/proc/{}/{name}", self.tid)
    }

    /// The target of a link in the thread's folder in `/proc`, as a path that the thread itself would use; nothing if
    /// it is not a path, or of a file that was removed.
    pub(crate) fn link(self, name: &str) -> Option<PathBuf> {
        let target = fs::read_link(self.proc(name)).ok()?;
        if !target.is_absolute() {
            return None;
        }
        if target.as_os_str().as_bytes().ends_with(b" (deleted)") && fs::symlink_metadata(&target).is_err() {
            return None;
        }
        self.within_root(target)
    }

    /// What the thread means by a path that begins with a link in `/proc` to a process's directory or root, or below a descriptor: we
    /// would follow it to our own.
    pub(crate) fn through_own(self, path: &Path) -> Option<PathBuf> {
        let mut parts = path.strip_prefix("/proc").or_else(|_| path.strip_prefix("/dev")).ok()?.components();
        let mut next = || parts.next()?.as_os_str().to_str();
        let first = next()?;
        let (tid, link) = match (path.starts_with("/dev"), first) {
            (true, "fd") => (self.tid, "fd"),
            (false, "self" | "thread-self") => (self.tid, next()?),
            (false, process) => (process.parse().ok()?, next()?),
            _ => return None,
        };
        let view = Self { tid, ..self };
        let from = match link {
            "root" => Some(PathBuf::from("/")),
            "cwd" => view.link("cwd"),
            // What is behind a descriptor itself need not have a path.
            "fd" => {
                let name = format!("fd/{}", next()?);
                view.link(&name).filter(|_| !parts.as_path().as_os_str().is_empty())
            }
            _ => None,
        };
        Some(from?.join(parts.as_path()))
    }

    /// The kernel shows paths from our root; a thread that has changed its root knows them without that prefix.
    fn within_root(self, path: PathBuf) -> Option<PathBuf> {
        if self.shared {
            return Some(path);
        }
        let root = fs::read_link(self.proc("root")).ok()?;
        if root.as_os_str() == "/" {
            return Some(path);
        }
        path.strip_prefix(&root).ok().map(|rest| Path::new("/").join(rest))
    }

    /// What is open as descriptor `fd` of the thread.
    pub(crate) fn descriptor(self, fd: i32) -> Option<Metadata> {
        // A copy of the descriptor, where it can be had, is looked at in about 0.6 of the time that the way through /proc takes.
        if let Some(copy) = self.copy_of(fd) {
            return File::from(copy).metadata().ok();
        }
        fs::metadata(self.proc(&format!("fd/{fd}"))).ok()
    }

    /// What is open as descriptor `fd` of the thread, open for us as well. Only of the first thread of a process.
    fn copy_of(self, fd: i32) -> Option<OwnedFd> {
        // SAFETY: the numbers that the kernel gives, unless it fails, are those of new descriptors, which nobody else has.
        let own = |fd: libc::c_long| (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
        // SAFETY: takes numbers only.
        let process = own(unsafe { libc::syscall(libc::SYS_pidfd_open, self.tid, 0) })?;
        // SAFETY: as above.
        own(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })
    }

    /// Is what this link in the thread's folder in `/proc` leads to a file without a name, or no file at all?
    pub(crate) fn is_nameless(self, name: &str) -> bool {
        fs::metadata(self.proc(name)).is_ok_and(|metadata| !metadata.is_dir() || metadata.nlink() == 0)
    }

    /// The program that the thread runs.
    pub(crate) fn own_image(self) -> io::Result<File> {
        File::open(self.proc("exe"))
    }

    /// A regular file as the thread finds it at an absolute path, open for reading. Anything else is not opened,
    /// because opening a device or a pipe is an act.
    pub(crate) fn open_regular(self, path: &Path) -> io::Result<File> {
        let found = self.find(path, 0)?;
        let file = own_fd(&found);
        if !fs::metadata(&file)?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        File::open(file)
    }

    /// As [`View::open_regular`], of a file that the kernel would execute for us.
    pub(crate) fn executable(self, path: &Path) -> Result<File, i32> {
        let found = self.find(path, 0).map_err(|error| errno(&error))?;
        permits(&found, libc::X_OK)?;
        let file = own_fd(&found);
        let metadata = fs::metadata(&file).map_err(|error| errno(&error))?;
        if !metadata.is_file() || metadata.mode() & 0o111 == 0 {
            return Err(libc::EACCES);
        }
        // What may be executed need not be readable.
        File::open(file).map_err(|error| errno(&error))
    }

    /// Where the link at this path leads, if it is one.
    pub(crate) fn target(self, path: &Path) -> Option<PathBuf> {
        let link = self.find(path, libc::O_NOFOLLOW).ok()?;
        let mut target = vec![0_u8; libc::PATH_MAX as usize];
        // SAFETY: the path is an empty string, which means the link itself; the kernel writes no further than told.
        let length = unsafe {
            libc::readlinkat(link.as_raw_fd(), c"".as_ptr(), target.as_mut_ptr().cast(), target.len())
        };
        target.truncate(usize::try_from(length).ok()?);
        Some(OsString::from_vec(target).into())
    }

    /// Has this directory no entries?
    pub(crate) fn is_empty(self, path: &Path) -> bool {
        let found = self.find(path, libc::O_DIRECTORY | libc::O_NOFOLLOW);
        found.and_then(|found| fs::read_dir(own_fd(&found))).is_ok_and(|mut entries| entries.next().is_none())
    }

    /// What is at this absolute path; a link itself unless `follow` is set.
    pub(crate) fn stat(self, path: &Path, follow: bool) -> Result<libc::stat, i32> {
        let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
        if self.shared {
            let path = self.translate(path).map_err(|error| errno(&error))?;
            return stat_at(libc::AT_FDCWD, &path, flags);
        }
        let found =
            self.find(path, if follow { 0 } else { libc::O_NOFOLLOW }).map_err(|error| errno(&error))?;
        stat_of(&found)
    }

    /// As [`View::find`]; and whether no link was on the way, so that the path is the real one but for its `..`.
    pub(crate) fn find_straight(self, path: &Path, flags: i32) -> Result<(OwnedFd, bool), i32> {
        if self.shared {
            let path = self.translate(path).map_err(|error| errno(&error))?;
            match open_at(libc::AT_FDCWD, &path, flags, libc::RESOLVE_NO_SYMLINKS) {
                Err(error) if errno(&error) == libc::ELOOP => {}
                result => return result.map(|found| (found, true)).map_err(|error| errno(&error)),
            }
        }
        self.find(path, flags).map(|found| (found, false)).map_err(|error| errno(&error))
    }

    /// Is there anything at this absolute path, as the thread sees it? A link that leads nowhere is something
    /// unless `follow` is set.
    pub(crate) fn exists(self, path: &Path, follow: bool) -> bool {
        self.find(path, if follow { 0 } else { libc::O_NOFOLLOW }).is_ok()
    }

    /// The path of the same directory entry without links among its parents.
    pub(crate) fn real_entry(self, path: &Path) -> Option<PathBuf> {
        let parent = self.find(path.parent()?, libc::O_DIRECTORY).ok()?;
        Some(self.real_of(&parent)?.join(path.file_name()?))
    }

    /// The path of a file that we have open ourselves, as the thread would name it.
    pub(crate) fn real_of(self, ours: &impl AsRawFd) -> Option<PathBuf> {
        self.within_root(fs::read_link(own_fd(ours)).ok()?)
    }

    /// Looks an absolute path up from the thread's own root and mounts, without opening what is there.
    pub(crate) fn find(self, path: &Path, flags: i32) -> io::Result<OwnedFd> {
        let path = self.translate(path)?;
        if self.shared {
            return open_at(libc::AT_FDCWD, &path, flags, 0);
        }
        match self.find_within("root", &path, flags) {
            // The kernel leaves no root by a link of `/proc`; these lead where they lead whatever the root is.
            Err(error) if errno(&error) == libc::EXDEV && path.as_bytes().starts_with(b"/proc/") => {
                open_at(libc::AT_FDCWD, &path, flags, 0)
            }
            result => result,
        }
    }

    /// Looks a path up from a directory of the thread's as if that were the root.
    fn find_within(self, directory: &str, path: &CStr, flags: i32) -> io::Result<OwnedFd> {
        let root = CString::new(self.proc(directory))?;
        let root = open_at(libc::AT_FDCWD, &root, libc::O_DIRECTORY, 0)?;
        for _ in 1..TRIES {
            match open_at(root.as_raw_fd(), path, flags, libc::RESOLVE_IN_ROOT) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
        open_at(root.as_raw_fd(), path, flags, libc::RESOLVE_IN_ROOT)
    }

    /// As `openat2` finds a path from a directory of the thread's with these bounds.
    pub(crate) fn find_bounded(
        self,
        directory: &str,
        path: &Path,
        flags: i32,
        resolve: u64,
    ) -> Result<OwnedFd, i32> {
        let find = || {
            let from = CString::new(self.proc(directory))?;
            let from = open_at(libc::AT_FDCWD, &from, libc::O_DIRECTORY, 0)?;
            open_at(from.as_raw_fd(), &CString::new(path.as_os_str().as_bytes())?, flags, resolve)
        };
        find().map_err(|error: io::Error| errno(&error))
    }

    /// Where a path leads from there, if that is known: to what is there, or to where that would be made.
    pub(crate) fn lead_within(self, directory: &str, path: &Path, flags: i32) -> Option<PathBuf> {
        let real = |path: &Path, flags| {
            let path = CString::new(path.as_os_str().as_bytes()).ok()?;
            self.real_of(&self.find_within(directory, &path, flags).ok()?)
        };
        real(path, flags & libc::O_NOFOLLOW).or_else(|| {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            Some(real(parent.unwrap_or(Path::new(".")), libc::O_DIRECTORY)?.join(path.file_name()?))
        })
    }

    /// The path by which we reach what the thread reaches by `path`: what is the process's own has another name for us.
    fn translate(self, path: &Path) -> io::Result<CString> {
        Ok(match own_in(path) {
            Some((folder, rest)) => {
                let folder = self.proc(folder);
                CString::new([folder.trim_end_matches('/').as_bytes(), rest].concat())?
            }
            None => CString::new(path.as_os_str().as_bytes())?,
        })
    }
}

/// The list of a process's own descriptors as each process calls it: to whom a descriptor of the directory is given, that is named by the
/// process's number. What lists it mostly wants to close, or to be sure of, what is open, and tells nobody.
#[must_use]
pub fn own_list(path: PathBuf, process: Pid) -> PathBuf {
    if path == Path::new(&format!("/proc/{process}/fd")) { "/proc/self/fd".into() } else { path }
}

/// Does this path lead each process to something of its own?
pub(crate) fn leads_to_own(path: &Path) -> bool {
    own_in(path).is_some()
}

/// Where that is in the process's folder in `/proc`, and what follows it in the path.
fn own_in(path: &Path) -> Option<(&'static str, &[u8])> {
    OWN.iter().find_map(|&(own, folder)| {
        let rest = path.as_os_str().as_bytes().strip_prefix(own)?;
        (rest.is_empty() || rest.starts_with(b"/")).then_some((folder, rest))
    })
}

/// Paths that lead every process to something of its own, and where that is in its folder in `/proc`.
const OWN: [(&[u8], &str); 6] = [
    (b"/proc/self", ""),
    (b"/proc/thread-self", ""),
    (b"/dev/fd", "fd"),
    (b"/dev/stdin", "fd/0"),
    (b"/dev/stdout", "fd/1"),
    (b"/dev/stderr", "fd/2"),
];

/// What the kernel said.
pub(crate) fn errno(error: &io::Error) -> i32 {
    // Only a NUL in a path has none; no call can name such a path.
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

/// Whether that may be done to a file that is in the mode (`R_OK`, …), by us.
pub(crate) fn permits(file: &impl AsRawFd, mode: i32) -> Result<(), i32> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_EACCESS;
    // SAFETY: the kernel reads an empty string.
    let result = unsafe { libc::syscall(libc::SYS_faccessat2, file.as_raw_fd(), c"".as_ptr(), mode, flags) };
    if result == 0 { Ok(()) } else { Err(errno(&io::Error::last_os_error())) }
}

/// What a file is that we have open ourselves.
pub(crate) fn stat_of(file: &impl AsRawFd) -> Result<libc::stat, i32> {
    stat_at(file.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
}

fn stat_at(dir: RawFd, path: &CStr, flags: i32) -> Result<libc::stat, i32> {
    // SAFETY: all its fields are integers, for which zero is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is NUL-terminated; the kernel writes one structure of this type.
    let result = unsafe { libc::fstatat(dir, path.as_ptr(), &raw mut stat, flags) };
    if result == 0 { Ok(stat) } else { Err(errno(&io::Error::last_os_error())) }
}

/// The path of the file itself that we have open.
pub(crate) fn own_fd(ours: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", ours.as_raw_fd())
}

fn open_at(dir: RawFd, path: &CStr, flags: i32, resolve: u64) -> io::Result<OwnedFd> {
    // `struct open_how`: flags, mode, resolve.
    let how = [(libc::O_PATH | libc::O_CLOEXEC | flags) as u64, 0, resolve];
    // SAFETY: `path` is NUL-terminated and `how` as long as said; both outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_openat2, dir, path.as_ptr(), how.as_ptr(), size_of_val(&how)) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Pid {
        std::process::id() as Pid
    }

    #[test]
    fn strings_are_read_across_pages() {
        let mut memory = vec![b'x'; 3 * PAGE as usize];
        let start = PAGE as usize - memory.as_ptr() as usize % PAGE as usize;
        memory[start + 5] = 0;
        let read = |from: usize| read_path(me(), memory.as_ptr() as u64 + from as u64);
        assert_eq!(read(start - 5).as_deref(), Some(&b"xxxxxxxxxx"[..]));
        assert_eq!(read(start + 5).as_deref(), Some(&b""[..]));
        // No NUL within PATH_MAX: not a path.
        assert_eq!(read(start + 6), None);
        assert_eq!(read_path(me(), 8), None);
        assert_eq!(read_path(me(), u64::MAX), None);
    }

    #[test]
    fn only_meaningless_parts_are_dropped() {
        for (path, tidied) in [
            ("/a//b/./c/", "/a/b/c"),
            ("/a/../b", "/a/../b"),
            ("/", "/"),
            ("//x", "/x"),
            ("/a/.", "/a"),
            ("/a/.b", "/a/.b"),
            ("a/./b", "a/b"),
        ] {
            assert_eq!(tidy(Path::new(path)), Path::new(tidied), "{path}");
        }
    }

    #[test]
    fn looks_into_itself() {
        assert!(is_process(me()));
        assert_eq!(process_of(me()), me());
        for shared in [true, false] {
            let view = View { tid: me(), shared };
            assert_eq!(view.link("cwd"), std::env::current_dir().ok());
            assert!(view.exists(Path::new("/proc/self/status"), true));
            assert!(!view.exists(Path::new("/no such file"), false));
            assert!(view.open_regular(Path::new("/dev/null")).is_err());
        }
    }

    #[test]
    fn the_list_of_own_descriptors_is_named_as_each_process_does() {
        for (path, named) in [
            ("/proc/7/fd", "/proc/self/fd"),
            ("/proc/7/fdinfo", "/proc/7/fdinfo"),
            ("/proc/7/fd/3", "/proc/7/fd/3"),
            ("/proc/71/fd", "/proc/71/fd"),
            ("/w/proc/7/fd", "/w/proc/7/fd"),
        ] {
            assert_eq!(own_list(path.into(), 7), Path::new(named));
        }
    }

    #[test]
    fn what_is_the_processs_own_is_found_by_its_id() {
        let view = View { tid: 7, shared: true };
        for (path, ours) in [
            ("/proc/self", "/proc/7"),
            ("/proc/self/exe", "/proc/7/exe"),
            ("/dev/fd/3", "/proc/7/fd/3"),
            ("/dev/stdin", "/proc/7/fd/0"),
            ("/proc/selfish", "/proc/selfish"),
            ("/dev/fd0", "/dev/fd0"),
        ] {
            assert_eq!(view.translate(Path::new(path)).unwrap().to_str(), Ok(ours));
        }
    }
}
