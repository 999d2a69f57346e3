// SPDX-License-Identifier: Apache-2.0
//! Which commands ask the same: numbers for all that a command says about what it may read, but for what is in files and directories.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hasher as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::super::search::List;
use super::super::tree::View;
use crate::IncludeSearch;

/// Stands for the project's directory, and in no path.
const HERE: u8 = 0;

/// The project, of which there may be another copy elsewhere.
pub(in super::super) struct Project<'a>(Option<&'a Path>);

impl<'a> Project<'a> {
    pub fn new(directory: Option<&'a Path>) -> Self {
        Self(directory.filter(|directory| directory.parent().is_some()))
    }

    /// A path as it is in every copy of the project.
    pub fn relative<'p>(&self, path: &'p Path) -> Cow<'p, [u8]> {
        match self.0.and_then(|project| path.strip_prefix(project).ok()) {
            Some(inside) => [&[HERE], inside.as_os_str().as_bytes()].concat().into(),
            None => path.as_os_str().as_bytes().into(),
        }
    }

    /// The inverse of [`relative`](Self::relative).
    pub fn absolute(&self, path: &[u8]) -> PathBuf {
        match (self.0, path) {
            (Some(project), [HERE]) => project.to_path_buf(),
            (Some(project), [HERE, inside @ ..]) => project.join(OsStr::from_bytes(inside)),
            _ => OsStr::from_bytes(path).into(),
        }
    }

    /// Does the `..` of this directory lead out of the project, or from elsewhere towards it? Then it matters where the project is.
    pub fn is_left_from(&self, directory: &Path) -> bool {
        match (self.0, directory.parent()) {
            (Some(project), Some(parent)) => parent != project && project.starts_with(parent),
            (project, _) => project.is_some(),
        }
    }

    /// A word of a command, in which paths may be.
    fn word<'w>(&self, word: &'w [u8]) -> Cow<'w, [u8]> {
        let Some(project) = self.0.map(|project| project.as_os_str().as_bytes()) else { return word.into() };
        let goes_on = |c: &u8| c.is_ascii_alphanumeric() || b"._-+".contains(c) || !c.is_ascii();
        let (mut out, mut rest) = (Vec::new(), word);
        while let Some(at) = memchr::memmem::find(rest, project) {
            let (before, after) = (&rest[..at], &rest[at + project.len()..]);
            out.extend_from_slice(before);
            if before.last().is_some_and(goes_on) || after.first().is_some_and(goes_on) {
                out.extend_from_slice(project);
            } else {
                out.push(HERE);
            }
            rest = after;
        }
        if out.is_empty() && rest.len() == word.len() {
            return word.into();
        }
        out.extend_from_slice(rest);
        out.into()
    }
}

/// Two hashes, so that nobody comes upon two commands with the same.
#[derive(Clone)]
struct Number([DefaultHasher; 2]);

impl Number {
    fn new() -> Self {
        let mut hashers = [DefaultHasher::new(), DefaultHasher::new()];
        hashers[1].write_u8(1);
        Self(hashers)
    }

    fn add(&mut self, bytes: &[u8]) {
        for hasher in &mut self.0 {
            hasher.write_usize(bytes.len());
            hasher.write(bytes);
        }
    }

    /// So many follow.
    fn count(&mut self, count: usize) {
        self.add(&count.to_le_bytes());
    }

    fn finish(&self) -> u128 {
        let [high, low] = self.0.each_ref().map(|hasher| u128::from(hasher.finish()));
        high << 64 | low
    }
}

/// The numbers of one command, by what else than files and directories its answer rests on: on where the project is, on what its
/// compiler has built in. Which of these it is, only the answer tells.
pub(in super::super) struct Keys<'a> {
    pub(super) project: Project<'a>,
    numbers: [[u128; 2]; 2],
    /// The compiler can be asked what it has built in.
    has_front: bool,
    order: u128,
}

