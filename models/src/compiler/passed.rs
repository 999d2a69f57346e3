// SPDX-License-Identifier: Apache-2.0
//! What the driver hands on: the words of `-Wl,…` and `-Xlinker` for the linker, of `-Wa,…` and `-Xassembler` for the
//! assembler, as far as they name files, change which files are looked for, or write any. What the words mean is told by
//! the models of these programs; what these do not know is declined.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::about;
use crate::Decline;
use crate::binutils::{AsJob, LdEffect, LdItem, Linker, Request, Unread, classify, read_as_words};

/// One thing that the linker does in its turn, for the order of a link line matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkItem {
    /// An object, an archive, a shared library or a linker script, given by its path.
    File(PathBuf),
    /// `-lNAME`; `:FILE` where the exact file name was given.
    Library(OsString),
    /// `-Bstatic`, `-Bdynamic`, `--push-state`, `--pop-state`: decides how the following libraries are looked for.
    State(LdEffect),
}

/// What the words for the linker say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkerWords {
    /// Objects and libraries in order; the command line adds its own here.
    pub items: Vec<LinkItem>,
    /// `-L` directories in order.
    pub dirs: Vec<PathBuf>,
    /// `-rpath-link` and `-rpath` directories, in the order in which the linker tries them.
    pub rpath_link: Vec<PathBuf>,
    /// Linker scripts, which may name further files.
    pub scripts: Vec<PathBuf>,
    /// Other files that are read: version scripts, dynamic lists.
    pub reads: Vec<PathBuf>,
    /// Files that are written beside the program: maps.
    pub writes: Vec<PathBuf>,
    /// What is read is written down there.
    pub dependencies: Option<PathBuf>,
    /// Import libraries that are written beside the program.
    pub import_libraries: Vec<PathBuf>,
    /// Words that the link probe keeps: the emulation, plugins.
    pub kept: Vec<OsString>,
}

/// Files that the linker names in options whose values the driver must not touch, and where in the link line objects
/// stand: collected word by word.
#[derive(Debug, Default)]
pub(super) struct LinkerParser {
    /// What was found so far.
    pub(super) found: LinkerWords,
    rpath: Vec<PathBuf>,
    /// An option that still waits for its value.
    waiting: Option<OsString>,
    /// A map is written.
    has_map: bool,
    /// An option that adds to the map, or prints where there is none.
    adds_to_map: Option<OsString>,
}

impl LinkerParser {
    /// Takes one word as the linker will see it.
    pub(super) fn word(&mut self, word: &OsStr) -> Result<(), Decline> {
        let (option, next) = match self.waiting.take() {
            Some(option) => (option, Some(word)),
            None => (word.to_owned(), None),
        };
        match option.as_bytes() {
            [] => return Err(about(&option, "for the linker")),
            [b'@', _, ..] => {
                return Err(about(&option, "a response file for the linker that cannot be read"));
            }
            _ => {}
        }
        match classify(Linker::Any, &option, next) {
            Ok((LdItem::File(name), _)) => self.found.items.push(LinkItem::File(name.into())),
            Ok((LdItem::Option(effect, value), _)) => self.take(effect, &option, value)?,
            Err(Unread::WithoutValue) => self.waiting = Some(option),
            Err(Unread::Unknown) => return Err(about(&option, "for the linker")),
        }
        Ok(())
    }

    /// A file of the driver's own that is no source. The driver hands it on in its place among the linker's words, where
    /// it is the value of an option that waits for one: `-Wl,--version-script x.map`.
    pub(super) fn file(&mut self, path: PathBuf) -> Result<(), Decline> {
        let Some(option) = &self.waiting else {
            self.found.items.push(LinkItem::File(path));
            return Ok(());
        };
        // The driver wants the file to be there, so it cannot be one that the linker writes, nor what is no path.
        let (effect, value) = match classify(Linker::Any, option, Some(path.as_os_str())) {
            Ok((LdItem::Option(effect @ (LdEffect::Reads | LdEffect::JustSymbols), value), _)) => {
                (effect, value)
            }
            Ok((LdItem::Option(effect @ LdEffect::Script, value), _)) => {
                self.found.reads.push(path);
                (effect, value)
            }
            _ => return self.boundary(),
        };
        let option = option.clone();
        self.waiting = None;
        self.take(effect, &option, value)
    }

