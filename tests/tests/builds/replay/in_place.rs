// SPDX-License-Identifier: Apache-2.0
//! Files that several commands write one after the other.

use tests::TestSpace;

use super::{built, is_as_made, replay};

/// Commands that change what the one before them has made, or give it another name, however fast they follow.
#[test]
fn changes_in_place_are_done_again() {
    const MAKEFILE: &str = "all: lib.a prog text moved made\n\
        lib.a: a.o b.o\n\tar cr $@ a.o\n\tar r $@ b.o\n\tranlib $@\n\
        prog: main.o lib.a\n\tgcc -g -o $@ main.o lib.a\n\tstrip $@\n\
        text: words tail\n\tcat words >$@\n\tsed -i -e s/one/two/ $@\n\tcat tail >>$@\n\techo end >>$@\n\
        moved: words\n\tcat words >new\n\techo more >>new\n\tmv new $@\n\
        made: tail\n\tcat tail >$@.tmp\n\tcmp -s $@.tmp $@ || mv $@.tmp $@\n";
    for how in ["--run", "-v"] {
        let space = TestSpace::with(&[
            ("a.c", "int a(void) { return 1; }\n"),
            ("b.c", "int b(void) { return 2; }\n"),
            ("main.c", "int a(void);\nint b(void);\nint main(void) { return a() + b(); }\n"),
            ("words", "one\n"),
            ("tail", "tail\n"),
            ("Makefile", MAKEFILE),
        ]);
        let trace = space.outside().join("trace");
        space.ggtrace(&[how, "-o", trace.to_str().expect("our own path"), "make"]).ok();
        space.force_all();
        space.keep();
        let edits =
            [("a.c", "1", "5"), ("b.c", "2", "6"), ("words", "one", "one one"), ("tail", "tail", "rest")];
        for edit in edits {
            let edit = || space.replace(edit.0, edit.1, edit.2);
            edit();
            replay(&space, &trace, &[]).ok();
            is_as_made(&space, edit);
            space.restore();
        }
    }
}

#[test]
fn what_ran_left_what_a_deferred_command_was_to_change_at_once() {
    // Before it is on record what `ar` has left, for it takes long to name what that command read. The first archive has ranlib looked at.
    let space = TestSpace::with(&[
        ("a.c", "int a(void) { return 1; }\n"),
        (
            "Makefile",
            "all: first.a lib.a\nfirst.a: a.o\n\tar rc $@ a.o\n\tranlib $@\n\
             lib.a: a.o\n\tcat 0 >/dev/null; ar rv $@ a.o\n\tranlib $@\n",
        ),
    ]);
    space.sh("head -c 50000000 /dev/zero >0").ok();
    let trace = built(&space);
    space.keep();
    let edit = || space.replace("a.c", "1", "5");
    edit();
    replay(&space, &trace, &[]).ok();
    is_as_made(&space, edit);
}

/// What it was before is not known then, and a replay must not undo what somebody has written since.
#[test]
fn a_source_that_a_command_changes_and_somebody_edits_stays_as_it_is() {
    for recipe in ["sed -i s/1/3/ in; cat in > out", "mv in in2; cat in2 > out; mv in2 in", "echo 2 >> in"] {
        for how in ["--run", "-v"] {
            let space = TestSpace::with(&[("in", "1\n"), ("Makefile", &format!("out:\n\t{recipe}\n"))]);
            let trace = space.outside().join("trace");
            space.ggtrace(&[how, "-o", trace.to_str().expect("our own path"), "make"]).ok();
            let left = space.read("in");
            replay(&space, &trace, &[]).ok();
            assert_eq!(space.read("in"), left, "{recipe} {how}");
            space.write("in", "other\n");
            replay(&space, &trace, &[]).fails().says("in has changed");
            assert_eq!(space.read("in"), b"other\n", "{recipe} {how}");
        }
    }
}
