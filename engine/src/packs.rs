// SPDX-License-Identifier: Apache-2.0
//! Many small objects as one. A compiler and the headers of a system are a dozen large files and a thousand small ones: one by one, each
//! instance of a function would ask a storage a thousand times. A pack is itself an object, named by its content, so
//! who has its name cannot be given another; and each of what it holds is checked by its own name. Knows stores, not
//! storages, and not who needs what.

#[cfg(any(feature = "lambda", test))]
use std::mem;

use anyhow::{Context as _, Result, bail};
use prost::Message;
use prost::encoding::decode_varint;
use thunk::{ObjectKind, ObjectName, Store};

/// What is as large or larger stays alone: a request more for it is nothing.
pub const ALONE: u64 = 1 << 20;
/// A pack is closed before it holds more: several come in parallel, and each is in memory as a whole.
const FULL: u64 = 16 << 20;
/// Nor does it hold more objects: of the smallest, names would be the most of it.
const MOST: usize = 1 << 14;
/// What a name and lengths add to an object.
const AROUND: u64 = 128;
/// No pack is larger.
const LARGEST: u64 = FULL + MOST as u64 * AROUND;
const MAGIC: &[u8] = b"##GGPACK##";
/// The field of [`Wire`] that members are in, as it stands before each.
const FIELD: u64 = 1 << 3 | 2;

#[derive(Clone, PartialEq, Message)]
struct Member {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

/// What a pack is written as. It is read member by member: who says that there are many more than there is room for is not to be believed.
#[cfg(any(feature = "lambda", test))]
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
        if (size + name.size() > FULL || now.len() == MOST) && !now.is_empty() {
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
    let mut rest = content.strip_prefix(MAGIC).context("it is no pack")?;
    if content.len() as u64 > LARGEST {
        bail!("it is too large for a pack");
    }
    let mut objects: Vec<(ObjectName, Vec<u8>)> = Vec::new();
    while !rest.is_empty() {
        if objects.len() == MOST {
            bail!("it holds more objects than a pack may");
        }
        let Member { name, content } = Member::decode(next(&mut rest)?).context("it is no pack")?;
        let name: ObjectName = name.parse()?;
        if !is_small(&name)
            || name.size() != content.len() as u64
            || ObjectName::of(ObjectKind::Value, &content) != name
        {
            bail!("what it holds as {name} is something else");
        }
        objects.push((name, content));
    }
    // Of one that is wrong anywhere, nothing is taken.
    for (name, content) in &objects {
        if !store.contains(name) {
            store.put(ObjectKind::Value, content)?;
        }
    }
    Ok(objects.into_iter().map(|(name, _)| name).collect())
}

/// The next member's bytes.
fn next<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    if decode_varint(rest)? != FIELD {
        bail!("it holds something else than objects");
    }
    let length = usize::try_from(decode_varint(rest)?)?;
    let (member, after) = rest.split_at_checked(length).context("it ends within an object")?;
    *rest = after;
    Ok(member)
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

    /// Of many tiny objects each pack is still one that is taken.
    #[test]
    fn packs_of_tiny_objects_are_no_larger_than_packs_may_be() {
        let name = |number: u32| {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&number.to_be_bytes());
            ObjectName::new(ObjectKind::Value, digest, 1)
        };
        let divided = divide((0..400_000).map(name).collect());
        assert_eq!(divided.iter().map(Vec::len).sum::<usize>(), 400_000);
        for names in divided {
            let members = names.iter().map(|name| Member { name: name.to_string(), content: vec![0] });
            let size = MAGIC.len() + Wire { members: members.collect() }.encoded_len();
            assert!(may_be(&ObjectName::new(ObjectKind::Value, [0; 32], size as u64)), "{size}");
        }
    }

    /// Two bytes are an empty member, which takes many more in memory.
    #[test]
    fn a_pack_that_claims_very_many_objects_is_refused_before_they_are_there() {
        let (_dir, here, there) = stores();
        let name = here.put(ObjectKind::Value, b"").unwrap();
        let members = vec![Member { name: name.to_string(), content: Vec::new() }; MOST];
        let pack = |members| [MAGIC, &Wire { members }.encode_to_vec()].concat();
        assert_eq!(unpack(&there, &pack(members.clone())).unwrap().len(), MOST);
        let many = pack([members, vec![Member { name: name.to_string(), content: Vec::new() }]].concat());
        assert!(unpack(&there, &many).unwrap_err().to_string().contains("more objects"));
        let empty = [MAGIC, &[0x0a, 0x00].repeat(LARGEST as usize / 2 - MAGIC.len())].concat();
        let before = memory();
        assert!(unpack(&there, &empty).is_err());
        assert!(memory() - before < 256 << 20, "{} bytes more", memory() - before);
        let large = [MAGIC, &vec![0x0a; LARGEST as usize]].concat();
        assert!(unpack(&there, &large).unwrap_err().to_string().contains("too large"));
    }

    /// The most memory that this process ever had.
    fn memory() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    #[test]
    fn what_is_not_as_it_says_is_not_taken() {
        let (_dir, here, there) = stores();
        let name = here.put(ObjectKind::Value, b"content").unwrap();
        let thunk = ObjectName::of(ObjectKind::Thunk, b"content");
        let large = ObjectName::of(ObjectKind::Value, &vec![0; ALONE as usize]);
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
            // One that is right before one that is not, another field behind it, a length that is longer than all there is.
            [good.clone(), of(name.to_string(), b"CONTENT")[MAGIC.len()..].to_vec()].concat(),
            [good.clone(), vec![0x12, 0x00]].concat(),
            [MAGIC, &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]].concat(),
            of(large.to_string(), &vec![0; ALONE as usize]),
            Vec::new(),
        ] {
            assert!(unpack(&there, &bad).is_err());
            assert!(!there.contains(&name) && !there.contains(&thunk));
        }
    }
}
