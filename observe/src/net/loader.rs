// SPDX-License-Identifier: Apache-2.0
//! What the dynamic loader looks for in each program that it starts, by names that are constants of its own: ld.so(8) has
//! `/etc/ld.so.preload` and `/etc/ld.so.cache`. The kernel need not ask about these: that they are looked for is known once such a program is
//! executed. Two questions of some five that a small program is asked before its first instruction.
//!
//! Whose loader is another one, or is made of other instructions, is asked as ever. Told too much is who finds all its libraries without the
//! cache: it counts as having read that.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::OnceLock;

use memchr::memmem;

use super::constant::{Asked, Constant};
use super::maps::{Mapping, mapping_at, mappings};
use crate::arch;
use crate::handle::{Open, Request};

/// The loader of this process, which is that of most.
#[derive(Debug)]
pub(crate) struct Loader {
    file: fs::Metadata,
    content: Vec<u8>,
    /// Where in it code and constants are.
    constant: Vec<Range<usize>>,
    looks: Vec<Look>,
}

/// What it looks for.
#[derive(Debug)]
struct Look {
    name: &'static str,
    kind: Kind,
    /// Where in it.
    constants: Vec<Constant>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Whether it may be read.
    Access,
    Open,
}

/// No copy of it is longer than its code by that.
const MUCH: u64 = 16 << 20;

/// All that it looks for so, in this order.
const NAMES: [(&str, Kind); 2] = [("/etc/ld.so.preload", Kind::Access), ("/etc/ld.so.cache", Kind::Open)];

impl Kind {
    const fn asked(self) -> Asked {
        match self {
            Self::Access => Asked { number: arch::ACCESS, path: 0, given: None },
            Self::Open => Asked { number: arch::OPEN_AT, path: 1, given: None },
        }
    }
}

/// The one that is known. Found out once; none where that cannot be done.
pub(crate) fn known() -> Option<&'static Loader> {
    static KNOWN: OnceLock<Option<Loader>> = OnceLock::new();
    // What is not known costs time, and nothing else.
    KNOWN.get_or_init(|| find().ok().flatten()).as_ref()
}

impl Loader {
    /// The calls that need not be asked about.
    pub(super) fn constants(&self) -> impl Iterator<Item = Constant> {
        self.looks.iter().flat_map(|look| look.constants.iter().copied())
    }

    /// Is this file the same?
    pub(crate) fn is(&self, file: &File) -> bool {
        let Ok(other) = file.metadata() else { return false };
        if (other.dev(), other.ino()) == (self.file.dev(), self.file.ino()) {
            return true;
        }
        // A copy of its code makes the same calls, whatever else is in the file.
        let end = self.constant.iter().map(|part| part.end as u64).max().unwrap_or(u64::MAX);
        let is_same =
            |part: &Range<usize>| self.content.get(part.clone()).is_some_and(|own| holds(file, part, own));
        (end..end + MUCH).contains(&other.len()) && self.constant.iter().all(is_same)
    }

    /// What it asks for in a process that nobody is asked about.
    pub(crate) fn requests(&self) -> impl Iterator<Item = Request> {
        let unasked = self.looks.iter().filter(|look| !look.constants.is_empty());
        unasked.map(|look| {
            let path = PathBuf::from(look.name);
            match look.kind {
                Kind::Access => Request::LookUp { path, follow: true, mode: Some(libc::R_OK) },
                Kind::Open => {
                    Request::Open(Open { path, flags: libc::O_RDONLY | libc::O_CLOEXEC, created: false })
                }
            }
        })
    }
}

/// Is this what stands there in a file? Nearly all are others from the first bytes on.
fn holds(file: &File, part: &Range<usize>, content: &[u8]) -> bool {
    let mut read = [0; 4096];
    content.chunks(read.len()).zip((part.start as u64..).step_by(read.len())).all(|(chunk, at)| {
        let read = &mut read[..chunk.len()];
        file.read_exact_at(read, at).is_ok() && read == chunk
    })
}

fn find() -> io::Result<Option<Loader>> {
    // SAFETY: takes a number.
    let base = unsafe { libc::getauxval(libc::AT_BASE) };
    let maps = fs::read_to_string("/proc/self/maps")?;
    // A static program has none.
    let Some(Mapping { file: path, .. }) = mapping_at(&maps, base) else { return Ok(None) };
    let mut file = File::open(path)?;
    let parts: Vec<_> = mappings(&maps).filter(|mapping| mapping.file == path).collect();
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    let looks = NAMES.map(|(name, kind)| {
        let calls: Vec<_> = parts
            .iter()
            .filter(|part| part.is_code())
            .flat_map(|part| {
                arch::calls(within(&content, part), kind.asked().number)
                    .map(|at| part.addresses.start + at as u64)
            })
            .collect();
        let string = [name.as_bytes(), b"\0"].concat();
        let strings = parts.iter().filter(|part| part.is_constant()).flat_map(|part| {
            memmem::find_iter(within(&content, part), &string)
                .map(|at| part.addresses.start + at as u64)
                .collect::<Vec<_>>()
        });
        let constants = strings
            .flat_map(|string| calls.iter().map(move |&call| Constant::new(kind.asked(), call, string)))
            .collect();
        Look { name, kind, constants }
    });
    let constant = parts.iter().filter(|part| part.is_constant()).map(|part| {
        let start = part.offset as usize;
        start..(start + (part.addresses.end - part.addresses.start) as usize).min(content.len())
    });
    Ok(Some(Loader { file: file.metadata()?, constant: constant.collect(), content, looks: looks.into() }))
}

/// What of a file is in this part.
fn within<'a>(content: &'a [u8], part: &Mapping<'_>) -> &'a [u8] {
    let length = (part.addresses.end - part.addresses.start) as usize;
    let content = content.get(part.offset as usize..).unwrap_or_default();
    &content[..length.min(content.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_of_this_machine_is_known_also_by_a_copy() {
        // There are C libraries that do without.
        let Some(loader) = known() else { return };
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        // SAFETY: takes a number.
        let path = mapping_at(&maps, unsafe { libc::getauxval(libc::AT_BASE) }).unwrap().file.to_owned();
        assert!(loader.is(&File::open(&path).unwrap()));
        if path.contains("ld-linux") {
            assert!(loader.looks.iter().all(|look| !look.constants.is_empty()), "{:?}", loader.looks);
        }
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("ld.so");
        fs::copy(&path, &copy).unwrap();
        assert!(loader.is(&File::open(&copy).unwrap()));
        let mut other = loader.content.clone();
        other.push(0);
        fs::write(&copy, &other).unwrap();
        assert!(loader.is(&File::open(&copy).unwrap()), "it has the same code");
        let code = loader.constant.iter().max_by_key(|part| part.len()).unwrap().start;
        other[code + 100] ^= 1;
        fs::remove_file(&copy).unwrap();
        fs::write(&copy, other).unwrap();
        assert!(!loader.is(&File::open(&copy).unwrap()));
        assert!(!loader.is(&File::open("/proc/self/exe").unwrap()));
    }
}
