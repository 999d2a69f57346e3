// SPDX-License-Identifier: Apache-2.0
//! What the hooks write into the log, read as the recorder reads it: compared with what ptrace sees of the same program
//! without the library. And that programs cannot tell: each call gives what it gives without the library.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use observe::{Event, Options, Sink as _, Touches};

use wire::request_flags;

use crate::log::{Entry, Log};
use crate::support::{Tracer, built, exit, program, run, text};

const COOKIE: u64 = 0x1234_5678_9abc_def1;

/// A session with a log, and an empty folder of its own for what the programs do.
struct Logged {
    tracer: Tracer,
    log: Log,
    folder: PathBuf,
}

impl Logged {
    fn new() -> Self {
        Self::answering(Tracer::new(|_| run()))
    }

    fn answering(tracer: Tracer) -> Self {
        let folder = tracer.folder().canonicalize().unwrap().join("work");
        fs::create_dir(&folder).unwrap();
        Self { tracer, log: Log::create().unwrap(), folder }
    }

    fn command(&self, program: impl AsRef<Path>, cookie: u64) -> Command {
        let mut command = self.tracer.command(program, 0);
        command.env(wire::SESSION_VARIABLE, self.tracer.session_with(0, cookie, self.log.path()));
        command.current_dir(&self.folder);
        command
    }

    fn sh(&self, script: &str) -> Output {
        self.command("/bin/sh", 0).args(["-c", script]).output().unwrap()
    }

    fn entries(&self, command: u32) -> Vec<Entry> {
        assert_eq!(self.log.lost(), 0);
        self.log.take(|owner| owner.command == command, None).unwrap()
    }

