// SPDX-License-Identifier: Apache-2.0
//! Placeholders are carried along by what only moves files, and are what they look like outside of a recording.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tests::{Snapshot, TestSpace};

fn space() -> TestSpace {
    TestSpace::with(&[("a.c", "#include <stdio.h>\nint main(void) { puts(\"a\"); return 0; }\n")])
}

#[test]
fn moves_copies_and_links_carry_them() {
    let space = space();
    let script = "
        mkdir dst sub; gcc -c a.c -o t.o; mv t.o a.o; cp a.o b.o; cp -p a.o dst; cp a.o b.o sub; ln a.o hard.o; ln -s a.o soft.o
        cp -a sub deep; mv deep moved; gcc -o prog a.o; install prog dst/prog; install -m 750 -D prog dst/bin/prog2; install -d dst/empty
        cp prog prog.tmp && mv -f prog.tmp prog3; chmod 600 b.o; chmod a-x prog3; touch b.o; cp -l a.o hard2.o; cp -s a.o soft2.o; rm -f sub/b.o";
    space.script_same_as_plain(script, 2);

    space.restore();
    space.ggtrace_sh(script).ok();
    for path in
        ["a.o", "b.o", "dst/a.o", "hard.o", "moved/a.o", "moved/b.o", "dst/prog", "dst/bin/prog2", "prog3"]
    {
        assert!(space.is_placeholder(path), "{path} was not carried along");
    }
    space.force_all();
}

