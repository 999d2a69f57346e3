// SPDX-License-Identifier: Apache-2.0
//! The project that many tests build: a program of two modules and a library of two.

use tests::TestSpace;

/// How many commands of a whole build are deferred: four compiles, an archive, a link.
pub const DEFERRED: u32 = 6;

/// What a build makes.
pub const MADE: [&str; 6] = ["calc", "libcalc.a", "main.o", "print.o", "add.o", "mul.o"];

const MAKEFILE: &str = "\
CFLAGS = -O1 -g -Wall -I include
OBJECTS = main.o print.o
LIBRARY = add.o mul.o

all: calc

calc: $(OBJECTS) libcalc.a
\t$(CC) $(CFLAGS) -o $@ $(OBJECTS) -L. -lcalc

libcalc.a: $(LIBRARY)
\trm -f $@
\t$(AR) rcs $@ $(LIBRARY)

add.o mul.o main.o: include/calc.h
print.o: include/print.h
main.o: include/print.h

clean:
\trm -f calc libcalc.a $(OBJECTS) $(LIBRARY)

.PHONY: all clean
";

/// The project in a space of its own.
pub fn calculator() -> TestSpace {
    TestSpace::with(&[
        ("Makefile", MAKEFILE),
        ("include/calc.h", "int add(int a, int b);\nint mul(int a, int b);\n"),
        ("include/print.h", "void print(int n);\n"),
        ("add.c", "#include \"calc.h\"\nint add(int a, int b) { return a + b; }\n"),
        ("mul.c", "#include <calc.h>\nint mul(int a, int b) { return a * b; }\n"),
        (
            "print.c",
            "#include <stdio.h>\n#include \"print.h\"\nvoid print(int n) { printf(\"%d\\n\", n); }\n",
        ),
        (
            "main.c",
            "#include \"calc.h\"\n#include \"print.h\"\nint main(void) { print(add(mul(6, 6), 6)); return 0; }\n",
        ),
    ])
}

/// The files as plain make leaves them; they are gone again.
pub fn plain(space: &TestSpace) -> Vec<Vec<u8>> {
    space.run(&["make"]).ok();
    let made = MADE.map(|file| space.read(file)).to_vec();
    space.run(&["make", "clean"]).ok();
    made
}

/// The files are as plain make leaves them.
#[track_caller]
pub fn is_as(space: &TestSpace, plain: &[Vec<u8>]) {
    for (file, expected) in MADE.iter().zip(plain) {
        assert!(space.read(file) == *expected, "{file}");
    }
}
