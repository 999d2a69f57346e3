// SPDX-License-Identifier: Apache-2.0
//! `posix_spawn` and `posix_spawnp`: the caller goes on, so a deferred command is a child that exits at once: one that never runs
//! anything where that is the same, otherwise the stand-in. While the tracer thinks, a child waits.

use core::ffi::{CStr, c_char, c_int, c_void};

use crate::arguments::for_each_candidate_in;
use crate::ask::{Heard, Request, Rest, wait_for_reply, write_all};
use crate::environment::Change;
use crate::hooks::next;
use crate::libc::Next;
use crate::room::{Buffer, Room};
use crate::session::Session;
use crate::spawn_actions::Effects;
use crate::spawn_attributes::Attributes;
use crate::sys::{self, AT_FDCWD, End, Errno};
use crate::text::{Array, Strings, Text, string};
use crate::waiting::{self, Wanted};
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

    /// Tells the caller the child's id. The result is what `posix_spawn` returns.
    ///
    /// # Safety
    /// The arguments are as `posix_spawn` wants them.
    unsafe fn made(&self, child: c_int) -> c_int {
        if !self.pid.is_null() {
            // SAFETY: the caller wants the child's id there.
            unsafe { *self.pid = child }
        }
        0
    }
}

/// Asks, and does what the reply says. The result is what `posix_spawn` returns.
///
/// # Safety
/// The arguments are as `posix_spawn` wants them; `function` is the one that was called.
pub(crate) unsafe fn spawn(
    session: &'static Session,
    function: &Next<Spawn>,
    search: bool,
    arguments: Arguments,
) -> c_int {
    let mut rest = Rest::nothing();
    let mut room = Room::new();
    // SAFETY: as the caller promises.
    let asked =
        room.as_mut().and_then(|room| unsafe { ask(session, search, &arguments, &mut rest, room.buffers()) });
    let Some(mut asked) = asked else {
        return match Change::unasked(session) {
            // SAFETY: as the caller promises.
            Some(change) => unsafe { spawn_with(session, &[change], function, arguments) },
            // SAFETY: as the caller promises.
            None => unsafe { arguments.call(function) },
        };
    };
    if asked.reply.kind == reply_kind::PENDING {
        // SAFETY: as the caller promises.
        if let Some(child) = unsafe { spawn_waiting(session, &asked, &rest, &arguments) } {
            if let Some(connection) = rest.connection {
                sys::close(connection);
            }
            // SAFETY: as the caller promises.
            return unsafe { arguments.made(child) };
        }
        match wait_for_reply(session, &mut rest, asked.stderr) {
            Heard::Reply(reply) => asked.reply = reply,
            // SAFETY: as the caller promises.
            Heard::Ended => return unsafe { arguments.call(function) },
            Heard::Killed => asked.reply.kind = reply_kind::KILLED,
        }
    }
    let Asked { reply, attributes, stdout, .. } = asked;
    match reply.kind {
        reply_kind::EXIT => {
            let attributes = attributes.filter(|_| print(stdout, rest.text()));
            // SAFETY: as the caller promises.
            unsafe {
                match attributes {
                    Some(attributes) => spawn_end(End::Exit(reply.value), attributes.group, &arguments),
                    None => spawn_stand_in(session, reply.value, rest.string(), arguments),
                }
            }
        }
        // A build driver that is told of an error leaves what it was making as it is, even if it is told to end by a signal at
        // the same time; where a command was ended by a signal it removes it.
        // SAFETY: as the caller promises.
        reply_kind::KILLED => unsafe { spawn_end(End::Killed, None, &arguments) },
        reply_kind::FAIL => reply.value,
        _ => {
            // The second where the first is too large: what the caller gave may fit.
            let changes = [Change::of(session, &reply), Change::WITHOUT];
            // SAFETY: as the caller promises.
            unsafe { spawn_with(session, &changes, function, arguments) }
        }
    }
}

/// Makes the child with the environment changed in the first of these ways in which it is not too large.
///
/// # Safety
/// The arguments are as `posix_spawn` wants them.
unsafe fn spawn_with(
    session: &Session,
    changes: &[Change],
    function: &Next<Spawn>,
    arguments: Arguments,
) -> c_int {
    let mut result = Errno::TOOBIG.0;
    // SAFETY: as the caller promises.
    let envp = unsafe { Strings::new(arguments.envp) };
    for change in changes {
        change.apply(session, envp, |envp| {
            // SAFETY: as the caller promises; the new environment is a good one.
            result = unsafe { Arguments { envp, ..arguments }.call(function) };
        });
        if result != Errno::TOOBIG.0 {
            break;
        }
    }
    result
}

