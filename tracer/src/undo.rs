// SPDX-License-Identifier: Apache-2.0
//! Taking back what was put in place for a command whose process is ended by a signal at the moment at which it is told
//! that the command is done: a build driver that is interrupted removes what its commands were making, and then asks
//! nobody whether more has come since. A compiler removes its output itself; so it is done here. Knows only the last
//! commands: a process asks at once.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use thunk::{ObjectName, Placeholder};

use crate::recorder::lock;

/// More than processes that can wait for answers at a time: each build driver has 64.
const LAST: usize = 1024;

/// What was put in place.
#[derive(Debug)]
pub enum Put {
    /// Placeholders of this thunk.
    Placeholders(ObjectName, Vec<PathBuf>),
    /// A file with this content.
    Text(PathBuf, Vec<u8>),
}

/// What was put in place for the last commands.
#[derive(Debug, Default)]
pub struct Placed(Mutex<VecDeque<(u32, Vec<Put>)>>);

impl Placed {
    /// This was put in place for this command.
    pub fn note(&self, command: u32, put: Vec<Put>) {
        let mut all = lock(&self.0);
        if all.len() == LAST {
            all.pop_front();
        }
        all.push_back((command, put));
    }

    /// Removes what still stands there.
    pub fn take_back(&self, command: u32) {
        let mut all = lock(&self.0);
        let Some(at) = all.iter().rposition(|(number, ..)| *number == command) else { return };
        let Some((_, put)) = all.remove(at) else { return };
        drop(all);
        put.iter().for_each(Put::remove);
    }
}

impl Put {
    fn remove(&self) {
        let is_its = |path: &Path, thunk: &ObjectName| {
            Placeholder::read_to_replace(path).is_ok_and(|p| p.is_some_and(|p| p.output.thunk == *thunk))
        };
        // Who has removed it meanwhile has done the same.
        let remove = |path: &PathBuf| drop(std::fs::remove_file(path));
        match self {
            Self::Placeholders(thunk, paths) => {
                paths.iter().filter(|path| is_its(path, thunk)).for_each(remove);
            }
            Self::Text(path, text) if std::fs::read(path).is_ok_and(|content| content == *text) => {
                remove(path)
            }
            Self::Text(..) => {}
        }
    }
}
