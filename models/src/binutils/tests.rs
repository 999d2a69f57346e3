// SPDX-License-Identifier: Apache-2.0
//! Real command lines, on an in-memory world.

use super::*;
use crate::testing::{Memory, command};
use crate::{Plan, Role};
use proptest::prelude::*;
use std::ffi::OsString;

const AR: Program = Program::Ar(Flavour::Gnu);
const RANLIB: Program = Program::Ranlib(Flavour::Gnu);
const STRIP: Program = Program::Strip(Flavour::Gnu);
const OBJCOPY: Program = Program::Objcopy(Flavour::Gnu);
const LD: Program = Program::Ld(Flavour::Gnu);
const HELP: &str = "  [D]          - use zero for timestamps and uids/gids (default)\n  -D     Use zero for symbol map timestamp (default)\n";

fn world(files: &[&str]) -> Memory {
    ["ar", "ranlib", "gcc-ar", "/usr/bin/ar", "llvm-ar"]
        .iter()
        .fold(Memory::with(files), |world, tool| world.answer(&[tool, "--help"], HELP))
        .file("/w/here", b"")
}

fn verdict(program: Program, line: &str, world: &Memory) -> (Kind, Verdict) {
    plan(program, &command(line), world).unwrap()
}

fn deferred(program: Program, line: &str, world: &Memory) -> Plan {
    match verdict(program, line, world).1 {
        Verdict::Defer(plan) => *plan,
        Verdict::Decline(reason) => panic!("{line}: {reason}"),
    }
}

fn declined(program: Program, line: &str, world: &Memory) -> String {
    match verdict(program, line, world).1 {
        Verdict::Defer(plan) => panic!("{line}: {plan:?}"),
        Verdict::Decline(reason) => reason,
    }
}

fn inputs(plan: &Plan) -> Vec<&str> {
    plan.inputs.iter().map(|p| p.to_str().unwrap()).collect()
}

fn outputs(plan: &Plan) -> Vec<(&str, bool, Role)> {
    plan.outputs.iter().map(|o| (o.path.to_str().unwrap(), o.executable, o.role)).collect()
}

fn main_output(path: &str) -> Vec<(&str, bool, Role)> {
    vec![(path, false, Role::Main)]
}

#[test]
fn archives_of_real_builds() {
    let world = world(&["/w/a.o", "/w/sub/b.o", "/w/libavutil/x.o"]).placeholder("/w/p.o", &[]);
    for line in [
        "ar rcsD lib.a a.o sub/b.o p.o",
        "ar cru lib.a a.o sub/b.o p.o",
        "ar cr lib.a a.o sub/b.o p.o",
        "/usr/bin/ar qc lib.a a.o sub/b.o p.o",
        "ar rcus lib.a a.o sub/b.o p.o",
        "gcc-ar -rcs lib.a a.o sub/b.o p.o",
        "ar -r -c -s lib.a a.o sub/b.o p.o",
    ] {
        let plan = deferred(AR, line, &world);
        assert_eq!(inputs(&plan), ["/w/a.o", "/w/p.o", "/w/sub/b.o"], "{line}");
        assert_eq!(outputs(&plan), main_output("/w/lib.a"), "{line}");
        assert_eq!(plan.probes.len(), 1);
    }
    assert_eq!(
        outputs(&deferred(AR, "ar rcs libavutil/libavutil.a", &world)),
        main_output("/w/libavutil/libavutil.a")
    );
}

#[test]
fn an_archive_that_exists_is_changed() {
    let world = world(&["/w/lib.a", "/w/a.o"]).placeholder("/w/p.a", &[]).executable("/w/p.a");
    assert_eq!(inputs(&deferred(AR, "ar r lib.a a.o", &world)), ["/w/a.o", "/w/lib.a"]);
    assert_eq!(inputs(&deferred(AR, "ar d lib.a gone.o", &world)), ["/w/lib.a"]);
    assert_eq!(inputs(&deferred(AR, "ar rb first.o lib.a a.o", &world)), ["/w/a.o", "/w/lib.a"]);
    assert_eq!(inputs(&deferred(AR, "ar s lib.a", &world)), ["/w/lib.a"]);
    assert_eq!(outputs(&deferred(AR, "ar qcs p.a a.o", &world)), [("/w/p.a", true, Role::Main)]);
    assert_eq!(inputs(&deferred(RANLIB, "ranlib -D p.a lib.a", &world)), ["/w/lib.a", "/w/p.a"]);
    assert_eq!(outputs(&deferred(RANLIB, "ranlib lib.a", &world)), main_output("/w/lib.a"));
    assert_eq!(declined(AR, "ar ru lib.a a.o", &world), "modifier u: compares the times of files");
}

