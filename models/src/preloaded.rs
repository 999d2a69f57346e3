// SPDX-License-Identifier: Apache-2.0
//! Libraries that the loader puts before all others, beside ours: what a command does may be theirs, as where `mold -run`
//! has every linker replaced, or `faketime` tells another time. Knows the list and the files, not who loads them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use goblin::elf::Elf;

use crate::{Decline, Invocation, Node, World};

/// Functions by which a command starts programs, is told the time, or goes about paths. Who has these in place of the C
/// library's decides what the command is. Not here: what concerns owners (`fakeroot`), memory, and how well files are
/// kept (`eatmydata`, which opens them too, but whichever are asked for).
const DECIDES: [&str; 23] = [
    "access",
    "clock_gettime",
    "execl",
    "execle",
    "execlp",
    "execv",
    "execve",
    "execveat",
    "execvp",
    "execvpe",
    "faccessat",
    "fexecve",
    "getcwd",
    "gettimeofday",
    "opendir",
    "popen",
    "posix_spawn",
    "posix_spawnp",
    "readlink",
    "realpath",
    "syscall",
    "system",
    "time",
];

/// May the command be taken for what its command line says, though these are loaded into it first? `own` is our
/// library.
///
/// # Errors
/// The library that decides about it, or one of which nobody can tell.
pub fn check(own: &Path, invocation: &Invocation, world: &dyn World) -> Result<(), Decline> {
    let Some(list) = invocation.var("LD_PRELOAD") else { return Ok(()) };
    let names = list.as_bytes().split(|byte| b": ".contains(byte)).map(OsStr::from_bytes);
    for name in names.filter(|name| !name.is_empty() && *name != own) {
        let content = library(name, invocation, world).and_then(|path| world.read(&path).ok());
        let library = content.as_ref().and_then(|content| Elf::parse(content).ok());
        let Some(library) = library else {
            return Err(Decline(format!("{} is loaded into it first", Path::new(name).display())));
        };
        let defined = library.dynsyms.iter().filter(|symbol| !symbol.is_import());
        let mut names = defined.filter_map(|symbol| library.dynstrtab.get_at(symbol.st_name));
        if let Some(function) = names.find(|name| DECIDES.contains(name)) {
            let name = Path::new(name).display();
            return Err(Decline(format!("{name} is loaded into it first and has its own {function}")));
        }
    }
    Ok(())
}

/// The file that the loader takes, if that can be told.
fn library(name: &OsStr, invocation: &Invocation, world: &dyn World) -> Option<PathBuf> {
    let is_there = |path: &PathBuf| world.node(path) == Some(Node::File);
    if name.as_bytes().contains(&b'/') {
        return Some(invocation.absolute(name)).filter(is_there);
    }
    let dirs = invocation.var("LD_LIBRARY_PATH").map_or(&b""[..], |list| list.as_bytes());
    let dirs = dirs.split(|byte| b":;".contains(byte)).map(OsStr::from_bytes);
    dirs.map(|dir| invocation.absolute(dir).join(name)).find(is_there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Disk;
    use std::process::Command;

    #[test]
    fn what_has_a_function_that_decides() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(dir.path().join("x.c"), text).unwrap();
            let mut gcc = Command::new("gcc");
            gcc.args(["-shared", "-fPIC", "-w", "-o"]).arg(&path).arg(dir.path().join("x.c"));
            assert!(gcc.status().unwrap().success());
            path.display().to_string()
        };
        let harmless = make("harmless.so", "int fsync(int fd) { return execv(\"x\", 0); }");
        let exec = make("exec.so", "int execve(void) { return 0; }");
        let time = make("time.so", "long time(long *at) { return 0; }");
        let reason = |preload: &str, libraries: &str| {
            let env = [("LD_PRELOAD", preload), ("LD_LIBRARY_PATH", libraries)].into_iter().collect();
            let invocation = Invocation { cwd: dir.path().into(), env, ..Invocation::default() };
            check(Path::new("/own.so"), &invocation, &Disk::default()).err().map(|reason| reason.0)
        };
        let says = |reason: Option<String>, text: &str| {
            assert!(reason.as_ref().is_some_and(|r| r.contains(text)), "{reason:?}");
        };
        assert_eq!(reason("/own.so", ""), None);
        assert_eq!(reason(&format!("/own.so:{harmless}"), ""), None);
        assert_eq!(reason("./harmless.so /own.so", ""), None);
        assert_eq!(reason("harmless.so", &format!("/nothing:{}", dir.path().display())), None);
        says(
            reason(&format!("{harmless}:{exec}:/own.so"), ""),
            "exec.so is loaded into it first and has its own execve",
        );
        says(reason(&time, ""), "has its own time");
        says(reason("harmless.so", "/nothing"), "harmless.so is loaded into it first");
        says(reason("/no/$LIB/such.so", ""), "such.so is loaded into it first");
    }
}
