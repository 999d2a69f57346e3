// SPDX-License-Identifier: Apache-2.0
//! The functions that replace the process's program: ask, then execute with the environment that the reply wants, or exit, or
//! fail. All of them end in `execve`, whose address is known since load; none takes a lock.

use core::ffi::{CStr, c_char, c_int};

use crate::arguments::{NAME_MAX, for_each_candidate, with_arguments};
use crate::ask::{Request, Rest, write_all};
use crate::environment::Change;
use crate::hooks::next;
use crate::libc;
use crate::log::{Log, What};
use crate::own;
use crate::path::{Located, PROC_NAME, descriptor, seen_from_outside};
use crate::place::At;
use crate::record::note;
use crate::room::Room;
use crate::session::Session;
use crate::sys::{self, AT_EMPTY_PATH, AT_FDCWD, Errno, PATH_MAX};
use crate::text::{Array, Strings, Text, string};
use wire::log::kind;
use wire::{Descriptor, FdIdentity, MAX_DESCRIPTOR, Reply, reply_kind, request_flags, request_kind};

/// Why the process still runs its old program.
pub(crate) enum Failure {
    /// The kernel said so.
    Kernel(Errno),
    /// The tracer said so.
    Tracer(Errno),
}

impl Failure {
    fn errno(self) -> Errno {
        match self {
            Self::Kernel(errno) | Self::Tracer(errno) => errno,
        }
    }
}

/// `execve` and those that differ from it in their prototype only.
///
/// # Safety
/// The arguments are as `execve` wants them.
pub(crate) unsafe fn by_path(
    session: &Session,
    path: *const c_char,
    argv: Array,
    envp: Array,
) -> Result<c_int, Errno> {
    // SAFETY: as the caller promises.
    let (name, argv, envp) = unsafe { (string(path), Strings::new(argv), Strings::new(envp)) };
    Err(match name {
        Some(name) => execute(session, name, argv, envp).errno(),
        None => plain(path, argv.as_ptr(), envp.as_ptr()),
    })
}

/// `execvp` and its like: searches `PATH` as the C library does.
///
/// # Safety
/// The arguments are as `execvpe` wants them.
pub(crate) unsafe fn by_search(
    session: &Session,
    file: *const c_char,
    argv: Array,
    envp: Array,
) -> Result<c_int, Errno> {
    // SAFETY: as the caller promises.
    let (name, argv, envp) = unsafe { (string(file), Strings::new(argv), Strings::new(envp)) };
    let Some(name) = name else {
        return Err(plain(file, argv.as_ptr(), envp.as_ptr()));
    };
    if name.to_bytes().contains(&b'/') {
        return Err(execute_or_interpret(session, name, argv, envp).errno());
    }
    if name.count_bytes() > NAME_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    let mut denied = false;
    for_each_candidate(name, |path| {
        match sys::may_execute(AT_FDCWD, path.as_ptr()) {
            // The kernel's own check differs from this one in processes that changed their user: let it say no itself.
            Ok(()) | Err(Errno::ACCES) => {}
            Err(errno) => {
                note_missing(session, path, errno);
                return None;
            }
        }
        match execute_or_interpret(session, path, argv, envp) {
            Failure::Kernel(Errno::ACCES) => {
                denied = true;
                None
            }
            Failure::Kernel(Errno::NOENT | Errno::STALE | Errno::NOTDIR | Errno::NODEV | Errno::TIMEDOUT) => {
                None
            }
            failure => Some(failure.errno()),
        }
    })
    .map_or(Err(if denied { Errno::ACCES } else { Errno::NOENT }), Err)
}

