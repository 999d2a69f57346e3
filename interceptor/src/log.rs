// SPDX-License-Identifier: Apache-2.0
//! Our side of the shared log (see [`wire::log`]): finds it when there is first something to write, takes a chunk, writes records. Knows
//! nothing of what is recorded.
//!
//! Any thread, signal handler or child of `vfork` may write at any time. The mapping needs no descriptor once it is
//! there. Where it cannot be had, or not any more (another root, a process's own seccomp filter, no memory), there is
//! no log for this process from then on: hooks then leave their calls to the C library, unmarked, and the recorder's
//! filter sees them.
//!
//! A child of `fork` goes on in its parent's chunk under its own process id. That it is another process is told by a
//! page that the kernel wipes in it, because asking for the id each time would cost more than all the rest. A child of
//! `vfork` is told apart only where it matters: when it changes its directory, or executes.

use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::own;
use crate::room::Room;
use crate::session::Session;
use crate::sys::{self, AT_FDCWD, Errno, O_CLOEXEC, O_NOCTTY, O_NONBLOCK, O_RDWR};
use wire::log::{Chunk, Header, MAGIC, MAX_STRING, MAX_UNITS, PAGE, Record, UNIT, kind, opens_to_change};

/// What there is to say of a call besides its paths.
#[derive(Clone, Copy)]
pub(crate) struct What {
    /// One of [`kind`].
    pub(crate) kind: u16,
    /// Bits of [`wire::log::bits`].
    pub(crate) bits: u16,
    /// By kind.
    pub(crate) value: u32,
    /// As the kernel gives it.
    pub(crate) result: c_int,
}

impl What {
    pub(crate) fn new(kind: u16, result: Result<usize, Errno>) -> Self {
        let result = match result {
            Ok(value) => c_int::try_from(value).unwrap_or(c_int::MAX),
            Err(errno) => -errno.0,
        };
        Self { kind, bits: 0, value: 0, result }
    }
}

/// A chunk with room in it.
#[derive(Clone, Copy)]
pub(crate) struct Log {
    header: &'static Header,
    chunk: &'static Chunk,
    size: usize,
}

/// A new chunk is taken when there is less room than this: for all but the longest paths, before the call is made, so that it can still be
/// left to the filter.
const ROOM: usize = 512;

/// [`STATE`] before anything was written.
const UNKNOWN: usize = 0;
/// [`STATE`] where there is no log.
const OFF: usize = PAGE as usize - 1;

/// The address of the chunk that is written to, with its number of units in the low bits: what is in the chunk anybody can overwrite.
static STATE: AtomicUsize = AtomicUsize::new(OFF);
static HEADER: AtomicPtr<Header> = AtomicPtr::new(core::ptr::null_mut());

/// What a child of `fork` must not take over: zeros in it.
#[repr(C, align(4096))]
struct Own {
    /// Our process id, if it is known.
    process: AtomicU32,
    /// [`Header::moves`] plus one as it was when we told our directory; 0: not told.
    told: AtomicU64,
}

static OWN: Own = Own { process: AtomicU32::new(0), told: AtomicU64::new(0) };
/// Is [`OWN`] known to be wiped?
static WIPED: AtomicBool = AtomicBool::new(false);
/// Process id and directory are not what they seem from here: they are asked for each time.
static UNSURE: AtomicBool = AtomicBool::new(false);
/// Threads have directories of their own: a relative path would be taken to start from another one's.
static APART: AtomicBool = AtomicBool::new(false);

/// Called once, at load: is there a log that may be written to?
pub(crate) fn enable() {
    STATE.store(UNKNOWN, Ordering::Relaxed);
}

/// Our process id. In a child of `vfork` its parent's.
#[inline]
pub(crate) fn process() -> u32 {
    match OWN.process.load(Ordering::Relaxed) {
        0 => settle(),
        process => process,
    }
}

/// Finds out who we are, before a child can take that for its own.
#[cold]
fn settle() -> u32 {
    let process = sys::getpid();
    if !WIPED.load(Ordering::Relaxed) {
        if !sys::wipe_on_fork((&raw const OWN).cast(), size_of::<Own>()) {
            UNSURE.store(true, Ordering::Relaxed);
            return process;
        }
        WIPED.store(true, Ordering::Relaxed);
    }
    OWN.process.store(process, Ordering::Relaxed);
    process
}

/// A child is about to be made that may share our memory: it must not be the first to ask who we are.
pub(crate) fn before_child() {
    if STATE.load(Ordering::Relaxed) != OFF {
        process();
    }
}

/// A child is about to be made that has a copy of our memory, and goes on in our chunk: there must be room in it. What
/// a child takes its parent does not know of; each that a shell makes would take another one.
pub(crate) fn before_fork(session: &Session) {
    Log::ready(session);
}

/// From now on the working directory may be changed without our seeing it, or more than one process runs in this memory.
pub(crate) fn be_unsure() {
    UNSURE.store(true, Ordering::Relaxed);
}

