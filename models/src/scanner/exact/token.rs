// SPDX-License-Identifier: Apache-2.0
//! Preprocessing tokens: the words, numbers, literals and signs of a directive. Unaware of what they mean.

use memchr::memmem;

use super::super::intern::Table;
use super::super::lexer::{is_blank, is_word};

/// Number of a token's text.
pub(super) type Text = u32;

/// The texts of all tokens.
pub(in super::super) struct Texts(Table<Box<[u8]>, Spelling>);

struct Spelling {
    text: Box<[u8]>,
    class: Class,
}

/// Words that mean something to the preprocessor by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// None of these: what it means, macros say.
    Plain,
    /// `defined`.
    Defined,
    /// `__has_include`.
    HasInclude,
    /// `__has_include_next`.
    HasIncludeNext,
    /// A test that only the compiler can answer: `__has_builtin` and its family.
    Asks,
    /// Depends on the place, the time or what came before: `__LINE__`, `__COUNTER__`. Also `_Pragma`.
    Moves,
}

fn class(text: &[u8]) -> Class {
    match text {
        b"defined" => Class::Defined,
        b"__has_include" => Class::HasInclude,
        b"__has_include_next" => Class::HasIncludeNext,
        b"__FILE__" | b"__LINE__" | b"__COUNTER__" | b"__INCLUDE_LEVEL__" | b"__BASE_FILE__"
        | b"__DATE__" | b"__TIME__" | b"__FILE_NAME__" | b"__TIMESTAMP__" | b"__MODULE__" | b"_Pragma"
        | b"__pragma" | b"__VA_OPT__" | b"__has_embed" => Class::Moves,
        b"__building_module" | b"__identifier" => Class::Asks,
        _ if text.starts_with(b"__has_") || text.starts_with(b"__is_") => Class::Asks,
        _ => Class::Plain,
    }
}

impl Texts {
    pub fn new() -> Self {
        Self(Table::new())
    }

    pub(super) fn number(&self, text: &[u8]) -> Text {
        self.0.intern(text, || (text.into(), Spelling { text: text.into(), class: class(text) }))
    }

    pub(super) fn get(&self, text: Text) -> &[u8] {
        &self.0.get(text).text
    }

    pub(super) fn class(&self, text: Text) -> Class {
        self.0.get(text).class
    }

