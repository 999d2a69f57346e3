// SPDX-License-Identifier: Apache-2.0
//! Replays of commands that ran while they were recorded: when they run again, and on what.

use std::fs;

use tests::{Snapshot, TestSpace};

use super::{built, is_as_made, replay, replayed, space_has};

#[test]
fn a_generator_runs_again_only_if_it_must() {
    let space = TestSpace::with(&[
        ("gen.c", "#include <stdio.h>\nint main(void) { printf(\"#define N %d\\n\", 7); return 0; }\n"),
        ("main.c", "#include \"table.h\"\nint main(void) { return N; }\n"),
        (
            "Makefile",
            "main: main.o\n\t$(CC) -o $@ main.o\nmain.o: table.h\ntable.h: gen\n\t./gen > $@\ngen: gen.c\n\t$(CC) -o $@ gen.c\n",
        ),
    ]);
    let trace = built(&space);
    assert_eq!(space.run(&["./main"]).code(), 7);
    space.keep();
    // The same program comes out: what follows stays as it is, but no older than that.
    space.replace("gen.c", "return 0;", "return 0; /* well */");
    let before = Snapshot::of(&space.tree());
    assert_eq!(replayed(&space, &trace).run, 0);
    assert_eq!(space.run(&["make", "-q"]).code(), 0);
    assert_eq!(before.deviations(&Snapshot::of(&space.tree())), "");
    space.restore();
    let edit = || space.replace("gen.c", "7", "8");
    edit();
    replayed(&space, &trace);
    assert_eq!(space.run(&["./main"]).code(), 8);
    is_as_made(&space, edit);
}

#[test]
fn a_file_in_shared_memory_is_a_file() {
    let space = TestSpace::new();
    let shared = tempfile::Builder::new().prefix("gg-test.").tempdir_in("/dev/shm").expect("there is room");
    let input = shared.path().join("input");
    fs::write(&input, "one\n").expect("it can be written to");
    space.write("Makefile", format!("out:\n\tcat {} >out\n", input.display()));
    let trace = built(&space);
    assert_eq!(replayed(&space, &trace).run, 0);
    fs::write(&input, "two\n").expect("it can be written to");
    replay(&space, &trace, &[]).fails().says("input");
}

#[test]
fn a_build_in_shared_memory_runs() {
    let space = TestSpace::new();
    let shared = tempfile::Builder::new().prefix("gg-test.").tempdir_in("/dev/shm").expect("there is room");
    fs::write(shared.path().join("a.c"), "int main(void) { return 0; }\n").expect("it can be written to");
    let script = format!("cd {}; gcc -c a.c; gcc a.o -o p; ./p", shared.path().display());
    space.ggtrace_sh(&script).ok();
    assert_eq!(space.shown().deferred, 0);
    space.force_all();
}

/// What a command passes on without a look at it is one thing; what it reads to know what to pass on, what to start, or
/// how to end is another.
#[test]
fn what_tells_a_command_what_to_do_counts() {
    let space = TestSpace::with(&[
        ("a.c", "int a(void) { return 1; }\n"),
        ("b.c", "int b(void) { return 2; }\n"),
        ("flags", "-O1\n"),
        ("choice", "a\n"),
        ("list", "good\n"),
        (
            "Makefile",
            "all: a.o b.o c.o d.o\n\tgrep -q good list\n%.o: %.c\n\tgcc -c $<\n\
             c.o: a.c flags\n\tgcc `cat flags` -c a.c -o $@\nd.o: a.o b.o choice\n\tcp `cat choice`.o $@\n",
        ),
    ]);
    let trace = built(&space);
    assert_eq!(replayed(&space, &trace).run, 0);
    for (name, was, is) in [("flags", "-O1", "-O1 -g"), ("choice", "a", "b"), ("list", "good", "bad")] {
        space.replace(name, was, is);
        replay(&space, &trace, &[]).fails().says(&format!("{name} has changed"));
        space.replace(name, is, was);
        replay(&space, &trace, &[]).ok();
    }
}

/// How large a file is decides what `test -s` finds, which does not open it.
#[test]
fn how_large_inputs_are_counts() {
    for recipe in ["stat -c %s in > out", "if test -s in; then echo yes; fi > out"] {
        for how in ["--run", "-v"] {
            let space = TestSpace::with(&[("in", "1\n"), ("Makefile", &format!("out:\n\t{recipe}\n"))]);
            let trace = space.outside().join("trace");
            space.ggtrace(&[how, "-o", trace.to_str().expect("our own path"), "make"]).ok();
            space.write("in", "");
            replay(&space, &trace, &[]).ok();
            let found = space.read("out");
            space.sh("rm out; make").ok();
            assert_eq!(found, space.read("out"), "{recipe} {how}");
        }
    }
}

