// SPDX-License-Identifier: Apache-2.0
//! Answers of recordings before this one, and whether what they rest on is still so. Each directory and each file is compared once, for
//! as long as it stays as it is.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::super::Mark;
use super::super::directives::{NameId, name_id};
use super::super::intern::Fast;
use super::super::tree::{DirId, FileId, SetId, View};
use super::stored::Stored;
use super::{Answer, Project};

/// What was on the shelf.
pub(super) struct Kept {
    pub stored: Stored,
    /// The numbers of names here.
    names: Vec<NameId>,
    /// When a directory had changed last.
    dirs: Vec<Here<DirId, u64>>,
    files: Vec<Here<FileId, Mark>>,
    sets: Vec<Here<SetId, Mark>>,
    /// Which of the stored answers has this key.
    keys: HashMap<u128, u32, Fast>,
    /// How many have asked.
    asked: AtomicU32,
}

/// Something that was stored: its number here, and whether it was still the same when it was compared last, and in which state it
/// was then.
struct Here<Id, State> {
    id: OnceLock<Id>,
    compared: Mutex<Option<(State, bool)>>,
}

impl<Id: Copy, State: Copy + PartialEq> Here<Id, State> {
    /// Nothing is known yet of as many.
    fn all(stored: usize) -> Vec<Self> {
        (0..stored).map(|_| Self { id: OnceLock::new(), compared: Mutex::default() }).collect()
    }

    /// Two who look for it at once find the same: neither waits for the other.
    fn id(&self, find: impl FnOnce() -> Id) -> Id {
        self.id.get().copied().unwrap_or_else(|| {
            let id = find();
            // Whoever was faster.
            *self.id.get_or_init(|| id)
        })
    }

    /// Is it the same in this state? Not compared again as long as it is in it; nothing is remembered where that cannot be told.
    fn is_same(&self, state: State, compare: impl FnOnce() -> Option<bool>) -> bool {
        let mut compared = self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, same)) = compared.filter(|(then, _)| *then == state) {
            return same;
        }
        let Some(same) = compare() else { return false };
        *compared = Some((state, same));
        same
    }
}

/// All of them, beginning somewhere else in each turn. Two who ask at once mostly rest on the same: would both begin at the same place,
/// one would wait for the other at each that nobody has looked at before.
fn around<T>(all: &[T], turn: u32) -> impl Iterator<Item = &T> {
    // The golden section: those who come next begin far from each other.
    const PART: u32 = 0x9e37_79b9;
    let start = ((u64::from(turn.wrapping_mul(PART)) * all.len() as u64) >> 32) as usize;
    all[start..].iter().chain(&all[..start])
}

impl Kept {
    /// Nothing where these are not the bytes of answers.
    pub fn read(bytes: &[u8], view: View<'_>) -> Option<Self> {
        let stored = Stored::decode(bytes)?;
        let keys = stored.answers.iter().zip(0..).map(|(answer, number)| (answer.key, number)).collect();
        view.tree.add_weight(bytes.len() * 3);
        Some(Self {
            names: stored.names.iter().map(|name| name_id(&view.tree.names, name)).collect(),
            dirs: Here::all(stored.dirs.len()),
            files: Here::all(stored.files.len()),
            sets: Here::all(stored.sets.len()),
            keys,
            asked: AtomicU32::new(0),
            stored,
        })
    }

    /// The answer with this key, if all that it rests on is as it was then; found out by looking at what is there at `at` or later.
    pub fn answer(&self, key: u128, at: u64, view: View<'_>, project: &Path) -> Option<Answer> {
        let answer = &self.stored.answers[*self.keys.get(&key)? as usize];
        let project = Project::new(Some(project));
        let turn = self.asked.fetch_add(1, Relaxed);
        if !around(&answer.watch, turn).all(|&dir| self.says_the_same(dir, view, &project)) {
            return None;
        }
        let mut mark = Mark::default();
        for &set in around(&answer.follow, turn) {
            mark ^= self.same_contents(set, view, &project)?;
        }
        Some(Answer {
            follow: answer.follow.iter().map(|&set| self.set(set, view, &project)).collect(),
            touch: answer.touch.iter().map(|&set| self.set(set, view, &project)).collect(),
            through: answer.through.iter().map(|&dir| self.dir(dir, view, &project)).collect(),
            watch: answer.watch.iter().map(|&dir| self.dir(dir, view, &project)).collect(),
            at,
            mark,
            is_stored: true,
        })
    }

    /// The number of a directory here.
    fn dir(&self, number: u32, view: View<'_>, project: &Project<'_>) -> DirId {
        self.dirs[number as usize].id(|| {
            let stored = &self.stored.dirs[number as usize];
            // Parents come before their children.
            let parent =
                stored.parent.map(|(dir, name)| (self.dir(dir, view, project), self.names[name as usize]));
            view.dir_of(&project.absolute(&stored.path), parent)
        })
    }

    fn file(&self, number: u32, view: View<'_>, project: &Project<'_>) -> FileId {
        self.files[number as usize].id(|| {
            let stored = &self.stored.files[number as usize];
            view.file_in(self.dir(stored.dir, view, project), self.names[stored.name as usize])
        })
    }

    fn set(&self, number: u32, view: View<'_>, project: &Project<'_>) -> SetId {
        self.sets[number as usize].id(|| {
            let files = &self.stored.sets[number as usize];
            view.set_of(files.iter().map(|&file| self.file(file, view, project)).collect())
        })
    }

    /// Does a directory say what it said then?
    pub fn says_the_same(&self, number: u32, view: View<'_>, project: &Project<'_>) -> bool {
        let id = self.dir(number, view, project);
        view.verify(id);
        self.dirs[number as usize].is_same(view.tree.changed_at(id), || {
            let stored = &self.stored.dirs[number as usize];
            let slots = stored.slots.iter().map(|(name, slot)| (self.names[*name as usize], *slot));
            Some(view.says(id, stored.exists, stored.stamp, slots))
        })
    }

    /// The state of a file that has the content that it had then.
    pub fn same_content(&self, number: u32, view: View<'_>, project: &Project<'_>) -> Option<Mark> {
        let included = view.check(self.file(number, view, project))?;
        let same = self.files[number as usize].is_same(included.mark, || {
            let content = self.stored.files[number as usize].content.as_ref()?;
            let is_same = || view.files.digest(&included.path, &included.stamp) == Some(content.digest);
            Some(content.stamp == Some(included.stamp) || is_same())
        });
        same.then_some(included.mark)
    }

    /// The state of a set of which each file has the content that it had then.
    fn same_contents(&self, number: u32, view: View<'_>, project: &Project<'_>) -> Option<Mark> {
        let mark = view.check_set(self.set(number, view, project))?.mark;
        let same = self.sets[number as usize].is_same(mark, || {
            let mut now = Mark::default();
            for &file in &self.stored.sets[number as usize] {
                match self.same_content(file, view, project) {
                    Some(mark) => now ^= mark,
                    None => return Some(false),
                }
            }
            // One that has changed in between is compared next time.
            (now == mark).then_some(true)
        });
        same.then_some(mark)
    }

    /// The number of a stored name here.
    pub fn name(&self, number: u32) -> NameId {
        self.names[number as usize]
    }

    /// The directory with this number, if it was looked for in this recording.
    pub fn known_dir(&self, number: u32) -> Option<DirId> {
        self.dirs[number as usize].id.get().copied()
    }

    /// The file with this number, if it was looked for in this recording.
    pub fn known_file(&self, number: u32) -> Option<FileId> {
        self.files[number as usize].id.get().copied()
    }
}
