// SPDX-License-Identifier: Apache-2.0
//! `ggforce --trace`: the commands of a recorded build on the files as they are now, without make.
//!
//! ```text
//!  nothing that the build used has changed ──▶ what it left is put where it is missing, or is something else
//!  an input of a command has changed ──▶ ggtrace --replay makes another trace ──▶ the same with that one
//!  what make itself looked at has changed ──▶ told: the commands may be others now
//! ```
//!
//! Knows no models: whose inputs changed, it leaves to the recorder.

mod links;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{File, Permissions};
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::rc::Rc;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use thunk::trace::{Command, Current, Disposition, Now, Product, Trace, ages, clean};
use thunk::{FileId, ObjectName, OutputRef, ReducedOutput, Reduction, Store, is_below, real_place};

use crate::escapes;
use crate::materialise::{Mode, Place, Target, place_value};
use crate::settled::Settled;
use crate::{own, targets};
use links::Links;

/// How to replay.
pub struct Options<'a> {
    /// The trace.
    pub trace: &'a Path,
    /// Files, or directories with everything that the build left in them; all that it left if there are none.
    pub targets: &'a [PathBuf],
    /// Even if what make looked at has changed.
    pub as_recorded: bool,
}

/// What is to be forced so that everything is as the build would leave it.
///
/// # Errors
/// The trace does not speak for the build any more, a target is none of what it left, or the store is damaged.
pub fn plan(store: &Store, options: &Options<'_>) -> Result<Plan> {
    let settled = question(store, options);
    if settled.as_ref().is_some_and(Settled::holds) {
        return Ok(Plan::default());
    }
    let trace = targets::trace(store, Some(options.trace))?;
    let current = Current::new(store, &trace);
    let verdict = current.verdict()?;
    if let Some((id, change)) = verdict.stale.filter(|_| !options.as_recorded) {
        let driver = title(&trace, id);
        bail!(
            "{change}; {driver} looked at it when {} was recorded, and what it runs may be other commands now: record the build \
             again, or take them as they were with --as-recorded",
            options.trace.display()
        );
    }
    let Some((_, change)) = verdict.changed.first() else {
        if let Some((id, why)) = verdict.unseen.filter(|_| !options.as_recorded && !trace.packed) {
            let title = title(&trace, id);
            bail!(
                "nobody knows what {title} used: it {why}; run the build, or take what it left as it is with --as-recorded"
            );
        }
        let plan = wanted(store, (&trace, &current), None, missing(&current)?, options)?;
        if let Some(settled) = settled.filter(|_| plan.targets.is_empty() && plan.failure.is_none()) {
            let looked = current.looked_at();
            settled.note(looked.iter().map(|(path, how)| (path.as_path(), *how)));
        }
        return Ok(plan);
    };
    let missing = missing(&current)?;
    let ran = trace.commands.iter().any(|command| command.disposition != Disposition::Deferred);
    if ran && trace.observed.is_empty() && !trace.packed {
        thunk::say!(
            "ggforce: {}: what ran was not observed when it was recorded, and is taken to leave what it left then",
            options.trace.display()
        );
    }
    let Some(recorder) = own::beside("ggtrace")? else {
        bail!("{change}: ggtrace, which finds out what that means, is not installed beside this program");
    };
    let path = again(store, &recorder, options.trace)?;
    let now = targets::trace(store, Some(&path))?;
    wanted(store, (&now, &Current::new(store, &now)), Some(&trace), missing, options)
}

fn title(trace: &Trace, id: u32) -> String {
    trace.command(id).map_or_else(|| format!("command {id}"), Command::title)
}

/// What a replay comes to.
#[derive(Default)]
pub struct Plan {
    /// What is to be forced and put in place.
    pub targets: Vec<Target>,
    /// Those that were missing.
    directories: Directories,
    /// Files that are right, and too old for make once all else is.
    renewed: HashMap<PathBuf, SystemTime>,
    /// Those that come after the commands that make them.
    links: Links,
    /// How the recorded build failed, if it did: what it would have done after that is in no trace.
    pub failure: Option<String>,
}

impl Plan {
    /// What can be forced is: now the links are put in place for which something else had to go.
    ///
    /// # Errors
    /// One cannot be made.
    pub fn put_links(&self, store: &Store) -> Result<()> {
        self.links.put_made(store)
    }

