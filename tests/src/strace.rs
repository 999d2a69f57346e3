// SPDX-License-Identifier: Apache-2.0
//! Reads what `strace -y` prints of calls. Knows how a line is put together, and nothing of what the calls mean.

use std::path::{Path, PathBuf};

/// A line of strace's, cut into pieces.
pub struct Line<'a> {
    /// The call.
    pub name: &'a str,
    /// Its arguments as they are printed.
    pub args: Vec<&'a str>,
    /// What it returned, and what strace says of that.
    pub result: &'a str,
}

impl Line<'_> {
    /// `openat(AT_FDCWD</tmp>, "a.c", O_RDONLY) = 3</tmp/a.c>`
    #[must_use]
    pub fn parse(line: &str) -> Option<Line<'_>> {
        let (name, rest) = line.split_once('(')?;
        let (args, result) = rest.rsplit_once(" = ")?;
        Some(Line { name, args: split(args.trim_end().strip_suffix(')')?), result })
    }

    /// Did it fail?
    #[must_use]
    pub fn failed(&self) -> bool {
        self.result.starts_with('-')
    }

    /// The name of the errno with which it failed.
    #[must_use]
    pub fn errno(&self) -> Option<&str> {
        self.result.strip_prefix("-1 ").and_then(|rest| rest.split(' ').next())
    }

    /// Did it fail because something was not there?
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self.errno(), Some("ENOENT" | "ENOTDIR" | "ENAMETOOLONG"))
    }

    /// The path in `args[at]`, joined with the descriptor before it, else with `cwd`.
    #[must_use]
    pub fn path(&self, at: usize, cwd: &Path) -> Option<PathBuf> {
        let text = self.args.get(at)?.strip_prefix('"')?.strip_suffix('"')?;
        if text.is_empty() {
            return None;
        }
        let directory = at.checked_sub(1).and_then(|directory| self.open(directory));
        Some(directory.as_deref().unwrap_or(cwd).join(text))
    }

    /// What is open as the descriptor in `args[at]`.
    #[must_use]
    pub fn open(&self, at: usize) -> Option<PathBuf> {
        Some(self.args.get(at)?.split_once('<')?.1.strip_suffix('>')?.into())
    }
}

impl Line<'_> {
    /// What it has opened.
    #[must_use]
    pub fn opened(&self) -> Option<PathBuf> {
        Some(self.result.split_once('<')?.1.strip_suffix('>')?.into())
    }
}

/// Cuts at commas that are not within quotes or brackets.
#[must_use]
pub fn split(args: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quoted, mut escaped) = (Vec::new(), 0, 0, false, false);
    for (i, byte) in args.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' | b'<' if !quoted => depth += 1,
            b'}' | b']' | b'>' if !quoted => depth -= 1,
            b',' if !quoted && depth == 0 => {
                parts.push(args[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(args[start..].trim());
    parts
}
