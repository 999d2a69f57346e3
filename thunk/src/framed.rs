// SPDX-License-Identifier: Apache-2.0
//! The frame around our own small files (trees, reductions, trace records): a magic line or none, four check bytes,
//! the length, then a protobuf message. A torn or flipped frame is told from a whole one.

use prost::Message;

use crate::digest::check_bytes;

/// Nothing of ours is larger; a length above it is damage, not a reason to allocate.
const MAX: usize = 256 << 20;

/// Appends one frame.
pub(crate) fn push(out: &mut Vec<u8>, message: &impl Message) {
    let body = message.encode_to_vec();
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&check_bytes(&body));
    out.extend_from_slice(&body);
}

/// Takes one frame off the front.
pub(crate) fn take<M: Message + Default>(input: &mut &[u8]) -> Result<M, String> {
    let head = input.get(..8).ok_or("it ends within a record")?;
    let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if len > MAX {
        return Err(format!("a record claims {len} bytes"));
    }
    let body = input.get(8..8 + len).ok_or("it ends within a record")?;
    if check_bytes(body) != head[4..8] {
        return Err("a record's check bytes do not fit its content".into());
    }
    let message = M::decode(body).map_err(|e| e.to_string())?;
    *input = &input[8 + len..];
    Ok(message)
}

/// A whole file: magic, then one frame, then nothing.
pub(crate) fn file(magic: &[u8], message: &impl Message) -> Vec<u8> {
    let mut out = magic.to_vec();
    push(&mut out, message);
    out
}

/// The inverse of [`file`].
pub(crate) fn parse_file<M: Message + Default>(magic: &[u8], content: &[u8]) -> Result<M, String> {
    let mut rest = content.strip_prefix(magic).ok_or("it does not start with the right magic")?;
    let message = take(&mut rest)?;
    if rest.is_empty() { Ok(message) } else { Err("bytes after its end".into()) }
}
