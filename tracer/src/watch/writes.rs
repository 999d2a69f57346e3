// SPDX-License-Identifier: Apache-2.0
//! Who changed which file, and when: tells whether what a file holds now is what a command found or left there. Knows no
//! contents.

use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;

use foldhash::HashMap;
use observe::{Event, Kind, Transfer};

/// A change of what stands at some paths.
#[derive(Debug, PartialEq, Eq)]
pub struct Change<'a>(Vec<&'a Path>);

impl Change<'_> {
    /// Does it change what stands at one of these paths?
    pub fn is_of(&self, is_one: impl Fn(&Path) -> bool) -> bool {
        self.0.iter().any(|path| is_one(path))
    }
}

/// The paths, links resolved, of whose content or existence this event is a change.
pub fn change(event: &Event) -> Option<Change<'_>> {
    let paths = match event {
        Event::Opened(_, Kind::Special, _) => return None,
        Event::Opened(place, _, access) if access.writes || access.created => vec![place.real()],
        Event::Made(place) | Event::Symlinked(place, _) | Event::Removed(place) => vec![place.real()],
        // The content of what gets another name stays.
        Event::Transferred(Transfer::Link, _, to) => vec![to.real()],
        Event::Transferred(_, from, to) => vec![from.real(), to.real()],
        _ => return None,
    };
    Some(Change(paths))
}

/// All changes of a build.
#[derive(Debug, Default)]
pub struct Writes {
    of: HashMap<OsString, Vec<(u64, u32)>>,
}

impl Writes {
    /// The command changed something.
    pub fn note(&mut self, change: Change<'_>, number: u64, group: u32) {
        for path in change.0 {
            let list = match self.of.get_mut(path.as_os_str()) {
                Some(list) => list,
                None => self.of.entry(path.into()).or_default(),
            };
            list.push((number, group));
        }
    }

    /// Has another command than this one changed what stands there, in one of these events?
    pub fn by_others(&self, path: &Path, group: u32, events: &Range<u64>) -> bool {
        self.any(path, events, |by| by != group)
    }

    /// Has another command changed what stands at any of these paths? Looks through all that the build has changed.
    pub fn any_by_others(&self, is_one: impl Fn(&Path) -> bool, group: u32, events: &Range<u64>) -> bool {
        self.of.iter().any(|(path, list)| {
            list.iter().any(|(number, by)| *by != group && events.contains(number)) && is_one(Path::new(path))
        })
    }

    /// Has this command?
    pub fn by(&self, path: &Path, group: u32, events: &Range<u64>) -> bool {
        self.any(path, events, |by| by == group)
    }

    fn any(&self, path: &Path, events: &Range<u64>, is_meant: impl Fn(u32) -> bool) -> bool {
        let list = self.of.get(path.as_os_str());
        list.is_some_and(|list| list.iter().any(|(number, by)| is_meant(*by) && events.contains(number)))
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
}
