// SPDX-License-Identifier: Apache-2.0
//! System calls that the interceptor has no use for.

use core::ffi::{CStr, c_int};

use translation::PATH_MAX;

use crate::sys::{self, AT_FDCWD, Errno, O_CLOEXEC, O_CREAT, O_WRONLY, five, marked};
use crate::text::Text;

#[cfg(target_arch = "x86_64")]
mod nr {
    pub(crate) const OPENAT: usize = 257;
    pub(crate) const READLINKAT: usize = 267;
    pub(crate) const WAIT4: usize = 61;
    pub(crate) const PRCTL: usize = 157;
    pub(crate) const PIPE2: usize = 293;
    pub(crate) const FCNTL: usize = 72;
}

/// The target of a symbolic link, cut to the buffer. `path` is looked at by the kernel only.
pub(crate) fn readlink_at<'a>(dirfd: c_int, path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let args = five!(dirfd, path.as_ptr(), buffer.as_mut_ptr(), buffer.len());
    // SAFETY: a string, and a buffer with its length.
    let length = unsafe { marked(nr::READLINKAT, args) }?;
    Ok(buffer.get(..length).unwrap_or_default())
}

/// Where a descriptor leads, outside.
pub(crate) fn path_of(fd: c_int, buffer: &mut [u8]) -> Result<&[u8], Errno> {
    let mut name = [0; 32];
    let mut text = Text::new(&mut name);
    text.push(b"/proc/self/fd/").push_number(u32::try_from(fd).map_err(|_| Errno::BADF)?);
    sys::readlink(text.finish().ok_or(Errno::BADF)?, buffer)
}

/// Waits for a child: its status as `waitpid` gives it.
pub(crate) fn wait_for(child: c_int) -> Result<c_int, Errno> {
    let mut status = 0;
    loop {
        // SAFETY: the result has room; no usage is wanted.
        match unsafe { marked(nr::WAIT4, five!(child, &raw mut status, 0, 0)) } {
            Ok(_) => return Ok(status),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// A pipe that programs do not inherit: for reading, for writing.
pub(crate) fn pipe() -> Result<[c_int; 2], Errno> {
    let mut ends = [0; 2];
    // SAFETY: there is room for two descriptors.
    unsafe { marked(nr::PIPE2, five!(ends.as_mut_ptr(), O_CLOEXEC)) }.map(|_| ends)
}

/// Programs inherit this descriptor from now on.
pub(crate) fn keep_on_exec(fd: c_int) {
    const F_SETFD: c_int = 2;
    // SAFETY: integers.
    let _ = unsafe { marked(nr::FCNTL, five!(fd, F_SETFD, 0)) };
}

/// The kernel's name for the process is that of its program, and not of the loader.
pub(crate) fn name_process(program: &[u8]) {
    const PR_SET_NAME: usize = 15;
    let mut name = [0u8; 16];
    let file = program.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    Text::new(&mut name).push(file.get(..file.len().min(15)).unwrap_or_default());
    // SAFETY: sixteen bytes, the last one zero.
    let _ = unsafe { marked(nr::PRCTL, five!(PR_SET_NAME, name.as_ptr())) };
}

/// Says on standard error, and to the worker, that a program cannot run here.
#[cold]
#[inline(never)]
pub(crate) fn refuse(root: &[u8], program: &[u8], why: &[u8]) {
    let mut name = [0; PATH_MAX];
    let mut text = Text::new(&mut name);
    text.push(root).push(translation::REFUSED.as_bytes());
    let Some(name) = text.finish() else { return };
    let args = five!(AT_FDCWD, name.as_ptr(), O_WRONLY | O_CREAT | O_CLOEXEC, 0o600);
    // SAFETY: a string and integers.
    let told = unsafe { marked(nr::OPENAT, args) }.map(|fd| fd as c_int);
    for piece in [program, b" ", why, b"\n"] {
        let _ = sys::write(2, piece);
        if let Ok(fd) = told {
            let _ = sys::write(fd, piece);
        }
    }
    if let Ok(fd) = told {
        sys::close(fd);
    }
}
