// SPDX-License-Identifier: Apache-2.0
//! Placeholders: what is one is written back the same, as far as it is not too long then; and the interceptor takes the same
//! files for placeholders.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use thunk::Placeholder;

fn check(content: &[u8]) {
    let decoded = Placeholder::decode(Path::new("p"), content);
    if let Ok(Some(placeholder)) = &decoded {
        assert!(placeholder.store.is_absolute());
        assert!(wire::size_may_be_placeholder(content.len() as u64));
        if let Ok(text) = placeholder.encode(Path::new("/usr/bin/gg")) {
            assert_eq!(Placeholder::decode(Path::new("q"), &text).ok().flatten().as_ref(), Some(placeholder));
            assert!(wire::size_may_be_placeholder(text.len() as u64) && wire::head_is_placeholder(&text));
        }
    }
    // One that is cut may be told from another file where the interceptor does not look, never the other way round.
    assert!(!wire::head_is_placeholder(content) || !matches!(decoded, Ok(None)));
    assert!(wire::head_is_placeholder(content) || !matches!(decoded, Ok(Some(_))));
}

fuzz_target!(|data: &[u8]| {
    check(data);
    // With the mark before it and the right size, so that what is behind these checks is reached.
    let mut content = [b"#!/usr/bin/gg force-and-run\n# gg-placeholder 1\n", data].concat();
    content.push(b'\n');
    while content.len() % wire::PLACEHOLDER_BLOCK as usize != wire::PLACEHOLDER_REST as usize - 1 {
        content.push(b'#');
    }
    content.push(b'\n');
    check(&content);
});
