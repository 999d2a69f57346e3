// SPDX-License-Identifier: Apache-2.0
//! `strip` and `objcopy`, GNU's and LLVM's. One table serves both: they are one program.
//!
//! An output becomes executable where GNU's tools make it so: where the input is linked (a program or a shared
//! library) and the output format has a notion of that. LLVM's keep the input's mode.

use super::draft::{Draft, decline};
use super::options::{Item, Row, Style, Takes, parse as parse_options};
use super::{Planned, Request, sample};
use crate::elf::{ElfFacts, ElfKind};
use crate::libraries::thin_archive;
use crate::recognise::Flavour;
use crate::{Decline, Node, Role};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What an option means to this model.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing: it neither reads nor writes another file.
    Nothing,
    /// The value is a file that is read.
    Reads,
    /// The value is `SECTION=FILE`: the file is read.
    ReadsNamed,
    /// The value is `SECTION=FILE`: the file is written.
    WritesNamed,
    /// strip's output.
    Output,
    /// The input's format.
    InputFormat,
    /// The output's format.
    OutputFormat,
    /// Both formats.
    BothFormats,
    /// Copies times from the input.
    KeepsTimes,
    /// Changes the address where the program starts.
    MovesStart,
    /// Puts times into archives.
    RecordsTimes,
    /// Prints.
    Verbose,
    /// `--version` and the like.
    Query,
}

use Effect::{
    BothFormats, InputFormat, KeepsTimes, MovesStart, Nothing, Output, OutputFormat, Query, Reads,
    ReadsNamed, RecordsTimes, Verbose, WritesNamed,
};
use Takes::{Attached, Value};

const fn flag(long: &'static [&'static str], short: &'static str, effect: Effect) -> Row<Effect> {
    Row { long, short, takes: Takes::Nothing, effect }
}

const fn with(long: &'static [&'static str], short: &'static str, effect: Effect) -> Row<Effect> {
    Row { long, short, takes: Value, effect }
}

/// Options that both tools have.
macro_rules! table {
    ($($own:expr),* $(,)?) => {
        &[
            $($own,)*
            with(&["input-target"], "I", InputFormat),
            with(&["output-target"], "O", OutputFormat),
            with(&["target"], "F", BothFormats),
            flag(&["preserve-dates"], "p", KeepsTimes),
            flag(&["enable-deterministic-archives"], "D", Nothing),
            flag(&["disable-deterministic-archives"], "U", RecordsTimes),
            with(&["remove-section"], "R", Nothing),
            with(&["remove-relocations"], "", Nothing),
            flag(&["strip-debug"], "g", Nothing),
            flag(&["strip-dwo", "strip-unneeded", "only-keep-debug"], "", Nothing),
            flag(&["merge-notes"], "M", Nothing),
            flag(&["no-merge-notes", "keep-file-symbols", "keep-section-symbols"], "", Nothing),
            with(&["strip-symbol"], "N", Nothing),
            with(&["keep-symbol"], "K", Nothing),
            with(&["keep-section"], "", Nothing),
            flag(&["wildcard"], "w", Nothing),
            flag(&["discard-all"], "x", Nothing),
            flag(&["discard-locals"], "X", Nothing),
            flag(&["verbose"], "v", Verbose),
            flag(&["version"], "V", Query),
            flag(&["help"], "h", Query),
            flag(&["info"], "", Query),
        ]
    };
}

const STRIP: &[Row<Effect>] =
    table![with(&[], "o", Output), flag(&["strip-all"], "s", Nothing), flag(&[], "Sd", Nothing),];

