// SPDX-License-Identifier: Apache-2.0
//! Dependency files that somebody reads while the build goes on (kbuild's `fixdep`, a `cmp` with the one of before): they are made by a
//! thunk of their own, which is the compile without its compiling, on the very same inputs. The compile itself goes on waiting.
//! Does not know who forces what.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use thunk::{AtomicFile, ObjectName, OutputRef, Placeholder, Thunk};

use crate::defer;
use crate::recorder::{Recorder, lock};

/// What is known of the dependency files that deferred compiles give.
#[derive(Debug, Default)]
pub struct Early {
    /// The command that writes one of them alone, but for the name of the file, which comes last.
    commands: Mutex<HashMap<OutputRef, Vec<OsString>>>,
    /// The thunks of those that were asked for, by what they gave the place of.
    made: Mutex<HashMap<OutputRef, OutputRef>>,
}

impl Early {
    /// A deferred command gives this dependency file, and this command writes it alone.
    pub fn note(&self, output: OutputRef, command: Vec<OsString>) {
        lock(&self.commands).insert(output, command);
    }

    /// Those of these files that are placeholders, and can be had without their compiles.
    pub fn among(&self, paths: &[PathBuf]) -> Vec<PathBuf> {
        let has = |path: &&PathBuf| {
            let placeholder = Placeholder::read(path).ok().flatten();
            placeholder.is_some_and(|placeholder| lock(&self.commands).contains_key(&placeholder.output))
        };
        paths.iter().filter(has).cloned().collect()
    }

    /// If there is a dependency file at this path: those of `outputs` that lie in the same directory, it among them.
    /// None that was asked for before.
    pub fn beside(&self, path: &Path, outputs: Vec<PathBuf>) -> Vec<PathBuf> {
        if self.among(&[path.to_path_buf()]).is_empty() {
            return Vec::new();
        }
        let Some(directory) = path.parent().and_then(|directory| directory.canonicalize().ok()) else {
            return Vec::new();
        };
        let near: Vec<PathBuf> =
            outputs.into_iter().filter(|other| other.parent() == Some(&*directory)).collect();
        let mut found = self.among(&near);
        found.retain(|path| {
            let placeholder = Placeholder::read(path).ok().flatten();
            placeholder.is_some_and(|placeholder| !lock(&self.made).contains_key(&placeholder.output))
        });
        found
    }

    /// The output that gave the same as this one, if one did.
    pub fn instead_of(&self, output: &OutputRef) -> Option<OutputRef> {
        lock(&self.made).get(output).cloned()
    }

    /// Has the dependency files among these placeholders come from thunks of their own, but for those whose compile is
    /// needed anyway.
    pub fn turn(recorder: &Recorder, paths: &[PathBuf]) -> Vec<Turned> {
        let known = |output: &OutputRef| lock(&recorder.early.commands).contains_key(output);
        let found: Vec<(&PathBuf, OutputRef)> = paths
            .iter()
            .filter_map(|path| Some((path, Placeholder::read(path).ok().flatten()?.output)))
            .collect();
        let needed: BTreeSet<ObjectName> =
            found.iter().filter(|(_, output)| !known(output)).map(|(_, output)| output.thunk).collect();
        let alone = found.into_iter().filter(|(_, output)| known(output) && !needed.contains(&output.thunk));
        // Where this cannot be, the compile gives it.
        alone.filter_map(|(path, output)| turn(recorder, path, output).ok().flatten()).collect()
    }
}

/// A placeholder that stands for the output of another thunk than before.
pub struct Turned {
    path: PathBuf,
    before: OutputRef,
}

impl Turned {
    /// The compile is to give the file after all.
    pub fn back(self, recorder: &Recorder) {
        if matches!(Placeholder::read(&self.path), Ok(Some(_))) {
            // What stands there otherwise fails in the same way.
            let _ = replace(recorder, &self.path, self.before);
        }
    }
}

fn turn(recorder: &Recorder, path: &Path, output: OutputRef) -> thunk::Result<Option<Turned>> {
    if recorder.store.reduction(&output.thunk).is_some() {
        return Ok(None);
    }
    let Some(command) = lock(&recorder.early.commands).get(&output).cloned() else { return Ok(None) };
    let Some(file) = output.output.clone() else { return Ok(None) };
    let alone = alone(recorder.store.thunk(&output.thunk)?, command, &file);
    let instead = OutputRef { thunk: recorder.store.put_thunk(&alone)?, output: Some(file) };
    replace(recorder, path, instead.clone())?;
    lock(&recorder.early.made).insert(output.clone(), instead);
    Ok(Some(Turned { path: path.to_path_buf(), before: output }))
}

/// The thunk that gives this file alone, made from that of the compile.
fn alone(compile: Thunk, mut command: Vec<OsString>, file: &Path) -> Thunk {
    // What there is to warn of, the compile says.
    command.insert(1, "-w".into());
    command.push(file.into());
    Thunk { args: command, outputs: vec![file.to_path_buf()], optional_outputs: Vec::new(), ..compile }
}

/// The same placeholder for another output: with its mode and time.
pub fn replace(recorder: &Recorder, path: &Path, output: OutputRef) -> thunk::Result<()> {
    let there = there(path)?;
    take_place(defer::placeholder(recorder, path, output, there.permissions().mode() & 0o7777)?, path, &there)
}

/// What stands at this path.
pub fn there(path: &Path) -> thunk::Result<Metadata> {
    std::fs::symlink_metadata(path).map_err(failed("look at", path))
}

/// Puts a file in the place of one that has a single name, with its time.
pub fn take_place(new: AtomicFile, path: &Path, there: &Metadata) -> thunk::Result<()> {
    let modified = there.modified().map_err(failed("look at", path))?;
    new.file().set_modified(modified).map_err(failed("set the time of", path))?;
    if there.nlink() > 1 {
        return Err(failed("replace", path)(io::Error::other("it has several names")));
    }
    new.commit(path)
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> thunk::Error {
    move |error| thunk::Error::Io { what, path: path.to_path_buf(), error }
}

#[cfg(test)]
mod tests {
    use thunk::{Input, ObjectKind};

    use super::*;

    #[test]
    fn a_compile_without_compiling_has_the_same_inputs() {
        let value = ObjectName::of(ObjectKind::Value, b"v");
        let compile = Thunk {
            args: ["gcc", "-MD", "-c", "a.c"].map(OsString::from).to_vec(),
            values: vec![Input { path: "/w/a.c".into(), value }],
            outputs: vec!["/w/a.o".into(), "/w/a.d".into()],
            optional_outputs: vec!["/w/a.gcno".into()],
            ..Thunk::default()
        };
        let command = ["gcc", "-E", "-MD", "-MF"].map(OsString::from).to_vec();
        let alone = alone(compile.clone(), command, Path::new("/w/a.d"));
        assert_eq!(alone.args, ["gcc", "-w", "-E", "-MD", "-MF", "/w/a.d"]);
        assert_eq!(alone.outputs, [PathBuf::from("/w/a.d")]);
        assert_eq!((alone.values, alone.optional_outputs), (compile.values, Vec::new()));
    }
}
