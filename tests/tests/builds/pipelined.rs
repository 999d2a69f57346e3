// SPDX-License-Identifier: Apache-2.0
//! `ggtrace --force`: what is deferred is forced while the build goes on, and all of it is there when the build has ended.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tests::{PATIENCE, Running, Snapshot, TestSpace};

use crate::calculator::calculator;

/// Everything that `--force` is given a build to do.
fn forced(space: &TestSpace, options: &[&str], command: &[&str]) -> Running {
    let args: Vec<&str> = ["--force"].iter().chain(options).chain(command).copied().collect();
    space.start_program("ggtrace", &args)
}

#[test]
fn a_build_that_is_forced_meanwhile_leaves_what_plain_make_builds() {
    let space = calculator();
    space.keep();
    let plain = space.run(&["make", "-j2"]).ok();
    let expected = Snapshot::of(&space.tree());
    for method in ["auto", "preload", "ptrace"] {
        space.restore();
        let ran = forced(&space, &["--method", method], &["make", "-j2"]).wait().ok();
        assert_eq!((ran.out(), ran.err()), (plain.out(), plain.err()), "{method}");
        assert_eq!(expected.deviations(&Snapshot::of(&space.tree())), "", "{method}");
        // And nothing is left to do.
        space.run(&["make", "-q"]).ok();
        assert_eq!(processes(&space, ""), []);
    }
}

#[test]
fn files_are_forced_before_the_build_has_ended() {
    let space = TestSpace::with(&[("a.c", "int a;\n")]);
    // It looks at the size only: nothing is forced by that.
    let script = "gcc -c a.c; i=0; while test `stat -c %s a.o` = 1013 -a $i -lt 600; do sleep 0.1; i=$((i+1)); done; stat -c %s a.o >size";
    forced(&space, &[], &["sh", "-ec", script]).wait().ok();
    let size: u64 =
        String::from_utf8(space.read("size")).expect("a number").trim().parse().expect("a number");
    assert_eq!(size, space.read("a.o").len() as u64);
    assert!(space.read("a.o").starts_with(b"\x7fELF"));
}

#[test]
fn what_moves_or_goes_while_it_is_forced_ends_up_as_it_would() {
    let space = TestSpace::with(&[("Makefile", "all:\n")]);
    let mut script = String::from("mkdir parts\n");
    for n in 0..12 {
        space.write(format!("f{n}.c"), format!("int f{n}(void) {{ return {n}; }}\n"));
        script +=
            &format!("gcc -c f{n}.c; mv f{n}.o parts/g{n}.o; cp -p parts/g{n}.o f{n}.o; ln f{n}.o h{n}.o\n");
        script += &format!(
            "gcc -c f{n}.c -o gone{n}.o; rm gone{n}.o; gcc -c f{n}.c -o t{n}.o; touch -d 2020-02-02 t{n}.o\n"
        );
    }
    script += "ar rcs libf.a parts/*.o; cat libf.a >copy.a\n";
    space.keep();
    space.sh(&script).ok();
    let expected = Snapshot::of(&space.tree());
    space.restore();
    forced(&space, &["-j4"], &["sh", "-ec", &script]).wait().ok();
    assert_eq!(expected.deviations(&Snapshot::of(&space.tree())), "");
    let touched = fs::metadata(space.path("t7.o")).and_then(|m| m.modified()).expect("it is there");
    assert_eq!(touched, fs::metadata(space.path("t0.o")).and_then(|m| m.modified()).expect("it is there"));
    use std::os::unix::fs::MetadataExt as _;
    let [a, b] = ["f3.o", "h3.o"].map(|name| fs::metadata(space.path(name)).expect("it is there").ino());
    assert_eq!(a, b, "names of one file");
}

const FAILING: &str = "all: bad.o one.o\n%.o: %.c\n\t$(CC) -c $< -o $@\n\t$(WAIT)\n";

fn failing() -> TestSpace {
    TestSpace::with(&[
        ("Makefile", FAILING),
        ("bad.c", "int bad( {\n"),
        ("one.c", "int one;\n"),
        ("two.c", "int two;\n"),
        ("probe.mk", "all:\n\t@true\n"),
    ])
}

