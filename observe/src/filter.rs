// SPDX-License-Identifier: Apache-2.0
//! The seccomp filters: made from the table, so that the calls of the table stop and all others run at full speed. One asks
//! a tracer, the other the holder of a descriptor. Knows nothing of what that leads to.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::{io, ptr};

use crate::arch;
use crate::calls::{Call, Descriptors, Row};
use crate::net::{Constant, WITHIN_PAGE};

/// Offsets into `struct seccomp_data`.
const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
/// Where the thread goes on after the call, low half first.
const OFFSET_INSTRUCTION: u32 = 8;
/// The first argument, low half first.
const OFFSET_ARGS: u32 = 16;
/// The sixth argument.
const OFFSET_COOKIE: u32 = OFFSET_ARGS + 5 * 8;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_GREATER_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
/// The second register is taken off the first.
const SUBTRACT: u16 = (libc::BPF_ALU | libc::BPF_SUB | libc::BPF_X) as u16;
/// Over so many instructions.
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
/// The second register becomes what the first is.
const COPY: u16 = (libc::BPF_MISC | libc::BPF_TAX) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const fn op(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// What each row costs in instructions.
const PER_ROW: usize = 2;
/// And what comes before them.
const HEAD: usize = 6;
/// The head that sorts out foreign calls, the rows, and the final "allow".
const LENGTH: usize = HEAD + rows_length() + 1;

const fn rows_length() -> usize {
    let (mut i, mut length) = (0, 0);
    while i < arch::TABLE.len() {
        let call = arch::TABLE[i].call;
        let is_plain = !call.is_for_some_descriptors_only();
        length += if is_plain { PER_ROW } else { DescriptorRow::of(arch::TABLE[i].nr, call, 0).length };
        i += 1;
    }
    length
}

/// What is done about a call that matters with some descriptors only.
struct DescriptorRow {
    code: [libc::sock_filter; Self::LONGEST],
    length: usize,
}

impl DescriptorRow {
    /// The comparison of the number, and the final "allow".
    const AROUND: usize = 2;
    const PER_DESCRIPTOR: usize = 4;
    const LONGEST: usize = Self::AROUND + 2 * Self::PER_DESCRIPTOR;

    const fn of(nr: u32, call: Call, action: u32) -> Self {
        let allow = op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
        let descriptors = call.descriptors();
        let (mut code, mut length, mut i) = ([allow; Self::LONGEST], 1, 0);
        while i < descriptors.len() {
            if let Some(Descriptors { arg, first, last }) = descriptors[i] {
                // Descriptors are ints: the low half.
                code[length] = op(LOAD, OFFSET_ARGS + 8 * arg as u32, 0, 0);
                code[length + 1] = op(JUMP_GREATER_EQUAL, first, 0, 2);
                code[length + 2] = op(JUMP_GREATER_EQUAL, last + 1, 1, 0);
                code[length + 3] = op(RETURN, action, 0, 0);
                length += Self::PER_DESCRIPTOR;
            }
            i += 1;
        }
        code[0] = op(JUMP_EQUAL, nr, 0, length as u8);
        Self { code, length: length + 1 }
    }
}

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
    let (mut i, mut at) = (0, HEAD);
    while i < arch::TABLE.len() {
        let Row { nr, call } = arch::TABLE[i];
        if call.is_for_some_descriptors_only() {
            let row = DescriptorRow::of(nr, call, libc::SECCOMP_RET_TRACE);
            let mut k = 0;
            while k < row.length {
                code[at + k] = row.code[k];
                k += 1;
            }
            at += row.length;
            i += 1;
            continue;
        }
        code[at] = op(JUMP_EQUAL, nr, 0, 1);
        let action = match call {
            Call::Refuse(errno) => libc::SECCOMP_RET_ERRNO | errno as u32,
            call if call.is_for_the_net_only() => libc::SECCOMP_RET_ALLOW,
            _ => libc::SECCOMP_RET_TRACE,
        };
        code[at + 1] = op(RETURN, action, 0, 0);
        at += PER_ROW;
        i += 1;
    }
    code
}

