// SPDX-License-Identifier: Apache-2.0
//! Puts the files of a deferred command in place: all of them, or none. Each is written out before the first gets its name,
//! and what stood at the names before comes back if one cannot be had. Does not know what is in the files.

use std::fs;
use std::path::{Path, PathBuf};

use thunk::AtomicFile;

/// Files that are ready to be put in place.
#[derive(Default)]
pub struct Placing {
    files: Vec<(AtomicFile, PathBuf)>,
}

/// What stood at a path: to be put back, or nothing.
struct Before {
    path: PathBuf,
    file: Option<AtomicFile>,
}

impl Placing {
    /// Adds a file that is complete, and where it is to be.
    pub fn add(&mut self, file: AtomicFile, path: PathBuf) {
        self.files.push((file, path));
    }

    /// Gives all the time of the one that was added last: for files of which nobody knows in which order the command would have
    /// written them. One that is newer than another would have a makefile's rule between the two apply again.
    ///
    /// # Errors
    /// A time cannot be asked for or set.
    pub fn level(&self) -> thunk::Result<()> {
        let Some(((last, _), others)) = self.files.split_last() else { return Ok(()) };
        for (file, path) in others {
            let modified = last.file().metadata().and_then(|metadata| metadata.modified());
            let set = modified.and_then(|modified| file.file().set_modified(modified));
            set.map_err(|error| thunk::Error::Io { what: "set the time of", path: path.clone(), error })?;
        }
        Ok(())
    }

    /// Puts all in place.
    ///
    /// # Errors
    /// One cannot be put: then all is as it was.
    pub fn put(self) -> thunk::Result<()> {
        let last = self.files.len().saturating_sub(1);
        let mut done: Vec<Before> = Vec::new();
        for (number, (file, path)) in self.files.into_iter().enumerate() {
            // The last either gets its name, or changes nothing.
            let before = if number == last { Ok(None) } else { before(&path) };
            let put = before.and_then(|before| file.commit(&path).map(|()| before));
            match put {
                Ok(file) => done.push(Before { path, file }),
                Err(error) => {
                    done.into_iter().rev().for_each(Before::restore);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Another name for what stands at `path`, if anything does.
fn before(path: &Path) -> thunk::Result<Option<AtomicFile>> {
    match fs::symlink_metadata(path) {
        Ok(_) => AtomicFile::link_in(path.parent().unwrap_or(Path::new("/")), path).map(Some),
        Err(_) => Ok(None),
    }
}

impl Before {
    /// As far as can be: there is nobody to tell.
    fn restore(self) {
        match self.file {
            Some(file) => drop(file.commit(&self.path)),
            None => drop(fs::remove_file(&self.path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn add(placing: &mut Placing, path: PathBuf) {
        let mut file = AtomicFile::nameless_in(path.parent().unwrap(), 0o644).unwrap();
        file.write_all(b"new").unwrap();
        placing.add(file, path);
    }

    #[test]
    fn all_files_are_put_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("old"), "old").unwrap();
        symlink("nowhere", at("link")).unwrap();
        let inode = fs::metadata(at("old")).unwrap().ino();
        // Nothing takes the place of a directory.
        fs::create_dir(at("directory")).unwrap();
        let mut placing = Placing::default();
        for name in ["old", "link", "new", "directory"] {
            add(&mut placing, at(name));
        }
        placing.put().unwrap_err();
        assert_eq!(fs::metadata(at("old")).unwrap().ino(), inode);
        assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("nowhere"));
        assert!(!at("new").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);

        let mut placing = Placing::default();
        for name in ["old", "link", "new"] {
            add(&mut placing, at(name));
        }
        placing.put().unwrap();
        for name in ["old", "link", "new"] {
            assert_eq!(fs::read(at(name)).unwrap(), b"new");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn files_that_are_made_level_are_as_old_as_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let modified = |name: &str| fs::metadata(at(name)).unwrap().modified().unwrap();
        let mut placing = Placing::default();
        for name in ["first", "second", "last"] {
            add(&mut placing, at(name));
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        placing.level().unwrap();
        placing.put().unwrap();
        assert_eq!([modified("first"), modified("second")], [modified("last"); 2]);
        Placing::default().level().unwrap();
    }
}
