// SPDX-License-Identifier: Apache-2.0
//! The format of a pack: one file with a trace and all objects that its targets need. Knows bytes and names; what they mean,
//! and where they go, is not known here.
//!
//! ```text
//! ##GGPACK##1\n
//! one Zstandard frame of:
//!     length of the manifest, 4 bytes, little-endian; the manifest, a protobuf message:
//!         1  trace       object name of the trace file's content
//!         2  objects     { 1 name, 2 executable }, in the order in which they follow, each once
//!     the trace
//!     the objects' contents, of the sizes that are in their names
//! ```
//!
//! A pack is not trusted: sizes are those of the manifest or it is refused, contents hash to their names or nothing of
//! them is kept. It holds no reductions: what a thunk gives is computed, not claimed.

use std::collections::HashSet;
use std::io::{self, Read, Write};

use prost::Message as _;
use thunk::{Hasher, ObjectKind, ObjectName};

const MAGIC: &[u8] = b"##GGPACK##1\n";
/// A manifest of more than this is damage: it has room for two million objects.
const MANIFEST_MAX: u32 = 128 << 20;
/// A trace is read as a whole.
const TRACE_MAX: u64 = 1 << 30;

mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Object {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(bool, tag = "2")]
        pub executable: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Manifest {
        #[prost(string, tag = "1")]
        pub trace: String,
        #[prost(message, repeated, tag = "2")]
        pub objects: Vec<Object>,
    }
}

/// What a pack holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The trace.
    pub trace: ObjectName,
    /// The objects, and whether each may be executed.
    pub objects: Vec<(ObjectName, bool)>,
}

impl Manifest {
    /// How many bytes follow the manifest; `None` for a number that cannot be.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.objects.iter().try_fold(self.trace.size(), |sum, (name, _)| sum.checked_add(name.size()))
    }
}

fn bad(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// Writes the head of a pack; trace and objects follow through the writer that is given back, which must be finished.
///
/// # Errors
/// Whatever the file says.
pub fn begin<'a, W: Write>(mut to: W, manifest: &Manifest) -> io::Result<zstd::Encoder<'a, W>> {
    to.write_all(MAGIC)?;
    let objects = manifest.objects.iter();
    let objects =
        objects.map(|(name, executable)| wire::Object { name: name.to_string(), executable: *executable });
    let message =
        wire::Manifest { trace: manifest.trace.to_string(), objects: objects.collect() }.encode_to_vec();
    let length = u32::try_from(message.len()).ok().filter(|length| *length <= MANIFEST_MAX);
    let length = length.ok_or_else(|| bad("too many objects for one pack"))?;
    let mut stream = zstd::Encoder::new(to, zstd::DEFAULT_COMPRESSION_LEVEL)?;
    stream.include_checksum(true)?;
    stream.write_all(&length.to_le_bytes())?;
    stream.write_all(&message)?;
    Ok(stream)
}

/// A pack that is read.
pub struct Reader<R: Read> {
    stream: zstd::Decoder<'static, io::BufReader<R>>,
}

impl<R: Read> Reader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// It is no pack, or one that claims what cannot be.
    pub fn open(mut from: R) -> io::Result<(Self, Manifest)> {
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic).map_err(|_| bad("not a pack: it does not start with ##GGPACK##1"))?;
        if magic != MAGIC {
            return Err(bad("not a pack: it does not start with ##GGPACK##1"));
        }
        let mut stream = zstd::Decoder::new(from)?.single_frame();
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length > MANIFEST_MAX {
            return Err(bad(format!("its manifest claims {length} bytes")));
        }
        // Grows with what is there, not with what is claimed.
        let mut message = Vec::new();
        (&mut stream).take(length.into()).read_to_end(&mut message)?;
        if message.len() != length as usize {
            return Err(bad("it ends within its manifest"));
        }
        let manifest =
            check(wire::Manifest::decode(message.as_slice()).map_err(|error| bad(error.to_string()))?)?;
        Ok((Self { stream }, manifest))
    }

    /// The content of the next object, which is this one, written to `to`. What was written is worth nothing if this fails.
    ///
    /// # Errors
    /// The pack ends, or the content is not what the name says.
    pub fn object(&mut self, name: &ObjectName, to: &mut dyn Write) -> io::Result<()> {
        let mut hasher = Hasher::new();
        let mut left = name.size();
        let mut buffer = [0; 1 << 16];
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = self.stream.read(&mut buffer[..most])?;
            if read == 0 {
                return Err(bad(format!("it ends within {name}")));
            }
            hasher.update(&buffer[..read]);
            to.write_all(&buffer[..read])?;
            left -= read as u64;
        }
        let actual = hasher.finish(name.kind());
        if actual == *name { Ok(()) } else { Err(bad(format!("{name} hashes to {actual}"))) }
    }

    /// Makes sure that nothing follows.
    ///
    /// # Errors
    /// Something does, or the stream's own checksum does not fit.
    pub fn end(mut self) -> io::Result<()> {
        let more = |from: &mut dyn Read| Ok::<_, io::Error>(from.read(&mut [0])? > 0);
        if more(&mut self.stream)? || more(&mut self.stream.finish())? {
            return Err(bad("there is more in it than its manifest says"));
        }
        Ok(())
    }
}

