// SPDX-License-Identifier: Apache-2.0
//! What runs in place of a deferred command where the caller needs a real child: writes its second argument, if there is one, to standard
//! output, and exits with the code that its first argument says, in decimal, or with 0. Where that is [`wire::WAITING`] and a descriptor's
//! number, it is told there what to do: the same, or to execute the program of its second argument with the others.
//!
//! No C library, no memory but its own few pages: the kernel has little to load. Knows nothing of the build.
#![cfg_attr(not(test), no_std)]
#![no_main]
// Or a loop over a string becomes a call of `strlen`, which nobody has.
#![cfg_attr(not(test), no_builtins)]

use core::arch::{asm, global_asm};

use wire::{PRINT_MAX, Reply, WAITING, reply_kind};

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!(
    "the stand-in is written for Linux on x86-64; another architecture needs its entry and its exit"
);

// At entry the stack holds argc, the pointers of argv, a null pointer.
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym main,
);

/// The answer that is waited for, and what is to be printed.
static mut REPLY: Reply =
    Reply { magic: 0, kind: 0, len: 0, flags: 0, value: 0, command: 0, reserved: [0; 2] };
static mut TEXT: [u8; PRINT_MAX + 1] = [0; PRINT_MAX + 1];

mod nr {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const GETPID: usize = 39;
    pub const EXECVE: usize = 59;
    pub const KILL: usize = 62;
    pub const EXIT_GROUP: usize = 231;
}

/// # Safety
/// `stack` is where the kernel put argc and argv.
unsafe extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: argc is there, so many pointers follow, and then a null pointer.
    let argument = |number: usize| unsafe {
        if number < *stack { *stack.add(1 + number) as *const u8 } else { core::ptr::null() }
    };
    let (first, text) = (argument(1), argument(2));
    if first.is_null() {
        exit(0)
    }
    // SAFETY: the string has one byte at least, its NUL.
    if unsafe { *first } == WAITING {
        // SAFETY: it is not the NUL, so the string goes on.
        let connection = unsafe { number(first.add(1)) };
        receive(connection, (&raw mut REPLY).cast(), size_of::<Reply>());
        // SAFETY: nobody else is in this process.
        let reply = unsafe { (&raw const REPLY).read() };
        if reply.kind == reply_kind::EXIT || reply.kind == reply_kind::FAIL {
            let length = (reply.len as usize).min(PRINT_MAX);
            receive(connection, (&raw mut TEXT).cast(), length);
            let (to, code) =
                if reply.kind == reply_kind::EXIT { (1, reply.value as usize) } else { (2, 127) };
            print(to, (&raw const TEXT).cast());
            exit(code)
        }
        let _ = syscall(nr::CLOSE, connection, 0, 0);
        // SAFETY: the program's arguments begin there; after them and a null pointer comes the environment.
        let (argv, envp) = unsafe { (stack.add(1 + 3), stack.add(1 + *stack + 1)) };
        let _ = syscall(nr::EXECVE, text as usize, argv as usize, envp as usize);
        exit(127)
    }
    if !text.is_null() {
        print(1, text);
    }
    // SAFETY: a string.
    exit(unsafe { number(first) })
}

/// # Safety
/// A string.
unsafe fn number(mut digits: *const u8) -> usize {
    let mut number = 0usize;
    // SAFETY: the string ends with a NUL, which is not gone beyond: it is no digit.
    while let digit @ b'0'..=b'9' = unsafe { *digits } {
        number = number.wrapping_mul(10).wrapping_add(usize::from(digit & 0xf));
        digits = digits.wrapping_add(1);
    }
    number
}

/// So many bytes. Where they do not come, the recorder was killed: nobody must take that for a command that has worked, or for one
/// that could not be started.
fn receive(from: usize, to: *mut u8, count: usize) {
    const KILL: usize = 9;
    if !all(nr::READ, from, to, count) {
        let own = syscall(nr::GETPID, 0, 0, 0);
        let _ = syscall(nr::KILL, own as usize, KILL, 0);
    }
}

/// A string, all of it, as far as it can be written.
fn print(to: usize, text: *const u8) {
    let mut count = 0usize;
    // SAFETY: the string ends with a NUL, which is not gone beyond.
    while unsafe { *text.wrapping_add(count) } != 0 {
        count += 1;
    }
    let _ = all(nr::WRITE, to, text, count);
}

/// Reads or writes so many bytes; says whether it was all.
fn all(call: usize, fd: usize, mut bytes: *const u8, mut left: usize) -> bool {
    const INTERRUPTED: isize = -4;
    while left > 0 {
        match syscall(call, fd, bytes as usize, left) {
            INTERRUPTED => {}
            done @ 1.. => {
                bytes = bytes.wrapping_add(done as usize);
                left = left.saturating_sub(done as usize);
            }
            _ => return false,
        }
    }
    true
}

fn exit(code: usize) -> ! {
    loop {
        let _ = syscall(nr::EXIT_GROUP, code, 0, 0);
    }
}

/// A call that touches nothing but the memory that its arguments name, if that.
fn syscall(number: usize, first: usize, second: usize, third: usize) -> isize {
    let result;
    // SAFETY: callers pass addresses of their own; the kernel clobbers rcx and r11 only, and does not use our stack.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

// Checkers compile it as a test too, with std: there the handler is std's.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(134)
}
