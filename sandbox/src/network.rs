// SPDX-License-Identifier: Apache-2.0
//! Keeps a command that runs without namespaces from the network: a seccomp filter lets it make no sockets but local ones, so that it reaches neither other
//! machines nor what listens on this one (a cloud's metadata, the interface from which a function gets its events). Local sockets it has,
//! also abstract ones, on which programs of this machine may listen.

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

    /// What `attempt` gives in a process without the network.
    fn without(attempt: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child does system calls only, and ends.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            // SAFETY: integers.
            let ready = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0 && deny().is_ok();
            let code = if !ready { 2 } else { i32::from(!attempt()) };
            // SAFETY: ends the process.
            unsafe { libc::_exit(code) }
        }
        let mut status = 0;
        // SAFETY: our own child; the result has room.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) != 2, "{status:x}");
        libc::WEXITSTATUS(status) == 0
    }

    fn makes(family: libc::c_int, kind: libc::c_int) -> bool {
        // SAFETY: integers.
        unsafe { libc::socket(family, kind, 0) >= 0 }
    }

    #[test]
    fn only_local_sockets_are_left() {
        if !can_be_denied() {
            println!("skipped: this kernel takes no filters");
            return;
        }
        assert!(without(|| makes(libc::AF_UNIX, libc::SOCK_STREAM)));
        assert!(without(|| {
            let mut pair = [0; 2];
            // SAFETY: two descriptors have room.
            unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr()) == 0 }
        }));
        let families = [
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_NETLINK,
            libc::AF_PACKET,
            libc::AF_VSOCK,
            libc::AF_ALG,
            0,
        ];
        for family in families {
            assert!(
                !without(|| makes(family, libc::SOCK_STREAM) || makes(family, libc::SOCK_DGRAM)),
                "{family}"
            );
        }
        // The kernel looks at the low half of the argument, and so does the filter.
        assert!(!without(|| {
            // SAFETY: integers.
            unsafe { libc::syscall(libc::SYS_socket, (1_i64 << 32) | 2, libc::SOCK_STREAM, 0) >= 0 }
        }));
    }

    #[test]
    fn what_leads_past_the_filter_is_not_there() {
        if !can_be_denied() {
            println!("skipped: this kernel takes no filters");
            return;
        }
        let is_absent = |call: libc::c_long| {
            without(move || {
                // SAFETY: as calls of the machine's own kind, with arguments that are wrong for all of them.
                let got = unsafe { libc::syscall(call, libc::AF_INET, libc::SOCK_STREAM, 0) };
                got < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS)
            })
        };
        assert!(is_absent(libc::SYS_io_uring_setup));
        assert!(is_absent(libc::SYS_socket | libc::c_long::from(FOREIGN_FROM)));
    }
}