    pub fn len(&self) -> u32 {
        self.0.len()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An identifier.
    Word,
    Number,
    /// `"…"` without a prefix.
    String,
    /// `'…'` without a prefix.
    Character,
    /// `<…>` as the argument of a test for a header.
    Header,
    /// Any other literal.
    Literal,
    /// An operator, or a byte that is nothing.
    Sign,
    /// In a macro's body: a parameter; its text is the parameter's place.
    Parameter,
    /// In a macro's body: `#parameter`.
    Quoted,
    /// What an empty argument leaves beside `##`.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub text: Text,
    pub kind: Kind,
    /// Blanks come before it.
    pub spaced: bool,
    /// `##` comes after it.
    pub pasted: bool,
    /// A macro's name that was met while that macro was being expanded: it never is again.
    pub painted: bool,
}

/// The tokens of a logical line, which has no comments.
pub(super) fn tokens(mut line: &[u8], texts: &Texts) -> Vec<Token> {
    let mut all: Vec<Token> = Vec::new();
    let mut spaced = false;
    while let Some(&first) = line.first() {
        if is_blank(first) {
            spaced = true;
            line = &line[1..];
            continue;
        }
        let (kind, length) = if first == b'<' && takes_header(&all, texts) {
            memchr::memchr(b'>', line).map_or((Kind::Sign, 1), |end| (Kind::Header, end + 1))
        } else {
            one(line)
        };
        let text = texts.number(&line[..length]);
        all.push(Token { text, kind, spaced, pasted: false, painted: false });
        spaced = false;
        line = &line[length..];
    }
    all
}

/// Does `__has_include(` come last?
fn takes_header(all: &[Token], texts: &Texts) -> bool {
    let [.., test, open] = all else { return false };
    texts.get(open.text) == b"("
        && matches!(texts.class(test.text), Class::HasInclude | Class::HasIncludeNext)
}

/// The kind and the length of the token that a text starts with.
pub(super) fn one(text: &[u8]) -> (Kind, usize) {
    let first = text[0];
    let is_number = first.is_ascii_digit() || (first == b'.' && text.get(1).is_some_and(u8::is_ascii_digit));
    if is_number {
        return (Kind::Number, number(text));
    }
    if is_word(first) {
        let length = text.iter().position(|&c| !is_word(c)).unwrap_or(text.len());
        let is_prefix =
            matches!(&text[..length], b"L" | b"u" | b"U" | b"u8" | b"R" | b"LR" | b"uR" | b"UR" | b"u8R");
        return match text.get(length) {
            Some(b'"') if is_prefix && text[length - 1] == b'R' => {
                (Kind::Literal, length + raw(&text[length..]))
            }
            Some(b'"' | b'\'') if is_prefix => (Kind::Literal, length + quoted(&text[length..])),
            _ => (Kind::Word, length),
        };
    }
    match first {
        b'"' => (Kind::String, quoted(text)),
        b'\'' => (Kind::Character, quoted(text)),
        _ => (Kind::Sign, SIGNS.iter().find(|sign| text.starts_with(sign)).map_or(1, |sign| sign.len())),
    }
}

/// Signs of more than one byte, the longest first.
const SIGNS: &[&[u8]] = &[
    b"%:%:", b"...", b"<<=", b">>=", b"->*", b"<=>", b"##", b"->", b"::", b"==", b"!=", b"<=", b">=", b"&&",
    b"||", b"<<", b">>", b"++", b"--", b"+=", b"-=", b"*=", b"/=", b"%=", b"&=", b"|=", b"^=", b".*", b"%:",
];

fn number(text: &[u8]) -> usize {
    let mut at = 1;
    loop {
        at += match text[at..] {
            [b'e' | b'E' | b'p' | b'P', b'+' | b'-', ..] => 2,
            [b'\'', next, ..] if next.is_ascii_alphanumeric() || next == b'_' => 2,
            [c, ..] if is_word(c) || c == b'.' => 1,
            _ => return at,
        };
    }
}

fn quoted(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&c) = text.get(at) {
        at += if c == b'\\' { 2 } else { 1 };
        if c == text[0] {
            break;
        }
    }
    at.min(text.len())
}

/// From its opening quote to its end.
fn raw(text: &[u8]) -> usize {
    let Some(open) = memchr::memchr(b'(', text) else { return quoted(text) };
    let close = [b")", &text[1..open], b"\""].concat();
    memmem::find(&text[open..], &close).map_or(text.len(), |end| open + end + close.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_into_tokens() {
        let texts = Texts::new();
        let line = br#"F(a->b, 1'0e+3) L"x\"" u8R"z(")z" '\'' <d/e.h>>=__has_include( <v//w.h>) .5..."#;
        let all = tokens(line, &texts);
        let shown: Vec<_> =
            all.iter().map(|t| String::from_utf8_lossy(texts.get(t.text)).into_owned()).collect();
        let expected = [
            "F",
            "(",
            "a",
            "->",
            "b",
            ",",
            "1'0e+3",
            ")",
            "L\"x\\\"\"",
            "u8R\"z(\")z\"",
            "'\\''",
            "<",
            "d",
            "/",
            "e",
            ".",
            "h",
            ">>=",
            "__has_include",
            "(",
            "<v//w.h>",
            ")",
            ".5...",
        ];
        assert_eq!(shown, expected);
        assert!(!all[1].spaced && all[6].spaced && all[20].kind == Kind::Header);
    }
}
