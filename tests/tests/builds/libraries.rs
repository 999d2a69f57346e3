// SPDX-License-Identifier: Apache-2.0
//! Links: static and shared libraries, chains of them, scripts, and programs that load what was just built.

use tests::TestSpace;

fn space() -> TestSpace {
    TestSpace::with(&[
        ("a.c", "int a(void) { return 40; }\n"),
        ("b.c", "int a(void);\nint b(void) { return a() + 2; }\n"),
        (
            "main.c",
            "#include <stdio.h>\nint b(void);\nint main(void) { printf(\"%d\\n\", b()); return 0; }\n",
        ),
    ])
}

#[test]
fn static_libraries_by_name_and_order() {
    space().script_same_as_plain(
        "mkdir lib; gcc -c a.c b.c main.c; ar rcs lib/liba.a a.o; ar rcs lib/libb.a b.o
         gcc main.o -Llib -lb -la -o one; gcc main.o -L lib -l b -l a -o two; gcc main.o lib/libb.a lib/liba.a -o three
         gcc main.o -Wl,--start-group -Llib -la -lb -Wl,--end-group -o four; gcc main.o -Llib -Wl,-Bstatic -lb -la -Wl,-Bdynamic -o five
         gcc main.o -Llib -Wl,--whole-archive -lb -la -Wl,--no-whole-archive -o six; gcc -static main.o -Llib -lb -la -o seven
         for p in one two three four five six seven; do ./$p; done",
        10,
    );
}

#[test]
fn a_chain_of_shared_libraries() {
    space().script_same_as_plain(
        "gcc -fPIC -c a.c b.c; gcc -c main.c
         gcc -shared -Wl,-soname,liba.so.1 -o liba.so.1.0 a.o; ln -sf liba.so.1.0 liba.so.1; ln -sf liba.so.1 liba.so
         gcc -shared -Wl,-soname,libb.so -o libb.so b.o -L. -la
         gcc -o prog main.o -L. -lb -Wl,-rpath-link,.; gcc -o own main.o -L. -lb -Wl,--disable-new-dtags,-rpath,'$ORIGIN' -Wl,-rpath-link,$PWD
         LD_LIBRARY_PATH=. ./prog > out; ./own >> out",
        6,
    );
}

/// Kerberos names the objects of its shared libraries so. What is linked with such a library needs none of them.
#[test]
fn objects_that_are_named_as_libraries_are() {
    let builds = "gcc -fPIC -c a.c -o a.so; gcc -fPIC -c b.c -o b.so; gcc -c main.c
         gcc -shared -Wl,-soname,libb.so.1 -o libb.so.1 a.so b.so; ln -sf libb.so.1 libb.so
         gcc -shared -o libc2.so main.o -L. -lb; gcc -o prog main.o -L. -lb";
    let linked = space();
    linked.ggtrace_sh(builds).ok();
    let placeholder = thunk::Placeholder::read(&linked.path("prog")).unwrap().expect("deferred");
    let store = thunk::Store::open(&linked.store()).unwrap();
    let link = store.thunk(&placeholder.output.thunk).unwrap();
    let mut made: Vec<_> =
        link.thunks.iter().map(|input| input.path.file_name().unwrap().to_owned()).collect();
    made.sort();
    assert_eq!(made, ["libb.so.1", "main.o"]);
    space().script_same_as_plain(&format!("{builds}; LD_LIBRARY_PATH=. ./prog > out"), 6);
}

#[test]
fn libraries_beside_each_other_are_chosen_as_the_linker_does() {
    space().script_same_as_plain(
        "mkdir one two; gcc -fPIC -c a.c b.c; gcc -c main.c; ar rcs one/liba.a a.o; gcc -shared -o two/liba.so a.o; gcc -shared -o one/libb.so b.o; ar rcs two/libb.a b.o
         gcc main.o -Lone -Ltwo -lb -la -o p -Wl,-rpath,$PWD/one:$PWD/two -Wl,--no-as-needed; ./p; gcc main.o -Ltwo -Lone -lb -la -Wl,-rpath,$PWD/two -o q; ./q",
        7,
    );
}