fn check(message: wire::Manifest) -> io::Result<Manifest> {
    let name = |text: &str| text.parse::<ObjectName>().map_err(|error| bad(error.to_string()));
    let trace = name(&message.trace)?;
    if trace.kind() != ObjectKind::Value || trace.size() > TRACE_MAX {
        return Err(bad(format!("{trace} cannot be a trace")));
    }
    let mut seen = HashSet::with_capacity(message.objects.len());
    let mut objects = Vec::with_capacity(message.objects.len());
    for object in message.objects {
        let name = name(&object.name)?;
        if !seen.insert(name) {
            return Err(bad(format!("{name} is listed twice")));
        }
        objects.push((name, object.executable));
    }
    let manifest = Manifest { trace, objects };
    manifest.total().ok_or_else(|| bad("its objects are larger than any disk"))?;
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pack(trace: &[u8], contents: &[&[u8]]) -> (Vec<u8>, Manifest) {
        let objects = contents.iter().map(|content| (ObjectName::of(ObjectKind::Value, content), false));
        let manifest =
            Manifest { trace: ObjectName::of(ObjectKind::Value, trace), objects: objects.collect() };
        (written(&manifest, trace, contents), manifest)
    }

    fn written(manifest: &Manifest, trace: &[u8], contents: &[&[u8]]) -> Vec<u8> {
        let mut stream = begin(Vec::new(), manifest).unwrap();
        stream.write_all(trace).unwrap();
        contents.iter().for_each(|content| stream.write_all(content).unwrap());
        stream.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<(Manifest, Vec<Vec<u8>>)> {
        let (mut reader, manifest) = Reader::open(bytes)?;
        let mut contents = Vec::new();
        for name in [manifest.trace].iter().chain(manifest.objects.iter().map(|(name, _)| name)) {
            let mut content = Vec::new();
            reader.object(name, &mut content)?;
            contents.push(content);
        }
        reader.end()?;
        Ok((manifest, contents))
    }

    #[test]
    fn lies_are_told() {
        let why = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        let (good, manifest) = pack(b"trace", &[b"one", b"two"]);
        assert!(read(&good).is_ok());
        assert!(why(b"##GGPACK##2\n").starts_with("not a pack"));
        assert!(why(&written(&manifest, b"trace", &[b"one", b"twO"])).contains("hashes to"));
        assert!(why(&written(&manifest, b"trace", &[b"one"])).contains("ends within"));
        assert!(why(&written(&manifest, b"trace", &[b"one", b"two", b"!"])).contains("more in it"));
        assert!(why(&[good.as_slice(), b"!"].concat()).contains("more in it"));
        let twice = Manifest { objects: vec![manifest.objects[0]; 2], ..manifest.clone() };
        assert!(why(&written(&twice, b"trace", &[b"one", b"one"])).contains("twice"));
        // A thousand objects of 2^63 bytes, and a trace of a terabyte.
        let name = |digest: u8, size| ObjectName::new(ObjectKind::Value, [digest; 32], size);
        let huge = Manifest { objects: (0..3).map(|n| (name(n, 1 << 63), false)).collect(), ..manifest };
        assert!(why(&written(&huge, b"trace", &[])).contains("larger than any disk"));
        let long = Manifest { trace: name(0, 1 << 40), objects: vec![] };
        assert!(why(&written(&long, b"", &[])).contains("cannot be a trace"));
        // A small stream that claims a large manifest, and one that is large.
        for length in [u32::MAX, MANIFEST_MAX] {
            let mut stream = zstd::Encoder::new(MAGIC.to_vec(), 0).unwrap();
            stream.write_all(&length.to_le_bytes()).unwrap();
            assert!(why(&stream.finish().unwrap()).contains("manifest"));
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_and_damage_is_told(
            contents in proptest::collection::hash_set(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            at in any::<proptest::sample::Index>(),
            bit in 0u8..8,
        ) {
            let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
            let (bytes, manifest) = pack(b"the trace", &contents);
            let (found, read_back) = read(&bytes).unwrap();
            prop_assert_eq!(&found, &manifest);
            prop_assert_eq!(&read_back[1..], contents.as_slice());
            let at = at.index(bytes.len());
            prop_assert!(read(&bytes[..at]).is_err());
            let mut flipped = bytes;
            flipped[at] ^= 1 << bit;
            // A bit of the frame's head may say nothing; what is read is never something else.
            if let Ok((found, again)) = read(&flipped) {
                prop_assert_eq!((found, again), (manifest, read_back));
            }
        }
    }
}
