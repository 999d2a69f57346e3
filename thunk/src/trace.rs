// SPDX-License-Identifier: Apache-2.0
//! The trace file: the record of one build, its commands in order, their thunks, and which path each output went to.
//! A magic line, then records that are appended one by one as the build goes on: a recorder that is killed
//! leaves a trace that can be read up to that point.

mod current;
mod observed;
mod products;

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::atomic::AtomicFile;
use crate::error::{Error, Result};
use crate::framed;
use crate::name::{ObjectKind, ObjectName};
use crate::path::to_path;
use crate::placeholder;
use crate::placeholder::OutputRef;
use crate::store::Store;

pub use current::{Change, Current, Look, Now, Verdict, listing};
pub use observed::{Observed, Status, Touch, Uses, clean};
pub use products::{Product, Products, Step};

const MAGIC: &[u8] = b"##GGTRACE##1\n";

mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Begin {
        #[prost(bytes = "vec", tag = "1")]
        pub cwd: Vec<u8>,
        #[prost(bytes = "vec", repeated, tag = "2")]
        pub argv: Vec<Vec<u8>>,
        #[prost(uint64, tag = "3")]
        pub started_us: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Command {
        #[prost(uint32, tag = "1")]
        pub id: u32,
        #[prost(uint32, tag = "2")]
        pub parent: u32,
        #[prost(bytes = "vec", tag = "3")]
        pub cwd: Vec<u8>,
        #[prost(bytes = "vec", repeated, tag = "4")]
        pub argv: Vec<Vec<u8>>,
        #[prost(bytes = "vec", tag = "5")]
        pub program: Vec<u8>,
        #[prost(string, tag = "6")]
        pub kind: String,
        #[prost(uint32, tag = "7")]
        pub disposition: u32,
        #[prost(string, tag = "8")]
        pub reason: String,
        #[prost(string, tag = "9")]
        pub thunk: String,
        #[prost(bytes = "vec", repeated, tag = "10")]
        pub outputs: Vec<Vec<u8>>,
        #[prost(uint64, tag = "11")]
        pub at_us: u64,
        #[prost(uint64, tag = "12")]
        pub took_us: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct End {
        #[prost(int32, tag = "1")]
        pub code: i32,
        #[prost(uint64, tag = "2")]
        pub wall_us: u64,
    }

    /// One path of a [`Standing`].
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Stands {
        #[prost(bytes = "vec", tag = "1")]
        pub path: Vec<u8>,
        /// `THASH#output`.
        #[prost(bytes = "vec", tag = "2")]
        pub output: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Standing {
        #[prost(message, repeated, tag = "1")]
        pub paths: Vec<Stands>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Packed {}

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Record {
        #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
        pub kind: Option<Kind>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Kind {
        #[prost(message, tag = "1")]
        Begin(Begin),
        #[prost(message, tag = "2")]
        Command(Command),
        /// A path at which a placeholder may stand from now on: written before one is put there, so that a recorder that is
        /// killed leaves none that no trace names.
        #[prost(bytes, tag = "3")]
        Placed(Vec<u8>),
        #[prost(message, tag = "4")]
        End(End),
        #[prost(message, tag = "5")]
        Tables(super::observed::wire::Tables),
        #[prost(message, tag = "6")]
        Observed(super::observed::wire::Observed),
        /// Written when the build is over: where outputs of deferred commands stand then, under whatever name.
        #[prost(message, tag = "7")]
        Standing(Standing),
        /// The trace was taken out of a pack.
        #[prost(message, tag = "8")]
        Packed(Packed),
    }
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Disposition {
    /// It did not run: its thunk was recorded and placeholders stand for its outputs.
    Deferred,
    /// A model knows its program but did not defer this command; it ran.
    Declined,
    /// No model knows its program; it ran.
    Ran,
}

/// One exec of the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Number within the trace, from 1.
    pub id: u32,
    /// The command that executed it; 0 for the recorder.
    pub parent: u32,
    /// Working directory.
    pub cwd: PathBuf,
    /// Arguments.
    pub argv: Vec<OsString>,
    /// The program's absolute path.
    pub program: PathBuf,
    /// What the model takes it for (`compile`, `link`, …); empty where none knows it.
    pub kind: String,
    /// What became of it.
    pub disposition: Disposition,
    /// Why it was declined.
    pub reason: String,
    /// Its thunk, if it was deferred.
    pub thunk: Option<ObjectName>,
    /// The paths at which placeholders for its outputs were put.
    pub outputs: Vec<PathBuf>,
    /// When it was asked for, in microseconds since the build began.
    pub at_us: u64,
    /// How long the recorder took to answer, in microseconds.
    pub took_us: u64,
}

/// A trace as it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Where the build was started.
    pub cwd: PathBuf,
    /// The build's command.
    pub argv: Vec<OsString>,
    /// When it was started, in microseconds since 1970.
    pub started_us: u64,
    /// Its commands, in the order in which they were asked for.
    pub commands: Vec<Command>,
    /// What those of them that ran did, in the order in which they ended.
    pub observed: Vec<Observed>,
    /// Paths at which placeholders were about to be put, by a deferred command, a copy or a rename, or were left by an
    /// earlier build.
    pub placed: Vec<PathBuf>,
    /// Where outputs of deferred commands stood when the build was over: also those that were renamed or copied, and not those
    /// that were removed. Absent if the recorder was killed.
    pub standing: Option<Vec<(PathBuf, OutputRef)>>,
    /// It came in a pack, which has all that it needs: what the build took from outside of its directory is as it was recorded, and
    /// so are files of its directory that are not on this machine.
    pub packed: bool,
    /// The build's exit code, and how long it took in microseconds; absent if the recorder was killed.
    pub end: Option<(i32, u64)>,
    /// What is wrong with the file's last record, if the recorder was killed while writing it.
    pub cut: Option<String>,
}

impl Trace {
    /// Every path at which this build may have put a placeholder, without repetition.
    #[must_use]
    pub fn outputs(&self) -> Vec<PathBuf> {
        let mut seen = HashSet::new();
        let made = self.commands.iter().flat_map(|c| &c.outputs).chain(&self.placed);
        made.filter(|p| seen.insert(p.as_path())).cloned().collect()
    }

    /// Every path at which this build may have left a placeholder of the store. One whose recorder was killed may have gone on for a
    /// moment and renamed some, of which nobody could tell the trace: then all below its directory count.
    #[must_use]
    pub fn left(&self, store: &Store) -> Vec<PathBuf> {
        let mut paths = self.outputs();
        if self.end.is_none() {
            let known: HashSet<PathBuf> = paths.iter().cloned().collect();
            let found = placeholder::below(&self.cwd, store.root());
            paths.extend(found.into_iter().filter(|path| !known.contains(path)));
        }
        paths
    }

    /// Reads a trace file.
    ///
    /// # Errors
    /// It cannot be read, or is no trace. A trace whose end is missing is read as far as it goes.
    pub fn read(path: &Path) -> Result<Self> {
        let content = fs::read(path).map_err(Error::io("read the trace", path))?;
        Self::decode(&path.display().to_string(), &content)
    }

    /// Parses a trace file's content.
    ///
    /// # Errors
    /// It is no trace.
    pub fn decode(subject: &str, content: &[u8]) -> Result<Self> {
        let bad = |why: String| Error::malformed(subject, "trace", why);
        let mut rest =
            content.strip_prefix(MAGIC).ok_or_else(|| bad("it does not start with ##GGTRACE##1".into()))?;
        let first: wire::Record = framed::take(&mut rest).map_err(bad)?;
        let Some(wire::Kind::Begin(begin)) = first.kind else {
            return Err(bad("its first record does not begin a build".into()));
        };
        let mut trace = Self {
            cwd: to_path(&begin.cwd),
            argv: begin.argv.into_iter().map(OsString::from_vec).collect(),
            started_us: begin.started_us,
            ..Self::default()
        };
        let mut known = observed::Known::default();
        while !rest.is_empty() {
            let record: wire::Record = match framed::take(&mut rest) {
                Ok(record) => record,
                Err(why) => {
                    trace.cut = Some(why);
                    break;
                }
            };
            match record.kind {
                Some(wire::Kind::Command(command)) => {
                    trace.commands.push(read_command(command).map_err(bad)?)
                }
                Some(wire::Kind::Placed(path)) => trace.placed.push(checked_path(&path).map_err(bad)?),
                Some(wire::Kind::End(end)) => trace.end = Some((end.code, end.wall_us)),
                Some(wire::Kind::Tables(tables)) => known.extend(&tables).map_err(bad)?,
                Some(wire::Kind::Observed(message)) => {
                    trace.observed.push(known.decode(message).map_err(bad)?);
                }
                Some(wire::Kind::Standing(message)) => {
                    let standing = trace.standing.get_or_insert_default();
                    for wire::Stands { path, output } in message.paths {
                        let path = checked_path(&path).map_err(bad)?;
                        let output = OutputRef::parse(&output)
                            .ok_or_else(|| bad("a path at which no output stands".into()))?;
                        standing.push((path, output));
                    }
                }
                Some(wire::Kind::Packed(_)) => trace.packed = true,
                Some(wire::Kind::Begin(_)) | None => return Err(bad("a record of unknown kind".into())),
            }
        }
        Ok(trace)
    }

    /// The content of a trace file that says this.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let path = |path: &Path| path.as_os_str().as_bytes().to_vec();
        let mut numbers = observed::Numbers::default();
        let mut kinds = vec![wire::Kind::Begin(wire::Begin {
            cwd: path(&self.cwd),
            argv: self.argv.iter().map(|a| a.as_bytes().to_vec()).collect(),
            started_us: self.started_us,
        })];
        kinds.extend(self.placed.iter().map(|placed| wire::Kind::Placed(path(placed))));
        kinds.extend(self.commands.iter().map(|command| wire::Kind::Command(write_command(command))));
        for observed in &self.observed {
            let (tables, message) = numbers.encode(observed);
            kinds.extend(tables.map(wire::Kind::Tables));
            kinds.push(wire::Kind::Observed(message));
        }
        kinds.extend(self.standing.as_ref().map(|standing| {
            wire::Kind::Standing(write_standing(
                standing.iter().map(|(path, output)| (path.as_path(), output)),
            ))
        }));
        kinds.extend(self.packed.then_some(wire::Kind::Packed(wire::Packed {})));
        kinds.extend(self.end.map(|(code, wall_us)| wire::Kind::End(wire::End { code, wall_us })));
        let mut bytes = MAGIC.to_vec();
        for kind in kinds {
            framed::push(&mut bytes, &wire::Record { kind: Some(kind) });
        }
        bytes
    }

    /// The newest trace of a build that was started in `cwd` or in a directory above it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn latest(store: &Store, cwd: &Path) -> Result<Option<PathBuf>> {
        let directory = store.root().join("traces");
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(&directory).map_err(Error::io("list", &directory))? {
            let entry = entry.map_err(Error::io("list", &directory))?;
            names.extend(entry.file_name().into_string());
        }
        // The name goes on with the time.
        let newest = cwd
            .ancestors()
            .filter_map(|ancestor| {
                let prefix = prefix(ancestor);
                let of_ancestor = names.iter().filter_map(|name| Some((name.strip_prefix(&prefix)?, name)));
                of_ancestor.max()
            })
            .max();
        Ok(newest.map(|(_, name)| directory.join(name)))
    }
}

/// File names of one directory's traces start with this, and sort by time.
fn prefix(cwd: &Path) -> String {
    let name = ObjectName::of(ObjectKind::Value, cwd.as_os_str().as_bytes()).to_string();
    format!("{}-", &name[1..23])
}

fn checked_path(bytes: &[u8]) -> std::result::Result<PathBuf, String> {
    if crate::path::is_clean_absolute(bytes) {
        Ok(to_path(bytes))
    } else {
        Err(format!("path \"{}\" is not allowed", bytes[..bytes.len().min(200)].escape_ascii()))
    }
}

fn read_command(command: wire::Command) -> std::result::Result<Command, String> {
    let thunk = match command.thunk.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|e: Error| e.to_string())?),
    };
    Ok(Command {
        id: command.id,
        parent: command.parent,
        cwd: to_path(&command.cwd),
        argv: command.argv.into_iter().map(OsString::from_vec).collect(),
        program: to_path(&command.program),
        kind: command.kind,
        disposition: match command.disposition {
            0 => Disposition::Deferred,
            1 => Disposition::Declined,
            2 => Disposition::Ran,
            other => return Err(format!("disposition {other}")),
        },
        reason: command.reason,
        thunk,
        outputs: command.outputs.iter().map(|p| checked_path(p)).collect::<std::result::Result<_, _>>()?,
        at_us: command.at_us,
        took_us: command.took_us,
    })
}

