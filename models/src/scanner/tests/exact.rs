// SPDX-License-Identifier: Apache-2.0
//! Names that macros put together: where all branches are not enough, the command is preprocessed.

use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::scanner::Why;
use crate::{Answer, Question};

/// A file system in memory with a compiler that has these macros built in, and answers these tests.
struct With<'a> {
    fake: &'a Fake,
    macros: &'a str,
    answers: &'a [(&'a str, i64)],
    asked: AtomicU64,
}

impl Files for With<'_> {
    fn look(&self, path: &Path, follow: bool) -> Option<(Kind, Stamp)> {
        self.fake.look(path, follow)
    }

    fn read(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
        self.fake.read(path)
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.fake.names(path)
    }

    fn ask(&self, question: &Question) -> io::Result<Arc<Answer>> {
        self.asked.fetch_add(1, SeqCst);
        let text = String::from_utf8(question.input.clone()).unwrap();
        let mut stdout =
            if question.argv.contains(&"-dM".into()) { self.macros.to_owned() } else { String::new() };
        for part in text.split("__gg_answer__ ").skip(1) {
            let (number, test) = part.split_once('\n').unwrap();
            let name = test.strip_prefix("#ifdef ").and_then(|test| test.lines().next());
            let known = |name: &str| self.answers.iter().any(|(test, _)| test.starts_with(name));
            let answer = match name {
                Some(name) => i64::from(name.starts_with("__has_include") || known(name)),
                None => self.answers.iter().find(|(known, _)| *known == test.trim()).unwrap().1,
            };
            stdout.push_str(&format!("__gg_answer__ {number}\n{answer}\n"));
        }
        Ok(Arc::new(Answer { code: 0, stdout: stdout.into_bytes(), stderr: vec![] }))
    }
}

fn with_front(search: IncludeSearch) -> IncludeSearch {
    IncludeSearch { front: Some(Question::default()), ..search }
}

fn scan_with(with: &With<'_>, search: &IncludeSearch) -> Result<Vec<String>, Unsure> {
    let scanner = Scanner::default();
    let closure = scanner.scan(search, Path::new("/w"), with, scanner.now())?;
    let mut all = names(&closure);
    all.sort();
    Ok(all)
}

fn preprocessed(
    files: &[(&str, &str)],
    macros: &str,
    answers: &[(&str, i64)],
) -> Result<Vec<String>, Unsure> {
    let fake = Fake::with(files);
    let with = With { fake: &fake, macros, answers, asked: AtomicU64::new(0) };
    scan_with(&with, &with_front(search(&["/i", "/j"])))
}

/// What a source includes beside itself, and `ok.h`, which all have.
fn includes(text: &str) -> Result<Vec<String>, Unsure> {
    let files = [("/w/a.c", text), ("/w/ok.h", ""), ("/i/x.h", ""), ("/i/d/y.h", ""), ("/w/no.h", "")];
    let all = preprocessed(&files, "#define __DIR__ d\n#define __STDC__ 1\n", &[])?;
    Ok(all.into_iter().filter(|name| name != "/w/a.c").collect())
}

#[test]
fn names_are_put_together_by_macros_with_parameters() {
    for (text, expected) in [
        ("#define STR(x) #x\n#include STR(ok.h)\n", "/w/ok.h"),
        ("#define F(x) <x.h>\n#define G F(x)\n#include G\n", "/i/x.h"),
        ("#define H <__DIR__/y.h>\n#include H\n", "/i/d/y.h"),
        ("#define CAT(a, b) a ## b\n#define AB \"ok.h\"\n#include CAT(A, B)\n", "/w/ok.h"),
        ("#define S(x) S2(x)\n#define S2(x) #x\n#define N ok.h\n#include S(N)\n", "/w/ok.h"),
        (
            "#define AT(i, n, t) AT_ ## i t\n#define AT_1(a, b) b\n#include AT(1, 2, (\"no\", \"ok.h\"))\n",
            "/w/ok.h",
        ),
        (
            "#define V(...) V2(__VA_ARGS__)\n#define V2(a, b, ...) <b/__VA_ARGS__>\n#include V(1,d,y.h)\n",
            "/i/d/y.h",
        ),
        (
            "#define f(x) x f\n#define Q(x) W(x)\n#define W(x) #x\n#define ok(x) f(x)\n#include Q(ok.h)\n",
            "/w/ok.h",
        ),
        ("#define E\n#define O(x) E x\n#include O(\"ok.h\")\n", "/w/ok.h"),
    ] {
        assert_eq!(includes(text).unwrap(), [expected], "{text}");
    }
}

