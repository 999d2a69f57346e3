// SPDX-License-Identifier: Apache-2.0
//! Puts one file at a path of a tree: as a hard link where that gives the file the right mode, else as a copy.
//! Knows neither what else is in the tree nor where the source comes from.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::sys;

/// While another worker replaces a file by its like, which it has made at the same time, its name leads for a moment to
/// one that has no name any more, and to which the kernel makes no link (`ENOENT`). The next time it leads to the new
/// one.
const TRIES: u32 = 16;

/// Makes the regular file `source` appear at `path` below `root`.
///
/// A link shares the source's mode. Where that is not what is wanted (a blob that is executable under one name
/// and not under another), and where the system refuses a link (another file system, too many links, a file of another
/// user), the file is copied, sharing its blocks if the file system can.
pub(crate) fn place_file(
    source: &CStr,
    executable: bool,
    root: BorrowedFd<'_>,
    path: &CStr,
) -> io::Result<()> {
    let mut stat = regular(source)?;
    for _ in 0..TRIES {
        if (stat.st_mode & 0o111 != 0) != executable {
            break;
        }
        match sys::link(source, root, path).map_err(|error| (error.raw_os_error(), error)) {
            Ok(()) => return Ok(()),
            Err((Some(libc::EXDEV | libc::EMLINK | libc::EPERM), _)) => break,
            Err((Some(libc::ENOENT), _)) => stat = regular(source)?,
            Err((_, error)) => return Err(error),
        }
    }
    copy(source, &stat, executable, root, path)
}

/// The same, but always as a copy: whatever is done to it is not done to the source.
pub(crate) fn copy_file(
    source: &CStr,
    executable: bool,
    root: BorrowedFd<'_>,
    path: &CStr,
) -> io::Result<()> {
    copy(source, &regular(source)?, executable, root, path)
}

fn regular(source: &CStr) -> io::Result<libc::stat> {
    let stat = sys::lstat(sys::CWD, source)?;
    if sys::file_type(&stat) != libc::S_IFREG {
        return Err(io::Error::other("is no regular file"));
    }
    Ok(stat)
}

fn copy(
    source: &CStr,
    stat: &libc::stat,
    executable: bool,
    root: BorrowedFd<'_>,
    path: &CStr,
) -> io::Result<()> {
    let from = File::from(sys::openat(sys::CWD, source, libc::O_RDONLY | libc::O_NOFOLLOW)?);
    let to = sys::openat(root, path, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL)?;
    let mut to = File::from(to);
    // SAFETY: FICLONE takes a descriptor as its argument; both are open.
    if unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) } != 0 {
        io::copy(&mut &from, &mut to)?;
    }
    let times = [
        libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT },
        libc::timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec },
    ];
    // SAFETY: `times` holds the two values that futimens reads.
    sys::check(unsafe { libc::futimens(to.as_raw_fd(), times.as_ptr()) })?;
    let mode = if executable { 0o755 } else { 0o644 };
    // SAFETY: sets the mode of an open file.
    sys::check(unsafe { libc::fchmod(to.as_raw_fd(), mode) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs;
    use std::os::fd::AsFd as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_file_is_linked_to_while_it_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (source, next) = (dir.path().join("source"), dir.path().join("next"));
        let make = |path: &std::path::Path| {
            fs::write(path, "tool").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        make(&source);
        let name = CString::new(source.as_os_str().as_bytes()).unwrap();
        let root = File::open(dir.path()).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    make(&next);
                    fs::rename(&next, &source).unwrap();
                }
            });
            let placed: io::Result<()> = (0..3000).try_for_each(|_| {
                place_file(&name, true, root.as_fd(), c"here")?;
                fs::remove_file(dir.path().join("here"))
            });
            done.store(true, Ordering::Relaxed);
            placed.unwrap();
        });
    }
}
