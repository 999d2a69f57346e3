// SPDX-License-Identifier: Apache-2.0
//! What a command that was learned did on other inputs that it did not do when it was recorded: that would be lost, or is not what it had
//! done in the build, so it is told as a failure. Looks at what changed in the sandbox and at what was touched; knows nothing of how the
//! command ended or what becomes of its outputs.
//!
//! What it has kept for itself before, such as what Python has compiled, is written anew because files have other times here: to put
//! another file in the place of an input that shows such a time, or that is elsewhere than where it works, is let be. What it keeps in a new
//! file is told like any other.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, Read as _};
use std::iter;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use observe::{Touches, Use};
use sandbox::{Change, ChangeKind, Entry, Upper};
use thunk::{FileFacts, Store, TICK, Thunk, shown};

use crate::escapes;

/// What may be done about it.
pub const WAY_OUT: &str = "ggtrace --run records it anew";

/// What is said of such a thing.
pub fn told(what: &str) -> String {
    format!("{what}, which it did not when it was recorded: {WAY_OUT}")
}

/// A run of a learned command that ended well.
pub struct Run<'a> {
    /// The store.
    pub store: &'a Store,
    /// Its thunk.
    pub thunk: &'a Thunk,
    /// What it found.
    pub wanted: &'a BTreeMap<PathBuf, Entry>,
    /// When it began.
    pub began: SystemTime,
    /// What it changed.
    pub upper: &'a Upper,
    /// What it touched.
    pub touches: &'a Touches,
}

