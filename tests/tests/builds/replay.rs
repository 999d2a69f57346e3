// SPDX-License-Identifier: Apache-2.0
//! `ggforce --trace`: a recorded build without make, on the files as they are now.

use std::fs;
use std::path::{Path, PathBuf};

use tests::{Forced, Ran, Snapshot, TestSpace};

use crate::calculator::{DEFERRED, calculator};

mod ages;
mod commands;
mod directories;
mod failed;
mod in_place;
mod links;
mod modes;
mod names;
mod outside;
mod refusals;
mod renames;
mod rules;
mod sandboxed;

/// A build that was recorded and forced, and its trace.
fn built(space: &TestSpace) -> PathBuf {
    let trace = recorded(space);
    space.force_all();
    trace
}

fn recorded(space: &TestSpace) -> PathBuf {
    let trace = space.outside().join("trace");
    space.start_program("ggtrace", &["-o".as_ref(), trace.as_os_str(), "make".as_ref()]).wait().ok();
    trace
}

fn replay(space: &TestSpace, trace: &Path, rest: &[&str]) -> Ran {
    let mut args: Vec<std::ffi::OsString> = vec!["--trace".into(), trace.into()];
    args.extend(rest.iter().map(Into::into));
    space.start_program("ggforce", &args).wait()
}

fn replayed(space: &TestSpace, trace: &Path) -> Forced {
    Forced::of(&replay(space, trace, &[]).ok())
}

/// What plain make leaves in the same place, from the state that was kept, with the same change.
#[track_caller]
fn is_as_made(space: &TestSpace, change: impl Fn()) {
    let replayed = Snapshot::of(&space.tree());
    space.restore();
    change();
    space.run(&["make"]).ok();
    assert_eq!(replayed.deviations(&Snapshot::of(&space.tree())), "");
}

fn space_has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

#[test]
fn a_trace_among_the_files_of_the_build() {
    // Make looks for sources in the directory; the second time the trace is there already.
    let space = calculator();
    for _ in 0..2 {
        space.sh("make clean").ok();
        space.start_program("ggtrace", &["-o", "trace", "make"]).wait().ok();
        space.force_all();
        assert_eq!(replayed(&space, Path::new("trace")).run, 0);
    }
}

#[test]
fn nothing_changed_nothing_runs() {
    let space = calculator();
    let trace = built(&space);
    let before = Snapshot::of(&space.tree());
    let forced = replayed(&space, &trace);
    assert_eq!((forced.run, forced.reduced), (0, 0));
    assert_eq!(before.deviations(&Snapshot::of(&space.tree())), "");
    // Make would have nothing to do, either; and nothing of this hides what was recorded.
    assert_eq!(space.run(&["make", "-q"]).code(), 0);
    assert_eq!(space.shown().deferred, DEFERRED);
}

#[test]
fn a_trace_is_forced_by_replaying_it() {
    let space = calculator();
    let trace = recorded(&space);
    assert_eq!(replayed(&space, &trace).run, DEFERRED);
    assert_eq!(space.run(&["./calc"]).ok().out(), "42\n");
}

#[test]
fn an_edited_source_runs_what_it_reaches_and_nothing_else() {
    let space = calculator();
    let trace = built(&space);
    space.keep();
    let edit = || space.replace("add.c", "a + b", "a + b + 1");
    edit();
    assert_eq!(replayed(&space, &trace).run, 3, "the compile, the archive, the link");
    assert_eq!(space.run(&["./calc"]).ok().out(), "43\n");
    assert_eq!(space.run(&["make", "-q"]).code(), 0, "make would still build something");
    // Again: everything is known.
    assert_eq!(replayed(&space, &trace).run, 0);
    is_as_made(&space, edit);
}

#[test]
fn an_edited_header_runs_the_compiles_that_include_it() {
    let space = calculator();
    let trace = built(&space);
    space.keep();
    let edit = || space.replace("include/calc.h", "int add", "#define LATER 1\nint add");
    edit();
    // add.o and mul.o say nothing of the lines of their declarations: the archive of them is the same.
    assert_eq!(replayed(&space, &trace).run, 4, "three compiles and the link");
    is_as_made(&space, edit);
}

