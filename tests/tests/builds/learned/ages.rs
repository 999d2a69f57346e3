// SPDX-License-Identifier: Apache-2.0
//! How old files are, and what else no content tells, where it shows in what a command does.

use tests::{Snapshot, TestSpace};
use thunk::trace::{Disposition, Trace};

/// No content tells of the times that these write down or go by.
#[test]
fn what_asks_how_old_a_source_is_runs_once_that_has_another_time() {
    const MAKEFILE: &str = "all: a.tar list found copy\na.tar:\n\ttar cf $@ in\nlist:\n\tstat -c %Y in > $@\n\
        found:\n\tfind in -newer mark > $@\ncopy:\n\tcat in > $@\n";
    let space = TestSpace::with(&[("Makefile", MAKEFILE), ("in", "text\n"), ("mark", "")]);
    let touched = |time: &str| {
        space.sh(&format!("rm -f a.tar list found copy; touch -d {time} in; touch -d 2021-01-01 mark"))
    };
    for (time, deferred) in [("2020-01-01", 0), ("2022-02-02", 1), ("2023-03-03", 1)] {
        touched(time).ok();
        space.run(&["make"]).ok();
        let plain = Snapshot::of(&space.tree());
        touched(time).ok();
        space.ggtrace(&["make"]).ok();
        space.force_all();
        let path =
            Trace::latest(&thunk::Store::open(&space.store()).unwrap(), &space.tree()).unwrap().unwrap();
        let commands = Trace::read(&path).unwrap().commands;
        let count = commands.iter().filter(|command| command.disposition == Disposition::Deferred).count();
        assert_eq!(count, deferred, "{time}");
        let deviations = plain.deviations_but(&Snapshot::of(&space.tree()), &[]);
        assert!(deviations.is_empty(), "{time}: {deviations}");
    }
}

/// Nor of modes, owners, links that lead nowhere, and times that are asked for by a descriptor.
#[test]
fn what_no_content_tells_makes_a_command_run_once_it_is_different() {
    const CASES: [(&str, &str, &str); 11] = [
        ("stat -c %a in", "chmod 644 in", "chmod 600 in"),
        ("tar cf - d", "chmod 644 d/in", "chmod 640 d/in"),
        ("tar cf - d", "touch -d 2020-01-01 d/in d", "touch -d 2021-01-01 d"),
        ("ls -ld d", "chmod 755 d", "chmod 700 d"),
        ("readlink nowhere", "ln -s one nowhere", "ln -sfn two nowhere"),
        ("find outside/ -printf '%p %l '", "ln -s one ../x/link", "ln -sfn two ../x/link"),
        ("gzip -c in", "touch -d 2020-01-01 in", "touch -d 2021-01-01 in"),
        ("sh -c 'ulimit -n'", "", "ulimit -n 512"),
        ("nice", "", "renice -n 19 $$ >told"),
        ("echo $$TERM", "export TERM=one", "export TERM=two"),
        ("du in", "", "truncate -s 1M in; touch -d 2020-01-01 in"),
    ];
    let ggtrace = TestSpace::program("ggtrace").display().to_string();
    for (recipe, before, after) in CASES {
        let space = TestSpace::with(&[
            ("Makefile", &*format!("out:\n\t{recipe} > $@\n")),
            ("in", "text\n"),
            ("d/in", "text\n"),
        ]);
        space.sh("rm -rf ../x; mkdir ../x; ln -s ../x outside; touch -d 2020-01-01 in d/in d").ok();
        space.sh(&format!("{before}\n{ggtrace} make")).ok();
        let first = space.read("out");
        let same = if before.starts_with("export") { before } else { "" };
        space.sh(&format!("rm out\n{same}\n{ggtrace} make")).ok();
        assert_eq!(space.shown().deferred, 1, "{recipe}");
        space.force_all();
        assert_eq!(space.read("out"), first, "{recipe}");
        space.sh(&format!("rm out; {after}\n{ggtrace} make")).ok();
        assert_eq!(space.shown().deferred, 0, "{recipe}");
        let recorded = space.read("out");
        space.sh(&format!("rm out; {after}\nmake")).ok();
        assert_eq!(recorded, space.read("out"), "{recipe}");
    }
}

