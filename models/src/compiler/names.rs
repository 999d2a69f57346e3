// SPDX-License-Identifier: Apache-2.0
//! What a driver names its outputs when it is not told, and the files that it writes beside them. As gcc 12 and
//! clang 14 do; what differs between versions is declined.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::command_line::{CommandLine, Dependencies, Input, Mode};
use super::{Vendor, decline};
use crate::{Decline, Output, Role};

/// The outputs of a command, its dependency file and side outputs included, as written: relative to the working
/// directory. The main output is the first. `suffix` is that of programs whose name has none.
pub(super) fn outputs(vendor: Vendor, line: &CommandLine, suffix: &OsStr) -> Result<Vec<Output>, Decline> {
    let mut outputs = match line.mode {
        Mode::Query => return Err(decline("asks the compiler about itself")),
        Mode::Rule => return rule_output(line),
        Mode::Link => {
            vec![Output { path: program(line, suffix), executable: !line.is_relocatable, role: Role::Main }]
        }
        Mode::Preprocess | Mode::Assembly | Mode::Object => {
            if line.output.is_some() && line.sources.len() > 1 {
                return Err(decline("several sources and one output"));
            }
            line.sources.iter().map(|source| main_output(line, source)).collect::<Result<_, _>>()?
        }
    };
    outputs.extend(dependency_file(vendor, line)?.map(|path| output(path, Role::Dependencies)));
    for (side, wanted) in side_suffixes(vendor, line)? {
        if wanted {
            if !suffix.is_empty() {
                return Err(decline("side outputs of a link"));
            }
            for source in &line.sources {
                if has_side_output(side, source) {
                    let path = with_suffix(&auxiliary(vendor, line, source)?, side);
                    outputs.push(output(path, Role::Side));
                }
            }
        }
    }
    outputs.extend(line.fragment.iter().map(|path| output(path.clone(), Role::Side)));
    if line.mode == Mode::Link {
        if suffix.is_empty() && !line.linker.import_libraries.is_empty() {
            // These are executable where it is an ELF file.
            return Err(decline("an import library that is not for Windows"));
        }
        outputs.extend(line.linker.import_libraries.iter().map(|path| output(path.clone(), Role::Side)));
        let beside = line.linker.writes.iter().chain(&line.linker.dependencies);
        outputs.extend(beside.map(|path| output(path.clone(), Role::Side)));
    }
    Ok(outputs)
}

/// Would a driver append the suffix of programs?
pub(super) fn lacks_suffix(path: &Path) -> bool {
    !path.file_name().is_some_and(|name| name.as_bytes().contains(&b'.'))
}

/// The program that a link makes, as the linker is told to call it.
pub(super) fn program(line: &CommandLine, suffix: &OsStr) -> PathBuf {
    let own = if suffix.is_empty() { "a.out" } else { "a" };
    let mut path = line.output.clone().unwrap_or_else(|| own.into()).into_os_string();
    if lacks_suffix(Path::new(&path)) {
        path.push(suffix);
    }
    path.into()
}

fn output(path: PathBuf, role: Role) -> Output {
    Output { path, executable: false, role }
}

fn main_output(line: &CommandLine, source: &Input) -> Result<Output, Decline> {
    let path = match (&line.output, line.mode) {
        (Some(path), _) => path.clone(),
        (None, Mode::Preprocess) => return Err(decline("output to standard output")),
        (None, _) if source.language.is_header() => {
            let mut name = source.path.clone().into_os_string();
            name.push(".gch");
            name.into()
        }
        (None, _) if line.bitcode && line.lto => {
            return Err(decline("LLVM code for link-time optimisation without a name"));
        }
        (None, Mode::Assembly) if line.bitcode => with_suffix(&base(&source.path), "ll"),
        (None, _) if line.bitcode => with_suffix(&base(&source.path), "bc"),
        (None, Mode::Assembly) => with_suffix(&base(&source.path), "s"),
        (None, _) => with_suffix(&base(&source.path), "o"),
    };
    Ok(output(path, Role::Main))
}

/// `-M` without `-MD`: the rule is all that is written.
fn rule_output(line: &CommandLine) -> Result<Vec<Output>, Decline> {
    let file = line.dependencies.as_ref().and_then(|d| d.file.as_ref());
    match (file, &line.output) {
        (Some(_), Some(_)) => Err(decline("-M with both -MF and -o")),
        (None, None) => Err(decline("output to standard output")),
        (Some(path), None) | (None, Some(path)) if line.sources.len() == 1 => {
            Ok(vec![output(path.clone(), Role::Dependencies)])
        }
        _ => Err(decline("-M of several sources")),
    }
}

