// SPDX-License-Identifier: Apache-2.0
//! What `mv -f` and `rm -f` do, and cmake to tell how far a build is, done by the recorder in their place. Makefiles of
//! Automake and CMake have one of them for each file that is compiled; to start the program, and before it a shell, and to
//! write down all that these look at, takes a hundred times as long as what they do.
//!
//! Knows the first two in the forms in which they cannot ask or print. Where one of them does not work after all, nothing
//! has been done that it would not do again: it is started, and says itself what is wrong.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use models::Invocation;
use models::recognise::Program;
use nix::unistd::{AccessFlags, access};
use observe::{Access, Event, Kind, Place, Transfer};
use thunk::trace::{Observed, Status, Touch, Uses, clean};
use thunk::{AtomicFile, ObjectKind, Placeholder, is_made_up, real_place};

use crate::carrying::has_others_preloaded;
use crate::cmake::Progress;
use crate::defer::gives_access;
use crate::looks::is_gone;
use crate::programs::Facts;
use crate::recorder::Recorder;
use crate::request::Exec;
use crate::undo::Put;

/// `mv -f`: what Automake has the shell do with a dependency file once it is complete.
pub struct Move {
    /// The name that the file has.
    pub from: PathBuf,
    /// The name that it gets, whatever has that.
    pub to: PathBuf,
}

impl Move {
    /// What this program is to do, if it can but work once the file is there.
    pub fn of(recorder: &Recorder, exec: &Exec) -> Option<Self> {
        let [from, to] = operands(recorder, exec, "mv", Program::Mover)? else { return None };
        let [(from, left), (to, entered)] = [operand(recorder, exec, from)?, operand(recorder, exec, to)?];
        // A link is not moved onto what it leads to; and into a directory it would be put.
        let may_be = fs::symlink_metadata(&from).map_or(true, |file| file.is_file()) && !to.is_dir();
        let device = |directory: &Path| {
            let may = access(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_ok();
            fs::metadata(directory).ok().filter(|_| may).map(|metadata| metadata.dev())
        };
        let is_same = left == entered && from.file_name() == to.file_name();
        (may_be && !is_same && device(&left)? == device(&entered)?).then_some(Self { from, to })
    }

    /// Does it.
    ///
    /// # Errors
    /// It cannot be done.
    pub fn make(&self, recorder: &Recorder) -> thunk::Result<()> {
        // As with all placeholders: where one may stand is written down before it does.
        recorder.note_outputs([real_place(&self.to).unwrap_or_else(|_| self.to.clone())])?;
        recorder.puts(&self.from);
        fs::rename(&self.from, &self.to).map_err(|error| thunk::Error::Io {
            what: "move to its place",
            path: self.from.clone(),
            error,
        })?;
        recorder.note_placed(&self.to, Some(&self.from), false)
    }
}

/// What a program is to do that the recorder can do itself.
pub enum Carry {
    /// A placeholder of ours gets another name.
    Move(Move, Placeholder),
    /// These are removed, as far as they are there.
    Remove(Vec<PathBuf>),
    /// How far the build is.
    Tell(Progress),
}

/// What was done in a program's place.
pub struct Done {
    /// To which paths.
    pub touches: Vec<Touch>,
    /// What it prints.
    pub prints: Vec<u8>,
    /// Why that is nothing to be done again for the same inputs.
    pub obstacle: &'static str,
}

impl Carry {
    /// What this program is to do, if the recorder can do it.
    pub fn of(recorder: &Recorder, exec: &Exec, facts: &Facts) -> Option<Self> {
        if facts.program == Program::CMake {
            return Progress::of(recorder, exec, facts).map(Self::Tell);
        }
        if let Some(names) = operands(recorder, exec, "rm", Program::Remover) {
            let removes = |name: &OsString| {
                let (path, _) = operand(recorder, exec, name)?;
                let may =
                    |file: io::Result<Metadata>| file.map_or_else(|e| is_gone(&e), |file| !file.is_dir());
                may(fs::symlink_metadata(&path)).then_some(path)
            };
            return names.iter().map(removes).collect::<Option<_>>().map(Self::Remove);
        }
        let moved = Move::of(recorder, exec)?;
        // Of another file nobody could tell whether it is to be taken back.
        let placeholder = Placeholder::read(&moved.from).ok().flatten()?;
        let [from, to] = [&moved.from, &moved.to].map(|path| fs::symlink_metadata(path).ok());
        let is_linked =
            to.is_some_and(|to| from.is_some_and(|from| (from.dev(), from.ino()) == (to.dev(), to.ino())));
        (!is_linked).then_some(Self::Move(moved, placeholder))
    }

