// SPDX-License-Identifier: Apache-2.0
//! Starts a program in as few system calls as there can be. The standard library's way asks what each of 64 signals does,
//! and resets it, which `execve` does by itself: only what is ignored stays so, and Rust ignores one. For a process of one thread.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use libc::{c_char, c_int, c_void};

/// Of what runs before `execve`.
const STACK: usize = 16 * 1024;

#[repr(align(16))]
struct Stack([u8; STACK]);

/// Where programs are started.
pub struct Place {
    directory: CString,
    pub streams: [File; 3],
    stack: Box<Stack>,
}

/// What the child reads; it shares this process's memory.
struct Plan<'a> {
    directory: &'a CString,
    streams: [c_int; 3],
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    /// Why the program could not be executed.
    errno: AtomicI32,
}

impl Place {
    pub fn new(directory: CString, streams: [File; 3]) -> Self {
        Self { directory, streams, stack: Box::new(Stack([0; STACK])) }
    }

    /// Runs the program that is the first of the arguments to its end.
    pub fn run(&mut self, args: Vec<OsString>, env: Vec<OsString>) -> io::Result<ExitStatus> {
        let (args, env) = (strings(args)?, strings(env)?);
        let plan = Plan {
            directory: &self.directory,
            streams: [0, 1, 2].map(|number| self.streams[number].as_raw_fd()),
            argv: pointers(&args),
            env: pointers(&env),
            errno: AtomicI32::new(0),
        };
        let (all, mut before) = (u64::MAX, 0_u64);
        // What comes in between is for this process alone.
        mask(libc::SIG_BLOCK, &all, &mut before);
        let (flags, argument) = (libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, ptr::from_ref(&plan));
        // SAFETY: the child runs `child` on a stack of its own, which grows down from its end, while this process stands still
        // (CLONE_VFORK), until it executes a program or exits; so the plan and the stack outlive their use there.
        let pid = unsafe {
            let top = self.stack.0.as_mut_ptr().byte_add(STACK);
            libc::clone(child, top.cast(), flags, argument.cast_mut().cast())
        };
        let started = if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) };
        mask(libc::SIG_SETMASK, &before, &mut 0);
        let mut status = 0;
        let started = started?;
        // SAFETY: the status has room.
        while unsafe { libc::waitpid(started, &raw mut status, 0) } < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        match plan.errno.load(Relaxed) {
            0 => Ok(ExitStatus::from_raw(status)),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// By a direct system call, as glibc keeps two signals to itself.
fn mask(how: c_int, set: &u64, before: &mut u64) {
    // SAFETY: both are sets of eight bytes.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            how,
            ptr::from_ref(set),
            ptr::from_mut(before),
            size_of::<u64>(),
        )
    };
}

/// Between `clone` and `execve`: system calls only.
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: `run` passes its plan, and stands still while this runs.
    let plan = unsafe { &*plan.cast_const().cast::<Plan<'_>>() };
    // SAFETY: numbers, and strings and arrays of the plan that are NUL- and null-terminated.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let can_run = (0..).zip(plan.streams).all(|(number, stream)| libc::dup2(stream, number) >= 0)
            && libc::chdir(plan.directory.as_ptr()) == 0;
        if can_run {
            mask(libc::SIG_SETMASK, &0, &mut 0);
            libc::execve(plan.argv[0], plan.argv.as_ptr(), plan.env.as_ptr());
        }
        plan.errno.store(*libc::__errno_location(), Relaxed);
        libc::_exit(127)
    }
}

fn strings(all: Vec<OsString>) -> io::Result<Vec<CString>> {
    Ok(all.into_iter().map(|one| CString::new(one.into_vec())).collect::<Result<_, _>>()?)
}

/// As `execve` takes them.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use super::*;

    fn place(directory: &str) -> Place {
        let streams = [0, 1, 2].map(|_| tempfile::tempfile().unwrap());
        Place::new(CString::new(directory).unwrap(), streams)
    }

    fn words(all: &[&str]) -> Vec<OsString> {
        all.iter().map(OsString::from).collect()
    }

    #[test]
    fn a_program_gets_what_it_is_given_and_nothing_else() {
        let mut place = place("/usr");
        let script = "pwd; env; echo $1 >&2; grep Sig /proc/self/status; exit 7";
        let status = place.run(words(&["/bin/sh", "-c", script, "sh", "more"]), words(&["A=b=c"])).unwrap();
        assert_eq!(status.code(), Some(7));
        let [_, said, warned] = &mut place.streams;
        let mut text = [String::new(), String::new()];
        for (file, text) in [said, warned].into_iter().zip(&mut text) {
            file.rewind().unwrap();
            file.read_to_string(text).unwrap();
        }
        assert_eq!(text[1], "more\n");
        assert!(text[0].starts_with("/usr\n") && text[0].contains("\nA=b=c\n"), "{}", text[0]);
        let set = |name: &str| {
            let (_, rest) = text[0].split_once(name).unwrap();
            u64::from_str_radix(rest.lines().next().unwrap().trim(), 16).unwrap()
        };
        assert_eq!((set("SigBlk:"), set("SigIgn:") & (1 << (libc::SIGPIPE - 1))), (0, 0));
        let status = place.run(words(&["/bin/sh", "-c", "kill -9 $$"]), Vec::new()).unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn what_cannot_be_started_says_why() {
        for (directory, program, errno) in [
            ("/", "/nowhere", libc::ENOENT),
            ("/nowhere", "/bin/sh", libc::ENOENT),
            ("/", "/etc", libc::EACCES),
        ] {
            let error = place(directory).run(words(&[program]), Vec::new()).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(errno), "{directory} {program}");
        }
        let error = place("/").run(words(&["/bin/sh", "a\0b"]), Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
