// SPDX-License-Identifier: Apache-2.0
//! `ld`, run directly: GNU ld and gold. lld has options of its own, and is declined.
//!
//! [`classify_ld_option`] is the table for others: a compiler passes the same options on (`-Wl,`, `-Xlinker`).

use super::draft::{Draft, decline};
use super::options::{Item, Row, Style, Takes, parse as parse_options, parse_one};
use super::{Planned, Request, sample};
use crate::elf::{ElfFacts, ElfKind};
use crate::libraries::{LibrarySearch, linker_search_dirs, runtime_libraries, script};
use crate::recognise::Flavour;
use crate::{Decline, Node, Role};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

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
    /// Asks the linker about itself.
    Query,
    /// Reads or writes what no model follows.
    Unmodelled,
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
use Takes::{Attached, Value};

const fn flag(long: &'static [&'static str], short: &'static str, effect: L) -> Row<L> {
    Row { long, short, takes: Takes::Nothing, effect }
}

const fn with(long: &'static [&'static str], short: &'static str, effect: L) -> Row<L> {
    Row { long, short, takes: Value, effect }
}

const fn maybe(long: &'static [&'static str], short: &'static str, effect: L) -> Row<L> {
    Row { long, short, takes: Attached, effect }
}

const TABLE: &[Row<L>] = &[
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
    with(&["out-implib"], "", L::WritesSide),
    with(&["mri-script"], "c", L::Unmodelled),
    with(&["error-handling-script", "base_file", "output-def"], "", L::Unmodelled),
    with(
        &["section-ordering-file", "symbol-ordering-file", "remap-inputs-file", "remap-inputs"],
        "",
        L::Unmodelled,
    ),
    with(&[], "Y", L::Unmodelled),
    // How files are found and read.
    flag(&["Bstatic", "dn", "non_shared", "static"], "", L::Static),
    flag(&["Bdynamic", "dy", "call_shared"], "", L::Dynamic),
    flag(&["push-state"], "", L::PushState),
    flag(&["pop-state"], "", L::PopState),
    flag(&["nostdlib"], "", L::NoSystemDirs),
    with(&[], "m", L::Emulation),
    with(&["format"], "b", L::Format),
    flag(&["relocatable", "Ur"], "ri", L::Relocatable),
    // What is printed.
    flag(&["print-map"], "M", L::Prints),
    flag(&["trace", "cref", "stats", "print-gc-sections", "print-memory-usage"], "t", L::Prints),
    with(&["trace-symbol"], "y", L::Prints),
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
    with(&["entry"], "e", L::Nothing),
    with(&["undefined"], "u", L::Nothing),
    with(&["soname"], "h", L::Nothing),
    with(&["dynamic-linker"], "I", L::Nothing),
    with(&["gpsize"], "G", L::Nothing),
    with(&["auxiliary"], "f", L::Nothing),
    with(&["filter"], "F", L::Nothing),
    with(&["architecture"], "A", L::Nothing),
    with(&[], "az", L::Nothing),
    maybe(&[], "O", L::Nothing),
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
    maybe(
        &["build-id", "package-metadata", "compress-debug-sections", "sort-common", "unique", "demangle"],
        "",
        L::Nothing,
    ),
    maybe(&["split-by-file", "split-by-reloc", "orphan-handling", "icf"], "", L::Nothing),
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
    flag(&["threads", "no-threads", "gdb-index", "no-gdb-index", "fix-cortex-a53-843419"], "", L::Nothing),
    with(&["thread-count"], "", L::Nothing),
];

/// What the first argument of `arg`, `next` means, and how many of the two it takes. `None`: an option that is not
/// known, or whose value is missing.
#[must_use]
pub fn classify_ld_option(arg: &OsStr, next: Option<&OsStr>) -> Option<(LdItem, usize)> {
    if !arg.as_bytes().starts_with(b"-") {
        return Some((LdItem::File(arg.to_os_string()), 1));
    }
    let args: Vec<OsString> = std::iter::once(arg).chain(next).map(OsStr::to_os_string).collect();
    let (items, words) = parse_one(&args, TABLE, Style::Linker).ok()?;
    match items.into_iter().next()? {
        Item::Option(effect, value) => Some((LdItem::Option(effect, value), words)),
        Item::Operand(name) => Some((LdItem::File(name), words)),
    }
}

/// What a link asks for: everything on the command line, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdJob {
    /// Files and options with their values.
    pub items: Vec<LdItem>,
}

