// SPDX-License-Identifier: Apache-2.0
//! Linker scripts: names are taken from the text and from nowhere else, and none is empty.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use libfuzzer_sys::fuzz_target;
use models::libraries::script::{Input, may_be_script, parse};

fuzz_target!(|data: &[u8]| {
    let _ = may_be_script(data);
    let script = parse(data);
    let inputs = script.inputs.iter().map(|i| match i {
        Input::File(name) | Input::Library(name) => name,
    });
    let others = script.includes.iter().chain(&script.search_dirs).chain(&script.mentioned);
    // Looking for all names of a long text would take nearly all of the time.
    let names = inputs.chain(others).chain(&script.output_format).filter(|_| data.len() < 2048);
    for name in names {
        let name: &OsStr = name;
        assert!(name.is_empty() || data.windows(name.len()).any(|w| w == name.as_bytes()), "{name:?}");
    }
    // A comment between two words changes nothing.
    let spaced = [b"/* x */ ", data].concat();
    assert_eq!(parse(&spaced), script);
});
