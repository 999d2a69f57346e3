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

/// What is known of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meaning {
    /// What it does.
    Known(Call),
    /// That it touches no path.
    Nothing,
    /// Nothing is.
    Foreign,
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

/// What a call does with a symbolic link at the end of its path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Links {
    /// It goes where the link leads.
    Followed,
    /// The link itself is meant.
    Kept,
    /// Followed, unless `AT_SYMLINK_NOFOLLOW` is set in this argument.
    KeptIf(u8),
    /// Kept, unless `AT_SYMLINK_FOLLOW` is set in this argument.
    FollowedIf(u8),
}

/// What may be removed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Removal {
    /// Anything but a directory.
    File,
    /// An empty directory.
    Directory,
    /// A directory if `AT_REMOVEDIR` is set in this argument, else anything else.
    By(u8),
}

/// Which of the attributes of a file are changed, which tells who may.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attribute {
    /// Its mode.
    Mode,
    /// Its owner, to the one in this argument.
    Owner(u8),
    /// Its times, to those that this argument points to; to now if it is null.
    Times(u8),
    /// An extended attribute, or something else that only who may write to the file may change.
    Other,
}

/// What a call writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Text {
    /// What this argument points to; the next one has its length.
    Buffer(u8),
    /// What the vector that this argument points to describes; the next one has the number of its parts.
    Vector(u8),
    /// What the kernel moves there from elsewhere.
    Elsewhere,
}

/// What a system call does to the file system.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    /// Opens a file.
    Open(At, Flags),
    /// Asks something about a path: what is it, where does it point.
    LookUp(At, Links),
    /// Asks whether what is in the second argument named may be done: the path, the links, the argument.
    Access(At, Links, u8),
    /// Reads the entries of an open directory.
    List(At),
    /// Changes the content of an existing file without opening it.
    Truncate(At),
    /// Makes something that is not a regular file, or an empty file.
    Make(At),
    /// Makes a symbolic link; the argument with its target, and the link itself.
    Symlink(u8, At),
    /// Makes a hard link: the old name and the new one, and what becomes of a link at the old one.
    Link(At, At, Links),
    /// Renames: the old name and the new one, and the argument with `renameat2`'s flags.
    Rename(At, At, Option<u8>),
    /// Removes a name.
    Remove(At, Removal),
    /// Changes attributes.
    Attributes(At, Links, Attribute),
    /// Executes a program; the argument that points to its arguments, before that which points to its environment.
    Exec(At, u8),
    /// `connect`: looks up the path in the socket address of argument 1.
    Connect,
    /// `bind`: makes the path in the socket address of argument 1.
    Bind,
    /// `socket`: tells whether the command uses a network.
    Socket,
    /// Opens memory, messages or semaphores that have no path and that others may have open, if the key in this argument is not that of new ones.
    Share(Option<u8>),
    /// Reads from standard input: asked about only if it is the descriptor in this argument.
    Input(u8),
    /// Writes to standard output or error: asked about only if it is the descriptor in this argument.
    Print(u8, Text),
    /// Has the kernel move data: asked about only if it comes from standard input, the descriptor in the first argument named, or goes to
    /// standard output or error, the one in the second.
    Pass(u8, u8),
    /// Changes the working directory to this.
    Move(At),
    /// May change which files the process finds at a path; the path that it looks up.
    Remount(At),
    /// Enters namespaces that others are in, or those of its own that the flags in this argument say.
    Depart(Option<u8>),
    /// `ptrace`: tells whether a process is to be traced, of which there can be one tracer only. The argument with what is asked for.
    Trace(u8),
    /// Ends the process, with the code in this argument.
    Exit(u8),
    /// Is never executed: fails with this error. For what would reach files without our seeing it.
    Refuse(i32),
}

impl Call {
    /// Is there another way to know of it for a tracer, which learns of every end and looks everything up anew?
    pub(crate) const fn is_for_the_net_only(self) -> bool {
        matches!(self, Call::Exit(_))
    }

    /// Does it matter to a tracer only?
    pub(crate) const fn is_for_a_tracer_only(self) -> bool {
        matches!(self, Call::Trace(_))
    }

    /// The arguments of which one has to be such a descriptor for the call to matter; none if it always does.
    pub(crate) const fn descriptors(self) -> [Option<Descriptors>; 2] {
        match self {
            Call::Input(fd) => [Some(Descriptors::input(fd)), None],
            Call::Print(fd, _) => [Some(Descriptors::output(fd)), None],
            Call::Pass(from, to) => [Some(Descriptors::input(from)), Some(Descriptors::output(to))],
            _ => [None, None],
        }
    }

    /// Does it matter with some descriptors only?
    pub(crate) const fn is_for_some_descriptors_only(self) -> bool {
        self.descriptors()[0].is_some()
    }

    /// Does it matter with these arguments, as far as descriptors tell?
    pub(crate) fn minds(self, args: &[u64; 6]) -> bool {
        let mut descriptors = self.descriptors().into_iter().flatten();
        !self.is_for_some_descriptors_only() || descriptors.any(|descriptors| descriptors.has(args))
    }
}

/// An argument that is one of some descriptors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptors {
    /// The argument.
    pub arg: u8,
    /// The first of them.
    pub first: u32,
    /// The last.
    pub last: u32,
}

impl Descriptors {
    const fn input(arg: u8) -> Self {
        Self { arg, first: 0, last: 0 }
    }

    const fn output(arg: u8) -> Self {
        Self { arg, first: 1, last: 2 }
    }

    /// Is it one in this call?
    pub(crate) const fn has(self, args: &[u64; 6]) -> bool {
        // Descriptors are ints: the low half.
        let fd = args[self.arg as usize] as u32;
        self.first <= fd && fd <= self.last
    }
}
