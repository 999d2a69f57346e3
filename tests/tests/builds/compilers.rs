// SPDX-License-Identifier: Apache-2.0
//! Compilers under every name and through every launcher, and the ways in which a compile is written.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use tests::{Expect, TestSpace};

const MAIN: &str = "#include <stdio.h>\n#include \"part.h\"\nint main(void) { printf(\"%d\\n\", PART + part()); return 0; }\n";
const FILES: &[(&str, &str)] = &[
    ("main.c", MAIN),
    ("part.c", "#include \"part.h\"\nint part(void) { return PART; }\n"),
    ("part.h", "#define PART 21\nint part(void);\n"),
];

/// Compiles and links with this compiler, two objects and a program, all deferred.
#[track_caller]
fn builds_with(space: &TestSpace, compiler: &str) {
    let script = format!(
        "{compiler} -g -c main.c -o main.o; {compiler} -O2 -c part.c -o part.o; {compiler} -o prog main.o part.o"
    );
    space.script_same_as_plain(&script, 3);
    assert_eq!(space.run(&["./prog"]).ok().out(), "42\n", "{compiler}");
}

#[test]
fn gcc_under_any_name() {
    for name in [
        "cc",
        "gcc",
        "gcc-12",
        "x86_64-linux-gnu-gcc",
        "x86_64-linux-gnu-gcc-12",
        "c99",
        "/usr/bin/gcc",
        "/usr/bin/../bin/cc",
    ] {
        builds_with(&TestSpace::with(FILES), name);
    }
}

#[test]
fn gcc_through_a_link_of_another_name() {
    let space = TestSpace::with(FILES);
    space.sh("mkdir tools; ln -s /usr/bin/gcc tools/mycc; ln -s mycc tools/other");
    builds_with(&space, "./tools/other");
}

#[test]
fn gcc_through_a_script_that_executes_it() {
    let space = TestSpace::with(FILES);
    space.write("cc.sh", "#!/bin/sh\n# a wrapper as build systems write them\nexec gcc -DWRAPPED=1 \"$@\"\n");
    builds_with(&space, "./cc.sh");
}

#[test]
fn an_assembler_of_the_build_that_keeps_a_log() {
    let space = TestSpace::with(FILES);
    space.write_program("tools/as", "#!/bin/sh\necho \"as $#\" >>as.log\nexec /usr/bin/as \"$@\"\n");
    space.script_same_as_plain(
        "gcc -Btools/ -c main.c; COMPILER_PATH=tools gcc -c part.c -o p2.o; PATH=tools:$PATH gcc -c part.c -o p3.o; gcc -c part.c; gcc -o prog main.o part.o; cat as.log",
        2,
    );
}

#[test]
fn options_in_their_long_spelling() {
    let space = TestSpace::with(FILES);
    space.sh("mkdir inc; mv part.h inc");
    space.script_same_as_plain(
        "gcc --include-directory=inc --compile main.c --output=main.o
         clang --include-directory inc --include=part.h --define-macro=X -c part.c --output part.o; gcc main.o part.o -o prog",
        3,
    );
}

/// As PostgreSQL makes code for its own compiler; beside each object.
#[test]
fn clang_writes_code_of_llvm() {
    let space = TestSpace::with(FILES);
    space.script_same_as_plain(
        "clang -O2 -flto=thin -emit-llvm -c main.c -o main.bc; clang -emit-llvm -c part.c; clang -emit-llvm -S -MMD part.c
         clang -c part.bc -o part.o; gcc main.c part.o -o prog; ./prog",
        4,
    );
}

#[test]
fn clang_writes_what_a_compilation_database_says() {
    let space = TestSpace::with(FILES);
    space.script_same_as_plain(
        "clang -MJ main.json -c main.c; clang -MJ part.json -c part.c -o part.o; cat *.json > all.json; clang -MJ part.json -S part.c",
        3,
    );
}

/// Wrappers of clang for other systems set it.
#[test]
fn a_target_whose_version_a_variable_tells() {
    let space = TestSpace::with(&[
        (
            "a.c",
            "#if __ENVIRONMENT_MAC_OS_X_VERSION_MIN_REQUIRED__ < 101400\n#include \"old.h\"\n#endif\nint a;\n",
        ),
        ("old.h", "int old;\n"),
    ]);
    space.script_same_as_plain(
        "for version in 10.13 10.15; do MACOSX_DEPLOYMENT_TARGET=$version clang -target x86_64-apple-darwin -c a.c -o $version.o; done",
        2,
    );
}

