// SPDX-License-Identifier: Apache-2.0
//! Removes what a command left behind: any depth, any mode, no symbolic link followed. Knows only directories.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::sys;

/// Removes everything in the directory `dir`, which stays.
///
/// No process may write below it meanwhile. A command can leave directories nested more deeply than the stack or
/// the table of descriptors would allow to walk, so nothing recurses: a directory that is not empty moves up beside
/// the topmost ones and waits there for its turn.
pub(crate) fn remove_content(dir: BorrowedFd<'_>) -> io::Result<()> {
    let mut pending: VecDeque<CString> = VecDeque::new();
    let mut moved = 0u64;
    let top = open_for_removal(dir, c".")?;
    for entry in sys::list(top.as_fd())? {
        if entry.is_dir { pending.push_back(entry.name) } else { sys::unlink(dir, &entry.name)? }
    }
    while let Some(name) = pending.pop_front() {
        match sys::rmdir(dir, &name) {
            Ok(()) => continue,
            // It was empty, and a directory that moved up has taken its place, and has had its turn.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => {}
        }
        let open = open_for_removal(dir, &name)?;
        for entry in sys::list(open.as_fd())? {
            if !entry.is_dir {
                sys::unlink(open.as_fd(), &entry.name)?;
            } else if sys::rmdir(open.as_fd(), &entry.name).is_err() {
                // Moving a directory to another parent changes its "..", which needs permission to write.
                sys::chmod(open.as_fd(), &entry.name, 0o700)?;
                pending.push_back(move_up(open.as_fd(), &entry.name, dir, &mut moved)?);
            }
        }
        sys::rmdir(dir, &name)?;
    }
    Ok(())
}

/// Removes the directory `name` in `dir` with all that it holds. Its absence is no error.
pub(crate) fn remove_dir(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match sys::rmdir(dir, name) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    let open = open_for_removal(dir, name)?;
    remove_content(open.as_fd())?;
    sys::rmdir(dir, name)
}

/// Opens a directory for listing; gives its owner all rights over it first where they are lacking.
fn open_for_removal(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<std::os::fd::OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let stat = sys::lstat(dir, name)?;
    if stat.st_mode & 0o700 != 0o700 && sys::file_type(&stat) == libc::S_IFDIR {
        sys::chmod(dir, name, 0o700)?;
    }
    sys::openat(dir, name, flags)
}

/// Moves directory `name` from `from` into `to` under a name that is free there.
fn move_up(from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>, moved: &mut u64) -> io::Result<CString> {
    loop {
        *moved += 1;
        let new = sys::cstr(format!(".removed-{moved}"))?;
        match sys::rename(from, name, to, &new) {
            Ok(()) => return Ok(new),
            // Onto an empty directory rename succeeds; a full one or a file in the way refuses.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST | libc::ENOTDIR)) => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    fn removed(dir: &Path) {
        remove_content(sys::open_dir(dir).unwrap().as_fd()).unwrap();
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let space = tempfile::tempdir().unwrap();
        let (victim, dir) = (space.path().join("victim"), space.path().join("dir"));
        std::fs::create_dir_all(&victim).unwrap();
        std::fs::write(victim.join("keep"), "x").unwrap();
        std::fs::create_dir_all(dir.join("a/b")).unwrap();
        symlink(&victim, dir.join("a/b/link")).unwrap();
        symlink(&victim, dir.join("link")).unwrap();
        removed(&dir);
        assert!(victim.join("keep").exists());
    }

    #[test]
    fn closed_directories_are_removed() {
        let space = tempfile::tempdir().unwrap();
        let dir = space.path().join("dir");
        for mode in [0o000, 0o500, 0o300] {
            std::fs::create_dir_all(dir.join("work/work/deep/er")).unwrap();
            std::fs::write(dir.join("work/work/file"), "x").unwrap();
            for name in ["work/work/deep", "work/work", "work"] {
                std::fs::set_permissions(dir.join(name), PermissionsExt::from_mode(mode)).ok();
            }
            removed(&dir);
        }
    }

    #[test]
    fn more_levels_than_descriptors_are_removed() {
        let space = tempfile::tempdir().unwrap();
        let mut at = sys::open_dir(space.path()).unwrap();
        for _ in 0..2_000 {
            sys::mkdir(at.as_fd(), c"d", 0o755).unwrap();
            at = sys::openat(at.as_fd(), c"d", libc::O_PATH).unwrap();
        }
        sys::mkdir(at.as_fd(), c".removed-3", 0o755).unwrap();
        removed(space.path());
    }

    #[test]
    fn names_in_the_way_do_not_disturb() {
        let space = tempfile::tempdir().unwrap();
        std::fs::write(space.path().join(".removed-1"), "").unwrap();
        std::fs::create_dir_all(space.path().join("a/b/c")).unwrap();
        std::fs::create_dir_all(space.path().join(".removed-2/x/y")).unwrap();
        std::fs::create_dir_all(space.path().join("a/.removed-2/x/y")).unwrap();
        removed(space.path());
    }
}
