// SPDX-License-Identifier: Apache-2.0
//! The shared log, seen from the recorder: makes the file, finds the chunks of a command, has their records turned into
//! events, and gives the memory back. Knows the layout ([`wire::log`]), and nothing of decisions or thunks.
//!
//! Any process of the build can write anything into the file. So it is read by copying, never mapped, but for the
//! header's counters; and what is no record is passed over. It lives in memory without a name (processes open it
//! through our descriptor), cannot be cut short, and is gone with us.

#[path = "log/decode.rs"]
mod decode;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use observe::{Event, Pid};
use thunk::Led;
use wire::log::{Changed, Chunk, Header, MAGIC, MAX_UNITS, PAGE, UNIT, chunk_seal, unit_offset};

/// The file's size: room for as many processes as a build may have. Only what is written takes memory.
const SIZE: u64 = 1 << 36;
/// So many units of what was read stay in memory.
const KEPT: u64 = (1 << 20) / UNIT;

/// Something that a process did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place among all events of the recording. Those of one record have the same, and are in order.
    pub sequence: u64,
    /// Who did it.
    pub process: Pid,
    /// For the execution of a program: the command that begins.
    pub begins: Option<u32>,
    /// What.
    pub event: Event,
}

/// Who knows where paths lead, as far as that can be told without looking.
pub trait Ways {
    /// Where a path leads.
    fn leads(&self, path: &Path) -> Option<Led>;
    /// The real path of a directory.
    fn directory(&self, path: &Path) -> Option<PathBuf>;
    /// As [`observe::executed`], in no directory.
    fn executed(&self, path: &Path) -> Arc<[Event]>;
    /// The same of a program that was there and may be gone.
    fn executed_before(&self, path: &Path) -> Option<Arc<[Event]>>;
}

/// The log of a recording.
#[derive(Debug)]
pub struct Log {
    file: File,
    /// How many units it has, which nobody can change.
    units: u64,
    path: PathBuf,
    header: Mapped,
    state: Mutex<State>,
    /// What is read goes here: fresh memory would be cleared first, each time.
    memory: Mutex<Vec<u8>>,
}

/// The header, mapped.
#[derive(Debug)]
struct Mapped(NonNull<Header>);

// SAFETY: what is behind it are atomics, and integers that are not written to any more.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped by `Log::create` with this size; nothing refers to it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), PAGE as usize) };
    }
}

#[derive(Debug, Default)]
struct State {
    /// Units of the file that were looked at, or are in `unknown`.
    seen: u64,
    /// Taken, but the chunk's header was not written yet.
    unknown: Vec<Range<u64>>,
    /// Chunks that nobody has taken.
    chunks: Vec<Found>,
    /// Those that were read, whose memory we still have.
    read: Vec<Range<u64>>,
}

/// Whose records are in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The command that was named in the environment of the process that took it.
    pub command: u32,
    /// That process. Records of those that it forked may be in it, too.
    pub process: Pid,
}

/// A chunk.
#[derive(Clone, Copy, Debug)]
struct Found {
    unit: u64,
    /// How many units it has.
    units: u32,
    owner: Owner,
}

impl Log {
    /// A new log.
    ///
    /// # Errors
    /// The kernel gives no memory, or a limit of this process forbids a file as large.
    pub fn create() -> io::Result<Self> {
        // SAFETY: the name is a string; the call gives a descriptor.
        let fd = unsafe {
            libc::memfd_create(c"ggtrace-log".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor.
        let file = unsafe { File::from_raw_fd(fd) };
        let size = SIZE.min(largest_file());
        file.set_len(size)?;
        // SAFETY: numbers only. Who shortens a file that others have mapped would kill them.
        unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW) };
        file.write_all_at(&MAGIC.to_ne_bytes(), 0)?;
        let units = size.saturating_sub(PAGE) / UNIT;
        file.write_all_at(&units.to_ne_bytes(), size_of::<u64>() as u64)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping of the file's first page, which exists and stays.
        let mapped =
            unsafe { libc::mmap(std::ptr::null_mut(), PAGE as usize, protection, libc::MAP_SHARED, fd, 0) };
        let header = NonNull::new(mapped.cast()).filter(|_| mapped != libc::MAP_FAILED);
        let header = Mapped(header.ok_or_else(io::Error::last_os_error)?);
        let path = format!("/proc/{}/fd/{fd}", std::process::id()).into();
        Ok(Self { file, units, path, header, state: Mutex::default(), memory: Mutex::default() })
    }

