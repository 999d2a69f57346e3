// SPDX-License-Identifier: Apache-2.0
//! What can be wrong with an object, a file of ours or the store.

use std::io;
use std::path::{Path, PathBuf};

use crate::name::ObjectName;

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// One clear line each: what failed, on what, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation of the file system failed.
    #[error("{}: cannot {what}: {error}", path.display())]
    Io {
        /// What was tried, as an infinitive: "write the blob".
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed. Not called `source`: it is part of the message, and whoever prints a chain would print it twice.
        error: io::Error,
    },
    /// A string that should be an object name is none.
    #[error("\"{0}\" is not an object name")]
    BadName(String),
    /// The store does not hold the object.
    #[error("{name} is not in the store {}; remove the placeholders that need it (make clean) and record the build again", store.display())]
    Missing {
        /// What was asked for.
        name: ObjectName,
        /// Where.
        store: PathBuf,
    },
    /// The content of an object does not hash to its name.
    #[error("{}: content is not what its name says (it hashes to {actual}); remove the file and record again", path.display())]
    Corrupt {
        /// The file that holds the object.
        path: PathBuf,
        /// What the content hashes to.
        actual: ObjectName,
    },
    /// Bytes that should be a thunk, tree, reduction, placeholder or trace are none.
    #[error("{subject}: not a valid {format}: {why}")]
    Malformed {
        /// The file or object.
        subject: String,
        /// Which format was expected.
        format: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The store's directory cannot be determined.
    #[error(
        "neither GG_DIR nor XDG_CACHE_HOME nor HOME is set to an absolute path; set GG_DIR to the store's directory"
    )]
    NoStore,
    /// There is no store in this directory.
    #[error("{}: there is no store here any more; remove the placeholders that need it (make clean) and record the build again", .0.display())]
    NoSuchStore(PathBuf),
    /// The store is in use, and what was asked for is for who has it alone.
    #[error("{}: somebody is recording or forcing with this store; try again when they have ended", .0.display())]
    InUse(PathBuf),
    /// The store was written by a version with another layout.
    #[error("{}: store of version \"{found}\", this program needs \"{expected}\"; set GG_DIR to another directory", path.display())]
    StoreVersion {
        /// The version file.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What it should say.
        expected: &'static str,
    },
}

impl Error {
    /// For `map_err`: wraps an I/O error with what was tried, on which file.
    pub(crate) fn io(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        move |error| Error::Io { what, path: path.as_ref().to_path_buf(), error }
    }

    pub(crate) fn malformed(
        subject: impl Into<String>,
        format: &'static str,
        why: impl Into<String>,
    ) -> Error {
        Error::Malformed { subject: subject.into(), format, why: why.into() }
    }
}
