// SPDX-License-Identifier: Apache-2.0
//! What a program is, from its content and its names, and how the kernel will execute it.
//!
//! Tools are told by texts that only they contain, so that `/opt/x/bin/mycc`, a copy of gcc, is a compiler, and a script named
//! `gcc` is none. The name decides only between programs of the same content: `ar` and `ranlib`, `strip` and
//! `objcopy`, the applets of LLVM and busybox. What is not certain is [`Program::Other`]: it runs, observed.
//!
//! Knows no process: the caller resolves links, and remembers the answers by the identity of the file.

mod launcher;

pub use launcher::{redirection, strip_launcher};

use crate::elf::{ElfFacts, ElfKind, Target};
use crate::plan::Invocation;
use memchr::memmem;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a program is to the models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// A compiler driver: not `cc1`, `collect2` or `lto-wrapper`.
    Compiler(Driver),
    /// Makes archives: GNU `ar`.
    Ar(Flavour),
    /// Writes the index of an archive.
    Ranlib(Flavour),
    /// A linker.
    Ld(Flavour),
    /// GNU as.
    As,
    /// Strips object files.
    Strip(Flavour),
    /// Copies and changes object files.
    Objcopy(Flavour),
    /// Runs the compiler that follows it, or the next one of its own name on PATH: see [`strip_launcher`].
    Launcher,
    /// Moves or names files, or never looks at their content: `cp`, `mv`, `ln`, `install`, `touch`, `rm`, …
    Carrier,
    /// One of these, and certainly `mv` of GNU coreutils.
    Mover,
    /// `rm` of GNU coreutils.
    Remover,
    /// Runs the commands of a build.
    Builder(Builder),
    /// A shell.
    Shell,
    /// The libtool script, under any name.
    Libtool,
    /// `cmake`, `ctest`, `cpack`.
    CMake,
    /// busybox under its own name: the applet is its first argument. Ask again, with that as the name.
    Busybox,
    /// Anything else.
    Other,
}

/// Changes when the rules do by which programs are recognised: what is remembered of other rules is worth nothing.
pub const RULES: u64 =
    fnv(fnv(0xcbf2_9ce4_8422_2325, include_bytes!("recognise.rs")), include_bytes!("elf.rs"));

/// 64-bit FNV-1a (draft-eastlake-fnv), of what came before and these bytes.
const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

impl Program {
    /// All there are, at their numbers.
    const ALL: [Self; 32] = [
        Self::Other,
        Self::Compiler(Driver::Gcc),
        Self::Compiler(Driver::Gxx),
        Self::Compiler(Driver::Gcpp),
        Self::Compiler(Driver::GccOther),
        Self::Compiler(Driver::Clang),
        Self::Ar(Flavour::Gnu),
        Self::Ar(Flavour::GccWrapper),
        Self::Ar(Flavour::Llvm),
        Self::Ranlib(Flavour::Gnu),
        Self::Ranlib(Flavour::GccWrapper),
        Self::Ranlib(Flavour::Llvm),
        Self::Ld(Flavour::Gnu),
        Self::Ld(Flavour::Gold),
        Self::Ld(Flavour::Llvm),
        Self::As,
        Self::Strip(Flavour::Gnu),
        Self::Strip(Flavour::Llvm),
        Self::Objcopy(Flavour::Gnu),
        Self::Objcopy(Flavour::Llvm),
        Self::Launcher,
        Self::Carrier,
        Self::Builder(Builder::Make),
        Self::Builder(Builder::Ninja),
        Self::Builder(Builder::Samurai),
        Self::Shell,
        Self::Libtool,
        Self::CMake,
        Self::Busybox,
        Self::Mover,
        Self::Remover,
        Self::Builder(Builder::Bmake),
    ];

    /// Does it move or name files, or never look at their content?
    #[must_use]
    pub fn is_carrier(self) -> bool {
        matches!(self, Self::Carrier | Self::Mover | Self::Remover)
    }

    /// Its number, by which it is remembered together with [`RULES`].
    #[must_use]
    pub fn number(self) -> Option<u8> {
        Self::ALL.iter().position(|known| *known == self).and_then(|at| u8::try_from(at).ok())
    }

