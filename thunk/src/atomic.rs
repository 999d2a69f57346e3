// SPDX-License-Identifier: Apache-2.0
//! Files that appear whole or not at all. If the file system can do that, they have no name until they are whole, so that nobody need
//! sweep after a killed process; else they are written beside their place and then renamed. What is abandoned is removed; what
//! a killed process leaves of those with a name is for [`sweep`].

use std::ffi::{CStr, CString};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::lock::try_lock;

static COUNTER: AtomicU64 = AtomicU64::new(0);

const PREFIX: &str = ".gg-tmp-";
/// Nobody needs so long between making a file and locking it, or between two writes to a file that cannot be locked.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A file under construction. Dropped without [`AtomicFile::commit`], it leaves nothing.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    /// Its own name; without one, the directory that it is in.
    temporary: PathBuf,
    named: bool,
    committed: bool,
}

impl AtomicFile {
    /// Starts a file in `directory`, with this mode (less the umask). It has a name of its own until it is committed, and is
    /// locked for as long as it is open.
    ///
    /// # Errors
    /// The file cannot be created there.
    pub fn create_in(directory: &Path, mode: u32) -> Result<Self> {
        loop {
            let temporary = temporary_name(directory);
            match OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary) {
                Ok(file) => {
                    // Where there are no locks, its age has to do.
                    let _ = try_lock(&file);
                    return Ok(Self { file, temporary, named: true, committed: false });
                }
                // A name left by a dead process with the same id: take the next one.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(Error::Io { what: "create a file there", path: directory.into(), error });
                }
            }
        }
    }

    /// Starts a file in `directory` that has no name until it is committed, where that is possible.
    ///
    /// # Errors
    /// As [`AtomicFile::create_in`].
    pub fn nameless_in(directory: &Path, mode: u32) -> Result<Self> {
        // Where the kernel links no descriptor, the name is given through there.
        static HAS_PROC: OnceLock<bool> = OnceLock::new();
        let opened = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).mode(mode).open(directory);
        match opened {
            Ok(file) if *HAS_PROC.get_or_init(|| own_path(&file).is_symlink()) => {
                Ok(Self { file, temporary: directory.into(), named: false, committed: false })
            }
            _ => Self::create_in(directory, mode),
        }
    }

    /// Another name for an existing file of any kind but a directory, in `directory`, to be committed in the place of something
    /// else. It is open only to be looked at.
    ///
    /// # Errors
    /// The file cannot be linked there.
    pub fn link_in(directory: &Path, existing: &Path) -> Result<Self> {
        let failed = || Error::io("link a file there", directory);
        let temporary = temporary_name(directory);
        std::fs::hard_link(existing, &temporary).map_err(failed())?;
        let opened =
            OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(&temporary);
        match opened {
            Ok(file) => Ok(Self { file, temporary, named: true, committed: false }),
            Err(error) => {
                let _ = std::fs::remove_file(&temporary);
                Err(failed()(error))
            }
        }
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives it this mode, whatever the umask of this process. Looking costs less than a change, and hardly ever is one needed.
    ///
    /// # Errors
    /// The mode is refused.
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        let metadata = self.file.metadata().map_err(Error::io("look at", &self.temporary))?;
        if metadata.mode() & 0o7777 == mode {
            return Ok(());
        }
        let permissions = std::fs::Permissions::from_mode(mode);
        self.file.set_permissions(permissions).map_err(Error::io("set the mode of", &self.temporary))
    }

    /// Where it is for now: a file made by [`AtomicFile::create_in`], or the directory of a nameless one.
    #[must_use]
    pub fn temporary_path(&self) -> &Path {
        &self.temporary
    }

    /// Gives the file its name, replacing what is there.
    ///
    /// # Errors
    /// The rename is refused.
    pub fn commit(mut self, path: &Path) -> Result<()> {
        let failed = || Error::io("put a file there", path);
        if !self.named {
            match link(&self.file, path) {
                Ok(()) => return Ok(()),
                // A link replaces nothing: that takes a rename.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.name_it().map_err(failed())?;
                }
                Err(error) => return Err(failed()(error)),
            }
        }
        std::fs::rename(&self.temporary, path).map_err(failed())?;
        self.committed = true;
        Ok(())
    }

    /// Gives the file its name, if nothing stands there; tells whether it was so.
    ///
    /// # Errors
    /// It cannot be put there.
    pub fn commit_new(self, path: &Path) -> Result<bool> {
        let put = if self.named { std::fs::hard_link(&self.temporary, path) } else { link(&self.file, path) };
        match put {
            // Another name, if it has one, goes when it is dropped.
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            // Not every file system has hard links. Of two who come there in one moment the last one stays.
            Err(error)
                if self.named
                    && matches!(
                        error.raw_os_error(),
                        Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS)
                    ) =>
            {
                if path.symlink_metadata().is_ok() {
                    Ok(false)
                } else {
                    self.commit(path).map(|()| true)
                }
            }
            Err(error) => Err(Error::io("put a file there", path)(error)),
        }
    }

    /// Changes places with what stands at `path`, if that is the right thing: `right` is asked about it when nobody finds it at
    /// `path` any more, and shown this file. So what came there a moment ago is not lost. Tells whether the file stands there now.
    ///
    /// # Errors
    /// It cannot be put there. That nothing stands at `path` is none.
    pub fn exchange(mut self, path: &Path, right: impl FnOnce(&Path, &File) -> bool) -> Result<bool> {
        let failed = || Error::io("put a file there", path);
        if !self.named {
            self.name_it().map_err(failed())?;
        }
        match exchange(&self.temporary, path) {
            Ok(()) => {
                if right(&self.temporary, &self.file) {
                    // What stood there goes when this is dropped.
                    return Ok(true);
                }
                exchange(&self.temporary, path).map_err(failed())?;
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            // Not every file system can.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                if !right(path, &self.file) {
                    return Ok(false);
                }
                self.commit(path).map(|()| true)
            }
            Err(error) => Err(failed()(error)),
        }
    }

    fn name_it(&mut self) -> io::Result<()> {
        loop {
            let temporary = temporary_name(&self.temporary);
            match link(&self.file, &temporary) {
                Ok(()) => {
                    (self.temporary, self.named) = (temporary, true);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn temporary_name(directory: &Path) -> PathBuf {
    let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
    directory.join(format!("{PREFIX}{}-{serial}", std::process::id()))
}

/// Removes the files under construction in `directory` whose makers are dead: those that nobody has locked, and that have
/// not changed for an hour. Says how many there were. What cannot be looked at is left.
pub fn sweep(directory: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let ours = entries.flatten().filter(|e| e.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()));
    ours.filter(|entry| is_abandoned(&entry.path()) && std::fs::remove_file(entry.path()).is_ok()).count()
}

fn is_abandoned(path: &Path) -> bool {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let Ok(file) = opened else { return false };
    let changed = file.metadata().and_then(|metadata| metadata.modified());
    let age = changed.ok().and_then(|changed| SystemTime::now().duration_since(changed).ok());
    age.is_some_and(|age| age > ABANDONED) && try_lock(&file)
}

fn own_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Gives an open file a name.
fn link(file: &File, path: &Path) -> io::Result<()> {
    // Not every kernel links what has no path for everybody (Linux does since 6.10).
    static BY_DESCRIPTOR: AtomicBool = AtomicBool::new(true);
    if BY_DESCRIPTOR.load(Ordering::Relaxed) {
        match link_by_descriptor(file, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
    }
    link_by_proc(file, path)?;
    BY_DESCRIPTOR.store(false, Ordering::Relaxed);
    Ok(())
}

fn link_by_descriptor(file: &File, path: &Path) -> io::Result<()> {
    link_from(file.as_raw_fd(), c"", path, libc::AT_EMPTY_PATH)
}

/// Costs a walk in /proc.
fn link_by_proc(file: &File, path: &Path) -> io::Result<()> {
    let from = CString::new(own_path(file).into_os_string().as_bytes())?;
    link_from(libc::AT_FDCWD, &from, path, libc::AT_SYMLINK_FOLLOW)
}

fn link_from(directory: RawFd, from: &CStr, to: &Path, flags: libc::c_int) -> io::Result<()> {
    let to = CString::new(to.as_os_str().as_bytes())?;
    // SAFETY: both strings are NUL-terminated and live until the call returns.
    let result = unsafe { libc::linkat(directory, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Exchanges what stands at two paths.
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    let [a, b] = [a, b].map(|path| CString::new(path.as_os_str().as_bytes()));
    let (a, b) = (a?, b?);
    // SAFETY: both strings are NUL-terminated and live until the call returns.
    let result = unsafe {
        libc::renameat2(libc::AT_FDCWD, a.as_ptr(), libc::AT_FDCWD, b.as_ptr(), libc::RENAME_EXCHANGE)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Write for AtomicFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.named && !self.committed {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Writes `content` to `path`, replacing what is there, with this mode (less the umask).
///
/// # Errors
/// Anything in the way of writing: the old file, if any, is still there then.
pub fn write_atomically(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = AtomicFile::create_in(directory, mode)?;
    file.write_all(content).map_err(Error::io("write", path))?;
    file.commit(path)
}

/// Makes a symbolic link at `path`, replacing what is there, if that is no directory.
///
/// # Errors
/// Anything in the way: what was there is still there then.
pub fn link_atomically(path: &Path, target: &Path) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let beside = loop {
        let beside = temporary_name(directory);
        match symlink(target, &beside) {
            Ok(()) => break beside,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("make the link", path)(error)),
        }
    };
    std::fs::rename(&beside, path).map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        Error::io("make the link", path)(error)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_link_takes_the_place_of_what_is_no_directory() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("l");
        for before in [None, Some("a file")] {
            before.iter().for_each(|text| fs::write(&at, text).unwrap());
            link_atomically(&at, Path::new("nowhere")).unwrap();
            assert_eq!(fs::read_link(&at).unwrap(), Path::new("nowhere"));
            fs::remove_file(&at).unwrap();
        }
        fs::create_dir(&at).unwrap();
        assert!(link_atomically(&at, Path::new("nowhere")).is_err() && at.is_dir());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn an_open_file_is_given_a_name_either_way_if_nothing_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let ways: [fn(&File, &Path) -> io::Result<()>; 3] = [link, link_by_descriptor, link_by_proc];
        for (i, link) in ways.into_iter().enumerate() {
            let at = dir.path().join(i.to_string());
            let file = AtomicFile::nameless_in(dir.path(), 0o600).unwrap();
            match link(file.file(), &at) {
                // An older kernel.
                Err(error) if i == 1 && error.kind() == io::ErrorKind::NotFound => continue,
                result => result.unwrap(),
            }
            assert_eq!(fs::metadata(&at).unwrap().ino(), file.file().metadata().unwrap().ino());
            let other = AtomicFile::nameless_in(dir.path(), 0o600).unwrap();
            assert_eq!(link(other.file(), &at).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
    }

    #[test]
    fn a_file_takes_the_place_of_the_right_thing_only() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("f");
        let file = |content: &str| {
            let mut file = AtomicFile::nameless_in(dir.path(), 0o600).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            file
        };
        let is = |text: &'static str| move |path: &Path, _: &File| fs::read(path).unwrap() == text.as_bytes();
        assert!(!file("new").exchange(&at, is("old")).unwrap(), "nothing is there");
        fs::write(&at, "old").unwrap();
        assert!(!file("new").exchange(&at, is("other")).unwrap());
        assert_eq!(fs::read(&at).unwrap(), b"old");
        assert!(file("new").exchange(&at, is("old")).unwrap());
        assert_eq!(fs::read(&at).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_stands_there_already_stays_if_that_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("f");
        for (number, make) in [AtomicFile::nameless_in, AtomicFile::create_in].iter().enumerate() {
            for (content, is_new) in [("first", true), ("second", false)] {
                let mut file = make(dir.path(), 0o600).unwrap();
                file.write_all(content.as_bytes()).unwrap();
                assert_eq!(file.commit_new(&at).unwrap(), is_new, "{number}");
                assert_eq!(fs::read(&at).unwrap(), b"first");
                assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            }
            fs::remove_file(&at).unwrap();
        }
    }

    #[test]
    fn only_what_dead_processes_left_long_ago_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - ABANDONED * 2;
        let age = |file: &File| file.set_modified(old).unwrap();
        let live = AtomicFile::create_in(dir.path(), 0o600).unwrap();
        age(live.file());
        let young = dir.path().join(".gg-tmp-1-1");
        fs::write(&young, "x").unwrap();
        let foreign = dir.path().join("notes");
        age(&File::create(&foreign).unwrap());
        let dead = dir.path().join(".gg-tmp-1-2");
        age(&File::create(&dead).unwrap());
        assert_eq!(sweep(dir.path()), 1);
        assert_eq!(
            [live.temporary_path(), &young, &foreign, &dead].map(Path::exists),
            [true, true, true, false]
        );
        assert_eq!(sweep(&dir.path().join("none")), 0);
    }

    #[test]
    fn a_nameless_file_is_seen_only_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (path, names) = (dir.path().join("f"), || fs::read_dir(dir.path()).unwrap().count());
        drop(AtomicFile::nameless_in(dir.path(), 0o600).unwrap());
        assert_eq!(names(), 0);
        for content in ["first", "second, which replaces it"] {
            let before = names();
            let mut file = AtomicFile::nameless_in(dir.path(), 0o600).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            if !file.named {
                assert_eq!(names(), before);
            }
            file.commit(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!((names(), fs::metadata(&path).unwrap().mode() & 0o777), (1, 0o600));
        }
        // Where it cannot be put, nothing is left.
        fs::create_dir(dir.path().join("d")).unwrap();
        assert!(AtomicFile::nameless_in(dir.path(), 0o600).unwrap().commit(&dir.path().join("d")).is_err());
        assert_eq!(names(), 2);
        // File systems without nameless files: /proc is one that refuses both.
        assert!(AtomicFile::nameless_in(Path::new("/proc"), 0o600).is_err());
    }
}
