// SPDX-License-Identifier: Apache-2.0
//! Whole builds through `ggtrace`, `ggforce` and `gg`. Nearly every test is a comparison with the plain build in the same
//! place, with an empty store and again with the same one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod archives;
mod bad_input;
mod calculator;
mod carried;
mod compilers;
mod elsewhere;
mod environment;
mod failures;
mod faults;
mod garbage;
mod generators;
mod gg_thunks;
mod hostile;
mod incremental;
mod interrupted;
#[cfg(feature = "lambda")]
mod lambda;
mod languages;
mod learned;
mod libraries;
mod objects;
mod observed;
mod odd_programs;
mod on_demand;
mod outputs;
mod packs;
mod pipelined;
mod placeholders;
mod probes;
mod recording;
mod remote;
mod replay;
mod shells;
mod side_outputs;
mod strace;
mod strangers;
mod systems;
mod tight_programs;
mod umbrella;
mod unprivileged;
