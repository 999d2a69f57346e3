// SPDX-License-Identifier: Apache-2.0
//! What a learned command does on other inputs beyond what it did when it was recorded is never lost without a word: where it is forced that
//! fails, and the next recording runs it.

use tests::{Snapshot, TestSpace};

/// A project in which `act.sh` makes `$2` of `$1`, in `work`; once there is `more` in `$1`, it does this besides.
fn project(does: &str) -> TestSpace {
    let script = format!("sed s/x/y/ $1 >$2\ncat log >>$2\nif grep -q more $1; then {does}; fi\n");
    TestSpace::with(&[
        ("work/Makefile", "out: ../in ../act.sh\n\tsh ../act.sh ../in out\n"),
        ("work/log", "log\n"),
        ("act.sh", &script),
        ("in", "x\n"),
    ])
}

/// Records the build in `work`.
fn record(space: &TestSpace) {
    space.sh(&format!("cd work; exec {} make", TestSpace::program("ggtrace").display())).ok();
}

/// Records it until it is known, and once more with other inputs.
fn defer_with_other_inputs(space: &TestSpace, does: &str) {
    for _ in 0..2 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        space.sh("rm -f work/out").ok();
        record(space);
        space.ggforce(&["work/out"]).ok();
    }
    space.sh("rm work/out").ok();
    space.write("in", "x more\n");
    record(space);
    assert!(space.is_placeholder("work/out"), "{does}: it is deferred");
}

/// The next recording gives what a plain build gives.
fn next_time_it_runs(space: &TestSpace, does: &str) {
    record(space);
    let ours = Snapshot::of(&space.tree());
    space.write("work/log", "log\n");
    space.write("in", "x more\n");
    space.sh("chmod 644 work/log; cd work; rm out; make").ok();
    let deviations = Snapshot::of(&space.tree()).deviations(&ours);
    assert!(deviations.is_empty(), "{does}: {deviations}");
}

#[test]
fn a_mode_or_a_time_that_it_gives_to_what_it_makes() {
    for (does, says) in [
        ("chmod +x $2", "it gave"),
        ("chmod 600 $2", "it gave"),
        ("cp $2 tmp; install -m 755 tmp $2; rm tmp", "it gave"),
        ("touch -d 2020-01-01 $2", "it set the time of"),
    ] {
        let space = project(does);
        defer_with_other_inputs(&space, does);
        space.ggforce(&["work/out"]).fails().says(says);
        next_time_it_runs(&space, does);
    }
}

/// What is executable as it was the last time is nothing new.
#[test]
fn the_mode_that_it_gave_when_it_was_recorded_is_kept() {
    let does = "chmod +x $2; echo more >>$2";
    let space = project(does);
    space.replace("act.sh", "\nif", "\nchmod +x $2\nif");
    defer_with_other_inputs(&space, does);
    space.ggforce(&["work/out"]).ok();
    space.sh("test -x work/out").ok();
    assert_eq!(space.read("work/out"), b"y more\nlog\nmore\n");
}

#[test]
fn an_input_that_it_changes_in_place() {
    for (does, says) in [
        ("echo more >>log", "it changed"),
        ("echo more >log", "it changed"),
        ("printf m | dd of=log conv=notrunc status=none", "it changed"),
        ("chmod +x log", "it changed the mode or the times of"),
        ("touch log", "it changed the mode or the times of"),
        ("echo z >../in", "it changed"),
        ("sed -i s/log/more/ log", "it replaced"),
    ] {
        let space = project(does);
        defer_with_other_inputs(&space, does);
        space.ggforce(&["work/out"]).fails().says(says);
        next_time_it_runs(&space, does);
    }
    // To write what it held is none.
    for does in [": >>log", "cat log >copy; cat copy >log; rm copy", "sed -i s/l/l/ log"] {
        let space = project(does);
        defer_with_other_inputs(&space, does);
        space.ggforce(&["work/out"]).ok();
        assert_eq!(space.read("work/out"), b"y more\nlog\n");
    }
}

#[test]
fn what_it_changes_outside_of_where_it_works() {
    for (does, says) in [
        ("echo x >../more", "it wrote"),
        ("mkdir ../made", "it made the directory"),
        ("ln -s in ../link", "it made a link of"),
        ("rm -f ../old", "it removed"),
    ] {
        let space = project(does);
        space.write("old", "old\n");
        space.replace("act.sh", "cat log", "cat log ../old");
        defer_with_other_inputs(&space, does);
        space.ggforce(&["work/out"]).fails().says(says);
        record(&space);
        let ours = Snapshot::of(&space.tree());
        space.sh("rm -rf work/out more made link; echo old >old; cd work; make").ok();
        let deviations = Snapshot::of(&space.tree()).deviations(&ours);
        assert!(deviations.is_empty(), "{does}: {deviations}");
    }
}

/// Python lists the directories of its modules, and writes again what it has compiled of one once that has another time.
#[test]
fn what_only_keeps_what_it_has_compiled_is_no_more_than_before() {
    // One of somebody's own may be in a private directory, which is listed for nobody else.
    let python = "/usr/bin/python3";
    if !std::path::Path::new(python).exists() {
        println!("there is no {python} here");
        return;
    }
    for place in ["..", "."] {
        let space = TestSpace::with(&[
            ("work/Makefile", &format!("out: ../in\n\t{python} {place}/gen.py ../in out\n")),
            (
                &format!("work/{place}/gen.py"),
                "import sys, part\nopen(sys.argv[2], 'w').write(part.of(open(sys.argv[1]).read()))\n",
            ),
            (&format!("work/{place}/part.py"), "def of(text):\n    return text.upper()\n"),
            ("in", "one\n"),
        ]);
        // That it does not go by which is older shows where others are with the same inputs. On a busy machine there are more of them.
        let deferred = (0..6).find(|round| {
            for touched in ["", "", "gen.py", "part.py", "", ""] {
                std::thread::sleep(std::time::Duration::from_millis(20));
                space
                    .sh(&format!("rm -f work/out; cd work/{place}; for f in {touched}; do touch $f; done"))
                    .ok();
                record(&space);
                space.ggforce(&["work/out"]).ok();
            }
            space.sh("rm work/out").ok();
            space.write("in", format!("x {round}\n"));
            record(&space);
            let is_deferred = space.is_placeholder("work/out");
            space.ggforce(&["work/out"]).ok();
            assert_eq!(space.read("work/out"), format!("X {round}\n").as_bytes());
            is_deferred
        });
        assert!(deferred.is_some(), "{place}");
    }
}

/// Where nobody sees what it does, or what it looks for in vain is nowhere, nobody knows whether it does more.
#[test]
fn what_cannot_be_observed_where_it_is_forced() {
    let does = "echo x >more";
    for manner in ["translated", "far-away"] {
        let mut space = project(does);
        defer_with_other_inputs(&space, does);
        space.set("GG_MANNER", manner);
        space.ggforce(&["work/out"]).fails().says("cannot be observed");
        space.unset("GG_MANNER");
        record(&space);
        assert_eq!(space.read("work/more"), b"x\n");
        assert_eq!(space.read("work/out"), b"y more\nlog\n");
    }
}
