// SPDX-License-Identifier: Apache-2.0
//! What a command that ran really did, as the trace keeps it. A build's commands look at the same few thousand
//! paths and contents again and again: the file holds each path component and each object name once, in tables
//! that grow as the trace goes on, and touches by their numbers. Knows nothing of how it was found out.

use std::ffi::OsStr;
use std::fmt;
use std::ops::{BitOr, BitOrAssign};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::HashMap;

use crate::name::{ObjectKind, ObjectName};

/// The messages of the file.
pub(super) mod wire {
    /// Additions to the tables.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Tables {
        /// The directory of each new path: its number; 0 is the root. The first path of a trace has number 1.
        #[prost(uint32, repeated, tag = "1")]
        pub parents: Vec<u32>,
        /// The last component of each new path.
        #[prost(bytes = "vec", repeated, tag = "2")]
        pub components: Vec<Vec<u8>>,
        /// SHA-256 of each new value; the first of a trace has number 1.
        #[prost(bytes = "vec", repeated, tag = "3")]
        pub digests: Vec<Vec<u8>>,
        /// The size of each.
        #[prost(uint64, repeated, tag = "4")]
        pub sizes: Vec<u64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Observed {
        #[prost(uint32, tag = "1")]
        pub id: u32,
        /// 0: unknown; exit code + 1; or minus the signal.
        #[prost(sint32, tag = "2")]
        pub status: i32,
        #[prost(uint64, tag = "3")]
        pub ended_us: u64,
        #[prost(string, tag = "4")]
        pub thunk: String,
        /// Numbers of paths, each as the difference to the one before.
        #[prost(sint32, repeated, tag = "5")]
        pub paths: Vec<i32>,
        #[prost(uint32, repeated, tag = "6")]
        pub uses: Vec<u32>,
        /// Numbers of values, or 0; missing at the end where all are 0.
        #[prost(uint32, repeated, tag = "7")]
        pub before: Vec<u32>,
        #[prost(uint32, repeated, tag = "8")]
        pub after: Vec<u32>,
        #[prost(string, repeated, tag = "9")]
        pub obstacles: Vec<String>,
        #[prost(string, repeated, tag = "10")]
        pub descriptors: Vec<String>,
        /// Permissions plus one, or 0; missing at the end where all are 0.
        #[prost(uint32, repeated, tag = "11")]
        pub modes: Vec<u32>,
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It was not seen to end.
    Unknown,
    /// With this exit code.
    Exited(u8),
    /// By this signal.
    Killed(u8),
}

impl Status {
    fn to_wire(self) -> i32 {
        match self {
            Self::Unknown => 0,
            Self::Exited(code) => i32::from(code) + 1,
            Self::Killed(signal) => -i32::from(signal),
        }
    }

    fn from_wire(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::Unknown),
            1.. => u8::try_from(number - 1).ok().map(Self::Exited),
            _ => u8::try_from(number.unsigned_abs()).ok().map(Self::Killed),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(f, "unknown"),
            Self::Exited(code) => write!(f, "{code}"),
            Self::Killed(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What was done to a path; a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Uses(u32);

macro_rules! uses {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)*) => {
        impl Uses {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*
            const ALL: &[(Self, &str)] = &[$((Self::$name, $text)),*];
        }
    };
}

uses! {
    /// Opened for reading, or read by the kernel to execute a program.
    READ = 0, "read";
    /// Executed, as a program or as the interpreter of a script.
    EXECUTED = 1, "executed";
    /// Asked for (stat, access, readlink, chdir, …) and there.
    FOUND = 2, "found";
    /// Asked for and not there.
    MISSING = 3, "missing";
    /// Asked for and not allowed.
    DENIED = 4, "denied";
    /// A directory whose entries were read.
    LISTED = 5, "listed";
    /// Opened for writing, or truncated.
    WRITTEN = 6, "written";
    /// Made: it was not there just before.
    CREATED = 7, "created";
    /// Its name was removed.
    REMOVED = 8, "removed";
    /// It was renamed to something else.
    MOVED_AWAY = 9, "moved away";
    /// Something else was renamed to it.
    MOVED_HERE = 10, "moved here";
    /// It was given another name (a hard link).
    LINKED = 11, "linked";
    /// Its mode, owner, times or extended attributes were changed.
    ATTRIBUTES = 12, "attributes";
    /// Its content before the command mattered to the command.
    INPUT = 13, "input";
    /// The command made or changed it, and it was there when the command had ended.
    OUTPUT = 14, "output";
    /// What it left there may be executed.
    RUNNABLE = 15, "runnable";
    /// An output that was not there before, and the command could tell: what it does where there is one already is not known.
    NEW = 16, "new";
    /// An output that was there before, and the command could tell.
    AGAIN = 17, "again";
    /// What it left there is a symbolic link.
    LINK = 18, "link";
    /// What it left there is a directory.
    DIRECTORY = 19, "directory";
}

impl Uses {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// All of these?
    #[must_use]
    pub const fn has(self, uses: Self) -> bool {
        self.0 & uses.0 == uses.0
    }

