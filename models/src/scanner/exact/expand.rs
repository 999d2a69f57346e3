// SPDX-License-Identifier: Apache-2.0
//! Macro expansion as compilers do it: a stack of token lists, the topmost of which is read first; a macro is not expanded
//! again while what it was replaced by is being read. Unaware of files.

use std::sync::Arc;

use super::script::Macro;
use super::token::{Class, Kind, Text, Token, one};
use super::{Lost, Run};

/// No token that is put together is longer.
const LONGEST: usize = 64 << 10;

/// Nested deeper than this it is no program that a person wrote.
const DEEP: usize = 200;
/// So many macros may be open at a time.
const MANY: usize = 10_000;

/// What is being read, and what is read behind it.
struct Level {
    tokens: Vec<Token>,
    at: usize,
    /// The macro that this stands for.
    name: Option<Text>,
}

/// Tokens to be read.
struct Stream<'a> {
    levels: Vec<Level>,
    /// Macros whose tokens wait behind this stream.
    behind: &'a [Text],
    /// The next token has blanks before it: what stood there was replaced by nothing.
    spaced: bool,
}

impl Stream<'_> {
    fn next(&mut self) -> Option<Token> {
        loop {
            let top = self.levels.last_mut()?;
            if let Some(token) = top.tokens.get(top.at) {
                top.at += 1;
                return Some(Token { spaced: token.spaced | std::mem::take(&mut self.spaced), ..*token });
            }
            self.levels.pop();
        }
    }

    fn push(&mut self, tokens: Vec<Token>, name: Option<Text>) -> Result<(), Lost> {
        if self.levels.len() > MANY {
            return Err(Lost("macros in macros without end"));
        }
        self.levels.push(Level { tokens, at: 0, name });
        Ok(())
    }

    fn is_open(&self, name: Text) -> bool {
        self.behind.contains(&name) || self.levels.iter().any(|level| level.name == Some(name))
    }

    /// The macros whose tokens wait in it and behind it.
    fn open(&self) -> Vec<Text> {
        self.behind.iter().copied().chain(self.levels.iter().filter_map(|level| level.name)).collect()
    }
}

/// What tokens are expanded for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// `#if`: tests are answered.
    Condition,
    /// The name of a header.
    Name,
}