    /// The inverse of [`Program::number`].
    #[must_use]
    pub fn numbered(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// Which compiler driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Driver {
    /// `gcc`, under any name: C unless the name of a source says otherwise.
    Gcc,
    /// `g++`: C++, also for `.c`.
    Gxx,
    /// `cpp`: only preprocesses.
    Gcpp,
    /// A gcc driver for another language (`gfortran`, `gdc`, `gm2`).
    GccOther,
    /// `clang`; whether it is `clang++` or `clang-cpp` it tells by `argv[0]`.
    Clang,
}

/// Whose tool it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// GNU binutils; for a linker, `ld.bfd`.
    Gnu,
    /// GNU gold.
    Gold,
    /// `gcc-ar`, `gcc-ranlib`: find the tool and give it the plugin of their compiler.
    GccWrapper,
    /// LLVM's, which work much like GNU's; for a linker, lld.
    Llvm,
}

/// Which build tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Builder {
    /// GNU make.
    Make,
    /// BSD make: `bmake`.
    Bmake,
    /// ninja.
    Ninja,
    /// samurai, a ninja in C.
    Samurai,
}

/// How the kernel executes a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executable {
    /// A program with an interpreter (`ld.so`): a preloaded library reaches it.
    Dynamic {
        /// The interpreter, as written.
        interpreter: PathBuf,
    },
    /// One that ends if any library is loaded before a certain one: see [`wants_to_be_first`].
    Jealous {
        /// The interpreter, as written.
        interpreter: PathBuf,
    },
    /// A program without interpreter.
    Static,
    /// A text that begins with `#!`.
    Script {
        /// The program that reads it, as written.
        interpreter: PathBuf,
        /// The one argument that may follow.
        argument: Option<OsString>,
    },
    /// An ELF program of another class or machine than this one's: a library of ours does not fit.
    Foreign,
    /// None of these: `exec` fails, or a shell tries it as a script.
    NotExecutable,
}

/// Tells how the kernel will execute a file of this content.
#[must_use]
pub fn executable(content: &[u8]) -> Executable {
    if let Some(line) = content.strip_prefix(b"#!") {
        return script_head(line);
    }
    let Some(facts) = ElfFacts::read(content) else { return Executable::NotExecutable };
    match facts.kind {
        ElfKind::Object | ElfKind::Other => Executable::NotExecutable,
        _ if facts.target != Target::host() => Executable::Foreign,
        // libc.so.6 and ld.so can be executed as well.
        ElfKind::Program | ElfKind::Shared => match facts.interpreter {
            Some(interpreter) => Executable::Dynamic { interpreter: interpreter.into() },
            None => Executable::Static,
        },
    }
}

/// Does a program with this content need a library that ends it where another one was loaded before? The runtime of
/// AddressSanitizer does so, which is told by the names by which it tells itself.
#[must_use]
pub fn wants_to_be_first(facts: &ElfFacts) -> bool {
    let is_one = |name: &OsString| {
        let name = name.as_bytes();
        [&b"libasan.so"[..], b"libclang_rt.asan"].iter().any(|own| name.starts_with(own))
    };
    facts.needed.iter().any(is_one)
}

/// Does a program that is started so only print which libraries are loaded for it, as `ldd` has it do? The variable counts for the
/// loader whatever its value is; the option is that of the loader itself, which has no interpreter.
#[must_use]
pub fn lists_what_it_loads(executable: &Executable, invocation: &Invocation) -> bool {
    let mut options =
        invocation.argv.iter().skip(1).take_while(|argument| argument.as_bytes().starts_with(b"--"));
    invocation.var("LD_TRACE_LOADED_OBJECTS").is_some()
        || *executable == Executable::Static && options.any(|option| option == "--list")
}

/// What follows `#!`, as the kernel takes it apart: within its 256 bytes, the rest of the line is one argument.
fn script_head(line: &[u8]) -> Executable {
    /// `BINPRM_BUF_SIZE`, less the `#!`.
    const LIMIT: usize = 254;
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let line = &line[..line.len().min(LIMIT)];
    let line = line.split(|b| *b == b'\n' || *b == 0).next().unwrap_or_default();
    let start = line.iter().take_while(|b| blank(b)).count();
    let stop = line.iter().rev().take_while(|b| blank(b)).count();
    let Some(line) = line.get(start..line.len() - stop).filter(|line| !line.is_empty()) else {
        return Executable::NotExecutable;
    };
    let end = line.iter().position(blank).unwrap_or(line.len());
    let argument = line[end..].iter().position(|b| !blank(b)).map(|at| &line[end + at..]);
    Executable::Script {
        interpreter: PathBuf::from(OsStr::from_bytes(&line[..end])),
        argument: argument.map(|a| OsStr::from_bytes(a).to_os_string()),
    }
}

