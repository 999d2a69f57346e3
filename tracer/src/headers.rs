// SPDX-License-Identifier: Apache-2.0
//! The included files of a compile, as trees: one for those of each directory. Commands of a build include much the same
//! files of most directories, so that few trees stand for what would else be hundreds of inputs in each thunk. Which
//! tree a set of files makes is remembered for as long as each is the same by its stamp. Knows no search and no includes.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use models::scanner::{FileSet, Included, Mark};
use thunk::{FileFacts, ObjectName, Store, Tree, TreeEntry, TreeNode};

use crate::includes::facts;
use crate::known_trees::KnownTrees;
use crate::looks::{Fast, Steps};
use crate::recorder::lock;

/// Fewer files than this are inputs of their own: a tree's name takes as much as theirs.
const FEW: usize = 3;
/// When this many files are remembered, all are forgotten.
const MANY: usize = 1 << 20;

/// What sets of files have become in a recording.
#[derive(Debug)]
pub struct Headers {
    known: Mutex<Known>,
    /// The same of earlier ones, as far as it is not in the project: there a fresh clone has other files.
    trees: KnownTrees,
    project: PathBuf,
}

#[derive(Debug, Default)]
struct Known {
    parts: HashMap<Mark, Arc<Parts>, Fast>,
    files: usize,
}

/// What a thunk has in place of a set of files.
#[derive(Debug)]
struct Parts {
    /// The real path of their directory.
    directory: PathBuf,
    tree: Option<ObjectName>,
    /// What is an input of its own, by its name.
    single: Vec<(OsString, FileFacts)>,
    /// What has to be looked at: links lead elsewhere, and a placeholder is no file yet.
    elsewhere: Vec<Arc<Path>>,
}

impl Headers {
    /// None yet, of a recording of this project, but for those that are known.
    pub fn new(trees: KnownTrees, project: &Path) -> Self {
        Self { known: Mutex::default(), trees, project: project.to_path_buf() }
    }

    /// Leaves the trees to later recordings.
    pub fn keep(&self) {
        self.trees.flush();
    }

    /// The trees that hold these files. What is no plain file at its own place, what stands alone, and what is `apart`, is added to the
    /// footprint instead; so is what leads to the directories.
    ///
    /// # Errors
    /// A file cannot be put into the store.
    pub fn trees(
        &self,
        store: &Store,
        sets: &[Arc<FileSet>],
        apart: &[PathBuf],
        footprint: &mut Steps<'_>,
    ) -> thunk::Result<Vec<ObjectName>> {
        // Bytes tell: paths are spelled as the scanner spells them.
        let is_apart = |file: &Included| apart.iter().any(|path| path.as_os_str() == file.path.as_os_str());
        let above: Vec<_> = apart.iter().filter_map(|path| path.parent()).map(Path::as_os_str).collect();
        let mut trees = Vec::with_capacity(sets.len());
        for set in sets {
            let is_shared =
                !above.contains(&set.directory.as_os_str()) || !set.files.iter().any(|file| is_apart(file));
            let Ok(directory) = footprint.lead(&set.directory) else {
                // Links may lead somewhere all the same.
                for file in set.files.iter().filter(|file| is_elsewhere(file) || is_apart(file)) {
                    let _ = footprint.add(&file.path);
                }
                continue;
            };
            let known = lock(&self.known).parts.get(&set.mark).cloned();
            let parts = match known.filter(|parts| is_shared && parts.directory == directory) {
                Some(parts) => parts,
                None => {
                    // Taken before the files are read: what changes from here on is not taken for settled.
                    let now = SystemTime::now();
                    let lasts = is_shared && set.files.iter().all(|file| file.stamp.settled(now));
                    let trees = (lasts && !directory.starts_with(&self.project)).then_some(&self.trees);
                    let parts = Arc::new(Parts::of(store, trees, directory, set, is_apart)?);
                    if lasts {
                        self.remember(set, Arc::clone(&parts));
                    }
                    parts
                }
            };
            parts.add_to(footprint);
            trees.extend(parts.tree);
        }
        Ok(trees)
    }

    fn remember(&self, set: &FileSet, parts: Arc<Parts>) {
        let mut known = lock(&self.known);
        known.files += set.files.len();
        if known.files > MANY {
            *known = Known { files: set.files.len(), ..Known::default() };
        }
        known.parts.insert(set.mark, parts);
    }
}

impl Parts {
    fn of(
        store: &Store,
        known: Option<&KnownTrees>,
        directory: PathBuf,
        set: &FileSet,
        is_apart: impl Fn(&Included) -> bool,
    ) -> thunk::Result<Self> {
        let (elsewhere, plain): (Vec<_>, Vec<_>) =
            set.files.iter().partition(|file| is_elsewhere(file) || is_apart(file));
        let mut single: Vec<_> = plain
            .iter()
            .filter_map(|file| Some((file.path.file_name()?.to_os_string(), facts(&file.stamp))))
            .collect();
        let mut tree = None;
        if single.len() >= FEW {
            single.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            tree = Some(tree_of(store, known, &directory, std::mem::take(&mut single))?);
        }
        let elsewhere = elsewhere.into_iter().map(|file| Arc::clone(&file.path)).collect();
        Ok(Self { directory, tree, single, elsewhere })
    }

