// SPDX-License-Identifier: Apache-2.0
//! What runs each time, whatever was observed of it: no thunk holds all that it goes by, or gives all that it leaves.

use tests::{Snapshot, TestSpace};
use thunk::trace::Disposition;

use super::{project, table};

/// It might be forced on another machine, or what it gives there come to be its reduction here.
#[test]
fn what_goes_by_the_processor_runs_each_time() {
    let plain = "cat $1 > $2";
    let compiles = "cat $1 > $2; echo 'int i;' > t.c; gcc -O2 @options -c t.c -o t.o; rm t.c t.o";
    for (words, script, options, expected) in [
        ("-mtune=native", plain, "", true),
        ("-mtune=generic", plain, "", false),
        ("-mtune=\"native\" && true", plain, "", true),
        ("", compiles, "-march=native", true),
        // Where the compiler's model declines for another reason, too, and where there is none.
        ("", compiles, "-save-temps=obj -march=native", true),
        ("-lto @options", plain, "-mtune=native", true),
        ("", compiles, "", false),
    ] {
        let option = format!("{words} {options:?}");
        let makefile =
            format!("table.txt: data.txt gen.sh options\n\tsh gen.sh data.txt table.txt {words}\n");
        let space = TestSpace::with(&[
            ("Makefile", &makefile),
            ("data.txt", "one\n"),
            ("gen.sh", script),
            ("options", options),
        ]);
        space.ggtrace(&["make"]).ok();
        for change in ["rm table.txt", "echo two > data.txt; touch -d '1 second' data.txt"] {
            space.sh(change).ok();
            space.ggtrace(&["make"]).ok();
            let (disposition, reason) = table(&space);
            // The compile that may be deferred is, as a part.
            let is_deferred = !expected && script == plain;
            assert_eq!(disposition == Disposition::Deferred, is_deferred, "{option}, {change}: {reason}");
            let is_why = reason.contains("this machine's processor");
            assert_eq!(is_why, expected, "{option}, {change}: {reason}");
            space.force_all();
        }
        assert_eq!(space.read("table.txt"), b"two\n");
    }
}

/// Manual pages are installed like that. To compute them would give files of their own.
#[test]
fn what_leaves_a_file_under_two_names_runs_each_time() {
    let scripts = [
        ("cat $1 > $2; ln $2 $2.also", Disposition::Ran),
        ("ln $1 $2; cat $1 > $2.also", Disposition::Ran),
        ("cat $1 > $2.new; ln $2.new $2.also; mv $2.new $2", Disposition::Ran),
        ("cat $1 > $2.new; ln $2.new $2; ln $2.new $2.also; rm $2.new", Disposition::Ran),
        ("cat $1 > $2.new; ln $2.new $2; ln $2.new x; mv x $2.also; rm $2.new", Disposition::Ran),
        ("cat $1 > $2.new; ln $2.new $2; ln $2.new $2.also; rm $2.new; echo 2 >> $2", Disposition::Ran),
        ("cat $1 > t; cat $1 > u; ln t $2; ln t $2.also; rm t; ln u x; mv x $2.more; rm u", Disposition::Ran),
        ("cat $1 > $2; cp -l $2 $2.also", Disposition::Ran),
        ("cat $1 > $2.new; ln $2.new $2; rm $2.new", Disposition::Deferred),
        ("for o in $2 $2.also; do cat $1 > t; ln t $o; rm t; done", Disposition::Deferred),
    ];
    for (script, expected) in scripts {
        let makefile = "table.txt: data.txt gen.sh\n\tsh gen.sh data.txt table.txt\n";
        let space = TestSpace::with(&[("Makefile", makefile), ("data.txt", "one\n"), ("gen.sh", script)]);
        space.ggtrace(&["make"]).ok();
        let tree = Snapshot::of(&space.tree());
        space.sh("rm -f table.txt table.txt.*").ok();
        space.ggtrace(&["make"]).ok();
        let (disposition, reason) = table(&space);
        assert_eq!(disposition, expected, "{script}: {reason}");
        let is_why = reason.contains("as one file (a hard link)");
        assert_eq!(is_why, expected == Disposition::Ran, "{script}: {reason}");
        space.force_all();
        let deviations = tree.deviations_but(&Snapshot::of(&space.tree()), &[]);
        assert!(deviations.is_empty(), "{script}: {deviations}");
    }
}

