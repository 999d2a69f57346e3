// SPDX-License-Identifier: Apache-2.0
//! The arguments of hooks, by type: what is done with each before the C library's function gets it.

use core::ffi::{c_char, c_int, c_uint, c_void};

use crate::root::{Room, Root, string};
use crate::sys::{AT_FDCWD, Errno};
use crate::text::Array;

/// A path that the program names.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Path(pub(crate) *const c_char);

/// The directory from which the next [`Path`] starts if it is relative.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Dir(pub(crate) c_int);

/// An argument.
pub(crate) trait Enter: Copy {
    /// What its new value may need.
    type Held;
    /// Nothing in it yet.
    fn room() -> Self::Held;
    /// The argument as the C library's function is to have it. `dirfd`: the last [`Dir`] before it.
    ///
    /// # Safety
    /// The argument is as the function wants it. The new value is good for as long as `held` is there.
    unsafe fn enter(self, root: &Root, dirfd: &mut c_int, held: &mut Self::Held) -> Result<Self, Errno>;
}

impl Enter for Path {
    type Held = Room;

    #[inline]
    fn room() -> Room {
        Room::uninit()
    }

    #[inline]
    unsafe fn enter(self, root: &Root, dirfd: &mut c_int, held: &mut Room) -> Result<Self, Errno> {
        let start = core::mem::replace(dirfd, AT_FDCWD);
        // SAFETY: as the caller promises.
        match unsafe { string(self.0) } {
            Some(path) => root.outside(start, path, held).map(|path| Self(path.as_ptr())),
            None => Ok(self),
        }
    }
}

impl Enter for Dir {
    type Held = ();

    #[inline]
    fn room() {}

    #[inline]
    unsafe fn enter(self, _: &Root, dirfd: &mut c_int, (): &mut ()) -> Result<Self, Errno> {
        *dirfd = self.0;
        Ok(self)
    }
}

/// What is passed on as it is.
macro_rules! plain {
    ($($type:ty),*) => { $(
        impl Enter for $type {
            type Held = ();

            #[inline]
            fn room() {}

            #[inline]
            unsafe fn enter(self, _: &Root, _: &mut c_int, (): &mut ()) -> Result<Self, Errno> {
                Ok(self)
            }
        }
    )* };
}

plain!(
    c_int,
    c_uint,
    u64,
    i64,
    usize,
    *const c_char,
    *mut c_char,
    *mut c_void,
    *const c_void,
    Array,
    *mut c_int,
    *const u64
);
