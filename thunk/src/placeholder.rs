// SPDX-License-Identifier: Apache-2.0
//! Placeholders: what stands at an output's path until its thunk is forced. Every line starts with `#`, so that one is
//! an empty makefile; the first names an interpreter, so that executing one forces it and runs the result.
//!
//! ```text
//! #!/opt/gg/bin/gg force-and-run
//! # gg-placeholder 1
//! # output T…#/encoded/path/of/the/output
//! # store /encoded/path/of/the/store
//! ##########… padding: the size modulo 1024 is 1013, by which the interceptor knows it from fstat
//! ```

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::file_cache::TICK;
use crate::name::ObjectName;
use crate::path::{decode_path, encode_path};

/// One output of a thunk; without a path, its first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutputRef {
    /// The thunk.
    pub thunk: ObjectName,
    /// Which of its outputs.
    pub output: Option<PathBuf>,
}

/// The content of a placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholder {
    /// What it stands for.
    pub output: OutputRef,
    /// The store that holds the thunk.
    pub store: PathBuf,
}

/// `size % BLOCK == REST` for every placeholder; the interceptor's `wire` crate says the same, and a test of the
/// tracer (`defer`) holds the two together.
const BLOCK: usize = 1024;
/// See [`BLOCK`].
const REST: usize = 1013;
/// No placeholder is larger.
pub const MAX: usize = 16 * 1024;
const MARK: &str = "\n# gg-placeholder 1\n";
/// The kernel reads no more of a `#!` line.
const SHEBANG_MAX: usize = 255;

impl Placeholder {
    /// The file's content. `interpreter` is the absolute path of the `gg` program.
    ///
    /// # Errors
    /// The paths are too long for a placeholder.
    pub fn encode(&self, interpreter: &Path) -> Result<Vec<u8>> {
        let mut out = b"#!".to_vec();
        let path = interpreter.as_os_str().as_bytes();
        // White space or a long path would not survive the kernel's reading of the line.
        if path.len() + 20 < SHEBANG_MAX && !path.iter().any(u8::is_ascii_whitespace) {
            out.extend_from_slice(path);
            out.extend_from_slice(b" force-and-run");
        } else {
            out.extend_from_slice(b"/usr/bin/env -S gg force-and-run");
        }
        out.extend_from_slice(MARK.as_bytes());
        out.extend_from_slice(
            format!("# output {}\n# store {}\n", self.output, encode_path(&self.store)).as_bytes(),
        );
        while out.len() % BLOCK != REST - 1 {
            out.push(b'#');
        }
        out.push(b'\n');
        if out.len() >= MAX {
            return Err(Error::malformed(
                self.store.display().to_string(),
                "placeholder",
                "the paths of store and output are too long",
            ));
        }
        Ok(out)
    }

    /// Parses a placeholder's content; `None` if it is something else.
    ///
    /// # Errors
    /// It is marked as a placeholder but is not whole.
    pub fn decode(subject: &Path, content: &[u8]) -> Result<Option<Self>> {
        if !content.starts_with(b"#!") {
            return Ok(None);
        }
        let Some(newline) = content.iter().position(|&b| b == b'\n') else { return Ok(None) };
        let (first, rest) = content.split_at(newline);
        let bad = |why: &str| Error::malformed(subject.display().to_string(), "placeholder", why);
        let Some(rest) = rest.strip_prefix(MARK.as_bytes()) else {
            // Cut off within the mark; no other script ends with its first line.
            if first.ends_with(b" force-and-run") && MARK.as_bytes().starts_with(rest) {
                return Err(bad("it was cut; remove the file and record the build again"));
            }
            return Ok(None);
        };
        if content.len() % BLOCK != REST || content.len() >= MAX || content.last() != Some(&b'\n') {
            return Err(bad(
                "its size is wrong: it was cut or appended to; remove the file and record the build again",
            ));
        }
        let mut lines = rest.split(|&b| b == b'\n');
        let output =
            lines.next().and_then(|l| l.strip_prefix(b"# output ")).and_then(OutputRef::parse).ok_or_else(
                || bad("it names no output of a thunk; remove the file and record the build again"),
            )?;
        let store = lines
            .next()
            .and_then(|l| l.strip_prefix(b"# store "))
            .and_then(decode_path)
            .filter(|p| p.is_absolute())
            .ok_or_else(|| bad("it names no store; remove the file and record the build again"))?;
        Ok(Some(Self { output, store }))
    }

