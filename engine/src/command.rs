// SPDX-License-Identifier: Apache-2.0
//! The program `ggforce`: its command line, and a run from the targets to the last line.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use clap::Parser;
use thunk::Store;

use crate::engines::{Chosen, Engines};
use crate::force::Summary;
use crate::progress::Progress;
use crate::schedule::Options;
use crate::targets::Targets;
use crate::worker::Manner;
use crate::{follow, lambda, remote, replay, simulated, targets, worker};

/// Computes what ggtrace deferred: the given targets, or everything that the last build recorded here left to be computed.
/// ggforce worker --help tells how to lend a machine to others, ggforce deploy --help how to have AWS Lambda compute.
#[derive(Parser)]
#[command(name = "ggforce", version)]
struct Arguments {
    /// Files, or directories with everything in them.
    targets: Vec<PathBuf>,
    #[command(flatten)]
    chosen: Chosen,
    /// Go on after a failure with everything that does not need what failed.
    #[arg(short, long)]
    keep_going: bool,
    /// Say nothing but what commands say, and errors.
    #[arg(short, long)]
    quiet: bool,
    /// Append what is told at the end to this file too, also what computes while a build is recorded.
    #[arg(long, value_name = "FILE", env = "GG_REPORT")]
    report: Option<PathBuf>,
    /// Replay the build of this trace, without make: its commands as they were, its inputs as they are now. Targets are files
    /// that it made; without any, everything that it left is put where it is missing.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Replay even if what the build itself read (a makefile, the names in a directory) has changed.
    #[arg(long, requires = "trace")]
    as_recorded: bool,
    /// Read targets from standard input, each ended by a NUL byte.
    #[arg(long, value_name = "-", value_parser = ["-"], conflicts_with = "trace")]
    paths_from: Option<String>,
    /// Play the last trace's thunks, all forced already, on imaginary workers, and tell how long that takes:
    /// workers=N, and in milliseconds latency, cold; as shares of 1 jitter, failures, stragglers; slowness, seed.
    #[arg(long, hide = true, value_name = "NAME=NUMBER,…")]
    simulate: Option<simulated::Scene>,
    /// Called by ggtrace: force what it orders on standard input, a socket, while it records.
    #[arg(long, hide = true)]
    follow: bool,
    /// Called by ggtrace: of what it orders, only that for which somebody waits, and the rest aside.
    #[arg(long, hide = true, requires = "follow")]
    on_demand: bool,
    /// How commands run on this machine: without namespaces, as where there are none, translated; to measure what the sandbox costs,
    /// bare.
    #[arg(long, hide = true, value_enum, default_value_t, env = "GG_MANNER")]
    manner: Manner,
    /// Serve as a worker with this store.
    #[arg(long, hide = true, value_name = "STORE")]
    worker: Option<PathBuf>,
}

/// The program.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let verb = words.first().and_then(|word| word.to_str());
    let rest = || words.iter().skip(1).cloned();
    let result = match verb {
        Some("worker") => {
            let words = std::iter::once("ggforce worker".into()).chain(rest());
            remote::server::main(&remote::server::Arguments::parse_from(words)).map(|()| ExitCode::SUCCESS)
        }
        #[cfg(feature = "lambda")]
        Some("deploy") => {
            let words = std::iter::once("ggforce deploy".into()).chain(rest());
            lambda::deploy::main(&lambda::deploy::Arguments::parse_from(words)).map(|()| ExitCode::SUCCESS)
        }
        #[cfg(not(feature = "lambda"))]
        Some("deploy") => Err(anyhow::anyhow!(lambda::ABSENT)),
        _ => {
            let arguments = Arguments::parse();
            match &arguments.worker {
                Some(store) => worker::serve(store, arguments.manner).map(|()| ExitCode::SUCCESS),
                None => run(&arguments),
            }
        }
    };
    result.unwrap_or_else(|error| {
        if !error.is::<replay::Told>() {
            thunk::say!("ggforce: {error:#}");
        }
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = Rc::new(Store::open_default()?);
    if let Some(scene) = &arguments.simulate {
        let trace = targets::trace(&store, arguments.trace.as_deref())?;
        writeln!(std::io::stdout(), "{}", simulated::simulate(&store, &trace, scene.clone())?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let quiet = arguments.quiet || arguments.follow;
    let mut progress = Progress::new(quiet);
    if let Some(path) = &arguments.report {
        progress.report_to(path)?;
    }
    let mut targets = Targets::new(&store);
    let mut replayed = None;
    if let Some(trace) = &arguments.trace {
        let options =
            replay::Options { trace, targets: &arguments.targets, as_recorded: arguments.as_recorded };
        let mut plan = replay::plan(&store, &options)?;
        targets.found = std::mem::take(&mut plan.targets);
        replayed = Some(plan);
    } else if arguments.paths_from.is_some() {
        targets.add_list()?;
    } else if arguments.targets.is_empty() && !arguments.follow {
        targets.add_latest()?;
    }
    if arguments.trace.is_none() {
        for path in &arguments.targets {
            targets.add_named(path)?;
        }
    }
    let found = targets.found;
    let recorder = arguments.follow.then(recorder).transpose()?;
    let summary = if found.is_empty() && recorder.is_none() {
        Summary::default()
    } else {
        store.sweep();
        let _ = sandbox::sweep(&store.root().join("sandbox"));
        let options = Options { keep_going: arguments.keep_going, on_demand: arguments.on_demand };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the engine")?;
        let tasks = tokio::task::LocalSet::new();
        thunk::turn::soon();
        let summary = tasks.block_on(&runtime, async {
            let engines = Engines::open(&store, &arguments.chosen, arguments.manner, &mut progress).await?;
            engines.force(&store, found, options, recorder, &mut progress).await
        });
        drop(tasks);
        // What still waits for a name server or a directory on another machine is waited for no more.
        runtime.shutdown_background();
        summary?
    };
    let mut linked = Ok(());
    if let Some(plan) = &replayed {
        linked = plan.put_links(&store);
        if matches!(summary, Summary { interrupted: false, failed: 0, unplaced: 0, .. }) {
            plan.renew();
        }
        plan.give_modes();
    }
    linked?;
    store.files().flush();
    let failure = replayed.and_then(|plan| plan.failure);
    if let Some(failure) = &failure {
        thunk::say!("ggforce: the recorded build {failure}; what was to come after that is not on record");
    }
    let Summary { run, known, failed, .. } = summary;
    progress.end(&format!(
        "{} thunks: {run} run, {known} from reductions, {failed} failed in {:.1} s",
        run + known + failed,
        progress.elapsed().as_secs_f64()
    ));
    Ok(match summary {
        Summary { interrupted: true, .. } => ExitCode::from(130),
        Summary { failed: 0, unplaced: 0, .. } if failure.is_none() => ExitCode::SUCCESS,
        Summary { code: 1..=255, .. } => ExitCode::from(summary.code as u8),
        _ => ExitCode::FAILURE,
    })
}

/// The recorder at the other end of standard input.
fn recorder() -> Result<(follow::Orders, follow::Follower)> {
    let stream = std::io::stdin().as_fd().try_clone_to_owned().context("cannot use standard input")?;
    let stream = UnixStream::from(stream);
    let follower = follow::Follower::new(stream.try_clone().context("cannot use standard input")?);
    Ok((follow::orders(stream)?, follower))
}
