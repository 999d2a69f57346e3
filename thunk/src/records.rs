// SPDX-License-Identifier: Apache-2.0
//! A list of records of one size in a file that several processes append to, for what can be computed again: it never
//! fails, it forgets. Each record has check bytes. What was written only in part (a full disk, a killed process) is cut off by
//! the next that appends, so that records after it are found at their places. Does not know what the records mean.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::digest::check_bytes;
use crate::lock::locked;

const CHECK: usize = 4;
/// Records beyond which the list is started anew.
const MANY: usize = 1 << 20;

/// A list of records of `N` bytes.
#[derive(Debug)]
pub struct RecordFile<const N: usize> {
    path: PathBuf,
    file: Option<File>,
}

impl<const N: usize> RecordFile<N> {
    const STRIDE: usize = N + CHECK;

    /// The list at `path`, if there is one, and its records in the order in which they were appended; damaged ones are passed over.
    #[must_use]
    pub fn open(path: &Path) -> (Self, Vec<[u8; N]>) {
        let content = std::fs::read(path).unwrap_or_default();
        let stored = content.chunks_exact(Self::STRIDE);
        let count = stored.len();
        let records: Vec<[u8; N]> = stored.filter_map(checked).collect();
        // Too long, or something else altogether.
        if count > MANY || (count > 0 && records.is_empty()) {
            let _ = std::fs::remove_file(path);
        }
        (Self { path: path.into(), file: None }, records)
    }

    /// Appends records. Where that is not possible they are lost.
    pub fn append(&mut self, records: &[[u8; N]]) {
        if records.is_empty() {
            return;
        }
        if self.file.is_none() {
            self.file = OpenOptions::new().append(true).create(true).open(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return };
        let mut bytes = Vec::with_capacity(records.len() * Self::STRIDE);
        for record in records {
            bytes.extend_from_slice(record);
            bytes.extend_from_slice(&check_bytes(record));
        }
        let _ = locked(file, |file| append_whole(file, &bytes, Self::STRIDE as u64));
    }
}

/// What stands after the last whole record goes; what cannot be written whole is not written.
fn append_whole(file: &mut File, bytes: &[u8], stride: u64) -> io::Result<()> {
    let length = file.metadata()?.len();
    let whole = length - length % stride;
    if whole != length {
        file.set_len(whole)?;
    }
    let written = file.write_all(bytes);
    if written.is_err() {
        file.set_len(whole)?;
    }
    written
}

fn checked<const N: usize>(stored: &[u8]) -> Option<[u8; N]> {
    let (record, check) = stored.split_at_checked(N)?;
    if check_bytes(record) == check { record.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRIDE: u64 = 16 + CHECK as u64;

    fn records(path: &Path) -> Vec<u8> {
        RecordFile::<16>::open(path).1.iter().map(|record| record[0]).collect()
    }

    fn append(path: &Path, bytes: &[u8]) {
        let records: Vec<[u8; 16]> = bytes.iter().map(|byte| [*byte; 16]).collect();
        RecordFile::open(path).0.append(&records);
    }

    #[test]
    fn damage_costs_the_damaged_record_and_a_torn_one_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        append(&path, &[1, 2, 3]);
        append(&path, &[4]);
        assert_eq!(records(&path), [1, 2, 3, 4]);
        let mut content = std::fs::read(&path).unwrap();
        content[STRIDE as usize + 3] ^= 1;
        for torn in 1..STRIDE {
            let end = content.len() - torn as usize;
            std::fs::write(&path, &content[..end]).unwrap();
            assert_eq!(records(&path), [1, 3]);
            append(&path, &[5, 6]);
            assert_eq!(records(&path), [1, 3, 5, 6], "{torn} bytes were missing");
        }
    }

    #[test]
    fn what_is_no_list_is_started_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        std::fs::write(&path, [7; 1000]).unwrap();
        assert_eq!(records(&path), [0; 0]);
        append(&path, &[1]);
        assert_eq!(records(&path), [1]);
        // A place that cannot be written to disturbs nobody.
        append(Path::new("/proc/no/list"), &[1]);
    }

    #[test]
    fn several_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        std::thread::scope(|scope| {
            for byte in 1..=8 {
                let path = &path;
                scope.spawn(move || (0..50).for_each(|_| append(path, &[byte; 3])));
            }
        });
        let found = records(&path);
        assert_eq!((found.len(), found.iter().filter(|b| **b == 8).count()), (1200, 150));
    }

    #[test]
    fn a_record_that_does_not_fit_on_the_disk_is_not_written_in_part() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        append(&path, &[1]);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&[9; 7]).unwrap();
        // A file that can be cut but not written: what is there stays whole.
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        assert!(append_whole(&mut { full }, &[1; 20], STRIDE).is_err());
        append_whole(&mut file, &[], STRIDE).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), STRIDE);
    }
}