    /// Reads the placeholder at `path`; `None` where something else stands, or nothing.
    ///
    /// # Errors
    /// The file cannot be read, or is a damaged placeholder.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let standing = Standing::by(path, |path, _| File::open(path).map(Some))?;
        Ok(standing.map(|standing| standing.placeholder))
    }

    /// The same for who is to replace it. Builds make files that their owner must not read (`install -m 4711`), which hinders nobody
    /// from replacing them; what is no placeholder need not be readable.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_to_replace(path: &Path) -> Result<Option<Self>> {
        Ok(Standing::at(path)?.map(|standing| standing.placeholder))
    }
}

/// A placeholder that stands somewhere, held open: no other file can have its inode.
#[derive(Debug)]
pub struct Standing {
    /// What it says.
    pub placeholder: Placeholder,
    /// What it looked like when it had been read.
    pub metadata: Metadata,
    /// It had not been written to for long enough then that a change since would show in its mtime.
    is_settled: bool,
    _open: File,
}

impl Standing {
    /// The placeholder at `path`, as [`Placeholder::read_to_replace`] finds it.
    ///
    /// # Errors
    /// As [`Placeholder::read`].
    pub fn at(path: &Path) -> Result<Option<Self>> {
        Self::by(path, |path, metadata| match File::open(path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                has_size_of_one(metadata).then(|| open_unreadable(path, metadata)).transpose()
            }
            result => result.map(Some),
        })
    }

    /// Is a file that looks like this now the same placeholder, certainly unchanged?
    #[must_use]
    pub fn is(&self, now: &Metadata) -> bool {
        let seen = |metadata: &Metadata| {
            (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
        };
        self.is_settled && seen(now) == seen(&self.metadata)
    }

    /// `open`: the file, unless it need not be looked into.
    fn by(path: &Path, open: impl Fn(&Path, &Metadata) -> io::Result<Option<File>>) -> Result<Option<Self>> {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == ErrorKind::NotADirectory => return Ok(None),
            Err(e) => return Err(Error::io("look at", path)(e)),
        };
        let metadata = if metadata.is_symlink() {
            match fs::metadata(path) {
                Ok(target) => target,
                Err(_) => return Ok(None),
            }
        } else {
            metadata
        };
        if !metadata.is_file() || metadata.len() >= MAX as u64 {
            return Ok(None);
        }
        let mut content = Vec::with_capacity(metadata.len() as usize);
        let Some(mut file) = open(path, &metadata).map_err(Error::io("read", path))? else {
            return Ok(None);
        };
        if !has_size_of_one(&metadata) {
            // Not the size of one: only a damaged placeholder would still be marked as one.
            let mut head = [0u8; 2];
            if file.read_exact(&mut head).is_err() || head != *b"#!" {
                return Ok(None);
            }
            content.extend_from_slice(&head);
        }
        (&mut file).take(MAX as u64).read_to_end(&mut content).map_err(Error::io("read", path))?;
        let Some(placeholder) = Placeholder::decode(path, &content)? else { return Ok(None) };
        // That of the file that was read, whatever has come to its path since.
        let metadata = file.metadata().map_err(Error::io("look at", path))?;
        let since = metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
        let is_settled = since.is_some_and(|since| since > TICK);
        Ok(Some(Self { placeholder, metadata, is_settled, _open: file }))
    }
}

fn has_size_of_one(metadata: &Metadata) -> bool {
    metadata.len() % BLOCK as u64 == REST as u64
}

