// SPDX-License-Identifier: Apache-2.0
//! What the targets share: the frames that guard our files, words of a command line, and a world in memory.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use models::{Answer, Invocation, Kind, Node, Question, Verdict, World};
use thunk::{ObjectKind, ObjectName};

/// Puts the length and the check bytes before a record: no mutation would guess them, and what is behind
/// them would never be reached.
#[must_use]
pub fn frame(body: &[u8]) -> Vec<u8> {
    let name = ObjectName::of(ObjectKind::Value, body);
    [&(body.len() as u32).to_le_bytes(), &name.digest()[..4], body].concat()
}

/// Length and check bytes of a [`frame`].
pub const FRAME_HEAD: usize = 8;
/// First bytes of a stored tree.
pub const TREE: &[u8] = b"##GGTREE##";
/// First bytes of a stored reduction.
pub const REDUCTION: &[u8] = b"##GGREDUCTION##";
/// First bytes of a trace.
pub const TRACE: &[u8] = b"##GGTRACE##1\n";

/// The lines of the data, as words.
#[must_use]
pub fn words(data: &[u8]) -> Vec<OsString> {
    data.split(|&b| b == b'\n').filter(|w| !w.contains(&0)).map(|w| OsString::from_vec(w.to_vec())).collect()
}

/// Writes words so that a response file gives them back.
#[must_use]
pub fn quoted(words: &[OsString]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in words {
        out.push(b'"');
        for &byte in word.as_bytes() {
            if byte == b'"' || byte == b'\\' {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.extend_from_slice(b"\"\n");
    }
    out
}

/// Is this an absolute path that leads where it says?
#[must_use]
pub fn is_clean(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes == b"/"
        || bytes.first() == Some(&b'/')
            && bytes[1..].split(|&b| b == b'/').all(|c| !matches!(c, b"" | b"." | b"..") && !c.contains(&0))
}

/// A command in `/w` with these words.
#[must_use]
pub fn invocation(program: &str, argv: Vec<OsString>) -> Invocation {
    Invocation {
        program: program.into(),
        argv,
        env: [("PATH", "/usr/bin")].into_iter().collect(),
        cwd: "/w".into(),
    }
}

/// A world in which every path with a dot in its last part is a file of this content, and every other short one a
/// directory.
pub struct Everything<'a>(pub &'a [u8]);

impl World for Everything<'_> {
    fn node(&self, path: &Path) -> Option<Node> {
        match path.file_name() {
            None => Some(Node::Directory),
            Some(name) if name.as_bytes().contains(&b'.') => Some(Node::File),
            Some(name) if name.len() < 8 => Some(Node::Directory),
            Some(_) => None,
        }
    }

    fn read(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
        match self.node(path) {
            Some(Node::File) => Ok(Arc::new(self.0.to_vec())),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn linked_with(&self, _: &Path) -> Vec<PathBuf> {
        Vec::new()
    }

    fn ask(&self, _: &Question) -> io::Result<Arc<Answer>> {
        Ok(Arc::new(Answer { code: 0, stdout: self.0.to_vec(), stderr: self.0.to_vec() }))
    }
}

/// What holds for every plan: it names whole paths, each output once, and its inputs are there.
pub fn check_plan(kind: Kind, verdict: &Verdict, world: &dyn World) {
    let Verdict::Defer(plan) = verdict else { return };
    let mut seen = BTreeSet::new();
    assert!(!plan.outputs.is_empty(), "a {kind:?} without an output");
    for output in &plan.outputs {
        assert!(output.path.is_absolute(), "{:?}", output.path);
        assert!(seen.insert(&output.path), "{:?} twice", output.path);
    }
    for path in plan.inputs.iter().chain(&plan.directories) {
        assert!(path.is_absolute(), "{path:?}");
    }
    for path in &plan.inputs {
        assert!(world.node(path).is_some(), "{path:?} is not there");
    }
}

/// The part before the first zero byte, and the part behind it.
#[must_use]
pub fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|&b| b == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[]),
    }
}

/// Bytes as a name.
#[must_use]
pub fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}
