// SPDX-License-Identifier: Apache-2.0
//! Learned models: a command that was observed once can be deferred when it comes again. What it did is remembered in the
//! store under its arguments, directory and environment.
//!
//! - All that it used is as it was, and what it looked for in vain is still missing: its thunk is the same, and is reduced.
//! - Files of the project have other contents: a thunk with these and everything else as it was, and with all that stands in what it
//!   listed elsewhere (`listed`). Nobody knows that the command will
//!   not want other files now: when the thunk is forced, its run is observed, and its inputs are completed. Nor that it will write
//!   the same ones: so all that it wrote must be named among its arguments, the programs that it started must be as they were, and to write
//!   other files makes the forced run fail.
//! - A file about which it asked has another time or mode, or something else is different of which no content tells: it may write that
//!   down (`circumstances`), so it runs.
//! - Anything else is different: it runs, observed, and is remembered anew.
//!
//! What it writes may be there from the last time, and it may be one that acts on that: `cat x >>y`, `test -f y || …`.
//! So one memory is kept of how it did where there was none of what it could tell of, and one of how it did where there
//! was some, as after an edit.
//!
//! Knows nothing of why a command may be deferred at all; that it prints nothing, and has no effect but its files, is what makes it one
//! that can be: it has no obstacles.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{Hash as _, Hasher};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thunk::trace::{self, Observed, Trace, Uses};
use thunk::{
    FailedThunks, FileFacts, Input, ObjectKind, ObjectName, OutputRef, Placeholder, Reduction, Store, Thunk,
    ThunkInput, TreeNode, has_no_content,
};
use wire::{Descriptor, FdIdentity};

use crate::defer::{Deferred, fits, is_free, placeholder};
use crate::descriptors;
use crate::key;
use crate::placing::Placing;
use crate::recorder::Recorder;
use crate::request::Exec;
use crate::watch::environment;
use circumstances::{Before, Circumstances, Known, Process};

mod circumstances;
mod listed;

/// The kind of a command that was deferred so.
pub const LEARNED: &str = "learned";

/// The obstacle of a command that writes down how old its inputs are, but where these are as old as they were.
pub const SHOWS_TIMES: &str = "writes down how old a file is";

/// All commands that are remembered.
#[derive(Debug)]
pub struct Learned {
    directory: PathBuf,
}

/// What is known of a command before it runs.
#[derive(Debug)]
pub struct Place {
    /// Where it is kept what it did, where there was none of its outputs and where there was some.
    files: [PathBuf; 2],
    /// Its process.
    process: Process,
    /// What is known to be its outputs, before it runs.
    before: Before,
}

impl Learned {
    /// In this directory of a store's cache.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Remembers what a command did, instead of what it did before. Neither its place in the recording nor when it ran nor where its
    /// descriptors led is kept: of what did the same again only the time is new. `shown`: the files whose times show in what it left;
    /// `began`: when the build did.
    pub fn put(
        &self,
        place: &Place,
        command: trace::Command,
        observed: Observed,
        shown: &[PathBuf],
        began: SystemTime,
    ) -> thunk::Result<()> {
        let again = observed.touches.iter().any(|touch| touch.uses.has(Uses::AGAIN));
        let path = &place.files[usize::from(again)];
        // To make the record again, and compare that, takes a tenth of all that the recorder does about a command.
        let summary = summary(&command, &observed);
        let (process, before) = (place.process, &place.before);
        let known = Known { process, cwd: &command.cwd, shown, began, before };
        let mut circumstances = Circumstances::of(&observed.touches, &known);
        if let Some((of_it, before)) = head(path) {
            circumstances = circumstances.after(&before, of_it == summary);
            if (of_it, &before) == (summary, &circumstances) && is_as_new(path).is_ok() {
                return Ok(());
            }
        }
        let command = trace::Command { id: 1, parent: 0, at_us: 0, took_us: 0, ..command };
        let observed = Observed { id: 1, ended_us: 0, descriptors: Vec::new(), ..observed };
        let trace = Trace {
            cwd: command.cwd.clone(),
            argv: command.argv.clone(),
            commands: vec![command],
            observed: vec![observed],
            ..Trace::default()
        };
        thunk::write_atomically(path, &[&summary, &*circumstances.encode(), &*trace.encode()].concat(), 0o644)
    }