/// In a recipe: until no make starts anything any more, however long that takes on a busy machine.
const UNTIL_STOPPED: &str =
    "n=0; while test $$n -lt 300 && $(MAKE) -s -f probe.mk && sleep 0.2; do n=$$((n+1)); done";

#[test]
fn a_failure_is_told_at_once_and_stops_make() {
    let space = failing();
    let wait = format!("WAIT={UNTIL_STOPPED}");
    let ran = forced(&space, &[], &["make", &wait, "all", "two.o"]).wait().fails().says("bad.c:1:");
    assert_eq!(ran.code(), 2, "make's own:\n{ran}");
    assert_eq!(ran.err().matches("error: ").count(), 1, "told once:\n{ran}");
    assert!(!space.path("two.o").exists(), "make went on:\n{ran}");
    // What was mended is built by the next one.
    space.write("bad.c", "int bad;\n");
    forced(&space, &[], &["make", "all", "two.o"]).wait().ok();
    assert!(space.read("bad.o").starts_with(b"\x7fELF"));
}

/// Its target stands already: make would never do the rest. As dependency files are put in place.
#[test]
fn a_recipe_of_which_a_failure_leaves_lines_is_done_again() {
    let makefile = "-include one.Po bad.Po\nall: one.o bad.o two.o\n%.o: %.c\n\t$(CC) -MD -MF $*.Tpo -c $< -o $@\n\t$(WAIT)\n\tcp $*.c $*.copy\n\tmv -f $*.Tpo $*.Po\n";
    let space = failing();
    space.write("Makefile", makefile);
    space.write("one.h", "#define ONE 1\n");
    space.write("one.c", "#include \"one.h\"\nint one = ONE;\n");
    let wait = format!("WAIT={UNTIL_STOPPED}");
    let ran = forced(&space, &[], &["make", "-j2", &wait]).wait().fails().says("bad.c:1:");
    assert!(!space.path("two.o").exists(), "make went on:\n{ran}");
    assert!(!space.path("one.o").exists() && !space.path("one.copy").exists(), "{ran}");
    space.write("bad.c", "int bad;\n");
    forced(&space, &[], &["make", "WAIT=", "all"]).wait().ok();
    assert!(space.path("one.copy").exists() && !space.path("one.Tpo").exists());
    space.write("one.h", "#define ONE 2\n");
    let again = space.run(&["make", "-n", "WAIT=", "one.o"]).ok();
    assert!(again.out().contains("-c one.c"), "one.h is known to be read: {again}");
}

#[test]
fn what_has_begun_before_a_failure_is_done_as_without_it() {
    let begun = [
        "out.h: x.h\n\t$(WAIT); $(CC) -E -P x.h | sed s/one/two/ >$@\n",
        "ver.h:\n\t$(WAIT); v=`$(CC) -dumpversion`; echo \"#define V $$v\" >$@\n",
        "conf.h:\n\t$(WAIT); if $(CC) -o conf one.c 2>/dev/null; then echo yes; else echo no; fi >$@\n",
        // Deferred when nothing further is begun, and needed.
        "syms: one.c\n\t$(WAIT); $(CC) -c one.c -o sym.o; nm sym.o | sed s/one/two/ >$@\n",
    ];
    let targets = ["out.h", "ver.h", "conf.h", "syms"];
    let rest = "bad.o: bad.c\n\t$(CC) -c bad.c -o $@\nlast: late.h\nlate.h: bad.o\n\t$(CC) -E -P x.h | sed s/one/late/ >$@\n";
    let space = failing();
    space.write("x.h", "int one;\n");
    space.write("Makefile", format!("all: bad.o {}\n{}{rest}", targets.join(" "), begun.concat()));
    space.keep();
    space.run(&["make", "-k", "-j5", "WAIT=:"]).fails();
    let plain = targets.map(|target| space.read(target));
    for method in ["auto", "ptrace"] {
        space.restore();
        let wait = format!("WAIT={UNTIL_STOPPED}");
        let ran = forced(&space, &["--method", method], &["make", "-j5", &wait]).wait().fails();
        assert_eq!(targets.map(|target| space.read(target)), plain, "{method}: {ran}");
        assert!(!space.path("late.h").exists(), "{method}: make went on:\n{ran}");
    }
}

