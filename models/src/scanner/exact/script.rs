// SPDX-License-Identifier: Apache-2.0
//! A text as what the preprocessor does with it: its directives in order, each knowing where to go on if its condition
//! is false. Made once per content. Unaware of the values of macros.

use std::sync::Arc;

use memchr::memmem;

use super::super::directives::{Form, NameId, Names, header, name_id, trim, word};
use super::super::intern::hash;
use super::super::lexer::{self, Keyword};
use super::token::{Class, Kind, Text, Texts, Token, tokens};

/// A macro.
#[derive(Debug)]
pub(super) struct Macro {
    /// How many parameters it has; `None` without parentheses.
    pub parameters: Option<usize>,
    /// The last parameter takes all arguments that are left.
    pub variadic: bool,
    /// Beyond this preprocessor: `__VA_OPT__`, or an error.
    pub strange: bool,
    pub body: Box<[Token]>,
}

#[derive(Debug)]
pub(super) enum Step {
    /// `#if`, or `#elif` where the branch before it was not taken.
    If(Box<[Token]>),
    /// `#ifdef`, `#ifndef`: whether it must be defined.
    IfDefined(Text, bool),
    Define(Text, Arc<Macro>),
    Undef(Text),
    Include(Target),
    Once,
    PushMacro(Text),
    PopMacro(Text),
    /// `#pragma GCC system_header`.
    SystemHeader,
    /// The end of a branch. Who comes here goes on behind the last one.
    Else,
    EndIf,
    /// Beyond this preprocessor.
    Strange(&'static str),
}

/// What is included.
#[derive(Debug)]
pub(super) struct Target {
    pub name: Name,
    pub next: bool,
    pub once: bool,
}

#[derive(Debug)]
pub(super) enum Name {
    Plain(NameId, Form),
    Computed(Box<[Token]>),
}

#[derive(Debug)]
pub(super) struct Line {
    pub step: Step,
    /// Is it `#elif` or `#else`, which end a branch that was taken?
    pub ends_branch: bool,
    /// For a condition: the next `#elif`, `#else` or `#endif` that belongs to it.
    pub otherwise: u32,
    /// For what ends a branch: its `#endif`.
    pub end: u32,
}

/// See the module's documentation.
#[derive(Debug)]
pub(in super::super) struct Script {
    /// Hash of the text.
    pub content: u64,
    pub(super) lines: Box<[Line]>,
    /// Why it is beyond this preprocessor as a whole.
    pub(super) strange: Option<&'static str>,
    /// About how many bytes it takes.
    pub weight: usize,
}

/// Reads a text.
pub(in super::super) fn script(text: &[u8], names: &Names, texts: &Texts) -> Script {
    let mut maker = Maker {
        names,
        texts,
        lines: Vec::new(),
        open: Vec::new(),
        unbalanced: false,
        stacked: 0,
        weight: size_of::<Script>(),
    };
    lexer::lex(text, &mut |_, keyword, line| maker.line(keyword, line), &mut |_| {});
    // Branches that never end do so here.
    let end = maker.lines.len() as u32;
    maker.unbalanced |= !maker.open.is_empty();
    while let Some(open) = maker.open.pop() {
        maker.close(&open, end);
    }
    let weight = maker.weight + maker.lines.len() * size_of::<Line>();
    let unbalanced = maker.unbalanced.then_some("a condition without its beginning or end");
    let strange = unbalanced.or_else(|| strange(text, maker.stacked));
    Script { content: hash(text), lines: maker.lines.into(), strange, weight }
}

/// Some dialects take `??` and one of these for another sign: `??=` begins a directive, `??/` continues a line.
fn has_trigraph(text: &[u8], last: &[u8]) -> bool {
    memmem::find_iter(text, b"??").any(|at| text.get(at + 2).is_some_and(|c| last.contains(c)))
}

/// What no directive shows; `stacked` is how often one pushes or pops a macro.
fn strange(text: &[u8], stacked: usize) -> Option<&'static str> {
    if has_trigraph(text, b"=/") {
        return Some("trigraphs");
    }
    // `_Pragma("push_macro(…)")`, and macros that make one of it in whatever text they are used.
    let said = |word: &[u8]| memmem::find_iter(text, word).count();
    let is_once = |at: usize| memmem::find(&text[at..text.len().min(at + 80)], b"once").is_some();
    let operators = said(b"push_macro") + said(b"pop_macro") > stacked
        || memmem::find_iter(text, b"once").any(|at| is_argument(&text[..at], &text[at + 4..]))
        || ["_Pragma", "__pragma"].iter().any(|operator| memmem::find_iter(text, operator).any(is_once));
    operators.then_some("a pragma operator that changes macros or what is included")
}

