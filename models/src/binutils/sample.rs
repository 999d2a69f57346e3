// SPDX-License-Identifier: Apache-2.0
//! Files for probes, made here so that a probe needs no compiler: an ELF object of this machine with one function, and
//! an archive that holds it.

use goblin::elf::header::{EM_AARCH64, EM_X86_64, ET_REL};
use goblin::elf::section_header::{SHF_ALLOC, SHF_EXECINSTR, SHT_NULL, SHT_PROGBITS, SHT_STRTAB, SHT_SYMTAB};

const HEADER: usize = 64;
const SECTION: usize = 64;
const SYMBOL: usize = 24;

/// Section names; the offsets of `.text`, `.strtab`, `.symtab`, `.shstrtab` in them are used below.
const NAMES: &[u8] = b"\0.text\0.strtab\0.symtab\0.shstrtab\0";
const SYMBOL_NAMES: &[u8] = b"\0probe\0";

struct Section {
    name: u32,
    kind: u32,
    flags: u64,
    offset: usize,
    size: usize,
    link: u32,
    info: u32,
    align: u64,
    entry: u64,
}

/// A relocatable object that defines the function `probe`.
pub(super) fn object() -> Vec<u8> {
    let (machine, code): (u16, &[u8]) = if cfg!(target_arch = "aarch64") {
        (EM_AARCH64, &[0xc0, 0x03, 0x5f, 0xd6, 0, 0, 0, 0])
    } else {
        (EM_X86_64, &[0xc3, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90])
    };
    let code_at = HEADER;
    let symbols_at = code_at + code.len();
    let strings_at = symbols_at + 2 * SYMBOL;
    let names_at = strings_at + SYMBOL_NAMES.len();
    let sections_at = (names_at + NAMES.len()).next_multiple_of(8);

    let mut elf = Vec::new();
    elf.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    elf.extend(ET_REL.to_le_bytes());
    elf.extend(machine.to_le_bytes());
    elf.extend(1u32.to_le_bytes());
    elf.extend([0; 16]); // entry, program headers
    elf.extend((sections_at as u64).to_le_bytes());
    elf.extend(0u32.to_le_bytes());
    for half in [HEADER as u16, 0, 0, SECTION as u16, 5, 4] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(code);
    elf.extend([0; SYMBOL]);
    elf.extend(1u32.to_le_bytes()); // name
    elf.extend([0x12, 0]); // global function, default visibility
    elf.extend(1u16.to_le_bytes()); // in section 1
    elf.extend(0u64.to_le_bytes());
    elf.extend((code.len() as u64).to_le_bytes());
    elf.extend(SYMBOL_NAMES);
    elf.extend(NAMES);
    elf.resize(sections_at, 0);
    let none = Section {
        name: 0,
        kind: SHT_NULL,
        flags: 0,
        offset: 0,
        size: 0,
        link: 0,
        info: 0,
        align: 0,
        entry: 0,
    };
    let sections = [
        Section { ..none },
        Section {
            name: 1,
            kind: SHT_PROGBITS,
            flags: u64::from(SHF_ALLOC | SHF_EXECINSTR),
            offset: code_at,
            size: code.len(),
            align: 4,
            ..none
        },
        Section {
            name: 15,
            kind: SHT_SYMTAB,
            offset: symbols_at,
            size: 2 * SYMBOL,
            link: 3,
            info: 1,
            align: 8,
            entry: SYMBOL as u64,
            ..none
        },
        Section { name: 7, kind: SHT_STRTAB, offset: strings_at, size: SYMBOL_NAMES.len(), align: 1, ..none },
        Section { name: 23, kind: SHT_STRTAB, offset: names_at, size: NAMES.len(), align: 1, ..none },
    ];
    for section in sections {
        elf.extend(section.name.to_le_bytes());
        elf.extend(section.kind.to_le_bytes());
        elf.extend(section.flags.to_le_bytes());
        elf.extend(0u64.to_le_bytes());
        elf.extend((section.offset as u64).to_le_bytes());
        elf.extend((section.size as u64).to_le_bytes());
        elf.extend(section.link.to_le_bytes());
        elf.extend(section.info.to_le_bytes());
        elf.extend(section.align.to_le_bytes());
        elf.extend(section.entry.to_le_bytes());
    }
    elf
}

/// An archive, without index, of [`object`].
pub(super) fn archive() -> Vec<u8> {
    let object = object();
    let header = format!("{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", "probe.o/", 0, 0, 0, 644, object.len());
    [b"!<arch>\n", header.as_bytes(), &object].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn binutils_take_the_samples() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("probe.o"), object()).unwrap();
        std::fs::write(dir.path().join("probe.a"), archive()).unwrap();
        let run = |line: &str| {
            let mut words = line.split(' ');
            let output =
                Command::new(words.next().unwrap()).args(words).current_dir(dir.path()).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && text.is_empty(), "{line}: {text}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(run("readelf -a probe.o").contains("probe"));
        run("ld -shared -o probe.so probe.o");
        run("ld -r -o probe2.o probe.o");
        run("ranlib probe.a");
        assert!(run("nm -s probe.a").contains("probe in probe.o"));
        run("strip -o stripped.o probe.o");
        run("objcopy probe.o copy.o");
    }
}
