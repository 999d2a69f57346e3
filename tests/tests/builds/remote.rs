// SPDX-License-Identifier: Apache-2.0
//! Builds forced elsewhere: by worker hosts with stores of their own, and through a storage that several people share.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::{Fault, Forced, PATIENCE, Proxy, Ran, Server, TestSpace};
use thunk::{ObjectKind, ObjectName};

use crate::calculator::{DEFERRED, MADE, calculator, is_as, plain};

/// A worker host with a store of its own.
pub struct Host {
    child: Child,
    address: String,
}

impl Host {
    pub fn start(space: &TestSpace, name: &str, more: &[&str]) -> Self {
        Self::start_as(space.command(TestSpace::program("ggforce")), space, name, more)
    }

    /// The same through a command that ends by starting `ggforce` with further arguments.
    pub fn start_as(mut command: Command, space: &TestSpace, name: &str, more: &[&str]) -> Self {
        command
            .args(["worker", "--listen", "127.0.0.1:0", "--cache"])
            .arg(space.outside().join(name))
            .args(more);
        // Without the engine's store.
        command.env_remove("GG_DIR");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("it says where");
        let address = line.trim_end().strip_prefix("listening at ").expect("it listens").to_owned();
        Self { child, address }
    }

    pub fn engine(&self) -> String {
        format!("remote={}", self.address)
    }

