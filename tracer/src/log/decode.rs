// SPDX-License-Identifier: Apache-2.0
//! What the records of the shared log say: turns those of one command into events. Knows the calls that hooks make, and
//! nothing of chunks and of where records come from.
//!
//! What a record does not say is looked at when it is read: where links lead, of what kind a file is that was opened
//! for writing. That is after the command's end, when temporary files are gone: those are taken for ordinary files.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use observe::{Access, Event, Kind, Pid, Place, Role, Transfer, is_about_paths, tidy};
use thunk::{Led, is_below};
use wire::log::{Record, bits, kind, opens_to_change};

use super::{Entry, Ways};

/// As many links as the kernel follows.
const MAX_LINKS: u32 = 40;

/// A record with its strings.
type Raw<'a> = wire::log::Entry<'a>;

/// The events that these records stand for, in the order of their numbers.
pub(super) fn events(records: Vec<Raw<'_>>, ways: Option<&dyn Ways>) -> Vec<Entry> {
    let files = Files { ways, ..Files::default() };
    Decoder { files, ..Decoder::default() }.decode(records)
}

/// Does this record say where its process is, from where on the paths in others begin?
pub(super) fn moves(record: &Record) -> bool {
    matches!(record.kind, kind::START | kind::CHDIR | kind::FCHDIR)
}

/// May this record be of a change of what stands somewhere?
pub(super) fn changes(record: &Record) -> bool {
    match record.kind {
        kind::LOOKUP | kind::LIST | kind::REALPATH | kind::NETWORK | kind::EXEC => false,
        kind::OPEN => opens_to_change(record.value),
        _ => record.result >= 0,
    }
}

/// Kind, result and bits of a record, and its strings.
type Question<'a> = (u16, i32, u16, &'a [u8], &'a [u8]);

/// Turns the records of one command into events.
#[derive(Default)]
struct Decoder<'a> {
    out: Vec<Entry>,
    /// Where each process is.
    directories: HashMap<u32, PathBuf>,
    /// What was asked already, as it was named and with the answer.
    asked: HashSet<Question<'a>>,
    /// What was found out about the file system.
    files: Files<'a>,
    /// Directories that `realpath` was told to have looked at: the same ones again and again.
    walked: HashSet<Box<[u8]>>,
    executed: HashMap<PathBuf, Arc<[Event]>>,
}

impl<'a> Decoder<'a> {
    fn decode(mut self, mut records: Vec<Raw<'a>>) -> Vec<Entry> {
        records.sort_by_key(|(record, ..)| record.sequence);
        self.out.reserve(records.len());
        let failed = failed_execs(&records);
        for (index, entry) in records.into_iter().enumerate() {
            if !failed.contains(&index) && !self.is_repeated(&entry) {
                self.record(entry);
            }
        }
        self.out
    }

    /// Does it say again what is known? A compiler asks for the same few directories hundreds of times.
    fn is_repeated(&mut self, (record, first, second): &Raw<'a>) -> bool {
        let asks = matches!(record.kind, kind::LOOKUP | kind::REALPATH);
        // Where a relative path starts from may be another place the next time.
        asks && first.first() == Some(&b'/')
            && !self.asked.insert((record.kind, record.result, record.bits, first, second))
    }

