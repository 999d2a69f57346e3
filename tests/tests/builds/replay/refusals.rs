// SPDX-License-Identifier: Apache-2.0
//! A replay that cannot be done says why in one line, and names the command that is concerned.

use tests::TestSpace;

use super::names::run_recorded;
use super::replay;

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