/// What the tracer says, and what is known of the child.
struct Asked<'a> {
    reply: Reply,
    /// What a child has to do that the C library did not make; nothing where only the C library can make one.
    attributes: Option<Attributes>,
    /// Which of our descriptors is the child's standard output.
    stdout: Option<c_int>,
    /// Where a failure is told.
    stderr: Option<c_int>,
    /// The program.
    path: &'a CStr,
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
/// # Safety
/// The arguments are as `posix_spawn` wants them.
#[inline(never)]
unsafe fn ask<'a>(
    session: &Session,
    search: bool,
    arguments: &Arguments,
    rest: &mut Rest,
    [kept, found, buffer, own_cwd, changed_cwd, scratch]: &'a mut [Buffer; 6],
) -> Option<Asked<'a>> {
    // SAFETY: as the caller promises.
    let (file, mut effects) =
        unsafe { (string(arguments.file)?, Effects::of(arguments.actions, changed_cwd, &mut *scratch)) };
    let file = if search && !file.to_bytes().contains(&b'/') { find(file, found, scratch)? } else { file };
    let fds = effects.identities();
    let path = effects.locate(file, buffer)?;
    let mut text = Text::new(kept);
    text.push(path.to_bytes());
    let kept = text.finish()?;
    sys::may_execute(AT_FDCWD, path.as_ptr()).ok()?;
    let cwd = effects.cwd().unwrap_or_else(|| sys::getcwd(own_cwd));
    // SAFETY: as the caller promises.
    let (argv, envp) = unsafe { (Strings::new(arguments.argv), Strings::new(arguments.envp)) };
    let fds_unknown = if effects.known { 0 } else { request_flags::FDS_UNKNOWN };
    // SAFETY: as the caller promises.
    let attributes = unsafe { Attributes::of(arguments.attributes) }.filter(|_| effects.only_descriptors);
    let waits = if attributes.is_some() { request_flags::WAITS } else { 0 };
    let stderr = effects.stderr();
    let reply = Request {
        kind: request_kind::EXEC,
        command: session.command,
        flags: request_flags::SPAWN | fds_unknown | waits,
        // The caller goes on, perhaps with other threads: its mask must not be touched.
        umask: sys::umask_by_reading().unwrap_or_else(sys::umask),
        fds,
        others: &[],
        parts: &[path.to_bytes_with_nul(), cwd, b"\0"],
        argv,
        envp,
        stderr,
    }
    .ask_all(session, rest)?;
    Some(Asked { reply, attributes, stdout: effects.stdout(), stderr, path: kept })
}

/// Where `posix_spawnp` will find a program.
fn find<'a>(name: &CStr, buffer: &'a mut Buffer, scratch: &mut Buffer) -> Option<&'a CStr> {
    for_each_candidate_in(scratch, name, |path| {
        let found = sys::stat_at(AT_FDCWD, path.as_ptr(), 0).is_ok_and(|stat| stat.is_file())
            && sys::may_execute(AT_FDCWD, path.as_ptr()).is_ok();
        found.then(|| Text::new(buffer).push(path.to_bytes_with_nul()).bytes().len())
    })?;
    CStr::from_bytes_until_nul(buffer).ok()
}

/// A child that does nothing but end, in this process group: the caller may wait for whatever is in it.
///
/// # Safety
/// The arguments are as `posix_spawn` wants them.
unsafe fn spawn_end(end: End, group: Option<c_int>, arguments: &Arguments) -> c_int {
    match sys::spawn_end(end) {
        Ok(child) => {
            if let Some(group) = group {
                sys::set_process_group(child, group);
            }
            // SAFETY: as the caller promises.
            unsafe { arguments.made(child) }
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

/// A child that waits for the answer in our place. Nothing where none can.
///
/// # Safety
/// The arguments are as `posix_spawn` wants them.
unsafe fn spawn_waiting(
    session: &'static Session,
    asked: &Asked<'_>,
    rest: &Rest,
    arguments: &Arguments,
) -> Option<c_int> {
    let wanted = Wanted {
        session,
        connection: rest.connection?,
        attributes: asked.attributes?,
        actions: arguments.actions,
        path: asked.path.as_ptr(),
        argv: arguments.argv,
        envp: arguments.envp,
    };
    // SAFETY: as the caller promises; attributes are told only where the actions concern descriptors alone.
    unsafe { waiting::spawn(&wanted) }
}
