// SPDX-License-Identifier: Apache-2.0
//! The table of hooks: one row for each function that takes a path or gives one back. `errno` is set here only.

use core::ffi::{c_char, c_int, c_uint, c_void};

use crate::arguments::by_list;
use crate::enter::{Dir, Enter, Path};
use crate::exec::{Spawn, by_descriptor, by_path, by_search, spawn, spawn_searching};
use crate::libc::{self, environ};
use crate::link::makes_link;
use crate::local;
use crate::root::Root;
use crate::shell;
use crate::sys::{AT_EMPTY_PATH, AT_FDCWD, Errno};
use crate::text::Array;
use crate::told;

/// A string that is no path.
type Word = *const c_char;
/// A string that is written to.
type Text = *mut c_char;
type Buffer = *mut c_void;
type File = *mut c_void;
type Mode = c_uint;

/// What a function returns when it fails.
trait Failed {
    /// `errno` is set beforehand, where the function does so.
    fn failed(errno: Errno) -> Self;
}

impl Failed for c_int {
    fn failed(errno: Errno) -> Self {
        libc::set_errno(errno);
        -1
    }
}

impl Failed for isize {
    fn failed(errno: Errno) -> Self {
        libc::set_errno(errno);
        -1
    }
}

impl<T> Failed for *mut T {
    fn failed(errno: Errno) -> Self {
        libc::set_errno(errno);
        core::ptr::null_mut()
    }
}

/// An error number that is itself the result.
#[repr(transparent)]
pub(crate) struct Number(pub(crate) c_int);

impl Failed for Number {
    fn failed(errno: Errno) -> Self {
        Self(errno.0)
    }
}

