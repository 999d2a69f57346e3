// SPDX-License-Identifier: Apache-2.0
//! A directory that holds exactly the wanted files, and is brought from one set of them to the next by difference:
//! consecutive commands share nearly all of their inputs. Knows nothing of namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::iter::Peekable;
use std::ops::Bound;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::place::{copy_file, place_file};
use crate::{Error, Result, remove, sys};

/// What stands at a path of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file with the content of `source`.
    File {
        /// Where the content is: an absolute path outside of the tree. It is hard-linked, so its mode and mtime
        /// show, unless a link is refused or gives the wrong mode; then it is copied.
        source: PathBuf,
        /// May it be executed?
        executable: bool,
    },
    /// A symbolic link with this target, whatever that is: it is resolved inside the sandbox only.
    Symlink(PathBuf),
    /// A directory, for those that must exist without holding anything: parents need no entry.
    Directory,
}

/// What a call of [`Tree::sync`] did, in entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncStats {
    /// Entries that are new or have changed.
    pub added: usize,
    /// Entries that are gone or have changed.
    pub removed: usize,
    /// Entries that were there as wanted.
    pub kept: usize,
}

/// Directories that every tree has besides the wanted ones: mount points, and places for temporary files.
const ALWAYS: [(&str, libc::mode_t); 4] =
    [("/dev", 0o755), ("/proc", 0o755), ("/tmp", 0o1777), ("/var/tmp", 0o1777)];

/// What a command's writes need to know of the tree below them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    /// Every directory but the root.
    pub(crate) directories: BTreeSet<PathBuf>,
    /// Every symbolic link, with its target.
    pub(crate) links: BTreeMap<PathBuf, PathBuf>,
}

/// A directory whose content follows what is wanted.
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    pub(crate) root: OwnedFd,
    pub(crate) current: BTreeMap<PathBuf, Entry>,
    shape: Arc<Shape>,
    /// A sync has failed midway: what the directory holds is not known.
    pub(crate) dirty: bool,
    /// For a tree that commands write to: see [`Tree::create_open`].
    pub(crate) stamps: Option<BTreeMap<PathBuf, Stamp>>,
}

/// What changes when a file is written to, or replaced by another: inode, and time of the last change of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(u64, i64, i64);

impl Stamp {
    pub(crate) fn of(stat: &libc::stat) -> Stamp {
        Stamp(stat.st_ino, stat.st_ctime, stat.st_ctime_nsec)
    }
}

impl Tree {
    /// Makes a tree in the directory `root`, which is created if it is missing and emptied if it is not. Nobody else
    /// may write there.
    ///
    /// # Errors
    /// The directory cannot be made or emptied.
    pub fn create(root: &Path) -> Result<Tree> {
        Tree::create_with(root, None)
    }

    /// The same for commands that run in the directory itself, without an overlay: files are copies, so that nothing is shared with their
    /// sources, and links lead to where they would if the directory were `/`.
    pub(crate) fn create_open(root: &Path) -> Result<Tree> {
        Tree::create_with(root, Some(BTreeMap::new()))
    }

