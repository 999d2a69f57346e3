// SPDX-License-Identifier: Apache-2.0
//! From the sources along all includes to the whole set of files. Unaware of how names are searched for and
//! texts are read.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directives::{self, Computed, Form, Parsed, Value};
use super::exact::{self, Fronts, Lost};
use super::intern::{Bits, Fast, hash};
use super::search::{Found, List, Reached};
use super::tree::{DirId, FileId, SetId, Trail, View};
use super::{Closure, Unsure, Why};
use crate::IncludeSearch;

/// How often a scan begins again because files vanish under it.
const PATIENCE: u32 = 8;

/// What a walk is for.
#[derive(Clone, Copy)]
pub(super) enum Aim<'a> {
    /// All files.
    Everything,
    /// The compiler listed these: what it does not list.
    Unlisted(&'a [PathBuf]),
}

/// What a walk came by.
pub(super) struct Walked {
    /// Files whose own directives count.
    pub follow: Vec<SetId>,
    /// Files that are only tested for or read as data.
    pub touch: Vec<SetId>,
    /// Directories that must exist.
    pub through: Vec<DirId>,
    /// Directories whose names were asked for.
    pub watch: Bits,
    /// A file was found by an absolute path in another one.
    pub absolute: bool,
    /// It rests on nothing but these, and what is in the files.
    pub lasting: bool,
    /// It rests on what the compiler has built in, too.
    pub preprocessed: bool,
}

/// Walks until no file vanishes on the way.
pub(super) fn walk(
    view: View<'_>,
    list: &List,
    fronts: &Fronts,
    search: &IncludeSearch,
    through: &[DirId],
    aim: Aim<'_>,
) -> Result<(Closure, Walked), Unsure> {
    for _ in 0..PATIENCE {
        let mut walk = Walk::new(view, list, &search.defines);
        if walk.run(search, fronts, aim).is_ok()
            && let Ok(result) = walk.finish(search.sources.len(), through)
        {
            return result;
        }
    }
    let file = search.sources.first().cloned().unwrap_or_default();
    Err(Unsure { file, line: 0, why: Why::Changing, known: Closure::default(), lost: None })
}

/// A file was there and is no more: what led to it is void.
struct Vanished;

/// Where it is not certain what is read, and why.
type Doubt = (PathBuf, u32, Why);

/// Keeps the more important of two: what the compiler cannot say either.
fn note(doubt: &mut Option<Doubt>, other: Doubt) {
    if doubt.as_ref().is_none_or(|(_, _, why)| why.compiler_knows() && !other.2.compiler_knows()) {
        *doubt = Some(other);
    }
}

struct Walk<'a> {
    view: View<'a>,
    list: &'a List,
    options: Vec<(u64, Value)>,
    /// Files to follow, in the order of their discovery, and how far that is done.
    queue: Vec<FileId>,
    done: usize,
    queued: Bits,
    touched: Vec<FileId>,
    through: Vec<DirId>,
    watch: Bits,
    absolute: bool,
    /// Something rests on more than files and directories.
    fleeting: bool,
    /// Files that were taken in, in whatever order.
    taken: Vec<FileId>,
    /// What is in the first of them: only where macros matter is it wanted.
    texts: Vec<Option<Arc<Parsed>>>,
    /// Files with computed includes.
    computed: Vec<(FileId, Arc<Parsed>)>,
    unsure: Option<Doubt>,
    /// The same for names that macros compute, and why preprocessing did not help.
    uncomputed: Option<Doubt>,
    lost: Option<Lost>,
    /// The command was preprocessed, or that was in vain.
    preprocessed: bool,
    /// Only what a compiler does not list.
    unlisted: bool,
}

impl<'a> Walk<'a> {
    fn new(view: View<'a>, list: &'a List, defines: &[OsString]) -> Self {
        let names = &view.tree.names;
        Self {
            view,
            list,
            options: defines.iter().filter_map(|d| directives::parse_option(d.as_bytes(), names)).collect(),
            queue: Vec::with_capacity(512),
            done: 0,
            queued: Bits::default(),
            touched: vec![],
            through: vec![],
            watch: Bits::default(),
            absolute: false,
            fleeting: false,
            taken: Vec::with_capacity(512),
            texts: vec![],
            computed: vec![],
            unsure: None,
            uncomputed: None,
            lost: None,
            preprocessed: false,
            unlisted: false,
        }
    }

