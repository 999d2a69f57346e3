// SPDX-License-Identifier: Apache-2.0
//! Traces: a trace that is read and written again is read the same; a cut one is never read as whole; what is concluded from
//! one names clean paths only. The data is a list of records, each with a length of two bytes.
#![no_main]

use fuzz::{TRACE, frame, is_clean};
use libfuzzer_sys::fuzz_target;
use thunk::trace::Trace;

fuzz_target!(|data: &[u8]| {
    let _ = Trace::decode("raw", data);
    let mut content = TRACE.to_vec();
    let mut rest = data;
    while let Some((head, tail)) = rest.split_first_chunk::<2>() {
        let (body, tail) = tail.split_at(usize::from(u16::from_le_bytes(*head)).min(tail.len()));
        content.extend_from_slice(&frame(body));
        rest = tail;
    }
    let Ok(trace) = Trace::decode("fuzzed", &content) else { return };
    assert!(trace.outputs().iter().all(|p| is_clean(p)));
    assert!(trace.products().last.keys().all(|p| is_clean(p)));
    if let Ok(cut) = Trace::decode("cut", &content[..content.len() - 1]) {
        assert!(cut.cut.is_some() || cut.end.is_none() && trace.cut.is_none());
    }
    let again = Trace::decode("again", &trace.encode()).expect("what was written is a trace");
    assert_eq!(again, Trace { cut: None, ..trace });
});
