// SPDX-License-Identifier: Apache-2.0
//! Shells that build drivers start for one command each: where that is deferred they are not started, and nothing of what they would
//! have done is missing or different.

use std::fs;
use std::os::unix::fs::symlink;

use tests::{Expect, TestSpace};

/// Two sources, in the directory and below.
fn sources() -> TestSpace {
    let space = TestSpace::new();
    fs::create_dir(space.path("sub")).unwrap();
    space.write("a.c", "int a(void) { return NUMBER; }\n");
    space.write("sub/b.c", "int a(void);\nint main(void) { return a(); }\n");
    space
}

/// What is before a command to keep the shell, by which nothing changes.
const KEPT: &str = "x=1; : $$x; ";

/// Makefiles that differ in that for each command a shell is needed, or not.
fn makefile(before: &str, recipes: [&str; 3]) -> String {
    let [a, b, prog] = recipes.map(|recipe| format!("\t@{before}{recipe}\n"));
    format!("prog: a.o sub/b.o\n{prog}a.o: a.c\n{a}sub/b.o: sub/b.c\n{b}")
}

/// Both give what plain make gives, from the same thunks; only with one of them shells are started.
#[track_caller]
fn same_with_and_without_shells(space: &TestSpace, before: &str, recipes: [&str; 3], arguments: &[&str]) {
    let build = [&["make"], arguments].concat();
    for kept in ["", KEPT] {
        space.write("Makefile", makefile(&format!("{kept}{before}"), recipes));
        let seen = space.same_as_plain(&build, Expect::make(3));
        // Make alone, or the shells as well, and the programs that these start.
        let is_as_expected = if kept.is_empty() { seen.shown.ran == 1 } else { seen.shown.ran >= 4 };
        assert!(is_as_expected && seen.shown.deferred == 3, "{}", space.gg(&["show", "-a"]));
        assert!(kept.is_empty() || seen.cold.run == 0, "other thunks: {:?}", seen.cold);
        space.restore();
    }
}

#[test]
fn a_shell_that_only_prints_and_compiles_is_not_started() {
    let recipes = [
        "printf \"CC\\t%s\\n\" $@; $(CC) -DNUMBER=\\(0\\) -g -c -o $@ $<",
        "echo '  CC  ' $@; LC_ALL=C $(CC) -g -MD -c -o $@ 'sub/b.c'",
        "printf '%s, ' $^; echo done; $(CC) -o \"$@\" $^",
    ];
    same_with_and_without_shells(&sources(), "", recipes, &[]);
    same_with_and_without_shells(&sources(), "", recipes, &["-O"]);
    same_with_and_without_shells(&sources(), "", recipes, &["SHELL=/bin/bash"]);
    same_with_and_without_shells(&sources(), "", recipes, &["SHELL=/bin/bash", ".SHELLFLAGS=-ec"]);
}

#[test]
fn a_shell_that_changes_its_directory_is_not_started() {
    let space = sources();
    let recipes = [
        "cd . && $(CC) -DNUMBER=0 -g -c -o a.o a.c",
        "cd sub; $(CC) -g -c -o b.o b.c",
        "cd sub && cd ../sub/.. && $(CC) -o prog a.o sub/b.o",
    ];
    same_with_and_without_shells(&space, "", recipes, &[]);
    // Behind a link, the way there is in the debug information.
    symlink("sub", space.path("link")).unwrap();
    let recipes = [recipes[0], "cd link && $(CC) -g -c -o b.o b.c", ": ; $(CC) -o prog a.o sub/b.o"];
    same_with_and_without_shells(&space, "", recipes, &[]);
    let absolute = format!("cd {}/link && $(CC) -g -c -o b.o b.c", space.tree().display());
    same_with_and_without_shells(&space, "", [recipes[0], &absolute, recipes[2]], &[]);
}

#[test]
fn a_dependency_file_that_is_renamed_at_once_needs_no_shell() {
    let space = sources();
    let recipes = [
        "echo '  CC  ' a.o;$(CC) -DNUMBER=0 -MT a.o -MD -MP -MF .a.Tpo -c -o a.o a.c &&\\\n\tmv -f .a.Tpo .a.Po",
        "$(CC) -MT $@ -MD -MF sub/b.Tpo -c -o $@ $< && mv -f sub/b.Tpo ./sub/../sub/b.Po",
        "cd sub && $(CC) -o new ../a.o b.o && mv -f new ../prog",
    ];
    same_with_and_without_shells(&space, "", recipes, &[]);
    // Onto what is there: other files, and what cannot be replaced.
    space.write(".a.Po", "old");
    symlink("nowhere", space.path("sub/b.Po")).unwrap();
    same_with_and_without_shells(&space, "", recipes, &[]);
    fs::create_dir(space.path("d")).unwrap();
    space.write("Makefile", "d/b.o: sub/b.c\n\t@$(CC) -c -o b.o $< && mv -f b.o d\n");
    let seen = space.same_as_plain(&["make"], Expect::make(1));
    assert_eq!(seen.shown.ran, 3, "it goes into a directory");
}