    /// All of one of these?
    #[must_use]
    pub fn has_one_of(self, all: &[Self]) -> bool {
        all.iter().any(|uses| self.has(*uses))
    }

    /// The words for what is in the set.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().filter(move |(bit, _)| self.has(*bit)).map(|(_, word)| *word)
    }

    fn from_wire(bits: u32) -> Option<Self> {
        (bits >> Self::ALL.len() == 0).then_some(Self(bits))
    }
}

impl BitOr for Uses {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Uses {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// All that a command did to one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Absolute, without `.` and `..`; links are left in it.
    pub path: Arc<Path>,
    /// What was done.
    pub uses: Uses,
    /// The content that mattered to the command ([`Uses::INPUT`]); of a listed directory, the value of its sorted entry
    /// names, each ended by NUL; of a link that was read, its target. `None` where it is not known.
    pub before: Option<ObjectName>,
    /// The content that it left ([`Uses::OUTPUT`]), or the target of a link ([`Uses::LINK`]); of a directory that a
    /// command listed which drives no others, the names that were there when it had ended, as a value that the store
    /// has.
    pub after: Option<ObjectName>,
    /// The permissions that it left, where it changed something.
    pub mode: Option<u32>,
}

impl Touch {
    /// In the order of the paths, each once: of what was done in several steps the first that is known counts. What a file held that was
    /// read counts more than where the link leads by which it was: that was looked at under another spelling of the same name.
    pub fn join(touches: &mut Vec<Self>) {
        touches.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
        touches.dedup_by(|again, touch| {
            let same = touch.path == again.path;
            if same {
                touch.before = match [&touch, &again].map(|touch| touch.uses.has(Uses::INPUT)) {
                    [true, false] => touch.before,
                    [false, true] => again.before,
                    _ => touch.before.or(again.before),
                };
                touch.uses |= again.uses;
                touch.after = touch.after.or(again.after);
                touch.mode = touch.mode.or(again.mode);
            }
            same
        });
    }
}

/// What a command did, written when it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The command's number in the trace. What its children did is in here, except for those of them that have a number and
    /// are observed, or deferred, themselves.
    pub id: u32,
    /// How it ended.
    pub status: Status,
    /// When, in microseconds since the build began.
    pub ended_us: u64,
    /// Its thunk, whose reduction the store has.
    pub thunk: Option<ObjectName>,
    /// What it touched, in the order of the paths.
    pub touches: Vec<Touch>,
    /// Why it cannot be deferred when it comes again: `network`, `prints to a terminal`, …
    pub obstacles: Vec<String>,
    /// Where its descriptors 0, 1, 2, … led when it started, as `/proc/PID/fd` shows them.
    pub descriptors: Vec<String>,
}

/// Numbers of paths and values, while a trace is written.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// By their bytes, which are compared and hashed faster than their components.
    paths: HashMap<Box<[u8]>, u32>,
    values: HashMap<ObjectName, u32>,
}

impl Numbers {
    /// How many there are.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.paths.len(), self.values.len())
    }

    /// Forgets those above these counts, which no reader will know.
    pub(super) fn truncate(&mut self, (paths, values): (usize, usize)) {
        self.paths.retain(|_, number| *number as usize <= paths);
        self.values.retain(|_, number| *number as usize <= values);
    }

    /// The messages that say this: additions to the tables, if there are any, and the record.
    pub(super) fn encode(&mut self, observed: &Observed) -> (Option<wire::Tables>, wire::Observed) {
        let mut tables = wire::Tables::default();
        let mut message = wire::Observed {
            id: observed.id,
            status: observed.status.to_wire(),
            ended_us: observed.ended_us,
            thunk: observed.thunk.map(|thunk| thunk.to_string()).unwrap_or_default(),
            obstacles: observed.obstacles.clone(),
            descriptors: observed.descriptors.clone(),
            ..Default::default()
        };
        let mut last = 0;
        // What no reader would take is left out: better than a trace that nobody can read.
        for touch in observed.touches.iter().filter(|touch| touch.path.as_os_str().len() <= LONGEST) {
            let number = self.path(&touch.path, &mut tables) as i32;
            message.paths.push(number - last);
            last = number;
            message.uses.push(touch.uses.0);
            message.before.push(self.value(touch.before, &mut tables));
            message.after.push(self.value(touch.after, &mut tables));
            message.modes.push(touch.mode.map_or(0, |mode| (mode & 0o7777) + 1));
        }
        for column in [&mut message.before, &mut message.after, &mut message.modes] {
            column.truncate(column.iter().rposition(|&number| number != 0).map_or(0, |last| last + 1));
        }
        let grown = !tables.components.is_empty() || !tables.digests.is_empty();
        (grown.then_some(tables), message)
    }

    fn path(&mut self, path: &Path, tables: &mut wire::Tables) -> u32 {
        let bytes = path.as_os_str().as_bytes();
        if let Some(&number) = self.paths.get(bytes) {
            return number;
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return 0 };
        let parent = self.path(parent, tables);
        tables.parents.push(parent);
        tables.components.push(name.as_bytes().to_vec());
        let number = self.paths.len() as u32 + 1;
        self.paths.insert(bytes.into(), number);
        number
    }

    fn value(&mut self, value: Option<ObjectName>, tables: &mut wire::Tables) -> u32 {
        let Some(value) = value else { return 0 };
        let next = self.values.len() as u32 + 1;
        *self.values.entry(value).or_insert_with(|| {
            tables.digests.push(value.digest().to_vec());
            tables.sizes.push(value.size());
            next
        })
    }
}

