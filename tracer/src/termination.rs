// SPDX-License-Identifier: Apache-2.0
//! Where `SIGTERM` and `SIGHUP` go that are sent to the recorder alone: to the build, after which the recorder ends, and to the engine
//! that somebody of the build waits for, so that nobody goes on waiting. Signals of a terminal reach the build by themselves.

use std::io;
use std::process::{Child, ExitStatus};
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
            // SAFETY: kill is async-signal-safe; the build is not reaped before the recorder's last steps, an engine not while its number is
            // here.
            unsafe { libc::kill(target, signal) };
        }
    }
}

/// From now on this process is told what the recorder is told.
pub fn forward_to(build: u32) {
    BUILD.store(build.cast_signed(), Ordering::SeqCst);
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only reads and writes atomics and calls kill.
        unsafe { libc::signal(signal, forward as *const () as libc::sighandler_t) };
    }
}

/// Was this process told to end?
pub fn came() -> bool {
    CAME.load(Ordering::SeqCst)
}

/// Waits for an engine, which is interrupted when the recorder is told to end, or was before.
///
/// # Errors
/// It cannot be waited for.
pub fn wait_for_engine(engine: &mut Child) -> io::Result<ExitStatus> {
    let id = engine.id().cast_signed();
    ENGINE.store(id, Ordering::SeqCst);
    if came() {
        // SAFETY: kill with integers; nobody has reaped it.
        unsafe { libc::kill(id, libc::SIGINT) };
    }
    // First without reaping it, so that the number stays its own for as long as the handler may use it.
    let ended = loop {
        // SAFETY: a zeroed siginfo_t is valid, and the kernel writes no more than one.
        let ended = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, engine.id(), &raw mut info, libc::WEXITED | libc::WNOWAIT)
        };
        let error = io::Error::last_os_error();
        if ended == 0 || error.kind() != io::ErrorKind::Interrupted {
            break if ended == 0 { Ok(()) } else { Err(error) };
        }
    };
    ENGINE.store(0, Ordering::SeqCst);
    ended.and_then(|()| engine.wait())
}
