// SPDX-License-Identifier: Apache-2.0
//! A directory tree as it is at one moment, to be compared with another.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use thunk::{ObjectKind, ObjectName};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    File { mode: u32, links: u64, content: Vec<u8> },
    Directory { mode: u32 },
    Link { target: PathBuf },
    Other { mode: u32 },
}

impl Node {
    /// Is it a file of the same mode, and neither it nor `content` a placeholder in the place of something real?
    fn is_like(&self, other_mode: u32, content: &[u8]) -> bool {
        matches!(self, Self::File { mode, .. } if *mode == other_mode) && !is_placeholder(content)
    }
}

fn is_placeholder(content: &[u8]) -> bool {
    matches!(thunk::Placeholder::decode(Path::new("placeholder"), content), Ok(Some(_)))
}

/// The paths below a directory, with content, mode, number of hard links and link target.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: BTreeMap<PathBuf, Node>,
    /// Modification time in nanoseconds of what is no directory.
    changed: BTreeMap<PathBuf, i128>,
}

impl Snapshot {
    /// Reads a whole tree.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        let mut snapshot = Self::default();
        snapshot.read(root, Path::new(""));
        snapshot
    }

    fn read(&mut self, root: &Path, below: &Path) {
        let directory = root.join(below);
        for entry in fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display())) {
            let path = below.join(entry.expect("the directory can be read").file_name());
            let full = root.join(&path);
            let metadata = fs::symlink_metadata(&full).unwrap_or_else(|e| panic!("{}: {e}", full.display()));
            let mode = metadata.mode();
            let node = if metadata.is_dir() {
                self.read(root, &path);
                Node::Directory { mode }
            } else if metadata.is_symlink() {
                Node::Link { target: fs::read_link(&full).expect("a symbolic link can be read") }
            } else if metadata.is_file() {
                let content = fs::read(&full).unwrap_or_else(|e| panic!("{}: {e}", full.display()));
                Node::File { mode, links: metadata.nlink(), content }
            } else {
                Node::Other { mode }
            };
            if !metadata.is_dir() {
                let at = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
                self.changed.insert(path.clone(), at);
            }
            self.nodes.insert(path, node);
        }
    }

    /// One line for each path in which `found` deviates from this tree; empty where there is none.
    #[must_use]
    pub fn deviations(&self, found: &Self) -> String {
        self.deviations_but(found, &[])
    }

    /// [`Self::deviations`], where the content of these files does not count.
    #[must_use]
    pub fn deviations_but(&self, found: &Self, varying: &[&str]) -> String {
        let mut out = String::new();
        for (path, expected) in &self.nodes {
            match found.nodes.get(path) {
                None => writeln!(out, "missing: {}", path.display()),
                Some(node) if node == expected => Ok(()),
                Some(Node::File { mode, content, .. })
                    if varying.iter().any(|v| path == Path::new(v)) && expected.is_like(*mode, content) =>
                {
                    Ok(())
                }
                Some(node) => {
                    writeln!(
                        out,
                        "differs: {}: {} in place of {}",
                        path.display(),
                        tell(node),
                        tell(expected)
                    )
                }
            }
            .expect("a string can be written to");
        }
        for path in found.nodes.keys().filter(|p| !self.nodes.contains_key(*p)) {
            writeln!(out, "extra: {}", path.display()).expect("a string can be written to");
        }
        out
    }

    /// The paths that are new, gone, or were changed since this snapshot, by their times.
    #[must_use]
    pub fn touched(&self, later: &Self) -> Vec<PathBuf> {
        let gone = self.changed.keys().filter(|p| !later.changed.contains_key(*p));
        let changed = later.changed.iter().filter(|(p, at)| self.changed.get(*p) != Some(at)).map(|(p, _)| p);
        gone.chain(changed).cloned().collect()
    }
}

fn tell(node: &Node) -> String {
    match node {
        Node::File { mode, links, content } => {
            let what = if is_placeholder(content) {
                String::from("a placeholder")
            } else {
                format!("{} bytes ({})", content.len(), ObjectName::of(ObjectKind::Value, content))
            };
            format!("{what}, mode {:o}, {links} links", mode & 0o7777)
        }
        Node::Directory { mode } => format!("a directory, mode {:o}", mode & 0o7777),
        Node::Link { target } => format!("a link to {}", target.display()),
        Node::Other { mode } => format!("neither file nor directory, mode {mode:o}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn trees_are_told_apart_by_content_kind_and_target() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for root in [&a, &b] {
            fs::create_dir_all(root.join("sub")).expect("a directory");
            fs::write(root.join("sub/same"), "x").expect("a file");
            symlink("same", root.join("sub/link")).expect("a link");
        }
        assert_eq!(Snapshot::of(&a).deviations(&Snapshot::of(&b)), "");
        fs::write(b.join("sub/same"), "y").expect("a file");
        fs::write(b.join("more"), "").expect("a file");
        fs::remove_file(b.join("sub/link")).expect("the link is there");
        let found = Snapshot::of(&a).deviations(&Snapshot::of(&b));
        assert!(found.contains("differs: sub/same"), "{found}");
        assert!(found.contains("extra: more") && found.contains("missing: sub/link"), "{found}");
    }
}