/// Is what stands between these all that is in parentheses?
fn is_argument(before: &[u8], after: &[u8]) -> bool {
    before.trim_ascii_end().ends_with(b"(") && after.trim_ascii_start().starts_with(b")")
}

/// A condition that is not closed yet: its last branch, and the lines that end one.
struct Open {
    last: usize,
    ends: Vec<usize>,
}

struct Maker<'a> {
    names: &'a Names,
    texts: &'a Texts,
    lines: Vec<Line>,
    open: Vec<Open>,
    /// Is there an `#else` or an `#endif` that belongs to nothing, or nothing that belongs to an `#if`?
    unbalanced: bool,
    /// How often a directive pushes or pops a macro.
    stacked: usize,
    weight: usize,
}

impl Maker<'_> {
    fn push(&mut self, step: Step, ends_branch: bool) {
        self.lines.push(Line { step, ends_branch, otherwise: 0, end: 0 });
    }

    fn close(&mut self, open: &Open, end: u32) {
        self.lines[open.last].otherwise = end;
        for &line in &open.ends {
            self.lines[line].end = end;
        }
    }

    fn tokens(&mut self, line: &[u8]) -> Box<[Token]> {
        let all = tokens(line, self.texts);
        self.weight += size_of_val(&*all);
        all.into()
    }

    fn line(&mut self, keyword: Keyword, line: &[u8]) {
        let here = self.lines.len();
        let step = match keyword {
            _ if has_trigraph(line, b"'()!<>-") => Step::Strange("trigraphs"),
            Keyword::If => Step::If(self.tokens(line)),
            Keyword::IfDefined | Keyword::IfNotDefined => match self.name(line) {
                Some(name) => Step::IfDefined(name, keyword == Keyword::IfDefined),
                None => Step::Strange("a condition without a name"),
            },
            Keyword::ElseIf => Step::If(self.tokens(line)),
            // Older compilers do not know it, and then it is no directive.
            Keyword::ElseIfDefined => Step::Strange("#elifdef"),
            Keyword::Else => Step::Else,
            Keyword::EndIf => Step::EndIf,
            Keyword::Define => self.define(line),
            Keyword::Undef => match self.name(line) {
                Some(name) => Step::Undef(name),
                None => return,
            },
            Keyword::Include => self.include(line, false, false),
            Keyword::Import => self.include(line, false, true),
            Keyword::IncludeNext => self.include(line, true, false),
            Keyword::Pragma => match self.pragma(line) {
                Some(step) => step,
                None => return,
            },
            Keyword::Embed | Keyword::Line => return,
            Keyword::Error => Step::Strange("#error"),
        };
        match keyword {
            Keyword::If | Keyword::IfDefined | Keyword::IfNotDefined => {
                self.open.push(Open { last: here, ends: Vec::new() });
                self.push(step, false);
            }
            Keyword::ElseIf | Keyword::ElseIfDefined | Keyword::Else => {
                // Without a condition it is an error, and not there.
                let Some(open) = self.open.last_mut() else {
                    self.unbalanced = true;
                    return;
                };
                self.lines[open.last].otherwise = here as u32;
                open.last = here;
                open.ends.push(here);
                self.push(step, true);
            }
            Keyword::EndIf => {
                let Some(open) = self.open.pop() else {
                    self.unbalanced = true;
                    return;
                };
                self.close(&open, here as u32);
                self.push(step, false);
            }
            _ => self.push(step, false),
        }
    }

    fn name(&self, line: &[u8]) -> Option<Text> {
        let (name, _) = word(trim(line));
        (!name.is_empty()).then(|| self.texts.number(name))
    }

    fn include(&mut self, line: &[u8], next: bool, once: bool) -> Step {
        let name = match header(trim(line)) {
            Some((form, name, _)) => Name::Plain(name_id(self.names, name), form),
            None => Name::Computed(self.tokens(line)),
        };
        Step::Include(Target { name, next, once })
    }

    fn pragma(&mut self, line: &[u8]) -> Option<Step> {
        let (first, rest) = word(trim(line));
        let macro_in = |rest: &[u8]| {
            let inside = trim(rest).strip_prefix(b"(")?;
            let (_, name, _) = header(trim(inside)).filter(|(form, ..)| *form == Form::Quote)?;
            Some(self.texts.number(name))
        };
        self.stacked += usize::from(matches!(first, b"push_macro" | b"pop_macro"));
        let unread = Step::Strange("a pragma of a macro that is not named");
        Some(match first {
            b"once" => Step::Once,
            b"push_macro" => macro_in(rest).map_or(unread, Step::PushMacro),
            b"pop_macro" => macro_in(rest).map_or(unread, Step::PopMacro),
            b"GCC" => match word(trim(rest)).0 {
                b"system_header" => Step::SystemHeader,
                b"error" | b"poison" => Step::Strange("a pragma that makes errors"),
                b"target" | b"optimize" => Step::Strange("a pragma that changes what is built in"),
                _ => return None,
            },
            b"include_alias" => Step::Strange("#pragma include_alias"),
            _ => return None,
        })
    }

    fn define(&mut self, line: &[u8]) -> Step {
        match definition(trim(line), self.texts) {
            Some((name, made)) => {
                self.weight += size_of::<Macro>() + size_of_val(&*made.body);
                Step::Define(name, Arc::new(made))
            }
            None => Step::Strange("a definition without a name"),
        }
    }
}

