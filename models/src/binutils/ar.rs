// SPDX-License-Identifier: Apache-2.0
//! `ar` and `ranlib`: GNU's, gcc's wrappers around them, LLVM's.
//!
//! Understood are the operations that make or change an archive. What prints its result or extracts runs; so does what depends on times
//! of files (`u` with an existing archive) or records them (`U`). What `v` would tell of a new archive is known before: it is told by whoever
//! defers the command, without `v`. An archive that exists is an input as well, since it is
//! changed. A thin archive holds the names of its members only: to whoever changes it they are inputs too. A plugin reads the members
//! for the index, as gcc's does with objects of link time optimisation.

use super::draft::{Draft, decline};
use super::options::{Item, Row, Style, Takes, parse as parse_options};
use super::{Planned, Request, sample};
use crate::libraries::thin_archive;
use crate::recognise::Flavour;
use crate::{Decline, Invocation, Question, Role};
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

/// What an `ar` command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArJob {
    /// The operation: one of `d`, `m`, `q`, `r`, and `s` where it stands alone.
    pub operation: u8,
    /// The modifiers, as bytes.
    pub modifiers: Vec<u8>,
    /// What `--plugin` names, as written: the last one.
    pub plugin: Option<OsString>,
    /// The archive, as written.
    pub archive: OsString,
    /// The files, or for `d` and `m` the names of members, as written.
    pub members: Vec<OsString>,
}

impl ArJob {
    fn has(&self, modifier: u8) -> bool {
        self.modifiers.contains(&modifier)
    }

    /// Will a new archive be thin?
    #[must_use]
    pub fn thin(&self) -> bool {
        self.has(b'T')
    }
}

/// Parses the arguments of `ar`, `argv[0]` excluded.
///
/// # Errors
/// An operation or an option that this model does not understand.
pub fn parse_ar(args: &[OsString]) -> Result<Request<ArJob>, Decline> {
    if args.iter().any(|arg| ["--version", "--help", "-V", "-h"].iter().any(|query| arg == query)) {
        return Ok(Request::Query);
    }
    // Keys are letters in the first argument, or options anywhere; only the first ones can do without a dash. A plugin is named before
    // them or after.
    let mut keys: Vec<u8> = Vec::new();
    let mut names = Vec::new();
    let mut plugin = None;
    let mut is_first = true;
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let bytes = arg.as_bytes();
        if let Some(b"" | [b'=', ..]) = bytes.strip_prefix(b"--plugin") {
            let attached = bytes.get(b"--plugin=".len()..).map(OsStr::from_bytes);
            let value = attached.or_else(|| rest.next().map(OsString::as_os_str));
            plugin = Some(value.ok_or_else(|| decline!("option --plugin without its value"))?.to_os_string());
            continue;
        }
        match bytes {
            b"--" => {
                names.extend(rest.cloned());
                break;
            }
            b"--thin" => keys.push(b'T'),
            [b'-', b'-', ..] => return Err(decline!("option {}", arg.to_string_lossy())),
            [b'-', letters @ ..] if !letters.is_empty() => keys.extend(letters),
            letters if is_first => keys.extend(letters),
            _ => names.push(arg.clone()),
        }
        is_first = false;
    }
    let mut operation = None;
    let mut modifiers = Vec::new();
    for key in keys {
        match key {
            b'd' | b'm' | b'q' | b'r' => match operation.replace(key) {
                Some(other) if other != key => return Err(decline!("two operations")),
                _ => {}
            },
            b'p' | b't' | b'x' => return Err(decline!("operation {} of ar", char::from(key))),
            b'a' | b'b' | b'c' | b'D' | b'f' | b'i' | b'N' | b'o' | b'P' | b's' | b'S' | b'T' | b'u'
            | b'v' => modifiers.push(key),
            b'U' => return Err(decline!("modifier U: records the times of files")),
            b'V' | b'h' => return Ok(Request::Query),
            _ => return Err(decline!("modifier {} of ar", char::from(key))),
        }
    }
    let operation = match operation {
        Some(operation) => operation,
        None if modifiers.contains(&b's') => b's',
        None => return Err(decline!("ar without an operation")),
    };
    let mut names = names.into_iter();
    let relative = modifiers.iter().any(|m| b"abi".contains(m));
    if relative && names.next().is_none() || modifiers.contains(&b'N') && names.next().is_none() {
        return Err(decline!("ar without an archive"));
    }
    let archive = names.next().ok_or_else(|| decline!("ar without an archive"))?;
    Ok(Request::Job(ArJob { operation, modifiers, plugin, archive, members: names.collect() }))
}

