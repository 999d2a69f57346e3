// SPDX-License-Identifier: Apache-2.0
//! Net and tracer do as the judge says: defer a program, refuse it, have an open wait.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use observe::{Judge, Pid, Use, Verdict};

use crate::odd;
use crate::support::{Fixed, Space};

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
    fs::create_dir(space.at("script")).unwrap();
    let script = space.script("script/tool", "#!/bin/sh\necho >trace\n");
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
    changed: Condvar,
    /// Each waits until there are so many.
    together: usize,
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
        let mut now = self.now.lock().unwrap();
        now.0 += 1;
        now.1 = now.1.max(now.0);
        self.changed.notify_all();
        let alone = |now: &mut (usize, usize)| now.1 < self.together;
        drop(self.changed.wait_timeout_while(now, Duration::from_secs(30), alone).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        self.now.lock().unwrap().0 -= 1;
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
        // More than there are threads to start with. The tracer asks one after the other.
        let together = if traced { 1 } else { 3 };
        let judge = Arc::new(Forcing { together, ..Forcing::default() });
        let status = if traced {
            space.trace_with(&command, &*judge).0.status
        } else {
            space.catch_with(&command, 0, Some(judge.clone())).output.status
        };
        assert!(status.success(), "traced: {traced}, {status}");
        let at_once = judge.now.lock().unwrap().1;
        assert!(if traced { at_once == 1 } else { at_once >= together }, "{at_once} at once");
        let mut asked = judge.asked.lock().unwrap().clone();
        asked.sort();
        let expected: Vec<_> =
            ["a", "b", "c", "d", "e", "f", "lost"].map(|name| (space.at(name), false)).into();
        assert_eq!(asked, expected);
    }
}

/// Is told of all that is looked for.
#[derive(Default)]
struct Asked(Mutex<Vec<PathBuf>>);

impl Judge for Asked {
    fn way(&self, path: &Path) -> Option<observe::Way> {
        self.0.lock().unwrap().push(path.to_owned());
        None
    }
}

#[test]
fn nobody_is_asked_what_the_loader_always_looks_for() {
    if !Path::new("/lib64/ld-linux-x86-64.so.2").exists() {
        println!("skipped: there is no such loader");
        return;
    }
    let (space, judge) = (Space::new(), Arc::new(Asked::default()));
    let judged = Arc::clone(&judge) as Arc<dyn Judge>;
    // That others ask about the same is noticed.
    let command = space.command("/bin/cat", &["/etc/ld.so.cache", "/etc/ld.so.none"]);
    space.catch_with(&command, 0, Some(judged));
    let asked = judge.0.lock().unwrap();
    let count = |path| asked.iter().filter(|asked| **asked == Path::new(path)).count();
    assert_eq!(count("/etc/ld.so.preload"), 0, "{asked:?}");
    assert_eq!(count("/etc/ld.so.cache"), 1, "{asked:?}");
    assert_eq!(count("/etc/ld.so.none"), 1, "{asked:?}");
}

/// Answers some messages.
struct Answering;

impl Judge for Answering {
    fn answer(&self, pid: Pid, message: &[u8]) -> Option<Vec<u8>> {
        match message {
            b"who" => Some(format!("you are {pid}").into_bytes()),
            b"all" => Some(vec![b'x'; 33]),
            _ => None,
        }
    }
}

#[test]
fn a_process_can_ask_in_a_call() {
    const SCRIPT: &str = r#"
        for my $case (["who", 3, 32, 77], ["all", 3, 32, 77], ["not", 3, 32, 77], ["who", 3, 32, 78], ["who", 33, 32, 77]) {
            my ($text, $length, $size, $mark) = @$case;
            my $buffer = $text . "\0" x 64;
            my $result = syscall(400, $buffer, $length, $size, 0, 0, $mark);
            print $result < 0 ? "error " . ($! + 0) : substr($buffer, 0, $result) eq "you are $$" ? "told" : $buffer, "\n";
        }
        print syscall(400, 16, 3, 32, 0, 0, 77), "\n";
    "#;
    let space = Space::new();
    let command = space.command("/usr/bin/perl", &["-e", SCRIPT]);
    let none = format!("error {}\n", libc::ENOSYS);
    let expected = format!("told\nerror {}\n{none}{none}{none}-1\n", libc::EIO);
    let caught = space.catch_with(&command, 77, Some(Arc::new(Answering)));
    assert_eq!(String::from_utf8(caught.output.stdout).unwrap(), expected);
}
