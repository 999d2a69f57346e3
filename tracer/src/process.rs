// SPDX-License-Identifier: Apache-2.0
//! What `/proc` tells of a process that is held still, or has not ended yet. Knows nothing of commands but the number in
//! the session's variable.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use models::Invocation;
use observe::Pid;
use wire::FdIdentity;

use crate::request::{Exec, split_variable};

/// The process that started this one.
pub fn parent_of(pid: Pid) -> Option<Pid> {
    status_field(pid, "PPid:")?.parse().ok().filter(|&parent| parent > 0)
}

/// The command in the session's variable of the program that the process executed last.
pub fn command_of(pid: Pid) -> Option<u32> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let session = environ.split(|&b| b == 0).find_map(|variable| {
        variable.strip_prefix(wire::SESSION_VARIABLE.as_bytes())?.strip_prefix(b"=")
    })?;
    command_in(OsStr::from_bytes(session))
}

/// The command in a value of the session's variable.
pub fn command_in(session: &OsStr) -> Option<u32> {
    let number = session.as_bytes().split(|&b| b == b':').next()?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// What a process has executed that has not run an instruction of its new program yet. `program` is what it asked for, as it
/// named it.
pub fn executed(pid: Pid, program: &Path) -> Option<Exec> {
    let strings = |name: &str| {
        let mut bytes = fs::read(format!("/proc/{pid}/{name}")).ok()?;
        // Ends every string with a NUL, the last one too.
        bytes.pop();
        Some(bytes)
    };
    let mut argv: Vec<OsString> =
        strings("cmdline")?.split(|&b| b == 0).map(|a| OsString::from_vec(a.to_vec())).collect();
    let program = crate::request::clean(program);
    // Of a script the kernel has put the interpreter, and perhaps an argument for it, before the name of the script.
    if is_script(&program)
        && let Some(at) = argv.iter().skip(1).take(2).position(|a| Path::new(a) == program || is_named(a, &program))
    {
        argv.drain(..=at);
    }
    let environ = strings("environ")?;
    let env = environ.split(|&b| b == 0).filter(|v| !v.is_empty()).map(|v| split_variable(OsStr::from_bytes(v)));
    Some(Exec {
        pid: pid.cast_unsigned(),
        parent: 0,
        spawned: false,
        invocation: Invocation {
            program,
            argv,
            env: env.collect(),
            cwd: fs::read_link(format!("/proc/{pid}/cwd")).ok()?,
        },
        umask: umask_of(pid)?,
        fds: Some([0, 1, 2].map(|fd| identity(&format!("/proc/{pid}/fd/{fd}")))),
    })
}

fn is_script(program: &Path) -> bool {
    use std::io::Read as _;
    let mut head = [0; 2];
    fs::File::open(program).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == *b"#!"
}

/// Does the argument end as the path does? It may have been named relative to a directory.
fn is_named(argument: &OsStr, program: &Path) -> bool {
    !argument.is_empty() && Path::new(argument).file_name() == program.file_name()
}

/// The file mode creation mask of a process.
pub fn umask_of(pid: Pid) -> Option<u32> {
    u32::from_str_radix(&status_field(pid, "Umask:")?, 8).ok()
}

fn status_field(pid: Pid, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

/// What a link of `/proc/PID/fd` leads to; zeros where it is closed.
pub fn identity(link: &str) -> FdIdentity {
    fs::metadata(link).map_or_else(
        |_| FdIdentity::default(),
        |m| FdIdentity {
            dev: m.dev(),
            ino: m.ino(),
            rdev: m.rdev(),
            mode: m.mode(),
            nlink: m.nlink() as u32,
        },
    )
}

/// Where the descriptors of a process lead, from 0 on, as `/proc` shows it.
pub fn descriptors(pid: Pid) -> Vec<String> {
    let mut numbers: Vec<u32> = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    // One far above the others is not worth a list that long.
    numbers.retain(|&number| number < 64);
    let Some(&last) = numbers.last() else { return Vec::new() };
    let link = |fd: u32| fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok();
    (0..=last).map(|fd| link(fd).map_or_else(String::new, |path| shown(&path))).collect()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

