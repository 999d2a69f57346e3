// SPDX-License-Identifier: Apache-2.0
//! `mv -f` and `rm -f` that a build driver starts: the recorder does what they do in their place where they can but work, and what
//! they would have done or said is the same.

use std::fs;
use std::os::unix::fs::symlink;

use tests::{Expect, TestSpace};

/// Two sources, and a makefile as Automake writes it.
fn automake() -> TestSpace {
    let space = TestSpace::with(&[
        ("main.c", "#include \"part.h\"\nint main(void) { return part(); }\n"),
        ("part.c", "#include \"part.h\"\nint part(void) { return 0; }\n"),
        ("part.h", "int part(void);\n"),
        (
            "Makefile",
            "all: libpart.a prog
.c.o:
	$(CC) -MT $@ -MD -MP -MF .deps/$*.Tpo -c -o $@ $<
	mv -f .deps/$*.Tpo .deps/$*.Po
libpart.a: part.o
	-rm -f libpart.a
	$(AR) cr libpart.a part.o
	ranlib libpart.a
prog: main.o libpart.a
	@echo '  LD  ' $@; rm -f prog
	$(CC) -o prog main.o libpart.a
-include .deps/main.Po .deps/part.Po
",
        ),
    ]);
    fs::create_dir(space.path(".deps")).unwrap();
    space
}

#[test]
fn no_program_is_started_that_only_moves_or_removes() {
    let space = automake();
    for arguments in [&["make"][..], &["make", "SHELL=/bin/bash"], &["make", "-O"]] {
        let seen = space.same_as_plain(arguments, Expect::make(5));
        let shown = space.gg(&["show", "-a"]);
        assert_eq!(seen.shown.ran, 5, "make, two of each, and nothing of a shell: {shown}");
        assert!(shown.out().contains("mv -f .deps/main.Tpo .deps/main.Po"), "{shown}");
        space.restore();
    }
    // The programs themselves do.
    let seen = space.same_as_plain(&["make", "SHELL=/bin/bash", ".SHELLFLAGS=-vc"], Expect::make(5));
    assert!(seen.shown.ran > 5, "{}", space.gg(&["show", "-a"]));
}

#[test]
fn what_was_moved_is_known_to_a_replay_and_to_make() {
    let space = automake();
    let trace = space.outside().join("trace");
    let trace = trace.to_str().unwrap();
    space.start_program("ggtrace", &["-o", trace, "make"]).wait().ok();
    space.ggforce(&[]).ok();
    let replayed = space.ggforce(&["--trace", trace]);
    assert!(replayed.code() == 0 && !replayed.err().contains("changed"), "{replayed}");
    let why = space.gg(&["show", "--why", ".deps/part.Po"]).ok();
    assert!(why.out().contains("part.c"), "{why}");
    std::thread::sleep(std::time::Duration::from_millis(20));
    space.write("part.h", "int part(void);\n#define MORE 1\n");
    let again = space.ggtrace(&["make"]).ok();
    assert!(again.out().contains("-c -o main.o") && again.out().contains("-c -o part.o"), "{again}");
    space.write("Makefile", "clean:\n\trm -f prog *.o libpart.a\n\trm -f prog .deps/main.Po .deps/part.Po\n");
    let cleaned = space.ggtrace(&["make"]).ok();
    assert!(!space.path("prog").exists() && !space.path(".deps/part.Po").exists(), "{cleaned}");
    assert!(!space.path("part.o").exists(), "patterns are the shell's");
}

