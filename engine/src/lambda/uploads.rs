// SPDX-License-Identifier: Apache-2.0
//! Sees to it that what a thunk needs is in the storage before the function is called. Most thunks need the same few hundred
//! objects at the same time: each is looked after once, the small ones many together, in packs. While some are under way, what others
//! need is gathered for the next packs. Unaware of functions.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::mem;
use std::rc::Rc;

use anyhow::{Result, anyhow};
use futures_util::future::{LocalBoxFuture, Shared};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use thunk::{ObjectName, Store};
use tokio::sync::Mutex;

use super::message::Content;
use super::packed::Packed;
use crate::sharing::Sharing;
use crate::{needs, packs};

/// A thunk that packs to less goes with the call, each time.
const THUNK: usize = 256 << 10;
/// So do other objects of up to this size, once,
const SMALL: u64 = 64 << 10;
/// while all of them together are not larger.
const ROOM: u64 = 512 << 10;
/// Packs that are on their way at once: each is in memory.
const AT_ONCE: usize = 4;

type Upload = Shared<LocalBoxFuture<'static, Result<(), String>>>;

/// What is in the storage, and on its way there.
pub struct Uploads {
    store: Rc<Store>,
    sharing: Rc<Sharing>,
    /// Objects that were seen to be there, alone, in this run.
    there: RefCell<HashSet<ObjectName>>,
    coming: RefCell<HashMap<ObjectName, Upload>>,
    /// Objects that went with a call.
    carried: RefCell<HashSet<ObjectName>>,
    packed: RefCell<Packed>,
    /// Objects that are to be packed next.
    waiting: RefCell<BTreeSet<ObjectName>>,
    /// Whoever has it packs what is waiting.
    turn: Mutex<()>,
    /// Trees that are there with all that they hold, and the packs in which that is.
    trees: RefCell<HashMap<ObjectName, Rc<BTreeSet<ObjectName>>>>,
    /// Packs that a function missed.
    doubtful: RefCell<HashSet<ObjectName>>,
    /// When a missed object was last looked after. Many calls may miss the same one, which they all were told of before.
    mended: RefCell<HashMap<ObjectName, u64>>,
    /// In times that something was.
    now: Cell<u64>,
}

/// What a thunk needs, and how the function gets it.
pub struct Provided {
    /// These go with the call.
    pub contents: Vec<Content>,
    /// The others are in these packs, or alone in the storage,
    pub packs: BTreeSet<ObjectName>,
    /// as of this time.
    since: u64,
}

impl Uploads {
    /// From the store into the storage of this URI.
    pub fn new(store: Rc<Store>, sharing: Rc<Sharing>, uri: &str) -> Self {
        Self {
            packed: RefCell::new(Packed::open(&store, uri)),
            store,
            sharing,
            there: RefCell::default(),
            coming: RefCell::default(),
            carried: RefCell::default(),
            waiting: RefCell::default(),
            turn: Mutex::default(),
            trees: RefCell::default(),
            doubtful: RefCell::default(),
            mended: RefCell::default(),
            now: Cell::new(0),
        }
    }

    /// All that the thunk needs, and the thunk itself, is in the storage afterwards, but for what goes with the call: what is small and
    /// new, the first time. Most of it nobody else needs; for whoever does, it is packed.
    ///
    /// # Errors
    /// The storage fails; something is not in the store.
    pub async fn provide(&self, thunk: &ObjectName) -> Result<Provided> {
        let since = self.now.get();
        let (named, trees) = needs::of_thunk(&self.store, thunk)?;
        let mut new_trees = Vec::new();
        for tree in trees.iter().filter(|tree| !self.trees.borrow().contains_key(tree)) {
            new_trees.push((*tree, needs::of_tree(&self.store, tree)?));
        }
        let mut needed: BTreeSet<ObjectName> = named.clone();
        needed.insert(*thunk);
        needed.extend(new_trees.iter().flat_map(|(_, holds)| holds));
        needed.retain(|name| !self.is_there(name));
        let contents = self.carry(thunk, &named, &trees, &mut needed)?;
        let (small, large): (Vec<_>, Vec<_>) = needed.into_iter().partition(packs::is_small);
        let (packed, alone) = tokio::join!(self.put_packed(&small), self.put_alone(&large));
        packed.and(alone)?;

        let mut packs: BTreeSet<ObjectName> = named.iter().filter_map(|name| self.pack_of(name)).collect();
        for (tree, holds) in new_trees {
            let of_it: BTreeSet<ObjectName> =
                holds.iter().chain([&tree]).filter_map(|name| self.pack_of(name)).collect();
            packs.extend(&of_it);
            if holds.iter().chain([&tree]).all(|name| self.is_there(name)) {
                self.trees.borrow_mut().insert(tree, Rc::new(of_it));
            }
        }
        for tree in &trees {
            packs.extend(self.trees.borrow().get(tree).iter().flat_map(|packs| packs.iter()));
        }
        Ok(Provided { contents, packs, since })
    }

