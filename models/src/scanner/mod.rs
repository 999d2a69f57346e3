// SPDX-License-Identifier: Apache-2.0
//! The include scanner: which files the C and C++ preprocessor or the assembler may read for a command, without
//! running them.
//!
//! It reads directives and no conditions: every branch counts, so that the answer is a superset of what is read. Where
//! the name of a header is put together by macros, that is not enough: then the command is preprocessed in addition,
//! conditions heeded, and what that reads is taken in too. For what would need more, it gives an [`Unsure`] and the
//! compiler is asked. One [`Scanner`] lives as long as a recording and is shared by all threads: each text is read
//! once, each name is searched for once per search path, and a scan is then little more than one `stat` for each
//! directory and file that matters.
//!
//! ```text
//! doubts      names behind which something changes
//! lexer       text → directive lines           search   (search path, name) → files; (search path, file) → files
//! directives  lines → names, macros            walk     command → all files
//! assembler   text → .include, .incbin         tree     directories and files that are known, and whether they changed
//! exact       command → files that it reads, conditions heeded
//! answers     command → the answer that it got before, in this recording or an earlier one
//! ```
//!
//! What it does not know, `exact` apart: the values of conditions, macros with parameters, `#undef`. And nowhere: modules (C++20 `import`,
//! module maps), header maps, frameworks, `--embed-dir`, a macro's name as the argument of a macro that wraps
//! `__has_include`. In strict C89, an identifier `R` right before a string literal is misread as a raw string.

mod answers;
mod assembler;
mod directives;
mod disk;
mod doubts;
mod exact;
mod intern;
mod lexer;
mod mark;
mod search;
mod tree;
mod walk;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, PoisonError, RwLock};

pub use answers::{Keeping, Shelf};
pub(crate) use directives::TIMESTAMP;
pub use disk::{Disk, Files, Kind, Stamp};
pub use mark::Mark;

use crate::IncludeSearch;
use answers::{Keys, Project};
use doubts::Told;
use exact::{Fronts, Lost};
use search::{List, Lists};
use tree::{DirId, FileId, NO_CALM, Tree, View};
use walk::Aim;

/// A file that a command may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// Absolute, without `.` and `..` (but for one: a `..` right behind a symbolic link to a directory stays).
    pub path: Arc<Path>,
    /// The directory part of it: one allocation for all files of a directory.
    pub directory: Arc<Path>,
    /// Its state when the scan looked at it; that of its target if it is a symbolic link.
    pub stamp: Stamp,
    /// It is a symbolic link, or may be one.
    pub linked: bool,
    /// Stands for this file in this state.
    pub mark: Mark,
}

/// Files of one directory that a command may read. Others that read the same of it are told of one and the same set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSet {
    /// The directory part of their paths.
    pub directory: Arc<Path>,
    /// The files, in any order.
    pub files: Box<[Arc<Included>]>,
    /// Stands for these files in these states.
    pub mark: Mark,
}

/// All that a command may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closure {
    /// The files, the sources among them, each once; in any order. Of one directory there may be several sets.
    pub sets: Vec<Arc<FileSet>>,
    /// Directories that must exist although perhaps none of the files is in them: the `a` of `a/../b.h`. Sorted.
    pub directories: Vec<Arc<Path>>,
}

impl Closure {
    /// The files one by one.
    pub fn files(&self) -> impl Iterator<Item = &Arc<Included>> {
        self.sets.iter().flat_map(|set| &set.files)
    }
}

/// What a command looks at when conditions are heeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preprocessed {
    /// Files that it includes, the source among them.
    pub included: Vec<Arc<Path>>,
    /// Files that it only tests for, by `__has_include`; clang's `-M` lists them too.
    pub tested: Vec<Arc<Path>>,
}

/// Why a scan's answer may be too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    /// `#include MACRO` where the macro has parameters or is pasted together, and preprocessing meets something uncertain.
    ComputedName,
    /// `__has_include(MACRO)` of the same kind.
    ComputedTest,
    /// `.incbin` or `.include` with a name that is no literal.
    AssemblerName,
    /// `__TIMESTAMP__`: when the file was changed, which is not in a thunk.
    Timestamp,
    /// A file cannot be read.
    Unreadable,
    /// Files vanish faster than they can be scanned.
    Changing,
}

