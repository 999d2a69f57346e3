// SPDX-License-Identifier: Apache-2.0
//! What is told about a process: one [`Event`] per thing that it did to the file system. Knows no system calls and
//! keeps nothing; see [`crate::summary`] for what does.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::Pid;

/// A path, as a process named it and as it is.
///
/// `named` is absolute: joined with the process's directory, or with what its directory descriptor stands for. `..`
/// and links are left in it. Seen from the process's own root and mounts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// As the process named it.
    pub named: PathBuf,
    /// With all links resolved, where that is known and differs from `named`.
    pub real: Option<PathBuf>,
}

impl Place {
    /// A place, and where it really is, as far as that is known.
    #[must_use]
    pub fn new(named: PathBuf, real: Option<PathBuf>) -> Self {
        // As bytes: both are tidy, and paths are compared slowly by their components.
        let real = real.filter(|real| real.as_os_str() != named.as_os_str());
        Self { named, real }
    }

    /// The path with links resolved, as far as it is known.
    #[must_use]
    pub fn real(&self) -> &Path {
        self.real.as_deref().unwrap_or(&self.named)
    }
}

/// Why the kernel opened a file when a program was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is what was asked for.
    Program,
    /// It is in the first line of the script that was asked for, or of its interpreter.
    Interpreter,
    /// It loads the shared libraries of the program.
    Loader,
}

/// A regular file, something to list, or anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A device, a pipe, a socket.
    Special,
}

/// What an open file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// It can be read.
    pub reads: bool,
    /// It can be written.
    pub writes: bool,
    /// It was not there before.
    pub created: bool,
    /// It was emptied.
    pub emptied: bool,
}

/// How an entry that names existing content came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// The old name is gone, and what was at the new one too.
    Rename,
    /// The same by a call that fails if something is at the new name (`RENAME_NOREPLACE`).
    RenameToNew,
    /// Both names exist and have changed places.
    Exchange,
    /// Both names stand for the same file.
    Link,
}

/// One of the descriptors 0 to 2, and what it leads to: device, inode, and of a device itself which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    /// Its number.
    pub fd: i32,
    /// The device of the file.
    pub dev: u64,
    /// The inode of the file.
    pub ino: u64,
    /// `st_rdev`.
    pub rdev: u64,
}

/// Something that a process did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It opened a file (`truncate` is an opening for writing, too).
    Opened(Place, Kind, Access),
    /// The kernel opened a file in order to execute a program.
    Executed(Place, Role),
    /// It asked for a path and something was there.
    Found(PathBuf),
    /// It asked for a path and nothing was there, or no directory on the way to it.
    Missing(PathBuf),
    /// It asked for a path and was not allowed to know or to do it.
    Denied(PathBuf),
    /// It read the entries of a directory.
    Listed(PathBuf),
    /// It made a directory, a device, a pipe, a socket or an empty file.
    Made(Place),
    /// It made a symbolic link with this target.
    Symlinked(Place, PathBuf),
    /// It gave content a second or another name: the old one, the new one.
    Transferred(Transfer, Place, Place),
    /// It removed a name.
    Removed(Place),
    /// It changed mode, owner, times or extended attributes.
    Attributes(PathBuf),
    /// It started another process, which has this id. Both run from then on, so this may come after the first events of
    /// the new one.
    Forked(Pid),
    /// It ended.
    Ended(ExitStatus),
    /// It opened a socket that is not of this machine only.
    Network,
    /// It opens memory, messages or semaphores that other processes may have open, and that are no files.
    Shares,
    /// It changes which files it finds at a path, or enters namespaces, or tries to: another root, other mounts.
    Remounted,
    /// It is about to change its working directory.
    Moved,
    /// It is about to read from what is its standard input.
    Input(Stream),
    /// It is about to write to what is its standard output or error; what, if that is known. All of it, most likely.
    Printed(Stream, Option<Vec<u8>>),
    /// It traces another process, or has its own traced, or tries to. Told by a tracer, under which it cannot.
    Traces,
    /// It made a 32-bit or x32 system call, which is not looked into: what this process does is not all known.
    Foreign,
    /// A call named a file in a way that could not be read from outside: what this process does is not all known.
    Gap,
}

/// Takes the events of all processes, in the order in which they happened.
pub trait Sink: Send {
    /// `process` did this.
    fn event(&mut self, process: Pid, event: Event);
}
