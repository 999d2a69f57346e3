// SPDX-License-Identifier: Apache-2.0
//! A worker that was started in a plain chroot, as root. There, no user namespace is to be had, and `/` is no mount: what is
//! mounted cannot be separated from the machine's mounts, nor can the sandbox's root take the place of `/`.
//!
//! In its own mount namespace the worker climbs out to the namespace's real root, separates the mounts there, and mounts
//! a copy of what it saw over that root. From then on `/` looks as before and is a mount like any other, with
//! nothing above it: a command that climbs out of a chroot of its own ends there, too.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use crate::sys;

/// No path is longer, and so no directory deeper.
const DEEPEST: usize = 4096;

/// If `/` is not the root of this mount namespace, makes a copy of it that root. For a process that has just entered a mount
/// namespace of its own, as root; `scratch` is any directory below `/`. Changes the current directory.
pub(crate) fn leave(scratch: &Path) -> io::Result<()> {
    let root = sys::open_dir(Path::new("/"))?;
    let scratch = sys::cstr(scratch)?;
    std::env::set_current_dir("/")?;
    // The way out of a chroot: with the root set below the current directory, nothing stops it at the old one.
    // SAFETY: the path is NUL-terminated.
    sys::check(unsafe { libc::chroot(scratch.as_ptr()) })?;
    for _ in 0..DEEPEST {
        // SAFETY: as above.
        sys::check(unsafe { libc::chdir(c"..".as_ptr()) })?;
    }
    let is_top = sys::place_of(root.as_fd(), c"")? == sys::place_of(sys::CWD, c".")?;
    if is_top {
        return enter(&root);
    }
    sys::mount(None, c".", None, libc::MS_REC | libc::MS_PRIVATE, None)?;
    let copy = sys::clone_mounts(root.as_fd())?;
    sys::attach_mount(copy.as_fd(), c".")?;
    enter(&copy)
}

/// Makes an open directory `/`.
fn enter(root: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: an open descriptor; the path is NUL-terminated.
    unsafe {
        sys::check(libc::fchdir(root.as_raw_fd()))?;
        sys::check(libc::chroot(c".".as_ptr()))?;
    }
    Ok(())
}
