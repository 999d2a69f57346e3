// SPDX-License-Identifier: Apache-2.0
//! Escapes: paths that a command looked for in vain in the sandbox, although something stands there on this machine.
//! Its model did not name them, so a run without them is not what the build would have seen. They are added to the
//! inputs, which makes another thunk; the paths are remembered with the first one (`thunk::completion`), so that
//! the next time the completed thunk is made at once, of the files as they are then.
//!
//! ```text
//!  T ── fails, observed: looked for x, y ──▶ T + x + y = T2 ── runs, looks for nothing more ──▶ reduction of T2
//!  T ── completion of T: x, y; both as before ──▶ T2 ──▶ reduction of T2 is known
//! ```
//!
//! The reduction belongs to T2. It is none of T's, which does not say what x and y were.
//!
//! # Limits
//!
//! - Only commands that fail are looked into (`worker`), those whose completion is known, and those whose inputs were learned.
//!   Another that does without what it does not find, and ends well, is taken at its word.
//! - The files are taken as they stand now, and not as they stood when the command was recorded.
//! - A file that others may not read, outside of where the command works, is not put into a store, which may be shared; nor
//!   can a placeholder be added whose thunk is not reduced. A run that looked for one of these fails, and says so.
//! - What a command would have found by listing a directory, and never asks for, is not added: a command whose inputs were learned fails
//!   where it lists another directory than it did then, and not all of it is there ([`unlisted`]). Of others it is not missed.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use observe::{Touches, Use};
use thunk::{Footprint, Input, Link, ObjectName, Placeholder, Reduction, Store, Thunk, Tree, is_made_up};

/// What lies there is other people's, except below the directories that a command works in.
const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/run"];

/// A thunk whose inputs were completed.
#[derive(Debug)]
pub struct Completed<'a> {
    /// The other thunk; the same one if nothing was to be added.
    pub thunk: Cow<'a, Thunk>,
    /// The paths that were added, as the command names them.
    pub paths: BTreeSet<PathBuf>,
    /// Files that are escapes and could not be added: which and why.
    pub withheld: Vec<String>,
}

impl<'a> Completed<'a> {
    /// The thunk as it is.
    pub fn none(thunk: &'a Thunk) -> Self {
        Self { thunk: Cow::Borrowed(thunk), paths: BTreeSet::new(), withheld: Vec::new() }
    }
}

/// A reduction that needs no run.
#[derive(Debug)]
pub struct Known {
    /// What the thunk gives.
    pub reduction: Reduction,
    /// It is that of the completed thunk: it holds for the files as they are now, and is no function of the name
    /// that was asked for.
    pub completed: bool,
}

/// The one place where reductions are looked up: that of the thunk, or of the thunk that its command turned out to need.
pub fn known(store: &Store, name: &ObjectName) -> Option<Known> {
    if let Some(reduction) = store.reduction(name) {
        return Some(Known { reduction, completed: false });
    }
    let paths = store.completion(name);
    if paths.is_empty() {
        return None;
    }
    // Whatever is wrong here is told when the thunk is run instead.
    let thunk = store.thunk(name).ok()?;
    let completed = complete(store, &thunk, &paths).ok()?;
    if completed.paths.is_empty() || !completed.withheld.is_empty() {
        return None;
    }
    let reduction = store.reduction(&completed.thunk.name())?;
    Some(Known { reduction, completed: true })
}

/// What a command did not get although it asked.
pub fn looked_for(touches: &Touches) -> impl Iterator<Item = PathBuf> {
    let denied = touches.with(Use::Denied).map(|(path, _)| path);
    touches.missing().chain(denied).map(Path::to_path_buf)
}