/// Programs for Windows get a suffix, whose linker is part of GNU ld.
#[test]
fn programs_for_windows() {
    let space = TestSpace::with(&[
        ("a.c", "int start(void) { return 1; }\n"),
        ("b.c", "int b(void) { return 2; }\n"),
        ("c.c", "int b(void);\nint start(void) { return b(); }\n"),
    ]);
    space.sh("mkdir bin; ln -s /usr/bin/ld bin/x86_64-w64-mingw32-ld");
    // The import library has the time in it.
    space.script_same_as_plain(
        "PATH=$PWD/bin:$PATH; mingw='clang -target x86_64-w64-mingw32 -nostdlib -Wl,--no-insert-timestamp'; start='-Wl,-e,start'
         clang -target x86_64-w64-mingw32 -c a.c b.c c.c; $mingw $start a.o b.o -o prog; $mingw $start a.o -o other.x; $mingw $start b.o a.o; ls
         $mingw -shared -Wl,-e,b b.o -o b.dll -Wl,--out-implib,libb.dll.a -Wl,--subsystem,console; $mingw $start c.o -o uses -L. -lb; rm libb.dll.a",
        6,
    );
    assert!(space.path("prog.exe").exists() && space.path("a.exe").exists());
}

#[test]
fn clang_and_its_names() {
    for name in ["clang", "/usr/bin/clang"] {
        builds_with(&TestSpace::with(FILES), name);
    }
}

#[test]
fn ccache_before_the_compiler() {
    let mut space = TestSpace::with(FILES);
    let cache = space.outside().join("ccache");
    space.set("CCACHE_DIR", cache);
    builds_with(&space, "ccache gcc");
}

#[test]
fn ccache_as_the_compiler() {
    let mut space = TestSpace::with(FILES);
    let cache = space.outside().join("ccache");
    space.set("CCACHE_DIR", cache);
    space.sh("ln -s /usr/bin/ccache gcc");
    builds_with(&space, "./gcc");
}

#[test]
fn several_sources_in_one_command() {
    let space = TestSpace::with(FILES);
    space.script_same_as_plain("gcc -c main.c part.c; gcc -o prog main.o part.o", 2);
    let space = TestSpace::with(FILES);
    space.script_same_as_plain("gcc -O1 main.c part.c -o prog; ./prog > out", 1);
    assert_eq!(space.read("out"), b"42\n");
}

#[test]
fn outputs_without_o() {
    let space = TestSpace::with(FILES);
    space.sh("mkdir sub; cp main.c part.h sub");
    space.script_same_as_plain(
        "gcc -c sub/main.c; gcc -S part.c; gcc -c part.s; gcc main.o part.o; ./a.out > out",
        4,
    );
    assert_eq!(space.read("out"), b"42\n");
}

#[test]
fn response_files() {
    let space = TestSpace::with(FILES);
    space.write("flags", "-O2 -DNAME=\"a\\ b\"\n'-g'\n");
    space.write("objects.rsp", "main.o\npart.o -o prog\n");
    space.write("nested", "@flags -c");
    space.script_same_as_plain(
        "gcc @nested main.c -o main.o; gcc @flags -c part.c -o part.o; gcc @objects.rsp",
        3,
    );
}

#[test]
fn a_response_file_that_is_removed_after_its_command() {
    let space = TestSpace::with(FILES);
    space.script_same_as_plain("echo -c main.c -o main.o > t.rsp; gcc @t.rsp; rm t.rsp", 1);
}

#[test]
fn sources_that_the_build_changes_after_their_command() {
    let space = TestSpace::with(&[("x.h", "#define X 1\n")]);
    let script = "
        for n in 1 2 3; do
            echo \"#include \\\"x.h\\\"\" > x.c; echo \"int x = X + $n;\" >> x.c; echo \"#define X $n\" > x.h
            gcc -c x.c -o x$n.o
        done
        rm x.c x.h";
    space.script_same_as_plain(script, 3);
}