/// Opens a file that its owner must not read, who may for a moment.
fn open_unreadable(path: &Path, metadata: &Metadata) -> io::Result<File> {
    let mode = metadata.mode() & 0o7777;
    let readable = mode | 0o400;
    fs::set_permissions(path, Permissions::from_mode(readable))?;
    let opened = File::open(path);
    // Unless somebody has changed it meanwhile.
    if fs::metadata(path)?.mode() & 0o7777 == readable {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    opened
}

/// Where placeholders of this store stand below `directory`, as far as it can be read, on its file system.
pub(crate) fn below(directory: &Path, store: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(device) = fs::metadata(directory).map(|metadata| metadata.dev()) else { return found };
    let mut pending = vec![directory.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            // Links are not followed.
            let Ok(metadata) = entry.metadata() else { continue };
            let path = entry.path();
            if metadata.is_dir() && metadata.dev() == device && path != store {
                pending.push(path);
            } else if metadata.is_file()
                && has_size_of_one(&metadata)
                && Placeholder::read_to_replace(&path)
                    .is_ok_and(|read| read.is_some_and(|p| p.store == store))
            {
                found.push(path);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::name::ObjectKind;

    fn sample(output: &str) -> Placeholder {
        Placeholder {
            output: OutputRef { thunk: ObjectName::of(ObjectKind::Thunk, b"t"), output: Some(output.into()) },
            store: "/home/user/.cache/gg".into(),
        }
    }

    #[test]
    fn a_placeholder_is_an_empty_makefile_of_the_agreed_size() {
        for len in [1, 300, 900, 3000] {
            let placeholder = sample(&format!("/{}", "d/".repeat(len) + "x y=z#.o"));
            let text = placeholder.encode(Path::new("/usr/bin/gg")).unwrap();
            assert_eq!(text.len() % BLOCK, REST);
            assert!(text.split(|&b| b == b'\n').all(|l| l.is_empty() || l[0] == b'#'));
            assert_eq!(Placeholder::decode(Path::new("p"), &text).unwrap(), Some(placeholder));
        }
    }

    #[test]
    fn other_files_are_no_placeholders_and_damaged_ones_are_told() {
        let text = sample("/a.o").encode(Path::new("/usr/bin/gg")).unwrap();
        assert!(Placeholder::decode(Path::new("p"), b"#!/bin/sh\necho\n").unwrap().is_none());
        assert!(Placeholder::decode(Path::new("p"), b"").unwrap().is_none());
        let line = text.iter().position(|&b| b == b'\n').unwrap() + 1;
        for cut in [line, line + 1, line + 18, 500, text.len() - 1] {
            assert!(Placeholder::decode(Path::new("p"), &text[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Placeholder::decode(Path::new("p"), &text[..line - 1]).unwrap().is_none());
        let flipped = String::from_utf8(text).unwrap().replace("output T", "output V").into_bytes();
        assert!(Placeholder::decode(Path::new("p"), &flipped).is_err());
    }

    #[test]
    fn a_placeholder_is_known_again_unless_it_may_have_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.o");
        let write = |output: &str, age: u64| {
            fs::write(&path, sample(output).encode(Path::new("/usr/bin/gg")).unwrap()).unwrap();
            let modified = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
            File::open(&path).unwrap().set_modified(modified).unwrap();
        };
        let at = |path: &Path| Standing::at(path).unwrap().unwrap();
        write("/a.o", 1);
        let standing = at(&path);
        let moved = dir.path().join("b.o");
        fs::rename(&path, &moved).unwrap();
        assert!(standing.is(&fs::metadata(&moved).unwrap()));
        write("/b.o", 1);
        assert!(!standing.is(&fs::metadata(&path).unwrap()), "another file");
        let standing = at(&path);
        write("/c.o", 2);
        assert!(!standing.is(&fs::metadata(&path).unwrap()), "written to");
        // The next write could come within the same tick of the clock.
        write("/a.o", 0);
        assert!(!at(&path).is(&fs::metadata(&path).unwrap()));
    }

    #[test]
    fn an_interpreter_with_a_blank_in_its_path_is_found_through_env() {
        let text = sample("/a.o").encode(Path::new("/home/a b/gg")).unwrap();
        assert!(text.starts_with(b"#!/usr/bin/env -S gg force-and-run\n"));
    }

    proptest! {
        #[test]
        fn decoding_never_panics(at in 0usize..1013, bit in 0u8..8, cut in 0usize..1013) {
            let mut text = sample("/a.o").encode(Path::new("/usr/bin/gg")).unwrap();
            text[at] ^= 1 << bit;
            let _ = Placeholder::decode(Path::new("p"), &text);
            text.truncate(cut);
            let _ = Placeholder::decode(Path::new("p"), &text);
        }
    }
}
