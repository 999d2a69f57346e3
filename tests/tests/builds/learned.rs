// SPDX-License-Identifier: Apache-2.0
//! A command that was observed once is deferred when make starts it again, if nothing is against it.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::ffi::OsString;

use tests::{Snapshot, TestSpace};
use thunk::trace::{Disposition, Observed, Trace, Uses};

mod ages;
mod beyond;
mod each_time;
mod listed;
mod names;

const MAKEFILE: &str = "\
all: table.txt noise.txt
table.txt: gen.sh data.txt
\tsh gen.sh data.txt > table.txt
noise.txt: data.txt
\techo making noise; cat data.txt > noise.txt
clean:
\trm -f table.txt noise.txt
";

fn project() -> TestSpace {
    TestSpace::with(&[
        ("Makefile", MAKEFILE),
        ("data.txt", "one\ntwo\n"),
        (
            "gen.sh",
            "if test -f extra.txt; then cat extra.txt; fi\nwhile read -r word; do echo \"<$word>\"; done < $1\n",
        ),
    ])
}

/// What became of the command that makes the table, and why it was not deferred.
fn table(space: &TestSpace) -> (Disposition, String) {
    let path = Trace::latest(&thunk::Store::open(&space.store()).unwrap(), &space.tree()).unwrap().unwrap();
    let trace = Trace::read(&path).unwrap();
    // Through a shell or not.
    let is_it = |argv: &[OsString]| {
        argv.starts_with(&["sh".into(), "gen.sh".into()])
            || argv.iter().any(|argument| argument.to_string_lossy().starts_with("sh gen.sh"))
    };
    let command = trace.commands.into_iter().find(|command| is_it(&command.argv)).unwrap();
    (command.disposition, command.reason)
}

#[test]
fn unchanged_it_comes_from_its_reduction() {
    let space = project();
    let first = space.ggtrace(&["make"]).ok();
    assert_eq!(table(&space).0, Disposition::Ran);
    let tree = Snapshot::of(&space.tree());
    space.run(&["make", "clean"]).ok();
    let second = space.ggtrace(&["make"]).ok();
    assert_eq!((first.out(), first.err()), (second.out(), second.err()));
    assert_eq!(table(&space).0, Disposition::Deferred);
    assert!(space.is_placeholder("table.txt"));
    let forced = space.force_all();
    assert_eq!((forced.run, forced.reduced), (0, 1));
    let deviations = tree.deviations_but(&Snapshot::of(&space.tree()), &[]);
    assert!(deviations.is_empty(), "{deviations}");
}

#[test]
fn what_would_be_deferred_in_parts_is_not_remembered_where_nothing_is_deferred() {
    // For two shells, neither of which make does without.
    let makefile = "all: a.o b.txt\n\
        a.o: a.c\n\techo compiling; cc -c a.c -o a.o\n\
        b.txt: a.c\n\tgrep -c int a.c > b.txt; test -s b.txt\n";
    let space = TestSpace::with(&[("Makefile", makefile), ("a.c", "int a;\n")]);
    space.ggtrace(&["--run", "make"]).ok();
    let remembered = std::fs::read_dir(space.store().join("cache/learned")).unwrap();
    assert_eq!(remembered.count(), 1, "the one without a compile");
    std::fs::remove_file(space.tree().join("a.o")).unwrap();
    space.ggtrace(&["make"]).ok();
    assert!(space.is_placeholder("a.o"));
}

#[test]
fn with_other_contents_it_is_computed_and_given_what_it_then_needs() {
    let space = project();
    space.ggtrace(&["make"]).ok();
    space.run(&["make", "clean"]).ok();
    space.write("data.txt", "three\n");
    space.ggtrace(&["make"]).ok();
    assert_eq!(table(&space).0, Disposition::Deferred);
    assert_eq!(space.force_all().run, 1);
    assert_eq!(space.read("table.txt"), b"<three>\n");

    // Its program is another one: nobody knows what that writes.
    space.run(&["make", "clean"]).ok();
    space.write("gen.sh", "while read -r word; do if test -f $word.txt; then cat $word.txt; fi; done < $1\n");
    space.ggtrace(&["make"]).ok();
    assert_eq!(table(&space).0, Disposition::Ran);
    assert_eq!(space.read("table.txt"), b"");

    // Never looked for when it was observed.
    space.run(&["make", "clean"]).ok();
    space.write("data.txt", "more\n");
    space.write("more.txt", "what is more\n");
    space.ggtrace(&["make"]).ok();
    assert_eq!(table(&space).0, Disposition::Deferred);
    space.force_all();
    assert_eq!(space.read("table.txt"), b"what is more\n");
}