    /// Does it, as the command with this number. Nothing where it could not be done.
    pub fn make(self, recorder: &Recorder, id: u32) -> Option<Done> {
        let touches = match self {
            Self::Tell(progress) => return progress.make(recorder, id),
            Self::Move(moved, placeholder) => {
                let found = moved.to.symlink_metadata().is_ok();
                let (from, to) = (place(&moved.from), place(&moved.to));
                moved.make(recorder).ok()?;
                let put = Put::Placeholders(placeholder.output.thunk, vec![moved.to]);
                recorder.placed.note(id, vec![put]);
                let stood = if found { Uses::FOUND | Uses::AGAIN } else { Uses::MISSING | Uses::NEW };
                let mode = to.real().symlink_metadata().ok().map(|file| file.mode() & 0o7777);
                let touches = vec![
                    touch(&from, Uses::FOUND | Uses::MOVED_AWAY | Uses::INPUT),
                    Touch { mode, ..touch(&to, stood | Uses::MOVED_HERE | Uses::OUTPUT) },
                ];
                recorder.did(id, &Event::Transferred(Transfer::Rename, from, to));
                touches
            }
            Self::Remove(paths) => {
                paths.iter().map(|path| remove(recorder, id, path)).collect::<Option<_>>()?
            }
        };
        Some(Done { touches, prints: Vec::new(), obstacle: "moves or removes files" })
    }
}

/// What the trace says of such a command.
pub fn observed(recorder: &Recorder, id: u32, mut touches: Vec<Touch>, obstacle: &str) -> Observed {
    Touch::join(&mut touches);
    Observed {
        id,
        status: Status::Exited(0),
        ended_us: recorder.started.elapsed().as_micros() as u64,
        thunk: None,
        touches,
        obstacles: vec![obstacle.into()],
        descriptors: Vec::new(),
    }
}

/// What follows `-f`, if the program is coreutils' of this name, and no library of others is in it that wants to see what it does.
fn operands<'a>(recorder: &Recorder, exec: &'a Exec, called: &str, known: Program) -> Option<&'a [OsString]> {
    let Invocation { program, argv, .. } = &exec.invocation;
    let [name, option, operands @ ..] = &argv[..] else { return None };
    let is_called = Path::new(name).file_name() == Some(OsStr::new(called));
    if !is_called || option != "-f" {
        return None;
    }
    let facts = recorder.program(program, name).ok()?;
    (facts.program == known && !has_others_preloaded(recorder, &exec.invocation)).then_some(operands)
}

/// The path that an operand names, and the real one of its directory: nothing where the process may find another file there than the
/// recorder does, as below `/proc/self`, or the operand is none of a file.
pub fn operand(recorder: &Recorder, exec: &Exec, name: &OsStr) -> Option<(PathBuf, PathBuf)> {
    let path = exec.invocation.absolute(name);
    let is_name = !name.as_bytes().starts_with(b"-") && !name.as_bytes().ends_with(b"/");
    path.file_name().filter(|_| is_name)?;
    let mut steps = recorder.steps();
    let directory = steps.lead(path.parent()?).ok()?;
    let is_elsewhere =
        [&path, &directory].into_iter().chain(steps.footprint.links.keys()).any(|path| is_made_up(path));
    (!is_elsewhere).then_some((path, directory))
}

/// `rm -f`, as the command with this number. Nothing where it would fail.
pub fn remove(recorder: &Recorder, id: u32, path: &Path) -> Option<Touch> {
    let place = place(path);
    match fs::remove_file(path) {
        Ok(()) => {
            let touch = touch(&place, Uses::FOUND | Uses::REMOVED);
            recorder.did(id, &Event::Removed(place));
            Some(touch)
        }
        // `rm -f` takes that for what it wants.
        Err(error) => is_gone(&error).then(|| touch(&place, Uses::MISSING)),
    }
}

/// Writes a small file, as the command with this number. Nothing where that cannot be done.
pub fn write(recorder: &Recorder, id: u32, path: &Path, text: &[u8], umask: u32) -> Option<Touch> {
    let real = real_place(path).ok()?;
    let directory = real.parent()?;
    if gives_access(directory) {
        return None;
    }
    let mode = 0o666 & !umask;
    let mut file = AtomicFile::nameless_in(directory, 0o600).ok()?;
    file.write_all(text).ok()?;
    file.file().set_permissions(fs::Permissions::from_mode(mode)).ok()?;
    recorder.puts(&real);
    file.commit(&real).ok()?;
    let place = place(path);
    let access = Access { reads: false, writes: true, created: true, emptied: false };
    recorder.did(id, &Event::Opened(place.clone(), Kind::File, access));
    let value = recorder.store.put(ObjectKind::Value, text).ok()?;
    let uses = Uses::CREATED | Uses::WRITTEN | Uses::OUTPUT;
    Some(Touch { after: Some(value), mode: Some(mode), ..touch(&place, uses) })
}

/// A path as events have it.
pub fn place(path: &Path) -> Place {
    Place::new(observe::tidy(path), real_place(path).ok())
}

/// As with commands that were observed: as it was named, unless that goes upwards.
pub fn touch(place: &Place, uses: Uses) -> Touch {
    let is_clean = clean(&place.named).is_some_and(|clean| clean == place.named);
    let path = if is_clean { &*place.named } else { place.real() };
    Touch { path: path.into(), uses, before: None, after: None, mode: None }
}
