// SPDX-License-Identifier: Apache-2.0
//! `kill -9` of recorder and engine at any moment: what is there is whole, and running again gives the same result.
//! `scripts/kill-rounds` does more rounds of this on a real project.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tests::{PATIENCE, Running, Snapshot, TestSpace};
use thunk::{ObjectName, Placeholder};

use crate::calculator::calculator;
use crate::observed::static_shell;
use crate::remote::Host;

const ROUNDS: u32 = 5;

/// Every object of the store is what its name says, and every placeholder of the tree is whole.
pub fn all_is_whole(space: &TestSpace) {
    for folder in ["blobs", "exec"] {
        let Ok(entries) = fs::read_dir(space.store().join(folder)) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<ObjectName>().ok());
            let name = name.unwrap_or_else(|| panic!("{} is no object's name", path.display()));
            let content = fs::read(&path).expect("a blob can be read");
            assert_eq!(ObjectName::of(name.kind(), &content), name, "half-written");
        }
    }
    placeholders_are_whole(&space.tree());
}

fn placeholders_are_whole(directory: &Path) {
    for entry in fs::read_dir(directory).expect("our tree") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            placeholders_are_whole(&path);
        } else {
            Placeholder::read(&path).unwrap_or_else(|e| panic!("a placeholder is not whole: {e}"));
        }
    }
}

