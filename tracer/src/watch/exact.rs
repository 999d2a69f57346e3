// SPDX-License-Identifier: Apache-2.0
//! The thunk of a command that ran, with exactly what it used, and its reduction.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use observe::Use;
use thunk::{
    Files, Input, Link, ObjectName, ReducedOutput, Reduction, Thunk, Tree, TreeEntry, TreeNode, is_made_up,
};

use super::environment;
use super::finish::Look;
use crate::context;
use crate::defer;
use crate::library_names::is_shared_library;
use crate::looks::Steps;
use crate::recorder::Recorder;

/// The obstacle of a command that gave something else the last time.
pub const OTHER_RESULTS: &str = "gave other results with the same inputs before";

/// The thunk, stored with its reduction; `None` if there is none, which is said among the obstacles.
pub fn reduced(look: &mut Look<'_>) -> Option<ObjectName> {
    if look.unknown {
        return None;
    }
    if look.outputs.is_empty() {
        look.obstacle("leaves no file".into());
        return None;
    }
    let made = thunk(look).and_then(|thunk| {
        let recorder = look.recorder;
        let store = &recorder.store;
        let name = store.put_thunk(&thunk).map_err(|error| error.to_string())?;
        let outputs = thunk.outputs.iter().filter_map(|path| {
            let output = look.outputs.get(path)?;
            Some(ReducedOutput {
                path: path.clone(),
                value: output.value,
                executable: output.mode & 0o111 != 0,
            })
        });
        let wall = look.ended.at - look.ended.begun.at;
        let [stdout, stderr] = [1, 2].map(|fd| look.printed(fd));
        let (stdout, stderr) = (stdout?, stderr?);
        let reduction =
            Reduction { outputs: outputs.collect(), stdout, stderr, wall, ..Reduction::default() };
        let known = store.reduction(&name).map(|known| same_results(&known, &reduction));
        if known == Some(false) {
            look.obstacle(OTHER_RESULTS.into());
        }
        if known != Some(true) {
            store.put_reduction(&name, &reduction).map_err(|error| error.to_string())?;
        }
        Ok(name)
    });
    made.inspect_err(|why| look.obstacle(why.clone())).ok()
}

fn same_results(known: &Reduction, new: &Reduction) -> bool {
    (&known.outputs, &known.stdout, &known.stderr) == (&new.outputs, &new.stdout, &new.stderr)
}