#[test]
fn the_language_named_by_x() {
    let space = TestSpace::with(&[
        ("code", "int a;\n"),
        ("asm.txt", ".globl b\nb: .long 1\n"),
        ("up.inc", "#include \"n.h\"\nint c = N;\n"),
        ("n.h", "#define N 3\n"),
    ]);
    space.script_same_as_plain(
        "gcc -x c -c code -o a.o; gcc -x assembler -c asm.txt -o b.o; gcc -x c++ -c up.inc -o c.o",
        3,
    );
}

#[test]
fn forced_includes_and_every_kind_of_search_path() {
    let space = TestSpace::with(&[
        (
            "src/a.c",
            "#include \"q.h\"\n#include <s.h>\n#include <after.h>\n#include \"../up.h\"\nint a = Q + S + AFTER + UP + CONFIG + MACRO;\n",
        ),
        ("quote/q.h", "#define Q 1\n"),
        ("sys/s.h", "#include_next <s.h>\n#define S (S2 + 1)\n"),
        ("sys2/s.h", "#define S2 2\n"),
        ("late/after.h", "#define AFTER 3\n"),
        ("up.h", "#define UP 4\n"),
        ("config.h", "#define CONFIG 5\n"),
        ("macros.h", "#define MACRO 6\nint not_seen;\n"),
    ]);
    space.script_same_as_plain(
        "gcc -iquote quote -isystem sys -isystem sys2 -idirafter late -include config.h -imacros macros.h -c src/a.c -o a.o",
        1,
    );
}

#[test]
fn includes_that_are_computed_or_asked_for() {
    let space = TestSpace::with(&[
        (
            "a.c",
            "#define HEADER \"one.h\"\n#include HEADER\n#if __has_include(\"two.h\")\n#include \"two.h\"\n#endif\n\
             #if __has_include(\"nowhere.h\")\n#include \"nowhere.h\"\n#endif\n#include NAMED\nint a = ONE + TWO + THREE;\n",
        ),
        ("one.h", "#define ONE 1\n"),
        ("two.h", "#define TWO 2\n"),
        ("three.h", "#define THREE 3\n"),
    ]);
    space.script_same_as_plain("gcc '-DNAMED=\"three.h\"' -c a.c", 1);
}

#[test]
fn headers_behind_symbolic_links() {
    let space = TestSpace::with(&[
        ("real/inner.h", "#define INNER 1\n"),
        ("real/outer.h", "#include \"inner.h\"\n"),
        ("a.c", "#include <outer.h>\nint a = INNER;\n"),
    ]);
    space.sh("ln -s real include; ln -s ../real/outer.h real/alias.h; echo '#include \"alias.h\"' >> a.c");
    space.script_same_as_plain("gcc -g -Iinclude -c a.c", 1);
}

#[test]
fn the_environment_s_search_paths() {
    let mut space = TestSpace::with(&[("inc/e.h", "#define E 1\n"), ("a.c", "#include <e.h>\nint a = E;\n")]);
    space.set("C_INCLUDE_PATH", "inc");
    space.script_same_as_plain("gcc -c a.c", 1);
    let mut space = TestSpace::with(&[("inc/e.h", "#define E 1\n"), ("a.c", "#include <e.h>\nint a = E;\n")]);
    space.set("CPATH", "inc");
    space.script_same_as_plain("gcc -c a.c; CPATH= gcc -Iinc -c a.c -o b.o", 2);
}

#[test]
fn the_time_of_the_build_when_it_is_given() {
    let mut space = TestSpace::with(&[("t.c", "const char t[] = __DATE__ \" \" __TIME__;\n")]);
    space.set("SOURCE_DATE_EPOCH", "1000000000");
    space.script_same_as_plain("gcc -c t.c", 1);
}

#[test]
fn paths_in_debug_information_and_messages() {
    let space = TestSpace::with(&[
        ("sub/dir/a.c", "#include <assert.h>\n#include \"../b.h\"\nvoid a(int x) { assert(x); b(); }\n"),
        ("sub/b.h", "static inline void b(void) { __builtin_printf(__FILE__); }\n"),
    ]);
    space.script_same_as_plain(
        "gcc -g3 -c sub/dir/a.c -o a.o; cd sub/dir; gcc -g -c a.c -o ../../b.o; gcc -g -c \"$PWD/a.c\" -o c.o
         gcc -g -fdebug-prefix-map=\"$PWD\"=/src -c a.c -o d.o",
        4,
    );
}

