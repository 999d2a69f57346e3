// SPDX-License-Identifier: Apache-2.0
//! What must be in a store so that a thunk can run there. Knows the store and what thunks say, nothing of how objects come
//! to a store.

use std::collections::BTreeSet;

use thunk::{ObjectName, Result, Store, Thunk, TreeEntry, TreeNode};

/// The objects that the thunk names itself: trees, inputs, its executable.
fn named(thunk: &Thunk) -> BTreeSet<ObjectName> {
    let inputs = thunk.values.iter().chain(&thunk.executables).map(|input| input.value);
    // Where it has a path, the executable is among the inputs.
    let function = thunk.function.filter(|_| thunk.program.is_none());
    inputs.chain(thunk.trees.iter().copied()).chain(function).collect()
}

/// What a thunk lacks in the store, as far as that can be told: of a thunk or tree that is lacking itself nobody knows here
/// what it needs. Empty once it can run.
///
/// # Errors
/// The store is damaged.
pub fn lacking(store: &Store, name: &ObjectName) -> Result<Vec<ObjectName>> {
    if !store.contains(name) {
        return Ok(vec![*name]);
    }
    let thunk = store.thunk(name)?;
    let mut lacking: BTreeSet<ObjectName> =
        named(&thunk).into_iter().filter(|name| !store.contains(name)).collect();
    for tree in thunk.trees.iter().filter(|tree| store.contains(tree)) {
        lacking.extend(of_tree(store, tree)?.into_iter().filter(|value| !store.contains(value)));
    }
    Ok(lacking.into_iter().collect())
}

/// All that a thunk needs, itself included.
///
/// # Errors
/// Something of it is not in the store.
pub fn all(store: &Store, name: &ObjectName) -> Result<BTreeSet<ObjectName>> {
    let thunk = store.thunk(name)?;
    let mut all = named(&thunk);
    for tree in &thunk.trees {
        all.extend(of_tree(store, tree)?);
    }
    all.insert(*name);
    Ok(all)
}

/// What a thunk names itself, and which of that are trees.
///
/// # Errors
/// The thunk is not in the store.
#[cfg(any(feature = "lambda", test))]
pub fn of_thunk(store: &Store, name: &ObjectName) -> Result<(BTreeSet<ObjectName>, Vec<ObjectName>)> {
    let thunk = store.thunk(name)?;
    Ok((named(&thunk), thunk.trees))
}

/// What a tree holds.
///
/// # Errors
/// The tree is not in the store.
pub fn of_tree(store: &Store, tree: &ObjectName) -> Result<BTreeSet<ObjectName>> {
    let tree = store.tree(tree)?;
    let value = |entry: &TreeEntry| match &entry.node {
        TreeNode::File { value, .. } => Some(*value),
        _ => None,
    };
    Ok(tree.entries().iter().filter_map(value).collect())
}

#[cfg(test)]
mod tests {
    use thunk::{Input, ObjectKind, Tree};

    use super::*;

    #[test]
    fn what_is_lacking_is_found_step_by_step() {
        let dir = tempfile::tempdir().unwrap();
        let (full, empty) = (dir.path().join("full"), dir.path().join("empty"));
        let (full, empty) = (Store::open(&full).unwrap(), Store::open(&empty).unwrap());
        let put = |content: &[u8]| full.put(ObjectKind::Value, content).unwrap();
        let (tool, source) = (put(b"tool"), put(b"source"));
        let node = TreeNode::File { value: tool, executable: true };
        let tree = full.put_tree(&Tree::new(vec![TreeEntry { path: "/bin/t".into(), node }])).unwrap();
        let thunk = Thunk {
            function: Some(tool),
            args: vec!["t".into()],
            program: Some("/bin/t".into()),
            workdir: Some("/w".into()),
            trees: vec![tree],
            values: vec![Input { path: "/w/a".into(), value: source }],
            outputs: vec!["/w/b".into()],
            ..Thunk::default()
        };
        let name = full.put_thunk(&thunk).unwrap();
        assert_eq!(all(&full, &name).unwrap(), BTreeSet::from([name, tree, tool, source]));
        let mut steps = Vec::new();
        loop {
            let lacks = lacking(&empty, &name).unwrap();
            if lacks.is_empty() {
                break;
            }
            for name in &lacks {
                empty.put(name.kind(), &full.read(name).unwrap()).unwrap();
            }
            steps.push(BTreeSet::from_iter(lacks));
        }
        assert_eq!(steps, [BTreeSet::from([name]), BTreeSet::from([tree, source]), BTreeSet::from([tool])]);
    }
}
