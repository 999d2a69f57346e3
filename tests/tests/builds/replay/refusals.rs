// SPDX-License-Identifier: Apache-2.0
//! A replay that cannot be done says why in one line, and names the command that is concerned.

use std::fs;
use std::time::Duration;

use tests::TestSpace;

use super::names::run_recorded;
use super::{built, replay, replayed};
use crate::calculator::calculator;

fn refused(space: &TestSpace, trace: &std::path::Path) -> String {
    let again = replay(space, trace, &[]).fails();
    let lines: Vec<String> = again.err().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 1, "{again}");
    lines[0].clone()
}

#[test]
fn one_line_names_the_command_that_is_concerned() {
    let makefile = "all: out old\n\t@$(MAKE) -s -f other.mk\nout: in\n\tcp in out\nold: list\n\tif test -e list; then \\\n\
        \trm list; cp in old; fi\n";
    let space = TestSpace::with(&[("Makefile", makefile), ("in", "1\n"), ("list", "")]);
    space.write("other.mk", "all: ; cp in third\n");
    let trace = run_recorded(&space);
    space.write("in", "2\n");
    let line = refused(&space, &trace);
    assert!(line.contains("in has changed, so command ") && line.contains("removes "), "{line}");
    space.write("in", "1\n");
    space.write("other.mk", "all: ; cp in fourth\n");
    let line = refused(&space, &trace);
    assert!(
        line.contains("other.mk has changed; command ") && line.contains("-f other.mk) looked at it"),
        "{line}"
    );
}

/// On another machine it would come out as for that one, and neither the replay nor the trace knows where that will be.
#[test]
fn what_goes_by_the_processor_is_not_compiled_again() {
    let makefile = "a.o: a.c\n\tgcc @options -c a.c -o a.o\n";
    for (options, is_refused) in [("-O1", false), ("-O1 -mtune=native", true)] {
        let space = TestSpace::with(&[("Makefile", makefile), ("a.c", "int a;\n"), ("options", options)]);
        let trace = run_recorded(&space);
        assert_eq!(replayed(&space, &trace).run, 0, "nothing has changed");
        space.write("a.c", "int a, b;\n");
        if is_refused {
            let line = refused(&space, &trace);
            assert!(line.contains("goes by this machine's processor"), "{line}");
        } else {
            assert_eq!(replayed(&space, &trace).run, 1);
        }
    }
}

/// New ones, as under make. Perl reads some at its start. Whoever does so runs each time that make has it run.
#[test]
fn who_takes_random_numbers_runs_again() {
    let makefile =
        "all: a b\na: in\n\tperl -pe 's/x/y/' in >a\nb: in\n\tcat in >b; head -c 8 /dev/urandom >>b\n";
    let space = TestSpace::with(&[("Makefile", makefile), ("in", "x\n")]);
    let trace = run_recorded(&space);
    let before = space.read("b");
    assert_eq!(replayed(&space, &trace).run, 0, "nothing has changed");
    assert_eq!(space.read("b"), before);
    space.write("in", "xx\n");
    assert_eq!(replayed(&space, &trace).run, 2);
    assert_eq!(space.read("a"), b"yx\n");
    assert!(space.read("b").starts_with(b"xx\n"));
    assert_ne!(space.read("b")[3..], before[2..]);
    // A recording has it run anew, too.
    for path in ["a", "b"] {
        fs::remove_file(space.path(path)).unwrap();
    }
    space.write("in", "x\n");
    space.ggtrace(&["make"]).ok();
    space.ggforce(&[]).ok();
    assert_ne!(space.read("b")[2..], before[2..]);
}

/// Not the command that comes first to what is not to be had.
#[test]
fn who_fails_again_is_named() {
    let makefile = "all: b\na: in\n\tgrep 1 in >a\nb: a\n\tcat a >b\n";
    let space = TestSpace::with(&[("Makefile", makefile), ("in", "1\n")]);
    let trace = run_recorded(&space);
    space.write("in", "2\n");
    let again = replay(&space, &trace, &[]).fails();
    let last = again.err().lines().last().unwrap_or_default().to_owned();
    assert!(last.contains("cannot be made by command ") && last.contains("grep 1 in"), "{again}");
}

/// What a command read is not known where somebody edits it meanwhile.
#[test]
fn what_was_edited_while_it_was_read_and_once_more_is_told() {
    let space = TestSpace::with(&[("in.txt", "1\n")]);
    let edited = space.outside().join("edited");
    let wait = format!("until test -e {}; do sleep 0.02; done", edited.display());
    space.write("Makefile", format!("out: in.txt\n\tcat in.txt >out.new; {wait}; mv out.new out\n"));
    let trace = space.outside().join("trace");
    let build = space.start_program("ggtrace", &["-o".as_ref(), trace.as_os_str(), "make".as_ref()]);
    while !fs::read(space.path("out.new")).is_ok_and(|text| text == b"1\n") {
        std::thread::sleep(Duration::from_millis(5));
    }
    space.write("in.txt", "2\n");
    fs::write(&edited, "").unwrap();
    build.wait().ok();
    assert_eq!(replayed(&space, &trace).run, 0, "make has nothing to do either");
    space.write("in.txt", "3\n");
    replay(&space, &trace, &[]).fails().says("in.txt has changed");
}

#[test]
fn a_makefile_that_is_made_anew_is_told_whoever_makes_it() {
    const MAKEFILE: &str = "all: s\ninclude gen.mk\n\
        gen.mk: list\n\tawk '{ print \"all: g\" NR \"\\ng\" NR \":\\n\\tcp s \" $$1 }' list > $@\n";
    let space = TestSpace::with(&[("Makefile", MAKEFILE), ("s", "s\n"), ("list", "g1\ng2\n")]);
    built(&space);
    space.sh("rm gen.mk g1 g2").ok();
    let trace = built(&space);
    assert!(space.shown().deferred > 0, "it is learned");
    std::thread::sleep(Duration::from_millis(20));
    space.write("list", "g1\n");
    replay(&space, &trace, &[]).fails().says("gen.mk is made anew");
}

#[test]
fn a_source_that_is_gone_is_told() {
    let space = calculator();
    let trace = built(&space);
    fs::remove_file(space.path("add.c")).expect("our own file");
    replay(&space, &trace, &[]).fails().says("add.c");
}
