// SPDX-License-Identifier: Apache-2.0
//! `gg show --needs`: what has to be brought to machines that have nothing, so that they can compute what a recorded build deferred; and
//! what of that is new to those that have computed another build. Knows nothing of who brings it.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result};
use thunk::trace::{Disposition, Trace};
use thunk::{Closure, ObjectName, Store};

use crate::facts::Facts;

/// Prints it. `beside`: the trace of the other build.
///
/// # Errors
/// There is no such trace, or the store lacks something.
pub fn run(facts: &Facts, beside: Option<&Path>, out: &mut impl Write) -> Result<()> {
    let store = facts.store();
    let needed = Needed::of(store, &facts.trace)?;
    let mut there = HashSet::new();
    if let Some(path) = beside {
        let other = Needed::of(store, &Trace::read(path)?)?;
        // What was computed there stayed there.
        let [thunks, ..] = &other.parts;
        let given = thunks.iter().filter_map(|thunk| store.reduction(thunk)).flat_map(|given| given.outputs);
        there.extend(given.map(|output| output.value));
        there.extend(other.parts.into_iter().flatten());
    }
    let (mut all_count, mut all_bytes) = (0, 0);
    writeln!(out, "{:>9}  {:>13}  {:>11}  objects", "number", "bytes", "median")?;
    for (what, names) in PARTS.iter().zip(needed.parts) {
        let mut sizes: Vec<u64> =
            names.iter().filter(|name| !there.contains(name)).map(ObjectName::size).collect();
        sizes.sort_unstable();
        let (count, bytes) = (sizes.len(), sizes.iter().sum::<u64>());
        let median = sizes.get(count / 2).copied().unwrap_or(0);
        writeln!(out, "{count:9}  {bytes:13}  {median:11}  {what}")?;
        all_count += count;
        all_bytes += bytes;
    }
    writeln!(out, "{all_count:9}  {all_bytes:13}  {:>11}  all", "")?;
    Ok(())
}

const PARTS: [&str; 4] = ["thunks", "trees", "files in trees", "other files"];

/// What the deferred commands of a build need, in the order of [`PARTS`]. What they give each other is not among it.
struct Needed {
    parts: [HashSet<ObjectName>; 4],
}

impl Needed {
    fn of(store: &Store, trace: &Trace) -> Result<Self> {
        let mut closure = Closure::of(store);
        for command in trace.commands.iter().filter(|c| c.disposition == Disposition::Deferred) {
            let name = command.thunk.context("the trace does not name the thunk of what was deferred")?;
            closure.thunk(name)?;
        }
        let (mut trees, mut named) = (HashSet::new(), HashSet::new());
        for name in &closure.thunks {
            let thunk = store.thunk(name)?;
            trees.extend(thunk.trees);
            named.extend(thunk.values.iter().chain(&thunk.executables).map(|input| input.value));
            named.extend(thunk.function.filter(|_| thunk.program.is_none()));
        }
        let in_trees = |name: &ObjectName| {
            !(closure.thunks.contains(name) || trees.contains(name) || named.contains(name))
        };
        let in_trees = closure.objects.keys().copied().filter(in_trees).collect();
        Ok(Self { parts: [closure.thunks, trees, in_trees, named] })
    }
}
