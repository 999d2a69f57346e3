// SPDX-License-Identifier: Apache-2.0
//! Builds forced on AWS Lambda, or what stands for it here: a server that runs the function's program as processes of this
//! machine, and others that do what a function of ours would not.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tests::{Fault, Forced, Proxy, Ran, Server, TestSpace};
use thunk::Input;

use crate::calculator::{DEFERRED, MADE, calculator, is_as, plain};
use crate::hostile::{plant, recorded, store, thunk_of};
use crate::remote::holds;
use crate::strangers::{BY_HAND, Machine, without_filters};
use crate::unprivileged;

const FUNCTION: &str = "gg-force-2";
const ROLE: &str = "arn:aws:iam::000000000000:role/gg";

/// Takes an event and ends.
const CRASHES: &str = "import sys\nnext_event()\nsys.exit(3)\n";
/// Takes an event and does not answer.
const HANGS: &str = "import time\nnext_event()\ntime.sleep(60)\n";
/// Answers something else than a function of ours would.
const BABBLES: &str = "while True: answer(next_event(), b'{\"gg\": \"////\", \"and\": \"more\"}')\n";
/// What these need of Lambda's runtime interface.
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
enum Namespaces {
    There,
    Absent,
}

/// A project, the servers, and the environment of somebody who uses them.
struct Cloud {
    space: TestSpace,
    aws: Server,
    redis: Server,
}

impl Cloud {
    fn new() -> Self {
        Self::on(Namespaces::There)
    }

    fn on(namespaces: Namespaces) -> Self {
        Self::of(calculator(), namespaces)
    }

