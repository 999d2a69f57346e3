// SPDX-License-Identifier: Apache-2.0
//! What each call of the table means: its arguments turned into a [`Request`] when it is about to be executed, and the
//! request and its outcome into events. Knows neither how one gets to see a call nor how its outcome becomes known: a
//! tracer is told, for the net `foresee.rs` finds out.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::calls::{At, Attribute, Call, Descriptors, Flags, Links, Removal};
use crate::context::{Args, Context};
use crate::event::{Access, Event, Kind, Place, Transfer};
use crate::executed;
use crate::failure::is_about_paths;
use crate::tracee::{View, own_list, process_of};

/// What a call asks for.
#[derive(Debug)]
pub(crate) enum Request {
    /// To open a file.
    Open(Open),
    /// To tell whether there is something, and if so, whether that may be done to it that is in the mode.
    LookUp { path: PathBuf, follow: bool, mode: Option<i32> },
    /// To cut off or fill up a file.
    Truncate { path: PathBuf, emptied: bool },
    /// To make an entry: a symbolic link if there is a target.
    Make { path: PathBuf, target: Option<PathBuf> },
    /// To remove an entry: of a directory, or of anything else.
    Remove { path: PathBuf, directory: bool },
    /// To give what is at `from` the name `to`.
    Transfer { how: Transfer, from: PathBuf, to: PathBuf, follow: bool, replace: bool },
    /// To change attributes, for which one has to be somebody.
    Attributes { path: PathBuf, follow: bool, right: Right },
    /// To execute a program.
    Exec { path: PathBuf },
}

/// What `open` asks for.
#[derive(Debug)]
pub(crate) struct Open {
    pub path: PathBuf,
    /// `O_*`.
    pub flags: i32,
    /// It would make the file. Known once [`Request::prepare`] has looked.
    pub created: bool,
}

/// Who may change an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// The owner of the file.
    Owner,
    /// Who owns the file and gives it to this user.
    Giver(u32),
    /// The owner, and who may write to the file.
    OwnerOrWriter,
    /// Who may write to the file.
    Writer,
}

/// What came of a call that did not fail.
#[derive(Debug)]
pub(crate) enum Done {
    /// It is over, and has returned this.
    Returned(u64),
    /// It will find this file.
    File(Seen),
    /// It will succeed.
    Foreseen,
}

/// What a request asks of its path that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// To open it for reading, with these flags.
    Open(i32),
    /// What is there, whether links are followed, and whether that may be done to it.
    LookUp(bool, Option<i32>),
}

/// A file, as far as it matters how it was found.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub kind: Kind,
    pub real: Option<PathBuf>,
}

/// What came, or will come, of a call: something, or an errno.
pub(crate) type Outcome = Result<Done, i32>;

