// SPDX-License-Identifier: Apache-2.0
//! Reads what the programs report: the last line of `ggforce`, the last lines of `gg show`.

use crate::process::Ran;

/// The counts of `ggforce: N thunks: R run, C from reductions, F failed in T s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forced {
    /// Thunks that were needed.
    pub thunks: u32,
    /// Thunks whose command was run.
    pub run: u32,
    /// Thunks that were reduced already.
    pub reduced: u32,
    /// Thunks whose command failed.
    pub failed: u32,
}

impl Forced {
    /// Reads the counts from what `ggforce` said.
    #[track_caller]
    #[must_use]
    pub fn of(ran: &Ran) -> Self {
        let err = ran.err();
        Self::parse(err.lines().last().unwrap_or_default())
            .unwrap_or_else(|| panic!("ggforce does not end with its counts:\n{ran}"))
    }

    fn parse(line: &str) -> Option<Self> {
        let (thunks, rest) = line.strip_prefix("ggforce: ")?.split_once(" thunks: ")?;
        let (counts, _time) = rest.split_once(" in ")?;
        let mut counts = counts.split(", ");
        let mut next = |suffix: &str| counts.next()?.strip_suffix(suffix)?.parse().ok();
        Some(Self {
            thunks: thunks.parse().ok()?,
            run: next(" run")?,
            reduced: next(" from reductions")?,
            failed: next(" failed")?,
        })
    }
}

/// The counts of `gg show`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Commands that became thunks without running.
    pub deferred: u32,
    /// Commands whose model declined them.
    pub declined: u32,
    /// Other commands.
    pub ran: u32,
}

impl Shown {
    /// Reads the counts from what `gg show` printed.
    #[track_caller]
    #[must_use]
    pub fn of(ran: &Ran) -> Self {
        let out = ran.out();
        let count = |name: &str| {
            out.lines()
                .rev()
                .find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
                .unwrap_or_else(|| panic!("gg show has no line of {name} commands:\n{ran}"))
        };
        Self { deferred: count("deferred"), declined: count("declined"), ran: count("ran") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_ggforce_are_read() {
        let line = "ggforce: 36 thunks: 34 run, 2 from reductions, 0 failed in 3.1 s";
        assert_eq!(Forced::parse(line), Some(Forced { thunks: 36, run: 34, reduced: 2, failed: 0 }));
        assert_eq!(Forced::parse("ggforce: nothing to force"), None);
        assert_eq!(Forced::parse("make: Nothing to be done"), None);
    }
}
