// SPDX-License-Identifier: Apache-2.0
//! A directory, perhaps on a network file system. Files appear whole, by rename or link.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use thunk::AtomicFile;

use crate::error::{Error, Result};
use crate::place::Put;

/// An open directory.
pub struct Directory {
    root: PathBuf,
    label: String,
}

impl Directory {
    pub fn open(root: PathBuf, label: String) -> Result<Self> {
        let here = Self { root, label };
        for part in ["objects", "facts", "tmp"] {
            fs::create_dir_all(here.root.join(part)).map_err(|e| here.error(&e))?;
        }
        Ok(here)
    }

    pub async fn has(&self, keys: &[String]) -> Result<Vec<bool>> {
        let paths: Vec<PathBuf> = keys.iter().map(|key| self.root.join(key)).collect();
        self.aside(move || Ok(paths.iter().map(|path| path.is_file()).collect())).await
    }

    pub async fn get(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let path = self.root.join(key);
        self.aside(move || read(&path, limit)).await
    }

    pub async fn put(&self, key: &str, body: &[u8], how: Put) -> Result<()> {
        let (path, tmp, body) = (self.root.join(key), self.root.join("tmp"), body.to_vec());
        self.aside(move || write(&tmp, &path, &body, how)).await
    }

    /// Does something that may take a while.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|e| Err(io::Error::other(e))).map_err(|e| self.error(&e))
    }

    fn error(&self, error: &io::Error) -> Error {
        let (place, why) = (self.label.clone(), error.to_string());
        match error.kind() {
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::StorageFull => Error::Refused { place, why },
            _ => Error::Unavailable { place, why },
        }
    }
}

/// What is no file (others may write there too) is as good as a damaged one: it is not waited for.
fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    match fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Ok(file) if file.metadata()?.is_file() => drop(file.take(limit).read_to_end(&mut content)?),
        Ok(_) => {}
        // A socket.
        Err(e) if e.raw_os_error() == Some(libc::ENXIO) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    }
    Ok(Some(content))
}

fn write(tmp: &Path, path: &Path, body: &[u8], how: Put) -> io::Result<()> {
    // Who is killed leaves nothing: nobody would clean up there.
    let mut file = AtomicFile::nameless_in(tmp, 0o644).map_err(plain)?;
    file.write_all(body)?;
    match how {
        Put::Replace => file.commit(path),
        Put::IfAbsent => file.commit_new(path).map(drop),
    }
    .map_err(plain)
}

/// What the system said, by which the error is judged.
fn plain(error: thunk::Error) -> io::Error {
    match error {
        thunk::Error::Io { error, .. } => error,
        other => io::Error::other(other),
    }
}
