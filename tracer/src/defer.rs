// SPDX-License-Identifier: Apache-2.0
//! From a model's plan to a thunk in the store and placeholders in the tree. Everything the command needs is put into
//! the store now: what happens to the files later makes no difference.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use models::{Decline, Invocation, Output, Plan, Probe, Role};
use thunk::{
    AtomicFile, Files, Input, Led, Link, ObjectName, OutputRef, Placeholder, Thunk, ThunkInput, is_made_up,
};

use crate::looks::{Steps, is_gone};
use crate::placing::Placing;
use crate::recorder::Recorder;
use crate::toolchain::{LOCALE, Toolchain};
use crate::{includes, linked};

/// A command that was deferred.
pub struct Deferred {
    /// Its thunk.
    pub thunk: ObjectName,
    /// Where placeholders stand now.
    pub outputs: Vec<PathBuf>,
}

/// Makes the thunk and puts the placeholders. `now` says that somebody will read a dependency file as soon as the
/// command ends: it is made at once then, by the compiler without compiling.
///
/// # Errors
/// A reason why the command must run after all; nothing has changed in the tree then.
pub fn defer(
    recorder: &Recorder,
    asked: &Invocation,
    plan: &Plan,
    umask: u32,
    now: bool,
) -> Result<Deferred, Decline> {
    let invocation = plan.instead.as_ref().unwrap_or(asked);
    for output in &plan.outputs {
        is_free(&output.path, (!plan.inputs.contains(&output.path)).then(|| mode_of(output, umask)))
            .map_err(Decline)?;
    }
    let toolchains = toolchains(recorder, invocation, plan)?;
    let mut footprint = recorder.steps();

    let Executed { program, called } = executed(&mut footprint, invocation).map_err(Decline)?;
    for path in plan.inputs.iter().chain(&plan.directories) {
        footprint.add(path).map_err(gone(path))?;
    }
    let mut trees: Vec<_> = toolchains.iter().map(|t| t.tree).collect();
    trees.extend(headers(recorder, invocation, plan, &mut footprint)?);
    let env = environment(recorder, invocation, plan, &toolchains, &mut footprint);

    let mut places = BTreeMap::new();
    for output in &plan.outputs {
        places.insert(output.path.clone(), footprint.add_place(&output.path).map_err(gone(&output.path))?);
    }
    let footprint = footprint.footprint;

    let mut thunk = Thunk {
        args: invocation.argv.clone(),
        env,
        workdir: Some(invocation.cwd.clone()),
        program: Some(called),
        umask: Some(umask),
        trees,
        links: footprint.links.into_iter().map(|(path, target)| Link { path, target }).collect(),
        directories: footprint.directories.into_iter().collect(),
        ..Thunk::default()
    };
    for (path, role) in plan.outputs.iter().map(|o| (&places[&o.path], o.role)) {
        match role {
            Role::Main | Role::Dependencies => thunk.outputs.push(path.clone()),
            Role::Side => thunk.optional_outputs.push(path.clone()),
        }
    }
    let links = thunk.links.iter().map(|link| &link.path);
    let made = thunk.outputs.iter().chain(&thunk.optional_outputs);
    let others = links.chain(&thunk.directories).chain(made).map(PathBuf::as_path);
    for path in footprint.files.paths().chain(others) {
        fits(recorder, path).map_err(Decline)?;
    }
    add_files(recorder, &mut thunk, &program, footprint.files, &toolchains)?;
    thunk.canonicalise();
    let thunk = recorder.store.put_thunk(&thunk).map_err(failed)?;
    let outputs = Outputs { recorder, invocation, plan, toolchains: &toolchains, places: &places, umask }
        .put(thunk, now)?;
    Ok(Deferred { thunk, outputs })
}

/// Trees of the files that the command may include.
fn headers(
    recorder: &Recorder,
    invocation: &Invocation,
    plan: &Plan,
    footprint: &mut Steps<'_>,
) -> Result<Vec<ObjectName>, Decline> {
    let Some(search) = &plan.includes else { return Ok(Vec::new()) };
    for directory in [&search.quote, &search.bracket, &search.system, &search.after].into_iter().flatten() {
        can_be_searched(recorder, directory)?;
    }
    let closure = includes::find(recorder, invocation, search)?;
    for directory in &closure.directories {
        // What leads nowhere leads the compiler nowhere either.
        let _ = footprint.add(directory);
    }
    // A tree with the source in it would be no other command's. Spelled as the scanner spells paths, so that bytes tell.
    let inputs: Vec<PathBuf> = plan.inputs.iter().map(|input| input.components().collect()).collect();
    recorder.headers.trees(&recorder.store, &closure.sets, &inputs, footprint).map_err(failed)
}