/// Lets calls with these constants go by; after it the number of the call is loaded again.
fn with_constants(constants: &[Constant]) -> Vec<libc::sock_filter> {
    const PER_CONSTANT: usize = 9;
    let mut calls: Vec<_> = constants.iter().map(|constant| constant.call).collect();
    calls.dedup();
    let mut code = Vec::new();
    for call in calls {
        // As many as can be jumped over.
        let of_call = constants
            .iter()
            .filter(|constant| constant.call == call)
            .take(u8::MAX as usize / PER_CONSTANT - 1);
        // All that is looked at are addresses and ints: the low halves.
        let argument = |number| op(LOAD, OFFSET_ARGS + 8 * number, 0, 0);
        let known: Vec<_> = of_call
            .flat_map(|constant| -> [_; PER_CONSTANT] {
                [
                    op(LOAD, OFFSET_INSTRUCTION, 0, 0),
                    op(COPY, 0, 0, 0),
                    argument(call.path),
                    op(SUBTRACT, 0, 0, 0),
                    op(JUMP_EQUAL, constant.distance, 0, 4),
                    op(LOAD, OFFSET_INSTRUCTION, 0, 0),
                    op(AND, WITHIN_PAGE, 0, 0),
                    op(JUMP_EQUAL, constant.instruction, 0, 1),
                    op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
                ]
            })
            .collect();
        let given =
            call.given.map(|(number, value)| [argument(number), op(JUMP_EQUAL, value, 0, known.len() as u8)]);
        let given = given.as_ref().map_or(&[][..], |given| given);
        // With the number loaded anew at the end.
        code.push(op(JUMP_EQUAL, call.number, 0, (given.len() + known.len() + 1) as u8));
        code.extend(given);
        code.extend(known);
        code.push(op(LOAD, OFFSET_NR, 0, 0));
    }
    code
}

/// What marks reads and writes of the standard streams where this marks all other calls.
pub(crate) const fn mark_of_streams(cookie: u64) -> u64 {
    cookie ^ 0x5354_5245_414d_5321
}

/// Ends with the one if the sixth argument is this mark, else with the other.
fn by_mark(mark: u64, marked: u32, other: u32) -> [libc::sock_filter; 6] {
    [
        op(LOAD, OFFSET_COOKIE, 0, 0),
        op(JUMP_EQUAL, mark as u32, 0, 3),
        op(LOAD, OFFSET_COOKIE + 4, 0, 0),
        op(JUMP_EQUAL, (mark >> 32) as u32, 0, 1),
        op(RETURN, marked, 0, 0),
        op(RETURN, other, 0, 0),
    ]
}

