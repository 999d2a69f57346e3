// SPDX-License-Identifier: Apache-2.0
//! Reads GNU linker scripts as far as they name files. Knows no file system.
//!
//! Most "libraries" that are scripts are three lines (`/usr/lib/…/libc.so`: `GROUP ( … AS_NEEDED ( … ) )`), but
//! the same language describes whole memory layouts (`-T`). There, a file can also be named in the middle of
//! `SECTIONS`; such names are collected as [`Script::mentioned`], to be taken where a file of that name exists.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::HEAD;

/// What a script names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// Files and libraries of `INPUT`, `GROUP`, `STARTUP` and `AS_NEEDED`, in order.
    pub inputs: Vec<Input>,
    /// Scripts of `INCLUDE`, in order.
    pub includes: Vec<OsString>,
    /// Directories of `SEARCH_DIR`, in order.
    pub search_dirs: Vec<OsString>,
    /// The first name of `OUTPUT_FORMAT`.
    pub output_format: Option<OsString>,
    /// Words without wildcards between braces, which may be names of files.
    pub mentioned: Vec<OsString>,
    /// The first file that the script has written, by `OUTPUT` or `MAP`.
    pub written: Option<OsString>,
}

/// A file of `INPUT` and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file, as written: it may begin with `=` or `$SYSROOT`.
    File(OsString),
    /// `-lNAME`.
    Library(OsString),
}

/// May this be a linker script? The linker tries whatever is not an object, an archive or bitcode; what has a NUL in
/// its first bytes is no text.
#[must_use]
pub fn may_be_script(bytes: &[u8]) -> bool {
    const BINARY: [&[u8]; 5] = [b"\x7fELF", b"!<arch>\n", b"!<thin>\n", b"BC\xc0\xde", b"\xde\xc0\x17\x0b"];
    let head = &bytes[..bytes.len().min(HEAD)];
    !BINARY.iter().any(|magic| head.starts_with(magic)) && !head.contains(&0)
}

/// Reads a script. Whatever is not understood is passed over: the linker will complain where it is wrong.
#[must_use]
pub fn parse(text: &[u8]) -> Script {
    let mut script = Script::default();
    // What the open parentheses belong to, innermost last; `None` for those that mean nothing here.
    let mut open: Vec<Option<Command>> = Vec::new();
    let mut last: Option<Command> = None;
    let mut braces = 0usize;
    for token in (Tokens { rest: text }) {
        match token {
            Token::Open => {
                // `AS_NEEDED (` counts as what it is written in: both are inputs.
                open.push(last.take());
            }
            Token::Close => {
                open.pop();
                last = None;
            }
            Token::OpenBrace => {
                braces += 1;
                last = None;
            }
            Token::CloseBrace => {
                braces = braces.saturating_sub(1);
                last = None;
            }
            Token::Mark => last = None,
            Token::Word { text, quoted } => {
                let command = if quoted { None } else { Command::of(text) };
                if last == Some(Command::Include) {
                    script.includes.push(OsString::from_vec(text.to_vec()));
                    last = None;
                } else if command.is_some() {
                    last = command;
                } else {
                    script.take(open.last().copied().flatten(), braces > 0, text, quoted);
                    last = None;
                }
            }
        }
    }
    script
}

impl Script {
    fn take(&mut self, inside: Option<Command>, in_braces: bool, text: &[u8], quoted: bool) {
        let word = || OsString::from_vec(text.to_vec());
        match inside {
            Some(Command::Inputs) => self.inputs.push(match text.strip_prefix(b"-l") {
                Some(name) if !quoted => Input::Library(OsString::from_vec(name.to_vec())),
                _ => Input::File(word()),
            }),
            Some(Command::SearchDir) => self.search_dirs.push(word()),
            Some(Command::Writes) if self.written.is_none() => self.written = Some(word()),
            Some(Command::OutputFormat) if self.output_format.is_none() => self.output_format = Some(word()),
            _ if in_braces
                && text.iter().any(u8::is_ascii_alphanumeric)
                && !text.iter().any(|b| b"*?[".contains(b)) =>
            {
                self.mentioned.push(word());
            }
            _ => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    Inputs,
    SearchDir,
    OutputFormat,
    Writes,
    Include,
}

impl Command {
    fn of(word: &[u8]) -> Option<Command> {
        Some(match word {
            b"INPUT" | b"GROUP" | b"AS_NEEDED" | b"STARTUP" => Command::Inputs,
            b"SEARCH_DIR" => Command::SearchDir,
            b"OUTPUT_FORMAT" => Command::OutputFormat,
            b"OUTPUT" | b"MAP" => Command::Writes,
            b"INCLUDE" => Command::Include,
            _ => return None,
        })
    }
}

enum Token<'a> {
    Open,
    Close,
    OpenBrace,
    CloseBrace,
    /// A comma, a semicolon or an operator.
    Mark,
    Word {
        text: &'a [u8],
        quoted: bool,
    },
}

struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    fn skip_blank(&mut self) {
        loop {
            let blank = self.rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
            self.rest = &self.rest[blank..];
            if !self.rest.starts_with(b"/*") {
                return;
            }
            let end = memchr::memmem::find(&self.rest[2..], b"*/").map_or(self.rest.len(), |at| at + 4);
            self.rest = &self.rest[end..];
        }
    }

