// SPDX-License-Identifier: Apache-2.0
//! The shared log: what interceptors saw, written by all processes of a build into one file that all of them map, read by the tracer.
//! This is the layout, and what both sides must compute alike; knows neither how it is mapped nor what the records mean.
//!
//! ```text
//! file    ┌────────────────┬────────┬────────┬────────┬───
//!         │ Header, a page │ unit 0 │ unit 1 │ unit 2 │ …       units of 16 KiB
//!         └────────────────┴────────┴────────┴────────┴───
//! chunk   ┌────────────┬────────────────┬───────────────┬──    one unit or more, taken by one process,
//! (units) │ Chunk (64) │ Record, strings│ Record, …     │      and filled by it and by those that it forks
//!         └────────────┴────────────────┴───────────────┴──
//! record  ┌─────────────┬────────────┬─────────────┬────────┐
//!         │ Record (40) │ first path │ second path │ 0…7    │  sizes are multiples of 8
//!         └─────────────┴────────────┴─────────────┴────────┘
//! ```
//!
//! Taking units is one atomic addition in the header, taking room for a record one in the chunk: threads, children of `vfork` and signal
//! handlers may write at once. A record counts when its `seal` is written, which depends on where it stands: what a
//! process left behind that was killed in the midst of it is passed over, and so is whatever else is no record. All
//! integers are in the machine's byte order.
//!
//! Paths are as the process named them: absolute, or relative to the process's working directory, which it tells with
//! [`kind::START`] before the first such path and with [`kind::CHDIR`] and [`kind::FCHDIR`] when it changes.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::Plain;

/// First word of the file: "GGL" and the version of this layout.
pub const MAGIC: u64 = u64::from_le_bytes(*b"GGLOG\x00\x00\x02");
/// The header's size: the first unit begins here.
pub const PAGE: u64 = 4096;
/// The size of a unit.
pub const UNIT: u64 = 16 * 1024;
/// No chunk has more units.
pub const MAX_UNITS: u32 = 4;
/// Longest string in a record; the kernel takes no longer path.
pub const MAX_STRING: usize = 4096;

/// The first bytes of the file.
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u64,
    /// How many units the file has room for.
    pub units: u64,
    /// The first unit that nobody has taken.
    pub next: AtomicU64,
    /// The number of the next record, or other event of the recording.
    pub sequence: AtomicU64,
    /// How often the working directory of a process was changed without a record (seen by the kernel's side of the recorder): interceptors
    /// then tell where they are before their next relative path.
    pub moves: AtomicU64,
    /// How many records could not be written although the call was already made.
    pub lost: AtomicU64,
    /// Not zero: placeholders may stand somewhere, and who opens a directory may have to wait for them.
    pub placeholders: AtomicU64,
    /// What processes of the build have changed.
    pub changed: Changed,
}

/// The names that were changed: last components of paths at which something was made, opened for writing, renamed,
/// linked, removed, or got other attributes. Told before whoever did it goes on, so that what happened before a request
/// is known when the request comes. A name is never forgotten; some others are taken for changed.
#[repr(C)]
pub struct Changed {
    /// Not zero: something was changed of which no name is known.
    all: AtomicU64,
    bits: [AtomicU64; WORDS],
}

/// As many as fill the header's page.
const WORDS: usize = 504;
/// The bits that stand for a name.
const BITS_OF_A_NAME: usize = 3;

impl Changed {
    /// Something at this path was changed, or will be.
    pub fn note(&self, path: &[u8]) {
        let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
        let name =
            path.get(..end).unwrap_or_default().rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        // The directory itself, or the one above it, under whatever name.
        if matches!(name, b"" | b"." | b"..") {
            return self.note_all();
        }
        for (word, bit) in places(name_hash(name)) {
            if let Some(word) = self.bits.get(word)
                && word.load(Ordering::Relaxed) & bit == 0
            {
                word.fetch_or(bit, Ordering::Release);
            }
        }
    }

    /// Something was changed, and nobody knows what.
    pub fn note_all(&self) {
        self.all.store(1, Ordering::Release);
    }

    /// Is there a change of which no name is known?
    pub fn is_all(&self) -> bool {
        self.all.load(Ordering::Acquire) != 0
    }

    /// May something of this name have been changed?
    pub fn has(&self, name: &[u8]) -> bool {
        self.has_hashed(name_hash(name))
    }

    /// The same for the name with this [`name_hash`].
    pub fn has_hashed(&self, hash: u64) -> bool {
        places(hash)
            .into_iter()
            .all(|(word, bit)| self.bits.get(word).is_none_or(|word| word.load(Ordering::Acquire) & bit != 0))
    }

    /// A number that grows whenever [`Changed::has`] says something else than before.
    pub fn extent(&self) -> u64 {
        self.bits.iter().map(|word| u64::from(word.load(Ordering::Acquire).count_ones())).sum()
    }
}

