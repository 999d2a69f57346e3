// SPDX-License-Identifier: Apache-2.0
//! Builds forced where nothing is allowed: by an ordinary user, in a root directory that holds `ggforce` and what it needs and is read-only,
//! without namespaces, compilers or headers.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Ran, Running, TestSpace};

use crate::calculator::{DEFERRED, calculator};

const MADE: [&str; 6] = ["calc", "libcalc.a", "main.o", "print.o", "add.o", "mul.o"];

/// `ggforce`, with these arguments, in such a root.
fn ggforce(space: &TestSpace, args: &[&str]) -> Ran {
    let program = TestSpace::program("ggforce");
    let bin = program.parent().expect("it is in a directory");
    let library = bin.join("libggtranslator.so");
    let ldd = Command::new("ldd").arg(&program).output().expect("ldd is installed");
    let libraries = String::from_utf8_lossy(&ldd.stdout).into_owned();
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    let mut command = space.command("bwrap");
    command.args([
        "--unshare-user",
        "--uid",
        "1000",
        "--gid",
        "1000",
        "--unshare-pid",
        "--unshare-net",
        "--disable-userns",
    ]);
    command.args(["--tmpfs", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
    for path in libraries.chain([program.clone(), library]) {
        command.arg("--ro-bind").args([&path, &path]);
    }
    for path in [space.tree(), space.store()] {
        command.arg("--bind").args([&path, &path]);
    }
    command.args(["--remount-ro", "/", "--chdir"]).arg(space.tree()).arg("--").arg(&program).args(args);
    Running::start(command, b"").wait()
}

/// The files as plain make leaves them.
fn plain(space: &TestSpace) -> Vec<Vec<u8>> {
    space.run(&["make"]).ok();
    let made = MADE.map(|file| space.read(file)).to_vec();
    space.run(&["make", "clean"]).ok();
    made
}

#[test]
fn a_compiler_runs_where_there_is_none() {
    let space = calculator();
    let plain = plain(&space);
    space.ggtrace(&["make"]).ok();
    let forced = ggforce(&space, &[]).ok();
    assert!(forced.err().contains(&format!("{DEFERRED} thunks: {DEFERRED} run")), "{}", forced.err());
    for (file, plain) in MADE.iter().zip(plain) {
        assert!(space.read(file) == plain, "{file} is not as plain make leaves it");
    }
    assert_eq!(space.run(&["./calc"]).ok().out(), "42\n");
}

#[test]
fn a_compiler_says_what_is_wrong_as_ever() {
    let space = calculator();
    space.write(
        "add.c",
        "#include \"calc.h\"\n#include <missing.h>\nint add(int a, int b) { return a + b; }\n",
    );
    space.ggtrace(&["make", "-k"]);
    let failed = ggforce(&space, &["-k"]).fails();
    assert!(
        failed.err().contains("add.c:2:10: fatal error: missing.h: No such file or directory"),
        "{}",
        failed.err()
    );
    assert!(!Path::new(&space.path("calc")).exists() || space.is_placeholder("calc"));
}

/// A program that is statically linked cannot be made to see other paths: it says so, and nothing is made.
#[test]
fn what_cannot_run_is_refused() {
    let space = TestSpace::with(&[
        ("main.c", "int main(void) { return 0; }\n"),
        ("as.c", "#include <unistd.h>\nint main(int n, char **v) { execv(\"/usr/bin/as\", v); return 1; }\n"),
    ]);
    // A toolchain whose assembler is statically linked.
    space.run(&["mkdir", "tools"]).ok();
    space.run(&["cc", "-static", "-o", "tools/as", "as.c"]).ok();
    space.ggtrace(&["gcc", "-B", "tools/", "-c", "main.c", "-o", "main.o"]).ok();
    if !space.is_placeholder("main.o") {
        // Nothing was deferred, and so there is nothing to refuse: say it, as this test then shows nothing.
        panic!("gcc -B was not deferred");
    }
    let refused = ggforce(&space, &[]).fails();
    assert!(refused.err().contains("is statically linked"), "{}", refused.err());
    // Elsewhere, it can.
    space.ggforce(&[]).ok();
    assert!(!space.is_placeholder("main.o"));
}
