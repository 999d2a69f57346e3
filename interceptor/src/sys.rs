// SPDX-License-Identifier: Apache-2.0
//! The kernel, without a C library: system calls that touch neither `errno` nor a lock. All of them carry the session's mark, by which the
//! recorder's filter knows that they are our own, or recorded by us. Knows nothing of sessions and hooks.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::arch::{Stat, nr, syscall};

/// An error number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) c_int);

impl Errno {
    pub(crate) const NOENT: Self = Self(2);
    pub(crate) const INTR: Self = Self(4);
    pub(crate) const IO: Self = Self(5);
    pub(crate) const TOOBIG: Self = Self(7);
    pub(crate) const NOEXEC: Self = Self(8);
    pub(crate) const BADF: Self = Self(9);
    pub(crate) const NOMEM: Self = Self(12);
    pub(crate) const ACCES: Self = Self(13);
    pub(crate) const FAULT: Self = Self(14);
    pub(crate) const NODEV: Self = Self(19);
    pub(crate) const NOTDIR: Self = Self(20);
    pub(crate) const ISDIR: Self = Self(21);
    pub(crate) const INVAL: Self = Self(22);
    pub(crate) const NAMETOOLONG: Self = Self(36);
    pub(crate) const NOSYS: Self = Self(38);
    pub(crate) const NOTSOCK: Self = Self(88);
    pub(crate) const TIMEDOUT: Self = Self(110);
    pub(crate) const CONNREFUSED: Self = Self(111);
    pub(crate) const STALE: Self = Self(116);
}

pub(crate) const AT_FDCWD: c_int = -100;
pub(crate) const AT_SYMLINK_NOFOLLOW: c_int = 0x100;
pub(crate) const AT_EACCESS: c_int = 0x200;
pub(crate) const AT_REMOVEDIR: c_int = 0x200;
pub(crate) const AT_EMPTY_PATH: c_int = 0x1000;
pub(crate) const O_ACCMODE: c_int = 3;
pub(crate) const O_RDONLY: c_int = 0;
pub(crate) const O_WRONLY: c_int = 1;
pub(crate) const O_RDWR: c_int = 2;
pub(crate) const O_CREAT: c_int = 0o100;
pub(crate) const O_EXCL: c_int = 0o200;
pub(crate) const O_NOCTTY: c_int = 0o400;
pub(crate) const O_TRUNC: c_int = 0o1000;
pub(crate) const O_NONBLOCK: c_int = 0o4000;
pub(crate) const O_DIRECTORY: c_int = 0o200_000;
pub(crate) const O_CLOEXEC: c_int = 0o2_000_000;
pub(crate) const O_APPEND: c_int = 0o2000;
pub(crate) const O_PATH: c_int = 0o10_000_000;
pub(crate) const O_TMPFILE: c_int = 0o20_000_000 | O_DIRECTORY;
pub(crate) const S_IFIFO: u32 = 0o010_000;
/// Longest path, its NUL included.
pub(crate) const PATH_MAX: usize = 4096;

const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFCHR: u32 = 0o020_000;

impl Stat {
    pub(crate) fn is_file(&self) -> bool {
        self.mode & S_IFMT == S_IFREG
    }

    /// A device, a pipe, a socket.
    pub(crate) fn is_special(&self) -> bool {
        !self.is_file() && !self.is_directory()
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }

    /// `/dev/null`.
    pub(crate) fn is_null(&self) -> bool {
        const NULL: u64 = 0x103;
        self.mode & S_IFMT == S_IFCHR && self.rdev == NULL
    }

    pub(crate) fn identity(&self) -> wire::FdIdentity {
        wire::FdIdentity {
            dev: self.dev,
            ino: self.ino,
            rdev: self.rdev,
            mode: self.mode,
            nlink: u32::try_from(self.nlink).unwrap_or(u32::MAX),
        }
    }
}

/// What marks our system calls; zero where nothing is marked. Set at load.
static MARK: AtomicUsize = AtomicUsize::new(0);

/// Sets what marks system calls from now on.
pub(crate) fn set_mark(mark: u64) {
    MARK.store(mark as usize, Ordering::Relaxed);
}

