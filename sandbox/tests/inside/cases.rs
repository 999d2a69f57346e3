// SPDX-License-Identifier: Apache-2.0
//! The cases.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandbox::{ChangeKind, Entry, ExecFailure, Gate, Job, Layer, Sandbox, Status, Stdin};

use super::space::{PROGRAM, Space, read, said};

/// Each with its name.
pub const CASES: &[(&str, fn())] = &[
    ("only_inputs_are_visible", only_inputs_are_visible),
    ("paths_are_the_real_ones", paths_are_the_real_ones),
    ("inputs_can_be_changed_and_blobs_cannot", inputs_can_be_changed_and_blobs_cannot),
    ("inputs_come_back", inputs_come_back),
    ("changes_are_told", changes_are_told),
    ("outputs_are_collected", outputs_are_collected),
    ("links_lead_nowhere_outside", links_lead_nowhere_outside),
    ("outputs_through_links_of_the_tree", outputs_through_links_of_the_tree),
    ("nothing_outside_can_be_reached", nothing_outside_can_be_reached),
    ("standard_input_cannot_be_changed", standard_input_cannot_be_changed),
    ("the_process_is_as_it_should_be", the_process_is_as_it_should_be),
    ("devices_work", devices_work),
    ("ends_are_told_apart", ends_are_told_apart),
    ("large_output_is_kept", large_output_is_kept),
    ("too_much_output_ends_the_command", too_much_output_ends_the_command),
    ("time_is_limited", time_is_limited),
    ("what_it_leaves_running_is_killed", what_it_leaves_running_is_killed),
    ("a_dead_worker_leaves_nothing", a_dead_worker_leaves_nothing),
    ("names_are_bytes", names_are_bytes),
    ("directories_are_made", directories_are_made),
    ("disk_and_memory_do_the_same", disk_and_memory_do_the_same),
    ("layers_are_removed", layers_are_removed),
    ("this_machine_is_supported", this_machine_is_supported),
    ("gcc_compiles", gcc_compiles),
    ("a_gate_is_passed_or_not", a_gate_is_passed_or_not),
];

fn only_inputs_are_visible() {
    let mut space = Space::new();
    space.input("/work/src/a.c", "int a;");
    let outcome = space.run(&["walk"]);
    let mut expected: Vec<String> =
        ["/work", "/dev", "/proc", "/tmp", "/var", "/var/tmp"].map(String::from).into();
    for path in space.wanted.keys() {
        let parents = path.ancestors().filter(|p| *p != Path::new("/"));
        expected.extend(parents.map(|p| p.to_str().expect("UTF-8").to_owned()));
    }
    let mut seen: Vec<String> = said(&outcome).lines().map(str::to_owned).collect();
    seen.sort();
    expected.sort();
    expected.dedup();
    assert_eq!(seen, expected);
}

fn paths_are_the_real_ones() {
    let mut space = Space::new();
    space.input("/work/src/a.c", "int a;");
    space.wanted.insert("/work/link".into(), Entry::Symlink("src".into()));
    assert_eq!(said(&space.run(&["exe"])), PROGRAM);
    assert_eq!(said(&space.run(&["canonical", "/work/link/a.c"])), "/work/src/a.c");
    assert_eq!(said(&space.run(&["canonical", "src/../link/a.c"])), "/work/src/a.c");
}