impl Run<'_> {
    /// The first thing that it did beyond what it did when it was recorded, as a sentence.
    ///
    /// # Errors
    /// The store is damaged, or what it left cannot be read.
    pub fn beyond(&self) -> Result<Option<String>> {
        let told = |what: String| Ok(Some(told(&what)));
        let Self { store, thunk, touches, .. } = self;
        if let Some((directory, path)) = escapes::unlisted(store, thunk, touches)? {
            return told(format!("it listed {}, where {} is", directory.display(), path.display()));
        }
        if let Some(path) = self.looked_at_name_only() {
            return told(format!("it looked at {}", path.display()));
        }
        for path in self.outputs() {
            if let Some(given) = self.given(path)? {
                return told(given);
            }
        }
        let mut done = Vec::new();
        for change in self.upper.changes()? {
            done.extend(self.did(&change)?.map(|did| (change.path, did)));
        }
        let attributes = self.changed_by(Use::Attributes).filter(|path| self.held(path));
        done.extend(attributes.map(|path| (path, "changed the mode or the times of")));
        done.retain(|(path, _)| !self.outputs().any(|output| output == path));
        if done.is_empty() {
            return Ok(None);
        }
        let concerns = escapes::concerns(store, thunk, done.iter().map(|(path, _)| &**path))?;
        let mut done = done.iter().zip(concerns);
        match done.find(|((path, _), concerns)| *concerns || self.is_where_it_works(path)) {
            Some(((path, did), _)) => told(format!("it {did} {}", path.display())),
            None => Ok(None),
        }
    }

    fn outputs(&self) -> impl Iterator<Item = &PathBuf> {
        self.thunk.outputs.iter().chain(&self.thunk.optional_outputs)
    }

    /// An input of which it was given the name alone, and that it did something with beyond listing it.
    fn looked_at_name_only(&self) -> Option<&Path> {
        let inputs = self.thunk.values.iter().chain(&self.thunk.executables);
        let lacking: BTreeMap<&OsStr, Vec<&Path>> = inputs
            .filter(|input| input.is_name_only())
            .filter_map(|input| Some((input.path.file_name()?, &*input.path)))
            .fold(BTreeMap::new(), |mut all, (name, path)| {
                all.entry(name).or_default().push(path);
                all
            });
        if lacking.is_empty() {
            return None;
        }
        self.touches.iter().find_map(|(named, touch)| {
            let real = touch.real.as_deref();
            let names = [Some(named), real].into_iter().flatten().filter_map(Path::file_name);
            let mut alike = names.filter_map(|name| lacking.get(name)).flatten().copied().peekable();
            alike.peek()?;
            // Of a directory that is not known it may be any.
            let directory = named.parent().and_then(|directory| fs::canonicalize(directory).ok());
            alike.find(|path| {
                real == Some(path) || directory.is_none() || path.parent() == directory.as_deref()
            })
        })
    }

    /// Is it in its working directory, or beside one of its outputs?
    fn is_where_it_works(&self, path: &Path) -> bool {
        let homes = self.outputs().filter_map(|output| output.parent());
        homes.chain(self.thunk.workdir.as_deref()).any(|home| path.starts_with(home))
    }

    /// What it did there, if that is more than it did then, or may be.
    fn did(&self, change: &Change) -> Result<Option<&'static str>> {
        Ok(match &change.kind {
            ChangeKind::Written => match self.wanted.get(&change.path) {
                None => Some("wrote"),
                Some(input) => self.did_to_input(&change.path, input)?,
            },
            ChangeKind::Removed => (self.held(&change.path) && !self.thunk.moves).then_some("removed"),
            ChangeKind::Symlink(target) => match self.thunk.made_link(&change.path) {
                Some(link) if link.target == *target => None,
                Some(_) => Some("made another link of"),
                None => Some("made a link of"),
            },
            ChangeKind::Directory { .. } => (!self.made_then(&change.path)).then_some("made the directory"),
            ChangeKind::Other => Some("made"),
        })
    }

    /// Did it make this directory when it was recorded? Of those that it made where something had been before nobody knows which they were.
    fn made_then(&self, path: &Path) -> bool {
        let Thunk { made, makes_directories, .. } = self.thunk;
        if made.is_empty() { *makes_directories } else { made.iter().any(|directory| directory == path) }
    }

    /// Is this an input, or has it any below?
    fn held(&self, path: &Path) -> bool {
        let mut from = self.wanted.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        from.next().is_some_and(|(next, _)| next.starts_with(path))
    }

    /// Where what it did this to really is, but for what it made itself.
    fn changed_by(&self, what: Use) -> impl Iterator<Item = PathBuf> {
        let there = self.touches.with(what).filter(|(_, touch)| touch.existed == Some(true));
        there.map(|(path, touch)| {
            let real = touch.real.clone().or_else(|| fs::canonicalize(path).ok());
            real.unwrap_or_else(|| path.to_path_buf())
        })
    }

    /// What it did to an input that it wrote or put another file in the place of.
    fn did_to_input(&self, path: &Path, input: &Entry) -> Result<Option<&'static str>> {
        let Entry::File { source, .. } = input else { return Ok(None) };
        let Some(file) = self.upper.file(path)? else { return Ok(None) };
        if same_content(&file, source).with_context(|| format!("cannot compare {}", path.display()))? {
            return Ok(None);
        }
        Ok(if self.changed_by(Use::Written).any(|written| written == path) {
            Some("changed")
        } else {
            (self.is_where_it_works(path) && !self.shows_times(&file)).then_some("replaced")
        })
    }

    /// Does it show how old an input is here?
    fn shows_times(&self, file: &Path) -> bool {
        let inputs = self.wanted.iter().filter_map(|(path, entry)| {
            let Entry::File { source, .. } = entry else { return None };
            Some((&**path, FileFacts::of(&fs::metadata(source).ok()?).id.mtime))
        });
        !shown::in_outputs(inputs, iter::once(file)).is_empty()
    }

    /// A mode or a time that it gave to an output, and that would not be given to what takes the placeholder's place.
    fn given(&self, path: &Path) -> Result<Option<String>> {
        /// The modes of inputs here, which `cp` passes on.
        const INPUT: [u32; 2] = [0o644, 0o755];
        let Some(file) = self.upper.file(path)? else { return Ok(None) };
        // An input keeps the mode and the time that it has here.
        if self.wanted.contains_key(path) || self.is_passed_on(path) {
            return Ok(None);
        }
        let metadata = fs::metadata(&file).with_context(|| format!("cannot look at {}", path.display()))?;
        let mode = metadata.mode() & 0o7777;
        let runnable = self.thunk.executable_outputs.iter().any(|output| output == path);
        let usual = [[0o666, 0o777][usize::from(runnable)], INPUT[usize::from(runnable)]];
        let umask = self.thunk.umask.unwrap_or(0o022);
        Ok(if !usual.iter().any(|usual| usual & !umask == mode) {
            Some(format!("it gave {} the mode {mode:o}", path.display()))
        } else if is_older(&metadata, self.began) {
            Some(format!("it set the time of {}", path.display()))
        } else {
            None
        })
    }

    /// Is it an input that has got this name?
    fn is_passed_on(&self, output: &Path) -> bool {
        let touch = |path: &Path| self.touches.get(path);
        let is_it = |path: &Path| {
            path == output || touch(path).is_some_and(|touch| touch.real.as_deref() == Some(output))
        };
        let mut last = self.touches.transfers.iter().rev();
        let last = last.find(|(_, _, to)| is_it(to));
        last.is_some_and(|(_, from, _)| touch(from).is_some_and(|touch| touch.input))
    }
}

/// By the clock of file systems, which ticks.
fn is_older(file: &Metadata, than: SystemTime) -> bool {
    file.modified().is_ok_and(|modified| modified + TICK < than)
}

fn same_content(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (fs::File::open(a)?, fs::File::open(b)?);
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let mut buffers = (Vec::new(), Vec::new());
    loop {
        const PART: u64 = 1 << 16;
        buffers.0.clear();
        buffers.1.clear();
        a.by_ref().take(PART).read_to_end(&mut buffers.0)?;
        b.by_ref().take(PART).read_to_end(&mut buffers.1)?;
        if buffers.0 != buffers.1 || buffers.0.is_empty() {
            return Ok(buffers.0 == buffers.1);
        }
    }
}
