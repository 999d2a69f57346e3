// SPDX-License-Identifier: Apache-2.0
//! A command that cannot be given a root directory of its own is given one in name: every path that it uses is put below a directory (the
//! *root*) that holds its inputs, and every path that it is told is cut off there. What both sides of this must agree
//! on is here: which path becomes which, how a program is started by its own loader, and what the preload library is
//! told in the environment.
//!
//! ```text
//! sandbox (worker) ── starts the first program ─┐
//!                                               ├▶ ROOT/lib64/ld-linux… --library-path … --preload libggtranslator.so  ROOT/usr/bin/gcc …
//! translator (library, in each process) ── exec ┘   and the variable [`VARIABLE`]
//! ```
//!
//! Pure but for what the caller passes in as a function. No allocation and no std, so that the library can use it in a signal handler or
//! between `vfork` and `exec`. Knows nothing of thunks, stores or hooks.
#![no_std]

#[cfg(test)]
extern crate std;

mod loader;
mod names;
mod program;
mod setting;

pub use loader::{ARGV0, GLIBC_OPTION, LIBRARY_PATH, PRELOAD, is_musl, search_path};
pub use names::{ClimbError, Place, climb, climbs, place, strip};
pub use program::{Found, Kind, examine};
pub use setting::{Setting, VARIABLE};

/// Longest path, its NUL included.
pub const PATH_MAX: usize = 4096;

/// The preload library's file.
pub const LIBRARY: &str = "libggtranslator.so";

/// What is appended to the root's path to name the file that tells of a program that could not be started.
pub const REFUSED: &str = ".refused";
