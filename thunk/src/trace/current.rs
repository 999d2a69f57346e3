// SPDX-License-Identifier: Apache-2.0
//! Does a trace still speak for the files as they are now? Compares what its commands read, looked for and listed with
//! what stands there. Files that the build itself wrote are none of its inputs: these follow from the rest. Looks at each path
//! once; reads only what changed since it was last hashed. Knows nothing of what is to be done about a change.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{Observed, Product, Products, Step, Touch, Trace, Uses};
use crate::error::Result;
use crate::footprint::FileFacts;
use crate::name::{ObjectKind, ObjectName};
use crate::path::has_no_content;
use crate::placeholder::{OutputRef, Placeholder};
use crate::store::Store;
use crate::thunk::{Input, Thunk};
use crate::tree::{Tree, TreeNode};

/// The value that stands for a directory's names in a [`Touch`]: sorted, each ended by NUL.
#[must_use]
pub fn listing(found: Vec<OsString>) -> ObjectName {
    ObjectName::of(ObjectKind::Value, &names(found))
}

/// What this value holds.
#[must_use]
pub fn names(mut found: Vec<OsString>) -> Vec<u8> {
    found.sort_unstable();
    found.iter().flat_map(|name| name.as_bytes().iter().copied().chain([0])).collect()
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Now {
    /// Nothing.
    Missing,
    /// A file, with its content and whether it may be executed.
    File(ObjectName, bool),
    /// A placeholder.
    Placeholder(OutputRef),
    /// A directory, or something else that has no content.
    Other,
}

const OTHER_FILES: &str = "now holds other files";
const RUNS: &str = runnable_now(true);
const RUNS_NOT: &str = runnable_now(false);
const ALLOWED: &str = "may be touched now, in every way";

/// How an input of a thunk is another one of which only this has changed: may it be executed?
#[must_use]
pub const fn runnable_now(runnable: bool) -> &'static str {
    if runnable { "may be executed now" } else { "may not be executed any more" }
}

/// A way in which something is not as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub path: PathBuf,
    how: &'static str,
    /// Is it the content of a file, and nothing else?
    pub is_content: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.how)
    }
}

/// How a path was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// What stands there.
    Entry,
    /// Which names are in the directory.
    Names,
}

/// A trace beside the files of today.
pub struct Current<'a> {
    store: &'a Store,
    trace: &'a Trace,
    products: Products,
    /// What was recorded of paths that the build wrote, which may have had several contents.
    versions: OnceCell<HashMap<PathBuf, HashSet<ObjectName>>>,
    seen: RefCell<HashMap<PathBuf, Now>>,
    /// Paths that were looked at otherwise.
    looked: RefCell<HashMap<PathBuf, Look>>,
    trees: RefCell<HashMap<ObjectName, Option<Change>>>,
}

impl<'a> Current<'a> {
    /// Nothing looked at yet.
    #[must_use]
    pub fn new(store: &'a Store, trace: &'a Trace) -> Self {
        Self {
            store,
            trace,
            products: trace.products(),
            versions: OnceCell::new(),
            seen: RefCell::default(),
            looked: RefCell::default(),
            trees: RefCell::default(),
        }
    }

    /// What the build left.
    #[must_use]
    pub fn products(&self) -> &Products {
        &self.products
    }

    /// The first thing that is not as a deferred command was recorded with.
    ///
    /// # Errors
    /// The store is damaged.
    pub fn change_for(&self, thunk: &Thunk) -> Result<Option<Change>> {
        let mut given = inputs(thunk).filter(|(input, _)| !input.is_name_only());
        if let Some(change) = given.find_map(|(input, executable)| {
            self.input(&input.path, &input.value).or_else(|| self.runnable(&input.path, executable))
        }) {
            return Ok(Some(change));
        }
        for link in &thunk.links {
            if let Some(change) = self.link(&link.path, &link.target) {
                return Ok(Some(change));
            }
        }
        for tree in &thunk.trees {
            if let Some(change) = self.change_in(tree)? {
                return Ok(Some(change));
            }
        }
        Ok(None)
    }

    fn change_in(&self, name: &ObjectName) -> Result<Option<Change>> {
        if let Some(known) = self.trees.borrow().get(name) {
            return Ok(known.clone());
        }
        let change = self.tree(&self.store.tree(name)?);
        self.trees.borrow_mut().insert(*name, change.clone());
        Ok(change)
    }

