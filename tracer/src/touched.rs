// SPDX-License-Identifier: Apache-2.0
//! What a tool touched when it was observed, so that what came of it can be taken again: for as long as every file that it used is the
//! same, every path that it looked for in vain still leads nowhere, and every directory that it listed has the same names. Knows
//! nothing of what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use models::scanner::Stamp;
use observe::{Touch, Touches, Use};
use thunk::{FileId, Footprint, ObjectKind, ObjectName};
use wire::log::name_hash;

use crate::looks::is_gone;

/// What nobody does who only does a job, unless it is gone again.
const LEAVES: [Use; 3] = [Use::Written, Use::Created, Use::MovedHere];
/// Nor this to what was there.
const TAKES: [Use; 2] = [Use::Removed, Use::MovedAway];

/// What a tool touched outside of the directory in which it was run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// What was there.
    pub found: BTreeSet<PathBuf>,
    /// Directories of which the entries were read, as clang does to find the newest gcc.
    pub listed: BTreeSet<PathBuf>,
    /// What was not.
    pub missing: BTreeSet<PathBuf>,
}

/// Not files: what the kernel makes up, and what a sandbox brings itself.
fn is_virtual(path: &Path) -> bool {
    ["/proc", "/dev", "/sys", "/run"].iter().any(|p| path.starts_with(p)) || path == Path::new("/tmp")
}

/// How a file is recognised again. Of directories only the existence counts, unless they were listed: then their times tell
/// whether a name has come or gone. `!`: it may not be looked at.
fn identity(path: &Path, is_listed: bool) -> Option<String> {
    let metadata = match look(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Some("!".into()),
        looked => looked.ok()?,
    };
    if metadata.is_dir() && !is_listed {
        return Some("d".into());
    }
    let id = FileId::of(&metadata);
    Some(format!("{}.{}.{}.{}.{}", id.dev, id.ino, id.size, id.mtime, id.ctime))
}

/// What stands there; of a link that leads nowhere, the link.
fn look(path: &Path) -> io::Result<Metadata> {
    std::fs::metadata(path).or_else(|_| path.symlink_metadata())
}

/// Was it changed last before `start`, as far as the time tells that nobody can set?
fn is_older(metadata: &Metadata, start: SystemTime) -> bool {
    let ctime = FileId::of(metadata).ctime;
    Stamp { mtime: ctime, ctime, ..Stamp::default() }.settled(start)
}

/// Does somebody else answer there? Where the streams of a process lead does not tell.
fn is_asked(path: &Path) -> bool {
    let leads_to_a_stream = ["/proc", "/dev/fd"].iter().any(|streams| path.starts_with(streams))
        || std::fs::read_link(path).is_ok_and(|to| to.starts_with("/proc"));
    let kind = std::fs::metadata(path).ok().map(|metadata| metadata.file_type());
    kind.is_some_and(|kind| kind.is_socket() || kind.is_fifo()) && !leads_to_a_stream
}

/// What a tool has done beside what it was told to do, if anything.
fn beside(path: &Path, touch: &Touch) -> Option<String> {
    let did = |what: &[Use]| what.iter().any(|what| touch.has(*what));
    let is_there = || path.symlink_metadata().is_ok();
    if !touch.special && did(&LEAVES) && is_there() {
        return Some(format!("writes {}", path.display()));
    }
    (touch.existed == Some(true) && did(&TAKES)).then(|| format!("removes {}", path.display()))
}

/// What was touched elsewhere than in a directory. Nor what is above it: the session's directory has another name every
/// time, and what comes of it would as well.
fn elsewhere<'a>(touches: &'a Touches, directory: &Path) -> impl Iterator<Item = (&'a Path, &'a Touch)> {
    touches.iter().filter(move |(path, _)| {
        !path.starts_with(directory) && !directory.starts_with(path) && !is_virtual(path)
    })
}

impl Touched {
    /// What a tool used that was run in this directory.
    ///
    /// # Errors
    /// It did more than that, or what it did rests on more than that: a clause says what.
    pub fn of(touches: &Touches, directory: &Path) -> Result<Self, String> {
        if touches.network {
            return Err("uses the network".into());
        }
        if touches.foreign || touches.gaps > 0 {
            return Err("makes calls that are not understood".into());
        }
        let mut outside = touches.iter().filter(|(path, _)| !path.starts_with(directory));
        if let Some((path, _)) = outside.find(|(path, _)| is_asked(path)) {
            return Err(format!("asks who listens at {}", path.display()));
        }
        match elsewhere(touches, directory).find_map(|(path, touch)| beside(path, touch)) {
            Some(beside) => Err(beside),
            None => Ok(Self::used(touches, directory)),
        }
    }

