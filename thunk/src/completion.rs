// SPDX-License-Identifier: Apache-2.0
//! Completions: the remembered fact that the command of a thunk looks for these paths too, which are not among its
//! inputs. A hint and no more: what stands at the paths is looked up each time anew, and makes another thunk.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::framed;
use crate::name::ObjectName;
use crate::path::to_path;
use crate::store::Store;

const MAGIC: &[u8] = b"##GGCOMPLETION##";

mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Completion {
        #[prost(bytes = "vec", repeated, tag = "1")]
        pub paths: Vec<Vec<u8>>,
    }
}

fn encode(paths: &BTreeSet<PathBuf>) -> Vec<u8> {
    let paths = paths.iter().map(|p| p.as_os_str().as_bytes().to_vec()).collect();
    framed::file(MAGIC, &wire::Completion { paths })
}

fn decode(content: &[u8]) -> std::result::Result<BTreeSet<PathBuf>, String> {
    let message: wire::Completion = framed::parse_file(MAGIC, content)?;
    let paths: BTreeSet<PathBuf> = message.paths.iter().map(|p| to_path(p)).collect();
    match paths.iter().find(|p| !p.is_absolute()) {
        Some(path) => Err(format!("{} is not absolute", path.display())),
        None => Ok(paths),
    }
}

impl Store {
    fn completion_file(&self, thunk: &ObjectName) -> PathBuf {
        self.root().join("completions").join(thunk.to_string())
    }

    /// The paths that the command of this thunk is known to look for in vain, absolute and as it names them; none if
    /// nothing is known. A damaged file is as good as none: it is found out again.
    #[must_use]
    pub fn completion(&self, thunk: &ObjectName) -> BTreeSet<PathBuf> {
        let content = std::fs::read(self.completion_file(thunk)).unwrap_or_default();
        decode(&content).unwrap_or_default()
    }

    /// Remembers them.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn put_completion(&self, thunk: &ObjectName, paths: &BTreeSet<PathBuf>) -> Result<()> {
        let path = self.completion_file(thunk);
        let mut file = self.temporary(false)?;
        file.write_all(&encode(paths)).map_err(Error::io("write", &path))?;
        file.commit(&path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ObjectKind;

    #[test]
    fn paths_come_back_and_damage_is_as_good_as_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let thunk = ObjectName::of(ObjectKind::Thunk, b"t");
        assert!(store.completion(&thunk).is_empty());
        let paths = BTreeSet::from(["/usr/lib/x.spec".into(), "/w/../a b\n.h".into()]);
        store.put_completion(&thunk, &paths).unwrap();
        assert_eq!(store.completion(&thunk), paths);
        let whole = std::fs::read(store.completion_file(&thunk)).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert!(decode(&flipped).is_err(), "byte {at}");
            assert!(decode(&whole[..at]).is_err(), "cut at {at}");
        }
        assert!(decode(&encode(&BTreeSet::from(["x".into()]))).is_err());
    }
}
