// SPDX-License-Identifier: Apache-2.0
//! x86-64 Linux, System V calling convention.

use core::arch::{asm, naked_asm};
use core::ffi::c_void;

/// System call numbers.
pub(crate) mod nr {
    pub(crate) const READ: usize = 0;
    pub(crate) const WRITE: usize = 1;
    pub(crate) const CLOSE: usize = 3;
    pub(crate) const FSTAT: usize = 5;
    pub(crate) const LSEEK: usize = 8;
    pub(crate) const MMAP: usize = 9;
    pub(crate) const MPROTECT: usize = 10;
    pub(crate) const MUNMAP: usize = 11;
    pub(crate) const RT_SIGACTION: usize = 13;
    pub(crate) const RT_SIGPROCMASK: usize = 14;
    pub(crate) const IOCTL: usize = 16;
    pub(crate) const PREAD64: usize = 17;
    pub(crate) const MADVISE: usize = 28;
    pub(crate) const NANOSLEEP: usize = 35;
    pub(crate) const GETPID: usize = 39;
    pub(crate) const SOCKET: usize = 41;
    pub(crate) const CONNECT: usize = 42;
    pub(crate) const RECVFROM: usize = 45;
    pub(crate) const SENDMSG: usize = 46;
    pub(crate) const BIND: usize = 49;
    pub(crate) const EXECVE: usize = 59;
    pub(crate) const KILL: usize = 62;
    pub(crate) const FCNTL: usize = 72;
    pub(crate) const TRUNCATE: usize = 76;
    pub(crate) const GETCWD: usize = 79;
    pub(crate) const CHDIR: usize = 80;
    pub(crate) const FCHDIR: usize = 81;
    pub(crate) const FCHMOD: usize = 91;
    pub(crate) const FCHOWN: usize = 93;
    pub(crate) const UMASK: usize = 95;
    pub(crate) const UTIME: usize = 132;
    pub(crate) const RT_SIGPENDING: usize = 127;
    pub(crate) const GETUID: usize = 102;
    pub(crate) const GETGID: usize = 104;
    pub(crate) const SETPGID: usize = 109;
    pub(crate) const SETRESUID: usize = 117;
    pub(crate) const SETRESGID: usize = 119;
    pub(crate) const STATFS: usize = 137;
    pub(crate) const PRCTL: usize = 157;
    pub(crate) const SETXATTR: usize = 188;
    pub(crate) const LSETXATTR: usize = 189;
    pub(crate) const FSETXATTR: usize = 190;
    pub(crate) const GETXATTR: usize = 191;
    pub(crate) const LGETXATTR: usize = 192;
    pub(crate) const LISTXATTR: usize = 194;
    pub(crate) const LLISTXATTR: usize = 195;
    pub(crate) const REMOVEXATTR: usize = 197;
    pub(crate) const LREMOVEXATTR: usize = 198;
    pub(crate) const FREMOVEXATTR: usize = 199;
    pub(crate) const EXIT_GROUP: usize = 231;
    pub(crate) const UTIMES: usize = 235;
    pub(crate) const INOTIFY_ADD_WATCH: usize = 254;
    pub(crate) const OPENAT: usize = 257;
    pub(crate) const MKDIRAT: usize = 258;
    pub(crate) const MKNODAT: usize = 259;
    pub(crate) const FCHOWNAT: usize = 260;
    pub(crate) const NEWFSTATAT: usize = 262;
    pub(crate) const UNLINKAT: usize = 263;
    pub(crate) const LINKAT: usize = 265;
    pub(crate) const SYMLINKAT: usize = 266;
    pub(crate) const READLINKAT: usize = 267;
    pub(crate) const FCHMODAT: usize = 268;
    pub(crate) const FACCESSAT: usize = 269;
    pub(crate) const PPOLL: usize = 271;
    pub(crate) const UTIMENSAT: usize = 280;
    pub(crate) const DUP3: usize = 292;
    pub(crate) const RENAMEAT2: usize = 316;
    pub(crate) const SECCOMP: usize = 317;
    pub(crate) const EXECVEAT: usize = 322;
    pub(crate) const STATX: usize = 332;
    pub(crate) const CLOSE_RANGE: usize = 436;
    pub(crate) const FACCESSAT2: usize = 439;
}

/// The versions that `__xstat` is called with where it means the kernel's structure, which here is the C library's, too.
pub(crate) const STAT_VERSIONS: [i32; 2] = [0, 1];

