// SPDX-License-Identifier: Apache-2.0
//! Paths as they are sent: as given where they are absolute or relative to the working directory, below the directory's own path where
//! they are relative to a descriptor. Knows no message and no hook.

use core::ffi::{CStr, c_char, c_int};

use crate::sys::{self, AT_FDCWD, Errno, PATH_MAX};
use crate::text::{Text, string};

/// Room for the name of a file below `/proc/PID/fd`.
pub(crate) const PROC_NAME: usize = 48;

/// A path in two parts: nothing is copied to put them together.
#[derive(Clone, Copy)]
pub(crate) struct Located<'a> {
    folder: &'a [u8],
    name: &'a CStr,
}

impl<'a> Located<'a> {
    /// A path that needs no folder.
    pub(crate) const fn plain(name: &'a CStr) -> Self {
        Self { folder: &[], name }
    }

    /// `path` as an `…at` call sees it. Nothing for null, and for descriptors without a path.
    ///
    /// # Safety
    /// `path` is null or a string that stays for `'a`.
    pub(crate) unsafe fn at(
        dirfd: c_int,
        path: *const c_char,
        buffer: &'a mut [u8; PATH_MAX],
    ) -> Option<Self> {
        // SAFETY: as the caller promises.
        let name = unsafe { string(path) }?;
        if dirfd == AT_FDCWD || name.to_bytes().starts_with(b"/") {
            return Some(Self::plain(name));
        }
        Some(Self { folder: descriptor(dirfd, buffer)?, name })
    }

    /// The path's bytes, to be sent one after the other; the last part has the NUL.
    pub(crate) fn parts(&self) -> [&'a [u8]; 3] {
        let slash: &[u8] = if self.folder.is_empty() || self.name.is_empty() { b"" } else { b"/" };
        [self.folder, slash, self.name.to_bytes_with_nul()]
    }
}

/// The path of an open descriptor, if it has one.
pub(crate) fn descriptor(fd: c_int, buffer: &mut [u8; PATH_MAX]) -> Option<&[u8]> {
    descriptor_link(fd, buffer).ok().filter(|path| path.starts_with(b"/"))
}

/// What an open descriptor leads to: a path, or a description of what has none.
pub(crate) fn descriptor_link(fd: c_int, buffer: &mut [u8; PATH_MAX]) -> Result<&[u8], Errno> {
    let mut name = [0; PROC_NAME];
    let mut text = Text::new(&mut name);
    let number = u32::try_from(fd).map_err(|_| Errno::BADF)?;
    text.push(b"/proc/self/fd/").push_number(number);
    sys::readlink(text.finish().ok_or(Errno::BADF)?, buffer)
}

/// A name by which another process can open our descriptor.
pub(crate) fn seen_from_outside(fd: c_int, buffer: &mut [u8; PROC_NAME]) -> Option<&CStr> {
    let mut text = Text::new(buffer);
    text.push(b"/proc/").push_number(sys::getpid()).push(b"/fd/").push_number(u32::try_from(fd).ok()?);
    text.finish()
}