/// The one source whose includes the dependency file lists, if there is such a file.
pub(super) fn dependency_source(line: &CommandLine) -> Result<Option<(&Dependencies, &Input)>, Decline> {
    let Some(wanted) = &line.dependencies else { return Ok(None) };
    let mut sources = line.sources.iter().filter(|source| source.language.is_preprocessed());
    match (sources.next(), sources.next()) {
        (None, _) => Ok(None),
        (Some(source), None) => Ok(Some((wanted, source))),
        (Some(_), Some(_)) => Err(decline("dependency files of several sources")),
    }
}

fn dependency_file(vendor: Vendor, line: &CommandLine) -> Result<Option<PathBuf>, Decline> {
    let Some((wanted, source)) = dependency_source(line)? else { return Ok(None) };
    let path = match (&wanted.file, &line.output) {
        (Some(path), _) => path.clone(),
        (None, Some(path)) => with_suffix(&strip_suffix(path), "d"),
        (None, None) if source.language.is_header() => {
            return Err(decline("a precompiled header with a dependency file that is not named"));
        }
        (None, None) if line.mode == Mode::Link && vendor == Vendor::Gnu => {
            return Err(decline("links, with a dependency file that is not named"));
        }
        (None, None) => with_suffix(&base(&source.path), "d"),
    };
    Ok(Some(path))
}

/// The target that a driver writes into a dependency file when it is given none.
pub(super) fn default_target(
    vendor: Vendor,
    line: &CommandLine,
    wanted: &Dependencies,
    source: &Input,
) -> OsString {
    let by_output = match vendor {
        // The preprocessor is told the output's name only by the driver, and not where it preprocesses only.
        Vendor::Gnu => !wanted.passed_on && !matches!(line.mode, Mode::Preprocess | Mode::Rule),
        Vendor::Clang => line.mode != Mode::Rule,
    };
    match &line.output {
        Some(path) if by_output => path.clone().into_os_string(),
        _ => with_suffix(&base(&source.path), "o").into_os_string(),
    }
}

fn side_suffixes(vendor: Vendor, line: &CommandLine) -> Result<[(&'static str, bool); 4], Decline> {
    let compiles = matches!(line.mode, Mode::Object | Mode::Assembly | Mode::Link);
    let side = line.side;
    if side.split_dwarf && line.mode == Mode::Assembly && vendor == Vendor::Clang {
        return Err(decline("split debug information of assembler text"));
    }
    if line.mode == Mode::Link && line.lto && (side.split_dwarf || side.stack_usage || side.call_graph) {
        // The compiler runs within the link and writes files for partitions that it chooses itself.
        return Err(decline("side outputs of link-time optimisation"));
    }
    Ok([
        ("gcno", compiles && side.coverage_notes),
        ("dwo", side.split_dwarf && matches!(line.mode, Mode::Object | Mode::Link)),
        ("su", compiles && side.stack_usage),
        ("ci", compiles && side.call_graph),
    ])
}

/// All of these are written by the compiler proper, but for the debug information, which gcc's driver takes out of
/// whatever the assembler made.
fn has_side_output(suffix: &str, source: &Input) -> bool {
    !source.language.is_header() && (suffix == "dwo" || !source.language.is_assembler())
}

/// The path that the suffixes of side outputs are appended to.
pub(super) fn auxiliary(vendor: Vendor, line: &CommandLine, source: &Input) -> Result<PathBuf, Decline> {
    match (&line.output, line.mode, vendor) {
        (Some(path), Mode::Link, Vendor::Gnu) => {
            // gcc 12: `OUTPUT-SOURCE`, but `OUTPUT` alone where both names are the same, and without `.exe`, `.out`.
            let stem = base(&source.path);
            match path.extension().map(OsStrExt::as_bytes) {
                Some(b"exe" | b"out") => Err(decline("side outputs of a link")),
                _ if path.file_name() == Some(stem.as_os_str()) => Err(decline("side outputs of a link")),
                _ => {
                    let mut name = path.clone().into_os_string();
                    name.push("-");
                    name.push(stem);
                    Ok(name.into())
                }
            }
        }
        (_, Mode::Link, _) => Err(decline("side outputs of a link")),
        (Some(path), _, _) => Ok(strip_suffix(path)),
        (None, _, _) => Ok(base(&source.path)),
    }
}

/// The file name without directories and its last suffix, as a path in the working directory.
fn base(path: &Path) -> PathBuf {
    strip_suffix(Path::new(path.file_name().unwrap_or_default()))
}

/// Cuts off the last suffix. For compilers, other than for [`Path`], `.x` is a suffix and no name.
fn strip_suffix(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().as_bytes();
    match name.iter().rposition(|&b| b == b'.') {
        Some(dot) => {
            let keep = path.as_os_str().len() - (name.len() - dot);
            OsStr::from_bytes(path.as_os_str().as_bytes().get(..keep).unwrap_or_default()).into()
        }
        None => path.to_owned(),
    }
}

fn with_suffix(base: &Path, suffix: &str) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}
