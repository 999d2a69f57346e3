// SPDX-License-Identifier: Apache-2.0
//! `posix_spawn` and `posix_spawnp`: the caller goes on, so a deferred command is a child that exits at once: one that never runs
//! anything where that is the same, otherwise the stand-in.

use core::ffi::{CStr, c_char, c_int, c_short, c_void};

use crate::arguments::{for_each_candidate, with_arguments};
use crate::ask::{Request, Rest, write_all};
use crate::environment::Change;
use crate::hooks::next;
use crate::libc::Next;
use crate::session::Session;
use crate::spawn_actions::Effects;
use crate::sys::{self, AT_FDCWD, End, Errno, PATH_MAX};
use crate::text::{Array, Strings, Text, string};
use wire::{Reply, reply_kind, request_flags, request_kind};

/// The prototype of both.
pub(crate) type Spawn =
    unsafe extern "C" fn(*mut c_int, *const c_char, *const c_void, *const c_void, Array, Array) -> c_int;

/// The arguments of both.
#[derive(Clone, Copy)]
pub(crate) struct Arguments {
    pub(crate) pid: *mut c_int,
    pub(crate) file: *const c_char,
    pub(crate) actions: *const c_void,
    pub(crate) attributes: *const c_void,
    pub(crate) argv: Array,
    pub(crate) envp: Array,
}

impl Arguments {
    /// # Safety
    /// The arguments are as `posix_spawn` wants them.
    unsafe fn call(&self, function: &Next<Spawn>) -> c_int {
        match function.get() {
            // SAFETY: as the caller promises.
            Some(spawn) => unsafe {
                spawn(self.pid, self.file, self.actions, self.attributes, self.argv, self.envp)
            },
            None => Errno::NOSYS.0,
        }
    }

    /// Would a child that is not made by the C library be in the wrong process group or session?
    ///
    /// # Safety
    /// The attributes are null or initialised.
    unsafe fn change_group(&self) -> bool {
        const SETPGROUP_OR_SETSID: c_short = 0x02 | 0x80;
        // SAFETY: the flags are the first member, in glibc as a `short`, in musl as an `int` of which this is the low half.
        !self.attributes.is_null() && unsafe { *self.attributes.cast::<c_short>() } & SETPGROUP_OR_SETSID != 0
    }
}

/// Asks, and does what the reply says. The result is what `posix_spawn` returns.
///
/// # Safety
/// The arguments are as `posix_spawn` wants them; `function` is the one that was called.
pub(crate) unsafe fn spawn(
    session: &Session,
    function: &Next<Spawn>,
    search: bool,
    arguments: Arguments,
) -> c_int {
    let mut rest = Rest::nothing();
    // SAFETY: as the caller promises.
    let Answer { reply, only_exits, stdout } = match unsafe { ask(session, search, &arguments, &mut rest) } {
        Some(answer) => answer,
        // SAFETY: as the caller promises.
        None => return unsafe { arguments.call(function) },
    };
    match reply.kind {
        reply_kind::EXIT => {
            let is_done = only_exits && print(stdout, rest.text());
            // SAFETY: as the caller promises.
            unsafe {
                if is_done {
                    spawn_end(End::Exit(reply.value), &arguments)
                } else {
                    spawn_stand_in(session, reply.value, rest.string(), arguments)
                }
            }
        }
        // A build driver that is told of an error leaves what it was making as it is, even if it is told to end by a signal at
        // the same time; where a command was ended by a signal it removes it.
        // SAFETY: as the caller promises.
        reply_kind::ORPHANED => unsafe { spawn_end(End::Killed, &arguments) },
        reply_kind::FAIL => reply.value,
        reply_kind::PENDING => {
            let connection = rest.connection.unwrap_or(-1);
            // SAFETY: as the caller promises.
            let result = unsafe { spawn_waiting(session, &reply, connection, arguments) };
            sys::close(connection);
            result
        }
        _ => {
            let mut result = Errno::NOSYS.0;
            // SAFETY: as the caller promises.
            let envp = unsafe { Strings::new(arguments.envp) };
            Change::of(&reply).apply(session, envp, |envp| {
                // SAFETY: as the caller promises; the new environment is a good one.
                result = unsafe { Arguments { envp, ..arguments }.call(function) };
            });
            result
        }
    }
}

struct Answer {
    reply: Reply,
    /// Will a child do that only exits?
    only_exits: bool,
    /// Which of our descriptors is the child's standard output.
    stdout: Option<c_int>,
}

/// Prints in the child's place. `false` where the child has to do it itself: it may have to wait, or to be told by a signal that nobody
/// reads it any more.
fn print(stdout: Option<c_int>, text: &[u8]) -> bool {
    if text.is_empty() {
        return true;
    }
    let Some(stdout) = stdout.filter(|&fd| sys::takes_more(fd)) else { return false };
    write_all(stdout, text);
    true
}