    fn is_alone(&self, name: &ObjectName) -> bool {
        self.there.borrow().contains(name) || self.sharing.knows(name)
    }

    fn is_there(&self, name: &ObjectName) -> bool {
        self.packed.borrow().pack_of(name).is_some() || self.is_alone(name)
    }

    /// The pack that it has to be taken from.
    fn pack_of(&self, name: &ObjectName) -> Option<ObjectName> {
        self.packed.borrow().pack_of(name).filter(|_| !self.is_alone(name))
    }

    /// Takes those of the objects out that go with the call.
    fn carry(
        &self,
        thunk: &ObjectName,
        named: &BTreeSet<ObjectName>,
        trees: &[ObjectName],
        needed: &mut BTreeSet<ObjectName>,
    ) -> Result<Vec<Content>> {
        let mut contents = Vec::new();
        if needed.contains(thunk)
            && let Some(content) = Content::of(&self.store, thunk, THUNK)?
        {
            needed.remove(thunk);
            contents.push(content);
        }
        let mut carried = self.carried.borrow_mut();
        let is_new = |name: &ObjectName| {
            name.size() <= SMALL && !carried.contains(name) && !self.waiting.borrow().contains(name)
        };
        // What the thunk names itself is its own, most often; what trees hold is others' too.
        let is_own = |name: &ObjectName| named.contains(name) && !trees.contains(name);
        let (own, others): (Vec<ObjectName>, Vec<ObjectName>) = needed.iter().partition(|name| is_own(name));
        let mut going: Vec<ObjectName> = own.into_iter().filter(is_new).collect();
        going.sort_unstable_by_key(|name| (name.size(), *name));
        let mut room = ROOM;
        going.retain(|name| {
            let fits = name.size() <= room;
            room -= if fits { name.size() } else { 0 };
            fits
        });
        if others.iter().all(is_new) && others.iter().map(ObjectName::size).sum::<u64>() <= room {
            going.extend(others);
        }
        for name in going {
            // What cannot be packed smaller grows by a few bytes.
            if let Some(content) = Content::of(&self.store, &name, 2 * SMALL as usize)? {
                needed.remove(&name);
                carried.insert(name);
                contents.push(content);
            }
        }
        Ok(contents)
    }

    /// Uploads objects one by one, those that are not on their way already.
    async fn put_alone(&self, names: &[ObjectName]) -> Result<()> {
        let sharing = Rc::clone(&self.sharing);
        self.once(names, |names| async move { sharing.store_objects(&names, false).await }).await
    }

    /// Has those of the objects uploaded that are not on their way already, and waits for all of them.
    async fn once<F>(&self, names: &[ObjectName], upload: impl FnOnce(Vec<ObjectName>) -> F) -> Result<()>
    where
        F: Future<Output = Result<()>> + 'static,
    {
        let mut waits: Vec<(ObjectName, Upload)> = Vec::new();
        let mut mine = Vec::new();
        for name in names {
            match self.coming.borrow().get(name) {
                Some(upload) => waits.push((*name, upload.clone())),
                None => mine.push(*name),
            }
        }
        if !mine.is_empty() {
            let upload = upload(mine.clone()).map(|done| done.map_err(|error| format!("{error:#}")));
            let upload = upload.boxed_local().shared();
            self.coming.borrow_mut().extend(mine.iter().map(|name| (*name, upload.clone())));
            waits.extend(mine.into_iter().map(|name| (name, upload.clone())));
        }
        let mut outcome = Ok(());
        for (name, upload) in waits {
            outcome = outcome.and(upload.clone().await);
            // Somebody else may have seen it end, and begun anew.
            let mut coming = self.coming.borrow_mut();
            if coming.get(&name).is_some_and(|now| now.ptr_eq(&upload)) {
                coming.remove(&name);
            }
        }
        outcome.map_err(|why| anyhow!(why))?;
        self.there.borrow_mut().extend(names);
        Ok(())
    }

