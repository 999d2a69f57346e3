// SPDX-License-Identifier: Apache-2.0
//! What the driver hands on to the linker: the words of `-Wl,…` and `-Xlinker`, as far as they name files, change which
//! files are looked for, or write any. Words that the table does not know are declined.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::about;
use crate::Decline;

/// One thing that the linker does in its turn, for the order of a link line matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkItem {
    /// An object, an archive, a shared library or a linker script, given by its path.
    File(PathBuf),
    /// `-lNAME`; `:FILE` where the exact file name was given.
    Library(OsString),
    /// `-Bstatic`, `-Bdynamic`, `--as-needed`, `--push-state` and their like: decides how the following libraries
    /// are looked for. As one word for the linker.
    State(OsString),
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
    /// Files that are written beside the program: maps, import libraries.
    pub writes: Vec<PathBuf>,
    /// Words that the link probe keeps: the emulation, plugins.
    pub kept: Vec<OsString>,
}

#[derive(Clone, Copy, Debug)]
enum Ld {
    /// No value, nothing to know.
    Flag,
    /// A value that names no file.
    Value,
    State,
    Dir,
    Library,
    RpathLink,
    Rpath,
    Script,
    Reads,
    Writes,
    /// A word, with or without value, that the probe needs.
    Kept,
    KeptValue,
    No(&'static str),
}

/// The linker's long options, without dashes: ld takes one or two. The list covers GNU ld, gold, lld and mold as
/// far as builds use them. A name that ends in `=` only takes its value there.
const LD: &[(&str, Ld)] = &[
    ("Bdynamic", Ld::State),
    ("Bstatic", Ld::State),
    ("Bsymbolic", Ld::Flag),
    ("Bsymbolic-functions", Ld::Flag),
    ("Bsymbolic-non-weak-functions", Ld::Flag),
    ("E", Ld::Flag),
    ("I", Ld::Value),
    ("L", Ld::Dir),
    ("M", Ld::No("prints a linker map")),
    ("Map", Ld::Writes),
    ("N", Ld::Flag),
    ("R", Ld::Reads),
    ("S", Ld::Flag),
    ("T", Ld::Script),
    ("Tbss", Ld::Value),
    ("Tdata", Ld::Value),
    ("Ttext", Ld::Value),
    ("Ttext-segment", Ld::Value),
    ("X", Ld::Flag),
    ("allow-multiple-definition", Ld::Flag),
    ("allow-shlib-undefined", Ld::Flag),
    ("as-needed", Ld::State),
    ("auxiliary", Ld::Value),
    ("build-id", Ld::Flag),
    ("build-id=", Ld::Value),
    ("call_shared", Ld::State),
    ("color-diagnostics", Ld::Flag),
    ("color-diagnostics=", Ld::Value),
    ("compress-debug-sections", Ld::Value),
    ("copy-dt-needed-entries", Ld::State),
    ("d", Ld::Flag),
    ("dc", Ld::Flag),
    ("default-script", Ld::Script),
    ("default-symver", Ld::Flag),
    ("defsym", Ld::Value),
    ("demangle", Ld::Flag),
    ("dependency-file", Ld::Writes),
    ("detect-odr-violations", Ld::Flag),
    ("disable-new-dtags", Ld::Flag),
    ("discard-all", Ld::Flag),
    ("discard-locals", Ld::Flag),
    ("dn", Ld::State),
    ("dp", Ld::Flag),
    ("dy", Ld::State),
    ("dynamic-linker", Ld::Value),
    ("dynamic-list", Ld::Reads),
    ("dynamic-list-cpp-new", Ld::Flag),
    ("dynamic-list-cpp-typeinfo", Ld::Flag),
    ("dynamic-list-data", Ld::Flag),
    ("e", Ld::Value),
    ("eh-frame-hdr", Ld::Flag),
    ("emit-relocs", Ld::Flag),
    ("enable-new-dtags", Ld::Flag),
    ("end-group", Ld::Flag),
    ("end-lib", Ld::Flag),
    ("entry", Ld::Value),
    ("error-limit=", Ld::Value),
    ("error-unresolved-symbols", Ld::Flag),
    ("exclude-libs", Ld::Value),
    ("export-dynamic", Ld::Flag),
    ("export-dynamic-symbol", Ld::Value),
    ("export-dynamic-symbol-list", Ld::Reads),
    ("f", Ld::Value),
    ("fatal-warnings", Ld::Flag),
    ("filter", Ld::Value),
    ("fini", Ld::Value),
    ("fix-cortex-a53-835769", Ld::Flag),
    ("fix-cortex-a53-843419", Ld::Flag),
    ("force-dynamic", Ld::Flag),
    ("gc-keep-exported", Ld::Flag),
    ("gc-sections", Ld::Flag),
    ("gdb-index", Ld::Flag),
    ("gnu-unique", Ld::Flag),
    ("h", Ld::Value),
    ("hash-style", Ld::Value),
    ("icf=", Ld::Value),
    ("image-base", Ld::Value),
    ("init", Ld::Value),
    ("just-symbols", Ld::Reads),
    ("keep-unique", Ld::Value),
    ("l", Ld::Library),
    ("library", Ld::Library),
    ("library-path", Ld::Dir),
    ("lto-O0", Ld::Flag),
    ("lto-O1", Ld::Flag),
    ("lto-O2", Ld::Flag),
    ("lto-O3", Ld::Flag),
    ("m", Ld::KeptValue),
    ("max-page-size", Ld::Value),
    ("merge-exidx-entries", Ld::Flag),
    ("mllvm", Ld::No("passes options to LLVM")),
    ("n", Ld::Flag),
    ("no-allow-shlib-undefined", Ld::Flag),
    ("no-as-needed", Ld::State),
    ("no-build-id", Ld::Flag),
    ("no-call-graph-profile-sort", Ld::Flag),
    ("no-copy-dt-needed-entries", Ld::State),
    ("no-demangle", Ld::Flag),
    ("no-dynamic-linker", Ld::Flag),
    ("no-eh-frame-hdr", Ld::Flag),
    ("no-export-dynamic", Ld::Flag),
    ("no-fatal-warnings", Ld::Flag),
    ("no-gc-sections", Ld::Flag),
    ("no-gnu-unique", Ld::Flag),
    ("no-keep-memory", Ld::Flag),
    ("no-ld-generated-unwind-info", Ld::Flag),
    ("no-merge-exidx-entries", Ld::Flag),
    ("no-omagic", Ld::Flag),
    ("no-print-gc-sections", Ld::Flag),
    ("no-relax", Ld::Flag),
    ("no-rosegment", Ld::Flag),
    ("no-strip-discarded", Ld::Flag),
    ("no-threads", Ld::Flag),
    ("no-undefined", Ld::Flag),
    ("no-undefined-version", Ld::Flag),
    ("no-warn-execstack", Ld::Flag),
    ("no-warn-mismatch", Ld::Flag),
    ("no-warn-rwx-segments", Ld::Flag),
    ("no-warn-search-mismatch", Ld::Flag),
    ("no-whole-archive", Ld::Flag),
    ("noinhibit-exec", Ld::Flag),
    ("non_shared", Ld::State),
    ("nostdlib", Ld::Kept),
    ("omagic", Ld::Flag),
    ("orphan-handling", Ld::Value),
    ("out-implib", Ld::Writes),
    ("pack-dyn-relocs=", Ld::Value),
    ("pie", Ld::Flag),
    ("plugin", Ld::No("names a linker plugin")),
    ("plugin-opt", Ld::No("passes options to a linker plugin")),
    ("pop-state", Ld::State),
    ("push-state", Ld::State),
    ("q", Ld::Flag),
    ("relax", Ld::Flag),
    ("require-defined", Ld::Value),
    ("retain-symbols-file", Ld::Reads),
    ("rosegment", Ld::Flag),
    ("rpath", Ld::Rpath),
    ("rpath-link", Ld::RpathLink),
    ("s", Ld::Flag),
    ("script", Ld::Script),
    ("section-start", Ld::Value),
    ("shared", Ld::Flag),
    ("soname", Ld::Value),
    ("sort-common", Ld::Flag),
    ("sort-common=", Ld::Value),
    ("sort-section", Ld::Value),
    ("start-group", Ld::Flag),
    ("start-lib", Ld::Flag),
    ("static", Ld::State),
    ("strip-all", Ld::Flag),
    ("strip-debug", Ld::Flag),
    ("strip-discarded", Ld::Flag),
    ("symbol-ordering-file", Ld::Reads),
    ("threads", Ld::Flag),
    ("threads=", Ld::Value),
    ("traditional-format", Ld::Flag),
    ("u", Ld::Value),
    ("undefined", Ld::Value),
    ("undefined-version", Ld::Flag),
    ("unique", Ld::Flag),
    ("unresolved-symbols", Ld::Value),
    ("verbose", Ld::No("prints what the linker does")),
    ("version", Ld::No("asks the linker for its version")),
    ("version-script", Ld::Reads),
    ("warn-backrefs", Ld::Flag),
    ("warn-common", Ld::Flag),
    ("warn-constructors", Ld::Flag),
    ("warn-execstack", Ld::Flag),
    ("warn-once", Ld::Flag),
    ("warn-rwx-segments", Ld::Flag),
    ("warn-section-align", Ld::Flag),
    ("warn-shared-textrel", Ld::Flag),
    ("warn-textrel", Ld::Flag),
    ("warn-unresolved-symbols", Ld::Flag),
    ("whole-archive", Ld::Flag),
    ("wrap", Ld::Value),
    ("x", Ld::Flag),
    ("z", Ld::Value),
];

/// Single-letter options whose value may be joined to them: `-Ldir`, `-lNAME`, `-O1`, `-znow`.
const LD_JOINED: &[(u8, Ld)] = &[
    (b'L', Ld::Dir),
    (b'l', Ld::Library),
    (b'O', Ld::Value),
    (b'z', Ld::Value),
    (b'm', Ld::KeptValue),
    (b'T', Ld::Script),
    (b'u', Ld::Value),
    (b'h', Ld::Value),
    (b'R', Ld::Reads),
];

/// Files that the linker names in options whose values the driver must not touch, and where in the link line objects
/// stand: collected word by word.
#[derive(Debug, Default)]
pub(super) struct LinkerParser {
    /// What was found so far.
    pub(super) found: LinkerWords,
    rpath: Vec<PathBuf>,
    /// An option that still waits for its value.
    waiting: Option<(Ld, OsString)>,
}

impl LinkerParser {
    /// Takes one word as the linker will see it.
    pub(super) fn word(&mut self, word: &OsStr) -> Result<(), Decline> {
        if let Some((what, name)) = self.waiting.take() {
            return self.take(what, &name, word);
        }
        let bytes = word.as_bytes();
        let unknown = || about(word, "for the linker");
        match bytes {
            [] => return Err(unknown()),
            b"-(" | b"-)" => return Ok(()),
            [b'@', name @ ..] if !name.is_empty() => {
                return Err(about(word, "a response file for the linker that cannot be read"));
            }
            [b'-', ..] => {}
            _ => {
                self.found.items.push(LinkItem::File(PathBuf::from(word)));
                return Ok(());
            }
        }
        let long = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-")).unwrap_or_default();
        let (name, value) = match long.iter().position(|&b| b == b'=') {
            Some(at) => (&long[..at], Some(OsStr::from_bytes(&long[at + 1..]))),
            None => (long, None),
        };
        let row = |name: &[u8]| LD.iter().find(|row| row.0.as_bytes() == name).map(|row| row.1);
        let with_equals: Vec<u8> = [name, b"="].concat();
        match (row(name), value) {
            (_, Some(value)) if row(&with_equals).is_some() => {
                let what = row(&with_equals).unwrap_or(Ld::Value);
                return self.take(what, word, value);
            }
            (Some(what), value) => match (what, value) {
                (Ld::No(why), _) => return Err(about(word, why)),
                (Ld::Flag, _) => return Ok(()),
                (Ld::State, None) => {
                    self.found.items.push(LinkItem::State(word.to_owned()));
                    return Ok(());
                }
                (Ld::Kept, None) => {
                    self.found.kept.push(word.to_owned());
                    return Ok(());
                }
                (Ld::State | Ld::Kept, Some(_)) => return Err(unknown()),
                (_, Some(value)) if name.len() > 1 => return self.take(what, word, value),
                (_, None) => {
                    self.waiting = Some((what, word.to_owned()));
                    return Ok(());
                }
                _ => {}
            },
            (None, _) => {}
        }
        // `-lNAME` and its like have one dash and the value joined.
        match bytes {
            [b'-', letter, rest @ ..] if *letter != b'-' && !rest.is_empty() => {
                let what =
                    LD_JOINED.iter().find(|row| row.0 == *letter).map(|row| row.1).ok_or_else(unknown)?;
                // `-Tdata` and misspelt long options must not pass for a joined value.
                if matches!(what, Ld::Reads | Ld::Script) && !rest.contains(&b'.') && !rest.contains(&b'/') {
                    return Err(unknown());
                }
                self.take(what, OsStr::from_bytes(&bytes[..2]), OsStr::from_bytes(rest))
            }
            _ => Err(unknown()),
        }
    }