    fn tree(&self, tree: &Tree) -> Option<Change> {
        tree.entries().iter().find_map(|entry| match &entry.node {
            TreeNode::File { value, executable } => {
                self.input(&entry.path, value).or_else(|| self.runnable(&entry.path, *executable))
            }
            TreeNode::Link(target) => self.link(&entry.path, target),
            TreeNode::Directory => None,
        })
    }

    /// What is not as a command that ran found it.
    pub fn changes_since<'b>(&'b self, observed: &'b Observed) -> impl Iterator<Item = Change> + 'b {
        let thunk = observed.thunk.and_then(|name| self.store.thunk(&name).ok());
        let ended = i128::from(self.trace.started_us) + i128::from(observed.ended_us);
        let touched = observed.touches.iter().filter_map(move |touch| self.touch(touch, ended));
        touched.chain(self.facts_since(thunk.as_ref(), observed.reopens()))
    }

    /// How large files were that it only asked for, and which may be executed, tells only the thunk of a command that ran.
    /// `reopened`: it may have read them by their descriptors.
    fn facts_since(&self, thunk: Option<&Thunk>, reopened: bool) -> Vec<Change> {
        let Some(thunk) = thunk else { return Vec::new() };
        let fact = |(input, executable): (&Input, bool)| {
            let path = &input.path;
            self.runnable(path, executable).or_else(|| self.resized(path, &input.value, reopened))
        };
        let trees = thunk.trees.iter().filter_map(|tree| self.change_in(tree).ok().flatten());
        let trees = trees.filter(|change| change.how == RUNS || change.how == RUNS_NOT);
        inputs(thunk).filter_map(fact).chain(trees).collect()
    }

    /// Is this input as large as it was? `content`: and does it hold the same?
    fn resized(&self, path: &Path, recorded: &ObjectName, content: bool) -> Option<Change> {
        let is_own = self.is_settled(path) || self.products.written.contains(path);
        let Now::File(value, _) = self.now(path) else { return None };
        let is_other = value.size() != recorded.size() || content && value != *recorded;
        (is_other && !is_own).then(|| Change { is_content: true, ..change(path, "has changed") })
    }

    /// Could this input be executed as it can be now? What a command leaves may have its mode.
    fn runnable(&self, path: &Path, recorded: bool) -> Option<Change> {
        let has_own_mode = self.products.written.contains(path) || self.products.modes.contains_key(path);
        if self.is_settled(path) || has_own_mode {
            return None;
        }
        let how = match self.now(path) {
            Now::File(_, true) if !recorded => RUNS,
            Now::File(_, false) if recorded => RUNS_NOT,
            _ => return None,
        };
        Some(change(path, how))
    }

    fn touch(&self, touch: &Touch, ended: i128) -> Option<Change> {
        let path: &Path = &touch.path;
        let uses = touch.uses;
        if has_no_content(path) || path.starts_with(self.store.root()) || self.products.kept.contains(path) {
            return None;
        }
        if let (true, Some(before)) = (uses.has(Uses::INPUT), &touch.before) {
            return self.input(path, before);
        }
        if uses.has(Uses::INPUT) && self.is_later(path, ended) {
            return Some(change(path, "has changed"));
        }
        if uses.has(Uses::LISTED) {
            if let Some(names) = touch.after.filter(|_| !uses.has(Uses::OUTPUT)) {
                return self.names_left(path, &names);
            }
            return touch.before.and_then(|before| self.listed(path, &before));
        }
        if self.products.written.contains(path) {
            // It changed what it found, which is not known. But what stands there was never seen: somebody has changed it since.
            let is_new = uses.has(Uses::INPUT | Uses::OUTPUT)
                && matches!(self.now(path), Now::File(value, _) if !self.was_ever(path, &value));
            return is_new.then(|| change(path, "has changed"));
        }
        if uses.has(Uses::FOUND) {
            if let Some(before) = touch.before {
                self.note(path);
                let target = std::fs::read_link(path).ok();
                let now = target.map(|t| ObjectName::of(ObjectKind::Value, t.as_os_str().as_bytes()));
                return (now != Some(before) && !self.is_excused(path))
                    .then(|| change(path, "now leads elsewhere"));
            }
            let gone = self.now(path) == Now::Missing && !path.is_symlink();
            return (gone && !self.is_excused(path)).then(|| change(path, "is gone"));
        }
        if uses.has(Uses::MISSING) && !uses.has(Uses::OUTPUT) && self.now(path) != Now::Missing {
            return (!self.is_product(path)).then(|| change(path, "has appeared"));
        }
        // `test -x`, which asks for no content.
        if !uses.has(Uses::DENIED) || self.is_settled(path) || self.products.modes.contains_key(path) {
            return None;
        }
        self.note(path);
        is_allowed(path).then(|| change(path, ALLOWED))
    }

