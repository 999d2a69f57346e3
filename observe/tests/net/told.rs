// SPDX-License-Identifier: Apache-2.0
//! What the net tells of processes, and what it does not.

use std::fs;
use std::path::Path;
use std::time::Instant;

use observe::{Event, Use};

use crate::support::{Space, with};
use crate::{is_root, odd, prepare};

#[test]
fn calls_of_processes_that_are_killed_do_not_disturb() {
    let space = Space::new();
    let caught = space.catch(&space.command(odd("static"), &["killed", "x"]));
    assert_eq!(caught.output.status.code(), Some(0));
}

#[test]
fn marked_calls_are_not_seen() {
    let space = Space::new();
    let cookie = 0x0123_4567_89ab_cdef;
    let command = space.command(odd("static"), &["marked", "seen", "unmarked", "0123456789abcdef"]);
    for (cookie, expected) in [(cookie, &["unmarked"][..]), (0, &["seen", "unmarked"])] {
        let caught = space.catch_with(&command, cookie, None);
        assert!(caught.output.status.success());
        let expected: Vec<_> = expected.iter().map(|name| space.at(name)).collect();
        let missing: Vec<_> =
            with(&caught.touches, Use::Missing).into_iter().filter(|p| p.starts_with(&space.path)).collect();
        assert_eq!(missing, expected, "{cookie:#x}");
    }
}

#[test]
fn ends_are_told_with_their_codes() {
    let space = Space::new();
    let caught = space.catch(&space.command("/bin/busybox", &["sh", "-c", "(exit 3); (exit 260); exit 5"]));
    let ends: Vec<_> = caught
        .log
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Ended(status) => status.code(),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [3, 4, 5]);
}

#[test]
fn five_thousand_forks() {
    let space = Space::new();
    let start = Instant::now();
    let caught = space.catch(&space.command(odd("static"), &["forks", "5000", "missing"]));
    assert_eq!(caught.output.status.code(), Some(0));
    println!("5,000 forks in {:?}", start.elapsed());
    let count = |fits: fn(&Event) -> bool| caught.log.iter().filter(|(_, event)| fits(event)).count();
    assert_eq!(count(|event| matches!(event, Event::Ended(_))), 5001);
    assert_eq!(count(|event| matches!(event, Event::Missing(path) if path.ends_with("missing"))), 5000);
}

#[test]
fn another_root() {
    if !is_root() {
        println!("skipped: only root can change it");
        return;
    }
    let space = Space::new();
    fs::create_dir_all(space.at("root/work")).unwrap();
    // Copied by another process: see `Space::script`.
    let copied = std::process::Command::new("cp").arg(odd("static")).arg(space.at("root/odd")).status();
    assert!(copied.unwrap().success());
    space.write("root/work/file", "x");
    std::os::unix::fs::symlink("/work/file", space.at("root/link")).unwrap();
    let caught = space.catch(&space.command("/bin/busybox", &["chroot", "root", "/odd", "raw", "/link"]));
    assert_eq!(caught.output.status.code(), Some(0), "{:?}", caught.touches);
    let link = caught.touches.get("/link").unwrap();
    assert!(link.has(Use::Read) && link.real.as_deref() == Some(Path::new("/work/file")), "{link:?}");
    assert!(caught.touches.get("/odd").unwrap().has(Use::Executed));
}

/// Once somebody has changed his root, all are looked at from their own.
#[test]
fn links_of_proc_lead_on_when_roots_differ() {
    if !is_root() {
        println!("skipped: only root can change it");
        return;
    }
    let space = Space::new();
    let file = space.write("file", "x");
    let script = "chroot / /bin/busybox true; exec 5<file; $ODD raw /proc/self/fd/5 && $ODD raw /dev/fd/5";
    let mut command = space.command("/bin/busybox", &["sh", "-c", script]);
    command.env.push(("ODD".into(), odd("static").into()));
    let caught = space.catch(&command);
    assert_eq!(caught.output.status.code(), Some(0), "{:?}", caught.touches);
    for path in ["/proc/self/fd/5", "/dev/fd/5"] {
        let link = caught.touches.get(path).unwrap();
        assert!(link.has(Use::Read) && link.real.as_ref() == Some(&file), "{path}: {link:?}");
    }
}

#[test]
fn what_the_kernel_reads_to_execute_a_program() {
    let space = Space::new();
    prepare(&space);
    for program in ["/bin/cat", "/bin/busybox", "script", "broken", "near", "two", "missing"] {
        let path = space.path.join(program);
        let script = format!("exec {}", path.display());
        let command = space.command("/bin/busybox", &["sh", "-c", &script]);
        let caught = space.catch(&command);
        let own = observe::executed(&path, Some(&space.path));
        assert!(!own.is_empty());
        assert_eq!(observe::executed(&path, None).is_empty(), program == "near", "{program}");
        for event in own {
            assert!(caught.log.iter().any(|(_, seen)| *seen == event), "{event:?} of {program}");
        }
    }
}
