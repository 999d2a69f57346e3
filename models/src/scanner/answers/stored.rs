// SPDX-License-Identifier: Apache-2.0
//! Answers as bytes, for the next recording: what each rests on, in tables, so that what commands share is there once. Paths in the
//! project are relative to it. Whatever bytes come back, reading them gives answers or nothing. Unaware of what is true now.
//!
//! ```text
//! magic, names, directories, files, sets, answers, hash of all that
//! ```
//! Numbers are in LEB128, as in protobuf; lists have their length first; numbers in sorted lists stand as differences.

use super::super::disk::Stamp;
use super::super::intern::hash;
use super::super::tree::Slot;

/// Another one with each change of the format, or of what the scanner finds.
pub(super) const MAGIC: &[u8] = b"gg includes 2\n";

/// What answers rest on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub names: Vec<Box<[u8]>>,
    pub dirs: Vec<StoredDir>,
    pub files: Vec<StoredFile>,
    /// Files of one directory each, none of them empty, sorted.
    pub sets: Vec<Vec<u32>>,
    pub answers: Vec<StoredAnswer>,
}

/// A directory, and what it said of the names that it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredDir {
    /// As [`Project::relative`](super::Project::relative) makes it.
    pub path: Box<[u8]>,
    /// The directory in which it has this name, if it was found there. Comes before it.
    pub parent: Option<(u32, u32)>,
    /// Does it exist?
    pub exists: bool,
    /// If it can be relied on.
    pub stamp: Option<Stamp>,
    pub slots: Vec<(u32, Slot)>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredFile {
    pub dir: u32,
    pub name: u32,
    /// What is in it, where that matters.
    pub content: Option<StoredContent>,
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredContent {
    /// If it can be relied on.
    pub stamp: Option<Stamp>,
    pub digest: [u8; 32],
}

/// What one command may read: sets of files, and directories. All lists are sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredAnswer {
    pub key: u128,
    pub follow: Vec<u32>,
    pub touch: Vec<u32>,
    pub through: Vec<u32>,
    pub watch: Vec<u32>,
}

/// Directories that are further down than this are in no answer: each is found by the one above, which takes room on the stack.
const DEEP: u32 = 500;

const SLOTS: [Slot; 5] = [Slot::Absent, Slot::File, Slot::Linked, Slot::Other, Slot::Loose];

impl Stored {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Out(MAGIC.to_vec());
        out.list(&self.names, |out, name| out.bytes(name));
        out.list(&self.dirs, |out, dir| {
            out.bytes(&dir.path);
            out.number(dir.parent.map_or(0, |(parent, _)| u64::from(parent) + 1));
            out.number(dir.parent.map_or(0, |(_, name)| u64::from(name)));
            out.number(u64::from(dir.exists));
            out.stamp(dir.stamp.as_ref());
            out.list(&dir.slots, |out, (name, slot)| {
                let slot = SLOTS.iter().position(|s| s == slot).unwrap_or(0);
                out.number(u64::from(*name) * SLOTS.len() as u64 + slot as u64);
            });
        });
        out.list(&self.files, |out, file| {
            out.number(u64::from(file.dir));
            out.number(u64::from(file.name));
            out.number(u64::from(file.content.is_some()));
            if let Some(content) = &file.content {
                out.stamp(content.stamp.as_ref());
                out.0.extend_from_slice(&content.digest);
            }
        });
        out.list(&self.sets, |out, set| out.sorted(set));
        out.list(&self.answers, |out, answer| {
            out.0.extend_from_slice(&answer.key.to_le_bytes());
            for list in [&answer.follow, &answer.touch, &answer.through, &answer.watch] {
                out.sorted(list);
            }
        });
        let check = hash(&out.0);
        out.0.extend_from_slice(&check.to_le_bytes());
        out.0
    }

    /// Nothing where these bytes are not what [`encode`](Self::encode) gives.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, check) = bytes.split_last_chunk::<8>()?;
        if hash(content) != u64::from_le_bytes(*check) {
            return None;
        }
        let mut input = In(content.strip_prefix(MAGIC)?);
        let names = input.list(|input| input.bytes().map(Into::into))?;
        let known = Limits { names: names.len() as u64, ..Limits::default() };
        let mut depths: Vec<u32> = Vec::new();
        let dirs = input.list(|input| {
            let dir = input.dir(&Limits { dirs: depths.len() as u64, ..known })?;
            depths.push(dir.parent.map_or(0, |(parent, _)| depths[parent as usize] + 1));
            depths.last().is_some_and(|depth| *depth <= DEEP).then_some(dir)
        })?;
        let known = Limits { dirs: dirs.len() as u64, ..known };
        let files = input.list(|input| input.file(&known))?;
        let known = Limits { files: files.len() as u64, ..known };
        let sets = input.list(|input| input.set(&dirs, &files, &known))?;
        let known = Limits { sets: sets.len() as u64, ..known };
        let answers = input.list(|input| input.answer(&known))?;
        input.0.is_empty().then_some(Self { names, dirs, files, sets, answers })
    }
}

