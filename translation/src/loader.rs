// SPDX-License-Identifier: Apache-2.0
//! How a program is started by its own dynamic loader, which would otherwise look for libraries where this machine has its own.

use core::ffi::CStr;

use crate::names::strip;

/// The options of a loader, in this order, each of the last three with its value; then come the program and its arguments.
/// The first keeps glibc's from this machine's cache. musl's has none, and does not know the option.
pub const GLIBC_OPTION: &CStr = c"--inhibit-cache";
/// Where libraries are: see [`search_path`].
pub const LIBRARY_PATH: &CStr = c"--library-path";
/// What is loaded first.
pub const PRELOAD: &CStr = c"--preload";
/// What the program finds as the first of its arguments. glibc's has it since 2.33.
pub const ARGV0: &CStr = c"--argv0";

/// Is this musl's loader?
#[must_use]
pub fn is_musl(loader: &[u8]) -> bool {
    loader.rsplit(|&byte| byte == b'/').next().is_some_and(|name| name.starts_with(b"ld-musl-"))
}

/// Writes what is told to the loader as `--library-path`, which comes before what the program itself says, and in place of
/// `LD_LIBRARY_PATH`. So it is: what the environment says, what the program says, and the loader's own directories.
///
/// `environment`: the value of `LD_LIBRARY_PATH`; `program`: its path inside, without links; `search`: its own search
/// path; `directories`: the rest, paths outside.
pub fn search_path(
    root: &[u8],
    environment: &[u8],
    program: &[u8],
    search: &[u8],
    directories: &[u8],
    mut push: impl FnMut(&[u8]),
) {
    let mut first = true;
    let folder = program.iter().rposition(|&byte| byte == b'/').and_then(|at| program.get(..at));
    let elements = environment.split(|&byte| matches!(byte, b':' | b';')).map(|element| (element, false));
    let own = search.split(|&byte| byte == b':').map(|element| (element, true));
    for (element, may_name_origin) in elements.chain(own) {
        let origin = [&b"$ORIGIN"[..], b"${ORIGIN}"].into_iter().find_map(|mark| element.strip_prefix(mark));
        let pieces: [&[u8]; 3] = match origin {
            Some(rest) if may_name_origin => [root, folder.unwrap_or_default(), rest],
            _ if element.starts_with(b"/") => [root, strip(root, element).unwrap_or(element), b""],
            // Relative to wherever it runs: that is so inside, too.
            _ if !element.is_empty() => [element, b"", b""],
            _ => continue,
        };
        if !first {
            push(b":");
        }
        first = false;
        pieces.into_iter().for_each(&mut push);
    }
    if !directories.is_empty() {
        if !first {
            push(b":");
        }
        push(directories);
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec::Vec;

    use super::*;

    fn path(environment: &str, search: &str) -> String {
        let mut text = Vec::new();
        let program = b"/opt/x/bin/cc";
        let push = |piece: &[u8]| text.extend_from_slice(piece);
        search_path(b"/r", environment.as_bytes(), program, search.as_bytes(), b"/r/lib:/r/usr/lib", push);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn in_the_order_of_a_loader() {
        assert_eq!(path("", ""), "/r/lib:/r/usr/lib");
        assert_eq!(path("", "$ORIGIN/../lib"), "/r/opt/x/bin/../lib:/r/lib:/r/usr/lib");
        assert_eq!(path("/a:/r/b", "/c:${ORIGIN}"), "/r/a:/r/b:/r/c:/r/opt/x/bin:/r/lib:/r/usr/lib");
    }
}
