// SPDX-License-Identifier: Apache-2.0
//! AWS Lambda. An engine ([`client`]) uploads what a thunk needs to the storage that all share, and calls the function; the
//! function ([`host`]) fetches what it lacks, has a worker run the thunk, stores the outputs there and answers. What they say to
//! each other is in [`message`].
//!
//! ```text
//!   client ── uploads ──▶ storage ◀──▶ host ── local::Local, worker ──▶ sandbox
//!      └── calls (limit, fault) ── aws: Invoke ──▶ host
//! ```

#[cfg(feature = "lambda")]
mod aws;
#[cfg(any(feature = "lambda", test))]
mod calls;
#[cfg(feature = "lambda")]
pub mod client;
#[cfg(any(feature = "lambda", test))]
mod cost;
#[cfg(feature = "lambda")]
pub mod deploy;
#[cfg(any(feature = "lambda", test))]
mod fault;
pub mod host;
pub mod message;
#[cfg(any(feature = "lambda", test))]
mod packed;
#[cfg(any(feature = "lambda", test))]
mod uploads;

/// What to say where the program knows no Lambda.
#[cfg(not(feature = "lambda"))]
pub const ABSENT: &str =
    "this program was built without Lambda (cargo build --release --features engine/lambda)";
