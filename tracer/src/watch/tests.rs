// SPDX-License-Identifier: Apache-2.0
//! Who an exec and a process belong to.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Instant;

use models::Invocation;
use observe::Stream;

use super::*;

fn watch() -> Watch {
    Watch::new(Sight::Tracer, "/no/socket".into(), None, Vec::new()).unwrap()
}

fn exec(pid: u32, spawned: bool, argument: &str) -> Arc<Exec> {
    let invocation = Invocation {
        program: "/bin/sh".into(),
        argv: vec!["sh".into(), argument.into()],
        cwd: "/".into(),
        ..Invocation::default()
    };
    Arc::new(Exec {
        pid,
        parent: 0,
        spawned,
        marked: false,
        prints: true,
        waits: false,
        invocation,
        umask: 0o022,
        fds: None,
        others: None,
    })
}

#[test]
fn an_exec_is_announced_only_by_who_makes_it() {
    let watch = watch();
    watch.belongs(7, 7, false);
    watch.expect(7, &exec(100, true, "a"));
    let asked = |pid, argument: &str, parent| {
        let argv = ["sh", argument].map(OsString::from);
        watch.is_announced(pid, Path::new("/bin/sh"), &argv, &|| parent)
    };
    assert!(!asked(101, "b", Some(100)), "another command");
    assert!(!asked(101, "a", Some(99)) && !asked(101, "a", None), "another's child");
    assert!(!asked(100, "a", Some(99)), "it was to be spawned");
    assert!(asked(101, "a", Some(100)));
    assert_eq!(watch.program_of(101), 7);
    assert!(!asked(102, "a", Some(100)), "once");
    // Which one it is cannot be told.
    watch.expect(8, &exec(100, true, "a"));
    watch.expect(9, &exec(100, true, "a"));
    assert!(!asked(103, "a", Some(100)));
    watch.expect(10, &exec(104, false, "c"));
    assert!(asked(104, "c", None));
}

#[test]
fn a_process_is_of_the_program_that_its_hooks_name_unless_others_have_that_name() {
    let watch = watch();
    // No process has such an id.
    let (first, second) = (Pid::MAX - 1, Pid::MAX - 2);
    watch.belongs(5, 5, false);
    watch.belongs(6, 5, true);
    assert_eq!(watch.program_with_hooks(first, 5), 5);
    assert_eq!(watch.program_with_hooks(first, 6), 5, "it is known by now");
    assert_eq!(watch.program_with_hooks(second, 6), 0, "what a program without hooks starts");
    let third = Pid::MAX - 3;
    watch.names_another(5);
    assert_eq!(watch.program_with_hooks(third, 5), 0);
}

fn begin(watch: &Watch, id: u32, drives: bool) {
    watch.belongs(id, id, false);
    watch.begin(Begun {
        elsewhere: false,
        id,
        exec: exec(100, false, "a"),
        within: 0,
        drives,
        learn: None,
        obstacles: Vec::new(),
        descriptors: Vec::new(),
        began: 0,
        first: 0,
        at: Instant::now(),
    });
}

/// Only who lives is left behind, whatever has been told of who does not.
#[test]
fn who_has_ended_before_its_command_is_not_left_behind() {
    for sight in [Sight::Tracer, Sight::Net] {
        for (waited, killed, behind) in [(true, true, false), (false, true, false), (false, false, true)] {
            let watch = Watch::new(sight, "/no/socket".into(), None, Vec::new()).unwrap();
            begin(&watch, 5, false);
            // No process has this id.
            let root = Pid::MAX - 1;
            let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            let pid = child.id() as Pid;
            watch.runs(root, 5);
            watch.event(root, 1, Event::Forked(pid));
            if killed {
                child.kill().unwrap();
            }
            if waited {
                child.wait().unwrap();
            }
            while killed && !observe::has_ended(pid) {
                std::thread::yield_now();
            }
            watch.event(root, 2, Event::Ended(ExitStatus::from_raw(0)));
            let table = lock(&watch.table);
            let left = table.groups.get(&5).map(|group| group.has_obstacle(command::LEAVES_PROCESSES));
            assert_eq!(left, behind.then_some(true), "{sight:?} {waited} {killed}");
            drop(table);
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

#[test]
fn streams_matter_where_they_would_be_written_down() {
    let watch = watch();
    let begin = |id, drives| begin(&watch, id, drives);
    let me = std::process::id() as Pid;
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let forked = child.id() as Pid;
    assert!(watch.minds_streams(me, true) && watch.minds_streams(forked, false), "not known yet");
    begin(5, true);
    watch.runs(me, 5);
    for pid in [me, forked] {
        assert!(!watch.minds_streams(pid, true) && !watch.minds_streams(pid, false));
    }
    watch.expect(9, &exec(me as u32, true, "b"));
    assert!(watch.minds_streams(forked, false), "it may be what was to be spawned");
    begin(6, false);
    watch.runs(me, 6);
    assert!(watch.minds_streams(me, true) && watch.minds_streams(me, false));
    watch.event(me, 1, Event::Input(Stream { fd: 0, dev: 1, ino: 2, rdev: 0 }));
    assert!(!watch.minds_streams(me, true) && watch.minds_streams(me, false));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn who_has_just_begun_has_no_unknown_child_if_all_that_came_after_it_are_known() {
    let mut table = Table::default();
    assert!(table.knows_all_after(100, 100), "nothing was made after it");
    assert!(!table.knows_all_after(100, 101) && !table.knows_all_after(100, 99));
    let _ = table.enter(101, 1);
    let _ = table.enter(102, 1);
    assert!(table.knows_all_after(100, 102), "nobody has seen it so far");
    let _ = table.enter(100, 1);
    assert!(table.knows_all_after(100, 102) && !table.knows_all_after(100, 103));
    let _ = table.leave(101, None);
    let _ = table.enter(100, 2);
    assert!(table.knows_all_after(100, 102));
    // Since then ids may have been given away again.
    for pid in 1000..3000 {
        let _ = table.enter(pid, 1);
    }
    assert!(!table.knows_all_after(100, 100), "it has been there for long");
    assert!(!table.knows_all_after(99, 102), "their ids may be others' by now");
    assert!(table.knows_all_after(2990, 2999) && !table.knows_all_after(2900, 2999));
}

#[test]
fn a_command_is_not_beside_what_it_started() {
    let mut table = Table::default();
    table.within.extend([(1, 0), (2, 1), (3, 2), (4, 1)]);
    assert!(table.is_beside(3, 4) && table.is_beside(4, 2) && table.is_beside(1, 2), "make is beside all");
    assert!(!table.is_beside(3, 2) && !table.is_beside(3, 1) && !table.is_beside(2, 2));
    assert!(!table.is_beside(0, 2) && !table.is_beside(7, 2), "who is not known may be anybody's");
}