/// Tells what the program at `real` (links resolved) is when it is executed with `called` as `argv[0]`. `content` gives
/// the file's bytes.
///
/// # Errors
/// What `content` gives.
pub fn recognise(
    called: &OsStr,
    real: &Path,
    content: &dyn Fn() -> io::Result<Arc<Vec<u8>>>,
) -> io::Result<Program> {
    let bytes = content()?;
    let called = stem(base_name(called));
    let own = stem(real.file_name().unwrap_or_default().as_bytes());
    Ok(if bytes.starts_with(b"#!") { of_script(&bytes) } else { of_binary(&bytes, called, own) })
}

/// The last component of a path. `argv[0]` of a login shell begins with a dash.
fn base_name(path: &OsStr) -> &[u8] {
    let name = path.as_bytes().rsplit(|&b| b == b'/').next().unwrap_or_default();
    name.strip_prefix(b"-").unwrap_or(name)
}

/// The name of a tool without the version at its end: `gcc-12` and `llvm-ar-14.0` → `gcc`, `llvm-ar`.
fn stem(name: &[u8]) -> &[u8] {
    let digits = |b: &u8| b.is_ascii_digit() || *b == b'.';
    match name.iter().rposition(|b| !digits(b)) {
        Some(at) if name[at] == b'-' && at > 0 && at + 1 < name.len() => &name[..at],
        _ => name,
    }
}

/// Is `name` the tool, perhaps with a target before it (`x86_64-linux-gnu-ar`)?
fn is_named(name: &[u8], tool: &[u8]) -> bool {
    name.strip_suffix(tool).is_some_and(|before| before.is_empty() || before.ends_with(b"-"))
}

fn of_script(bytes: &[u8]) -> Program {
    let head = &bytes[..bytes.len().min(4096)];
    let has = |text: &str| memmem::find(head, text.as_bytes()).is_some();
    // A program that libtool linked may be a script as well, which says so.
    if has("temporary wrapper script for") {
        Program::Other
    } else if has("Provide generalized library-building support services")
        || has("\n# libtool (GNU libtool) ")
    {
        // The first is on one line with the name until 2.4.2, on a line of its own since.
        Program::Libtool
    } else {
        Program::Other
    }
}

fn of_binary(bytes: &[u8], called: &[u8], own: &[u8]) -> Program {
    if ElfFacts::read(bytes).is_none() {
        return Program::Other;
    }
    let has = |text: &str| memmem::find(bytes, text.as_bytes()).is_some();
    // What makes the most commands is first; each search reads the whole program once.
    if CARRIERS.contains(&own) && has("coreutils") {
        // Another one of them, as `true`, may have been put under their names.
        return match own {
            b"mv" if has("Rename SOURCE to DEST, or move") => Program::Mover,
            b"rm" if has("Remove (unlink) the FILE(s).") => Program::Remover,
            _ => Program::Carrier,
        };
    }
    if SHELLS.contains(&own) && has("OLDPWD") {
        return Program::Shell;
    }
    // All of coreutils in one program: GNU's where it was configured so, and the one in Rust.
    if has("BusyBox v") || own == b"coreutils" && (has("GNU coreutils") || has("(uutils coreutils)")) {
        return of_applet(called);
    }
    if has("COLLECT_GCC_OPTI") && has("%(invoke_as)") && has("collect2") && !own.ends_with(b"gdb") {
        return Program::Compiler(gcc_driver(&has));
    }
    if has("unknown integrated tool '") && has("-cc1as") {
        return Program::Compiler(Driver::Clang);
    }
    if has("GNU assembler version") {
        return Program::As;
    }
    if has("GNU ld %s") && has("using internal linker script:") {
        return Program::Ld(Flavour::Gnu);
    }
    // dwp shares most of its code with gold.
    if has("GNU gold (") && has("dynamic_linker") && !has("Set output dwp file name") {
        return Program::Ld(Flavour::Gold);
    }
    of_archiver(called, own, &has)
        .or_else(|| of_object_tool(called, own, &has))
        .or_else(|| of_builder(own, &has))
        .unwrap_or(Program::Other)
}

/// A driver contains the file name of its language's part, for its internal errors.
fn gcc_driver(has: &dyn Fn(&str) -> bool) -> Driver {
    if has("g++spec.c") {
        Driver::Gxx
    } else if has("is not a valid option to the preprocessor") {
        Driver::Gcpp
    } else if [
        "libgfortran.spec",
        "gfortranspec.c",
        "libgphobos.spec",
        "d-spec.c",
        "gm2spec.c",
        "gospec.c",
        "rustspec.c",
        "algol68spec.c",
    ]
    .iter()
    .any(|s| has(s))
    {
        Driver::GccOther
    } else {
        Driver::Gcc
    }
}

