// SPDX-License-Identifier: Apache-2.0
//! Runs commands where the kernel gives no namespaces: to an ordinary user in a container, say. A command runs in the tree itself; the
//! library `libggtranslator.so`, loaded into each of its processes, puts the paths that it uses below the tree, and
//! cuts them off from those that it is told. What the command writes is taken out of the tree at its end.
//!
//! This keeps a command from finding what is not among its inputs, by whatever way it finds files. It does not keep one that wants to from
//! looking: who makes system calls by hand reaches what this user reaches. What the library cannot be loaded into is refused.
//!
//! The calling process is taken to have no children of its own: all that it has when a command has ended are killed.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use translation::{ARGV0, Found, GLIBC_OPTION, Kind, LIBRARY_PATH, PRELOAD, REFUSED, Setting};

use crate::child::CArray;
use crate::enter::own_directory;
use crate::program::{Program, end_all, reap};
use crate::run::{Output, c_string};
use crate::{
    Entry, Error, ExecFailure, Job, Outcome, Result, Status, Stdin, SyncStats, Tree, Upper, Usage, network,
    remove, sys,
};

/// A place to run commands, one after another, without privileges.
#[derive(Debug)]
pub struct Translated {
    directory: PathBuf,
    /// It is locked for as long as a process has this open, which tells [`crate::sweep`].
    lock: OwnedFd,
    tree: Tree,
    library: PathBuf,
    /// Loaders that are known to understand what they are told.
    loaders: HashSet<PathBuf>,
    count: u64,
    without_network: bool,
    leash: Option<OwnedFd>,
}

/// Where loaders look for libraries when nothing tells them, and where distributions have them look.
const LIBRARIES: [&str; 6] =
    ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"];

/// As deep as the kernel follows scripts whose interpreter is a script.
const DEEPEST: usize = 5;

impl Translated {
    /// Makes an empty tree in a new directory below `scratch`. `library` is the file [`translation::LIBRARY`]. From now
    /// on nobody but root can look into this process, and processes that lose their parent become its children.
    ///
    /// # Errors
    /// The directory cannot be made, or the library is not there.
    pub fn enter(scratch: &Path, library: &Path) -> Result<Translated> {
        let library = library.canonicalize().map_err(|e| Error::file("cannot use", library, e))?;
        // Otherwise what a command starts in the background would be nobody's, and what the worker was told, open to all.
        // SAFETY: prctl with integers.
        unsafe {
            sys::check(libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
                .and_then(|_| sys::check(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0)))
                .map_err(|e| Error::setup("watch over commands", e))?;
        }
        let (directory, lock) = own_directory(scratch)?;
        let disk = directory.join("disk");
        fs::create_dir(&disk).map_err(|e| Error::file("cannot make directory", &disk, e))?;
        let tree = Tree::create_open(&directory.join("tree"))?;
        Ok(Translated {
            directory,
            lock,
            tree,
            library,
            loaders: HashSet::new(),
            count: 0,
            without_network: false,
            leash: None,
        })
    }

    /// From now on a command is ended, and all that it has started, when the other end of this socket is closed: [`Error::Abandoned`].
    /// To kill the calling process does not: what a command has started would go on.
    pub fn tie(&mut self, leash: OwnedFd) {
        self.leash = Some(leash);
    }

    /// Takes the network from the commands that are run from now on.
    ///
    /// # Errors
    /// The kernel does not have the means: [`Error::Unsupported`].
    pub fn leave_network(&mut self) -> Result<()> {
        if !network::can_be_denied() {
            let why = "without namespaces it needs a kernel that takes seccomp filters: others leave commands this machine's network";
            return Err(Error::Unsupported(why.into()));
        }
        self.without_network = true;
        Ok(())
    }

    /// Makes `wanted` the files that the next commands see: see [`Tree::sync`].
    ///
    /// # Errors
    /// As [`Tree::sync`].
    pub fn sync(&mut self, wanted: &BTreeMap<PathBuf, Entry>) -> Result<SyncStats> {
        self.tree.sync(wanted)
    }

