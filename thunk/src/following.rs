// SPDX-License-Identifier: Apache-2.0
//! What a recorder and the engine that follows it say to each other while a build goes on, over a stream: a length, then a
//! protobuf message. The recorder tells where placeholders stand and which of them somebody waits for; the engine, when those are forced.
//! Knows neither of the two.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use prost::Message;

/// Longer messages are damage.
const MAX: u32 = 256 << 20;

/// From the recorder. A stream that ends without a last message means that nothing more is wanted.
#[derive(Clone, PartialEq, Message)]
pub struct Order {
    /// Paths at which placeholders stand, absolute.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub paths: Vec<Vec<u8>>,
    /// Somebody waits for them, and for the answer with this number; 0 for nobody.
    #[prost(uint32, tag = "2")]
    pub number: u32,
    /// It is the last: the engine ends when all is forced.
    #[prost(bool, tag = "3")]
    pub last: bool,
}

/// From the engine.
#[derive(Clone, PartialEq, Message)]
pub struct News {
    /// The order with this number has come to its end; 0 for none.
    #[prost(uint32, tag = "1")]
    pub number: u32,
    /// And everything that it named is in place.
    #[prost(bool, tag = "2")]
    pub done: bool,
    /// A command has failed, and no further one is started but for who waits.
    #[prost(bool, tag = "3")]
    pub stopped: bool,
}

/// The paths of a message.
pub fn paths(list: &[Vec<u8>]) -> impl Iterator<Item = PathBuf> {
    list.iter().map(|path| PathBuf::from(OsStr::from_bytes(path)))
}

/// Writes one message.
///
/// # Errors
/// The stream is closed.
pub fn write(stream: &mut impl Write, message: &impl Message) -> io::Result<()> {
    let body = message.encode_to_vec();
    let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(&body);
    stream.write_all(&bytes)
}

/// Reads one message; `None` at the end of the stream.
///
/// # Errors
/// The stream ends within a message, or holds something else.
pub fn read<M: Message + Default>(stream: &mut impl Read) -> io::Result<Option<M>> {
    let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut head = [0u8; 4];
    match stream.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let len = u32::from_le_bytes(head);
    if len > MAX {
        return Err(bad(format!("a message of {len} bytes")));
    }
    let mut body = vec![0u8; len as usize];
    stream.read_exact(&mut body)?;
    M::decode(body.as_slice()).map(Some).map_err(|error| bad(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_written_and_damage_is_told() {
        let orders = [
            Order { paths: vec![b"/w/a.o".to_vec()], number: 7, last: false },
            Order { last: true, ..Order::default() },
        ];
        let mut bytes = Vec::new();
        orders.iter().for_each(|order| write(&mut bytes, order).unwrap());
        let mut stream = bytes.as_slice();
        for order in &orders {
            assert_eq!(read::<Order>(&mut stream).unwrap().as_ref(), Some(order));
        }
        assert_eq!(read::<Order>(&mut stream).unwrap(), None);
        assert!(read::<Order>(&mut &bytes[..6]).is_err());
        assert!(read::<Order>(&mut [0xff; 8].as_slice()).is_err());
    }
}
