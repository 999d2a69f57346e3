// SPDX-License-Identifier: Apache-2.0
//! The symbolic links that recorded commands left: they stand where they stood for whoever came after. What is behind one is found by its
//! name only if it is there, so a link that is missing, as in a fresh copy, is put in its place when its turn comes. One of a
//! command that runs again it makes again, or has failed. Knows nothing of what is behind links.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use thunk::trace::{Observed, Product, Uses};
use thunk::{Link, ObjectName, OutputRef, Thunk, link_atomically, real_place};

use super::Replay;

impl Replay<'_> {
    /// This thunk has become of a command: what it leaves is there from now on.
    pub(super) fn put_links(&mut self, name: ObjectName) -> Result<()> {
        for link in self.recorder.store.thunk(&name)?.made_links {
            self.put_link(&link)?;
            let output = OutputRef { thunk: name, output: Some(link.path.clone()) };
            self.links.insert(link.path, output);
        }
        Ok(())
    }

    /// A command stays as it is: where nothing stands by now, or what this replay has put there, the links are put that it left.
    pub(super) fn leave_links(&mut self, observed: &Observed) -> Result<()> {
        let changed = [Uses::OUTPUT, Uses::REMOVED, Uses::MOVED_AWAY];
        for touch in observed.touches.iter().filter(|touch| touch.uses.has_one_of(&changed)) {
            let Some(value) = touch.after.filter(|_| touch.uses.has(Uses::OUTPUT | Uses::LINK)) else {
                if !self.links.is_empty() {
                    self.links.remove(&*touch.path);
                    real_place(&touch.path).iter().for_each(|real| drop(self.links.remove(real)));
                }
                continue;
            };
            let Ok(target) = self.recorder.store.read(&value) else { continue };
            let target = PathBuf::from(OsStr::from_bytes(&target));
            self.make_directory_of(&touch.path)?;
            let path = real_place(&touch.path).with_context(|| format!("{}", touch.path.display()))?;
            self.links.remove(&path);
            if self.leave_link(&Link { path, target })? {
                self.current.forget_below(&touch.path);
            }
        }
        Ok(())
    }

    /// The same of a command that was deferred.
    pub(super) fn leave_links_of(&mut self, thunk: &Thunk) -> Result<()> {
        thunk.made_links.iter().try_for_each(|link| self.leave_link(link).map(drop))
    }

    /// Tells whether it was not there.
    fn leave_link(&mut self, link: &Link) -> Result<bool> {
        let is_free = || link.path.symlink_metadata().is_err() || self.placed.contains(&link.path);
        if !is_free() || !self.put_link(link)? {
            return Ok(false);
        }
        // A directory that the build made is where it was.
        let leads_to = thunk::trace::clean(&link.path.with_file_name("").join(&link.target));
        if let Some(directory) = leads_to.filter(|end| self.current.products().directories.contains(end)) {
            std::fs::create_dir_all(&directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        Ok(true)
    }

    /// Puts back the links by which a command found what it used, where the build had made them.
    pub(super) fn bring_links_back(&mut self, thunk: &Thunk) -> Result<()> {
        let is_written = |link: &&Link| self.current.products().written.contains(&link.path);
        let links: Vec<_> = thunk.links.iter().filter(is_written).cloned().collect();
        links.iter().try_for_each(|link| self.put_link(link).map(drop))
    }

    /// Tells whether it was not there.
    fn put_link(&mut self, link: &Link) -> Result<bool> {
        let Link { path, target } = link;
        if std::fs::read_link(path).is_ok_and(|there| there == *target) {
            return Ok(false);
        }
        self.make_directory_of(path)?;
        self.keep(path)?;
        link_atomically(path, target)?;
        self.placed.insert(path.clone());
        self.current.forget_below(path);
        Ok(true)
    }

    /// Takes away links that the build had removed or replaced in the end; and those that wait for the commands that make them, where there was
    /// something else: it would be lost if one of these fails. But what others have left behind a link they are to find there.
    pub(super) fn settle_links(&self) -> Result<()> {
        let products = self.current.products();
        for path in self.placed.iter().filter(|path| path.is_symlink()) {
            if let Some(Product::Value { .. }) = products.last.get(path) {
                std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
                continue;
            }
            let waits = self.links.get(path).filter(|by| self.recorder.store.reduction(&by.thunk).is_none());
            if waits.is_some()
                && !products.is_above_another(path)
                && let Some(originals) = self.recorder.originals.get()
            {
                originals.put_back_what_was_there(&self.recorder.store, path)?;
            }
        }
        Ok(())
    }
}
