// SPDX-License-Identifier: Apache-2.0
//! Writes a trace while the build goes on: appends records to its file in the store, and copies it at the end. Knows no
//! more of what is in a record than who reads it does.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::{Command, Observed, Trace, observed, prefix, wire};
use crate::atomic::AtomicFile;
use crate::error::{Error, Result};
use crate::framed;
use crate::placeholder::OutputRef;
use crate::store::Store;

/// Appends to a trace file in the store. Used from several threads.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    started: Instant,
    file: Mutex<Tail>,
}

/// The file's end.
#[derive(Debug)]
struct Tail {
    file: File,
    /// How long it is: nobody else writes to it.
    length: u64,
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
        let started = Instant::now();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let begin = Trace {
            cwd: cwd.to_path_buf(),
            argv: argv.to_vec(),
            started_us: now.as_micros() as u64,
            placed: left.to_vec(),
            ..Trace::default()
        };
        let bytes = begin.encode();
        // A trace that does not even begin would hide the one before it, and what that one left.
        let directory = store.root().join("traces");
        let path =
            directory.join(format!("{}{:020}-{}.trace", prefix(cwd), now.as_nanos(), std::process::id()));
        let mut begun = AtomicFile::create_in(&directory, 0o644)?;
        begun.write_all(&bytes).map_err(Error::io("write the trace", &path))?;
        let file = begun.file().try_clone().map_err(Error::io("write the trace", &path))?;
        begun.commit(&path)?;
        let tail = Tail { file, length: bytes.len() as u64, copy, numbers: observed::Numbers::default() };
        Ok(Self { path, started, file: Mutex::new(tail) })
    }

    /// When it begins: all times in it count from there.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
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
        self.record(wire::Kind::Command(wire::write_command(command)))
    }

    /// Adds paths at which placeholders may stand from now on.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn placed<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        let mut bytes = Vec::new();
        for path in paths {
            let kind = Some(wire::Kind::Placed(path.as_os_str().as_bytes().to_vec()));
            framed::push(&mut bytes, &wire::Record { kind });
        }
        if bytes.is_empty() { Ok(()) } else { self.append(&mut self.tail(), &bytes) }
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
        let written = self.append(&mut tail, &bytes);
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
        self.record(wire::Kind::Standing(wire::write_standing(paths)))
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
        self.append(&mut self.tail(), &bytes)
    }

    fn tail(&self) -> std::sync::MutexGuard<'_, Tail> {
        self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn append(&self, tail: &mut Tail, bytes: &[u8]) -> Result<()> {
        let Tail { file, length, .. } = tail;
        file.write_all(bytes).map_err(|error| {
            // A full disk takes a part of the record: what comes after that would not be read any more.
            if file.set_len(*length).is_ok() {
                let _ = file.seek(SeekFrom::Start(*length));
            }
            Error::io("write the trace", &self.path)(error)
        })?;
        *length += bytes.len() as u64;
        Ok(())
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