#[test]
fn what_prints_runs_every_time_and_gg_says_why() {
    let space = project();
    space.ggtrace(&["make"]).ok();
    space.run(&["make", "clean"]).ok();
    let again = space.ggtrace(&["make"]).ok();
    assert!(again.out().contains("making noise"), "{again}");
    assert!(!space.is_placeholder("noise.txt"));
    assert!(space.gg(&["show"]).ok().out().contains("prints"));
}

/// No file tells what is mounted, and what shows it has no content.
#[test]
fn what_reads_what_is_mounted_runs_each_time() {
    let space = TestSpace::with(&[("Makefile", "out:\n\tdf > out\nall: out\n")]);
    for _ in 0..2 {
        space.sh("rm -f out").ok();
        space.ggtrace(&["make"]).ok();
        assert_eq!(space.shown().deferred, 0);
    }
}

/// No thunk has it.
#[test]
fn what_may_use_a_secret_of_its_environment_runs_each_time() {
    let space = TestSpace::with(&[
        (
            "Makefile",
            "all: a b c\na: in\n\techo $$MY_TOKEN > a; cat in >> a\nb: in\n\tsh b.sh > b; :\nc: in\n\tcat in > c; :\n",
        ),
        ("b.sh", "cat in; echo $MY_TOKEN\n"),
    ]);
    let ggtrace = TestSpace::program("ggtrace").display().to_string();
    for (content, deferred) in [("one", 0), ("two", 1), ("three", 1)] {
        space.sh("rm -f a b c").ok();
        space.write("in", format!("{content}\n"));
        space.sh(&format!("MY_TOKEN={content} {ggtrace} make")).ok();
        assert_eq!(space.shown().deferred, deferred, "{content}");
        space.force_all();
        let expected = [format!("{content}\n{content}\n"), format!("{content}\n")];
        let found = ["a", "b", "c"].map(|name| String::from_utf8(space.read(name)).unwrap());
        assert_eq!(found, [&expected[0], &expected[0], &expected[1]].map(String::clone), "{content}");
    }
}

/// They are no files.
#[test]
fn what_reads_memory_and_messages_of_others_runs_each_time() {
    const PROGRAM: &str = "#include <fcntl.h>\n#include <mqueue.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\
        #include <sys/shm.h>\n#include <unistd.h>\nint main(int c, char **v) { char text[9] = { 0 }; int key = atoi(v[1]);\n\
        char name[20]; sprintf(name, \"/gg%d\", key); struct mq_attr a = { .mq_maxmsg = 1, .mq_msgsize = 9 };\n\
        int m = shmget(key, 9, 0600 | (c > 2 ? IPC_CREAT : 0)); char *s = shmat(m, 0, 0);\n\
        if (c > 2 && !strcmp(v[2], \"-\")) return mq_unlink(name) | shmctl(m, IPC_RMID, 0);\n\
        if (c > 2) { strcpy(s, v[2]); mq_unlink(name); return mq_send(mq_open(name, O_CREAT | O_WRONLY, 0600, &a), v[2], 8, 0); }\n\
        puts(s); int q = mq_open(name, O_RDWR); mq_receive(q, text, 9, 0); mq_send(q, text, 8, 0); return puts(text) < 0; }\n";
    let space = TestSpace::with(&[("p.c", PROGRAM)]);
    let key = 1 << 24 | std::process::id();
    space.write("Makefile", format!("out:\n\tset -e; ./p {key} > $@\n"));
    space.sh(&format!("gcc -w -o p p.c; ./p {key} one")).ok();
    let mut found = Vec::new();
    for text in ["one", "two"] {
        space.sh(&format!("rm -f out; ./p {key} {text}")).ok();
        space.ggtrace(&["make"]).ok();
        space.ggforce(&[]).ok();
        found.push(space.read("out"));
    }
    space.sh(&format!("./p {key} -")).ok();
    assert_eq!(found, [b"one\none\n".to_vec(), b"two\ntwo\n".to_vec()]);
}
