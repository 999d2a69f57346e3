// SPDX-License-Identifier: Apache-2.0
//! The closure of a tool: all that it reads or executes when it does its job on a tiny input, found by observing it
//! once (never from a list), stored as a tree that thunks share. Remembered on disk for as long as all that it touched
//! is as it was. There is none of a tool that asks others, such as a daemon or another machine, or of which the files
//! change meanwhile.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, available_parallelism};
use std::time::Duration;

use models::Probe;
use thunk::{FileFacts, FileId, Files, Footprint, Led, ObjectName, Store, Tree, TreeEntry, TreeNode};

use crate::key;
use crate::recorder::lock;
use crate::silent::Silent;
use crate::tool::{Failure, Job, Observed};
use crate::touched::{self, Doubts, Rests, Touched};

/// A tool's closure.
#[derive(Debug)]
pub struct Toolchain {
    /// The tree in the store.
    pub tree: ObjectName,
    /// What stands at which real path of it.
    pub contents: foldhash::HashMap<OsString, ObjectName>,
    /// The real directories in which it has a file or link.
    directories: HashSet<PathBuf>,
    /// What the build may change.
    rests: Rests,
}

/// All closures that this recording has needed.
#[derive(Debug)]
pub struct Toolchains {
    directory: PathBuf,
    scratch: PathBuf,
    silent: Arc<Silent>,
    limit: Duration,
    known: Mutex<HashMap<ProbeOfTool, Arc<Mutex<Option<Found>>>>>,
    paths: Mutex<HashMap<PathAndTools, Arc<[PathBuf]>>>,
}

/// A probe, and the identity of its program: builds that make their own compilers make them anew at the same path.
type ProbeOfTool = (Probe, Option<FileId>);

/// A `PATH`, and the trees of the tools that are looked for along it.
type PathAndTools = (OsString, Vec<ObjectName>);

type Found = Result<Arc<Toolchain>, String>;

const HEADER: &str = "gg-toolchain 4";
/// A job on a tiny input that takes longer does not end at all.
const LIMIT: Duration = Duration::from_secs(120);
/// So often a tool is observed of which the files change meanwhile.
const TRIES: usize = 3;

impl Toolchains {
    /// Closures are kept in `directory`; probes run in directories made in `scratch`.
    pub fn new(directory: PathBuf, scratch: PathBuf, silent: Arc<Silent>) -> Self {
        let (known, paths) = (Mutex::default(), Mutex::default());
        Self { directory, scratch, silent, limit: LIMIT, known, paths }
    }

    /// The closure that this probe finds. What it found before in this recording holds but where it rests on something
    /// whose name is in doubt, and which is not as it was: a build may make a part of its compiler anew, or a script
    /// that stands for one.
    ///
    /// # Errors
    /// A clause that says why there is none.
    pub fn get(&self, probe: &Probe, store: &Store, is_in_doubt: Doubts<'_>) -> Found {
        let program = std::fs::metadata(&probe.program).ok().map(|m| FileId::of(&m));
        let cell = {
            let mut known = lock(&self.known);
            Arc::clone(known.entry((probe.clone(), program)).or_default())
        };
        // Others that want the same closure wait here; those that want another one do not.
        let mut found = lock(&cell);
        let holds =
            |found: &&Found| found.as_ref().map_or(true, |toolchain| toolchain.rests.hold(is_in_doubt));
        if let Some(found) = found.as_ref().filter(holds) {
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
        let key = key(probe);
        let record = self.directory.join(&key);
        if let Ok(content) = std::fs::read(&record)
            && let Some(touched) = touched::unsealed(HEADER, &content).and_then(Touched::decode)
        {
            return build(&touched, store);
        }
        self.silent.check(&probe.program, &key)?;
        let mut before: Option<Vec<u8>> = None;
        for _ in 0..TRIES {
            let Observed { start, used, asks_the_machine, .. } = self.observe(probe)?;
            let touched = used.map_err(|why| format!("the toolchain {why}"))?;
            let toolchain = build(&touched, store)?;
            let lines = touched.encode();
            // What was changed shortly before may have been changed while it was observed; not if it was the same
            // before that.
            let as_before = || before.as_deref().is_some_and(|before| touched.is_as_in(before));
            if touched.is_older_than(start) || as_before() {
                if !asks_the_machine {
                    // Without the record the next recording observes again.
                    let _ = thunk::write_atomically(&record, &touched::sealed(HEADER, &lines), 0o644);
                }
                return Ok(toolchain);
            }
            before = Some(lines);
            thread::sleep(thunk::TICK);
        }
        Err("what the toolchain reads changes while it is observed".into())
    }

    fn observe(&self, probe: &Probe) -> Result<Observed, String> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Relaxed);
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
        let Probe { program, argv, .. } = probe;
        let result = Job { program, argv, env: &env, directory: &directory, limit: self.limit }.observed();
        let left = left_beside(&directory, probe);
        let _ = std::fs::remove_dir_all(&directory);
        let observed = result.map_err(|failure| match failure {
            Failure::Hangs(used) => self.silent.add(program, &key(probe), &used),
            Failure::Cannot(why) => format!("the toolchain probe failed: {why}"),
        })?;
        if !observed.done.status.success() {
            let said = String::from_utf8_lossy(&observed.done.stderr);
            let line =
                said.lines().find(|l| l.contains("error")).or(said.lines().next()).unwrap_or("no message");
            return Err(format!("the toolchain probe failed: {line}"));
        }
        if let Some(name) = left {
            return Err(format!("the toolchain leaves {} beside its outputs", name.display()));
        }
        Ok(observed)
    }
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
    let mut contents = foldhash::HashMap::default();
    let mut directories = HashSet::new();
    for path in footprint.files.paths().chain(footprint.links.keys().map(PathBuf::as_path)) {
        directories.extend(path.parent().map(Path::to_path_buf));
    }
    store_large(&footprint.files, store);
    for (path, facts) in footprint.files {
        let value = store.put_seen(&path, &facts).map_err(|e| e.to_string())?;
        contents.insert(path.clone().into_os_string(), value);
        entries.push(TreeEntry { path, node: TreeNode::File { value, executable: facts.executable } });
    }
    for (path, target) in footprint.links {
        entries.push(TreeEntry { path, node: TreeNode::Link(target) });
    }
    for path in footprint.directories.into_iter().filter(|d| d != Path::new("/")) {
        entries.push(TreeEntry { path, node: TreeNode::Directory });
    }
    let tree = store.put_tree(&Tree::new(entries)).map_err(|e| e.to_string())?;
    Ok(Toolchain { tree, contents, directories, rests: Rests::of(touched) })
}

