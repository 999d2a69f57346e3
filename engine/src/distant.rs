// SPDX-License-Identifier: Apache-2.0
//! What holds for every back end on another machine, whatever lies between: which thunks it may run, and that its answers are not
//! believed without looking.

use anyhow::{Result, bail};
use thunk::{ObjectName, Reduction, Store};

/// May the thunk run elsewhere? What was learned, or completed before, may need files that only this machine has.
pub fn may_run(store: &Store, thunk: &ObjectName) -> bool {
    store.completion(thunk).is_empty() && !store.thunk(thunk).is_ok_and(|thunk| thunk.learned)
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
