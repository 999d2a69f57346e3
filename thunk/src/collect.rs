// SPDX-License-Identifier: Apache-2.0
//! Garbage collection: what no build that may still be forced or replayed needs, and what nobody has used for long, leaves the store.
//!
//! ```text
//! needed     the last trace of each directory that exists, traces of the time that counts, what their thunks need, and results
//! used       everything else that was written, read or linked to in that time: another branch's objects, say
//! the rest   is removed; then what is used only, the oldest first, until the store is as small as it is to be
//! ```
//!
//! A reduction whose outputs are gone is as good as none, so nothing that is left is wrong. Does not know who uses the store: it is to be
//! had alone.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::closure::Closure;
use crate::error::{Error, Result};
use crate::name::ObjectName;
use crate::placeholder::Placeholder;
use crate::store::{KNOWN_TREES, Store};
use crate::trace::{self, Trace};

/// What is to go.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What nothing needs goes when it was not used for so long.
    pub unused: Duration,
    /// What nothing needs goes, the oldest first, while all together has more bytes than this.
    pub most: Option<u64>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// Files and their bytes. A file that has another name outside of the store, in a build's tree, takes no bytes of the store's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub files: u64,
    /// How large they are together.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, file: &Entry) {
        self.files += 1;
        self.bytes += file.bytes;
    }
}

/// What has gone, and what has stayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Not any more in the store.
    pub removed: Count,
    /// Still there.
    pub kept: Count,
}

/// A file of the store.
struct Entry {
    path: PathBuf,
    used: SystemTime,
    bytes: u64,
    /// Something needs it.
    needed: bool,
}

/// Removes what the policy says. `store` was opened with [`Store::open_alone`].
///
/// # Errors
/// The store cannot be read or written to, or a trace that is needed is damaged.
pub fn collect(store: &Store, policy: &Policy) -> Result<Collected> {
    let since = SystemTime::now().checked_sub(policy.unused).unwrap_or(UNIX_EPOCH);
    let (traces, needed) = needed(store, since)?;
    let mut entries = traces;
    for (directory, of_thunk) in
        [("blobs", false), ("exec", false), ("reductions", true), ("completions", true), ("failed", true)]
    {
        for mut entry in list(&store.root().join(directory))? {
            let name =
                entry.path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            // What is not ours is left alone.
            let Some(name): Option<ObjectName> = name else { continue };
            entry.needed =
                if of_thunk { needed.thunks.contains(&name) } else { needed.objects.contains(&name) };
            entries.push(entry);
        }
    }
    let mut collected = Collected::default();
    entries.sort_by_key(|entry| (entry.needed, entry.used));
    let mut left: u64 = entries.iter().map(|entry| entry.bytes).sum();
    for entry in &entries {
        let too_many = policy.most.is_some_and(|most| left > most);
        if entry.needed || (entry.used >= since && !too_many) {
            collected.kept.add(entry);
            continue;
        }
        if !policy.dry_run {
            if collected.removed.files == 0 {
                forget_objects(store)?;
            }
            remove(&entry.path)?;
        }
        left -= entry.bytes;
        collected.removed.add(entry);
    }
    if !policy.dry_run && collected.removed.files > 0 {
        for name in ["answers", "includes", "learned", "libtool"] {
            for entry in list(&store.root().join("cache").join(name))? {
                if entry.used < since {
                    remove(&entry.path)?;
                }
            }
        }
        store.sweep();
    }
    Ok(collected)
}

/// Removes what names objects that may be gone soon; it can be computed again. Before the first of them, lest anybody who ends this process
/// in between leave names of nothing.
fn forget_objects(store: &Store) -> Result<()> {
    for name in ["toolchains", "settled", KNOWN_TREES] {
        let path = store.root().join("cache").join(name);
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &path)(e)),
            _ => {}
        }
    }
    Ok(())
}

/// What builds need that may still be forced or replayed.
#[derive(Default)]
struct Needed {
    thunks: HashSet<ObjectName>,
    objects: HashSet<ObjectName>,
}

/// The files of the traces, and what those need that stay.
fn needed(store: &Store, since: SystemTime) -> Result<(Vec<Entry>, Needed)> {
    let mut entries = list(&store.root().join("traces"))?;
    let mut latest: HashMap<String, String> = HashMap::new();
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for entry in &entries {
        let name = name(&entry.path);
        if let Some(directory) = trace::directory_of(&name) {
            let newest = latest.entry(directory.to_owned()).or_default();
            if *newest < name {
                *newest = name;
            }
        }
    }
    let mut closure = Closure::of(store);
    for entry in &mut entries {
        let is_recent = entry.used >= since;
        let name = name(&entry.path);
        let is_latest = trace::directory_of(&name).is_some_and(|of| latest.get(of) == Some(&name));
        if !is_recent && !is_latest {
            continue;
        }
        let trace = Trace::read(&entry.path)?;
        entry.needed = is_recent || trace.cwd.is_dir();
        if entry.needed {
            add(&mut closure, store, &trace);
        }
    }
    let mut needed = Needed { thunks: closure.thunks, objects: closure.objects.into_keys().collect() };
    for thunk in &needed.thunks {
        let reduction = store.reduction(thunk);
        needed
            .objects
            .extend(reduction.iter().flat_map(|reduction| &reduction.outputs).map(|output| output.value));
    }
    Ok((entries, needed))
}

fn add(closure: &mut Closure<'_>, store: &Store, trace: &Trace) {
    let standing = trace.left(store).into_iter().filter_map(|path| {
        let placeholder = Placeholder::read_to_replace(&path).ok().flatten()?;
        (placeholder.store == store.root()).then_some(placeholder.output.thunk)
    });
    let deferred = trace.commands.iter().filter_map(|command| command.thunk);
    let ran = trace.observed.iter().filter_map(|observed| observed.thunk);
    for thunk in standing.chain(deferred).chain(ran) {
        // What is damaged or missing cannot be computed, whatever is kept.
        let _ = closure.thunk(thunk);
    }
    // What commands left that ran, for who replays or packs the trace.
    let left = trace.observed.iter().flat_map(|observed| &observed.touches).filter_map(|touch| touch.after);
    left.for_each(|value| closure.add(value, false));
}

fn list(directory: &Path) -> Result<Vec<Entry>> {
    let cannot = |error| Error::io("list", directory)(error);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(cannot)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(cannot)?;
        let metadata = entry.metadata().map_err(cannot)?;
        if metadata.is_file() {
            let bytes = if metadata.nlink() > 1 { 0 } else { metadata.len() };
            found.push(Entry { path: entry.path(), used: used(&metadata), bytes, needed: false });
        }
    }
    Ok(found)
}

/// When a file was last written, read or linked to, as far as its file system says.
fn used(metadata: &Metadata) -> SystemTime {
    let seconds = metadata.ctime().max(metadata.atime()).max(metadata.mtime());
    UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or_default())
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|error| Error::io("remove", path)(error))
}
