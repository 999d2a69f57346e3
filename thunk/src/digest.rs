// SPDX-License-Identifier: Apache-2.0
//! SHA-256 and length of a stream of bytes. The library uses the CPU's SHA instructions where it has them.

use sha2::{Digest as _, Sha256};

use crate::name::{ObjectKind, ObjectName};

/// Hashes content piece by piece.
#[derive(Default)]
pub struct Hasher {
    state: Sha256,
    size: u64,
}

impl Hasher {
    /// Nothing hashed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.state.update(piece);
        self.size += piece.len() as u64;
    }

    /// The name of all that was added.
    #[must_use]
    pub fn finish(self, kind: ObjectKind) -> ObjectName {
        ObjectName::new(kind, self.state.finalize().into(), self.size)
    }
}

/// The first four bytes of the SHA-256: tells a torn or flipped record from a whole one, nothing more.
pub(crate) fn check_bytes(content: &[u8]) -> [u8; 4] {
    let digest = Sha256::digest(content);
    [digest[0], digest[1], digest[2], digest[3]]
}
