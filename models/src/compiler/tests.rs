// SPDX-License-Identifier: Apache-2.0
//! Tests of the whole model: command lines of real builds, plans in a world in memory, and the real compilers.

mod command_lines;
mod dependency_files;
mod plans;
mod real;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::{CommandLine, Compiler, Vendor, is_cxx_name};
use crate::{Decline, Invocation, Kind, Verdict, World};

/// The driver of that vendor that has this name.
fn driver(vendor: Vendor, name: &OsStr) -> Compiler {
    Compiler { vendor, cxx: is_cxx_name(name) }
}

fn parse(
    vendor: Vendor,
    argv: &[OsString],
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
) -> Result<CommandLine, Decline> {
    let name = argv.first().map_or(OsStr::new(""), OsString::as_os_str);
    super::parse(driver(vendor, name), argv, read)
}

fn plan(vendor: Vendor, invocation: &Invocation, world: &dyn World) -> (Kind, Verdict) {
    super::plan(driver(vendor, invocation.program.as_os_str()), invocation, world)
}