/// Does a filter see what is not marked?
pub(crate) fn is_marking() -> bool {
    mark() != 0
}

#[inline(always)]
fn mark() -> usize {
    MARK.load(Ordering::Relaxed)
}

#[inline(always)]
fn check(raw: isize) -> Result<usize, Errno> {
    if (-4095..0).contains(&raw) { Err(Errno(-raw as c_int)) } else { Ok(raw as usize) }
}

/// Pads the arguments of a system call to five: the sixth is the mark.
macro_rules! five {
    () => { [0usize; 5] };
    ($a:expr) => { [$a as usize, 0, 0, 0, 0] };
    ($a:expr, $b:expr) => { [$a as usize, $b as usize, 0, 0, 0] };
    ($a:expr, $b:expr, $c:expr) => { [$a as usize, $b as usize, $c as usize, 0, 0] };
    ($a:expr, $b:expr, $c:expr, $d:expr) => { [$a as usize, $b as usize, $c as usize, $d as usize, 0] };
    ($a:expr, $b:expr, $c:expr, $d:expr, $e:expr) => { [$a as usize, $b as usize, $c as usize, $d as usize, $e as usize] };
}
pub(crate) use five;

/// A system call of up to five arguments, marked. Its pointers are only looked at by the kernel, which checks them.
macro_rules! call {
    ($nr:expr $(, $arg:expr)*) => {
        // SAFETY: every wrapper here and in the two modules below passes buffers with their true length, and strings with their NUL.
        unsafe { marked($nr, five!($($arg),*)) }
    };
}

// By path: another library has this file, too, by its path.
#[path = "sys/process.rs"]
mod process;
#[path = "sys/socket.rs"]
mod socket;

pub(crate) use process::*;
pub(crate) use socket::*;

/// A system call with the mark.
///
/// # Safety
/// As for [`arch::syscall`].
#[inline(always)]
pub(crate) unsafe fn marked(number: usize, args: [usize; 5]) -> Result<usize, Errno> {
    let [a, b, c, d, e] = args;
    // SAFETY: as the caller promises; no call of five arguments or fewer looks at a sixth.
    check(unsafe { syscall(number, [a, b, c, d, e, mark()]) })
}

/// A request to the tracer by [`wire::CALL`]: the buffer's first bytes; the reply takes their place.
pub(crate) fn ask(buffer: &mut [u8], length: usize) -> Result<usize, Errno> {
    call!(wire::CALL as usize, buffer.as_mut_ptr(), length, buffer.len())
}

/// For what is written in the program's name: the recorder's filter sees it.
pub(crate) fn write(fd: c_int, bytes: &[u8]) -> Result<usize, Errno> {
    transfer(nr::WRITE, fd, bytes.as_ptr().cast(), bytes.len(), false)
}

/// `read` and `write`. `buffer` is looked at by the kernel only: any address is allowed. What marks these marks no other call: a handler
/// of signals, which may come while they wait, begins with all that is in the registers.
pub(crate) fn transfer(
    number: usize,
    fd: c_int,
    buffer: *const c_void,
    count: usize,
    is_marked: bool,
) -> Result<usize, Errno> {
    let mark = if is_marked && is_marking() { wire::mark_of_streams(mark() as u64) as usize } else { 0 };
    // SAFETY: the kernel checks the address. What it writes there the program has asked for.
    check(unsafe { syscall(number, [fd as usize, buffer as usize, count, 0, 0, mark]) })
}

/// The descriptor stays open in what is executed.
pub(crate) fn keep_over_exec(fd: c_int) -> Result<(), Errno> {
    const F_SETFD: c_int = 2;
    call!(nr::FCNTL, fd, F_SETFD, 0).map(|_| ())
}

/// `struct pollfd`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Polled {
    fd: c_int,
    wanted: i16,
    found: i16,
}

/// What is so of these now.
fn poll(polled: &mut [Polled]) -> Result<usize, Errno> {
    // The kernel writes what is left of it.
    let mut at_once = [0i64; 2];
    call!(nr::PPOLL, polled.as_mut_ptr(), polled.len(), at_once.as_mut_ptr(), 0, 0)
}

