// SPDX-License-Identifier: Apache-2.0
//! Answers of this recording, and those of before that nobody has asked for again, in the form in which they are stored.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::super::directives::NameId;
use super::super::intern::Fast;
use super::super::tree::{DirId, FileId, SetId, View};
use super::kept::Kept;
use super::stored::{Stored, StoredAnswer, StoredContent, StoredDir, StoredFile};
use super::{Answer, Project};

/// What is gathered so far.
pub(super) struct Gathering<'a> {
    view: View<'a>,
    project: &'a Project<'a>,
    pub stored: Stored,
    names: HashMap<NameId, u32, Fast>,
    dirs: HashMap<DirId, u32, Fast>,
    /// With their content, if it is known and matters.
    files: HashMap<(FileId, bool), Option<u32>, Fast>,
    /// The same of all their files.
    sets: HashMap<(SetId, bool), Option<u32>, Fast>,
    /// Sets of rows.
    rows: HashMap<Vec<u32>, u32, Fast>,
    /// About how many bytes that will be.
    weight: usize,
}

impl<'a> Gathering<'a> {
    pub fn new(view: View<'a>, project: &'a Project<'a>) -> Self {
        let stored = Stored::default();
        let (names, dirs, files, sets, rows) = Default::default();
        Self { view, project, stored, names, dirs, files, sets, rows, weight: 0 }
    }

    /// Adds an answer that holds, unless what is in one of its files cannot be told.
    pub fn add(&mut self, key: u128, answer: &Answer) {
        let follow: Option<Vec<_>> = answer.follow.iter().map(|&set| self.set(set, true)).collect();
        let touch: Option<Vec<_>> = answer.touch.iter().map(|&set| self.set(set, false)).collect();
        let (Some(follow), Some(touch)) = (follow, touch) else { return };
        let [through, watch] =
            [&answer.through, &answer.watch].map(|dirs| dirs.iter().map(|&dir| self.dir(dir)).collect());
        self.push(StoredAnswer { key, follow, touch, through, watch });
    }

    /// Adds the answers of before of which there are no others now, the first first, for as long as all do not take more than `most` bytes.
    pub fn add_kept(&mut self, kept: &Kept, most: usize) {
        let known: HashSet<u128, Fast> = self.stored.answers.iter().map(|answer| answer.key).collect();
        let (dirs, files, sets) = Default::default();
        let mut before = Before { kept, dirs, files, sets };
        for answer in kept.stored.answers.iter().filter(|answer| !known.contains(&answer.key)) {
            if self.weight > most {
                return;
            }
            let [follow, touch] = [&answer.follow, &answer.touch]
                .map(|sets| sets.iter().map(|&set| before.set(set, self)).collect());
            let [through, watch] = [&answer.through, &answer.watch]
                .map(|dirs| dirs.iter().map(|&dir| before.dir(dir, self)).collect());
            self.push(StoredAnswer { key: answer.key, follow, touch, through, watch });
        }
    }

    fn push(&mut self, mut answer: StoredAnswer) {
        for list in [&mut answer.follow, &mut answer.touch, &mut answer.through, &mut answer.watch] {
            list.sort_unstable();
            list.dedup();
            self.weight += 2 * list.len();
        }
        self.stored.answers.push(answer);
    }

    fn push_dir(&mut self, dir: StoredDir) -> u32 {
        self.weight += 64 + dir.path.len() + 3 * dir.slots.len();
        self.stored.dirs.push(dir);
        self.stored.dirs.len() as u32 - 1
    }

    fn push_file(&mut self, file: StoredFile) -> u32 {
        self.weight += 72;
        self.stored.files.push(file);
        self.stored.files.len() as u32 - 1
    }

    /// The row of a set of rows.
    fn push_set(&mut self, mut files: Vec<u32>) -> u32 {
        files.sort_unstable();
        files.dedup();
        let Self { rows, stored, weight, .. } = self;
        *rows.entry(files).or_insert_with_key(|files| {
            *weight += 8 + 2 * files.len();
            stored.sets.push(files.clone());
            stored.sets.len() as u32 - 1
        })
    }