/// What is to stand in the places of a command's outputs.
struct Outputs<'a> {
    recorder: &'a Recorder,
    invocation: &'a Invocation,
    plan: &'a Plan,
    toolchains: &'a [Arc<Toolchain>],
    /// The place of each output, without links on the way.
    places: &'a BTreeMap<PathBuf, PathBuf>,
    umask: u32,
}

impl Outputs<'_> {
    /// Puts the placeholders of this thunk, and tells where they stand.
    fn put(&self, thunk: ObjectName, now: bool) -> Result<Vec<PathBuf>, Decline> {
        let Self { recorder, invocation, plan, toolchains, places, umask } = *self;
        let mut outputs = Vec::new();
        let mut placing = Placing::default();
        // Each file is as old as what is written here. What a compiler writes beside the object is older than that, and some makefiles
        // have the object depend on its dependency file.
        let (main, beside): (Vec<_>, Vec<_>) =
            plan.outputs.iter().partition(|output| output.role == Role::Main);
        for output in beside.into_iter().chain(main) {
            let place = &places[&output.path];
            let reference = OutputRef { thunk, output: Some(place.clone()) };
            if output.role == Role::Dependencies && now {
                recorder.puts(place);
                let search = plan.includes.as_ref().filter(|s| !s.write_dependencies.is_empty());
                let search = search.ok_or_else(|| Decline("its dependency file is read at once".into()))?;
                let file = includes::dependencies(recorder, invocation, search, place, umask)?;
                // Whoever keeps it has what the command would leave.
                if let Ok(metadata) = file.file().metadata() {
                    recorder.standing.give(place, &metadata, reference);
                }
                placing.add(file, place.clone());
                continue;
            }
            if now
                && let Some(linked) = plan.linked.as_ref().filter(|linked| linked.file == output.path)
                && let Some(rule) = linked::rule(linked, &invocation.cwd, toolchains)
            {
                recorder.linked_files.note(reference.clone(), rule);
            }
            self.note_early(output, &reference);
            recorder.note_linked(reference.clone(), output.executable);
            let mode = self.mode(output, place);
            placing.add(placeholder(recorder, place, reference, mode).map_err(failed)?, place.clone());
            outputs.push(place.clone());
        }
        recorder.note_outputs(outputs.iter().cloned()).map_err(failed)?;
        plan.outputs
            .iter()
            .filter(|output| plan.inputs.contains(&output.path))
            .for_each(|output| recorder.keep_replaced(&places[&output.path]));
        placing.put().map_err(failed)?;
        Ok(outputs)
    }

    /// The mode that an output has once it is forced.
    fn mode(&self, output: &Output, place: &Path) -> u32 {
        match std::fs::metadata(place) {
            // What is changed in place keeps its mode.
            Ok(metadata) if self.plan.inputs.contains(&output.path) => metadata.mode() & 0o7777,
            _ => mode_of(output, self.umask),
        }
    }

    /// A dependency file can be had without the rest, by the compiler without compiling.
    fn note_early(&self, output: &Output, reference: &OutputRef) {
        if output.role == Role::Dependencies && self.plan.outputs.len() > 1 {
            let command = self.plan.includes.as_ref().map(|search| &search.write_dependencies);
            if let Some(command) = command.filter(|command| !command.is_empty()) {
                self.recorder.early.note(reference.clone(), command.clone());
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "given to map_err")]
fn failed(error: thunk::Error) -> Decline {
    Decline(error.to_string())
}

/// The mode that a new output gets.
fn mode_of(output: &Output, umask: u32) -> u32 {
    (if output.executable { 0o777 } else { 0o666 }) & !umask
}

/// May a new file take the place of what stands at an output's path? Some programs write over what is there, so that it keeps its mode,
/// its other names and the link that led to it; some remove it first, some only if it is not empty. It makes no difference where
/// nothing is there, or a file with one name and with the mode that a new one gets; `mode` is that, or nothing where the program reads
/// what it changes, and keeps its mode.
///
/// # Errors
/// It makes a difference: says what is there.
pub fn is_free(path: &Path, mode: Option<u32>) -> Result<(), String> {
    if path.parent().is_some_and(gives_access) {
        return Err(format!(
            "the directory of output {} gives new files their access rights",
            path.display()
        ));
    }
    let Ok(there) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let shown = path.display();
    if there.is_symlink() {
        Err(format!("output {shown} is a symbolic link"))
    } else if !there.is_file() {
        Err(format!("output {shown} is no regular file"))
    } else if there.nlink() > 1 {
        Err(format!("output {shown} has several names"))
    } else if mode.is_some_and(|mode| mode != there.mode() & 0o7777) {
        Err(format!("output {shown} has a mode of its own"))
    } else {
        Ok(())
    }
}

/// Has the directory a default access control list? Then it, and not the umask, decides the mode of what is made in it.
pub fn gives_access(directory: &Path) -> bool {
    let Ok(directory) = CString::new(directory.as_os_str().as_bytes()) else { return false };
    let name = c"system.posix_acl_default".as_ptr();
    // SAFETY: both are strings with an end, and nothing is written where the size is 0.
    unsafe { libc::getxattr(directory.as_ptr(), name, std::ptr::null_mut(), 0) > 0 }
}

/// Can a file be at this path in a sandbox? A sandbox has a `/dev` and a `/proc` of its own (and `/proc/self` of the
/// recorder is not that of the command); and there, the path stands below a folder in the store, and must still be one
/// that the kernel takes.
///
/// # Errors
/// It cannot.
pub fn fits(recorder: &Recorder, path: &Path) -> Result<(), String> {
    /// More than what a sandbox calls its folders, and a name beside the path's.
    const FOLDERS: usize = 256;
    if is_made_up(path) {
        return Err(format!("{} cannot be in a sandbox", path.display()));
    }
    let store = recorder.store.root().as_os_str().len();
    if path.as_os_str().len() + store + FOLDERS < libc::PATH_MAX as usize {
        Ok(())
    } else {
        Err("a path is too long for a sandbox".into())
    }
}

/// The program of a command.
pub struct Executed {
    /// The real path of its file.
    pub program: PathBuf,
    /// As it is called, but for the directories on the way: a link to a compiler is one to it, too.
    pub called: PathBuf,
}

/// Adds the program and the working directory to what the command needs.
///
/// # Errors
/// A clause that says what is not there.
pub fn executed(footprint: &mut Steps<'_>, invocation: &Invocation) -> Result<Executed, String> {
    let Invocation { program, cwd, .. } = invocation;
    let gone = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let Led::File(real) = footprint.add(program).map_err(|error| gone(program, error))? else {
        return Err(format!("{} is no file", program.display()));
    };
    let called = footprint.add_place(program).map_err(|error| gone(program, error))?;
    footprint.add(cwd).map_err(|error| gone(cwd, error))?;
    Ok(Executed { program: real, called })
}

fn toolchains(
    recorder: &Recorder,
    invocation: &Invocation,
    plan: &Plan,
) -> Result<Vec<Arc<Toolchain>>, Decline> {
    let mut found = Vec::new();
    for probe in &plan.probes {
        let surroundings = || LOCALE.iter().copied().chain(["PATH"]);
        // In the language of the command: its messages are part of what it gives.
        let mut env = probe.env.clone();
        env.retain(|(name, _)| !surroundings().any(|s| name == s));
        for name in surroundings() {
            if let Some(value) = invocation.var(name) {
                env.push((name.into(), value.into()));
            }
        }
        let probe = Probe { env, ..probe.clone() };
        let is_in_doubt = |name| recorder.is_in_doubt(name);
        found.push(recorder.toolchains.get(&probe, &recorder.store, &is_in_doubt).map_err(Decline)?);
    }
    Ok(found)
}

/// The environment of the thunk: what matters to the program, what decides its language, and where it finds its parts.
fn environment(
    recorder: &Recorder,
    invocation: &Invocation,
    plan: &Plan,
    toolchains: &[Arc<Toolchain>],
    footprint: &mut Steps<'_>,
) -> Vec<OsString> {
    let mut env = Vec::new();
    let mut push = |name: &str, value: &OsStr| {
        let mut text = OsString::from(name);
        text.push("=");
        text.push(value);
        env.push(text);
    };
    for name in plan.environment.iter().copied().chain(LOCALE) {
        if let Some(value) = invocation.var(name) {
            push(name, value);
        }
    }
    if let Some(path) = invocation.var("PATH") {
        let kept = recorder.toolchains.narrow_path(path, toolchains);
        for directory in kept.iter() {
            let _ = footprint.add(directory);
        }
        if let Ok(joined) = std::env::join_paths(kept.iter()) {
            push("PATH", &joined);
        }
    }
    // Compilers write the working directory into debug information as PWD spells it, if that leads there.
    if let Some(pwd) = invocation.var("PWD")
        && same_directory(recorder, Path::new(pwd), &invocation.cwd)
    {
        let _ = footprint.add(Path::new(pwd));
        push("PWD", pwd);
    }
    env
}

/// A directory that is not there is passed over. What is wrong otherwise, links in a circle or a lack of rights, is as
/// if it were not there in a place where there are only inputs, but is to be complained of: it runs here.
fn can_be_searched(recorder: &Recorder, directory: &Path) -> Result<(), Decline> {
    match recorder.way(directory).led() {
        Err(error) if !is_gone(&error) => Err(gone(directory)(error)),
        _ => Ok(()),
    }
}

/// Do both paths lead to one directory?
pub fn same_directory(recorder: &Recorder, a: &Path, b: &Path) -> bool {
    if let (Ok(Led::Directory(a)), Ok(Led::Directory(b))) = (recorder.way(a).led(), recorder.way(b).led())
        && a == b
    {
        return true;
    }
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    }
}

