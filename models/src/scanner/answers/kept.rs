// SPDX-License-Identifier: Apache-2.0
//! Answers of recordings before this one, and whether what they rest on is still so. Each directory and each file is compared once, for
//! as long as it stays as it is.

use std::collections::HashMap;
use std::path::Path;
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
    dirs: Vec<KeptDir>,
    files: Vec<KeptFile>,
    sets: Vec<KeptSet>,
    /// Which of the stored answers has this key.
    keys: HashMap<u128, u32, Fast>,
}

#[derive(Default)]
struct KeptDir {
    id: OnceLock<DirId>,
    /// When it had changed last when it was compared, and whether it said the same.
    compared: Mutex<Option<(u64, bool)>>,
}

#[derive(Default)]
struct KeptFile {
    id: OnceLock<FileId>,
    /// In which state it was compared, and whether that was the same content.
    compared: Mutex<Option<(Mark, bool)>>,
}

#[derive(Default)]
struct KeptSet {
    id: OnceLock<SetId>,
    /// In which state it was compared, and whether those were the same contents.
    compared: Mutex<Option<(Mark, bool)>>,
}

impl Kept {
    /// Nothing where these are not the bytes of answers.
    pub fn read(bytes: &[u8], view: View<'_>) -> Option<Self> {
        let stored = Stored::decode(bytes)?;
        let keys = stored.answers.iter().zip(0..).map(|(answer, number)| (answer.key, number)).collect();
        view.tree.add_weight(bytes.len() * 3);
        Some(Self {
            names: stored.names.iter().map(|name| name_id(&view.tree.names, name)).collect(),
            dirs: stored.dirs.iter().map(|_| KeptDir::default()).collect(),
            files: stored.files.iter().map(|_| KeptFile::default()).collect(),
            sets: stored.sets.iter().map(|_| KeptSet::default()).collect(),
            keys,
            stored,
        })
    }

    /// The answer with this key, if all that it rests on is as it was then; found out by looking at what is there at `at` or later.
    pub fn answer(&self, key: u128, at: u64, view: View<'_>, project: &Path) -> Option<Answer> {
        let answer = &self.stored.answers[*self.keys.get(&key)? as usize];
        let project = Project::new(Some(project));
        if !answer.watch.iter().all(|&dir| self.says_the_same(dir, view, &project)) {
            return None;
        }
        let mut mark = Mark::default();
        let mut follow = Vec::with_capacity(answer.follow.len());
        for &set in &answer.follow {
            mark ^= self.same_contents(set, view, &project)?;
            follow.push(self.set(set, view, &project));
        }
        Some(Answer {
            follow: follow.into(),
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
        *self.dirs[number as usize].id.get_or_init(|| {
            let stored = &self.stored.dirs[number as usize];
            // Parents come before their children.
            let parent =
                stored.parent.map(|(dir, name)| (self.dir(dir, view, project), self.names[name as usize]));
            view.dir_of(&project.absolute(&stored.path), parent)
        })
    }

    fn file(&self, number: u32, view: View<'_>, project: &Project<'_>) -> FileId {
        *self.files[number as usize].id.get_or_init(|| {
            let stored = &self.stored.files[number as usize];
            view.file_in(self.dir(stored.dir, view, project), self.names[stored.name as usize])
        })
    }

    fn set(&self, number: u32, view: View<'_>, project: &Project<'_>) -> SetId {
        *self.sets[number as usize].id.get_or_init(|| {
            let files = &self.stored.sets[number as usize];
            view.set_of(files.iter().map(|&file| self.file(file, view, project)).collect())
        })
    }

    /// Does a directory say what it said then?
    pub fn says_the_same(&self, number: u32, view: View<'_>, project: &Project<'_>) -> bool {
        let id = self.dir(number, view, project);
        view.verify(id);
        let changed = view.tree.changed_at(id);
        let mut compared = self.dirs[number as usize].compared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, same)) = compared.filter(|(then, _)| *then == changed) {
            return same;
        }
        let stored = &self.stored.dirs[number as usize];
        let slots = stored.slots.iter().map(|(name, slot)| (self.names[*name as usize], *slot));
        let same = view.says(id, stored.exists, stored.stamp, slots);
        *compared = Some((changed, same));
        same
    }

    /// The state of a file that has the content that it had then.
    pub fn same_content(&self, number: u32, view: View<'_>, project: &Project<'_>) -> Option<Mark> {
        let included = view.check(self.file(number, view, project))?;
        let mut compared =
            self.files[number as usize].compared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((mark, same)) = compared.filter(|(mark, _)| *mark == included.mark) {
            return same.then_some(mark);
        }
        let content = self.stored.files[number as usize].content.as_ref()?;
        let same = content.stamp == Some(included.stamp)
            || view.files.digest(&included.path, &included.stamp) == Some(content.digest);
        *compared = Some((included.mark, same));
        same.then_some(included.mark)
    }

    /// The state of a set of which each file has the content that it had then.
    fn same_contents(&self, number: u32, view: View<'_>, project: &Project<'_>) -> Option<Mark> {
        let mark = view.check_set(self.set(number, view, project))?.mark;
        let compared = &self.sets[number as usize].compared;
        let before = *compared.lock().unwrap_or_else(PoisonError::into_inner);
        let same = match before.filter(|(then, _)| *then == mark) {
            Some((_, same)) => same,
            None => {
                let files = &self.stored.sets[number as usize];
                let mut now = Mark::default();
                let marks = files.iter().map(|&file| self.same_content(file, view, project));
                let same = marks.map(|mark| mark.map(|mark| now ^= mark)).all(|file| file.is_some());
                // One that has changed in between is compared next time.
                if same && now != mark {
                    return None;
                }
                *compared.lock().unwrap_or_else(PoisonError::into_inner) = Some((mark, same));
                same
            }
        };
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
