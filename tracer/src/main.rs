// SPDX-License-Identifier: Apache-2.0
//! `ggtrace`: runs a build unmodified and records it. What the models understand is deferred: it becomes a thunk,
//! and placeholders stand for its outputs until `ggforce` computes them.

mod context;
mod decide;
mod defer;
mod force;
mod headers;
mod includes;
mod install;
#[allow(dead_code, reason = "to be read once commands that run are recorded")]
mod log;
mod programs;
mod questions;
mod recorder;
mod request;
mod server;
mod session;
mod toolchain;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Runs a build, unmodified, and records it: commands that are understood become thunks instead of running.
/// Afterwards, `ggforce` computes what was deferred.
#[derive(Parser)]
#[command(name = "ggtrace", version, trailing_var_arg = true)]
struct Arguments {
    /// Write the trace to this file instead of the store.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// When the build is over, say on standard error how many commands were deferred.
    #[arg(short, long)]
    verbose: bool,
    /// The build's command.
    #[arg(required = true, value_name = "COMMAND", allow_hyphen_values = true)]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match session::run(&arguments.command, arguments.output.as_deref(), arguments.verbose) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ggtrace: {error:#}");
            // As the shell does for a command that does not exist, or cannot be run.
            ExitCode::from(if error.is::<session::NotFound>() { 127 } else { 126 })
        }
    }
}
