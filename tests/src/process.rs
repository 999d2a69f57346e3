// SPDX-License-Identifier: Apache-2.0
//! Runs a command with a time limit and keeps what it said.

use std::fmt;
use std::io::{Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal, killpg};
use nix::unistd::Pid;

/// What a test waits for has come by then, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// Nothing that a test runs takes longer, on a busy machine; who has a test build something large says so in `GG_TEST_LIMIT`, in seconds.
fn limit() -> Duration {
    const LIMIT: u64 = 180;
    let told = std::env::var("GG_TEST_LIMIT").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(told.unwrap_or(LIMIT))
}

/// A command that has ended.
pub struct Ran {
    /// What was run, for messages.
    pub what: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Ran {
    /// The exit code as a shell tells it: 128 and the signal's number for a process that a signal ended.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Standard output as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// It must have ended with exit code 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "this should have succeeded:\n{self}");
        self
    }

    /// It must have failed as a program fails that was written to: another exit code than 0, by no signal, without a panic.
    #[track_caller]
    pub fn fails(self) -> Self {
        assert!(self.status.code().is_some_and(|c| c != 0), "this should have failed:\n{self}");
        assert!(!self.err().contains("panicked"), "this should have failed with a plain message:\n{self}");
        self
    }

    /// It must say this on standard error.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.err().contains(text), "this should have said {text:?}:\n{self}");
        self
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$ {}\n{}\n── stdout\n{}\n── stderr\n{}", self.what, self.status, self.out(), self.err())
    }
}

/// A command under way, in a process group of its own.
pub struct Running {
    what: String,
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
}

fn drain(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        // What was read before an error still shows.
        let _ = from.read_to_end(&mut all);
        all
    })
}

impl Running {
    /// Starts a command that reads `input`.
    pub fn start(mut command: Command, input: &[u8]) -> Self {
        let what = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        // Whoever runs the tests in the background ignores these, and what is ignored stays so.
        // SAFETY: between fork and exec only async-signal-safe calls are made: signal().
        unsafe {
            command.pre_exec(|| {
                for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
                    nix::sys::signal::signal(signal, SigHandler::SigDfl)?;
                }
                Ok(())
            });
        }
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{what}: {e}"));
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let input = input.to_vec();
        // A command that does not read its input is as good as one that does.
        thread::spawn(move || drop(stdin.write_all(&input)));
        let stdout = drain(child.stdout.take().expect("stdout is piped"));
        let stderr = drain(child.stderr.take().expect("stderr is piped"));
        Self { what, child, stdout, stderr }
    }

    /// Sends a signal to the command alone.
    pub fn signal(&self, signal: Signal) {
        // It may have ended already, which is as good.
        let _ = nix::sys::signal::kill(self.pid(), signal);
    }

    /// Sends a signal to the command's process group, as a terminal does.
    pub fn signal_all(&self, signal: Signal) {
        // As above.
        let _ = killpg(self.pid(), signal);
    }

    /// The command's process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Has it ended?
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the child can be waited for").is_some()
    }

    /// Waits for its end, and for that of everything that still holds its output open.
    pub fn wait(mut self) -> Ran {
        let started = Instant::now();
        let limit = limit();
        let mut late = false;
        while !(self.has_ended() && self.stdout.is_finished() && self.stderr.is_finished()) {
            if started.elapsed() > limit && !late {
                late = true;
                self.signal_all(Signal::SIGKILL);
            }
            assert!(started.elapsed() < limit * 2, "{}: neither ends nor can be ended", self.what);
            thread::sleep(Duration::from_millis(2));
        }
        let status = self.child.wait().expect("the child can be waited for");
        let ran = Ran {
            what: self.what,
            status,
            stdout: self.stdout.join().expect("the reader does not panic"),
            stderr: self.stderr.join().expect("the reader does not panic"),
        };
        assert!(!late, "this took longer than {limit:?}:\n{ran}");
        ran
    }
}

/// The processes that this process has started and that are still there.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("it is there").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |child: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        // After the name, which may hold anything, and the state.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    pids.filter(|child| parent(child) == Some(pid)).collect()
}