/// What was not begun has the broken header, too. Make reads its dependency file as soon as it starts, which would force that.
#[test]
fn a_header_that_is_mended_after_a_failure_is_read_by_all() {
    let sources: Vec<String> = (0..12).map(|n| format!("s{n}")).collect();
    let list: Vec<String> = sources.iter().map(|name| format!("{name}.o")).collect();
    let makefile = format!(
        "all: {0}\n-include $(patsubst %.o,%.Po,{0})\n%.o: %.c\n\t$(CC) -MD -MP -MF $*.Po -c $< -o $@\n",
        list.join(" ")
    );
    let space = TestSpace::with(&[("Makefile", &makefile), ("all.h", "int broken(\n")]);
    for name in &sources {
        space.write(format!("{name}.c"), format!("#include \"all.h\"\nint {name};\n"));
    }
    space.keep();
    for forces in [true, false] {
        space.restore();
        let build = |space: &TestSpace| {
            if forces {
                forced(space, &["-j1"], &["make", "-j4"]).wait()
            } else {
                space.ggtrace(&["make", "-j4"]).ok();
                space.ggforce(&["-j1"])
            }
        };
        build(&space).fails().says("error: ");
        space.write("all.h", "int mended;\n");
        build(&space).ok();
        assert!(list.iter().all(|name| space.read(name).starts_with(b"\x7fELF")), "{forces}");
    }
}

/// In a pipe its exit code is lost. Plain make would not have begun that.
#[test]
fn a_recipe_that_needs_what_has_failed_leaves_no_target() {
    let makefile = "all: gen syms after\ngen: | bad.o\n\tcp one.c gen\n\tnm bad.o\nsyms: bad.o\n\tcp bad.c was; nm bad.o | sed s/x/y/ >$@; touch went-on\nafter: syms\n\ttouch $@\nbad.o: bad.c\n\t$(CC) -c $< -o $@\n";
    let space = failing();
    space.write("Makefile", makefile);
    space.keep();
    for options in [&["--force"][..], &[], &["--method", "preload"], &["--method", "ptrace"]] {
        space.restore();
        let args: Vec<&str> = options.iter().chain(&["make", "-k"]).copied().collect();
        let ran = space.start_program("ggtrace", &args).wait().fails();
        for name in ["gen", "syms", "after", "went-on"] {
            assert!(!space.path(name).exists(), "{name}, {options:?}: {ran}");
        }
    }
    space.write("bad.c", "int bad;\n");
    space.start_program("ggtrace", &["--force", "make"]).wait().ok();
    assert!(!space.read("syms").is_empty());
}

#[test]
fn keep_going_builds_the_rest_and_fails_in_the_end() {
    let space = failing();
    let ran =
        forced(&space, &["-k"], &["make", "WAIT=sleep 2", "all", "two.o"]).wait().fails().says("bad.c:1:");
    assert_eq!(ran.code(), 1, "the compiler's:\n{ran}");
    assert!(space.is_placeholder("bad.o") && space.read("two.o").starts_with(b"\x7fELF"));
}

#[test]
fn what_waits_for_a_command_that_fails_is_told() {
    let space = failing();
    let ran = forced(&space, &[], &["sh", "-c", "gcc -c bad.c; cat bad.o; echo $? >code"]).wait().fails();
    assert_ne!(space.read("code"), b"0\n", "{ran}");
    assert_eq!(ran.err().matches("error: ").count(), 1, "told once:\n{ran}");
}

#[test]
fn the_build_s_own_failure_counts() {
    let space = failing();
    let ran = forced(&space, &[], &["sh", "-c", "gcc -c one.c; exit 7"]).wait();
    assert_eq!(ran.code(), 7, "{ran}");
    assert!(space.read("one.o").starts_with(b"\x7fELF"), "what was deferred before is there");
}

