// SPDX-License-Identifier: Apache-2.0
//! Preprocessing tokens, and macro definitions made of them. Unaware of expansion.
//!
//! Texts come without comments and continuations. Universal character names and raw strings are not decoded: neither
//! occurs in a header's name that a macro computes.

use crate::scanner::directives::{NameId, Names, name_id};
use crate::scanner::lexer::{is_blank, is_word};

/// What a token is, as far as expansion cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// An identifier that may be a macro.
    Word,
    /// An identifier that is not expanded any more.
    Painted,
    /// A string literal without prefix.
    Text,
    Open,
    Close,
    Comma,
    Less,
    Greater,
    /// Any other token.
    Other,
    /// A call that was left as it is, because the macro is perhaps not defined. No file is named like that.
    Call,
    /// Tokens that only the compiler knows; no commas or unbalanced parentheses among them.
    Opaque,
    /// `__FILE__`.
    File,
    /// One of several sequences: see the expander.
    Choice,
    /// The empty operand of `##`.
    Nothing,
}

/// Is there space before a token?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Space {
    No,
    Yes,
    /// Compilers differ.
    Maybe,
}

impl Space {
    /// A token comes in the place of another one.
    pub fn merge(self, other: Self) -> Self {
        if self == other { self } else { Self::Maybe }
    }
}

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Token {
    pub kind: Kind,
    pub space: Space,
    /// The spelling; for [`Kind::Call`] the macro's name, for [`Kind::Choice`] the number of the choice.
    pub id: NameId,
    /// Number of the set of macros that this token came from and cannot be again.
    pub hidden: u32,
}

const PUNCTUATORS: [&[u8]; 38] = [
    b"%:%:", b"...", b"<<=", b">>=", b"->*", b"<=>", b"##", b"<<", b">>", b"<=", b">=", b"==", b"!=", b"&&", b"||",
    b"++", b"--", b"->", b"+=", b"-=", b"*=", b"/=", b"%=", b"&=", b"|=", b"^=", b"::", b".*", b"<:", b":>", b"<%", b"%>",
    b"%:", b"(", b")", b",", b"<", b">",
];

/// The length of the first token of a text that does not begin with a blank.
fn length(text: &[u8]) -> usize {
    let end = |from: usize| text[from..].iter().position(|&c| !is_word(c)).map_or(text.len(), |n| from + n);
    match text {
        [c, ..] if c.is_ascii_digit() => number(text),
        [b'.', c, ..] if c.is_ascii_digit() => number(text),
        [c, ..] if is_word(*c) => match (end(0), text.get(end(0))) {
            (n, Some(b'"' | b'\'')) if matches!(&text[..n], b"L" | b"u" | b"U" | b"u8" | b"R" | b"LR" | b"uR" | b"UR" | b"u8R") => {
                n + literal(&text[n..])
            }
            (n, _) => n,
        },
        [b'"' | b'\'', ..] => literal(text),
        _ => PUNCTUATORS.iter().find(|p| text.starts_with(p)).map_or(1, |p| p.len()),
    }
}

fn number(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&c) = text.get(at) {
        let sign = matches!(c, b'+' | b'-') && matches!(text[at - 1], b'e' | b'E' | b'p' | b'P');
        let quote = c == b'\'' && text.get(at + 1).is_some_and(|&c| is_word(c));
        if !(is_word(c) || c == b'.' || sign || quote) {
            break;
        }
        at += 1;
    }
    at
}

fn literal(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            c if c == text[0] => return at + 1,
            _ => {}
        }
        at += 1;
    }
    // A lone quote is a token of its own.
    1
}

fn kind(spelling: &[u8]) -> Kind {
    match spelling {
        b"(" => Kind::Open,
        b")" => Kind::Close,
        b"," => Kind::Comma,
        b"<" => Kind::Less,
        b">" => Kind::Greater,
        [b'"', .., b'"'] => Kind::Text,
        [c, .., b'"' | b'\''] if is_word(*c) => Kind::Other,
        [c, ..] if is_word(*c) && !c.is_ascii_digit() => Kind::Word,
        _ => Kind::Other,
    }
}

/// A token with this spelling.
pub(super) fn token(spelling: &[u8], space: Space, names: &Names) -> Token {
    Token { kind: kind(spelling), space, id: name_id(names, spelling), hidden: 0 }
}

