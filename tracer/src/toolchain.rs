// SPDX-License-Identifier: Apache-2.0
//! The closure of a tool: all that it reads or executes when it does its job on a tiny input, found by observing it
//! once (never from a list), stored as a tree that thunks share. Remembered on disk for as long as every file that was read is
//! the same, and every path that was looked for in vain still leads nowhere.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use models::Probe;
use thunk::{FileId, Footprint, Led, ObjectName, Store, Tree, TreeEntry, TreeNode};

use crate::key;
use crate::recorder::lock;
use crate::touched::{self, Touched};

/// A tool's closure.
#[derive(Debug)]
pub struct Toolchain {
    /// The tree in the store.
    pub tree: ObjectName,
    /// What stands at which real path of it.
    pub contents: HashMap<PathBuf, ObjectName>,
    /// The real directories in which it has a file or link.
    directories: HashSet<PathBuf>,
}

/// All closures that this recording has needed.
#[derive(Debug)]
pub struct Toolchains {
    directory: PathBuf,
    scratch: PathBuf,
    known: Mutex<HashMap<ProbeOfTool, Arc<Mutex<Option<Found>>>>>,
    paths: Mutex<HashMap<PathAndTools, Arc<[PathBuf]>>>,
}

/// A probe, and the identity of its program: builds that make their own compilers make them anew at the same path.
type ProbeOfTool = (Probe, Option<FileId>);

/// A `PATH`, and the trees of the tools that are looked for along it.
type PathAndTools = (OsString, Vec<ObjectName>);

type Found = Result<Arc<Toolchain>, String>;

const HEADER: &str = "gg-toolchain 3";
/// A job on a tiny input that takes longer does not end at all.
const LIMIT: Duration = Duration::from_secs(120);

impl Toolchains {
    /// Closures are kept in `directory`; probes run in directories made in `scratch`.
    pub fn new(directory: PathBuf, scratch: PathBuf) -> Self {
        Self { directory, scratch, known: Mutex::default(), paths: Mutex::default() }
    }

    /// The closure that this probe finds.
    ///
    /// # Errors
    /// A clause that says why there is none.
    pub fn get(&self, probe: &Probe, store: &Store) -> Found {
        let program = std::fs::metadata(&probe.program).ok().map(|m| FileId::of(&m));
        let cell = {
            let mut known = lock(&self.known);
            Arc::clone(known.entry((probe.clone(), program)).or_default())
        };
        // Others that want the same closure wait here; those that want another one do not.
        let mut found = lock(&cell);
        if let Some(found) = &*found {
            return found.clone();
        }
        let result = self.load_or_observe(probe, store).map(Arc::new);
        *found = Some(result.clone());
        result
    }

    /// `PATH` without the directories that hold nothing of these tools: whether they exist makes no difference to the
    /// command, and the thunks of users with different paths are the same.
    pub fn narrow_path(&self, path: &OsStr, toolchains: &[Arc<Toolchain>]) -> Arc<[PathBuf]> {
        let key = (path.to_os_string(), toolchains.iter().map(|t| t.tree).collect::<Vec<_>>());
        let mut paths = lock(&self.paths);
        let narrowed = paths.entry(key).or_insert_with(|| {
            let useful = |directory: &Path| {
                std::fs::canonicalize(directory)
                    .is_ok_and(|real| toolchains.iter().any(|t| t.directories.contains(&real)))
            };
            std::env::split_paths(path).filter(|d| d.is_absolute() && useful(d)).collect()
        });
        Arc::clone(narrowed)
    }

    fn load_or_observe(&self, probe: &Probe, store: &Store) -> Result<Toolchain, String> {
        let record = self.directory.join(key(probe));
        if let Ok(content) = std::fs::read(&record)
            && let Some(touched) = touched::unsealed(HEADER, &content).and_then(Touched::decode)
        {
            return build(&touched, store);
        }
        let touched = self.observe(probe)?;
        let toolchain = build(&touched, store)?;
        // Without the record the next recording observes again.
        let _ = thunk::write_atomically(&record, &touched::sealed(HEADER, &touched.encode()), 0o644);
        Ok(toolchain)
    }

