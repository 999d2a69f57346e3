// SPDX-License-Identifier: Apache-2.0
//! The content-addressed store: blobs and thunks by name, and reductions by thunk. Several processes may use one at
//! once: everything appears by rename or link, whole, and nothing that exists is ever changed.
//!
//! ```text
//! $GG_DIR/version        "gg-store 1"
//!         lock           shared by all who have the store open, taken by who collects garbage
//!         blobs/NAME     objects; mode 0644, so that a hard link looks like an ordinary file
//!         exec/NAME      the same content with mode 0755, for executables: one of the two is enough
//!         reductions/T…  see `reduction`
//!         completions/T… see `completion`
//!         traces/…       see `trace`
//!         cache/…        what can be computed again: file hashes, toolchains
//!         tmp/           files that are being written
//!         sandbox/       where workers run commands
//! ```
//!
//! Knows nothing of what objects mean. Durability after a power failure is not promised: an object whose size is
//! not the one in its name counts as absent.

mod putting;

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use foldhash::HashSet;

use crate::atomic::{self, AtomicFile, write_atomically};
use crate::error::{Error, Result};
use crate::file_cache::{FileCache, FileId};
use crate::lock::{share_lock, try_lock};
use crate::name::ObjectName;
use crate::reduction::Reduction;
use crate::thunk::Thunk;
use crate::tree::Tree;
use putting::hash_stream;

/// The directory of the cache in which lists of known trees are. Who takes a tree from there takes it that the store has all that it names:
/// so these go before any object does, and when one is found to be gone.
pub const KNOWN_TREES: &str = "trees";

const VERSION: &str = "gg-store 1";
const DIRECTORIES: [&str; 8] =
    ["blobs", "exec", "reductions", "completions", "traces", "cache", "tmp", "sandbox"];

/// An open store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// Locked for as long as the store is open: what it holds stays.
    in_use: Option<File>,
    files: FileCache,
    /// Objects seen in the store by this process: saves a look at the disk for each input of each thunk.
    present: Mutex<HashSet<(ObjectName, bool)>>,
    /// Objects whose content this process knows to be what their names say.
    verified: Mutex<HashSet<(ObjectName, bool)>>,
}

/// The store's directory: `GG_DIR`; else the nearest `.gg` upwards from the current directory, as `gg init` makes it;
/// else `gg` in the user's cache directory.
///
/// # Errors
/// None of these can be determined.
pub fn default_store_dir() -> Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p: &PathBuf| p.is_absolute());
    if std::env::var_os("GG_DIR").is_some_and(|v| !v.is_empty()) {
        return absolute("GG_DIR").ok_or(Error::NoStore);
    }
    if let Ok(here) = std::env::current_dir()
        && let Some(found) = here.ancestors().map(|d| d.join(".gg")).find(|d| d.join("version").is_file())
    {
        return Ok(found);
    }
    if let Some(cache) = absolute("XDG_CACHE_HOME") {
        return Ok(cache.join("gg"));
    }
    absolute("HOME").map(|home| home.join(".cache/gg")).ok_or(Error::NoStore)
}

/// Is there a store of this version? Not if there is none.
fn is_of_this_version(version: &Path) -> Result<bool> {
    match fs::read_to_string(version) {
        Ok(found) if found.trim_end() == VERSION => Ok(true),
        Ok(found) => {
            let found = found.trim_end().chars().take(40).collect();
            Err(Error::StoreVersion { path: version.into(), found, expected: VERSION })
        }
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(Error::io("read", version)(e)),
    }
}

impl Store {
    /// Opens the store in `root`, making it if it is not there.
    ///
    /// # Errors
    /// It cannot be made or written to, or is of another version.
    pub fn open(root: &Path) -> Result<Self> {
        for directory in DIRECTORIES {
            let path = root.join(directory);
            if !path.is_dir() {
                fs::create_dir_all(&path).map_err(Error::io("make the store's directory", &path))?;
            }
        }
        let version = root.join("version");
        if !is_of_this_version(&version)? {
            write_atomically(&version, format!("{VERSION}\n").as_bytes(), 0o644)?;
        }
        Self::at(root)
    }

    /// Opens the store in `root` for somebody who removes what others rely on: nobody else has it open, nor can open it meanwhile.
    ///
    /// # Errors
    /// As [`Store::open_existing`]; or it is in use.
    pub fn open_alone(root: &Path) -> Result<Self> {
        let mut store = Self::open_existing(root)?;
        let lock = store.root.join("lock");
        let file = File::options().append(true).create(true).open(&lock).map_err(Error::io("lock", &lock))?;
        store.in_use = None;
        if !try_lock(&file) {
            return Err(Error::InUse(store.root));
        }
        store.in_use = Some(file);
        Ok(store)
    }

    /// Opens the store in `root` to look at what it holds. Nothing is made there but its lock.
    ///
    /// # Errors
    /// There is none, or it is of another version.
    pub fn open_existing(root: &Path) -> Result<Self> {
        if is_of_this_version(&root.join("version"))? {
            Self::at(root)
        } else {
            Err(Error::NoSuchStore(root.to_path_buf()))
        }
    }

