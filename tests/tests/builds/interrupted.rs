// SPDX-License-Identifier: Apache-2.0
//! `kill -9` of recorder and engine at any moment: what is there is whole, and running again gives the same result.
//! `scripts/kill-rounds` does more rounds of this on a real project.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use tests::{Snapshot, TestSpace};
use thunk::{ObjectName, Placeholder};

use crate::calculator::calculator;

const ROUNDS: u32 = 5;

/// Every object of the store is what its name says, and every placeholder of the tree is whole.
fn all_is_whole(space: &TestSpace) {
    for folder in ["blobs", "exec"] {
        let Ok(entries) = fs::read_dir(space.store().join(folder)) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<ObjectName>().ok());
            let name = name.unwrap_or_else(|| panic!("{} is no object's name", path.display()));
            let content = fs::read(&path).expect("a blob can be read");
            assert_eq!(ObjectName::of(name.kind(), &content), name, "half-written");
        }
    }
    placeholders_are_whole(&space.tree());
}

fn placeholders_are_whole(directory: &Path) {
    for entry in fs::read_dir(directory).expect("our tree") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            placeholders_are_whole(&path);
        } else {
            Placeholder::read(&path).unwrap_or_else(|e| panic!("a placeholder is not whole: {e}"));
        }
    }
}

