// SPDX-License-Identifier: Apache-2.0
//! `system` and `popen`: the C library starts the shell by itself, where it is on this machine. So they are done here.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use crate::exec::Spawn;

use crate::libc::{self, Next, environ};
use crate::more;
use crate::root::{Root, string};
use crate::sys::{self, Errno};
use crate::text::Strings;

const SHELL: &CStr = c"/bin/sh";

/// `system`. Unlike the C library's, it leaves signals as they are: nobody types at a command in a sandbox.
///
/// # Safety
/// The argument is null or a string.
pub(crate) unsafe fn runs(root: &Root, command: *const c_char) -> Result<c_int, Errno> {
    // SAFETY: as the caller promises.
    let Some(command) = (unsafe { string(command) }) else {
        let mut room = crate::root::Room::uninit();
        let shell = root.outside(sys::AT_FDCWD, SHELL, &mut room)?;
        return Ok(c_int::from(sys::may_execute(sys::AT_FDCWD, shell.as_ptr()).is_ok()));
    };
    let mut child = 0;
    let spawn = Spawn { pid: &raw mut child, actions: core::ptr::null(), attributes: core::ptr::null() };
    match start(root, spawn, command) {
        Ok(()) => more::wait_for(child),
        // As if the shell had ended with 127.
        Err(_) => Ok(127 << 8),
    }
}

fn start(root: &Root, spawn: Spawn, command: &CStr) -> Result<(), Errno> {
    let argv = [c"sh".as_ptr(), c"-c".as_ptr(), command.as_ptr(), core::ptr::null()];
    // SAFETY: the arrays end with null pointers; the environment is the program's.
    unsafe { spawn.start(root, SHELL, Strings::new(argv.as_ptr()), Strings::new(environ.cast_const())) }
}

/// Streams that are open to a shell, and their children. A slot is taken while its stream is not null.
static OPEN: [Slot; 64] =
    [const { Slot { stream: AtomicPtr::new(core::ptr::null_mut()), child: AtomicI32::new(0) } }; 64];

struct Slot {
    stream: AtomicPtr<c_void>,
    child: AtomicI32,
}

/// Stands in a slot that is being filled.
const FILLING: *mut c_void = core::ptr::without_provenance_mut(1);

/// glibc's and musl's structure, with room to spare.
#[repr(C, align(16))]
struct Actions([u8; 256]);

// SAFETY: the prototypes that these have in every C library.
static INIT: Next<unsafe extern "C" fn(*mut Actions) -> c_int> =
    unsafe { Next::new(c"posix_spawn_file_actions_init") };
// SAFETY: as above.
static DUP2: Next<unsafe extern "C" fn(*mut Actions, c_int, c_int) -> c_int> =
    unsafe { Next::new(c"posix_spawn_file_actions_adddup2") };
// SAFETY: as above.
static DESTROY: Next<unsafe extern "C" fn(*mut Actions) -> c_int> =
    unsafe { Next::new(c"posix_spawn_file_actions_destroy") };
// SAFETY: as above.
static FCLOSE: Next<unsafe extern "C" fn(*mut c_void) -> c_int> = unsafe { Next::new(c"fclose") };

/// `popen`.
///
/// # Safety
/// Both arguments are strings.
pub(crate) unsafe fn opens(
    root: &Root,
    command: *const c_char,
    mode: *const c_char,
) -> Result<*mut c_void, Errno> {
    // SAFETY: as the caller promises.
    let (Some(command), Some(mode)) = (unsafe { (string(command), string(mode)) }) else {
        return Err(Errno::INVAL);
    };
    let reads = match mode.to_bytes().first() {
        Some(b'r') => true,
        Some(b'w') => false,
        _ => return Err(Errno::INVAL),
    };
    let slot = OPEN
        .iter()
        .find(|slot| {
            let empty = core::ptr::null_mut();
            slot.stream.compare_exchange(empty, FILLING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
        .ok_or(Errno(24))?;
    let stream = open(root, slot, command, mode, reads);
    slot.stream.store(stream.as_ref().map_or(core::ptr::null_mut(), |stream| *stream), Ordering::Release);
    stream
}

fn open(root: &Root, slot: &Slot, command: &CStr, mode: &CStr, reads: bool) -> Result<*mut c_void, Errno> {
    let [from, to] = more::pipe()?;
    let (ours, theirs, number) = if reads { (from, to, 1) } else { (to, from, 0) };
    let (Some(init), Some(dup2), Some(destroy)) = (INIT.get(), DUP2.get(), DESTROY.get()) else {
        return Err(Errno::NOSYS);
    };
    let mut actions = Actions([0; 256]);
    let mut child = 0;
    // SAFETY: the structure has room for what the C library keeps there, and is initialised first.
    let started = unsafe {
        init(&raw mut actions);
        dup2(&raw mut actions, theirs, number);
        let actions_here = (&raw const actions).cast();
        let spawn = Spawn { pid: &raw mut child, actions: actions_here, attributes: core::ptr::null() };
        let started = start(root, spawn, command);
        destroy(&raw mut actions);
        started
    };
    sys::close(theirs);
    if let Err(errno) = started {
        sys::close(ours);
        return Err(errno);
    }
    if !mode.to_bytes().contains(&b'e') {
        more::keep_on_exec(ours);
    }
    // SAFETY: a string.
    let stream = unsafe { libc::fdopen(ours, if reads { c"r" } else { c"w" }.as_ptr()) };
    if stream.is_null() {
        sys::close(ours);
        return Err(libc::errno());
    }
    slot.child.store(child, Ordering::Relaxed);
    Ok(stream)
}

/// `pclose`.
///
/// # Safety
/// `stream` is open.
pub(crate) unsafe fn closes(stream: *mut c_void, call: &dyn Fn() -> c_int) -> Result<c_int, Errno> {
    let Some(slot) = OPEN.iter().find(|slot| slot.stream.load(Ordering::Acquire) == stream) else {
        return Ok(call());
    };
    let child = slot.child.load(Ordering::Relaxed);
    slot.stream.store(core::ptr::null_mut(), Ordering::Release);
    if let Some(close) = FCLOSE.get() {
        // SAFETY: as the caller promises.
        unsafe { close(stream) };
    }
    more::wait_for(child)
}
