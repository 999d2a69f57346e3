// SPDX-License-Identifier: Apache-2.0
//! What compilers write beside the object: dependency files, split debug information, coverage notes, link-time
//! optimisation, saved temporaries.

use std::fs;

use tests::{Expect, TestSpace};

const FILES: &[(&str, &str)] = &[
    (
        "src/main.c",
        "#include <stdio.h>\n#include \"part.h\"\nint main(void) { printf(\"%d\\n\", part()); return 0; }\n",
    ),
    ("src/part.c", "#include \"part.h\"\nint part(void) { return 42; }\n"),
    ("src/part.h", "int part(void);\n"),
];

#[test]
fn dependency_files_in_every_spelling() {
    let space = TestSpace::with(FILES);
    space.script_same_as_plain(
        "mkdir dep out
         gcc -MD -c src/main.c
         gcc -MMD -c src/part.c -o out/part.o
         gcc -MD -MF dep/a.d -MT 'out/a.o dep/a.d' -MP -c src/main.c -o out/a.o
         gcc -MMD -MQ 'out/$x.o' -MF dep/b.d -c src/main.c -o out/b.o
         gcc -Wp,-MMD,dep/.c.d -c src/main.c -o out/c.o
         gcc -Wp,-MD,dep/d.d,-MT,other -c src/main.c -o out/d.o
         clang -MD -MT x -MF dep/e.d -c src/main.c -o out/e.o",
        7,
    );
}

#[test]
fn make_reads_dependency_files_before_they_are_forced() {
    let space = TestSpace::with(FILES);
    space.write(
        "Makefile",
        "prog: main.o part.o\n\t$(CC) -o $@ $^\n%.o: src/%.c\n\t$(CC) -MMD -MP -c $< -o $@\n-include main.d part.d\n",
    );
    space.same_as_plain(&["make"], Expect::make(3));
    // The header is known as a dependency, whether its file was forced before make read it or not.
    space.restore();
    space.ggtrace(&["make"]).ok();
    std::thread::sleep(std::time::Duration::from_millis(20));
    space.write("src/part.h", "int part(void);\n#define MORE 1\n");
    let again = space.ggtrace(&["make"]).ok();
    assert!(again.out().contains("-c src/main.c") && again.out().contains("-c src/part.c"), "{again}");
}

/// Some makefiles have each object depend on its dependency file, so that one that was lost is made again. There are many, because
/// most of what is written within one tick of the clock has the same time anyway.
#[test]
fn what_is_written_beside_an_object_is_not_newer() {
    const PARTS: usize = 120;
    let space = TestSpace::new();
    fs::create_dir(space.path(".deps")).unwrap();
    for number in 0..PARTS {
        space.write(format!("part{number}.c"), format!("int part{number};\n"));
    }
    space.write(
        "Makefile",
        "OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))
all: $(OBJECTS)
%.o: %.c
%.o: %.c .deps/%.d
\t@$(CC) -MMD -MP -MF .deps/$*.d -fstack-usage --coverage -c $< -o $@
$(OBJECTS:%.o=.deps/%.d):
",
    );
    space.ggtrace(&["make"]).ok();
    let modified = |path: String| fs::metadata(space.path(path)).unwrap().modified().unwrap();
    for number in 0..PARTS {
        let object = modified(format!("part{number}.o"));
        for beside in
            [format!(".deps/part{number}.d"), format!("part{number}.su"), format!("part{number}.gcno")]
        {
            assert!(modified(beside.clone()) <= object, "{beside}");
        }
    }
    let again = space.run(&["make"]).ok();
    assert!(again.out().contains("Nothing to be done"), "{again}");
}

/// It quotes the source of the source, which the command does not name.
#[test]
fn a_listing_of_the_assembler() {
    let space = TestSpace::with(FILES);
    space.script_same_as_plain(
        "gcc -g -S src/part.c; as -aln=short.lst part.s -o short.o; as -ahls=part.lst part.s -o part.o; grep 42 part.lst",
        2,
    );
}

/// With link-time optimisation there is nothing to say of the stack before the link.
#[test]
fn a_side_output_that_is_not_written_stays() {
    let space = TestSpace::with(FILES);
    space.write("part.su", "older\n");
    space.script_same_as_plain(
        "gcc -frandom-seed=1 -flto -fstack-usage -c src/part.c; gcc -frandom-seed=1 -flto -fstack-usage -c src/main.c",
        1,
    );
    assert_eq!(space.read("part.su"), b"older\n");
}

#[test]
fn automake_s_way_of_moving_dependency_files() {
    let space = TestSpace::with(FILES);
    let compile = |name: &str| {
        format!(
            "gcc -MT {name}.o -MD -MP -MF .deps/{name}.Tpo -c -o {name}.o src/{name}.c && mv -f .deps/{name}.Tpo .deps/{name}.Po"
        )
    };
    space.script_same_as_plain(
        &format!("mkdir .deps; {}; {}; gcc -o prog main.o part.o", compile("main"), compile("part")),
        3,
    );
}

#[test]
fn a_script_edits_a_dependency_file() {
    let space = TestSpace::with(FILES);
    space.script_same_as_plain("gcc -MMD -c src/main.c -o main.o; sed 's/^main/x&/' main.d > main.dep; grep -c part.h main.d; rm main.d", 1);
}

