// SPDX-License-Identifier: Apache-2.0
//! What gives paths back to the program: the root is cut off. And what takes paths in ways of its own.

use core::ffi::{CStr, c_char, c_int, c_void};

use translation::{PATH_MAX, Place, place};

use crate::hooks::{lookers, next};
use crate::libc;
use crate::more;
use crate::root::{Room, Root, string};
use crate::sys::{self, AT_FDCWD, Errno};
use crate::text::{Array, Strings, with_memory};

/// `readlink` and its siblings.
///
/// # Safety
/// `path` is a string, `target` has `size` bytes.
pub(crate) unsafe fn target(
    root: &Root,
    dirfd: c_int,
    path: *const c_char,
    target: *mut c_void,
    size: usize,
) -> Result<isize, Errno> {
    // SAFETY: as the caller promises.
    let path = unsafe { string(path) }.ok_or(Errno::FAULT)?;
    if size == 0 {
        return Err(Errno::INVAL);
    }
    let mut buffer = [0; PATH_MAX];
    let found = if place(root.path(), path.to_bytes(), sys::getpid()) == Place::Program {
        root.setting().program
    } else {
        let mut room = Room::uninit();
        let outside = root.outside(dirfd, path, &mut room)?;
        root.inside(more::readlink_at(dirfd, outside, &mut buffer)?)
    };
    let length = found.len().min(size);
    // SAFETY: as the caller promises.
    unsafe { core::ptr::copy_nonoverlapping(found.as_ptr(), target.cast(), length) }
    Ok(length as isize)
}

/// `getcwd` and its siblings.
///
/// # Safety
/// `buffer` is null or has `size` bytes.
pub(crate) unsafe fn directory(root: &Root, buffer: *mut c_char, size: usize) -> Result<*mut c_char, Errno> {
    let mut whole = [0; PATH_MAX];
    let found = sys::getcwd(&mut whole);
    if found.is_empty() {
        return Err(Errno::NOENT);
    }
    let found = root.inside(found);
    let needed = found.len() + 1;
    let buffer = if buffer.is_null() {
        if size != 0 && size < needed {
            return Err(Errno(34));
        }
        libc::allocate(size.max(needed)).ok_or(Errno::NOMEM)?.cast()
    } else if size == 0 {
        return Err(Errno::INVAL);
    } else if size < needed {
        return Err(Errno(34));
    } else {
        buffer
    };
    // SAFETY: there is room for `needed` bytes.
    unsafe {
        core::ptr::copy_nonoverlapping(found.as_ptr(), buffer.cast(), found.len());
        buffer.add(found.len()).write(0);
    }
    Ok(buffer)
}

/// `realpath` and its siblings: the C library resolves the path outside, where absolute links lead below the root.
///
/// # Safety
/// `path` is a string or null; `call` makes the call with another path; what it gives or has written to `resolved` is a string.
pub(crate) unsafe fn resolves(
    root: &Root,
    path: *const c_char,
    call: &dyn Fn(*const c_char) -> Option<*mut c_char>,
    resolved: *mut c_char,
) -> Result<*mut c_char, Errno> {
    // SAFETY: as the caller promises.
    let Some(name) = (unsafe { string(path) }) else { return call(path).ok_or(Errno::NOSYS) };
    let mut room = Room::uninit();
    // An empty path is an error, and stays empty.
    let outside = root.outside(AT_FDCWD, name, &mut room)?;
    let result = call(outside.as_ptr()).ok_or(Errno::NOSYS)?;
    if !result.is_null() {
        // SAFETY: a string of the C library's, in memory that may be written to.
        unsafe { cut(root, result) }
    } else if !resolved.is_null() && libc::is_glibc() && matches!(libc::errno(), Errno::NOENT | Errno::ACCES)
    {
        // SAFETY: glibc leaves there how far it came.
        unsafe { cut(root, resolved) }
    }
    Ok(result)
}

/// Cuts the root off in place.
///
/// # Safety
/// `text` is a string in memory that may be written to, or without an end within [`PATH_MAX`].
unsafe fn cut(root: &Root, text: *mut c_char) {
    // SAFETY: as the caller promises.
    let Some(found) = (unsafe { string(text.cast_const()) }) else { return };
    let bytes = found.to_bytes();
    let Some(inside) = translation::strip(root.path(), bytes) else { return };
    let (start, length) = (inside.as_ptr(), inside.len());
    // SAFETY: the rest of the string is moved to its start (or is "/", which is shorter than any root), and ended there.
    unsafe {
        core::ptr::copy(start, text.cast(), length);
        text.add(length).write(0);
    }
}

