// SPDX-License-Identifier: Apache-2.0
//! Commands in sandboxes without namespaces, seen from both sides. One case after the other in one process: a sandbox takes all children of
//! its process for its own.

use std::collections::BTreeMap;
use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sandbox::{Entry, Error, Job, Status, Translated};

fn main() {
    let space = tempfile::tempdir().expect("a temporary directory");
    let world = World::new(&space.path().canonicalize().expect("it is there"));
    for (name, case) in CASES {
        println!("case {name}");
        case(&world);
    }
}

type Case = (&'static str, fn(&World));

const CASES: [Case; 7] = [
    ("a command sees its paths", sees_its_paths),
    ("outputs are taken away", outputs_are_taken_away),
    ("static programs are refused", static_programs_are_refused),
    ("nothing is left running", nothing_is_left_running),
    ("a command's time ends", time_ends),
    ("what is missing is told", missing_is_told),
    ("a command meets its own sockets alone", meets_its_own_sockets),
];

struct World {
    space: PathBuf,
    library: PathBuf,
    wanted: BTreeMap<PathBuf, Entry>,
}

/// The library as the other profiles build it: `cargo test` itself builds with unwinding, with which it cannot be loaded.
fn library() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("translator-tests");
    let done = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package=translator", "--target-dir"])
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo starts");
    assert!(done.success(), "the library does not build");
    target.join("release").join(translation::LIBRARY)
}

fn compile(space: &Path, name: &str, more: &[&str]) -> PathBuf {
    let program = space.join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name).with_extension("c");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-D_FORTIFY_SOURCE=2", "-w"]).args(more).arg("-o").args([&program, &source]);
    assert!(compiler.status().expect("a C compiler is installed").success());
    program
}

/// The libraries and the loader that a program needs, as `ldd` says.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().expect("ldd is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

impl World {
    fn new(space: &Path) -> World {
        let paths = compile(space, "paths", &[]);
        let fixed = compile(space, "static", &["-static"]);
        let sockets = compile(space, "sockets", &[]);
        let file = |source: &Path, executable| Entry::File { source: source.to_owned(), executable };
        let mut wanted: BTreeMap<PathBuf, Entry> = BTreeMap::new();
        for (path, entry) in [
            ("/usr/lib/paths", file(&paths, true)),
            ("/bin/paths", Entry::Symlink("/usr/lib/paths".into())),
            ("/bin/fixed", file(&fixed, true)),
            ("/bin/sockets", file(&sockets, true)),
            ("/bin/sh", file(&Path::new("/bin/sh").canonicalize().expect("there is a shell"), true)),
            ("/etc/link", Entry::Symlink("/data".into())),
            ("/etc/relative", Entry::Symlink("../../../data".into())),
            ("/etc/shallow", Entry::Symlink("/data".into())),
        ] {
            wanted.insert(path.into(), entry);
        }
        for (name, content, executable) in [
            ("file", "content\n", false),
            ("moved", "moved\n", false),
            ("changed", "changed\n", false),
            ("script", "#!/bin/sh -e\necho script $0 $1 $ONLY\nexit 5\n", true),
            ("leaves", "#!/bin/sh\nwhile :; do :; done &\necho $!\n", true),
            ("waits", "#!/bin/sh\nwhile :; do :; done\n", true),
            ("runs-static", "#!/bin/sh\n/bin/fixed\nexit 0\n", true),
        ] {
            let source = space.join(name);
            fs::write(&source, content).expect("it can be written");
            wanted.insert(Path::new("/data").join(name), file(&source, executable));
        }
        for library in libraries(&paths).into_iter().chain(libraries(Path::new("/bin/sh"))) {
            let source = library.canonicalize().expect("it is there");
            wanted.insert(library, file(&source, true));
        }
        World { space: space.to_owned(), library: library(), wanted }
    }

    fn sandbox(&self) -> Translated {
        let mut sandbox =
            Translated::enter(&self.space.join("scratch"), &self.library).expect("it can be made");
        sandbox.sync(&self.wanted).expect("the tree can be made");
        sandbox
    }
}

fn job(program: &str) -> Job {
    let mut job = Job::new(program, vec![program.into()], "/data");
    job.env = vec![("PATH".into(), "/usr/none:/bin".into()), ("A".into(), "1".into())];
    job.directories = vec!["/out".into()];
    job
}

fn sees_its_paths(world: &World) {
    let mut sandbox = world.sandbox();
    // And again, when the tree has been put right.
    for _ in 0..2 {
        let outcome = sandbox.run(&job("/bin/paths")).expect("it runs");
        let (said, complained) =
            (String::from_utf8_lossy(&outcome.stdout), String::from_utf8_lossy(&outcome.stderr));
        let wanted = include_str!("programs/expected.txt");
        for (said, wanted) in said.lines().zip(wanted.lines()) {
            assert_eq!(said, wanted, "{complained}");
        }
        assert_eq!((said.len(), outcome.status), (wanted.len(), Status::Exited(0)), "{complained}");
        drop(outcome);
        sandbox.sync(&world.wanted).expect("the tree can be made");
    }
}

