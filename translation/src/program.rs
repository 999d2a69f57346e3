// SPDX-License-Identifier: Apache-2.0
//! What a program file is, as far as starting it needs: a script's interpreter, an ELF program's loader and search path.

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Begins with `#!`: [`Found::interpreter`] and perhaps [`Found::argument`].
    Script,
    /// An ELF program of this machine with a loader: [`Found::interpreter`], and [`Found::search`].
    Dynamic,
    /// An ELF program of this machine without a loader.
    Static,
    /// An ELF program of another machine or word size.
    Foreign,
    /// Nothing that can be executed.
    Unknown,
}

/// What was found in a file.
#[derive(Clone, Debug)]
pub struct Found {
    interpreter: Piece<512>,
    argument: Piece<512>,
    search: Piece<1024>,
}

#[derive(Clone, Debug)]
struct Piece<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Piece<N> {
    const EMPTY: Self = Self { bytes: [0; N], length: 0 };

    fn set(&mut self, text: &[u8]) -> Option<()> {
        self.bytes.get_mut(..text.len())?.copy_from_slice(text);
        self.length = text.len();
        Some(())
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Default for Found {
    fn default() -> Self {
        Self { interpreter: Piece::EMPTY, argument: Piece::EMPTY, search: Piece::EMPTY }
    }
}

impl Found {
    /// The script's interpreter, or the program's loader.
    #[must_use]
    pub fn interpreter(&self) -> &[u8] {
        self.interpreter.get()
    }

    /// The one argument that a script gives to its interpreter; empty where there is none.
    #[must_use]
    pub fn argument(&self) -> &[u8] {
        self.argument.get()
    }

    /// `DT_RUNPATH`, else `DT_RPATH`; empty where there is none.
    #[must_use]
    pub fn search(&self) -> &[u8] {
        self.search.get()
    }
}

#[cfg(target_arch = "x86_64")]
const MACHINE: u64 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u64 = 183;

/// Longest first line of a script that the kernel looks at.
const LINE: usize = 255;

/// Says what a file is. `read` reads at an offset into a buffer, as much as there is: how much that was.
pub fn examine(mut read: impl FnMut(u64, &mut [u8]) -> usize, found: &mut Found) -> Kind {
    let mut head = [0; 1024];
    let length = read(0, &mut head);
    let head = head.get(..length).unwrap_or_default();
    if head.starts_with(b"#!") {
        return script(head, found).map_or(Kind::Unknown, |()| Kind::Script);
    }
    if !head.starts_with(b"\x7fELF") {
        return Kind::Unknown;
    }
    const CLASS_64: u8 = 2;
    const LITTLE: u8 = 1;
    let ours =
        head.get(4) == Some(&CLASS_64) && head.get(5) == Some(&LITTLE) && field(head, 18, 2) == Some(MACHINE);
    if !ours {
        return Kind::Foreign;
    }
    match dynamic(head, read, found) {
        Some(true) => Kind::Dynamic,
        Some(false) => Kind::Static,
        None => Kind::Unknown,
    }
}

fn script(head: &[u8], found: &mut Found) -> Option<()> {
    let line = head.get(2..)?.split(|&byte| byte == b'\n').next()?;
    let line = line.get(..LINE.min(line.len()))?.trim_ascii();
    let end = line.iter().position(|&byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    let (interpreter, argument) = line.split_at(end);
    if interpreter.is_empty() {
        return None;
    }
    found.interpreter.set(interpreter)?;
    found.argument.set(argument.trim_ascii())
}

/// A little-endian number of `size` bytes.
fn field(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    Some(bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
}

/// More program headers than any program has.
const MOST_HEADERS: usize = 64;
const HEADER: usize = 56;
/// More dynamic entries than any program has.
const MOST_ENTRIES: u64 = 4096;

/// Has it a loader? Nothing where the headers make no sense.
fn dynamic(head: &[u8], mut read: impl FnMut(u64, &mut [u8]) -> usize, found: &mut Found) -> Option<bool> {
    const LOAD: u64 = 1;
    const DYNAMIC: u64 = 2;
    const INTERPRETER: u64 = 3;
    let count = field(head, 56, 2)? as usize;
    if field(head, 54, 2)? as usize != HEADER || count > MOST_HEADERS {
        return None;
    }
    let mut table = [0; MOST_HEADERS * HEADER];
    let table = table.get_mut(..count * HEADER)?;
    if read(field(head, 32, 8)?, table) != table.len() {
        return None;
    }
    let header = |wanted| table.chunks_exact(HEADER).find(move |header| field(header, 0, 4) == Some(wanted));
    let Some(interpreter) = header(INTERPRETER) else { return Some(false) };
    let mut name = [0; 512];
    let size = usize::try_from(field(interpreter, 32, 8)?).ok()?;
    let space = name.get_mut(..size)?;
    if read(field(interpreter, 8, 8)?, space) != size {
        return None;
    }
    let name = space.strip_suffix(b"\0").unwrap_or(space);
    if name.is_empty() {
        return None;
    }
    found.interpreter.set(name)?;
    let Some(dynamic) = header(DYNAMIC) else { return Some(true) };
    let (start, size) = (field(dynamic, 8, 8)?, field(dynamic, 32, 8)?);
    let (mut strings, mut at) = (None, None);
    let mut is_runpath = false;
    'entries: for block in 0..(size / 16).min(MOST_ENTRIES).div_ceil(32) {
        let mut entries = [0; 32 * 16];
        let length = read(start.checked_add(block * 512)?, &mut entries);
        for entry in entries.get(..length)?.chunks_exact(16) {
            match field(entry, 0, 8)? {
                0 => break 'entries,
                5 => strings = field(entry, 8, 8),
                29 => (at, is_runpath) = (field(entry, 8, 8), true),
                15 if !is_runpath => at = field(entry, 8, 8),
                _ => {}
            }
        }
    }
    let (Some(strings), Some(at)) = (strings, at) else { return Some(true) };
    let offset =
        table.chunks_exact(HEADER).filter(|header| field(header, 0, 4) == Some(LOAD)).find_map(|load| {
            let within = strings.checked_sub(field(load, 16, 8)?)?;
            (within < field(load, 32, 8)?).then_some(field(load, 8, 8)?.checked_add(within)?)
        })?;
    let mut text = [0; 1024];
    let length = read(offset.checked_add(at)?, &mut text);
    let text = text.get(..length)?.split(|&byte| byte == 0).next()?;
    found.search.set(text)?;
    Some(true)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    fn of(bytes: &[u8]) -> (Kind, Found) {
        let mut found = Found::default();
        let read = |offset: u64, buffer: &mut [u8]| {
            let rest = bytes.get(offset as usize..).unwrap_or_default();
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            length
        };
        (examine(read, &mut found), found)
    }

    #[test]
    fn scripts_name_their_interpreter() {
        let (kind, found) = of(b"#! /bin/sh -e x \necho");
        assert_eq!(
            (kind, found.interpreter(), found.argument()),
            (Kind::Script, &b"/bin/sh"[..], &b"-e x"[..])
        );
        let (kind, found) = of(b"#!/usr/bin/env");
        assert_eq!(
            (kind, found.interpreter(), found.argument()),
            (Kind::Script, &b"/usr/bin/env"[..], &b""[..])
        );
        assert_eq!(of(b"#!  \n").0, Kind::Unknown);
        assert_eq!(of(b"echo").0, Kind::Unknown);
        assert_eq!(of(b"\x7fELF\x01\x01").0, Kind::Foreign);
        assert_eq!(of(b"\x7fELF\x02\x01").0, Kind::Foreign);
    }

    proptest::proptest! {
            /// Whatever is in a file, there is an answer; this test's own head, damaged, and plain bytes.
            #[test]
            fn damage_is_no_surprise(places in proptest::collection::vec((0usize..1024, proptest::num::u8::ANY), 0..12)) {
                let file = File::open("/proc/self/exe").unwrap();
                let mut head = [0; 1024];
                file.read_exact_at(&mut head, 0).unwrap();
                for (place, byte) in places {
                    head[place] = byte;
                }
                let mut found = Found::default();
                let kind = examine(
                    |offset, buffer| match usize::try_from(offset).ok().and_then(|offset| head.get(offset..)) {
                        Some(rest) => {
                            let length = rest.len().min(buffer.len());
                            buffer[..length].copy_from_slice(&rest[..length]);
                            length
                        }
                        None => file.read_at(buffer, offset).unwrap_or(0),
                    },
                    &mut found,
                );
    let starts = matches!(kind, Kind::Dynamic | Kind::Script);
                proptest::prop_assert!(!starts || !found.interpreter().is_empty());
            }
        }

    #[test]
    fn this_test_has_a_loader() {
        let file = File::open("/proc/self/exe").unwrap();
        let mut found = Found::default();
        let kind = examine(|offset, buffer| file.read_at(buffer, offset).unwrap(), &mut found);
        assert_eq!(kind, Kind::Dynamic);
        assert!(std::path::Path::new(std::str::from_utf8(found.interpreter()).unwrap()).exists());
    }
}
