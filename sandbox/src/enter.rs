// SPDX-License-Identifier: Apache-2.0
//! What a worker process does once, before its first command: namespaces of its own, and in them a template of /dev
//! and a tmpfs for the commands' writes. Knows no command.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use crate::child::Memory;
use crate::run::Running;
use crate::{Entry, Error, Job, Layer, Result, SyncStats, Tree, chroot, remove, sys};

/// What this machine offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// Commands run in a user namespace, so that even root's cannot reach the machine. False where root may make
    /// mount namespaces but no user namespaces.
    pub user_namespace: bool,
    /// [`crate::Layer::Memory`] is what it says; else all writes go to disk.
    pub memory_layer: bool,
}

/// A worker's place to run commands, one after another.
#[derive(Debug)]
pub struct Sandbox {
    pub(crate) directory: PathBuf,
    /// The same directory, as this namespace sees it.
    pub(crate) scratch: OwnedFd,
    /// The same directory, opened before there was a namespace. It is locked for as long as a process has this open,
    /// which tells [`sweep`].
    _lock: OwnedFd,
    pub(crate) tree: Tree,
    pub(crate) memory: Memory,
    /// This process: readable when it is dead.
    pub(crate) worker: OwnedFd,
    pub(crate) support: Support,
    /// Commands so far: the name of the next one's layer.
    pub(crate) count: u64,
    /// Sandboxes whose processes are gone and whose mounts are not yet.
    pub(crate) ending: VecDeque<Running>,
    /// A command goes on for as long as somebody holds the other end.
    pub(crate) leash: Option<OwnedFd>,
}

const PREFIX: &str = "sandbox-";

impl Sandbox {
    /// Moves this process, which must have one thread, into a mount namespace of its own (and a user namespace: an ordinary
    /// user gets rights within it, and keeps its user id), and makes an empty tree in a new directory below `scratch`.
    /// The process sees the same files as before. Processes that it starts by other means are in the namespaces too.
    ///
    /// # Errors
    /// The directory cannot be made, or the kernel refuses; [`check`] tells beforehand, without changing the process.
    pub fn enter(scratch: &Path) -> Result<Sandbox> {
        let (directory, fd) = own_directory(scratch)?;
        let entered = Sandbox::enter_in(directory.clone(), fd);
        if entered.is_err() {
            // What is mounted there goes with the process; what is left is for sweep.
            fs::remove_dir(&directory).ok();
        }
        entered
    }

    fn enter_in(directory: PathBuf, lock: OwnedFd) -> Result<Sandbox> {
        let memory = Memory::new().map_err(|e| Error::setup("map memory", e))?;
        let user_namespace = unshare()?;
        if !user_namespace {
            chroot::leave(&directory).map_err(|e| with_hint("leave a chroot", e))?;
        }
        let private = libc::MS_REC | libc::MS_PRIVATE;
        sys::mount(None, c"/", None, private, None)
            .map_err(|e| with_hint("separate its mounts from the machine's", e))?;
        // A descriptor from before would lead to the mounts of the namespace that it was opened in.
        let scratch = File::open(&directory).map_err(|e| Error::file("cannot open", &directory, e))?.into();
        for name in ["root", "mem", "disk", "dev"] {
            let path = directory.join(name);
            fs::create_dir(&path).map_err(|e| Error::file("cannot make directory", &path, e))?;
        }
        make_dev(&directory).map_err(|e| with_hint("make /dev", e))?;
        let mem = directory.join("mem");
        mount_tmpfs(&mem, c"mode=0755").map_err(|e| with_hint("mount a tmpfs", e))?;
        let mem = sys::open_dir(&mem).map_err(|e| Error::file("cannot open", &mem, e))?;
        // Without a user namespace, overlayfs uses trusted.* attributes, which every tmpfs has.
        let memory_layer = !user_namespace || sys::has_user_xattr(mem.as_fd());
        let worker = sys::pidfd_open(std::process::id() as libc::pid_t)
            .map_err(|e| Error::setup("watch over the worker", e))?;
        let tree = Tree::create(&directory.join("tree"))?;
        let support = Support { user_namespace, memory_layer };
        Ok(Sandbox {
            directory,
            scratch,
            _lock: lock,
            tree,
            memory,
            worker,
            support,
            count: 0,
            ending: VecDeque::new(),
            leash: None,
        })
    }