struct Out(Vec<u8>);

impl Out {
    fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn list<T>(&mut self, list: &[T], each: impl Fn(&mut Self, &T)) {
        self.number(list.len() as u64);
        for element in list {
            each(self, element);
        }
    }

    fn sorted(&mut self, numbers: &[u32]) {
        self.number(numbers.len() as u64);
        let mut last = 0;
        for &number in numbers {
            self.number(u64::from(number.wrapping_sub(last)));
            last = number;
        }
    }

    fn stamp(&mut self, stamp: Option<&Stamp>) {
        self.number(u64::from(stamp.is_some()));
        if let Some(Stamp { dev, ino, size, mtime, ctime, mode, shared }) = stamp {
            for n in [*dev, *ino, *size, *mtime as u64, *ctime as u64, u64::from(*mode), u64::from(*shared)] {
                self.number(n);
            }
        }
    }
}

/// How many there are of each: numbers are below these.
#[derive(Clone, Copy, Default)]
struct Limits {
    names: u64,
    dirs: u64,
    files: u64,
    sets: u64,
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(n);
            }
        }
        None
    }

    fn below(&mut self, limit: u64) -> Option<u32> {
        self.number().filter(|&n| n < limit)?.try_into().ok()
    }

    fn flag(&mut self) -> Option<bool> {
        self.below(2).map(|n| n == 1)
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length.try_into().ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length)
    }

    fn list<T>(&mut self, mut each: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let length = self.number()?;
        // Each takes a byte at least, so that no length makes it reserve what is not there.
        if length > self.0.len() as u64 {
            return None;
        }
        (0..length).map(|_| each(self)).collect()
    }

    fn sorted(&mut self, limit: u64) -> Option<Vec<u32>> {
        let mut last = 0u64;
        self.list(|input| {
            last = last.checked_add(input.number()?).filter(|&n| n < limit)?;
            last.try_into().ok()
        })
    }

    fn stamp(&mut self) -> Option<Option<Stamp>> {
        if !self.flag()? {
            return Some(None);
        }
        let [dev, ino, size] = [self.number()?, self.number()?, self.number()?];
        let [mtime, ctime] = [self.number()? as i64, self.number()? as i64];
        let (mode, shared) = (self.number()?.try_into().ok()?, self.flag()?);
        Some(Some(Stamp { dev, ino, size, mtime, ctime, mode, shared }))
    }

    fn dir(&mut self, known: &Limits) -> Option<StoredDir> {
        let path = self.bytes()?.into();
        let parent = self.number()?.checked_sub(1);
        let name = self.below(known.names.max(1))?;
        let parent = match parent {
            Some(parent) if parent < known.dirs && known.names > 0 => Some((parent as u32, name)),
            Some(_) => return None,
            None => None,
        };
        let (exists, stamp) = (self.flag()?, self.stamp()?);
        let slots = self.list(|input| {
            let both = input.number()?;
            let (name, slot) = (both / SLOTS.len() as u64, both % SLOTS.len() as u64);
            (name < known.names).then(|| (name as u32, SLOTS[slot as usize]))
        })?;
        Some(StoredDir { path, parent, exists, stamp, slots })
    }

    fn file(&mut self, known: &Limits) -> Option<StoredFile> {
        let (dir, name) = (self.below(known.dirs)?, self.below(known.names)?);
        let content = if self.flag()? {
            let stamp = self.stamp()?;
            Some(StoredContent { stamp, digest: self.take(32)?.try_into().ok()? })
        } else {
            None
        };
        Some(StoredFile { dir, name, content })
    }

    fn set(&mut self, dirs: &[StoredDir], files: &[StoredFile], known: &Limits) -> Option<Vec<u32>> {
        let set = self.sorted(known.files)?;
        let (first, rest) = set.split_first()?;
        let dir = |file: &u32| files[*file as usize].dir;
        // One directory may have several rows, by what it said at which time.
        let path = |file: &u32| &dirs[dir(file) as usize].path;
        rest.iter().all(|file| dir(file) == dir(first) || path(file) == path(first)).then_some(set)
    }

    fn answer(&mut self, known: &Limits) -> Option<StoredAnswer> {
        let key = u128::from_le_bytes(self.take(16)?.try_into().ok()?);
        let [follow, touch] = [self.sorted(known.sets)?, self.sorted(known.sets)?];
        let [through, watch] = [self.sorted(known.dirs)?, self.sorted(known.dirs)?];
        Some(StoredAnswer { key, follow, touch, through, watch })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Stored {
        let stamp =
            Stamp { dev: 1, ino: 2, size: 3, mtime: -4, ctime: i64::MAX, mode: 0o100_644, shared: true };
        let dir = |path: &[u8], parent, stamp: Option<Stamp>| StoredDir {
            path: path.into(),
            parent,
            exists: stamp.is_some(),
            stamp,
            slots: vec![(1, Slot::Linked), (0, Slot::Absent), (2, Slot::Loose)],
        };
        let content = StoredContent { stamp: Some(stamp), digest: [7; 32] };
        Stored {
            names: vec![b"a.h".as_slice().into(), b"".as_slice().into(), vec![b'x'; 300].into()],
            dirs: vec![dir(b"\0", None, Some(stamp)), dir(b"/usr/include", Some((0, 2)), None)],
            files: vec![
                StoredFile { dir: 1, name: 0, content: Some(content) },
                StoredFile { dir: 0, name: 2, content: None },
                StoredFile { dir: 1, name: 2, content: None },
            ],
            sets: vec![vec![0, 2], vec![1]],
            answers: vec![
                StoredAnswer {
                    key: u128::MAX,
                    follow: vec![0, 1],
                    touch: vec![],
                    through: vec![1],
                    watch: vec![0],
                },
                StoredAnswer { key: 0, follow: vec![], touch: vec![1], through: vec![], watch: vec![0, 1] },
            ],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        for stored in [example(), Stored::default()] {
            assert_eq!(Stored::decode(&stored.encode()), Some(stored));
        }
    }

    #[test]
    fn numbers_that_lead_nowhere_are_refused() {
        let refused = |change: fn(&mut Stored)| {
            let mut stored = example();
            change(&mut stored);
            assert_eq!(Stored::decode(&stored.encode()), None);
        };
        refused(|s| s.dirs[1].parent = Some((1, 0)));
        refused(|s| s.dirs[1].parent = Some((0, 3)));
        refused(|s| {
            let below = |parent| StoredDir { parent: Some((parent, 0)), ..s.dirs[1].clone() };
            let more: Vec<_> = (1..=DEEP).map(below).collect();
            s.dirs.extend(more);
        });
        refused(|s| s.dirs[0].slots[0].0 = 3);
        refused(|s| s.files[0].dir = 2);
        refused(|s| s.files[0].name = 3);
        refused(|s| s.sets[1] = vec![3]);
        refused(|s| s.sets[1] = vec![]);
        refused(|s| s.sets[1] = vec![0, 1]);
        refused(|s| s.answers[0].follow = vec![0, 2]);
        refused(|s| s.answers[0].watch = vec![2]);
    }

    proptest! {
        #[test]
        fn damage_is_noticed_and_nothing_panics(at in 0usize..400, with in any::<u8>(), end in 0usize..400) {
            let whole = example().encode();
            let mut bytes = whole.clone();
            let at = at % bytes.len();
            bytes[at] = with;
            bytes.truncate(bytes.len() - end % 3 * end % bytes.len());
            prop_assert!(bytes == whole || Stored::decode(&bytes).is_none());
            // As if the hash were right.
            let content = bytes.len().saturating_sub(8);
            bytes.truncate(content);
            bytes.extend_from_slice(&hash(&bytes.clone()).to_le_bytes());
            if let Some(stored) = Stored::decode(&bytes) {
                prop_assert!(stored.answers.iter().flat_map(|a| &a.follow).all(|&s| (s as usize) < stored.sets.len()));
            }
        }
    }
}
