// SPDX-License-Identifier: Apache-2.0
//! What files hash to, for as long as device, inode, size, mtime and ctime stay the same. On disk it is a list that
//! processes append to.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foldhash::HashMap;

use crate::name::{ObjectKind, ObjectName};
use crate::records::RecordFile;

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

    /// How many bytes [`FileId::encode`] makes.
    pub const LENGTH: usize = 40;

    /// As bytes, for lists of files on disk.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let words = [self.dev, self.ino, self.size, self.mtime as u64, self.ctime as u64];
        let mut bytes = [0; Self::LENGTH];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The inverse of [`FileId::encode`].
    #[must_use]
    pub fn decode(bytes: &[u8; Self::LENGTH]) -> Self {
        let mut words = [0; Self::LENGTH / 8];
        for (word, place) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*place);
        }
        let [dev, ino, size, mtime, ctime] = words;
        Self { dev, ino, size, mtime: mtime as i64, ctime: ctime as i64 }
    }

    /// Was the last change long enough ago for the next one to get another time?
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64);
        now - self.ctime.max(self.mtime) >= TICK.as_nanos() as i64
    }
}

/// A file's identity and the SHA-256 of its content.
const RECORD: usize = FileId::LENGTH + 32;
/// As many records as are written at once.
const BATCH: usize = 256;
/// The longest tick of the clock that files are stamped with: what changed less than this ago could change again and have the same
/// times.
pub const TICK: Duration = Duration::from_millis(20);

/// The cache. Losing it costs time only, so it never fails: without a file it remembers for this process.
#[derive(Debug)]
pub struct FileCache {
    path: PathBuf,
    /// What was on disk is read when it is asked for first: not all who have a store ask.
    loaded: OnceLock<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    known: Mutex<HashMap<FileId, [u8; 32]>>,
    log: Mutex<Log>,
}

#[derive(Debug)]
struct Log {
    file: RecordFile<RECORD>,
    pending: Vec<[u8; RECORD]>,
}

impl FileCache {
    /// The cache at `path`, if there is one.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        Self { path: path.to_path_buf(), loaded: OnceLock::new() }
    }

    fn loaded(&self) -> &Loaded {
        self.loaded.get_or_init(|| {
            let (file, records) = RecordFile::open(&self.path);
            let known = records.iter().filter_map(decode).collect();
            Loaded { known: Mutex::new(known), log: Mutex::new(Log { file, pending: Vec::new() }) }
        })
    }

    /// What the file with this identity hashes to, if it is known.
    #[must_use]
    pub fn get(&self, id: &FileId) -> Option<ObjectName> {
        let known = self.loaded().known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id).map(|digest| ObjectName::new(ObjectKind::Value, *digest, id.size))
    }

    /// Remembers what a file hashes to, unless it changed so lately that a further change could go unnoticed.
    pub fn put(&self, id: &FileId, name: &ObjectName) {
        if !id.is_settled() || name.size() != id.size {
            return;
        }
        let Loaded { known, log } = self.loaded();
        known.lock().unwrap_or_else(PoisonError::into_inner).insert(*id, *name.digest());
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.pending.push(encode(id, name.digest()));
        if log.pending.len() >= BATCH {
            log.flush();
        }
    }

    /// Writes what is not on disk yet.
    pub fn flush(&self) {
        if let Some(Loaded { log, .. }) = self.loaded.get() {
            log.lock().unwrap_or_else(PoisonError::into_inner).flush();
        }
    }
}

impl Drop for FileCache {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Log {
    fn flush(&mut self) {
        self.file.append(&self.pending);
        self.pending.clear();
    }
}

fn encode(id: &FileId, digest: &[u8; 32]) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    let (first, rest) = record.split_at_mut(FileId::LENGTH);
    first.copy_from_slice(&id.encode());
    rest.copy_from_slice(digest);
    record
}

fn decode(record: &[u8; RECORD]) -> Option<(FileId, [u8; 32])> {
    let (id, digest) = record.split_first_chunk()?;
    Some((FileId::decode(id), digest.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_remembered_across_processes_and_damage_costs_what_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("files");
        let id = |ino| FileId { dev: 1, ino, size: 3, mtime: 5, ctime: 6 };
        let name = ObjectName::of(ObjectKind::Value, b"abc");
        {
            let cache = FileCache::open(&path);
            cache.put(&id(1), &name);
            cache.put(&id(2), &name);
        }
        // The second is written only in part.
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 5).unwrap();
        FileCache::open(&path).put(&id(3), &name);
        let cache = FileCache::open(&path);
        assert_eq!(cache.get(&id(1)), Some(name));
        assert_eq!((cache.get(&id(2)), cache.get(&id(3))), (None, Some(name)));
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