/// Parses the arguments of `ld`, `argv[0]` excluded.
///
/// # Errors
/// An option that this model does not understand.
pub fn parse_ld(args: &[OsString]) -> Result<Request<LdJob>, Decline> {
    let mut items = Vec::with_capacity(args.len());
    for item in parse_options(args, TABLE, Style::Linker)? {
        items.push(match item {
            Item::Option(LdEffect::Query, _) => return Ok(Request::Query),
            Item::Option(LdEffect::Prints, _) => return Err(decline!("prints about the link")),
            Item::Option(LdEffect::Unmodelled, value) => {
                return Err(decline!("linker option with {}", value.to_string_lossy()));
            }
            Item::Option(effect, value) => LdItem::Option(effect, value),
            Item::Operand(name) => LdItem::File(name),
        });
    }
    Ok(Request::Job(LdJob { items }))
}

/// The files of a link as they are gathered.
struct Link {
    search: LibrarySearch,
    roots: Vec<PathBuf>,
    shared: Vec<PathBuf>,
    states: Vec<bool>,
    has_input: bool,
    format_is_binary: bool,
    relocatable: bool,
    output: Option<PathBuf>,
    sides: Vec<(PathBuf, Role)>,
}

pub(super) fn plan_ld(draft: &mut Draft<'_>, flavour: Flavour) -> Planned {
    if flavour != Flavour::Gnu && flavour != Flavour::Gold {
        return Err(decline!("a linker that is neither GNU ld nor gold"));
    }
    draft.plan.environment.extend(["LD_RUN_PATH", "LDEMULATION", "COLLECT_NO_DEMANGLE"]);
    let args = draft.arguments()?;
    let Request::Job(job) = parse_ld(&args)? else { return Ok(Request::Query) };
    let mut link = Link {
        search: prepare_search(draft, &job, flavour)?,
        roots: Vec::new(),
        shared: Vec::new(),
        states: Vec::new(),
        has_input: false,
        format_is_binary: false,
        relocatable: false,
        output: None,
        sides: Vec::new(),
    };
    for item in &job.items {
        link.take(draft, item)?;
    }
    if !link.has_input {
        return Err(decline!("no input files"));
    }
    let closure = link.search.closure(&link.roots, draft.world)?;
    draft.plan.inputs.extend(closure);
    for dir in &link.search.dirs {
        draft.directory(dir.clone());
    }
    let output = link.output.unwrap_or_else(|| draft.path(OsStr::new("a.out")));
    draft.output(output, !link.relocatable, Role::Main)?;
    for (path, role) in link.sides {
        draft.output(path, false, role)?;
    }
    draft.plan.shared_libraries = link.shared;
    draft.probe(&["-shared", "-o", "probe.so", "probe.o"], vec![("probe.o", sample::object())]);
    Ok(Request::Job(()))
}

/// Where libraries are looked for. All `-L` count for all `-l`, wherever they stand.
fn prepare_search(draft: &Draft<'_>, job: &LdJob, flavour: Flavour) -> Result<LibrarySearch, Decline> {
    let mut search = LibrarySearch::new(draft.invocation);
    let (mut emulation, mut own_dirs) = (None, true);
    for item in &job.items {
        let LdItem::Option(effect, value) = item else { continue };
        match effect {
            LdEffect::Sysroot => search.sysroot = Some(draft.path(value)),
            LdEffect::Emulation => emulation = Some(value.as_os_str()),
            LdEffect::NoSystemDirs => own_dirs = false,
            _ => {}
        }
    }
    let expand = |effect: LdEffect, split: bool| -> Vec<PathBuf> {
        let values = job.items.iter().filter_map(|item| match item {
            LdItem::Option(found, value) if *found == effect => Some(value),
            _ => None,
        });
        if split {
            let parts = values.flat_map(|value| crate::elf::split_colons(value));
            parts
                .filter(|part| !part.as_bytes().starts_with(b"$"))
                .map(|part| search.directory(&part))
                .collect()
        } else {
            values.map(|value| search.directory(value)).collect()
        }
    };
    let dirs = expand(LdEffect::LibraryDir, false);
    let (rpath, rpath_link) = (expand(LdEffect::Rpath, true), expand(LdEffect::RpathLink, true));
    if own_dirs && needs_dirs(draft, job) {
        if flavour == Flavour::Gold {
            return Err(decline!("libraries of gold"));
        }
        search.system_dirs = linker_search_dirs(
            &draft.invocation.program,
            emulation,
            search.sysroot.as_deref(),
            &[("LC_ALL".into(), "C".into())],
            draft.world,
        )?;
    }
    (search.dirs, search.rpath, search.rpath_link) = (dirs, rpath, rpath_link);
    Ok(search)
}