    /// What the command did before is not what it does now.
    pub fn forget(&self, place: &Place) {
        place.files.iter().for_each(|path| drop(std::fs::remove_file(path)));
    }

    /// What is remembered of a command, what it did last before what it did earlier.
    fn get(place: &Place, exec: &Exec) -> Vec<(Observed, Circumstances)> {
        let written = |path: &PathBuf| std::fs::metadata(path).and_then(|m| m.modified()).ok();
        let mut files = place.files.each_ref().map(|path| (written(path), path));
        files.sort();
        let there = files.into_iter().rev().filter(|(written, _)| written.is_some());
        there.filter_map(|(_, path)| Self::read(path, exec)).collect()
    }

    /// A damaged record is as good as none. It is removed, as its summary may be whole.
    fn read(path: &Path, exec: &Exec) -> Option<(Observed, Circumstances)> {
        let Some((mut trace, circumstances)) = Self::decode(&std::fs::read(path).ok()?) else {
            let _ = std::fs::remove_file(path);
            return None;
        };
        let command = trace.commands.pop()?;
        let same = command.argv == exec.invocation.argv && command.cwd == exec.invocation.cwd;
        trace.observed.pop().filter(|_| same).map(|observed| (observed, circumstances))
    }

    fn decode(record: &[u8]) -> Option<(Trace, Circumstances)> {
        let (_, record) = record.split_first_chunk::<SUMMARY>()?;
        let (circumstances, record) = Circumstances::decode(record)?;
        let trace = Trace::decode("a learned command", record).ok().filter(|trace| trace.cut.is_none());
        trace.map(|trace| (trace, circumstances))
    }

    /// Where it is kept what this command did. `own`: our preload library.
    pub fn place(&self, exec: &Exec, own: &OsStr, given: &[Descriptor]) -> Place {
        let invocation = &exec.invocation;
        // Of what an older version remembers not all is known that is against it.
        let about = format!("2 {:o} {} {}", exec.umask, invocation.argv.len(), silent(exec, given));
        let head = [invocation.program.as_os_str(), invocation.cwd.as_os_str(), OsStr::new(&about)];
        let kept = environment::kept(&invocation.env, own);
        let name = key::of(head.into_iter().chain(invocation.argv.iter().chain(&kept).map(|word| &**word)));
        let files = [self.directory.join(&name), self.directory.join(format!("{name}.again"))];
        let process = Process::of(exec.pid, &environment::login(&invocation.env));
        Place { files, process, before: Before::default() }
    }
}

/// What stands before a record: the hash of all that is in it but for what [`Learned::put`] leaves out.
const SUMMARY: usize = 32;

