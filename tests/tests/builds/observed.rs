// SPDX-License-Identifier: Apache-2.0
//! What the trace says that commands did is what they did: the same as strace sees.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::time::{Duration, Instant};

use tests::{Forced, PATIENCE, Snapshot, TestSpace};
use thunk::trace::{Observed, Trace, Uses};
use thunk::{OutputRef, Placeholder, Store};

use crate::calculator::calculator;
use crate::strace::{assert_same, commands_in, commands_under_strace, differences};

const MAKEFILE: &str = "all: prog copy tried\n\
    prog.o: prog.c prog.h gen.h\n\tgcc -O -c prog.c\n\
    prog: prog.o\n\tgcc -o prog prog.o\n\
    tried: prog.h\n\techo 'int main(void) { return 0; }' >try.c; gcc try.c -o try; ./try; (cp try run; exec ./run); rm try run try.c; \
    printf '#!/bin/sed 1d\\n' >script; chmod +x script; ./script; rm script; /bin/sed d /dev/null; touch tried\n\
    gen.h: gen.sh\n\tsh gen.sh 7 > gen.h\n\
    copy: prog.h\n\tcp prog.h tmp.h; mv tmp.h copy; ls sub missing 2>/dev/null; mkdir made; touch made/x; rm -r made; true\n";

fn project(shell: &str) -> TestSpace {
    TestSpace::with(&[
        ("Makefile", &format!("SHELL = {shell}\n{MAKEFILE}")),
        (
            "prog.c",
            "#include <stdio.h>\n#include \"prog.h\"\n#include \"gen.h\"\nint main(void) { puts(TEXT); return N - 7; }\n",
        ),
        ("prog.h", "#define TEXT \"hello\"\n"),
        ("gen.sh", "if test -f no-such-file; then exit 1; fi\necho \"#define N $1\"\n"),
        ("sub/one", "1\n"),
    ])
}

fn agrees_with_strace(shell: &str, method: &str) {
    let space = project(shell);
    space.keep();
    let expected = commands_under_strace(&space, &["make"]);
    space.restore();
    let trace = space.outside().join("trace");
    space.ggtrace(&["--run", "--method", method, "-o", trace.to_str().unwrap(), "make"]).ok();
    assert_same(&expected, &commands_in(&trace));
    assert_eq!(space.run(&["./prog"]).ok().out(), "hello\n");
}

#[test]
fn every_command_is_seen_as_strace_sees_it() {
    agrees_with_strace("/bin/sh", "auto");
}

#[test]
fn every_command_is_seen_as_strace_sees_it_under_ptrace() {
    agrees_with_strace("/bin/sh", "ptrace");
}

#[test]
fn what_is_gone_when_its_command_has_ended_was_executed_all_the_same() {
    let space = TestSpace::with(&[(
        "Makefile",
        "all:\n\tprintf '#!/bin/sed 1d\\n' >script; chmod +x script; ./script; rm script; touch tried\n",
    )]);
    for method in ["auto", "preload", "ptrace"] {
        let trace = space.outside().join(method);
        space.ggtrace(&["--run", "--method", method, "-o", trace.to_str().unwrap(), "make"]).ok();
        let found = commands_in(&trace);
        let executed = &found.values().next().unwrap()["executed"];
        for path in [&space.path("script"), Path::new("/bin/sed")] {
            assert!(executed.contains(path), "{method}: {} was executed: {executed:?}", path.display());
        }
    }
}

/// A whole project: copied from `GROUND_TRUTH_TREE`, built by the shell script in `GROUND_TRUTH_BUILD`. Run by
/// `scripts/ground-truth`, which sets both.
#[test]
#[ignore = "builds a real project twice: see scripts/ground-truth"]
fn a_project_is_seen_as_strace_sees_it() {
    let variable = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let (tree, build) = (variable("GROUND_TRUTH_TREE"), variable("GROUND_TRUTH_BUILD"));
    let method = std::env::var("GROUND_TRUTH_METHOD").unwrap_or_else(|_| "auto".into());
    let space = TestSpace::new();
    space.run(&["cp", "-a", &format!("{tree}/."), "."]).ok();
    space.keep();
    let command = ["sh", "-c", &build];
    let expected = commands_under_strace(&space, &command);
    space.restore();
    let trace = space.outside().join("trace");
    let options = ["--run", "--method", &method, "-o", trace.to_str().unwrap()];
    space.ggtrace(&[&options[..], &command].concat()).ok();
    let found = commands_in(&trace);
    let paths =
        |sets: &crate::strace::Sets| sets.values().map(std::collections::BTreeSet::len).sum::<usize>();
    let differences = differences(&expected, &found);
    println!("{} commands, {} facts", expected.len(), expected.values().map(paths).sum::<usize>());
    differences.iter().for_each(|line| println!("{line}"));
    assert!(differences.is_empty(), "{} differences", differences.len());
}