/// Can something be written there without waiting, as far as can be said now?
pub(crate) fn takes_more(fd: c_int) -> bool {
    const OUT: i16 = 4;
    let mut polled = [Polled { fd, wanted: OUT, found: 0 }];
    poll(&mut polled).is_ok() && polled[0].found == OUT
}

/// Which of the descriptors below this number may be open, bit by bit: asked in one call, not one for each. Those that stand for a path only
/// (`O_PATH`) count as closed.
pub(crate) fn open_below<const END: usize>() -> u64 {
    const CLOSED: i16 = 0x20;
    const { assert!(END <= u64::BITS as usize) };
    let mut polled = [Polled { fd: 0, wanted: 0, found: 0 }; END];
    for (fd, polled) in (0..).zip(&mut polled) {
        polled.fd = fd;
    }
    // Who may not open so many is not told.
    if poll(&mut polled).is_err() {
        return u64::MAX;
    }
    let open = (0..).zip(&polled).filter(|(_, polled)| polled.found & CLOSED == 0);
    open.fold(0, |open, (fd, _)| open | 1 << fd)
}

pub(crate) fn close(fd: c_int) {
    let _ = call!(nr::CLOSE, fd);
}

pub(crate) fn fstat(fd: c_int) -> Result<Stat, Errno> {
    let mut stat = Stat::default();
    call!(nr::FSTAT, fd, &raw mut stat).map(|_| stat)
}

/// Is this descriptor open, and will be in the next program?
pub(crate) fn stays_open(fd: c_int) -> bool {
    const F_GETFD: c_int = 1;
    const FD_CLOEXEC: usize = 1;
    call!(nr::FCNTL, fd, F_GETFD).is_ok_and(|flags| flags & FD_CLOEXEC == 0)
}

/// How much there is to read of what was just opened: the low bits of a file's size. It costs half of an `fstat`.
/// Nothing for directories and most devices; of a pipe or terminal, what is waiting.
pub(crate) fn rest_of(fd: c_int) -> Option<u32> {
    const FIONREAD: c_int = 0x541b;
    let mut rest = 0u32;
    call!(nr::IOCTL, fd, FIONREAD, &raw mut rest).ok().map(|_| rest)
}

/// Goes to the end of a file, if it has one.
pub(crate) fn seek_end(fd: c_int) {
    const SEEK_END: c_int = 2;
    let _ = call!(nr::LSEEK, fd, 0, SEEK_END);
}

/// `path` is looked at by the kernel only: any address is allowed.
pub(crate) fn stat_at(dirfd: c_int, path: *const c_char, flags: c_int) -> Result<Stat, Errno> {
    let mut stat = Stat::default();
    call!(nr::NEWFSTATAT, dirfd, path, &raw mut stat, flags).map(|_| stat)
}

/// `path` is looked at by the kernel only: any address is allowed.
pub(crate) fn open_at(dirfd: c_int, path: *const c_char, flags: c_int) -> Result<c_int, Errno> {
    call!(nr::OPENAT, dirfd, path, flags, 0).map(|fd| fd as c_int)
}

/// The same, as the C library does it: the recorder's filter sees it.
pub(crate) fn open_unmarked(path: *const c_char, flags: c_int, mode: u32) -> Result<c_int, Errno> {
    let args = [AT_FDCWD as usize, path as usize, flags as usize, mode as usize, 0, 0];
    // SAFETY: the kernel checks the address.
    check(unsafe { syscall(nr::OPENAT, args) }).map(|fd| fd as c_int)
}

/// The same with the mode of a file that is made.
pub(crate) fn open_with_mode(path: *const c_char, flags: c_int, mode: u32) -> Result<c_int, Errno> {
    call!(nr::OPENAT, AT_FDCWD, path, flags, mode).map(|fd| fd as c_int)
}

pub(crate) fn pread(fd: c_int, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    call!(nr::PREAD64, fd, buffer.as_mut_ptr(), buffer.len(), offset)
}

/// Is anything at this path, its links followed? `path` is looked at by the kernel only.
pub(crate) fn exists(dirfd: c_int, path: *const c_char) -> Result<(), Errno> {
    const F_OK: c_int = 0;
    call!(nr::FACCESSAT, dirfd, path, F_OK).map(|_| ())
}