impl Why {
    /// Does the compiler's own `-M` give the complete answer, together with [`Unsure::known`] and
    /// [`Scanner::complete`]? If not, the command cannot be deferred.
    #[must_use]
    pub fn compiler_knows(self) -> bool {
        matches!(self, Self::ComputedName | Self::Unreadable | Self::Changing)
    }

    fn text(self) -> &'static str {
        match self {
            Self::ComputedName => "includes a file whose name a macro computes",
            Self::ComputedTest => "tests for a file whose name a macro computes",
            Self::AssemblerName => "has .incbin or .include of a computed name",
            Self::Timestamp => "asks when it was changed (__TIMESTAMP__)",
            Self::Unreadable => "cannot be read",
            Self::Changing => "includes files that change too fast",
        }
    }
}

/// The scanner cannot tell all that a command reads.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}:{line} {}{}", file.display(), why.text(), lost.map(|lost| format!(" (its preprocessing meets {lost})")).unwrap_or_default())]
pub struct Unsure {
    /// The file in which it got lost.
    pub file: PathBuf,
    /// The line, from 1; 0 where it is about the whole file.
    pub line: u32,
    /// The reason.
    pub why: Why,
    /// What it found nevertheless.
    pub known: Closure,
    /// Why preprocessing here did not help, if it was tried.
    pub lost: Option<&'static str>,
}

/// All memory of the scanner: see the module's documentation.
pub struct Scanner {
    memory: RwLock<Arc<Memory>>,
    limit: usize,
    moments: AtomicU64,
    told: Told,
    keeping: Option<Keeping>,
}

/// A point in time: see [`Scanner::now`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

struct Memory {
    tree: Tree,
    lists: Lists,
    fronts: Fronts,
}

impl Memory {
    fn new() -> Arc<Self> {
        Arc::new(Self { tree: Tree::new(), lists: Lists::default(), fronts: Fronts::default() })
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new(512 << 20)
    }
}

