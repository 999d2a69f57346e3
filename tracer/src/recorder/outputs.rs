// SPDX-License-Identifier: Apache-2.0
//! Where placeholders may stand: the paths at which this recording put some, saw some put, or found some. The trace names each
//! before anything stands there. Unaware of who forces them, and of what the commands are.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use observe::Transfer;
use thunk::{OutputRef, Placeholder, real_place};

use super::{Recorder, lock};

impl Recorder {
    /// Writes into the trace where placeholders may stand from now on, if it is not known yet. Done before one is put, so that
    /// none is forgotten if the recorder is killed: make would never have it made again.
    ///
    /// # Errors
    /// The trace cannot be written to.
    pub fn note_outputs(&self, paths: impl IntoIterator<Item = PathBuf>) -> thunk::Result<()> {
        let mut outputs = lock(&self.outputs);
        let mut new = Vec::new();
        for path in paths {
            if let Some(originals) = self.originals.get() {
                originals.keep(&self.store, &path)?;
            }
            self.puts(&path);
            if !outputs.contains(&path) {
                new.push(path);
            }
        }
        if !new.is_empty() {
            self.log.iter().for_each(|log| log.note_placeholders());
        }
        self.trace.placed(new.iter().map(PathBuf::as_path))?;
        outputs.extend(new);
        Ok(())
    }

    /// The same for a path, with links on the way, at which something that may be a placeholder stands since a copy or
    /// rename; or a directory of such.
    ///
    /// # Errors
    /// As [`Recorder::note_outputs`].
    pub fn note_placed(&self, path: &Path, old: Option<&Path>, directory: bool) -> thunk::Result<()> {
        let Ok(path) = real_place(path) else { return Ok(()) };
        if !directory {
            self.standing.changed(&path);
            self.tell_engine(std::slice::from_ref(&path));
            return self.note_outputs([path]);
        }
        let Some(old) = old.and_then(|old| real_place(old).ok()) else { return Ok(()) };
        let below = |p: &PathBuf| p.strip_prefix(&old).ok().map(|rest| path.join(rest));
        let moved: Vec<PathBuf> = lock(&self.outputs).iter().filter_map(below).collect();
        moved.iter().for_each(|path| self.standing.changed(path));
        self.tell_engine(&moved);
        self.note_outputs(moved)
    }

    /// A process whose calls the kernel tells of renames or links this, or has just done so. Hooks see for themselves whether it is a
    /// placeholder; here it is at one of the two places.
    pub fn transferred(&self, how: Transfer, from: &Path, to: &Path) {
        if !self.has_outputs() {
            return;
        }
        let known = [from, to].map(|path| std::fs::symlink_metadata(path).ok());
        let directory = known.iter().flatten().any(std::fs::Metadata::is_dir);
        let may_be = |file: &std::fs::Metadata| file.is_file() && wire::size_may_be_placeholder(file.len());
        if !directory && !known.iter().flatten().any(may_be) {
            return;
        }
        let back = (how == Transfer::Exchange).then_some((to, from));
        for (old, new) in std::iter::once((from, to)).chain(back) {
            if let Err(error) = self.note_placed(new, Some(old), directory) {
                self.complain(&error);
            }
        }
    }

    /// Every path at which a placeholder of this recording may stand.
    pub fn outputs(&self) -> Vec<PathBuf> {
        lock(&self.outputs).iter().cloned().collect()
    }

    /// The placeholders that are this file, by device and inode.
    pub fn outputs_that_are(&self, file: (u64, u64)) -> Vec<PathBuf> {
        let is_it = |path: &PathBuf| {
            std::fs::symlink_metadata(path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == file)
        };
        let found: Vec<PathBuf> = self.outputs().into_iter().filter(is_it).collect();
        self.placeholders(found.iter().map(PathBuf::as_path))
    }

    /// May placeholders stand anywhere?
    pub fn has_outputs(&self) -> bool {
        !lock(&self.outputs).is_empty()
    }

    /// An output of this recording: will it be a program or a shared library?
    pub fn note_linked(&self, output: OutputRef, linked: bool) {
        lock(&self.linked).insert(output, linked);
    }

    /// The placeholders among these paths.
    pub fn placeholders<'a>(&self, paths: impl Iterator<Item = &'a Path>) -> Vec<PathBuf> {
        let may_be = |path: &Path| {
            self.way(path).file().is_some_and(|(_, facts)| wire::size_may_be_placeholder(facts.id.size))
        };
        let is = |path: &&Path| may_be(path) && matches!(Placeholder::read(path), Ok(Some(_)));
        paths.filter(is).map(Path::to_path_buf).collect()
    }
}
