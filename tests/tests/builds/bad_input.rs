// SPDX-License-Identifier: Apache-2.0
//! Damaged and hostile stores, thunks, placeholders and traces; stores that cannot be written; targets that are not
//! there. Each is one clear line and a failure, and nothing is lost.

use std::fs;
use std::path::{Path, PathBuf};

use tests::{Ran, TestSpace};
use thunk::{Input, ObjectKind, ObjectName, OutputRef, Placeholder, Store, Thunk, ThunkInput};

/// One plain line of complaint (beside the closing counts, where it got that far), and no panic.
#[track_caller]
fn one_line(ran: Ran) -> Ran {
    let ran = ran.fails();
    let err = ran.err();
    let lines: Vec<_> = err.lines().filter(|l| !l.contains(" thunks: ")).collect();
    assert_eq!(lines.len(), 1, "one line was expected:\n{ran}");
    assert!(lines[0].len() < 600, "a line, not a book:\n{ran}");
    ran
}

fn recorded() -> TestSpace {
    let space = TestSpace::with(&[("a.c", "int a = 1;\n"), ("b.c", "int b = 2;\n")]);
    space.ggtrace_sh("gcc -c a.c; gcc -c b.c; gcc -r -nostdlib -o ab.o a.o b.o").ok();
    space
}

fn thunk_of(space: &TestSpace, path: &str) -> ObjectName {
    Placeholder::read(&space.path(path)).expect("readable").expect("a placeholder").output.thunk
}

/// Replaces the placeholder at `path` by one for this thunk, which is put into the store.
fn plant(space: &TestSpace, path: &str, thunk: &Thunk) -> ObjectName {
    let store = Store::open(&space.store()).expect("the store is there");
    let name = store.put_thunk(thunk).expect("the store can be written to");
    plant_name(space, path, name);
    name
}

fn plant_name(space: &TestSpace, path: &str, name: ObjectName) {
    let placeholder = Placeholder { output: OutputRef { thunk: name, output: None }, store: space.store() };
    let content = placeholder.encode(&TestSpace::program("gg")).expect("short paths");
    space.write(path, content);
}

/// The thunk behind a placeholder, to be changed for the worse.
fn good_thunk(space: &TestSpace, path: &str) -> Thunk {
    Store::open(&space.store()).expect("the store is there").thunk(&thunk_of(space, path)).expect("recorded")
}

#[test]
fn a_target_that_is_not_there() {
    let space = recorded();
    one_line(space.ggforce(&["nowhere.o"])).says("nowhere.o");
    assert!(space.is_placeholder("a.o"), "nothing else was forced for it");
}

/// Headers outside of the project that were in an earlier recording are not looked into again, until somebody misses one.
#[test]
fn a_header_that_the_store_has_lost_is_there_again_with_the_next_recording_but_one() {
    let space = TestSpace::with(&[("a.c", "#include <a.h>\n#include <b.h>\n#include <c.h>\n")]);
    let include = space.outside().join("include");
    fs::create_dir(&include).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(include.join(name).with_extension("h"), format!("extern int {name};\n")).unwrap();
    }
    // Old enough for their stamps to be relied on.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let record = || space.ggtrace_sh(&format!("rm -f a.o; gcc -c a.c -I{}", include.display())).ok();
    record();
    assert_eq!(space.force_all().run, 1);
    let lost = ObjectName::of(ObjectKind::Value, b"extern int b;\n");
    fs::remove_file(space.store().join("blobs").join(lost.to_string())).unwrap();
    space.write("a.c", "#include <a.h>\n#include <b.h>\n#include <c.h>\nint *p = &b;\n");
    record();
    one_line(space.ggforce(&[])).says(&format!("{lost} is not in the store")).says("record the build again");
    record();
    assert_eq!(space.force_all().run, 1);
}

#[test]
fn a_target_that_is_an_ordinary_file_is_done_already() {
    let space = recorded();
    let before = space.read("a.c");
    space.ggforce(&["a.c"]).ok();
    assert!(before == space.read("a.c"));
}

#[test]
fn forcing_where_nothing_was_recorded() {
    let space = TestSpace::new();
    one_line(space.ggforce(&[]));
    one_line(space.gg(&["show"]));
}

