// SPDX-License-Identifier: Apache-2.0
//! Made-up graphs, and what becomes of their thunks.

use thunk::{Input, ObjectKind, OutputRef, ReducedOutput, ThunkInput};

use std::path::Path;

use super::*;

/// A thunk that makes `output` from what these give.
pub fn thunk(output: &str, needs: &[ObjectName]) -> Thunk {
    Thunk {
        function: Some(ObjectName::of(ObjectKind::Value, b"f")),
        args: vec!["f".into()],
        outputs: vec![output.into()],
        thunks: needs
            .iter()
            .map(|name| ThunkInput {
                path: format!("/in/{name}").into(),
                from: OutputRef { thunk: *name, output: None },
            })
            .collect(),
        workdir: Some("/w".into()),
        program: Some("/bin/f".into()),
        ..Thunk::default()
    }
}

/// a, b → c → d
fn diamond(store: &Store) -> [ObjectName; 4] {
    let a = store.put_thunk(&thunk("/a", &[])).unwrap();
    let b = store.put_thunk(&thunk("/b", &[])).unwrap();
    let c = store.put_thunk(&thunk("/c", &[a, b])).unwrap();
    let d = store.put_thunk(&thunk("/d", &[c, a])).unwrap();
    [a, b, c, d]
}

#[test]
fn thunks_become_ready_when_their_inputs_are_reduced() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let [a, b, _, d] = diamond(&store);
    let mut graph = Graph::default();
    let mut estimate = |_: &ObjectName, t: &Thunk| {
        Some(Duration::from_secs(if t.outputs[0] == Path::new("/b") { 9 } else { 1 }))
    };
    let root = graph.add(&store, d, &mut estimate, &mut |_| false).unwrap();
    graph.prioritise();
    let first = graph.next_ready().unwrap();
    assert_eq!(graph.name(first), b, "the longest path first");
    let second = graph.next_ready().unwrap();
    assert_eq!(graph.name(second), a);
    assert_eq!(graph.next_ready(), None);
    graph.reduced(first);
    assert_eq!(graph.next_ready(), None);
    graph.reduced(second);
    let third = graph.next_ready().unwrap();
    graph.retry(third);
    assert_eq!(graph.next_ready(), Some(third));
    graph.reduced(third);
    assert_eq!(graph.next_ready(), Some(root));
    graph.reduced(root);
    assert_eq!(graph.counts(), Counts { total: 4, reduced: 4, ..Counts::default() });
}

#[test]
fn a_failure_blocks_what_needs_it_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let [.., d] = diamond(&store);
    let mut graph = Graph::default();
    graph.add(&store, d, &mut |_, _| None, &mut |_| false).unwrap();
    graph.prioritise();
    let first = graph.next_ready().unwrap();
    graph.failed(first);
    let second = graph.next_ready().unwrap();
    graph.reduced(second);
    assert_eq!(graph.next_ready(), None);
    assert_eq!(graph.counts(), Counts { total: 4, reduced: 1, failed: 1, blocked: 2, ..Counts::default() });
}

#[test]
fn a_graph_grows_while_it_is_worked_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let [a, b, _, d] = diamond(&store);
    let mut graph = Graph::default();
    let add = |graph: &mut Graph, name| {
        let id = graph.add(&store, name, &mut |_, _| None, &mut |_| false).unwrap();
        graph.prioritise_from(id);
        id
    };
    let first = add(&mut graph, a);
    assert_eq!(graph.next_ready(), Some(first));
    let other = add(&mut graph, store.put_thunk(&thunk("/other", &[])).unwrap());
    let root = add(&mut graph, d);
    let second = graph.next_ready().unwrap();
    assert_eq!(graph.name(second), b, "more waits for it than for the other");
    graph.retry(second);
    graph.hurry(other);
    assert_eq!(graph.next_ready(), Some(other), "somebody waits for it");
    graph.failed(first);
    assert_eq!(graph.state(root), State::Blocked);
    let late = add(&mut graph, store.put_thunk(&thunk("/late", &[d, b])).unwrap());
    assert_eq!(graph.state(late), State::Blocked);
    assert_eq!(graph.next_ready(), Some(second));
    assert_eq!(graph.next_ready(), None);
}

