// SPDX-License-Identifier: Apache-2.0
//! Which model knows which program.

use std::ffi::OsStr;

use models::compiler::{Compiler, plan_for};
use models::recognise::Program;
use models::{Invocation, Kind, Verdict, World, binutils};

/// What its model makes of a command of this program; `None` where none knows it.
pub fn plan(program: Program, invocation: &Invocation, world: &dyn World) -> Option<(Kind, Verdict)> {
    match program {
        Program::Compiler(driver) => {
            let called = invocation.argv.first().map_or(OsStr::new(""), |name| name.as_os_str());
            let decline = || (Kind::Compile, Verdict::Decline("a compiler of another language".into()));
            Some(Compiler::of(driver, called).map_or_else(decline, |c| plan_for(c, invocation, world)))
        }
        _ => binutils::plan(program, invocation, world),
    }
}