#[test]
fn what_is_wrong_is_told_by_the_program() {
    for recipe in [
        "mv -f nothing b",
        "mv -f a.o nowhere/a.o",
        "mv -f a.o a.o",
        "mv -f a.o ./d/../a.o",
        "mv -f a.o d",
        "mv -f a.o d/",
        "mv -f a.o full",
        "mv -f a.o",
        "mv -f a.o b c",
        "mv -f -x a.o b",
        "mv -f same.o a.o",
        "mv -f d e",
        "mv -f tie a.o",
        "mv -f tie b",
        "cc -c a.c -o b.o; mv -f b.o tools/rm/b.o",
        "tools/rm -f a.o",
        "rm -f d",
        "rm -f a.o d b",
        "rm -f a.o/",
        "rm -f a.o/b a.o",
        "rm -f ''",
        "rm -f . ..",
        "rm -f /",
        "rm -f",
        "rm -f -- a.o",
        "rm -f -v a.o",
        "rm -f nothing nowhere/nothing link dangling",
        "rm -f full",
        "false; rm -f a.o",
    ] {
        let space = TestSpace::with(&[("a.c", "int a;\n"), ("full/file", "")]);
        fs::create_dir(space.path("d")).unwrap();
        symlink("a.c", space.path("link")).unwrap();
        symlink("nowhere", space.path("dangling")).unwrap();
        symlink("a.o", space.path("tie")).unwrap();
        // A `rm` that the kernel cannot execute: there is no such loader.
        let mut rm = fs::read("/bin/rm").unwrap();
        for at in 0..rm.len() {
            if rm[at..].starts_with(b"/ld-") {
                rm[at + 1] = b'x';
            }
        }
        space.write_program("tools/rm", rm);
        space.write(
            "Makefile",
            format!("all: a.o\n\t@echo tried; {recipe}\na.o: a.c\n\t@cc -c a.c\n\t@ln a.o same.o\n"),
        );
        let seen = space.same_as_plain(
            &["sh", "-c", "make || echo $?"],
            Expect { nothing_left: false, ..Expect::make(1) },
        );
        assert!(seen.plain.out().contains("tried"), "{recipe}: {}", seen.plain);
    }
}

#[test]
fn what_is_copied_onto_a_pipe_is_read_there() {
    for reads in [
        "cp a.o /dev/fd/1 | cksum",
        "cp -- a.o /proc/self/fd/1 | cksum",
        "mkfifo pipe; cksum <pipe & cp a.o pipe; wait; rm pipe",
        "mkfifo pipe; ln -s pipe link; cksum <pipe & cp -f a.o link; wait; rm pipe link",
        "bash -c 'cp a.o >(cksum >sum); while test ! -s sum; do sleep 0.01; done; cat sum'",
        "cp a.o /dev/null; cp /dev/null empty",
    ] {
        let space = TestSpace::with(&[("a.c", "int a;\n")]);
        space.script_same_as_plain(&format!("gcc -c a.c; {reads}"), 1);
    }
}

#[test]
fn what_compares_before_it_copies_compares_the_files_themselves() {
    let same = "gcc -c a.c; cat a.o >same.o; touch -d 2001-01-01 same.o; gcc -c a.c -o again.o";
    for compares in [
        "install -C -m 644 again.o same.o",
        "install -vCm 644 again.o same.o",
        "install --compare -m 644 again.o same.o",
        "cmake -E copy_if_different again.o same.o",
        "cmake -E compare_files again.o same.o",
        "cmake -E env cmake -E compare_files again.o same.o",
        "cmp again.o same.o",
    ] {
        let space = TestSpace::with(&[("a.c", "int a;\n")]);
        space.script_same_as_plain(&format!("{same}; {compares}; stat -c %Y same.o"), 2);
    }
}

#[test]
fn a_file_that_turns_out_empty_is_empty_for_test() {
    let space = TestSpace::with(&[("a.c", "")]);
    space.script_same_as_plain(
        "gcc -E -P a.c -o a.i; /usr/bin/test -s a.i || echo empty; gcc -E -P a.c -o b.i; /usr/bin/[ -s b.i ] || echo empty",
        2,
    );
}

#[test]
fn what_is_moved_from_a_directory_that_is_gone_is_forced() {
    let space = TestSpace::with(&[
        ("a.c", "int a;\n"),
        ("Makefile", "all: a.o\n\t$(MAKE) -C gone -f ../gone.mk\na.o: a.c\n\tcc -c a.c\n"),
        ("gone.mk", "all:\n\trmdir ../gone\n\t-rm -f x ../x\n\tmv -f ../a.o ../b.o\n\tmv ../b.o ../c.o\n"),
    ]);
    fs::create_dir(space.path("gone")).unwrap();
    let arguments = ["make", "--no-print-directory"];
    space.same_as_plain(&arguments, Expect { nothing_left: false, ..Expect::make(1) });
    assert!(space.path("c.o").exists() && !space.is_placeholder("c.o"));
}

