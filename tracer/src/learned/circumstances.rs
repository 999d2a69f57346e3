// SPDX-License-Identifier: Apache-2.0
//! What a command can be told of that no content tells: how old the files were about which it asked by name, their modes and
//! owners, where links led, which machine and kernel it ran on, how much its process may have. `tar`, `zip`, `ls -l`, `stat` and
//! `find -newer` write such things down or go by them: such a command does otherwise once a source has another time, or another mode.
//! `cp` and `test -f` ask for them too, and do not mind: that shows when they have run once in other circumstances and nothing else was
//! different. Who only opens a file is taken not to mind, unless its time shows in what was left; and what the build makes has
//! another time in each build anyway.
//!
//! Knows nothing of what a command did besides.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::hash::{BuildHasher as _, Hash};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use thunk::has_no_content;
use thunk::trace::{Touch, Uses};

use crate::process;

/// In place of a value: any makes no difference.
const ANY: i128 = i128::MIN;

/// What is known of a path, or of the command itself, whose path is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    /// When the file was changed.
    Time = b't' as isize,
    /// The same, where it shows in what the command left: with another one it leaves something else.
    ShownTime = b's' as isize,
    /// When the link was made.
    LinkTime = b'l' as isize,
    /// Where the link leads.
    Target = b'p' as isize,
    /// Mode and owner.
    Attributes = b'a' as isize,
    /// What uname tells.
    Machine = b'm' as isize,
    /// Limits and processors of the process.
    Limits = b'r' as isize,
}

impl What {
    const ALL: [Self; 7] = [
        Self::Time,
        Self::ShownTime,
        Self::LinkTime,
        Self::Target,
        Self::Attributes,
        Self::Machine,
        Self::Limits,
    ];

    /// What is said of it if it is another one.
    fn is_other(self) -> &'static str {
        match self {
            Self::Time | Self::ShownTime | Self::LinkTime => "has another time than before",
            Self::Target => "leads elsewhere than before",
            Self::Attributes => "has another mode or owner than before",
            Self::Machine => "the machine has another name, or another kernel, than before",
            Self::Limits => "the limits of its process are others than before",
        }
    }
}

/// One of the circumstances.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fact {
    what: What,
    path: PathBuf,
    /// A time is in nanoseconds, all else a hash.
    value: i128,
}

/// The circumstances of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances(Vec<Fact>);

/// Those of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    machine: i128,
    limits: i128,
}

impl Process {
    /// Of this one, which runs where we do.
    pub fn of(pid: u32) -> Self {
        static MACHINE: OnceLock<i128> = OnceLock::new();
        let machine = MACHINE.get_or_init(|| hash(&process::machine()));
        Self { machine: *machine, limits: hash(&process::limits(pid)) }
    }

    fn value(&self, what: What) -> Option<i128> {
        match what {
            What::Machine => Some(self.machine),
            What::Limits => Some(self.limits),
            _ => None,
        }
    }
}

/// What stands at a path.
struct Now {
    entry: Option<Metadata>,
    behind: Option<Metadata>,
}

impl Now {
    fn at(path: &Path) -> Self {
        let entry = std::fs::symlink_metadata(path).ok();
        let is_link = entry.as_ref().is_some_and(Metadata::is_symlink);
        let behind = if is_link { std::fs::metadata(path).ok() } else { entry.clone() };
        Self { entry, behind }
    }

    fn value(&self, what: What, path: &Path) -> Option<i128> {
        let time = |metadata: &Metadata| {
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
        };
        let link = self.entry.as_ref().filter(|entry| entry.is_symlink());
        match what {
            What::Time | What::ShownTime => self.behind.as_ref().map(time),
            What::LinkTime => link.map(time),
            What::Target => link.and_then(|_| std::fs::read_link(path).ok()).map(|target| hash(&target)),
            What::Attributes => {
                self.behind.as_ref().map(|behind| hash(&(behind.mode(), behind.uid(), behind.gid())))
            }
            What::Machine | What::Limits => None,
        }
    }
}

/// What the circumstances are told from.
pub struct Known<'a> {
    /// The process of the command.
    pub process: Process,
    /// Where it was started.
    pub cwd: &'a Path,
    /// Files whose times show in what it left.
    pub shown: &'a [PathBuf],
    /// When the build began.
    pub began: SystemTime,
}

impl Circumstances {
    /// Of what a command asked about that is there now, and that it did not make.
    pub fn of(touches: &[Touch], known: &Known<'_>) -> Self {
        let began = nanoseconds(known.began);
        let asked = touches.iter().filter(|touch| touch.uses.has(Uses::FOUND));
        let kept = asked.filter(|touch| {
            !touch.uses.has(Uses::OUTPUT) && !touch.uses.has(Uses::CREATED) && !has_no_content(&touch.path)
        });
        let mut facts = Vec::new();
        let mut add = |what, path: &Path, value| facts.push(Fact { what, path: path.into(), value });
        for touch in kept {
            let now = Now::at(&touch.path);
            for what in [What::Time, What::LinkTime, What::Target, What::Attributes] {
                let Some(value) = now.value(what, &touch.path) else { continue };
                let is_directory = now.behind.as_ref().is_some_and(Metadata::is_dir);
                // All that is made in it changes a directory: who does not ask for that either does not mind.
                let counts = what != What::Time
                    || !is_directory
                    || touch.uses.has(Uses::LISTED) && *touch.path != *known.cwd && value < began;
                if counts {
                    add(what, &touch.path, value);
                }
            }
        }
        for path in known.shown {
            if let Some(value) = Now::at(path).value(What::ShownTime, path) {
                add(What::ShownTime, path, value);
            }
        }
        for what in [What::Machine, What::Limits] {
            known.process.value(what).into_iter().for_each(|value| add(what, Path::new(""), value));
        }
        Self(facts)
    }

