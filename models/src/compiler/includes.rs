// SPDX-License-Identifier: Apache-2.0
//! Where a command looks for headers, and the commands that make the compiler itself tell which it reads.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use memchr::memmem;

use super::command_line::{CommandLine, Dependencies, Input, Mode, Part};
use super::language::Language;
use super::names;
use super::options::Meaning as M;
use super::passed::comma_separated;
use super::probe::{environment, is_front, kept_words};
use super::{Vendor, decline};
use crate::scanner::TIMESTAMP;
use crate::{Decline, IncludeSearch, Invocation, Node, Question, Rule, World};

/// The include search of a command with sources.
///
/// # Errors
/// Sources of languages that look in different places; a compiler that does not answer.
pub(super) fn search(
    vendor: Vendor,
    line: &CommandLine,
    at: &Invocation,
    world: &dyn World,
) -> Result<IncludeSearch, Decline> {
    let preprocessed: Vec<&Input> = line.sources.iter().filter(|s| s.language.is_preprocessed()).collect();
    let mut search = IncludeSearch {
        sources: line.sources.iter().map(|source| at.absolute(&source.path)).collect(),
        assembler: line.assembler.dirs.iter().chain(&line.include).map(|dir| at.absolute(dir)).collect(),
        ..IncludeSearch::default()
    };
    let Some(first) = preprocessed.first() else { return Ok(search) };
    if preprocessed.iter().any(|source| headers_of(source.language) != headers_of(first.language)) {
        return Err(decline("sources of several languages"));
    }
    if line.defines.iter().any(|define| memmem::find(define.as_bytes(), TIMESTAMP).is_some()) {
        return Err(decline("asks when a source was changed (__TIMESTAMP__)"));
    }
    search.forced.clone_from(&line.forced);
    search.defines.clone_from(&line.defines);
    // As written; then absolute.
    let mut bracket = line.include.clone();
    bracket.extend(from_environment("CPATH", at));
    let mut system = line.system.clone();
    system.extend(from_environment(headers_of(first.language), at));
    // The compiler tells these among its own, which come last; in truth they stand where they are named.
    let is_prefixed = |word: &OsString| word.as_bytes().starts_with(b"-iwithprefix");
    if !system.is_empty() && line.option_words().any(is_prefixed) {
        return Err(decline("option -iwithprefix beside other directories of system headers"));
    }
    system.extend(own_directories(line, first.language, at, world)?);
    let absolute = |dirs: &[PathBuf]| dirs.iter().map(|dir| at.absolute(dir)).collect::<Vec<_>>();
    search.system = absolute(&system);
    // A directory that is searched as a system one anyway is not searched earlier.
    let plain_system: Vec<PathBuf> = search.system.iter().map(|dir| plain(dir)).collect();
    bracket.retain(|dir| !plain_system.contains(&plain(&at.absolute(dir))));
    search.quote = absolute(&line.quote);
    search.bracket = absolute(&bracket);
    search.after = absolute(&line.after);

    search.front = front(line, at, world);
    let base = derived(line, at, false);
    search.ask_compiler = base.iter().cloned().chain(["-M".into()]).collect();
    if let Some((wanted, source)) = names::dependency_source(line)? {
        search.write_dependencies = write_dependencies(vendor, line, at, wanted, source);
        let target = match &*wanted.targets {
            [] => Some(names::default_target(vendor, line, wanted, source)),
            words => only_target(words),
        };
        let is_known =
            vendor == Vendor::Gnu && line.mode != Mode::Rule && !wanted.passed_on && !spells_otherwise(line);
        search.rule = target.filter(|_| is_known).map(|target| Rule {
            source: source.path.clone(),
            target,
            directories: [&*line.quote, &*bracket, &*system, &*line.after].concat(),
            system_headers: wanted.system_headers,
            phony: wanted.phony,
        });
    }
    Ok(search)
}

