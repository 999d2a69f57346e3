// SPDX-License-Identifier: Apache-2.0
//! The engine, as two programs use it: `ggforce` computes what `ggtrace` deferred (finds the placeholders, forces their thunks
//! and all that these need, puts the results in place), and the AWS Lambda function (`function/`) runs single thunks.

// They end the process where nobody listens: see `thunk::say`.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod backend;
mod bare;
mod cache;
mod command;
mod distant;
mod durations;
mod engines;
mod escapes;
mod fact;
mod fleet;
mod follow;
mod force;
mod graph;
mod home;
mod lambda;
mod local;
mod materialise;
mod needs;
mod observed;
mod own;
mod pace;
mod packs;
mod progress;
mod protocol;
mod remembered;
mod remote;
mod replay;
mod returned;
mod room;
mod schedule;
mod settled;
mod sharing;
mod simulated;
mod targets;
mod worker;

pub use command::main;
pub use lambda::host::Function;
pub use worker::serve_if_asked;

/// What an engine and a function say to each other.
pub mod call {
    pub use crate::lambda::message::{Answer, Content, Event, VERSION, from_json, to_json};
    pub use crate::protocol::{Done, Failed, Result};
}
