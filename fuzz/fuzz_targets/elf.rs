// SPDX-License-Identifier: Apache-2.0
//! ELF files and what the kernel makes of a file: facts are whole strings, and what is a script is no ELF file.
#![no_main]

use std::os::unix::ffi::OsStrExt as _;

use libfuzzer_sys::fuzz_target;
use models::elf::ElfFacts;
use models::recognise::{Executable, executable};

fuzz_target!(|data: &[u8]| {
    let facts = ElfFacts::read(data);
    if let Some(facts) = &facts {
        let names = facts.needed.iter().chain(&facts.soname).chain(&facts.interpreter);
        for name in names {
            assert!(!name.is_empty() && !name.as_bytes().contains(&0));
        }
        assert!(facts.own_search_path().iter().all(|p| !p.as_bytes().contains(&b':')));
    }
    match executable(data) {
        Executable::Script { interpreter, .. } => {
            assert!(data.starts_with(b"#!") && !interpreter.as_os_str().is_empty());
        }
        Executable::NotExecutable => {}
        _ => assert!(facts.is_some()),
    }
});
