// SPDX-License-Identifier: Apache-2.0
//! `as`, run directly: GNU as.
//!
//! The sources are looked through for `.include` and `.incbin`, without assembling: every one counts, also those under a
//! condition. A name that a macro makes up declines. What stands in a comment, and names nothing, does not.

use super::draft::{Draft, decline};
use super::options::{Item, Row, Style, Takes, parse as parse_options};
use super::{Planned, Request};
use crate::recognise::Flavour;
use crate::{Decline, Node, Role};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// What an option means to this model.
#[derive(Clone, Copy)]
enum Effect {
    Nothing,
    Output,
    Dependencies,
    IncludeDir,
    Prints,
    Mri,
    Query,
}

const fn flag(long: &'static [&'static str], short: &'static str, effect: Effect) -> Row<Effect> {
    Row { long, short, takes: Takes::Nothing, effect }
}

const fn with(long: &'static [&'static str], short: &'static str, effect: Effect) -> Row<Effect> {
    Row { long, short, takes: Takes::Value, effect }
}

const TABLE: &[Row<Effect>] = &[
    with(&[], "o", Effect::Output),
    with(&[], "I", Effect::IncludeDir),
    with(&["MD"], "", Effect::Dependencies),
    flag(&["statistics", "dump-config", "verbose"], "vD", Effect::Prints),
    flag(&["mri"], "M", Effect::Mri),
    flag(&["version", "help", "target-help"], "V", Effect::Query),
    with(&["defsym", "debug-prefix-map", "hash-size"], "", Effect::Nothing),
    with(
        &["listing-lhs-width", "listing-lhs-width2", "listing-rhs-width", "listing-cont-lines"],
        "",
        Effect::Nothing,
    ),
    Row {
        long: &[
            "compress-debug-sections",
            "size-check",
            "elf-stt-common",
            "generate-missing-build-notes",
            "multibyte-handling",
            "gdwarf-cie-version",
            "scfi",
        ],
        short: "",
        takes: Takes::Attached,
        effect: Effect::Nothing,
    },
    flag(
        &["alternate", "nocompress-debug-sections", "execstack", "noexecstack", "sectname-subst"],
        "",
        Effect::Nothing,
    ),
    flag(
        &["gsframe", "gen-debug", "gstabs", "gstabs+", "gdwarf-sections", "keep-locals"],
        "gL",
        Effect::Nothing,
    ),
    flag(&["gdwarf-2", "gdwarf-3", "gdwarf-4", "gdwarf-5", "gdwarf2", "ggdb"], "", Effect::Nothing),
    flag(
        &["nocpp", "no-pad-sections", "reduce-memory-overheads", "strip-local-absolute"],
        "",
        Effect::Nothing,
    ),
    flag(&["traditional-format", "no-warn", "warn", "fatal-warnings", "divide"], "", Effect::Nothing),
    flag(&["32", "64", "x32", "EB", "EL", "Qy", "Qn"], "fJKRWwXZknqs", Effect::Nothing),
    Row { long: &[], short: "O", takes: Takes::Attached, effect: Effect::Nothing },
];

/// What an `as` command asks for. Names of files are as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsJob {
    /// The sources, which are assembled one after the other.
    pub sources: Vec<OsString>,
    /// The object, where it is not `a.out`.
    pub output: Option<OsString>,
    /// `-I`.
    pub include_dirs: Vec<OsString>,
    /// `--MD`.
    pub dependencies: Option<OsString>,
    /// `-a…=FILE`.
    pub listing: Option<OsString>,
}

/// Parses the arguments of `as`, `argv[0]` excluded.
///
/// # Errors
/// An option that this model does not understand, no source, or output to standard output.
pub fn parse_as(args: &[OsString]) -> Result<Request<AsJob>, Decline> {
    match read_as_words(args)? {
        Request::Job(job) if job.sources.is_empty() => Err(decline!("source from standard input")),
        request => Ok(request),
    }
}

/// What these arguments say, be they all, or only what a compiler hands on (`-Wa,`).
pub(crate) fn read_as_words(args: &[OsString]) -> Result<Request<AsJob>, Decline> {
    let mut job = AsJob::default();
    let mut others = Vec::new();
    for arg in args {
        match arg.as_bytes() {
            b"-" | b"--" => return Err(decline!("source from standard input")),
            // Machine options all have their values attached, and read no file.
            [b'-', b'm', _, ..] => {}
            [b'-', b'a', rest @ ..] if is_listing(rest) => match memchr::memchr(b'=', rest) {
                Some(at) => {
                    tells_only_of_itself(&rest[..at])?;
                    job.listing = Some(OsStr::from_bytes(&rest[at + 1..]).to_os_string());
                }
                None => return Err(decline!("listing to standard output")),
            },
            _ => others.push(arg.clone()),
        }
    }
    for item in parse_options(&others, TABLE, Style::LongOnly)? {
        match item {
            Item::Operand(source) => job.sources.push(source),
            Item::Option(Effect::Nothing, _) => {}
            Item::Option(Effect::Output, name) => job.output = Some(name),
            Item::Option(Effect::Dependencies, name) => job.dependencies = Some(name),
            Item::Option(Effect::IncludeDir, dir) => job.include_dirs.push(dir),
            Item::Option(Effect::Prints, _) => return Err(decline!("prints about the assembler")),
            Item::Option(Effect::Mri, _) => return Err(decline!("MRI mode")),
            Item::Option(Effect::Query, _) => return Ok(Request::Query),
        }
    }
    Ok(Request::Job(job))
}

