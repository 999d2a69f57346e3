// SPDX-License-Identifier: Apache-2.0
//! What runs between clone and exec: the init process of a sandbox and the command before it is one. Everything that
//! needs memory was made ready by the worker, so that here are only system calls. Results go to a page that is
//! shared with the worker.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, Ordering::Relaxed};

use libc::{c_char, c_int, c_ulong, c_void};

use crate::{Gate, sys};

/// Steps that can fail, in their order; [`STEPS`] says what each of them is.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Step {
    Watch = 1,
    Scratch,
    Overlay,
    Proc,
    Dev,
    Root,
    Descriptors,
    Spawn,
    Limits,
    Privileges,
    Directory,
    Gate,
    Exec,
}

const STEPS: [&str; 14] = [
    "start its init process",
    "watch over the worker",
    "enter its scratch directory",
    "mount an overlay",
    "mount /proc",
    "bind /dev",
    "change the root directory",
    "set up descriptors",
    "start the command's process",
    "set limits",
    "give up privileges",
    "enter the working directory",
    "pass the gate",
    "execute the program",
];

/// The page that the worker shares with the sandbox's processes, until they execute a program.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Report {
    step: AtomicU32,
    errno: AtomicI32,
    interpreter_missing: AtomicU32,
    ended: AtomicU32,
    status: AtomicI32,
    user: [AtomicI64; 2],
    system: [AtomicI64; 2],
    max_rss: AtomicI64,
}

/// What a [`Report`] says when the processes are gone.
pub(crate) enum Verdict {
    /// A step before the command failed.
    SetupFailed { step: &'static str, error: io::Error },
    /// The working directory could not be entered.
    NoDirectory,
    /// The program could not be executed: errno, and is it the interpreter that is missing?
    NotExecuted { errno: i32, interpreter_missing: bool },
    /// The command ended with this wait status.
    Ended { status: i32, user: [i64; 2], system: [i64; 2], max_rss: i64 },
    /// The init process was killed.
    Killed,
}

impl Report {
    /// Forgets the last command.
    pub(crate) fn reset(&self) {
        self.step.store(0, Relaxed);
        self.interpreter_missing.store(0, Relaxed);
        self.ended.store(0, Relaxed);
    }

    /// What happened.
    pub(crate) fn verdict(&self) -> Verdict {
        let errno = self.errno.load(Relaxed);
        let step = self.step.load(Relaxed);
        if step == Step::Directory as u32 {
            Verdict::NoDirectory
        } else if step == Step::Exec as u32 {
            let interpreter_missing = self.interpreter_missing.load(Relaxed) != 0;
            Verdict::NotExecuted { errno, interpreter_missing }
        } else if step != 0 {
            let name = STEPS.get(step as usize).copied().unwrap_or(STEPS[0]);
            Verdict::SetupFailed { step: name, error: io::Error::from_raw_os_error(errno) }
        } else if self.ended.load(Relaxed) != 0 {
            let pair = |p: &[AtomicI64; 2]| [p[0].load(Relaxed), p[1].load(Relaxed)];
            Verdict::Ended {
                status: self.status.load(Relaxed),
                user: pair(&self.user),
                system: pair(&self.system),
                max_rss: self.max_rss.load(Relaxed),
            }
        } else {
            Verdict::Killed
        }
    }

    fn command_ended(&self, status: c_int, usage: &libc::rusage) {
        self.status.store(status, Relaxed);
        for (place, time) in [(&self.user, usage.ru_utime), (&self.system, usage.ru_stime)] {
            place[0].store(time.tv_sec, Relaxed);
            place[1].store(time.tv_usec, Relaxed);
        }
        self.max_rss.store(usage.ru_maxrss, Relaxed);
    }

    fn fail(&self, step: Step, errno: c_int) {
        self.errno.store(errno, Relaxed);
        self.step.store(step as u32, Relaxed);
    }
}

/// Memory that the worker keeps for all its sandboxes: the shared [`Report`], and a stack for the command's process
/// until it executes its program.
#[derive(Debug)]
pub(crate) struct Memory {
    report: NonNull<Report>,
    stack: NonNull<c_void>,
}

const STACK: usize = 64 * 1024;

impl Memory {
    pub(crate) fn new() -> io::Result<Memory> {
        Ok(Memory {
            report: map(size_of::<Report>(), libc::MAP_SHARED)?.cast(),
            stack: map(STACK, libc::MAP_PRIVATE)?,
        })
    }

