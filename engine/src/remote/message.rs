// SPDX-License-Identifier: Apache-2.0
//! The messages between an engine and a worker host, and how objects travel in them. Knows no sockets.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use prost::Message;
use thunk::{Hasher, ObjectName, Store};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::protocol::{self, Done};

/// Both sides must speak the same.
pub const VERSION: u32 = 1;
/// How much of an object goes into one message.
const PIECE: usize = 1 << 20;
/// Who neither takes nor says anything for so long is gone: who is at work says so more often.
const SILENCE: Duration = Duration::from_secs(30);
/// So much is taken within that time, however slow the network.
const CHUNK: usize = 16 << 10;
/// No message is larger: pieces, what a command printed, names.
const MAX: u64 = 64 << 20;

/// A message, either way.
#[derive(Clone, PartialEq, Message)]
pub struct Packet {
    /// What it is.
    #[prost(oneof = "Body", tags = "1, 2, 3, 4, 5, 6")]
    pub body: Option<Body>,
}

/// What is said.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Body {
    /// The first words of both, the engine's first.
    #[prost(message, tag = "1")]
    Hello(Hello),
    /// Run this thunk, by name.
    #[prost(string, tag = "2")]
    Job(String),
    /// These objects are needed here.
    #[prost(message, tag = "3")]
    Lacking(Names),
    /// A piece of an object.
    #[prost(message, tag = "4")]
    Piece(Piece),
    /// What came of the job.
    #[prost(message, tag = "5")]
    Done(Done),
    /// The command is still running.
    #[prost(bool, tag = "6")]
    Alive(bool),
}

/// Who speaks.
#[derive(Clone, PartialEq, Message)]
pub struct Hello {
    /// Of these messages.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// How many commands it runs at once; an engine runs none.
    #[prost(uint32, tag = "2")]
    pub slots: u32,
}

/// Names of objects.
#[derive(Clone, PartialEq, Message)]
pub struct Names {
    /// They.
    #[prost(string, repeated, tag = "1")]
    pub names: Vec<String>,
}

/// A piece of an object. The pieces of one follow each other.
#[derive(Clone, PartialEq, Message)]
pub struct Piece {
    /// The object's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The next bytes of its content.
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
    /// `data` is packed with zstd.
    #[prost(bool, tag = "3")]
    pub packed: bool,
    /// The other side does not have it: no more comes.
    #[prost(bool, tag = "4")]
    pub absent: bool,
    /// It is executable.
    #[prost(bool, tag = "5")]
    pub executable: bool,
}

/// Sends a message.
///
/// # Errors
/// The connection is lost, or nothing is taken at its other end.
pub async fn send(stream: &mut (impl AsyncWrite + Unpin), body: Body) -> io::Result<()> {
    let frame = protocol::frame(&Packet { body: Some(body) });
    for chunk in frame.chunks(CHUNK) {
        timeout(SILENCE, stream.write_all(chunk)).await.map_err(|_| silent())??;
    }
    timeout(SILENCE, stream.flush()).await.map_err(|_| silent())?
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it has fallen silent")
}

