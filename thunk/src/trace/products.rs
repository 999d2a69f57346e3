// SPDX-License-Identifier: Apache-2.0
//! What a build left: which path holds which output of which command when it is over. Follows the trace in the order in
//! which files came to be. Knows neither the store nor what stands there now.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{Command, Disposition, Observed, Trace, Uses};
use crate::name::ObjectName;
use crate::placeholder::OutputRef;

/// What a path holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Product {
    /// An output of a thunk.
    Output(OutputRef),
    /// What a command that ran left there.
    Value {
        /// The content.
        value: ObjectName,
        /// May it be executed?
        executable: bool,
    },
    /// A symbolic link with this target.
    Link(ObjectName),
}

/// What a build left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Products {
    /// What stands where in the end.
    pub last: BTreeMap<PathBuf, Product>,
    /// Every path that the build itself wrote at some time: its own work, and no input from outside.
    pub written: BTreeSet<PathBuf>,
    /// The permissions of what stands there in the end, where a command that ran has decided about them.
    pub modes: BTreeMap<PathBuf, u32>,
    /// The directories that the build made and left.
    pub directories: BTreeSet<PathBuf>,
    /// What programs keep for themselves from one run to the next, such as the statistics of a cache: files outside of where the build
    /// works that were there before it, that nobody has read who did not give them another content, and of which no command line speaks. No
    /// inputs, and nothing that the build left.
    pub kept: BTreeSet<PathBuf>,
}

