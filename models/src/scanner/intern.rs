// SPDX-License-Identifier: Apache-2.0
//! Small numbers in place of names and paths: tables that only grow, read without locks, shared by all threads.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

/// A list that only grows. Elements never move, so that a reference to one is good for as long as the list is.
pub(super) struct Arena<T> {
    /// Block `n` holds `FIRST << n` elements.
    blocks: [OnceLock<Box<[OnceLock<T>]>>; BLOCKS],
    length: Mutex<u32>,
}

const FIRST: u32 = 256;
const BLOCKS: usize = 23;

impl<T> Arena<T> {
    pub fn new() -> Self {
        Self { blocks: [const { OnceLock::new() }; BLOCKS], length: Mutex::new(0) }
    }

    fn place(id: u32) -> (usize, usize) {
        let n = id / FIRST + 1;
        let block = n.ilog2();
        (block as usize, (id - FIRST * ((1 << block) - 1)) as usize)
    }

    /// Adds an element and returns its number.
    pub fn push(&self, value: T) -> u32 {
        let mut length = self.length.lock().unwrap_or_else(PoisonError::into_inner);
        let id = *length;
        let (block, at) = Self::place(id);
        let cells = self.blocks[block].get_or_init(|| (0..FIRST << block).map(|_| OnceLock::new()).collect());
        let _ = cells[at].set(value);
        *length += 1;
        id
    }

    /// The element with this number, which `push` gave.
    pub fn get(&self, id: u32) -> &T {
        let (block, at) = Self::place(id);
        let cell = self.blocks[block].get().and_then(|cells| cells[at].get());
        // Numbers come from `push` only, which fills the cell before it gives out the number.
        cell.unwrap_or_else(|| unreachable!("number {id} was never given out"))
    }

    pub fn len(&self) -> u32 {
        *self.length.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const SHARDS: usize = 16;

/// Numbers for keys, and a value for each number.
pub(super) struct Table<K, V> {
    shards: [RwLock<HashMap<K, u32, Fast>>; SHARDS],
    values: Arena<V>,
}

impl<K: Hash + Eq, V> Table<K, V> {
    pub fn new() -> Self {
        Self { shards: std::array::from_fn(|_| RwLock::new(HashMap::default())), values: Arena::new() }
    }

    /// Where `key` is, if it is anywhere.
    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<HashMap<K, u32, Fast>> {
        let mut hasher = FastHasher::default();
        key.hash(&mut hasher);
        &self.shards[(hasher.finish() >> 40) as usize % SHARDS]
    }

    /// The number of `key`; if it has none yet, it gets one, and `make` gives key and value.
    pub fn intern<Q>(&self, key: &Q, make: impl FnOnce() -> (K, V)) -> u32
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let shard = self.shard(key);
        if let Some(&id) = shard.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return id;
        }
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(&id) = shard.get(key) {
            return id;
        }
        let (key, value) = make();
        let id = self.values.push(value);
        shard.insert(key, id);
        id
    }

    /// The number of `key`, if it has one.
    pub fn find<Q>(&self, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let shard = self.shard(key);
        shard.read().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    pub fn get(&self, id: u32) -> &V {
        self.values.get(id)
    }

    pub fn len(&self) -> u32 {
        self.values.len()
    }
}

/// A hash for keys that nobody chooses to collide: multiply and rotate, eight bytes at a time.
#[derive(Default)]
pub(super) struct FastHasher(u64);

/// Builds [`FastHasher`]s.
pub(super) type Fast = BuildHasherDefault<FastHasher>;

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl FastHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(FACTOR).rotate_left(29);
    }
}

