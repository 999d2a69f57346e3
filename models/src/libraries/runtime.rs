// SPDX-License-Identifier: Apache-2.0
//! Which shared libraries the dynamic loader will load for a program.
//!
//! Follows ld.so's order: `DT_RPATH` of the needing file and of those that needed it (where the needing file has no
//! `DT_RUNPATH`), `LD_LIBRARY_PATH`, `DT_RUNPATH` of the needing file, the cache, the default directories. In place of
//! the cache, the directories of `/etc/ld.so.conf` from which it is made are searched; `glibc-hwcaps` directories, which
//! only hold other builds of the same library, are not. What a program loads by itself (`dlopen`) is not known here.

use super::directories::{LoaderConfiguration, run_path};
use crate::elf::{ElfFacts, Target, split_colons};
use crate::{Node, World};
use std::cell::OnceCell;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One loaded file: who needed it, and where it makes others be searched.
struct Loaded {
    by: Option<usize>,
    needed: Vec<OsString>,
    rpath: Vec<PathBuf>,
    runpath: Vec<PathBuf>,
}

/// The shared libraries that ld.so loads for the program at `path`, which says this of itself, in load order: absolute paths as
/// ld.so would open them, placeholders included. Empty for a static program. What
/// is not found is left out: ld.so will say so itself.
///
/// For a placeholder the libraries that its link was given are followed, since its own list does not exist yet.
/// `ld_library_path` is split at colons by this function; what is relative in it, or in a run path, is relative to `cwd`,
/// where the program is started.
#[must_use]
pub fn runtime_libraries(
    facts: &ElfFacts,
    path: &Path,
    ld_library_path: Option<&OsStr>,
    cwd: &Path,
    world: &dyn World,
) -> Vec<PathBuf> {
    let target = facts.target;
    let library_path: Vec<PathBuf> = ld_library_path.map(split_semicolons).unwrap_or_default();
    let configuration: OnceCell<LoaderConfiguration> = OnceCell::new();
    let default_dirs = default_directories(target);
    let mut loaded = vec![Loaded::new(None, facts, path)];
    let mut seen = BTreeSet::new();
    let mut result = Vec::new();
    let mut queue = VecDeque::from([0usize]);
    while let Some(index) = queue.pop_front() {
        for name in loaded[index].needed.clone() {
            if !seen.insert(name.clone()) {
                continue;
            }
            let fits = |path: &PathBuf| is_loadable(path, target, world);
            let found = if name.as_bytes().contains(&b'/') {
                Some(cwd.join(&name)).filter(fits)
            } else {
                let mut dirs: Vec<&PathBuf> = Vec::new();
                if loaded[index].runpath.is_empty() {
                    let mut at = Some(index);
                    while let Some(i) = at {
                        dirs.extend(&loaded[i].rpath);
                        at = loaded[i].by;
                    }
                }
                dirs.extend(&library_path);
                dirs.extend(&loaded[index].runpath);
                let named = dirs.into_iter().map(|dir| cwd.join(dir).join(&name)).find(&fits);
                named.or_else(|| {
                    let configured = configuration.get_or_init(|| LoaderConfiguration::read(None, world));
                    let dirs = configured.dirs.iter().chain(&default_dirs);
                    dirs.map(|dir| dir.join(&name)).find(&fits)
                })
            };
            let Some(found) = found else { continue };
            result.push(found.clone());
            let next = match world.node(&found) {
                Some(Node::Placeholder) => Loaded::placeholder(index, &world.linked_with(&found)),
                _ => match world.elf(&found) {
                    Some(facts) => Loaded::new(Some(index), &facts, &found),
                    None => continue,
                },
            };
            loaded.push(next);
            queue.push_back(loaded.len() - 1);
        }
    }
    let mut once = BTreeSet::new();
    result.retain(|path| once.insert(path.clone()));
    result
}

impl Loaded {
    fn new(by: Option<usize>, facts: &ElfFacts, path: &Path) -> Loaded {
        let runpath = run_path(&facts.runpath, path);
        let rpath = if facts.runpath.is_empty() { run_path(&facts.rpath, path) } else { Vec::new() };
        Loaded { by, needed: facts.needed.clone(), rpath, runpath }
    }

    /// What is not linked yet needs what its link was given, by path.
    fn placeholder(by: usize, linked_with: &[PathBuf]) -> Loaded {
        let needed = linked_with.iter().map(|path| path.clone().into_os_string()).collect();
        Loaded { by: Some(by), needed, rpath: Vec::new(), runpath: Vec::new() }
    }
}

/// ld.so passes over libraries of another class or machine.
fn is_loadable(path: &Path, target: Target, world: &dyn World) -> bool {
    match world.node(path) {
        Some(Node::Placeholder) => true,
        Some(Node::File) => world.elf(path).is_some_and(|facts| facts.target == target),
        _ => false,
    }
}

fn default_directories(target: Target) -> Vec<PathBuf> {
    let arch = std::env::consts::ARCH;
    let mut dirs = Vec::new();
    if target == Target::host() {
        dirs.push(format!("/lib/{arch}-linux-gnu"));
        dirs.push(format!("/usr/lib/{arch}-linux-gnu"));
    }
    let plain: &[&str] = if target.is_64 {
        &["/lib64", "/usr/lib64", "/lib", "/usr/lib"]
    } else {
        &["/lib32", "/usr/lib32", "/lib", "/usr/lib"]
    };
    dirs.into_iter().map(PathBuf::from).chain(plain.iter().map(PathBuf::from)).collect()
}

/// ld.so also takes semicolons as separators in `LD_LIBRARY_PATH`. An empty part is the working directory.
fn split_semicolons(list: &OsStr) -> Vec<PathBuf> {
    let parts = list.as_bytes().split(|&b| b == b';').flat_map(|part| split_colons(OsStr::from_bytes(part)));
    parts.map(PathBuf::from).collect()
}