/// Stores those that are large and not known yet by as many threads as there are processors: the first command of all waits for
/// hundreds of megabytes. Who stores them once more finds them there, or what is wrong with them.
fn store_large(files: &Files, store: &Store) {
    const LARGE: u64 = 1 << 20;
    let is_new = |facts: &FileFacts| facts.id.size >= LARGE && store.files().get(&facts.id).is_none();
    let mut large: Vec<_> = files.iter().filter(|(_, facts)| is_new(facts)).collect();
    if large.len() < 2 {
        return;
    }
    large.sort_by_key(|(_, facts)| std::cmp::Reverse(facts.id.size));
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, NonZero::get).min(large.len()) {
            let store_some = || {
                while let Some((path, facts)) = large.get(next.fetch_add(1, Relaxed)) {
                    let _ = store.put_seen(path, facts);
                }
            };
            // Without a thread there are others, or none: then the caller stores them.
            let _ = thread::Builder::new().spawn_scoped(scope, store_some);
        }
    });
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;

    struct Space {
        dir: tempfile::TempDir,
        store: Store,
    }

    impl Space {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(&dir.path().join("store")).unwrap();
            for name in ["kept", "scratch", "answers"] {
                fs::create_dir(dir.path().join(name)).unwrap();
            }
            Self { dir, store }
        }

        /// A file that is old enough to be told apart from the next one.
        fn file(&self, name: &str, content: &str) -> PathBuf {
            let path = self.dir.path().join(name);
            fs::write(&path, content).unwrap();
            thread::sleep(Duration::from_millis(30));
            path
        }

        /// The tool is made anew each time.
        fn probe(&self, script: &str) -> Probe {
            let program = self.dir.path().join("tool");
            crate::tool::write_script(&program, script);
            thread::sleep(Duration::from_millis(30));
            Probe { program, argv: vec!["tool".into(), script.into()], ..Probe::default() }
        }

        fn recording(&self) -> Toolchains {
            let [kept, scratch, answers] =
                ["kept", "scratch", "answers"].map(|name| self.dir.path().join(name));
            Toolchains::new(kept, scratch, Arc::new(Silent::new(answers)))
        }

        /// What another recording finds.
        fn finds(&self, probe: &Probe) -> Found {
            self.recording().get(probe, &self.store, &|_| false)
        }

        fn why(&self, script: &str) -> String {
            self.finds(&self.probe(script)).unwrap_err()
        }

        fn kept(&self) -> usize {
            fs::read_dir(self.dir.path().join("kept")).unwrap().count()
        }
    }

    #[test]
    fn what_changes_while_a_tool_is_observed_is_observed_again() {
        let space = Space::new();
        let [part, one, two] = ["part", "one", "two"].map(|name| space.file(name, name));
        fs::write(&part, format!("{}\n", one.display())).unwrap();
        let probe = space.probe(&format!("read next <{}; sleep 2; read l <$next; true", part.display()));
        let found = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(250));
                fs::write(&part, format!("{}\n", two.display())).unwrap();
            });
            space.finds(&probe).unwrap()
        });
        assert!(found.contents.contains_key(two.as_os_str()));
        assert_eq!(space.kept(), 1);
        let kept = space.finds(&probe).unwrap();
        assert_eq!(kept.tree, found.tree);
        assert!(kept.contents.contains_key(two.as_os_str()) && !kept.contents.contains_key(one.as_os_str()));
    }

    #[test]
    fn a_link_that_is_set_elsewhere_meanwhile_counts_too() {
        let space = Space::new();
        let [one, two, link, new] = ["one", "two", "link", "new"].map(|name| space.dir.path().join(name));
        for directory in [&one, &two] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join("next"), "").unwrap();
            fs::write(directory.join("part"), format!("{}/next\n", directory.display())).unwrap();
        }
        std::os::unix::fs::symlink(&one, &link).unwrap();
        std::os::unix::fs::symlink(&two, &new).unwrap();
        let script = format!("read next <{}/part; sleep 2; read l <$next; true", link.display());
        let probe = space.probe(&script);
        let found = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(250));
                fs::rename(&new, &link).unwrap();
            });
            space.finds(&probe).unwrap()
        });
        assert!(found.contents.contains_key(two.join("next").as_os_str()));
        assert_eq!(space.finds(&probe).unwrap().tree, found.tree);
    }

    #[test]
    fn a_part_that_is_made_anew_is_noticed() {
        let space = Space::new();
        let part = space.file("part", "1");
        let probe = space.probe(&format!("read l <{}; true", part.display()));
        let recording = space.recording();
        let get = |name: &str| {
            let found = recording
                .get(&probe, &space.store, &|asked| asked == wire::log::name_hash(name.as_bytes()))
                .unwrap();
            found.contents[part.as_os_str()]
        };
        let before = get("");
        space.file("part", "22");
        assert_eq!(get("another"), before);
        assert_ne!(get("part"), before);
        assert_ne!(get(""), before);
    }

    #[test]
    fn a_tool_that_is_new_or_of_another_time_is_observed_as_any_other() {
        let space = Space::new();
        let probe = space.probe("true");
        crate::tool::write_script(&probe.program, "exit 0");
        assert!(space.finds(&probe).is_ok());
        assert_eq!(space.kept(), 1);
        let probe = space.probe("true");
        let later = std::time::SystemTime::now() + Duration::from_secs(1_000_000);
        fs::File::open(&probe.program).unwrap().set_modified(later).unwrap();
        thread::sleep(Duration::from_millis(30));
        assert!(space.finds(&probe).is_ok());
    }

    #[test]
    fn what_cannot_be_captured_has_no_closure() {
        let space = Space::new();
        let part = space.file("part", "text\n");
        let changing = format!("read l <{0}; chmod 600 {0}", part.display());
        assert_eq!(space.why(&changing), "what the toolchain reads changes while it is observed");
        let network = "perl -MSocket -e 'socket my $s, PF_INET, SOCK_DGRAM, 0 or die'";
        assert_eq!(space.why(network), "the toolchain uses the network");
        let socket = space.dir.path().join("socket");
        let _daemon = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let script = "socket my $s, PF_UNIX, SOCK_STREAM, 0; connect $s, sockaddr_un shift or die";
        let why = space.why(&format!("perl -MSocket -e '{script}' {}", socket.display()));
        assert_eq!(why, format!("the toolchain asks who listens at {}", socket.display()));
        let why = space.why(&format!("rm {}", part.display()));
        assert_eq!(why, format!("the toolchain removes {}", part.display()));
        assert_eq!(space.kept(), 0);
        // Its own streams are nobody else.
        assert!(space.finds(&space.probe("echo x >/dev/stderr")).is_ok());
        assert_eq!(space.kept(), 1);
        assert!(space.finds(&space.probe("read l </proc/cpuinfo")).is_ok());
        assert_eq!(space.kept(), 1, "another machine has another one");
        assert!(space.finds(&space.probe("read l </sys/devices/system/cpu/online")).is_ok());
        assert_eq!(space.kept(), 2, "but one with more processors has the same");
    }

    #[test]
    fn a_tool_that_does_not_end_is_not_observed_again() {
        let space = Space::new();
        let probe = space.probe("sleep 1000");
        let started = Instant::now();
        let recording = Toolchains { limit: Duration::from_millis(300), ..space.recording() };
        let why = recording.get(&probe, &space.store, &|_| false).unwrap_err();
        assert!(why.ends_with("tool does not end when it is asked about itself"), "{why}");
        assert_eq!(space.finds(&probe).unwrap_err(), why);
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}
