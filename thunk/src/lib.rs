// SPDX-License-Identifier: Apache-2.0
//! The vocabulary of the project: object names, thunks, trees, reductions, the store that holds them,
//! placeholders and traces. Knows no process: nothing here runs, waits for or observes a command.

mod atomic;
mod closure;
mod collect;
mod completion;
mod digest;
mod error;
mod failed;
mod file_cache;
pub mod following;
mod footprint;
mod framed;
mod lock;
mod name;
mod path;
mod placeholder;
mod records;
mod reduction;
mod say;
pub mod shown;
mod store;
mod thunk;
pub mod trace;
mod tree;
pub mod turn;

pub use atomic::{AtomicFile, link_atomically, write_atomically};
pub use closure::Closure;
pub use collect::{Collected, Count, Policy, collect};
pub use digest::Hasher;
pub use error::{Error, Result};
pub use failed::FailedThunks;
pub use file_cache::{FileCache, FileId, TICK};
pub use footprint::{FileFacts, Files, Footprint, Led};
pub use lock::try_lock;
pub use name::{ObjectKind, ObjectName};
pub use path::{decode_path, encode_path, has_no_content, is_below, is_made_up, real_place};
pub use placeholder::{OutputRef, Placeholder, Standing};
pub use records::RecordFile;
pub use reduction::{ReducedOutput, Reduction};
pub use say::say;
pub use store::{KNOWN_TREES, Store, default_store_dir};
pub use thunk::{Input, Link, MAGIC, Thunk, ThunkInput, split_variable, substitute};
pub use tree::{Tree, TreeEntry, TreeNode};