    fn add_to(&self, footprint: &mut Steps<'_>) {
        for path in &self.elsewhere {
            // A superset may name what is no file: the compiler would not read it either.
            let _ = footprint.add(path);
        }
        for (name, facts) in &self.single {
            footprint.footprint.files.insert(self.directory.join(name), *facts);
        }
    }
}

fn tree_of(
    store: &Store,
    known: Option<&KnownTrees>,
    directory: &Path,
    files: Vec<(OsString, FileFacts)>,
) -> thunk::Result<ObjectName> {
    let key = known.map(|known| (known, KnownTrees::key(directory, &files)));
    // What the tree names is there, too: who removes it removes the list of trees before.
    if let Some(tree) = key.and_then(|(known, key)| known.get(&key)).filter(|tree| store.contains(tree)) {
        return Ok(tree);
    }
    let mut entries = Vec::with_capacity(files.len());
    for (name, facts) in files {
        let path = directory.join(name);
        let node = TreeNode::File { value: store.put_seen(&path, &facts)?, executable: facts.executable };
        entries.push(TreeEntry { path, node });
    }
    let tree = store.put_tree(&Tree::new(entries))?;
    if let Some((known, key)) = key {
        known.put(key, tree);
    }
    Ok(tree)
}

/// Is it no plain file at its own place, or may it be none yet?
fn is_elsewhere(file: &Included) -> bool {
    file.linked || wire::size_may_be_placeholder(file.stamp.size)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use models::scanner::{Disk, Files as _};

    use super::*;

    struct Space {
        _dir: tempfile::TempDir,
        root: PathBuf,
        store: Store,
    }

    impl Space {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = std::fs::canonicalize(dir.path()).unwrap();
            let store = Store::open(&root.join("store")).unwrap();
            std::fs::create_dir_all(root.join("include")).unwrap();
            Self { _dir: dir, root, store }
        }

        /// Files that are old enough to be relied on but for their ctime, which no test can set.
        fn write(&self, name: &str, content: &str) {
            let path = self.root.join(name);
            std::fs::write(&path, content).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        }

        fn included(&self, directory: &Arc<Path>, name: &str) -> Arc<Included> {
            let path: Arc<Path> = directory.join(name).into();
            let (_, stamp) = Disk.look(&path, true).unwrap();
            let linked = path.is_symlink();
            let directory = Arc::clone(directory);
            Arc::new(Included { path, directory, stamp, linked, mark: Mark::unique() })
        }
    }

    #[test]
    fn files_of_a_directory_make_one_tree_whatever_their_order() {
        let space = Space::new();
        for name in ["a.h", "b.h", "c.h", "x.c"] {
            space.write(&format!("include/{name}"), name);
        }
        std::os::unix::fs::symlink("a.h", space.root.join("include/l.h")).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        let directory: Arc<Path> = space.root.join("include").into();
        let all = ["x.c", "c.h", "a.h", "b.h", "l.h"].map(|name| space.included(&directory, name));
        let known = || KnownTrees::open(space.root.join("known"));
        let headers = Headers::new(known(), Path::new("/nowhere"));
        let looks = crate::looks::Looks::default();
        let apart = [space.root.join("include/x.c")];
        let take = |files: &[Arc<Included>]| {
            let mut footprint = Steps::new(&looks, None);
            let mut mark = Mark::default();
            files.iter().for_each(|file| mark ^= file.mark);
            let set = FileSet { directory: Arc::clone(&directory), files: files.into(), mark };
            let trees = headers.trees(&space.store, &[Arc::new(set)], &apart, &mut footprint).unwrap();
            (trees, footprint.footprint)
        };
        let (trees, footprint) = take(&all);
        let apart: Vec<_> = footprint.files.paths().filter_map(|p| p.file_name()).collect();
        assert_eq!(apart, ["a.h", "x.c"], "the source, and what the link leads to");
        assert!(footprint.links.contains_key(&space.root.join("include/l.h")));
        let [tree] = trees[..] else { panic!("{trees:?}") };
        let names: Vec<_> =
            space.store.tree(&tree).unwrap().entries().iter().map(|e| e.path.clone()).collect();
        assert_eq!(names, ["a.h", "b.h", "c.h"].map(|name| space.root.join("include").join(name)));
        let mut other = all.to_vec();
        other.reverse();
        assert_eq!(take(&other).0, trees);
        assert_eq!(lock(&headers.known).files, 0, "it would be no other command's");
        let without = &all[1..];
        assert_eq!(take(without).0, trees);
        assert_eq!(take(without).0, trees);
        assert_eq!(lock(&headers.known).files, 4, "remembered once");

        // Two are inputs of their own; a changed file makes another tree.
        let (none, footprint) = take(&all[1..3]);
        assert!(none.is_empty() && footprint.files.len() == 2);
        space.write("include/b.h", "changed");
        let changed = ["a.h", "b.h", "c.h"].map(|name| space.included(&directory, name));
        assert_ne!(take(&changed).0, trees);
    }
}
