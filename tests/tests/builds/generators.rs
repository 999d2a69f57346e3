// SPDX-License-Identifier: Apache-2.0
//! Builds that run what they built, or read it: files are forced when somebody looks at them.

use tests::{Expect, TestSpace};

#[test]
fn a_generator_that_the_build_compiles_and_runs() {
    let space = TestSpace::with(&[
        (
            "Makefile",
            "prog: main.o table.o\n\t$(CC) -o $@ $^\nmain.o: main.c table.h\n\t$(CC) -c main.c\ntable.o: table.c\n\t$(CC) -c table.c\n\
             table.c: gen\n\t./gen source > $@\ntable.h: gen\n\t./gen header > $@\ngen: gen.c rows.h\n\t$(CC) -o $@ gen.c\n",
        ),
        ("rows.h", "#define ROWS 5\n"),
        (
            "gen.c",
            "#include <stdio.h>\n#include \"rows.h\"\nint main(int argc, char **argv) {\n  if (argv[1][0] == 'h') printf(\"#define ROWS %d\\nextern int table[ROWS];\\n\", ROWS);\n\
             \x20 else { printf(\"int table[] = {\"); for (int i = 0; i < ROWS; i++) printf(\"%d,\", i * i); puts(\"};\"); }\n  return 0;\n}\n",
        ),
        (
            "main.c",
            "#include <stdio.h>\n#include \"table.h\"\nint main(void) { int s = 0; for (int i = 0; i < ROWS; i++) s += table[i]; printf(\"%d\\n\", s); return 0; }\n",
        ),
    ]);
    space.same_as_plain(&["make"], Expect::make(4));
    assert_eq!(space.run(&["./prog"]).ok().out(), "30\n");
}

#[test]
fn a_generator_that_reads_an_object() {
    let space = TestSpace::with(&[
        ("layout.c", "struct s { char c; long l; };\nchar size_of_s[sizeof(struct s)];\n"),
        ("other.c", "int other;\n"),
    ]);
    space.script_same_as_plain("gcc -c layout.c; gcc -c other.c; nm -S layout.o | awk '{ print \"#define SIZE 0x\" $2 }' > size.h; cat size.h", 2);
    assert_eq!(space.read("size.h"), b"#define SIZE 0x0000000000000010\n");
}

#[test]
fn only_what_is_looked_at_is_forced() {
    let space = TestSpace::with(&[("a.c", "int a;\n"), ("b.c", "int b;\n")]);
    space.ggtrace_sh("gcc -c a.c; gcc -c b.c; cksum a.o > sum").ok();
    assert!(!space.is_placeholder("a.o"), "cksum looked at a.o");
    assert!(space.is_placeholder("b.o"), "nobody looked at b.o");
}

#[test]
fn whoever_reads_a_file_gets_the_real_one() {
    for reader in [
        "cat a.o | cksum",
        "cksum < a.o",
        "cmp a.o a.o && cmp a.o c.o",
        "sed -n '$=' a.o",
        "grep -c ELF a.o",
        "head -c 4 a.o",
        "tail -c 4 a.o | od -c",
        "dd if=a.o bs=16 count=1 2>/dev/null | od -c",
        "md5sum a.o",
        "diff a.o c.o",
        "tar cf - --mtime=@0 --owner=0 --group=0 --sort=name --mode=644 a.o | cksum",
        "gzip -n < a.o | cksum",
        "python3 -c 'import sys; sys.stdout.write(str(len(open(\"a.o\", \"rb\").read())))'",
        "perl -e 'open F, \"a.o\"; binmode F; local $/; print length <F>'",
        "perl -MDigest::MD5=md5_hex -e 'open F, \"<:raw\", \"a.o\"; local $/; print md5_hex(<F>)'",
        "read line < a.o || :; echo ${#line}",
        "wc -c < a.o",
        "wc -c a.o",
        "awk 'END { print NR }' a.o",
        "sort a.o | cksum",
        "xargs -a list cat | cksum",
        "strings a.o",
        "cp a.o d.bin && cat d.bin | cksum",
        "install -m 600 a.o e.bin && cksum e.bin",
        "ln a.o f.bin && cksum f.bin",
        "ln -s a.o g.bin && cksum g.bin",
        "mv a.o h.bin && cksum h.bin",
        "cat a.o > i.bin",
        "cat a.o >> j.bin",
        "printf x >> a.o",
        "mkdir sub; cd sub; cksum ../a.o",
        "exec 3< a.o; cksum <&3",
    ] {
        let space = TestSpace::with(&[("a.c", "int a = 1;\n"), ("list", "a.o\n")]);
        space.script_same_as_plain(&format!("gcc -c a.c; gcc -c a.c -o c.o\n{reader}"), 2);
    }
}

/// By programs that are given the file's name. One that finds it by itself and never opens it sees the placeholder's size.
#[test]
fn sizes_told_without_opening() {
    for reader in ["stat -c %s a.o", "ls -l a.o | awk '{ print $5 }'", "du -b a.o", "test -s a.o"] {
        let space = TestSpace::with(&[("a.c", "int a = 1;\n")]);
        space.script_same_as_plain(&format!("gcc -c a.c\n{reader}"), 1);
    }
}