/// From now on a thread may have a directory that the others do not have.
pub(crate) fn come_apart() {
    APART.store(true, Ordering::Relaxed);
}

impl Log {
    /// The log, with room in it; nothing where there is none.
    #[inline]
    pub(crate) fn ready(session: &Session) -> Option<Self> {
        let state = STATE.load(Ordering::Acquire);
        if state == OFF {
            return None;
        }
        match Self::of(state) {
            Some(log) if log.has_room() => Some(log),
            _ => Self::renew(session, state),
        }
    }

    #[inline]
    fn of(state: usize) -> Option<Self> {
        if matches!(state, UNKNOWN | OFF) {
            return None;
        }
        // SAFETY: both are mapped for as long as the process lives, and were before STATE was set. What is in there are
        // atomics and integers, for which all bytes are valid.
        let (header, chunk) =
            unsafe { (&*HEADER.load(Ordering::Relaxed), &*((state & !OFF) as *const Chunk)) };
        Some(Self { header, chunk, size: (state & OFF) * UNIT as usize })
    }

    /// May placeholders stand anywhere?
    pub(crate) fn has_placeholders(&self) -> bool {
        self.header.placeholders.load(Ordering::Acquire) != 0
    }

    /// May something of this path's last name have been changed by the build?
    pub(crate) fn may_have_changed(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        self.header.changed.has(name)
    }

    /// Is there room, and has the chunk not been taken away as that of a command that ended?
    #[inline]
    fn has_room(&self) -> bool {
        self.chunk.used.load(Ordering::Relaxed) as usize + ROOM <= self.size
            && self.chunk.seal.load(Ordering::Relaxed) == wire::log::chunk_seal(u64::from(self.chunk.unit))
    }