/// Starts a build that defers something slow and then waits until the file `ready` is gone; tells when it waits.
fn waiting(space: &TestSpace, rest: &str) -> Running {
    let functions = (0..6000).map(|n| format!("int f{n}(int a) {{ return a * {n} % (a + {n}); }}\n"));
    space.write("slow.c", functions.collect::<String>());
    space.write("fast.c", "int fast;\n");
    let script = format!("gcc -O2 -c slow.c; : >ready; while test -e ready; do sleep 0.05; done\n{rest}");
    let running = forced(space, &[], &["sh", "-ec", &script]);
    let started = Instant::now();
    while !space.path("ready").exists() {
        assert!(started.elapsed() < PATIENCE, "it does not get there");
        std::thread::sleep(Duration::from_millis(5));
    }
    running
}

/// The processes that use the space's store and have this argument. One that has been forked and has not executed its own program yet is
/// taken for a part of its parent, as which it looks.
pub fn processes(space: &TestSpace, argument: &str) -> Vec<i32> {
    let store = format!("GG_DIR={}", space.store().display());
    let has = |path: String, text: &str| {
        let content = fs::read(path).unwrap_or_default();
        text.is_empty() || content.split(|&b| b == 0).any(|part| part == text.as_bytes())
    };
    let numbers = fs::read_dir("/proc").expect("it is there").flatten();
    let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let ours = |pid: &i32| {
        has(format!("/proc/{pid}/environ"), &store) && has(format!("/proc/{pid}/cmdline"), argument)
    };
    let found: Vec<i32> = pids.filter(ours).collect();
    let forked: Vec<u32> = found.iter().flat_map(|pid| tests::children(pid.cast_unsigned())).collect();
    found.into_iter().filter(|pid| argument.is_empty() || !forked.contains(&pid.cast_unsigned())).collect()
}

/// Neither engine nor worker lives on.
pub fn no_engine_is_left(space: &TestSpace) {
    let started = Instant::now();
    loop {
        let left: Vec<i32> = ["--follow", "--worker"].iter().flat_map(|a| processes(space, a)).collect();
        if left.is_empty() {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "these live on: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The same, and what is there is whole.
fn nothing_is_left(space: &TestSpace) {
    no_engine_is_left(space);
    assert!(space.is_placeholder("slow.o") || space.read("slow.o").starts_with(b"\x7fELF"));
    let names = fs::read_dir(space.tree()).expect("our tree").flatten().map(|e| e.file_name());
    assert_eq!(names.filter(|name| name.as_encoded_bytes().starts_with(b".gg-")).count(), 0);
}

#[test]
fn an_interrupted_build_leaves_no_engine() {
    let space = TestSpace::new();
    let running = waiting(&space, "");
    let started = Instant::now();
    running.signal_all(Signal::SIGINT);
    let ran = running.wait();
    assert_eq!(ran.code(), 130, "{ran}");
    assert!(started.elapsed() < Duration::from_secs(60), "{ran}");
    nothing_is_left(&space);
    space.ggforce(&[]).ok();
    assert!(space.read("slow.o").starts_with(b"\x7fELF"));
}

#[test]
fn a_killed_recorder_leaves_no_engine() {
    let space = TestSpace::new();
    let running = waiting(&space, "");
    running.signal(Signal::SIGKILL);
    std::thread::sleep(Duration::from_millis(100));
    running.signal_all(Signal::SIGKILL);
    nothing_is_left(&space);
    fs::remove_file(space.path("ready")).expect("it was there");
    running.wait();
}

#[test]
fn a_killed_engine_is_told_and_the_rest_can_be_forced() {
    let space = TestSpace::new();
    let running = waiting(&space, "gcc -c fast.c; cat fast.o >copy.o");
    let engines = processes(&space, "--follow");
    assert_eq!(engines.len(), 1);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(engines[0]), Signal::SIGKILL).expect("it lives");
    nothing_is_left(&space);
    fs::remove_file(space.path("ready")).expect("it was there");
    let ran = running.wait().fails().says("ended by signal 9");
    // Somebody who waits is served all the same.
    assert!(space.read("copy.o").starts_with(b"\x7fELF"), "{ran}");
    space.ggforce(&[]).ok();
    assert!(space.read("slow.o").starts_with(b"\x7fELF"));
}
