// SPDX-License-Identifier: Apache-2.0
//! Compiler drivers: gcc, g++, clang, clang++ and their kind, under any name. Everything a driver does with files:
//! preprocess, compile, assemble, link, several of these in one command.
//!
//! [`parse`] turns argv into a [`CommandLine`] by a table of options; [`plan`] asks the [`World`] about it. The
//! programs, libraries and start files of the toolchain are not known here: the plan's probes make the toolchain show
//! them. Which headers a source includes is not known here either, only where they are looked for.

mod command_line;
mod database;
mod includes;
mod language;
mod link;
mod names;
mod options;
mod passed;
mod planning;
mod probe;

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::Decline;
use crate::recognise::Driver;

pub use command_line::{CommandLine, Dependencies, Input, Mode, SideOutputs, parse};
pub use database::{Compilation, compilations};
pub use language::Language;
pub use passed::{AssemblerWords, LinkItem, LinkerWords};
pub(crate) use planning::plan;

/// Whose driver it is: they share most options, but not all, and differ in the names of some outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// gcc and g++.
    Gnu,
    /// clang and clang++.
    Clang,
}

/// A program that is a compiler driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Compiler {
    /// Whose driver it is.
    pub vendor: Vendor,
    /// It takes C sources as C++, and links the C++ library: g++, clang++.
    pub cxx: bool,
}

impl Compiler {
    /// The driver that the recogniser found, when it is called by this name. None for drivers of other languages
    /// and for `cpp`.
    #[must_use]
    pub fn of(driver: Driver, called: &OsStr) -> Option<Compiler> {
        match driver {
            Driver::Gcc => Some(Compiler { vendor: Vendor::Gnu, cxx: false }),
            Driver::Gxx => Some(Compiler { vendor: Vendor::Gnu, cxx: true }),
            Driver::Clang if is_cpp(called) => None,
            Driver::Clang => Some(Compiler { vendor: Vendor::Clang, cxx: is_cxx_name(called) }),
            Driver::Gcpp | Driver::GccOther => None,
        }
    }
}

/// A reason to decline, without details.
fn decline(reason: impl Into<String>) -> Decline {
    Decline(reason.into())
}

/// An option that is declined, and what about it.
fn about(word: &OsStr, why: &str) -> Decline {
    Decline(format!("option {}: {why}", word.to_string_lossy()))
}

fn file_name(program: &OsStr) -> &[u8] {
    program.as_bytes().rsplit(|&b| b == b'/').next().unwrap_or_default()
}

fn is_cxx_name(program: &OsStr) -> bool {
    file_name(program).windows(2).any(|pair| pair == b"++")
}

fn is_cpp(program: &OsStr) -> bool {
    file_name(program).windows(3).any(|part| part == b"cpp")
}

/// The first `length` bytes of a word.
fn head(word: &OsStr, length: usize) -> &OsStr {
    OsStr::from_bytes(word.as_bytes().get(..length).unwrap_or_default())
}