    /// Uploads objects together, with those that others want uploaded in the same moment.
    async fn put_packed(&self, names: &[ObjectName]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        self.waiting.borrow_mut().extend(names);
        let _turn = self.turn.lock().await;
        // Whoever had the turn before may have taken them along; in vain, if the storage failed.
        if names.iter().all(|name| self.is_there(name)) {
            return Ok(());
        }
        let mut waiting = mem::take(&mut *self.waiting.borrow_mut());
        waiting.extend(names);
        waiting.retain(|name| !self.is_there(name));
        let uploads = stream::iter(packs::divide(waiting.into_iter().collect())).map(|members| async {
            let pack = packs::pack(&self.store, members)?;
            let doubtful = self.doubtful.borrow().contains(&pack.name);
            self.sharing.put_content(&pack.name, pack.content, doubtful).await?;
            self.doubtful.borrow_mut().remove(&pack.name);
            self.packed.borrow_mut().add(&pack.name, &pack.members);
            Ok(())
        });
        let uploads: Vec<Result<()>> = uploads.buffer_unordered(AT_ONCE).collect().await;
        // What others wanted is theirs to be told of.
        let outcome = uploads.into_iter().collect();
        if names.iter().all(|name| self.is_there(name)) { Ok(()) } else { outcome }
    }

    /// The function, told of what was provided, did not find these. Objects are looked after again, those among them that the thunk needs;
    /// what is in packs is packed again by whoever needs it next. Each once, however many functions were told of it and missed it.
    ///
    /// # Errors
    /// As [`Uploads::provide`].
    pub async fn repair(
        &self,
        thunk: &ObjectName,
        lacking: &[ObjectName],
        provided: &Provided,
    ) -> Result<()> {
        let is_news =
            |name: &ObjectName| self.mended.borrow().get(name).is_none_or(|when| *when <= provided.since);
        let lacking: BTreeSet<ObjectName> = lacking.iter().copied().filter(is_news).collect();
        for pack in lacking.intersection(&provided.packs) {
            self.packed.borrow_mut().forget(pack);
            self.doubtful.borrow_mut().insert(*pack);
            self.trees.borrow_mut().retain(|_, packs| !packs.contains(pack));
            self.is_mended(pack);
        }
        // Nobody gets more of the store than the thunk needs.
        let needed = needs::all(&self.store, thunk)?;
        let objects: Vec<ObjectName> = lacking.intersection(&needed).copied().collect();
        let sharing = Rc::clone(&self.sharing);
        self.once(&objects, |names| async move { sharing.repair(&names).await }).await?;
        objects.iter().for_each(|name| self.is_mended(name));
        Ok(())
    }

