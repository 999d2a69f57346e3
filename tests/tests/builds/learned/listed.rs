// SPDX-License-Identifier: Apache-2.0
//! Where a learned command is forced with other inputs the directories that it lists have the names that they have.

use tests::TestSpace;

/// The sources of a build may stand beside it. All names there count, also of what the command has never looked at.
#[test]
fn a_directory_beside_the_build_is_listed_with_all_its_names() {
    for lists in ["for f in ../src/*; do echo $f; done", "ls ../src", "find ../src | sort"] {
        let space = TestSpace::with(&[
            ("build/Makefile", "out: ../in ../gen.sh\n\tsh ../gen.sh ../in out\n"),
            ("gen.sh", &format!("(cat $1; {lists}; for f in $(cat $1); do cat ../src/$f; done) >$2\n")),
            ("in", "one\n"),
            ("src/one", "1\n"),
            ("src/two", "2\n"),
            ("src/deep/file", ""),
        ]);
        space.sh("ln -s nowhere src/link; chmod +x src/two").ok();
        let ggtrace = TestSpace::program("ggtrace").display().to_string();
        let mut deferred = 0;
        for change in [
            ":",
            ":",
            "echo two >in",
            "echo 3 >src/three; echo one >in",
            "echo three >in",
            "echo 33 >src/three; echo two three >in",
        ] {
            std::thread::sleep(std::time::Duration::from_millis(20));
            space.sh(&format!("{change}; cd build; rm -f out; {ggtrace} make")).ok();
            deferred += u32::from(space.is_placeholder("build/out"));
            space.ggforce(&["build/out"]).ok();
            let ours = space.read("build/out");
            space.sh("cd build; rm out; make").ok();
            assert_eq!(
                String::from_utf8(ours),
                String::from_utf8(space.read("build/out")),
                "{lists}: {change}"
            );
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
    let ggtrace = TestSpace::program("ggtrace").display().to_string();
    for change in [":", ":", "echo two >in", "echo three >in"] {
        std::thread::sleep(std::time::Duration::from_millis(20));
        space.sh(&format!("{change}; cd build; rm -f out; {ggtrace} make")).ok();
        space.ggforce(&["build/out"]).ok();
    }
    assert_eq!(space.read("build/out"), b"1\nthree\n");
    assert_ne!(space.sh("grep -rq hunter2 \"$GG_DIR\"").code(), 0);
}

/// What is very large, or not for everybody to read, is there for who lists its directory, and for nobody who wants more of it.
#[test]
fn of_what_is_not_given_there_is_the_name() {
    for lists in ["for f in ../src/*; do echo $f; done", "ls ../src", "find ../src -type f | sort"] {
        let space = TestSpace::with(&[
            ("build/Makefile", "out: ../in ../gen.sh\n\tsh ../gen.sh ../in out\n"),
            ("gen.sh", &format!("(cat $1; {lists}; for f in $(cat $1); do wc -c <../src/$f; done) >$2\n")),
            ("in", "one\n"),
            ("src/one", "1\n"),
            ("src/two", "2\n"),
            ("src/secret", "hunter2\n"),
        ]);
        space.sh("chmod 600 src/secret; truncate -s 65M src/large src/larger; chmod +x src/large").ok();
        let ggtrace = TestSpace::program("ggtrace").display().to_string();
        let mut deferred = 0;
        for (change, is_given) in [(":", true), ("echo two >in", true), ("echo large >in", false)] {
            std::thread::sleep(std::time::Duration::from_millis(20));
            space.sh(&format!("{change}; cd build; rm -f out; {ggtrace} make")).ok();
            let is_deferred = space.is_placeholder("build/out");
            deferred += u32::from(is_deferred);
            let forced = space.ggforce(&["build/out"]);
            if is_deferred && !is_given {
                forced.fails().says("it looked at").says("src/large");
                continue;
            }
            forced.ok();
            let ours = space.read("build/out");
            space.sh("cd build; rm out; make").ok();
            assert_eq!(
                String::from_utf8(ours),
                String::from_utf8(space.read("build/out")),
                "{lists}: {change}"
            );
        }
        assert_eq!(deferred, 2, "{lists}");
        assert_ne!(space.sh("grep -rq hunter2 \"$GG_DIR\"").code(), 0);
    }
}
