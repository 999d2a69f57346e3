// SPDX-License-Identifier: Apache-2.0
//! C strings and arrays of them as programs pass them to us, text in buffers of fixed size, and memory whose size is
//! known at run time only. No allocation; knows nothing of hooks.

use core::ffi::{CStr, c_char, c_void};

use crate::{arch, sys};

/// A pointer to an array of C strings.
pub(crate) type Array = *const *const c_char;

/// The string at `pointer`; nothing for null.
///
/// # Safety
/// Null, or a NUL-terminated string that lives and stays as it is for `'a`.
pub(crate) unsafe fn string<'a>(pointer: *const c_char) -> Option<&'a CStr> {
    // SAFETY: as the caller promises.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) })
}

/// An array of strings that ends with a null pointer, such as `argv`. A null pointer is the empty array, as
/// for the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Strings(Array);

impl Strings {
    pub(crate) const EMPTY: Self = Self(core::ptr::null());

    /// # Safety
    /// Null, or such an array; it and its strings outlive the value.
    pub(crate) const unsafe fn new(array: Array) -> Self {
        Self(array)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = &'static CStr> {
        let mut next = self.0;
        core::iter::from_fn(move || {
            if next.is_null() {
                return None;
            }
            // SAFETY: the array ends with a null pointer, which is not gone beyond; `new` promises that the strings are good for as
            // long as the value is, and no caller keeps them longer than its own call.
            let item = unsafe { string(*next) }?;
            // SAFETY: the element was not the null pointer at the end, so there is another one.
            next = unsafe { next.add(1) };
            Some(item)
        })
    }

    pub(crate) fn len(self) -> usize {
        self.iter().count()
    }

    pub(crate) fn as_ptr(self) -> Array {
        self.0
    }
}

/// The value in `NAME=value`, if this string is of that name.
pub(crate) fn value_of<'a>(entry: &'a CStr, name: &str) -> Option<&'a [u8]> {
    entry.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// Text that grows in a given buffer; what does not fit is left out and noticed.
pub(crate) struct Text<'a> {
    buffer: &'a mut [u8],
    length: usize,
    complete: bool,
}

impl<'a> Text<'a> {
    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, length: 0, complete: true }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> &mut Self {
        match self.buffer.get_mut(self.length..self.length + bytes.len()) {
            Some(space) => {
                space.copy_from_slice(bytes);
                self.length += bytes.len();
            }
            None => self.complete = false,
        }
        self
    }

    pub(crate) fn push_number(&mut self, mut number: u32) -> &mut Self {
        let mut digits = [0u8; 10];
        let mut start = digits.len();
        for slot in digits.iter_mut().rev() {
            *slot = b'0' + (number % 10) as u8;
            start -= 1;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.push(digits.get(start..).unwrap_or_default())
    }

    /// Sixteen digits.
    pub(crate) fn push_hexadecimal(&mut self, number: u64) -> &mut Self {
        let digits: [u8; 16] = core::array::from_fn(|index| {
            let digit = (number >> (60 - 4 * index)) as u8 & 0xf;
            digit + if digit < 10 { b'0' } else { b'a' - 10 }
        });
        self.push(&digits)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }

    /// Its length; nothing where it did not fit.
    pub(crate) fn complete(&self) -> Option<usize> {
        self.complete.then_some(self.length)
    }

    /// The text as a C string; nothing where it did not fit.
    pub(crate) fn finish(mut self) -> Option<&'a CStr> {
        self.push(b"\0");
        if !self.complete {
            return None;
        }
        CStr::from_bytes_with_nul(self.buffer.get(..self.length)?).ok()
    }
}

/// A decimal number that fits.
pub(crate) fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u32, |sum, &digit| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// A number of sixteen hexadecimal digits in lower case.
pub(crate) fn hexadecimal(digits: &[u8]) -> Option<u64> {
    if digits.len() != 16 {
        return None;
    }
    digits.iter().try_fold(0, |sum, &digit| match digit {
        b'0'..=b'9' => Some(sum << 4 | u64::from(digit - b'0')),
        b'a'..=b'f' => Some(sum << 4 | u64::from(digit - b'a' + 10)),
        _ => None,
    })
}

/// Calls `body` with `size` bytes of memory: on the stack while they are few, because a child of `vfork` that then executes
/// would leave anything else behind in its parent. Uninitialised; aligned for pointers. Without memory `body` is not called.
pub(crate) fn with_memory(size: usize, mut body: impl FnMut(*mut u8)) {
    const STACK_MAX: usize = 64 * 1024;
    unsafe extern "C" fn enter<F: FnMut(*mut u8)>(memory: *mut u8, body: *mut c_void) {
        // SAFETY: `body` is the closure below, which nothing else uses during the call.
        unsafe { (*body.cast::<F>())(memory) }
    }
    fn entry<F: FnMut(*mut u8)>(_: &F) -> unsafe extern "C" fn(*mut u8, *mut c_void) {
        enter::<F>
    }
    if size <= STACK_MAX {
        let enter = entry(&body);
        // SAFETY: the size is far below any stack's; the context is the closure that `enter` is made for.
        unsafe { arch::with_stack(size, (&raw mut body).cast(), enter) }
    } else if let Some(memory) = sys::map(size) {
        body(memory);
        // SAFETY: mapped above with this size; `body` is done with it.
        unsafe { sys::unmap(memory, size) }
    }
}
