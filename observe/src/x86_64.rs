// SPDX-License-Identifier: Apache-2.0
//! Everything here that depends on the architecture: the table of system calls by number, and what registers and
//! instructions are needed to change what a stopped thread does. For another architecture write a second file like this
//! one.

use std::io;

use crate::calls::Links::{Followed, FollowedIf, Kept, KeptIf};
use crate::calls::{Attribute, Call, Flags, Meaning, Removal, Row, Text, cwd, dir, fd};
use crate::{Pid, ptrace};

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
    row(libc::SYS_stat, Call::LookUp(cwd(0), Followed)),
    row(libc::SYS_lstat, Call::LookUp(cwd(0), Kept)),
    row(libc::SYS_newfstatat, Call::LookUp(dir(0, 1), KeptIf(3))),
    row(libc::SYS_statx, Call::LookUp(dir(0, 1), KeptIf(2))),
    row(libc::SYS_access, Call::Access(cwd(0), Followed, 1)),
    row(libc::SYS_faccessat, Call::Access(dir(0, 1), Followed, 2)),
    row(libc::SYS_faccessat2, Call::Access(dir(0, 1), KeptIf(3), 2)),
    row(libc::SYS_readlink, Call::LookUp(cwd(0), Kept)),
    row(libc::SYS_readlinkat, Call::LookUp(dir(0, 1), Kept)),
    row(libc::SYS_statfs, Call::LookUp(cwd(0), Followed)),
    row(libc::SYS_getxattr, Call::LookUp(cwd(0), Followed)),
    row(libc::SYS_lgetxattr, Call::LookUp(cwd(0), Kept)),
    row(libc::SYS_listxattr, Call::LookUp(cwd(0), Followed)),
    row(libc::SYS_llistxattr, Call::LookUp(cwd(0), Kept)),
    row(464 /* getxattrat */, Call::LookUp(dir(0, 1), KeptIf(2))),
    row(465 /* listxattrat */, Call::LookUp(dir(0, 1), KeptIf(2))),
    row(468 /* file_getattr */, Call::LookUp(dir(0, 1), KeptIf(4))),
    row(libc::SYS_chdir, Call::Move(cwd(0))),
    row(libc::SYS_fchdir, Call::Move(fd(0))),
    row(libc::SYS_uselib, Call::Open(cwd(0), Flags::Always(libc::O_RDONLY))),
    row(libc::SYS_inotify_add_watch, Call::LookUp(cwd(1), Followed)),
    row(libc::SYS_fanotify_mark, Call::LookUp(dir(3, 4), Followed)),
    row(libc::SYS_name_to_handle_at, Call::LookUp(dir(0, 1), FollowedIf(4))),
    row(libc::SYS_open_tree, Call::LookUp(dir(0, 1), KeptIf(2))),
    row(467 /* open_tree_attr */, Call::LookUp(dir(0, 1), KeptIf(2))),
    row(libc::SYS_chroot, Call::Remount(cwd(0))),
    row(libc::SYS_pivot_root, Call::Remount(cwd(0))),
    row(libc::SYS_mount, Call::Remount(cwd(1))),
    row(libc::SYS_umount2, Call::Remount(cwd(0))),
    row(libc::SYS_move_mount, Call::Remount(dir(2, 3))),
    row(libc::SYS_setns, Call::Depart(None)),
    row(libc::SYS_unshare, Call::Depart(Some(0))),
    row(libc::SYS_getdents, Call::List(fd(0))),
    row(libc::SYS_getdents64, Call::List(fd(0))),
    row(libc::SYS_truncate, Call::Truncate(cwd(0))),
    row(libc::SYS_mkdir, Call::Make(cwd(0))),
    row(libc::SYS_mkdirat, Call::Make(dir(0, 1))),
    row(libc::SYS_mknod, Call::Make(cwd(0))),
    row(libc::SYS_mknodat, Call::Make(dir(0, 1))),
    row(libc::SYS_symlink, Call::Symlink(0, cwd(1))),
    row(libc::SYS_symlinkat, Call::Symlink(0, dir(1, 2))),
    row(libc::SYS_link, Call::Link(cwd(0), cwd(1), Kept)),
    row(libc::SYS_linkat, Call::Link(dir(0, 1), dir(2, 3), FollowedIf(4))),
    row(libc::SYS_rename, Call::Rename(cwd(0), cwd(1), None)),
    row(libc::SYS_renameat, Call::Rename(dir(0, 1), dir(2, 3), None)),
    row(libc::SYS_renameat2, Call::Rename(dir(0, 1), dir(2, 3), Some(4))),
    row(libc::SYS_unlink, Call::Remove(cwd(0), Removal::File)),
    row(libc::SYS_unlinkat, Call::Remove(dir(0, 1), Removal::By(2))),
    row(libc::SYS_rmdir, Call::Remove(cwd(0), Removal::Directory)),
    row(libc::SYS_chmod, Call::Attributes(cwd(0), Followed, Attribute::Mode)),
    row(libc::SYS_fchmod, Call::Attributes(fd(0), Followed, Attribute::Mode)),
    row(libc::SYS_fchmodat, Call::Attributes(dir(0, 1), Followed, Attribute::Mode)),
    row(452 /* fchmodat2 */, Call::Attributes(dir(0, 1), KeptIf(3), Attribute::Mode)),
    row(libc::SYS_chown, Call::Attributes(cwd(0), Followed, Attribute::Owner(1))),
    row(libc::SYS_lchown, Call::Attributes(cwd(0), Kept, Attribute::Owner(1))),
    row(libc::SYS_fchown, Call::Attributes(fd(0), Followed, Attribute::Owner(1))),
    row(libc::SYS_fchownat, Call::Attributes(dir(0, 1), KeptIf(4), Attribute::Owner(2))),
    row(libc::SYS_utime, Call::Attributes(cwd(0), Followed, Attribute::Times(1))),
    row(libc::SYS_utimes, Call::Attributes(cwd(0), Followed, Attribute::Times(1))),
    row(libc::SYS_futimesat, Call::Attributes(dir(0, 1), Followed, Attribute::Times(2))),
    row(libc::SYS_utimensat, Call::Attributes(dir(0, 1), KeptIf(3), Attribute::Times(2))),
    row(libc::SYS_setxattr, Call::Attributes(cwd(0), Followed, Attribute::Other)),
    row(libc::SYS_lsetxattr, Call::Attributes(cwd(0), Kept, Attribute::Other)),
    row(libc::SYS_fsetxattr, Call::Attributes(fd(0), Followed, Attribute::Other)),
    row(libc::SYS_removexattr, Call::Attributes(cwd(0), Followed, Attribute::Other)),
    row(libc::SYS_lremovexattr, Call::Attributes(cwd(0), Kept, Attribute::Other)),
    row(libc::SYS_fremovexattr, Call::Attributes(fd(0), Followed, Attribute::Other)),
    row(463 /* setxattrat */, Call::Attributes(dir(0, 1), KeptIf(2), Attribute::Other)),
    row(466 /* removexattrat */, Call::Attributes(dir(0, 1), KeptIf(2), Attribute::Other)),
    row(469 /* file_setattr */, Call::Attributes(dir(0, 1), KeptIf(4), Attribute::Other)),
    row(libc::SYS_execve, Call::Exec(cwd(0), 1)),
    row(libc::SYS_execveat, Call::Exec(dir(0, 1), 2)),
    row(libc::SYS_ptrace, Call::Trace(0)),
    row(libc::SYS_exit_group, Call::Exit(0)),
    row(libc::SYS_connect, Call::Connect),
    row(libc::SYS_bind, Call::Bind),
    row(libc::SYS_socket, Call::Socket),
    row(libc::SYS_shmget, Call::Share(Some(0))),
    row(libc::SYS_msgget, Call::Share(Some(0))),
    row(libc::SYS_semget, Call::Share(Some(0))),
    row(libc::SYS_mq_open, Call::Share(None)),
    row(libc::SYS_read, Call::Input(0)),
    row(libc::SYS_readv, Call::Input(0)),
    row(libc::SYS_pread64, Call::Input(0)),
    row(libc::SYS_preadv, Call::Input(0)),
    row(libc::SYS_preadv2, Call::Input(0)),
    row(libc::SYS_recvfrom, Call::Input(0)),
    row(libc::SYS_recvmsg, Call::Input(0)),
    row(libc::SYS_recvmmsg, Call::Input(0)),
    row(libc::SYS_write, Call::Print(0, Text::Buffer(1))),
    row(libc::SYS_writev, Call::Print(0, Text::Vector(1))),
    row(libc::SYS_pwrite64, Call::Print(0, Text::Elsewhere)),
    row(libc::SYS_pwritev, Call::Print(0, Text::Elsewhere)),
    row(libc::SYS_pwritev2, Call::Print(0, Text::Elsewhere)),
    row(libc::SYS_sendto, Call::Print(0, Text::Buffer(1))),
    row(libc::SYS_sendmsg, Call::Print(0, Text::Elsewhere)),
    row(libc::SYS_sendmmsg, Call::Print(0, Text::Elsewhere)),
    row(libc::SYS_vmsplice, Call::Print(0, Text::Elsewhere)),
    row(libc::SYS_sendfile, Call::Pass(1, 0)),
    row(libc::SYS_splice, Call::Pass(0, 2)),
    row(libc::SYS_tee, Call::Pass(0, 1)),
    row(libc::SYS_copy_file_range, Call::Pass(0, 2)),
    row(libc::SYS_open_by_handle_at, Call::Refuse(libc::EPERM)),
    // A program that is told so uses ordinary calls instead; a ring made before the filter cannot exist here.
    row(425 /* io_uring_setup */, Call::Refuse(libc::ENOSYS)),
    row(426 /* io_uring_enter */, Call::Refuse(libc::ENOSYS)),
    row(427 /* io_uring_register */, Call::Refuse(libc::ENOSYS)),
];

