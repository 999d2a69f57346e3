// SPDX-License-Identifier: Apache-2.0
//! What goes into a model and what comes out of it: an [`Invocation`] and a [`World`] in, a [`Verdict`] out.
//! Knows no process, no store and no thunk: the tracer turns a [`Plan`] into one.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Environment;
use crate::elf::ElfFacts;

/// One command as it was about to be executed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// Absolute path of the program, as it was found (symbolic links not resolved).
    pub program: PathBuf,
    /// The arguments, `argv[0]` included.
    pub argv: Vec<OsString>,
    /// The environment.
    pub env: Environment,
    /// Absolute working directory.
    pub cwd: PathBuf,
}

impl Invocation {
    /// The value of an environment variable; the first one counts, as in `getenv`.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<&OsStr> {
        self.env.get(name)
    }

    /// `path` seen from the working directory: absolute, not normalised.
    #[must_use]
    pub fn absolute(&self, path: impl AsRef<Path>) -> PathBuf {
        self.cwd.join(path)
    }
}

/// What stands at a path, symbolic links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File,
    /// A placeholder: a regular file whose content is not computed yet.
    Placeholder,
    /// A directory.
    Directory,
    /// A device, a pipe, a socket.
    Other,
}

/// How much of a file [`World::head`] gives.
pub const HEAD: usize = 4096;

/// The file system and the tools as a model sees them. The tracer implements it with caches; tests implement it
/// in memory. All paths are absolute.
pub trait World {
    /// What stands at `path`, if anything does.
    fn node(&self, path: &Path) -> Option<Node>;
    /// The content of the regular file at `path`; a placeholder is forced first.
    ///
    /// # Errors
    /// Whatever reading the file gives.
    fn read(&self, path: &Path) -> io::Result<Arc<Vec<u8>>>;
    /// How that file begins: its first 4 KiB, or as much as there is; likewise.
    ///
    /// # Errors
    /// Whatever reading the file gives.
    fn head(&self, path: &Path) -> io::Result<Vec<u8>> {
        let content = self.read(path)?;
        Ok(content[..content.len().min(HEAD)].to_vec())
    }
    /// What the ELF file at `path` says of itself, likewise; nothing where it is no ELF file, or cannot be read.
    fn elf(&self, path: &Path) -> Option<Arc<ElfFacts>> {
        ElfFacts::read(&self.read(path).ok()?).map(Arc::new)
    }
    /// For a placeholder (or a file made by a deferred command): the shared libraries that its link was given,
    /// which a later link against it will want to see. Empty for others.
    fn linked_with(&self, path: &Path) -> Vec<PathBuf>;
    /// For a placeholder: the files that it will refer to if it is going to be a thin archive, which holds the names of its members only.
    /// Empty for others.
    fn thin_members(&self, placeholder: &Path) -> Vec<PathBuf> {
        let _ = placeholder;
        Vec::new()
    }
    /// Will the file behind this placeholder be a program or a shared library, whatever mode it was given since? `None` where that is not
    /// known.
    fn is_linked(&self, placeholder: &Path) -> Option<bool> {
        let _ = placeholder;
        None
    }
    /// Asks a tool about itself (`gcc -print-search-dirs`, `gcc -E -v`): the answer is remembered for as long as
    /// the tool stays the same.
    ///
    /// # Errors
    /// The tool cannot be run. An exit code other than 0 is not an error here.
    fn ask(&self, question: &Question) -> io::Result<Arc<Answer>>;
    /// Does the file at `path` have an execute permission, or will it, once it is forced?
    fn executable(&self, path: &Path) -> bool {
        let _ = path;
        false
    }
    /// The names in a directory, in any order, without `.` and `..`.
    ///
    /// # Errors
    /// Whatever reading the directory gives; a world without directories says `Unsupported`.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A command that only asks a tool about itself: it is run in an empty directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Question {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// The arguments, `argv[0]` included.
    pub argv: Vec<OsString>,
    /// The environment.
    pub env: Vec<(OsString, OsString)>,
    /// What it reads from its standard input.
    pub input: Vec<u8>,
}

/// What a tool said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Exit code; -1 where a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// A tiny job that makes a tool use what it needs for every job of its kind: the tracer runs it under observation, in
/// an empty directory that holds `files`, and takes all that it reads or executes outside of that directory as
/// the tool's closure (programs, shared libraries, specs, crt files, plugins, locale). Cached by this value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Probe {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// The arguments, `argv[0]` included. Relative paths name `files`.
    pub argv: Vec<OsString>,
    /// The environment of the job: only variables that matter to the tool.
    pub env: Vec<(OsString, OsString)>,
    /// Name and content of the files that the job starts with.
    pub files: Vec<(String, Vec<u8>)>,
}

/// A file that a command writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Absolute path.
    pub path: PathBuf,
    /// Will it be executable (mode 0777 less the umask, in place of 0666)?
    pub executable: bool,
    /// What it is to the build.
    pub role: Role,
}

/// What an output is to the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What the command is run for: object, library, program, preprocessed or assembler text.
    Main,
    /// A makefile fragment with the command's dependencies (`-MF`).
    Dependencies,
    /// Written along with the main output (`.gcno`, `.dwo`, a linker map).
    Side,
}

