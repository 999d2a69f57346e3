// SPDX-License-Identifier: Apache-2.0
//! `gg graph`: a recorded build as a graph in the language of Graphviz: boxes are commands, ellipses files, dashed arrows
//! pipes. Toolchains are left out, and what stands outside of the build's directory unless it is asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use thunk::trace::{Command, Disposition, Product};

use crate::facts::{self, Facts};

/// Which build to draw, and how much of it.
#[derive(clap::Args)]
pub struct Arguments {
    /// Draw what these files are made from; everything if none is given.
    targets: Vec<PathBuf>,
    /// The trace; the newest of this directory if none is given.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Files outside of the directory in which the build was started, too.
    #[arg(short, long)]
    all: bool,
}

/// Prints it.
///
/// # Errors
/// There is no such trace, or no command made a target.
pub fn run(arguments: &Arguments) -> Result<()> {
    let facts = Facts::load(arguments.trace.as_deref())?;
    let graph = Graph::of(&facts, arguments.all);
    let wanted = match arguments.targets.as_slice() {
        [] => None,
        targets => Some(graph.below(targets)?),
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    graph.write(wanted.as_ref(), &mut out)?;
    Ok(out.flush()?)
}

/// A command with its edges.
struct Node<'a> {
    command: &'a Command,
    reads: BTreeSet<PathBuf>,
    writes: BTreeSet<PathBuf>,
    /// Numbers of commands whose output it reads through a pipe.
    pipes: BTreeSet<u32>,
}

struct Graph<'a> {
    facts: &'a Facts,
    nodes: BTreeMap<u32, Node<'a>>,
    /// Who wrote a file.
    writers: HashMap<PathBuf, Vec<u32>>,
}

impl<'a> Graph<'a> {
    fn of(facts: &'a Facts, all: bool) -> Self {
        let shown = |path: &PathBuf| all || path.starts_with(&facts.trace.cwd);
        let mut nodes = BTreeMap::new();
        let mut writers: HashMap<PathBuf, Vec<u32>> = HashMap::new();
        let mut pipes: HashMap<&str, Vec<u32>> = HashMap::new();
        // A file that was renamed is one file here: that which was made.
        let carried: HashMap<&Path, &Path> = facts
            .products
            .last
            .iter()
            .filter_map(|(path, product)| match product {
                Product::Output(output) => {
                    output.output.as_deref().filter(|made| *made != path).map(|made| (made, path.as_path()))
                }
                Product::Value { .. } | Product::Link(_) => None,
            })
            .collect();
        let under = |path: PathBuf| carried.get(path.as_path()).map_or(path.clone(), |now| now.to_path_buf());
        for command in &facts.trace.commands {
            let reads: BTreeSet<_> =
                facts.reads(command).into_iter().map(|read| under(read.path)).filter(shown).collect();
            let writes: BTreeSet<_> = facts.writes(command).into_iter().map(under).filter(shown).collect();
            for path in &writes {
                writers.entry(path.clone()).or_default().push(command.id);
            }
            if let Some(observed) = facts.observed(command.id) {
                for (number, led) in observed.descriptors.iter().enumerate() {
                    if number > 0 && led.starts_with("pipe:") {
                        pipes.entry(led).or_default().push(command.id);
                    }
                }
            }
            nodes.insert(command.id, Node { command, reads, writes, pipes: BTreeSet::new() });
        }
        for observed in &facts.trace.observed {
            if let (Some(node), Some(led)) = (nodes.get_mut(&observed.id), observed.descriptors.first()) {
                let writers = pipes.get(led.as_str()).into_iter().flatten();
                node.pipes.extend(writers.filter(|id| **id != observed.id));
            }
        }
        nodes.retain(|_, node| !(node.reads.is_empty() && node.writes.is_empty() && node.pipes.is_empty()));
        Self { facts, nodes, writers }
    }

    /// The commands that the targets need.
    fn below(&self, targets: &[PathBuf]) -> Result<BTreeSet<u32>> {
        let mut wanted = BTreeSet::new();
        let mut pending = Vec::new();
        for target in targets {
            let forms = facts::spellings(target)?;
            let made = forms.iter().find_map(|form| self.writers.get(form));
            match made {
                Some(made) => pending.extend(made),
                None => bail!("{}: no command of this build made it", target.display()),
            }
        }
        while let Some(id) = pending.pop() {
            let Some(node) = self.nodes.get(&id) else { continue };
            if wanted.insert(id) {
                pending.extend(node.reads.iter().filter_map(|path| self.writers.get(path)).flatten());
                pending.extend(&node.pipes);
            }
        }
        Ok(wanted)
    }

    fn write(&self, wanted: Option<&BTreeSet<u32>>, out: &mut impl Write) -> Result<()> {
        let cwd = &self.facts.trace.cwd;
        let shown = |id: &u32| wanted.is_none_or(|wanted| wanted.contains(id));
        writeln!(out, "digraph build {{\n  rankdir=LR;\n  node [fontsize=10];")?;
        let mut files: BTreeSet<&Path> = BTreeSet::new();
        for (id, node) in self.nodes.iter().filter(|(id, _)| shown(id)) {
            let style = match node.command.disposition {
                Disposition::Deferred => "",
                Disposition::Declined | Disposition::Ran => ", style=dotted",
            };
            writeln!(out, "  c{id} [shape=box, label={}{style}];", quote(&label(node.command)))?;
            files.extend(node.reads.iter().chain(&node.writes).map(PathBuf::as_path));
        }
        let numbers: HashMap<&Path, usize> = files.iter().enumerate().map(|(n, path)| (*path, n)).collect();
        for (path, number) in files.iter().zip(0..) {
            let shown: usize = number;
            let name = facts::relative(path, cwd);
            writeln!(out, "  f{shown} [label={}];", quote(&name.to_string_lossy()))?;
        }
        for (id, node) in self.nodes.iter().filter(|(id, _)| shown(id)) {
            for path in &node.reads {
                writeln!(out, "  f{} -> c{id};", numbers[path.as_path()])?;
            }
            for path in &node.writes {
                writeln!(out, "  c{id} -> f{};", numbers[path.as_path()])?;
            }
            for from in node.pipes.iter().filter(|from| shown(from) && self.nodes.contains_key(from)) {
                writeln!(out, "  c{from} -> c{id} [style=dashed];")?;
            }
        }
        writeln!(out, "}}")?;
        Ok(())
    }
}

/// The program's name and the command's number.
fn label(command: &Command) -> String {
    let program = command.program.file_name().unwrap_or_default().to_string_lossy();
    format!("{program}\n{}", command.id)
}

/// A string of the dot language. A backslash would begin an escape of its own, which means something else than in C.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => quoted.push('\u{fffd}'),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        assert_eq!(quote("a \"b\"\\\n\t\u{e9}"), "\"a \\\"b\\\"\\\\\\n\u{fffd}\u{e9}\"");
    }
}
