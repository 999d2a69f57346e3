// SPDX-License-Identifier: Apache-2.0
//! Replays of builds whose commands keep something for themselves outside of the project, as caches do.

use std::fs;

use tests::TestSpace;

use super::names::run_recorded;
use super::{replay, replayed};

/// Others go on with what a command has read and changed: that is no input, and no work of the build.
#[test]
fn what_commands_keep_for_themselves_is_neither_input_nor_product() {
    let space = TestSpace::with(&[("in", "1\n"), ("in2", "1\n")]);
    let state = space.outside().join("state");
    let shown = state.display();
    let keeps = format!(
        "#include <stdio.h>\nint main(void) {{\n    int n = 0;\n    FILE *old = fopen(\"{shown}\", \"r\");\n    \
         fscanf(old, \"%d\", &n);\n    FILE *new = fopen(\"{shown}.new\", \"w\");\n    fprintf(new, \"%d\\n\", n + 1);\n    \
         fclose(new);\n    return rename(\"{shown}.new\", \"{shown}\");\n}}\n"
    );
    space.write("keeps.c", keeps);
    space.sh("cc -w -o keeps keeps.c").ok();
    let recipe = "./keeps; cp $< $@";
    space.write("Makefile", format!("all: out out2\nout: in\n\t{recipe}\nout2: in2\n\t{recipe}\n"));
    fs::write(&state, "1\n").unwrap();
    let trace = run_recorded(&space);
    assert_eq!(fs::read(&state).unwrap(), b"3\n");
    fs::write(&state, "17\n").unwrap();
    space.sh("rm out2").ok();
    assert_eq!(replayed(&space, &trace).run, 0);
    assert_eq!((fs::read(&state).unwrap(), space.read("out2")), (b"17\n".to_vec(), b"1\n".to_vec()));
    // Who runs again goes on with what there is.
    space.write("in2", "2\n");
    assert_eq!(replayed(&space, &trace).run, 1);
    assert_eq!((fs::read(&state).unwrap(), space.read("out2")), (b"18\n".to_vec(), b"2\n".to_vec()));
    // What the first of them found is not known any more.
    space.write("in", "2\n");
    replay(&space, &trace, &[]).fails().says("on which it depends; run the build");
    assert_eq!((fs::read(&state).unwrap(), space.read("out")), (b"18\n".to_vec(), b"1\n".to_vec()));
}

/// What is named on a command line is the build's, however it is replaced.
#[test]
fn what_the_build_replaces_outside_of_where_it_works_is_its_own() {
    for recipe in [
        "cmp -s in ../gen/out || { cp in t; mv t ../gen/out; }",
        "sed -i s/1/2/ ../gen/out; cp ../gen/out out",
    ] {
        let space = TestSpace::with(&[
            ("build/Makefile", &format!("all:\n\t{recipe}\n")),
            ("build/in", "2\n"),
            ("gen/out", "1\n"),
        ]);
        let trace = space.outside().join("trace");
        let record = format!(
            "cd build; exec {} --run -o {} make",
            TestSpace::program("ggtrace").display(),
            trace.display()
        );
        space.sh(&record).ok();
        assert_eq!(space.read("gen/out"), b"2\n");
        space.sh("rm gen/out").ok();
        replayed(&space, &trace);
        assert_eq!(space.read("gen/out"), b"2\n", "{recipe}");
        space.write("gen/out", "3\n");
        let again = replay(&space, &trace, &[]);
        assert!(again.code() != 0 || space.read("gen/out") == b"2\n", "{recipe}: {again}");
    }
}

/// What somebody else reads, or the build has made, is no less than any other file.
#[test]
fn what_others_read_outside_of_the_project_counts() {
    let space = TestSpace::with(&[("in", "1\n")]);
    let [read, made] = ["read", "made"].map(|name| space.outside().join(name));
    let (r, m) = (read.display(), made.display());
    let makefile = format!(
        "all: out out2 {m}\nout: in\n\tread n <{r}; echo $$((n + 1)) >{r}.new; mv {r}.new {r}; cp in $@\nout2: out\n\tcat {r} >$@\n\
         {m}: in\n\techo 1 >$@\n\techo 2 >>$@\n"
    );
    space.write("Makefile", makefile);
    fs::write(&read, "1\n").unwrap();
    let trace = run_recorded(&space);
    fs::write(&made, "other\n").unwrap();
    replayed(&space, &trace);
    assert_eq!(fs::read(&made).unwrap(), b"1\n2\n");
    fs::write(&read, "17\n").unwrap();
    let again = replay(&space, &trace, &[]);
    assert!(again.code() != 0 || space.read("out2") != b"2\n", "{again}");
}

/// A cache notes which of its files were used last.
#[test]
fn another_time_that_a_command_gave_to_what_it_read_outside_is_no_change() {
    for touch in ["touch", "touch -c"] {
        let space = TestSpace::with(&[("in", "1\n")]);
        let entry = space.outside().join("entry");
        let shown = entry.display();
        space.write("Makefile", format!("out: in\n\tcat in {shown} >out; {touch} {shown}\n"));
        fs::write(&entry, "1\n").unwrap();
        let trace = run_recorded(&space);
        space.sh(&format!("sleep 0.01; touch {shown}")).ok();
        assert_eq!(replayed(&space, &trace).run, 0, "{touch}");
        fs::write(&entry, "2\n").unwrap();
        replay(&space, &trace, &[]).fails().says("entry has changed");
    }
}

/// The first time, as after others have used it since.
#[test]
fn builds_with_a_compiler_cache() {
    let mut space = TestSpace::with(&[
        ("Makefile", "CC = ccache gcc\nprog: a.o b.o\n\t$(CC) -o $@ $^\n"),
        ("a.c", "int b(void);\nint main(void) { return b(); }\n"),
        ("b.c", "int b(void) { return 1; }\n"),
        ("c.c", "int c;\n"),
    ]);
    if space.run(&["sh", "-c", "command -v ccache"]).code() != 0 {
        println!("there is no ccache here");
        return;
    }
    space.set("CCACHE_DIR", space.outside().join("cache"));
    // Nothing is in the cache, then all is, and its statistics are there.
    for _ in 0..3 {
        space.sh("rm -f *.o prog").ok();
        let trace = run_recorded(&space);
        assert_eq!(replayed(&space, &trace).run, 0);
        space.sh("for i in 1 2 3; do ccache gcc -c c.c -o c.o; ccache gcc -c a.c -o c.o; done; rm c.o").ok();
        assert_eq!(replayed(&space, &trace).run, 0);
        space.sh("rm b.o prog").ok();
        replayed(&space, &trace);
        assert_eq!(space.run(&["./prog"]).code(), 1);
    }
}
