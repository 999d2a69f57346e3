// SPDX-License-Identifier: Apache-2.0
//! `gg pack` and `gg unpack`: everything that is needed to force a recorded build's targets, in one file, and from there into
//! a store, on a machine that need have neither sources nor compiler.

pub mod format;

use std::collections::{BTreeMap, HashSet};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use thunk::trace::{Command, Observed, Product, Touch, Trace};
use thunk::{AtomicFile, Closure, ObjectKind, ObjectName, Store};

use crate::facts::{self, Facts};
use format::{Manifest, Reader};

/// What to pack.
#[derive(clap::Args)]
pub struct Arguments {
    /// The trace.
    trace: PathBuf,
    /// Files that the build made, or directories with all that it made in them; everything if none is given.
    targets: Vec<PathBuf>,
    /// Where to write the pack.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Writes a pack.
///
/// # Errors
/// A target is none of what the build made, the store lacks an object, or the file cannot be written.
pub fn pack(arguments: &Arguments) -> Result<()> {
    let facts = Facts::load(Some(&arguments.trace))?;
    let store = facts.store();
    let chosen = choose(&facts, &arguments.targets)?;
    let mut closure = Closure::of(store);
    for product in chosen.values() {
        match product {
            Product::Output(output) => closure.thunk(output.thunk)?,
            Product::Value { value, executable } => closure.add(*value, *executable),
            Product::Link(target) => closure.add(*target, false),
        }
    }
    let trace = part(&facts.trace, &chosen, &closure.thunks).encode();
    let objects: Vec<_> = closure.objects.into_iter().collect();
    let manifest = Manifest { trace: ObjectName::of(ObjectKind::Value, &trace), objects };
    let path = std::path::absolute(&arguments.output)?;
    let cannot = || format!("cannot write {}", arguments.output.display());
    let file = AtomicFile::nameless_in(path.parent().unwrap_or(Path::new("/")), 0o666)?;
    let mut stream = format::begin(io::BufWriter::new(file.file()), &manifest).with_context(cannot)?;
    stream.write_all(&trace).with_context(cannot)?;
    for (name, _) in &manifest.objects {
        store.verify(name)?;
        let source = store.find(name).with_context(|| format!("{name} is not in the store"))?;
        io::copy(&mut File::open(source)?, &mut stream).with_context(cannot)?;
    }
    stream.finish().and_then(|mut writer| writer.flush()).with_context(cannot)?;
    let size = file.file().metadata()?.len();
    file.commit(&path)?;
    let total = manifest.total().unwrap_or_default();
    writeln!(
        io::stdout(),
        "{} targets, {} objects of {total} bytes in {size}",
        chosen.len(),
        manifest.objects.len()
    )?;
    Ok(())
}

/// What was asked for, of what the build left.
fn choose(facts: &Facts, targets: &[PathBuf]) -> Result<BTreeMap<PathBuf, Product>> {
    let last = &facts.products.last;
    if targets.is_empty() {
        return Ok(last.clone());
    }
    let mut chosen = BTreeMap::new();
    for target in targets {
        let before = chosen.len();
        for form in facts::spellings(target)? {
            let below = last.iter().filter(|(path, _)| path.starts_with(&form));
            chosen.extend(below.map(|(path, product)| (path.clone(), product.clone())));
        }
        if chosen.len() == before {
            bail!("{}: no such target; name a file that the recorded build made", target.display());
        }
    }
    Ok(chosen)
}

/// The part of the trace that speaks of the targets.
fn part(trace: &Trace, chosen: &BTreeMap<PathBuf, Product>, thunks: &HashSet<ObjectName>) -> Trace {
    let left = |seen: &Observed| {
        let is_left = |touch: &Touch| match chosen.get(&*touch.path) {
            Some(Product::Value { value, .. } | Product::Link(value)) => touch.after == Some(*value),
            _ => false,
        };
        seen.touches.iter().any(is_left)
    };
    let mut observed: Vec<Observed> = Vec::new();
    for seen in &trace.observed {
        // Of what it used nothing is packed; it is not run again. Of one that only passes on what others make, the mode counts.
        let (is_left, mut seen) = (left(seen), seen.clone());
        let counts = |touch: &Touch| chosen.contains_key(&*touch.path) && (is_left || touch.mode.is_some());
        seen.touches.retain(counts);
        if !seen.touches.is_empty() && !seen.drives() {
            observed.push(seen);
        }
    }
    let ran: HashSet<u32> = observed.iter().map(|seen| seen.id).collect();
    let needed = |command: &&Command| {
        command.thunk.is_some_and(|thunk| thunks.contains(&thunk)) || ran.contains(&command.id)
    };
    let standing = chosen.iter().filter_map(|(path, product)| match product {
        Product::Output(output) => Some((path.clone(), output.clone())),
        Product::Value { .. } | Product::Link(_) => None,
    });
    Trace {
        cwd: trace.cwd.clone(),
        argv: trace.argv.clone(),
        started_us: trace.started_us,
        commands: trace.commands.iter().filter(needed).cloned().collect(),
        observed,
        standing: Some(standing.collect()),
        packed: true,
        end: trace.end,
        ..Trace::default()
    }
}

/// Puts the content of a pack into the store and prints the path of its trace.
///
/// # Errors
/// It is no pack, is not what it says, or the store cannot be written to. Objects that were right by then are in the
/// store; the trace is not.
pub fn unpack(path: &Path) -> Result<()> {
    let store = Store::open_default()?;
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let damaged = || format!("{} cannot be unpacked", path.display());
    let (mut reader, manifest) = Reader::open(file).with_context(damaged)?;
    let total = manifest.total().unwrap_or(u64::MAX);
    if let Some(free) = free_space(store.root())
        && total > free
    {
        bail!("{} holds {total} bytes, and for {} there are {free}", path.display(), store.root().display());
    }
    let mut content = Vec::new();
    reader.object(&manifest.trace, &mut content).with_context(damaged)?;
    let trace = Trace::decode(&path.display().to_string(), &content)?;
    if !trace.packed || trace.cut.is_some() {
        bail!("{}: its trace is not one that was packed", path.display());
    }
    for (name, executable) in &manifest.objects {
        if store.contains(name) {
            reader.object(name, &mut io::sink()).with_context(damaged)?;
            continue;
        }
        let mut to = store.temporary(*executable)?;
        reader.object(name, &mut to).with_context(damaged)?;
        store.install(to, name, *executable)?;
    }
    reader.end().with_context(damaged)?;
    let place = store.root().join("traces").join(format!("pack-{}.trace", manifest.trace));
    thunk::write_atomically(&place, &content, 0o644)?;
    writeln!(io::stdout(), "{}", place.display())?;
    Ok(())
}

fn free_space(directory: &Path) -> Option<u64> {
    let path = CString::new(directory.as_os_str().as_bytes()).ok()?;
    // SAFETY: the path is NUL-terminated; statvfs is plain integers, for which zeros are valid, and has room.
    let stat = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &raw mut stat) == 0).then_some(stat)
    }?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}