    /// These, after a run with those; `same`: nothing else is different.
    #[must_use]
    pub fn after(mut self, before: &Self, same: bool) -> Self {
        let key = |fact: &Fact| (fact.what, fact.path.as_os_str().as_bytes().to_vec());
        let before: HashMap<_, i128> = before.0.iter().map(|fact| (key(fact), fact.value)).collect();
        for fact in self.0.iter_mut().filter(|fact| fact.what != What::ShownTime) {
            let known = before.get(&key(fact));
            if known.is_some_and(|known| *known == ANY || same && *known != fact.value) {
                fact.value = ANY;
            }
        }
        self
    }

    /// The first that is another one now, and what is said of that. That a file has a time from the build that began then is none.
    pub fn changed(&self, process: &Process, began: SystemTime) -> Option<String> {
        let began = nanoseconds(began);
        let mut last: Option<(&Path, Now)> = None;
        for Fact { what, path, value } in self.0.iter().filter(|fact| fact.value != ANY) {
            let now = match process.value(*what) {
                Some(now) => Some(now),
                None => {
                    if last.as_ref().is_none_or(|(of, _)| *of != path) {
                        last = Some((path, Now::at(path)));
                    }
                    last.as_ref().and_then(|(_, now)| now.value(*what, path))
                }
            };
            let is_other = match what {
                What::Time | What::LinkTime => now.is_some_and(|now| now != *value && now < began),
                // What is gone is missed elsewhere.
                What::Attributes | What::Machine | What::Limits => now.is_some_and(|now| now != *value),
                What::Target | What::ShownTime => now != Some(*value),
            };
            if is_other {
                return Some(format!("{} {}", path.display(), what.is_other()).trim_start().to_owned());
            }
        }
        None
    }

    /// As bytes that begin with how many follow.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        for Fact { what, path, value } in &self.0 {
            let path = path.as_os_str().as_bytes();
            bytes.push(*what as u8);
            bytes.extend_from_slice(&value.to_le_bytes());
            bytes.extend_from_slice(&(path.len() as u32).to_le_bytes());
            bytes.extend_from_slice(path);
        }
        let size = (bytes.len() - 4) as u32;
        bytes[..4].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    /// And what follows them.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (size, bytes) = bytes.split_first_chunk()?;
        let (mut own, rest) = bytes.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        let mut facts = Vec::new();
        while let Some((&what, after)) = own.split_first() {
            let what = What::ALL.into_iter().find(|known| *known as u8 == what)?;
            let (value, after) = after.split_first_chunk()?;
            let (size, after) = after.split_first_chunk()?;
            let (path, after) = after.split_at_checked(u32::from_le_bytes(*size) as usize)?;
            facts.push(Fact {
                what,
                path: OsStr::from_bytes(path).into(),
                value: i128::from_le_bytes(*value),
            });
            own = after;
        }
        Some((Self(facts), rest))
    }
}

fn nanoseconds(time: SystemTime) -> i128 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as i128
}

/// The same in each recording.
fn hash(of: &impl Hash) -> i128 {
    i128::from(foldhash::quality::FixedState::with_seed(0).hash_one(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times<const N: usize>(times: [(&str, i128); N]) -> Circumstances {
        let fact = |(path, value): (&str, i128)| Fact { what: What::Time, path: path.into(), value };
        Circumstances(times.into_iter().map(fact).collect())
    }

    #[test]
    fn a_time_counts_until_another_one_made_no_difference() {
        let times = |a, b| times([("a", a), ("b", b)]);
        assert_eq!(times(1, 2).after(&times(1, 2), true), times(1, 2));
        assert_eq!(times(1, 2).after(&times(3, 2), true), times(ANY, 2));
        assert_eq!(times(1, 2).after(&times(3, 2), false), times(1, 2));
        assert_eq!(times(1, 2).after(&times(ANY, 3), false), times(ANY, 2));
        assert_eq!(times(1, 2).after(&Circumstances::default(), true), times(1, 2));
    }

    #[test]
    fn what_is_encoded_is_decoded_and_nothing_else() {
        let mut known = times([("/a", -5), ("/b c", 1 << 70), ("", 0)]);
        known.0[1].what = What::Attributes;
        let bytes = [&known.encode()[..], b"rest"].concat();
        assert_eq!(Circumstances::decode(&bytes), Some((known.clone(), &b"rest"[..])));
        let whole = known.encode();
        for end in 0..whole.len() {
            assert_eq!(Circumstances::decode(&whole[..end]), None, "{end}");
        }
        let short = [&9u32.to_le_bytes()[..], &whole[4..]].concat();
        assert_eq!(Circumstances::decode(&short), None);
    }

    #[test]
    fn another_process_is_another_circumstance() {
        let began = SystemTime::UNIX_EPOCH;
        let process = Process { machine: 1, limits: 2 };
        let known = Known { process, cwd: Path::new("/"), shown: &[], began };
        let circumstances = Circumstances::of(&[], &known);
        assert_eq!(circumstances.changed(&process, began), None);
        for other in [Process { machine: 3, ..process }, Process { limits: 3, ..process }] {
            assert!(circumstances.changed(&other, began).is_some());
            let now = Circumstances::of(&[], &Known { process: other, ..known }).after(&circumstances, true);
            assert_eq!(now.changed(&process, began), None);
        }
    }
}