/// Is this what follows `-a`: its sub-options, and perhaps a file?
fn is_listing(rest: &[u8]) -> bool {
    let letters = rest.iter().take_while(|b| b"cdghilmns".contains(b)).count();
    rest.get(letters).is_none_or(|b| *b == b'=')
}

/// Refuses listings that quote the files of which debug information says that the text was made from them, and those that say
/// when they were made. Without letters they quote.
fn tells_only_of_itself(letters: &[u8]) -> Result<(), Decline> {
    match letters {
        [] => Err(decline!("a listing that quotes other files")),
        letters if letters.contains(&b'h') => Err(decline!("a listing that quotes other files")),
        letters if letters.contains(&b'g') => Err(decline!("a listing that tells the time")),
        _ => Ok(()),
    }
}

pub(super) fn plan_as(draft: &mut Draft<'_>, _: Flavour) -> Planned {
    let args = draft.arguments()?;
    let Request::Job(job) = parse_as(&args)? else { return Ok(Request::Query) };
    let dirs: Vec<PathBuf> = job.include_dirs.iter().map(|dir| draft.path(dir)).collect();
    let mut queue = Vec::new();
    for source in &job.sources {
        let path = draft.path(source);
        draft.input(&path)?;
        queue.push(path);
    }
    read_includes(draft, queue, &dirs)?;
    for dir in dirs {
        draft.directory(dir);
    }
    let output = draft.path(job.output.as_deref().unwrap_or(OsStr::new("a.out")));
    draft.output(output, false, Role::Main)?;
    for (name, role) in [(job.dependencies, Role::Dependencies), (job.listing, Role::Side)] {
        if let Some(name) = name {
            let path = draft.path(&name);
            draft.output(path, false, role)?;
        }
    }
    draft.probe(&["-o", "probe.o", "probe.s"], vec![("probe.s", b"\t.globl probe\nprobe:\n".to_vec())]);
    Ok(Request::Job(()))
}

/// Adds what the sources include, and what that includes.
fn read_includes(draft: &mut Draft<'_>, mut queue: Vec<PathBuf>, dirs: &[PathBuf]) -> Result<(), Decline> {
    let mut seen: BTreeSet<PathBuf> = queue.iter().cloned().collect();
    while let Some(path) = queue.pop() {
        let text = draft.world.read(&path).map_err(|e| decline!("{} cannot be read: {e}", path.display()))?;
        for inclusion in inclusions(&text) {
            let Some(name) = &inclusion.name else {
                if inclusion.in_comment {
                    continue;
                }
                return Err(decline!("{} includes a computed name", path.display()));
            };
            // The working directory first, then -I in order.
            let here = draft.path(name);
            let candidates = std::iter::once(here.clone()).chain(dirs.iter().map(|dir| dir.join(name)));
            let is_file =
                |path: &PathBuf| matches!(draft.world.node(path), Some(Node::File | Node::Placeholder));
            let found = candidates.into_iter().find(is_file);
            match found {
                Some(found) => {
                    draft.input(&found)?;
                    if inclusion.is_source && seen.insert(found.clone()) {
                        queue.push(found);
                    }
                }
                None if inclusion.in_comment => {}
                None => return Err(Decline::missing(&here)),
            }
        }
    }
    Ok(())
}

/// One `.include` or `.incbin`.
#[derive(Debug, PartialEq, Eq)]
struct Inclusion {
    /// The name, where it is written out.
    name: Option<OsString>,
    /// `.include`.
    is_source: bool,
    /// It may stand in a comment: which characters begin one depends on the machine.
    in_comment: bool,
}

/// Finds them all, in any part of a line.
fn inclusions(text: &[u8]) -> Vec<Inclusion> {
    let mut result = Vec::new();
    for line in text.split(|&b| b == b'\n') {
        for dot in memchr::memchr_iter(b'.', line) {
            let before = &line[..dot];
            let is_directive = |name: &str| {
                let rest = &line[dot + 1..];
                rest.len() > name.len()
                    && rest[..name.len()].eq_ignore_ascii_case(name.as_bytes())
                    && !(rest[name.len()].is_ascii_alphanumeric() || b"_.$".contains(&rest[name.len()]))
                    && !before.last().is_some_and(|b| b.is_ascii_alphanumeric() || b"_.$".contains(b))
            };
            let is_source = is_directive("include");
            if !is_source && !is_directive("incbin") {
                continue;
            }
            let operand =
                line[dot + 1 + if is_source { "include" } else { "incbin" }.len()..].trim_ascii_start();
            let in_comment = before.iter().any(|b| b"#@!|*/".contains(b)) || before.contains(&b'"');
            result.push(Inclusion { name: quoted(operand), is_source, in_comment });
        }
    }
    result
}

