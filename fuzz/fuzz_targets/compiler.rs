// SPDX-License-Identifier: Apache-2.0
//! Command lines of compilers, one word per line; behind a zero byte, what every file and every answer says.
#![no_main]

use std::path::Path;

use fuzz::{Everything, check_plan, halves, invocation, words};
use libfuzzer_sys::fuzz_target;
use models::compiler::{Compiler, parse};
use models::plan;
use models::recognise::{Driver, Program};

fuzz_target!(|data: &[u8]| {
    let (line, text) = halves(data);
    let argv = words(line);
    let world = Everything(text);
    for (driver, program) in [(Driver::Gcc, "/usr/bin/gcc"), (Driver::Clang, "/usr/bin/clang++")] {
        let mut read = |_: &Path| Ok(text.to_vec());
        if let Some(compiler) = Compiler::of(driver, program.as_ref()) {
            let _ = parse(compiler, &argv, &mut read);
        }
        if let Some((kind, verdict)) =
            plan(Program::Compiler(driver), &invocation(program, argv.clone()), &world)
        {
            check_plan(kind, &verdict, &world);
        }
    }
});
