// SPDX-License-Identifier: Apache-2.0
//! What a text may include, whatever the conditions around it say: its directives, read once per content.
//! Unaware of directories: names stay names.

use memchr::memmem;

use super::Why;
use super::assembler;
use super::intern::{Table, hash};
use super::lexer::{self, Keyword, is_blank, is_word};

/// Number of an include name, a file name or a macro name.
pub(super) type NameId = u32;
/// All names.
pub(super) type Names = Table<Box<[u8]>, Box<[u8]>>;

/// The number of a name.
pub(super) fn name_id(names: &Names, name: &[u8]) -> NameId {
    names.intern(name, || (name.into(), name.into()))
}

/// How a name is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Form {
    /// `"name"`.
    Quote,
    /// `<name>`.
    Angle,
    /// `#include_next`: any match may be meant. Where the including file was found is not followed up: all
    /// matches are taken.
    Any,
    /// `.include "name"` and `.incbin "name"`: all matches among the assembler's directories.
    Assembler,
    /// `#line 1 "name"`: what the working directory has by that name. Lines of it are quoted in gcc's messages, and in its assembler
    /// text by `-fverbose-asm`.
    Line,
}

/// A file that may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Include {
    /// Its name as written.
    pub name: NameId,
    /// How it is searched for.
    pub form: Form,
    /// Only tested for, or read as data: its own directives do not matter.
    pub leaf: bool,
}

/// An include whose name is computed from a macro.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Computed {
    /// The text after the keyword.
    pub value: Value,
    /// Search as for `#include_next`.
    pub next: bool,
    /// As [`Include::leaf`].
    pub leaf: bool,
    /// Line number, from 1.
    pub line: u32,
}

/// What a macro stands for, as far as a computed include could mean it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Value {
    /// `"name"`.
    Quote(NameId),
    /// `<name>`.
    Angle(NameId),
    /// Another macro.
    Alias(NameId),
    /// More than one token of which the first is this name: expanding it is beyond this scanner.
    Complex(NameId),
    /// Has parameters.
    Function,
    /// Nothing that names a header.
    Plain,
}

/// All that matters of one text.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// Hash of the text.
    pub content: u64,
    /// Files that may be read, in the order of their first mention.
    pub includes: Box<[Include]>,
    /// Computed includes.
    pub computed: Box<[Computed]>,
    /// Macro definitions by the hash of their names, sorted.
    pub defines: Box<[(u64, Value)]>,
    /// Where and why it is not certain what this text includes.
    pub unsure: Option<(u32, Why)>,
}

impl Parsed {
    /// The definitions of the macro whose name has this hash.
    pub fn definitions(&self, name: u64) -> impl Iterator<Item = Value> {
        let from = self.defines.partition_point(|&(n, _)| n < name);
        self.defines[from..].iter().take_while(move |&&(n, _)| n == name).map(|&(_, value)| value)
    }

    /// About how many bytes this takes.
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.includes)
            + size_of_val(&*self.computed)
            + size_of_val(&*self.defines)
    }
}

/// The macro that stands for the time at which the source file was changed.
pub(crate) const TIMESTAMP: &[u8] = b"__TIMESTAMP__";

/// Reads a text. `assembler` says whether it is one, by its file name: then words that C would never use count.
pub(super) fn parse(text: &[u8], assembler: bool, names: &Names) -> Parsed {
    let mut parser =
        Parser { names, includes: Vec::new(), computed: Vec::new(), defines: Vec::new(), counted: (0, 1) };
    parser.text(text);
    // Whether trigraphs are replaced depends on the command's options: both readings count.
    if memmem::find(text, b"??/").is_some() || memmem::find(text, b"??=").is_some() {
        parser.counted = (0, 1);
        parser.text(&replace_trigraphs(text));
    }
    if memmem::find(text, b"_Pragma").is_some() && memmem::find(text, b"dependency").is_some() {
        parser.pragma_operators(text);
    }
    let mut unsure = None;
    if assembler::may_include(text) {
        let found =
            if assembler { assembler::references(text, true) } else { assembler::references_in_c(text) };
        for (name, form_leaf) in found.files {
            parser.add(&name, Form::Assembler, form_leaf);
        }
        unsure = found.unsure.map(|at| (line_of(text, at), Why::AssemblerName));
    }
    if unsure.is_none() {
        unsure = memmem::find(text, TIMESTAMP).map(|at| (line_of(text, at), Why::Timestamp));
    }
    let Parser { includes, computed, mut defines, .. } = parser;
    defines.sort_unstable();
    defines.dedup();
    let mut seen = std::collections::HashSet::new();
    Parsed {
        content: hash(text),
        includes: includes.into_iter().filter(|i| seen.insert(*i)).collect(),
        computed: computed.into(),
        defines: defines.into(),
        unsure,
    }
}

