// SPDX-License-Identifier: Apache-2.0
//! Command lines of compilers, one word per line; behind a zero byte, what every file and every answer says.
#![no_main]

use std::path::Path;

use fuzz::{Everything, check_plan, halves, invocation, words};
use libfuzzer_sys::fuzz_target;
use models::compiler::{Vendor, parse, plan};

fuzz_target!(|data: &[u8]| {
    let (line, text) = halves(data);
    let argv = words(line);
    let world = Everything(text);
    for (vendor, program) in [(Vendor::Gnu, "/usr/bin/gcc"), (Vendor::Clang, "/usr/bin/clang++")] {
        let mut read = |_: &Path| Ok(text.to_vec());
        let _ = parse(vendor, &argv, &mut read);
        let (kind, verdict) = plan(vendor, &invocation(program, argv.clone()), &world);
        check_plan(kind, &verdict, &world);
    }
});
