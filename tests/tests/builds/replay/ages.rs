// SPDX-License-Identifier: Apache-2.0
//! How old files are after a replay: make has nothing to do, whatever was changed and whatever came out as it was.

use tests::TestSpace;

use super::{built, replay, replayed};
use crate::calculator::calculator;

#[track_caller]
fn make_is_idle(space: &TestSpace) {
    let make = space.run(&["make", "-n"]).ok();
    assert_eq!(space.run(&["make", "-q"]).code(), 0, "make would still do something:\n{}", make.out());
}

/// What libtool writes down of an object holds the same whatever is in the source.
#[test]
fn files_of_libtool_are_as_new_as_their_objects() {
    const MAKEFILE: &str = "LT = libtool --quiet --tag=CC\nall: prog libab.la\n\
        %.lo: %.c\n\t$(LT) --mode=compile gcc -c $< -o $@\n\
        libab.la: a.lo b.lo\n\t$(LT) --mode=link gcc -o $@ $^ -rpath /usr/local/lib\n\
        prog.o: prog.c\n\
        prog: prog.o libab.la\n\t$(LT) --mode=link gcc -o $@ $^\n";
    let space = TestSpace::with(&[
        ("Makefile", MAKEFILE),
        ("a.c", "int a(void) { return 0; }\n"),
        ("b.c", "int b(void) { return 0; }\n"),
        ("prog.c", "int a(void);\nint main(void) { return a(); }\n"),
    ]);
    let trace = built(&space);
    make_is_idle(&space);
    let untouched = space.path("b.lo").metadata().unwrap().modified().unwrap();
    for edit in ["int x;\nint a(void) { return 0; }\n", "/* the same */ int a(void) { return 0; }\n"] {
        space.write("a.c", edit);
        assert!(replayed(&space, &trace).run > 0);
        space.run(&["./prog"]).ok();
        make_is_idle(&space);
        assert_eq!(space.path("b.lo").metadata().unwrap().modified().unwrap(), untouched);
    }
}

/// Automake's `.dirstamp`: objects depend on it in the makefile alone, and it may stand for whatever was made before it.
#[test]
fn what_is_made_after_a_stamp_is_newer_than_that() {
    const MAKEFILE: &str = "all: z.o a.o dir/b.o\n\t$(MAKE) -C sub\n\
        z.o: z.c\n\t$(CC) -c z.c\na.o: a.c\n\t$(CC) -c a.c\n\
        dir/.stamp:\n\t@mkdir -p dir\n\t@: >$@\n\
        dir/b.o: b.c dir/.stamp\n\t$(CC) -c b.c -o $@\n";
    const SUB: &str = "all: c.o d.o\nc.o: c.c ../dir/.stamp\n\t$(CC) -c c.c\nd.o: c.o\n\tcp c.o d.o\n";
    let space = TestSpace::with(&[
        ("Makefile", MAKEFILE),
        ("a.c", "int a;\n"),
        ("b.c", "int b;\n"),
        ("z.c", "int z;\n"),
        ("sub/Makefile", SUB),
        ("sub/c.c", "int c;\n"),
    ]);
    let age = |path: &str| space.path(path).metadata().unwrap().modified().unwrap();
    // The second time, the stamp is deferred too.
    for round in 0..2 {
        space.sh("rm -rf *.o dir sub/*.o").ok();
        let trace = built(&space);
        make_is_idle(&space);
        let before = age("z.o");
        for a in ["int a = 2;\n", "/* the same */ int a = 2;\n"] {
            space.write("a.c", format!("{a}/* {round} */\n"));
            assert_eq!(replayed(&space, &trace).run, 1);
            make_is_idle(&space);
            assert!(age("dir/b.o") > age("dir/.stamp") && age("dir/.stamp") > age("a.o"));
            assert_eq!(age("z.o"), before);
            space.sh("rm dir/.stamp").ok();
            replayed(&space, &trace);
            make_is_idle(&space);
        }
    }
}

