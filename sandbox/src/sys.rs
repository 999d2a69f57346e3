// SPDX-License-Identifier: Apache-2.0
//! The system calls that std does not have, with owned descriptors and `io::Error`. Knows nothing of sandboxes.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::{c_int, c_long};

/// The current directory, where a call wants a directory descriptor.
// SAFETY: AT_FDCWD is not a descriptor that could be closed; every `*at` call understands it.
pub(crate) const CWD: BorrowedFd<'static> = unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) };

/// Turns −1 into the error that errno holds.
pub(crate) fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_long(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes over a descriptor that a system call has just returned.
fn owned(fd: c_long) -> io::Result<OwnedFd> {
    let fd = check_long(fd)?;
    // SAFETY: the kernel has just given this descriptor to us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// The path as C wants it; a NUL inside is an error, not a shorter path.
pub(crate) fn cstr(path: impl AsRef<OsStr>) -> io::Result<CString> {
    CString::new(path.as_ref().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Opens a directory for use as a base of other calls.
pub(crate) fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let path = cstr(path)?;
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: `path` is NUL-terminated and lives for the call.
    owned(c_long::from(unsafe { libc::open(path.as_ptr(), flags) }))
}

/// `openat` with `O_CLOEXEC` added; mode 0600 for what it creates.
pub(crate) fn openat(dir: BorrowedFd<'_>, path: &CStr, flags: c_int) -> io::Result<OwnedFd> {
    // SAFETY: `path` is NUL-terminated and lives for the call.
    owned(c_long::from(unsafe {
        libc::openat(dir.as_raw_fd(), path.as_ptr(), flags | libc::O_CLOEXEC, 0o600 as libc::c_uint)
    }))
}

/// Opens `path` below `dir`: no symbolic link is followed anywhere, nor is a `..` that leads out.
pub(crate) fn open_beneath(dir: BorrowedFd<'_>, path: &CStr, flags: c_int) -> io::Result<OwnedFd> {
    // SAFETY: open_how is plain integers, for which zeros are valid.
    let mut how: libc::open_how = unsafe { MaybeUninit::zeroed().assume_init() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS;
    let size = size_of::<libc::open_how>();
    // SAFETY: `path` is NUL-terminated, `how` is of the size that is said, both live for the call.
    owned(unsafe { libc::syscall(libc::SYS_openat2, dir.as_raw_fd(), path.as_ptr(), &raw const how, size) })
}

/// `fstatat` that does not follow a last symbolic link.
pub(crate) fn lstat(dir: BorrowedFd<'_>, path: &CStr) -> io::Result<libc::stat> {
    stat_with(dir.as_raw_fd(), path, libc::AT_SYMLINK_NOFOLLOW)
}

/// `fstat`, of an `O_PATH` descriptor too.
pub(crate) fn fstat(fd: impl AsFd) -> io::Result<libc::stat> {
    stat_with(fd.as_fd().as_raw_fd(), c"", libc::AT_EMPTY_PATH)
}

fn stat_with(dir: c_int, path: &CStr, flags: c_int) -> io::Result<libc::stat> {
    let mut stat = MaybeUninit::uninit();
    // SAFETY: `path` is NUL-terminated, `stat` has room for the result, both live for the call.
    check(unsafe { libc::fstatat(dir, path.as_ptr(), stat.as_mut_ptr(), flags) })?;
    // SAFETY: the call succeeded, so the kernel has filled it in.
    Ok(unsafe { stat.assume_init() })
}

/// The file type bits of a mode.
pub(crate) fn file_type(stat: &libc::stat) -> libc::mode_t {
    stat.st_mode & libc::S_IFMT
}

/// Links the file `source` (its last component not followed) to `path` below `dir`.
pub(crate) fn link(source: &CStr, dir: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    // SAFETY: both paths are NUL-terminated and live for the call.
    check(unsafe { libc::linkat(libc::AT_FDCWD, source.as_ptr(), dir.as_raw_fd(), path.as_ptr(), 0) })?;
    Ok(())
}

/// Makes a symbolic link with this target at `path` below `dir`.
pub(crate) fn symlink(target: &CStr, dir: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    // SAFETY: both strings are NUL-terminated and live for the call.
    check(unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), path.as_ptr()) })?;
    Ok(())
}

/// Makes a directory with exactly this mode, whatever the umask is.
pub(crate) fn mkdir(dir: BorrowedFd<'_>, path: &CStr, mode: libc::mode_t) -> io::Result<()> {
    // SAFETY: `path` is NUL-terminated and lives for the call.
    check(unsafe { libc::mkdirat(dir.as_raw_fd(), path.as_ptr(), mode) })?;
    chmod(dir, path, mode)
}

/// `fchmodat`; a last symbolic link is followed.
pub(crate) fn chmod(dir: BorrowedFd<'_>, path: &CStr, mode: libc::mode_t) -> io::Result<()> {
    // SAFETY: `path` is NUL-terminated and lives for the call.
    check(unsafe { libc::fchmodat(dir.as_raw_fd(), path.as_ptr(), mode, 0) })?;
    Ok(())
}

/// Removes the name of a file that is no directory.
pub(crate) fn unlink(dir: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    // SAFETY: `path` is NUL-terminated and lives for the call.
    check(unsafe { libc::unlinkat(dir.as_raw_fd(), path.as_ptr(), 0) })?;
    Ok(())
}

/// Removes an empty directory.
pub(crate) fn rmdir(dir: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    // SAFETY: `path` is NUL-terminated and lives for the call.
    check(unsafe { libc::unlinkat(dir.as_raw_fd(), path.as_ptr(), libc::AT_REMOVEDIR) })?;
    Ok(())
}

/// `renameat`.
pub(crate) fn rename(from: BorrowedFd<'_>, old: &CStr, to: BorrowedFd<'_>, new: &CStr) -> io::Result<()> {
    // SAFETY: both paths are NUL-terminated and live for the call.
    check(unsafe { libc::renameat(from.as_raw_fd(), old.as_ptr(), to.as_raw_fd(), new.as_ptr()) })?;
    Ok(())
}

/// Target of the symbolic link that `link` (opened with `O_PATH | O_NOFOLLOW`) is.
pub(crate) fn read_link(link: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer has the length that is said; the empty path is NUL-terminated.
    let n = check_long(unsafe {
        libc::readlinkat(link.as_raw_fd(), c"".as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) as c_long
    })?;
    buffer.truncate(n as usize);
    Ok(buffer)
}

/// `mount`, with the optional parts as the kernel has them.
pub(crate) fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
    options: Option<&CStr>,
) -> io::Result<()> {
    let pointer = |s: Option<&CStr>| s.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: all strings are NUL-terminated or null, and live for the call.
    check(unsafe {
        libc::mount(pointer(source), target.as_ptr(), pointer(kind), flags, pointer(options).cast())
    })?;
    Ok(())
}

