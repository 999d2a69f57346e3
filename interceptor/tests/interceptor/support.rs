// SPDX-License-Identifier: Apache-2.0
//! A tracer for tests: answers requests by a function and keeps them. Also finds the built library and compiles the C programs
//! that use it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, OnceLock};

use wire::{Descriptor, MAGIC, Plain, Reply, Request, reply_kind, request_kind};

/// The library and the stand-in as the other profiles build them: `cargo test` itself builds with unwinding, which this
/// library cannot be loaded with.
pub struct Built {
    pub library: PathBuf,
    pub stand_in: PathBuf,
}

pub fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interceptor-tests");
        let done = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--release",
                "--package=interceptor",
                "--package=standin",
                "--target-dir",
            ])
            .arg(&target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo starts");
        assert!(done.success(), "the library does not build");
        Built {
            library: target.join("release/libgginterceptor.so"),
            stand_in: target.join("release/gg-standin"),
        }
    })
}

/// The program in `programs/NAME.c`, compiled once with this compiler.
pub fn program(compiler: &str, name: &str) -> PathBuf {
    static COMPILED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name).with_extension("c");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{compiler}-{name}"));
    let mut compiled = COMPILED.lock().unwrap();
    if compiled.insert(program.clone()) {
        let done = Command::new(compiler)
            .args(["-O2", "-D_FORTIFY_SOURCE=2", "-Wno-unused-result", "-pthread", "-o"])
            .args([&program, &source])
            .status()
            .expect("a C compiler is installed");
        assert!(done.success(), "{name}.c does not compile");
    }
    program
}

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub head: Request,
    pub others: Vec<Descriptor>,
    pub path: OsString,
    pub cwd: OsString,
    /// `PLACED` only.
    pub old: OsString,
    pub argv: Vec<OsString>,
    pub envp: Vec<OsString>,
}

impl Asked {
    pub fn is_exec_of(&self, name: &str) -> bool {
        self.head.kind == request_kind::EXEC
            && Path::new(&self.path).file_name().is_some_and(|file| file == name)
    }

    pub fn var(&self, name: &str) -> Option<String> {
        let prefix = format!("{name}=");
        self.envp.iter().find_map(|entry| entry.to_str()?.strip_prefix(&prefix).map(str::to_owned))
    }
}

/// What is answered: the reply and its message.
pub type Answer = (Reply, &'static str);

pub fn run() -> Answer {
    (Reply { magic: MAGIC, kind: reply_kind::RUN, command: 77, ..Reply::default() }, "")
}

pub fn run_with(flags: u32) -> Answer {
    let (reply, message) = run();
    (Reply { flags, ..reply }, message)
}

pub fn exit(value: i32, message: &'static str) -> Answer {
    (Reply { magic: MAGIC, kind: reply_kind::EXIT, value, ..Reply::default() }, message)
}

/// What comes after it is asked for again.
pub fn pending() -> Answer {
    let (reply, message) = run();
    (Reply { kind: reply_kind::PENDING, ..reply }, message)
}

pub fn fail(value: i32, message: &'static str) -> Answer {
    (Reply { magic: MAGIC, kind: reply_kind::FAIL, value, ..Reply::default() }, message)
}

/// A tracer that listens for as long as the test runs.
pub struct Tracer {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Tracer {
    pub fn new(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let (seen, answer) = (Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream.unwrap(), &seen, &*answer));
            }
        });
        Self { folder, asked }
    }

    /// A folder that the test may use; the socket is in it too.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The value of the session's variable.
    pub fn session(&self, flags: u32) -> String {
        self.session_with(flags, 0, Path::new(""))
    }

    /// The same with a log, and with a filter that lets calls with this cookie through.
    pub fn session_with(&self, flags: u32, cookie: u64, log: &Path) -> String {
        let socket = self.folder().join("socket");
        let (log, stand_in) = (log.display(), built().stand_in.display());
        format!("5:{flags}:{cookie:016x}:{stand_in}:{log}:{}", socket.display())
    }

    /// A command in the session, with nothing else in its environment but `PATH`, in the folder.
    pub fn command(&self, program: impl AsRef<Path>, flags: u32) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .env("PATH", "/nowhere:/usr/bin:/bin")
            .env("LD_PRELOAD", &built().library)
            .env(wire::SESSION_VARIABLE, self.session(flags))
            .current_dir(self.folder());
        command
    }

    /// Runs one of the C programs with these arguments.
    pub fn program(&self, name: &str, args: &[&str]) -> Output {
        self.command(program("cc", name), 0).args(args).output().unwrap()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// All that was asked of this kind.
    pub fn of_kind(&self, kind: u32) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.head.kind == kind).collect()
    }
}

fn serve(mut stream: UnixStream, seen: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Answer) {
    let mut asked = Asked::default();
    // A process that was killed while it asked is not this test's affair.
    if stream.read_exact(asked.head.as_bytes_mut()).is_err() {
        return;
    }
    assert_eq!(asked.head.magic, MAGIC);
    let mut payload = vec![0; asked.head.len as usize];
    stream.read_exact(&mut payload).unwrap();
    assert_eq!(payload.pop(), Some(0), "the payload ends with a NUL");
    let strings = payload.split_off(asked.head.others as usize * size_of::<Descriptor>());
    for bytes in std::mem::replace(&mut payload, strings).chunks_exact(size_of::<Descriptor>()) {
        let mut other = Descriptor::default();
        other.as_bytes_mut().copy_from_slice(bytes);
        asked.others.push(other);
    }
    let mut strings = payload.split(|&byte| byte == 0).map(|text| OsString::from_vec(text.to_vec()));
    asked.path = strings.next().unwrap();
    asked.cwd = strings.next().unwrap();
    if asked.head.kind == request_kind::PLACED {
        asked.old = strings.next().unwrap();
    }
    asked.argv = strings.by_ref().take(asked.head.argc as usize).collect();
    asked.envp = strings.by_ref().take(asked.head.envc as usize).collect();
    assert_eq!(strings.next(), None, "the header's counts are those of the payload");
    seen.lock().unwrap().push(asked.clone());
    loop {
        let (mut reply, message) = answer(&asked);
        reply.len = message.len() as u32;
        stream.write_all(reply.as_bytes()).unwrap();
        stream.write_all(message.as_bytes()).unwrap();
        if reply.kind != reply_kind::PENDING {
            return;
        }
    }
}

/// A file that the library takes for a placeholder.
pub fn write_placeholder(path: &Path) {
    let mut text = b"#!/usr/bin/gg run\n# gg-placeholder 1\nTname\n".to_vec();
    text.resize(wire::PLACEHOLDER_REST as usize - 1, b'#');
    text.push(b'\n');
    std::fs::write(path, text).unwrap();
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
