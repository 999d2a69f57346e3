// SPDX-License-Identifier: Apache-2.0
//! Room for paths that is not on the caller's stack. A thread may have 16 KiB of it, a handler of signals 8 KiB, and the
//! C library's own functions need little. The stack itself stays the caller's: garbage collectors look at where it is.
//!
//! Not for what is held while a program is executed: a child of `vfork` would leave it taken in its parent.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::sys::{self, PATH_MAX};

/// Room for one path. What was in it before is still there.
pub(crate) type Buffer = [u8; PATH_MAX];

/// As many as anybody needs at once.
const MOST: usize = 6;

struct Kept(UnsafeCell<[Buffer; MOST]>);

// SAFETY: only who has set `TAKEN` looks at it.
unsafe impl Sync for Kept {}

static KEPT: Kept = Kept(UnsafeCell::new([[0; PATH_MAX]; MOST]));
/// Is somebody using it? For good where a process was forked, or a thread ended, in the midst of that.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Buffers for as long as it lives: those that are kept, or new memory where another thread has these.
pub(crate) struct Room<const N: usize> {
    buffers: *mut [Buffer; N],
    is_kept: bool,
}

impl<const N: usize> Room<N> {
    /// Nothing where there is no memory.
    pub(crate) fn new() -> Option<Self> {
        const { assert!(N <= MOST) }
        let is_kept = !TAKEN.swap(true, Ordering::Acquire);
        let buffers = if is_kept { KEPT.0.get().cast() } else { sys::map(size_of::<[Buffer; N]>())?.cast() };
        Some(Self { buffers, is_kept })
    }

    pub(crate) fn buffers(&mut self) -> &mut [Buffer; N] {
        // SAFETY: nobody else has them while this lives; they are large enough, and all bytes are valid.
        unsafe { &mut *self.buffers }
    }
}

impl<const N: usize> Drop for Room<N> {
    fn drop(&mut self) {
        if self.is_kept {
            TAKEN.store(false, Ordering::Release);
        } else {
            // SAFETY: mapped by `new` with this size, and not used any more.
            unsafe { sys::unmap(self.buffers.cast(), size_of::<[Buffer; N]>()) }
        }
    }
}
