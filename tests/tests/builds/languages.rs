// SPDX-License-Identifier: Apache-2.0
//! C++, assembler with a preprocessor, and binary data.

use tests::{Expect, TestSpace};

#[test]
fn cxx_with_its_library() {
    for compiler in ["g++", "c++", "x86_64-linux-gnu-g++-12", "clang++"] {
        let space = TestSpace::with(&[
            (
                "a.cc",
                "#include <map>\n#include <string>\n#include \"a.hpp\"\nstd::map<std::string, int> table() { return {{\"x\", 42}}; }\n",
            ),
            (
                "a.hpp",
                "#pragma once\n#include <map>\n#include <string>\nstd::map<std::string, int> table();\n",
            ),
            (
                "main.cpp",
                "#include <iostream>\n#include \"a.hpp\"\nint main() { std::cout << table().at(\"x\") << std::endl; }\n",
            ),
        ]);
        space.script_same_as_plain(
            &format!("{compiler} -std=c++17 -O1 -c a.cc; {compiler} -std=c++17 -g -c main.cpp; {compiler} -o prog a.o main.o; ./prog"),
            3,
        );
    }
}

#[test]
fn assembler_with_a_preprocessor() {
    let space = TestSpace::with(&[
        (
            "f.S",
            "#include \"value.h\"\n.include \"more.inc\"\n.globl f\nf: mov $VALUE, %eax\n ret\n.section .note.GNU-stack,\"\",@progbits\n",
        ),
        ("value.h", "#define VALUE 42\n"),
        ("inc/more.inc", ".data\nmore: .long 7\n.text\n"),
        ("main.c", "int f(void);\nint main(void) { return f() - 42; }\n"),
    ]);
    space.script_same_as_plain("gcc -Wa,-Iinc -c f.S; gcc -c main.c; gcc -o prog f.o main.o; ./prog", 3);
}

#[test]
fn included_binary_data() {
    let space = TestSpace::with(&[
        (
            "data.s",
            ".globl data\ndata: .incbin \"table.bin\"\n.incbin \"sub/more.bin\", 1, 2\n.section .note.GNU-stack,\"\",@progbits\n",
        ),
        (
            "inline.c",
            "__asm__(\".data\\n.globl blob\\nblob: .incbin \\\"table.bin\\\"\\n.text\\n\");\nextern char blob[];\nint first(void) { return blob[0]; }\n",
        ),
        ("table.bin", "\u{1}\u{2}\u{3}"),
        ("sub/more.bin", "0123"),
    ]);
    space.script_same_as_plain("gcc -c data.s; as data.s -o data2.o; gcc -c inline.c", 2);
}

#[test]
fn a_changed_binary_is_a_changed_input() {
    let space = TestSpace::with(&[("data.s", ".incbin \"table.bin\"\n"), ("table.bin", "one")]);
    space.ggtrace(&["gcc", "-c", "data.s"]).ok();
    space.force_all();
    let first = space.read("data.o");
    space.write("table.bin", "two");
    space.ggtrace(&["gcc", "-c", "data.s"]).ok();
    space.force_all();
    assert!(space.read("data.o") != first);
}

#[test]
fn precompiled_headers() {
    let space = TestSpace::with(&[
        ("all.h", "#include <stdio.h>\n#include \"value.h\"\n"),
        ("value.h", "#define VALUE 42\n"),
        ("main.c", "#include \"all.h\"\nint main(void) { printf(\"%d\\n\", VALUE); return 0; }\n"),
        ("more.c", "int more(void) { return VALUE; }\n"),
    ]);
    let script = "gcc -O1 -x c-header all.h -o all.h.gch
         gcc -O1 -Winvalid-pch -c main.c -o main.o; gcc -O1 -include all.h -c more.c -o more.o; gcc -o prog main.o more.o; ./prog";
    space.same_as_plain(&["sh", "-ec", script], Expect::script(4).varying(&["all.h.gch"]));
}

/// As qmake has it: a directory with one for each language, of a header that is nowhere.
#[test]
fn precompiled_headers_in_a_directory() {
    let space = TestSpace::with(&[
        ("pch.h", "#include <vector>\ninline int size() { return (int) std::vector<int>(42).size(); }\n"),
        ("main.cpp", "int main() { return size() - 42; }\n"),
    ]);
    let script = "mkdir -p app.gch; g++ -x c++-header -c pch.h -o app.gch/c++; g++ -c -include app -Winvalid-pch main.cpp; g++ -o prog main.o; ./prog";
    space.same_as_plain(&["sh", "-ec", script], Expect::script(3).varying(&["app.gch/c++"]));
}

#[test]
fn a_precompiled_header_is_used_even_if_its_source_is_gone() {
    let space = TestSpace::with(&[
        ("all.hpp", "#include <vector>\ninline int size() { return (int) std::vector<int>(42).size(); }\n"),
        ("main.cpp", "int main() { return size() - 42; }\n"),
    ]);
    let script = "g++ all.hpp -o pch.hpp.gch; mv all.hpp kept; g++ -include pch.hpp -c main.cpp; g++ -o prog main.o; ./prog; mv kept all.hpp";
    space.same_as_plain(&["sh", "-ec", script], Expect::script(3).varying(&["pch.hpp.gch"]));
}
