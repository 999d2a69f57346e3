// SPDX-License-Identifier: Apache-2.0
//! How content is stored: a line that says how it is packed and what it is, then the content, packed if that helps.
//!
//! ```text
//! gg-stored-1 zstd V47DEQpj8HBSa._TImW.5JCeuQeRkm5NMpJWZG3hSuFU00000000\n
//! …
//! ```
//!
//! The name in the line makes a torn, swapped or changed body of a fact be noticed; an object has the name that it is asked for by.

use std::io::Read as _;

use thunk::{ObjectKind, ObjectName};

use crate::key::Key;

const MAGIC: &str = "gg-stored-1";
/// Packing less than this saves no packet.
const SMALL: usize = 512;
const LEVEL: i32 = 3;

/// The stored form of the content.
pub fn seal(content: &[u8]) -> Vec<u8> {
    let name = ObjectName::of(ObjectKind::Value, content);
    let packed = (content.len() >= SMALL).then(|| zstd::bulk::compress(content, LEVEL).ok()).flatten();
    let (how, body) = match &packed {
        Some(packed) if packed.len() < content.len() => ("zstd", packed.as_slice()),
        _ => ("plain", content),
    };
    let mut out = format!("{MAGIC} {how} {name}\n").into_bytes();
    out.extend_from_slice(body);
    out
}

/// The content that was stored under the key; or what is wrong with what was.
pub fn open(key: &Key, stored: &[u8]) -> Result<Vec<u8>, String> {
    let end = stored.iter().take(128).position(|&b| b == b'\n').ok_or("it has no head")?;
    let head = std::str::from_utf8(&stored[..end]).map_err(|_| "it has no head")?;
    let mut words = head.split(' ');
    if words.next() != Some(MAGIC) {
        return Err("it has no head".into());
    }
    let (how, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let name: ObjectName = name.parse().map_err(|_| "its head names no content")?;
    let limit = key.limit();
    if name.size() > limit {
        return Err(format!("it claims {} bytes", name.size()));
    }
    if let Key::Object(asked) = key
        && (asked.digest(), asked.size()) != (name.digest(), name.size())
    {
        return Err(format!("it is {name}"));
    }
    let body = &stored[end + 1..];
    let content = match how {
        "plain" => body.to_vec(),
        "zstd" => unpack(body, name.size())?,
        _ => return Err("it is packed in an unknown way".into()),
    };
    let actual = ObjectName::of(ObjectKind::Value, &content);
    if (actual.digest(), actual.size()) != (name.digest(), name.size()) {
        return Err(format!("its content is {actual}"));
    }
    Ok(content)
}

/// Unpacks what must give `size` bytes: not more is ever held, whatever the body claims.
fn unpack(body: &[u8], size: u64) -> Result<Vec<u8>, String> {
    let reader = zstd::Decoder::with_buffer(body).map_err(|e| e.to_string())?;
    let mut content = Vec::new();
    reader.take(size + 1).read_to_end(&mut content).map_err(|e| format!("it cannot be unpacked: {e}"))?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(content: &[u8]) -> Key {
        Key::Object(ObjectName::of(ObjectKind::Value, content))
    }

    #[test]
    fn what_is_sealed_opens_and_what_was_changed_does_not() {
        let fact = Key::Fact(ObjectName::of(ObjectKind::Thunk, b"t"));
        for content in [&b""[..], b"short", &b"long and dull ".repeat(200)] {
            let stored = seal(content);
            assert_eq!(open(&key(content), &stored).unwrap(), content);
            assert_eq!(open(&fact, &stored).unwrap(), content);
            assert!(open(&key(b"another"), &stored).is_err());
            for at in 0..stored.len() {
                let mut flipped = stored.clone();
                flipped[at] ^= 1;
                // A flipped bit that changes nothing (in zstd's own checksum flags) is no damage.
                for key in [&key(content), &fact] {
                    assert!(
                        open(key, &flipped).is_err_and(|_| true) || open(key, &flipped).unwrap() == content
                    );
                    assert!(open(key, &stored[..at]).is_err(), "cut at {at} of {}", stored.len());
                }
            }
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = zstd::bulk::compress(&vec![0u8; 64 << 20], 19).unwrap();
        let asked = ObjectName::of(ObjectKind::Value, b"x");
        let mut stored = format!("{MAGIC} zstd {asked}\n").into_bytes();
        stored.extend_from_slice(&bomb);
        assert!(open(&Key::Object(asked), &stored).is_err());
        let huge = ObjectName::new(ObjectKind::Value, [0; 32], u64::MAX - 1);
        let stored = format!("{MAGIC} plain {huge}\nx");
        assert!(open(&Key::Fact(asked), stored.as_bytes()).unwrap_err().contains("claims"));
        assert!(open(&Key::Object(huge), stored.as_bytes()).is_err());
    }
}
