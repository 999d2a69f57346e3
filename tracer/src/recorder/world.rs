// SPDX-License-Identifier: Apache-2.0
//! The file system as models, the log's reader and the store see it while a build is recorded: placeholders are files that are not there
//! yet, where paths lead is remembered, a file that is wanted several times in a row is read once. Unaware of commands.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use models::binutils::{Request, parse_ar};
use models::elf::ElfFacts;
use models::libraries::THIN;
use models::recognise::Program;
use models::{Answer, HEAD, Node, Question, World};
use observe::Event;
use thunk::{FileFacts, FileId, Led, ObjectName, OutputRef, Placeholder, Thunk};

use super::{Recorder, lock};
use crate::library_names::is_shared_library;
use crate::log::Ways;

/// The file that a thread has read last: of a source the model wants to know what it includes first, the scanner what it
/// includes at all, and the store its content.
#[derive(Default)]
struct Recent(Option<(FileId, Arc<Vec<u8>>)>);

thread_local! {
    static RECENT: RefCell<Recent> = RefCell::default();
}

impl Recent {
    fn content(&self, id: &FileId) -> Option<Arc<Vec<u8>>> {
        let (_, content) = self.0.as_ref().filter(|(of, _)| of == id)?;
        Some(Arc::clone(content))
    }
}

impl Recorder {
    /// Puts a file into the store that was looked at just now.
    ///
    /// # Errors
    /// As [`Store::put_seen`].
    pub fn put(&self, path: &Path, facts: &FileFacts) -> thunk::Result<ObjectName> {
        match RECENT.with_borrow(|recent| recent.content(&facts.id)) {
            Some(content) if self.store.files().get(&facts.id).is_none() => {
                self.store.put_read(facts, &content)
            }
            _ => self.store.put_seen(path, facts),
        }
    }
}

impl Recorder {
    /// The inputs of the command that makes this output, if that is a thin archive: its members are among them.
    fn members_of_thin(&self, output: &OutputRef) -> Option<Vec<PathBuf>> {
        let thunk = self.store.thunk(&output.thunk).ok()?;
        if !self.makes_thin(&thunk, output) {
            return None;
        }
        let values = thunk.values.iter().chain(&thunk.executables).map(|i| &i.path);
        let inputs = values.chain(thunk.thunks.iter().map(|i| &i.path));
        Some(inputs.filter(|path| !thunk.outputs.contains(path)).cloned().collect())
    }

    /// Does this thunk make a thin archive, or change one?
    fn makes_thin(&self, thunk: &Thunk, output: &OutputRef) -> bool {
        let (Some(program), Some(name)) = (&thunk.program, thunk.args.first()) else { return false };
        match self.program(program, name).map(|facts| facts.program) {
            Ok(Program::Ar(_)) => {
                if matches!(parse_ar(&thunk.args[1..]), Ok(Request::Job(job)) if job.thin()) {
                    return true;
                }
            }
            Ok(Program::Ranlib(_)) => {}
            _ => return false,
        }
        // What it was before tells.
        let Some(archive) = output.output.as_ref().or(thunk.outputs.first()) else { return false };
        if let Some(before) = thunk.thunks.iter().find(|i| i.path == *archive) {
            return self
                .store
                .thunk(&before.from.thunk)
                .is_ok_and(|thunk| self.makes_thin(&thunk, &before.from));
        }
        let values = thunk.values.iter().chain(&thunk.executables);
        values.filter(|i| i.path == *archive).any(|i| self.is_thin(&i.value))
    }

    fn is_thin(&self, value: &ObjectName) -> bool {
        let mut start = [0; THIN.len()];
        let mut read = |path: &PathBuf| File::open(path).and_then(|mut file| file.read_exact(&mut start));
        self.store.find(value).as_ref().is_some_and(|path| read(path).is_ok()) && start == *THIN
    }
}

impl Ways for Recorder {
    fn leads(&self, path: &Path) -> Option<Led> {
        self.lasting_way(path)?.led().ok().cloned()
    }

    fn directory(&self, path: &Path) -> Option<PathBuf> {
        self.lasting_lead(path)?.end().map(Path::to_path_buf)
    }

