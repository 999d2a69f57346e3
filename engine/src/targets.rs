// SPDX-License-Identifier: Apache-2.0
//! What is to be forced: from names on the command line, from a list, or from the trace of the build that was recorded
//! here last, to the placeholders that stand there now.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use thunk::trace::Trace;
use thunk::{Placeholder, Store};

use crate::materialise::{Place, Target};

/// Collects placeholders, each once.
pub struct Targets<'a> {
    store: &'a Store,
    seen: HashSet<PathBuf>,
    /// Where directories really are.
    directories: HashMap<PathBuf, PathBuf>,
    /// What was found.
    pub found: Vec<Target>,
}

impl<'a> Targets<'a> {
    /// None yet.
    pub fn new(store: &'a Store) -> Self {
        Self { store, seen: HashSet::new(), directories: HashMap::new(), found: Vec::new() }
    }

    /// A file or directory that the user named; what is no placeholder needs nothing.
    ///
    /// # Errors
    /// It does not exist, or is a placeholder that cannot be forced here.
    pub fn add_named(&mut self, path: &Path) -> Result<()> {
        let metadata = std::fs::metadata(path).with_context(|| {
            format!("{}: no such target; name a file that the build made", path.display())
        })?;
        if !metadata.is_dir() {
            return self.add(path);
        }
        let mut pending = vec![path.to_path_buf()];
        while let Some(directory) = pending.pop() {
            let cannot = || format!("cannot list {}", directory.display());
            for entry in std::fs::read_dir(&directory).with_context(cannot)? {
                let entry = entry.with_context(cannot)?;
                let kind = entry.file_type().with_context(cannot)?;
                if kind.is_dir() {
                    pending.push(entry.path());
                } else if kind.is_file() {
                    self.add(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Adds the placeholder at `path`, if one stands there.
    ///
    /// # Errors
    /// It is damaged, or belongs to another store.
    pub fn add(&mut self, path: &Path) -> Result<()> {
        let Some(placeholder) = Placeholder::read_to_replace(path)? else { return Ok(()) };
        if placeholder.store != self.store.root() {
            bail!(
                "{} is a placeholder of the store {}, not of {}; set GG_DIR to that store",
                path.display(),
                placeholder.store.display(),
                self.store.root().display()
            );
        }
        let real = self.real(path).with_context(|| format!("cannot resolve {}", path.display()))?;
        if self.seen.insert(real.clone()) {
            self.found.push(Target { path: real, output: placeholder.output, place: Place::Placeholder });
        }
        Ok(())
    }

    /// The path without symbolic links. Many targets stand in one directory.
    fn real(&mut self, path: &Path) -> io::Result<PathBuf> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return std::fs::canonicalize(path);
        };
        if directory.as_os_str().is_empty() || std::fs::symlink_metadata(path)?.is_symlink() {
            return std::fs::canonicalize(path);
        }
        if let Some(real) = self.directories.get(directory) {
            return Ok(real.join(name));
        }
        let real = std::fs::canonicalize(directory)?;
        let path = real.join(name);
        self.directories.insert(directory.into(), real);
        Ok(path)
    }

    /// Adds what standard input lists, paths that end with NUL bytes.
    ///
    /// # Errors
    /// It cannot be read, or as [`Targets::add`].
    pub fn add_list(&mut self) -> Result<()> {
        let mut list = Vec::new();
        io::stdin().read_to_end(&mut list).context("cannot read the list of targets")?;
        for path in list.split(|&b| b == 0).filter(|p| !p.is_empty()) {
            self.add(Path::new(OsStr::from_bytes(path)))?;
        }
        Ok(())
    }

    /// Adds everything that the last build recorded in this directory or above, and the last in this directory itself, left to be forced.
    ///
    /// # Errors
    /// There is no such trace, or as [`Targets::add`].
    pub fn add_latest(&mut self) -> Result<()> {
        for path in latest(self.store)? {
            for output in trace(self.store, Some(&path))?.left(self.store) {
                self.add(&output)?;
            }
        }
        Ok(())
    }
}

/// The traces of the last builds here, at least one.
fn latest(store: &Store) -> Result<Vec<PathBuf>> {
    let here = std::env::current_dir().context("cannot tell the current directory")?;
    let traces = Trace::all_latest(store, &here)?;
    if traces.is_empty() {
        bail!(
            "no build was recorded in {} with the store {}; run ggtrace there, or name a target",
            here.display(),
            store.root().display()
        );
    }
    Ok(traces)
}

/// This trace, or that of the last build recorded in this directory or above.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn trace(store: &Store, path: Option<&Path>) -> Result<Trace> {
    let found;
    let path = match path {
        Some(path) => path,
        None => {
            found = latest(store)?;
            &found[0]
        }
    };
    let trace = Trace::read(path)?;
    if let Some(why) = &trace.cut {
        thunk::say!(
            "ggforce: {}: the recorder was interrupted ({why}); forcing what it had recorded",
            path.display()
        );
    }
    Ok(trace)
}
