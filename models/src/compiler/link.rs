// SPDX-License-Identifier: Apache-2.0
//! The files that a link reads. What it finds in directories that the command names is an input by its path; libraries that
//! the toolchain finds by itself are left to the link probe.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::command_line::CommandLine;
use super::passed::LinkItem;
use super::probe::{environment, is_front, kept_words};
use super::{decline, options::Meaning as M};
use crate::libraries::{LibrarySearch, is_file, parse_gcc_search_dirs, parse_ld_search_dirs};
use crate::{Decline, Invocation, Node, Question, World};

/// A library that the toolchain finds without help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SystemLibrary {
    /// What follows `-l`.
    pub(super) name: OsString,
    /// It was looked for as an archive only.
    pub(super) is_static: bool,
}

/// What a link reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    /// Objects, archives, libraries and all that these need: absolute.
    pub(super) inputs: BTreeSet<PathBuf>,
    /// Left to the probe; each once.
    pub(super) system: Vec<SystemLibrary>,
    /// After the last item, only archives are looked for.
    pub(super) ends_static: bool,
    /// Directories that are searched.
    pub(super) dirs: Vec<PathBuf>,
    /// The program is for Windows.
    pub(super) is_windows: bool,
}

/// The suffix that the driver appends to the name of a program that has none: `.exe` for Windows, nothing elsewhere. Which machine it
/// links for depends on its options and on how it was built, so it is asked how it would call the linker.
///
/// # Errors
/// A driver that does not tell.
pub(super) fn program_suffix(
    line: &CommandLine,
    at: &Invocation,
    world: &dyn World,
) -> Result<OsString, Decline> {
    let mut argv = vec![at.argv.first().cloned().unwrap_or_default()];
    argv.extend(kept_words(line, at, world, |meaning| is_front(meaning) || meaning == M::LinkToolchain));
    argv.extend(["-###", "-o", PROGRAM, "/dev/null"].map(OsString::from));
    let question =
        Question { program: at.program.clone(), argv, env: environment(at), ..Question::default() };
    let answer =
        world.ask(&question).map_err(|e| decline(format!("cannot be asked what it calls a program: {e}")))?;
    suffix_in(&answer.stderr).ok_or_else(|| decline("does not tell what it calls a program"))
}

/// A name without a suffix.
const PROGRAM: &str = "probe";

/// The suffix that the command of the linker gives [`PROGRAM`]. clang quotes all words.
fn suffix_in(commands: &[u8]) -> Option<OsString> {
    let words = commands
        .split(u8::is_ascii_whitespace)
        .map(|word| word.strip_prefix(b"\"").and_then(|word| word.strip_suffix(b"\"")).unwrap_or(word));
    let words: Vec<&[u8]> = words.collect();
    let output = words.windows(2).rev().find(|pair| pair[0] == b"-o")?[1];
    output.strip_prefix(PROGRAM.as_bytes()).map(|suffix| OsStr::from_bytes(suffix).to_owned())
}

/// Finds what the linker will read; `suffix` is that of programs.
///
/// # Errors
/// An object or library that does not exist.
pub(super) fn resolve(
    line: &CommandLine,
    suffix: &OsStr,
    at: &Invocation,
    world: &dyn World,
) -> Result<Link, Decline> {
    let given = library_path(at);
    let mut search = search(line, at, &given, world)?;
    search.is_windows = !suffix.is_empty();
    let mut link = Link { dirs: search.dirs.clone(), is_windows: search.is_windows, ..Link::default() };
    link.dirs.extend(given.iter().cloned());
    link.dirs.extend(search.rpath_link.iter().cloned());
    let mut roots = Vec::new();
    let mut states = Vec::new();
    search.is_static = line.is_static;
    for item in &line.linker.items {
        match item {
            LinkItem::State(effect) => effect.switch(&mut search.is_static, &mut states),
            LinkItem::File(path) => {
                let path = at.absolute(path);
                roots.push(path);
            }
            LinkItem::Library(name) => {
                let found = search.find(name, world);
                let found =
                    found.ok_or_else(|| decline(format!("-l{} is not found", name.to_string_lossy())))?;
                // A library that was only just made is no part of the toolchain, wherever it stands.
                let is_given = || given.iter().any(|dir| found.path.parent() == Some(dir));
                if found.in_system && !is_given() && world.node(&found.path) != Some(Node::Placeholder) {
                    let library = SystemLibrary { name: name.clone(), is_static: search.is_static };
                    if !link.system.contains(&library) {
                        link.system.push(library);
                    }
                } else {
                    roots.push(found.path);
                }
            }
        }
    }
    for script in &line.linker.scripts {
        roots.push(search.find_script(script.as_os_str(), world)?);
    }
    for file in &line.linker.reads {
        let path = at.absolute(file);
        if !is_file(&path, world) {
            return Err(Decline::missing(&path));
        }
        link.inputs.insert(path);
    }
    link.ends_static = search.is_static;
    search.is_static = line.is_static;
    // Objects lead nowhere: there is no need to look into each of them.
    let (objects, others): (Vec<_>, Vec<_>) = roots.into_iter().partition(|path| is_object(path));
    for path in objects {
        if !is_file(&path, world) {
            return Err(Decline::missing(&path));
        }
        link.inputs.insert(path);
    }
    link.inputs.extend(search.closure(&others, world)?);
    Ok(link)
}

