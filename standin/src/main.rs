// SPDX-License-Identifier: Apache-2.0
//! What runs in place of a deferred command where the caller needs a real child: writes its second argument, if there is one, to standard
//! output, and exits with the code that its first argument says, in decimal, or with 0. No C library, no memory of its
//! own: the kernel has little to load. Knows nothing of the build.
#![cfg_attr(not(test), no_std)]
#![no_main]
// Or a loop over a string becomes a call of `strlen`, which nobody has.
#![cfg_attr(not(test), no_builtins)]

use core::arch::{asm, global_asm};

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

/// # Safety
/// `stack` is where the kernel put argc and argv.
unsafe extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: argc is there, so many pointers follow, and then a null pointer.
    let argument = |number: usize| unsafe {
        if number < *stack { *stack.add(1 + number) as *const u8 } else { core::ptr::null() }
    };
    let (digits, text) = (argument(1), argument(2));
    let mut code = 0usize;
    if !digits.is_null() {
        let mut next = digits;
        // SAFETY: the string ends with a NUL, which is not gone beyond: it is no digit.
        while let digit @ b'0'..=b'9' = unsafe { *next } {
            code = code.wrapping_mul(10).wrapping_add(usize::from(digit & 0xf));
            next = next.wrapping_add(1);
        }
    }
    if !text.is_null() {
        print(text);
    }
    exit(code)
}

/// All of it, as far as it can be written.
fn print(mut text: *const u8) {
    const INTERRUPTED: isize = -4;
    let mut left = 0usize;
    // SAFETY: the string ends with a NUL, which is not gone beyond.
    while unsafe { *text.wrapping_add(left) } != 0 {
        left += 1;
    }
    while left > 0 {
        match write(text, left) {
            INTERRUPTED => {}
            written @ 1.. => {
                text = text.wrapping_add(written as usize);
                left = left.saturating_sub(written as usize);
            }
            _ => return,
        }
    }
}

fn write(text: *const u8, length: usize) -> isize {
    let result;
    // SAFETY: write (1) reads so many bytes, which are there.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") 1isize => result,
            in("rdi") 1usize,
            in("rsi") text,
            in("rdx") length,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

fn exit(code: usize) -> ! {
    // SAFETY: exit_group (231) does not return.
    unsafe { asm!("syscall", in("rax") 231usize, in("rdi") code, options(noreturn, nostack)) }
}

// Checkers compile it as a test too, with std: there the handler is std's.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(134)
}