#[test]
fn what_it_looked_for_in_vain_makes_it_run_once_it_is_there() {
    let space = project();
    space.ggtrace(&["make"]).ok();
    space.run(&["make", "clean"]).ok();
    space.write("extra.txt", "extra\n");
    space.ggtrace(&["make"]).ok();
    let (disposition, reason) = table(&space);
    assert_eq!(disposition, Disposition::Ran);
    assert!(reason.contains("extra.txt was not there before"), "{reason}");
    assert_eq!(space.read("table.txt"), b"extra\n<one>\n<two>\n");
}

/// It is in no thunk but where somebody speaks of it.
#[test]
fn what_asks_for_the_terminal_finds_it_where_it_is_computed() {
    let space = TestSpace::with(&[
        ("Makefile", "out:\n\tsh gen.sh in > out\n"),
        ("gen.sh", "echo $TERM; cat $1\n"),
        ("in", "1\n"),
    ]);
    let ggtrace = TestSpace::program("ggtrace").display().to_string();
    for (text, deferred) in [("1\n", 0), ("2\n", 1)] {
        space.write("in", text);
        space.sh(&format!("rm -f out; TERM=mine {ggtrace} make")).ok();
        assert_eq!(space.shown().deferred, deferred);
        space.force_all();
        assert_eq!(space.read("out"), format!("mine\n{text}").into_bytes());
    }
}

/// Nobody notices what a command writes to `/dev/null`, nor what it reads from there.
#[test]
fn what_had_nobody_to_talk_to_is_not_taken_to_be_silent() {
    let ggtrace = TestSpace::program("ggtrace").display().to_string();
    for (recipe, quietly, aloud, told) in [
        ("echo text; cp data.txt out.txt", ">/dev/null", ">told", "text\n"),
        ("echo text >&2; cp data.txt out.txt", "2>/dev/null", "2>told", "text\n"),
        ("cat > out.txt", "</dev/null", "<data.txt; cp out.txt told", "one\ntwo\n"),
        ("cat > out.txt", "<&-", "<data.txt; cp out.txt told", "one\ntwo\n"),
        // Only asked for its size.
        ("wc -c > out.txt", "<Makefile", "<data.txt; cp out.txt told", "8\n"),
        ("echo text >&5; cp data.txt out.txt", "5>/dev/null", "5>told", "text\n"),
        ("echo text >&5; cp data.txt out.txt", "5>other", "5>told", "text\n"),
        ("cat <&5 > out.txt", "5<Makefile", "5<data.txt; cp out.txt told", "one\ntwo\n"),
        ("echo text >/proc/self/fd/1; cp data.txt out.txt", ">other", ">told", "text\n"),
    ] {
        let space = project();
        space.write("Makefile", format!("out.txt:\n\t-{recipe}\n"));
        space.sh(&format!("{ggtrace} make -s {quietly}; rm -f out.txt; {ggtrace} make -s {aloud}")).ok();
        assert_eq!(String::from_utf8_lossy(&space.read("told")), told, "{recipe}");
    }
}