#[test]
fn archives_that_are_not_deferred() {
    let damaged = format!("!<thin>\n{:<48}{:<10}`\n", "/9", 3).into_bytes();
    let world = world(&["/w/a.o", "/w/sub/a.o", "/w/lib.a"])
        .file("/w/damaged.a", &damaged)
        .placeholder("/w/p.so", &[])
        .thin("/w/p.a", &["/w/a.o"]);
    for (line, reason) in [
        ("ar t lib.a", "operation t of ar"),
        ("ar x lib.a", "operation x of ar"),
        ("ar rcT lib.a a.o", "a thin archive out of one that is not, or the other way round"),
        ("ar rc p.a a.o", "a thin archive out of one that is not, or the other way round"),
        ("ar rcT new.a damaged.a", "/w/damaged.a is a damaged archive"),
        ("ar rcv lib.a a.o", "verbose output"),
        ("ar rcv new.a a.o sub/a.o", "verbose output"),
        ("ar rcvT new.a a.o", "verbose output"),
        ("ar dv lib.a a.o", "verbose output"),
        ("ar rcU new.a a.o", "modifier U: records the times of files"),
        ("ar cr new.a gone.o", "/w/gone.o does not exist"),
        ("ar cr gone/new.a a.o", "/w/gone is not a directory"),
        ("ar cr a.o/new.a a.o", "/w/a.o is not a directory"),
        ("ar d gone.a x.o", "/w/gone.a does not exist"),
        ("ar --plugin x cr new.a a.o", "plugin x without its directory"),
        ("ar cr new.a a.o --plugin", "option --plugin without its value"),
        ("ar --plugin /w/p.so cr new.a a.o", "plugin /w/p.so is not there yet"),
        ("ar cr", "ar without an archive"),
        ("ar c new.a", "ar without an operation"),
    ] {
        assert_eq!(declined(AR, line, &world), reason, "{line}");
    }
    assert_eq!(declined(RANLIB, "ranlib -t lib.a", &world), "index with times of files");
}

/// As the build of binutils says it, since gcc's own plugin is known to its configure script.
#[test]
fn plugins_of_archivers_are_inputs() {
    let world = world(&["/w/a.o", "/w/lib.a", "/gcc/lto.so"]);
    for line in [
        "ar --plugin /gcc/lto.so rc new.a a.o",
        "ar --plugin=/gcc/lto.so -rc new.a a.o",
        "ar rc --plugin /gcc/lto.so new.a a.o",
        "ar -rc new.a a.o --plugin /gcc/lto.so",
    ] {
        let plan = deferred(AR, line, &world);
        assert_eq!(inputs(&plan), ["/gcc/lto.so", "/w/a.o"], "{line}");
        assert_eq!(outputs(&plan), main_output("/w/new.a"), "{line}");
    }
    for line in ["ranlib --plugin /gcc/lto.so lib.a", "ranlib --plugin=/gcc/lto.so -D lib.a"] {
        assert_eq!(inputs(&deferred(RANLIB, line, &world)), ["/gcc/lto.so", "/w/lib.a"], "{line}");
    }
    assert_eq!(declined(AR, "ar --plugin /gcc/lto.so rcv new.a a.o", &world), "verbose output");
    assert_eq!(declined(RANLIB, "ranlib --plugin /gcc/gone.so lib.a", &world), "/gcc/gone.so does not exist");
}