/// `fn NAME(ARGUMENTS) -> RESULT;` its [`Path`]s are put below the root.
///
/// `fn NAME(ARGUMENTS) -> RESULT => |root, call| WORK;` as well, if `WORK` does it: `call()` is the C library's
/// function with the arguments as they are; `WORK` gives a `Result<RESULT, Errno>`. Without a root the call is all
/// there is.
///
/// `list fn NAME => |arguments| WORK;` for functions with a variable number of arguments: `WORK` ends in another hook.
///
/// `jump fn NAME() -> RESULT;` for what is written elsewhere.
macro_rules! hooks {
    (@next) => {};
    (@next jump fn $name:ident() -> $result:ty; $($rest:tt)*) => {
        // SAFETY: only the address is used.
        pub(crate) static $name: Next<unsafe extern "C" fn() -> $result> = unsafe {
            Next::new(symbol(concat!(stringify!($name), "\0")))
        };
        hooks!(@next $($rest)*);
    };
    (@next list fn $name:ident => |$a:ident| $work:expr; $($rest:tt)*) => { hooks!(@next $($rest)*); };
    (@next fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty $(=> |$r:ident, $c:ident| $work:expr)?; $($rest:tt)*) => {
        // SAFETY: the row's prototype is the C library's.
        pub(crate) static $name: Next<unsafe extern "C" fn($($type),*) -> $result> = unsafe {
            Next::new(symbol(concat!(stringify!($name), "\0")))
        };
        hooks!(@next $($rest)*);
    };

    (@hook) => {};
    (@hook jump fn $name:ident() -> $result:ty; $($rest:tt)*) => { hooks!(@hook $($rest)*); };
    (@hook list fn $name:ident => |$arguments:ident| $work:expr; $($rest:tt)*) => {
        const _: () = {
            unsafe extern "C" fn enter(registers: *const usize, stack: *const usize) -> c_int {
                let $arguments = crate::arch::Variadic::new(registers, stack);
                // SAFETY: the program passed what the C library's function wants.
                unsafe { $work }.unwrap_or_else(Failed::failed)
            }
            crate::arch::variadic_entry!($name => enter);
        };
        hooks!(@hook $($rest)*);
    };
    (@hook fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty => |$root:ident, $call:ident| $work:expr; $($rest:tt)*) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            let $call = || match next::$name.get() {
                // SAFETY: the arguments are the program's.
                Some(next) => unsafe { next($($arg),*) },
                None => Failed::failed(Errno::NOSYS),
            };
            let Some($root) = Root::current() else { return $call() };
            // SAFETY: the program passed what the C library's function wants.
            #[allow(unused_unsafe, reason = "not all rows do what needs it")]
            unsafe { $work }.unwrap_or_else(Failed::failed)
        }
        hooks!(@hook $($rest)*);
    };
    (@hook fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty; $($rest:tt)*) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            let Some(next) = next::$name.get() else { return Failed::failed(Errno::NOSYS) };
            // SAFETY: the arguments are the program's.
            let Some(root) = Root::current() else { return unsafe { next($($arg),*) } };
            let mut dirfd = AT_FDCWD;
            $(
                let mut held = <$type as Enter>::room();
                // SAFETY: the program passed what the C library's function wants.
                let $arg = match unsafe { $arg.enter(root, &mut dirfd, &mut held) } {
                    Ok(value) => value,
                    Err(errno) => return Failed::failed(errno),
                };
            )*
            // SAFETY: as before; paths are strings that stay for the call.
            unsafe { next($($arg),*) }
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
    fn execve(path: Word, argv: Array, envp: Array) -> c_int => |root, call| by_path(root, path, argv, envp);
    fn execv(path: Word, argv: Array) -> c_int => |root, call| by_path(root, path, argv, environ.cast_const());
    fn execvp(file: Word, argv: Array) -> c_int => |root, call| by_search(root, file, argv, environ.cast_const());
    fn execvpe(file: Word, argv: Array, envp: Array) -> c_int => |root, call| by_search(root, file, argv, envp);
    fn fexecve(fd: c_int, argv: Array, envp: Array) -> c_int
        => |root, call| by_descriptor(root, fd, c"".as_ptr(), argv, envp, AT_EMPTY_PATH);
    fn execveat(dirfd: c_int, path: Word, argv: Array, envp: Array, flags: c_int) -> c_int
        => |root, call| by_descriptor(root, dirfd, path, argv, envp, flags);
    list fn execl => |arguments| by_list(arguments, false, |path, argv, _| execv(path, argv));
    list fn execlp => |arguments| by_list(arguments, false, |file, argv, _| execvp(file, argv));
    list fn execle => |arguments| by_list(arguments, true, |path, argv, envp| execve(path, argv, envp));
    fn posix_spawn(pid: *mut c_int, path: Word, actions: *const c_void, attributes: *const c_void, argv: Array, envp: Array) -> Number
        => |root, call| spawn(root, Spawn { pid, actions, attributes }, path, argv, envp);
    fn posix_spawnp(pid: *mut c_int, file: Word, actions: *const c_void, attributes: *const c_void, argv: Array, envp: Array) -> Number
        => |root, call| spawn_searching(root, Spawn { pid, actions, attributes }, file, argv, envp);
    fn posix_spawn_file_actions_addopen(actions: *mut c_void, fd: c_int, path: Path, flags: c_int, mode: Mode) -> Number;
    fn posix_spawn_file_actions_addchdir_np(actions: *mut c_void, path: Path) -> Number;
    fn system(command: Word) -> c_int => |root, call| shell::runs(root, command);
    fn popen(command: Word, mode: Word) -> File => |root, call| shell::opens(root, command, mode);
    fn pclose(stream: File) -> c_int => |_root, call| shell::closes(stream, &call);

    fn open(path: Path, flags: c_int, mode: Mode) -> c_int;
    fn open64(path: Path, flags: c_int, mode: Mode) -> c_int;
    fn openat(dirfd: Dir, path: Path, flags: c_int, mode: Mode) -> c_int;
    fn openat64(dirfd: Dir, path: Path, flags: c_int, mode: Mode) -> c_int;
    fn __open_2(path: Path, flags: c_int) -> c_int;
    fn __open64_2(path: Path, flags: c_int) -> c_int;
    fn __openat_2(dirfd: Dir, path: Path, flags: c_int) -> c_int;
    fn __openat64_2(dirfd: Dir, path: Path, flags: c_int) -> c_int;
    fn creat(path: Path, mode: Mode) -> c_int;
    fn creat64(path: Path, mode: Mode) -> c_int;
    fn fopen(path: Path, mode: Word) -> File;
    fn fopen64(path: Path, mode: Word) -> File;
    fn freopen(path: Path, mode: Word, stream: File) -> File;
    fn freopen64(path: Path, mode: Word, stream: File) -> File;
    fn mkstemp(template: Text) -> c_int => |root, call| told::templates(root, template, &|t| next::mkstemp.get().map(|f| f(t)));
    fn mkstemp64(template: Text) -> c_int => |root, call| told::templates(root, template, &|t| next::mkstemp64.get().map(|f| f(t)));
    fn mkostemp(template: Text, flags: c_int) -> c_int
        => |root, call| told::templates(root, template, &|t| next::mkostemp.get().map(|f| f(t, flags)));
    fn mkostemp64(template: Text, flags: c_int) -> c_int
        => |root, call| told::templates(root, template, &|t| next::mkostemp64.get().map(|f| f(t, flags)));
    fn mkstemps(template: Text, suffix: c_int) -> c_int
        => |root, call| told::templates(root, template, &|t| next::mkstemps.get().map(|f| f(t, suffix)));
    fn mkstemps64(template: Text, suffix: c_int) -> c_int
        => |root, call| told::templates(root, template, &|t| next::mkstemps64.get().map(|f| f(t, suffix)));
    fn mkostemps(template: Text, suffix: c_int, flags: c_int) -> c_int
        => |root, call| told::templates(root, template, &|t| next::mkostemps.get().map(|f| f(t, suffix, flags)));
    fn mkostemps64(template: Text, suffix: c_int, flags: c_int) -> c_int
        => |root, call| told::templates(root, template, &|t| next::mkostemps64.get().map(|f| f(t, suffix, flags)));
    fn mkdtemp(template: Text) -> Text => |root, call| told::templates(root, template, &|t| next::mkdtemp.get().map(|f| f(t)))
        .map(|made| if made.is_null() { made } else { template });
    fn mktemp(template: Text) -> Text => |root, call| told::templates(root, template, &|t| next::mktemp.get().map(|f| f(t)))
        .map(|made| if made.is_null() { made } else { template });
    fn opendir(path: Path) -> File;
    fn scandir(path: Path, names: Buffer, filter: *const c_void, compare: *const c_void) -> c_int;
    fn scandir64(path: Path, names: Buffer, filter: *const c_void, compare: *const c_void) -> c_int;
    fn scandirat(dirfd: Dir, path: Path, names: Buffer, filter: *const c_void, compare: *const c_void) -> c_int;
    fn scandirat64(dirfd: Dir, path: Path, names: Buffer, filter: *const c_void, compare: *const c_void) -> c_int;
    fn ftw(path: Path, function: *const c_void, depth: c_int) -> c_int;
    fn ftw64(path: Path, function: *const c_void, depth: c_int) -> c_int;
    fn nftw(path: Path, function: *const c_void, depth: c_int, flags: c_int) -> c_int;
    fn nftw64(path: Path, function: *const c_void, depth: c_int, flags: c_int) -> c_int;
    fn fts_open(paths: Array, options: c_int, compare: *const c_void) -> Buffer
        => |root, call| told::walks(root, paths, &|paths| next::fts_open.get().map(|f| f(paths, options, compare)));
    fn fts64_open(paths: Array, options: c_int, compare: *const c_void) -> Buffer
        => |root, call| told::walks(root, paths, &|paths| next::fts64_open.get().map(|f| f(paths, options, compare)));
    fn glob(pattern: Word, flags: c_int, error: *const c_void, found: Buffer) -> c_int
        => |_root, call| Ok(told::globs(flags, found, &|flags| next::glob.get().map(|f| f(pattern, flags, error, found))));
    fn glob64(pattern: Word, flags: c_int, error: *const c_void, found: Buffer) -> c_int
        => |_root, call| Ok(told::globs(flags, found, &|flags| next::glob64.get().map(|f| f(pattern, flags, error, found))));

    fn chdir(path: Path) -> c_int;
    fn chroot(path: Path) -> c_int;
    fn getcwd(buffer: Text, size: usize) -> Text => |root, call| told::directory(root, buffer, size);
    fn __getcwd_chk(buffer: Text, size: usize, room: usize) -> Text
        => |root, call| if size > room { Ok(call()) } else { told::directory(root, buffer, size) };
    fn getwd(buffer: Text) -> Text => |root, call| told::directory(root, buffer, translation::PATH_MAX);
    fn get_current_dir_name() -> Text => |root, call| told::directory(root, core::ptr::null_mut(), 0);
    fn dlopen(path: Word, flags: c_int) -> File => |root, call| told::loads(root, path, flags);

    fn stat(path: Path, stat: Buffer) -> c_int;
    fn stat64(path: Path, stat: Buffer) -> c_int;
    fn lstat(path: Path, stat: Buffer) -> c_int;
    fn lstat64(path: Path, stat: Buffer) -> c_int;
    fn fstatat(dirfd: Dir, path: Path, stat: Buffer, flags: c_int) -> c_int;
    fn fstatat64(dirfd: Dir, path: Path, stat: Buffer, flags: c_int) -> c_int;
    fn __xstat(version: c_int, path: Path, stat: Buffer) -> c_int;
    fn __xstat64(version: c_int, path: Path, stat: Buffer) -> c_int;
    fn __lxstat(version: c_int, path: Path, stat: Buffer) -> c_int;
    fn __lxstat64(version: c_int, path: Path, stat: Buffer) -> c_int;
    fn __fxstatat(version: c_int, dirfd: Dir, path: Path, stat: Buffer, flags: c_int) -> c_int;
    fn __fxstatat64(version: c_int, dirfd: Dir, path: Path, stat: Buffer, flags: c_int) -> c_int;
    fn statx(dirfd: Dir, path: Path, flags: c_int, mask: c_uint, stat: Buffer) -> c_int;
    fn statfs(path: Path, stat: Buffer) -> c_int;
    fn statfs64(path: Path, stat: Buffer) -> c_int;
    fn statvfs(path: Path, stat: Buffer) -> c_int;
    fn statvfs64(path: Path, stat: Buffer) -> c_int;
    fn access(path: Path, mode: c_int) -> c_int;
    fn faccessat(dirfd: Dir, path: Path, mode: c_int, flags: c_int) -> c_int;
    fn eaccess(path: Path, mode: c_int) -> c_int;
    fn euidaccess(path: Path, mode: c_int) -> c_int;
    fn pathconf(path: Path, name: c_int) -> isize;
    fn readlink(path: Word, target: Buffer, size: usize) -> isize => |root, call| told::target(root, AT_FDCWD, path, target, size);
    fn readlinkat(dirfd: c_int, path: Word, target: Buffer, size: usize) -> isize => |root, call| told::target(root, dirfd, path, target, size);
    fn __readlink_chk(path: Word, target: Buffer, size: usize, room: usize) -> isize
        => |root, call| if size > room { Ok(call()) } else { told::target(root, AT_FDCWD, path, target, size) };
    fn __readlinkat_chk(dirfd: c_int, path: Word, target: Buffer, size: usize, room: usize) -> isize
        => |root, call| if size > room { Ok(call()) } else { told::target(root, dirfd, path, target, size) };
    fn realpath(path: Word, resolved: Text) -> Text
        => |root, call| told::resolves(root, path, &|path| next::realpath.get().map(|f| f(path, resolved)), resolved);
    fn canonicalize_file_name(path: Word) -> Text
        => |root, call| told::resolves(root, path, &|path| next::canonicalize_file_name.get().map(|f| f(path)), core::ptr::null_mut());
    fn __realpath_chk(path: Word, resolved: Text, room: usize) -> Text
        => |root, call| told::resolves(root, path, &|path| next::__realpath_chk.get().map(|f| f(path, resolved, room)), resolved);
    fn getxattr(path: Path, name: Word, value: Buffer, size: usize) -> isize;
    fn lgetxattr(path: Path, name: Word, value: Buffer, size: usize) -> isize;
    fn listxattr(path: Path, list: Buffer, size: usize) -> isize;
    fn llistxattr(path: Path, list: Buffer, size: usize) -> isize;
    fn inotify_add_watch(fd: c_int, path: Path, mask: c_uint) -> c_int;

    fn mkdir(path: Path, mode: Mode) -> c_int;
    fn mkdirat(dirfd: Dir, path: Path, mode: Mode) -> c_int;
    fn mkfifo(path: Path, mode: Mode) -> c_int;
    fn mkfifoat(dirfd: Dir, path: Path, mode: Mode) -> c_int;
    fn mknod(path: Path, mode: Mode, device: u64) -> c_int;
    fn mknodat(dirfd: Dir, path: Path, mode: Mode, device: u64) -> c_int;
    fn __xmknod(version: c_int, path: Path, mode: Mode, device: *const u64) -> c_int;
    fn __xmknodat(version: c_int, dirfd: Dir, path: Path, mode: Mode, device: *const u64) -> c_int;
    fn unlink(path: Path) -> c_int;
    fn unlinkat(dirfd: Dir, path: Path, flags: c_int) -> c_int;
    fn rmdir(path: Path) -> c_int;
    fn remove(path: Path) -> c_int;
    fn rename(old: Path, new: Path) -> c_int;
    fn renameat(olddir: Dir, old: Path, newdir: Dir, new: Path) -> c_int;
    fn renameat2(olddir: Dir, old: Path, newdir: Dir, new: Path, flags: c_uint) -> c_int;
    fn link(old: Path, new: Path) -> c_int;
    fn linkat(olddir: Dir, old: Path, newdir: Dir, new: Path, flags: c_int) -> c_int;
    fn symlink(target: Word, path: Word) -> c_int => |root, call| makes_link(root, target, AT_FDCWD, path);
    fn symlinkat(target: Word, dirfd: c_int, path: Word) -> c_int => |root, call| makes_link(root, target, dirfd, path);
    fn chmod(path: Path, mode: Mode) -> c_int;
    fn fchmodat(dirfd: Dir, path: Path, mode: Mode, flags: c_int) -> c_int;
    fn lchmod(path: Path, mode: Mode) -> c_int;
    fn chown(path: Path, user: c_uint, group: c_uint) -> c_int;
    fn lchown(path: Path, user: c_uint, group: c_uint) -> c_int;
    fn fchownat(dirfd: Dir, path: Path, user: c_uint, group: c_uint, flags: c_int) -> c_int;
    fn utime(path: Path, times: Buffer) -> c_int;
    fn utimes(path: Path, times: Buffer) -> c_int;
    fn lutimes(path: Path, times: Buffer) -> c_int;
    fn futimesat(dirfd: Dir, path: Path, times: Buffer) -> c_int;
    fn utimensat(dirfd: Dir, path: Path, times: Buffer, flags: c_int) -> c_int;
    fn setxattr(path: Path, name: Word, value: Buffer, size: usize, flags: c_int) -> c_int;
    fn lsetxattr(path: Path, name: Word, value: Buffer, size: usize, flags: c_int) -> c_int;
    fn removexattr(path: Path, name: Word) -> c_int;
    fn lremovexattr(path: Path, name: Word) -> c_int;
    fn truncate(path: Path, size: i64) -> c_int;
    fn truncate64(path: Path, size: i64) -> c_int;

    jump fn syscall() -> isize;

    fn bindtextdomain(domain: Word, path: Path) -> Text;
    fn connect(fd: c_int, address: Buffer, length: c_uint) -> c_int
        => |root, call| local::reaches(root, address, length, &|address, length| next::connect.get().map(|f| f(fd, address, length)));
    fn bind(fd: c_int, address: Buffer, length: c_uint) -> c_int
        => |root, call| local::binds(root, address, length, &|address, length| next::bind.get().map(|f| f(fd, address, length)));
    fn sendto(fd: c_int, bytes: Buffer, size: usize, flags: c_int, address: Buffer, length: c_uint) -> isize
        => |root, call| local::reaches(root, address, length, &|address, length| next::sendto.get().map(|f| f(fd, bytes, size, flags, address, length)));
    fn sendmsg(fd: c_int, message: *const c_void, flags: c_int) -> isize
        => |root, call| local::sends(root, message, &|message| next::sendmsg.get().map(|f| f(fd, message, flags)));
    fn sendmmsg(fd: c_int, messages: Buffer, count: c_uint, flags: c_int) -> c_int
        => |root, call| local::sends_many(root, messages, count, &|message| next::sendmsg.get().map(|f| f(fd, message, flags)));
}

/// Hooks that are handed to the C library: to open a directory, to look at a link, to look at a file.
pub(crate) fn lookers() -> [*const c_void; 3] {
    [opendir as *const c_void, lstat as *const c_void, stat as *const c_void]
}