/// How long this takes when nothing disturbs it.
fn duration(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn plain_result(space: &TestSpace) -> Snapshot {
    space.keep();
    space.run(&["make"]).ok();
    let tree = Snapshot::of(&space.tree());
    space.restore();
    tree
}

/// Runs this program in a tree that `prepare` has made ready; kills it alone, each round at a later moment; then `finish` must give what
/// a plain build gives.
fn killed_at_any_moment(
    space: &TestSpace,
    program: &str,
    args: &[&str],
    prepare: impl Fn(&TestSpace),
    finish: impl Fn(&TestSpace),
) {
    let expected = plain_result(space);
    prepare(space);
    space.program_reads(program, args, b"").ok();
    space.restore();
    prepare(space);
    let whole = duration(|| drop(space.program_reads(program, args, b"").ok()));
    for round in 1..=ROUNDS {
        space.restore();
        prepare(space);
        let moment = whole * round / (ROUNDS + 1);
        println!("round {round}, after {moment:?}");
        kill_after(space, program, args, moment);
        all_is_whole(space);
        finish(space);
        let deviations = expected.deviations(&Snapshot::of(&space.tree()));
        assert!(deviations.is_empty(), "round {round}, killed after {moment:?}:\n{deviations}");
    }
}

/// Make removes what a command that is interrupted was making. What was deferred at that moment must not come to be
/// there afterwards: its recipe has another line.
#[test]
fn an_interrupted_make_leaves_no_target_of_which_it_does_not_know() {
    let sources: Vec<(String, String)> =
        (0..6).map(|n| (format!("s{n}.c"), format!("#include <stdio.h>\nint f{n};\n"))).collect();
    let files: Vec<_> = sources.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let space = TestSpace::with(&files);
    space.write(
        "Makefile",
        "all: s0.o s1.o s2.o s3.o s4.o s5.o\n%.o: %.c\n\tgcc -O2 -c $< -o $@\n\techo done >$@.post\n",
    );
    space.ggtrace(&["make", "-j3"]).ok();
    for round in 0..12 {
        space.sh("rm -f *.o *.post").ok();
        let build = space.start_program("ggtrace", &["make", "-j3"]);
        sleep(Duration::from_millis(8 + 3 * round));
        build.signal_all(Signal::SIGINT);
        let _ = build.wait();
        for n in 0..6 {
            let made = space.path(format!("s{n}.o")).exists();
            let post = space.path(format!("s{n}.o.post")).exists();
            assert!(!made || post, "round {round}: s{n}.o is there, and make does not know it");
        }
    }
}

/// Also where it comes before the build's process has anything of its own.
#[test]
fn an_early_interrupt_ends_the_build() {
    let space = TestSpace::new();
    for method in ["auto", "ptrace"] {
        for round in 0..40 {
            let started = Instant::now();
            let build = space.start_program("ggtrace", &["--method", method, "sleep", "150"]);
            sleep(Duration::from_micros(500 * round));
            build.signal_all(Signal::SIGINT);
            let ended = build.wait();
            assert!(started.elapsed() < Duration::from_secs(60), "{method}, round {round}: {ended}");
        }
    }
}

/// How long what a killed program has started may go on. Most of it ends at once.
const LATEST: Duration = Duration::from_secs(60);

/// Kills a program after this time.
fn kill_after(space: &TestSpace, program: &str, args: &[&str], moment: Duration) {
    let running = space.start_program(program, args);
    sleep(moment);
    kill(space, running);
}

/// Kills a program alone. What it started ends without it.
fn kill(space: &TestSpace, running: Running) {
    running.signal(Signal::SIGKILL);
    let started = Instant::now();
    // This waits for all that has its output open, too. Shown if the test fails.
    println!("killed:\n{}", running.wait());
    await_quiet(space, started);
    assert!(started.elapsed() < LATEST, "it took {:?}", started.elapsed());
}

/// Waits until nothing is left of what was told to end then.
fn await_quiet(space: &TestSpace, told: Instant) {
    // What it started has the store in its environment, or the tree in its arguments.
    while !processes_of(space).is_empty() {
        assert!(told.elapsed() < LATEST, "still there: {:?}", processes_of(space));
        sleep(Duration::from_millis(5));
    }
}

/// The command lines of processes that name this space's directory, in their arguments or their environment, or are in it.
fn processes_of(space: &TestSpace) -> Vec<String> {
    let mark = space.store();
    let mark = mark.parent().expect("it is in the space's directory").as_os_str().as_encoded_bytes();
    let names_it = |text: &[u8]| text.windows(mark.len()).any(|part| part == mark);
    let processes = fs::read_dir("/proc").expect("there is one").flatten();
    let lines = processes.filter_map(|process| {
        let read = |name: &str| fs::read(process.path().join(name)).unwrap_or_default();
        let line = read("cmdline");
        let directory = fs::read_link(process.path().join("cwd")).unwrap_or_default();
        let all = [&line, &read("environ"), directory.as_os_str().as_encoded_bytes()];
        all.iter().any(|text| names_it(text)).then(|| String::from_utf8_lossy(&line).into_owned())
    });
    lines.collect()
}

/// With a store that knows nothing, not even the toolchain.
fn forget(space: &TestSpace) {
    let _ = fs::remove_dir_all(space.store());
}

fn record_anew(space: &TestSpace) {
    forget(space);
    record(space);
}

fn record(space: &TestSpace) {
    space.ggtrace(&["make"]).ok();
}

fn force(space: &TestSpace) {
    space.force_all();
}

#[test]
fn the_recorder_killed_at_any_moment() {
    killed_at_any_moment(&calculator(), "ggtrace", &["make"], forget, |space| {
        record(space);
        force(space);
    });
}

#[test]
fn the_engine_killed_at_any_moment() {
    killed_at_any_moment(&calculator(), "ggforce", &[], record_anew, force);
}

/// Kills the recorder when its build has made a file `ready`, which is removed.
fn kill_when_ready(space: &TestSpace, args: &[&str]) {
    let mut recorder = space.start_program("ggtrace", args);
    let started = Instant::now();
    while !space.path("ready").exists() {
        let is_late = started.elapsed() > PATIENCE;
        assert!(!recorder.has_ended() && !is_late, "it does not get there:\n{}", recorder.wait());
        sleep(Duration::from_millis(5));
    }
    kill(space, recorder);
    fs::remove_file(space.path("ready")).expect("it was there");
}

/// The same with a script, which then waits.
fn kill_at_the_end_of(space: &TestSpace, method: &str, script: &str) {
    let script = format!("set -e\n{script}\n: > ready\nsleep 1000");
    kill_when_ready(space, &["--method", method, "sh", "-c", &script]);
}

#[test]
fn a_placeholder_that_was_moved_before_the_recorder_was_killed() {
    let space = calculator();
    let build = "make print.o; mkdir parts; mv print.o parts; cp -r parts more; mv more moved; ln parts/print.o hard.o";
    let late = "mv moved/print.o moved/late.o";
    let rest = "make; gcc -o linked main.o parts/print.o libcalc.a; ./linked";
    space.keep();
    let plain = space.run(&["sh", "-ec", &format!("{build}\n{late}\n{rest}")]).ok();
    let expected = Snapshot::of(&space.tree());
    space.restore();
    kill_at_the_end_of(&space, "auto", build);
    for path in ["parts/print.o", "moved/print.o", "hard.o"] {
        assert!(space.is_placeholder(path), "{path}");
    }
    all_is_whole(&space);
    // And one that went on for a moment, of which nobody was told.
    space.sh(late).ok();
    // This part of the build does not touch them, but for one that it reads.
    let recorded = space.ggtrace_sh(rest).ok();
    assert!(plain.out().ends_with("42\n") && recorded.out().ends_with("42\n"), "{recorded}");
    space.force_all();
    assert_eq!(expected.deviations(&Snapshot::of(&space.tree())), "");
}

/// Archives, moves, redirected output, a generator, a recipe of several steps, and make in make.
#[test]
fn the_recorder_of_steps_that_build_on_each_other_killed_at_any_moment() {
    let space = TestSpace::with(&[
        ("a.c", "int a(void) { return 40; }\n"),
        ("b.c", "int b(void) { return 2; }\n"),
        ("gen.c", "#include <stdio.h>\nint main(void) { puts(\"int a(void), b(void);\"); }\n"),
        (
            "main.c",
            "#include <stdio.h>\n#include \"gen.h\"\nint main(void) { printf(\"%d\\n\", a() + b()); }\n",
        ),
        ("Makefile", "all:\n\t$(MAKE) -f inner lib.a\n\t$(MAKE) -f inner prog\n\t./prog > answer\n"),
        (
            "inner",
            "%.o: %.c\n\tgcc -c $< -o $@.new\n\tsleep 0.02\n\tmv $@.new $@\n\
             lib.a: a.o b.o\n\tar cr $@ a.o\n\tsleep 0.02\n\tar r $@ b.o\n\tranlib $@\n\
             gen: gen.o\n\tgcc -o $@ gen.o\n\
             gen.h: gen\n\t./gen > $@; echo 'int end;' >> $@\n\
             main.o: gen.h\n\
             prog: main.o lib.a\n\tgcc -o tmp main.o lib.a\n\tmkdir -p bin\n\tmv tmp bin/prog\n\tln -sf bin/prog $@\n",
        ),
    ]);
    for method in ["auto", "preload"] {
        let args = ["--method", method, "make", "-j2"];
        killed_at_any_moment(
            &space,
            "ggtrace",
            &args,
            |_| {},
            |space| {
                space.ggtrace(&args).ok();
                force(space);
            },
        );
        space.restore();
    }
}

/// The guardian of a recorder that has just been started.
fn guardian_of(recorder: &Running) -> Pid {
    let processes = fs::read_dir("/proc").expect("there is one").flatten();
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse::<i32>().ok());
    let mut guardians = pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.split_once("(gg-guardian) ").and_then(|(_, rest)| rest.split(' ').nth(1));
        parent == Some(&recorder.pid().to_string())
    });
    Pid::from_raw(guardians.next().expect("it has one"))
}

