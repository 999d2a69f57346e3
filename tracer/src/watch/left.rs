// SPDX-License-Identifier: Apache-2.0
//! What a command left: the contents and modes of what it made or changed, and what keeps that from being given again. Where others have
//! changed it since, what was kept before they did counts. Knows nothing of what the command found.

use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use foldhash::HashSet;
use observe::{Touch, Use};
use thunk::trace::{Observed, Uses};
use thunk::{FileFacts, ObjectKind, ObjectName, Placeholder, TICK, has_no_content, is_made_up};

use super::exact;
use super::finish::{Look, Output, changes};
use crate::kept::Version;

/// What a command made or took away, whatever it called it: `>../d/t` and `rm t` in `d` are of one file. Real paths.
pub struct Names {
    /// What it made where nothing was, not even anything that it had taken away itself.
    made: HashSet<PathBuf>,
    /// What it removed or renamed.
    taken: HashSet<PathBuf>,
}

/// Did it begin with making it? Of what it had changed before under another name nobody noted whether it was there.
fn makes_first(touch: &Touch) -> bool {
    touch.existed == Some(false) && matches!(touch.first, Use::Created | Use::MovedHere)
}

impl Look<'_> {
    /// What the command made, changed or removed.
    pub(super) fn left(&mut self, named: &Path, touch: &Touch, uses: &mut Uses) -> Option<ObjectName> {
        let place = touch.real.as_deref().unwrap_or(named);
        let made = touch.has(Use::Written) || touch.has(Use::Created) || touch.has(Use::MovedHere);
        let own = touch.existed == Some(false) || self.is_in_own(named);
        let shown = named.display();
        if made
            && let Some(real) = self.real_place(place)
            && let Some(version) = self.kept_after(&real)
        {
            // Others have changed it since, or moved it on.
            *uses |= Uses::OUTPUT;
            self.in_sandbox(&real);
            return Some(self.leaves(named, real, &version.facts, version.value, version.mode, uses));
        }
        let Ok(metadata) = std::fs::symlink_metadata(place) else {
            let real = self.real_place(place).unwrap_or_else(|| place.to_path_buf());
            let is_taken = touch.has(Use::Removed) || touch.has(Use::MovedAway);
            if !own && touch.has(Use::MovedAway) && self.moved.contains_key(&real) {
                self.obstacle(Observed::MOVES.into());
            } else if !own && !self.names().made.contains(&real) {
                self.obstacle(format!("removes {shown}"));
            } else if made && !is_taken && !self.names().taken.contains(&real) {
                self.gone.push(real);
            }
            return None;
        };
        if !made {
            if touch.has(Use::Attributes) && !own {
                self.obstacle(format!("changes the mode or the times of {shown}"));
            }
            return None;
        }
        if metadata.is_dir() {
            if touch.has(Use::MovedHere) {
                self.unknown(format!("renames a directory to {shown}"));
            } else {
                self.obstacle(format!("{}{shown}", Observed::MAKES_DIRECTORY));
                let real = self.real_place(place).unwrap_or_else(|| place.to_path_buf());
                if own {
                    self.new.insert(real.clone());
                }
                self.made.insert(real);
            }
            *uses |= Uses::OUTPUT | Uses::DIRECTORY;
            return None;
        }
        if metadata.is_symlink() {
            self.obstacle(format!("{}{shown}", Observed::MAKES_LINK));
            *uses |= Uses::OUTPUT | Uses::LINK;
            return self.link_left(named, touch, own, &metadata);
        }
        if !metadata.is_file() {
            self.obstacle(format!("makes {shown}, which is no file"));
            return None;
        }
        *uses |= Uses::OUTPUT;
        let real = self.real_place(place).unwrap_or_else(|| place.to_path_buf());
        if real != named
            && let Some(directory) = named.parent()
        {
            // It comes there again by the links on the way only. Those that it made itself are none that it found.
            let _ = self.footprint.add(directory);
        }
        self.in_sandbox(&real);
        if metadata.nlink() > 1
            && let Some(other) = self.files.insert((metadata.dev(), metadata.ino()), real.clone())
            && other != real
        {
            self.one_file(&other, &real);
        }
        match self.content_after(&real, &metadata) {
            Ok((facts, value)) => {
                let mode = metadata.permissions().mode() & 0o7777;
                Some(self.leaves(named, real, &facts, value, mode, uses))
            }
            // Whoever changes it in this moment has had it kept before.
            Err(why) => match self.kept_after(&real) {
                Some(version) => {
                    Some(self.leaves(named, real, &version.facts, version.value, version.mode, uses))
                }
                None => {
                    self.unknown(why);
                    None
                }
            },
        }
    }

    /// A symbolic link that it left: its target. `own`: there was nothing before.
    fn link_left(
        &mut self,
        named: &Path,
        touch: &Touch,
        own: bool,
        metadata: &Metadata,
    ) -> Option<ObjectName> {
        let place = touch.real.as_deref().unwrap_or(named);
        let shown = named.display();
        let real = self.real_place(place).unwrap_or_else(|| place.to_path_buf());
        self.in_sandbox(&real);
        // What was behind one that was there before is looked for now behind this one; what is behind this one has its own name.
        let is_read = |touch: &Touch| {
            [Use::Read, Use::Executed, Use::Listed].iter().any(|&what| touch.has(what)) || touch.input
        };
        let is_behind = |(path, touch): (&Path, &Touch)| {
            (is_read(touch) || touch.has(Use::Found) || changes(touch))
                && path != named
                && path.starts_with(named)
        };
        if !own && (is_read(touch) || self.touches.iter().any(is_behind)) {
            self.unknown(format!("makes the link {shown}, where it has used another one"));
        }
        let target = std::fs::read_link(place).ok()?;
        let facts = FileFacts::of(metadata);
        if facts.changed_at() > self.ended.ended || self.changed_by_others(&real, &facts.id, self.ended.ended)
        {
            self.unknown(format!("{shown} was changed by others"));
        }
        let value = self.recorder.store.put(ObjectKind::Value, target.as_os_str().as_bytes()).ok();
        self.links.insert(real, target);
        value
    }

    /// What it left, if others were seen to be about to change that.
    fn kept_after(&self, real: &Path) -> Option<Version> {
        self.kept(real, self.last).filter(|version| version.facts.changed_at() <= self.ended.ended)
    }

    /// What it made and took away under names of which any may lead there.
    fn names(&self) -> &Names {
        self.names.get_or_init(|| {
            let real = |(named, touch): (&Path, &Touch)| {
                let place = touch.real.as_deref().unwrap_or(named);
                self.real_place(place).unwrap_or_else(|| place.to_path_buf())
            };
            let takes = |touch: &Touch| touch.has(Use::Removed) || touch.has(Use::MovedAway);
            let touches = || self.touches.iter().filter(|(_, touch)| !touch.special && changes(touch));
            Names {
                made: touches().filter(|(_, touch)| makes_first(touch)).map(real).collect(),
                taken: touches().filter(|(_, touch)| takes(touch)).map(real).collect(),
            }
        })
    }

    /// Is it in a directory that the command made where nothing was?
    pub(super) fn is_in_own(&self, named: &Path) -> bool {
        named.ancestors().skip(1).any(|directory| {
            let touch = self.touches.get(directory);
            touch.is_some_and(|touch| touch.existed == Some(false) && touch.has(Use::Created))
        })
    }

    /// The permissions of what it made or changed.
    pub(super) fn mode_left(&self, named: &Path, touch: &Touch) -> Option<u32> {
        let place = touch.real.as_deref().unwrap_or(named);
        if touch.special || has_no_content(place) {
            return None;
        }
        if let Some(output) = self.real_place(place).and_then(|real| self.outputs.get(&real)) {
            return Some(output.mode);
        }
        let there = std::fs::symlink_metadata(place).ok().filter(|there| there.is_file() || there.is_dir());
        there.map(|there| there.permissions().mode() & 0o7777)
    }

    /// No thunk has what is no file of the build or the system, as what others put into `/dev/shm`.
    pub(super) fn in_sandbox(&mut self, real: &Path) {
        if is_made_up(real) {
            self.unknown(format!("uses {}, which is in no thunk", real.display()));
        }
    }

    fn leaves(
        &mut self,
        named: &Path,
        real: PathBuf,
        facts: &FileFacts,
        value: ObjectName,
        mode: u32,
        uses: &mut Uses,
    ) -> ObjectName {
        let begun = &self.ended.begun;
        let umask = begun.exec.umask;
        let is_older = facts.id.mtime < begun.began - TICK.as_nanos() as i64;
        if is_older && !self.is_passed_on(named) {
            self.obstacle(format!("sets the time of {}", real.display()));
        }
        if !exact::is_plain_mode(mode, umask) {
            self.obstacle(format!("gives {} the mode {mode:o}", real.display()));
        }
        if mode & 0o111 != 0 {
            *uses |= Uses::RUNNABLE;
        }
        self.outputs.insert(real, Output { value, mode });
        value
    }

    /// Did somebody else make what stands there, and this command only give it that name?
    fn is_passed_on(&self, named: &Path) -> bool {
        let (_, old, _) = match self.touches.transfers.iter().rev().find(|(.., to)| to == named) {
            Some(transfer) => transfer,
            None => return false,
        };
        self.touches.get(old).is_some_and(|touch| touch.input)
    }

    fn content_after(&self, real: &Path, metadata: &Metadata) -> Result<(FileFacts, ObjectName), String> {
        let shown = real.display().to_string();
        let facts = FileFacts::of(metadata);
        if wire::size_may_be_placeholder(facts.id.size) && !matches!(Placeholder::read(real), Ok(None)) {
            return Err(format!("leaves a placeholder, {shown}"));
        }
        let value = self.recorder.store.put_seen(real, &facts).map_err(|error| error.to_string())?;
        if facts.changed_at() > self.ended.ended || self.changed_by_others(real, &facts.id, self.ended.ended)
        {
            return Err(format!("{shown} was changed by others"));
        }
        Ok((facts, value))
    }
}
