// SPDX-License-Identifier: Apache-2.0
//! Build systems: recursive and parallel make, Ninja, CMake, libtool's habits, plain scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tests::{Expect, TestSpace};

const FILES: &[(&str, &str)] = &[
    ("lib/a.c", "int a(void) { return 40; }\n"),
    ("lib/b.c", "int b(void) { return 2; }\n"),
    (
        "src/main.c",
        "#include <stdio.h>\n#include \"ab.h\"\nint main(void) { printf(\"%d\\n\", a() + b()); return 0; }\n",
    ),
    ("include/ab.h", "int a(void);\nint b(void);\n"),
];

#[test]
fn recursive_make_with_a_job_server() {
    for jobs in ["-j1", "-j4"] {
        let space = TestSpace::with(FILES);
        space.write(
            "Makefile",
            "all:\n\t@$(MAKE) --no-print-directory -C lib\n\t@$(MAKE) --no-print-directory -C src\n",
        );
        space.write("lib/Makefile", "libab.a: a.o b.o\n\t@$(AR) rcs $@ $?\n%.o: %.c\n\t@$(CC) -c $<\n");
        space.write("src/Makefile", "prog: main.o ../lib/libab.a\n\t@$(CC) -o $@ $^\nmain.o: main.c ../include/ab.h\n\t@$(CC) -I../include -c $<\n");
        space.same_as_plain(&["make", jobs], Expect::make(5));
        assert_eq!(space.run(&["src/prog"]).ok().out(), "42\n");
    }
}

/// With `-j` each job writes into a pipe, from which bmake passes it on; what `!=` runs writes into one as well, and is listened to.
#[test]
fn bsd_make_with_jobs_and_without() {
    for jobs in ["-B", "-j4"] {
        let space = TestSpace::with(FILES);
        space.write(
            "Makefile",
            "IS != cc -c lib/a.c -o tried.o 2>&1 && test -s tried.o && echo ok; rm -f tried.o\nOBJECTS = a.o b.o\nall: prog lib$(IS).a\n\
             prog: main.o lib$(IS).a\n\t@cc -o prog main.o lib$(IS).a\nlib$(IS).a: $(OBJECTS)\n\t@ar rcs $@ $(OBJECTS)\n\
             .PATH: lib src\n.c.o:\n\t@cc -Iinclude -c $< -o $@\n",
        );
        space.same_as_plain(&["bmake", "-s", jobs], Expect::make(5));
        assert_eq!(space.run(&["./prog"]).ok().out(), "42\n");
    }
}

#[test]
fn ninja_with_dependency_files() {
    let space = TestSpace::with(FILES);
    space.write(
        "build.ninja",
        "rule cc\n  command = gcc -Iinclude -MMD -MF $out.d -c $in -o $out\n  depfile = $out.d\n  deps = gcc\n\
         rule ar\n  command = rm -f $out && ar rcs $out $in\nrule link\n  command = gcc -o $out @$out.rsp\n  rspfile = $out.rsp\n  rspfile_content = $in\n\
         build a.o: cc lib/a.c\nbuild b.o: cc lib/b.c\nbuild main.o: cc src/main.c\nbuild libab.a: ar a.o b.o\nbuild prog: link main.o libab.a\ndefault prog\n",
    );
    let plain = space.run(&["ninja", "-v", "-j1"]).ok();
    let built = space.read("prog");
    let known = || space.sh("ninja -t deps | sed 's/, deps mtime.*//'").ok().out();
    let dependencies = known();
    assert!(
        dependencies.contains("main.o: #deps") && dependencies.contains("include/ab.h"),
        "{dependencies}"
    );
    space.sh("rm -rf .ninja_log .ninja_deps *.o *.a prog").ok();
    space.ggtrace(&["ninja", "-j1"]).ok();
    assert!(space.shown().deferred >= 5, "{plain}");
    assert_eq!(known(), dependencies);
    space.force_all();
    assert!(space.read("prog") == built);
    assert!(space.run(&["ninja"]).ok().out().contains("no work to do"));
    // It knows its headers, which it read from dependency files while recording.
    std::thread::sleep(std::time::Duration::from_millis(20));
    space.write("include/ab.h", "int a(void);\nint b(void); /* changed */\n");
    let dry = space.run(&["ninja", "-n", "-v"]).ok();
    assert!(dry.out().contains("src/main.c") && !dry.out().contains("lib/a.c"), "{dry}");
}