    /// Was this, which the build did not make, changed after a moment, in microseconds? For what was changing while it
    /// was read, so that its content is not known: make would compare no more than that either.
    fn is_later(&self, path: &Path, moment: i128) -> bool {
        if self.is_settled(path) || self.products.written.contains(path) {
            return false;
        }
        self.note(path);
        let file = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file);
        file.is_some_and(|file| i128::from(FileFacts::of(&file).id.mtime) > moment * 1000)
    }

    fn listed(&self, path: &Path, before: &ObjectName) -> Option<Change> {
        let Some(names) = self.names_at(path) else {
            return (!self.is_excused(path)).then(|| change(path, "is gone"));
        };
        (listing(names) != *before).then(|| change(path, OTHER_FILES))
    }

    /// The same where all names are known that were there. What the build has put there it puts there again.
    fn names_left(&self, path: &Path, before: &ObjectName) -> Option<Change> {
        let Ok(before) = self.store.read(before) else { return self.listed(path, before) };
        let Some(found) = self.names_at(path) else {
            return (!self.is_excused(path)).then(|| change(path, "is gone"));
        };
        let before = before.split(|&byte| byte == 0).filter(|name| !name.is_empty());
        let mut before: Vec<OsString> = before.map(|name| OsStr::from_bytes(name).to_owned()).collect();
        before.retain(|name| !self.is_written(path, name));
        let others = found.into_iter().filter(|name| !self.is_written(path, name));
        let mut others: Vec<OsString> = others.collect();
        if self.trace.packed {
            // What is missing is as it was.
            before.retain(|name| others.contains(name));
        }
        others.sort_unstable();
        before.sort_unstable();
        (others != before).then(|| change(path, OTHER_FILES))
    }

    fn names_at(&self, path: &Path) -> Option<Vec<OsString>> {
        self.looked.borrow_mut().insert(path.to_path_buf(), Look::Names);
        let entries = std::fs::read_dir(path).ok()?;
        Some(entries.flatten().map(|entry| entry.file_name()).collect())
    }

    fn is_written(&self, directory: &Path, name: &OsStr) -> bool {
        self.products.written.contains(&directory.join(name))
    }

    /// Is what the build made there what was found there? `None` stands for content that was not known.
    #[must_use]
    pub fn compare(&self, path: &Path, recorded: Option<&ObjectName>) -> Option<Change> {
        match self.now(path) {
            Now::File(value, _) if Some(&value) == recorded => None,
            Now::File(..) => Some(Change { is_content: true, ..change(path, "has changed") }),
            _ => Some(change(path, "has changed")),
        }
    }

    /// Is this input as it was recorded?
    #[must_use]
    pub fn input(&self, path: &Path, recorded: &ObjectName) -> Option<Change> {
        if self.is_settled(path) {
            return None;
        }
        let written = self.products.written.contains(path);
        let known = |value: ObjectName| value == *recorded || written && self.was_ever(path, &value);
        match self.now(path) {
            Now::File(value, _) if known(value) => None,
            Now::Missing if written || self.trace.packed => None,
            Now::Missing => Some(change(path, "is gone")),
            // What stands for it will be what was recorded, unless what it is made from changes, which is another matter.
            Now::Placeholder(output) if self.products.get(path) == Some(&Product::Output(output.clone())) => {
                None
            }
            // So a replay leaves what a command makes again as it made it before.
            Now::Placeholder(output) if self.gives(&output).is_some_and(known) => None,
            Now::File(..) => Some(Change { is_content: true, ..change(path, "has changed") }),
            _ => Some(change(path, "has changed")),
        }
    }

    /// What a placeholder stands for, where that is known.
    #[must_use]
    pub fn gives(&self, output: &OutputRef) -> Option<ObjectName> {
        let reduction = self.store.reduction(&output.thunk)?;
        reduction.output(output.output.as_deref()).map(|reduced| reduced.value)
    }

    /// A pack brings what the build took from its surroundings: only its own directory is looked at.
    fn is_settled(&self, path: &Path) -> bool {
        self.trace.packed && !path.starts_with(&self.trace.cwd)
    }

    fn link(&self, path: &Path, target: &Path) -> Option<Change> {
        if self.is_settled(path) {
            return None;
        }
        self.note(path);
        if std::fs::read_link(path).is_ok_and(|now| now == target) || self.products.written.contains(path) {
            return None;
        }
        let missing = std::fs::symlink_metadata(path).is_err();
        (!missing || !self.trace.packed).then(|| change(path, "now leads elsewhere"))
    }

    fn note(&self, path: &Path) {
        self.looked.borrow_mut().entry(path.to_path_buf()).or_insert(Look::Entry);
    }

    /// All paths that were looked at so far.
    #[must_use]
    pub fn looked_at(&self) -> HashMap<PathBuf, Look> {
        let seen = self.seen.borrow();
        let entries = seen.keys().map(|path| (path.clone(), Look::Entry));
        entries.chain(self.looked.borrow().clone()).collect()
    }

    /// May it be missing?
    fn is_excused(&self, path: &Path) -> bool {
        self.trace.packed || self.is_product(path)
    }

    /// Has the build written it, by this way or another one, if a link leads there?
    fn is_product(&self, path: &Path) -> bool {
        let by_another_way = || {
            let real = std::fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?);
            Some(self.products.written.contains(&real))
        };
        self.products.written.contains(path) || by_another_way() == Some(true)
    }

    /// Was this content of a path that the build wrote recorded at some time?
    fn was_ever(&self, path: &Path, value: &ObjectName) -> bool {
        let versions = self.versions.get_or_init(|| self.versions());
        versions.get(path).is_some_and(|versions| versions.contains(value))
    }

    fn versions(&self) -> HashMap<PathBuf, HashSet<ObjectName>> {
        let mut versions: HashMap<PathBuf, HashSet<ObjectName>> = HashMap::new();
        let mut note = |path: &Path, value: ObjectName| {
            if self.products.written.contains(path) {
                versions.entry(path.to_path_buf()).or_default().insert(value);
            }
        };
        for step in self.trace.steps() {
            let thunk = match step {
                Step::Deferred(_, thunk) => thunk,
                Step::Observed(observed) => {
                    for touch in &observed.touches {
                        touch
                            .before
                            .into_iter()
                            .chain(touch.after)
                            .for_each(|value| note(&touch.path, value));
                    }
                    continue;
                }
            };
            for input in self.store.thunk(&thunk).iter().flat_map(|t| t.values.iter().chain(&t.executables)) {
                note(&input.path, input.value);
            }
            let reduction = self.store.reduction(&thunk);
            for output in reduction.iter().flat_map(|reduction| &reduction.outputs) {
                note(&output.path, output.value);
            }
        }
        for (path, product) in &self.products.last {
            if let Product::Output(output) = product
                && let Some(reduction) = self.store.reduction(&output.thunk)
                && let Some(output) = reduction.output(output.output.as_deref())
            {
                note(path, output.value);
            }
        }
        versions
    }

    /// What stands at a path now. Links are followed.
    #[must_use]
    pub fn now(&self, path: &Path) -> Now {
        if let Some(now) = self.seen.borrow().get(path) {
            return now.clone();
        }
        let now = look(self.store, path);
        self.seen.borrow_mut().insert(path.to_path_buf(), now.clone());
        now
    }

    /// What stands at this path is to be looked at again: it was changed.
    pub fn forget(&self, path: &Path) {
        self.seen.borrow_mut().remove(path);
    }

    /// The same of all that is found by way of this path.
    pub fn forget_below(&self, path: &Path) {
        self.seen.borrow_mut().retain(|seen, _| !seen.starts_with(path));
    }
}

