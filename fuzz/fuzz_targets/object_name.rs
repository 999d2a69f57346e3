// SPDX-License-Identifier: Apache-2.0
//! Object names: a text that is one is the only text of that name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thunk::{ObjectKind, ObjectName, OutputRef, decode_path, encode_path};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(name) = text.parse::<ObjectName>()
    {
        assert_eq!(name.to_string(), text);
        // The letter, 43 digits of the digest, at least eight of the size.
        assert!(text.len() >= 1 + 43 + 8);
        assert_eq!(ObjectName::decode(name.kind(), &name.encode()), name);
    }
    if let Some(output) = OutputRef::parse(data) {
        assert_eq!(OutputRef::parse(output.to_string().as_bytes()), Some(output));
    }
    if let Some(path) = decode_path(data) {
        assert_eq!(decode_path(encode_path(&path).as_bytes()), Some(path));
    }
    if let (Some(digest), Some(size)) = (data.first_chunk::<32>(), data.last_chunk::<8>()) {
        let name = ObjectName::new(ObjectKind::Thunk, *digest, u64::from_le_bytes(*size));
        assert_eq!(name.to_string().parse::<ObjectName>().ok(), Some(name));
    }
});