#[test]
fn plugins_loaded_while_building() {
    let space = TestSpace::with(&[
        ("plug.c", "int answer(void) { return 42; }\n"),
        (
            "host.c",
            "#include <dlfcn.h>\n#include <stdio.h>\nint main(void) {\n  void *p = dlopen(\"./plug.so\", RTLD_NOW);\n  if (!p) { puts(dlerror()); return 1; }\n  int (*f)(void) = (int (*)(void)) dlsym(p, \"answer\");\n  printf(\"%d\\n\", f());\n  return 0;\n}\n",
        ),
    ]);
    space.script_same_as_plain(
        "gcc -shared -fPIC -o plug.so plug.c; gcc -o host host.c -ldl; ./host > out",
        2,
    );
    assert_eq!(space.read("out"), b"42\n");
}

#[test]
fn a_script_that_names_what_is_written() {
    let space = space();
    space.write("named.ld", "SECTIONS { .text : { *(.text) } }\nOUTPUT(named.out)\n");
    space.script_same_as_plain(
        "gcc -c a.c; ld -r -T named.ld a.o; gcc -r -nostdlib -T named.ld a.o -o given.o; rm -f named.out
         gcc -r -nostdlib -T named.ld a.o",
        1,
    );
}

#[test]
fn libraries_by_a_variable_come_after_the_system_s() {
    let space = space();
    let link = "-Wl,--whole-archive -lm -lown -Wl,--no-whole-archive";
    space.script_same_as_plain(
        &format!(
            "mkdir L; gcc -c main.c a.c b.c; ar rcs L/libm.a a.o; ar rcs L/libown.a b.o; export LIBRARY_PATH=L
             gcc a.o main.o {link} -o one; LIBRARY_PATH=$PWD/L: gcc a.o main.o {link} -o two; clang a.o main.o {link} -o three"
        ),
        6,
    );
}

#[test]
fn linker_and_version_scripts() {
    let space = space();
    space.write("v.map", "V1 { global: a; local: *; };\n");
    space.write("w.map", "W1 { global: b; local: *; };\n");
    space.write("libboth.so", "/* as libc.so is one */\nINPUT(./libb.so)\nGROUP(AS_NEEDED(./liba.so))\n");
    space.write("dyn.list", "{ main; };\n");
    space.write("args.ld", "SECTIONS { .mine : { *(.mine) } } INSERT AFTER .data;\n");
    space.script_same_as_plain(
        "gcc -fPIC -c a.c b.c; gcc -c main.c
         gcc -shared -Wl,--version-script=v.map -o liba.so a.o; gcc -shared -o libb.so b.o -Wl,--version-script w.map
         gcc main.o -L. -lboth -o prog -Wl,--dynamic-list=dyn.list -Wl,-T,args.ld -Wl,-rpath,$PWD; ./prog",
        5,
    );
}

#[test]
fn partial_links_and_ld_itself() {
    space().script_same_as_plain(
        "gcc -c a.c b.c main.c; ld -r -o ab.o a.o b.o; gcc -r -nostdlib -o abm.o ab.o main.o; gcc -o prog abm.o; ./prog; ld -shared -o lib.so ab.o; ld -r -b binary -o blob.o a.c",
        5,
    );
}

#[test]
fn a_program_without_libc() {
    let space = TestSpace::with(&[(
        "start.c",
        "void _start(void) { __asm__ volatile (\"mov $60, %eax; mov $7, %edi; syscall\"); }\n",
    )]);
    space.script_same_as_plain(
        "gcc -nostdlib -static -ffreestanding -o tiny start.c; ./tiny || echo $? > code",
        1,
    );
    assert_eq!(space.read("code"), b"7\n");
}

#[test]
fn the_linkers_by_name() {
    space().script_same_as_plain("gcc -c a.c b.c main.c; gcc -fuse-ld=bfd main.o a.o b.o -o one; gcc -fuse-ld=gold main.o a.o b.o -o two; ./one; ./two", 2);
}

#[test]
fn the_environment_s_library_path() {
    let mut space = space();
    space.set("LIBRARY_PATH", "lib");
    space.script_same_as_plain(
        "mkdir lib; gcc -c a.c b.c main.c; ar rcs lib/libab.a a.o b.o; gcc main.o -lab -o prog; ./prog",
        3,
    );
}
