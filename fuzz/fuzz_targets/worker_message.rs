// SPDX-License-Identifier: Apache-2.0
//! Messages between engine and worker: what is read is written back the same.
#![no_main]

#[allow(dead_code)]
#[path = "../../engine/src/protocol.rs"]
mod protocol;

use libfuzzer_sys::fuzz_target;
use protocol::{Done, Job};

fuzz_target!(|data: &[u8]| {
    let mut come = data.to_vec();
    while let Ok(Some(done)) = protocol::take::<Done>(&mut come) {
        let mut frame = protocol::frame(&done);
        assert_eq!(protocol::take(&mut frame).ok().flatten(), Some(done));
        assert_eq!(frame, []);
    }
    if let Ok(Some(job)) = protocol::take::<Job>(&mut data.to_vec()) {
        assert_eq!(protocol::take(&mut protocol::frame(&job)).ok().flatten(), Some(job));
    }
});
