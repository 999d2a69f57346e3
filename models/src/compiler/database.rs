// SPDX-License-Identifier: Apache-2.0
//! What a compiler's command line compiles, for compilation databases: one entry for each source, in the form in which
//! Bear writes them. Lenient where the model is strict: a database is for people and editors, and an option that nobody knows
//! is passed on to them.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Compiler;
use super::command_line::attach;
use super::language::{ByName, Language};
use super::options::{self, Meaning as M};
use crate::response;

/// One source that a command compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compilation {
    /// The source, as written.
    pub source: PathBuf,
    /// What `-o` says. Of a command that also links it is the program.
    pub output: Option<PathBuf>,
    /// The arguments behind `argv[0]` that compile this source: without other sources, linker options and dependency
    /// files, with `-c` where the command goes on to link.
    pub arguments: Vec<OsString>,
}

/// What an option is to a compilation.
enum Part {
    Kept,
    Dropped,
    /// The command compiles nothing.
    Ends,
}

/// The sources that this command compiles: none where it only preprocesses, links, or answers.
#[must_use]
pub fn compilations(
    compiler: Compiler,
    argv: &[OsString],
    read_response_file: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
) -> Vec<Compilation> {
    let args = argv.get(1..).unwrap_or_default();
    let Ok((args, _)) = response::expand(args, &mut |path| Ok(read_response_file(path).ok())) else {
        return Vec::new();
    };
    let (mut kept, mut sources, mut output) = (Vec::new(), Vec::new(), None);
    let mut language = None;
    let mut stops = false;
    let mut words = args.into_iter();
    while let Some(word) = words.next() {
        if !word.as_bytes().starts_with(b"-") {
            match (language, Language::by_name(Path::new(&word), compiler)) {
                (Some(false), _) | (None, ByName::Source(_)) => sources.push(PathBuf::from(word)),
                (Some(true), _) => return Vec::new(),
                (None, _) => kept.push(word),
            }
            continue;
        }
        let Some(row) = options::find(&word, compiler.vendor) else {
            kept.push(word);
            continue;
        };
        // An option without its value ends the line: the compiler says so itself.
        let Ok((group, value)) = attach(row, word, &mut words) else { break };
        match row.meaning {
            M::Output => {
                output = value.map(PathBuf::from);
                continue;
            }
            M::Object | M::Assembly => stops = true,
            // Headers compile to precompiled ones.
            M::Language => language = value.filter(|v| v != "none").map(|v| is_header(&v)),
            _ => {}
        }
        match part(row.meaning, row.name) {
            Part::Kept => kept.extend(group),
            Part::Dropped => {}
            Part::Ends => return Vec::new(),
        }
    }
    sources.retain(|source| match Language::by_name(source, compiler) {
        ByName::Source(by_name) => !by_name.is_header() || language.is_some(),
        _ => true,
    });
    let entry = |source: PathBuf| {
        let stop = (!stops).then(|| "-c".into());
        let mut arguments: Vec<OsString> = stop.into_iter().chain(kept.iter().cloned()).collect();
        if let Some(output) = &output {
            arguments.extend(["-o".into(), output.into()]);
        }
        arguments.push(source.clone().into());
        Compilation { source, output: output.clone(), arguments }
    };
    sources.into_iter().map(entry).collect()
}

fn is_header(language: &OsStr) -> bool {
    Language::by_option(language).is_some_and(Language::is_header)
}

fn part(meaning: M, name: &str) -> Part {
    match meaning {
        M::Preprocess | M::Rule | M::Query => Part::Ends,
        M::RuleBeside | M::RuleFile | M::RuleTarget | M::RulePhony => Part::Dropped,
        M::Library | M::LibraryDir | M::LinkScript | M::LinkerWord | M::LinkPlain => Part::Dropped,
        M::Static | M::Shared | M::Relocatable => Part::Dropped,
        M::LinkToolchain if !name.starts_with("-f") => Part::Dropped,
        _ if name.starts_with("-M") => Part::Dropped,
        _ => Part::Kept,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Vendor;
    use super::*;

    fn of(line: &str) -> Vec<(String, Option<PathBuf>, String)> {
        let compiler = Compiler { vendor: Vendor::Gnu, cxx: false };
        let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let read = &mut |path: &Path| match path.to_str() {
            Some("rsp") => Ok(b"-c r.c".to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let text = |words: Vec<OsString>| words.join(OsStr::new(" ")).to_string_lossy().into_owned();
        let entry = |c: Compilation| (c.source.display().to_string(), c.output, text(c.arguments));
        compilations(compiler, &argv, read).into_iter().map(entry).collect()
    }

    /// What Bear 3.1.1 writes for these commands, but for the last three, which it does not see through.
    #[test]
    fn entries_are_those_of_bear() {
        for (line, expected) in [
            ("gcc -c a.c -O2", "-c -O2 a.c"),
            ("gcc -Wall -o prog a.c -lm -L. -Wl,-O1", "-c -Wall -Wl,-O1 -o prog a.c"),
            ("gcc -DX=1 -c b.cc -o b.o -MD -MF b.d -MT b.o -MP", "-DX=1 -c -o b.o b.cc"),
            ("gcc -S a.c -o a.s", "-S -o a.s a.c"),
            ("gcc -shared -fPIC c.c -o l.so -Wl,-soname,x", "-c -fPIC -Wl,-soname,x -o l.so c.c"),
            ("gcc -fsyntax-only a.c", "-c -fsyntax-only a.c"),
            (
                "gcc -pthread -pipe -rdynamic -static -s -nostdlib -Xlinker -q -T x -u sym -L /x -l m -z now -fuse-ld=bfd \
                 -shared-libgcc -pie -no-pie -r a.c -o q.o",
                "-c -pthread -pipe -fuse-ld=bfd -o q.o a.c",
            ),
            ("gcc -Wp,-MD,x.d -MMD -c a.c -o w.o", "-Wp,-MD,x.d -c -o w.o a.c"),
            ("gcc a.c -o n5 -Llib -lfoo libx.a c.o", "-c libx.a c.o -o n5 a.c"),
            (
                "gcc -D X=1 -I inc -iquote q -include stdio.h -c a.c",
                "-D X=1 -I inc -iquote q -include stdio.h -c a.c",
            ),
            ("gcc -fno-such-thing=3 --never -c a.c", "-fno-such-thing=3 --never -c a.c"),
            ("gcc @rsp", "-c r.c"),
            ("gcc -x c -c foo.inc", "-x c -c foo.inc"),
            ("gcc -save-temps -c a.c -onear.o", "-save-temps -c -o near.o a.c"),
        ] {
            let found = of(line);
            assert_eq!(found.len(), 1, "{line}");
            assert_eq!(found[0].2, expected, "{line}");
        }
        let two = of("gcc -Wall a.c c.c -o prog");
        assert_eq!(two[0], ("a.c".into(), Some("prog".into()), "-c -Wall -o prog a.c".into()));
        assert_eq!(two[1].2, "-c -Wall -o prog c.c");
    }

    #[test]
    fn what_compiles_nothing_has_no_entry() {
        for line in [
            "gcc",
            "gcc -o prog a.o",
            "gcc -E a.c -o a.i",
            "gcc -M a.c",
            "gcc --version a.c",
            "gcc -c a.h",
            "gcc -x c-header -c a.inc",
            "gcc -c -o",
        ] {
            assert_eq!(of(line), [], "{line}");
        }
    }
}