    pub(crate) fn report(&self) -> &Report {
        // SAFETY: the mapping is large enough, page-aligned, zeroed at first (valid for atomics), lives as long as
        // `self`, and is only ever accessed through atomics.
        unsafe { self.report.as_ref() }
    }

    fn stack_top(&self) -> *mut c_void {
        // SAFETY: one past the end of the mapping.
        unsafe { self.stack.as_ptr().byte_add(STACK) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: both were mapped by `new` with these sizes, and nothing refers to them any more.
        unsafe {
            libc::munmap(self.report.as_ptr().cast(), size_of::<Report>());
            libc::munmap(self.stack.as_ptr(), STACK);
        }
    }
}

fn map(size: usize, kind: c_int) -> io::Result<NonNull<c_void>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new anonymous mapping, at an address of the kernel's choice.
    let page =
        unsafe { libc::mmap(std::ptr::null_mut(), size, protection, kind | libc::MAP_ANONYMOUS, -1, 0) };
    match NonNull::new(page) {
        Some(page) if page.as_ptr() != libc::MAP_FAILED => Ok(page),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A list of C strings as execve wants it.
pub(crate) struct CArray {
    pointers: Vec<*const c_char>,
    /// What the pointers point into.
    _strings: Vec<CString>,
}

impl CArray {
    pub(crate) fn new(strings: Vec<CString>) -> CArray {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        CArray { pointers, _strings: strings }
    }

    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// Everything that the processes of one sandbox need.
pub(crate) struct Plan<'a> {
    pub(crate) memory: &'a Memory,
    /// Readable when the worker is dead.
    pub(crate) worker: BorrowedFd<'a>,
    /// The scratch directory: mount options and mount points are relative to it. A descriptor would not do, as it would lead
    /// to the worker's mounts and not to this namespace's copies of them.
    pub(crate) scratch: &'a CStr,
    pub(crate) overlay_options: CString,
    /// Is the worker in a user namespace of its own? Else /proc is mounted read-only.
    pub(crate) user_namespace: bool,
    /// Standard input, output, error: all above 2.
    pub(crate) standard: [BorrowedFd<'a>; 3],
    /// A pipe that no process but the init process holds open: its end is the end of all others. Above 2.
    pub(crate) done: BorrowedFd<'a>,
    pub(crate) program: CString,
    pub(crate) argv: CArray,
    pub(crate) env: CArray,
    pub(crate) cwd: CString,
    pub(crate) umask: libc::mode_t,
    pub(crate) gate: Option<&'a dyn Gate>,
}

/// Directory names within the scratch directory.
pub(crate) const ROOT: &CStr = c"root";
pub(crate) const DEV: &CStr = c"dev";

/// The number that [`Plan::done`] gets.
pub(crate) const DONE: c_int = 3;

type Failure = (Step, c_int);

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

fn call(step: Step, result: c_int) -> Result<c_int, Failure> {
    if result < 0 { Err((step, errno())) } else { Ok(result) }
}

fn mounted(step: Step, result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|e| (step, e.raw_os_error().unwrap_or(libc::EIO)))
}

/// The init process of a sandbox: sets it up, starts the command, takes over its orphans, kills what is left when the command
/// ends, tells the worker, and ends. The worker need not wait for that: the kernel takes its time to unmount everything.
/// If it is killed itself, the kernel kills all others with it.
pub(crate) fn init(plan: &Plan<'_>) -> ! {
    if let Err((step, errno)) = set_up(plan).and_then(|()| watch(plan)) {
        plan.memory.report().fail(step, errno);
    }
    // SAFETY: ends the process without running what the worker had registered for its own exit.
    unsafe { libc::_exit(0) }
}

fn set_up(plan: &Plan<'_>) -> Result<(), Failure> {
    // SAFETY: prctl with integers.
    call(Step::Watch, unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })?;
    // The worker may have died before that took effect.
    let mut worker = libc::pollfd { fd: plan.worker.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd.
    if unsafe { libc::poll(&raw mut worker, 1, 0) } != 0 {
        return Err((Step::Watch, libc::ESRCH));
    }
    reset_signals();
    // SAFETY: takes nothing. Keeps a terminal's Ctrl-C away from the command.
    unsafe { libc::setsid() };

    // SAFETY: a NUL-terminated path.
    call(Step::Scratch, unsafe { libc::chdir(plan.scratch.as_ptr()) })?;
    let overlay = Some(c"overlay");
    mounted(Step::Overlay, sys::mount(overlay, ROOT, overlay, 0, Some(&plan.overlay_options)))?;
    mount_proc(plan.user_namespace)?;
    let bind = libc::MS_BIND | libc::MS_REC;
    mounted(Step::Dev, sys::mount(Some(DEV), c"root/dev", None, bind, None))?;

    // The overlay becomes what every path in this namespace begins with. The old root stays below it, where no path leads:
    // ".." at a root goes nowhere, and what is mounted over cannot be uncovered without CAP_SYS_ADMIN. To detach the old
    // root as well (pivot_root, umount) would hide nothing more, and make the kernel wait for an RCU grace period:
    // 100 µs on an idle machine, 10 ms on a busy one.
    // SAFETY: the path is NUL-terminated.
    call(Step::Root, unsafe { libc::chdir(ROOT.as_ptr()) })?;
    mounted(Step::Root, sys::mount(Some(c"."), c"/", None, libc::MS_MOVE, None))?;
    // SAFETY: the paths are NUL-terminated.
    unsafe {
        call(Step::Root, libc::chroot(c".".as_ptr()))?;
        call(Step::Root, libc::chdir(c"/".as_ptr()))?;
    }

    for (fd, standard) in plan.standard.iter().zip(0..) {
        // SAFETY: duplicates an open descriptor. Those that are still needed are all above 2.
        call(Step::Descriptors, unsafe { libc::dup2(fd.as_raw_fd(), standard) })?;
    }
    if plan.done.as_raw_fd() != DONE {
        // SAFETY: duplicates an open descriptor; nothing below it is needed under another number any more.
        call(Step::Descriptors, unsafe { libc::dup3(plan.done.as_raw_fd(), DONE, libc::O_CLOEXEC) })?;
    }
    // Whatever else the worker has open must be gone before the command can look into /proc/1.
    match plan.gate.map(Gate::fd) {
        None => close_range(DONE + 1, c_int::MAX)?,
        Some(gate) => {
            if gate > DONE + 1 {
                close_range(DONE + 1, gate - 1)?;
            }
            close_range(gate + 1, c_int::MAX)?;
        }
    }
    if plan.gate.is_none() {
        // Whoever waits at a gate may want to trace the command's process, which shares this one's memory. The
        // capabilities that the command lacks keep it from doing the same to this process.
        // SAFETY: prctl with integers.
        call(Step::Privileges, unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })?;
    }
    Ok(())
}

/// Closes descriptors that nothing here uses any more.
fn close_range(first: c_int, last: c_int) -> Result<(), Failure> {
    // SAFETY: integers.
    call(Step::Descriptors, unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) as c_int })?;
    Ok(())
}

