// SPDX-License-Identifier: Apache-2.0
//! Sees to it that what a thunk needs is in the storage before the function is called. Most thunks need the same few hundred
//! objects at the same time: each is looked after once. Unaware of functions.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use anyhow::{Result, anyhow};
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, Shared};
use thunk::{ObjectName, Store};

use super::message::Content;
use crate::needs;
use crate::sharing::Sharing;

/// A thunk that packs to less goes with the call, each time.
const THUNK: usize = 256 << 10;
/// So do other objects of up to this size, once,
const SMALL: u64 = 64 << 10;
/// while all of them pack to less than this.
const ROOM: usize = 512 << 10;

type Upload = Shared<LocalBoxFuture<'static, Result<(), String>>>;

/// What is in the storage, and on its way there.
pub struct Uploads {
    store: Rc<Store>,
    sharing: Rc<Sharing>,
    /// Objects that were seen to be there in this run; of trees, with all that they hold.
    there: RefCell<HashSet<ObjectName>>,
    coming: RefCell<HashMap<ObjectName, Upload>>,
    /// Objects that went with a call.
    carried: RefCell<HashSet<ObjectName>>,
}

impl Uploads {
    /// From the store into the storage.
    pub fn new(store: Rc<Store>, sharing: Rc<Sharing>) -> Self {
        let (there, coming, carried) = (RefCell::default(), RefCell::default(), RefCell::default());
        Self { store, sharing, there, coming, carried }
    }

    /// All that the thunk needs, and the thunk itself, is in the storage afterwards, but for what is given back: that is to go with
    /// the call. What is small and new goes so the first time. Most of it nobody else needs; for whoever does, it is uploaded.
    ///
    /// # Errors
    /// The storage fails; something is not in the store.
    pub async fn provide(&self, thunk: &ObjectName) -> Result<Vec<Content>> {
        let is_there = |name: &ObjectName| self.there.borrow().contains(name) || self.sharing.knows(name);
        let mut needed = needs::all_but(&self.store, thunk, is_there)?;
        needed.retain(|name| !is_there(name));
        let carried = self.carry(thunk, &mut needed)?;
        let (mut mine, mut waits) = (Vec::new(), Vec::new());
        for name in &needed {
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
        needed.iter().for_each(|name| {
            coming.remove(name);
        });
        drop(coming);
        outcome.map_err(|why| anyhow!(why))?;
        self.there.borrow_mut().extend(needed);
        Ok(carried)
    }

    /// Takes those of the objects out that go with the call.
    fn carry(&self, thunk: &ObjectName, needed: &mut BTreeSet<ObjectName>) -> Result<Vec<Content>> {
        let mut contents = Vec::new();
        if needed.contains(thunk)
            && let Some(content) = Content::of(&self.store, thunk, THUNK)?
        {
            needed.remove(thunk);
            contents.push(content);
        }
        let mut carried = self.carried.borrow_mut();
        let is_new = |name: &&ObjectName| {
            name.size() <= SMALL && !carried.contains(*name) && !self.coming.borrow().contains_key(*name)
        };
        let mut new: Vec<ObjectName> = needed.iter().filter(is_new).copied().collect();
        new.sort_unstable_by_key(|name| (name.size(), *name));
        let mut room = ROOM;
        for name in new {
            let Some(content) = Content::of(&self.store, &name, room)? else { break };
            room -= content.data.len();
            needed.remove(&name);
            carried.insert(name);
            contents.push(content);
        }
        Ok(contents)
    }

    /// The function did not find these. They are looked after again, those among them that the thunk needs.
    ///
    /// # Errors
    /// As [`Uploads::provide`].
    pub async fn repair(&self, thunk: &ObjectName, lacking: &[ObjectName]) -> Result<()> {
        // Nobody gets more of the store than the thunk needs.
        let needed = needs::all(&self.store, thunk)?;
        let lacking: Vec<ObjectName> = lacking.iter().filter(|name| needed.contains(name)).copied().collect();
        self.sharing.repair(&lacking).await
    }
}
