// SPDX-License-Identifier: Apache-2.0
//! What a command can be told of that no content tells: how old the files were about which it asked by name, their modes and
//! owners, where links led, which machine and kernel it ran on, how much its process may have. `tar`, `zip`, `ls -l`, `stat` and
//! `find -newer` write such things down or go by them: such a command does otherwise once a source has another time, or another mode.
//! `cp` and `test -f` ask for them too, and do not mind: that shows when they have run once in other circumstances and nothing else was
//! different. Who only opens a file is taken not to mind, unless its time shows in what was left; and what the build makes has
//! another time in each build anyway.
//!
//! But `test a -nt b` goes by which of two files is the older one, and so it does where the build makes both. So of each two files
//! whose times a command could tell it counts how they compare, until another order made no difference. To these belong its own
//! outputs as they were before: how old and how large those were only who looked before it ran can tell ([`Before`]).
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

use thunk::trace::{Touch, Uses};
use thunk::{Placeholder, has_no_content};

use crate::process;
use orders::Orders;

mod orders;

/// In place of a value: any makes no difference.
const ANY: i128 = i128::MIN;
/// In place of a value: it is not known, and may be any.
const UNKNOWN: i128 = i128::MIN + 1;

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
    /// Limits, processors and priority of the process.
    Limits = b'r' as isize,
    /// The terminal and the like that the environment tells of.
    Login = b'e' as isize,
    /// The time of a file beside those of the others.
    Order = b'o' as isize,
    /// Two of these may compare in other ways, too.
    Orders = b'2' as isize,
    /// How large an output of the command was before it.
    Size = b'z' as isize,
    /// How much more, or less, than its size a file takes on the disk.
    Room = b'b' as isize,
}

impl What {
    const ALL: [Self; 12] = [
        Self::Time,
        Self::ShownTime,
        Self::LinkTime,
        Self::Target,
        Self::Attributes,
        Self::Machine,
        Self::Limits,
        Self::Login,
        Self::Order,
        Self::Orders,
        Self::Size,
        Self::Room,
    ];

    /// What is said of it if it is another one.
    fn is_other(self) -> &'static str {
        match self {
            Self::Time | Self::ShownTime | Self::LinkTime => "has another time than before",
            Self::Target => "leads elsewhere than before",
            Self::Attributes => "has another mode or owner than before",
            Self::Machine => "the machine has another name, or another kernel, than before",
            Self::Limits => "the limits or the priority of its process are others than before",
            Self::Login => "its environment tells of another terminal than before",
            Self::Order | Self::Orders => "is older or newer beside other files than before",
            Self::Size => "has another size than it had before",
            Self::Room => "takes other room on the disk than before",
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
    login: i128,
}

impl Process {
    /// Of this one, which runs where we do, and has been told this of where it was started.
    pub fn of(pid: u32, login: &impl Hash) -> Self {
        static MACHINE: OnceLock<i128> = OnceLock::new();
        let machine = MACHINE.get_or_init(|| hash(&process::machine()));
        Self { machine: *machine, limits: hash(&process::limits(pid)), login: hash(login) }
    }

