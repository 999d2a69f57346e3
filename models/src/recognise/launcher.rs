// SPDX-License-Identifier: Apache-2.0
//! The compiler command behind `ccache gcc …`, `distcc gcc …`, and behind a link `gcc` to ccache.

use super::{Program, base_name};
use crate::elf::split_colons;
use crate::{Invocation, Question, World};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Launchers before launchers (`ccache distcc gcc`): more than this is a circle.
const MAX_LAUNCHERS: usize = 4;

/// The command that a launcher will run in the end: the compiler is what the launcher would find, and the arguments after it
/// are the same. `None` where the launcher was asked something itself (`ccache -s`), where it is told to do
/// something else than to run the compiler by its environment, or where there is no compiler to be found.
///
/// `look` tells what stands at an absolute path, when it is called by that path's name: `None` where there is no
/// program.
#[must_use]
pub fn strip_launcher(
    invocation: &Invocation,
    look: &dyn Fn(&Path) -> Option<Program>,
) -> Option<Invocation> {
    let mut current = invocation.clone();
    for _ in 0..MAX_LAUNCHERS {
        current = strip_one(&current, look)?;
        if look(&current.program)? != Program::Launcher {
            return Some(current);
        }
    }
    None
}

fn strip_one(invocation: &Invocation, look: &dyn Fn(&Path) -> Option<Program>) -> Option<Invocation> {
    // These name other compilers, other programs to run them with, or change the paths in their arguments.
    const REDIRECTIONS: [&str; 5] =
        ["CCACHE_BASEDIR", "CCACHE_COMPILER", "CCACHE_CC", "CCACHE_PREFIX", "CCACHE_PREFIX_CPP"];
    if REDIRECTIONS.iter().any(|name| invocation.var(name).is_some()) {
        return None;
    }
    let called = base_name(invocation.argv.first()?);
    let is_itself = is_launcher_name(called);
    let mut rest = invocation.argv.get(1..)?;
    let program = if is_itself {
        // ccache takes settings before the compiler: `ccache debug=true gcc …`.
        while called == b"ccache"
            && let Some(name) = rest.first().and_then(|arg| setting(arg))
        {
            if REDIRECTING.contains(&name) {
                return None;
            }
            rest = &rest[1..];
        }
        let (compiler, arguments) = rest.split_first()?;
        rest = arguments;
        if compiler.is_empty() || compiler.as_bytes().starts_with(b"-") {
            return None;
        }
        if compiler.as_bytes().contains(&b'/') {
            invocation.absolute(compiler)
        } else {
            on_path(invocation, compiler, look)?
        }
    } else {
        on_path(invocation, OsStr::from_bytes(called), look)?
    };
    let argv = std::iter::once(program.clone().into_os_string()).chain(rest.iter().cloned()).collect();
    Some(Invocation { program, argv, env: invocation.env.clone(), cwd: invocation.cwd.clone() })
}

/// The name of what an argument sets, if it is a setting.
fn setting(arg: &OsStr) -> Option<&str> {
    let (name, _) = arg.to_str()?.split_once('=')?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    is_name.then_some(name)
}

/// ccache's settings with which it runs another command than the one that it was given.
const REDIRECTING: [&str; 5] = ["base_dir", "compiler", "path", "prefix_command", "prefix_command_cpp"];

/// The setting of ccache's, from its configuration files, with which it runs another command than [`strip_launcher`] says: ccache is
/// asked. `None` where there is none, or where the launcher is another one.
#[must_use]
pub fn redirection(invocation: &Invocation, world: &dyn World) -> Option<String> {
    let called = base_name(invocation.argv.first()?);
    if is_launcher_name(called) && called != b"ccache" {
        return None;
    }
    let matters = |name: &OsStr| {
        name == "HOME" || [&b"CCACHE_"[..], b"XDG_"].iter().any(|p| name.as_bytes().starts_with(p))
    };
    let question = Question {
        program: invocation.program.clone(),
        // Under this name it is none of the compilers that it stands in for.
        argv: ["ccache", "-p"].map(OsString::from).to_vec(),
        env: invocation.env.of(matters),
        ..Question::default()
    };
    let answer = world.ask(&question).ok().filter(|answer| answer.code == 0)?;
    // `(/etc/ccache.conf) base_dir = /home`
    let settings = String::from_utf8_lossy(&answer.stdout);
    let is_set = |name: &&&str| {
        let value = |line: &str| Some(!line.split_once(&format!(") {name} = "))?.1.trim().is_empty());
        settings.lines().any(|line| value(line) == Some(true))
    };
    REDIRECTING.iter().find(is_set).map(|name| format!("ccache is configured with {name}"))
}