fn write_standing<'a>(paths: impl IntoIterator<Item = (&'a Path, &'a OutputRef)>) -> wire::Standing {
    let stands = |(path, output): (&Path, &OutputRef)| wire::Stands {
        path: path.as_os_str().as_bytes().to_vec(),
        output: output.to_string().into_bytes(),
    };
    wire::Standing { paths: paths.into_iter().map(stands).collect() }
}

fn write_command(command: &Command) -> wire::Command {
    wire::Command {
        id: command.id,
        parent: command.parent,
        cwd: command.cwd.as_os_str().as_bytes().to_vec(),
        argv: command.argv.iter().map(|a| a.as_bytes().to_vec()).collect(),
        program: command.program.as_os_str().as_bytes().to_vec(),
        kind: command.kind.clone(),
        disposition: match command.disposition {
            Disposition::Deferred => 0,
            Disposition::Declined => 1,
            Disposition::Ran => 2,
        },
        reason: command.reason.clone(),
        thunk: command.thunk.map(|t| t.to_string()).unwrap_or_default(),
        outputs: command.outputs.iter().map(|p| p.as_os_str().as_bytes().to_vec()).collect(),
        at_us: command.at_us,
        took_us: command.took_us,
    }
}

/// A trace of one command that ran, for whoever wants to know it again.
#[must_use]
pub fn of_one(command: &Command, observed: &Observed) -> Vec<u8> {
    let begin = wire::Begin {
        cwd: command.cwd.as_os_str().as_bytes().to_vec(),
        argv: command.argv.iter().map(|a| a.as_bytes().to_vec()).collect(),
        started_us: 0,
    };
    let (tables, message) = observed::Numbers::default().encode(observed);
    let kinds = [
        Some(wire::Kind::Begin(begin)),
        Some(wire::Kind::Command(write_command(command))),
        tables.map(wire::Kind::Tables),
        Some(wire::Kind::Observed(message)),
    ];
    let mut bytes = MAGIC.to_vec();
    for kind in kinds.into_iter().flatten() {
        framed::push(&mut bytes, &wire::Record { kind: Some(kind) });
    }
    bytes
}

