// SPDX-License-Identifier: Apache-2.0
//! What programs are, remembered for as long as their files stay the same. Knows nothing of what they are asked to do.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use models::elf::ElfFacts;
use models::recognise::{self, Executable, Program};
use thunk::{FileFacts, FileId, ObjectKind, ObjectName, RecordFile};

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
#[derive(Debug)]
pub struct Programs {
    known: Mutex<HashMap<(FileId, OsString), Arc<Facts>>>,
    executable: Mutex<HashMap<FileId, Executable>>,
    recognised: Mutex<Recognised>,
    /// What ELF files say of themselves.
    elf: Mutex<HashMap<FileId, Option<Arc<ElfFacts>>>>,
}

impl Programs {
    /// Those that other recordings recognised are in the list at `path`, if there is one.
    pub fn new(path: &Path) -> Self {
        let recognised = Mutex::new(Recognised::open(path));
        Self { known: Mutex::default(), executable: Mutex::default(), recognised, elf: Mutex::default() }
    }

    /// How the kernel executes the program to which this leads. Costs little: the first of its bytes tell.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    pub fn executable(&self, way: &Way) -> io::Result<Executable> {
        /// The headers and the interpreter's name are there, unless somebody has given it another one, which may be at the end.
        const HEAD: u64 = 16 * 1024;
        let (real, FileFacts { id, .. }) = file(way)?;
        if let Some(known) = lock(&self.executable).get(id) {
            return Ok(known.clone());
        }
        let mut head = Vec::new();
        let mut file = File::open(real)?;
        file.by_ref().take(HEAD).read_to_end(&mut head)?;
        let mut executable = recognise::executable(&head);
        if matches!(executable, Executable::Static | Executable::NotExecutable)
            && head.starts_with(b"\x7fELF")
        {
            file.read_to_end(&mut head)?;
            executable = recognise::executable(&head);
        }
        lock(&self.executable).insert(*id, executable.clone());
        Ok(executable)
    }

    /// What the ELF file at this path says of itself; nothing where it is none, or cannot be read.
    pub fn elf(&self, path: &Path) -> Option<Arc<ElfFacts>> {
        let file = File::open(path).ok()?;
        let id = FileId::of(&file.metadata().ok()?);
        if let Some(known) = lock(&self.elf).get(&id) {
            return known.clone();
        }
        let facts = ElfFacts::of_file(&file).ok()?.map(Arc::new);
        // What changes a moment later may look the same.
        if id.is_settled() {
            lock(&self.elf).insert(id, facts.clone());
        }
        facts
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
        let executable = self.executable(way)?;
        let called = Called { id: *id, names: digest(&key.1, real.file_name().unwrap_or_default()) };
        let known = lock(&self.recognised).known.get(&called).copied();
        let found = match known {
            Some(known) => known,
            None => {
                let content = Arc::new(std::fs::read(real)?);
                let program = recognise::recognise(&key.1, real, &|| Ok(Arc::clone(&content)))?;
                let elf = ElfFacts::read(&content);
                let has_search_path = elf.as_ref().is_some_and(|f| !f.own_search_path().is_empty());
                let is_jealous = elf.as_ref().is_some_and(recognise::wants_to_be_first);
                let found = Found { program, has_search_path, is_jealous };
                lock(&self.recognised).remember(called, found);
                found
            }
        };
        let Found { program, has_search_path, is_jealous } = found;
        let executable = match executable {
            Executable::Dynamic { interpreter } if is_jealous => Executable::Jealous { interpreter },
            executable => executable,
        };
        let facts = Arc::new(Facts { program, executable, has_search_path, real: real.to_path_buf() });
        lock(&self.known).insert(key, Arc::clone(&facts));
        Ok(facts)
    }
}

/// A file under a name.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Called {
    id: FileId,
    names: [u8; 32],
}

/// What is found out by reading all of a program.
#[derive(Clone, Copy, Debug)]
struct Found {
    program: Program,
    has_search_path: bool,
    /// Must no library be loaded before its own?
    is_jealous: bool,
}

