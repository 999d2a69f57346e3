// SPDX-License-Identifier: Apache-2.0
//! A temporary directory with a source tree, and a store, in which commands are run.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Ran, Running};
use crate::report::{Forced, Shown};

/// A source tree and a store of its own. Commands run in the tree, with an environment that depends on nothing
/// but the machine's PATH.
pub struct TestSpace {
    dir: TempDir,
    env: Vec<(OsString, OsString)>,
}

impl Default for TestSpace {
    fn default() -> Self {
        Self::new()
    }
}

impl TestSpace {
    /// An empty tree, an empty store.
    #[must_use]
    pub fn new() -> Self {
        let dir =
            tempfile::Builder::new().prefix("gg-test.").tempdir().expect("a temporary directory can be made");
        for name in ["tree", "home"] {
            fs::create_dir(dir.path().join(name)).expect("the temporary directory can be written to");
        }
        let mut space = Self { dir, env: Vec::new() };
        for name in ["PATH", "TMPDIR", "CARGO_HOME", "RUSTUP_HOME"] {
            if let Some(value) = std::env::var_os(name) {
                space.set(name, value);
            }
        }
        space.set("HOME", space.dir.path().join("home"));
        space.set("LC_ALL", "C.UTF-8");
        space.set("GG_DIR", space.store());
        space
    }

    /// A tree with these files; a name that ends in `.sh` is executable.
    #[must_use]
    pub fn with(files: &[(&str, &str)]) -> Self {
        let space = Self::new();
        for (path, content) in files {
            space.write(path, content);
        }
        space
    }

    /// Where temporary things may stand that belong neither to the tree nor to the store.
    #[must_use]
    pub fn outside(&self) -> &Path {
        self.dir.path()
    }

    /// The tree's path.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    /// The store's path.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// A path in the tree.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.tree().join(path)
    }

    /// Sets an environment variable for all commands from now on.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.unset(name);
        self.env.push((name.into(), value.into()));
    }

    /// Takes an environment variable away from all commands from now on.
    pub fn unset(&mut self, name: &str) {
        self.env.retain(|(k, _)| k != name);
    }

    /// Writes a file of the tree, and the directories above it; a name that ends in `.sh` becomes executable.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        if path.extension() == Some(OsStr::new("sh")) {
            return self.write_program(path, content);
        }
        fs::create_dir_all(path.parent().expect("a file has a parent")).expect("the tree can be written to");
        fs::write(&path, content).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// Writes a program, and the directories above it. Another process does: what this one has open for writing, a child that another
    /// test starts in that moment has too, and the kernel executes nothing that anybody has open for writing.
    pub fn write_program(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        let mut command = Command::new("install");
        command.args(["-D", "-m", "755", "/dev/stdin"]).arg(path);
        Running::start(command, content.as_ref()).wait().ok();
    }

    /// Copies a program, as [`Self::write_program`] writes one.
    pub fn copy_program(from: &Path, to: &Path) {
        let mut command = Command::new("cp");
        command.arg(from).arg(to);
        Running::start(command, b"").wait().ok();
    }

    /// Reads a file of the tree.
    #[track_caller]
    #[must_use]
    pub fn read(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let path = self.path(path);
        fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Replaces a part of a file of the tree.
    #[track_caller]
    pub fn replace(&self, path: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.read(path)).expect("our sources are text");
        assert!(text.contains(from), "{path} has no {from:?}");
        self.write(path, text.replace(from, to));
    }

    /// Does a placeholder stand at this path of the tree?
    #[must_use]
    pub fn is_placeholder(&self, path: impl AsRef<Path>) -> bool {
        let path = self.path(path);
        matches!(thunk::Placeholder::read(&path), Ok(Some(_)))
    }

    /// One of the project's programs.
    #[must_use]
    pub fn program(name: &str) -> PathBuf {
        let beside = std::env::current_exe().ok().and_then(|e| Some(e.parent()?.parent()?.to_path_buf()));
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release");
        let places = std::env::var_os("GG_BIN_DIR").map_or_else(
            || beside.into_iter().chain([workspace]).collect::<Vec<_>>(),
            |given| vec![PathBuf::from(given)],
        );
        let found = places.iter().map(|p| p.join(name)).find(|p| p.is_file());
        let found =
            found.unwrap_or_else(|| panic!("{name} is in none of {places:?}: run cargo build --release"));
        fs::canonicalize(found).expect("a file that is there has a path")
    }

    /// A command to be run in the tree.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.tree()).env_clear().envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Runs a command in the tree; its name is looked for on the PATH.
    pub fn run<S: AsRef<OsStr>>(&self, argv: &[S]) -> Ran {
        self.start(argv).wait()
    }

    /// Starts a command in the tree.
    pub fn start<S: AsRef<OsStr>>(&self, argv: &[S]) -> Running {
        let mut command = self.command(&argv[0]);
        command.args(&argv[1..]);
        Running::start(command, b"")
    }

    /// Runs a shell script in the tree, with `set -e`.
    pub fn sh(&self, script: &str) -> Ran {
        self.run(&["sh", "-ec", script])
    }

    /// Records a command.
    pub fn ggtrace<S: AsRef<OsStr>>(&self, argv: &[S]) -> Ran {
        self.start_program("ggtrace", argv).wait()
    }

    /// Starts recording a command.
    pub fn start_program<S: AsRef<OsStr>>(&self, program: &str, args: &[S]) -> Running {
        let mut command = self.command(Self::program(program));
        command.args(args);
        Running::start(command, b"")
    }

    /// Runs one of the project's programs on the given input.
    pub fn program_reads<S: AsRef<OsStr>>(&self, program: &str, args: &[S], input: &[u8]) -> Ran {
        let mut command = self.command(Self::program(program));
        command.args(args);
        Running::start(command, input).wait()
    }

    /// Records a shell script, with `set -e`.
    pub fn ggtrace_sh(&self, script: &str) -> Ran {
        self.ggtrace(&["sh", "-ec", script])
    }

    /// Forces: with no arguments, all that the last trace built.
    pub fn ggforce(&self, args: &[&str]) -> Ran {
        self.start_program("ggforce", args).wait()
    }

    /// Forces everything, which must succeed.
    #[track_caller]
    pub fn force_all(&self) -> Forced {
        let ran = self.ggforce(&[]).ok();
        let forced = Forced::of(&ran);
        assert_eq!(forced.failed, 0, "it said that it succeeded:\n{ran}");
        forced
    }

    /// The counts of the last trace's commands.
    #[track_caller]
    pub fn shown(&self) -> Shown {
        Shown::of(&self.gg(&["show"]).ok())
    }

    /// Runs the umbrella program.
    pub fn gg(&self, args: &[&str]) -> Ran {
        self.start_program("gg", args).wait()
    }

    /// Keeps a copy of the tree as it is now, to be restored later.
    pub fn keep(&self) {
        self.copy(&self.tree(), &self.dir.path().join("kept"));
    }

    /// Restores the tree as it was when it was kept: content, modes and times.
    pub fn restore(&self) {
        self.copy(&self.dir.path().join("kept"), &self.tree());
    }

    fn copy(&self, from: &Path, to: &Path) {
        if to.exists() {
            fs::remove_dir_all(to).expect("our own directory can be removed");
        }
        let mut command = Command::new("cp");
        command.arg("-a").arg(from).arg(to);
        Running::start(command, b"").wait().ok();
    }
}
