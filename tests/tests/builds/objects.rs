// SPDX-License-Identifier: Apache-2.0
//! `strip`, `objcopy` and what reads object files.

use tests::{Expect, TestSpace};

fn space() -> TestSpace {
    TestSpace::with(&[
        ("main.c", "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n"),
        ("data.txt", "some data\n"),
    ])
}

#[test]
fn strip_in_place_and_to_another_file() {
    space().script_same_as_plain(
        "gcc -g -c main.c; gcc -g -o prog main.o; cp prog kept; strip -o small prog; strip --strip-debug main.o; strip prog; ./prog; ./small",
        5,
    );
}

#[test]
fn objcopy_makes_debug_files_and_links_to_them() {
    space().script_same_as_plain(
        "gcc -g -o prog main.c; objcopy --only-keep-debug prog prog.debug; strip -g prog; objcopy --add-gnu-debuglink=prog.debug prog; ./prog",
        3,
    );
}

#[test]
fn objcopy_turns_data_into_objects_and_back() {
    space().script_same_as_plain(
        "objcopy -I binary -O elf64-x86-64 -B i386:x86-64 data.txt data.o; objcopy -O binary -j .data data.o back.txt; cmp data.txt back.txt
         gcc -c main.c; objcopy --rename-section .text=.mine --redefine-sym main=other main.o other.o",
        3,
    );
}

/// Of a program at fixed addresses they are executable, of others not.
#[test]
fn objcopy_makes_images_of_programs() {
    space().script_same_as_plain(
        "gcc -c main.c; gcc -no-pie -o fixed main.o; gcc -o moving main.o
         for file in fixed moving main.o; do for format in binary ihex srec; do objcopy -O $format $file $file.$format; done; done",
        10,
    );
}

/// Of what starts somewhere they are executable, be it a library; and so is what is made of them.
#[test]
fn objcopy_makes_programs_of_other_formats() {
    let script = "gcc -c main.c; gcc -o moving main.o; gcc -shared -fPIC -o lib.so main.c; gcc -shared -fPIC -Wl,-e,main -o starts.so main.c
        cat moving lib.so starts.so > /dev/null; export SOURCE_DATE_EPOCH=1
        for file in moving lib.so starts.so; do objcopy --target=efi-app-x86_64 $file $file.efi; done
        objcopy -O pei-x86-64 main.o object; objcopy -O pei-x86-64 --set-start 8 main.o object-that-starts
        cat *.efi > /dev/null; for file in *.efi; do objcopy $file $file.copy; objcopy -O binary $file $file.bin; done; ls -l | cut -c1-10";
    // Copies have the time in them at which they were made.
    let expect = Expect::script(8).varying(&["moving.efi.copy", "lib.so.efi.copy", "starts.so.efi.copy"]);
    space().same_as_plain(&["sh", "-ec", script], expect);
}

#[test]
fn tools_that_read_objects_see_the_real_ones() {
    let seen = space().script_same_as_plain(
        "gcc -c main.c; gcc -o prog main.o; nm main.o; size prog; readelf -h prog; objdump -d main.o | head -n 12; strings prog | grep hello; file prog 2>/dev/null || :",
        2,
    );
    assert!(seen.plain.out().contains("T main"));
}

#[test]
fn copies_of_what_was_given_another_mode() {
    space().script_same_as_plain(
        "gcc -g -shared -fPIC -o l.so main.c; chmod 644 l.so; objcopy --only-keep-debug l.so l.debug; strip -o l.stripped l.so
         strip -g l.so; objcopy l.so copy.so; gcc -c main.c -o a.o; chmod 755 a.o; objcopy a.o b.o; strip -g -o c.o a.o
         ls -l | cut -c1-10",
        7,
    );
}

/// An import library is executable where it is an ELF file.
#[test]
fn import_libraries_have_the_mode_that_the_linker_gives_them() {
    space().script_same_as_plain("gcc -shared -fPIC -Wl,--out-implib,x.imp -o x.so main.c; gcc -c main.c", 1);
}
