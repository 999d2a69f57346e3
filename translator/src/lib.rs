// SPDX-License-Identifier: Apache-2.0
//! The library that is preloaded into the processes of a command that can have no root directory of its own: where user namespaces,
//! chroot and mounts are refused. Its hooks put each path that the command uses below a directory, the *root*, and cut it off from each
//! that the command is told. What it executes is started by the loader that is below the root, with this library again.
//!
//! It is a translation and no jail: who makes system calls by hand reaches what the worker's user reaches.
//!
//! ```text
//! hooks     one row per function: arguments that are paths are put below the root, then the C library's function is called
//!   ├▶ told        what gives paths back: getcwd, readlink, realpath, mkstemp, glob, …
//!   ├▶ exec        execve and its siblings, posix_spawn; shell: system and popen
//!   ├▶ link        symbolic links that the command makes
//!   └▶ local       sockets by name
//! syscall   system calls that the program makes by the C library's function for that
//! enter     the arguments of hooks; root: what the environment said at load
//! arch, arguments, libc, sys, text: the interceptor's, which has the same needs
//! ```
//!
//! As in the interceptor, a hook may run in a signal handler, in a child of `vfork`, in any thread: no allocation but where the C library's
//! function gives memory away, no locks, no static that changes after load but by atomic operations.
#![cfg_attr(panic = "abort", no_std)]
#![recursion_limit = "1024"]

#[path = "../../interceptor/src/arch/mod.rs"]
#[allow(dead_code, unused_imports, unused_macros, reason = "what the interceptor alone needs")]
mod arch;
#[path = "../../interceptor/src/arguments.rs"]
mod arguments;
#[path = "../../interceptor/src/libc.rs"]
#[allow(dead_code, reason = "what the interceptor alone needs")]
mod libc;
#[path = "../../interceptor/src/sys.rs"]
#[allow(dead_code, reason = "what the interceptor alone needs")]
mod sys;
#[path = "../../interceptor/src/text.rs"]
#[allow(dead_code, reason = "what the interceptor alone needs")]
mod text;

mod enter;
mod exec;
mod hooks;
mod link;
mod local;
mod more;
mod root;
mod shell;
#[cfg(target_arch = "x86_64")]
mod syscall;
mod told;

// `cargo test` builds what tests depend on with unwinding, for which there is only std's own handler; nobody loads that build.
#[cfg(panic = "abort")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::abort()
}
