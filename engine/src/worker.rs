// SPDX-License-Identifier: Apache-2.0
//! The worker: takes thunks, runs each in the sandbox, stores its outputs, answers. One process with one thread, so that
//! it can enter namespaces and fork freely. Unaware of the graph, of other workers and of the tree in which results end up.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use sandbox::{Entry, Layer, Outcome, Sandbox, Status};
use thunk::{ObjectName, ReducedOutput, Reduction, Store, Thunk, Tree, TreeNode};

use crate::protocol::{self, Done, Failed, Job};

/// Where commands see the files of gg's own thunks, which name them without a directory.
const GG_WORKDIR: &str = "/gg";

/// Serves on file descriptor 0, a socket, until it is closed.
///
/// # Errors
/// The store or the sandbox is not to be had.
pub fn serve(store_root: &Path) -> Result<()> {
    // SAFETY: the engine that started this process put a socket there, and nothing else here uses it.
    let mut stream = UnixStream::from(unsafe { OwnedFd::from_raw_fd(0) });
    // SAFETY: prctl with integers only. An engine that is killed leaves no worker behind.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let store = Store::open(store_root)?;
    let sandbox = Sandbox::enter(&store.root().join("sandbox")).context("the sandbox cannot be made");
    let mut worker = match sandbox {
        Ok(sandbox) => Worker { store, sandbox, trees: HashMap::new() },
        Err(error) => {
            // The first job's answer is the place where somebody listens.
            while protocol::read::<Job>(&mut stream)?.is_some() {
                let result = protocol::Result::Broken(format!("{error:#}"));
                protocol::write(&mut stream, &Done { result: Some(result) })?;
            }
            return Ok(());
        }
    };
    while let Some(job) = protocol::read::<Job>(&mut stream)? {
        let result = match worker.run(&job) {
            Ok(result) => result,
            Err(error) => protocol::Result::Broken(format!("{error:#}")),
        };
        protocol::write(&mut stream, &Done { result: Some(result) })?;
    }
    Ok(())
}

struct Worker {
    store: Store,
    sandbox: Sandbox,
    /// Trees that were used lately: toolchains, few and shared by nearly all thunks.
    trees: HashMap<ObjectName, Rc<Tree>>,
}

impl Worker {
    fn run(&mut self, job: &Job) -> Result<protocol::Result> {
        let name: ObjectName = job.thunk.parse()?;
        let thunk = self.store.thunk(&name)?;
        if !thunk.thunks.is_empty() {
            bail!("{name} has inputs that are not reduced");
        }
        let layout = Layout::of(&thunk);
        let wanted = self.wanted(&thunk, &layout)?;
        self.sandbox.sync(&wanted)?;
        let outcome = self.sandbox.run(&self.job(&thunk, &layout)?)?;
        if outcome.status == Status::Exited(0) {
            let reduction = self.collect(&thunk, &layout, outcome)?;
            match reduction {
                Ok(reduction) => {
                    self.store.put_reduction(&name, &reduction)?;
                    Ok(protocol::Result::Reduced(reduction.encode()))
                }
                Err(failed) => Ok(protocol::Result::Failed(failed)),
            }
        } else {
            Ok(protocol::Result::Failed(failure(outcome)))
        }
    }

    /// Everything that exists where the command runs.
    fn wanted(&mut self, thunk: &Thunk, layout: &Layout) -> Result<BTreeMap<PathBuf, Entry>> {
        let mut wanted = BTreeMap::new();
        for name in &thunk.trees {
            let tree = match self.trees.get(name) {
                Some(tree) => Rc::clone(tree),
                None => {
                    let tree = Rc::new(self.store.tree(name)?);
                    if self.trees.len() > 64 {
                        self.trees.clear();
                    }
                    self.trees.insert(*name, Rc::clone(&tree));
                    tree
                }
            };
            for entry in tree.entries() {
                let entry_here = match &entry.node {
                    TreeNode::File { value, executable } => self.file(value, *executable)?,
                    TreeNode::Link(target) => Entry::Symlink(target.clone()),
                    TreeNode::Directory => Entry::Directory,
                };
                insert(&mut wanted, entry.path.clone(), entry_here);
            }
        }
        for directory in &thunk.directories {
            if directory != Path::new("/") {
                insert(&mut wanted, directory.clone(), Entry::Directory);
            }
        }
        for link in &thunk.links {
            insert(&mut wanted, layout.place(&link.path), Entry::Symlink(link.target.clone()));
        }
        for (inputs, executable) in [(&thunk.values, false), (&thunk.executables, true)] {
            for input in inputs {
                let path = if input.path.as_os_str().is_empty() {
                    layout.blob(&input.value)
                } else {
                    layout.place(&input.path)
                };
                insert(&mut wanted, path, self.file(&input.value, executable)?);
            }
        }
        if thunk.program.is_none()
            && let Some(function) = &thunk.function
        {
            insert(&mut wanted, layout.blob(function), self.file(function, true)?);
        }
        Ok(wanted)
    }

    fn file(&self, value: &ObjectName, executable: bool) -> Result<Entry> {
        Ok(Entry::File { source: self.store.file(value, executable)?, executable })
    }