/// Make has asked, in its own process, what it may start, and hears of the end of all while nobody answers.
#[test]
fn a_recipe_that_was_about_to_go_on_when_the_recorder_was_killed_is_done_again() {
    for method in ["auto", "preload"] {
        let space = TestSpace::with(&[("rest", "whole\n")]);
        let recipe = "a:\n\techo half > $@\n\tread line < pipe; true\n\tcat rest >> $@\n";
        space.write("Makefile", recipe);
        space.sh("mkfifo pipe").ok();
        let recorder = space.start_program("ggtrace", &["--method", method, "make"]);
        // Opened when the recipe has got to that line.
        let pipe = fs::File::create(space.path("pipe")).expect("it can be written to");
        let guardian = guardian_of(&recorder);
        signal::kill(guardian, Signal::SIGSTOP).expect("it is there");
        recorder.signal(Signal::SIGKILL);
        drop(pipe);
        // Nothing can be seen of it when make waits. Too short a time only makes this easier to pass.
        sleep(Duration::from_millis(300));
        signal::kill(guardian, Signal::SIGCONT).expect("it is there");
        kill(&space, recorder);
        let left = fs::read_to_string(space.path("a")).ok();
        assert_eq!(left, None, "make would take it for made");
        fs::remove_file(space.path("pipe")).expect("our pipe");
        space.write("pipe", "");
        space.ggtrace(&["--method", method, "make"]).ok();
        assert_eq!(space.read("a"), b"half\nwhole\n");
    }
}

