// SPDX-License-Identifier: Apache-2.0
//! `gg show`: what a recorded build ran, and what became of each command.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use thunk::Store;
use thunk::trace::{Command, Disposition, Trace};

use crate::json::Json;

/// Which build to show, and how.
#[derive(clap::Args)]
pub struct Arguments {
    /// The trace; the newest of this directory if none is given.
    trace: Option<PathBuf>,
    /// Machine-readable, everything.
    #[arg(long)]
    json: bool,
    /// Every command, not just the totals.
    #[arg(short, long)]
    all: bool,
}

/// Prints it.
///
/// # Errors
/// There is no such trace.
pub fn run(arguments: &Arguments) -> Result<()> {
    let path = match &arguments.trace {
        Some(path) => path.clone(),
        None => {
            let store = Store::open_default()?;
            let here = std::env::current_dir().context("cannot tell the current directory")?;
            match Trace::latest(&store, &here)? {
                Some(path) => path,
                None => bail!(
                    "no build was recorded in {} with the store {}",
                    here.display(),
                    store.root().display()
                ),
            }
        }
    };
    let trace = Trace::read(&path)?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", json(&trace).write(None))?;
        return Ok(());
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
    table(&trace, &mut out)
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

fn disposition(what: Disposition) -> &'static str {
    match what {
        Disposition::Deferred => "deferred",
        Disposition::Declined => "declined",
        Disposition::Ran => "ran",
    }
}

fn words<'a>(words: impl Iterator<Item = &'a OsStr>) -> String {
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

fn json(trace: &Trace) -> Json {
    let count = |what| trace.commands.iter().filter(|c| c.disposition == what).count() as u64;
    let mut fields = vec![
        ("cwd", Json::from(trace.cwd.as_os_str())),
        ("argv", Json::list(trace.argv.iter().map(|a| a.as_os_str()))),
        ("deferred", Json::Number(count(Disposition::Deferred))),
        ("declined", Json::Number(count(Disposition::Declined))),
        ("ran", Json::Number(count(Disposition::Ran))),
    ];
    if let Some((code, us)) = trace.end {
        fields.push(("exitCode", Json::Text(code.to_string())));
        fields.push(("microseconds", Json::Number(us)));
    }
    fields.push(("commands", Json::List(trace.commands.iter().map(command).collect())));
    Json::Object(fields)
}

fn command(command: &Command) -> Json {
    Json::Object(vec![
        ("id", Json::Number(command.id.into())),
        ("parent", Json::Number(command.parent.into())),
        ("cwd", Json::from(command.cwd.as_os_str())),
        ("program", Json::from(command.program.as_os_str())),
        ("argv", Json::list(command.argv.iter().map(|a| a.as_os_str()))),
        ("kind", Json::Text(command.kind.clone())),
        ("disposition", Json::Text(disposition(command.disposition).into())),
        ("reason", Json::Text(command.reason.clone())),
        ("thunk", Json::Text(command.thunk.map(|t| t.to_string()).unwrap_or_default())),
        ("outputs", Json::list(command.outputs.iter().map(|o| o.as_os_str()))),
        ("atMicroseconds", Json::Number(command.at_us)),
        ("tookMicroseconds", Json::Number(command.took_us)),
    ])
}
