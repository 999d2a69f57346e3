// SPDX-License-Identifier: Apache-2.0
//! How long commands took when they last ran, by where their main output stands: the ground for the order in which thunks
//! run. On disk a list of fixed-size records that is appended to; losing it costs nothing but a worse order.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thunk::{ObjectKind, ObjectName, Thunk};

const RECORD: usize = 16;
/// Records beyond which the list is started anew.
const MANY: usize = 1 << 20;

/// The durations that are known.
pub struct Durations {
    path: PathBuf,
    known: HashMap<[u8; 8], u64>,
    new: Vec<u8>,
}

impl Durations {
    /// Reads the list at `path`, if there is one.
    pub fn open(path: PathBuf) -> Self {
        let mut known = HashMap::new();
        let content = std::fs::read(&path).unwrap_or_default();
        for record in content.chunks_exact(RECORD) {
            if let (Ok(key), Ok(us)) = (record[..8].try_into(), record[8..].try_into()) {
                known.insert(key, u64::from_le_bytes(us));
            }
        }
        if content.len() / RECORD > MANY {
            let _ = std::fs::remove_file(&path);
        }
        Self { path, known, new: Vec::new() }
    }

    /// How long this thunk's command took when it last ran, with whatever inputs.
    pub fn get(&self, thunk: &Thunk) -> Option<Duration> {
        self.known.get(&key(thunk.outputs.first()?)).map(|us| Duration::from_micros(*us))
    }

    /// Remembers how long it took.
    pub fn put(&mut self, thunk: &Thunk, wall: Duration) {
        if let Some(output) = thunk.outputs.first() {
            self.new.extend_from_slice(&key(output));
            self.new.extend_from_slice(&(wall.as_micros() as u64).to_le_bytes());
        }
    }
}

impl Drop for Durations {
    fn drop(&mut self) {
        if !self.new.is_empty()
            && let Ok(mut file) = OpenOptions::new().append(true).create(true).open(&self.path)
        {
            // One write: records of several engines do not mix.
            let _ = file.write(&self.new);
        }
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
            let mut durations = Durations::open(path.clone());
            durations.put(&thunk, Duration::from_millis(ms));
        }
        let durations = Durations::open(path);
        assert_eq!(durations.get(&thunk), Some(Duration::from_millis(7)));
        assert_eq!(durations.get(&Thunk { outputs: vec!["/w/b.o".into()], ..Thunk::default() }), None);
    }
}
