// SPDX-License-Identifier: Apache-2.0
//! The shared log, seen from the recorder: makes the file, finds the chunks of a command, turns their records into events, and gives the memory
//! back. Knows the layout ([`wire::log`]) and [`observe::Event`], and nothing of decisions or thunks.
//!
//! Any process of the build can write anything into the file. So it is read by copying, never mapped, but for the header's counters; and what
//! is no record is passed over. It lives in memory without a name (processes open it through our descriptor), cannot be cut short, and is gone
//! with us.
//!
//! What a record does not say is looked at when it is read: where links lead, of what kind a file is that was opened for writing. That is after the
//! command's end, when temporary files are gone: those are taken for ordinary files.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::{Component, Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use observe::{Access, Event, Kind, Pid, Place, Transfer, is_about_paths, tidy};
use wire::log::{Chunk, Header, MAGIC, MAX_UNITS, PAGE, Record, UNIT, bits, chunk_seal, kind, unit_offset};

/// The file's size: room for as many processes as a build may have. Only what is written takes memory.
const SIZE: u64 = 1 << 36;
/// As many links as the kernel follows.
const MAX_LINKS: u32 = 40;

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

/// The log of a recording.
#[derive(Debug)]
pub struct Log {
    file: File,
    path: PathBuf,
    header: Mapped,
    state: Mutex<State>,
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
        Ok(Self { file, path, header, state: Mutex::default() })
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

    /// What these have recorded, who should have ended, in order. Their chunks are given back: what one that goes on does later is in new ones.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn take(&self, of: impl Fn(Owner) -> bool) -> io::Result<Vec<Entry>> {
        let chunks: Vec<Found> = {
            let mut state = self.state();
            self.find_chunks(&mut state)?;
            state.chunks.extract_if(.., |chunk| of(chunk.owner)).collect()
        };
        let mut contents = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            contents.push((chunk.unit, self.read(chunk.unit, chunk.units)?));
            self.give_back(chunk.unit, chunk.units);
        }
        let records = contents.iter().flat_map(|(unit, bytes)| wire::log::records(*unit, bytes));
        Ok(Decoder::default().decode(records.collect()))
    }

    /// The used part of a chunk.
    fn read(&self, unit: u64, units: u32) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; units as usize * UNIT as usize];
        self.file.read_exact_at(&mut bytes, unit_offset(unit))?;
        let used = word(&bytes, std::mem::offset_of!(Chunk, used)) as usize;
        bytes.truncate(used);
        Ok(bytes)
    }

    fn give_back(&self, unit: u64, units: u32) {
        let how = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let (offset, length) = (unit_offset(unit) as i64, i64::from(units) * UNIT as i64);
        // SAFETY: numbers only; if it fails the memory stays for longer.
        unsafe { libc::fallocate(self.file.as_raw_fd(), how, offset, length) };
    }

    /// Looks at what was taken since the last time.
    fn find_chunks(&self, state: &mut State) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        let next = self.header().next.load(Ordering::Acquire).min(size.saturating_sub(PAGE) / UNIT);
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
        let fits = (1..=MAX_UNITS).contains(&units)
            && unit + u64::from(units) <= (self.file.metadata()?.len() - PAGE) / UNIT;
        let is_chunk = field(std::mem::offset_of!(Chunk, seal)) == chunk_seal(unit) && fits;
        let owner = Owner {
            command: field(std::mem::offset_of!(Chunk, command)),
            process: Pid::try_from(field(std::mem::offset_of!(Chunk, process))).unwrap_or(0),
        };
        Ok(is_chunk.then_some((units, owner)))
    }
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

/// Turns the records of one command into events.
#[derive(Default)]
struct Decoder {
    out: Vec<Entry>,
    /// Where each process is.
    directories: HashMap<u32, PathBuf>,
    /// What was found out about the file system.
    files: Files,
    /// Directories that `realpath` was told to have looked at: the same ones again and again.
    walked: HashSet<PathBuf>,
    executed: HashMap<PathBuf, Vec<Event>>,
}

type Raw<'a> = wire::log::Entry<'a>;

impl Decoder {
    fn decode(mut self, mut records: Vec<Raw<'_>>) -> Vec<Entry> {
        records.sort_by_key(|(record, ..)| record.sequence);
        let failed = failed_execs(&records);
        for (index, entry) in records.into_iter().enumerate() {
            if !failed.contains(&index) {
                self.record(entry);
            }
        }
        self.out
    }

