// SPDX-License-Identifier: Apache-2.0
//! Two worlds for tests: one in memory, and this machine's own file system.

mod disk;

pub(crate) use disk::Disk;

use crate::{Answer, Invocation, Node, Question, World};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// A file system in memory. `.` and `..` in paths are resolved by name.
#[derive(Default)]
pub(crate) struct Memory {
    files: BTreeMap<PathBuf, Arc<Vec<u8>>>,
    placeholders: BTreeMap<PathBuf, Vec<PathBuf>>,
    thin: BTreeMap<PathBuf, Vec<PathBuf>>,
    answers: BTreeMap<Vec<OsString>, Answer>,
    executables: Vec<PathBuf>,
}

impl Memory {
    /// A world with files that are no text.
    pub fn with(files: &[&str]) -> Memory {
        files.iter().fold(Memory::default(), |world, path| world.file(path, b"\x7fELF"))
    }

    pub fn file(mut self, path: &str, content: &[u8]) -> Memory {
        self.files.insert(path.into(), Arc::new(content.to_vec()));
        self
    }

    pub fn placeholder(mut self, path: &str, linked_with: &[&str]) -> Memory {
        self.placeholders.insert(path.into(), linked_with.iter().map(PathBuf::from).collect());
        self
    }

    /// A placeholder of a thin archive.
    pub fn thin(mut self, path: &str, members: &[&str]) -> Memory {
        self.thin.insert(path.into(), members.iter().map(PathBuf::from).collect());
        self.placeholder(path, &[])
    }

    pub fn executable(mut self, path: &str) -> Memory {
        self.executables.push(path.into());
        self
    }

    pub fn answer(mut self, argv: &[&str], stdout: &str) -> Memory {
        let answer = Answer { stdout: stdout.as_bytes().to_vec(), ..Answer::default() };
        self.answers.insert(argv.iter().map(OsString::from).collect(), answer);
        self
    }
}

fn normal(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                result.pop();
            }
            Component::CurDir => {}
            other => result.push(other),
        }
    }
    result
}

impl World for Memory {
    fn node(&self, path: &Path) -> Option<Node> {
        let path = normal(path);
        if self.placeholders.contains_key(&path) {
            return Some(Node::Placeholder);
        }
        if self.files.contains_key(&path) {
            return Some(if path.starts_with("/dev") { Node::Other } else { Node::File });
        }
        let mut all = self.files.keys().chain(self.placeholders.keys());
        all.any(|file| file.starts_with(&path)).then_some(Node::Directory)
    }

    fn read(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
        self.files.get(&normal(path)).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn linked_with(&self, path: &Path) -> Vec<PathBuf> {
        self.placeholders.get(&normal(path)).cloned().unwrap_or_default()
    }

    fn thin_members(&self, placeholder: &Path) -> Vec<PathBuf> {
        self.thin.get(&normal(placeholder)).cloned().unwrap_or_default()
    }

    fn ask(&self, question: &Question) -> io::Result<Arc<Answer>> {
        let answer = self.answers.get(&question.argv).cloned();
        answer.map(Arc::new).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn executable(&self, path: &Path) -> bool {
        self.executables.contains(&normal(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let inside = self.files.keys().filter(|file| file.parent() == Some(path));
        Ok(inside.filter_map(|file| file.file_name()).map(OsString::from).collect())
    }
}

/// A command of the working directory `/w`, split at blanks.
pub(crate) fn command(line: &str) -> Invocation {
    let argv: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    let program = Path::new("/usr/bin").join(&argv[0]);
    Invocation { program, argv, env: crate::Environment::default(), cwd: "/w".into() }
}
