// SPDX-License-Identifier: Apache-2.0
//! How objects come into the store: whole, under their names, and only if they are not there yet.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Store;
use crate::atomic::AtomicFile;
use crate::digest::Hasher;
use crate::error::{Error, Result};
use crate::file_cache::FileId;
use crate::footprint::FileFacts;
use crate::name::{ObjectKind, ObjectName};
use crate::thunk::Thunk;
use crate::tree::Tree;

impl Store {
    /// A file under construction, to be given to [`Store::install`].
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn temporary(&self, executable: bool) -> Result<AtomicFile> {
        let mode = if executable { 0o755 } else { 0o644 };
        let file = AtomicFile::nameless_in(&self.root.join("tmp"), mode)?;
        // Modes in the store are part of what sandboxes show.
        file.set_mode(mode)?;
        Ok(file)
    }

    /// Gives a finished temporary file its name.
    ///
    /// # Errors
    /// It cannot be put there.
    pub fn install(&self, file: AtomicFile, name: &ObjectName, executable: bool) -> Result<()> {
        file.commit(&self.slot(name, executable))?;
        self.note(name, executable);
        Ok(())
    }

    /// Stores these bytes.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn put(&self, kind: ObjectKind, content: &[u8]) -> Result<ObjectName> {
        // An executable of the same content does not count: no object that is made up is one.
        self.put_content(kind, content, false)
    }

    /// Stores these bytes, unless they are there.
    fn put_content(&self, kind: ObjectKind, content: &[u8], executable: bool) -> Result<ObjectName> {
        let name = ObjectName::of(kind, content);
        if !self.is_there(&name, executable) {
            let mut file = self.temporary(executable)?;
            file.write_all(content).map_err(Error::io("write", self.slot(&name, executable)))?;
            self.install(file, &name, executable)?;
        }
        Ok(name)
    }

    /// Stores a thunk.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn put_thunk(&self, thunk: &Thunk) -> Result<ObjectName> {
        self.put(ObjectKind::Thunk, &thunk.encode())
    }

    /// Stores a tree.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn put_tree(&self, tree: &Tree) -> Result<ObjectName> {
        self.put(ObjectKind::Value, &tree.encode())
    }

    /// Stores the content of a regular file (symbolic links are followed). Tells its name, and whether it is
    /// executable. The file is read only if it changed since it was last stored.
    ///
    /// # Errors
    /// It cannot be read, is no regular file, changes while it is read, or the store cannot be written to.
    pub fn put_file(&self, path: &Path) -> Result<(ObjectName, bool)> {
        let facts = FileFacts::of(&fs::metadata(path).map_err(Error::io("look at", path))?);
        Ok((self.put_seen(path, &facts)?, facts.executable))
    }

    /// [`Store::put_file`] for a file that was looked at just now.
    ///
    /// # Errors
    /// As [`Store::put_file`].
    pub fn put_seen(&self, path: &Path, facts: &FileFacts) -> Result<ObjectName> {
        let executable = facts.executable;
        if let Some(name) = self.files.get(&facts.id)
            && self.is_there(&name, executable)
        {
            return Ok(name);
        }
        let mut file = File::open(path).map_err(Error::io("read", path))?;
        let before = file.metadata().map_err(Error::io("look at", path))?;
        if !before.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(Error::Io { what: "store", path: path.into(), error });
        }
        // Small files, nearly all, are hashed first and written only if they are new.
        const SMALL: u64 = 8 << 20;
        let name = if before.len() <= SMALL {
            let mut content = Vec::with_capacity(before.len() as usize + 1);
            file.read_to_end(&mut content).map_err(Error::io("read", path))?;
            self.put_content(ObjectKind::Value, &content, executable)?
        } else {
            let mut to = self.temporary(executable)?;
            let name =
                hash_stream(&mut file, Some(to.file())).map_err(Error::io("copy into the store", path))?;
            to.flush().map_err(Error::io("write", self.slot(&name, executable)))?;
            self.install(to, &name, executable)?;
            name
        };
        let after = file.metadata().map_err(Error::io("look at", path))?;
        // Somebody may link to it meanwhile, which changes the ctime and nothing else.
        let content = |metadata| FileId { ctime: 0, ..FileId::of(metadata) };
        if content(&before) != content(&after) || after.len() != name.size() {
            let error = io::Error::other("it changed while it was read");
            return Err(Error::Io { what: "store", path: path.into(), error });
        }
        self.files.put(&FileId::of(&before), &name);
        Ok(name)
    }

    /// [`Store::put_seen`] for a file of which this is the content: it was read when the file was, before and after, as the facts say.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn put_read(&self, facts: &FileFacts, content: &[u8]) -> Result<ObjectName> {
        let name = self.put_content(ObjectKind::Value, content, facts.executable)?;
        self.files.put(&facts.id, &name);
        Ok(name)
    }

    /// The name of the content of a regular file that was looked at just now. The file is read only if it changed since it was
    /// last hashed; nothing is stored.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn name_of(&self, path: &Path, facts: &FileFacts) -> Result<ObjectName> {
        if let Some(name) = self.files.get(&facts.id) {
            return Ok(name);
        }
        let mut file = File::open(path).map_err(Error::io("read", path))?;
        let name = hash_stream(&mut file, None).map_err(Error::io("read", path))?;
        self.files.put(&facts.id, &name);
        Ok(name)
    }

    /// Moves a regular file that nobody else can write to any more into the store: no copy where both are on one
    /// file system. A damaged object of the same name is replaced.
    ///
    /// # Errors
    /// It cannot be read, or the store cannot be written to.
    pub fn adopt(&self, path: &Path, executable: bool) -> Result<ObjectName> {
        let mut file = File::open(path).map_err(Error::io("read", path))?;
        let name = hash_stream(&mut file, None).map_err(Error::io("read", path))?;
        let slot = self.slot(&name, executable);
        if !self.is_there(&name, executable) || self.check_slot(&name, executable).is_err() {
            let mode = if executable { 0o755 } else { 0o644 };
            file.set_permissions(fs::Permissions::from_mode(mode))
                .map_err(Error::io("set the mode of", path))?;
            match fs::rename(path, &slot) {
                Ok(()) => self.note(&name, executable),
                Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                    let mut from = File::open(path).map_err(Error::io("read", path))?;
                    let to = self.temporary(executable)?;
                    io::copy(&mut from, &mut to.file()).map_err(Error::io("write", &slot))?;
                    self.install(to, &name, executable)?;
                }
                Err(e) => return Err(Error::io("put a file there", &slot)(e)),
            }
        }
        Ok(name)
    }
}

/// Hashes a stream, copying it to `copy` on the way.
pub(super) fn hash_stream(from: &mut File, mut copy: Option<&File>) -> io::Result<ObjectName> {
    let mut hasher = Hasher::new();
    // Most files are small: what is larger than they are must be cheap to make.
    let mut buffer = [0u8; 1 << 15];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish(ObjectKind::Value)),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                if let Some(to) = &mut copy {
                    to.write_all(&buffer[..n])?;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
