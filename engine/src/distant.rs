// SPDX-License-Identifier: Apache-2.0
//! What holds for every back end on another machine, whatever lies between: which thunks it may run, and that its answers are not
//! believed without looking.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use anyhow::{Result, bail};
use thunk::{ObjectName, Reduction, Store};

/// What a back end elsewhere will not do, as far as that is known.
#[derive(Debug, Default)]
pub struct Limits {
    /// It is there, but will not work for us.
    closed: Cell<bool>,
    /// It cannot run these.
    unfit: RefCell<HashSet<ObjectName>>,
}

impl Limits {
    /// It will do nothing.
    pub fn close(&self) {
        self.closed.set(true);
    }

    /// It will not run this one.
    pub fn exclude(&self, thunk: ObjectName) {
        self.unfit.borrow_mut().insert(thunk);
    }

    /// May it run the thunk? What was learned, or completed before, may need files that only this machine has.
    pub fn allow(&self, store: &Store, thunk: &ObjectName) -> bool {
        !self.closed.get()
            && !self.unfit.borrow().contains(thunk)
            && store.completion(thunk).is_empty()
            && !store.thunk(thunk).is_ok_and(|thunk| thunk.learned)
    }
}

/// The reduction becomes the store's, if it is one of this thunk and its outputs are `there`. `alone`: nothing was added to the
/// thunk's inputs.
///
/// # Errors
/// It is not.
pub fn accept(
    store: &Store,
    name: &ObjectName,
    reduction: &Reduction,
    alone: bool,
    there: impl Fn(&ObjectName) -> bool,
) -> Result<()> {
    let thunk = store.thunk(name)?;
    if !alone {
        bail!("it completed the inputs from files of its own");
    }
    for output in &reduction.outputs {
        if !thunk.outputs.contains(&output.path) && !thunk.optional_outputs.contains(&output.path) {
            bail!("it gives {}, which is no output", output.path.display());
        }
        if !there(&output.value) {
            bail!("it keeps the content of {}", output.path.display());
        }
    }
    if let Some(path) = thunk.outputs.iter().find(|path| reduction.output(Some(path)).is_none()) {
        bail!("it does not give {}", path.display());
    }
    Ok(store.put_reduction(name, reduction)?)
}