    fn events(&self, command: u32) -> Vec<Event> {
        self.entries(command).into_iter().map(|entry| entry.event).collect()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Empties the folder.
    fn again(&self) {
        fs::remove_dir_all(&self.folder).unwrap();
        fs::create_dir(&self.folder).unwrap();
    }
}

/// What was done to each path below the folder, in words.
fn below(folder: &Path, touches: &Touches) -> Vec<String> {
    let uses = touches.iter().filter(|(path, _)| path.starts_with(folder));
    uses.map(|(path, touch)| format!("{} {touch:?}", path.strip_prefix(folder).unwrap().display())).collect()
}

fn summed(entries: Vec<Entry>) -> Touches {
    let mut touches = Touches::new();
    for entry in entries {
        touches.event(entry.process, entry.event);
    }
    touches
}

/// The same program in the same folder, without the library, followed by ptrace.
fn followed(logged: &Logged, program: &Path, args: &[&str]) -> (Vec<u8>, Touches) {
    let mut command = observe::Command::new(program);
    command.argv.extend(args.iter().map(Into::into));
    command.env = vec![("PATH".into(), "/nowhere:/usr/bin:/bin".into())];
    command.cwd.clone_from(&logged.folder);
    let seen = observe::observe(&command, &Options::default()).unwrap();
    assert!(seen.status.success(), "{seen:?}");
    (seen.stdout, seen.touches)
}

#[test]
fn every_call_gives_what_it_gives_without_the_library_and_is_recorded_as_ptrace_sees_it() {
    let logged = Logged::new();
    let paths = program("cc", "paths");
    // With the cookie, whatever is not marked fails.
    for (cookie, plain_args, hooked_args) in [(0, &[][..], &[][..]), (COOKIE, &["0"], &["123456789abcdef1"])]
    {
        logged.again();
        let (plain, expected) = followed(&logged, &paths, plain_args);
        logged.again();
        let hooked = logged.command(&paths, cookie).args(hooked_args).output().unwrap();
        assert!(hooked.status.success() && hooked.stderr.is_empty(), "{hooked:?}");
        let pairs = text(&hooked.stdout).lines().zip(text(&plain).lines());
        let differ: Vec<_> = pairs.filter(|(hooked, plain)| hooked != plain).collect();
        assert_eq!(differ, [], "{cookie:x}");
        assert_eq!(hooked.stdout.len(), plain.len());
        let found = summed(logged.entries(5));
        let (found_below, expected_below) = (below(&logged.folder, &found), below(&logged.folder, &expected));
        for path in found_below.iter().filter(|path| !expected_below.contains(path)) {
            println!("only in the log: {path}");
        }
        for path in expected_below.iter().filter(|path| !found_below.contains(path)) {
            println!("only by ptrace: {path}");
        }
        assert_eq!(found_below, expected_below);
        assert_eq!((found.network, found.gaps), (expected.network, expected.gaps));
        let transfers = |touches: &Touches| touches.transfers.clone();
        assert_eq!(transfers(&found), transfers(&expected));
    }
}

#[test]
fn without_a_usable_log_nothing_is_marked() {
    let logged = Logged::new();
    let paths = program("cc", "paths");
    let none = logged.at("none");
    let other = logged.at("other");
    fs::write(&other, [0; 8192]).unwrap();
    for log in [Path::new(""), &none, &other, Path::new("/dev/null"), Path::new("/")] {
        let mut command = logged.command(&paths, COOKIE);
        command.env(wire::SESSION_VARIABLE, logged.tracer.session_with(0, COOKIE, log));
        let output = command.args([format!("{COOKIE:x}"), "one".into()]).output().unwrap();
        assert!(text(&output.stdout) == "mkdir(\"d\", 0755) = -1 EDOM\n", "{log:?} {output:?}");
    }
    // A library behind ours has to see the calls.
    let mut command = logged.command(&paths, COOKIE);
    command.env("LD_PRELOAD", format!("{}:/lib/x86_64-linux-gnu/libm.so.6", built().library.display()));
    let output = command.args([format!("{COOKIE:x}"), "one".into()]).output().unwrap();
    assert!(text(&output.stdout) == "mkdir(\"d\", 0755) = -1 EDOM\n", "{output:?}");
    assert!(logged.log.owners().unwrap().is_empty());
    assert_eq!(fs::read(&other).unwrap(), [0; 8192]);
}

#[test]
fn an_execution_is_recorded_for_its_command_before_what_the_program_does() {
    let logged = Logged::new();
    let output = logged.sh("/bin/cat missing; exec /bin/cat none");
    let asked = logged.tracer.asked();
    assert!(asked.len() == 2 && asked.iter().all(|asked| asked.head.flags & request_flags::MARKED != 0));
    assert!(!output.status.success());
    let entries = logged.entries(5);
    let executed: Vec<_> = entries
        .iter()
        .filter(
            |entry| matches!(&entry.event, Event::Executed(place, _) if place.named == Path::new("/bin/cat")),
        )
        .collect();
    let [first, second] = executed[..] else { panic!("{entries:?}") };
    assert!(first.begins == Some(77) && second.begins == Some(77) && first.process != second.process);
    let looked: Vec<_> = logged.entries(77);
    let missing: Vec<_> =
        looked.iter().filter(|entry| entry.event == Event::Missing(logged.at("missing"))).collect();
    assert!(missing.iter().all(|entry| entry.process == first.process && entry.sequence > first.sequence));
    assert_eq!(missing.len(), 1, "{looked:?}");
    assert!(
        looked
            .iter()
            .any(|entry| entry.event == Event::Missing(logged.at("none")) && entry.process == second.process)
    );
}

#[test]
fn names_on_the_search_path_are_looked_up() {
    let logged = Logged::new();
    let execs = program("cc", "execs");
    assert!(logged.command(&execs, 0).args(["search", "true"]).status().unwrap().success());
    logged.command(&execs, 0).args(["search", "no-such-program"]).status().unwrap();
    let events = logged.events(5);
    for missing in ["/nowhere/true", "/nowhere/no-such-program", "/usr/bin/no-such-program"] {
        assert!(events.contains(&Event::Missing(missing.into())), "{missing}: {events:?}");
    }
    assert!(
        events.iter().any(|e| matches!(e, Event::Executed(p, _) if p.named == Path::new("/usr/bin/true")))
    );
}

#[test]
fn a_deferred_command_is_not_executed() {
    let logged = Logged::answering(Tracer::new(|_| exit(0, "")));
    assert!(logged.command(program("cc", "execs"), 0).arg("execv").status().unwrap().success());
    assert!(!logged.events(5).iter().any(|event| matches!(event, Event::Executed(..))));
}

/// The events about files in the folder, each with its process as a number from 0 on.
fn own(logged: &Logged, command: u32) -> Vec<(usize, Event)> {
    let mut processes = Vec::new();
    let mut found = Vec::new();
    for entry in logged.entries(command) {
        if !processes.contains(&entry.process) {
            processes.push(entry.process);
        }
        let process = processes.iter().position(|process| *process == entry.process).unwrap();
        match &entry.event {
            Event::Found(path) | Event::Missing(path) if path.starts_with(&logged.folder) => {
                found.push((process, entry.event));
            }
            _ => {}
        }
    }
    found
}

#[test]
fn processes_that_share_memory_or_a_chunk_are_told_apart() {
    let logged = Logged::new();
    fs::create_dir_all(logged.at("below/deeper")).unwrap();
    let processes = program("cc", "processes");
    let missing = |process, name: &str| (process, Event::Missing(logged.at(name)));
    for (way, expected) in [
        ("fork", vec![missing(0, "a"), missing(1, "below/b"), missing(0, "c")]),
        ("fork-first", vec![missing(0, "below/b"), missing(1, "c")]),
        ("vfork", vec![missing(0, "a"), missing(1, "below/b"), missing(0, "c")]),
        ("vfork-first", vec![missing(0, "below/b"), missing(1, "c")]),
        ("clone", vec![missing(0, "a"), missing(1, "below/b"), missing(0, "c")]),
        ("nftw", vec![missing(0, "below/deeper/x"), missing(0, "below/x"), missing(0, "c")]),
        ("close", vec![missing(0, "a"), missing(0, "c")]),
        ("environment", vec![missing(0, "a"), missing(0, "c")]),
        ("signal", vec![missing(0, "in-handler"), missing(0, "c")]),
    ] {
        let output = logged.command(&processes, 0).arg(way).output().unwrap();
        assert!(output.status.success(), "{way}: {output:?}");
        let found: Vec<_> =
            own(&logged, 5).into_iter().filter(|(_, event)| matches!(event, Event::Missing(_))).collect();
        assert_eq!(found, expected, "{way}");
    }
}

#[test]
fn the_children_of_a_shell_go_on_in_its_chunk_however_many_there_are() {
    let logged = Logged::new();
    // dash calls `vfork`.
    let mut command = logged.command("/bin/bash", 0);
    let script = "for ((i = 0; i < 400; i++)); do /bin/true; done";
    assert!(command.args(["-c", script]).status().unwrap().success());
    assert_eq!(logged.log.owners().unwrap().iter().filter(|owner| owner.command == 5).count(), 1);
    let executed =
        |event: &&Event| matches!(event, Event::Executed(place, _) if place.named.ends_with("true"));
    assert_eq!(logged.events(5).iter().filter(executed).count(), 400);
}

#[test]
fn threads_lose_nothing_over_many_chunks() {
    let logged = Logged::new();
    let output = logged.command(program("cc", "processes"), 0).args(["threads", "3000"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut found: Vec<PathBuf> = Vec::new();
    let entries = logged.entries(5);
    assert!(entries.windows(2).all(|pair| pair[0].sequence <= pair[1].sequence));
    for entry in entries {
        if let Event::Missing(path) = entry.event {
            found.extend(path.starts_with(logged.at("thread")).then_some(path));
        }
    }
    // In order for each thread, and complete.
    let mut expected = Vec::new();
    for thread in 0..4 {
        let of_thread = |path: &&PathBuf| path.starts_with(logged.at(&format!("thread/{thread}")));
        let numbers: Vec<_> = found.iter().filter(of_thread).cloned().collect();
        let all: Vec<_> = (0..3000).map(|i| logged.at(&format!("thread/{thread}/{i}"))).collect();
        assert_eq!(numbers, all, "thread {thread}");
        expected.extend(all);
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn a_process_that_is_killed_leaves_what_it_did_before() {
    let logged = Logged::new();
    // On a busy machine it does not come far in a short time.
    let mut patience = Duration::from_millis(30);
    let mut rounds = 0;
    while rounds < 20 {
        let mut child =
            logged.command(program("cc", "processes"), 0).args(["threads", "1000000"]).spawn().unwrap();
        std::thread::sleep(patience);
        child.kill().unwrap();
        child.wait().unwrap();
        let events = logged.events(5);
        assert!(events.iter().all(|event| !matches!(event, Event::Gap)), "{events:?}");
        if events.len() > 10 {
            rounds += 1;
        } else {
            patience *= 2;
            assert!(patience < Duration::from_secs(10), "{}", events.len());
        }
    }
}

#[test]
fn an_emptied_environment_and_another_directory_keep_the_log() {
    let logged = Logged::new();
    let script = format!("cd / && env -i {} close", program("cc", "processes").display());
    assert!(logged.sh(&script).status.success());
    assert!(logged.events(77).contains(&Event::Missing("/c".into())));
}

/// A process that asks for `a`, says so, waits for the end of its standard input, and asks for `c`.
fn waiting(logged: &Logged, way: &str) -> Child {
    let mut command = logged.command(program("cc", "processes"), 0);
    let mut child = command.arg(way).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
    child
}

/// The C library opens a locale's files by itself. In a program that marks its calls they are recorded here.
#[test]
fn files_of_a_locale_are_recorded_as_ptrace_sees_them() {
    let logged = Logged::new();
    let locales = program("cc", "locales");
    let of_locales = |touches: &Touches| {
        let is_of_one =
            |path: &Path| path.starts_with("/usr/lib/locale") || path.starts_with("/usr/share/locale");
        let uses = touches.iter().filter(|(path, _)| is_of_one(path));
        uses.map(|(path, touch)| format!("{} {touch:?}", path.display())).collect::<Vec<_>>()
    };
    for (way, variable, value, is_recorded) in [
        ("", "LANG", "C.UTF-8", true),
        ("", "LC_CTYPE", "xx_YY.UTF-8", true),
        ("thread", "LC_ALL", "C.UTF-8", false),
        ("", "LC_ALL", "C", false),
    ] {
        logged.again();
        for name in ["input", "spawned"] {
            fs::write(logged.at(name), "text").unwrap();
        }
        let mut plainly = observe::Command::new(&locales);
        plainly.argv.push(way.into());
        plainly.env = vec![("PATH".into(), "/usr/bin".into()), (variable.into(), value.into())];
        plainly.cwd.clone_from(&logged.folder);
        let plain = observe::observe(&plainly, &Options::default()).unwrap();
        assert!(plain.status.success() && fs::remove_file(logged.at("made")).is_ok(), "{plain:?}");
        let hooked = logged.command(&locales, COOKIE).arg(way).env(variable, value).output().unwrap();
        assert_eq!(text(&hooked.stdout), text(&plain.stdout), "{way} {value}");
        let (found, expected) = (summed(logged.entries(5)), of_locales(&plain.touches));
        assert_eq!(expected.is_empty(), value == "C", "else this tests nothing");
        // What is not recorded is not marked, either.
        assert_eq!(of_locales(&found), if is_recorded { expected } else { Vec::new() }, "{way} {value}");
        let mut names = below(&logged.folder, &found);
        names.retain(|name| !name.starts_with("made"));
        names.iter_mut().for_each(|name| name.truncate(name.find(' ').unwrap_or(name.len())));
        // Not what another process has opened.
        let own: &[&str] = if is_recorded { &["input", "missing"] } else { &[] };
        assert_eq!(names, own);
    }
}

/// In a build driver the C library's own reads and writes go another way.
#[test]
fn who_is_unheard_reads_and_prints_as_ever() {
    let logged = Logged::new();
    let program = program("cc", "streams");
    fs::write(logged.at("in"), "abcdef").unwrap();
    let run = |command: &mut Command| {
        let input = fs::File::open(logged.at("in")).unwrap();
        command.stdin(input).current_dir(&logged.folder).output().unwrap()
    };
    let plain = run(&mut Command::new(&program));
    assert!(plain.status.success() && text(&plain.stdout).ends_with("-1 4\nthread\n1\n"), "{plain:?}");
    for (cookie, flags) in
        [(COOKIE, wire::reply_flags::UNHEARD), (COOKIE, 0), (0, wire::reply_flags::UNHEARD)]
    {
        let mut command = logged.command(&program, cookie);
        command.env(wire::SESSION_VARIABLE, logged.tracer.session_with(flags, cookie, logged.log.path()));
        assert_eq!(run(&mut command), plain, "{flags}");
        let shell = run(command.arg("echo $GGTRACE_SESSION"));
        let passed: u32 = text(&shell.stdout).split(':').nth(1).unwrap().parse().unwrap();
        assert_eq!(passed & wire::reply_flags::UNHEARD, 0, "what it starts is heard");
    }
}

#[test]
fn a_chunk_that_was_taken_away_is_not_written_to() {
    let logged = Logged::new();
    let mut child = waiting(&logged, "wait");
    assert_eq!(logged.events(5), [Event::Missing(logged.at("a"))]);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert_eq!(logged.events(5), [Event::Missing(logged.at("c"))]);
}

#[test]
fn who_was_moved_unseen_says_where_he_is() {
    let logged = Logged::new();
    let mut child = waiting(&logged, "moved");
    fs::create_dir(logged.at("below")).unwrap();
    // As the filter does when it sees a `chdir` that is not marked.
    logged.log.note_move();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert_eq!(logged.events(5), [Event::Missing(logged.at("a")), Event::Missing(logged.at("below/c"))]);
}

#[test]
fn real_tools_are_recorded_as_ptrace_sees_them() {
    let logged = Logged::new();
    for script in [
        "mkdir -p a/b/c; echo text >a/b/file; cp -a a copy; ln -s b a/link; cat a/link/file; mv a/b/file a/b/c; rm -r copy",
        "printf 'int main(void){return 0;}' >x.c; gcc -c x.c -o x.o; gcc x.o -o x; ar rc libx.a x.o; ranlib libx.a; ./x",
        "for i in 1 2 3; do echo $i >>all; sed -i s/1/2/ all; done; sort all | uniq >sorted; find . -name 's*' -exec touch {} +; chmod -R u+w .",
        "tar cf all.tar -C / etc/hostname; mkdir out; tar xf all.tar -C out; install -m 755 -D out/etc/hostname in/stalled; ls -laR >/dev/null; test -e none || true",
        "cd /tmp; cd -; (cd /; ls) >/dev/null; mkdir d; cd d; pwd; echo x >y; cd ..; python3 -c 'import os; os.makedirs(\"p/q\"); open(\"p/q/r\",\"w\").write(\"x\"); os.replace(\"p/q/r\",\"p/s\"); os.scandir(\"p\")'",
    ] {
        logged.again();
        let shell = Path::new("/bin/sh");
        let (plain, expected) = followed(&logged, shell, &["-c", script]);
        logged.again();
        let hooked = logged.sh(script);
        assert!(hooked.status.success(), "{hooked:?}");
        assert_eq!(text(&hooked.stdout), text(&plain), "{script}");
        let entries = logged.log.take(|_| true, None).unwrap();
        let found = summed(entries);
        let names = |touches: &Touches| {
            let own = touches.iter().filter(|(path, _)| path.starts_with(&logged.folder));
            own.map(|(path, _)| path.to_path_buf()).collect::<std::collections::BTreeSet<_>>()
        };
        // Names of temporary files differ from run to run.
        let kept = |path: &&PathBuf| {
            !path.to_string_lossy().contains("/sed") && !path.to_string_lossy().contains("/st")
        };
        let (found, expected) = (names(&found), names(&expected));
        let only: Vec<_> = found.symmetric_difference(&expected).filter(kept).collect();
        assert!(only.is_empty(), "{script}: {only:?}");
    }
}
