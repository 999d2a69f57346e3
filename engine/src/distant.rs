// SPDX-License-Identifier: Apache-2.0
//! What holds for every back end on another machine, whatever lies between: which thunks it may run, and that its answers are not
//! believed without looking.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use anyhow::{Result, bail};
use thunk::{ObjectName, Reduction, Store, Thunk};

use crate::protocol::Done;

/// What a back end elsewhere will not do, as far as that is known.
#[derive(Debug, Default)]
pub struct Limits {
    /// It is there, but will not work for us.
    closed: Cell<bool>,
    /// It cannot run these thunks,
    unfit: RefCell<HashSet<ObjectName>>,
    /// nor any of these programs.
    programs: RefCell<HashSet<ObjectName>>,
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

    /// It has answered this.
    pub fn note(&self, store: &Store, thunk: &ObjectName, done: &Done) {
        if done.unable {
            self.close();
        }
        if done.refused {
            self.exclude(*thunk);
            // Where it is the thunk's own program, and none that this one starts, there is no need to hear it of each thunk.
            let program = store.thunk(thunk).ok().and_then(|thunk| thunk.function);
            let unfit = |program: &ObjectName| {
                store.find(program).is_some_and(|path| sandbox::needs_namespaces(&path))
            };
            self.programs.borrow_mut().extend(program.filter(unfit));
        }
    }

    /// May it run the thunk? What was learned, or completed before, may need files that only this machine has.
    pub fn allow(&self, store: &Store, thunk: &ObjectName) -> bool {
        !self.closed.get()
            && !self.unfit.borrow().contains(thunk)
            && store.completion(thunk).is_empty()
            && !store.thunk(thunk).is_ok_and(|thunk| {
                thunk.learned || thunk.function.is_some_and(|it| self.programs.borrow().contains(&it))
            })
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
    fits(&thunk, reduction)?;
    if let Some(output) = reduction.outputs.iter().find(|output| !there(&output.value)) {
        bail!("it keeps the content of {}", output.path.display());
    }
    Ok(store.put_reduction(name, reduction)?)
}

/// Does the reduction tell of the thunk's outputs, all that must be and nothing else?
///
/// # Errors
/// It does not.
pub fn fits(thunk: &Thunk, reduction: &Reduction) -> Result<()> {
    for output in &reduction.outputs {
        if !thunk.outputs.contains(&output.path) && !thunk.optional_outputs.contains(&output.path) {
            bail!("it gives {}, which is no output", output.path.display());
        }
    }
    if let Some(path) = thunk.outputs.iter().find(|path| reduction.output(Some(path)).is_none()) {
        bail!("it does not give {}", path.display());
    }
    Ok(())
}
