// SPDX-License-Identifier: Apache-2.0
//! The options of linkers: which of them take a value, and what they mean to a model. The one table for a linker that is
//! run directly and for what a compiler hands on to it (`-Wl,`, `-Xlinker`). Pure.

use super::options::{Item, Row, Style, Takes, Unread, read};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// What an argument of the linker means to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LdEffect {
    /// Nothing: no file, and no change to which files are found.
    Nothing,
    /// The value is a file that is read: a version script, a list of symbols.
    Reads,
    /// The value is a linker script, searched for along `-L` as well; it can name other files.
    Script,
    /// The value is a file whose symbols are taken, or a directory, which then is an `-rpath`.
    JustSymbols,
    /// The value is a plugin.
    Plugin,
    /// The value is an argument for the plugin.
    PluginOption,
    /// The value is the main output.
    Output,
    /// The value is a file that is written along with the output: a map.
    WritesSide,
    /// The value is an import library that is written along with the output: an ELF file, or for Windows an archive.
    ImportLibrary,
    /// The value is a makefile fragment that is written.
    WritesDependencies,
    /// The value is what follows `-l`.
    Library,
    /// The value is a directory of libraries.
    LibraryDir,
    /// The value is a search path, for needed libraries too.
    Rpath,
    /// The value is a search path for needed libraries.
    RpathLink,
    /// Libraries after this are static ones.
    Static,
    /// Libraries after this may be shared.
    Dynamic,
    /// Saves static or dynamic.
    PushState,
    /// Restores it.
    PopState,
    /// The value is the system root.
    Sysroot,
    /// The value is an emulation.
    Emulation,
    /// The value is the format of the inputs after this.
    Format,
    /// The output is relocatable.
    Relocatable,
    /// The linker's own directories do not count.
    NoSystemDirs,
    /// Prints about the link.
    Prints,
    /// Adds to the file of `-Map`; prints where there is none.
    AddsToMap,
    /// Asks the linker about itself.
    Query,
    /// Reads or writes what no model follows.
    Unmodelled,
}

impl LdEffect {
    /// Are static libraries looked for after this, if they were before (`is_static`)? `saved` is the stack of the
    /// states that were pushed.
    pub(crate) fn switch(self, is_static: &mut bool, saved: &mut Vec<bool>) {
        match self {
            LdEffect::Static => *is_static = true,
            LdEffect::Dynamic => *is_static = false,
            LdEffect::PushState => saved.push(*is_static),
            LdEffect::PopState => *is_static = saved.pop().unwrap_or(*is_static),
            _ => {}
        }
    }
}

/// One argument, or an option with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LdItem {
    /// An option. The value is empty where there is none.
    Option(LdEffect, OsString),
    /// A file.
    File(OsString),
}

use LdEffect as L;

const fn flag(long: &'static [&'static str], short: &'static str, effect: L) -> Row<L> {
    Row { long, short, takes: Takes::Nothing, effect }
}

const fn with(long: &'static [&'static str], short: &'static str, effect: L) -> Row<L> {
    Row { long, short, takes: Takes::Value, effect }
}

/// Here the letter is believed only where its value is the next argument.
const fn apart(long: &'static [&'static str], short: &'static str, effect: L) -> Row<L> {
    Row { long, short, takes: Takes::ValueApart, effect }
}

const fn maybe(long: &'static [&'static str], short: &'static str, effect: L) -> Row<L> {
    Row { long, short, takes: Takes::Attached, effect }
}

