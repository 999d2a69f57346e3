// SPDX-License-Identifier: Apache-2.0
//! `realpath` as glibc does it: one `readlink` for each directory on the way, all of them marked, and one record for
//! the whole. Compilers ask for this more often than for anything else. (One `open` and a look at where its descriptor
//! leads would be fewer calls, but takes longer.)
//!
//! Whatever is not plain (a result or a link too long for our buffers, too many links, errors that are told in another
//! way by other versions) is left to the C library, from the start.

use core::ffi::{CStr, c_char};

use crate::libc;
use crate::log::{Log, What};
use crate::room::{Buffer, Room};
use crate::session::Session;
use crate::sys::{self, AT_FDCWD, Errno, PATH_MAX};
use crate::text::string;
use wire::log::kind;

/// As many links as the kernel follows.
const MAX_LINKS: u32 = 40;

/// `realpath` and its siblings; `resolved` is where the result goes, null for new memory.
///
/// # Safety
/// The arguments are as `realpath` wants them.
pub(crate) unsafe fn resolves(
    session: &Session,
    next: &dyn Fn() -> *mut c_char,
    path: *const c_char,
    resolved: *mut c_char,
) -> Result<*mut c_char, Errno> {
    // SAFETY: as the caller promises.
    let name = unsafe { string(path) }.filter(|name| !name.is_empty() && libc::is_glibc());
    let (Some(name), Some(log)) = (name, Log::ready(session)) else { return Ok(next()) };
    let Some(mut room) = Room::<3>::new() else { return Ok(next()) };
    let [path, rest, target] = room.buffers();
    let mut walk = Walk { path, length: 0 };
    let result = match walk.through(name.to_bytes(), rest, target) {
        Outcome::Unknown => return Ok(next()),
        Outcome::Path => Ok(()),
        Outcome::Failed(errno) => Err(errno),
    };
    let found = walk.finish();
    log.append(session, What::new(kind::REALPATH, result.map(|()| 0)), name.to_bytes(), found.to_bytes());
    let size = found.count_bytes() + 1;
    let memory = match (resolved.is_null(), result) {
        (false, _) => resolved,
        (true, Ok(())) => libc::allocate(size).ok_or(Errno::NOMEM)?.cast(),
        (true, Err(errno)) => return Err(errno),
    };
    // On failure glibc leaves there how far it came.
    // SAFETY: the caller's buffer has PATH_MAX bytes, the new one as many as are copied.
    unsafe { core::ptr::copy_nonoverlapping(found.as_ptr(), memory, size) }
    result.map(|()| memory)
}

/// How it ended.
enum Outcome {
    /// With a path.
    Path,
    /// With an error that every version tells alike.
    Failed(Errno),
    /// We do not know.
    Unknown,
}

/// The path so far, absolute, without links; `/` is the empty one.
struct Walk<'a> {
    path: &'a mut Buffer,
    length: usize,
}

impl Walk<'_> {
    /// What is still to be walked stands at the end of `rest`: a link's target is put before it.
    fn through(&mut self, name: &[u8], rest: &mut Buffer, target: &mut Buffer) -> Outcome {
        let mut start = rest.len();
        if !prepend(rest, &mut start, name) || !self.begin(name) {
            return Outcome::Unknown;
        }
        let mut links = 0;
        loop {
            let left = rest.get(start..).unwrap_or_default();
            let skipped = left.iter().take_while(|&&byte| byte == b'/').count();
            let left = left.get(skipped..).unwrap_or_default();
            let length = left.iter().take_while(|&&byte| byte != b'/').count();
            let (part, after) = left.split_at(length);
            start += skipped + length;
            match part {
                b"" => return Outcome::Path,
                b"." => continue,
                b".." => {
                    self.pop();
                    continue;
                }
                _ if !self.push(part) => return Outcome::Unknown,
                _ => {}
            }
            match sys::readlink(self.finish(), target) {
                Ok(target) => {
                    links += 1;
                    let fits = target.len() < PATH_MAX && links <= MAX_LINKS;
                    if target.is_empty() || !fits || !prepend(rest, &mut start, target) {
                        return Outcome::Unknown;
                    }
                    if target.starts_with(b"/") {
                        self.length = 0;
                    } else {
                        self.pop();
                    }
                }
                Err(Errno::INVAL) if !wants_directory(after) || self.is_directory() => {}
                Err(errno @ (Errno::NOENT | Errno::ACCES)) => return Outcome::Failed(errno),
                Err(_) => return Outcome::Unknown,
            }
        }
    }

    fn begin(&mut self, name: &[u8]) -> bool {
        if !name.starts_with(b"/") {
            self.length = match sys::getcwd(self.path).len() {
                0 => return false,
                1 => 0,
                length => length,
            };
        }
        true
    }

    fn push(&mut self, part: &[u8]) -> bool {
        // One is kept for the NUL.
        let Some([slash, space @ .., _]) = self.path.get_mut(self.length..) else { return false };
        let Some(space) = space.get_mut(..part.len()) else { return false };
        *slash = b'/';
        space.copy_from_slice(part);
        self.length += 1 + part.len();
        true
    }

    fn pop(&mut self) {
        let path = self.path.get(..self.length).unwrap_or_default();
        self.length = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    }

    fn finish(&mut self) -> &CStr {
        let path = self.path.get_mut(self.length..).unwrap_or_default();
        if self.length == 0 {
            path.iter_mut().zip(*b"/\0").for_each(|(to, from)| *to = from);
        } else if let Some(end) = path.first_mut() {
            *end = 0;
        }
        CStr::from_bytes_until_nul(self.path).unwrap_or_default()
    }

    /// Is it a directory that can be entered?
    fn is_directory(&mut self) -> bool {
        let length = self.length;
        let found = self.push(b"") && sys::exists(AT_FDCWD, self.finish().as_ptr()).is_ok();
        self.length = length;
        found
    }
}

/// Puts `text` before what stands at the end of the buffer from `start` on.
fn prepend(buffer: &mut [u8], start: &mut usize, text: &[u8]) -> bool {
    let Some(begin) = start.checked_sub(text.len()) else { return false };
    let Some(space) = buffer.get_mut(begin..*start) else { return false };
    space.copy_from_slice(text);
    *start = begin;
    true
}

/// Does what follows a name make sense below a directory only, without any further name being looked up: `/`, `/.`, `/..`?
fn wants_directory(after: &[u8]) -> bool {
    let mut names = after.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
    match names.find(|name| *name != b".") {
        Some(name) => name == b"..",
        None => !after.is_empty(),
    }
}
