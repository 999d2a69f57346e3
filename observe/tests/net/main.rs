// SPDX-License-Identifier: Apache-2.0
//! The net sees what the tracer sees, and both do as the judge says.

#![allow(clippy::unwrap_used, reason = "a test")]

mod alike;
mod judged;
mod supervisor;
#[path = "../support/mod.rs"]
mod support;
mod told;

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use support::Space;

/// `odd.c`, compiled once, with and without libraries.
fn odd(linked: &'static str) -> PathBuf {
    static PROGRAMS: OnceLock<Space> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| {
        let space = Space::new();
        for (name, link) in [("static", "-static"), ("dynamic", "-no-pie")] {
            space.compile(name, include_str!("../odd.c"), &[link, "-pthread", "-Wall"]);
        }
        space
    });
    programs.at(linked)
}

/// Files, directories and links of every kind, and programs that cannot be executed.
fn prepare(space: &Space) {
    fs::create_dir_all(space.at("dir/full")).unwrap();
    space.write("dir/file", "x");
    space.write("dir/full/one", "1");
    space.write("two", "2\n");
    std::os::unix::fs::symlink("dir/file", space.at("soft")).unwrap();
    std::os::unix::fs::symlink("nowhere", space.at("dangling")).unwrap();
    space.script("script", "#!/bin/sh\ncat two missing 2>/dev/null\n");
    space.script("broken", "#!/no/such/interpreter\n");
    space.script("near", "#!script\n");
}

fn is_root() -> bool {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}