#[test]
fn a_built_program_run_in_every_way() {
    for run in [
        "./prog 5",
        "$PWD/prog 5",
        "PATH=.:$PATH; prog 5",
        "env -i ./prog 5",
        "exec ./prog 5",
        "perl -e 'system(\"./prog\", 5)'",
        "perl -e 'print `./prog 5`'",
        "python3 -c 'import subprocess; subprocess.run([\"./prog\", \"5\"], check=True)'",
        "echo 5 | xargs ./prog",
        "find . -name prog -exec {} 5 \\;",
        "ln -s prog alias; ./alias 5",
        "cp prog copy; ./copy 5",
        "mv prog moved; ./moved 5",
        "timeout 100 ./prog 5",
        "nohup ./prog 5 2>/dev/null",
        "(cd /; $OLDPWD/prog 5)",
        "[ -x prog ] && ./prog 5",
    ] {
        let space = TestSpace::with(&[(
            "prog.c",
            "#include <stdio.h>\n#include <stdlib.h>\nint main(int c, char **v) { printf(\"%d\\n\", c > 1 ? atoi(v[1]) * 2 : -1); return 0; }\n",
        )]);
        let seen = space.script_same_as_plain(&format!("gcc -o prog prog.c\n{run}"), 1);
        assert!(seen.plain.out().contains("10\n"), "{}", seen.plain);
    }
}

#[test]
fn a_failing_generator_fails_the_build() {
    let space = TestSpace::with(&[("gen.c", "int main(void) { return 3; }\n")]);
    let ran = space.ggtrace_sh("gcc -o gen gen.c; ./gen; echo not reached");
    assert_eq!((ran.code(), ran.out().as_str()), (3, ""), "{ran}");
}

#[test]
fn a_generator_that_does_not_compile_fails_when_it_is_run() {
    let space = TestSpace::with(&[("gen.c", "int main(void) { return 3 }\n")]);
    let ran = space
        .ggtrace_sh("gcc -o gen gen.c; ./gen; echo not reached")
        .fails()
        .says("error: expected")
        .says("gen.c");
    assert_eq!(ran.out(), "", "{ran}");
}

#[test]
fn a_generator_of_generators() {
    let space = TestSpace::with(&[(
        "one.c",
        "#include <stdio.h>\nint main(void) { puts(\"#include <stdio.h>\\nint main(void) { puts(\\\"int value = 42;\\\"); return 0; }\"); return 0; }\n",
    )]);
    space.script_same_as_plain(
        "gcc -o one one.c; ./one > two.c; gcc -o two two.c; ./two > three.c; gcc -c three.c",
        3,
    );
    assert_eq!(space.read("three.c"), b"int value = 42;\n");
}

/// Of what was seen before only that is looked at again which the build changes: by a shell, by a program without hooks, by a command that
/// was deferred first, by other names, in directories that come to stand where others stood.
#[test]
fn headers_that_change_between_two_compiles() {
    let space = TestSpace::with(&[
        ("a.c", "#include <x.h>\n#include <v.h>\nint a = X + V;\n"),
        ("early/other.h", ""),
        ("late/x.h", "#define X 1\n"),
        ("one/v.h", "#define V 10\n"),
        ("two/v.h", "#define V 20\n"),
        ("three/v.h", "#define V 30\n"),
        (
            "write.c",
            "#include <stdio.h>\nint main(int c, char **v) { FILE *f = fopen(v[1], \"w\"); fprintf(f, \"#define X %s\\n\", v[2]); return fclose(f); }\n",
        ),
        ("value.c", "#ifdef __OPTIMIZE__\nenum { X = 7 };\n#else\nenum { X = 8 };\n#endif\n"),
    ]);
    space.sh("gcc -static -o write write.c; ln -s one cur; ln late/x.h hard").ok();
    let compile = |n| format!("gcc -Iearly -Ilate -Icur -c a.c -o a{n}.o");
    let steps = [
        // A pipe, another name of the same file, a link to it.
        "echo '#define X 2' > late/x.h",
        "echo '#define X 3' > hard",
        "ln -s late/x.h soft; echo '#define X 4' > soft",
        // No hooks in it.
        "./write late/x.h 5",
        // Earlier on the search path, from another place.
        "echo '#define X 6' > new; mv new early/x.h",
        "rm early/x.h",
        // Open all the time.
        "exec 3>early/x.h; echo '#define X' >&3",
        "echo '#undef X' >&3; echo '#define X 9' >&3",
        "exec 3>&-; rm early/x.h",
        // A link that leads elsewhere, a directory in the place of another one.
        "ln -sfn two cur",
        "mv two four; mv three two",
        "mv late away; mkdir late; ./write late/x.h 11",
        // Deferred, and forced when the next compile includes it.
        "gcc -E -P -O1 -o made.h value.c; cp made.h early/x.h",
        "gcc -E -P -O0 -o early/x.h value.c",
    ];
    let mut script = compile(0);
    for (number, step) in steps.iter().enumerate() {
        script += &format!("; {step}; {}", compile(number + 1));
    }
    space.script_same_as_plain(&script, steps.len() as u32 + 1);
}