/// May we execute this file? `path` is looked at by the kernel only.
pub(crate) fn may_execute(dirfd: c_int, path: *const c_char) -> Result<(), Errno> {
    const X_OK: c_int = 1;
    call!(nr::FACCESSAT, dirfd, path, X_OK).map(|_| ())
}

/// The target of a symbolic link, cut to the buffer.
pub(crate) fn readlink<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let length = call!(nr::READLINKAT, AT_FDCWD, path.as_ptr(), buffer.as_mut_ptr(), buffer.len())?;
    Ok(buffer.get(..length).unwrap_or_default())
}

/// The working directory, without NUL; empty where it has no path.
pub(crate) fn getcwd(buffer: &mut [u8]) -> &[u8] {
    match call!(nr::GETCWD, buffer.as_mut_ptr(), buffer.len()) {
        // "(unreachable)/…" is what the kernel says of a directory outside of our root.
        Ok(length) if buffer.first() == Some(&b'/') => {
            buffer.get(..length.saturating_sub(1)).unwrap_or_default()
        }
        _ => &[],
    }
}

pub(crate) fn getpid() -> u32 {
    call!(nr::GETPID).unwrap_or(0) as u32
}

/// The file mode creation mask, by setting it twice: another thread that makes a file in between sees the wrong one.
pub(crate) fn umask() -> u32 {
    let mask = call!(nr::UMASK, 0o077).unwrap_or(0);
    let _ = call!(nr::UMASK, mask);
    mask as u32
}

/// The file mode creation mask, without touching it.
pub(crate) fn umask_by_reading() -> Option<u32> {
    let fd = open_at(AT_FDCWD, c"/proc/self/status".as_ptr(), O_RDONLY | O_CLOEXEC).ok()?;
    let mut text = [0u8; 256];
    let length = pread(fd, &mut text, 0);
    close(fd);
    let text = text.get(..length.ok()?)?;
    let key = b"\nUmask:\t";
    let at = text.windows(key.len()).position(|window| window == key)? + key.len();
    let digits = text.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |mask, digit| mask << 3 | u32::from(digit & 7)))
}

/// Zeroed private memory.
pub(crate) fn map(size: usize) -> Option<*mut u8> {
    const READ_WRITE: usize = 3;
    const PRIVATE_ANONYMOUS: usize = 0x22;
    // SAFETY: a new mapping, wherever there is room; six arguments, so no mark.
    let mapped = unsafe { syscall(nr::MMAP, [0, size, READ_WRITE, PRIVATE_ANONYMOUS, usize::MAX, 0]) };
    check(mapped).ok().map(|address| address as *mut u8)
}

/// Maps part of a file that is shared with other processes; `now`: with all of its pages.
pub(crate) fn map_shared(fd: c_int, offset: u64, size: usize, now: bool) -> Option<*mut u8> {
    const READ_WRITE: usize = 3;
    const SHARED: usize = 1;
    const POPULATE: usize = 0x8000;
    let flags = SHARED | if now { POPULATE } else { 0 };
    // SAFETY: as above.
    let mapped = unsafe { syscall(nr::MMAP, [0, size, READ_WRITE, flags, fd as usize, offset as usize]) };
    check(mapped).ok().map(|address| address as *mut u8)
}

/// Has the kernel give zeros in place of these pages to children that get a copy of our memory.
pub(crate) fn wipe_on_fork(address: *const u8, size: usize) -> bool {
    const MADV_WIPEONFORK: c_int = 18;
    call!(nr::MADVISE, address, size, MADV_WIPEONFORK).is_ok()
}

/// # Safety
/// The memory came from [`map`] with this size, and nothing refers to it any more.
pub(crate) unsafe fn unmap(address: *mut u8, size: usize) {
    let _ = call!(nr::MUNMAP, address, size);
}

/// `dup2`, which leaves it open in what is executed. The two are not the same.
pub(crate) fn copy_descriptor(from: c_int, to: c_int) -> Result<(), Errno> {
    call!(nr::DUP3, from, to, 0).map(|_| ())
}

/// Closes this descriptor and all above it.
pub(crate) fn close_from(first: c_int) -> Result<(), Errno> {
    call!(nr::CLOSE_RANGE, first, u32::MAX, 0).map(|_| ())
}
