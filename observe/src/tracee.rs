// SPDX-License-Identifier: Apache-2.0
//! Looking into a stopped thread: its memory, its directory, its descriptors, and the file system as it sees it,
//! whatever root and mounts it has. Knows no system call.

use std::ffi::{CString, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Pid;

/// A page boundary is the only place where a string in memory can stop being readable.
const PAGE: u64 = 4096;
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

/// The NUL-terminated string at `address`, without its NUL: a path, so at most `PATH_MAX` long.
pub(crate) fn read_path(tid: Pid, address: u64) -> Option<Vec<u8>> {
    let mut path = vec![0; libc::PATH_MAX as usize];
    let mut length = 0;
    while length < path.len() {
        let at = address.checked_add(length as u64)?;
        let to_page_end = (PAGE - at % PAGE) as usize;
        let end = path.len().min(length + to_page_end);
        let read = read_memory(tid, at, &mut path[length..end])?;
        let part = &path[length..length + read];
        if let Some(nul) = part.iter().position(|&byte| byte == 0) {
            path.truncate(length + nul);
            return Some(path);
        }
        if read == 0 {
            return None;
        }
        length += read;
    }
    None
}

/// `path` without the parts that mean nothing: empty ones, `.`, and a final slash. `..` stays, because what it
/// means depends on links.
pub(crate) fn tidy(path: &Path) -> PathBuf {
    path.components().collect()
}

/// Is `tid` the first thread of its process? Then it has the process's id.
pub(crate) fn is_process(tid: Pid) -> bool {
    // SAFETY: signal 0 is not sent; the call only checks that the thread exists in that process.
    unsafe { libc::syscall(libc::SYS_tgkill, tid, tid, 0) == 0 }
}

/// The process that a thread belongs to.
pub(crate) fn process_of(tid: Pid) -> Pid {
    if is_process(tid) {
        return tid;
    }
    let status = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok()).unwrap_or(tid)
}

/// The target of a link in the thread's folder in `/proc`, as a path that the thread itself would use; nothing if
/// it is not a path, or of a file that was removed.
pub(crate) fn link(tid: Pid, name: &str) -> Option<PathBuf> {
    let target = fs::read_link(format!("/proc/{tid}/{name}")).ok()?;
    if !target.is_absolute() {
        return None;
    }
    if target.as_os_str().as_bytes().ends_with(b" (deleted)") && fs::symlink_metadata(&target).is_err() {
        return None;
    }
    within_root(tid, target)
}

/// The kernel shows paths from our root; a thread that has changed its root knows them without that prefix.
fn within_root(tid: Pid, path: PathBuf) -> Option<PathBuf> {
    let root = fs::read_link(format!("/proc/{tid}/root")).ok()?;
    if root.as_os_str() == "/" {
        return Some(path);
    }
    path.strip_prefix(&root).ok().map(|rest| Path::new("/").join(rest))
}

/// What is open as descriptor `fd` of the thread.
pub(crate) fn descriptor(tid: Pid, fd: i32) -> Option<Metadata> {
    fs::metadata(format!("/proc/{tid}/fd/{fd}")).ok()
}

/// Is what this link in the thread's folder in `/proc` leads to a file without a name, or no file at all?
pub(crate) fn is_nameless(tid: Pid, name: &str) -> bool {
    fs::metadata(format!("/proc/{tid}/{name}"))
        .is_ok_and(|metadata| !metadata.is_dir() || metadata.nlink() == 0)
}

/// The program that the thread runs.
pub(crate) fn own_image(tid: Pid) -> io::Result<File> {
    File::open(format!("/proc/{tid}/exe"))
}

/// A regular file as the thread finds it at an absolute path, open for reading. Anything else is not opened, because
/// opening a device or a pipe is an act.
pub(crate) fn open_regular(tid: Pid, path: &Path) -> io::Result<File> {
    let found = find(tid, path, 0)?;
    let file = format!("/proc/self/fd/{}", found.as_raw_fd());
    if !fs::metadata(&file)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    File::open(file)
}

/// Is there anything at this absolute path, as the thread sees it? A link that leads nowhere is something
/// unless `follow` is set.
pub(crate) fn exists(tid: Pid, path: &Path, follow: bool) -> bool {
    find(tid, path, if follow { 0 } else { libc::O_NOFOLLOW }).is_ok()
}

/// The path of the same directory entry without links among its parents.
pub(crate) fn real_entry(tid: Pid, path: &Path) -> Option<PathBuf> {
    let parent = find(tid, path.parent()?, libc::O_DIRECTORY).ok()?;
    Some(real_of(tid, &parent)?.join(path.file_name()?))
}

/// The path of a file that we have open ourselves, as the thread would name it.
pub(crate) fn real_of(tid: Pid, ours: &impl AsRawFd) -> Option<PathBuf> {
    within_root(tid, fs::read_link(format!("/proc/self/fd/{}", ours.as_raw_fd())).ok()?)
}

/// Looks an absolute path up from the thread's own root and mounts, without opening what is there.
fn find(tid: Pid, path: &Path, flags: i32) -> io::Result<OwnedFd> {
    // `/proc/self` is somebody else when we look it up.
    let path = match path.strip_prefix("/proc/self") {
        Ok(rest) => Path::new("/proc").join(OsString::from(tid.to_string())).join(rest),
        Err(_) => path.to_owned(),
    };
    let root = open_at(libc::AT_FDCWD, format!("/proc/{tid}/root").into(), libc::O_DIRECTORY, 0)?;
    let path = path.into_os_string().into_vec();
    for _ in 1..TRIES {
        match open_at(root.as_raw_fd(), path.clone(), flags, libc::RESOLVE_IN_ROOT) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
    open_at(root.as_raw_fd(), path, flags, libc::RESOLVE_IN_ROOT)
}

fn open_at(dir: RawFd, path: Vec<u8>, flags: i32, resolve: u64) -> io::Result<OwnedFd> {
    let path = CString::new(path)?;
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
        for (path, tidied) in [("/a//b/./c/", "/a/b/c"), ("/a/../b", "/a/../b"), ("/", "/"), ("//x", "/x")] {
            assert_eq!(tidy(Path::new(path)), Path::new(tidied), "{path}");
        }
    }

    #[test]
    fn looks_into_itself() {
        assert!(is_process(me()));
        assert_eq!(process_of(me()), me());
        assert_eq!(link(me(), "cwd"), std::env::current_dir().ok());
        assert!(exists(me(), Path::new("/proc/self/status"), true));
        assert!(!exists(me(), Path::new("/no such file"), false));
        assert!(open_regular(me(), Path::new("/dev/null")).is_err());
    }
}
