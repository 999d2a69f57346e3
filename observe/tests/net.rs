// SPDX-License-Identifier: Apache-2.0
//! The net sees what the tracer sees, and both do as the judge says.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use observe::net::{self, Refusal, SharedSink};
use observe::{Event, Judge, Pid, Process, Touches, Use, Verdict};
use support::{Caught, Fixed, Log, Space, with};

const USES: [Use; 13] = [
    Use::Read,
    Use::Executed,
    Use::Found,
    Use::Missing,
    Use::Denied,
    Use::Listed,
    Use::Written,
    Use::Created,
    Use::Removed,
    Use::MovedAway,
    Use::MovedHere,
    Use::Linked,
    Use::Attributes,
];

/// `odd.c`, compiled once, with and without libraries.
fn odd(linked: &'static str) -> PathBuf {
    static PROGRAMS: OnceLock<Space> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| {
        let space = Space::new();
        for (name, link) in [("static", "-static"), ("dynamic", "-no-pie")] {
            space.compile(name, include_str!("odd.c"), &[link, "-pthread", "-Wall"]);
        }
        space
    });
    programs.at(linked)
}

/// What was done to each path, comparable between runs in different directories.
fn summary(touches: &Touches, space: &Space) -> BTreeMap<String, String> {
    let name = |path: &Path| match path.strip_prefix(&space.path) {
        Ok(rest) => format!("./{}", rest.display()),
        Err(_) => path.display().to_string(),
    };
    let of = |touch: &observe::Touch| {
        let uses: Vec<_> = USES.iter().filter(|&&what| touch.has(what)).collect();
        let real = touch.real.as_deref().map(name);
        format!(
            "{uses:?} input {} existed {:?} special {} = {real:?}",
            touch.input, touch.existed, touch.special
        )
    };
    touches
        .iter()
        // What describes a process itself has its number in its path.
        .filter(|(path, _)| !path.starts_with("/proc"))
        .map(|(path, touch)| (name(path), of(touch)))
        .collect()
}

/// Runs the same under both, each in a directory of its own.
fn same(prepare: impl Fn(&Space), program: impl AsRef<Path>, arguments: &[&str]) -> Caught {
    let run = |space: &Space| {
        prepare(space);
        space.command(program.as_ref(), arguments)
    };
    let (traced_in, caught_in) = (Space::new(), Space::new());
    let traced = traced_in.run(&run(&traced_in));
    let caught = caught_in.catch(&run(&caught_in));
    assert_eq!(caught.output.status, traced.status, "{arguments:?}");
    assert_eq!(
        String::from_utf8_lossy(&caught.output.stdout),
        String::from_utf8_lossy(&traced.stdout),
        "{arguments:?}"
    );
    let (ours, theirs) = (summary(&caught.touches, &caught_in), summary(&traced.touches, &traced_in));
    for (path, touch) in &theirs {
        assert_eq!(ours.get(path), Some(touch), "{arguments:?}: {path} (left: net, right: tracer)");
    }
    let invented: Vec<_> = ours.iter().filter(|(path, _)| !theirs.contains_key(*path)).collect();
    assert!(invented.is_empty(), "{arguments:?}: only in the net: {invented:#?}");
    let told = |t: &Touches| (t.gaps, t.network, t.foreign, t.transfers.len());
    assert_eq!(told(&caught.touches), told(&traced.touches), "{arguments:?}");
    caught
}