/// The command that writes the dependency file, whose name is the next word, without compiling.
fn write_dependencies(
    vendor: Vendor,
    line: &CommandLine,
    at: &Invocation,
    wanted: &Dependencies,
    source: &Input,
) -> Vec<OsString> {
    let mut command = derived(line, at, true);
    if line.mode == Mode::Rule {
        command.push(if wanted.system_headers { "-M" } else { "-MM" }.into());
    } else {
        let style = if wanted.system_headers { "-MD" } else { "-MMD" };
        command.extend(["-E", "-o", "/dev/null", style].map(OsString::from));
    }
    command.extend(wanted.phony.then(|| "-MP".into()));
    if wanted.targets.is_empty() {
        command.push("-MQ".into());
        command.push(names::default_target(vendor, line, wanted, source));
    }
    command.extend(wanted.targets.iter().cloned());
    command.push("-MF".into());
    command
}

/// Are headers called otherwise than by the directories that the compiler prints?
fn spells_otherwise(line: &CommandLine) -> bool {
    line.option_words().any(|word| {
        let word = word.as_bytes();
        word.ends_with(b"canonical-system-headers") || word.starts_with(b"-B")
    })
}

/// The target that `-MT` or `-MQ` gives, if it is one.
fn only_target(words: &[OsString]) -> Option<OsString> {
    let is_option = |word: &OsString| word == "-MT" || word == "-MQ";
    match words {
        [option, target] if is_option(option) => Some(target.clone()),
        [word] if !is_option(word) => {
            let target =
                word.as_bytes().strip_prefix(b"-MT").or_else(|| word.as_bytes().strip_prefix(b"-MQ"))?;
            Some(OsStr::from_bytes(target).to_owned())
        }
        _ => None,
    }
}

/// The variable that names the header directories of a language; languages that share it share the directories.
fn headers_of(language: Language) -> &'static str {
    match language {
        Language::Cxx | Language::CxxHeader | Language::CxxCppOutput => "CPLUS_INCLUDE_PATH",
        Language::ObjC => "OBJC_INCLUDE_PATH",
        Language::ObjCxx => "OBJCPLUS_INCLUDE_PATH",
        Language::C
        | Language::CHeader
        | Language::CppOutput
        | Language::Assembler
        | Language::AssemblerWithCpp => "C_INCLUDE_PATH",
    }
}

/// The directories in a variable, as written; an empty one is the working directory.
fn from_environment(name: &str, at: &Invocation) -> Vec<PathBuf> {
    let Some(list) = at.var(name).filter(|list| !list.is_empty()) else { return Vec::new() };
    let directory = |dir: &[u8]| PathBuf::from(OsStr::from_bytes(if dir.is_empty() { b"." } else { dir }));
    list.as_bytes().split(|&b| b == b':').map(directory).collect()
}

/// Without `.`; only for comparing. Where `..` leads, only links tell.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

/// The compiler's own header directories, as it prints them.
fn own_directories(
    line: &CommandLine,
    language: Language,
    at: &Invocation,
    world: &dyn World,
) -> Result<Vec<PathBuf>, Decline> {
    let mut argv = vec![at.argv.first().cloned().unwrap_or_default()];
    argv.extend(kept_words(line, at, world, is_front));
    argv.extend(["-x", language.option(), "-E", "-v", "/dev/null"].map(OsString::from));
    let question =
        Question { program: at.program.clone(), argv, env: environment(at), ..Question::default() };
    let answer = world
        .ask(&question)
        .map_err(|e| decline(format!("cannot be asked for its header directories: {e}")))?;
    parse_directories(&answer.stderr)
        .filter(|_| answer.code == 0)
        .ok_or_else(|| decline("does not tell its header directories"))
}

/// The block of `-v` that lists the directories for `#include <…>`.
fn parse_directories(text: &[u8]) -> Option<Vec<PathBuf>> {
    let mut lines = text.split(|&b| b == b'\n');
    lines.find(|line| line.starts_with(b"#include <...> search starts here:"))?;
    let mut dirs = Vec::new();
    for line in lines {
        match line {
            [b' ', dir @ ..] if !dir.ends_with(b" (framework directory)") => {
                dirs.push(OsStr::from_bytes(dir).into());
            }
            [b' ', ..] => {}
            _ => return line.starts_with(b"End of search list.").then_some(dirs),
        }
    }
    None
}

