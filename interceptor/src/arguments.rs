// SPDX-License-Identifier: Apache-2.0
//! What the functions of the exec family make of names and of lists of arguments before anything is executed: where a name without a
//! directory may be, `execl`'s arguments as an array, the shell's arguments for a script. Unaware of sessions and of
//! how a program is started; the translator has the same needs.

use core::ffi::{CStr, c_char, c_int};

use crate::arch::Variadic;
use crate::libc::{self, environ};
use crate::sys::{Errno, PATH_MAX};
use crate::text::{Array, Strings, Text, value_of, with_memory};

/// Longest name of a file.
pub(crate) const NAME_MAX: usize = 255;

/// `execl`, `execlp` and `execle`: the arguments up to a null pointer, for `execle` followed by the environment. `run`
/// is the hook that takes them as an array.
///
/// # Safety
/// The arguments are as those functions want them.
pub(crate) unsafe fn by_list(
    arguments: Variadic,
    with_environment: bool,
    run: unsafe fn(*const c_char, Array, Array) -> c_int,
) -> Result<c_int, Errno> {
    let mut count = 0;
    // SAFETY: the list ends with a null pointer, which is not gone beyond.
    while unsafe { arguments.get(1 + count) } != 0 {
        count += 1;
    }
    let envp = if with_environment {
        // SAFETY: `execle` has one more argument after the null pointer.
        (unsafe { arguments.get(2 + count) }) as Array
    } else {
        // SAFETY: a plain read of the program's variable, as `execl` does it.
        unsafe { environ.cast_const() }
    };
    let mut result = Err(Errno::TOOBIG);
    with_memory((count + 1) * size_of::<usize>(), |memory| {
        let argv = memory.cast::<usize>();
        for index in 0..=count {
            // SAFETY: there is room for `count + 1` words, and the caller passed as many, the null pointer included.
            unsafe { argv.add(index).write(arguments.get(1 + index)) }
        }
        // SAFETY: the first argument is the path; the array ends with the null pointer.
        result = Ok(unsafe { run(arguments.get(0) as *const c_char, argv as Array, envp) });
    });
    result
}

/// Calls `body` with these arguments, followed by `argv` without its first.
pub(crate) fn with_arguments(head: &[*const c_char], argv: Strings, mut body: impl FnMut(Strings)) {
    let count = head.len() + argv.len().saturating_sub(1) + 1;
    with_memory(count * size_of::<*const c_char>(), |memory| {
        let array = memory.cast::<*const c_char>();
        let rest = argv.iter().skip(1).map(CStr::as_ptr);
        let all = head.iter().copied().chain(rest).take(count - 1).chain([core::ptr::null()]);
        for (index, argument) in all.enumerate() {
            // SAFETY: at most `count` pointers are written.
            unsafe { array.add(index).write(argument) }
        }
        // SAFETY: written above, with the null pointer at its end.
        body(unsafe { Strings::new(array.cast_const()) });
    });
}

/// Calls `body` with each path that a program of this name may be at, in order, until it gives something.
pub(crate) fn for_each_candidate<T>(name: &CStr, body: impl FnMut(&CStr) -> Option<T>) -> Option<T> {
    for_each_candidate_in(&mut [0; PATH_MAX], name, body)
}

/// The same with room for the path.
pub(crate) fn for_each_candidate_in<T>(
    buffer: &mut [u8; PATH_MAX],
    name: &CStr,
    mut body: impl FnMut(&CStr) -> Option<T>,
) -> Option<T> {
    let length = name.count_bytes();
    if length == 0 || length > NAME_MAX {
        return None;
    }
    // SAFETY: a plain read of the program's variable, as the C library does it.
    let environment = unsafe { Strings::new(environ.cast_const()) };
    let path = environment.iter().find_map(|entry| value_of(entry, "PATH"));
    let default: &[u8] = if libc::is_glibc() { b"/bin:/usr/bin" } else { b"/usr/local/bin:/bin:/usr/bin" };
    path.unwrap_or(default).split(|&byte| byte == b':').find_map(|folder| {
        let mut text = Text::new(buffer);
        text.push(folder).push(if folder.is_empty() { b"" } else { b"/" }).push(name.to_bytes());
        body(text.finish()?)
    })
}
