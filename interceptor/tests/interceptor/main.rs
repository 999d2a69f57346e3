// SPDX-License-Identifier: Apache-2.0
//! The library as programs meet it: small C programs run with it preloaded, and a tracer made for the test answers.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod execs;
mod library;
#[allow(dead_code, reason = "the recorder asks more of it")]
#[path = "../../../tracer/src/log.rs"]
mod log;
mod logged;
mod opens;
mod support;