    /// What a tool used, whatever else it did: of one that was killed in the middle of it, that tells it again.
    pub fn used(touches: &Touches, directory: &Path) -> Self {
        let mut touched = Self::default();
        for (path, touch) in elsewhere(touches, directory) {
            let was_there =
                || touch.existed == Some(true) || !matches!(look(path), Err(error) if is_gone(&error));
            if touch.has(Use::Missing) && touch.existed == Some(false) {
                touched.missing.insert(path.to_path_buf());
            } else if touch.existed != Some(false) && !touch.special && was_there() {
                touched.found.insert(path.to_path_buf());
                if touch.has(Use::Listed) {
                    touched.listed.insert(path.to_path_buf());
                }
            }
        }
        touched
    }

    /// Is all that it used as it was before `start`, as far as times tell? If not, what came of a tool that was started
    /// then may be of something else than what is there now.
    pub fn is_older_than(&self, start: SystemTime) -> bool {
        let mut ways = Footprint::default();
        for path in &self.found {
            // Where it leads nowhere it does so by links, too.
            let _ = ways.add(path);
        }
        let is_older_link = |link: &PathBuf| link.symlink_metadata().is_ok_and(|link| is_older(&link, start));
        let is_older_file = |path: &PathBuf| match look(path) {
            Ok(found) => (found.is_dir() && !self.listed.contains(path)) || is_older(&found, start),
            // As it was when the tool looked: else it would be gone.
            Err(error) => error.kind() == ErrorKind::PermissionDenied,
        };
        self.found.iter().all(is_older_file)
            && ways.links.keys().all(is_older_link)
            && !self.missing.iter().any(|path| path.exists())
    }

    /// Is all that it used as it was when these lines were written, as [`Touched::encode`] does, for a tool that had
    /// used as much?
    pub fn is_as_in(&self, lines: &[u8]) -> bool {
        Self::decode(lines)
            .is_some_and(|then| then.found.is_superset(&self.found) && then.listed.is_superset(&self.listed))
            && !self.missing.iter().any(|path| path.exists())
    }

    /// One line per path: how it is recognised (`-`: it is missing; `/` before it: it was listed), a blank, the path with `%XX`
    /// escapes.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = String::new();
        for path in &self.found {
            let is_listed = self.listed.contains(path);
            if let Some(identity) = identity(path, is_listed) {
                let mark = if is_listed { "/" } else { "" };
                let _ = writeln!(text, "{mark}{identity} {}", thunk::encode_path(path));
            }
        }
        for path in &self.missing {
            let _ = writeln!(text, "- {}", thunk::encode_path(path));
        }
        text.into_bytes()
    }

    /// The inverse of [`Touched::encode`]; `None` if what it says does not hold any more.
    pub fn decode(lines: &[u8]) -> Option<Self> {
        let mut touched = Self::default();
        for line in std::str::from_utf8(lines).ok()?.lines() {
            let (wanted, path) = line.split_once(' ')?;
            let path = thunk::decode_path(path.as_bytes())?;
            let listed = wanted.strip_prefix('/');
            if wanted == "-" {
                if path.exists() {
                    return None;
                }
                touched.missing.insert(path);
            } else if identity(&path, listed.is_some()).as_deref() == Some(listed.unwrap_or(wanted)) {
                if listed.is_some() {
                    touched.listed.insert(path.clone());
                }
                touched.found.insert(path);
            } else {
                return None;
            }
        }
        Some(touched)
    }
}

/// May something with a name that is hashed so be another one than when it was looked at?
pub type Doubts<'a> = &'a dyn Fn(u64) -> bool;

/// What tells whether all that a tool used is still as it was, when it is only known which names were changed since.
#[derive(Debug, Default)]
pub struct Rests {
    checks: Vec<Check>,
    /// For each hashed name the checks that it concerns.
    names: BTreeMap<u64, BTreeSet<usize>>,
}

/// Something that is looked at again.
#[derive(Debug)]
struct Check {
    path: PathBuf,
    is_listed: bool,
    /// A directory by which paths lead: which one it is.
    is_way: bool,
    was: Option<String>,
}

impl Check {
    fn of(path: &Path, is_listed: bool, is_way: bool) -> Self {
        let mut check = Self { path: path.into(), is_listed, is_way, was: None };
        check.was = check.is();
        check
    }

    fn is(&self) -> Option<String> {
        if self.is_way {
            return self.path.metadata().ok().map(|found| format!("{}.{}", found.dev(), found.ino()));
        }
        identity(&self.path, self.is_listed)
    }
}