    fn set(&mut self, id: SetId, with_content: bool) -> Option<u32> {
        if let Some(&known) = self.sets.get(&(id, with_content)) {
            return known;
        }
        let files = Arc::clone(&self.view.tree.sets.get(id).files);
        let files: Option<Vec<_>> = files.iter().map(|&file| self.file(file, with_content)).collect();
        let number = files.map(|files| self.push_set(files));
        self.sets.insert((id, with_content), number);
        number
    }

    fn name(&mut self, name: NameId) -> u32 {
        *self.names.entry(name).or_insert_with(|| {
            let text = self.view.tree.names.get(name);
            self.weight += text.len() + 1;
            self.stored.names.push(text.clone());
            self.stored.names.len() as u32 - 1
        })
    }

    fn dir(&mut self, id: DirId) -> u32 {
        if let Some(&known) = self.dirs.get(&id) {
            return known;
        }
        let said = self.view.said(id);
        let dir = StoredDir {
            path: self.project.relative(&self.view.tree.dir(id).path).into(),
            parent: said.parent.map(|(parent, name)| (self.dir(parent), self.name(name))),
            exists: said.exists,
            stamp: said.stamp,
            slots: said.slots.into_iter().map(|(name, slot)| (self.name(name), slot)).collect(),
        };
        let number = self.push_dir(dir);
        self.dirs.insert(id, number);
        number
    }

    fn file(&mut self, id: FileId, with_content: bool) -> Option<u32> {
        if let Some(&known) = self.files.get(&(id, with_content)) {
            return known;
        }
        let number = self.new_file(id, with_content);
        self.files.insert((id, with_content), number);
        number
    }

    fn new_file(&mut self, id: FileId, with_content: bool) -> Option<u32> {
        let included = self.view.check(id)?;
        let content = if with_content {
            let digest = self.view.files.digest(&included.path, &included.stamp)?;
            Some(StoredContent { stamp: self.view.settled(id).map(|_| included.stamp), digest })
        } else {
            None
        };
        let (dir, name) = self.view.tree.file(id).place();
        let (dir, name) = (self.dir(dir), self.name(name));
        Some(self.push_file(StoredFile { dir, name, content }))
    }
}

/// The tables of a recording before this one, and what their rows have become.
struct Before<'k> {
    kept: &'k Kept,
    dirs: HashMap<u32, u32, Fast>,
    files: HashMap<u32, u32, Fast>,
    sets: HashMap<u32, u32, Fast>,
}

impl Before<'_> {
    fn dir(&mut self, number: u32, into: &mut Gathering<'_>) -> u32 {
        if let Some(&known) = self.dirs.get(&number) {
            return known;
        }
        let kept = self.kept;
        let known = kept.known_dir(number).filter(|_| kept.says_the_same(number, into.view, into.project));
        let new = match known {
            Some(id) => into.dir(id),
            None => {
                let old = &kept.stored.dirs[number as usize];
                let dir = StoredDir {
                    path: old.path.clone(),
                    parent: old.parent.map(|(dir, name)| (self.dir(dir, into), into.name(kept.name(name)))),
                    exists: old.exists,
                    stamp: old.stamp,
                    slots: old.slots.iter().map(|&(name, slot)| (into.name(kept.name(name)), slot)).collect(),
                };
                into.push_dir(dir)
            }
        };
        self.dirs.insert(number, new);
        new
    }

    fn set(&mut self, number: u32, into: &mut Gathering<'_>) -> u32 {
        if let Some(&known) = self.sets.get(&number) {
            return known;
        }
        let kept = self.kept;
        let files = kept.stored.sets[number as usize].iter().map(|&file| self.file(file, into)).collect();
        let new = into.push_set(files);
        self.sets.insert(number, new);
        new
    }

    fn file(&mut self, number: u32, into: &mut Gathering<'_>) -> u32 {
        if let Some(&known) = self.files.get(&number) {
            return known;
        }
        let kept = self.kept;
        let old = &kept.stored.files[number as usize];
        let same = |id: &FileId| match &old.content {
            Some(_) => kept.same_content(number, into.view, into.project).is_some().then_some(*id),
            None => None,
        };
        let known = kept.known_file(number).as_ref().and_then(same).and_then(|id| into.file(id, true));
        let new = known.unwrap_or_else(|| {
            let (dir, name) = (self.dir(old.dir, into), into.name(kept.name(old.name)));
            into.push_file(StoredFile { dir, name, content: old.content.clone() })
        });
        self.files.insert(number, new);
        new
    }
}
