// SPDX-License-Identifier: Apache-2.0
//! `net`: what a notified call costs. A child makes many calls, with and without the net, and with calls that bear the cookie.

use std::ffi::CStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use observe::net::{self, SharedSink};
use observe::{Event, Pid};

const COUNT: u32 = 100_000;
const COOKIE: u64 = 0x5eed_c00c_1e00_0001;

/// Counts what it is told.
#[derive(Default)]
struct Count(AtomicU64);

impl SharedSink for Count {
    fn event(&self, _: Pid, _: Event) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A system call, as a program makes it.
type Way = (&'static str, fn() -> i64);

/// What is called in each way. The paths are constant strings; the arguments that some calls do not have carry the cookie.
const WAYS: [Way; 7] = [
    ("getpid", || call(libc::SYS_getpid, [0; 6])),
    ("access, marked", || call(libc::SYS_access, [at(c"/etc/passwd"), 0, 0, 0, 0, COOKIE])),
    ("access", || call(libc::SYS_access, [at(c"/etc/passwd"), 0, 0, 0, 0, 0])),
    ("access, missing", || call(libc::SYS_access, [at(c"/usr/include/no/such/file"), 0, 0, 0, 0, 0])),
    ("access, relative", || call(libc::SYS_access, [at(c"Cargo.toml"), 0, 0, 0, 0, 0])),
    ("fstat", || call(libc::SYS_newfstatat, [0, at(c""), STAT.as_ptr() as u64, 0x1000, 0, 0])),
    ("open", || {
        let fd = call(libc::SYS_openat, [-100_i64 as u64, at(c"/etc/passwd"), 0, 0, 0, 0]);
        call(libc::SYS_close, [fd as u64, 0, 0, 0, 0, 0])
    }),
];

static STAT: [AtomicU64; 32] = [const { AtomicU64::new(0) }; 32];

fn at(path: &'static CStr) -> u64 {
    path.as_ptr() as u64
}

fn call(number: i64, [a, b, c, d, e, f]: [u64; 6]) -> i64 {
    // SAFETY: the calls of `WAYS` read constant strings and write to a static buffer that is large enough.
    unsafe { libc::syscall(number, a, b, c, d, e, f) }
}

/// Nanoseconds of processor time that this process and those that it has waited for have used.
fn used() -> u64 {
    let of = |who| {
        // SAFETY: all zeroes is a valid `rusage`.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes one structure of this type.
        unsafe { libc::getrusage(who, &raw mut usage) };
        [usage.ru_utime, usage.ru_stime].map(|t| t.tv_sec as u64 * 1_000_000_000 + t.tv_usec as u64 * 1000)
    };
    [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN].into_iter().flat_map(of).sum()
}

/// Time and processor time, both in nanoseconds for each call.
fn measure(program: &Path, number: usize, caught: bool) -> Option<(u64, u64)> {
    let mut command = Command::new(program);
    command.arg(number.to_string());
    if caught {
        let (entrance, net) = net::pair(COOKIE).ok()?;
        net.start(Arc::new(Count::default()), None).ok()?;
        // SAFETY: `enter` is async-signal-safe.
        unsafe { command.pre_exec(move || entrance.enter()) };
    }
    let before = used();
    let output = command.output().ok()?;
    let used = (used() - before) / u64::from(COUNT);
    Some((String::from_utf8(output.stdout).ok()?.trim().parse().ok()?, used))
}

fn main() -> ExitCode {
    if let Some(number) = std::env::args().nth(1) {
        let Some((_, way)) = number.parse().ok().and_then(|number: usize| WAYS.get(number)) else {
            return ExitCode::from(2);
        };
        let start = Instant::now();
        for _ in 0..COUNT {
            way();
        }
        println!("{}", start.elapsed().as_nanos() / u128::from(COUNT));
        return ExitCode::SUCCESS;
    }
    let Ok(program) = std::env::current_exe() else { return ExitCode::FAILURE };
    println!("µs each               plain: time  processors   in the net: time  processors");
    for (number, (name, _)) in WAYS.iter().enumerate() {
        let (Some(plain), Some(caught)) = (measure(&program, number, false), measure(&program, number, true))
        else {
            eprintln!("net: cannot measure: {:?}", net::available());
            return ExitCode::FAILURE;
        };
        let [a, b, c, d] =
            [plain.0, plain.1, caught.0, caught.1].map(|nanoseconds| nanoseconds as f64 / 1000.0);
        println!("{name:<20} {a:>12.2} {b:>11.2} {c:>18.2} {d:>11.2}");
    }
    ExitCode::SUCCESS
}
