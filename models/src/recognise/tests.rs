// SPDX-License-Identifier: Apache-2.0
//! Tests on the real programs of this machine, most of them under another name as well. A tool that is not installed
//! is passed over; the ones of a C tool chain are.

use super::*;
use proptest::prelude::*;
use std::fs;

/// What `path` is, as it stands, and as a copy named `copy` elsewhere.
fn both(path: &str, copy: &str) -> Option<(Program, Program)> {
    let real = fs::canonicalize(path).ok()?;
    let called = Path::new(path).file_name()?;
    let content = Arc::new(fs::read(&real).ok()?);
    let as_it_is = recognise(called, &real, &|| Ok(content.clone())).ok()?;
    let dir = tempfile::tempdir().ok()?;
    let moved = dir.path().join(copy);
    fs::copy(&real, &moved).ok()?;
    let copied = recognise(moved.as_os_str(), &moved, &|| fs::read(&moved).map(Arc::new)).ok()?;
    Some((as_it_is, copied))
}

fn assert_is(path: &str, copy: &str, expected: Program) {
    if let Some(found) = both(path, copy) {
        assert_eq!(found, (expected, expected), "{path} as {copy}");
    }
}

#[test]
fn compilers_under_any_name() {
    assert!(both("/usr/bin/gcc", "mycc").is_some(), "these tests need a gcc");
    for path in ["/usr/bin/gcc", "/usr/bin/cc", "/usr/bin/x86_64-linux-gnu-gcc-12"] {
        assert_is(path, "mycc", Program::Compiler(Driver::Gcc));
    }
    for path in ["/usr/bin/g++", "/usr/bin/c++"] {
        assert_is(path, "compile", Program::Compiler(Driver::Gxx));
    }
    assert_is("/usr/bin/cpp", "prep", Program::Compiler(Driver::Gcpp));
    assert_is("/usr/bin/gfortran", "f", Program::Compiler(Driver::GccOther));
    for path in ["/usr/bin/clang", "/usr/bin/clang++"] {
        assert_is(path, "mycc", Program::Compiler(Driver::Clang));
    }
}

#[test]
fn what_a_compiler_runs_is_no_compiler() {
    let mut seen = 0;
    for tool in ["collect2", "lto-wrapper", "cc1"] {
        for version in ["12", "13", "14", "15"] {
            let path = format!("/usr/lib/gcc/x86_64-linux-gnu/{version}/{tool}");
            if let Some(found) = both(&path, "gcc") {
                assert_eq!(found, (Program::Other, Program::Other), "{path}");
                seen += 1;
            }
        }
    }
    assert!(seen > 0 || cfg!(not(target_arch = "x86_64")));
    for path in
        ["/usr/bin/gdb", "/usr/bin/gcov", "/usr/bin/nm", "/usr/bin/size", "/usr/bin/objdump", "/usr/bin/dwp"]
    {
        assert_is(path, "gcc", Program::Other);
    }
}

#[test]
fn binutils() {
    use Flavour::{GccWrapper, Gnu, Gold, Llvm};
    assert_is("/usr/bin/ar", "arm-none-eabi-ar", Program::Ar(Gnu));
    assert_is("/usr/bin/ranlib", "x-ranlib", Program::Ranlib(Gnu));
    assert_is("/usr/bin/ld", "link", Program::Ld(Gnu));
    assert_is("/usr/bin/ld.bfd", "link", Program::Ld(Gnu));
    assert_is("/usr/bin/ld.gold", "link", Program::Ld(Gold));
    assert_is("/usr/bin/as", "assemble", Program::As);
    assert_is("/usr/bin/strip", "x-strip", Program::Strip(Gnu));
    assert_is("/usr/bin/objcopy", "x-objcopy", Program::Objcopy(Gnu));
    assert_is("/usr/bin/gcc-ar", "x-gcc-ar-12", Program::Ar(GccWrapper));
    assert_is("/usr/bin/gcc-ranlib", "x-gcc-ranlib-12", Program::Ranlib(GccWrapper));
    assert_is("/usr/bin/gcc-nm", "x-gcc-nm", Program::Other);
    assert_is("/usr/bin/llvm-ar-14", "llvm-ar", Program::Ar(Llvm));
    assert_is("/usr/bin/llvm-ranlib-14", "llvm-ranlib", Program::Ranlib(Llvm));
    assert_is("/usr/bin/llvm-strip-14", "llvm-strip", Program::Strip(Llvm));
    assert_is("/usr/bin/llvm-objcopy-14", "llvm-objcopy", Program::Objcopy(Llvm));
    assert_is("/usr/bin/llvm-dlltool-14", "llvm-dlltool", Program::Other);
    assert_is("/usr/bin/ld.lld-14", "lld", Program::Ld(Llvm));
}