/// The options of GNU ld and gold.
const GNU: &[Row<L>] = &[
    // Files.
    with(&["library"], "l", L::Library),
    with(&["library-path"], "L", L::LibraryDir),
    with(&["output"], "o", L::Output),
    with(&["script"], "T", L::Script),
    with(&["default-script", "dT"], "", L::Script),
    with(
        &["version-script", "dynamic-list", "export-dynamic-symbol-list", "retain-symbols-file"],
        "",
        L::Reads,
    ),
    with(&["just-symbols"], "R", L::JustSymbols),
    with(&["plugin"], "", L::Plugin),
    with(&["plugin-opt"], "", L::PluginOption),
    with(&["rpath"], "", L::Rpath),
    with(&["rpath-link"], "", L::RpathLink),
    with(&["sysroot"], "", L::Sysroot),
    with(&["Map"], "", L::WritesSide),
    with(&["dependency-file"], "", L::WritesDependencies),
    with(&["mri-script"], "c", L::Unmodelled),
    with(&["out-implib"], "", L::ImportLibrary),
    with(&["error-handling-script", "base_file", "output-def"], "", L::Unmodelled),
    with(&["section-ordering-file", "remap-inputs-file", "remap-inputs"], "", L::Unmodelled),
    with(&[], "Y", L::Unmodelled),
    // Options for LLVM, to lld; an emulation of that name to GNU ld.
    with(&["mllvm"], "", L::Unmodelled),
    // A keyword of HP-UX for `-Bstatic` and `-Bdynamic`; a machine whose libraries have its name in theirs.
    with(&["architecture"], "aA", L::Unmodelled),
    // How files are found and read.
    flag(&["Bstatic", "dn", "non_shared", "static"], "", L::Static),
    flag(&["Bdynamic", "dy", "call_shared"], "", L::Dynamic),
    flag(&["push-state"], "", L::PushState),
    flag(&["pop-state"], "", L::PopState),
    flag(&["nostdlib"], "", L::NoSystemDirs),
    with(&[], "m", L::Emulation),
    apart(&["format"], "b", L::Format),
    flag(&["relocatable", "Ur"], "ri", L::Relocatable),
    // What is printed.
    flag(&["print-map"], "M", L::Prints),
    flag(&["cref"], "", L::AddsToMap),
    flag(&["trace", "stats", "print-gc-sections", "print-memory-usage"], "t", L::Prints),
    apart(&["trace-symbol"], "y", L::Prints),
    maybe(&["verbose"], "", L::Prints),
    flag(&["version", "help", "target-help", "print-output-format", "print-sysroot"], "vV", L::Query),
    // The rest changes the output only.
    flag(&["start-group", "end-group"], "()", L::Nothing),
    flag(&["as-needed", "no-as-needed", "whole-archive", "no-whole-archive"], "", L::Nothing),
    flag(&["shared", "Bshareable", "pie", "pic-executable", "no-pie"], "", L::Nothing),
    flag(&["Bsymbolic", "Bsymbolic-functions", "Bno-symbolic", "Bgroup"], "", L::Nothing),
    flag(&["EB", "EL", "dc", "dp", "qmagic", "Qy"], "dgnN", L::Nothing),
    flag(&["nmagic", "omagic", "no-omagic"], "", L::Nothing),
    flag(&["export-dynamic", "no-export-dynamic"], "E", L::Nothing),
    flag(&["emit-relocs"], "q", L::Nothing),
    flag(&["strip-all"], "s", L::Nothing),
    flag(&["strip-debug"], "S", L::Nothing),
    flag(&["discard-all"], "x", L::Nothing),
    flag(&["discard-locals"], "X", L::Nothing),
    flag(&["discard-none", "strip-discarded", "no-strip-discarded"], "", L::Nothing),
    flag(&["no-warnings"], "w", L::Nothing),
    apart(&["entry"], "e", L::Nothing),
    with(&["undefined"], "u", L::Nothing),
    with(&["soname"], "h", L::Nothing),
    apart(&["dynamic-linker"], "I", L::Nothing),
    apart(&["gpsize"], "G", L::Nothing),
    apart(&["auxiliary"], "f", L::Nothing),
    apart(&["filter"], "F", L::Nothing),
    with(&[], "z", L::Nothing),
    Row { long: &[], short: "O", takes: Takes::Joined, effect: L::Nothing },
    flag(&["no-dynamic-linker", "force-group-allocation", "eh-frame-hdr", "no-eh-frame-hdr"], "", L::Nothing),
    flag(&["enable-non-contiguous-regions", "enable-non-contiguous-regions-warnings"], "", L::Nothing),
    with(&["require-defined", "defsym", "init", "fini", "assert", "hash-style", "wrap"], "", L::Nothing),
    with(
        &["section-start", "Tbss", "Tdata", "Ttext", "Ttext-segment", "Trodata-segment", "Tldata-segment"],
        "",
        L::Nothing,
    ),
    with(
        &["oformat", "sort-section", "spare-dynamic-tags", "hash-size", "max-cache-size", "task-link"],
        "",
        L::Nothing,
    ),
    with(&["export-dynamic-symbol", "ignore-unresolved-symbol", "version-exports-section"], "", L::Nothing),
    with(&["unresolved-symbols", "ctf-share-types", "exclude-libs", "image-base"], "", L::Nothing),
    with(&["compress-debug-sections", "orphan-handling"], "", L::Nothing),
    maybe(&["build-id", "package-metadata", "sort-common", "unique", "demangle"], "", L::Nothing),
    maybe(&["split-by-file", "split-by-reloc"], "", L::Nothing),
    maybe(&["flto", "flto-partition", "fuse-ld"], "", L::Nothing),
    flag(&["no-demangle", "accept-unknown-input-arch", "no-accept-unknown-input-arch"], "", L::Nothing),
    flag(
        &["check-sections", "no-check-sections", "copy-dt-needed-entries", "no-copy-dt-needed-entries"],
        "",
        L::Nothing,
    ),
    flag(
        &["add-needed", "no-add-needed", "gc-sections", "no-gc-sections", "gc-keep-exported"],
        "",
        L::Nothing,
    ),
    flag(&["no-print-gc-sections", "embedded-relocs", "no-define-common", "no-keep-memory"], "", L::Nothing),
    flag(&["fatal-warnings", "no-fatal-warnings", "no-undefined", "allow-shlib-undefined"], "", L::Nothing),
    flag(&["no-allow-shlib-undefined", "allow-multiple-definition", "undefined-version"], "", L::Nothing),
    flag(&["no-undefined-version", "default-symver", "default-imported-symver"], "", L::Nothing),
    flag(
        &["no-warn-mismatch", "no-warn-search-mismatch", "noinhibit-exec", "reduce-memory-overheads"],
        "",
        L::Nothing,
    ),
    flag(
        &["relax", "no-relax", "traditional-format", "enable-new-dtags", "disable-new-dtags"],
        "",
        L::Nothing,
    ),
    flag(&["dynamic-list-data", "dynamic-list-cpp-new", "dynamic-list-cpp-typeinfo"], "", L::Nothing),
    flag(&["warn-common", "warn-constructors", "warn-execstack", "no-warn-execstack"], "", L::Nothing),
    flag(&["warn-rwx-segments", "no-warn-rwx-segments", "warn-multiple-gp", "warn-once"], "", L::Nothing),
    flag(
        &["warn-section-align", "warn-textrel", "warn-alternate-em", "warn-unresolved-symbols"],
        "",
        L::Nothing,
    ),
    flag(&["error-unresolved-symbols", "print-map-discarded", "no-print-map-discarded"], "", L::Nothing),
    flag(&["ctf-variables", "no-ctf-variables", "map-whole-files", "no-map-whole-files"], "", L::Nothing),
    flag(
        &["ld-generated-unwind-info", "no-ld-generated-unwind-info", "disable-multiple-abs-defs"],
        "",
        L::Nothing,
    ),
    // gold's own.
    flag(&["threads", "no-threads", "gdb-index", "no-gdb-index"], "", L::Nothing),
    flag(&["fix-cortex-a53-843419"], "", L::Nothing),
    Row { long: &["icf"], short: "", takes: Takes::Joined, effect: L::Nothing },
    with(&["thread-count"], "", L::Nothing),
];