/// Makes the mount that `tree` leads to (an `open_tree` clone, or a mount point), and all below it if asked, read-only,
/// without set-user-id programs.
pub(crate) fn make_read_only(tree: BorrowedFd<'_>, recursive: bool) -> io::Result<()> {
    // SAFETY: mount_attr is plain integers, for which zeros are valid.
    let mut attr: libc::mount_attr = unsafe { MaybeUninit::zeroed().assume_init() };
    attr.attr_set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let size = size_of::<libc::mount_attr>();
    // SAFETY: the path is NUL-terminated, `attr` has the size that is said, both live for the call.
    check_long(unsafe {
        libc::syscall(libc::SYS_mount_setattr, tree.as_raw_fd(), c"".as_ptr(), flags, &raw const attr, size)
    })?;
    Ok(())
}

/// A private copy of the mount at `path`, attached nowhere.
pub(crate) fn clone_mount(path: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: `path` is NUL-terminated and lives for the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// Makes a character device that everybody may use.
pub(crate) fn make_device(path: &CStr, device: libc::dev_t) -> io::Result<()> {
    // SAFETY: `path` is NUL-terminated.
    check(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, device) })?;
    // Whatever the umask of this process.
    // SAFETY: as above.
    check(unsafe { libc::chmod(path.as_ptr(), 0o666) })?;
    Ok(())
}

/// A private copy of the directory `tree` as a mount, with all mounts below it, attached nowhere.
pub(crate) fn clone_mounts(tree: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE
        | libc::OPEN_TREE_CLOEXEC
        | (libc::AT_EMPTY_PATH | libc::AT_RECURSIVE).cast_unsigned();
    // SAFETY: the empty path is NUL-terminated.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, tree.as_raw_fd(), c"".as_ptr(), flags) })
}

/// Attaches a copy made by [`clone_mounts`] at `path`.
pub(crate) fn attach_mount(mount: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let (from, here) = (mount.as_raw_fd(), libc::AT_FDCWD);
    // SAFETY: both paths are NUL-terminated.
    check_long(unsafe {
        let flags = libc::MOVE_MOUNT_F_EMPTY_PATH;
        libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), here, path.as_ptr(), flags)
    })?;
    Ok(())
}

