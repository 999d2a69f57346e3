// SPDX-License-Identifier: Apache-2.0
//! Where a recorded build failed. Commands fail in builds that go well, too (`if grep -q …`, `-rm old`): one counts if all that started it
//! failed as well. Knows nothing of why.

use std::collections::HashMap;

use super::{Command, Observed, Status, Trace};

impl Trace {
    /// Where and how the build failed, for a message; `None` where it ended well, or nobody knows how.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let (code, _) = self.end.filter(|(code, _)| *code != 0)?;
        let failed = self.observed.iter().filter(|observed| has_failed(observed));
        let failed: HashMap<u32, &Observed> = failed.map(|observed| (observed.id, observed)).collect();
        let mut last: Option<(&Command, &Observed)> = None;
        // Whoever does no more than start others has failed because one of these has: the last one, since make waits for those that
        // run at the same time.
        while last.is_none_or(|(_, observed)| observed.drives()) {
            let above = last.map_or(0, |(command, _)| command.id);
            let started = self.commands.iter().filter(|command| command.parent == above);
            let started = started.filter_map(|command| Some((command, *failed.get(&command.id)?)));
            // One that is its own parent is in no trace of ours.
            let Some(next) = started
                .filter(|(command, _)| command.id > above)
                .max_by_key(|(_, observed)| observed.ended_us)
            else {
                break;
            };
            last = Some(next);
        }
        Some(match last {
            Some((command, Observed { status: Status::Killed(signal), .. })) => {
                format!("failed at {}, which signal {signal} ended", command.title())
            }
            Some((command, observed)) => {
                format!("failed at {}, which ended with {}", command.title(), observed.status)
            }
            None => format!("ended with {code}"),
        })
    }
}

fn has_failed(observed: &Observed) -> bool {
    !matches!(observed.status, Status::Exited(0) | Status::Unknown)
}
