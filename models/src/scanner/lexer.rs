// SPDX-License-Identifier: Apache-2.0
//! Finds the directive lines of a C, C++ or assembler text: `#` first on a logical line, outside of comments,
//! strings and raw strings. Line continuations are removed from a directive and each comment in it becomes a
//! space. Unaware of what directives mean, of conditions and of macros.
//!
//! Between interesting bytes (`/`, `"`, `'`, `#`, `%`) the text is not looked at. Trigraphs are the caller's business.

use std::cell::Cell;

use memchr::{memchr, memchr2, memchr3, memmem};

/// The directives that this scanner wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    /// `#include`.
    Include,
    /// `#import`.
    Import,
    /// `#include_next`.
    IncludeNext,
    /// `#embed`.
    Embed,
    /// `#define`.
    Define,
    /// `#undef`.
    Undef,
    /// `#if`.
    If,
    /// `#ifdef`.
    IfDefined,
    /// `#ifndef`.
    IfNotDefined,
    /// `#elif`.
    ElseIf,
    /// `#elifdef`, `#elifndef`.
    ElseIfDefined,
    /// `#else`.
    Else,
    /// `#endif`.
    EndIf,
    /// `#pragma`.
    Pragma,
    /// `#error`.
    Error,
    /// `#line`, and `# 1` as preprocessors write it.
    Line,
}

impl Keyword {
    pub fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"include" => Self::Include,
            b"import" => Self::Import,
            b"include_next" => Self::IncludeNext,
            b"embed" => Self::Embed,
            b"define" => Self::Define,
            b"undef" => Self::Undef,
            b"if" => Self::If,
            b"ifdef" => Self::IfDefined,
            b"ifndef" => Self::IfNotDefined,
            b"elif" => Self::ElseIf,
            b"elifdef" | b"elifndef" => Self::ElseIfDefined,
            b"else" => Self::Else,
            b"endif" => Self::EndIf,
            b"pragma" => Self::Pragma,
            b"error" => Self::Error,
            b"line" => Self::Line,
            [_, ..] if name.iter().all(u8::is_ascii_digit) => Self::Line,
            _ => return None,
        })
    }

    /// Does a header name come first, in which quotes, backslashes and slashes mean nothing?
    pub fn takes_header(self) -> bool {
        matches!(self, Self::Include | Self::Import | Self::IncludeNext | Self::Embed)
    }
}

/// Horizontal space; NUL counts, as it does for gcc and clang.
pub(super) fn is_blank(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | 0x0b | 0x0c | 0)
}

/// A byte of an identifier, those of other scripts included.
pub(super) fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_' || c == b'$' || c >= 0x80
}

fn is_newline(c: u8) -> bool {
    c == b'\n' || c == b'\r'
}

/// Calls `directive` with the position of the `#`, the keyword and the rest of the logical line, for each directive
/// with a [`Keyword`]; calls `comment` with the place of each comment.
pub(super) fn lex(
    text: &[u8],
    directive: &mut dyn FnMut(usize, Keyword, &[u8]),
    comment: &mut dyn FnMut(std::ops::Range<usize>),
) {
    let lexer = Lexer { text, literal: Cell::new(0) };
    let mut line = Vec::with_capacity(128);
    let mut at = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    // Up to here the logical line holds only blanks and comments.
    let mut clear = at;
    while at < text.len() {
        let stop = memchr3(b'/', b'"', b'\'', &text[at..]).map_or(text.len(), |n| at + n);
        let mut found = None;
        while let Some(hash) = memchr2(b'#', b'%', &text[at..stop]).map(|n| at + n) {
            at = hash + 1;
            let digraph = text[hash] == b'%';
            if digraph && text.get(at) != Some(&b':') {
                continue;
            }
            if lexer.starts_line(hash, clear) {
                found = Some((hash, if digraph { at + 1 } else { at }));
                break;
            }
        }
        if let Some((hash, after)) = found {
            let (keyword, body) = lexer.keyword(after, comment);
            line.clear();
            at = lexer.body(body, keyword.is_some_and(Keyword::takes_header), &mut line, comment);
            clear = at;
            if let Some(keyword) = keyword {
                directive(hash, keyword, &line);
            }
            continue;
        }
        at = stop;
        match text.get(at) {
            Some(b'/') => {
                if let Some(end) = lexer.comment(at) {
                    comment(at..end);
                    if lexer.starts_line(at, clear) {
                        clear = end;
                    }
                    at = end;
                } else {
                    at += 1;
                }
            }
            Some(b'"') => at = lexer.raw(at).unwrap_or_else(|| lexer.quoted(at)),
            Some(b'\'') if lexer.separates_digits(at) => at += 1,
            Some(_) => at = lexer.quoted(at),
            None => {}
        }
    }
}

struct Lexer<'a> {
    text: &'a [u8],
    /// The end of the last literal.
    literal: Cell<usize>,
}