/// Of a build of which all was observed: what compiles print is no reason against it, nor that ninja has removed dependency files.
#[test]
fn what_was_run_is_replayed() {
    const NINJA: &str = "rule cc\n command = gcc -Wall -MD -MF $out.d -c $in -o $out\n depfile = $out.d\n deps = gcc\n\
        rule gen\n command = echo made $out >&2; cat $in > $out; echo $out: $in > $out.d\n depfile = $out.d\n deps = gcc\n\
        rule link\n command = gcc -o $out $in\nbuild gen.c: gen gen.in\nbuild gen.o: cc gen.c\nbuild main.o: cc main.c\n\
        build prog: link main.o gen.o\n";
    const MAKEFILE: &str = "prog: main.o gen.o\n\tgcc -o prog main.o gen.o\n%.o: %.c\n\t@echo compiling; gcc -Wall -c $< -o $@\n\
        gen.c: gen.in\n\tcat gen.in > gen.c; echo made\n";
    for build in ["ninja", "make"] {
        if !space_has(build) {
            continue;
        }
        let space = TestSpace::with(&[
            ("build.ninja", NINJA),
            ("Makefile", MAKEFILE),
            ("main.c", "int gen(void);\nint main(void) { int unused; return gen() - 3; }\n"),
            ("gen.in", "int gen(void) { return 3; }\n"),
        ]);
        let trace = space.outside().join("trace");
        space.ggtrace(&["--run", "-o", trace.to_str().expect("our own path"), build]).ok();
        space.keep();
        let edit = |content: &str| {
            space.write("gen.in", content);
            space.write("main.c", "int gen(void);\nint main(void) { return gen() - 4; }\n");
        };
        edit("int gen(void) { return 4; }\n");
        let forced = replayed(&space, &trace);
        // The others were forced while it was found out what changes reach.
        assert_eq!((forced.run, forced.failed), (1, 0), "{build}");
        space.run(&["./prog"]).ok();
        let found = Snapshot::of(&space.tree());
        space.restore();
        edit("int gen(void) { return 4; }\n");
        space.run(&[build]).ok();
        let deviations = found.deviations_but(&Snapshot::of(&space.tree()), &[".ninja_deps", ".ninja_log"]);
        assert_eq!(deviations, "", "{build}");
    }
}

/// Ninja reads a dependency file at once, so that it is no placeholder; where the build file does not say `deps`, it stays.
#[test]
fn a_dependency_file_that_ninja_keeps_is_the_command_s() {
    if !space_has("ninja") {
        return;
    }
    let space = TestSpace::with(&[
        (
            "build.ninja",
            "rule cc\n command = gcc -MMD -MF $out.d -c $in -o $out\n depfile = $out.d\nbuild o/a.o: cc a.c\nbuild b.o: cc b.c\n",
        ),
        ("a.c", "#include \"one.h\"\nint a = ONE;\n"),
        ("b.c", "int b;\n"),
        ("one.h", "#define ONE 1\n"),
        ("two.h", "#define ONE 2\n"),
    ]);
    space.keep();
    let trace = space.outside().join("trace");
    space.ggtrace(&["-o", trace.to_str().expect("our own path"), "ninja"]).ok();
    let deviations = |edit: &dyn Fn()| {
        let found = Snapshot::of(&space.tree());
        space.restore();
        edit();
        space.run(&["ninja"]).ok();
        found.deviations_but(&Snapshot::of(&space.tree()), &[".ninja_log"])
    };
    // Before anything is forced, then with all in place.
    assert_eq!(replayed(&space, &trace).run, 2);
    assert_eq!(replayed(&space, &trace).run, 0);
    assert_eq!(deviations(&|| {}), "");
    space.restore();
    let edit = || space.replace("a.c", "one.h", "two.h");
    edit();
    // The directory `o` is ninja's work.
    assert_eq!(replayed(&space, &trace).run, 1);
    space.sh(": >>.ninja_log").ok();
    assert_eq!(deviations(&edit), "");
}

/// Its input, which a copy was made of, is gone before anybody could say what it was.
#[test]
fn who_has_read_what_is_gone_is_not_taken_to_have_passed_it_on() {
    let part = |n: usize| format!("\tcp in tmp{n}\n\tcat tmp{n} >out{n}; true\n\trm -f tmp{n}\n");
    let rules = format!("all: in\n{}", (0..12).map(part).collect::<String>());
    for options in [&["--run"][..], &[]] {
        let space = TestSpace::with(&[("Makefile", &rules), ("in", "1\n")]);
        let trace = space.outside().join("trace");
        space.ggtrace(&[options, &["-o", trace.to_str().unwrap(), "make"]].concat()).ok();
        space.force_all();
        space.write("in", "2\n");
        if replay(&space, &trace, &[]).code() == 0 {
            for n in 0..12 {
                assert_eq!(space.read(format!("out{n}")), b"2\n", "{n} {options:?}");
            }
        }
    }
}