/// CMake asks for them since its version 3.27.
#[test]
fn ninja_with_dependency_files_of_links() {
    let space = TestSpace::with(FILES);
    space.write(
        "build.ninja",
        "rule cc\n  command = gcc -Iinclude -c $in -o $out\n\
         rule link\n  command = gcc -Wl,--dependency-file=$out.d -o $out @$out.rsp -lm\n  depfile = $out.d\n  deps = gcc\n  \
         rspfile = $out.rsp\n  rspfile_content = $in\n\
         rule read\n  command = gcc -Wl,--dependency-file=$out.d -o $out $in && cp $out.d $out.copy\n  depfile = $out.d\n\
         rule keep\n  command = gcc -Wl,--dependency-file=$out.d -o $out $in\n  depfile = $out.d\n\
         build a.o: cc lib/a.c\nbuild b.o: cc lib/b.c\nbuild main.o: cc src/main.c\n\
         build prog: link main.o a.o b.o\nbuild other: keep main.o a.o b.o\nbuild read: read main.o a.o b.o\n",
    );
    space.keep();
    space.run(&["ninja"]).ok();
    let files = ["prog", "other", "other.d", "read", "read.d", "read.copy"];
    let plain = files.map(|name| space.read(name));
    let known = || {
        let deps = space.sh("ninja -t deps prog | grep '^ ' | xargs realpath | sort -u").ok().out();
        deps.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let by_linker = known();
    space.restore();
    space.ggtrace(&["ninja", "-j1"]).ok();
    assert!(files[..3].iter().all(|name| space.is_placeholder(name)), "nothing had to be linked for ninja");
    assert!(!space.path("prog.d").exists());
    // At least what the linker says.
    let told = known();
    assert!(by_linker.iter().all(|name| told.contains(name)), "{by_linker:?} {told:?}");
    space.force_all();
    assert!(files.map(|name| space.read(name)) == plain);
    assert!(space.run(&["ninja"]).ok().out().contains("no work to do"));
}

#[test]
fn dependency_files_made_at_once_have_the_mode_that_the_command_gives_them() {
    let space = TestSpace::with(FILES);
    space.write(
        "build.ninja",
        "rule cc\n  command = umask $mask; gcc -Iinclude -MMD -MF $out.d -c $in -o $out\n  depfile = $out.d\n\
         build a.o: cc lib/a.c\n  mask = 027\nbuild b.o: cc lib/b.c\n  mask = 000\n",
    );
    // One is there already: the compiler writes over it.
    space.sh(": > b.o.d; chmod 640 b.o.d").ok();
    space.keep();
    let modes = || {
        let mode = |name| fs::metadata(space.path(name)).map(|m| m.permissions().mode() & 0o7777);
        ["a.o", "a.o.d", "b.o", "b.o.d"].map(|name| mode(name).expect("it was made"))
    };
    space.run(&["ninja"]).ok();
    let plain = (modes(), space.read("b.o.d"));
    space.restore();
    space.ggtrace(&["ninja"]).ok();
    assert!(!space.is_placeholder("a.o.d") && space.is_placeholder("a.o"));
    assert_eq!((modes(), space.read("b.o.d")), plain);
    space.force_all();
    assert_eq!(modes(), plain.0);
}

#[test]
fn shared_libraries_and_programs_of_cmake_wait_for_nobody() {
    for generator in ["Unix Makefiles", "Ninja"] {
        let space = TestSpace::with(FILES);
        space.write(
            "CMakeLists.txt",
            "cmake_minimum_required(VERSION 3.10)\nproject(ab C)\ninclude_directories(include)\n\
             add_library(ab SHARED lib/a.c lib/b.c)\nset_target_properties(ab PROPERTIES VERSION 1.2 SOVERSION 1)\n\
             add_executable(prog src/main.c)\ntarget_link_libraries(prog ab)\n",
        );
        space.run(&["cmake", "-G", generator, "-S", ".", "-B", "build"]).ok();
        space.ggtrace(&["cmake", "--build", "build"]).ok();
        for file in
            ["libab.so.1.2", "prog", "CMakeFiles/ab.dir/lib/a.c.o", "CMakeFiles/prog.dir/src/main.c.o"]
        {
            assert!(space.is_placeholder(format!("build/{file}")), "{generator}: {file}");
        }
        space.force_all();
        assert_eq!(space.run(&["build/prog"]).ok().out(), "42\n");
        let again = space.run(&["cmake", "--build", "build"]).ok().out();
        assert!(!again.contains("Building") && !again.contains("Linking"), "{generator}: {again}");
    }
}

#[test]
fn cmake_configured_plainly_and_built_recorded() {
    for generator in ["Unix Makefiles", "Ninja"] {
        let space = TestSpace::with(FILES);
        space.write(
            "CMakeLists.txt",
            "cmake_minimum_required(VERSION 3.20)\nproject(t C)\ninclude_directories(include)\nadd_library(ab SHARED lib/a.c lib/b.c)\nadd_library(abs STATIC lib/a.c lib/b.c)\n\
             add_executable(prog src/main.c)\ntarget_link_libraries(prog ab)\nadd_executable(progs src/main.c)\ntarget_link_libraries(progs abs)\n",
        );
        space.run(&["cmake", "-G", generator, "-S", ".", "-B", "build"]).ok();
        space.keep();
        let build: &[&str] = &["cmake", "--build", "build"];
        space.run(build).ok();
        let expected =
            ["build/prog", "build/progs", "build/libab.so", "build/libabs.a"].map(|p| space.read(p));
        space.restore();
        space.ggtrace(build).ok();
        assert!(space.shown().deferred >= 10, "{}", space.gg(&["show"]));
        space.force_all();
        let found = ["build/prog", "build/progs", "build/libab.so", "build/libabs.a"].map(|p| space.read(p));
        assert!(expected == found, "{generator}: not as plainly built");
        assert_eq!(space.run(&["build/prog"]).ok().out(), "42\n");
        let again = space.run(&["cmake", "--build", "build", "--verbose"]).ok();
        assert!(
            !again.out().contains("Building") && !again.out().contains("Linking"),
            "{generator}: {again}"
        );
    }
}

/// The lines that tell how far a build is are printed without cmake, and without the shells that start it: the same ones, in colours
/// where cmake would print colours.
#[test]
fn cmake_s_lines_without_cmake() {
    let mut space = TestSpace::with(FILES);
    space.write(
        "CMakeLists.txt",
        "cmake_minimum_required(VERSION 3.20)\nproject(t C)\ninclude_directories(include)\nadd_library(ab SHARED lib/a.c lib/b.c)\n\
         add_executable(prog src/main.c)\ntarget_link_libraries(prog ab)\nadd_custom_target(all-of-it ALL COMMENT \"it's all $there\" DEPENDS prog)\n",
    );
    space.run(&["cmake", "-G", "Unix Makefiles", "-S", ".", "-B", "build"]).ok();
    space.keep();
    space.set("TERM", "xterm");
    let ggtrace = TestSpace::program("ggtrace").display().to_string();
    let make = "make -C build --no-print-directory";
    // What is printed, and whether the files are there still which say how far the build is.
    let says = |tracer: &str, variables: &str, terminal: bool| {
        let build = format!("env {variables} {tracer} {make}");
        let ran =
            if terminal { space.run(&["script", "-qec", &build, "/dev/null"]) } else { space.sh(&build) };
        let said = ran.ok().out();
        let marks = space.path("build/CMakeFiles/Progress").exists();
        space.restore();
        (said, marks)
    };
    let ways = [
        ("", false),
        ("", true),
        ("CLICOLOR=0", true),
        ("CLICOLOR_FORCE=1", false),
        ("CLICOLOR_FORCE=1", true),
        ("TERM=dumb", true),
        ("VERBOSE=1", false),
        ("MAKEFLAGS=-O", true),
    ];
    for (variables, terminal) in ways {
        let plain = says("", variables, terminal);
        assert!(plain.0.contains("[ 16%] ") && plain.0.contains("it's all $there"), "{}", plain.0);
        let coloured = (terminal && variables != "CLICOLOR=0") || variables.contains("FORCE");
        assert_eq!(plain.0.contains("\x1b["), coloured, "{variables} {terminal}: {}", plain.0);
        assert_eq!(says(&ggtrace, variables, terminal), plain, "{variables} {terminal}");
        let shown = space.gg(&["show", "-a"]);
        let ran = shown.out();
        let ran: Vec<_> = ran.lines().filter(|line| line.contains("cmake_echo_color")).collect();
        let by_a_shell = ran.iter().any(|line| line.contains("/bin/sh"));
        assert!(ran.len() >= 8, "{shown}");
        // Whether it would print colours to a terminal is not said.
        assert_eq!(by_a_shell, variables == "CLICOLOR=0", "{shown}");
    }
    // For all lines of a kind CMake is asked once, in later recordings too.
    let asked = || fs::read_dir(space.store().join("cache/answers")).unwrap().count();
    let before = asked();
    assert_eq!((says(&ggtrace, "", false), asked()), (says("", "", false), before));
    // What is counted otherwise than CMake counts is CMake's own to say.
    space.restore();
    let odd = "cmake -E cmake_echo_color --progress-dir=. --progress-num=1,2 --bold text";
    space.write("Makefile", format!("all:\n\t{odd}\n"));
    for count in ["0", "08", "7 8", " 12", "x", "0x20", "-5", ""] {
        let does = |tracer: &str| {
            space.write("Progress/count.txt", format!("{count}\n"));
            let ran = space.sh(&format!("{tracer} make -s")).ok();
            let marks = ["Progress/1", "Progress/2"].map(|mark| fs::read(space.path(mark)).ok());
            fs::remove_dir_all(space.path("Progress")).unwrap();
            (ran.out(), ran.err(), marks)
        };
        assert_eq!(does(&ggtrace), does(""), "{count}");
    }
}

#[test]
fn a_shell_script_as_the_build() {
    let space = TestSpace::with(FILES);
    space.write(
        "build.sh",
        "#!/bin/bash\nset -euo pipefail\nCC=${CC:-cc}\nobjects=()\nfor source in lib/*.c src/*.c; do\n  object=out/$(basename \"${source%.c}\").o\n  mkdir -p out\n\
         \x20 if [[ ! -e $object || $source -nt $object ]]; then \"$CC\" -Iinclude -c \"$source\" -o \"$object\" & fi\n  objects+=(\"$object\")\ndone\nwait\n\"$CC\" -o out/prog \"${objects[@]}\"\nout/prog\n",
    );
    space.same_as_plain(&["./build.sh"], Expect::script(4));
}

#[test]
fn libtool_s_double_objects_and_wrapper_scripts() {
    TestSpace::with(FILES).script_same_as_plain(
        "mkdir .libs
         for n in a b; do gcc -fPIC -DPIC -c lib/$n.c -o .libs/$n.o; gcc -c lib/$n.c -o $n.o >/dev/null 2>&1; done
         gcc -shared -fPIC -DPIC .libs/a.o .libs/b.o -Wl,-soname -Wl,libab.so.0 -o .libs/libab.so.0.0.0
         (cd .libs && rm -f libab.so.0 && ln -s libab.so.0.0.0 libab.so.0); (cd .libs && ln -s libab.so.0.0.0 libab.so)
         ar cr .libs/libab.a a.o b.o; ranlib .libs/libab.a; gcc -Iinclude -c src/main.c -o main.o; gcc -o .libs/prog main.o .libs/libab.so
         printf '#!/bin/sh\\nLD_LIBRARY_PATH=%s/.libs exec %s/.libs/prog\\n' \"$PWD\" \"$PWD\" > prog; chmod +x prog; ./prog",
        5,
    );
}

/// What libtool's script would do to compile is done by the recorder, once it was seen to do that, and what it prints is printed.
#[test]
fn libtool_compiles_without_libtool() {
    let space = TestSpace::with(FILES);
    space.write(
        "Makefile",
        "LIBTOOL = libtool --tag=CC $(QUIET)\nall: libab.la static.lo shared.lo prog\n\
         sub/%.lo: lib/%.c\n\t$(LIBTOOL) --mode=compile gcc -DNAME=\\\"$*\\\" -MT $@ -MD -MP -MF sub/$*.Tpo -c -o $@ $< && mv -f sub/$*.Tpo sub/$*.d\n\
         static.lo: lib/a.c\n\t$(LIBTOOL) --mode=compile gcc -static -c -o $@ $<\n\
         shared.lo: lib/b.c\n\td=`echo lib`; $(LIBTOOL) --mode=compile gcc -shared -prefer-pic -c $$d/b.c -o $@\n\
         libab.la: sub/a.lo sub/b.lo\n\t$(LIBTOOL) --mode=link gcc -o $@ $^ -rpath /usr/lib\n\
         prog: src/main.c libab.la\n\tgcc -Iinclude -c src/main.c -o main.o; $(LIBTOOL) --mode=link gcc -o $@ main.o libab.la\n",
    );
    space.write("sub/here", "");
    space.same_as_plain(&["make"], Expect::script(10));
    for build in [&["make"][..], &["make", "-j4", "QUIET=--silent"], &["make", "QUIET=--no-silent"]] {
        space.restore();
        space.same_as_plain(build, Expect::script(10));
    }
    // Its script complains of files that are not there to be removed.
    space.restore();
    space.same_as_plain(&["env", "RM=rm", "make", "sub/a.lo", "sub/b.lo"], Expect::script(4));
    // Not even its shell is started.
    space.restore();
    space.ggtrace(&["make", "sub/a.lo", "sub/b.lo", "QUIET=--quiet"]).ok();
    let shown = space.shown();
    assert_eq!((shown.deferred, shown.ran), (4, 3), "make and two compiles: {}", space.gg(&["show"]));
    // A compile that fails is libtool's to complain of.
    space.restore();
    space.write("lib/a.c", "#error no\n");
    let failed = space.ggtrace(&["make", "sub/a.lo"]);
    let failed = if failed.status.success() { space.ggforce(&["sub/a.o"]) } else { failed };
    failed.fails();
}

/// Directories that are made in libtool's place have the modes that libtool would give them, whatever the recorder's umask is.
#[test]
fn directories_in_libtool_s_place_have_its_modes() {
    let space = TestSpace::with(FILES);
    let compile =
        |n: &str| format!("libtool --silent --tag=CC --mode=compile gcc -c lib/{n}.c -o new/{n}/{n}.lo");
    let script = format!("umask 022; {}; umask 002; {}; umask 022", compile("a"), compile("b"));
    space.ggtrace(&["sh", "-ec", &script]).ok();
    for (path, mode) in [("new/a/.libs", 0o755), ("new/b", 0o775), ("new/b/.libs", 0o775)] {
        let has = fs::metadata(space.path(path)).unwrap().permissions().mode();
        assert_eq!(has & 0o777, mode, "{path}");
    }
}

/// Another script that calls itself libtool and does otherwise runs, each time.
#[test]
fn a_libtool_that_does_otherwise_runs() {
    let space = TestSpace::with(FILES);
    space.sh("sed 's/^pic_object=$write_lobj/&\\nmore=1/' `command -v libtool` >mine; chmod +x mine; cp mine other; sed -i 's/-DPIC//; s/^ *func_show_eval_locale \"$command\"/command=\"$command -DMORE\";&/' other").ok();
    for libtool in ["mine", "other"] {
        let compile = |n: &str| format!("./{libtool} --tag=CC --mode=compile gcc -c lib/{n}.c -o {n}.lo");
        let script = ["a", "b", "a"].map(compile).join("; ");
        space.same_as_plain(&["sh", "-ec", &script], Expect::script(6));
        let shown = space.gg(&["show", "--json"]).ok().out();
        assert!(shown.contains("-DMORE") == (libtool == "other"), "{shown}");
        space.restore();
    }
}

#[test]
fn installation_into_a_folder() {
    let space = TestSpace::with(FILES);
    space.write(
        "Makefile",
        "all: prog\nprog: src/main.c lib/a.c lib/b.c\n\t$(CC) -g -Iinclude -o $@ $^\ninstall: all\n\tmkdir -p $(DESTDIR)/bin $(DESTDIR)/include\n\tinstall -m 755 prog $(DESTDIR)/bin\n\
         \tinstall -s -m 755 prog $(DESTDIR)/bin/stripped\n\tcp -p include/ab.h $(DESTDIR)/include\n\tln -sf prog $(DESTDIR)/bin/alias\n",
    );
    space.same_as_plain(&["make", "install", "DESTDIR=root"], Expect::script(1));
}

#[test]
fn outputs_kept_only_if_they_changed() {
    // move-if-change, as many builds have it.
    TestSpace::with(FILES).script_same_as_plain(
        "gcc -c lib/a.c -o a.new; if cmp -s a.new a.o; then rm a.new; else mv a.new a.o; fi; gcc -c lib/a.c -o a.new; if cmp -s a.new a.o; then rm a.new; echo same; else mv a.new a.o; fi",
        2,
    );
}

/// The directory must not be newer than what was made of the files in it.
#[test]
fn a_directory_may_be_a_prerequisite() {
    let space = TestSpace::with(&[
        (
            "Makefile",
            "prog: objects objects/a.o\n\tgcc -o prog objects/a.o\nobjects/a.o: a.c\n\tgcc -c -o $@ a.c\nobjects:\n\tmkdir objects\n",
        ),
        ("a.c", "int main(void) { return 0; }\n"),
    ]);
    space.ggtrace(&["make"]).ok();
    space.force_all();
    assert!(space.run(&["make"]).ok().out().contains("up to date"));
}
