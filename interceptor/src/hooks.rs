// SPDX-License-Identifier: Apache-2.0
//! The table of hooks: one row for each function, with its prototype and what is done. The templates `hook!` and those that it uses are the only
//! place where `errno` is set. Also the list of those functions of the same families that are left alone, with the reason.

use core::ffi::{c_char, c_int, c_uint, c_void};

use crate::exec::{by_descriptor, by_list, by_path, by_search};
use crate::libc::environ;
use crate::open::{opens, opens_stream, prepare_library};
use crate::place::{At, places};
use crate::session::Session;
use crate::shell::shells;
use crate::spawn::{Arguments, spawn};
use crate::sys::{AT_EMPTY_PATH, AT_FDCWD, Errno, O_CREAT, O_TRUNC, O_WRONLY};
use crate::text::Array;

type Path = *const c_char;
type File = c_void;
type Mode = c_uint;

/// What a function returns when it fails with `errno`.
trait Failed {
    const FAILED: Self;
}

impl Failed for c_int {
    const FAILED: Self = -1;
}

impl<T> Failed for *mut T {
    const FAILED: Self = core::ptr::null_mut();
}

/// Gives a hook's result to its caller.
#[inline]
fn conclude<R: Failed>(result: Result<R, Errno>) -> R {
    result.unwrap_or_else(|errno| {
        crate::libc::set_errno(errno);
        R::FAILED
    })
}

/// `fn NAME(ARGUMENTS) -> RESULT => |session, call| WORK;` where `call()` is the C library's function with the same arguments, and
/// `WORK` gives a `Result<RESULT, Errno>`. Without a session the call is all there is.
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
    (@next before fn $name:ident($($arg:ident: $type:ty),*) => |$s:ident| $work:expr; $($rest:tt)*) => {
        // SAFETY: only the address is used.
        pub(crate) static $name: Next<unsafe extern "C" fn($($type),*)> = unsafe {
            Next::new(match core::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            })
        };
        hooks!(@next $($rest)*);
    };
    (@next fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty => |$s:ident, $c:ident| $work:expr; $($rest:tt)*) => {
        // SAFETY: the row's prototype is the C library's.
        pub(crate) static $name: Next<unsafe extern "C" fn($($type),*) -> $result> = unsafe {
            Next::new(match core::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            })
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
    (@hook before fn $name:ident($($arg:ident: $type:ty),*) => |$session:ident| $work:expr; $($rest:tt)*) => {
        const _: () = {
            extern "C" fn missing() -> *mut c_void {
                core::ptr::null_mut()
            }
            unsafe extern "C" fn enter($($arg: $type),*) -> *mut c_void {
                if let Some($session) = Session::current() {
                    // SAFETY: the program passed what the C library's function wants.
                    unsafe { $work }
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
            use crate::libc::Next;
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

    fn open(path: Path, flags: c_int, mode: Mode) -> c_int => |session, call| opens(session, &call, AT_FDCWD, path, flags);
    fn open64(path: Path, flags: c_int, mode: Mode) -> c_int => |session, call| opens(session, &call, AT_FDCWD, path, flags);
    fn openat(dirfd: c_int, path: Path, flags: c_int, mode: Mode) -> c_int => |session, call| opens(session, &call, dirfd, path, flags);
    fn openat64(dirfd: c_int, path: Path, flags: c_int, mode: Mode) -> c_int => |session, call| opens(session, &call, dirfd, path, flags);
    fn __open_2(path: Path, flags: c_int) -> c_int => |session, call| opens(session, &call, AT_FDCWD, path, flags);
    fn __open64_2(path: Path, flags: c_int) -> c_int => |session, call| opens(session, &call, AT_FDCWD, path, flags);
    fn __openat_2(dirfd: c_int, path: Path, flags: c_int) -> c_int => |session, call| opens(session, &call, dirfd, path, flags);
    fn __openat64_2(dirfd: c_int, path: Path, flags: c_int) -> c_int => |session, call| opens(session, &call, dirfd, path, flags);
    fn creat(path: Path, mode: Mode) -> c_int
        => |session, call| opens(session, &call, AT_FDCWD, path, O_CREAT | O_TRUNC | O_WRONLY);
    fn creat64(path: Path, mode: Mode) -> c_int
        => |session, call| opens(session, &call, AT_FDCWD, path, O_CREAT | O_TRUNC | O_WRONLY);
    skip __open: "glibc's own name, for its own libraries";
    skip __open64: "as __open";
    skip __open_nocancel: "as __open";
    skip open_by_handle_at: "takes a handle, no path; no build tool uses it";

    fn fopen(path: Path, mode: Path) -> *mut File => |session, call| opens_stream(session, &call, path, mode);
    fn fopen64(path: Path, mode: Path) -> *mut File => |session, call| opens_stream(session, &call, path, mode);
    fn freopen(path: Path, mode: Path, stream: *mut File) -> *mut File => |session, call| opens_stream(session, &call, path, mode);
    fn freopen64(path: Path, mode: Path, stream: *mut File) -> *mut File => |session, call| opens_stream(session, &call, path, mode);
    skip fdopen: "the descriptor is open already";
    skip _IO_fopen: "the name that programs of before 1999 were linked with";
    skip _IO_popen: "as _IO_fopen";

    before fn dlopen(path: Path) => |session| prepare_library(session, path);
    skip dlmopen: "libraries of another namespace come from outside of a build";
    skip __libc_dlopen_mode: "as __open";

    fn rename(old: Path, new: Path) -> c_int => |session, call| Ok(places(session, &call, At(AT_FDCWD, old), At(AT_FDCWD, new), 0));
    fn renameat(olddir: c_int, old: Path, newdir: c_int, new: Path) -> c_int
        => |session, call| Ok(places(session, &call, At(olddir, old), At(newdir, new), 0));
    fn renameat2(olddir: c_int, old: Path, newdir: c_int, new: Path, flags: c_uint) -> c_int
        => |session, call| Ok(places(session, &call, At(olddir, old), At(newdir, new), flags));
    fn link(old: Path, new: Path) -> c_int => |session, call| Ok(places(session, &call, At(AT_FDCWD, old), At(AT_FDCWD, new), 0));
    fn linkat(olddir: c_int, old: Path, newdir: c_int, new: Path, flags: c_int) -> c_int
        => |session, call| Ok(places(session, &call, At(olddir, old), At(newdir, new), 0));
    skip symlink: "whoever opens the link opens the placeholder by its own name";
    skip symlinkat: "as symlink";
    skip unlink: "a placeholder that is gone needs nobody";
    skip unlinkat: "as unlink";
    skip readlink: "gives a name only";
    skip readlinkat: "as readlink";
    skip stat: "the file is the placeholder until it is opened; its size is not asked for by build tools before";
    skip mmap: "the descriptor came from one of the functions above";
    skip copy_file_range: "as mmap";
    skip sendfile: "as mmap";
    skip truncate: "leaves a file that is no placeholder; nothing of it is read";
}
