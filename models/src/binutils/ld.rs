// SPDX-License-Identifier: Apache-2.0
//! `ld`, run directly: GNU ld and gold. lld has options of its own, and is declined.

use super::draft::{Draft, decline};
use super::ld_options::{LdEffect, LdItem, Linker, classify};
use super::{Planned, Request, sample};
use crate::elf::{ElfFacts, ElfKind};
use crate::libraries::{LibrarySearch, linker_search_dirs, script};
use crate::recognise::Flavour;
use crate::{Decline, Node, Role};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

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
    let mut rest = args;
    while let Some(arg) = rest.first() {
        let (item, words) = classify(Linker::Gnu, arg, rest.get(1).map(OsString::as_os_str))
            .map_err(|unread| unread.decline(arg))?;
        match &item {
            LdItem::Option(LdEffect::Query, _) => return Ok(Request::Query),
            LdItem::Option(LdEffect::Prints, _) => return Err(decline!("prints about the link")),
            LdItem::Option(LdEffect::Unmodelled | LdEffect::ImportLibrary, value) => {
                return Err(decline!("linker option with {}", value.to_string_lossy()));
            }
            LdItem::Option(..) | LdItem::File(_) => items.push(item),
        }
        rest = &rest[words..];
    }
    let has =
        |wanted| items.iter().any(|item| matches!(item, LdItem::Option(effect, _) if *effect == wanted));
    if has(LdEffect::AddsToMap) && !has(LdEffect::WritesSide) {
        return Err(decline!("prints about the link"));
    }
    Ok(Request::Job(LdJob { items }))
}

/// The files of a link as they are gathered.
struct Link {
    search: LibrarySearch,
    roots: Vec<PathBuf>,
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
    // a.out, or a.exe: only the linker knows what it was built for.
    let output = link.output.ok_or_else(|| decline!("the output is not named"))?;
    draft.output(output, !link.relocatable, Role::Main)?;
    for (path, role) in link.sides {
        draft.output(path, false, role)?;
    }
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
        let own = linker_search_dirs(
            &draft.invocation.program,
            emulation,
            search.sysroot.as_deref(),
            &[("LC_ALL".into(), "C".into())],
            draft.world,
        )?;
        (search.system_dirs, search.is_windows) = (own.dirs, own.is_windows);
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
                let path = self.search.find_script(value, draft.world)?;
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
            LdEffect::Plugin => draft.plugin(value)?,
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
                self.roots.push(found.path);
            }
            LdEffect::Static | LdEffect::Dynamic | LdEffect::PushState | LdEffect::PopState => {
                effect.switch(&mut self.search.is_static, &mut self.states);
            }
            LdEffect::Format => self.format_is_binary = value == "binary",
            LdEffect::Relocatable => self.relocatable = true,
            LdEffect::Nothing
            | LdEffect::AddsToMap
            | LdEffect::LibraryDir
            | LdEffect::Rpath
            | LdEffect::RpathLink
            | LdEffect::Sysroot
            | LdEffect::Emulation
            | LdEffect::NoSystemDirs => {}
            LdEffect::Prints | LdEffect::Query | LdEffect::Unmodelled | LdEffect::ImportLibrary => {
                return Err(decline!("linker option {}", value.to_string_lossy()));
            }
        }
        Ok(())
    }
}
