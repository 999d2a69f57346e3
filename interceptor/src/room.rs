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

/// Buffers, and whether somebody is using them: for good where a process was forked, or a thread ended, in the midst of that.
struct Kept(UnsafeCell<[Buffer; MOST]>, AtomicBool);

// SAFETY: only who has set the flag looks at what is beside it.
unsafe impl Sync for Kept {}

impl Kept {
    const fn free() -> Self {
        Self(UnsafeCell::new([[0; PATH_MAX]; MOST]), AtomicBool::new(false))
    }
}

/// Who asks holds what he asks about in one, and the question in another.
static KEPT: [Kept; 2] = [Kept::free(), Kept::free()];

/// Buffers for as long as it lives: those that are kept, or new memory where another thread has these.
pub(crate) struct Room<const N: usize> {
    buffers: *mut [Buffer; N],
    kept: Option<&'static Kept>,
}

impl<const N: usize> Room<N> {
    const SIZE: usize = size_of::<[Buffer; N]>();

    /// Nothing where there is no memory.
    pub(crate) fn new() -> Option<Self> {
        const { assert!(N <= MOST) }
        let (memory, kept) = take(Self::SIZE)?;
        Some(Self { buffers: memory.cast(), kept })
    }

    pub(crate) fn buffers(&mut self) -> &mut [Buffer; N] {
        // SAFETY: nobody else has them while this lives; they are large enough, and all bytes are valid.
        unsafe { &mut *self.buffers }
    }
}

impl<const N: usize> Drop for Room<N> {
    fn drop(&mut self) {
        // SAFETY: taken by `new` with this size, and not used any more.
        unsafe { give_back(self.buffers.cast(), Self::SIZE, self.kept) }
    }
}

/// Memory of this size, at most that of what is kept; and whose it is, if it is that.
#[inline(never)]
fn take(size: usize) -> Option<(*mut u8, Option<&'static Kept>)> {
    match KEPT.iter().find(|kept| !kept.1.swap(true, Ordering::Acquire)) {
        Some(kept) => Some((kept.0.get().cast(), Some(kept))),
        None => Some((sys::map(size)?, None)),
    }
}

/// # Safety
/// As [`take`] gave it, and not used any more.
#[inline(never)]
unsafe fn give_back(memory: *mut u8, size: usize, kept: Option<&Kept>) {
    match kept {
        Some(kept) => kept.1.store(false, Ordering::Release),
        // SAFETY: as the caller promises.
        None => unsafe { sys::unmap(memory, size) },
    }
}
