// SPDX-License-Identifier: Apache-2.0
//! Which names a directory had that a command read, where it was changed while the command ran: known if the command alone has changed
//! it, and only by names that were new. Knows nothing of what is in the files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use foldhash::{HashMap, HashSet};
use observe::Use;
use thunk::FileFacts;

use super::finish::{Look, changes};

impl Look<'_> {
    /// The names that were there when the command began. `None` where that is not known.
    pub(super) fn names_before(&mut self, named: &Path) -> Option<Vec<OsString>> {
        let real = std::fs::canonicalize(named).ok()?;
        let own = self.made_in(&real)?;
        let (watch, begun) = (&self.recorder.watch, &self.ended.begun);
        let events = begun.first..u64::MAX;
        let is_there = |path: &Path| path.parent() == Some(&*real);
        // The lock of what is known must not be held while more is read.
        let is_known = watch.writes().any_by_others(is_there, begun.id, &events);
        if is_known || watch.any_changes_now(is_there, begun.id, &events, self.recorder) {
            return None;
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&real).ok()? {
            let entry = entry.ok()?;
            let path = entry.path();
            if own.contains(&path) {
                continue;
            }
            let metadata = entry.metadata().ok()?;
            // Nobody of the build has put it there: then somebody else may have. A directory is as new as its names.
            let is_old = FileFacts::of(&metadata).changed_at() <= begun.began
                || metadata.is_dir() && metadata.created().is_ok_and(|made| nanoseconds(made) <= begun.began);
            if !is_old {
                return None;
            }
            names.push(entry.file_name());
        }
        self.own.extend(own);
        Some(names)
    }

    /// What the command has put into a directory, where it has changed nothing else there.
    fn made_in(&self, directory: &Path) -> Option<HashSet<PathBuf>> {
        let changed = self.touches.iter().filter(|(_, touch)| changes(touch));
        let mut made: HashMap<PathBuf, bool> = HashMap::default();
        for (named, touch) in changed {
            let place = self.real_place(touch.real.as_deref().unwrap_or(named));
            let Some(place) = place.filter(|place| place.parent() == Some(directory)) else { continue };
            // What it only changes keeps its name.
            let keeps_name = touch.input
                && !touch.has(Use::Removed)
                && !touch.has(Use::MovedAway)
                && !touch.has(Use::MovedHere);
            let is_new = touch.existed == Some(false);
            if !is_new && !keeps_name {
                return None;
            }
            *made.entry(place).or_insert(is_new) &= is_new;
        }
        Some(made.into_iter().filter(|(_, is_new)| *is_new).map(|(path, _)| path).collect())
    }
}

fn nanoseconds(time: std::time::SystemTime) -> i64 {
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