/// The kernel's `struct stat`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Stat {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) nlink: u64,
    pub(crate) mode: u32,
    uid: u32,
    gid: u32,
    padding: u32,
    pub(crate) rdev: u64,
    pub(crate) size: i64,
    block_size: i64,
    blocks: i64,
    times: [u64; 6],
    unused: [i64; 3],
}

const _: () = assert!(size_of::<Stat>() == 144);

/// One system call; the result as the kernel gives it, errors as small negative numbers.
///
/// # Safety
/// Whatever the call does to memory and descriptors must be all right for its arguments.
#[inline(always)]
pub(crate) unsafe fn syscall(number: usize, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the caller answers for the call; the kernel clobbers rcx and r11 only, and does not use our stack.
    unsafe {
        asm!(
            "syscall",
            // A mark that stayed there would let the program's next call by, too.
            "xor r9d, r9d",
            inlateout("rax") number as isize => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            inlateout("r9") args[5] => _,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Makes a child that ends at once, by `signal` if that is one, otherwise with `code`: it shares our memory while we
/// are stopped (`CLONE_VM | CLONE_VFORK`), and never touches it. Returns the child's process id as the kernel gives it.
/// Signals must be blocked.
pub(crate) fn child_that_ends(code: i32, signal: i32) -> isize {
    const CLONE_VM: usize = 0x100;
    const CLONE_VFORK: usize = 0x4000;
    const SIGCHLD: usize = 17;
    let result: isize;
    // SAFETY: the child runs the instructions between the tests and the last label, in registers only, and is gone.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "test r8, r8",
            "jz 3f",
            "mov eax, 39", // getpid
            "syscall",
            "mov rdi, rax",
            "mov rsi, r8",
            "mov eax, 62", // kill
            "syscall",
            "ud2",
            "3:",
            "mov rdi, r9",
            "mov eax, 231", // exit_group
            "syscall",
            "ud2",
            "2:",
            inlateout("rax") 56isize => result, // clone
            in("rdi") CLONE_VM | CLONE_VFORK | SIGCHLD,
            in("rsi") 0usize,
            in("rdx") 0usize,
            in("r10") 0usize,
            in("r8") signal as usize, // looked at with CLONE_SETTLS only
            in("r9") code as usize,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// `struct clone_args`, its first version.
#[repr(C)]
#[derive(Default)]
pub(crate) struct CloneArguments {
    pub(crate) flags: u64,
    pub(crate) pidfd: u64,
    pub(crate) child_tid: u64,
    pub(crate) parent_tid: u64,
    pub(crate) exit_signal: u64,
    pub(crate) stack: u64,
    pub(crate) stack_size: u64,
    pub(crate) tls: u64,
}

/// `clone3` with a child that calls `body(context)` on its stack, whose size is a multiple of 16. Returns the child's process id as the
/// kernel gives it.
///
/// # Safety
/// What `body` does to memory that it shares with us must be all right.
pub(crate) unsafe fn child_on_stack(
    arguments: &CloneArguments,
    body: unsafe extern "C" fn(*const c_void) -> !,
    context: *const c_void,
) -> isize {
    let result: isize;
    // SAFETY: the kernel reads the arguments; the child has its own stack, on which nothing returns to.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r8",
            "call r9",
            "ud2",
            "2:",
            inlateout("rax") 435isize => result, // clone3
            in("rdi") core::ptr::from_ref(arguments),
            in("rsi") size_of::<CloneArguments>(),
            in("r8") context,
            in("r9") body,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Writes a jump to the code at `to` over the beginning of the code at `from`, which must be five bytes long at least. Nothing is done where
/// that is too far away, or where code cannot be written to.
///
/// # Safety
/// Whoever calls the one must be as well served by the other. No other thread may be in that code.
pub(crate) unsafe fn lead_elsewhere(from: usize, to: usize) {
    const JUMP: u8 = 0xe9;
    const LENGTH: usize = 5;
    let Ok(distance) = i32::try_from(to.wrapping_sub(from + LENGTH) as isize) else { return };
    let [a, b, c, d] = distance.to_le_bytes();
    let code = core::ptr::with_exposed_provenance_mut::<u64>(from);
    let first = from & !0xfff;
    let pages = ((from + size_of::<u64>() - 1) & !0xfff) + 0x1000 - first;
    let (read, write, execute) = (1, 2, 4);
    let allow = |access: usize| {
        // SAFETY: what is code stays code.
        unsafe { syscall(nr::MPROTECT, [first, pages, access, 0, 0, 0]) == 0 }
    };
    if allow(read | write | execute) {
        // SAFETY: just allowed. One write: what interrupts us finds the old instructions or the new one.
        unsafe {
            let [.., f, g, h] = code.read_unaligned().to_le_bytes();
            code.write_unaligned(u64::from_le_bytes([JUMP, a, b, c, d, f, g, h]));
        }
        allow(read | execute);
    }
}

/// Does glibc's code at this address ask whether there is one thread only, as its functions do in which a thread can be cancelled?
///
/// # Safety
/// There is code at this address, of eight bytes or more.
pub(crate) unsafe fn is_cancellable(address: usize) -> bool {
    const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
    /// `cmpb $0, __libc_single_threaded(%rip)`, `mov …(%rip), %eax` and `mov %fs:…, %eax`.
    const QUESTIONS: [&[u8]; 3] = [&[0x80, 0x3d], &[0x8b, 0x05], &[0x64, 0x8b, 0x04, 0x25]];
    // SAFETY: as the caller promises.
    let code = unsafe { *core::ptr::with_exposed_provenance::<[u8; 8]>(address) };
    let code = code.strip_prefix(&ENDBR64).unwrap_or(&code);
    QUESTIONS.iter().any(|question| code.starts_with(question))
}

/// Calls `body(buffer, context)` with `size` bytes of stack, 16-byte aligned. Pages are touched one after the other from the
/// top, as the guard page below a thread's stack wants it.
///
/// # Safety
/// `size` must fit the stack; `context` must be what `body` expects.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn with_stack(
    size: usize,
    context: *mut c_void,
    body: unsafe extern "C" fn(*mut u8, *mut c_void),
) {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "2:",
        "cmp rdi, 4096",
        "jbe 3f",
        "sub rsp, 4096",
        "or qword ptr [rsp], 0",
        "sub rdi, 4096",
        "jmp 2b",
        "3:",
        "sub rsp, rdi",
        "and rsp, -16",
        "or qword ptr [rsp], 0",
        "mov rdi, rsp",
        "call rdx",
        "mov rsp, rbp",
        "pop rbp",
        "ret",
    )
}

/// The arguments of a variadic call: integers and pointers, six in registers and then on the stack.
#[derive(Clone, Copy)]
pub(crate) struct Variadic {
    registers: *const usize,
    stack: *const usize,
}

impl Variadic {
    /// What the trampoline of [`variadic_entry`] passes on.
    pub(crate) const fn new(registers: *const usize, stack: *const usize) -> Self {
        Self { registers, stack }
    }

    /// Argument `index`, counted from 0.
    ///
    /// # Safety
    /// The caller of the function must have passed that many.
    pub(crate) unsafe fn get(&self, index: usize) -> usize {
        // SAFETY: six are in the saved registers, the others in consecutive words above the return address.
        unsafe { if index < 6 { *self.registers.add(index) } else { *self.stack.add(index - 6) } }
    }
}

/// Emits the exported function `$name` that passes all of its arguments to `$target(registers, stack)`.
macro_rules! variadic_entry {
    ($name:ident => $target:path) => {
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                "push r9",
                "push r8",
                "push rcx",
                "push rdx",
                "push rsi",
                "push rdi",
                "mov rdi, rsp",
                "lea rsi, [rsp + 56]", // six registers and the return address
                "sub rsp, 8",
                "call {target}",
                "add rsp, 56",
                "ret",
                target = sym $target,
            )
        }
    };
}

/// Emits the exported function `$name` that calls `$target` with its arguments and then jumps, with registers and stack as they were, to
/// the address that `$target` gives: the function that is jumped to sees the original caller, and may return twice.
macro_rules! tail_entry {
    ($name:ident => $target:path) => {
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                "push rdi",
                "push rsi",
                "push rdx",
                "push rcx",
                "push r8",
                "push r9",
                "push rax", // the number of vector registers of a variadic call; keeps the stack aligned, too
                "call {target}",
                "mov r11, rax",
                "pop rax",
                "pop r9",
                "pop r8",
                "pop rcx",
                "pop rdx",
                "pop rsi",
                "pop rdi",
                "jmp r11",
                target = sym $target,
            )
        }
    };
}

/// Emits a function that gives the address of a symbol, or null where no loaded object has it.
macro_rules! weak_symbol {
    ($name:ident = $symbol:literal) => {
        core::arch::global_asm!(concat!(".weak ", $symbol));
        #[unsafe(naked)]
        pub(crate) extern "C" fn $name() -> *mut core::ffi::c_void {
            core::arch::naked_asm!(concat!("mov rax, qword ptr [rip + ", $symbol, "@GOTPCREL]"), "ret")
        }
    };
}

pub(crate) use {tail_entry, variadic_entry, weak_symbol};