/// Appends to a trace file in the store. Used from several threads.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: Mutex<Tail>,
}

/// The file's end.
#[derive(Debug)]
struct Tail {
    file: File,
    copy: Option<Copy>,
    numbers: observed::Numbers,
}

impl Writer {
    /// Starts a trace in the store; when it ends, it is copied to `copy_to` where that is given. `left`: where placeholders
    /// stand already.
    ///
    /// # Errors
    /// The file cannot be made, or the copy could not be.
    pub fn create(
        store: &Store,
        copy_to: Option<&Path>,
        cwd: &Path,
        argv: &[OsString],
        left: &[PathBuf],
    ) -> Result<Self> {
        let copy = copy_to.map(Copy::begin).transpose()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let begin = wire::Begin {
            cwd: cwd.as_os_str().as_bytes().to_vec(),
            argv: argv.iter().map(|a| a.as_bytes().to_vec()).collect(),
            started_us: now.as_micros() as u64,
        };
        let mut bytes = MAGIC.to_vec();
        framed::push(&mut bytes, &wire::Record { kind: Some(wire::Kind::Begin(begin)) });
        for path in left {
            let path = path.as_os_str().as_bytes().to_vec();
            framed::push(&mut bytes, &wire::Record { kind: Some(wire::Kind::Placed(path)) });
        }
        // A trace that does not even begin would hide the one before it, and what that one left.
        let directory = store.root().join("traces");
        let path =
            directory.join(format!("{}{:020}-{}.trace", prefix(cwd), now.as_nanos(), std::process::id()));
        let mut begun = AtomicFile::create_in(&directory, 0o644)?;
        begun.write_all(&bytes).map_err(Error::io("write the trace", &path))?;
        let file = begun.file().try_clone().map_err(Error::io("write the trace", &path))?;
        begun.commit(&path)?;
        let tail = Tail { file, copy, numbers: observed::Numbers::default() };
        Ok(Self { path, file: Mutex::new(tail) })
    }

