// SPDX-License-Identifier: Apache-2.0
//! The seccomp filter: made from the table, so that the calls of the table stop and all others run at full speed.
//! Knows nothing of what a stop leads to.

use std::io;

use crate::arch;
use crate::calls::Call;

/// Offsets into `struct seccomp_data`.
const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_GREATER_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const fn op(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// What each row costs in instructions.
const PER_ROW: usize = 2;
/// And what comes before them.
const HEAD: usize = 6;
/// The head that sorts out foreign calls, the rows, and the final "allow".
const LENGTH: usize = HEAD + PER_ROW * arch::TABLE.len() + 1;

/// The filter, built when this crate is compiled: a child between `fork` and `exec` may not allocate.
///
/// It is a list of comparisons, not a search tree: since Linux 5.11 the kernel finds out once which numbers are always allowed
/// and asks the filter only about the others, whose cost is the stop.
static PROGRAM: [libc::sock_filter; LENGTH] = program();

const fn program() -> [libc::sock_filter; LENGTH] {
    let allow = op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
    let mut code = [allow; LENGTH];
    code[0] = op(LOAD, OFFSET_ARCH, 0, 0);
    code[1] = op(JUMP_EQUAL, arch::AUDIT_ARCH, 1, 0);
    // 32-bit and x32 calls are not decoded, but they do not go by unnoticed.
    code[2] = op(RETURN, libc::SECCOMP_RET_TRACE, 0, 0);
    code[3] = op(LOAD, OFFSET_NR, 0, 0);
    code[4] = op(JUMP_GREATER_EQUAL, arch::FOREIGN_FROM, 0, 1);
    // The jump of instruction 4 skips this one.
    code[5] = op(RETURN, libc::SECCOMP_RET_TRACE, 0, 0);
    let mut i = 0;
    while i < arch::TABLE.len() {
        let at = HEAD + PER_ROW * i;
        code[at] = op(JUMP_EQUAL, arch::TABLE[i].nr, 0, 1);
        let action = match arch::TABLE[i].call {
            Call::Refuse(errno) => libc::SECCOMP_RET_ERRNO | errno as u32,
            _ => libc::SECCOMP_RET_TRACE,
        };
        code[at + 1] = op(RETURN, action, 0, 0);
        i += 1;
    }
    code
}

/// Puts the calling thread, and all that will descend from it, under the filter. It cannot be taken off again.
/// Async-signal-safe: for use between `fork` and `exec`.
///
/// `no_new_privs` is set only when the kernel asks for it, because it can be seen by the program.
pub(crate) fn install() -> io::Result<()> {
    // The kernel reads the program and does not write to it.
    let program = libc::sock_fprog { len: LENGTH as u16, filter: PROGRAM.as_ptr().cast_mut() };
    let set = || {
        // Without SPEC_ALLOW, kernels before 5.16 slow the whole process down to mitigate what the filter does not need.
        // SAFETY: `program` is a valid program that outlives the call; the call changes no memory of ours.
        unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                &raw const program,
            )
        }
    };
    if set() == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::EACCES) {
        return Err(error);
    }
    // SAFETY: this prctl takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) } != 0 || set() != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel does.
    fn run(arch: u32, nr: u32) -> u32 {
        let (mut pc, mut a) = (0, 0);
        loop {
            let i = PROGRAM[pc];
            let jump = |taken: bool| pc + 1 + usize::from(if taken { i.jt } else { i.jf });
            match i.code {
                LOAD => (a, pc) = (if i.k == OFFSET_ARCH { arch } else { nr }, pc + 1),
                JUMP_EQUAL => pc = jump(a == i.k),
                JUMP_GREATER_EQUAL => pc = jump(a >= i.k),
                RETURN => return i.k,
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    #[test]
    fn the_filter_agrees_with_the_table() {
        for nr in 0..600 {
            let expected = match arch::TABLE.iter().find(|row| row.nr == nr).map(|row| row.call) {
                None => libc::SECCOMP_RET_ALLOW,
                Some(Call::Refuse(errno)) => libc::SECCOMP_RET_ERRNO | errno as u32,
                Some(_) => libc::SECCOMP_RET_TRACE,
            };
            assert_eq!(run(arch::AUDIT_ARCH, nr), expected, "call {nr}");
        }
    }

    #[test]
    fn foreign_calls_stop() {
        const I386: u32 = 0x4000_0003;
        assert_eq!(run(I386, 0), libc::SECCOMP_RET_TRACE);
        assert_eq!(run(arch::AUDIT_ARCH, arch::FOREIGN_FROM), libc::SECCOMP_RET_TRACE);
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut numbers: Vec<u32> = arch::TABLE.iter().map(|row| row.nr).collect();
        numbers.sort_unstable();
        assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]), "{numbers:?}");
    }
}