#[test]
fn conditions_decide_which_pieces_fit() {
    let text = "#define STR(x) #x\n#if 0\n#define N no.h\n#elif defined(__DIR__) && !defined NOTHING && __STDC__ == 1\n\
        #define N ok.h\n#else\n#define N no.h\n#endif\n#ifndef N\n#else\n#undef M\n#endif\n\
        #define S(x) STR(x)\n#include S(N)\n#ifdef NOTHING\n#include S(no.h)\n#endif\n";
    assert_eq!(includes(text).unwrap(), ["/w/ok.h"]);
    let text = "#define S(x) S2(x)\n#define S2(x) #x\n#define N ok.h\n#pragma push_macro(\"N\")\n#undef N\n\
        #define N no.h\n#pragma pop_macro(\"N\")\n#include S(N)\n";
    assert_eq!(includes(text).unwrap(), ["/w/ok.h"]);
}

#[test]
fn a_file_includes_itself_with_other_macros() {
    // As Boost.Preprocessor iterates.
    let files = [
        ("/w/a.c", "#define N 0\n#include \"i.h\"\n"),
        (
            "/w/i.h",
            "#define S(x) S2(x)\n#define S2(x) #x\n#define C(a, b) a ## b\n#define X(a, b) C(a, b)\n\
             #if N == 0\n#undef N\n#define N 1\n#include S(X(part, N).h)\n#include S(i.h)\n\
             #elif N == 1\n#undef N\n#define N 2\n#include S(X(part, N).h)\n#endif\n",
        ),
        ("/w/part1.h", ""),
        ("/w/part2.h", "#pragma once\n#include STRANGE\n#if 0\n"),
        ("/w/part3.h", ""),
    ];
    let found = preprocessed(&files[..3], "", &[]);
    assert!(found.unwrap_err().lost.unwrap().contains("not there"), "part2.h is wanted");
    let found =
        preprocessed(&[&files[..3], &[("/w/part2.h", "#pragma once\n")], &files[4..]].concat(), "", &[]);
    assert_eq!(found.unwrap(), ["/w/a.c", "/w/i.h", "/w/part1.h", "/w/part2.h"]);
}

#[test]
fn what_was_looked_for_in_vain_is_looked_for_again() {
    let text =
        "#define STR(x) #x\n#include STR(x.h)\n#if __has_include(STR(y.h))\n#include STR(z.h)\n#endif\n";
    let fake = Fake::with(&[("/w/a.c", text), ("/i/other.h", ""), ("/j/x.h", ""), ("/j/z.h", "")]);
    let with = With { fake: &fake, macros: "", answers: &[], asked: AtomicU64::new(0) };
    let scanner = Scanner::default();
    let search = with_front(search(&["/i", "/j"]));
    let scan = || {
        let closure = scanner.scan(&search, Path::new("/w"), &with, scanner.now()).unwrap();
        let mut all = names(&closure);
        all.sort();
        all
    };
    assert_eq!(scan(), ["/j/x.h", "/w/a.c"]);
    fake.write("/i/x.h", "");
    assert_eq!(scan(), ["/i/x.h", "/w/a.c"]);
    fake.write("/w/y.h", "");
    assert_eq!(scan(), ["/i/x.h", "/j/z.h", "/w/a.c", "/w/y.h"]);
    fake.remove("/i/x.h");
    fake.write("/j/x.h", "#undef STR\n#define STR(x) <x.h>\n");
    // Whatever is asked for now, it is that header.
    assert_eq!(scan(), ["/j/x.h", "/w/a.c"]);
}

#[test]
fn what_is_imported_is_read_once() {
    let files = [
        (
            "/w/a.c",
            "#include \"b.h\"\n#import \"b.h\"\n#define STR(x) #x\n#include STR(N.h)\n#include S(N)\n",
        ),
        (
            "/w/b.h",
            "#ifndef S\n#define S(x) S2(x)\n#define S2(x) #x\n#define N c.h\n#else\n#undef N\n#define N d.h\n#endif\n",
        ),
        ("/w/N.h", ""),
        ("/w/c.h", ""),
        ("/w/d.h", ""),
    ];
    assert_eq!(preprocessed(&files, "", &[]).unwrap(), ["/w/N.h", "/w/a.c", "/w/b.h", "/w/c.h"]);
}

#[test]
fn what_a_computed_header_includes_counts_with_all_branches() {
    let files = [
        ("/w/a.c", "#define STR(x) #x\n#include STR(b.h)\n"),
        ("/w/b.h", "#ifdef NEVER\n#include <c.h>\n#endif\n"),
        ("/i/c.h", "#include_next <c.h>\n"),
        ("/j/c.h", ""),
    ];
    let all = preprocessed(&files, "", &[]).unwrap();
    assert_eq!(all, ["/i/c.h", "/j/c.h", "/w/a.c", "/w/b.h"]);
}

