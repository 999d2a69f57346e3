// SPDX-License-Identifier: Apache-2.0
//! What a command's process can be made to pass before it executes its program. Knows nothing of what happens there:
//! somebody attaches to the process, say.

use std::io;
use std::os::fd::RawFd;

/// Something that the command's process passes, when all else is done, before it executes its program.
pub trait Gate {
    /// A descriptor that the process needs to pass. It is the only one beside standard input, output and error that stays
    /// open, under its own number, which is above those of everything that the sandbox keeps (as is that of any
    /// descriptor opened after [`crate::Sandbox::enter`]). It must be closed on exec.
    fn fd(&self) -> RawFd;

    /// Called in the process. What it finds in memory is a copy of what the worker had when it started the sandbox.
    /// It may do system calls and nothing else: no allocation, no locks.
    ///
    /// # Errors
    /// The process may not go on: then the program is not executed, and [`crate::Sandbox::run_through`] fails.
    fn enter(&self) -> io::Result<()>;

    /// Called in the worker when the process is on its way. What only the process shall hold open is to be closed here.
    fn started(&self);
}