fn look(store: &Store, path: &Path) -> Now {
    let Ok(metadata) = std::fs::metadata(path) else { return Now::Missing };
    if !metadata.is_file() {
        return Now::Other;
    }
    let facts = FileFacts::of(&metadata);
    if let Some(known) = store.files().get(&facts.id) {
        return Now::File(known, facts.executable);
    }
    match Placeholder::read(path) {
        Ok(Some(placeholder)) if placeholder.store == store.root() => Now::Placeholder(placeholder.output),
        Ok(None) => store.name_of(path, &facts).map_or(Now::Other, |name| Now::File(name, facts.executable)),
        _ => Now::Other,
    }
}

/// May we do with it whatever can be done with a file?
fn is_allowed(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: a NUL-terminated path.
    unsafe { libc::access(path.as_ptr(), libc::R_OK | libc::W_OK | libc::X_OK) == 0 }
}

/// All files that are no other thunk's output and in no tree. May they be executed?
fn inputs(thunk: &Thunk) -> impl Iterator<Item = (&Input, bool)> {
    let values = thunk.values.iter().map(|input| (input, false));
    values.chain(thunk.executables.iter().map(|input| (input, true)))
}

fn change(path: &Path, how: &'static str) -> Change {
    Change { path: path.to_path_buf(), how, is_content: false }
}