#[test]
fn the_compiler_is_asked_for_what_it_has_built_in() {
    let text = "#define STR(x) #x\n#if __has_builtin(__builtin_x) && __has_attribute(y) >= 7 && defined __has_feature\n\
        #include STR(ok.h)\n#else\n#include STR(no.h)\n#endif\n#ifdef __has_nothing\n#include STR(no.h)\n#endif\n\
        #if __has_include(STR(ok.h)) && !__has_include(<missing.h>)\n#include STR(x.h)\n#endif\n";
    let files = [("/w/a.c", text), ("/w/ok.h", ""), ("/w/no.h", ""), ("/w/x.h", "")];
    let answers = [("__has_builtin( __builtin_x)", 1), ("__has_attribute( y)", 7), ("__has_feature( z)", 1)];
    let fake = Fake::with(&files);
    let with = With { fake: &fake, macros: "", answers: &answers, asked: AtomicU64::new(0) };
    let scanner = Scanner::default();
    let search = with_front(search(&["/i"]));
    let scan = || scanner.scan(&search, Path::new("/w"), &with, scanner.now()).map(|closure| names(&closure));
    let mut first = scan().unwrap();
    assert_eq!(scan().unwrap(), first);
    first.sort();
    assert_eq!(first, ["/w/a.c", "/w/ok.h", "/w/x.h"]);
    // Its macros in each scan, which it remembers; its answers once.
    assert!(with.asked.load(SeqCst) <= 5, "{}", with.asked.load(SeqCst));
}

#[test]
fn what_is_uncertain_is_for_the_compiler() {
    for (line, lost) in [
        ("#if __COUNTER__\n#endif", "a macro of the place"),
        ("#include STR(a b.h)", "blanks"),
        ("#include STR(missing.h)", "not there"),
        ("#if __has_include\n#endif", "a test without an argument"),
        ("_Pragma(\"once\")", "a pragma operator"),
        ("#define P(x) _Pragma(#x)\nP(push_macro(\"STR\"))", "a pragma operator"),
        ("#if 1 // ??/\n#endif", "trigraphs"),
        ("#if 1 ??!??! 0\n#endif", "trigraphs"),
        ("#define V(x, ...) __VA_OPT__(x)\n#if V(1)\n#endif", "__VA_OPT__"),
        ("#if 1.5\n#endif", "a number"),
        ("#if (\n#endif", "a condition"),
        ("#ifdef NO\n#elifdef NO\n#endif", "#elifdef"),
        ("#define __has_include(x) 0", "another meaning"),
        ("#include \"a.c\"", "without end"),
        ("#define P(a, b) a ## b\n#if P(+, 1)\n#endif", "pasted"),
    ] {
        let unsure = includes(&format!("#define STR(x) #x\n#include STR(ok.h)\n{line}\n")).unwrap_err();
        assert_eq!(unsure.why, Why::ComputedName, "{line}");
        assert!(unsure.lost.is_some_and(|reason| reason.contains(lost)), "{line}: {:?}", unsure.lost);
        assert!(unsure.to_string().contains(lost));
    }
    // Nobody can be asked.
    let text = "#define STR(x) #x\n#include STR(ok.h)\n";
    assert!(scan(&Fake::with(&[("/w/a.c", text)]), &search(&[])).is_err());
}

#[test]
fn work_has_an_end() {
    let mut text = String::from("#define STR(x) #x\n#include STR(ok.h)\n#define A0(x) x x\n");
    for n in 1..64 {
        text.push_str(&format!("#define A{n}(x) A{0}(x) A{0}(x)\n", n - 1));
    }
    text.push_str("#if A63(1)\n#endif\n");
    assert_eq!(includes(&text).unwrap_err().lost, Some("a preprocessor that does not end"));
}

