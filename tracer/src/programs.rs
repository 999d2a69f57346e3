// SPDX-License-Identifier: Apache-2.0
//! What programs are, remembered for as long as their files stay the same. Knows nothing of what they are asked to do.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use models::elf::ElfFacts;
use models::recognise::{self, Executable, Program};
use thunk::{FileFacts, FileId};

use crate::looks::Way;
use crate::recorder::lock;

/// What is known of a program.
#[derive(Debug)]
pub struct Facts {
    /// Its file, links resolved.
    pub real: PathBuf,
    /// What it is to the models.
    pub program: Program,
    /// How the kernel executes it.
    pub executable: Executable,
    /// Does it say itself where its shared libraries are?
    pub has_search_path: bool,
}

/// All programs seen so far.
#[derive(Debug, Default)]
pub struct Programs {
    known: Mutex<HashMap<(FileId, OsString), Arc<Facts>>>,
    executable: Mutex<HashMap<FileId, Executable>>,
}

impl Programs {
    /// How the kernel executes the program to which this leads. Costs little: the first of its bytes tell.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    pub fn executable(&self, way: &Way) -> io::Result<Executable> {
        /// The headers and the interpreter's name are there, if anywhere.
        const HEAD: u64 = 16 * 1024;
        let (real, FileFacts { id, .. }) = file(way)?;
        if let Some(known) = lock(&self.executable).get(id) {
            return Ok(known.clone());
        }
        let mut head = Vec::new();
        File::open(real)?.take(HEAD).read_to_end(&mut head)?;
        let executable = recognise::executable(&head);
        lock(&self.executable).insert(*id, executable.clone());
        Ok(executable)
    }

    /// What the program to which this leads is when it is called `name`.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    pub fn facts(&self, way: &Way, name: &OsStr) -> io::Result<Arc<Facts>> {
        let (real, FileFacts { id, .. }) = file(way)?;
        let name = Path::new(name).file_name().unwrap_or_default().to_os_string();
        let key = (*id, name);
        if let Some(facts) = lock(&self.known).get(&key) {
            return Ok(Arc::clone(facts));
        }
        let content = Arc::new(std::fs::read(real)?);
        let program = recognise::recognise(&key.1, real, &|| Ok(Arc::clone(&content)))?;
        let has_search_path = ElfFacts::read(&content).is_some_and(|f| !f.own_search_path().is_empty());
        let (real, executable) = (real.to_path_buf(), recognise::executable(&content));
        let facts = Arc::new(Facts { program, executable, has_search_path, real });
        lock(&self.known).insert(key, Arc::clone(&facts));
        Ok(facts)
    }
}

fn file(way: &Way) -> io::Result<(&Path, &FileFacts)> {
    way.led()?;
    way.file().ok_or_else(|| io::ErrorKind::PermissionDenied.into())
}
