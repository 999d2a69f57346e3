// SPDX-License-Identifier: Apache-2.0
//! Which files a compile includes: the scanner says, and where it cannot be sure, the compiler's own `-M`. Also makes
//! dependency files ahead of the compile, for those who read them at once.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use models::scanner::{Closure, Disk, Files, Keeping, Kind, Scanner, Shelf, Stamp};
use models::{Answer, Decline, IncludeSearch, Invocation, Question, World};
use thunk::{AtomicFile, FileFacts, FileId, ObjectKind, ObjectName, Store, write_atomically};

use crate::recorder::Recorder;

/// All files and directories that the compile may look at by inclusion.
///
/// # Errors
/// Nobody can tell, or the compiler refuses: the command runs, so that it can say why.
pub fn find(
    recorder: &Recorder,
    invocation: &Invocation,
    search: &IncludeSearch,
) -> Result<Closure, Decline> {
    let files = Seen { recorder, project: &recorder.project };
    let unsure = match recorder.scanner.scan(search, &invocation.cwd, &files, recorder.quiet()) {
        Ok(closure) => return Ok(closure),
        Err(unsure) => unsure,
    };
    if !unsure.why.compiler_knows() {
        return Err(Decline(unsure.to_string()));
    }
    let output = ask(recorder, invocation, &search.ask_compiler)?;
    let no_rule = || Decline("the compiler's -M gave no rule".into());
    let listed = parse_rule(&output.stdout, &invocation.cwd).ok_or_else(no_rule)?;
    let closure = recorder.scanner.complete(search, &invocation.cwd, &listed, &files, recorder.quiet());
    closure.map_err(|unsure| Decline(unsure.to_string()))
}

/// A scanner for what is in `project`, which takes answers from recordings before this one.
///
/// # Errors
/// The store cannot be written to.
pub fn scanner(store: &Store, project: &Path) -> thunk::Result<Scanner> {
    let shelf = Box::new(Directory(store.cache_dir(KEPT)?));
    Ok(Scanner::default().keeping(Keeping { shelf, project: project.to_path_buf() }))
}

/// Leaves what the scanner has found out to later recordings.
pub fn keep(recorder: &Recorder) {
    let seen = Seen { recorder, project: &recorder.project };
    if recorder.scanner.keep(&seen, recorder.quiet())
        && let Ok(directory) = recorder.store.cache_dir(KEPT)
    {
        Directory(directory).sweep(MOST);
    }
}

/// The directory of the store's cache that holds answers of scanners.
const KEPT: &str = "includes";
/// More bytes than this are not kept there: what was written first goes.
const MOST: u64 = 256 << 20;

/// Answers of scanners, each in a file.
struct Directory(PathBuf);

impl Shelf for Directory {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.0.join(name)).ok()
    }

    fn put(&self, name: &str, content: &[u8]) {
        // Losing it costs time only.
        let _ = write_atomically(&self.0.join(name), content, 0o666);
    }
}