    fn split(&mut self, at: usize) -> &'a [u8] {
        let (head, tail) = self.rest.split_at(at);
        self.rest = tail;
        head
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        let one = match *self.rest.first()? {
            b'(' => Some(Token::Open),
            b')' => Some(Token::Close),
            b'{' => Some(Token::OpenBrace),
            b'}' => Some(Token::CloseBrace),
            b',' | b';' | b'<' | b'>' | b'!' | b'&' | b'|' | b'^' | b'%' => Some(Token::Mark),
            _ => None,
        };
        if let Some(token) = one {
            self.split(1);
            return Some(token);
        }
        if self.rest[0] == b'"' {
            self.split(1);
            let end = memchr::memchr(b'"', self.rest).unwrap_or(self.rest.len());
            let text = self.split(end);
            self.split(usize::from(!self.rest.is_empty()));
            return Some(Token::Word { text, quoted: true });
        }
        let ends = |b: &u8| b.is_ascii_whitespace() || b"(){},;\"<>!&|^%".contains(b);
        let end = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        // At least one byte: the first one is none that ends a word.
        let text = self.split(end.max(1));
        Some(Token::Word { text, quoted: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(name: &str) -> Input {
        Input::File(name.into())
    }

    #[test]
    fn glibc_scripts() {
        let libc = b"/* GNU ld script\n   Use the shared library, but some functions are only in\n   the static library, so try that secondarily.  */\nOUTPUT_FORMAT(elf64-x86-64)\nGROUP ( /lib/x86_64-linux-gnu/libc.so.6 /usr/lib/x86_64-linux-gnu/libc_nonshared.a  AS_NEEDED ( /lib64/ld-linux-x86-64.so.2 ) )\n";
        let script = parse(libc);
        assert_eq!(
            script.inputs,
            [
                file("/lib/x86_64-linux-gnu/libc.so.6"),
                file("/usr/lib/x86_64-linux-gnu/libc_nonshared.a"),
                file("/lib64/ld-linux-x86-64.so.2")
            ]
        );
        assert_eq!(script.output_format.unwrap(), "elf64-x86-64");
        assert!(script.mentioned.is_empty() && script.includes.is_empty());
    }

    #[test]
    fn commas_quotes_and_libraries() {
        let script =
            parse(b"INPUT(libncurses.so.6,\"with space.a\" -ltinfo =/usr/lib/x.a AS_NEEDED(-lm) /*-lno*/)");
        assert_eq!(
            script.inputs,
            [
                file("libncurses.so.6"),
                file("with space.a"),
                Input::Library("tinfo".into()),
                file("=/usr/lib/x.a"),
                Input::Library("m".into())
            ]
        );
    }

    #[test]
    fn a_memory_layout() {
        let script = parse(
            b"ENTRY(_start)\nINCLUDE memory.ld\nSTARTUP(crt0.o)\nSEARCH_DIR(\"=/opt/lib\")\nSECTIONS {\n  . = 0x1000;\n  .text : { boot.o(.text) *(.text .text.*) KEEP(*(.init)) INCLUDE more.ld }\n}\nGROUP(-lc)\n",
        );
        assert_eq!(script.includes, ["memory.ld", "more.ld"]);
        assert_eq!(script.inputs, [file("crt0.o"), Input::Library("c".into())]);
        assert_eq!(script.search_dirs, ["=/opt/lib"]);
        assert!(script.mentioned.iter().any(|m| m == "boot.o"), "{script:?}");
        assert!(!script.mentioned.iter().any(|m| m.to_string_lossy().contains('*')));
    }

    #[test]
    fn files_that_a_script_writes() {
        let written = |text: &[u8]| parse(text).written.map(|name| name.into_string().unwrap());
        assert_eq!(
            written(b"OUTPUT_ARCH(arm)\nOUTPUT ( \"boot 1.elf\" )\nMAP(m)").as_deref(),
            Some("boot 1.elf")
        );
        assert_eq!(written(b"SECTIONS { .text : { *(.text) } }\nMAP(m)").as_deref(), Some("m"));
        assert_eq!(written(b"OUTPUT_FORMAT(elf64-x86-64)\n/* OUTPUT(x) */ GROUP ( OUTPUT.a )"), None);
    }

    #[test]
    fn what_is_no_text_is_no_script() {
        assert!(!may_be_script(b"\x7fELF\x02"));
        assert!(!may_be_script(b"!<arch>\n"));
        assert!(!may_be_script(b"abc\0"));
        assert!(may_be_script(b"INPUT(-lfoo)"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_pieces_are_read_to_their_end(pieces in prop::collection::vec(
            prop::sample::select(vec!["INPUT", "(", ")", "GROUP(", "{", "}", "/*", "*/", "\"", ",", ";", "-l", "INCLUDE ", " ", "a.o", "=", "AS_NEEDED", "SECTIONS"]), 0..60)) {
            let _ = parse(pieces.concat().as_bytes());
        }

        #[test]
        fn every_plain_input_is_found(names in prop::collection::vec("[a-z0-9_./+-]{1,12}\\.o", 1..8)) {
            let text = format!("GROUP ( {} )", names.join(" "));
            let expected: Vec<Input> = names.iter().map(|n| match n.strip_prefix("-l") {
                Some(library) => Input::Library(library.into()),
                None => file(n),
            }).collect();
            prop_assert_eq!(parse(text.as_bytes()).inputs, expected);
        }
    }
}
