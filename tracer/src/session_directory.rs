// SPDX-License-Identifier: Apache-2.0
//! The directory of one recording, for its socket and what else lives no longer than it. In it is a file that is locked for as long
//! as the recorder or its guardian lives, which tells the next one what a killed one has left. Does not know what else is in it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

const PREFIX: &str = "ggtrace-";
/// Has this name once it is locked.
const LOCK: &str = "lock";
/// No recorder needs so long until it has locked its directory.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A directory that only this user can enter, removed at the end.
pub struct SessionDirectory {
    path: PathBuf,
    lock: File,
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
        let new = path.join("lock.new");
        let lock = File::create_new(&new).with_context(cannot)?;
        // A file system without locks: nobody will take the directory for a dead recorder's, for it cannot be locked then either.
        let _ = thunk::try_lock(&lock);
        fs::rename(new, path.join(LOCK)).with_context(cannot)?;
        Ok(Self { path, lock })
    }

    /// Whoever else has this, while it has it, the directory is not a dead recorder's.
    pub fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
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

/// One without a lock is left alone for a while: its recorder may not have come to locking it.
fn is_dead(path: &Path) -> bool {
    let open = |path: &Path, flags| {
        OpenOptions::new().read(true).custom_flags(flags | libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
    };
    let Ok(directory) = open(path, libc::O_DIRECTORY) else { return false };
    // SAFETY: takes nothing and cannot fail.
    let user = unsafe { libc::geteuid() };
    let Some(metadata) = directory.metadata().ok().filter(|metadata| metadata.uid() == user) else {
        return false;
    };
    match open(&path.join(LOCK), 0) {
        Ok(lock) => thunk::try_lock(&lock),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let age = metadata.modified().ok().and_then(|changed| changed.elapsed().ok());
            age.is_some_and(|age| age > ABANDONED)
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_directories_of_dead_recorders_are_swept() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        let live = SessionDirectory::create_in(base).unwrap();
        fs::write(live.path().join("socket"), "").unwrap();
        let make = |name: &str, lock: bool| {
            let path = base.join(name);
            fs::create_dir_all(path.join("empty/deep")).unwrap();
            if lock {
                fs::write(path.join(LOCK), "").unwrap();
            }
            path
        };
        let dead = make("ggtrace-0123456789abcdef", true);
        let unlocked = make("ggtrace-0123456789abcde1", false);
        let abandoned = make("ggtrace-0123456789abcde3", false);
        File::open(&abandoned).unwrap().set_modified(SystemTime::now() - ABANDONED * 2).unwrap();
        let foreign = make("ggtrace-notes", true);
        let link = base.join("ggtrace-0123456789abcde2");
        symlink(&foreign, &link).unwrap();
        sweep(base);
        let there = [live.path(), &unlocked, &foreign, &foreign.join(LOCK), &link].map(Path::exists);
        assert_eq!(there, [true; 5]);
        assert_eq!([&dead, &abandoned].map(|path| path.exists()), [false; 2]);
        let path = live.path().to_path_buf();
        drop(live);
        assert!(!path.exists());
    }
}