    fn executed(&self, path: &Path) -> Arc<[Event]> {
        self.executions.of(path, |path| self.lasting_way(path))
    }

    fn executed_before(&self, path: &Path) -> Option<Arc<[Event]>> {
        self.executions.last(path)
    }
}

impl World for Recorder {
    fn node(&self, path: &Path) -> Option<Node> {
        let way = self.way(path);
        Some(match (way.led().ok()?, way.file()) {
            (Led::Directory(_), _) => Node::Directory,
            (Led::File(_), Some((_, facts))) => {
                if wire::size_may_be_placeholder(facts.id.size)
                    && !matches!(Placeholder::read(path), Ok(None))
                {
                    Node::Placeholder
                } else {
                    Node::File
                }
            }
            _ => Node::Other,
        })
    }

    fn read(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
        if self.node(path) == Some(Node::Placeholder) {
            self.force(&[path.to_path_buf()]).map_err(io::Error::other)?;
        }
        let way = self.way(path);
        let known = way.file().and_then(|(_, facts)| RECENT.with_borrow(|recent| recent.content(&facts.id)));
        if let Some(content) = known {
            return Ok(content);
        }
        let mut file = File::open(path)?;
        let before = file.metadata()?;
        let id = FileId::of(&before);
        let settled = before.is_file() && id.is_settled();
        let mut content = Vec::with_capacity(before.len() as usize + 1);
        file.read_to_end(&mut content)?;
        let content = Arc::new(content);
        // Else it may be the content of no state of the file, or of several.
        if settled && content.len() as u64 == id.size && FileId::of(&file.metadata()?) == id {
            RECENT.with_borrow_mut(|recent| *recent = Recent(Some((id, Arc::clone(&content)))));
        }
        Ok(content)
    }

    fn head(&self, path: &Path) -> io::Result<Vec<u8>> {
        if self.node(path) == Some(Node::Placeholder) {
            self.force(&[path.to_path_buf()]).map_err(io::Error::other)?;
        }
        let mut head = Vec::with_capacity(HEAD);
        File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
        Ok(head)
    }

    fn elf(&self, path: &Path) -> Option<Arc<ElfFacts>> {
        if self.node(path) == Some(Node::Placeholder) {
            return ElfFacts::read(&self.read(path).ok()?).map(Arc::new);
        }
        self.programs.elf(path)
    }

    fn executable(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o111 != 0)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(directory)?.map(|entry| entry.map(|e| e.file_name())).collect()
    }

    fn linked_with(&self, path: &Path) -> Vec<PathBuf> {
        let Ok(Some(placeholder)) = Placeholder::read(path) else { return Vec::new() };
        let Ok(thunk) = self.store.thunk(&placeholder.output.thunk) else { return Vec::new() };
        let values = thunk.values.iter().chain(&thunk.executables).map(|i| &i.path);
        // Some name their objects as libraries are named: Kerberos has `x.so` for what goes into `libx.so`.
        let is_object = |from: &OutputRef| lock(&self.linked).get(from) == Some(&false);
        let made = thunk.thunks.iter().filter(|i| is_shared_library(&i.path) && !is_object(&i.from));
        let given = values.filter(|p| is_shared_library(p)).chain(made.map(|i| &i.path));
        // Under which name a library will be looked for is not known before it is linked: one of these, if at all.
        let names = |path: &Path| self.library_names.of(path);
        given.flat_map(|p| names(p)).chain(names(path)).filter(|p| p != path).collect()
    }

    fn thin_members(&self, placeholder: &Path) -> Vec<PathBuf> {
        let Ok(Some(placeholder)) = Placeholder::read(placeholder) else { return Vec::new() };
        self.members_of_thin(&placeholder.output).unwrap_or_default()
    }

    fn is_linked(&self, placeholder: &Path) -> Option<bool> {
        let output = Placeholder::read(placeholder).ok().flatten()?.output;
        lock(&self.linked).get(&output).copied()
    }

    fn ask(&self, question: &Question) -> io::Result<Arc<Answer>> {
        self.questions.ask(question, &|name| self.is_in_doubt(name))
    }
}
