// SPDX-License-Identifier: Apache-2.0
//! What stands in directories outside of the project that a command listed. When it was recorded what it used of that was enough; with
//! other inputs it may use any of it, and the names alone are something that it reads. In the project all of it is among the inputs.

use std::collections::HashSet;
use std::fs::{self, DirEntry};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use thunk::{FileFacts, Input, Link, ObjectKind, Thunk};

use super::{Now, now};
use crate::recorder::Recorder;

/// A directory with more names than this is not given to a command.
const MANY: usize = 4096;
/// Where there are more bytes than this in all of them, only the names of the rest are given: libtool lists `/usr/bin`, because the regular
/// expression of what a library exports looks like a pattern for names there.
const MUCH: u64 = 64 << 20;

/// Adds to the inputs of `changed` what is not among those of `thunk`, whose contents are other ones now.
pub fn add(recorder: &Recorder, thunk: &Thunk, changed: &mut Thunk) -> Result<(), String> {
    let mut outside = thunk.listed.iter().filter(|path| !path.starts_with(&recorder.project)).peekable();
    if outside.peek().is_none() {
        return Ok(());
    }
    let trees = thunk.trees.iter().map(|tree| recorder.tree(tree).map_err(|error| error.to_string()));
    let trees = trees.collect::<Result<Vec<_>, _>>()?;
    let inputs = thunk.values.iter().chain(&thunk.executables).map(|input| &*input.path);
    let inputs = inputs.chain(thunk.thunks.iter().map(|input| &*input.path));
    let outputs = thunk.outputs.iter().chain(&thunk.optional_outputs).map(|path| &**path);
    let known: HashSet<&Path> = inputs
        .chain(outputs)
        .chain(thunk.links.iter().chain(&thunk.made_links).map(|link| &*link.path))
        .chain(trees.iter().flat_map(|tree| tree.entries()).map(|entry| &*entry.path))
        .collect();
    let mut room = MUCH;
    for directory in outside {
        let shown = directory.display();
        // What is private to the project, too, is no more so.
        let mut ways = directory.ancestors().filter(|way| !recorder.project.starts_with(way));
        if !ways.all(is_for_everybody) {
            return Err(format!("it lists {shown}, which is not for everybody to look into"));
        }
        let entries = fs::read_dir(directory).map_err(|error| format!("{shown}: {error}"))?;
        for (number, entry) in entries.enumerate() {
            let entry = entry.map_err(|error| format!("{shown}: {error}"))?;
            let path = entry.path();
            if number >= MANY {
                return Err(format!("it lists {shown}, in which very many files are"));
            }
            if !known.contains(&*path) {
                one(recorder, &entry, changed, &mut room)
                    .map_err(|why| format!("it lists {shown}, where {} {why}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// Adds what stands there.
fn one(recorder: &Recorder, entry: &DirEntry, changed: &mut Thunk, room: &mut u64) -> Result<(), String> {
    let path = entry.path();
    let metadata = entry.metadata().map_err(|error| format!("cannot be looked at: {error}"))?;
    if metadata.is_symlink() {
        let target = fs::read_link(&path).map_err(|error| format!("cannot be read: {error}"))?;
        changed.links.push(Link { path, target });
        return Ok(());
    }
    if metadata.is_dir() {
        changed.directories.push(path);
        return Ok(());
    }
    if !metadata.is_file() {
        return Err("is no file".into());
    }
    // Keys and the like are kept by their modes. A store may be shared.
    let is_readable = metadata.mode() & 0o004 != 0;
    let (value, executable) = match room.checked_sub(metadata.len()).filter(|_| is_readable) {
        Some(left) => {
            *room = left;
            match now(recorder, &path)? {
                Now::Value(value, executable) => (value, executable),
                // It may be nothing to the command, and fail.
                Now::Pending(..) => return Err("is to be made yet".into()),
            }
        }
        None => {
            let put = recorder.store.put(ObjectKind::Value, Input::NAME_ONLY);
            (put.map_err(|error| error.to_string())?, FileFacts::of(&metadata).executable)
        }
    };
    let list = if executable { &mut changed.executables } else { &mut changed.values };
    list.push(Input { path, value });
    Ok(())
}

/// Can anybody come to what is in this directory? What is in a private one is its owner's, whatever modes it has itself.
fn is_for_everybody(directory: &Path) -> bool {
    fs::metadata(directory).is_ok_and(|metadata| metadata.mode() & 0o001 != 0)
}
