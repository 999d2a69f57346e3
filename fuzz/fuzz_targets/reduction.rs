// SPDX-License-Identifier: Apache-2.0
//! Reductions: what is decoded is written back the same.
#![no_main]

use fuzz::{REDUCTION, frame};
use libfuzzer_sys::fuzz_target;
use thunk::Reduction;

fuzz_target!(|data: &[u8]| {
    let _ = Reduction::decode("raw", data);
    let Ok(reduction) = Reduction::decode("fuzzed", &[REDUCTION, &frame(data)].concat()) else { return };
    for output in &reduction.outputs {
        assert!(reduction.output(Some(&output.path)).is_some());
    }
    assert_eq!(reduction.output(None), reduction.outputs.first());
    assert_eq!(Reduction::decode("again", &reduction.encode()).ok(), Some(reduction));
});