/// `execveat` and `fexecve`.
///
/// # Safety
/// The arguments are as `execveat` wants them.
pub(crate) unsafe fn by_descriptor(
    session: &Session,
    dirfd: c_int,
    path: *const c_char,
    argv: Array,
    envp: Array,
    flags: c_int,
) -> Result<c_int, Errno> {
    let run = |envp, is_marked| sys::execveat(dirfd, path, argv, envp, flags, is_marked);
    // SAFETY: as the caller promises.
    let (arguments, environment) = unsafe { (Strings::new(argv), Strings::new(envp)) };
    let mut buffer = [0; PATH_MAX];
    let mut outside = [0; PROC_NAME];
    // SAFETY: as the caller promises.
    let empty = unsafe { string(path) }.is_none_or(CStr::is_empty);
    let located = if !empty {
        // SAFETY: as the caller promises.
        sys::may_execute(dirfd, path).ok().and_then(|()| unsafe { Located::at(dirfd, path, &mut buffer) })
    } else if flags & AT_EMPTY_PATH != 0 {
        named_descriptor(dirfd, &mut buffer, &mut outside)
    } else {
        None
    };
    let Some(located) = located else { return Err(run(envp, false)) };
    Err(obey(session, located, arguments, environment, run).errno())
}

/// A path by which the tracer finds the program behind a descriptor.
fn named_descriptor<'a>(
    fd: c_int,
    buffer: &'a mut [u8; PATH_MAX],
    outside: &'a mut [u8; PROC_NAME],
) -> Option<Located<'a>> {
    let length = descriptor(fd, buffer)?.len();
    *buffer.get_mut(length)? = 0;
    let name = CStr::from_bytes_until_nul(buffer).ok()?;
    let open = sys::fstat(fd).ok()?.identity();
    match sys::stat_at(AT_FDCWD, name.as_ptr(), 0) {
        Ok(found) if (found.dev, found.ino) == (open.dev, open.ino) => Some(Located::plain(name)),
        // No name leads to it: a file in memory, or one that was removed.
        _ => Some(Located::plain(seen_from_outside(fd, outside)?)),
    }
}

/// The C library's `execve`.
fn plain(path: *const c_char, argv: Array, envp: Array) -> Errno {
    match next::execve.get() {
        Some(execve) => {
            // SAFETY: the arguments are the program's own, or as good as those.
            unsafe { execve(path, argv, envp) };
            libc::errno()
        }
        None => sys::execveat(AT_FDCWD, path, argv, envp, 0, false),
    }
}

/// Records that there is no such program.
#[inline(never)]
fn note_missing(session: &Session, path: &CStr, errno: Errno) {
    if let Some(log) = Log::ready(session) {
        note(session, &log, What::new(kind::LOOKUP, Err(errno)), At(AT_FDCWD, path.as_ptr()));
    }
}

/// Executes a program by its path, or says why not.
fn execute(session: &Session, path: &CStr, argv: Strings, envp: Strings) -> Failure {
    // Shells look for a program by trying: the tracer hears of the one that is there only.
    match sys::may_execute(AT_FDCWD, path.as_ptr()) {
        Ok(()) => {}
        Err(errno @ (Errno::NOENT | Errno::NOTDIR)) => {
            note_missing(session, path, errno);
            return Failure::Kernel(errno);
        }
        Err(_) => return Failure::Kernel(plain(path.as_ptr(), argv.as_ptr(), envp.as_ptr())),
    }
    obey(session, Located::plain(path), argv, envp, |envp, is_marked| {
        if is_marked {
            sys::execve(path.as_ptr(), argv.as_ptr(), envp)
        } else {
            plain(path.as_ptr(), argv.as_ptr(), envp)
        }
    })
}

/// Asks about a program and does what the reply says; `run` executes it with the environment that it is given, marked or not.
fn obey(
    session: &Session,
    path: Located<'_>,
    argv: Strings,
    envp: Strings,
    run: impl Fn(Array, bool) -> Errno,
) -> Failure {
    let mut fds = [FdIdentity::default(); 3];
    for (fd, identity) in (0..).zip(&mut fds) {
        *identity = sys::fstat(fd).map(|stat| stat.identity()).unwrap_or_default();
    }
    let mut rest = Rest::nothing();
    match ask(session, path, argv, envp, fds, &mut rest) {
        Some(reply) => match reply.kind {
            reply_kind::EXIT => {
                write_all(1, rest.text());
                sys::exit_group(reply.value)
            }
            reply_kind::FAIL => Failure::Tracer(Errno(reply.value)),
            reply_kind::KILLED => sys::kill_self(),
            _ => {
                let mut errno = Errno::NOSYS;
                let is_marked = note_exec(session, path, &reply, Ok(0));
                Change::of(session, &reply).apply(session, envp, |envp| errno = run(envp, is_marked));
                if errno == Errno::TOOBIG {
                    // What the caller gave may fit.
                    Change::WITHOUT.apply(session, envp, |envp| errno = run(envp, is_marked));
                }
                if is_marked {
                    note_exec(session, path, &reply, Err(errno));
                }
                Failure::Kernel(errno)
            }
        },
        None => {
            let mut errno = Errno::NOSYS;
            match Change::unasked(session) {
                Some(change) => change.apply(session, envp, |envp| errno = run(envp, false)),
                None => errno = run(envp.as_ptr(), false),
            }
            Failure::Kernel(errno)
        }
    }
}