fn prepare(space: &Space) {
    fs::create_dir_all(space.at("dir/full")).unwrap();
    space.write("dir/file", "x");
    space.write("dir/full/one", "1");
    space.write("two", "2\n");
    std::os::unix::fs::symlink("dir/file", space.at("soft")).unwrap();
    std::os::unix::fs::symlink("nowhere", space.at("dangling")).unwrap();
    let script = space.write("script", "#!/bin/sh\ncat two missing 2>/dev/null\n");
    fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let broken = space.write("broken", "#!/no/such/interpreter\n");
    fs::set_permissions(broken, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn odd_programs_look_the_same() {
    for linked in ["static", "dynamic"] {
        for (way, arguments) in [
            ("raw", &["dir/file"][..]),
            ("dirfd", &["dir", "file"]),
            ("dirfd", &["dir", "../soft"]),
            ("empty-path", &["dir", "file"]),
            ("fchdir", &["dir", "file"]),
            ("openat2", &["made"]),
            ("openat2", &["dangling"]),
            ("attributes", &["dir/file"]),
            ("threads", &["dir/file"]),
            ("stop", &["dir/file"]),
            ("orphan", &["dir/file"]),
            ("vfork", &["/bin/cat", "two"]),
            ("clone", &["/bin/cat", "two"]),
            ("thread-exec", &["/bin/cat", "two"]),
            ("leader-exits", &["/bin/cat", "two"]),
            ("fexecve", &["/bin/cat", "two"]),
            ("vfork", &["./script"]),
            ("vfork", &["./broken"]),
            ("vfork", &["./none"]),
            ("vfork", &["two"]),
            ("handler", &[]),
            ("interrupted", &[]),
            ("refused", &["dir/file"]),
            ("network", &[]),
            ("socket", &[]),
            ("bad-pointers", &[]),
            ("foreign", &[]),
        ] {
            if (linked, way) == ("dynamic", "leader-exits") {
                // Loads a library to end its first thread, or not, if the exec of the other comes first.
                continue;
            }
            let all: Vec<_> = [way].iter().chain(arguments).copied().collect();
            same(prepare, odd(linked), &all);
        }
    }
}

#[test]
fn calls_of_processes_that_are_killed_do_not_disturb() {
    let space = Space::new();
    let caught = space.catch(&space.command(odd("static"), &["killed", "x"]));
    assert_eq!(caught.output.status.code(), Some(0));
}

#[test]
fn file_tools_look_the_same() {
    for script in [
        "cp -p two three; mv three four; ln two five; ln -s two six; cat six/x two/x",
        "mkdir dir; mkdir -p new/deep; touch new/deep/file; rmdir new; rm -r new; rmdir missing dir/full two",
        "rm dir; rm missing; rm -f missing two soft dangling",
        "mv dir/full/one dir; mv dir dir/full; mv missing x; mv dir moved; mv two moved; mv two moved/file",
        "ln two soft; ln dir hard; ln missing hard; ln -s x two; ln soft hard; ln -L soft hard2",
        "chmod 600 two; chmod 600 missing; touch -h soft; touch dangling; touch new; chown 0 two",
        "echo x >dangling; echo x >>two; echo x >dir; echo x >missing/new; echo x >soft; : <missing",
        "ls dir dangling soft missing dir/; ls -lR . >/dev/null; find . -name x",
        "./script; ./broken; ./two; ./dir; missing; sh ./script; test -x script; test -x two; test -w two",
        "cd dir/full; cat one ../file ../../two ../../soft; cd ..; cat full/one; cd /; pwd",
        "cat /dev/null </dev/null >/dev/null; echo x >/dev/fd/1; cat /dev/stdin; mkfifo f; test -p f",
        "tar cf t.tar dir two; mkdir out; tar xf t.tar -C out; sed s/2/3/ two >three; install -m 755 two eight",
    ] {
        // The same applets, all in one static program, and each a dynamic program of its own.
        same(prepare, "/bin/busybox", &["sh", "-c", script]);
        same(prepare, "/bin/sh", &["-c", script]);
    }
}

#[test]
fn what_another_user_may_not_do() {
    if !is_root() {
        println!("skipped: only root can be somebody else");
        return;
    }
    let script = "cat secret; echo x >theirs; test -r secret; rm theirs/x; mkdir closed/new; cat closed/x; touch theirs; chmod 600 theirs; mv theirs mine; ./secret";
    let space = Space::new();
    let prepared = |space: &Space| {
        for (name, mode) in [("secret", 0o600), ("theirs", 0o644)] {
            let file = space.write(name, "x");
            fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        }
        fs::create_dir(space.at("closed")).unwrap();
        fs::set_permissions(space.at("closed"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        fs::set_permissions(&space.path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    prepared(&space);
    // Both halves as another user: a tracer that is one cannot be root, and neither can who foresees.
    let program = std::env::current_exe().unwrap();
    let status = std::process::Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(program)
        .args(["--ignored", "--exact", "as_somebody_else", "--nocapture"])
        .env("NET_SCRIPT", script)
        .current_dir(&space.path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success(), "{text}\n{}", String::from_utf8_lossy(&status.stderr));
    assert!(text.contains("alike"), "{text}");
}

#[test]
#[ignore = "a part of what_another_user_may_not_do"]
fn as_somebody_else() {
    let Some(script) = std::env::var_os("NET_SCRIPT") else { return };
    let script = script.into_string().unwrap();
    let space = Space::new();
    let here = std::env::current_dir().unwrap();
    let mut command = space.command("/bin/busybox", &["sh", "-c", &script]);
    command.cwd.clone_from(&here);
    let traced = space.run(&command);
    let caught = space.catch(&command);
    let theirs = summary(&traced.touches, &space);
    assert_eq!(summary(&caught.touches, &space), theirs);
    assert!(theirs.values().any(|touch| touch.contains("Denied")), "{theirs:?}");
    println!("alike");
}

fn is_root() -> bool {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
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
fn a_program_is_deferred_in_every_way_of_executing_it() {
    let space = Space::new();
    // Must not run: its trace would be the file.
    let tool = space.compile(
        "tool",
        "#include <fcntl.h>\n__attribute__((constructor)) static void f(void) { creat(\"trace\", 0644); }\nint main(void) { return 1; }",
        &[],
    );
    let still = space.compile(
        "still",
        "#include <fcntl.h>\nint main(void) { creat(\"trace\", 0644); return 1; }",
        &["-static"],
    );
    fs::rename(still, space.at("bin")).unwrap();
    fs::create_dir(space.at("static")).unwrap();
    fs::rename(space.at("bin"), space.at("static/tool")).unwrap();
    let script = space.at("script/tool");
    fs::create_dir(space.at("script")).unwrap();
    fs::write(&script, "#!/bin/sh\necho >trace\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for program in [tool, space.at("static/tool"), script] {
        let program = program.to_str().unwrap();
        for way in ["vfork", "clone", "thread-exec", "leader-exits", "fexecve"] {
            if way == "fexecve" && program.contains("script") {
                // Its interpreter could not open a descriptor that is closed on exec: the kernel refuses.
                continue;
            }
            for linked in ["static", "dynamic"] {
                let command = space.command(odd(linked), &[way, program, "an argument"]);
                let judge = Fixed::new("tool", Verdict::Exit(42));
                let caught = space.catch_with(&command, 0, Some(judge.clone()));
                assert_eq!(caught.output.status.code(), Some(42), "net, {way}, {program}");
                check(&judge, &space, program, way);
                assert!(!caught.touches.with(Use::Executed).any(|(path, _)| path == Path::new(program)));

                let judge = Fixed::new("tool", Verdict::Exit(43));
                let (run, _) = space.trace_with(&command, &*judge);
                assert_eq!(run.status.code(), Some(43), "tracer, {way}, {program}");
                check(&judge, &space, program, way);
            }
        }
    }
}

/// The program was asked about as it was called, and has not run.
fn check(judge: &Fixed, space: &Space, program: &str, way: &str) {
    assert!(!space.at("trace").exists(), "{way} {program} has run");
    assert!(judge.not_deferred.lock().unwrap().is_empty(), "{way} {program}");
    let asked = judge.asked.lock().unwrap();
    let exec = asked.last().unwrap();
    assert_eq!(exec.path, Path::new(program));
    assert_eq!(exec.argv, [program, "an argument"]);
    assert_eq!(exec.cwd, space.path);
    assert!(exec.env.iter().any(|(name, value)| name == "LC_ALL" && value == "C"), "{:?}", exec.env);
    assert!(exec.umask & 0o777 == exec.umask && exec.fds.iter().all(Option::is_some));
    assert!(exec.pid > 0 && exec.parent > 0 && exec.pid != exec.parent);
}

#[test]
fn a_static_shell_gets_the_code_and_goes_on() {
    let space = Space::new();
    let script = "gcc -c none.c; echo $?; gcc --version | cat; ./gcc; echo $?";
    let judge = Fixed::new("gcc", Verdict::Exit(0));
    let command = space.command("/bin/busybox", &["sh", "-c", script]);
    let caught = space.catch_with(&command, 0, Some(judge.clone()));
    assert_eq!(String::from_utf8_lossy(&caught.output.stdout), "0\n127\n");
    // `./gcc` is not there, and `cat` is busybox's own.
    let asked: Vec<_> = judge.asked.lock().unwrap().iter().map(|exec| exec.argv.len()).collect();
    assert_eq!(asked.len(), 4, "{asked:?}");
    let (run, _) = space.trace_with(&command, &*Fixed::new("gcc", Verdict::Exit(0)));
    assert!(run.status.code() == Some(0), "{run:?}");
}

#[test]
fn an_exec_can_be_refused() {
    let space = Space::new();
    for (errno, code) in [(libc::EACCES, 126), (libc::ENOENT, 127)] {
        let command = space.command("/bin/busybox", &["sh", "-c", "/bin/cat /etc/passwd"]);
        let judge = Fixed::new("cat", Verdict::Fail(errno));
        let caught = space.catch_with(&command, 0, Some(judge.clone()));
        assert_eq!(caught.output.status.code(), Some(code));
        assert!(!caught.touches.iter().any(|(path, _)| path == Path::new("/etc/passwd")));
        let (run, _) = space.trace_with(&command, &*judge);
        assert_eq!(run.status.code(), Some(code));
    }
}

#[test]
fn an_exec_that_fails_after_the_verdict() {
    let space = Space::new();
    let command = space.command(odd("static"), &["too-long", "/bin/cat"]);
    let judge = Fixed::new("cat", Verdict::Exit(9));
    let caught = space.catch_with(&command, 0, Some(judge.clone()));
    assert_eq!(caught.output.status.code(), Some(0));
    assert_eq!(*judge.not_deferred.lock().unwrap(), [false]);
    let judge = Fixed::new("cat", Verdict::Exit(9));
    let (run, _) = space.trace_with(&command, &*judge);
    assert_eq!(run.status.code(), Some(0));
    assert_eq!(*judge.not_deferred.lock().unwrap(), [false]);
}

#[test]
fn what_is_traced_already_runs() {
    if std::process::Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("skipped: there is no strace here");
        return;
    }
    let space = Space::new();
    space.write("file", "content");
    let command = space
        .command("/usr/bin/strace", &["-f", "-o", "/dev/null", "/bin/busybox", "sh", "-c", "/bin/cat file"]);
    let judge = Fixed::new("cat", Verdict::Exit(9));
    let caught = space.catch_with(&command, 0, Some(judge.clone()));
    assert_eq!((caught.output.status.code(), &caught.output.stdout[..]), (Some(0), &b"content"[..]));
    assert_eq!(*judge.not_deferred.lock().unwrap(), [true]);
    assert!(caught.touches.get("/bin/cat").unwrap().has(Use::Executed));
    assert!(caught.touches.get(space.at("file")).unwrap().has(Use::Read));
}

/// Puts the real file in the place of one of a certain size before it is opened; refuses one of another.
#[derive(Default)]
struct Forcing {
    asked: Mutex<Vec<(PathBuf, bool)>>,
    /// How many are asked at this moment, and how many there were at most.
    now: Mutex<(usize, usize)>,
}

impl Judge for Forcing {
    fn may_be_placeholder(&self, size: u64) -> bool {
        size == 1013 || size == 2037
    }

    fn open(&self, _: Pid, path: &Path, writes: bool) -> Verdict {
        self.asked.lock().unwrap().push((path.to_owned(), writes));
        if fs::metadata(path).unwrap().len() == 2037 {
            return Verdict::Fail(libc::EIO);
        }
        // Takes its time; the others must not wait.
        let change = |by: isize| {
            let mut now = self.now.lock().unwrap();
            now.0 = now.0.checked_add_signed(by).unwrap();
            now.1 = now.1.max(now.0);
        };
        change(1);
        std::thread::sleep(Duration::from_millis(300));
        change(-1);
        let beside = path.with_extension("new");
        fs::write(&beside, "the real content\n").unwrap();
        fs::rename(beside, path).unwrap();
        Verdict::Go
    }
}

#[test]
fn an_open_waits_while_the_file_is_made() {
    for traced in [false, true] {
        let space = Space::new();
        for name in ["a", "b", "c", "d", "e", "f"] {
            space.write(name, &"#".repeat(1013));
        }
        space.write("lost", &"#".repeat(2037));
        space.write("other", "other\n");
        let script = "cat other; for f in a b c d e f; do cat $f >$f.out & done; wait; cat a.out; cat lost; \
                      stat -c %s b.out; test $(cat [a-f].out | wc -l) = 6";
        let command = space.command("/bin/busybox", &["sh", "-c", script]);
        let judge = Arc::new(Forcing::default());
        let status = if traced {
            space.trace_with(&command, &*judge).0.status
        } else {
            space.catch_with(&command, 0, Some(judge.clone())).output.status
        };
        assert!(status.success(), "traced: {traced}, {status}");
        // More than there are threads to start with. The tracer asks one after the other.
        let at_once = judge.now.lock().unwrap().1;
        assert!(if traced { at_once == 1 } else { at_once > 2 }, "{at_once} at once");
        let mut asked = judge.asked.lock().unwrap().clone();
        asked.sort();
        let expected: Vec<_> =
            ["a", "b", "c", "d", "e", "f", "lost"].map(|name| (space.at(name), false)).into();
        assert_eq!(asked, expected);
    }
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
    fs::copy(odd("static"), space.at("root/odd")).unwrap();
    fs::copy("/bin/busybox", space.at("busybox")).unwrap();
    space.write("root/work/file", "x");
    std::os::unix::fs::symlink("/work/file", space.at("root/link")).unwrap();
    let caught = space.catch(&space.command("/bin/busybox", &["chroot", "root", "/odd", "raw", "/link"]));
    assert_eq!(caught.output.status.code(), Some(0), "{:?}", caught.touches);
    let link = caught.touches.get("/link").unwrap();
    assert!(link.has(Use::Read) && link.real.as_deref() == Some(Path::new("/work/file")), "{link:?}");
    assert!(caught.touches.get("/odd").unwrap().has(Use::Executed));
}

#[test]
fn one_net_only() {
    assert_eq!(net::available(), Ok(()));
    let (outer, outer_net) = net::pair(0).unwrap();
    let (inner, inner_net) = net::pair(0).unwrap();
    let log = || Arc::new(Log::default()) as Arc<dyn SharedSink>;
    let (outer_log, inner_log) = (log(), log());
    let outer_supervisor = outer_net.start(outer_log, None).unwrap();
    let inner_supervisor = inner_net.start(inner_log, None).unwrap();
    let mut command = std::process::Command::new("/bin/true");
    // SAFETY: `enter` is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            outer.enter()?;
            // There is none to be had, but that is no reason not to run.
            let _ = inner.enter();
            Ok(())
        })
    };
    assert!(command.status().unwrap().success());
    drop(command);
    assert_eq!(outer_supervisor.installed(), Ok(()));
    assert_eq!(inner_supervisor.installed(), Err(Refusal::Busy));
    outer_supervisor.wait();
    inner_supervisor.wait();
}

#[test]
fn a_child_that_never_gets_there() {
    let (entrance, net) = net::pair(0).unwrap();
    let supervisor = net.start(Arc::new(Log::default()), None).unwrap();
    drop(entrance);
    assert_eq!(supervisor.installed(), Err(Refusal::NeverReady));
    supervisor.wait();
}

#[test]
fn without_their_supervisor_processes_end() {
    let space = Space::new();
    let mut supervisor = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "supervisor_to_be_killed", "--nocapture"])
        .env("NET_SPACE", &space.path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(supervisor.stdout.take().unwrap()).lines();
    let pid: Pid =
        lines.map_while(Result::ok).find_map(|line| line.strip_prefix("pid ")?.parse().ok()).unwrap();
    let process = Process::open(pid).unwrap();
    supervisor.kill().unwrap();
    assert_eq!(supervisor.wait().unwrap().signal(), Some(libc::SIGKILL));
    let start = Instant::now();
    while !process.has_ended() {
        assert!(start.elapsed() < Duration::from_secs(20), "it waits for an answer that nobody gives");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Its calls have failed: it could not go on as if nothing were.
    assert!(!space.at("done").exists());
}

/// Runs a shell that would go on for long; is killed by the test above.
#[test]
#[ignore = "a part of without_their_supervisor_processes_end"]
fn supervisor_to_be_killed() {
    let Some(path) = std::env::var_os("NET_SPACE") else { return };
    let (entrance, net) = net::pair(0).unwrap();
    net.start(Arc::new(Log::default()), None).unwrap();
    let mut command = std::process::Command::new("/bin/busybox");
    command.args(["sh", "-c", "i=0; while test -e / && test $i -lt 1000000; do i=$((i+1)); done; : >done"]);
    command.current_dir(path);
    // SAFETY: `enter` is async-signal-safe.
    unsafe { command.pre_exec(move || entrance.enter()) };
    let mut child = command.spawn().unwrap();
    println!("pid {}", child.id());
    child.wait().unwrap();
}

#[test]
fn who_outlives_the_recorder_goes_on() {
    let space = Space::new();
    let recorder = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "recorder_that_leaves", "--nocapture"])
        .env("NET_SPACE", &space.path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The one that is left behind does not hold the pipe.
    let output = recorder.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(!space.at("copy").exists());
    let caretaker: Pid = text.lines().find_map(|line| line.strip_prefix("pid ")?.parse().ok()).unwrap();
    let caretaker = Process::open(caretaker).unwrap();
    space.write("go", "");
    let start = Instant::now();
    while !caretaker.has_ended() {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not end with the last process");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(fs::read_to_string(space.at("copy")).unwrap(), "content");
}

/// Ends while a process goes on that its build has left.
#[test]
#[ignore = "a part of who_outlives_the_recorder_goes_on"]
fn recorder_that_leaves() {
    let Some(path) = std::env::var_os("NET_SPACE") else { return };
    let (entrance, net) = net::pair(0).unwrap();
    let supervisor = net.start(Arc::new(Log::default()), None).unwrap();
    let mut command = std::process::Command::new("/bin/busybox");
    let script = "printf content >file; (while ! test -e go; do sleep 0.05; done; cat file >copy) &";
    command.args(["sh", "-c", script]).current_dir(path).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: `enter` is async-signal-safe.
    unsafe { command.pre_exec(move || entrance.enter()) };
    assert!(command.status().unwrap().success());
    println!("pid {}", supervisor.leave().unwrap().unwrap());
}

#[test]
fn nobody_is_left_behind_for_nobody() {
    let (entrance, net) = net::pair(0).unwrap();
    let supervisor = net.start(Arc::new(Log::default()), None).unwrap();
    let mut command = std::process::Command::new("/bin/true");
    // SAFETY: `enter` is async-signal-safe.
    unsafe { command.pre_exec(move || entrance.enter()) };
    assert!(command.status().unwrap().success());
    assert_eq!(supervisor.leave().unwrap(), None);
}

#[test]
fn what_the_kernel_reads_to_execute_a_program() {
    let space = Space::new();
    prepare(&space);
    for program in ["/bin/cat", "/bin/busybox", "script", "broken", "two", "missing"] {
        let path = space.path.join(program);
        let script = format!("exec {}", path.display());
        let command = space.command("/bin/busybox", &["sh", "-c", &script]);
        let caught = space.catch(&command);
        let own = observe::executed(&path);
        assert!(!own.is_empty());
        for event in own {
            assert!(caught.log.iter().any(|(_, seen)| *seen == event), "{event:?} of {program}");
        }
    }
}
