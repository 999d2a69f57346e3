// SPDX-License-Identifier: Apache-2.0
//! Sees to it that what a thunk needs is in the storage before the function is called. Most thunks need the same few hundred
//! objects at the same time: each is looked after once, the small ones many together, in packs. While some are under way, what others
//! need is gathered for the next packs. Unaware of functions.

use std::cell::RefCell;
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
}

/// What a thunk needs, and how the function gets it.
pub struct Provided {
    /// These go with the call.
    pub contents: Vec<Content>,
    /// The others are in these packs, or alone in the storage.
    pub packs: BTreeSet<ObjectName>,
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
        }
    }

    /// All that the thunk needs, and the thunk itself, is in the storage afterwards, but for what goes with the call: what is small and
    /// new, the first time. Most of it nobody else needs; for whoever does, it is packed.
    ///
    /// # Errors
    /// The storage fails; something is not in the store.
    pub async fn provide(&self, thunk: &ObjectName) -> Result<Provided> {
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
        Ok(Provided { contents, packs })
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
        let (mut mine, mut waits) = (Vec::new(), Vec::new());
        for name in names {
            match self.coming.borrow().get(name) {
                Some(upload) => waits.push(upload.clone()),
                None => mine.push(*name),
            }
        }
        if !mine.is_empty() {
            let (sharing, names) = (Rc::clone(&self.sharing), mine.clone());
            let upload = async move {
                sharing.store_objects(&names, false).await.map_err(|error| format!("{error:#}"))
            };
            let upload = upload.boxed_local().shared();
            self.coming.borrow_mut().extend(mine.iter().map(|name| (*name, upload.clone())));
            waits.push(upload);
        }
        let mut outcome = Ok(());
        for upload in waits {
            outcome = outcome.and(upload.await);
        }
        let mut coming = self.coming.borrow_mut();
        names.iter().for_each(|name| {
            coming.remove(name);
        });
        drop(coming);
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

    /// The function did not find these. Objects are looked after again, those among them that the thunk needs; what is in packs is packed
    /// again by whoever needs it next.
    ///
    /// # Errors
    /// As [`Uploads::provide`].
    pub async fn repair(
        &self,
        thunk: &ObjectName,
        lacking: &[ObjectName],
        packs: &BTreeSet<ObjectName>,
    ) -> Result<()> {
        for pack in lacking.iter().filter(|name| packs.contains(name)) {
            self.packed.borrow_mut().forget(pack);
            self.doubtful.borrow_mut().insert(*pack);
            self.trees.borrow_mut().retain(|_, packs| !packs.contains(pack));
        }
        // Nobody gets more of the store than the thunk needs.
        let needed = needs::all(&self.store, thunk)?;
        let lacking: Vec<ObjectName> = lacking.iter().filter(|name| needed.contains(name)).copied().collect();
        self.sharing.repair(&lacking).await?;
        self.there.borrow_mut().extend(lacking);
        Ok(())
    }
}