/// What a call asks for; nothing if its outcome does not matter, because it touches nothing or has been told already.
pub(crate) fn decode(context: &mut Context, call: Call, args: &Args) -> Option<Request> {
    let arg = |arg: u8| args[usize::from(arg)];
    Some(match call {
        Call::Open(at, flags) => {
            let (flags, resolve) = match flags {
                Flags::Arg(number) => (arg(number) as i32, 0),
                Flags::Always(flags) => (flags, 0),
                Flags::How(number) => {
                    let [flags, _, resolve] = context.open_how(arg(number))?;
                    (flags as i32, resolve)
                }
            };
            let in_root = resolve & libc::RESOLVE_IN_ROOT != 0;
            let path = if in_root { context.path_in_root(at, args, flags) } else { context.path(at, args) }?;
            if let Some(errno) = context.refusal(at, args, flags, resolve) {
                context.looked_up(path, Some(errno));
                return None;
            }
            Request::Open(Open { path, flags, created: false })
        }
        Call::LookUp(at, links) => look_up(context.path(at, args)?, follows(links, args)),
        Call::Access(at, links, mode) => Request::LookUp {
            path: context.path(at, args)?,
            follow: follows(links, args),
            mode: Some(arg(mode) as i32),
        },
        Call::List(at) => {
            let path = context.path(at, args)?;
            let is_of_processes = path.starts_with("/proc");
            let process = if is_of_processes { process_of(context.view.tid) } else { 0 };
            context.emit(Event::Listed(own_list(path, process)));
            return None;
        }
        Call::Truncate(at) => Request::Truncate { path: context.path(at, args)?, emptied: args[1] == 0 },
        Call::Make(at) => Request::Make { path: context.path(at, args)?, target: None },
        Call::Symlink(target, at) => {
            let target = PathBuf::from(OsString::from_vec(context.string(arg(target))?));
            Request::Make { path: context.path(at, args)?, target: Some(target) }
        }
        Call::Remove(at, what) => {
            let directory = match what {
                Removal::File => false,
                Removal::Directory => true,
                Removal::By(flags) => arg(flags) as i32 & libc::AT_REMOVEDIR != 0,
            };
            Request::Remove { path: context.path(at, args)?, directory }
        }
        Call::Link(from, to, links) => {
            let to = context.path(to, args)?;
            match context.path_or_descriptor(from, args) {
                Some(from) => Request::Transfer {
                    how: Transfer::Link,
                    from,
                    to,
                    follow: follows(links, args),
                    replace: false,
                },
                // What had no name (`O_TMPFILE`) gets one.
                None if context.is_nameless(from, args) => Request::Make { path: to, target: None },
                None => return None,
            }
        }
        Call::Rename(from, to, flags) => {
            let flags = flags.map_or(0, |flags| arg(flags) as u32);
            let replace = flags & libc::RENAME_NOREPLACE == 0;
            Request::Transfer {
                how: match () {
                    () if flags & libc::RENAME_EXCHANGE != 0 => Transfer::Exchange,
                    () if replace => Transfer::Rename,
                    () => Transfer::RenameToNew,
                },
                from: context.path_or_descriptor(from, args)?,
                to: context.path(to, args)?,
                follow: false,
                replace,
            }
        }
        Call::Attributes(at, links, attribute) => Request::Attributes {
            path: context.path_or_descriptor(at, args)?,
            follow: follows(links, args),
            right: match attribute {
                Attribute::Mode => Right::Owner,
                Attribute::Owner(uid) if arg(uid) as u32 == u32::MAX => Right::Owner,
                Attribute::Owner(uid) => Right::Giver(arg(uid) as u32),
                Attribute::Times(times) if arg(times) == 0 => Right::OwnerOrWriter,
                Attribute::Times(_) => Right::Owner,
                Attribute::Other => Right::Writer,
            },
        },
        Call::Exec(at, _) => Request::Exec { path: context.path_or_descriptor(at, args)? },
        Call::Connect => look_up(context.socket_path(args)?, true),
        Call::Bind => Request::Make { path: context.socket_path(args)?, target: None },
        Call::Socket => {
            if !matches!(args[0] as i32, libc::AF_UNIX | libc::AF_NETLINK | libc::AF_ALG) {
                context.emit(Event::Network);
            }
            return None;
        }
        Call::Share(key) => {
            if key.is_none_or(|key| arg(key) as i32 != libc::IPC_PRIVATE) {
                context.emit(Event::Shares);
            }
            return None;
        }
        Call::Input(fd) => {
            context.emit(Event::Input(context.stream(args[usize::from(fd)])?));
            return None;
        }
        Call::Print(fd, text) => {
            let stream = context.stream(args[usize::from(fd)])?;
            context.emit(Event::Printed(stream, context.text(text, args)));
            return None;
        }
        Call::Pass(from, to) => {
            let [input, output] = call.descriptors();
            let given = |at: Option<Descriptors>, fd| {
                at.filter(|at| at.has(args)).and_then(|_| context.stream(arg(fd)))
            };
            let (source, target) = (given(input, from), given(output, to));
            source.into_iter().for_each(|stream| context.emit(Event::Input(stream)));
            target.into_iter().for_each(|stream| context.emit(Event::Printed(stream, None)));
            return None;
        }
        Call::Move(at) => {
            context.emit(Event::Moved);
            match at {
                At::Fd(_) => return None,
                At::Path { .. } => look_up(context.path(at, args)?, true),
            }
        }
        Call::Remount(at) => {
            context.emit(Event::Remounted);
            look_up(context.path(at, args)?, true)
        }
        Call::Depart(flags) => {
            if flags.is_none_or(|flags| arg(flags) as i32 & NAMESPACES != 0) {
                context.emit(Event::Remounted);
            }
            return None;
        }
        Call::Trace(what) => {
            // All else is asked of one that is traced already.
            let begins = [libc::PTRACE_TRACEME, libc::PTRACE_ATTACH, libc::PTRACE_SEIZE];
            if begins.iter().any(|&request| arg(what) == u64::from(request)) {
                context.emit(Event::Traces);
            }
            return None;
        }
        Call::Exit(_) | Call::Refuse(_) => return None,
    })
}

/// What a process can have of its own beside other files: another root, network, name of the machine, ….
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | CLONE_NEWTIME;
const CLONE_NEWTIME: i32 = 0x80;

fn look_up(path: PathBuf, follow: bool) -> Request {
    Request::LookUp { path, follow, mode: None }
}

