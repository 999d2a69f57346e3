// SPDX-License-Identifier: Apache-2.0
//! From the paths that a command names to what must exist for these paths to lead where they lead: the files at their
//! real places, the symbolic links on the way, the directories that `..` passes through. Knows no thunk; caches
//! nothing beyond one use.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows.
const MAX_LINKS: u32 = 40;

/// Files, links and directories, each at its real path.
#[derive(Debug, Default)]
pub struct Footprint {
    /// Regular files.
    pub files: BTreeSet<PathBuf>,
    /// Symbolic links and what they say.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Directories that must exist, beside the parents of everything else.
    pub directories: BTreeSet<PathBuf>,
    /// Directory as named → its real path.
    known: HashMap<PathBuf, PathBuf>,
}

/// Where a path led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Led {
    /// To the regular file at this real path.
    File(PathBuf),
    /// To the directory at this real path.
    Directory(PathBuf),
    /// To a device, pipe or socket.
    Special(PathBuf),
}

impl Footprint {
    /// Follows an absolute path and adds what it needs.
    ///
    /// # Errors
    /// It leads nowhere.
    pub fn add(&mut self, path: &Path) -> io::Result<Led> {
        let (Some(parent), Some(Component::Normal(name))) = (path.parent(), path.components().next_back())
        else {
            let real = self.directory(path, 0)?;
            self.directories.insert(real.clone());
            return Ok(Led::Directory(real));
        };
        let real = self.directory(parent, 0)?;
        let led = self.enter(&real, name, 0)?;
        match &led {
            Led::File(file) => self.files.insert(file.clone()),
            Led::Directory(directory) => self.directories.insert(directory.clone()),
            Led::Special(_) => false,
        };
        Ok(led)
    }

    /// The real path of the directory of `path`, and `path` there: for files that are to be made. The directory is added.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn add_place(&mut self, path: &Path) -> io::Result<PathBuf> {
        let (Some(parent), Some(Component::Normal(name))) = (path.parent(), path.components().next_back())
        else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let real = self.directory(parent, 0)?;
        self.directories.insert(real.clone());
        Ok(real.join(name))
    }

    fn directory(&mut self, path: &Path, depth: u32) -> io::Result<PathBuf> {
        if let Some(real) = self.known.get(path) {
            return Ok(real.clone());
        }
        let real = match path.components().next_back() {
            None | Some(Component::RootDir | Component::Prefix(_)) => PathBuf::from("/"),
            Some(last) => {
                // `Path::parent` never yields an empty path here: only absolute paths come in.
                let parent = path.parent().unwrap_or(Path::new("/"));
                let above = self.directory(parent, depth)?;
                match last {
                    Component::ParentDir => {
                        // The directory that is left again must exist all the same.
                        self.directories.insert(above.clone());
                        above.parent().unwrap_or(Path::new("/")).to_path_buf()
                    }
                    Component::Normal(name) => match self.enter(&above, name, depth)? {
                        Led::Directory(real) => real,
                        _ => return Err(io::ErrorKind::NotADirectory.into()),
                    },
                    _ => above,
                }
            }
        };
        self.known.insert(path.to_path_buf(), real.clone());
        Ok(real)
    }

    /// One step: `name` in the real directory `above`.
    fn enter(&mut self, above: &Path, name: &OsStr, depth: u32) -> io::Result<Led> {
        let here = above.join(name);
        let metadata = std::fs::symlink_metadata(&here)?;
        if metadata.is_dir() {
            return Ok(Led::Directory(here));
        }
        if metadata.is_file() {
            return Ok(Led::File(here));
        }
        if !metadata.is_symlink() {
            return Ok(Led::Special(here));
        }
        if depth >= MAX_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let target = std::fs::read_link(&here)?;
        let goal = above.join(&target);
        self.links.insert(here, target);
        let (Some(parent), Some(Component::Normal(last))) = (goal.parent(), goal.components().next_back())
        else {
            return Ok(Led::Directory(self.directory(&goal, depth + 1)?));
        };
        let real = self.directory(parent, depth + 1)?;
        self.enter(&real, last, depth + 1)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_and_passed_directories_belong_to_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/x.h"), "").unwrap();
        symlink("a", root.join("l")).unwrap();
        symlink(root.join("l/x.h"), root.join("y.h")).unwrap();
        let mut footprint = Footprint::default();
        assert_eq!(footprint.add(&root.join("l/b/../x.h")).unwrap(), Led::File(root.join("a/x.h")));
        assert!(footprint.directories.contains(&root.join("a/b")));
        assert_eq!(footprint.links[&root.join("l")], Path::new("a"));
        assert_eq!(footprint.add(&root.join("y.h")).unwrap(), Led::File(root.join("a/x.h")));
        assert_eq!(footprint.files.len(), 1);
        assert!(footprint.links.contains_key(&root.join("y.h")));
        assert_eq!(footprint.add_place(&root.join("l/new.o")).unwrap(), root.join("a/new.o"));
    }

    #[test]
    fn a_loop_of_links_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        symlink("q", dir.path().join("p")).unwrap();
        symlink("p", dir.path().join("q")).unwrap();
        assert!(Footprint::default().add(&dir.path().join("p")).is_err());
        assert!(Footprint::default().add(&dir.path().join("missing")).is_err());
    }
}
