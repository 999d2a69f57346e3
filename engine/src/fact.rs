// SPDX-License-Identifier: Apache-2.0
//! What a storage keeps under the name of a thunk: its reduction, and what its small outputs hold. A dependency file
//! has a few kilobytes, and to ask for it costs a request like any other. Large outputs are objects of their own, and
//! so are small ones, for those who need nothing else of the thunk.
//!
//! A fact is a message of two fields, or a reduction alone. Knows no storage.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use prost::Message;
use thunk::{ObjectKind, ObjectName, Reduction, Store};

/// So much content goes with a reduction.
const ROOM: u64 = 32 << 10;

#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(bytes = "vec", tag = "1")]
    reduction: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    contents: Vec<Vec<u8>>,
}

/// What is known of a thunk.
#[derive(Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it gives.
    pub reduction: Reduction,
    /// What some of its outputs hold.
    pub contents: Vec<(ObjectName, Vec<u8>)>,
}

impl Fact {
    /// With the smallest outputs, as far as there is room for them and they are in this store.
    pub fn of(store: &Store, reduction: &Reduction) -> Self {
        let mut names: Vec<ObjectName> = outputs(reduction).into_iter().collect();
        names.sort_by_key(ObjectName::size);
        let (mut room, mut contents) = (ROOM, Vec::new());
        for name in names {
            let Some(left) = room.checked_sub(name.size()) else { break };
            if let Ok(content) = store.read(&name) {
                room = left;
                contents.push((name, content));
            }
        }
        Self { contents, reduction: reduction.clone() }
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let contents = self.contents.iter().map(|(_, content)| content.clone()).collect();
        Stored { reduction: self.reduction.encode(), contents }.encode_to_vec()
    }

    /// The inverse of [`Fact::encode`].
    ///
    /// # Errors
    /// That is no fact, or there is something in it that is none of the thunk's outputs.
    pub fn decode(thunk: &ObjectName, fact: &[u8]) -> Result<Self> {
        let subject = thunk.to_string();
        if let Ok(reduction) = Reduction::decode(&subject, fact) {
            return Ok(Self { reduction, contents: Vec::new() });
        }
        let Stored { reduction, contents } = Stored::decode(fact)?;
        let reduction = Reduction::decode(&subject, &reduction)?;
        let outputs = outputs(&reduction);
        let named = |content: Vec<u8>| {
            let name = ObjectName::of(ObjectKind::Value, &content);
            if !outputs.contains(&name) {
                bail!("{name} is none of what {subject} gives");
            }
            Ok((name, content))
        };
        Ok(Self { contents: contents.into_iter().map(named).collect::<Result<_>>()?, reduction })
    }
}

/// What a thunk gives, each content once.
pub fn outputs(reduction: &Reduction) -> BTreeSet<ObjectName> {
    reduction.outputs.iter().map(|output| output.value).collect()
}

#[cfg(test)]
mod tests {
    use thunk::ReducedOutput;

    use super::*;

    fn output(value: ObjectName) -> ReducedOutput {
        ReducedOutput { path: "/x".into(), value, executable: false }
    }

    #[test]
    fn the_smallest_outputs_go_with_it_as_far_as_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let put = |length: u64| store.put(ObjectKind::Value, &vec![length as u8; length as usize]).unwrap();
        let [large, small, empty, rest] = [ROOM + 1, 5, 0, ROOM - 5].map(put);
        let elsewhere = ObjectName::of(ObjectKind::Value, b"elsewhere");
        let reduction = |of: &[ObjectName]| Reduction {
            outputs: of.iter().copied().map(output).collect(),
            ..Reduction::default()
        };
        let fact = Fact::of(&store, &reduction(&[large, small, empty, small, rest]));
        let names: Vec<_> = fact.contents.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, [empty, small, rest]);
        let thunk = ObjectName::of(ObjectKind::Thunk, b"t");
        assert_eq!(Fact::decode(&thunk, &fact.encode()).unwrap(), fact);
        assert!(Fact::of(&store, &reduction(&[elsewhere, large])).contents.is_empty());
        let alone = Fact::decode(&thunk, &fact.reduction.encode()).unwrap();
        assert_eq!((alone.reduction, alone.contents.len()), (fact.reduction, 0));
    }

    #[test]
    fn what_a_thunk_does_not_give_is_not_taken() {
        let thunk = ObjectName::of(ObjectKind::Thunk, b"t");
        let value = ObjectName::of(ObjectKind::Value, b"right");
        let reduction = Reduction { outputs: vec![output(value)], ..Reduction::default() };
        let right = Fact { reduction, contents: vec![(value, b"right".to_vec())] };
        assert!(Fact::decode(&thunk, &right.encode()).is_ok());
        let wrong = Fact { contents: vec![(value, b"wrong".to_vec())], ..right };
        let why = Fact::decode(&thunk, &wrong.encode()).unwrap_err().to_string();
        assert!(why.contains("is none of what"), "{why}");
        for cut in 1..wrong.encode().len() {
            let _ = Fact::decode(&thunk, &wrong.encode()[..cut]);
        }
        assert!(Fact::decode(&thunk, b"").is_err());
    }
}
