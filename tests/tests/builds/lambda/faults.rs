// SPDX-License-Identifier: Apache-2.0
//! Functions that crash, hang, babble, or have no time left, and a service or storage that does less than it should.

use std::fs;

use tests::TestSpace;

use super::cloud::{Cloud, FUNCTION, ROLE, is_forced};
use crate::calculator::{is_as, plain};

/// Takes an event and ends.
const CRASHES: &str = "import sys\nnext_event()\nsys.exit(3)\n";
/// Takes an event and does not answer.
const HANGS: &str = "import time\nnext_event()\ntime.sleep(60)\n";
/// Answers something else than a function of ours would.
const BABBLES: &str = "while True: answer(next_event(), b'{\"gg\": \"////\", \"and\": \"more\"}')\n";

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

/// All again, by new instances, which have nothing, while this machine remembers that everything is in the storage.
fn is_forced_anew(cloud: &Cloud, expected: &[Vec<u8>]) {
    cloud.deploy(&TestSpace::program("bootstrap"), &["--memory", "1024"]).ok();
    cloud.space.run(&["make", "clean"]).ok();
    fs::remove_dir_all(cloud.space.store().join("reductions")).expect("our own store");
    cloud.space.ggtrace(&["make"]).ok();
    is_forced(&cloud.space.ggforce(&["-e", "lambda"]).ok());
    is_as(&cloud.space, expected);
}

#[test]
fn a_storage_that_was_emptied_is_filled_again() {
    let cloud = Cloud::deployed();
    let expected = plain(&cloud.space);
    cloud.space.ggtrace(&["make"]).ok();
    is_forced(&cloud.space.ggforce(&["-e", "lambda"]).ok());
    cloud.redis.flush_redis();
    is_forced_anew(&cloud, &expected);
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
    is_forced_anew(&cloud, &expected);
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
