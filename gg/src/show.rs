// SPDX-License-Identifier: Apache-2.0
//! `gg show`: what a recorded build ran, and what became of each command.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use thunk::trace::{Disposition, Trace};

use crate::facts::Facts;
use crate::trace_json;

/// Which build to show, and how.
#[derive(clap::Args)]
pub struct Arguments {
    /// The trace; the newest of this directory if none is given.
    trace: Option<PathBuf>,
    /// Machine-readable, everything: docs/USES.md lists the fields.
    #[arg(long, conflicts_with = "all")]
    json: bool,
    /// Every command, not just the totals.
    #[arg(short, long)]
    all: bool,
    /// Which command made this file, from what, why it was or was not deferred, and who uses the file.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["json", "all"])]
    why: Option<PathBuf>,
    /// What has to be brought to machines that have nothing, so that they can compute what was deferred.
    #[arg(long, conflicts_with_all = ["json", "all", "why"])]
    needs: bool,
    /// Of that only what is new to those that have computed this other build.
    #[arg(long, value_name = "TRACE", requires = "needs")]
    beside: Option<PathBuf>,
}

/// Prints it.
///
/// # Errors
/// There is no such trace, or it knows nothing of the file that is asked about.
pub fn run(arguments: &Arguments) -> Result<()> {
    let facts = Facts::load(arguments.trace.as_deref())?;
    let (path, trace) = (&facts.path, &facts.trace);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if let Some(of) = &arguments.why {
        crate::why::why(&facts, of, &mut out)?;
        return Ok(out.flush()?);
    }
    if arguments.needs {
        crate::needs::run(&facts, arguments.beside.as_deref(), &mut out)?;
        return Ok(out.flush()?);
    }
    if arguments.json {
        writeln!(out, "{}", trace_json::trace(trace).write(None))?;
        return Ok(out.flush()?);
    }
    writeln!(out, "trace {}", path.display())?;
    writeln!(out, "build {} in {}", words(trace.argv.iter().map(|a| a.as_os_str())), trace.cwd.display())?;
    match (&trace.end, &trace.cut) {
        (Some((code, us)), _) => {
            writeln!(out, "ended with exit code {code} after {:.2} s", *us as f64 / 1e6)?
        }
        (None, Some(why)) => writeln!(out, "the recorder was interrupted: {why}")?,
        (None, None) => writeln!(out, "the recorder was interrupted, or is at work")?,
    }
    if arguments.all {
        for command in &trace.commands {
            let kind = if command.kind.is_empty() { "-" } else { &command.kind };
            let mut what = disposition(command.disposition).to_owned();
            if !command.reason.is_empty() {
                what = format!("{what} ({})", command.reason);
            }
            writeln!(
                out,
                "{:6} {kind:9} {what}: {}",
                command.id,
                words(command.argv.iter().map(|a| a.as_os_str()))
            )?;
        }
    }
    table(trace, &mut out)?;
    Ok(out.flush()?)
}

/// One row for each kind of command, program, disposition and reason; then the totals.
fn table(trace: &Trace, out: &mut impl std::io::Write) -> Result<()> {
    let mut rows: BTreeMap<(Disposition, &str, String, &str), (u32, u64)> = BTreeMap::new();
    let mut totals = [0u32; 3];
    for command in &trace.commands {
        totals[command.disposition as usize] += 1;
        let program = command.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let key = (command.disposition, command.kind.as_str(), program, command.reason.as_str());
        let row = rows.entry(key).or_default();
        row.0 += 1;
        row.1 += command.took_us;
    }
    writeln!(out, "{:>7}  {:>8}  {:9}  {:9}  {:24}  reason", "number", "ms each", "what", "kind", "program")?;
    for ((what, kind, program, reason), (number, us)) in rows {
        let each = us as f64 / 1e3 / f64::from(number);
        writeln!(out, "{number:7}  {each:8.2}  {:9}  {kind:9}  {program:24}  {reason}", disposition(what))?;
    }
    writeln!(out, "deferred {}", totals[0])?;
    writeln!(out, "declined {}", totals[1])?;
    writeln!(out, "ran {}", totals[2])?;
    Ok(())
}

/// What became of a command, in a word.
pub fn disposition(what: Disposition) -> &'static str {
    match what {
        Disposition::Deferred => "deferred",
        Disposition::Declined => "declined",
        Disposition::Ran => "ran",
    }
}

/// A command line for people to read.
pub fn words<'a>(words: impl Iterator<Item = &'a OsStr>) -> String {
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
