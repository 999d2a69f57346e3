// SPDX-License-Identifier: Apache-2.0
//! Numbers that stand for sets of files in the states in which they are: so two sets are compared without looking at what is
//! in them.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::ops::BitXorAssign;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Stands for one file in one state, or for a set of such. Large and drawn at random: that two different ones are equal does not
/// happen, and nobody can bring it about. Means something in this process only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark(u128);

impl Mark {
    /// One that stands for nothing else.
    #[must_use]
    pub fn unique() -> Self {
        static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [(); 2].map(|()| RandomState::new()));
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let [high, low] = [0, 1].map(|n| u128::from(KEYS[n].hash_one(serial)));
        Self(high << 64 | low)
    }
}

/// Adds a file to a set that it is not in.
impl BitXorAssign for Mark {
    fn bitxor_assign(&mut self, file: Self) {
        self.0 ^= file.0;
    }
}

/// It is a hash already.
impl Hash for Mark {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_told_apart_whatever_their_order() {
        let [a, b, c] = [(); 3].map(|()| Mark::unique());
        let set = |marks: &[Mark]| {
            let mut set = Mark::default();
            marks.iter().for_each(|mark| set ^= *mark);
            set
        };
        assert_eq!(set(&[a, b, c]), set(&[c, a, b]));
        assert!(a != b && set(&[a, b]) != set(&[a, c]) && set(&[a, b]) != c && set(&[a]) != set(&[]));
    }
}