#[test]
fn ranlib_without_the_half_that_is_of_ar() {
    // As binutils 2.47 has it: what it says to `--help` and of `-t`, and nothing of what only ar says.
    let content = |texts: &[&str]| {
        let mut content = fs::read("/bin/true").unwrap();
        content.extend(texts.concat().bytes());
        Arc::new(content)
    };
    let of =
        |content: Arc<Vec<u8>>| {
            recognise(OsStr::new("ranlib"), Path::new("/usr/bin/x86_64-linux-gnu-ranlib"), &|| {
                Ok(content.clone())
            })
            .unwrap()
        };
    let own = [
        "%s: no archive map to update\0Usage: %s [options] archive\n\0",
        " Generate an index to speed access to archives\n\0",
    ];
    assert_eq!(of(content(&own)), Program::Ranlib(Flavour::Gnu));
    assert_eq!(of(content(&own[..1])), Program::Other);
}

#[test]
fn builders_launchers_carriers_and_shells() {
    assert_is("/usr/bin/make", "gmake", Program::Builder(Builder::Make));
    assert_is("/usr/bin/ninja", "n", Program::Builder(Builder::Ninja));
    assert_is("/usr/bin/bmake", "m", Program::Builder(Builder::Bmake));
    assert_is("/usr/bin/ccache", "ccache", Program::Launcher);
    assert_is("/usr/bin/cmake", "cmake", Program::CMake);
    assert_is("/bin/sh", "sh", Program::Shell);
    assert_is("/bin/bash", "bash", Program::Shell);
    for carrier in ["cp", "ln", "install", "touch", "chmod", "mkdir", "test", "[", "true", "echo"] {
        assert_is(&format!("/usr/bin/{carrier}"), carrier, Program::Carrier);
    }
    assert_is("/usr/bin/mv", "mv", Program::Mover);
    assert_is("/usr/bin/rm", "rm", Program::Remover);
    // Who makes a copy of it under that name does not want to remove anything.
    assert_is("/usr/bin/true", "rm", Program::Carrier);
    assert_eq!(both("/usr/bin/mv", "rm").unwrap().1, Program::Carrier);
    for reader in [
        "cat", "cmp", "ls", "stat", "grep", "sed", "sort", "head", "tee", "dd", "md5sum", "git", "python3",
        "perl",
    ] {
        assert_is(&format!("/usr/bin/{reader}"), reader, Program::Other);
    }
}

#[test]
fn masquerades_are_launchers_whatever_they_are_called() {
    let Ok(content) = fs::read("/usr/bin/ccache").map(Arc::new) else { return };
    let found = recognise(OsStr::new("gcc"), Path::new("/usr/bin/ccache"), &|| Ok(content.clone()));
    assert_eq!(found.unwrap(), Program::Launcher);
}

#[test]
fn applets_go_by_the_name_they_are_called_by() {
    let Ok(content) = fs::read("/usr/bin/busybox").map(Arc::new) else { return };
    let called = |name: &str| {
        recognise(OsStr::new(name), Path::new("/usr/bin/busybox"), &|| Ok(content.clone())).unwrap()
    };
    assert_eq!(called("cp"), Program::Carrier);
    assert_eq!(called("/bin/sh"), Program::Shell);
    assert_eq!(called("cat"), Program::Other);
    assert_eq!(called("ar"), Program::Other);
    assert_eq!(called("busybox"), Program::Busybox);
}

#[test]
fn coreutils_in_one_program() {
    let called = |name: &str, path: &str, text: &str| {
        let content = Arc::new([&fs::read("/bin/sh").unwrap()[..], text.as_bytes()].concat());
        recognise(OsStr::new(name), Path::new(path), &|| Ok(content.clone())).unwrap()
    };
    for text in ["GNU coreutils\0", "cp (uutils coreutils) 0.12.0\0"] {
        assert_eq!(called("/bin/cp", "/usr/bin/coreutils", text), Program::Carrier);
        assert_eq!(called("cat", "/usr/bin/coreutils", text), Program::Other);
        assert_eq!(called("coreutils", "/usr/bin/coreutils", text), Program::Other);
        assert_eq!(called("cp", "/usr/bin/tools", text), Program::Other);
    }
    assert_eq!(called("cp", "/usr/bin/coreutils", "no such thing"), Program::Other);
}