#[test]
fn preprocessed_and_assembler_text() {
    let space = TestSpace::with(FILES);
    space.script_same_as_plain(
        "gcc -E main.c -o main.i; gcc -c main.i -o main.o; gcc -E part.c > part.i; gcc -fpreprocessed -c part.i -o part.o
         gcc -S -fverbose-asm part.c -o part.s; as part.s -o part2.o; gcc -o prog main.o part2.o; ./prog",
        5,
    );
}

#[test]
fn source_on_standard_input() {
    let space = TestSpace::new();
    space.script_same_as_plain(
        "echo 'int a;' | gcc -x c -c - -o a.o; gcc -x c -c -o b.o - <<X\nint b;\nX\ntest -s b.o",
        0,
    );
}

#[test]
fn options_of_real_builds() {
    let space = TestSpace::with(FILES);
    space.script_same_as_plain(
        "gcc -std=gnu11 -pipe -Wall -Wextra -Wno-unused -pedantic-errors -fPIC -fno-strict-aliasing -fvisibility=hidden \
            -D_GNU_SOURCE -UNDEBUG -march=x86-64-v2 -mtune=generic -msse4 -fstack-protector-strong -D_FORTIFY_SOURCE=2 -O2 \
            -ffunction-sections -fdata-sections -fno-common -ggdb -MMD -MP -MF main.d -MT main.o -c main.c -o main.o
         gcc -O3 -fopenmp -pthread -fno-plt -fcf-protection -fno-omit-frame-pointer -c part.c -o part.o
         gcc -pthread -Wl,--gc-sections -Wl,-O1 -Wl,--as-needed -Wl,-z,relro,-z,now -no-pie -s -o prog main.o part.o -lm -ldl",
        3,
    );
}

#[test]
fn tools_asked_about_themselves_answer() {
    let space = TestSpace::with(FILES);
    space.script_same_as_plain(
        "gcc --version; gcc -dumpversion; gcc -dumpmachine; gcc -print-prog-name=ld; gcc -print-file-name=libc.so; gcc -print-search-dirs
         gcc -v 2>&1; gcc -E -dM - </dev/null; gcc -M main.c; gcc -MM main.c; ar --version; ld --version; as --version",
        0,
    );
}

#[test]
fn warnings_come_when_forced_and_change_nothing() {
    let space = TestSpace::with(&[("w.c", "int f(void) { int unused; return 0; }\n")]);
    space.same_as_plain(&["gcc", "-Wall", "-c", "w.c"], Expect::script(1).with_warnings());
}

/// gcc quotes the file that `#line` names, which is looked for from the working directory.
#[test]
fn the_files_that_lines_are_said_to_come_from() {
    let space = TestSpace::with(&[
        ("sub/w.c", "int z;\n#line 2 \"from/x.y\"\nint f(void) { int unused; return 1; }\n"),
        ("from/x.y", "grammar\nint f(void) { int unused; /* quoted */ return 1; }\n"),
    ]);
    space.sh("gcc -E sub/w.c -o v.i").ok();
    let script = "gcc -S -fverbose-asm sub/w.c; gcc -S -fverbose-asm v.i; grep -c quoted w.s v.s";
    let compared = space.script_same_as_plain(script, 1);
    assert_eq!(compared.plain.out(), "w.s:2\nv.s:2\n");
    let warns = ["gcc", "-Wall", "-c", "sub/w.c"];
    let plain = space.run(&warns).ok();
    assert!(plain.err().contains("quoted"), "{plain}");
    space.ggtrace(&warns).ok();
    let forced = space.ggforce(&[]).ok();
    assert!(forced.err().starts_with(&plain.err()), "{plain}\n{forced}");
}

#[test]
fn the_time_of_a_source_file() {
    let space = TestSpace::with(&[
        ("t.c", "const char t[] = __TIMESTAMP__;\n"),
        ("u.c", "#include \"u.h\"\nconst char u[] = NOW;\n"),
        ("u.h", "#define NOW __TIMESTAMP__\n"),
        ("v.c", "const char v[] = NOW;\n"),
    ]);
    space.sh("touch -d @1000000000 *.c *.h").ok();
    space.script_same_as_plain("gcc -c t.c; gcc -c u.c; gcc -DNOW=__TIMESTAMP__ -c v.c", 0);
}

