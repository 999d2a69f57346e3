// SPDX-License-Identifier: Apache-2.0
//! The interface between the engine and what runs thunks.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use thunk::{ObjectName, Reduction};

use crate::protocol::Failed;

/// What came of a thunk.
#[derive(Debug)]
pub enum Answer {
    /// Its outputs are in the store; so is the reduction, under the name that the back end was given, if nothing was completed.
    Reduced {
        /// They are these.
        reduction: Reduction,
        /// Paths that were added to the inputs: the reduction is that of another thunk then.
        completed: Vec<PathBuf>,
    },
    /// The command failed: it would fail again.
    Failed(Failed),
    /// The back end failed: somebody else may do better.
    Broken(String),
}

impl From<anyhow::Result<Self>> for Answer {
    /// A back end's own error means that it has failed.
    fn from(result: anyhow::Result<Self>) -> Self {
        result.unwrap_or_else(|error| Self::Broken(format!("{error:#}")))
    }
}

/// An answer to come.
pub type Forcing<'a> = Pin<Box<dyn Future<Output = Answer> + 'a>>;

/// An answer to come, if the thunk begins.
pub type ForcingBehind<'a> = Pin<Box<dyn Future<Output = Option<Answer>> + 'a>>;

/// Something that runs thunks.
pub trait Backend {
    /// For messages.
    fn label(&self) -> &str;
    /// How many thunks it takes at once.
    fn job_count(&self) -> usize;
    /// How many more it takes to begin each as soon as another ends, so that nobody needs to be asked then.
    fn room_behind(&self) -> usize {
        0
    }
    /// May a second copy of a running thunk be faster than the first? Not where both would share the same processors.
    fn copies_may_help(&self) -> bool {
        false
    }
    /// Does what is given up end at once, so that somebody else has its place? A function goes on, and is paid for.
    fn ends_what_is_given_up(&self) -> bool {
        true
    }
    /// For so long all that it runs has enough to do, whatever is answered meanwhile: answers may wait until then, to be taken together.
    fn leisure(&self) -> Duration {
        Duration::ZERO
    }
    /// Was it ever there? One that never was may be a mistyped name.
    fn is_met(&self) -> bool {
        true
    }
    /// Can it run this one at all?
    fn can_execute(&self, _thunk: &ObjectName) -> bool {
        true
    }
    /// Does it see the files of the machine that recorded, so that it can complete the inputs of a command that fails for
    /// want of one?
    fn completes(&self) -> bool {
        false
    }
    /// What it has cost so far, about, if somebody is paid for it.
    fn dollars(&self) -> Option<f64> {
        None
    }
    /// What there is to be said at the end.
    fn report(&self) -> Vec<String> {
        Vec::new()
    }
    /// Runs a thunk whose inputs are all values. At most `job_count` at once.
    fn force(&self, thunk: ObjectName) -> Forcing<'_>;
    /// The same, where `job_count` run already, for at most `room_behind` more. Nothing, if it has not begun and will not: perhaps
    /// what ran before it has failed, or there is a free slot by now.
    fn force_behind(&self, thunk: ObjectName) -> ForcingBehind<'_> {
        Box::pin(async move { Some(self.force(thunk).await) })
    }
}

/// What is done around each thunk that a back end runs.
pub trait Around {
    /// Runs the thunk on the back end within, or finds out that this is not needed.
    fn force<'a>(&'a self, inner: &'a dyn Backend, thunk: ObjectName) -> Forcing<'a>;
}

/// A back end with something around it. It is the one within in all but that, and that nothing is put behind what runs.
pub struct With<A> {
    /// The one within.
    pub inner: Rc<dyn Backend>,
    /// What is done around it.
    pub around: A,
}

impl<A: Around> Backend for With<A> {
    fn label(&self) -> &str {
        self.inner.label()
    }

    fn job_count(&self) -> usize {
        self.inner.job_count()
    }

    fn copies_may_help(&self) -> bool {
        self.inner.copies_may_help()
    }

    fn ends_what_is_given_up(&self) -> bool {
        self.inner.ends_what_is_given_up()
    }

    fn is_met(&self) -> bool {
        self.inner.is_met()
    }

    fn can_execute(&self, thunk: &ObjectName) -> bool {
        self.inner.can_execute(thunk)
    }

    fn completes(&self) -> bool {
        self.inner.completes()
    }

    fn force(&self, thunk: ObjectName) -> Forcing<'_> {
        self.around.force(&*self.inner, thunk)
    }

    fn dollars(&self) -> Option<f64> {
        self.inner.dollars()
    }

    fn report(&self) -> Vec<String> {
        self.inner.report()
    }
}