    fn of(mut space: TestSpace, namespaces: Namespaces) -> Self {
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
    fn behind(mut self, proxy: &Proxy) -> Self {
        self.aws.make_bucket("bucket");
        let endpoint = format!("http://127.0.0.1:{}", proxy.port);
        self.space.set("GG_STORAGE_URI", format!("s3://bucket?region=us-east-1&endpoint={endpoint}"));
        self.space.set("AWS_ENDPOINT_URL", endpoint);
        self
    }

    /// With our function deployed.
    fn deployed() -> Self {
        Self::new().deploy_ours()
    }

    fn deploy_ours(self) -> Self {
        let cloud = self;
        cloud.deploy(&TestSpace::program("bootstrap"), &["--role", ROLE]).ok();
        cloud
    }

    fn deploy(&self, bootstrap: &Path, more: &[&str]) -> Ran {
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
    fn workers(&self) -> Vec<u32> {
        let workers: Vec<u32> = self.aws.children().into_iter().flat_map(tests::children).collect();
        assert!(!workers.is_empty());
        workers
    }

    /// With a function that does this.
    fn with(script: &str) -> Self {
        let cloud = Self::new();
        let bootstrap = cloud.space.outside().join("script");
        fs::write(&bootstrap, format!("{RUNTIME}{script}")).expect("our own directory");
        cloud.deploy(&bootstrap, &["--role", ROLE, "--timeout", "2"]).ok();
        cloud
    }
}

/// What `/proc` tells of a process.
fn read(pid: u32, what: &str) -> String {
    let text = fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
    String::from_utf8_lossy(&text).replace('\0', " ")
}

fn is_forced(ran: &Ran) {
    let forced = Forced::of(ran);
    assert_eq!((forced.run, forced.failed), (DEFERRED, 0), "{ran}");
}

#[test]
fn functions_give_what_make_gives_with_redis_between() {
    let mut cloud = Cloud::deployed();
    let expected = plain(&cloud.space);
    cloud.space.ggtrace(&["make"]).ok();
    let ran = cloud.space.ggforce(&["--engine", "lambda"]).ok().says("calls").says("about $0.00");
    is_forced(&ran);
    is_as(&cloud.space, &expected);
    cloud.space.run(&["make", "-q"]).ok();
    // Somebody else computes nothing, and calls nobody.
    cloud.space.run(&["make", "clean"]).ok();
    cloud.space.set("GG_DIR", cloud.space.outside().join("second"));
    cloud.space.ggtrace(&["make"]).ok();
    let ran = cloud.space.ggforce(&["--engine", "lambda=us-east-1"]).ok();
    assert!(!ran.err().contains("calls"), "{ran}");
    assert_eq!(Forced::of(&ran).reduced, DEFERRED);
    is_as(&cloud.space, &expected);
}

#[test]
fn functions_without_namespaces_give_what_make_gives() {
    let cloud = Cloud::on(Namespaces::Absent).deploy_ours();
    let expected = plain(&cloud.space);
    cloud.space.ggtrace(&["make"]).ok();
    is_forced(&cloud.space.ggforce(&["--engine", "lambda"]).ok());
    is_as(&cloud.space, &expected);
    for worker in cloud.workers() {
        assert!(read(worker, "cmdline").contains("--manner translated"));
    }
}

/// As on Lambda itself, and more so: an ordinary user, no namespaces, nothing there but the function, nothing to write to but `/tmp`.
#[test]
fn functions_need_no_privileges_and_nothing_installed() {
    let cloud = Cloud::new();
    let expected = plain(&cloud.space);
    let function = TestSpace::program("bootstrap");
    let libraries = unprivileged::libraries(&function);
    let bound: String = libraries.iter().map(|path| format!("--ro-bind {0} {0} ", path.display())).collect();
    let library = "libggtranslator.so";
    let script = format!(
        "#!/bin/sh\nexec bwrap {} {bound} --ro-bind {} /var/task/function \
         --ro-bind \"$(dirname \"$0\")/{library}\" /var/task/{library} --remount-ro / \
         --setenv TMPDIR /tmp --unsetenv GG_MANNER -- /var/task/function\n",
        unprivileged::CONFINED.join(" "),
        function.display(),
    );
    let confined = cloud.space.outside().join("confined");
    fs::write(&confined, script).expect("our own directory");
    cloud.deploy(&confined, &["--role", ROLE]).ok();
    cloud.space.ggtrace(&["make"]).ok();
    is_forced(&cloud.space.ggforce(&["-e", "lambda"]).ok());
    is_as(&cloud.space, &expected);
}

#[test]
fn functions_give_what_make_gives_with_s3_between() {
    let mut cloud = Cloud::deployed();
    cloud.aws.make_bucket("bucket");
    let endpoint = format!("http://127.0.0.1:{}", cloud.aws.port);
    cloud.space.set("GG_STORAGE_URI", format!("s3://bucket/p?region=us-east-1&endpoint={endpoint}"));
    let expected = plain(&cloud.space);
    cloud.space.ggtrace(&["make"]).ok();
    is_forced(&cloud.space.ggforce(&["--engine", "lambda"]).ok());
    is_as(&cloud.space, &expected);
    // A changed source runs again, on a function that has the rest.
    cloud.space.write("add.c", "#include \"calc.h\"\nint add(int a, int b) { return b + a + 0; }\n");
    let expected = plain(&cloud.space);
    cloud.space.ggtrace(&["make"]).ok();
    let forced = Forced::of(&cloud.space.ggforce(&["--engine", "lambda"]).ok());
    assert!(forced.run >= 1 && forced.run < DEFERRED, "{forced:?}");
    is_as(&cloud.space, &expected);
}

#[test]
fn what_is_no_target_may_stay_in_the_storage() {
    let cloud = Cloud::deployed();
    let expected = plain(&cloud.space);
    cloud.space.ggtrace(&["make"]).ok();
    is_forced(&cloud.space.ggforce(&["-e", "lambda", "--no-download", "calc"]).ok());
    for (file, content) in MADE.iter().zip(&expected) {
        assert_eq!(holds(&cloud.space.store(), content), *file == "calc", "{file}");
    }
    let forced = Forced::of(&cloud.space.ggforce(&["-e", "lambda"]).ok());
    assert_eq!((forced.run, forced.failed), (0, 0));
    is_as(&cloud.space, &expected);
}

#[test]
fn commands_run_without_the_credentials_of_the_function() {
    let cloud = Cloud::deployed();
    cloud.space.ggtrace(&["make"]).ok();
    is_forced(&cloud.space.ggforce(&["--engine", "lambda"]).ok());
    // The functions wait for more, and so do their workers, which commands are started by.
    for function in cloud.aws.children() {
        assert!(read(function, "environ").contains("AWS_SECRET_ACCESS_KEY="), "it needs them itself");
    }
    for worker in cloud.workers() {
        assert!(read(worker, "cmdline").contains("--worker"));
        assert_eq!(read(worker, "environ"), "");
    }
}

/// Its credentials, other processes, files of others, what listens on its machine.
#[test]
fn a_hostile_thunk_gets_nothing_of_a_function_but_its_inputs() {
    for (namespaces, gets) in [(Namespaces::There, "done"), (Namespaces::Absent, BY_HAND)] {
        let cloud = Cloud::of(recorded(), namespaces).deploy_ours();
        let machine = Machine::new(&cloud.space);
        machine.plant(&cloud.space);
        let ran = cloud.space.ggforce(&["-e", "lambda", "out.txt"]).ok();
        assert_eq!(Forced::of(&ran).run, 1, "{ran}");
        assert_eq!(machine.got(&cloud.space), gets);
        for function in cloud.aws.children() {
            assert!(read(function, "environ").contains("SECRET=hunter2"), "there was something to be had");
        }
    }
}

/// One that is not the thunk's own program is found when it is started; of one that is, it is known from then on.
#[test]
fn what_a_function_cannot_run_another_engine_does() {
    let cloud = Cloud::of(unprivileged::with_a_static_assembler(), Namespaces::Absent).deploy_ours();
    cloud.space.ggforce(&["-e", "lambda", "fixed.o"]).fails().says("tools/as is statically linked");
    assert!(cloud.space.is_placeholder("fixed.o"));
    let fallback = ["-e", "lambda", "-j", "1", "--fallback-engine", "local"];
    let ran = cloud.space.ggforce(&fallback).ok().says("tools/as is statically linked");
    assert_eq!(Forced::of(&ran).run, 2, "{ran}");
    assert!(!cloud.space.is_placeholder("fixed.o") && !cloud.space.is_placeholder("main.o"));

    let space = &cloud.space;
    space.ggtrace_sh("gcc -c main.c -o again.o").ok();
    space.write(
        "copy.c",
        "#include <stdio.h>\nint main(int n, char **v) { fputs(v[1], fopen(v[2], \"w\")); }\n",
    );
    space.run(&["gcc", "-static", "-o", "copy", "copy.c"]).ok();
    let (value, _) = store(space).put_file(&space.path("copy")).expect("readable");
    for name in ["one", "two", "three"] {
        let mut thunk = store(space).thunk(&thunk_of(space, "again.o")).expect("recorded");
        thunk.function = Some(value);
        thunk.executables.push(Input { path: space.path("copy"), value });
        thunk.program = Some(space.path("copy"));
        thunk.args = ["copy".into(), name.into(), space.path(name).into()].into();
        thunk.outputs = vec![space.path(name)];
        thunk.optional_outputs.clear();
        plant(space, name, &thunk);
    }
    let ran =
        space.ggforce(&[&fallback[..], &["one", "two", "three"]].concat()).ok().says("is statically linked");
    assert_eq!(Forced::of(&ran).run, 3, "{ran}");
    assert!(ran.err().contains(" 1 calls,"), "{ran}");
    assert_eq!(["one", "two", "three"].map(|name| space.read(name)), ["one", "two", "three"].map(Vec::from));
}

/// Commands would have the interface from which the function takes its events, and its machine's credentials.
#[test]
fn a_function_that_cannot_take_the_network_away_runs_nothing() {
    let cloud = Cloud::on(Namespaces::Absent);
    let bootstrap = without_filters(&cloud.space, &TestSpace::program("bootstrap"));
    cloud.deploy(&bootstrap, &["--role", ROLE]).ok();
    let expected = plain(&cloud.space);
    cloud.space.ggtrace(&["make"]).ok();
    let why = "a kernel that takes seccomp filters";
    cloud.space.ggforce(&["-e", "lambda", "add.o"]).fails().says(why);
    assert!(cloud.space.is_placeholder("add.o"));
    let ran = cloud.space.ggforce(&["-e", "lambda", "-j", "1", "--fallback-engine", "local"]).ok().says(why);
    is_forced(&ran);
    assert!(ran.err().contains(" 1 calls,"), "{ran}");
    is_as(&cloud.space, &expected);
}

#[test]
fn what_keeps_the_function_from_being_called_is_said_in_one_line() {
    let mut cloud = Cloud::new();
    cloud.space.ggtrace(&["make"]).ok();
    let says = |space: &TestSpace, args: &[&str], text: &str| {
        let ran = space.ggforce(args).fails().says(text);
        assert_eq!(ran.err().lines().count(), 1, "{ran}");
        assert!(!ran.err().contains("hunter2"), "{ran}");
    };
    says(
        &cloud.space,
        &["-e", "lambda"],
        "there is no function gg-force-2 in us-east-1: ggforce deploy makes it",
    );
    cloud.deploy(&TestSpace::program("bootstrap"), &[]).fails().says("--role");
    cloud.deploy(&TestSpace::program("bootstrap"), &["--role", ROLE]).ok();
    says(&cloud.space, &["-e", "lambda=eu-west-1"], "there is no function gg-force-2 in eu-west-1");
    says(&cloud.space, &["-e", "lambda", "--storage", "file:///tmp"], "--storage s3://… or redis://…");
    cloud.space.unset("AWS_SECRET_ACCESS_KEY");
    says(&cloud.space, &["-e", "lambda"], "no credentials for AWS");
    cloud.space.set("AWS_SECRET_ACCESS_KEY", "hunter2");
    cloud.space.unset("AWS_REGION");
    says(&cloud.space, &["-e", "lambda"], "no region");
    // With another engine it is said too, and the build goes on.
    let args = ["-e", "lambda=eu-west-1", "-e", "local", "-j", "2"];
    is_forced(&cloud.space.ggforce(&args).ok().says("there is no function"));
}

#[test]
fn a_function_is_changed_and_removed() {
    let cloud = Cloud::deployed();
    cloud.deploy(&TestSpace::program("bootstrap"), &["--memory", "1024", "--timeout", "60"]).ok();
    cloud.space.ggtrace(&["make"]).ok();
    is_forced(&cloud.space.ggforce(&["-e", "lambda"]).ok());
    cloud.space.ggforce(&["deploy", "--remove"]).ok();
    cloud.space.ggforce(&["deploy", "--remove"]).fails().says("there is no function");
}

/// It is told, and somebody else does it.
fn is_given_up(script: &str, why: &str) {
    let cloud = Cloud::with(script);
    let expected = plain(&cloud.space);
    cloud.space.ggtrace(&["make"]).ok();
    cloud.space.ggforce(&["-e", "lambda", "add.o"]).fails().says(why).says("could not be run");
    assert!(cloud.space.is_placeholder("add.o"));
    let ran = cloud.space.ggforce(&["-e", "lambda", "--fallback-engine", "local"]).ok().says(why);
    is_forced(&ran);
    is_as(&cloud.space, &expected);
}

#[test]
fn a_function_that_crashes_is_given_up_and_another_engine_takes_over() {
    is_given_up(CRASHES, "the function failed: Runtime exited");
}

#[test]
fn a_function_that_does_not_answer_in_time_is_given_up() {
    is_given_up(HANGS, "timed out");
}

#[test]
fn a_function_that_babbles_is_given_up() {
    is_given_up(BABBLES, "it is no message of gg's");
}

#[test]
fn fewer_calls_are_made_where_lambda_refuses_some() {
    let cloud = Cloud::deployed();
    cloud.aws.allow_calls(FUNCTION, 1);
    let expected = plain(&cloud.space);
    cloud.space.ggtrace(&["make"]).ok();
    is_forced(&cloud.space.ggforce(&["-e", "lambda", "-j", "20"]).ok());
    is_as(&cloud.space, &expected);
    assert_eq!(cloud.aws.children().len(), 1, "four compiles were ready at once");
}

#[test]
fn a_storage_that_was_emptied_is_filled_again() {
    let cloud = Cloud::deployed();
    let expected = plain(&cloud.space);
    cloud.space.ggtrace(&["make"]).ok();
    is_forced(&cloud.space.ggforce(&["-e", "lambda"]).ok());
    cloud.redis.flush_redis();
    // New instances have nothing, and this machine remembers that everything is there.
    cloud.deploy(&TestSpace::program("bootstrap"), &["--memory", "1024"]).ok();
    cloud.space.run(&["make", "clean"]).ok();
    fs::remove_dir_all(cloud.space.store().join("reductions")).expect("our own store");
    cloud.space.ggtrace(&["make"]).ok();
    is_forced(&cloud.space.ggforce(&["-e", "lambda"]).ok());
    is_as(&cloud.space, &expected);
}

/// What the storage holds is replaced by something else, packs among it.
#[test]
fn a_storage_that_was_spoiled_is_filled_again() {
    let cloud = Cloud::deployed();
    let expected = plain(&cloud.space);
    cloud.space.ggtrace(&["make"]).ok();
    is_forced(&cloud.space.ggforce(&["-e", "lambda"]).ok());
    let spoil = "local all = redis.call('keys', 'gg/objects/*')
                 for _, key in ipairs(all) do redis.call('set', key, 'gg-stored-1 plain junk') end
                 for _, key in ipairs(redis.call('keys', 'gg/facts/*')) do redis.call('del', key) end
                 return #all";
    let ran = cloud.space.run(&["redis-cli", "-p", &cloud.redis.port.to_string(), "eval", spoil, "0"]).ok();
    assert_ne!(ran.out().trim(), "0");
    cloud.deploy(&TestSpace::program("bootstrap"), &["--memory", "1024"]).ok();
    cloud.space.run(&["make", "clean"]).ok();
    fs::remove_dir_all(cloud.space.store().join("reductions")).expect("our own store");
    cloud.space.ggtrace(&["make"]).ok();
    is_forced(&cloud.space.ggforce(&["-e", "lambda"]).ok());
    is_as(&cloud.space, &expected);
}

/// How many requests functions made to the storage.
fn requests(ran: &Ran) -> u32 {
    let text = ran.err();
    let before = text.split(" requests to the storage").next().expect("something");
    before.split(' ').next_back().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{ran}"))
}

/// A toolchain and its headers are some two hundred files, and come to a function in a few pieces, not one by one. What was packed is
/// known to the next run, and to another person's function.
#[test]
fn small_objects_come_in_packs() {
    let mut cloud = Cloud::deployed();
    cloud.aws.allow_calls(FUNCTION, 1);
    cloud.space.ggtrace(&["make"]).ok();
    let ran = cloud.space.ggforce(&["-e", "lambda"]).ok();
    is_forced(&ran);
    let first = requests(&ran);
    let needed = fs::read_dir(cloud.space.store().join("blobs")).expect("our own store").count() as u32;
    assert!(first * 2 < needed, "{first} requests for {needed} objects");
    // New instances, the next run.
    cloud.deploy(&TestSpace::program("bootstrap"), &["--memory", "1024"]).ok();
    cloud.space.write("add.c", "int add(int a, int b) { return b + a; }\n");
    cloud.space.ggtrace(&["make"]).ok();
    let ran = cloud.space.ggforce(&["-e", "lambda"]).ok();
    assert!(Forced::of(&ran).run >= 1 && requests(&ran) <= first, "{ran}");
    // Somebody else, with a source of his own.
    cloud.space.set("GG_DIR", cloud.space.outside().join("second"));
    cloud.space.run(&["make", "clean"]).ok();
    cloud.space.write("mul.c", "int mul(int a, int b) { return b * a; }\n");
    cloud.space.ggtrace(&["make"]).ok();
    let ran = cloud.space.ggforce(&["-e", "lambda"]).ok();
    assert!(Forced::of(&ran).run >= 1 && requests(&ran) <= first, "{ran}");
    assert_eq!(cloud.space.run(&["./calc"]).ok().out(), "42\n");
}

#[test]
fn a_compile_error_comes_home() {
    let cloud = Cloud::deployed();
    cloud.space.write("add.c", "int add(int a, int b) { return a + ; }\n");
    cloud.space.ggtrace(&["make"]).ok();
    let ran = cloud.space.ggforce(&["-e", "lambda"]).fails().says("add.c:1:").says("failed (exit code 1)");
    assert_eq!(ran.err().matches("expected expression").count(), 1, "{ran}");
}

/// What S3 says.
macro_rules! s3 {
    ($status:literal, $code:literal, $message:literal) => {
        concat!(
            "HTTP/1.1 ",
            $status,
            "\r\ncontent-type: application/xml\r\nconnection: close\r\n\r\n<?xml version=\"1.0\"?><Error><Code>",
            $code,
            "</Code><Message>",
            $message,
            "</Message></Error>"
        )
    };
}

/// What Lambda says, with HTTP status 403.
macro_rules! lambda {
    ($code:literal, $message:literal) => {
        concat!(
            "HTTP/1.1 403 Forbidden\r\nx-amzn-errortype: ",
            $code,
            "\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{\"message\": \"",
            $message,
            "\"}"
        )
    };
}

const SKEWED: &str = s3!("403 Forbidden", "RequestTimeTooSkewed", "The difference is too large.");
const EXPIRED: &str = s3!("400 Bad Request", "ExpiredToken", "The provided token has expired.");
const WRONG: &str = s3!("403 Forbidden", "SignatureDoesNotMatch", "Check your key.");
const SLOW_DOWN: &str = s3!("503 Slow Down", "SlowDown", "Please reduce your request rate.");
const EXPIRED_AT_LAMBDA: &str = lambda!("ExpiredTokenException", "The security token is expired");
const WRONG_AT_LAMBDA: &str = lambda!("UnrecognizedClientException", "The security token is invalid.");
const SKEWED_AT_LAMBDA: &str =
    lambda!("InvalidSignatureException", "Signature expired: 20261125T100000Z is now earlier");

/// What neither time nor repetition helps against is said once, and a storage that says it is asked no more.
#[test]
fn a_storage_that_takes_no_credentials_or_no_clock_is_told_once() {
    for (answer, why) in [
        (SKEWED, "this machine's clock is wrong (HTTP 403, RequestTimeTooSkewed"),
        (EXPIRED, "the credentials for AWS have expired (HTTP 400, ExpiredToken"),
        (WRONG, "the credentials for AWS are wrong (HTTP 403, SignatureDoesNotMatch"),
    ] {
        let mut cloud = Cloud::new();
        let proxy = Proxy::start(cloud.aws.port, move || Fault::Answered(answer));
        cloud = cloud.behind(&proxy);
        let expected = plain(&cloud.space);
        cloud.space.ggtrace(&["make"]).ok();
        let started = Instant::now();
        let ran = cloud.space.ggforce(&[]).ok().says(why).says("going on without it");
        assert_eq!(ran.err().matches(why).count(), 1, "{ran}");
        assert!(!ran.err().contains("hunter2"), "{ran}");
        is_forced(&ran);
        is_as(&cloud.space, &expected);
        // As many requests as were under way when the first was answered.
        assert!(proxy.faults().len() <= 12, "{}", proxy.faults().len());
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}

#[test]
fn a_service_that_takes_no_credentials_is_told_once_and_another_engine_takes_over() {
    for (answer, why) in [
        (EXPIRED_AT_LAMBDA, "the credentials for AWS have expired (HTTP 403, ExpiredTokenException"),
        (SKEWED_AT_LAMBDA, "this machine's clock is wrong (HTTP 403, InvalidSignatureException"),
        (WRONG_AT_LAMBDA, "the credentials for AWS are wrong (HTTP 403, UnrecognizedClientException"),
    ] {
        let mut cloud = Cloud::new();
        let proxy = Proxy::start(cloud.aws.port, move || Fault::Answered(answer));
        cloud.space.set("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", proxy.port));
        cloud.space.ggtrace(&["make"]).ok();
        let ran = cloud.space.ggforce(&["-e", "lambda"]).fails().says(why);
        assert_eq!(ran.err().lines().count(), 1, "{ran}");
        assert_eq!(proxy.faults().len(), 1);
        is_forced(&cloud.space.ggforce(&["-e", "lambda", "--fallback-engine", "local"]).ok().says(why));
        assert_eq!(proxy.faults().len(), 2);
    }
}

/// Credentials that expire while a build is forced: what was under way is not lost, the rest is another engine's.
#[test]
fn credentials_that_expire_while_it_works() {
    let mut cloud = Cloud::deployed();
    let mut left = 3;
    let proxy = Proxy::start(cloud.aws.port, move || {
        left -= 1;
        if left >= 0 { Fault::Cut(u64::MAX) } else { Fault::Answered(EXPIRED_AT_LAMBDA) }
    });
    cloud.space.set("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", proxy.port));
    let expected = plain(&cloud.space);
    cloud.space.ggtrace(&["make"]).ok();
    let args = ["-e", "lambda", "-j", "4", "--fallback-engine", "local"];
    let ran = cloud.space.ggforce(&args).ok().says("the credentials for AWS have expired");
    is_forced(&ran);
    is_as(&cloud.space, &expected);
    assert_eq!(ran.err().matches("have expired").count(), 1, "{ran}");
}

#[test]
fn a_storage_that_is_asked_too_much_is_asked_again() {
    let cloud = Cloud::deployed();
    let mut number = 0;
    let proxy = Proxy::start(cloud.aws.port, move || {
        number += 1;
        if number <= 40 && number % 2 == 1 { Fault::Answered(SLOW_DOWN) } else { Fault::Nothing }
    });
    let cloud = cloud.behind(&proxy);
    let expected = plain(&cloud.space);
    cloud.space.ggtrace(&["make"]).ok();
    is_forced(&cloud.space.ggforce(&[]).ok());
    is_as(&cloud.space, &expected);
    assert!(proxy.faults().contains(&Fault::Answered(SLOW_DOWN)));
}

/// The function stops the command before Lambda would stop the function, and says so.
#[test]
fn a_command_that_takes_longer_than_the_function_may_is_another_engine_s() {
    let cloud = Cloud::new();
    let zip_and_time = ["--role", ROLE, "--timeout", "5"];
    cloud.deploy(&TestSpace::program("bootstrap"), &zip_and_time).ok();
    cloud.space.write(
        "tools/as.c",
        "#include <unistd.h>\nint main(int n, char **v) { sleep(9); execv(\"/usr/bin/as\", v); }\n",
    );
    cloud.space.run(&["cc", "-o", "tools/as", "tools/as.c"]).ok();
    cloud.space.write("slow.c", "int slow;\n");
    cloud.space.ggtrace(&["gcc", "-B", "tools/", "-c", "slow.c"]).ok();
    let ran = cloud.space.ggforce(&["-e", "lambda", "slow.o"]).fails().says("the function's time was up");
    assert!(cloud.space.is_placeholder("slow.o"), "{ran}");
    cloud.space.ggforce(&["-e", "lambda", "--fallback-engine", "local", "slow.o"]).ok();
    assert!(!cloud.space.is_placeholder("slow.o"));
}
