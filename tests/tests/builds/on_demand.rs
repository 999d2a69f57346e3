// SPDX-License-Identifier: Apache-2.0
//! What a build waits for while it is recorded: one engine answers for all of it, and computes aside what else is pending.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::{PATIENCE, Running, TestSpace};

use crate::pipelined::{no_engine_is_left, processes};

/// Waits until there is a file.
pub fn await_file(space: &TestSpace, name: &str) {
    let started = Instant::now();
    while !space.path(name).exists() {
        assert!(started.elapsed() < PATIENCE, "{name} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A build that waits for one file, makes `ready` and waits until it is gone, then waits for another file.
fn waits_twice(space: &TestSpace) -> Running {
    for name in ["a", "b"] {
        space.write(format!("{name}.c"), format!("int {name};\n"));
    }
    let script = "gcc -c a.c; gcc -c b.c; cat a.o >a.copy; : >ready; while test -e ready; do sleep 0.05; done; cat b.o >b.copy";
    let running = space.start_program("ggtrace", &["sh", "-ec", script]);
    await_file(space, "ready");
    running
}

fn is_object(space: &TestSpace, name: &str) -> bool {
    space.read(name).starts_with(b"\x7fELF")
}

#[test]
fn one_engine_answers_for_all_waits_and_ends_with_the_recording() {
    let space = TestSpace::new();
    let running = waits_twice(&space);
    let engines = processes(&space, "--on-demand");
    assert_eq!(engines.len(), 1);
    // What nobody waits for stays as it is.
    assert!(is_object(&space, "a.o") && space.is_placeholder("b.o"));
    fs::remove_file(space.path("ready")).expect("it was there");
    running.wait().ok();
    assert_eq!(processes(&space, "--follow"), [], "ggtrace has ended");
    assert!(is_object(&space, "a.copy") && is_object(&space, "b.copy"));
}

#[test]
fn another_engine_answers_when_the_first_is_killed() {
    let space = TestSpace::new();
    let running = waits_twice(&space);
    for engine in processes(&space, "--on-demand") {
        kill(Pid::from_raw(engine), Signal::SIGKILL).expect("it lives");
    }
    fs::remove_file(space.path("ready")).expect("it was there");
    running.wait().ok();
    assert!(is_object(&space, "b.copy"));
    no_engine_is_left(&space);
}

#[test]
fn an_interrupted_recording_leaves_no_engine() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let space = TestSpace::new();
        let running = waits_twice(&space);
        match signal {
            Signal::SIGINT => running.signal_all(signal),
            _ => running.signal(signal),
        }
        let started = Instant::now();
        assert_ne!(running.wait().code(), 0, "{signal}");
        no_engine_is_left(&space);
        assert!(started.elapsed() < Duration::from_secs(60), "{signal}");
    }
}

#[test]
fn what_is_computed_aside_is_told_when_somebody_waits_for_it_and_once() {
    let space = TestSpace::with(&[
        ("warned.c", "int f(void) { int unused; return 0; }\n"),
        ("bad.c", "int bad( {\n"),
        ("never.c", "int never( {\n"),
    ]);
    // Takes long enough that the others are computed aside, however many slots there are.
    let functions = (0..3000).map(|n| format!("int f{n}(int a) {{ return a * {n} % (a + {n}); }}\n"));
    space.write("slow.c", functions.collect::<String>());
    let script = "for f in warned bad never slow; do gcc -Wall -O2 -c $f.c; done\n\
        cat slow.o >copy; echo slow is there >&2\n\
        cat warned.o >copy; for i in 1 2; do cat bad.o >copy || true; done";
    let ran = space.ggtrace_sh(script).ok();
    let told = ran.err();
    let (before, after) = told.split_once("slow is there\n").expect("it says so");
    assert!(!before.contains(".c:"), "nobody has waited for these:\n{ran}");
    assert_eq!(after.matches("warning: ").count(), 1, "{ran}");
    assert_eq!(after.matches("bad.c:1").count(), told.matches("bad.c:1").count(), "{ran}");
    assert_eq!(after.matches("ggforce: failed").count(), 1, "{ran}");
    assert!(!told.contains("never.c"), "{ran}");
    assert!(space.is_placeholder("never.o") && space.is_placeholder("bad.o"));
    // They failed aside, of which nobody was told: it is said now.
    space.ggforce(&["-k"]).fails().says("never.c:1");
}

#[test]
fn what_the_build_was_told_is_not_told_again() {
    let space = TestSpace::with(&[
        ("one.c", "int one(void) { int unused; return 0; }\n"),
        ("two.c", "int two(void) { int other; return 0; }\n"),
    ]);
    let script = "gcc -Wall -c one.c; gcc -Wall -c two.c; ar rc l.a one.o two.o; size one.o >size";
    let recorded = space.ggtrace_sh(script).ok();
    assert!(recorded.err().contains("unused"), "{recorded}");
    let forced = space.ggforce(&[]).ok();
    assert!(!forced.err().contains("one.c:1") && forced.err().contains("two.c:1"), "{forced}");
}
