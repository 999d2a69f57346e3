// SPDX-License-Identifier: Apache-2.0
//! Which other file the kernel opens to run a program: the interpreter in a script's first line or in an ELF file's
//! program headers. Pure but for reading the file it is given.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// How much of a file the kernel looks at to tell what it is (`BINPRM_BUF_SIZE`).
const HEAD: usize = 256;
/// A program header table longer than this is not one that the kernel loads (its limit is 64 KiB).
const MAX_HEADERS: usize = 64 * 1024;
const PT_INTERP: u32 = 3;

/// What a program file is to the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Image {
    /// A script: the program that is run instead, as the first line names it.
    Script(PathBuf),
    /// An ELF file that needs this loader.
    Dynamic(PathBuf),
    /// An ELF file that needs nothing.
    Static,
    /// Something else.
    Unknown,
}

/// Reads what `file` is.
pub(crate) fn read(file: &File) -> io::Result<Image> {
    let mut head = [0; HEAD];
    let length = read_up_to(file, &mut head, 0)?;
    let head = &head[..length];
    if head.starts_with(b"#!") {
        return Ok(shebang(head).map_or(Image::Unknown, Image::Script));
    }
    let Some(layout) = layout(head) else { return Ok(Image::Unknown) };
    let mut table = vec![0; layout.size * layout.count];
    let length = read_up_to(file, &mut table, layout.offset)?;
    let Some((offset, size)) = interp(&table[..length], &layout) else { return Ok(Image::Static) };
    let mut path = vec![0; size.min(libc::PATH_MAX as usize)];
    let length = read_up_to(file, &mut path, offset)?;
    path.truncate(path[..length].iter().position(|&byte| byte == 0).unwrap_or(length));
    Ok(Image::Dynamic(OsString::from_vec(path).into()))
}

fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        let Some(at) = offset.checked_add(done as u64).filter(|&at| i64::try_from(at).is_ok()) else { break };
        match file.read_at(&mut buffer[done..], at) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// The interpreter in `#! /path/to/it argument`.
fn shebang(head: &[u8]) -> Option<PathBuf> {
    let line = head.get(2..)?;
    let line = &line[..line.iter().position(|&byte| byte == b'\n').unwrap_or(line.len())];
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = line.iter().position(|byte| !blank(byte))?;
    let rest = &line[start..];
    let end = rest.iter().position(|byte| blank(byte) || *byte == 0).unwrap_or(rest.len());
    (end > 0).then(|| OsString::from_vec(rest[..end].to_vec()).into())
}

/// Where an ELF file has its program headers.
struct Layout {
    wide: bool,
    offset: u64,
    size: usize,
    count: usize,
}

fn layout(head: &[u8]) -> Option<Layout> {
    // Little-endian only: no other file is executed on a machine that this crate runs on.
    let wide = match head.get(..6)? {
        [0x7f, b'E', b'L', b'F', 1, 1] => false,
        [0x7f, b'E', b'L', b'F', 2, 1] => true,
        _ => return None,
    };
    let (offset, size, count) = if wide {
        (u64_at(head, 32)?, u16_at(head, 54)?, u16_at(head, 56)?)
    } else {
        (u64::from(u32_at(head, 28)?), u16_at(head, 42)?, u16_at(head, 44)?)
    };
    let (size, count) = (usize::from(size), usize::from(count));
    let expected = if wide { 56 } else { 32 };
    (size == expected && size * count <= MAX_HEADERS).then_some(Layout { wide, offset, size, count })
}

/// Offset and size of the loader's path.
fn interp(table: &[u8], layout: &Layout) -> Option<(u64, usize)> {
    let header = table.chunks_exact(layout.size).find(|header| u32_at(header, 0) == Some(PT_INTERP))?;
    if layout.wide {
        Some((u64_at(header, 8)?, usize::try_from(u64_at(header, 32)?).ok()?))
    } else {
        Some((u64::from(u32_at(header, 4)?), usize::try_from(u32_at(header, 16)?).ok()?))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn image(content: &[u8]) -> Image {
        let mut file = tempfile::tempfile().expect("temporary file");
        file.write_all(content).expect("write");
        read(&file).expect("read")
    }

    #[test]
    fn scripts() {
        for (text, interpreter) in [
            ("#!/bin/sh\necho", "/bin/sh"),
            ("#! /usr/bin/env python3\n", "/usr/bin/env"),
            ("#!\t/usr/bin/perl -w", "/usr/bin/perl"),
            ("#!bin/run\n", "bin/run"),
        ] {
            assert_eq!(image(text.as_bytes()), Image::Script(interpreter.into()), "{text}");
        }
        for text in ["#!", "#!   \n/bin/sh", "#!\n", "", "echo hello"] {
            assert_eq!(image(text.as_bytes()), Image::Unknown, "{text}");
        }
    }

    #[test]
    fn this_program_names_its_loader() {
        let own = File::open("/proc/self/exe").expect("own program");
        let Image::Dynamic(loader) = read(&own).expect("read") else { panic!("a dynamic program") };
        assert!(loader.is_absolute() && loader.exists(), "{loader:?}");
    }

    #[test]
    fn a_shared_library_cut_short_is_no_program() {
        let mut own = std::fs::read("/proc/self/exe").expect("own program");
        own.truncate(70);
        assert_eq!(image(&own), Image::Static);
        own.truncate(40);
        assert_eq!(image(&own), Image::Unknown);
    }

    proptest! {
        #[test]
        fn any_bytes_are_something(wide: bool, rest in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut content = vec![0x7f, b'E', b'L', b'F', 1 + u8::from(wide), 1];
            content.extend(&rest);
            image(&content);
            image(&rest);
        }
    }
}
