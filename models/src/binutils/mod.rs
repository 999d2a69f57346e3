// SPDX-License-Identifier: Apache-2.0
//! GNU binutils, and LLVM's tools of the same names: `ar`, `ranlib`, `ld`, `as`, `strip`, `objcopy`.
//!
//! Each has a pure `parse` and a plan. What a tool would say of its own accord (`--verbose`, `-M`), what depends on times
//! of files, and every option that is not in its table is declined. A file that does not exist declines as well: the command
//! fails, and is the one to say so.

mod ar;
mod assembler;
mod draft;
mod ld;
mod ld_options;
mod objects;
mod options;
mod sample;

pub use ar::{ArJob, RanlibJob, parse_ar, parse_ranlib};
pub(crate) use assembler::read_as_words;
pub use assembler::{AsJob, parse_as};
pub use ld::{LdJob, parse_ld};
pub use ld_options::{LdEffect, LdItem};
pub(crate) use ld_options::{Linker, classify};
pub use objects::{ObjectJob, parse_objcopy, parse_strip};
pub(crate) use options::Unread;

use crate::recognise::{Flavour, Program};
use crate::{Decline, Invocation, Kind, Verdict, World};
use draft::{Draft, decline};
use std::path::Path;

/// What a command line of a tool is: work, or a question about the tool itself (`--version`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<T> {
    /// Work.
    Job(T),
    /// A question.
    Query,
}

/// What a planner comes to; the plan itself is in the draft.
type Planned = Result<Request<()>, Decline>;

/// Variables that matter to all of these tools: BFD's own, and where their libraries come from.
const ENVIRONMENT: &[&str] = &["GNUTARGET", "SOURCE_DATE_EPOCH", "LD_LIBRARY_PATH"];

/// Makes a plan for a command of one of these tools; `None` where `program` is none of them.
pub(crate) fn plan(program: Program, invocation: &Invocation, world: &dyn World) -> Option<(Kind, Verdict)> {
    type Planner = fn(&mut Draft<'_>, Flavour) -> Planned;
    let (kind, flavour, planner): (Kind, Flavour, Planner) = match program {
        Program::Ar(flavour) => (Kind::Archive, flavour, ar::plan_ar),
        Program::Ranlib(flavour) => (Kind::Archive, flavour, ar::plan_ranlib),
        Program::Ld(flavour) => (Kind::Link, flavour, ld::plan_ld),
        Program::As => (Kind::Assemble, Flavour::Gnu, assembler::plan_as),
        Program::Strip(flavour) => (Kind::Object, flavour, objects::plan_strip),
        Program::Objcopy(flavour) => (Kind::Object, flavour, objects::plan_objcopy),
        _ => return None,
    };
    let mut draft = Draft::new(invocation, world, ENVIRONMENT);
    // getopt stops at the first operand where this is set.
    let planned = if invocation.argv.len() < 2 {
        Ok(Request::Query)
    } else if invocation.var("POSIXLY_CORRECT").is_some() {
        Err(decline!("POSIXLY_CORRECT is set"))
    } else {
        planner(&mut draft, flavour)
    };
    Some(match planned {
        Ok(Request::Query) => (Kind::Query, Verdict::Decline("asks for information".into())),
        Ok(Request::Job(())) => (kind, Verdict::Defer(Box::new(draft.plan))),
        Err(reason) => (kind, reason.into()),
    })
}

fn base_name(program: &Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