#[test]
fn what_programs_without_hooks_move_is_forced_where_it_is_then() {
    let space = space();
    space.write(
        "carry.c",
        "#define _GNU_SOURCE
         #include <fcntl.h>
         #include <stdio.h>
         #include <unistd.h>
         int main(void) {
             return rename(\"o/a.o\", \"p/a.o\") || link(\"o/b.o\", \"p/b.o\") || rename(\"o/sub\", \"p/sub\")
                 || renameat2(AT_FDCWD, \"o/d.o\", AT_FDCWD, \"p/text\", RENAME_EXCHANGE);
         }",
    );
    space.sh("gcc -static -o carry carry.c; mkdir -p o/sub p; echo text > p/text").ok();
    let script = "for o in o/a o/b o/sub/c o/d; do gcc -c a.c -o $o.o; done; ./carry";
    for method in ["auto", "ptrace", "preload"] {
        space.keep();
        space.sh(script).ok();
        let plain = Snapshot::of(&space.tree());
        space.restore();
        space.ggtrace(&["--method", method, "sh", "-ec", script]).ok();
        if method != "preload" {
            assert!(space.is_placeholder("p/a.o"), "{method}: there is nothing to carry along");
        }
        space.force_all();
        let deviations = plain.deviations(&Snapshot::of(&space.tree()));
        assert!(deviations.is_empty(), "{method}: the tree is not as plainly built:\n{deviations}");
        space.restore();
    }
}

#[test]
fn one_that_is_overwritten_or_removed_is_gone() {
    let space = space();
    space.script_same_as_plain("gcc -c a.c; echo text > a.o; gcc -c a.c -o b.o; rm b.o; gcc -c a.c -o c.o; : > c.o; gcc -c a.c -o d.o; cp a.c d.o", 4);
    assert_eq!(space.read("a.o"), b"text\n");
}

#[test]
fn one_is_replaced_by_another_command_s() {
    let space = space();
    space.script_same_as_plain(
        "gcc -c a.c; gcc -O2 -DX -g -c a.c; gcc -c a.c -o b.o; mv b.o a.o; gcc -g -c a.c -o c.o; cp c.o a.o",
        4,
    );
}

#[test]
fn they_survive_in_another_folder() {
    let space = space();
    space.script_same_as_plain("mkdir build; cd build; gcc -c ../a.c; cd ..; mv build out; gcc out/a.o -o out/prog; mv out/prog .; ./prog", 2);
}

#[test]
fn modes_are_those_of_the_real_files() {
    let space = space();
    space.script_same_as_plain("umask 027; gcc -c a.c; gcc -o prog a.o; umask 002; ar rcs lib.a a.o; gcc -shared -fPIC -o lib.so a.c; umask 077; gcc -c a.c -o p.o", 5);
}

#[test]
fn executed_outside_of_a_recording_it_is_forced_and_run() {
    let space = space();
    space.ggtrace_sh("gcc -o prog a.c").ok();
    assert!(space.is_placeholder("prog"));
    let mode = fs::metadata(space.path("prog")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "it can be executed");
    let ran = space.run(&["./prog"]).ok();
    assert_eq!(ran.out(), "a\n", "{ran}");
    assert!(!space.is_placeholder("prog"), "it was forced on the way");
}

#[test]
fn the_arguments_and_exit_code_of_one_that_is_executed() {
    let space = TestSpace::with(&[(
        "p.c",
        "#include <stdio.h>\nint main(int c, char **v) { for (int i = 1; i < c; i++) printf(\"<%s>\", v[i]); return c; }\n",
    )]);
    space.ggtrace_sh("gcc -o prog p.c").ok();
    let ran = space.run(&["./prog", "a b", "", "*"]);
    assert_eq!((ran.code(), ran.out().as_str()), (4, "<a b><><*>"), "{ran}");
}

#[test]
fn a_forced_file_has_the_time_of_its_placeholder() {
    let space = space();
    space.ggtrace_sh("gcc -c a.c; cp a.o b.o; gcc -c a.c -o c.o; touch -d 2001-02-03 c.o").ok();
    let times = || {
        ["a.o", "b.o", "c.o"]
            .map(|p| fs::metadata(space.path(p)).and_then(|m| m.modified()).expect("it is there"))
    };
    let before = times();
    space.force_all();
    assert_eq!(before, times());
    assert!(space.read("c.o").starts_with(b"\x7fELF"));
}

#[test]
fn one_is_an_empty_makefile() {
    let space = space();
    space.ggtrace_sh("gcc -c a.c").ok();
    space.write("m", "all: ; @echo ok\n");
    assert_eq!(space.run(&["make", "-f", "a.o", "-f", "m"]).ok().out(), "ok\n");
    assert!(space.is_placeholder("a.o"));
}

#[test]
fn a_forced_blob_cannot_be_changed_through_the_tree() {
    let space = space();
    space.ggtrace_sh("gcc -c a.c").ok();
    space.force_all();
    let good = space.read("a.o");
    // In place, as a careless tool does it.
    let mut file = fs::OpenOptions::new().append(true).open(space.path("a.o")).expect("it is ours");
    std::io::Write::write_all(&mut file, b"garbage").expect("it can be written to");
    fs::remove_file(space.path("a.o")).expect("it is ours");
    space.ggtrace_sh("gcc -c a.c").ok();
    space.force_all();
    assert!(space.read("a.o") == good, "the store's copy was changed through the tree");
}

/// By names that are neither arguments nor come from a directory that was read.
#[test]
fn who_asks_for_a_size_is_told_the_right_one() {
    let space = space();
    space
        .write("sizes.pl", "while (<STDIN>) { chomp; print \"$_ \", -s $_, \"\\n\" } print +(stat 'a.o')[7]");
    let script = "gcc -g -c a.c -o a.o; gcc -g -c a.c -o b.o; echo b.o | perl sizes.pl >sizes";
    space.script_same_as_plain(script, 2);
}

/// Whatever drives a build looks at what was made, to see that it is there and how old it is.
#[test]
fn a_build_driver_of_its_own_kind_forces_nothing_by_looking() {
    let space = space();
    space.write(
        "build.pl",
        "for (1, 2) { system('gcc', '-c', 'a.c') == 0 or die; -e 'a.o' && -s 'a.o' or die }\n",
    );
    space.ggtrace(&["perl", "build.pl"]).ok();
    assert!(space.is_placeholder("a.o"));
    assert_eq!(space.force_all().run, 1);
}

/// Tells the sizes of the files in a directory, which the C library reads.
const SIZES: &str = r#"
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
int main(int argc, char **argv) {
    struct dirent **entries;
    int n = scandir(argv[1], &entries, 0, alphasort);
    for (int i = 0; i < n; i++) {
        char path[512];
        struct stat s;
        snprintf(path, sizeof path, "%s/%s", argv[1], entries[i]->d_name);
        if (!stat(path, &s) && S_ISREG(s.st_mode)) printf("%s %ld\n", path, (long)s.st_size);
    }
    return n < 0;
}
"#;

#[test]
fn who_reads_a_directory_finds_real_files_in_it() {
    let space = space();
    space.write("sizes.c", SIZES);
    space.sh("gcc sizes.c -o sizes; gcc -static sizes.c -o sizes-static; mkdir -p o/sub p q").ok();
    let compiles =
        "gcc -c a.c -o o/a.o; gcc -g -c a.c -o o/sub/b.o; gcc -c a.c -o p/c.o; gcc -c a.c -o q/d.o";
    let looks = "
        find o -printf '%f %s\\n' | sort; tar cf x.tar --mtime=@0 --sort=name o; tar tf x.tar; rm x.tar
        ./sizes p; ./sizes-static q; gcc -g -c a.c -o p/e.o; ls -l p | awk '{ print $5, $9 }'; du -ab q | cut -f1";
    let script = format!("{compiles}; {looks}");
    let plain = space.script_same_as_plain(&script, 5).plain;
    for method in ["ptrace", "auto"] {
        space.restore();
        let recorded = space.ggtrace(&["--method", method, "sh", "-ec", &script]).ok();
        assert_eq!((recorded.out(), recorded.err()), (plain.out(), plain.err()), "{method}");
    }
}

#[test]
fn who_looks_for_names_leaves_placeholders() {
    let space = space();
    space.write("Makefile", "all:\n\tgcc -c a.c -o o/a.o\n\t@$(MAKE) --no-print-directory again\nagain:\n\t@echo $(wildcard o/*.o)\n");
    space.sh("mkdir o").ok();
    space
        .ggtrace_sh(
            "make; for f in o/*; do echo $f; done; mkdir -p o; cp -r o copy; mv copy moved; test -d o",
        )
        .ok();
    assert!(space.is_placeholder("o/a.o") && space.is_placeholder("moved/a.o"));
    space.force_all();
}

#[test]
fn a_directory_with_one_that_cannot_be_forced_can_be_read() {
    let space = space();
    space.write("bad.c", "int x y;\n");
    let recorded = space.ggtrace_sh("gcc -c bad.c; gcc -c a.c; ls; ls; ! cat bad.o").ok();
    assert_eq!(recorded.out().matches("a.o").count(), 2, "{recorded}");
    assert!(space.is_placeholder("bad.o"));
}

#[test]
fn a_copy_onto_a_file_with_other_names_is_seen_under_all_of_them() {
    let space = space();
    space.sh("mkdir d; echo old > x; ln x d/a.o; ln x y; chmod 640 x; echo old > z.o; ln z.o d/z").ok();
    space.script_same_as_plain(
        "gcc -c a.c; cp a.o x; gcc -g -c a.c -o z.o; gcc -O -c a.c; cp a.o d; cp -t d a.o",
        2,
    );
}
