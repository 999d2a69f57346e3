// SPDX-License-Identifier: Apache-2.0
//! What depends on the processor: system call numbers and instruction, the layout of `struct stat`, and the few functions
//! that no Rust function can be (variadic entry, tail call, dynamic stack, a child without a stack). A second architecture
//! is a second file beside `x86_64.rs`.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!(
    "the interceptor is written for Linux on x86-64; another architecture needs a file in src/arch"
);
