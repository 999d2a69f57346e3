// SPDX-License-Identifier: Apache-2.0
//! Messages between engine and worker: what is read is written back the same.
#![no_main]

#[allow(dead_code)]
#[path = "../../engine/src/protocol.rs"]
mod protocol;

use libfuzzer_sys::fuzz_target;
use protocol::{Done, Job};

fuzz_target!(|data: &[u8]| {
    let _ = protocol::read::<Done>(&mut &*data);
    let whole = [&(data.len() as u32).to_le_bytes(), data].concat();
    if let Ok(Some(done)) = protocol::read::<Done>(&mut &*whole) {
        let frame = protocol::frame(&done);
        assert_eq!(protocol::read::<Done>(&mut &*frame).ok().flatten(), Some(done));
    }
    if let Ok(Some(job)) = protocol::read::<Job>(&mut &*whole) {
        let frame = protocol::frame(&job);
        assert_eq!(protocol::read::<Job>(&mut &*frame).ok().flatten(), Some(job));
    }
});
