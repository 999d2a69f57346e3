// SPDX-License-Identifier: Apache-2.0
//! Which outputs come to this machine: all, or with `--no-download` those of targets only; the others stay in the storage, where
//! who needs them finds them. Unaware of how anything comes.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use anyhow::{Result, bail};
use thunk::{ObjectName, Store};

use crate::backend::{Around, Backend, Forcing};
use crate::needs;
use crate::sharing::Sharing;

/// The thunks whose outputs are wanted here.
#[derive(Debug, Default)]
pub struct Home {
    /// Not all.
    only: Option<RefCell<HashSet<ObjectName>>>,
}

impl Home {
    /// Those of all thunks, or only of those that are named.
    pub fn new(only_named: bool) -> Self {
        Self { only: only_named.then(RefCell::default) }
    }

    /// Its outputs are wanted.
    pub fn want(&self, thunk: ObjectName) {
        if let Some(only) = &self.only {
            only.borrow_mut().insert(thunk);
        }
    }

    /// Are its outputs wanted?
    pub fn wants(&self, thunk: &ObjectName) -> bool {
        self.only.as_ref().is_none_or(|only| only.borrow().contains(thunk))
    }

    /// Do some outputs stay in the storage?
    pub fn leaves_some(&self) -> bool {
        self.only.is_some()
    }
}

/// Around a back end that works from this machine's store: what a thunk needs and an earlier one left in the storage is fetched before.
pub struct Supplied {
    /// The store,
    pub store: Rc<Store>,
    /// and the storage behind it.
    pub sharing: Rc<Sharing>,
}

impl Supplied {
    async fn supply(&self, thunk: &ObjectName) -> Result<()> {
        // Of a tree that is lacking nobody knows what it holds.
        loop {
            let lacking = needs::lacking(&self.store, thunk)?;
            if lacking.is_empty() {
                return Ok(());
            }
            if let Some(missing) = self.sharing.fetch_objects(&lacking).await?.first() {
                bail!("its input {missing} is neither here nor in the storage");
            }
        }
    }
}

impl Around for Supplied {
    fn force<'a>(&'a self, inner: &'a dyn Backend, thunk: ObjectName) -> Forcing<'a> {
        Box::pin(async move {
            match self.supply(&thunk).await {
                Ok(()) => inner.force(thunk).await,
                Err(error) => Err(error).into(),
            }
        })
    }
}
