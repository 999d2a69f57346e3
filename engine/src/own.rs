// SPDX-License-Identifier: Apache-2.0
//! Where this program is, also where there is no /proc to ask: in a bare chroot; and who may look into it.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// This program's file, to be executed again.
///
/// # Errors
/// Nobody can tell.
pub fn program() -> Result<PathBuf> {
    if let Ok(path) = std::env::current_exe() {
        return Ok(path);
    }
    // SAFETY: the kernel put the address of a string there that lives as long as the process, or nothing.
    let name = unsafe {
        let name = libc::getauxval(libc::AT_EXECFN) as *const libc::c_char;
        (!name.is_null()).then(|| CStr::from_ptr(name))
    };
    let name = name.context("cannot find out where this program is")?;
    std::path::absolute(OsStr::from_bytes(name.to_bytes())).context("cannot find out where this program is")
}

/// Another program of this installation, if it is there.
///
/// # Errors
/// As [`program`].
pub fn beside(name: &str) -> Result<Option<PathBuf>> {
    let path = program()?.parent().unwrap_or(Path::new("/")).join(name);
    Ok(path.exists().then_some(path))
}

/// Keeps processes of the same user from reading this one's memory and environment: where commands run without namespaces, they are such.
pub fn hide() {
    // SAFETY: prctl with integers only.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}
