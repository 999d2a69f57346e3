// SPDX-License-Identifier: Apache-2.0
//! `gg` with the verbs of the original.

use tests::{Forced, Shown, TestSpace};

use crate::calculator::{DEFERRED, calculator};

#[test]
fn infer_and_force_are_ggtrace_and_ggforce() {
    let space = calculator();
    space.gg(&["infer", "make", "-j2"]).ok();
    assert_eq!(space.shown().deferred, DEFERRED);
    let forced = Forced::of(&space.gg(&["force", "calc"]).ok());
    assert_eq!(forced.run, DEFERRED);
    assert_eq!(space.run(&["./calc"]).ok().out(), "42\n");
}

#[test]
fn infer_and_force_hand_the_exit_code_on() {
    let space = TestSpace::with(&[("bad.c", "int bad\n")]);
    assert_eq!(space.gg(&["infer", "sh", "-c", "exit 7"]).code(), 7);
    space.gg(&["infer", "gcc", "-c", "bad.c"]).ok();
    space.gg(&["force", "bad.o"]).fails().says("bad.c:1:");
}

#[test]
fn init_makes_a_store_that_is_found_from_below() {
    let mut space = calculator();
    space.set("GG_DIR", "");
    space.gg(&["init"]).ok();
    assert!(space.path(".gg").is_dir());
    space.ggtrace(&["make"]).ok();
    space.force_all();
    assert!(!space.outside().join("home/.cache/gg/blobs").exists(), "the default store was used");
    assert_eq!(space.run(&["./calc"]).ok().out(), "42\n");
}

#[test]
fn hash_gives_the_object_s_name() {
    let space = TestSpace::with(&[("empty", ""), ("abc", "abc")]);
    // SHA-256 of nothing and of "abc", in base64url with '.' for '-', and the size.
    assert_eq!(
        space.gg(&["hash", "empty"]).ok().out().trim(),
        "V47DEQpj8HBSa._TImW.5JCeuQeRkm5NMpJWZG3hSuFU00000000"
    );
    assert_eq!(
        space.gg(&["hash", "abc"]).ok().out().trim(),
        "VungWv48Bz.pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa000000003"
    );
}

#[test]
fn describe_shows_a_thunk_by_placeholder_and_by_name() {
    let space = TestSpace::with(&[("a.c", "int a;\n")]);
    space.ggtrace(&["gcc", "-O2", "-DNAME=1", "-c", "a.c"]).ok();
    let described = space.gg(&["describe", "a.o"]).ok().out();
    for part in ["-DNAME=1", "a.c", "a.o", "gcc"] {
        assert!(described.contains(part), "{part} is not in\n{described}");
    }
    let placeholder = thunk::Placeholder::read(&space.path("a.o")).expect("readable").expect("a placeholder");
    let by_name = space.gg(&["describe", &placeholder.output.thunk.to_string()]).ok().out();
    assert!(by_name.contains("-DNAME=1"), "{by_name}");
}

#[test]
fn show_needs_tells_what_other_machines_have_to_be_given() {
    let space = TestSpace::with(&[("a.c", "int a;\n"), ("b.c", "int bb;\n")]);
    let needs = |options: &[&str]| -> Vec<(String, u64, u64)> {
        let out = space.gg(&[&["show", "--needs"], options].concat()).ok().out();
        let number = |word: &str| word.parse().expect("a number");
        let rows = out.lines().skip(1).map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let what = words.iter().skip(2).filter(|word| word.parse::<u64>().is_err());
            (what.copied().collect::<Vec<_>>().join(" "), number(words[0]), number(words[1]))
        });
        rows.collect()
    };
    space.ggtrace(&["-o", "first.trace", "gcc", "-c", "a.c"]).ok();
    let first = needs(&[]);
    assert_eq!((first[0].0.as_str(), first[0].1), ("thunks", 1));
    let all = &first[4];
    assert_eq!((all.0.as_str(), all.1), ("all", first[..4].iter().map(|row| row.1).sum()));
    assert!(all.2 > 1 << 20, "a compiler is large: {first:?}");
    space.force_all();
    // What was computed there is there: the object need not be brought.
    space.ggtrace_sh("gcc -c b.c && ar rc l.a a.o b.o").ok();
    let second = needs(&["--beside", "first.trace"]);
    assert_eq!((second[0].0.as_str(), second[0].1), ("thunks", 2));
    assert_eq!((second[3].0.as_str(), second[3].1, second[3].2), ("other files", 1, 8), "b.c: {second:?}");
}