/// A directory that a command listed which it did not list when its inputs were learned, and what stands there on this machine that it
/// has not found.
///
/// # Errors
/// The store is damaged.
pub fn unlisted(store: &Store, thunk: &Thunk, touches: &Touches) -> Result<Option<(PathBuf, PathBuf)>> {
    let new: Vec<(&Path, PathBuf)> = touches
        .with(Use::Listed)
        // What a command has made itself is not there.
        .filter_map(|(path, _)| Some((path, std::fs::canonicalize(path).ok()?)))
        .filter(|(_, real)| !thunk.listed.contains(real))
        .collect();
    if new.is_empty() {
        return Ok(None);
    }
    let trees = thunk.trees.iter().map(|tree| store.tree(tree)).collect::<thunk::Result<Vec<_>>>()?;
    let (place, present) = (Place::of(thunk, &trees, store.root()), Present::of(thunk, &trees));
    for (directory, real) in new {
        let Ok(entries) = std::fs::read_dir(&real) else { continue };
        let mut names = entries.flatten().map(|entry| real.join(entry.file_name()));
        if let Some(path) = names.find(|path| place.concerns(path) && !present.has(path)) {
            return Ok(Some((directory.to_path_buf(), path)));
        }
    }
    Ok(None)
}

/// Of each of these paths: could a change there matter to others? Not where all leave what they need for a moment.
///
/// # Errors
/// The store is damaged.
pub fn concerns<'a>(
    store: &Store,
    thunk: &Thunk,
    paths: impl Iterator<Item = &'a Path>,
) -> Result<Vec<bool>> {
    let trees = thunk.trees.iter().map(|tree| store.tree(tree)).collect::<thunk::Result<Vec<_>>>()?;
    let place = Place::of(thunk, &trees, store.root());
    Ok(paths.map(|path| place.concerns(path)).collect())
}

/// Adds those of the paths that are escapes to the inputs, with the symbolic links on the way. What is gone by now is passed
/// over.
///
/// # Errors
/// The store is damaged or cannot be written to.
pub fn complete<'a>(store: &Store, thunk: &'a Thunk, paths: &BTreeSet<PathBuf>) -> Result<Completed<'a>> {
    let mut completed = Completed::none(thunk);
    if paths.is_empty() {
        return Ok(completed);
    }
    let trees = thunk.trees.iter().map(|tree| store.tree(tree)).collect::<thunk::Result<Vec<_>>>()?;
    let place = Place::of(thunk, &trees, store.root());
    let mut present = Present::of(thunk, &trees);
    for path in paths.iter().filter(|path| place.is_escape(path)) {
        let mut footprint = Footprint::default();
        if footprint.add(path).is_err() {
            continue;
        }
        let mut files = Vec::new();
        let new: Vec<_> = footprint.files.paths().filter(|file| !present.has(file)).collect();
        for file in &new {
            match content(store, &place, file)? {
                Ok(input) => files.push(input),
                Err(why) => completed.withheld.push(format!("{}, which {why}", file.display())),
            }
        }
        if files.len() < new.len() {
            continue;
        }
        let is_new = |path: &Path| !present.has(path) && thunk.made_link(path).is_none();
        let links: Vec<_> = footprint.links.into_iter().filter(|(path, _)| is_new(path)).collect();
        let directories: Vec<_> = footprint.directories.into_iter().filter(|d| !present.has(d)).collect();
        if files.is_empty() && links.is_empty() && directories.is_empty() {
            continue;
        }
        let thunk = completed.thunk.to_mut();
        for (path, value, executable) in files {
            present.add(&path);
            let list = if executable { &mut thunk.executables } else { &mut thunk.values };
            list.push(Input { path, value });
        }
        for (path, target) in links {
            present.add(&path);
            thunk.links.push(Link { path, target });
        }
        for path in directories {
            present.add(&path);
            thunk.directories.push(path);
        }
        completed.paths.insert(path.clone());
    }
    if let Cow::Owned(thunk) = &mut completed.thunk {
        thunk.canonicalise();
    }
    Ok(completed)
}

