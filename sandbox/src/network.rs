// SPDX-License-Identifier: Apache-2.0
//! Keeps a command that runs without namespaces from the network: a seccomp filter lets it make no sockets but local
//! ones, so that it reaches neither other machines nor what listens on this one (a cloud's metadata, the interface from
//! which a function gets its events). Local sockets it has, because programs talk to their own children by them; that
//! these have names of the command's own is the translation's business, not a filter's, which cannot read an address.

use std::io;

/// Offsets into `struct seccomp_data`; of an argument the low half is an int.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// Calls of other kinds of programs (32-bit ones) are other numbers for the same things.
#[cfg(target_arch = "x86_64")]
const OWN: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const OWN: u32 = 0xc000_00b7;
/// So are the numbers from here on, of which one architecture has some.
const FOREIGN_FROM: u32 = 0x4000_0000;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const FROM: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const fn op(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

const fn fails(errno: i32) -> libc::sock_filter {
    op(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0)
}

/// The filter. io_uring makes sockets too, past any filter: it is not there, as on many machines.
static FILTER: [libc::sock_filter; 11] = [
    op(LOAD, ARCHITECTURE, 0, 0),
    op(EQUAL, OWN, 0, 7),
    op(LOAD, NUMBER, 0, 0),
    op(FROM, FOREIGN_FROM, 5, 0),
    op(EQUAL, libc::SYS_io_uring_setup as u32, 4, 0),
    op(EQUAL, libc::SYS_socket as u32, 0, 2),
    op(LOAD, FIRST_ARGUMENT, 0, 0),
    op(EQUAL, libc::AF_UNIX as u32, 0, 2),
    op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    fails(libc::ENOSYS),
    // What a kernel says that has no network.
    fails(libc::EAFNOSUPPORT),
];

/// Does the kernel take filters?
pub(crate) fn can_be_denied() -> bool {
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one integer.
    unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}

/// From now on this process, and all that it starts, has no network. Only system calls; the process can gain no privileges any more.
pub(crate) fn deny() -> io::Result<()> {
    let program = libc::sock_fprog { len: FILTER.len() as u16, filter: FILTER.as_ptr().cast_mut() };
    // Older kernels make whoever has a filter pay for side channels, which this is not about.
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: the kernel reads the structure, and as many instructions as it says that there are.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
    const ABSENT: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    const NO_FAMILY: u32 = libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32;

    /// What the kernel would make of a call, as it is written in its documentation: so this does not depend on what this kernel has.
    fn verdict(architecture: u32, number: libc::c_long, first: u64) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let libc::sock_filter { code, jt, jf, k } = FILTER[at];
            let jump = |taken: bool| usize::from(if taken { jt } else { jf });
            at += 1 + match code {
                LOAD => {
                    value = match k {
                        NUMBER => number as u32,
                        ARCHITECTURE => architecture,
                        FIRST_ARGUMENT => first as u32,
                        other => panic!("it loads from {other}"),
                    };
                    0
                }
                EQUAL => jump(value == k),
                FROM => jump(value >= k),
                RETURN => return k,
                other => panic!("no such instruction: {other}"),
            };
        }
    }

    #[test]
    fn the_filter_takes_away_all_sockets_but_local_ones_and_nothing_else() {
        let local = libc::AF_UNIX as u64;
        assert_eq!(verdict(OWN, libc::SYS_socket, local), ALLOWED);
        for family in (0..64).filter(|family| *family != local) {
            assert_eq!(verdict(OWN, libc::SYS_socket, family), NO_FAMILY, "{family}");
        }
        // The kernel looks at the low half of the argument, and so does the filter.
        assert_eq!(verdict(OWN, libc::SYS_socket, 1 << 32 | libc::AF_INET as u64), NO_FAMILY);
        assert_eq!(verdict(OWN, libc::SYS_socket, 1 << 32 | local), ALLOWED);
        // Past it lead io_uring, and calls of other kinds of programs: of 32 bits, of 64 with short pointers.
        assert_eq!(verdict(OWN, libc::SYS_io_uring_setup, 1), ABSENT);
        assert_eq!(verdict(0x4000_0003, libc::SYS_read, 0), ABSENT);
        assert_eq!(verdict(OWN, libc::SYS_read | libc::c_long::from(FOREIGN_FROM), 0), ABSENT);
        for number in (0..600).filter(|n| ![libc::SYS_socket, libc::SYS_io_uring_setup].contains(n)) {
            for first in [0, local, libc::AF_INET as u64, u64::MAX] {
                assert_eq!(verdict(OWN, number, first), ALLOWED, "{number}");
            }
        }
    }

    /// The error that `attempt` ends with in a process of its own, 0 if with none; with the filter or without.
    fn in_process(filtered: bool, attempt: impl FnOnce() -> bool) -> i32 {
        const UNPREPARED: i32 = 255;
        // SAFETY: the child does system calls only, and ends.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            // SAFETY: integers.
            let ready = !filtered
                || unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0 && deny().is_ok();
            let code = match (ready, attempt()) {
                (false, _) => UNPREPARED,
                (true, true) => 0,
                (true, false) => io::Error::last_os_error().raw_os_error().unwrap_or(UNPREPARED),
            };
            // SAFETY: ends the process.
            unsafe { libc::_exit(code) }
        }
        let mut status = 0;
        // SAFETY: our own child; the result has room.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) != UNPREPARED, "{status:x}");
        libc::WEXITSTATUS(status)
    }

    fn makes(family: libc::c_int, kind: libc::c_int) -> bool {
        // SAFETY: integers.
        unsafe { libc::socket(family, kind, 0) >= 0 }
    }

    fn makes_pair() -> bool {
        let mut pair = [0; 2];
        // SAFETY: two descriptors have room.
        unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr()) == 0 }
    }

    /// Each attempt is one that succeeds without the filter: others say nothing about it.
    #[test]
    fn the_kernel_does_as_the_filter_says() {
        if !can_be_denied() {
            println!("skipped: this kernel takes no filters");
            return;
        }
        let mut tried = 0;
        for (family, kind) in [
            (libc::AF_INET, libc::SOCK_STREAM),
            (libc::AF_INET, libc::SOCK_DGRAM),
            (libc::AF_INET6, libc::SOCK_STREAM),
            (libc::AF_NETLINK, libc::SOCK_RAW),
            (libc::AF_PACKET, libc::SOCK_DGRAM),
            (libc::AF_VSOCK, libc::SOCK_STREAM),
            (libc::AF_ALG, libc::SOCK_SEQPACKET),
        ] {
            if in_process(false, || makes(family, kind)) == 0 {
                tried += 1;
                assert_eq!(in_process(true, || makes(family, kind)), libc::EAFNOSUPPORT, "{family}");
            }
        }
        assert!(tried >= 2, "a machine has network sockets and netlink ones");
        assert_eq!(in_process(true, || makes(libc::AF_UNIX, libc::SOCK_STREAM)), 0);
        assert_eq!(in_process(true, makes_pair), 0);
        // With arguments that are wrong for all kernels that have it.
        // SAFETY: the kernel reads through a null pointer, and says so.
        let uring = || unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, std::ptr::null::<u8>()) >= 0 };
        assert_eq!(in_process(true, uring), libc::ENOSYS);
    }
}
