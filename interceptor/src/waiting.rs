// SPDX-License-Identifier: Apache-2.0
//! A child that waits for the tracer's answer in its parent's place, so that the parent goes on: it prints and exits,
//! or executes the program after all. It is a process of its own in its parent's memory, as the C library's
//! `posix_spawn` makes one, but the parent does not stop for it, and until there is something to execute it costs no
//! more than a thread.
//!
//! It runs on a stack of its own with copies of all that it needs, which the kernel tells us it has left: it clears a word when the child
//! executes a program or ends. The child makes system calls and writes to its own memory, nothing else. Knows nothing of what is asked.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::ask::{Heard, Request, Rest, hear, write_all};
use crate::copies::Copies;
use crate::environment::Change;
use crate::session::Session;
use crate::spawn_actions;
use crate::spawn_attributes::Attributes;
use crate::sys::{self, AT_FDCWD, Errno, PATH_MAX};
use crate::text::{Array, Strings, Text};
use wire::{FdIdentity, reply_kind, request_kind};

/// So many children of a process can wait at a time.
const SLOTS: usize = 64;
/// For the copies: a program is seldom given more.
const COPIES: usize = 128 * 1024;
/// For the child's stack, on which it keeps a changed environment. Pages that are not touched cost nothing.
const STACK: usize = 128 * 1024;

/// What one child uses.
struct Slot {
    /// Not zero while a child uses the slot.
    busy: AtomicU32,
    /// Mapped at first use, and kept.
    memory: AtomicPtr<u8>,
}

static SLOT: [Slot; SLOTS] =
    [const { Slot { busy: AtomicU32::new(0), memory: AtomicPtr::new(core::ptr::null_mut()) } }; SLOTS];

impl Slot {
    fn take() -> Option<&'static Self> {
        let slot = SLOT.iter().find(|slot| slot.busy.swap(1, Ordering::Acquire) == 0)?;
        if slot.memory.load(Ordering::Relaxed).is_null() {
            let Some(memory) = sys::map(COPIES + STACK) else {
                slot.give_back();
                return None;
            };
            slot.memory.store(memory, Ordering::Relaxed);
        }
        Some(slot)
    }

    fn give_back(&self) {
        self.busy.store(0, Ordering::Release);
    }
}

/// What a child is to do.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) session: &'static Session,
    /// Where it hears the answer.
    pub(crate) connection: c_int,
    pub(crate) attributes: Attributes,
    /// `posix_spawn`'s file actions.
    pub(crate) actions: *const c_void,
    pub(crate) path: *const c_char,
    pub(crate) argv: Array,
    pub(crate) envp: Array,
}

/// Makes the child: its process id. Nothing where it cannot be made, or is given too much.
///
/// # Safety
/// The pointers are what `posix_spawn` was given; the actions concern nothing but descriptors.
pub(crate) unsafe fn spawn(wanted: &Wanted) -> Option<c_int> {
    let slot = Slot::take()?;
    // SAFETY: as the caller promises.
    let child = unsafe { spawn_in(slot, wanted) };
    if child.is_none() {
        slot.give_back();
    }
    child
}

/// # Safety
/// As for [`spawn`].
unsafe fn spawn_in(slot: &'static Slot, wanted: &Wanted) -> Option<c_int> {
    let memory = slot.memory.load(Ordering::Relaxed);
    let group = wanted.attributes.group;
    // SAFETY: the slot is ours, and the start of its memory is for copies; the rest as the caller promises.
    let (wanted, task) = unsafe {
        let mut copies = Copies::new(memory, COPIES);
        let wanted = Wanted {
            path: copies.string(CStr::from_ptr(wanted.path))?,
            argv: copies.strings(Strings::new(wanted.argv))?,
            envp: copies.strings(Strings::new(wanted.envp))?,
            actions: spawn_actions::copy(wanted.actions, &mut copies)?,
            ..*wanted
        };
        (wanted, copies.array::<Task>(1)?)
    };
    let mask = sys::change_signal_mask(u64::MAX).ok()?;
    // SAFETY: there is room for the task, which stays until the word is cleared, as does the stack.
    let child = unsafe {
        task.write(Task { wanted, mask, interrupted: sys::pending_end(0) });
        sys::child_on_stack(memory.add(COPIES), STACK, &slot.busy, run, task.cast_const().cast())
    };
    let _ = sys::change_signal_mask(mask);
    let child = child.ok()?;
    if let Some(group) = group {
        // As the child does: whoever is first, the caller and the program find it there.
        sys::set_process_group(child, group);
    }
    Some(child)
}