#[test]
fn what_is_told_of_a_new_archive() {
    let world = world(&["/w/a.o", "/w/sub/b.o"]);
    for (line, quiet) in [
        ("ar rv new.a a.o sub/b.o", "ar r new.a a.o sub/b.o"),
        ("ar -rv new.a a.o sub/b.o", "ar -r new.a a.o sub/b.o"),
        ("gcc-ar -v -qc new.a a.o sub/b.o", "gcc-ar -qc new.a a.o sub/b.o"),
    ] {
        let plan = deferred(AR, line, &world);
        assert_eq!(plan.prints, b"a - a.o\na - sub/b.o\n", "{line}");
        assert_eq!(plan.instead, Some(command(quiet)), "{line}");
    }
    assert_eq!(deferred(AR, "ar rc new.a a.o", &world).prints, b"");
    let response = world.file("/w/members", b"a.o");
    assert_eq!(declined(AR, "ar rv new.a @members", &response), "verbose output");
}

#[test]
fn thin_archives_come_with_what_they_refer_to() {
    let thin = format!("!<thin>\n{:<48}{:<10}`\n", "d/b.o/", 3).replace("d/b.o/", "b.o/  ").into_bytes();
    let world =
        world(&["/w/a.o", "/w/sub/b.o", "/w/lib.a"]).file("/w/sub/thin.a", &thin).thin("/w/p.a", &["/w/a.o"]);
    for line in ["ar rcT new.a a.o", "gcc-ar csrDT new.a a.o", "ar rc --thin new.a a.o"] {
        assert_eq!(inputs(&deferred(AR, line, &world)), ["/w/a.o"], "{line}");
    }
    assert_eq!(inputs(&deferred(AR, "ar rcT new.a sub/thin.a", &world)), ["/w/sub/b.o", "/w/sub/thin.a"]);
    assert_eq!(inputs(&deferred(AR, "ar rcT new.a p.a lib.a", &world)), ["/w/a.o", "/w/lib.a", "/w/p.a"]);
    assert_eq!(inputs(&deferred(AR, "ar rc new.a p.a", &world)), ["/w/p.a"]);
    assert_eq!(inputs(&deferred(AR, "ar rcT p.a sub/b.o", &world)), ["/w/a.o", "/w/p.a", "/w/sub/b.o"]);
    assert_eq!(inputs(&deferred(RANLIB, "ranlib sub/thin.a", &world)), ["/w/sub/b.o", "/w/sub/thin.a"]);
    assert_eq!(inputs(&deferred(AR, "ar s p.a", &world)), ["/w/a.o", "/w/p.a"]);
}

#[test]
fn an_ar_that_records_times_is_declined_unless_told_not_to() {
    let world = Memory::with(&["/w/a.o"])
        .answer(&["ar", "--help"], "  [U]          - use actual timestamps (default)\n");
    assert_eq!(declined(AR, "ar cr lib.a a.o", &world), "this ar records the times of files");
    assert_eq!(inputs(&deferred(AR, "ar crD lib.a a.o", &world)), ["/w/a.o"]);
}

#[test]
fn thin_archives_are_not_stripped() {
    let thin = format!("!<thin>\n{:<48}{:<10}`\n", "b.o/", 3).into_bytes();
    let world = world(&["/w/b.o"]).file("/w/thin.a", &thin).thin("/w/p.a", &["/w/b.o"]);
    for name in ["thin.a", "p.a"] {
        let reason = format!("/w/{name} is a thin archive");
        assert_eq!(declined(STRIP, &format!("strip {name}"), &world), reason);
        assert_eq!(declined(OBJCOPY, &format!("objcopy -g {name} new.a"), &world), reason);
    }
}

#[test]
fn stripping() {
    let world = Memory::with(&["/w/a.o", "/w/b.o"]).placeholder("/w/prog", &[]).executable("/w/prog");
    let plan = deferred(STRIP, "strip --strip-debug a.o b.o", &world);
    assert_eq!(inputs(&plan), ["/w/a.o", "/w/b.o"]);
    assert_eq!(outputs(&plan), [("/w/a.o", false, Role::Main), ("/w/b.o", false, Role::Main)]);
    let plan = deferred(STRIP, "strip -o out prog", &world);
    assert_eq!((inputs(&plan), outputs(&plan)), (vec!["/w/prog"], vec![("/w/out", true, Role::Main)]));
    assert_eq!(outputs(&deferred(STRIP, "strip -wN ..@* -x prog", &world)), [("/w/prog", true, Role::Main)]);
    assert_eq!(declined(STRIP, "strip -p prog", &world), "keeps the times of files");
    assert_eq!(declined(STRIP, "strip -o out a.o b.o", &world), "several files with one output");
    assert_eq!(declined(STRIP, "strip --strip-everything a.o", &world), "option --strip-everything");
    assert_eq!(declined(STRIP, "strip a.o a.o", &world), "/w/a.o is written twice");
    assert_eq!(declined(STRIP, "strip gone", &world), "/w/gone does not exist");
}