    fn take(&mut self, what: Ld, name: &OsStr, value: &OsStr) -> Result<(), Decline> {
        let found = &mut self.found;
        match what {
            Ld::Value => {}
            Ld::Dir => found.dirs.push(PathBuf::from(value)),
            Ld::Library => found.items.push(LinkItem::Library(value.to_owned())),
            Ld::RpathLink => found.rpath_link.extend(colon_separated(value)),
            Ld::Rpath => self.rpath.extend(colon_separated(value)),
            Ld::Script => found.scripts.push(PathBuf::from(value)),
            Ld::Reads => found.reads.push(PathBuf::from(value)),
            Ld::Writes if value == "-" => return Err(about(name, "prints a linker map")),
            Ld::Writes => found.writes.push(PathBuf::from(value)),
            Ld::KeptValue => found.kept.extend([name.to_owned(), value.to_owned()]),
            Ld::Flag | Ld::State | Ld::Kept | Ld::No(_) => {
                return Err(about(name, "for the linker"));
            }
        }
        Ok(())
    }

    /// An object, library or option of the driver itself comes next: no option of the linker may be open.
    pub(super) fn boundary(&self) -> Result<(), Decline> {
        match &self.waiting {
            Some((_, name)) => Err(about(name, "for the linker, without its value")),
            None => Ok(()),
        }
    }