    fn take(&mut self, effect: LdEffect, option: &OsStr, value: OsString) -> Result<(), Decline> {
        use LdEffect as L;
        let found = &mut self.found;
        match effect {
            L::Nothing => {}
            L::Prints => return Err(about(option, "prints about the link")),
            L::Query => return Err(about(option, "asks the linker about itself")),
            L::Plugin => return Err(about(option, "names a linker plugin")),
            L::PluginOption => return Err(about(option, "passes options to a linker plugin")),
            // The driver has options of its own for most of these, and would not know.
            L::Output | L::Sysroot | L::Format | L::Relocatable | L::Unmodelled => {
                return Err(about(option, "for the linker"));
            }
            // `-Map=-` prints, `-Map=%` makes up a name.
            L::WritesSide if value == "-" || value.as_bytes().contains(&b'%') => {
                return Err(about(option, "does not name a file"));
            }
            L::WritesSide => {
                self.has_map = true;
                found.writes.push(value.into());
            }
            L::ImportLibrary => found.import_libraries.push(value.into()),
            L::WritesDependencies => found.dependencies = Some(value.into()),
            L::AddsToMap => self.adds_to_map = Some(option.to_owned()),
            L::Library => found.items.push(LinkItem::Library(value)),
            L::LibraryDir => found.dirs.push(value.into()),
            L::Rpath => self.rpath.extend(colon_separated(&value)),
            L::RpathLink => found.rpath_link.extend(colon_separated(&value)),
            L::Script => found.scripts.push(value.into()),
            L::Reads | L::JustSymbols => found.reads.push(value.into()),
            L::Emulation => found.kept.extend(["-m".into(), value]),
            L::NoSystemDirs => found.kept.push(option.to_owned()),
            L::Static | L::Dynamic | L::PushState | L::PopState => found.items.push(LinkItem::State(effect)),
        }
        Ok(())
    }

    /// The object of a source or a library comes next: no option of the linker may be open.
    pub(super) fn boundary(&self) -> Result<(), Decline> {
        match &self.waiting {
            Some(option) => Err(about(option, "for the linker, without its value")),
            None => Ok(()),
        }
    }

    /// All words were seen.
    pub(super) fn finish(mut self) -> Result<LinkerWords, Decline> {
        self.boundary()?;
        if let Some(option) = self.adds_to_map.filter(|_| !self.has_map) {
            return Err(about(&option, "prints about the link"));
        }
        // ld looks for needed libraries in -rpath-link directories first, then in those of -rpath.
        self.found.rpath_link.append(&mut self.rpath);
        Ok(self.found)
    }
}

fn colon_separated(value: &OsStr) -> impl Iterator<Item = PathBuf> + '_ {
    value
        .as_bytes()
        .split(|&b| b == b':')
        .filter(|dir| !dir.is_empty())
        .map(|dir| OsStr::from_bytes(dir).into())
}

/// What the words for the assembler say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssemblerWords {
    /// `-I` directories, for `.include` and `.incbin`.
    pub dirs: Vec<PathBuf>,
}

/// Takes the words for the assembler.
pub(super) fn assembler_words(words: &[OsString]) -> Result<AssemblerWords, Decline> {
    let refuse = |why: &str| Err(Decline(format!("for the assembler: {why}")));
    match read_as_words(words) {
        Ok(Request::Job(AsJob {
            sources,
            output: None,
            include_dirs,
            dependencies: None,
            listing: None,
        })) if sources.is_empty() => {
            Ok(AssemblerWords { dirs: include_dirs.into_iter().map(PathBuf::from).collect() })
        }
        Ok(Request::Job(AsJob { listing: Some(_), .. })) => refuse("prints a listing"),
        Ok(Request::Job(_)) => refuse("names files"),
        Ok(Request::Query) => refuse("asks for information"),
        Err(Decline(reason)) => refuse(&reason),
    }
}