/// What stands at the real path `file`, put into the store; or why not.
fn content(
    store: &Store,
    place: &Place<'_>,
    file: &Path,
) -> Result<std::result::Result<(PathBuf, ObjectName, bool), String>> {
    // Keys and the like are kept by their modes. A store may be shared.
    let public = std::fs::metadata(file).is_ok_and(|m| m.mode() & 0o004 != 0);
    if !public && !file.starts_with(place.workdir) {
        return Ok(Err("is not for everybody to read".into()));
    }
    if let Err(error) = File::open(file) {
        return Ok(Err(format!("cannot be read: {error}")));
    }
    let placeholder = match Placeholder::read(file) {
        Ok(Some(placeholder)) => placeholder,
        Ok(None) => {
            let (value, executable) = store.put_file(file)?;
            return Ok(Ok((file.into(), value, executable)));
        }
        Err(error) => return Ok(Err(format!("cannot be used: {error}"))),
    };
    if placeholder.store != store.root() {
        return Ok(Err(format!("is a placeholder of another store, {}", placeholder.store.display())));
    }
    let output = &placeholder.output;
    let reduction = store.reduction(&output.thunk);
    match reduction.as_ref().and_then(|reduction| reduction.output(output.output.as_deref())) {
        Some(output) => Ok(Ok((file.into(), output.value, output.executable))),
        None => Ok(Err("is not computed yet: force it first, then this again".into())),
    }
}

/// Where a command works: decides what concerns it.
struct Place<'a> {
    /// The working directory and those of the inputs.
    homes: BTreeSet<&'a Path>,
    workdir: &'a Path,
    outputs: BTreeSet<&'a Path>,
    made: &'a [PathBuf],
    store: &'a Path,
}

impl<'a> Place<'a> {
    fn of(thunk: &'a Thunk, trees: &'a [Tree], store: &'a Path) -> Self {
        let inputs = thunk.values.iter().chain(&thunk.executables).map(|i| i.path.as_path());
        let inputs = inputs.chain(thunk.thunks.iter().map(|t| t.path.as_path()));
        let inputs = inputs.chain(trees.iter().flat_map(Tree::entries).map(|e| e.path.as_path()));
        let homes = inputs.filter_map(Path::parent).chain(thunk.workdir.as_deref()).collect();
        let outputs = thunk.outputs.iter().chain(&thunk.optional_outputs).map(PathBuf::as_path);
        let outputs = outputs.chain(thunk.made_links.iter().map(|link| link.path.as_path())).collect();
        let workdir = thunk.workdir.as_deref().unwrap_or(Path::new("/nowhere"));
        Self { homes, workdir, outputs, made: &thunk.made, store }
    }

    /// Does something stand there on this machine that the command would have found, had it not been in the sandbox?
    fn is_escape(&self, path: &Path) -> bool {
        let Ok(real) = std::fs::canonicalize(path) else { return false };
        self.concerns(path)
            && self.concerns(&real)
            && std::fs::metadata(&real).is_ok_and(|m| m.is_file() || m.is_dir())
    }

    /// Could what stands at this path matter to the command? Not its own outputs: what is there now is what it left, or
    /// shall leave; nor what is below a directory that it makes itself. Not the store, which it does not know of.
    fn concerns(&self, path: &Path) -> bool {
        let is_made = self.made.iter().any(|directory| path.starts_with(directory));
        if is_made || self.outputs.contains(path) || path.starts_with(self.store) {
            return false;
        }
        // Made for each sandbox.
        if is_made_up(path) {
            return false;
        }
        !TEMPORARY.iter().any(|t| path.starts_with(t)) || self.is_home(path)
    }

    /// Is it below a directory in which the command works? One that everybody uses does not count as such.
    fn is_home(&self, path: &Path) -> bool {
        let common = |d: &Path| d == Path::new("/") || TEMPORARY.iter().any(|t| d == Path::new(t));
        path.ancestors().any(|d| self.homes.contains(d) && !common(d))
    }
}

/// Everything that the command finds where it runs.
struct Present(BTreeSet<PathBuf>);

impl Present {
    fn of(thunk: &Thunk, trees: &[Tree]) -> Self {
        let mut all = BTreeSet::new();
        all.extend(trees.iter().flat_map(Tree::entries).map(|entry| entry.path.clone()));
        all.extend(thunk.values.iter().chain(&thunk.executables).map(|i| i.path.clone()));
        all.extend(thunk.thunks.iter().map(|t| t.path.clone()));
        all.extend(thunk.links.iter().map(|l| l.path.clone()));
        all.extend(thunk.directories.iter().cloned());
        all.extend(thunk.workdir.clone());
        let outputs = thunk.outputs.iter().chain(&thunk.optional_outputs);
        let outputs = outputs.chain(thunk.made_links.iter().map(|link| &link.path));
        all.extend(outputs.filter_map(|o| o.parent()).map(Path::to_path_buf));
        Self(all)
    }