fn mount_proc(user_namespace: bool) -> Result<(), Failure> {
    let mut flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    if !user_namespace {
        // Root of the machine could change the machine's settings there.
        flags |= libc::MS_RDONLY;
    }
    match sys::mount(Some(c"proc"), c"root/proc", Some(c"proc"), flags, None) {
        // In a container whose /proc is masked, the kernel gives out no complete one. The container's own then has
        // to do: /proc/self works there too.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && user_namespace => {
            let flags = libc::MS_BIND | libc::MS_REC;
            mounted(Step::Proc, sys::mount(Some(c"/proc"), c"root/proc", None, flags, None))
        }
        result => mounted(Step::Proc, result),
    }
}

/// Every signal has its default effect and none is blocked, as a shell would leave it. By direct system calls, as
/// glibc keeps two signals to itself.
pub(crate) fn reset_signals() {
    const SET: usize = 8;
    // The kernel's struct sigaction: handler, flags, restorer, mask; all zero is SIG_DFL.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: `default` has the size of the structure that the kernel reads. Signals that cannot be changed refuse.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0, SET) };
    }
    // SAFETY: reads an empty set of eight bytes.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, default.as_ptr(), 0, SET) };
}

fn watch(plan: &Plan<'_>) -> Result<(), Failure> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let argument = std::ptr::from_ref(plan).cast_mut().cast();
    // SAFETY: the child runs `command` on a stack of its own while this process stands still (CLONE_VFORK), until it
    // executes a program or exits; so `plan` outlives its use there, and nothing is accessed by two at once.
    let child = call(Step::Spawn, unsafe { libc::clone(command, plan.memory.stack_top(), flags, argument) })?;
    // Else a command could be kept waiting for the end of a pipe that this process holds open.
    // SAFETY: these descriptors are not used any more.
    unsafe { libc::syscall(libc::SYS_close_range, 0, DONE - 1, 0) };
    if let Some(gate) = plan.gate {
        // SAFETY: integers; this process does not pass the gate.
        unsafe { libc::close(gate.fd()) };
    }
    loop {
        let mut status = 0;
        // SAFETY: rusage is plain integers, for which zeros are valid.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both results have room.
        let pid = unsafe { libc::wait4(-1, &raw mut status, libc::__WALL, &raw mut usage) };
        if pid == child {
            plan.memory.report().command_ended(status, &usage);
            // No new process can escape this: fork fails while a signal is pending. The end of this process would
            // do the same, but only after the worker has been told.
            // SAFETY: integers.
            unsafe { libc::kill(-1, libc::SIGKILL) };
        } else if pid < 0 {
            match errno() {
                libc::EINTR => {}
                libc::ECHILD => break,
                errno => return Err((Step::Spawn, errno)),
            }
        }
    }
    plan.memory.report().ended.store(1, Relaxed);
    Ok(())
}