/// A shell with its own `cp`, `mv`, … in which no library can be loaded.
pub fn static_shell() -> Option<String> {
    let found =
        std::env::split_paths(&std::env::var_os("PATH")?).map(|d| d.join("busybox")).find(|p| p.is_file())?;
    let content = std::fs::read(&found).ok()?;
    // An ELF program that names no loader.
    let is_static = !content.windows(10).any(|w| w == b"/ld-linux-");
    is_static.then(|| found.display().to_string())
}

#[test]
fn in_a_static_shell_too() {
    let Some(shell) = static_shell() else {
        println!("skipped: there is no static busybox here");
        return;
    };
    let space = TestSpace::new();
    let link = space.outside().join("sh");
    std::os::unix::fs::symlink(shell, &link).unwrap();
    for method in ["auto", "ptrace"] {
        agrees_with_strace(link.to_str().unwrap(), method);
    }
}

#[test]
fn a_compile_that_a_static_shell_starts_is_deferred() {
    let Some(shell) = static_shell() else {
        println!("skipped: there is no static busybox here");
        return;
    };
    for method in ["auto", "ptrace"] {
        let space = TestSpace::with(&[
            ("a.c", "int f(void) { return 1; }\n"),
            ("b.c", "int main(void) { return 0; }\n"),
        ]);
        let link = space.outside().join("sh");
        std::os::unix::fs::symlink(&shell, &link).unwrap();
        let script = "gcc -c a.c; gcc -c b.c; cat a.o > copy.o";
        space.ggtrace(&["--method", method, link.to_str().unwrap(), "-ec", script]).ok();
        assert!(space.is_placeholder("b.o"), "{method}");
        assert!(
            !space.is_placeholder("a.o") && !space.is_placeholder("copy.o"),
            "{method}: cat gets the real one"
        );
        assert_eq!(space.read("copy.o"), space.read("a.o"));
        assert_eq!(space.shown().deferred, 2, "{method}");
    }
}

