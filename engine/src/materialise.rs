// SPDX-License-Identifier: Apache-2.0
//! Puts results where their placeholders stand: written beside, with the placeholder's owner, mode and mtime, then renamed. So
//! make sees a file that is as old as the command it replaced, in a directory that is as old as it was: some rules have one among their
//! prerequisites.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{File, FileTimes, Metadata, Permissions};
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, available_parallelism};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use thunk::{AtomicFile, FileFacts, Hasher, OutputRef, Placeholder, ReducedOutput, Standing, Store};

/// A thread for fewer targets is not worth starting, nor is it worth waking another one for fewer,
const FEW: usize = 16;
/// unless they are so large together.
const LARGE: u64 = 1 << 20;
/// So many files may be open at once, two for each target; there may be no more than 1,024 in all.
const OPEN: usize = 256;

type Wanted<'a> = (Target, Option<&'a ReducedOutput>);

/// Takes the next targets for one thread.
fn next_block<'a, 'b>(rest: &mut &'a [Wanted<'b>], most: usize) -> &'a [Wanted<'b>] {
    let mut size = 0;
    let small = rest.iter().take(most).take_while(|(_, output)| {
        let is_room = size < LARGE;
        size += output.map_or(0, |output| output.value.size());
        is_room
    });
    let block;
    (block, *rest) = rest.split_at(small.count());
    block
}

/// Where a result is to be put.
#[derive(Clone, Debug)]
pub struct Target {
    /// The path, symbolic links resolved.
    pub path: PathBuf,
    /// What is to stand there.
    pub output: OutputRef,
    /// What stands there now.
    pub place: Place,
}

/// What stands where a result is to be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its placeholder, which decides about mode and time.
    Placeholder,
    /// Nothing, or something that is to be replaced.
    Anything {
        /// The result gets this time.
        modified: SystemTime,
        /// And this mode.
        mode: Mode,
    },
}

/// The permissions of a file that is put where none is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// The mask of the command that made it.
    pub umask: u32,
    /// What was given to it, if that is known.
    pub given: Option<u32>,
}

impl Mode {
    fn of(self, output: &ReducedOutput) -> u32 {
        self.given.unwrap_or((if output.executable { 0o777 } else { 0o666 }) & !self.umask)
    }
}

/// Puts results in place.
pub struct Placer<'a> {
    store: &'a Store,
    /// Placeholders with several names that were replaced under one of them: by device and inode, and by what they stood for,
    /// since inodes are used again; that name, and the inode that it has now. The other names stay names of the same file.
    linked: HashMap<(u64, u64, OutputRef), (PathBuf, u64)>,
}

impl<'a> Placer<'a> {
    /// Nothing placed yet.
    pub fn new(store: &'a Store) -> Self {
        Self { store, linked: HashMap::new() }
    }

