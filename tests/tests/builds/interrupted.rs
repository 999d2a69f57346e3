// SPDX-License-Identifier: Apache-2.0
//! `kill -9` of recorder and engine at any moment: what is there is whole, and running again gives the same result.
//! `scripts/kill-rounds` does more rounds of this on a real project.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

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

#[test]
fn the_recorder_killed_at_any_moment() {
    let space = calculator();
    let expected = plain_result(&space);
    let whole = duration(|| drop(space.ggtrace(&["make"]).ok()));
    for round in 1..=ROUNDS {
        space.restore();
        fs::remove_dir_all(space.store()).expect("our store");
        let mut recorder = space.start_program("ggtrace", &["make"]);
        sleep(whole * round / (ROUNDS + 1));
        recorder.signal(Signal::SIGKILL);
        let started = Instant::now();
        while !recorder.has_ended() {
            sleep(Duration::from_millis(1));
        }
        // What the build left running ends by itself, or is ended.
        sleep(Duration::from_millis(200));
        recorder.signal_all(Signal::SIGKILL);
        recorder.wait();
        assert!(started.elapsed() < Duration::from_secs(30));
        all_is_whole(&space);

        space.ggtrace(&["make"]).ok();
        space.force_all();
        let deviations = expected.deviations(&Snapshot::of(&space.tree()));
        assert!(
            deviations.is_empty(),
            "round {round}, killed after {:?}:\n{deviations}",
            whole * round / (ROUNDS + 1)
        );
    }
}

#[test]
fn the_engine_killed_at_any_moment() {
    let space = calculator();
    let expected = plain_result(&space);
    space.ggtrace(&["make"]).ok();
    let whole = duration(|| {
        space.force_all();
    });
    for round in 1..=ROUNDS {
        space.restore();
        fs::remove_dir_all(space.store()).expect("our store");
        space.ggtrace(&["make"]).ok();
        let mut engine = space.start_program::<&str>("ggforce", &[]);
        sleep(whole * round / (ROUNDS + 1));
        engine.signal(Signal::SIGKILL);
        while !engine.has_ended() {
            sleep(Duration::from_millis(1));
        }
        all_is_whole(&space);
        engine.signal_all(Signal::SIGKILL);
        engine.wait();

        space.force_all();
        let deviations = expected.deviations(&Snapshot::of(&space.tree()));
        assert!(
            deviations.is_empty(),
            "round {round}, killed after {:?}:\n{deviations}",
            whole * round / (ROUNDS + 1)
        );
    }
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
