// SPDX-License-Identifier: Apache-2.0
//! Which trees files of one directory have made before, in this recording or an earlier one: what is below `/usr/include` is the same in
//! the next recording, and to make the trees of Boost's headers again takes longer than all else about them. On disk it is a list that
//! recordings append to. Knows no commands; whether the store still has a tree is for others to ask.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use thunk::{FileFacts, ObjectKind, ObjectName, RecordFile};

use crate::recorder::lock;

/// Stands for files of one directory by their identities, and is all that tells them from others.
pub type Key = [u8; 32];

const RECORD: usize = size_of::<Key>() + ObjectName::LENGTH;
/// A list with more than that is started anew: reading it must take less time than it saves.
const MANY: usize = 1 << 15;

/// The trees that are known.
#[derive(Debug)]
pub struct KnownTrees {
    path: PathBuf,
    /// What was on disk is read when it is asked for first.
    loaded: OnceLock<Mutex<Loaded>>,
}

#[derive(Debug)]
struct Loaded {
    list: RecordFile<RECORD>,
    known: HashMap<Key, ObjectName>,
    new: Vec<[u8; RECORD]>,
}

impl KnownTrees {
    /// Those of the list at `path`, if there is one.
    pub fn open(path: PathBuf) -> Self {
        Self { path, loaded: OnceLock::new() }
    }

    /// The number of files of a directory, which are in the order of their names.
    pub fn key(directory: &Path, files: &[(OsString, FileFacts)]) -> Key {
        let mut text = directory.as_os_str().as_bytes().to_vec();
        for (name, facts) in files {
            text.push(0);
            text.extend(facts.id.encode());
            text.push(u8::from(facts.executable));
            text.extend_from_slice(name.as_bytes());
        }
        *ObjectName::of(ObjectKind::Value, &text).digest()
    }

    fn loaded(&self) -> &Mutex<Loaded> {
        self.loaded.get_or_init(|| {
            let (list, records) = RecordFile::open(&self.path);
            if records.len() > MANY {
                let _ = std::fs::remove_file(&self.path);
            }
            let known = records.iter().filter_map(decode).collect();
            Mutex::new(Loaded { list, known, new: Vec::new() })
        })
    }

    /// The tree of these files.
    pub fn get(&self, key: &Key) -> Option<ObjectName> {
        lock(self.loaded()).known.get(key).copied()
    }

    /// Remembers it. The files must be old enough for their identities to tell what is in them.
    pub fn put(&self, key: Key, tree: ObjectName) {
        let mut loaded = lock(self.loaded());
        if loaded.known.insert(key, tree) != Some(tree) {
            let mut record = [0; RECORD];
            let (first, rest) = record.split_at_mut(size_of::<Key>());
            first.copy_from_slice(&key);
            rest.copy_from_slice(&tree.encode());
            loaded.new.push(record);
        }
    }

    /// Writes what is not on disk yet.
    pub fn flush(&self) {
        if let Some(loaded) = self.loaded.get() {
            let Loaded { list, new, .. } = &mut *lock(loaded);
            list.append(&std::mem::take(new));
        }
    }
}

fn decode(record: &[u8; RECORD]) -> Option<(Key, ObjectName)> {
    let (key, tree) = record.split_first_chunk()?;
    Some((*key, ObjectName::decode(ObjectKind::Value, tree.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use thunk::FileId;

    use super::*;

    #[test]
    fn trees_are_found_again_by_the_identities_of_all_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let open = || KnownTrees::open(dir.path().join("known"));
        let file = |name: &str, ino, executable| {
            let id = FileId { dev: 1, ino, size: 3, mtime: 4, ctime: 5 };
            (name.into(), FileFacts { id, executable })
        };
        let files = [file("a.h", 1, false), file("b.h", 2, false)];
        let key = |directory: &str, files: &[_]| KnownTrees::key(Path::new(directory), files);
        let tree = ObjectName::of(ObjectKind::Value, b"tree");
        let first = open();
        first.put(key("/usr/include", &files), tree);
        first.flush();
        assert_eq!(open().get(&key("/usr/include", &files)), Some(tree));
        let others = [
            key("/usr/includes", &files),
            key("/usr/include", &files[..1]),
            key("/usr/include", &[file("a.h", 1, false), file("b.h", 3, false)]),
            key("/usr/include", &[file("a.h", 1, true), file("b.h", 2, false)]),
            key("/usr/include", &[file("a.h", 1, false), file("c.h", 2, false)]),
        ];
        assert!(others.iter().all(|key| open().get(key).is_none()));
    }
}
