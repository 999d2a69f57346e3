// SPDX-License-Identifier: Apache-2.0
//! The thunk: one process run, described completely. Fields 1 to 7 are gg's, names and numbers; from 16 up ours.
//!
//! | field | meaning |
//! |---|---|
//! | 16 workdir | working directory, absolute; gg's thunks have none and run in an empty directory |
//! | 17 trees | values that hold directory trees ([`crate::Tree`]), shared between thunks: a toolchain |
//! | 18 program | absolute path at which the executable `function.hash` stands |
//! | 19 directories | directories that must exist, beside those of inputs and outputs |
//! | 20 umask | file mode creation mask, plus one (0: not given) |
//! | 21 optional_outputs | outputs that the command may or may not write |
//! | 22 learned | the inputs are those that the command had when other contents were in them: it may need others |
//! | 23 listed | directories that the command listed when it was recorded, where they really are |
//! | 24 makes_directories | when it was recorded, the command made directories |
//! | 25 moves | when it was recorded, it moved inputs |
//! | 26 executable_outputs | outputs that it left executable when it was recorded |
//! | 27 made | directories that it made where nothing was: they are not there before it, whatever is to be left in them |
//! | 28 made_links | symbolic links that it left: it makes the same again, or has failed |
//!
//! gg declares its strings as protobuf `string`; paths and arguments are bytes, which the wire does not tell apart, so
//! they are `bytes` here.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use prost::Message;

use crate::error::{Error, Result};
use crate::name::{ObjectKind, ObjectName};
use crate::path::{decode_path, encode_path, is_clean_absolute, is_clean_relative, to_path};
use crate::placeholder::OutputRef;

/// The first bytes of every thunk, as in gg.
pub const MAGIC: &[u8] = b"##GGTHUNK##";

/// The messages as they are on the wire.
mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Function {
        #[prost(bytes = "vec", tag = "1")]
        pub hash: Vec<u8>,
        #[prost(bytes = "vec", repeated, tag = "2")]
        pub args: Vec<Vec<u8>>,
        #[prost(bytes = "vec", repeated, tag = "3")]
        pub envars: Vec<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Link {
        #[prost(bytes = "vec", tag = "1")]
        pub name: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub target: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Thunk {
        #[prost(message, optional, tag = "1")]
        pub function: Option<Function>,
        #[prost(bytes = "vec", repeated, tag = "2")]
        pub values: Vec<Vec<u8>>,
        #[prost(bytes = "vec", repeated, tag = "3")]
        pub thunks: Vec<Vec<u8>>,
        #[prost(bytes = "vec", repeated, tag = "4")]
        pub executables: Vec<Vec<u8>>,
        #[prost(bytes = "vec", repeated, tag = "5")]
        pub outputs: Vec<Vec<u8>>,
        #[prost(uint32, tag = "6")]
        pub timeout: u32,
        #[prost(message, repeated, tag = "7")]
        pub links: Vec<Link>,
        #[prost(bytes = "vec", tag = "16")]
        pub workdir: Vec<u8>,
        #[prost(bytes = "vec", repeated, tag = "17")]
        pub trees: Vec<Vec<u8>>,
        #[prost(bytes = "vec", tag = "18")]
        pub program: Vec<u8>,
        #[prost(bytes = "vec", repeated, tag = "19")]
        pub directories: Vec<Vec<u8>>,
        #[prost(uint32, tag = "20")]
        pub umask: u32,
        #[prost(bytes = "vec", repeated, tag = "21")]
        pub optional_outputs: Vec<Vec<u8>>,
        #[prost(bool, tag = "22")]
        pub learned: bool,
        #[prost(bytes = "vec", repeated, tag = "23")]
        pub listed: Vec<Vec<u8>>,
        #[prost(bool, tag = "24")]
        pub makes_directories: bool,
        #[prost(bool, tag = "25")]
        pub moves: bool,
        #[prost(bytes = "vec", repeated, tag = "26")]
        pub executable_outputs: Vec<Vec<u8>>,
        #[prost(bytes = "vec", repeated, tag = "27")]
        pub made: Vec<Vec<u8>>,
        #[prost(message, repeated, tag = "28")]
        pub made_links: Vec<Link>,
    }
}

/// A file that is there before the command runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    /// Where it stands: absolute, or relative to the directory of a gg thunk. Empty in gg's thunks for what is found
    /// through `@{GGHASH:…}` only.
    pub path: PathBuf,
    /// Its content.
    pub value: ObjectName,
}

impl Input {
    /// The content of an input that a command is not given: it is there so that a directory which the command lists has all its names.
    /// A command that so much as looks at it does what nobody knows, and fails.
    pub const NAME_ONLY: &[u8] = b"##GGNAMEONLY##\n";

