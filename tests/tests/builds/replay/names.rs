// SPDX-License-Identifier: Apache-2.0
//! Replays of commands that read the names in directories in which they, or others, make something, and of those that make directories.

use tests::TestSpace;

use super::{built, is_as_made, replay, replayed};

pub fn run_recorded(space: &TestSpace) -> std::path::PathBuf {
    let trace = space.outside().join("trace");
    space.ggtrace(&["--run", "-o", trace.to_str().unwrap(), "make"]).ok();
    trace
}

/// The shell makes the file that it writes to before it looks for what `*` stands for.
#[test]
fn who_lists_where_it_writes_is_run_again() {
    let space = TestSpace::with(&[
        (
            "Makefile",
            "all: out sub/names\nout: a.txt b.txt\n\tcat *.txt >t.tmp; ls >out; cat t.tmp >>out; rm t.tmp\n\
             sub/names: a.txt\n\tcd sub; cp ../a.txt it; mkdir z; ls >names; cat a.link >>names\n",
        ),
        ("a.txt", "a\n"),
        ("b.txt", "b\n"),
        ("sub/x/y", ""),
    ]);
    space.sh("ln -s ../a.txt sub/a.link").ok();
    let trace = run_recorded(&space);
    space.keep();
    let edit = || space.write("a.txt", "other\n");
    edit();
    assert_eq!(replayed(&space, &trace).run, 2);
    is_as_made(&space, edit);
    // Another name would be listed.
    space.restore();
    space.write("c", "");
    replay(&space, &trace, &[]).fails().says("now holds other files");
}

/// Whether it saw what another one made there meanwhile is not known.
#[test]
fn who_lists_where_others_write_is_not_run_again() {
    let space = TestSpace::with(&[
        (
            "Makefile",
            "all: out other\nout: a.txt\n\tcat a.txt >t; until test -e other; do sleep 0.02; done; ls >out\n\
             other:\n\tuntil test -e t; do sleep 0.02; done; echo >other\n",
        ),
        ("a.txt", "a\n"),
    ]);
    let trace = space.outside().join("trace");
    space.ggtrace(&["--run", "-o", trace.to_str().unwrap(), "make", "-j2"]).ok();
    space.write("a.txt", "other\n");
    replay(&space, &trace, &[]).fails().says("which changed while it ran");
}

#[test]
fn who_makes_directories_is_run_again() {
    let space = TestSpace::with(&[
        (
            "Makefile",
            "all: obj/deep/a.o new/x\nobj/deep/a.o: a.c\n\tmkdir -p obj/deep obj/none; gcc -c a.c -o $@\n\
             new/x: a.c\n\trm -rf new; mkdir new; chmod 700 new; cp a.c new/x\n",
        ),
        ("a.c", "int a;\n"),
    ]);
    let trace = run_recorded(&space);
    space.keep();
    let edit = || space.write("a.c", "int b;\n");
    edit();
    assert_eq!(replayed(&space, &trace).run, 2);
    is_as_made(&space, edit);
    space.sh("rm -r obj").ok();
    space.write("a.c", "int c;\n");
    assert_eq!(replayed(&space, &trace).run, 2);
    assert!(space.path("obj/deep/a.o").is_file());
}

/// What is there of a file is what the name says that it had without the link.
#[test]
fn what_was_renamed_behind_a_link_of_its_own_is_put_back_where_that_led() {
    let space = TestSpace::with(&[
        ("Makefile", "d/out: in\n\tln -s d t; test -e t/x; cp in t/tmp; mv t/tmp t/out; rm t\n"),
        ("in", "1\n"),
        ("d/x", ""),
    ]);
    let trace = run_recorded(&space);
    space.keep();
    let edit = || space.write("in", "2\n");
    assert_eq!(replayed(&space, &trace).run, 0);
    space.sh("rm d/out").ok();
    replayed(&space, &trace);
    assert_eq!(space.read("d/out"), b"1\n");
    edit();
    assert_eq!(replayed(&space, &trace).run, 1);
    is_as_made(&space, edit);
}

