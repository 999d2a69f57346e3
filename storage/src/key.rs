// SPDX-License-Identifier: Apache-2.0
//! Under which key something is stored.

use std::fmt;

use thunk::ObjectName;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The object of this name.
    Object(ObjectName),
    /// What is known about the object of this name.
    Fact(ObjectName),
}

impl Key {
    /// The largest content that may stand there: what claims to be larger is not unpacked.
    pub(crate) fn limit(&self) -> u64 {
        match self {
            Self::Object(name) => name.size(),
            // Outputs by name, and what a command printed.
            Self::Fact(_) => 256 << 20,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(name) => write!(f, "objects/{name}"),
            Self::Fact(name) => write!(f, "facts/{name}"),
        }
    }
}
