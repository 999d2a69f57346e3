// SPDX-License-Identifier: Apache-2.0
//! `seeds STORE TREE CORPUS`: takes what a recorded and forced build left in a store and a source tree as seeds for the
//! targets, in the forms in which they read them. `scripts/fuzz` runs it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use fuzz::{FRAME_HEAD, REDUCTION, TRACE, TREE};
use thunk::trace::Trace;
use thunk::{MAGIC, ObjectKind, ObjectName};

/// Longer seeds make every run slow.
const MOST: usize = 48 << 10;
/// Texts are read slower than they are long: headers of libc come by the hundred.
const MOST_TEXT: usize = 4 << 10;

struct Corpus(PathBuf);

impl Corpus {
    fn add(&self, target: &str, seed: &[u8]) -> io::Result<()> {
        if seed.len() > MOST {
            return Ok(());
        }
        let directory = self.0.join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(ObjectName::of(ObjectKind::Value, seed).to_string()), seed)
    }

    /// An object, or another file of ours.
    fn file(&self, content: &[u8]) -> io::Result<()> {
        let body = |magic: &[u8]| content.strip_prefix(magic).and_then(|rest| rest.get(FRAME_HEAD..));
        if let Some(rest) = content.strip_prefix(MAGIC) {
            self.add("thunk", rest)
        } else if let Some(body) = body(TREE) {
            self.add("tree", body)
        } else if let Some(body) = body(REDUCTION) {
            // The answer of a worker holds a reduction.
            self.add("worker_message", &[&[0x0a, content.len().min(127) as u8], content].concat())?;
            self.add("reduction", body)
        } else if content.starts_with(b"\x7fELF") {
            self.add("elf", content)
        } else if let Some(rest) = content.strip_prefix(b"#!".as_slice()) {
            self.add("elf", content)?;
            match rest.windows(2).position(|w| w == b"1\n") {
                Some(at) => self.add("placeholder", &rest[at + 2..]),
                None => Ok(()),
            }
        } else {
            if content.len() > MOST_TEXT {
                return Ok(());
            }
            self.add("linker_script", content)?;
            self.add("scanner", &[content, b"\0#pragma once\n#include <b.h>\n\0#define B 1\n"].concat())
        }
    }

    fn trace(&self, content: &[u8], path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let mut rest = content.strip_prefix(TRACE).ok_or("not a trace")?;
        let mut seed = Vec::new();
        while let Some((head, tail)) = rest.split_at_checked(FRAME_HEAD) {
            let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
            let Some((body, tail)) = tail.split_at_checked(length as usize) else { break };
            if let Ok(short) = u16::try_from(length) {
                seed.extend_from_slice(&short.to_le_bytes());
                seed.extend_from_slice(body);
            }
            rest = tail;
        }
        self.add("trace", &seed)?;
        for command in Trace::read(path)?.commands {
            let line = command.argv.iter().map(|a| a.as_bytes()).collect::<Vec<_>>();
            let strings =
                [&[command.program.as_os_str().as_bytes(), command.cwd.as_os_str().as_bytes()], &*line]
                    .concat();
            let mut request = vec![1, 0, line.len().min(255) as u8, 0];
            request.extend_from_slice(&strings.join(&0));
            request.push(0);
            self.add("wire_request", &request)?;
            self.add("compiler", &line.join(&b'\n'))?;
            self.add("response_file", &line.get(1..).unwrap_or_default().join(&b'\n'))?;
            self.add("binutils", &line.get(1..).unwrap_or_default().join(&b'\n'))?;
            if let Some(thunk) = command.thunk {
                self.add("object_name", thunk.to_string().as_bytes())?;
            }
        }
        Ok(())
    }
}

fn walk(
    directory: &Path,
    each: &mut dyn FnMut(&Path) -> Result<(), Box<dyn std::error::Error>>,
) -> Result<(), Box<dyn std::error::Error>> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, each)?;
        } else if fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() <= 1 << 20) {
            each(&path)?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [store, tree, corpus] = std::env::args_os()
        .skip(1)
        .map(PathBuf::from)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| "usage: seeds STORE TREE CORPUS")?;
    let corpus = Corpus(corpus);
    for part in ["blobs", "exec", "reductions"] {
        walk(&store.join(part), &mut |path| Ok(corpus.file(&fs::read(path)?)?))?;
    }
    walk(&tree, &mut |path| Ok(corpus.file(&fs::read(path)?)?))?;
    walk(&store.join("traces"), &mut |path| corpus.trace(&fs::read(path)?, path))
}
