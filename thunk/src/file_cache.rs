// SPDX-License-Identifier: Apache-2.0
//! What files hash to, for as long as device, inode, size, mtime and ctime stay the same. On disk it is a list of
//! fixed-size records that processes append to, each in one write; a torn or flipped record is passed over.

use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::digest::check_bytes;
use crate::name::{ObjectKind, ObjectName};

/// What tells whether a file is still the one that was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of last change of the content, in nanoseconds.
    pub mtime: i64,
    /// Time of last change of the inode, in nanoseconds.
    pub ctime: i64,
}

impl FileId {
    /// The identity of a file as `stat` tells it.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        let nanos = |s: i64, n: i64| s.wrapping_mul(1_000_000_000).wrapping_add(n);
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

const RECORD: usize = 80;
/// A clock tick: a file changed less than this ago could be changed again without a new ctime.
const TICK_NS: i64 = 20_000_000;
/// Records beyond which the list is started anew.
const MANY: usize = 1 << 20;

/// The cache. Losing it costs time only, so it never fails: without a file it remembers for this process.
#[derive(Debug)]
pub struct FileCache {
    known: Mutex<HashMap<FileId, [u8; 32]>>,
    log: Mutex<Log>,
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: Option<File>,
    pending: Vec<u8>,
}

impl FileCache {
    /// Reads the cache at `path`, if there is one.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        let mut known = HashMap::new();
        if let Ok(content) = std::fs::read(path) {
            if content.len() / RECORD > MANY {
                let _ = std::fs::remove_file(path);
            }
            known.reserve(content.len() / RECORD);
            for record in content.chunks_exact(RECORD) {
                if let Some((id, digest)) = decode(record) {
                    known.insert(id, digest);
                }
            }
        }
        let log = Log { path: path.into(), file: None, pending: Vec::new() };
        Self { known: Mutex::new(known), log: Mutex::new(log) }
    }

    /// What the file with this identity hashes to, if it is known.
    #[must_use]
    pub fn get(&self, id: &FileId) -> Option<ObjectName> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id).map(|digest| ObjectName::new(ObjectKind::Value, *digest, id.size))
    }

    /// Remembers what a file hashes to, unless it changed so lately that a further change could go unnoticed.
    pub fn put(&self, id: &FileId, name: &ObjectName) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64);
        if now - id.ctime.max(id.mtime) < TICK_NS || name.size() != id.size {
            return;
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(*id, *name.digest());
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.pending.extend_from_slice(&encode(id, name.digest()));
        if log.pending.len() >= 256 * RECORD {
            log.flush();
        }
    }

    /// Writes what is not on disk yet.
    pub fn flush(&self) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }
}

impl Drop for FileCache {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Log {
    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        if self.file.is_none() {
            self.file = OpenOptions::new().append(true).create(true).open(&self.path).ok();
        }
        if let Some(file) = &mut self.file {
            // One write to a file opened for appending: records of several processes do not mix.
            let _ = file.write(&self.pending);
        }
        self.pending.clear();
    }
}

fn encode(id: &FileId, digest: &[u8; 32]) -> [u8; RECORD] {
    let mut record = [0u8; RECORD];
    record[0..8].copy_from_slice(&id.dev.to_le_bytes());
    record[8..16].copy_from_slice(&id.ino.to_le_bytes());
    record[16..24].copy_from_slice(&id.size.to_le_bytes());
    record[24..32].copy_from_slice(&id.mtime.to_le_bytes());
    record[32..40].copy_from_slice(&id.ctime.to_le_bytes());
    record[40..72].copy_from_slice(digest);
    let check = check_bytes(&record[..72]);
    record[72..76].copy_from_slice(&check);
    record
}

fn decode(record: &[u8]) -> Option<(FileId, [u8; 32])> {
    if check_bytes(&record[..72]) != record[72..76] {
        return None;
    }
    let word = |at: usize| record[at..at + 8].try_into().map(u64::from_le_bytes).ok();
    let id = FileId {
        dev: word(0)?,
        ino: word(8)?,
        size: word(16)?,
        mtime: word(24)? as i64,
        ctime: word(32)? as i64,
    };
    Some((id, record[40..72].try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_remembered_across_processes_and_damage_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("files");
        let id = |ino| FileId { dev: 1, ino, size: 3, mtime: 5, ctime: 6 };
        let name = ObjectName::of(ObjectKind::Value, b"abc");
        {
            let cache = FileCache::open(&path);
            cache.put(&id(1), &name);
            cache.put(&id(2), &name);
        }
        let mut content = std::fs::read(&path).unwrap();
        content[RECORD + 9] ^= 1;
        std::fs::write(&path, &content).unwrap();
        let cache = FileCache::open(&path);
        assert_eq!(cache.get(&id(1)), Some(name));
        assert_eq!(cache.get(&id(2)), None);
        assert_eq!(cache.get(&FileId { mtime: 7, ..id(1) }), None);
    }

    #[test]
    fn a_file_that_changed_just_now_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "abc").unwrap();
        let id = FileId::of(&std::fs::metadata(&path).unwrap());
        let cache = FileCache::open(&dir.path().join("files"));
        cache.put(&id, &ObjectName::of(ObjectKind::Value, b"abc"));
        assert_eq!(cache.get(&id), None);
    }
}
