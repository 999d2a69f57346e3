// SPDX-License-Identifier: Apache-2.0
//! The names of files in the store's caches: one for each list of strings. Knows nothing of what is kept there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use thunk::{ObjectKind, ObjectName};

/// The name for these strings: the hash of all of them, a NUL after each. Who has strings with NULs in them sees to it that no two lists
/// are alike then.
pub fn of<'a>(parts: impl IntoIterator<Item = &'a OsStr>) -> String {
    let mut text = Vec::new();
    for part in parts {
        text.extend_from_slice(part.as_bytes());
        text.push(0);
    }
    ObjectName::of(ObjectKind::Value, &text).to_string()
}