    fn observe(&self, probe: &Probe) -> Result<Touched, String> {
        static SERIAL: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let directory = self.scratch.join(format!("probe-{serial}"));
        let trouble =
            |e: std::io::Error| format!("the toolchain probe cannot run in {}: {e}", directory.display());
        std::fs::create_dir_all(&directory).map_err(trouble)?;
        for (name, content) in &probe.files {
            let mut file = std::fs::File::create(directory.join(name)).map_err(trouble)?;
            file.write_all(content).map_err(trouble)?;
        }
        let mut env = probe.env.clone();
        env.push(("TMPDIR".into(), directory.clone().into_os_string()));
        let command = observe::Command {
            argv: settled(&probe.argv, &probe.program),
            env,
            cwd: directory.clone(),
            ..observe::Command::new(&probe.program)
        };
        let options = observe::Options { timeout: Some(LIMIT), rest: observe::Rest::Kill };
        let result = observe::observe(&command, &options);
        let left = left_beside(&directory, probe);
        let _ = std::fs::remove_dir_all(&directory);
        let observation = result.map_err(|e| format!("the toolchain probe failed: {e}"))?;
        if !observation.status.success() {
            let said = String::from_utf8_lossy(&observation.stderr);
            let line =
                said.lines().find(|l| l.contains("error")).or(said.lines().next()).unwrap_or("no message");
            return Err(format!("the toolchain probe failed: {line}"));
        }
        if let Some(name) = left {
            return Err(format!("the toolchain leaves {} beside its outputs", name.display()));
        }
        Touched::of(&observation.touches, &directory)
            .map_err(|path| format!("the toolchain writes {}", path.display()))
    }
}

/// The arguments for running the program elsewhere than where the command runs: programs that find their parts from
/// `argv[0]` must not find them, or find others, because of that.
pub fn settled(argv: &[OsString], program: &Path) -> Vec<OsString> {
    let mut argv = argv.to_vec();
    if let Some(name) = argv.first_mut()
        && name.as_bytes().contains(&b'/')
    {
        *name = program.into();
    }
    argv
}

/// A file in a probe's directory that is neither the probe's nor named after it. A compiler's parts may be scripts of the build,
/// which write logs.
fn left_beside(directory: &Path, probe: &Probe) -> Option<OsString> {
    let is_expected =
        |name: &OsString| name.as_bytes().starts_with(b"probe") || probe.argv.iter().any(|word| word == name);
    let entries = std::fs::read_dir(directory).ok()?;
    entries.flatten().map(|entry| entry.file_name()).find(|name| !is_expected(name))
}

fn key(probe: &Probe) -> String {
    let env = probe.env.iter().flat_map(|(name, value)| [name, value]);
    let words = probe.argv.iter().chain(env).map(|word| &**word);
    let files = probe.files.iter().flat_map(|(name, content)| [OsStr::new(name), OsStr::from_bytes(content)]);
    key::of([probe.program.as_os_str()].into_iter().chain(words).chain(files))
}

/// The tree of what was touched, its files in the store.
fn build(touched: &Touched, store: &Store) -> Result<Toolchain, String> {
    let mut footprint = Footprint::default();
    for path in &touched.found {
        // What is gone by now was a temporary file, or the record would not hold.
        if let Ok(Led::Special(special)) = footprint.add(path) {
            return Err(format!("the toolchain uses {}, which is no file", special.display()));
        }
    }
    let mut entries = Vec::new();
    let mut contents = HashMap::new();
    let mut directories = HashSet::new();
    for path in footprint.files.keys().chain(footprint.links.keys()) {
        directories.extend(path.parent().map(Path::to_path_buf));
    }
    for (path, facts) in footprint.files {
        let value = store.put_seen(&path, &facts).map_err(|e| e.to_string())?;
        contents.insert(path.clone(), value);
        entries.push(TreeEntry { path, node: TreeNode::File { value, executable: facts.executable } });
    }
    for (path, target) in footprint.links {
        entries.push(TreeEntry { path, node: TreeNode::Link(target) });
    }
    for path in footprint.directories.into_iter().filter(|d| d != Path::new("/")) {
        entries.push(TreeEntry { path, node: TreeNode::Directory });
    }
    let tree = store.put_tree(&Tree::new(entries)).map_err(|e| e.to_string())?;
    Ok(Toolchain { tree, contents, directories })
}

/// The variables of an environment that decide in which language a tool speaks.
pub const LOCALE: [&str; 9] = [
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_NUMERIC",
    "LC_TIME",
    "LOCPATH",
];
