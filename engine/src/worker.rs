// SPDX-License-Identifier: Apache-2.0
//! The worker: takes thunks, runs each in the sandbox, stores its outputs, answers. What fails runs again under
//! observation, in case it lacked a file ([`crate::escapes`]). One process with one thread (but while it observes), so that
//! it can enter namespaces and fork freely. Unaware of the graph, of other workers and of the tree in which results end up.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::ValueEnum;
use sandbox::{Entry, Layer, Outcome, Status};
use thunk::{ObjectName, ReducedOutput, Reduction, Store, Thunk, Tree, TreeNode};

use crate::backend::Answer;
use crate::bare;
use crate::escapes::{self, Completed};
use crate::protocol::{self, Done, Failed, Job};
use crate::room::Room;
use beyond::{Run, WAY_OUT};
use link::Link;

mod beyond;
pub mod link;

/// Where commands see the files of gg's own thunks, which name them without a directory.
const GG_WORKDIR: &str = "/gg";

/// How a worker runs what it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Manner {
    /// In a sandbox, on the machine that recorded.
    #[default]
    Sandboxed,
    /// The same on another machine: its files are not those that commands should have found.
    FarAway,
    /// As on another machine, which gives no namespaces: the sandbox translates paths.
    Translated,
    /// Without a sandbox: only gg's own thunks can.
    Bare,
}

impl Manner {
    /// For a program that runs others' thunks: far away, or what GG_MANNER says, to try the other.
    ///
    /// # Errors
    /// That is no manner for it.
    pub fn elsewhere() -> Result<Self> {
        match std::env::var("GG_MANNER").as_deref() {
            Err(_) | Ok("far-away") => Ok(Self::FarAway),
            Ok("translated") => Ok(Self::Translated),
            Ok(_) => bail!("GG_MANNER must be far-away or translated"),
        }
    }

    /// As it is named on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Serves as a worker if this process was started as one ([`crate::local`] does): `--worker STORE --manner MANNER`. For programs
/// whose command line has nothing else to say.
///
/// # Errors
/// As [`serve`].
pub fn serve_if_asked() -> Option<Result<()>> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    match words.as_slice() {
        [worker, store, flag, manner] if worker == "--worker" && flag == "--manner" => {
            let manner = manner.to_str().unwrap_or_default();
            let manner = Manner::from_str(manner, false).map_err(|why| anyhow!(why));
            Some(manner.and_then(|manner| serve(Path::new(store), manner)))
        }
        _ => None,
    }
}

/// Serves on standard input and output, sockets, until they are closed.
///
/// # Errors
/// The store is not to be had.
pub fn serve(store_root: &Path, manner: Manner) -> Result<()> {
    let link = Link::inherited();
    // SAFETY: prctl with integers only. An engine that is killed leaves no worker behind.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    thunk::turn::soon();
    let store = Store::open(store_root)?;
    if manner == Manner::Bare {
        return bare::serve(link, store);
    }
    let mut sandbox = match Room::enter(&store.root().join("sandbox"), manner) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            let unable = matches!(error.downcast_ref(), Some(sandbox::Error::Unsupported(_)));
            let why = format!("{:#}", error.context("the sandbox cannot be made"));
            // The first job's answer is the place where somebody listens.
            return link.serve(|_| Done { unable, ..protocol::Result::Broken(why.clone()).into() });
        }
    };
    sandbox.tie(link.leash()?);
    let far_away = matches!(manner, Manner::Translated | Manner::FarAway);
    let mut worker = Worker { store, sandbox, trees: HashMap::new(), far_away };
    link.serve(|job| {
        if job.thunk.is_empty() {
            return Done::default();
        }
        worker.run(job).unwrap_or_else(|error| Done {
            refused: matches!(error.downcast_ref(), Some(sandbox::Error::Refused(_))),
            ..protocol::Result::Broken(format!("{error:#}")).into()
        })
    })
}

/// How often inputs are completed for one thunk. Each time at least one file is added; the dynamic loader asks for one library
/// at a time.
const ROUNDS: u32 = 32;