    fn header(&self) -> &Header {
        // SAFETY: mapped for as long as we live; its fields are atomics or integers that only `create` writes.
        unsafe { self.header.0.as_ref() }
    }

    /// A thread that panicked while it had the state left a chunk out, at worst.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path by which interceptors find it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next number, for an event that comes from elsewhere.
    pub fn next_sequence(&self) -> u64 {
        self.header().sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// A process changed its directory, or is about to, and no interceptor knows: each finds out anew where it is.
    pub fn note_move(&self) {
        self.header().moves.fetch_add(1, Ordering::Relaxed);
    }

    /// From now on placeholders may stand somewhere.
    pub fn note_placeholders(&self) {
        self.header().placeholders.store(1, Ordering::Release);
    }

    /// The names of what the build has changed.
    pub fn changed(&self) -> &Changed {
        &self.header().changed
    }

    /// How many records could not be written.
    pub fn lost(&self) -> u64 {
        self.header().lost.load(Ordering::Relaxed)
    }

    /// Who has chunks that were not taken.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn owners(&self) -> io::Result<BTreeSet<Owner>> {
        let mut state = self.state();
        self.find_chunks(&mut state)?;
        Ok(state.chunks.iter().map(|chunk| chunk.owner).collect())
    }

    /// What these have recorded, who should have ended, in order; looked up where `ways` does not know. Their chunks
    /// are given back: what one that goes on does later is in new ones.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn take(&self, of: impl Fn(Owner) -> bool, ways: Option<&dyn Ways>) -> io::Result<Vec<Entry>> {
        let chunks: Vec<Found> = {
            let mut state = self.state();
            self.find_chunks(&mut state)?;
            state.chunks.extract_if(.., |chunk| of(chunk.owner)).collect()
        };
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let mut contents = Vec::with_capacity(chunks.len());
        let mut given = Vec::with_capacity(chunks.len());
        let mut end = 0;
        for chunk in chunks {
            let begin = end;
            end += self.read(chunk.unit, chunk.units, &mut memory, begin)?;
            contents.push((chunk.unit, begin..end));
            self.close(chunk.unit)?;
            given.push(chunk.unit..chunk.unit + u64::from(chunk.units));
        }
        self.give_back(given);
        // As many as there can be: room that is made step by step is copied each time.
        let mut records = Vec::with_capacity(end / size_of::<wire::log::Record>());
        for (unit, at) in contents {
            records.extend(memory.get(at).into_iter().flat_map(|bytes| wire::log::records(unit, bytes)));
        }
        Ok(decode::events(records, ways))
    }

    /// What these, who go on, have changed, of the events with these numbers: all of it is there to be taken later. A build driver goes
    /// on for as long as the build, and most of what it has recorded are looks.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn changes(
        &self,
        of: impl Fn(Owner) -> bool,
        numbers: &Range<u64>,
        ways: Option<&dyn Ways>,
    ) -> io::Result<Vec<Entry>> {
        // Until it has been read nobody else takes it.
        let mut state = self.state();
        self.find_chunks(&mut state)?;
        let mut contents = Vec::new();
        for chunk in state.chunks.iter().filter(|chunk| of(chunk.owner)) {
            let mut memory = Vec::new();
            let length = self.read(chunk.unit, chunk.units, &mut memory, 0)?;
            memory.truncate(length);
            contents.push((chunk.unit, memory));
        }
        drop(state);
        let records = contents.iter().flat_map(|(unit, bytes)| wire::log::records(*unit, bytes));
        let changes = records.filter(|(record, ..)| {
            decode::moves(record) || numbers.contains(&record.sequence) && decode::changes(record)
        });
        Ok(decode::events(changes.collect(), ways))
    }

    /// Reads the used part of a chunk to this place in memory; tells its length.
    fn read(&self, unit: u64, units: u32, memory: &mut Vec<u8>, at: usize) -> io::Result<usize> {
        let mut head = [0; size_of::<Chunk>()];
        self.file.read_exact_at(&mut head, unit_offset(unit))?;
        let used = word(&head, std::mem::offset_of!(Chunk, used)) as usize;
        let used = used.min(units as usize * UNIT as usize);
        if memory.len() < at + used {
            memory.resize(at + used, 0);
        }
        self.file.read_exact_at(&mut memory[at..at + used], unit_offset(unit))?;
        Ok(used)
    }

    /// Who goes on in a chunk that was read takes another one: it has no seal any more.
    fn close(&self, unit: u64) -> io::Result<()> {
        self.file.write_all_at(&[0; size_of::<Chunk>()], unit_offset(unit))
    }

    /// Gives the memory of chunks back that were read: of many at once, because whoever has them mapped, on whatever processor, is
    /// interrupted each time.
    fn give_back(&self, read: Vec<Range<u64>>) {
        let many = {
            let mut state = self.state();
            state.read.extend(read);
            if state.read.iter().map(|range| range.end - range.start).sum::<u64>() < KEPT {
                return;
            }
            std::mem::take(&mut state.read)
        };
        let how = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        for range in joined(many) {
            let (offset, length) =
                (unit_offset(range.start) as i64, ((range.end - range.start) * UNIT) as i64);
            // SAFETY: numbers only; if it fails the memory stays for longer.
            unsafe { libc::fallocate(self.file.as_raw_fd(), how, offset, length) };
        }
    }

    /// Looks at what was taken since the last time.
    fn find_chunks(&self, state: &mut State) -> io::Result<()> {
        let next = self.header().next.load(Ordering::Acquire).min(self.units);
        if next > state.seen {
            state.unknown.push(state.seen..next);
            state.seen = next;
        }
        let ranges = std::mem::take(&mut state.unknown);
        for range in ranges {
            let mut unit = range.start;
            // Where those begin that stay unknown.
            let mut start = unit;
            while let Some(found) = self.next_with_data(unit).filter(|found| range.contains(found)) {
                unit = found;
                match self.chunk_at(unit)? {
                    Some((units, owner)) => {
                        state.chunks.push(Found { unit, units, owner });
                        if start < unit {
                            state.unknown.push(start..unit);
                        }
                        unit += u64::from(units);
                        start = unit;
                    }
                    None => unit += 1,
                }
            }
            if start < range.end {
                state.unknown.push(start..range.end);
            }
        }
        Ok(())
    }

    /// The first unit from this one on that has been written to.
    fn next_with_data(&self, unit: u64) -> Option<u64> {
        // SAFETY: numbers only; nobody uses the file's position.
        let at = unsafe { libc::lseek(self.file.as_raw_fd(), unit_offset(unit) as i64, libc::SEEK_DATA) };
        Some(u64::try_from(at).ok()?.saturating_sub(PAGE) / UNIT)
    }

    /// How many units the chunk has that begins here, and whose it is.
    fn chunk_at(&self, unit: u64) -> io::Result<Option<(u32, Owner)>> {
        let mut bytes = [0; size_of::<Chunk>()];
        self.file.read_exact_at(&mut bytes, unit_offset(unit))?;
        let field = |offset| word(&bytes, offset);
        let units = field(std::mem::offset_of!(Chunk, units));
        let fits = (1..=MAX_UNITS).contains(&units) && unit + u64::from(units) <= self.units;
        let is_chunk = field(std::mem::offset_of!(Chunk, seal)) == chunk_seal(unit) && fits;
        let owner = Owner {
            command: field(std::mem::offset_of!(Chunk, command)),
            process: Pid::try_from(field(std::mem::offset_of!(Chunk, process))).unwrap_or(0),
        };
        Ok(is_chunk.then_some((units, owner)))
    }
}

/// The same ranges, which are apart, in as few as can be.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}

/// The integer at this offset; zero where there is none.
fn word(bytes: &[u8], offset: usize) -> u32 {
    let found = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    found.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// This process may not make a file larger: it would be killed.
fn largest_file() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call fills in the structure.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) } == 0;
    if known { limit.rlim_cur } else { u64::MAX }
}

#[cfg(test)]
#[path = "log/tests.rs"]
mod tests;
