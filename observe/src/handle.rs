// SPDX-License-Identifier: Apache-2.0
//! What each call of the table means: its arguments when it is entered and its outcome turned into events. The
//! exit's part is a closure that the entry's part returns, so both stand together. Knows no stops and no loop.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use crate::calls::{At, Base, Call, Flags};
use crate::event::{Access, Event, Kind, Place, Role, Sink, Transfer};
use crate::image::{self, Image};
use crate::ptrace::Outcome;
use crate::{Pid, tracee};

/// How many interpreters of interpreters the kernel follows.
const MAX_INTERPRETERS: usize = 5;

/// The stopped thread, and where its events go.
pub(crate) struct Context<'a> {
    pub tid: Pid,
    pub process: Pid,
    pub sink: &'a mut dyn Sink,
}

/// What is to be done with a call's outcome. One thread has at most one of them: a signal handler runs only after the
/// exit of the call that it interrupted, and a call that goes on after it is entered anew.
pub(crate) type OnExit = Box<dyn FnOnce(&mut Context, Outcome)>;

type Args = [u64; 6];

/// A call is about to be executed. Returns what is to be done at its exit; nothing if the exit does not matter.
pub(crate) fn enter(context: &mut Context, call: Call, args: &Args) -> Option<OnExit> {
    match call {
        Call::Open(at, flags) => open(context, at, flags, args),
        Call::LookUp(at) => {
            let path = context.path(at, args)?;
            Some(Box::new(move |context, outcome| context.looked_up(path, outcome)))
        }
        Call::List(at) => {
            let path = context.path(at, args)?;
            context.emit(Event::Listed(path));
            None
        }
        Call::Truncate(at) => {
            let path = context.path(at, args)?;
            let emptied = args[1] == 0;
            let access = Access { reads: false, writes: true, created: false, emptied };
            Some(Box::new(move |context, outcome| match outcome {
                Ok(_) => {
                    let place = context.place(path);
                    context.emit(Event::Opened(place, Kind::File, access));
                }
                Err(_) => context.looked_up(path, outcome),
            }))
        }
        Call::Make(at) => context.on_success(at, args, Event::Made),
        Call::Symlink(target, at) => {
            let target = PathBuf::from(OsString::from_vec(context.string(args[usize::from(target)])?));
            context.on_success(at, args, move |place| Event::Symlinked(place, target))
        }
        Call::Remove(at) => context.on_success(at, args, Event::Removed),
        Call::Link(from, to) => transfer(context, Transfer::Link, from, to, args),
        Call::Rename(from, to, flags) => {
            let flags = flags.map_or(0, |arg| args[usize::from(arg)] as u32);
            let exchange = flags & libc::RENAME_EXCHANGE != 0;
            let how = if exchange { Transfer::Exchange } else { Transfer::Rename };
            transfer(context, how, from, to, args)
        }
        Call::Attributes(at) => {
            let path = context.path_or_descriptor(at, args)?;
            Some(Box::new(move |context, outcome| match outcome {
                Ok(_) => context.emit(Event::Attributes(path)),
                Err(_) => context.looked_up(path, outcome),
            }))
        }
        Call::Exec(at) => {
            let path = context.path_or_descriptor(at, args)?;
            Some(Box::new(move |context, outcome| match outcome {
                Ok(_) => executed(context, path),
                Err(errno) => not_executed(context, path, errno),
            }))
        }
        Call::Connect => {
            let path = context.socket_path(args)?;
            Some(Box::new(move |context, outcome| context.looked_up(path, outcome)))
        }
        Call::Bind => {
            let path = context.socket_path(args)?;
            Some(Box::new(move |context, outcome| context.made(path, outcome, Event::Made)))
        }
        Call::Socket => {
            if !matches!(args[0] as i32, libc::AF_UNIX | libc::AF_NETLINK | libc::AF_ALG) {
                context.emit(Event::Network);
            }
            None
        }
        Call::Refuse(_) => None,
    }
}

fn open(context: &mut Context, at: At, flags: Flags, args: &Args) -> Option<OnExit> {
    let path = context.path(at, args)?;
    let flags = match flags {
        Flags::Arg(arg) => args[usize::from(arg)] as i32,
        Flags::Always(flags) => flags,
        Flags::How(arg) => {
            let mut word = [0; 8];
            if tracee::read_memory(context.tid, args[usize::from(arg)], &mut word) != Some(word.len()) {
                return None;
            }
            u64::from_ne_bytes(word) as i32
        }
    };
    let has = |flag: i32| flags & flag == flag;
    let created = has(libc::O_CREAT)
        && !has(libc::O_PATH)
        && (has(libc::O_EXCL) || !tracee::exists(context.tid, &path, true));
    // Access mode 3 asks for the rights to read and to write, and gives neither: a device's ioctls only.
    let mode = flags & libc::O_ACCMODE;
    let access = Access {
        reads: mode == libc::O_RDONLY || mode == libc::O_RDWR,
        writes: mode == libc::O_WRONLY || mode == libc::O_RDWR,
        created,
        emptied: has(libc::O_TRUNC),
    };
    // A path only, or a file without a name: no content is reached through the path.
    let nothing = has(libc::O_PATH) || has(libc::O_TMPFILE);
    Some(Box::new(move |context, outcome| match outcome {
        Ok(fd) if !nothing => context.opened(path, fd, access),
        _ => context.looked_up(path, outcome),
    }))
}

