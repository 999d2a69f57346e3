// SPDX-License-Identifier: Apache-2.0
//! What the scanner asks the file system, so that the tracer can answer from its own caches and tests can
//! answer from memory. Knows no include and no search path.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Answer, Question};

/// Tells one state of a file or directory from another: if two stamps are equal, nothing happened between them
/// (but see [`Stamp::settled`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime: i64,
    /// Change time in nanoseconds since 1970.
    pub ctime: i64,
    /// `st_mode`: kind and permissions.
    pub mode: u32,
    /// It has several names, by each of which it can be changed.
    pub shared: bool,
}

/// Kernel clocks for time stamps tick every 1 to 10 ms.
const TICK: i64 = 20_000_000;
/// File systems without fractions of a second may round to two seconds.
const COARSE: i64 = 2_000_000_000;

impl Stamp {
    /// Is it the same file or directory, in whatever state?
    #[must_use]
    pub fn same_object(&self, other: &Self) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }

    /// Was the last change long enough before `now` for the next one to get another time? If not, an equal
    /// stamp proves nothing, as in git's racy index entries.
    #[must_use]
    pub fn settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as i64;
        let newest = self.mtime.max(self.ctime);
        let tick = if newest % 1_000_000_000 == 0 { COARSE } else { TICK };
        now.saturating_sub(newest) > tick
    }
}

/// What kind of thing stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file (or a placeholder of one).
    File,
    /// A directory.
    Directory,
    /// A symbolic link; only where links are not followed.
    Link,
    /// A device, a pipe, a socket.
    Other,
}

/// The file system as the scanner sees it. All paths are absolute.
pub trait Files: Sync {
    /// What stands at `path`, if anything does; a final symbolic link is followed if `follow` says so.
    fn look(&self, path: &Path, follow: bool) -> Option<(Kind, Stamp)>;

    /// The content of a regular file; a placeholder is forced first.
    ///
    /// # Errors
    /// Whatever reading the file gives.
    fn read(&self, path: &Path) -> io::Result<Arc<Vec<u8>>>;

    /// A digest of what is in a regular file with this stamp, equal to another's only if the contents are; a
    /// placeholder is forced first. `None` where it cannot be told: then no later recording is told of commands that
    /// read the file.
    fn digest(&self, path: &Path, stamp: &Stamp) -> Option<[u8; 32]> {
        let _ = (path, stamp);
        None
    }

    /// The names in a directory, in any order. Asked for directories of precompiled headers, and where many names are looked for at once.
    ///
    /// # Errors
    /// Whatever reading the directory gives.
    fn names(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// May what is in this directory be taken as unchanging for as long as the scanner lives (the compiler's own
    /// headers, for one)? Then it is looked at once and not at every scan.
    fn fixed(&self, directory: &Path) -> bool {
        let _ = directory;
        false
    }

    /// May something of this name, which is one component of a path, have changed after the moment `since` which a scan was
    /// told that nothing has? What has once changed may change again at any time.
    fn changes(&self, name: &[u8]) -> bool {
        let _ = name;
        false
    }

    /// A number that is another one whenever [`Files::changes`] says something else than before.
    fn extent(&self) -> u64 {
        0
    }

    /// Asks the compiler about itself, once: see [`World::ask`](crate::World::ask).
    ///
    /// # Errors
    /// It cannot be asked; then a command whose includes depend on the answer is unsure.
    fn ask(&self, question: &Question) -> io::Result<Arc<Answer>> {
        let _ = question;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The path of a file without symbolic links, `.` and `..`.
    fn real(&self, path: &Path) -> Option<PathBuf> {
        path.canonicalize().ok()
    }
}

/// The file system itself, without any cache.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn look(&self, path: &Path, follow: bool) -> Option<(Kind, Stamp)> {
        let found = if follow { path.metadata() } else { path.symlink_metadata() };
        let m = found.ok()?;
        let kind = match m.file_type() {
            t if t.is_file() => Kind::File,
            t if t.is_dir() => Kind::Directory,
            t if t.is_symlink() => Kind::Link,
            _ => Kind::Other,
        };
        let nanoseconds = |s: i64, n: i64| s.saturating_mul(1_000_000_000).saturating_add(n);
        let stamp = Stamp {
            dev: m.dev(),
            ino: m.ino(),
            size: m.size(),
            mtime: nanoseconds(m.mtime(), m.mtime_nsec()),
            ctime: nanoseconds(m.ctime(), m.ctime_nsec()),
            mode: m.mode(),
            shared: !m.is_dir() && m.nlink() > 1,
        };
        Some((kind, stamp))
    }

    fn read(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
        std::fs::read(path).map(Arc::new)
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
    }
}
