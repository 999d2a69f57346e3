// SPDX-License-Identifier: Apache-2.0
//! Directory trees as values: what many thunks share (a toolchain) is named once by each. The stored form is a magic
//! line, check bytes, then the entries sorted by path.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::framed;
use crate::name::{ObjectKind, ObjectName};
use crate::path::{is_clean_absolute, to_path};

const MAGIC: &[u8] = b"##GGTREE##";

mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Entry {
        #[prost(bytes = "vec", tag = "1")]
        pub path: Vec<u8>,
        /// Object name of a file.
        #[prost(string, tag = "2")]
        pub value: String,
        #[prost(bool, tag = "3")]
        pub executable: bool,
        /// Target of a symbolic link.
        #[prost(bytes = "vec", tag = "4")]
        pub target: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Tree {
        #[prost(message, repeated, tag = "1")]
        pub entries: Vec<Entry>,
    }
}

/// What stands at one path of a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TreeNode {
    /// A regular file.
    File {
        /// Its content.
        value: ObjectName,
        /// May it be executed?
        executable: bool,
    },
    /// A symbolic link, and what it says.
    Link(PathBuf),
    /// A directory that must exist even if nothing is in it.
    Directory,
}

/// One path of a tree, and what stands there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TreeEntry {
    /// Absolute path.
    pub path: PathBuf,
    /// What stands there.
    pub node: TreeNode,
}

/// A set of files, links and directories at absolute paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    entries: Vec<TreeEntry>,
}

impl Tree {
    /// A tree of these entries.
    #[must_use]
    pub fn new(mut entries: Vec<TreeEntry>) -> Self {
        entries.sort_unstable();
        entries.dedup();
        Self { entries }
    }

    /// The entries, sorted by path.
    #[must_use]
    pub fn entries(&self) -> &[TreeEntry] {
        &self.entries
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let entries = self
            .entries
            .iter()
            .map(|entry| {
                let mut out = wire::Entry {
                    path: entry.path.as_os_str().as_bytes().to_vec(),
                    ..wire::Entry::default()
                };
                match &entry.node {
                    TreeNode::File { value, executable } => {
                        out.value = value.to_string();
                        out.executable = *executable;
                    }
                    TreeNode::Link(target) => out.target = target.as_os_str().as_bytes().to_vec(),
                    TreeNode::Directory => {}
                }
                out
            })
            .collect();
        framed::file(MAGIC, &wire::Tree { entries })
    }

    /// The inverse of [`Tree::encode`].
    ///
    /// # Errors
    /// The bytes are no tree, or one with paths that lead elsewhere than they say.
    pub fn decode(subject: &str, content: &[u8]) -> Result<Self> {
        let bad = |why: String| Error::malformed(subject, "tree", why);
        let message: wire::Tree = framed::parse_file(MAGIC, content).map_err(bad)?;
        let entries = message
            .entries
            .into_iter()
            .map(|entry| {
                if !is_clean_absolute(&entry.path) || entry.target.contains(&0) {
                    return Err(bad(format!("path \"{}\" is not allowed", entry.path.escape_ascii())));
                }
                if entry.path == b"/" && !(entry.target.is_empty() && entry.value.is_empty()) {
                    return Err(bad("the root is no directory".into()));
                }
                let node = if !entry.target.is_empty() {
                    TreeNode::Link(to_path(&entry.target))
                } else if entry.value.is_empty() {
                    TreeNode::Directory
                } else {
                    let value: ObjectName = entry.value.parse()?;
                    if value.kind() != ObjectKind::Value {
                        return Err(bad(format!("{value} stands among the values")));
                    }
                    TreeNode::File { value, executable: entry.executable }
                };
                Ok(TreeEntry { path: to_path(&entry.path), node })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self::new(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_survives_its_encoding_and_damage_is_told() {
        let value = ObjectName::of(ObjectKind::Value, b"x");
        let tree = Tree::new(vec![
            TreeEntry { path: "/usr/bin/gcc".into(), node: TreeNode::Link("gcc-12".into()) },
            TreeEntry { path: "/usr/bin/gcc-12".into(), node: TreeNode::File { value, executable: true } },
            TreeEntry { path: "/tmp".into(), node: TreeNode::Directory },
        ]);
        let bytes = tree.encode();
        assert_eq!(Tree::decode("t", &bytes).unwrap(), tree);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert!(Tree::decode("t", &flipped).is_err(), "byte {at}");
            assert!(Tree::decode("t", &bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn hostile_paths_are_refused() {
        for (path, node) in [
            ("/a/../../etc", TreeNode::Directory),
            ("/", TreeNode::Link("/etc".into())),
            ("/", TreeNode::File { value: ObjectName::of(ObjectKind::Value, b"x"), executable: false }),
        ] {
            let tree = Tree::new(vec![TreeEntry { path: path.into(), node }]);
            assert!(Tree::decode("t", &tree.encode()).is_err(), "{path}");
        }
    }
}