/// Options of GNU ld, where it links for Windows. Without `-heap`, which elsewhere is `-h eap`.
const WINDOWS: &[Row<L>] = &[
    with(&["file-alignment", "section-alignment", "stack", "subsystem"], "", L::Nothing),
    with(&["major-image-version", "minor-image-version"], "", L::Nothing),
    with(&["major-os-version", "minor-os-version"], "", L::Nothing),
    with(&["major-subsystem-version", "minor-subsystem-version"], "", L::Nothing),
    with(&["exclude-symbols", "exclude-modules-for-implib"], "", L::Nothing),
    flag(&["add-stdcall-alias", "enable-stdcall-fixup", "disable-stdcall-fixup", "kill-at"], "", L::Nothing),
    flag(&["enable-auto-import", "disable-auto-import", "enable-auto-image-base"], "", L::Nothing),
    flag(&["enable-runtime-pseudo-reloc", "disable-runtime-pseudo-reloc"], "", L::Nothing),
    flag(&["export-all-symbols", "exclude-all-symbols", "large-address-aware"], "", L::Nothing),
    flag(&["insert-timestamp", "no-insert-timestamp", "enable-reloc-section", "dll"], "", L::Nothing),
    flag(&["disable-large-address-aware", "disable-reloc-section"], "", L::Nothing),
    flag(&["dynamicbase", "disable-dynamicbase", "nxcompat", "disable-nxcompat"], "", L::Nothing),
    flag(&["high-entropy-va", "disable-high-entropy-va", "tsaware", "disable-tsaware"], "", L::Nothing),
];

