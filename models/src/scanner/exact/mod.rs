// SPDX-License-Identifier: Apache-2.0
//! A preprocessor for one command: which files it reads, conditions and macros heeded. For commands that include a file
//! whose name macros put together from pieces: the scanner, which takes all branches, knows all pieces but not which fit.
//!
//! Only directives are looked at. Text between them is not expanded, as nothing in it can change what is included; where it
//! can (`_Pragma`), and at whatever else is not certain here, it gets [`Lost`] and the compiler is asked. What the compiler has
//! built in, it is asked for: its macros once, the answers to `__has_builtin` and the like as they are needed.
//!
//! ```text
//! token    line → tokens          expand      macros
//! script   text → steps           expression  the value of a condition
//! front    what the compiler has built in        listing    the dependency file that gcc would write
//! ```
//!
//! What it takes for granted: the command compiles. Where it would not, the answer does not matter, but that whoever
//! reads a dependency file goes on; what the preprocessor alone would refuse is left to it. What it does not know: that
//! `//` begins no comment in C of 1990; line markers in a source.

mod expand;
mod expression;
mod front;
mod listing;
mod script;
mod token;

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use expand::Purpose;
use expression::Dialect;
pub(super) use front::Fronts;
use front::{Asker, Front};
use listing::{Called, Listing, VERSIONS};
use script::{Macro, Name, Step, Target};
pub(super) use script::{Script, script};
pub(super) use token::Texts;
use token::{Class, Kind, Text, Token};

use super::directives::{Form, NameId, name_id};
use super::intern::{Bits, Fast};
use super::search::{Found, IMPLIED, List, Place, Start};
use super::tree::{DirId, FileId, Trail, View};
use crate::{IncludeSearch, Rule};

/// Why it is not certain here what a command reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost(pub &'static str);

/// A file was there and is no more, or is another one: what led to it is void.
pub(super) const CHANGED: Lost = Lost("a file that cannot be read or changes");
/// As compilers have it.
const DEEPEST: usize = 200;
/// So many tokens and steps are looked at; users of Boost need a hundredth.
const MUCH: usize = 10_000_000;
/// How often the compiler is asked for one command.
const QUESTIONS: usize = 6;

/// What a command reads.
pub(super) struct Read {
    /// The files, by inclusion.
    pub files: Vec<FileId>,
    /// What else it tested for.
    pub found: Found,
}

/// Preprocesses the command.
pub(super) fn preprocess(
    view: View<'_>,
    list: &List,
    search: &IncludeSearch,
    fronts: &Fronts,
) -> Result<Read, Lost> {
    run(view, list, search, fronts, None).map(|run| Read { files: run.files, found: run.found })
}

/// The dependency file that gcc writes for the command.
pub(super) fn dependencies(
    view: View<'_>,
    list: &List,
    search: &IncludeSearch,
    rule: &Rule,
    fronts: &Fronts,
    cwd: &Path,
) -> Result<Vec<u8>, Lost> {
    let listing = || Listing::new(rule, search, list, cwd, view);
    Ok(run(view, list, search, fronts, Some(&listing))?.text.unwrap_or_default())
}

fn run<'a>(
    view: View<'a>,
    list: &'a List,
    search: &IncludeSearch,
    fronts: &Fronts,
    listing: Option<&dyn Fn() -> Listing<'a>>,
) -> Result<Done, Lost> {
    let question = search.front.as_ref().ok_or(Lost("not a single source in C or C++"))?;
    let front = fronts.get(question, view).ok_or(Lost("the compiler's own macros"))?;
    for _ in 0..QUESTIONS {
        let mut run = Run::new(view, list, &front, listing.map(|listing| listing()));
        let result = run.all(search);
        if run.asker.has_all() {
            result?;
            let text = run.listing.as_ref().map(Listing::text).transpose()?;
            return Ok(Done { files: run.files, found: run.found, text });
        }
        front.learn(question, view.files, &run.asker)?;
    }
    Err(Lost("a compiler that is asked ever more"))
}

