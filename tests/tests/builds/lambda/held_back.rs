// SPDX-License-Identifier: Apache-2.0
//! What commands in a function do not get.

use tests::{Forced, TestSpace};

use super::cloud::{Cloud, Namespaces, ROLE, is_forced, read};
use crate::calculator::{is_as, plain};
use crate::hostile::recorded;
use crate::strangers::{BY_HAND, Machine, without_filters};

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
