// SPDX-License-Identifier: Apache-2.0
//! Which of the files that a build left are too old after a replay, so that make would build them again: what is older than
//! something that it was made from, as far as that changed since the build was recorded. Make would have run the command;
//! a replay knows that it would write the same. Reads times, and changes nothing. Knows nothing of what is to be put where.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Observed, Product, Products, Step, Trace, Uses};
use crate::error::Result;
use crate::name::ObjectName;
use crate::path::{has_no_content, is_below};
use crate::store::Store;
use crate::thunk::Thunk;
use crate::tree::TreeNode;

/// Times for files, in the order in which the build made them.
struct Ages<'a> {
    trace: &'a Trace,
    store: &'a Store,
    products: &'a Products,
    /// What did not change after this is as it was for the build.
    since: SystemTime,
    /// Paths that get a file.
    put: &'a HashSet<PathBuf>,
    /// Which step was the last to write a path.
    writers: HashMap<&'a Path, usize>,
    /// The time of the first step; each of the others is a nanosecond later.
    first: SystemTime,
    /// The times that files are to get.
    times: HashMap<PathBuf, SystemTime>,
    /// When what stands somewhere was changed, if that was after the build.
    changed: HashMap<PathBuf, Option<SystemTime>>,
    /// Where paths lead that are, or pass, links.
    led: HashMap<PathBuf, Option<PathBuf>>,
    /// The files that the build wrote of those in a tree.
    trees: HashMap<ObjectName, Vec<PathBuf>>,
    /// The newest of what commands below one that ran have used and left; of those that used any of the build's files.
    below: HashMap<u32, Option<SystemTime>>,
    /// The newest of what commands of a driver have left.
    driven: HashMap<u32, Option<SystemTime>>,
    /// The newest stamp that gets a time, by the driver that had it made.
    stamps: HashMap<u32, SystemTime>,
}

impl Trace {
    /// When the build was over.
    #[must_use]
    pub fn ended(&self) -> SystemTime {
        let last = || {
            let ran = self.observed.iter().map(|observed| observed.ended_us);
            self.commands.iter().map(|command| command.at_us).chain(ran).max().unwrap_or(0)
        };
        let took = self.end.map_or_else(last, |(_, took)| took);
        UNIX_EPOCH + Duration::from_micros(self.started_us.saturating_add(took))
    }
}

/// Times for what is put at these paths, and for all else that the build left and that make would take to be too old after that.
/// `since`: when the build was over that this trace, or the one that it came from, is of.
///
/// # Errors
/// The store is damaged.
pub fn ages(
    store: &Store,
    (trace, products): (&Trace, &Products),
    since: SystemTime,
    put: &HashSet<PathBuf>,
) -> Result<HashMap<PathBuf, SystemTime>> {
    let steps = trace.steps();
    let mut ages = Ages {
        trace,
        store,
        products,
        since,
        put,
        writers: HashMap::new(),
        first: SystemTime::now() - Duration::from_nanos(steps.len() as u64),
        times: HashMap::new(),
        changed: HashMap::new(),
        led: HashMap::new(),
        trees: HashMap::new(),
        below: HashMap::new(),
        driven: HashMap::new(),
        stamps: HashMap::new(),
    };
    for (number, step) in steps.iter().enumerate() {
        ages.writers.extend(left(step).into_iter().map(|path| (path, number)));
    }
    let ran: HashMap<u32, &Observed> =
        trace.observed.iter().map(|observed| (observed.id, observed)).collect();
    for (number, step) in steps.iter().enumerate() {
        ages.step(number, step, &ran)?;
    }
    // What was carried to its place unseen.
    let last = ages.time(steps.len());
    let rest: Vec<_> = put.iter().filter(|path| !ages.times.contains_key(*path)).cloned().collect();
    ages.times.extend(rest.into_iter().map(|path| (path, last)));
    Ok(ages.times)
}

impl<'a> Ages<'a> {
    fn time(&self, step: usize) -> SystemTime {
        self.first + Duration::from_nanos(step as u64)
    }