/// The own names of the launchers; under any other name they stand in for a compiler.
fn is_launcher_name(name: &[u8]) -> bool {
    matches!(name, b"ccache" | b"sccache" | b"distcc" | b"icecc")
}

/// The first program of that name on PATH that is not a launcher in a compiler's place.
fn on_path(
    invocation: &Invocation,
    name: &OsStr,
    look: &dyn Fn(&Path) -> Option<Program>,
) -> Option<PathBuf> {
    let path = invocation.var("CCACHE_PATH").or_else(|| invocation.var("PATH"))?;
    let dirs: Vec<OsString> = split_colons(path);
    let candidates = dirs.iter().map(|dir| invocation.absolute(dir).join(name));
    candidates.into_iter().find(|path| {
        look(path).is_some_and(|found| found != Program::Launcher || is_launcher_name(name.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Driver;
    use super::*;

    const GCC: Program = Program::Compiler(Driver::Gcc);

    fn look(path: &Path) -> Option<Program> {
        match path.to_str()? {
            "/usr/bin/gcc" | "/w/tools/gcc" => Some(GCC),
            "/usr/lib/ccache/gcc" | "/usr/bin/ccache" | "/usr/bin/distcc" => Some(Program::Launcher),
            _ => None,
        }
    }

    fn stripped(program: &str, argv: &[&str], env: &[(&str, &str)]) -> Option<(String, Vec<OsString>)> {
        let mut env: crate::Environment = env.iter().copied().collect();
        env.push("PATH", "/usr/lib/ccache:/usr/local/bin::/usr/bin");
        let argv = argv.iter().map(OsString::from).collect();
        let invocation = Invocation { program: program.into(), argv, env, cwd: "/w".into() };
        let found = strip_launcher(&invocation, &look)?;
        Some((found.program.to_str()?.to_owned(), found.argv))
    }

    fn compile(program: &str) -> Option<(String, Vec<OsString>)> {
        Some((program.to_owned(), [program, "-c", "x.c"].map(OsString::from).to_vec()))
    }

    #[test]
    fn a_compiler_after_its_launcher() {
        assert_eq!(
            stripped("/usr/bin/ccache", &["ccache", "gcc", "-c", "x.c"], &[]),
            compile("/usr/bin/gcc")
        );
        assert_eq!(
            stripped("/usr/bin/ccache", &["/usr/bin/ccache", "tools/gcc", "-c", "x.c"], &[]),
            compile("/w/tools/gcc")
        );
        assert_eq!(
            stripped("/usr/bin/ccache", &["ccache", "distcc", "gcc", "-c", "x.c"], &[]),
            compile("/usr/bin/gcc")
        );
        assert_eq!(
            stripped("/usr/bin/ccache", &["ccache", "debug=true", "gcc", "-c", "x.c"], &[]),
            compile("/usr/bin/gcc")
        );
        assert_eq!(stripped("/usr/bin/ccache", &["ccache", "base_dir=/w", "gcc", "-c", "x.c"], &[]), None);
    }

    #[test]
    fn a_link_to_the_launcher() {
        assert_eq!(stripped("/usr/lib/ccache/gcc", &["gcc", "-c", "x.c"], &[]), compile("/usr/bin/gcc"));
    }

    #[test]
    fn a_question_to_the_launcher_itself() {
        assert_eq!(stripped("/usr/bin/ccache", &["ccache", "-s"], &[]), None);
        assert_eq!(stripped("/usr/bin/ccache", &["ccache"], &[]), None);
        assert_eq!(stripped("/usr/lib/ccache/icc", &["icc", "-c", "x.c"], &[]), None);
        let prefix = [("CCACHE_PREFIX", "distcc")];
        assert_eq!(stripped("/usr/bin/ccache", &["ccache", "gcc", "-c", "x.c"], &prefix), None);
    }
}