    /// Runs one command on the files of the last [`Translated::sync`]. When this returns, no process of it is left.
    ///
    /// # Errors
    /// The command could not be set up, or needs a program that cannot run in this way: [`Error::Refused`].
    pub fn run(&mut self, job: &Job) -> Result<Outcome> {
        let start = Instant::now();
        self.count += 1;
        let mut upper = Upper::create(
            &self.directory.join("disk"),
            &self.count.to_string(),
            Arc::clone(self.tree.shape()),
        )?;
        upper.links_lead_below(self.tree.path());
        self.prepare(job)?;
        let refused = with(self.tree.path(), REFUSED);
        fs::remove_file(&refused).ok();
        let ended = match self.starting(job)? {
            Err(failure) => Ended { status: Status::NotStarted(failure), ..Ended::default() },
            Ok(program) => watch(&program, job, start, self.leash.as_ref())?,
        };
        self.tree.harvest(upper.root())?;
        if let Ok(text) = fs::read(&refused) {
            return Err(Error::Refused(String::from_utf8_lossy(&text).trim_end().to_owned()));
        }
        let Ended { status, stdout, stderr, mut usage } = ended;
        usage.wall = start.elapsed();
        Ok(Outcome { status, stdout, stderr, usage, upper })
    }

    /// Makes the directories that the job needs.
    fn prepare(&self, job: &Job) -> Result<()> {
        job.check()?;
        let temporary = job.env.iter().find(|(name, _)| name == "TMPDIR").map(|(_, path)| Path::new(path));
        // One that is no proper absolute path is the program's business.
        let proper = |path: &&Path| {
            path.is_absolute() && !path.components().any(|component| component == Component::ParentDir)
        };
        let all = job.directories.iter().map(PathBuf::as_path).chain([job.cwd.as_path()]);
        for path in all.chain(temporary.filter(proper)) {
            if !proper(&path) {
                return Err(job.bad("a directory that it needs is no absolute path"));
            }
            let here = with(self.tree.path(), path);
            match fs::create_dir_all(&here) {
                Err(error) if !here.is_dir() => {
                    return Err(Error::file("cannot make directory", path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What starts the program by its loader.
    fn starting(&mut self, job: &Job) -> Result<std::result::Result<Program, ExecFailure>> {
        let mut program = job.program.clone();
        let mut argv = job.argv.clone();
        for _ in 0..DEEPEST {
            let mut found = Found::default();
            let outside = with(self.tree.path(), &program);
            let real = match outside.canonicalize() {
                Ok(real) if real.starts_with(self.tree.path()) => real,
                Ok(_) => return Ok(Err(ExecFailure::Missing)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Err(ExecFailure::Missing));
                }
                Err(error) => return Ok(Err(failure(&error))),
            };
            if !is_executable(&real) {
                return Ok(Err(ExecFailure::NotPermitted));
            }
            let file = match File::open(&real) {
                Ok(file) => file,
                Err(error) => return Ok(Err(failure(&error))),
            };
            let read = |offset: u64, buffer: &mut [u8]| read_at(&file, buffer, offset);
            let why = match translation::examine(read, &mut found) {
                Kind::Script => {
                    let interpreter = PathBuf::from(OsStr::from_bytes(found.interpreter()));
                    let mut head = vec![interpreter.clone().into_os_string()];
                    if !found.argument().is_empty() {
                        head.push(OsStr::from_bytes(found.argument()).to_owned());
                    }
                    head.push(program.into_os_string());
                    argv.splice(..1, head);
                    program = interpreter;
                    continue;
                }
                Kind::Dynamic => return self.loading(job, &real, &argv, &found),
                Kind::Unknown => return Ok(Err(ExecFailure::BadFormat)),
                Kind::Static => "is statically linked",
                Kind::Foreign => "is for another kind of machine",
            };
            return Err(Error::Refused(format!(
                "{} {why}: it cannot run without namespaces",
                program.display()
            )));
        }
        Ok(Err(ExecFailure::Other(libc::ELOOP)))
    }

    fn loading(
        &mut self,
        job: &Job,
        real: &Path,
        argv: &[OsString],
        found: &Found,
    ) -> Result<std::result::Result<Program, ExecFailure>> {
        let root = self.tree.path().to_owned();
        let loader = with(&root, OsStr::from_bytes(found.interpreter()));
        if !loader.exists() {
            return Ok(Err(ExecFailure::InterpreterMissing));
        }
        self.check_loader(&loader)?;
        let inside =
            translation::strip(root.as_os_str().as_bytes(), real.as_os_str().as_bytes()).unwrap_or_default();
        let directories = self.library_directories();
        let setting = Setting {
            root: root.as_os_str().as_bytes(),
            library: self.library.as_os_str().as_bytes(),
            directories: &directories,
            program: inside,
        };
        let environment =
            job.env.iter().find(|(name, _)| name == "LD_LIBRARY_PATH").map(|(_, value)| value.as_bytes());
        let mut libraries = Vec::new();
        translation::search_path(
            setting.root,
            environment.unwrap_or_default(),
            inside,
            found.search(),
            &directories,
            |piece| libraries.extend_from_slice(piece),
        );
        let mut variable = Vec::new();
        setting.write(|piece| variable.extend_from_slice(piece));
        let text = |option: &std::ffi::CStr| option.to_bytes().to_owned();
        let mut words = vec![loader.as_os_str().as_bytes().to_owned()];
        if !translation::is_musl(found.interpreter()) {
            words.push(text(GLIBC_OPTION));
        }
        words.extend([text(LIBRARY_PATH), libraries, text(PRELOAD), setting.library.to_owned(), text(ARGV0)]);
        words.extend([&argv[0], real.as_os_str()].map(|word| word.as_bytes().to_owned()));
        words.extend(argv[1..].iter().map(|word| word.as_bytes().to_owned()));
        let entries = job.env.iter().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
        let entries = entries.chain([variable]).collect();
        let strings =
            |all: Vec<Vec<u8>>| all.into_iter().map(|bytes| c_string(job, bytes)).collect::<Result<Vec<_>>>();
        Ok(Ok(Program {
            file: c_string(job, loader.into_os_string().into_vec())?,
            argv: CArray::new(strings(words)?),
            env: CArray::new(strings(entries)?),
            directory: c_string(job, with(&root, &job.cwd).into_os_string().into_vec())?,
            umask: job.umask & 0o777,
            without_network: self.without_network,
        }))
    }

    /// Loaders of before glibc 2.33 do not know how to tell a program its name.
    fn check_loader(&mut self, loader: &Path) -> Result<()> {
        let failed = |e| Error::file("cannot read", loader, e);
        let real = loader.canonicalize().map_err(failed)?;
        if self.loaders.contains(&real) {
            return Ok(());
        }
        let bytes = fs::read(&real).map_err(failed)?;
        let knows = |option: &[u8]| bytes.windows(option.len()).any(|window| window == option);
        if ![PRELOAD, ARGV0].iter().all(|option| knows(&option.to_bytes()[2..])) {
            let shown = real.strip_prefix(self.tree.path()).unwrap_or(&real).display();
            return Err(Error::Refused(format!(
                "/{shown} does not know the option --argv0 (it is older than glibc 2.33): it cannot start programs without namespaces"
            )));
        }
        self.loaders.insert(real);
        Ok(())
    }

    /// Where the tree has libraries that loaders are to find: paths outside, separated by colons.
    fn library_directories(&self) -> Vec<u8> {
        let root = self.tree.path();
        let cache = fs::read(root.join("etc/ld.so.cache")).unwrap_or_default();
        let cached = cache.split(|byte| *byte == 0).filter(|text| text.starts_with(b"/"));
        let cached =
            cached.filter_map(|text| Path::new(OsStr::from_bytes(text)).parent()).map(Path::to_owned);
        let mut seen = HashSet::new();
        let mut directories = Vec::new();
        for directory in LIBRARIES.iter().map(PathBuf::from).chain(cached) {
            let here = with(root, &directory);
            if seen.insert(directory) && here.is_dir() {
                directories.push(here.into_os_string().into_vec());
            }
        }
        directories.join(&b':')
    }
}

/// Starts the command and waits for its end, and for that of all that it started.
fn watch(program: &Program, job: &Job, start: Instant, leash: Option<&OwnedFd>) -> Result<Ended> {
    let pipe = || sys::pipe().map_err(|e| Error::setup("make a pipe", e));
    let ((out_read, out_write), (err_read, err_write)) = (pipe()?, pipe()?);
    let stdin = match &job.stdin {
        Stdin::Null => Path::new("/dev/null"),
        Stdin::File(path) => path,
    };
    let stdin = File::open(stdin).map_err(|e| Error::file("cannot read", stdin, e))?;
    let stdin = sys::above_standard(stdin.into()).map_err(|e| Error::setup("set up descriptors", e))?;
    let running = match program.start([stdin.as_fd(), out_write.as_fd(), err_write.as_fd()])? {
        Ok(running) => running,
        Err(error) => return Ok(Ended { status: Status::NotStarted(failure(&error)), ..Ended::default() }),
    };
    drop((stdin, out_write, err_write));
    let deadline = job.timeout.map(|timeout| start + timeout);
    let mut output = Output::new(out_read, err_read, job.output_limit)?;
    let heard = running.listen(&mut output, running.process.as_fd(), deadline, leash);
    // SAFETY: integers. The command leads a process group of its own.
    unsafe { libc::kill(-running.pid, libc::SIGKILL) };
    let (status, usage) = match heard {
        Ok(killed) => reap(running, killed)?,
        Err(error) => {
            drop(running);
            end_all();
            return Err(error);
        }
    };
    end_all();
    output.drain()?;
    let [stdout, stderr] = output.bytes;
    Ok(Ended { status, stdout, stderr, usage })
}

impl Drop for Translated {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next sweep.
        if remove::remove_content(self.lock.as_fd()).is_ok() {
            fs::remove_dir(&self.directory).ok();
        }
    }
}

/// How a command ended.
struct Ended {
    status: Status,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    usage: Usage,
}

impl Default for Ended {
    fn default() -> Self {
        Ended { status: Status::Exited(0), stdout: Vec::new(), stderr: Vec::new(), usage: Usage::default() }
    }
}

/// Is it a program that [`Translated`] refuses, whatever it is given?
#[must_use]
pub fn needs_namespaces(program: &Path) -> bool {
    let Ok(file) = File::open(program) else { return false };
    let read = |offset: u64, buffer: &mut [u8]| read_at(&file, buffer, offset);
    matches!(translation::examine(read, &mut Found::default()), Kind::Static | Kind::Foreign)
}

/// A path inside, outside.
fn with(root: &Path, path: impl AsRef<OsStr>) -> PathBuf {
    let mut outside = root.as_os_str().to_owned();
    outside.push(path);
    outside.into()
}

fn failure(error: &io::Error) -> ExecFailure {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => ExecFailure::Missing,
        Some(libc::EACCES | libc::EPERM) => ExecFailure::NotPermitted,
        Some(libc::E2BIG) => ExecFailure::TooLarge,
        Some(errno) => ExecFailure::Other(errno),
        None => ExecFailure::Other(libc::EIO),
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// As much as there is, up to the buffer's size.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> usize {
    let mut filled = 0;
    while let Ok(count @ 1..) = file.read_at(&mut buffer[filled..], offset + filled as u64) {
        filled += count;
    }
    filled
}