fn thunk(look: &mut Look<'_>) -> Result<Thunk, String> {
    let begun = &look.ended.begun;
    let invocation = &begun.exec.invocation;
    let mut footprint = std::mem::replace(&mut look.footprint, look.recorder.steps());
    let defer::Executed { program, called } = defer::executed(&mut footprint, invocation)?;
    let listed: Vec<PathBuf> = look.touches.with(Use::Listed).map(|(path, _)| path.to_path_buf()).collect();
    for directory in &listed {
        add_names(look, &mut footprint, directory)?;
    }
    for path in look.outputs.keys().chain(look.links.keys()) {
        let parent = path.parent().unwrap_or(Path::new("/"));
        if !look.made.contains(parent) {
            footprint.add_place(path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }

    for path in look.moved.keys() {
        footprint.add_place(path).map_err(|error| format!("{}: {error}", path.display()))?;
    }

    let footprint = footprint.footprint;
    let runnable = look.outputs.iter().filter(|(_, output)| output.mode & 0o111 != 0);
    let mut thunk = Thunk {
        args: invocation.argv.clone(),
        env: environment::kept(&invocation.env, look.recorder.install.interceptor.as_os_str()),
        workdir: Some(invocation.cwd.clone()),
        program: Some(called),
        umask: Some(begun.exec.umask),
        links: links(footprint.links.into_iter().filter(|(path, _)| !look.links.contains_key(path))),
        outputs: look.outputs.keys().cloned().collect(),
        optional_outputs: look.gone.iter().filter(|path| !is_made_up(path)).cloned().collect(),
        makes_directories: !look.made.is_empty(),
        moves: !look.moved.is_empty(),
        executable_outputs: runnable.map(|(path, _)| path.clone()).collect(),
        made: look.new.iter().filter(|path| !is_made_up(path)).cloned().collect(),
        made_links: links(look.links.iter().map(|(path, target)| (path.clone(), target.clone()))),
        listed: real(&listed).filter(|path| !is_made_up(path)).collect(),
        ..Thunk::default()
    };
    let given = |path: &PathBuf| !is_made_up(path) && !look.made.contains(path);
    thunk.directories = footprint.directories.into_iter().filter(given).collect();
    add_files(look, &mut thunk, &program, footprint.files)?;
    if let Some(name) = secret(look, &thunk) {
        return Err(format!("may use {}, which is in no thunk", name.display()));
    }
    add_login(look, &mut thunk);
    thunk.canonicalise();
    Ok(thunk)
}

fn links(all: impl Iterator<Item = (PathBuf, PathBuf)>) -> Vec<Link> {
    all.map(|(path, target)| Link { path, target }).collect()
}

/// Where these lead, as far as they still are there.
fn real(directories: &[PathBuf]) -> impl Iterator<Item = PathBuf> {
    directories.iter().filter_map(|directory| std::fs::canonicalize(directory).ok())
}

/// Adds what the environment tells of the terminal, where the command may use it. What a compiler reads is no script.
fn add_login(look: &Look<'_>, thunk: &mut Thunk) {
    let Recorder { mentions, store, .. } = look.recorder;
    let login = environment::login(&look.ended.begun.exec.invocation.env);
    if login.is_empty() || look.recorder.command(look.ended.begun.id).role == context::Role::Tool {
        return;
    }
    let names: Vec<&OsStr> = login.iter().map(|(name, _)| *name).collect();
    let all = names.join(OsStr::new(" "));
    let in_arguments = thunk.args.iter().map(|text| environment::named(text.as_bytes(), &names));
    let inputs = thunk.values.iter().chain(&thunk.executables);
    let in_inputs = inputs.map(|input| mentions.names_in(store, input.value, &all, &names));
    let used = in_arguments.chain(in_inputs).fold(0, |used, named| used | named);
    let used = login.iter().enumerate().filter(|(bit, _)| used >> bit & 1 != 0);
    thunk.env.extend(used.map(|(_, (name, value))| environment::variable(name, value)));
    thunk.env.sort_unstable();
}

/// A secret that the command may use: one that is in its environment, and of which its arguments or its inputs speak. Programs from outside of the
/// project, such as shells, are not asked.
fn secret(look: &Look<'_>, thunk: &Thunk) -> Option<OsString> {
    let Recorder { mentions, store, .. } = look.recorder;
    let is_named = |name: &&OsStr| {
        thunk.args.iter().any(|argument| environment::mentions(argument.as_bytes(), name))
            || thunk
                .values
                .iter()
                .chain(&thunk.executables)
                .any(|input| mentions.are_in(store, input.value, name))
    };
    environment::secrets(&look.ended.begun.exec.invocation.env).find(is_named).map(OsStr::to_os_string)
}

/// Adds the files that the command found, as they were then.
fn add_files(look: &Look<'_>, thunk: &mut Thunk, program: &Path, files: Files) -> Result<(), String> {
    let project = &look.recorder.project;
    let invocation = &look.ended.begun.exec.invocation;
    let outside = |path: &Path| !path.starts_with(project) && !path.starts_with(&invocation.cwd);
    let mut programs = Vec::new();
    for (path, facts) in files {
        if is_made_up(&path) {
            continue;
        }
        let value = match look.before.get(path.as_os_str()) {
            Some(value) => *value,
            // It was looked at, not into. What the command itself made is no input.
            None if look.outputs.contains_key(&path) => continue,
            // Nor is what somebody else has changed since: what it was is not known, and did not matter.
            None => match look.content_before(&path, &facts, false) {
                Ok(value) => value,
                Err(_) => continue,
            },
        };
        if path == program {
            thunk.function = Some(value);
        }
        let executable = facts.executable;
        if outside(&path) && (executable || is_shared_library(&path)) {
            // Commands that run the same programs share the tree of these.
            programs.push(TreeEntry { path, node: TreeNode::File { value, executable } });
        } else if executable {
            thunk.executables.push(Input { path, value });
        } else {
            thunk.values.push(Input { path, value });
        }
    }
    for (path, (value, executable)) in &look.moved {
        let list = if *executable { &mut thunk.executables } else { &mut thunk.values };
        list.push(Input { path: path.clone(), value: *value });
    }
    if !programs.is_empty() {
        let tree = look.recorder.store.put_tree(&Tree::new(programs)).map_err(|error| error.to_string())?;
        thunk.trees.push(tree);
    }
    Ok(())
}

/// What stands in a directory that the command listed must stand there again: all of it in the project; elsewhere what
/// the command used. Not what is below.
fn add_names(look: &Look<'_>, footprint: &mut Steps<'_>, directory: &Path) -> Result<(), String> {
    /// More than anybody lists to look at each.
    const MANY: usize = 4096;
    // One that the command made and removed again.
    let Ok(real) = std::fs::canonicalize(directory) else { return Ok(()) };
    if !real.starts_with(&look.recorder.project) {
        return Ok(());
    }
    let entries = std::fs::read_dir(&real).map_err(|error| format!("{}: {error}", real.display()))?;
    for (number, entry) in entries.flatten().enumerate() {
        if number >= MANY {
            return Err(format!("lists {}, in which very many files are", directory.display()));
        }
        let path = entry.path();
        if !look.outputs.contains_key(&path) && !look.later.contains(&path) {
            // A link that leads nowhere does so there, too.
            let _ = footprint.add(&path).is_err() && footprint.add_link(&path).is_ok();
        }
    }
    Ok(())
}

/// Can the mode be given again from the mask alone?
pub fn is_plain_mode(mode: u32, umask: u32) -> bool {
    mode == 0o666 & !umask || mode == 0o777 & !umask
}
