// SPDX-License-Identifier: Apache-2.0
//! The scanner as a whole: on file trees in memory that change, and against this machine's compilers.

mod answers;
mod changes;
mod compilers;
mod doubts;
mod exact;
mod lexing;
mod rules;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use super::{Closure, Files, Kind, Scanner, Stamp, Unsure};
use crate::IncludeSearch;

/// A file system in memory that counts what it is asked.
#[derive(Default)]
struct Fake {
    nodes: Mutex<BTreeMap<PathBuf, (Node, Stamp)>>,
    clock: AtomicU64,
    looks: AtomicU64,
    reads: AtomicU64,
}

#[derive(Clone)]
enum Node {
    File(Arc<Vec<u8>>),
    Directory,
    Link(PathBuf),
}

impl Fake {
    fn with(files: &[(&str, &str)]) -> Self {
        let fake = Self::default();
        fake.put("/", Node::Directory);
        for (path, text) in files {
            fake.write(path, text);
        }
        fake
    }

    /// The time moves on with each change, far enough from now for stamps to be relied on.
    fn put(&self, path: &str, node: Node) {
        let now = self.clock.fetch_add(1, SeqCst) + 1;
        let time = now as i64 * 1_000_000 + 1;
        let stamp = Stamp { dev: 1, ino: now, size: 0, mtime: time, ctime: time, ..Stamp::default() };
        let path = Path::new(path);
        let mut nodes = self.nodes.lock().unwrap();
        if let Some(parent) = path.parent().filter(|p| *p != Path::new("/"))
            && !nodes.contains_key(parent)
        {
            drop(nodes);
            self.put(parent.to_str().unwrap(), Node::Directory);
            nodes = self.nodes.lock().unwrap();
        }
        nodes.insert(path.into(), (node, stamp));
        if let Some((_, stamp)) = path.parent().and_then(|p| nodes.get_mut(p)) {
            (stamp.mtime, stamp.ctime) = (time, time);
        }
    }

    fn write(&self, path: &str, text: &str) {
        self.put(path, Node::File(Arc::new(text.as_bytes().to_vec())));
    }

    fn link(&self, path: &str, target: &str) {
        self.put(path, Node::Link(target.into()));
    }

    fn remove(&self, path: &str) {
        self.put(path, Node::Directory);
        self.nodes.lock().unwrap().remove(Path::new(path));
    }

    /// The path without links and dots, as the kernel would walk it.
    fn walk(&self, path: &Path, follow_last: bool) -> Option<PathBuf> {
        let nodes = self.nodes.lock().unwrap();
        let mut here = PathBuf::from("/");
        let mut todo: Vec<OsString> = path.iter().skip(1).map(Into::into).collect();
        todo.reverse();
        for _ in 0..100 {
            let Some(part) = todo.pop() else { return Some(here) };
            if part == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&part);
            match nodes.get(&next)?.0.clone() {
                Node::Link(target) if follow_last || !todo.is_empty() => {
                    if target.is_absolute() {
                        here = "/".into();
                    }
                    todo.extend(
                        target
                            .iter()
                            .filter(|p| *p != "/")
                            .map(OsString::from)
                            .collect::<Vec<_>>()
                            .into_iter()
                            .rev(),
                    );
                }
                Node::File(_) if !todo.is_empty() => return None,
                _ => here = next,
            }
        }
        None
    }
}

impl Files for Fake {
    fn look(&self, path: &Path, follow: bool) -> Option<(Kind, Stamp)> {
        self.looks.fetch_add(1, SeqCst);
        let real = self.walk(path, follow)?;
        let (node, stamp) = self.nodes.lock().unwrap().get(&real)?.clone();
        let kind = match node {
            Node::File(_) => Kind::File,
            Node::Directory => Kind::Directory,
            Node::Link(_) => Kind::Link,
        };
        Some((kind, stamp))
    }

    fn read(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
        self.reads.fetch_add(1, SeqCst);
        let real = self.walk(path, true).ok_or(io::ErrorKind::NotFound)?;
        match &self.nodes.lock().unwrap().get(&real).ok_or(io::ErrorKind::NotFound)?.0 {
            Node::File(text) => Ok(text.clone()),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// The content itself, which is short.
    fn digest(&self, path: &Path, stamp: &Stamp) -> Option<[u8; 32]> {
        let text =
            self.read(path).ok().filter(|_| self.look(path, true).is_some_and(|(_, now)| now == *stamp))?;
        let mut digest = [0u8; 32];
        for part in text.chunks(32) {
            digest.iter_mut().zip(part).for_each(|(byte, add)| *byte = byte.rotate_left(3) ^ add);
        }
        digest[31] ^= text.len() as u8;
        Some(digest)
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let real = self.walk(path, true).ok_or(io::ErrorKind::NotFound)?;
        let nodes = self.nodes.lock().unwrap();
        let inside = nodes.keys().filter(|p| p.parent() == Some(&real));
        Ok(inside.filter_map(|p| p.file_name()).map(Into::into).collect())
    }
}

fn paths(list: &[&str]) -> Vec<PathBuf> {
    list.iter().map(PathBuf::from).collect()
}

/// `/w/a.c` with `-I` directories.
fn search(bracket: &[&str]) -> IncludeSearch {
    IncludeSearch { sources: paths(&["/w/a.c"]), bracket: paths(bracket), ..IncludeSearch::default() }
}

fn names(closure: &Closure) -> Vec<String> {
    closure.files().map(|f| f.path.display().to_string()).collect()
}

fn scan(fake: &Fake, search: &IncludeSearch) -> Result<Closure, Unsure> {
    let scanner = Scanner::default();
    scanner.scan(search, Path::new("/w"), fake, scanner.now())
}

/// What the scan of `/w/a.c` finds.
fn found(files: &[(&str, &str)], search: &IncludeSearch) -> Vec<String> {
    names(&scan(&Fake::with(files), search).unwrap())
}