/// What a run found out.
struct Done {
    files: Vec<FileId>,
    found: Found,
    /// The dependency file, if it was asked for.
    text: Option<Vec<u8>>,
}

/// Where a file was found, for `#include_next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Not by a search: the source, an absolute name.
    Direct,
    /// Beside the including file. gcc then looks through the whole search order next.
    Beside,
    /// In this place of the search order.
    Order(usize),
    /// In a directory that the compiler may have dropped from the search order in favour of another name of it.
    Unclear,
}

/// A name that is searched for, with the directory of the including file if that matters.
type Wanted = (Option<DirId>, NameId, Start);

struct Frame {
    file: FileId,
    way: Way,
    script: Arc<Script>,
    at: usize,
    /// Where names are listed.
    called: Called,
}

struct Run<'a> {
    view: View<'a>,
    list: &'a List,
    texts: &'a Texts,
    macros: Vec<Option<Arc<Macro>>>,
    pushed: HashMap<Text, Vec<Option<Arc<Macro>>>, Fast>,
    asker: Asker<'a>,
    frames: Vec<Frame>,
    /// What names mean.
    places: HashMap<Wanted, Option<(FileId, Way)>, Fast>,
    files: Vec<FileId>,
    read: Bits,
    /// Files that are read once, by what is in them.
    once: HashMap<u64, Vec<FileId>, Fast>,
    found: Found,
    worked: usize,
    dialect: Dialect,
    clang: bool,
    listing: Option<Listing<'a>>,
}

impl<'a> Run<'a> {
    fn new(view: View<'a>, list: &'a List, front: &'a Front, listing: Option<Listing<'a>>) -> Self {
        let texts = &view.tree.texts;
        let mut run = Self {
            view,
            list,
            texts,
            macros: vec![None; texts.len() as usize + 1024],
            pushed: HashMap::default(),
            asker: Asker::new(front),
            frames: Vec::new(),
            places: HashMap::default(),
            files: Vec::with_capacity(512),
            read: Bits::default(),
            once: HashMap::default(),
            found: Found::default(),
            worked: 0,
            dialect: Dialect::default(),
            clang: false,
            listing,
        };
        for (name, of) in &front.macros {
            run.set(*name, Some(Arc::clone(of)));
        }
        let has = |name: &[u8]| run.macro_of(texts.number(name)).is_some();
        let dialect = Dialect {
            cxx: has(b"__cplusplus"),
            unsigned_char: has(b"__CHAR_UNSIGNED__"),
            unsigned_wide: has(b"__WCHAR_UNSIGNED__"),
        };
        (run.dialect, run.clang) = (dialect, has(b"__clang__"));
        run
    }

    /// The forced headers and the source.
    fn all(&mut self, search: &IncludeSearch) -> Result<(), Lost> {
        let source = search.sources.first().ok_or(Lost("no source"))?;
        let names = &self.view.tree.names;
        let source = self.list.file(self.view, name_id(names, source.as_os_str().as_bytes()));
        let source = source.ok_or(Lost("a source that is not there"))?;
        if self.listing.is_some()
            && !self.number_of(b"__GNUC__").is_some_and(|version| VERSIONS.contains(&version))
        {
            return Err(Lost("a compiler whose way of writing is not known"));
        }
        let called = self.listing.as_mut().map(Listing::source).unwrap_or_default();
        self.implied(search)?;
        for forced in &search.forced {
            let name = name_id(names, forced.as_os_str().as_bytes());
            let mut trail = Trail::default();
            let place = self.list.place(self.view, self.list.cwd(), name, Start::Beside, &mut trail);
            // Where the command says so, not a file.
            trail.absolute = false;
            self.found.trail.extend(&trail);
            let (file, way) = Self::way(place)?.ok_or(Lost("a header that is not there"))?;
            let called = self.call(way, name, Start::Beside)?;
            self.enter(file, way, called)?;
            self.run()?;
        }
        self.enter(source, Way::Direct, called)?;
        self.run()
    }

