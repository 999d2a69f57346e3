// SPDX-License-Identifier: Apache-2.0
//! Which objects are in a storage as parts of which packs, kept between runs so that they need not be packed again. It may be wrong, as
//! [`crate::remembered`] may: a function that misses a pack says so, and it is forgotten.

use std::collections::HashMap;

use thunk::{ObjectKind, ObjectName, RecordFile, Store};

/// Is it still there, the object, the pack.
const RECORD: usize = 1 + 2 * ObjectName::LENGTH;

/// The list for one storage.
pub struct Packed {
    packs: HashMap<ObjectName, ObjectName>,
    file: Option<RecordFile<RECORD>>,
}

impl Packed {
    /// What is remembered of the storage of this URI.
    pub fn open(store: &Store, uri: &str) -> Self {
        let name = ObjectName::of(ObjectKind::Value, uri.as_bytes()).to_string();
        let path = store.cache_dir("packs").ok().map(|directory| directory.join(name));
        let (file, records) = path.map(|path| RecordFile::open(&path)).unzip();
        let mut packs = HashMap::new();
        for record in records.iter().flatten() {
            let (gone, object, pack) = decode(record);
            if gone == 0 {
                packs.insert(object, pack);
            } else {
                packs.remove(&object);
            }
        }
        Self { packs, file }
    }

    /// The pack that holds it.
    pub fn pack_of(&self, object: &ObjectName) -> Option<ObjectName> {
        self.packs.get(object).copied()
    }

    /// The pack is there now, with these.
    pub fn add(&mut self, pack: &ObjectName, objects: &[ObjectName]) {
        self.packs.extend(objects.iter().map(|object| (*object, *pack)));
        self.keep(0, objects.iter().map(|object| (object, pack)));
    }

    /// It is not there.
    pub fn forget(&mut self, pack: &ObjectName) {
        let gone: Vec<ObjectName> =
            self.packs.extract_if(|_, of| of == pack).map(|(object, _)| object).collect();
        self.keep(1, gone.iter().map(|object| (object, pack)));
    }

    fn keep<'a>(&mut self, gone: u8, pairs: impl Iterator<Item = (&'a ObjectName, &'a ObjectName)>) {
        let Some(file) = &mut self.file else { return };
        let records: Vec<_> = pairs.map(|(object, pack)| encode(gone, object, pack)).collect();
        file.append(&records);
    }
}

fn encode(gone: u8, object: &ObjectName, pack: &ObjectName) -> [u8; RECORD] {
    let mut record = [gone; RECORD];
    let (names, _) = record[1..].as_chunks_mut();
    names.copy_from_slice(&[object.encode(), pack.encode()]);
    record
}

/// All of them are values.
fn decode([gone, names @ ..]: &[u8; RECORD]) -> (u8, ObjectName, ObjectName) {
    let (names, _) = names.as_chunks();
    let [object, pack] = [0, 1].map(|at| ObjectName::decode(ObjectKind::Value, &names[at]));
    (*gone, object, pack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_run_knows_what_is_packed_and_what_no_longer_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let value = |text: &str| ObjectName::of(ObjectKind::Value, text.as_bytes());
        let (pack, gone) = (value("pack"), value("gone"));
        let mut first = Packed::open(&store, "s3://b");
        first.add(&pack, &[value("a"), value("b")]);
        first.add(&gone, &[value("b"), value("c")]);
        first.forget(&gone);
        for packed in [first, Packed::open(&store, "s3://b")] {
            assert_eq!(["a", "b", "c"].map(|text| packed.pack_of(&value(text))), [Some(pack), None, None]);
        }
        assert_eq!(Packed::open(&store, "s3://c").pack_of(&value("a")), None);
    }
}