impl Directory {
    /// Once for all that is put there, as it looks at each file.
    fn sweep(&self, most: u64) {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        let mut all = 0;
        for (_, length, path) in files {
            all += length;
            if all > most {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// The file system as the scanner sees it: reading a placeholder forces it.
struct Seen<'a> {
    recorder: &'a Recorder,
    project: &'a Path,
}

impl Files for Seen<'_> {
    fn look(&self, path: &Path, follow: bool) -> Option<(Kind, Stamp)> {
        Disk.look(path, follow)
    }

    fn read(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
        World::read(self.recorder, path)
    }

    fn digest(&self, path: &Path, stamp: &Stamp) -> Option<[u8; 32]> {
        let is_as_it_was = || Disk.look(path, true).is_some_and(|(_, now)| now == *stamp);
        let facts = facts(stamp);
        let name = match self.recorder.store.files().get(&facts.id) {
            Some(name) => name,
            None if wire::size_may_be_placeholder(stamp.size) => {
                let content = World::read(self.recorder, path).ok()?;
                is_as_it_was().then(|| ObjectName::of(ObjectKind::Value, &content))?
            }
            // It is an input of the command, most likely.
            None => self.recorder.put(path, &facts).ok().filter(|_| is_as_it_was())?,
        };
        Some(*name.digest())
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        Disk.names(path)
    }

    fn fixed(&self, directory: &Path) -> bool {
        // A build that installs into /usr while it compiles against it is none that we record.
        directory.starts_with("/usr") && !directory.starts_with(self.project)
    }

    fn changes(&self, name: &[u8]) -> bool {
        self.recorder.may_have_changed(name)
    }

    fn extent(&self) -> u64 {
        self.recorder.extent_of_changes()
    }

    fn ask(&self, question: &Question) -> io::Result<Arc<Answer>> {
        World::ask(self.recorder, question)
    }
}

/// What the store wants to know of a file that was looked at.
pub fn facts(stamp: &Stamp) -> FileFacts {
    let Stamp { dev, ino, size, mtime, ctime, mode, .. } = *stamp;
    FileFacts { id: FileId { dev, ino, size, mtime, ctime }, executable: mode & 0o111 != 0 }
}

/// The dependency file that the compile will write to `path`, to be put there: made here where it is certain what is in
/// it, otherwise by the compiler.
///
/// # Errors
/// The compiler refuses, or the file cannot be written.
pub fn dependencies(
    recorder: &Recorder,
    invocation: &Invocation,
    search: &IncludeSearch,
    path: &Path,
    umask: u32,
) -> Result<AtomicFile, Decline> {
    let failed = |e: thunk::Error| Decline(e.to_string());
    let cannot = |e: io::Error| Decline(format!("{}: {e}", path.display()));
    let files = Seen { recorder, project: &recorder.project };
    let made = recorder.scanner.dependencies(search, &invocation.cwd, &files, recorder.quiet());
    let content = match made {
        Ok(content) => content,
        Err(_) => written(recorder, invocation, search, path)?,
    };
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = AtomicFile::nameless_in(directory, 0o600).map_err(failed)?;
    file.write_all(&content).map_err(cannot)?;
    file.file().set_permissions(Permissions::from_mode(0o666 & !umask)).map_err(cannot)?;
    Ok(file)
}

/// What the compiler writes to `path`.
fn written(
    recorder: &Recorder,
    invocation: &Invocation,
    search: &IncludeSearch,
    path: &Path,
) -> Result<Vec<u8>, Decline> {
    // It writes by name; what it leaves if the recorder is killed does not lie about in the tree.
    let temporary = recorder.store.root().join("tmp");
    let file = AtomicFile::create_in(&temporary, 0o600).map_err(|e| Decline(e.to_string()))?;
    let mut question = search.write_dependencies.clone();
    question.push(file.temporary_path().into());
    ask(recorder, invocation, &question)?;
    std::fs::read(file.temporary_path()).map_err(|e| Decline(format!("{}: {e}", path.display())))
}

/// Runs the compiler, as the command would have run, under the interceptor: placeholders that it opens are forced.
fn ask(recorder: &Recorder, invocation: &Invocation, argv: &[OsString]) -> Result<Output, Decline> {
    let mut command = Command::new(&invocation.program);
    if let Some((name, arguments)) = argv.split_first() {
        command.arg0(name).args(arguments);
    }
    command.env_clear().envs(invocation.env.iter());
    for (name, value) in recorder.environment() {
        command.env(name, value);
    }
    let cannot = |e| Decline(format!("{} cannot be asked: {e}", invocation.program.display()));
    let output = command.current_dir(&invocation.cwd).stdin(Stdio::null()).output().map_err(cannot)?;
    if output.status.success() {
        Ok(output)
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().find(|l| l.contains("error")).unwrap_or("the compiler refuses it");
        Err(Decline(line.to_owned()))
    }
}

/// The prerequisites of the makefile rules in `text`, absolute. `\` before a blank or `#` quotes it, `$$` is a dollar.
fn parse_rule(text: &[u8], cwd: &Path) -> Option<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        // The targets, up to a colon that ends a word.
        let colon = (0..rest.len())
            .find(|&i| rest[i] == b':' && rest.get(i + 1).is_none_or(|b| b" \t\n\\".contains(b)))?;
        rest = &rest[colon + 1..];
        let mut word = Vec::new();
        let mut end = rest.len();
        let mut i = 0;
        while i < rest.len() {
            let next = rest.get(i + 1).copied();
            match rest[i] {
                b'\\' if next == Some(b'\n') => {
                    take(&mut word, &mut files, cwd);
                    i += 1;
                }
                b'\\' if matches!(next, Some(b' ' | b'#' | b'\t')) => {
                    word.extend(next);
                    i += 1;
                }
                b'$' if next == Some(b'$') => {
                    word.push(b'$');
                    i += 1;
                }
                b' ' | b'\t' => take(&mut word, &mut files, cwd),
                b'\n' => {
                    end = i + 1;
                    break;
                }
                byte => word.push(byte),
            }
            i += 1;
        }
        take(&mut word, &mut files, cwd);
        rest = rest.get(end..).unwrap_or_default();
        while rest.first() == Some(&b'\n') {
            rest = &rest[1..];
        }
    }
    Some(files)
}

fn take(word: &mut Vec<u8>, files: &mut Vec<PathBuf>, cwd: &Path) {
    if !word.is_empty() {
        files.push(cwd.join(OsStr::from_bytes(word)));
        word.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_gives_its_prerequisites() {
        let text = b"a.o: a.c \\\n  dir\\ x/b.h /usr/c.h $$d.h\n\nb.o: b.c\n";
        let files = parse_rule(text, Path::new("/w")).unwrap();
        let expected = ["/w/a.c", "/w/dir x/b.h", "/usr/c.h", "/w/$d.h", "/w/b.c"];
        assert_eq!(files, expected.map(PathBuf::from));
        assert_eq!(parse_rule(b"", Path::new("/w")), Some(vec![]));
        assert_eq!(parse_rule(b"no rule", Path::new("/w")), None);
    }
}