    fn record(&mut self, (record, first, second): Raw<'_>) {
        let record = &record;
        if record.kind == kind::START {
            self.enter(record, first);
            return;
        }
        if record.kind == kind::NETWORK {
            return self.emit(record, Event::Network);
        }
        if record.kind == kind::FCHDIR {
            return self.enter(record, second);
        }
        let Some(path) = self.absolute(record, first) else { return self.emit(record, Event::Gap) };
        match record.kind {
            kind::LOOKUP => self.looked_up(record, path),
            kind::OPEN => self.opened(record, path),
            kind::LIST => {
                let path = observe::own_list(path, Pid::try_from(record.process).unwrap_or(0));
                self.on_success(record, path, |_, path| Event::Listed(path));
            }
            kind::TRUNCATE => {
                let access =
                    Access { reads: false, writes: true, created: false, emptied: record.value == 1 };
                self.on_success(record, path, |files, path| {
                    let (place, _) = files.opened(path);
                    Event::Opened(place, Kind::File, access)
                });
            }
            kind::MAKE => self.on_success(record, path, |files, path| Event::Made(files.entry(path))),
            kind::SYMLINK => {
                let target = PathBuf::from(OsStr::from_bytes(second));
                self.on_success(record, path, |files, path| Event::Symlinked(files.entry(path), target));
            }
            kind::REMOVE => self.on_success(record, path, |files, path| Event::Removed(files.entry(path))),
            kind::ATTRIBUTES => self.on_success(record, path, |_, path| Event::Attributes(path)),
            kind::LINK | kind::RENAME => match self.absolute(record, second) {
                Some(new) => self.transferred(record, path, new),
                None => self.emit(record, Event::Gap),
            },
            kind::EXEC => self.executed(record, path),
            kind::CHDIR => {
                self.looked_up(record, path);
                if record.result >= 0 {
                    self.enter(record, second);
                }
            }
            kind::REALPATH => self.resolved(record, first, second),
            // A gap, or a record of no kind.
            _ => self.emit(record, Event::Gap),
        }
    }

    fn emit(&mut self, record: &Record, event: Event) {
        let begins = (record.kind == kind::EXEC && record.result >= 0).then_some(record.value);
        let process = Pid::try_from(record.process).unwrap_or(0);
        self.out.push(Entry { sequence: record.sequence, process, begins, event });
    }

    fn enter(&mut self, record: &Record, directory: &[u8]) {
        if directory.first() == Some(&b'/') {
            self.directories.insert(record.process, OsStr::from_bytes(directory).into());
        } else {
            self.directories.remove(&record.process);
        }
    }

    /// The path as the process named it, from the root on; nothing where it cannot be told.
    fn absolute(&self, record: &Record, path: &[u8]) -> Option<PathBuf> {
        if path.is_empty() || path.contains(&0) {
            return None;
        }
        let path = Path::new(OsStr::from_bytes(path));
        if path.is_absolute() {
            return Some(tidy(path));
        }
        Some(tidy(&self.directories.get(&record.process)?.join(path)))
    }

    fn looked_up(&mut self, record: &Record, path: PathBuf) {
        if let Some(event) = failed(path, record) {
            self.emit(record, event);
        }
    }

