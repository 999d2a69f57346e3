// SPDX-License-Identifier: Apache-2.0
//! `posix_spawn`'s file actions: what a child will have as descriptors 0 to 2 and as working directory, found by going through glibc's list
//! in order, and how a child does them that the C library did not make. The list's layout is glibc's own affair, but the same since
//! `posix_spawn` came (new kinds of action were only added); musl's is not looked into. Knows no message.

use core::ffi::{CStr, c_char, c_int, c_void};

use crate::copies::Copies;
use crate::libc;
use crate::path::descriptor;
use crate::room::Buffer;
use crate::sys::{self, AT_FDCWD, Errno, O_ACCMODE, O_CREAT, O_RDONLY, O_TRUNC};
use crate::text::{Text, string};
use wire::FdIdentity;

/// `posix_spawn_file_actions_t`, its used part.
#[repr(C)]
struct FileActions {
    allocated: c_int,
    used: c_int,
    actions: *const Action,
}

/// glibc's `struct __spawn_action`: a tag and the union of what each kind needs.
#[repr(C)]
#[derive(Clone, Copy)]
struct Action {
    tag: c_int,
    kind: Kind,
}

#[repr(C)]
#[derive(Clone, Copy)]
union Kind {
    /// close, fchdir, closefrom, tcsetpgrp.
    fd: c_int,
    dup2: [c_int; 2],
    path: *const c_char,
    open: Open,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Open {
    fd: c_int,
    path: *const c_char,
    flags: c_int,
    mode: u32,
}

const _: () = assert!(size_of::<Action>() == 32);

/// One action.
#[derive(Clone, Copy)]
enum Step {
    Close(c_int),
    Copy {
        from: c_int,
        to: c_int,
    },
    Open(Open),
    ChangeDirectory(*const c_char),
    ChangeDirectoryTo(c_int),
    CloseFrom(c_int),
    TakeTerminal,
    /// Of a kind that came later.
    Unknown,
}

impl Action {
    const OPEN: c_int = 2;

    /// # Safety
    /// As glibc fills it in.
    unsafe fn step(&self) -> Step {
        // SAFETY: each arm reads the member that its tag stands for.
        unsafe {
            match self.tag {
                0 => Step::Close(self.kind.fd),
                1 => {
                    let [from, to] = self.kind.dup2;
                    Step::Copy { from, to }
                }
                Self::OPEN => Step::Open(self.kind.open),
                3 => Step::ChangeDirectory(self.kind.path),
                4 => Step::ChangeDirectoryTo(self.kind.fd),
                5 => Step::CloseFrom(self.kind.fd),
                6 => Step::TakeTerminal,
                _ => Step::Unknown,
            }
        }
    }
}

/// # Safety
/// Null, or initialised file actions of glibc that outlive the result.
unsafe fn steps(actions: *const c_void) -> impl Iterator<Item = Step> {
    let list = actions.cast::<FileActions>();
    // SAFETY: glibc's structure, see above.
    let count = if list.is_null() { 0 } else { usize::try_from(unsafe { (*list).used }).unwrap_or(0) };
    // SAFETY: `used` of them are filled in.
    (0..count).map(move |index| unsafe { (*(*list).actions.add(index)).step() })
}

/// A copy of the actions that outlives the call.
///
/// # Safety
/// Null, or initialised file actions of the program's C library, of which [`Effects`] found that they do nothing but to descriptors.
pub(crate) unsafe fn copy(actions: *const c_void, copies: &mut Copies) -> Option<*const c_void> {
    let list = actions.cast::<FileActions>();
    if list.is_null() {
        return Some(core::ptr::null());
    }
    // SAFETY: as the caller promises.
    let list = unsafe { &*list };
    let count = usize::try_from(list.used).ok()?;
    let room = copies.array::<Action>(count)?;
    for index in 0..count {
        // SAFETY: `used` of them are filled in, and there is room for as many.
        unsafe {
            let mut action = *list.actions.add(index);
            if action.tag == Action::OPEN {
                action.kind.open.path = copies.string(string(action.kind.open.path)?)?;
            }
            room.add(index).write(action);
        }
    }
    let copy = FileActions { allocated: list.used, used: list.used, actions: room.cast_const() };
    Some(copies.value(copy)?.cast())
}

/// Does them, in a child.
///
/// # Safety
/// What [`copy`] gave.
pub(crate) unsafe fn perform(actions: *const c_void) -> Result<(), Errno> {
    // SAFETY: as the caller promises.
    for step in unsafe { steps(actions) } {
        match step {
            // Closing what is not open is no error.
            Step::Close(fd) => sys::close(fd),
            Step::Copy { from, to } if from == to => sys::keep_over_exec(from)?,
            Step::Copy { from, to } => sys::copy_descriptor(from, to)?,
            Step::Open(Open { fd, path, flags, mode }) => {
                sys::close(fd);
                let opened = sys::open_with_mode(path, flags, mode)?;
                if opened != fd {
                    sys::copy_descriptor(opened, fd)?;
                    sys::close(opened);
                }
            }
            Step::CloseFrom(first) => sys::close_from(first)?,
            Step::ChangeDirectory(_) | Step::ChangeDirectoryTo(_) | Step::TakeTerminal | Step::Unknown => {
                return Err(Errno::NOSYS);
            }
        }
    }
    Ok(())
}

/// Where a descriptor of the child comes from.
#[derive(Clone, Copy)]
enum Source {
    Closed,
    /// It is this descriptor of ours.
    Parent(c_int),
    /// It is opened by an action.
    Opened(FdIdentity),
    Unknown,
}

/// How many descriptors the actions may give a meaning before we lose track.
const TRACKED: usize = 32;

/// What the actions come to.
pub(crate) struct Effects<'b> {
    /// Can all descriptors from 0 to 2 be told?
    pub(crate) known: bool,
    /// Do the actions concern nothing but the child's own descriptors? Then one that does nothing but exit may leave them out.
    pub(crate) only_descriptors: bool,
    tracked: [(c_int, Source); TRACKED],
    count: usize,
    closed_from: c_int,
    /// The working directory, if the actions change it.
    cwd: &'b mut Buffer,
    cwd_length: usize,
}

