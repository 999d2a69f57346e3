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
    assert_eq!(of("printf '%s-' a b c; printf '%s%s|' a b c"), Some(vec![print("a-b-c-"), print("ab|c|")]));
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn shells_do_what_they_are_taken_to_do(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "/usr/bin/printf '<%s>' ", "echo ", "printf ", "cd /", ":", "true ", "A=b ", "a", "-n", "%s", "\\n", "\\t", "\\", "\\\n", "'", "'", "\"",
            "\"", " ", " ", "\t", "\n", ";", "; ", " && ", "&&\n", "=", "~", "#", " #", "!", "%", "%%", "$", "{", "}", ",", "]", "^", "@", ":", "-", "\\\\", "\\\"", "x y",
        ]), 0..14),
    ) {
        let script = pieces.concat();
        let Some(steps) = parse(script.as_bytes()) else { return Ok(()) };
        let known = |step: &Step| match step {
            Step::Run { argv, .. } => argv[0] == "/usr/bin/printf" && argv.get(1).is_some_and(|format| format == "<%s>"),
            Step::Enter(to) => to == "/",
            Step::Print(_) => true,
        };
        if !steps.iter().all(known) {
            return Ok(());
        }
        for shell in ["dash", "bash"] {
            let output = Command::new(shell).arg("-c").arg(&script).env_remove("BASH_ENV").output().unwrap();
            prop_assert!(output.stderr.is_empty() && output.status.success(), "{shell}: {output:?}");
            prop_assert_eq!(printed(&steps), output.stdout, "{}: {}", shell, &script);
        }
    }
}
