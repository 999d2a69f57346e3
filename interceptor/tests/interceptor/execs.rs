// SPDX-License-Identifier: Apache-2.0
//! Every way to execute a program: what is asked, what environment the program gets, and what a deferred one looks like to its caller.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use crate::support::{Tracer, built, exit, fail, pending, program, run, run_with, text};
use wire::{Reply, reply_flags, reply_kind, request_flags, request_kind};

/// So many children of one process can wait for their answers at a time.
const TOGETHER: usize = 64;

const WAYS: [&str; 11] = [
    "execve", "execv", "execvp", "execl", "execlp", "execle", "execvpe", "fexecve", "execveat", "spawn",
    "vfork",
];

/// What the child prints when the session went on to it.
fn went_on(line: &str, tracer: &Tracer) -> bool {
    let session = tracer.session(0).replacen("5:", "77:", 1);
    line.contains(&format!("| {} | {session} |", built().library.display()))
}

#[test]
fn every_way_asks_and_passes_arguments_and_session_on() {
    let library = built().library.display().to_string();
    for way in WAYS {
        for environment in ["kept", "clear"] {
            let tracer = Tracer::new(|_| run());
            let output = tracer.program("execs", &[way, environment]);
            let out = text(&output.stdout);
            assert!(out.contains("show 2 3 4 5 6 7 8 9 |"), "{way}: {out}");
            assert!(out.lines().any(|line| went_on(line, &tracer)), "{way} {environment}: {out}");
            let asked = tracer.asked();
            assert_eq!(asked.len(), 1, "{way}: {asked:?}");
            let asked = &asked[0];
            assert!(asked.is_exec_of("cc-execs"), "{way}: {asked:?}");
            assert_eq!(asked.argv.len(), 10);
            assert_eq!(asked.argv[9], "9");
            assert_eq!(asked.head.command, 5);
            assert_eq!(asked.cwd, tracer.folder().canonicalize().unwrap());
            let flags = asked.head.flags & !request_flags::OTHERS;
            assert_eq!(flags, if way == "spawn" { request_flags::SPAWN | request_flags::WAITS } else { 0 });
            assert!(way != "execve" || asked.var("LD_PRELOAD") != Some(library.clone()), "the caller's own");
        }
    }
    let tracer = Tracer::new(|_| run());
    let output = tracer.program("execs", &["execle-short"]);
    assert!(text(&output.stdout).starts_with("show |") && text(&output.stdout).contains("own"));
}

#[test]
fn a_foreign_preload_stays_beside_ours() {
    let tracer = Tracer::new(|_| run());
    let output = tracer.program("execs", &["execv", "foreign", "/lib/x86_64-linux-gnu/libm.so.6"]);
    let expected = format!("| /lib/x86_64-linux-gnu/libm.so.6:{} |", built().library.display());
    assert!(text(&output.stdout).contains(&expected), "{output:?}");
    // What is there already is not added again.
    let twice = format!("/lib/x86_64-linux-gnu/libm.so.6:{}", built().library.display());
    let output = tracer.program("execs", &["execv", "foreign", &twice]);
    assert!(text(&output.stdout).contains(&format!("| {twice} |")), "{output:?}");
}

#[test]
fn a_shell_with_env_i_stays_in_the_session() {
    let tracer = Tracer::new(|_| run());
    let execs = program("cc", "execs");
    let script = format!("env -i {} show; LD_PRELOAD= {} show", execs.display(), execs.display());
    let output = tracer.command("/bin/sh", 0).args(["-c", &script]).output().unwrap();
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 2, "{output:?}");
    assert!(lines.iter().all(|line| went_on(line, &tracer)), "{lines:?}");
    assert!(tracer.asked().iter().any(|asked| asked.is_exec_of("env")));
}

#[test]
fn replies_choose_what_the_program_is_preloaded_with() {
    let tracer = Tracer::new(|_| run_with(reply_flags::NO_PRELOAD | reply_flags::CARRY));
    let output = tracer.program("execs", &["execv"]);
    assert!(
        text(&output.stdout).contains(&format!("| (null) | {} ", tracer.session(3).replacen("5:", "77:", 1)))
    );
    let output = tracer.program("execs", &["execv", "foreign", "/lib/x86_64-linux-gnu/libm.so.6"]);
    assert!(text(&output.stdout).contains("| /lib/x86_64-linux-gnu/libm.so.6 |"), "{output:?}");
    let tracer = Tracer::new(|_| run_with(reply_flags::DETACH));
    let output = tracer.program("execs", &["execv"]);
    assert!(text(&output.stdout).contains("| (null) | (null) |"), "{output:?}");
}