    /// The header that gcc includes before all others, if it finds one.
    fn implied(&mut self, search: &IncludeSearch) -> Result<(), Lost> {
        let is_told =
            |option| search.front.as_ref().is_some_and(|front| front.argv.iter().any(|word| word == option));
        let is_hosted = self.number_of(b"__STDC_HOSTED__") == Some(1);
        if self.clang || !is_hosted || is_told("-nostdinc") {
            return Ok(());
        }
        let name = name_id(&self.view.tree.names, IMPLIED);
        let trail = &mut self.found.trail;
        let place = self.list.place(self.view, self.list.cwd(), name, Start::Angle, trail);
        if let Some((file, way)) = Self::way(place)? {
            let called = self.call(way, name, Start::Angle)?;
            self.enter(file, way, called)?;
            self.run()?;
        }
        Ok(())
    }

    /// The value of a macro that is a plain number.
    fn number_of(&self, name: &[u8]) -> Option<u32> {
        let of = self.macro_of(self.texts.number(name))?;
        let [value] = &*of.body else { return None };
        std::str::from_utf8(self.texts.get(value.text)).ok()?.parse().ok()
    }

    /// What a file is called that is about to be read; lists it.
    fn call(&mut self, way: Way, name: NameId, start: Start) -> Result<Called, Lost> {
        let Some(listing) = &mut self.listing else { return Ok(Called::default()) };
        let command_line = Called::command_line();
        let from = self.frames.last().map_or(&command_line, |frame| &frame.called);
        let called = listing.called(way, name, from)?;
        let file = listing.found(way, name, start, from);
        listing.read(file, &called);
        Ok(called)
    }

    /// Counts what is done, so that it has an end.
    fn work(&mut self, steps: usize) -> Result<(), Lost> {
        self.worked += steps;
        if self.worked > MUCH { Err(Lost("a preprocessor that does not end")) } else { Ok(()) }
    }

    fn enter(&mut self, file: FileId, way: Way, called: Called) -> Result<(), Lost> {
        if self.frames.len() > DEEPEST {
            return Err(Lost("includes in includes without end"));
        }
        let script = self.view.script(file).ok_or(CHANGED)?;
        if let Some(reason) = script.strange {
            return Err(Lost(reason));
        }
        if self.read.add(file) {
            self.files.push(file);
        }
        self.frames.push(Frame { file, way, script, at: 0, called });
        Ok(())
    }

    fn run(&mut self) -> Result<(), Lost> {
        while let Some(frame) = self.frames.last() {
            let script = Arc::clone(&frame.script);
            while let Some(line) = script.lines.get(self.at()) {
                self.work(1)?;
                let depth = self.frames.len();
                // Whoever comes upon the beginning of another branch from above has gone through one.
                let next = if line.ends_branch { line.end as usize } else { self.step(&script, self.at())? };
                // The file with the directive may have another one on top now.
                self.frames[depth - 1].at = next;
                if self.frames.len() != depth {
                    break;
                }
            }
            let is_done = |frame: &Frame| frame.at >= frame.script.lines.len();
            if self.frames.last().is_some_and(is_done) {
                self.frames.pop();
            }
        }
        Ok(())
    }

    fn at(&self) -> usize {
        self.frames.last().map_or(0, |frame| frame.at)
    }

    /// Does what a line says; returns the number of the next one.
    fn step(&mut self, script: &Script, at: usize) -> Result<usize, Lost> {
        let line = &script.lines[at];
        match &line.step {
            Step::If(_) | Step::IfDefined(..) => return self.branch(script, at),
            Step::Define(name, of) => {
                self.changeable(*name)?;
                self.set(*name, Some(Arc::clone(of)));
            }
            Step::Undef(name) => {
                self.changeable(*name)?;
                self.set(*name, None);
            }
            Step::Include(target) => self.include(target)?,
            Step::Once => {
                if let Some(frame) = self.frames.last() {
                    self.once.entry(frame.script.content).or_default().push(frame.file);
                }
            }
            Step::PushMacro(name) => {
                let now = self.macro_of(*name);
                self.pushed.entry(*name).or_default().push(now);
            }
            Step::PopMacro(name) => {
                if let Some(before) = self.pushed.get_mut(name).and_then(Vec::pop) {
                    self.set(*name, before);
                }
            }
            Step::SystemHeader => {
                // Not in the source itself.
                if let Some(frame) = self.frames.last_mut().filter(|frame| !frame.called.is_source) {
                    frame.called.system = true;
                }
            }
            Step::Else | Step::EndIf => {}
            Step::Strange(reason) => return Err(Lost(reason)),
        }
        Ok(at + 1)
    }

