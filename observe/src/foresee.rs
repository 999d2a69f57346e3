// SPDX-License-Identifier: Apache-2.0
//! Finds out what will come of a call that is about to be executed, for the net, which is not told: looks at the file
//! system as the thread sees it, with our own rights, and reckons as the kernel will.
//!
//! What cannot be foreseen is taken to succeed: that the disk is full, a quota reached, a program being written to runs,
//! a file system does without extended attributes.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use crate::event::{Kind, Transfer};
use crate::handle::{Done, Open, Outcome, Request, Right, Seen};
use crate::tracee::{View, permits, stat_of};

/// How many links in a row are followed to see where a file would be made.
const MAX_LINKS: usize = 40;

impl Request {
    /// What will come of it.
    pub(crate) fn foresee(&mut self, view: View) -> Outcome {
        match self {
            Request::Open(open) => return foresee_open(open, view),
            Request::LookUp { path, follow, mode: None } => view.stat(path, *follow).map(drop),
            Request::LookUp { path, follow, mode: Some(mode) } => access(view, path, *follow, *mode),
            Request::Truncate { path, .. } => truncate(view, path),
            Request::Make { path, .. } => make(view, path),
            Request::Remove { path, directory } => remove(view, path, *directory),
            Request::Transfer { how, from, to, follow, replace } => {
                transfer(view, *how, from, to, *follow, *replace)
            }
            Request::Attributes { path, follow, right } => attributes(view, path, *follow, *right),
            // `finish` follows the program anyway, and finds out.
            Request::Exec { .. } => Ok(()),
        }
        .map(|()| Done::Foreseen)
    }
}

fn is(stat: &libc::stat, kind: libc::mode_t) -> bool {
    stat.st_mode & libc::S_IFMT == kind
}

fn fails_if(fails: bool, errno: i32) -> Result<(), i32> {
    if fails { Err(errno) } else { Ok(()) }
}

fn foresee_open(open: &mut Open, view: View) -> Outcome {
    let creates = open.has(libc::O_CREAT) && !open.has(libc::O_PATH);
    let exclusive = creates && open.has(libc::O_EXCL);
    let keeps_link = exclusive || open.has(libc::O_NOFOLLOW);
    let found = view.find_straight(&open.path, if keeps_link { libc::O_NOFOLLOW } else { 0 });
    let (file, straight) = match found {
        Ok(_) if exclusive => return Err(libc::EEXIST),
        Ok(found) => found,
        Err(libc::ENOENT) if creates => {
            let landing = landing(view, &open.path)?;
            enter(view, &landing, libc::W_OK | libc::X_OK)?;
            open.created = true;
            let real = view.real_entry(&landing);
            return Ok(Done::File(Seen { kind: Kind::File, real }));
        }
        Err(errno) => return Err(errno),
    };
    let stat = stat_of(&file)?;
    let (reads, writes) = open.mode();
    let directory = is(&stat, libc::S_IFDIR);
    fails_if(open.has(libc::O_DIRECTORY) && !directory, libc::ENOTDIR)?;
    if !open.has(libc::O_PATH) {
        fails_if(directory && (writes || creates) && !open.has(libc::O_TMPFILE), libc::EISDIR)?;
        fails_if(is(&stat, libc::S_IFLNK), libc::ELOOP)?;
        fails_if(is(&stat, libc::S_IFSOCK), libc::ENXIO)?;
        // Who may read a file that all may read need not be asked.
        let all = |bits| stat.st_mode & bits == bits;
        let needed = [(reads && !all(0o444), libc::R_OK), (writes, libc::W_OK)];
        let mode = needed.iter().filter(|(needed, _)| *needed).fold(0, |mode, (_, bit)| mode | bit);
        if mode != 0 {
            permits(&file, mode)?;
        }
    }
    let kind = match stat.st_mode & libc::S_IFMT {
        libc::S_IFDIR => Kind::Directory,
        libc::S_IFREG => Kind::File,
        _ => Kind::Special,
    };
    Ok(Done::File(Seen { kind, real: real(view, &open.path, &file, straight) }))
}

/// The real path of what was found.
fn real(view: View, path: &Path, file: &impl AsRawFd, straight: bool) -> Option<PathBuf> {
    if straight && !path.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    view.real_of(file)
}

/// Where a file would be made: a link that leads nowhere is made something of.
fn landing(view: View, path: &Path) -> Result<PathBuf, i32> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Some(target) = view.target(&path) else { return Ok(path) };
        path = path.parent().unwrap_or(&path).join(target);
    }
    Err(libc::ELOOP)
}

/// Opens the directory that an entry is in, if that may be done in it that is in the mode.
fn enter(view: View, path: &Path, mode: i32) -> Result<OwnedFd, i32> {
    let parent = path.parent().ok_or(libc::EBUSY)?;
    let (parent, _) = view.find_straight(parent, libc::O_DIRECTORY)?;
    permits(&parent, mode)?;
    Ok(parent)
}