/// The file's identity, what [`digest`] makes of its names, the program's number, and the other facts.
const RECORD: usize = FileId::LENGTH + 32 + 2;

/// What was found out of programs, in this recording and others: to read through all that a build starts takes 20 ms and more.
#[derive(Debug)]
struct Recognised {
    known: HashMap<Called, Found>,
    list: RecordFile<RECORD>,
}

impl Recognised {
    fn open(path: &Path) -> Self {
        let (list, records) = RecordFile::open(path);
        Self { known: records.iter().filter_map(decode).collect(), list }
    }

    fn remember(&mut self, called: Called, found: Found) {
        // What changes a moment later may look the same.
        if called.id.is_settled()
            && let Some(record) = encode(&called, found)
        {
            self.list.append(&[record]);
        }
        self.known.insert(called, found);
    }
}

fn encode(called: &Called, found: Found) -> Option<[u8; RECORD]> {
    let mut record = [0; RECORD];
    let (id, rest) = record.split_at_mut(FileId::LENGTH);
    id.copy_from_slice(&called.id.encode());
    rest[..32].copy_from_slice(&called.names);
    rest[32] = found.program.number()?;
    rest[33] = u8::from(found.has_search_path) | u8::from(found.is_jealous) << 1;
    Some(record)
}

fn decode(record: &[u8; RECORD]) -> Option<(Called, Found)> {
    let (id, rest) = record.split_first_chunk()?;
    let (names, rest) = rest.split_first_chunk()?;
    let &[program, facts] = rest else { return None };
    let program = Program::numbered(program)?;
    let found = Found { program, has_search_path: facts & 1 != 0, is_jealous: facts & 2 != 0 };
    Some((Called { id: FileId::decode(id), names: *names }, found))
}

/// Stands for the name by which a program is called and that of its file, and for the rules by which it is recognised.
fn digest(called: &OsStr, own: &OsStr) -> [u8; 32] {
    let text = [&recognise::RULES.to_le_bytes(), called.as_bytes(), b"\0", own.as_bytes()].concat();
    *ObjectName::of(ObjectKind::Value, &text).digest()
}

fn file(way: &Way) -> io::Result<(&Path, &FileFacts)> {
    way.led()?;
    way.file().ok_or_else(|| io::ErrorKind::PermissionDenied.into())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn what_was_recognised_is_known_to_the_next_recording_for_the_same_file_and_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("programs");
        let id = FileId { dev: 1, ino: 2, size: 3, mtime: 4, ctime: 5 };
        let called = |id, name: &str| Called { id, names: digest(name.as_ref(), "gcc-12".as_ref()) };
        let found = Found { program: Program::As, has_search_path: true, is_jealous: false };
        Recognised::open(&path).remember(called(id, "as"), found);
        let again = Recognised::open(&path).known;
        let known = again.get(&called(id, "as")).unwrap();
        assert_eq!((known.program, known.has_search_path, known.is_jealous), (Program::As, true, false));
        assert!(!again.contains_key(&called(id, "ar")));
        assert!(!again.contains_key(&called(FileId { size: 4, ..id }, "as")));
        assert_ne!(digest("a".as_ref(), "bc".as_ref()), digest("ab".as_ref(), "c".as_ref()));
    }

    #[test]
    fn what_has_just_changed_is_remembered_by_this_recording_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("programs");
        // Changed in this moment, however long this takes on a busy machine.
        let soon = SystemTime::now() + Duration::from_secs(60);
        let ctime = soon.duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
        let id = FileId { dev: 1, ino: 2, size: 3, mtime: 4, ctime };
        let mut recognised = Recognised::open(&path);
        let found = Found { program: Program::Other, has_search_path: false, is_jealous: true };
        recognised.remember(Called { id, names: [0; 32] }, found);
        assert_eq!(recognised.known.len(), 1);
        assert!(Recognised::open(&path).known.is_empty());
    }
}
