// SPDX-License-Identifier: Apache-2.0
//! What an interceptor asked, taken apart. Requests come from processes of the build, which can send anything: lengths
//! and counts are checked here.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use models::{Environment, Invocation};
use wire::{Descriptor, FdIdentity, Plain as _, request_flags, request_kind};

/// The kernel takes no longer argument list; twice that is room enough.
const MAX_PAYLOAD: u32 = 16 << 20;
/// Room for what is read first.
const FIRST: usize = 16 << 10;

/// One request.
#[derive(Debug)]
pub enum Request {
    /// A program is about to be executed.
    Exec(Box<Exec>),
    /// A placeholder is about to be read, or changed in place.
    Open(Open),
    /// A file that the build may have written is about to be changed, or renamed.
    Change {
        /// The file.
        path: PathBuf,
        /// The process that does it.
        pid: u32,
        /// Id of the command that this is part of, as it says itself.
        command: u32,
    },
    /// Something stands at a new path.
    Placed {
        /// Where it is now.
        path: PathBuf,
        /// Where it was, if it was moved.
        old: Option<PathBuf>,
        /// A whole directory.
        directory: bool,
    },
    /// A process was told to exit for a command, and is ended by a signal instead.
    Undo {
        /// The command.
        command: u32,
    },
}

/// A program about to be executed.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    /// The process that executes it.
    pub pid: u32,
    /// Id of the command that executes it.
    pub parent: u32,
    /// Will a child of the process execute it, which does not exist yet?
    pub spawned: bool,
    /// Will the kernel not ask about it?
    pub marked: bool,
    /// Can the process be told to print something?
    pub prints: bool,
    /// Can a child of the process wait for the answer?
    pub waits: bool,
    /// The command.
    pub invocation: Invocation,
    /// File mode creation mask.
    pub umask: u32,
    /// Standard input, output, error; `None` where they could not be told.
    pub fds: Option<[FdIdentity; 3]>,
    /// All others; `None` where they were not told.
    pub others: Option<Vec<Descriptor>>,
}

