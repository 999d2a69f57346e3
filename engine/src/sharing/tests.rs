// SPDX-License-Identifier: Apache-2.0
//! What a storage may hold, and lack, and what becomes of it.

use thunk::{ObjectKind, ReducedOutput, Thunk};

use super::*;

struct World {
    directory: tempfile::TempDir,
    store: Rc<Store>,
    thunk: ObjectName,
    uri: String,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Rc::new(Store::open(&directory.path().join("store")).unwrap());
        let thunk = Thunk {
            function: Some(store.put(ObjectKind::Value, b"tool").unwrap()),
            args: vec!["t".into()],
            program: Some("/bin/t".into()),
            workdir: Some("/w".into()),
            outputs: vec!["/w/out".into()],
            ..Thunk::default()
        };
        let thunk = store.put_thunk(&thunk).unwrap();
        let uri = format!("file://{}", directory.path().join("shared").display());
        Self { directory, store, thunk, uri }
    }

    async fn sharing(&self) -> Rc<Sharing> {
        Sharing::open(Rc::clone(&self.store), &self.uri, Rc::default()).await.unwrap()
    }

    /// Its result becomes known here.
    fn reduce(&self) -> Reduction {
        let value = self.store.put(ObjectKind::Value, b"output").unwrap();
        let outputs = vec![ReducedOutput { path: "/w/out".into(), value, executable: false }];
        let reduction = Reduction { outputs, ..Reduction::default() };
        self.store.put_reduction(&self.thunk, &reduction).unwrap();
        reduction
    }

    fn forget(&self) {
        std::fs::remove_file(self.store.root().join("reductions").join(self.thunk.to_string())).unwrap();
    }
}

fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test());
}

/// Whatever somebody has put there under the thunk's name: an output that it does not name would be taken for one that was not written.
#[test]
fn what_is_known_elsewhere_must_fit_the_thunk() {
    run(async || {
        let stray = ReducedOutput {
            path: "/w/stray".into(),
            value: ObjectName::of(ObjectKind::Value, b""),
            executable: false,
        };
        let strange = Reduction { outputs: vec![stray], ..Reduction::default() };
        for fact in [Reduction::default().encode(), strange.encode(), b"of a later version".to_vec()] {
            let world = World::new();
            let sharing = world.sharing().await;
            sharing.storage.put(&Key::Fact(world.thunk), fact).await.unwrap();
            sharing.pull([world.thunk].into_iter()).await.unwrap();
            assert!(world.store.reduction(&world.thunk).is_none());
            let complaints = sharing.complaints();
            assert!(complaints[0].contains("is damaged") && complaints.len() == 1, "{complaints:?}");
            // What is computed takes its place.
            let reduction = world.reduce();
            sharing.push([world.thunk].into_iter()).await.unwrap();
            world.forget();
            world.sharing().await.pull([world.thunk].into_iter()).await.unwrap();
            assert_eq!(world.store.reduction(&world.thunk), Some(reduction));
        }
    });
}

#[test]
fn what_somebody_has_emptied_is_filled_again() {
    run(async || {
        let world = World::new();
        let shared = world.directory.path().join("shared");
        for _ in 0..2 {
            let reduction = world.reduce();
            world.sharing().await.push([world.thunk].into_iter()).await.unwrap();
            let object = shared.join(Key::Object(reduction.outputs[0].value).to_string());
            assert!(object.exists());
            world.forget();
            std::fs::remove_dir_all(&shared).unwrap();
            let sharing = world.sharing().await;
            sharing.pull([world.thunk].into_iter()).await.unwrap();
            assert!(world.store.reduction(&world.thunk).is_none());
            world.reduce();
            sharing.push([world.thunk].into_iter()).await.unwrap();
            assert!(object.exists() && shared.join(Key::Fact(world.thunk).to_string()).exists());
        }
    });
}

#[test]
fn what_takes_nothing_may_give_what_it_has() {
    run(async || {
        let world = World::new();
        let reduction = world.reduce();
        world.sharing().await.push([world.thunk].into_iter()).await.unwrap();
        world.forget();
        let sharing = world.sharing().await;
        // As where one may read only, also as root.
        let tmp = world.directory.path().join("shared/tmp");
        std::fs::remove_dir(&tmp).unwrap();
        std::fs::write(&tmp, "no directory").unwrap();
        for name in [b"1", b"2"] {
            sharing.store_later(ObjectName::of(ObjectKind::Thunk, name), Reduction::default());
        }
        sharing.push(std::iter::empty()).await.unwrap();
        let complaints = sharing.complaints();
        assert!(complaints.len() == 1 && complaints[0].contains("nothing is put there"), "{complaints:?}");
        sharing.pull([world.thunk].into_iter()).await.unwrap();
        assert_eq!(world.store.reduction(&world.thunk), Some(reduction));
    });
}