#[test]
fn a_recipe_that_was_under_way_when_the_recorder_was_killed_is_done_again() {
    for method in ["auto", "preload"] {
        let space = TestSpace::with(&[("a.c", "int a;\n")]);
        space.write("Makefile", "a.o: a.c\n\tgcc -c a.c\n\t(sh wait; true)\n\tln -sf a.o link\n");
        // Whoever goes on spoils what make has removed.
        space.write("wait", ": > ready; sleep 1; echo late > a.o; sleep 1000\n");
        kill_when_ready(&space, &["--method", method, "make"]);
        sleep(Duration::from_millis(1200));
        assert!(!space.path("a.o").exists(), "make has not removed it, or somebody has made it again");
        space.write("wait", "");
        space.ggtrace(&["--method", method, "make"]).ok();
        space.force_all();
        assert!(space.path("link").is_symlink(), "make took the target for made");
        assert!(space.read("link").starts_with(b"\x7fELF"));
    }
}

/// A command that finds nobody to ask does not fail, which make would take for an error of that command's, after which it keeps the target.
#[test]
fn a_command_that_asks_a_killed_recorder_does_not_fail() {
    let space = TestSpace::with(&[("a.c", "int a;\n")]);
    // It kills the recorder itself, and goes on as fast as it can.
    space.write("Makefile", "a.o: a.c\n\tgcc -c a.c\n\tkill -9 $(RECORDER); gcc -c a.c -o b.o\n");
    for method in ["auto", "preload"] {
        let script = "exec make RECORDER=$PPID";
        let recorder = space.start_program("ggtrace", &["--method", method, "sh", "-c", script]);
        kill_afterwards(&space, recorder);
        assert!(!space.path("a.o").exists(), "{method}: make saw a command fail, and kept the target");
    }
}

/// Waits until what kills itself is gone, and all that it started.
fn kill_afterwards(space: &TestSpace, mut running: Running) {
    let started = Instant::now();
    while !running.has_ended() {
        assert!(started.elapsed() < PATIENCE, "it does not kill itself");
        sleep(Duration::from_millis(1));
    }
    kill(space, running);
}

/// Whatever they make of signals and of calls that fail, and whether or not they have forgotten where they come from.
#[test]
fn no_process_is_left_by_a_killed_recorder() {
    let loops = [
        "sh -c 'while ! cat missing; do :; done' 2>/dev/null",
        "busybox sh -c 'while ! cat missing; do :; done' 2>/dev/null",
        "env -i /bin/busybox sh -c 'cd /; while ! cat missing; do :; done' 2>/dev/null",
        "(setsid env -i /bin/busybox sh -c 'while :; do :; done' &)",
        "sh -c \"trap '' TERM; while :; do sleep 0.1; done\"",
        "sh -c \"trap : TERM; while :; do sleep 0.1 || :; done\"",
        "sh -c 'while :; do gcc -c a.c; done'",
    ];
    for method in ["auto", "preload"] {
        let space = TestSpace::with(&[("a.c", "int a;\n")]);
        let script: Vec<_> = loops.iter().map(|one| format!("{one} &")).collect();
        let script = format!("{}\nsleep 0.3", script.join("\n"));
        kill_at_the_end_of(&space, method, &script);
    }
}

