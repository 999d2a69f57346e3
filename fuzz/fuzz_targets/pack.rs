// SPDX-License-Identifier: Apache-2.0
//! Packs: what is written is read; one that was changed anywhere is refused or says the same; none gives content under a name
//! that is not its own, or more of it than the manifest says. The data is objects, each ended by NUL, behind the
//! place and the value of a byte to change in the stream.
#![no_main]

#[allow(dead_code)]
#[path = "../../gg/src/pack/format.rs"]
mod format;

use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};

use format::{Manifest, Reader};
use libfuzzer_sys::fuzz_target;
use thunk::{ObjectKind, ObjectName};

type Contents = BTreeMap<ObjectName, Vec<u8>>;

fn read(bytes: &[u8]) -> io::Result<(Manifest, Contents)> {
    let (mut reader, manifest) = Reader::open(bytes)?;
    let names = manifest.objects.iter().map(|(name, _)| *name);
    let mut contents = Contents::new();
    for name in [manifest.trace].into_iter().chain(names) {
        let mut content = Vec::new();
        let result = reader.object(&name, &mut content);
        assert!(content.len() as u64 <= name.size());
        result?;
        assert_eq!(ObjectName::of(name.kind(), &content), name);
        contents.insert(name, content);
    }
    reader.end()?;
    Ok((manifest, contents))
}

/// The stream within a pack, to be changed where no checksum guards it.
fn unwrapped(pack: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let at = pack.windows(4).position(|w| w == [0x28, 0xb5, 0x2f, 0xfd])?;
    let mut stream = Vec::new();
    zstd::Decoder::new(&pack[at..]).ok()?.read_to_end(&mut stream).ok()?;
    Some((&pack[..at], stream))
}

fuzz_target!(|data: &[u8]| {
    let _ = read(data);
    let Some((head, rest)) = data.split_first_chunk::<3>() else { return };
    let mut contents = Contents::new();
    for content in rest.split(|&byte| byte == 0) {
        contents.insert(ObjectName::of(ObjectKind::Value, content), content.to_vec());
    }
    let Some((trace, content)) = contents.pop_first() else { return };
    let manifest =
        Manifest { trace, objects: contents.keys().map(|name| (*name, head[2] & 1 == 1)).collect() };
    let mut stream = format::begin(Vec::new(), &manifest).expect("it fits");
    stream.write_all(&content).expect("to memory");
    contents.values().for_each(|content| stream.write_all(content).expect("to memory"));
    let pack = stream.finish().expect("to memory");
    contents.insert(trace, content);
    assert_eq!(read(&pack).expect("it was written so"), (manifest.clone(), contents.clone()));
    let Some((magic, mut stream)) = unwrapped(&pack) else { panic!("it was written so") };
    let at = usize::from(u16::from_le_bytes([head[0], head[1]])) % stream.len();
    stream[at] ^= head[2] | 1;
    let again = zstd::encode_all(stream.as_slice(), 0).expect("to memory");
    // The flag of an executable, or the order of equal fields, may be what was changed: contents are never others.
    if let Ok((_, found)) = read(&[magic, &again].concat()) {
        assert!(found.iter().all(|(name, content)| contents.get(name) == Some(content)));
    }
});