impl Lexer<'_> {
    /// If a backslash at `at` continues the line (blanks may follow it), the position after the newline.
    fn splice(&self, at: usize) -> Option<usize> {
        let mut end = at + 1;
        while self.text.get(end).is_some_and(|&c| is_blank(c)) {
            end += 1;
        }
        match self.text.get(end)? {
            b'\n' => Some(end + 1),
            b'\r' if self.text.get(end + 1) == Some(&b'\n') => Some(end + 2),
            b'\r' => Some(end + 1),
            _ => None,
        }
    }

    /// The position after all continuations at `at`.
    fn skip_splices(&self, mut at: usize) -> usize {
        while self.text.get(at) == Some(&b'\\') {
            let Some(next) = self.splice(at) else { break };
            at = next;
        }
        at
    }

    /// If the newline before `end` is continued, the position of the backslash.
    fn spliced_before(&self, end: usize) -> Option<usize> {
        let mut at = end - 1;
        if self.text[at] == b'\n' && at > 0 && self.text[at - 1] == b'\r' {
            at -= 1;
        }
        while at > 0 && is_blank(self.text[at - 1]) {
            at -= 1;
        }
        (at > 0 && self.text[at - 1] == b'\\').then(|| at - 1)
    }

    /// Are there only blanks and comments between the start of the logical line and `at`? `clear` is a
    /// position for which that holds.
    fn starts_line(&self, mut at: usize, clear: usize) -> bool {
        while at > clear {
            let c = self.text[at - 1];
            if is_newline(c) {
                match self.spliced_before(at) {
                    Some(backslash) => at = backslash,
                    None => return true,
                }
            } else if is_blank(c) {
                at -= 1;
            } else {
                return false;
            }
        }
        at == clear
    }

    /// The end of the logical line that `at` is in: the position of its newline.
    fn line_end(&self, mut at: usize) -> usize {
        loop {
            let Some(newline) = memchr2(b'\n', b'\r', &self.text[at..]).map(|n| at + n) else {
                return self.text.len();
            };
            if self.spliced_before(newline + 1).is_none() {
                return newline;
            }
            at = self.after_newline(newline);
        }
    }

    fn after_newline(&self, newline: usize) -> usize {
        let pair = self.text[newline] == b'\r' && self.text.get(newline + 1) == Some(&b'\n');
        newline + if pair { 2 } else { 1 }
    }

    /// If a comment begins at `at`, its end: after `*/`, or at the newline for `//`.
    fn comment(&self, at: usize) -> Option<usize> {
        if self.text.get(at) != Some(&b'/') {
            return None;
        }
        let second = self.skip_splices(at + 1);
        match self.text.get(second)? {
            b'/' => Some(self.line_end(second + 1)),
            b'*' => {
                let mut from = second + 1;
                while let Some(star) = memchr(b'*', &self.text[from..]).map(|n| from + n) {
                    let slash = self.skip_splices(star + 1);
                    if self.text.get(slash) == Some(&b'/') {
                        return Some(slash + 1);
                    }
                    from = star + 1;
                }
                Some(self.text.len())
            }
            _ => None,
        }
    }

    /// The end of the string or character literal that begins at `at`: after its closing quote, or at the newline.
    fn quoted(&self, start: usize) -> usize {
        let quote = self.text[start];
        let mut at = start + 1;
        while let Some(&c) = self.text.get(at) {
            if c == quote {
                at += 1;
                break;
            }
            if is_newline(c) {
                break;
            }
            at = if c == b'\\' { self.escape(at) } else { at + 1 };
        }
        self.literal.set(at);
        at
    }

    /// The position after a backslash at `at` and what it escapes or continues.
    fn escape(&self, at: usize) -> usize {
        match self.splice(at) {
            Some(next) => next,
            None => {
                let next = self.skip_splices(at + 1);
                match self.text.get(next) {
                    Some(&c) if !is_newline(c) => next + 1,
                    _ => next.min(self.text.len()),
                }
            }
        }
    }

    /// If the quote at `at` begins a raw string, the position after its end. One that never ends is none.
    fn raw(&self, at: usize) -> Option<usize> {
        let head = &self.text[..at];
        let word = head.iter().rev().take(4).take_while(|&&c| is_word(c)).count();
        if !matches!(&head[at - word..], b"R" | b"LR" | b"uR" | b"UR" | b"u8R") {
            return None;
        }
        let rest = &self.text[at + 1..];
        let open = rest.iter().take(17).position(|&c| c == b'(')?;
        let delimiter = &rest[..open];
        if delimiter.iter().any(|&c| is_blank(c) || is_newline(c) || matches!(c, b')' | b'\\' | b'"')) {
            return None;
        }
        let mut close = Vec::with_capacity(open + 2);
        close.push(b')');
        close.extend_from_slice(delimiter);
        close.push(b'"');
        memmem::find(&rest[open..], &close).map(|n| at + 1 + open + n + close.len())
    }

    /// Is the apostrophe at `at` inside a number, as in `1'000`?
    fn separates_digits(&self, at: usize) -> bool {
        let inside = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        if !self.text.get(self.skip_splices(at + 1)).is_some_and(|&c| inside(c)) {
            return false;
        }
        // The words and numbers before it, back to the last literal at most.
        let mut before = vec![];
        let mut from = at;
        while from > self.literal.get() && before.len() < 128 {
            let c = self.text[from - 1];
            if is_word(c) || c == b'.' || c == b'\'' {
                before.push(c);
                from -= 1;
            } else if let Some(backslash) = is_newline(c).then(|| self.spliced_before(from)).flatten() {
                from = backslash;
            } else {
                break;
            }
        }
        before.reverse();
        if !before.last().is_some_and(|&c| inside(c)) {
            return false;
        }
        // Which of them does the apostrophe follow?
        let mut rest = &before[..];
        loop {
            let number = match rest {
                [b'.', after @ ..] => after.first().is_some_and(u8::is_ascii_digit),
                [first, ..] => first.is_ascii_digit(),
                [] => return false,
            };
            let part = |c: u8| is_word(c) || (number && (c == b'.' || c == b'\''));
            match rest.iter().position(|&c| !part(c)) {
                None => return number,
                Some(length) => rest = &rest[length.max(1)..],
            }
        }
    }

    /// Skips blanks, continuations and comments.
    fn space(&self, mut at: usize, comment: &mut dyn FnMut(std::ops::Range<usize>)) -> usize {
        loop {
            at = self.skip_splices(at);
            match self.text.get(at) {
                Some(&c) if is_blank(c) => at += 1,
                Some(b'/') => match self.comment(at) {
                    Some(end) => {
                        comment(at..end);
                        at = end;
                    }
                    None => return at,
                },
                _ => return at,
            }
        }
    }

    /// The word after a `#`, and the position after it.
    fn keyword(
        &self,
        at: usize,
        comment: &mut dyn FnMut(std::ops::Range<usize>),
    ) -> (Option<Keyword>, usize) {
        let mut at = self.space(at, comment);
        let (mut word, mut length) = ([0; 16], 0);
        loop {
            at = self.skip_splices(at);
            match self.text.get(at) {
                Some(&c) if is_word(c) => {
                    if let Some(place) = word.get_mut(length) {
                        *place = c;
                    }
                    length += 1;
                    at += 1;
                }
                // A number of its own kind: `1.5`, `1'000`.
                Some(b'.' | b'\'') if word[0].is_ascii_digit() => return (None, at),
                _ => return (word.get(..length).and_then(Keyword::of), at),
            }
        }
    }

    /// Copies the rest of a directive's logical line from `at` on; returns the position of its newline.
    fn body(
        &self,
        at: usize,
        header: bool,
        line: &mut Vec<u8>,
        comment: &mut dyn FnMut(std::ops::Range<usize>),
    ) -> usize {
        let mut at = self.space(at, comment);
        if header {
            match self.text.get(at) {
                Some(b'<') => at = self.header(at, b'>', line),
                Some(b'"') => at = self.header(at, b'"', line),
                _ => {}
            }
        }
        while let Some(&c) = self.text.get(at) {
            match c {
                b'\n' | b'\r' => break,
                b'\\' => match self.splice(at) {
                    Some(next) => {
                        at = next;
                        continue;
                    }
                    None => line.push(c),
                },
                b'/' => {
                    if let Some(end) = self.comment(at) {
                        comment(at..end);
                        line.push(b' ');
                        at = end;
                        continue;
                    }
                    line.push(c);
                }
                b'"' | b'\'' => {
                    if let Some(end) = (c == b'"').then(|| self.raw(at)).flatten() {
                        line.extend_from_slice(&self.text[at..end]);
                        at = end;
                        continue;
                    }
                    if c == b'"' || !self.separates_digits(at) {
                        let end = self.quoted(at);
                        self.unspliced(at, end, line);
                        at = end;
                        continue;
                    }
                    line.push(c);
                }
                // A header name as an argument: `__has_include(<a//b.h>)`.
                b'<' if line.iter().rev().find(|&&c| !is_blank(c)) == Some(&b'(') => {
                    at = self.header(at, b'>', line);
                    continue;
                }
                _ => line.push(c),
            }
            at += 1;
        }
        at
    }

    /// Copies a header name up to its terminator; or only the opening byte, if there is no terminator on the line.
    fn header(&self, start: usize, terminator: u8, line: &mut Vec<u8>) -> usize {
        let (before, mut at) = (line.len(), start + 1);
        line.push(self.text[start]);
        loop {
            at = self.skip_splices(at);
            match self.text.get(at) {
                Some(&c) if !is_newline(c) => {
                    line.push(c);
                    at += 1;
                    if c == terminator {
                        return at;
                    }
                }
                _ if terminator == b'"' => return at,
                _ => {
                    line.truncate(before + 1);
                    return start + 1;
                }
            }
        }
    }

    /// Copies a piece of text without the continuations in it.
    fn unspliced(&self, mut at: usize, end: usize, line: &mut Vec<u8>) {
        while at < end {
            let stop = memchr(b'\\', &self.text[at..end]).map_or(end, |n| at + n);
            line.extend_from_slice(&self.text[at..stop]);
            at = stop;
            if at < end {
                match self.splice(at) {
                    Some(next) => at = next,
                    None => {
                        line.push(b'\\');
                        at += 1;
                    }
                }
            }
        }
    }
}
