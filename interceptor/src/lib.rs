// SPDX-License-Identifier: Apache-2.0
//! The library that `ggtrace` preloads into every process of a build. Its hooks stand before the C library's functions that execute a
//! program, or do anything else with a path. They ask the tracer about execs and about placeholders, and write down in
//! a shared log what was done.
//!
//! ```text
//! hooks     one row per function ─┬▶ exec, spawn, shell      ask, then execute       ─▶ ask: one request over a socket
//!                                 │                          (waiting: a child that waits for the answer)
//!                                 ├▶ open, stream, place     ask where a placeholder is concerned, then as:
//!                                 ├▶ filter              steps aside
//!                                 ├▶ inner               files that the C library opens for itself
//!                                 ├▶ inside              what the C library reads and prints for a build driver
//!                                 └▶ record, directory, realpath, network            ─▶ log: the shared log
//! session: who we are; environment: what programs are started with; room, sys, arch, libc: the ground
//! ```
//!
//! It knows nothing of thunks, models or the store: only the messages and the log of [`wire`], and how to do what they say.
//!
//! A hook may run in a signal handler, in a child of `vfork` that shares its parent's memory, or in any thread. Hence no
//! allocation, no locks, no static that changes after load but by atomic operations, system calls by hand. It has no
//! C library of its own and links none: what it takes from the program's is in `libc.rs`.
#![cfg_attr(panic = "abort", no_std)]
// The table of hooks is expanded row by row.
#![recursion_limit = "1024"]

mod arch;
mod arguments;
mod ask;
mod attributes;
mod copies;
mod directory;
mod environment;
mod exec;
mod filter;
mod hooks;
mod inner;
mod inside;
mod libc;
mod log;
mod lookup;
mod names;
mod network;
mod open;
mod own;
mod path;
mod place;
mod realpath;
mod record;
mod room;
mod session;
mod shell;
mod spawn;
mod spawn_actions;
mod spawn_attributes;
mod stream;
mod sys;
mod text;
mod waiting;

const VERSION_LENGTH: usize = wire::VERSION.len() + 1;

const fn version() -> [u8; VERSION_LENGTH] {
    let mut bytes = [0; VERSION_LENGTH];
    let mut i = 0;
    while i < wire::VERSION.len() {
        bytes[i] = wire::VERSION.as_bytes()[i];
        i += 1;
    }
    bytes
}

/// [`wire::VERSION`], NUL-terminated, under the name [`wire::VERSION_SYMBOL`]: the tracer reads it from the file.
#[unsafe(no_mangle)]
#[used]
pub static gg_interceptor_version: [u8; VERSION_LENGTH] = version();

// `cargo test` builds what tests depend on with unwinding, for which there is only std's own handler; nobody loads that build.
#[cfg(panic = "abort")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::abort()
}
