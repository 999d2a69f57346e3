// SPDX-License-Identifier: Apache-2.0
//! Takes what a command left in a tree that it wrote to out of the tree, into a layer such as an overlay has: what is
//! new, and inputs that are no longer what they were. The tree is what it was then, or knows what it lacks. Knows
//! nothing of how the command ran.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::tree::{Stamp, relative};
use crate::{Entry, Error, Result, Tree, sys};

impl Tree {
    /// Moves what was made or changed below `layer`, at the same paths. Only for trees of [`Tree::create_open`].
    pub(crate) fn harvest(&mut self, layer: BorrowedFd<'_>) -> Result<()> {
        let mut seen = Seen::default();
        let mut pending = vec![PathBuf::from("/")];
        while let Some(directory) = pending.pop() {
            let open = match open(self.root.as_fd(), &relative(&directory)?) {
                Ok(open) => open,
                Err(_) => {
                    // Its rights were taken away: the next sync makes all anew.
                    self.dirty = true;
                    continue;
                }
            };
            self.harvest_directory(&directory, &open, layer, &mut pending, &mut seen)
                .map_err(|e| Error::file("cannot take outputs from", &directory, e))?;
        }
        let directories = self.shape().directories.len();
        let leaves = self.current.values().filter(|entry| **entry != Entry::Directory).count();
        // An input is gone: all is made anew.
        self.dirty |= seen.directories != directories || seen.leaves != leaves;
        for path in seen.changed {
            self.current.remove(&path);
            self.forget(&path);
        }
        Ok(())
    }

    fn harvest_directory(
        &self,
        directory: &Path,
        open: &OwnedFd,
        layer: BorrowedFd<'_>,
        pending: &mut Vec<PathBuf>,
        seen: &mut Seen,
    ) -> io::Result<()> {
        for entry in sys::list(open.as_fd())? {
            let path = directory.join(OsStr::from_bytes(entry.name.to_bytes()));
            if entry.is_dir && self.shape().directories.contains(&path) {
                seen.directories += 1;
                pending.push(path);
                continue;
            }
            let known = (!entry.is_dir).then(|| self.current.get(&path)).flatten();
            let unchanged = match known {
                Some(Entry::File { .. }) => {
                    let stamp = Stamp::of(&sys::lstat(open.as_fd(), &entry.name)?);
                    self.stamps.as_ref().and_then(|stamps| stamps.get(&path)) == Some(&stamp)
                }
                // A link cannot be changed, only replaced.
                Some(Entry::Symlink(_)) => {
                    sys::file_type(&sys::lstat(open.as_fd(), &entry.name)?) == libc::S_IFLNK
                }
                _ => false,
            };
            seen.leaves += usize::from(known.is_some());
            if unchanged {
                continue;
            }
            make_parents(layer, directory)?;
            let there = relative(&path).map_err(io::Error::other)?;
            sys::rename(open.as_fd(), &entry.name, layer, &there)?;
            if known.is_some() {
                seen.changed.push(path);
            }
        }
        Ok(())
    }
}

/// What was found of what had been there.
#[derive(Default)]
struct Seen {
    directories: usize,
    leaves: usize,
    /// Inputs that are not what they were, and were taken away.
    changed: Vec<PathBuf>,
}

fn open(root: BorrowedFd<'_>, path: &std::ffi::CStr) -> io::Result<OwnedFd> {
    sys::open_beneath(root, path, libc::O_RDONLY | libc::O_DIRECTORY)
}

/// Makes a directory of a layer and those above it.
fn make_parents(layer: BorrowedFd<'_>, directory: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    for path in directory.ancestors().take_while(|path| *path != Path::new("/")) {
        let name = relative(path).map_err(io::Error::other)?;
        match sys::mkdir(layer, &name, 0o755) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(name),
            Err(error) => return Err(error),
        }
    }
    missing.iter().rev().try_for_each(|name| sys::mkdir(layer, name, 0o755))
}