/// It may be the kernel that does it.
#[test]
fn what_is_moved_from_and_to_the_standard_streams_is_noticed() {
    const MOVES: &str = "#define _GNU_SOURCE\n#include <string.h>\n#include <sys/sendfile.h>\n#include <fcntl.h>\n#include <unistd.h>\n\
        int main(int argc, char **argv) {\n\
        char text[4096]; int in = 0, out = 1; ssize_t n;\n\
        if (argc > 2) { if (argv[2][0] == '<') in = open(argv[2] + 1, O_RDONLY); else out = open(argv[2] + 1, O_CREAT | O_WRONLY, 0666); }\n\
        switch (argv[1][0]) {\n\
        case 'c': return copy_file_range(in, 0, out, 0, 4096, 0) <= 0;\n\
        case 's': return sendfile(out, in, 0, 4096) <= 0;\n\
        case 'p': n = pread(in, text, 4096, 0); return pwrite(out, text, n, 0) <= 0;\n\
        } return 1; }\n";
    let ggtrace = TestSpace::program("ggtrace").display().to_string();
    for way in ["c", "s", "p"] {
        let space = project();
        space.write("moves.c", MOVES);
        space.sh("gcc -o moves moves.c; echo other > other.txt").ok();
        // Make opens a file that it prints to for appending, where the kernel copies nothing: another program starts it that does not.
        space.write(
            "build.ninja",
            format!("rule in\n command = ./moves {way} \\>$out\n pool = console\nbuild out.txt: in\n"),
        );
        space
            .sh(&format!("{ggtrace} ninja --quiet <data.txt; rm out.txt; {ggtrace} ninja --quiet <other.txt"))
            .ok();
        assert_eq!(space.read("out.txt"), b"other\n", "{way}");
        space.write(
            "build.ninja",
            format!("rule out\n command = ./moves {way} \\<data.txt; cp data.txt $out\n pool = console\nbuild out.txt: out\n"),
        );
        for _ in 0..2 {
            space.sh(&format!("rm -f out.txt; {ggtrace} ninja --quiet >told")).ok();
            assert!(space.read("told").starts_with(b"one\ntwo\n"), "{way}");
        }
    }
}

#[test]
fn scripts_that_make_does_not_start_always_run() {
    let space = project();
    for _ in 0..2 {
        space.ggtrace_sh("sh gen.sh data.txt > table.txt; test -s table.txt").ok();
        assert!(!space.is_placeholder("table.txt"));
        space.sh("rm table.txt").ok();
    }
}

/// Which files are written may depend on what is read.
#[test]
fn with_other_contents_what_writes_files_that_it_was_not_told_runs() {
    let space = TestSpace::with(&[
        ("Makefile", "stamp: list gen.sh\n\tsh gen.sh list\n\ttouch stamp\n"),
        ("gen.sh", "for name in $(cat $1); do echo $name > out.$name; done\n"),
        ("list", "a b\n"),
    ]);
    space.ggtrace(&["make"]).ok();
    space.write("list", "a c\n");
    space.ggtrace(&["make"]).ok();
    let (disposition, reason) = table(&space);
    assert_eq!(disposition, Disposition::Ran);
    assert!(reason.contains("is not among its arguments"), "{reason}");
    assert_eq!(space.read("out.c"), b"c\n");

    // Unchanged, it is known what it writes.
    space.sh("rm stamp out.*").ok();
    space.ggtrace(&["make"]).ok();
    assert_eq!(table(&space).0, Disposition::Deferred);
    space.force_all();
    assert_eq!(space.read("out.c"), b"c\n");
}

#[test]
fn a_program_that_was_built_anew_runs() {
    let space = TestSpace::with(&[
        (
            "Makefile",
            "list.txt: prog\n\tset -e; ./prog > list.txt\nprog: prog.c\n\tgcc $(FLAGS) -o prog prog.c\n",
        ),
        ("prog.c", "#include <stdio.h>\nint main(void) { return puts(\"one\") < 0; }\n"),
    ]);
    space.ggtrace(&["make"]).ok();
    space.sh("rm prog list.txt").ok();
    // It writes what it covered as well.
    space.ggtrace(&["make", "FLAGS=--coverage"]).ok();
    space.ggforce(&[]).ok();
    assert_eq!(space.read("list.txt"), b"one\n");
    assert!(space.path("prog.gcda").exists());
}