/// Is it the spelling of one token?
pub(super) fn is_one(text: &[u8]) -> bool {
    length(text) == text.len()
}

/// The tokens of a text.
pub(super) fn tokens(text: &[u8], names: &Names) -> Vec<Token> {
    let (mut all, mut at, mut space) = (vec![], 0, Space::No);
    while at < text.len() {
        if is_blank(text[at]) {
            space = Space::Yes;
            at += 1;
            continue;
        }
        let end = at + length(&text[at..]);
        all.push(token(&text[at..end], space, names));
        (at, space) = (end, Space::No);
    }
    all
}

/// What a macro stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Definition {
    /// Number of parameters, if it takes any list of them.
    pub parameters: Option<usize>,
    /// The last parameter takes what is left.
    pub variadic: bool,
    pub body: Vec<Item>,
    /// It has what is not understood here.
    pub beyond: bool,
}

/// One piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub piece: Piece,
    pub space: Space,
    /// `##` stands before it.
    pub pasted: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Token(Token),
    Parameter(usize),
    /// `#parameter`.
    String(usize),
    /// `__VA_OPT__(…)`.
    Optional(Vec<Item>),
}

impl Definition {
    /// From the text behind the name. A parameter list has no blank before it.
    pub fn parse(text: &[u8], names: &Names) -> Self {
        let all = tokens(text, names);
        let spelling = |t: &Token| &**names.get(t.id);
        let mut parser = Parser { names, parameters: vec![], function: false, beyond: false };
        let (mut body, mut variadic) = (&all[..], false);
        if all.first().is_some_and(|t| t.kind == Kind::Open && t.space == Space::No) {
            parser.function = true;
            let close = all.iter().position(|t| t.kind == Kind::Close).unwrap_or(all.len());
            parser.beyond = close == all.len();
            for t in &all[1..close] {
                match (t.kind, spelling(t)) {
                    (Kind::Comma, _) => {}
                    (_, b"...") => variadic = true,
                    _ => parser.parameters.push(t.id),
                }
            }
            let named = all[..close].len() >= 3
                && variadic
                && all[close - 2].kind == Kind::Word;
            if variadic && !named {
                parser.parameters.push(name_id(names, b"__VA_ARGS__"));
            }
            body = &all[(close + 1).min(all.len())..];
        }
        let mut items = parser.items(body);
        if let Some(first) = items.first_mut() {
            first.space = Space::No;
        }
        Self {
            parameters: parser.function.then_some(parser.parameters.len()),
            variadic,
            body: items,
            beyond: parser.beyond,
        }
    }
}

struct Parser<'a> {
    names: &'a Names,
    parameters: Vec<NameId>,
    function: bool,
    beyond: bool,
}

impl Parser<'_> {
    fn items(&mut self, body: &[Token]) -> Vec<Item> {
        let (mut items, mut pasted, mut at) = (Vec::with_capacity(body.len()), false, 0);
        while let Some(&t) = body.get(at) {
            at += 1;
            let parameter = |t: &Token| self.parameters.iter().position(|&p| t.kind == Kind::Word && p == t.id);
            let piece = match (parameter(&t), &**self.names.get(t.id)) {
                (Some(n), _) => Piece::Parameter(n),
                (_, b"##" | b"%:%:") => {
                    pasted = !items.is_empty();
                    continue;
                }
                (_, b"#" | b"%:") if self.function => match body.get(at).and_then(parameter) {
                    Some(n) => {
                        at += 1;
                        Piece::String(n)
                    }
                    None => {
                        self.beyond = true;
                        continue;
                    }
                },
                (_, b"__VA_OPT__") if body.get(at).is_some_and(|t| t.kind == Kind::Open) => {
                    let mut depth = 0;
                    let length = body[at..].iter().position(|t| {
                        depth += i32::from(t.kind == Kind::Open) - i32::from(t.kind == Kind::Close);
                        depth == 0
                    });
                    let end = at + length.unwrap_or(body.len() - at - 1);
                    let inner = self.items(&body[at + 1..end.max(at + 1)]);
                    at = end + 1;
                    Piece::Optional(inner)
                }
                _ => Piece::Token(t),
            };
            items.push(Item { piece, space: t.space, pasted });
            pasted = false;
        }
        items
    }
}