/// How the compiler is asked for what it has built in.
fn front(line: &CommandLine, at: &Invocation, world: &dyn World) -> Option<Question> {
    let [source] = &*line.sources else { return None };
    let has_tokens = source.language.is_preprocessed() && !source.language.is_assembler();
    let is_known = |word: &OsString| {
        let word = word.as_bytes();
        // Macros of files that are otherwise not read, another language, another preprocessor.
        !["-imacros", "--imacros", "-traditional"].iter().any(|option| word.starts_with(option.as_bytes()))
    };
    if !has_tokens || !line.option_words().all(is_known) {
        return None;
    }
    let mut argv = vec![at.argv.first().cloned().unwrap_or_default()];
    argv.extend(kept_words(line, at, world, |meaning| {
        // Some warnings have macros.
        is_front(meaning) || matches!(meaning, M::Define | M::Macro | M::Plain | M::Warning)
    }));
    argv.extend(line.parts.iter().flat_map(macros_passed_on));
    argv.extend(["-w", "-x", source.language.option()].map(OsString::from));
    Some(Question { program: at.program.clone(), argv, env: environment(at), ..Question::default() })
}

/// The command without what it does with the preprocessed text: only what the preprocessor looks at, and the
/// sources that it reads. `quiet` leaves out what only concerns messages.
fn derived(line: &CommandLine, at: &Invocation, quiet: bool) -> Vec<OsString> {
    let mut argv = vec![at.argv.first().cloned().unwrap_or_default()];
    for part in &line.parts {
        match part {
            Part::Option { meaning: M::PreprocessorList, .. } => argv.extend(macros_passed_on(part)),
            Part::Option { meaning, words, .. } if matters_to_preprocessor(*meaning) => {
                argv.extend(words.iter().cloned());
            }
            Part::Source(path) => {
                let reads = line.sources.iter().any(|s| s.path == *path && s.language.is_preprocessed());
                argv.extend(reads.then(|| path.clone().into_os_string()));
            }
            _ => {}
        }
    }
    if quiet {
        argv.push("-w".into());
    }
    argv
}

/// The options about macros in `-Wp,…`, one by one.
fn macros_passed_on(part: &Part) -> Vec<OsString> {
    let Part::Option { meaning: M::PreprocessorList, value: Some(value), .. } = part else {
        return Vec::new();
    };
    let alone = |word: OsString| [OsStr::new("-Wp,"), &*word].into_iter().collect();
    comma_separated(value).into_iter().filter(|word| is_macro(word)).map(alone).collect()
}

fn is_macro(word: &OsStr) -> bool {
    word.as_bytes().starts_with(b"-D") || word.as_bytes().starts_with(b"-U")
}

fn matters_to_preprocessor(meaning: M) -> bool {
    is_front(meaning)
        || matches!(
            meaning,
            M::Define
                | M::Macro
                | M::Include
                | M::Quote
                | M::System
                | M::After
                | M::Forced
                | M::Plain
                | M::Language
                | M::Warning
        )
}

/// What the compiler would find of a precompiled header for this command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Precompiled {
    None,
    File(PathBuf),
    /// A directory of several, of which the compiler takes the first that fits, in the order in which it reads them.
    Several(PathBuf),
}