/// What stands for a name: FNV-1a.
#[must_use]
pub fn name_hash(name: &[u8]) -> u64 {
    name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Where the bits of a name are: what a multiplication makes of its hash.
fn places(hash: u64) -> [(usize, u64); BITS_OF_A_NAME] {
    let mut mixed = hash;
    [(); BITS_OF_A_NAME].map(|()| {
        mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = (mixed >> 16) as usize % (WORDS * 64);
        (place / 64, 1 << (place % 64))
    })
}

/// The first bytes of a chunk.
#[repr(C)]
pub struct Chunk {
    /// [`chunk_seal`] of the chunk's first unit; zero before it is filled in and after it was read.
    pub seal: AtomicU32,
    /// How many units it has.
    pub units: u32,
    /// The process that took it.
    pub process: u32,
    /// The command that this process belongs to.
    pub command: u32,
    /// Bytes that are taken, from the start of the chunk; more than it has once it is full.
    pub used: AtomicU32,
    /// Its first unit.
    pub unit: u32,
    /// Zero.
    pub reserved: [u32; 10],
}

/// The fixed part of a record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// [`record_seal`]; written last.
    pub seal: u32,
    /// Bytes of the whole record.
    pub size: u32,
    /// Orders the records of all processes.
    pub sequence: u64,
    /// The process.
    pub process: u32,
    /// One of [`kind`].
    pub kind: u16,
    /// Bits of [`bits`].
    pub bits: u16,
    /// What the call gave: not negative, or an errno, negated.
    pub result: i32,
    /// What else there is to know, by kind.
    pub value: u32,
    /// Length of the first string.
    pub first: u16,
    /// Length of the second string.
    pub second: u16,
    /// Zero.
    pub reserved: u32,
}

// SAFETY: repr(C), integers only, without padding: 4 + 4 + 8 + 4 + 2 + 2 + 4 + 4 + 2 + 2 + 4.
unsafe impl Plain for Record {}

const _: () =
    assert!(size_of::<Record>() == 40 && size_of::<Chunk>() == 64 && size_of::<Header>() as u64 <= PAGE);

/// What a record says. "Path" is its first string, "other" its second; they are empty where nothing is said of them.
pub mod kind {
    /// The process is here: path is its working directory; empty if that has no path. Before its first
    /// relative path, and whenever it cannot be sure.
    pub const START: u16 = 1;
    /// Something was asked about a path (stat, access, readlink, …).
    pub const LOOKUP: u16 = 2;
    /// A path was opened; value: the flags of `open`.
    pub const OPEN: u16 = 3;
    /// The entries of a directory are read.
    pub const LIST: u16 = 4;
    /// `truncate`; value: 1 if to nothing.
    pub const TRUNCATE: u16 = 5;
    /// A directory, device, pipe or socket was made.
    pub const MAKE: u16 = 6;
    /// A symbolic link was made at path, other is its target.
    pub const SYMLINK: u16 = 7;
    /// A hard link to path was made at other.
    pub const LINK: u16 = 8;
    /// Path was renamed to other; value: the flags of `renameat2`.
    pub const RENAME: u16 = 9;
    /// A name was removed.
    pub const REMOVE: u16 = 10;
    /// Mode, owner, times or extended attributes were changed.
    pub const ATTRIBUTES: u16 = 11;
    /// Path is about to be executed; value: the id of its command. If that fails, the next record of this process is
    /// another one of this kind, with the errno.
    pub const EXEC: u16 = 12;
    /// The working directory was changed to path; other is what it is now.
    pub const CHDIR: u16 = 13;
    /// The same through a descriptor: other is what it is now.
    pub const FCHDIR: u16 = 14;
    /// `realpath`: path was resolved to other, each name on the way looked at; if it failed, other is the one that could not be.
    pub const REALPATH: u16 = 15;
    /// A socket was opened that is not of this machine only.
    pub const NETWORK: u16 = 16;
    /// A call named a path that could not be told.
    pub const GAP: u16 = 17;
}

/// Bits of [`Record::bits`].
pub mod bits {
    /// `OPEN`: the file was not there before.
    pub const CREATED: u16 = 1;
    /// `OPEN`: what it is was looked at: a directory, something special, or a file.
    pub const KNOWN: u16 = 2;
    /// With [`KNOWN`]: it is a directory.
    pub const DIRECTORY: u16 = 4;
    /// With [`KNOWN`]: it is a device, a pipe or a socket.
    pub const SPECIAL: u16 = 8;
    /// Where the errno does not tell (`ENOTDIR`, or one of two paths): there is something at the first path.
    pub const FIRST_EXISTS: u16 = 16;
    /// The same of the second.
    pub const SECOND_EXISTS: u16 = 32;
}

/// Does an open with these flags, as Linux numbers them, change what stands there?
#[must_use]
pub const fn opens_to_change(flags: u32) -> bool {
    const ACCESS: u32 = 3;
    const CREATE: u32 = 0o100;
    const TRUNCATE: u32 = 0o1000;
    flags & (ACCESS | CREATE | TRUNCATE) != 0
}

/// What [`Chunk::seal`] is in a chunk that begins with this unit.
#[must_use]
pub const fn chunk_seal(unit: u64) -> u32 {
    (unit as u32).wrapping_mul(0x9e37_79b1) ^ 0x4347_4721
}

