// SPDX-License-Identifier: Apache-2.0
//! What the models make of a command, and whether it may be deferred where it stands. Unaware of what becomes of it otherwise.

use std::path::Path;

use models::recognise::{Program, redirection, strip_launcher};
use models::{Decline, Invocation, Kind, Plan, Verdict, preloaded};
use thunk::trace::Observed;

use crate::context::{Role, Running};
use crate::defer::{self, Deferred};
use crate::process;
use crate::recorder::Recorder;
use crate::request::Exec;

/// What the model plans for the command, if it may be deferred here.
pub fn planned(
    recorder: &Recorder,
    exec: &Exec,
    parent: &Running,
    program: Program,
) -> Option<(Kind, Result<Box<Plan>, String>)> {
    let (kind, planned) = plan(recorder, &exec.invocation, program)?;
    let allowed = planned.and_then(|plan| match () {
        () if !recorder.shares_files(exec.pid) => Err("it has another root or other mounts".to_owned()),
        () if !process::shares_user(exec.pid) => Err("it is another user's".to_owned()),
        () if is_heard(parent, kind, exec) => Err(Observed::HEARD.to_owned()),
        () => Ok(plan),
    });
    Some((kind, allowed))
}

/// Defers the command as it was planned, or says why not.
pub fn carry_out(
    recorder: &Recorder,
    exec: &Exec,
    parent: &Running,
    plan: &Plan,
) -> Result<Deferred, String> {
    let now = parent.driver == Role::Ninja;
    defer::defer(recorder, &exec.invocation, plan, exec.umask, now).map_err(|decline| decline.0)
}

/// What its model says that the command reads and writes, or why it does not. `None` where no model knows the program.
pub fn plan(
    recorder: &Recorder,
    invocation: &Invocation,
    program: Program,
) -> Option<(Kind, Result<Box<Plan>, String>)> {
    let mut behind = None;
    let program = if program == Program::Launcher {
        let look = |path: &Path| {
            let name = path.file_name()?;
            recorder.program(path, name).ok().map(|f| f.program)
        };
        let inner = strip_launcher(invocation, &look)?;
        let facts = recorder.program(&inner.program, inner.argv.first()?).ok()?;
        behind = Some(inner);
        facts.program
    } else {
        program
    };
    let real = behind.as_ref().unwrap_or(invocation);
    let (kind, mut verdict) = models::plan(program, real, recorder)?;
    let own = recorder.install.interceptor.as_path();
    if let (Verdict::Defer(_), Err(Decline(reason))) = (&verdict, preloaded::check(own, real, recorder)) {
        verdict = Verdict::Decline(reason);
    }
    let redirected = behind.as_ref().and_then(|_| redirection(invocation, recorder));
    let planned = match (verdict, redirected) {
        (Verdict::Decline(reason), _) | (Verdict::Defer(_), Some(reason)) => Err(reason),
        (Verdict::Defer(mut plan), None) => {
            plan.instead = plan.instead.or(behind);
            Ok(plan)
        }
    };
    Some((kind, planned))
}

/// Does somebody listen to what a command of this kind prints, or to how it ends?
fn is_heard(parent: &Running, kind: Kind, exec: &Exec) -> bool {
    match kind {
        Kind::Archive | Kind::Object => !parent.passes_on_or_discards(exec.fds.as_ref()),
        _ => !parent.passes_on(exec.fds.as_ref()),
    }
}
