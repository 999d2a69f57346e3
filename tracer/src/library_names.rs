// SPDX-License-Identifier: Apache-2.0
//! Under which names a shared library may be looked for: its own, and those of the links beside it (`libx.so.1` → `libx.so.1.0`). A
//! directory is read once for as long as nothing comes or goes there: the system's has thousands of names, and each link with
//! libraries that are not computed yet asks for those of a dozen. Does not know when a link on the way in another directory changes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use foldhash::HashMap;
use thunk::FileId;

use crate::recorder::lock;

/// When this many directories are remembered, all are forgotten.
const MANY: usize = 1 << 10;

/// Links to shared libraries by where they lead, links resolved.
type Links = HashMap<PathBuf, Vec<PathBuf>>;

/// Directories that were read.
#[derive(Debug, Default)]
pub struct LibraryNames(Mutex<HashMap<PathBuf, (FileId, Arc<Links>)>>);

impl LibraryNames {
    /// The names of this library, its own first.
    pub fn of(&self, library: &Path) -> Vec<PathBuf> {
        let mut names = vec![library.to_path_buf()];
        if let Ok(real) = std::fs::canonicalize(library)
            && let Some(directory) = library.parent()
            && let Some(links) = self.links_in(directory).get(&real)
        {
            names.extend(links.iter().filter(|link| *link != library).cloned());
        }
        names
    }

    fn links_in(&self, directory: &Path) -> Arc<Links> {
        // Before it is read, and settled by then: what changes later makes it another one.
        let id = std::fs::metadata(directory).ok().map(|metadata| FileId::of(&metadata));
        let id = id.filter(FileId::is_settled);
        if let Some((of, links)) = lock(&self.0).get(directory)
            && Some(*of) == id
        {
            return Arc::clone(links);
        }
        let links = Arc::new(read(directory));
        if let Some(id) = id {
            let mut known = lock(&self.0);
            if known.len() >= MANY {
                known.clear();
            }
            known.insert(directory.to_path_buf(), (id, Arc::clone(&links)));
        }
        links
    }
}

fn read(directory: &Path) -> Links {
    let mut links = Links::default();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if is_shared_library(&path)
            && entry.file_type().is_ok_and(|kind| kind.is_symlink())
            && let Ok(target) = std::fs::canonicalize(&path)
        {
            links.entry(target).or_default().push(path);
        }
    }
    links
}

/// By its name: `libx.so`, `libx.so.1.2`.
pub fn is_shared_library(path: &Path) -> bool {
    let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
    name.ends_with(b".so") || name.windows(4).any(|w| w == b".so.")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    #[test]
    fn links_beside_a_library_are_its_names_as_long_as_they_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let at = |name: &str| root.join(name);
        std::fs::write(at("libx.so.1.0"), "").unwrap();
        std::fs::write(at("liby.so"), "").unwrap();
        symlink("libx.so.1.0", at("libx.so.1")).unwrap();
        symlink("libx.so.1.0", at("notes")).unwrap();
        let names = LibraryNames::default();
        let of = |name: &str| {
            let mut names = names.of(&at(name));
            names[1..].sort();
            names
        };
        assert_eq!(of("libx.so.1"), [at("libx.so.1")], "the file itself is no link");
        assert_eq!(of("libx.so.1.0"), [at("libx.so.1.0"), at("libx.so.1")]);
        // Remembered from now on, and seen to be another directory at once.
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(of("liby.so"), [at("liby.so")]);
        assert!(Arc::ptr_eq(&names.links_in(&root), &names.links_in(&root)));
        symlink("libx.so.1", at("libx.so")).unwrap();
        assert_eq!(of("libx.so.1.0"), [at("libx.so.1.0"), at("libx.so"), at("libx.so.1")]);
        std::fs::remove_file(at("libx.so.1")).unwrap();
        assert_eq!(of("libx.so.1.0"), [at("libx.so.1.0")], "the other one leads nowhere now");
        assert_eq!(of("none.so"), [at("none.so")]);
    }
}