    /// Where the trace is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a command.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn command(&self, command: &Command) -> Result<()> {
        self.record(wire::Kind::Command(write_command(command)))
    }

    /// Adds a path at which a placeholder may stand from now on.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn placed(&self, path: &Path) -> Result<()> {
        self.record(wire::Kind::Placed(path.as_os_str().as_bytes().to_vec()))
    }

    /// Adds what a command did.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn observed(&self, observed: &Observed) -> Result<()> {
        let mut tail = self.tail();
        let before = tail.numbers.len();
        let (tables, message) = tail.numbers.encode(observed);
        let mut bytes = Vec::new();
        if let Some(tables) = tables {
            framed::push(&mut bytes, &wire::Record { kind: Some(wire::Kind::Tables(tables)) });
        }
        framed::push(&mut bytes, &wire::Record { kind: Some(wire::Kind::Observed(message)) });
        let written = self.append(&mut tail.file, &bytes);
        if written.is_err() {
            // The additions to the tables did not reach the file.
            tail.numbers.truncate(before);
        }
        written
    }

    /// Adds where outputs of deferred commands stand, the build being over.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn standing<'a>(&self, paths: impl IntoIterator<Item = (&'a Path, &'a OutputRef)>) -> Result<()> {
        self.record(wire::Kind::Standing(write_standing(paths)))
    }

    /// Ends the trace, and copies it to where it is wanted too.
    ///
    /// # Errors
    /// The file or the copy cannot be written to.
    pub fn end(&self, code: i32, wall_us: u64) -> Result<()> {
        self.record(wire::Kind::End(wire::End { code, wall_us }))?;
        let copy = self.tail().copy.take();
        copy.map_or(Ok(()), |copy| copy.finish(&self.path))
    }

    fn record(&self, kind: wire::Kind) -> Result<()> {
        let mut bytes = Vec::new();
        framed::push(&mut bytes, &wire::Record { kind: Some(kind) });
        self.append(&mut self.tail().file, &bytes)
    }

    fn tail(&self) -> std::sync::MutexGuard<'_, Tail> {
        self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn append(&self, file: &mut File, bytes: &[u8]) -> Result<()> {
        let start = file.stream_position();
        file.write_all(bytes).map_err(|error| {
            // A full disk takes a part of the record: what comes after that would not be read any more.
            if let Ok(start) = start
                && file.set_len(start).is_ok()
            {
                let _ = file.seek(SeekFrom::Start(start));
            }
            Error::io("write the trace", &self.path)(error)
        })
    }
}

