// SPDX-License-Identifier: Apache-2.0
//! `ar` and `ranlib`.

use tests::{Expect, TestSpace};

fn space() -> TestSpace {
    TestSpace::with(&[
        ("a.c", "int a(void) { return 1; }\n"),
        ("b.c", "int b(void) { return 2; }\n"),
        ("c.c", "int c(void) { return 3; }\n"),
        ("main.c", "int a(void), b(void), c(void);\nint main(void) { return a() + b() + c() - 6; }\n"),
    ])
}

#[test]
fn an_archive_made_in_every_usual_way() {
    space().script_same_as_plain(
        "gcc -c a.c b.c c.c main.c
         ar rcs one.a a.o b.o c.o
         ar cru two.a a.o b.o c.o 2>/dev/null; ranlib two.a
         ar -rc three.a a.o b.o; ar -r three.a c.o; ar s three.a
         ar qcS four.a a.o b.o c.o; ranlib four.a
         gcc -o prog main.o one.a; ./prog; gcc -o prog2 main.o three.a; ./prog2",
        8,
    );
}

#[test]
fn members_replaced_added_and_removed() {
    space().script_same_as_plain("gcc -c a.c b.c c.c; ar rcs lib.a a.o b.o; ar rcs lib.a b.o c.o; ar d lib.a a.o; ar m lib.a b.o; rm a.o", 3);
}

#[test]
fn an_archive_that_exists_before_the_build() {
    let space = space();
    space.sh("gcc -c a.c; ar rcs lib.a a.o; rm a.o").ok();
    space.script_same_as_plain("gcc -c b.c; ar r lib.a b.o", 2);
}

/// Objects of link time optimisation have no symbols for an index but those that the compiler's plugin finds in them.
#[test]
fn an_archive_that_a_plugin_reads() {
    space().script_same_as_plain(
        "plugin=$(gcc -print-file-name=liblto_plugin.so)
         gcc -flto -frandom-seed=1 -c a.c b.c c.c main.c
         ar --plugin $plugin rc one.a a.o b.o c.o; ranlib --plugin $plugin one.a
         ar rcs --plugin=$plugin two.a a.o b.o; ar -rc two.a c.o --plugin $plugin
         gcc -flto -o prog main.o one.a; ./prog",
        6,
    );
}

#[test]
fn an_archive_of_whose_making_ar_tells() {
    let space = space();
    space.ggtrace_sh("gcc -c a.c b.c; ar rs lib.a a.o b.o; ar r lib.a b.o").ok();
    assert!(space.is_placeholder("lib.a"));
    assert!(space.ggforce(&[]).ok().err().contains("ar: creating lib.a"));
    let script = "gcc -c a.c b.c; ar rs lib.a a.o b.o; ar r lib.a b.o";
    space.sh("rm lib.a *.o").ok();
    space.same_as_plain(&["sh", "-ec", script], Expect { stderr: false, ..Expect::script(3) });
}

/// `v` is in what make gives `ar` where a makefile does not say otherwise.
#[test]
fn what_ar_says_of_the_members_of_a_new_archive() {
    let space = space();
    space.write(
        "Makefile",
        "prog: main.o ab.a c.a
\t$(CC) -o $@ $^
ab.a: a.o b.o
\t$(AR) $(ARFLAGS) $@ $^
c.a: c.o
\t@echo making $@ && $(AR) rcv $@ $^
last.a: prog a.o b.o
\t@$(AR) rcv $@ a.o && echo made $@
\t@$(AR) rcv $@ a.o b.o
\t@$(AR) rcv other.a a.o >/dev/null
",
    );
    let seen = space.same_as_plain(&["make"], Expect::make(7).with_warnings());
    for said in ["a - a.o\na - b.o\n", "making c.a\na - c.o\n"] {
        assert!(seen.plain.out().contains(said), "{}", seen.plain);
    }
    let seen = space.same_as_plain(&["make", "last.a"], Expect::make(2).with_warnings());
    assert!(seen.plain.out().contains("a - a.o\nmade last.a\nr - a.o\na - b.o\n"), "{}", seen.plain);
}

#[test]
fn members_listed_printed_and_extracted() {
    let seen = space().script_same_as_plain(
        "gcc -c a.c b.c; ar rcs lib.a a.o b.o; ar t lib.a; nm lib.a; mkdir x; cd x; ar x ../lib.a; ar p ../lib.a a.o > a.copy; cmp a.o a.copy",
        2,
    );
    assert!(seen.plain.out().contains("a.o\nb.o\n"));
}

#[test]
fn thin_archives() {
    // The name of one member fills the field that it gets in an archive.
    space().script_same_as_plain(
        "gcc -c a.c b.c main.c; mkdir d; gcc -c -o d/fifteen-chars.o c.c
         ar rcsT thin.a a.o b.o d/fifteen-chars.o; gcc -o prog main.o thin.a; ./prog",
        4,
    );
}

#[test]
fn a_link_with_a_thin_archive_that_is_not_made_yet() {
    let seen = space().script_same_as_plain(
        "mkdir d; gcc -c a.c b.c main.c; gcc -c -o d/fifteen-chars.o c.c
         gcc-ar csrDT d/some.a d/fifteen-chars.o b.o
         ar qcT all.a d/some.a a.o; ranlib all.a; ar rsT all.a a.o; gcc -o prog main.o all.a; gcc -o prog2 main.o all.a",
        8,
    );
    assert_eq!(seen.cold.run, 8, "something was forced while the build was recorded:\n{}", seen.recorded);
}

#[test]
fn a_thin_archive_that_exists_before_the_build() {
    let space = space();
    space.sh("gcc -c a.c c.c; ar rcsT lib.a a.o").ok();
    space
        .script_same_as_plain("gcc -c b.c main.c; ar rsT lib.a b.o c.o; gcc -o prog main.o lib.a; ./prog", 3);
}

#[test]
fn an_archive_of_archives_by_script() {
    space().script_same_as_plain(
        "gcc -c a.c b.c c.c; ar rcs one.a a.o; ar rcs two.a b.o c.o; printf 'create all.a\\naddlib one.a\\naddlib two.a\\nsave\\nend\\n' | ar -M",
        3,
    );
}

#[test]
fn archives_whose_objects_are_removed_afterwards() {
    space().script_same_as_plain("gcc -c a.c b.c c.c main.c; ar rcs lib.a a.o b.o c.o; rm a.o b.o c.o; gcc -o prog main.o -L. -l:lib.a; ./prog", 3);
}
