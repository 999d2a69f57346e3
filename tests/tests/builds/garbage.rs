// SPDX-License-Identifier: Apache-2.0
//! `gg gc`: what a build needs that may still be forced stays, and the store is whole without the rest.

use std::fs;

use tests::{Forced, TestSpace};

use crate::calculator::{DEFERRED, MADE, calculator};
use crate::interrupted::all_is_whole;
use crate::on_demand::await_file;

/// How many files there are of objects and of reductions.
fn files(space: &TestSpace) -> [usize; 3] {
    ["blobs", "exec", "reductions"]
        .map(|directory| fs::read_dir(space.store().join(directory)).unwrap().count())
}

fn build(space: &TestSpace) -> u32 {
    space.run(&["make", "clean"]).ok();
    space.ggtrace(&["make"]).ok();
    let forced = space.force_all();
    assert_eq!(space.run(&["make", "-q"]).code(), 0);
    forced.run
}

#[test]
fn what_the_last_build_needs_stays_and_what_others_needed_goes() {
    let space = calculator();
    assert_eq!(build(&space), DEFERRED);
    let first = files(&space);
    assert_eq!(build(&space), 0);
    space.write("add.c", "int add(int a, int b) { return a - -b; }\n");
    assert_eq!(build(&space), 3, "compile, archive, link");
    let both = files(&space);
    assert_ne!(first, both);
    space.gg(&["gc"]).ok();
    assert_eq!(files(&space), both, "all of this was used just now");
    let said = space.gg(&["gc", "--days", "0", "--dry-run"]).ok();
    assert!(said.out().starts_with("would be removed: "), "{said}");
    assert_eq!(files(&space), both);
    space.gg(&["gc", "--days", "0"]).ok();
    let [_, _, reductions] = files(&space);
    assert_eq!(reductions, DEFERRED as usize, "those of the last build");
    all_is_whole(&space);
    assert_eq!(build(&space), 0);
    space.write("add.c", "#include \"calc.h\"\nint add(int a, int b) { return a + b; }\n");
    assert_eq!(build(&space), 3, "what it was before is forgotten");
}

#[test]
fn what_is_not_forced_yet_can_be() {
    let space = calculator();
    space.run(&["make"]).ok();
    let plain = MADE.map(|path| space.read(path));
    space.run(&["make", "clean"]).ok();
    space.ggtrace(&["make"]).ok();
    // A later build of the same directory that has nothing to do with it; and a placeholder elsewhere.
    space.ggtrace_sh("mkdir ../elsewhere; cp calc ../elsewhere; gcc -c -o other.o add.c -Iinclude").ok();
    space.gg(&["gc", "--days", "0"]).ok();
    space.gg(&["gc", "--days", "0", "--max-size", "0"]).ok();
    space.force_all();
    assert!(MADE.map(|path| space.read(path)) == plain);
    space.ggforce(&["../elsewhere/calc"]).ok();
    assert!(space.read("../elsewhere/calc") == plain[0]);
}

#[test]
fn a_store_that_nothing_needs_is_emptied_and_goes_on() {
    let space = calculator();
    space.sh("mkdir p && mv Makefile include *.c p").ok();
    let [ggtrace, ggforce] =
        ["ggtrace", "ggforce"].map(|name| TestSpace::program(name).display().to_string());
    let build =
        || Forced::of(&space.sh(&format!("cd p && make clean && {ggtrace} make && {ggforce}")).ok()).run;
    assert_eq!(build(), DEFERRED);
    space.sh("mv p q").ok();
    space.gg(&["gc", "--max-size", "1G"]).ok();
    assert_ne!(files(&space), [0; 3]);
    space.gg(&["gc", "--max-size", "0"]).ok();
    assert_ne!(files(&space), [0; 3], "the trace is young");
    space.gg(&["gc", "--days", "0"]).ok();
    assert_eq!(files(&space), [0; 3]);
    space.sh("mv q p").ok();
    assert_eq!(build(), DEFERRED);
}

#[test]
fn a_store_in_use_is_left_alone() {
    let space = calculator();
    let waits = "mkfifo pipe; echo > ready; read line < pipe";
    let recorder = space.start_program("ggtrace", &["sh", "-c", waits]);
    await_file(&space, "ready");
    let refused = space.gg(&["gc"]).fails();
    assert!(refused.err().contains("somebody is recording or forcing"), "{refused}");
    assert_eq!(refused.err().lines().count(), 1, "{refused}");
    fs::write(space.path("pipe"), "\n").unwrap();
    recorder.wait().ok();
    space.gg(&["gc"]).ok();
    let none = TestSpace::with(&[]);
    none.gg(&["gc"]).fails();
}
