// SPDX-License-Identifier: Apache-2.0
//! ptrace's requests, as functions. Knows no state. Every one of them may fail with `ESRCH` at any time: the thread
//! was killed, and its end will be reported.

use std::io;
use std::ptr;

use crate::Pid;

const POKETEXT: i32 = 4;
const CONT: i32 = 7;
const GETREGS: i32 = 12;
const SETREGS: i32 = 13;
const DETACH: i32 = 17;
const SYSCALL: i32 = 24;
const GETEVENTMSG: i32 = 0x4201;
const SEIZE: i32 = 0x4206;
const INTERRUPT: i32 = 0x4207;
const LISTEN: i32 = 0x4208;
const GET_SYSCALL_INFO: i32 = 0x420e;

const O_TRACESYSGOOD: u64 = 1;
const O_TRACEFORK: u64 = 1 << 1;
const O_TRACEVFORK: u64 = 1 << 2;
const O_TRACECLONE: u64 = 1 << 3;
const O_TRACEEXEC: u64 = 1 << 4;
const O_TRACESECCOMP: u64 = 1 << 7;
const O_EXITKILL: u64 = 1 << 20;

const INFO_EXIT: u8 = 2;
const INFO_SECCOMP: u8 = 3;

/// `struct ptrace_syscall_info` up to the longest of its variants that is used here.
#[repr(C)]
#[derive(Default)]
struct Info {
    op: u8,
    pad: [u8; 3],
    arch: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    /// Entry and seccomp: the number and six arguments. Exit: the result, and whether it is an error.
    words: [u64; 8],
}

/// A system call about to be executed.
pub(crate) struct Entry {
    /// `AUDIT_ARCH_*`: by which table `nr` is to be read.
    pub arch: u32,
    /// The number of the call.
    pub nr: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// What a system call returned: a value or an errno.
pub(crate) type Outcome = Result<u64, i32>;

/// # Safety
/// `data` must be what `request` takes: a number, or a pointer to memory that the kernel may fill.
unsafe fn request(request: i32, tid: Pid, addr: usize, data: u64) -> io::Result<i64> {
    // SAFETY: the caller vouches for `data`; `addr` is never dereferenced in this process.
    let result = unsafe { libc::syscall(libc::SYS_ptrace, i64::from(request), i64::from(tid), addr, data) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Attaches to a process, and to all it will start. Does not stop it. They all die with the calling thread.
pub(crate) fn seize(pid: Pid) -> io::Result<()> {
    let options = O_TRACESYSGOOD
        | O_TRACEFORK
        | O_TRACEVFORK
        | O_TRACECLONE
        | O_TRACEEXEC
        | O_TRACESECCOMP
        | O_EXITKILL;
    // SAFETY: the options are a number.
    unsafe { request(SEIZE, pid, 0, options) }.map(drop)
}

/// Attaches to a thread that is about to execute a program, and to nothing that it starts. It does not die with us: who started it
/// would take that for the failure of a command. Its first calls tell it that nobody is there.
pub(crate) fn seize_for_exec(tid: Pid) -> io::Result<()> {
    // SAFETY: the options are a number.
    unsafe { request(SEIZE, tid, 0, O_TRACEEXEC) }.map(drop)
}

/// Makes a seized thread stop before it next runs an instruction of its program.
pub(crate) fn interrupt(tid: Pid) -> io::Result<()> {
    // SAFETY: this request takes nothing.
    unsafe { request(INTERRUPT, tid, 0, 0) }.map(drop)
}

/// Lets a stopped thread go on without us, with this signal delivered if not 0.
pub(crate) fn detach(tid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: the signal is a number.
    unsafe { request(DETACH, tid, 0, signal as u64) }.map(drop)
}

/// The registers of a stopped thread.
pub(crate) fn registers(tid: Pid) -> io::Result<libc::user_regs_struct> {
    // SAFETY: all its fields are integers, for which zero is a value.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one structure of this type.
    unsafe { request(GETREGS, tid, 0, ptr::from_mut(&mut registers) as u64) }?;
    Ok(registers)
}

/// Gives a stopped thread other registers.
pub(crate) fn set_registers(tid: Pid, registers: &libc::user_regs_struct) -> io::Result<()> {
    // SAFETY: the kernel reads one structure of this type.
    unsafe { request(SETREGS, tid, 0, ptr::from_ref(registers) as u64) }.map(drop)
}

/// Writes a word to the memory of a stopped thread, be it writable to the thread or not.
pub(crate) fn poke(tid: Pid, address: u64, word: u64) -> io::Result<()> {
    // SAFETY: the word is a number; the address is one of the other process's, and checked by the kernel.
    unsafe { request(POKETEXT, tid, address as usize, word) }.map(drop)
}

/// How a stopped thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resume {
    /// To the next call of the table, with this signal delivered if not 0.
    Run(i32),
    /// To the end of the system call that it is in, likewise.
    ToExit(i32),
    /// It stays stopped until somebody continues its process.
    Listen,
    /// It is gone, or about to be.
    Gone,
}

/// Lets a stopped thread go on. That it may be gone is nobody's fault.
pub(crate) fn resume(tid: Pid, how: Resume) {
    let (number, signal) = match how {
        Resume::Run(signal) => (CONT, signal),
        Resume::ToExit(signal) => (SYSCALL, signal),
        Resume::Listen => (LISTEN, 0),
        Resume::Gone => return,
    };
    // SAFETY: the signal is a number.
    let _ = unsafe { request(number, tid, 0, signal as u64) };
}

/// The new thread of [`Stop::Born`](crate::stop::Stop), the former thread of an exec.
pub(crate) fn event_message(tid: Pid) -> Option<Pid> {
    let mut message: u64 = 0;
    // SAFETY: the kernel writes one unsigned long to `message`.
    unsafe { request(GETEVENTMSG, tid, 0, ptr::from_mut(&mut message) as u64) }.ok()?;
    Pid::try_from(message).ok()
}

fn info(tid: Pid) -> Option<Info> {
    let mut info = Info::default();
    // SAFETY: the kernel writes at most `size_of::<Info>()` bytes, all of them plain integers.
    unsafe { request(GET_SYSCALL_INFO, tid, size_of::<Info>(), ptr::from_mut(&mut info) as u64) }.ok()?;
    Some(info)
}

/// The call that a thread in a seccomp stop is about to execute.
pub(crate) fn entry(tid: Pid) -> Option<Entry> {
    let Info { op: INFO_SECCOMP, arch, words: [nr, args @ .., _], .. } = info(tid)? else { return None };
    Some(Entry { arch, nr, args: crate::arch::arguments(arch, args) })
}

/// What the call that a thread has just left returned.
pub(crate) fn outcome(tid: Pid) -> Option<Outcome> {
    let Info { op: INFO_EXIT, words: [value, is_error, ..], .. } = info(tid)? else { return None };
    // `is_error` is a single byte; what follows it is not ours to read.
    Some(if is_error & 0xff == 0 { Ok(value) } else { Err((value as i64).wrapping_neg() as i32) })
}
