// SPDX-License-Identifier: Apache-2.0
//! Where a worker runs commands: a sandbox of namespaces, or where the kernel refuses those, one that translates paths.
//! Chooses between them; unaware of thunks.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use observe::Touches;
use sandbox::{Entry, Job, Outcome, Sandbox, Translated};

use crate::worker::Manner;
use crate::{observed, own};

/// One of the two.
pub enum Room {
    /// Of namespaces.
    Namespaces(Sandbox),
    /// Of paths.
    Translated(Translated),
}

impl Room {
    /// The best that is to be had, or the second one if it is asked for. On a machine that is not its own a command has no network.
    ///
    /// # Errors
    /// Neither is to be had: where that is for good, [`sandbox::Error::Unsupported`] is among the reasons.
    pub fn enter(scratch: &Path, manner: Manner) -> Result<Self> {
        if manner == Manner::Translated {
            return Self::translated(scratch, manner);
        }
        match Sandbox::enter(scratch) {
            Ok(mut sandbox) => {
                if manner == Manner::FarAway {
                    sandbox.leave_network()?;
                }
                Ok(Self::Namespaces(sandbox))
            }
            Err(error @ sandbox::Error::Setup { .. }) => Self::translated(scratch, manner)
                .map_err(|second| second.context(format!("{error}; nor can it do without namespaces"))),
            Err(error) => Err(error.into()),
        }
    }

    fn translated(scratch: &Path, manner: Manner) -> Result<Self> {
        let library = library()?.with_context(|| format!("{} is missing", translation::LIBRARY))?;
        let mut translated = Translated::enter(scratch, &library)?;
        if manner != Manner::Sandboxed {
            translated.leave_network()?;
        }
        Ok(Self::Translated(translated))
    }

    /// From now on a command is ended when the other end of this socket is closed.
    pub fn tie(&mut self, leash: OwnedFd) {
        match self {
            Self::Namespaces(sandbox) => sandbox.tie(leash),
            Self::Translated(translated) => {
                translated.tie(leash);
                // Killed with the engine, this process could not end what a command has started.
                // SAFETY: prctl with integers only.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
            }
        }
    }

    /// Makes `wanted` the files that the next commands see.
    ///
    /// # Errors
    /// As [`Sandbox::sync`].
    pub fn sync(&mut self, wanted: &BTreeMap<PathBuf, Entry>) -> Result<()> {
        match self {
            Self::Namespaces(sandbox) => sandbox.sync(wanted)?,
            Self::Translated(translated) => translated.sync(wanted)?,
        };
        Ok(())
    }

    /// Runs one command.
    ///
    /// # Errors
    /// As [`Sandbox::run`]; or this room cannot run it, and another may.
    pub fn run(&mut self, job: &Job) -> Result<Outcome> {
        Ok(match self {
            Self::Namespaces(sandbox) => sandbox.run(job)?,
            Self::Translated(translated) => translated.run(job)?,
        })
    }

    /// Runs one command, and tells which files it touched.
    ///
    /// # Errors
    /// As [`observed::run`].
    pub fn run_observed(&mut self, job: &Job) -> Result<(Outcome, Touches)> {
        match self {
            Self::Namespaces(sandbox) => observed::run(sandbox, job),
            Self::Translated(_) => bail!("there are no namespaces here"),
        }
    }
}

/// The preload library: beside this program, or in `../lib/gg` from there.
fn library() -> Result<Option<PathBuf>> {
    match own::beside(translation::LIBRARY)? {
        None => own::beside(&format!("../lib/gg/{}", translation::LIBRARY)),
        found => Ok(found),
    }
}
