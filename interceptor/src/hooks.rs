// SPDX-License-Identifier: Apache-2.0
//! The table of hooks: one row for each function, with its prototype and what is done. The templates `hook!` and those
//! that it uses are the only place where `errno` is set. Also the list of those functions of the same families that are
//! left alone, with the reason.

use core::ffi::{c_char, c_int, c_uint, c_void};

use crate::arch::nr;
use crate::arguments::by_list;
use crate::attributes::{changes_mode, sets_times, sets_times_of, truncates};
use crate::directory::{self, list, walks};
use crate::exec::{by_descriptor, by_path, by_search};
use crate::filter;
use crate::inner;
use crate::libc::environ;
use crate::log::{be_unsure, before_child, before_fork, come_apart};
use crate::lookup::{accesses, stats};
use crate::names::{makes_node, removes, symlinks, unlinks};
use crate::network;
use crate::open::{opens, opens_checked, prepare_library};
use crate::place::{At, links, renames};
use crate::realpath::resolves;
use crate::record::{none, one, told};
use crate::session::Session;
use crate::shell::shells;
use crate::spawn::{Arguments, spawn};
use crate::stream;
use crate::sys::{
    AT_EACCESS, AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, Errno, O_CREAT, O_TRUNC,
    O_WRONLY, PATH_MAX, S_IFIFO, five,
};
use crate::text::Array;
use wire::log::kind;

type Path = *const c_char;
/// A string that is no path.
type Word = *const c_char;
/// A string that is written to.
type Text = *mut c_char;
/// What the kernel writes to or reads from.
type Buffer = *mut c_void;
type File = c_void;
type Directory = c_void;
type Mode = c_uint;

/// Options of `fts_open` and `nftw`: they change the directory unless, or only where, it is given.
const FTS_NOCHDIR: c_int = 4;
const FTW_CHDIR: c_int = 4;
/// An option of `unshare`, and that by its number.
const CLONE_FS: c_int = 0x200;
const UNSHARE: usize = 272;

/// Before `unshare`.
fn departs(flags: c_int) {
    if flags & CLONE_FS != 0 {
        come_apart();
    }
}

/// What a function returns when it fails with `errno`.
pub(crate) trait Failed {
    const FAILED: Self;
}

impl Failed for c_int {
    const FAILED: Self = -1;
}

impl Failed for isize {
    const FAILED: Self = -1;
}

impl<T> Failed for *mut T {
    const FAILED: Self = core::ptr::null_mut();
}

/// Gives a hook's result to its caller.
#[inline]
pub(crate) fn conclude<R: Failed>(result: Result<R, Errno>) -> R {
    result.unwrap_or_else(|errno| {
        crate::libc::set_errno(errno);
        R::FAILED
    })
}

