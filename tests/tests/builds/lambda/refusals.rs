// SPDX-License-Identifier: Apache-2.0
//! What Amazon's services say where something is missing, wrong, expired or too much: said once, in one line.

use std::time::{Duration, Instant};

use tests::{Fault, Proxy, TestSpace};

use super::cloud::{Cloud, ROLE, is_forced};
use crate::calculator::{is_as, plain};

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
    let mut left = 2;
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