fn inputs_can_be_changed_and_blobs_cannot() {
    let mut space = Space::new();
    let blob = space.input("/work/a", "original");
    let before = fs::metadata(&blob).expect("blob");
    for layer in [Layer::Memory, Layer::Disk] {
        for (args, path, result) in [
            (&["write", "/work/a", "new"][..], "/work/a", "new"),
            (&["append", "/work/a", "+"], "/work/a", "original+"),
            (&["recreate", "/work/a", "again"], "/work/a", "again"),
            (&["rename", "/work/a", "/work/b"], "/work/b", "original"),
            (&["chmod", "/work/a"], "/work/a", "original"),
        ] {
            let job = Job { layer, ..space.job(args) };
            let outcome = space.run_job(&job);
            assert_eq!(
                outcome.status,
                Status::Exited(0),
                "{args:?} {}",
                String::from_utf8_lossy(&outcome.stderr)
            );
            let file = outcome.upper.file(Path::new(path)).expect("upper").expect("a changed file");
            assert_eq!(read(&file), result);
            assert_eq!(read(&blob), "original", "{args:?}");
            let after = fs::metadata(&blob).expect("blob");
            assert_eq!((before.mode(), before.mtime_nsec()), (after.mode(), after.mtime_nsec()), "{args:?}");
            assert_eq!(before.ino(), after.ino());
        }
    }
}

fn inputs_come_back() {
    let mut space = Space::new();
    space.input("/work/a", "original");
    for args in [&["write", "/work/a", "new"][..], &["remove", "/work/a"], &["rename", "/work/a", "/work/b"]]
    {
        space.run(args);
        assert_eq!(said(&space.run(&["cat", "/work/a"])), "original");
        let job = space.job(&["cat", "/work/b"]);
        assert_eq!(space.run_job(&job).status, Status::Exited(1));
    }
}

fn changes_are_told() {
    let mut space = Space::new();
    space.input("/work/a", "original");
    space.input("/work/dir/b", "b");
    let mut changes = |args: &[&str]| {
        let changes = space.run(args).upper.changes().expect("changes");
        changes.into_iter().map(|c| (c.path.to_str().expect("UTF-8").to_owned(), c.kind)).collect::<Vec<_>>()
    };
    let one = |path: &str, kind| vec![(path.to_owned(), kind)];
    assert_eq!(changes(&["cat", "/work/a"]), []);
    assert_eq!(changes(&["append", "/work/a", "x"]), one("/work/a", ChangeKind::Written));
    assert_eq!(changes(&["remove", "/work/dir/b"]), one("/work/dir/b", ChangeKind::Removed));
    assert_eq!(changes(&["write", "/tmp/t", ""]), one("/tmp/t", ChangeKind::Written));
    let link = ChangeKind::Symlink("/etc/passwd".into());
    assert_eq!(changes(&["symlink", "/etc/passwd", "/work/dir/l"]), one("/work/dir/l", link));
    assert_eq!(changes(&["remake", "/work/dir"]), one("/work/dir", ChangeKind::Directory { emptied: true }));
    let moved =
        vec![("/work/a".to_owned(), ChangeKind::Removed), ("/work/c".to_owned(), ChangeKind::Written)];
    assert_eq!(changes(&["rename", "/work/a", "/work/c"]), moved);
}

fn outputs_are_collected() {
    let mut space = Space::new();
    space.input("/work/a", "original");
    let job = Job {
        directories: vec!["/build/deep/er".into()],
        ..space.job(&["write", "/build/deep/er/out", "result"])
    };
    let outcome = space.run_job(&job);
    let file = outcome.upper.file(Path::new("/build/deep/er/out")).expect("upper").expect("an output");
    assert_eq!(read(&file), "result");
    assert_eq!(fs::metadata(&file).expect("output").mode() & 0o777, 0o644);
    for absent in ["/work/a", "/build", "/build/deep/er/other", "/nowhere/at/all"] {
        assert_eq!(outcome.upper.file(Path::new(absent)).expect("upper"), None, "{absent}");
    }
    for bad in ["work/a", "/work/../a", "/work//a", "/work/a/", "/", ""] {
        outcome.upper.file(Path::new(bad)).expect_err(bad);
    }
    assert_eq!(outcome.upper.changes().expect("changes").len(), 1);
    drop(outcome);
    assert!(!file.exists());

    let job = Job { umask: 0o077, ..space.job(&["write", "/work/out", "x"]) };
    let outcome = space.run_job(&job);
    let file = outcome.upper.file(Path::new("/work/out")).expect("upper").expect("an output");
    assert_eq!(fs::metadata(&file).expect("output").mode() & 0o777, 0o600);
}

