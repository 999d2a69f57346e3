// SPDX-License-Identifier: Apache-2.0
//! The end of a command: from the events of its processes to what the trace says of it, with the contents that it found
//! and those that it left (`left.rs`), and to its thunk and reduction (`exact.rs`). Runs beside the build.
//!
//! What a file held when the command looked is known if nobody has changed it since: its time of change is not later than the
//! command's beginning, and no other command was seen to write it. Where that is not so, the record says nothing of the
//! content, and there is no thunk. The clock's tick is long: what changed within the one in which the command began is told by the
//! events alone.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::HashMap;
use observe::{Event, Role, Sink as _, Touch, Touches, Transfer, Use};
use thunk::trace::{self, Observed, Status, Uses, clean};
use thunk::{FileFacts, FileId, Led, ObjectKind, ObjectName, has_no_content, shown};

use super::command::LEAVES_PROCESSES;
use super::left::Names;
use super::ways_back::WaysBack;
use super::{Ended, exact};
use crate::context;
use crate::kept::Version;
use crate::learned;
use crate::log::Ways as _;
use crate::looks::Steps;
use crate::recorder::Recorder;

/// A file that a command left.
pub struct Output {
    /// Its content.
    pub value: ObjectName,
    /// Its permissions.
    pub mode: u32,
}

/// A command that has ended, and what is known of it so far.
pub struct Look<'a> {
    /// The recording.
    pub recorder: &'a Recorder,
    /// The command.
    pub ended: &'a Ended,
    /// What it touched.
    pub touches: &'a Touches,
    /// What must exist for its inputs to be found where it found them.
    pub footprint: Steps<'a>,
    /// What the files held that it depended on, by the bytes of their real paths.
    pub before: HashMap<OsString, ObjectName>,
    /// What it left, by real path.
    pub outputs: BTreeMap<PathBuf, Output>,
    /// What it made, and somebody else has taken away since: ninja does so with dependency files, once it has read them.
    pub gone: Vec<PathBuf>,
    /// What it left that has several names: device and inode, and one of them.
    pub(super) files: HashMap<(u64, u64), PathBuf>,
    /// What it made and took away, once somebody asks.
    pub(super) names: OnceCell<Names>,
    /// The directories that it made, real paths.
    pub made: HashSet<PathBuf>,
    /// Those of them where nothing was.
    pub new: BTreeSet<PathBuf>,
    /// The symbolic links that it left, and where they lead.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// What was put into directories that it listed after it had begun, real paths.
    pub later: HashSet<PathBuf>,
    /// What it found where nothing is any more, because it was moved on: the content, and whether that may be executed.
    pub moved: BTreeMap<PathBuf, (ObjectName, bool)>,
    /// Why it cannot be deferred when it comes again.
    pub obstacles: Vec<String>,
    /// Is there something about it that no thunk can say, or that is not known?
    pub unknown: bool,
    /// The number of the last thing that it did.
    pub(super) last: u64,
}

