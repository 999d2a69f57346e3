// SPDX-License-Identifier: Apache-2.0
//! The included files of a compile, as trees: one for those of each directory. Commands of a build include much the same
//! files of most directories, so that few trees stand for what would else be hundreds of inputs in each thunk. Which
//! tree a set of files makes is remembered for as long as each is the same by its stamp. Knows no search and no includes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use models::scanner::{Included, Mark, Stamp};
use thunk::{ObjectName, Store, Tree, TreeEntry, TreeNode};

use crate::includes::facts;
use crate::looks::{Fast, Steps};
use crate::recorder::lock;

/// Fewer files than this are inputs of their own: a tree's name takes as much as theirs.
const FEW: usize = 3;
/// When trees of this many files are remembered, all are forgotten.
const MANY: usize = 1 << 20;

/// The trees of a recording.
#[derive(Debug, Default)]
pub struct Headers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    trees: HashMap<u64, Vec<(Group, ObjectName)>>,
    /// The same trees by the mark of the set, with the real directory.
    marked: HashMap<Mark, (PathBuf, ObjectName), Fast>,
    files: usize,
}

/// Files of one directory.
struct Set<'a> {
    directory: &'a Arc<Path>,
    mark: Mark,
    count: usize,
}

/// Stands in place of a set's number for a file that is in none.
const APART: u32 = u32::MAX;

/// Files of one directory.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    /// Its real path.
    directory: PathBuf,
    /// In the order of their names.
    files: Vec<(Arc<Path>, Stamp)>,
}

impl Group {
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.directory.as_os_str().as_bytes());
        for (path, stamp) in &self.files {
            // Paths hash component by component, which is slow; inode and times tell nearly all files apart.
            hasher.write_usize(path.as_os_str().len());
            stamp.hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl Headers {
    /// The trees that hold these files. What is no plain file at its own place, what stands alone, and what `apart`
    /// picks, is added to the footprint instead; so is what leads to the directories.
    ///
    /// # Errors
    /// A file cannot be put into the store.
    pub fn trees(
        &self,
        store: &Store,
        files: &[Arc<Included>],
        apart: impl Fn(&Path) -> bool,
        footprint: &mut Steps<'_>,
    ) -> thunk::Result<Vec<ObjectName>> {
        // Files of one directory share its allocation, so its address tells them from others.
        let mut sets: Vec<Set<'_>> = Vec::new();
        let mut places: HashMap<usize, u32, Fast> = HashMap::default();
        let (mut last, mut place) = (0, APART);
        let mut set_of = Vec::with_capacity(files.len());
        for file in files {
            if file.linked || wire::size_may_be_placeholder(file.stamp.size) || apart(&file.path) {
                // A superset may name what is no file: the compiler would not read it either.
                let _ = footprint.add(&file.path);
                set_of.push(APART);
                continue;
            }
            let address = Arc::as_ptr(&file.directory).cast::<u8>() as usize;
            if address != last {
                place = *places.entry(address).or_insert_with(|| {
                    sets.push(Set { directory: &file.directory, mark: Mark::default(), count: 0 });
                    sets.len() as u32 - 1
                });
                last = address;
            }
            let set = &mut sets[place as usize];
            set.count += 1;
            set.mark ^= file.mark;
            set_of.push(place);
        }
        let mut trees = Vec::with_capacity(sets.len());
        for (number, Set { directory, mark, count }) in sets.into_iter().enumerate() {
            let Ok(directory) = footprint.lead(directory) else { continue };
            let within =
                files.iter().zip(&set_of).filter(|(_, set)| **set == number as u32).map(|(file, _)| file);
            if count < FEW {
                for file in within {
                    if let Some(name) = file.path.file_name() {
                        footprint.footprint.files.insert(directory.join(name), facts(&file.stamp));
                    }
                }
                continue;
            }
            let marked =
                lock(&self.0).marked.get(&mark).filter(|(of, _)| *of == directory).map(|(_, tree)| *tree);
            if let Some(tree) = marked {
                trees.push(tree);
                continue;
            }
            let mut files: Vec<_> = within.map(|file| (Arc::clone(&file.path), file.stamp)).collect();
            files.sort_unstable_by(|(a, _), (b, _)| a.as_os_str().cmp(b.as_os_str()));
            trees.push(self.tree(store, Group { directory, files }, mark)?);
        }
        Ok(trees)
    }

    /// The tree of files that stand for themselves, or for `mark` together.
    fn tree(&self, store: &Store, group: Group, mark: Mark) -> thunk::Result<ObjectName> {
        let hash = group.hash();
        {
            let known = &mut *lock(&self.0);
            if let Some(same) = known.trees.get(&hash)
                && let Some((_, tree)) = same.iter().find(|(known, _)| *known == group)
            {
                known.marked.insert(mark, (group.directory, *tree));
                return Ok(*tree);
            }
        }
        // Taken before the files are read: what changes from here on is not taken for settled.
        let now = SystemTime::now();
        let mut entries = Vec::with_capacity(group.files.len());
        for (path, stamp) in &group.files {
            let Some(name) = path.file_name() else { continue };
            let (path, facts) = (group.directory.join(name), facts(stamp));
            let value = store.put_seen(&path, &facts)?;
            entries.push(TreeEntry { path, node: TreeNode::File { value, executable: facts.executable } });
        }
        let tree = store.put_tree(&Tree::new(entries))?;
        if group.files.iter().all(|(_, stamp)| stamp.settled(now)) {
            let mut known = lock(&self.0);
            known.files += group.files.len();
            if known.files > MANY {
                *known = Known { files: group.files.len(), ..Known::default() };
            }
            known.marked.insert(mark, (group.directory.clone(), tree));
            known.trees.entry(hash).or_default().push((group, tree));
        }
        Ok(tree)
    }
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
        let headers = Headers::default();
        let looks = crate::looks::Looks::default();
        let take = |files: &[Arc<Included>]| {
            let mut footprint = Steps::new(&looks, None);
            let apart = |path: &Path| path.extension().is_some_and(|e| e == "c");
            let trees = headers.trees(&space.store, files, apart, &mut footprint).unwrap();
            (trees, footprint.footprint)
        };
        let (trees, footprint) = take(&all);
        let apart: Vec<_> = footprint.files.keys().filter_map(|p| p.file_name()).collect();
        assert_eq!(apart, ["a.h", "x.c"], "the source, and what the link leads to");
        assert!(footprint.links.contains_key(&space.root.join("include/l.h")));
        let [tree] = trees[..] else { panic!("{trees:?}") };
        let names: Vec<_> =
            space.store.tree(&tree).unwrap().entries().iter().map(|e| e.path.clone()).collect();
        assert_eq!(names, ["a.h", "b.h", "c.h"].map(|name| space.root.join("include").join(name)));
        let mut other = all.to_vec();
        other.reverse();
        assert_eq!(take(&other).0, trees);
        assert_eq!(lock(&headers.0).files, 3, "remembered once");

        // Two are inputs of their own; a changed file makes another tree.
        let (none, footprint) = take(&all[1..3]);
        assert!(none.is_empty() && footprint.files.len() == 2);
        space.write("include/b.h", "changed");
        let changed = ["a.h", "b.h", "c.h"].map(|name| space.included(&directory, name));
        assert_ne!(take(&changed).0, trees);
    }
}