fn summary(command: &trace::Command, observed: &Observed) -> [u8; SUMMARY] {
    /// Takes down what is hashed.
    struct Text(Vec<u8>);
    impl Hasher for Text {
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    // All fields are named, so that none is forgotten.
    #[rustfmt::skip]
    let trace::Command {
        id: _, parent: _, at_us: _, took_us: _, cwd, argv, program, kind, disposition, reason, thunk, outputs,
    } = command;
    let Observed { id: _, ended_us: _, status, thunk: of_it, touches, obstacles, descriptors: _ } = observed;
    let mut text = Text(Vec::with_capacity(256 * touches.len()));
    [cwd, program].into_iter().chain(outputs).for_each(|path| path.as_os_str().hash(&mut text));
    (outputs.len(), argv, kind, disposition, reason, thunk).hash(&mut text);
    (status, of_it, obstacles, touches.len()).hash(&mut text);
    for trace::Touch { path, uses, before, after, mode } in touches {
        path.as_os_str().hash(&mut text);
        (uses, before, after, mode).hash(&mut text);
    }
    *ObjectName::of(ObjectKind::Value, &text.0).digest()
}

/// What stands before a record: its summary, and the circumstances.
fn head(path: &Path) -> Option<([u8; SUMMARY], Circumstances)> {
    let mut file = File::open(path).ok()?;
    let (mut summary, mut size) = ([0; SUMMARY], [0; 4]);
    file.read_exact(&mut summary).ok()?;
    file.read_exact(&mut size).ok()?;
    let mut circumstances = size.to_vec();
    file.take(u32::from_le_bytes(size).into()).read_to_end(&mut circumstances).ok()?;
    Some((summary, Circumstances::decode(&circumstances)?.0))
}

/// A record that would be written as it is counts as written now.
fn is_as_new(path: &Path) -> std::io::Result<()> {
    File::options().append(true).open(path)?.set_modified(SystemTime::now())
}

/// Which of the standard streams, and of what the build was given beside them, are `/dev/null`, and which are closed.
/// What is read and written there is not noticed, so what a command did so counts only where it is so again: elsewhere
/// it may have something to print.
fn silent(exec: &Exec, given: &[Descriptor]) -> String {
    let letter = |fd: &FdIdentity| match fd.mode & libc::S_IFMT {
        0 => 'c',
        libc::S_IFCHR if fd.rdev == descriptors::NULL => 'n',
        _ => 'o',
    };
    let mut text: String = exec.fds.iter().flatten().map(letter).collect();
    for Descriptor { number, leads, .. } in given {
        text.push_str(&format!("{number}{}", letter(leads)));
    }
    text
}

/// Defers the command, if it is known and nothing is against it; else the reason why not. `None` where it is not known at all.
pub fn defer(recorder: &Recorder, exec: &Exec, place: &mut Place) -> Option<Result<Deferred, String>> {
    let mut reason = None;
    let began = recorder.began();
    let known = Learned::get(place, exec);
    for (age, (observed, circumstances)) in known.iter().enumerate() {
        let done = if let Some(why) = observed.obstacles.iter().find(|why| *why != SHOWS_TIMES) {
            Err(why.clone())
        } else if let Some(why) = circumstances.changed(&place.process, began) {
            Err(why)
        } else {
            again(recorder, exec, (observed, circumstances), age == 0)
        };
        match done {
            Ok(deferred) => return Some(Ok(deferred)),
            Err(why) => reason = reason.or(Some(Err(why))),
        }
    }
    // It runs, and may ask for these.
    let outputs = known.iter().flat_map(|(observed, _)| observed.with(Uses::OUTPUT));
    outputs.for_each(|touch| place.before.look(&touch.path));
    reason
}

/// Commands by directory and arguments.
pub type Failed = HashSet<(Option<PathBuf>, Vec<OsString>)>;

/// Those that were learned and deferred with other inputs, and failed when they were forced. What is to be forced again has other inputs
/// by then, most likely.
pub fn failed(store: &Store) -> Failed {
    let marked = FailedThunks::of(store).marked().into_iter();
    let thunks = marked.filter_map(|name| store.thunk(&name).ok()).filter(|thunk| thunk.learned);
    thunks.map(|thunk| (thunk.workdir, thunk.args)).collect()
}

/// `last`: is it what the command did last? How it did before that, with other inputs, does not tell what it does with these.
fn again(
    recorder: &Recorder,
    exec: &Exec,
    (observed, circumstances): (&Observed, &Circumstances),
    last: bool,
) -> Result<Deferred, String> {
    let name = observed.thunk.ok_or("it has no thunk")?;
    let thunk = recorder.store.thunk(&name).map_err(|error| error.to_string())?;
    if let Some(path) = thunk.optional_outputs.first() {
        // Whoever starts it reads that, and takes it away.
        return Err(format!("{} was gone when it had ended, so nobody knows what it was", path.display()));
    }
    let reduction = recorder.store.reduction(&name).ok_or("its reduction is gone")?;
    surroundings(recorder, observed)?;
    let changed = changed(recorder, &thunk)?;
    if let Some(changed) = &changed {
        if !last {
            return Err("it did otherwise since, and its inputs have changed".into());
        }
        if observed.obstacles.iter().any(|why| why == SHOWS_TIMES) {
            return Err(SHOWS_TIMES.into());
        }
        // What is installed has been there before all else, and is compared with nothing.
        let is_own =
            |path: &Path| path.starts_with(&recorder.project) || path.starts_with(&exec.invocation.cwd);
        if circumstances.go_by_age(is_own) {
            return Err("it may go by which of its files is older, and its inputs have changed".into());
        }
        if recorder.failed.contains(&(changed.workdir.clone(), changed.args.clone())) {
            return Err("it was deferred with other inputs, and failed when it was forced".into());
        }
        may_follow(&thunk, changed, &exec.invocation.argv)?;
        acts_on_inputs_alone(recorder, observed, changed)?;
    }
    put(recorder, name, thunk, changed, Some(&reduction), exec.umask)
}

/// May what a command does with other inputs be foretold? Not what another program writes, nor which files are written whose names are
/// not among the arguments: these may come out of what it reads.
fn may_follow(thunk: &Thunk, changed: &Thunk, argv: &[OsString]) -> Result<(), String> {
    if let Some(program) = thunk.executables.iter().find(|input| !changed.executables.contains(input)) {
        return Err(format!("{} is not the one it was", program.path.display()));
    }
    let contains = |argument: &OsString, name: &OsStr| {
        argument.as_bytes().windows(name.len()).any(|window| window == name.as_bytes())
    };
    let is_named = |name: &OsStr| argv.iter().any(|argument| contains(argument, name));
    match thunk.outputs.iter().find(|path| !path.file_name().is_some_and(is_named)) {
        Some(path) => {
            Err(format!("{} is not among its arguments, and its inputs have changed", path.display()))
        }
        None => Ok(()),
    }
}

/// A thunk does not say whether there was something at its outputs' places, and where it is forced there is nothing. So
/// who can tell runs, but for where there was nothing before, is nothing now, and no run on something has given this
/// thunk a reduction.
fn acts_on_inputs_alone(recorder: &Recorder, observed: &Observed, changed: &Thunk) -> Result<(), String> {
    let with = |uses| observed.touches.iter().find(|touch| touch.uses.has(uses));
    let is_known = || recorder.store.reduction(&changed.name()).is_some();
    match with(Uses::AGAIN).or_else(|| with(Uses::NEW).filter(|_| is_known())) {
        Some(touch) => {
            Err(format!("it asks whether {} is there, and its inputs have changed", touch.path.display()))
        }
        None => Ok(()),
    }
}

/// Defers a command as this thunk says, on the inputs as they are now.
///
/// # Errors
/// Something is not as it was that no thunk can follow.
pub fn anew(recorder: &Recorder, name: ObjectName) -> Result<Deferred, String> {
    let thunk = recorder.store.thunk(&name).map_err(|error| error.to_string())?;
    let umask = thunk.umask.unwrap_or(0o022);
    let changed = changed(recorder, &thunk)?;
    put(recorder, name, thunk, changed, recorder.store.reduction(&name).as_ref(), umask)
}

fn put(
    recorder: &Recorder,
    name: ObjectName,
    thunk: Thunk,
    changed: Option<Thunk>,
    reduction: Option<&Reduction>,
    umask: u32,
) -> Result<Deferred, String> {
    let (name, thunk) = match changed {
        None => (name, thunk),
        Some(changed) => (recorder.store.put_thunk(&changed).map_err(|error| error.to_string())?, changed),
    };
    let mode = |path: &Path| {
        let output = reduction.and_then(|reduction| reduction.output(Some(path)));
        (if output.is_some_and(|output| output.executable) { 0o777 } else { 0o666 }) & !umask
    };
    for path in &thunk.outputs {
        fits(recorder, path)?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        let here = std::fs::canonicalize(parent).is_ok_and(|real| real == parent);
        if !here {
            return Err(format!("{} cannot be put where it is", path.display()));
        }
        let inputs = thunk.values.iter().chain(&thunk.executables).map(|input| &input.path);
        let is_changed_in_place =
            inputs.chain(thunk.thunks.iter().map(|input| &input.path)).any(|input| input == path);
        is_free(path, (!is_changed_in_place).then(|| mode(path)))?;
        if is_changed_in_place {
            recorder.keep_replaced(path);
        }
    }
    recorder.note_outputs(thunk.outputs.iter().cloned()).map_err(|error| error.to_string())?;
    let mut placing = Placing::default();
    for path in &thunk.outputs {
        let output = OutputRef { thunk: name, output: Some(path.clone()) };
        let file = placeholder(recorder, path, output, mode(path)).map_err(|error| error.to_string())?;
        placing.add(file, path.clone());
    }
    placing.level().and_then(|()| placing.put()).map_err(|error| error.to_string())?;
    Ok(Deferred { thunk: name, outputs: thunk.outputs })
}

/// Is what the command looked at, beside its inputs, as it was?
fn surroundings(recorder: &Recorder, observed: &Observed) -> Result<(), String> {
    for touch in &observed.touches {
        let path = &*touch.path;
        if touch.uses.has(Uses::NEW) && std::fs::symlink_metadata(path).is_ok() {
            return Err(format!("{} was not there before", path.display()));
        }
        if touch.uses.has(Uses::AGAIN) && std::fs::symlink_metadata(path).is_err() {
            return Err(format!("{} was there before", path.display()));
        }
        // What it makes itself is there from the last time.
        if touch.uses.has(Uses::OUTPUT) || touch.uses.has(Uses::CREATED) || has_no_content(path) {
            continue;
        }
        let shown = path.display();
        let there = std::fs::symlink_metadata(path);
        if touch.uses.has(Uses::MISSING) && !touch.uses.has(Uses::FOUND) && !touch.uses.has(Uses::INPUT) {
            if there.is_ok() {
                return Err(format!("{shown} was not there before"));
            }
            continue;
        }
        if touch.uses.has(Uses::LISTED) && touch.before.is_some() {
            if recorder.names_in(path) != touch.before {
                return Err(format!("{shown} holds other files than before"));
            }
        } else if touch.uses.has(Uses::FOUND) && !touch.uses.has(Uses::INPUT) && there.is_err() {
            return Err(format!("{shown} is gone"));
        }
    }
    Ok(())
}

/// Is what no change of which is provided for as it was: links, directories, programs and libraries from outside the project?
fn fixed(recorder: &Recorder, thunk: &Thunk) -> Result<(), String> {
    for link in &thunk.links {
        if !std::fs::read_link(&link.path).is_ok_and(|target| target == link.target) {
            return Err(format!("the link {} has changed", link.path.display()));
        }
    }
    for directory in &thunk.directories {
        if !std::fs::symlink_metadata(directory).is_ok_and(|m| m.is_dir()) {
            return Err(format!("{} is no directory any more", directory.display()));
        }
    }
    for tree in &thunk.trees {
        let tree = recorder.tree(tree).map_err(|error| error.to_string())?;
        for entry in tree.entries() {
            if let TreeNode::File { value, executable } = &entry.node
                && !matches!(now(recorder, &entry.path)?, Now::Value(v, x) if v == *value && x == *executable)
            {
                return Err(format!("{} has changed", entry.path.display()));
            }
        }
    }
    Ok(())
}

/// What stands at an input's path now.
enum Now {
    /// This content; may it be executed?
    Value(ObjectName, bool),
    /// What a thunk will give, which nobody has computed yet.
    Pending(OutputRef, bool),
}

fn now(recorder: &Recorder, path: &Path) -> Result<Now, String> {
    let metadata = std::fs::symlink_metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if !metadata.is_file() {
        return Err(format!("{} is no file any more", path.display()));
    }
    let facts = FileFacts::of(&metadata);
    if wire::size_may_be_placeholder(facts.id.size)
        && let Some(placeholder) = Placeholder::read(path).map_err(|error| error.to_string())?
    {
        if placeholder.store != recorder.store.root() {
            return Err(format!("{} is a placeholder of another store", path.display()));
        }
        let output = placeholder.output;
        let reduction = recorder.store.reduction(&output.thunk);
        let known = reduction.as_ref().and_then(|reduction| reduction.output(output.output.as_deref()));
        return Ok(match known {
            Some(known) => Now::Value(known.value, known.executable),
            None => Now::Pending(output, facts.executable),
        });
    }
    let value = recorder.store.put_seen(path, &facts).map_err(|error| error.to_string())?;
    Ok(Now::Value(value, facts.executable))
}

/// The thunk with its inputs as they are now; `None` if they are as they were.
fn changed(recorder: &Recorder, thunk: &Thunk) -> Result<Option<Thunk>, String> {
    fixed(recorder, thunk)?;
    let mut changed = Thunk { values: Vec::new(), executables: Vec::new(), learned: true, ..thunk.clone() };
    let mut same = true;
    let given = thunk.values.iter().map(|input| (input, false));
    for (input, was_executable) in given.chain(thunk.executables.iter().map(|input| (input, true))) {
        let path = input.path.clone();
        let is_program = thunk.program.as_ref() == Some(&path) || thunk.function == Some(input.value);
        match now(recorder, &path)? {
            Now::Value(value, executable) => {
                // Which mode it gives to what it leaves is not known then.
                if executable != was_executable {
                    return Err(format!("{} {}", path.display(), trace::runnable_now(executable)));
                }
                same &= value == input.value;
                if is_program {
                    changed.function = Some(value);
                }
                let list = if executable { &mut changed.executables } else { &mut changed.values };
                list.push(Input { path, value });
            }
            Now::Pending(from, executable) => {
                // What it will be is not known: whether it can take the same arguments is neither.
                if is_program || executable != was_executable {
                    return Err(format!("{} is not the one it was", path.display()));
                }
                same = false;
                changed.thunks.push(ThunkInput { path, from });
            }
        }
    }
    if same {
        return Ok(None);
    }
    listed::add(recorder, thunk, &mut changed)?;
    changed.canonicalise();
    Ok(Some(changed))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use models::Invocation;
    use thunk::trace::{Disposition, Status, Touch};

    use super::*;

    #[test]
    fn what_a_command_does_the_same_again_is_remembered_as_before_and_all_else_anew() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["new", "again"].map(|name| dir.path().join(name));
        let place = Place { files, process: Process::default(), before: Before::default() };
        let learned = Learned::new(dir.path().into());
        let command = trace::Command {
            id: 7,
            parent: 3,
            cwd: "/w".into(),
            argv: vec!["cp".into(), "a".into(), "b".into()],
            program: "/bin/cp".into(),
            kind: String::new(),
            disposition: Disposition::Ran,
            reason: String::new(),
            thunk: None,
            outputs: Vec::new(),
            at_us: 5,
            took_us: 6,
        };
        let touch = |path: &str, uses| Touch {
            path: Path::new(path).into(),
            uses,
            before: None,
            after: None,
            mode: None,
        };
        let observed = Observed {
            id: 7,
            status: Status::Exited(0),
            ended_us: 9,
            thunk: None,
            touches: vec![touch("/w/a", Uses::READ), touch("/w/b", Uses::CREATED)],
            obstacles: Vec::new(),
            descriptors: Vec::new(),
        };
        let put = |observed: &Observed| {
            learned.put(&place, command.clone(), observed.clone(), &[], SystemTime::now()).unwrap()
        };
        let state = || {
            let metadata = std::fs::metadata(&place.files[0]).unwrap();
            (FileFacts::of(&metadata).id.ino, metadata.modified().unwrap())
        };
        let record = || Learned::decode(&std::fs::read(&place.files[0]).unwrap()).unwrap().0;
        put(&observed);
        let (first, written) = state();
        std::thread::sleep(Duration::from_millis(20));
        // Later, as another command of its recording.
        put(&Observed { id: 8, ended_us: 10, ..observed.clone() });
        let (again, touched) = state();
        assert_eq!(first, again);
        assert!(touched > written);
        // As a machine leaves it that loses its power.
        let invocation =
            Invocation { argv: command.argv.clone(), cwd: command.cwd.clone(), ..Invocation::default() };
        let exec = Exec { invocation, ..Exec::default() };
        let whole = std::fs::read(&place.files[0]).unwrap();
        for end in [0, SUMMARY - 1, SUMMARY, SUMMARY + 3, whole.len() - 1] {
            std::fs::write(&place.files[0], &whole[..end]).unwrap();
            assert!(Learned::get(&place, &exec).is_empty());
            put(&observed);
            assert_eq!(Learned::get(&place, &exec).len(), 1, "{end} bytes were left of it");
        }
        let others = [
            Observed { status: Status::Exited(1), ..observed.clone() },
            Observed { obstacles: vec!["network".into()], ..observed.clone() },
            Observed {
                touches: vec![touch("/w/a", Uses::READ), touch("/w/c", Uses::CREATED)],
                ..observed.clone()
            },
            Observed { touches: vec![touch("/w/a", Uses::FOUND), touch("/w/b", Uses::CREATED)], ..observed },
        ];
        for other in others {
            put(&other);
            assert_eq!(record().observed, [Observed { id: 1, ended_us: 0, ..other }]);
        }
    }
}
