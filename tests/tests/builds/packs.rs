// SPDX-License-Identifier: Apache-2.0
//! `gg pack` and `gg unpack`: a recorded build goes elsewhere with all that it needs.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Forced, Ran, Running, TestSpace};

use crate::calculator::{DEFERRED, calculator};

fn packed(space: &TestSpace, targets: &[&str]) -> PathBuf {
    let trace = space.outside().join("trace");
    space.start_program("ggtrace", &["-o".as_ref(), trace.as_os_str(), "make".as_ref()]).wait().ok();
    let pack = space.outside().join("pack");
    let mut args = vec!["pack".as_ref(), trace.as_os_str(), "-o".as_ref(), pack.as_os_str()];
    args.extend(targets.iter().map(std::ffi::OsStr::new));
    space.start_program("gg", &args).wait().ok();
    pack
}

fn unpack(space: &TestSpace, pack: &Path, store: &Path) -> Ran {
    let mut command = space.command(TestSpace::program("gg"));
    command.arg("unpack").arg(pack).env("GG_DIR", store);
    Running::start(command, b"").wait()
}

/// Copies a program and the libraries that it needs below `root`, at their paths.
fn install(program: &Path, root: &Path) {
    let ldd = Command::new("ldd").arg(program).output().expect("ldd is there");
    let text = String::from_utf8_lossy(&ldd.stdout).into_owned();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new);
    for file in libraries.chain([program]) {
        let to = root.join(file.strip_prefix("/").expect("an absolute path"));
        fs::create_dir_all(to.parent().expect("a file has a parent")).expect("our own directory");
        TestSpace::copy_program(file, &to);
    }
}

#[test]
fn a_pack_is_all_that_an_empty_root_needs() {
    let Some(chroot) = ["/usr/sbin/chroot", "/usr/bin/chroot"].into_iter().find(|p| Path::new(p).exists())
    else {
        println!("skipped: there is no chroot program here");
        return;
    };
    if fs::metadata("/proc/self").map_or(1, |m| m.uid()) != 0 {
        println!("skipped: only root can enter another root");
        return;
    }
    let space = calculator();
    let pack = packed(&space, &[]);
    space.force_all();
    let root = space.outside().join("root");
    fs::create_dir(&root).expect("our own directory");
    let program = TestSpace::program("ggforce");
    install(&program, &root);
    let ran = unpack(&space, &pack, &root.join("store")).ok();
    let trace = PathBuf::from(ran.out().trim_end());
    let trace = Path::new("/")
        .join(trace.strip_prefix(fs::canonicalize(&root).expect("it is there")).expect("below"));
    let mut command = space.command(chroot);
    command.arg(&root).arg(&program).arg("--trace").arg(&trace).env_clear().env("GG_DIR", "/store");
    let forced = Forced::of(&Running::start(command, b"").wait().ok());
    assert_eq!(forced.run, DEFERRED, "there are no reductions in a pack");
    for file in ["calc", "libcalc.a", "main.o", "add.o"] {
        let made = root.join(space.path(file).strip_prefix("/").expect("an absolute path"));
        assert!(fs::read(made).expect("it was forced") == space.read(file), "{file}");
    }
    assert!(!root.join("proc").exists() && !root.join("dev").exists());
}

#[test]
fn a_part_of_a_build_is_packed() {
    let space = calculator();
    let pack = packed(&space, &["libcalc.a"]);
    let store = space.outside().join("other");
    let ran = unpack(&space, &pack, &store).ok();
    // Sources that are still there are looked at, and only those that the target needs.
    space.write("print.c", "of no importance");
    let mut command = space.command(TestSpace::program("ggforce"));
    command.arg("--trace").arg(ran.out().trim_end()).env("GG_DIR", &store);
    let forced = Forced::of(&Running::start(command, b"").wait().ok());
    assert_eq!(forced.run, 3, "two objects and the archive");
    assert!(space.read("libcalc.a").starts_with(b"!<arch>\n"));
    let trace = space.outside().join("trace");
    let args = ["pack".as_ref(), trace.as_os_str(), "nothing".as_ref(), "-o".as_ref(), pack.as_os_str()];
    space.start_program("gg", &args).wait().fails().says("nothing: no such target");
}

#[test]
fn a_damaged_pack_leaves_no_trace() {
    let space = calculator();
    let pack = packed(&space, &[]);
    let whole = fs::read(&pack).expect("it was written");
    let store = space.outside().join("other");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&whole[..whole.len() - 1], &whole[..100], &flipped, b"something else", b""] {
        fs::write(&pack, damaged).expect("our own file");
        unpack(&space, &pack, &store).fails();
        assert_eq!(fs::read_dir(store.join("traces")).map_or(0, Iterator::count), 0);
        assert_eq!(fs::read_dir(store.join("tmp")).map_or(0, Iterator::count), 0);
    }
    fs::write(&pack, &whole).expect("our own file");
    unpack(&space, &pack, &store).ok();
}