/// Puts the files into the store and into the thunk: placeholders as what they stand for, the rest as values.
fn add_files(
    recorder: &Recorder,
    thunk: &mut Thunk,
    program: &Path,
    files: Files,
    toolchains: &[Arc<Toolchain>],
) -> Result<(), Decline> {
    for (path, facts) in files {
        if wire::size_may_be_placeholder(facts.id.size)
            && let Some(placeholder) = Placeholder::read(&path).map_err(failed)?
        {
            if placeholder.store != recorder.store.root() {
                return Err(Decline(format!(
                    "{} is a placeholder of another store, {}",
                    path.display(),
                    placeholder.store.display()
                )));
            }
            thunk.thunks.push(ThunkInput { path, from: placeholder.output });
            continue;
        }
        let value = recorder.put(&path, &facts).map_err(failed)?;
        if path == program {
            thunk.function = Some(value);
        }
        if toolchains.iter().any(|t| t.contents.get(path.as_os_str()) == Some(&value)) {
            continue;
        }
        let list = if facts.executable { &mut thunk.executables } else { &mut thunk.values };
        list.push(Input { path, value });
    }
    Ok(())
}

/// A placeholder that is to stand at `path`.
pub fn placeholder(
    recorder: &Recorder,
    path: &Path,
    output: OutputRef,
    mode: u32,
) -> thunk::Result<AtomicFile> {
    let content =
        Placeholder { output, store: recorder.store.root().to_path_buf() }.encode(&recorder.install.gg)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = AtomicFile::nameless_in(directory, mode)?;
    let failed = |what, error| thunk::Error::Io { what, path: path.to_path_buf(), error };
    file.write_all(&content).map_err(|e| failed("write the placeholder", e))?;
    file.set_mode(mode)?;
    Ok(file)
}