fn links_lead_nowhere_outside() {
    let mut space = Space::new();
    let secret = space.directory.join("secret");
    fs::write(&secret, "secret").expect("secret");
    let outside = space.directory.to_str().expect("UTF-8").to_owned();
    // An input that is a link out: inside, there is nothing.
    space.wanted.insert("/work/link".into(), Entry::Symlink(secret.clone()));
    space.wanted.insert("/work/up".into(), Entry::Symlink("../../../../..".into()));
    let job = space.job(&["cat", "/work/link"]);
    assert_eq!(space.run_job(&job).status, Status::Exited(1));
    let up = format!("/work/up{outside}/secret");
    let job = space.job(&["cat", &up]);
    assert_eq!(space.run_job(&job).status, Status::Exited(1));
    // Links that the command makes where an output is expected, or a directory of one.
    let outcome = space.run(&["symlink", secret.to_str().expect("UTF-8"), "/work/out"]);
    assert_eq!(outcome.upper.file(Path::new("/work/out")).expect("upper"), None);
    assert_eq!(outcome.upper.link(Path::new("/work/out")).expect("upper"), Some(secret.clone()));
    assert_eq!(outcome.upper.link(Path::new("/work/link")).expect("upper"), None, "an input");
    let outcome = space.run(&["symlink", &outside, "/work/out"]);
    assert_eq!(outcome.upper.link(Path::new("/work/out/secret")).expect("upper"), None);
    assert_eq!(outcome.upper.file(Path::new("/work/out/secret")).expect("upper"), None);
    let outcome = space.run(&["symlink", "/", "/work/out"]);
    assert_eq!(
        outcome
            .upper
            .file(&Path::new("/work/out").join(secret.strip_prefix("/").expect("abs")))
            .expect("upper"),
        None
    );
    drop(outcome);
    assert_eq!(read(&secret), "secret");
}

fn outputs_through_links_of_the_tree() {
    let mut space = Space::new();
    space.wanted.insert("/work".into(), Entry::Symlink("/real/../real/work".into()));
    space.wanted.insert("/real/work".into(), Entry::Directory);
    space.wanted.insert("/real/work/name".into(), Entry::Symlink("other".into()));
    space.wanted.insert("/loop".into(), Entry::Symlink("loop".into()));
    let outcome = space.run(&["write", "/work/out", "x"]);
    let file = outcome.upper.file(Path::new("/work/out")).expect("upper").expect("an output");
    assert_eq!(read(&file), "x");
    let outcome = space.run(&["write", "/work/name", "through"]);
    let file = outcome.upper.file(Path::new("/work/name")).expect("upper").expect("an output");
    assert_eq!(read(&file), "through");
    let job = Job {
        directories: vec!["/work/made/here".into()],
        ..space.job(&["write", "/work/made/here/x", "y"])
    };
    let outcome = space.run_job(&job);
    assert_eq!(outcome.status, Status::Exited(0));
    assert!(outcome.upper.file(Path::new("/real/work/made/here/x")).expect("upper").is_some());
    let job = Job { directories: vec!["/loop/x".into()], ..space.job(&["exe"]) };
    space.sandbox.run(&job).expect_err("a loop of links");
}

fn nothing_outside_can_be_reached() {
    let mut space = Space::new();
    let outside = space.directory.join("store/1");
    fs::write(&outside, "x").expect("a file outside");
    // A descriptor that the worker has open and forgot to close at exec.
    let directory = fs::File::open("/").expect("root");
    // SAFETY: duplicates an open descriptor.
    assert!(unsafe { libc::dup2(directory.as_raw_fd(), 100) } == 100);
    space.run(&["escape", outside.to_str().expect("UTF-8")]);
}

