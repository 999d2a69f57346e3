// SPDX-License-Identifier: Apache-2.0
//! Commands whose paths lead elsewhere than those of the recorder, or that it cannot look into: what they used is not known. And files
//! without a name that get one.

#![allow(clippy::unwrap_used, reason = "a test")]

use tests::TestSpace;
use thunk::trace::{Trace, Uses};

use crate::observed::static_shell;
use crate::odd_programs::{OPTIONS_32, program_32};

/// `DO`: with another root, with a mount of their own, with both and more.
fn elsewhere(space: &TestSpace) -> Vec<String> {
    let mut ways = Vec::new();
    if !space.run(&["unshare", "-rm", "true"]).status.success() {
        return ways;
    }
    ways.push("unshare -rm sh -c 'mount --bind d e; cat e/in'".to_owned());
    // It changes nothing, but could not be had in a sandbox.
    ways.push("unshare -rp --fork cat d/in".to_owned());
    match static_shell() {
        Some(shell) => {
            space.sh(&format!("mkdir d/bin; cp {shell} d/bin/cat")).ok();
            ways.push("unshare -r chroot d /bin/cat /in".to_owned());
        }
        None => println!("there is no static busybox here"),
    }
    ways
}

#[test]
fn what_has_other_mounts_or_another_root_runs_each_time_and_is_not_replayed() {
    for method in ["auto", "ptrace"] {
        let space = TestSpace::with(&[("d/in", "one\n"), ("e/in", "none\n"), ("in", "")]);
        for way in elsewhere(&space) {
            space.write(
                "Makefile",
                format!("all: out known\nout:\n\tset -e; {way} > $@\nknown: in\n\tset -e; cat in > $@\n"),
            );
            let trace = space.outside().join("trace");
            let record = ["--method", method, "-o", trace.to_str().unwrap(), "make"];
            space.write("d/in", "one\n");
            space.ggtrace(&record).ok();
            assert_eq!(space.read("out"), b"one\n", "{way} {method}");
            space.ggforce(&[]).ok();
            // Whether that is what it used is not known.
            let told = space.ggforce(&["--trace", trace.to_str().unwrap()]).fails();
            assert!(told.err().contains("nobody knows what command"), "{told}");
            assert!(told.err().contains("run the build"), "{told}");
            space.ggforce(&["--as-recorded", "--trace", trace.to_str().unwrap()]).ok();
            space.write("d/in", "two\n");
            space.write("in", format!("{way} {method}\n"));
            space.ggforce(&["--trace", trace.to_str().unwrap()]).fails().says("nobody knows what");
            space.sh("rm out known").ok();
            space.ggtrace(&record).ok();
            space.ggforce(&[]).ok();
            assert_eq!(space.read("out"), b"two\n", "{way} {method}");
            space.sh("rm out known").ok();
        }
    }
}

/// The recorder finds other files at the paths of what make starts there.
#[test]
fn commands_of_a_make_with_mounts_of_its_own_are_not_taken_for_those_without() {
    let space = TestSpace::with(&[
        (
            "Makefile",
            "all:\n\tunshare -rm sh -c 'mount --bind d e; $(MAKE) out'\nout:\n\tset -e; cat e/in > $@\n",
        ),
        ("d/in", "one\n"),
        ("e/in", "none\n"),
    ]);
    if elsewhere(&space).is_empty() {
        return println!("skipped: no namespaces are to be had here");
    }
    let trace = space.outside().join("trace");
    space.ggtrace(&["-o", trace.to_str().unwrap(), "make"]).ok();
    assert_eq!(space.read("out"), b"one\n");
    for observed in Trace::read(&trace).unwrap().observed {
        assert_eq!(observed.thunk, None, "{observed:?}");
    }
    space.sh("rm out").ok();
    space.ggtrace(&["make", "out"]).ok();
    space.ggforce(&[]).ok();
    assert_eq!(space.read("out"), b"none\n");
}

#[test]
fn what_cannot_be_looked_into_is_not_replayed() {
    const COPIES: &str = "#include <stdio.h>\nint main(void) { FILE *in = fopen(\"in\", \"r\"), *out = fopen(\"out\", \"w\");\n\
        for (int c; (c = getc(in)) >= 0;) putc(c, out); return fclose(out); }\n";
    let space = TestSpace::with(&[
        ("Makefile", "all: out known\nout: in\n\t./copies\nknown: in\n\tset -e; cat in > $@\n"),
        ("copies.c", COPIES),
        ("in", "one\n"),
    ]);
    if !space.run(&["gcc", "-m32", "-o", "copies", "copies.c"]).status.success() {
        return println!("no 32-bit C library here");
    }
    let trace = space.outside().join("trace");
    space.ggtrace(&["-o", trace.to_str().unwrap(), "make"]).ok();
    for content in ["one\n", "two\n"] {
        space.write("in", content);
        space.ggforce(&["--trace", trace.to_str().unwrap()]).fails().says("nobody knows what");
    }
}

