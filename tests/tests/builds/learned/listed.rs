// SPDX-License-Identifier: Apache-2.0
//! Where a learned command is forced with other inputs the directories that it lists have the names that they have.

use tests::TestSpace;

/// A build beside its sources, of which a generator gives the names, and then `uses` of those in `in`, as `$f`.
fn beside_sources(lists: &str, uses: &str, more: &[(&str, &str)]) -> TestSpace {
    let script = format!("(cat $1; {lists}; for f in $(cat $1); do {uses} ../src/$f; done) >$2\n");
    let files = [
        ("build/Makefile", "out: ../in ../gen.sh\n\tsh ../gen.sh ../in out\n"),
        ("gen.sh", &script),
        ("in", "one\n"),
        ("src/one", "1\n"),
        ("src/two", "2\n"),
    ];
    TestSpace::with(&[&files, more].concat())
}

/// Records the build after this change. Is it deferred?
fn recorded(space: &TestSpace, change: &str) -> bool {
    let ggtrace = TestSpace::program("ggtrace");
    std::thread::sleep(std::time::Duration::from_millis(20));
    space.sh(&format!("{change}; cd build; rm -f out; {} make", ggtrace.display())).ok();
    space.is_placeholder("build/out")
}

/// Forces it, and compares with plain make.
#[track_caller]
fn is_as_made(space: &TestSpace, shown: &str) {
    space.ggforce(&["build/out"]).ok();
    let ours = space.read("build/out");
    space.sh("cd build; rm out; make").ok();
    assert_eq!(String::from_utf8(ours), String::from_utf8(space.read("build/out")), "{shown}");
}

/// The sources of a build may stand beside it. All names there count, also of what the command has never looked at.
#[test]
fn a_directory_beside_the_build_is_listed_with_all_its_names() {
    for lists in ["for f in ../src/*; do echo $f; done", "ls ../src", "find ../src | sort"] {
        let space = beside_sources(lists, "cat", &[("src/deep/file", "")]);
        space.sh("ln -s nowhere src/link; chmod +x src/two").ok();
        let mut deferred = 0;
        for change in [
            ":",
            ":",
            "echo two >in",
            "echo 3 >src/three; echo one >in",
            "echo three >in",
            "echo 33 >src/three; echo two three >in",
        ] {
            deferred += u32::from(recorded(&space, change));
            is_as_made(&space, &format!("{lists}: {change}"));
        }
        assert!(deferred > 2, "{lists}: {deferred}");
    }
}

/// What is in a private directory is for nobody else, whatever modes it has itself: a store may be shared.
#[test]
fn what_is_in_a_private_directory_is_not_stored() {
    let space = TestSpace::with(&[
        ("build/Makefile", "out: ../in\n\t(ls ../own | wc -l; cat ../in) >out\n"),
        ("in", "one\n"),
        ("own/credentials", "hunter2\n"),
    ]);
    space.sh("chmod 700 own").ok();
    for change in [":", ":", "echo two >in", "echo three >in"] {
        recorded(&space, change);
        space.ggforce(&["build/out"]).ok();
    }
    assert_eq!(space.read("build/out"), b"1\nthree\n");
    assert_ne!(space.sh("grep -rq hunter2 \"$GG_DIR\"").code(), 0);
}

/// What is very large, or not for everybody to read, is there for who lists its directory, and for nobody who wants more of it.
#[test]
fn of_what_is_not_given_there_is_the_name() {
    for lists in ["for f in ../src/*; do echo $f; done", "ls ../src", "find ../src -type f | sort"] {
        let space = beside_sources(lists, "wc -c <", &[("src/secret", "hunter2\n")]);
        space.sh("chmod 600 src/secret; truncate -s 65M src/large src/larger; chmod +x src/large").ok();
        let mut deferred = 0;
        for (change, is_given) in [(":", true), ("echo two >in", true), ("echo large >in", false)] {
            let is_deferred = recorded(&space, change);
            deferred += u32::from(is_deferred);
            if is_deferred && !is_given {
                space.ggforce(&["build/out"]).fails().says("it looked at").says("src/large");
                continue;
            }
            is_as_made(&space, &format!("{lists}: {change}"));
        }
        assert_eq!(deferred, 2, "{lists}");
        assert_ne!(space.sh("grep -rq hunter2 \"$GG_DIR\"").code(), 0);
    }
}
