// SPDX-License-Identifier: Apache-2.0
//! What a command did to files: the upper layer of its overlay. Everything in here was made by the command and is
//! looked at as such: no symbolic link is followed but those of the tree below, by their recorded targets.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::tree::{Shape, relative, validate};
use crate::{Error, Result, Tree, remove, sys};

/// The files that a command made, changed or removed. They are removed when this is dropped: rename, link or copy
/// away what is wanted before. With [`crate::Layer::Memory`], their paths mean something in this process only.
#[derive(Debug)]
pub struct Upper {
    /// The directory in which `name` is.
    base: OwnedFd,
    /// The directory that holds `upper` and `work`.
    name: CString,
    /// Absolute path of the upper directory.
    path: PathBuf,
    root: OwnedFd,
    shape: Arc<Shape>,
    prepared: BTreeSet<PathBuf>,
    /// What stands before the target of an absolute link, and was not seen by the command.
    outside: Option<PathBuf>,
}

/// One thing that a command did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The absolute path as the command saw it.
    pub path: PathBuf,
    /// What it did there.
    pub kind: ChangeKind,
}

/// What a command left at a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// A regular file: new, or an input that was changed or opened for writing.
    Written,
    /// Nothing: the input that was there is gone.
    Removed,
    /// A symbolic link with this target.
    Symlink(PathBuf),
    /// A directory that was not there before, or (`emptied`) one that took the place of another, none of whose
    /// inputs are left.
    Directory {
        /// It was removed and made anew.
        emptied: bool,
    },
    /// A pipe or a socket.
    Other,
}

impl Upper {
    /// Makes the directories of a layer: `name` in `directory`.
    pub(crate) fn create(directory: &Path, name: &str, shape: Arc<Shape>) -> Result<Upper> {
        let path = directory.join(name);
        let failed = |e| Error::file("cannot make a layer in", &path, e);
        let base = sys::open_dir(directory).map_err(failed)?;
        let c_name = sys::cstr(name).map_err(failed)?;
        sys::mkdir(base.as_fd(), &c_name, 0o700).map_err(failed)?;
        let layer = sys::open_dir(&path).map_err(failed)?;
        sys::mkdir(layer.as_fd(), c"upper", 0o755).map_err(failed)?;
        sys::mkdir(layer.as_fd(), c"work", 0o700).map_err(failed)?;
        let root = sys::openat(layer.as_fd(), c"upper", libc::O_PATH | libc::O_DIRECTORY).map_err(failed)?;
        let path = path.join("upper");
        Ok(Upper { base, name: c_name, path, root, shape, prepared: BTreeSet::new(), outside: None })
    }

    /// The targets of absolute links begin with this, where the command has seen nothing of it.
    pub(crate) fn links_lead_below(&mut self, outside: &Path) {
        self.outside = Some(outside.to_owned());
    }

    /// The layer itself.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Makes a directory and those above it, where the tree has none, before the command runs.
    pub(crate) fn prepare(&mut self, tree: &Tree, path: &Path, mode: libc::mode_t) -> Result<()> {
        if path == Path::new("/") {
            return Ok(());
        }
        validate(path)?;
        let path = self.resolve(path)?;
        if self.shape.directories.contains(&path) {
            return Ok(());
        }
        let mut parents: Vec<&Path> = path.ancestors().collect();
        parents.pop();
        for directory in parents.into_iter().rev() {
            if self.prepared.contains(directory) {
                continue;
            }
            if tree.has_leaf(directory) {
                let reason = "an input above it, or at its place, is no directory";
                return Err(Error::BadPath { path, reason });
            }
            let mode = match directory.as_os_str().as_bytes() {
                _ if directory == path => mode,
                b"/tmp" | b"/var/tmp" => 0o1777,
                _ => 0o755,
            };
            sys::mkdir(self.root.as_fd(), &relative(directory)?, mode)
                .map_err(|e| Error::file("cannot make directory", directory, e))?;
            self.prepared.insert(directory.to_owned());
        }
        Ok(())
    }

    /// The path without the symbolic links that the tree has in it.
    fn resolve(&self, path: &Path) -> Result<PathBuf> {
        let mut resolved = PathBuf::from("/");
        // Components that are still to be walked, the next one last.
        let mut rest: Vec<OsString> = components(path);
        let mut links = 0;
        while let Some(component) = rest.pop() {
            if component == ".." {
                resolved.pop();
                continue;
            }
            resolved.push(&component);
            if let Some(target) = self.shape.links.get(&resolved) {
                links += 1;
                if links > 40 {
                    let reason = "too many levels of symbolic links";
                    return Err(Error::BadPath { path: path.to_owned(), reason });
                }
                resolved.pop();
                if target.is_absolute() {
                    resolved = PathBuf::from("/");
                }
                rest.extend(components(target));
            }
        }
        Ok(resolved)
    }