    /// Is it one that is not given?
    #[must_use]
    pub fn is_name_only(&self) -> bool {
        self.value.size() == Self::NAME_ONLY.len() as u64
            && self.value == ObjectName::of(ObjectKind::Value, Self::NAME_ONLY)
    }
}

/// An input that another thunk makes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ThunkInput {
    /// Where it stands.
    pub path: PathBuf,
    /// Which output of which thunk it is.
    pub from: OutputRef,
}

/// A symbolic link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Where it stands.
    pub path: PathBuf,
    /// What it says.
    pub target: PathBuf,
}

/// One process run. The lists are sorted, so that equal runs have equal names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thunk {
    /// The executable's content.
    pub function: Option<ObjectName>,
    /// Arguments, `argv[0]` included.
    pub args: Vec<OsString>,
    /// Environment, `NAME=VALUE`.
    pub env: Vec<OsString>,
    /// Plain input files.
    pub values: Vec<Input>,
    /// Executable input files.
    pub executables: Vec<Input>,
    /// Inputs made by other thunks.
    pub thunks: Vec<ThunkInput>,
    /// Files that the command writes; the first is the main one.
    pub outputs: Vec<PathBuf>,
    /// Files that it may write.
    pub optional_outputs: Vec<PathBuf>,
    /// Milliseconds after which the run is given up; 0 for never.
    pub timeout_ms: u32,
    /// Symbolic links among the inputs.
    pub links: Vec<Link>,
    /// Working directory.
    pub workdir: Option<PathBuf>,
    /// Directory trees among the inputs.
    pub trees: Vec<ObjectName>,
    /// Where the executable stands.
    pub program: Option<PathBuf>,
    /// Directories that must exist.
    pub directories: Vec<PathBuf>,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// Which inputs the command needs was learned from a run on others: whoever runs it sees whether these are enough.
    pub learned: bool,
    /// Directories that the command listed when it was recorded, where they really are: of others it is not known which names it needs.
    pub listed: Vec<PathBuf>,
    /// Did it make directories then?
    pub makes_directories: bool,
    /// Did it move inputs then?
    pub moves: bool,
    /// Outputs that could be executed then.
    pub executable_outputs: Vec<PathBuf>,
    /// Directories that it made then where nothing was.
    pub made: Vec<PathBuf>,
    /// Symbolic links that it left then. They are not there before it.
    pub made_links: Vec<Link>,
}