/// When more trees than this are kept, all are forgotten.
const TREES: usize = 4096;

/// How a command ended.
enum Ended {
    Reduced(Reduction),
    /// `lacking`: perhaps for want of a file.
    Failed {
        failed: Failed,
        lacking: bool,
    },
}

impl Ended {
    /// What the command did does not count.
    fn refused(how: String) -> Self {
        Self::Failed { failed: Failed { code: 1, how, ..Failed::default() }, lacking: false }
    }
}

/// Why nobody knows whether what a learned command did counts.
fn unobserved() -> String {
    format!(
        "its inputs are others than when it was recorded, and whether it does more now cannot be observed here: {WAY_OUT}"
    )
}

struct Worker {
    store: Store,
    sandbox: Room,
    /// Trees that were used lately: those of toolchains and of headers are shared by many thunks.
    trees: HashMap<ObjectName, Rc<Tree>>,
    /// This machine's files are not those of the machine that recorded.
    far_away: bool,
}

impl Worker {
    fn run(&mut self, job: &Job) -> Result<Done> {
        let name: ObjectName = job.thunk.parse()?;
        let thunk = self.store.thunk(&name)?;
        if !thunk.thunks.is_empty() {
            bail!("{name} has inputs that are not reduced");
        }
        // gg's own thunks name all they need without a directory: there is nothing to look for outside.
        let ours = thunk.workdir.is_some() && !self.far_away;
        // What is looked for in vain there says nothing: only the machine that recorded has what the command might want now.
        if thunk.learned && self.far_away {
            return self.finish(&name, &thunk, Completed::none(&thunk), Ended::refused(unobserved()));
        }
        let known = if ours { self.store.completion(&name) } else { BTreeSet::new() };
        let completed = escapes::complete(&self.store, &thunk, &known)?;
        if thunk.learned || !completed.paths.is_empty() {
            return self.run_completed(&name, &thunk, completed, None);
        }
        match self.run_once(&thunk)? {
            Ended::Failed { failed, lacking: true } if ours => {
                self.run_completed(&name, &thunk, completed, Some(failed))
            }
            ended => self.finish(&name, &thunk, completed, ended),
        }
    }

    fn run_once(&mut self, thunk: &Thunk) -> Result<Ended> {
        let layout = Layout::of(thunk);
        let wanted = self.wanted(thunk, &layout)?;
        self.sandbox.sync(&wanted)?;
        let outcome = self.sandbox.run(&self.job(thunk, &layout, Layer::Memory)?)?;
        self.judge(thunk, &layout, outcome)
    }

    fn judge(&self, thunk: &Thunk, layout: &Layout, outcome: Outcome) -> Result<Ended> {
        match outcome.status {
            Status::Exited(0) => self.collect(thunk, layout, outcome),
            Status::TimedOut | Status::OutputLimit => {
                Ok(Ended::Failed { failed: failure(outcome), lacking: false })
            }
            _ => Ok(Ended::Failed { failed: failure(outcome), lacking: true }),
        }
    }

