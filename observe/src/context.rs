// SPDX-License-Identifier: Apache-2.0
//! Who makes a call, as far as its arguments and outcome tell: what they point to, where paths start from, what descriptors lead to.
//! Knows what arguments are, and not which call they are of.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use crate::Pid;
use crate::calls::{At, Base, Text};
use crate::event::{Event, Kind, Place, Sink, Stream};
use crate::handle::Seen;
use crate::tracee::{self, View};

/// The thread that makes the call, and where its events go.
pub(crate) struct Context<'a> {
    pub view: View,
    pub process: Pid,
    /// The directory in which it is, if we know better than `/proc`.
    pub directory: Option<&'a Path>,
    pub sink: &'a mut dyn Sink,
}

pub(crate) type Args = [u64; 6];

/// More than that is not kept of one write.
const MOST_TEXT: usize = 1 << 20;
/// Nor of more parts.
const MOST_PARTS: usize = 1024;

impl Base {
    /// The descriptor, if it is one.
    pub(crate) fn descriptor(self, args: &Args) -> Option<i32> {
        match self {
            Self::Fd(arg) => Some(args[usize::from(arg)] as i32).filter(|&fd| fd != libc::AT_FDCWD),
            Self::Cwd => None,
        }
    }

    /// The link to it in a thread's folder in `/proc`.
    pub(crate) fn link(self, args: &Args) -> String {
        self.descriptor(args).map_or_else(|| "cwd".to_owned(), |fd| format!("fd/{fd}"))
    }
}

