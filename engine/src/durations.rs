// SPDX-License-Identifier: Apache-2.0
//! How long commands took when they last ran, by where their main output stands: the ground for the order in which thunks
//! run. On disk a list that is appended to; losing it costs nothing but a worse order.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use thunk::{ObjectKind, ObjectName, RecordFile, Thunk};

/// The output's key and microseconds.
const RECORD: usize = 16;

/// The durations that are known.
pub struct Durations {
    file: RecordFile<RECORD>,
    known: HashMap<[u8; 8], u64>,
    new: Vec<[u8; RECORD]>,
}

impl Durations {
    /// Reads the list at `path`, if there is one.
    pub fn open(path: &Path) -> Self {
        let (file, records) = RecordFile::open(path);
        let mut known = HashMap::new();
        for record in records {
            let (mut key, mut us) = ([0; 8], [0; 8]);
            key.copy_from_slice(&record[..8]);
            us.copy_from_slice(&record[8..]);
            known.insert(key, u64::from_le_bytes(us));
        }
        Self { file, known, new: Vec::new() }
    }

    /// How long this thunk's command took when it last ran, with whatever inputs.
    pub fn get(&self, thunk: &Thunk) -> Option<Duration> {
        self.known.get(&key(thunk.outputs.first()?)).map(|us| Duration::from_micros(*us))
    }

    /// Remembers how long the command took whose main output this is.
    pub fn put(&mut self, output: &Path, wall: Duration) {
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(&key(output));
        record[8..].copy_from_slice(&(wall.as_micros() as u64).to_le_bytes());
        self.new.push(record);
    }
}

impl Drop for Durations {
    fn drop(&mut self) {
        self.file.append(&self.new);
    }
}

fn key(output: &Path) -> [u8; 8] {
    let name = ObjectName::of(ObjectKind::Value, output.as_os_str().as_bytes());
    let mut key = [0; 8];
    key.copy_from_slice(&name.digest()[..8]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_duration_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("durations");
        let thunk = Thunk { outputs: vec!["/w/a.o".into()], ..Thunk::default() };
        for ms in [5, 7] {
            let mut durations = Durations::open(&path);
            durations.put(&thunk.outputs[0], Duration::from_millis(ms));
        }
        let durations = Durations::open(&path);
        assert_eq!(durations.get(&thunk), Some(Duration::from_millis(7)));
        assert_eq!(durations.get(&Thunk { outputs: vec!["/w/b.o".into()], ..Thunk::default() }), None);
    }
}