fn follows(links: Links, args: &Args) -> bool {
    match links {
        Links::Followed => true,
        Links::Kept => false,
        Links::KeptIf(arg) => args[usize::from(arg)] as i32 & libc::AT_SYMLINK_NOFOLLOW == 0,
        Links::FollowedIf(arg) => args[usize::from(arg)] as i32 & libc::AT_SYMLINK_FOLLOW != 0,
    }
}

impl Open {
    /// Are all bits of this flag set?
    pub(crate) fn has(&self, flag: i32) -> bool {
        self.flags & flag == flag
    }

    /// Can it be read, and written? Access mode 3 asks for the rights to do both, and gives neither: a device's
    /// ioctls only.
    pub(crate) fn mode(&self) -> (bool, bool) {
        let mode = self.flags & libc::O_ACCMODE;
        (mode == libc::O_RDONLY || mode == libc::O_RDWR, mode == libc::O_WRONLY || mode == libc::O_RDWR)
    }

    /// A path only, or a file without a name: no content is reached through the path.
    pub(crate) fn is_of_no_content(&self) -> bool {
        self.has(libc::O_PATH) || self.has(libc::O_TMPFILE)
    }

    fn access(&self) -> Access {
        let (reads, writes) = self.mode();
        // With O_EXCL there was nothing to be emptied.
        let emptied = self.has(libc::O_TRUNC) && !self.has(libc::O_EXCL);
        Access { reads, writes, created: self.created, emptied }
    }
}

impl Request {
    /// The path and what is asked of it, if that changes nothing.
    pub(crate) fn question(&self) -> Option<(&Path, Question)> {
        const OTHER: i32 = libc::O_ACCMODE
            | libc::O_CREAT
            | libc::O_TRUNC
            | libc::O_PATH
            | (libc::O_TMPFILE & !libc::O_DIRECTORY);
        match self {
            Request::Open(open) if open.flags & OTHER == libc::O_RDONLY => {
                Some((&open.path, Question::Open(open.flags)))
            }
            Request::LookUp { path, follow, mode } => Some((path, Question::LookUp(*follow, *mode))),
            _ => None,
        }
    }

    /// Looks at what will not be known any more when the call is over.
    pub(crate) fn prepare(&mut self, view: View) {
        if let Request::Open(open) = self {
            open.created = open.has(libc::O_CREAT)
                && !open.has(libc::O_PATH)
                && (open.has(libc::O_EXCL) || !view.exists(&open.path, true));
        }
    }

    /// Tells what the call has done.
    pub(crate) fn finish(self, context: &mut Context, outcome: Outcome) {
        match self {
            Request::Open(open) => match outcome {
                Ok(done) if !open.is_of_no_content() => {
                    let access = open.access();
                    let seen = match done {
                        Done::File(seen) => seen,
                        Done::Returned(fd) => context.seen(fd as i32),
                        Done::Foreseen => Seen { kind: Kind::File, real: None },
                    };
                    context.emit(Event::Opened(Place::new(open.path, seen.real), seen.kind, access));
                }
                _ => context.looked_up(open.path, outcome.err()),
            },
            Request::LookUp { path, .. } => context.looked_up(path, outcome.err()),
            Request::Truncate { path, emptied } => match outcome {
                Ok(_) => {
                    let access = Access { reads: false, writes: true, created: false, emptied };
                    let place = context.place(path);
                    context.emit(Event::Opened(place, Kind::File, access));
                }
                Err(errno) => context.looked_up(path, Some(errno)),
            },
            Request::Make { path, target: None } => context.changed(path, outcome.err(), Event::Made),
            Request::Make { path, target: Some(target) } => {
                context.changed(path, outcome.err(), |place| Event::Symlinked(place, target));
            }
            Request::Remove { path, .. } => context.changed(path, outcome.err(), Event::Removed),
            Request::Transfer { how, from, to, .. } => match outcome {
                Ok(_) => {
                    let (from, to) = (context.place(from), context.place(to));
                    context.emit(Event::Transferred(how, from, to));
                }
                Err(errno) if !is_about_paths(errno) => {}
                Err(_) => {
                    // The errno does not tell which of the two it is about.
                    context.probe(from);
                    context.probe(to);
                }
            },
            Request::Attributes { path, .. } => match outcome {
                Ok(_) => context.emit(Event::Attributes(path)),
                Err(errno) => context.looked_up(path, Some(errno)),
            },
            Request::Exec { path } => match outcome {
                Ok(Done::Returned(_)) => executed::report(context, path),
                Ok(_) => executed::foresee(context, path),
                Err(errno) => executed::report_failure(context, path, errno),
            },
        }
    }
}