/// Receives a message that must come now.
///
/// # Errors
/// As [`receive`]; nothing comes.
pub async fn expect(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Body> {
    let received = receive_within(stream, MAX, Some(SILENCE)).await?;
    received.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"))
}

/// What a read gives, if it gives anything in time. It is asked for each read and not for a whole message, which a slow network may
/// take long for.
async fn in_time<T>(patience: Option<Duration>, read: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match patience {
        Some(patience) => timeout(patience, read).await.map_err(|_| silent())?,
        None => read.await,
    }
}

/// Receives a message; `None` at the end of the connection.
///
/// # Errors
/// The connection is lost, or carries something else.
pub async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Body>> {
    receive_within(stream, MAX, None).await
}

/// The other side's first words. What is no message is told from one at once.
///
/// # Errors
/// It is another version, or something else altogether.
pub async fn receive_hello(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello> {
    match receive_within(stream, 64, None).await? {
        Some(Body::Hello(hello)) if hello.version == VERSION => Ok(hello),
        Some(Body::Hello(hello)) => bail!("it is another version of ggforce, which speaks {}", hello.version),
        Some(_) => bail!("it speaks out of turn"),
        None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it says nothing").into()),
    }
}

async fn receive_within(
    stream: &mut (impl AsyncRead + Unpin),
    max: u64,
    patience: Option<Duration>,
) -> io::Result<Option<Body>> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut head = [0u8; 4];
    match in_time(patience, stream.read_exact(&mut head)).await {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let len = u64::from(u32::from_le_bytes(head));
    if len > max {
        return Err(invalid(format!("a message of {len} bytes")));
    }
    // Memory is taken as bytes come, not as they are announced.
    let mut body = Vec::new();
    let mut rest = stream.take(len);
    while (body.len() as u64) < len {
        body.reserve(CHUNK);
        if in_time(patience, rest.read_buf(&mut body)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let packet = Packet::decode(body.as_slice()).map_err(|e| invalid(e.to_string()))?;
    packet.body.map(Some).ok_or_else(|| invalid("a message of an unknown kind".into()))
}

/// Sends an object of the store; one that it does not have is said to be absent, and here why.
///
/// # Errors
/// The connection is lost.
pub async fn send_object(
    stream: &mut (impl AsyncWrite + Unpin),
    store: &Store,
    name: &ObjectName,
    executable: bool,
) -> Result<thunk::Result<()>> {
    let text = name.to_string();
    let content = match store.read(name) {
        Ok(content) => content,
        Err(why) => {
            let piece = Piece { name: text, absent: true, ..Piece::default() };
            send(stream, Body::Piece(piece)).await?;
            return Ok(Err(why));
        }
    };
    let mut first = true;
    let mut rest = content.as_slice();
    while first || !rest.is_empty() {
        first = false;
        let (data, more) = rest.split_at(rest.len().min(PIECE));
        rest = more;
        let small = zstd::bulk::compress(data, 1).ok().filter(|packed| packed.len() < data.len());
        let packed = small.is_some();
        let data = small.unwrap_or_else(|| data.to_vec());
        let piece = Piece { name: text.clone(), data, packed, absent: false, executable };
        send(stream, Body::Piece(piece)).await?;
    }
    Ok(Ok(()))
}

/// What became of an object that was asked for.
#[derive(Debug)]
pub enum Received {
    /// It is in the store.
    Stored,
    /// The other side does not have it.
    Absent,
    /// It came, and could not be stored.
    Unstored(anyhow::Error),
}

/// Receives an object whose first piece has come, into the store. Where that cannot be written to, the object is received all
/// the same: then both sides still know what comes next.
///
/// # Errors
/// What comes is not what its name says; the connection is lost.
pub async fn receive_object(
    stream: &mut (impl AsyncRead + Unpin),
    store: &Store,
    first: Piece,
    limit: u64,
) -> Result<Received> {
    let name: ObjectName = first.name.parse()?;
    if first.absent {
        return Ok(Received::Absent);
    }
    if name.size() > limit {
        bail!("{name} is larger than is taken here");
    }
    let executable = first.executable;
    let mut file = store.temporary(executable).map_err(anyhow::Error::from);
    let mut hasher = Hasher::new();
    let mut left = name.size();
    let mut piece = first;
    loop {
        if piece.name != name.to_string() {
            bail!("pieces of two objects are mixed");
        }
        let data = if piece.packed { zstd::bulk::decompress(&piece.data, PIECE)? } else { piece.data };
        let len = data.len() as u64;
        if len > left || (len == 0 && left > 0) {
            bail!("what was sent as {name} is something else");
        }
        left -= len;
        hasher.update(&data);
        if let Ok(open) = &mut file
            && let Err(why) = open.write_all(&data).context("cannot write to the store")
        {
            file = Err(why);
        }
        if left == 0 {
            break;
        }
        match expect(stream).await? {
            Body::Piece(next) => piece = next,
            _ => bail!("an object ends before its end"),
        }
    }
    let actual = hasher.finish(name.kind());
    if actual != name {
        bail!("what was sent as {name} is {actual}");
    }
    let stored = file.and_then(|file| Ok(store.install(file, &name, executable)?));
    Ok(stored.map_or_else(Received::Unstored, |()| Received::Stored))
}

#[cfg(test)]
mod tests {
    use thunk::ObjectKind;

    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(work)
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        (dir, store)
    }

    async fn take(bytes: &[u8], store: &Store) -> Result<Option<ObjectName>> {
        let mut stream = bytes;
        match receive(&mut stream).await? {
            Some(Body::Piece(first)) => {
                let name = first.name.parse()?;
                match receive_object(&mut stream, store, first, 1 << 30).await? {
                    Received::Stored => Ok(Some(name)),
                    Received::Absent => Ok(None),
                    Received::Unstored(why) => Err(why),
                }
            }
            other => bail!("{other:?}"),
        }
    }

    #[test]
    fn objects_arrive_as_they_were_or_not_at_all() {
        run(async {
            let ((_a, here), (_b, there)) = (store(), store());
            let random: Vec<u8> =
                (0..PIECE as u32 * 2 + 7).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            for content in [&b""[..], b"x", &random, &vec![7; PIECE * 3]] {
                let name = here.put(ObjectKind::Value, content).unwrap();
                let mut sent = Vec::new();
                send_object(&mut sent, &here, &name, true).await.unwrap().unwrap();
                assert_eq!(take(&sent, &there).await.unwrap(), Some(name));
                assert_eq!(there.read(&name).unwrap(), content);
                let (_c, other) = store();
                for at in [0, 3, sent.len() / 2, sent.len() - 1] {
                    assert!(take(&sent[..at], &other).await.is_err());
                    let mut flipped = sent.clone();
                    flipped[at] ^= 1;
                    // A changed mode or mark of packing that fits all the same.
                    let taken = take(&flipped, &other).await;
                    assert!(taken.is_err() || other.read(&name).unwrap() == content, "{at}");
                }
            }
            let absent = ObjectName::of(ObjectKind::Value, b"nobody has it");
            let mut sent = Vec::new();
            assert!(send_object(&mut sent, &here, &absent, false).await.unwrap().is_err());
            assert_eq!(take(&sent, &there).await.unwrap(), None);
        });
    }

    #[test]
    fn who_falls_silent_is_not_waited_for() {
        run(async {
            let (_dir, store) = store();
            let content: Vec<u8> =
                (0..9000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
            let name = store.put(ObjectKind::Value, &content).unwrap();
            let (mut here, mut there) = tokio::io::duplex(8 << 10);
            let error = send_object(&mut here, &store, &name, false).await.unwrap_err();
            assert!(error.to_string().contains("silent"), "{error}");
            // What has come is not all, and no more comes.
            let error = expect(&mut there).await.unwrap_err();
            assert!(error.to_string().contains("silent"), "{error}");
        });
    }

    #[test]
    fn who_is_slow_is_waited_for() {
        run(async {
            let frame = protocol::frame(&Packet { body: Some(Body::Job("j".repeat(100))) });
            let (mut here, mut there) = tokio::io::duplex(8);
            let slow = async {
                for piece in frame.chunks(4) {
                    tokio::time::sleep(SILENCE / 2).await;
                    here.write_all(piece).await.unwrap();
                }
            };
            let (received, ()) = tokio::join!(expect(&mut there), slow);
            assert_eq!(received.unwrap(), Body::Job("j".repeat(100)));
        });
    }

    #[test]
    fn wrong_content_bombs_and_huge_claims_are_refused() {
        run(async {
            let (_dir, store) = store();
            let asked = ObjectName::of(ObjectKind::Value, &[1; 100]);
            let bomb = zstd::bulk::compress(&vec![1u8; 32 << 20], 19).unwrap();
            for (data, packed) in
                [(vec![2; 100], false), (vec![1; 101], false), (bomb, true), (vec![], false)]
            {
                let piece = Piece { name: asked.to_string(), data, packed, ..Piece::default() };
                let sent = protocol::frame(&Packet { body: Some(Body::Piece(piece)) });
                assert!(take(&sent, &store).await.is_err());
                assert!(!store.contains(&asked));
            }
            let huge = u32::MAX.to_le_bytes();
            assert!(receive(&mut &huge[..]).await.is_err());
            let name = ObjectName::new(ObjectKind::Value, [0; 32], u64::MAX).to_string();
            let piece = Piece { name, data: vec![0], ..Piece::default() };
            let sent = protocol::frame(&Packet { body: Some(Body::Piece(piece)) });
            assert!(take(&sent, &store).await.unwrap_err().to_string().contains("larger"));
        });
    }
}
