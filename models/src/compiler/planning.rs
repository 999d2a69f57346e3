// SPDX-License-Identifier: Apache-2.0
//! From a [`CommandLine`] and the [`World`] to a [`Plan`].

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::command_line::{CommandLine, Mode, parse};
use super::includes::{self, Precompiled};
use super::probe::{self, is_directory};
use super::{Compiler, Vendor, decline, link, names};
use crate::{Decline, Invocation, Kind, Linked, Node, Output, Plan, Role, Verdict, World};

/// Variables that change what a compile reads or writes.
const COMPILE_VARIABLES: &[&str] = &[
    "BINUTILS_ROOT",
    "COMPILER_PATH",
    "CPATH",
    "CPLUS_INCLUDE_PATH",
    "C_INCLUDE_PATH",
    "GCC_EXEC_PREFIX",
    // Corrections, for editors, after the messages.
    "GCC_EXTRA_DIAGNOSTIC_OUTPUT",
    // Where parts of gcc are, in place of where it was configured for.
    "GCC_ROOT",
    "OBJCPLUS_INCLUDE_PATH",
    "OBJC_INCLUDE_PATH",
    // __DATE__ and __TIME__.
    "SOURCE_DATE_EPOCH",
];

/// Variables that change what a link reads or writes.
const LINK_VARIABLES: &[&str] = &[
    "BINUTILS_ROOT",
    // Names in messages and maps.
    "COLLECT_NO_DEMANGLE",
    "COMPILER_PATH",
    "GCC_EXEC_PREFIX",
    "GCC_ROOT",
    "GNUTARGET",
    "LDEMULATION",
    // What lld says it is, in the program.
    "LLD_VERSION",
    // Where ld looks for libraries that libraries need.
    "LD_LIBRARY_PATH",
    "LD_RUN_PATH",
    "LIBRARY_PATH",
    "SOURCE_DATE_EPOCH",
];

/// Variables that change messages, where colours or links are asked for in spite of there being no terminal.
const MESSAGE_VARIABLES: &[&str] = &["GCC_COLORS", "GCC_URLS", "TERM_URLS"];

/// Variables that make a driver do something else than its command line says.
const STRANGE_VARIABLES: &[&str] = &[
    "CCC_OVERRIDE_OPTIONS",
    "CC_LOG_DIAGNOSTICS",
    "CC_PRINT_HEADERS",
    "CC_PRINT_INTERNAL_STAT",
    "CC_PRINT_OPTIONS",
    "CC_PRINT_PROC_STAT",
    "DEPENDENCIES_OUTPUT",
    "GCC_COMPARE_DEBUG",
    // These have linkers write archives of all they read.
    "LLD_REPRODUCE",
    "MOLD_REPRO",
    "SUNPRO_DEPENDENCIES",
];

/// Variables that say where the driver's parts are.
const PART_VARIABLES: &[&str] = &["COMPILER_PATH", "GCC_EXEC_PREFIX"];

/// The parts that are looked for along `PATH`, too.
const PARTS: &[&str] =
    &["as", "cc1", "cc1plus", "collect2", "ld", "ld.bfd", "ld.gold", "ld.lld", "lto-wrapper", "objcopy"];

/// Plans a command of a compiler driver.
pub(crate) fn plan(compiler: Compiler, invocation: &Invocation, world: &dyn World) -> (Kind, Verdict) {
    let vendor = compiler.vendor;
    let mut read = |path: &Path| read_response_file(&invocation.absolute(path), world);
    match parse(compiler, &invocation.argv, &mut read) {
        Err(reason) => (guess_kind(invocation), reason.into()),
        Ok(line) => {
            let kind = match line.mode {
                Mode::Query => Kind::Query,
                Mode::Link => Kind::Link,
                Mode::Rule | Mode::Preprocess | Mode::Assembly | Mode::Object => Kind::Compile,
            };
            let verdict = match (Planner { vendor, line: &line, at: invocation, world }).plan() {
                Ok(plan) => Verdict::Defer(Box::new(plan)),
                Err(reason) => reason.into(),
            };
            (kind, verdict)
        }
    }
}