fn standard_input_cannot_be_changed() {
    let mut space = Space::new();
    let blob = space.blob("what it reads", false);
    let job = Job { stdin: Stdin::File(blob.clone()), ..space.job(&["copy-stdin"]) };
    assert_eq!(said(&space.run_job(&job)), "what it reads");
    let job = Job { stdin: Stdin::File(blob.clone()), ..space.job(&["steal-stdin"]) };
    let outcome = space.run_job(&job);
    assert_eq!(outcome.status, Status::Exited(0), "{}", String::from_utf8_lossy(&outcome.stderr));
    assert_eq!(read(&blob), "what it reads");
    assert_eq!(said(&space.run(&["copy-stdin"])), "");
    let job = Job { stdin: Stdin::File("/nowhere".into()), ..space.job(&["copy-stdin"]) };
    space.sandbox.run(&job).expect_err("no such file");
}

fn the_process_is_as_it_should_be() {
    // SAFETY: takes nothing.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    let mut space = Space::new();
    // What a worker may have set up for itself.
    // SAFETY: SIG_IGN is a valid handler.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    let said = said(&space.run(&["whoami"]));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], format!("{uid} {gid} 2"));
    assert_eq!(lines[1], "NoNewPrivs:\t1");
    let capabilities = u64::from_str_radix(lines[2].rsplit('\t').next().expect("a number"), 16).expect("hex");
    let dangerous = 1 << 21 | 1 << 27 | 1 << 2 | 1 << 16 | 1 << 17 | 1 << 19;
    assert_eq!(capabilities & dangerous, 0, "{capabilities:x}");
    assert!(uid == 0 || capabilities == 0);
    // The Rust runtime of the program ignores SIGPIPE itself.
    let ignored = u64::from_str_radix(lines[3].rsplit('\t').next().expect("a number"), 16).expect("hex");
    assert_eq!(ignored & !(1 << (libc::SIGPIPE - 1)), 0);
    assert_eq!(lines[4], "fds 3");
}

fn devices_work() {
    let mut space = Space::new();
    let outcome = space.run(&["devices"]);
    assert_eq!(said(&outcome), "null 0\nzero 1\nfull 1\nrandom 1\nurandom 1\nstdout\n");
    // Nothing of it stays for the next command.
    let seen = said(&space.run(&["walk"]));
    assert!(!seen.contains("/tmp/"), "{seen}");
}

fn ends_are_told_apart() {
    let mut space = Space::new();
    for code in [0, 1, 77, 255] {
        let job = space.job(&["exit", &code.to_string()]);
        assert_eq!(space.run_job(&job).status, Status::Exited(code));
    }
    let job = space.job(&["abort"]);
    assert_eq!(space.run_job(&job).status, Status::Signaled(libc::SIGABRT));

    let script = space.blob("#!/usr/bin/no-such-shell\n", true);
    space.wanted.insert("/work/script".into(), Entry::File { source: script, executable: true });
    let text = space.blob("just text", true);
    space.wanted.insert("/work/text".into(), Entry::File { source: text, executable: true });
    space.input("/work/plain", "not executable");
    for (program, failure) in [
        ("/work/missing", ExecFailure::Missing),
        ("/work/plain/below", ExecFailure::Missing),
        ("/work/script", ExecFailure::InterpreterMissing),
        ("/work/text", ExecFailure::BadFormat),
        ("/work/plain", ExecFailure::NotPermitted),
        ("/work", ExecFailure::NotPermitted),
    ] {
        let job = Job { program: program.into(), ..space.job(&[]) };
        assert_eq!(space.run_job(&job).status, Status::NotStarted(failure), "{program}");
    }
    let large = Job { argv: vec![OsString::from("x".repeat(1 << 20))], ..space.job(&[]) };
    assert_eq!(space.run_job(&large).status, Status::NotStarted(ExecFailure::TooLarge));
    for bad in [
        Job { argv: vec!["a\0b".into()], ..space.job(&[]) },
        Job { argv: vec![], ..space.job(&[]) },
        Job { program: "relative".into(), ..space.job(&[]) },
        Job { cwd: "relative".into(), ..space.job(&[]) },
        Job { cwd: "/a/../b".into(), ..space.job(&[]) },
    ] {
        space.sandbox.run(&bad).expect_err("a bad job");
    }
    // Nothing of all that has harmed the sandbox.
    let outcome = space.run(&["exit", "0"]);
    assert!(outcome.usage.max_rss > 0 && outcome.usage.wall > Duration::ZERO);
}