/// A copy of a trace, outside of the store. That it could not be made is told before the build runs.
#[derive(Debug)]
struct Copy {
    path: PathBuf,
    to: Destination,
}

#[derive(Debug)]
enum Destination {
    /// A file that appears when it is whole.
    File(AtomicFile),
    /// A device or pipe.
    Stream(File),
}

impl Copy {
    fn begin(path: &Path) -> Result<Self> {
        let failed = || Error::io("write the trace", path);
        // Links lead to what is to be written.
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let to = match fs::metadata(&real) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(failed()(io::ErrorKind::IsADirectory.into()));
            }
            Ok(metadata) if !metadata.is_file() => {
                Destination::Stream(File::options().write(true).open(&real).map_err(failed())?)
            }
            _ => {
                let directory = real.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
                Destination::File(AtomicFile::nameless_in(directory, 0o666)?)
            }
        };
        Ok(Self { path: real, to })
    }

    fn finish(self, trace: &Path) -> Result<()> {
        let failed = || Error::io("write the trace", &self.path);
        let mut from = File::open(trace).map_err(Error::io("read the trace", trace))?;
        match self.to {
            Destination::Stream(mut file) => io::copy(&mut from, &mut file).map(drop).map_err(failed()),
            Destination::File(file) => {
                io::copy(&mut from, &mut file.file()).map_err(failed())?;
                file.commit(&self.path)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placeholder::{OutputRef, Placeholder};

    fn sample(store: &Store) -> PathBuf {
        let cwd = Path::new("/w/project");
        let left = ["/w/project/old.o".into()];
        let writer = Writer::create(store, None, cwd, &["make".into(), "-j2".into()], &left).unwrap();
        writer
            .command(&Command {
                id: 1,
                parent: 0,
                cwd: cwd.into(),
                argv: vec!["gcc".into(), "-c".into(), "a.c".into()],
                program: "/usr/bin/gcc".into(),
                kind: "compile".into(),
                disposition: Disposition::Deferred,
                reason: String::new(),
                thunk: Some(ObjectName::of(ObjectKind::Thunk, b"t")),
                outputs: vec!["/w/project/a.o".into()],
                at_us: 5,
                took_us: 7,
            })
            .unwrap();
        writer.placed(Path::new("/w/project/b.o")).unwrap();
        let output = OutputRef { thunk: ObjectName::of(ObjectKind::Thunk, b"t"), output: None };
        writer.standing([(Path::new("/w/project/b.o"), &output)]).unwrap();
        writer.end(0, 99).unwrap();
        writer.path().into()
    }

    #[test]
    fn a_trace_is_read_as_written_and_found_from_below() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let path = sample(&store);
        let trace = Trace::read(&path).unwrap();
        assert_eq!(trace.commands[0].argv, ["gcc", "-c", "a.c"]);
        assert_eq!(trace.outputs(), ["a.o", "old.o", "b.o"].map(|name| Path::new("/w/project").join(name)));
        assert_eq!((trace.end, &trace.cut), (Some((0, 99)), &None));
        let standing = trace.standing.clone().unwrap();
        assert_eq!((standing.len(), standing[0].0.as_path()), (1, Path::new("/w/project/b.o")));
        let packed = Trace { packed: true, ..trace };
        assert_eq!(Trace::decode("t", &packed.encode()).unwrap(), packed);
        assert_eq!(Trace::latest(&store, Path::new("/w/project/src")).unwrap(), Some(path));
        assert_eq!(Trace::latest(&store, Path::new("/w")).unwrap(), None);
    }

    #[test]
    fn what_a_killed_recorder_could_not_be_told_is_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let (store, work) = (Store::open(&root.join("store")).unwrap(), root.join("work"));
        let output = OutputRef { thunk: ObjectName::of(ObjectKind::Thunk, b"t"), output: None };
        let placeholder = |of: &Path| {
            Placeholder { output: output.clone(), store: of.into() }.encode(Path::new("/gg")).unwrap()
        };
        fs::create_dir_all(work.join("sub/deep")).unwrap();
        fs::write(work.join("sub/deep/a.o"), placeholder(store.root())).unwrap();
        fs::write(work.join("foreign.o"), placeholder(&root)).unwrap();
        fs::write(work.join("text"), "text").unwrap();
        std::os::unix::fs::symlink("..", work.join("sub/up")).unwrap();
        let writer = Writer::create(&store, None, &work, &["make".into()], &[]).unwrap();
        writer.placed(&work.join("b.o")).unwrap();
        let left = || Trace::read(writer.path()).unwrap().left(&store);
        assert_eq!(left(), ["b.o", "sub/deep/a.o"].map(|name| work.join(name)));
        writer.end(0, 9).unwrap();
        assert_eq!(left(), [work.join("b.o")]);
    }

    #[test]
    fn a_trace_that_cannot_be_begun_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for impossible in [dir.path(), Path::new("/proc/trace"), &dir.path().join("none/trace")] {
            assert!(Writer::create(&store, Some(impossible), Path::new("/w"), &[], &[]).is_err());
        }
        assert_eq!(Trace::latest(&store, Path::new("/w")).unwrap(), None);
        fs::remove_dir(dir.path().join("traces")).unwrap();
        fs::write(dir.path().join("traces"), "").unwrap();
        assert!(Writer::create(&store, None, Path::new("/w"), &[], &[]).is_err());
    }

    #[test]
    fn a_trace_is_in_the_store_whoever_wants_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let (copy, link) = (dir.path().join("copy"), dir.path().join("link"));
        std::os::unix::fs::symlink("copy", &link).unwrap();
        fs::write(&copy, "an older one").unwrap();
        for to in [&copy, &link] {
            let writer = Writer::create(&store, Some(to), Path::new("/w"), &["make".into()], &[]).unwrap();
            writer.placed(Path::new("/w/a.o")).unwrap();
            assert_eq!(Trace::latest(&store, Path::new("/w")).unwrap().as_deref(), Some(writer.path()));
            writer.end(0, 5).unwrap();
            assert_eq!(fs::read(writer.path()).unwrap(), fs::read(&copy).unwrap());
        }
        assert!(link.is_symlink());
        let full = Path::new("/dev/full");
        let writer = Writer::create(&store, Some(full), Path::new("/w"), &[], &[]).unwrap();
        let why = writer.end(0, 5).unwrap_err().to_string();
        assert!(why.starts_with("/dev/full: cannot write the trace: "), "{why}");
    }

    #[test]
    fn a_trace_cut_anywhere_is_read_up_to_there_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let content = fs::read(sample(&store)).unwrap();
        for end in 0..content.len() {
            if let Ok(trace) = Trace::decode("t", &content[..end]) {
                assert!(trace.end.is_none());
            }
            let mut flipped = content.clone();
            flipped[end] ^= 0x20;
            if let Ok(trace) = Trace::decode("t", &flipped) {
                assert!(trace.cut.is_some(), "byte {end}");
            }
        }
    }
}
