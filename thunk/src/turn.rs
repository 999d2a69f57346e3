// SPDX-License-Identifier: Apache-2.0
//! How soon a thread gets its turn on a processor on which something else runs. The engine and its workers do little and often, and while
//! a result waits to be taken, a worker has nothing to do; a compiler does not mind to be interrupted for a moment. What is written down
//! about a command that has ended can wait, and the next command cannot. Changes nothing of how much of a processor each gets, nor
//! of what commands get.

use std::mem;

/// What a thread that is in a hurry does at a time takes no longer, in nanoseconds; the kernel allows no less.
const SHORT: u64 = 100_000;
/// Longer than anybody's: the usual slice is about 3 ms.
const LONG: u64 = 20_000_000;

/// From now on the calling thread runs soon after it is woken. Nothing happens before Linux 6.12, nor where the user has chosen
/// a policy or a priority.
pub fn soon() {
    slice(SHORT);
}

/// From now on others go before the calling thread when they are woken, also while it runs; as [`soon`].
pub fn late() {
    slice(LONG);
}

/// Who has the shorter slice goes first.
fn slice(nanoseconds: u64) {
    // SAFETY: all its fields are integers.
    let mut attributes: libc::sched_attr = unsafe { mem::zeroed() };
    let size = size_of_val(&attributes);
    // SAFETY: the kernel writes one structure of this size, about the calling thread.
    let known = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) } == 0;
    // To reset a priority that is better than the usual one would take it from commands, too.
    if !known || attributes.sched_policy != libc::SCHED_OTHER as u32 || attributes.sched_nice < 0 {
        return;
    }
    attributes.sched_runtime = nanoseconds;
    attributes.sched_flags |= libc::SCHED_FLAG_RESET_ON_FORK as u64;
    // SAFETY: the kernel reads one structure of this size. If it refuses, all stays as it was.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_gets_turns_as_ever() {
        let slice = |thread: &str| {
            let told = std::fs::read_to_string(format!("/proc/{thread}/sched")).unwrap_or_default();
            let line = told.lines().find(|line| line.starts_with("se.slice")).map(str::to_owned);
            line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        };
        let before = slice("thread-self");
        for (change, expected) in [(soon as fn(), SHORT), (late, LONG)] {
            change();
            let own = slice("thread-self");
            // Kernels differ in whether they tell, and whether they do it.
            if own.is_some() && own != before {
                assert_eq!(own, Some(expected));
            }
            let started = std::thread::spawn(move || slice("thread-self")).join().unwrap();
            assert_eq!(started, before);
        }
    }
}
