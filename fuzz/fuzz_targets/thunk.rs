// SPDX-License-Identifier: Apache-2.0
//! Thunks: what is decoded is written back the same, and leads nowhere else than it says.
#![no_main]

use std::path::PathBuf;

use fuzz::is_clean;
use libfuzzer_sys::fuzz_target;
use thunk::{MAGIC, Thunk, substitute};

fuzz_target!(|data: &[u8]| {
    let whole = [MAGIC, data].concat();
    let _ = Thunk::decode("raw", data);
    let Ok(thunk) = Thunk::decode("fuzzed", &whole) else { return };
    let bytes = thunk.encode();
    assert_eq!(Thunk::decode("again", &bytes).ok().as_ref(), Some(&thunk));
    let mut sorted = thunk.clone();
    sorted.canonicalise();
    let name = sorted.name();
    let mut again = Thunk::decode("sorted", &sorted.encode()).expect("it was one before it was sorted");
    assert_eq!(again, sorted);
    again.canonicalise();
    assert_eq!(again.name(), name);
    if thunk.workdir.is_some() {
        let inputs = thunk.values.iter().chain(&thunk.executables).map(|i| &i.path);
        let made = thunk.thunks.iter().map(|i| &i.path);
        let outputs = thunk.outputs.iter().chain(&thunk.optional_outputs).chain(&thunk.directories);
        let links = thunk.links.iter().chain(&thunk.made_links).map(|l| &l.path);
        for path in inputs.chain(made).chain(outputs).chain(links).chain(&thunk.program).chain(&thunk.workdir)
        {
            assert!(is_clean(path), "{path:?}");
        }
    }
    for argument in &thunk.args {
        let _ = substitute(argument, &mut |name| Ok(PathBuf::from(name.to_string())));
    }
});
