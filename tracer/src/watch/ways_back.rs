// SPDX-License-Identifier: Apache-2.0
//! Paths that lead by `..` out of a directory that the command itself has made. Scripts work in a directory of their
//! own, find what they need and leave what they make by `..`, and remove it: by the time a command is looked at, such a
//! path leads nowhere, and as text it seems to be below what the command has made. What was just made as a directory is
//! no link, so `..` leads from there to where it is in. Looks at nothing but where a directory is that is still there.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use foldhash::HashSet;
use observe::{Event, Place, without_ways_back};
use thunk::real_place;

/// The directories that a command has made and that are still there, as it named them and as they are.
#[derive(Debug, Default)]
pub struct WaysBack {
    made: HashSet<OsString>,
}

impl WaysBack {
    /// The same event without such ways in its paths. They come in their order.
    pub fn without(&mut self, mut event: Event) -> Event {
        if !self.made.is_empty() {
            self.shorten_all(&mut event);
        }
        match &event {
            Event::Made(place) => {
                self.made.extend([place.named.as_os_str(), place.real().as_os_str()].map(OsString::from));
            }
            Event::Removed(place) | Event::Symlinked(place, _) => self.forget(place),
            Event::Transferred(_, from, to) => [from, to].into_iter().for_each(|place| self.forget(place)),
            _ => {}
        }
        event
    }

    fn forget(&mut self, place: &Place) {
        self.made.remove(place.named.as_os_str());
        self.made.remove(place.real().as_os_str());
    }

    fn shorten_all(&self, event: &mut Event) {
        match event {
            Event::Opened(place, ..)
            | Event::Executed(place, _)
            | Event::Made(place)
            | Event::Symlinked(place, _)
            | Event::Removed(place) => self.shorten_place(place),
            Event::Transferred(_, from, to) => {
                [from, to].into_iter().for_each(|place| self.shorten_place(place))
            }
            Event::Found(path)
            | Event::Missing(path)
            | Event::Denied(path)
            | Event::Listed(path)
            | Event::Attributes(path) => *path = self.shortened(path).unwrap_or_else(|| std::mem::take(path)),
            _ => {}
        }
    }

    fn shorten_place(&self, place: &mut Place) {
        if let Some(named) = self.shortened(&place.named) {
            let real = place.real.take().or_else(|| real_place(&named).ok());
            *place = Place::new(named, real);
        }
    }

    fn shortened(&self, path: &Path) -> Option<PathBuf> {
        memchr::memmem::find(path.as_os_str().as_bytes(), b"/..")?;
        Some(without_ways_back(PathBuf::new(), path, |way| self.made.contains(way.as_os_str())))
    }
}

#[cfg(test)]
mod tests {
    use observe::Transfer;

    use super::*;

    fn place(path: &str) -> Place {
        Place::new(path.into(), None)
    }

    /// What becomes of the last path.
    fn after(events: impl IntoIterator<Item = Event>, path: &str) -> PathBuf {
        let mut ways = WaysBack::default();
        events.into_iter().for_each(|event| drop(ways.without(event)));
        match ways.without(Event::Found(path.into())) {
            Event::Found(path) => path,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ways_lead_back_out_of_what_was_made_alone() {
        let made = || [Event::Made(place("/w/t")), Event::Made(place("/w/t/u"))];
        assert_eq!(after(made(), "/w/t/../a"), Path::new("/w/a"));
        assert_eq!(after(made(), "/w/t/u/../../a"), Path::new("/w/a"));
        assert_eq!(after(made(), "/w/t/u/../a"), Path::new("/w/t/a"));
        assert_eq!(after(made(), "/w/t/x/../../a"), Path::new("/w/t/x/../../a"), "x may lead anywhere");
        assert_eq!(after(made(), "/w/../a/..b"), Path::new("/w/../a/..b"));
        let link = Event::Symlinked(place("/w/t"), "/v/t".into());
        let moved = Event::Transferred(Transfer::Rename, place("/w/l"), place("/w/t"));
        for other in [link, moved, Event::Removed(place("/w/t"))] {
            assert_eq!(after(made().into_iter().chain([other]), "/w/t/../a"), Path::new("/w/t/../a"));
        }
    }
}
