// SPDX-License-Identifier: Apache-2.0
//! Runs a command in a mount namespace in which only given files exist, at their own absolute paths. Knows neither
//! thunks nor stores nor networks: files come in as paths of files elsewhere, and results stay where the command
//! left them until the caller takes them away.
//!
//! ```text
//!   worker process ── Sandbox::enter, once ──▶ its own user and mount namespace
//!     │  sync     Tree: a directory of hard links that persists, brought to the wanted content by difference
//!     │  run      one clone(NEWNS | NEWPID) per command:
//!     ▼
//!   init stub (pid 1)   overlay(lower = tree, upper = fresh)  +  /proc  +  /dev  =  new root
//!     ▼                 kills every process that the command leaves behind; its own death kills all
//!   command (pid 2)     sees plain files under their real paths; whatever it writes goes to the upper layer
//! ```
//!
//! What a hard link shares with its source (the content, and the content only) is out of the command's reach: it
//! sees the tree through the overlay, which copies a file to the upper layer before the first change.
//!
//! The upper layer is a tmpfs of the worker by default, because making and removing the directories that overlayfs needs
//! costs 20 µs there and 1 ms on ext4; [`Layer::Disk`] is for commands that write more than fits into memory.

//!
//! Where the kernel refuses all that, [`Translated`] runs commands in the tree itself, with a preload library that
//! makes them take it for their root directory.

mod child;
mod chroot;
mod enter;
mod error;
mod gate;
mod harvest;
mod job;
mod network;
mod place;
mod program;
mod remove;
mod run;
mod sys;
mod translated;
mod tree;
mod upper;

pub use enter::{Sandbox, Support, check, sweep};
pub use error::Error;
pub use gate::Gate;
pub use job::{ExecFailure, Job, Layer, Outcome, Status, Stdin, Usage};
pub use translated::{Translated, needs_namespaces};
pub use tree::{Entry, SyncStats, Tree};
pub use upper::{Change, ChangeKind, Upper};

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;
