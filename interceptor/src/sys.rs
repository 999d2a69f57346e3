// SPDX-License-Identifier: Apache-2.0
//! The kernel, without a C library: system calls that touch neither `errno` nor a lock. All of them carry the session's mark, by which the
//! recorder's filter knows that they are our own, or recorded by us. Knows nothing of sessions and hooks.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::arch::{self, Stat, nr, syscall};

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

pub(crate) const SIGQUIT: c_int = 3;
pub(crate) const SIGKILL: c_int = 9;
const SIGTERM: c_int = 15;
/// Size of the kernel's set of signals.
const SET_SIZE: usize = 8;
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
        // SAFETY: every wrapper in this file passes buffers with their true length, and strings with their NUL.
        unsafe { marked($nr, five!($($arg),*)) }
    };
}

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

pub(crate) fn exit_group(code: c_int) -> ! {
    loop {
        let _ = call!(nr::EXIT_GROUP, code);
    }
}

/// Ends the process by `SIGKILL`.
pub(crate) fn kill_self() -> ! {
    end_by(SIGKILL)
}

/// Ends the process by a signal that has its default effect.
pub(crate) fn end_by(signal: c_int) -> ! {
    let _ = change_signal_mask(0);
    let _ = call!(nr::KILL, getpid(), signal);
    exit_group(128 + signal)
}

/// The signals that have come while they were blocked; none where that cannot be told.
fn pending_signals() -> u64 {
    let mut pending = 0u64;
    match call!(nr::RT_SIGPENDING, &raw mut pending, SET_SIZE) {
        Ok(_) => pending,
        Err(_) => 0,
    }
}