/// Writes down what a command did.
pub fn finish(recorder: &Recorder, mut ended: Ended) {
    recorder.watch.add_logged(&mut ended, recorder);
    let mut events = std::mem::take(&mut ended.events);
    events.sort_by_key(|(number, _)| *number);
    let mut touches = Touches::new();
    // An exec that a hook has marked is not told of by the kernel.
    let program = &ended.begun.exec.invocation.program;
    let begins =
        |event: &Event| matches!(event, Event::Executed(place, Role::Program) if place.named == *program);
    if !events.iter().any(|(_, event)| begins(event)) {
        recorder.executed(program).iter().for_each(|event| touches.event(0, event.clone()));
    }
    let last = events.last().map_or(ended.begun.first, |(number, _)| *number);
    let mut ways_back = WaysBack::default();
    for (_, event) in events {
        touches.event(0, ways_back.without(event));
    }
    let mut look = Look {
        recorder,
        ended: &ended,
        touches: &touches,
        footprint: recorder.steps().with_files_looked_at(),
        before: HashMap::default(),
        outputs: BTreeMap::new(),
        gone: Vec::new(),
        files: HashMap::default(),
        names: OnceCell::new(),
        made: HashSet::new(),
        new: BTreeSet::new(),
        links: BTreeMap::new(),
        later: HashSet::new(),
        moved: BTreeMap::new(),
        obstacles: ended.obstacles.iter().chain(&ended.begun.obstacles).cloned().collect(),
        unknown: false,
        last,
    };
    let rows = look.rows();
    look.judge();
    // To look through all that compilers make would take longer than all else, and they write no such thing.
    let is_tool = || recorder.command(ended.begun.id).role == context::Role::Tool;
    let shown = if ended.begun.drives || is_tool() { Vec::new() } else { look.shown() };
    let thunk = if ended.begun.drives { None } else { exact::reduced(&mut look) };
    let observed = Observed {
        id: ended.begun.id,
        status: ended.status,
        ended_us: (ended.at - recorder.started).as_micros() as u64,
        thunk,
        touches: rows,
        obstacles: if ended.begun.drives { vec![Observed::DRIVES.into()] } else { look.obstacles },
        descriptors: ended.begun.descriptors.clone(),
    };
    if let Err(error) = recorder.trace.observed(&observed) {
        recorder.complain(&error);
    }
    if let Some(place) = &ended.begun.learn {
        // Its parts are deferred, each as its own model says: nearly all shells that make starts.
        let in_parts = observed.obstacles.iter().any(|why| why == Observed::PART_DEFERRED);
        // It is no function of its inputs: what was remembered of another time is worth nothing either.
        let by_chance = observed.obstacles.iter().any(|why| why == exact::OTHER_RESULTS);
        if in_parts || by_chance {
            recorder.learned.forget(place);
        }
        if !in_parts {
            remember(recorder, &ended, place, observed, &shown);
        }
    }
}

fn remember(
    recorder: &Recorder,
    ended: &Ended,
    place: &learned::Place,
    observed: Observed,
    shown: &[PathBuf],
) {
    let begun = &ended.begun;
    let invocation = &begun.exec.invocation;
    let command = trace::Command {
        id: begun.id,
        parent: begun.exec.parent,
        cwd: invocation.cwd.clone(),
        argv: invocation.argv.clone(),
        program: invocation.program.clone(),
        kind: String::new(),
        disposition: trace::Disposition::Ran,
        reason: String::new(),
        thunk: observed.thunk,
        outputs: Vec::new(),
        at_us: 0,
        took_us: 0,
    };
    // What is not remembered runs again.
    let _ = recorder.learned.put(place, command, observed, shown, recorder.began());
}

