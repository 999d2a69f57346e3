// SPDX-License-Identifier: Apache-2.0
//! What stands for Amazon's services here: a project, the servers, and the environment of somebody who uses them.

use std::fs;
use std::path::Path;

use tests::{Forced, Proxy, Ran, Server, TestSpace};

use crate::calculator::{DEFERRED, calculator};

/// The function's name.
pub const FUNCTION: &str = "gg-force-2";
/// Whom it runs as.
pub const ROLE: &str = "arn:aws:iam::000000000000:role/gg";

/// What scripts in the function's place need of Lambda's runtime interface.
const RUNTIME: &str = "\
#!/usr/bin/env python3
import os, urllib.request
base = 'http://' + os.environ['AWS_LAMBDA_RUNTIME_API'] + '/2018-06-01/runtime/invocation/'
def next_event():
    with urllib.request.urlopen(base + 'next') as event:
        return event.headers['Lambda-Runtime-Aws-Request-Id']
def answer(request, body):
    urllib.request.urlopen(base + request + '/response', data=body).close()
";

/// Which functions run commands in namespaces, and which in the other way.
#[derive(Clone, Copy)]
pub enum Namespaces {
    There,
    Absent,
}

/// A project, the servers, and the environment.
pub struct Cloud {
    pub space: TestSpace,
    pub aws: Server,
    pub redis: Server,
}

impl Cloud {
    pub fn new() -> Self {
        Self::on(Namespaces::There)
    }

    pub fn on(namespaces: Namespaces) -> Self {
        Self::of(calculator(), namespaces)
    }

    pub fn of(mut space: TestSpace, namespaces: Namespaces) -> Self {
        let manner = match namespaces {
            Namespaces::There => "far-away",
            Namespaces::Absent => "translated",
        };
        // Functions have the server's environment and more.
        let aws = Server::aws_with(&[("GG_MANNER", manner), ("SECRET", "hunter2")]);
        let redis = Server::redis();
        space.set("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", aws.port));
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "hunter2"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ] {
            space.set(name, value);
        }
        space.set("GG_STORAGE_URI", format!("redis://127.0.0.1:{}", redis.port));
        Self { space, aws, redis }
    }

    /// With all that is said to Amazon's services behind this proxy, and the storage on S3.
    pub fn behind(mut self, proxy: &Proxy) -> Self {
        self.aws.make_bucket("bucket");
        let endpoint = format!("http://127.0.0.1:{}", proxy.port);
        self.space.set("GG_STORAGE_URI", format!("s3://bucket?region=us-east-1&endpoint={endpoint}"));
        self.space.set("AWS_ENDPOINT_URL", endpoint);
        self
    }

    /// With our function deployed.
    pub fn deployed() -> Self {
        Self::new().deploy_ours()
    }

    pub fn deploy_ours(self) -> Self {
        let cloud = self;
        cloud.deploy(&TestSpace::program("bootstrap"), &["--role", ROLE]).ok();
        cloud
    }

    pub fn deploy(&self, bootstrap: &Path, more: &[&str]) -> Ran {
        let directory = self.space.outside();
        let zip = directory.join("function.zip");
        let script = "import sys, zipfile\nzip = zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED)\n\
                      zip.write(sys.argv[2], 'bootstrap')\nzip.write(sys.argv[3], 'libggtranslator.so')\n\
                      zip.close()";
        let library = TestSpace::program("libggtranslator.so");
        let zip = zip.to_str().expect("our own name");
        let args = [script.as_ref(), zip.as_ref(), bootstrap.as_os_str(), library.as_os_str()];
        let args = [&["python3".as_ref(), "-c".as_ref()], &args[..]].concat();
        self.space.run(&args).ok();
        let args = [&["deploy", "--zip", zip], more].concat();
        self.space.start_program("ggforce", &args).wait()
    }

    /// The processes that functions run commands with: they wait for more.
    pub fn workers(&self) -> Vec<u32> {
        let workers: Vec<u32> = self.aws.children().into_iter().flat_map(tests::children).collect();
        assert!(!workers.is_empty());
        workers
    }

    /// With a function that does this.
    pub fn with(script: &str) -> Self {
        let cloud = Self::new();
        let bootstrap = cloud.space.outside().join("script");
        fs::write(&bootstrap, format!("{RUNTIME}{script}")).expect("our own directory");
        cloud.deploy(&bootstrap, &["--role", ROLE, "--timeout", "2"]).ok();
        cloud
    }
}

/// What `/proc` tells of a process.
pub fn read(pid: u32, what: &str) -> String {
    let text = fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
    String::from_utf8_lossy(&text).replace('\0', " ")
}

pub fn is_forced(ran: &Ran) {
    let forced = Forced::of(ran);
    assert_eq!((forced.run, forced.failed), (DEFERRED, 0), "{ran}");
}
