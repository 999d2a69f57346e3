// SPDX-License-Identifier: Apache-2.0
//! Where outputs go: over files that are there already, with names and modes of their own, through links, to devices.

use tests::TestSpace;

fn space() -> TestSpace {
    TestSpace::with(&[
        ("a.c", "int a(void) { return 0; }\n"),
        ("main.c", "int a(void);\nint main(void) { return a(); }\n"),
    ])
}

#[test]
fn what_is_written_over_keeps_its_mode_and_its_other_names() {
    let space = space();
    space
        .sh("echo old | tee a.s b.i c.d > other; chmod 700 a.s; ln a.s a.link; chmod 600 b.i; ln c.d c.link
             : > a.o; chmod 640 a.o; ln a.o o.link; : > prog; chmod 600 prog")
        .ok();
    space.script_same_as_plain(
        "gcc -S a.c; gcc -E main.c -o b.i; gcc -MD -MF c.d -c main.c; gcc -c a.c; gcc -o prog main.o a.o
         cat a.link; wc -c < o.link; cat c.link; ls -l a.s b.i a.o prog | cut -c1-10",
        0,
    );
}

#[test]
fn what_is_replaced_is_deferred() {
    let space = space();
    space.sh("echo old | tee a.o a.s > main.o; echo old > prog; chmod 755 prog").ok();
    space.script_same_as_plain("gcc -c a.c main.c; gcc -S a.c; gcc -o prog main.o a.o; ./prog", 3);
}

#[test]
fn outputs_through_symbolic_links() {
    let space = space();
    space
        .sh("mkdir sub; ln -s sub/a.o a.o; ln -s nowhere/b.o b.o; echo old > old; ln -s old c.o; ln -s old c.s")
        .ok();
    space.script_same_as_plain(
        "gcc -c a.c; gcc -c a.c -o b.o 2>/dev/null || echo no; gcc -c a.c -o c.o; gcc -S a.c -o c.s; ln -s made p; gcc main.c a.o -o p; ./p",
        0,
    );
}

#[test]
fn files_changed_in_place_that_have_other_names() {
    let space = space();
    space
        .sh("gcc -c a.c main.c; ar rc one.a a.o; ln one.a one.link; ar rc two.a a.o; ln -s two.a two.link
             gcc -g main.o a.o -o p; ln p p.link; cp p q; ln -s q q.link")
        .ok();
    space.script_same_as_plain(
        "ar r one.a main.o; ar r two.link main.o; strip p; strip q.link; ranlib one.link",
        0,
    );
}

#[test]
fn sources_and_outputs_that_are_descriptors() {
    let space = space();
    space.script_same_as_plain(
        "gcc -S a.c -o /dev/stdout; gcc -E a.c -o /dev/fd/1; gcc -c a.c -o /dev/null
         gcc -x c -c /dev/fd/3 -o a.o 3< a.c; gcc -x c -c /proc/self/fd/4 -o main.o 4< main.c; gcc -o prog main.o a.o; ./prog",
        1,
    );
}