#[test]
fn copying_objects() {
    let world = Memory::with(&["/w/data.bin", "/w/prog.debug", "/w/syms", "/w/dir/x"])
        .file("/w/x.o", &sample::object())
        .placeholder("/w/prog", &[])
        .executable("/w/prog");
    let plan = deferred(OBJCOPY, "objcopy --only-keep-debug prog prog.dbg", &world);
    assert_eq!((inputs(&plan), outputs(&plan)), (vec!["/w/prog"], vec![("/w/prog.dbg", true, Role::Main)]));
    let plan = deferred(OBJCOPY, "objcopy --add-gnu-debuglink=prog.debug prog", &world);
    assert_eq!(inputs(&plan), ["/w/prog", "/w/prog.debug"]);
    assert_eq!(outputs(&plan), [("/w/prog", true, Role::Main)]);
    let plan = deferred(OBJCOPY, "objcopy -I binary -O elf64-x86-64 -B i386 data.bin data.o", &world);
    assert_eq!(outputs(&plan), main_output("/w/data.o"));
    let plan = deferred(OBJCOPY, "objcopy -O binary -R .note -R .comment -S x.o image", &world);
    assert_eq!(outputs(&plan), main_output("/w/image"));
    assert_eq!(outputs(&deferred(OBJCOPY, "objcopy -O ihex prog image", &world)), main_output("/w/image"));
    let unknown = declined(OBJCOPY, "objcopy -O binary prog image", &world);
    assert_eq!(unknown, "an image of a program that is not there yet");
    let plan = deferred(OBJCOPY, "objcopy --redefine-syms=syms --dump-section .text=text x.o y.o", &world);
    assert_eq!(inputs(&plan), ["/w/syms", "/w/x.o"]);
    assert_eq!(outputs(&plan), [("/w/y.o", false, Role::Main), ("/w/text", false, Role::Side)]);
    assert_eq!(declined(OBJCOPY, "objcopy --add-gnu-debuglink=gone prog", &world), "/w/gone does not exist");
    assert_eq!(declined(OBJCOPY, "objcopy x.o dir", &world), "output /w/dir is not a regular file");
    assert_eq!(declined(OBJCOPY, "objcopy a b c", &world), "objcopy of 3 files");
}

/// What BFD makes executable depends on the format, and of other formats than ELF little is known here.
#[test]
fn copying_to_and_from_other_formats() {
    let world = Memory::with(&["/w/data.bin"])
        .file("/w/x.o", &sample::object())
        .file("/w/lib.a", &sample::archive())
        .placeholder("/w/prog", &[])
        .executable("/w/prog");
    assert_eq!(
        outputs(&deferred(OBJCOPY, "objcopy -O pei-x86-64 x.o image", &world)),
        main_output("/w/image")
    );
    assert_eq!(outputs(&deferred(OBJCOPY, "objcopy lib.a image", &world)), main_output("/w/image"));
    for (line, reason) in [
        ("objcopy --target=efi-app-x86_64 prog image", "not there yet"),
        ("objcopy -O pei-x86-64 --set-start 8 x.o image", "starts"),
        ("objcopy -O mach-o-x86-64 x.o image", "what is executable"),
        ("objcopy -I pei-x86-64 -O binary data.bin image", "what is executable"),
        ("objcopy data.bin image", "no ELF file"),
    ] {
        let said = declined(OBJCOPY, line, &world);
        assert!(said.contains(reason), "{line}: {said}");
    }
}

#[test]
fn llvm_keeps_the_mode_of_the_input() {
    let world = Memory::with(&["/w/prog"]).executable("/w/prog");
    let plan = deferred(Program::Objcopy(Flavour::Llvm), "llvm-objcopy -O binary prog image", &world);
    assert_eq!(outputs(&plan), [("/w/image", true, Role::Main)]);
}

