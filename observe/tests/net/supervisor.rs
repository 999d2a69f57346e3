// SPDX-License-Identifier: Apache-2.0
//! How a net begins and ends: where there is one already, where nobody comes, where its supervisor is killed or leaves first.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use observe::net::{self, Refusal, SharedSink};
use observe::{Pid, Process};

use crate::support::{Log, Space};

#[test]
fn one_net_only() {
    assert_eq!(net::available(), Ok(()));
    let (outer, outer_net) = net::pair(0).unwrap();
    let (inner, inner_net) = net::pair(0).unwrap();
    let log = || Arc::new(Log::default()) as Arc<dyn SharedSink>;
    let (outer_log, inner_log) = (log(), log());
    let outer_supervisor = outer_net.start(outer_log, None).unwrap();
    let inner_supervisor = inner_net.start(inner_log, None).unwrap();
    let mut command = std::process::Command::new("/bin/true");
    // SAFETY: `enter` is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            outer.enter()?;
            // There is none to be had, but that is no reason not to run.
            let _ = inner.enter();
            Ok(())
        })
    };
    assert!(command.status().unwrap().success());
    drop(command);
    assert_eq!(outer_supervisor.installed(), Ok(()));
    assert_eq!(inner_supervisor.installed(), Err(Refusal::Busy));
    outer_supervisor.wait();
    inner_supervisor.wait();
}

#[test]
fn a_child_that_never_gets_there() {
    let (entrance, net) = net::pair(0).unwrap();
    let supervisor = net.start(Arc::new(Log::default()), None).unwrap();
    drop(entrance);
    assert_eq!(supervisor.installed(), Err(Refusal::NeverReady));
    supervisor.wait();
}

#[test]
fn without_their_supervisor_processes_end() {
    let space = Space::new();
    let mut supervisor = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "supervisor::supervisor_to_be_killed", "--nocapture"])
        .env("NET_SPACE", &space.path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(supervisor.stdout.take().unwrap()).lines();
    let pid: Pid =
        lines.map_while(Result::ok).find_map(|line| line.strip_prefix("pid ")?.parse().ok()).unwrap();
    let process = Process::open(pid).unwrap();
    supervisor.kill().unwrap();
    assert_eq!(supervisor.wait().unwrap().signal(), Some(libc::SIGKILL));
    let start = Instant::now();
    while !process.has_ended() {
        assert!(start.elapsed() < Duration::from_secs(20), "it waits for an answer that nobody gives");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Its calls have failed: it could not go on as if nothing were.
    assert!(!space.at("done").exists());
}

/// Runs a shell that would go on for long; is killed by the test above.
#[test]
#[ignore = "a part of without_their_supervisor_processes_end"]
fn supervisor_to_be_killed() {
    let Some(path) = std::env::var_os("NET_SPACE") else { return };
    let (entrance, net) = net::pair(0).unwrap();
    net.start(Arc::new(Log::default()), None).unwrap();
    let mut command = std::process::Command::new("/bin/busybox");
    command.args(["sh", "-c", "i=0; while test -e / && test $i -lt 1000000; do i=$((i+1)); done; : >done"]);
    command.current_dir(path);
    // SAFETY: `enter` is async-signal-safe.
    unsafe { command.pre_exec(move || entrance.enter()) };
    let mut child = command.spawn().unwrap();
    println!("pid {}", child.id());
    child.wait().unwrap();
}

#[test]
fn who_outlives_the_recorder_goes_on() {
    let space = Space::new();
    let recorder = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "supervisor::recorder_that_leaves", "--nocapture"])
        .env("NET_SPACE", &space.path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The one that is left behind does not hold the pipe.
    let output = recorder.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(!space.at("copy").exists());
    let caretaker: Pid = text.lines().find_map(|line| line.strip_prefix("pid ")?.parse().ok()).unwrap();
    let caretaker = Process::open(caretaker).unwrap();
    space.write("go", "");
    let start = Instant::now();
    while !caretaker.has_ended() {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not end with the last process");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(fs::read_to_string(space.at("copy")).unwrap(), "content");
}

/// Ends while a process goes on that its build has left.
#[test]
#[ignore = "a part of who_outlives_the_recorder_goes_on"]
fn recorder_that_leaves() {
    let Some(path) = std::env::var_os("NET_SPACE") else { return };
    let (entrance, net) = net::pair(0).unwrap();
    let supervisor = net.start(Arc::new(Log::default()), None).unwrap();
    let mut command = std::process::Command::new("/bin/busybox");
    let script = "printf content >file; (while ! test -e go; do sleep 0.05; done; cat file >copy) &";
    command.args(["sh", "-c", script]).current_dir(path).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: `enter` is async-signal-safe.
    unsafe { command.pre_exec(move || entrance.enter()) };
    assert!(command.status().unwrap().success());
    println!("pid {}", supervisor.leave().unwrap().unwrap());
}

#[test]
fn nobody_is_left_behind_for_nobody() {
    let (entrance, net) = net::pair(0).unwrap();
    let supervisor = net.start(Arc::new(Log::default()), None).unwrap();
    let mut command = std::process::Command::new("/bin/true");
    // SAFETY: `enter` is async-signal-safe.
    unsafe { command.pre_exec(move || entrance.enter()) };
    assert!(command.status().unwrap().success());
    assert_eq!(supervisor.leave().unwrap(), None);
}
