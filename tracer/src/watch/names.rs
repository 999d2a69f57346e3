// SPDX-License-Identifier: Apache-2.0
//! Which names a directory had that a command read, where it was changed while the command ran: known if it was changed only by names
//! that were new. Knows nothing of what is in the files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use foldhash::{HashMap, HashSet};
use observe::Use;
use thunk::FileFacts;
use thunk::trace::Uses;

use super::finish::{Look, changes, uses};

impl Look<'_> {
    /// The names that were there when the command began. `None` where that is not known. What commands that ran at the same time have made
    /// there is left out, if it did not look at it: make does not say which of them comes first, so it has to do without.
    pub(super) fn names_before(&mut self, named: &Path) -> Option<Vec<OsString>> {
        let real = std::fs::canonicalize(named).ok()?;
        let mut later = self.made_in(&real)?;
        let (watch, begun) = (&self.recorder.watch, &self.ended.begun);
        let events = begun.first..u64::MAX;
        let others = watch.made_beside(&real, begun.id, &events, self.recorder)?;
        if !others.is_empty() {
            let used = self.touches.iter().filter(|(_, touch)| uses(touch) != Uses::MISSING);
            let mut places = used.filter_map(|(named, touch)| self.place_of(named, touch));
            if places.any(|place| others.contains(&place)) {
                return None;
            }
        }
        later.extend(others);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&real).ok()? {
            let entry = entry.ok()?;
            let path = entry.path();
            if later.contains(&path) {
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
        self.later.extend(later);
        Some(names)
    }

    /// What the command has put into a directory, where it has changed nothing else there.
    fn made_in(&self, directory: &Path) -> Option<HashSet<PathBuf>> {
        let changed = self.touches.iter().filter(|(_, touch)| changes(touch));
        let mut made: HashMap<PathBuf, bool> = HashMap::default();
        for (named, touch) in changed {
            let place = self.place_of(named, touch);
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
