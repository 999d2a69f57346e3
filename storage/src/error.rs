// SPDX-License-Identifier: Apache-2.0
//! What can go wrong, told apart by what helps against it.

use crate::key::Key;

/// An error of the storage. None of them tells a secret: a URI is shown without its user, password and query.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The URI names no storage.
    #[error("no storage: {uri}: {why}")]
    Uri {
        /// It, without secrets.
        uri: String,
        /// What is wrong with it.
        why: String,
    },
    /// The network or the server failed. It may work another time: it was tried several times.
    #[error("{place} does not answer as it should: {why}")]
    Unavailable {
        /// The storage.
        place: String,
        /// What it did.
        why: String,
    },
    /// Neither time nor repetition helps: credentials, permissions, a missing bucket.
    #[error("{place} refuses: {why}")]
    Refused {
        /// The storage.
        place: String,
        /// Its reason.
        why: String,
    },
    /// What is stored there is not what its name says.
    #[error("{place}: {key} is damaged: {why}")]
    Damaged {
        /// The storage.
        place: String,
        /// The key.
        key: Key,
        /// How that was noticed.
        why: String,
    },
}

/// A result of the storage.
pub type Result<T> = std::result::Result<T, Error>;
