// SPDX-License-Identifier: Apache-2.0
//! Trees: what is decoded is written back the same, and leads nowhere else than it says.
#![no_main]

use fuzz::{TREE, frame, is_clean};
use libfuzzer_sys::fuzz_target;
use thunk::Tree;

fuzz_target!(|data: &[u8]| {
    let _ = Tree::decode("raw", data);
    let Ok(tree) = Tree::decode("fuzzed", &[TREE, &frame(data)].concat()) else { return };
    assert!(tree.entries().iter().all(|e| is_clean(&e.path)));
    assert!(tree.entries().is_sorted());
    assert_eq!(Tree::decode("again", &tree.encode()).ok(), Some(tree));
});
