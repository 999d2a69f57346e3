// SPDX-License-Identifier: Apache-2.0
//! Workers on other machines: what an engine and a worker host say to each other, who may speak, and both sides of it.
//!
//! One connection carries one job at a time. The worker host asks for what it lacks, on the same connection:
//!
//! ```text
//! engine                                   worker host
//!    │ ── Hello: version ───────────────────────▶ │
//!    │ ◀──────────── Hello: version, slots ────── │
//!    │ ── Job: thunk ───────────────────────────▶ │
//!    │ ◀──────────────────── Lacking: names ───── │   looks in its storage first, if it has one; several times:
//!    │ ── Piece … Piece ────────────────────────▶ │   a thunk, then its trees, then their files
//!    │ ◀─────────────────────────── Alive … ───── │   while it runs
//!    │ ◀──────────────────── Piece … Piece ────── │   outputs
//!    │ ◀──────────────────────────── Done ─────── │
//! ```

pub mod client;
pub mod key;
mod message;
mod neighbour;
pub mod server;
pub mod stream;
mod tls;