/// What comes after `#define`.
pub(super) fn definition(line: &[u8], texts: &Texts) -> Option<(Text, Macro)> {
    let (name, rest) = word(line);
    if name.is_empty() {
        return None;
    }
    let mut strange = texts.class(texts.number(name)) == Class::Defined;
    let (mut parameters, mut variadic, mut body) = (None, false, rest);
    if let Some(inside) = rest.strip_prefix(b"(") {
        let end = memchr::memchr(b')', inside).unwrap_or(inside.len());
        body = inside.get(end + 1..).unwrap_or_default();
        let list = trim(&inside[..end]);
        let mut found = Vec::new();
        for parameter in list.split(|&c| c == b',').map(trim).filter(|_| !list.is_empty()) {
            strange |= variadic;
            let (name, after) = word(parameter);
            variadic = trim(after) == b"...";
            strange |= !variadic && (name.is_empty() || !trim(after).is_empty());
            found.push(texts.number(if name.is_empty() { b"__VA_ARGS__" } else { name }));
        }
        parameters = Some(found);
    }
    let mut out: Vec<Token> = Vec::new();
    let mut rest = tokens(body, texts).into_iter().peekable();
    let place = |token: &Token| {
        let all = parameters.as_deref().filter(|_| token.kind == Kind::Word)?;
        all.iter().position(|parameter| *parameter == token.text).map(|place| place as Text)
    };
    while let Some(mut token) = rest.next() {
        let text = texts.get(token.text);
        if token.kind == Kind::Sign && matches!(text, b"##" | b"%:%:") {
            match out.last_mut() {
                Some(before) if rest.peek().is_some() => before.pasted = true,
                _ => strange = true,
            }
            continue;
        }
        if token.kind == Kind::Sign && parameters.is_some() && matches!(text, b"#" | b"%:") {
            match rest.next().as_ref().and_then(place) {
                Some(place) => (token.kind, token.text) = (Kind::Quoted, place),
                None => strange = true,
            }
        } else if let Some(place) = place(&token) {
            (token.kind, token.text) = (Kind::Parameter, place);
        }
        strange |= text == b"__VA_OPT__";
        out.push(token);
    }
    let parameters = parameters.map(|all| all.len());
    Some((texts.number(name), Macro { parameters, variadic, strange, body: out.into() }))
}
