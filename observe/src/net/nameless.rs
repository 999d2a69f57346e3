// SPDX-License-Identifier: Apache-2.0
//! How this machine's C library and its loader ask what a file is that they have open: by `newfstatat` with an empty path. That
//! names nothing, and is a third of the calls that a program makes before its `main`, but a filter cannot look at a path to see that it is
//! empty. It can see that the path is the very one that this code always gives: the library's own constant (`constant.rs`).
//!
//! Which instruction and how far is found out by having the library do it, in a thread in which that call is trapped. What is not
//! known by this is asked about as ever: other C libraries, static programs, and a path that only happens to be empty.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{mem, ptr, thread};

use super::constant::{Asked, Constant};
use super::maps::mapping_at;
use crate::{arch, filter};

/// The call by which it does.
const ASKED: Asked = Asked { number: arch::STAT_AT, path: 1, given: Some((3, libc::AT_EMPTY_PATH as u32)) };

/// The places that are known. Found out once; none where that cannot be done.
pub(super) fn known() -> &'static [Constant] {
    static KNOWN: OnceLock<Vec<Constant>> = OnceLock::new();
    // What is not known costs time, and nothing else.
    KNOWN.get_or_init(|| find().unwrap_or_default())
}

/// What was trapped: instruction and path, of as many calls as there is room for.
static TRAPPED: [[AtomicU64; 2]; 8] = [const { [const { AtomicU64::new(0) }; 2] }; 8];
static COUNT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn trapped(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO the context of the thread it interrupts, and takes it back afterwards.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let (instruction, args) = arch::trapped(context, libc::ENOSYS);
    if args[3] == libc::AT_EMPTY_PATH as u64
        && let Some([at, path]) = TRAPPED.get(COUNT.fetch_add(1, Ordering::Relaxed))
    {
        at.store(instruction, Ordering::Relaxed);
        path.store(args[1], Ordering::Relaxed);
    }
}

fn find() -> io::Result<Vec<Constant>> {
    // The handler is the whole process's: one at a time.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let file = File::open("/proc/self/exe")?;
    // SAFETY: all zeroes is a valid `sigaction`.
    let (mut action, mut before): (libc::sigaction, libc::sigaction) = unsafe { mem::zeroed() };
    action.sa_sigaction = trapped as *const () as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler touches its context and atomics only. Nobody else sends this signal, by which a process would end.
    if unsafe { libc::sigaction(libc::SIGSYS, &raw const action, &raw mut before) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let ask = move || -> io::Result<()> {
        filter::install_trapping_nameless()?;
        // SAFETY: all its fields are integers, for which zero is a value.
        let mut stat: libc::stat = unsafe { mem::zeroed() };
        // The library's own code; then the loader's, which asks first and finds only then that this is no library. Both are told
        // that there is no such call.
        // SAFETY: the call writes at most one structure; what is not loaded runs no code.
        unsafe {
            libc::fstat(file.as_raw_fd(), &raw mut stat);
            libc::dlopen(c"/proc/self/exe".as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL);
        }
        Ok(())
    };
    let asked = thread::Builder::new().spawn(ask).map(thread::JoinHandle::join);
    // SAFETY: puts back what was there.
    unsafe { libc::sigaction(libc::SIGSYS, &raw const before, ptr::null_mut()) };
    asked?.unwrap_or_else(|payload| std::panic::resume_unwind(payload))?;

    let maps = fs::read_to_string("/proc/self/maps")?;
    let mut found = Vec::new();
    for [instruction, path] in TRAPPED.iter().take(COUNT.load(Ordering::Relaxed)) {
        let (instruction, path) = (instruction.load(Ordering::Relaxed), path.load(Ordering::Relaxed));
        if !is_constant_of(&maps, path, instruction) {
            continue;
        }
        // SAFETY: the library has given this address as that of a string, and it is mapped, as just seen.
        if unsafe { *(path as *const u8) } != 0 {
            continue;
        }
        let place = Constant::new(ASKED, instruction, path);
        if !found.contains(&place) {
            found.push(place);
        }
    }
    Ok(found)
}

/// Is this address one of the same file as that code, and of what nobody writes to?
fn is_constant_of(maps: &str, address: u64, code: u64) -> bool {
    match (mapping_at(maps, address), mapping_at(maps, code)) {
        (Some(constants), Some(code)) => constants.file == code.file && constants.is_constant(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_where_the_library_asks_so() {
        let known = known();
        // There are C libraries that have a call of its own for that.
        assert_eq!(known.is_empty(), COUNT.load(Ordering::Relaxed) == 0, "{known:?}");
        // And afterwards the call is made.
        assert!(File::open("/proc/self/exe").unwrap().metadata().unwrap().is_file());
        assert!(fs::metadata("/proc/self/exe").unwrap().is_file());
    }

    #[test]
    fn only_constants_of_the_same_file_count() {
        let maps = "1000-2000 r--p 00000000 fe:00 1 /lib/c.so\n2000-3000 r-xp 00001000 fe:00 1 /lib/c.so\n\
                    3000-4000 rw-p 00002000 fe:00 1 /lib/c.so\n4000-5000 r--p 00000000 fe:00 2 /lib/d.so\n\
                    5000-6000 rw-p 00000000 00:00 0 \n";
        let is = |address| is_constant_of(maps, address, 0x2abc);
        assert!(is(0x1fff) && is(0x2000));
        assert!(!is(0x3000) && !is(0x4000) && !is(0x5000) && !is(0x6000));
        assert!(!is_constant_of(maps, 0x1000, 0x7000));
    }
}