    fn add(&mut self, path: &Path) {
        self.0.insert(path.into());
    }

    /// Is it there, or anything below it?
    fn has(&self, path: &Path) -> bool {
        // Paths are ordered by component: what is below a directory follows it.
        let from = (Bound::Included(path), Bound::Unbounded);
        self.0.range::<Path, _>(from).next().is_some_and(|next| next.starts_with(path))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use thunk::{ObjectKind, OutputRef, ReducedOutput, Tree, TreeEntry, TreeNode};

    use super::*;

    /// A directory with a store, and a thunk that works in `w` there.
    fn space() -> (tempfile::TempDir, PathBuf, Store, Thunk) {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let store = Store::open(&root.join("store")).unwrap();
        std::fs::create_dir(root.join("w")).unwrap();
        let thunk = Thunk {
            function: Some(ObjectName::of(ObjectKind::Value, b"f")),
            args: vec!["f".into()],
            outputs: vec![root.join("w/out")],
            workdir: Some(root.join("w")),
            program: Some("/bin/f".into()),
            ..Thunk::default()
        };
        (dir, root, store, thunk)
    }

    fn of(paths: &[&Path]) -> BTreeSet<PathBuf> {
        paths.iter().map(|path| path.to_path_buf()).collect()
    }

    #[test]
    fn what_concerns_a_command() {
        let thunk = |workdir: &str, input: &str| Thunk {
            workdir: Some(workdir.into()),
            outputs: vec!["/home/u/p/a.o".into()],
            values: vec![Input { path: input.into(), value: ObjectName::of(ObjectKind::Value, b"") }],
            ..Thunk::default()
        };
        let concerns = |thunk: &Thunk, path: &str| {
            Place::of(thunk, &[], Path::new("/home/u/.cache/gg")).concerns(Path::new(path))
        };
        let home = thunk("/home/u/p", "/home/u/p/a.c");
        for path in ["/usr/lib/x/y.spec", "/etc/passwd", "/home/u/p/a.h", "/home/u/q", "/devel/x", "/opt"] {
            assert!(concerns(&home, path), "{path}");
        }
        for path in ["/proc/self/maps", "/dev/tty", "/sys", "/run/x", "/tmp/y", "/var/tmp/z", "/home/u/p/a.o"]
        {
            assert!(!concerns(&home, path), "{path}");
        }
        assert!(!concerns(&home, "/home/u/.cache/gg/blobs/V"));
        let temporary = thunk("/tmp/build/obj", "/run/user/0/src/a.c");
        for path in ["/tmp/build/obj/a.h", "/run/user/0/src/inc/a.h"] {
            assert!(concerns(&temporary, path), "{path}");
        }
        for path in ["/tmp/other", "/tmp/build/b", "/run/user/0/bus"] {
            assert!(!concerns(&temporary, path), "{path}");
        }
        // Whoever works in /tmp itself does not own what others have there.
        assert!(!concerns(&thunk("/tmp", "/tmp/a.c"), "/tmp/b.h"));
    }

    #[test]
    fn files_links_and_directories_are_added_and_the_rest_is_not() {
        let (_dir, root, store, thunk) = space();
        let w = root.join("w");
        std::fs::write(w.join("real.h"), "int x;").unwrap();
        symlink("real.h", w.join("link.h")).unwrap();
        std::fs::create_dir(w.join("empty")).unwrap();
        std::fs::write(w.join("out"), "of before").unwrap();
        std::fs::write(root.join("tool"), "#!").unwrap();
        std::fs::set_permissions(root.join("tool"), std::fs::Permissions::from_mode(0o755)).unwrap();
        symlink(root.join("tool"), w.join("tool")).unwrap();
        let asked = of(&[
            &w.join("link.h"),
            &w.join("empty"),
            &w.join("out"),
            &w.join("nothing"),
            &w.join("tool"),
            Path::new("/dev/null"),
        ]);
        let completed = complete(&store, &thunk, &asked).unwrap();
        assert_eq!(completed.paths, of(&[&w.join("link.h"), &w.join("empty")]));
        assert_eq!(completed.withheld, Vec::<String>::new());
        let value = store.put(ObjectKind::Value, b"int x;").unwrap();
        assert_eq!(completed.thunk.values, [Input { path: w.join("real.h"), value }]);
        assert_eq!(completed.thunk.links, [Link { path: w.join("link.h"), target: "real.h".into() }]);
        assert_eq!(completed.thunk.directories, [w.join("empty")]);
        // The result is a thunk that can be stored, and nothing is missing in it.
        let name = store.put_thunk(&completed.thunk).unwrap();
        let stored = store.thunk(&name).unwrap();
        assert_eq!(stored, *completed.thunk);
        assert!(complete(&store, &stored, &asked).unwrap().paths.is_empty());
    }

    #[test]
    fn what_a_tree_holds_is_there() {
        let (_dir, root, store, mut thunk) = space();
        let file = root.join("w/t/x.h");
        std::fs::create_dir(root.join("w/t")).unwrap();
        std::fs::write(&file, "now").unwrap();
        let value = store.put(ObjectKind::Value, b"then").unwrap();
        let node = TreeNode::File { value, executable: false };
        let tree = Tree::new(vec![TreeEntry { path: file.clone(), node }]);
        thunk.trees.push(store.put_tree(&tree).unwrap());
        let completed = complete(&store, &thunk, &of(&[&file, &root.join("w/t")])).unwrap();
        assert_eq!(*completed.thunk, thunk);
    }

    #[test]
    fn private_files_are_withheld_unless_the_command_works_there() {
        let (_dir, root, store, mut thunk) = space();
        // Elsewhere than in /tmp, as far as the thunk knows: below no directory of its own.
        let private = root.join("w/key");
        std::fs::write(&private, "secret").unwrap();
        std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(complete(&store, &thunk, &of(&[&private])).unwrap().paths.len(), 1);
        thunk.workdir = Some("/elsewhere".into());
        let place = Place::of(&thunk, &[], store.root());
        let why = content(&store, &place, &private).unwrap().unwrap_err();
        assert!(why.contains("not for everybody"), "{why}");
    }

    #[test]
    fn a_placeholder_counts_as_what_it_stands_for() {
        let (_dir, root, store, thunk) = space();
        let name = ObjectName::of(ObjectKind::Thunk, b"t");
        let path = root.join("w/gen.h");
        let output = OutputRef { thunk: name, output: Some(path.clone()) };
        let text = Placeholder { output, store: store.root().into() }.encode(Path::new("/gg")).unwrap();
        std::fs::write(&path, text).unwrap();
        let completed = complete(&store, &thunk, &of(&[&path])).unwrap();
        assert_eq!(*completed.thunk, thunk);
        assert!(
            completed.withheld[0].contains("gen.h, which is not computed yet"),
            "{:?}",
            completed.withheld
        );
        let value = store.put(ObjectKind::Value, b"#define N 1").unwrap();
        let outputs = vec![ReducedOutput { path: path.clone(), value, executable: false }];
        store.put_reduction(&name, &Reduction { outputs, ..Reduction::default() }).unwrap();
        let completed = complete(&store, &thunk, &of(&[&path])).unwrap();
        assert_eq!(completed.thunk.values, [Input { path, value }]);
    }

    #[test]
    fn a_completion_holds_for_the_files_as_they_are_now() {
        let (_dir, root, store, thunk) = space();
        let name = store.put_thunk(&thunk).unwrap();
        let spec = root.join("w/y.spec");
        std::fs::write(&spec, "one").unwrap();
        let completed = complete(&store, &thunk, &of(&[&spec])).unwrap();
        assert!(known(&store, &name).is_none());
        store.put_completion(&name, &completed.paths).unwrap();
        assert!(known(&store, &name).is_none(), "it did not run yet");
        store.put_reduction(&completed.thunk.name(), &Reduction::default()).unwrap();
        assert!(known(&store, &name).unwrap().completed);
        std::fs::write(&spec, "two").unwrap();
        assert!(known(&store, &name).is_none());
        std::fs::remove_file(&spec).unwrap();
        assert!(known(&store, &name).is_none());
        std::fs::write(&spec, "one").unwrap();
        assert!(known(&store, &name).is_some());
    }
}