/// `fn NAME(ARGUMENTS) -> RESULT => |session, call| WORK;` where `call()` is the C library's function with the same arguments, and
/// `WORK` gives a `Result<RESULT, Errno>`. Without a session the call is all there is.
///
/// `call fn NAME(ARGUMENTS) -> RESULT => KIND at(DIRFD, PATH) by CALL(ARGUMENTS);` for what is one system call about
/// one path: made by ourselves and recorded as of this [`wire::log::kind`].
///
/// `list fn NAME => |arguments| WORK;` for functions with a variable number of arguments: `WORK` ends in another hook.
///
/// `before fn NAME(ARGUMENTS) => |session| WORK;` does its work and then jumps to the C library's function, which sees its true caller.
///
/// `skip NAME: REASON;` is for the reader, and for the test that knows all names of these families.
macro_rules! hooks {
    (@next) => {};
    (@next skip $name:ident: $reason:literal; $($rest:tt)*) => { hooks!(@next $($rest)*); };
    (@next list fn $name:ident => |$a:ident| $work:expr; $($rest:tt)*) => { hooks!(@next $($rest)*); };
    (@next call fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty
        => $kind:ident at($dirfd:expr, $path:expr) by $nr:ident($($value:expr),*); $($rest:tt)*) => {
        hooks!(@next fn $name($($arg: $type),*) -> $result => |session, call| (); $($rest)*);
    };
    (@next before fn $name:ident($($arg:ident: $type:ty),*) => |$s:ident| $work:expr; $($rest:tt)*) => {
        // SAFETY: only the address is used.
        pub(crate) static $name: Next<unsafe extern "C" fn($($type),*)> = unsafe {
            Next::new(symbol(concat!(stringify!($name), "\0")))
        };
        hooks!(@next $($rest)*);
    };
    (@next fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty => |$s:ident, $c:ident| $work:expr; $($rest:tt)*) => {
        // SAFETY: the row's prototype is the C library's.
        pub(crate) static $name: Next<unsafe extern "C" fn($($type),*) -> $result> = unsafe {
            Next::new(symbol(concat!(stringify!($name), "\0")))
        };
        hooks!(@next $($rest)*);
    };

    (@hook) => {};
    (@hook skip $name:ident: $reason:literal; $($rest:tt)*) => { hooks!(@hook $($rest)*); };
    (@hook list fn $name:ident => |$arguments:ident| $work:expr; $($rest:tt)*) => {
        const _: () = {
            unsafe extern "C" fn enter(registers: *const usize, stack: *const usize) -> c_int {
                let $arguments = crate::arch::Variadic::new(registers, stack);
                // SAFETY: the program passed what the C library's function wants.
                conclude(unsafe { $work })
            }
            crate::arch::variadic_entry!($name => enter);
        };
        hooks!(@hook $($rest)*);
    };
    (@hook call fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty
        => $kind:ident at($dirfd:expr, $path:expr) by $nr:ident($($value:expr),*); $($rest:tt)*) => {
        hooks!(@hook fn $name($($arg: $type),*) -> $result => |session, call| {
            let at = At($dirfd, $path);
            one(session, &|| call() as isize, kind::$kind, at, nr::$nr, five!($($value),*)).map(|value| value as $result)
        }; $($rest)*);
    };
    (@hook before fn $name:ident($($arg:ident: $type:ty),*) => |$session:ident| $work:expr; $($rest:tt)*) => {
        const _: () = {
            extern "C" fn missing() -> *mut c_void {
                core::ptr::null_mut()
            }
            unsafe extern "C" fn enter($($arg: $type),*) -> *mut c_void {
                if let Some($session) = Session::current() {
                    // SAFETY: the program passed what the C library's function wants.
                    #[allow(unused_unsafe, reason = "not all rows do what needs it")]
                    unsafe {
                        $work
                    }
                }
                next::$name.get().map_or(missing as *mut c_void, |next| next as *mut c_void)
            }
            crate::arch::tail_entry!($name => enter);
        };
        hooks!(@hook $($rest)*);
    };
    (@hook fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty => |$session:ident, $call:ident| $work:expr; $($rest:tt)*) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            let $call = || match next::$name.get() {
                // SAFETY: the arguments are the program's.
                Some(next) => unsafe { next($($arg),*) },
                None => conclude(Err(Errno::NOSYS)),
            };
            let Some($session) = Session::current() else { return $call() };
            // SAFETY: the program passed what the C library's function wants.
            #[allow(unused_unsafe, reason = "not all rows do what needs it")]
            conclude(unsafe { $work })
        }
        hooks!(@hook $($rest)*);
    };

    // Last, because anything fits it.
    ($($rows:tt)*) => {
        /// The functions that ours stand in front of.
        #[allow(non_upper_case_globals, reason = "named as the functions are")]
        pub(crate) mod next {
            use super::*;
            use crate::libc::{Next, symbol};
            hooks!(@next $($rows)*);
        }
        hooks!(@hook $($rows)*);
    };
}