/// What is wrong with a trace as a whole.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What a build driver, this one, looked at itself is not as it was: it might run other commands.
    pub stale: Option<(u32, Change)>,
    /// Inputs of commands that changed: an example of each command's.
    pub changed: Vec<(u32, Change)>,
    /// The first command of which nobody knows what it used, and why not.
    pub unseen: Option<(u32, String)>,
}

impl Current<'_> {
    /// Looks at all that the build's commands used.
    ///
    /// # Errors
    /// The store is damaged.
    pub fn verdict(&self) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        for step in self.trace.steps() {
            let (id, change) = match step {
                Step::Deferred(command, name) => (command.id, self.change_for(&self.store.thunk(&name)?)?),
                Step::Observed(observed) => {
                    let unseen = || Some((observed.id, observed.unseen()?.to_owned()));
                    verdict.unseen = verdict.unseen.or_else(unseen);
                    if observed.drives() {
                        // A file tells more than the directory that it was removed from.
                        let changes = self.changes_since(observed).map(|change| (observed.id, change));
                        let changes = verdict.stale.take().into_iter().chain(changes);
                        verdict.stale = changes.min_by_key(|(_, change)| change.how == OTHER_FILES);
                        continue;
                    }
                    (observed.id, self.changes_since(observed).next())
                }
            };
            verdict.changed.extend(change.map(|change| (id, change)));
        }
        Ok(verdict)
    }
}

impl Observed {
    /// The obstacle of a command that starts others, each of which is a command of its own: make, or what contains one.
    pub const DRIVES: &'static str = "runs other commands";
    /// The obstacle of a command that writes to where the build's own messages go.
    pub const PRINTS: &'static str = "prints";
    /// The obstacle of a command whose output or exit code somebody may act on before the build is over.
    pub const HEARD: &'static str = "somebody listens to its output";
    /// The obstacle of a command that changes what it reads: where it runs again it must find what it found.
    pub const REWRITES: &'static str = "changes what it depends on";
    /// The obstacle of a command that gives what was there another name.
    pub const MOVES: &'static str = "moves what others made";
    /// How the obstacle of a command begins that makes a directory. Where it runs again in a sandbox it makes it there.
    pub const MAKES_DIRECTORY: &'static str = "makes the directory ";
    /// How the obstacle of a command begins that leaves a symbolic link. Its thunk says which.
    pub const MAKES_LINK: &'static str = "makes the symbolic link ";
    /// How the obstacle of a command begins that leaves one file under two paths. What is computed are files of their own.
    pub const ONE_FILE: &'static str = "leaves as one file (a hard link) ";
    /// How the obstacle of a command begins that opens what the system makes up.
    pub const USES: &'static str = "uses ";
    /// What random numbers come from. A command that runs again takes new ones, as under make.
    pub const RANDOM: [&'static str; 2] = ["/dev/urandom", "/dev/random"];
    /// The obstacle of a command that asks for what is right for the processor on which it runs. Its thunk does not say which that was.
    pub const PROCESSOR: &'static str = "goes by this machine's processor";
    /// The obstacle of a command of which something that it starts is a thunk of its own.
    pub const PART_DEFERRED: &'static str = "a part of it was deferred";

    /// The obstacles of commands of which it is not known what they used.
    pub const UNSEEN: [&'static str; 3] = [
        "has another root, other mounts or namespaces of its own",
        "makes system calls of another architecture",
        "makes system calls that could not be looked into",
    ];

    /// Why nobody knows what it used, where that is so.
    #[must_use]
    pub fn unseen(&self) -> Option<&str> {
        self.obstacles.iter().map(|why| &**why).find(|why| Self::UNSEEN.contains(why))
    }

    /// May it have opened a file again by a descriptor of its own? Which one that was is not recorded.
    fn reopens(&self) -> bool {
        let by_descriptor = |why: &String| why.contains("/proc/self/fd/") || why.contains("/dev/fd/");
        self.obstacles.iter().any(by_descriptor)
    }

    /// Does it start commands of the build, so that what it reads decides which ones?
    #[must_use]
    pub fn drives(&self) -> bool {
        self.obstacles.iter().any(|obstacle| obstacle == Self::DRIVES)
    }
}

#[cfg(test)]
mod tests;