/// The longest path in a trace, in bytes. Names below a directory may be longer than any path that can be named at once.
const LONGEST: usize = 64 * 1024;

/// May this be a name in a directory? It may be longer than any file system has: programs look for such names, too.
fn is_name(component: &[u8]) -> bool {
    !matches!(component, b"" | b"." | b"..") && !component.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// Paths and values by number, while a trace is read.
#[derive(Debug)]
pub(super) struct Known {
    paths: Vec<Arc<Path>>,
    values: Vec<Option<ObjectName>>,
}

impl Default for Known {
    fn default() -> Self {
        Self { paths: vec![Path::new("/").into()], values: vec![None] }
    }
}

impl Known {
    /// Takes additions to the tables.
    pub(super) fn extend(&mut self, tables: &wire::Tables) -> Result<(), String> {
        if tables.parents.len() != tables.components.len() || tables.digests.len() != tables.sizes.len() {
            return Err("tables of unequal length".into());
        }
        for (&parent, component) in tables.parents.iter().zip(&tables.components) {
            let folder = self.paths.get(parent as usize).ok_or("a path in a directory that is not there")?;
            if !is_name(component) {
                return Err(format!("path component \"{}\" is not allowed", component.escape_ascii()));
            }
            // A chain of long names would grow with the square of the file's size.
            if folder.as_os_str().len() + component.len() > LONGEST {
                return Err("a path of more than 64 KiB".into());
            }
            let path = folder.join(OsStr::from_bytes(component));
            self.paths.push(path.into());
        }
        for (digest, &size) in tables.digests.iter().zip(&tables.sizes) {
            let digest = digest.as_slice().try_into().map_err(|_| "a digest of wrong length")?;
            self.values.push(Some(ObjectName::new(ObjectKind::Value, digest, size)));
        }
        Ok(())
    }

    /// Reads a record.
    pub(super) fn decode(&self, message: wire::Observed) -> Result<Observed, String> {
        if message.paths.len() != message.uses.len() {
            return Err("touches of unequal length".into());
        }
        let value = |column: &[u32], row: usize| match column.get(row) {
            None => Ok(None),
            Some(&number) => {
                self.values.get(number as usize).copied().ok_or("a value that is not there".to_owned())
            }
        };
        let mut touches = Vec::with_capacity(message.paths.len());
        let mut number = 0i32;
        for (row, (&step, &uses)) in message.paths.iter().zip(&message.uses).enumerate() {
            number = number.checked_add(step).ok_or("a path that is not there")?;
            let path = usize::try_from(number).ok().and_then(|number| self.paths.get(number));
            touches.push(Touch {
                path: Arc::clone(path.ok_or("a path that is not there")?),
                uses: Uses::from_wire(uses).ok_or("an unknown use of a path")?,
                before: value(&message.before, row)?,
                after: value(&message.after, row)?,
                mode: message.modes.get(row).and_then(|mode| mode.checked_sub(1)).map(|mode| mode & 0o7777),
            });
        }
        Ok(Observed {
            id: message.id,
            status: Status::from_wire(message.status).ok_or("an unknown status")?,
            ended_us: message.ended_us,
            thunk: match message.thunk.as_str() {
                "" => None,
                text => Some(text.parse().map_err(|error: crate::Error| error.to_string())?),
            },
            touches,
            obstacles: message.obstacles,
            descriptors: message.descriptors,
        })
    }
}

impl Observed {
    /// What it did to a path.
    #[must_use]
    pub fn touch(&self, path: &Path) -> Option<&Touch> {
        self.touches.iter().find(|touch| &*touch.path == path)
    }

    /// The paths of which all these uses are known.
    pub fn with(&self, uses: Uses) -> impl Iterator<Item = &Touch> {
        self.touches.iter().filter(move |touch| touch.uses.has(uses))
    }
}

/// The path that [`Touch::path`] needs: without `.` and empty components, `..` taken away as text. `None` where it is not
/// absolute. Right for paths whose links were resolved, and for those that no link is in.
#[must_use]
pub fn clean(path: &Path) -> Option<PathBuf> {
    use std::path::Component;
    if !path.is_absolute() {
        return None;
    }
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(id: u32) -> Observed {
        let touch = |path: &str, uses, before: Option<&[u8]>, after: Option<&[u8]>| Touch {
            path: Path::new(path).into(),
            uses,
            before: before.map(|content| ObjectName::of(ObjectKind::Value, content)),
            after: after.map(|content| ObjectName::of(ObjectKind::Value, content)),
            mode: uses.has(Uses::OUTPUT).then_some(0o640),
        };
        Observed {
            id,
            status: Status::Killed(9),
            ended_us: 17,
            thunk: Some(ObjectName::of(ObjectKind::Thunk, b"t")),
            touches: vec![
                touch("/", Uses::LISTED, Some(b"usr"), None),
                touch("/usr/include/a.h", Uses::READ | Uses::INPUT, Some(b"a"), None),
                touch("/usr/include/b.h", Uses::MISSING, None, None),
                touch("/w/\u{fc}\n", Uses::WRITTEN | Uses::OUTPUT, None, Some(b"a")),
            ],
            obstacles: vec!["network".into()],
            descriptors: vec!["/dev/null".into()],
        }
    }

    #[test]
    fn what_was_observed_is_read_as_written_and_written_once() {
        let mut numbers = Numbers::default();
        let mut known = Known::default();
        for id in 1..3 {
            let observed = sample(id);
            let (tables, message) = numbers.encode(&observed);
            assert_eq!(tables.is_some(), id == 1, "nothing new the second time");
            known.extend(&tables.unwrap_or_default()).unwrap();
            assert_eq!(known.decode(message).unwrap(), observed);
        }
    }

    #[test]
    fn of_what_was_done_in_several_steps_the_content_counts() {
        let value = |text: &[u8]| Some(ObjectName::of(ObjectKind::Value, text));
        let touch = |uses, before| Touch { uses, before, ..sample(1).touches[1].clone() };
        let (found, read) = (touch(Uses::FOUND, value(b"target")), touch(Uses::INPUT, value(b"content")));
        for mut touches in [vec![found.clone(), read.clone()], vec![read, found]] {
            Touch::join(&mut touches);
            assert_eq!(touches, [touch(Uses::FOUND | Uses::INPUT, value(b"content"))]);
        }
    }

    #[test]
    fn names_that_no_file_has_are_kept_and_paths_that_no_reader_takes_left_out() {
        let mut observed = sample(1);
        let long = |length| Touch {
            path: Path::new("/w").join("n".repeat(length)).into(),
            ..observed.touches[2].clone()
        };
        let (kept, left_out) = (long(300), long(LONGEST));
        observed.touches.extend([kept.clone(), left_out]);
        let (tables, message) = Numbers::default().encode(&observed);
        let mut known = Known::default();
        known.extend(&tables.unwrap_or_default()).unwrap();
        assert_eq!(known.decode(message).unwrap().touches[4..], [kept]);
    }

    #[test]
    fn numbers_and_names_that_cannot_be_are_refused() {
        let mut known = Known::default();
        let tables = |parent, component: &[u8]| wire::Tables {
            parents: vec![parent],
            components: vec![component.to_vec()],
            ..Default::default()
        };
        for bad in [tables(1, b"a"), tables(0, b".."), tables(0, b"a/b"), tables(0, b""), tables(0, b"a\0")] {
            assert!(known.extend(&bad).is_err());
        }
        known.extend(&tables(0, b"a")).unwrap();
        let observed = |path, uses, before| wire::Observed {
            paths: vec![path],
            uses: vec![uses],
            before: vec![before],
            ..Default::default()
        };
        assert!(known.decode(observed(1, 1, 0)).is_ok());
        for bad in [observed(2, 1, 0), observed(-1, 1, 0), observed(1, 1 << 20, 0), observed(1, 1, 1)] {
            assert!(known.decode(bad).is_err());
        }
    }

    #[test]
    fn paths_are_cleaned_as_text() {
        assert_eq!(clean(Path::new("/a/./b//../c")), Some("/a/c".into()));
        assert_eq!(clean(Path::new("a")), None);
    }
}