    fn is_mended(&self, name: &ObjectName) {
        self.now.set(self.now.get() + 1);
        self.mended.borrow_mut().insert(*name, self.now.get());
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use futures_util::future::join3;
    use storage::Traffic;
    use thunk::{Input, ObjectKind, Thunk, Tree, TreeEntry, TreeNode};
    use tokio::sync::oneshot;

    use super::*;

    /// Three thunks of one tool, which is large, and some headers, too many to go with a call.
    struct World {
        thunks: [ObjectName; 3],
        tool: ObjectName,
        uploads: Uploads,
        storage: PathBuf,
        directory: tempfile::TempDir,
    }

    impl World {
        async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let store = Rc::new(Store::open(&directory.path().join("store")).unwrap());
            let put = |content: &[u8]| store.put(ObjectKind::Value, content).unwrap();
            let tool = put(&noise(0, 2 << 20));
            let file = |path: String, value, executable| TreeEntry {
                path: path.into(),
                node: TreeNode::File { value, executable },
            };
            let headers = (1..=20).map(|n| file(format!("/include/{n}.h"), put(&noise(n, 40_000)), false));
            let headers = store.put_tree(&Tree::new(headers.collect())).unwrap();
            let tools = store.put_tree(&Tree::new(vec![file("/bin/t".into(), tool, true)])).unwrap();
            let thunks = ["a", "b", "c"].map(|name| {
                let thunk = Thunk {
                    function: Some(tool),
                    args: vec!["t".into()],
                    program: Some("/bin/t".into()),
                    workdir: Some("/w".into()),
                    trees: vec![tools, headers],
                    values: vec![Input { path: "/w/in".into(), value: put(name.as_bytes()) }],
                    outputs: vec!["/w/out".into()],
                    ..Thunk::default()
                };
                store.put_thunk(&thunk).unwrap()
            });
            let storage = directory.path().join("storage");
            let uri = format!("file://{}", storage.display());
            let sharing = Sharing::open(Rc::clone(&store), &uri, Rc::default()).await.unwrap();
            let uploads = Uploads::new(store, sharing, &uri);
            Self { thunks, tool, uploads, storage, directory }
        }

        fn traffic(&self) -> Traffic {
            self.uploads.sharing.traffic()
        }

        fn stored(&self, name: &ObjectName) -> PathBuf {
            self.storage.join("objects").join(name.to_string())
        }

        /// What a new function, told this, does not find.
        async fn lacking(&self, thunk: &ObjectName, provided: &Provided) -> Vec<ObjectName> {
            let there = tempfile::tempdir_in(self.directory.path()).unwrap();
            let there = Store::open(there.path()).unwrap();
            for content in &provided.contents {
                content.put(&there, |_| true).unwrap();
            }
            for pack in &provided.packs {
                match self.uploads.sharing.content(pack).await {
                    Some(content) => packs::unpack(&there, &content).unwrap(),
                    None => return vec![*pack],
                };
            }
            loop {
                let lacking = needs::lacking(&there, thunk).unwrap();
                let mut missing = Vec::new();
                for name in &lacking {
                    match self.uploads.sharing.content(name).await {
                        Some(content) => drop(there.put(name.kind(), &content).unwrap()),
                        None => missing.push(*name),
                    }
                }
                if lacking.is_empty() || !missing.is_empty() {
                    return missing;
                }
            }
        }

        async fn provided(&self, thunk: &ObjectName) -> Provided {
            let provided = self.uploads.provide(thunk).await.unwrap();
            assert_eq!(self.lacking(thunk, &provided).await, []);
            provided
        }
    }

    /// What does not pack smaller.
    fn noise(seed: u64, size: usize) -> Vec<u8> {
        let mut state = seed + 1;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(size).collect()
    }

    fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(test());
    }

    #[test]
    fn what_several_thunks_need_goes_up_once() {
        run(async || {
            let world = World::new().await;
            let [a, b, c] = &world.thunks;
            let (first, second) = tokio::join!(world.uploads.provide(a), world.uploads.provide(b));
            let all = (2 << 20) + 20 * 40_000;
            assert!(world.traffic().up < all + all / 8, "{:?}", world.traffic());
            for (thunk, provided) in [(a, &first.unwrap()), (b, &second.unwrap())] {
                assert!(!provided.packs.is_empty());
                assert_eq!(world.lacking(thunk, provided).await, []);
            }
            let before = world.traffic();
            let third = world.uploads.provide(c).await.unwrap();
            assert_eq!(world.traffic(), before, "all that is new goes with the call");
            assert_eq!(world.lacking(c, &third).await, []);
        });
    }

    #[test]
    fn a_pack_that_several_functions_miss_is_put_again_once() {
        run(async || {
            let world = World::new().await;
            let [a, b, c] = &world.thunks;
            let (first, second) = (world.provided(a).await, world.provided(b).await);
            let pack = *first.packs.first().unwrap();
            assert!(second.packs.contains(&pack));
            std::fs::write(world.stored(&pack), "junk").unwrap();
            world.uploads.repair(a, &[pack], &first).await.unwrap();
            let third = world.provided(c).await;
            let before = world.traffic();
            world.uploads.repair(b, &[pack], &second).await.unwrap();
            let fourth = world.uploads.provide(b).await.unwrap();
            assert!(fourth.packs.is_superset(&third.packs));
            let after = world.traffic();
            assert!(
                after.down == before.down && after.up < before.up + 1000,
                "that it was missing is no news"
            );
            // What was told of later is.
            std::fs::remove_file(world.stored(third.packs.first().unwrap())).unwrap();
            world.uploads.repair(c, &third.packs.iter().copied().collect::<Vec<_>>(), &third).await.unwrap();
            world.provided(c).await;
        });
    }

    #[test]
    fn an_object_that_several_functions_miss_is_put_again_once() {
        run(async || {
            let world = World::new().await;
            let [a, b, c] = &world.thunks;
            let (first, second, third) =
                (world.provided(a).await, world.provided(b).await, world.provided(c).await);
            std::fs::remove_file(world.stored(&world.tool)).unwrap();
            let before = world.traffic();
            let lacking = [world.tool, world.tool];
            let repairs = tokio::join!(
                world.uploads.repair(a, &lacking, &first),
                world.uploads.repair(b, &lacking, &second)
            );
            repairs.0.and(repairs.1).unwrap();
            assert!(world.traffic().up - before.up < 3 << 20, "{before:?} {:?}", world.traffic());
            let before = world.traffic();
            world.uploads.repair(c, &lacking, &third).await.unwrap();
            assert_eq!(world.traffic(), before);
            let fourth = world.provided(c).await;
            std::fs::remove_file(world.stored(&world.tool)).unwrap();
            world.uploads.repair(c, &lacking, &fourth).await.unwrap();
            world.provided(a).await;
        });
    }

    #[test]
    fn a_function_gets_nothing_by_missing_it() {
        run(async || {
            let world = World::new().await;
            let private = world.uploads.store.put(ObjectKind::Value, b"private").unwrap();
            let provided = world.provided(&world.thunks[0]).await;
            let before = world.traffic();
            world.uploads.repair(&world.thunks[0], &[private], &provided).await.unwrap();
            assert_eq!(world.traffic(), before);
            assert!(!world.stored(&private).exists());
        });
    }

    #[test]
    fn a_storage_that_fails_for_a_while_gets_it_later() {
        run(async || {
            let world = World::new().await;
            let objects = world.storage.join("objects");
            std::fs::rename(&objects, world.storage.join("aside")).unwrap();
            std::fs::write(&objects, "no directory").unwrap();
            let [a, b, _] = &world.thunks;
            let (first, second) = tokio::join!(world.uploads.provide(a), world.uploads.provide(b));
            assert!(first.is_err() && second.is_err());
            std::fs::remove_file(&objects).unwrap();
            std::fs::rename(world.storage.join("aside"), &objects).unwrap();
            world.provided(a).await;
            world.provided(b).await;
        });
    }

    /// Who hears last that an upload has failed does not forget the next one.
    #[test]
    fn an_upload_is_waited_for_until_it_ends() {
        run(async || {
            let world = World::new().await;
            let (end_first, first) = oneshot::channel::<()>();
            let (end_second, second) = oneshot::channel::<()>();
            let uploads = &world.uploads;
            let names = [world.tool];
            let others = Cell::new(0);
            let fails = async move {
                let _ = first.await;
                Err(anyhow!("the network"))
            };
            let holds = async move { Ok(second.await?) };
            let other = |_: Vec<ObjectName>| {
                others.set(others.get() + 1);
                async { Ok(()) }
            };
            let owner = async {
                uploads.once(&names, |_| fails).await.unwrap_err();
                uploads.once(&names, |_| holds).await.unwrap();
            };
            let guest = async {
                uploads.once(&names, other).await.unwrap_err();
                uploads.once(&names, other).await.unwrap();
            };
            let network = async {
                end_first.send(()).unwrap();
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                end_second.send(()).unwrap();
            };
            // In this order.
            join3(owner, guest, network).await;
            assert_eq!(others.get(), 0);
        });
    }
}