#[test]
fn a_truncated_placeholder() {
    let space = recorded();
    let whole = space.read("a.o");
    let line = whole.iter().position(|&b| b == b'\n').expect("its first line names a program") + 1;
    for length in [line - 1, line, line + 10, line + 40, whole.len() - 1] {
        space.write("a.o", &whole[..length]);
        let before = space.read("a.o");
        let ran = space.ggforce(&["a.o"]);
        // Cut off within its first line, it is an ordinary script.
        if length >= line {
            one_line(ran).says("a.o");
        }
        assert!(before == space.read("a.o"), "it was changed");
    }
    space.write("a.o", whole);
    space.ggforce(&["a.o"]).ok();
    assert!(space.read("a.o").starts_with(b"\x7fELF"));
}

#[test]
fn a_placeholder_with_a_flipped_bit() {
    let space = recorded();
    let whole = space.read("a.o");
    let text = String::from_utf8_lossy(&whole).into_owned();
    let name = text.find("output T").expect("it names its thunk") + "output T".len();
    for at in [name, name + 7, name + 20, name + 43, name + 48] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        space.write("a.o", &flipped);
        one_line(space.ggforce(&["a.o"]));
        assert!(flipped == space.read("a.o"), "what cannot be forced is left as it is");
    }
}

#[test]
fn a_placeholder_from_another_store() {
    let space = recorded();
    let elsewhere = space.outside().join("elsewhere");
    fs::rename(space.store(), &elsewhere).expect("our own folder");
    one_line(space.ggforce(&["a.o"])).says("a.o");
    assert!(space.is_placeholder("a.o"));
    fs::remove_dir_all(space.store()).unwrap_or_default();
    fs::rename(&elsewhere, space.store()).expect("our own folder");
    space.ggforce(&["a.o"]).ok();
}

#[test]
fn a_flipped_bit_in_any_object() {
    let space = recorded();
    for entry in [thunk_of(&space, "a.o"), ObjectName::of(ObjectKind::Value, b"int a = 1;\n")] {
        let store = Store::open(&space.store()).expect("the store is there");
        let path = store.find(&entry).expect("recorded");
        let good = fs::read(&path).expect("readable");
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&path, &bad).expect("our own store");
            let ran = space.ggforce(&["a.o"]).fails();
            assert!(ran.err().contains(&entry.to_string()), "it does not say which object:\n{ran}");
            assert!(space.is_placeholder("a.o"), "a wrong file stands where a right one is expected");
        }
        fs::write(&path, &good).expect("our own store");
    }
    space.force_all();
}

#[test]
fn a_truncated_or_missing_object() {
    let space = recorded();
    for entry in [thunk_of(&space, "a.o"), ObjectName::of(ObjectKind::Value, b"int a = 1;\n")] {
        let path = Store::open(&space.store()).expect("the store is there").find(&entry).expect("recorded");
        let good = fs::read(&path).expect("readable");
        fs::write(&path, &good[..good.len() / 2]).expect("our own store");
        one_line(space.ggforce(&["a.o"])).says(&entry.to_string());
        fs::remove_file(&path).expect("our own store");
        one_line(space.ggforce(&["a.o"])).says(&entry.to_string());
        fs::write(&path, &good).expect("our own store");
        assert!(space.is_placeholder("a.o"));
    }
    space.force_all();
}

#[test]
fn outputs_outside_of_where_they_belong() {
    let space = recorded();
    let victim = space.outside().join("victim");
    fs::write(&victim, "untouched").expect("our own folder");
    let good = good_thunk(&space, "a.o");
    for output in [
        PathBuf::from("../victim"),
        space.path("../victim"),
        space.path("sub/../../victim"),
        victim.clone(),
        PathBuf::from("/"),
    ] {
        let mut bad = good.clone();
        bad.args = ["sh", "-c", "echo gotcha > \"$0\"", &output.to_string_lossy()].map(Into::into).into();
        bad.outputs = vec![output.clone()];
        plant(&space, "evil.o", &bad);
        // It fails, or gives what it gives to the placeholder's path alone: never to the path that the thunk says.
        drop(space.ggforce(&["evil.o"]));
        assert_eq!(fs::read(&victim).expect("still there"), b"untouched", "{output:?} was written to");
    }
}