fn access(view: View, path: &Path, follow: bool, mode: i32) -> Result<(), i32> {
    if mode == libc::F_OK {
        return view.stat(path, follow).map(drop);
    }
    let (file, _) = view.find_straight(path, if follow { 0 } else { libc::O_NOFOLLOW })?;
    permits(&file, mode)
}

fn truncate(view: View, path: &Path) -> Result<(), i32> {
    let (file, _) = view.find_straight(path, 0)?;
    let stat = stat_of(&file)?;
    fails_if(is(&stat, libc::S_IFDIR), libc::EISDIR)?;
    fails_if(!is(&stat, libc::S_IFREG), libc::EINVAL)?;
    permits(&file, libc::W_OK)
}

fn make(view: View, path: &Path) -> Result<(), i32> {
    match view.stat(path, false) {
        Ok(_) => Err(libc::EEXIST),
        Err(libc::ENOENT) => enter(view, path, libc::W_OK | libc::X_OK).map(drop),
        Err(errno) => Err(errno),
    }
}

fn remove(view: View, path: &Path, directory: bool) -> Result<(), i32> {
    let stat = view.stat(path, false)?;
    let found = is(&stat, libc::S_IFDIR);
    fails_if(directory && !found, libc::ENOTDIR)?;
    fails_if(!directory && found, libc::EISDIR)?;
    let parent = enter(view, path, libc::W_OK | libc::X_OK)?;
    sticky(&parent, &stat)?;
    fails_if(directory && !view.is_empty(path), libc::ENOTEMPTY)
}

/// In `/tmp` and the like, one may remove and rename what one owns.
fn sticky(parent: &OwnedFd, entry: &libc::stat) -> Result<(), i32> {
    let parent = stat_of(parent)?;
    let free = parent.st_mode & libc::S_ISVTX == 0;
    let me = user();
    fails_if(!(free || [parent.st_uid, entry.st_uid].contains(&me) || me == 0), libc::EPERM)
}

fn user() -> libc::uid_t {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

fn transfer(
    view: View,
    how: Transfer,
    from: &Path,
    to: &Path,
    follow: bool,
    replace: bool,
) -> Result<(), i32> {
    let old = view.stat(from, follow)?;
    let new = match view.stat(to, false) {
        Ok(stat) => Some(stat),
        Err(libc::ENOENT) => None,
        Err(errno) => return Err(errno),
    };
    let target = enter(view, to, libc::W_OK | libc::X_OK)?;
    let directory = is(&old, libc::S_IFDIR);
    if how == Transfer::Link {
        fails_if(new.is_some(), libc::EEXIST)?;
        fails_if(directory, libc::EPERM)?;
        let (file, _) = view.find_straight(from, if follow { 0 } else { libc::O_NOFOLLOW })?;
        return fails_if(mount(&file) != mount(&target), libc::EXDEV);
    }
    let source = enter(view, from, libc::W_OK | libc::X_OK)?;
    fails_if(mount(&source) != mount(&target), libc::EXDEV)?;
    sticky(&source, &old)?;
    if directory {
        let (file, _) = view.find_straight(from, libc::O_NOFOLLOW)?;
        let inside = view.real_of(&file).zip(view.real_of(&target)).is_some_and(|(a, b)| b.starts_with(a));
        fails_if(inside, libc::EINVAL)?;
    }
    let Some(new) = new else { return fails_if(how == Transfer::Exchange, libc::ENOENT) };
    fails_if(!replace, libc::EEXIST)?;
    sticky(&target, &new)?;
    if how == Transfer::Exchange {
        return Ok(());
    }
    let replaced = is(&new, libc::S_IFDIR);
    fails_if(directory && !replaced, libc::ENOTDIR)?;
    fails_if(!directory && replaced, libc::EISDIR)?;
    fails_if(replaced && !view.is_empty(to), libc::ENOTEMPTY)
}

/// The mount that a file is reached by: no name is moved from one to another, be it the same file system.
fn mount(file: &OwnedFd) -> Option<u64> {
    // SAFETY: all its fields are integers, for which zero is a value.
    let mut info: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is an empty string; the kernel writes one structure of this type.
    let result = unsafe {
        libc::statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, libc::STATX_MNT_ID, &raw mut info)
    };
    // Before Linux 5.8 there is no such number: the device has to do.
    let device = u64::from(info.stx_dev_major) << 32 | u64::from(info.stx_dev_minor);
    let mount = if info.stx_mask & libc::STATX_MNT_ID != 0 { info.stx_mnt_id } else { device };
    (result == 0).then_some(mount)
}

fn attributes(view: View, path: &Path, follow: bool, right: Right) -> Result<(), i32> {
    let (file, _) = view.find_straight(path, if follow { 0 } else { libc::O_NOFOLLOW })?;
    let (stat, me) = (stat_of(&file)?, user());
    let owner = me == 0 || stat.st_uid == me;
    match right {
        Right::Owner => fails_if(!owner, libc::EPERM),
        Right::Giver(uid) => fails_if(me != 0 && !(owner && uid == me), libc::EPERM),
        Right::OwnerOrWriter if owner => Ok(()),
        Right::OwnerOrWriter | Right::Writer => permits(&file, libc::W_OK),
    }
}