/// What the kernel calls 32-bit programs: `AUDIT_ARCH_I386`.
pub(crate) const AUDIT_ARCH_32: u32 = 0x4000_0003;

/// The calls of 32-bit programs that are understood, by i386's numbers. Their arguments mean what those of the native calls
/// do: no structure is behind any of them that is another one there.
///
/// It is what a program needs that opens files and prints. Nothing that asks how large a file is: a tracer can have who
/// opens a placeholder wait, but not who only looks at it, and before a call that is not known all are made real.
const TABLE_32: &[Row] = &[
    row(5 /* open */, Call::Open(cwd(0), Flags::Arg(1))),
    row(295 /* openat */, Call::Open(dir(0, 1), Flags::Arg(2))),
    row(33 /* access */, Call::Access(cwd(0), Followed, 1)),
    row(307 /* faccessat */, Call::Access(dir(0, 1), Followed, 2)),
    row(85 /* readlink */, Call::LookUp(cwd(0), Kept)),
    row(305 /* readlinkat */, Call::LookUp(dir(0, 1), Kept)),
    row(3 /* read */, Call::Input(0)),
    row(145 /* readv */, Call::Input(0)),
    row(180 /* pread64 */, Call::Input(0)),
    row(4 /* write */, Call::Print(0, Text::Buffer(1))),
    row(146 /* writev */, Call::Print(0, Text::Elsewhere)),
    row(181 /* pwrite64 */, Call::Print(0, Text::Elsewhere)),
    row(252 /* exit_group */, Call::Exit(0)),
];

