// SPDX-License-Identifier: Apache-2.0
//! Copies of a caller's arguments in memory that outlives the call. Knows nothing of what they are.

use core::ffi::{CStr, c_char};

use crate::text::{Array, Strings};

/// Memory that is filled from its start.
pub(crate) struct Copies {
    next: usize,
    end: usize,
}

impl Copies {
    /// # Safety
    /// `size` bytes at `memory` are writable and nobody else's for as long as the copies are used.
    pub(crate) unsafe fn new(memory: *mut u8, size: usize) -> Self {
        Self { next: memory as usize, end: memory as usize + size }
    }

    /// Room for so many values, not written yet. Nothing where there is not so much.
    pub(crate) fn array<T>(&mut self, count: usize) -> Option<*mut T> {
        let start = self.next.next_multiple_of(align_of::<T>());
        let end = start.checked_add(count.checked_mul(size_of::<T>())?)?;
        if end > self.end {
            return None;
        }
        self.next = end;
        Some(start as *mut T)
    }

    pub(crate) fn value<T>(&mut self, value: T) -> Option<*const T> {
        let room = self.array::<T>(1)?;
        // SAFETY: room for one, aligned.
        unsafe { room.write(value) }
        Some(room.cast_const())
    }

    pub(crate) fn string(&mut self, text: &CStr) -> Option<*const c_char> {
        let bytes = text.to_bytes_with_nul();
        let room = self.array::<u8>(bytes.len())?;
        // SAFETY: room for as many bytes, which nothing else refers to.
        unsafe { room.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
        Some(room.cast_const().cast())
    }

    /// An array and its strings, with the null pointer at the end.
    pub(crate) fn strings(&mut self, strings: Strings) -> Option<Array> {
        let count = strings.len();
        let room = self.array::<*const c_char>(count + 1)?;
        let mut copied = 0;
        for text in strings.iter().take(count) {
            let text = self.string(text)?;
            // SAFETY: at most `count` of them.
            unsafe { room.add(copied).write(text) }
            copied += 1;
        }
        // SAFETY: there is room for one more than `count`.
        unsafe { room.add(copied).write(core::ptr::null()) }
        Some(room.cast_const())
    }
}
