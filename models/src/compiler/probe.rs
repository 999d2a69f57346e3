// SPDX-License-Identifier: Apache-2.0
//! Tiny jobs that make a toolchain show which of its own files a command needs, and the words that are left of
//! a command line for them. Few different ones on purpose: each costs a run of the compiler.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::command_line::{CommandLine, Mode, Part};
use super::language::Language;
use super::link::Link;
use super::options::Meaning as M;
use crate::{Invocation, Node, Probe, World};

/// Variables by which the drivers find their programs.
const TOOL_VARIABLES: &[&str] = &["BINUTILS_ROOT", "COMPILER_PATH", "GCC_EXEC_PREFIX", "GCC_ROOT", "PATH"];

/// Variables by which clang goes for what it compiles for, in place of options: Apple's systems have a version and a place of headers
/// there. It looks for them whatever system it runs on, for those that its target names.
pub(super) const TARGET_VARIABLES: &[&str] = &[
    "CLANG_NO_DEFAULT_CONFIG",
    "DRIVERKIT_DEPLOYMENT_TARGET",
    "IPHONEOS_DEPLOYMENT_TARGET",
    "MACOSX_DEPLOYMENT_TARGET",
    "SDKROOT",
    "TVOS_DEPLOYMENT_TARGET",
    "WATCHOS_DEPLOYMENT_TARGET",
    "XROS_DEPLOYMENT_TARGET",
];

/// The environment for probes and questions: what decides which programs run, and messages in English.
pub(super) fn environment(invocation: &Invocation) -> Vec<(OsString, OsString)> {
    let tools = TOOL_VARIABLES
        .iter()
        .chain(TARGET_VARIABLES)
        .filter_map(|name| Some(((*name).into(), invocation.var(name)?.to_owned())));
    std::iter::once(("LC_ALL".into(), "C".into())).chain(tools).collect()
}

/// The words of an option, with a relative path made absolute. A name that is looked for elsewhere (`-specs=nosys.specs`)
/// stays a name.
fn anchored(
    meaning: M,
    words: &[OsString],
    value: &OsStr,
    at: &Invocation,
    world: &dyn World,
) -> Vec<OsString> {
    let absolute = at.absolute(value);
    if meaning == M::FrontFile && world.node(&absolute).is_none() {
        return words.to_vec();
    }
    match words {
        [word] => {
            let keep = word.len() - value.len();
            let mut word = super::head(word, keep).to_owned();
            word.push(absolute);
            vec![word]
        }
        [option, ..] => vec![option.clone(), absolute.into_os_string()],
        [] => Vec::new(),
    }
}

/// The words of the command's options that `keep` wants, paths absolute.
pub(super) fn kept_words(
    line: &CommandLine,
    at: &Invocation,
    world: &dyn World,
    keep: impl Fn(M) -> bool,
) -> Vec<OsString> {
    let mut kept = Vec::new();
    for part in &line.parts {
        let Part::Option { meaning, words, value } = part else { continue };
        if !keep(*meaning) {
            continue;
        }
        match (meaning, value) {
            (M::FrontPath | M::FrontFile | M::ToolPrefix, Some(value)) => {
                kept.extend(anchored(*meaning, words, value, at, world));
            }
            _ => kept.extend(words.iter().cloned()),
        }
    }
    kept
}

/// Options that decide which front end, headers and programs are used.
pub(super) fn is_front(meaning: M) -> bool {
    matches!(meaning, M::Front | M::FrontPath | M::FrontFile | M::ToolPrefix | M::Toolchain)
}

fn is_for_compiling(meaning: M) -> bool {
    is_front(meaning) || matches!(meaning, M::Coverage | M::CoverageNotes | M::SplitDwarf | M::SplitDwarfNone)
}

fn is_for_linking(meaning: M) -> bool {
    is_front(meaning)
        || matches!(meaning, M::Coverage | M::LinkToolchain | M::Static | M::Shared | M::Relocatable)
}

/// One job per language that occurs.
pub(super) fn compile_probes(line: &CommandLine, at: &Invocation, world: &dyn World) -> Vec<Probe> {
    let languages: BTreeSet<Language> = line.sources.iter().map(|source| source.language).collect();
    let kept = kept_words(line, at, world, is_for_compiling);
    let probe = |language: Language| {
        let name = format!("probe.{}", language.suffix());
        let (stop, output) = match line.mode {
            Mode::Rule => ("-M", "probe.d"),
            Mode::Preprocess => ("-E", "probe.out"),
            Mode::Assembly => ("-S", "probe.out"),
            _ if language.is_header() => ("-c", "probe.gch"),
            _ => ("-c", "probe.o"),
        };
        let mut argv = vec![at.argv.first().cloned().unwrap_or_default()];
        argv.extend(kept.iter().cloned());
        if line.side.split_dwarf {
            // Without debug information nothing is split, and the program that splits is not run.
            argv.push("-g".into());
        }
        argv.extend(["-x", language.option(), &name, stop, "-o", output].map(OsString::from));
        let text: &[u8] = if language.is_assembler() { b"\n" } else { b"int probe;\n" };
        Probe { program: at.program.clone(), argv, env: environment(at), files: vec![(name, text.to_vec())] }
    };
    languages.into_iter().map(probe).collect()
}

/// An object that any link accepts, on any machine with GNU syntax, without a compiler proper.
const ASSEMBLER_PROBE: &str = "\t.section .note.GNU-stack,\"\",%progbits\n\t.text\n\t.globl main\nmain:\n";

/// The same for Windows, where some machines have an underscore before names.
const WINDOWS_PROBE: &str = "\t.text\n\t.globl main, _main\nmain:\n_main:\n";

/// A link of next to nothing, with the system libraries of the real one.
pub(super) fn link_probe(line: &CommandLine, link: &Link, at: &Invocation, world: &dyn World) -> Probe {
    let mut argv = vec![at.argv.first().cloned().unwrap_or_default()];
    argv.extend(kept_words(line, at, world, is_for_linking));
    // All libraries count as needed, so that the linker also looks at the ones that they need.
    argv.push("-Wl,--no-as-needed".into());
    for word in &line.linker.kept {
        argv.extend(["-Xlinker".into(), word.clone()]);
    }
    // With link-time optimisation the compiler runs within the link, but only for what it compiled itself.
    let (name, language, text) = match line.lto {
        true => ("probe.c", Language::C, "int main(void) { return 0; }\n"),
        false if link.is_windows => ("probe.s", Language::Assembler, WINDOWS_PROBE),
        false => ("probe.s", Language::Assembler, ASSEMBLER_PROBE),
    };
    argv.extend(["-x", language.option(), name, "-x", "none"].map(OsString::from));
    let mut is_static = line.is_static;
    let mut switch = |argv: &mut Vec<OsString>, to: bool| {
        if is_static != to {
            argv.push(if to { "-Wl,-Bstatic" } else { "-Wl,-Bdynamic" }.into());
            is_static = to;
        }
    };
    for library in &link.system {
        switch(&mut argv, library.is_static);
        let mut word = OsString::from("-l");
        word.push(&library.name);
        argv.push(word);
    }
    // What the driver adds at the end is looked for in the same way.
    switch(&mut argv, link.ends_static);
    argv.extend(["-o".into(), "probe.out".into()]);
    Probe {
        program: at.program.clone(),
        argv,
        env: environment(at),
        files: vec![(name.into(), text.as_bytes().to_vec())],
    }
}

/// Does this path name a directory?
pub(super) fn is_directory(path: &Path, world: &dyn World) -> bool {
    world.node(path) == Some(Node::Directory)
}
