// SPDX-License-Identifier: Apache-2.0
//! Sees to it that what a thunk needs is in the storage before the function is called. Most thunks need the same few hundred
//! objects at the same time: each is looked after once. Unaware of functions.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use anyhow::{Result, anyhow};
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, Shared};
use thunk::{ObjectName, Store};

use crate::needs;
use crate::sharing::Sharing;

type Upload = Shared<LocalBoxFuture<'static, Result<(), String>>>;

/// What is in the storage, and on its way there.
pub struct Uploads {
    store: Rc<Store>,
    sharing: Rc<Sharing>,
    /// Objects that were seen to be there in this run; of trees, with all that they hold.
    there: RefCell<HashSet<ObjectName>>,
    coming: RefCell<HashMap<ObjectName, Upload>>,
}

impl Uploads {
    /// From the store into the storage.
    pub fn new(store: Rc<Store>, sharing: Rc<Sharing>) -> Self {
        Self { store, sharing, there: RefCell::default(), coming: RefCell::default() }
    }

    /// All that the thunk needs, and the thunk itself if `whole`, is in the storage afterwards.
    ///
    /// # Errors
    /// The storage fails; something is not in the store.
    pub async fn provide(&self, thunk: &ObjectName, whole: bool) -> Result<()> {
        let is_there = |name: &ObjectName| self.there.borrow().contains(name);
        let mut needed = needs::all_but(&self.store, thunk, is_there)?;
        if !whole {
            needed.remove(thunk);
        }
        needed.retain(|name| !is_there(name));
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
        Ok(())
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
