// SPDX-License-Identifier: Apache-2.0
//! What it says of a path that a call about it failed. Knows errnos and no calls: tracer, net and hooks' log ask alike.

use std::path::{Path, PathBuf};

use crate::event::Event;

/// What an errno says about the path it was given for.
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

/// Did a call that failed with this errno fail for the sake of a path?
#[must_use]
pub fn is_about_paths(errno: i32) -> bool {
    !matches!(judge(errno), Judgement::Unknown)
}

impl Event {
    /// What the failure of a call about this path has shown. `exists` is asked where the errno does not tell.
    pub fn of_failure(path: PathBuf, errno: i32, exists: impl FnOnce(&Path) -> bool) -> Option<Self> {
        match judge(errno) {
            Judgement::Found => Some(Self::Found(path)),
            // A file where a directory was wanted is not missing.
            Judgement::Missing if errno == libc::ENOTDIR => Some(Self::of_look(exists(&path), path)),
            Judgement::Missing => Some(Self::Missing(path)),
            Judgement::Denied => Some(Self::Denied(path)),
            Judgement::Unknown => None,
        }
    }

    /// The path was looked at, and something was there, or was not.
    #[must_use]
    pub fn of_look(exists: bool, path: PathBuf) -> Self {
        if exists { Self::Found(path) } else { Self::Missing(path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_tells_of_the_path_or_of_the_process() {
        let of = |errno, exists: bool| Event::of_failure("/a".into(), errno, |_| exists);
        assert_eq!(of(libc::ENOENT, true), Some(Event::Missing("/a".into())));
        assert_eq!(of(libc::ENOTDIR, true), Some(Event::Found("/a".into())));
        assert_eq!(of(libc::ENOTDIR, false), Some(Event::Missing("/a".into())));
        assert_eq!(of(libc::EACCES, true), Some(Event::Denied("/a".into())));
        assert_eq!(of(libc::EEXIST, false), Some(Event::Found("/a".into())));
        assert_eq!(of(libc::EMFILE, true), None);
        assert!(!is_about_paths(libc::EINTR) && is_about_paths(libc::EXDEV));
    }
}
