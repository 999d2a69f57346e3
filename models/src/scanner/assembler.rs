// SPDX-License-Identifier: Apache-2.0
//! `.include "name"` and `.incbin "name"`: in assembler texts, and in C where inline assembler holds them.
//! Unaware of assembler syntax otherwise: what looks like such a statement is one.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use super::lexer::{self, is_blank, is_word};

/// What a text's assembler statements read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    /// File name, and whether it is read as mere data.
    pub files: Vec<(Vec<u8>, bool)>,
    /// The position of the first statement whose file name is not written out.
    pub unsure: Option<usize>,
}

static LOWER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b".inc"));
static UPPER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b".INC"));

/// Where the statement words stand, their lengths, and whether they read mere data.
fn keywords(text: &[u8]) -> impl Iterator<Item = (usize, usize, bool)> {
    let starts = LOWER.find_iter(text).chain(UPPER.find_iter(text));
    starts.filter_map(|at| keyword(&text[at..]).map(|(length, leaf)| (at, length, leaf)))
}

/// A quick look: could there be any?
pub(super) fn may_include(text: &[u8]) -> bool {
    keywords(text).next().is_some()
}

/// The statement word that a text starts with: its length, and whether the file is mere data.
fn keyword(text: &[u8]) -> Option<(usize, bool)> {
    let is = |word: &[u8]| {
        text.get(..word.len()).is_some_and(|t| t.eq_ignore_ascii_case(word))
            && !text.get(word.len()).is_some_and(|&c| is_word(c) || c == b'.')
    };
    [(&b".incbin"[..], true), (b".include", false)]
        .into_iter()
        .find(|(w, _)| is(w))
        .map(|(w, leaf)| (w.len(), leaf))
}

/// The statements of a C or C++ text; its comments do not count.
pub(super) fn references_in_c(text: &[u8]) -> References {
    let mut code = text.to_vec();
    lexer::lex(text, &mut |_, _, _| {}, &mut |comment| code[comment].fill(b'\n'));
    references(&code, false)
}

/// The statements of a text. In an `assembler` text, a word that C uses for other things is a statement too.
pub(super) fn references(text: &[u8], assembler: bool) -> References {
    let mut found = References::default();
    for (at, length, leaf) in keywords(text) {
        // `x.include`, `foo.incbin`: a member, a file name. But `\n.incbin` and `\t.incbin` in a string are statements.
        let before = &text[..at];
        let escape = matches!(before, [.., b'\\', b'n' | b't']);
        if before.last().is_some_and(|&c| is_word(c) || matches!(c, b'.' | b')' | b']' | b'>' | b'/'))
            && !escape
        {
            continue;
        }
        let mut rest = &text[at + length..];
        loop {
            match rest {
                [b'\\', b't', after @ ..] => rest = after,
                [c, after @ ..] if is_blank(*c) => rest = after,
                _ => break,
            }
        }
        // In C, a bare quote inside a string ends it (`".incbin "NAME`), unless the string is a raw one.
        let line = &before[memchr::memrchr(b'\n', before).map_or(0, |n| n + 1)..];
        let ends_string = !assembler && line.contains(&b'"') && memmem::find(before, b"R\"").is_none();
        if ends_string && let [b'"', after @ ..] = rest {
            // Nothing comes after it (`".include", 8`), unless another string does.
            let next = after.iter().find(|c| !c.is_ascii_whitespace());
            if next.is_none_or(|&c| is_word(c) || matches!(c, b'"' | b'#' | b'\\')) {
                found.unsure.get_or_insert(at);
            }
            continue;
        }
        match operand(rest) {
            Operand::Name(name) => found.files.push((name.to_vec(), leaf)),
            Operand::Computed => _ = found.unsure.get_or_insert(at),
            // A word after it: in C, prose or a designated initialiser; in assembler, a macro.
            Operand::Other if assembler || (leaf && rest.first().is_some_and(|&c| is_word(c))) => {
                found.unsure.get_or_insert(at);
            }
            Operand::Other => {}
        }
    }
    found
}

enum Operand<'a> {
    Name(&'a [u8]),
    /// A string pasted together, or with a macro's parameter in it.
    Computed,
    Other,
}