#[test]
fn inputs_are_inferred_anew() {
    let space = calculator();
    space.write("include/extra.h", "#define MORE 2\n");
    let trace = built(&space);
    space.replace("add.c", "\"calc.h\"", "\"calc.h\"\n#include \"extra.h\"");
    space.replace("add.c", "a + b", "a + b + MORE");
    assert_eq!(replayed(&space, &trace).run, 3);
    assert_eq!(space.run(&["./calc"]).ok().out(), "44\n");
}

#[test]
fn what_make_itself_looked_at_is_told_if_it_changed() {
    let space = calculator();
    let trace = built(&space);
    space.write("Makefile", [space.read("Makefile"), b"# later\n".to_vec()].concat());
    let path = space.path("Makefile").display().to_string();
    replay(&space, &trace, &[]).fails().says(&format!("{path} has changed"));
    let forced = Forced::of(&replay(&space, &trace, &["--as-recorded"]).ok());
    assert_eq!(forced.run, 0);
}

#[test]
fn a_new_file_where_make_looks_for_sources_is_told() {
    let space = TestSpace::with(&[
        ("src/a.c", "int main(void) { return 0; }\n"),
        ("Makefile", "prog: $(patsubst %.c,%.o,$(wildcard src/*.c))\n\t$(CC) -o $@ $^\n"),
    ]);
    let trace = built(&space);
    assert_eq!(replayed(&space, &trace).run, 0, "the objects beside the sources are no new files");
    space.write("src/b.c", "int b;\n");
    replay(&space, &trace, &[]).fails().says("src now holds other files");
}

/// A make that has ended read a directory in which other commands, which go on, had left files.
#[test]
fn what_others_leave_where_make_looks_for_sources_is_no_new_file() {
    let space = TestSpace::with(&[(
        "Makefile",
        "MAKEFLAGS += -j2
none := $(wildcard *.c)
all: first second
first:; $(MAKE) inner
inner:; until test -e left; do sleep 0.02; done
second:; : >left; sleep 1; echo >done
",
    )]);
    let trace = built(&space);
    assert_eq!(replayed(&space, &trace).run, 0);
    space.write("new.c", "");
    replay(&space, &trace, &[]).fails().says("now holds other files");
}

#[test]
fn what_is_missing_is_put_back() {
    let space = calculator();
    let trace = built(&space);
    let before = Snapshot::of(&space.tree());
    space.run(&["make", "clean"]).ok();
    let forced = replayed(&space, &trace);
    assert_eq!((forced.run, forced.reduced), (0, DEFERRED));
    assert_eq!(before.deviations(&Snapshot::of(&space.tree())), "");
    assert_eq!(space.run(&["make", "-q"]).code(), 0, "times are in the order of the build");
    space.write("calc", "not the program");
    replayed(&space, &trace);
    assert_eq!(space.run(&["./calc"]).ok().out(), "42\n");
}

#[test]
fn only_what_was_asked_for_is_forced() {
    let space = calculator();
    let trace = recorded(&space);
    assert_eq!(Forced::of(&replay(&space, &trace, &["libcalc.a"]).ok()).run, 3);
    assert!(space.is_placeholder("calc"));
    replay(&space, &trace, &["no-such-file"]).fails().says("no-such-file: no such target");
}