const OBJCOPY: &[Row<Effect>] = table![
    flag(&["strip-all"], "S", Nothing),
    with(&["binary-architecture"], "B", Nothing),
    flag(&["debugging", "extract-dwo", "extract-symbol", "localize-hidden", "weaken"], "", Nothing),
    with(&["only-section"], "j", Nothing),
    with(&["add-gnu-debuglink"], "", Reads),
    with(&["strip-unneeded-symbol"], "", Nothing),
    with(&["localize-symbol"], "L", Nothing),
    with(&["globalize-symbol"], "", Nothing),
    with(&["keep-global-symbol"], "G", Nothing),
    with(&["weaken-symbol"], "W", Nothing),
    Row { long: &["interleave"], short: "i", takes: Attached, effect: Nothing },
    with(&["interleave-width", "gap-fill", "pad-to", "reverse-bytes"], "", Nothing),
    with(&["byte"], "b", Nothing),
    with(&["set-start", "change-start", "adjust-start", "change-addresses", "adjust-vma"], "", MovesStart),
    with(
        &["change-section-address", "adjust-section-vma", "change-section-lma", "change-section-vma"],
        "",
        Nothing
    ),
    flag(&["change-warnings", "no-change-warnings", "adjust-warnings", "no-adjust-warnings"], "", Nothing),
    with(
        &["set-section-flags", "set-section-alignment", "rename-section", "long-section-names"],
        "",
        Nothing
    ),
    with(&["add-section", "update-section"], "", ReadsNamed),
    with(&["dump-section"], "", WritesNamed),
    flag(&["change-leading-char", "remove-leading-char"], "", Nothing),
    with(&["redefine-sym", "add-symbol", "alt-machine-code"], "", Nothing),
    with(&["redefine-syms", "strip-symbols", "strip-unneeded-symbols", "keep-symbols"], "", Reads),
    with(&["localize-symbols", "globalize-symbols", "keep-global-symbols", "weaken-symbols"], "", Reads),
    with(&["srec-len", "verilog-data-width"], "", Nothing),
    flag(&["srec-forceS3", "writable-text", "readonly-text", "pure", "impure"], "", Nothing),
    with(&["prefix-symbols", "prefix-sections", "prefix-alloc-sections"], "", Nothing),
    Row { long: &["compress-debug-sections", "elf-stt-common"], short: "", takes: Attached, effect: Nothing },
    flag(&["decompress-debug-sections"], "", Nothing),
];

/// What BFD takes files of a format for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// ELF, or whatever the input is: programs and libraries are executable.
    #[default]
    Linked,
    /// Bytes: what was made of a program at fixed addresses is executable, what was made of a library is not.
    Image,
    /// PE and its like: what starts somewhere is executable.
    Coff,
    /// One of which it is not known here what is executable in it.
    Other,
    /// Nothing is executable.
    Plain,
}

/// What a `strip` or `objcopy` command asks for. Names of files are as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectJob {
    /// The files that are changed or copied.
    pub files: Vec<OsString>,
    /// Where the one file goes; `None`: all are changed in place.
    pub output: Option<OsString>,
    /// Other files that are read.
    pub reads: Vec<OsString>,
    /// Other files that are written.
    pub writes: Vec<OsString>,
    /// What the output can be, by its format.
    pub format: Format,
    /// The address where the program starts is changed.
    pub moves_start: bool,
}

/// Parses the arguments of `strip`, `argv[0]` excluded.
///
/// # Errors
/// An option that this model does not understand.
pub fn parse_strip(args: &[OsString]) -> Result<Request<ObjectJob>, Decline> {
    parse(args, STRIP)
}

/// Parses the arguments of `objcopy`, `argv[0]` excluded.
///
/// # Errors
/// An option that this model does not understand.
pub fn parse_objcopy(args: &[OsString]) -> Result<Request<ObjectJob>, Decline> {
    let Request::Job(mut job) = parse(args, OBJCOPY)? else { return Ok(Request::Query) };
    match job.files.len() {
        1 => {}
        2 => job.output = job.files.pop(),
        count => return Err(decline!("objcopy of {count} files")),
    }
    Ok(Request::Job(job))
}

fn parse(args: &[OsString], table: &[Row<Effect>]) -> Result<Request<ObjectJob>, Decline> {
    let mut job = ObjectJob::default();
    let (mut from, mut to) = (Format::Linked, Format::Linked);
    for item in parse_options(args, table, Style::Long)? {
        let (effect, value) = match item {
            Item::Operand(name) => {
                job.files.push(name);
                continue;
            }
            Item::Option(effect, value) => (effect, value),
        };
        match effect {
            Nothing => {}
            Reads => job.reads.push(value),
            ReadsNamed => job.reads.push(after_equals(&value)?),
            WritesNamed => job.writes.push(after_equals(&value)?),
            Output => job.output = Some(value),
            InputFormat => from = format(&value),
            OutputFormat => to = format(&value),
            // EFI's names are only for outputs: what the input is is found out then.
            BothFormats if value.as_bytes().starts_with(b"efi-") => to = format(&value),
            BothFormats => (from, to) = (format(&value), format(&value)),
            MovesStart => job.moves_start = true,
            KeepsTimes => return Err(decline!("keeps the times of files")),
            RecordsTimes => return Err(decline!("records the times of files")),
            Verbose => return Err(decline!("verbose output")),
            Query => return Ok(Request::Query),
        }
    }
    job.format = match from {
        Format::Linked => to,
        Format::Image | Format::Plain => Format::Plain,
        Format::Coff | Format::Other => Format::Other,
    };
    match job.files.as_slice() {
        [] => Err(decline!("no file")),
        [_, _, ..] if job.output.is_some() => Err(decline!("several files with one output")),
        _ => Ok(Request::Job(job)),
    }
}