#[test]
fn a_detached_process_asks_nothing() {
    let tracer = Tracer::new(|_| run());
    let output = tracer.command(program("cc", "execs"), reply_flags::DETACH).arg("execv").output().unwrap();
    assert!(output.status.success() && tracer.asked().is_empty());
}

#[test]
fn without_a_tracer_all_goes_on() {
    let tracer = Tracer::new(|_| run());
    for way in WAYS {
        let output = tracer
            .command(program("cc", "execs"), 0)
            .env(wire::SESSION_VARIABLE, "5:0:0000000000000000:/none::/nowhere/socket")
            .arg(way)
            .output()
            .unwrap();
        assert!(output.status.success() && text(&output.stdout).contains("show 2 3"), "{way}: {output:?}");
        let output = tracer
            .command(program("cc", "execs"), 0)
            .env_remove(wire::SESSION_VARIABLE)
            .arg(way)
            .output()
            .unwrap();
        assert!(output.status.success() && text(&output.stdout).contains("show 2 3"), "{way}: {output:?}");
    }
    assert!(tracer.asked().is_empty());
}

#[test]
fn a_killed_tracer_lets_nothing_begin() {
    let tracer = Tracer::new(|_| run());
    // What a killed process leaves: a socket on which nobody listens.
    let socket = tracer.folder().join("left");
    drop(UnixListener::bind(&socket).unwrap());
    let session = format!("5:0:0000000000000000:/none::{}", socket.display());
    // Each waits for the signal that would end it: all at once.
    let children = WAYS.map(|way| {
        let mut command = tracer.command(program("cc", "execs"), 0);
        command.env(wire::SESSION_VARIABLE, &session).arg(way);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        (way, command.spawn().unwrap())
    });
    for (way, child) in children {
        let output = child.wait_with_output().unwrap();
        assert!(!text(&output.stdout).contains("show 2 3"), "{way}: {output:?}");
        if matches!(way, "spawn" | "vfork") {
            assert!(text(&output.stdout).ends_with("child signal 9\n"), "{way}: {output:?}");
        } else {
            assert_eq!(output.status.signal(), Some(9), "{way}: {output:?}");
        }
    }
}

#[test]
fn a_deferred_command_prints_and_exits_with_its_code() {
    const PRINTED: &str = "what it would have said\n";
    for way in WAYS {
        let tracer = Tracer::new(|_| exit(7, PRINTED));
        let output = tracer.program("execs", &[way]);
        let stdout = text(&output.stdout);
        let rest = stdout.replacen(PRINTED, "", 1);
        assert_ne!(rest, stdout, "{way}");
        if matches!(way, "spawn" | "vfork") {
            assert!(output.status.success(), "{way}: {output:?}");
            assert!(rest.ends_with("child exit 7\n"), "{way}: {output:?}");
        } else {
            assert_eq!(output.status.code(), Some(7), "{way}");
            assert_eq!(rest, "", "{way}");
        }
        assert!(output.stderr.is_empty(), "{way}: {output:?}");
    }
    let tracer = Tracer::new(|_| exit(0, ""));
    let output = tracer.program("execs", &["vfork"]);
    assert_eq!(text(&output.stdout), "canary 12345\nchild exit 0\n");
}

#[test]
fn a_child_waits_for_an_answer_that_is_pending() {
    // It is told to print and exit, to run the program after all, to fail.
    for (later, expected) in [
        (exit(7, "what it would have said\n"), "what it would have said\nchild exit 7\n"),
        (run(), "child exit 0\n"),
        (fail(5, "refused\n"), "child exit 127\n"),
    ] {
        let first = AtomicBool::new(true);
        let tracer = Tracer::new(move |_| if first.swap(false, SeqCst) { pending() } else { later });
        let output = tracer.program("execs", &["spawn"]);
        let stdout = text(&output.stdout);
        assert!(output.status.success() && stdout.ends_with(expected), "{output:?}");
        let runs = later.0.kind == reply_kind::RUN;
        assert_eq!(stdout.contains("show 2 3 4 5 6 7 8 9 |"), runs, "{output:?}");
        assert_eq!(text(&output.stderr), if later.0.kind == reply_kind::FAIL { "refused\n" } else { "" });
    }
    // A killed recorder says nothing more.
    let first = AtomicBool::new(true);
    let tracer =
        Tracer::new(
            move |_| if first.swap(false, SeqCst) { pending() } else { panic!("the connection ends") },
        );
    let output = tracer.program("execs", &["spawn"]);
    assert!(text(&output.stdout).ends_with("child signal 9\n"), "{output:?}");
}