/// What a build driver itself has removed, a command that is replayed finds again: ninja's files with arguments, make's intermediate ones.
#[test]
fn what_a_driver_has_removed_is_there_for_a_replay() {
    const NINJA: &str = "rule cc\n command = gcc -c $in -o $out\nrule link\n command = gcc @$out.rsp -o $out\n \
        rspfile = $out.rsp\n rspfile_content = $in\nbuild one.o: cc one.c\nbuild main.o: cc main.c | one.h\n\
        build prog: link main.o one.o\n";
    const MAKEFILE: &str = "prog: main.o one.o\n\tgcc -o prog main.o one.o\n%.o: %.c one.h\n\tgcc -c $< -o $@\n\
        %.c: %.in\n\tcat $< >$@\n";
    for (build, source) in [("ninja", "one.c"), ("make", "one.in")] {
        if !space_has(build) {
            continue;
        }
        let space = TestSpace::with(&[
            ("build.ninja", NINJA),
            ("Makefile", MAKEFILE),
            ("one.h", "#define TWO 2\n"),
            ("main.c", "int one(void);\nint main(void) { return one() - 3; }\n"),
            (source, "#include \"one.h\"\nint one(void) { return 1 + TWO; }\n"),
        ]);
        let trace = space.outside().join("trace");
        space.ggtrace(&["--run", "-o", trace.to_str().expect("our own path"), build]).ok();
        let removed = if build == "ninja" { "prog.rsp" } else { "one.c" };
        assert!(!space.path(removed).exists(), "else this tests nothing");
        for (edited, from, to) in [("one.h", "TWO 2", "TWO 5"), (source, "1 + TWO", "4 + TWO")] {
            space.replace(edited, from, to);
            if edited == source {
                space.replace("main.c", "- 3", "- 9");
            }
            replayed(&space, &trace);
            assert!(!space.path(removed).exists(), "{build} {edited}");
            let result = space.run(&["./prog"]).code();
            assert_eq!(result, if edited == source { 0 } else { 3 }, "{build} {edited}");
        }
        let found = Snapshot::of(&space.tree());
        space.run(&["rm", "-f", "prog", "main.o", "one.o"]).ok();
        space.run(&[build]).ok();
        let varying = [".ninja_deps", ".ninja_log"];
        assert_eq!(found.deviations_but(&Snapshot::of(&space.tree()), &varying), "", "{build}");
    }
}

/// What was deferred already when it turns out that the replay cannot be done is no file that make could go on from.
#[test]
fn a_replay_that_cannot_be_done_leaves_the_files_as_they_were() {
    const MAKEFILE: &str = "all: prog listed\n\
        a.o: a.c a.h\n\tgcc -c a.c\n\
        b.o: b.c a.h\n\tgcc -c b.c\n\
        prog: a.o b.o\n\tgcc -o prog a.o b.o\n\
        listed: prog\n\tmkdir -p d; cp a.h d/; size prog | tee listed; rm -f gone; cat prog >copy\n";
    for method in [&["--run"][..], &[]] {
        let space = TestSpace::with(&[
            ("Makefile", MAKEFILE),
            ("a.c", "#include \"a.h\"\nint a(void) { return A; }\n"),
            ("b.c", "#include \"a.h\"\nint a(void);\nint main(void) { return a() - A; }\n"),
            ("a.h", "#define A 1\n"),
            ("gone", ""),
        ]);
        let trace = space.outside().join("trace");
        space.ggtrace(&[method, &["-o", trace.to_str().unwrap(), "make"]].concat()).ok();
        space.force_all();
        let edit = || {
            space.write("a.h", "#define A 100000\nstatic int more[100] = { A };\nstatic inline int f(void) { return more[1]; }\n")
        };
        space.keep();
        edit();
        let before = Snapshot::of(&space.tree());
        replay(&space, &trace, &[]).fails().says("run the build");
        assert_eq!(before.deviations(&Snapshot::of(&space.tree())), "", "{method:?}");
        space.run(&["make"]).ok();
        is_as_made(&space, edit);
    }
}

#[test]
fn what_others_have_made_of_what_the_build_left_is_put_right() {
    // Each file is made of another that the build made: who runs again because of one gives the next what it gave before.
    let space = TestSpace::with(&[
        ("data", "1\n"),
        (
            "Makefile",
            "all: end\none: data\n\tcat data >one.new\n\tmv one.new one\ntwo: one\n\tcat one >two\n\techo more >>two\n\
             end: two\n\tcat two >end\n",
        ),
    ]);
    let trace = space.outside().join("trace");
    space.ggtrace(&["--run", "-o", trace.to_str().unwrap(), "make"]).ok();
    let left = Snapshot::of(&space.tree());
    for file in ["one", "two", "end"] {
        space.write(file, "something else\n");
        replay(&space, &trace, &[]).ok();
        assert_eq!(left.deviations(&Snapshot::of(&space.tree())), "", "{file}");
    }
    // What cannot be put right is told by its name, and once.
    fs::remove_file(space.path("two")).unwrap();
    fs::create_dir(space.path("two")).unwrap();
    let ran = replay(&space, &trace, &[]);
    let told = ran.err();
    assert_eq!((ran.code(), told.matches("two has changed").count()), (1, 1), "{ran}");
}