fn large_output_is_kept() {
    let mut space = Space::new();
    let outcome = space.run(&["spam", "10000000"]);
    assert_eq!((outcome.stdout.len(), outcome.stderr.len()), (10_000_000, 10_000_000));
    assert!(outcome.stdout.iter().enumerate().all(|(i, b)| *b == b'a' + (i % 23) as u8));
    assert!(outcome.stderr.iter().all(|b| *b == b'e'));
}

fn too_much_output_ends_the_command() {
    let mut space = Space::new();
    let job = Job { output_limit: 100_000, ..space.job(&["spam", "10000000"]) };
    let outcome = space.run_job(&job);
    assert_eq!(outcome.status, Status::OutputLimit);
    assert!(outcome.stdout.len() + outcome.stderr.len() < 500_000);
}

fn time_is_limited() {
    let mut space = Space::new();
    let start = Instant::now();
    let job = Job { timeout: Some(Duration::from_millis(200)), ..space.job(&["sleep", "60"]) };
    assert_eq!(space.run_job(&job).status, Status::TimedOut);
    assert!(start.elapsed() >= Duration::from_millis(200) && start.elapsed() < Duration::from_secs(20));
    let job = Job { timeout: Some(Duration::from_secs(60)), ..space.job(&["exit", "3"]) };
    assert_eq!(space.run_job(&job).status, Status::Exited(3));
}

fn what_it_leaves_running_is_killed() {
    let mut space = Space::new();
    let start = Instant::now();
    let outcome = space.run(&["daemon", "/work/count"]);
    assert!(start.elapsed() < Duration::from_secs(30));
    let file = outcome.upper.file(Path::new("/work/count")).expect("upper").expect("its file");
    let before = read(&file);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(read(&file), before);
    space.run(&["orphans"]);
    drop(space.sandbox);
    assert_eq!(children_of(std::process::id()), Vec::<u32>::new());
}

/// Processes with this parent.
fn children_of(parent: u32) -> Vec<u32> {
    let stat = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let numbers =
        fs::read_dir("/proc").expect("/proc").filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter(|pid| {
            let stat = stat(*pid);
            let after_name = stat.rsplit(')').next().unwrap_or("");
            after_name.split_whitespace().nth(1) == Some(&parent.to_string())
        })
        .collect()
}

fn a_dead_worker_leaves_nothing() {
    if std::env::var_os("AS_WORKER").is_some() {
        let mut space = Space::new();
        let job = space.job(&["sleep", "1000"]);
        space.run_job(&job);
        return;
    }
    let scratch = std::env::temp_dir().join("worker");
    fs::create_dir(&scratch).expect("mkdir");
    /// A worker that outlives a failed case would hold its output open.
    struct Killed(std::process::Child);
    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
        }
    }
    let worker = Command::new(std::env::current_exe().expect("own path"))
        .args(["--case", "a_dead_worker_leaves_nothing"])
        .env("AS_WORKER", "1")
        .env("TMPDIR", &scratch)
        .stdout(Stdio::null())
        .spawn()
        .expect("a worker");
    let mut worker = Killed(worker);
    let wait_for = |what: &dyn Fn() -> Option<u32>| {
        let start = Instant::now();
        loop {
            if let Some(pid) = what() {
                break pid;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "a process that should be there, or gone");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    // The worker has had other children before: what counts is the one whose child has begun to sleep.
    let sleeps = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|&b| b == 0).any(|word| word == b"1000")
    };
    let commands = |init: u32| children_of(init).into_iter().find(sleeps);
    let init = wait_for(&|| children_of(worker.0.id()).into_iter().find(|c| commands(*c).is_some()));
    let command = wait_for(&|| commands(init));
    assert_eq!(sandbox::sweep(&scratch.join("scratch")).expect("sweep"), 0, "a live worker's directory");
    worker.0.kill().expect("kill -9");
    worker.0.wait().expect("wait");
    for pid in [init, command] {
        wait_for(&|| {
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let state = state.rsplit(')').next().unwrap_or("").trim_start().chars().next();
            matches!(state, None | Some('Z' | 'X')).then_some(pid)
        });
    }
    wait_for(&|| match sandbox::sweep(&scratch.join("scratch")).expect("sweep") {
        0 => None,
        n => Some(n as u32),
    });
    assert_eq!(fs::read_dir(scratch.join("scratch")).expect("scratch").count(), 0);
}

