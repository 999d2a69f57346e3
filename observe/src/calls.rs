// SPDX-License-Identifier: Apache-2.0
//! The vocabulary of the system call table: what a call does to the file system, and which of its arguments say
//! where. Knows no numbers (they are the architecture's, see `x86_64.rs`) and no processes.
//!
//! A call of the old style is its `*at` form with the working directory as the base, so `open`, `openat` and
//! `openat2` are one [`Call`] and are handled by the same lines.

/// One row of the table: a system call and what is done about it.
pub(crate) struct Row {
    /// Its number in the kernel's native table.
    pub nr: u32,
    /// What it does.
    pub call: Call,
}

/// Where a path argument is relative to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    /// The working directory.
    Cwd,
    /// The descriptor in this argument, which may be `AT_FDCWD`.
    Fd(u8),
}

/// A place in the file system, as a call's arguments name it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    /// The string in argument `path`, relative to `base`.
    Path {
        /// What it is relative to.
        base: Base,
        /// The argument that points to the string.
        path: u8,
    },
    /// The file that is open as the descriptor in this argument.
    Fd(u8),
}

/// The path in argument `path`, relative to the working directory.
pub(crate) const fn cwd(path: u8) -> At {
    At::Path { base: Base::Cwd, path }
}

/// The path in argument `path`, relative to the descriptor in argument `fd`.
pub(crate) const fn dir(fd: u8, path: u8) -> At {
    At::Path { base: Base::Fd(fd), path }
}

/// The open file in argument `fd`.
pub(crate) const fn fd(fd: u8) -> At {
    At::Fd(fd)
}

/// Where the flags of an open are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flags {
    /// In this argument.
    Arg(u8),
    /// In the first word of the `open_how` that this argument points to.
    How(u8),
    /// Always these.
    Always(i32),
}

/// What a system call does to the file system.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    /// Opens a file.
    Open(At, Flags),
    /// Asks something about a path: does it exist, what is it, where does it point.
    LookUp(At),
    /// Reads the entries of an open directory.
    List(At),
    /// Changes the content of an existing file without opening it.
    Truncate(At),
    /// Makes something that is not a regular file, or an empty file.
    Make(At),
    /// Makes a symbolic link; the argument with its target, and the link itself.
    Symlink(u8, At),
    /// Makes a hard link: the old name and the new one.
    Link(At, At),
    /// Renames: the old name and the new one, and the argument with `renameat2`'s flags.
    Rename(At, At, Option<u8>),
    /// Removes a name.
    Remove(At),
    /// Changes mode, owner, times or extended attributes.
    Attributes(At),
    /// Executes a program.
    Exec(At),
    /// `connect`: looks up the path in the socket address of argument 1.
    Connect,
    /// `bind`: makes the path in the socket address of argument 1.
    Bind,
    /// `socket`: tells whether the command uses a network.
    Socket,
    /// Is never executed: fails with this error. For what would reach files without our seeing it.
    Refuse(i32),
}
