// SPDX-License-Identifier: Apache-2.0
//! One file: whether it is still what it was, and what it contains. Unaware of where it is looked for.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::{DirId, FileId, NO_CALM, View, locked};
use crate::scanner::directives::{self, NameId, Parsed};
use crate::scanner::disk::{Kind, Stamp};
use crate::scanner::exact::{Script, script};
use crate::scanner::intern::hash;
use crate::scanner::{Included, Mark};

pub struct File {
    pub path: Arc<Path>,
    pub dir: DirId,
    name: NameId,
    fixed: bool,
    assembler: bool,
    pub(super) linked: AtomicBool,
    verified: AtomicU64,
    /// When it was beyond doubt last.
    pub(super) calm: AtomicU64,
    state: Mutex<FileState>,
}

#[derive(Default)]
struct FileState {
    stamp: Option<Stamp>,
    /// What scans are told of the file with this stamp, once one was.
    included: Option<Arc<Included>>,
    parsed: Option<(Stamp, Arc<Parsed>)>,
    /// What the preprocessor does with a text that it was given: perhaps not this one any more.
    script: Option<Arc<Script>>,
    /// The text was read when its stamp was too young to be relied on.
    young: bool,
}

impl File {
    /// A file at which nobody has looked yet.
    pub(super) fn new(dir: DirId, name: NameId, path: Arc<Path>, fixed: bool) -> Self {
        let extension = path.extension().map(OsStrExt::as_bytes);
        Self {
            assembler: matches!(extension, Some(b"s" | b"S" | b"sx" | b"asm")),
            path,
            dir,
            name,
            fixed,
            linked: AtomicBool::new(false),
            verified: AtomicU64::new(0),
            calm: AtomicU64::new(NO_CALM),
            state: Mutex::default(),
        }
    }

    /// Its directory, and its name there.
    pub fn place(&self) -> (DirId, NameId) {
        (self.dir, self.name)
    }
}

impl FileState {
    fn set(&mut self, stamp: Option<Stamp>) {
        if stamp != self.stamp {
            self.stamp = stamp;
            self.included = None;
        }
    }
}