#[test]
fn to_write_other_files_than_before_is_no_success() {
    let space = TestSpace::with(&[
        ("Makefile", "main.txt: list gen.sh\n\tsh gen.sh list main.txt\n"),
        ("gen.sh", "for name in $(cat $1); do echo $name > out.$name; done; cat $1 > $2\n"),
        ("list", ""),
    ]);
    space.ggtrace(&["make"]).ok();
    space.write("list", "a\n");
    space.ggtrace(&["make"]).ok();
    assert_eq!(table(&space).0, Disposition::Deferred);
    space.ggforce(&[]).fails().says("out.a, which it did not when it was recorded");
    space.sh("rm main.txt").ok();
    space.ggtrace(&["--run", "make"]).ok();
    assert_eq!(space.read("out.a"), b"a\n");
}

/// What a script does with other contents may be more than to write what it wrote before.
#[test]
fn to_do_more_than_before_is_no_success_and_it_runs_the_next_time() {
    let makefile = "tool: tool.in act.sh\n\tsh act.sh tool.in >tool\n";
    for (does, says) in [
        ("rm -f old", "it removed"),
        ("cat parts/one; rm -r parts", "it removed"),
        ("ln -s tool link", "it made a link of"),
        ("mkdir made", "it made the directory"),
        ("echo x >more", "it wrote"),
        ("for f in parts/*; do echo $f; done", "it listed"),
    ] {
        let script = format!("sed s/x/y/ $1\nif grep -q more $1; then {does}; fi\n");
        let space = TestSpace::with(&[
            ("Makefile", makefile),
            ("act.sh", &script),
            ("tool.in", "x\n"),
            ("old", "\n"),
            ("parts/one", "1\n"),
        ]);
        for _ in 0..2 {
            space.sh("rm -f tool").ok();
            space.ggtrace(&["make"]).ok();
            space.ggforce(&[]).ok();
        }
        space.write("tool.in", "x more\n");
        space.ggtrace(&["make"]).ok();
        assert!(space.is_placeholder("tool"), "{does}: it is deferred");
        space.ggforce(&[]).fails().says(says);
        space.ggtrace(&["make"]).ok();
        space.ggforce(&[]).ok();
        let ours = Snapshot::of(&space.tree());
        space.sh("rm -rf tool more link made; mkdir -p parts; echo 1 >parts/one; echo >old; make").ok();
        let deviations = Snapshot::of(&space.tree()).deviations(&ours);
        assert!(deviations.is_empty(), "{does}: {deviations}");
    }
}

/// It fails with other inputs than those with which it is forced the next time.
#[test]
fn what_failed_when_it_was_forced_runs_the_next_time_with_whatever_inputs() {
    let space = TestSpace::with(&[
        ("Makefile", "tool: tool.in act.sh\n\tsh act.sh tool.in >tool\n"),
        ("act.sh", "cat $1; if grep -q more $1; then ln -sf tool link; fi\n"),
        ("tool.in", "1\n"),
    ]);
    for text in ["1\n", "2\n"] {
        space.write("tool.in", text);
        space.ggtrace(&["make"]).ok();
        space.ggforce(&[]).ok();
    }
    space.write("tool.in", "more 3\n");
    space.ggtrace(&["make"]).ok();
    space.ggforce(&[]).fails().says("it made a link of");
    space.write("tool.in", "more 4\n");
    space.ggtrace(&["make"]).ok();
    assert_eq!(space.read("tool"), b"more 4\n");
    assert!(space.path("link").is_symlink());
}

/// A directory that was listed before is found with the names that it had.
#[test]
fn a_directory_that_was_listed_before_is_listed_again() {
    let space = TestSpace::with(&[
        ("Makefile", "all.txt: gen.sh data\n\tsh gen.sh data >all.txt\n"),
        ("gen.sh", "cat $1; for f in parts/*; do echo $f; done\n"),
        ("data", "1\n"),
        ("parts/one", "1\n"),
        ("parts/two", "2\n"),
    ]);
    space.ggtrace(&["make"]).ok();
    space.write("data", "2\n");
    space.ggtrace(&["make"]).ok();
    assert!(space.is_placeholder("all.txt"));
    space.ggforce(&[]).ok();
    assert_eq!(space.read("all.txt"), b"2\nparts/one\nparts/two\n");
}