pub(super) fn plan_ar(draft: &mut Draft<'_>, flavour: Flavour) -> Planned {
    let args = draft.arguments()?;
    let Request::Job(job) = parse_ar(&args)? else { return Ok(Request::Query) };
    let archive = draft.path(&job.archive);
    let exists = draft.world.node(&archive).is_some();
    if exists {
        if job.has(b'u') {
            return Err(decline!("modifier u: compares the times of files"));
        }
        if members_too(draft, &archive)? != job.thin() && job.operation != b's' {
            return Err(decline!("a thin archive out of one that is not, or the other way round"));
        }
        draft.in_place(archive)?;
    } else {
        if !matches!(job.operation, b'q' | b'r') {
            return Err(Decline::missing(&archive));
        }
        // Without modifier c it says that it creates the archive: as a warning, that is told when it is forced.
        draft.output(archive, false, Role::Main)?;
    }
    if matches!(job.operation, b'q' | b'r') {
        for member in &job.members {
            let member = draft.path(member);
            draft.input(&member)?;
            // A thin archive takes over what another one refers to.
            if job.thin() {
                members_too(draft, &member)?;
            }
        }
    }
    if let Some(plugin) = &job.plugin {
        draft.plugin(plugin)?;
    }
    if !job.has(b'D') {
        require_deterministic(draft)?;
    }
    if job.has(b'v') {
        let told = if exists { None } else { told_of_new(&job, flavour) };
        let (prints, quiet) = told.zip(quiet(draft.invocation)).ok_or_else(|| decline!("verbose output"))?;
        draft.plan.prints = prints;
        draft.plan.instead = Some(quiet);
    }
    wrapper_environment(draft, flavour);
    // Objects make ar load every plugin that it has; an existing archive is read by the same code.
    draft.probe(&["qcs", "probe.a", "probe.o"], vec![("probe.o", sample::object())]);
    Ok(Request::Job(()))
}

/// What `v` makes GNU's ar tell of an archive that is not there yet: each member is added. Of two with the same name the second one
/// takes the place of the first.
fn told_of_new(job: &ArJob, flavour: Flavour) -> Option<Vec<u8>> {
    let is_plain = |modifier: &u8| b"cDosSuv".contains(modifier);
    let mut seen = HashSet::new();
    let names = job.members.iter().map(|member| Path::new(member).file_name());
    let are_apart = names.into_iter().all(|name| name.is_some_and(|name| seen.insert(name)));
    let is_known = flavour != Flavour::Llvm && are_apart && job.modifiers.iter().all(is_plain);
    is_known.then(|| job.members.iter().flat_map(|name| [b"a - ", name.as_bytes(), b"\n"].concat()).collect())
}

/// The command without `v`, if its keys are where they are seen.
fn quiet(invocation: &Invocation) -> Option<Invocation> {
    let mut quiet = invocation.clone();
    let is_option = |word: &OsString| word.as_bytes().starts_with(b"--") || word.as_bytes().starts_with(b"@");
    if invocation.argv.iter().any(is_option) {
        return None;
    }
    for (index, word) in quiet.argv.iter_mut().enumerate().skip(1) {
        let bytes = word.as_bytes();
        if index == 1 || bytes.starts_with(b"-") {
            *word = OsString::from_vec(bytes.iter().copied().filter(|&key| key != b'v').collect());
        }
    }
    quiet.argv.retain(|word| !word.is_empty() && word != "-");
    Some(quiet)
}

/// What an option of `ranlib` means.
#[derive(Clone, Copy)]
enum Ranlib {
    Deterministic,
    Plugin,
    Times,
    Query,
}

