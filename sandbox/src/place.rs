// SPDX-License-Identifier: Apache-2.0
//! Puts one file at a path of a tree: as a hard link where that gives the file the right mode, else as a copy.
//! Knows neither what else is in the tree nor where the source comes from.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::sys;

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
    let stat = regular(source)?;
    if (stat.st_mode & 0o111 != 0) == executable {
        match sys::link(source, root, path) {
            Ok(()) => return Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EXDEV | libc::EMLINK | libc::EPERM)) => {}
            Err(error) => return Err(error),
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
