// SPDX-License-Identifier: Apache-2.0
//! What engine and worker say to each other: protobuf messages with a length before each, so that none is empty. The thunk travels by
//! name: both sides have the store. Knows nothing of sockets or processes.

use std::io::{self, Write};

use prost::Message;

/// Larger messages are damage.
const MAX: u32 = 1 << 30;

/// Longer than any [`Job`].
pub const LONGEST: usize = 1024;

/// What a worker is asked to do.
#[derive(Clone, PartialEq, Message)]
pub struct Job {
    /// Name of a thunk whose inputs are all values. Nothing, to hear whether the worker is ready for some: it has no result to tell then.
    #[prost(string, tag = "1")]
    pub thunk: String,
    /// There was another one before which had no answer yet. If that failed, this one is not to begin.
    #[prost(bool, tag = "2")]
    pub behind: bool,
}

/// What came of it.
#[derive(Clone, PartialEq, Message)]
pub struct Done {
    /// One of these.
    #[prost(oneof = "Result", tags = "1, 2, 3")]
    pub result: Option<Result>,
    /// Paths that were looked for in vain and were added to the inputs: the reduction is that of another thunk then.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub completed: Vec<Vec<u8>>,
    /// With [`Result::Broken`]: this worker can never run it, and others may.
    #[prost(bool, tag = "5")]
    pub refused: bool,
    /// With [`Result::Broken`]: it can never run anything.
    #[prost(bool, tag = "6")]
    pub unable: bool,
    /// Without a result: the job before it failed.
    #[prost(bool, tag = "7")]
    pub not_begun: bool,
}

impl From<Result> for Done {
    fn from(result: Result) -> Self {
        Self { result: Some(result), ..Self::default() }
    }
}

/// One of three ends.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Result {
    /// It gave this reduction (as stored).
    #[prost(bytes, tag = "1")]
    Reduced(Vec<u8>),
    /// The command failed.
    #[prost(message, tag = "2")]
    Failed(Failed),
    /// The worker could not do it: no fault of the command.
    #[prost(string, tag = "3")]
    Broken(String),
}

/// How a command failed.
#[derive(Clone, PartialEq, Message)]
pub struct Failed {
    /// Its exit code; 128 plus the signal's number where a signal ended it.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// More about the end than the code says, or nothing.
    #[prost(string, tag = "2")]
    pub how: String,
    /// What it wrote to standard output.
    #[prost(bytes = "vec", tag = "3")]
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    #[prost(bytes = "vec", tag = "4")]
    pub stderr: Vec<u8>,
}

impl Failed {
    /// The same failure, with more about it.
    #[must_use]
    pub fn and(self, more: &str) -> Self {
        let how = if self.how.is_empty() { format!("exit code {}", self.code) } else { self.how };
        Self { how: format!("{how}; {more}"), ..self }
    }
}

/// The message as it goes over the stream.
pub fn frame(message: &impl Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    let mut out = (body.len() as u32).to_le_bytes().to_vec();
    out.extend_from_slice(&body);
    out
}

/// The length in a frame's head, if it is believable.
///
/// # Errors
/// It is not.
fn body_len(head: [u8; 4]) -> io::Result<usize> {
    match u32::from_le_bytes(head) {
        len if len <= MAX => Ok(len as usize),
        len => Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {len} bytes"))),
    }
}

/// Takes the first message off what has come, if all of it is there.
///
/// # Errors
/// Something else is there.
pub fn take<M: Message + Default>(come: &mut Vec<u8>) -> io::Result<Option<M>> {
    let Some((head, body)) = come.split_first_chunk() else { return Ok(None) };
    let len = body_len(*head)?;
    let Some(body) = body.get(..len) else { return Ok(None) };
    let message = M::decode(body);
    come.drain(..head.len() + len);
    message.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes one message.
///
/// # Errors
/// The stream is closed.
pub fn write(stream: &mut impl Write, message: &impl Message) -> io::Result<()> {
    stream.write_all(&frame(message))
}