    fn create_with(root: &Path, stamps: Option<BTreeMap<PathBuf, Stamp>>) -> Result<Tree> {
        std::fs::create_dir_all(root).map_err(|e| Error::file("cannot make directory", root, e))?;
        let fd = sys::open_dir(root).map_err(|e| Error::file("cannot open", root, e))?;
        let mut tree = Tree {
            path: root.to_owned(),
            root: fd,
            current: BTreeMap::new(),
            shape: Arc::default(),
            dirty: true,
            stamps,
        };
        tree.sync(&BTreeMap::new())?;
        Ok(tree)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    /// Something is no longer at this path.
    pub(crate) fn forget(&mut self, path: &Path) {
        Arc::make_mut(&mut self.shape).links.remove(path);
        if let Some(stamps) = &mut self.stamps {
            stamps.remove(path);
        }
    }

    /// Is there a file, or a link, at this path?
    pub(crate) fn has_leaf(&self, path: &Path) -> bool {
        self.current.get(path).is_some_and(|entry| *entry != Entry::Directory)
    }

    /// Makes the tree hold exactly `wanted`, whose keys are absolute paths, their parent directories, and `/dev`, `/proc`,
    /// `/tmp` and `/var/tmp`. An entry is kept only if its path, source and mode are as before: whoever changes
    /// the content of a source must give it another name.
    ///
    /// # Errors
    /// A path that cannot be in a tree (nothing has changed then), or a file that cannot be linked; after that, the
    /// next call builds the tree anew.
    pub fn sync(&mut self, wanted: &BTreeMap<PathBuf, Entry>) -> Result<SyncStats> {
        if self.dirty {
            self.clear()?;
        }
        let (difference, stats) = Difference::between(&self.current, wanted)?;
        if difference.is_empty() && !self.shape.directories.is_empty() {
            return Ok(stats);
        }
        self.dirty = true;
        self.remove(&difference.removed, wanted)?;
        for (path, entry) in &difference.added {
            self.add(path, entry)?;
        }
        for (path, mode) in ALWAYS {
            let path = Path::new(path);
            // A wanted file or link at or above /var/tmp is the caller's choice.
            let taken = |p: &Path| matches!(wanted.get(p), Some(Entry::File { .. } | Entry::Symlink(_)));
            if !self.shape.directories.contains(path) && !path.ancestors().any(taken) {
                self.add_directory(path, mode)?;
            }
        }
        for path in difference.removed {
            if let Some(stamps) = &mut self.stamps {
                // It may have been added again.
                if !wanted.contains_key(&path) {
                    stamps.remove(&path);
                }
            }
            self.current.remove(&path);
        }
        self.current.extend(difference.added.into_iter().map(|(p, e)| (p.to_owned(), e.clone())));
        self.dirty = false;
        Ok(stats)
    }

    fn clear(&mut self) -> Result<()> {
        self.current.clear();
        self.shape = Arc::default();
        if let Some(stamps) = &mut self.stamps {
            stamps.clear();
        }
        remove::remove_content(self.root.as_fd())
            .map_err(|e| Error::file("cannot empty directory", &self.path, e))?;
        sys::chmod(self.root.as_fd(), c".", 0o755).map_err(|e| Error::file("cannot change", &self.path, e))
    }

    /// Removes entries, then the directories that nothing needs any more.
    fn remove(&mut self, removed: &[PathBuf], wanted: &BTreeMap<PathBuf, Entry>) -> Result<()> {
        let mut candidates: BTreeSet<PathBuf> = BTreeSet::new();
        let shape = Arc::make_mut(&mut self.shape);
        for path in removed {
            if self.current.get(path) == Some(&Entry::Directory) {
                candidates.insert(path.clone());
                continue;
            }
            shape.links.remove(path);
            sys::unlink(self.root.as_fd(), &relative(path)?)
                .map_err(|e| Error::file("cannot remove input", path, e))?;
            if let Some(parent) = path.parent()
                && candidates.last().is_none_or(|last| last != parent)
            {
                candidates.insert(parent.to_owned());
            }
        }
        // A directory sorts before all that is below it, so the last one is never a parent of another candidate.
        while let Some(directory) = candidates.pop_last() {
            let always = ALWAYS.iter().any(|(path, _)| Path::new(path).starts_with(&directory));
            if always || is_directory_in(wanted, &directory) || !shape.directories.remove(&directory) {
                continue;
            }
            sys::rmdir(self.root.as_fd(), &relative(&directory)?)
                .map_err(|e| Error::file("cannot remove input directory", &directory, e))?;
            candidates.extend(directory.parent().map(Path::to_owned));
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, entry: &Entry) -> Result<()> {
        let failed = |e| Error::file("cannot make input", path, e);
        if *entry == Entry::Directory {
            return self.add_directory(path, 0o755);
        }
        if let Some(parent) = path.parent() {
            self.add_directory(parent, 0o755)?;
        }
        self.yield_always(path)?;
        match entry {
            Entry::File { source, executable } => {
                let source_path = sys::cstr(source).map_err(|e| Error::file("cannot read", source, e))?;
                let here = relative(path)?;
                let placed = match &mut self.stamps {
                    None => place_file(&source_path, *executable, self.root.as_fd(), &here),
                    Some(stamps) => {
                        copy_file(&source_path, *executable, self.root.as_fd(), &here).and_then(|()| {
                            stamps.insert(path.to_owned(), Stamp::of(&sys::lstat(self.root.as_fd(), &here)?));
                            Ok(())
                        })
                    }
                };
                placed.map_err(|e| Error::file("cannot make an input of", source, e))
            }
            Entry::Symlink(target) => {
                let outside = self.stamps.as_ref().map(|_| target_below(&self.path, path, target));
                let c_target = sys::cstr(outside.as_deref().unwrap_or(target)).map_err(failed)?;
                sys::symlink(&c_target, self.root.as_fd(), &relative(path)?).map_err(failed)?;
                Arc::make_mut(&mut self.shape).links.insert(path.to_owned(), target.clone());
                Ok(())
            }
            Entry::Directory => Ok(()),
        }
    }

    /// Removes those of the directories that are always there which stand where a file or link is wanted.
    fn yield_always(&mut self, path: &Path) -> Result<()> {
        let shape = Arc::make_mut(&mut self.shape);
        let range = (Bound::Included(path), Bound::Unbounded);
        let below: Vec<PathBuf> =
            shape.directories.range::<Path, _>(range).take_while(|d| d.starts_with(path)).cloned().collect();
        for directory in below.iter().rev() {
            shape.directories.remove(directory);
            sys::rmdir(self.root.as_fd(), &relative(directory)?)
                .map_err(|e| Error::file("cannot remove input directory", directory, e))?;
        }
        Ok(())
    }

    /// Makes a directory and those above it, where they are missing.
    fn add_directory(&mut self, path: &Path, mode: libc::mode_t) -> Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if self.shape.directories.contains(path) {
            return Ok(());
        }
        self.add_directory(parent, 0o755)?;
        let mode = ALWAYS.iter().find(|(p, _)| Path::new(p) == path).map_or(mode, |(_, mode)| *mode);
        sys::mkdir(self.root.as_fd(), &relative(path)?, mode)
            .map_err(|e| Error::file("cannot make input directory", path, e))?;
        Arc::make_mut(&mut self.shape).directories.insert(path.to_owned());
        Ok(())
    }
}

/// The target of a link at `path` in a tree that is no root directory, so that it leads to where it would if the tree were one.
fn target_below(root: &Path, path: &Path, target: &Path) -> PathBuf {
    let mut depth = if target.is_absolute() { 0 } else { path.components().count().saturating_sub(2) };
    let mut leads_out = false;
    let mut inside: Vec<Component<'_>> =
        if target.is_absolute() { Vec::new() } else { path.components().skip(1).take(depth).collect() };
    for component in target.components() {
        match component {
            Component::ParentDir if depth == 0 => leads_out = true,
            Component::ParentDir => {
                depth -= 1;
                inside.pop();
            }
            Component::Normal(_) => {
                depth += 1;
                inside.push(component);
            }
            _ => {}
        }
    }
    match (target.strip_prefix("/"), leads_out) {
        // There, `..` of the root is the root.
        (_, true) => root.join(inside.iter().collect::<PathBuf>()),
        (Ok(_), false) => {
            let mut outside = root.as_os_str().to_owned();
            outside.push(target);
            outside.into()
        }
        (Err(_), false) => target.to_owned(),
    }
}

/// Is `path` a directory in `wanted`, by an entry of its own or by one below it?
fn is_directory_in(wanted: &BTreeMap<PathBuf, Entry>, path: &Path) -> bool {
    match wanted.range::<Path, _>((Bound::Included(path), Bound::Unbounded)).next() {
        Some((first, entry)) if first == path => *entry == Entry::Directory,
        Some((first, _)) => first.starts_with(path),
        None => false,
    }
}

/// The path below the root directory, for the system.
pub(crate) fn relative(path: &Path) -> Result<CString> {
    let below = path.strip_prefix("/").unwrap_or(path);
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    sys::cstr(below).map_err(|e| Error::file("cannot use", path, e))
}

/// Refuses paths that are not absolute and in their shortest form.
pub(crate) fn validate(path: &Path) -> Result<()> {
    let bad = |reason| Err(Error::BadPath { path: path.to_owned(), reason });
    let Some(rest) = path.as_os_str().as_bytes().strip_prefix(b"/") else {
        return bad("not an absolute path");
    };
    if rest.len() >= libc::PATH_MAX as usize - 1 {
        return bad("longer than the system allows");
    }
    for component in rest.split(|byte| *byte == b'/') {
        match component {
            b"" => return bad("it has an empty component"),
            b"." | b".." => return bad("it has a component . or .."),
            _ if component.contains(&0) => return bad("it has a NUL byte"),
            _ if component.len() > 255 => return bad("it has a component longer than 255 bytes"),
            _ => {}
        }
    }
    Ok(())
}

/// What must be done to get from one set of entries to another.
struct Difference<'a> {
    removed: Vec<PathBuf>,
    added: Vec<(&'a Path, &'a Entry)>,
}

