// SPDX-License-Identifier: Apache-2.0
//! Thunks as they are stored and read again, damaged ones among them.

use proptest::prelude::*;

use super::*;

fn value(content: &str) -> ObjectName {
    ObjectName::of(ObjectKind::Value, content.as_bytes())
}

fn sample() -> Thunk {
    Thunk {
        function: Some(value("gcc")),
        args: ["gcc", "-c", "a=b.c"].map(OsString::from).to_vec(),
        env: vec!["PATH=/usr/bin".into()],
        values: vec![Input { path: "/w/a=b.c".into(), value: value("source") }],
        executables: vec![Input { path: "/usr/bin/gcc".into(), value: value("gcc") }],
        thunks: vec![ThunkInput {
            path: "/w/x#1=y.h".into(),
            from: OutputRef {
                thunk: ObjectName::of(ObjectKind::Thunk, b"t"),
                output: Some("/w/x#1=y.h".into()),
            },
        }],
        outputs: vec!["/w/a=b.o".into()],
        links: vec![Link { path: "/lib".into(), target: "usr/lib".into() }],
        workdir: Some("/w".into()),
        trees: vec![value("tree")],
        program: Some("/usr/bin/gcc".into()),
        directories: vec!["/w/include".into()],
        umask: Some(0o22),
        learned: true,
        listed: vec!["/w/parts".into()],
        makes_directories: true,
        moves: true,
        executable_outputs: vec!["/w/a=b.o".into()],
        made: vec!["/w/made".into()],
        made_links: vec![Link { path: "/w/liba.so".into(), target: "liba.so.1".into() }],
        ..Thunk::default()
    }
}

#[test]
fn a_thunk_survives_its_encoding() {
    let thunk = sample();
    assert_eq!(Thunk::decode("t", &thunk.encode()).unwrap(), thunk);
}

/// Reductions are known by the names of thunks.
#[test]
fn a_thunk_that_does_not_use_a_newer_field_keeps_its_name() {
    let before = Thunk { made_links: Vec::new(), ..sample() };
    assert_eq!(before.name().to_string(), "TGUYpHi9gwke.cFIEXMheZWRFpVDqgyK5NxUPCvsAQg0000001d3");
}

#[test]
fn a_thunk_of_gg_is_read() {
    // As gg-create-thunk makes it: relative names, some inputs without a name.
    let gg = wire::Thunk {
        function: Some(wire::Function {
            hash: value("f").to_string().into_bytes(),
            args: vec![b"f".to_vec()],
            envars: vec![],
        }),
        values: vec![format!("{}=in.txt", value("a")).into_bytes(), value("b").to_string().into_bytes()],
        executables: vec![value("f").to_string().into_bytes()],
        outputs: vec![b"out".to_vec()],
        ..wire::Thunk::default()
    };
    let thunk = Thunk::check(gg).unwrap();
    assert_eq!(thunk.values[0].path, Path::new("in.txt"));
    assert_eq!(thunk.values[1].path, Path::new(""));
    assert_eq!(thunk.workdir, None);
}

#[test]
fn hostile_thunks_are_refused() {
    type Change = fn(&mut Thunk);
    let changes: [Change; 11] = [
        |t| t.outputs = vec!["/w/../../etc/passwd".into()],
        |t| t.outputs = vec!["relative".into()],
        |t| t.outputs = vec![],
        |t| t.args = vec![],
        |t| t.values[0].path = "/w/./a".into(),
        |t| t.links[0].path = "/".into(),
        |t| t.workdir = Some("w".into()),
        |t| t.program = None,
        |t| t.function = None,
        |t| t.directories = vec!["/a//b".into()],
        |t| t.made_links[0].target = "".into(),
    ];
    for change in changes {
        let mut thunk = sample();
        change(&mut thunk);
        assert!(Thunk::decode("t", &thunk.encode()).is_err(), "{thunk:?}");
    }
    assert!(Thunk::decode("t", b"").is_err());
    // A length of 10 GB where 1 byte follows.
    assert!(Thunk::decode("t", b"##GGTHUNK##\x0a\x80\x80\x80\x80\x25x").is_err());
}

#[test]
fn substitution_finds_every_name() {
    let name = value("lib");
    let argument = format!("-L@{{GGHASH:{name}}}:@{{GGHASH:{name}#x}}@{{");
    let out =
        substitute(OsStr::new(&argument), &mut |n| Ok(PathBuf::from(format!("/s/{}", n.size())))).unwrap();
    assert_eq!(out, "-L/s/3:/s/3@{");
    assert!(substitute(OsStr::new("@{GGHASH:no}"), &mut |_| Ok("/".into())).is_err());
}

proptest! {
    #[test]
    fn flipped_or_cut_thunks_never_panic(at in 0usize..400, bit in 0u8..8, cut in 0usize..400) {
        let mut bytes = sample().encode();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let _ = Thunk::decode("t", &bytes);
        bytes.truncate(cut.min(bytes.len()));
        let _ = Thunk::decode("t", &bytes);
    }
}

#[test]
fn a_variable_is_split_at_its_first_equals_sign() {
    let split = |text| split_variable(OsStr::new(text));
    for (text, name, value) in [("A=b=c", "A", "b=c"), ("A=", "A", ""), ("A", "A", ""), ("=x", "", "x")] {
        assert_eq!(split(text), (name.into(), value.into()));
    }
}
