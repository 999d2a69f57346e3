// SPDX-License-Identifier: Apache-2.0
//! Replays of builds that make directories: those that a command makes itself are not there before it.

use tests::{Snapshot, TestSpace};

use super::names::run_recorded;
use super::{is_as_made, replay, replayed};

/// Each way to make a directory tells whether it is there.
#[test]
fn what_a_command_makes_is_not_there_before_it() {
    const RECIPES: [&str; 6] = [
        "mkdir out && cp in out/a",
        "if mkdir out; then cp in out/a; else echo was there >out/a; fi",
        "if test -d out; then echo was there >out/a; else mkdir -p out/b/c && cat in >out/b/c/x && ls out >out/a; fi",
        "test -d none || mkdir none; mkdir none/b; cat in >x",
        "mkdir out; cd out; mkdir z; test -e a || cp ../in a; cp ../in z/y",
        "cp in x; mkdir -m 755 out && mkdir out/empty; cp in y",
    ];
    for recipe in RECIPES {
        let makefile = format!("all:\n\t{recipe}\n");
        let space = TestSpace::with(&[("Makefile", &makefile), ("in", "1\n")]);
        space.keep();
        let trace = run_recorded(&space);
        let edit = || space.write("in", "2\n");
        edit();
        assert_eq!(replayed(&space, &trace).run, 1, "{recipe}");
        is_as_made(&space, edit);
    }
}

/// What one command makes is there for the others, whichever of them is done again.
#[test]
fn what_another_command_makes_is_there() {
    const MAKEFILE: &str = "all: out/b\n\
        out/a: in\n\tmkdir -p out && cp in out/a\n\
        out/b: out/a more\n\tmkdir -p out; test -d out && cat out/a more >out/b; ls out >names\n";
    let space = TestSpace::with(&[("Makefile", MAKEFILE), ("in", "1\n"), ("more", "more\n")]);
    space.keep();
    let trace = run_recorded(&space);
    for name in ["in", "more"] {
        space.write(name, "2\n");
        assert_eq!(replayed(&space, &trace).run, 1, "the last of them, {name}");
    }
    is_as_made(&space, || ["in", "more"].iter().for_each(|name| space.write(name, "2\n")));
}

/// A directory that was there before goes and comes again.
#[test]
fn what_a_command_removes_and_makes_is_there_before_it() {
    let makefile = "out/a: in\n\trmdir out && mkdir out && cp in out/a\n";
    let space = TestSpace::with(&[("Makefile", makefile), ("in", "1\n")]);
    space.sh("mkdir out").ok();
    space.keep();
    let trace = run_recorded(&space);
    let edit = || space.write("in", "2\n");
    edit();
    assert_eq!(replayed(&space, &trace).run, 1);
    is_as_made(&space, edit);
}

/// In a fresh copy of the sources.
#[test]
fn directories_are_left_as_the_build_left_them() {
    const MAKEFILE: &str = "all: ro/y is\nis:\n\tmkdir was; mv was is\n\
        private/x: in\n\tmkdir -p obj/empty gone; mkdir -m 700 private; cp in private/x; rmdir gone\n\
        ro/y: private/x\n\tmkdir ro\n\tcp in ro/y\n\tchmod 555 ro\n\tinstall -d -m 750 inst/in\n\tmkdir left; mv left kept; touch left\n";
    for how in ["--run", "-v"] {
        let space = TestSpace::with(&[("Makefile", MAKEFILE), ("in", "1\n")]);
        space.keep();
        let trace = space.outside().join("trace");
        space.ggtrace(&[how, "-o", trace.to_str().unwrap(), "make"]).ok();
        let built = Snapshot::of(&space.tree());
        let is_idle = || assert_eq!(replayed(&space, &trace).run, 0, "{how}");
        is_idle();
        space.restore();
        is_idle();
        assert_eq!(built.deviations(&Snapshot::of(&space.tree())), "", "{how}");
        // One that somebody has given another mode keeps it; one that is gone comes again, though nothing was in it.
        space.sh("chmod 711 private; rm -r obj").ok();
        is_idle();
        space.sh("test `stat -c %a private` = 711; test -d obj/empty").ok();
        // With another input.
        space.restore();
        let edit = || space.write("in", "2\n");
        edit();
        assert!(replay(&space, &trace, &[]).ok().code() == 0);
        is_as_made(&space, edit);
        // Of one file that was asked for all above it is made.
        space.restore();
        replay(&space, &trace, &["ro/y"]).ok();
        space.sh("test `stat -c %a ro` = 555; test ! -e obj; test ! -e private").ok();
    }
}