/// Which of two files is the older one is no matter of their times alone: here the build makes both, or one is the command's own.
#[test]
fn what_goes_by_which_file_is_older_runs_once_that_is_another_one() {
    const MAKEFILE: &str = "all: out list\na: sa\n\tcat sa > a\nb: sb\n\tcat sb > b\nout: a b\n\tsh gen.sh a b out\n\
        list: a b\n\tfind a b -newer stamp > list; touch stamp\n";
    const SCRIPT: &str = "if test $1 -nt $2; then echo newer > $3; else echo older > $3; fi\n";
    let rounds = |build: &dyn Fn(&TestSpace)| {
        let space = TestSpace::with(&[
            ("Makefile", MAKEFILE),
            ("gen.sh", SCRIPT),
            ("sa", ""),
            ("sb", ""),
            ("stamp", ""),
        ]);
        let touched = ["sa", "none", "sb", "none", "sa", "sb", "sb", "sa", "sa"];
        let left = touched.map(|name| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            space.sh(&format!("rm -f out list; touch {name}")).ok();
            // `b` is made before `a`, where both are made.
            space.sh("make -q b || { rm -f b; touch marker; }").ok();
            build(&space);
            ["out", "list"].map(|name| String::from_utf8(space.read(name)).unwrap())
        });
        (left, space)
    };
    let (plain, _) = rounds(&|space| drop(space.run(&["make"]).ok()));
    let (recorded, _) = rounds(&|space| {
        space.ggtrace(&["make"]).ok();
        space.force_all();
    });
    assert_eq!(plain, recorded);
    let words: std::collections::BTreeSet<_> = plain.iter().map(|[out, _]| out.as_str()).collect();
    assert_eq!(words.len(), 2, "{plain:?}");
}

/// `cp` is told how old its inputs are, too, and does not mind: that two of them were once the other way round it does not mind either.
#[test]
fn an_order_of_files_that_made_no_difference_counts_no_more() {
    let space = TestSpace::with(&[
        ("Makefile", "all:\n\tmkdir -p to; rm -f to/a to/b\n\tcp a b to; :\n"),
        ("a", "a"),
        ("b", "b"),
        ("to/x", ""),
    ]);
    let deferred = ["a", "b", "a", "b", "a"].map(|name| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        space.sh(&format!("touch {name}")).ok();
        space.ggtrace(&["make"]).ok();
        let deferred = space.shown().deferred;
        space.force_all();
        assert_eq!((space.read("to/a"), space.read("to/b")), (b"a".to_vec(), b"b".to_vec()));
        deferred
    });
    assert_eq!(deferred.last(), Some(&1), "{deferred:?}");
}

/// A sandbox has other times.
#[test]
fn what_writes_down_how_old_its_input_is_runs_with_another_one_and_is_not_replayed() {
    let space = TestSpace::with(&[("Makefile", "out: in\n\tgzip -c in > $@\n"), ("in", "text\n")]);
    let trace = space.outside().join("trace");
    let record = ["-o", trace.to_str().unwrap(), "make"];
    space.sh("touch -d 2020-01-01 in").ok();
    space.ggtrace(&record).ok();
    space.write("in", "other\n");
    space.ggforce(&["--trace", trace.to_str().unwrap()]).fails().says("writes down how old a file is");
    space.ggtrace(&record).ok();
    assert_eq!(space.shown().deferred, 0);
    let recorded = space.read("out");
    space.sh("rm out; make").ok();
    assert_eq!(recorded, space.read("out"));
}

/// Who only asks how old a file is can write that down, too, and as a date.
#[test]
fn what_writes_down_how_old_a_file_is_that_it_does_not_read_is_not_replayed() {
    for asks in [
        "stat -c %Y in",
        "stat -c %y in",
        "date -u -r in +%Y%m%d%H%M%S",
        "TZ=Asia/Kolkata ls -l --full-time in",
    ] {
        let makefile = format!("out: in other\n\t({asks}; cat other) > $@\n");
        let space = TestSpace::with(&[("Makefile", &makefile), ("in", "text\n"), ("other", "one\n")]);
        let trace = space.outside().join("trace");
        space.sh("touch -d '2020-01-01 12:34:56' in").ok();
        space.ggtrace(&["--run", "-o", trace.to_str().unwrap(), "make"]).ok();
        space.write("other", "two\n");
        space.ggforce(&["--trace", trace.to_str().unwrap()]).fails().says("writes down how old a file is");
    }
}
