// SPDX-License-Identifier: Apache-2.0
//! Why a call to the function gave no answer, told apart by what helps. None of it is the command's fault.

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Too many calls at once: fewer, and later.
    Throttled(String),
    /// The network or the service failed: the same again, later.
    Unavailable(String),
    /// Neither time nor repetition helps: credentials, permissions, no such function.
    Refused(String),
    /// The function itself ended, or said something that no function of ours says. Another instance may do better.
    Crashed(String),
    /// Its time was up.
    Late(String),
}

impl Fault {
    /// For messages.
    #[cfg(feature = "lambda")]
    pub fn why(&self) -> &str {
        match self {
            Self::Throttled(why)
            | Self::Unavailable(why)
            | Self::Refused(why)
            | Self::Crashed(why)
            | Self::Late(why) => why,
        }
    }
}
