// SPDX-License-Identifier: Apache-2.0
//! What becomes of targets where something is in the way, on a back end that gives what it is told.

use thunk::{ObjectKind, OutputRef, Placeholder, ReducedOutput};

use super::*;
use crate::backend::{Answer, Forcing};
use crate::graph::tests::thunk;
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

/// A directory, a store in it, and the value that each thunk gives.
struct Space {
    _dir: tempfile::TempDir,
    root: PathBuf,
    store: Store,
    value: ObjectName,
}

impl Space {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let store = Store::open(&root.join("store")).unwrap();
        let value = store.put(ObjectKind::Value, b"object code").unwrap();
        Self { _dir: dir, root, store, value }
    }

    /// A thunk that makes this file from what others give.
    fn target(&self, path: &Path, needs: &[ObjectName], argument: &str) -> (PathBuf, OutputRef) {
        let mut it = thunk(path.to_str().unwrap(), needs);
        it.args.push(argument.into());
        (path.into(), OutputRef { thunk: self.store.put_thunk(&it).unwrap(), output: Some(path.into()) })
    }

    /// Where the store has the thunk of a target.
    fn stored(&self, (_, output): &(PathBuf, OutputRef)) -> PathBuf {
        self.store.find(&output.thunk).unwrap()
    }

    /// Forces these, which have placeholders then; the first that runs takes `from` out of the store.
    fn forced(&self, targets: Vec<(PathBuf, OutputRef)>, from: Option<PathBuf>) -> Result<Summary> {
        let store = &self.store;
        let put = |(path, output): (PathBuf, OutputRef)| {
            let placeholder = Placeholder { output: output.clone(), store: store.root().into() };
            std::fs::write(&path, placeholder.encode(Path::new("/gg")).unwrap()).unwrap();
            Target { path, output, place: Place::Placeholder }
        };
        let targets = targets.into_iter().map(put).collect();
        let backend = Rc::new(Takes { from, store: Store::open(store.root()).unwrap(), gives: self.value });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = Options { keep_going: false, on_demand: false };
        let (home, mut progress) = (Rc::new(Home::new(false)), Progress::new(true));
        let forced = force(store, targets, backend, home, options, None, &mut progress);
        tokio::task::LocalSet::new().block_on(&runtime, forced)
    }
}

#[test]
fn what_is_done_is_put_in_place_though_the_engine_cannot_go_on() {
    let space = Space::new();
    let first = space.target(&space.root.join("a.o"), &[], "");
    let second = space.target(&space.root.join("prog"), &[first.1.thunk], "");
    let path = first.0.clone();
    let from = space.stored(&second);
    assert!(space.forced(vec![first, second], Some(from)).is_err());
    assert_eq!(std::fs::read(path).unwrap(), b"object code");
}

/// Of many targets the first are forced while the last are looked up yet.
#[test]
fn a_target_that_cannot_be_had_holds_up_none_of_those_long_before_it() {
    let space = Space::new();
    // With each look at some of the rest it is by chance whether what has ended is taken up, or the clock's tick before it.
    let count = FIRST + 16 * MORE;
    for lacks in [true, false] {
        let path = |number: usize| space.root.join(number.to_string());
        let targets: Vec<_> =
            (0..count).map(|number| space.target(&path(number), &[], &lacks.to_string())).collect();
        if lacks {
            std::fs::remove_file(space.stored(&targets[count - 1])).unwrap();
        }
        let summary = space.forced(targets, None);
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
