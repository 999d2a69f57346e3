// SPDX-License-Identifier: Apache-2.0
//! Files that appear whole or not at all: written beside their place, then renamed. What is abandoned is removed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A file under construction. Dropped without [`AtomicFile::commit`], it leaves nothing.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    temporary: PathBuf,
    committed: bool,
}

impl AtomicFile {
    /// Starts a file in `directory`, with this mode (less the umask). It has a name of its own until it is committed.
    ///
    /// # Errors
    /// The file cannot be created there.
    pub fn create_in(directory: &Path, mode: u32) -> Result<Self> {
        loop {
            let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
            let temporary = directory.join(format!(".gg-tmp-{}-{serial}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary) {
                Ok(file) => return Ok(Self { file, temporary, committed: false }),
                // A name left by a dead process with the same id: take the next one.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(Error::Io { what: "create a file there", path: directory.into(), error });
                }
            }
        }
    }

    /// Another name for an existing file, in `directory`, to be committed in the place of something else.
    ///
    /// # Errors
    /// The file cannot be linked there.
    pub fn link_in(directory: &Path, existing: &Path) -> Result<Self> {
        let file = File::open(existing).map_err(Error::io("read", existing))?;
        let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = directory.join(format!(".gg-tmp-{}-{serial}", std::process::id()));
        std::fs::hard_link(existing, &temporary).map_err(Error::io("link a file there", directory))?;
        Ok(Self { file, temporary, committed: false })
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it is for now.
    #[must_use]
    pub fn temporary_path(&self) -> &Path {
        &self.temporary
    }

    /// Gives the file its name, replacing what is there.
    ///
    /// # Errors
    /// The rename is refused.
    pub fn commit(mut self, path: &Path) -> Result<()> {
        std::fs::rename(&self.temporary, path).map_err(Error::io("put a file there", path))?;
        self.committed = true;
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Writes `content` to `path`, replacing what is there, with this mode (less the umask).
///
/// # Errors
/// Anything in the way of writing: the old file, if any, is still there then.
pub fn write_atomically(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = AtomicFile::create_in(directory, mode)?;
    file.write_all(content).map_err(Error::io("write", path))?;
    file.commit(path)
}