/// Records that a program is about to be executed, or was not after all. `false` where there is no log.
#[inline(never)]
fn note_exec(session: &Session, path: Located<'_>, reply: &Reply, result: Result<usize, Errno>) -> bool {
    let Some(log) = Log::ready(session) else { return false };
    let Some(mut room) = Room::<2>::new() else { return false };
    let [buffer, own] = room.buffers();
    let mut text = Text::new(buffer);
    for part in own::parts(path, own) {
        text.push(part);
    }
    let name = text.bytes().strip_suffix(b"\0").unwrap_or_default();
    // A child of `vfork` is another process than the one whose memory it has.
    let process = sys::getpid();
    let what = What { value: reply.command, ..What::new(kind::EXEC, result) };
    log.tell_once(session, process);
    log.append_as(session, process, what, name, &[]);
    true
}

/// Its own function so that what it needs is off the stack when the program is executed.
#[inline(never)]
fn ask(
    session: &Session,
    path: Located<'_>,
    argv: Strings,
    envp: Strings,
    fds: [FdIdentity; 3],
    rest: &mut Rest,
) -> Option<Reply> {
    let mut memory = Room::<2>::new()?;
    let [buffer, own] = memory.buffers();
    let cwd = sys::getcwd(buffer);
    let [folder, slash, name] = own::parts(path, own);
    let mut room = [Descriptor::default(); FEW];
    let others = other_descriptors(&mut room);
    // Where the log cannot be had after all, the kernel asks about a program that nobody expects any more, as about any other.
    let marked = if Log::ready(session).is_some() { request_flags::MARKED } else { 0 };
    Request {
        kind: request_kind::EXEC,
        command: session.command,
        flags: marked | if others.is_some() { request_flags::OTHERS } else { 0 },
        umask: sys::umask(),
        fds,
        others: others.unwrap_or_default(),
        parts: &[folder, slash, name, cwd, b"\0"],
        argv,
        envp,
        stderr: Some(2),
    }
    .ask_all(session, rest)
}

/// So many other descriptors are told of. Nearly all programs are given fewer.
const FEW: usize = 12;

/// The descriptors that a program will have that is executed now, beside the standard ones; nothing where there are many.
fn other_descriptors(room: &mut [Descriptor; FEW]) -> Option<&[Descriptor]> {
    let mut count = 0;
    let open = sys::open_below::<{ MAX_DESCRIPTOR as usize }>();
    for number in 3..MAX_DESCRIPTOR {
        if open >> number & 1 != 0
            && sys::stays_open(number as c_int)
            && let Ok(stat) = sys::fstat(number as c_int)
        {
            *room.get_mut(count)? = Descriptor { number, reserved: 0, leads: stat.identity() };
            count += 1;
        }
    }
    room.get(..count)
}

/// Executes a program; what the kernel does not know how to execute is given to the shell, as glibc's `execvp` does. musl leaves that
/// to its caller.
fn execute_or_interpret(session: &Session, path: &CStr, argv: Strings, envp: Strings) -> Failure {
    match execute(session, path, argv, envp) {
        Failure::Kernel(Errno::NOEXEC) if libc::is_glibc() => {}
        failure => return failure,
    }
    let shell = c"/bin/sh";
    let mut failure = Failure::Kernel(Errno::NOEXEC);
    with_arguments(&[shell.as_ptr(), path.as_ptr()], argv, |argv| {
        failure = execute(session, shell, argv, envp)
    });
    failure
}