const RANLIB: &[Row<Ranlib>] = &[
    Row { long: &[], short: "D", takes: Takes::Nothing, effect: Ranlib::Deterministic },
    Row { long: &["plugin"], short: "", takes: Takes::Value, effect: Ranlib::Plugin },
    Row { long: &[], short: "Ut", takes: Takes::Nothing, effect: Ranlib::Times },
    Row { long: &["help", "version"], short: "hHvV", takes: Takes::Nothing, effect: Ranlib::Query },
];

/// What a `ranlib` command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RanlibJob {
    /// `-D`.
    pub deterministic: bool,
    /// What `--plugin` names, as written: the last one.
    pub plugin: Option<OsString>,
    /// The archives, as written.
    pub archives: Vec<OsString>,
}

/// Parses the arguments of `ranlib`, `argv[0]` excluded.
///
/// # Errors
/// An option that this model does not understand.
pub fn parse_ranlib(args: &[OsString]) -> Result<Request<RanlibJob>, Decline> {
    let mut job = RanlibJob { deterministic: false, plugin: None, archives: Vec::new() };
    for item in parse_options(args, RANLIB, Style::Long)? {
        match item {
            Item::Operand(archive) => job.archives.push(archive),
            Item::Option(Ranlib::Deterministic, _) => job.deterministic = true,
            Item::Option(Ranlib::Plugin, plugin) => job.plugin = Some(plugin),
            Item::Option(Ranlib::Times, _) => return Err(decline!("index with times of files")),
            Item::Option(Ranlib::Query, _) => return Ok(Request::Query),
        }
    }
    if job.archives.is_empty() {
        return Err(decline!("ranlib without an archive"));
    }
    Ok(Request::Job(job))
}

pub(super) fn plan_ranlib(draft: &mut Draft<'_>, flavour: Flavour) -> Planned {
    let args = draft.arguments()?;
    let Request::Job(job) = parse_ranlib(&args)? else { return Ok(Request::Query) };
    for archive in &job.archives {
        let archive = draft.path(archive);
        members_too(draft, &archive)?;
        draft.in_place(archive)?;
    }
    if let Some(plugin) = &job.plugin {
        draft.plugin(plugin)?;
    }
    if !job.deterministic {
        require_deterministic(draft)?;
    }
    wrapper_environment(draft, flavour);
    draft.probe(&["probe.a"], vec![("probe.a", sample::archive())]);
    Ok(Request::Job(()))
}

/// Adds what a thin archive refers to, and says whether `archive` is one.
fn members_too(draft: &mut Draft<'_>, archive: &Path) -> Result<bool, Decline> {
    let Some(members) = thin_archive(archive, draft.world)? else { return Ok(false) };
    for member in members {
        draft.input(&member)?;
    }
    Ok(true)
}

/// Without `D` an archive holds the times and owners of its members, unless the tool was built to leave them out, as
/// distributions do. It says so in its help, in the same words in GNU and LLVM.
fn require_deterministic(draft: &Draft<'_>) -> Result<(), Decline> {
    let invocation = draft.invocation;
    let name = invocation.argv.first().cloned().unwrap_or_default();
    let kept = |name: &OsStr| name == "PATH" || draft.plan.environment.iter().any(|known| name == *known);
    let mut env = invocation.env.of(kept);
    env.push(("LC_ALL".into(), "C".into()));
    let (program, argv) = (invocation.program.clone(), vec![name, "--help".into()]);
    let question = Question { program, argv, env, ..Question::default() };
    let answer = draft
        .world
        .ask(&question)
        .map_err(|e| decline!("{} cannot be asked for its help: {e}", invocation.program.display()))?;
    let says = |line: &[u8]| {
        let line = line.trim_ascii_start();
        (line.starts_with(b"[D]") || line.starts_with(b"-D")) && line.ends_with(b"(default)")
    };
    if answer.stdout.split(|&b| b == b'\n').any(says) {
        Ok(())
    } else {
        Err(decline!("this {} records the times of files", super::base_name(&invocation.program)))
    }
}

/// gcc's wrappers look for the tool that they wrap.
fn wrapper_environment(draft: &mut Draft<'_>, flavour: Flavour) {
    if flavour == Flavour::GccWrapper {
        draft.plan.environment.extend(["GCC_EXEC_PREFIX", "COMPILER_PATH"]);
    }
}
