// SPDX-License-Identifier: Apache-2.0
//! What commands may read, remembered: for the next command that asks the same in this recording, and, where there is a
//! [`Shelf`], for later ones. An answer rests on the names that directories were asked for and on what is in files: it is given again where
//! each of these directories would say the same, and each of the files has the same content. Unaware of includes and macros.
//!
//! A later recording may be of another copy of the project: what is in the project counts by where it is in it.
//!
//! ```text
//! key      command → number           kept    answers of recordings before this one, and whether they hold
//! stored   answers ⇄ bytes            gather  answers of this one, and of those before, to be stored
//! ```

mod gather;
mod kept;
mod key;
mod stored;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::intern::Fast;
use super::search::List;
use super::tree::{DirId, SetId, View};
use super::walk::Walked;
use super::{Closure, Mark};
use gather::Gathering;
use kept::Kept;
pub(super) use key::{Keys, Project};

/// Where answers are between recordings. It may lose them, and bring back what others have put there: damage is noticed here.
pub trait Shelf: Send + Sync {
    /// What was put there last under this name.
    fn get(&self, name: &str) -> Option<Vec<u8>>;

    /// Puts something there, in place of what was there.
    fn put(&self, name: &str, content: &[u8]);
}

/// Where a scanner keeps its answers.
pub struct Keeping {
    /// Where they are kept.
    pub shelf: Box<dyn Shelf>,
    /// The project's directory: absolute, without `.`, `..` and links.
    pub project: PathBuf,
}

/// Answers that nobody has asked for in this recording are stored again for as long as all do not take more than this.
const MUCH: usize = 16 << 20;

/// What one command may read.
pub(super) struct Answer {
    pub follow: Box<[SetId]>,
    pub touch: Box<[SetId]>,
    pub through: Box<[DirId]>,
    pub watch: Box<[DirId]>,
    /// Number of the newest change when it was found out.
    at: u64,
    /// Stands for the files that are followed in their states.
    mark: Mark,
    /// Another recording has stored it.
    is_stored: bool,
}

/// All answers for one search order.
#[derive(Default)]
pub(super) struct Answers {
    known: Mutex<HashMap<u128, Arc<Answer>, Fast>>,
    kept: OnceLock<Option<Kept>>,
}

impl Answers {
    fn known(&self) -> MutexGuard<'_, HashMap<u128, Arc<Answer>, Fast>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a command may read, if it is known; `through` lead to the directories of the search order.
    pub fn closure(
        &self,
        view: View<'_>,
        keys: &Keys<'_>,
        keeping: Option<&Keeping>,
        through: &[DirId],
    ) -> Option<Closure> {
        let at = view.tree.now();
        for key in keys.all() {
            let known = self.known().get(&key).cloned();
            if let Some(closure) = known.and_then(|answer| answer.still(view, through)) {
                return Some(closure);
            }
            let Some(keeping) = keeping else { continue };
            let kept = self.kept.get_or_init(|| Kept::read(&keeping.shelf.get(&keys.shelf_name())?, view));
            let Some(answer) = kept.as_ref().and_then(|kept| kept.answer(key, at, view, &keeping.project))
            else {
                continue;
            };
            if let Some(closure) = answer.still(view, through) {
                view.tree.add_weight(answer.weight());
                self.known().insert(key, Arc::new(answer));
                return Some(closure);
            }
        }
        None
    }

    /// Remembers what was found out for a command by looking at what was there at `at` or later.
    pub fn remember(&self, view: View<'_>, keys: &Keys<'_>, at: u64, closure: &Closure, walked: Walked) {
        let Walked { follow, touch, through, watch, absolute, lasting, preprocessed } = walked;
        if !lasting {
            return;
        }
        let mut mark = Mark::default();
        let mut through_here = through.iter().map(|&dir| &view.tree.dir(dir).path);
        let is_bound = absolute || through_here.any(|dir| keys.project.is_left_from(dir));
        for (&set, told) in follow.iter().zip(&closure.sets) {
            // What was read when it was too young to be relied on, or has changed since, may be something else already.
            if !view.is_settled(set, told) {
                return;
            }
            mark ^= told.mark;
        }
        let answer = Answer {
            follow: follow.into(),
            touch: touch.into(),
            through: through.into(),
            watch: watch.iter().collect(),
            at,
            mark,
            is_stored: false,
        };
        view.tree.add_weight(answer.weight());
        self.known().insert(keys.one(is_bound, preprocessed), Arc::new(answer));
    }

    /// Puts what is new on the shelf, with what is there already. Was there something new?
    pub fn store(&self, view: View<'_>, list: &List, keeping: &Keeping) -> bool {
        let known: Vec<_> = self.known().iter().map(|(key, answer)| (*key, Arc::clone(answer))).collect();
        let still = |answer: &Answer| answer.still(view, &[]).is_some();
        if !known.iter().any(|(_, answer)| !answer.is_stored && still(answer)) {
            return false;
        }
        let project = Project::new(Some(&keeping.project));
        let mut gathering = Gathering::new(view, &project);
        for (key, answer) in known.iter().filter(|(_, answer)| still(answer)) {
            gathering.add(*key, answer);
        }
        if let Some(Some(kept)) = self.kept.get() {
            gathering.add_kept(kept, MUCH);
        }
        keeping.shelf.put(&key::shelf_name(view, list, &project), &gathering.stored.encode());
        true
    }
}

impl Answer {
    fn weight(&self) -> usize {
        size_of::<Self>()
            + 96
            + 4 * (self.follow.len() + self.touch.len() + self.through.len() + self.watch.len())
    }

    /// The same again, if nothing that it rests on has changed.
    fn still(&self, view: View<'_>, through: &[DirId]) -> Option<Closure> {
        if !self.watch.iter().all(|&dir| view.is_unchanged(dir, self.at)) {
            return None;
        }
        let mut sets = Vec::with_capacity(self.follow.len() + self.touch.len());
        let mut mark = Mark::default();
        for &set in &self.follow {
            let told = view.check_set(set)?;
            mark ^= told.mark;
            sets.push(told);
        }
        for &set in &self.touch {
            sets.push(view.check_set(set)?);
        }
        (mark == self.mark)
            .then(|| Closure { sets, directories: view.paths(self.through.iter().chain(through)) })
    }
}
