// SPDX-License-Identifier: Apache-2.0
//! What interceptor and tracer say to each other: one request and one reply per connection of a Unix stream
//! socket. Knows nothing of thunks, models or processes; no allocation, no std, so that the preload library
//! can use it in a signal handler or between `vfork` and `exec`.
//!
//! ```text
//! request   ┌──────────────┬──────────────────────────────────────────────────────────────┐
//!           │ Request (136)│ payload, `len` bytes: `others` Descriptors, then strings     │
//!           └──────────────┴──────────────────────────────────────────────────────────────┘
//!             Exec:   path, cwd, argv[0..argc], envp[0..envc]
//!             Open, Change: path (absolute, or relative to cwd), cwd
//!             Placed: new path, cwd, old path ("" where there is none)
//!             Undo:   path, cwd (neither is looked at)
//! reply     ┌───────────┬─────────────────────────────────────────────────────┐
//!           │ Reply (32)│ payload: what is written to standard output or error │
//!           └───────────┴─────────────────────────────────────────────────────┘
//! ```
//!
//! All integers are in the machine's byte order: both ends are on one machine, and of one version, which is
//! the first thing either of them looks at.
#![no_std]

pub mod log;

/// First word of every request and reply: "GGW" and the version of this format. Changes with every change of
/// the layout, so that a library and a tracer of different builds notice each other.
pub const MAGIC: u32 = u32::from_le_bytes(*b"GGW\x04");

/// The version that the preload library carries in its exported symbol [`VERSION_SYMBOL`]; the tracer reads it
/// from the file before it starts anything.
pub const VERSION: &str = concat!("gg-interceptor ", env!("CARGO_PKG_VERSION"), " wire 4");

/// Name of the exported, NUL-terminated byte string that holds [`VERSION`].
pub const VERSION_SYMBOL: &str = "gg_interceptor_version";

/// The environment variable that carries the session from process to process. Its value is
/// `COMMAND:FLAGS:COOKIE:STANDIN:LOG:SOCKET`:
///
/// - the id of the command that this process belongs to, decimal;
/// - its reply flags, decimal, see [`reply_flags`];
/// - 16 hexadecimal digits in lower case: what system calls that the interceptor made, and recorded, carry as their sixth argument, so that
///   the kernel's filter lets them through. Zero: there is no filter, and nothing is marked;
/// - the path of the stand-in program;
/// - the path of the shared log, see [`log`]. Empty: nothing is recorded, nor is any call of the program's marked;
/// - the path of the tracer's socket.
///
/// All paths are absolute and contain no colon and no NUL.
pub const SESSION_VARIABLE: &str = "GGTRACE_SESSION";

/// Files of exactly this size modulo [`PLACEHOLDER_BLOCK`] may be placeholders; all others are not. It lets
/// a hook tell from `fstat` alone, in almost all cases, that a file is none.
pub const PLACEHOLDER_REST: u64 = 1013;
/// See [`PLACEHOLDER_REST`].
pub const PLACEHOLDER_BLOCK: u64 = 1024;
/// No placeholder is larger than this.
pub const PLACEHOLDER_MAX: u64 = 16 * 1024;
/// These bytes stand in every placeholder at the start of its second line, which begins at the first newline.
pub const PLACEHOLDER_MARK: &[u8] = b"\n# gg-placeholder 1\n";
/// The mark begins within this many bytes from the start of the file.
pub const PLACEHOLDER_HEAD: usize = 512;

/// Could a regular file of this size be a placeholder?
#[inline]
#[must_use]
pub const fn size_may_be_placeholder(size: u64) -> bool {
    size % PLACEHOLDER_BLOCK == PLACEHOLDER_REST && size < PLACEHOLDER_MAX
}

/// Are these the first bytes (up to [`PLACEHOLDER_HEAD`] + the mark's length are enough) of a placeholder?
#[inline]
#[must_use]
pub fn head_is_placeholder(head: &[u8]) -> bool {
    if head.len() < 2 || head[0] != b'#' || head[1] != b'!' {
        return false;
    }
    let mut i = 2;
    while i < head.len() && head[i] != b'\n' {
        i += 1;
    }
    head.len() >= i + PLACEHOLDER_MARK.len() && head[i..].starts_with(PLACEHOLDER_MARK)
}

/// No command is told to print more: what others write to the same pipe does not come in between (`PIPE_BUF`).
pub const PRINT_MAX: usize = 2048;

