// SPDX-License-Identifier: Apache-2.0
//! Symbolic links that a replay puts in place. Each is as the build left it, or the command has failed that makes it again: so it can
//! stand there before that has run. But where something else stands that would be lost if the command fails, it comes after it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use thunk::{ObjectName, Store, link_atomically};

use crate::escapes;

/// Those that wait for the commands that make them.
#[derive(Default)]
pub struct Links(Vec<Waiting>);

struct Waiting {
    path: PathBuf,
    target: PathBuf,
    by: ObjectName,
}

impl Links {
    /// Puts one in place, or sees to it that it will be. `by`: the thunk that makes it, if nobody knows yet whether it does. `leads_on`: other
    /// things that the build left are behind it.
    ///
    /// # Errors
    /// It cannot be made, or something stands there that must not be lost.
    pub fn put(&mut self, path: &Path, target: &Path, by: Option<ObjectName>, leads_on: bool) -> Result<()> {
        let there = fs::symlink_metadata(path).ok();
        let is_link = there.as_ref().is_some_and(fs::Metadata::is_symlink);
        match by {
            Some(_) if there.is_some() && leads_on && !is_link => {
                bail!("{} is in the way; the build left a link there", path.display())
            }
            Some(by) if there.is_some() && !leads_on => {
                self.0.push(Waiting { path: path.into(), target: target.into(), by });
                Ok(())
            }
            _ => place(path, target),
        }
    }

    /// Puts those in place that the commands have made by now.
    ///
    /// # Errors
    /// One of them cannot be made: the others are.
    pub fn put_made(&self, store: &Store) -> Result<()> {
        let made = self.0.iter().filter(|link| escapes::known(store, &link.by).is_some());
        let results: Vec<_> = made.map(|link| place(&link.path, &link.target)).collect();
        results.into_iter().collect()
    }
}

/// If it is not there.
fn place(path: &Path, target: &Path) -> Result<()> {
    if fs::read_link(path).is_ok_and(|there| there == target) {
        return Ok(());
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(link_atomically(path, target)?)
}

#[cfg(test)]
mod tests {
    use thunk::{ObjectKind, Reduction};

    use super::*;

    #[test]
    fn what_would_be_lost_stays_until_the_link_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let thunks = [b"1", b"2"].map(|text| ObjectName::of(ObjectKind::Thunk, text));
        let at = |name: &str| dir.path().join(name);
        let leads = |name: &str| fs::read_link(at(name)).ok();
        let target = Path::new("target");
        let mut links = Links::default();
        for name in ["made", "failed"] {
            fs::write(at(name), name).unwrap();
        }
        links.put(&at("made"), target, Some(thunks[0]), false).unwrap();
        links.put(&at("failed"), target, Some(thunks[1]), false).unwrap();
        links.put(&at("deep/new"), target, Some(thunks[1]), false).unwrap();
        links.put(&at("known"), target, None, true).unwrap();
        assert_eq!((leads("made"), leads("failed")), (None, None));
        assert_eq!((leads("deep/new").as_deref(), leads("known").as_deref()), (Some(target), Some(target)));
        store.put_reduction(&thunks[0], &Reduction::default()).unwrap();
        links.put_made(&store).unwrap();
        assert_eq!((leads("made").as_deref(), leads("failed")), (Some(target), None));
        assert_eq!(fs::read(at("failed")).unwrap(), b"failed");
        // Something that is to be put behind it would be put elsewhere.
        assert!(links.put(&at("failed"), target, Some(thunks[1]), true).is_err());
        links.put(&at("known"), Path::new("other"), Some(thunks[1]), true).unwrap();
        assert_eq!(leads("known").as_deref(), Some(Path::new("other")));
    }
}
