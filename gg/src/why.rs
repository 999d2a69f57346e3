// SPDX-License-Identifier: Apache-2.0
//! `gg show --why PATH`: which command made a file, from what, why it was or was not deferred, and who uses it.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use thunk::trace::{Command, Disposition, Product, Uses};

use crate::facts::{self, Facts, Read};
use crate::show::words;

/// Prints it.
///
/// # Errors
/// The trace knows nothing of the file.
pub fn why(facts: &Facts, path: &Path, out: &mut impl Write) -> Result<()> {
    let here = facts::here()?;
    let forms = facts::spellings(path)?;
    let print = Print { facts, here: &here };
    let mut known = false;
    for form in &forms {
        let makers = makers(facts, form);
        let users = users(facts, form);
        if makers.is_empty() && users.is_empty() {
            continue;
        }
        known = true;
        writeln!(out, "{}", print.path(form))?;
        for maker in &makers {
            print.maker(form, maker, out)?;
        }
        if makers.is_empty() {
            writeln!(out, "  made by no command of this build")?;
        }
        print.users(&users, out)?;
        break;
    }
    if !known {
        bail!("{}: the build recorded in {} neither made nor read it", path.display(), facts.path.display());
    }
    Ok(())
}

/// A command that made a file, and the name under which it did.
struct Maker<'a> {
    command: &'a Command,
    made_as: PathBuf,
    /// What stands there in the end is by this command.
    last: bool,
}

/// The commands that made what stood at this path, in their order.
fn makers<'a>(facts: &'a Facts, path: &Path) -> Vec<Maker<'a>> {
    let mut makers: Vec<Maker<'a>> = Vec::new();
    for command in &facts.trace.commands {
        if facts.writes(command).iter().any(|p| p == path) {
            makers.push(Maker { command, made_as: path.to_path_buf(), last: false });
        }
    }
    if let Some(Product::Output(output)) = facts.products.get(path)
        && let Some(command) = facts.trace.command_of(&output.thunk)
    {
        let made_as = output.output.clone().unwrap_or_else(|| path.to_path_buf());
        if !makers.iter().any(|m| m.command.id == command.id) {
            makers.push(Maker { command, made_as, last: false });
        }
        for maker in &mut makers {
            maker.last = maker.command.id == command.id;
        }
    } else if let Some(last) = makers.last_mut() {
        last.last = facts.products.get(path).is_some();
    }
    makers
}

/// How a command uses a file.
struct User<'a> {
    command: &'a Command,
    how: &'static str,
}

fn users<'a>(facts: &'a Facts, path: &Path) -> Vec<User<'a>> {
    let mut users = Vec::new();
    for command in &facts.trace.commands {
        let how = if let Some(observed) = facts.observed(command.id) {
            match observed.touch(path).map(|touch| touch.uses) {
                Some(uses) if uses.has(Uses::EXECUTED) => Some("executes it"),
                Some(uses) if uses.has(Uses::READ) => Some("reads it"),
                Some(uses) if uses.has(Uses::LISTED) => Some("lists it"),
                Some(uses) if uses.has(Uses::MISSING) => Some("looks for it in vain"),
                Some(uses) if uses.has(Uses::FOUND) => Some("looks whether it is there"),
                _ => None,
            }
        } else if facts.reads(command).iter().any(|read| read.path == path) {
            Some("reads it")
        } else if facts.thunk(command).is_some_and(|thunk| facts.is_of_toolchain(&thunk, path)) {
            Some("has it in its toolchain")
        } else {
            None
        };
        users.extend(how.map(|how| User { command, how }));
    }
    users
}

/// More than this of one kind is cut.
const MANY: usize = 20;

struct Print<'a> {
    facts: &'a Facts,
    here: &'a Path,
}

impl Print<'_> {
    fn path(&self, path: &Path) -> String {
        facts::relative(path, self.here).display().to_string()
    }

    fn maker(&self, path: &Path, maker: &Maker<'_>, out: &mut impl Write) -> Result<()> {
        let Maker { command, made_as, last } = maker;
        let before = if *last { "made" } else { "made at first" };
        writeln!(out, "  {before} by command {} in {}", command.id, self.path(&command.cwd))?;
        writeln!(out, "    {}", words(command.argv.iter().map(|a| a.as_os_str())))?;
        if made_as != path {
            writeln!(out, "  as {}, and renamed or copied since", self.path(made_as))?;
        }
        match command.disposition {
            Disposition::Deferred => {
                writeln!(out, "  deferred: a {} that its model understands", command.kind)?
            }
            Disposition::Declined => writeln!(out, "  not deferred: {}", command.reason)?,
            Disposition::Ran => {
                writeln!(out, "  not deferred: no model knows {}", command.program.display())?
            }
        }
        let observed = self.facts.observed(command.id);
        if let Some(observed) = observed {
            writeln!(out, "  ended with {}", observed.status)?;
            if !observed.obstacles.is_empty() {
                writeln!(out, "  never deferred: {}", observed.obstacles.join(", "))?;
            }
        }
        if let Some(name) = command.thunk.or(observed.and_then(|o| o.thunk)) {
            writeln!(out, "  thunk {name}")?;
        }
        self.inputs(command, out)
    }

    fn inputs(&self, command: &Command, out: &mut impl Write) -> Result<()> {
        let reads = self.facts.reads(command);
        let outside = |read: &&Read| !read.path.starts_with(&self.facts.trace.cwd) && read.from.is_none();
        let (system, own): (Vec<&Read>, Vec<&Read>) = reads.iter().partition(outside);
        if !own.is_empty() {
            writeln!(out, "  from")?;
        }
        for read in own.iter().take(MANY) {
            let from = read.from.as_ref().and_then(|from| self.facts.trace.command_of(&from.thunk));
            match from {
                Some(from) => writeln!(out, "    {} (command {})", self.path(&read.path), from.id)?,
                None => writeln!(out, "    {}", self.path(&read.path))?,
            }
        }
        if own.len() > MANY {
            writeln!(out, "    and {} more", own.len() - MANY)?;
        }
        let tools = self.facts.thunk(command).map_or(0, |thunk| self.facts.toolchain_files(&thunk));
        match (system.len(), tools) {
            (0, 0) => {}
            (others, 0) => {
                writeln!(out, "  and {others} files outside of {}", self.facts.trace.cwd.display())?
            }
            (others, tools) => writeln!(
                out,
                "  and {others} files outside of {}, with a toolchain of {tools}",
                self.facts.trace.cwd.display()
            )?,
        }
        Ok(())
    }

    fn users(&self, users: &[User<'_>], out: &mut impl Write) -> Result<()> {
        if users.is_empty() {
            writeln!(out, "  used by no command of this build")?;
            return Ok(());
        }
        writeln!(out, "  used by")?;
        for User { command, how } in users.iter().take(MANY) {
            let line = words(command.argv.iter().map(|a| a.as_os_str()));
            let short: String = line.chars().take(100).collect();
            let dots = if short.len() < line.len() { " …" } else { "" };
            writeln!(out, "    command {} {how}: {short}{dots}", command.id)?;
        }
        if users.len() > MANY {
            writeln!(out, "    and {} more", users.len() - MANY)?;
        }
        Ok(())
    }
}