hooks! {
    fn execve(path: Path, argv: Array, envp: Array) -> c_int => |session, _call| by_path(session, path, argv, envp);
    fn execv(path: Path, argv: Array) -> c_int => |session, _call| by_path(session, path, argv, environ.cast_const());
    fn execvp(file: Path, argv: Array) -> c_int => |session, _call| by_search(session, file, argv, environ.cast_const());
    fn execvpe(file: Path, argv: Array, envp: Array) -> c_int => |session, _call| by_search(session, file, argv, envp);
    fn fexecve(fd: c_int, argv: Array, envp: Array) -> c_int
        => |session, _call| by_descriptor(session, fd, c"".as_ptr(), argv, envp, AT_EMPTY_PATH);
    fn execveat(dirfd: c_int, path: Path, argv: Array, envp: Array, flags: c_int) -> c_int
        => |session, _call| by_descriptor(session, dirfd, path, argv, envp, flags);
    list fn execl => |arguments| by_list(arguments, false, |path, argv, _| execv(path, argv));
    list fn execlp => |arguments| by_list(arguments, false, |file, argv, _| execvp(file, argv));
    list fn execle => |arguments| by_list(arguments, true, |path, argv, envp| execve(path, argv, envp));

    fn posix_spawn(pid: *mut c_int, file: Path, actions: *const c_void, attributes: *const c_void, argv: Array, envp: Array) -> c_int
        => |session, _call| Ok(spawn(session, &next::posix_spawn, false, Arguments { pid, file, actions, attributes, argv, envp }));
    fn posix_spawnp(pid: *mut c_int, file: Path, actions: *const c_void, attributes: *const c_void, argv: Array, envp: Array) -> c_int
        => |session, _call| Ok(spawn(session, &next::posix_spawnp, true, Arguments { pid, file, actions, attributes, argv, envp }));
    skip pidfd_spawn: "since glibc 2.39 only, and what it gives is not a process id; the child has the environment that it is given";
    skip pidfd_spawnp: "as pidfd_spawn";

    fn popen(command: Path, mode: Path) -> *mut File => |session, call| Ok(shells(session, call));
    fn system(command: Path) -> c_int => |session, call| Ok(shells(session, call));
    skip __libc_system: "glibc's own name, for its own libraries";
    skip fopencookie: "opens no file";
    skip wordexp: "its shell only expands words";

    fn open(path: Path, flags: c_int, mode: Mode) -> c_int => |session, call| opens(session, &call, At(AT_FDCWD, path), flags, mode);
    fn open64(path: Path, flags: c_int, mode: Mode) -> c_int => |session, call| opens(session, &call, At(AT_FDCWD, path), flags, mode);
    fn openat(dirfd: c_int, path: Path, flags: c_int, mode: Mode) -> c_int
        => |session, call| opens(session, &call, At(dirfd, path), flags, mode);
    fn openat64(dirfd: c_int, path: Path, flags: c_int, mode: Mode) -> c_int
        => |session, call| opens(session, &call, At(dirfd, path), flags, mode);
    fn __open_2(path: Path, flags: c_int) -> c_int => |session, call| opens_checked(session, &call, At(AT_FDCWD, path), flags);
    fn __open64_2(path: Path, flags: c_int) -> c_int => |session, call| opens_checked(session, &call, At(AT_FDCWD, path), flags);
    fn __openat_2(dirfd: c_int, path: Path, flags: c_int) -> c_int
        => |session, call| opens_checked(session, &call, At(dirfd, path), flags);
    fn __openat64_2(dirfd: c_int, path: Path, flags: c_int) -> c_int
        => |session, call| opens_checked(session, &call, At(dirfd, path), flags);
    fn creat(path: Path, mode: Mode) -> c_int
        => |session, call| opens(session, &call, At(AT_FDCWD, path), O_CREAT | O_TRUNC | O_WRONLY, mode);
    fn creat64(path: Path, mode: Mode) -> c_int
        => |session, call| opens(session, &call, At(AT_FDCWD, path), O_CREAT | O_TRUNC | O_WRONLY, mode);
    skip __open: "glibc's own name, for its own libraries";
    skip __open64: "as __open";
    skip __open_nocancel: "for the C library's own calls: see `inner`";
    skip open_by_handle_at: "takes a handle, no path; no build tool uses it";
    skip open_tree: "for mounts; the filter sees it";

    fn fopen(path: Path, mode: Path) -> *mut File => |session, call| stream::opens(session, &call, path, mode);
    fn fopen64(path: Path, mode: Path) -> *mut File => |session, call| stream::opens(session, &call, path, mode);
    fn freopen(path: Path, mode: Path, stream: *mut File) -> *mut File => |session, call| stream::reopens(session, &call, path, mode);
    fn freopen64(path: Path, mode: Path, stream: *mut File) -> *mut File => |session, call| stream::reopens(session, &call, path, mode);
    skip fdopen: "the descriptor is open already";
    skip _IO_fopen: "the name that programs of before 1999 were linked with";
    skip _IO_popen: "as _IO_fopen";
    fn mkstemp(path: Text) -> c_int => |session, call| stream::makes_temporary(session, &call, path);
    fn mkstemp64(path: Text) -> c_int => |session, call| stream::makes_temporary(session, &call, path);
    fn mkostemp(path: Text, flags: c_int) -> c_int => |session, call| stream::makes_temporary(session, &call, path);
    fn mkostemp64(path: Text, flags: c_int) -> c_int => |session, call| stream::makes_temporary(session, &call, path);
    fn mkstemps(path: Text, suffix: c_int) -> c_int => |session, call| stream::makes_temporary(session, &call, path);
    fn mkstemps64(path: Text, suffix: c_int) -> c_int => |session, call| stream::makes_temporary(session, &call, path);
    fn mkostemps(path: Text, suffix: c_int, flags: c_int) -> c_int => |session, call| stream::makes_temporary(session, &call, path);
    fn mkostemps64(path: Text, suffix: c_int, flags: c_int) -> c_int => |session, call| stream::makes_temporary(session, &call, path);
    fn mkdtemp(path: Text) -> Text => |session, call| stream::makes_temporary_directory(session, &call, path);
    skip tmpfile: "has no name";
    skip tmpfile64: "as tmpfile";

    fn opendir(path: Path) -> *mut Directory => |session, call| stream::opens_directory(session, &call, path);
    before fn fdopendir(fd: c_int) => |session| list(session, fd);
    before fn fts_open(_paths: *const Path, options: c_int) => |_session| walks(options, FTS_NOCHDIR);
    before fn fts64_open(_paths: *const Path, options: c_int) => |_session| walks(options, FTS_NOCHDIR);
    before fn nftw(_path: Path, _function: *const c_void, _depth: c_int, flags: c_int) => |_session| walks(!flags, FTW_CHDIR);
    before fn nftw64(_path: Path, _function: *const c_void, _depth: c_int, flags: c_int) => |_session| walks(!flags, FTW_CHDIR);
    skip ftw: "the filter sees what it does, and it stays where it is";
    skip ftw64: "as ftw";
    skip scandir: "as ftw";
    skip scandir64: "as ftw";
    skip scandirat: "as ftw";
    skip scandirat64: "as ftw";
    skip glob: "as ftw";
    skip glob64: "as ftw";

    fn chdir(path: Path) -> c_int => |session, call| directory::changes(session, &call, Some(path), -1);
    fn fchdir(fd: c_int) -> c_int => |session, call| directory::changes(session, &call, None, fd);
    before fn chroot(_path: Path) => |_session| be_unsure();
    skip getcwd: "names no path";

    before fn dlopen(path: Path) => |session| prepare_library(session, path);
    skip dlmopen: "libraries of another namespace come from outside of a build";
    skip __libc_dlopen_mode: "as __open";

    call fn stat(path: Path, stat: Buffer) -> c_int => LOOKUP at(AT_FDCWD, path) by NEWFSTATAT(AT_FDCWD, path, stat);
    call fn stat64(path: Path, stat: Buffer) -> c_int => LOOKUP at(AT_FDCWD, path) by NEWFSTATAT(AT_FDCWD, path, stat);
    call fn lstat(path: Path, stat: Buffer) -> c_int => LOOKUP at(AT_FDCWD, path) by NEWFSTATAT(AT_FDCWD, path, stat, AT_SYMLINK_NOFOLLOW);
    call fn lstat64(path: Path, stat: Buffer) -> c_int => LOOKUP at(AT_FDCWD, path) by NEWFSTATAT(AT_FDCWD, path, stat, AT_SYMLINK_NOFOLLOW);
    call fn fstatat(dirfd: c_int, path: Path, stat: Buffer, flags: c_int) -> c_int
        => LOOKUP at(dirfd, path) by NEWFSTATAT(dirfd, path, stat, flags);
    call fn fstatat64(dirfd: c_int, path: Path, stat: Buffer, flags: c_int) -> c_int
        => LOOKUP at(dirfd, path) by NEWFSTATAT(dirfd, path, stat, flags);
    fn fstat(fd: c_int, stat: Buffer) -> c_int => |session, call| none(session, &call, nr::FSTAT, five!(fd, stat));
    fn fstat64(fd: c_int, stat: Buffer) -> c_int => |session, call| none(session, &call, nr::FSTAT, five!(fd, stat));
    fn __xstat(version: c_int, path: Path, stat: Buffer) -> c_int
        => |session, call| stats(session, &call, version, At(AT_FDCWD, path), stat, 0);
    fn __xstat64(version: c_int, path: Path, stat: Buffer) -> c_int
        => |session, call| stats(session, &call, version, At(AT_FDCWD, path), stat, 0);
    fn __lxstat(version: c_int, path: Path, stat: Buffer) -> c_int
        => |session, call| stats(session, &call, version, At(AT_FDCWD, path), stat, AT_SYMLINK_NOFOLLOW);
    fn __lxstat64(version: c_int, path: Path, stat: Buffer) -> c_int
        => |session, call| stats(session, &call, version, At(AT_FDCWD, path), stat, AT_SYMLINK_NOFOLLOW);
    fn __fxstatat(version: c_int, dirfd: c_int, path: Path, stat: Buffer, flags: c_int) -> c_int
        => |session, call| stats(session, &call, version, At(dirfd, path), stat, flags);
    fn __fxstatat64(version: c_int, dirfd: c_int, path: Path, stat: Buffer, flags: c_int) -> c_int
        => |session, call| stats(session, &call, version, At(dirfd, path), stat, flags);
    skip __fxstat: "names no path; not worth a row, as programs of before 2021 only call it";
    skip __fxstat64: "as __fxstat";
    call fn statx(dirfd: c_int, path: Path, flags: c_int, mask: c_uint, stat: Buffer) -> c_int
        => LOOKUP at(dirfd, path) by STATX(dirfd, path, flags, mask, stat);
    call fn statfs(path: Path, stat: Buffer) -> c_int => LOOKUP at(AT_FDCWD, path) by STATFS(path, stat);
    call fn statfs64(path: Path, stat: Buffer) -> c_int => LOOKUP at(AT_FDCWD, path) by STATFS(path, stat);
    fn statvfs(path: Path, stat: Buffer) -> c_int => |session, call| told(session, &call, kind::LOOKUP, At(AT_FDCWD, path));
    fn statvfs64(path: Path, stat: Buffer) -> c_int => |session, call| told(session, &call, kind::LOOKUP, At(AT_FDCWD, path));
    skip fstatfs: "names no path, and the filter lets it through";
    skip fstatfs64: "as fstatfs";
    skip fstatvfs: "as fstatfs";
    skip fstatvfs64: "as fstatfs";

    call fn access(path: Path, mode: c_int) -> c_int => LOOKUP at(AT_FDCWD, path) by FACCESSAT(AT_FDCWD, path, mode);
    fn faccessat(dirfd: c_int, path: Path, mode: c_int, flags: c_int) -> c_int
        => |session, call| accesses(session, &call, At(dirfd, path), mode, flags);
    fn eaccess(path: Path, mode: c_int) -> c_int => |session, call| accesses(session, &call, At(AT_FDCWD, path), mode, AT_EACCESS);
    fn euidaccess(path: Path, mode: c_int) -> c_int => |session, call| accesses(session, &call, At(AT_FDCWD, path), mode, AT_EACCESS);
    call fn readlink(path: Path, target: Buffer, size: usize) -> isize
        => LOOKUP at(AT_FDCWD, path) by READLINKAT(AT_FDCWD, path, target, size);
    call fn readlinkat(dirfd: c_int, path: Path, target: Buffer, size: usize) -> isize
        => LOOKUP at(dirfd, path) by READLINKAT(dirfd, path, target, size);
    fn __readlink_chk(path: Path, target: Buffer, size: usize, room: usize) -> isize
        => |_session, call| if size > room { Ok(call()) } else { Ok(readlink(path, target, size)) };
    fn __readlinkat_chk(dirfd: c_int, path: Path, target: Buffer, size: usize, room: usize) -> isize
        => |_session, call| if size > room { Ok(call()) } else { Ok(readlinkat(dirfd, path, target, size)) };
    fn realpath(path: Path, resolved: Text) -> Text => |session, call| resolves(session, &call, path, resolved);
    fn canonicalize_file_name(path: Path) -> Text => |session, call| resolves(session, &call, path, core::ptr::null_mut());
    fn __realpath_chk(path: Path, resolved: Text, room: usize) -> Text
        => |session, call| if room < PATH_MAX { Ok(call()) } else { resolves(session, &call, path, resolved) };
    call fn getxattr(path: Path, name: Path, value: Buffer, size: usize) -> isize
        => LOOKUP at(AT_FDCWD, path) by GETXATTR(path, name, value, size);
    call fn lgetxattr(path: Path, name: Path, value: Buffer, size: usize) -> isize
        => LOOKUP at(AT_FDCWD, path) by LGETXATTR(path, name, value, size);
    call fn listxattr(path: Path, list: Buffer, size: usize) -> isize => LOOKUP at(AT_FDCWD, path) by LISTXATTR(path, list, size);
    call fn llistxattr(path: Path, list: Buffer, size: usize) -> isize => LOOKUP at(AT_FDCWD, path) by LLISTXATTR(path, list, size);
    call fn inotify_add_watch(fd: c_int, path: Path, mask: c_uint) -> c_int
        => LOOKUP at(AT_FDCWD, path) by INOTIFY_ADD_WATCH(fd, path, mask);

    call fn mkdir(path: Path, mode: Mode) -> c_int => MAKE at(AT_FDCWD, path) by MKDIRAT(AT_FDCWD, path, mode);
    call fn mkdirat(dirfd: c_int, path: Path, mode: Mode) -> c_int => MAKE at(dirfd, path) by MKDIRAT(dirfd, path, mode);
    call fn mkfifo(path: Path, mode: Mode) -> c_int => MAKE at(AT_FDCWD, path) by MKNODAT(AT_FDCWD, path, mode | S_IFIFO, 0);
    call fn mkfifoat(dirfd: c_int, path: Path, mode: Mode) -> c_int => MAKE at(dirfd, path) by MKNODAT(dirfd, path, mode | S_IFIFO, 0);
    fn mknod(path: Path, mode: Mode, device: u64) -> c_int => |session, call| makes_node(session, &call, At(AT_FDCWD, path), mode, device);
    fn mknodat(dirfd: c_int, path: Path, mode: Mode, device: u64) -> c_int
        => |session, call| makes_node(session, &call, At(dirfd, path), mode, device);
    fn __xmknod(version: c_int, path: Path, mode: Mode, device: *const u64) -> c_int
        => |session, call| told(session, &call, kind::MAKE, At(AT_FDCWD, path));
    fn __xmknodat(version: c_int, dirfd: c_int, path: Path, mode: Mode, device: *const u64) -> c_int
        => |session, call| told(session, &call, kind::MAKE, At(dirfd, path));

    fn unlink(path: Path) -> c_int => |session, call| unlinks(session, &call, At(AT_FDCWD, path), 0);
    fn unlinkat(dirfd: c_int, path: Path, flags: c_int) -> c_int => |session, call| unlinks(session, &call, At(dirfd, path), flags);
    call fn rmdir(path: Path) -> c_int => REMOVE at(AT_FDCWD, path) by UNLINKAT(AT_FDCWD, path, AT_REMOVEDIR);
    fn remove(path: Path) -> c_int => |session, call| removes(session, &call, path);

    fn rename(old: Path, new: Path) -> c_int => |session, call| renames(session, &call, At(AT_FDCWD, old), At(AT_FDCWD, new), 0);
    fn renameat(olddir: c_int, old: Path, newdir: c_int, new: Path) -> c_int
        => |session, call| renames(session, &call, At(olddir, old), At(newdir, new), 0);
    fn renameat2(olddir: c_int, old: Path, newdir: c_int, new: Path, flags: c_uint) -> c_int
        => |session, call| renames(session, &call, At(olddir, old), At(newdir, new), flags);
    fn link(old: Path, new: Path) -> c_int => |session, call| links(session, &call, At(AT_FDCWD, old), At(AT_FDCWD, new), 0);
    fn linkat(olddir: c_int, old: Path, newdir: c_int, new: Path, flags: c_int) -> c_int
        => |session, call| links(session, &call, At(olddir, old), At(newdir, new), flags);
    fn symlink(target: Path, path: Path) -> c_int => |session, call| symlinks(session, &call, target, At(AT_FDCWD, path));
    fn symlinkat(target: Path, dirfd: c_int, path: Path) -> c_int => |session, call| symlinks(session, &call, target, At(dirfd, path));

    fn chmod(path: Path, mode: Mode) -> c_int => |session, call| changes_mode(session, &call, At(AT_FDCWD, path), mode, 0);
    call fn fchmod(fd: c_int, mode: Mode) -> c_int => ATTRIBUTES at(fd, core::ptr::null()) by FCHMOD(fd, mode);
    fn fchmodat(dirfd: c_int, path: Path, mode: Mode, flags: c_int) -> c_int
        => |session, call| changes_mode(session, &call, At(dirfd, path), mode, flags);
    fn lchmod(path: Path, mode: Mode) -> c_int => |session, call| told(session, &call, kind::ATTRIBUTES, At(AT_FDCWD, path));
    call fn chown(path: Path, user: c_uint, group: c_uint) -> c_int
        => ATTRIBUTES at(AT_FDCWD, path) by FCHOWNAT(AT_FDCWD, path, user, group, 0);
    call fn lchown(path: Path, user: c_uint, group: c_uint) -> c_int
        => ATTRIBUTES at(AT_FDCWD, path) by FCHOWNAT(AT_FDCWD, path, user, group, AT_SYMLINK_NOFOLLOW);
    call fn fchown(fd: c_int, user: c_uint, group: c_uint) -> c_int => ATTRIBUTES at(fd, core::ptr::null()) by FCHOWN(fd, user, group);
    call fn fchownat(dirfd: c_int, path: Path, user: c_uint, group: c_uint, flags: c_int) -> c_int
        => ATTRIBUTES at(dirfd, path) by FCHOWNAT(dirfd, path, user, group, flags);
    fn utime(path: Path, times: Buffer) -> c_int => |session, call| sets_times_of(session, &call, path, times, nr::UTIME);
    fn utimes(path: Path, times: Buffer) -> c_int => |session, call| sets_times_of(session, &call, path, times, nr::UTIMES);
    fn lutimes(path: Path, times: Buffer) -> c_int => |session, call| told(session, &call, kind::ATTRIBUTES, At(AT_FDCWD, path));
    fn futimesat(dirfd: c_int, path: Path, times: Buffer) -> c_int => |session, call| told(session, &call, kind::ATTRIBUTES, At(dirfd, path));
    fn futimes(fd: c_int, times: Buffer) -> c_int => |session, call| told(session, &call, kind::ATTRIBUTES, At(fd, core::ptr::null()));
    fn futimens(fd: c_int, times: Buffer) -> c_int => |session, call| sets_times(session, &call, true, At(fd, core::ptr::null()), times, 0);
    fn utimensat(dirfd: c_int, path: Path, times: Buffer, flags: c_int) -> c_int
        => |session, call| sets_times(session, &call, false, At(dirfd, path), times, flags);
    call fn setxattr(path: Path, name: Path, value: Buffer, size: usize, flags: c_int) -> c_int
        => ATTRIBUTES at(AT_FDCWD, path) by SETXATTR(path, name, value, size, flags);
    call fn lsetxattr(path: Path, name: Path, value: Buffer, size: usize, flags: c_int) -> c_int
        => ATTRIBUTES at(AT_FDCWD, path) by LSETXATTR(path, name, value, size, flags);
    call fn fsetxattr(fd: c_int, name: Path, value: Buffer, size: usize, flags: c_int) -> c_int
        => ATTRIBUTES at(fd, core::ptr::null()) by FSETXATTR(fd, name, value, size, flags);
    call fn removexattr(path: Path, name: Path) -> c_int => ATTRIBUTES at(AT_FDCWD, path) by REMOVEXATTR(path, name);
    call fn lremovexattr(path: Path, name: Path) -> c_int => ATTRIBUTES at(AT_FDCWD, path) by LREMOVEXATTR(path, name);
    call fn fremovexattr(fd: c_int, name: Path) -> c_int => ATTRIBUTES at(fd, core::ptr::null()) by FREMOVEXATTR(fd, name);
    fn truncate(path: Path, size: i64) -> c_int => |session, call| truncates(session, &call, path, size);
    fn truncate64(path: Path, size: i64) -> c_int => |session, call| truncates(session, &call, path, size);
    skip ftruncate: "the opening was seen";
    skip ftruncate64: "as ftruncate";

    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int => |session, call| network::socket(session, &call, [domain, kind, protocol]);
    fn connect(fd: c_int, address: Buffer, length: c_uint) -> c_int
        => |session, call| network::address(session, &call, nr::CONNECT, fd, address, length);
    fn bind(fd: c_int, address: Buffer, length: c_uint) -> c_int
        => |session, call| network::address(session, &call, nr::BIND, fd, address, length);

    before fn vfork() => |_session| before_child();
    before fn clone() => |_session| before_child();
    before fn fork() => |session| before_fork(session);

    before fn setlocale(_category: c_int, locale: Word) => |session| inner::take_over(session, locale);
    before fn newlocale(_mask: c_int, locale: Word) => |session| inner::take_over(session, locale);

    before fn unshare(flags: c_int) => |_session| departs(flags);
    before fn prctl(option: c_int, value: usize) => |session| filter::by_prctl(session, option as usize, value);
    before fn syscall(number: usize, first: usize, second: usize) => |session| {
        if number == UNSHARE { departs(first as c_int) } else { filter::by_number(session, number, first, second) }
    };

    skip mmap: "the descriptor came from one of the functions above";
    skip copy_file_range: "as mmap";
    skip sendfile: "as mmap";
}