    /// All words were seen.
    pub(super) fn finish(mut self) -> Result<LinkerWords, Decline> {
        self.boundary()?;
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
    fn the_table_is_sorted() {
        assert!(LD.windows(2).all(|pair| pair[0].0 < pair[1].0));
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
        assert_eq!(
            linker(&["-O1", "--hash-style=gnu", "-znow", "-z", "relro", "--build-id=sha1"]).unwrap(),
            { LinkerWords::default() }
        );
        assert_eq!(linker(&["-melf_x86_64"]).unwrap().kept, ["-m", "elf_x86_64"]);
        assert_eq!(linker(&["-m", "elf_x86_64"]).unwrap().kept, ["-m", "elf_x86_64"]);
    }

    #[test]
    fn order_of_libraries_and_states_is_kept() {
        let found =
            linker(&["-Bstatic", "-lfoo", "-Bdynamic", "--start-group", "libbar.a", "--end-group"]).unwrap();
        assert_eq!(
            found.items,
            [
                LinkItem::State("-Bstatic".into()),
                LinkItem::Library("foo".into()),
                LinkItem::State("-Bdynamic".into()),
                LinkItem::File("libbar.a".into()),
            ]
        );
    }

    #[test]
    fn what_prints_or_is_not_known_is_declined() {
        for words in
            [&["-M"][..], &["--verbose"], &["--frobnicate"], &["-soname"], &["--reproduce=x"], &["-Map=-"]]
        {
            assert!(linker(words).is_err(), "{words:?}");
        }
    }
}