    /// The first line of the branch that is taken, or the line behind all.
    fn branch(&mut self, script: &Script, mut at: usize) -> Result<usize, Lost> {
        while let Some(line) = script.lines.get(at) {
            self.work(1)?;
            let is_taken = match &line.step {
                Step::If(tokens) => {
                    let tokens = self.expand(tokens, Purpose::Condition)?;
                    expression::is_true(&tokens, self.texts, self.dialect)?
                }
                Step::IfDefined(name, wanted) => self.is_defined(*name)? == *wanted,
                Step::Strange(reason) => return Err(Lost(reason)),
                _ => true,
            };
            if is_taken {
                return Ok(at + 1);
            }
            at = line.otherwise as usize;
        }
        Ok(at)
    }

    fn macro_of(&self, name: Text) -> Option<Arc<Macro>> {
        self.macros.get(name as usize).cloned().flatten()
    }

    fn set(&mut self, name: Text, of: Option<Arc<Macro>>) {
        let name = name as usize;
        if self.macros.len() <= name {
            self.macros.resize(name + name / 2 + 1, None);
        }
        self.macros[name] = of;
    }

    /// What is built in cannot be defined otherwise and be understood here; unless the compiler does not have it.
    fn changeable(&mut self, name: Text) -> Result<(), Lost> {
        let is_built_in = self.texts.class(name) != Class::Plain
            && self.macro_of(name).is_none()
            && self.is_defined(name)?;
        if is_built_in { Err(Lost("another meaning for what is built in")) } else { Ok(()) }
    }

    fn is_defined(&mut self, name: Text) -> Result<bool, Lost> {
        if self.macro_of(name).is_some() {
            return Ok(true);
        }
        match self.texts.class(name) {
            Class::Plain | Class::Defined => Ok(false),
            _ => Ok(self.asker.is_defined(self.texts.get(name))? != 0),
        }
    }

    fn ask(&mut self, question: &[u8]) -> Result<i64, Lost> {
        self.asker.ask(question)
    }

    fn include(&mut self, target: &Target) -> Result<(), Lost> {
        let (name, form) = match &target.name {
            Name::Plain(name, form) => (*name, *form),
            Name::Computed(tokens) => {
                let tokens = self.expand(tokens, Purpose::Name)?;
                self.name(&tokens)?
            }
        };
        if target.once && self.listing.is_some() {
            // gcc compares it with all files that it has come upon, also those that it has not read.
            return Err(Lost("#import"));
        }
        let start = self.start(form, target.next)?;
        let (file, way) = self.find(name, start)?.ok_or(Lost("a header that is not there"))?;
        let script = self.view.script(file).ok_or(CHANGED)?;
        if self.is_read_once(file, &script) {
            return Ok(());
        }
        if target.once {
            self.once.entry(script.content).or_default().push(file);
            // It may have been read by another directive.
            if self.read.has(file) {
                return Ok(());
            }
        }
        let called = self.call(way, name, start)?;
        self.enter(file, way, called)
    }

    /// Was it read, and is only read once? Under whatever name: gcc goes by time and content, clang by inode.
    fn is_read_once(&mut self, file: FileId, script: &Script) -> bool {
        let Some(all) = self.once.get(&script.content) else { return false };
        if all.contains(&file) {
            return true;
        }
        // Another copy of these files may have other times.
        self.found.fleeting = true;
        let seconds = |time: i64| time.div_euclid(1_000_000_000);
        let is_same = |other: FileId| match (self.view.stamp(other), self.view.stamp(file)) {
            (Some(a), Some(b)) => a.same_object(&b) || (!self.clang && seconds(a.mtime) == seconds(b.mtime)),
            _ => false,
        };
        all.iter().any(|&other| is_same(other))
    }