fn read_response_file(path: &Path, world: &dyn World) -> io::Result<Vec<u8>> {
    match world.node(path) {
        Some(Node::File | Node::Placeholder) => world.read(path).map(|text| text.to_vec()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// The kind of a command that could not be taken apart.
fn guess_kind(invocation: &Invocation) -> Kind {
    let stops = |word: &OsString| matches!(word.as_bytes(), b"-c" | b"-S" | b"-E" | b"-M" | b"-MM");
    if invocation.argv.iter().any(stops) { Kind::Compile } else { Kind::Link }
}

struct Planner<'a> {
    vendor: Vendor,
    line: &'a CommandLine,
    at: &'a Invocation,
    world: &'a dyn World,
}

impl Planner<'_> {
    fn plan(&self) -> Result<Plan, Decline> {
        let line = self.line;
        if line.mode == Mode::Query {
            return Err(decline("asks the compiler about itself"));
        }
        if line.sources.is_empty() && (line.mode != Mode::Link || line.linker.items.is_empty()) {
            return Err(decline("no input files"));
        }
        self.check_environment()?;
        let mut plan = Plan { environment: self.environment(), ..Plan::default() };
        self.add_files(&mut plan)?;
        if !line.sources.is_empty() {
            self.add_compile(&mut plan)?;
        }
        let mut suffix = OsString::new();
        if line.mode == Mode::Rule && line.output.as_deref().is_some_and(names::lacks_suffix) {
            // To gcc's driver this is the name of a program, unless it is told besides to stop earlier.
            if !link::program_suffix(line, self.at, self.world)?.is_empty() {
                return Err(decline("-M into a file whose name gets the suffix of programs"));
            }
        }
        if line.mode == Mode::Link {
            suffix = link::program_suffix(line, self.at, self.world)?;
            self.add_link(&mut plan, &suffix)?;
        }
        self.add_outputs(&mut plan, &suffix)?;
        Ok(plan)
    }

    fn check_environment(&self) -> Result<(), Decline> {
        for name in STRANGE_VARIABLES {
            if self.at.var(name).is_some() {
                return Err(decline(format!("{name} is set")));
            }
        }
        // A probe looks from another directory.
        let leads = |name: &&&str| self.relative(name).any(|dir| is_directory(&dir, self.world));
        if let Some(name) = PART_VARIABLES.iter().find(leads) {
            return Err(decline(format!("{name} names a directory from the working directory")));
        }
        let part = |dir: PathBuf| PARTS.iter().map(|part| dir.join(part)).find(|part| self.is_there(part));
        if let Some(part) = self.relative("PATH").find_map(part) {
            return Err(decline(format!("{} comes by a relative directory of PATH", part.display())));
        }
        Ok(())
    }

    /// The directories in a variable that are relative to the working directory. An empty one is that.
    fn relative(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        let list = self.at.var(name).map_or(&b""[..], |list| list.as_bytes());
        let dirs = list.split(|&byte| byte == b':').filter(|dir| !dir.starts_with(b"/"));
        dirs.filter(move |_| !list.is_empty()).map(|dir| self.at.absolute(OsStr::from_bytes(dir)))
    }

    fn is_there(&self, path: &Path) -> bool {
        matches!(self.world.node(path), Some(Node::File | Node::Placeholder))
    }

    /// Is this a side output that is written with the machine's code only, of which there is none before the link?
    fn may_leave(&self, path: &Path) -> bool {
        let side = path.extension().map(OsStrExt::as_bytes);
        let with_code =
            matches!(side, Some(b"su" | b"ci")) || side == Some(b"dwo") && self.vendor == Vendor::Clang;
        with_code && (self.line.lto || self.line.bitcode)
    }

    fn environment(&self) -> Vec<&'static str> {
        let mut names: BTreeSet<&'static str> = BTreeSet::new();
        if !self.line.sources.is_empty() {
            names.extend(COMPILE_VARIABLES);
        }
        if self.line.mode == Mode::Link {
            names.extend(LINK_VARIABLES);
        }
        if self.vendor == Vendor::Clang {
            names.extend(probe::TARGET_VARIABLES);
        }
        let decorates = |word: &OsString| {
            ["-fdiagnostics-color", "-fdiagnostics-urls"]
                .iter()
                .any(|option| word.as_bytes().starts_with(option.as_bytes()))
        };
        if self.line.option_words().any(decorates) {
            names.extend(MESSAGE_VARIABLES);
        }
        names.retain(|name| self.at.var(name).is_some());
        // Debug information names the working directory by PWD, if that leads there; only then does it differ from
        // what the system says.
        let other = self
            .at
            .var("PWD")
            .is_some_and(|pwd| Path::new(pwd) != self.at.cwd && is_directory(Path::new(pwd), self.world));
        if other && !self.line.sources.is_empty() {
            names.insert("PWD");
        }
        names.into_iter().collect()
    }

    /// An input that must exist.
    fn input(&self, plan: &mut Plan, path: &Path) -> Result<(), Decline> {
        let path = self.at.absolute(path);
        match self.world.node(&path) {
            Some(Node::File | Node::Placeholder) => {
                plan.inputs.insert(path);
                Ok(())
            }
            Some(Node::Directory) => Err(decline(format!("{} is a directory", path.display()))),
            Some(Node::Other) => Err(decline(format!("{} is no regular file", path.display()))),
            None => Err(Decline::missing(&path)),
        }
    }

    fn directory(&self, plan: &mut Plan, path: &Path) {
        let path = self.at.absolute(path);
        if is_directory(&path, self.world) {
            plan.directories.insert(path);
        }
    }

    /// What the command names besides sources and objects.
    fn add_files(&self, plan: &mut Plan) -> Result<(), Decline> {
        let line = self.line;
        for path in &line.response_files {
            self.input(plan, path)?;
        }
        for path in &line.reads {
            let absolute = self.at.absolute(path);
            match self.world.node(&absolute) {
                // The probe runs with it, and cannot before it is computed.
                Some(Node::Placeholder) => {
                    return Err(decline(format!("{} is not computed yet", absolute.display())));
                }
                // A plain name may be looked for by the compiler among its own files.
                None if !path.as_os_str().as_bytes().contains(&b'/') => {}
                _ => self.input(plan, path)?,
            }
        }
        for path in &line.profile {
            self.add_profile(plan, path.as_deref())?;
        }
        let before = line.quote.iter().chain(&line.include).chain(&line.system).chain(&line.after);
        for path in before.chain(&line.assembler.dirs).chain(&line.tool_prefixes).chain(&line.sysroot) {
            self.directory(plan, path);
        }
        Ok(())
    }

    fn add_profile(&self, plan: &mut Plan, path: Option<&Path>) -> Result<(), Decline> {
        let line = self.line;
        match (path, self.vendor) {
            (Some(path), _) => match self.world.node(&self.at.absolute(path)) {
                Some(Node::Directory) => Err(decline("a directory of profiles")),
                _ => self.input(plan, path),
            },
            (None, Vendor::Clang) => Err(decline("a profile that is not named")),
            (None, Vendor::Gnu) => {
                for source in &line.sources {
                    let mut path = names::auxiliary(self.vendor, line, source)?.into_os_string();
                    path.push(".gcda");
                    if self.world.node(&self.at.absolute(&path)).is_some() {
                        self.input(plan, Path::new(&path))?;
                    }
                }
                Ok(())
            }
        }
    }

    fn add_compile(&self, plan: &mut Plan) -> Result<(), Decline> {
        let line = self.line;
        for source in &line.sources {
            self.input(plan, &source.path)?;
            if !source.language.reaches(line.mode) {
                return Err(decline(format!("{}: stops where nothing is made of it", source.path.display())));
            }
            if self.vendor == Vendor::Clang && source.language.is_header() {
                return Err(decline("makes a precompiled header, which records times"));
            }
        }
        // gcc reads the files that the text came from, which such a text names in each of its lines.
        let quotes = line.mode == Mode::Assembly && line.option_words().any(|word| word == "-fverbose-asm");
        if quotes && line.sources.iter().any(|source| !source.language.is_preprocessed()) {
            return Err(decline("option -fverbose-asm: quotes what was preprocessed"));
        }
        let mut search = includes::search(self.vendor, line, self.at, self.world)?;
        match includes::precompiled(self.vendor, line, &search, self.at, self.world) {
            Precompiled::None => {}
            // gcc's preprocessor passes over precompiled headers, but for this option, which the compiler has on.
            Precompiled::File(path) if self.vendor == Vendor::Gnu => {
                if !matches!(line.mode, Mode::Rule | Mode::Preprocess) {
                    plan.inputs.insert(path);
                    if !search.write_dependencies.is_empty() {
                        search.write_dependencies.insert(1, "-fpch-preprocess".into());
                        search.rule = None;
                    }
                }
            }
            Precompiled::File(_) => return Err(decline("uses a precompiled header, which records times")),
            Precompiled::Several(path) => {
                return Err(decline(format!("{} holds several precompiled headers", path.display())));
            }
        }
        for dir in search.quote.iter().chain(&search.bracket).chain(&search.system).chain(&search.after) {
            self.directory(plan, dir);
        }
        plan.probes.extend(probe::compile_probes(line, self.at, self.world));
        plan.includes = Some(search);
        Ok(())
    }

    fn add_link(&self, plan: &mut Plan, suffix: &OsStr) -> Result<(), Decline> {
        let link = link::resolve(self.line, suffix, self.at, self.world)?;
        plan.probes.push(probe::link_probe(self.line, &link, self.at, self.world));
        for dir in &link.dirs {
            self.directory(plan, dir);
        }
        plan.linked = self.line.linker.dependencies.as_ref().map(|file| Linked {
            file: self.at.absolute(file),
            target: names::program(self.line, suffix),
            inputs: link.inputs.clone(),
        });
        plan.inputs.extend(link.inputs);
        Ok(())
    }

    fn add_outputs(&self, plan: &mut Plan, suffix: &OsStr) -> Result<(), Decline> {
        let mut seen = BTreeSet::new();
        for output in names::outputs(self.vendor, self.line, suffix)? {
            let path = self.at.absolute(&output.path);
            match self.world.node(&path) {
                Some(Node::Directory) => {
                    return Err(decline(format!("output {} is a directory", path.display())));
                }
                Some(Node::Other) => return Err(decline(format!("output to {}", path.display()))),
                Some(Node::File | Node::Placeholder) | None => {}
            }
            let parent = path.parent().unwrap_or(Path::new("/"));
            if !is_directory(parent, self.world) {
                return Err(Decline::missing(parent));
            }
            if plan.inputs.contains(&path) {
                return Err(decline(format!("writes over its input {}", path.display())));
            }
            if output.role == Role::Side && self.may_leave(&path) && self.is_there(&path) {
                return Err(decline(format!("{} may stay as it is", path.display())));
            }
            if !seen.insert(path.clone()) {
                return Err(decline(format!("writes {} twice", path.display())));
            }
            plan.outputs.push(Output { path, ..output });
        }
        Ok(())
    }
}