/// Which directory of which mount this is. `path` is below `dir`, or empty for itself.
pub(crate) fn place_of(dir: BorrowedFd<'_>, path: &CStr) -> io::Result<(u64, u64)> {
    // SAFETY: statx is plain integers, for which zeros are valid.
    let mut stat: libc::statx = unsafe { MaybeUninit::zeroed().assume_init() };
    let mask = libc::STATX_INO | libc::STATX_MNT_ID;
    // SAFETY: `path` is NUL-terminated, the result has room.
    check(unsafe { libc::statx(dir.as_raw_fd(), path.as_ptr(), libc::AT_EMPTY_PATH, mask, &raw mut stat) })?;
    Ok((stat.stx_mnt_id, stat.stx_ino))
}

/// A pipe with both ends close-on-exec, and neither of them among the three standard descriptors.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    Ok((above_standard(owned(c_long::from(ends[0]))?)?, above_standard(owned(c_long::from(ends[1]))?)?))
}

/// The same open file under a number that `dup2` onto 0, 1 and 2 will not overwrite.
pub(crate) fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    // SAFETY: duplicates an open descriptor.
    owned(c_long::from(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) }))
}

/// Reads of `fd` return `EAGAIN` in place of waiting.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: sets a flag of an open descriptor.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
    Ok(())
}

/// A descriptor that becomes readable when process `pid` has ended.
pub(crate) fn pidfd_open(pid: libc::pid_t) -> io::Result<OwnedFd> {
    // SAFETY: takes integers only.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Kills the process behind a pidfd.
pub(crate) fn kill(process: BorrowedFd<'_>) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks for the default one.
    check_long(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), libc::SIGKILL, none, 0)
    })?;
    Ok(())
}

/// Is the extended attribute `name` of the file behind `fd` (not `O_PATH`) exactly `value`?
pub(crate) fn xattr_is(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> bool {
    let mut buffer = [0u8; 16];
    // SAFETY: the name is NUL-terminated, the buffer has the length that is said.
    let n =
        unsafe { libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(n).is_ok_and(|n| &buffer[..n] == value)
}

/// Can files below `dir` carry `user.*` attributes? Overlayfs in a user namespace needs them on its upper layer.
pub(crate) fn has_user_xattr(dir: BorrowedFd<'_>) -> bool {
    let Ok(file) = openat(dir, c".", libc::O_RDONLY | libc::O_DIRECTORY) else { return false };
    let name = c"user.overlay.probe";
    // SAFETY: name and value live for the call, the value is one byte long.
    let set = unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), c"y".as_ptr().cast(), 1, 0) };
    // SAFETY: the name is NUL-terminated.
    unsafe { libc::fremovexattr(file.as_raw_fd(), name.as_ptr()) };
    set == 0
}

/// One name in a directory.
pub(crate) struct DirEntry {
    /// The name.
    pub(crate) name: CString,
    /// Is it a directory (not a link to one)?
    pub(crate) is_dir: bool,
}

/// All names in the directory behind `dir` (opened for reading) but `.` and `..`, in the kernel's order.
pub(crate) fn list(dir: BorrowedFd<'_>) -> io::Result<Vec<DirEntry>> {
    // struct linux_dirent64: u64 ino, i64 off, u16 reclen, u8 type, name…
    const LENGTH: usize = 16;
    const TYPE: usize = 18;
    const NAME: usize = 19;
    let mut entries = Vec::new();
    let mut buffer = [0u8; 8192];
    loop {
        // SAFETY: the buffer has the length that is said.
        let n = check_long(unsafe {
            libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), buffer.as_mut_ptr(), buffer.len())
        })? as usize;
        if n == 0 {
            return Ok(entries);
        }
        let mut rest = &buffer[..n];
        while rest.len() > NAME {
            let length = usize::from(u16::from_ne_bytes([rest[LENGTH], rest[LENGTH + 1]]));
            let (record, next) = rest.split_at(length.clamp(NAME, rest.len()));
            rest = next;
            let kind = record[TYPE];
            let Ok(name) = CStr::from_bytes_until_nul(&record[NAME..]) else { continue };
            if name == c"." || name == c".." {
                continue;
            }
            let is_dir = match kind {
                libc::DT_DIR => true,
                libc::DT_UNKNOWN => file_type(&lstat(dir, name)?) == libc::S_IFDIR,
                _ => false,
            };
            entries.push(DirEntry { name: name.to_owned(), is_dir });
        }
    }
}
