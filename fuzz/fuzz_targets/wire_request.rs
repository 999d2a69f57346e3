// SPDX-License-Identifier: Apache-2.0
//! Requests of interceptors to the recorder: a process of the build can send anything.
#![no_main]

#[allow(dead_code)]
#[path = "../../tracer/src/request.rs"]
mod request;

use libfuzzer_sys::fuzz_target;
use request::Request;
use wire::Plain as _;

fuzz_target!(|data: &[u8]| {
    let _ = request::read(&mut &*data);
    let Some((&[kind, flags, argc, envc], payload)) = data.split_first_chunk::<4>() else { return };
    let head = wire::Request {
        magic: wire::MAGIC,
        kind: u32::from(kind),
        flags: u32::from(flags),
        argc: u32::from(argc),
        envc: u32::from(envc),
        len: payload.len() as u32,
        ..wire::Request::default()
    };
    match request::read(&mut [head.as_bytes(), payload].concat().as_slice()) {
        Ok(Request::Exec(exec)) => {
            assert_eq!(exec.invocation.argv.len(), usize::from(argc));
            assert_eq!(exec.invocation.env.len(), usize::from(envc));
            assert!(exec.invocation.cwd.is_absolute() && exec.invocation.program.is_absolute());
        }
        Ok(Request::Open(open)) => assert!(open.path.is_absolute()),
        Ok(Request::Placed { path, old, .. }) => {
            assert!(path.is_absolute() && old.is_none_or(|old| old.is_absolute()));
        }
        Ok(Request::Change { path, .. }) => assert!(path.is_absolute()),
        Ok(Request::Undo { .. }) | Err(_) => {}
    }
});
