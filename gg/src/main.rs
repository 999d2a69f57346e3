// SPDX-License-Identifier: Apache-2.0
//! `gg`: the umbrella program, with the verbs of the original gg. Looks at objects and traces itself; recording and
//! forcing it leaves to `ggtrace` and `ggforce`.

// They end the process where nobody listens: see `thunk::say`.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod describe;
mod export;
mod facts;
mod gc;
mod graph;
mod json;
mod needs;
mod pack;
mod show;
mod trace_json;
mod why;

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use thunk::{ObjectKind, ObjectName, Store};

/// Records builds as thunks, forces them, and tells what they are.
#[derive(Parser)]
#[command(name = "gg", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a store in this directory (`.gg`), used by everything below it in place of the user's own.
    Init,
    /// Record a build: the same as `ggtrace COMMAND`.
    Infer {
        /// The build's command, with ggtrace's options before it.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<OsString>,
    },
    /// Compute what was deferred: the same as `ggforce TARGET …`.
    Force {
        /// Targets and options of ggforce.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Print what an object of the store, a placeholder or a file is.
    Describe(describe::Arguments),
    /// Print the object name of a file's content.
    Hash {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print what a recorded build ran, and what became of each command.
    Show(show::Arguments),
    /// Write what a recorded build ran in the form of another tool.
    Export {
        /// Which.
        #[command(subcommand)]
        what: export::What,
    },
    /// Write a recorded build with everything that is needed to force it, the toolchain too, into one file.
    Pack(pack::Arguments),
    /// Put what is in a pack into the store, and print the path of its trace, for `ggforce --trace`.
    Unpack {
        /// The pack.
        pack: PathBuf,
    },
    /// Make the store smaller: remove what no build needs that may still be forced, and nobody has used for long.
    Gc(gc::Arguments),
    /// Print a recorded build as a graph, for Graphviz (`gg graph | dot -Tsvg`).
    Graph(graph::Arguments),
    /// Force a placeholder and run the result: what executing a placeholder does. `--help` is for the result.
    #[command(hide = true, disable_help_flag = true)]
    ForceAndRun {
        /// The placeholder.
        path: PathBuf,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.verb) {
        Ok(code) => code,
        // A reader that has seen enough is no failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            thunk::say!("gg: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Init => {
            let here = std::env::current_dir().context("cannot tell the current directory")?;
            let store = Store::open(&here.join(".gg"))?;
            writeln!(std::io::stdout(), "{}", store.root().display())?;
        }
        Verb::Infer { arguments } => return become_program("ggtrace", &arguments),
        Verb::Force { arguments } => return become_program("ggforce", &arguments),
        Verb::Describe(arguments) => describe::run(&arguments)?,
        Verb::Hash { files } => {
            let mut out = std::io::stdout().lock();
            for file in files {
                writeln!(out, "{}", name_of(&file)?)?;
            }
        }
        Verb::Show(arguments) => show::run(&arguments)?,
        Verb::Export { what } => export::run(&what)?,
        Verb::Pack(arguments) => pack::pack(&arguments)?,
        Verb::Unpack { pack } => pack::unpack(&pack)?,
        Verb::Gc(arguments) => gc::run(&arguments)?,
        Verb::Graph(arguments) => graph::run(&arguments)?,
        Verb::ForceAndRun { path, arguments } => return force_and_run(&path, &arguments),
    }
    Ok(ExitCode::SUCCESS)
}

/// As gg names it: a thunk is one by its first bytes.
fn name_of(file: &Path) -> Result<ObjectName> {
    let content = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let kind = if content.starts_with(thunk::MAGIC) { ObjectKind::Thunk } else { ObjectKind::Value };
    Ok(ObjectName::of(kind, &content))
}

fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().ok();
    let found = own.as_deref().and_then(Path::parent).map(|directory| directory.join(name));
    found.filter(|path| path.exists()).unwrap_or_else(|| name.into())
}

fn become_program(name: &str, arguments: &[OsString]) -> Result<ExitCode> {
    let program = beside(name);
    let error = Command::new(&program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

fn force_and_run(path: &Path, arguments: &[OsString]) -> Result<ExitCode> {
    // A name without a slash is that of a file here, as the kernel gives it: not of a program on PATH.
    let here = Path::new(".").join(path);
    let path = if path.as_os_str().as_encoded_bytes().contains(&b'/') { path } else { &here };
    if let Some(placeholder) = thunk::Placeholder::read(path)? {
        // The engine would make a store that is no longer there.
        Store::open_existing(&placeholder.store)?;
        let program = beside("ggforce");
        let status = Command::new(&program)
            .args(["--quiet", "--"])
            .arg(path)
            .env("GG_DIR", &placeholder.store)
            .status()
            .with_context(|| format!("cannot run {}", program.display()))?;
        anyhow::ensure!(status.success(), "{} cannot be forced", path.display());
    }
    anyhow::ensure!(thunk::Placeholder::read(path)?.is_none(), "{} is still a placeholder", path.display());
    let error = Command::new(path).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", path.display()))
}
