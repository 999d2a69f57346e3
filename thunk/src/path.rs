// SPDX-License-Identifier: Apache-2.0
//! Paths inside objects. Objects come from other people: a path that could lead elsewhere than it says is refused
//! where it is decoded, so that nobody after has to think of it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Longest path that is accepted, in bytes (`PATH_MAX`).
const MAX: usize = 4096;

/// Is this an absolute path without `.`, `..`, empty components, NUL, or a trailing slash? (`/` itself is one.)
pub(crate) fn is_clean_absolute(bytes: &[u8]) -> bool {
    bytes == b"/" || (bytes.first() == Some(&b'/') && is_clean_relative(&bytes[1..]))
}

/// Is this a relative path that stays below its start?
pub(crate) fn is_clean_relative(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.len() < MAX
        && !bytes.contains(&0)
        && bytes.split(|&b| b == b'/').all(|c| !c.is_empty() && c != b"." && c != b".." && c.len() <= 255)
}

pub(crate) fn to_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// The path with the links of its directory resolved: where an entry of this name is, or would be made.
///
/// # Errors
/// There is no such directory, or the path names no entry of one.
pub fn real_place(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(std::fs::canonicalize(parent)?.join(name)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Is the path this directory, or below it? As bytes: paths are compared by the million.
#[must_use]
pub fn is_below(path: &Path, directory: &Path) -> bool {
    let rest = path.as_os_str().as_bytes().strip_prefix(directory.as_os_str().as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Does the kernel, or who has set the system up, make up what is there, so that no sandbox has it from a thunk?
#[must_use]
pub fn is_made_up(path: &Path) -> bool {
    ["/proc", "/sys", "/dev"].iter().any(|top| is_below(path, Path::new(top)))
}

/// Is it made up, and no content that could be kept? What processes put into `/dev/shm` is one, as in any other directory.
#[must_use]
pub fn has_no_content(path: &Path) -> bool {
    is_made_up(path) && !is_below(path, Path::new("/dev/shm"))
}

/// Writes a path so that it holds neither `=`, `#`, `%`, white space nor control bytes: these become `%XX`. For
/// `THASH#output=path` items and for placeholders.
#[must_use]
pub fn encode_path(path: &Path) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'=' | b'#' | b'%') {
            text.push(byte as char);
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The inverse of [`encode_path`].
#[must_use]
pub fn decode_path(text: &[u8]) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            if digits.bytes().any(|b| !b.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    Some(to_path(&bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_paths_are_not_clean() {
        for bad in ["", "a", "/a/../b", "/..", "/a//b", "/a/", "/./a", "/a\0b"] {
            assert!(!is_clean_absolute(bad.as_bytes()), "{bad:?}");
        }
        for bad in ["", "/a", "..", "../a", "a/..", "a//b", "a/"] {
            assert!(!is_clean_relative(bad.as_bytes()), "{bad:?}");
        }
        assert!(is_clean_absolute(b"/") && is_clean_absolute(b"/a/b.c") && is_clean_relative(b"a/..b"));
        assert!(!is_clean_absolute(&[b"/".as_slice(), &[b'x'; 256]].concat()));
    }

    proptest! {
        #[test]
        fn encoding_is_reversible(bytes in proptest::collection::vec(1u8.., 0..64)) {
            let path = to_path(&bytes);
            let text = encode_path(&path);
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic() && b != b'=' && b != b'#'));
            prop_assert_eq!(decode_path(text.as_bytes()), Some(path));
        }

        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_path(&bytes);
        }
    }
}