impl Thunk {
    /// The thunk as it is stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let bytes = |p: &Path| p.as_os_str().as_bytes().to_vec();
        let inputs =
            |list: &[Input]| list.iter().map(|i| item(&i.value.to_string(), &i.path)).collect::<Vec<_>>();
        let links = |list: &[Link]| {
            list.iter().map(|l| wire::Link { name: bytes(&l.path), target: bytes(&l.target) }).collect()
        };
        let message = wire::Thunk {
            function: self.function.map(|hash| wire::Function {
                hash: hash.to_string().into_bytes(),
                args: self.args.iter().map(|a| a.as_bytes().to_vec()).collect(),
                envars: self.env.iter().map(|a| a.as_bytes().to_vec()).collect(),
            }),
            values: inputs(&self.values),
            executables: inputs(&self.executables),
            thunks: self.thunks.iter().map(|t| item(&t.from.to_string(), &t.path)).collect(),
            outputs: self.outputs.iter().map(|p| bytes(p)).collect(),
            optional_outputs: self.optional_outputs.iter().map(|p| bytes(p)).collect(),
            timeout: self.timeout_ms,
            links: links(&self.links),
            workdir: self.workdir.as_deref().map(bytes).unwrap_or_default(),
            trees: self.trees.iter().map(|t| t.to_string().into_bytes()).collect(),
            program: self.program.as_deref().map(bytes).unwrap_or_default(),
            directories: self.directories.iter().map(|p| bytes(p)).collect(),
            umask: self.umask.map_or(0, |m| m + 1),
            learned: self.learned,
            listed: self.listed.iter().map(|p| bytes(p)).collect(),
            makes_directories: self.makes_directories,
            moves: self.moves,
            executable_outputs: self.executable_outputs.iter().map(|p| bytes(p)).collect(),
            made: self.made.iter().map(|p| bytes(p)).collect(),
            made_links: links(&self.made_links),
        };
        let mut out = Vec::with_capacity(MAGIC.len() + message.encoded_len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&message.encode_to_vec());
        out
    }

    /// The inverse of [`Thunk::encode`], also for thunks made by gg. `subject` names the thunk in errors.
    ///
    /// # Errors
    /// The bytes are no thunk, or one that nobody should run: paths that lead elsewhere than they say, no
    /// output, no argument.
    pub fn decode(subject: &str, content: &[u8]) -> Result<Self> {
        let bad = |why: String| Error::malformed(subject, "thunk", why);
        let body =
            content.strip_prefix(MAGIC).ok_or_else(|| bad("it does not start with ##GGTHUNK##".into()))?;
        let message = wire::Thunk::decode(body).map_err(|e| bad(e.to_string()))?;
        Self::check(message).map_err(bad)
    }

    fn check(message: wire::Thunk) -> Checked<Self> {
        let function = message.function.ok_or("it has no function")?;
        let workdir = optional_absolute("workdir", &message.workdir)?;
        let program = optional_absolute("program", &message.program)?;
        if workdir.is_some() != program.is_some() {
            return Err("workdir and program must be given together".into());
        }
        let paths = Paths { absolute: workdir.is_some() };
        let thunk = Self {
            function: Some(parse_name(&function.hash)?),
            args: function.args.into_iter().map(text).collect::<Checked<_>>()?,
            env: function.envars.into_iter().map(text).collect::<Checked<_>>()?,
            values: each(&message.values, |text| paths.input(text))?,
            executables: each(&message.executables, |text| paths.input(text))?,
            thunks: each(&message.thunks, |text| paths.thunk_input(text))?,
            outputs: each(&message.outputs, |path| paths.path("output", path))?,
            optional_outputs: each(&message.optional_outputs, |path| paths.path("output", path))?,
            timeout_ms: message.timeout,
            links: each(&message.links, |link| paths.link(link))?,
            workdir,
            trees: each(&message.trees, |name| parse_name(name))?,
            program,
            directories: each(&message.directories, |path| paths.directory(path))?,
            umask: parse_umask(message.umask)?,
            learned: message.learned,
            listed: each(&message.listed, |path| paths.directory(path))?,
            makes_directories: message.makes_directories,
            moves: message.moves,
            executable_outputs: each(&message.executable_outputs, |path| paths.path("output", path))?,
            made: each(&message.made, |path| paths.directory(path))?,
            made_links: each(&message.made_links, |link| paths.link(link))?,
        };
        if thunk.args.is_empty() {
            return Err("it has no argument, not even argv[0]".into());
        }
        if thunk.outputs.is_empty() {
            return Err("it has no output".into());
        }
        Ok(thunk)
    }

    /// Puts the lists that are sets into the order in which equal ones are equal bytes.
    pub fn canonicalise(&mut self) {
        fn set<T: Ord>(list: &mut Vec<T>) {
            list.sort_unstable();
            list.dedup();
        }
        set(&mut self.values);
        set(&mut self.executables);
        set(&mut self.thunks);
        set(&mut self.links);
        set(&mut self.trees);
        set(&mut self.directories);
        set(&mut self.listed);
        set(&mut self.executable_outputs);
        set(&mut self.made);
        set(&mut self.made_links);
        set(&mut self.env);
    }

    /// The symbolic link that it leaves there, if it does.
    #[must_use]
    pub fn made_link(&self, path: &Path) -> Option<&Link> {
        self.made_links.iter().find(|link| link.path == path)
    }

    /// Name and stored form.
    #[must_use]
    pub fn name(&self) -> ObjectName {
        ObjectName::of(ObjectKind::Thunk, &self.encode())
    }
}

/// Name and value of `NAME=VALUE`, as environments and [`Thunk::env`] have it.
#[must_use]
pub fn split_variable(text: &OsStr) -> (OsString, OsString) {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|&b| b == b'=').unwrap_or(bytes.len());
    let value = bytes.get(at + 1..).unwrap_or_default();
    (OsStr::from_bytes(&bytes[..at]).into(), OsStr::from_bytes(value).into())
}

/// Replaces gg's `@{GGHASH:NAME}` in an argument by what `path_of` gives for NAME.
///
/// # Errors
/// NAME is not an object name, or `path_of` fails.
pub fn substitute(
    argument: &OsStr,
    path_of: &mut dyn FnMut(ObjectName) -> Result<PathBuf>,
) -> Result<OsString> {
    const START: &[u8] = b"@{GGHASH:";
    let mut out = Vec::new();
    let mut rest = argument.as_bytes();
    while let Some(at) = rest.windows(START.len()).position(|w| w == START) {
        out.extend_from_slice(&rest[..at]);
        let tail = &rest[at + START.len()..];
        let Some(end) = tail.iter().position(|&b| b == b'}') else {
            out.extend_from_slice(&rest[at..]);
            return Ok(OsString::from_vec(out));
        };
        let name = tail[..end].split(|&b| b == b'#').next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).parse()?;
        out.extend_from_slice(path_of(name)?.as_os_str().as_bytes());
        rest = &tail[end + 1..];
    }
    out.extend_from_slice(rest);
    Ok(OsString::from_vec(out))
}

