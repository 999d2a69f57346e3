// SPDX-License-Identifier: Apache-2.0
//! The options of gcc and clang: how each one attaches its argument, and what it means for the question "which files".
//!
//! The compilers know some three thousand options. Those that name files, write files, print, or choose programs and
//! libraries each have a row here. The others fall into families (`-f…`, `-m…`, `-W…`, `-g…`, `-O…`) whose members
//! only change what the result contains. A member of the `-f` family that carries a value and has no row may name
//! a file: it is unknown, and the command is declined.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

mod table;

use Audience::{Any, Clang, Gnu};
use Shape::{Either, Equals, Flag, Joined, Separate};
use table::OPTIONS;

/// Which compilers know an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    Any,
    Gnu,
    Clang,
}

/// How an option attaches its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// No argument: `-c`.
    Flag,
    /// The rest of the word: `-O2`. The rest may be empty.
    Joined,
    /// The next word: `-MF FILE`.
    Separate,
    /// The rest of the word, or the next word where the rest is empty: `-Idir`, `-I dir`.
    Either,
    /// `--sysroot=DIR` or `--sysroot DIR`.
    Equals,
}

/// What an option means to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// `-E`, `-S`, `-c`: where the driver stops.
    Preprocess,
    Assembly,
    Object,
    /// `-M`, `-MM`: print a makefile rule in place of the text.
    Rule,
    /// `-MD`, `-MMD`: write the rule beside compiling.
    RuleBeside,
    RuleFile,
    RuleTarget,
    RulePhony,
    Output,
    Language,
    /// `-D`: kept for the preprocessor, as are the others about macros.
    Define,
    /// `-U`, `-A`.
    Macro,
    Include,
    Quote,
    System,
    After,
    /// `-include`, `-imacros`.
    Forced,
    /// Decides which directories or languages the preprocessor uses; stays in every probe and question.
    Front,
    /// As `Front`, and its value is a path.
    FrontPath,
    /// `-B`: a path or a prefix of one; decides which programs run.
    ToolPrefix,
    /// As `FrontPath`, and the file is an input.
    FrontFile,
    /// A flag that can pull other files of the toolchain into compile or link: stays in the probes.
    Toolchain,
    /// Changes what the result contains, not which files are read or written.
    Plain,
    /// Changes only what `-E` writes.
    Text,
    /// A diagnostic option: as `Plain`.
    Warning,
    /// `-Wp,…`, `-Xpreprocessor`, `-Wa,…`, `-Xassembler`, `-Wl,…`, `-Xlinker`.
    PreprocessorList,
    AssemblerList,
    AssemblerWord,
    LinkerList,
    LinkerWord,
    Library,
    LibraryDir,
    /// Only for the linker, stays in the link probe.
    LinkToolchain,
    /// Only for the linker, and of no importance to it when it looks for files.
    LinkPlain,
    /// Only for the linker; the value is a linker script.
    LinkScript,
    Static,
    Shared,
    Relocatable,
    /// `-emit-llvm`: another kind of output.
    Bitcode,
    /// `-MJ`: a part of a compilation database.
    Fragment,
    /// Side outputs.
    Coverage,
    CoverageNotes,
    SplitDwarf,
    SplitDwarfNone,
    StackUsage,
    CallGraph,
    /// The value is a file that is read.
    ReadsFile,
    /// `-fprofile-use` and its like.
    ProfileUse,
    /// Asks the compiler about itself and does nothing else.
    Query,
    /// A query if there is nothing to compile; else it prints beside.
    Verbose,
    /// Not deferred, for this reason.
    Declined(&'static str),
}

/// One option.
#[derive(Debug)]
pub(super) struct Row {
    /// Its name, dashes included.
    pub(super) name: &'static str,
    /// How it attaches its argument.
    pub(super) shape: Shape,
    /// What it means.
    pub(super) meaning: Meaning,
    audience: Audience,
}

/// The rows whose second byte is this one.
fn bucket(second: u8) -> &'static [Row] {
    let key = |row: &Row| row.name.as_bytes().get(1).copied().unwrap_or(0);
    let start = OPTIONS.partition_point(|row| key(row) < second);
    let end = OPTIONS.partition_point(|row| key(row) <= second);
    &OPTIONS[start..end]
}

/// Does the row's name begin this argument in a way that its shape allows?
fn fits(row: &Row, arg: &[u8]) -> bool {
    let Some(rest) = arg.strip_prefix(row.name.as_bytes()) else { return false };
    match row.shape {
        Flag | Separate => rest.is_empty(),
        Joined | Either => true,
        Equals => rest.is_empty() || rest.starts_with(b"="),
    }
}

/// The row for an argument that starts with a dash: the one with the longest name that fits. None for an option that the
/// table does not know.
pub(super) fn find(arg: &OsStr, vendor: super::Vendor) -> Option<&'static Row> {
    let arg = arg.as_bytes();
    let known = |row: &&Row| match row.audience {
        Any => true,
        Gnu => vendor == super::Vendor::Gnu,
        Clang => vendor == super::Vendor::Clang,
    };
    let row = bucket(*arg.get(1)?)
        .iter()
        .filter(known)
        .filter(|row| fits(row, arg))
        .max_by_key(|row| row.name.len())?;
    // A member of the large family that has a value may name a file; see the module's text.
    if row.name == "-f" && arg.contains(&b'=') || is_bare_family(row, arg) {
        return None;
    }
    Some(row)
}

/// `-f` and `-m` alone, or followed by something that is no word, are no options.
fn is_bare_family(row: &Row, arg: &[u8]) -> bool {
    matches!(row.name, "-f" | "-m") && !arg.get(2).is_some_and(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::super::Vendor;
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_each_option_once() {
        for pair in OPTIONS.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} before {}", pair[0].name, pair[1].name);
        }
    }

    #[test]
    fn the_longest_name_that_fits_wins() {
        let name = |arg: &str, vendor| find(OsStr::new(arg), vendor).map(|row| row.name);
        assert_eq!(name("-O2", Vendor::Gnu), Some("-O"));
        assert_eq!(name("-Ofast", Vendor::Gnu), Some("-Ofast"));
        assert_eq!(name("-MMD", Vendor::Gnu), Some("-MMD"));
        assert_eq!(name("-Wl,-x", Vendor::Gnu), Some("-Wl,"));
        assert_eq!(name("-Wlogical-op", Vendor::Gnu), Some("-W"));
        assert_eq!(name("-static-pie", Vendor::Gnu), Some("-static-pie"));
        assert_eq!(name("-staticx", Vendor::Gnu), None);
        assert_eq!(name("-mfpu=neon", Vendor::Gnu), Some("-mfpu="));
        assert_eq!(name("--sysroot=/x", Vendor::Gnu), Some("--sysroot"));
        assert_eq!(name("--sysrootx", Vendor::Gnu), None);
        assert_eq!(name("-wrapper", Vendor::Clang), None);
        assert_eq!(name("-fomit-frame-pointer", Vendor::Gnu), Some("-f"));
        assert_eq!(name("-fsecret-report=/tmp/x", Vendor::Gnu), None);
        assert_eq!(name("-f", Vendor::Gnu), None);
        assert_eq!(name("-", Vendor::Gnu), None);
        assert_eq!(name("-isystem-after", Vendor::Clang), Some("-isystem-after"));
    }
}
