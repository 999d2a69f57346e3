// SPDX-License-Identifier: Apache-2.0
//! Response files: words that are written into one by the quoting rules mean what they mean on the command line.
#![no_main]

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use fuzz::{quoted, words};
use libfuzzer_sys::fuzz_target;
use models::compiler::{CommandLine, Compiler, Vendor, parse};

fn line(argv: &[OsString], file: &[u8]) -> Option<CommandLine> {
    let mut read = |path: &Path| {
        if path == Path::new("file.rsp") { Ok(file.to_vec()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    let mut parsed = parse(Compiler { vendor: Vendor::Gnu, cxx: false }, argv, &mut read).ok()?;
    parsed.response_files.clear();
    Some(parsed)
}

fuzz_target!(|data: &[u8]| {
    let through = ["gcc", "@file.rsp"].map(OsString::from);
    let _ = line(&through, data);
    let written = words(data);
    if written.iter().any(|word| word.as_bytes().windows(9).any(|w| w == b"@file.rsp")) {
        return;
    }
    let mut argv = vec![OsString::from("gcc")];
    argv.extend(written.iter().cloned());
    assert_eq!(line(&through, &quoted(&written)), line(&argv, b""));
});
