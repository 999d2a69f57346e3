// SPDX-License-Identifier: Apache-2.0
//! What the tests of whole builds share: a [`TestSpace`], a temporary directory with a source tree and a store of
//! its own, in which the real programs (`ggtrace`, `ggforce`, `gg`) are run and plain builds beside them.
//!
//! The programs are looked for in `GG_BIN_DIR`, else beside the test program's folder (`target/release` or
//! `target/debug`, as cargo builds them), else in the workspace's `target/release`. They are not built from here: run
//! `cargo build` first, as `scripts/test` does.
//!
//! A helper that finds something wrong panics with everything that one wants to see: these are tests.

mod comparison;
mod process;
mod proxy;
mod report;
mod server;
mod space;
pub mod strace;
mod tree;

pub use comparison::{Comparison, Expect};
pub use process::{PATIENCE, Ran, Running, children};
pub use proxy::{Fault, Proxy};
pub use report::{Forced, Shown};
pub use server::Server;
pub use space::TestSpace;
pub use tree::Snapshot;