impl View<'_> {
    /// The state of a file in this epoch; `None` if it is no regular file any more, in which case all that
    /// was concluded from it is void.
    pub fn check(&self, id: FileId) -> Option<Arc<Included>> {
        let file = self.tree.file(id);
        let verified = file.verified.load(SeqCst);
        if verified >= self.scan || (file.fixed && verified > 0) || self.is_calm(&file.calm) {
            return self.tell(file, &mut locked(&file.state));
        }
        let doubted = verified < self.epoch
            || self.doubted.has(file.name)
            || file.linked.load(SeqCst)
            || self.doubts_directory(file.dir);
        let mut state = locked(&file.state);
        if !doubted && state.stamp.is_some_and(|stamp| !stamp.shared) {
            file.calm.store(self.calm, SeqCst);
            file.verified.fetch_max(self.scan, SeqCst);
            return self.tell(file, &mut state);
        }
        let stamp = self.files.look(&file.path, true).filter(|(k, _)| *k == Kind::File).map(|(_, s)| s);
        let mut relinked = None;
        if stamp != state.stamp && (state.stamp.is_some() || verified > 0) {
            // Another file may have come in its place, or in that of a link that led nowhere, or a link.
            let link = self.files.look(&file.path, false).is_some_and(|(kind, _)| kind == Kind::Link);
            file.linked.store(link, SeqCst);
            relinked = Some(link);
        }
        state.set(stamp);
        let checked = self.tell(file, &mut state);
        file.verified.fetch_max(self.scan, SeqCst);
        drop(state);
        match (stamp, relinked) {
            (None, _) => self.forget(file.dir, file.name),
            (_, Some(linked)) => self.relink(file.dir, file.name, linked),
            _ => {}
        }
        checked
    }

    /// What scans are told of a file in its present state: one and the same to all, as most are told of the same files.
    fn tell(&self, file: &File, state: &mut FileState) -> Option<Arc<Included>> {
        let stamp = state.stamp?;
        let linked = file.linked.load(SeqCst);
        if let Some(known) = state.included.as_ref().filter(|known| known.linked == linked) {
            return Some(Arc::clone(known));
        }
        let directory = self.tree.dir(file.dir).path.clone();
        let mark = state.included.as_ref().map_or_else(Mark::unique, |known| known.mark);
        let included = Arc::new(Included { path: file.path.clone(), directory, stamp, linked, mark });
        state.included = Some(Arc::clone(&included));
        Some(included)
    }

    /// The directives of a file that has been beyond doubt for as long as this scan's calm lasts.
    pub fn calm_directives(&self, id: FileId) -> Option<Arc<Parsed>> {
        let file = self.tree.file(id);
        let is_fixed = file.fixed && file.verified.load(SeqCst) > 0;
        if !is_fixed && !self.is_calm(&file.calm) {
            return None;
        }
        // Who reads it may have to wait for it to be forced.
        let state = file.state.try_lock().ok()?;
        let (of, parsed) = state.parsed.as_ref()?;
        (!state.young && state.stamp == Some(*of)).then(|| Arc::clone(parsed))
    }

    /// Stands for a file that was looked at and read, and was old enough then for its stamp to be relied on.
    pub fn settled(&self, id: FileId) -> Option<Mark> {
        let state = locked(&self.tree.file(id).state);
        let (of, _) = state.parsed.as_ref()?;
        let included = state.included.as_ref().filter(|included| !state.young && included.stamp == *of)?;
        Some(included.mark)
    }

    /// Has anybody looked at the file with this name in a directory?
    pub(super) fn has_looked_at(&self, dir: DirId, name: NameId) -> bool {
        let file = self.tree.files.find(&(dir, name)).map(|id| self.tree.file(id));
        file.is_some_and(|file| file.verified.load(SeqCst) > 0)
    }

    /// The stamp of a file when it was looked at last.
    pub fn stamp(&self, id: FileId) -> Option<Stamp> {
        locked(&self.tree.file(id).state).stamp
    }

    /// What the preprocessor does with a file; `None` where it cannot be read, or changes.
    pub fn script(&self, id: FileId) -> Option<Arc<Script>> {
        self.check(id)?;
        let content = self.parsed(id).ok()?.content;
        let file = self.tree.file(id);
        let mut state = locked(&file.state);
        if let Some(known) = state.script.as_ref().filter(|known| known.content == content) {
            return Some(Arc::clone(known));
        }
        let text = self.files.read(&file.path).ok()?;
        let made = Arc::new(script(&text, &self.tree.names, &self.tree.texts));
        if made.content != content {
            return None;
        }
        self.tree.add_weight(made.weight);
        state.script = Some(Arc::clone(&made));
        Some(made)
    }

    /// The directives of a file; after [`check`](Self::check).
    pub fn parsed(&self, id: FileId) -> io::Result<Arc<Parsed>> {
        let file = self.tree.file(id);
        let mut state = locked(&file.state);
        if let (Some(stamp), Some((of, parsed))) = (&state.stamp, &state.parsed)
            && stamp == of
            && !state.young
        {
            return Ok(parsed.clone());
        }
        // A file under several names is read once. A young stamp gets no entry there, nor does an assembler text:
        // under another name, it could be read as C.
        if let Some(stamp) = state.stamp
            && !file.assembler
            && let Some(parsed) = locked(&self.tree.contents).get(&stamp)
        {
            state.parsed = Some((stamp, parsed.clone()));
            return Ok(parsed.clone());
        }
        let text = self.files.read(&file.path)?;
        // Reading may have changed it: a placeholder was forced. And it may be written this very moment.
        let before = state.stamp;
        state.set(self.files.look(&file.path, true).filter(|(k, _)| *k == Kind::File).map(|(_, s)| s));
        if state.stamp != before {
            self.tree.turned.fetch_add(1, SeqCst);
        }
        state.young = state.stamp != before || state.stamp.is_none_or(|s| !s.settled(SystemTime::now()));
        let parsed = match &state.parsed {
            Some((_, old)) if old.content == hash(&text) => old.clone(),
            _ => {
                let parsed = Arc::new(directives::parse(&text, file.assembler, &self.tree.names));
                self.tree.add_weight(parsed.weight());
                parsed
            }
        };
        if let Some(stamp) = state.stamp {
            state.parsed = Some((stamp, parsed.clone()));
            if !state.young && !file.assembler {
                locked(&self.tree.contents).insert(stamp, parsed.clone());
                self.tree.add_weight(80);
            }
        }
        Ok(parsed)
    }
}
