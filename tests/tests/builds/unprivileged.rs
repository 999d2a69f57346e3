// SPDX-License-Identifier: Apache-2.0
//! Builds forced where nothing is allowed: by an ordinary user, in a root directory that holds `ggforce` and what it
//! needs and is read-only, without namespaces, compilers or headers.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::{Ran, Running, TestSpace};

use crate::calculator::{DEFERRED, calculator, is_as, plain};

/// An ordinary user without namespaces, in an empty root directory; for `bwrap`. `/tmp` can be written to.
pub const CONFINED: [&str; 15] = [
    "--unshare-user",
    "--uid",
    "1000",
    "--gid",
    "1000",
    "--unshare-pid",
    "--disable-userns",
    "--tmpfs",
    "/",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
];

/// The libraries that a program needs, and its loader.
pub fn libraries(program: &Path) -> Vec<PathBuf> {
    let ldd = Command::new("ldd").arg(program).output().expect("ldd is installed");
    let said = String::from_utf8_lossy(&ldd.stdout).into_owned();
    said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// `ggforce` in such a root, in which these directories can be written to.
fn unprivileged(space: &TestSpace, directories: &[&Path]) -> Command {
    let program = TestSpace::program("ggforce");
    let bin = program.parent().expect("it is in a directory");
    let library = bin.join("libggtranslator.so");
    let mut command = space.command("bwrap");
    command.args(CONFINED).arg("--die-with-parent");
    for path in libraries(&program).into_iter().chain([program.clone(), library]) {
        command.arg("--ro-bind").args([&path, &path]);
    }
    for path in directories {
        command.arg("--bind").args([path, path]);
    }
    command.args(["--remount-ro", "/", "--chdir"]).arg(directories[0]).arg("--").arg(&program);
    command
}

fn ggforce(space: &TestSpace, args: &[&str]) -> Ran {
    let mut command = unprivileged(space, &[&space.tree(), &space.store()]);
    command.args(args);
    Running::start(command, b"").wait()
}

#[test]
fn a_compiler_runs_where_there_is_none() {
    let space = calculator();
    let plain = plain(&space);
    space.ggtrace(&["make"]).ok();
    let forced = ggforce(&space, &[]).ok();
    assert!(forced.err().contains(&format!("{DEFERRED} thunks: {DEFERRED} run")), "{}", forced.err());
    is_as(&space, &plain);
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

/// Two compiles, one of them with an assembler that is statically linked, recorded.
pub fn with_a_static_assembler() -> TestSpace {
    let space = TestSpace::with(&[
        ("main.c", "int main(void) { return 0; }\n"),
        ("as.c", "#include <unistd.h>\nint main(int n, char **v) { execv(\"/usr/bin/as\", v); return 1; }\n"),
        ("Makefile", "all: fixed.o main.o\nfixed.o: main.c\n\tgcc -B tools/ -c main.c -o fixed.o\n"),
    ]);
    space.run(&["mkdir", "tools"]).ok();
    space.run(&["cc", "-static", "-o", "tools/as", "as.c"]).ok();
    space.ggtrace(&["make"]).ok();
    assert!(space.is_placeholder("fixed.o") && space.is_placeholder("main.o"));
    space
}

/// A program that is statically linked cannot be made to see other paths: it says so, and nothing is made.
#[test]
fn what_cannot_run_is_refused() {
    let space = with_a_static_assembler();
    let refused = ggforce(&space, &["-k"]).fails();
    assert!(refused.err().contains("tools/as is statically linked"), "{}", refused.err());
    assert!(space.is_placeholder("fixed.o") && !space.is_placeholder("main.o"));
    space.ggforce(&[]).ok();
    assert!(!space.is_placeholder("fixed.o"));
}

#[test]
fn another_back_end_takes_what_is_refused() {
    let space = with_a_static_assembler();
    let cache = space.outside().join("worker");
    std::fs::create_dir(&cache).unwrap();
    let mut command = unprivileged(&space, &[&cache]);
    command.args(["worker", "--listen", "127.0.0.1:0", "--cache"]).arg(&cache);
    command.env_remove("GG_DIR").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut worker = command.spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(worker.stdout.take().unwrap()).read_line(&mut line).expect("it says where");
    let address = line.trim_end().strip_prefix("listening at ").expect("it listens");
    let forced = space.ggforce(&["-e", &format!("remote={address}"), "--fallback-engine", "local"]);
    worker.kill().unwrap();
    worker.wait().unwrap();
    let forced = forced.ok();
    assert!(forced.err().contains("tools/as is statically linked"), "{}", forced.err());
    assert!(forced.err().contains("2 thunks: 2 run"), "{}", forced.err());
    assert!(!space.is_placeholder("fixed.o") && !space.is_placeholder("main.o"));
}