impl<'b> Effects<'b> {
    /// # Safety
    /// Null, or initialised file actions of the program's C library.
    pub(crate) unsafe fn of(actions: *const c_void, cwd: &'b mut Buffer, scratch: &mut Buffer) -> Self {
        let mut effects = Self {
            known: true,
            only_descriptors: true,
            tracked: [(-1, Source::Unknown); TRACKED],
            count: 0,
            closed_from: c_int::MAX,
            cwd,
            cwd_length: 0,
        };
        if actions.is_null() {
            return effects;
        }
        if !libc::is_glibc() {
            effects.give_up();
            return effects;
        }
        // SAFETY: as the caller promises.
        for step in unsafe { steps(actions) } {
            effects.follow(step, scratch);
        }
        effects
    }

    fn follow(&mut self, step: Step, scratch: &mut Buffer) {
        match step {
            Step::Close(fd) => self.set(fd, Source::Closed),
            Step::Copy { from, to } => {
                let source = self.get(from);
                // What is not there cannot be copied, which the caller is to be told.
                self.only_descriptors &= match source {
                    Source::Parent(fd) => sys::fstat(fd).is_ok(),
                    Source::Opened(_) => true,
                    Source::Closed | Source::Unknown => false,
                };
                self.set(to, source);
            }
            Step::Open(Open { fd, path, flags, .. }) => {
                // SAFETY: the strings of actions are NUL-terminated.
                let found = unsafe { string(path) }
                    .and_then(|path| self.locate(path, scratch))
                    .and_then(|path| sys::stat_at(AT_FDCWD, path.as_ptr(), 0).ok());
                // To open a file that is there for reading does nothing to it; what else there is may have to be waited for.
                let reads = flags & (O_ACCMODE | O_CREAT | O_TRUNC) == O_RDONLY;
                self.only_descriptors &= reads && found.is_some_and(|stat| stat.is_file() || stat.is_null());
                self.set(fd, found.map_or(Source::Unknown, |stat| Source::Opened(stat.identity())));
            }
            Step::ChangeDirectory(path) => {
                self.only_descriptors = false;
                // SAFETY: as above.
                self.change_directory(unsafe { string(path) }.map(CStr::to_bytes));
            }
            Step::ChangeDirectoryTo(fd) => {
                self.only_descriptors = false;
                match self.get(fd) {
                    Source::Parent(fd) => self.change_directory(descriptor(fd, scratch)),
                    _ => self.give_up(),
                }
            }
            Step::CloseFrom(fd) => self.close_from(fd),
            Step::TakeTerminal => self.only_descriptors = false,
            Step::Unknown => self.give_up(),
        }
    }