    /// From now on, this process and the commands have a network of their own in which there is nothing, not even a loopback device
    /// that is up: one for all commands, since making one takes as long as a command's sandbox.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn leave_network(&mut self) -> Result<()> {
        // SAFETY: integers.
        sys::check(unsafe { libc::unshare(libc::CLONE_NEWNET) })
            .map_err(|e| with_hint("make a network namespace", e))?;
        Ok(())
    }

    /// From now on a command is ended when the other end of this socket is closed: [`Error::Abandoned`].
    pub fn tie(&mut self, leash: OwnedFd) {
        self.leash = Some(leash);
    }

    /// What this sandbox can do.
    #[must_use]
    pub fn support(&self) -> Support {
        self.support
    }

    /// Makes `wanted` the files that the next commands see: see [`Tree::sync`].
    ///
    /// # Errors
    /// As [`Tree::sync`].
    pub fn sync(&mut self, wanted: &BTreeMap<PathBuf, Entry>) -> Result<SyncStats> {
        self.tree.sync(wanted)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.reap_ended(0).ok();
        for mount in ["dev", "mem"] {
            if let Ok(path) = sys::cstr(self.directory.join(mount)) {
                // SAFETY: the path is NUL-terminated.
                unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
            }
        }
        // What cannot be removed now is removed by the next sweep.
        if remove::remove_content(self.scratch.as_fd()).is_ok() {
            fs::remove_dir(&self.directory).ok();
        }
    }
}

