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
    const SIZE: usize = size_of::<[Buffer; N]>();

    /// Nothing where there is no memory.
    pub(crate) fn new() -> Option<Self> {
        const { assert!(N <= MOST) }
        let (memory, is_kept) = take(Self::SIZE)?;
        Some(Self { buffers: memory.cast(), is_kept })
    }

    pub(crate) fn buffers(&mut self) -> &mut [Buffer; N] {
        // SAFETY: nobody else has them while this lives; they are large enough, and all bytes are valid.
        unsafe { &mut *self.buffers }
    }
}

impl<const N: usize> Drop for Room<N> {
    fn drop(&mut self) {
        // SAFETY: taken by `new` with this size, and not used any more.
        unsafe { give_back(self.buffers.cast(), Self::SIZE, self.is_kept) }
    }
}

/// Memory of this size, at most that of what is kept; and whether it is that.
#[inline(never)]
fn take(size: usize) -> Option<(*mut u8, bool)> {
    if TAKEN.swap(true, Ordering::Acquire) {
        Some((sys::map(size)?, false))
    } else {
        Some((KEPT.0.get().cast(), true))
    }
}

/// # Safety
/// As [`take`] gave it, and not used any more.
#[inline(never)]
unsafe fn give_back(memory: *mut u8, size: usize, is_kept: bool) {
    if is_kept {
        TAKEN.store(false, Ordering::Release);
    } else {
        // SAFETY: as the caller promises.
        unsafe { sys::unmap(memory, size) }
    }
}
