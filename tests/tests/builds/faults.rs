// SPDX-License-Identifier: Apache-2.0
//! Networks, worker hosts and storages that fail: what is built is what plain make builds, and only time is lost. Each fault is
//! really made, by a proxy between or by killing the server. `scripts/fault-rounds` does more rounds of the random mix.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::Signal;
use tests::{Fault, Forced, PATIENCE, Proxy, Server, TestSpace};

use crate::calculator::{DEFERRED, calculator, is_as, plain};
use crate::interrupted::all_is_whole;
use crate::remote::{Host, new_key};

/// What a connection of a bad network is in for. Engines and workers send each other some hundred bytes to some megabytes.
fn any_fault(random: &mut Rng, silent: bool) -> Fault {
    let at = 1 << random.u32(4..22);
    let at = random.u64(at / 2..at);
    match random.u32(0..10) {
        0..4 => Fault::Nothing,
        4 => Fault::Refused,
        5 | 6 => Fault::Cut(at),
        7 => Fault::Flipped(at),
        8 if silent => Fault::Silent(at),
        _ => Fault::Slow(Duration::from_millis(random.u64(1..20))),
    }
}

fn bad_network(to: u16, random: &mut Rng, silent: bool) -> Proxy {
    let mut random = random.fork();
    Proxy::start(to, move || any_fault(&mut random, silent))
}

/// Overwrites some of the objects below a directory with something else.
fn spoil(shared: &Path, random: &mut Rng) {
    let Ok(entries) = fs::read_dir(shared.join("objects")) else { return };
    let some: Vec<_> = entries.flatten().filter(|_| random.u32(0..3) == 0).collect();
    for entry in &some {
        let content = fs::read(entry.path()).unwrap_or_default();
        let wrong = match random.u32(0..3) {
            0 => Vec::new(),
            1 => content[..content.len() / 2].to_vec(),
            _ => content.iter().map(|byte| byte ^ 0x20).collect(),
        };
        fs::write(entry.path(), wrong).expect("our own directory");
    }
}

/// Two worker hosts and a storage, all behind networks that fail at random; one host may be killed at any moment.
fn random_mix(rounds: u32, seed: u64, silent: bool) {
    let space = calculator();
    let expected = plain(&space);
    let mut undisturbed = Duration::ZERO;
    let key = new_key(&space, "key");
    let key = ["--key", key.to_str().expect("our own name")];
    for round in 0..=rounds {
        let mut random = Rng::with_seed(seed + u64::from(round));
        let quiet = round == 0;
        let _ = fs::remove_dir_all(space.store().join("reductions"));
        // With TLS a changed bit is noticed at once, without it by what it changes.
        let key = if random.bool() { &key[..] } else { &[] };
        let hosts = [0, 1].map(|i| {
            // Some have the toolchain from before, others are to be given everything.
            let store = format!("w{i}-{}", if random.bool() { round } else { 0 });
            // What a host has computed, it need not compute again.
            let _ = fs::remove_dir_all(space.outside().join(&store).join("reductions"));
            Host::start(&space, &store, &[&["-j", "1"], key].concat())
        });
        let redis = Server::redis();
        let mut network = |to: u16| {
            if quiet { Proxy::start(to, || Fault::Nothing) } else { bad_network(to, &mut random, silent) }
        };
        let networks = [network(hosts[0].port()), network(hosts[1].port()), network(redis.port)];
        let shared = space.outside().join("shared");
        let storage = if !quiet && random.bool() {
            match random.u32(0..3) {
                0 => drop(fs::remove_dir_all(&shared)),
                _ => spoil(&shared, &mut random),
            }
            format!("file://{}", shared.display())
        } else {
            format!("redis://127.0.0.1:{}", networks[2].port)
        };
        let engines = [0, 1].map(|i| format!("remote=127.0.0.1:{}", networks[i].port));
        space.run(&["make", "clean"]).ok();
        space.ggtrace(&["make"]).ok();
        let args =
            ["-e", &engines[0], "-e", &engines[1], "--fallback-engine", "local", "--storage", &storage];
        let started = Instant::now();
        let running = space.start_program("ggforce", &args);
        let mut hosts = hosts.map(Some);
        if !quiet && random.bool() {
            std::thread::sleep(Duration::from_millis(random.u64(0..1500)));
            hosts[0] = None;
        }
        let ran = running.wait().ok();
        let took = started.elapsed();
        if quiet {
            undisturbed = took;
        }
        let forced = Forced::of(&ran);
        assert_eq!((forced.thunks, forced.failed), (DEFERRED, 0), "{ran}");
        is_as(&space, &expected);
        space.run(&["make", "-q"]).ok();
        all_is_whole(&space);
        println!(
            "round {round}: {} run, {} known, {:.1} s ({:.1} s undisturbed){}{}, {}: {:?}",
            forced.run,
            forced.reduced,
            took.as_secs_f64(),
            undisturbed.as_secs_f64(),
            if key.is_empty() { "" } else { ", TLS" },
            if hosts[0].is_none() { ", one killed" } else { "" },
            storage.split(':').next().unwrap_or_default(),
            networks.map(|network| network.faults())
        );
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}

#[test]
fn a_random_mix_of_faults_costs_time_only() {
    // Silence is noticed after half a minute: only where somebody has the time.
    match variable("GG_FAULT_ROUNDS") {
        Some(rounds) => random_mix(rounds as u32, variable("GG_FAULT_SEED").unwrap_or(1), true),
        None => random_mix(3, 1, false),
    }
}

/// All is in place, and what others would get is under way to a slow storage: who does not want to wait for that need not.
#[test]
fn ctrl_c_ends_an_engine_that_stores_results_for_others() {
    let space = calculator();
    let expected = plain(&space);
    let redis = Server::redis();
    let network = Proxy::start(redis.port, || Fault::Slow(Duration::from_secs(1)));
    space.ggtrace(&["make"]).ok();
    let storage = format!("redis://127.0.0.1:{}", network.port);
    let running = space.start_program("ggforce", &["--storage", &storage]);
    let started = Instant::now();
    let is_late = || started.elapsed() > PATIENCE;
    while space.is_placeholder("calc") && !is_late() {
        std::thread::sleep(Duration::from_millis(10));
    }
    // The last thing before it stores is that its workers end.
    while !tests::children(running.pid().as_raw().cast_unsigned()).is_empty() && !is_late() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let told = Instant::now();
    running.signal(Signal::SIGINT);
    let ran = running.wait().says("interrupted while results were stored");
    assert_eq!(ran.code(), 130, "{ran}");
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    is_as(&space, &expected);
}

/// With a disk of its own, of a megabyte.
#[test]
fn a_host_with_a_full_disk_costs_time_only() {
    let space = calculator();
    let expected = plain(&space);
    let disk = space.outside().join("disk");
    fs::create_dir(&disk).expect("our own directory");
    let mut command: Command = space.command("unshare");
    let script = "mount -t tmpfs -o size=1m none \"$1\" && shift && exec \"$@\"";
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "-"]);
    command.arg(&disk).arg(TestSpace::program("ggforce"));
    let host = Host::start_as(command, &space, "disk/w", &["-j", "1"]);
    space.ggtrace(&["make"]).ok();
    let engine = format!("remote=127.0.0.1:{}", host.port());
    let ran = space.ggforce(&["-e", &engine, "--fallback-engine", "local"]).ok();
    let forced = Forced::of(&ran.says("No space left on device"));
    assert_eq!((forced.thunks, forced.failed), (DEFERRED, 0));
    is_as(&space, &expected);
    all_is_whole(&space);
}