impl Look<'_> {
    /// Because of this it cannot be deferred when it comes again.
    pub fn obstacle(&mut self, why: String) {
        // Some of a kind tell enough: a thousand removed files need no thousand lines. But of no kind is there none.
        const MANY: usize = 8;
        // What it is, up to the path.
        let kind = |why: &str| why.split('/').next().unwrap_or_default().to_owned();
        let is_room = self.obstacles.len() < MANY && !self.obstacles.contains(&why);
        if is_room || self.obstacles.iter().all(|known| kind(known) != kind(&why)) {
            self.obstacles.push(why);
        }
    }

    /// It left one file at these paths.
    pub(super) fn one_file(&mut self, one: &Path, other: &Path) {
        self.obstacle(format!("{}{} and {}", Observed::ONE_FILE, one.display(), other.display()));
    }

    /// An obstacle, and because of this it has no thunk either.
    pub(super) fn unknown(&mut self, why: String) {
        self.unknown = true;
        self.obstacle(why);
    }

    /// What it printed to one of its streams.
    pub fn printed(&self, fd: i32) -> Result<Vec<u8>, String> {
        let of_it = self.ended.printed.iter().filter(|(_, stream, _)| *stream == fd);
        let mut parts: Vec<_> = of_it.map(|(number, _, text)| (number, text)).collect();
        parts.sort_by_key(|(number, _)| *number);
        let known = |(_, text): (_, &Option<Vec<u8>>)| text.clone();
        let texts: Option<Vec<_>> = parts.into_iter().map(known).collect();
        texts.map(|texts| texts.concat()).ok_or_else(|| "what it prints is not known".to_owned())
    }

    /// The touches as the trace has them.
    fn rows(&mut self) -> Vec<trace::Touch> {
        let touches = self.touches;
        let mut rows = Vec::with_capacity(touches.iter().count());
        for (named, touch) in touches.iter() {
            if self.recorder.is_own(named) {
                continue;
            }
            let Some(path) = self.recorded_path(named, touch) else { continue };
            let (uses, before, after) = self.one(named, touch);
            let mode = if changes(touch) { self.mode_left(named, touch) } else { None };
            rows.push(trace::Touch { path: Arc::from(&*path), uses, before, after, mode });
        }
        // In their order already, but for those that were named otherwise.
        trace::Touch::join(&mut rows);
        rows
    }

    /// One path: what was done, what it held, what it holds.
    fn one(&mut self, named: &Path, touch: &Touch) -> (Uses, Option<ObjectName>, Option<ObjectName>) {
        let mut uses = uses(touch);
        let (mut before, mut after) = (None, None);
        let made_up = has_no_content(named) || touch.real.as_deref().is_some_and(has_no_content);
        if touch.special || made_up {
            self.special(named, touch);
            return (uses, before, after);
        }
        if !touch.input
            && touch.real.is_some()
            && let Some(directory) = named.parent()
        {
            // Its own, by another name: that leads there again by the links and directories on the way only.
            let _ = self.footprint.add(directory);
        }
        if touch.input {
            uses |= Uses::INPUT;
            before = self.input(named, touch);
        } else if touch.has(Use::Listed) && touch.existed != Some(false) && !self.is_in_own(named) {
            before = self.listed(named);
            after = self.recorder.keep_names(named);
        } else if touch.has(Use::Found) && touch.existed != Some(false) && !changes(touch) {
            before = self.looked_up(named);
        }
        if changes(touch) {
            after = self.left(named, touch, &mut uses);
        }
        if touch.noticed && uses.has(Uses::OUTPUT) {
            match touch.existed {
                Some(true) => uses |= Uses::AGAIN,
                Some(false) => uses |= Uses::NEW,
                None => {}
            }
        }
        if touch.has(Use::Denied) {
            self.obstacle(format!("is not allowed to touch {}", named.display()));
        }
        (uses, before, after)
    }

    /// What is no file of a file system.
    fn special(&mut self, named: &Path, touch: &Touch) {
        /// The last is what `cp`, `ls`, `mv`, `sed`, `install`, … are told of the kernel when they start, through a
        /// library that they share; what uname tells, which nobody sees, is no less.
        const HARMLESS: [&str; 5] =
            ["/dev/null", "/dev/zero", "/dev/full", "/proc/self", "/proc/filesystems"];
        /// What is behind a descriptor is somebody else's.
        const DESCRIPTORS: &str = "/proc/self/fd";
        /// These tell of the machine: what `df` goes by, and who is connected.
        const OF_MACHINE: [&str; 4] =
            ["/proc/self/mounts", "/proc/self/mountinfo", "/proc/self/mountstats", "/proc/self/net"];
        let opened = touch.has(Use::Read) || touch.has(Use::Written);
        let is_descriptor = opened && named.starts_with(DESCRIPTORS) && named != Path::new(DESCRIPTORS);
        let used = opened || touch.has(Use::Listed);
        let is_one = |paths: &[&str]| paths.iter().any(|path| named.starts_with(path));
        if is_descriptor || used && (!is_one(&HARMLESS) || is_one(&OF_MACHINE)) {
            self.obstacle(format!("{}{}", Observed::USES, named.display()));
        }
    }

    /// A file on whose content the command depended.
    fn input(&mut self, named: &Path, touch: &Touch) -> Option<ObjectName> {
        match self.footprint.add(named) {
            Ok(Led::File(real)) => {
                if let Some(known) = self.before.get(real.as_os_str()) {
                    return Some(*known);
                }
                let facts = *self.footprint.footprint.files.get(&real)?;
                self.in_sandbox(&real);
                let content = self.content_before(&real, &facts, rewrites(touch));
                match content.or_else(|why| self.content_aged(&real, &facts, touch).ok_or(why)) {
                    Ok(value) => {
                        if rewrites(touch) {
                            self.obstacle(Observed::REWRITES.into());
                        }
                        self.before.insert(real.into_os_string(), value);
                        return Some(value);
                    }
                    Err(why) => self.unknown(why),
                }
            }
            Ok(_) => self.unknown(format!("moves {}", named.display())),
            Err(_) => match self.gone_since(named) {
                Some(value) => return Some(value),
                None => self.unknown(format!("{}, which it used, is gone", named.display())),
            },
        }
        None
    }

    /// The content of a file of which the command has changed no more than the times. Whether somebody else has changed it, who is no command
    /// of the build, nobody could tell: so only outside of where the build works, as with what a cache has, since nobody edits that.
    fn content_aged(&self, real: &Path, facts: &FileFacts, touch: &Touch) -> Option<ObjectName> {
        let invocation = &self.ended.begun.exec.invocation;
        let is_outside = !real.starts_with(&self.recorder.project) && !real.starts_with(&invocation.cwd);
        let is_aged = touch.has(Use::Attributes) && !rewrites(touch) && is_outside;
        if !is_aged || self.changed_by_others(real, &facts.id, self.ended.begun.began) {
            return None;
        }
        self.recorder.store.put_seen(real, facts).ok()
    }

    /// What it found at a path that it, or somebody later, has renamed to something else.
    fn gone_since(&mut self, named: &Path) -> Option<ObjectName> {
        let real = self.real_place(named)?;
        let begun = &self.ended.begun;
        let version = self.kept(&real, begun.first).filter(|version| {
            let events = begun.first..version.number;
            (version.by == begun.id || version.number > self.last)
                && version.facts.changed_at() <= begun.began
                && !self.recorder.watch.writes().by(&real, begun.id, &events)
        })?;
        let value = version.value;
        self.before.insert(real.clone().into_os_string(), value);
        self.moved.insert(real, (value, version.facts.executable));
        Some(value)
    }

    /// The content of a file as it was when the command looked.
    pub fn content_before(&self, real: &Path, facts: &FileFacts, own: bool) -> Result<ObjectName, String> {
        let kept = || self.kept_before(real).map(|version| version.value);
        // Whoever changes it in this moment has had it kept before.
        kept().map_or_else(|| self.content_now(real, facts, own), Ok).or_else(|why| kept().ok_or(why))
    }

    /// What it found, if it or others were seen to be about to change that.
    fn kept_before(&self, real: &Path) -> Option<Version> {
        let begun = &self.ended.begun;
        self.kept(real, begun.first).filter(|version| {
            (version.by == begun.id || version.number > self.last)
                && !self.recorder.watch.writes().by(real, begun.id, &(begun.first..version.number))
                && (version.facts.changed_at() <= begun.began
                    || self.recorder.was_forced(real, &version.facts.id))
        })
    }

    fn content_now(&self, real: &Path, facts: &FileFacts, own: bool) -> Result<ObjectName, String> {
        let shown = real.display();
        let begun = &self.ended.begun;
        if own {
            return Err(format!("changes {shown}, on which it depends"));
        }
        let changed = facts.changed_at() > begun.began && !self.recorder.was_forced(real, &facts.id);
        if changed || self.changed_by_others(real, &facts.id, begun.began) {
            return Err(format!("{shown} changed while it ran"));
        }
        self.recorder.store.put_seen(real, facts).map_err(|error| error.to_string())
    }

    /// Did another command change what stands there? A file that is older may have been put there after `since`: then
    /// somebody has set one of its times, and it is worth reading what those have done that go on.
    pub(super) fn changed_by_others(&self, real: &Path, id: &FileId, since: i64) -> bool {
        let (watch, begun) = (&self.recorder.watch, &self.ended.begun);
        let events = begun.first..u64::MAX;
        // The lock of what is known must not be held while more is read.
        let is_known = watch.writes().by_others(real, begun.id, &events);
        is_known
            || id.mtime.max(id.ctime) > since
                && !self.recorder.was_forced(real, id)
                && watch.changes_now(real, begun.id, &events, self.recorder)
    }

    /// What stood there when somebody was first about to change it after event `since`, if nobody but this command had done so since it
    /// began.
    pub(super) fn kept(&self, real: &Path, since: u64) -> Option<Version> {
        let (watch, begun) = (&self.recorder.watch, &self.ended.begun);
        let version = self.recorder.kept.first_since(real, since)?;
        let events = begun.first..version.number;
        let is_known = watch.writes().by_others(real, begun.id, &events);
        let is_changed = is_known || watch.changes_now(real, begun.id, &events, self.recorder);
        (!is_changed).then_some(version)
    }

    /// A directory whose names the command read.
    fn listed(&mut self, named: &Path) -> Option<ObjectName> {
        match self.footprint.add(named) {
            Ok(Led::Directory(_)) => {}
            _ => {
                self.unknown(format!("{}, which it listed, is gone", named.display()));
                return None;
            }
        }
        let metadata = std::fs::metadata(named).ok()?;
        // Its own commands put things there meanwhile. Which these are the whole trace tells, and nothing before: some of them still run.
        if self.ended.begun.drives {
            return None;
        }
        if FileFacts::of(&metadata).changed_at() > self.ended.begun.began {
            let Some(names) = self.names_before(named) else {
                self.unknown(format!("lists {}, which changed while it ran", named.display()));
                return None;
            };
            return Some(trace::listing(names));
        }
        self.recorder.names_in(named)
    }

    /// Something that was there, whatever was in it.
    fn looked_up(&mut self, named: &Path) -> Option<ObjectName> {
        let name = |target: &Path| ObjectName::of(ObjectKind::Value, target.as_os_str().as_bytes());
        match self.footprint.add(named) {
            Ok(_) => self.footprint.footprint.links.get(named).map(|target| name(target)),
            // What is gone by now did not matter enough to be kept. But a link may lead nowhere.
            Err(_) => self.footprint.add_link(named).ok().map(|target| name(&target)),
        }
    }

    /// The files, read or only looked at, whose times show in what it left. Where it runs on other ones, they have no times of their own.
    fn shown(&mut self) -> Vec<PathBuf> {
        let files = self.footprint.footprint.files.iter();
        let inputs = files.map(|(path, facts)| (path, facts.id.mtime));
        let shown = shown::in_outputs(inputs, self.outputs.keys().map(PathBuf::as_path));
        if !shown.is_empty() {
            self.obstacle(learned::SHOWS_TIMES.into());
        }
        shown
    }

    /// The path with its directory resolved, where there is one.
    pub(super) fn real_place(&self, path: &Path) -> Option<PathBuf> {
        let (parent, name) = (path.parent()?, path.file_name()?);
        match self.recorder.lasting_lead(parent) {
            Some(way) => Some(way.end()?.join(name)),
            None => thunk::real_place(path).ok(),
        }
    }

    /// Where what was touched stands, or would be made.
    pub(super) fn place_of(&self, named: &Path, touch: &Touch) -> Option<PathBuf> {
        self.real_place(touch.real.as_deref().unwrap_or(named))
    }

    /// The path as the trace has it: as it was named; where `..` is in it, in the directory that this leads to.
    fn recorded_path<'a>(&self, named: &'a Path, touch: &Touch) -> Option<Cow<'a, Path>> {
        let bytes = named.as_os_str().as_bytes();
        if memchr::memmem::find(bytes, b"/..").is_none() {
            // Tidied where the event was made.
            return (bytes.first() == Some(&b'/')).then_some(Cow::Borrowed(named));
        }
        let path = match (self.real_place(named), &touch.real) {
            (Some(place), _) => clean(&place),
            (None, Some(real)) => clean(real),
            (None, None) => clean(named),
        };
        path.map(Cow::Owned)
    }

    /// What is to be said of the command as a whole.
    fn judge(&mut self) {
        let touches = self.touches;
        if touches.network {
            self.obstacle("network".into());
        }
        if let Some([one, other]) = touches.one_file() {
            self.one_file(one, other);
        }
        if touches.shares {
            self.obstacle("shares memory, messages or semaphores with others".into());
        }
        if touches.remounted || self.ended.begun.elsewhere {
            self.unknown(Observed::UNSEEN[0].into());
        }
        if touches.foreign {
            self.unknown(Observed::UNSEEN[1].into());
        }
        if !self.recorder.sight.is_complete() {
            self.unknown("not all that it did was seen".into());
        }
        if touches.gaps > 0 {
            self.unknown(Observed::UNSEEN[2].into());
        }
        match self.ended.status {
            Status::Exited(0) => {}
            Status::Exited(code) => self.unknown(format!("ended with {code}")),
            Status::Killed(signal) => self.unknown(format!("killed by signal {signal}")),
            Status::Unknown => self.unknown("was not seen to end".into()),
        }
        // What is left to do when its program has ended is not done where it is forced: there all end then.
        self.unknown |= self.ended.obstacles.iter().any(|why| why == LEAVES_PROCESSES);
        if touches.transfers.iter().any(|(how, ..)| *how == Transfer::Exchange) {
            self.unknown("exchanges files".into());
        }
    }
}

