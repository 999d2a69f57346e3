// SPDX-License-Identifier: Apache-2.0
//! What the tests share: a temporary directory in which commands are observed.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test helper")]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use observe::{Command, Observation, Options, Touches, Use, observe};

/// A directory of which the path has no links, so that named and real paths agree.
pub struct Space {
    _dir: tempfile::TempDir,
    pub path: PathBuf,
}

impl Space {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        Self { _dir: dir, path }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        fs::write(self.at(name), content).unwrap();
        self.at(name)
    }

    /// The command `program argument…` here.
    pub fn command(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program.as_ref());
        command.argv.extend(arguments.iter().map(OsString::from));
        command.env = self.env();
        command.cwd.clone_from(&self.path);
        command
    }

    pub fn env(&self) -> Vec<(OsString, OsString)> {
        vec![
            ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
            ("LC_ALL".into(), "C".into()),
            ("TMPDIR".into(), self.path.clone().into()),
        ]
    }

    /// Runs a shell script here. No test may hang.
    pub fn sh(&self, script: &str) -> Observation {
        self.run(&self.command("/bin/sh", &["-c", script]))
    }

    pub fn run(&self, command: &Command) -> Observation {
        let options = Options { timeout: Some(Duration::from_secs(60)), ..Options::default() };
        let seen = observe(command, &options).unwrap();
        assert!(!seen.timed_out, "{command:?} takes too long");
        seen
    }

    /// Compiles a C program here and returns its path.
    pub fn compile(&self, name: &str, source: &str, flags: &[&str]) -> PathBuf {
        let file = self.write(&format!("{name}.c"), source);
        let status = std::process::Command::new("cc")
            .arg(file)
            .args(["-o", name])
            .args(flags)
            .current_dir(&self.path)
            .status();
        assert!(status.unwrap().success(), "cc {name}.c");
        self.at(name)
    }
}

/// The paths to which something was done.
pub fn with(touches: &Touches, what: Use) -> Vec<PathBuf> {
    touches.with(what).map(|(path, _)| path.to_owned()).collect()
}

pub fn inputs(touches: &Touches) -> Vec<PathBuf> {
    touches.inputs().map(|(path, _)| path.to_owned()).collect()
}
