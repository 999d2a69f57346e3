// SPDX-License-Identifier: Apache-2.0
//! `syscall`, by which libraries make calls that older C libraries lack a function for (`statx`, `openat2`, …). Those
//! that name a path are made here, with the path below the root; all others are the C library's business, which sees
//! its true caller.

use core::arch::naked_asm;
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};

use crate::arch;
use crate::hooks::next;
use crate::libc;
use crate::local;
use crate::root::{Room, Root};
use crate::sys::{AT_FDCWD, Errno};

/// Where a call has its paths: for each, which argument it is, and which one is the directory that it starts from.
struct Paths(&'static [(usize, Option<usize>)]);

const FIRST: Paths = Paths(&[(0, None)]);
const BELOW: Paths = Paths(&[(1, Some(0))]);
const BOTH: Paths = Paths(&[(0, None), (1, None)]);
const BOTH_BELOW: Paths = Paths(&[(1, Some(0)), (3, Some(2))]);

/// The paths of a system call. Not of those that execute or give paths back, which have hooks of their own.
fn paths_of(number: usize) -> Option<Paths> {
    Some(match number {
        // open, stat, lstat, access, truncate, chdir, mkdir, rmdir, creat, unlink, chmod, chown, lchown, utime, mknod, statfs
        2 | 4 | 6 | 21 | 76 | 80 | 83 | 84 | 85 | 87 | 90 | 92 | 94 | 132 | 133 | 137 => FIRST,
        // rename, link
        82 | 86 => BOTH,
        // setxattr, lsetxattr, getxattr, lgetxattr, listxattr, llistxattr, removexattr, lremovexattr, utimes
        188 | 189 | 191 | 192 | 194 | 195 | 197 | 198 | 235 => FIRST,
        // inotify_add_watch, openat, mkdirat, mknodat, fchownat, futimesat, newfstatat, unlinkat, fchmodat, faccessat, utimensat, statx,
        // openat2, faccessat2, fchmodat2
        254 | 257..=263 | 268 | 269 | 280 | 332 | 437 | 439 | 452 => BELOW,
        // renameat, linkat, renameat2
        264 | 265 | 316 => BOTH_BELOW,
        _ => return None,
    })
}

const CONNECT: usize = 42;
const SENDTO: usize = 44;
const SENDMSG: usize = 46;
const BIND: usize = 49;

/// What is to be done: a result, or a function to go on with.
#[repr(C)]
struct Decision {
    result: isize,
    other: Option<unsafe extern "C" fn()>,
}

/// The prototype that the table has for it.
type Call = unsafe extern "C" fn() -> isize;

unsafe extern "C" fn decide(arguments: *const usize) -> Decision {
    let done = |result| Decision { result, other: None };
    let failed = |errno| {
        libc::set_errno(errno);
        done(-1)
    };
    // SAFETY: six registers were saved there; the first is the call's number.
    let (number, mut args) = unsafe {
        let argument = |index: usize| *arguments.add(index);
        (argument(0), [argument(1), argument(2), argument(3), argument(4), argument(5), 0])
    };
    if let Some(root) = Root::current()
        // SAFETY: the program passed what the call wants.
        && let Some(result) = unsafe { by_address(root, number, args) }
    {
        return match result {
            Ok(raw @ ..0) => failed(Errno(-raw as c_int)),
            Ok(raw) => done(raw),
            Err(errno) => failed(errno),
        };
    }
    let (Some(root), Some(Paths(paths))) = (Root::current(), paths_of(number)) else {
        let Some(call) = next::syscall.get() else { return failed(Errno::NOSYS) };
        // SAFETY: only a way to pass the address on; it is called with its own arguments.
        let other = unsafe { core::mem::transmute::<Call, unsafe extern "C" fn()>(call) };
        return Decision { result: 0, other: Some(other) };
    };
    let mut rooms = [Room::uninit(), Room::uninit()];
    for (&(path, directory), room) in paths.iter().zip(&mut rooms) {
        let start = directory.map_or(AT_FDCWD, |index| args[index] as c_int);
        let pointer = args[path] as *const c_char;
        if pointer.is_null() {
            continue;
        }
        // inotify_add_watch has no directory there.
        let start = if number == 254 { AT_FDCWD } else { start };
        // SAFETY: the program passes a string.
        match root.outside(start, unsafe { CStr::from_ptr(pointer) }, room) {
            Ok(outside) => args[path] = outside.as_ptr() as usize,
            Err(errno) => return failed(errno),
        }
    }
    // SAFETY: the program's call, with other paths; none of these has a sixth argument.
    match unsafe { arch::syscall(number, args) } {
        raw @ -4095..0 => failed(Errno(-raw as c_int)),
        raw => done(raw),
    }
}

/// The calls that name a socket: what the kernel says to them. Nothing for others.
///
/// # Safety
/// The arguments are those of the call.
unsafe fn by_address(root: &Root, number: usize, args: [usize; 6]) -> Option<Result<isize, Errno>> {
    let with = |address: usize, length: usize| {
        move |other: *mut c_void, size: c_uint| {
            let mut args = args;
            (args[address], args[length]) = (other as usize, size as usize);
            // SAFETY: the program's call, with another address.
            Some(unsafe { arch::syscall(number, args) })
        }
    };
    let address = |at: usize| (args[at] as *mut c_void, args[at + 1] as c_uint);
    // SAFETY: as the caller promises.
    Some(unsafe {
        match number {
            CONNECT => local::reaches(root, address(1).0, address(1).1, &with(1, 2)),
            SENDTO => local::reaches(root, address(4).0, address(4).1, &with(4, 5)),
            BIND => {
                let call = with(1, 2);
                let call = |other: *mut c_void, size: c_uint| call(other, size).map(|raw| raw as c_int);
                local::binds(root, address(1).0, address(1).1, &call).map(|raw| raw as isize)
            }
            SENDMSG => local::sends(root, args[1] as *const c_void, &|message| {
                Some(arch::syscall(number, [args[0], message as usize, args[2], 0, 0, 0]))
            }),
            _ => return None,
        }
    })
}

/// Saves the arguments, asks, and returns the result or goes on with the C library's function as if nothing had been.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn syscall() {
    naked_asm!(
        "push r9",
        "push r8",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "mov rdi, rsp",
        "sub rsp, 8",
        "call {decide}",
        "add rsp, 8",
        "mov r11, rdx",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop r8",
        "pop r9",
        "test r11, r11",
        "jz 2f",
        "jmp r11",
        "2:",
        "ret",
        decide = sym decide,
    )
}