#[test]
fn a_store_that_is_gone_is_not_made_again_by_looking_for_it() {
    let space = TestSpace::with(&[("a.c", "int main(void) { return 0; }\n")]);
    space.ggtrace(&["gcc", "-o", "prog", "a.c"]).ok();
    std::fs::rename(space.store(), space.outside().join("elsewhere")).expect("our store");
    space.gg(&["describe", "prog"]).fails().says("there is no store here any more");
    space.run(&["./prog"]).fails().says("there is no store here any more");
    assert!(!space.store().exists());
}

#[test]
fn a_placeholder_without_a_directory_is_no_program_on_path() {
    let space =
        TestSpace::with(&[("a.c", "#include <stdio.h>\nint main(void) { puts(\"mine\"); return 3; }\n")]);
    space.ggtrace(&["gcc", "-o", "true", "a.c"]).ok();
    assert!(space.is_placeholder("true"));
    for _ in ["placeholder", "program"] {
        let ran = space.gg(&["force-and-run", "true"]);
        assert_eq!((ran.code(), ran.out().as_str()), (3, "mine\n"), "{ran}");
    }
}

#[test]
fn show_counts_and_explains() {
    let space = TestSpace::with(&[("a.c", "int a;\n")]);
    space.ggtrace_sh("gcc -c a.c; gcc --version > version; true; gcc -E a.c; cat version > /dev/null").ok();
    let shown = space.gg(&["show"]).ok();
    assert_eq!(Shown::of(&shown).deferred, 1, "{shown}");
    let json = space.gg(&["show", "--json"]).ok().out();
    assert!(
        json.trim_start().starts_with('{')
            && json.contains("\"deferred\":1")
            && json.contains("\"commands\":["),
        "{json}"
    );
    // Each command that a model declined has its reason there.
    let declined = Shown::of(&shown).declined;
    assert!(declined >= 1, "output to standard output is not deferred: {shown}");
}

#[test]
fn show_tells_why_a_file_is_what_it_is() {
    let space = calculator();
    space.ggtrace(&["make"]).ok();
    let why = |path: &str| space.gg(&["show", "--why", path]).ok().out();
    let archive = why("libcalc.a");
    for part in [
        "libcalc.a\n",
        "made by command",
        "rcs libcalc.a add.o mul.o",
        "deferred",
        "add.o (command",
        "reads it",
    ] {
        assert!(archive.contains(part), "{part:?} is not in\n{archive}");
    }
    let header = why("include/calc.h");
    assert!(header.contains("made by no command") && header.contains("-c -o add.o add.c"), "{header}");
    space.gg(&["show", "--why", "never"]).fails().says("never: the build recorded in");
}

#[test]
fn a_graph_has_what_a_target_needs() {
    let space = calculator();
    space.ggtrace(&["make"]).ok();
    let graph = space.gg(&["graph", "libcalc.a"]).ok().out();
    assert!(graph.starts_with("digraph build {\n") && graph.ends_with("}\n"), "{graph}");
    assert!(graph.contains("[label=\"add.c\"]") && graph.contains("[label=\"include/calc.h\"]"), "{graph}");
    assert!(!graph.contains("main.o"), "{graph}");
    assert!(space.gg(&["graph"]).ok().out().contains("[label=\"calc\"]"));
    space.gg(&["graph", "main.c"]).fails().says("main.c: no command of this build made it");
}

/// Whatever becomes of the compiles.
#[test]
fn a_compilation_database_is_exported() {
    for options in [&[][..], &["--run"]] {
        let space = calculator();
        space.ggtrace(&[options, &["make"]].concat()).ok();
        space.gg(&["export", "compile-commands"]).ok();
        let text = String::from_utf8(space.read("compile_commands.json")).expect("it is JSON");
        assert_eq!(text.matches("\"directory\"").count(), 4, "{options:?} {text}");
        let file = format!("\"file\": \"{}\"", space.path("add.c").display());
        let output = format!("\"output\": \"{}\"", space.path("add.o").display());
        assert!(text.contains(&file) && text.contains(&output), "{text}");
        let printed = space.gg(&["export", "compile-commands", "-o", "-"]).ok().out();
        assert_eq!(printed, text);
    }
}

#[test]
fn help_and_mistakes() {
    let space = TestSpace::new();
    for program in ["ggtrace", "ggforce", "gg"] {
        let help = space.program_reads(program, &["--help"], b"").ok();
        assert!(help.out().contains("Usage"), "{help}");
        let version = space.program_reads(program, &["--version"], b"").ok();
        assert!(version.out().contains(env!("CARGO_PKG_VERSION")), "{version}");
        space.program_reads(program, &["--no-such-option"], b"").fails().says("--no-such-option");
    }
    space.gg(&["no-such-verb"]).fails();
    space.program_reads::<&str>("ggtrace", &[], b"").fails();
}