/// A signal that users and build drivers end processes by, and that has come while it was blocked: it would end this
/// one, where signals have no handlers, if `mask` were the mask.
pub(crate) fn pending_end(mask: u64) -> Option<c_int> {
    const SIGHUP: c_int = 1;
    const SIGINT: c_int = 2;
    const IGNORED: u64 = 1;
    let pending = pending_signals();
    [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().find(|signal| {
        let mut action = [0u64; 4];
        (pending & !mask) >> (signal - 1) & 1 != 0
            && call!(nr::RT_SIGACTION, *signal, 0, action.as_mut_ptr(), SET_SIZE).is_ok()
            && action[0] != IGNORED
    })
}

/// Ends the process as `abort` would.
#[cfg(panic = "abort")]
pub(crate) fn abort() -> ! {
    const SIGABRT: c_int = 6;
    let _ = call!(nr::KILL, getpid(), SIGABRT);
    exit_group(134)
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

/// `execveat`: returns only when it fails. The arguments are looked at by the kernel only. Where it is not marked, the
/// filter has it looked at.
pub(crate) fn execveat(
    dirfd: c_int,
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    flags: c_int,
    is_marked: bool,
) -> Errno {
    let [a, b, c, d, e] = five!(dirfd, path, argv, envp, flags);
    // SAFETY: the kernel checks all of it.
    let failed = unsafe { syscall(nr::EXECVEAT, [a, b, c, d, e, if is_marked { mark() } else { 0 }]) };
    check(failed).err().unwrap_or(Errno::NOSYS)
}

/// `execve`, marked: returns only when it fails. The arguments are looked at by the kernel only.
pub(crate) fn execve(path: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> Errno {
    call!(nr::EXECVE, path, argv, envp).err().unwrap_or(Errno::NOSYS)
}

/// How a child ends that does nothing else.
#[derive(Clone, Copy)]
pub(crate) enum End {
    /// It exits with this code.
    Exit(c_int),
    /// By `SIGKILL`.
    Killed,
}

/// A child that ends at once: its process id.
pub(crate) fn spawn_end(end: End) -> Result<c_int, Errno> {
    // The child shares our memory: no handler may run in it.
    let mask = change_signal_mask(u64::MAX)?;
    let child = check(match end {
        End::Exit(code) => arch::child_that_ends(code, 0),
        End::Killed => arch::child_that_ends(0, SIGKILL),
    });
    let _ = change_signal_mask(mask);
    child.map(|pid| pid as c_int)
}

/// Sets the mask of signals of this thread and gives the old one.
pub(crate) fn change_signal_mask(mask: u64) -> Result<u64, Errno> {
    const SIG_SETMASK: c_int = 2;
    let mut old = 0u64;
    call!(nr::RT_SIGPROCMASK, SIG_SETMASK, &raw const mask, &raw mut old, SET_SIZE)?;
    Ok(old)
}

/// A child that shares our memory and runs `body(context)` on a stack of its own, while we go on: its process id. It
/// has the default signal handlers and no descriptor in common with us. The kernel clears `busy` once the child uses
/// our memory no more.
///
/// # Safety
/// The stack has `size` bytes, which nobody else uses until then; nor may anything change that `body` uses. `body` makes no use of what is
/// a thread's own, such as `errno`.
pub(crate) unsafe fn child_on_stack(
    stack: *mut u8,
    size: usize,
    busy: &'static AtomicU32,
    body: unsafe extern "C" fn(*const c_void) -> !,
    context: *const c_void,
) -> Result<c_int, Errno> {
    const CLONE_VM: u64 = 0x100;
    const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
    const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    const SIGCHLD: u64 = 17;
    let arguments = arch::CloneArguments {
        flags: CLONE_VM | CLONE_CHILD_CLEARTID | CLONE_CLEAR_SIGHAND,
        child_tid: busy.as_ptr() as u64,
        exit_signal: SIGCHLD,
        stack: stack as u64,
        stack_size: size as u64,
        ..arch::CloneArguments::default()
    };
    // SAFETY: as the caller promises.
    check(unsafe { arch::child_on_stack(&arguments, body, context) }).map(|pid| pid as c_int)
}

/// Puts a process, 0 for our own, into a process group, 0 for one of its own, if it may.
pub(crate) fn set_process_group(process: c_int, group: c_int) {
    let _ = call!(nr::SETPGID, process, group);
}

/// Makes the real user and group of this process, which has one thread, the effective ones.
pub(crate) fn reset_ids() -> Result<(), Errno> {
    const SAME: u32 = u32::MAX;
    let (user, group) = (call!(nr::GETUID)?, call!(nr::GETGID)?);
    call!(nr::SETRESUID, SAME, user, SAME)?;
    call!(nr::SETRESGID, SAME, group, SAME).map(|_| ())
}

/// These signals have their default effect from now on.
pub(crate) fn default_signals(signals: u64) {
    /// The kernel's `struct sigaction`: no handler, no flags, no restorer, an empty mask.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in (1..=64).filter(|signal| signals >> (signal - 1) & 1 != 0) {
        let _ = call!(nr::RT_SIGACTION, signal, DEFAULT.as_ptr(), 0, SET_SIZE);
    }
}

/// `dup2`, which leaves it open in what is executed. The two are not the same.
pub(crate) fn copy_descriptor(from: c_int, to: c_int) -> Result<(), Errno> {
    call!(nr::DUP3, from, to, 0).map(|_| ())
}

/// Closes this descriptor and all above it.
pub(crate) fn close_from(first: c_int) -> Result<(), Errno> {
    call!(nr::CLOSE_RANGE, first, u32::MAX, 0).map(|_| ())
}

/// `struct sockaddr_un`.
#[repr(C)]
pub(crate) struct SocketAddress {
    pub(crate) family: u16,
    pub(crate) path: [u8; 108],
}

/// `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct IoSlice {
    pub(crate) base: *const u8,
    pub(crate) length: usize,
}

/// A stream connected to a Unix socket. Never descriptor 0, 1 or 2, which programs take for granted.
pub(crate) fn connect(address: &SocketAddress) -> Result<c_int, Errno> {
    const AF_UNIX: c_int = 1;
    const STREAM_CLOEXEC: c_int = 1 | O_CLOEXEC;
    const F_DUPFD_CLOEXEC: c_int = 1030;
    let mut fd = call!(nr::SOCKET, AF_UNIX, STREAM_CLOEXEC, 0)? as c_int;
    if fd <= 2 {
        let high = call!(nr::FCNTL, fd, F_DUPFD_CLOEXEC, 3);
        close(fd);
        fd = high? as c_int;
    }
    loop {
        match call!(nr::CONNECT, fd, core::ptr::from_ref(address), size_of::<SocketAddress>()) {
            Ok(_) => return Ok(fd),
            Err(Errno::INTR) => {}
            Err(errno) => {
                close(fd);
                return Err(errno);
            }
        }
    }
}

/// Sends what it can of `slices`; no SIGPIPE.
///
/// # Safety
/// All slices must be readable.
pub(crate) unsafe fn send(fd: c_int, slices: &[IoSlice]) -> Result<usize, Errno> {
    #[repr(C)]
    struct Message {
        name: *const c_void,
        name_length: usize,
        slices: *const IoSlice,
        count: usize,
        control: *const c_void,
        control_length: usize,
        flags: c_int,
    }
    const MSG_NOSIGNAL: c_int = 0x4000;
    let message = Message {
        name: core::ptr::null(),
        name_length: 0,
        slices: slices.as_ptr(),
        count: slices.len(),
        control: core::ptr::null(),
        control_length: 0,
        flags: 0,
    };
    loop {
        match call!(nr::SENDMSG, fd, &raw const message, MSG_NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Waits so many milliseconds, or until a signal was handled, or `SIGTERM` is there and may not be delivered.
pub(crate) fn await_termination(milliseconds: u32) {
    const STEP: u32 = 20;
    const TERMINATION: u64 = 1 << (SIGTERM - 1);
    let step = [0, i64::from(STEP) * 1_000_000];
    for _ in 0..milliseconds / STEP {
        if pending_signals() & TERMINATION != 0 || call!(nr::NANOSLEEP, step.as_ptr(), 0).is_err() {
            return;
        }
    }
}

/// Receives up to a buffer full; 0 at the end of the stream.
pub(crate) fn receive(fd: c_int, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        // SAFETY: the buffer with its length; no address is wanted.
        let received = unsafe {
            syscall(nr::RECVFROM, [fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0])
        };
        match check(received) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