/// The definition in a `-D` option, `NAME=VALUE`.
pub(super) fn parse_option(option: &[u8], names: &Names) -> Option<(u64, Value)> {
    let equals = memchr::memchr(b'=', option)?;
    let (name, text) = (&option[..equals], &option[equals + 1..]);
    match memchr::memchr(b'(', name) {
        Some(open) => Some((hash(&name[..open]), Value::Function)),
        None => Some((hash(name), value(text, names))),
    }
}

fn line_of(text: &[u8], at: usize) -> u32 {
    memchr::memchr_iter(b'\n', &text[..at]).count() as u32 + 1
}

fn replace_trigraphs(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memmem::find(rest, b"??") {
        out.extend_from_slice(&rest[..at]);
        let (byte, length) = match rest.get(at + 2) {
            Some(b'=') => (b'#', 3),
            Some(b'/') => (b'\\', 3),
            _ => (b'?', 1),
        };
        out.push(byte);
        rest = &rest[at + length..];
    }
    out.extend_from_slice(rest);
    out
}

pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

/// Splits a leading identifier off.
pub(super) fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = match text.first() {
        Some(c) if c.is_ascii_digit() => 0,
        _ => text.iter().position(|&c| !is_word(c)).unwrap_or(text.len()),
    };
    text.split_at(end)
}

/// The header name that a text starts with, and the text after it.
pub(super) fn header(text: &[u8]) -> Option<(Form, &[u8], &[u8])> {
    let (form, close) = match text.first()? {
        b'"' => (Form::Quote, b'"'),
        b'<' => (Form::Angle, b'>'),
        _ => return None,
    };
    let end = memchr::memchr(close, &text[1..])?;
    let name = &text[1..=end];
    // No file has such a name; `name/` is a directory.
    let possible = !name.is_empty() && !name.contains(&0) && !name.ends_with(b"/");
    Some((form, if possible { name } else { b"" }, &text[end + 2..]))
}

/// What the text of a macro or of a computed include amounts to.
fn value(text: &[u8], names: &Names) -> Value {
    let text = trim(text);
    match header(text) {
        Some((_, b"", _)) => return Value::Plain,
        Some((Form::Quote, name, _)) => return Value::Quote(name_id(names, name)),
        Some((_, name, _)) => return Value::Angle(name_id(names, name)),
        None => {}
    }
    match word(text) {
        (b"", _) => Value::Plain,
        // An encoding prefix makes a string that names no header.
        (b"L" | b"u" | b"U" | b"u8" | b"R", [b'"' | b'\'', ..]) => Value::Plain,
        (name, b"") => Value::Alias(name_id(names, name)),
        (name, _) => Value::Complex(name_id(names, name)),
    }
}

struct Parser<'a> {
    names: &'a Names,
    includes: Vec<Include>,
    computed: Vec<Computed>,
    defines: Vec<(u64, Value)>,
    /// Line number (from 1) at a position.
    counted: (usize, u32),
}

