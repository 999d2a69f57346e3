// SPDX-License-Identifier: Apache-2.0
//! Builds forced on AWS Lambda, or what stands for it here: a server that runs the function's program as processes of this
//! machine, and others that do what a function of ours would not.

mod cloud;
mod faults;
mod held_back;
mod refusals;

use std::fs;

use tests::{Forced, Ran, TestSpace};
use thunk::Input;

use crate::calculator::{DEFERRED, MADE, is_as, plain};
use crate::hostile::{plant, store, thunk_of};
use crate::remote::holds;
use crate::unprivileged;

use cloud::{Cloud, FUNCTION, Namespaces, ROLE, is_forced, read};

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

#[test]
fn a_function_is_changed_and_removed() {
    let cloud = Cloud::deployed();
    cloud.deploy(&TestSpace::program("bootstrap"), &["--memory", "1024", "--timeout", "60"]).ok();
    cloud.space.ggtrace(&["make"]).ok();
    is_forced(&cloud.space.ggforce(&["-e", "lambda"]).ok());
    cloud.space.ggforce(&["deploy", "--remove"]).ok();
    cloud.space.ggforce(&["deploy", "--remove"]).fails().says("there is no function");
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
