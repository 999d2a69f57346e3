// SPDX-License-Identifier: Apache-2.0
//! `ggtrace`: runs a build unmodified and records it. What the models understand is deferred: it becomes a thunk,
//! and placeholders stand for its outputs until `ggforce` computes them.

// They end the process where nobody listens: see `thunk::say`.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod carry;
mod carrying;
mod cmake;
mod context;
mod decide;
mod defer;
mod descriptors;
mod early;
mod executions;
mod following;
mod force;
mod given;
mod headers;
mod includes;
mod install;
mod judge;
mod kept;
mod key;
mod known_trees;
mod learned;
mod library_names;
mod libtool;
mod linked;
mod log;
mod looks;
mod needed;
mod originals;
mod place;
mod placing;
mod plans;
mod process;
mod programs;
mod questions;
mod recipe;
mod recorder;
mod replay;
mod request;
mod runs;
mod server;
mod session;
mod session_directory;
mod shell;
mod silent;
mod standing;
mod termination;
mod tool;
mod toolchain;
mod touched;
mod undo;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// Runs a build, unmodified, and records it: commands that are understood become thunks instead of running.
/// Afterwards, `ggforce` computes what was deferred.
#[derive(Parser)]
#[command(name = "ggtrace", version, trailing_var_arg = true)]
struct Arguments {
    /// When the build is over, write the trace to this file as well as to the store.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Run every command, observed; defer none.
    #[arg(long)]
    run: bool,
    /// Force while the build goes on, what it waits for first; when it is over, wait until all is forced. Ends with the build's exit
    /// code, or as the forcing failed. A command that fails stops the build, as it stops make.
    #[arg(long, conflicts_with = "run")]
    force: bool,
    /// With --force: force this many commands at once [default: one per processor].
    #[arg(short, long, value_name = "N", requires = "force")]
    jobs: Option<usize>,
    /// With --force: go on after a failure with everything that does not need what failed.
    #[arg(short, long, requires = "force")]
    keep_going: bool,
    /// How processes are observed.
    #[arg(long, value_enum, default_value_t)]
    method: Method,
    /// When the build is over, say on standard error how many commands were deferred.
    #[arg(short, long)]
    verbose: bool,
    /// Called by ggforce: go through this trace's build again, on the files as they are now.
    #[arg(long, hide = true, value_name = "TRACE", conflicts_with_all = ["output", "run", "command"])]
    replay: Option<PathBuf>,
    /// The build's command.
    #[arg(required_unless_present = "replay", value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// How processes are observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Method {
    /// The best that works here.
    #[default]
    Auto,
    /// By a library in each process.
    Preload,
    /// By ptrace; no library is loaded. Sees everything, and is slow.
    Ptrace,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.replay {
        Some(trace) => replay::run(trace),
        None => session::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            thunk::say!("ggtrace: {error:#}");
            // As the shell does for a command that does not exist, or cannot be run.
            ExitCode::from(if error.is::<session::NotFound>() { 127 } else { 126 })
        }
    }
}