/// What a command does may depend on whether there is something where it writes, and what comes of it then on what that is.
#[test]
fn what_acts_on_what_it_made_before_is_not_taken_to_find_nothing() {
    const RECIPES: [&str; 5] = [
        "cat data >> out",
        "cat data > out.new; mv -n out.new out; rm -f out.new",
        "if test -f out; then cp data out; else (echo first; cat data) > out; fi",
        "cp -n data out; cat data data > out.new; cmp -s out.new out || mv out.new out; rm -f out.new",
        "sh -c 'set -C; cat data > out || cat data data >| other' 2> log",
    ];
    for recipe in RECIPES {
        for method in ["auto", "ptrace"] {
            let space = TestSpace::with(&[
                ("Makefile", &format!("all: out\nout: data\n\t{recipe}\n\t@touch out\n")),
                ("data", "0\n"),
            ]);
            let names = ["out", "out.new", "other", "log"];
            let rounds = |build: &dyn Fn()| {
                let mut found = Vec::new();
                for data in ["1\n", "2\n", "2\n", "gone", "2\n", "1\n"] {
                    if data == "gone" {
                        space.sh("rm -f out").ok();
                    } else {
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        space.write("data", data);
                    }
                    build();
                    found.push(names.map(|name| std::fs::read(space.path(name)).ok()));
                }
                space.sh("rm -f out out.new other log").ok();
                found
            };
            let plain = rounds(&|| drop(space.run(&["make"]).ok()));
            let recorded = rounds(&|| {
                space.ggtrace(&["--method", method, "make"]).ok();
                space.force_all();
            });
            assert_eq!(plain, recorded, "{recipe} {method}");
        }
    }
}

/// With these inputs it asks for its output, which it did not with the first.
#[test]
fn how_it_did_before_its_last_run_does_not_tell_of_other_inputs() {
    let script = "case $(cat $1) in \
                  update*) if test -f $2; then cat $1 old > $2; else echo none > $2; fi ;; \
                  *) cat $1 > $2 ;; \
                  esac\n";
    let space = TestSpace::with(&[
        ("Makefile", "out: in\n\tsh gen.sh in out\n"),
        ("gen.sh", script),
        ("old", "old\n"),
        ("in", "one\n"),
    ]);
    let write = |text| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        space.write("in", text);
    };
    space.ggtrace(&["make"]).ok();
    write("update1\n");
    space.ggtrace(&["--run", "make"]).ok();
    write("update2\n");
    space.ggtrace(&["make"]).ok();
    let _ = space.ggforce(&[]);
    assert_eq!(space.read("out"), b"update2\nold\n");
}

/// The same command where nothing is, and where something is from the last time: both are remembered.
#[test]
fn what_asks_for_its_outputs_first_is_deferred_with_and_without_them() {
    let space =
        TestSpace::with(&[("Makefile", "copy: data.txt\n\tcp data.txt copy; :\n"), ("data.txt", "one\n")]);
    let again = |expected| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        space.sh("touch data.txt").ok();
        space.ggtrace(&["make"]).ok();
        assert_eq!(space.shown().deferred, expected);
        space.force_all();
        assert_eq!(space.read("copy"), b"one\n");
    };
    again(0);
    again(0);
    // `cp` asks how old it is, and the next time it is known that it does not mind.
    again(0);
    again(1);
    space.sh("rm copy").ok();
    again(0);
    again(1);
    space.sh("rm copy").ok();
    again(1);
}

