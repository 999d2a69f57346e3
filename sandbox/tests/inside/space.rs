// SPDX-License-Identifier: Apache-2.0
//! What every case begins with: a store of blobs, a sandbox, and the closure of this program as its files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sandbox::{Entry, Job, Outcome, Sandbox, Status};

/// Where this program is inside.
pub const PROGRAM: &str = "/opt/test/program";

pub struct Space {
    pub directory: PathBuf,
    pub sandbox: Sandbox,
    pub wanted: BTreeMap<PathBuf, Entry>,
    blobs: usize,
}

impl Space {
    /// A sandbox in which this program, and what it needs, is all there is.
    pub fn new() -> Space {
        let directory = std::env::temp_dir();
        std::fs::create_dir(directory.join("store")).expect("mkdir");
        // A process that has left a chroot has its program in mounts to which no path leads.
        let exe = std::env::current_exe().expect("own path");
        let sandbox = Sandbox::enter(&directory.join("scratch")).expect("enter");
        let mut space = Space { directory, sandbox, wanted: BTreeMap::new(), blobs: 0 };
        space.add_real(&exe);
        let entry = space.wanted.remove(&exe).expect("the program");
        space.wanted.insert(PROGRAM.into(), entry);
        space
    }

    /// Makes a blob in the store.
    pub fn blob(&mut self, content: impl AsRef<[u8]>, executable: bool) -> PathBuf {
        self.blobs += 1;
        let path = self.directory.join(format!("store/{}", self.blobs));
        std::fs::write(&path, content).expect("blob");
        let mode = if executable { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("chmod");
        path
    }

    /// Makes a file with this content an input; returns its blob.
    pub fn input(&mut self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let source = self.blob(content, false);
        let entry = Entry::File { source: source.clone(), executable: false };
        self.wanted.insert(path.as_ref().to_owned(), entry);
        source
    }

    /// Makes a file of this machine, the libraries that it needs and the symbolic links on the way inputs.
    pub fn add_real(&mut self, path: &Path) {
        let mut pending = vec![path.to_owned()];
        let ldd = Command::new("ldd").arg(path).output().expect("ldd");
        for word in String::from_utf8_lossy(&ldd.stdout).split_whitespace() {
            if word.starts_with('/') {
                pending.push(word.into());
            }
        }
        for path in pending {
            let mut rest: Vec<OsString> =
                path.iter().rev().filter(|c| *c != "/").map(OsString::from).collect();
            let mut at = PathBuf::from("/");
            while let Some(component) = rest.pop() {
                if component == ".." {
                    at.pop();
                    continue;
                }
                at.push(component);
                let meta = std::fs::symlink_metadata(&at).expect("a file of this machine");
                if meta.is_symlink() {
                    let target = std::fs::read_link(&at).expect("link");
                    self.wanted.insert(at.clone(), Entry::Symlink(target.clone()));
                    at.pop();
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    rest.extend(target.iter().filter(|c| *c != "/").rev().map(OsString::from));
                } else if meta.is_file() {
                    let executable = meta.permissions().mode() & 0o111 != 0;
                    self.wanted.insert(at.clone(), Entry::File { source: at.clone(), executable });
                }
            }
        }
    }

    /// A job that calls this program's `--inside`.
    pub fn job(&self, args: &[&str]) -> Job {
        let argv = [PROGRAM, "--inside"].iter().chain(args).map(OsString::from).collect();
        Job::new(PROGRAM, argv, "/work")
    }

    /// Brings the tree up to date and runs a job.
    pub fn run_job(&mut self, job: &Job) -> Outcome {
        self.sandbox.sync(&self.wanted).expect("sync");
        self.sandbox.run(job).expect("run")
    }

    /// Runs this program's `--inside` with success.
    pub fn run(&mut self, args: &[&str]) -> Outcome {
        let job = self.job(args);
        let outcome = self.run_job(&job);
        let stderr = String::from_utf8_lossy(&outcome.stderr);
        assert_eq!(outcome.status, Status::Exited(0), "{args:?}: {stderr}");
        outcome
    }
}

/// What a file holds.
pub fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).expect("a file")).into_owned()
}

/// What the command said.
pub fn said(outcome: &Outcome) -> String {
    String::from_utf8_lossy(&outcome.stdout).into_owned()
}
