// SPDX-License-Identifier: Apache-2.0
//! Compares the include scanner with the compiler's own `-M`, by hand:
//!
//! ```text
//! cargo run --release -p models --example scan -- gcc -Iinclude -c a.c -o a.o
//! cargo run --release -p models --example scan -- --list FILE
//! cargo run --release -p models --example scan -- --times FILE
//! ```
//!
//! Each line of FILE is a directory and a compile command with its arguments, separated by tabs. For all commands
//! it scans cold, scans again warm, once more as if nothing could have changed, asks the compiler, and prints each
//! header that the scanner misses. With `--times` no compiler is asked what a command reads. In addition it
//! preprocesses each command itself, although that is only needed where macros put the names of headers together, and
//! prints what it then finds more or less than the compiler.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use models::recognise::{Program, recognise};
use models::scanner::{self, Closure, Scanner, Unsure};
use models::{Answer, IncludeSearch, Invocation, Node, Question, Verdict, World};

#[path = "../src/testing/disk.rs"]
mod disk;

/// The program and what it is.
fn invocation(cwd: PathBuf, argv: Vec<OsString>) -> Option<(Program, Invocation)> {
    let name = argv.first()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.is_file())?;
    let real = found.canonicalize().ok()?;
    let program = recognise(name, &real, &|| std::fs::read(&real).map(Arc::new)).ok()?;
    let env = std::env::vars_os().filter(|(k, _)| k == "PATH").collect();
    Some((program, Invocation { program: found, argv, env, cwd }))
}

/// The prerequisites of a makefile rule.
fn prerequisites(rule: &[u8]) -> Vec<PathBuf> {
    let text = String::from_utf8_lossy(rule).replace("\\\n", " ");
    let Some((_, list)) = text.split_once(": ") else { return Vec::new() };
    let words = list.lines().next().unwrap_or_default().replace("\\ ", "\0");
    words
        .split_whitespace()
        .map(|w| PathBuf::from(w.replace('\0', " ").replace("$$", "$").replace("\\#", "#")))
        .collect()
}

/// What makes two spellings of a path the same file for a compiler: the directory, and the name in it.
fn key(path: &Path) -> Option<(u64, u64, OsString)> {
    let dir = path.parent()?.metadata().ok()?;
    Some((dir.dev(), dir.ino(), path.file_name()?.to_owned()))
}

fn files(result: &Result<Closure, Unsure>) -> &Closure {
    match result {
        Ok(closure) => closure,
        Err(unsure) => &unsure.known,
    }
}

/// Processor time of this thread: the machine may be busy with other things.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0))
}

fn commands() -> io::Result<Vec<(PathBuf, Vec<OsString>)>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let [flag, file] = &*arguments
        && (flag == "--list" || flag == TIMES)
    {
        let text = std::fs::read(file)?;
        let line = |line: &[u8]| {
            let mut words = line.split(|&c| c == b'\t').map(|w| OsStr::from_bytes(w).to_owned());
            Some((PathBuf::from(words.next()?), words.collect()))
        };
        return Ok(text.split(|&c| c == b'\n').filter(|l| !l.is_empty()).filter_map(line).collect());
    }
    Ok(vec![(std::env::current_dir()?, arguments)])
}

fn searches(machine: &disk::Disk) -> io::Result<Vec<(PathBuf, Invocation, IncludeSearch)>> {
    let mut searches = vec![];
    for (cwd, argv) in commands()? {
        let shown = OsString::from_vec(argv.join(OsStr::new(" ")).into_vec());
        let Some((program, invocation)) = invocation(cwd.clone(), argv) else {
            eprintln!("no such program: {}", shown.display());
            continue;
        };
        match models::plan(program, &invocation, machine) {
            Some((_, Verdict::Defer(plan))) => {
                searches.extend(plan.includes.map(|search| (cwd, invocation, search)))
            }
            other => eprintln!("not planned: {}: {other:?}", shown.display()),
        }
    }
    Ok(searches)
}

/// Only scans.
const TIMES: &str = "--times";