#[test]
fn a_wrong_pwd_is_set_right_as_a_shell_does() {
    for pwd in ["/", "sub", "/nowhere", ""] {
        let mut space = sources();
        space.set("PWD", pwd);
        let recipes =
            [": ; $(CC) -DNUMBER=0 -g -c -o a.o a.c", "cd sub; $(CC) -g -c -o b.o b.c", ": ; $(CC) -o $@ $^"];
        same_with_and_without_shells(&space, "", recipes, &[]);
    }
}

#[test]
fn what_is_wrong_is_told_by_the_shell() {
    for recipe in [
        "cd nowhere && cc -DNUMBER=1 -c a.c",
        "cd a.c; cc -DNUMBER=1 -c a.c",
        "nothing-of-this-name -c a.c",
        "./a.c -c a.c",
        "'' -c a.c",
        "cc -DNUMBER=1 -c a.c; exit 3",
        "cc -DNUMBER=1 -c a.c; echo x | grep -q y",
        "PATH=/nowhere cc -DNUMBER=1 -c a.c",
        "cc -DNUMBER=1 -c a.c && mv -f b.o c.o",
        "cc -DNUMBER=1 -c a.c && mv -f a.o nowhere/a.o",
        "cc -DNUMBER=1 -c a.c && mv -f a.o a.o",
        "cc -DNUMBER=1 -c a.c && mv -f a.o sub/../a.o",
        "cc -DNUMBER=1 -c a.c && mv -f a.o b.o && mv -f a.o c.o",
        "cd a.c/.. && cc -DNUMBER=1 -c a.c",
    ] {
        let space = sources();
        space.write("Makefile", format!("a.o:\n\t@echo tried; {recipe}\n"));
        space.keep();
        let plain = space.run(&["make"]);
        space.restore();
        let recorded = space.ggtrace(&["make"]);
        assert_eq!(
            (recorded.code(), recorded.out(), recorded.err()),
            (plain.code(), plain.out(), plain.err()),
            "{recipe}"
        );
    }
}

#[test]
fn what_the_environment_makes_of_a_shell_counts() {
    let functions =
        [("BASH_FUNC_cc%%", "() { echo function; }"), ("BASH_ENV", "./environment"), ("SHELLOPTS", "xtrace")];
    for (name, value) in functions {
        let mut space = sources();
        space.set(name, value);
        space.write("environment", "cc() { echo function; }\n");
        space.write("Makefile", "SHELL = /bin/bash\na.o: a.c\n\t@echo made; cc -DNUMBER=1 -c a.c\n");
        space.same_as_plain(&["make"], Expect { nothing_left: false, ..Expect::make(0) });
    }
}

#[test]
fn a_program_of_a_shell_s_name_is_started() {
    let space = sources();
    space.write("sh.c", "#include <stdio.h>\nint main(int n, char **a) { puts(a[n - 1]); return 0; }\n");
    space.run(&["cc", "-o", "sh", "sh.c"]).ok();
    space.write("Makefile", "SHELL = ./sh\nall:\n\t@echo x; cc -DNUMBER=1 -c a.c\n");
    let seen = space.same_as_plain(&["make"], Expect { nothing_left: false, ..Expect::make(0) });
    assert_eq!(seen.plain.out(), "echo x; cc -DNUMBER=1 -c a.c\n");
}

#[test]
fn what_is_printed_comes_in_order_and_whole() {
    let space = sources();
    let long = "x".repeat(3000);
    for text in ["x", &long[..2000], &long] {
        space.write(
            "Makefile",
            format!("all: ; @echo before\n\t@echo '{text}'; cc -DNUMBER=1 -c a.c\n\t@echo end; false\n"),
        );
        let plain = space.run(&["make"]);
        let recorded = space.ggtrace(&["make"]);
        assert_eq!(
            (recorded.code(), recorded.out(), recorded.err()),
            (plain.code(), plain.out(), plain.err())
        );
    }
    // Nobody reads it any more.
    space.write(
        "Makefile",
        "all: ; @until test -e gone; do sleep 0.1; done\n\t@echo x; cc -DNUMBER=1 -c a.c\n\t@touch end\n",
    );
    let script = "rm -f gone code; { make || echo $? >code; } | { exec <&-; : >gone; }; cat code";
    assert_eq!(space.ggtrace_sh(script).ok().out(), space.sh(script).ok().out());
    assert!(!space.path("end").exists());
}