    fn step(&mut self, number: usize, step: &Step<'a>, ran: &HashMap<u32, &Observed>) -> Result<()> {
        let (id, used, is_known) = match step {
            Step::Deferred(command, thunk) => (command.id, self.of_thunk(&self.store.thunk(thunk)?)?, true),
            // What it read says what is to be made, not what it made of that.
            Step::Observed(observed) if observed.drives() => return Ok(()),
            Step::Observed(observed) => {
                let is_known = observed.thunk.is_some() && observed.obstacles.is_empty();
                (observed.id, of_command(observed), is_known)
            }
        };
        let above = self.above(id, ran);
        let driver = above.filter(|above| ran[above].drives());
        let mut newest = used.iter().filter_map(|path| self.changed(path)).max();
        let parts = self.below.get(&id).copied();
        newest = newest.max(parts.flatten());
        let is_own = |path: &PathBuf| is_below(path, &self.trace.cwd) || self.products.written.contains(path);
        let is_fed = parts.is_some() || used.iter().any(is_own);
        if !is_fed && is_known {
            // `touch stamp`: whatever it stands for was made before by the same make. Of what asks a network, say, nobody knows.
            newest = newest.max(driver.and_then(|driver| self.driven.get(&driver).copied().flatten()));
        }
        if is_known {
            newest = newest.max(self.stamp_before(id, ran));
        }
        let outputs = left(step).into_iter().filter(|path| self.writers.get(path) == Some(&number));
        let outputs: Vec<&Path> = outputs.filter(|path| self.products.last.contains_key(*path)).collect();
        let is_late = outputs.iter().any(|path| modified(path).is_some_and(|time| newest > Some(time)));
        // However many other commands are between them.
        let orders = self.all_above(id, ran).find(|above| ran[above].drives());
        for path in &outputs {
            if self.put.contains(*path) || is_late && modified(path).is_some() {
                self.times.insert(path.to_path_buf(), self.time(number));
                if let Some(driver) = orders
                    && self.is_stamp(path, is_fed)
                {
                    self.stamps.insert(driver, self.time(number));
                }
            }
        }
        let left = outputs.iter().filter_map(|path| self.changed(path)).max();
        let newest = newest.max(left);
        match (driver, above) {
            (Some(driver), _) => {
                let known = self.driven.entry(driver).or_default();
                *known = newest.max(*known);
            }
            (None, Some(above)) if is_fed => {
                let known = self.below.entry(above).or_default();
                *known = newest.max(*known);
            }
            _ => {}
        }
        Ok(())
    }

    /// The command of which this one is a part, or that drives it.
    fn above(&self, id: u32, ran: &HashMap<u32, &Observed>) -> Option<u32> {
        // Numbers grow from parents to children: no file that says otherwise leads into a circle.
        let parent = |at: &u32| {
            let parent = self.trace.command(*at)?.parent;
            Some(parent).filter(|parent| *parent != 0 && parent < at)
        };
        std::iter::successors(parent(&id), parent).find(|above| ran.contains_key(above))
    }

    /// That, and what is above it in turn.
    fn all_above(&self, id: u32, ran: &HashMap<u32, &Observed>) -> impl Iterator<Item = u32> {
        std::iter::successors(self.above(id, ran), |above| self.above(*above, ran))
    }

    /// Is a file there for its time alone? Then nobody reads it, and which files are made after it on its account the makefile alone says:
    /// each object, of Automake's `.dirstamp`.
    fn is_stamp(&self, path: &Path, is_fed: bool) -> bool {
        match self.products.last.get(path) {
            Some(Product::Value { value, .. }) => value.size() == 0,
            Some(Product::Output(output)) => match path.symlink_metadata() {
                Ok(metadata) => metadata.len() == 0,
                // What is made from files has something in it, nearly always, and there are many.
                Err(_) if is_fed => false,
                Err(_) => {
                    let reduction = self.store.reduction(&output.thunk);
                    let gives =
                        reduction.as_ref().and_then(|reduction| reduction.output(output.output.as_deref()));
                    gives.is_some_and(|output| output.value.size() == 0)
                }
            },
            Some(Product::Link(_)) | None => false,
        }
    }

    /// When the last stamp was made of those that the drivers above a command had made before.
    fn stamp_before(&self, id: u32, ran: &HashMap<u32, &Observed>) -> Option<SystemTime> {
        if self.stamps.is_empty() {
            return None;
        }
        self.all_above(id, ran).filter_map(|above| self.stamps.get(&above).copied()).max()
    }