impl Parser<'_> {
    fn text(&mut self, text: &[u8]) {
        let directive = &mut |at: usize, keyword: Keyword, line: &[u8]| match keyword {
            Keyword::Include | Keyword::Import => self.include(text, at, line, false, false),
            Keyword::IncludeNext => self.include(text, at, line, true, false),
            Keyword::Embed => self.include(text, at, line, false, true),
            Keyword::Define => self.define(text, at, line),
            Keyword::If | Keyword::ElseIf => self.condition(text, at, line, &[]),
            Keyword::Pragma => self.pragma(line),
            Keyword::Line => self.origin(line),
            Keyword::Undef
            | Keyword::Error
            | Keyword::IfDefined
            | Keyword::IfNotDefined
            | Keyword::ElseIfDefined
            | Keyword::Else
            | Keyword::EndIf => {}
        };
        lexer::lex(text, directive, &mut |_| {});
    }

    fn line(&mut self, text: &[u8], at: usize) -> u32 {
        let (from, line) = self.counted;
        self.counted = (at, line + memchr::memchr_iter(b'\n', &text[from..at]).count() as u32);
        self.counted.1
    }

    fn add(&mut self, name: &[u8], form: Form, leaf: bool) {
        if !name.is_empty() {
            self.includes.push(Include { name: name_id(self.names, name), form, leaf });
        }
    }

    fn include(&mut self, text: &[u8], at: usize, rest: &[u8], next: bool, leaf: bool) {
        match header(trim(rest)) {
            Some((form, name, _)) => self.add(name, if next { Form::Any } else { form }, leaf),
            None => self.compute(text, at, rest, next, leaf),
        }
    }

    /// Names with escapes are left: `\` is no part of any that matters.
    fn origin(&mut self, rest: &[u8]) {
        let number = trim(rest);
        let name = &number[number.iter().position(|c| !c.is_ascii_digit()).unwrap_or(number.len())..];
        if let Some((Form::Quote, name, _)) = header(trim(name)).filter(|(_, name, _)| !name.contains(&b'\\'))
        {
            self.add(name, Form::Line, true);
        }
    }

    fn compute(&mut self, text: &[u8], at: usize, rest: &[u8], next: bool, leaf: bool) {
        let value = value(rest, self.names);
        if let Value::Alias(_) | Value::Complex(_) = value {
            let line = self.line(text, at);
            self.computed.push(Computed { value, next, leaf, line });
        }
    }

    fn define(&mut self, text: &[u8], at: usize, line: &[u8]) {
        let (name, rest) = word(trim(line));
        if name.is_empty() {
            return;
        }
        let (parameters, body) = match rest.first() {
            Some(b'(') => rest.split_at(memchr::memchr(b')', rest).unwrap_or(rest.len())),
            _ => (&b""[..], rest),
        };
        let value = if parameters.is_empty() { value(body, self.names) } else { Value::Function };
        self.defines.push((hash(name), value));
        if memmem::find(body, b"__has_").is_some() {
            self.condition(text, at, body, parameters);
        }
    }

    /// Headers and files that an expression tests for. `__has_include` is often wrapped in another macro, so that
    /// every header name in the expression counts: it can be nothing else. `parameters` are not macros.
    fn condition(&mut self, text: &[u8], at: usize, line: &[u8], parameters: &[u8]) {
        let next = memmem::find(line, b"__has_include_next").is_some();
        let mut tests = false;
        let mut rest = line;
        loop {
            let Some(&c) = rest.first() else { return };
            if is_word(c) {
                let end = rest.iter().position(|&c| !is_word(c)).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                tests = matches!(
                    word,
                    b"__has_include" | b"__has_include_next" | b"__has_embed" | b"__has_include__"
                );
                rest = after;
                continue;
            }
            if c == b'(' {
                let argument = trim(&rest[1..]);
                if let Some((form, name, after)) = header(argument).filter(|h| h.0 == Form::Angle) {
                    self.add(name, if next { Form::Any } else { form }, true);
                    rest = after;
                    continue;
                }
                if tests {
                    let end = memchr::memchr(b')', argument).unwrap_or(argument.len());
                    let inside = trim(&argument[..end]);
                    let (name, _) = word(inside);
                    let mut known = parameters.split(|&c| !is_word(c));
                    if !name.is_empty() && !known.any(|p| p == name) {
                        self.compute(text, at, inside, next, true);
                    }
                }
                tests = false;
            } else if c == b'"'
                && let Some((form, name, after)) = header(rest)
            {
                self.add(name, if next { Form::Any } else { form }, true);
                rest = after;
                continue;
            } else if !is_blank(c) {
                tests = false;
            }
            rest = &rest[1..];
        }
    }

    /// `#pragma GCC dependency "name"`: the file's time is looked at.
    fn pragma(&mut self, line: &[u8]) {
        if let (b"GCC", rest) = word(trim(line))
            && let (b"dependency", rest) = word(trim(rest))
            && let Some((form, name, _)) = header(trim(rest))
        {
            self.add(name, form, true);
        }
    }

    /// The same as an operator: `_Pragma("GCC dependency \"name\"")`.
    fn pragma_operators(&mut self, text: &[u8]) {
        for at in memmem::find_iter(text, b"_Pragma") {
            let rest = &text[at + b"_Pragma".len()..];
            let line = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
            let plain: Vec<u8> = line.iter().copied().filter(|&c| c != b'\\').collect();
            if let Some(start) = memmem::find(&plain, b"\"GCC") {
                self.pragma(&plain[start + 1..]);
            }
        }
    }
}
