// SPDX-License-Identifier: Apache-2.0
//! What fails, fails where it is forced: with the tool's own words, the command, and an exit code.

use tests::{Forced, TestSpace};

const BAD: &str = "int good(void) { return 0; }\nint bad(void) { return 0 }\n";

fn project() -> TestSpace {
    TestSpace::with(&[
        (
            "Makefile",
            "all: bad.o one two\n%.o: %.c\n\t$(CC) -c $< -o $@\none: one.o\n\t$(CC) -o $@ $^\ntwo: two.o\n\t$(CC) -o $@ $^\n",
        ),
        ("bad.c", BAD),
        ("one.c", "#include <stdio.h>\nint main(void) { puts(\"one\"); return 0; }\n"),
        ("two.c", "#include <stdio.h>\nint main(void) { puts(\"two\"); return 0; }\n"),
    ])
}

#[test]
fn a_syntax_error_shows_when_it_is_forced_with_the_compiler_s_words_and_the_command() {
    let space = project();
    space.ggtrace(&["make"]).ok();
    let failed = space
        .ggforce(&["bad.o"])
        .fails()
        .says("bad.c:2:")
        .says("error: expected")
        .says("-c bad.c")
        .says("bad.o");
    let told = failed.err().lines().filter(|l| l.contains("bad.c:2:") && l.contains("error:")).count();
    assert_eq!(told, 1, "the compiler's message is shown once:\n{failed}");
    assert_eq!(Forced::of(&failed).failed, 1, "{failed}");
    assert!(space.is_placeholder("bad.o"), "what failed stays to be forced again");
}

#[test]
fn that_the_build_s_own_command_cannot_be_made_is_told_in_one_line() {
    let space = project();
    space.ggtrace_sh("gcc -c bad.c && gcc -o bad bad.o").ok();
    let ran = space.ggtrace(&["./bad"]).fails().says("bad.c:2:");
    let last = ran.err().lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("ggtrace: ") && last.contains("/bad cannot be forced: "), "{ran}");
    assert_eq!(ran.err().matches("ggtrace: ").count(), 1, "{ran}");
}

#[test]
fn a_failure_is_not_remembered_once_its_source_is_mended() {
    let space = project();
    space.ggtrace(&["make"]).ok();
    space.ggforce(&[]).fails().says("error: expected");
    // It fails in the same way as long as nothing changes.
    space.ggforce(&[]).fails().says("error: expected");
    std::thread::sleep(std::time::Duration::from_millis(20));
    space.write("bad.c", BAD.replace("0 }", "0; }"));
    space.ggtrace(&["make"]).ok();
    space.force_all();
    assert!(space.read("bad.o").starts_with(b"\x7fELF"));
}

#[test]
fn nothing_is_built_on_top_of_what_failed_once_it_is_mended() {
    // `ar r` adds to the archive that is there: the placeholder of one that could not be made is none.
    let makefile = "all: lib.a prog\nbad.o: bad.c\n\t$(CC) -c bad.c\nlib.a: bad.o\n\tar rcs $@ $^\n\
                    prog: main.c lib.a\n\t$(CC) -o $@ main.c lib.a\n";
    let space = TestSpace::with(&[
        ("Makefile", makefile),
        ("bad.c", BAD),
        ("main.c", "int good(void);\nint main(void) { return good(); }\n"),
    ]);
    space.ggtrace(&["make"]).ok();
    space.ggforce(&[]).fails().says("error: expected");
    assert!(space.is_placeholder("lib.a"));
    std::thread::sleep(std::time::Duration::from_millis(20));
    space.write("bad.c", BAD.replace("0 }", "0; }"));
    space.ggtrace(&["make"]).ok();
    space.force_all();
    space.run(&["./prog"]).ok();
    assert_eq!(space.sh("ar t lib.a").ok().out(), "bad.o\n");
    space.run(&["make", "-q"]).ok();
    // Where nothing failed, nothing is cleared.
    let marks = std::fs::read_dir(space.store().join("failed")).expect("it was made").count();
    assert_eq!(marks, 0);
}

#[test]
fn keep_going_builds_all_that_does_not_need_what_failed() {
    let space = project();
    space.ggtrace(&["make", "-j4"]).ok();
    let failed = space.ggforce(&["-k"]).fails().says("error: expected");
    assert_eq!(Forced::of(&failed).failed, 1, "{failed}");
    assert_eq!(space.run(&["./one"]).ok().out(), "one\n");
    assert_eq!(space.run(&["./two"]).ok().out(), "two\n");
}

#[test]
fn a_link_that_lacks_a_symbol_fails_with_the_linker_s_words() {
    let space = TestSpace::with(&[("main.c", "int missing(void);\nint main(void) { return missing(); }\n")]);
    space.ggtrace_sh("gcc -c main.c; gcc -o prog main.o").ok();
    space.ggforce(&[]).fails().says("undefined reference to `missing'");
    assert!(!space.read("prog").starts_with(b"\x7fELF"));
    // The object that the link needed is there all the same.
    assert!(space.read("main.o").starts_with(b"\x7fELF"));
}

#[test]
fn a_warning_is_shown_when_forced_and_again_from_its_reduction() {
    let space = TestSpace::with(&[("w.c", "int f(void) { int unused; return 0; }\n")]);
    for round in ["cold", "warm"] {
        space.ggtrace(&["gcc", "-Wall", "-c", "w.c"]).ok();
        let forced = space.ggforce(&[]).ok();
        let told = forced.err().lines().filter(|l| l.contains("unused variable")).count();
        assert_eq!(told, 1, "{round}:\n{forced}\n{}", space.gg(&["show"]));
        std::fs::remove_file(space.path("w.o")).expect("it was forced");
    }
}

#[test]
fn a_command_that_cannot_work_fails_where_it_stands() {
    // A compiler that lacks its input, or an option's argument, says so while the build runs: make must stop there.
    for script in [
        "gcc -c nowhere.c",
        "gcc",
        "gcc -c a.c -o",
        "gcc -c a.c -o no/such/folder/a.o",
        "ar rcs lib.a nowhere.o",
    ] {
        let space = TestSpace::with(&[("a.c", "int a;\n")]);
        let plain = space.sh(script);
        let recorded = space.ggtrace_sh(script);
        assert_eq!(
            (recorded.code(), recorded.err()),
            (plain.code(), plain.err()),
            "{script}:\n{plain}\n{recorded}"
        );
        assert_ne!(recorded.code(), 0, "{script}");
    }
}

#[test]
fn a_missing_header_fails_with_the_compiler_s_words() {
    let space = TestSpace::with(&[("a.c", "#include \"nowhere.h\"\nint a;\n")]);
    let recorded = space.ggtrace(&["gcc", "-c", "a.c"]);
    // Whoever says it, recorder or engine: it is said, and nobody takes it for success.
    let said = if recorded.code() == 0 { space.ggforce(&[]).fails() } else { recorded };
    assert!(said.err().contains("nowhere.h: No such file or directory"), "{said}");
}

#[test]
fn a_directory_of_headers_that_cannot_be_searched_is_the_compiler_s_to_complain_of() {
    let space = TestSpace::with(&[("a.c", "int a;\n")]);
    space.sh("ln -s two one; ln -s one two").ok();
    for option in ["-Ione", "-isystem one", "-iquote one", "-Ione/below"] {
        let script = format!("gcc {option} -c a.c");
        let plain = space.sh(&script);
        let recorded = space.ggtrace_sh(&script);
        assert_ne!(plain.code(), 0);
        assert_eq!((recorded.code(), recorded.err()), (plain.code(), plain.err()), "{option}");
    }
}