/// What [`Record::seal`] is in a record of this size, at this offset of the chunk that begins with this unit. Never zero.
#[inline]
#[must_use]
pub const fn record_seal(unit: u64, offset: u32, size: u32) -> u32 {
    let mixed =
        (unit as u32).wrapping_mul(0x9e37_79b1) ^ offset.wrapping_mul(0x85eb_ca6b) ^ size.rotate_left(20);
    mixed | 1
}

/// Where a unit is in the file.
#[must_use]
pub const fn unit_offset(unit: u64) -> u64 {
    PAGE + unit * UNIT
}

/// The size of a record with strings of these lengths.
#[inline]
#[must_use]
pub const fn record_size(first: usize, second: usize) -> usize {
    (size_of::<Record>() + first + second).next_multiple_of(8)
}

/// A record and its strings.
pub type Entry<'a> = (Record, &'a [u8], &'a [u8]);

/// The records in the bytes of a chunk that begins with this unit, in the order in which they stand there. Anything may be in `bytes`: what
/// is no record is passed over.
pub fn records(unit: u64, bytes: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut offset = size_of::<Chunk>();
    core::iter::from_fn(move || {
        while offset < bytes.len() {
            match record_at(unit, bytes, offset) {
                Some(entry) => {
                    offset += entry.0.size as usize;
                    return Some(entry);
                }
                None => offset += 8,
            }
        }
        None
    })
}

fn record_at(unit: u64, bytes: &[u8], offset: usize) -> Option<Entry<'_>> {
    let rest = bytes.get(offset..)?;
    let mut record = Record::default();
    record.as_bytes_mut().copy_from_slice(rest.get(..size_of::<Record>())?);
    let (first, second) = (usize::from(record.first), usize::from(record.second));
    let expected = record_size(first, second);
    if record.seal != record_seal(unit, u32::try_from(offset).ok()?, record.size)
        || record.size as usize != expected
        || first > MAX_STRING
        || second > MAX_STRING
    {
        return None;
    }
    let strings = rest.get(..expected)?.get(size_of::<Record>()..)?;
    Some((record, strings.get(..first)?, strings.get(first..first + second)?))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    fn push(bytes: &mut Vec<u8>, unit: u64, number: u64, path: &[u8]) {
        let size = record_size(path.len(), 0) as u32;
        let record = Record {
            seal: record_seal(unit, bytes.len() as u32, size),
            size,
            sequence: number,
            kind: kind::LOOKUP,
            first: path.len() as u16,
            ..Record::default()
        };
        let end = bytes.len() + size as usize;
        bytes.extend_from_slice(record.as_bytes());
        bytes.extend_from_slice(path);
        bytes.resize(end, 0);
    }

    #[test]
    fn what_is_no_record_is_passed_over() {
        let mut bytes = std::vec![0; size_of::<Chunk>()];
        push(&mut bytes, 7, 1, b"/a");
        // Taken, and never filled in.
        bytes.resize(bytes.len() + 48, 0);
        push(&mut bytes, 7, 2, b"/some/longer/path");
        // Moved here from elsewhere: its seal does not fit.
        let copy = bytes[size_of::<Chunk>()..][..48].to_vec();
        bytes.extend(copy);
        push(&mut bytes, 7, 3, b"");
        let found: Vec<_> = records(7, &bytes).map(|(record, path, _)| (record.sequence, path)).collect();
        assert_eq!(found, [(1, &b"/a"[..]), (2, b"/some/longer/path"), (3, b"")]);
        assert_eq!(records(8, &bytes).count(), 0);
        for cut in 0..bytes.len() {
            assert!(records(7, &bytes[..cut]).count() <= 3);
        }
    }

    #[test]
    fn changed_names_are_the_last_of_their_paths_and_never_forgotten() {
        // SAFETY: atomics, for which zero is a value.
        let changed: Changed = unsafe { core::mem::zeroed() };
        assert!(!changed.has(b"config.h") && changed.extent() == 0);
        changed.note(b"../include/config.h");
        changed.note(b"build//");
        assert!(changed.has(b"config.h") && changed.has(b"build") && !changed.has(b"include"));
        let extent = changed.extent();
        changed.note(b"/elsewhere/config.h");
        assert_eq!(changed.extent(), extent);
        changed.note(b"other.h");
        assert!(changed.extent() > extent && !changed.is_all());
        for number in 0..1000 {
            changed.note(std::format!("{number}.o").as_bytes());
        }
        let wrong = (0..10_000).filter(|n| changed.has(std::format!("x{n}.h").as_bytes())).count();
        assert!(wrong < 100, "{wrong}");
        changed.note(b"a/..");
        assert!(changed.is_all());
    }

    #[test]
    fn seals_are_never_what_untouched_memory_holds() {
        assert!((0..100_000).all(|unit| chunk_seal(unit) != 0));
        assert!((0..100_000).all(|offset| record_seal(u64::from(offset), offset, offset) != 0));
    }
}