    fn run(&mut self, search: &IncludeSearch, fronts: &Fronts, aim: Aim<'_>) -> Result<(), Vanished> {
        let roots = search.sources.len();
        self.roots(&search.sources);
        match aim {
            Aim::Everything => {
                let mut found = Found::default();
                self.list.implied(self.view, &mut found);
                self.take_found(&found);
            }
            Aim::Unlisted(listed) => {
                self.unlisted = true;
                self.roots(listed);
            }
        }
        for name in &search.forced {
            let mut found = Found::default();
            self.list.forced(self.view, name.as_os_str().as_bytes(), &mut found);
            // That is where the command says so, not a file.
            found.trail.absolute = false;
            self.take_found(&found);
        }
        loop {
            while self.done < self.queue.len() {
                let first = self.done < roots;
                self.file(self.queue[self.done], first)?;
                self.done += 1;
            }
            if !self.preprocessed || self.lost.is_some() {
                self.compute();
            }
            // What the compiler lists needs no preprocessing, and with another doubt it would be in vain.
            let is_of_use = !self.unlisted && self.unsure.is_none();
            if self.uncomputed.is_some() && is_of_use && !self.preprocessed {
                self.preprocess(search, fronts)?;
            }
            if self.done == self.queue.len() {
                return Ok(());
            }
        }
    }

    /// Takes in what the command reads when conditions and macros are heeded.
    fn preprocess(&mut self, search: &IncludeSearch, fronts: &Fronts) -> Result<(), Vanished> {
        self.preprocessed = true;
        match exact::preprocess(self.view, self.list, search, fronts) {
            Ok(read) => {
                self.uncomputed = None;
                self.take(&read.files, &[], &Trail::default());
                self.take_found(&read.found);
            }
            Err(exact::CHANGED) => return Err(Vanished),
            Err(lost) => self.lost = Some(lost),
        }
        Ok(())
    }

    fn roots(&mut self, paths: &[PathBuf]) {
        for path in paths {
            let mut trail = Trail::default();
            let parent = path.parent().unwrap_or(Path::new("/")).as_os_str().as_bytes();
            let name = path.file_name().unwrap_or_default().as_bytes();
            let name = directives::name_id(&self.view.tree.names, name);
            let dir = self.view.directory(parent, &mut trail);
            match dir.and_then(|dir| self.view.find(dir, name, &mut trail)) {
                Some(file) => self.take(&[file], &[], &trail),
                None => self.doubt(path.clone(), 0, Why::Unreadable),
            }
        }
    }

    fn doubt(&mut self, file: PathBuf, line: u32, why: Why) {
        note(&mut self.unsure, (file, line, why));
    }

    fn take(&mut self, follow: &[FileId], touch: &[FileId], trail: &Trail) {
        self.queue.extend(follow.iter().filter(|&&f| self.queued.add(f)));
        self.touched.extend_from_slice(touch);
        self.through.extend_from_slice(&trail.through);
        self.watch.extend(&trail.watch);
        self.absolute |= trail.absolute;
    }

    fn take_found(&mut self, found: &Found) {
        self.take(&found.follow, &found.touch, &found.trail);
        self.fleeting |= found.fleeting;
    }

    /// Takes in one file and what it leads to.
    fn file(&mut self, file: FileId, first: bool) -> Result<(), Vanished> {
        if !first
            && !self.unlisted
            && let Some(reached) = self.list.reach(self.view, file)
        {
            self.reached(file, &reached);
            return Ok(());
        }
        self.view.check(file).ok_or(Vanished)?;
        let path = &self.view.tree.file(file).path;
        let Ok(parsed) = self.view.parsed(file) else {
            self.doubt(path.to_path_buf(), 0, Why::Unreadable);
            return Ok(());
        };
        if let Some((line, why)) = parsed.unsure {
            self.doubt(path.to_path_buf(), line, why);
        }
        if self.unlisted {
            self.unlisted_edges(file, &parsed, first);
        } else {
            let edges = self.list.edges(self.view, file, &parsed, first);
            self.take(&edges.follow, &edges.touch, &edges.trail);
            self.fleeting |= edges.fleeting;
        }
        if !parsed.computed.is_empty() {
            self.computed.push((file, parsed.clone()));
        }
        self.taken.push(file);
        Ok(())
    }

    /// Takes in a file and all to which it leads.
    fn reached(&mut self, file: FileId, reached: &Reached) {
        // What else is in the queue comes in its turn.
        self.taken.push(file);
        self.queued.add_all(&reached.follow, &mut self.taken);
        self.touched.extend_from_slice(&reached.touch);
        self.through.extend_from_slice(&reached.through);
        self.watch.join(&reached.watch);
        self.absolute |= reached.absolute;
    }