/// `out` is what is in `in`, and these all end with it: when they are recorded, and after a replay with another `in`.
#[track_caller]
fn is_made_from_in(space: &TestSpace, made: &[&str]) {
    let trace = space.outside().join("trace");
    let is = |text: &[u8], method: &str| {
        assert_eq!(space.read("out"), text, "{method}");
        for file in made {
            assert!(space.read(file).ends_with(text), "{file} {method}");
        }
    };
    for method in ["auto", "ptrace"] {
        space.write("in", "one\n");
        space.sh(&format!("rm -f {}", made.join(" "))).ok();
        space.ggtrace(&["--run", "--method", method, "-o", trace.to_str().unwrap(), "make"]).ok();
        is(b"one\n", method);
        space.write("in", "two\n");
        space.ggforce(&["--trace", trace.to_str().unwrap()]).ok();
        is(b"two\n", method);
    }
}

/// A program that does no more than to open, to read and to print.
#[test]
fn what_32_bit_programs_open_is_known() {
    const PRINTS: &str = "void _start(void) { char b[99]; int in = call(295, -100, \"in\", 0); call(4, 1, b, call(3, in, b, 99)); call(252, 0, 0, 0); }\n";
    let rules = "all: out list\nout: in\n\t./prints >$@\nlist: in\n\tldd /bin/true | sed 's/ (0x.*//' >$@; cat in >>$@\n";
    let space = TestSpace::with(&[("Makefile", rules), ("prints.c", &program_32(PRINTS)), ("in", "one\n")]);
    space.sh(&format!("gcc {OPTIONS_32} -o prints prints.c")).ok();
    is_made_from_in(&space, &["out", "list"]);
}

/// The kernel looks at the low half of each argument of such a call, also where 64-bit code makes it.
#[test]
fn what_64_bit_code_opens_by_a_32_bit_call_is_known() {
    const OPENS: &str = "#include <stdio.h>\n#include <string.h>\n#include <sys/mman.h>\nint main(void) {\n\
        char *low = mmap((void *)0x10000000, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);\n\
        char *high = mmap((void *)0x110000000, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);\n\
        strcpy(low, \"in\"); strcpy(high, \"other\"); long fd; char b[9] = {0};\n\
        __asm__ volatile(\"int $0x80\" : \"=a\"(fd) : \"a\"(5L), \"b\"(high), \"c\"(0L), \"d\"(0L) : \"memory\", \"r8\", \"r9\", \"r10\", \"r11\");\n\
        FILE *f = fdopen((int)fd, \"r\"); return !f || !fgets(b, 9, f) || fputs(b, stdout) < 0; }\n";
    let rules = "out: in\n\t./opens >$@\n";
    let space =
        TestSpace::with(&[("Makefile", rules), ("opens.c", OPENS), ("in", "one\n"), ("other", "other\n")]);
    space.sh("gcc -w -o opens opens.c").ok();
    is_made_from_in(&space, &["out"]);
}

/// Made by `O_TMPFILE`, it is nowhere until its descriptor is linked.
#[test]
fn a_file_without_a_name_that_gets_one_is_made_there() {
    const NAMES: &str = "#define _GNU_SOURCE\n#include <fcntl.h>\n#include <unistd.h>\nint main(int c, char **v) {\n\
        int f = open(\".\", O_TMPFILE | O_WRONLY, 0644); write(f, \"text\\n\", 5); int g = open(v[1], O_RDONLY);\n\
        return linkat(f, \"\", AT_FDCWD, v[2], AT_EMPTY_PATH) || linkat(g, \"\", AT_FDCWD, v[3], AT_EMPTY_PATH); }\n";
    for (method, link) in [("auto", ""), ("auto", "-static"), ("ptrace", "")] {
        let space = TestSpace::with(&[("names.c", NAMES), ("in", "in\n")]);
        space.write("Makefile", "all:\n\t./names in out second\n");
        space.sh(&format!("gcc -w {link} -o names names.c")).ok();
        if !space.run(&["./names", "in", "out", "second"]).status.success() {
            return println!(
                "skipped: this needs a file system with O_TMPFILE, and the right to link descriptors"
            );
        }
        space.sh("rm out second").ok();
        let trace = space.outside().join("trace");
        space.ggtrace(&["--run", "--method", method, "-o", trace.to_str().unwrap(), "make"]).ok();
        let observed = Trace::read(&trace).unwrap().observed;
        let touch = |path| observed.iter().find_map(|observed| observed.touch(&space.path(path)));
        for path in ["out", "second"] {
            let uses = touch(path).map(|touch| touch.uses);
            assert!(uses.is_some_and(|uses| uses.has(Uses::CREATED)), "{path} {method} {link}: {uses:?}");
        }
        assert!(touch("in").unwrap().uses.has(Uses::LINKED), "{method} {link}");
    }
}