/// Where a compiler looks for included files; for the include scanner and for `-M`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncludeSearch {
    /// The source files: absolute paths.
    pub sources: Vec<PathBuf>,
    /// `-include` and `-imacros` files in order, as written.
    pub forced: Vec<PathBuf>,
    /// `-iquote` directories, absolute, in order. The directory of the including file comes before them.
    pub quote: Vec<PathBuf>,
    /// `-I` and `CPATH` directories, absolute, in order.
    pub bracket: Vec<PathBuf>,
    /// `-isystem` and `C_INCLUDE_PATH` & co. directories, then the compiler's own, absolute, in order.
    pub system: Vec<PathBuf>,
    /// `-idirafter` directories, absolute, in order.
    pub after: Vec<PathBuf>,
    /// Assembler: `-I` directories for `.include` and `.incbin`, beside the working directory; absolute.
    pub assembler: Vec<PathBuf>,
    /// `-D` options that define a header's name or an expression that could be one, as `NAME=VALUE`.
    pub defines: Vec<OsString>,
    /// How the compiler is asked what it has built in for this command: its options, those of `-D` and `-U` among them, without
    /// source and without `-E`. `None` unless there is a single source, in C or C++ or one of their kind.
    pub front: Option<Question>,
    /// A command that makes the compiler itself print, as a makefile rule on standard output, every file that
    /// it reads for this command (`gcc … -M`): what counts when the scanner cannot be sure.
    pub ask_compiler: Vec<OsString>,
    /// A command that makes the compiler write, to a file whose name is appended as the last argument, exactly the
    /// dependency file that the real command will write (`gcc … -E -o /dev/null -MD -MT … -MF FILE`), without compiling.
    /// Empty where no dependency file is asked for.
    pub write_dependencies: Vec<OsString>,
    /// The same for [`Scanner::dependencies`](crate::scanner::Scanner::dependencies), where gcc's way of writing it is known.
    pub rule: Option<Rule>,
}

/// What gcc needs to know to write a dependency file, beside where it looks for headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The source, as written.
    pub source: PathBuf,
    /// The target; not quoted, if it may be.
    pub target: OsString,
    /// All directories of the search, as written: [`IncludeSearch::quote`], `bracket`, `system` and `after`.
    pub directories: Vec<PathBuf>,
    /// System headers are listed, too (`-MD`, not `-MMD`).
    pub system_headers: bool,
    /// Each header gets a rule without prerequisites (`-MP`).
    pub phony: bool,
}

/// A command that is understood: what it reads and writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Files that the command reads, besides the tool's closure and the included files: absolute paths that exist (as files or
    /// placeholders). An output that exists and is changed in place is among them too.
    pub inputs: BTreeSet<PathBuf>,
    /// Directories that exist and must exist where the command runs: search paths, absolute.
    pub directories: BTreeSet<PathBuf>,
    /// What it writes: absolute paths, the main output first.
    pub outputs: Vec<Output>,
    /// Names of environment variables that matter to the program, where they are set. `PATH`, locale and
    /// `TMPDIR` are the tracer's business and not named here.
    pub environment: Vec<&'static str>,
    /// How the tool's closure is found: all of these together.
    pub probes: Vec<Probe>,
    /// For a compile: which files are included.
    pub includes: Option<IncludeSearch>,
    /// For a link that writes down which files it has read: where, and under which name.
    pub linked: Option<Linked>,
    /// Launchers that stand before the real command and are left out (`ccache gcc …`): the command to defer, if
    /// it is not the one that was asked.
    pub instead: Option<Invocation>,
    /// What the command that was asked says on standard output of its own accord, where the one in its place does not: whoever defers
    /// it says that, or lets it run.
    pub prints: Vec<u8>,
}

/// The dependency file of a link (`-Wl,--dependency-file=FILE`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// The file, an absolute path: one of the outputs.
    pub file: PathBuf,
    /// What the rule in it is for, as the linker is told to call it.
    pub target: PathBuf,
    /// The inputs of the command that the linker itself may read: not files with arguments, which nobody names there.
    pub inputs: BTreeSet<PathBuf>,
}

/// What a model makes of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Understood: may be deferred.
    Defer(Box<Plan>),
    /// The program is known, but not what this command does: it runs. The reason is one clause for a table, such
    /// as `output to standard output` or `option -wrapper`.
    Decline(String),
}

/// Why a command is not deferred, on the way to a [`Verdict::Decline`]: one clause for a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Decline(pub String);

impl Decline {
    /// `PATH does not exist`: the command will fail, and says so itself.
    #[must_use]
    pub fn missing(path: &Path) -> Decline {
        Decline(format!("{} does not exist", path.display()))
    }
}

impl From<Decline> for Verdict {
    fn from(Decline(reason): Decline) -> Verdict {
        Verdict::Decline(reason)
    }
}

/// Kind of command, for the table of `gg show`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Compiles, assembles or preprocesses sources.
    Compile,
    /// Links.
    Link,
    /// Makes or changes an archive.
    Archive,
    /// Runs an assembler directly.
    Assemble,
    /// Strips, copies or otherwise changes an object file.
    Object,
    /// Asks a tool about itself (`--version`, `-print-search-dirs`).
    Query,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Compile => "compile",
            Kind::Link => "link",
            Kind::Archive => "archive",
            Kind::Assemble => "assemble",
            Kind::Object => "object",
            Kind::Query => "query",
        })
    }
}