#[test]
fn ccache_that_changes_the_command() {
    let mut space = TestSpace::with(FILES);
    let cache = space.outside().join("ccache");
    space.set("CCACHE_DIR", &cache);
    let script = "ccache gcc -g -c \"$PWD/main.c\" -o 1.o
        CCACHE_BASEDIR=\"$PWD\" ccache gcc -g -c \"$PWD/main.c\" -o 3.o";
    space.script_same_as_plain(script, 1);
    fs::create_dir_all(&cache).unwrap();
    fs::write(cache.join("ccache.conf"), format!("base_dir = {}\n", space.tree().display())).unwrap();
    space.script_same_as_plain("ln -s /usr/bin/ccache gcc; ccache gcc -g -c \"$PWD/main.c\" -o 1.o; ./gcc -g -c \"$PWD/part.c\" -o 4.o", 0);
}

/// Text that is preprocessed is not preprocessed again, assembler text is not made into assembler text: the compilers end well,
/// and write nothing, or to standard output.
#[test]
fn stops_at_which_nothing_is_made() {
    let space = TestSpace::with(FILES);
    space.write("text.s", "\t.globl text\ntext:\n");
    space.write("text.sx", "text:\n");
    for compiler in ["gcc", "clang"] {
        let script = format!(
            "{compiler} -E main.c -o main.i; {compiler} -c -MD main.i
             {compiler} -E main.i -o again.i 2>&1; {compiler} -M main.i -o rule 2>&1; {compiler} -S text.s -o out.s 2>&1
             {compiler} -S -MD -x assembler-with-cpp text.s -o other.s; ls"
        );
        space.script_same_as_plain(&script, 2);
    }
    space.script_same_as_plain("clang -c text.sx 2>&1; gcc -c text.sx; ls", 1);
}

/// clang links that object only if it finds it.
#[test]
fn objects_that_are_linked_where_they_are_found() {
    for option in ["-ffast-math", "-funsafe-math-optimizations"] {
        TestSpace::with(FILES).script_same_as_plain(&format!("clang {option} main.c part.c -o prog"), 1);
    }
}

#[test]
fn module_maps_beside_headers() {
    let space = TestSpace::with(FILES);
    space.write("module.modulemap", "module Part { header \"part.h\" }\n");
    space.script_same_as_plain(
        "clang -fimplicit-module-maps -E main.c -o main.i; clang -E main.c -o other.i",
        1,
    );
}

/// Clang says where it is asked, too.
#[test]
fn what_clang_says_of_itself_is_kept_for_the_next_recording() {
    let space = TestSpace::with(FILES);
    let kept = || -> Vec<SystemTime> {
        let kept = fs::read_dir(space.store().join("cache/answers")).expect("a directory of the store");
        kept.map(|answer| answer.and_then(|answer| answer.metadata()?.modified()).expect("a file")).collect()
    };
    space.ggtrace(&["clang", "-c", "main.c"]).ok();
    let first = kept();
    assert!(!first.is_empty());
    space.ggtrace(&["clang", "-O1", "-c", "main.c"]).ok();
    assert_eq!(kept(), first, "it was not asked again");
    space.script_same_as_plain("clang -c main.c; clang -c part.c; clang main.o part.o -o prog", 3);
}

/// A part of the compiler that waits for something where it is only asked what it is.
#[test]
fn a_compiler_that_does_not_end_when_it_is_asked_about_itself() {
    let space = TestSpace::with(FILES);
    let waits = "case \"$*\" in *-quiet\\ -v*) exec sleep 1000;; esac";
    let cc1 = space.sh("gcc -print-prog-name=cc1").ok();
    let script = format!("#!/bin/sh\n{waits}\nexec {} \"$@\"\n", cc1.out().trim());
    space.write_program("tools/cc1", script);
    space.script_same_as_plain("gcc -Btools/ -c main.c; gcc -Btools/ -c part.c; ls", 0);
    let started = Instant::now();
    space.ggtrace_sh("gcc -Btools/ -c main.c; gcc -Btools/ -c part.c").ok();
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
    let shown = space.gg(&["show", "-a"]).ok();
    assert!(shown.out().contains("does not end when it is asked about itself"), "{shown}");
}