impl<'a> Keys<'a> {
    pub fn new(view: View<'_>, list: &List, search: &IncludeSearch, project: Project<'a>) -> Self {
        let order = order(view, list, &project);
        let mut number = order.clone();
        number.add(&list.repeated().iter().map(|&again| u8::from(again)).collect::<Vec<_>>());
        number.count(search.sources.len());
        search.sources.iter().for_each(|source| number.add(&project.relative(source)));
        number.count(search.forced.len());
        search.forced.iter().for_each(|name| number.add(&project.relative(name)));
        number.count(search.defines.len());
        search.defines.iter().for_each(|define| number.add(&project.word(define.as_bytes())));
        let mut built_in = number.clone();
        if let Some(question) = &search.front {
            built_in.add(&project.relative(&question.program));
            if let Some((_, stamp)) = view.files.look(&question.program, true) {
                for n in [stamp.dev, stamp.ino, stamp.size, stamp.mtime as u64, stamp.ctime as u64] {
                    built_in.count(n as usize);
                }
            }
            built_in.count(question.argv.len());
            question.argv.iter().for_each(|word| built_in.add(&project.word(word.as_bytes())));
            built_in.count(question.env.len());
            for (name, value) in &question.env {
                built_in.add(name.as_bytes());
                built_in.add(&project.word(value.as_bytes()));
            }
        }
        let numbers = [number, built_in].map(|anywhere| {
            let mut here = anywhere.clone();
            here.add(project.0.map_or(b"", |project| project.as_os_str().as_bytes()));
            [anywhere.finish(), here.finish()]
        });
        Self { project, numbers, has_front: search.front.is_some(), order: order.finish() }
    }

    /// The number of an answer that rests on these.
    pub fn one(&self, is_bound: bool, preprocessed: bool) -> u128 {
        self.numbers[usize::from(preprocessed)][usize::from(is_bound)]
    }

    /// All under which an answer may be.
    pub fn all(&self) -> impl Iterator<Item = u128> {
        self.numbers.into_iter().take(1 + usize::from(self.has_front)).flatten()
    }

    /// The name under which answers for the same search order are on the shelf.
    pub fn shelf_name(&self) -> String {
        format!("{:032x}", self.order)
    }
}

/// See [`Keys::shelf_name`].
pub(super) fn shelf_name(view: View<'_>, list: &List, project: &Project<'_>) -> String {
    format!("{:032x}", order(view, list, project).finish())
}

fn order(view: View<'_>, list: &List, project: &Project<'_>) -> Number {
    let mut number = Number::new();
    for dirs in list.directories() {
        number.count(dirs.len());
        dirs.iter().for_each(|&dir| number.add(&project.relative(&view.tree.dir(dir).path)));
    }
    number.count(list.angle());
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_the_project_are_the_same_in_every_copy() {
        let [here, there] = ["/w/p", "/v"].map(|path| Project::new(Some(Path::new(path))));
        for (path, other) in
            [("/w/p/a/b.h", "/v/a/b.h"), ("/w/p", "/v"), ("/usr/x.h", "/usr/x.h"), ("/w/px/y", "/w/px/y")]
        {
            assert_eq!(there.absolute(&here.relative(Path::new(path))), Path::new(other));
        }
        assert_eq!(here.word(b"DIR=\"/w/p/x\""), there.word(b"DIR=\"/v/x\""));
        assert_eq!(here.word(b"/w/p:/w/p/"), there.word(b"/v:/v/"));
        assert_eq!(&*here.word(b"/w/px:x/w/p"), b"/w/px:x/w/p");
        // The root is nobody's project.
        assert_eq!(&*Project::new(Some(Path::new("/"))).relative(Path::new("/a")), b"/a");
    }

    #[test]
    fn who_leaves_the_project_is_bound_to_where_it_is() {
        let project = Project::new(Some(Path::new("/w/p")));
        let bound = |path| project.is_left_from(Path::new(path));
        assert!(bound("/w/p") && bound("/w/other") && bound("/w") && bound("/"));
        assert!(!bound("/w/p/a") && !bound("/w/p/a/b") && !bound("/usr/include/x"));
        assert!(!Project::new(None).is_left_from(Path::new("/w")));
    }
}
