// SPDX-License-Identifier: Apache-2.0
//! Replays of builds that failed when they were recorded: what they did is done, and that it is not all is told.

use tests::{Forced, TestSpace};

use super::replay;

fn failing(how: &str, makefile: &str, keep_going: &str) -> (TestSpace, std::path::PathBuf) {
    let space = TestSpace::with(&[
        ("Makefile", makefile),
        ("a.c", "int a;\n"),
        ("in", "1\n"),
        ("fails.c", "int main(void) { return 3; }\n"),
    ]);
    let trace = space.outside().join("trace");
    space.ggtrace(&[how, "-o", trace.to_str().unwrap(), "make", keep_going]).fails();
    (space, trace)
}

#[test]
fn what_was_done_is_done_and_the_failure_told() {
    // The last is no failure of the build.
    let makefile = "all: a.o out end\na.o: a.c\n\tgcc -c a.c\nout: in\n\t-false\n\tif grep x in; then :; fi; cat in >out\n\
        end: fails\n\t./fails\n\techo >end\nfails: fails.c\n\tgcc -o fails fails.c\n";
    for how in ["--run", "-v"] {
        let (space, trace) = failing(how, makefile, "-s");
        space.sh("rm -f a.o out").ok();
        let again = replay(&space, &trace, &[]).fails();
        let told = "the recorded build failed at command ";
        assert!(
            again
                .err()
                .lines()
                .any(|line| line.contains(told) && line.contains("(./fails), which ended with 3")),
            "{again}"
        );
        assert_eq!(again.code(), 1);
        assert!(space.path("a.o").exists() && !space.path("end").exists(), "{how}");
        assert_eq!(space.read("out"), b"1\n");
        // Also where there is nothing to do.
        replay(&space, &trace, &[]).fails().says(told);
        replay(&space, &trace, &["a.o"]).fails().says(told);
        // And after what could be done.
        space.write("a.c", "int a, b;\n");
        let again = replay(&space, &trace, &[]).fails().says(told);
        assert_eq!(Forced::of(&again).run, 1);
    }
}

#[test]
fn make_itself_may_be_what_failed() {
    let (space, trace) = failing("--run", "all: out none\nout: in\n\tcp in out; grep 2 out; true\n", "-k");
    space.sh("rm out").ok();
    replay(&space, &trace, &[]).fails().says("failed at command 1 (make -k), which ended with 2");
    assert_eq!(space.read("out"), b"1\n");
}