fn transfer(context: &mut Context, how: Transfer, from: At, to: At, args: &Args) -> Option<OnExit> {
    let from = context.path_or_descriptor(from, args)?;
    let to = context.path(to, args)?;
    Some(Box::new(move |context, outcome| {
        if outcome.is_ok() {
            let (from, to) = (context.place(from), context.place(to));
            context.emit(Event::Transferred(how, from, to));
        } else if outcome.is_err_and(|errno| judge(errno) != Judgement::Unknown) {
            // The errno does not tell which of the two it is about.
            context.probe(from);
            context.probe(to);
        }
    }))
}

/// The program runs: report it, and what else the kernel opened on the way.
fn executed(context: &mut Context, path: PathBuf) {
    let mut path = path;
    let mut role = Role::Program;
    for _ in 0..=MAX_INTERPRETERS {
        let script = tracee::open_regular(context.tid, &path)
            .ok()
            .and_then(|file| Some((image::read(&file).ok()?, tracee::real_of(context.tid, &file))));
        let Some((Image::Script(interpreter), real)) = script else { break };
        context.emit(Event::Executed(Place::new(path, real), role));
        path = context.absolute(interpreter);
        role = Role::Interpreter;
    }
    // The last one is what runs now. Its own link says where it is, and gives it to us even when its path does not.
    let exe = tracee::link(context.tid, "exe");
    context.emit(Event::Executed(Place::new(path, exe), role));
    let image = tracee::own_image(context.tid).ok();
    if let Some(Ok(Image::Dynamic(loader))) = image.as_ref().map(image::read) {
        let loader = context.absolute(loader);
        let real = tracee::open_regular(context.tid, &loader)
            .ok()
            .and_then(|file| tracee::real_of(context.tid, &file));
        context.emit(Event::Executed(Place::new(loader, real), Role::Loader));
    }
}

/// The program does not run: for want of the file, of its interpreter or loader, or because of what is in it.
fn not_executed(context: &mut Context, path: PathBuf, errno: i32) {
    let mut path = path;
    for _ in 0..=MAX_INTERPRETERS {
        let Ok(file) = tracee::open_regular(context.tid, &path) else { break };
        if errno != libc::ENOENT && errno != libc::ENOEXEC {
            break;
        }
        // The kernel has read the file to know that it cannot execute it.
        let real = tracee::real_of(context.tid, &file);
        let access = Access { reads: true, writes: false, created: false, emptied: false };
        context.emit(Event::Opened(Place::new(path, real), Kind::File, access));
        let (Ok(Image::Script(next)) | Ok(Image::Dynamic(next))) = image::read(&file) else { return };
        path = context.absolute(next);
    }
    context.looked_up(path, Err(errno));
}

/// What an errno says about the path it was given for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judgement {
    Found,
    Missing,
    Denied,
    Unknown,
}

fn judge(errno: i32) -> Judgement {
    match errno {
        libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG => Judgement::Missing,
        libc::EACCES | libc::EPERM | libc::EROFS => Judgement::Denied,
        // Not for the sake of the file, but of the process, its memory or its descriptors; or to be done again.
        libc::EINTR
        | libc::EFAULT
        | libc::EBADF
        | libc::EMFILE
        | libc::ENFILE
        | libc::ENOMEM
        | libc::ENOSYS
        | libc::E2BIG
        | libc::EAGAIN
        | 512..=516 => Judgement::Unknown,
        _ => Judgement::Found,
    }
}