#[test]
fn inputs_at_wrong_paths() {
    let space = recorded();
    let good = good_thunk(&space, "a.o");
    let value = good.values.first().expect("a compile has inputs").value;
    for path in ["../../../etc/passwd", "/a/../b", "/a//b", "/./a", "/proc/self/mem", ""] {
        let mut bad = good.clone();
        bad.values.push(Input { path: PathBuf::from(path), value });
        plant(&space, "evil.o", &bad);
        let ran = space.ggforce(&["evil.o"]);
        assert!(!ran.err().contains("panicked") && ran.status.code().is_some(), "{path:?}: {ran}");
    }
    assert!(!Path::new("/etc/passwd").metadata().is_ok_and(|m| m.len() == value.size()));
}

#[test]
fn a_command_can_change_nothing_but_its_outputs() {
    let space = recorded();
    let victim = space.outside().join("victim");
    fs::write(&victim, "untouched").expect("our own folder");
    let source = space.path("a.c");
    let script = format!(
        "echo gotcha > {}; echo gotcha > {}; rm -rf {}; echo gotcha > {}/version; echo out > out",
        victim.display(),
        source.display(),
        space.store().display(),
        space.store().display()
    );
    space.write("script", script.as_bytes());
    // An ordinary build's command with such a script in the place of the compiler's argument: as far as the sandbox goes.
    let mut bad = good_thunk(&space, "a.o");
    let shell = fs::canonicalize("/bin/sh").expect("there is a shell");
    let store = Store::open(&space.store()).expect("the store is there");
    let (value, _) = store.put_file(&shell).expect("readable");
    bad.function = Some(value);
    bad.program = Some(shell);
    bad.args = ["sh", "-c", &script].map(Into::into).into();
    bad.outputs = vec![space.path("out")];
    bad.optional_outputs.clear();
    plant(&space, "out", &bad);
    drop(space.ggforce(&["out"]));
    assert_eq!(fs::read(&victim).expect("still there"), b"untouched");
    assert_eq!(space.read("a.c"), b"int a = 1;\n");
    assert!(
        space.store().join("version").is_file()
            && fs::read(space.store().join("version")).is_ok_and(|v| v.starts_with(b"gg-store"))
    );
}

/// What a command writes is kept in memory, of which it may want more than there is. Then it runs again, and writes to the disk.
#[test]
fn a_command_that_fails_for_want_of_memory() {
    let space = recorded();
    let script = "while read -r line; do case $line in *upperdir=disk*) echo out >out; exit 0;; esac; done </proc/self/mountinfo
        echo 'No space left on device' >&2; exit 1";
    let mut large = good_thunk(&space, "a.o");
    let shell = fs::canonicalize("/bin/sh").expect("there is a shell");
    let store = Store::open(&space.store()).expect("the store is there");
    let (value, _) = store.put_file(&shell).expect("readable");
    large.function = Some(value);
    large.program = Some(shell);
    large.args = ["sh", "-c", script].map(Into::into).into();
    large.outputs = vec![space.path("out")];
    large.optional_outputs.clear();
    plant(&space, "out", &large);
    space.ggforce(&["out"]).ok();
    assert_eq!(space.read("out"), b"out\n");
}

#[test]
fn thunks_that_need_each_other() {
    // Names are hashes, so a true cycle cannot be made; a store whose objects lie about their names can hold one.
    let space = recorded();
    let store = Store::open(&space.store()).expect("the store is there");
    let mut thunk = good_thunk(&space, "a.o");
    let name = thunk_of(&space, "a.o");
    thunk
        .thunks
        .push(ThunkInput { path: space.path("self.o"), from: OutputRef { thunk: name, output: None } });
    let path = store.find(&name).expect("recorded");
    let good = fs::read(&path).expect("readable");
    fs::write(&path, thunk.encode()).expect("our own store");
    one_line(space.ggforce(&["a.o"]));
    fs::write(&path, good).expect("our own store");
    space.ggforce(&["a.o"]).ok();
}

#[test]
fn objects_that_are_no_thunks() {
    let space = recorded();
    let store = Store::open(&space.store()).expect("the store is there");
    let mut long = thunk::MAGIC.to_vec();
    // Field 2, length-delimited, of ten gigabytes; and a varint that never ends.
    long.extend_from_slice(&[0x12, 0x80, 0x80, 0x80, 0x80, 0x28]);
    let endless = [thunk::MAGIC, &[0xff; 64]].concat();
    let nested = [thunk::MAGIC, &[0x0a, 0x7f].repeat(200)[..]].concat();
    for content in [&b""[..], b"garbage", thunk::MAGIC, &long, &endless, &nested] {
        let name = store.put(ObjectKind::Thunk, content).expect("the store can be written to");
        plant_name(&space, "evil.o", name);
        one_line(space.ggforce(&["evil.o"]));
        space.write("file", content);
        let described = space.gg(&["describe", "file"]);
        assert!(!described.err().contains("panicked") && described.status.code().is_some(), "{described}");
    }
}

