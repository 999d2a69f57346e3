// SPDX-License-Identifier: Apache-2.0
//! Replays of commands that want what a sandbox in memory does not have.

use tests::TestSpace;

use super::{is_as_made, replayed};

/// The kernel copies nothing from one file system to another, and a tmpfs has no zeroes to be put into a file.
#[test]
fn copies_by_the_kernel_and_room_of_zeroes() {
    const PROGRAM: &str = "#define _GNU_SOURCE\n#include <fcntl.h>\n#include <unistd.h>\n#include <stdlib.h>\n\
        int main(void) {\n\
            int in = open(\"in\", O_RDONLY), out = open(\"out\", O_RDWR | O_CREAT | O_TRUNC, 0666);\n\
            if (copy_file_range(in, NULL, out, NULL, 4096, 0) <= 0) return 1;\n\
            if (fallocate(out, 0x10, 0, 2)) return 2;\n\
            return 0;\n\
        }\n";
    let space = TestSpace::with(&[
        ("Makefile", "out: in copy\n\t./copy\ncopy: copy.c\n\tgcc -o copy copy.c\n"),
        ("copy.c", PROGRAM),
        ("in", "some text\n"),
    ]);
    let trace = space.outside().join("trace");
    space.ggtrace(&["--run", "-o", trace.to_str().unwrap(), "make"]).ok();
    space.keep();
    let edit = || space.write("in", "other text\n");
    edit();
    assert_eq!(replayed(&space, &trace).run, 1);
    is_as_made(&space, edit);
}
