// SPDX-License-Identifier: Apache-2.0
//! `ggforce --trace`: a recorded build without make, on the files as they are now.

use std::fs;
use std::path::{Path, PathBuf};

use tests::{Forced, Ran, Snapshot, TestSpace};

use crate::calculator::{DEFERRED, calculator};

mod ages;
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

/// The link is gone when the command has ended, and nobody could follow it any more.
#[test]
fn what_is_read_and_written_through_a_link_of_the_command_s_own_counts() {
    for recipe in [
        "ln -s in l; cat l > out; rm l",
        "ln -s d l; cat l/in > out; rm l",
        "ln -s out l; cat in > l; rm l",
        "ln -s in k; ln -s k l; cat l > out; rm k l",
        "mkdir t; ln -s ../in t/in; cat t/in > out; rm -r t",
    ] {
        for method in ["auto", "ptrace"] {
            let space = TestSpace::with(&[
                ("in", "1\n"),
                ("d/in", "1\n"),
                ("Makefile", &format!("out:\n\t{recipe}\n")),
            ]);
            let trace = space.outside().join("trace");
            space.ggtrace(&["--method", method, "-o", trace.to_str().expect("our own path"), "make"]).ok();
            space.sh("echo 22 > in; echo 22 > d/in").ok();
            replay(&space, &trace, &[]).ok();
            assert_eq!(space.read("out"), b"22\n", "{recipe} {method}");
            space.sh("rm out; echo 333 > in; echo 333 > d/in").ok();
            space.ggtrace(&["--method", method, "make"]).ok();
            space.force_all();
            assert_eq!(space.read("out"), b"333\n", "{recipe} {method}");
        }
    }
}

/// A command that lists a directory finds what the build has put there up to then, which is more at the build's end.
#[test]
fn who_lists_a_directory_runs_again_for_new_files_of_others() {
    let space = TestSpace::with(&[
        ("d/one", "1\n"),
        ("d/two", "2\n"),
        ("Makefile", "all:\n\tcat d/* >sum\n\tcp sum d/copy\n\techo done >d/more\n"),
    ]);
    let trace = built(&space);
    assert_eq!(replayed(&space, &trace).run, 0);
    space.write("d/three", "3\n");
    replay(&space, &trace, &[]).fails().says("d now holds other files");
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

/// A makefile that a command makes which was observed in an earlier recording, and is deferred in this one.
/// Nothing is behind it, but it is there.
#[test]
fn a_link_that_leads_nowhere_counts() {
    let space = TestSpace::with(&[(
        "Makefile",
        "out:\n\tset -e; readlink link > $@; test -e link || echo nowhere >> $@\n",
    )]);
    space.sh("ln -s one link").ok();
    let trace = built(&space);
    assert_eq!(space.read("out"), b"one\nnowhere\n");
    assert_eq!(replayed(&space, &trace).run, 0);
    space.sh("ln -sfn two link").ok();
    replay(&space, &trace, &[]).fails().says("link now leads elsewhere");
}

/// The linker reads a library by the name of a link that leads to it.
#[test]
fn a_library_is_made_anew_and_is_read_through_links() {
    for method in [&["--run"][..], &[]] {
        let space = TestSpace::with(&[
            (
                "Makefile",
                "prog: main.o libx.so\n\t$(CC) -o $@ main.o -L. -lx -Wl,-rpath,'$$ORIGIN'\n\
                libx.so: libx.so.1\n\tln -sf libx.so.1 libx.so\n\
                libx.so.1: x.c\n\t$(CC) -shared -fPIC -o $@ x.c\n",
            ),
            ("main.c", "int x(void);\nint main(void) { return x(); }\n"),
            ("x.c", "int x(void) { return 1; }\n"),
        ]);
        let trace = space.outside().join("trace");
        space.ggtrace(&[method, &["-o", trace.to_str().unwrap(), "make"]].concat()).ok();
        space.force_all();
        let edit =
            || space.write("x.c", "int more(void) { return 2; }\nint x(void) { return more() - 2; }\n");
        space.keep();
        edit();
        replayed(&space, &trace);
        space.run(&["./prog"]).ok();
        is_as_made(&space, edit);
    }
}

/// As Automake's `ylwrap` does: it works in a directory of its own, finds what it needs and leaves what it makes by
/// `..`, and removes the directory, so that these ways lead nowhere afterwards.
#[test]
fn who_works_in_a_directory_of_his_own_is_run_again() {
    for method in ["auto", "ptrace"] {
        let space = TestSpace::with(&[
            ("in.txt", "1\n"),
            ("up.sh", "mkdir t$$\ncd t$$\ncat ../in.txt >a\nmv a ../up\ncd ..\nrm -r t$$\n"),
            (
                "deep.sh",
                "mkdir t$$ t$$/u\n(cd t$$/u && cat ../../in.txt >a && ls .. && cat a >../../deep)\nrm -r t$$\n",
            ),
            ("Makefile", "all: up deep\nup: in.txt\n\tsh up.sh\ndeep: in.txt\n\tsh deep.sh\n"),
        ]);
        let trace = space.outside().join("trace");
        space.ggtrace(&["--run", "--method", method, "-o", trace.to_str().unwrap(), "make"]).ok();
        let built = Snapshot::of(&space.tree());
        space.sh("rm up deep").ok();
        replayed(&space, &trace);
        assert_eq!(built.deviations(&Snapshot::of(&space.tree())), "", "{method}");
        space.keep();
        space.write("in.txt", "2\n");
        replayed(&space, &trace);
        is_as_made(&space, || space.write("in.txt", "2\n"));
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

fn space_has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
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
