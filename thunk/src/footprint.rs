// SPDX-License-Identifier: Apache-2.0
//! From the paths that a command names to what must exist for these paths to lead where they lead: the files at their
//! real places, the symbolic links on the way, the directories that `..` passes through. Knows no thunk; caches
//! nothing beyond one use.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use foldhash::HashMap;

use crate::file_cache::FileId;

/// As many as the kernel follows.
const MAX_LINKS: u32 = 40;

/// Files, links and directories, each at its real path.
#[derive(Clone, Debug, Default)]
pub struct Footprint {
    /// Regular files, as they were when they were looked at.
    pub files: Files,
    /// Symbolic links and what they say.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Directories that must exist, beside the parents of everything else.
    pub directories: BTreeSet<PathBuf>,
    /// Directory as named → its real path. By the bytes of the name, which are hashed faster than its components.
    known: HashMap<OsString, PathBuf>,
}

/// Regular files by their real paths: in the order of the bytes of these, which are compared much faster than their components.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<OsString, FileFacts>);

impl Files {
    /// What is known of the one at this path, if it is among them.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<&FileFacts> {
        self.0.get(path.as_os_str())
    }

    /// Adds one, or what is known of it anew.
    pub fn insert(&mut self, path: PathBuf, facts: FileFacts) {
        self.0.insert(path.into_os_string(), facts);
    }

    /// Their paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(Path::new)
    }

    /// Each with what is known of it.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &FileFacts)> {
        self.0.iter().map(|(path, facts)| (Path::new(path), facts))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Files {
    type Item = (PathBuf, FileFacts);
    type IntoIter = std::iter::Map<
        std::collections::btree_map::IntoIter<OsString, FileFacts>,
        fn((OsString, FileFacts)) -> (PathBuf, FileFacts),
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().map(|(path, facts)| (path.into(), facts))
    }
}

/// What is known of a regular file from one look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Its identity.
    pub id: FileId,
    /// May anybody execute it?
    pub executable: bool,
}

impl FileFacts {
    /// What `stat` tells.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self { id: FileId::of(metadata), executable: metadata.mode() & 0o111 != 0 }
    }

    /// When the content was changed: that sets both times; others may set one of them.
    #[must_use]
    pub fn changed_at(&self) -> i64 {
        self.id.mtime.min(self.id.ctime)
    }
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

impl Led {
    /// The real path of what it led to.
    #[must_use]
    pub fn end(&self) -> &Path {
        match self {
            Self::File(end) | Self::Directory(end) | Self::Special(end) => end,
        }
    }
}

/// [`Led`], with what the look told.
enum Step {
    File(PathBuf, FileFacts),
    Directory(PathBuf),
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
        self.add_entry(&real, name)
    }

    /// Follows a name in a directory, which is at its real path, and adds what it needs beside what leads to the directory.
    ///
    /// # Errors
    /// It leads nowhere.
    pub fn add_entry(&mut self, real: &Path, name: &OsStr) -> io::Result<Led> {
        Ok(match self.enter(real, name, 0)? {
            Step::File(file, facts) => {
                self.files.insert(file.clone(), facts);
                Led::File(file)
            }
            Step::Directory(directory) => {
                self.directories.insert(directory.clone());
                Led::Directory(directory)
            }
            Step::Special(path) => Led::Special(path),
        })
    }

    /// The real path of a directory; what leads there is added, but not the directory itself, which stands or falls with
    /// what is in it.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn lead(&mut self, directory: &Path) -> io::Result<PathBuf> {
        self.directory(directory, 0)
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

    /// Adds what another footprint has.
    pub fn absorb(&mut self, other: &Self) {
        let Self { files, links, directories, known: _ } = other;
        self.files.0.extend(files.0.iter().map(|(path, facts)| (path.clone(), *facts)));
        self.links.extend(links.iter().map(|(path, target)| (path.clone(), target.clone())));
        self.directories.extend(directories.iter().cloned());
    }

    fn directory(&mut self, path: &Path, depth: u32) -> io::Result<PathBuf> {
        if let Some(real) = self.known.get(path.as_os_str()) {
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
                        Step::Directory(real) => real,
                        _ => return Err(io::ErrorKind::NotADirectory.into()),
                    },
                    _ => above,
                }
            }
        };
        self.known.insert(path.as_os_str().to_os_string(), real.clone());
        Ok(real)
    }

    /// One step: `name` in the real directory `above`.
    fn enter(&mut self, above: &Path, name: &OsStr, depth: u32) -> io::Result<Step> {
        let here = above.join(name);
        let metadata = std::fs::symlink_metadata(&here)?;
        if metadata.is_dir() {
            return Ok(Step::Directory(here));
        }
        if metadata.is_file() {
            return Ok(Step::File(here, FileFacts::of(&metadata)));
        }
        if !metadata.is_symlink() {
            return Ok(Step::Special(here));
        }
        if depth >= MAX_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let target = std::fs::read_link(&here)?;
        let goal = above.join(&target);
        self.links.insert(here, target);
        let (Some(parent), Some(Component::Normal(last))) = (goal.parent(), goal.components().next_back())
        else {
            return Ok(Step::Directory(self.directory(&goal, depth + 1)?));
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