    /// Where the search for a name begins.
    fn start(&self, form: Form, next: bool) -> Result<Start, Lost> {
        let plain = if form == Form::Quote { Start::Beside } else { Start::Angle };
        let Some(frame) = self.frames.last().filter(|_| next) else { return Ok(plain) };
        Ok(match frame.way {
            Way::Direct => plain,
            Way::Beside if !self.clang => Start::From(0),
            Way::Beside => plain,
            Way::Order(place) => Start::From(place + 1),
            Way::Unclear => return Err(Lost("#include_next from a directory that is searched twice")),
        })
    }

    fn find(&mut self, name: NameId, start: Start) -> Result<Option<(FileId, Way)>, Lost> {
        let Some(frame) = self.frames.last() else { return Ok(None) };
        if let (Start::Beside, Some(listing)) = (start, &mut self.listing)
            && self.view.tree.names.get(name).first() != Some(&b'/')
        {
            listing.looks_beside(&frame.called);
        }
        let here = self.view.tree.file(frame.file).dir;
        let key = ((start == Start::Beside).then_some(here), name, start);
        if let Some(known) = self.places.get(&key) {
            return Ok(*known);
        }
        let place = self.list.place(self.view, here, name, start, &mut self.found.trail);
        let found = Self::way(place)?;
        self.places.insert(key, found);
        Ok(found)
    }

    fn way(place: Place) -> Result<Option<(FileId, Way)>, Lost> {
        Ok(match place {
            Place::Nowhere => None,
            Place::Direct(file) => Some((file, Way::Direct)),
            Place::Beside(file) => Some((file, Way::Beside)),
            Place::Order(file, place) => Some((file, Way::Order(place))),
            Place::Unclear(file) => Some((file, Way::Unclear)),
            Place::Several => return Err(Lost("a header that a doubled directory decides")),
        })
    }

    /// `__has_include(…)` of what these tokens name.
    fn has_include(&mut self, tokens: &[Token], next: bool) -> Result<bool, Lost> {
        let (name, form) = self.name(tokens)?;
        let Some(frame) = self.frames.last() else { return Ok(false) };
        let here = self.view.tree.file(frame.file).dir;
        let any = if next { Form::Any } else { form };
        self.list.resolve(self.view, here, name, any, true, &mut self.found);
        let start = self.start(form, next)?;
        let found = self.find(name, start)?;
        if let (Some((_, way)), Some(listing), Some(frame)) = (found, &mut self.listing, self.frames.last()) {
            listing.found(way, name, start, &frame.called);
        }
        Ok(found.is_some())
    }

    /// The name of a header that expanded tokens make.
    fn name(&self, tokens: &[Token]) -> Result<(NameId, Form), Lost> {
        let text = |token: &Token| self.texts.get(token.text);
        let (name, form) = match tokens {
            [one] if one.kind == Kind::String => (text(one).to_vec(), Form::Quote),
            [one] if one.kind == Kind::Header => (text(one).to_vec(), Form::Angle),
            [open, inside @ .., close] if self.is_sign(open, b"<") && self.is_sign(close, b">") => {
                // Which blanks become part of the name, compilers do not agree on.
                if inside.iter().any(|token| token.spaced || self.is_sign(token, b">")) || close.spaced {
                    return Err(Lost("a name with blanks in it"));
                }
                let name: Vec<u8> = tokens.iter().flat_map(text).copied().collect();
                (name, Form::Angle)
            }
            _ => return Err(Lost("a name that is none")),
        };
        let name = name.get(1..name.len() - 1).unwrap_or_default();
        if name.is_empty() || name.iter().any(|c| matches!(c, b' ' | b'\\' | b'"' | 0)) {
            return Err(Lost("a name with blanks, quotes or nothing in it"));
        }
        Ok((name_id(&self.view.tree.names, name), form))
    }
}