/// Looks for a precompiled form of the headers that come first: the forced ones and the first one that each source
/// includes. Later ones cannot be precompiled.
pub(super) fn precompiled(
    vendor: Vendor,
    line: &CommandLine,
    search: &IncludeSearch,
    at: &Invocation,
    world: &dyn World,
) -> Precompiled {
    let suffixes: &[&str] = if vendor == Vendor::Gnu { &[".gch"] } else { &[".pch", ".gch"] };
    let forced = line.forced.iter().map(|name| (at.cwd.as_path(), name.as_path(), true));
    let mut first = Vec::new();
    // clang takes a precompiled header only in place of a forced one.
    if vendor == Vendor::Gnu {
        for source in search.sources.iter().zip(&line.sources).filter(|(_, s)| s.language.is_preprocessed()) {
            if let Some((name, is_quoted)) = world.read(source.0).ok().and_then(|text| first_include(&text)) {
                first.push((source.0.parent().unwrap_or(at.cwd.as_path()), name, is_quoted));
            }
        }
    }
    let first = first.iter().map(|(beside, name, is_quoted)| (*beside, name.as_path(), *is_quoted));
    for (beside, name, is_quoted) in forced.chain(first) {
        let near = is_quoted.then_some(beside).into_iter().chain(if is_quoted {
            dirs(&search.quote)
        } else {
            dirs(&[])
        });
        let far = dirs(&search.bracket).chain(dirs(&search.system)).chain(dirs(&search.after));
        for dir in near.chain(far) {
            for suffix in suffixes {
                let mut path = dir.join(name).into_os_string();
                path.push(suffix);
                match world.node(Path::new(&path)) {
                    Some(Node::Directory) => match directory(PathBuf::from(path), world) {
                        Precompiled::None => {}
                        found => return found,
                    },
                    Some(Node::File | Node::Placeholder) => return Precompiled::File(path.into()),
                    Some(Node::Other) | None => {}
                }
            }
            if world.node(&dir.join(name)).is_some() {
                break;
            }
        }
    }
    Precompiled::None
}

/// What is in a directory of precompiled headers. qmake makes one for each language in it.
fn directory(path: PathBuf, world: &dyn World) -> Precompiled {
    match world.list(&path).as_deref() {
        Ok([]) => Precompiled::None,
        Ok([one]) if matches!(world.node(&path.join(one)), Some(Node::File | Node::Placeholder)) => {
            Precompiled::File(path.join(one))
        }
        _ => Precompiled::Several(path),
    }
}

fn dirs(list: &[PathBuf]) -> std::iter::Map<std::slice::Iter<'_, PathBuf>, fn(&PathBuf) -> &Path> {
    list.iter().map(PathBuf::as_path)
}

/// The first `#include` of a text with the kind of its quotes. Comments and conditions are not looked at: what is
/// found is only a candidate.
fn first_include(text: &[u8]) -> Option<(PathBuf, bool)> {
    text.split(|&b| b == b'\n').find_map(|line| {
        let rest = line.trim_ascii_start().strip_prefix(b"#")?.trim_ascii_start();
        let rest = rest.strip_prefix(b"include")?.trim_ascii_start();
        let (close, rest) = match rest {
            [b'"', rest @ ..] => (b'"', rest),
            [b'<', rest @ ..] => (b'>', rest),
            _ => return None,
        };
        let name = &rest[..rest.iter().position(|&b| b == close)?];
        Some((PathBuf::from(OsStr::from_bytes(name)), close == b'"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_directories_of_both_vendors() {
        let text = b"ignoring nonexistent directory \"/x\"\n#include \"...\" search starts here:\n\
            #include <...> search starts here:\n /usr/lib/gcc/x86_64-linux-gnu/12/include\n /usr/include\n\
            End of search list.\n# 0 \"/dev/null\"\n";
        let want = ["/usr/lib/gcc/x86_64-linux-gnu/12/include", "/usr/include"].map(PathBuf::from);
        assert_eq!(parse_directories(text), Some(want.to_vec()));
        assert_eq!(parse_directories(b"error"), None);
        assert_eq!(parse_directories(b"#include <...> search starts here:\n /a\n"), None);
    }

    #[test]
    fn the_first_include_of_a_source() {
        assert_eq!(first_include(b"/* x */\n # include <a/b.h> // c\n"), Some(("a/b.h".into(), false)));
        assert_eq!(first_include(b"#include \"x.h\"\n#include <y.h>"), Some(("x.h".into(), true)));
        assert_eq!(first_include(b"#include MACRO\nint x;"), None);
    }
}