#[test]
fn scripts() {
    let of = |text: &str| {
        recognise(OsStr::new("gcc"), Path::new("/x/gcc"), &|| Ok(Arc::new(text.into()))).unwrap()
    };
    assert_eq!(of("#!/bin/sh\nexec gcc-12 \"$@\"\n"), Program::Other);
    assert_eq!(
        of(
            "#! /bin/bash\n# Generated automatically by config.status (x) 1\n# libtool - Provide generalized library-building support services.\n"
        ),
        Program::Libtool
    );
    assert_eq!(
        of(
            "#! /bin/bash\n# Generated automatically by config.status (x) 5.4.1\n# NOTE: Changes made to this file will be lost: look at ltmain.sh.\n\n# Provide generalized library-building support services.\n"
        ),
        Program::Libtool
    );
    assert_eq!(of("#! /usr/bin/env sh\n## DO NOT EDIT\n# libtool (GNU libtool) 2.4.7\n"), Program::Libtool);
    assert_eq!(
        of(
            "#! /bin/bash\n\n# prog - temporary wrapper script for .libs/prog\n# Generated by libtool (GNU libtool) 2.4.7\n"
        ),
        Program::Other
    );
    assert_eq!(of("no program at all: COLLECT_GCC_OPTIONS %(invoke_as) collect2"), Program::Other);
}

#[test]
fn how_the_kernel_executes() {
    let own = executable(&fs::read(std::env::current_exe().unwrap()).unwrap());
    assert!(matches!(own, Executable::Dynamic { interpreter } if interpreter.is_absolute()));
    let script = |interpreter: &str, argument: Option<&str>| Executable::Script {
        interpreter: interpreter.into(),
        argument: argument.map(OsString::from),
    };
    assert_eq!(executable(b"#!/bin/sh\n"), script("/bin/sh", None));
    assert_eq!(executable(b"#! \t/usr/bin/env  perl -w \nrest"), script("/usr/bin/env", Some("perl -w")));
    assert_eq!(executable(b"#!/bin/sh"), script("/bin/sh", None));
    assert_eq!(executable(b"#!\n"), Executable::NotExecutable);
    assert_eq!(executable(b"#! \t "), Executable::NotExecutable);
    assert_eq!(executable(b""), Executable::NotExecutable);
    assert_eq!(executable(b"plain text"), Executable::NotExecutable);
    let mut other = fs::read(std::env::current_exe().unwrap()).unwrap();
    other[4] = 1;
    assert!(!matches!(executable(&other), Executable::Dynamic { .. } | Executable::Static));
    if let Ok(busybox) = fs::read("/usr/bin/busybox")
        && ElfFacts::read(&busybox).unwrap().interpreter.is_none()
    {
        assert_eq!(executable(&busybox), Executable::Static);
    }
}

#[test]
fn names_lose_their_version() {
    assert_eq!(stem(b"gcc-12"), b"gcc");
    assert_eq!(stem(b"llvm-ar-14.0.6"), b"llvm-ar");
    assert_eq!(stem(b"ld.bfd"), b"ld.bfd");
    assert_eq!(stem(b"-12"), b"-12");
    assert_eq!(stem(b""), b"");
    assert!(is_named(b"x86_64-linux-gnu-ar", b"ar") && is_named(b"ar", b"ar") && !is_named(b"tar", b"ar"));
}

proptest! {
    #[test]
    fn any_head_is_taken_apart(bytes in prop::collection::vec(any::<u8>(), 0..300), script in any::<bool>()) {
        let mut content = if script { b"#!".to_vec() } else { Vec::new() };
        content.extend(&bytes);
        let _ = executable(&content);
    }

    #[test]
    fn any_head_line_gives_back_its_parts(name in "/[a-z/]{1,20}", argument in "[a-z-]{1,10}( [a-z]{1,5})?") {
        let expected = Executable::Script { interpreter: (&name).into(), argument: Some((&argument).into()) };
        let line = format!("#! {name}  {argument}\t\nmore");
        prop_assert_eq!(executable(line.as_bytes()), expected);
    }
}

#[test]
fn every_program_has_a_number_of_its_own() {
    for number in 0.. {
        let Some(program) = Program::numbered(number) else {
            assert_eq!(number, 32);
            break;
        };
        assert_eq!(program.number(), Some(number));
    }
}

#[test]
fn what_is_remembered_is_forgotten_with_the_rules_of_either_file() {
    let of = |bytes| fnv(0xcbf2_9ce4_8422_2325, bytes);
    assert_ne!(RULES, of(include_bytes!("../recognise.rs")));
    assert_ne!(RULES, of(include_bytes!("../elf.rs")));
    // draft-eastlake-fnv, appendix C.
    assert_eq!((of(b""), of(b"a")), (0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c));
}