    /// Where it listens on this machine.
    pub fn port(&self) -> u16 {
        self.address.rsplit_once(':').expect("an address").1.parse().expect("a port")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn new_key(space: &TestSpace, name: &str) -> PathBuf {
    let path = space.outside().join(name);
    let args = ["worker".as_ref(), "--new-key".as_ref(), path.as_os_str()];
    space.start_program("ggforce", &args).wait().ok();
    path
}

#[test]
fn a_storage_without_a_name_is_none() {
    let mut space = calculator();
    space.set("GG_STORAGE_URI", "");
    let expected = plain(&space);
    let host = Host::start(&space, "host", &[]);
    space.ggtrace(&["make"]).ok();
    space.ggforce(&["-e", &host.engine()]).ok();
    is_as(&space, &expected);
}

/// Hosts that fail are tried again, with pauses; not for what none of them can do anything about.
#[test]
fn what_this_store_has_lost_is_said_at_once() {
    let space = TestSpace::with(&[("a.c", "int a;\n")]);
    let host = Host::start(&space, "host", &[]);
    space.ggtrace_sh("gcc -c a.c").ok();
    let lost = ObjectName::of(ObjectKind::Value, b"int a;\n");
    fs::remove_file(space.store().join("blobs").join(lost.to_string())).unwrap();
    let begun = Instant::now();
    let said = space.ggforce(&["-e", &host.engine()]).fails();
    assert!(begun.elapsed() < Duration::from_secs(20), "{said}");
    let said = said.says(&format!("{lost} is not in the store")).says("record the build again");
    assert!(space.is_placeholder("a.o"), "{said}");
}

#[test]
fn two_hosts_with_stores_of_their_own_give_what_make_gives() {
    let space = calculator();
    let expected = plain(&space);
    let key = new_key(&space, "key");
    let key = ["--key", key.to_str().expect("our own name")];
    let hosts = [Host::start(&space, "w1", &key), Host::start(&space, "w2", &key)];
    space.ggtrace(&["make"]).ok();
    let engines = hosts.each_ref().map(Host::engine);
    let args = ["-e", &engines[0], "-e", &engines[1], "-j", "2", key[0], key[1]];
    let forced = Forced::of(&space.ggforce(&args).ok());
    assert_eq!((forced.run, forced.failed), (DEFERRED, 0));
    is_as(&space, &expected);
    space.run(&["make", "-q"]).ok();
    // Both worked, and neither had anything but what it was given.
    for store in ["w1", "w2"] {
        let count = fs::read_dir(space.outside().join(store).join("reductions")).map_or(0, Iterator::count);
        assert!(count > 0 && count < DEFERRED as usize, "{store}: {count}");
    }
}

#[test]
fn who_has_not_the_key_is_refused_by_either_side() {
    let space = calculator();
    let (key, other) = (new_key(&space, "key"), new_key(&space, "other"));
    let host = Host::start(&space, "w", &["--key", key.to_str().expect("our own name")]);
    space.ggtrace(&["make"]).ok();
    let engine = host.engine();
    for args in [vec!["-e", &engine], vec!["-e", &engine, "--key", other.to_str().expect("our own name")]] {
        space.ggforce(&args).fails().says("could not be run");
        assert!(space.is_placeholder("calc"));
    }
    // Nor does an engine send anything to somebody who only pretends to hold it.
    let open = Host::start(&space, "open", &[]);
    space
        .ggforce(&["-e", &open.engine(), "--key", key.to_str().expect("our own name")])
        .fails()
        .says("not a worker with the same key");
    for store in ["w", "open"] {
        assert_eq!(fs::read_dir(space.outside().join(store).join("blobs")).map_or(0, Iterator::count), 0);
    }
    // What is no TLS at all, and nobody at all, hurt nobody else.
    let mut stranger = TcpStream::connect(&host.address).expect("it listens");
    let _ = stranger.write_all(&[0xff; 4096]);
    space.ggforce(&["-e", &engine, "--key", key.to_str().expect("our own name")]).ok();
    assert!(!space.is_placeholder("calc"));
}

#[test]
fn without_a_key_only_this_machine_is_listened_to() {
    let space = TestSpace::new();
    let args = ["worker", "--listen", "0.0.0.0:0", "--cache", "w"];
    space.start_program("ggforce", &args).wait().fails().says("--new-key");
}

/// Every user may connect to a port of this machine.
#[test]
fn without_a_key_no_other_user_is_listened_to() {
    let space = TestSpace::new();
    let host = Host::start(&space, "w", &[]);
    // An engine's first words, and whether there is an answer. Who is refused may be so before it speaks.
    let hello = r"trap '' PIPE; exec 3<>/dev/tcp/127.0.0.1/$0; printf '\x04\0\0\0\x0a\x02\x08\x01' >&3; timeout 60 head -c1 <&3 | wc -c";
    let port = host.port().to_string();
    let call = ["bash", "-c", hello, &port];
    assert_eq!(space.run(&call).ok().out().trim(), "1");
    if nix::unistd::geteuid().is_root() {
        let other = [&["setpriv", "--reuid", "12345", "--clear-groups"], &call[..]].concat();
        assert_eq!(space.run(&other).ok().out().trim(), "0");
    }
}

#[test]
fn a_host_that_is_killed_costs_time_only() {
    let space = calculator();
    let expected = plain(&space);
    let (doomed, other) = (Host::start(&space, "w1", &[]), Host::start(&space, "w2", &[]));
    space.ggtrace(&["make"]).ok();
    let engines = [doomed.engine(), other.engine()];
    let running = space.start_program("ggforce", &["-e", &engines[0], "-e", &engines[1], "-j", "2"]);
    let store = space.outside().join("w1/blobs");
    // In the middle: it has got something, and not everything.
    let started = Instant::now();
    while fs::read_dir(&store).map_or(0, Iterator::count) < 10 {
        assert!(started.elapsed() < PATIENCE, "it is given nothing");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(doomed);
    let ran = running.wait().ok();
    assert_eq!(Forced::of(&ran).failed, 0, "{ran}");
    is_as(&space, &expected);
    // The dead one alone, with somebody to fall back on.
    space.run(&["make", "clean"]).ok();
    fs::remove_dir_all(space.store().join("reductions")).expect("our own store");
    space.ggtrace(&["make"]).ok();
    space.ggforce(&["-e", &engines[0], "--fallback-engine", "local"]).ok().says(&engines[0]);
    is_as(&space, &expected);
}

/// With whoever never was there, nobody has patience.
#[test]
fn a_host_that_is_not_there_is_told_soon() {
    let space = calculator();
    space.ggtrace(&["make"]).ok();
    let started = Instant::now();
    for more in [&[][..], &["-k"]] {
        let args = [&["-e", "remote=127.0.0.1:1"], more].concat();
        space.ggforce(&args).fails().says("remote=127.0.0.1:1: no connection");
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let network = Proxy::start(1, || Fault::Refused);
    let engine = format!("remote=127.0.0.1:{}", network.port);
    space.ggforce(&["-e", &engine]).fails().says("it refuses, or is no worker");
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
}

/// A host that is started again while it greets is no stranger.
#[test]
fn a_greeting_that_is_cut_short_is_begun_anew() {
    let space = calculator();
    let expected = plain(&space);
    let host = Host::start(&space, "w", &[]);
    let mut left = 3;
    let network = Proxy::start(host.port(), move || {
        left -= 1;
        if left > 0 { Fault::Refused } else { Fault::Nothing }
    });
    space.ggtrace(&["make"]).ok();
    space.ggforce(&["-e", &format!("remote=127.0.0.1:{}", network.port)]).ok();
    is_as(&space, &expected);
}

#[test]
fn a_compile_error_comes_home() {
    let space = calculator();
    space.write("add.c", "int add(int a, int b) { return a + ; }\n");
    let host = Host::start(&space, "w", &[]);
    space.ggtrace(&["make"]).ok();
    space.ggforce(&["-e", &host.engine()]).fails().says("add.c:1:").says("failed (exit code 1)");
}

/// Forces in a store that another person has just begun, without what the first has computed.
fn second_person(space: &mut TestSpace, storage: &str) -> (Ran, PathBuf) {
    let store = space.outside().join("second");
    space.run(&["make", "clean"]).ok();
    space.set("GG_DIR", &store);
    space.ggtrace(&["make"]).ok();
    (space.ggforce(&["--storage", storage]), store)
}

fn shares(mut space: TestSpace, storage: &str) {
    let expected = plain(&space);
    space.ggtrace(&["make"]).ok();
    let forced = Forced::of(&space.ggforce(&["--storage", storage]).ok());
    assert_eq!(forced.run, DEFERRED);
    is_as(&space, &expected);
    let (ran, _) = second_person(&mut space, storage);
    let forced = Forced::of(&ran.ok());
    assert_eq!((forced.run, forced.reduced), (0, DEFERRED), "a second person computes nothing");
    is_as(&space, &expected);
}

#[test]
fn a_second_person_computes_nothing_with_a_directory_between() {
    let space = calculator();
    let storage = format!("file://{}", space.outside().join("shared").display());
    shares(space, &storage);
}

#[test]
fn a_second_person_computes_nothing_with_redis_between() {
    let server = Server::redis();
    shares(calculator(), &format!("redis://127.0.0.1:{}", server.port));
}

/// Is this file's content an object of the store?
pub fn holds(store: &Path, content: &[u8]) -> bool {
    let name = ObjectName::of(ObjectKind::Value, content).to_string();
    ["blobs", "exec"].iter().any(|kind| store.join(kind).join(&name).exists())
}

#[test]
fn what_is_no_target_may_stay_in_the_storage() {
    let mut space = calculator();
    let before = plain(&space);
    let made = |file: &str| &before[MADE.iter().position(|made| *made == file).expect("it is made")];
    let storage = format!("file://{}", space.outside().join("shared").display());
    space.ggtrace(&["make"]).ok();
    space.ggforce(&["--no-download"]).fails().says("--storage");
    space.ggforce(&["--storage", &storage]).ok();

    let store = space.outside().join("second");
    space.set("GG_DIR", &store);
    space.run(&["make", "clean"]).ok();
    space.ggtrace(&["make"]).ok();
    let args = ["--storage", &storage, "--no-download", "calc"];
    let forced = Forced::of(&space.ggforce(&args).ok());
    assert_eq!((forced.run, forced.failed), (0, 0));
    assert!(space.read("calc") == *made("calc"));
    for file in ["libcalc.a", "main.o", "add.o"] {
        assert!(!holds(&store, made(file)), "{file}");
        assert!(space.is_placeholder(file));
    }

    // What runs here gets its inputs, and no more.
    space.write("main.c", "#include \"print.h\"\nint main(void) { print(7); return 0; }\n");
    space.ggtrace(&["make"]).ok();
    let forced = Forced::of(&space.ggforce(&args).ok());
    assert_eq!((forced.run, forced.failed), (2, 0), "main.o and calc");
    assert_eq!(space.run(&["./calc"]).ok().out(), "7\n");
    assert!(holds(&store, made("libcalc.a")));
    assert!(!holds(&store, made("add.o")));
    // Later the rest comes home too.
    assert_eq!(Forced::of(&space.ggforce(&["--storage", &storage]).ok()).run, 0);
    space.run(&["make", "-q"]).ok();
    assert!(space.read("add.o") == *made("add.o"));
}

#[test]
fn wrong_content_in_the_storage_is_told_and_not_used() {
    let mut space = calculator();
    // What is small comes with what is known of the thunk.
    for name in ["add", "mul", "print", "main"] {
        let source = format!("{name}.c");
        let large = format!("char large_{name}[100000] = {{1}};\n");
        space.write(&source, [space.read(&source), large.into_bytes()].concat());
    }
    let expected = plain(&space);
    let shared = space.outside().join("shared");
    let storage = format!("file://{}", shared.display());
    space.ggtrace(&["make"]).ok();
    space.ggforce(&["--storage", &storage]).ok();
    // Somebody puts the content of one object under the names of all the others.
    let objects: Vec<PathBuf> = fs::read_dir(shared.join("objects"))
        .expect("it is there")
        .map(|e| e.expect("an entry").path())
        .collect();
    assert!(objects.len() >= MADE.len());
    let wrong = fs::read(&objects[0]).expect("it is there");
    objects[1..].iter().for_each(|path| fs::write(path, &wrong).expect("our own directory"));
    let (ran, _) = second_person(&mut space, &storage);
    let forced = Forced::of(&ran.ok().says("is damaged").says("it is not used"));
    assert!(forced.run >= DEFERRED - 1, "what cannot be fetched is computed");
    is_as(&space, &expected);
    assert!(objects[1..].iter().all(|path| fs::read(path).is_ok_and(|now| now != wrong)), "and repaired");
}

/// A result that is small takes one request.
#[test]
fn what_is_small_comes_with_what_is_known_of_the_thunk() {
    let mut space = calculator();
    let expected = plain(&space);
    let shared = space.outside().join("shared");
    let storage = format!("file://{}", shared.display());
    space.ggtrace(&["make"]).ok();
    space.ggforce(&["--storage", &storage]).ok();
    fs::rename(shared.join("objects"), shared.join("no objects")).expect("our own directory");
    fs::create_dir(shared.join("objects")).expect("our own directory");
    let (ran, _) = second_person(&mut space, &storage);
    assert_eq!(Forced::of(&ran.ok()).run, 0);
    is_as(&space, &expected);
}

#[test]
fn a_storage_that_is_gone_costs_time_only() {
    let space = calculator();
    let server = Server::redis();
    let storage = format!("redis://127.0.0.1:{}", server.port);
    drop(server);
    space.ggtrace(&["make"]).ok();
    let forced = Forced::of(&space.ggforce(&["--storage", &storage]).ok().says("going on without it"));
    assert_eq!((forced.run, forced.failed), (DEFERRED, 0));
}

#[test]
fn a_host_keeps_within_its_cache() {
    let space = calculator();
    let expected = plain(&space);
    let host = Host::start(&space, "w", &["--cache-size", "1", "-j", "1"]);
    space.ggtrace(&["make"]).ok();
    space.ggforce(&["-e", &host.engine()]).ok();
    is_as(&space, &expected);
    let size = || -> u64 {
        let of =
            |directory: &str| fs::read_dir(space.outside().join("w").join(directory)).expect("its store");
        let entries = ["blobs", "exec"].into_iter().flat_map(of).flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
    };
    // The toolchain alone is larger than that. The host cleans up after it has answered.
    let started = Instant::now();
    while size() > 1 << 20 {
        assert!(started.elapsed() < Duration::from_secs(60), "{} bytes are still there", size());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A host removes what it takes for old.
#[test]
fn a_host_shares_its_store_with_nobody() {
    let space = calculator();
    let _host = Host::start(&space, "w", &[]);
    let start = |cache: &Path| {
        let cache = cache.to_str().expect("our own name");
        space.start_program("ggforce", &["worker", "--listen", "127.0.0.1:0", "--cache", cache]).wait()
    };
    start(&space.outside().join("w")).fails().says("another worker").says("--cache DIRECTORY");
    space.ggtrace(&["make"]).ok();
    start(&space.store()).fails().says("builds are recorded in this store").says("--cache DIRECTORY");
}

/// A bad disk, say: what is damaged is asked for again.
#[test]
fn a_host_mends_its_store() {
    let space = calculator();
    let expected = plain(&space);
    let host = Host::start(&space, "w", &[]);
    space.ggtrace(&["make"]).ok();
    space.ggforce(&["-e", &host.engine()]).ok();
    drop(host);
    // Whatever is larger than a thunk: sources, headers, the toolchain, and outputs.
    for kind in ["blobs", "exec"] {
        for entry in fs::read_dir(space.outside().join("w").join(kind)).expect("its store").flatten() {
            let mut content = fs::read(entry.path()).expect("its store");
            if entry.file_name().as_encoded_bytes().starts_with(b"V") && content.len() > 16 {
                let last = content.len() - 1;
                content[last] ^= 1;
                fs::write(entry.path(), content).expect("its store");
            }
        }
    }
    let host = Host::start(&space, "w", &[]);
    space.run(&["make", "clean"]).ok();
    fs::remove_dir_all(space.store().join("reductions")).expect("our own store");
    space.ggtrace(&["make"]).ok();
    space.ggforce(&["-e", &host.engine()]).ok();
    is_as(&space, &expected);
}

/// The storage is away for a moment, as when it is started again.
#[test]
fn a_host_goes_back_to_a_storage_that_failed() {
    let space = calculator();
    let server = Server::redis();
    let mut left = 8;
    let network = Proxy::start(server.port, move || {
        left -= 1;
        if left > 0 { Fault::Refused } else { Fault::Nothing }
    });
    let storage = format!("redis://127.0.0.1:{}", network.port);
    let host = Host::start(&space, "w", &["--storage", &storage]);
    for (number, file) in [(1, "add.o"), (2, "mul.o"), (3, "main.o"), (4, "print.o")] {
        space.ggtrace(&["make", file]).ok();
        space.ggforce(&["-e", &host.engine()]).ok();
        assert!(!space.is_placeholder(file), "{number}");
        std::thread::sleep(Duration::from_millis(1100) * number);
    }
    let faults = network.faults();
    assert!(faults.contains(&Fault::Nothing), "it did not come back: {faults:?}");
}

#[test]
fn a_host_looks_into_its_storage_first() {
    let space = calculator();
    let expected = plain(&space);
    let shared = space.outside().join("shared");
    let storage = format!("file://{}", shared.display());
    space.ggtrace(&["make"]).ok();
    // The objects that the link needs come to the storage, and nowhere else where the host could find them.
    space.ggforce(&["add.o", "mul.o", "main.o", "print.o", "--storage", &storage]).ok();
    let compiled = ["add.o", "mul.o", "main.o", "print.o"];
    let host = Host::start(&space, "w", &["--storage", &storage, "-j", "1"]);
    // Were they damaged there, the host would say so and ask the engine.
    space.ggforce(&["-e", &host.engine()]).ok();
    is_as(&space, &expected);
    for file in compiled {
        let name = ObjectName::of(ObjectKind::Value, &space.read(file)).to_string();
        assert!(space.outside().join("w/blobs").join(&name).exists(), "{file}");
    }
}
