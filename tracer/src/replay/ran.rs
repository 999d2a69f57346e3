// SPDX-License-Identifier: Apache-2.0
//! A command that ran and was observed: whether what it used is the same, so that its outputs stay, and what becomes of it where that is not
//! so. Puts nothing in place itself.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use thunk::trace::{self, Change, Command, Now, Observed, Product, Uses};
use thunk::{ObjectName, Placeholder, has_no_content, real_place};

use super::{Replay, rules};
use crate::learned;

impl Replay<'_> {
    pub(super) fn observed(&mut self, observed: &Observed) -> Result<()> {
        let Some(command) = self.trace.command(observed.id) else { return Ok(()) };
        if observed.drives() {
            let uses = [Uses::READ, Uses::EXECUTED, Uses::MOVED_AWAY];
            let mut stale = self.stale_among(observed, &uses);
            // ninja removes dependency files once it has read them.
            stale.retain(|touch| !touch.uses.has(Uses::REMOVED));
            return self.driver(command, &stale);
        }
        if let Some(why) = observed.unseen() {
            bail!("nobody knows what {} used: it {why}; run the build", command.title());
        }
        // Who only passes on what a command gives does so with what it gives now. What it reads besides may tell it
        // what to pass on, and how it ends may end the build.
        let carried = self.carried(observed);
        let uses = [Uses::READ, Uses::EXECUTED, Uses::LINKED, Uses::INPUT | Uses::WRITTEN];
        let mut stale = self.stale_among(observed, &uses);
        stale.retain(|touch| !carried.contains(&*touch.path));
        let mut changes = self.compare(command, &stale)?;
        changes.extend(self.current.changes_since(observed));
        let mut moved = self.stale_among(observed, &[Uses::MOVED_AWAY]);
        moved.retain(|touch| !stale.iter().any(|other| other.path == touch.path));
        let is_moved = |path: &Path| moved.iter().any(|touch| &*touch.path == path);
        changes.retain(|change| !carried.contains(&*change.path) && !is_moved(&change.path));
        // What is another output now, and was read by another name, from which a link leads to it.
        let is_linked = |touch: &&trace::Touch| {
            touch.uses.has(Uses::INPUT)
                && touch.before.is_some()
                && changes.iter().any(|change| *change.path == *touch.path)
                && matches!(self.current.now(&touch.path), Now::Placeholder(_))
        };
        let linked: Vec<_> = observed.touches.iter().filter(is_linked).collect();
        changes.retain(|change| !linked.iter().any(|touch| *touch.path == *change.path));
        changes.extend(self.compare(command, &linked)?);
        if changes.is_empty() {
            if self.only_carries(observed) || self.moves(observed)? {
                return Ok(());
            }
            changes = self.compare(command, &moved)?;
        }
        let outputs = observed.with(Uses::OUTPUT).map(|touch| touch.path.to_path_buf());
        let Some(first) = changes.first() else {
            outputs.for_each(|path| self.leave(&path));
            return Ok(());
        };
        let cannot = |why: &str| {
            anyhow!(
                "{first}, so {} must run again, which no replay can do: {why}; run the build",
                command.title()
            )
        };
        // What it prints is shown when it is forced.
        let known = [Observed::PRINTS, Observed::REWRITES, Observed::MOVES];
        let made = [Observed::MAKES_DIRECTORY, Observed::MAKES_LINK, Observed::ONE_FILE];
        // Perl reads some at its start, to keep whoever gives it data from guessing where it keeps them.
        let random =
            |why: &str| why.strip_prefix(Observed::USES).is_some_and(|what| Observed::RANDOM.contains(&what));
        let harmless = |why: &String| {
            known.contains(&why.as_str()) || made.iter().any(|made| why.starts_with(made)) || random(why)
        };
        if let Some(obstacle) = observed.obstacles.iter().find(|why| !harmless(why)) {
            return Err(cannot(obstacle));
        }
        if let Some(other) = changes.iter().find(|change| !change.is_content) {
            return Err(match other == first {
                true => cannot("it may do something else then"),
                false => cannot(&other.to_string()),
            });
        }
        let name = observed.thunk.ok_or_else(|| cannot("it has no thunk"))?;
        let thunk = self.recorder.store.thunk(&name)?;
        if thunk.made_links.is_empty()
            && let Some(touch) = observed.with(Uses::OUTPUT | Uses::LINK).next()
        {
            return Err(cannot(&format!(
                "{}{}, of which its thunk does not tell",
                Observed::MAKES_LINK,
                touch.path.display()
            )));
        }
        self.bring_back(&thunk)?;
        self.clear(&thunk)?;
        // It may be the one that makes them.
        thunk.outputs.iter().try_for_each(|output| self.make_directory_of(output))?;
        let again = learned::anew(self.recorder, name).map_err(|why| cannot(&why))?;
        self.note(command, name, &again)?;
        if let Some(now) = self.commands.get_mut(&command.id) {
            // Its outputs come to be where they came to be before: when it ended.
            now.at_us = observed.ended_us;
        }
        Ok(())
    }

    /// What a command used in one of these ways, of what holds something else than it did.
    pub(super) fn stale_among<'b>(&self, observed: &'b Observed, uses: &[Uses]) -> Vec<&'b trace::Touch> {
        let used = observed.touches.iter().filter(|touch| touch.uses.has_one_of(uses));
        used.filter(|touch| self.stale.contains(&*touch.path)).collect()
    }

    /// Forces what a command used, and tells what of it has another content.
    pub(super) fn compare(&mut self, command: &Command, used: &[&trace::Touch]) -> Result<Vec<Change>> {
        for touch in used {
            self.bring(&touch.path)?;
        }
        self.recorder
            .force(&self.recorder.placeholders(used.iter().map(|touch| &*touch.path)))
            .map_err(|why| self.unforced(command, used, &why))?;
        let changes = used.iter().filter_map(|touch| {
            self.current.forget(&touch.path);
            self.current.compare(&touch.path, touch.before.as_ref())
        });
        Ok(changes.collect())
    }

    /// Why what a command used is not to be had: who makes it, where that is known, is concerned, and no less who waits for it.
    fn unforced(&self, command: &Command, used: &[&trace::Touch], why: &str) -> anyhow::Error {
        let pending = used.iter().find_map(|touch| {
            self.current.forget(&touch.path);
            let Now::Placeholder(output) = self.current.now(&touch.path) else { return None };
            let is_reduced = self.recorder.store.reduction(&output.thunk).is_some();
            let makes = |command: &&Command| command.thunk == Some(output.thunk);
            let maker = self.commands.values().chain(&self.trace.commands).find(makes);
            (!is_reduced).then_some((touch, maker?))
        });
        match pending {
            Some((touch, maker)) => anyhow!(
                "{}, which {} uses, cannot be made by {}: {why}",
                touch.path.display(),
                command.title(),
                maker.title()
            ),
            None => anyhow!("what {} uses cannot be forced: {why}", command.title()),
        }
    }

    /// The paths whose placeholders a command passed on, without a look at what these stand for.
    pub(super) fn carried<'b>(&self, observed: &'b Observed) -> HashSet<&'b Path> {
        let is_placeholder = |touch: &trace::Touch| match touch.before {
            Some(before) => {
                wire::size_may_be_placeholder(before.size())
                    && self
                        .recorder
                        .store
                        .read(&before)
                        .is_ok_and(|text| matches!(Placeholder::decode(&touch.path, &text), Ok(Some(_))))
            }
            // Nobody knows any more what was there. Whatever programs that carry placeholders along have put there: who has read it may have
            // read a file.
            None if touch.uses.has(Uses::READ) => self.deferred.contains(&*touch.path),
            None => self.placed_then.contains(&*touch.path),
        };
        let inputs = observed.with(Uses::INPUT).filter(|touch| is_placeholder(touch));
        inputs.map(|touch| &*touch.path).collect()
    }

    /// A driver whose own input was made by a command that is another one now may start other commands. Dependency files, the work of
    /// compilers, tell it only what to do again, also where the compiler is a part of a command.
    pub(super) fn driver(&self, command: &Command, stale: &[&trace::Touch]) -> Result<()> {
        let learned = self.trace.commands.iter().filter(|command| command.kind == learned::LEARNED);
        let observed = self.trace.observed.iter().map(|observed| observed.id);
        let ran: HashSet<u32> = observed.chain(learned.map(|command| command.id)).collect();
        let makers = |path: &Path| {
            let remade = self.commands.values().filter(|command| ran.contains(&command.id));
            let makes = |command: &&Command| command.outputs.iter().any(|output| output == path);
            remade.filter(makes).map(|command| command.id).collect::<Vec<_>>()
        };
        let may_change_commands = |touch: &&&trace::Touch| {
            let makers = makers(&touch.path);
            !makers.is_empty() && !makers.iter().all(|maker| self.is_dependency_file(command, touch, *maker))
        };
        match stale.iter().find(may_change_commands) {
            Some(touch) => bail!(
                "{} is made anew, and {} looked at it: its commands may be others now; record the build again",
                touch.path.display(),
                command.title()
            ),
            None => Ok(()),
        }
    }

    /// Did this command leave at that path nothing but rules by which what it made is of what it read? What it was when the driver looked
    /// at it may be gone.
    fn is_dependency_file(&self, driver: &Command, seen: &trace::Touch, maker: u32) -> bool {
        let text = |value: ObjectName| String::from_utf8(self.recorder.store.read(&value).ok()?).ok();
        let before = seen.before.map(text);
        if before.is_some_and(|text| text.is_none_or(|text| rules::rules(&text).is_none())) {
            return false;
        }
        let Some(observed) = self.trace.observed.iter().find(|observed| observed.id == maker) else {
            return false;
        };
        let with = |uses| -> HashSet<&Path> { observed.with(uses).map(|touch| &*touch.path).collect() };
        let (read, made) = (with(Uses::READ), with(Uses::OUTPUT));
        let left = observed.touches.iter().find(|touch| touch.path == seen.path);
        let Some(text) = left.and_then(|touch| touch.after).and_then(text) else { return false };
        let Some(rules) = rules::rules(&text).filter(|rules| !rules.is_empty()) else { return false };
        let directory = self.directory_of(driver, maker);
        let all = |names: &[&str], among: &HashSet<&Path>| {
            names
                .iter()
                .all(|name| as_recorded(&directory.join(name)).is_some_and(|path| among.contains(&*path)))
        };
        rules.iter().all(|rule| match rule.prerequisites.is_empty() {
            // So that make goes on without a header that is gone.
            true => all(&rule.targets, &read),
            false => all(&rule.targets, &made) && all(&rule.prerequisites, &read),
        })
    }

    /// Where a driver was when it started what became this command: it may have gone there itself (`make -C`).
    fn directory_of<'b>(&'b self, driver: &'b Command, command: u32) -> &'b Path {
        let mut started = self.trace.command(command);
        while let Some(command) = started {
            if command.parent == driver.id {
                return &command.cwd;
            }
            // One that is its own parent is in no trace of ours.
            started = self.trace.command(command.parent).filter(|parent| parent.id < command.id);
        }
        &driver.cwd
    }

    /// Did the command only move outputs of deferred commands? They are followed by what stands at the build's end.
    pub(super) fn only_carries(&self, observed: &Observed) -> bool {
        let carried = |path: &Path| matches!(self.current.products().get(path), Some(Product::Output(_)));
        let listened = observed.obstacles.iter().any(|obstacle| obstacle == Observed::HEARD);
        let mut outputs = observed.with(Uses::OUTPUT).peekable();
        if outputs.peek().is_none() {
            // What it wrote and did not remove itself, others have moved on, or removed.
            let own =
                |touch: &trace::Touch| touch.uses.has(Uses::REMOVED) || touch.uses.has(Uses::MOVED_AWAY);
            let mut wrote = observed.with(Uses::WRITTEN);
            return !listened && wrote.all(|touch| own(touch) || has_no_content(&touch.path));
        }
        outputs.all(|touch| touch.after.is_none() && carried(&touch.path))
    }
}

/// The path that a trace has for what is named so: where `..` is in it, in the directory that this leads to.
fn as_recorded(path: &Path) -> Option<PathBuf> {
    let has_ways_back = path.components().any(|component| component == Component::ParentDir);
    trace::clean(&if has_ways_back { real_place(path).ok()? } else { path.to_path_buf() })
}