#[test]
fn a_child_that_waited_runs_its_program_as_the_c_library_would_have_it() {
    let descriptors = "test $$ = $(cut -d' ' -f5 /proc/$$/stat) && echo own group;
        for fd in 0 7 8 20 21; do readlink /proc/$$/fd/$fd || echo closed; done";
    let signals = ["/bin/grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"];
    for (program_argv, expected) in [
        (&["/bin/sh", "-c", descriptors][..], "own group\n/dev/null\n/dev/zero\nclosed\n/dev/zero\nclosed\n"),
        (&signals, "SigBlk:\t0000000008000000\n"),
    ] {
        let first = AtomicBool::new(true);
        let tracer = Tracer::new(move |asked| {
            let waits = asked.head.flags & request_flags::WAITS != 0;
            if waits && first.swap(false, SeqCst) { pending() } else { run() }
        });
        let args = [&["spawn-state"], program_argv].concat();
        let waited = tracer.program("execs", &args);
        let mut plain = tracer.command(program("cc", "execs"), 0);
        let plain = plain.env_remove("LD_PRELOAD").args(&args).output().unwrap();
        assert_eq!(text(&waited.stdout), text(&plain.stdout));
        assert!(text(&waited.stdout).starts_with(expected), "{waited:?}");
        assert!(tracer.asked()[0].head.flags & request_flags::WAITS != 0);
    }
    // To a file, which only the child has as its standard output.
    let first = AtomicBool::new(true);
    let tracer =
        Tracer::new(move |_| if first.swap(false, SeqCst) { pending() } else { exit(3, "printed\n") });
    let output = tracer.program("execs", &["spawn-dup2", "log"]);
    assert_eq!(text(&output.stdout), "child exit 3\n");
    assert_eq!(fs::read_to_string(tracer.folder().join("log")).unwrap(), "printed\n");
}

#[test]
fn children_wait_together_however_many_there_are() {
    // Of the children that can wait at a time each waits until the last one does; of the others the caller waits for.
    let waiting = Arc::new(Barrier::new(TOGETHER));
    let counted = AtomicUsize::new(0);
    let tracer = Tracer::new(move |asked| {
        // Each is asked about twice: what it is told first is that the answer is pending.
        thread_local!(static TOLD: Cell<bool> = const { Cell::new(false) });
        assert!(asked.is_exec_of("cc-execs"));
        if !TOLD.replace(true) {
            return pending();
        }
        if counted.fetch_add(1, SeqCst) < TOGETHER {
            waiting.wait();
        }
        exit(3, "")
    });
    let output = tracer.program("execs", &["spawn-many", "150"]);
    assert_eq!(text(&output.stdout), "exit 3: 150\n");
    assert_eq!(tracer.asked().len(), 150);
}

/// Has a child of this process got SIGTERM, which it does not take yet?
fn has_child_told_to_end(pid: u32) -> bool {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().any(is_told_to_end)
}

fn is_told_to_end(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending =
        status.lines().filter_map(|line| line.strip_prefix("ShdPnd:").or(line.strip_prefix("SigPnd:")));
    let sets = pending.map(|set| u64::from_str_radix(set.trim(), 16).unwrap());
    sets.fold(0, |all, set| all | set) & 1 << (libc::SIGTERM - 1) != 0
}