/// `mkstemp` and its siblings, which write the name that they have found into their argument.
///
/// # Safety
/// `template` is a string that may be written to; `call` makes the call with another one.
pub(crate) unsafe fn templates<R>(
    root: &Root,
    template: *mut c_char,
    call: &dyn Fn(*mut c_char) -> Option<R>,
) -> Result<R, Errno> {
    // SAFETY: as the caller promises.
    let name = unsafe { string(template.cast_const()) }.ok_or(Errno::FAULT)?;
    let length = name.count_bytes();
    let mut room = Room::uninit();
    let outside = root.outside(AT_FDCWD, name, &mut room)?;
    let whole = outside.count_bytes();
    let copy = if core::ptr::eq(outside, name) { template } else { room.as_mut_ptr().cast::<c_char>() };
    let result = call(copy).ok_or(Errno::NOSYS)?;
    // SAFETY: the last name of both is the same, and has as many bytes; the other one is longer, if it is another.
    let name_length = unsafe { CStr::from_ptr(template) }
        .to_bytes()
        .rsplit(|&byte| byte == b'/')
        .next()
        .map_or(0, <[u8]>::len);
    if copy != template && name_length <= whole {
        // SAFETY: as above.
        unsafe {
            let (from, to) = (copy.add(whole - name_length), template.add(length - name_length));
            core::ptr::copy_nonoverlapping(from, to, name_length);
        }
    }
    Ok(result)
}

/// `fts_open`: the paths that it gives begin with the root, which every hook takes.
///
/// # Safety
/// `paths` is an array of strings; `call` makes the call with another one.
pub(crate) unsafe fn walks(
    root: &Root,
    paths: Array,
    call: &dyn Fn(Array) -> Option<*mut c_void>,
) -> Result<*mut c_void, Errno> {
    // SAFETY: as the caller promises.
    let paths = unsafe { Strings::new(paths) };
    let count = paths.len();
    let pointers = (count + 1) * size_of::<*const c_char>();
    let mut result = Err(Errno::NOMEM);
    with_memory(pointers + count * PATH_MAX, |memory| {
        // SAFETY: there is room for the pointers and as many paths.
        result = unsafe { copy_outside(root, paths, memory, pointers) }
            .and_then(|array| call(array).ok_or(Errno::NOSYS));
    });
    result
}

/// The paths outside, as an array at the start of `memory`; the strings come from offset `start` on.
///
/// # Safety
/// There is room for a pointer to each path and a null pointer before `start`, and for as many paths after it.
unsafe fn copy_outside(root: &Root, paths: Strings, memory: *mut u8, start: usize) -> Result<Array, Errno> {
    let array = memory.cast::<*const c_char>();
    let mut count = 0;
    for path in paths.iter() {
        let mut room = Room::uninit();
        let outside = root.outside(AT_FDCWD, path, &mut room)?.to_bytes_with_nul();
        let place = memory.wrapping_add(start + count * PATH_MAX);
        // SAFETY: as the caller promises; no path is longer.
        unsafe {
            core::ptr::copy_nonoverlapping(outside.as_ptr(), place, outside.len().min(PATH_MAX));
            array.add(count).write(place.cast());
        }
        count += 1;
    }
    // SAFETY: as the caller promises.
    unsafe { array.add(count).write(core::ptr::null()) };
    Ok(array.cast_const())
}

/// `glob`: it is given our functions to look at directories with, so that what it finds are paths inside.
///
/// # Safety
/// `found` is a `glob_t`.
pub(crate) unsafe fn globs(flags: c_int, found: *mut c_void, call: &dyn Fn(c_int) -> Option<c_int>) -> c_int {
    const GLOB_ALTDIRFUNC: c_int = 1 << 9;
    const FAILED: c_int = 3;
    if flags & GLOB_ALTDIRFUNC != 0 || !libc::is_glibc() {
        return call(flags).unwrap_or(FAILED);
    }
    // SAFETY: glibc's structure has the five functions from its fifth word on.
    unsafe {
        let functions = found.cast::<*const c_void>().add(4);
        functions.write(CLOSEDIR.get().map_or(core::ptr::null(), |f| f as *const c_void));
        functions.add(1).write(READDIR.get().map_or(core::ptr::null(), |f| f as *const c_void));
        for (index, function) in lookers().into_iter().enumerate() {
            functions.add(2 + index).write(function);
        }
    }
    call(flags | GLOB_ALTDIRFUNC).unwrap_or(FAILED)
}

// SAFETY: the prototypes that these have in every C library.
static CLOSEDIR: libc::Next<unsafe extern "C" fn(*mut c_void) -> c_int> =
    unsafe { libc::Next::new(c"closedir") };
// SAFETY: as above.
static READDIR: libc::Next<unsafe extern "C" fn(*mut c_void) -> *mut c_void> =
    unsafe { libc::Next::new(c"readdir") };

/// `dlopen`. What has no slash is looked for in the loader's own directories.
///
/// # Safety
/// `path` is null or a string.
pub(crate) unsafe fn loads(root: &Root, path: *const c_char, flags: c_int) -> Result<*mut c_void, Errno> {
    let dlopen = next::dlopen.get().ok_or(Errno::NOSYS)?;
    // SAFETY: as the caller promises.
    let name = unsafe { string(path) }.filter(|name| name.to_bytes().contains(&b'/'));
    let mut room = Room::uninit();
    let path = match name {
        Some(name) => root.outside(AT_FDCWD, name, &mut room)?.as_ptr(),
        None => path,
    };
    // SAFETY: as the caller promises; the loader copies the path.
    Ok(unsafe { dlopen(path, flags) })
}
