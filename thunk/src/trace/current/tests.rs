// SPDX-License-Identifier: Apache-2.0

use super::super::{Command, Disposition, Status};
use super::*;
use crate::reduction::{ReducedOutput, Reduction};
use crate::thunk::Input;

/// A name in the project; the project itself for none.
fn path_in(dir: &Path, name: &str) -> PathBuf {
    dir.join("w").components().chain(Path::new(name).components()).collect()
}

/// A project in which gcc was deferred and a generator ran, as a trace would have it.
struct Project {
    dir: tempfile::TempDir,
    store: Store,
    trace: Trace,
    thunk: ObjectName,
}

impl Project {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let at = |name: &str| path_in(dir.path(), name);
        std::fs::create_dir(dir.path().join("w")).unwrap();
        for (name, content) in [("a.c", "int a;"), ("Makefile", "all:"), ("table.h", "1")] {
            std::fs::write(at(name), content).unwrap();
        }
        let value = |content: &str| store.put(ObjectKind::Value, content.as_bytes()).unwrap();
        let thunk = Thunk {
            function: Some(value("gcc")),
            args: vec!["gcc".into()],
            values: vec![
                Input { path: at("a.c"), value: value("int a;") },
                Input { path: at("table.h"), value: value("1") },
            ],
            outputs: vec![at("a.o")],
            workdir: Some(at("")),
            program: Some("/usr/bin/gcc".into()),
            ..Thunk::default()
        };
        let thunk = store.put_thunk(&thunk).unwrap();
        let command = |id, thunk, outputs| Command {
            id,
            parent: 0,
            cwd: at(""),
            argv: vec!["x".into()],
            program: "/bin/x".into(),
            kind: String::new(),
            disposition: if id == 3 { Disposition::Deferred } else { Disposition::Ran },
            reason: String::new(),
            thunk,
            outputs,
            at_us: id.into(),
            took_us: 0,
        };
        let touch =
            |path: PathBuf, uses, before, after| Touch { path: path.into(), uses, before, after, mode: None };
        // What make's own commands had put there by then is among them.
        let found = names(["Makefile", "a.c", "a.o", "table.h"].map(OsString::from).to_vec());
        let found = store.put(ObjectKind::Value, &found).unwrap();
        let seen = |id, touches, obstacles| Observed {
            id,
            status: Status::Exited(0),
            ended_us: u64::from(id) * 10,
            thunk: None,
            touches,
            obstacles,
            descriptors: vec![],
        };
        let made = Uses::WRITTEN | Uses::OUTPUT | Uses::RUNNABLE;
        let observed = vec![
            seen(2, vec![touch(at("table.h"), made, None, Some(value("1")))], vec![]),
            seen(
                1,
                vec![
                    touch(at("Makefile"), Uses::READ | Uses::INPUT, Some(value("all:")), None),
                    touch(at(""), Uses::LISTED, None, Some(found)),
                    touch(at("GNUmakefile"), Uses::MISSING, None, None),
                    touch(at("a.o"), Uses::MISSING, None, None),
                ],
                vec![Observed::DRIVES.into()],
            ),
        ];
        let commands = vec![
            command(1, None, vec![]),
            command(2, None, vec![]),
            command(3, Some(thunk), vec![at("a.o")]),
        ];
        let trace = Trace { cwd: at(""), commands, observed, ..Trace::default() };
        Self { dir, store, trace, thunk }
    }

    fn at(&self, name: &str) -> PathBuf {
        path_in(self.dir.path(), name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.at(name), content).unwrap();
    }

    /// What is stale, and whose inputs changed.
    fn verdict(&self) -> (Option<String>, Vec<u32>) {
        let verdict = Current::new(&self.store, &self.trace).verdict().unwrap();
        let root = format!("{}/", self.at("").display());
        let stale = verdict.stale.map(|(_, change)| change.to_string().replace(&root, ""));
        (stale, verdict.changed.iter().map(|(id, _)| *id).collect())
    }
}

