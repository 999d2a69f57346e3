// SPDX-License-Identifier: Apache-2.0
//! What a tool touched when it was observed, so that what came of it can be taken again: for as long as every file that it used is the
//! same, every path that it looked for in vain still leads nowhere, and every directory that it listed has the same names. Knows
//! nothing of what came of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use models::scanner::Stamp;
use observe::{Touches, Use};
use thunk::{FileId, ObjectKind, ObjectName};

/// What nobody does who only does a job, unless it is gone again.
const LEAVES: [Use; 3] = [Use::Written, Use::Created, Use::MovedHere];

/// What a tool touched outside of the directory in which it was run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// What was there.
    pub found: BTreeSet<PathBuf>,
    /// Directories of which the entries were read, as clang does to find the newest gcc.
    pub listed: BTreeSet<PathBuf>,
    /// What was not.
    pub missing: BTreeSet<PathBuf>,
}

/// Not files: what the kernel makes up, and what a sandbox brings itself.
fn is_virtual(path: &Path) -> bool {
    ["/proc", "/dev", "/sys", "/run"].iter().any(|p| path.starts_with(p)) || path == Path::new("/tmp")
}

/// How a file is recognised again. Of directories only the existence counts, unless they were listed: then their times tell
/// whether a name has come or gone.
fn identity(path: &Path, is_listed: bool) -> Option<String> {
    let metadata = std::fs::metadata(path).ok()?;
    if metadata.is_dir() && !is_listed {
        return Some("d".into());
    }
    let id = FileId::of(&metadata);
    Some(format!("{}.{}.{}.{}.{}", id.dev, id.ino, id.size, id.mtime, id.ctime))
}

impl Touched {
    /// What a tool did that was run in this directory.
    ///
    /// # Errors
    /// It has left something elsewhere.
    pub fn of(touches: &Touches, directory: &Path) -> Result<Self, PathBuf> {
        let mut touched = Self::default();
        for (path, touch) in touches.iter() {
            // Nor what is above: the session's directory has another name every time, and what comes of it would as well.
            if path.starts_with(directory) || directory.starts_with(path) || is_virtual(path) {
                continue;
            }
            let is_changed = !touch.special && LEAVES.iter().any(|change| touch.has(*change));
            if is_changed && path.symlink_metadata().is_ok() {
                return Err(path.to_path_buf());
            }
            if touch.has(Use::Missing) && touch.existed == Some(false) {
                touched.missing.insert(path.to_path_buf());
            } else if touch.existed != Some(false) && !touch.special {
                touched.found.insert(path.to_path_buf());
                if touch.has(Use::Listed) {
                    touched.listed.insert(path.to_path_buf());
                }
            }
        }
        Ok(touched)
    }

    /// Is all that it found as it was before `start`, as far as times tell? If not, what a tool said that was started then may be of
    /// something else than what is there now.
    pub fn is_older_than(&self, start: SystemTime) -> bool {
        self.found.iter().all(|path| {
            let Ok(metadata) = std::fs::metadata(path) else { return false };
            let FileId { mtime, ctime, .. } = FileId::of(&metadata);
            (metadata.is_dir() && !self.listed.contains(path))
                || Stamp { mtime, ctime, ..Stamp::default() }.settled(start)
        })
    }

    /// One line per path: how it is recognised (`-`: it is missing; `/` before it: it was listed), a blank, the path with `%XX`
    /// escapes.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = String::new();
        for path in &self.found {
            let is_listed = self.listed.contains(path);
            if let Some(identity) = identity(path, is_listed) {
                let mark = if is_listed { "/" } else { "" };
                let _ = writeln!(text, "{mark}{identity} {}", thunk::encode_path(path));
            }
        }
        for path in &self.missing {
            let _ = writeln!(text, "- {}", thunk::encode_path(path));
        }
        text.into_bytes()
    }

    /// The inverse of [`Touched::encode`]; `None` if what it says does not hold any more.
    pub fn decode(lines: &[u8]) -> Option<Self> {
        let mut touched = Self::default();
        for line in std::str::from_utf8(lines).ok()?.lines() {
            let (wanted, path) = line.split_once(' ')?;
            let path = thunk::decode_path(path.as_bytes())?;
            let listed = wanted.strip_prefix('/');
            if wanted == "-" {
                if path.exists() {
                    return None;
                }
                touched.missing.insert(path);
            } else if identity(&path, listed.is_some()).as_deref() == Some(listed.unwrap_or(wanted)) {
                if listed.is_some() {
                    touched.listed.insert(path.clone());
                }
                touched.found.insert(path);
            } else {
                return None;
            }
        }
        Some(touched)
    }
}

/// A record that shows damage: a line with its kind and its hash, and what it says.
pub fn sealed(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut record = format!("{kind} {}\n", ObjectName::of(ObjectKind::Value, body)).into_bytes();
    record.extend_from_slice(body);
    record
}

/// What a record says, if it is of this kind and whole.
pub fn unsealed<'a>(kind: &str, record: &'a [u8]) -> Option<&'a [u8]> {
    let end = record.iter().position(|&byte| byte == b'\n')?;
    let (head, body) = (std::str::from_utf8(&record[..end]).ok()?, &record[end + 1..]);
    let name: ObjectName = head.strip_prefix(kind)?.strip_prefix(' ')?.parse().ok()?;
    (name == ObjectName::of(ObjectKind::Value, body)).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_only_while_its_files_do() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tool");
        std::fs::write(&file, "1").unwrap();
        let touched = Touched {
            found: [file.clone(), dir.path().to_path_buf()].into(),
            missing: [dir.path().join("no such\nfile")].into(),
            ..Touched::default()
        };
        let lines = touched.encode();
        assert_eq!(Touched::decode(&lines), Some(touched));
        std::fs::write(dir.path().join("no such\nfile"), "").unwrap();
        assert_eq!(Touched::decode(&lines), None);
        std::fs::remove_file(dir.path().join("no such\nfile")).unwrap();
        assert!(Touched::decode(&lines).is_some());
        std::fs::write(&file, "22").unwrap();
        assert_eq!(Touched::decode(&lines), None);
    }

    #[test]
    fn of_a_directory_that_was_listed_the_names_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_path_buf();
        let touched = Touched { found: [path.clone()].into(), listed: [path].into(), ..Touched::default() };
        let lines = touched.encode();
        assert_eq!(Touched::decode(&lines), Some(touched));
        std::thread::sleep(std::time::Duration::from_millis(30));
        std::fs::write(dir.path().join("another"), "").unwrap();
        assert_eq!(Touched::decode(&lines), None);
    }

    #[test]
    fn damage_shows() {
        let record = sealed("gg-x 1", b"what\nit says\0");
        assert_eq!(unsealed("gg-x 1", &record), Some(b"what\nit says\0".as_slice()));
        assert_eq!(unsealed("gg-x 2", &record), None);
        for end in 0..record.len() {
            assert_eq!(unsealed("gg-x 1", &record[..end]), None);
        }
    }
}
