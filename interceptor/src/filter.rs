// SPDX-License-Identifier: Apache-2.0
//! A program's own seccomp filter. It lets the program make the calls that it makes itself, and may kill it for any that
//! we make besides. So from then on we make none: the C library's functions are all there is, in what is executed from
//! here too, and the recorder's filter, which was there before, sees what they do.

use crate::arch::nr;
use crate::log::{Log, What};
use crate::session::{self, Session};
use crate::sys;
use wire::log::kind;

const PR_SET_SECCOMP: usize = 22;
const SECCOMP_MODE_STRICT: usize = 1;
const SECCOMP_MODE_FILTER: usize = 2;
const SECCOMP_SET_MODE_STRICT: usize = 0;
const SECCOMP_SET_MODE_FILTER: usize = 1;

/// Before `prctl`.
pub(crate) fn by_prctl(session: &Session, option: usize, value: usize) {
    if option == PR_SET_SECCOMP && matches!(value, SECCOMP_MODE_STRICT | SECCOMP_MODE_FILTER) {
        step_aside(session);
    }
}

/// Before `syscall`.
pub(crate) fn by_number(session: &Session, number: usize, first: usize, second: usize) {
    match number {
        nr::PRCTL => by_prctl(session, first, second),
        nr::SECCOMP if matches!(first, SECCOMP_SET_MODE_STRICT | SECCOMP_SET_MODE_FILTER) => {
            step_aside(session)
        }
        _ => {}
    }
}

#[cold]
fn step_aside(session: &Session) {
    // Where there are hooks only, nobody sees what comes.
    if let Some(log) = Log::ready(session).filter(|_| !sys::is_marking()) {
        log.append(session, What::new(kind::GAP, Ok(0)), &[], &[]);
    }
    session::end();
}
