// SPDX-License-Identifier: Apache-2.0
//! `gg describe`: prints what an object is, as gg prints it: a thunk's fields as JSON.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use thunk::{Input, Link, ObjectKind, ObjectName, Placeholder, Store, Thunk, Tree, TreeNode, encode_path};

use crate::json::Json;

/// What to describe.
#[derive(clap::Args)]
pub struct Arguments {
    /// Print a thunk's command line only.
    #[arg(short, long)]
    command: bool,
    /// A placeholder, a file that holds a thunk, or the name of an object of the store (or the beginning of one).
    object: PathBuf,
}

/// Prints it.
///
/// # Errors
/// There is no such object.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let path = arguments.object.as_path();
    let store = || Store::open_default().context("the store cannot be opened");
    if let Some(placeholder) = Placeholder::read(path)? {
        if !arguments.command {
            writeln!(
                out,
                "placeholder of {} in the store {}",
                placeholder.output,
                placeholder.store.display()
            )?;
        }
        let store = Store::open_existing(&placeholder.store)?;
        return thunk(arguments, &mut out, &store.thunk(&placeholder.output.thunk)?);
    }
    if path.is_file() {
        let content = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        if content.starts_with(thunk::MAGIC) {
            return thunk(arguments, &mut out, &Thunk::decode(&path.display().to_string(), &content)?);
        }
        writeln!(out, "value {}", ObjectName::of(ObjectKind::Value, &content))?;
        return Ok(());
    }
    let store = store()?;
    let name = find(&store, path)?;
    match name.kind() {
        ObjectKind::Thunk => thunk(arguments, &mut out, &store.thunk(&name)?),
        ObjectKind::Value => {
            let content = store.read(&name)?;
            match Tree::decode(&name.to_string(), &content) {
                Ok(tree) => {
                    for entry in tree.entries() {
                        match &entry.node {
                            TreeNode::File { value, executable } => {
                                let mark = if *executable { "*" } else { "" };
                                writeln!(out, "{}{mark} {value}", entry.path.display())?;
                            }
                            TreeNode::Link(target) => {
                                writeln!(out, "{} -> {}", entry.path.display(), target.display())?;
                            }
                            TreeNode::Directory => writeln!(out, "{}/", entry.path.display())?,
                        }
                    }
                }
                Err(_) => writeln!(out, "value {name}, {} bytes", name.size())?,
            }
            Ok(())
        }
    }
}

fn find(store: &Store, text: &Path) -> Result<ObjectName> {
    let text = text.to_str().unwrap_or_default();
    if let Ok(name) = text.parse() {
        return Ok(name);
    }
    let plausible = text.len() >= 4 && text.starts_with(['T', 'V']);
    let found = if plausible { store.complete(text, 2)? } else { Vec::new() };
    match found.as_slice() {
        [name] => Ok(*name),
        [] => bail!("{text}: neither a file nor an object of the store {}", store.root().display()),
        _ => bail!("{text}: several objects begin like this; give more of the name"),
    }
}

fn thunk(arguments: &Arguments, out: &mut impl std::io::Write, thunk: &Thunk) -> Result<()> {
    if arguments.command {
        let words: Vec<_> = thunk.env.iter().chain(&thunk.args).map(|w| w.to_string_lossy()).collect();
        writeln!(out, "{}", words.join(" "))?;
        return Ok(());
    }
    let text = |text: &OsStr| Json::from(text);
    let path = |path: &Path| Json::from(path.as_os_str());
    let inputs = |list: &[Input]| {
        let items = list.iter().map(|i| Json::Text(format!("{}={}", i.value, i.path.display())));
        Json::List(items.collect())
    };
    let function = Json::Object(vec![
        ("hash", Json::Text(thunk.function.map(|f| f.to_string()).unwrap_or_default())),
        ("args", Json::List(thunk.args.iter().map(|a| text(a)).collect())),
        ("envars", Json::List(thunk.env.iter().map(|e| text(e)).collect())),
    ]);
    let made = thunk.thunks.iter().map(|t| Json::Text(format!("{}={}", t.from, encode_path(&t.path))));
    let links = |list: &[Link]| {
        let items = list.iter();
        Json::List(
            items.map(|l| Json::Object(vec![("name", path(&l.path)), ("target", path(&l.target))])).collect(),
        )
    };
    let mut fields = vec![
        ("function", function),
        ("values", inputs(&thunk.values)),
        ("thunks", Json::List(made.collect())),
        ("executables", inputs(&thunk.executables)),
        ("outputs", Json::List(thunk.outputs.iter().map(|o| path(o)).collect())),
        ("links", links(&thunk.links)),
        ("trees", Json::List(thunk.trees.iter().map(|t| Json::Text(t.to_string())).collect())),
        ("directories", Json::List(thunk.directories.iter().map(|d| path(d)).collect())),
        ("optionalOutputs", Json::List(thunk.optional_outputs.iter().map(|o| path(o)).collect())),
    ];
    let of_records =
        [("listed", &thunk.listed), ("executableOutputs", &thunk.executable_outputs), ("made", &thunk.made)];
    for (name, paths) in of_records.into_iter().filter(|(_, paths)| !paths.is_empty()) {
        fields.push((name, Json::List(paths.iter().map(|p| path(p)).collect())));
    }
    if !thunk.made_links.is_empty() {
        fields.push(("madeLinks", links(&thunk.made_links)));
    }
    if thunk.timeout_ms > 0 {
        fields.push(("timeout", Json::Number(thunk.timeout_ms.into())));
    }
    if let Some(workdir) = &thunk.workdir {
        fields.push(("workdir", path(workdir)));
    }
    if let Some(program) = &thunk.program {
        fields.push(("program", path(program)));
    }
    if let Some(umask) = thunk.umask {
        fields.push(("umask", Json::Text(format!("{umask:03o}"))));
    }
    writeln!(out, "{}", Json::Object(fields).write(Some(0)))?;
    Ok(())
}