    fn give_up(&mut self) {
        self.known = false;
        self.only_descriptors = false;
    }

    fn set(&mut self, fd: c_int, source: Source) {
        let known = self.tracked.iter_mut().take(self.count).find(|(tracked, _)| *tracked == fd);
        if let Some((_, old)) = known {
            *old = source;
        } else if let Some(free) = self.tracked.get_mut(self.count) {
            *free = (fd, source);
            self.count += 1;
        } else {
            self.give_up();
        }
    }

    fn get(&self, fd: c_int) -> Source {
        match self.tracked.iter().take(self.count).find(|(tracked, _)| *tracked == fd) {
            Some(&(_, source)) => source,
            None if fd >= self.closed_from => Source::Closed,
            None => Source::Parent(fd),
        }
    }

    fn close_from(&mut self, first: c_int) {
        for (_, source) in self.tracked.iter_mut().take(self.count).filter(|(fd, _)| *fd >= first) {
            *source = Source::Closed;
        }
        self.closed_from = self.closed_from.min(first);
    }

    fn change_directory(&mut self, path: Option<&[u8]>) {
        let Some(path) = path else { return self.give_up() };
        let mut length = 0;
        if !path.starts_with(b"/") {
            length = match self.cwd_length {
                0 => sys::getcwd(self.cwd).len(),
                length => length,
            };
            if length == 0 {
                return self.give_up();
            }
        }
        let Some(space) = self.cwd.get_mut(length..) else { return self.give_up() };
        let mut text = Text::new(space);
        text.push(if length == 0 { b"" } else { b"/" }).push(path);
        match text.finish() {
            Some(added) => self.cwd_length = length + added.count_bytes(),
            None => self.give_up(),
        }
    }

    /// The working directory, if the actions change it.
    pub(crate) fn cwd(&self) -> Option<&[u8]> {
        self.cwd.get(..self.cwd_length).filter(|path| !path.is_empty())
    }

    /// A path as the child will see it.
    pub(crate) fn locate<'a>(&'a self, path: &'a CStr, buffer: &'a mut Buffer) -> Option<&'a CStr> {
        match self.cwd() {
            Some(cwd) if !path.to_bytes().starts_with(b"/") => {
                let mut text = Text::new(buffer);
                text.push(cwd).push(b"/").push(path.to_bytes());
                text.finish()
            }
            _ => Some(path),
        }
    }

    /// The child's descriptors 0 to 2; zeros where they are closed or not known.
    pub(crate) fn identities(&mut self) -> [FdIdentity; 3] {
        let mut fds = [FdIdentity::default(); 3];
        for (fd, identity) in (0..).zip(&mut fds) {
            match self.get(fd) {
                Source::Closed => {}
                Source::Parent(fd) => {
                    *identity = sys::fstat(fd).map(|stat| stat.identity()).unwrap_or_default()
                }
                Source::Opened(opened) => *identity = opened,
                Source::Unknown => self.known = false,
            }
        }
        fds
    }

    /// Which of our descriptors is the child's standard output, if one is.
    pub(crate) fn stdout(&self) -> Option<c_int> {
        match self.get(1) {
            Source::Parent(fd) => Some(fd),
            Source::Closed | Source::Opened(_) | Source::Unknown => None,
        }
    }

    /// Which of our descriptors is the child's standard error. Our own where it is a file that is not open yet, so
    /// that nothing is lost.
    pub(crate) fn stderr(&self) -> Option<c_int> {
        match self.get(2) {
            Source::Closed => None,
            Source::Parent(fd) => Some(fd),
            Source::Opened(_) | Source::Unknown => Some(2),
        }
    }
}