/// What happened, in its order.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A command was deferred.
    Deferred(&'a Command, ObjectName),
    /// A command that ran came to its end.
    Observed(&'a Observed),
}

impl Trace {
    /// The commands that made something, in the order in which their outputs came to be: those that were deferred when
    /// they were asked for, those that ran when they had ended.
    #[must_use]
    pub fn steps(&self) -> Vec<Step<'_>> {
        let deferred = self.commands.iter().filter(|c| c.disposition == Disposition::Deferred);
        let deferred = deferred.filter_map(|c| Some((c.at_us, Step::Deferred(c, c.thunk?))));
        let observed = self.observed.iter().map(|o| (o.ended_us, Step::Observed(o)));
        let mut steps: Vec<_> = deferred.chain(observed).collect();
        steps.sort_by_key(|(at, _)| *at);
        steps.into_iter().map(|(_, step)| step).collect()
    }

    /// What the build left.
    #[must_use]
    pub fn products(&self) -> Products {
        let mut products = Products::default();
        products.written.extend(self.placed.iter().cloned());
        let steps = self.steps();
        for step in &steps {
            match *step {
                Step::Deferred(command, thunk) => {
                    for path in &command.outputs {
                        products.written.insert(path.clone());
                        products.directories.remove(path);
                        let output = OutputRef { thunk, output: Some(path.clone()) };
                        products.last.insert(path.clone(), Product::Output(output));
                    }
                }
                Step::Observed(observed) => products.observe(observed),
            }
        }
        if let Some(standing) = &self.standing {
            let deferred: HashSet<ObjectName> = self.commands.iter().filter_map(|c| c.thunk).collect();
            let is_deferred = |product: &Product| match product {
                Product::Output(output) => deferred.contains(&output.thunk),
                Product::Value { .. } | Product::Link(_) => false,
            };
            products.last.retain(|_, product| !is_deferred(product));
            for (path, output) in standing {
                products.written.insert(path.clone());
                products.last.insert(path.clone(), Product::Output(output.clone()));
            }
        }
        products.kept = self.kept(&steps);
        products.last.retain(|path, _| !products.kept.contains(path));
        products
    }

    fn kept(&self, steps: &[Step<'_>]) -> BTreeSet<PathBuf> {
        let mut places = vec![self.cwd.as_path()];
        let others = self.commands.iter().map(|command| command.cwd.as_path());
        places.extend(others.filter(|cwd| !cwd.starts_with(&self.cwd) && *cwd != Path::new("/")));
        places.sort_unstable();
        places.dedup();
        // Whether that is so of all that was seen of a path so far.
        let mut kept: HashMap<&Path, bool> = HashMap::new();
        for step in steps {
            let observed = match *step {
                Step::Deferred(command, _) => {
                    kept.extend(command.outputs.iter().map(|path| (path.as_path(), false)));
                    continue;
                }
                Step::Observed(observed) => observed,
            };
            let used = [Uses::INPUT, Uses::OUTPUT, Uses::REMOVED, Uses::MOVED_AWAY];
            for touch in observed.touches.iter().filter(|touch| touch.uses.has_one_of(&used)) {
                // Who has opened it for writing may have changed its times only.
                let is_other = match (touch.before, touch.after) {
                    (Some(before), Some(after)) => before != after,
                    _ => touch.uses.has(Uses::MOVED_HERE),
                };
                let is_one = is_other && touch.uses.has(Uses::INPUT | Uses::OUTPUT);
                let so_far = kept
                    .entry(&touch.path)
                    .or_insert_with(|| is_one && !places.iter().any(|place| touch.path.starts_with(place)));
                *so_far &= is_one;
            }
        }
        kept.retain(|path, is_one| *is_one && !self.names(path));
        kept.into_keys().map(Path::to_path_buf).collect()
    }

    /// Is it named by who runs something, or does a build driver look at it? What a program keeps for itself nobody else speaks of.
    fn names(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let mut words = self.commands.iter().flat_map(|command| &command.argv);
        let drivers = self.observed.iter().filter(|observed| observed.drives());
        words.any(|word| word.as_bytes().windows(name.len().max(1)).any(|part| part == name))
            || drivers.flat_map(|driver| &driver.touches).any(|touch| *touch.path == *path)
    }

    /// The command of this thunk: the one that was deferred as it, or was seen to do what it says.
    #[must_use]
    pub fn command_of(&self, thunk: &ObjectName) -> Option<&Command> {
        let observed = self.observed.iter().find(|o| o.thunk.as_ref() == Some(thunk)).map(|o| o.id);
        self.commands.iter().find(|c| c.thunk.as_ref() == Some(thunk) || Some(c.id) == observed)
    }

    /// The command with this number.
    #[must_use]
    pub fn command(&self, id: u32) -> Option<&Command> {
        // In nearly all traces the numbers are in order.
        match self.commands.binary_search_by_key(&id, |c| c.id) {
            Ok(at) => Some(&self.commands[at]),
            Err(_) => self.commands.iter().find(|c| c.id == id),
        }
    }
}

impl Products {
    /// Is something else that the build left behind this path?
    pub fn is_above_another(&self, path: &Path) -> bool {
        let mut after = self.last.range::<Path, _>((Bound::Excluded(path), Bound::Unbounded));
        after.next().is_some_and(|(next, _)| next.starts_with(path))
    }

    fn observe(&mut self, observed: &Observed) {
        for touch in &observed.touches {
            let path: &Path = &touch.path;
            if let Some(mode) = touch.mode {
                self.modes.insert(path.to_path_buf(), mode);
            } else if touch.uses.has(Uses::OUTPUT) {
                self.modes.remove(path);
            }
            let is_changed = touch.uses.has_one_of(&[Uses::OUTPUT, Uses::REMOVED, Uses::MOVED_AWAY]);
            if touch.uses.has(Uses::OUTPUT | Uses::DIRECTORY) {
                self.directories.insert(path.to_path_buf());
            } else if is_changed && self.directories.remove(path) {
                // What is below one that was renamed is elsewhere, too.
                self.directories.retain(|below| !below.starts_with(path));
            }
            if touch.uses.has(Uses::OUTPUT) {
                self.written.insert(path.to_path_buf());
                let executable = touch.uses.has(Uses::RUNNABLE);
                match touch.after {
                    Some(target) if touch.uses.has(Uses::LINK) => {
                        self.last.insert(path.to_path_buf(), Product::Link(target))
                    }
                    Some(value) => self.last.insert(path.to_path_buf(), Product::Value { value, executable }),
                    // A directory has no content; a placeholder's is of no use.
                    None => self.last.remove(path),
                };
            } else if touch.uses.has(Uses::REMOVED) || touch.uses.has(Uses::MOVED_AWAY) {
                self.written.insert(path.to_path_buf());
                self.last.remove(path);
            }
        }
    }

    /// What stands at this path in the end.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<&Product> {
        self.last.get(path)
    }
}
