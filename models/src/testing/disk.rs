// SPDX-License-Identifier: Apache-2.0
//! This machine's own file system and tools, for tests; `examples/scan.rs` takes this file too.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use crate::scanner::{self, Files, Kind, Stamp};
use crate::{Answer, Node, Question, World};

/// This machine, with every answer of a tool remembered.
#[derive(Default)]
pub(crate) struct Disk(Mutex<HashMap<Question, Arc<Answer>>>);

impl World for Disk {
    fn node(&self, path: &Path) -> Option<Node> {
        let meta = std::fs::metadata(path).ok()?;
        Some(match () {
            () if meta.is_file() => Node::File,
            () if meta.is_dir() => Node::Directory,
            () => Node::Other,
        })
    }

    fn read(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
        std::fs::read(path).map(Arc::new)
    }

    fn linked_with(&self, _: &Path) -> Vec<PathBuf> {
        Vec::new()
    }

    fn ask(&self, question: &Question) -> io::Result<Arc<Answer>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = known.get(question) {
            return Ok(answer.clone());
        }
        let mut command = Command::new(&question.program);
        command.args(&question.argv[1..]).env_clear().envs(question.env.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        // Questions are short: they fit into a pipe. Not everybody reads them.
        let _ = child.stdin.take().map(|mut input| input.write_all(&question.input));
        let output = child.wait_with_output()?;
        let code = output.status.code().unwrap_or(-1);
        let answer = Arc::new(Answer { code, stdout: output.stdout, stderr: output.stderr });
        known.insert(question.clone(), answer.clone());
        Ok(answer)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
    }
}

impl Files for Disk {
    fn look(&self, path: &Path, follow: bool) -> Option<(Kind, Stamp)> {
        scanner::Disk.look(path, follow)
    }

    fn read(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
        World::read(self, path)
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.list(path)
    }

    fn ask(&self, question: &Question) -> io::Result<Arc<Answer>> {
        World::ask(self, question)
    }
}