fn after_equals(value: &OsStr) -> Result<OsString, Decline> {
    match memchr::memchr(b'=', value.as_bytes()) {
        Some(at) => Ok(OsStr::from_bytes(&value.as_bytes()[at + 1..]).to_os_string()),
        None => Err(decline!("{} names no file", value.to_string_lossy())),
    }
}

fn format(name: &OsStr) -> Format {
    match name.as_bytes() {
        b"binary" | b"srec" | b"symbolsrec" | b"verilog" | b"tekhex" => Format::Image,
        b"ihex" => Format::Plain,
        b"default" => Format::Linked,
        name if name.starts_with(b"elf") => Format::Linked,
        name if [&b"pe-"[..], b"pei-", b"efi-"].iter().any(|family| name.starts_with(family)) => Format::Coff,
        _ => Format::Other,
    }
}

pub(super) fn plan_strip(draft: &mut Draft<'_>, flavour: Flavour) -> Planned {
    let args = draft.arguments()?;
    let Request::Job(job) = parse_strip(&args)? else { return Ok(Request::Query) };
    plan(draft, &job, flavour)?;
    draft.probe(&["probe.o"], vec![("probe.o", sample::object())]);
    Ok(Request::Job(()))
}

pub(super) fn plan_objcopy(draft: &mut Draft<'_>, flavour: Flavour) -> Planned {
    let args = draft.arguments()?;
    let Request::Job(job) = parse_objcopy(&args)? else { return Ok(Request::Query) };
    plan(draft, &job, flavour)?;
    draft.probe(&["probe.o", "copy.o"], vec![("probe.o", sample::object())]);
    Ok(Request::Job(()))
}

fn plan(draft: &mut Draft<'_>, job: &ObjectJob, flavour: Flavour) -> Result<(), Decline> {
    for name in &job.files {
        let path = draft.path(name);
        // LLVM's tools change the members where these stand, GNU's refuse.
        if thin_archive(&path, draft.world)?.is_some() {
            return Err(decline!("{} is a thin archive", path.display()));
        }
        match job.output.as_ref().map(|output| draft.path(output)) {
            Some(output) if output != path => {
                draft.input(&path)?;
                let executable = match flavour {
                    Flavour::Llvm => draft.world.executable(&path),
                    _ if job.format == Format::Coff && job.moves_start => {
                        return Err(decline!("changes where a program of another format starts"));
                    }
                    // Of what else there is than ELF, the tool knows more than this model.
                    _ => is_executable(draft, &path, job.format)?
                        .ok_or_else(|| decline!("{} is no ELF file", path.display()))?,
                };
                draft.output(output, executable, Role::Main)?;
            }
            _ => match is_executable(draft, &path, Format::Linked)? {
                Some(linked) => draft.changed(path, linked)?,
                None => draft.in_place(path)?,
            },
        }
    }
    for name in &job.reads {
        let path = draft.path(name);
        draft.input(&path)?;
    }
    for name in &job.writes {
        let path = draft.path(name);
        draft.output(path, false, Role::Side)?;
    }
    Ok(())
}

/// Is what is made of the file executable? Of a placeholder it is known that it is linked, or its mode tells, but not for which addresses.
/// `None` where it is neither an ELF file nor an archive.
fn is_executable(draft: &Draft<'_>, path: &Path, format: Format) -> Result<Option<bool>, Decline> {
    match format {
        Format::Plain => return Ok(Some(false)),
        Format::Other => return Err(decline!("a format of which it is not known what is executable")),
        Format::Linked | Format::Image | Format::Coff => {}
    }
    match draft.world.node(path) {
        Some(Node::Placeholder) => {
            let is_linked = draft.world.is_linked(path).unwrap_or_else(|| draft.world.executable(path));
            return match format {
                Format::Image | Format::Coff if is_linked => {
                    Err(decline!("an image of a program that is not there yet"))
                }
                _ => Ok(Some(is_linked)),
            };
        }
        None => return Err(Decline::missing(path)),
        Some(_) => {}
    }
    let bytes = draft.world.read(path).map_err(|e| decline!("{} cannot be read: {e}", path.display()))?;
    let is_archive = bytes.starts_with(b"!<arch>\n") || bytes.starts_with(b"!<thin>\n");
    Ok(match ElfFacts::read(&bytes) {
        Some(facts) => Some(match format {
            Format::Image => facts.is_fixed,
            Format::Coff => facts.is_fixed || facts.starts,
            _ => matches!(facts.kind, ElfKind::Program | ElfKind::Shared),
        }),
        None => is_archive.then_some(false),
    })
}
