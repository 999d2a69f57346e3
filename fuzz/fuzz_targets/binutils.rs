// SPDX-License-Identifier: Apache-2.0
//! Command lines of ar, ranlib, ld, as, strip and objcopy, one word per line; behind a zero byte, what every file says.
#![no_main]

use fuzz::{Everything, check_plan, halves, invocation, words};
use libfuzzer_sys::fuzz_target;
use models::binutils::{parse_ar, parse_as, parse_ld, parse_objcopy, parse_ranlib, parse_strip};
use models::plan;
use models::recognise::{Flavour, Program};

fuzz_target!(|data: &[u8]| {
    let (line, text) = halves(data);
    let args = words(line);
    let _ = (parse_ar(&args), parse_ranlib(&args), parse_ld(&args));
    let _ = (parse_as(&args), parse_strip(&args), parse_objcopy(&args));
    let world = Everything(text);
    for (program, path) in [
        (Program::Ar(Flavour::Gnu), "/usr/bin/ar"),
        (Program::Ranlib(Flavour::Gnu), "/usr/bin/ranlib"),
        (Program::Ld(Flavour::Gnu), "/usr/bin/ld"),
        (Program::As, "/usr/bin/as"),
        (Program::Strip(Flavour::Gnu), "/usr/bin/strip"),
        (Program::Objcopy(Flavour::Gnu), "/usr/bin/objcopy"),
    ] {
        let mut argv = vec![path.into()];
        argv.extend(args.iter().cloned());
        if let Some((kind, verdict)) = plan(program, &invocation(path, argv), &world) {
            check_plan(kind, &verdict, &world);
        }
    }
});
