// SPDX-License-Identifier: Apache-2.0
//! Makes a command that is replayed find what it found: puts outputs, intermediate files and modes in their places, moves what it had moved,
//! and takes away what it left the last time. Does not know what the command is, nor what has changed.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use thunk::trace::{self, Now, Observed, Product, Uses};
use thunk::{AtomicFile, ObjectName, OutputRef, Thunk};

use super::Replay;
use crate::defer::{self, Deferred};
use crate::originals::Originals;

impl Replay<'_> {
    /// Something else is about to stand here.
    pub(super) fn keep(&self, path: &Path) -> Result<()> {
        let kept = self.recorder.originals.get().map(|originals| originals.keep(&self.recorder.store, path));
        Ok(kept.unwrap_or(Ok(()))?)
    }

    /// What a thunk gave before stands elsewhere too, where others may read it.
    pub(super) fn carry(&mut self, name: ObjectName, again: &Deferred) {
        for path in self.carried.get(&name).into_iter().flatten() {
            let Some(Product::Output(output)) = self.current.products().get(path) else { continue };
            if again.thunk == name {
                self.stale.remove(path);
                continue;
            }
            let output = OutputRef { thunk: again.thunk, ..output.clone() };
            self.elsewhere.insert(path.clone(), output);
            self.stale.insert(path.clone());
        }
    }

    /// A command is to read what stands at this path now: if that was moved or copied there, what is there now is put there.
    pub(super) fn bring(&mut self, path: &Path) -> Result<()> {
        let Some(output) = self.elsewhere.remove(path) else { return Ok(()) };
        let mode = self.mode_at(path, &output);
        self.put(path, output, mode)
    }

    /// The mode of an output that is put here: what a command up to this point of the build has given it, or the one
    /// that it has where it was made.
    pub(super) fn mode_at(&self, path: &Path, output: &OutputRef) -> u32 {
        let there = || [Some(path), output.output.as_deref()].into_iter().flatten();
        let has = || there().find_map(|path| path.symlink_metadata().ok().filter(std::fs::Metadata::is_file));
        let given = self.modes.get(path).copied();
        given.or_else(|| Some(has()?.permissions().mode() & 0o7777)).unwrap_or(0o644)
    }

    /// Does again what a command did that moved files, where other outputs of deferred commands are in their places now. Tells whether that is all
    /// that it has to do.
    pub(super) fn moves(&mut self, observed: &Observed) -> Result<bool> {
        let stale = self.stale_among(observed, &[Uses::MOVED_AWAY]);
        let pairs: Option<Vec<_>> =
            stale.iter().map(|from| Some((from, self.moved_to(observed, from)?))).collect();
        let Some(pairs) = pairs.filter(|pairs| !pairs.is_empty()) else { return Ok(false) };
        let mut moves = Vec::with_capacity(pairs.len());
        for (from, to) in pairs {
            let Now::Placeholder(output) = self.current.now(&from.path) else { return Ok(false) };
            moves.push((from.path.to_path_buf(), to.to_path_buf(), output));
        }
        for touch in observed.with(Uses::OUTPUT) {
            self.leave(&touch.path);
        }
        for (from, to, output) in moves {
            self.make_directory_of(&to)?;
            self.keep(&from)?;
            self.recorder.note_outputs([to.clone()])?;
            std::fs::rename(&from, &to).with_context(|| format!("cannot move {}", from.display()))?;
            self.current.forget(&from);
            self.current.forget(&to);
            self.stale.remove(&from);
            self.stale.insert(to.clone());
            self.placed.insert(to.clone());
            self.moved.remove(&from);
            self.moved.insert(to, output);
        }
        Ok(true)
    }

    /// Where a command put a file that it only moved: the one that it left, or of several the one at whose place the build left what had been made there.
    pub(super) fn moved_to<'b>(&self, observed: &'b Observed, from: &trace::Touch) -> Option<&'b Path> {
        if from.uses.has(Uses::READ) {
            return None;
        }
        let only_moved = |to: &trace::Touch| to.uses.has(Uses::MOVED_HERE) && !to.uses.has(Uses::WRITTEN);
        let mut outputs = observed.with(Uses::OUTPUT);
        let mut left = observed.with(Uses::MOVED_AWAY);
        if let (Some(to), None, Some(_), None) = (outputs.next(), outputs.next(), left.next(), left.next()) {
            return only_moved(to).then_some(&*to.path);
        }
        let made_there = |to: &trace::Touch| match self.current.products().get(&to.path) {
            Some(Product::Output(output)) => output.output.as_deref() == Some(&*from.path),
            _ => false,
        };
        let mut found = observed.with(Uses::OUTPUT).filter(|to| only_moved(to) && made_there(to));
        let (to, None) = (found.next()?, found.next()) else { return None };
        Some(&*to.path)
    }

    /// Makes the command find what it found: the outputs of other commands, and no older outputs of its own.
    pub(super) fn furnish(&mut self, thunk: &Thunk) -> Result<()> {
        for input in &thunk.thunks {
            let mut from = input.from.clone();
            if let Some(now) = self.remade.get(&from.thunk) {
                from.thunk = *now;
            }
            match self.current.now(&input.path) {
                Now::Placeholder(standing) if standing == from => continue,
                Now::File(value, _) if self.current.gives(&from) == Some(value) => continue,
                _ => {
                    let mode = self.mode_at(&input.path, &from);
                    self.put(&input.path, from, mode)?;
                }
            }
        }
        let inputs = || thunk.values.iter().chain(&thunk.executables);
        for input in inputs() {
            self.bring(&input.path)?;
        }
        self.bring_back(thunk)?;
        self.clear(thunk)
    }

    /// Removes what a command left the last time, but for what it changes in place.
    pub(super) fn clear(&self, thunk: &Thunk) -> Result<()> {
        let inputs = || thunk.values.iter().chain(&thunk.executables);
        for output in thunk.outputs.iter().chain(&thunk.optional_outputs) {
            let changed_in_place = inputs().any(|input| input.path == *output)
                || thunk.thunks.iter().any(|input| input.path == *output);
            if !changed_in_place && output.symlink_metadata().is_ok_and(|m| !m.is_dir()) {
                self.keep(output)?;
                std::fs::remove_file(output)
                    .with_context(|| format!("cannot remove {}", output.display()))?;
                self.current.forget(output);
            }
        }
        Ok(())
    }

    /// Puts back what commands before it had made, where that is gone, or is what commands after it have made of it.
    pub(super) fn bring_back(&mut self, thunk: &Thunk) -> Result<()> {
        self.bring_links_back(thunk)?;
        let values = thunk.values.iter().map(|input| (input, false));
        for (input, executable) in values.chain(thunk.executables.iter().map(|input| (input, true))) {
            let path = &input.path;
            let is_other = match self.current.now(path) {
                Now::Missing => self.trace.packed || self.current.products().written.contains(path),
                Now::File(now, _) => now != input.value && self.made.contains(path),
                Now::Placeholder(output) => {
                    self.made.contains(path)
                        && self.current.gives(&output).is_some_and(|now| now != input.value)
                }
                Now::Other => false,
            };
            // What others go on with is as it is.
            let is_kept = self.current.products().kept.contains(path);
            if is_other && !is_kept && !self.stale.contains(path) {
                self.restore(path, &input.value, executable)?;
            }
        }
        Ok(())
    }

    pub(super) fn put(&mut self, path: &Path, output: OutputRef, mode: u32) -> Result<()> {
        self.make_directory_of(path)?;
        self.recorder.note_outputs([path.to_path_buf()])?;
        let file = defer::placeholder(self.recorder, path, output, mode)?;
        file.commit(path)?;
        self.current.forget(path);
        self.placed.insert(path.to_path_buf());
        Ok(())
    }

    /// Puts an intermediate file back that the build had made by a command that ran.
    pub(super) fn restore(&mut self, path: &Path, value: &ObjectName, executable: bool) -> Result<()> {
        self.make_directory_of(path)?;
        self.keep(path)?;
        let content = self.recorder.store.read(value)?;
        let mode = if executable { 0o777 } else { 0o666 };
        let mut file = AtomicFile::create_in(path.parent().unwrap_or(Path::new("/")), mode)?;
        file.write_all(&content).with_context(|| format!("cannot write {}", path.display()))?;
        file.commit(path)?;
        self.current.forget(path);
        self.placed.insert(path.to_path_buf());
        Ok(())
    }

    /// Gives what was put in place anew the permissions that a command gave it.
    pub(super) fn give_modes(&self, observed: &Observed) -> Result<()> {
        let given = observed.touches.iter().filter_map(|touch| Some((&*touch.path, touch.mode?)));
        for (path, mode) in given.filter(|(path, _)| self.placed.contains(*path)) {
            let there = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file);
            if there.is_some_and(|there| there.permissions().mode() & 0o7777 != mode) {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
                    .with_context(|| format!("cannot change the mode of {}", path.display()))?;
                self.current.forget(path);
            }
        }
        Ok(())
    }

    /// Directories that the build had made for this command, as ninja does by itself for outputs.
    pub(super) fn make_directories_for(&self, thunk: &Thunk) -> Result<()> {
        let made = &self.current.products().directories;
        for directory in thunk.workdir.iter().chain(&thunk.directories).filter(|path| made.contains(*path)) {
            self.make_directory(directory)?;
        }
        thunk.outputs.iter().try_for_each(|output| self.make_directory_of(output))
    }

    /// Something is about to stand here.
    pub(super) fn make_directory_of(&self, path: &Path) -> Result<()> {
        self.make_directory(path.parent().unwrap_or(Path::new("/")))
    }

    fn make_directory(&self, directory: &Path) -> Result<()> {
        let make = |originals: &Originals| originals.make_directory(directory);
        let made = self.recorder.originals.get().map_or_else(|| std::fs::create_dir_all(directory), make);
        made.with_context(|| format!("cannot make {}", directory.display()))
    }
}