/// How long this takes when nothing disturbs it.
fn duration(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn plain_result(space: &TestSpace) -> Snapshot {
    space.keep();
    space.run(&["make"]).ok();
    let tree = Snapshot::of(&space.tree());
    space.restore();
    tree
}

/// Runs this program in a tree that `prepare` has made ready, with an empty store; kills it alone, each round at a later moment; then
/// `finish` must give what a plain build gives.
fn killed_at_any_moment(program: &str, args: &[&str], prepare: fn(&TestSpace), finish: fn(&TestSpace)) {
    let space = calculator();
    let expected = plain_result(&space);
    prepare(&space);
    let whole = duration(|| drop(space.program_reads(program, args, b"").ok()));
    for round in 1..=ROUNDS {
        space.restore();
        fs::remove_dir_all(space.store()).expect("our store");
        prepare(&space);
        let moment = whole * round / (ROUNDS + 1);
        kill_after(&space, program, args, moment);
        all_is_whole(&space);
        finish(&space);
        let deviations = expected.deviations(&Snapshot::of(&space.tree()));
        assert!(deviations.is_empty(), "round {round}, killed after {moment:?}:\n{deviations}");
    }
}

/// Kills a program after this time. What it started ends by itself, or is ended.
fn kill_after(space: &TestSpace, program: &str, args: &[&str], moment: Duration) {
    let mut running = space.start_program(program, args);
    sleep(moment);
    running.signal(Signal::SIGKILL);
    let started = Instant::now();
    while !running.has_ended() {
        sleep(Duration::from_millis(1));
    }
    sleep(Duration::from_millis(200));
    running.signal_all(Signal::SIGKILL);
    running.wait();
    assert!(started.elapsed() < Duration::from_secs(30));
}

fn record(space: &TestSpace) {
    space.ggtrace(&["make"]).ok();
}

fn force(space: &TestSpace) {
    space.force_all();
}

#[test]
fn the_recorder_killed_at_any_moment() {
    killed_at_any_moment(
        "ggtrace",
        &["make"],
        |_| {},
        |space| {
            record(space);
            force(space);
        },
    );
}

#[test]
fn the_engine_killed_at_any_moment() {
    killed_at_any_moment("ggforce", &[], record, force);
}

/// Starts a recording of this script, which makes a file `ready` and then waits, and kills the recorder there.
fn kill_when_ready(space: &TestSpace, script: &str) {
    let script = format!("set -e\n{script}\n: > ready\nsleep 60");
    let mut recorder = space.start_program("ggtrace", &["sh", "-c", &script]);
    let started = Instant::now();
    while !space.path("ready").exists() {
        assert!(
            !recorder.has_ended() && started.elapsed() < Duration::from_secs(60),
            "it does not get there"
        );
        sleep(Duration::from_millis(5));
    }
    recorder.signal(Signal::SIGKILL);
    while !recorder.has_ended() {
        sleep(Duration::from_millis(1));
    }
    recorder.signal_all(Signal::SIGKILL);
    recorder.wait();
    fs::remove_file(space.path("ready")).expect("it was there");
}

#[test]
fn a_placeholder_that_was_moved_before_the_recorder_was_killed() {
    let space = calculator();
    let build = "make print.o; mkdir parts; mv print.o parts; cp -r parts more; mv more moved; ln parts/print.o hard.o";
    let late = "mv moved/print.o moved/late.o";
    let rest = "make; gcc -o linked main.o parts/print.o libcalc.a; ./linked";
    space.keep();
    let plain = space.run(&["sh", "-ec", &format!("{build}\n{late}\n{rest}")]).ok();
    let expected = Snapshot::of(&space.tree());
    space.restore();
    kill_when_ready(&space, build);
    for path in ["parts/print.o", "moved/print.o", "hard.o"] {
        assert!(space.is_placeholder(path), "{path}");
    }
    all_is_whole(&space);
    // And one that went on for a moment, of which nobody was told.
    space.sh(late).ok();
    // This part of the build does not touch them, but for one that it reads.
    let recorded = space.ggtrace_sh(rest).ok();
    assert!(plain.out().ends_with("42\n") && recorded.out().ends_with("42\n"), "{recorded}");
    space.force_all();
    assert_eq!(expected.deviations(&Snapshot::of(&space.tree())), "");
}

#[test]
fn a_recipe_that_was_under_way_when_the_recorder_was_killed_is_done_again() {
    let space = TestSpace::with(&[("a.c", "int a;\n")]);
    space.write("Makefile", "a.o: a.c\n\tgcc -c a.c\n\tsh wait\n\tln -sf a.o link\n");
    space.write("wait", ": > ready; sleep 60\n");
    // Under the seccomp filter, what make would do about it fails once nobody answers.
    let mut recorder = space.start_program("ggtrace", &["--method", "preload", "make"]);
    let soon = Duration::from_secs(30);
    let started = Instant::now();
    while !space.path("ready").exists() {
        assert!(started.elapsed() < soon, "it does not get there");
        sleep(Duration::from_millis(5));
    }
    assert!(space.is_placeholder("a.o"));
    recorder.signal(Signal::SIGKILL);
    while !recorder.has_ended() || (space.path("a.o").exists() && started.elapsed() < soon) {
        sleep(Duration::from_millis(5));
    }
    recorder.signal_all(Signal::SIGKILL);
    recorder.wait();
    space.write("wait", "");
    space.ggtrace(&["make"]).ok();
    space.force_all();
    assert!(space.path("link").is_symlink(), "make took the target for made");
    assert!(space.read("link").starts_with(b"\x7fELF"));
}

#[test]
fn what_a_killed_recorder_leaves_is_swept_by_the_next() {
    let mut space = TestSpace::with(&[("a.c", "int a;\n")]);
    let sessions = space.outside().join("run");
    fs::create_dir(&sessions).expect("our directory");
    space.set("XDG_RUNTIME_DIR", &sessions);
    let left = || fs::read_dir(&sessions).expect("our directory").count();
    kill_when_ready(&space, "gcc -c a.c");
    assert_eq!(left(), 1);
    // What was being written to the store at that moment, an hour ago.
    let torn = space.store().join("tmp/.gg-tmp-1-0");
    let written = fs::File::create(&torn).expect("our store");
    written.set_modified(SystemTime::now() - Duration::from_secs(7200)).expect("our file");
    let seen = space.ggtrace_sh("ls \"$XDG_RUNTIME_DIR\" | wc -l; gcc -c a.c").ok();
    assert_eq!(seen.out().trim(), "1", "one is the recorder's own: {seen}");
    assert_eq!((left(), torn.exists()), (0, false));
}

#[test]
fn an_interrupted_engine_leaves_nothing_half_written() {
    let space = calculator();
    let expected = plain_result(&space);
    space.ggtrace(&["make"]).ok();
    let ggforce = TestSpace::program("ggforce");
    let engine =
        space.start(&["env", "--default-signal=INT", ggforce.to_str().expect("a path of ours"), "-j1"]);
    sleep(Duration::from_millis(60));
    engine.signal_all(Signal::SIGINT);
    let ended = engine.wait();
    // It may have been done already.
    assert!(ended.code() == 130 || ended.status.success(), "{ended}");
    all_is_whole(&space);
    space.force_all();
    assert_eq!(expected.deviations(&Snapshot::of(&space.tree())), "");
}

#[test]
fn two_recorders_and_two_engines_at_once_on_one_store() {
    let space = calculator();
    space.sh("mkdir one; cp -r Makefile *.c include one; cp -r one two").ok();
    let expected: Vec<_> = ["one", "two"]
        .map(|copy| {
            space.run(&["make", "-C", copy]).ok();
            let built = space.read(format!("{copy}/calc"));
            space.run(&["make", "-C", copy, "clean"]).ok();
            built
        })
        .into();
    let recorders = ["one", "two"].map(|copy| space.start_program("ggtrace", &["make", "-j4", "-C", copy]));
    for recorder in recorders {
        recorder.wait().ok();
    }
    // Both engines on both targets: the same thunks at the same time.
    let engines = [(); 2].map(|()| space.start_program("ggforce", &["one/calc", "two/calc"]));
    for engine in engines {
        engine.wait().ok();
    }
    all_is_whole(&space);
    assert!(expected == ["one", "two"].map(|copy| space.read(format!("{copy}/calc"))));
}
