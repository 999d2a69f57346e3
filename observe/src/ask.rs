// SPDX-License-Identifier: Apache-2.0
//! Puts a call before the [`Judge`]: whether there is something to ask, and what an exec would be given, read from the
//! process that makes it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::context::{Args, Context};
use crate::handle::Open;
use crate::judge::{Exec, Judge};
use crate::tracee::{self, View};
use crate::{Pid, executed};

const PAGE: usize = 4096;
/// No more strings than that, and no more bytes, does the kernel take (a quarter of the largest stack there is).
const MAX_BYTES: usize = 64 << 20;
const POINTER: usize = size_of::<u64>();

/// What a process is about to execute, if it will be and the judge does not know of it; nothing if the kernel will refuse to, or if it is
/// gone. `waits`: does the call still wait, so that what was read is of the process that made it?
pub(crate) fn exec(
    judge: &dyn Judge,
    context: &Context,
    path: &Path,
    argv: u8,
    args: &Args,
    waits: &dyn Fn() -> bool,
) -> Option<Exec> {
    if !executed::will_run(judge, context, path) {
        return None;
    }
    let view = context.view;
    let mut memory = Memory { tid: view.tid, pages: HashMap::new() };
    let argv = usize::from(argv);
    let arguments = memory.strings(args[argv])?;
    let parent = || tracee::parent_of(view.tid).filter(|_| waits());
    if !waits() || judge.knows(context.process, path, &arguments, &parent) {
        return None;
    }
    let env = memory.strings(args[argv + 1])?;
    let (parent, umask) = status(view.tid)?;
    Some(Exec {
        pid: context.process,
        parent,
        path: path.to_owned(),
        argv: arguments,
        env: env.into_iter().filter_map(variable).collect(),
        cwd: view.link("cwd").unwrap_or_default(),
        umask,
        fds: [0, 1, 2].map(|fd| view.descriptor(fd)),
    })
}

/// Is this open one that the judge wants to be asked about?
pub(crate) fn is_for_judge(judge: &dyn Judge, view: View, open: &Open) -> bool {
    !open.is_of_no_content()
        && view.stat(&open.path, !open.has(libc::O_NOFOLLOW)).is_ok_and(|stat| {
            match stat.st_mode & libc::S_IFMT {
                libc::S_IFREG => {
                    judge.may_be_placeholder(stat.st_size as u64)
                        || open.mode().1 && stat.st_size > 0 && judge.keeps(&open.path)
                }
                libc::S_IFDIR => judge.may_hold_placeholders(),
                _ => false,
            }
        })
}

/// The parent of a process, and its file mode creation mask.
fn status(tid: Pid) -> Option<(Pid, u32)> {
    let status = fs::read(format!("/proc/{tid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Some((field("PPid:")?.parse().ok()?, u32::from_str_radix(field("Umask:")?, 8).ok()?))
}

/// `NAME=value`; a name may begin with `=`.
fn variable(entry: OsString) -> Option<(OsString, OsString)> {
    let mut name = entry.into_vec();
    let equals = name.iter().skip(1).position(|&byte| byte == b'=')? + 1;
    let value = name.split_off(equals + 1);
    name.pop();
    Some((OsString::from_vec(name), OsString::from_vec(value)))
}

/// The memory of a process, of which every page is read once: strings lie close together.
struct Memory {
    tid: Pid,
    pages: HashMap<u64, Box<[u8]>>,
}

impl Memory {
    /// What is in memory from `address` to the end of its page; nothing if it cannot be read.
    fn rest_of_page(&mut self, address: u64) -> Option<&[u8]> {
        let (page, offset) = (address & !(PAGE as u64 - 1), address as usize % PAGE);
        let page = match self.pages.entry(page) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let mut bytes = vec![0; PAGE];
                let read = tracee::read_memory(self.tid, page, &mut bytes)?;
                if read < PAGE {
                    return None;
                }
                entry.insert(bytes.into())
            }
        };
        page.get(offset..)
    }

    /// The strings of a null-terminated array; none for a null pointer, as the kernel takes it.
    fn strings(&mut self, array: u64) -> Option<Vec<OsString>> {
        let mut strings = Vec::new();
        let mut total = 0;
        if array == 0 {
            return Some(strings);
        }
        for at in (array..).step_by(POINTER) {
            let pointer = self.word(at)?;
            if pointer == 0 {
                return Some(strings);
            }
            let string = self.string(pointer)?;
            total += string.len() + POINTER;
            if total > MAX_BYTES {
                return None;
            }
            strings.push(string);
        }
        None
    }

    fn word(&mut self, address: u64) -> Option<u64> {
        let mut word = [0; POINTER];
        for (byte, at) in word.iter_mut().zip(address..) {
            *byte = *self.rest_of_page(at)?.first()?;
        }
        Some(u64::from_ne_bytes(word))
    }

    fn string(&mut self, address: u64) -> Option<OsString> {
        let mut string = Vec::new();
        let mut at = address;
        while string.len() <= MAX_BYTES {
            let part = self.rest_of_page(at)?;
            if let Some(end) = part.iter().position(|&byte| byte == 0) {
                string.extend_from_slice(&part[..end]);
                return Some(OsString::from_vec(string));
            }
            string.extend_from_slice(part);
            at = at.checked_add(part.len() as u64)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::ptr;

    use super::*;

    fn own() -> Memory {
        Memory { tid: std::process::id() as Pid, pages: HashMap::new() }
    }

    #[test]
    fn arrays_of_strings_are_read() {
        let long = "x".repeat(200_000);
        let strings: Vec<_> =
            ["a", "", "b c", &long].into_iter().map(|text| CString::new(text).unwrap()).collect();
        let array: Vec<_> = strings.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect();
        let read = own().strings(array.as_ptr() as u64).unwrap();
        assert_eq!(read, ["a", "", "b c", &long]);
        assert_eq!(own().strings(0), Some(Vec::new()));
        assert_eq!(own().strings(8), None);
        assert_eq!(own().strings(u64::MAX - 3), None);
    }

    #[test]
    fn variables_are_cut_at_the_first_equals_sign() {
        let cut = |text: &str| variable(text.into());
        assert_eq!(cut("A=b=c"), Some(("A".into(), "b=c".into())));
        assert_eq!(cut("A="), Some(("A".into(), "".into())));
        assert_eq!(cut("=x=y"), Some(("=x".into(), "y".into())));
        assert_eq!(cut("nothing"), None);
        assert_eq!(cut(""), None);
    }
}
