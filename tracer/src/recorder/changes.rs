// SPDX-License-Identifier: Apache-2.0
//! What may be another thing than it was when it was looked at: the names that the build has changed, and where paths lead for as
//! long as none of these is on the way. Unaware of who looks, and what for.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use models::recognise::Executable;
use models::scanner::Moment;
use observe::Event;
use thunk::is_made_up;
use wire::log::Changed;

use super::{Recorder, Sight, lock};
use crate::log::Log;
use crate::looks::{Steps, Way};
use crate::process;
use crate::programs::Facts;

impl Recorder {
    /// What the build has changed, where everything that it changes is noticed before it can ask for anything that rests on it.
    fn changed(&self) -> Option<&Changed> {
        self.log.as_deref().filter(|_| self.sight == Sight::Net).map(Log::changed)
    }

    /// What the build changes, for as long as it can be told by names.
    fn changed_names(&self) -> Option<&Changed> {
        self.changed().filter(|changed| !changed.is_all())
    }

    /// Since when only that has changed of which [`Recorder::may_have_changed`] knows.
    pub fn quiet(&self) -> Moment {
        match self.changed() {
            Some(changed) if !changed.is_all() => *lock(&self.quiet),
            _ => self.scanner.now(),
        }
    }

    /// May something with this name have been changed by the build since it began?
    pub fn may_have_changed(&self, name: &[u8]) -> bool {
        self.changed().is_some_and(|changed| changed.has(name))
    }

    /// May something with a name that is hashed so be another one than when it was looked at in this recording? Where that is not
    /// told, any may.
    pub fn is_in_doubt(&self, name: u64) -> bool {
        self.changed_names().is_none_or(|changed| changed.has_hashed(name) || self.looks.was_told(name))
    }

    /// Grows with what [`Recorder::may_have_changed`] knows.
    pub fn extent_of_changes(&self) -> u64 {
        self.changed().map_or(0, Changed::extent)
    }

    /// A process whose calls the kernel asks about is about to do this.
    pub fn changes(&self, event: &Event) {
        let Some(changed) = self.changed() else { return };
        let note = |path: &Path| changed.note(path.as_os_str().as_bytes());
        match event {
            Event::Opened(_, _, access) if !access.writes && !access.created => {}
            Event::Opened(place, ..)
            | Event::Made(place)
            | Event::Symlinked(place, _)
            | Event::Removed(place) => {
                note(&place.named);
                note(place.real());
            }
            Event::Transferred(_, from, to) => {
                [&*from.named, from.real(), &to.named, to.real()].into_iter().for_each(note);
            }
            Event::Attributes(path) => {
                note(path);
                std::fs::canonicalize(path).iter().for_each(|real| note(real));
            }
            Event::Network | Event::Remounted | Event::Foreign | Event::Gap => changed.note_all(),
            _ => {}
        }
    }

    /// The recorder itself did this, in the place of the command with this number.
    pub fn did(&self, command: u32, event: &Event) {
        self.changes(event);
        self.watch.wrote(command, event);
    }

    /// The recorder itself puts something at this path.
    pub fn puts(&self, path: &Path) {
        let name = path.file_name().unwrap_or_default().as_bytes();
        self.scanner.changes(name);
        self.looks.changes(name);
    }

    /// Do paths lead this process where they lead us? As long as nobody has changed that for any, they do.
    pub fn shares_files(&self, pid: u32) -> bool {
        self.changed_names().is_some() || process::shares_files(pid)
    }

    /// Does this process find the files that we find, and may it do what we may?
    pub fn is_ours(&self, pid: u32) -> bool {
        self.shares_files(pid) && process::shares_user(pid)
    }

    /// Where an absolute path leads.
    pub fn way(&self, path: &Path) -> Arc<Way> {
        self.looks.path(path, self.changed_names())
    }

    /// The same where it can be told when it leads elsewhere; not for what is made up by the kernel, which is another thing for each
    /// process.
    pub fn lasting_way(&self, path: &Path) -> Option<Arc<Way>> {
        let changed = self.changed_names()?;
        if is_made_up(path) {
            return None;
        }
        Some(self.looks.path(path, Some(changed))).filter(|way| !way.end().is_some_and(is_made_up))
    }

    /// The same for a directory.
    pub fn lasting_lead(&self, path: &Path) -> Option<Arc<Way>> {
        let changed = self.changed_names()?;
        (!is_made_up(path)).then(|| self.looks.lead(path, Some(changed)))
    }

    /// What the program at `path` is when it is called `name`.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    pub fn program(&self, path: &Path, name: &OsStr) -> io::Result<Arc<Facts>> {
        self.programs.facts(&self.way(path), name)
    }

    /// How the kernel executes the program at `path`.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    pub fn executable_at(&self, path: &Path) -> io::Result<Executable> {
        self.programs.executable(&self.way(path))
    }

    /// A footprint of what a command needs.
    pub fn steps(&self) -> Steps<'_> {
        Steps::new(&self.looks, self.changed_names())
    }
}
