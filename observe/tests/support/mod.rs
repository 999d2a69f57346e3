// SPDX-License-Identifier: Apache-2.0
//! What the tests share: a temporary directory in which commands are observed.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test helper")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use observe::net::{self, SharedSink};
use observe::{
    Command, Entrance, Event, Exec, Guard, Judge, Observation, Options, Pid, Run, Sink, Touches, Use,
    Verdict, observe,
};

/// A directory of which the path has no links, so that named and real paths agree.
pub struct Space {
    _dir: tempfile::TempDir,
    pub path: PathBuf,
}

impl Space {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        Self { _dir: dir, path }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        fs::write(self.at(name), content).unwrap();
        self.at(name)
    }

    /// Writes a script that can be executed. Another process does: what this one has open for writing, a child that another test has just
    /// made has too, and the kernel executes nothing that anybody has open for writing.
    pub fn script(&self, name: &str, content: &str) -> PathBuf {
        let write = "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\"";
        let status =
            std::process::Command::new("sh").args(["-c", write]).arg(self.at(name)).arg(content).status();
        assert!(status.unwrap().success(), "{name}");
        self.at(name)
    }

    /// The command `program argument…` here.
    pub fn command(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program.as_ref());
        command.argv.extend(arguments.iter().map(OsString::from));
        command.env = self.env();
        command.cwd.clone_from(&self.path);
        command
    }

    pub fn env(&self) -> Vec<(OsString, OsString)> {
        vec![
            ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
            ("LC_ALL".into(), "C".into()),
            ("TMPDIR".into(), self.path.clone().into()),
        ]
    }

    /// Runs a shell script here. No test may hang.
    pub fn sh(&self, script: &str) -> Observation {
        self.run(&self.command("/bin/sh", &["-c", script]))
    }

    pub fn run(&self, command: &Command) -> Observation {
        let options = Options { timeout: Some(Duration::from_secs(60)), ..Options::default() };
        let seen = observe(command, &options).unwrap();
        assert!(!seen.timed_out, "{command:?} takes too long");
        seen
    }

    /// Runs a command in the net.
    pub fn catch(&self, command: &Command) -> Caught {
        self.catch_with(command, 0, None)
    }

    /// Runs a command in the net, with a cookie and a judge.
    pub fn catch_with(&self, command: &Command, cookie: u64, judge: Option<Arc<dyn Judge>>) -> Caught {
        let (entrance, net) = net::pair(cookie).unwrap();
        let log = Arc::new(Log::default());
        let supervisor = net.start(Arc::clone(&log) as Arc<dyn SharedSink>, judge).unwrap();
        let mut process = process(command);
        // SAFETY: `enter` is async-signal-safe.
        unsafe { process.pre_exec(move || entrance.enter()) };
        let output = process.output();
        drop(process);
        supervisor.installed().unwrap();
        supervisor.wait();
        // No thread is left that could tell of anything.
        let start = Instant::now();
        while Arc::strong_count(&log) > 1 {
            assert!(start.elapsed() < Duration::from_secs(10), "a thread of the net goes on");
            std::thread::yield_now();
        }
        Caught::new(output.unwrap(), &log)
    }

    /// Runs a command under the tracer, with a judge.
    pub fn trace_with(&self, command: &Command, judge: &dyn Judge) -> (Run, Log) {
        let (entrance, guard): (Entrance, Guard) = observe::Gate::new().unwrap().split();
        let options = Options { timeout: Some(Duration::from_secs(60)), ..Options::default() };
        let mut process = process(command);
        process.stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: `enter` is async-signal-safe.
        unsafe { process.pre_exec(move || entrance.enter()) };
        std::thread::scope(|scope| {
            let follower = scope.spawn(move || {
                let log = Log::default();
                let run = guard.follow(&options, &mut &log, Some(judge)).unwrap();
                (run, log)
            });
            let child = process.spawn().unwrap();
            drop((process, child));
            follower.join().unwrap()
        })
    }

    /// Compiles a C program here and returns its path.
    pub fn compile(&self, name: &str, source: &str, flags: &[&str]) -> PathBuf {
        let file = self.write(&format!("{name}.c"), source);
        let status = std::process::Command::new("cc")
            .arg(file)
            .args(["-o", name])
            .args(flags)
            .current_dir(&self.path)
            .status();
        assert!(status.unwrap().success(), "cc {name}.c");
        self.at(name)
    }
}

/// The paths to which something was done.
pub fn with(touches: &Touches, what: Use) -> Vec<PathBuf> {
    touches.with(what).map(|(path, _)| path.to_owned()).collect()
}

pub fn inputs(touches: &Touches) -> Vec<PathBuf> {
    touches.inputs().map(|(path, _)| path.to_owned()).collect()
}

/// The command for the standard library, with no input and its output collected.
fn process(command: &Command) -> std::process::Command {
    let mut process = std::process::Command::new(&command.program);
    process.arg0(&command.argv[0]).args(&command.argv[1..]);
    process.env_clear().envs(command.env.iter().cloned());
    process.current_dir(&command.cwd).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process
}

/// Everything that was told, in its order.
#[derive(Default)]
pub struct Log(pub Mutex<Vec<(Pid, Event)>>);

impl SharedSink for Log {
    fn event(&self, process: Pid, event: Event) {
        self.0.lock().unwrap().push((process, event));
    }
}

/// What was seen of a command in the net.
pub struct Caught {
    pub output: Output,
    pub touches: Touches,
    pub log: Vec<(Pid, Event)>,
}

impl Caught {
    fn new(output: Output, log: &Log) -> Self {
        let log = std::mem::take(&mut *log.0.lock().unwrap());
        let mut touches = Touches::new();
        log.iter().for_each(|(pid, event)| touches.event(*pid, event.clone()));
        Self { output, touches, log }
    }
}

type Questions = Mutex<Vec<Exec>>;

/// Says the same whenever a program of this name is executed, and remembers what it was asked.
pub struct Fixed {
    pub name: &'static str,
    pub verdict: Verdict,
    pub asked: Questions,
    pub not_deferred: Mutex<Vec<bool>>,
}

impl Fixed {
    pub fn new(name: &'static str, verdict: Verdict) -> Arc<Self> {
        Arc::new(Self { name, verdict, asked: Mutex::default(), not_deferred: Mutex::default() })
    }
}

impl Judge for Fixed {
    fn exec(&self, exec: &Exec) -> Verdict {
        let fits = exec.path.file_name().is_some_and(|name| name == self.name);
        self.asked.lock().unwrap().push(exec.clone());
        if fits { self.verdict } else { Verdict::Go }
    }

    fn not_deferred(&self, _: &Exec, runs: bool) {
        self.not_deferred.lock().unwrap().push(runs);
    }
}
