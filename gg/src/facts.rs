// SPDX-License-Identifier: Apache-2.0
//! A recorded build as something to ask: which command reads and writes which file. Brings together what the trace says
//! of a command and what its thunk says; knows nothing of how that is shown.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use thunk::trace::{Command, Observed, Products, Trace, Uses};
use thunk::{ObjectName, OutputRef, Store, Thunk, Tree, TreeNode};

/// A trace with the store that holds its thunks.
pub struct Facts {
    /// Where it was read from.
    pub path: PathBuf,
    /// The trace.
    pub trace: Trace,
    /// What the build left.
    pub products: Products,
    store: Store,
    observed: HashMap<u32, usize>,
    trees: RefCell<HashMap<ObjectName, Option<Rc<Tree>>>>,
}

/// A file that a command reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Read {
    /// Where it stands.
    pub path: PathBuf,
    /// The output of another command that it is, where that is known.
    pub from: Option<OutputRef>,
}

impl Facts {
    /// Reads this trace, or the newest of the current directory.
    ///
    /// # Errors
    /// There is no such trace.
    pub fn load(path: Option<&Path>) -> Result<Self> {
        let store = Store::open_default()?;
        let path = match path {
            Some(path) => path.to_path_buf(),
            None => {
                let here = here()?;
                match Trace::latest(&store, &here)? {
                    Some(path) => path,
                    None => bail!(
                        "no build was recorded in {} with the store {}",
                        here.display(),
                        store.root().display()
                    ),
                }
            }
        };
        let trace = Trace::read(&path)?;
        let products = trace.products();
        let observed = trace.observed.iter().enumerate().map(|(at, o)| (o.id, at)).collect();
        Ok(Self { path, trace, products, store, observed, trees: RefCell::default() })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What the command was seen to do, if it ran and was observed.
    pub fn observed(&self, id: u32) -> Option<&Observed> {
        self.observed.get(&id).and_then(|&at| self.trace.observed.get(at))
    }

    /// The command's thunk, if the store has it.
    pub fn thunk(&self, command: &Command) -> Option<Thunk> {
        let name = command.thunk.or_else(|| self.observed(command.id)?.thunk)?;
        self.store.thunk(&name).ok()
    }

    /// The files that a command reads, but for those of its toolchain. Sorted.
    pub fn reads(&self, command: &Command) -> Vec<Read> {
        let mut reads = Vec::new();
        if let Some(observed) = self.observed(command.id) {
            let read = |uses: Uses| [Uses::READ, Uses::EXECUTED, Uses::INPUT].iter().any(|u| uses.has(*u));
            let touched = observed.touches.iter().filter(|t| read(t.uses));
            reads.extend(touched.map(|t| Read { path: t.path.to_path_buf(), from: None }));
        } else if let Some(thunk) = self.thunk(command) {
            let values = thunk.values.into_iter().chain(thunk.executables);
            reads.extend(values.map(|i| Read { path: i.path, from: None }));
            reads.extend(thunk.thunks.into_iter().map(|i| Read { path: i.path, from: Some(i.from) }));
            // Included files are trees as well as toolchains are; a tree with a program in it is one of these.
            for tree in
                thunk.trees.iter().filter_map(|name| self.tree(name)).filter(|tree| !has_program(tree))
            {
                let files = tree.entries().iter().filter(|e| matches!(e.node, TreeNode::File { .. }));
                reads.extend(files.map(|e| Read { path: e.path.clone(), from: None }));
            }
        }
        reads.sort_unstable();
        reads
    }

    /// The files that a command writes.
    pub fn writes(&self, command: &Command) -> Vec<PathBuf> {
        match self.observed(command.id) {
            Some(observed) => observed.with(Uses::OUTPUT).map(|t| t.path.to_path_buf()).collect(),
            None => command.outputs.clone(),
        }
    }

    /// How many files the command's toolchain has.
    pub fn toolchain_files(&self, thunk: &Thunk) -> usize {
        let trees = thunk.trees.iter().filter_map(|name| self.tree(name)).filter(|tree| has_program(tree));
        trees.map(|tree| tree.entries().len()).sum()
    }

    /// Is the file one of the command's toolchain?
    pub fn is_of_toolchain(&self, thunk: &Thunk, path: &Path) -> bool {
        let mut trees = thunk.trees.iter().filter_map(|name| self.tree(name));
        trees.any(|tree| tree.entries().binary_search_by(|e| e.path.as_path().cmp(path)).is_ok())
    }

    fn tree(&self, name: &ObjectName) -> Option<Rc<Tree>> {
        let mut trees = self.trees.borrow_mut();
        trees.entry(*name).or_insert_with(|| self.store.tree(name).ok().map(Rc::new)).clone()
    }
}

fn has_program(tree: &Tree) -> bool {
    tree.entries().iter().any(|entry| matches!(entry.node, TreeNode::File { executable: true, .. }))
}

/// The current directory.
///
/// # Errors
/// It cannot be told.
pub fn here() -> Result<PathBuf> {
    std::env::current_dir().context("cannot tell the current directory")
}

/// The forms under which a trace may know a path that a person gave: with the links of its directory resolved, and as
/// text.
pub fn spellings(path: &Path) -> Result<Vec<PathBuf>> {
    let absolute = here()?.join(path);
    let mut forms: Vec<PathBuf> = thunk::trace::clean(&absolute).into_iter().collect();
    if let Ok(place) = thunk::real_place(&absolute) {
        forms.insert(0, place);
    }
    forms.extend(std::fs::canonicalize(&absolute).ok());
    forms.dedup();
    Ok(forms)
}

/// A path as seen from a directory: with `..` where that is shorter than its absolute form.
pub fn relative(path: &Path, from: &Path) -> PathBuf {
    let common = path.components().zip(from.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().count() - common;
    let rest = path.components().skip(common);
    let relative: PathBuf = std::iter::repeat_n(Component::ParentDir, up).chain(rest).collect();
    if common <= 1 || relative.as_os_str().len() >= path.as_os_str().len() || relative.as_os_str().is_empty()
    {
        return path.to_path_buf();
    }
    relative
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_from_where_one_is() {
        for (path, from, expected) in [
            ("/w/p/src/a.c", "/w/p", "src/a.c"),
            ("/w/p/a.c", "/w/p/build", "../a.c"),
            ("/usr/include/stdio.h", "/w/p", "/usr/include/stdio.h"),
            ("/w/p", "/w/p", "/w/p"),
            ("/a", "/", "/a"),
        ] {
            assert_eq!(relative(Path::new(path), Path::new(from)), Path::new(expected), "{path} from {from}");
        }
    }
}
