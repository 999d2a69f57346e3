// SPDX-License-Identifier: Apache-2.0
//! Many small objects as one. A compiler and the headers of a system are a dozen large files and a thousand small ones: one by one, each
//! instance of a function would ask a storage a thousand times. A pack is itself an object, named by its content, so who has its name cannot be
//! given another; and each of what it holds is checked by its own name. Knows stores, not storages, and not who needs what.

#[cfg(any(feature = "lambda", test))]
use std::mem;

use anyhow::{Context as _, Result, bail};
use prost::Message;
use thunk::{ObjectKind, ObjectName, Store};

/// What is as large or larger stays alone: a request more for it is nothing.
pub const ALONE: u64 = 1 << 20;
/// A pack is closed before it holds more: several come in parallel, and each is in memory as a whole.
const FULL: u64 = 16 << 20;
/// No pack is larger: names and lengths are a small part of it.
const LARGEST: u64 = 2 * FULL;
const MAGIC: &[u8] = b"##GGPACK##";

#[derive(Clone, PartialEq, Message)]
struct Member {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(message, repeated, tag = "1")]
    members: Vec<Member>,
}

/// A pack, and what it holds.
#[cfg(any(feature = "lambda", test))]
pub struct Pack {
    /// Its name,
    pub name: ObjectName,
    /// its content,
    pub content: Vec<u8>,
    /// and what is in it.
    pub members: Vec<ObjectName>,
}

/// Does it go into packs?
pub fn is_small(name: &ObjectName) -> bool {
    name.size() < ALONE && name.kind() == ObjectKind::Value
}

/// Which of them go into one pack: the same for the same objects, whoever packs them.
#[cfg(any(feature = "lambda", test))]
pub fn divide(mut names: Vec<ObjectName>) -> Vec<Vec<ObjectName>> {
    names.sort_unstable();
    names.dedup();
    let (mut all, mut now, mut size) = (Vec::new(), Vec::new(), 0);
    for name in names {
        if size + name.size() > FULL && !now.is_empty() {
            all.push(mem::take(&mut now));
            size = 0;
        }
        size += name.size();
        now.push(name);
    }
    all.extend((!now.is_empty()).then_some(now));
    all
}

/// Packs objects of the store.
///
/// # Errors
/// The store does not hold one of them.
#[cfg(any(feature = "lambda", test))]
pub fn pack(store: &Store, members: Vec<ObjectName>) -> Result<Pack> {
    let read = |name: &ObjectName| Ok(Member { name: name.to_string(), content: store.read(name)? });
    let wire = Wire { members: members.iter().map(read).collect::<Result<_>>()? };
    let mut content = MAGIC.to_vec();
    wire.encode(&mut content)?;
    Ok(Pack { name: ObjectName::of(ObjectKind::Value, &content), content, members })
}

/// Is this the size of a pack? More is not to be fetched.
pub fn may_be(name: &ObjectName) -> bool {
    name.size() <= LARGEST
}

/// Puts what is in a pack into the store, each object checked against its name, and tells what it was.
///
/// # Errors
/// It is no pack, or holds something else than it says.
pub fn unpack(store: &Store, content: &[u8]) -> Result<Vec<ObjectName>> {
    let body = content.strip_prefix(MAGIC).context("it is no pack")?;
    let wire = Wire::decode(body).context("it is no pack")?;
    let mut names = Vec::with_capacity(wire.members.len());
    for member in wire.members {
        let name: ObjectName = member.name.parse()?;
        if name.kind() != ObjectKind::Value || ObjectName::of(ObjectKind::Value, &member.content) != name {
            bail!("what it holds as {name} is something else");
        }
        if !store.contains(&name) {
            store.put(ObjectKind::Value, &member.content)?;
        }
        names.push(name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stores() -> (tempfile::TempDir, Store, Store) {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| Store::open(&dir.path().join(name)).unwrap();
        let (here, there) = (open("here"), open("there"));
        (dir, here, there)
    }

    #[test]
    fn what_is_packed_comes_out_and_is_the_same_pack_for_everybody() {
        let (_dir, here, there) = stores();
        let put = |text: &str| here.put(ObjectKind::Value, text.as_bytes()).unwrap();
        let names: Vec<ObjectName> = ["one", "two", "", "three"].map(put).to_vec();
        let mut other = names.clone();
        other.reverse();
        other.push(names[0]);
        let divided = divide(names.clone());
        assert_eq!((divided.len(), &divided), (1, &divide(other)));
        let pack = pack(&here, divided[0].clone()).unwrap();
        assert!(may_be(&pack.name));
        assert_eq!(unpack(&there, &pack.content).unwrap(), pack.members);
        assert!(names.iter().all(|name| there.read(name).unwrap() == here.read(name).unwrap()));
    }

    #[test]
    fn packs_are_bounded() {
        let name = |byte: u8| ObjectName::new(ObjectKind::Value, [byte; 32], ALONE - 1);
        let divided = divide((0..40).map(name).collect());
        assert_eq!(divided.len(), 3);
        assert_eq!(divided.iter().map(Vec::len).sum::<usize>(), 40);
        for pack in &divided {
            assert!(pack.iter().map(ObjectName::size).sum::<u64>() <= FULL);
        }
        assert!(!is_small(&ObjectName::new(ObjectKind::Value, [0; 32], ALONE)));
        assert!(!is_small(&ObjectName::new(ObjectKind::Thunk, [0; 32], 1)));
        assert!(!may_be(&ObjectName::new(ObjectKind::Value, [0; 32], u64::MAX - 1)));
        assert!(divide(Vec::new()).is_empty());
    }

    #[test]
    fn what_is_not_as_it_says_is_not_taken() {
        let (_dir, here, there) = stores();
        let name = here.put(ObjectKind::Value, b"content").unwrap();
        let thunk = ObjectName::of(ObjectKind::Thunk, b"content");
        let of = |name: String, content: &[u8]| {
            let wire = Wire { members: vec![Member { name, content: content.to_vec() }] };
            [MAGIC, &wire.encode_to_vec()].concat()
        };
        let good = of(name.to_string(), b"content");
        assert_eq!(unpack(&there, &good).unwrap(), [name]);
        there.remove(&name).unwrap();
        for bad in [
            of(name.to_string(), b"CONTENT"),
            of(name.to_string(), b"content and more"),
            of(thunk.to_string(), b"content"),
            of("../../etc/passwd".into(), b"content"),
            good[..good.len() - 1].to_vec(),
            good[1..].to_vec(),
            Vec::new(),
        ] {
            assert!(unpack(&there, &bad).is_err());
            assert!(!there.contains(&name) && !there.contains(&thunk));
        }
    }
}