/// A file or directory about to be opened.
#[derive(Debug)]
pub struct Open {
    /// The file.
    pub path: PathBuf,
    /// The process that opens it.
    pub pid: u32,
    /// Id of the command that this is part of.
    pub command: u32,
    /// It is not opened yet, only asked about.
    pub looks: bool,
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

/// Reads one request.
///
/// # Errors
/// The stream ends, or holds no valid request.
pub fn read(stream: &mut impl Read) -> io::Result<Request> {
    let (head, payload) = receive(stream)?;
    taken_apart(&head, payload)
}

/// The fixed part of a request, and its payload.
fn receive(stream: &mut impl Read) -> io::Result<(wire::Request, Vec<u8>)> {
    let mut head = wire::Request::default();
    // Nearly all requests come in one piece, and are read at once.
    let mut first = [0u8; FIRST];
    let mut there = 0;
    while there < size_of::<wire::Request>() {
        match stream.read(&mut first[there..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => there += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let (front, rest) = first[..there].split_at(size_of::<wire::Request>());
    head.as_bytes_mut().copy_from_slice(front);
    if head.magic != wire::MAGIC {
        return Err(invalid("a request of another version"));
    }
    if head.len > MAX_PAYLOAD {
        return Err(invalid("a request that is too long"));
    }
    let length = head.len as usize;
    let mut payload = Vec::with_capacity(length);
    payload.extend_from_slice(&rest[..rest.len().min(length)]);
    let missing = length - payload.len();
    if missing > 0 && stream.by_ref().take(missing as u64).read_to_end(&mut payload)? < missing {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((head, payload))
}

fn taken_apart(head: &wire::Request, payload: Vec<u8>) -> io::Result<Request> {
    let others = others(head, &payload)?;
    let mut at = others.len() * size_of::<Descriptor>();
    let mut place = || {
        let start = at;
        let length = memchr::memchr(0, &payload[start..]).ok_or_else(|| invalid("a request that is cut"))?;
        at = start + length + 1;
        Ok::<_, io::Error>(start..start + length)
    };
    let text = |place: Range<usize>| OsStr::from_bytes(&payload[place]);
    let mut next = || place().map(text);
    let path = PathBuf::from(next()?);
    let cwd = PathBuf::from(next()?);
    if !cwd.is_absolute() {
        return Err(invalid("a working directory that is not absolute"));
    }
    match head.kind {
        request_kind::EXEC => {
            let argv = (0..head.argc).map(|_| next().map(OsString::from)).collect::<io::Result<_>>()?;
            let places = (0..head.envc).map(|_| place()).collect::<io::Result<Vec<_>>>()?;
            let env = Environment::in_text(payload, places.into_iter());
            let program = observe::tidy(&cwd.join(path));
            Ok(Request::Exec(Box::new(Exec {
                pid: head.pid,
                parent: head.command,
                spawned: head.flags & request_flags::SPAWN != 0,
                marked: head.flags & request_flags::MARKED != 0,
                prints: true,
                waits: head.flags & request_flags::WAITS != 0,
                invocation: Invocation { program, argv, env, cwd },
                umask: head.umask & 0o777,
                fds: (head.flags & request_flags::FDS_UNKNOWN == 0).then_some(head.fds),
                others: (head.flags & request_flags::OTHERS != 0).then_some(others),
            })))
        }
        request_kind::OPEN => {
            let looks = head.flags & request_flags::LOOK != 0;
            Ok(Request::Open(Open { path: cwd.join(path), pid: head.pid, command: head.command, looks }))
        }
        request_kind::CHANGE => {
            Ok(Request::Change { path: cwd.join(path), pid: head.pid, command: head.command })
        }
        request_kind::UNDO => Ok(Request::Undo { command: head.command }),
        request_kind::PLACED => {
            let old = next().ok().filter(|old| !old.is_empty()).map(|old| cwd.join(old));
            let directory = head.flags & request_flags::DIRECTORY != 0;
            Ok(Request::Placed { path: cwd.join(path), old, directory })
        }
        _ => Err(invalid("a request of unknown kind")),
    }
}

/// The descriptors with which a payload begins.
fn others(head: &wire::Request, payload: &[u8]) -> io::Result<Vec<Descriptor>> {
    const SIZE: usize = size_of::<Descriptor>();
    let wrong = || invalid("a request with descriptors that cannot be");
    if head.others > wire::MAX_DESCRIPTOR {
        return Err(wrong());
    }
    let bytes = payload.get(..head.others as usize * SIZE).ok_or_else(wrong)?;
    let others = bytes.chunks_exact(SIZE).map(|bytes| {
        let mut other = Descriptor::default();
        other.as_bytes_mut().copy_from_slice(bytes);
        other
    });
    let others: Vec<_> = others.collect();
    if others.iter().any(|other| other.number >= wire::MAX_DESCRIPTOR) { Err(wrong()) } else { Ok(others) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many bytes at a time.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let at = self.0.len().min(self.1).min(to.len());
            let (now, later) = self.0.split_at(at);
            to[..at].copy_from_slice(now);
            self.0 = later;
            Ok(at)
        }
    }

    fn exec(long: &str) -> Vec<u8> {
        let strings = ["./cc", "/w", "cc", "-c", "A=1", "B==", "C", long];
        let payload: Vec<u8> = strings.iter().flat_map(|s| s.bytes().chain([0])).collect();
        let (kind, len) = (request_kind::EXEC, payload.len() as u32);
        let head =
            wire::Request { magic: wire::MAGIC, kind, len, argc: 2, envc: 4, ..wire::Request::default() };
        [head.as_bytes(), &payload].concat()
    }

    #[test]
    fn a_request_is_the_same_in_whatever_pieces_it_comes() {
        for long in ["D=4".to_owned(), format!("D={}", "4".repeat(3 * FIRST))] {
            let bytes = exec(&long);
            for piece in [1, 7, size_of::<wire::Request>(), FIRST, bytes.len()] {
                let Ok(Request::Exec(exec)) = read(&mut Pieces(&bytes, piece)) else { panic!("{piece}") };
                let Invocation { program, argv, env, cwd } = &exec.invocation;
                assert_eq!((program.to_str(), cwd.to_str()), (Some("/w/cc"), Some("/w")));
                assert_eq!(argv[..], ["cc", "-c"]);
                let expected = [("A", "1"), ("B", "="), ("C", ""), ("D", &long[2..])];
                assert_eq!(*env, expected.into_iter().collect());
            }
            for cut in [0, 10, size_of::<wire::Request>(), bytes.len() - 1] {
                assert!(read(&mut Pieces(&bytes[..cut], 5)).is_err(), "{cut}");
            }
        }
        // It says that there are more strings than there are.
        let mut bytes = exec("D=4");
        bytes.truncate(size_of::<wire::Request>());
        let head =
            wire::Request { magic: wire::MAGIC, kind: request_kind::EXEC, argc: 1, ..Default::default() };
        bytes.copy_from_slice(head.as_bytes());
        assert!(read(&mut Pieces(&bytes, 100)).is_err());
    }
}