/// What a request asks.
pub mod request_kind {
    /// May this program be executed? The process waits for a [`super::reply_kind`].
    pub const EXEC: u32 = 1;
    /// A placeholder is about to be opened: force it, then answer `RUN`, or `FAIL` with an errno. Or a directory was opened: force
    /// what is in it, then answer `RUN`.
    pub const OPEN: u32 = 2;
    /// A placeholder, or a directory, now stands at a new path (rename, link, or created by a carrying program).
    /// Answered with `RUN` once it is noted.
    pub const PLACED: u32 = 3;
    /// The process was told to exit, and is ended by a signal instead: take back what was put in place for its command, then answer
    /// `RUN`. Path and working directory mean nothing.
    pub const UNDO: u32 = 4;
    /// A file of a name that the build has changed before is about to be changed, or renamed, or a build driver removes it: what it holds
    /// is kept, if that is another command's work or for others, then answer `RUN`.
    pub const CHANGE: u32 = 5;
}

/// Bits of [`Request::flags`].
pub mod request_flags {
    /// The exec came through `posix_spawn*`: the caller goes on, and needs a child that exits.
    pub const SPAWN: u32 = 1;
    /// File actions or attributes were given that the hook could not look through: the identities in `fds`
    /// are not known.
    pub const FDS_UNKNOWN: u32 = 2;
    /// `PLACED`: the path is a directory.
    pub const DIRECTORY: u32 = 4;
    /// `OPEN`: the file is about to be changed in place (opened for writing without truncation).
    pub const WRITE: u32 = 8;
    /// `EXEC`: the process will make the call marked, so that the kernel does not ask about it.
    pub const MARKED: u32 = 16;
    /// `EXEC`: the payload begins with the other descriptors that the program will have, below
    /// [`super::MAX_DESCRIPTOR`]. Not told where they are many.
    pub const OTHERS: u32 = 32;
    /// `EXEC`, with `SPAWN`: the caller can have a child wait for the answer.
    pub const WAITS: u32 = 64;
    /// `OPEN`: the program has asked about the file, for its size say, and may never open it.
    pub const LOOK: u32 = 128;
    /// `CHANGE`: the file is removed. Where the tracer was killed nobody waits: make removes what it must not leave behind.
    pub const REMOVES: u32 = 256;
}

/// What a reply says.
pub mod reply_kind {
    /// Go on: execute the program as it was asked; open the file.
    pub const RUN: u32 = 1;
    /// Do not execute; for the tracer it was this command: write the payload, which has no NUL and no more than
    /// [`super::PRINT_MAX`] bytes, to the program's standard output and exit with `value`.
    pub const EXIT: u32 = 2;
    /// Fail the call with errno `value`, after writing the payload, of which [`super::PRINT_MAX`] bytes are read, to standard error.
    pub const FAIL: u32 = 3;
    /// Do not execute, and end by `SIGKILL`: make removes what a command was making that has ended by a signal, and leaves it as
    /// it is where one has failed. The library tells itself so where the tracer was killed, and its guardian has not ended this
    /// process yet. A call that cannot end fails with errno `value`.
    pub const KILLED: u32 = 4;
    /// That takes a moment: a child is to wait for what comes after this on the same connection. Said only to who asks with
    /// [`super::request_flags::WAITS`], about programs that the kernel knows how to execute. Said again, the command
    /// runs, once what it needs is there: from then on the child may be ended. Before, it must not: its parent would
    /// know nothing of what is put in place for it.
    pub const PENDING: u32 = 5;
}

/// Bits of [`Reply::flags`], kept by the process for its children in [`SESSION_VARIABLE`].
pub mod reply_flags {
    /// The program carries placeholders along (`cp`, `mv`, `install`, `touch`, …): opening one does not force
    /// it; what it creates is reported with `PLACED`.
    pub const CARRY: u32 = 1;
    /// Do not put the library into the environment of this program (wrong ELF class).
    pub const NO_PRELOAD: u32 = 2;
    /// This process and its children are left alone: no hook asks anything, nor are they preloaded.
    pub const DETACH: u32 = 4;
    /// What it asks about is forced, as what it opens is: files on its command line may be placeholders still, or it is
    /// none of those that look at files to see whether they are there, or how old they are.
    pub const FACTS: u32 = 8;
    /// The program reads directories for nothing but the names in them (a shell, a build driver, a tool): opening one does not
    /// force what is in it.
    pub const NAMES: u32 = 16;
    /// The program starts the commands of a build: what it removes, such as a file with arguments, one of them has used, and
    /// who records that is told before, with `CHANGE`.
    pub const DRIVES: u32 = 32;
    /// What the program reads from its standard input and prints is of no interest.
    pub const UNHEARD: u32 = 64;
    /// Requests are answered at once, as a rule: the program may ask by [`super::CALL`].
    pub const AT_ONCE: u32 = 128;
}

