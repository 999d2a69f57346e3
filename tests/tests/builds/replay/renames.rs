// SPDX-License-Identifier: Apache-2.0
//! What is renamed after it was made is followed to where it stands in the end.

use tests::TestSpace;

use super::{built, is_as_made, replay, replayed};

#[test]
fn outputs_are_followed_through_renames() {
    let space = TestSpace::with(&[
        ("a.c", "int main(void) { return 1; }\n"),
        (
            "Makefile",
            "prog: a.o\n\t$(CC) -o $@ a.o\na.o: a.c\n\t$(CC) -MD -MF a.Td -c -o a.tmp a.c && mv a.tmp $@ && mv a.Td a.d\n",
        ),
    ]);
    let trace = built(&space);
    space.keep();
    let edit = || space.replace("a.c", "1", "2");
    edit();
    assert_eq!(replayed(&space, &trace).run, 2);
    assert!(!space.path("a.tmp").exists() && !space.path("a.Td").exists(), "they were renamed");
    assert_eq!(space.run(&["./prog"]).code(), 2);
    is_as_made(&space, edit);
    // The same for who asks.
    let why = space.gg(&["show", "--why", "a.o"]).ok().out();
    assert!(why.contains("as a.tmp, and renamed or copied since") && why.contains("a.c"), "{why}");
}

/// A command that was recorded after its input was forced, or that ran, knows the content and not where it comes from.
#[test]
fn contents_are_followed_through_renames() {
    for how in ["--force", "--run"] {
        for moves in
            ["\n\tmv -f a.tmp a.o", "\n\tmv a.tmp a.o", "\n\tsleep 0.5; mv a.tmp a.o", " && mv a.tmp a.o"]
        {
            let space = TestSpace::with(&[("a.c", "int main(void) { return 1; }\n")]);
            space.write(
                "Makefile",
                format!(
                    "prog: a.o\n\tsleep 0.5\n\t$(CC) -o $@ a.o\na.o: a.c\n\t$(CC) -c -o a.tmp a.c{moves}\n"
                ),
            );
            let trace = space.outside().join("trace");
            space.ggtrace(&[how, "-o", trace.to_str().expect("our own path"), "make"]).ok();
            space.keep();
            let edit = || space.replace("a.c", "1", "2");
            edit();
            let replayed = replay(&space, &trace, &[]).ok();
            assert_eq!(space.run(&["./prog"]).code(), 2, "{how}, {moves}: {replayed}");
            is_as_made(&space, edit);
        }
    }
}

/// A shell that starts a compile, writes a file of its own, and then moves both that and what the compile gave, as libtool below Automake does.
#[test]
fn outputs_are_followed_through_one_of_several_renames() {
    const MAKEFILE: &str = "all: prog\n\
        a.lo: a.c\n\tif gcc -MD -MF a.Tpo -c a.c; then echo object >a.loT; mv -f a.loT a.lo; mv -f a.Tpo a.Po; else exit 1; fi\n\
        prog: a.lo\n\tgcc -o prog a.o\n";
    let space = TestSpace::with(&[
        ("Makefile", MAKEFILE),
        ("a.c", "int main(void) { return 0; }\n"),
        ("a.h", "#define A 7\n"),
    ]);
    let trace = built(&space);
    let edit = || space.write("a.c", "#include \"a.h\"\nint main(void) { return A; }\n");
    space.keep();
    edit();
    assert_eq!(replayed(&space, &trace).run, 2);
    is_as_made(&space, edit);
}
