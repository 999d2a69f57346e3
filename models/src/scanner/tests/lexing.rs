// SPDX-License-Identifier: Apache-2.0
//! The lexer against examples and against a plain implementation of the same rules.

use proptest::prelude::*;

use crate::scanner::assembler;
use crate::scanner::directives::{Names, parse};
use crate::scanner::intern::Table;
use crate::scanner::lexer::{Keyword, is_blank, is_word, lex};

fn fast(text: &[u8]) -> Vec<(Keyword, Vec<u8>)> {
    let mut all = vec![];
    lex(text, &mut |_, keyword, line| all.push((keyword, line.to_vec())), &mut |_| {});
    all
}

/// The same, one byte after the other: first the continuations go, then tokens are taken off the front.
mod plain {
    use super::*;

    /// The text without continuations, and where each byte came from.
    struct Spliced<'a> {
        text: &'a [u8],
        bytes: Vec<(u8, usize)>,
    }

    fn splice(text: &[u8]) -> Vec<(u8, usize)> {
        let mut bytes = vec![];
        let mut at = 0;
        'next: while at < text.len() {
            if text[at] == b'\\' {
                let mut end = at + 1;
                while end < text.len() && is_blank(text[end]) {
                    end += 1;
                }
                for newline in [&b"\r\n"[..], b"\n", b"\r"] {
                    if text[end..].starts_with(newline) {
                        at = end + newline.len();
                        continue 'next;
                    }
                }
            }
            bytes.push((text[at], at));
            at += 1;
        }
        bytes
    }

    #[derive(PartialEq)]
    enum Token {
        Blank,
        Comment,
        Newline,
        Text,
    }

    impl Spliced<'_> {
        fn get(&self, at: usize) -> u8 {
            self.bytes.get(at).map_or(b'\n', |b| b.0)
        }

        fn newline(&self, at: usize) -> bool {
            matches!(self.get(at), b'\n' | b'\r')
        }

        /// The token at `at`, and where it ends.
        fn token(&self, at: usize) -> (Token, usize) {
            let c = self.get(at);
            if self.newline(at) {
                return (Token::Newline, at + 1);
            }
            if is_blank(c) {
                return (Token::Blank, at + 1);
            }
            if c == b'/' && self.get(at + 1) == b'/' && at + 1 < self.bytes.len() {
                let mut end = at;
                while !self.newline(end) {
                    end += 1;
                }
                return (Token::Comment, end);
            }
            if c == b'/' && self.get(at + 1) == b'*' {
                let mut end = at + 2;
                while end < self.bytes.len() && !(self.get(end) == b'*' && self.get(end + 1) == b'/') {
                    end += 1;
                }
                return (Token::Comment, (end + 2).min(self.bytes.len()));
            }
            if c == b'"' || c == b'\'' {
                let mut end = at + 1;
                while !self.newline(end) {
                    if self.get(end) == c {
                        return (Token::Text, end + 1);
                    }
                    let escapes = self.get(end) == b'\\' && !self.newline(end + 1);
                    end += if escapes { 2 } else { 1 };
                }
                return (Token::Text, end.min(self.bytes.len()));
            }
            let number = c.is_ascii_digit() || (c == b'.' && self.get(at + 1).is_ascii_digit());
            if number || is_word(c) {
                let mut end = at + 1;
                loop {
                    let c = self.get(end);
                    let next = self.get(end + 1);
                    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
                    let more = number && (c == b'.' || (c == b'\'' && word(self.get(end - 1)) && word(next)));
                    if end >= self.bytes.len() || !(is_word(c) || more) {
                        break;
                    }
                    end += 1;
                }
                return (Token::Text, end);
            }
            (Token::Text, at + 1)
        }

        fn copy(&self, from: usize, to: usize) -> Vec<u8> {
            self.bytes[from..to].iter().map(|b| b.0).collect()
        }

        fn space(&self, mut at: usize) -> usize {
            loop {
                match self.token(at) {
                    (Token::Blank | Token::Comment, end) if at < self.bytes.len() => at = end,
                    _ => return at,
                }
            }
        }

        fn directive(&self, at: usize) -> (Option<(Keyword, Vec<u8>)>, usize) {
            let at = self.space(at);
            let mut end = at;
            while end < self.bytes.len() && is_word(self.get(end)) {
                end += 1;
            }
            let mut keyword = Keyword::of(&self.copy(at, end));
            if self.get(at).is_ascii_digit() && (keyword.is_none() || matches!(self.get(end), b'.' | b'\'')) {
                (keyword, end) = (None, at);
            }
            let mut line = vec![];
            let mut at = self.space(end);
            if keyword.is_some_and(Keyword::takes_header) && matches!(self.get(at), b'<' | b'"') {
                let close = if self.get(at) == b'<' { b'>' } else { b'"' };
                let mut end = at + 1;
                while !self.newline(end) && self.get(end) != close {
                    end += 1;
                }
                if !self.newline(end) {
                    line.extend(self.copy(at, end + 1));
                    at = end + 1;
                } else if close == b'"' {
                    line.extend(self.copy(at, end.min(self.bytes.len())));
                    at = end;
                } else {
                    line.push(b'<');
                    at += 1;
                }
            }
            while at < self.bytes.len() {
                if self.get(at) == b'<' && line.iter().rev().find(|&&c| !is_blank(c)) == Some(&b'(') {
                    let mut end = at + 1;
                    while !self.newline(end) && self.get(end) != b'>' {
                        end += 1;
                    }
                    if !self.newline(end) {
                        line.extend(self.copy(at, end + 1));
                        at = end + 1;
                        continue;
                    }
                }
                let (token, end) = self.token(at);
                match token {
                    Token::Newline => break,
                    Token::Comment => line.push(b' '),
                    _ => line.extend(self.copy(at, end)),
                }
                at = end;
            }
            (keyword.map(|k| (k, line)), at)
        }
    }

    pub fn directives(text: &[u8]) -> Vec<(Keyword, Vec<u8>)> {
        let spliced = Spliced { text, bytes: splice(text) };
        assert!(spliced.text.len() >= spliced.bytes.len());
        let (mut all, mut at, mut fresh) = (vec![], 0, true);
        while at < spliced.bytes.len() {
            let hash = match spliced.get(at) {
                b'#' => 1,
                b'%' if spliced.get(at + 1) == b':' && spliced.bytes[at].1 + 1 == spliced.bytes[at + 1].1 => {
                    2
                }
                _ => 0,
            };
            if fresh && hash > 0 {
                let (found, end) = spliced.directive(at + hash);
                all.extend(found);
                at = end;
                continue;
            }
            let (token, end) = spliced.token(at);
            fresh = match token {
                Token::Newline => true,
                Token::Text => false,
                _ => fresh,
            };
            at = end;
        }
        all
    }
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "#",
        "#include",
        "include",
        "# define",
        "%:",
        "if",
        "pragma",
        "embed",
        "<a.h>",
        "<a//b",
        "\"b.h\"",
        "\"",
        "'",
        "\\\"",
        "\\'",
        "/*",
        "*/",
        "//",
        "/",
        "*",
        "\n",
        "\n",
        "\n",
        "\r\n",
        "\\\n",
        "\\ \t\n",
        "\\\r\n",
        "\\",
        " ",
        "\t",
        "1'0",
        "0x1'f'",
        "x",
        "L",
        "(",
        ")",
        "( <x//y>",
        "\0",
        "\r",
        ".5'6",
        "é",
        "a1'b'",
        "__has_include",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|all| all.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 3000 } else { 200_000 }))]

    #[test]
    fn the_fast_lexer_equals_the_plain_one(text in pieces()) {
        prop_assert_eq!(fast(&text), plain::directives(&text), "{}", text.escape_ascii());
    }

    #[test]
    fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..200), start in pieces()) {
        let names: Names = Table::new();
        let text = [start, text].concat();
        parse(&text, false, &names);
        parse(&text, true, &names);
        assembler::references_in_c(&text);
    }
}