    /// All targets are in place: now that what they were made from is right, files that came out as they were get new times. Before, make
    /// would take them to be made from what is not there yet.
    pub fn renew(&self) {
        for (path, modified) in &self.renewed {
            // What is somebody else's stays as old as it is: make may then do more than it must.
            let _ = File::open(path).and_then(|file| file.set_modified(*modified));
        }
    }

    /// Nothing more is put in place, whatever has ended it: the directories that were missing get the modes that the build gave them.
    pub fn give_modes(&self) {
        // Those below first: who is not root may not come to them any more.
        for (path, mode) in self.directories.iter().rev() {
            let _ = mode.map(|mode| std::fs::set_permissions(path, Permissions::from_mode(mode)));
        }
    }
}

/// Why there is no replay has been told.
#[derive(Debug)]
pub struct Told;

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it has been told why not")
    }
}

impl std::error::Error for Told {}

/// What tells this replay from others.
fn question(store: &Store, options: &Options<'_>) -> Option<Settled> {
    let trace = std::fs::canonicalize(options.trace).ok()?;
    let id = format!("{:?}", FileId::of(&std::fs::metadata(&trace).ok()?));
    let here = std::env::current_dir().ok()?;
    let mut parts = vec![trace.as_os_str().as_bytes(), id.as_bytes(), here.as_os_str().as_bytes()];
    parts.push(if options.as_recorded { b"as recorded" } else { b"" });
    parts.extend(options.targets.iter().map(|target| target.as_os_str().as_bytes()));
    Settled::of(store, &parts)
}

/// Has the recorder go through the trace; tells the path of the new one.
fn again(store: &Store, recorder: &Path, trace: &Path) -> Result<PathBuf> {
    let mut command = process::Command::new(recorder);
    command.arg("--replay").arg(trace).env("GG_DIR", store.root()).stdin(Stdio::null());
    let cannot = || format!("cannot run {}", recorder.display());
    let output = command.stderr(Stdio::inherit()).output().with_context(cannot)?;
    match output.status.code() {
        Some(0) => {}
        // It has said why not.
        Some(_) => return Err(Told.into()),
        None => bail!("{} ended by a signal", recorder.display()),
    }
    let line = output.stdout.strip_suffix(b"\n").unwrap_or(&output.stdout);
    Ok(OsStr::from_bytes(line).into())
}

/// Directories that the build left, in the order of their paths, with the modes that it gave them.
type Directories = Vec<(PathBuf, Option<u32>)>;

/// Those that are not there.
///
/// # Errors
/// Something else is there.
fn missing(current: &Current<'_>) -> Result<Directories> {
    let products = current.products();
    let mut missing = Directories::new();
    for path in &products.directories {
        match current.now(path) {
            Now::Missing => missing.push((path.clone(), products.modes.get(path).copied())),
            Now::Other => {}
            Now::File(..) | Now::Placeholder(_) => {
                bail!("{} is a file; the build left a directory there", path.display())
            }
        }
    }
    Ok(missing)
}