#[test]
fn links_of_real_builds() {
    let world = Memory::with(&["/w/a.o", "/w/b.o", "/w/data.txt"]).placeholder("/w/p.o", &[]);
    let plan = deferred(LD, "ld -m elf_x86_64 -z noexecstack -r -o built-in.o a.o b.o p.o", &world);
    assert_eq!(inputs(&plan), ["/w/a.o", "/w/b.o", "/w/p.o"]);
    assert_eq!(outputs(&plan), main_output("/w/built-in.o"));
    let plan = deferred(LD, "ld -r -b binary -o data.o data.txt", &world);
    assert_eq!((inputs(&plan), outputs(&plan)), (vec!["/w/data.txt"], main_output("/w/data.o")));
    let plan = deferred(
        LD,
        "ld --start-group a.o b.o --end-group -e start -o prog -Map=out.map --cref --dependency-file=out.d",
        &world,
    );
    assert_eq!(
        outputs(&plan),
        [
            ("/w/prog", true, Role::Main),
            ("/w/out.map", false, Role::Side),
            ("/w/out.d", false, Role::Dependencies)
        ]
    );
}

#[test]
fn links_find_libraries_and_scripts() {
    let world = Memory::with(&["/w/a.o", "/w/lib/libz.a", "/w/lib/sub.ld", "/w/map"])
        .file("/w/lib.so", b"INPUT(-lz)")
        .file("/w/layout.lds", b"INCLUDE sub.ld\nSECTIONS { .text : { *(.text) } }")
        .file("/usr/lib/libc.so", b"GROUP ( /lib/libc.so.6 AS_NEEDED ( /lib64/ld.so ) )")
        .file("/lib/libc.so.6", b"\0")
        .file("/lib64/ld.so", b"\0")
        .answer(&["/usr/bin/ld", "--verbose"], "SEARCH_DIR(\"=/usr/lib\");");
    let plan = deferred(
        LD,
        "ld -shared --version-script=map -T layout.lds -o x.so a.o -Llib -lz -lc -soname x.so.1 -rpath $ORIGIN",
        &world,
    );
    assert_eq!(
        inputs(&plan),
        [
            "/lib/libc.so.6",
            "/lib64/ld.so",
            "/usr/lib/libc.so",
            "/w/a.o",
            "/w/layout.lds",
            "/w/lib/libz.a",
            "/w/lib/sub.ld",
            "/w/map"
        ]
    );
    assert!(plan.directories.contains(Path::new("/w/lib")));
    assert_eq!(
        inputs(&deferred(LD, "ld -o x a.o lib.so -Llib", &world)),
        ["/w/a.o", "/w/lib/libz.a", "/w/lib.so"]
    );
    assert_eq!(declined(LD, "ld a.o -lgone", &world), "-lgone is not found");
    assert_eq!(declined(LD, "ld a.o -Bstatic -lc", &world), "-lc is not found");
    assert!(
        !inputs(&deferred(LD, "ld -ox -Llib --push-state -Bstatic -lz --pop-state a.o -lc", &world))
            .is_empty()
    );
}

#[test]
fn links_that_are_not_deferred() {
    let world = Memory::with(&["/w/a.o"]);
    for (line, reason) in [
        ("ld -plugin ./a.o -plugin-opt=/usr/lib/lto-wrapper a.o", "linker plugin with options"),
        ("ld -M a.o", "prints about the link"),
        ("ld -Map=- a.o", "prints about the link"),
        ("ld --cref a.o", "prints about the link"),
        ("ld a.o -secret x", "option -secret"),
        ("ld -o x", "no input files"),
        ("ld a.o", "the output is not named"),
        ("ld gone.o", "/w/gone.o does not exist"),
        ("ld -T gone.ld a.o", "/usr/bin/ld cannot be asked for its directories: entity not found"),
    ] {
        assert_eq!(declined(LD, line, &world), reason, "{line}");
    }
    assert!(declined(Program::Ld(Flavour::Llvm), "ld.lld a.o", &world).contains("neither"));
}

