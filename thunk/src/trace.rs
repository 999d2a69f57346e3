// SPDX-License-Identifier: Apache-2.0
//! The trace file: the record of one build, its commands in order, their thunks, and which path each output went to.
//! A magic line, then records that are appended one by one as the build goes on: a recorder that is killed
//! leaves a trace that can be read up to that point.

mod ages;
mod current;
mod failure;
mod observed;
mod products;
mod wire;
mod writer;

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::framed;
use crate::name::{ObjectKind, ObjectName};
use crate::path::to_path;
use crate::placeholder;
use crate::placeholder::OutputRef;
use crate::store::Store;

pub use ages::ages;
pub use current::{Change, Current, Look, Now, Verdict, listing, names, runnable_now};
pub use observed::{Observed, Status, Touch, Uses, clean};
pub use products::{Product, Products, Step};
pub use writer::Writer;

const MAGIC: &[u8] = b"##GGTRACE##1\n";

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

impl Command {
    /// How messages name it.
    #[must_use]
    pub fn title(&self) -> String {
        const LONG: usize = 80;
        let words: Vec<_> = self.argv.iter().map(|word| word.to_string_lossy()).collect();
        // A recipe of several lines is no message of several.
        let line = words.join(" ").replace(char::is_control, " ");
        match line.char_indices().nth(LONG) {
            Some((end, _)) => format!("command {} ({} …)", self.id, &line[..end]),
            None => format!("command {} ({line})", self.id),
        }
    }
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
                    trace.commands.push(wire::read_command(command).map_err(bad)?)
                }
                Some(wire::Kind::Placed(path)) => trace.placed.push(wire::checked_path(&path).map_err(bad)?),
                Some(wire::Kind::End(end)) => trace.end = Some((end.code, end.wall_us)),
                Some(wire::Kind::Tables(tables)) => known.extend(&tables).map_err(bad)?,
                Some(wire::Kind::Observed(message)) => {
                    trace.observed.push(known.decode(message).map_err(bad)?);
                }
                Some(wire::Kind::Standing(message)) => {
                    let standing = trace.standing.get_or_insert_default();
                    for wire::Stands { path, output } in message.paths {
                        let path = wire::checked_path(&path).map_err(bad)?;
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
        kinds.extend(self.commands.iter().map(|command| wire::Kind::Command(wire::write_command(command))));
        for observed in &self.observed {
            let (tables, message) = numbers.encode(observed);
            kinds.extend(tables.map(wire::Kind::Tables));
            kinds.push(wire::Kind::Observed(message));
        }
        kinds.extend(self.standing.as_ref().map(|standing| {
            wire::Kind::Standing(wire::write_standing(
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
        Ok(Self::all_latest(store, cwd)?.into_iter().next())
    }

    /// That one; that of the last build that was started in `cwd` itself, where it is another; and those of builds that were still going
    /// on there when one of these began. A build does not know what those leave: one of a part of its project, or one beside it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn all_latest(store: &Store, cwd: &Path) -> Result<Vec<PathBuf>> {
        let directory = store.root().join("traces");
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(&directory).map_err(Error::io("list", &directory))? {
            let entry = entry.map_err(Error::io("list", &directory))?;
            names.extend(entry.file_name().into_string());
        }
        // The name goes on with the time.
        let newest_in = |directory: &Path| {
            let prefix = prefix(directory);
            names.iter().filter_map(|name| Some((name.strip_prefix(&prefix)?, name))).max()
        };
        let own = newest_in(cwd);
        let newest = cwd.ancestors().skip(1).filter_map(newest_in).chain(own).max();
        let last: Vec<_> =
            newest.into_iter().chain(own.filter(|_| own != newest)).map(|(_, name)| name).collect();
        let is_beside = |name: &&String| {
            last.iter().any(|last| {
                directory_of(name) == directory_of(last)
                    && name < last
                    && written(&directory.join(name)) >= started(last)
            })
        };
        let beside = names.iter().filter(is_beside);
        Ok(last.iter().copied().chain(beside).map(|name| directory.join(name)).collect())
    }
}

/// Which directory's trace a file of this name is: the same text for those of one directory, in which later names sort after earlier
/// ones. `None` for one that came in a pack.
pub(crate) fn directory_of(name: &str) -> Option<&str> {
    let (directory, _) = name.split_at_checked(DIRECTORY + 1)?;
    directory.ends_with('-').then_some(directory)
}

/// When a build began, by the name of its trace, since the epoch.
fn started(name: &str) -> Option<Duration> {
    let time = name.get(DIRECTORY + 1..)?.split('-').next()?;
    Some(Duration::from_nanos(time.parse().ok()?))
}

/// When the file was last written to, which is the end of a build that is over.
fn written(trace: &Path) -> Option<Duration> {
    fs::metadata(trace).ok()?.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()
}

/// How long the part of a trace's name is that stands for its directory.
const DIRECTORY: usize = 22;

/// File names of one directory's traces start with this, and sort by time.
fn prefix(cwd: &Path) -> String {
    let name = ObjectName::of(ObjectKind::Value, cwd.as_os_str().as_bytes()).to_string();
    format!("{}-", &name[1..=DIRECTORY])
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

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
        writer.placed([Path::new("/w/project/b.o")]).unwrap();
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
    fn a_build_of_the_project_does_not_hide_that_of_a_part() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let begin = |cwd: &str| Writer::create(&store, None, Path::new(cwd), &["make".into()], &[]).unwrap();
        let latest = |cwd: &str| Trace::all_latest(&store, Path::new(cwd)).unwrap();
        // Its last record; file systems count time in steps.
        let end = |trace: &Path| {
            std::thread::sleep(Duration::from_millis(20));
            fs::File::options().append(true).open(trace).unwrap().write_all(b"x").unwrap();
            std::thread::sleep(Duration::from_millis(20));
        };
        let part = begin("/w/part").path().to_owned();
        end(&part);
        assert_eq!(latest("/w/part/deep"), [&*part]);
        let whole = begin("/w").path().to_owned();
        assert_eq!(latest("/w/part"), [&*whole, &*part]);
        assert_eq!(latest("/w/part/deep"), [&*whole]);
        assert_eq!(latest("/w"), [&*whole]);
        // That one goes on while another begins.
        let beside = begin("/w").path().to_owned();
        end(&whole);
        assert_eq!(latest("/w"), [&*beside, &*whole]);
        end(&beside);
        let next = begin("/w").path().to_owned();
        assert_eq!(latest("/w"), [next]);
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
        writer.placed([work.join("b.o").as_path()]).unwrap();
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
            writer.placed([Path::new("/w/a.o")]).unwrap();
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