/// The number of a system call that there is not, of those that Linux gives to none: of a process whose calls are filtered, and with the
/// session's mark, it is a request, in place of one over the socket. Its arguments are a buffer that begins with the request, the
/// request's length and the buffer's. The reply is written to the buffer, and its length is the result. An error means that
/// nobody was asked, but `EIO` that nobody can tell what the answer was.
pub const CALL: u32 = 400;

/// What marks reads of standard input and writes to standard output and error that are not to be seen, in a session with this mark.
#[must_use]
pub const fn mark_of_streams(mark: u64) -> u64 {
    mark ^ 0x5354_5245_414d_5321
}

/// What an open descriptor leads to, or zeros where it is closed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdIdentity {
    /// Device of the file.
    pub dev: u64,
    /// Inode of the file.
    pub ino: u64,
    /// `st_rdev`: tells `/dev/null` from a terminal.
    pub rdev: u64,
    /// `st_mode`, with the file type.
    pub mode: u32,
    /// Number of names; 0 for an unlinked temporary file.
    pub nlink: u32,
}

/// An open descriptor beside standard input, output and error.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Its number.
    pub number: u32,
    /// For alignment; zero.
    pub reserved: u32,
    /// What it leads to.
    pub leads: FdIdentity,
}

/// Descriptors from here up are not told.
pub const MAX_DESCRIPTOR: u32 = 64;

/// The fixed part of a request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Request {
    /// [`MAGIC`].
    pub magic: u32,
    /// One of [`request_kind`].
    pub kind: u32,
    /// Length of the payload in bytes.
    pub len: u32,
    /// Bits of [`request_flags`].
    pub flags: u32,
    /// The asking process.
    pub pid: u32,
    /// Id of the command that the asking process belongs to, from [`SESSION_VARIABLE`].
    pub command: u32,
    /// Its file mode creation mask.
    pub umask: u32,
    /// Number of arguments.
    pub argc: u32,
    /// Number of environment strings.
    pub envc: u32,
    /// Number of [`Descriptor`]s before the strings: see [`request_flags::OTHERS`].
    pub others: u32,
    /// Standard input, output and error as the program will have them.
    pub fds: [FdIdentity; 3],
}

/// The fixed part of a reply.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Reply {
    /// [`MAGIC`].
    pub magic: u32,
    /// One of [`reply_kind`].
    pub kind: u32,
    /// Length of the payload in bytes.
    pub len: u32,
    /// Bits of [`reply_flags`].
    pub flags: u32,
    /// Exit code or errno.
    pub value: i32,
    /// Id of the new command, for its [`SESSION_VARIABLE`].
    pub command: u32,
    /// Zero.
    pub reserved: [u32; 2],
}

/// Plain data that may be sent as the bytes it consists of.
///
/// # Safety
/// The type is `repr(C)`, has no padding, and every bit pattern is a value of it.
pub unsafe trait Plain: Copy + Default {
    /// The value's bytes.
    #[inline]
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: the trait promises that all bytes of the value are initialised.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast::<u8>(), size_of::<Self>()) }
    }

    /// The value's bytes, to be read into.
    #[inline]
    fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the trait promises that any bytes make a value.
        unsafe { core::slice::from_raw_parts_mut(core::ptr::from_mut(self).cast::<u8>(), size_of::<Self>()) }
    }
}

// SAFETY: repr(C), integers only, no padding: 10 × u32 (40 bytes), then 3 × 32 bytes aligned to 8.
unsafe impl Plain for Request {}
// SAFETY: repr(C), eight 4-byte integers.
unsafe impl Plain for Reply {}
// SAFETY: repr(C), integers only, no padding: 2 × u32, then 32 bytes aligned to 8.
unsafe impl Plain for Descriptor {}

const _: () = assert!(size_of::<Request>() == 40 + 3 * 32);
const _: () = assert!(size_of::<Reply>() == 32);
const _: () = assert!(size_of::<Descriptor>() == 8 + 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_told_from_other_files_by_its_head() {
        assert!(head_is_placeholder(b"#!/usr/bin/gg run\n# gg-placeholder 1\nT"));
        assert!(!head_is_placeholder(b"#!/bin/sh\necho\n"));
        assert!(!head_is_placeholder(b"#!/usr/bin/gg run\n# gg-placeh"));
        assert!(!head_is_placeholder(b""));
        assert!(size_may_be_placeholder(1013) && !size_may_be_placeholder(1024));
        assert!(!size_may_be_placeholder(17 * 1024 - 11));
    }
}
