// SPDX-License-Identifier: Apache-2.0
//! Commands that look for files that are not among their inputs, forced by the real program.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use thunk::{Footprint, Input, Link, ObjectName, OutputRef, Placeholder, Store, Thunk, ThunkInput};

/// A store, a directory to work in, and what a shell and the programs of the tests need to run.
struct Space {
    root: PathBuf,
    store: Store,
    closure: Footprint,
    _dir: tempfile::TempDir,
}

impl Space {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(root.join("w")).unwrap();
        let store = Store::open(&root.join("store")).unwrap();
        let mut closure = Footprint::default();
        // Where there is none, the loader's looking for it is no escape.
        let _ = closure.add(Path::new("/etc/ld.so.cache"));
        for program in ["/bin/sh", "/bin/cat"] {
            closure.add(Path::new(program)).unwrap();
            let ldd = Command::new("ldd").arg(program).output().unwrap();
            for word in String::from_utf8_lossy(&ldd.stdout).split_whitespace() {
                if word.starts_with('/') {
                    closure.add(Path::new(word)).unwrap();
                }
            }
        }
        Self { root, store, closure, _dir: dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join("w").join(name)
    }

    /// `sh -c SCRIPT`, which writes `output`.
    fn shell(&self, script: &str, output: &str) -> Thunk {
        let mut thunk = Thunk {
            function: Some(self.store.put_file(Path::new("/bin/sh")).unwrap().0),
            args: ["sh", "-c", script].map(Into::into).into(),
            env: vec!["PATH=/bin".into()],
            outputs: vec![self.path(output)],
            workdir: Some(self.root.join("w")),
            program: Some("/bin/sh".into()),
            ..Thunk::default()
        };
        for file in self.closure.files.paths() {
            let (value, executable) = self.store.put_file(file).unwrap();
            let list = if executable { &mut thunk.executables } else { &mut thunk.values };
            list.push(Input { path: file.into(), value });
        }
        let links = self.closure.links.iter();
        thunk.links =
            links.map(|(path, target)| Link { path: path.clone(), target: target.clone() }).collect();
        thunk.canonicalise();
        thunk
    }

    /// Stores the thunk, and puts a placeholder where its first output shall be.
    fn defer(&self, thunk: &Thunk) -> ObjectName {
        let name = self.store.put_thunk(thunk).unwrap();
        self.placeholder(name, &thunk.outputs[0]);
        name
    }

    fn placeholder(&self, thunk: ObjectName, path: &Path) {
        let output = OutputRef { thunk, output: Some(path.into()) };
        let placeholder = Placeholder { output, store: self.store.root().into() };
        fs::write(path, placeholder.encode(Path::new("/gg")).unwrap()).unwrap();
    }

    fn force(&self, targets: &[&str]) -> Forced {
        let output = Command::new(env!("CARGO_BIN_EXE_ggforce"))
            .args(targets.iter().map(|target| self.path(target)))
            .env("GG_DIR", self.store.root())
            .output()
            .unwrap();
        Forced::new(&output)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// How many completions are remembered.
    fn completions(&self) -> usize {
        fs::read_dir(self.store.root().join("completions")).unwrap().count()
    }
}

#[derive(Debug)]
struct Forced {
    code: i32,
    said: String,
}

impl Forced {
    fn new(output: &Output) -> Self {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code().unwrap(), said }
    }

    /// It went well, with this many thunks run, and this many known.
    #[track_caller]
    fn went(&self, run: usize, known: usize) {
        assert_eq!(self.code, 0, "{}", self.said);
        let numbers = format!("{run} run, {known} from reductions, 0 failed");
        assert!(self.said.contains(&numbers), "not {numbers}: {}", self.said);
    }

    fn tells_of_completion(&self) -> bool {
        self.said.contains("inputs were completed")
    }
}

#[test]
fn a_file_that_no_model_named_is_added_and_remembered() {
    let space = Space::new();
    fs::write(space.path("extra"), "first\n").unwrap();
    let thunk = space.shell("cat extra > out", "out");
    let name = space.defer(&thunk);
    let forced = space.force(&["out"]);
    forced.went(1, 0);
    assert_eq!(space.read("out"), "first\n");
    let line = format!(
        "ggforce: 1 command looked at files that its model did not name (for example {}); its inputs were completed\n",
        space.path("extra").display()
    );
    assert!(forced.said.contains(&line), "{}", forced.said);
    assert!(!forced.said.contains("No such file"), "a run that does not count was shown: {}", forced.said);
    // What was asked for does not say what was in the file: it has no reduction.
    assert!(space.store.reduction(&name).is_none());

    space.placeholder(name, &space.path("out"));
    let again = space.force(&["out"]);
    again.went(0, 1);
    assert!(!again.tells_of_completion(), "{}", again.said);
    assert_eq!(space.read("out"), "first\n");

    fs::write(space.path("extra"), "second\n").unwrap();
    space.placeholder(name, &space.path("out"));
    space.force(&["out"]).went(1, 0);
    assert_eq!(space.read("out"), "second\n");

    // Without it the command fails as it should, and no remembered file takes its place.
    fs::remove_file(space.path("extra")).unwrap();
    space.placeholder(name, &space.path("out"));
    let without = space.force(&["out"]);
    assert_eq!(without.said.matches("No such file").count(), 1, "{}", without.said);
    assert_ne!(without.code, 0);
}