impl Rests {
    /// As it is now.
    pub fn of(touched: &Touched) -> Self {
        let mut rests = Self::default();
        let mut ways = BTreeSet::new();
        for path in touched.found.iter().chain(&touched.missing) {
            ways.extend(path.parent());
            rests.add(Check::of(path, touched.listed.contains(path), false), path.file_name());
        }
        for way in ways {
            let real = way.canonicalize().unwrap_or_default();
            rests.add(Check::of(way, false, true), way.iter().chain(real.iter()));
        }
        rests
    }

    fn add<'a>(&mut self, check: Check, names: impl IntoIterator<Item = &'a OsStr>) {
        for name in names {
            self.names.entry(name_hash(name.as_bytes())).or_default().insert(self.checks.len());
        }
        self.checks.push(check);
    }

    /// Is it still so? What none of these names concerns is not looked at.
    pub fn hold(&self, is_in_doubt: Doubts<'_>) -> bool {
        let doubtful = self.names.iter().filter(|(name, _)| is_in_doubt(**name));
        let doubtful: BTreeSet<usize> = doubtful.flat_map(|(_, checks)| checks.iter().copied()).collect();
        doubtful.into_iter().all(|check| self.checks[check].is() == self.checks[check].was)
    }
}

/// A record that shows damage: a line with its kind and its hash, and what it says.
pub fn sealed(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut record = format!("{kind} {}\n", ObjectName::of(ObjectKind::Value, body)).into_bytes();
    record.extend_from_slice(body);
    record
}

/// What a record says, if it is of this kind and whole.
pub fn unsealed<'a>(kind: &str, record: &'a [u8]) -> Option<&'a [u8]> {
    let end = record.iter().position(|&byte| byte == b'\n')?;
    let (head, body) = (std::str::from_utf8(&record[..end]).ok()?, &record[end + 1..]);
    let name: ObjectName = head.strip_prefix(kind)?.strip_prefix(' ')?.parse().ok()?;
    (name == ObjectName::of(ObjectKind::Value, body)).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_only_while_its_files_do() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tool");
        std::fs::write(&file, "1").unwrap();
        let touched = Touched {
            found: [file.clone(), dir.path().to_path_buf()].into(),
            missing: [dir.path().join("no such\nfile")].into(),
            ..Touched::default()
        };
        let lines = touched.encode();
        assert_eq!(Touched::decode(&lines), Some(touched));
        std::fs::write(dir.path().join("no such\nfile"), "").unwrap();
        assert_eq!(Touched::decode(&lines), None);
        std::fs::remove_file(dir.path().join("no such\nfile")).unwrap();
        assert!(Touched::decode(&lines).is_some());
        std::fs::write(&file, "22").unwrap();
        assert_eq!(Touched::decode(&lines), None);
    }

    #[test]
    fn of_a_directory_that_was_listed_the_names_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_path_buf();
        let touched = Touched { found: [path.clone()].into(), listed: [path].into(), ..Touched::default() };
        let lines = touched.encode();
        assert_eq!(Touched::decode(&lines), Some(touched));
        std::thread::sleep(std::time::Duration::from_millis(30));
        std::fs::write(dir.path().join("another"), "").unwrap();
        assert_eq!(Touched::decode(&lines), None);
    }

    #[test]
    fn only_what_is_in_doubt_is_looked_at_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("one")).unwrap();
        std::os::unix::fs::symlink("one", path("link")).unwrap();
        std::fs::write(path("one/as"), "1").unwrap();
        let rests = || {
            let touched = Touched {
                found: [path("link/as")].into(),
                missing: [path("none/ld")].into(),
                ..Touched::default()
            };
            Rests::of(&touched)
        };
        let before = rests();
        let holds =
            |names: &[&str]| before.hold(&|name| names.iter().any(|n| name_hash(n.as_bytes()) == name));
        assert!(before.hold(&|_| true));
        std::fs::write(path("one/as"), "22").unwrap();
        assert!(holds(&["ld", "one", "link"]) && !holds(&["as"]));
        let before = rests();
        let holds =
            |names: &[&str]| before.hold(&|name| names.iter().any(|n| name_hash(n.as_bytes()) == name));
        std::fs::rename(path("one"), path("two")).unwrap();
        std::fs::create_dir(path("one")).unwrap();
        std::fs::create_dir(path("none")).unwrap();
        assert!(holds(&["two", "ld"]) && !holds(&["one"]) && !holds(&["as"]) && !holds(&["none"]));
    }

    #[test]
    fn damage_shows() {
        let record = sealed("gg-x 1", b"what\nit says\0");
        assert_eq!(unsealed("gg-x 1", &record), Some(b"what\nit says\0".as_slice()));
        assert_eq!(unsealed("gg-x 2", &record), None);
        for end in 0..record.len() {
            assert_eq!(unsealed("gg-x 1", &record[..end]), None);
        }
    }
}
