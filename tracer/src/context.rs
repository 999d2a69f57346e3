// SPDX-License-Identifier: Apache-2.0
//! The commands of the build that are running or have run, and who listens to them. A command may be deferred only
//! if nobody looks at what it prints or how it ends before the build is over: its standard output and error must lead
//! where the build's own lead, or to where a build driver collects them just to pass them on. A configure script
//! that compiles a test program listens (it sends the output to a file of its own), and so must get the real answer.

use std::sync::Arc;

use wire::FdIdentity;

use crate::descriptors;
use crate::libtool::Watched;

/// What a running command is to those it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// GNU make, BSD make.
    Make,
    /// Ninja and its like: collects output through pipes, reads dependency files at once.
    Ninja,
    /// libtool: compiles twice and hides what the second compile prints.
    Libtool,
    /// A compiler, archiver or linker that runs for real: what it starts belongs to it.
    Tool,
    /// Anything else.
    Other,
}

impl Role {
    /// Does it start the commands of a build?
    pub fn is_driver(self) -> bool {
        matches!(self, Self::Make | Self::Ninja)
    }
}

/// A destination of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sink {
    /// A pipe, socket or file.
    Inode(u64, u64),
    /// A device: a terminal, `/dev/null`.
    Device(u64),
    /// Closed.
    None,
}

/// `/dev/null`.
const NULL: Sink = Sink::Device(descriptors::NULL);

fn sink(fd: &FdIdentity) -> Sink {
    match fd.mode & libc::S_IFMT {
        0 => Sink::None,
        libc::S_IFCHR => Sink::Device(fd.rdev),
        _ => Sink::Inode(fd.dev, fd.ino),
    }
}

/// What is known of a command that runs or ran.
#[derive(Clone, Debug)]
pub struct Running {
    /// What it is to those it starts.
    pub role: Role,
    /// The nearest driver at or above it.
    pub driver: Role,
    /// Is it, or is something above it, a tool that runs for real?
    pub inside_tool: bool,
    /// Is its program one in which no hook is, so that it may start others unseen?
    pub opaque: bool,
    /// Is each program that it starts a command of the build, and not a part of it? So with build drivers, and with the
    /// shell or shell script that the user ran.
    pub drives: bool,
    /// Is its process the one that was started as the build?
    pub top: bool,
    /// Do hooks in it tell where it puts placeholders, so that it may open them?
    pub carries: bool,
    /// Does it read directories for nothing but the names in them?
    pub names: bool,
    /// Id of the program that started it.
    pub above: u32,
    /// Was something deferred that it started, or what it started? Then it drives a build, whatever it is, and looks at
    /// files to see how old they are.
    pub starts_deferred: bool,
    /// Id of the command that it belongs to: what it does is on that command's record.
    pub group: u32,
    /// A libtool of which the compiles that it starts are watched.
    pub watched: Option<Arc<Watched>>,
    /// Does somebody listen to what it prints? Then nothing that it starts is deferred on its word.
    captured: bool,
    /// Where output may go without anybody listening.
    audience: Vec<Sink>,
}

impl Running {
    /// What stands above the build: the recorder itself, with these as its standard output and error.
    pub fn root(fds: &[FdIdentity; 3]) -> Self {
        Self {
            role: Role::Other,
            driver: Role::Other,
            inside_tool: false,
            opaque: false,
            drives: true,
            top: true,
            carries: false,
            names: false,
            above: 0,
            starts_deferred: false,
            group: 0,
            watched: None,
            captured: false,
            audience: vec![sink(&fds[1]), sink(&fds[2])],
        }
    }

    /// Does output to `fds` of something that this command starts go where nobody listens?
    pub fn passes_on(&self, fds: Option<&[FdIdentity; 3]>) -> bool {
        fds.is_some_and(|fds| self.collects(fds) || fds[1..].iter().all(|fd| self.allows(fd)))
    }

    /// The same for a command that nobody starts to see whether it works: `ranlib x.a >/dev/null 2>&1` in a makefile just
    /// hides what it says. A compiler whose messages are thrown away may be a test of the compiler.
    pub fn passes_on_or_discards(&self, fds: Option<&[FdIdentity; 3]>) -> bool {
        let built = self.driver != Role::Other && !self.captured;
        let discards = |fd: &FdIdentity| built && sink(fd) == NULL;
        fds.is_some_and(|fds| self.collects(fds) || fds[1..].iter().all(|fd| self.allows(fd) || discards(fd)))
    }

