// SPDX-License-Identifier: Apache-2.0
//! What a shell does with a command line, as far as that can be said without being one: prints, changes its directory, starts
//! programs, one after the other. Make and ninja start a shell for nearly every command, most of which are no more than that.
//!
//! Understood is what dash and bash take as POSIX has it (POSIX.1-2017, XCU 2.2, 2.3, 2.9): words without expansions, quoted or not, in
//! simple commands that `;`, `&&` or a newline joins. Everything else is [`None`], also what is no mistake: the shell itself has to do
//! it. Knows no files and no programs.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

/// One thing that a shell does. If it fails the rest is not to be trusted: whoever follows the steps must see beforehand that none does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `echo`, `printf`: these bytes go to standard output.
    Print(Vec<u8>),
    /// `cd`: to this directory.
    Enter(OsString),
    /// A program.
    Run {
        /// Variables that only it gets.
        variables: Vec<(OsString, OsString)>,
        /// Its arguments, its name first, which is looked for in `PATH` if it has no slash.
        argv: Vec<OsString>,
    },
}

/// What a shell does that is given these arguments, its own name first: nothing where that is not understood.
#[must_use]
pub fn steps(argv: &[OsString]) -> Option<Vec<Step>> {
    // What `-e` does makes no difference where nothing fails.
    let [_, option, script] = argv else { return None };
    (option == "-c" || option == "-ec").then(|| parse(script.as_encoded_bytes())).flatten()
}

/// What a shell does with such a script.
#[must_use]
pub fn parse(script: &[u8]) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut words = Vec::new();
    let mut reader = Reader { script, at: 0 };
    // Printing may fail. It makes no difference where a command comes after it, whatever became of it.
    let mut printed = false;
    loop {
        match reader.token()? {
            Token::Word(word) => words.push(word),
            Token::Newline if words.is_empty() => {}
            Token::End if words.is_empty() => return (!printed).then_some(steps),
            // `; ;`, `&& ;`
            _ if words.is_empty() => return None,
            separator => {
                let step = simple(std::mem::take(&mut words))?;
                printed = matches!(step, Some(Step::Print(_)));
                steps.extend(step);
                match separator {
                    Token::And if printed || !reader.goes_on() => return None,
                    Token::End if printed => return None,
                    Token::End => return Some(steps),
                    _ => {}
                }
            }
        }
    }
}

/// A word, quotes removed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Word {
    text: Vec<u8>,
    /// How many of the first bytes stood outside of quotes.
    bare: usize,
}

impl Word {
    /// The name of the variable, if the word assigns to one.
    fn assigns(&self) -> Option<usize> {
        let equals = self.text.iter().take(self.bare).position(|&byte| byte == b'=')?;
        let name = &self.text[..equals];
        let starts = name.first().is_some_and(|&byte| byte == b'_' || byte.is_ascii_alphabetic());
        let goes_on = name.iter().all(|&byte| byte == b'_' || byte.is_ascii_alphanumeric());
        (starts && goes_on).then_some(equals)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(Word),
    Semicolon,
    And,
    Newline,
    End,
}

struct Reader<'a> {
    script: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.script.get(self.at).copied()
    }

    /// A line that goes on in the next one is one line.
    fn skip_continuations(&mut self) {
        while self.script.get(self.at..).is_some_and(|rest| rest.starts_with(b"\\\n")) {
            self.at += 2;
        }
    }

    /// Is anything left but blanks and newlines?
    fn goes_on(&self) -> bool {
        let rest = self.script.get(self.at..).unwrap_or_default();
        rest.iter().any(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\\'))
    }

    /// The next token; nothing where it is not one of ours.
    fn token(&mut self) -> Option<Token> {
        loop {
            self.skip_continuations();
            match self.peek() {
                Some(b' ' | b'\t') => self.at += 1,
                _ => break,
            }
        }
        let Some(first) = self.peek() else { return Some(Token::End) };
        match first {
            b'\n' => {
                self.at += 1;
                Some(Token::Newline)
            }
            b';' => {
                self.at += 1;
                self.skip_continuations();
                (self.peek() != Some(b';')).then_some(Token::Semicolon)
            }
            b'&' => {
                self.at += 1;
                self.skip_continuations();
                let is_and = self.peek() == Some(b'&');
                self.at += 1;
                is_and.then_some(Token::And)
            }
            // A comment.
            b'#' => None,
            _ => self.word().map(Token::Word),
        }
    }

    fn word(&mut self) -> Option<Word> {
        let mut word = Word::default();
        let mut is_bare = true;
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\n' | b';' | b'&' => break,
                b'\'' => {
                    is_bare = false;
                    self.at += 1;
                    let length = memchr::memchr(b'\'', self.script.get(self.at..)?)?;
                    let quoted = self.script.get(self.at..self.at + length)?;
                    quoted.iter().all(|&byte| is_plain(byte) || byte == b'\n').then_some(())?;
                    word.text.extend_from_slice(quoted);
                    self.at += length + 1;
                }
                b'"' => {
                    is_bare = false;
                    self.at += 1;
                    self.double_quoted(&mut word.text)?;
                }
                b'\\' => {
                    self.at += 1;
                    match self.peek()? {
                        b'\n' => {}
                        escaped if is_plain(escaped) => {
                            is_bare = false;
                            word.text.push(escaped);
                        }
                        _ => return None,
                    }
                    self.at += 1;
                }
                // Expansions, patterns, redirections, groups, pipes.
                b'$' | b'`' | b'*' | b'?' | b'[' | b'<' | b'>' | b'(' | b')' | b'{' | b'|' => return None,
                // A home directory where a word begins or something is assigned; kept anywhere else, but who needs that.
                b'~' => return None,
                b'!' if word.text.is_empty() => return None,
                _ if is_plain(byte) => {
                    word.text.push(byte);
                    if is_bare {
                        word.bare += 1;
                    }
                    self.at += 1;
                }
                _ => return None,
            }
        }
        Some(word)
    }

    /// Up to the closing quote, which is passed over.
    fn double_quoted(&mut self, text: &mut Vec<u8>) -> Option<()> {
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(()),
                b'$' | b'`' => return None,
                b'\\' => {
                    match self.peek()? {
                        b'\n' => {}
                        escaped @ (b'$' | b'`' | b'"' | b'\\') => text.push(escaped),
                        other if is_plain(other) => text.extend([b'\\', other]),
                        _ => return None,
                    }
                    self.at += 1;
                }
                _ if is_plain(byte) || byte == b'\n' => text.push(byte),
                _ => return None,
            }
        }
    }
}