    /// Runs under observation, adds what the command looked for in vain to the inputs, and runs again, until it
    /// has found everything. `first`: how the thunk as it is failed, if it ran already. It may have failed for want of room in memory, of
    /// which nothing tells afterwards, or for want of what memory's file system cannot do, such as `copy_file_range` from another one:
    /// so what it writes goes to the disk then.
    fn run_completed(
        &mut self,
        name: &ObjectName,
        thunk: &Thunk,
        start: Completed<'_>,
        first: Option<Failed>,
    ) -> Result<Done> {
        let mut current = start;
        let mut layer = if first.is_some() { Layer::Disk } else { Layer::Memory };
        let mut first = first;
        for _ in 0..ROUNDS {
            let layout = Layout::of(&current.thunk);
            let wanted = self.wanted(&current.thunk, &layout)?;
            self.sandbox.sync(&wanted)?;
            let job = self.job(&current.thunk, &layout, layer)?;
            let began = SystemTime::now();
            let (outcome, touches) = match self.sandbox.run_observed(&job) {
                Ok(seen) => seen,
                // Where tracing is forbidden, commands that fail must still do so as ever.
                Err(error) => {
                    let why = format!("whether it lacked a file could not be found out: {error}");
                    let ended = match first {
                        Some(failed) => Ended::Failed { failed: failed.and(&why), lacking: false },
                        None if thunk.learned => Ended::refused(unobserved()),
                        None => self.run_once(&current.thunk)?,
                    };
                    return self.finish(name, thunk, current, ended);
                }
            };
            let mut paths = current.paths.clone();
            paths.extend(escapes::looked_for(&touches));
            let next = escapes::complete(&self.store, thunk, &paths)?;
            if next.thunk == current.thunk {
                let is_final =
                    matches!(outcome.status, Status::Exited(0) | Status::TimedOut | Status::OutputLimit);
                if matches!(layer, Layer::Memory) && !is_final {
                    layer = Layer::Disk;
                    first = Some(failure(outcome));
                    continue;
                }
                let ended = match first {
                    // It fails for reasons of its own, and has said so.
                    Some(failed) if !matches!(outcome.status, Status::Exited(0)) => {
                        Ended::Failed { failed, lacking: false }
                    }
                    _ if thunk.learned && matches!(outcome.status, Status::Exited(0)) => {
                        let (store, thunk, upper) = (&self.store, &*current.thunk, &outcome.upper);
                        let run = Run { store, thunk, wanted: &wanted, began, upper, touches: &touches };
                        match run.beyond()? {
                            Some(how) => Ended::refused(how),
                            None => self.judge(thunk, &layout, outcome)?,
                        }
                    }
                    _ => self.judge(&current.thunk, &layout, outcome)?,
                };
                return self.finish(name, thunk, next, ended);
            }
            first = None;
            current = next;
        }
        let how = format!("it looked for yet more files after its inputs had been completed {ROUNDS} times");
        self.finish(name, thunk, current, Ended::refused(how))
    }

    /// Stores what came of a thunk, under the name of the thunk that it came of.
    fn finish(&self, name: &ObjectName, thunk: &Thunk, of: Completed<'_>, ended: Ended) -> Result<Done> {
        let completed = matches!(of.thunk, Cow::Owned(_)) && *of.thunk != *thunk;
        let ran = if completed { self.store.put_thunk(&of.thunk)? } else { *name };
        if completed {
            self.store.put_completion(name, &of.paths)?;
        }
        let withheld = of.withheld.first().map(|file| format!("it looked for {file}"));
        let failed = match (ended, withheld) {
            (Ended::Reduced(reduction), None) => {
                self.store.put_reduction(&ran, &reduction)?;
                return Ok(Done {
                    result: Some(protocol::Result::Reduced(reduction.encode())),
                    completed: of.paths.into_iter().map(|path| path.into_os_string().into_vec()).collect(),
                    ..Done::default()
                });
            }
            // It ended well without a file that it would have found: nobody knows what it had made of that.
            (Ended::Reduced(reduction), Some(why)) => {
                let Reduction { stdout, stderr, .. } = reduction;
                Failed { code: 1, how: why, stdout, stderr }
            }
            (Ended::Failed { failed, .. }, None) => failed,
            (Ended::Failed { failed, .. }, Some(why)) => failed.and(&why),
        };
        Ok(protocol::Result::Failed(failed).into())
    }