fn outputs_are_taken_away(world: &World) {
    let mut sandbox = world.sandbox();
    let outcome = sandbox.run(&job("/bin/paths")).expect("it runs");
    let read = |path: &str| {
        let file = outcome.upper.file(Path::new(path)).expect("it can be looked at");
        file.map(|file| fs::read_to_string(file).expect("it can be read"))
    };
    assert_eq!(read("/out/result").as_deref(), Some("result"));
    assert_eq!(read("/data/changed").as_deref(), Some("CHANGED\n"));
    assert_eq!(read("/etc/link/elsewhere").as_deref(), Some("moved\n"));
    assert_eq!(read("/data/file"), None);
    // What the program has seen of a link that it made.
    let link = outcome.upper.link(Path::new("/tmp/made")).expect("it can be looked at");
    assert_eq!(link.as_deref(), Some(Path::new("/data/file")));
    // The sources are as they were, and share nothing with what the command has.
    for (name, content) in [("changed", "changed\n"), ("moved", "moved\n")] {
        let source = world.space.join(name);
        assert_eq!(fs::read_to_string(&source).expect("it is there"), content);
        assert_eq!(fs::metadata(&source).expect("it is there").nlink(), 1);
    }
    // The next command finds none of it.
    sandbox.sync(&world.wanted).expect("the tree can be made");
    let mut next = job("/bin/sh");
    next.directories.clear();
    next.argv =
        ["sh", "-c", "echo /out* /tmp/* /data/*; read a < /data/changed; echo $a"].map(Into::into).to_vec();
    let outcome = sandbox.run(&next).expect("it runs");
    let said = String::from_utf8_lossy(&outcome.stdout);
    let files =
        "/data/changed /data/file /data/leaves /data/moved /data/runs-static /data/script /data/waits";
    assert_eq!(said, format!("/out* /tmp/* {files}\nchanged\n"));
}

fn static_programs_are_refused(world: &World) {
    let mut sandbox = world.sandbox();
    for program in ["/bin/fixed", "/data/runs-static"] {
        match sandbox.run(&job(program)) {
            Err(Error::Refused(why)) => assert!(why.contains("/bin/fixed is statically linked"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    // The next one is none the worse for it.
    let outcome = sandbox.run(&job("/data/script")).expect("it runs");
    assert_eq!(outcome.status, Status::Exited(5));
}

fn nothing_is_left_running(world: &World) {
    let mut sandbox = world.sandbox();
    let outcome = sandbox.run(&job("/data/leaves")).expect("it runs");
    assert_eq!(outcome.status, Status::Exited(0));
    let child = String::from_utf8_lossy(&outcome.stdout).trim().to_owned();
    assert!(child.parse::<u32>().is_ok(), "{child}");
    assert!(!Path::new("/proc").join(child).exists());
}

fn time_ends(world: &World) {
    let mut sandbox = world.sandbox();
    let mut job = job("/data/waits");
    job.timeout = Some(Duration::from_millis(200));
    assert_eq!(sandbox.run(&job).expect("it runs").status, Status::TimedOut);
}

/// On this machine others listen, whom the same program reaches where nothing is translated.
fn meets_its_own_sockets(world: &World) {
    let name = format!("gg-test-{}", std::process::id());
    let address = |name: &str| SocketAddr::from_abstract_name(name).expect("a short name");
    let _listener = UnixListener::bind_addr(&address(&name)).expect("nobody else has this name");
    let _datagrams = UnixDatagram::bind_addr(&address(&format!("{name}d"))).expect("nor this one");
    let mut sandbox = world.sandbox();
    let mut job = job("/bin/sockets");
    job.argv.extend([name.clone().into(), "/tmp/s".into()]);
    job.directories.push("/tmp".into());
    let outcome = sandbox.run(&job).expect("it runs");
    assert_eq!(outcome.status, Status::Exited(0));
    let inside = String::from_utf8_lossy(&outcome.stdout);
    let path = world.space.join("s");
    let plain = Command::new(world.space.join("sockets")).arg(&name).arg(&path).output().expect("it starts");
    let plain = String::from_utf8_lossy(&plain.stdout);
    let lines: Vec<&str> = plain.lines().collect();
    assert!(lines.len() == 14 && lines.iter().all(|line| line.ends_with(": yes")), "{plain}");
    for (inside, plain) in inside.lines().zip(lines) {
        let wanted = if plain.starts_with("others'") { plain.replace("yes", "no") } else { plain.to_owned() };
        assert_eq!(inside, wanted);
    }
    assert_eq!(inside.lines().count(), 14);
}

fn missing_is_told(world: &World) {
    let mut sandbox = world.sandbox();
    for (program, said) in [
        ("/bin/missing", "the program is not among the inputs"),
        ("/data/file", "the program is not executable"),
        ("/etc/../../../../../bin/cat", "the program is not among the inputs"),
    ] {
        match sandbox.run(&job(program)).expect("it is set up").status {
            Status::NotStarted(why) => assert_eq!(why.to_string(), said),
            other => panic!("{program}: {other:?}"),
        }
    }
}