/// Header names as the parts of a small language of macros may compute them.
fn programs() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b",
        "F(a)",
        "F(b)",
        "G(a,b)",
        "G(F(a),)",
        "C(a,b)",
        "C(F,(b))",
        "H",
        "I",
        "V(a)",
        "V(a,b)",
        "N",
        "E",
        "defined(a)",
        "1",
        "F",
        "(a)",
        "S(a)",
    ]);
    let name = prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat());
    let define = (
        prop::sample::select(vec!["a", "b", "H", "I", "N", "E"]),
        prop::sample::select(vec!["", "a", "b", "F", "F(b)", "I", "H a", "C(a,", "1", "x.h", "E N"]),
    );
    let line = prop_oneof![
        define.prop_map(|(name, body)| format!("#define {name} {body}")),
        prop::sample::select(vec!["a", "b", "H", "I", "N"]).prop_map(|name| format!("#undef {name}")),
        name.clone().prop_map(|name| format!("#if {name}\n#define N 1\n#elif !N\n#define E 2\n#endif")),
        name.clone().prop_map(|name| format!("#include T({name}.h)")),
        name.prop_map(|name| format!("#include T(z{name}.h)")),
    ];
    prop::collection::vec(line, 1..12).prop_map(|lines| lines.join("\n"))
}

/// Whatever macros and conditions do: if preprocessing gives an answer, it is gcc's. gcc says which header it looks for, found or not.
#[test]
fn random_macros_mean_what_they_do_for_gcc() {
    if Command::new("gcc").arg("--version").output().is_err() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let prelude = "#define F(x) x\n#define G(x, y) x ## y\n#define C(x, y) F(x y)\n#define V(x, ...) x , ## __VA_ARGS__\n\
        #define S(x) #x\n#define T(...) T2(__VA_ARGS__)\n#define T2(...) #__VA_ARGS__\n";
    let asking = crate::testing::Disk::default();
    let answered = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(100));
    let result = runner.run(&programs(), |program| {
        let source = dir.path().join("a.c");
        std::fs::write(&source, format!("{prelude}{program}\n")).unwrap();
        let arguments = ["-E", "-M", "-MG", "-w", "-nostdinc", "a.c"];
        let output = Command::new("gcc").args(arguments).current_dir(dir.path()).output().unwrap();
        prop_assume!(output.status.success() && !output.stdout.windows(2).any(|pair| pair == b"\\ "));
        let text = String::from_utf8(output.stdout).unwrap().replace("\\\n", " ");
        let wanted: Vec<_> =
            text.split_once(": ").unwrap().1.split_whitespace().skip(1).map(str::to_owned).collect();
        for name in &wanted {
            prop_assume!(!name.contains('/'));
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let front = Question {
            program: "/usr/bin/gcc".into(),
            argv: ["gcc", "-w", "-nostdinc", "-x", "c"].map(OsString::from).to_vec(),
            env: vec![],
            input: vec![],
        };
        let search = IncludeSearch { sources: vec![source], front: Some(front), ..IncludeSearch::default() };
        let scanner = Scanner::default();
        let result = scanner.scan(&search, dir.path(), &asking, scanner.now());
        let lost = result.as_ref().err().and_then(|unsure| unsure.lost);
        prop_assert!(lost != Some("a header that is not there"), "{program}\nreads {wanted:?}");
        for name in &wanted {
            if let Ok(closure) = &result {
                let is_there = closure.files().any(|file| file.path.ends_with(name));
                prop_assert!(is_there, "{program}\nreads {name}, not only {:?}", names(closure));
            }
            let _ = std::fs::remove_file(dir.path().join(name));
        }
        answered.set(answered.get() + usize::from(result.is_ok() && !wanted.is_empty()));
        Ok(())
    });
    result.unwrap();
    assert!(answered.get() > 5, "{}", answered.get());
}

#[test]
fn include_next_from_a_file_beside_its_includer_begins_with_the_first_directory() {
    let name = "#define S(x) T(x)\n#define T(x) #x\n#include S(PIECE.h)\n";
    let files = [
        ("/w/a.c", &*format!("#include \"p.h\"\n{name}")),
        ("/w/p.h", "#ifndef P\n#define P\n#include_next <p.h>\n#else\n#define PIECE right\n#endif\n"),
        ("/j/p.h", "#define PIECE wrong\n"),
        ("/w/right.h", ""),
        ("/w/wrong.h", ""),
    ];
    let fake = Fake::with(&files);
    let with = With { fake: &fake, macros: "#define __STDC__ 1\n", answers: &[], asked: AtomicU64::new(0) };
    let all = scan_with(&with, &with_front(search(&["/w", "/j"]))).unwrap();
    assert!(all.contains(&"/w/right.h".to_owned()), "{all:?}");
}

#[test]
fn names_that_double_end() {
    let mut text = String::from("#define D0(x) x##x\n");
    (1..30).for_each(|n| text.push_str(&format!("#define D{n}(x) D{}(x##x)\n", n - 1)));
    text.push_str("#define S(x) #x\n#define T(x) S(x)\n#include T(D29(abc).h)\n");
    assert!(includes(&text).is_err());
}
