// SPDX-License-Identifier: Apache-2.0
//! What is known to be in a storage, kept between runs so that it need not be asked again. It may be wrong: somebody may have
//! emptied the storage. Whoever finds something missing says so, and it is forgotten.

use std::collections::HashSet;

use storage::Key;
use thunk::{ObjectKind, ObjectName, RecordFile, Store};

/// What it is (an object, a fact, one that is no longer there), whether it is a thunk, its name.
const RECORD: usize = 2 + ObjectName::LENGTH;
const OBJECT: u8 = 0;
const FACT: u8 = 1;
const GONE: u8 = 2;

/// The list for one storage.
pub struct Remembered {
    keys: HashSet<Key>,
    file: Option<RecordFile<RECORD>>,
    new: Vec<[u8; RECORD]>,
}

impl Remembered {
    /// What is remembered of the storage of this URI.
    pub fn open(store: &Store, uri: &str) -> Self {
        let name = ObjectName::of(ObjectKind::Value, uri.as_bytes()).to_string();
        let path = store.cache_dir("storage").ok().map(|directory| directory.join(name));
        let (file, records) = path.map(|path| RecordFile::open(&path)).unzip();
        let mut keys = HashSet::new();
        for record in records.iter().flatten() {
            let (how, key) = decode(record);
            if how & GONE == 0 {
                keys.insert(key)
            } else {
                keys.remove(&key)
            };
        }
        Self { keys, file, new: Vec::new() }
    }

    /// Is it there?
    pub fn has(&self, key: &Key) -> bool {
        self.keys.contains(key)
    }

    /// It is there.
    pub fn add(&mut self, key: &Key) {
        if self.keys.insert(*key) {
            self.new.push(encode(0, key));
        }
    }

    /// It is not there. Tells whether it was remembered as being there.
    pub fn forget(&mut self, key: &Key) -> bool {
        let was = self.keys.remove(key);
        if was {
            self.new.push(encode(GONE, key));
        }
        was
    }

    /// Keeps it for the next run.
    pub fn flush(&mut self) {
        if let Some(file) = &mut self.file {
            file.append(&self.new);
        }
        self.new.clear();
    }
}

fn encode(gone: u8, key: &Key) -> [u8; RECORD] {
    let (how, name) = match key {
        Key::Object(name) => (OBJECT, name),
        Key::Fact(name) => (FACT, name),
    };
    let mut record = [0; RECORD];
    record[0] = how | gone;
    record[1] = u8::from(name.kind() == ObjectKind::Thunk);
    record[2..].copy_from_slice(&name.encode());
    record
}

fn decode(&[how, is_thunk, ref name @ ..]: &[u8; RECORD]) -> (u8, Key) {
    let kind = if is_thunk == 0 { ObjectKind::Value } else { ObjectKind::Thunk };
    let name = ObjectName::decode(kind, name);
    (how, if how & FACT == 0 { Key::Object(name) } else { Key::Fact(name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_known_to_the_next_run_and_what_is_forgotten_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let name = ObjectName::of(ObjectKind::Thunk, b"t");
        let keys = [Key::Object(name), Key::Fact(name), Key::Object(ObjectName::of(ObjectKind::Value, b"v"))];
        let mut first = Remembered::open(&store, "s3://b");
        keys.iter().for_each(|key| first.add(key));
        first.forget(&keys[1]);
        first.flush();
        let next = Remembered::open(&store, "s3://b");
        assert_eq!(keys.map(|key| next.has(&key)), [true, false, true]);
        assert!(!Remembered::open(&store, "s3://c").has(&keys[0]));
    }
}