fn names_are_bytes() {
    let mut space = Space::new();
    space.input(OsStr::from_bytes(b"/work/in-\xff\xfe"), "bytes");
    let outcome = space.run(&["raw-name"]);
    let path = OsStr::from_bytes(b"/work/out-\xff\xfe");
    let file = outcome.upper.file(Path::new(path)).expect("upper").expect("an output");
    assert_eq!(read(&file), "bytes");
    assert_eq!(outcome.upper.changes().expect("changes")[0].path, PathBuf::from(path));
}

fn directories_are_made() {
    let mut space = Space::new();
    space.input("/tmp/build/in", "below /tmp");
    let mut job = space.job(&["write", "/scratch/tmp/x", "y"]);
    job.cwd = "/tmp/build/new".into();
    job.env = vec![("TMPDIR".into(), "/scratch/tmp".into())];
    assert_eq!(space.run_job(&job).status, Status::Exited(0));
    assert_eq!(said(&space.run(&["cat", "/tmp/build/in"])), "below /tmp");
    space.run(&["devices"]);
    // A directory where an input is a file.
    let job = Job { cwd: "/tmp/build/in/below".into(), ..space.job(&["exe"]) };
    space.sandbox.run(&job).expect_err("a directory below a file");
}

fn disk_and_memory_do_the_same() {
    let mut space = Space::new();
    space.input("/work/a", "a");
    space.input("/work/dir/b", "b");
    for args in [
        &["write", "/work/new", "x"][..],
        &["rename", "/work/a", "/work/dir/a"],
        &["remake", "/work/dir"],
        &["devices"],
    ] {
        let results = [Layer::Memory, Layer::Disk].map(|layer| {
            let job = Job { layer, ..space.job(args) };
            let outcome = space.run_job(&job);
            (outcome.status, outcome.upper.changes().expect("changes"))
        });
        assert_eq!(results[0], results[1], "{args:?}");
        assert_eq!(results[0].0, Status::Exited(0));
    }
}

fn layers_are_removed() {
    let mut space = Space::new();
    let scratch = space.directory.join("scratch");
    for layer in [Layer::Memory, Layer::Disk] {
        for args in [&["closed"][..], &["write", "/work/a", "b"], &["symlink", "/", "/work/l"]] {
            let job = Job { layer, ..space.job(args) };
            drop(space.run_job(&job));
        }
    }
    let own = fs::read_dir(&scratch).expect("scratch").next().expect("one").expect("entry").path();
    for layer in ["mem", "disk"] {
        assert_eq!(fs::read_dir(own.join(layer)).expect("layer").count(), 0);
    }
    let sandbox: Sandbox = space.sandbox;
    drop(sandbox);
    assert_eq!(fs::read_dir(&scratch).expect("scratch").count(), 0);
}