fn gone(path: &Path) -> impl FnOnce(std::io::Error) -> Decline {
    move |error| Decline(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use thunk::ObjectKind;

    use super::*;

    #[test]
    fn the_interceptor_knows_a_placeholder_when_it_sees_one() {
        for depth in [1, 100, 1000] {
            let output = OutputRef {
                thunk: ObjectName::of(ObjectKind::Thunk, b"t"),
                output: Some(format!("/{}a b.o", "d/".repeat(depth)).into()),
            };
            for gg in ["/opt/gg/bin/gg", "/opt/with blank/gg"] {
                let placeholder = Placeholder { output: output.clone(), store: "/home/u/.cache/gg".into() };
                let content = placeholder.encode(Path::new(gg)).unwrap();
                assert!(wire::size_may_be_placeholder(content.len() as u64), "{}", content.len());
                let head = wire::PLACEHOLDER_HEAD + wire::PLACEHOLDER_MARK.len();
                assert!(wire::head_is_placeholder(&content[..head.min(content.len())]));
            }
        }
    }

    #[test]
    fn a_directory_that_gives_access_rights_is_for_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.o");
        assert_eq!(is_free(&path, None), Ok(()));
        // What `setfacl -d -m g::rwx` leaves: version 2, then tag, permissions and no name for owner, group and others.
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions) in [(1_u16, 7_u16), (4, 7), (0x20, 5)] {
            list.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
            list.extend(u32::MAX.to_le_bytes());
        }
        let directory = CString::new(dir.path().as_os_str().as_bytes()).unwrap();
        let name = c"system.posix_acl_default";
        // SAFETY: two strings with an end, and a list with its length.
        let set = unsafe {
            libc::setxattr(directory.as_ptr(), name.as_ptr(), list.as_ptr().cast(), list.len(), 0) == 0
        };
        // Not every file system has such lists.
        assert_eq!(is_free(&path, None).is_err(), set);
    }
}
