// SPDX-License-Identifier: Apache-2.0
//! Which path becomes which.
//!
//! A path outside that begins with the root is as good as the path inside: a program may have got one from where nothing is cut off.
//!
//! `..` cannot be left to the kernel, as it leads out of the root. It means the parent of where the path so far leads, so links must be
//! followed first: [`climb`]. Links themselves need nothing: the absolute ones in the tree have the root before their target.

/// What is to be done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// It is used as it is: relative, a device, or about the process itself.
    Same,
    /// It is this below the root.
    Below(&'a [u8]),
    /// It is the file of the program that runs.
    Program,
    /// It has `..` in it: [`climb`] first.
    Climbs,
}

/// Where a path leads. `process`: the caller's id.
#[must_use]
pub fn place<'a>(root: &[u8], path: &'a [u8], process: u32) -> Place<'a> {
    if climbs(path) {
        return Place::Climbs;
    }
    if !path.starts_with(b"/") {
        return Place::Same;
    }
    let inside = below(root, path).unwrap_or(path);
    let mut names = names(inside);
    match names.next() {
        Some(b"dev") => device(inside, names),
        Some(b"proc") => about_processes(inside, names, process),
        _ => Place::Below(inside),
    }
}

/// The devices that every program may use.
const DEVICES: [&[u8]; 10] =
    [b"null", b"zero", b"full", b"random", b"urandom", b"tty", b"fd", b"stdin", b"stdout", b"stderr"];

fn device<'a>(path: &'a [u8], mut names: impl Iterator<Item = &'a [u8]>) -> Place<'a> {
    match names.next() {
        Some(name) if DEVICES.contains(&name) => Place::Same,
        _ => Place::Below(path),
    }
}

/// `/proc`: the process's own directory, and what is about the machine. Not other processes, nor a root directory.
fn about_processes<'a>(
    path: &'a [u8],
    mut names: impl Iterator<Item = &'a [u8]> + Clone,
    process: u32,
) -> Place<'a> {
    let Some(first) = names.next() else { return Place::Same };
    if names.clone().any(|name| name == b"root") {
        return Place::Below(path);
    }
    let is_number = first.iter().all(u8::is_ascii_digit);
    if is_number && number(first) != Some(process) {
        return Place::Below(path);
    }
    if is_number || first == b"self" || first == b"thread-self" {
        let is_program = names.next() == Some(b"exe") && names.next().is_none();
        return if is_program { Place::Program } else { Place::Same };
    }
    Place::Same
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |sum, digit| sum.checked_mul(10)?.checked_add(u32::from(digit - b'0')))
}

/// The names in a path; those that mean nothing are left out.
fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

/// Is there a `..` in it?
#[must_use]
pub fn climbs(path: &[u8]) -> bool {
    // Nearly no path has two dots in a row.
    path.windows(2).any(|two| two == b"..") && path.split(|&byte| byte == b'/').any(|name| name == b"..")
}

/// What follows the root in a path that begins with it: empty, or beginning with `/`.
fn below<'a>(root: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    path.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The path inside of one that begins with the root; nothing for others.
#[must_use]
pub fn strip<'a>(root: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    below(root, path).map(|rest| if rest.is_empty() { b"/" } else { rest })
}

/// Why a path with `..` has no other form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClimbError {
    /// The system said this (errno) of a directory on the way.
    System(i32),
    /// It is too long.
    TooLong,
    /// A directory on the way is not below the root.
    Outside,
}

/// The same path without `..`, in `buffer`: its length. `path` begins with `/`, and is inside. `follow` puts where a directory that
/// is below the root (a path outside) really is into a buffer: a path outside, its length.
///
/// # Errors
/// See [`ClimbError`].
pub fn climb(
    root: &[u8],
    path: &[u8],
    buffer: &mut [u8],
    mut follow: impl FnMut(&[u8], &mut [u8]) -> Result<usize, i32>,
) -> Result<usize, ClimbError> {
    let inside = below(root, path).unwrap_or(path);
    let mut length = 0;
    let mut rest = inside;
    loop {
        // Everything before the next `..`, and how many of them follow each other.
        let (before, climbs, after) = split(rest);
        for name in names(before) {
            push(buffer, &mut length, name)?;
        }
        if climbs == 0 {
            // A slash at the end says that it is a directory.
            if length == 0 || rest.ends_with(b"/") {
                push(buffer, &mut length, b"")?;
            }
            return Ok(length);
        }
        if length > 0 {
            let mut outside = [0; crate::PATH_MAX];
            let mut real = [0; crate::PATH_MAX];
            let size = root.len() + length;
            let space = outside.get_mut(..size).ok_or(ClimbError::TooLong)?;
            let (first, second) = space.split_at_mut(root.len());
            first.copy_from_slice(root);
            second.copy_from_slice(buffer.get(..length).unwrap_or_default());
            let found = follow(space, &mut real).map_err(ClimbError::System)?;
            let found = real.get(..found).and_then(|found| below(root, found)).ok_or(ClimbError::Outside)?;
            length = found.len();
            buffer.get_mut(..length).ok_or(ClimbError::TooLong)?.copy_from_slice(found);
        }
        for _ in 0..climbs {
            let so_far = buffer.get(..length).unwrap_or_default();
            length = so_far.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        }
        rest = after;
    }
}

/// What comes before the first `..`, how many of them there are in a row, and what comes after them.
fn split(path: &[u8]) -> (&[u8], usize, &[u8]) {
    let mut start = 0;
    let mut before = None;
    let mut count = 0;
    loop {
        let tail = path.get(start..).unwrap_or_default();
        let name = tail.split(|&byte| byte == b'/').next().unwrap_or_default();
        match name {
            b".." => {
                before.get_or_insert(start);
                count += 1;
            }
            b"" | b"." => {}
            _ if before.is_some() => break,
            _ => {}
        }
        if start + name.len() >= path.len() {
            start = path.len();
            break;
        }
        start += name.len() + 1;
    }
    match before {
        Some(before) => {
            (path.get(..before).unwrap_or_default(), count, path.get(start..).unwrap_or_default())
        }
        None => (path, 0, b""),
    }
}

fn push(buffer: &mut [u8], length: &mut usize, name: &[u8]) -> Result<(), ClimbError> {
    let space = buffer.get_mut(*length..*length + 1 + name.len()).ok_or(ClimbError::TooLong)?;
    if let Some((slash, space)) = space.split_first_mut() {
        *slash = b'/';
        space.copy_from_slice(name);
    }
    *length += 1 + name.len();
    Ok(())
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