/// As kbuild's `fixdep` does: it is given the object too, and does not look at it.
#[test]
fn a_dependency_file_that_is_read_does_not_wait_for_its_compile() {
    let space = TestSpace::with(FILES);
    let fixdep = "perl -e 'open F, shift or die; print <F>' main.d main.o > main.cmd";
    let script = format!(
        "gcc -MMD -c src/main.c -o main.o; {fixdep}; gcc -Wp,-MD,part.d -c src/part.c; cmp part.d part.d"
    );
    space.script_same_as_plain(&script, 2);
    for options in [&["sh", "-ec", &script][..], &["--force", "sh", "-ec", &script]] {
        let space = TestSpace::with(FILES);
        space.ggtrace(options).ok();
        assert!(!space.is_placeholder("main.d") && !space.is_placeholder("part.d"), "they were read");
        let waits = space.is_placeholder("main.o") && space.is_placeholder("part.o");
        assert_eq!(waits, options[0] != "--force", "nobody looked at the objects");
    }
}

#[test]
fn dependency_files_that_a_second_make_reads_are_made_together() {
    let space = TestSpace::with(FILES);
    space.write(
        "Makefile",
        "prog: main.o part.o\n\t$(CC) -o $@ $^\n%.o: src/%.c\n\t$(CC) -MMD -MP -c $< -o $@\n-include main.d\n",
    );
    space.same_as_plain(&["sh", "-ec", "make; make"], Expect::script(3));
    space.restore();
    space.ggtrace_sh("make; make").ok();
    assert!(!space.is_placeholder("main.d") && !space.is_placeholder("part.d"), "one of them was read");
    assert!(space.is_placeholder("main.o") && space.is_placeholder("prog"), "nobody looked at these");
}

#[test]
fn an_object_that_is_named_with_its_dependency_file_has_its_size() {
    for reader in [
        "stat -c %s main.d main.o",
        "ls -s main.o main.d",
        "cksum main.d main.o",
        "test -s main.d -a -s main.o",
    ] {
        let space = TestSpace::with(FILES);
        space.script_same_as_plain(&format!("gcc -MMD -c src/main.c -o main.o; {reader}"), 1);
    }
}

#[test]
fn a_dependency_file_that_cannot_be_had_fails_with_its_compile() {
    let space = TestSpace::with(&[("a.c", "#include \"b.h\"\n"), ("b.h", "#error not here\n")]);
    let ran = space.ggtrace_sh("gcc -MMD -c a.c; cat a.d || echo goes on").ok();
    assert!(ran.err().contains("not here") && ran.out() == "goes on\n", "{ran}");
    let forced = space.ggforce(&[]).fails();
    assert_eq!(forced.err().matches("error: #error not here").count(), 1, "{forced}");
}

#[test]
fn link_time_optimisation() {
    let space = TestSpace::with(FILES);
    space.script_same_as_plain(
        "cc='gcc -O2 -frandom-seed=x'
         $cc -flto -c src/main.c; $cc -flto -c src/part.c; $cc -flto -o prog main.o part.o; ./prog
         gcc-ar rcs lib.a part.o; $cc -flto=2 -o prog2 main.o lib.a
         $cc -flto -ffat-lto-objects -c src/part.c -o fat.o; $cc -o prog3 fat.o -flto main.o",
        7,
    );
}

#[test]
fn link_time_optimisation_with_random_section_names() {
    let space = TestSpace::with(FILES);
    let script = "gcc -O2 -flto -c src/main.c; gcc -O2 -flto -c src/part.c; gcc -O2 -flto -o prog main.o part.o; ./prog";
    space.same_as_plain(&["sh", "-ec", script], Expect::script(3).varying(&["main.o", "part.o"]));
}

#[test]
fn split_debug_information() {
    let space = TestSpace::with(FILES);
    space.script_same_as_plain("gcc -g -gsplit-dwarf -c src/main.c -o main.o; gcc -g -gsplit-dwarf -c src/part.c; gcc -o prog main.o part.o", 3);
    assert!(space.path("main.dwo").exists());
}

#[test]
fn coverage_notes() {
    let space = TestSpace::with(FILES);
    space.script_same_as_plain("gcc -frandom-seed=1 --coverage -c src/main.c -o main.o; gcc -frandom-seed=2 -fprofile-arcs -ftest-coverage -c src/part.c; gcc --coverage -o prog main.o part.o", 3);
    assert!(space.path("main.gcno").exists());
    // The instrumented program writes its counts beside the object, as plainly built.
    space.sh("./prog").ok();
    assert!(space.path("main.gcda").exists());
}

#[test]
fn saved_temporaries_listings_and_stack_usage() {
    let space = TestSpace::with(FILES);
    space.script_same_as_plain(
        "gcc -save-temps -c src/part.c; gcc -fstack-usage -c src/main.c; gcc -Wa,-adhln=part.lst -c src/part.c -o p2.o
         gcc -fdump-tree-optimized -O1 -c src/part.c -o p3.o; gcc -Wl,-Map=prog.map -o prog main.o part.o",
        1,
    );
}

#[test]
fn cross_references_in_maps() {
    let space = TestSpace::with(FILES);
    let script = "gcc -c src/main.c; gcc -c src/part.c; gcc -Wl,--cref,-Map,prog.map -o prog main.o part.o
        ld -r -o both.o main.o part.o --cref -Map=both.map; gcc -fuse-ld=gold -Wl,-Map=gold.map -Wl,--cref -o gold main.o part.o
        grep 'Cross Reference' *.map; gcc -Wl,--cref -o prog main.o part.o | grep 'Cross Reference'";
    space.script_same_as_plain(script, 5);
}

#[test]
fn sanitizers_and_profiles() {
    let space = TestSpace::with(FILES);
    space.script_same_as_plain("gcc -g -fsanitize=address,undefined -c src/main.c src/part.c; gcc -fsanitize=address,undefined -o prog main.o part.o; gcc -pg -c src/part.c -o p.o", 3);
}