    /// Replaces placeholders by outputs, with all processors: nearly all of it is copying. `None` removes one, where the command does not
    /// write the file. Nothing happens where something else stands by now. `failed` is told of each file that cannot be
    /// written, whose placeholder stays, and of objects in the store that are damaged.
    pub fn put_all(&mut self, all: &[Wanted<'_>], mut failed: impl FnMut(&Target, &anyhow::Error)) {
        let store = self.store;
        let mut take = |(target, output): &Wanted<'_>, step: Result<Step>| {
            if let Err(error) = step.and_then(|step| self.take(target, *output, step)) {
                failed(target, &error);
            }
        };
        // Asking for their number takes a dozen calls: not for each result of a thunk.
        let parts = all.len() / FEW;
        let threads = if parts < 2 { 1 } else { available_parallelism().map_or(1, NonZero::get).min(parts) };
        if threads < 2 {
            return all.iter().for_each(|one| take(one, prepare(store, &one.0, one.1)));
        }
        // Of what the threads have, what is on its way, and what is taken.
        let most = (OPEN / 2 / (threads + 2)).clamp(1, FEW);
        let rest = Mutex::new(all);
        thread::scope(|scope| {
            let (send, steps) = sync_channel(1);
            for _ in 0..threads {
                let (send, rest) = (send.clone(), &rest);
                scope.spawn(move || {
                    loop {
                        let block =
                            next_block(&mut rest.lock().unwrap_or_else(PoisonError::into_inner), most);
                        let steps = block.iter().map(|one| (one, prepare(store, &one.0, one.1)));
                        if block.is_empty() || send.send(steps.collect::<Vec<_>>()).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(send);
            // One after the other: a directory gets the time back that it had before each.
            steps.into_iter().flatten().for_each(|(one, step)| take(one, step));
        });
    }

    fn take(&mut self, target: &Target, output: Option<&ReducedOutput>, step: Step) -> Result<()> {
        let path = &target.path;
        match (step, output) {
            (Step::Done, _) => Ok(()),
            (Step::Replace(standing, file), Some(output)) => self.replace(target, output, &standing, file),
            (Step::Replace(..), None) => {
                std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
            }
        }
    }

    fn replace(
        &mut self,
        target: &Target,
        output: &ReducedOutput,
        standing: &Standing,
        file: Option<AtomicFile>,
    ) -> Result<()> {
        let path = &target.path;
        let metadata = &standing.metadata;
        let key = (metadata.dev(), metadata.ino(), target.output.clone());
        let directory = path.parent().unwrap_or(Path::new("/"));
        if let Some((first, placed)) = self.linked.get(&key) {
            // Before anything gets a name there.
            let age = Age::of(directory);
            if let Ok(file) = AtomicFile::link_in(directory, first)
                && file.file().metadata()?.ino() == *placed
            {
                file.commit(path)?;
                age.inspect(Age::restore);
                return Ok(());
            }
        }
        let file = match file {
            Some(file) => file,
            None => written(self.store, path, output, metadata)?,
        };
        // The build may go on while this runs: it renames, touches or links placeholders.
        let age = Age::of(directory);
        let mut replaced = None;
        let put = file.exchange(path, |was, file| {
            let Ok(now) = std::fs::metadata(was) else { return false };
            let right = standing.is(&now)
                || Placeholder::read_to_replace(was)
                    .is_ok_and(|p| p.is_some_and(|p| p.output == target.output));
            if right {
                replaced = Some(follow(file, metadata, &now).map(|inode| (inode, now.nlink())));
            }
            right
        })?;
        if let (true, Some(followed)) = (put, replaced) {
            let (inode, names) = followed?;
            if names > 1 {
                self.linked.insert(key, (path.clone(), inode));
            }
            age.inspect(Age::restore);
        }
        Ok(())
    }
}

/// What is still to be done about a target.
enum Step {
    Done,
    /// This placeholder goes: for this file, if it is written already.
    Replace(Box<Standing>, Option<AtomicFile>),
}

/// All that can be done before anything changes in the tree, but for results that do not stand where a placeholder does: these are put.
fn prepare(store: &Store, target: &Target, output: Option<&ReducedOutput>) -> Result<Step> {
    let path = &target.path;
    if let Place::Anything { modified, mode } = target.place {
        // An output that the command does not always write, and did not.
        let Some(output) = output else { return Ok(Step::Done) };
        return place_value(store, path, output, modified, mode).map(|()| Step::Done);
    }
    let Some(standing) = Standing::at(path)?.filter(|there| there.placeholder.output == target.output) else {
        return Ok(Step::Done);
    };
    let metadata = &standing.metadata;
    // One with several names may become a name of what stands at another one.
    let file = match output {
        Some(output) if metadata.nlink() == 1 => Some(written(store, path, output, metadata)?),
        _ => None,
    };
    Ok(Step::Replace(Box::new(standing), file))
}

/// The output, to be put where a placeholder stands that looks like this.
fn written(store: &Store, path: &Path, output: &ReducedOutput, as_is: &Metadata) -> Result<AtomicFile> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mode = as_is.mode() & 0o7777;
    let mut file = AtomicFile::nameless_in(directory, mode & 0o777)?;
    copy(store, output, &mut file).with_context(|| format!("cannot write {}", path.display()))?;
    let placed = file.file().metadata()?;
    if (as_is.uid(), as_is.gid()) != (placed.uid(), placed.gid()) {
        // Who may not give it away has not given the placeholder away either: somebody else has.
        let _ = fchown(file.file(), Some(as_is.uid()), Some(as_is.gid()));
    }
    if placed.mode() & 0o7777 != mode {
        file.file().set_permissions(Permissions::from_mode(mode))?;
    }
    let times = FileTimes::new().set_accessed(as_is.accessed()?).set_modified(as_is.modified()?);
    file.file().set_times(times)?;
    Ok(file)
}

/// What was done to a placeholder since it was looked at is done to the file that takes its place. Tells that one's inode.
fn follow(file: &File, before: &Metadata, now: &Metadata) -> std::io::Result<u64> {
    if now.modified()? != before.modified()? {
        file.set_modified(now.modified()?)?;
    }
    if now.mode() != before.mode() {
        file.set_permissions(now.permissions())?;
    }
    if now.nlink() > 1 { Ok(file.metadata()?.ino()) } else { Ok(0) }
}

/// How old a directory is. To replace a file under its name leaves the directory with the names it had.
struct Age<'a> {
    directory: &'a Path,
    modified: libc::timespec,
}

impl<'a> Age<'a> {
    fn of(directory: &'a Path) -> Option<Self> {
        let metadata = std::fs::metadata(directory).ok()?;
        let modified = libc::timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() };
        Some(Self { directory, modified })
    }

    /// Somebody else's directory stays as it is.
    fn restore(&self) {
        let Ok(path) = CString::new(self.directory.as_os_str().as_bytes()) else { return };
        let unchanged = libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT };
        let times = [unchanged, self.modified];
        // SAFETY: a NUL-terminated path and two times, which live until the call returns.
        unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), 0) };
    }
}