/// The calls of 32-bit programs that touch no path, as their native ones do not: on open descriptors, memory, signals, times,
/// processes, and who one is.
const PATHLESS_32: &[u32] = &[
    1,   // exit
    2,   // fork
    6,   // close
    7,   // waitpid
    13,  // time
    19,  // lseek
    20,  // getpid
    24,  // getuid
    37,  // kill
    41,  // dup
    42,  // pipe
    45,  // brk
    47,  // getgid
    49,  // geteuid
    50,  // getegid
    54,  // ioctl
    55,  // fcntl
    63,  // dup2
    64,  // getppid
    67,  // sigaction
    76,  // getrlimit
    78,  // gettimeofday
    90,  // mmap
    91,  // munmap
    114, // wait4
    116, // sysinfo
    119, // sigreturn
    120, // clone
    122, // uname
    125, // mprotect
    126, // sigprocmask
    140, // _llseek
    158, // sched_yield
    162, // nanosleep
    163, // mremap
    168, // poll
    173, // rt_sigreturn
    174, // rt_sigaction
    175, // rt_sigprocmask
    183, // getcwd
    186, // sigaltstack
    190, // vfork
    191, // ugetrlimit
    192, // mmap2
    197, // fstat64
    199, // getuid32
    200, // getgid32
    201, // geteuid32
    202, // getegid32
    219, // madvise
    221, // fcntl64
    224, // gettid
    240, // futex
    243, // set_thread_area
    258, // set_tid_address
    265, // clock_gettime
    270, // tgkill
    309, // ppoll
    311, // set_robust_list
    330, // dup3
    331, // pipe2
    340, // prlimit64
    355, // getrandom
    384, // arch_prctl
    386, // rseq
    403, // clock_gettime64
    422, // futex_time64
];

/// The numbers of all calls of 32-bit programs that something is known of.
#[cfg(test)]
pub(crate) fn numbers_32() -> Vec<u32> {
    TABLE_32.iter().map(|row| row.nr).chain(PATHLESS_32.iter().copied()).collect()
}

/// A call's arguments: the kernel looks at the low halves of those of 32-bit calls only, whoever makes them.
pub(crate) fn arguments(architecture: u32, args: [u64; 6]) -> [u64; 6] {
    args.map(|arg| if architecture == AUDIT_ARCH_32 { arg & u64::from(u32::MAX) } else { arg })
}

