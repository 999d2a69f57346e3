// SPDX-License-Identifier: Apache-2.0
//! The recorder is not seen by the build: exit code, output, input; and it really defers.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tests::{Expect, PATIENCE, Shown, Snapshot, TestSpace};

use crate::calculator::{DEFERRED, calculator};

#[test]
fn a_make_build_is_the_same_as_the_plain_one() {
    let space = calculator();
    let seen = space.same_as_plain(&["make"], Expect::make(DEFERRED));
    assert_eq!(seen.shown.deferred, DEFERRED);
    assert_eq!(seen.cold.run, DEFERRED, "each deferred command runs once: {:?}", seen.cold);
    assert_eq!(space.run(&["./calc"]).ok().out(), "42\n");
}

#[test]
fn a_parallel_build_is_the_same_as_the_plain_one() {
    let space = TestSpace::new();
    let mut makefile = String::from("prog: main.o");
    let mut main = String::from("#include <stdio.h>\n");
    let mut sum = String::from("0");
    for i in 0..40 {
        makefile.push_str(&format!(" f{i}.o"));
        main.push_str(&format!("int f{i}(void);\n"));
        sum.push_str(&format!(" + f{i}()"));
        space.write(format!("f{i}.c"), format!("int f{i}(void) {{ return {i}; }}\n"));
    }
    makefile.push_str("\n\t@$(CC) -o $@ $^\n%.o: %.c\n\t@$(CC) -c $< -o $@\n");
    main.push_str(&format!("int main(void) {{ printf(\"%d\\n\", {sum}); return 0; }}\n"));
    space.write("Makefile", makefile);
    space.write("main.c", main);
    space.same_as_plain(&["make", "-j8"], Expect::make(42));
    assert_eq!(space.run(&["./prog"]).ok().out(), "780\n");
}

#[test]
fn while_recording_no_deferred_command_runs() {
    let space = calculator();
    space.ggtrace(&["make"]).ok();
    for path in ["main.o", "print.o", "add.o", "mul.o", "libcalc.a", "calc"] {
        assert!(space.is_placeholder(path), "{path} is no placeholder after recording");
    }
}

#[test]
fn make_finds_nothing_to_do_right_after_recording() {
    let space = calculator();
    space.ggtrace(&["make"]).ok();
    let before = Snapshot::of(&space.tree());
    let again = space.ggtrace(&["make"]).ok();
    assert!(again.out().contains("Nothing to be done"), "{again}");
    assert_eq!(before.touched(&Snapshot::of(&space.tree())), Vec::<std::path::PathBuf>::new());
    // What the second recording found left from the first is forced all the same.
    space.force_all();
    assert_eq!(space.run(&["./calc"]).ok().out(), "42\n");
}

#[test]
fn exit_codes_are_the_command_s() {
    let space = TestSpace::new();
    for code in ["0", "1", "7", "42", "255"] {
        let ran = space.ggtrace(&["sh", "-c", &format!("echo out; echo err >&2; exit {code}")]);
        assert_eq!(ran.code().to_string(), code, "{ran}");
        assert_eq!((ran.out().as_str(), ran.err().as_str()), ("out\n", "err\n"), "{ran}");
    }
}

#[test]
fn a_command_ended_by_a_signal_is_told_as_a_shell_tells_it() {
    let space = TestSpace::new();
    for (name, number) in [("TERM", 15), ("KILL", 9), ("ABRT", 6)] {
        let ran = space.ggtrace(&["sh", "-c", &format!("kill -{name} $$")]);
        assert_eq!(ran.code(), 128 + number, "{ran}");
    }
}

#[test]
fn a_command_that_cannot_be_started_is_one_line_and_the_shell_s_exit_code() {
    let space = TestSpace::with(&[("plain", "not a program\n")]);
    let missing = space.ggtrace(&["no-such-command-anywhere"]).fails().says("no-such-command-anywhere");
    assert_eq!(missing.code(), 127, "{missing}");
    assert_eq!(missing.err().lines().count(), 1, "{missing}");
    let refused = space.ggtrace(&["./plain"]).fails().says("plain");
    assert_eq!(refused.code(), 126, "{refused}");
}

#[test]
fn a_trace_written_elsewhere_is_known_to_the_next_recording_too() {
    let space = TestSpace::with(&[("a.c", "int a;\n"), ("b.c", "int b;\n")]);
    space.ggtrace(&["-o", "first.trace", "gcc", "-c", "a.c"]).ok();
    assert_eq!(Shown::of(&space.gg(&["show", "first.trace"])).deferred, 1);
    fs::remove_file(space.path("first.trace")).expect("it has been written");
    space.ggtrace(&["-o", "second.trace", "gcc", "-c", "b.c"]).ok();
    let forced = space.force_all();
    assert_eq!(forced.run, 2, "what the first recording left has been forgotten: {forced:?}");
    assert!(space.read("a.o").starts_with(b"\x7fELF"));
    // Where it cannot be written to, nothing runs.
    space.ggtrace(&["-o", "none/trace", "touch", "late"]).fails().says("none");
    assert!(!space.path("late").exists());
}

#[test]
fn standard_input_reaches_the_command_whole() {
    let space = TestSpace::new();
    let input: Vec<u8> = (0..300_000_u32).flat_map(|i| i.to_le_bytes()).collect();
    let ran = space.program_reads("ggtrace", &["cat"], &input).ok();
    assert!(ran.stdout == input, "cat gave {} bytes of {}", ran.stdout.len(), input.len());
}