    fn record(&mut self, (record, first, second): Raw<'_>) {
        let record = &record;
        if record.kind == kind::START {
            self.enter(record, first);
            return;
        }
        if record.kind == kind::NETWORK {
            return self.emit(record, Event::Network);
        }
        if record.kind == kind::FCHDIR {
            return self.enter(record, second);
        }
        let Some(path) = self.absolute(record, first) else { return self.emit(record, Event::Gap) };
        match record.kind {
            kind::LOOKUP => self.looked_up(record, path),
            kind::OPEN => self.opened(record, path),
            kind::LIST => self.on_success(record, path, |_, path| Event::Listed(path)),
            kind::TRUNCATE => {
                let access =
                    Access { reads: false, writes: true, created: false, emptied: record.value == 1 };
                self.on_success(record, path, |files, path| {
                    let (place, _) = files.opened(path);
                    Event::Opened(place, Kind::File, access)
                });
            }
            kind::MAKE => self.on_success(record, path, |files, path| Event::Made(files.entry(path))),
            kind::SYMLINK => {
                let target = PathBuf::from(OsStr::from_bytes(second));
                self.on_success(record, path, |files, path| Event::Symlinked(files.entry(path), target));
            }
            kind::REMOVE => self.on_success(record, path, |files, path| Event::Removed(files.entry(path))),
            kind::ATTRIBUTES => self.on_success(record, path, |_, path| Event::Attributes(path)),
            kind::LINK | kind::RENAME => match self.absolute(record, second) {
                Some(new) => self.transferred(record, path, new),
                None => self.emit(record, Event::Gap),
            },
            kind::EXEC => self.executed(record, path),
            kind::CHDIR => {
                self.looked_up(record, path);
                if record.result >= 0 {
                    self.enter(record, second);
                }
            }
            kind::REALPATH => self.resolved(record, first, second),
            // A gap, or a record of no kind.
            _ => self.emit(record, Event::Gap),
        }
    }

    fn emit(&mut self, record: &Record, event: Event) {
        let begins = (record.kind == kind::EXEC).then_some(record.value);
        let process = Pid::try_from(record.process).unwrap_or(0);
        self.out.push(Entry { sequence: record.sequence, process, begins, event });
    }

    fn enter(&mut self, record: &Record, directory: &[u8]) {
        if directory.first() == Some(&b'/') {
            self.directories.insert(record.process, OsStr::from_bytes(directory).into());
        } else {
            self.directories.remove(&record.process);
        }
    }

    /// The path as the process named it, from the root on; nothing where it cannot be told.
    fn absolute(&self, record: &Record, path: &[u8]) -> Option<PathBuf> {
        if path.is_empty() || path.contains(&0) {
            return None;
        }
        let path = Path::new(OsStr::from_bytes(path));
        if path.is_absolute() {
            return Some(tidy(path));
        }
        Some(tidy(&self.directories.get(&record.process)?.join(path)))
    }

    fn looked_up(&mut self, record: &Record, path: PathBuf) {
        if let Some(event) = failed(path, record) {
            self.emit(record, event);
        }
    }

    fn on_success(
        &mut self,
        record: &Record,
        path: PathBuf,
        event: impl FnOnce(&mut Files, PathBuf) -> Event,
    ) {
        if record.result >= 0 {
            let event = event(&mut self.files, path);
            self.emit(record, event);
        } else {
            self.looked_up(record, path);
        }
    }

    fn opened(&mut self, record: &Record, path: PathBuf) {
        let flags = record.value as i32;
        let has = |flag: i32| flags & flag == flag;
        // A path only, or a file without a name: no content is reached through the path.
        if record.result < 0 || has(libc::O_PATH) || has(libc::O_TMPFILE) {
            return self.looked_up(record, path);
        }
        let mode = flags & libc::O_ACCMODE;
        let access = Access {
            reads: mode == libc::O_RDONLY || mode == libc::O_RDWR,
            writes: mode == libc::O_WRONLY || mode == libc::O_RDWR,
            created: record.bits & bits::CREATED != 0,
            emptied: has(libc::O_TRUNC),
        };
        let (place, found) = self.files.opened(path);
        let kind = match record.bits {
            _ if has(libc::O_DIRECTORY) => Kind::Directory,
            told if told & bits::KNOWN == 0 => found,
            told if told & bits::DIRECTORY != 0 => Kind::Directory,
            told if told & bits::SPECIAL != 0 => Kind::Special,
            _ => Kind::File,
        };
        self.emit(record, Event::Opened(place, kind, access));
    }

    fn transferred(&mut self, record: &Record, old: PathBuf, new: PathBuf) {
        if record.result < 0 {
            // The errno does not tell which of the two it is about.
            for (path, bit) in [(old, bits::FIRST_EXISTS), (new, bits::SECOND_EXISTS)] {
                if is_about_paths(record.result.wrapping_neg()) {
                    self.emit(record, Event::of_look(record.bits & bit != 0, path));
                }
            }
            return;
        }
        let how = match record.kind {
            kind::LINK => Transfer::Link,
            _ if record.value & libc::RENAME_EXCHANGE != 0 => Transfer::Exchange,
            _ => Transfer::Rename,
        };
        let (old, new) = (self.files.entry(old), self.files.entry(new));
        self.emit(record, Event::Transferred(how, old, new));
    }

