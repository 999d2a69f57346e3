// SPDX-License-Identifier: Apache-2.0
//! The two halves by themselves: a child that somebody else makes, inside namespaces and another root.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::time::Duration;

use observe::{Error, Event, Gate, Options, Pid, Sink, Touches, Use};
use support::Space;

/// What is done in a child; must not allocate, and returns what to exit with.
fn fork(child: impl FnOnce() -> i32) -> Pid {
    // SAFETY: the child makes async-signal-safe calls only.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let code = child();
        // SAFETY: ends the child.
        unsafe { libc::_exit(code) };
    }
    pid
}

fn options() -> Options {
    Options { timeout: Some(Duration::from_secs(30)), ..Options::default() }
}

#[test]
fn the_first_process_of_a_namespace_in_a_root_of_its_own() {
    let space = Space::new();
    let program = space.compile("reader", include_str!("odd.c"), &["-static", "-pthread"]);
    fs::create_dir_all(space.at("root/work")).unwrap();
    fs::rename(program, space.at("root/reader")).unwrap();
    space.write("root/work/file", "x");
    std::os::unix::fs::symlink("/work/file", space.at("root/link")).unwrap();
    let root = CString::new(space.at("root").as_os_str().as_bytes()).unwrap();

    let gate = Gate::new().unwrap();
    let run = |way: &std::ffi::CStr, path: &std::ffi::CStr| {
        let argv = [c"/reader".as_ptr(), way.as_ptr(), path.as_ptr(), ptr::null()];
        // SAFETY: system calls on constant strings and on arrays that end with a null pointer.
        unsafe {
            if libc::chroot(root.as_ptr()) != 0 || libc::chdir(c"/work".as_ptr()) != 0 {
                return 3;
            }
            if let Err(error) = gate.enter() {
                gate.fail(&error);
                return 4;
            }
            libc::execve(argv[0], argv.as_ptr(), [ptr::null()].as_ptr());
        }
        5
    };
    // The command is a grandchild, and process 1 where it lives; its parent's parent does not know its id.
    let middle = fork(|| {
        // SAFETY: takes numbers only.
        if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNS) } != 0 {
            return 2;
        }
        // SAFETY: as in `fork`.
        let inner = unsafe { libc::fork() };
        if inner == 0 {
            return run(c"raw", c"file");
        }
        let mut status = 0;
        // SAFETY: the kernel writes one int.
        unsafe { libc::waitpid(inner, &raw mut status, 0) };
        libc::WEXITSTATUS(status)
    });
    let mut touches = Touches::new();
    let result = gate.follow(&options(), &mut touches);
    let mut status = 0;
    // SAFETY: the kernel writes one int.
    unsafe { libc::waitpid(middle, &raw mut status, 0) };
    if libc::WEXITSTATUS(status) == 2 {
        println!("skipped: no user namespaces here");
        return;
    }
    let run = result.unwrap();
    assert!(run.status.success(), "{run:?} {touches:?}");
    // The status also reaches the one who waits for it inside.
    assert_eq!(status, 0);
    // Paths are those of the process, not ours.
    assert!(touches.get("/work/file").unwrap().has(Use::Read), "{touches:?}");
    let program = touches.get("/reader").unwrap();
    assert!(program.has(Use::Executed) && program.real.is_none(), "{program:?}");
}

#[test]
fn a_child_that_never_comes_to_the_gate() {
    for (code, send) in [(0, false), (7, true)] {
        let gate = Gate::new().unwrap();
        let child = fork(|| {
            if send {
                gate.fail(&std::io::Error::from_raw_os_error(libc::EACCES));
            }
            code
        });
        let error = gate.follow(&options(), &mut Touches::new()).unwrap_err();
        match error {
            Error::NeverReady => assert!(!send),
            Error::Start(source) => assert_eq!((source.raw_os_error(), send), (Some(libc::EACCES), true)),
            other => panic!("{other}"),
        }
        let mut status = 0;
        // SAFETY: the kernel writes one int.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(libc::WEXITSTATUS(status), code);
    }
}

#[test]
fn a_parent_that_goes_away() {
    let gate = Gate::new().unwrap();
    let child = fork(|| i32::from(gate.enter().is_ok()) + 40);
    drop(gate);
    let mut status = 0;
    // SAFETY: the kernel writes one int.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(libc::WEXITSTATUS(status), 40);
}

/// Who did what: each process's events.
#[derive(Default)]
struct Log(Vec<(Pid, Event)>);

impl Sink for Log {
    fn event(&mut self, process: Pid, event: Event) {
        self.0.push((process, event));
    }
}

#[test]
fn events_tell_processes_apart() {
    let gate = Gate::new().unwrap();
    let argv = [
        c"sh".as_ptr(),
        c"-c".as_ptr(),
        c"cat /etc/passwd >/dev/null; cat /etc/group >/dev/null; true".as_ptr(),
    ];
    let argv = [argv[0], argv[1], argv[2], ptr::null()];
    let child = fork(|| {
        if gate.enter().is_ok() {
            // SAFETY: constant strings, null-terminated arrays.
            unsafe { libc::execve(c"/bin/sh".as_ptr(), argv.as_ptr(), [ptr::null()].as_ptr()) };
        }
        1
    });
    let mut log = Log::default();
    assert!(gate.follow(&options(), &mut log).unwrap().status.success());
    let reader = |path: &str| {
        let opened =
            |event: &Event| matches!(event, Event::Opened(place, ..) if place.named.as_os_str() == path);
        log.0.iter().find(|(_, event)| opened(event)).unwrap().0
    };
    let (first, second) = (reader("/etc/passwd"), reader("/etc/group"));
    assert!(first != second && first != child && second != child);
    let born: Vec<Pid> = log
        .0
        .iter()
        .filter_map(|(parent, event)| match event {
            Event::Forked(pid) if *parent == child => Some(*pid),
            _ => None,
        })
        .collect();
    assert_eq!(born, [first, second]);
    let ended = log.0.iter().filter(|(_, event)| matches!(event, Event::Ended(_))).count();
    assert_eq!(ended, 3);
}