/// Is it a byte that is nothing special because of its encoding, and that no shell uses itself to mark something?
fn is_plain(byte: u8) -> bool {
    byte == b'\t' || byte == b' ' || byte.is_ascii_graphic()
}

/// What a simple command does. Nothing where it is not understood; no step where it does nothing.
fn simple(words: Vec<Word>) -> Option<Option<Step>> {
    let mut words = words.into_iter().peekable();
    let mut variables = Vec::new();
    while let Some(equals) = words.peek().and_then(Word::assigns) {
        let mut name = words.next()?.text;
        let value = name.split_off(equals + 1);
        name.truncate(equals);
        variables.push((OsString::from_vec(name), OsString::from_vec(value)));
    }
    let argv: Vec<Vec<u8>> = words.map(|word| word.text).collect();
    let (name, arguments) = argv.split_first()?;
    if name.contains(&b'/') {
        return Some(Some(run(variables, argv)));
    }
    match name.as_slice() {
        // What is assigned before some of these stays.
        _ if !variables.is_empty() && is_special(name) => None,
        b":" | b"true" => Some(None),
        b"echo" => Some(Some(Step::Print(echo(arguments)?))),
        b"printf" => Some(Some(Step::Print(printf(arguments)?))),
        b"cd" => match arguments {
            [to] if !to.is_empty() && !to.starts_with(b"-") => {
                Some(Some(Step::Enter(OsString::from_vec(to.clone()))))
            }
            _ => None,
        },
        _ if is_special(name) => None,
        _ => Some(Some(run(variables, argv))),
    }
}

fn run(variables: Vec<(OsString, OsString)>, argv: Vec<Vec<u8>>) -> Step {
    Step::Run { variables, argv: argv.into_iter().map(OsString::from_vec).collect() }
}

/// Do dash or bash do this themselves, or is it a part of their grammar? Also what they have in addition as commands of their own, as
/// `test` and `kill`.
fn is_special(name: &[u8]) -> bool {
    const NAMES: &[&[u8]] = &[
        b"!",
        b".",
        b":",
        b"[",
        b"[[",
        b"]]",
        b"alias",
        b"bg",
        b"bind",
        b"break",
        b"builtin",
        b"caller",
        b"case",
        b"cd",
        b"chdir",
        b"command",
        b"compgen",
        b"complete",
        b"compopt",
        b"continue",
        b"coproc",
        b"declare",
        b"dirs",
        b"disown",
        b"do",
        b"done",
        b"echo",
        b"elif",
        b"else",
        b"enable",
        b"esac",
        b"eval",
        b"exec",
        b"exit",
        b"export",
        b"false",
        b"fc",
        b"fg",
        b"fi",
        b"for",
        b"function",
        b"getopts",
        b"hash",
        b"help",
        b"history",
        b"if",
        b"in",
        b"jobs",
        b"kill",
        b"let",
        b"local",
        b"logout",
        b"mapfile",
        b"popd",
        b"printf",
        b"pushd",
        b"pwd",
        b"read",
        b"readarray",
        b"readonly",
        b"return",
        b"select",
        b"set",
        b"shift",
        b"shopt",
        b"source",
        b"suspend",
        b"test",
        b"then",
        b"time",
        b"times",
        b"trap",
        b"true",
        b"type",
        b"typeset",
        b"ulimit",
        b"umask",
        b"unalias",
        b"unset",
        b"until",
        b"wait",
        b"while",
        b"{",
        b"}",
    ];
    NAMES.contains(&name)
}

/// What `echo` prints. Some take the first arguments for options, some look into backslashes.
fn echo(arguments: &[Vec<u8>]) -> Option<Vec<u8>> {
    let is_plain = |argument: &Vec<u8>| !argument.contains(&b'\\');
    if arguments.first().is_some_and(|first| first.starts_with(b"-")) || !arguments.iter().all(is_plain) {
        return None;
    }
    let mut printed = arguments.join(&b' ');
    printed.push(b'\n');
    Some(printed)
}

/// What `printf` prints: its format is used again as long as arguments are left.
fn printf(arguments: &[Vec<u8>]) -> Option<Vec<u8>> {
    let (format, mut arguments) = arguments.split_first()?;
    if format.starts_with(b"-") {
        return None;
    }
    let mut printed = Vec::new();
    loop {
        let left = arguments.len();
        let mut bytes = format.iter().copied();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\\' => printed.push(match bytes.next()? {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'\\' => b'\\',
                    _ => return None,
                }),
                b'%' => match bytes.next()? {
                    b'%' => printed.push(b'%'),
                    b's' => {
                        if let Some((first, rest)) = arguments.split_first() {
                            printed.extend_from_slice(first);
                            arguments = rest;
                        }
                    }
                    _ => return None,
                },
                _ => printed.push(byte),
            }
        }
        if arguments.is_empty() || arguments.len() == left {
            return Some(printed);
        }
    }
}

#[cfg(test)]
mod tests;