    /// `bmake -j` gives each job one pipe for all that it says. Where a make wants to know what a command prints (`!=`, `$(shell …)`), only
    /// standard output is a pipe of its own.
    fn collects(&self, fds: &[FdIdentity; 3]) -> bool {
        self.role == Role::Make
            && !self.captured
            && fds[1].mode & libc::S_IFMT == libc::S_IFIFO
            && sink(&fds[1]) == sink(&fds[2])
    }

    fn allows(&self, fd: &FdIdentity) -> bool {
        let sink = sink(fd);
        if self.audience.contains(&sink) {
            return true;
        }
        if self.captured {
            return false;
        }
        match self.role {
            Role::Ninja => fd.mode & libc::S_IFMT == libc::S_IFIFO,
            // `make -O` collects output in an unlinked temporary file.
            Role::Make => fd.mode & libc::S_IFMT == libc::S_IFREG && fd.nlink == 0,
            Role::Libtool => sink == NULL,
            Role::Tool | Role::Other => false,
        }
    }

    /// The state of a command that this one starts.
    pub fn start(&self, role: Role, fds: Option<&[FdIdentity; 3]>) -> Self {
        let mut audience = self.audience.clone();
        if let Some(fds) = fds.filter(|fds| self.passes_on(Some(fds))) {
            for fd in &fds[1..] {
                if !audience.contains(&sink(fd)) {
                    audience.push(sink(fd));
                }
            }
        }
        let driver = if role.is_driver() { role } else { self.driver };
        // Where it is not known where output goes, nothing is concluded from it.
        let captured = self.captured || (fds.is_some() && !self.passes_on(fds));
        let inside_tool = self.inside_tool || role == Role::Tool;
        // A tool that runs make, as link-time optimisation does, is one command all the same.
        let drives = !self.inside_tool && role.is_driver();
        let group = self.group;
        Self {
            role,
            driver,
            inside_tool,
            opaque: false,
            drives,
            top: false,
            carries: false,
            names: false,
            above: 0,
            starts_deferred: false,
            group,
            watched: None,
            captured,
            audience,
        }
    }
}

impl Running {
    /// Is this, started by `parent`, a command of its own?
    pub fn is_command(&self, parent: &Self) -> bool {
        !parent.inside_tool && (self.drives || parent.drives)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fd(mode: u32, ino: u64, rdev: u64, nlink: u32) -> FdIdentity {
        FdIdentity { dev: 1, ino, rdev, mode, nlink }
    }

    #[test]
    fn a_listener_is_told_from_a_driver_that_passes_on() {
        let tty = fd(libc::S_IFCHR, 5, libc::makedev(136, 0), 1);
        let null = fd(libc::S_IFCHR, 6, descriptors::NULL, 1);
        let pipe = fd(libc::S_IFIFO, 7, 0, 1);
        let log = fd(libc::S_IFREG, 8, 0, 1);
        let unlinked = fd(libc::S_IFREG, 9, 0, 0);
        let root = Running::root(&[tty, tty, tty]);
        let make = root.start(Role::Make, Some(&[tty, tty, tty]));
        assert!(make.passes_on(Some(&[tty, tty, tty])));
        assert!(make.passes_on(Some(&[tty, unlinked, unlinked])));
        assert!(!make.passes_on(Some(&[tty, pipe, tty])), "$(shell …)");
        assert!(make.passes_on(Some(&[tty, pipe, pipe])), "bmake -j");
        assert!(!make.passes_on(Some(&[tty, pipe, fd(libc::S_IFIFO, 10, 0, 1)])));
        assert!(!make.passes_on(Some(&[tty, tty, log])), "configure");
        assert!(!make.passes_on(Some(&[tty, null, null])));
        assert!(make.passes_on_or_discards(Some(&[tty, null, null])));
        assert!(!root.passes_on_or_discards(Some(&[tty, null, null])), "a script tries something");
        assert!(!make.passes_on_or_discards(Some(&[tty, pipe, null])));
        assert!(!make.passes_on(None));
        let libtool = make.start(Role::Libtool, Some(&[tty, tty, tty]));
        assert!(libtool.passes_on(Some(&[tty, null, null])));
        let ninja = root.start(Role::Ninja, Some(&[tty, tty, tty]));
        let shell = ninja.start(Role::Other, Some(&[tty, pipe, pipe]));
        assert!(shell.passes_on(Some(&[null, pipe, pipe])));
        assert_eq!(shell.driver, Role::Ninja);
        // A test build inside of cmake: its ninja's output is captured, so its commands' output is too.
        let captured = root.start(Role::Ninja, Some(&[tty, log, log]));
        let shell = captured.start(Role::Other, Some(&[tty, pipe, pipe]));
        assert!(!shell.passes_on(Some(&[null, pipe, pipe])));
    }
}