/// Makes and locks a directory that no other process has.
pub(crate) fn own_directory(scratch: &Path) -> Result<(PathBuf, OwnedFd)> {
    fs::create_dir_all(scratch).map_err(|e| Error::file("cannot make directory", scratch, e))?;
    let scratch = scratch.canonicalize().map_err(|e| Error::file("cannot resolve", scratch, e))?;
    for number in 0u32.. {
        let path = scratch.join(format!("{PREFIX}{}-{number}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(Error::file("cannot make directory", &path, error)),
        }
        // A sweep may have come between: then the directory is gone again.
        let Ok(directory) = File::open(&path) else { continue };
        if lock(&directory) && path.exists() {
            return Ok((path, directory.into()));
        }
    }
    Err(Error::file("cannot make a directory in", &scratch, io::ErrorKind::AlreadyExists.into()))
}

/// Locks an open directory, unless another process has it locked.
fn lock(directory: &File) -> bool {
    // SAFETY: an open descriptor and integers.
    unsafe { libc::flock(directory.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

/// Removes what sandboxes of dead processes have left in `scratch`; says how many there were.
///
/// # Errors
/// `scratch` cannot be read, or something in it cannot be removed.
pub fn sweep(scratch: &Path) -> Result<usize> {
    let failed = |e| Error::file("cannot clean up", scratch, e);
    let base = match sys::open_dir(scratch) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        result => result.map_err(failed)?,
    };
    let listed = sys::openat(base.as_fd(), c".", libc::O_RDONLY | libc::O_DIRECTORY).map_err(failed)?;
    let mut count = 0;
    for entry in sys::list(listed.as_fd()).map_err(failed)? {
        if !entry.is_dir || !entry.name.to_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let Ok(directory) = sys::openat(base.as_fd(), &entry.name, flags) else { continue };
        let directory = File::from(directory);
        if lock(&directory) {
            remove::remove_dir(base.as_fd(), &entry.name).map_err(failed)?;
            count += 1;
        }
    }
    Ok(count)
}

/// Leaves the mount namespace of the other processes, and the user namespace too if possible. Says whether it was.
fn unshare() -> Result<bool> {
    let maps = (identity("/proc/self/uid_map"), identity("/proc/self/gid_map"));
    // SAFETY: takes nothing.
    let root = unsafe { libc::geteuid() } == 0;
    match unshare_user(root, &maps) {
        Ok(()) => Ok(true),
        Err(error) if root && error.raw_os_error() != Some(libc::EINVAL) => {
            // SAFETY: integers.
            sys::check(unsafe { libc::unshare(libc::CLONE_NEWNS) })
                .map_err(|e| with_hint("make a mount namespace", e))?;
            Ok(false)
        }
        Err(error) => Err(with_hint("make a user namespace", error)),
    }
}

/// A map that leaves every id as it is.
fn identity(path: &str) -> String {
    let mut map = String::new();
    for line in fs::read_to_string(path).unwrap_or_default().lines() {
        if let [inside, _, count] = line.split_whitespace().collect::<Vec<_>>()[..] {
            map.push_str(&format!("{inside} {inside} {count}\n"));
        }
    }
    map
}

/// Enters a new user namespace and a new mount namespace. Root's commands keep all ids, as far as they exist here:
/// only a process outside may map more than its own, so a child stays behind to do it.
fn unshare_user(root: bool, maps: &(String, String)) -> io::Result<()> {
    // SAFETY: takes nothing; ids as they were before they look different inside.
    let (pid, uid, gid) = unsafe { (libc::getpid(), libc::geteuid(), libc::getegid()) };
    let helper = if root { Some(Helper::start(pid, maps)?) } else { None };
    // SAFETY: integers.
    if let Err(error) = sys::check(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) }) {
        helper.into_iter().for_each(Helper::dismiss);
        return Err(error);
    }
    if helper.is_some_and(Helper::finish) {
        return Ok(());
    }
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// A child outside of the new user namespace.
struct Helper {
    pid: libc::pid_t,
    go: OwnedFd,
}

impl Helper {
    fn start(worker: libc::pid_t, maps: &(String, String)) -> io::Result<Helper> {
        let (wait, go) = sys::pipe()?;
        // SAFETY: the child only writes two files, and exits without returning.
        let pid = sys::check(unsafe { libc::fork() })?;
        if pid > 0 {
            return Ok(Helper { pid, go });
        }
        drop(go);
        let mut byte = [0];
        // A worker that does not get that far closes the pipe without a word.
        let told = matches!(File::from(wait).read(&mut byte), Ok(1));
        let done = told
            && fs::write(format!("/proc/{worker}/uid_map"), &maps.0).is_ok()
            && fs::write(format!("/proc/{worker}/gid_map"), &maps.1).is_ok();
        // SAFETY: ends the process without running what the worker had registered for its own exit.
        unsafe { libc::_exit(i32::from(!done)) }
    }

    fn finish(self) -> bool {
        File::from(self.go).write_all(b"g").ok();
        Helper::wait(self.pid)
    }

    /// There is nothing to do for it.
    fn dismiss(self) {
        drop(self.go);
        Helper::wait(self.pid);
    }

    fn wait(pid: libc::pid_t) -> bool {
        let mut status = 0;
        // SAFETY: our own child; the result has room.
        unsafe { libc::waitpid(pid, &raw mut status, 0) == pid && status == 0 }
    }
}

fn mount_tmpfs(path: &Path, options: &CStr) -> io::Result<()> {
    mount_tmpfs_with(path, options, libc::MS_NODEV)
}

fn mount_tmpfs_with(path: &Path, options: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    let flags = libc::MS_NOSUID | flags;
    sys::mount(Some(c"tmpfs"), &sys::cstr(path)?, Some(c"tmpfs"), flags, Some(options))
}

/// A /dev with what programs expect, which no command can change. Every sandbox binds it.
fn make_dev(directory: &Path) -> io::Result<()> {
    let dev = directory.join("dev");
    let devices =
        [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)].map(|(name, n)| (name, 1, n));
    let devices =
        devices.into_iter().chain([("tty", 5, 0)]).map(|device| (Path::new("/dev").join(device.0), device));
    let (there, missing): (Vec<_>, Vec<_>) = devices.partition(|(node, _)| node.exists());
    // Nodes of a tmpfs can be used only where it allows that.
    let flags = if missing.is_empty() { libc::MS_NODEV } else { 0 };
    mount_tmpfs_with(&dev, c"mode=0755,size=64k", flags)?;
    for (node, (name, ..)) in there {
        let here = dev.join(name);
        File::create(&here)?;
        sys::mount(Some(&sys::cstr(node)?), &sys::cstr(here)?, None, libc::MS_BIND, None)?;
    }
    for (_, (name, major, minor)) in missing {
        sys::make_device(&sys::cstr(dev.join(name))?, libc::makedev(major, minor))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        // Shared memory objects are files; a directory that goes away with the command serves as well as a tmpfs.
        ("shm", "/tmp"),
    ] {
        symlink(target, dev.join(name))?;
    }
    let mount = sys::open_dir(&dev)?;
    // A device on a read-only mount can be written to all the same, but not given another mode.
    sys::make_read_only(mount.as_fd(), true)
}

/// The error of a step that the machine's settings may forbid, with what to do about it.
fn with_hint(step: &'static str, error: io::Error) -> Error {
    let setting = |path: &str| fs::read_to_string(path).map(|s| s.trim().to_owned()).unwrap_or_default();
    let hint = if error.raw_os_error() == Some(libc::EINVAL) {
        "; the process must have one thread when it enters"
    } else if setting("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        "; as root: sysctl kernel.unprivileged_userns_clone=1"
    } else if setting("/proc/sys/user/max_user_namespaces") == "0" {
        "; as root: sysctl user.max_user_namespaces=10000"
    } else if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        "; as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give the program an AppArmor profile that allows userns"
    } else {
        "; in a container, it must be allowed to use unshare, mount and pivot_root (seccomp and AppArmor profiles)"
    };
    Error::Setup { step, error, hint: hint.to_owned() }
}