/// What the tracer says. Nothing where there is nothing to ask about.
///
/// Its own function so that its buffers are off the stack when the child is made.
///
/// # Safety
/// The arguments are as `posix_spawn` wants them.
#[inline(never)]
unsafe fn ask(session: &Session, search: bool, arguments: &Arguments, rest: &mut Rest) -> Option<Answer> {
    // SAFETY: as the caller promises.
    let (file, mut effects) = unsafe { (string(arguments.file)?, Effects::of(arguments.actions)) };
    let mut found = [0; PATH_MAX];
    let file = if search && !file.to_bytes().contains(&b'/') { find(file, &mut found)? } else { file };
    let mut buffer = [0; PATH_MAX];
    let fds = effects.identities();
    let path = effects.locate(file, &mut buffer)?;
    sys::may_execute(AT_FDCWD, path.as_ptr()).ok()?;
    let mut own_cwd = [0; PATH_MAX];
    let cwd = effects.cwd().unwrap_or_else(|| sys::getcwd(&mut own_cwd));
    // SAFETY: as the caller promises.
    let (argv, envp) = unsafe { (Strings::new(arguments.argv), Strings::new(arguments.envp)) };
    let fds_unknown = if effects.known { 0 } else { request_flags::FDS_UNKNOWN };
    // A child that waits finds the program by the same name, and has the connection.
    let can_wait = !search && file.to_bytes().starts_with(b"/") && effects.keeps_others();
    let flags = request_flags::SPAWN | fds_unknown | if can_wait { request_flags::WAITS } else { 0 };
    let reply = Request {
        kind: request_kind::EXEC,
        flags,
        // The caller goes on, perhaps with other threads: its mask must not be touched.
        umask: sys::umask_by_reading().unwrap_or_else(sys::umask),
        fds,
        others: &[],
        parts: &[path.to_bytes_with_nul(), cwd, b"\0"],
        argv,
        envp,
        stderr: effects.stderr(),
    }
    .ask_all(session, rest)?;
    // SAFETY: as the caller promises.
    let only_exits = effects.only_descriptors && !unsafe { arguments.change_group() };
    Some(Answer { reply, only_exits, stdout: effects.stdout() })
}

/// Where `posix_spawnp` will find a program.
fn find<'a>(name: &CStr, buffer: &'a mut [u8; PATH_MAX]) -> Option<&'a CStr> {
    for_each_candidate(name, |path| {
        let found = sys::stat_at(AT_FDCWD, path.as_ptr(), 0).is_ok_and(|stat| stat.is_file())
            && sys::may_execute(AT_FDCWD, path.as_ptr()).is_ok();
        found.then(|| Text::new(buffer).push(path.to_bytes_with_nul()).bytes().len())
    })?;
    CStr::from_bytes_until_nul(buffer).ok()
}

/// A child that does nothing but end.
///
/// # Safety
/// The arguments are as `posix_spawn` wants them.
unsafe fn spawn_end(end: End, arguments: &Arguments) -> c_int {
    match sys::spawn_end(end) {
        Ok(child) => {
            if !arguments.pid.is_null() {
                // SAFETY: the caller wants the child's id there.
                unsafe { *arguments.pid = child }
            }
            0
        }
        Err(errno) => errno.0,
    }
}

/// A real child, with all that the caller wants done in it, that prints and exits with `code`.
///
/// # Safety
/// The arguments are as `posix_spawn` wants them.
unsafe fn spawn_stand_in(
    session: &Session,
    code: c_int,
    prints: Option<&CStr>,
    arguments: Arguments,
) -> c_int {
    let mut digits = [0; 16];
    let mut text = Text::new(&mut digits);
    // The kernel keeps the low eight bits of an exit code.
    text.push_number((code & 0xff) as u32);
    let Some(digits) = text.finish() else { return Errno::NOSYS.0 };
    let file = session.stand_in().as_ptr();
    let prints = prints.map_or(core::ptr::null(), CStr::as_ptr);
    let argv = [file, digits.as_ptr(), prints, core::ptr::null()];
    // SAFETY: as the caller promises; path and arguments are our own.
    unsafe { Arguments { file, argv: argv.as_ptr(), ..arguments }.call(&next::posix_spawn) }
}

/// A real child that waits for the answer in our place: the stand-in, which prints and exits, or executes the program after all.
///
/// # Safety
/// The arguments are as `posix_spawn` wants them.
unsafe fn spawn_waiting(session: &Session, reply: &Reply, connection: c_int, arguments: Arguments) -> c_int {
    let mut buffer = [0; 16];
    let mut text = Text::new(&mut buffer);
    text.push(&[wire::WAITING]).push_number(connection as u32);
    let Some(waiting) = text.finish() else { return Errno::NOSYS.0 };
    if sys::keep_over_exec(connection).is_err() {
        return Errno::NOSYS.0;
    }
    // SAFETY: as the caller promises.
    let (argv, envp) = unsafe { (Strings::new(arguments.argv), Strings::new(arguments.envp)) };
    let file = session.stand_in().as_ptr();
    let name = argv.iter().next().map_or(core::ptr::null(), CStr::as_ptr);
    let mut result = Errno::NOMEM.0;
    with_arguments(&[file, waiting.as_ptr(), arguments.file, name], argv, |argv| {
        Change::of(reply).apply(session, envp, |envp| {
            // SAFETY: as the caller promises; path, arguments and environment are good ones.
            result = unsafe {
                Arguments { file, argv: argv.as_ptr(), envp, ..arguments }.call(&next::posix_spawn)
            };
        });
    });
    result
}
