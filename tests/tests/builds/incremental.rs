// SPDX-License-Identifier: Apache-2.0
//! After a change only what it reaches is computed again.

use std::fs;
use std::time::{Duration, SystemTime};

use tests::{Forced, Snapshot, TestSpace};

use crate::calculator::{DEFERRED, calculator};

fn built() -> TestSpace {
    let space = calculator();
    space.ggtrace(&["make"]).ok();
    let shown = space.gg(&["show"]).ok();
    assert_eq!(space.force_all().run, DEFERRED, "{shown}");
    space
}

/// Records and forces again, after a change whose time is later than all that was built.
fn again(space: &TestSpace) -> Forced {
    space.ggtrace(&["make"]).ok();
    let forced = space.force_all();
    assert_eq!(space.run(&["make", "-q"]).code(), 0, "make would still build something");
    forced
}

fn touch(space: &TestSpace, path: &str) {
    let file = fs::File::options().write(true).open(space.path(path)).expect("the source is there");
    file.set_modified(SystemTime::now() + Duration::from_millis(10)).expect("our own file's time");
    std::thread::sleep(Duration::from_millis(20));
}

fn change(space: &TestSpace, path: &str, from: &str, to: &str) {
    space.replace(path, from, to);
    touch(space, path);
}

#[test]
fn nothing_changed_nothing_runs() {
    let space = built();
    assert_eq!(again(&space).run, 0);
}

#[test]
fn a_touched_source_runs_nothing() {
    let space = built();
    touch(&space, "add.c");
    assert_eq!(again(&space).run, 0);
}

#[test]
fn a_changed_source_runs_its_compile_its_archive_and_the_link() {
    let space = built();
    change(&space, "add.c", "a + b", "a + b + 1");
    assert_eq!(again(&space).run, 3);
    assert_eq!(space.run(&["./calc"]).ok().out(), "43\n");
}

#[test]
fn a_changed_header_runs_the_compiles_that_read_it_and_what_depends_on_them() {
    let space = built();
    change(
        &space,
        "include/print.h",
        "void print(int n);",
        "#define LOUD 1\nvoid print(int n);\nextern int loud;",
    );
    change(&space, "print.c", "void print(int n) {", "int loud = LOUD;\nvoid print(int n) {");
    // print.o and main.o; main.o says the same but for its line numbers; the link.
    assert_eq!(again(&space).run, 3);
}

#[test]
fn a_header_changed_without_effect_on_the_objects_runs_the_compiles_only() {
    let space = built();
    let objects = Snapshot::of(&space.tree());
    let text = String::from_utf8(space.read("include/calc.h")).expect("our sources are text");
    space.write("include/calc.h", format!("{text}/* at the end, where no line number changes */\n"));
    touch(&space, "include/calc.h");
    // add.o, mul.o and main.o are compiled again and come out the same, so archive and link are known.
    assert_eq!(again(&space).run, 3);
    space.write("include/calc.h", text);
    assert_eq!(objects.deviations(&Snapshot::of(&space.tree())), "");
}

#[test]
fn after_make_clean_everything_comes_from_reductions() {
    let space = built();
    let before = Snapshot::of(&space.tree());
    space.ggtrace(&["make", "clean"]).ok();
    assert!(!space.path("calc").exists() && !space.path("add.o").exists());
    let forced = again(&space);
    assert_eq!((forced.run, forced.reduced), (0, DEFERRED));
    assert_eq!(before.deviations(&Snapshot::of(&space.tree())), "");
}

#[test]
fn a_source_changed_back_runs_nothing() {
    let space = built();
    change(&space, "mul.c", "a * b", "b * a * 1");
    again(&space);
    change(&space, "mul.c", "b * a * 1", "a * b");
    assert_eq!(again(&space).run, 0);
}

#[test]
fn only_the_target_asked_for_is_forced() {
    let space = calculator();
    space.ggtrace(&["make"]).ok();
    let forced = Forced::of(&space.ggforce(&["libcalc.a"]).ok());
    assert_eq!(forced.run, 3, "two objects and the archive: {forced:?}");
    assert!(space.read("libcalc.a").starts_with(b"!<arch>\n"));
    for path in ["calc", "main.o", "print.o"] {
        assert!(space.is_placeholder(path), "{path} was forced though nobody asked");
    }
    assert_eq!(space.force_all().run, 3);
    assert_eq!(space.run(&["./calc"]).ok().out(), "42\n");
}