    /// The regular file that the command left at this absolute path, as a path that can be opened, linked or renamed. `None`:
    /// there is none, or it is an input that was not touched.
    ///
    /// # Errors
    /// The path is not absolute or has `.` or `..` in it, or the layer cannot be read.
    pub fn file(&self, path: &Path) -> Result<Option<PathBuf>> {
        validate(path)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        // The command may have replaced a link, or have written through it.
        let mut at = self.resolve(parent)?.join(name);
        let mut found = self.open(&at)?;
        if found.is_none() && self.shape.links.contains_key(&at) {
            at = self.resolve(&at)?;
            found = self.open(&at)?;
        }
        let Some(found) = found else { return Ok(None) };
        let stat = sys::fstat(&found).map_err(|e| Error::file("cannot look at output", path, e))?;
        let regular = sys::file_type(&stat) == libc::S_IFREG;
        Ok(regular.then(|| self.path.join(at.strip_prefix("/").unwrap_or(&at))))
    }

    /// Where the symbolic link leads that the command left at this absolute path. `None`: there is none, or it is an input.
    ///
    /// # Errors
    /// As [`Upper::file`].
    pub fn link(&self, path: &Path) -> Result<Option<PathBuf>> {
        validate(path)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        let Some(found) = self.open(&self.resolve(parent)?.join(name))? else { return Ok(None) };
        match self.kind(&found).map_err(|e| Error::file("cannot look at output", path, e))? {
            ChangeKind::Symlink(target) => Ok(Some(target)),
            _ => Ok(None),
        }
    }

    /// An `O_PATH` descriptor of what is at `path` in the layer: nothing is followed.
    fn open(&self, path: &Path) -> Result<Option<OwnedFd>> {
        match sys::open_beneath(self.root.as_fd(), &relative(path)?, libc::O_PATH | libc::O_NOFOLLOW) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EXDEV) => Ok(None),
                _ => Err(Error::file("cannot look at output", path, error)),
            },
        }
    }

    /// Everything that the command changed, sorted by path. Directories that [`crate::Job`] asked for are not among it.
    ///
    /// # Errors
    /// The layer cannot be read, for example because a path in it is longer than the system allows.
    pub fn changes(&self) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        let mut pending = vec![PathBuf::from("/")];
        while let Some(directory) = pending.pop() {
            let failed = |e| Error::file("cannot look at outputs in", &directory, e);
            let flags = libc::O_RDONLY | libc::O_DIRECTORY;
            let open = sys::open_beneath(self.root.as_fd(), &relative(&directory)?, flags).map_err(failed)?;
            if directory != Path::new("/") {
                let emptied = [c"user.overlay.opaque", c"trusted.overlay.opaque"]
                    .into_iter()
                    .any(|name| sys::xattr_is(open.as_fd(), name, b"y"));
                let known = self.shape.directories.contains(&directory);
                if (emptied && known) || !(known || self.prepared.contains(&directory)) {
                    let kind = ChangeKind::Directory { emptied: emptied && known };
                    changes.push(Change { path: directory.clone(), kind });
                }
            }
            for entry in sys::list(open.as_fd()).map_err(failed)? {
                let path = directory.join(OsStr::from_bytes(entry.name.to_bytes()));
                if entry.is_dir {
                    pending.push(path);
                } else {
                    let flags = libc::O_PATH | libc::O_NOFOLLOW;
                    let kind = sys::openat(open.as_fd(), &entry.name, flags)
                        .and_then(|f| self.kind(&f))
                        .map_err(failed)?;
                    changes.push(Change { path, kind });
                }
            }
        }
        changes.sort_unstable();
        Ok(changes)
    }

    /// What something in the layer is that is no directory.
    fn kind(&self, file: &OwnedFd) -> io::Result<ChangeKind> {
        let stat = sys::fstat(file)?;
        Ok(match sys::file_type(&stat) {
            libc::S_IFREG => ChangeKind::Written,
            libc::S_IFLNK => ChangeKind::Symlink(self.seen(sys::read_link(file.as_fd())?)),
            libc::S_IFCHR if stat.st_rdev == 0 => ChangeKind::Removed,
            _ => ChangeKind::Other,
        })
    }

    /// The target of a link as the command has seen it.
    fn seen(&self, target: Vec<u8>) -> PathBuf {
        let root = self.outside.as_deref().map(|outside| outside.as_os_str().as_bytes());
        let inside = root.and_then(|root| translation::strip(root, &target)).map(<[u8]>::to_vec);
        OsString::from_vec(inside.unwrap_or(target)).into()
    }
}

impl Drop for Upper {
    fn drop(&mut self) {
        // There is nobody to tell; the sandbox's own end, or a later `sweep`, removes the rest.
        remove::remove_dir(self.base.as_fd(), &self.name).ok();
    }
}

/// The names in a path, last one first; `..` among them.
fn components(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}