struct Task {
    wanted: Wanted,
    /// The caller's mask of signals: all are blocked where the child begins.
    mask: u64,
    /// The caller has got this one already, which it blocks while it makes a child. It will take the child for one that got it too.
    interrupted: Option<c_int>,
}

/// What the child does. Its signal handlers are the default ones: those of the parent must not run in it.
///
/// # Safety
/// A [`Task`].
unsafe extern "C" fn run(task: *const c_void) -> ! {
    // SAFETY: as the caller promises.
    let Task { wanted, mask, interrupted } = unsafe { &*task.cast::<Task>() };
    let Attributes { resets_ids, group, mask: own_mask, defaults } = wanted.attributes;
    sys::default_signals(defaults);
    if let Some(group) = group {
        sys::set_process_group(0, group);
    }
    let mask = own_mask.unwrap_or(*mask);
    let mut rest = Rest::nothing();
    // Until it is decided, no signal ends this: what is put in place after the parent has heard of this end, nobody would know.
    let reply = loop {
        match hear(wanted.session, wanted.connection, &mut rest) {
            Heard::Reply(reply) if reply.kind == reply_kind::PENDING => {
                // It is: the command runs. A kernel that makes a core dump of us would end the parent, too.
                let _ = sys::change_signal_mask(mask | QUIT);
            }
            Heard::Reply(reply) => break Some(reply),
            Heard::Ended => break None,
            // Nobody must take this for a command that has worked, or for one that could not be started.
            Heard::Killed => sys::kill_self(),
        }
    };
    let exit = reply.filter(|reply| reply.kind == reply_kind::EXIT);
    if let Some(done) = exit {
        // A signal that comes later finds the parent with what was put in place.
        if let Some(signal) = sys::pending_end(mask).or(*interrupted) {
            undo(wanted.session, done.command);
            // Not by a core dump, see above.
            sys::end_by(if signal == sys::SIGQUIT { sys::SIGKILL } else { signal })
        }
        if rest.text().is_empty() {
            sys::exit_group(done.value)
        }
    }
    let _ = sys::change_signal_mask(mask | if exit.is_some() { QUIT } else { 0 });
    sys::close(wanted.connection);
    let has_own_ids = !resets_ids || sys::reset_ids().is_ok();
    // SAFETY: copied by `spawn_actions`.
    if !has_own_ids || unsafe { spawn_actions::perform(wanted.actions) }.is_err() {
        sys::exit_group(NOT_EXECUTED)
    }
    match reply {
        Some(reply) if reply.kind == reply_kind::EXIT => {
            write_all(1, rest.text());
            sys::exit_group(reply.value)
        }
        Some(reply) if reply.kind == reply_kind::FAIL => write_all(2, rest.text()),
        Some(reply) if reply.kind == reply_kind::KILLED => sys::kill_self(),
        Some(reply) => {
            // SAFETY: copies, which stay until a program is executed.
            let envp = unsafe { Strings::new(wanted.envp) };
            let mut errno = Errno::NOSYS;
            Change::of(wanted.session, &reply)
                .apply(wanted.session, envp, |envp| errno = execute(wanted, envp));
            if errno == Errno::TOOBIG {
                Change::WITHOUT.apply(wanted.session, envp, |envp| errno = execute(wanted, envp));
            }
            complain(wanted.path, errno);
        }
        None => complain(wanted.path, execute(wanted, wanted.envp)),
    }
    sys::exit_group(NOT_EXECUTED)
}

fn execute(wanted: &Wanted, envp: Array) -> Errno {
    sys::execveat(AT_FDCWD, wanted.path, wanted.argv, envp, 0, false)
}

/// Has taken back what was put in place for this command.
fn undo(session: &Session, command: u32) {
    let nothing = Strings::EMPTY;
    let _ = Request {
        kind: request_kind::UNDO,
        command,
        flags: 0,
        umask: 0,
        fds: [FdIdentity::default(); 3],
        others: &[],
        parts: &[b"\0", b"/\0"],
        argv: nothing,
        envp: nothing,
        stderr: None,
    }
    .ask(session);
}

/// Says that the kernel does not execute the program: `posix_spawn` has returned.
fn complain(path: *const c_char, errno: Errno) {
    let mut buffer = [0; PATH_MAX + 64];
    let mut text = Text::new(&mut buffer);
    // SAFETY: a copy of a string.
    text.push(b"ggtrace: ")
        .push(unsafe { CStr::from_ptr(path) }.to_bytes())
        .push(b": cannot be executed (errno ");
    text.push_number(errno.0.unsigned_abs()).push(b")\n");
    write_all(2, text.bytes());
}

/// `SIGQUIT` in a mask.
const QUIT: u64 = 1 << (sys::SIGQUIT - 1);

/// What a shell says, too.
const NOT_EXECUTED: c_int = 127;
