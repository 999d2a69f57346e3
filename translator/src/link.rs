// SPDX-License-Identifier: Apache-2.0
//! Symbolic links that the command makes: an absolute target gets the root before it, so that the kernel follows it to
//! where it means to lead. [`crate::told::target`] cuts it off again.

use core::ffi::{c_char, c_int};

use crate::arch::nr;
use crate::root::{Room, Root, string};
use crate::sys::{Errno, five, marked};

/// `symlink` and `symlinkat`.
///
/// # Safety
/// Both paths are strings.
pub(crate) unsafe fn makes_link(
    root: &Root,
    target: *const c_char,
    dirfd: c_int,
    path: *const c_char,
) -> Result<c_int, Errno> {
    // SAFETY: as the caller promises.
    let (target, path) = unsafe { (string(target).ok_or(Errno::FAULT)?, string(path).ok_or(Errno::FAULT)?) };
    let (mut room, mut target_room) = (Room::uninit(), Room::uninit());
    let path = root.outside(dirfd, path, &mut room)?;
    let target = if target.to_bytes().starts_with(b"/") {
        root.outside(dirfd, target, &mut target_room)?
    } else {
        target
    };
    // SAFETY: two strings and a descriptor.
    unsafe { marked(nr::SYMLINKAT, five!(target.as_ptr(), dirfd, path.as_ptr())) }.map(|_| 0)
}
