// SPDX-License-Identifier: Apache-2.0
//! Computed includes: which header names `#include MACRO(…)` can mean, whatever conditions say. A macro stands for all its
//! definitions in the files that a command takes in and in its `-D` options, wherever they are.
//!
//! ```text
//! tokens   text → tokens, definitions          expand   tokens + definitions → header names
//! ```
//!
//! Here is the index from names to definitions, built name by name as they are asked for; where nothing is computed,
//! nothing is built. And the memory of what lines gave: whoever comes with the same definitions of all macros that
//! mattered gets the same answer.

mod expand;
mod tokens;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::directives::{self, Form, NameId, Names, Parsed};
use super::intern::{Bits, Fast, Table, hash};
use expand::Expander;
use tokens::Definition;

/// A name that a line can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub form: Form,
    pub name: NameId,
}

/// All that a line can mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Headers {
    /// Sorted by what they are, not by their numbers.
    pub names: Vec<Header>,
    /// The file that the line is in, by `__FILE__`.
    pub itself: bool,
}

/// What a line gave.
pub(super) struct Line {
    /// The macros that mattered, and the set of definitions that each had.
    needs: Box<[(u64, u32)]>,
    /// `None`: it cannot be told.
    pub headers: Option<Headers>,
}

/// So many answers for one line are kept.
const ANSWERS: usize = 16;

/// All definitions and answers of a recording.
pub(super) struct Macros {
    index: Mutex<Index>,
    definitions: Table<Box<[u8]>, Arc<Definition>>,
    sets: Table<Box<[u32]>, Arc<[Arc<Definition>]>>,
    lines: Mutex<HashMap<NameId, Vec<Arc<Line>>, Fast>>,
}

#[derive(Default)]
struct Index {
    texts: Vec<Arc<Parsed>>,
    /// For a macro: in which texts it was looked for (those before this number), and its definitions in them.
    defined: HashMap<u64, (usize, Vec<(u32, u32)>), Fast>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Macros {
    pub fn new() -> Self {
        Self { index: Mutex::default(), definitions: Table::new(), sets: Table::new(), lines: Mutex::default() }
    }

    fn definition(&self, text: &[u8], names: &Names) -> u32 {
        self.definitions.intern(text, || (text.into(), Arc::new(Definition::parse(text, names))))
    }
}

/// The definitions that one command sees.
pub(super) struct Scope<'a> {
    macros: &'a Macros,
    names: &'a Names,
    options: Vec<(u64, u32)>,
    texts: Bits,
    taken: usize,
    /// Sets of definitions, and how many texts were taken when they were put together.
    sets: HashMap<u64, (usize, u32), Fast>,
    /// Bytes newly remembered.
    pub weight: usize,
}

impl<'a> Scope<'a> {
    /// With the command's `-D` options alone.
    pub fn new(macros: &'a Macros, names: &'a Names, options: &[OsString]) -> Self {
        let option = |o: &OsString| {
            let (name, text) = directives::option(o.as_bytes());
            (name, macros.definition(&text, names))
        };
        let options = options.iter().map(option).collect();
        Self { macros, names, options, texts: Bits::default(), taken: 0, sets: HashMap::default(), weight: 0 }
    }

    /// Takes in those of `texts` that are new.
    pub fn take(&mut self, texts: &[Arc<Parsed>]) {
        let new = &texts[self.taken..];
        self.taken = texts.len();
        let mut unknown = vec![];
        for text in new.iter().filter(|t| !t.defines.is_empty()) {
            match text.number.get() {
                Some(&number) => drop(self.texts.add(number)),
                None => unknown.push(text),
            }
        }
        if unknown.is_empty() {
            return;
        }
        let mut index = locked(&self.macros.index);
        for text in unknown {
            let number = *text.number.get_or_init(|| {
                self.weight += size_of::<Arc<Parsed>>();
                index.texts.push(text.clone());
                index.texts.len() as u32 - 1
            });
            self.texts.add(number);
        }
    }

    /// The number of the set of a macro's definitions.
    fn set(&mut self, name: u64) -> u32 {
        if let Some(&(at, set)) = self.sets.get(&name)
            && at == self.taken
        {
            return set;
        }
        let mut index = locked(&self.macros.index);
        let Index { texts, defined } = &mut *index;
        let (looked, found) = defined.entry(name).or_default();
        for (number, text) in texts.iter().enumerate().skip(*looked) {
            for definition in text.definitions(name) {
                found.push((number as u32, self.macros.definition(definition, self.names)));
                self.weight += 8;
            }
        }
        *looked = texts.len();
        let options = self.options.iter().filter(|(n, _)| *n == name).map(|&(_, d)| d);
        let mine = found.iter().filter(|(text, _)| self.texts.has(*text)).map(|&(_, d)| d);
        let mut all: Vec<u32> = options.chain(mine).collect();
        drop(index);
        all.sort_unstable();
        all.dedup();
        let set = self.macros.sets.intern(&all[..], || {
            let definitions = all.iter().map(|&d| self.macros.definitions.get(d).clone()).collect();
            (all.clone().into(), definitions)
        });
        self.sets.insert(name, (self.taken, set));
        set
    }

    /// What a line can mean by now.
    pub fn line(&mut self, line: NameId) -> Arc<Line> {
        let known = locked(&self.macros.lines).get(&line).cloned().unwrap_or_default();
        if let Some(line) = known.iter().rev().find(|l| l.needs.iter().all(|&(name, set)| self.set(name) == set)) {
            return line.clone();
        }
        let (names, macros) = (self.names, self.macros);
        let mut needs = vec![];
        let mut definitions = |name: NameId| {
            let name = hash(names.get(name));
            let set = self.set(name);
            needs.push((name, set));
            macros.sets.get(set).clone()
        };
        let headers = Expander::new(names, &mut definitions).headers(names.get(line)).ok();
        let answer = Arc::new(Line { needs: needs.into(), headers });
        self.weight += size_of_val(&*answer.needs) + 128;
        let mut lines = locked(&macros.lines);
        let answers = lines.entry(line).or_default();
        if answers.len() == ANSWERS {
            answers.remove(0);
        }
        answers.push(answer.clone());
        answer
    }
}
