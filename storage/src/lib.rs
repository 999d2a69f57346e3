// SPDX-License-Identifier: Apache-2.0
//! A place that several machines share: an S3 bucket, a Redis server, or a directory. It holds *objects*, whose names say
//! what their content is, and *facts*, small records that are found under the name of what they are about.
//!
//! Everything that is read is checked: an object against its name, a fact against the digest that was stored with it. What does
//! not fit is an error and never given out. Requests go in parallel, within a bound; those that a fault of the network or the server cut
//! short are made again, later each time; the others are told apart ([`Error`]).
//!
//! Knows names and bytes: not what a thunk is, or a reduction, nor what is worth keeping.

mod address;
#[cfg(feature = "s3")]
pub mod amazon;
mod directory;
mod envelope;
mod error;
mod key;
mod keyvalue;
mod place;
mod retry;
#[cfg(feature = "s3")]
mod s3;
mod shared;

pub use error::{Error, Result};
pub use key::Key;
pub use retry::Pauses;
pub use shared::{Storage, Traffic};
