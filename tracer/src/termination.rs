// SPDX-License-Identifier: Apache-2.0
//! Where `SIGTERM` and `SIGHUP` go that are sent to the recorder alone: to the build, after which the recorder ends, and to the engine
//! that somebody of the build waits for, so that nobody goes on waiting. Signals of a terminal reach the build by themselves.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// The build's first process; 0 before it is started.
static BUILD: AtomicI32 = AtomicI32::new(0);
/// The engine that forces on demand; 0 while there is none.
static ENGINE: AtomicI32 = AtomicI32::new(0);
static CAME: AtomicBool = AtomicBool::new(false);

extern "C" fn forward(signal: libc::c_int) {
    CAME.store(true, Ordering::SeqCst);
    for (target, signal) in [(&BUILD, signal), (&ENGINE, libc::SIGINT)] {
        let target = target.load(Ordering::SeqCst);
        if target != 0 {
            // SAFETY: kill is async-signal-safe; the build is not reaped before the recorder's last steps, an engine
            // not while its number is here.
            unsafe { libc::kill(target, signal) };
        }
    }
}

/// From now on this process is told what the recorder is told, unless that was started not to hear it (`nohup`).
pub fn forward_to(build: u32) {
    BUILD.store(build.cast_signed(), Ordering::SeqCst);
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only reads and writes atomics and calls kill.
        let before = unsafe { libc::signal(signal, forward as *const () as libc::sighandler_t) };
        if before == libc::SIG_IGN {
            // SAFETY: no handler.
            unsafe { libc::signal(signal, before) };
        }
    }
}

/// Was this process told to end?
pub fn came() -> bool {
    CAME.load(Ordering::SeqCst)
}

/// From now on this engine, which this process started and has not waited for, is interrupted when the recorder is told to end; at once if
/// it was before.
pub fn interrupt_engine(engine: u32) {
    let id = engine.cast_signed();
    ENGINE.store(id, Ordering::SeqCst);
    if came() {
        // SAFETY: kill with integers; nobody has reaped it.
        unsafe { libc::kill(id, libc::SIGINT) };
    }
}

/// The engine is about to be waited for.
pub fn forget_engine() {
    ENGINE.store(0, Ordering::SeqCst);
}
