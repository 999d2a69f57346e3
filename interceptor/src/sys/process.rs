// SPDX-License-Identifier: Apache-2.0
//! How processes are made, signalled and ended, and become other programs.

use core::ffi::{c_char, c_int, c_void};
use core::sync::atomic::AtomicU32;

use super::{Errno, check, getpid, mark, marked};
use crate::arch::{self, nr, syscall};

/// Size of the kernel's set of signals.
const SET_SIZE: usize = 8;
pub(crate) const SIGQUIT: c_int = 3;
pub(crate) const SIGKILL: c_int = 9;
const SIGTERM: c_int = 15;

pub(crate) fn exit_group(code: c_int) -> ! {
    loop {
        let _ = call!(nr::EXIT_GROUP, code);
    }
}

/// Ends the process by `SIGKILL`.
pub(crate) fn kill_self() -> ! {
    end_by(SIGKILL)
}

/// Ends the process by a signal that has its default effect.
pub(crate) fn end_by(signal: c_int) -> ! {
    let _ = change_signal_mask(0);
    let _ = call!(nr::KILL, getpid(), signal);
    exit_group(128 + signal)
}

/// The signals that have come while they were blocked; none where that cannot be told.
fn pending_signals() -> u64 {
    let mut pending = 0u64;
    match call!(nr::RT_SIGPENDING, &raw mut pending, SET_SIZE) {
        Ok(_) => pending,
        Err(_) => 0,
    }
}

/// A signal that users and build drivers end processes by, and that has come while it was blocked: it would end this
/// one, where signals have no handlers, if `mask` were the mask.
pub(crate) fn pending_end(mask: u64) -> Option<c_int> {
    const SIGHUP: c_int = 1;
    const SIGINT: c_int = 2;
    const IGNORED: u64 = 1;
    let pending = pending_signals();
    [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().find(|signal| {
        let mut action = [0u64; 4];
        (pending & !mask) >> (signal - 1) & 1 != 0
            && call!(nr::RT_SIGACTION, *signal, 0, action.as_mut_ptr(), SET_SIZE).is_ok()
            && action[0] != IGNORED
    })
}

/// Ends the process as `abort` would.
#[cfg(panic = "abort")]
pub(crate) fn abort() -> ! {
    const SIGABRT: c_int = 6;
    let _ = call!(nr::KILL, getpid(), SIGABRT);
    exit_group(134)
}

/// Waits so many milliseconds, or until a signal was handled, or `SIGTERM` is there and may not be delivered.
pub(crate) fn await_termination(milliseconds: u32) {
    const STEP: u32 = 20;
    const TERMINATION: u64 = 1 << (SIGTERM - 1);
    let step = [0, i64::from(STEP) * 1_000_000];
    for _ in 0..milliseconds / STEP {
        if pending_signals() & TERMINATION != 0 || call!(nr::NANOSLEEP, step.as_ptr(), 0).is_err() {
            return;
        }
    }
}

/// Sets the mask of signals of this thread and gives the old one.
pub(crate) fn change_signal_mask(mask: u64) -> Result<u64, Errno> {
    const SIG_SETMASK: c_int = 2;
    let mut old = 0u64;
    call!(nr::RT_SIGPROCMASK, SIG_SETMASK, &raw const mask, &raw mut old, SET_SIZE)?;
    Ok(old)
}

/// These signals have their default effect from now on.
pub(crate) fn default_signals(signals: u64) {
    /// The kernel's `struct sigaction`: no handler, no flags, no restorer, an empty mask.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in (1..=64).filter(|signal| signals >> (signal - 1) & 1 != 0) {
        let _ = call!(nr::RT_SIGACTION, signal, DEFAULT.as_ptr(), 0, SET_SIZE);
    }
}

/// How a child ends that does nothing else.
#[derive(Clone, Copy)]
pub(crate) enum End {
    /// It exits with this code.
    Exit(c_int),
    /// By `SIGKILL`.
    Killed,
}

/// A child that ends at once: its process id.
pub(crate) fn spawn_end(end: End) -> Result<c_int, Errno> {
    // The child shares our memory: no handler may run in it.
    let mask = change_signal_mask(u64::MAX)?;
    let child = check(match end {
        End::Exit(code) => arch::child_that_ends(code, 0),
        End::Killed => arch::child_that_ends(0, SIGKILL),
    });
    let _ = change_signal_mask(mask);
    child.map(|pid| pid as c_int)
}

/// A child that shares our memory and runs `body(context)` on a stack of its own, while we go on: its process id. It
/// has the default signal handlers and no descriptor in common with us. The kernel clears `busy` once the child uses
/// our memory no more.
///
/// # Safety
/// The stack has `size` bytes, which nobody else uses until then; nor may anything change that `body` uses. `body` makes no use of what is
/// a thread's own, such as `errno`.
pub(crate) unsafe fn child_on_stack(
    stack: *mut u8,
    size: usize,
    busy: &'static AtomicU32,
    body: unsafe extern "C" fn(*const c_void) -> !,
    context: *const c_void,
) -> Result<c_int, Errno> {
    const CLONE_VM: u64 = 0x100;
    const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
    const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    const SIGCHLD: u64 = 17;
    let arguments = arch::CloneArguments {
        flags: CLONE_VM | CLONE_CHILD_CLEARTID | CLONE_CLEAR_SIGHAND,
        child_tid: busy.as_ptr() as u64,
        exit_signal: SIGCHLD,
        stack: stack as u64,
        stack_size: size as u64,
        ..arch::CloneArguments::default()
    };
    // SAFETY: as the caller promises.
    check(unsafe { arch::child_on_stack(&arguments, body, context) }).map(|pid| pid as c_int)
}

/// Puts a process, 0 for our own, into a process group, 0 for one of its own, if it may.
pub(crate) fn set_process_group(process: c_int, group: c_int) {
    let _ = call!(nr::SETPGID, process, group);
}

/// Makes the real user and group of this process, which has one thread, the effective ones.
pub(crate) fn reset_ids() -> Result<(), Errno> {
    const SAME: u32 = u32::MAX;
    let (user, group) = (call!(nr::GETUID)?, call!(nr::GETGID)?);
    call!(nr::SETRESUID, SAME, user, SAME)?;
    call!(nr::SETRESGID, SAME, group, SAME).map(|_| ())
}

/// `execveat`: returns only when it fails. The arguments are looked at by the kernel only. Where it is not marked, the
/// filter has it looked at.
pub(crate) fn execveat(
    dirfd: c_int,
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    flags: c_int,
    is_marked: bool,
) -> Errno {
    let [a, b, c, d, e] = five!(dirfd, path, argv, envp, flags);
    // SAFETY: the kernel checks all of it.
    let failed = unsafe { syscall(nr::EXECVEAT, [a, b, c, d, e, if is_marked { mark() } else { 0 }]) };
    check(failed).err().unwrap_or(Errno::NOSYS)
}

/// `execve`, marked: returns only when it fails. The arguments are looked at by the kernel only.
pub(crate) fn execve(path: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> Errno {
    call!(nr::EXECVE, path, argv, envp).err().unwrap_or(Errno::NOSYS)
}