    fn job(&self, thunk: &Thunk, layout: &Layout) -> Result<sandbox::Job> {
        let substitute = |text: &OsStr| {
            // Only gg's own thunks have these; in others such an argument means itself.
            if thunk.workdir.is_some() {
                return Ok(text.to_os_string());
            }
            thunk::substitute(text, &mut |name| Ok(layout.blob(&name)))
        };
        let argv = thunk.args.iter().map(|a| substitute(a)).collect::<thunk::Result<Vec<_>>>()?;
        let program = match (&thunk.program, &thunk.function) {
            (Some(program), _) => program.clone(),
            (None, Some(function)) => layout.blob(function),
            (None, None) => bail!("it has no function"),
        };
        let mut job = sandbox::Job::new(program, argv, layout.workdir.clone());
        for text in &thunk.env {
            job.env.push(split_variable(&substitute(text)?));
        }
        job.umask = thunk.umask.unwrap_or(0o022);
        job.timeout = (thunk.timeout_ms > 0).then(|| Duration::from_millis(thunk.timeout_ms.into()));
        job.directories = thunk
            .outputs
            .iter()
            .chain(&thunk.optional_outputs)
            .filter_map(|o| layout.place(o).parent().map(Path::to_path_buf))
            .filter(|d| d != Path::new("/"))
            .collect();
        job.layer = Layer::Memory;
        Ok(job)
    }

    /// Moves the outputs into the store. The inner error is the command's: it ended well but did not do its work.
    fn collect(
        &self,
        thunk: &Thunk,
        layout: &Layout,
        outcome: Outcome,
    ) -> Result<std::result::Result<Reduction, Failed>> {
        let mut outputs = Vec::new();
        for (path, optional) in
            thunk.outputs.iter().map(|p| (p, false)).chain(thunk.optional_outputs.iter().map(|p| (p, true)))
        {
            let place = layout.place(path);
            let written = outcome.upper.file(&place)?;
            let output = match &written {
                Some(file) => {
                    let executable = is_executable(file)?;
                    Some((self.store.adopt(file, executable)?, executable))
                }
                // Not written: it may still be an input that was left as it was (`strip` of what is stripped).
                None => unchanged(thunk, path),
            };
            match output {
                Some((value, executable)) => {
                    outputs.push(ReducedOutput { path: path.clone(), value, executable });
                }
                None if optional => {}
                None => {
                    let mut failed = failure(outcome);
                    failed.how = format!("it ended well, but did not write {}", place.display());
                    failed.code = 1;
                    return Ok(Err(failed));
                }
            }
        }
        let usage = outcome.usage;
        Ok(Ok(Reduction {
            outputs,
            stdout: outcome.stdout,
            stderr: outcome.stderr,
            wall: usage.wall,
            cpu: usage.user + usage.system,
        }))
    }
}

/// Files count more than links, links more than bare directories, where several say what stands at a path.
fn insert(wanted: &mut BTreeMap<PathBuf, Entry>, path: PathBuf, entry: Entry) {
    match wanted.get(&path) {
        Some(Entry::File { .. } | Entry::Symlink(_)) if entry == Entry::Directory => {}
        _ => {
            wanted.insert(path, entry);
        }
    }
}

fn unchanged(thunk: &Thunk, path: &Path) -> Option<(ObjectName, bool)> {
    let among = |inputs: &[thunk::Input]| inputs.iter().find(|i| i.path == path).map(|i| i.value);
    among(&thunk.values)
        .map(|value| (value, false))
        .or_else(|| among(&thunk.executables).map(|value| (value, true)))
}

fn is_executable(path: &Path) -> Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    Ok(metadata.mode() & 0o111 != 0)
}

fn failure(outcome: Outcome) -> Failed {
    let (code, how) = match outcome.status {
        Status::Exited(code) => (code, String::new()),
        Status::Signaled(signal) => (128 + signal, format!("killed by signal {signal}")),
        Status::TimedOut => (124, "its time was up".into()),
        Status::OutputLimit => (1, "it wrote more to standard output and error than is kept".into()),
        Status::NotStarted(why) => (127, why.to_string()),
    };
    Failed { code, how, stdout: outcome.stdout, stderr: outcome.stderr }
}

fn split_variable(text: &OsStr) -> (OsString, OsString) {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|&b| b == b'=').unwrap_or(bytes.len());
    let value = bytes.get(at + 1..).unwrap_or_default();
    (OsStr::from_bytes(&bytes[..at]).into(), OsStr::from_bytes(value).into())
}

/// Where the paths of a thunk are in its sandbox: ours are absolute already, gg's get a directory.
struct Layout {
    workdir: PathBuf,
}

impl Layout {
    fn of(thunk: &Thunk) -> Self {
        Self { workdir: thunk.workdir.clone().unwrap_or_else(|| GG_WORKDIR.into()) }
    }

    fn place(&self, path: &Path) -> PathBuf {
        self.workdir.join(path)
    }

    fn blob(&self, name: &ObjectName) -> PathBuf {
        Path::new("/gg-blobs").join(name.to_string())
    }
}

/// For the engine: what a worker answered.
///
/// # Errors
/// The worker could not do it, or answered something else than a worker would.
pub fn read_answer(name: &ObjectName, done: Done) -> Result<std::result::Result<Reduction, Failed>> {
    match done.result {
        Some(protocol::Result::Reduced(bytes)) => Ok(Ok(Reduction::decode(&name.to_string(), &bytes)?)),
        Some(protocol::Result::Failed(failed)) => Ok(Err(failed)),
        Some(protocol::Result::Broken(why)) => Err(anyhow!(why)),
        None => Err(anyhow!("the worker answered nothing")),
    }
}
