// SPDX-License-Identifier: Apache-2.0
//! Forces what somebody waits for: by the engine that works while the build goes on, where there is one, else by the one that is
//! started on demand. Unaware of who waits, and why.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use thunk::FileId;

use super::{Recorder, lock};
use crate::early::Early;
use crate::following::{self, Following, Manner};

impl Recorder {
    /// Forces from now on while the build goes on.
    ///
    /// # Errors
    /// The engine cannot be started.
    pub fn follow(&self, options: following::Options) -> anyhow::Result<()> {
        let manner = Manner::Everything(options);
        let _ = self.following.set(Following::start(&self.install.ggforce, self.store.root(), manner)?);
        Ok(())
    }

    /// The engine that forces while the build goes on, where one does.
    pub fn following(&self) -> Option<&Following> {
        self.following.get()
    }

    /// Has a command failed whose failure ends the build?
    pub fn stops(&self) -> bool {
        self.following.get().is_some_and(Following::stopped)
    }

    /// Placeholders stand at these paths.
    pub(super) fn tell_engine(&self, paths: &[PathBuf]) {
        match self.following.get() {
            Some(following) => following.add(paths.iter().cloned()),
            None => self.on_demand.add(paths.iter().cloned()),
        }
    }

    /// Forces the placeholders among `paths`, under all names that this recording knows of them: what is one file before it
    /// is forced is one file after.
    ///
    /// # Errors
    /// As [`crate::force::OnDemand::force`].
    pub fn force(&self, paths: &[PathBuf]) -> Result<(), String> {
        let inode = |path: &Path| {
            let metadata = std::fs::symlink_metadata(path).ok()?;
            (metadata.is_file() && metadata.nlink() > 1).then_some((metadata.dev(), metadata.ino()))
        };
        let linked: BTreeSet<(u64, u64)> = paths.iter().filter_map(|p| inode(p)).collect();
        if linked.is_empty() {
            return self.force_all(paths);
        }
        let names = self.outputs().into_iter().filter(|p| inode(p).is_some_and(|i| linked.contains(&i)));
        self.force_all(&paths.iter().cloned().chain(names).collect::<Vec<_>>())
    }

    fn force_all(&self, paths: &[PathBuf]) -> Result<(), String> {
        if paths.is_empty() {
            return Ok(());
        }
        let turned = Early::turn(self, paths);
        // One that was killed answers no more: another does then.
        let result = match self.following.get().and_then(|following| following.force(paths)) {
            Some(answer) => answer,
            None => self.on_demand.force(paths),
        };
        // Whatever it has put where.
        *lock(&self.quiet) = self.scanner.now();
        self.looks.forget();
        if result.is_err() {
            turned.into_iter().for_each(|turned| turned.back(self));
        }
        result?;
        let mut forced = lock(&self.forced);
        for path in paths {
            if let Ok(real) = std::fs::canonicalize(path)
                && let Ok(metadata) = std::fs::metadata(&real)
            {
                forced.insert(real, FileId::of(&metadata));
            }
        }
        Ok(())
    }

    /// Is this file, at its real path, as it was when it replaced a placeholder? Then it is what the command found there, though
    /// it is younger than the command.
    pub fn was_forced(&self, real: &Path, id: &FileId) -> bool {
        lock(&self.forced).get(real) == Some(id)
    }

    /// Forces the placeholders in a directory, but for those of which this was tried before. What cannot be forced stays, and whoever opens
    /// it is told.
    pub fn fill(&self, directory: &Path) {
        let found = self.placeholders_in(directory);
        if !found.is_empty() && self.force(&found).is_err() {
            let left = self.placeholders(found.iter().map(PathBuf::as_path));
            let mut refused = lock(&self.refused);
            refused.extend(left.into_iter().filter_map(|path| Some((file_at(&path)?, path))));
        }
    }

    /// The placeholders in a directory, that are not known to fail.
    fn placeholders_in(&self, directory: &Path) -> Vec<PathBuf> {
        let Ok(directory) = std::fs::canonicalize(directory) else { return Vec::new() };
        let below = (Bound::Excluded(directory.as_path()), Bound::Unbounded);
        let outputs = lock(&self.outputs);
        let below = outputs.range::<Path, _>(below).take_while(|path| path.starts_with(&directory));
        let within = below.filter(|path| path.parent() == Some(&directory)).cloned().collect::<Vec<_>>();
        drop(outputs);
        let mut found = self.placeholders(within.iter().map(PathBuf::as_path));
        let refused = lock(&self.refused);
        found.retain(|path| file_at(path).is_none_or(|file| refused.get(&file) != Some(path)));
        found
    }
}

/// The identity of what stands at a path.
fn file_at(path: &Path) -> Option<FileId> {
    std::fs::symlink_metadata(path).ok().map(|metadata| FileId::of(&metadata))
}