/// A static shell, in which no hook is, drives the build: what it removes, and renames, of what its commands have read.
#[test]
fn what_a_static_driver_has_removed_is_there_for_a_replay() {
    const SCRIPT: &str = "cc -c one.c -o one.o && cc -c main.c -o main.o\necho main.o one.o >prog.args\n\
        gcc @prog.args -o prog\nrm prog.args\ncp in copy\ncat copy >out\nmv copy moved\n";
    let space = TestSpace::with(&[
        ("build", SCRIPT),
        ("one.c", "int one(void) { return 1; }\n"),
        ("main.c", "int one(void);\nint main(void) { return one(); }\n"),
        ("in", "text\n"),
    ]);
    if space
        .run(&["sh", "-c", "busybox --list | grep -qx rm && file -L `command -v busybox` | grep -q static"])
        .code()
        != 0
    {
        println!("there is no static busybox here");
        return;
    }
    let trace = space.outside().join("trace");
    space.ggtrace(&["--run", "-o", trace.to_str().unwrap(), "busybox", "sh", "-e", "build"]).ok();
    let built = space.path("prog.args").exists();
    assert!(!built, "else this tests nothing");
    space.write("one.c", "int one(void) { return 7; }\n");
    replayed(&space, &trace);
    assert_eq!(space.run(&["./prog"]).code(), 7);
    assert!(!space.path("prog.args").exists());
}

/// A command asked by a link's way for what others make and remove by another one.
#[test]
fn what_the_build_makes_behind_a_link_is_its_own() {
    let makefile = "all:\n\tif test -f pre/b.c; then echo x >m; else echo y >m2; fi\n\tcp a.c q/b.c\n\
        \tif test -f pre/t.c; then echo t >n; fi\n\trm q/t.c\n";
    let space = TestSpace::with(&[("Makefile", makefile), ("a.c", "int a;\n"), ("q/t.c", "int t;\n")]);
    space.sh("ln -s q pre").ok();
    let trace = run_recorded(&space);
    assert_eq!(replayed(&space, &trace).run, 0);
    assert_eq!(space.read("m2"), b"y\n");
    space.write("q/new.c", "");
    assert_eq!(replayed(&space, &trace).run, 0);
}

/// Many of one kind hide none of another.
#[test]
fn of_many_things_that_a_command_does_none_is_forgotten() {
    let makefile = "a.txt: in\n\tmkdir a1 a2 a3 a4 a5 a6 a7 a8 a9; rm -f old; cp in a.txt\n";
    let space = TestSpace::with(&[("Makefile", makefile), ("in", "1\n"), ("old", "\n")]);
    let trace = run_recorded(&space);
    space.sh("rmdir a?; echo >old").ok();
    space.write("in", "2\n");
    replay(&space, &trace, &[]).fails().says("removes");
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

/// What make starts at the same time comes in no order: a command that lists a directory in which another one makes something is run again
/// without that. So do libtool's links and compiles in `.libs`.
#[test]
fn what_others_make_meanwhile_is_not_there_for_who_does_not_use_it() {
    const MAKEFILE: &str = "all: one two\none:\n\tsleep 0.2; cat in1 >d/one.o\n\
        two:\n\trm -f d/lib*; sleep 0.5; rm -f d/lib*; cat in2 >d/lib.so\n";
    for method in ["auto", "ptrace"] {
        let space = TestSpace::with(&[("Makefile", MAKEFILE), ("in1", "1\n"), ("in2", "2\n"), ("d/old", "")]);
        space.keep();
        let trace = space.outside().join("trace");
        space.ggtrace(&["--method", method, "--run", "-o", trace.to_str().unwrap(), "make", "-j2"]).ok();
        let edit = || space.write("in2", "22\n");
        edit();
        assert_eq!(replayed(&space, &trace).run, 1, "{method}");
        is_as_made(&space, edit);
    }
}