fn is_object(path: &Path) -> bool {
    path.extension().is_some_and(|suffix| suffix == "o")
}

/// The directories of `LIBRARY_PATH`; an empty one is the working directory.
fn library_path(at: &Invocation) -> Vec<PathBuf> {
    let list = at.var("LIBRARY_PATH").filter(|list| !list.is_empty());
    let dirs = list.into_iter().flat_map(|list| list.as_bytes().split(|&b| b == b':'));
    dirs.map(|dir| at.absolute(OsStr::from_bytes(dir))).collect()
}

/// Where this command looks for libraries, with what `LIBRARY_PATH` has given.
fn search(
    line: &CommandLine,
    at: &Invocation,
    given: &[PathBuf],
    world: &dyn World,
) -> Result<LibrarySearch, Decline> {
    let mut search = LibrarySearch::new(at);
    search.sysroot = line.sysroot.as_ref().map(|dir| at.absolute(dir));
    search.dirs = line.linker.dirs.iter().map(|dir| search.directory(dir.as_os_str())).collect();
    let meaningful = |dir: &&PathBuf| !dir.as_os_str().as_bytes().contains(&b'$');
    search.rpath_link = line
        .linker
        .rpath_link
        .iter()
        .filter(meaningful)
        .map(|dir| search.directory(dir.as_os_str()))
        .collect();
    if line.linker.items.iter().any(|item| !matches!(item, LinkItem::File(path) if is_object(path))) {
        search.system_dirs = system_dirs(line, at, given, world)?;
    }
    Ok(search)
}

/// The directories that the driver and its linker search by themselves. The driver hands on those of `LIBRARY_PATH` after
/// most of its own, where gcc lists them, or after all of these, as clang does, which does not list them.
fn system_dirs(
    line: &CommandLine,
    at: &Invocation,
    given: &[PathBuf],
    world: &dyn World,
) -> Result<Vec<PathBuf>, Decline> {
    let front = kept_words(line, at, world, |meaning| is_front(meaning) || meaning == M::LinkToolchain);
    let mut env = environment(at);
    if !given.is_empty() {
        let list = std::env::join_paths(given).map_err(|e| decline(format!("LIBRARY_PATH: {e}")))?;
        env.retain(|(name, _)| name != "LIBRARY_PATH");
        env.push(("LIBRARY_PATH".into(), list));
    }
    let ask = |words: &[&str]| {
        let mut argv = vec![at.argv.first().cloned().unwrap_or_default()];
        argv.extend(front.iter().cloned());
        argv.extend(words.iter().map(OsString::from));
        let question =
            Question { program: at.program.clone(), argv, env: env.clone(), ..Question::default() };
        world.ask(&question).map_err(|e| decline(format!("cannot be asked for its library directories: {e}")))
    };
    let mut dirs = parse_gcc_search_dirs(&ask(&["-print-search-dirs"])?.stdout, Path::new("/"));
    for dir in given {
        if !dirs.contains(dir) {
            dirs.push(dir.clone());
        }
    }
    // A linker other than GNU ld prints no script, and looks nowhere else.
    let script = ask(&["-nostdlib", "-Wl,--verbose"])?;
    dirs.extend(parse_ld_search_dirs(
        &script.stdout,
        line.sysroot.as_ref().map(|d| at.absolute(d)).as_deref(),
    ));
    Ok(dirs)
}