    /// Takes the next chunk in place of that of `state`.
    #[cold]
    #[inline(never)]
    fn renew(session: &Session, state: usize) -> Option<Self> {
        let new = Self::take(session, state == UNKNOWN);
        match STATE.compare_exchange(state, new.unwrap_or(OFF), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                // Each chunk says itself where the process is.
                OWN.told.store(0, Ordering::Relaxed);
                Self::of(new?)
            }
            // Another thread was faster; ours stays empty.
            Err(current) => Self::of(current),
        }
    }

    fn take(session: &Session, is_first: bool) -> Option<usize> {
        // Before anything that a child must not see.
        process();
        let flags = O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
        let fd = sys::open_at(AT_FDCWD, session.log().as_ptr(), flags).ok()?;
        let taken = Self::take_from(session, fd, is_first);
        sys::close(fd);
        taken
    }

    fn take_from(session: &Session, fd: c_int, is_first: bool) -> Option<usize> {
        let mut header = HEADER.load(Ordering::Acquire);
        if header.is_null() {
            // With other mounts the path may lead to something else.
            if !sys::fstat(fd).is_ok_and(|stat| stat.is_file()) {
                return None;
            }
            header = sys::map_shared(fd, 0, PAGE as usize, false)?.cast();
            // SAFETY: mapped just now.
            if unsafe { (*header).magic } != MAGIC {
                return None;
            }
            HEADER.store(header, Ordering::Release);
        }
        // SAFETY: mapped, and never unmapped.
        let header = unsafe { &*header };
        let units = if is_first { 1 } else { MAX_UNITS };
        let unit = header.next.fetch_add(u64::from(units), Ordering::Relaxed);
        if unit.checked_add(u64::from(units))? > header.units {
            return None;
        }
        let size = units as usize * UNIT as usize;
        let chunk = sys::map_shared(fd, wire::log::unit_offset(unit), size, !is_first)?.cast::<Chunk>();
        // SAFETY: mapped just now, and nobody else's.
        unsafe {
            (*chunk).units = units;
            (*chunk).unit = unit as u32;
            (*chunk).process = process();
            (*chunk).command = session.command;
            (*chunk).used.store(size_of::<Chunk>() as u32, Ordering::Relaxed);
            (*chunk).seal.store(wire::log::chunk_seal(unit), Ordering::Release);
        }
        Some(chunk as usize | units as usize)
    }

    /// Writes a record. The second string of a link or rename is a path as well.
    pub(crate) fn append(&self, session: &Session, what: What, first: &[u8], second: &[u8]) {
        let has_two = matches!(what.kind, kind::LINK | kind::RENAME);
        let process = if UNSURE.load(Ordering::Relaxed) { sys::getpid() } else { process() };
        let own = own::may_be(first) || has_two && own::may_be(second);
        if own || APART.load(Ordering::Relaxed) {
            self.note_changed(what, first, second);
            return self.put_absolute(
                session,
                process,
                what,
                [first, if has_two { second } else { &[] }],
                second,
            );
        }
        if is_relative(first) || has_two && is_relative(second) {
            self.tell_once(session, process);
        }
        self.note_changed(what, first, second);
        self.put(session, process, what, first, second);
    }

    /// Writes a record with paths that start from nothing of the process's own; `text` is what comes second if that is none.
    #[cold]
    #[inline(never)]
    fn put_absolute(&self, session: &Session, process: u32, what: What, paths: [&[u8]; 2], text: &[u8]) {
        let gap = What { kind: kind::GAP, ..what };
        let Some(mut room) = Room::<2>::new() else { return self.put(session, process, gap, &[], &[]) };
        let [first, second] = room.buffers();
        match (own::absolute(paths[0], first), own::absolute(paths[1], second)) {
            (Some(first), Some([])) => self.put(session, process, what, first, text),
            (Some(first), Some(second)) => self.put(session, process, what, first, second),
            _ => self.put(session, process, gap, &[], &[]),
        }
    }

    /// Tells the names that a call has changed.
    fn note_changed(&self, what: What, first: &[u8], second: &[u8]) {
        let changed = &self.header.changed;
        match what.kind {
            kind::GAP | kind::NETWORK => changed.note_all(),
            _ if what.result < 0 => {}
            kind::OPEN if opens_to_change(what.value) => changed.note(first),
            kind::TRUNCATE | kind::MAKE | kind::SYMLINK | kind::REMOVE | kind::ATTRIBUTES => {
                changed.note(first)
            }
            kind::LINK | kind::RENAME => {
                changed.note(first);
                changed.note(second);
            }
            _ => {}
        }
    }

    /// Tells another name of what a call has changed; none: it is not known.
    pub(crate) fn note_also_changed(&self, path: Option<&[u8]>) {
        match path {
            Some(path) => self.header.changed.note(path),
            None => self.header.changed.note_all(),
        }
    }

    /// Writes a record of `process`, which may be a child of `vfork`, of where it is.
    pub(crate) fn append_as(&self, session: &Session, process: u32, what: What, first: &[u8], second: &[u8]) {
        self.put(session, process, what, first, second);
    }

    /// Tells the working directory of `process`, if it is not known that it was told.
    #[inline]
    pub(crate) fn tell_once(&self, session: &Session, process: u32) {
        let now = self.header.moves.load(Ordering::Relaxed).wrapping_add(1);
        let is_ours = OWN.process.load(Ordering::Relaxed) == process && !UNSURE.load(Ordering::Relaxed);
        if is_ours && OWN.told.load(Ordering::Acquire) == now {
            return;
        }
        self.tell(session, process);
        // Only now: what another thread writes relies on it.
        if is_ours {
            OWN.told.store(now, Ordering::Release);
        }
    }

    /// Tells the working directory.
    #[cold]
    #[inline(never)]
    fn tell(&self, session: &Session, process: u32) {
        let mut room = Room::<1>::new();
        let cwd = room.as_mut().map(|room| {
            let [buffer] = room.buffers();
            sys::getcwd(buffer)
        });
        self.put(session, process, What::new(kind::START, Ok(0)), cwd.unwrap_or_default(), &[]);
    }

    fn put(&self, session: &Session, process: u32, what: What, first: &[u8], second: &[u8]) {
        if first.len() > MAX_STRING || second.len() > MAX_STRING {
            return;
        }
        let size = wire::log::record_size(first.len(), second.len());
        let mut log = *self;
        let offset = loop {
            let offset = log.chunk.used.fetch_add(size as u32, Ordering::Relaxed) as usize;
            if offset >= size_of::<Chunk>() && offset.saturating_add(size) <= log.size {
                break offset;
            }
            let current = STATE.load(Ordering::Acquire);
            let newer = Self::of(current).filter(|newer| !core::ptr::eq(newer.chunk, log.chunk));
            match newer.or_else(|| Self::renew(session, current)) {
                Some(newer) => log = newer,
                None => {
                    self.header.lost.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        };
        let unit = u64::from(log.chunk.unit);
        let record = Record {
            seal: 0,
            size: size as u32,
            sequence: log.header.sequence.fetch_add(1, Ordering::Relaxed),
            process,
            kind: what.kind,
            bits: what.bits,
            result: what.result,
            value: what.value,
            first: first.len() as u16,
            second: second.len() as u16,
            reserved: 0,
        };
        // SAFETY: the addition above gave us these bytes of the chunk, which is mapped with this size; the offset is a
        // multiple of 8, as all sizes are.
        unsafe {
            let at = core::ptr::from_ref(log.chunk).cast::<u8>().cast_mut().add(offset);
            at.cast::<Record>().write_unaligned(record);
            let strings = at.add(size_of::<Record>());
            core::ptr::copy_nonoverlapping(first.as_ptr(), strings, first.len());
            core::ptr::copy_nonoverlapping(second.as_ptr(), strings.add(first.len()), second.len());
            let seal = &*at.cast::<AtomicU32>();
            seal.store(wire::log::record_seal(unit, offset as u32, size as u32), Ordering::Release);
        }
    }
}

fn is_relative(path: &[u8]) -> bool {
    path.first().is_some_and(|&byte| byte != b'/')
}