/// Can this machine run sandboxes with `scratch` as their directory? Tries it in a child process.
///
/// # Errors
/// It cannot: one line that says why, and what to do.
pub fn check(scratch: &Path) -> Result<Support> {
    let (from, to) = sys::pipe().map_err(|e| Error::setup("make a pipe", e))?;
    // SAFETY: the child enters a sandbox of its own and exits without returning.
    let pid = sys::check(unsafe { libc::fork() }).map_err(|e| Error::setup("start a process", e))?;
    if pid == 0 {
        drop(from);
        let answer = match attempt(scratch) {
            Ok(support) => format!("+{}{}", u8::from(support.user_namespace), u8::from(support.memory_layer)),
            Err(error) => format!("-{error}"),
        };
        File::from(to).write_all(answer.as_bytes()).ok();
        // SAFETY: ends the process without running what its parent had registered for its own exit.
        unsafe { libc::_exit(0) }
    }
    drop(to);
    let mut answer = Vec::new();
    let read = File::from(from).read_to_end(&mut answer);
    // SAFETY: our own child; nobody wants its status.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    read.map_err(|e| Error::setup("hear from a process", e))?;
    match answer.as_slice() {
        [b'+', user, memory] => Ok(Support { user_namespace: *user == b'1', memory_layer: *memory == b'1' }),
        [b'-', message @ ..] => Err(Error::Unsupported(String::from_utf8_lossy(message).into_owned())),
        _ => Err(Error::Killed),
    }
}

/// Runs a command that does not exist: everything before its start has worked then.
fn attempt(scratch: &Path) -> Result<Support> {
    let mut sandbox = Sandbox::enter(scratch)?;
    for layer in [Layer::Memory, Layer::Disk] {
        let job = Job { layer, ..Job::new("/program", vec!["program".into()], "/") };
        sandbox.run(&job)?;
    }
    Ok(sandbox.support())
}