fn of_archiver(called: &[u8], own: &[u8], has: &dyn Fn(&str) -> bool) -> Option<Program> {
    let flavour = if has("{dmpqrstx}[") {
        Flavour::Gnu
    } else if has("no archive map to update") && has("Generate an index to speed access to archives") {
        // Since 2.47 each of the two has its own half of their source only.
        return Some(Program::Ranlib(Flavour::Gnu));
    } else if has("not ranlib, ar, lib or dlltool") {
        // One program for all, told by the name that it is called by.
        return match () {
            () if is_named(called, b"llvm-ranlib") || called == b"ranlib" => {
                Some(Program::Ranlib(Flavour::Llvm))
            }
            () if is_named(called, b"llvm-ar") || called == b"ar" => Some(Program::Ar(Flavour::Llvm)),
            () => None,
        };
    } else if has("liblto_plugin.so") && has("%s: Cannot find binary '%s'") {
        Flavour::GccWrapper
    } else {
        return None;
    };
    if own.ends_with(b"ranlib") {
        Some(Program::Ranlib(flavour))
    } else if own.ends_with(b"ar") {
        Some(Program::Ar(flavour))
    } else {
        None
    }
}

fn of_object_tool(called: &[u8], own: &[u8], has: &dyn Fn(&str) -> bool) -> Option<Program> {
    let (flavour, name) =
        if has("llvm-strip, compatible with GNU strip") || has("llvm-objcopy, compatible with GNU") {
            (Flavour::Llvm, called)
        } else if has("--add-gnu-debuglink ignored for archive") {
            (Flavour::Gnu, own)
        } else if (own.ends_with(b"lld") || is_named(own, b"ld.lld")) && has("LLD ") {
            return Some(Program::Ld(Flavour::Llvm));
        } else {
            return None;
        };
    if name.ends_with(b"strip") && !name.ends_with(b"bitcode-strip") {
        Some(Program::Strip(flavour))
    } else if name.ends_with(b"objcopy") {
        Some(Program::Objcopy(flavour))
    } else {
        None
    }
}

fn of_builder(own: &[u8], has: &dyn Fn(&str) -> bool) -> Option<Program> {
    if own.ends_with(b"ccache") && has("CCACHE_")
        || own == b"distcc" && has("DISTCC_")
        || own == b"icecc" && has("ICECC_")
    {
        Some(Program::Launcher)
    } else if has("GNU Make") && has("MAKELEVEL") {
        Some(Program::Builder(Builder::Make))
    } else if has(".MAKE.JOB.PREFIX") && has(".MAKE.LEVEL") {
        Some(Program::Builder(Builder::Bmake))
    } else if has("build.ninja") && has("NINJA_STATUS") && has("no work to do") {
        Some(Program::Builder(if has("SAMUFLAGS") { Builder::Samurai } else { Builder::Ninja }))
    } else if matches!(own, b"cmake" | b"ctest" | b"cpack") && has("cmake version ") {
        Some(Program::CMake)
    } else {
        None
    }
}

fn of_applet(called: &[u8]) -> Program {
    match called {
        b"busybox" => Program::Busybox,
        name if CARRIERS.contains(&name) => Program::Carrier,
        name if SHELLS.contains(&name) => Program::Shell,
        _ => Program::Other,
    }
}

/// Programs of coreutils and busybox that never look at the content of a file: they copy, move, name, count or
/// remove it, or say something that has nothing to do with files.
const CARRIERS: &[&[u8]] = &[
    b"[",
    b"basename",
    b"chgrp",
    b"chmod",
    b"chown",
    b"cp",
    b"date",
    b"dirname",
    b"echo",
    b"expr",
    b"false",
    b"hostname",
    b"id",
    b"install",
    b"link",
    b"ln",
    b"logname",
    b"mkdir",
    b"mkfifo",
    b"mknod",
    b"mktemp",
    b"mv",
    b"nproc",
    b"pathchk",
    b"printenv",
    b"printf",
    b"pwd",
    b"readlink",
    b"realpath",
    b"rm",
    b"rmdir",
    b"seq",
    b"sleep",
    b"sync",
    b"test",
    b"touch",
    b"true",
    b"tty",
    b"uname",
    b"unlink",
    b"whoami",
];

const SHELLS: &[&[u8]] = &[
    b"ash", b"bash", b"dash", b"hush", b"ksh", b"ksh93", b"mksh", b"posh", b"rbash", b"sh", b"yash", b"zsh",
];

#[cfg(test)]
mod tests;