#[test]
fn what_a_build_left_is_known() {
    let project = Project::new();
    let products = project.trace.products();
    let value = ObjectName::of(ObjectKind::Value, b"1");
    let output = OutputRef { thunk: project.thunk, output: Some(project.at("a.o")) };
    assert_eq!(products.get(&project.at("table.h")), Some(&Product::Value { value, executable: true }));
    assert_eq!(products.get(&project.at("a.o")), Some(&Product::Output(output.clone())));
    // A rename, which the end of the trace tells of.
    let moved = Trace { standing: Some(vec![(project.at("b.o"), output.clone())]), ..project.trace.clone() };
    let products = moved.products();
    assert_eq!((products.get(&project.at("a.o")), products.last.len()), (None, 2));
    assert_eq!(products.get(&project.at("b.o")), Some(&Product::Output(output)));
}

#[test]
fn what_the_build_wrote_is_no_input() {
    let project = Project::new();
    assert_eq!(project.verdict(), (None, vec![]));
    project.write("a.o", "object");
    std::fs::remove_file(project.at("table.h")).unwrap();
    assert_eq!(project.verdict(), (None, vec![]), "its own products, there or not");
    project.write("table.h", "by hand");
    assert_eq!(project.verdict(), (None, vec![3]));
}

#[test]
fn what_changed_while_it_was_read_is_the_same_until_it_changes_again() {
    let mut project = Project::new();
    let uses = Uses::READ | Uses::INPUT;
    let touch = Touch { path: project.at("a.c").into(), uses, before: None, after: None, mode: None };
    project.trace.observed[0].touches.push(touch);
    assert_eq!(project.verdict(), (None, vec![2]), "the build was long before");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    project.trace.started_us = now.as_micros() as u64 + 1_000_000;
    assert_eq!(project.verdict(), (None, vec![]));
}

#[test]
fn changes_are_told_from_what_make_looked_at() {
    let project = Project::new();
    project.write("a.c", "int b;");
    assert_eq!(project.verdict(), (None, vec![3]));
    project.write("a.c", "int a;");
    project.write("b.c", "");
    assert_eq!(project.verdict().0.unwrap(), format!("{} now holds other files", project.at("").display()));
    project.write("GNUmakefile", "");
    assert_eq!(project.verdict().0.unwrap(), "GNUmakefile has appeared", "a name tells more");
    std::fs::remove_file(project.at("GNUmakefile")).unwrap();
    std::fs::remove_file(project.at("b.c")).unwrap();
    project.write("Makefile", "none:");
    assert_eq!(project.verdict().0.unwrap(), "Makefile has changed");
    std::fs::remove_file(project.at("Makefile")).unwrap();
    assert_eq!(project.verdict().0.unwrap(), "Makefile is gone");
}

#[test]
fn a_placeholder_is_what_it_stands_for() {
    let project = Project::new();
    let (store, current) = (&project.store, Current::new(&project.store, &project.trace));
    let value = store.put(ObjectKind::Value, b"object").unwrap();
    let outputs = vec![ReducedOutput { path: project.at("a.o"), value, executable: false }];
    store.put_reduction(&project.thunk, &Reduction { outputs, ..Reduction::default() }).unwrap();
    let output = OutputRef { thunk: project.thunk, output: Some(project.at("a.o")) };
    let placeholder = Placeholder { output: output.clone(), store: store.root().into() };
    std::fs::write(project.at("a.o"), placeholder.encode(Path::new("/gg")).unwrap()).unwrap();
    assert_eq!(current.now(&project.at("a.o")), Now::Placeholder(output));
    assert_eq!(current.input(&project.at("a.o"), &value), None);
    project.write("a.o", "object");
    current.forget(&project.at("a.o"));
    assert_eq!(current.now(&project.at("a.o")), Now::File(value, false));
}

#[test]
fn a_packed_trace_needs_nothing_that_is_there() {
    let mut project = Project::new();
    for name in ["a.c", "Makefile", "table.h"] {
        std::fs::remove_file(project.at(name)).unwrap();
    }
    assert_eq!(project.verdict().1, [3]);
    project.trace.packed = true;
    project.trace.observed.clear();
    assert_eq!(project.verdict(), (None, vec![]));
    project.write("a.c", "int c;");
    assert_eq!(project.verdict(), (None, vec![3]), "but sources that are there count");
}