/// Makes those of these directories that were asked for and, as far as nothing is in them, that are where the build was started; tells
/// those that will be there.
fn make_directories(
    trace: &Trace,
    missing: Directories,
    chosen: &BTreeSet<&Path>,
    all: bool,
) -> Result<Directories> {
    let mut made = Vec::new();
    for (path, mode) in missing {
        let holds = chosen.range::<Path, _>((Bound::Included(path.as_path()), Bound::Unbounded)).next();
        if holds.is_none_or(|first| !first.starts_with(&path)) {
            if !all || !is_below(&path, &trace.cwd) {
                continue;
            }
            std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        made.push((path, mode));
    }
    Ok(made)
}

/// The products that do not stand where they should. Nothing that the build left is to be older than what it is made from.
/// `first`: the trace of the build, where this one is what became of it. `missing`: what was not there of the directories.
fn wanted(
    store: &Store,
    (trace, current): (&Trace, &Current<'_>),
    first: Option<&Trace>,
    missing: Directories,
    options: &Options<'_>,
) -> Result<Plan> {
    let chosen = choose(current, options.targets)?;
    let paths = chosen.iter().map(|(path, _)| path.as_path()).collect();
    let directories = make_directories(trace, missing, &paths, options.targets.is_empty())?;
    let mut reductions: HashMap<ObjectName, Option<Rc<Reduction>>> = HashMap::new();
    let mut reduction_of = |thunk: &ObjectName| {
        let known = || escapes::known(store, thunk).map(|known| Rc::new(known.reduction));
        reductions.entry(*thunk).or_insert_with(known).clone()
    };
    let mut found = Vec::new();
    let mut put = HashSet::new();
    let mut values = Vec::new();
    let mut links = Links::default();
    let leads_on = |path: &Path| current.products().is_above_another(path);
    for (path, product) in &chosen {
        let output = match product {
            Product::Output(output) => output,
            Product::Link(target) => {
                let target = PathBuf::from(OsStr::from_bytes(&store.read(target)?));
                links.put(path, &target, None, leads_on(path))?;
                continue;
            }
            Product::Value { value, executable } => {
                if !matches!(current.now(path), Now::File(now, _) if now == *value) {
                    put.insert(path.clone());
                    let (path, value, executable) = (path.clone(), *value, *executable);
                    values.push(ReducedOutput { path, value, executable });
                }
                continue;
            }
        };
        match current.now(path) {
            Now::Placeholder(standing) if standing == *output => {}
            Now::File(value, executable)
                if holds(reduction_of(&output.thunk).as_deref(), output, value, executable) =>
            {
                continue;
            }
            now => {
                let thunk = store.thunk(&output.thunk)?;
                if let Some(link) = output.output.as_deref().and_then(|path| thunk.made_link(path)) {
                    let by = reduction_of(&output.thunk).is_none().then_some(output.thunk);
                    links.put(path, &link.target, by, leads_on(path))?;
                    // A link is no result: its command runs for a file that it leaves.
                    let main = thunk.outputs.first().filter(|_| by.is_some());
                    let result =
                        |main: &PathBuf| OutputRef { thunk: output.thunk, output: Some(main.clone()) };
                    found.extend(main.map(|main| (main.clone(), result(main))));
                    continue;
                }
                if now == Now::Other && path.is_dir() {
                    bail!("{} is a directory; the build left a file there", path.display())
                }
                put.insert(path.clone());
            }
        }
        found.push((path.clone(), output.clone()));
    }
    // Where the recorder has put nothing, and nothing is to be put, nothing is younger than it was.
    let mut times = match first {
        None if put.is_empty() => HashMap::new(),
        _ => ages(store, (trace, current.products()), first.unwrap_or(trace).ended(), &put)?,
    };
    let given = |path: &Path| current.products().modes.get(path).copied();
    for output in values {
        let mode = Mode { umask: 0o022, given: given(&output.path) };
        let modified = times.remove(&output.path).unwrap_or_else(SystemTime::now);
        place_value(store, &output.path, &output, modified, mode)?;
    }
    let targets = found.into_iter().map(|(path, output)| {
        let place = if put.contains(&path) {
            let umask = store.thunk(&output.thunk)?.umask.unwrap_or(0o022);
            let modified = times.remove(&path).unwrap_or_else(SystemTime::now);
            Place::Anything { modified, mode: Mode { umask, given: given(&path) } }
        } else {
            Place::Placeholder
        };
        Ok(Target { path, output, place })
    });
    let targets = targets.collect::<Result<_>>()?;
    // Where only some files were asked for, others may not be what they should, nor what is made from them. What is taken as it was
    // recorded may depend on more than anybody knows.
    if !options.targets.is_empty() || options.as_recorded {
        times.clear();
    }
    Ok(Plan { targets, directories, renewed: times, links, failure: trace.failure() })
}

fn holds(reduction: Option<&Reduction>, output: &OutputRef, value: ObjectName, executable: bool) -> bool {
    let reduced = reduction.and_then(|reduction| reduction.output(output.output.as_deref()));
    reduced.is_some_and(|reduced| reduced.value == value && (!reduced.executable || executable))
}

/// What was asked for, of what the build left.
fn choose(current: &Current<'_>, targets: &[PathBuf]) -> Result<Vec<(PathBuf, Product)>> {
    let last = &current.products().last;
    if targets.is_empty() {
        return Ok(last.iter().map(|(path, product)| (path.clone(), product.clone())).collect());
    }
    let mut chosen = BTreeSet::new();
    for target in targets {
        let absolute = std::path::absolute(target).with_context(|| format!("{}", target.display()))?;
        let forms = [real_place(&absolute).ok(), clean(&absolute)];
        let below =
            |form: &PathBuf| last.keys().filter(|path| path.starts_with(form)).cloned().collect::<Vec<_>>();
        let found: BTreeSet<PathBuf> = forms.iter().flatten().flat_map(below).collect();
        if found.is_empty() {
            bail!("{}: no such target; name a file that the recorded build made", target.display());
        }
        chosen.extend(found);
    }
    Ok(chosen.into_iter().map(|path| (path.clone(), last[&path].clone())).collect())
}
