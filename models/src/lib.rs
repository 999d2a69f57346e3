// SPDX-License-Identifier: Apache-2.0
//! What commands mean: from argv and the file system to inputs and outputs.
//!
//! `parse` functions are pure: argv into a struct. `plan` functions ask the [`World`]. What a model does not fully
//! understand it declines: a wrong plan is a bug, a declined command is not. Knows no process, no store, no thunk.

pub mod binutils;
pub mod cmake;
pub mod compiler;
pub mod elf;
mod environment;
pub mod libraries;
pub mod libtool;
mod plan;
pub mod preloaded;
pub mod processor;
pub mod recognise;
mod response;
pub mod scanner;
pub mod shell;
#[cfg(test)]
mod testing;

pub use environment::Environment;
pub use plan::{
    Answer, Decline, HEAD, IncludeSearch, Invocation, Kind, Linked, Node, Output, Plan, Probe, Question,
    Role, Rule, Verdict, World,
};

use std::ffi::OsStr;

use compiler::Compiler;
use recognise::{Driver, Program};

/// What its model makes of a command of this program; `None` where no model knows it.
#[must_use]
pub fn plan(program: Program, invocation: &Invocation, world: &dyn World) -> Option<(Kind, Verdict)> {
    let Program::Compiler(driver) = program else { return binutils::plan(program, invocation, world) };
    let called = invocation.argv.first().map_or(OsStr::new(""), |name| name.as_os_str());
    Some(match Compiler::of(driver, called) {
        Some(compiler) => compiler::plan(compiler, invocation, world),
        None if driver == Driver::GccOther => {
            (Kind::Compile, Verdict::Decline("a compiler of another language".into()))
        }
        None => (Kind::Compile, Verdict::Decline("a preprocessor alone".into())),
    })
}