#[test]
fn what_a_killed_recorder_leaves_is_swept_by_the_next() {
    let mut space = TestSpace::with(&[("a.c", "int a;\n")]);
    let sessions = space.outside().join("run");
    fs::create_dir(&sessions).expect("our directory");
    space.set("XDG_RUNTIME_DIR", &sessions);
    let left = || fs::read_dir(&sessions).expect("our directory").count();
    kill_at_the_end_of(&space, "auto", "gcc -c a.c");
    assert_eq!(left(), 1);
    // What was being written to the store at that moment, an hour ago.
    let torn = space.store().join("tmp/.gg-tmp-1-0");
    let written = fs::File::create(&torn).expect("our store");
    written.set_modified(SystemTime::now() - Duration::from_secs(7200)).expect("our file");
    let seen = space.ggtrace_sh("ls \"$XDG_RUNTIME_DIR\" | wc -l; gcc -c a.c").ok();
    assert_eq!(seen.out().trim(), "1", "one is the recorder's own: {seen}");
    assert_eq!((left(), torn.exists()), (0, false));
}

/// A source that takes the compiler its time.
fn slow_source() -> TestSpace {
    let space = TestSpace::new();
    // Each level is ten times as much text as the one before.
    let levels = (1..9).map(|n| format!("#define A{n} {}\n", format!("A{} ", n - 1).repeat(10)));
    space.write("slow.c", format!("#define A0 int x;\n{}A8\n", levels.collect::<String>()));
    space
}

/// Kills a program while something is being compiled.
fn kill_while_compiling(space: &TestSpace, mut running: Running) {
    wait_until_compiling(space, &mut running);
    kill(space, running);
}

#[expect(clippy::ptr_arg, reason = "what an iterator of strings gives")]
fn is_compiler(line: &String) -> bool {
    line.contains("cc1\0")
}

fn wait_until_compiling(space: &TestSpace, running: &mut Running) {
    let started = Instant::now();
    while !processes_of(space).iter().any(is_compiler) {
        let is_late = started.elapsed() > PATIENCE;
        assert!(!running.has_ended() && !is_late, "it does not compile");
        sleep(Duration::from_millis(5));
    }
}

/// Neither workers nor what they run.
#[test]
fn a_killed_engine_leaves_no_process() {
    let space = slow_source();
    space.ggtrace(&["gcc", "-c", "slow.c"]).ok();
    kill_while_compiling(&space, space.start_program::<&str>("ggforce", &[]));
}

/// Also without namespaces, where a worker is all that knows what its command has started.
#[test]
fn an_engine_that_ends_leaves_no_process_where_there_are_no_namespaces() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT] {
        let mut space = slow_source();
        space.set("GG_MANNER", "translated");
        space.ggtrace(&["gcc", "-c", "slow.c"]).ok();
        let mut engine = space.start_program::<&str>("ggforce", &[]);
        wait_until_compiling(&space, &mut engine);
        let told = Instant::now();
        engine.signal(signal);
        let _ = engine.wait();
        await_quiet(&space, told);
    }
}

/// Nor does a worker host go on with what nobody waits for.
#[test]
fn a_killed_engine_leaves_no_process_on_a_worker_host() {
    for manner in ["far-away", "translated"] {
        let mut space = slow_source();
        space.set("GG_MANNER", manner);
        let host = Host::start(&space, "w", &[]);
        space.unset("GG_MANNER");
        space.ggtrace(&["gcc", "-c", "slow.c"]).ok();
        let mut engine = space.start_program("ggforce", &["-e", &host.engine()]);
        wait_until_compiling(&space, &mut engine);
        let told = Instant::now();
        engine.signal(Signal::SIGKILL);
        let _ = engine.wait();
        while processes_of(&space).iter().any(is_compiler) {
            assert!(told.elapsed() < LATEST, "{manner}: it compiles on");
            sleep(Duration::from_millis(5));
        }
    }
}

