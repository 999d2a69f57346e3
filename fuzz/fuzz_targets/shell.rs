// SPDX-License-Identifier: Apache-2.0
//! What shells do with a script: any bytes are one, and words in quotes are the words of a command.
#![no_main]

use std::os::unix::ffi::OsStrExt as _;

use fuzz::words;
use libfuzzer_sys::fuzz_target;
use models::shell::{Step, parse};

fuzz_target!(|data: &[u8]| {
    let _ = parse(data);
    let mut argv = words(data);
    argv.insert(0, "/bin/cc".into());
    let quoted = argv.iter().map(|word| [b"'", word.as_bytes(), b"' "].concat());
    let script = quoted.collect::<Vec<_>>().concat();
    if argv.iter().any(|word| word.as_bytes().contains(&b'\'')) {
        return;
    }
    if let Some(steps) = parse(&script) {
        assert_eq!(steps, [Step::Run { variables: Vec::new(), argv }]);
    }
});
