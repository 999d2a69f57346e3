// SPDX-License-Identifier: Apache-2.0
//! What commands mean: from argv and the file system to inputs and outputs.
//!
//! `parse` functions are pure: argv into a struct. `plan` functions ask the [`World`]. What a model does not fully
//! understand it declines: a wrong plan is a bug, a declined command is not. Knows no process, no store, no thunk.

pub mod binutils;
pub mod compiler;
pub mod elf;
pub mod libraries;
mod plan;
pub mod recognise;
pub mod scanner;
#[cfg(test)]
mod testing;

pub use plan::{
    Answer, Decline, IncludeSearch, Invocation, Kind, Node, Output, Plan, Probe, Question, Role, Verdict, World,
};