#[test]
fn two_copies_of_a_project_share_what_is_the_same() {
    // Without debug information an object does not depend on where it was compiled, but a thunk names its directory: the
    // copies are two builds, in one store, at the same time.
    let space = TestSpace::new();
    for copy in ["a", "b"] {
        space.write(format!("{copy}/x.c"), "int x;\n");
        space.write(format!("{copy}/Makefile"), "x.o: x.c\n\t$(CC) -c x.c\n");
    }
    let both = [
        space.start_program("ggtrace", &["make", "-C", "a"]),
        space.start_program("ggtrace", &["make", "-C", "b"]),
    ];
    for recorder in both {
        recorder.wait().ok();
    }
    let both = [space.start_program("ggforce", &["a/x.o"]), space.start_program("ggforce", &["b/x.o"])];
    for engine in both {
        engine.wait().ok();
    }
    assert!(space.read("a/x.o") == space.read("b/x.o"));
}

/// Which headers a compile includes is remembered from recordings before, of this place and of others, for as long as it is so.
#[test]
fn headers_that_change_between_two_recordings() {
    let space = TestSpace::with(&[
        ("p/a.c", "#define HEADER(x) <x.h>\n#include HEADER(x)\n#include \"v.h\"\nint a = X + V;\n"),
        ("p/early/other.h", ""),
        ("p/late/x.h", "#define X 1\n"),
        ("p/v.h", "#if __has_include(<opt.h>)\n#include <opt.h>\n#else\n#define V 10\n#endif\n"),
    ]);
    let steps = [
        "true",
        "true",
        "echo '#define X 2' >p/late/x.h",
        "echo '#define X 3' >p/early/x.h",
        "echo '#define V 20' >p/late/opt.h",
        "rm p/early/x.h",
        "echo '#define V 30' >p/opt.h; ln -s ../opt.h p/early/opt.h",
        "rm p/opt.h",
        // Other copies of the project: the same, and such in which something is different.
        "cp -r p q; mv p p1; mv q p",
        "cp -r p q; mv p p2; mv q p; echo '#define X 4' >p/early/x.h",
        "mkdir -p r/s; cp -r p r/s/q; mv p p3; mv r/s/q p; echo '#include <more.h>' >p/late/x.h; echo '#define X 5' >p/more.h",
        "mv p/more.h p/early/more.h; rm p/early/x.h",
        "sed -i 's/late/late/; $a #undef V\\n#define V 40' p/v.h",
    ];
    for (number, step) in steps.iter().enumerate() {
        space.sh(step).ok();
        space.sh("cd p && gcc -Iearly -Ilate -I. -c a.c -o plain.o").ok();
        // Recorded from within the project, whatever else is around it.
        let ggtrace = TestSpace::program("ggtrace");
        space.sh(&format!("cd p && {} sh -c 'gcc -Iearly -Ilate -I. -c a.c -o a.o'", ggtrace.display())).ok();
        assert!(space.is_placeholder("p/a.o"), "step {number} was not deferred");
        space.sh(&format!("cd p && {}", TestSpace::program("ggforce").display())).ok();
        assert_eq!(space.read("p/a.o"), space.read("p/plain.o"), "step {number}: {step}");
    }
    let kept = fs::read_dir(space.store().join("cache/includes")).expect("the recorder keeps what it finds");
    assert_eq!(kept.count(), 1, "all these are one project with one search order");
}

#[test]
fn what_builds_side_by_side_leave_is_forced() {
    let space = calculator();
    let [ggtrace, ggforce] =
        ["ggtrace", "ggforce"].map(|name| TestSpace::program(name).display().to_string());
    space
        .sh(&format!(
            "{ggtrace} sh -c 'gcc -Iinclude -c add.c -o one.o; : >begun; until [ -f made ]; do sleep 0.1; done; gcc -Iinclude -c add.c -o two.o' &
             until [ -f begun ]; do sleep 0.1; done; {ggtrace} gcc -O2 -Iinclude -c add.c -o three.o; : >made; wait; {ggforce}"
        ))
        .ok();
    assert!(!["one.o", "two.o", "three.o"].iter().any(|name| space.is_placeholder(name)));
}

#[test]
fn what_a_part_has_left_is_forced_there_after_a_build_of_the_whole() {
    let space = calculator();
    space.write("part/b.c", "int b;\n");
    let [ggtrace, ggforce] =
        ["ggtrace", "ggforce"].map(|name| TestSpace::program(name).display().to_string());
    space.sh(&format!("(cd part && {ggtrace} gcc -c b.c) && {ggtrace} make && cd part && {ggforce}")).ok();
    assert!(!space.is_placeholder("part/b.o") && !space.is_placeholder("calc"));
}