#[test]
fn paths_lead_where_they_lead_the_process() {
    let space = TestSpace::with(&[
        ("a.c", "int a;\n"),
        ("Makefile", "all: a.o\n\t@$(MAKE) -C d\na.o: a.c\n\t@cc -c a.c; cp a.o c.o; cp a.o d/c.o\n"),
        (
            "d/Makefile",
            "all:\n\trm -f /proc/self/cwd/f\n\t@echo g; rm -f ../here/g\n\tmv -f ../here/c.o /proc/self/cwd/m.o\n\
             \tcc -c ../a.c -o n.o; mv -f n.o ../here/o.o\n",
        ),
    ]);
    symlink("/proc/self/cwd", space.path("here")).unwrap();
    for name in ["f", "g", "d/f", "d/g"] {
        space.write(name, "");
    }
    space.same_as_plain(&["make", "--no-print-directory"], Expect { nothing_left: false, ..Expect::make(2) });
    assert!(space.path("f").exists() && space.path("c.o").exists() && !space.path("d/f").exists());
}

#[test]
fn a_name_is_not_a_program() {
    let space = TestSpace::with(&[
        ("a.c", "int a;\n"),
        (
            "Makefile",
            "all: a.o\n\trm -f one\n\tcp /bin/true tools/rm\n\trm -f two\n\t@echo three; rm -f three\n\
             \tcp /bin/mv tools/rm\n\trm -f four five\n\trm -f a.o b.o\na.o: a.c\n\tcc -c a.c\n",
        ),
    ]);
    fs::create_dir(space.path("tools")).unwrap();
    for name in ["one", "two", "three", "four"] {
        space.write(name, "");
    }
    let path = format!("PATH={}:{}", space.path("tools").display(), std::env::var("PATH").unwrap());
    space.same_as_plain(&["env", &path, "make"], Expect { nothing_left: false, ..Expect::make(1) });
    assert!(space.path("two").exists() && space.path("five").exists() && space.path("b.o").exists());
}

/// A `cp` of another kind than GNU's.
const COPIES: &str = r#"#include <fcntl.h>
#include <unistd.h>
const char *of = "(uutils coreutils)";
#ifdef OWN_CALLS
static long own(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
#define open(path, flags, mode) own(2, (long)(path), flags, mode)
#endif
static char buffer[1 << 20];
int main(int argc, char **argv) {
    int from = open(argv[1], O_RDONLY, 0), to = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ssize_t size = read(from, buffer, sizeof buffer);
    return argc != 3 || !of || write(to, buffer, size) != size;
}
"#;

/// As the `cp` that is written in Rust does: no hook tells of the copy.
#[test]
fn a_copy_by_calls_of_the_program_s_own_is_no_placeholder() {
    let space = TestSpace::with(&[("part.c", "int part;\n"), ("copies.c", COPIES)]);
    space.sh("mkdir tools; gcc -DOWN_CALLS -o tools/cp copies.c");
    space.script_same_as_plain("gcc -c part.c; tools/cp part.o other.o; cp other.o third.o", 1);
}

/// One program for all, told by the name that it is called by.
#[test]
fn what_all_of_coreutils_in_one_program_copies_is_not_waited_for() {
    let space = TestSpace::with(&[("part.c", "int part;\n"), ("copies.c", COPIES)]);
    space.sh("mkdir tools; gcc -o tools/coreutils copies.c; ln -s coreutils tools/cp");
    let seen = space.script_same_as_plain("gcc -c part.c; tools/cp part.o other.o", 1);
    assert_eq!(seen.cold.run, 1, "the compile was not forced while recording");
    // All names of a file show what is written through one of them: the file itself is needed.
    let script = "echo >one; ln one two; gcc -c part.c; tools/cp part.o one; cksum <two";
    space.script_same_as_plain(script, 1);
}
