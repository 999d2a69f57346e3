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

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use thunk::trace::{Current, Disposition, Now, Product, Step, Trace, clean};
use thunk::{FileId, ObjectName, OutputRef, ReducedOutput, Reduction, Store, real_place};

use crate::escapes;
use crate::materialise::{Mode, Place, Target, place_link, place_value};
use crate::settled::Settled;
use crate::{own, targets};

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
pub fn plan(store: &Store, options: &Options<'_>) -> Result<Vec<Target>> {
    let settled = question(store, options);
    if settled.as_ref().is_some_and(Settled::holds) {
        return Ok(Vec::new());
    }
    let trace = targets::trace(store, Some(options.trace))?;
    let current = Current::new(store, &trace);
    let verdict = current.verdict()?;
    if let Some(change) = verdict.stale.filter(|_| !options.as_recorded) {
        bail!(
            "{change}; the build itself looked at it when {} was recorded, and its commands may be others now: record it \
             again, or take them as they were with --as-recorded",
            options.trace.display()
        );
    }
    let Some((_, change)) = verdict.changed.first() else {
        if let Some((id, why)) = verdict.unseen.filter(|_| !options.as_recorded && !trace.packed) {
            let title = trace.command(id).map_or_else(|| format!("command {id}"), |command| command.title());
            bail!(
                "nobody knows what {title} used: it {why}; run the build, or take what it left as it is with --as-recorded"
            );
        }
        let found = wanted(store, &current, &trace, options)?;
        if let Some(settled) = settled.filter(|_| found.is_empty()) {
            let looked = current.looked_at();
            settled.note(looked.iter().map(|(path, how)| (path.as_path(), *how)));
        }
        return Ok(found);
    };
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
    let trace = targets::trace(store, Some(&path))?;
    wanted(store, &Current::new(store, &trace), &trace, options)
}

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
    let mut command = Command::new(recorder);
    command.arg("--replay").arg(trace).env("GG_DIR", store.root()).stdin(Stdio::null());
    let cannot = || format!("cannot run {}", recorder.display());
    let output = command.stderr(Stdio::inherit()).output().with_context(cannot)?;
    if !output.status.success() {
        bail!("{} cannot be replayed", trace.display());
    }
    let line = output.stdout.strip_suffix(b"\n").unwrap_or(&output.stdout);
    Ok(OsStr::from_bytes(line).into())
}

/// The products that do not stand where they should.
fn wanted(store: &Store, current: &Current<'_>, trace: &Trace, options: &Options<'_>) -> Result<Vec<Target>> {
    let chosen = choose(current, options.targets)?;
    let mut reductions: HashMap<ObjectName, Option<Reduction>> = HashMap::new();
    let mut found = Vec::new();
    let times = times(trace, &chosen);
    for (path, product) in &chosen {
        let modified = times[path.as_path()];
        let mode = current.products().modes.get(path).copied();
        let output = match product {
            Product::Output(output) => output,
            Product::Link(target) => {
                let target = PathBuf::from(OsStr::from_bytes(&store.read(target)?));
                place_link(path, &target)?;
                continue;
            }
            Product::Value { value, executable } => {
                if !matches!(current.now(path), Now::File(now, _) if now == *value) {
                    let (path, value, executable) = (path.clone(), *value, *executable);
                    let output = ReducedOutput { path, value, executable };
                    place_value(store, &output.path, &output, modified, Mode { umask: 0o022, given: mode })?;
                }
                continue;
            }
        };
        let place = match current.now(path) {
            Now::Placeholder(standing) if standing == *output => Place::Placeholder,
            Now::File(value, executable) => {
                let reduction = reductions
                    .entry(output.thunk)
                    .or_insert_with(|| escapes::known(store, &output.thunk).map(|known| known.reduction));
                if holds(reduction.as_ref(), output, value, executable) {
                    continue;
                }
                anything(store, output, modified, mode)?
            }
            Now::Other if path.is_dir() => {
                bail!("{} is a directory; the build left a file there", path.display())
            }
            _ => anything(store, output, modified, mode)?,
        };
        found.push(Target { path: path.clone(), output: output.clone(), place });
    }
    Ok(found)
}

fn anything(store: &Store, output: &OutputRef, modified: SystemTime, given: Option<u32>) -> Result<Place> {
    let umask = store.thunk(&output.thunk)?.umask.unwrap_or(0o022);
    Ok(Place::Anything { modified, mode: Mode { umask, given } })
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

/// Times of change for what is put where nothing stands: in the order in which the build made it, so that make sees no work.
fn times<'a>(trace: &Trace, chosen: &'a [(PathBuf, Product)]) -> HashMap<&'a Path, SystemTime> {
    let mut order: HashMap<ObjectName, usize> = HashMap::new();
    for (number, step) in trace.steps().into_iter().enumerate() {
        let thunk = match step {
            Step::Deferred(_, thunk) => Some(thunk),
            Step::Observed(observed) => observed.thunk,
        };
        order.extend(thunk.map(|thunk| (thunk, number)));
    }
    let place = |product: &Product| match product {
        Product::Output(output) => order.get(&output.thunk).copied().unwrap_or(0),
        Product::Value { .. } | Product::Link(_) => 0,
    };
    let latest = chosen.iter().map(|(_, product)| place(product)).max().unwrap_or(0);
    let now = SystemTime::now();
    let before = |product: &Product| Duration::from_micros((latest - place(product)) as u64);
    chosen.iter().map(|(path, product)| (path.as_path(), now - before(product))).collect()
}