/// What a call is, by the table of its architecture, its number and its [`arguments`].
pub(crate) fn meaning(architecture: u32, nr: u32, args: &[u64; 6]) -> Meaning {
    match architecture {
        AUDIT_ARCH if nr < FOREIGN_FROM => {
            TABLE.iter().find(|row| row.nr == nr).map_or(Meaning::Nothing, |row| Meaning::Known(row.call))
        }
        // Of these no filter has looked at the descriptors.
        AUDIT_ARCH_32 => match TABLE_32.iter().find(|row| row.nr == nr).map(|row| row.call) {
            // Whoever opens a file only to ask about it does so by a call that nobody can wait for.
            Some(Call::Open(_, Flags::Arg(arg))) if args[usize::from(arg)] & libc::O_PATH as u64 != 0 => {
                Meaning::Foreign
            }
            Some(call) if call.minds(args) => Meaning::Known(call),
            None if !PATHLESS_32.contains(&nr) => Meaning::Foreign,
            _ => Meaning::Nothing,
        },
        _ => Meaning::Foreign,
    }
}

/// A call that there is not: Linux gives the numbers from 387 to 423 to none. Marked, it is a message: a buffer, how much of it that fills,
/// and how much fits.
pub(crate) const REQUEST: u32 = 400;

/// The call by which the C library asks about an open file, with an empty path in argument 1 and `AT_EMPTY_PATH` in argument 3.
pub(crate) const STAT_AT: u32 = libc::SYS_newfstatat as u32;

/// What the loader calls to see whether it may read a file, and to open one.
pub(crate) const ACCESS: u32 = libc::SYS_access as u32;
pub(crate) const OPEN_AT: u32 = libc::SYS_openat as u32;

/// Where in this code the instruction after such a call is: `mov $number, %eax`, other registers, `syscall`, as glibc has it. What
/// only looks like that is no call.
pub(crate) fn calls(code: &[u8], number: u32) -> impl Iterator<Item = usize> {
    const SYSCALL: [u8; 2] = [0x0f, 0x05];
    /// Room for two more moves.
    const NEAR: usize = 16;
    let [a, b, c, d] = number.to_le_bytes();
    let first = [0xb8, a, b, c, d];
    let starts = code.windows(first.len()).enumerate().filter(move |(_, bytes)| **bytes == first);
    starts.filter_map(move |(start, _)| {
        let after = start + first.len();
        let near = &code[after..code.len().min(after + NEAR)];
        let at = near.windows(SYSCALL.len()).position(|bytes| bytes == SYSCALL)?;
        Some(after + at + SYSCALL.len())
    })
}

/// What a thread was about to call that the filter has trapped: the address of the instruction after it, and the arguments. It
/// is told that the call has failed with this error.
pub(crate) fn trapped(context: &mut libc::ucontext_t, errno: i32) -> (u64, [u64; 6]) {
    use libc::{REG_R8, REG_R9, REG_R10, REG_RAX, REG_RDI, REG_RDX, REG_RIP, REG_RSI};
    let registers = &mut context.uc_mcontext.gregs;
    let arguments = [REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9];
    registers[REG_RAX as usize] = i64::from(-errno);
    (registers[REG_RIP as usize] as u64, arguments.map(|register| registers[register as usize] as u64))
}

/// The code segment of a 32-bit program.
const CODE32: u64 = 0x23;
/// `mov $exit_group, %eax; syscall`, and the same as a 32-bit program says it.
const EXIT: [u8; 8] = [0xb8, 231, 0, 0, 0, 0x0f, 0x05, 0x90];
const EXIT32: [u8; 8] = [0xb8, 252, 0, 0, 0, 0xcd, 0x80, 0x90];

/// Makes a thread that has just executed a program, and not yet run any of it, end with this exit code instead.
///
/// The first instructions of the program are written over, in this process's copy. The number of the call is among them
/// because the exec that is about to return still sets that register.
pub(crate) fn exit_instead(tid: Pid, code: u8) -> io::Result<()> {
    let mut registers = ptrace::registers(tid)?;
    let narrow = registers.cs == CODE32;
    // An aligned word cannot reach into a page that is not there. What was in it does not matter any more.
    registers.rip &= !7;
    registers.orig_rax = u64::MAX;
    let argument = if narrow { &mut registers.rbx } else { &mut registers.rdi };
    *argument = u64::from(code);
    ptrace::poke(tid, registers.rip, u64::from_le_bytes(if narrow { EXIT32 } else { EXIT }))?;
    ptrace::set_registers(tid, &registers)
}

/// Makes the call that a thread in a seccomp stop is about to execute fail with this error instead.
pub(crate) fn fail_instead(tid: Pid, errno: i32) -> io::Result<()> {
    let mut registers = ptrace::registers(tid)?;
    registers.orig_rax = u64::MAX;
    registers.rax = i64::from(-errno) as u64;
    ptrace::set_registers(tid, &registers)
}