#[test]
fn linker_options_for_others() {
    use LdEffect as L;
    let of = |words: &[&str]| {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        classify(Linker::Gnu, &words[0], words.get(1).map(OsString::as_os_str))
    };
    let option = |effect, value: &str, words| Ok((LdItem::Option(effect, value.into()), words));
    assert_eq!(of(&["--version-script=x.map"]), option(L::Reads, "x.map", 1));
    assert_eq!(of(&["--version-script", "x.map"]), option(L::Reads, "x.map", 2));
    assert_eq!(of(&["-Map=out"]), option(L::WritesSide, "out", 1));
    assert_eq!(of(&["-soname", "x"]), option(L::Nothing, "x", 2));
    assert_eq!(of(&["-Bsymbolic", "x"]), option(L::Nothing, "", 1));
    assert_eq!(of(&["-z", "now"]), option(L::Nothing, "now", 2));
    assert_eq!(of(&["-znow"]), option(L::Nothing, "now", 1));
    assert_eq!(of(&["-lz"]), option(L::Library, "z", 1));
    assert_eq!(of(&["-O1"]), option(L::Nothing, "1", 1));
    assert_eq!(of(&["-T", "x.ld"]), option(L::Script, "x.ld", 2));
    assert_eq!(of(&["-Ttext=0"]), option(L::Nothing, "0", 1));
    assert_eq!(of(&["--omagic"]), option(L::Nothing, "", 1));
    assert_eq!(of(&["-omagic"]), option(L::Output, "magic", 1));
    assert_eq!(of(&["-("]), option(L::Nothing, "", 1));
    assert_eq!(of(&["x.o"]), Ok((LdItem::File("x.o".into()), 1)));
    assert_eq!(of(&["--secret"]), Err(Unread::Unknown));
    assert_eq!(of(&["--soname"]), Err(Unread::WithoutValue));
    let any = |word: &str| classify(Linker::Any, word.as_ref(), None);
    assert_eq!(any("--start-lib"), option(L::Nothing, "", 1));
    assert_eq!(any("--symbol-ordering-file=x"), option(L::Reads, "x", 1));
    assert_eq!(any("--threads=4"), option(L::Nothing, "4", 1));
    // Not what they look like, or not for sure.
    assert_eq!(of(&["-lto-O2"]), option(L::Library, "to-O2", 1));
    assert_eq!(of(&["-melf_x86_64"]), option(L::Emulation, "elf_x86_64", 1));
    assert_eq!(of(&["-R", "x"]), option(L::JustSymbols, "x", 2));
    for word in [
        "-Tdat",
        "-O",
        "-merge-all",
        "--start-lib",
        "-Rx",
        "-entire",
        "-flavour=x",
        "--gc-sections=x",
        "--icf",
        "--symbol-ordering-file=x",
        "-",
    ] {
        assert_eq!(of(&[word, "x"]), Err(Unread::Unknown), "{word}");
    }
}

#[test]
fn questions_are_queries() {
    let world = Memory::default();
    for (program, line) in [
        (AR, "ar --version"),
        (AR, "ar"),
        (RANLIB, "ranlib -V"),
        (LD, "ld --version"),
        (LD, "ld -v"),
        (LD, "ld a.o --help"),
        (Program::As, "as --version"),
        (STRIP, "strip --help"),
        (OBJCOPY, "objcopy --info"),
    ] {
        assert_eq!(verdict(program, line, &world).0, Kind::Query, "{line}");
    }
    assert!(plan(Program::Shell, &command("sh"), &world).is_none());
}

#[test]
fn only_what_matters_of_the_environment_is_kept() {
    let world = world(&["/w/a.o"]);
    let mut invocation = command("gcc-ar rcs lib.a a.o");
    invocation.env = [("COMPILER_PATH", "/x"), ("AWS_SECRET_ACCESS_KEY", "s")].into_iter().collect();
    let (_, Verdict::Defer(made)) = plan(Program::Ar(Flavour::GccWrapper), &invocation, &world).unwrap()
    else {
        panic!("declined")
    };
    assert!(made.environment.contains(&"COMPILER_PATH"));
    assert_eq!(made.probes[0].env, [("COMPILER_PATH".into(), "/x".into())]);
    invocation.env.push("POSIXLY_CORRECT", "1");
    assert!(matches!(plan(AR, &invocation, &world), Some((_, Verdict::Decline(_)))));
}

