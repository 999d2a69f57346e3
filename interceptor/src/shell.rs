// SPDX-License-Identifier: Apache-2.0
//! `popen` and `system`: the C library starts the shell by itself, with the program's `environ`. It is enough that our
//! variables are in there for as long as the call takes; the shell's own execs are then asked about.

use crate::environment::{Change, Plan};
use crate::libc::environ;
use crate::session::{PRELOAD_VARIABLE, Session, is_ours, preloads};
use crate::sys;
use crate::text::{Strings, value_of};
use wire::SESSION_VARIABLE;

/// Makes the call with our variables in `environ`.
pub(crate) fn shells<R>(session: &Session, call: impl Fn() -> R) -> R {
    let restore = enter(session);
    let result = call();
    if let Some(restore) = restore {
        restore.leave();
    }
    result
}

/// What `environ` was, and what it is for now.
struct Restore {
    old: *mut *const core::ffi::c_char,
    new: *mut u8,
    size: usize,
}

fn enter(session: &Session) -> Option<Restore> {
    // SAFETY: a plain read of the program's variable, as the C library does it.
    let old = unsafe { environ };
    // SAFETY: the program's environment stays while it makes this call.
    let entries = unsafe { Strings::new(old.cast_const()) };
    let has_session = entries.iter().any(|entry| value_of(entry, SESSION_VARIABLE).is_some());
    let has_library = entries
        .iter()
        .filter_map(|entry| value_of(entry, PRELOAD_VARIABLE))
        .any(|value| preloads(value).any(is_ours));
    // A shell that a carrying program starts does not carry, and what one prints that a driver starts is heard.
    let passes_on = session.carries() || session.is_unheard();
    if has_session && has_library && !passes_on && session.is_loadable() {
        return None;
    }
    let plan = Plan::new(Change::inherited(session), session, entries);
    let size = plan.size();
    let new = sys::map(size)?;
    // SAFETY: the memory is of the plan's size.
    match unsafe { plan.write(new) } {
        Some(array) => {
            // SAFETY: what the C library does in `setenv`, just as little protected against other threads.
            unsafe { environ = array.cast_mut() }
            Some(Restore { old, new, size })
        }
        None => {
            // SAFETY: nothing refers to it.
            unsafe { sys::unmap(new, size) }
            None
        }
    }
}

impl Restore {
    /// Another thread may have called `setenv` meanwhile: the environment is then the C library's, made of ours, which must stay.
    fn leave(self) {
        // SAFETY: as in `enter`; what is unmapped is no longer the environment.
        unsafe {
            if environ.cast::<u8>() == self.new {
                environ = self.old;
                sys::unmap(self.new, self.size);
            }
        }
    }
}