    fn unlisted_edges(&mut self, file: FileId, parsed: &Parsed, first: bool) {
        let here = self.view.tree.file(file).dir;
        let mut found = Found::default();
        for include in &parsed.includes {
            if include.leaf || include.form == Form::Assembler {
                self.list.resolve(self.view, here, include.name, include.form, include.leaf, &mut found);
            } else if first {
                self.list.precompiled(self.view, here, include.name, &mut found);
            }
        }
        self.take_found(&found);
    }

    /// Takes in what the computed includes lead to, as far as macros are known by now.
    fn compute(&mut self) {
        let pending = std::mem::take(&mut self.computed);
        if !pending.is_empty() {
            let texts = self.taken.iter().skip(self.texts.len()).map(|&file| self.view.parsed(file).ok());
            self.texts.extend(texts);
        }
        let mut known = HashMap::default();
        let unlisted = self.unlisted;
        for (file, parsed) in &pending {
            for computed in parsed.computed.iter().filter(|c| c.leaf || !unlisted) {
                self.compute_one(*file, computed, &mut known);
            }
        }
        self.computed = pending;
    }

    fn compute_one(&mut self, file: FileId, computed: &Computed, known: &mut HashMap<u64, Vec<Value>, Fast>) {
        let names = &self.view.tree.names;
        let (mut stack, mut seen) = (vec![computed.value], HashSet::<Value, Fast>::default());
        let mut found = Found::default();
        let mut why = None;
        while let Some(value) = stack.pop() {
            if !seen.insert(value) {
                continue;
            }
            let (name, form) = match value {
                Value::Quote(name) => (name, Form::Quote),
                Value::Angle(name) => {
                    // Between angle brackets stand tokens, and tokens are expanded. What the compiler has built in is not known here.
                    let words =
                        names.get(name).split(|&c| !super::lexer::is_word(c)).filter(|w| !w.is_empty());
                    let mut words = words.map(|word| (word.starts_with(b"__"), hash(word)));
                    if words.any(|(reserved, word)| reserved || !self.definitions(word, known).is_empty()) {
                        why = Some(Why::ComputedName);
                    }
                    (name, Form::Angle)
                }
                Value::Alias(name) => {
                    stack.extend_from_slice(self.definitions(hash(names.get(name)), known));
                    continue;
                }
                // If nothing defines the name, it cannot be expanded: an error, so not in a live branch.
                Value::Complex(name) => {
                    if !self.definitions(hash(names.get(name)), known).is_empty() {
                        why = Some(Why::ComputedName);
                    }
                    continue;
                }
                Value::Function | Value::Plain => continue,
            };
            let form = if computed.next { Form::Any } else { form };
            let here = self.view.tree.file(file).dir;
            self.list.resolve(self.view, here, name, form, computed.leaf, &mut found);
        }
        if let Some(why) = why {
            let why = if computed.leaf { Why::ComputedTest } else { why };
            let path = self.view.tree.file(file).path.to_path_buf();
            note(&mut self.uncomputed, (path, computed.line, why));
        }
        self.take_found(&found);
    }

    /// All definitions of a macro in the files taken in so far and in the command.
    fn definitions<'k>(&self, name: u64, known: &'k mut HashMap<u64, Vec<Value>, Fast>) -> &'k [Value] {
        known.entry(name).or_insert_with(|| {
            let options = self.options.iter().filter(|(n, _)| *n == name).map(|(_, v)| *v);
            options.chain(self.texts.iter().flatten().flat_map(|t| t.definitions(name))).collect()
        })
    }

    /// What was found, of so many sources; `through` lead to the directories of the search order.
    fn finish(
        mut self,
        sources: usize,
        through: &[DirId],
    ) -> Result<Result<(Closure, Walked), Unsure>, Vanished> {
        let mut seen = Bits::default();
        self.touched.retain(|&file| !self.queued.has(file) && seen.add(file));
        let follow = self.view.sets_of(&self.taken, sources);
        let touch = self.view.sets_of(&self.touched, 0);
        let sets = follow.iter().chain(&touch).map(|&set| self.view.check_set(set));
        let sets = sets.collect::<Option<_>>().ok_or(Vanished)?;
        self.through.sort_unstable();
        self.through.dedup();
        let directories = self.view.paths(self.through.iter().chain(through));
        let known = Closure { sets, directories };
        let mut doubt = self.unsure;
        self.uncomputed.into_iter().for_each(|other| note(&mut doubt, other));
        Ok(match doubt {
            None => {
                let Self { through, watch, absolute, preprocessed, .. } = self;
                let lasting = !self.fleeting;
                Ok((known, Walked { follow, touch, through, watch, absolute, lasting, preprocessed }))
            }
            Some((file, line, why)) => {
                Err(Unsure { file, line, why, known, lost: self.lost.map(|Lost(reason)| reason) })
            }
        })
    }
}
