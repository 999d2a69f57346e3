// SPDX-License-Identifier: Apache-2.0
//! Who changed which file, and when: tells whether what a file holds now is what a command found or left there. Knows no
//! contents.

use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use foldhash::{HashMap, HashSet};
use observe::{Event, Kind, Transfer};

/// A change of what stands at some paths.
#[derive(Debug, PartialEq, Eq)]
pub struct Change<'a> {
    paths: Vec<&'a Path>,
    /// Nothing stood there before, as far as is known.
    makes: bool,
}

impl Change<'_> {
    /// Does it change what stands at this path?
    pub fn is_of(&self, path: &Path) -> bool {
        self.paths.contains(&path)
    }
}

/// The paths, links resolved, of whose content or existence this event is a change.
pub fn change(event: &Event) -> Option<Change<'_>> {
    let (paths, makes) = match event {
        Event::Opened(_, Kind::Special, _) => return None,
        Event::Opened(place, _, access) if access.writes || access.created => {
            (vec![place.real()], access.created)
        }
        Event::Made(place) | Event::Symlinked(place, _) => (vec![place.real()], true),
        Event::Removed(place) => (vec![place.real()], false),
        // The content of what gets another name stays.
        Event::Transferred(Transfer::Link, _, to) => (vec![to.real()], true),
        Event::Transferred(_, from, to) => (vec![from.real(), to.real()], false),
        _ => return None,
    };
    Some(Change { paths, makes })
}

/// A change of what stands at one path.
#[derive(Debug)]
struct Write {
    number: u64,
    group: u32,
    makes: bool,
}

/// What commands have done in a directory during some events: at which paths, and whether nothing stood there before.
#[derive(Debug, Default)]
pub struct InDirectory {
    at: HashMap<PathBuf, (u64, bool)>,
    /// The commands.
    pub by: HashSet<u32>,
}

impl InDirectory {
    /// Adds a change, if it is one in the directory.
    pub fn note(&mut self, directory: &Path, change: &Change<'_>, number: u64, group: u32) {
        for path in change.paths.iter().filter(|path| path.parent() == Some(directory)) {
            self.add(path, number, change.makes);
            self.by.insert(group);
        }
    }

    fn add(&mut self, path: &Path, number: u64, makes: bool) {
        match self.at.get_mut(path) {
            Some(first) => *first = (*first).min((number, makes)),
            None => {
                self.at.insert(path.to_path_buf(), (number, makes));
            }
        }
    }

    /// The paths, if nothing stood at any of them before.
    pub fn all_made(self) -> Option<HashSet<PathBuf>> {
        let all = self.at.values().all(|(_, makes)| *makes);
        all.then(|| self.at.into_keys().collect())
    }
}

/// All changes of a build.
#[derive(Debug, Default)]
pub struct Writes {
    of: HashMap<OsString, Vec<Write>>,
}

impl Writes {
    /// The command changed something.
    pub fn note(&mut self, change: Change<'_>, number: u64, group: u32) {
        for path in change.paths {
            let list = match self.of.get_mut(path.as_os_str()) {
                Some(list) => list,
                None => self.of.entry(path.into()).or_default(),
            };
            list.push(Write { number, group, makes: change.makes });
        }
    }

    /// Has another command than this one changed what stands there, in one of these events?
    pub fn by_others(&self, path: &Path, group: u32, events: &Range<u64>) -> bool {
        self.any(path, events, |by| by != group)
    }

    /// What others than this command have changed in a directory in one of these events. Looks through all that the build has changed.
    pub fn in_directory(&self, directory: &Path, group: u32, events: &Range<u64>) -> InDirectory {
        let mut found = InDirectory::default();
        for (path, list) in &self.of {
            let path = Path::new(path);
            for write in list.iter().filter(|write| write.group != group && events.contains(&write.number)) {
                if path.parent() == Some(directory) {
                    found.add(path, write.number, write.makes);
                    found.by.insert(write.group);
                }
            }
        }
        found
    }

    /// Has this command?
    pub fn by(&self, path: &Path, group: u32, events: &Range<u64>) -> bool {
        self.any(path, events, |by| by == group)
    }

    fn any(&self, path: &Path, events: &Range<u64>, is_meant: impl Fn(u32) -> bool) -> bool {
        let list = self.of.get(path.as_os_str());
        list.is_some_and(|list| {
            list.iter().any(|write| is_meant(write.group) && events.contains(&write.number))
        })
    }
}

#[cfg(test)]
mod tests {
    use observe::{Access, Place};

    use super::*;

    #[test]
    fn a_command_is_not_another() {
        let place = Place { named: "/l/a".into(), real: Some("/w/a".into()) };
        let access = Access { reads: false, writes: true, created: true, emptied: true };
        let event = Event::Opened(place, Kind::File, access);
        let mut writes = Writes::default();
        writes.note(change(&event).unwrap(), 7, 2);
        let path = Path::new("/w/a");
        assert!(writes.by_others(path, 1, &(7..u64::MAX)));
        assert!(!writes.by_others(path, 1, &(8..u64::MAX)), "it was before");
        assert!(!writes.by_others(path, 1, &(0..7)), "it was later");
        assert!(!writes.by_others(path, 2, &(0..u64::MAX)), "it was itself");
        assert!(writes.by(path, 2, &(0..8)) && !writes.by(path, 1, &(0..8)));
        assert!(!writes.by_others(Path::new("/l/a"), 1, &(0..u64::MAX)));
        assert_eq!(change(&Event::Found("/w/a".into())), None);
    }

    #[test]
    fn what_others_made_in_a_directory_was_not_there_before_and_what_they_changed_or_removed_may_have_been() {
        let place = |path: &str| Place { named: path.into(), real: None };
        let opened = |path, created| {
            Event::Opened(
                place(path),
                Kind::File,
                Access { reads: false, writes: true, created, emptied: true },
            )
        };
        let made = |events: &[(u32, Event)]| {
            let mut writes = Writes::default();
            for (number, (group, event)) in (10..).zip(events) {
                writes.note(change(event).unwrap(), number, *group);
            }
            let found = writes.in_directory(Path::new("/w"), 1, &(10..u64::MAX)).all_made();
            found.map(|paths| paths.len())
        };
        let moved = Event::Transferred(Transfer::Rename, place("/w/a"), place("/w/b"));
        assert_eq!(made(&[]), Some(0));
        assert_eq!(made(&[(2, opened("/w/a", true)), (2, opened("/w/sub/a", false))]), Some(1));
        assert_eq!(made(&[(2, opened("/w/a", true)), (3, Event::Removed(place("/w/a")))]), Some(1));
        assert_eq!(made(&[(2, Event::Made(place("/w/d"))), (1, Event::Removed(place("/w/a")))]), Some(1));
        assert_eq!(made(&[(2, opened("/w/a", false))]), None);
        assert_eq!(made(&[(3, Event::Removed(place("/w/a"))), (2, opened("/w/a", true))]), None);
        assert_eq!(made(&[(2, opened("/w/a", true)), (2, moved)]), None, "something may have been replaced");
    }
}
