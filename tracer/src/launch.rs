// SPDX-License-Identifier: Apache-2.0
//! Starting the build by hand: between `fork` and `exec` it waits at a gate, which [`std::process::Command`] cannot, since its
//! `spawn` returns only after the exec. Knows nothing of what happens at the gate.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use observe::{Gate, Pid};

/// A program with its arguments and environment, as the kernel wants them: a child may not allocate.
pub struct Image {
    program: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Image {
    /// Of these.
    ///
    /// # Errors
    /// A string contains a NUL.
    pub fn new(program: &Path, argv: &[OsString], env: &[(OsString, OsString)]) -> io::Result<Self> {
        let variable = |(name, value): &(OsString, OsString)| {
            let mut text = name.clone();
            text.push("=");
            text.push(value);
            c_string(&text)
        };
        Ok(Self {
            program: c_string(program.as_os_str())?,
            argv: argv.iter().map(|argument| c_string(argument)).collect::<io::Result<_>>()?,
            env: env.iter().map(variable).collect::<io::Result<_>>()?,
        })
    }
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// Makes a child that executes this once it has passed the gate. `signals` are restored in it to these handlers.
///
/// # Errors
/// There can be no further process. What goes wrong in the child is told at the gate.
pub fn fork(image: &Image, gate: &Gate, signals: &[(i32, libc::sighandler_t)]) -> io::Result<Pid> {
    let (argv, env) = (pointers(&image.argv), pointers(&image.env));
    // SAFETY: the child calls async-signal-safe functions only, and allocates nothing. `argv` and `env` end with a null
    // pointer, and point to strings that live in `image`.
    unsafe {
        match libc::fork() {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                for &(signal, handler) in signals {
                    libc::signal(signal, handler);
                }
                // Rust programs ignore it, and what is ignored stays so after exec.
                libc::signal(libc::SIGPIPE, libc::SIG_DFL);
                let error = match gate.enter() {
                    Ok(()) => {
                        libc::execve(image.program.as_ptr(), argv.as_ptr(), env.as_ptr());
                        io::Error::last_os_error()
                    }
                    Err(error) => error,
                };
                gate.fail(&error);
                libc::_exit(127)
            }
            child => Ok(child),
        }
    }
}
