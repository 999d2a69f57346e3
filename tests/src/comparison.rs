// SPDX-License-Identifier: Apache-2.0
//! The comparison that most tests are: a build made plainly, then in the same place recorded and forced with an empty
//! store (cold), then once more with the same store (warm).

use crate::process::Ran;
use crate::report::{Forced, Shown};
use crate::space::TestSpace;
use crate::tree::Snapshot;

/// What is expected of a build beside the same files as a plain build gives.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    /// At least so many commands are deferred.
    pub deferred: u32,
    /// The build command can be run again, and then has nothing to do.
    pub nothing_left: bool,
    /// Standard error is the same too: no deferred command has anything to say.
    pub stderr: bool,
    /// Files that two plain builds make differently already: their content is not compared.
    pub varying: &'static [&'static str],
}

impl Expect {
    /// A script that always does everything, with at least so many commands that are deferred.
    #[must_use]
    pub const fn script(deferred: u32) -> Self {
        Self { deferred, nothing_left: false, stderr: true, varying: &[] }
    }

    /// A build that knows when it has nothing to do.
    #[must_use]
    pub const fn make(deferred: u32) -> Self {
        Self { deferred, nothing_left: true, stderr: true, varying: &[] }
    }

    /// Deferred commands may have said something on standard error.
    #[must_use]
    pub const fn with_warnings(self) -> Self {
        Self { stderr: false, ..self }
    }

    /// The content of these files is not compared.
    #[must_use]
    pub const fn varying(self, varying: &'static [&'static str]) -> Self {
        Self { varying, ..self }
    }
}

/// What a comparison saw.
pub struct Comparison {
    /// The plain build.
    pub plain: Ran,
    /// The recorder, with an empty store.
    pub recorded: Ran,
    /// What the first `ggforce` did.
    pub cold: Forced,
    /// What the second did, with the store of the first.
    pub warm: Forced,
    /// The commands of the first trace.
    pub shown: Shown,
}

impl TestSpace {
    /// Runs a build plainly, recorded and forced, and the same again, and compares everything. The tree is left forced.
    #[track_caller]
    pub fn same_as_plain(&self, build: &[&str], expect: Expect) -> Comparison {
        self.keep();
        let plain = self.run(build).ok();
        let tree = Snapshot::of(&self.tree());

        self.restore();
        let (recorded, cold) = self.record_and_force(build, &plain, &tree, expect, "cold");
        let shown = self.shown();
        assert!(
            shown.deferred >= expect.deferred,
            "{} commands were deferred, at least {} should have been:\n{}",
            shown.deferred,
            expect.deferred,
            self.gg(&["show"])
        );

        self.restore();
        let (_, warm) = self.record_and_force(build, &plain, &tree, expect, "warm");
        assert_eq!(warm.run, 0, "everything has been computed before, with the same store: {warm:?}");
        Comparison { plain, recorded, cold, warm, shown }
    }

    /// [`Self::same_as_plain`] of a shell script that ends at the first failure.
    #[track_caller]
    pub fn script_same_as_plain(&self, script: &str, deferred: u32) -> Comparison {
        self.same_as_plain(&["sh", "-ec", script], Expect::script(deferred))
    }

    #[track_caller]
    fn record_and_force(
        &self,
        build: &[&str],
        plain: &Ran,
        tree: &Snapshot,
        expect: Expect,
        round: &str,
    ) -> (Ran, Forced) {
        let recorded = self.ggtrace(build);
        assert_eq!(
            recorded.code(),
            plain.code(),
            "{round}: another exit code than plainly:\n{plain}\n{recorded}"
        );
        assert_eq!(recorded.out(), plain.out(), "{round}: another standard output than plainly:\n{recorded}");
        if expect.stderr {
            assert_eq!(
                recorded.err(),
                plain.err(),
                "{round}: another standard error than plainly:\n{recorded}"
            );
        }
        let forced = self.force_all();
        let found = Snapshot::of(&self.tree());
        let deviations = tree.deviations_but(&found, expect.varying);
        assert!(
            deviations.is_empty(),
            "{round}: the tree is not as plainly built:\n{deviations}\n{recorded}"
        );
        if expect.nothing_left {
            let again = self.run(build).ok();
            let touched = found.touched(&Snapshot::of(&self.tree()));
            assert!(touched.is_empty(), "{round}: the plain build still had to make {touched:?}:\n{again}");
        }
        (recorded, forced)
    }
}