impl Scanner {
    /// A scanner that forgets everything and starts afresh when it remembers more than about `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            memory: RwLock::new(Memory::new()),
            limit,
            moments: AtomicU64::new(0),
            told: Told::default(),
            keeping: None,
        }
    }

    /// The same, which takes answers of earlier recordings from a shelf.
    #[must_use]
    pub fn keeping(self, keeping: Keeping) -> Self {
        Self { keeping: Some(keeping), ..self }
    }

    /// This moment. A scan `since` a moment does not look again at what was looked at after it: whoever knows that
    /// no file changed between two commands gives both the same. Nearly all of a warm scan is looking.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(self.moments.fetch_add(1, SeqCst) + 1)
    }

    /// What has this name, which is one component of a path, has changed or will: whatever moment a scan is `since`, it looks there.
    pub fn changes(&self, name: &[u8]) {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.told.add(name, &memory.tree);
    }

    /// All files that the command with this search, run in the absolute directory `cwd`, may read.
    ///
    /// # Errors
    /// It cannot be told: ask the compiler, if [`Why::compiler_knows`].
    pub fn scan(
        &self,
        search: &IncludeSearch,
        cwd: &Path,
        files: &dyn Files,
        since: Moment,
    ) -> Result<Closure, Unsure> {
        self.run(search, cwd, files, since, Aim::Everything)
    }

    /// The files that a command reads or tests for but its compiler's `-M` does not list: `__has_include`, `#embed`,
    /// `.incbin`, precompiled headers. `listed` is what `-M` lists, as absolute paths; it is part of the answer.
    ///
    /// # Errors
    /// It cannot be told, by nobody.
    pub fn complete(
        &self,
        search: &IncludeSearch,
        cwd: &Path,
        listed: &[PathBuf],
        files: &dyn Files,
        since: Moment,
    ) -> Result<Closure, Unsure> {
        self.run(search, cwd, files, since, Aim::Unlisted(listed))
    }

    /// The files that a command includes, conditions heeded: what [`scan`](Self::scan) takes in beside its superset
    /// where names of headers are computed. By itself only good for finding out how good it is.
    ///
    /// # Errors
    /// It meets something of which it is not certain.
    pub fn preprocess(
        &self,
        search: &IncludeSearch,
        cwd: &Path,
        files: &dyn Files,
    ) -> Result<Preprocessed, &'static str> {
        self.with(search, cwd, files, self.now(), |memory, view, list, _| {
            match exact::preprocess(view, list, search, &memory.fronts) {
                Ok(read) => {
                    let paths =
                        |ids: &[FileId]| ids.iter().map(|&id| view.tree.file(id).path.clone()).collect();
                    Ok(Preprocessed { included: paths(&read.files), tested: paths(&read.found.touch) })
                }
                Err(Lost(reason)) => Err(reason),
            }
        })
    }

    /// The dependency file that gcc writes for a command with a [`Rule`](crate::Rule), to the letter.
    ///
    /// # Errors
    /// It meets something of which it is not certain: ask the compiler.
    pub fn dependencies(
        &self,
        search: &IncludeSearch,
        cwd: &Path,
        files: &dyn Files,
        since: Moment,
    ) -> Result<Vec<u8>, &'static str> {
        let rule = search.rule.as_ref().ok_or("a way of writing it that is not known")?;
        self.with(search, cwd, files, since, |memory, view, list, _| {
            exact::dependencies(view, list, search, rule, &memory.fronts, cwd).map_err(|Lost(reason)| reason)
        })
    }

    fn run(
        &self,
        search: &IncludeSearch,
        cwd: &Path,
        files: &dyn Files,
        since: Moment,
        aim: Aim<'_>,
    ) -> Result<Closure, Unsure> {
        self.with(search, cwd, files, since, |memory, view, list, through| {
            if !matches!(aim, Aim::Everything) {
                return walk::walk(view, list, &memory.fronts, search, through, aim)
                    .map(|(closure, _)| closure);
            }
            let keeping = self.keeping.as_ref();
            let keys = Keys::new(view, list, search, Project::new(keeping.map(|keeping| &*keeping.project)));
            if let Some(closure) = list.answers.closure(view, &keys, keeping, through) {
                return Ok(closure);
            }
            let at = view.tree.now();
            let (closure, walked) = walk::walk(view, list, &memory.fronts, search, through, aim)?;
            list.answers.remember(view, &keys, at, &closure, walked);
            Ok(closure)
        })
    }

    /// Puts the answers to all scans where later recordings find them, if there is such a place. Were there any that are not there yet?
    pub fn keep(&self, files: &dyn Files, since: Moment) -> bool {
        let Some(keeping) = &self.keeping else { return false };
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.view(&memory, files, since, |view| {
            let lists = memory.lists.all();
            lists.iter().filter(|list| list.answers.store(view, list, keeping)).count() > 0
        })
    }

    /// Does something with all memory, a view of the file system `since` a moment, the search path, and the directories that lead to it.
    fn with<T>(
        &self,
        search: &IncludeSearch,
        cwd: &Path,
        files: &dyn Files,
        since: Moment,
        work: impl Fn(&Memory, View<'_>, &List, &[DirId]) -> T,
    ) -> T {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner).clone();
        let result = self.view(&memory, files, since, |view| {
            let mut through = vec![];
            let list = memory.lists.get(view, search, cwd, &mut through);
            // Only now: until here, directories were asked again.
            let view = View { calm: memory.tree.calm(view.doubted, view.epoch), ..view };
            work(&memory, view, &list, &through)
        });
        if memory.tree.weight() > self.limit {
            let mut current = self.memory.write().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&current, &memory) {
                *current = Memory::new();
            }
        }
        result
    }

    /// Does something with a view of the file system `since` a moment.
    fn view<T>(
        &self,
        memory: &Memory,
        files: &dyn Files,
        since: Moment,
        work: impl FnOnce(View<'_>) -> T,
    ) -> T {
        // Before the doubts are found out: a scan with a higher number knows of all that this one does.
        let scan = self.now().0;
        let (doubted, again) = memory.tree.doubts.now(&memory.tree, files, &self.told);
        let epoch = if again.is_some() { since.0 } else { scan };
        let view = View { tree: &memory.tree, files, epoch, scan, doubted: &doubted, calm: NO_CALM };
        for (dir, name) in again.unwrap_or_default() {
            view.ask_again(dir, name);
        }
        work(view)
    }
}
