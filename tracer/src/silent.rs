// SPDX-License-Identifier: Apache-2.0
//! Tools that did not end when they were to say something of themselves. They are asked nothing more in this recording,
//! and in later ones not the same, for an hour, for as long as all that they had used is as it was. Does not know what
//! they were asked.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use thunk::FileId;

use crate::recorder::lock;
use crate::touched::{self, Touched};

const HEADER: &str = "gg-silent 1";
/// What held a tool up may be over: a file system that did not answer, a machine that was too busy.
const LASTS: Duration = Duration::from_secs(60 * 60);

/// All that are known.
#[derive(Debug)]
pub struct Silent {
    directory: PathBuf,
    known: Mutex<HashSet<(PathBuf, FileId)>>,
}

impl Silent {
    /// They are kept in `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, known: Mutex::default() }
    }

    /// May the program be asked the question with this key?
    ///
    /// # Errors
    /// It would not end: a clause.
    pub fn check(&self, program: &Path, key: &str) -> Result<(), String> {
        if self.has(program, key) { Err(complaint(program)) } else { Ok(()) }
    }

    /// It has not ended when it was asked that, having used this. A clause.
    pub fn add(&self, program: &Path, key: &str, used: &Touched) -> String {
        lock(&self.known).extend(identity(program));
        // Without it the next recording waits again.
        let record = touched::sealed(HEADER, &used.encode());
        let _ = thunk::write_atomically(&self.record(key), &record, 0o644);
        complaint(program)
    }

    fn has(&self, program: &Path, key: &str) -> bool {
        let Some(identity) = identity(program) else { return false };
        if lock(&self.known).contains(&identity) {
            return true;
        }
        let record = self.record(key);
        let age = fs::metadata(&record).and_then(|metadata| metadata.modified()).ok();
        if age.and_then(|written| written.elapsed().ok()).is_none_or(|age| age >= LASTS) {
            return false;
        }
        let record = fs::read(record).unwrap_or_default();
        let holds = touched::unsealed(HEADER, &record).and_then(Touched::decode).is_some();
        if holds {
            lock(&self.known).insert(identity);
        }
        holds
    }

    fn record(&self, key: &str) -> PathBuf {
        self.directory.join(format!("silent-{key}"))
    }
}

fn complaint(program: &Path) -> String {
    format!("{} does not end when it is asked about itself", program.display())
}

fn identity(program: &Path) -> Option<(PathBuf, FileId)> {
    Some((program.into(), FileId::of(&fs::metadata(program).ok()?)))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn one_is_known_for_an_hour_and_as_long_as_all_is_the_same_that_it_used() {
        let space = tempfile::tempdir().unwrap();
        let (tool, part) = (space.path().join("tool"), space.path().join("part"));
        fs::write(&tool, "").unwrap();
        fs::write(&part, "").unwrap();
        let another = || Silent::new(space.path().into());
        let silent = another();
        assert_eq!(silent.check(&tool, "x"), Ok(()));
        let used = Touched { found: [tool.clone(), part.clone()].into(), ..Touched::default() };
        let complaint = silent.add(&tool, "x", &used);
        assert_eq!(silent.check(&tool, "x"), Err(complaint.clone()));
        assert_eq!(silent.check(&tool, "y"), Err(complaint.clone()));
        assert_eq!(silent.check(&part, "y"), Ok(()));
        // Another question is another matter, for its parts may be: only who has waited once need not wait again.
        let next = another();
        assert_eq!(next.check(&tool, "y"), Ok(()));
        assert_eq!(next.check(&tool, "x"), Err(complaint.clone()));
        assert_eq!(next.check(&tool, "y"), Err(complaint));
        let record = fs::File::options().write(true).open(next.record("x")).unwrap();
        let written = record.metadata().unwrap().modified().unwrap();
        record.set_modified(SystemTime::now() - LASTS).unwrap();
        assert_eq!(another().check(&tool, "x"), Ok(()));
        record.set_modified(written).unwrap();
        assert!(another().check(&tool, "x").is_err());
        fs::write(&part, "another").unwrap();
        assert_eq!(another().check(&tool, "x"), Ok(()));
    }
}
