// SPDX-License-Identifier: Apache-2.0
//! Command lines as real builds give them, taken apart.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::super::{CommandLine, Language, LinkItem, Mode, Vendor};
use super::parse;
use crate::Decline;

/// Splits at blanks; good enough for the lines below.
fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn no_files(_: &Path) -> io::Result<Vec<u8>> {
    Err(io::ErrorKind::NotFound.into())
}

fn gnu(line: &str) -> CommandLine {
    parse(Vendor::Gnu, &words(line), &mut no_files).unwrap_or_else(|e| panic!("{line}: {e}"))
}

fn clang(line: &str) -> CommandLine {
    parse(Vendor::Clang, &words(line), &mut no_files).unwrap_or_else(|e| panic!("{line}: {e}"))
}

fn refused(vendor: Vendor, line: &str) -> String {
    let Err(Decline(reason)) = parse(vendor, &words(line), &mut no_files) else { panic!("{line} is taken") };
    reason
}

fn paths<const N: usize>(names: [&str; N]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

fn one_source(line: &CommandLine, path: &str, language: Language) {
    assert_eq!(line.sources.len(), 1);
    assert_eq!((line.sources[0].path.as_path(), line.sources[0].language), (Path::new(path), language));
}

#[test]
fn ffmpeg_compiles() {
    let line = gnu(
        "gcc -I. -I./ -D_ISOC99_SOURCE -D_FILE_OFFSET_BITS=64 -D_LARGEFILE_SOURCE -D_POSIX_C_SOURCE=200112 \
         -D_XOPEN_SOURCE=600 -DPIC -DZLIB_CONST -DHAVE_AV_CONFIG_H -DBUILDING_avcodec -std=c11 -fomit-frame-pointer \
         -fPIC -pthread -g -Wdeclaration-after-statement -Wall -Wdisabled-optimization -Wpointer-arith \
         -Wredundant-decls -Wwrite-strings -Wtype-limits -Wundef -Wmissing-prototypes -Wstrict-prototypes \
         -Wempty-body -Wno-parentheses -Wno-switch -Wno-format-zero-length -Wno-pointer-sign \
         -Wno-unused-const-variable -Wno-bool-operation -Wno-char-subscripts -O3 -fno-math-errno \
         -fno-signed-zeros -fno-tree-vectorize -Werror=format-security -Werror=implicit-function-declaration \
         -Werror=missing-prototypes -Werror=return-type -Werror=vla -Wformat -fdiagnostics-color=auto \
         -Wno-maybe-uninitialized -MMD -MF libavcodec/h264dec.d -MT libavcodec/h264dec.o -c \
         -o libavcodec/h264dec.o libavcodec/h264dec.c",
    );
    assert_eq!(line.mode, Mode::Object);
    one_source(&line, "libavcodec/h264dec.c", Language::C);
    assert_eq!(line.output, Some("libavcodec/h264dec.o".into()));
    assert_eq!(line.include, paths([".", "./"]));
    let rule = line.dependencies.unwrap();
    assert_eq!(rule.file, Some("libavcodec/h264dec.d".into()));
    assert_eq!(rule.targets, ["-MT", "libavcodec/h264dec.o"]);
    assert!(!rule.system_headers && !rule.phony);
}

#[test]
fn ffmpeg_links() {
    let line = gnu("gcc -Llibavcodec -Llibavutil -Wl,--as-needed -Wl,-z,noexecstack -Wl,--warn-common \
         -Wl,-rpath-link=:libavcodec:libavutil -o ffmpeg_g fftools/ffmpeg.o fftools/cmdutils.o -lavcodec -lavutil \
         -pthread -lm -latomic");
    assert_eq!(line.mode, Mode::Link);
    assert_eq!(line.linker.dirs, paths(["libavcodec", "libavutil"]));
    assert_eq!(line.linker.rpath_link, paths(["libavcodec", "libavutil"]));
    let items = [
        LinkItem::File("fftools/ffmpeg.o".into()),
        LinkItem::File("fftools/cmdutils.o".into()),
        LinkItem::Library("avcodec".into()),
        LinkItem::Library("avutil".into()),
        LinkItem::Library("m".into()),
        LinkItem::Library("atomic".into()),
    ];
    assert_eq!(line.linker.items, items);
}

#[test]
fn lua_and_luajit() {
    let line = gnu("gcc -std=gnu99 -O2 -Wall -Wextra -DLUA_COMPAT_5_3 -c -o lapi.o lapi.c");
    one_source(&line, "lapi.c", Language::C);
    let line = gnu("gcc -std=gnu99 -o lua lua.o liblua.a -lm -Wl,-E -ldl");
    assert_eq!(line.linker.items.len(), 4);
    let line = gnu("gcc -c -o lj_vm.o lj_vm.S");
    one_source(&line, "lj_vm.S", Language::AssemblerWithCpp);
    let line = gnu(
        "gcc -O2 -fomit-frame-pointer -Wall -I. -DLUAJIT_ENABLE_GC64 -U_FORTIFY_SOURCE -fno-stack-protector \
         -D_FILE_OFFSET_BITS=64 -D_LARGEFILE_SOURCE -fPIC -c -o lj_gc_dyn.o lj_gc.c",
    );
    assert_eq!(line.defines, ["LUAJIT_ENABLE_GC64", "_FILE_OFFSET_BITS=64", "_LARGEFILE_SOURCE"]);
    let line =
        gnu("gcc -shared -fPIC -Wl,-soname,libluajit-5.1.so.2 -o libluajit.so lj_assert_dyn.o -lm -ldl");
    assert_eq!(line.linker.items.len(), 3);
}

#[test]
fn autotools_and_libtool() {
    let line = gnu(
        r#"g++ -DHAVE_CONFIG_H -I. -I../.. -I./../util -Wdate-time -D_FORTIFY_SOURCE=2 -std=gnu++17 -pedantic
           -Wno-long-long -g -O2 -MT terminal.o -MD -MP -MF .deps/terminal.Tpo -c -o terminal.o terminal.cc"#,
    );
    one_source(&line, "terminal.cc", Language::Cxx);
    let rule = line.dependencies.unwrap();
    assert!(rule.phony && rule.system_headers);
    let line = gnu(
        "gcc -shared -fPIC -DPIC .libs/a.o .libs/b.o -Wl,--whole-archive ./.libs/libsub.a -Wl,--no-whole-archive \
         -Wl,-rpath -Wl,/work/x/.libs -L/usr/lib ./.libs/libdep.so -lz -g -O2 -pthread -Wl,-soname \
         -Wl,libx.so.1 -Wl,-version-script -Wl,.libs/libx.ver -Wl,-retain-symbols-file -Wl,.libs/x.exp \
         -o .libs/libx.so.1.0.0",
    );
    assert_eq!(line.linker.reads, paths([".libs/libx.ver", ".libs/x.exp"]));
    assert_eq!(line.linker.rpath_link, paths(["/work/x/.libs"]));
}

#[test]
fn cmake_and_ninja() {
    let line = gnu(
        "/usr/bin/c++ -Dfoo_EXPORTS -I/s/src -isystem /s/third -O3 -DNDEBUG -std=gnu++20 -fPIC -fvisibility=hidden \
         -fvisibility-inlines-hidden -MD -MT src/CMakeFiles/foo.dir/a.cpp.o -MF src/CMakeFiles/foo.dir/a.cpp.o.d \
         -o src/CMakeFiles/foo.dir/a.cpp.o -c /s/src/a.cpp",
    );
    assert_eq!(line.system, paths(["/s/third"]));
    let line = gnu(
        "/usr/bin/c++ -fPIC -O3 -DNDEBUG -flto=auto -fno-fat-lto-objects -Wl,--dependency-file=link.d -shared \
         -Wl,-soname,libfoo.so.1 -o libfoo.so.1.2 a.cpp.o -Wl,-rpath,/s/build: -Xlinker -Map -Xlinker foo.map \
         libbar.so.3 -l:libexact.a",
    );
    assert!(line.lto);
    assert_eq!(line.linker.writes, paths(["foo.map"]));
    assert_eq!(line.linker.dependencies, Some("link.d".into()));
    assert_eq!(line.linker.items.last(), Some(&LinkItem::Library(":libexact.a".into())));
}

#[test]
fn the_linux_kernel() {
    let line = gnu("gcc -Wp,-MMD,kernel/.fork.o.d -nostdinc -I./arch/x86/include -I./include -include \
         ./include/linux/compiler-version.h -include ./include/linux/kconfig.h -D__KERNEL__ \
         -fmacro-prefix-map=./= -Wundef -std=gnu11 -fshort-wchar -funsigned-char -fno-common -mno-sse -mno-mmx \
         -fcf-protection=none -m64 -falign-jumps=1 -mpreferred-stack-boundary=3 -mskip-rax-setup -mtune=generic \
         -mno-red-zone -mcmodel=kernel -Wno-sign-compare -fno-asynchronous-unwind-tables \
         -mindirect-branch=thunk-extern -fno-allow-store-data-races -Wframe-larger-than=2048 \
         -fstack-protector-strong -fno-stack-clash-protection -fzero-call-used-regs=used-gpr \
         -DKBUILD_MODFILE=\"kernel/fork\" -c -o kernel/fork.o kernel/fork.c");
    let rule = line.dependencies.unwrap();
    assert!(rule.passed_on && rule.file == Some("kernel/.fork.o.d".into()));
    assert_eq!(line.forced, paths(["./include/linux/compiler-version.h", "./include/linux/kconfig.h"]));
    let line = gnu(
        "gcc -Wp,-MD,a.d,-MT,x.o -D__ASSEMBLY__ -Wa,-gdwarf-5 -Wa,--fatal-warnings -c -o head.o head_64.S",
    );
    assert_eq!(line.dependencies.unwrap().targets, ["-MT", "x.o"]);
}

#[test]
fn chromium_links_by_response_file() {
    let mut read = |path: &Path| match path.to_str() {
        Some("./base.rsp") => Ok(b"obj/base/a.o obj/base/b.o\n\"obj/odd name.o\" @./more.rsp".to_vec()),
        Some("./more.rsp") => Ok(b"-lpthread".to_vec()),
        Some("ld.rsp") => Ok(b"--version-script=a.map -lq".to_vec()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let argv = words(
        "../../third_party/llvm-build/Release+Asserts/bin/clang++ -Wl,--fatal-warnings -Wl,--build-id=sha1 -fPIC \
         -Wl,-z,noexecstack -Wl,-z,relro -Wl,-z,now -Wl,--icf=all -Wl,--color-diagnostics -fuse-ld=lld -Wl,--gdb-index \
         -m64 --target=x86_64-unknown-linux-gnu -rdynamic -Wl,--start-group @./base.rsp -Wl,--end-group -Wl,@ld.rsp \
         --sysroot=../../build/linux/sysroot -o ./base_unittests",
    );
    let line = parse(Vendor::Clang, &argv, &mut read).unwrap();
    assert_eq!(line.response_files, paths(["./base.rsp", "./more.rsp", "ld.rsp"]));
    assert_eq!(line.linker.reads, paths(["a.map"]));
    assert_eq!(line.linker.items[2], LinkItem::File("obj/odd name.o".into()));
    assert_eq!(line.sysroot, Some("../../build/linux/sysroot".into()));
}

#[test]
fn languages_by_name_and_by_option() {
    let line = gnu("gcc -c -x c a.inc -x none b.cc c.s");
    let languages: Vec<Language> = line.sources.iter().map(|source| source.language).collect();
    assert_eq!(languages, [Language::C, Language::Cxx, Language::Assembler]);
    one_source(&gnu("g++ -c a.c"), "a.c", Language::Cxx);
    one_source(&clang("clang -xc++ -c a.c"), "a.c", Language::Cxx);
    one_source(&gnu("gcc -xassembler-with-cpp -c a.asm"), "a.asm", Language::AssemblerWithCpp);
    // What only one of them takes for a source.
    one_source(&clang("clang -c a.CXX"), "a.CXX", Language::Cxx);
    one_source(&gnu("gcc -c a.sx"), "a.sx", Language::AssemblerWithCpp);
    assert!(gnu("gcc -c a.CXX").sources.is_empty() && clang("clang -c a.sx").sources.is_empty());
    assert!(refused(Vendor::Gnu, "gcc -c a.f90").contains("not modelled"));
    assert!(refused(Vendor::Gnu, "gcc -x fortran -c a").contains("fortran"));
}

#[test]
fn where_the_driver_stops() {
    assert_eq!(gnu("gcc -c -E a.c").mode, Mode::Preprocess);
    assert_eq!(gnu("gcc -c -S a.c").mode, Mode::Assembly);
    assert_eq!(gnu("gcc -c -M a.c").mode, Mode::Rule);
    assert_eq!(gnu("gcc a.c").mode, Mode::Link);
    for query in
        ["--version", "-v", "-dumpmachine", "-print-search-dirs", "--print-sysroot", "-###", "--help=target"]
    {
        assert_eq!(gnu(&format!("gcc {query}")).mode, Mode::Query, "{query}");
    }
}

#[test]
fn separate_and_joined_values() {
    let line =
        gnu("gcc -I a -Ib -iquote c -iquoted -idirafter e -o x.o -L f -Lg -DX -D Y=1 -include h.h -c a.c");
    assert_eq!(line.include, paths(["a", "b"]));
    assert_eq!(line.quote, paths(["c", "d"]));
    assert_eq!(line.after, paths(["e"]));
    assert_eq!(line.linker.dirs, paths(["f", "g"]));
    assert_eq!(line.defines, ["X", "Y=1"]);
    assert_eq!(line.forced, paths(["h.h"]));
    assert_eq!(gnu("gcc --sysroot /x -c a.c").sysroot, Some("/x".into()));
    assert_eq!(gnu("gcc -oa.out a.o").output, Some("a.out".into()));
}

#[test]
fn what_is_declined_names_its_reason() {
    let cases = [
        ("gcc -wrapper gdb,--args -c a.c", "-wrapper"),
        ("gcc -save-temps -c a.c", "-save-temps"),
        ("gcc -march=native -c a.c", "processor"),
        ("clang -mcpu=native+crypto -c a.c", "processor"),
        ("gcc -fdump-tree-all -c a.c", "-fdump-tree-all"),
        ("gcc -c -", "standard input"),
        ("gcc -E a.c -o -", "standard output"),
        ("gcc -H -c a.c", "-H"),
        ("gcc --frobnicate -c a.c", "--frobnicate"),
        ("gcc -fnew-report=x.txt -c a.c", "-fnew-report=x.txt"),
        ("gcc -c a.c -o", "-o"),
        ("gcc @missing.rsp", "@missing.rsp"),
        ("gcc -MD -MF a.d -MF b.d -c a.c", "several dependency files"),
        ("gcc -M -MG a.c", "-MG"),
        ("gcc -I=/usr/x -c a.c", "system root"),
        ("gcc a.o -Wl,--frobnicate", "--frobnicate"),
        ("gcc -c a.c -Wa,-adhln=a.lst", "listing"),
        ("gcc -v -c a.c", "-v"),
        ("gcc -fmodules-ts -c a.c", "-fmodules-ts"),
    ];
    for (line, reason) in cases {
        let said = refused(Vendor::Gnu, line);
        assert!(said.contains(reason), "{line}: {said}");
    }
    for (line, reason) in [
        ("clang -Xclang -load -c a.c", "-Xclang"),
        ("clang -include-pch x.pch -c a.c", "precompiled"),
        ("clang -ftime-trace -c a.c", "-ftime-trace"),
        ("clang -emit-llvm a.c", "-emit-llvm"),
        ("clang -emit-llvm -c a.s", "-emit-llvm"),
        ("clang -MJ a.json a.c", "-MJ"),
        ("clang -MJ a.json -c a.c b.s", "-MJ"),
        ("clang -MJ - -c a.c", "standard output"),
        ("clang -MJ a.json -MJ b.json -c a.c", "compilation database"),
    ] {
        let said = refused(Vendor::Clang, line);
        assert!(said.contains(reason), "{line}: {said}");
    }
}

proptest! {
    #[test]
    fn any_words_are_taken_or_refused(
        clang in any::<bool>(),
        words in proptest::collection::vec(
            prop_oneof![
                "(-|--)?[-a-zA-Z,=@./]{0,12}",
                "-(o|x|I|L|l|MF|MT|Wl,|Wa,|Wp,|Xlinker|T|B|include|fprofile-use)[-a-z,=./]{0,6}",
                "[a-z]{1,3}\\.(c|cc|o|a|s|S|h|i)",
            ],
            0..12,
        ),
    ) {
        let vendor = if clang { Vendor::Clang } else { Vendor::Gnu };
        let argv: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        let mut read = |path: &Path| match path.as_os_str().len() {
            3 => Ok(b"-Wl,-Map a.c '".to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let _ = parse(vendor, &argv, &mut read);
    }

    #[test]
    fn any_bytes_are_taken_or_refused(words in proptest::collection::vec(proptest::collection::vec(1u8.., 0..9), 0..6)) {
        use std::os::unix::ffi::OsStringExt;
        let argv: Vec<OsString> = words.into_iter().map(OsString::from_vec).collect();
        let _ = parse(Vendor::Gnu, &argv, &mut no_files);
    }
}
