// SPDX-License-Identifier: Apache-2.0
//! Paths that begin with a link in `/proc` that leads each process to something of its own: its directory, its root, a
//! directory that it has open. Who reads the log would follow it to what is the reader's.

use crate::path::{Located, descriptor};
use crate::room::Buffer;
use crate::sys;
use crate::text::{Text, number};

/// May this path be one?
#[inline]
pub(crate) fn may_be(path: &[u8]) -> bool {
    path.starts_with(b"/proc/") || path.starts_with(b"/dev/fd/")
}

/// The same path without such a link, and from the root on; nothing where that is not known.
pub(crate) fn absolute<'a>(path: &'a [u8], buffer: &'a mut Buffer) -> Option<&'a [u8]> {
    let (length, slash, rest) = match split(path) {
        Some((b"cwd", rest)) => (directory(buffer)?, &b""[..], rest),
        Some((b"root", b"")) => return Some(b"/"),
        Some((b"root", rest)) => return Some(rest),
        Some((fd, rest)) => (descriptor(number(fd)? as i32, buffer)?.len(), &b""[..], rest),
        None if path.first().is_none_or(|&byte| byte == b'/') => return Some(path),
        None => (directory(buffer)?, &b"/"[..], path),
    };
    let added = Text::new(buffer.get_mut(length..)?).push(slash).push(rest).complete()?;
    buffer.get(..length + added)
}

/// The parts of a path for who is to find the same by it; the last has the NUL.
pub(crate) fn parts<'a>(path: Located<'a>, buffer: &'a mut Buffer) -> [&'a [u8]; 3] {
    let parts @ [folder, _, name] = path.parts();
    let name = name.strip_suffix(b"\0").unwrap_or_default();
    let own = folder.is_empty() && may_be(name);
    match if own { absolute(name, buffer) } else { None } {
        Some(path) => [path, b"", b"\0"],
        None => parts,
    }
}

/// The length of the working directory's path.
fn directory(buffer: &mut Buffer) -> Option<usize> {
    Some(sys::getcwd(buffer).len()).filter(|&length| length > 0)
}

/// `cwd`, `root`, or the number of a descriptor with something below it; and the rest of the path with its slash.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let below = match path.strip_prefix(b"/proc/") {
        Some(below) => {
            let (process, below) = part(below);
            let is_own =
                matches!(process, b"self" | b"thread-self") || number(process) == Some(sys::getpid());
            below.strip_prefix(b"/").filter(|_| is_own)?
        }
        None => path.strip_prefix(b"/dev/")?,
    };
    let (link, rest) = part(below);
    match link {
        b"cwd" | b"root" => Some((link, rest)),
        // What is behind a descriptor itself need not have a path.
        b"fd" => Some(part(rest.strip_prefix(b"/")?)).filter(|(_, rest)| rest.len() > 1),
        _ => None,
    }
}

/// The first part of a path, and what follows.
fn part(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().position(|&byte| byte == b'/').unwrap_or(path.len()))
}