    fn on_success(
        &mut self,
        record: &Record,
        path: PathBuf,
        event: impl FnOnce(&mut Files<'_>, PathBuf) -> Event,
    ) {
        if record.result >= 0 {
            let event = event(&mut self.files, path);
            self.emit(record, event);
        } else {
            self.looked_up(record, path);
        }
    }

    fn opened(&mut self, record: &Record, path: PathBuf) {
        let flags = record.value as i32;
        let has = |flag: i32| flags & flag == flag;
        // A path only, or a file without a name: no content is reached through the path.
        if record.result < 0 || has(libc::O_PATH) || has(libc::O_TMPFILE) {
            return self.looked_up(record, path);
        }
        let mode = flags & libc::O_ACCMODE;
        let access = Access {
            reads: mode == libc::O_RDONLY || mode == libc::O_RDWR,
            writes: mode == libc::O_WRONLY || mode == libc::O_RDWR,
            created: record.bits & bits::CREATED != 0,
            // With O_EXCL there was nothing to be emptied.
            emptied: has(libc::O_TRUNC) && !has(libc::O_EXCL),
        };
        let (place, found) = self.files.opened(path);
        let kind = match record.bits {
            _ if has(libc::O_DIRECTORY) => Kind::Directory,
            told if told & bits::KNOWN == 0 => found,
            told if told & bits::DIRECTORY != 0 => Kind::Directory,
            told if told & bits::SPECIAL != 0 => Kind::Special,
            _ => Kind::File,
        };
        self.emit(record, Event::Opened(place, kind, access));
    }

    fn transferred(&mut self, record: &Record, old: PathBuf, new: PathBuf) {
        if record.result < 0 {
            // The errno does not tell which of the two it is about.
            for (path, bit) in [(old, bits::FIRST_EXISTS), (new, bits::SECOND_EXISTS)] {
                if is_about_paths(record.result.wrapping_neg()) {
                    self.emit(record, Event::of_look(record.bits & bit != 0, path));
                }
            }
            return;
        }
        let how = match record.kind {
            kind::LINK => Transfer::Link,
            _ if record.value & libc::RENAME_EXCHANGE != 0 => Transfer::Exchange,
            _ if record.value & libc::RENAME_NOREPLACE != 0 => Transfer::RenameToNew,
            _ => Transfer::Rename,
        };
        let (old, new) = (self.files.entry(old), self.files.entry(new));
        self.emit(record, Event::Transferred(how, old, new));
    }

    fn executed(&mut self, record: &Record, path: PathBuf) {
        if record.result < 0 && !matches!(record.result.wrapping_neg(), libc::ENOENT | libc::ENOEXEC) {
            return self.looked_up(record, path);
        }
        let ways = self.files.ways;
        let look = |path: &PathBuf| match ways {
            Some(ways) => ways.executed(path),
            None => observe::executed(path, None).into(),
        };
        let mut events = Arc::clone(self.executed.entry(path.clone()).or_insert_with_key(look));
        if events.is_empty() {
            // An interpreter that is named from here on.
            let here = self.directories.get(&record.process).map(PathBuf::as_path);
            events = observe::executed(&path, here).into();
        }
        if record.result >= 0 && !events.iter().any(|event| matches!(event, Event::Executed(..))) {
            // It has been executed, and is gone: `gcc conftest.c && ./a.out; rm a.out`.
            events = match ways.and_then(|ways| ways.executed_before(&path)) {
                Some(events) => events,
                None => [Event::Executed(self.files.entry(path), Role::Program)].into(),
            };
        }
        for event in events.iter().cloned() {
            // What the kernel has read to know that it cannot execute it is read, not executed.
            let event = match event {
                Event::Executed(place, _) if record.result < 0 => {
                    let access = Access { reads: true, writes: false, created: false, emptied: false };
                    Event::Opened(place, Kind::File, access)
                }
                event => event,
            };
            self.emit(record, event);
        }
    }

    /// `realpath` has looked at each name on the way: of a relative path not at those of the directory, whose path is real.
    fn resolved(&mut self, record: &Record, path: &[u8], end: &[u8]) {
        let failed = record.result < 0;
        // Without the slash of the root, so that names are added alike everywhere.
        let mut walk = match self.directories.get(&record.process) {
            Some(directory) if path.first() != Some(&b'/') => directory.as_os_str().as_bytes(),
            _ => b"",
        }
        .to_vec();
        if walk == b"/" {
            walk.clear();
        }
        let mut links = 0;
        // What is left to be walked: the path, in place of which a link's target comes.
        let mut rest = Cow::Borrowed(path);
        let mut at = 0;
        while let Some(left) = rest.get(at..) {
            let length = left.iter().position(|&byte| byte == b'/').unwrap_or(left.len());
            let name = &left[..length];
            at += length + 1;
            match name {
                b"" | b"." => continue,
                b".." => {
                    walk.truncate(walk.iter().rposition(|&byte| byte == b'/').unwrap_or(0));
                    continue;
                }
                name => walk.extend([b"/", name].concat()),
            }
            if failed && walk == end {
                break;
            }
            self.walk_past(record, &walk);
            // Every directory of the result is none itself.
            let here = Path::new(OsStr::from_bytes(&walk));
            if is_below(Path::new(OsStr::from_bytes(end)), here) {
                continue;
            }
            let Some(target) = self.files.target(here) else { continue };
            links += 1;
            if links > MAX_LINKS {
                break;
            }
            let target = target.as_os_str().as_bytes();
            let up = if target.first() == Some(&b'/') {
                0
            } else {
                walk.iter().rposition(|&b| b == b'/').unwrap_or(0)
            };
            walk.truncate(up);
            rest = [target, b"/", rest.get(at..).unwrap_or_default()].concat().into();
            at = 0;
        }
        if failed && end.first() == Some(&b'/') {
            self.looked_up(record, OsStr::from_bytes(end).into());
        }
    }

    fn walk_past(&mut self, record: &Record, path: &[u8]) {
        if !self.walked.contains(path) {
            self.walked.insert(path.into());
            self.emit(record, Event::Found(OsStr::from_bytes(path).into()));
        }
    }
}

/// Which records tell of an execution that then failed, as the next record of the same process says.
fn failed_execs(records: &[Raw<'_>]) -> HashSet<usize> {
    let mut failed = HashSet::default();
    let mut fails_next = HashMap::default();
    for (index, (record, ..)) in records.iter().enumerate().rev() {
        let fails = record.kind == kind::EXEC && record.result < 0;
        let next = fails_next.insert(record.process, fails);
        if record.kind == kind::EXEC && !fails && next == Some(true) {
            failed.insert(index);
        }
    }
    failed
}

/// What the failure of a call says about the path it was given.
fn failed(path: PathBuf, record: &Record) -> Option<Event> {
    let exists = record.bits & bits::FIRST_EXISTS != 0;
    Event::of_failure(path, record.result.wrapping_neg(), |_| exists)
}

/// What is where now, as far as it was asked for. By the bytes of paths, which are compared and hashed faster than their components.
#[derive(Default)]
struct Files<'a> {
    ways: Option<&'a dyn Ways>,
    targets: HashMap<OsString, Option<PathBuf>>,
    directories: HashMap<OsString, Option<PathBuf>>,
    opened: HashMap<OsString, (Option<PathBuf>, Kind)>,
}

impl Files<'_> {
    /// Where the link at this path leads, if it is one.
    fn target(&mut self, path: &Path) -> Option<&Path> {
        let path = path.as_os_str();
        if !self.targets.contains_key(path) {
            self.targets.insert(path.to_os_string(), fs::read_link(path).ok());
        }
        self.targets.get(path)?.as_deref()
    }