/// Was something made, changed or removed?
pub(super) fn changes(touch: &Touch) -> bool {
    const CHANGES: [Use; 6] =
        [Use::Written, Use::Created, Use::Removed, Use::MovedAway, Use::MovedHere, Use::Attributes];
    CHANGES.iter().any(|&what| touch.has(what))
}

/// Is there another content, or none?
fn rewrites(touch: &Touch) -> bool {
    const REWRITES: [Use; 5] = [Use::Written, Use::Created, Use::Removed, Use::MovedAway, Use::MovedHere];
    REWRITES.iter().any(|&what| touch.has(what))
}

/// The same set in the trace's terms.
pub(super) fn uses(touch: &Touch) -> Uses {
    const SAME: [(Use, Uses); 13] = [
        (Use::Read, Uses::READ),
        (Use::Executed, Uses::EXECUTED),
        (Use::Found, Uses::FOUND),
        (Use::Missing, Uses::MISSING),
        (Use::Denied, Uses::DENIED),
        (Use::Listed, Uses::LISTED),
        (Use::Written, Uses::WRITTEN),
        (Use::Created, Uses::CREATED),
        (Use::Removed, Uses::REMOVED),
        (Use::MovedAway, Uses::MOVED_AWAY),
        (Use::MovedHere, Uses::MOVED_HERE),
        (Use::Linked, Uses::LINKED),
        (Use::Attributes, Uses::ATTRIBUTES),
    ];
    SAME.iter().filter(|(what, _)| touch.has(*what)).fold(Uses::NONE, |all, (_, uses)| all | *uses)
}
