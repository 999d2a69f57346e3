// SPDX-License-Identifier: Apache-2.0
//! Which outputs come to this machine: all, or with `--no-download` those of targets only; the others stay in the storage, where
//! who needs them finds them. Unaware of how anything comes.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use thunk::{ObjectName, Store};

use crate::backend::{Answer, Backend, Forcing};
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

/// A back end that works from this machine's store. What a thunk needs and an earlier one left in the storage is fetched before.
pub struct Supplied {
    /// The back end.
    pub inner: Rc<dyn Backend>,
    /// The store,
    pub store: Rc<Store>,
    /// and the storage behind it.
    pub sharing: Rc<Sharing>,
}

impl Supplied {
    async fn supply(&self, thunk: &ObjectName) -> anyhow::Result<()> {
        // Of a tree that is lacking nobody knows what it holds.
        loop {
            let lacking = needs::lacking(&self.store, thunk)?;
            if lacking.is_empty() {
                return Ok(());
            }
            if let Some(missing) = self.sharing.fetch_objects(&lacking).await?.first() {
                anyhow::bail!("its input {missing} is neither here nor in the storage");
            }
        }
    }
}

impl Backend for Supplied {
    fn label(&self) -> &str {
        self.inner.label()
    }

    fn job_count(&self) -> usize {
        self.inner.job_count()
    }

    fn copies_may_help(&self) -> bool {
        self.inner.copies_may_help()
    }

    fn can_execute(&self, thunk: &ObjectName) -> bool {
        self.inner.can_execute(thunk)
    }

    fn completes(&self) -> bool {
        self.inner.completes()
    }

    fn force(&self, thunk: ObjectName) -> Forcing<'_> {
        Box::pin(async move {
            match self.supply(&thunk).await {
                Ok(()) => self.inner.force(thunk).await,
                Err(error) => Answer::Broken(format!("{error:#}")),
            }
        })
    }

    fn dollars(&self) -> Option<f64> {
        self.inner.dollars()
    }

    fn report(&self) -> Vec<String> {
        self.inner.report()
    }
}