    fn executed(&mut self, record: &Record, path: PathBuf) {
        if record.result < 0 && !matches!(record.result.wrapping_neg(), libc::ENOENT | libc::ENOEXEC) {
            return self.looked_up(record, path);
        }
        let events = self.executed.entry(path).or_insert_with_key(|path| observe::executed(path)).clone();
        for event in events {
            // What the kernel has read to know that it cannot execute it is read, not executed.
            let event = match event {
                Event::Executed(place, _) if record.result < 0 => {
                    let access = Access { reads: true, writes: false, created: false, emptied: false };
                    Event::Opened(place, Kind::File, access)
                }
                event => event,
            };
            self.emit(record, event);
        }
    }

    /// `realpath` has looked at each name on the way: of a relative path not at those of the directory, whose path is real.
    fn resolved(&mut self, record: &Record, path: &[u8], end: &[u8]) {
        let path = Path::new(OsStr::from_bytes(path));
        let end = PathBuf::from(OsStr::from_bytes(end));
        let mut walk = match self.directories.get(&record.process) {
            Some(directory) if path.is_relative() => directory.clone(),
            _ => PathBuf::from("/"),
        };
        let mut links = 0;
        let mut rest: Vec<PathBuf> = Vec::new();
        push_names(&mut rest, path);
        while let Some(name) = rest.pop() {
            if name.as_os_str() == ".." {
                walk.pop();
                continue;
            }
            walk.push(name);
            if walk == end && record.result < 0 {
                break;
            }
            self.walk_past(record, &walk);
            // Every directory of the result is none itself.
            if end.starts_with(&walk) {
                continue;
            }
            let Ok(target) = fs::read_link(&walk) else { continue };
            links += 1;
            if links > MAX_LINKS {
                break;
            }
            walk.pop();
            if target.is_absolute() {
                walk = "/".into();
            }
            push_names(&mut rest, &target);
        }
        if record.result < 0 && end.is_absolute() {
            self.looked_up(record, end);
        }
    }

    fn walk_past(&mut self, record: &Record, path: &Path) {
        if !self.walked.contains(path) {
            self.walked.insert(path.to_path_buf());
            self.emit(record, Event::Found(path.to_path_buf()));
        }
    }
}

/// Which records tell of an execution that then failed, as the next record of the same process says.
fn failed_execs(records: &[Raw<'_>]) -> HashSet<usize> {
    let mut failed = HashSet::new();
    let mut fails_next = HashMap::new();
    for (index, (record, ..)) in records.iter().enumerate().rev() {
        let fails = record.kind == kind::EXEC && record.result < 0;
        let next = fails_next.insert(record.process, fails);
        if record.kind == kind::EXEC && !fails && next == Some(true) {
            failed.insert(index);
        }
    }
    failed
}

/// The names of a path, the first one on top; `.` and the root are none.
fn push_names(stack: &mut Vec<PathBuf>, path: &Path) {
    let names = path.components().rev().filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir));
    stack.extend(names.map(|name| PathBuf::from(name.as_os_str())));
}

/// What the failure of a call says about the path it was given.
fn failed(path: PathBuf, record: &Record) -> Option<Event> {
    let exists = record.bits & bits::FIRST_EXISTS != 0;
    Event::of_failure(path, record.result.wrapping_neg(), |_| exists)
}

/// What is where now, as far as it was asked for.
#[derive(Default)]
struct Files {
    directories: HashMap<PathBuf, Option<PathBuf>>,
    opened: HashMap<PathBuf, (Option<PathBuf>, Kind)>,
}

impl Files {
    /// The place of a directory entry: only the links on the way are followed.
    fn entry(&mut self, path: PathBuf) -> Place {
        let real = self.real_entry(&path);
        Place::new(path, real)
    }

    fn real_entry(&mut self, path: &Path) -> Option<PathBuf> {
        let (parent, name) = (path.parent()?, path.file_name()?);
        if !self.directories.contains_key(parent) {
            self.directories.insert(parent.to_path_buf(), fs::canonicalize(parent).ok());
        }
        Some(self.directories.get(parent)?.as_ref()?.join(name))
    }

    /// The place of a file that was opened by this path, and its kind.
    fn opened(&mut self, path: PathBuf) -> (Place, Kind) {
        if let Some((real, kind)) = self.opened.get(&path) {
            return (Place::new(path, real.clone()), *kind);
        }
        let found = fs::symlink_metadata(&path);
        let is_link = found.as_ref().is_ok_and(|metadata| metadata.is_symlink());
        let (real, found) = if is_link {
            (fs::canonicalize(&path).ok(), fs::metadata(&path))
        } else {
            (self.real_entry(&path), found)
        };
        let kind = match found.map(|metadata| metadata.file_type()) {
            Ok(kind) if kind.is_dir() => Kind::Directory,
            Ok(kind) if kind.is_char_device() || kind.is_block_device() => Kind::Special,
            Ok(kind) if kind.is_fifo() || kind.is_socket() => Kind::Special,
            _ => Kind::File,
        };
        self.opened.insert(path.clone(), (real.clone(), kind));
        (Place::new(path, real), kind)
    }
}

#[cfg(test)]
#[path = "log/tests.rs"]
mod tests;
