// SPDX-License-Identifier: Apache-2.0
//! What becomes of targets where something is in the way, on a back end that gives what it is told.

use thunk::{ObjectKind, OutputRef, Placeholder, ReducedOutput, ThunkInput};

use super::*;
use crate::backend::{Answer, Forcing};
use crate::materialise::Place;

/// Gives the same file each time, as what it is asked for, and takes something out of the store meanwhile.
struct Takes {
    from: Option<PathBuf>,
    store: Store,
    gives: ObjectName,
}

impl Backend for Takes {
    fn label(&self) -> &str {
        "it"
    }

    fn job_count(&self) -> usize {
        1
    }

    fn force(&self, thunk: ObjectName) -> Forcing<'_> {
        Box::pin(async move {
            if let Some(from) = &self.from {
                std::fs::remove_file(from).unwrap();
            }
            let path = self.store.thunk(&thunk).unwrap().outputs[0].clone();
            let outputs = vec![ReducedOutput { path, value: self.gives, executable: false }];
            Answer::Reduced {
                reduction: Reduction { outputs, ..Reduction::default() },
                completed: Vec::new(),
            }
        })
    }
}

/// Forces these, which have placeholders then.
fn forced(store: &Store, targets: Vec<(PathBuf, OutputRef)>, backend: Takes) -> Result<Summary> {
    let put = |(path, output): (PathBuf, OutputRef)| {
        let placeholder = Placeholder { output: output.clone(), store: store.root().into() };
        std::fs::write(&path, placeholder.encode(Path::new("/gg")).unwrap()).unwrap();
        Target { path, output, place: Place::Placeholder }
    };
    let targets = targets.into_iter().map(put).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = Options { keep_going: false, on_demand: false };
    let (home, mut progress) = (Rc::new(Home::new(false)), Progress::new(true));
    let forced = force(store, targets, Rc::new(backend), home, options, None, &mut progress);
    tokio::task::LocalSet::new().block_on(&runtime, forced)
}

#[test]
fn what_is_done_is_put_in_place_though_the_engine_cannot_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(dir.path()).unwrap();
    let store = Store::open(&root.join("store")).unwrap();
    let value = store.put(ObjectKind::Value, b"object code").unwrap();
    let (first, second) = (root.join("a.o"), root.join("prog"));
    let a = store.put_thunk(&thunk(value, &root, &first, Vec::new())).unwrap();
    let from = OutputRef { thunk: a, output: Some(first.clone()) };
    let input = ThunkInput { path: first.clone(), from: from.clone() };
    let b = store.put_thunk(&thunk(value, &root, &second, vec![input])).unwrap();
    let targets = vec![(first.clone(), from), (second.clone(), OutputRef { thunk: b, output: Some(second) })];
    let backend = Takes {
        from: Some(store.find(&b).unwrap()),
        store: Store::open(store.root()).unwrap(),
        gives: value,
    };
    assert!(forced(&store, targets, backend).is_err());
    assert_eq!(std::fs::read(&first).unwrap(), b"object code");
}

/// Of many targets the first are forced while the last are looked up yet.
#[test]
fn a_target_that_cannot_be_had_holds_up_none_of_those_long_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(dir.path()).unwrap();
    let store = Store::open(&root.join("store")).unwrap();
    let value = store.put(ObjectKind::Value, b"object code").unwrap();
    let count = FIRST + 2 * MORE;
    for lacks in [true, false] {
        let path = |number: usize| root.join(number.to_string());
        let targets: Vec<_> = (0..count)
            .map(|number| {
                let mut it = thunk(value, &root, &path(number), Vec::new());
                it.args.push(lacks.to_string().into());
                (path(number), OutputRef { thunk: store.put_thunk(&it).unwrap(), output: Some(path(number)) })
            })
            .collect();
        if lacks {
            std::fs::remove_file(store.find(&targets[count - 1].1.thunk).unwrap()).unwrap();
        }
        let backend = Takes { from: None, store: Store::open(store.root()).unwrap(), gives: value };
        let summary = forced(&store, targets, backend);
        let is_there = |number: usize| std::fs::read(path(number)).unwrap() == b"object code";
        let there = (0..count).filter(|number| is_there(*number)).count();
        if lacks {
            assert!(summary.is_err());
            assert!(there > 0 && there < count, "{there}");
        } else {
            assert_eq!((summary.unwrap().run, there), (count, count));
        }
    }
}

fn thunk(function: ObjectName, root: &Path, output: &Path, thunks: Vec<ThunkInput>) -> Thunk {
    Thunk {
        function: Some(function),
        args: vec!["f".into()],
        thunks,
        outputs: vec![output.into()],
        workdir: Some(root.into()),
        program: Some("/bin/f".into()),
        ..Thunk::default()
    }
}