#[test]
fn closed_streams_are_closed_to_the_command_too() {
    let space = TestSpace::new();
    let ggtrace = TestSpace::program("ggtrace").display().to_string();
    let script =
        "for fd in 0 1 2; do if readlink /proc/$$/fd/$fd > /dev/null; then echo $fd >> open; fi; done";
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ""] {
        let open_in = |recorder: &str| {
            space.sh(&format!("rm -f open; touch open; {recorder} sh -c '{script}' {closed}")).ok();
            space.read("open")
        };
        let plain = open_in("");
        for method in ["auto", "preload", "ptrace"] {
            assert_eq!(open_in(&format!("{ggtrace} --method {method}")), plain, "{method} {closed}");
        }
    }
}

#[test]
fn arguments_are_the_command_s_own_from_its_name_on() {
    let space = TestSpace::new();
    let ran = space
        .ggtrace(&["sh", "-c", "printf '<%s>' \"$@\"", "sh", "-j", "--help", "a b", "", "--", "é*"])
        .ok();
    assert_eq!(ran.out(), "<-j><--help><a b><><--><é*>");
}

#[test]
fn names_are_bytes() {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt as _;
    let space = TestSpace::new();
    let names: [&[u8]; 4] = [b"with space", b"caf\xe9", b"per%25cent#hash=equals", b"new\nline"];
    for name in names {
        let source = OsString::from(OsStr::from_bytes(&[name, b".c"].concat()));
        let object = OsString::from(OsStr::from_bytes(&[name, b".o"].concat()));
        space.write(&source, "int one(void) { return 1; }\n");
        let argv: Vec<OsString> =
            vec!["gcc".into(), "-c".into(), source.clone(), "-o".into(), object.clone()];
        space.run(&argv).ok();
        let plain = space.read(&object);
        fs::remove_file(space.path(&object)).expect("gcc made it");
        space.ggtrace(&argv).ok();
        assert!(space.is_placeholder(&object), "{object:?} was not deferred");
        space.force_all();
        assert!(space.read(&object) == plain, "{object:?} is not as plainly built");
    }
}

#[test]
fn an_interrupt_ends_the_build_and_keeps_what_was_recorded() {
    let space = TestSpace::with(&[("a.c", "int a;\n")]);
    // Whoever started the tests may have told them to ignore interrupts.
    let ggtrace = TestSpace::program("ggtrace");
    let ggtrace = ggtrace.to_str().expect("a path of ours");
    let script = "gcc -c a.c; : > ready; sleep 1000; : > late";
    let mut running = space.start(&["env", "--default-signal=INT", ggtrace, "sh", "-c", script]);
    let started = Instant::now();
    while !space.path("ready").exists() {
        assert!(started.elapsed() < PATIENCE, "the build does not get going");
        std::thread::sleep(Duration::from_millis(5));
    }
    // dash overlooks an interrupt that comes right before it starts a command.
    let told = Instant::now();
    while !running.has_ended() && told.elapsed() < PATIENCE {
        running.signal_all(Signal::SIGINT);
        std::thread::sleep(Duration::from_millis(100));
    }
    let ended = running.wait();
    assert_eq!(ended.code(), 128 + 2, "{ended}");
    assert!(!space.path("late").exists());
    space.force_all();
    assert!(space.read("a.o").starts_with(b"\x7fELF"));
}

#[test]
fn a_process_that_outlives_the_build_does_not_hold_it_up_for_ever() {
    let space = TestSpace::with(&[("a.c", "int a;\n")]);
    let ran =
        space.ggtrace(&["sh", "-c", "gcc -c a.c; (sleep 2; gcc -c a.c -o late.o) >/dev/null 2>&1 & exit 3"]);
    assert_eq!(ran.code(), 3, "{ran}");
    space.force_all();
    assert!(space.read("a.o").starts_with(b"\x7fELF"));
}

/// A script's `$0` is the path by which it was executed; configure scripts look for their sources there, and write it down.
#[test]
fn a_script_is_called_as_the_user_calls_it() {
    let mut space = TestSpace::new();
    for name in ["scripts/told", "here"] {
        space.write_program(name, "#!/bin/sh\necho \"$0\" \"$(dirname -- \"$0\")\" \"$*\"\n");
    }
    let path = std::env::var("PATH").unwrap();
    for before in ["", "scripts:", "./scripts/:", ".:", ":scripts:"] {
        space.set("PATH", format!("{before}{path}"));
        for called in ["./scripts/told", "scripts/../here", "./here", "told", "here"] {
            let command = [called, "a", "b"];
            let plain = space.run(&["env", called, "a", "b"]);
            if plain.code() != 0 {
                continue;
            }
            for method in ["auto", "preload", "ptrace"] {
                let recorded =
                    space.ggtrace(&["--method", method].iter().chain(&command).collect::<Vec<_>>()).ok();
                // Whether there is a `./` before what an empty entry leads to depends on who looks.
                let [plain, recorded] =
                    [plain.out(), recorded.out()].map(|out| out.replace("./here", "here"));
                assert_eq!(recorded, plain, "{called}, {method}, PATH={before}…");
            }
        }
    }
}
