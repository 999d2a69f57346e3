// SPDX-License-Identifier: Apache-2.0
//! `gg export`: a recorded build in the forms of other tools. `compile-commands` is the compilation database that clang's
//! tools and editors read, with the entries that Bear 3 writes: one for each source that a compiler was asked to
//! compile, whatever became of the command.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use models::Invocation;
use models::compiler::{Compiler, compilations};
use models::recognise::{self, Program, strip_launcher};
use thunk::trace::{Command, clean};

use crate::facts::Facts;
use crate::json::Json;

/// What to export.
#[derive(clap::Subcommand)]
pub enum What {
    /// A compilation database (compile_commands.json), as Bear writes it.
    CompileCommands {
        /// The trace; the newest of this directory if none is given.
        trace: Option<PathBuf>,
        /// Where to write it; `-` for standard output.
        #[arg(short, long, value_name = "FILE", default_value = "compile_commands.json")]
        output: PathBuf,
    },
}

/// Writes it.
///
/// # Errors
/// There is no such trace, or the file cannot be written.
pub fn run(what: &What) -> Result<()> {
    let What::CompileCommands { trace, output } = what;
    let facts = Facts::load(trace.as_deref())?;
    let mut entries = Vec::new();
    let mut seen = HashSet::new();
    let mut programs = Programs::default();
    // Commands that compile, and what they start: a cache starts the compiler, which has the same sources under other names.
    let mut compiling = HashSet::new();
    for command in &facts.trace.commands {
        let of_other = compiling.contains(&command.parent);
        let found = if of_other { Vec::new() } else { of_command(command, &mut programs) };
        if of_other || !found.is_empty() {
            compiling.insert(command.id);
        }
        for entry in found {
            // The first counts, where a file is compiled several times to the same place.
            if seen.insert((entry.file.clone(), entry.output.clone())) {
                entries.push(entry.json());
            }
        }
    }
    let text = Json::List(entries).write(Some(0)) + "\n";
    if output.as_os_str() == "-" {
        return Ok(std::io::stdout().write_all(text.as_bytes())?);
    }
    let output = std::path::absolute(output).with_context(|| format!("cannot write {}", output.display()))?;
    Ok(thunk::write_atomically(&output, text.as_bytes(), 0o666)?)
}

struct Entry {
    directory: PathBuf,
    file: PathBuf,
    output: Option<PathBuf>,
    arguments: Vec<std::ffi::OsString>,
}

impl Entry {
    fn json(&self) -> Json {
        let mut fields = vec![
            ("arguments", Json::list(self.arguments.iter().map(|a| a.as_os_str()))),
            ("directory", Json::from(self.directory.as_os_str())),
            ("file", Json::from(self.file.as_os_str())),
        ];
        fields.extend(self.output.as_ref().map(|output| ("output", Json::from(output.as_os_str()))));
        Json::Object(fields)
    }
}

/// The entries of one command: those of its sources that are still there.
fn of_command(command: &Command, programs: &mut Programs) -> Vec<Entry> {
    let invocation = Invocation {
        program: command.program.clone(),
        argv: command.argv.clone(),
        env: [("PATH", std::env::var_os("PATH").unwrap_or_default())].into_iter().collect(),
        cwd: command.cwd.clone(),
    };
    let invocation = match programs.get(&invocation.program) {
        Some(Program::Launcher) => {
            let programs = std::cell::RefCell::new(programs.clone());
            match strip_launcher(&invocation, &|path| programs.borrow_mut().get(path)) {
                Some(inner) => inner,
                None => return Vec::new(),
            }
        }
        _ => invocation,
    };
    let name = invocation.argv.first().map_or(OsStr::new(""), |name| name.as_os_str());
    let Some(Program::Compiler(driver)) = programs.called(&invocation.program, name) else {
        return Vec::new();
    };
    let Some(compiler) = Compiler::of(driver, name) else { return Vec::new() };
    let absolute = |path: &Path| {
        let path = command.cwd.join(path);
        clean(&path).unwrap_or(path)
    };
    let read = &mut |path: &Path| std::fs::read(command.cwd.join(path));
    compilations(compiler, &invocation.argv, read)
        .into_iter()
        .filter(|compilation| command.cwd.join(&compilation.source).exists())
        .map(|compilation| Entry {
            directory: command.cwd.clone(),
            file: absolute(&compilation.source),
            output: compilation.output.as_deref().map(absolute),
            arguments: [invocation.program.clone().into_os_string()]
                .into_iter()
                .chain(compilation.arguments)
                .collect(),
        })
        .collect()
}

/// What programs are, each looked at once.
#[derive(Clone, Default)]
struct Programs {
    known: HashMap<(PathBuf, std::ffi::OsString), Option<Program>>,
}

impl Programs {
    fn get(&mut self, path: &Path) -> Option<Program> {
        self.called(path, path.file_name()?)
    }

    fn called(&mut self, path: &Path, name: &OsStr) -> Option<Program> {
        let key = (path.to_path_buf(), name.to_os_string());
        *self.known.entry(key).or_insert_with(|| {
            let real = std::fs::canonicalize(path).ok()?;
            recognise::recognise(name, &real, &|| std::fs::read(&real).map(Arc::new)).ok()
        })
    }
}