/// What a command was given may be gone when it has ended: nobody knows then what it was.
#[test]
fn what_was_replaced_while_it_was_read_is_not_remembered_as_read() {
    const SLOW: &str =
        "exec 3< in; touch begun; while ! test -f replaced; do sleep 0.01; done; cat <&3 > slow";
    // Later, with another time, and with the time of before.
    for replace in
        ["echo new > new; mv new in", "echo new > in", "echo new > new; touch -r in new; mv new in"]
    {
        for options in [&["--run"][..], &[], &["--run", "--method", "ptrace"]] {
            let makefile = format!(
                "all: slow quick\nslow:\n\t{SLOW}\nquick:\n\t\
                 while ! test -f begun; do sleep 0.01; done; {replace}; touch replaced; touch quick\n"
            );
            let space = TestSpace::with(&[("Makefile", &makefile), ("in", "old\n")]);
            space.keep();
            space.run(&["make", "-j2"]).ok();
            let slow = space.read("slow");
            space.restore();
            let trace = space.outside().join("trace");
            let trace_option = ["-o", trace.to_str().unwrap(), "make", "-j2"];
            space.ggtrace(&[options, &trace_option].concat()).ok();
            assert_eq!(space.read("slow"), slow);
            let trace = Trace::read(&trace).unwrap();
            let is_it = |command: &&thunk::trace::Command| {
                command.argv.iter().any(|argument| argument.to_string_lossy().contains("exec 3<"))
            };
            let command = trace.commands.iter().find(is_it).unwrap();
            let observed = trace.observed.iter().find(|observed| observed.id == command.id).unwrap();
            assert_eq!(observed.thunk, None, "{replace} {options:?}");
            let input = observed.touches.iter().find(|touch| *touch.path == space.path("in")).unwrap();
            assert_eq!(input.before, None, "{replace} {options:?}");
        }
    }
}

/// Nobody tells the recorder of a process that is forked and sleeps, and in a sandbox it would end with the command.
#[test]
fn what_goes_on_when_a_command_has_ended_is_part_of_it_and_comes_again() {
    const DAEMON: &str = "#include <fcntl.h>\n#include <unistd.h>\n\
        int main(void) { if (fork() == 0 && fork() == 0) { sleep(1); close(open(\"by-daemon\", O_CREAT | O_WRONLY, 0644)); }\n\
        close(open(\"daemon\", O_CREAT | O_WRONLY, 0644)); return 0; }\n";
    const MAKEFILE: &str = "all: all.txt\n\
        sub:\n\t(sleep 1; cat in > by-sub) & cat in > sub\n\
        deep:\n\t((sleep 1; cat in > by-deep) &); cat in > deep\n\
        daemon:\n\t./daemonize\n\
        all.txt: sub deep daemon\n\tuntil test -s by-sub && test -s by-deep && test -e by-daemon; do sleep 0.1; done; cat by-sub by-deep by-daemon > all.txt\n";
    for (method, link) in [("auto", ""), ("auto", "-static"), ("ptrace", "")] {
        let space = TestSpace::with(&[("Makefile", MAKEFILE), ("in", "text\n"), ("daemonize.c", DAEMON)]);
        space.sh(&format!("gcc {link} -o daemonize daemonize.c")).ok();
        let trace = space.outside().join("trace");
        for round in 0..2 {
            let options = ["--method", method, "-o", trace.to_str().unwrap()];
            space.ggtrace(&[&options[..], &["make"]].concat()).ok();
            let trace = Trace::read(&trace).unwrap();
            for name in ["by-sub", "by-deep", "by-daemon"] {
                let path = space.path(name);
                let written =
                    |observed: &&Observed| observed.touch(&path).is_some_and(|t| t.uses.has(Uses::WRITTEN));
                let by = trace.observed.iter().find(written).map(|observed| &observed.obstacles);
                let behind = by.is_some_and(|why| why.iter().any(|why| why == "leaves processes behind"));
                assert!(behind, "{method} {link} {round} {name}: {by:?}");
            }
            space.sh("rm -f sub deep daemon all.txt by-*").ok();
        }
    }
}

/// Where a command is forced there is the link as well.
#[test]
fn a_link_that_leads_nowhere_is_given_to_who_looks_at_it() {
    let makefile = "all: named listed\nnamed: in\n\tset -e; (cat in; readlink d/nowhere) > $@\n\
                    listed: in\n\tset -e; (cat in; ls d) > $@\n";
    let space = TestSpace::with(&[("Makefile", makefile), ("in", "one\n"), ("d/file", "")]);
    space.sh("ln -s else d/nowhere").ok();
    space.ggtrace(&["make"]).ok();
    std::thread::sleep(std::time::Duration::from_millis(20));
    space.write("in", "two\n");
    space.ggtrace(&["make"]).ok();
    assert_eq!(space.shown().deferred, 2);
    space.force_all();
    assert_eq!(space.read("named"), b"two\nelse\n");
    assert_eq!(space.read("listed"), b"two\nfile\nnowhere\n");
}