fn lines(text: &str) -> Vec<String> {
    fast(text.as_bytes()).into_iter().map(|(_, line)| String::from_utf8_lossy(&line).into_owned()).collect()
}

#[test]
fn directives_as_people_write_them() {
    for text in [
        "#include <x>",
        "\u{feff}#include <x>\n",
        " \t# /* c */ include/**/<x>// why\n",
        "/* a\n b */ #include <x>\n",
        "#inc\\\nlude \\  \n <x>\r\n",
        "int a; // don't \\\n#include <not>\n#include <x>\n",
        "#if 0\nisn't \"this /* fun\n#endif\n#include <x>\n",
        "s = \"/*\"; c = '\"'; d = '\\'';\n%:include <x>\n/* */",
        "f(R\"(\n#include <not>\n\")\");\n#include <x>\n",
        "f(u8R\"--( )\" \n#include <not>\n)--\");\n#include <x>\n",
        "n = 1'000'000; /*\n#include <not>\n*/\n#include <x>\n",
        "x = a\n#define\\\n#include <not>\n\\\n#include <x>\n",
        "char q = u8'\\\"';\n#include <x>",
        "#error can't /* stop\n#include <x>",
        "x #include <not>\n#endif /*\n#include <not>\n*/ junk\n#include <x>\n",
    ] {
        let all = fast(text.as_bytes()).into_iter().filter(|(keyword, _)| keyword.takes_header());
        let all: Vec<_> =
            all.map(|(_, line)| String::from_utf8_lossy(line.trim_ascii()).into_owned()).collect();
        assert_eq!(all, ["<x>"], "{text:?}");
    }
    // What only looks like a raw string.
    assert_eq!(lines("BAR\"(\n#include <x>\n)\"\nR\"toolongadelimiter(\n#include <y>"), ["<x>", "<y>"]);
}

#[test]
fn header_names_are_taken_as_they_are() {
    assert_eq!(lines("#include <a//b.h>\n#include \"c\\\" // d\"\n"), ["<a//b.h>", "\"c\\\"  "]);
    assert_eq!(lines("#include <sys/\\\n*.h>\n"), ["<sys/*.h>"]);
    assert_eq!(lines("#if 1 < 2 /* 3 > */ && __has_include(<a//b>)\n"), ["1 < 2   && __has_include(<a//b>)"]);
}

#[test]
fn both_readings_of_trigraphs_count() {
    let names: Names = Table::new();
    let text = b"??=include <a>\n// ??/\n#include <b>\n#inc??/\nlude <c>\n";
    let all = parse(text, false, &names).includes;
    let mut all: Vec<_> = all.iter().map(|i| &**names.get(i.name)).collect();
    all.sort_unstable();
    assert_eq!(all, [b"a", b"b", b"c"]);
}