/// Options that only gold, lld or mold have, as far as compilers hand them on: GNU ld does not know them.
const OTHERS: &[Row<L>] = &[
    with(&["symbol-ordering-file"], "", L::Reads),
    with(&["keep-unique"], "", L::Nothing),
    Row { long: &["error-limit", "pack-dyn-relocs"], short: "", takes: Takes::Joined, effect: L::Nothing },
    maybe(&["color-diagnostics", "threads"], "", L::Nothing),
    flag(&["no-build-id", "no-call-graph-profile-sort", "force-dynamic", "warn-backrefs"], "", L::Nothing),
    flag(&["Bsymbolic-non-weak-functions", "fix-cortex-a53-835769", "warn-shared-textrel"], "", L::Nothing),
    flag(
        &["rosegment", "no-rosegment", "gnu-unique", "no-gnu-unique", "start-lib", "end-lib"],
        "",
        L::Nothing,
    ),
    flag(&["merge-exidx-entries", "no-merge-exidx-entries", "detect-odr-violations"], "", L::Nothing),
    flag(&["lto-O0", "lto-O1", "lto-O2", "lto-O3"], "", L::Nothing),
];

/// Whose options a command line may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linker {
    /// GNU ld or gold.
    Gnu,
    /// Whichever a compiler runs.
    Any,
}

/// What the first argument of `arg`, `next` means, and how many of the two it takes.
///
/// # Errors
/// An option that is not known, or whose value is missing.
pub(crate) fn classify(linker: Linker, arg: &OsStr, next: Option<&OsStr>) -> Result<(LdItem, usize), Unread> {
    if !arg.as_bytes().starts_with(b"-") {
        return Ok((LdItem::File(arg.to_os_string()), 1));
    }
    let tables: &[&[Row<L>]] = match linker {
        Linker::Gnu => &[GNU, WINDOWS],
        Linker::Any => &[GNU, WINDOWS, OTHERS],
    };
    let args: Vec<OsString> = std::iter::once(arg).chain(next).map(OsStr::to_os_string).collect();
    let (items, words) = read(&args, tables, Style::Linker)?;
    let Some(Item::Option(effect, value)) = items.into_iter().next() else { return Err(Unread::Unknown) };
    // `-Tdat` may be a long option, shortened or misspelt: what is joined to a letter must look like its value.
    let is_joined = arg.len() == 2 + value.len() && words == 1 && !value.is_empty();
    let has = |marks: &[u8]| value.as_bytes().iter().any(|byte| marks.contains(byte));
    let is_doubtful = match effect {
        L::Script | L::JustSymbols => !has(b"./"),
        L::Emulation => has(b"-="),
        _ => false,
    };
    if is_joined && is_doubtful {
        return Err(Unread::Unknown);
    }
    Ok((LdItem::Option(effect, value), words))
}