#[test]
fn a_damaged_trace() {
    let space = recorded();
    let traces = || {
        let mut found: Vec<PathBuf> = Vec::new();
        let mut left = vec![space.store().join("traces")];
        while let Some(path) = left.pop() {
            let metadata = fs::symlink_metadata(&path).expect("our own store");
            if metadata.is_dir() {
                left.extend(fs::read_dir(&path).expect("our own store").map(|e| e.expect("an entry").path()));
            } else if metadata.is_file() && fs::read(&path).is_ok_and(|c| c.starts_with(b"##GGTRACE##")) {
                found.push(path);
            }
        }
        found
    };
    let paths = traces();
    assert!(!paths.is_empty(), "there is no trace in the store");
    for path in paths {
        let good = fs::read(&path).expect("our own store");
        for length in [0, 5, 13, 20, good.len() / 2, good.len() - 3] {
            fs::write(&path, &good[..length]).expect("our own store");
            let ran = space.gg(&["show"]);
            assert!(ran.status.code().is_some() && !ran.err().contains("panicked"), "{length}: {ran}");
            assert!(ran.status.success() || ran.err().lines().count() == 1, "{length}: {ran}");
        }
        for at in [3, 15, good.len() / 3, good.len() / 2, good.len() - 2] {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            fs::write(&path, &bad).expect("our own store");
            let ran = space.gg(&["show"]);
            assert!(ran.status.code().is_some() && !ran.err().contains("panicked"), "{at}: {ran}");
        }
        fs::write(&path, &good).expect("our own store");
    }
    // Targets need no trace.
    space.ggforce(&["ab.o"]).ok();
    assert!(space.read("ab.o").starts_with(b"\x7fELF"));
}

#[test]
fn a_store_that_cannot_be_made() {
    let mut space = TestSpace::with(&[("a.c", "int a;\n"), ("file", "")]);
    for place in [space.path("file/store"), PathBuf::from("/proc/store"), PathBuf::from("relative")] {
        space.set("GG_DIR", place.as_os_str());
        let ran = one_line(space.ggtrace(&["gcc", "-c", "a.c"]));
        assert!(!space.path("a.o").exists(), "{ran}");
        one_line(space.ggforce(&["a.c"]));
    }
}

#[test]
fn a_store_of_another_version() {
    let space = recorded();
    fs::write(space.store().join("version"), "gg-store 99\n").expect("our own store");
    one_line(space.ggforce(&["a.o"])).says("gg-store 99");
    one_line(space.ggtrace(&["gcc", "-c", "a.c"])).says("gg-store 99");
    assert!(space.is_placeholder("a.o"));
}

/// A full disk: the store on a file system of this size, in namespaces of our own.
fn on_a_small_disk(space: &TestSpace, size: &str, script: &str) -> Ran {
    let store = space.store();
    fs::create_dir_all(&store).expect("our own folder");
    let script = format!("mount -t tmpfs -o size={size} tmpfs '{}'\n{script}", store.display());
    let user: &[&str] = if nix::unistd::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let argv = [&["unshare", "--mount"], user, &["sh", "-c", &script]].concat();
    space.run(&argv)
}

/// What is wrong with all files is not told of each.
#[test]
fn a_full_disk_under_the_tree() {
    let space = TestSpace::with(&[("a.c", "int a[10000] = { N };\n"), ("out/here", "")]);
    let (ggtrace, ggforce) = (TestSpace::program("ggtrace"), TestSpace::program("ggforce"));
    let script = format!(
        "mount -t tmpfs -o size=200k tmpfs out; '{}' sh -ec 'for n in `seq 30`; do gcc -DN=$n -c a.c -o out/$n.o; done'; '{}'; echo \"ended $?\"; cat out/*.o | wc -c",
        ggtrace.display(),
        ggforce.display()
    );
    let ran = on_a_small_disk(&space, "500m", &script).says("No space left on device");
    assert!(ran.out().contains("ended 1"), "{ran}");
    let lines = ran.err().lines().count();
    assert!(lines < 20 && ran.err().contains("more files could not be put in place"), "{lines} lines: {ran}");
}