    fn value(&self, what: What) -> Option<i128> {
        match what {
            What::Machine => Some(self.machine),
            What::Limits => Some(self.limits),
            What::Login => Some(self.login),
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
            What::Time | What::ShownTime | What::Order => self.behind.as_ref().map(time),
            What::LinkTime => link.map(time),
            What::Target => link.and_then(|_| std::fs::read_link(path).ok()).map(|target| hash(&target)),
            What::Attributes => {
                self.behind.as_ref().map(|behind| hash(&(behind.mode(), behind.uid(), behind.gid())))
            }
            What::Size => self.behind.as_ref().map(|behind| behind.len().into()),
            What::Room => self.behind.as_ref().filter(|behind| behind.is_file()).map(room),
            What::Machine | What::Limits | What::Login | What::Orders => None,
        }
    }
}

/// By how much what a file takes on the disk is not what its size comes to: nothing, but for one with holes.
fn room(file: &Metadata) -> i128 {
    const BLOCK: u64 = 4096;
    const SECTOR: u64 = 512;
    i128::from(file.blocks() * SECTOR) - i128::from(file.len().next_multiple_of(BLOCK))
}

/// How old and how large files were, before a command ran, that are its outputs as far as is known.
#[derive(Clone, Debug, Default)]
pub struct Before(HashMap<PathBuf, [i128; 2]>);

impl Before {
    /// Looks at this one, if it is there.
    pub fn look(&mut self, path: &Path) {
        let now = Now::at(path);
        if let (Some(time), Some(size)) = (now.value(What::Order, path), now.value(What::Size, path)) {
            // Who asks finds the file itself there.
            let is_file = matches!(Placeholder::read(path), Ok(None));
            self.0.insert(path.into(), [time, if is_file { size } else { UNKNOWN }]);
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
    /// Its outputs before it ran.
    pub before: &'a Before,
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
            for what in [What::Time, What::Order, What::LinkTime, What::Target, What::Attributes, What::Room]
            {
                let Some(value) = now.value(what, &touch.path) else { continue };
                let is_directory = now.behind.as_ref().is_some_and(Metadata::is_dir);
                // All that is made in it changes a directory: who does not ask for that either does not mind.
                let counts = !matches!(what, What::Time | What::Order)
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
        for touch in touches.iter().filter(|touch| touch.uses.has(Uses::AGAIN)) {
            let [time, size] = known.before.0.get(&*touch.path).copied().unwrap_or([UNKNOWN; 2]);
            add(What::Order, &touch.path, time);
            add(What::Size, &touch.path, size);
        }
        for what in [What::Machine, What::Limits, What::Login] {
            known.process.value(what).into_iter().for_each(|value| add(what, Path::new(""), value));
        }
        Self(facts)
    }

    /// These, after a run with those; `same`: nothing else is different.
    #[must_use]
    pub fn after(mut self, before: &Self, same: bool) -> Self {
        let key = |fact: &Fact| (fact.what, fact.path.as_os_str().as_bytes().to_vec());
        let known: HashMap<_, i128> = before.0.iter().map(|fact| (key(fact), fact.value)).collect();
        let counts_as_it_is = |what| matches!(what, What::ShownTime | What::Order | What::Orders);
        for fact in self.0.iter_mut().filter(|fact| !counts_as_it_is(fact.what)) {
            let known = known.get(&key(fact)).filter(|known| **known != UNKNOWN);
            if known.is_some_and(|known| *known == ANY || same && *known != fact.value) {
                fact.value = ANY;
            }
        }
        let orders = Orders::of(&self).after(&Orders::of(before), same).facts();
        self.0.retain(|fact| fact.what != What::Orders);
        self.0.extend(orders);
        self
    }

    /// The first that is another one now, and what is said of that. That a file has a time from the build that began then is none.
    pub fn changed(&self, process: &Process, began: SystemTime) -> Option<String> {
        let began = nanoseconds(began);
        let mut last: Option<(&Path, Now)> = None;
        let mut times = Vec::new();
        for Fact { what, path, value } in self.0.iter().filter(|fact| fact.value != ANY) {
            if *what == What::Orders {
                continue;
            }
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
                What::Attributes | What::Machine | What::Limits | What::Login | What::Size | What::Room => {
                    now.is_some_and(|now| now != *value)
                }
                What::Target | What::ShownTime => now != Some(*value),
                What::Order => {
                    times.push(now.unwrap_or(*value));
                    *value == UNKNOWN
                }
                What::Orders => false,
            };
            if is_other {
                return Some(format!("{} {}", path.display(), what.is_other()).trim_start().to_owned());
            }
        }
        let path = Orders::of(self).changed(&times)?;
        Some(format!("{} {}", path.display(), What::Order.is_other()))
    }

    /// May it go by which of two of these files is the older one? In a sandbox all have the same time.
    pub fn go_by_age(&self, counts: impl Fn(&Path) -> bool) -> bool {
        Orders::of(self).matter_among(counts)
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
fn hash(of: &(impl Hash + ?Sized)) -> i128 {
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
        let process = Process { machine: 1, limits: 2, login: 3 };
        let before = &Before::default();
        let known = Known { process, cwd: Path::new("/"), shown: &[], began, before };
        let circumstances = Circumstances::of(&[], &known);
        assert_eq!(circumstances.changed(&process, began), None);
        let others = [
            Process { machine: 0, ..process },
            Process { limits: 0, ..process },
            Process { login: 0, ..process },
        ];
        for other in others {
            assert!(circumstances.changed(&other, began).is_some());
            let now = Circumstances::of(&[], &Known { process: other, ..known }).after(&circumstances, true);
            assert_eq!(now.changed(&process, began), None);
        }
    }
}