    fn of_thunk(&mut self, thunk: &Thunk) -> Result<Vec<PathBuf>> {
        let inputs = thunk.values.iter().chain(&thunk.executables).map(|input| &input.path);
        let mut used: Vec<PathBuf> =
            inputs.chain(thunk.thunks.iter().map(|input| &input.path)).cloned().collect();
        used.retain(|path| !thunk.outputs.contains(path) && !thunk.optional_outputs.contains(path));
        for name in &thunk.trees {
            if !self.trees.contains_key(name) {
                let tree = self.store.tree(name)?;
                let files = tree.entries().iter().filter(|entry| matches!(entry.node, TreeNode::File { .. }));
                let own = files.filter(|entry| self.products.written.contains(&entry.path));
                self.trees.insert(*name, own.map(|entry| entry.path.clone()).collect());
            }
            used.extend_from_slice(&self.trees[name]);
        }
        Ok(used)
    }

    /// When this changes or was changed, if that is after the build.
    fn changed(&mut self, path: &Path) -> Option<SystemTime> {
        if let Some(time) = self.times.get(path) {
            return Some(*time);
        }
        if let Some(time) = self.led(path).and_then(|real| self.times.get(&real)) {
            return Some(*time);
        }
        if let Some(known) = self.changed.get(path) {
            return *known;
        }
        let file = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file);
        let changed = file.and_then(|file| file.modified().ok()).filter(|time| *time > self.since);
        self.changed.insert(path.to_path_buf(), changed);
        changed
    }

    /// Where one of the build's own paths leads, if that is elsewhere: a library is used by the name of a link to it.
    fn led(&mut self, path: &Path) -> Option<PathBuf> {
        if let Some(known) = self.led.get(path) {
            return known.clone();
        }
        let is_own = is_below(path, &self.trace.cwd) || self.products.written.contains(path);
        let real = if is_own { std::fs::canonicalize(path).ok() } else { None };
        let led = real.filter(|real| real != path);
        self.led.insert(path.to_path_buf(), led.clone());
        led
    }
}

/// The files that a step left.
fn left<'a>(step: &Step<'a>) -> Vec<&'a Path> {
    match step {
        Step::Deferred(command, _) => command.outputs.iter().map(PathBuf::as_path).collect(),
        Step::Observed(observed) => observed.with(Uses::OUTPUT).map(|touch| &*touch.path).collect(),
    }
}

/// The files that a command has used, but for those that it wrote.
fn of_command(observed: &Observed) -> Vec<PathBuf> {
    let is_used = |uses: Uses| [Uses::READ, Uses::EXECUTED, Uses::INPUT].iter().any(|how| uses.has(*how));
    let used = observed.touches.iter().filter(|t| is_used(t.uses) && !t.uses.has(Uses::OUTPUT));
    used.map(|touch| touch.path.to_path_buf()).filter(|path| !has_no_content(path)).collect()
}

/// When a file was changed that stands here itself, and nowhere else: a link to a source has its time.
fn modified(path: &Path) -> Option<SystemTime> {
    let file = path.symlink_metadata().ok().filter(|file| file.is_file() && file.nlink() == 1);
    file.and_then(|file| file.modified().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ObjectKind;
    use crate::trace::{Command, Disposition, Status, Touch};

    #[test]
    fn commands_that_are_each_other_s_parents_are_no_circle() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let path = dir.path().join("stamp");
        let command = |id, parent| Command {
            id,
            parent,
            cwd: dir.path().into(),
            argv: Vec::new(),
            program: "/bin/sh".into(),
            kind: String::new(),
            disposition: Disposition::Ran,
            reason: String::new(),
            thunk: None,
            outputs: Vec::new(),
            at_us: 0,
            took_us: 0,
        };
        let left = Touch {
            path: path.as_path().into(),
            uses: Uses::OUTPUT,
            before: None,
            after: Some(ObjectName::of(ObjectKind::Value, b"")),
            mode: None,
        };
        let observed = |id| Observed {
            id,
            status: Status::Exited(0),
            ended_us: u64::from(id),
            thunk: Some(ObjectName::of(ObjectKind::Thunk, b"t")),
            touches: vec![left.clone()],
            obstacles: Vec::new(),
            descriptors: Vec::new(),
        };
        let trace = Trace {
            cwd: dir.path().into(),
            commands: vec![command(5, 7), command(7, 5)],
            observed: vec![observed(5), observed(7)],
            ..Trace::default()
        };
        let (products, put) = (trace.products(), HashSet::from([path.clone()]));
        let times = ages(&store, (&trace, &products), SystemTime::now(), &put).unwrap();
        assert!(times.contains_key(&path));
    }
}
