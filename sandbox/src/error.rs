// SPDX-License-Identifier: Apache-2.0
//! What can go wrong around a command. What goes wrong *in* a command is no error but its [`crate::Outcome`].

use std::io;
use std::path::{Path, PathBuf};

/// Why a tree could not be made, or a command could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path that was asked for cannot exist in a sandbox.
    #[error("{} cannot be in a sandbox: {reason}", path.display())]
    BadPath {
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A job has something that cannot be passed to a program.
    #[error("cannot run {}: {reason}", program.display())]
    BadJob {
        /// The program that was to run.
        program: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file could not be made, linked, read or removed.
    #[error("{action} {}: {error}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said. Not called `source`: it is part of the message, and whoever prints a chain would print it
        /// twice.
        error: io::Error,
    },
    /// The kernel refused a step of setting up the namespaces.
    #[error("sandbox: cannot {step}: {error}{hint}")]
    Setup {
        /// The step.
        step: &'static str,
        /// What the system said.
        error: io::Error,
        /// What to do about it: empty, or a clause that begins with a semicolon.
        hint: String,
    },
    /// This machine cannot run sandboxes, and will not be able to: the text is one line that says why.
    #[error("{0}")]
    Unsupported(String),
    /// The command needs a program that cannot run without namespaces; the text says which, and why.
    #[error("{0}")]
    Refused(String),
    /// The process that watches over the command was killed from outside.
    #[error("sandbox: the command's init process was killed from outside (out of memory?)")]
    Killed,
    /// Whoever wanted the command's result is gone: it was ended, with all that it had started.
    #[error("whoever wanted this is gone")]
    Abandoned,
}

impl Error {
    /// An error of a call on `path`.
    pub(crate) fn file(action: &'static str, path: &Path, error: io::Error) -> Error {
        Error::File { action, path: path.to_owned(), error }
    }

    /// An error of a step that needs no path to be understood.
    pub(crate) fn setup(step: &'static str, error: io::Error) -> Error {
        Error::Setup { step, error, hint: String::new() }
    }
}