impl Run<'_> {
    /// The tokens with all macros replaced.
    pub(super) fn expand(&mut self, tokens: &[Token], purpose: Purpose) -> Result<Vec<Token>, Lost> {
        self.expand_before(tokens, purpose, &[], 0)
    }

    fn expand_before(
        &mut self,
        tokens: &[Token],
        purpose: Purpose,
        behind: &[Text],
        depth: usize,
    ) -> Result<Vec<Token>, Lost> {
        if depth > DEEP {
            return Err(Lost("arguments in arguments without end"));
        }
        let first = Level { tokens: tokens.to_vec(), at: 0, name: None };
        let mut stream = Stream { levels: vec![first], behind, spaced: false };
        let mut out = Vec::new();
        while let Some(mut token) = stream.next() {
            self.work(1)?;
            if token.kind != Kind::Word || token.painted {
                out.push(token);
                continue;
            }
            let Some(found) = self.macro_of(token.text) else {
                match self.texts.class(token.text) {
                    Class::Plain => out.push(token),
                    Class::Defined if purpose == Purpose::Name => out.push(token),
                    Class::Defined if depth > 0 => return Err(Lost("`defined` in an argument of a macro")),
                    Class::Defined => out.push(self.defined(&mut stream)?),
                    Class::Moves => return Err(Lost("a macro of the place or the time")),
                    class => match self.test(token, class, &mut stream, depth)? {
                        Some(answer) => out.push(answer),
                        None => out.push(token),
                    },
                }
                continue;
            };
            if stream.is_open(token.text) {
                token.painted = true;
                out.push(token);
                continue;
            }
            if found.strange {
                return Err(Lost("a macro with __VA_OPT__ or an error in it"));
            }
            let mut body = match found.parameters {
                None => self.substitute(&found, &[], &[], depth)?,
                Some(count) => {
                    match stream.next() {
                        Some(open) if self.is_sign(&open, b"(") => {}
                        after => {
                            out.push(token);
                            // As it was: it may be a macro.
                            stream.push(after.into_iter().collect(), None)?;
                            continue;
                        }
                    }
                    let arguments = self.arguments(&mut stream, &found, count)?;
                    self.substitute(&found, &arguments, &stream.open(), depth)?
                }
            };
            match body.first_mut() {
                Some(first) => first.spaced = token.spaced,
                None => stream.spaced |= token.spaced,
            }
            stream.push(body, Some(token.text))?;
        }
        Ok(out)
    }

    pub(super) fn is_sign(&self, token: &Token, sign: &[u8]) -> bool {
        token.kind == Kind::Sign && self.texts.get(token.text) == sign
    }

    pub(super) fn number(&self, number: i64) -> Token {
        let text = match number {
            0 => self.texts.number(b"0"),
            1 => self.texts.number(b"1"),
            _ => self.texts.number(number.to_string().as_bytes()),
        };
        Token { text, kind: Kind::Number, spaced: true, pasted: false, painted: false }
    }

    /// What comes after `defined`.
    fn defined(&mut self, stream: &mut Stream<'_>) -> Result<Token, Lost> {
        let wrong = Lost("`defined` without a name");
        let mut name = stream.next().ok_or(wrong)?;
        let has_parentheses = self.is_sign(&name, b"(");
        if has_parentheses {
            name = stream.next().ok_or(wrong)?;
        }
        let ends = !has_parentheses || stream.next().is_some_and(|token| self.is_sign(&token, b")"));
        if name.kind != Kind::Word || !ends {
            return Err(wrong);
        }
        let answer = self.is_defined(name.text)?;
        Ok(self.number(i64::from(answer)))
    }

    /// A test like `__has_include(…)`: its value, or nothing if the compiler does not know it.
    fn test(
        &mut self,
        name: Token,
        class: Class,
        stream: &mut Stream<'_>,
        depth: usize,
    ) -> Result<Option<Token>, Lost> {
        if !self.is_defined(name.text)? {
            return Ok(None);
        }
        let wrong = Lost("a test without an argument");
        stream.next().filter(|token| self.is_sign(token, b"(")).ok_or(wrong)?;
        let mut argument = Vec::new();
        let mut nesting = 0;
        loop {
            let token = stream.next().ok_or(wrong)?;
            if self.is_sign(&token, b"(") {
                nesting += 1;
            } else if self.is_sign(&token, b")") {
                if nesting == 0 {
                    break;
                }
                nesting -= 1;
            }
            argument.push(token);
        }
        if class == Class::Asks {
            return Ok(Some(self.asked(name, &argument)?));
        }
        let expanded = self.expand_before(&argument, Purpose::Name, &stream.open(), depth + 1)?;
        let answer = self.has_include(&expanded, class == Class::HasIncludeNext)?;
        Ok(Some(self.number(i64::from(answer))))
    }

    /// The answer of the compiler.
    fn asked(&mut self, name: Token, argument: &[Token]) -> Result<Token, Lost> {
        let mut question = [self.texts.get(name.text), b"("].concat();
        for token in argument {
            if token.kind == Kind::Word && self.macro_of(token.text).is_some() {
                return Err(Lost("a test of the compiler with a macro in it"));
            }
            question.push(b' ');
            question.extend_from_slice(self.texts.get(token.text));
        }
        question.push(b')');
        let answer = self.ask(&question)?;
        Ok(self.number(answer))
    }

    /// The arguments of a macro, after its `(`.
    fn arguments(
        &mut self,
        stream: &mut Stream<'_>,
        of: &Macro,
        count: usize,
    ) -> Result<Vec<Vec<Token>>, Lost> {
        let mut all = vec![Vec::new()];
        let mut nesting = 0;
        loop {
            let mut token = stream.next().ok_or(Lost("arguments of a macro without an end"))?;
            self.work(1)?;
            if self.is_sign(&token, b"(") {
                nesting += 1;
            } else if self.is_sign(&token, b")") {
                if nesting == 0 {
                    break;
                }
                nesting -= 1;
            } else if nesting == 0 && self.is_sign(&token, b",") && !(of.variadic && all.len() == count) {
                all.push(Vec::new());
                continue;
            } else if token.kind == Kind::Word
                && self.macro_of(token.text).is_some()
                && stream.is_open(token.text)
            {
                token.painted = true;
            }
            if let Some(last) = all.last_mut() {
                last.push(token);
            }
        }
        if count == 0 && all.len() == 1 && all[0].is_empty() {
            all.clear();
        }
        if of.variadic && all.len() + 1 == count {
            all.push(Vec::new());
        }
        if all.len() == count { Ok(all) } else { Err(Lost("a macro with too few or too many arguments")) }
    }

    /// What a macro stands for with these arguments.
    fn substitute(
        &mut self,
        found: &Arc<Macro>,
        arguments: &[Vec<Token>],
        behind: &[Text],
        depth: usize,
    ) -> Result<Vec<Token>, Lost> {
        let mut expanded: Vec<Option<Vec<Token>>> = vec![None; arguments.len()];
        let mut out: Vec<Token> = Vec::with_capacity(found.body.len());
        let mut pastes = false;
        for token in &found.body {
            let place = token.text as usize;
            match token.kind {
                Kind::Quoted => {
                    let text = self.quote(&arguments[place]);
                    out.push(Token { text, kind: Kind::String, ..*token });
                }
                Kind::Parameter if pastes || token.pasted => {
                    let argument = &arguments[place];
                    // GNU: the comma before `## __VA_ARGS__` goes where no argument does.
                    let takes_rest = found.variadic && place + 1 == arguments.len();
                    let comma = out.last().is_some_and(|before| pastes && self.is_sign(before, b","));
                    if takes_rest && comma {
                        if argument.is_empty() && arguments.len() == 1 {
                            return Err(Lost("a comma that some dialects keep"));
                        }
                        out.pop().filter(|_| !argument.is_empty()).into_iter().for_each(|comma| {
                            out.push(Token { pasted: false, ..comma });
                        });
                    }
                    let from = out.len();
                    out.extend_from_slice(argument);
                    if argument.is_empty() {
                        out.push(Token { kind: Kind::Nothing, ..*token });
                    }
                    out[from].spaced = token.spaced;
                    if let Some(last) = out.last_mut() {
                        last.pasted = token.pasted;
                    }
                }
                Kind::Parameter => {
                    if expanded[place].is_none() {
                        let argument = &arguments[place];
                        expanded[place] =
                            Some(self.expand_before(argument, Purpose::Condition, behind, depth + 1)?);
                    }
                    let from = out.len();
                    out.extend(expanded[place].iter().flatten());
                    match out.get_mut(from) {
                        Some(first) => first.spaced = token.spaced,
                        None => out.push(Token { kind: Kind::Nothing, ..*token }),
                    }
                }
                _ => out.push(*token),
            }
            pastes = token.pasted;
        }
        self.work(out.len())?;
        self.paste(&out)
    }

    /// Joins what `##` joins.
    fn paste(&self, tokens: &[Token]) -> Result<Vec<Token>, Lost> {
        let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
        let (mut pastes, mut spaced) = (false, false);
        for token in tokens {
            let mut token = *token;
            token.spaced |= std::mem::take(&mut spaced);
            if let Some(before) = out.last().copied().filter(|_| pastes) {
                out.pop();
                token = match (before.kind, token.kind) {
                    (Kind::Nothing, _) => Token { spaced: before.spaced, ..token },
                    (_, Kind::Nothing) => Token { pasted: token.pasted, ..before },
                    _ => {
                        let joined = [self.texts.get(before.text), self.texts.get(token.text)].concat();
                        if joined.len() > LONGEST {
                            return Err(Lost("names that grow without end"));
                        }
                        let (kind, length) = one(&joined);
                        if length != joined.len() {
                            return Err(Lost("tokens that cannot be pasted"));
                        }
                        let text = self.texts.number(&joined);
                        Token { text, kind, spaced: before.spaced, pasted: token.pasted, painted: false }
                    }
                };
            }
            pastes = token.pasted;
            if token.kind == Kind::Nothing && !pastes {
                // Blanks before nothing are blanks before what follows.
                spaced = token.spaced;
            } else {
                out.push(token);
            }
        }
        for token in &mut out {
            token.pasted = false;
        }
        out.retain(|token| token.kind != Kind::Nothing);
        Ok(out)
    }

    /// The string that `#parameter` makes.
    fn quote(&self, argument: &[Token]) -> Text {
        let mut text = vec![b'"'];
        for (place, token) in argument.iter().enumerate() {
            if token.spaced && place > 0 {
                text.push(b' ');
            }
            let is_literal = matches!(token.kind, Kind::String | Kind::Character | Kind::Literal);
            for &c in self.texts.get(token.text) {
                if is_literal && matches!(c, b'"' | b'\\') {
                    text.push(b'\\');
                }
                text.push(c);
            }
        }
        text.push(b'"');
        self.texts.number(&text)
    }
}
