// SPDX-License-Identifier: Apache-2.0
//! Where outputs of deferred commands stand when the build is over. A deferred command's own word for it is not enough: its
//! outputs are renamed, copied and removed later. Replays and `gg show --why` follow what is written here.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use thunk::{FileFacts, OutputRef, Placeholder, Store};

use crate::early::Early;
use crate::recorder::lock;

/// What is known of the paths while the build goes on.
#[derive(Debug, Default)]
pub struct Standing {
    /// The output that came to a path last, by a deferred command or by a rename.
    known: Mutex<HashMap<PathBuf, OutputRef>>,
    /// Outputs that were there at once, and what the files were.
    given: Mutex<HashMap<PathBuf, (Same, OutputRef)>>,
}

/// What tells a file from one that is put in its place, or written anew, but no name and no change of names.
type Same = (u64, u64, u64, i64, i64);

fn same(file: &Metadata) -> Same {
    (file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec())
}

impl Standing {
    /// This file, which is about to stand at this path, is the output itself: a dependency file for ninja, which reads it at once, and
    /// removes it or not.
    pub fn give(&self, path: &Path, file: &Metadata, output: OutputRef) {
        lock(&self.given).insert(path.to_path_buf(), (same(file), output));
    }

    /// A placeholder was put at this path.
    pub fn put(&self, path: &Path, output: OutputRef) {
        lock(&self.known).insert(path.to_path_buf(), output);
    }

    /// Something came to this path: a placeholder by a rename, or an empty file that may be filled with one.
    pub fn changed(&self, path: &Path) {
        let placeholder = Placeholder::read(path).ok().flatten();
        let mut known = lock(&self.known);
        match placeholder {
            Some(placeholder) => known.insert(path.to_path_buf(), placeholder.output),
            None => known.remove(path),
        };
    }

    /// Which of these paths hold an output now, and which.
    pub fn of(&self, paths: Vec<PathBuf>, store: &Store, early: &Early) -> Vec<(PathBuf, OutputRef)> {
        let known = lock(&self.known);
        let stands = |path: PathBuf| {
            let output = match known.get(&path) {
                Some(output) => still_holds(&path, output, store, early).then(|| output.clone())?,
                None => Placeholder::read(&path).ok().flatten()?.output,
            };
            Some((path, output))
        };
        let given = lock(&self.given);
        let is_there = |path: &Path, what: &Same| {
            std::fs::symlink_metadata(path).is_ok_and(|there| there.is_file() && same(&there) == *what)
        };
        let given = given.iter().filter(|(path, (what, _))| is_there(path, what));
        let mut found: Vec<_> = paths.into_iter().filter_map(stands).collect();
        let paths: HashSet<_> = found.iter().map(|(path, _)| path.clone()).collect();
        let given = given.filter(|(path, _)| !paths.contains(*path));
        found.extend(given.map(|(path, (_, output))| (path.clone(), output.clone())));
        found
    }
}

/// Is it the placeholder still, or what was computed in its place?
fn still_holds(path: &Path, output: &OutputRef, store: &Store, early: &Early) -> bool {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return false };
    if !metadata.is_file() {
        return false;
    }
    if wire::size_may_be_placeholder(metadata.len()) && matches!(Placeholder::read(path), Ok(Some(_))) {
        return true;
    }
    // Who was asked for it alone has given what the command would give.
    let given = |output: &OutputRef| store.reduction(&output.thunk);
    let reduction = given(output).or_else(|| early.instead_of(output).and_then(|instead| given(&instead)));
    let value = reduction.as_ref().and_then(|r| r.output(output.output.as_deref())).map(|o| o.value);
    value.is_some_and(|value| {
        value.size() == metadata.len()
            && store.put_seen(path, &FileFacts::of(&metadata)).is_ok_and(|now| now == value)
    })
}

#[cfg(test)]
mod tests {
    use thunk::{ObjectKind, ObjectName, ReducedOutput, Reduction};

    use super::*;

    #[test]
    fn outputs_are_followed_to_where_they_stand() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let at = |name: &str| dir.path().join(name);
        let output = |name: &str| OutputRef {
            thunk: ObjectName::of(ObjectKind::Thunk, name.as_bytes()),
            output: Some(at(name)),
        };
        let place = |name: &str, of: &str| {
            let placeholder = Placeholder { output: output(of), store: store.root().into() };
            std::fs::write(at(name), placeholder.encode(Path::new("/gg")).unwrap()).unwrap();
        };
        let standing = Standing::default();
        for name in ["a", "moved", "gone", "copied", "forced", "stripped"] {
            place(name, name);
            standing.put(&at(name), output(name));
        }
        std::fs::rename(at("moved"), at("new")).unwrap();
        standing.changed(&at("new"));
        std::fs::remove_file(at("gone")).unwrap();
        standing.changed(&at("copy"));
        std::fs::copy(at("copied"), at("copy")).unwrap();
        for (name, content) in [("forced", "result"), ("stripped", "less")] {
            let value = store.put(ObjectKind::Value, b"result").unwrap();
            let outputs = vec![ReducedOutput { path: at(name), value, executable: false }];
            let reduction = Reduction { outputs, ..Reduction::default() };
            store.put_reduction(&output(name).thunk, &reduction).unwrap();
            std::fs::write(at(name), content).unwrap();
        }
        let paths = ["a", "moved", "gone", "copied", "forced", "stripped", "new", "copy", "never"];
        let found = standing.of(paths.map(at).to_vec(), &store, &Early::default());
        let expected =
            [("a", "a"), ("copied", "copied"), ("forced", "forced"), ("new", "moved"), ("copy", "copied")];
        assert_eq!(found, expected.map(|(name, of)| (at(name), output(of))));
    }
}