/// The command's process until it executes its program. Shares the init process's memory.
extern "C" fn command(argument: *mut c_void) -> c_int {
    // SAFETY: `watch` passes its plan, and stands still while this runs.
    let plan = unsafe { &*argument.cast_const().cast::<Plan<'_>>() };
    let Err((step, errno)) = execute(plan);
    plan.memory.report().fail(step, errno);
    127
}

/// Capabilities that root keeps in a sandbox, as far as it has them outside: those over files and processes, none over
/// the machine (mounts, devices, modules, file handles, tracing).
const KEPT_CAPABILITIES: [c_ulong; 12] = [
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL
    6,  // SETGID
    7,  // SETUID
    8,  // SETPCAP
    10, // NET_BIND_SERVICE
    18, // SYS_CHROOT
    23, // SYS_NICE
    31, // SETFCAP
];

fn execute(plan: &Plan<'_>) -> Result<std::convert::Infallible, Failure> {
    // SAFETY: integers, and strings and arrays of `plan` that are NUL- and null-terminated.
    unsafe {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        call(Step::Limits, libc::setrlimit(libc::RLIMIT_CORE, &raw const none))?;
        for capability in (0..64).filter(|c| !KEPT_CAPABILITIES.contains(c)) {
            if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 {
                match errno() {
                    libc::EINVAL => break, // the last one that this kernel knows was before
                    errno => return Err((Step::Privileges, errno)),
                }
            }
        }
        call(Step::Privileges, libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        libc::umask(plan.umask);
        call(Step::Directory, libc::chdir(plan.cwd.as_ptr()))?;
        if let Some(gate) = plan.gate {
            gate.enter().map_err(|e| (Step::Gate, e.raw_os_error().unwrap_or(libc::EIO)))?;
        }
        libc::execve(plan.program.as_ptr(), plan.argv.as_ptr(), plan.env.as_ptr());
        let errno = errno();
        if errno == libc::ENOENT && libc::access(plan.program.as_ptr(), libc::F_OK) == 0 {
            plan.memory.report().interpreter_missing.store(1, Relaxed);
        }
        Err((Step::Exec, errno))
    }
}