/// A generator is another one and writes the same; a stamp says nothing of what it stands for.
#[test]
fn what_comes_out_as_it_was_is_as_new_as_what_it_is_made_from() {
    const MAKEFILE: &str = "prog: main.o stamp\n\t$(CC) -o $@ main.o\n\
        main.o: main.c table.h\n\t$(CC) -c main.c\n\
        table.h: gen\n\t./gen >$@\n\
        gen: gen.c\n\t$(CC) -o $@ gen.c\n\
        stamp: gen\n\ttouch $@\n";
    let space = TestSpace::with(&[
        ("Makefile", MAKEFILE),
        ("gen.c", "int puts(const char *);\nint main(void) { return puts(\"#define N 0\") < 0; }\n"),
        ("main.c", "#include \"table.h\"\nint main(void) { return N; }\n"),
    ]);
    let trace = built(&space);
    for (from, to) in [("int main", "int more;\nint main"), ("int more", " int more")] {
        space.replace("gen.c", from, to);
        replayed(&space, &trace);
        make_is_idle(&space);
    }
    space.sh("rm table.h gen prog").ok();
    replayed(&space, &trace);
    make_is_idle(&space);
}

#[test]
fn what_is_put_back_is_no_newer_than_what_is_made_anew_from_it() {
    let space = calculator();
    let trace = built(&space);
    space.run(&["make", "clean"]).ok();
    space.replace("add.c", "a + b", "a + b + 1");
    replayed(&space, &trace);
    make_is_idle(&space);
}

/// A replay of one file says nothing of those that are made from others.
#[test]
fn who_asks_for_one_file_does_not_have_others_taken_to_be_right() {
    const MAKEFILE: &str = "prog: main.o a.o\n\t$(CC) -o $@ main.o a.o\n\
        main.o: main.c\n\t$(CC) -c main.c\na.o: a.c\n\t$(CC) -c a.c\n";
    let space = TestSpace::with(&[
        ("Makefile", MAKEFILE),
        ("a.c", "#ifndef V\n#define V 1\n#endif\nint a(void) { return V; }\n"),
        ("main.c", "int a(void);\nint main(void) { return a(); }\n"),
    ]);
    let trace = built(&space);
    space.sh("sleep 0.01; cc -DV=5 -c a.c; rm main.o").ok();
    replay(&space, &trace, &["main.o"]).ok();
    assert_eq!(space.run(&["make", "-q"]).code(), 1, "the program is to be linked with the new object");
}

/// A link to a source is no file of the build's own.
#[test]
fn no_source_gets_another_time() {
    const MAKEFILE: &str = "prog: main.o table.h\n\t$(CC) -o $@ main.o\n\
        main.o: main.c table.h\n\t$(CC) -c main.c\n\
        table.h: original.h gen\n\t./gen >x.tmp && ln -f original.h $@\n\
        gen: gen.c\n\t$(CC) -o $@ gen.c\n";
    let space = TestSpace::with(&[
        ("Makefile", MAKEFILE),
        ("gen.c", "int puts(const char *);\nint main(void) { return puts(\"x\") < 0; }\n"),
        ("original.h", "#define N 0\n"),
        ("main.c", "#include \"table.h\"\nint main(void) { return N; }\n"),
    ]);
    let trace = built(&space);
    let before = space.path("original.h").metadata().unwrap().modified().unwrap();
    space.replace("gen.c", "int main", "int more;\nint main");
    let _ = replay(&space, &trace, &[]);
    assert_eq!(space.path("original.h").metadata().unwrap().modified().unwrap(), before);
}

/// What a command that asks a network gives may be something else each time: make runs it again, and so it shall.
#[test]
fn what_nobody_can_vouch_for_stays_as_old_as_it_is() {
    const FETCH: &str = "#include <stdio.h>\n#include <sys/socket.h>\n\
        int main(void) { socket(AF_INET, SOCK_STREAM, 0); return puts(\"fetched\") < 0; }\n";
    let rules =
        |fetch: &str| format!("all: a.o out\na.o: a.c\n\t$(CC) -c a.c\nout: version\n\t{fetch} >$@\n");
    let space = TestSpace::with(&[("fetch.c", FETCH), ("a.c", "int a;\n"), ("version", "1\n")]);
    let fetch = space.outside().join("fetch");
    space.sh(&format!("cc -o {} fetch.c", fetch.display())).ok();
    space.write("Makefile", rules(&fetch.display().to_string()));
    let trace = built(&space);
    make_is_idle(&space);
    space.write("version", "2\n");
    space.write("a.c", "int a = 2;\n");
    let _ = replay(&space, &trace, &[]);
    let make = space.run(&["make", "-n"]).ok();
    assert!(make.out().contains("fetch"), "{}", make.out());
}
