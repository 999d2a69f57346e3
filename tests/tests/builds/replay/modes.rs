// SPDX-License-Identifier: Apache-2.0
//! Replays and the modes of files: those that a build gave, and whether inputs may be executed.

use tests::{Snapshot, TestSpace};

use super::names::run_recorded;
use super::{built, is_as_made, replay};

#[test]
fn modes_and_links_are_put_back() {
    let space = TestSpace::with(&[
        ("script.in", "#!/bin/sh\necho one\n"),
        ("a.c", "int main(void) { return 0; }\n"),
        (
            "Makefile",
            "all: script out to/prog to/link to/text\nscript: script.in\n\tsed -e s/x/y/ script.in >$@\n\tchmod 750 $@\n\
             out: script\n\t./script >$@\nprog: a.c\n\tgcc -g -o $@ a.c\nto/prog: prog\n\tmkdir -p to\n\
             \tinstall -m 711 prog $@\n\tstrip $@\nto/link: to/prog\n\tln -sf prog $@\nto/text: script.in\n\tinstall -m 640 script.in $@\n",
        ),
    ]);
    let trace = built(&space);
    let before = Snapshot::of(&space.tree());
    space.sh("rm -rf to script prog").ok();
    replay(&space, &trace, &[]).ok();
    assert_eq!(before.deviations(&Snapshot::of(&space.tree())), "");
    space.keep();
    let edit = || space.replace("a.c", "0", "1");
    edit();
    replay(&space, &trace, &[]).ok();
    is_as_made(&space, edit);
}

/// Whether an input may be executed decides what `test -x` finds, and which mode `cp` gives.
#[test]
fn whether_inputs_may_be_executed_counts() {
    const ASKS: &str = "if test -x in; then echo yes; fi";
    for recipe in ["cp in out; :", "if test -x in; then echo yes > out; else echo no > out; fi", ASKS] {
        for (before, after) in [("644", "755"), ("755", "644")] {
            for how in ["--run", "-v"] {
                let space = TestSpace::with(&[("in", ""), ("Makefile", &format!("out:\n\t{recipe}\n"))]);
                space.sh(&format!("chmod {before} in")).ok();
                let trace = space.outside().join("trace");
                space.ggtrace(&[how, "-o", trace.to_str().expect("our own path"), "make"]).ok();
                space.force_all();
                replay(&space, &trace, &[]).ok();
                space.sh(&format!("chmod {after} in")).ok();
                let again = replay(&space, &trace, &[]);
                // What leaves no file and was allowed to ask has no thunk that would tell.
                if recipe != ASKS || after == "755" {
                    again.fails().says("in may");
                }
            }
        }
    }
}

#[test]
fn what_the_build_itself_makes_executable_is_no_change() {
    let makefile = "all:\n\tcat run.sh > copy\n\ttest -x run.sh || chmod +x run.sh\n\t./run.sh > out\n";
    let space = TestSpace::with(&[("run.sh", "#!/bin/sh\necho 1\n"), ("Makefile", makefile)]);
    space.sh("chmod 644 run.sh").ok();
    let trace = run_recorded(&space);
    replay(&space, &trace, &[]).ok();
}

/// The next line of a recipe changes it before anybody has looked at what the one before has left.
#[test]
fn modes_and_times_that_another_command_changes_at_once() {
    let space = TestSpace::with(&[
        ("a.c", "int main(void) { return 0; }\n"),
        (
            "Makefile",
            "all: lib.so script empty aged\nlib.so: a.c\n\tgcc -shared -fPIC -o $@ a.c\n\tchmod a-x $@\n\
             script: a.c\n\tsed -e s/main/other/ a.c >$@\n\tchmod +x $@\n\
             empty: a.c\n\tsed -e d a.c >$@\n\tchmod 700 $@\n\
             aged: a.c\n\tcat a.c >$@\n\tperl -e 'utime undef, undef, \"$@\"'\n",
        ),
    ]);
    space.keep();
    let trace = run_recorded(&space);
    let edit = || space.replace("a.c", "0", "1");
    edit();
    replay(&space, &trace, &[]).ok();
    is_as_made(&space, edit);
}