fn main() -> io::Result<ExitCode> {
    let asks = std::env::args_os().nth(1).is_none_or(|flag| flag != TIMES);
    let machine = disk::Disk::default();
    let searches = searches(&machine)?;
    let scanner = Scanner::default();
    let mut rounds = vec![];
    let moment = scanner.now();
    for round in 0..3 {
        let since = || if round == 2 { moment } else { scanner.now() };
        let start = processor_time();
        let scan = |(cwd, _, search): &(PathBuf, Invocation, IncludeSearch)| {
            scanner.scan(search, cwd, &machine, since())
        };
        let results: Vec<_> = searches.iter().map(scan).collect();
        rounds.push((processor_time().saturating_sub(start), results));
    }
    let mut out = io::stdout().lock();
    let (mut listed, mut scanned, mut missed, mut failed, mut unsure) = (0, 0, 0, 0, 0);
    let (mut exact, mut differing) = (0, 0);
    let (mut rules, mut otherwise, mut unwritten, mut ruling) = (0, 0, 0, Duration::ZERO);
    let (mut asking, mut preprocessing) = (Duration::ZERO, Duration::ZERO);
    let (_, results) = &rounds[2];
    for ((cwd, invocation, search), result) in searches.iter().zip(results) {
        if let Err(reason) = result {
            unsure += 1;
            writeln!(out, "unsure: {}: {reason}", search.sources[0].display())?;
        }
        let start = processor_time();
        let preprocessed = scanner.preprocess(search, cwd, &machine);
        preprocessing += processor_time().saturating_sub(start);
        exact += usize::from(preprocessed.is_ok());
        if !asks {
            continue;
        }
        let found: HashSet<_> = files(result).files().filter_map(|f| key(&f.path)).collect();
        let Some(arguments) = search.ask_compiler.get(1..) else { continue };
        let start = Instant::now();
        let answer = Command::new(&invocation.program).args(arguments).current_dir(cwd).output()?;
        asking += start.elapsed();
        if !answer.status.success() {
            failed += 1;
            continue;
        }
        let expected: HashSet<_> = prerequisites(&answer.stdout).iter().map(|p| cwd.join(p)).collect();
        match preprocessed {
            Ok(read) => {
                let tested: HashSet<_> = read.tested.iter().filter_map(|p| key(p)).collect();
                let read: HashSet<_> = read.included.iter().filter_map(|p| key(p)).collect();
                let keys: HashSet<_> = expected.iter().filter_map(|p| key(p)).collect();
                // gcc's -M names a header that comes before all others and that its macros come from.
                let differs = |k: &&(u64, u64, OsString)| k.2 != "stdc-predef.h" && !tested.contains(*k);
                let difference: Vec<_> = read.symmetric_difference(&keys).filter(differs).collect();
                if let Some((_, _, name)) = difference.first() {
                    differing += 1;
                    let (name, count) = (name.display(), difference.len());
                    writeln!(
                        out,
                        "preprocessed otherwise: {}: {name}, {count} in all",
                        search.sources[0].display()
                    )?;
                }
            }
            Err(reason) => writeln!(out, "not preprocessed: {}: {reason}", search.sources[0].display())?,
        }
        if search.rule.is_some() {
            rules += 1;
            let start = processor_time();
            let ours = scanner.dependencies(search, cwd, &machine, scanner.now());
            ruling += processor_time().saturating_sub(start);
            let theirs = tempfile::NamedTempFile::new()?;
            let options = search.write_dependencies.get(1..).unwrap_or_default();
            let written = Command::new(&invocation.program)
                .args(options)
                .arg(theirs.path())
                .current_dir(cwd)
                .output()?;
            match ours {
                Ok(ours) if written.status.success() && ours != std::fs::read(theirs.path())? => {
                    otherwise += 1;
                    writeln!(out, "written otherwise: {}", search.sources[0].display())?;
                    let theirs = std::fs::read(theirs.path())?;
                    let words = |text: &[u8]| {
                        String::from_utf8_lossy(text)
                            .split_whitespace()
                            .map(str::to_owned)
                            .collect::<Vec<_>>()
                    };
                    let (ours, theirs) = (words(&ours), words(&theirs));
                    let at = ours.iter().zip(&theirs).position(|(a, b)| a != b).unwrap_or(0);
                    writeln!(out, "  ours {:?} theirs {:?}", ours.get(at), theirs.get(at))?;
                }
                Ok(_) => {}
                Err(reason) => {
                    unwritten += 1;
                    writeln!(out, "not written: {}: {reason}", search.sources[0].display())?;
                }
            }
        }
        listed += expected.len();
        scanned += found.len();
        for path in expected.iter().filter(|p| !key(p).is_some_and(|k| found.contains(&k))) {
            missed += usize::from(result.is_ok());
            let word = if result.is_ok() { "MISSED" } else { "missed, but unsure" };
            writeln!(out, "{word}: {}: {}", search.sources[0].display(), path.display())?;
        }
    }
    let count = searches.len().max(1);
    let each = |d: Duration| d.as_secs_f64() * 1e6 / count as f64;
    writeln!(
        out,
        "{} commands, {failed} that -M fails on, {unsure} unsure, {missed} headers missed",
        searches.len()
    )?;
    writeln!(
        out,
        "preprocessed here: {exact}, in {:.0} µs each (processor time), {differing} with another result than -M",
        preprocessing.as_secs_f64() * 1e6 / count as f64
    )?;
    writeln!(
        out,
        "dependency files written here: {} of {rules}, {otherwise} not as the compiler does, {:.0} µs each (processor time)",
        rules - unwritten,
        ruling.as_secs_f64() * 1e6 / f64::from(rules.max(1))
    )?;
    writeln!(out, "files per command: scanner {}, -M {}", scanned / count, listed / count)?;
    writeln!(out, "ratio {:.2}", scanned as f64 / listed.max(1) as f64)?;
    writeln!(
        out,
        "µs per command: scanner {:.0} cold, {:.0} warm, {:.0} within a moment (processor time), -M {:.0} (wall time)",
        each(rounds[0].0),
        each(rounds[1].0),
        each(rounds[2].0),
        each(asking)
    )?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