/// The string literal at the start of `operand`; `None` where there is none, or one with a macro's argument or an escape.
fn quoted(operand: &[u8]) -> Option<OsString> {
    let inner = operand.strip_prefix(b"\"")?;
    let name = &inner[..memchr::memchr(b'"', inner)?];
    (!name.is_empty() && !name.contains(&b'\\')).then(|| OsString::from_vec(name.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognise::Program;
    use crate::testing::{Memory, command};
    use crate::{Kind, Plan, Verdict};
    use proptest::prelude::*;

    fn verdict(line: &str, world: &Memory) -> (Kind, Result<Plan, String>) {
        match super::super::plan(Program::As, &command(line), world).unwrap() {
            (kind, Verdict::Defer(plan)) => (kind, Ok(*plan)),
            (kind, Verdict::Decline(reason)) => (kind, Err(reason)),
        }
    }

    fn files(line: &str, world: &Memory) -> (Vec<String>, Vec<String>) {
        let plan = verdict(line, world).1.unwrap();
        let show = |path: &PathBuf| path.to_str().unwrap().to_owned();
        (plan.inputs.iter().map(show).collect(), plan.outputs.iter().map(|o| show(&o.path)).collect())
    }

    #[test]
    fn real_commands() {
        let world = Memory::default()
            .file("/w/a.s", b"\t.text\nf:\tret\n# see .include \"nothing\"\n")
            .file("/w/b.s", b"  .include \"mac.inc\"\n.incbin \"blob.bin\",0,4\n")
            .file("/w/inc/mac.inc", b".IF 1; .include \"a.s\"\n")
            .file("/w/blob.bin", b".include \"not.a.source\"");
        let one =
            files("as --64 -march=znver1+nosse -mrelax-relocations=no -g --gdwarf-5 -o a.o a.s", &world);
        assert_eq!(one, (vec!["/w/a.s".into()], vec!["/w/a.o".into()]));
        let (inputs, outputs) = files("as -I inc --MD b.d -aln=b.lst b.s", &world);
        assert_eq!(inputs, ["/w/a.s", "/w/b.s", "/w/blob.bin", "/w/inc/mac.inc"]);
        assert_eq!(outputs, ["/w/a.out", "/w/b.d", "/w/b.lst"]);
    }

    #[test]
    fn what_is_not_deferred() {
        let world = Memory::default()
            .file("/w/a.s", b"")
            .file("/w/computed.s", b".macro inc f\n.incbin \"\\f\"\n.endm\n")
            .file("/w/missing.s", b".include \"gone.inc\"\n");
        for (line, reason) in [
            ("as -", "source from standard input"),
            ("as -o a.o", "source from standard input"),
            ("as -al a.s", "listing to standard output"),
            ("as -a=a.lst a.s", "a listing that quotes other files"),
            ("as -ahls=a.lst a.s", "a listing that quotes other files"),
            ("as -agl=a.lst a.s", "a listing that tells the time"),
            ("as --secret a.s", "option --secret"),
            ("as gone.s", "/w/gone.s does not exist"),
            ("as computed.s", "/w/computed.s includes a computed name"),
            ("as missing.s", "/w/gone.inc does not exist"),
            ("as -M a.s", "MRI mode"),
        ] {
            assert_eq!(verdict(line, &world), (Kind::Assemble, Err(reason.into())), "{line}");
        }
        assert_eq!(verdict("as --version", &world).0, Kind::Query);
    }

    #[test]
    fn a_circle_of_includes_ends() {
        let world =
            Memory::default().file("/w/a.s", b".include \"b.s\"\n").file("/w/b.s", b".include \"a.s\"\n");
        assert_eq!(files("as a.s", &world).0, ["/w/a.s", "/w/b.s"]);
    }

    #[test]
    fn directives_are_found_anywhere_in_a_line() {
        let found = |text: &str| inclusions(text.as_bytes());
        assert_eq!(found("x: .incbin\"f\"").len(), 1);
        assert_eq!(found("nop; .INCLUDE \"f\" # c").len(), 1);
        assert!(found(".includes \"f\"\nfoo.include \"f\"\n.incbin").is_empty());
        assert!(found("// .include \"f\"")[0].in_comment);
        assert_eq!(found(".include name")[0].name, None);
    }

    proptest! {
        #[test]
        fn any_source_is_looked_through(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = inclusions(&text);
        }

        #[test]
        fn every_plain_name_is_found(names in prop::collection::vec("[a-z/.]{1,12}", 0..6)) {
            let text: String = names.iter().map(|n| format!("\t.incbin \"{n}\", 1\n")).collect();
            let found: Vec<OsString> = inclusions(text.as_bytes()).into_iter().filter_map(|i| i.name).collect();
            let expected: Vec<OsString> = names.iter().map(OsString::from).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