    /// Everything that exists where the command runs.
    fn wanted(&mut self, thunk: &Thunk, layout: &Layout) -> Result<BTreeMap<PathBuf, Entry>> {
        let mut wanted = Vec::new();
        for name in &thunk.trees {
            let tree = match self.trees.get(name) {
                Some(tree) => Rc::clone(tree),
                None => {
                    let tree = Rc::new(self.store.tree(name)?);
                    if self.trees.len() > TREES {
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
                wanted.push((entry.path.clone(), entry_here));
            }
        }
        for directory in &thunk.directories {
            wanted.push((directory.clone(), Entry::Directory));
        }
        for link in &thunk.links {
            wanted.push((layout.place(&link.path), Entry::Symlink(link.target.clone())));
        }
        for (inputs, executable) in [(&thunk.values, false), (&thunk.executables, true)] {
            for input in inputs {
                let path = if input.path.as_os_str().is_empty() {
                    layout.blob(&input.value)
                } else {
                    layout.place(&input.path)
                };
                wanted.push((path, self.file(&input.value, executable)?));
            }
        }
        if thunk.program.is_none()
            && let Some(function) = &thunk.function
        {
            wanted.push((layout.blob(function), self.file(function, true)?));
        }
        Ok(sorted(wanted))
    }

    fn file(&self, value: &ObjectName, executable: bool) -> Result<Entry> {
        Ok(Entry::File { source: self.store.file(value, executable)?, executable })
    }

    fn job(&self, thunk: &Thunk, layout: &Layout, layer: Layer) -> Result<sandbox::Job> {
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
            job.env.push(thunk::split_variable(&substitute(text)?));
        }
        job.umask = thunk.umask.unwrap_or(0o022);
        job.timeout = (thunk.timeout_ms > 0).then(|| Duration::from_millis(thunk.timeout_ms.into()));
        let links = thunk.made_links.iter().map(|link| &link.path);
        job.directories = (thunk.outputs.iter().chain(&thunk.optional_outputs).chain(links))
            .filter_map(|o| {
                let is_made = |d: &Path| thunk.made.iter().any(|made| made == d);
                layout.place(o).ancestors().skip(1).find(|d| !is_made(d)).map(Path::to_path_buf)
            })
            .filter(|d| d != Path::new("/"))
            .collect();
        job.layer = layer;
        Ok(job)
    }

    /// Moves the outputs into the store. The command may have ended well without doing its work.
    fn collect(&self, thunk: &Thunk, layout: &Layout, outcome: Outcome) -> Result<Ended> {
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
                    return Ok(Ended::Failed { failed, lacking: true });
                }
            }
        }
        for link in &thunk.made_links {
            let how = match outcome.upper.link(&link.path)? {
                Some(target) if target == link.target => continue,
                Some(_) => beyond::told(&format!("it made another link of {}", link.path.display())),
                None => format!("it ended well, but did not make the link {}", link.path.display()),
            };
            return Ok(Ended::Failed { failed: Failed { code: 1, how, ..failure(outcome) }, lacking: true });
        }
        let usage = outcome.usage;
        Ok(Ended::Reduced(Reduction {
            outputs,
            stdout: outcome.stdout,
            stderr: outcome.stderr,
            wall: usage.wall,
            cpu: usage.user + usage.system,
        }))
    }
}

/// Sorted at once: nearly all comes in runs that are sorted already. Files count more than links, links more than bare directories,
/// where several say what stands at a path; else the last one counts.
fn sorted(mut wanted: Vec<(PathBuf, Entry)>) -> BTreeMap<PathBuf, Entry> {
    wanted.sort_by(|(a, _), (b, _)| a.cmp(b));
    wanted.dedup_by(|next, first| {
        let same = next.0 == first.0;
        if same && (next.1 != Entry::Directory || first.1 == Entry::Directory) {
            std::mem::swap(next, first);
        }
        same
    });
    wanted.retain(|(path, _)| path != Path::new("/"));
    wanted.into_iter().collect()
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
pub fn read_answer(name: &ObjectName, done: Done) -> Result<Answer> {
    match done.result {
        Some(protocol::Result::Reduced(bytes)) => Ok(Answer::Reduced {
            reduction: Reduction::decode(&name.to_string(), &bytes)?,
            completed: done.completed.into_iter().map(|path| OsString::from_vec(path).into()).collect(),
        }),
        Some(protocol::Result::Failed(failed)) => Ok(Answer::Failed(failed)),
        Some(protocol::Result::Broken(why)) => Err(anyhow!(why)),
        None => Err(anyhow!("the worker answered nothing")),
    }
}