fn item(name: &str, path: &Path) -> Vec<u8> {
    let mut out = name.as_bytes().to_vec();
    if !path.as_os_str().is_empty() {
        out.push(b'=');
        out.extend_from_slice(path.as_os_str().as_bytes());
    }
    out
}

/// A part of a message as it is understood, or why it is not.
type Checked<T> = std::result::Result<T, String>;

fn each<T, U>(list: &[T], check: impl Fn(&T) -> Checked<U>) -> Checked<Vec<U>> {
    list.iter().map(check).collect()
}

/// Which paths a thunk may have: absolute ones, or those of gg's own thunks, which have neither workdir nor program, and name
/// their files relative to a directory made for them.
struct Paths {
    absolute: bool,
}

impl Paths {
    fn path(&self, what: &str, bytes: &[u8]) -> Checked<PathBuf> {
        let clean =
            if self.absolute { is_clean_absolute(bytes) && bytes != b"/" } else { is_clean_relative(bytes) };
        if clean { Ok(to_path(bytes)) } else { Err(unclean(what, bytes)) }
    }

    /// Where an input stands; in gg's thunks it need not stand anywhere.
    fn input_path(&self, input: &dyn std::fmt::Display, path: Option<&[u8]>) -> Checked<PathBuf> {
        match path {
            Some(path) => self.path("input", path),
            None if self.absolute => Err(format!("input {input} has no path")),
            None => Ok(PathBuf::new()),
        }
    }

    fn input(&self, text: &[u8]) -> Checked<Input> {
        let (value, path) = match ObjectName::split_prefix(text, b'=') {
            Some((value, path)) => (value, Some(path)),
            None => (parse_name(text)?, None),
        };
        if value.kind() != ObjectKind::Value {
            return Err(format!("{value} stands among the values"));
        }
        Ok(Input { path: self.input_path(&value, path)?, value })
    }

    fn thunk_input(&self, text: &[u8]) -> Checked<ThunkInput> {
        let split = text.iter().position(|&b| b == b'=').unwrap_or(text.len());
        let from = OutputRef::parse(&text[..split])
            .ok_or_else(|| format!("\"{}\" is no output of a thunk", text.escape_ascii()))?;
        Ok(ThunkInput { path: self.input_path(&from, text.get(split + 1..))?, from })
    }

    fn link(&self, link: &wire::Link) -> Checked<Link> {
        if link.target.is_empty() || link.target.contains(&0) || link.target.len() >= 4096 {
            return Err(unclean("link target", &link.target));
        }
        Ok(Link { path: self.path("link", &link.name)?, target: to_path(&link.target) })
    }

    fn directory(&self, bytes: &[u8]) -> Checked<PathBuf> {
        if bytes == b"/" { Ok(PathBuf::from("/")) } else { self.path("directory", bytes) }
    }
}

/// It is stored plus one; 0 is none.
fn parse_umask(stored: u32) -> Checked<Option<u32>> {
    match stored {
        0 => Ok(None),
        m if m <= 0o1000 => Ok(Some(m - 1)),
        m => Err(format!("umask {m:#o}")),
    }
}

fn unclean(what: &str, bytes: &[u8]) -> String {
    format!("{what} path \"{}\" is not allowed", bytes[..bytes.len().min(200)].escape_ascii())
}

fn optional_absolute(what: &str, bytes: &[u8]) -> Checked<Option<PathBuf>> {
    match bytes {
        b"" => Ok(None),
        _ if is_clean_absolute(bytes) => Ok(Some(to_path(bytes))),
        _ => Err(unclean(what, bytes)),
    }
}

fn parse_name(bytes: &[u8]) -> Checked<ObjectName> {
    String::from_utf8_lossy(bytes).parse().map_err(|e: Error| e.to_string())
}

fn text(bytes: Vec<u8>) -> Checked<OsString> {
    if bytes.contains(&0) {
        return Err("an argument or environment string holds a NUL byte".into());
    }
    Ok(OsString::from_vec(bytes))
}

impl OutputRef {
    /// Parses `THASH`, or `THASH#output` with the output encoded as [`encode_path`] does.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (thunk, output) = match text.iter().position(|&b| b == b'#') {
            Some(at) => (&text[..at], Some(decode_path(&text[at + 1..])?)),
            None => (text, None),
        };
        let thunk: ObjectName = std::str::from_utf8(thunk).ok()?.parse().ok()?;
        (thunk.kind() == ObjectKind::Thunk).then_some(Self { thunk, output })
    }
}

impl std::fmt::Display for OutputRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.output {
            Some(output) => write!(f, "{}#{}", self.thunk, encode_path(output)),
            None => write!(f, "{}", self.thunk),
        }
    }
}

#[cfg(test)]
mod tests;