impl Context<'_> {
    pub(crate) fn emit(&mut self, event: Event) {
        self.sink.event(self.process, event);
    }

    /// A string that a call points to. A pointer to nowhere makes the call fail and touches nothing; so does a
    /// string longer than a path.
    fn string(&self, address: u64) -> Option<Vec<u8>> {
        if address == 0 { None } else { tracee::read_path(self.tid, address) }
    }

    /// Where a relative path starts from.
    fn base(&mut self, base: Base, args: &Args) -> Option<PathBuf> {
        let link = match base {
            Base::Fd(arg) if args[usize::from(arg)] as i32 != libc::AT_FDCWD => {
                let fd = args[usize::from(arg)] as i32;
                // No such descriptor: the call fails and touches nothing.
                tracee::descriptor(self.tid, fd)?;
                format!("fd/{fd}")
            }
            _ => "cwd".to_owned(),
        };
        let path = tracee::link(self.tid, &link);
        if path.is_none() && !tracee::is_nameless(self.tid, &link) {
            self.emit(Event::Gap);
        }
        path
    }

    /// The path of `at`; nothing if it names none, or is no path.
    fn path(&mut self, at: At, args: &Args) -> Option<PathBuf> {
        let (base, arg) = match at {
            At::Fd(arg) => return tracee::link(self.tid, &format!("fd/{}", args[usize::from(arg)] as i32)),
            At::Path { base, path } => (base, path),
        };
        let string = self.string(args[usize::from(arg)])?;
        let path = PathBuf::from(OsString::from_vec(string));
        if path.is_absolute() {
            Some(tracee::tidy(&path))
        } else if path.as_os_str().is_empty() {
            None
        } else {
            Some(tracee::tidy(&self.base(base, args)?.join(path)))
        }
    }

    /// The path of `at`, or where it has none (`AT_EMPTY_PATH`, or a null pointer) that of the descriptor itself.
    fn path_or_descriptor(&mut self, at: At, args: &Args) -> Option<PathBuf> {
        if let Some(path) = self.path(at, args) {
            return Some(path);
        }
        let At::Path { base: Base::Fd(fd), path } = at else { return None };
        let pointer = args[usize::from(path)];
        if pointer != 0 && self.string(pointer).is_none_or(|string| !string.is_empty()) {
            return None;
        }
        tracee::link(self.tid, &format!("fd/{}", args[usize::from(fd)] as i32))
    }

    /// The path in the socket address of `connect` and `bind`, if it is one in the file system.
    fn socket_path(&mut self, args: &Args) -> Option<PathBuf> {
        let mut address = [0; size_of::<libc::sockaddr_un>()];
        let length = address.len().min(args[2] as usize);
        let read = tracee::read_memory(self.tid, args[1], &mut address[..length])?;
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
    fn absolute(&self, path: PathBuf) -> PathBuf {
        if path.is_absolute() {
            return tracee::tidy(&path);
        }
        tracee::tidy(&tracee::link(self.tid, "cwd").unwrap_or_default().join(path))
    }

    /// The place of a directory entry.
    fn place(&self, path: PathBuf) -> Place {
        let real = tracee::real_entry(self.tid, &path);
        Place::new(path, real)
    }

    fn opened(&mut self, path: PathBuf, fd: u64, access: Access) {
        let fd = fd as i32;
        let real = tracee::link(self.tid, &format!("fd/{fd}"));
        let kind = match tracee::descriptor(self.tid, fd).map(|metadata| metadata.file_type()) {
            Some(kind) if kind.is_dir() => Kind::Directory,
            Some(kind) if is_special(kind) => Kind::Special,
            _ => Kind::File,
        };
        self.emit(Event::Opened(Place::new(path, real), kind, access));
    }

    fn looked_up(&mut self, path: PathBuf, outcome: Outcome) {
        let judgement = outcome.map_or_else(judge, |_| Judgement::Found);
        match judgement {
            Judgement::Found => self.emit(Event::Found(path)),
            // A file where a directory was wanted is not missing.
            Judgement::Missing if outcome == Err(libc::ENOTDIR) => self.probe(path),
            Judgement::Missing => self.emit(Event::Missing(path)),
            Judgement::Denied => self.emit(Event::Denied(path)),
            Judgement::Unknown => {}
        }
    }

    /// Looks itself, where the outcome does not tell.
    fn probe(&mut self, path: PathBuf) {
        let found = tracee::exists(self.tid, &path, false);
        self.emit(if found { Event::Found(path) } else { Event::Missing(path) });
    }

    fn made(&mut self, path: PathBuf, outcome: Outcome, event: impl FnOnce(Place) -> Event) {
        if outcome.is_ok() {
            let place = self.place(path);
            self.emit(event(place));
        } else {
            self.looked_up(path, outcome);
        }
    }

    /// For calls that change one directory entry.
    fn on_success(
        &mut self,
        at: At,
        args: &Args,
        event: impl FnOnce(Place) -> Event + 'static,
    ) -> Option<OnExit> {
        let path = self.path(at, args)?;
        Some(Box::new(move |context, outcome| context.made(path, outcome, event)))
    }
}

fn is_special(kind: std::fs::FileType) -> bool {
    kind.is_char_device() || kind.is_block_device() || kind.is_fifo() || kind.is_socket()
}
