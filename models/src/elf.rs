// SPDX-License-Identifier: Apache-2.0
//! The few facts about an ELF file that the models need: what it is for, whom it needs, where it looks.
//!
//! Reads the header, the program headers and the dynamic section through goblin, and nothing else: no section, no
//! symbol, so that a library of 100 MB costs a few pages. Sections do not count for ld.so, and a stripped file need not
//! have any. A damaged file gives fewer facts, never a panic.

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::dynamic::{
    DT_FLAGS_1, DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB, Dynamic,
};
use goblin::elf::header::{ELFCLASS64, ELFDATA2MSB, ET_DYN, ET_EXEC, ET_REL, Header};
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP, PT_LOAD};
use goblin::elf::{Elf, ProgramHeader};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;

/// `DF_1_PIE`: a position-independent program, told from a shared library.
const DF_1_PIE: u64 = 0x0800_0000;

/// What an ELF file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElfKind {
    /// A relocatable object.
    Object,
    /// A program, at a fixed address or position-independent.
    Program,
    /// A shared library.
    Shared,
    /// A core file, or something that this does not know.
    Other,
}

/// The machine that an ELF file is for: libraries of another one are passed over by the linker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// 64-bit class.
    pub is_64: bool,
    /// `e_machine`.
    pub machine: u16,
}

/// The facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElfFacts {
    /// Class and machine.
    pub target: Target,
    /// What it is for.
    pub kind: ElfKind,
    /// Is it a program that runs at the addresses it was linked for, and no others (`ET_EXEC`)?
    pub is_fixed: bool,
    /// Does it say where it starts?
    pub starts: bool,
    /// The program interpreter, as written.
    pub interpreter: Option<OsString>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<OsString>,
    /// `DT_SONAME`.
    pub soname: Option<OsString>,
    /// `DT_RPATH`, split at colons, as written. Does not count where there is a `DT_RUNPATH`.
    pub rpath: Vec<OsString>,
    /// `DT_RUNPATH`, split at colons, as written.
    pub runpath: Vec<OsString>,
}

impl ElfFacts {
    /// Reads them; `None` where `bytes` are no ELF file.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<ElfFacts> {
        let header = Elf::parse_header(bytes).ok()?;
        let (is_64, ctx) = layout(&header);
        let mut facts = ElfFacts {
            target: Target { is_64, machine: header.e_machine },
            kind: match header.e_type {
                ET_REL => ElfKind::Object,
                ET_EXEC => ElfKind::Program,
                ET_DYN => ElfKind::Shared,
                _ => ElfKind::Other,
            },
            is_fixed: header.e_type == ET_EXEC,
            starts: header.e_entry != 0,
            interpreter: None,
            needed: Vec::new(),
            soname: None,
            rpath: Vec::new(),
            runpath: Vec::new(),
        };
        let Ok(segments) =
            ProgramHeader::parse(bytes, header.e_phoff as usize, usize::from(header.e_phnum), ctx)
        else {
            return Some(facts);
        };
        if let Some(interp) = segments.iter().find(|s| s.p_type == PT_INTERP) {
            facts.interpreter = string_at(bytes, interp.p_offset);
        }
        if let Ok(Some(dynamic)) = Dynamic::parse(bytes, &segments, ctx) {
            facts.read_dynamic(bytes, &segments, &dynamic);
        }
        let has_dynamic = segments.iter().any(|s| s.p_type == PT_DYNAMIC);
        if facts.kind == ElfKind::Shared
            && (facts.interpreter.is_some() && facts.soname.is_none() || !has_dynamic)
        {
            facts.kind = ElfKind::Program;
        }
        Some(facts)
    }

    /// The same of a file, of which only what tells is read: a compiler's library may have hundreds of megabytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_file(file: &File) -> io::Result<Option<ElfFacts>> {
        let mut parts = Parts::of(file)?;
        parts.read(0, HEAD)?;
        let Ok(header) = Elf::parse_header(&parts.bytes) else { return Ok(None) };
        let (_, ctx) = layout(&header);
        let table = u64::from(header.e_phnum) * u64::from(header.e_phentsize);
        parts.read(header.e_phoff, table)?;
        let segments =
            ProgramHeader::parse(&parts.bytes, header.e_phoff as usize, usize::from(header.e_phnum), ctx);
        let segments = segments.unwrap_or_default();
        for segment in segments.iter().filter(|s| matches!(s.p_type, PT_INTERP | PT_DYNAMIC)) {
            parts.read(segment.p_offset, segment.p_filesz)?;
        }
        if let Ok(Some(dynamic)) = Dynamic::parse(&parts.bytes, &segments, ctx) {
            let value = |tag| dynamic.dyns.iter().find(|d| d.d_tag == tag).map(|d| d.d_val);
            let strings = value(DT_STRTAB).and_then(|address| file_offset(&segments, address));
            if let (Some(offset), Some(length)) = (strings, value(DT_STRSZ)) {
                parts.read(offset, length)?;
            }
        }
        Ok(ElfFacts::read(&parts.bytes))
    }

    fn read_dynamic(&mut self, bytes: &[u8], segments: &[ProgramHeader], dynamic: &Dynamic) {
        let value = |tag| dynamic.dyns.iter().find(|d| d.d_tag == tag).map(|d| d.d_val);
        if value(DT_FLAGS_1).is_some_and(|flags| flags & DF_1_PIE != 0) {
            self.kind = ElfKind::Program;
        }
        let Some(strings) = value(DT_STRTAB).and_then(|address| file_offset(segments, address)) else {
            return;
        };
        let string = |offset: u64| string_at(bytes, strings.checked_add(offset)?);
        let list = |tag| value(tag).and_then(string).map(|s| split_colons(&s)).unwrap_or_default();
        self.needed =
            dynamic.dyns.iter().filter(|d| d.d_tag == DT_NEEDED).filter_map(|d| string(d.d_val)).collect();
        self.soname = value(DT_SONAME).and_then(string);
        self.rpath = list(DT_RPATH);
        self.runpath = list(DT_RUNPATH);
    }

    /// Where this file looks for its `DT_NEEDED` libraries, as written.
    #[must_use]
    pub fn own_search_path(&self) -> &[OsString] {
        if self.runpath.is_empty() { &self.rpath } else { &self.runpath }
    }
}

