// SPDX-License-Identifier: Apache-2.0
//! What engine and function say to each other. Lambda takes JSON and nothing else: a protobuf message travels in it as text.
//! Knows what fits into a call, not who calls.

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::{Value, json};
use thunk::{ObjectName, Store};

use crate::protocol::Done;

/// Both sides must speak the same. It is part of the function's name: an older one is not found.
pub const VERSION: u32 = 2;
/// Lambda's own limit is 6 MB for a request and as much for an answer, of which base64 takes a quarter.
pub const MOST: usize = 4 << 20;

/// What a function is asked to do.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Of these messages.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The storage that holds what the thunk needs, and takes what it gives.
    #[prost(string, tag = "2")]
    pub storage: String,
    /// Name of a thunk whose inputs are all values.
    #[prost(string, tag = "3")]
    pub thunk: String,
    /// Objects that it needs, perhaps the thunk itself among them. The others are in the storage,
    #[prost(message, repeated, tag = "4")]
    pub contents: Vec<Content>,
    /// in these packs, or alone.
    #[prost(string, repeated, tag = "5")]
    pub packs: Vec<String>,
}

/// What came of it.
#[derive(Clone, PartialEq, Message)]
pub struct Answer {
    /// Of these messages.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// What the worker said.
    #[prost(message, optional, tag = "2")]
    pub done: Option<Done>,
    /// Where that is too large: the name of an object in the storage that holds it.
    #[prost(string, tag = "3")]
    pub done_at: String,
    /// Outputs that are small. All outputs are in the storage too.
    #[prost(message, repeated, tag = "4")]
    pub contents: Vec<Content>,
    /// The storage does not have these objects, which the thunk needs, or these packs, as they should be.
    #[prost(string, repeated, tag = "5")]
    pub lacking: Vec<String>,
    /// The function's time was nearly up, and the command still running.
    #[prost(bool, tag = "6")]
    pub late: bool,
    /// How long it took.
    #[prost(uint64, tag = "7")]
    pub millis: u64,
    /// The function's memory in megabytes, which its price depends on.
    #[prost(uint64, tag = "8")]
    pub memory: u64,
    /// Requests that it made to the storage.
    #[prost(uint64, tag = "9")]
    pub requests: u64,
    /// Bytes that it stored.
    #[prost(uint64, tag = "10")]
    pub up: u64,
    /// Bytes that it fetched.
    #[prost(uint64, tag = "11")]
    pub down: u64,
}

/// An object.
#[derive(Clone, PartialEq, Message)]
pub struct Content {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its content, packed with zstd.
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
}

impl Content {
    /// An object of the store, if it packs to no more than `most`.
    ///
    /// # Errors
    /// The store does not hold it.
    pub fn of(store: &Store, name: &ObjectName, most: usize) -> Result<Option<Self>> {
        let data = zstd::bulk::compress(&store.read(name)?, 3)?;
        Ok((data.len() <= most).then(|| Self { name: name.to_string(), data }))
    }

    /// Puts it into the store, if it is one of the `expected` objects, and is what its name says. More than that is never unpacked.
    ///
    /// # Errors
    /// It is not.
    pub fn put(&self, store: &Store, expected: impl FnOnce(&ObjectName) -> bool) -> Result<ObjectName> {
        let name: ObjectName = self.name.parse()?;
        if !expected(&name) {
            bail!("{name} was not asked for");
        }
        let size = usize::try_from(name.size()).ok().filter(|size| *size <= MOST * 64);
        let size = size.with_context(|| format!("{name} is too large for a message"))?;
        let wrong = || format!("what was sent as {name} is something else");
        let content = zstd::bulk::decompress(&self.data, size).with_context(wrong)?;
        if ObjectName::of(name.kind(), &content) != name {
            bail!(wrong());
        }
        Ok(store.put(name.kind(), &content)?)
    }
}

/// The message as JSON.
pub fn to_json(message: &impl Message) -> Value {
    json!({ "gg": STANDARD.encode(message.encode_to_vec()) })
}

/// The message in the JSON.
///
/// # Errors
/// There is none.
pub fn from_json<M: Message + Default>(json: &Value) -> Result<M> {
    let text = json.get("gg").and_then(Value::as_str).context("it is no message of gg's")?;
    let bytes = STANDARD.decode(text).context("it is no message of gg's")?;
    M::decode(bytes.as_slice()).context("it is no message of gg's")
}

#[cfg(test)]
mod tests {
    use thunk::ObjectKind;

    use super::*;

    #[test]
    fn messages_survive_json_and_what_is_none_is_refused() {
        let content = Content { name: "V".into(), data: vec![0, 255, 7] };
        let event = Event { version: VERSION, contents: vec![content], ..Event::default() };
        let text = to_json(&event).to_string();
        assert_eq!(from_json::<Event>(&serde_json::from_str(&text).unwrap()).unwrap(), event);
        for bad in [json!(null), json!({}), json!({"gg": 1}), json!({"gg": "*"}), json!({"gg": "////"})] {
            assert!(from_json::<Event>(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_largest_message_fits_into_a_call() {
        let content = Content { name: "V".repeat(60), data: vec![1; MOST - 4096] };
        let answer = Answer { contents: vec![content], ..Answer::default() };
        // Amazon's limit, in bytes.
        assert!(to_json(&answer).to_string().len() < 6_291_556);
    }

    #[test]
    fn objects_arrive_as_they_were_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (dir.path().join("here"), dir.path().join("there"));
        let (here, there) = (Store::open(&here).unwrap(), Store::open(&there).unwrap());
        let name = here.put(ObjectKind::Value, b"content").unwrap();
        let content = Content::of(&here, &name, 100).unwrap().unwrap();
        assert_eq!(Content::of(&here, &name, 3).unwrap(), None);
        assert!(content.put(&there, |_| false).is_err());
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
        let other = zstd::bulk::compress(b"CONTENT", 3).unwrap();
        let huge = ObjectName::new(ObjectKind::Value, [0; 32], u64::MAX - 1);
        for (name, data) in [(name, bomb.clone()), (name, other), (name, vec![]), (huge, bomb)] {
            let wrong = Content { name: name.to_string(), data };
            assert!(wrong.put(&there, |_| true).is_err());
            assert!(!there.contains(&name));
        }
        assert_eq!(content.put(&there, |asked| *asked == name).unwrap(), name);
        assert_eq!(there.read(&name).unwrap(), b"content");
    }
}