    /// The place of a directory entry: only the links on the way are followed.
    fn entry(&mut self, path: PathBuf) -> Place {
        let real = self.real_entry(&path);
        Place::new(path, real)
    }

    fn real_entry(&mut self, path: &Path) -> Option<PathBuf> {
        let (parent, name) = (path.parent()?, path.file_name()?);
        if !self.directories.contains_key(parent.as_os_str()) {
            let known = self.ways.and_then(|ways| ways.directory(parent));
            let real = known.or_else(|| fs::canonicalize(parent).ok());
            self.directories.insert(parent.into(), real);
        }
        Some(self.directories.get(parent.as_os_str())?.as_ref()?.join(name))
    }

    /// The place of a file that was opened by this path, and its kind.
    fn opened(&mut self, path: PathBuf) -> (Place, Kind) {
        if let Some((real, kind)) = self.opened.get(path.as_os_str()) {
            return (Place::new(path, real.clone()), *kind);
        }
        let known = self.ways.and_then(|ways| match ways.leads(&path)? {
            Led::File(real) => Some((real, Kind::File)),
            Led::Directory(real) => Some((real, Kind::Directory)),
            Led::Special(_) => None,
        });
        if let Some((real, kind)) = known {
            let real = Some(real);
            self.opened.insert(path.clone().into_os_string(), (real.clone(), kind));
            return (Place::new(path, real), kind);
        }
        let found = fs::symlink_metadata(&path);
        let is_link = found.as_ref().is_ok_and(|metadata| metadata.is_symlink());
        let (real, found) = if is_link {
            (fs::canonicalize(&path).ok(), fs::metadata(&path))
        } else {
            (self.real_entry(&path), found)
        };
        let kind = match found.map(|metadata| metadata.file_type()) {
            Ok(kind) if kind.is_dir() => Kind::Directory,
            Ok(kind) if kind.is_char_device() || kind.is_block_device() => Kind::Special,
            Ok(kind) if kind.is_fifo() || kind.is_socket() => Kind::Special,
            _ => Kind::File,
        };
        self.opened.insert(path.clone().into_os_string(), (real.clone(), kind));
        (Place::new(path, real), kind)
    }
}