/// The recorder has taken its call and will never answer it: the guardian does, or it could not handle the signal.
#[test]
fn who_waits_for_the_recorder_can_tidy_up_when_that_is_killed() {
    let Some(busybox) = static_shell() else {
        println!("skipped: there is no static busybox here");
        return;
    };
    let space = slow_source();
    // The compiler's probes are not to be taken for the compile.
    space.write("a.c", "int a;\n");
    space.ggtrace(&["gcc", "-c", "a.c"]).ok();
    space.write("reader", "trap 'echo tidied > tidied; exit' TERM\nread x < slow.o\n");
    let script = format!("gcc -c slow.c; {busybox} sh reader");
    kill_while_compiling(&space, space.start_program("ggtrace", &["sh", "-c", &script]));
    assert_eq!(space.read("tidied"), b"tidied\n");
}

/// Nobody waits on for what was to be forced.
#[test]
fn a_recorder_that_is_told_to_end_ends_its_engine() {
    let space = slow_source();
    space.write("a.c", "int a;\n");
    space.ggtrace(&["gcc", "-c", "a.c"]).ok();
    let mut running = space.start_program("ggtrace", &["sh", "-c", "gcc -c slow.c; cat slow.o >copy"]);
    wait_until_compiling(&space, &mut running);
    let told = Instant::now();
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().code(), 128 + Signal::SIGTERM as i32);
    assert!(told.elapsed() < LATEST, "it went on waiting");
    await_quiet(&space, told);
}

#[test]
fn an_interrupted_engine_leaves_nothing_half_written() {
    let space = calculator();
    let expected = plain_result(&space);
    space.ggtrace(&["make"]).ok();
    let ggforce = TestSpace::program("ggforce");
    let engine =
        space.start(&["env", "--default-signal=INT", ggforce.to_str().expect("a path of ours"), "-j1"]);
    sleep(Duration::from_millis(60));
    engine.signal_all(Signal::SIGINT);
    let ended = engine.wait();
    // It may have been done already.
    assert!(ended.code() == 130 || ended.status.success(), "{ended}");
    all_is_whole(&space);
    space.force_all();
    assert_eq!(expected.deviations(&Snapshot::of(&space.tree())), "");
}

#[test]
fn two_recorders_and_two_engines_at_once_on_one_store() {
    let space = calculator();
    space.sh("mkdir one; cp -r Makefile *.c include one; cp -r one two").ok();
    let expected: Vec<_> = ["one", "two"]
        .map(|copy| {
            space.run(&["make", "-C", copy]).ok();
            let built = space.read(format!("{copy}/calc"));
            space.run(&["make", "-C", copy, "clean"]).ok();
            built
        })
        .into();
    let recorders = ["one", "two"].map(|copy| space.start_program("ggtrace", &["make", "-j4", "-C", copy]));
    for recorder in recorders {
        recorder.wait().ok();
    }
    // Both engines on both targets: the same thunks at the same time.
    let engines = [(); 2].map(|()| space.start_program("ggforce", &["one/calc", "two/calc"]));
    for engine in engines {
        engine.wait().ok();
    }
    all_is_whole(&space);
    assert!(expected == ["one", "two"].map(|copy| space.read(format!("{copy}/calc"))));
}

#[test]
fn what_is_not_to_hear_of_the_terminal_s_end_goes_on() {
    let space = TestSpace::with(&[("x.c", "int x;\n")]);
    let ggtrace = TestSpace::program("ggtrace");
    // Who is ended does not get as far as that.
    for (before, time, goes_on) in [("trap '' HUP", 0.3, true), (":", 60.0, false)] {
        let build = format!("gcc -c x.c; kill -HUP $PPID; sleep {time}; nm x.o >/dev/null && echo done");
        let ran = space.run(&["sh", "-c", &format!("{before}; {} sh -c '{build}'", ggtrace.display())]);
        assert_eq!((ran.out() == "done\n", ran.code() == 0), (goes_on, goes_on), "{ran}");
    }
}