    fn at(root: &Path) -> Result<Self> {
        let root = fs::canonicalize(root).map_err(Error::io("find the store", root))?;
        // Who may not write to the store may look at it.
        let in_use = File::options().append(true).create(true).open(root.join("lock")).ok();
        in_use.iter().for_each(share_lock);
        let files = FileCache::open(&root.join("cache/files"));
        Ok(Self { root, in_use, files, present: Mutex::default(), verified: Mutex::default() })
    }

    /// Opens the default store.
    ///
    /// # Errors
    /// As [`default_store_dir`] and [`Store::open`].
    pub fn open_default() -> Result<Self> {
        Self::open(&default_store_dir()?)
    }

    /// Its directory: absolute, without symbolic links.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes what processes that were killed while they wrote have left. What living ones write stays.
    pub fn sweep(&self) {
        atomic::sweep(&self.root.join("tmp"));
    }

    /// The cache of file hashes.
    #[must_use]
    pub fn files(&self) -> &FileCache {
        &self.files
    }

    /// A directory of the store for what can be computed again.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn cache_dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join("cache").join(name);
        fs::create_dir_all(&path).map_err(Error::io("make the directory", &path))?;
        Ok(path)
    }

    fn slot(&self, name: &ObjectName, executable: bool) -> PathBuf {
        self.root.join(if executable { "exec" } else { "blobs" }).join(name.to_string())
    }

    fn is_there(&self, name: &ObjectName, executable: bool) -> bool {
        if self.present.lock().unwrap_or_else(PoisonError::into_inner).contains(&(*name, executable)) {
            return true;
        }
        let there = fs::symlink_metadata(self.slot(name, executable))
            .is_ok_and(|m| m.is_file() && m.len() == name.size());
        if there {
            self.note(name, executable);
        }
        there
    }

    fn missing(&self, name: &ObjectName) -> Error {
        self.forget_trees();
        Error::Missing { name: *name, store: self.root.clone() }
    }

    fn corrupt(&self, path: PathBuf, actual: ObjectName) -> Error {
        self.forget_trees();
        Error::Corrupt { path, actual }
    }

    /// To record the build again is what helps where an object is gone or damaged. So recordings must look at all files again, and not take
    /// the trees from the list of those that they know.
    fn forget_trees(&self) {
        let _ = fs::remove_dir_all(self.root.join("cache").join(KNOWN_TREES));
    }

    fn note(&self, name: &ObjectName, executable: bool) {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).insert((*name, executable));
    }

    /// The file that holds an object, if the store has it.
    #[must_use]
    pub fn find(&self, name: &ObjectName) -> Option<PathBuf> {
        [false, true].into_iter().find(|&x| self.is_there(name, x)).map(|x| self.slot(name, x))
    }

    /// Does the store hold this object?
    #[must_use]
    pub fn contains(&self, name: &ObjectName) -> bool {
        self.is_there(name, false) || self.is_there(name, true)
    }

    /// A file with the object's content and the mode that is asked for: to be linked to, never written. Its content is
    /// checked, once for as long as the file stays the same.
    ///
    /// # Errors
    /// The store does not hold it, holds something else under its name, or cannot make the second form.
    pub fn file(&self, name: &ObjectName, executable: bool) -> Result<PathBuf> {
        let path = self.slot(name, executable);
        if self.is_verified(name, executable) {
            return Ok(path);
        }
        if self.is_there(name, executable) {
            self.check_slot(name, executable)?;
            return Ok(path);
        }
        if !self.is_there(name, !executable) {
            return Err(self.missing(name));
        }
        let source = self.slot(name, !executable);
        self.check_file(name, &source)?;
        let mut from = File::open(&source).map_err(Error::io("read", &source))?;
        let mut to = self.temporary(executable)?;
        // Goes through copy_file_range: shares the data where the file system can.
        io::copy(&mut from, &mut to.file()).map_err(Error::io("write", &path))?;
        to.flush().map_err(Error::io("write", &path))?;
        self.install(to, name, executable)?;
        Ok(path)
    }

    /// Does the store's file hold what its name says? Looked into once by this process.
    fn check_slot(&self, name: &ObjectName, executable: bool) -> Result<()> {
        if !self.is_verified(name, executable) {
            self.check_file(name, &self.slot(name, executable))?;
            self.verified.lock().unwrap_or_else(PoisonError::into_inner).insert((*name, executable));
        }
        Ok(())
    }

    fn is_verified(&self, name: &ObjectName, executable: bool) -> bool {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).contains(&(*name, executable))
    }

    /// Does the file hold what the name says? Read only if that is not known of it: hard links, which are made of store
    /// files all the time, change the ctime and nothing else, so the mtime has to do.
    fn check_file(&self, name: &ObjectName, path: &Path) -> Result<()> {
        let failed = |e| Error::io("read", path)(e);
        let mut file = File::open(path).map_err(failed)?;
        let id = FileId { ctime: 0, ..FileId::of(&file.metadata().map_err(failed)?) };
        let known = self.files.get(&id);
        let actual = match known {
            Some(known) => known,
            None => hash_stream(&mut file, None).map_err(failed)?,
        };
        if actual.digest() != name.digest() || actual.size() != name.size() {
            return Err(self.corrupt(path.to_path_buf(), actual));
        }
        if known.is_none() {
            self.files.put(&id, &actual);
        }
        Ok(())
    }

    /// Removes an object. Only where nobody else uses the store: others may remember that it is there.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, name: &ObjectName) -> Result<()> {
        for executable in [false, true] {
            let path = self.slot(name, executable);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &path)(e)),
                _ => {}
            }
            for known in [&self.present, &self.verified] {
                known.lock().unwrap_or_else(PoisonError::into_inner).remove(&(*name, executable));
            }
        }
        Ok(())
    }

    /// An object's content, checked against its name.
    ///
    /// # Errors
    /// The store does not hold it, or holds something else under its name.
    pub fn read(&self, name: &ObjectName) -> Result<Vec<u8>> {
        for executable in [false, true] {
            let path = self.slot(name, executable);
            let mut file = match File::open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(Error::io("read", &path))?,
            };
            let metadata = file.metadata().map_err(Error::io("look at", &path))?;
            if !metadata.is_file() || metadata.len() != name.size() {
                continue;
            }
            let mut content = vec![0; metadata.len() as usize];
            file.read_exact(&mut content).map_err(Error::io("read", &path))?;
            let actual = ObjectName::of(name.kind(), &content);
            if actual != *name {
                return Err(self.corrupt(path, actual));
            }
            return Ok(content);
        }
        Err(self.missing(name))
    }

    /// A thunk of the store.
    ///
    /// # Errors
    /// As [`Store::read`] and [`Thunk::decode`].
    pub fn thunk(&self, name: &ObjectName) -> Result<Thunk> {
        Thunk::decode(&name.to_string(), &self.read(name)?)
    }

    /// A tree of the store.
    ///
    /// # Errors
    /// As [`Store::read`] and [`Tree::decode`].
    pub fn tree(&self, name: &ObjectName) -> Result<Tree> {
        Tree::decode(&name.to_string(), &self.read(name)?)
    }

    /// Checks an object's file against its name.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn verify(&self, name: &ObjectName) -> Result<()> {
        for executable in [false, true] {
            let path = self.slot(name, executable);
            let Ok(mut file) = File::open(&path) else { continue };
            let actual = hash_stream(&mut file, None).map_err(Error::io("read", &path))?;
            if actual.digest() != name.digest() || actual.size() != name.size() {
                return Err(self.corrupt(path, actual));
            }
        }
        if self.contains(name) { Ok(()) } else { Err(self.missing(name)) }
    }

    /// The names of stored objects that start with this text, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn complete(&self, prefix: &str, limit: usize) -> Result<Vec<ObjectName>> {
        let mut found = Vec::new();
        for directory in ["blobs", "exec"] {
            let path = self.root.join(directory);
            for entry in fs::read_dir(&path).map_err(Error::io("list", &path))? {
                let entry = entry.map_err(Error::io("list", &path))?;
                if let Some(name) = entry.file_name().to_str()
                    && name.starts_with(prefix)
                    && let Ok(name) = name.parse()
                    && !found.contains(&name)
                {
                    found.push(name);
                    if found.len() == limit {
                        return Ok(found);
                    }
                }
            }
        }
        Ok(found)
    }

    /// The reduction of a thunk, if it is known, whole, and all its outputs are in the store.
    #[must_use]
    pub fn reduction(&self, thunk: &ObjectName) -> Option<Reduction> {
        let content = fs::read(self.root.join("reductions").join(thunk.to_string())).ok()?;
        // A damaged reduction is as good as none: the thunk runs again and replaces it.
        let reduction = Reduction::decode(&thunk.to_string(), &content).ok()?;
        reduction.outputs.iter().all(|o| self.contains(&o.value)).then_some(reduction)
    }

    /// Remembers what a thunk gives; nothing is written if that is known already, but for the time it took.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn put_reduction(&self, thunk: &ObjectName, reduction: &Reduction) -> Result<()> {
        let path = self.root.join("reductions").join(thunk.to_string());
        let content = reduction.encode();
        let written = || -> Result<AtomicFile> {
            let mut file = self.temporary(false)?;
            file.write_all(&content).map_err(Error::io("write", &path))?;
            Ok(file)
        };
        // Hardly ever is there one, so nobody looks first.
        if written()?.commit_new(&path)?
            || self.reduction(thunk).is_some_and(|known| {
                Reduction { wall: reduction.wall, cpu: reduction.cpu, ..known } == *reduction
            })
        {
            return Ok(());
        }
        written()?.commit(&path)
    }
}

#[cfg(test)]
mod tests;