/// Does anything on the command line make the linker look into its own directories?
fn needs_dirs(draft: &Draft<'_>, job: &LdJob) -> bool {
    let mut is_binary = false;
    job.items.iter().any(|item| match item {
        LdItem::Option(LdEffect::Library | LdEffect::Script, _) => true,
        LdItem::Option(LdEffect::Format, format) => {
            is_binary = format == "binary";
            false
        }
        LdItem::Option(..) => false,
        LdItem::File(name) => {
            let path = draft.path(name);
            !is_binary
                && draft.world.node(&path) == Some(Node::File)
                && draft.world.read(&path).is_ok_and(|bytes| {
                    ElfFacts::read(&bytes).is_some_and(|facts| facts.kind == ElfKind::Shared)
                        || script::may_be_script(&bytes)
                })
        }
    })
}

impl Link {
    fn take(&mut self, draft: &mut Draft<'_>, item: &LdItem) -> Result<(), Decline> {
        let (effect, value) = match item {
            LdItem::File(name) => {
                let path = draft.path(name);
                draft.input(&path)?;
                self.has_input = true;
                // Data that is linked in is not looked into.
                if !self.format_is_binary {
                    self.note_shared(&path);
                    self.roots.push(path);
                }
                return Ok(());
            }
            LdItem::Option(effect, value) => (*effect, value.as_os_str()),
        };
        match effect {
            LdEffect::Reads => {
                let path = draft.path(value);
                draft.input(&path)?;
            }
            LdEffect::Script => {
                let path = self.find_script(draft, value)?;
                draft.input(&path)?;
                self.has_input = true;
                self.roots.push(path);
            }
            LdEffect::JustSymbols => {
                let path = draft.path(value);
                if draft.world.node(&path) == Some(Node::Directory) {
                    self.search.rpath.push(path);
                } else {
                    draft.input(&path)?;
                }
            }
            LdEffect::Plugin => {
                let path = draft.path(value);
                draft.input(&path)?;
                let bytes = draft
                    .world
                    .read(&path)
                    .map_err(|e| decline!("{} cannot be read: {e}", path.display()))?;
                let library_path = draft.invocation.var("LD_LIBRARY_PATH");
                draft.plan.inputs.extend(runtime_libraries(&bytes, &path, library_path, draft.world));
            }
            // gcc's plugin runs the compiler once more, by the path that it is given here, with what gcc has put into
            // the environment.
            LdEffect::PluginOption => {
                if !value.as_bytes().starts_with(b"-pass-through=") {
                    return Err(decline!("linker plugin with options"));
                }
            }
            LdEffect::Output => self.output = Some(draft.path(value)),
            LdEffect::WritesSide => {
                let path = draft.path(value);
                if value == "-" {
                    return Err(decline!("prints about the link"));
                }
                // `-Map=%` and `-Map=DIR` make up a name.
                if value.as_bytes().contains(&b'%') || draft.world.node(&path) == Some(Node::Directory) {
                    return Err(decline!("{} does not name a file", value.to_string_lossy()));
                }
                self.sides.push((path, Role::Side));
            }
            LdEffect::WritesDependencies => self.sides.push((draft.path(value), Role::Dependencies)),
            LdEffect::Library => {
                let found = self
                    .search
                    .find(value, draft.world)
                    .ok_or_else(|| decline!("-l{} is not found", value.to_string_lossy()))?;
                self.has_input = true;
                self.note_shared(&found.path);
                self.roots.push(found.path);
            }
            LdEffect::Static => self.search.is_static = true,
            LdEffect::Dynamic => self.search.is_static = false,
            LdEffect::PushState => self.states.push(self.search.is_static),
            LdEffect::PopState => self.search.is_static = self.states.pop().unwrap_or(self.search.is_static),
            LdEffect::Format => self.format_is_binary = value == "binary",
            LdEffect::Relocatable => self.relocatable = true,
            LdEffect::Nothing
            | LdEffect::LibraryDir
            | LdEffect::Rpath
            | LdEffect::RpathLink
            | LdEffect::Sysroot
            | LdEffect::Emulation
            | LdEffect::NoSystemDirs => {}
            LdEffect::Prints | LdEffect::Query | LdEffect::Unmodelled => {
                return Err(decline!("linker option {}", value.to_string_lossy()));
            }
        }
        Ok(())
    }

    /// The path of a `-T` script: as written, else along `-L`.
    fn find_script(&self, draft: &Draft<'_>, name: &OsStr) -> Result<PathBuf, Decline> {
        let here = draft.path(name);
        if draft.world.node(&here).is_some() || name.as_bytes().starts_with(b"/") {
            return Ok(here);
        }
        let dirs = self.search.dirs.iter().chain(&self.search.system_dirs);
        let found = dirs.map(|dir| dir.join(name)).find(|path| draft.world.node(path).is_some());
        found.ok_or_else(|| Decline::missing(&here))
    }

    fn note_shared(&mut self, path: &std::path::Path) {
        let name = path.file_name().unwrap_or_default().as_bytes();
        if name.ends_with(b".so") || memchr::memmem::find(name, b".so.").is_some() {
            self.shared.push(path.to_path_buf());
        }
    }
}