/// In a fresh copy of the sources, where something is to be made anew.
#[test]
fn a_deferred_command_finds_the_directories_that_the_build_had_made_for_it() {
    const MAKEFILE: &str = "all: b/o/a.o b/c.o d/e.o\nb/o/a.o: a.c\n\tmkdir -p b/o b/inc\n\tgcc -Ib/inc -c a.c -o $@\n\
        b/c.o: b/o/a.o\n\tcd b && gcc -c ../a.c -o c.o\nd/e.o: a.c\n\tmkdir d\n\tcp a.c d\n\tcd d && gcc -c a.c -o e.o\n";
    let space = TestSpace::with(&[("Makefile", MAKEFILE), ("a.c", "int a;\n")]);
    space.keep();
    let trace = space.outside().join("trace");
    space.ggtrace(&["-o", trace.to_str().unwrap(), "make"]).ok();
    space.force_all();
    space.restore();
    let edit = || space.replace("a.c", "a;", "a = 4;");
    edit();
    replay(&space, &trace, &[]).ok();
    is_as_made(&space, edit);
}

/// libtool takes archives to pieces in directories that it removes again.
#[test]
fn what_the_build_had_removed_again_is_not_left() {
    const MAKEFILE: &str = "all.a: lib.a other\n\trm -rf all.lax\n\tmkdir all.lax\n\tmkdir all.lax/lib\n\
        \t(cd all.lax/lib && ar x $$OLDPWD/lib.a)\n\tar cr $@ `find all.lax -name '*.o'`\n\trm -rf all.lax\n\tgrep one other\n\
        lib.a: a.o\n\tar cr $@ a.o\na.o: a.c\n\tgcc -c a.c\n";
    let space = TestSpace::with(&[("Makefile", MAKEFILE), ("a.c", "int a;\n"), ("other", "one\n")]);
    space.keep();
    let trace = space.outside().join("trace");
    space.ggtrace(&["-o", trace.to_str().unwrap(), "make"]).ok();
    space.force_all();
    let edit = || space.replace("a.c", "a;", "a = 4;");
    edit();
    replay(&space, &trace, &[]).ok();
    is_as_made(&space, edit);
    // Nor where the replay ends before.
    space.replace("other", "one", "one more");
    replay(&space, &trace, &[]).fails().says("leaves no file");
    space.sh("test ! -e all.lax").ok();
}

/// A trace has paths as they were named, a thunk where that leads.
#[test]
fn what_stands_behind_a_link_to_a_directory() {
    for makefile in [
        "all: y\ns/x: in\n\tcp in s/x\ny: s/x\n\tcat s/x s/x >y\n",
        "all: y\ns/x: in\n\tcp in s/x\ny: s/x\n\tcat real/x real/x >y\n",
        "D = $(CURDIR)/s\nall: y\n$D/x: in\n\tcp in $D/x\ny: $D/x\n\tcat $D/x s/x >y\n",
    ] {
        let space = TestSpace::with(&[("Makefile", makefile), ("in", "1\n"), ("real/keep", "")]);
        space.sh("ln -s real s").ok();
        let trace = run_recorded(&space);
        space.keep();
        let edit = || space.write("in", "2\n");
        edit();
        replay(&space, &trace, &[]).ok();
        is_as_made(&space, edit);
    }
}

/// It made one when it was recorded, and makes another now.
#[test]
fn a_directory_that_a_command_did_not_make_then_is_told() {
    let space = TestSpace::with(&[
        ("Makefile", "d/out: in\n\tmkdir d; cp in d/out; ! grep -q two in || mkdir extra\n"),
        ("in", "one\n"),
    ]);
    let trace = run_recorded(&space);
    space.write("in", "three\n");
    replayed(&space, &trace);
    assert_eq!(space.read("d/out"), b"three\n");
    space.write("in", "two\n");
    replay(&space, &trace, &[]).fails().says("it made the directory").says("extra");
}

#[test]
fn a_file_in_the_way_of_a_directory_that_the_build_left() {
    let space = TestSpace::with(&[("Makefile", "out: in\n\tmkdir empty; cp in out\n"), ("in", "1\n")]);
    let trace = run_recorded(&space);
    space.sh("rmdir empty; echo mine >empty").ok();
    replay(&space, &trace, &[]).fails().says("the build left a directory there");
    assert_eq!(space.read("empty"), b"mine\n");
}

/// Whatever ends the replay.
#[test]
fn a_private_directory_is_private_also_where_something_else_fails() {
    let space = TestSpace::with(&[
        (
            "Makefile",
            "all: priv/x out\npriv/x: in\n\tmkdir -m 700 priv; cp in priv/x\nout: other\n\tgrep 1 other >out\n",
        ),
        ("in", "1\n"),
        ("other", "1\n"),
    ]);
    let trace = run_recorded(&space);
    space.sh("rm -r priv").ok();
    space.write("other", "2\n");
    replay(&space, &trace, &["-k"]).fails();
    space.sh("test ! -e priv || test $(stat -c %a priv) = 700").ok();
    space.write("other", "1\n");
    replayed(&space, &trace);
    space.sh("test $(stat -c %a priv) = 700").ok();
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