impl Context<'_> {
    pub(crate) fn emit(&mut self, event: Event) {
        self.sink.event(self.process, event);
    }

    /// A string that a call points to. A pointer to nowhere makes the call fail and touches nothing; so does a
    /// string longer than a path.
    pub(crate) fn string(&self, address: u64) -> Option<Vec<u8>> {
        if address == 0 { None } else { tracee::read_path(self.view.tid, address) }
    }

    /// One of the standard streams.
    pub(crate) fn stream(&self, fd: u64) -> Option<Stream> {
        let fd = fd as i32;
        let file = self.view.descriptor(fd)?;
        Some(Stream { fd, dev: file.dev(), ino: file.ino(), rdev: file.rdev() })
    }

    /// What a call writes; nothing if that cannot be told.
    pub(crate) fn text(&self, text: Text, args: &Args) -> Option<Vec<u8>> {
        let read = |address: u64, length: usize, limit: usize| {
            if length > limit {
                return None;
            }
            let mut bytes = vec![0; length];
            let read = tracee::read_memory(self.view.tid, address, &mut bytes);
            (length == 0 || read == Some(length)).then_some(bytes)
        };
        match text {
            Text::Buffer(at) => {
                let at = usize::from(at);
                read(args[at], usize::try_from(args[at + 1]).ok()?, MOST_TEXT)
            }
            Text::Vector(at) => {
                let at = usize::from(at);
                let size = size_of::<libc::iovec>();
                let parts = read(
                    args[at],
                    usize::try_from(args[at + 1]).ok()?.checked_mul(size)?,
                    MOST_PARTS * size,
                )?;
                let mut all = Vec::new();
                for part in parts.chunks_exact(size) {
                    let (address, length) = part.split_at(size / 2);
                    let word = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_ne_bytes);
                    let length = usize::try_from(word(length)?).ok()?;
                    all.extend(read(word(address)?, length, MOST_TEXT.checked_sub(all.len())?)?);
                }
                Some(all)
            }
            Text::Elsewhere => None,
        }
    }

    /// Where a relative path starts from.
    fn base(&mut self, base: Base, args: &Args) -> Option<PathBuf> {
        if let Some(fd) = base.descriptor(args) {
            // No such descriptor: the call fails and touches nothing.
            self.view.descriptor(fd)?;
        }
        let link = base.link(args);
        let path = self.view.link(&link);
        if path.is_none() && !self.view.is_nameless(&link) {
            self.emit(Event::Gap);
        }
        path
    }

    /// The path of `at`; nothing if it names none, or is no path.
    pub(crate) fn path(&mut self, at: At, args: &Args) -> Option<PathBuf> {
        let (base, arg) = match at {
            At::Fd(arg) => return self.view.link(&format!("fd/{}", args[usize::from(arg)] as i32)),
            At::Path { base, path } => (base, path),
        };
        let string = self.string(args[usize::from(arg)])?;
        let path = PathBuf::from(OsString::from_vec(string));
        if path.is_absolute() {
            Some(tracee::tidy(&self.view.through_own(&path).unwrap_or(path)))
        } else if path.as_os_str().is_empty() {
            None
        } else {
            Some(tracee::tidy(&self.base(base, args)?.join(path)))
        }
    }

    /// What `openat2` is told: flags, mode, and how paths are resolved.
    pub(crate) fn open_how(&self, address: u64) -> Option<[u64; 3]> {
        let mut words = [[0; 8]; 3];
        let bytes = words.as_flattened_mut();
        let read = tracee::read_memory(self.view.tid, address, bytes);
        (read == Some(bytes.len())).then(|| words.map(u64::from_ne_bytes))
    }

    /// Why the kernel refuses to follow this path, if it does: it leads where the caller does not want to be led.
    pub(crate) fn refusal(&self, at: At, args: &Args, flags: i32, resolve: u64) -> Option<i32> {
        const BOUNDS: u64 = libc::RESOLVE_BENEATH
            | libc::RESOLVE_NO_SYMLINKS
            | libc::RESOLVE_NO_MAGICLINKS
            | libc::RESOLVE_NO_XDEV;
        let At::Path { base, path } = at else { return None };
        let bounds = Some(resolve & BOUNDS).filter(|&bounds| bounds != 0)?;
        let path = PathBuf::from(OsString::from_vec(self.string(args[usize::from(path)])?));
        let found = self.view.find_bounded(&base.link(args), &path, flags & libc::O_NOFOLLOW, bounds);
        found.err().filter(|errno| matches!(*errno, libc::EXDEV | libc::ELOOP))
    }

    /// The path of `at` for a call that takes the directory for its root: where it leads.
    pub(crate) fn path_in_root(&mut self, at: At, args: &Args, flags: i32) -> Option<PathBuf> {
        let At::Path { base, path } = at else { return None };
        let path = PathBuf::from(OsString::from_vec(self.string(args[usize::from(path)])?));
        let directory = self.base(base, args)?;
        let led = self.view.lead_within(&base.link(args), &path, flags);
        Some(led.unwrap_or_else(|| {
            let names = path.components().filter(|part| matches!(part, Component::Normal(_)));
            directory.join(names.collect::<PathBuf>())
        }))
    }

    /// The path of `at`, or where it has none (`AT_EMPTY_PATH`, or a null pointer) that of the descriptor itself.
    pub(crate) fn path_or_descriptor(&mut self, at: At, args: &Args) -> Option<PathBuf> {
        if let Some(path) = self.path(at, args) {
            return Some(path);
        }
        let At::Path { base: Base::Fd(fd), path } = at else { return None };
        let pointer = args[usize::from(path)];
        if pointer != 0 && self.string(pointer).is_none_or(|string| !string.is_empty()) {
            return None;
        }
        self.view.link(&format!("fd/{}", args[usize::from(fd)] as i32))
    }

    /// Is `at` a file without a name, by its descriptor?
    pub(crate) fn is_nameless(&self, at: At, args: &Args) -> bool {
        let At::Path { base: Base::Fd(fd), path } = at else { return false };
        let is_empty = self.string(args[usize::from(path)]).is_some_and(|string| string.is_empty());
        is_empty && self.view.is_nameless(&format!("fd/{}", args[usize::from(fd)] as i32))
    }

    /// The path in the socket address of `connect` and `bind`, if it is one in the file system.
    pub(crate) fn socket_path(&mut self, args: &Args) -> Option<PathBuf> {
        let mut address = [0; size_of::<libc::sockaddr_un>()];
        let length = address.len().min(args[2] as usize);
        let read = tracee::read_memory(self.view.tid, args[1], &mut address[..length])?;
        let (family, path) = address[..read].split_at_checked(size_of::<libc::sa_family_t>())?;
        if family != (libc::AF_UNIX as libc::sa_family_t).to_ne_bytes()
            || path.first().is_none_or(|&b| b == 0)
        {
            return None;
        }
        let end = path.iter().position(|&byte| byte == 0).unwrap_or(path.len());
        let path = PathBuf::from(OsString::from_vec(path[..end].to_vec()));
        let base = if path.is_absolute() { PathBuf::new() } else { self.base(Base::Cwd, args)? };
        Some(tracee::tidy(&base.join(path)))
    }

    /// A path that the kernel read from a file, as seen from the thread's directory.
    pub(crate) fn absolute(&self, path: PathBuf) -> PathBuf {
        if path.is_absolute() {
            return tracee::tidy(&path);
        }
        let directory = self.directory.map(Path::to_path_buf).or_else(|| self.view.link("cwd"));
        tracee::tidy(&directory.unwrap_or_default().join(path))
    }

    /// The place of a directory entry.
    pub(crate) fn place(&self, path: PathBuf) -> Place {
        let real = self.view.real_entry(&path);
        Place::new(path, real)
    }

    /// What is open as this descriptor.
    pub(crate) fn seen(&self, fd: i32) -> Seen {
        let real = self.view.link(&format!("fd/{fd}"));
        let kind = self.view.descriptor(fd).map_or(Kind::File, |metadata| kind(metadata.file_type()));
        Seen { kind, real }
    }

    pub(crate) fn looked_up(&mut self, path: PathBuf, errno: Option<i32>) {
        let event = match errno {
            None => Some(Event::Found(path)),
            Some(errno) => Event::of_failure(path, errno, |path| self.view.exists(path, false)),
        };
        if let Some(event) = event {
            self.emit(event);
        }
    }

    /// Looks itself, where the outcome does not tell.
    pub(crate) fn probe(&mut self, path: PathBuf) {
        let found = self.view.exists(&path, false);
        self.emit(Event::of_look(found, path));
    }

    /// A call that changes one directory entry has come to its end.
    pub(crate) fn changed(&mut self, path: PathBuf, errno: Option<i32>, event: impl FnOnce(Place) -> Event) {
        match errno {
            None => {
                let place = self.place(path);
                self.emit(event(place));
            }
            Some(_) => self.looked_up(path, errno),
        }
    }
}

/// What a file is to who opens it.
pub(crate) fn kind(of: std::fs::FileType) -> Kind {
    if of.is_dir() {
        Kind::Directory
    } else if of.is_char_device() || of.is_block_device() || of.is_fifo() || of.is_socket() {
        Kind::Special
    } else {
        Kind::File
    }
}