#[test]
fn what_a_thunk_returned_comes_before_its_users() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let [_, _, c, d] = diamond(&store);
    let mut graph = Graph::default();
    let add = |graph: &mut Graph, name| graph.add(&store, name, &mut |_, _| None, &mut |_| false).unwrap();
    let root = add(&mut graph, d);
    graph.prioritise();
    for _ in 0..2 {
        let id = graph.next_ready().unwrap();
        graph.reduced(id);
    }
    let id = graph.next_ready().unwrap();
    assert_eq!(graph.name(id), c);
    let cyclic = add(&mut graph, store.put_thunk(&thunk("/cyclic", &[d])).unwrap());
    assert_eq!(graph.waits_for(id, &[cyclic]), Err(cyclic));
    assert_eq!(graph.waits_for(id, &[id]), Err(id));
    let more = add(&mut graph, store.put_thunk(&thunk("/more", &[])).unwrap());
    graph.waits_for(id, &[more]).unwrap();
    assert_eq!((graph.state(id), graph.next_ready()), (State::Waiting, Some(more)));
    graph.reduced(more);
    assert_eq!(graph.next_ready(), Some(id));
    let late = add(&mut graph, store.put_thunk(&thunk("/late", &[])).unwrap());
    let taken = graph.next_ready().unwrap();
    assert_eq!(taken, late);
    graph.failed(late);
    graph.waits_for(id, &[more, late]).unwrap();
    assert_eq!((graph.state(id), graph.state(root)), (State::Blocked, State::Blocked));
}

#[test]
fn what_is_reduced_is_not_looked_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let [.., c, d] = diamond(&store);
    let mut graph = Graph::default();
    let mut asked = Vec::new();
    let reduced = &mut |name: &ObjectName| {
        asked.push(*name);
        *name == c
    };
    graph.add(&store, d, &mut |_, _| None, reduced).unwrap();
    assert_eq!(graph.counts().total, 3, "b is not needed");
    assert_eq!(asked.len(), 3);
    let (path, work) = graph.bounds();
    assert!(path <= work && work == USUAL * 2, "{path:?} {work:?}");
}

#[test]
fn a_thunk_from_another_is_resolved_to_values() {
    let need = ObjectName::of(ObjectKind::Thunk, b"x");
    let value = ObjectName::of(ObjectKind::Value, b"v");
    let output = ReducedOutput { path: "/o".into(), value, executable: true };
    let reduction = Reduction { outputs: vec![output], ..Reduction::default() };
    let resolved = resolve(thunk("/d", &[need]), |_| Some(reduction.clone())).unwrap();
    assert_eq!(resolved.executables, [Input { path: format!("/in/{need}").into(), value }]);
    assert!(resolved.thunks.is_empty());
    assert!(resolve(thunk("/d", &[need]), |_| Some(Reduction::default())).is_err());
}

#[test]
fn what_needs_a_thunk_that_cannot_be_read_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let [a, _, _, d] = diamond(&store);
    let gone = ObjectName::of(ObjectKind::Thunk, b"nowhere");
    let top = store.put_thunk(&thunk("/top", &[gone, d])).unwrap();
    let mut graph = Graph::default();
    let mut add = |name| graph.add(&store, name, &mut |_, _| None, &mut |_| false);
    add(top).expect_err("it is not in the store");
    let [top, gone, a] = [top, gone, a].map(|name| add(name).unwrap());
    assert_eq!(graph.state(top), State::Blocked);
    assert_eq!(graph.state(gone), State::Failed);
    assert_eq!(graph.state(a), State::Ready, "nobody else is held up");
    assert!(graph.next_is_urgent().is_some());
}