/// The comma-separated words of `-Wl,…`, `-Wa,…` or `-Wp,…`.
pub(super) fn comma_separated(list: &OsStr) -> Vec<OsString> {
    list.as_bytes().split(|&b| b == b',').map(|word| OsString::from_vec(word.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linker(words: &[&str]) -> Result<LinkerWords, Decline> {
        let mut parser = LinkerParser::default();
        for word in words {
            parser.word(OsStr::new(word))?;
        }
        parser.finish()
    }

    #[test]
    fn linker_options_in_their_several_spellings() {
        let words =
            ["-soname", "libx.so.1", "--version-script=x.ver", "-rpath-link", "a:b", "-rpath", "/opt/lib"];
        let found = linker(&words).unwrap();
        assert_eq!(found.reads, [PathBuf::from("x.ver")]);
        assert_eq!(found.rpath_link, ["a", "b", "/opt/lib"].map(PathBuf::from));
        assert_eq!(linker(&["-Map=out.map"]).unwrap().writes, [PathBuf::from("out.map")]);
        assert_eq!(linker(&["-Map", "out.map"]).unwrap().writes, [PathBuf::from("out.map")]);
        assert_eq!(linker(&["--cref", "-Map", "out.map"]).unwrap().writes, [PathBuf::from("out.map")]);
        assert_eq!(
            linker(&["-O1", "--hash-style=gnu", "-znow", "-z", "relro", "--build-id=sha1"]).unwrap(),
            { LinkerWords::default() }
        );
        assert_eq!(linker(&["-melf_x86_64"]).unwrap().kept, ["-m", "elf_x86_64"]);
        assert_eq!(linker(&["-m", "elf_x86_64"]).unwrap().kept, ["-m", "elf_x86_64"]);
    }

    #[test]
    fn a_file_is_the_value_of_an_option_that_waits() {
        let found = |option: &str, file: &str| {
            let mut parser = LinkerParser::default();
            parser.word(OsStr::new(option)).and_then(|()| parser.file(file.into()))?;
            parser.file("a.o".into())?;
            parser.finish()
        };
        let items = vec![LinkItem::File("a.o".into())];
        for option in ["--version-script", "--dynamic-list", "--just-symbols"] {
            let read =
                LinkerWords { items: items.clone(), reads: vec!["x.map".into()], ..LinkerWords::default() };
            assert_eq!(found(option, "x.map").unwrap(), read, "{option}");
        }
        // The driver looks for it in one place only.
        let scripts = vec![PathBuf::from("x.ld")];
        assert_eq!(
            found("-T", "x.ld").unwrap(),
            LinkerWords { items, reads: scripts.clone(), scripts, ..LinkerWords::default() }
        );
        for option in ["-Map", "-soname", "-z", "-rpath", "-o", "--frobnicate-with"] {
            assert!(found(option, "x").is_err(), "{option}");
        }
    }

    #[test]
    fn order_of_libraries_and_states_is_kept() {
        let found =
            linker(&["-Bstatic", "-lfoo", "-Bdynamic", "--start-group", "libbar.a", "--end-group"]).unwrap();
        assert_eq!(
            found.items,
            [
                LinkItem::State(LdEffect::Static),
                LinkItem::Library("foo".into()),
                LinkItem::State(LdEffect::Dynamic),
                LinkItem::File("libbar.a".into()),
            ]
        );
    }

    #[test]
    fn what_prints_or_is_not_known_is_declined() {
        for words in [
            &["-M"][..],
            &["--verbose"],
            &["--frobnicate"],
            &["-soname"],
            &["--reproduce=x"],
            &["-Map=-"],
            &["--cref"],
            &["--cref", "-Map=-"],
            &["-r"],
            &["-Map=%"],
            &["-o", "x"],
            &["-omagic"],
            &["--sysroot=/"],
            &["-mllvm", "x"],
            &["-aarchive"],
            &[""],
            &["@x"],
        ] {
            assert!(linker(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn assembler_words_name_directories() {
        let words = ["-I", "inc", "-Ilib", "--noexecstack", "--defsym", "X=1", "-mrelax-relocations=no"];
        let found = assembler_words(&words.map(OsString::from)).unwrap();
        assert_eq!(found.dirs, ["inc", "lib"].map(PathBuf::from));
        for words in [
            &["-adhln"][..],
            &["-al=x.lst"],
            &["--MD"],
            &["--MD", "x.d"],
            &["-o", "x"],
            &["x.s"],
            &["--version"],
        ] {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert!(assembler_words(&words).is_err(), "{words:?}");
        }
    }
}
