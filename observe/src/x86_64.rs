// SPDX-License-Identifier: Apache-2.0
//! Everything here that depends on the architecture: the table of system calls by number. Registers never
//! appear: `PTRACE_GET_SYSCALL_INFO` hides them. For another architecture write a second file like this one.

use crate::calls::{Call, Flags, Row, cwd, dir, fd};

/// What the kernel calls this architecture in seccomp and ptrace: `AUDIT_ARCH_X86_64`.
pub(crate) const AUDIT_ARCH: u32 = 0xc000_003e;

/// Numbers from here up are another table: x32's.
pub(crate) const FOREIGN_FROM: u32 = 0x4000_0000;

const fn row(nr: libc::c_long, call: Call) -> Row {
    Row { nr: nr as u32, call }
}

/// The calls that stop, each with what it does. The seccomp filter is made from this table and the dispatch
/// looks into it: there is no other list. What is not here does not touch a path: calls on open descriptors other
/// than those listed work on a file whose opening was seen.
pub(crate) const TABLE: &[Row] = &[
    row(libc::SYS_open, Call::Open(cwd(0), Flags::Arg(1))),
    row(libc::SYS_openat, Call::Open(dir(0, 1), Flags::Arg(2))),
    row(libc::SYS_openat2, Call::Open(dir(0, 1), Flags::How(2))),
    row(libc::SYS_creat, Call::Open(cwd(0), Flags::Always(libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC))),
    row(libc::SYS_stat, Call::LookUp(cwd(0))),
    row(libc::SYS_lstat, Call::LookUp(cwd(0))),
    row(libc::SYS_newfstatat, Call::LookUp(dir(0, 1))),
    row(libc::SYS_statx, Call::LookUp(dir(0, 1))),
    row(libc::SYS_access, Call::LookUp(cwd(0))),
    row(libc::SYS_faccessat, Call::LookUp(dir(0, 1))),
    row(libc::SYS_faccessat2, Call::LookUp(dir(0, 1))),
    row(libc::SYS_readlink, Call::LookUp(cwd(0))),
    row(libc::SYS_readlinkat, Call::LookUp(dir(0, 1))),
    row(libc::SYS_statfs, Call::LookUp(cwd(0))),
    row(libc::SYS_getxattr, Call::LookUp(cwd(0))),
    row(libc::SYS_lgetxattr, Call::LookUp(cwd(0))),
    row(libc::SYS_listxattr, Call::LookUp(cwd(0))),
    row(libc::SYS_llistxattr, Call::LookUp(cwd(0))),
    row(464 /* getxattrat */, Call::LookUp(dir(0, 1))),
    row(465 /* listxattrat */, Call::LookUp(dir(0, 1))),
    row(468 /* file_getattr */, Call::LookUp(dir(0, 1))),
    row(libc::SYS_chdir, Call::LookUp(cwd(0))),
    row(libc::SYS_chroot, Call::LookUp(cwd(0))),
    row(libc::SYS_uselib, Call::Open(cwd(0), Flags::Always(libc::O_RDONLY))),
    row(libc::SYS_inotify_add_watch, Call::LookUp(cwd(1))),
    row(libc::SYS_fanotify_mark, Call::LookUp(dir(3, 4))),
    row(libc::SYS_name_to_handle_at, Call::LookUp(dir(0, 1))),
    row(libc::SYS_open_tree, Call::LookUp(dir(0, 1))),
    row(467 /* open_tree_attr */, Call::LookUp(dir(0, 1))),
    row(libc::SYS_mount, Call::LookUp(cwd(1))),
    row(libc::SYS_umount2, Call::LookUp(cwd(0))),
    row(libc::SYS_getdents, Call::List(fd(0))),
    row(libc::SYS_getdents64, Call::List(fd(0))),
    row(libc::SYS_truncate, Call::Truncate(cwd(0))),
    row(libc::SYS_mkdir, Call::Make(cwd(0))),
    row(libc::SYS_mkdirat, Call::Make(dir(0, 1))),
    row(libc::SYS_mknod, Call::Make(cwd(0))),
    row(libc::SYS_mknodat, Call::Make(dir(0, 1))),
    row(libc::SYS_symlink, Call::Symlink(0, cwd(1))),
    row(libc::SYS_symlinkat, Call::Symlink(0, dir(1, 2))),
    row(libc::SYS_link, Call::Link(cwd(0), cwd(1))),
    row(libc::SYS_linkat, Call::Link(dir(0, 1), dir(2, 3))),
    row(libc::SYS_rename, Call::Rename(cwd(0), cwd(1), None)),
    row(libc::SYS_renameat, Call::Rename(dir(0, 1), dir(2, 3), None)),
    row(libc::SYS_renameat2, Call::Rename(dir(0, 1), dir(2, 3), Some(4))),
    row(libc::SYS_unlink, Call::Remove(cwd(0))),
    row(libc::SYS_unlinkat, Call::Remove(dir(0, 1))),
    row(libc::SYS_rmdir, Call::Remove(cwd(0))),
    row(libc::SYS_chmod, Call::Attributes(cwd(0))),
    row(libc::SYS_fchmod, Call::Attributes(fd(0))),
    row(libc::SYS_fchmodat, Call::Attributes(dir(0, 1))),
    row(452 /* fchmodat2 */, Call::Attributes(dir(0, 1))),
    row(libc::SYS_chown, Call::Attributes(cwd(0))),
    row(libc::SYS_lchown, Call::Attributes(cwd(0))),
    row(libc::SYS_fchown, Call::Attributes(fd(0))),
    row(libc::SYS_fchownat, Call::Attributes(dir(0, 1))),
    row(libc::SYS_utime, Call::Attributes(cwd(0))),
    row(libc::SYS_utimes, Call::Attributes(cwd(0))),
    row(libc::SYS_futimesat, Call::Attributes(dir(0, 1))),
    row(libc::SYS_utimensat, Call::Attributes(dir(0, 1))),
    row(libc::SYS_setxattr, Call::Attributes(cwd(0))),
    row(libc::SYS_lsetxattr, Call::Attributes(cwd(0))),
    row(libc::SYS_fsetxattr, Call::Attributes(fd(0))),
    row(libc::SYS_removexattr, Call::Attributes(cwd(0))),
    row(libc::SYS_lremovexattr, Call::Attributes(cwd(0))),
    row(libc::SYS_fremovexattr, Call::Attributes(fd(0))),
    row(463 /* setxattrat */, Call::Attributes(dir(0, 1))),
    row(466 /* removexattrat */, Call::Attributes(dir(0, 1))),
    row(469 /* file_setattr */, Call::Attributes(dir(0, 1))),
    row(libc::SYS_execve, Call::Exec(cwd(0))),
    row(libc::SYS_execveat, Call::Exec(dir(0, 1))),
    row(libc::SYS_connect, Call::Connect),
    row(libc::SYS_bind, Call::Bind),
    row(libc::SYS_socket, Call::Socket),
    row(libc::SYS_open_by_handle_at, Call::Refuse(libc::EPERM)),
    // A program that is told so uses ordinary calls instead; a ring made before the filter cannot exist here.
    row(425 /* io_uring_setup */, Call::Refuse(libc::ENOSYS)),
    row(426 /* io_uring_enter */, Call::Refuse(libc::ENOSYS)),
    row(427 /* io_uring_register */, Call::Refuse(libc::ENOSYS)),
];
