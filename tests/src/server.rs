// SPDX-License-Identifier: Apache-2.0
//! Real servers for tests, started on a free port of this machine and killed with the test. `scripts/install-deps` installs
//! them; a test that does not find its server fails.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const START: Duration = Duration::from_secs(60);

/// A server under way.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub port: u16,
    _directory: tempfile::TempDir,
}

/// A port that nobody listened at a moment ago, and that nobody else takes before the server does: below those that the kernel gives
/// to who asks for any, as hosts and proxies of other tests do and everybody who connects; and none twice.
fn free_port() -> u16 {
    const PORTS: Range<u32> = 12_000..32_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Other test programs may run at the same time: they begin elsewhere.
    let own = std::process::id().wrapping_mul(199);
    for _ in PORTS {
        let number = own.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = (PORTS.start + number % PORTS.len() as u32) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("this machine has no free ports");
}

impl Server {
    fn start(make: impl FnOnce(u16, &Path) -> Command) -> Self {
        let directory =
            tempfile::Builder::new().prefix("gg-server.").tempdir().expect("a temporary directory");
        let port = free_port();
        let mut command = make(port, directory.path());
        let log = directory.path().join("log");
        let out = File::create(&log).expect("our own directory");
        command.current_dir(directory.path()).stdin(Stdio::null());
        command.stdout(out.try_clone().expect("a second descriptor")).stderr(out);
        let what = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|e| panic!("{what}: {e}: run scripts/install-deps"));
        let mut server = Self { child, port, _directory: directory };
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = server.child.try_wait().expect("our own child");
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none(), "{what} ended with {ended:?}:\n{}", said());
            assert!(started.elapsed() < START, "{what} does not listen:\n{}", said());
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// A Redis server that keeps nothing on disk.
    #[must_use]
    pub fn redis() -> Self {
        Self::start(|port, _| {
            let mut command = Command::new("redis-server");
            command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]);
            command
        })
    }

    /// Amazon's S3 and Lambda (MiniStack), which asks nobody who they are.
    #[must_use]
    pub fn aws() -> Self {
        Self::aws_with(&[])
    }

    /// The same, with this in its environment, and so in that of functions.
    #[must_use]
    pub fn aws_with(environment: &[(&str, &str)]) -> Self {
        Self::start(|port, directory| {
            let mut command = Command::new(ministack());
            command.envs(environment.iter().copied());
            command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string());
            command.env("TMPDIR", directory);
            command
        })
    }

    /// The processes that it has started.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        crate::process::children(self.child.id())
    }

    /// Makes a bucket there.
    pub fn make_bucket(&self, name: &str) {
        self.aws_put("s3", &format!("/{name}"), "");
    }

    /// Lets so many calls of a Lambda function run at once; more are refused.
    pub fn allow_calls(&self, function: &str, count: u32) {
        let body = format!("{{\"ReservedConcurrentExecutions\": {count}}}");
        self.aws_put("lambda", &format!("/2017-10-31/functions/{function}/concurrency"), &body);
    }

    fn aws_put(&self, service: &str, path: &str, body: &str) {
        use std::io::{Read as _, Write as _};
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("it listens");
        let request = format!(
            "PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: {}\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=0\r\n\r\n{body}",
            self.port,
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Empties a Redis server.
    pub fn flush_redis(&self) {
        use std::io::{Read as _, Write as _};
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("it listens");
        stream.write_all(b"FLUSHALL\r\n").expect("it listens");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).expect("it answers");
        assert_eq!(&answer, b"+OK\r\n");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ministack() -> PathBuf {
    if let Some(named) = std::env::var_os("GG_MINISTACK") {
        return named.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let installed = cache.map(|cache| cache.join("gg-servers/bin/ministack")).filter(|path| path.is_file());
    // Else whatever is on the PATH; if nothing is, starting it says so.
    installed.unwrap_or_else(|| "ministack".into())
}