fn operand(text: &[u8]) -> Operand<'_> {
    // In a C string the quotes are escaped.
    let name = match text {
        [b'\\', b'"', rest @ ..] => match memmem::find(rest, b"\\\"") {
            Some(end) => &rest[..end],
            None => return Operand::Computed,
        },
        [b'"', rest @ ..] => match memchr::memchr2(b'"', b'\n', rest) {
            Some(end) if rest[end] == b'"' => &rest[..end],
            _ => return Operand::Computed,
        },
        // `%0`, `\name`, or a line end.
        [b'%' | b'\\' | b'#', ..] => return Operand::Computed,
        _ => return Operand::Other,
    };
    let literal = !name.is_empty()
        && !name.iter().any(|&c| is_special(c))
        && !name.first().is_some_and(|&c| is_blank(c))
        && !name.last().is_some_and(|&c| is_blank(c));
    if literal { Operand::Name(name) } else { Operand::Computed }
}

/// A byte that makes a name something else than itself: a macro's parameter, an escape, a string's end.
fn is_special(c: u8) -> bool {
    matches!(c, b'\n' | b'\r' | b'\\' | b'"' | b'%' | b'&' | 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn c(text: &str) -> (Vec<(String, bool)>, bool) {
        strings(references_in_c(text.as_bytes()))
    }

    fn s(text: &str) -> (Vec<(String, bool)>, bool) {
        strings(references(text.as_bytes(), true))
    }

    fn strings(found: References) -> (Vec<(String, bool)>, bool) {
        let name = |(n, leaf): (Vec<u8>, bool)| (String::from_utf8_lossy(&n).into_owned(), leaf);
        (found.files.into_iter().map(name).collect(), found.unsure.is_some())
    }

    fn one(name: &str, leaf: bool) -> (Vec<(String, bool)>, bool) {
        (vec![(name.to_owned(), leaf)], false)
    }

    #[test]
    fn assembler_statements() {
        assert_eq!(s("\t.include \"defs.inc\"\n"), one("defs.inc", false));
        assert_eq!(s("blob: .incbin \"a b.bin\", 4, 8\n"), one("a b.bin", true));
        assert_eq!(s(".INCBIN \"x\"\n"), one("x", true));
        assert_eq!(s(".incbin FILE\n"), (vec![], true));
        assert_eq!(s(".macro f name\n.incbin \"\\name\"\n.endm\n"), (vec![], true));
        assert_eq!(s(".includes \"x\"\n .section .incbinx\n"), (vec![], false));
    }

    #[test]
    fn inline_assembler() {
        assert_eq!(c(r#"asm(".incbin \"logo.png\"\n");"#), one("logo.png", true));
        assert_eq!(c(r#"__asm__("x:\n\t.incbin\t\"d/l.bin\"\n" ".byte 0\n");"#), one("d/l.bin", true));
        assert_eq!(c(r#"asm("a:\n.include \"m.s\"");"#), one("m.s", false));
        assert_eq!(c("asm(R\"(\n .incbin \"r.bin\"\n)\");"), one("r.bin", true));
        assert_eq!(c(r#"#define INCBIN(f) asm(".incbin \"" f "\"\n")"#), (vec![], true));
        assert_eq!(c(r#"#define INCBIN(f) asm(".incbin " #f)"#), (vec![], true));
        assert_eq!(c(r#"asm(".incbin " NAME "\n");"#), (vec![], true));
        assert_eq!(c(r#"asm(".incbin "NAME"\n");"#), (vec![], true));
        assert_eq!(c("asm(\".incbin \"\n \"x\");"), (vec![], true));
        assert_eq!(c(r#"asm volatile(".incbin %0" :: "i"(x));"#), (vec![], true));
    }

    #[test]
    fn words_of_c_are_no_statements() {
        for text in [
            "struct s v = { .include = 1, .incbin = 2 };",
            "v.include (\"x\"); p->incbin = \"y\"; a[0].include = 3;",
            "/* .incbin \"x\" */ // .include \"y\"\n",
            "if (strncmp(name, \".include\", 8) == 0 && end == 8)\n",
            "puts(\"see file.include for more\"); puts(\"the .include directive\");",
        ] {
            assert_eq!(c(text), (vec![], false), "{text}");
        }
    }
}