/// Is it one of 64 bits, and how are its numbers written?
fn layout(header: &Header) -> (bool, Ctx) {
    let is_64 = header.e_ident[4] == ELFCLASS64;
    let endian = if header.e_ident[5] == ELFDATA2MSB { Endian::Big } else { Endian::Little };
    (is_64, Ctx::new(if is_64 { Container::Big } else { Container::Little }, endian))
}

/// An ELF file's header is within that.
const HEAD: u64 = 64;

/// Parts of a file at their places, and zeros between them: pages in which there is nothing else cost nothing.
struct Parts<'a> {
    file: &'a File,
    bytes: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn of(file: &'a File) -> io::Result<Self> {
        let size = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        Ok(Self { file, bytes: vec![0; size] })
    }

    /// Reads a part, as far as the file goes.
    fn read(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(self.bytes.len());
        let (start, end) = (within(offset), within(offset.saturating_add(length)));
        self.file.read_exact_at(&mut self.bytes[start..end], start as u64)
    }
}

/// Where in the file the byte lies that is loaded to `address`.
fn file_offset(segments: &[ProgramHeader], address: u64) -> Option<u64> {
    let holds =
        |s: &&ProgramHeader| s.p_type == PT_LOAD && address >= s.p_vaddr && address - s.p_vaddr < s.p_filesz;
    let segment = segments.iter().find(holds)?;
    segment.p_offset.checked_add(address - segment.p_vaddr)
}

/// The NUL-terminated string at `offset`; `None` where it is empty or not all there.
fn string_at(bytes: &[u8], offset: u64) -> Option<OsString> {
    let rest = bytes.get(usize::try_from(offset).ok()?..)?;
    let end = memchr::memchr(0, rest)?;
    (end > 0).then(|| OsString::from_vec(rest[..end].to_vec()))
}

/// The parts of a search path. Empty parts are left out: ld.so takes them for the working directory of the
/// program, which no model can know.
pub(crate) fn split_colons(list: &std::ffi::OsStr) -> Vec<OsString> {
    use std::os::unix::ffi::OsStrExt;
    list.as_bytes()
        .split(|&b| b == b':')
        .filter(|part| !part.is_empty())
        .map(|part| OsString::from_vec(part.to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_program_of_this_machine_is_read() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let facts = ElfFacts::read(&own).unwrap();
        assert_eq!(facts.kind, ElfKind::Program);
        assert!(facts.interpreter.is_some());
        assert!(facts.needed.iter().any(|n| n.to_string_lossy().starts_with("libc.so")), "{facts:?}");
    }

    #[test]
    fn of_a_file_the_parts_tell_what_all_of_it_tells() {
        let own = std::env::current_exe().unwrap();
        let paths =
            ["/bin/sh", "/usr/bin/ld", "/usr/bin/python3", "/lib/x86_64-linux-gnu/libc.so.6", "/etc/passwd"];
        let mut seen = 0;
        for path in paths.iter().map(std::path::Path::new).chain([own.as_path()]) {
            let Ok(content) = std::fs::read(path) else { continue };
            let facts = ElfFacts::of_file(&File::open(path).unwrap()).unwrap();
            assert_eq!(format!("{facts:?}"), format!("{:?}", ElfFacts::read(&content)), "{}", path.display());
            seen += usize::from(facts.is_some());
        }
        assert!(seen >= 2);
    }

    #[test]
    fn of_a_large_file_little_is_read() {
        let content = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        // Four gigabytes, of which nothing is there.
        file.set_len(1 << 32).unwrap();
        let facts = ElfFacts::of_file(&file).unwrap();
        assert_eq!(format!("{facts:?}"), format!("{:?}", ElfFacts::read(&content)));
    }

    #[test]
    fn a_library_with_an_interpreter_is_still_a_library() {
        // glibc's libc.so.6 may be executed, so it has PT_INTERP and DT_SONAME.
        for path in
            ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6"]
        {
            if let Ok(bytes) = std::fs::read(path) {
                let facts = ElfFacts::read(&bytes).unwrap();
                assert_eq!(facts.kind, ElfKind::Shared);
                assert_eq!(facts.soname.unwrap(), "libc.so.6");
            }
        }
    }

    #[test]
    fn no_elf_is_none() {
        assert_eq!(ElfFacts::read(b""), None);
        assert_eq!(ElfFacts::read(b"\x7fELF"), None);
        assert_eq!(ElfFacts::read(b"#!/bin/sh\n"), None);
    }

    proptest! {
        #[test]
        fn damage_never_panics(cut in 0usize..4096, flips in prop::collection::vec((0usize..4096, any::<u8>()), 0..40)) {
            use std::sync::LazyLock;
            static OWN: LazyLock<Vec<u8>> = LazyLock::new(|| {
                let mut own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
                own.truncate(64 * 1024);
                own
            });
            let mut bytes = OWN.clone();
            for (at, value) in flips {
                bytes[at] = value;
            }
            let _ = ElfFacts::read(&bytes);
            bytes.truncate(cut);
            let _ = ElfFacts::read(&bytes);
        }
    }
}
