// SPDX-License-Identifier: Apache-2.0
//! Who we are in the build: the tracer's socket, our command's id, our own path. Read once from the environment when the
//! library is loaded and never changed: a child of `vfork` shares this memory with its parent. Knows nothing of hooks.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_int};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::inside;
use crate::libc::{self, environ};
use crate::log;
use crate::sys::{self, AT_FDCWD, PATH_MAX, SocketAddress};
use crate::text::{Array, Strings, Text, hexadecimal, number, value_of};
use wire::{SESSION_VARIABLE, reply_flags};

/// Our file's name, by which an entry of `LD_PRELOAD` is known.
pub(crate) const FILE_NAME: &[u8] = b"libgginterceptor.so";
/// The dynamic loader's variable.
pub(crate) const PRELOAD_VARIABLE: &str = "LD_PRELOAD";

/// What the environment said at load. In this order: what is looked at lies together with the beginning of the texts, in one page.
#[repr(C)]
pub(crate) struct Session {
    /// The command that this process belongs to.
    pub(crate) command: u32,
    /// Its [`reply_flags`].
    pub(crate) flags: u32,
    /// The tracer's socket.
    pub(crate) address: SocketAddress,
    /// What marks system calls that are recorded here; zero where none is to be marked.
    pub(crate) cookie: u64,
    socket: Place,
    log: Place,
    stand_in: Place,
    own: Place,
    texts: Texts,
}

impl Session {
    /// The session that asks; nothing where there is none, or where it is not to be asked.
    #[inline]
    pub(crate) fn current() -> Option<&'static Self> {
        // SAFETY: written once, before the flag was set; only read since.
        ACTIVE.load(Ordering::Acquire).then(|| unsafe { &*SESSION.0.get() })
    }

    /// Does this program carry placeholders along instead of having them forced?
    #[inline]
    pub(crate) fn carries(&self) -> bool {
        self.flags & reply_flags::CARRY != 0
    }

    /// Does this program read directories for nothing but the names in them?
    #[inline]
    pub(crate) fn reads_names(&self) -> bool {
        self.flags & (reply_flags::CARRY | reply_flags::NAMES) != 0
    }

    /// Does this program start the commands of a build?
    #[inline]
    pub(crate) fn drives(&self) -> bool {
        self.flags & reply_flags::DRIVES != 0
    }

    /// May this program ask in a call?
    pub(crate) fn is_answered_at_once(&self) -> bool {
        self.flags & reply_flags::AT_ONCE != 0 && sys::is_marking()
    }

    /// Is it of no interest what this program reads from its standard input and prints?
    #[inline]
    pub(crate) fn is_unheard(&self) -> bool {
        self.flags & reply_flags::UNHEARD != 0
    }

    /// Is a placeholder to be forced when this program asks about it, and not only when it opens it?
    #[inline]
    pub(crate) fn wants_facts(&self) -> bool {
        self.flags & reply_flags::FACTS != 0
    }

    /// Can the loader find this library from here? Not in another root.
    pub(crate) fn is_loadable(&self) -> bool {
        sys::exists(AT_FDCWD, self.texts.at(self.own).as_ptr()).is_ok()
    }

    /// Path of the program that only exits.
    pub(crate) fn stand_in(&self) -> &CStr {
        self.texts.at(self.stand_in)
    }

    /// Path of the shared log; empty where there is none.
    pub(crate) fn log(&self) -> &CStr {
        self.texts.at(self.log)
    }

    /// Path of this library.
    pub(crate) fn own(&self) -> &[u8] {
        self.texts.at(self.own).to_bytes()
    }

    /// Writes `NAME=value` of the session's variable for another command.
    pub(crate) fn write_variable(&self, command: u32, flags: u32, text: &mut Text<'_>) {
        text.push(SESSION_VARIABLE.as_bytes()).push(b"=").push_number(command).push(b":").push_number(flags);
        text.push(b":").push_hexadecimal(self.cookie).push(b":").push(self.stand_in().to_bytes());
        text.push(b":").push(self.log().to_bytes()).push(b":").push(self.texts.at(self.socket).to_bytes());
    }

    /// Enough bytes for what [`Self::write_variable`] writes, and a NUL.
    pub(crate) fn variable_size(&self) -> usize {
        let paths = [self.stand_in(), self.log(), self.texts.at(self.socket)];
        SESSION_VARIABLE.len() + paths.iter().map(|path| path.count_bytes()).sum::<usize>() + 48
    }
}

/// Strings kept in static memory: what they were copied from belongs to the program, which may overwrite it. One after the other, because
/// each page that is touched at load takes time.
#[repr(C)]
struct Texts {
    used: usize,
    bytes: [u8; 4 * PATH_MAX],
}

/// Where a string begins.
#[derive(Clone, Copy)]
struct Place(usize);

impl Texts {
    fn keep(&mut self, text: &[u8]) -> Option<Place> {
        let place = Place(self.used);
        // All are zeros still: there is a NUL after it.
        self.bytes.get_mut(self.used..)?.get_mut(..text.len())?.copy_from_slice(text);
        self.used += text.len() + 1;
        (self.used <= self.bytes.len()).then_some(place)
    }