impl<'a> Difference<'a> {
    fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }

    /// One walk over both sorted maps. Paths sort by component, so that what is below an entry follows it
    /// immediately: comparing neighbours finds every entry below a file.
    fn between(
        old: &BTreeMap<PathBuf, Entry>,
        wanted: &'a BTreeMap<PathBuf, Entry>,
    ) -> Result<(Difference<'a>, SyncStats)> {
        let mut difference = Difference { removed: Vec::new(), added: Vec::new() };
        let mut stats = SyncStats::default();
        let mut old = old.iter().peekable();
        // The last wanted entry that can have nothing below it, and whether it is new.
        let mut leaf: Option<(&Path, bool)> = None;
        for (path, entry) in wanted {
            let kept = difference.advance(&mut old, path, entry);
            if !kept {
                validate(path)?;
                validate_entry(path, entry)?;
                difference.added.push((path, entry));
            }
            if let Some((leaf, new)) = leaf
                && (new || !kept)
                && path.starts_with(leaf)
            {
                return Err(Error::BadPath {
                    path: path.clone(),
                    reason: "an entry above it is no directory",
                });
            }
            if *entry != Entry::Directory {
                leaf = Some((path, !kept));
            }
            stats.kept += usize::from(kept);
        }
        difference.removed.extend(old.map(|(path, _)| path.clone()));
        stats.added = difference.added.len();
        stats.removed = difference.removed.len();
        Ok((difference, stats))
    }

    /// Takes from `old` all that comes before `path`, as removed, and `path` itself; was that the wanted entry?
    fn advance<'o>(
        &mut self,
        old: &mut Peekable<impl Iterator<Item = (&'o PathBuf, &'o Entry)>>,
        path: &Path,
        entry: &Entry,
    ) -> bool {
        while let Some((old_path, old_entry)) = old.next_if(|(old_path, _)| old_path.as_path() <= path) {
            // Equal paths may still be spelled differently ("/a//b"): those are looked at as new ones are.
            if old_path.as_os_str() == path.as_os_str() && old_entry == entry {
                return true;
            }
            self.removed.push(old_path.clone());
        }
        false
    }
}

fn validate_entry(path: &Path, entry: &Entry) -> Result<()> {
    let bad = |reason| Err(Error::BadPath { path: path.to_owned(), reason });
    if path.starts_with("/dev") || path.starts_with("/proc") {
        return bad("/dev and /proc are made by the sandbox");
    }
    match entry {
        Entry::Symlink(target) => match target.as_os_str().as_bytes() {
            b"" => bad("it is a symbolic link to nothing"),
            target if target.contains(&0) => bad("its target has a NUL byte"),
            target if target.len() >= libc::PATH_MAX as usize => bad("its target is too long"),
            _ => Ok(()),
        },
        Entry::File { source, .. } if !source.is_absolute() => bad("its source is not an absolute path"),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