/// The filter that asks whoever holds its listener, made before the fork. Calls of the table that have `cookie` in the
/// sixth argument go by, if it is not 0, those that matter with some descriptors with a mark of their own, and the call that is none asks
/// then; and calls with these constants go by.
pub(crate) fn notifying(cookie: u64, constants: &[Constant]) -> Vec<libc::sock_filter> {
    const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
    let rows = arch::TABLE;
    let mut code = vec![
        op(LOAD, OFFSET_ARCH, 0, 0),
        op(JUMP_EQUAL, arch::AUDIT_ARCH, 1, 0),
        op(RETURN, NOTIFY, 0, 0),
        op(LOAD, OFFSET_NR, 0, 0),
        op(JUMP_GREATER_EQUAL, arch::FOREIGN_FROM, 0, 1),
        op(RETURN, NOTIFY, 0, 0),
    ];
    code.extend(with_constants(constants));
    // First those that are refused, marked or not. Of the others, all lead to the same end: one instruction each, and
    // no look at the arguments before, so that the kernel can tell which numbers are always allowed.
    let mut of_streams = Vec::new();
    for row in rows {
        if let Call::Refuse(errno) = row.call {
            code.push(op(JUMP_EQUAL, row.nr, 0, 1));
            code.push(op(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0));
        }
        if row.call.is_for_some_descriptors_only() {
            let DescriptorRow { code: instructions, length } = DescriptorRow::of(row.nr, row.call, NOTIFY);
            let asks =
                |instruction: &libc::sock_filter| (instruction.code, instruction.k) == (RETURN, NOTIFY);
            let here = code.len();
            code.extend(&instructions[..length]);
            of_streams.extend((here..code.len()).filter(|&at| asks(&code[at])));
        }
    }
    let plain = |call: Call| {
        let told_otherwise = call.is_for_a_tracer_only() || call.is_for_some_descriptors_only();
        !matches!(call, Call::Refuse(_)) && !told_otherwise
    };
    let asked: Vec<_> = rows.iter().filter(|row| plain(row.call)).collect();
    if cookie != 0 {
        let request = by_mark(cookie, NOTIFY, libc::SECCOMP_RET_ALLOW);
        code.push(op(JUMP_EQUAL, arch::REQUEST, 0, request.len() as u8));
        code.extend(request);
    }
    for (i, row) in asked.iter().enumerate() {
        // Over the rows that follow, and over the "allow" after them.
        code.push(op(JUMP_EQUAL, row.nr, (asked.len() - i) as u8, 0));
    }
    code.push(op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    if cookie == 0 {
        code.push(op(RETURN, NOTIFY, 0, 0));
        return code;
    }
    code.extend(by_mark(cookie, libc::SECCOMP_RET_ALLOW, NOTIFY));
    for at in of_streams {
        code[at] = op(JUMP, (code.len() - at - 1) as u32, 0, 0);
    }
    code.extend(by_mark(mark_of_streams(cookie), libc::SECCOMP_RET_ALLOW, NOTIFY));
    code
}

/// Puts the calling thread, and all that will descend from it, under the filter that asks a tracer. It cannot be taken
/// off again. Async-signal-safe: for use between `fork` and `exec`.
pub(crate) fn install() -> io::Result<()> {
    set(&PROGRAM, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW).map(drop)
}

/// The same with a filter made by [`notifying`]. Returns its listener, which is closed on exec.
pub(crate) fn install_notifying(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // With this flag, a call that we have taken note of is not begun anew because of a signal. Since Linux 5.19.
    let result = match set(program, flags | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => set(program, flags),
        result => result,
    };
    // SAFETY: the kernel has just given us this descriptor; nobody else has it.
    result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Does a call that was taken note of wait for its answer whatever signals come? Where it does not, it may be begun anew.
pub(crate) fn waits_for_answers() -> bool {
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // The kernel looks at the flags first.
    // SAFETY: there is no filter at null, so nothing is installed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            ptr::null::<libc::sock_fprog>(),
        )
    };
    result == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

/// Has the calling thread told by a signal, `SIGSYS`, in place of asking about an open file.
pub(crate) fn install_trapping_nameless() -> io::Result<()> {
    let program = [
        op(LOAD, OFFSET_NR, 0, 0),
        op(JUMP_EQUAL, arch::STAT_AT, 0, 1),
        op(RETURN, libc::SECCOMP_RET_TRAP, 0, 0),
        op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    set(&program, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW).map(drop)
}

/// `no_new_privs` is set only when the kernel asks for it, because it can be seen by the program.
fn set(program: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<RawFd> {
    // The kernel reads the program and does not write to it.
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    let set = || {
        // Without SPEC_ALLOW, kernels before 5.16 slow the whole process down to mitigate what the filter does not need.
        // SAFETY: `program` is a valid program that outlives the call; the call changes no memory of ours.
        let result = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
    };
    match set() {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {}
        result => return result,
    }
    // SAFETY: this prctl takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) } != 0 {
        return Err(io::Error::last_os_error());
    }
    set()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Asked;

    const COOKIE: u64 = 0x0123_4567_89ab_cdef;
    const ABOUT_OPEN: Asked =
        Asked { number: arch::STAT_AT, path: 1, given: Some((3, libc::AT_EMPTY_PATH as u32)) };
    const ACCESS: Asked = Asked { number: arch::ACCESS, path: 0, given: None };
    const PLACES: [Constant; 3] = [
        Constant { call: ABOUT_OPEN, instruction: 0x86a, distance: 0x7_556b },
        Constant { call: ABOUT_OPEN, instruction: 0x92a, distance: 0x3_4567u32.wrapping_neg() },
        Constant { call: ACCESS, instruction: 0x111, distance: 0x1_0000 },
    ];

    /// Runs a filter as the kernel does.
    fn run(program: &[libc::sock_filter], arch: u32, nr: u32, sixth: u64) -> u32 {
        run_on(program, arch, nr, sixth, 0)
    }

    /// The same with a descriptor as any of its other arguments.
    fn run_on(program: &[libc::sock_filter], arch: u32, nr: u32, sixth: u64, fd: u32) -> u32 {
        let fd = u64::from(fd);
        run_at(program, arch, nr, [fd, fd, fd, fd, fd, sixth], 0)
    }

    /// The same with all arguments, and the place of the call.
    fn run_at(program: &[libc::sock_filter], arch: u32, nr: u32, args: [u64; 6], instruction: u64) -> u32 {
        let (mut pc, mut a, mut x) = (0, 0, 0);
        loop {
            let i = program[pc];
            let jump = |taken: bool| pc + 1 + usize::from(if taken { i.jt } else { i.jf });
            match i.code {
                LOAD => {
                    a = match i.k {
                        OFFSET_NR => nr,
                        OFFSET_ARCH => arch,
                        OFFSET_INSTRUCTION => instruction as u32,
                        OFFSET_ARGS.. => {
                            let at = i.k - OFFSET_ARGS;
                            (args[at as usize / 8] >> (at % 8 * 8)) as u32
                        }
                        offset => panic!("nothing at {offset}"),
                    };
                    pc += 1;
                }
                AND => (a, pc) = (a & i.k, pc + 1),
                SUBTRACT => (a, pc) = (a.wrapping_sub(x), pc + 1),
                COPY => (x, pc) = (a, pc + 1),
                JUMP => pc += 1 + i.k as usize,
                JUMP_EQUAL => pc = jump(a == i.k),
                JUMP_GREATER_EQUAL => pc = jump(a >= i.k),
                RETURN => return i.k,
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    #[test]
    fn the_filters_agree_with_the_table() {
        for nr in 0..600 {
            let call = arch::TABLE.iter().find(|row| row.nr == nr).map(|row| row.call);
            if call.is_some_and(Call::is_for_some_descriptors_only) || nr == arch::REQUEST {
                continue;
            }
            let expected = |asked: u32| match call {
                None => libc::SECCOMP_RET_ALLOW,
                Some(Call::Refuse(errno)) => libc::SECCOMP_RET_ERRNO | errno as u32,
                Some(_) => asked,
            };
            let only = call.is_some_and(Call::is_for_the_net_only);
            let asked = if only { libc::SECCOMP_RET_ALLOW } else { libc::SECCOMP_RET_TRACE };
            assert_eq!(run(&PROGRAM, arch::AUDIT_ARCH, nr, 0), expected(asked), "call {nr}");
            for (cookie, sixth, asked) in [
                (COOKIE, COOKIE, libc::SECCOMP_RET_ALLOW),
                (COOKIE, mark_of_streams(COOKIE), libc::SECCOMP_RET_USER_NOTIF),
                (COOKIE, 0, libc::SECCOMP_RET_USER_NOTIF),
                (COOKIE, COOKIE + 1, libc::SECCOMP_RET_USER_NOTIF),
                (COOKIE, COOKIE ^ 1 << 32, libc::SECCOMP_RET_USER_NOTIF),
                (0, 0, libc::SECCOMP_RET_USER_NOTIF),
            ] {
                let action = run(&notifying(cookie, &PLACES), arch::AUDIT_ARCH, nr, sixth);
                if call.is_some_and(Call::is_for_a_tracer_only) {
                    assert_eq!(action, libc::SECCOMP_RET_ALLOW, "call {nr}");
                    continue;
                }
                assert_eq!(action, expected(asked), "call {nr}, {sixth:#x} with {cookie:#x}");
            }
        }
    }

    #[test]
    fn of_questions_about_open_files_only_those_asked_as_the_library_asks_go_by() {
        let program = notifying(COOKIE, &PLACES);
        let empty = libc::AT_EMPTY_PATH as u64;
        let asked = |instruction: u64, path: u64, flags: u64| {
            let action = run_at(
                &program,
                arch::AUDIT_ARCH,
                arch::STAT_AT,
                [3, path, 0x5000, flags, 0, 0],
                instruction,
            );
            action == libc::SECCOMP_RET_USER_NOTIF
        };
        for base in [0, 0x7f00_0000_0000, 0x7fff_ffff_f000u64] {
            let (first, second) = (base + 0x10_286a, base + 0x13_592a);
            assert!(!asked(first, first + 0x7_556b, empty));
            assert!(!asked(second, second - 0x3_4567, empty));
            assert!(asked(first, first + 0x7_556c, empty), "another string");
            assert!(asked(second, second + 0x7_556b, empty), "that of another place");
            assert!(asked(first + 1, first + 1 + 0x7_556b, empty), "another instruction");
            assert!(asked(first, first + 0x7_556b, 0), "a path that counts");
            assert!(asked(first, first + 0x7_556b, empty | libc::AT_SYMLINK_NOFOLLOW as u64));
        }
        let open =
            run_at(&program, arch::AUDIT_ARCH, libc::SYS_openat as u32, [3, 0x7_5dd5, 0, empty, 0, 0], 0x86a);
        assert_eq!(open, libc::SECCOMP_RET_USER_NOTIF);
    }

    #[test]
    fn a_call_with_a_constant_goes_by_where_it_is_made_with_that() {
        let program = notifying(COOKIE, &PLACES);
        let asked = |nr: libc::c_long, instruction: u64, path: u64| {
            let args = [path, path, path, 0, 0, 0];
            run_at(&program, arch::AUDIT_ARCH, nr as u32, args, instruction) == libc::SECCOMP_RET_USER_NOTIF
        };
        for base in [0, 0x7f00_0000_0000, 0x7fff_ffff_f000u64] {
            let instruction = base + 0x5111;
            assert!(!asked(libc::SYS_access, instruction, instruction + 0x1_0000));
            assert!(asked(libc::SYS_access, instruction, instruction + 0x1_0001), "another string");
            assert!(asked(libc::SYS_access, instruction + 1, instruction + 0x1_0001), "another instruction");
            assert!(asked(libc::SYS_openat, instruction, instruction + 0x1_0000), "another call");
        }
    }

    #[test]
    fn of_reads_and_writes_only_those_of_the_standard_streams_stop() {
        for (nr, stops) in [(libc::SYS_read, 0..=0), (libc::SYS_write, 1..=2), (libc::SYS_vmsplice, 1..=2)] {
            for fd in [0, 1, 2, 3, 1000, u32::MAX] {
                let asked = |action| if stops.contains(&fd) { action } else { libc::SECCOMP_RET_ALLOW };
                let nr = nr as u32;
                let traced = run_on(&PROGRAM, arch::AUDIT_ARCH, nr, 0, fd);
                assert_eq!(traced, asked(libc::SECCOMP_RET_TRACE), "call {nr} on {fd}");
                let mark = mark_of_streams(COOKIE);
                for (cookie, sixth) in
                    [(COOKIE, 0), (COOKIE, COOKIE), (COOKIE, mark + 1), (COOKIE, mark ^ 1 << 32), (0, 0)]
                {
                    let action = run_on(&notifying(cookie, &PLACES), arch::AUDIT_ARCH, nr, sixth, fd);
                    assert_eq!(action, asked(libc::SECCOMP_RET_USER_NOTIF), "call {nr} on {fd}");
                }
                let marked = run_on(&notifying(COOKIE, &PLACES), arch::AUDIT_ARCH, nr, mark, fd);
                assert_eq!(marked, libc::SECCOMP_RET_ALLOW, "call {nr} on {fd}, which nobody wants to know");
            }
        }
    }

    #[test]
    fn what_the_kernel_moves_stops_if_it_comes_from_or_goes_to_a_standard_stream() {
        for (nr, from, to) in
            [(libc::SYS_sendfile, 1, 0), (libc::SYS_splice, 0, 2), (libc::SYS_copy_file_range, 0, 2)]
        {
            for (source, target, stops) in [
                (0, 5, true),
                (5, 1, true),
                (5, 2, true),
                (5, 6, false),
                (1, 0, false),
                (2, 3, false),
                (0, 1, true),
            ] {
                let mut args = [7; 6];
                (args[from], args[to]) = (source, target);
                for (program, action) in [
                    (PROGRAM.to_vec(), libc::SECCOMP_RET_TRACE),
                    (notifying(COOKIE, &PLACES), libc::SECCOMP_RET_USER_NOTIF),
                ] {
                    let asked = run_at(&program, arch::AUDIT_ARCH, nr as u32, args, 0);
                    let expected = if stops { action } else { libc::SECCOMP_RET_ALLOW };
                    assert_eq!(asked, expected, "call {nr} from {source} to {target}");
                }
            }
        }
    }

    #[test]
    fn a_request_stops_if_it_is_marked() {
        let action = |cookie, sixth| run(&notifying(cookie, &PLACES), arch::AUDIT_ARCH, arch::REQUEST, sixth);
        assert_eq!(action(COOKIE, COOKIE), libc::SECCOMP_RET_USER_NOTIF);
        for (cookie, sixth) in [(COOKIE, 0), (COOKIE, COOKIE + 1), (COOKIE, COOKIE ^ 1 << 32), (0, 0)] {
            assert_eq!(action(cookie, sixth), libc::SECCOMP_RET_ALLOW);
        }
    }

    #[test]
    fn foreign_calls_stop() {
        for (program, asked) in [
            (PROGRAM.to_vec(), libc::SECCOMP_RET_TRACE),
            (notifying(COOKIE, &PLACES), libc::SECCOMP_RET_USER_NOTIF),
        ] {
            assert_eq!(run(&program, arch::AUDIT_ARCH_32, 0, COOKIE), asked);
            assert_eq!(run(&program, arch::AUDIT_ARCH, arch::FOREIGN_FROM, COOKIE), asked);
        }
    }

    #[test]
    fn no_call_is_listed_twice() {
        for mut numbers in [arch::TABLE.iter().map(|row| row.nr).collect(), arch::numbers_32()] {
            numbers.sort_unstable();
            assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]), "{numbers:?}");
        }
    }
}