fn this_machine_is_supported() {
    let scratch = std::env::temp_dir().join("scratch");
    let support = sandbox::check(&scratch).expect("support");
    // In a chroot there is none, not even for root.
    assert_eq!(support.user_namespace, std::env::var_os("GG_TEST_CHROOT").is_none());
    assert_eq!(fs::read_dir(&scratch).expect("scratch").count(), 0);
    // The process that asked is where it was.
    assert!(
        sandbox::check(Path::new("/proc/nowhere"))
            .expect_err("no directory")
            .to_string()
            .contains("/proc/nowhere")
    );
    let space = Space::new();
    assert_eq!(space.sandbox.support(), support);
}

fn gcc_compiles() {
    let gcc = Path::new("/usr/bin/gcc");
    if !gcc.exists() {
        return;
    }
    let mut space = Space::new();
    let program = |name: &str| {
        let output = Command::new(gcc).arg(format!("-print-prog-name={name}")).output().expect("gcc");
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    };
    let assembler = match program("as") {
        path if path.is_absolute() => path,
        _ => "/usr/bin/as".into(),
    };
    for path in [gcc.to_owned(), program("cc1"), assembler] {
        space.add_real(&path);
    }
    // Included by itself where there is one; without any directory to look into, cc1 refuses.
    let predefined = Path::new("/usr/include/stdc-predef.h");
    if predefined.exists() {
        space.add_real(predefined);
    }
    space.wanted.insert("/usr/include".into(), Entry::Directory);
    space.input("/work/src/a.h", "#define ANSWER 42\n");
    space.input("/work/src/a.c", "#include \"a.h\"\nint answer(void) { return ANSWER; }\n");
    let argv = ["gcc", "-g", "-O2", "-c", "src/a.c", "-o", "out/a.o"].map(OsString::from).to_vec();
    let mut job = Job::new(gcc, argv, "/work");
    job.directories = vec!["/work/out".into()];
    job.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
    let outcome = space.run_job(&job);
    assert_eq!(outcome.status, Status::Exited(0), "{}", String::from_utf8_lossy(&outcome.stderr));
    let object = outcome.upper.file(Path::new("/work/out/a.o")).expect("upper").expect("an object");
    let object = fs::read(object).expect("object");
    assert!(object.starts_with(b"\x7fELF"));
    // Debug information names the directory that the compiler saw.
    let contains = |text: &[u8]| object.windows(text.len()).any(|w| w == text);
    assert!(contains(b"/work\0") && !contains(b"scratch"));
    // Its temporary files are gone, the object is all that is new.
    assert_eq!(outcome.upper.changes().expect("changes").len(), 1);
    let again = space.run_job(&job);
    let object_again = again.upper.file(Path::new("/work/out/a.o")).expect("upper").expect("an object");
    assert_eq!(fs::read(object_again).expect("object"), object);
}

/// Tells who comes by, and lets them pass or not.
struct Turnstile {
    said: io::PipeWriter,
    open: bool,
    started: std::cell::Cell<bool>,
}

impl Gate for Turnstile {
    fn fd(&self) -> RawFd {
        self.said.as_raw_fd()
    }

    fn enter(&self) -> io::Result<()> {
        (&self.said).write_all(b"here")?;
        if self.open { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
    }

    fn started(&self) {
        self.started.set(true);
    }
}

fn a_gate_is_passed_or_not() {
    let mut space = Space::new();
    for open in [true, false] {
        space.sandbox.sync(&space.wanted).expect("sync");
        let (mut told, said) = io::pipe().expect("pipe");
        let gate = Turnstile { said, open, started: false.into() };
        let outcome = space.sandbox.run_through(&gate, &space.job(&["exit", "7"]));
        assert!(gate.started.get());
        match outcome {
            Ok(outcome) => assert!(open && outcome.status == Status::Exited(7)),
            Err(error) => {
                assert!(!open);
                assert!(error.to_string().contains("pass the gate"), "{error}");
            }
        }
        drop(gate);
        // Nobody else holds the pipe open any more, or this would not end.
        let mut text = String::new();
        told.read_to_string(&mut text).expect("read");
        assert_eq!(text, "here");
    }
}
