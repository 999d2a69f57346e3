// SPDX-License-Identifier: Apache-2.0
//! The directory of one recording, for its socket and what else lives no longer than it. Locked for as long as the recorder
//! lives, which tells the next one what a killed one has left. Does not know what is in it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};

const PREFIX: &str = "ggtrace-";
/// No recorder needs so long from making its directory to putting something there.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A directory that only this user can enter, removed at the end.
pub struct SessionDirectory {
    path: PathBuf,
    _lock: File,
}

impl SessionDirectory {
    /// Makes one, and removes those of this user's recorders that were killed.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create() -> Result<Self> {
        let base = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|p| p.is_dir());
        // A socket's path must be short, and is a field in a list with colons.
        let base = base.filter(|p| p.as_os_str().len() < 60 && !p.to_string_lossy().contains(':'));
        let base = base.unwrap_or_else(|| "/tmp".into());
        sweep(&base);
        Self::create_in(&base)
    }

    fn create_in(base: &Path) -> Result<Self> {
        let random = crate::session::random()?;
        let path = base.join(format!("{PREFIX}{random:016x}"));
        let cannot = || format!("cannot make the session's directory {}", path.display());
        fs::DirBuilder::new().mode(0o700).create(&path).with_context(cannot)?;
        let lock = File::open(&path).with_context(cannot)?;
        // A file system without locks: nobody will take the directory for a dead recorder's, for it cannot be locked then either.
        let _ = thunk::try_lock(&lock);
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SessionDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes the directories of dead recorders in `base`, which other users may write to as well.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        if is_ours(&entry.file_name().to_string_lossy()) && is_dead(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_ours(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX).unwrap_or_default();
    random.len() == 16 && random.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A directory with something in it has been locked before, by its recorder if that still lives. An empty one may be locked in
/// a moment.
fn is_dead(path: &Path) -> bool {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let Ok(directory) = OpenOptions::new().read(true).custom_flags(flags).open(path) else { return false };
    let Ok(metadata) = directory.metadata() else { return false };
    let age = metadata.modified().ok().and_then(|made| SystemTime::now().duration_since(made).ok());
    let used = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    // SAFETY: takes nothing and cannot fail.
    let user = unsafe { libc::geteuid() };
    metadata.uid() == user && (used || age.is_some_and(|age| age > ABANDONED)) && thunk::try_lock(&directory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_directories_of_dead_recorders_are_swept() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        let live = SessionDirectory::create_in(base).unwrap();
        fs::write(live.path().join("socket"), "").unwrap();
        let make = |name: &str, used: bool| {
            let path = base.join(name);
            fs::create_dir(&path).unwrap();
            if used {
                fs::create_dir_all(path.join("empty/deep")).unwrap();
            }
            path
        };
        let dead = make("ggtrace-0123456789abcdef", true);
        let old = make("ggtrace-0123456789abcde0", false);
        File::open(&old).unwrap().set_modified(SystemTime::now() - ABANDONED * 2).unwrap();
        let just_made = make("ggtrace-0123456789abcde1", false);
        let foreign = make("ggtrace-notes", true);
        let link = base.join("ggtrace-0123456789abcde2");
        symlink(&foreign, &link).unwrap();
        sweep(base);
        let there = [live.path(), &just_made, &foreign, &foreign.join("empty"), &link].map(Path::exists);
        assert_eq!(there, [true; 5]);
        assert_eq!([&dead, &old].map(|path| path.exists()), [false; 2]);
        let path = live.path().to_path_buf();
        drop(live);
        assert!(!path.exists());
    }
}