/// Puts a result where something else stands, or nothing, with the directories above it. What is there already stays.
///
/// # Errors
/// The file cannot be written, or the store's object is damaged.
pub fn place_value(
    store: &Store,
    path: &Path,
    output: &ReducedOutput,
    modified: SystemTime,
    mode: Mode,
) -> Result<()> {
    if let Ok(metadata) = std::fs::symlink_metadata(path)
        && metadata.is_file()
    {
        let facts = FileFacts::of(&metadata);
        let there = store.name_of(path, &facts).is_ok_and(|name| name == output.value);
        if there && (facts.executable || !output.executable) {
            return Ok(());
        }
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut file = AtomicFile::nameless_in(directory, 0o600)?;
    copy(store, output, &mut file).with_context(|| format!("cannot write {}", path.display()))?;
    file.file().set_permissions(Permissions::from_mode(mode.of(output)))?;
    file.file().set_times(FileTimes::new().set_accessed(modified).set_modified(modified))?;
    Ok(file.commit(path)?)
}

/// Copies and checks: what is not as its name says is not used.
fn copy(store: &Store, output: &ReducedOutput, to: &mut AtomicFile) -> Result<()> {
    let name = output.value;
    let source = store.find(&name).with_context(|| format!("{name} is not in the store"))?;
    let mut from = File::open(&source)?;
    let mut hasher = Hasher::new();
    let mut buffer = [0u8; 1 << 15];
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n])?;
    }
    let actual = hasher.finish(name.kind());
    if actual != name {
        bail!("{}: content is not what its name says; remove the file and force again", source.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use thunk::{ObjectKind, ObjectName};

    use super::*;

    fn put(placer: &mut Placer<'_>, target: &Target, output: Option<&ReducedOutput>) -> Result<(), String> {
        let mut result = Ok(());
        placer.put_all(&[(target.clone(), output)], |_, error| result = Err(format!("{error:#}")));
        result
    }

    #[test]
    fn a_result_takes_the_place_mode_and_time_of_its_placeholder() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s")).unwrap();
        let value = store.put(ObjectKind::Value, b"object code").unwrap();
        let output =
            OutputRef { thunk: ObjectName::of(ObjectKind::Thunk, b"t"), output: Some("/a.o".into()) };
        let path = dir.path().join("a.o");
        let text = Placeholder { output: output.clone(), store: store.root().into() }
            .encode(Path::new("/gg"))
            .unwrap();
        std::fs::write(&path, &text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let before = std::fs::metadata(&path).unwrap();
        let target = Target { path: path.clone(), output, place: Place::Placeholder };
        let mut placer = Placer::new(&store);
        let reduced = ReducedOutput { path: "/a.o".into(), value, executable: false };
        put(&mut placer, &target, Some(&reduced)).unwrap();
        let after = std::fs::metadata(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"object code");
        assert_eq!((before.mtime_nsec(), before.mode()), (after.mtime_nsec(), after.mode()));
        // Nothing is done to what is no longer that placeholder.
        std::fs::write(&path, "edited").unwrap();
        put(&mut placer, &target, Some(&reduced)).unwrap();
        put(&mut placer, &target, None).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"edited");
        // A damaged object is not used.
        std::fs::write(&path, &text).unwrap();
        std::fs::write(store.find(&value).unwrap(), "object Code").unwrap();
        assert!(put(&mut placer, &target, Some(&reduced)).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), text);
    }

    #[test]
    fn a_result_takes_the_place_of_anything_that_is_not_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s")).unwrap();
        let value = store.put(ObjectKind::Value, b"program").unwrap();
        let output = OutputRef { thunk: ObjectName::of(ObjectKind::Thunk, b"t"), output: None };
        let path = dir.path().join("not/yet/there");
        let modified = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let place = Place::Anything { modified, mode: Mode { umask: 0o027, given: None } };
        let target = Target { path: path.clone(), output, place };
        let mut placer = Placer::new(&store);
        let mut reduced = ReducedOutput { path: "/p".into(), value, executable: true };
        for before in [None, Some("something else")] {
            if let Some(before) = before {
                std::fs::write(&path, before).unwrap();
            }
            put(&mut placer, &target, Some(&reduced)).unwrap();
            let metadata = std::fs::metadata(&path).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"program");
            assert_eq!((metadata.mode() & 0o7777, metadata.modified().unwrap()), (0o750, modified));
        }
        // What is right already keeps its time; an output that was not written changes nothing.
        File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        reduced.executable = false;
        put(&mut placer, &target, Some(&reduced)).unwrap();
        put(&mut placer, &target, None).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn names_of_one_placeholder_become_names_of_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let store = Store::open(&root.join("s")).unwrap();
        let value = store.put(ObjectKind::Value, b"program").unwrap();
        let output = OutputRef { thunk: ObjectName::of(ObjectKind::Thunk, b"t"), output: None };
        let text = Placeholder { output: output.clone(), store: store.root().into() }
            .encode(Path::new("/gg"))
            .unwrap();
        std::fs::write(root.join("git"), &text).unwrap();
        std::fs::hard_link(root.join("git"), root.join("git-add")).unwrap();
        let reduced = ReducedOutput { path: "/git".into(), value, executable: true };
        let mut placer = Placer::new(&store);
        for name in ["git", "git-add"] {
            let target = Target { path: root.join(name), output: output.clone(), place: Place::Placeholder };
            put(&mut placer, &target, Some(&reduced)).unwrap();
        }
        let [a, b] = ["git", "git-add"].map(|name| std::fs::metadata(root.join(name)).unwrap());
        assert_eq!((a.ino(), a.nlink(), a.len()), (b.ino(), 2, 7));
    }

    #[test]
    fn many_are_put_at_once_as_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let store = Store::open(&root.join("s")).unwrap();
        let count = FEW * 8;
        let outputs: Vec<ReducedOutput> = (0..count)
            .map(|number| {
                let text = number.to_string().repeat(1000);
                let value = store.put(ObjectKind::Value, text.as_bytes()).unwrap();
                ReducedOutput { path: number.to_string().into(), value, executable: false }
            })
            .collect();
        std::fs::remove_file(store.find(&outputs[5].value).unwrap()).unwrap();
        let mut all = Vec::new();
        for (number, reduced) in outputs.iter().enumerate() {
            let thunk = ObjectName::of(ObjectKind::Thunk, &number.to_ne_bytes());
            let output = OutputRef { thunk, output: None };
            let text = Placeholder { output: output.clone(), store: store.root().into() };
            let place = |name: String| Target {
                path: root.join(name),
                output: output.clone(),
                place: Place::Placeholder,
            };
            let (target, other) = (place(number.to_string()), place(format!("{number}-too")));
            std::fs::write(&target.path, text.encode(Path::new("/gg")).unwrap()).unwrap();
            if number % 3 == 0 {
                std::fs::hard_link(&target.path, &other.path).unwrap();
                all.push((other, Some(reduced)));
            }
            all.push((target, Some(reduced)));
        }
        let modified = || std::fs::metadata(&root).unwrap().modified().unwrap();
        let before = modified();
        let mut failed = Vec::new();
        Placer::new(&store).put_all(&all, |target, _| failed.push(target.path.clone()));
        assert_eq!(failed, [root.join("5")]);
        for number in (0..count).filter(|number| *number != 5) {
            let path = root.join(number.to_string());
            assert_eq!(std::fs::read(&path).unwrap(), number.to_string().repeat(1000).as_bytes());
            if number % 3 == 0 {
                let other = std::fs::metadata(root.join(format!("{number}-too"))).unwrap();
                assert_eq!(other.ino(), std::fs::metadata(&path).unwrap().ino(), "{number}");
            }
        }
        assert_eq!(modified(), before);
    }
}
