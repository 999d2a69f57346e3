// SPDX-License-Identifier: Apache-2.0
//! What stood where a replay puts something else, until it is known that the replay can be done: one that cannot leaves the files as they were, for make goes by
//! what stands there and how old it is. Contents are in the store, where most of them are anyway. Knows no commands.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use thunk::{AtomicFile, FileFacts, FileId, ObjectName, Store, link_atomically};

use crate::looks::is_gone;
use crate::recorder::lock;

/// What stood at the paths that a replay has changed.
#[derive(Debug, Default)]
pub struct Originals(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    known: HashSet<PathBuf>,
    all: Vec<(PathBuf, Original)>,
    /// Directories that were not there, those above first.
    directories: Vec<PathBuf>,
}

#[derive(Debug)]
enum Original {
    Nothing,
    File { id: FileId, value: ObjectName, mode: u32 },
    Link(PathBuf),
}

impl Originals {
    /// Keeps what stands at a path that is about to be changed for the first time.
    ///
    /// # Errors
    /// It cannot be read or kept.
    pub fn keep(&self, store: &Store, path: &Path) -> thunk::Result<()> {
        let mut kept = lock(&self.0);
        if kept.known.contains(path) {
            return Ok(());
        }
        let original = match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => Self::file(store, path, &metadata)?,
            Ok(metadata) if metadata.is_symlink() => {
                fs::read_link(path).map_or(Original::Nothing, Original::Link)
            }
            // Nothing is put there.
            Ok(_) => return Ok(()),
            Err(_) => Original::Nothing,
        };
        kept.known.insert(path.to_path_buf());
        kept.all.push((path.to_path_buf(), original));
        Ok(())
    }

    fn file(store: &Store, path: &Path, metadata: &Metadata) -> thunk::Result<Original> {
        let facts = FileFacts::of(metadata);
        let value = store.put_seen(path, &facts)?;
        Ok(Original::File { id: facts.id, value, mode: metadata.permissions().mode() & 0o7777 })
    }

    /// Puts back what stood at this path, if anything did.
    ///
    /// # Errors
    /// It cannot be put back.
    pub fn put_back_what_was_there(&self, store: &Store, path: &Path) -> Result<()> {
        let kept = lock(&self.0);
        let original = kept.all.iter().find(|(of, _)| of == path).map(|(_, original)| original);
        match original {
            None | Some(Original::Nothing) => Ok(()),
            Some(original) => {
                original.put_back(store, path).with_context(|| format!("cannot put {} back", path.display()))
            }
        }
    }

    /// Makes a directory, and those above it.
    ///
    /// # Errors
    /// One of them cannot be made.
    pub fn make_directory(&self, path: &Path) -> io::Result<()> {
        let mut kept = lock(&self.0);
        let missing: Vec<_> = path.ancestors().take_while(|above| is_missing(above)).collect();
        fs::create_dir_all(path)?;
        kept.directories.extend(missing.into_iter().rev().map(Path::to_path_buf));
        Ok(())
    }

    /// Removes the directories that it has made and that nothing is in, but for those that are to stay.
    pub fn remove_directories(&self, stays: impl Fn(&Path) -> bool) {
        // One in which something is cannot be removed.
        for path in lock(&self.0).directories.iter().rev().filter(|path| !stays(path)) {
            let _ = fs::remove_dir(path);
        }
    }

    /// Puts everything back as it was.
    ///
    /// # Errors
    /// One of them cannot be put back: the others are.
    pub fn put_back(&self, store: &Store) -> Result<()> {
        let all = std::mem::take(&mut lock(&self.0).all);
        let back = |(path, original): &(PathBuf, Original)| {
            original.put_back(store, path).with_context(|| format!("cannot put {} back", path.display()))
        };
        // All of them, whatever comes of one.
        let results: Vec<_> = all.iter().map(back).collect();
        self.remove_directories(|_| false);
        results.into_iter().collect()
    }
}

impl Original {
    fn put_back(&self, store: &Store, path: &Path) -> Result<()> {
        match self {
            Original::Nothing => Ok(remove(path)?),
            Original::Link(target) => Ok(link_atomically(path, target)?),
            Original::File { id, .. } if is_still(path, id) => Ok(()),
            Original::File { id, value, mode } => {
                let content = store.read(value)?;
                let mut file = AtomicFile::create_in(path.parent().unwrap_or(Path::new("/")), *mode)?;
                file.write_all(&content)?;
                file.set_mode(*mode)?;
                file.file()
                    .set_modified(UNIX_EPOCH + Duration::from_nanos(id.mtime.max(0).cast_unsigned()))?;
                Ok(file.commit(path)?)
            }
        }
    }
}

fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| is_gone(&error))
}

fn is_still(path: &Path, id: &FileId) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| FileId::of(&metadata) == *id)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}