/// Where a thread has a directory of its own, or a path begins at a descriptor as if that were the root.
#[test]
fn relative_paths_start_where_they_start() {
    const APART: &str = "#define _GNU_SOURCE\n#include <fcntl.h>\n#include <pthread.h>\n#include <sched.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
        static void *go(void *x) { UNSHARE(CLONE_FS); chdir(\"d\"); close(open(\"in\", O_RDONLY));\n\
        close(open(\"made\", O_WRONLY | O_CREAT, 0644)); rename(\"made\", \"moved\"); symlink(\"in\", \"link\"); return 0; }\n\
        int main(void) { pthread_t t; close(open(\"in\", O_RDONLY)); pthread_create(&t, 0, go, 0); pthread_join(t, 0);\n\
        return open(\"d/in\", O_RDONLY) < 0 || open(\"here\", O_WRONLY | O_CREAT, 0644) < 0; }\n";
    const IN_ROOT: &str = "#define _GNU_SOURCE\n#include <fcntl.h>\n#include <linux/openat2.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
        int main(void) { struct open_how how = { .flags = O_RDONLY, .resolve = RESOLVE_IN_ROOT };\n\
        int d = open(\"d\", O_PATH | O_DIRECTORY); return syscall(SYS_openat2, d, \"/../in\", &how, sizeof how) < 0; }\n";
    let shell = static_shell().unwrap_or_default();
    for method in ["auto", "ptrace"] {
        let files = [
            ("apart.c", APART),
            ("root.c", IN_ROOT),
            ("in", "text\n"),
            ("d/in", "other\n"),
            (
                "Makefile",
                "all:\n\t./apart\n\t./apart-raw\n\t./root\n\t./root-static\n\tcd d && cat /proc/self/cwd/in /proc/self/root/bin/sh >out\n\
                \tcd d && exec 5<. && cat /dev/fd/5/in && cat /proc/self/cwd/../none; test -f /proc/self/cwd/none || true\n\
                \t$(STATIC) cat /proc/self/cwd/in\n",
            ),
        ];
        let space = TestSpace::with(&files);
        space
            .sh("gcc -w -DUNSHARE=unshare -o apart apart.c -lpthread; \
                 gcc -w '-DUNSHARE(x)=syscall(SYS_unshare, x)' -o apart-raw apart.c -lpthread; \
                 gcc -w -o root root.c; gcc -w -static -o root-static root.c")
            .ok();
        space.keep();
        let expected = commands_under_strace(&space, &["make", &format!("STATIC={shell}")]);
        space.restore();
        let trace = space.outside().join("trace");
        let make = ["make", &format!("STATIC={shell}")];
        space
            .ggtrace(&[&["--run", "--method", method, "-o", trace.to_str().unwrap()], &make[..]].concat())
            .ok();
        assert_same(&expected, &commands_in(&trace));
        let observed = observed(&trace, "/proc/self/root/bin/sh");
        assert!(observed.touch(&space.path("d/in")).unwrap().uses.has(Uses::INPUT), "{method}: {observed:?}");
    }
}

/// What every command of the trace was found to do, by what it was called.
fn observed(trace: &Path, argv: &str) -> Observed {
    let trace = Trace::read(trace).unwrap();
    let is_it = |command: &&thunk::trace::Command| {
        let words: Vec<_> = command.argv.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ").contains(argv)
    };
    let ids: Vec<u32> = trace.commands.iter().filter(is_it).map(|command| command.id).collect();
    let found = trace.observed.into_iter().find(|observed| ids.contains(&observed.id));
    found.unwrap_or_else(|| panic!("{argv} was not observed"))
}

#[test]
fn observing_everything_leaves_what_a_plain_build_leaves() {
    for method in ["auto", "ptrace"] {
        let space = calculator();
        space.keep();
        let plain = space.run(&["make"]).ok();
        let tree = Snapshot::of(&space.tree());
        space.restore();
        let trace = space.outside().join("trace");
        let recorded =
            space.ggtrace(&["--run", "--method", method, "-o", trace.to_str().unwrap(), "make"]).ok();
        assert_eq!((plain.out(), plain.err()), (recorded.out(), recorded.err()));
        let deviations = tree.deviations_but(&Snapshot::of(&space.tree()), &[]);
        assert!(deviations.is_empty(), "{method}: {deviations}");
        let again = space.run(&["make"]).ok();
        assert!(again.out().contains("Nothing to be done"), "{again}");
        // Each of the commands is a thunk now, and forcing it gives the same.
        let store = Store::open(&space.store()).unwrap();
        for (argv, output) in
            [("-c -o main.o main.c", "main.o"), ("rcs libcalc.a", "libcalc.a"), ("-o calc main.o", "calc")]
        {
            let thunk =
                observed(&trace, argv).thunk.unwrap_or_else(|| panic!("{method}: {argv} has no thunk"));
            assert!(store.reduction(&thunk).is_some());
            std::fs::remove_file(space.store().join("reductions").join(thunk.to_string())).unwrap();
            let content = space.read(output);
            let reference = OutputRef { thunk, output: Some(space.path(output)) };
            let placeholder = Placeholder { output: reference, store: space.store() };
            space.write(output, placeholder.encode(&TestSpace::program("gg")).unwrap());
            let ran = space.ggforce(&[output]).ok();
            assert_eq!(Forced::of(&ran).run, 1);
            assert_eq!(space.read(output), content, "{method}: {output} forced is another one");
        }
    }
}

const HOSTILE: &str = "#include <stdio.h>\n#include <string.h>\n#include <unistd.h>\n\
    int main(int argc, char **argv, char **envp) {\n\
    for (int fd = 0; fd < 1024; fd++) close(fd);\n\
    for (; *envp; envp++) memset(*envp, 'x', strlen(*envp));\n\
    if (argc > 1) { char *none[] = { 0 }, *next[] = { argv[0], 0 }; return execve(argv[0], next, none); }\n\
    char text[100]; FILE *in = fopen(\"input\", \"r\"), *out = fopen(\"output\", \"w\");\n\
    fputs(fgets(text, 100, in), out); return fclose(out); }\n";

#[test]
fn a_program_that_closes_all_descriptors_and_clears_its_environment_is_seen() {
    for method in ["auto", "ptrace"] {
        for script in ["./hostile", "./hostile again"] {
            let makefile = format!("all: hostile\n\t{script}; env -i /bin/cat input > copy\n");
            let space =
                TestSpace::with(&[("hostile.c", HOSTILE), ("input", "text\n"), ("Makefile", &makefile)]);
            space.run(&["gcc", "-o", "hostile", "hostile.c"]).ok();
            let trace = space.outside().join("trace");
            space.ggtrace(&["--method", method, "-o", trace.to_str().unwrap(), "make"]).ok();
            let observed = observed(&trace, script);
            let uses = |path: &str| observed.touch(&space.path(path)).map(|touch| touch.uses);
            assert!(uses("input").is_some_and(|uses| uses.has(Uses::READ)), "{method} {script}");
            for output in ["output", "copy"] {
                assert!(
                    uses(output).is_some_and(|uses| uses.has(Uses::OUTPUT)),
                    "{method} {script} {output}"
                );
                assert_eq!(space.read(output), b"text\n");
            }
            assert!(observed.thunk.is_some(), "{method} {script}: {:?}", observed.obstacles);
        }
    }
}

#[test]
fn what_the_build_leaves_running_goes_on_and_is_not_waited_for() {
    let space = TestSpace::with(&[("input", "text\n")]);
    let script = "(until test -e go; do sleep 0.1; done; cat input > late) > /dev/null 2>&1 &";
    space.ggtrace_sh(script).ok();
    assert!(!space.path("late").exists());
    space.write("go", "");
    let started = Instant::now();
    while !std::fs::read(space.path("late")).is_ok_and(|content| content == b"text\n") {
        assert!(started.elapsed() < PATIENCE, "it was kept from going on");
        std::thread::sleep(Duration::from_millis(20));
    }
}