    fn at(&self, place: Place) -> &CStr {
        let text = self.bytes.get(place.0..).and_then(|bytes| CStr::from_bytes_until_nul(bytes).ok());
        text.unwrap_or_default()
    }
}

/// From now on there is no session, here and in what is executed from here with `environ`.
pub(crate) fn end() {
    ACTIVE.store(false, Ordering::Release);
    // SAFETY: what the C library does in `unsetenv`, just as little protected against other threads.
    unsafe {
        let mut to = environ;
        if to.is_null() {
            return;
        }
        let mut from = to;
        while !(*from).is_null() {
            if value_of(CStr::from_ptr(*from), SESSION_VARIABLE).is_none() {
                // A program's own environment may be constant.
                if to != from {
                    *to = *from;
                }
                to = to.add(1);
            }
            from = from.add(1);
        }
        if to != from {
            *to = core::ptr::null();
        }
    }
}

struct Shared(UnsafeCell<Session>);

// SAFETY: written by `at_load` alone, before `ACTIVE` is set; only read afterwards.
unsafe impl Sync for Shared {}

static ACTIVE: AtomicBool = AtomicBool::new(false);
static SESSION: Shared = Shared(UnsafeCell::new(Session {
    command: 0,
    flags: 0,
    address: SocketAddress { family: 0, path: [0; 108] },
    cookie: 0,
    socket: Place(0),
    log: Place(0),
    stand_in: Place(0),
    own: Place(0),
    texts: Texts { used: 0, bytes: [0; 4 * PATH_MAX] },
}));

#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: unsafe extern "C" fn(c_int, Array, Array) = at_load;

/// The loader calls this before the program's own code runs. Only glibc passes arguments, but it may do so before its `environ` is set;
/// musl sets `environ` first and passes none.
unsafe extern "C" fn at_load(_argc: c_int, _argv: Array, envp: Array) {
    // SAFETY: see above: either is the environment that the process was started with.
    let environment = unsafe { Strings::new(if libc::is_glibc() { envp } else { environ.cast_const() }) };
    // SAFETY: no other thread can be inside this library's data yet: hooks look at it only once `ACTIVE` is set, below.
    let session = unsafe { &mut *SESSION.0.get() };
    if !ACTIVE.load(Ordering::Relaxed) && read(session, environment).is_some() {
        libc::prepare();
        // What stands in front of the C library's functions after us must see the calls. (The recorder's filter does, too.)
        let is_last = is_last(environment);
        if !session.log().is_empty() && is_last {
            log::enable();
        }
        sys::set_mark(session.cookie);
        // What else is preloaded may be valgrind's, which looks at all calls.
        if session.is_answered_at_once() && !is_alone(environment) {
            session.flags &= !reply_flags::AT_ONCE;
        }
        let is_active = session.flags & reply_flags::DETACH == 0;
        ACTIVE.store(is_active, Ordering::Release);
        if is_active && is_last {
            inside::take_over(session);
        }
    }
}

/// Reads the two variables. Anything unexpected means that there is no session.
fn read(session: &mut Session, environment: Strings) -> Option<()> {
    const AF_UNIX: u16 = 1;
    let value = environment.iter().find_map(|entry| value_of(entry, SESSION_VARIABLE))?;
    let mut fields = value.splitn(6, |&byte| byte == b':');
    session.command = number(fields.next()?)?;
    session.flags = number(fields.next()?)?;
    session.cookie = hexadecimal(fields.next()?)?;
    session.stand_in = session.texts.keep(fields.next()?)?;
    session.log = session.texts.keep(fields.next()?)?;
    let socket = fields.next().filter(|path| path.len() < session.address.path.len() && !path.is_empty())?;
    session.socket = session.texts.keep(socket)?;
    session.address.family = AF_UNIX;
    Text::new(&mut session.address.path).push(socket);
    let own = environment.iter().filter_map(|entry| value_of(entry, PRELOAD_VARIABLE)).flat_map(preloads);
    session.own = session.texts.keep(own.into_iter().find(|path| is_ours(path))?)?;
    Some(())
}

/// Is our library the last one that is preloaded?
fn is_last(environment: Strings) -> bool {
    let value = environment.iter().filter_map(|entry| value_of(entry, PRELOAD_VARIABLE)).last();
    value.and_then(|value| preloads(value).last()).is_some_and(is_ours)
}

/// Is our library the only one that is preloaded?
fn is_alone(environment: Strings) -> bool {
    let values = environment.iter().filter_map(|entry| value_of(entry, PRELOAD_VARIABLE));
    values.flat_map(preloads).all(is_ours)
}

/// The entries of a value of `LD_PRELOAD`.
pub(crate) fn preloads(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| matches!(byte, b':' | b' ')).filter(|path| !path.is_empty())
}

/// Does this entry of `LD_PRELOAD` name our library?
pub(crate) fn is_ours(path: &[u8]) -> bool {
    path.strip_suffix(FILE_NAME).is_some_and(|folder| folder.is_empty() || folder.ends_with(b"/"))
}