#[test]
fn what_needs_a_completed_thunk_is_not_stale_either() {
    let space = Space::new();
    fs::write(space.path("extra"), "1").unwrap();
    let first = space.store.put_thunk(&space.shell("cat extra > a", "a")).unwrap();
    let mut thunk = space.shell("cat a a > b", "b");
    let from = OutputRef { thunk: first, output: Some(space.path("a")) };
    thunk.thunks.push(ThunkInput { path: space.path("a"), from });
    let second = space.defer(&thunk);
    space.force(&["b"]).went(2, 0);
    assert_eq!(space.read("b"), "11");
    space.placeholder(second, &space.path("b"));
    space.force(&["b"]).went(0, 2);
    fs::write(space.path("extra"), "2").unwrap();
    space.placeholder(second, &space.path("b"));
    space.force(&["b"]).went(2, 0);
    assert_eq!(space.read("b"), "22");
}

#[test]
fn a_program_without_anything_else_gets_what_it_needs() {
    // Loader, then libraries one by one, then what the program itself asks for, here through a link.
    let space = Space::new();
    fs::create_dir(space.path("d")).unwrap();
    fs::write(space.path("d/file"), "found").unwrap();
    std::os::unix::fs::symlink("d", space.path("l")).unwrap();
    let mut thunk = space.shell("cat l/file > out", "out");
    thunk.links.clear();
    thunk.values.clear();
    thunk.executables.clear();
    space.defer(&thunk);
    let forced = space.force(&["out"]);
    forced.went(1, 0);
    assert!(forced.tells_of_completion());
    assert_eq!(space.read("out"), "found");
}

#[test]
fn a_command_that_really_fails_says_so_once() {
    let space = Space::new();
    for (script, code) in [("echo wrong >&2; exit 3", 3), ("cat missing; echo wrong >&2; kill -9 $$", 137)] {
        space.defer(&space.shell(script, "out"));
        let forced = space.force(&["out"]);
        assert_eq!(forced.code, code, "{}", forced.said);
        assert_eq!(forced.said.matches("wrong\n").count(), 1, "{}", forced.said);
        assert!(!forced.tells_of_completion(), "{}", forced.said);
    }
    assert_eq!(space.completions(), 0);
}

#[test]
fn a_completed_command_that_fails_shows_its_last_failure() {
    let space = Space::new();
    fs::write(space.path("extra"), "in extra").unwrap();
    space.defer(&space.shell("cat extra >&2 && exit 5", "out"));
    let forced = space.force(&["out"]);
    assert_eq!(forced.code, 5, "{}", forced.said);
    assert_eq!(forced.said.matches("in extra").count(), 1, "{}", forced.said);
    assert!(!forced.said.contains("No such file"), "{}", forced.said);
}

#[test]
fn an_output_that_is_not_written_is_looked_into() {
    let space = Space::new();
    let script = "if test -e extra; then cat extra > out; fi";
    let name = space.defer(&space.shell(script, "out"));
    let failed = space.force(&["out"]);
    assert!(failed.said.contains("did not write"), "{}", failed.said);
    assert_eq!(failed.code, 1);
    fs::write(space.path("extra"), "here").unwrap();
    space.placeholder(name, &space.path("out"));
    space.force(&["out"]).went(1, 0);
    assert_eq!(space.read("out"), "here");
}

#[test]
fn a_placeholder_that_is_looked_for_is_named() {
    let space = Space::new();
    let made = space.defer(&space.shell("printf made > gen", "gen"));
    let name = space.defer(&space.shell("cat gen > out", "out"));
    let failed = space.force(&["out"]);
    assert_eq!(failed.code, 1, "{}", failed.said);
    let file = space.path("gen");
    assert!(
        failed.said.contains(&format!("{}, which is not computed yet", file.display())),
        "{}",
        failed.said
    );
    space.force(&["gen"]).went(1, 0);
    // Reduced, but a placeholder again.
    space.placeholder(made, &file);
    space.force(&["out"]).went(1, 0);
    assert_eq!(space.read("out"), "made");
    assert!(space.store.reduction(&name).is_none());
}

#[test]
fn other_peoples_temporary_files_stay_outside() {
    let space = Space::new();
    let other = space.root.join("other");
    fs::write(&other, "theirs").unwrap();
    let other: &OsStr = other.as_os_str();
    assert!(Path::new(other).starts_with("/tmp"), "the temporary directory is elsewhere: {other:?}");
    space.defer(&space.shell(&format!("cat {} > out", other.display()), "out"));
    let forced = space.force(&["out"]);
    assert_eq!(forced.code, 1, "{}", forced.said);
    assert_eq!(forced.said.matches("No such file").count(), 1, "{}", forced.said);
}