impl Hasher for FastHasher {
    fn finish(&self) -> u64 {
        let h = (self.0 ^ (self.0 >> 32)).wrapping_mul(FACTOR);
        h ^ (h >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last) ^ ((rest.len() as u64) << 56));
    }

    fn write_u8(&mut self, n: u8) {
        self.add(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.add(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.add(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.add(n as u64);
    }
}

/// A 64-bit hash of some bytes.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FastHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

/// A set of small numbers.
#[derive(Clone, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Adds `n`; was it new?
    pub fn add(&mut self, n: u32) -> bool {
        let (word, bit) = ((n / 64) as usize, 1 << (n % 64));
        if self.0.len() <= word {
            self.0.resize(word + word / 2 + 8, 0);
        }
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    pub fn has(&self, n: u32) -> bool {
        self.0.get((n / 64) as usize).is_some_and(|word| word & (1 << (n % 64)) != 0)
    }
}

impl Bits {
    /// Adds all of these.
    pub fn extend(&mut self, numbers: &[u32]) {
        for &number in numbers {
            self.add(number);
        }
    }

    /// The numbers in it, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let ones = |(at, &word): (usize, &u64)| {
            (0..64).filter(move |bit| word >> bit & 1 != 0).map(move |bit| at as u32 * 64 + bit)
        };
        self.0.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(ones)
    }

    /// Adds all of these.
    pub fn join(&mut self, numbers: &Packed) {
        self.make_room(numbers);
        for &(at, bits) in &numbers.0 {
            self.0[at as usize] |= bits;
        }
    }

    fn make_room(&mut self, numbers: &Packed) {
        if let Some((last, _)) = numbers.0.last()
            && self.0.len() <= *last as usize
        {
            self.0.resize(*last as usize + 8, 0);
        }
    }

    /// Adds all of these, and tells which of them are new.
    pub fn add_all(&mut self, numbers: &Packed, new: &mut Vec<u32>) {
        self.make_room(numbers);
        for &(at, bits) in &numbers.0 {
            let word = &mut self.0[at as usize];
            let mut left = bits & !*word;
            *word |= bits;
            while left != 0 {
                new.push(at * 64 + left.trailing_zeros());
                left &= left - 1;
            }
        }
    }
}

/// A set of small numbers that does not change, many of which are near to each other: words of [`Bits`] that are not zero, in order.
#[derive(Default)]
pub(super) struct Packed(Box<[(u32, u64)]>);

impl Packed {
    pub fn new(mut numbers: Vec<u32>) -> Self {
        numbers.sort_unstable();
        let mut words: Vec<(u32, u64)> = Vec::new();
        for number in numbers {
            let bit = 1 << (number % 64);
            match words.last_mut() {
                Some((at, word)) if *at == number / 64 => *word |= bit,
                _ => words.push((number / 64, bit)),
            }
        }
        Self(words.into())
    }

    /// How many bytes it takes.
    pub fn weight(&self) -> usize {
        size_of_val(&*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_stay() {
        let arena = Arena::new();
        for n in 0..10_000u32 {
            assert_eq!(arena.push(n * 3), n);
        }
        assert!((0..10_000).all(|n| *arena.get(n) == n * 3));
        assert_eq!(arena.len(), 10_000);
    }

    #[test]
    fn equal_keys_share_a_number_across_threads() {
        let table: Table<Box<[u8]>, u32> = Table::new();
        let seen: Vec<Vec<u32>> = std::thread::scope(|s| {
            let work = || {
                let key = |n: u32| n.to_string().into_bytes().into_boxed_slice();
                (0..2000).map(|n| table.intern(&*key(n), || (key(n), n))).collect()
            };
            let threads: Vec<_> = (0..4).map(|_| s.spawn(work)).collect();
            threads.into_iter().map(|t| t.join().unwrap_or_default()).collect()
        });
        assert!(seen.iter().all(|ids| *ids == seen[0] && ids.len() == 2000));
        assert_eq!(table.len(), 2000);
        assert!(seen[0].iter().enumerate().all(|(n, &id)| *table.get(id) == n as u32));
    }

    #[test]
    fn bits_remember() {
        let mut bits = Bits::default();
        assert!(bits.add(700) && !bits.add(700) && bits.add(0));
        assert!(bits.has(700) && bits.has(0) && !bits.has(1) && !bits.has(100_000));
    }

    #[test]
    fn many_bits_are_added_at_once_and_the_new_ones_told() {
        let mut bits = Bits::default();
        bits.add(65);
        let mut new = vec![7];
        bits.add_all(&Packed::new(vec![700, 64, 65, 0, 63, 700]), &mut new);
        assert_eq!(new, [7, 0, 63, 64, 700]);
        assert!([0, 63, 64, 65, 700].into_iter().all(|n| bits.has(n)) && !bits.has(66));
        bits.add_all(&Packed::default(), &mut new);
        bits.add_all(&Packed::new(vec![0, 2]), &mut new);
        assert_eq!(new[5..], [2]);
    }
}
