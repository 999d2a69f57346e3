// SPDX-License-Identifier: Apache-2.0
//! `posix_spawn`'s attributes, as far as a child needs them that the C library did not make. The layout is that of
//! glibc and of musl, which have the members that are read here at the same places. Knows nothing of what the child
//! does.

use core::ffi::{c_int, c_short, c_void};

const RESET_IDS: c_short = 0x01;
const SET_GROUP: c_short = 0x02;
const SET_DEFAULT_SIGNALS: c_short = 0x04;
const SET_MASK: c_short = 0x08;
/// Has no meaning any more.
const USE_VFORK: c_short = 0x40;

/// `posix_spawnattr_t`, its first members. The sets of signals have 128 bytes; those that there are fit the first word.
#[repr(C)]
struct Layout {
    /// An `int` in musl, of which this is the low half.
    flags: c_short,
    group: c_int,
    defaults: [u64; 16],
    mask: [u64; 16],
}

/// What a child has to do.
#[derive(Clone, Copy, Default)]
pub(crate) struct Attributes {
    /// Have the effect of its real user and group.
    pub(crate) resets_ids: bool,
    /// Go into this process group, 0 for one of its own.
    pub(crate) group: Option<c_int>,
    /// Take this mask of signals in place of its parent's.
    pub(crate) mask: Option<u64>,
    /// Not ignore these signals.
    pub(crate) defaults: u64,
}

impl Attributes {
    /// Nothing where more is wanted than is done here: another session, another's group, a scheduling policy.
    ///
    /// # Safety
    /// Null, or initialised attributes of the program's C library.
    pub(crate) unsafe fn of(attributes: *const c_void) -> Option<Self> {
        let layout = attributes.cast::<Layout>();
        if layout.is_null() {
            return Some(Self::default());
        }
        // SAFETY: see above; what the flags do not speak of is initialised, too.
        let Layout { flags, group, defaults: [defaults, ..], mask: [mask, ..] } = unsafe { layout.read() };
        let has_group = flags & SET_GROUP != 0;
        // Another's group may not be had, which the caller is to be told.
        if flags & !(RESET_IDS | SET_GROUP | SET_DEFAULT_SIGNALS | SET_MASK | USE_VFORK) != 0
            || has_group && group != 0
        {
            return None;
        }
        Some(Self {
            resets_ids: flags & RESET_IDS != 0,
            group: has_group.then_some(group),
            mask: (flags & SET_MASK != 0).then_some(mask),
            defaults: if flags & SET_DEFAULT_SIGNALS != 0 { defaults } else { 0 },
        })
    }
}
