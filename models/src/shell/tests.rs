// SPDX-License-Identifier: Apache-2.0
//! What is taken for what a shell does, against shells that do it.

use std::process::Command;

use proptest::prelude::*;

use super::*;

fn run<const N: usize>(argv: [&str; N]) -> Step {
    Step::Run { variables: Vec::new(), argv: argv.map(OsString::from).to_vec() }
}

fn print(text: &str) -> Step {
    Step::Print(text.into())
}

#[test]
fn what_build_drivers_have_a_shell_do_is_understood() {
    let of = |script: &str| parse(script.as_bytes());
    assert_eq!(
        of("printf \"CC\\t%s\\n\" libavutil/aes.o; gcc -DX=\\\"a\\ b\\\" -c -o libavutil/aes.o aes.c"),
        Some(vec![
            print("CC\tlibavutil/aes.o\n"),
            run(["gcc", "-DX=\"a b\"", "-c", "-o", "libavutil/aes.o", "aes.c"])
        ])
    );
    assert_eq!(
        of("cd /b/lib && /usr/bin/cc -D'A=\"1\"' -o a.c.o -c /s/a.c"),
        Some(vec![
            Step::Enter("/b/lib".into()),
            run(["/usr/bin/cc", "-DA=\"1\"", "-o", "a.c.o", "-c", "/s/a.c"])
        ])
    );
    assert_eq!(
        of("echo '  CC  ' a.o;\n gcc \\\n  -c a.c\n"),
        Some(vec![print("  CC   a.o\n"), run(["gcc", "-c", "a.c"])])
    );
    assert_eq!(of(": && ar qc x.a a.o && :"), Some(vec![run(["ar", "qc", "x.a", "a.o"])]));
    let variables = vec![("LC_ALL".into(), "C".into()), ("A".into(), String::new().into())];
    let argv = vec!["gcc".into(), "-c".into(), "B=c".into()];
    assert_eq!(of("LC_ALL=C A= gcc -c B=c"), Some(vec![Step::Run { variables, argv }]));
    assert_eq!(of(""), Some(vec![]));
    assert_eq!(
        of("printf '%s-' a b c; printf '%s%s|' a b c; :"),
        Some(vec![print("a-b-c-"), print("ab|c|")])
    );
}

#[test]
fn what_takes_a_shell_is_left_to_it() {
    for script in [
        "gcc -c a.c || exit 1",
        "gcc -c a.c | cat",
        "gcc -c a.c > log",
        "gcc -c a.c 2>&1",
        "gcc -c $x.c",
        "gcc -c \"$x.c\"",
        "gcc -c `echo a.c`",
        "gcc -c *.c",
        "gcc -c [ab].c",
        "gcc -c {a,b}.c",
        "gcc -I~/include -c a.c",
        "(gcc -c a.c)",
        "{ gcc -c a.c; }",
        "if gcc -c a.c; then :; fi",
        "! gcc -c a.c",
        "gcc -c a.c &",
        "gcc -c a.c; ; echo",
        "gcc -c a.c &&",
        "gcc -c a.c # comment",
        "gcc -c 'a.c",
        "gcc -c \"a.c",
        "gcc -c a.c\\",
        "; gcc",
        // What fails to be printed counts.
        "echo x && gcc -c a.c",
        "gcc -c a.c; echo x",
        "gcc -c a.c; echo x;",
        "a=b",
        "a=b; gcc",
        "set -x; gcc -c a.c",
        "test -d x; gcc -c a.c",
        "exec gcc -c a.c",
        "echo -n x; gcc -c a.c",
        "echo 'a\\tb'; gcc -c a.c",
        "printf '%d' 1; gcc -c a.c",
        "cd; gcc -c a.c",
        "cd -; gcc -c a.c",
        "A=b cd x; gcc -c a.c",
        "gcc -c \u{e4}.c",
        "gcc -c a.c\r\n",
    ] {
        assert_eq!(parse(script.as_bytes()), None, "{script}");
    }
    let of = |argv: &[&str]| steps(&argv.iter().map(OsString::from).collect::<Vec<_>>());
    assert!(of(&["sh", "-c", "gcc"]).is_some() && of(&["sh", "-ec", "gcc"]).is_some());
    for argv in [&["sh", "-xc", "gcc"][..], &["sh", "-c"], &["sh", "gcc"], &["sh", "-c", "gcc", "gcc"]] {
        assert_eq!(of(argv), None, "{argv:?}");
    }
}

/// What the steps print, if every program is `printf` as coreutils has it.
fn printed(steps: &[Step]) -> Vec<u8> {
    let mut all = Vec::new();
    for step in steps {
        match step {
            Step::Print(text) => all.extend_from_slice(text),
            Step::Enter(_) => {}
            Step::Run { argv, .. } => {
                let arguments = argv[2..].iter().map(|argument| argument.as_encoded_bytes());
                let shown = arguments.map(|argument| [b"<", argument, b">"].concat()).collect::<Vec<_>>();
                all.extend(if shown.is_empty() { b"<>".to_vec() } else { shown.concat() });
            }
        }
    }
    all
}

/// Words as people write them, and as nobody does.
fn word() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "a",
        "-n",
        "%s",
        "%%",
        "\\\\",
        "\\\"",
        "\\ ",
        "'x y'",
        "'\\n'",
        "\"x y\"",
        "\"\\t\"",
        "\"a\\\\b\"",
        "''",
        "=",
        "a=b",
        "#",
        "]",
        "^",
        "@",
        ":",
        ",",
        "}",
        "\\\n",
        "'\n'",
        "~",
        "!",
        "$",
        "{",
        "*",
    ]);
    proptest::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat())
}

fn command() -> impl Strategy<Value = String> {
    let start = proptest::sample::select(vec![
        "/usr/bin/printf '<%s>'",
        "/usr/bin/printf '<%s>'",
        "A=b /usr/bin/printf '<%s>'",
        "echo",
        "printf",
        "cd /",
        ":",
        "true",
        "cd",
    ]);
    let words = proptest::collection::vec(word(), 0..4);
    (start, words).prop_map(|(start, words)| [vec![start.to_owned()], words].concat().join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_global_rejects: 6000, ..ProptestConfig::default() })]
    #[test]
    fn shells_do_what_they_are_taken_to_do(
        commands in proptest::collection::vec((command(), proptest::sample::select(vec![";", "; ", " && ", "&&\n", "\n", "\n\n"])), 1..4),
        end in command(),
    ) {
        let mut script = String::new();
        commands.iter().for_each(|(command, separator)| script += &format!("{command}{separator}"));
        script += &end;
        let steps = parse(script.as_bytes());
        // One in twelve is understood; with less than one in twenty it fails.
        prop_assume!(steps.is_some());
        let steps = steps.unwrap();
        let known = |step: &Step| match step {
            Step::Enter(to) => to == "/",
            _ => true,
        };
        prop_assume!(steps.iter().all(known));
        for shell in ["dash", "bash"] {
            let output = Command::new(shell).arg("-c").arg(&script).env_remove("BASH_ENV").output().unwrap();
            prop_assert!(output.stderr.is_empty() && output.status.success(), "{shell}: {output:?}");
            prop_assert_eq!(printed(&steps), output.stdout, "{}: {}", shell, &script);
        }
    }
}