/// The probes are real jobs: the tools of this machine do them without a word.
#[test]
fn probes_work() {
    for (tool, program, line) in [
        ("/usr/bin/ar", AR, "ar crD new.a in.o"),
        ("/usr/bin/gcc-ar", Program::Ar(Flavour::GccWrapper), "gcc-ar crD new.a in.o"),
        ("/usr/bin/llvm-ar-14", Program::Ar(Flavour::Llvm), "llvm-ar-14 crD new.a in.o"),
        ("/usr/bin/ranlib", RANLIB, "ranlib -D in.o"),
        ("/usr/bin/strip", STRIP, "strip in.o"),
        ("/usr/bin/llvm-strip-14", Program::Strip(Flavour::Llvm), "llvm-strip-14 in.o"),
        ("/usr/bin/objcopy", OBJCOPY, "objcopy in.o out.o"),
        ("/usr/bin/ld", LD, "ld -o out in.o"),
        ("/usr/bin/ld.gold", Program::Ld(Flavour::Gold), "ld.gold -o out in.o"),
        ("/usr/bin/as", Program::As, "as in.o"),
    ] {
        if !Path::new(tool).exists() {
            continue;
        }
        let world = Memory::default().file("/w/in.o", &sample::object());
        for probe in deferred(program, line, &world).probes {
            let dir = tempfile::tempdir().unwrap();
            for (name, content) in &probe.files {
                std::fs::write(dir.path().join(name), content).unwrap();
            }
            let output = std::process::Command::new(tool)
                .args(&probe.argv[1..])
                .current_dir(dir.path())
                .output()
                .unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{probe:?}: {output:?}");
        }
    }
}

/// What the models say of a link is what the linker of this machine does.
#[test]
fn a_real_link_reads_and_writes_what_is_planned() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("probe.o"), sample::object()).unwrap();
    std::fs::write(at("map"), "{ global: probe; local: *; };").unwrap();
    let line = "ld -shared --version-script=map -o out.so probe.o --no-as-needed -lc --dependency-file=out.d";
    let mut invocation = command(line);
    invocation.cwd = dir.path().to_path_buf();
    let Some((Kind::Link, Verdict::Defer(made))) = plan(LD, &invocation, &crate::testing::Disk::default())
    else {
        panic!("declined")
    };
    let status =
        std::process::Command::new("ld").args(&invocation.argv[1..]).current_dir(dir.path()).status();
    assert!(status.unwrap().success());
    assert!(made.outputs.iter().all(|output| output.path.exists()));
    // The linker lists what it read.
    let rule = std::fs::read_to_string(at("out.d")).unwrap();
    let real = |path: &Path| std::fs::canonicalize(invocation.absolute(path)).unwrap();
    let planned: Vec<_> = made.inputs.iter().map(|path| real(path)).collect();
    let first = rule.replace("\\\n", " ");
    let first = first.lines().next().unwrap().split_once(':').unwrap().1;
    let read: Vec<&str> = first.split_whitespace().collect();
    assert!(read.len() >= 3, "{rule}");
    for path in read {
        assert!(planned.contains(&real(Path::new(path))), "{path} is not among {planned:?}");
    }
}

proptest! {
    #[test]
    fn any_command_line_is_judged(words in prop::collection::vec(
        prop::sample::select(vec![
            "-o", "a.o", "lib.a", "rcs", "-", "--", "-l", "-lc", "-T", "@rsp", "-R", ".text", "-r", "--dump-section", "x=y",
            "=", "-Map", "-plugin", "--sysroot=/", "-b", "binary", "-I", "-x", "", "-Bstatic", "--pop-state", "N", "rN",
        ]), 0..8)) {
        let world = world(&["/w/a.o", "/w/lib.a"]).file("/w/rsp", b"a.o -o 'x");
        for program in [AR, RANLIB, STRIP, OBJCOPY, LD, Program::As, Program::Ld(Flavour::Gold)] {
            let mut invocation = command("tool");
            invocation.argv.extend(words.iter().map(OsString::from));
            if let Some((_, Verdict::Defer(plan))) = plan(program, &invocation, &world) {
                prop_assert!(!plan.outputs.is_empty());
                prop_assert!(plan.inputs.iter().all(|path| world.node(path).is_some()));
            }
        }
    }
}
