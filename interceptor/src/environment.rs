// SPDX-License-Identifier: Apache-2.0
//! The environment that a program is executed with: the caller's, with our two variables as they must be for it, whatever the caller did to
//! them (`env -i`, a cleared `LD_PRELOAD`, another library in it). Knows nothing of how it is executed.

use core::ffi::{CStr, c_char};

use crate::session::{PRELOAD_VARIABLE, Session, is_ours, preloads};
use crate::text::{Array, Strings, Text, value_of, with_memory};
use wire::{Reply, SESSION_VARIABLE, reply_flags};

/// What becomes of the two variables.
#[derive(Clone, Copy)]
pub(crate) struct Change {
    /// Is our library in `LD_PRELOAD`?
    preload: bool,
    /// Id and flags for the session's variable; none: it is left out.
    session: Option<(u32, u32)>,
}

impl Change {
    /// What a reply wants for the program that is executed.
    pub(crate) fn of(session: &Session, reply: &Reply) -> Self {
        let detached = reply.flags & reply_flags::DETACH != 0;
        let preload = !detached && reply.flags & reply_flags::NO_PRELOAD == 0;
        Self {
            preload: preload && session.is_loadable(),
            session: (!detached).then_some((reply.command, reply.flags)),
        }
    }

    /// For a program that starts without being asked about, as part of this one.
    pub(crate) fn inherited(session: &Session) -> Self {
        let own = reply_flags::CARRY | reply_flags::NAMES | reply_flags::FACTS | reply_flags::UNHEARD;
        Self { preload: session.is_loadable(), session: Some((session.command, session.flags & !own)) }
    }

    /// For a program about which nobody could be asked: nothing is changed, unless its loader would complain of us, or it would be
    /// taken for this one.
    pub(crate) fn unasked(session: &Session) -> Option<Self> {
        if !session.is_loadable() {
            return Some(Self::WITHOUT);
        }
        session.is_unheard().then(|| Self::inherited(session))
    }

    /// Neither of the two is there, as without a recorder.
    pub(crate) const WITHOUT: Self = Self { preload: false, session: None };

    /// Calls `body` with the changed environment, which is gone afterwards; with `envp` where there is no memory for it.
    pub(crate) fn apply(self, session: &Session, envp: Strings, mut body: impl FnMut(Array)) {
        let plan = Plan::new(self, session, envp);
        let mut called = false;
        with_memory(plan.size(), |memory| {
            called = true;
            // SAFETY: the memory is as large as the plan says, and aligned for pointers.
            let array = unsafe { plan.write(memory) };
            body(array.unwrap_or(envp.as_ptr()));
        });
        if !called {
            body(envp.as_ptr());
        }
    }
}

/// A changed environment before it is written: its strings are the caller's, but for two.
pub(crate) struct Plan<'a> {
    change: Change,
    session: &'a Session,
    envp: Strings,
    entries: usize,
    /// Which entry is the `LD_PRELOAD` that counts: the loader takes the last one.
    preload_at: Option<usize>,
    /// Its value.
    preload: &'a [u8],
}

impl<'a> Plan<'a> {
    pub(crate) fn new(change: Change, session: &'a Session, envp: Strings) -> Self {
        let mut plan = Self { change, session, envp, entries: 0, preload_at: None, preload: &[] };
        for entry in envp.iter() {
            if let Some(value) = value_of(entry, PRELOAD_VARIABLE) {
                plan.preload_at = Some(plan.entries);
                plan.preload = value;
            }
            plan.entries += 1;
        }
        plan
    }

    /// How many pointers are written at most.
    fn pointers(&self) -> usize {
        self.entries + 3
    }

    fn preload_size(&self) -> usize {
        PRELOAD_VARIABLE.len() + self.preload.len() + self.session.own().len() + 3
    }

    /// How many bytes [`Self::write`] needs.
    pub(crate) fn size(&self) -> usize {
        self.pointers() * size_of::<*const c_char>() + self.preload_size() + self.session.variable_size()
    }

    /// Writes the environment; the array is at the start of the memory. Nothing if it does not fit, which does not
    /// happen while the caller's environment stays as it is.
    ///
    /// # Safety
    /// `memory` has [`Self::size`] bytes and is aligned for pointers.
    pub(crate) unsafe fn write(&self, memory: *mut u8) -> Option<Array> {
        let texts = memory.wrapping_add(self.pointers() * size_of::<*const c_char>());
        // SAFETY: the two texts follow the pointers; all of it is in the memory, whose bytes are only written before they are read.
        let (preload, variable) = unsafe {
            let variable = texts.add(self.preload_size());
            (
                core::slice::from_raw_parts_mut(texts, self.preload_size()),
                core::slice::from_raw_parts_mut(variable, self.session.variable_size()),
            )
        };
        let preload = self.preload_entry(preload);
        let variable = self.change.session.and_then(|(command, flags)| {
            let mut text = Text::new(variable);
            self.session.write_variable(command, flags, &mut text);
            text.finish()
        });
        let array = memory.cast::<*const c_char>();
        let mut count = 0;
        let mut push = |entry: *const c_char| {
            // One is kept for the null pointer at the end.
            if count + 1 < self.pointers() || entry.is_null() {
                // SAFETY: there is room for `pointers()` of them, of which this is one.
                unsafe { array.add(count).write(entry) }
                count += 1;
                return Some(());
            }
            None
        };
        for (index, entry) in self.envp.iter().enumerate() {
            if value_of(entry, SESSION_VARIABLE).is_some() {
                continue;
            }
            if self.preload_at != Some(index) {
                push(entry.as_ptr())?;
            } else if let Some(entry) = preload {
                push(entry.as_ptr())?;
            }
        }
        if let (None, Some(entry)) = (self.preload_at, preload) {
            push(entry.as_ptr())?;
        }
        if let Some(entry) = variable {
            push(entry.as_ptr())?;
        }
        push(core::ptr::null())?;
        Some(array.cast_const())
    }

    /// `LD_PRELOAD=…`; nothing where the variable is to be left out.
    fn preload_entry<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b CStr> {
        let mut text = Text::new(buffer);
        text.push(PRELOAD_VARIABLE.as_bytes()).push(b"=");
        let prefix = text.bytes().len();
        let ours = || preloads(self.preload).any(is_ours);
        if self.change.preload {
            text.push(self.preload);
            if !ours() {
                text.push(if self.preload.is_empty() { b"" } else { b":" }).push(self.session.own());
            }
        } else if ours() {
            for path in preloads(self.preload).filter(|path| !is_ours(path)) {
                text.push(if text.bytes().len() == prefix { b"" } else { b":" }).push(path);
            }
        } else {
            text.push(self.preload);
        }
        if text.bytes().len() == prefix && (!self.change.preload && self.preload_at.is_none() || ours()) {
            return None;
        }
        text.finish()
    }
}