#[test]
fn a_full_disk_under_the_store() {
    let space = TestSpace::new();
    let big: Vec<u8> = (0..400_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    space.write("big.bin", &big);
    space.write("big.s", ".incbin \"big.bin\"\n");
    let (ggtrace, ggforce) = (TestSpace::program("ggtrace"), TestSpace::program("ggforce"));
    // The recorder cannot even store the input: it says so, or lets the command run; never a placeholder without its thunk.
    let script = format!(
        "'{}' gcc -c big.s; echo \"recorded $?\"; '{}' big.o; echo \"forced $?\"; head -c 4 big.o | od -An -c; head -c 2 big.o",
        ggtrace.display(),
        ggforce.display()
    );
    for size in ["64k", "300k", "1m", "2m"] {
        let ran = on_a_small_disk(&space, size, &script);
        assert!(!ran.err().contains("panicked"), "{size}: {ran}");
        let (made, out) = (space.path("big.o").exists(), ran.out());
        if made && !space.is_placeholder("big.o") {
            assert!(
                space.read("big.o").starts_with(b"\x7fELF") && space.read("big.o").len() > big.len(),
                "{size}: half-written: {ran}"
            );
        } else {
            assert!(
                !out.contains("recorded 0") || !out.contains("forced 0"),
                "{size}: nobody noticed: {ran}"
            );
            assert!(
                ran.err().contains("No space left on device") || ran.err().contains("space"),
                "{size}: {ran}"
            );
        }
        drop(fs::remove_file(space.path("big.o")));
    }
}

/// As where the disk under a log is full, or `2>&1 | head` has seen enough.
#[test]
fn nobody_who_listens() {
    let space = TestSpace::with(&[("a.c", "#warning told\nint a;\n")]);
    let programs = ["ggtrace", "ggforce", "gg"].map(|name| TestSpace::program(name).display().to_string());
    let [ggtrace, ggforce, gg] = programs;
    for nobody in [">/dev/full 2>&1", "2>&1 | true"] {
        let script = format!(
            "set -o pipefail; rm -f a.o; sleep 0.1; {ggtrace} -v gcc -c a.c {nobody}; {ggforce} {nobody}; test -s a.o"
        );
        space.run(&["bash", "-ec", &script]).ok();
        assert!(!space.is_placeholder("a.o"), "{nobody}");
        let _ = fs::remove_dir_all(space.store().join("reductions"));
    }
    space.sh(&format!("{gg} show /nowhere 2>/dev/full || test $? = 1; {gg} show | true")).ok();
}

#[test]
fn an_output_that_cannot_be_put_into_its_place() {
    let space = recorded();
    // The folder that a placeholder stands in may be gone, or be a file, by the time that it is forced.
    space.write("sub/keep", "");
    space.ggtrace(&["gcc", "-c", "a.c", "-o", "sub/c.o"]).ok();
    fs::remove_dir_all(space.path("sub")).expect("our own folder");
    space.write("sub", "a file");
    one_line(space.ggforce(&["sub/c.o"]));
    assert_eq!(space.read("sub"), b"a file");
}

#[test]
fn a_library_of_another_version_is_told_and_not_tried() {
    let space = TestSpace::with(&[("a.c", "int a;\n")]);
    let bin = space.outside().join("bin");
    fs::create_dir(&bin).expect("our own folder");
    for name in ["ggtrace", "ggforce", "gg", "gg-standin"] {
        TestSpace::copy_program(&TestSpace::program(name), &bin.join(name));
    }
    let argv = [bin.join("ggtrace").into_os_string(), "gcc".into(), "-c".into(), "a.c".into()];
    one_line(space.run(&argv)).says("libgginterceptor.so");

    let library = TestSpace::program("libgginterceptor.so");
    let content = fs::read(&library).expect("readable");
    let mark = b"gg-interceptor ";
    let at =
        content.windows(mark.len()).position(|w| w == mark).expect("it carries its version") + mark.len();
    let mut other = content;
    other[at] = b'9';
    fs::write(bin.join("libgginterceptor.so"), other).expect("our own folder");
    one_line(space.run(&argv)).says("libgginterceptor.so");
    assert!(!space.path("a.o").exists());
}