#[test]
fn a_child_that_waits_is_ended_by_no_signal_until_it_is_decided_what_becomes_of_its_program() {
    let (done, _) = exit(7, "");
    let done = (Reply { command: 9, ..done }, "");
    for (words, undone) in [
        // What was put in place is taken back, and the child ends by the signal after all.
        (vec![pending(), done], vec![9]),
        // The command is to run: there is nothing to be taken back.
        (vec![pending(), pending(), done], vec![]),
        (vec![pending(), run()], vec![]),
    ] {
        let at = AtomicUsize::new(0);
        let tracer = Tracer::new(move |asked| {
            if asked.head.kind == request_kind::UNDO {
                return run();
            }
            let said = at.fetch_add(1, SeqCst);
            if said == words.len() - 1 {
                // The signal is there first.
                let began = Instant::now();
                while !has_child_told_to_end(asked.head.pid) {
                    assert!(began.elapsed() < Duration::from_secs(60), "nobody signals it");
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            words[said]
        });
        let output = tracer.program("execs", &["spawn-kill"]);
        assert_eq!(text(&output.stdout), "child signal 15\n");
        let taken_back: Vec<_> =
            tracer.of_kind(request_kind::UNDO).iter().map(|asked| asked.head.command).collect();
        assert_eq!(taken_back, undone);
    }
}

#[test]
fn a_child_whose_tracer_has_ended_runs_its_program() {
    let at = AtomicUsize::new(0);
    let tracer = Tracer::new(move |asked| {
        if at.fetch_add(1, SeqCst) == 0 {
            return pending();
        }
        fs::remove_file(Path::new(&asked.cwd).join("socket")).unwrap();
        panic!("the connection ends")
    });
    let output = tracer.program("execs", &["spawn"]);
    assert!(text(&output.stdout).contains("show 2 3 4 5 6 7 8 9 |"), "{output:?}");
    assert!(text(&output.stdout).ends_with("child exit 0\n"), "{output:?}");
}

#[test]
fn a_refused_command_fails_with_its_errno() {
    for way in WAYS.into_iter().filter(|way| !matches!(*way, "spawn" | "vfork")) {
        let tracer = Tracer::new(|_| fail(5, "refused\n"));
        let output = tracer.program("execs", &[way]);
        assert_eq!(text(&output.stdout), "result -1 errno 5\n", "{way}");
        assert_eq!(text(&output.stderr), "refused\n");
    }
    let tracer = Tracer::new(|_| fail(5, ""));
    assert_eq!(text(&tracer.program("execs", &["spawn"]).stdout), "spawn 5\n");
}

#[test]
fn misses_are_not_reported_and_have_the_errno_of_libc() {
    let tracer = Tracer::new(|_| run());
    let folder = tracer.folder();
    fs::write(folder.join("plain"), "text").unwrap();
    fs::create_dir(folder.join("directory")).unwrap();
    let long = "x".repeat(300);
    let cases = [
        ["path", "/nowhere/gcc"],
        ["path", "./plain"],
        ["path", "plain/x"],
        ["path", ""],
        ["search", "no-such-program"],
        ["search", ""],
        ["search", &long],
        ["spawnp", "no-such-program"],
    ];
    for case in cases {
        let hooked = tracer.program("execs", &case);
        let plain =
            tracer.command(program("cc", "execs"), 0).env_remove("LD_PRELOAD").args(case).output().unwrap();
        assert_eq!(text(&hooked.stdout), text(&plain.stdout), "{case:?}");
        assert_eq!(hooked.status, plain.status);
    }
    assert!(tracer.asked().is_empty(), "{:?}", tracer.asked());
    // A directory may be "executed" as far as access() knows; the kernel says no.
    let output = tracer.program("execs", &["path", "./directory"]);
    assert_eq!(text(&output.stdout), "result -1 errno 13\n");
}

#[test]
fn a_search_reports_the_program_that_is_there() {
    let tracer = Tracer::new(|_| run());
    for way in ["search", "spawnp"] {
        assert!(tracer.program("execs", &[way, "true"]).status.success());
    }
    let paths: Vec<_> = tracer.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(paths, ["/usr/bin/true", "/usr/bin/true"]);
}

#[test]
fn a_script_without_interpreter_is_given_to_the_shell() {
    let tracer = Tracer::new(|_| run());
    // Written by another process: what this one has open for writing, a child that another test has just made has too, and the kernel
    // executes nothing that anybody has open for writing.
    let write = "echo 'echo it ran: $1' >script; chmod 755 script";
    assert!(Command::new("sh").args(["-c", write]).current_dir(tracer.folder()).status().unwrap().success());
    let output = tracer.program("execs", &["search", "./script", "well"]);
    assert_eq!(text(&output.stdout), "it ran: well\n", "{output:?}");
    let asked = tracer.asked();
    assert_eq!(asked.last().unwrap().path, "/bin/sh");
    assert_eq!(asked.last().unwrap().argv, ["/bin/sh", "./script", "well"]);
    // execv does not.
    let output = tracer.program("execs", &["path", "./script"]);
    assert_eq!(text(&output.stdout), "result -1 errno 8\n");
}

#[test]
fn environments_of_any_size_pass() {
    for count in ["0", "100", "3000", "20000"] {
        let tracer = Tracer::new(|_| run());
        let output = tracer.program("execs", &["environment", count]);
        assert!(text(&output.stdout).ends_with("| many\n"), "{count}: {output:?}");
        assert!(went_on(text(&output.stdout), &tracer), "{count}");
        assert_eq!(tracer.asked()[0].head.envc.to_string(), (count.parse::<u32>().unwrap() + 1).to_string());
    }
}

#[test]
fn descriptors_that_the_program_will_have_are_told() {
    let tracer = Tracer::new(|_| run());
    let many: Vec<String> = (3..30).map(|fd| format!("{fd}</dev/null")).collect();
    let script = format!("exec 5</dev/null 9>file; /bin/true; exec {}; /bin/true", many.join(" "));
    assert!(tracer.command("/bin/bash", 0).args(["-c", &script]).status().unwrap().success());
    let asked: Vec<_> = tracer.asked().into_iter().filter(|asked| asked.is_exec_of("true")).collect();
    let [few, many] = &asked[..] else { panic!("{asked:?}") };
    let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).unwrap();
    let told: Vec<_> = few.others.iter().map(|o| (o.number, (o.leads.dev, o.leads.ino))).collect();
    let file = identity(&tracer.folder().join("file"));
    // The test may have been given others.
    assert!(
        [(5, identity(Path::new("/dev/null"))), (9, file)].iter().all(|fd| told.contains(fd)),
        "{told:?}"
    );
    assert!(few.head.flags & request_flags::OTHERS != 0);
    assert!(many.others.is_empty() && many.head.flags & request_flags::OTHERS == 0);
}

#[test]
fn spawn_looks_through_copied_descriptors() {
    for (answer, code) in [(0, 0), (3, 3)] {
        let tracer = Tracer::new(move |_| if answer == 0 { run() } else { exit(3, "to the file\n") });
        let log = tracer.folder().join("log");
        let output = tracer.program("execs", &["spawn-dup2", log.to_str().unwrap()]);
        assert_eq!(text(&output.stdout), format!("child exit {code}\n"));
        let asked = &tracer.asked()[0];
        assert_eq!(asked.head.flags, request_flags::SPAWN | request_flags::WAITS);
        let file = fs::metadata(&log).unwrap();
        assert_eq!(asked.head.fds[0], wire::FdIdentity::default(), "closed");
        for fd in 1..3 {
            assert_eq!((asked.head.fds[fd].dev, asked.head.fds[fd].ino), (file.dev(), file.ino()));
        }
        let written = fs::read_to_string(&log).unwrap();
        assert!(
            if answer == 0 { written.starts_with("show 2 3") } else { written == "to the file\n" },
            "{written}"
        );
    }
}

#[test]
fn spawn_that_opens_files_has_them_opened_even_when_deferred() {
    let tracer = Tracer::new(|_| exit(300 - 256 + 1, ""));
    let log = tracer.folder().join("log");
    let output = tracer.program("execs", &["spawn-open", log.to_str().unwrap()]);
    assert_eq!(text(&output.stdout), "child exit 45\n");
    assert!(fs::metadata(&log).unwrap().is_file(), "the stand-in's file actions were done");
    let asked = tracer.asked();
    // The file is not there yet: what standard output will be cannot be said. With the file it can.
    // A child that waits must not open it in the C library's place.
    assert_eq!(asked[0].head.flags, request_flags::SPAWN | request_flags::FDS_UNKNOWN);
    assert_eq!(asked[0].head.fds[0].rdev, fs::metadata("/dev/null").unwrap().rdev());
    tracer.program("execs", &["spawn-open", log.to_str().unwrap()]);
    let asked = tracer.asked();
    assert_eq!(asked[1].head.flags, request_flags::SPAWN);
    assert_eq!(asked[1].head.fds[1].ino, fs::metadata(&log).unwrap().ino());
    assert_eq!(asked.len(), 2, "the stand-in is not asked about");
}

#[test]
fn spawn_in_another_directory_says_which() {
    let tracer = Tracer::new(|_| exit(2, ""));
    let below = tracer.folder().join("below");
    fs::create_dir(&below).unwrap();
    std::os::unix::fs::symlink("/bin/true", below.join("tool")).unwrap();
    let output = tracer.program("execs", &["spawn-chdir", "below", "./tool"]);
    assert_eq!(text(&output.stdout), "child exit 2\n");
    let asked = &tracer.asked()[0];
    let below = tracer.folder().canonicalize().unwrap().join("below");
    assert_eq!(asked.cwd, below);
    assert_eq!(asked.path, below.join("./tool").into_os_string());
    assert_eq!(asked.head.flags, request_flags::SPAWN);
}

#[test]
fn a_deferred_spawn_has_the_process_group_that_was_asked_for() {
    let tracer = Tracer::new(|_| exit(0, ""));
    let output = tracer.program("execs", &["spawn-group"]);
    assert_eq!(text(&output.stdout), "spawn 0, of its group 1\n");
}

#[test]
fn threads_may_spawn_at_once() {
    let tracer = Tracer::new(|_| run());
    assert_eq!(text(&tracer.program("execs", &["threads"]).stdout), "failed 0\n");
    assert_eq!(tracer.asked().len(), 200);
    let tracer = Tracer::new(|_| exit(0, ""));
    assert_eq!(text(&tracer.program("execs", &["threads"]).stdout), "failed 0\n");
    assert_eq!(tracer.asked().len(), 200);
}

#[test]
fn system_and_popen_stay_in_the_session() {
    for environment in ["kept", "clear"] {
        let tracer = Tracer::new(|_| run());
        let output = tracer.program("execs", &["shell", environment]);
        let lines: Vec<&str> = text(&output.stdout).lines().collect();
        assert_eq!(lines.len(), 4, "{output:?}");
        assert!(went_on(lines[0], &tracer) && went_on(lines[2], &tracer), "{environment}: {lines:?}");
        assert_eq!((lines[1], lines[3]), ("system 3", "pclose 3 same 1"));
        assert_eq!(tracer.asked().iter().filter(|asked| asked.is_exec_of("cc-execs")).count(), 2);
    }
}

#[test]
fn a_directory_descriptor_gives_an_absolute_path() {
    let tracer = Tracer::new(|_| run());
    let execs = program("cc", "execs");
    let (folder, name) = (execs.parent().unwrap(), execs.file_name().unwrap());
    let output = tracer.program("execs", &["execveat-dir", folder.to_str().unwrap(), name.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(tracer.asked()[0].path, execs.canonicalize().unwrap());
}

#[test]
fn the_umask_is_told_and_kept() {
    let tracer = Tracer::new(|_| run());
    let execs = program("cc", "execs");
    let script = format!("umask 027; {0} spawn >/dev/null; {0} show >/dev/null; umask", execs.display());
    let output = tracer.command("/bin/sh", 0).args(["-c", &script]).output().unwrap();
    assert_eq!(text(&output.stdout), "0027\n");
    let asked = tracer.of_kind(request_kind::EXEC);
    assert!(asked.len() >= 3 && asked.iter().all(|asked| asked.head.umask == 0o027), "{asked:?}");
}

/// A static program has no hooks, but everything that it is started by has.
#[test]
fn programs_of_musl_are_hooked_too() {
    if Command::new("musl-gcc").arg("--version").output().is_err() {
        return;
    }
    for way in
        ["execve", "execv", "execvp", "execl", "execlp", "execle", "execvpe", "fexecve", "spawn", "vfork"]
    {
        let tracer = Tracer::new(|_| run());
        let output = tracer.command(program("musl-gcc", "execs"), 0).args([way, "kept"]).output().unwrap();
        let out = text(&output.stdout);
        assert!(out.lines().any(|line| went_on(line, &tracer)), "{way}: {output:?}");
        assert_eq!(tracer.asked().len(), 1, "{way}");
        let tracer = Tracer::new(|_| exit(6, ""));
        let output = tracer.command(program("musl-gcc", "execs"), 0).args([way, "kept"]).output().unwrap();
        assert!(output.status.code() == Some(6) || text(&output.stdout).ends_with("child exit 6\n"), "{way}");
    }
    let tracer = Tracer::new(|_| exit(6, ""));
    let output =
        tracer.command(program("musl-gcc", "execs"), 0).args(["spawn-open", "log"]).output().unwrap();
    assert_eq!(text(&output.stdout), "child exit 6\n");
    assert_eq!(tracer.asked()[0].head.flags, request_flags::SPAWN | request_flags::FDS_UNKNOWN);
}
