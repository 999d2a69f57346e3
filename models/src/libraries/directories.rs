// SPDX-License-Identifier: Apache-2.0
//! Directories that are searched without being asked for: the linker's own, the driver's, and the dynamic loader's.

use crate::elf::split_colons;
use crate::{Decline, Question, World};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The directories of `gcc -print-search-dirs` (also clang's), line `libraries: =`, in order; relative ones
/// are seen from `cwd`.
#[must_use]
pub(crate) fn parse_gcc_search_dirs(stdout: &[u8], cwd: &Path) -> Vec<PathBuf> {
    let line = stdout.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"libraries: ="));
    let parts = line.map(|line| split_colons(OsStr::from_bytes(line))).unwrap_or_default();
    parts.iter().map(|part| cwd.join(part)).collect()
}

/// The directories of the default linker script that `ld --verbose` prints, in order. A `=` stands for the
/// system root.
#[must_use]
pub(crate) fn parse_ld_search_dirs(stdout: &[u8], sysroot: Option<&Path>) -> Vec<PathBuf> {
    let rooted = |dir: OsString| match dir.as_bytes().strip_prefix(b"=") {
        Some(rest) => match sysroot {
            Some(root) => root.join(OsStr::from_bytes(rest.strip_prefix(b"/").unwrap_or(rest))),
            None => PathBuf::from(OsStr::from_bytes(rest)),
        },
        None => PathBuf::from(dir),
    };
    super::script::parse(stdout).search_dirs.into_iter().map(rooted).collect()
}

/// What a GNU ld tells of itself.
#[derive(Debug)]
pub(crate) struct OwnDirectories {
    /// Where it looks for libraries by itself, in order.
    pub dirs: Vec<PathBuf>,
    /// It links for Windows.
    pub is_windows: bool,
}

/// Asks a GNU ld for its own directories.
///
/// # Errors
/// It cannot be run, or prints no script.
pub(crate) fn linker_search_dirs(
    program: &Path,
    emulation: Option<&OsStr>,
    sysroot: Option<&Path>,
    env: &[(OsString, OsString)],
    world: &dyn World,
) -> Result<OwnDirectories, Decline> {
    let mut argv = vec![program.as_os_str().to_os_string()];
    if let Some(emulation) = emulation {
        argv.push("-m".into());
        argv.push(emulation.to_os_string());
    }
    argv.push("--verbose".into());
    let question =
        Question { program: program.to_path_buf(), argv, env: env.to_vec(), ..Question::default() };
    let answer = world
        .ask(&question)
        .map_err(|e| Decline(format!("{} cannot be asked for its directories: {e}", program.display())))?;
    let dirs = parse_ld_search_dirs(&answer.stdout, sysroot);
    if answer.code != 0 || dirs.is_empty() {
        return Err(Decline(format!("{} does not tell its directories", program.display())));
    }
    // pe-i386, pei-x86-64 and their like.
    let format = super::script::parse(&answer.stdout).output_format;
    Ok(OwnDirectories { dirs, is_windows: format.is_some_and(|name| name.as_bytes().starts_with(b"pe")) })
}

/// What `/etc/ld.so.conf` and the files that it includes say.
#[derive(Debug, Default)]
pub(super) struct LoaderConfiguration {
    /// The directories, in order.
    pub dirs: Vec<PathBuf>,
    /// The files themselves.
    pub files: Vec<PathBuf>,
}

impl LoaderConfiguration {
    pub fn read(sysroot: Option<&Path>, world: &dyn World) -> LoaderConfiguration {
        let root = sysroot.unwrap_or(Path::new("/"));
        let mut configuration = LoaderConfiguration::default();
        configuration.read_file(root, &root.join("etc/ld.so.conf"), world, 0);
        configuration
    }

    fn read_file(&mut self, root: &Path, path: &Path, world: &dyn World, depth: usize) {
        /// glibc has no limit here, but a file may include itself.
        const MAX_DEPTH: usize = 8;
        if depth > MAX_DEPTH || !super::is_file(path, world) {
            return;
        }
        let Ok(text) = world.read(path) else { return };
        self.files.push(path.to_path_buf());
        for line in text.split(|&b| b == b'\n') {
            let line = line.split(|&b| b == b'#').next().unwrap_or_default().trim_ascii();
            if let Some(pattern) =
                line.strip_prefix(b"include").filter(|p| p.first().is_some_and(|b| b" \t".contains(b)))
            {
                for file in glob(root, path, pattern.trim_ascii(), world) {
                    self.read_file(root, &file, world, depth + 1);
                }
            } else if !line.is_empty() && !line.starts_with(b"hwcap ") {
                for dir in line.split(|b| b":, \t".contains(b)).filter(|d| d.starts_with(b"/")) {
                    self.dirs.push(root.join(OsStr::from_bytes(&dir[1..])));
                }
            }
        }
    }
}

/// The files that an `include` line means, sorted. Wildcards are understood in the last component only, which is where
/// they are in practice.
fn glob(root: &Path, by: &Path, pattern: &[u8], world: &dyn World) -> Vec<PathBuf> {
    let pattern = Path::new(OsStr::from_bytes(pattern));
    let full = match pattern.strip_prefix("/") {
        Ok(relative) => root.join(relative),
        Err(_) => by.parent().unwrap_or(root).join(pattern),
    };
    let (Some(dir), Some(last)) = (full.parent(), full.file_name()) else { return Vec::new() };
    if !last.as_bytes().contains(&b'*') {
        return vec![full];
    }
    let mut names = world.list(dir).unwrap_or_default();
    names.retain(|name| matches_star(last.as_bytes(), name.as_bytes()) && !name.as_bytes().starts_with(b"."));
    names.sort();
    names.iter().map(|name| dir.join(name)).collect()
}

/// Does `name` match `pattern`, in which `*` stands for anything?
fn matches_star(pattern: &[u8], name: &[u8]) -> bool {
    let mut parts = pattern.split(|&b| b == b'*');
    let Some(mut rest) = parts.next().and_then(|head| name.strip_prefix(head)) else { return false };
    let mut parts: Vec<&[u8]> = parts.collect();
    let Some(tail) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = memchr::memmem::find(rest, part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(tail)
}

/// [`run_path`] without relative directories: these depend on where a program is started, and a link does not start it.
pub(super) fn expand_origin(path: &[OsString], of: &Path) -> Vec<PathBuf> {
    run_path(path, of).into_iter().filter(|dir| dir.is_absolute()).collect()
}

/// A `DT_RPATH` or `DT_RUNPATH` as directories: `$ORIGIN` is the directory of the file that it stands in, `$LIB` what
/// Debian and what Fedora take it for.
pub(super) fn run_path(path: &[OsString], of: &Path) -> Vec<PathBuf> {
    let origin = of.parent().unwrap_or(Path::new("/")).as_os_str().as_bytes();
    let multiarch = format!("lib/{}-linux-gnu", std::env::consts::ARCH);
    let mut dirs = Vec::new();
    for part in path {
        let with_origin = replace(&replace(part.as_bytes(), b"${ORIGIN}", origin), b"$ORIGIN", origin);
        let platform = std::env::consts::ARCH.as_bytes();
        let with_platform = replace(&replace(&with_origin, b"${PLATFORM}", platform), b"$PLATFORM", platform);
        let has_lib = memchr::memmem::find(&with_platform, b"$LIB").is_some()
            || memchr::memmem::find(&with_platform, b"${LIB}").is_some();
        let libs: &[&[u8]] = if has_lib { &[multiarch.as_bytes(), b"lib64"] } else { &[b""] };
        for lib in libs {
            let dir = replace(&replace(&with_platform, b"${LIB}", lib), b"$LIB", lib);
            if !dir.contains(&b'$') {
                dirs.push(PathBuf::from(OsString::from_vec(dir)));
            }
        }
    }
    dirs
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, from) {
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    result.extend_from_slice(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gcc_prints_its_directories() {
        let stdout = b"install: /usr/lib/gcc/x86_64-linux-gnu/12/\nprograms: =/usr/libexec/\nlibraries: =/usr/lib/gcc/x86_64-linux-gnu/12/:/lib/:rel/\n";
        let dirs = parse_gcc_search_dirs(stdout, Path::new("/w"));
        assert_eq!(dirs, ["/usr/lib/gcc/x86_64-linux-gnu/12/", "/lib/", "/w/rel/"].map(PathBuf::from));
        assert!(parse_gcc_search_dirs(b"gcc: error\n", Path::new("/")).is_empty());
    }

    #[test]
    fn ld_prints_its_script() {
        let stdout = b"GNU ld (GNU Binutils for Debian) 2.40\n  Supported emulations:\n   elf_x86_64\nusing internal linker script:\n==================================================\nOUTPUT_FORMAT(\"elf64-x86-64\")\nENTRY(_start)\nSEARCH_DIR(\"=/usr/local/lib/x86_64-linux-gnu\"); SEARCH_DIR(\"=/lib\"); SEARCH_DIR(\"/opt/lib\");\nSECTIONS\n{\n}\n";
        assert_eq!(
            parse_ld_search_dirs(stdout, None),
            ["/usr/local/lib/x86_64-linux-gnu", "/lib", "/opt/lib"].map(PathBuf::from)
        );
        assert_eq!(parse_ld_search_dirs(stdout, Some(Path::new("/root")))[1], Path::new("/root/lib"));
    }

    #[test]
    fn stars() {
        assert!(matches_star(b"*.conf", b"libc.conf"));
        assert!(matches_star(b"a*b*c", b"aXbYc"));
        assert!(!matches_star(b"*.conf", b"libc.conf~"));
        assert!(!matches_star(b"a*a", b"a"));
        assert!(matches_star(b"exact", b"exact") && !matches_star(b"exact", b"exactly"));
    }

    #[test]
    fn origin_is_the_directory_of_the_file() {
        let path = ["$ORIGIN/../lib", "${ORIGIN}", "relative", "/abs", "$UNKNOWN/x"].map(OsString::from);
        let dirs = expand_origin(&path, Path::new("/b/bin/tool"));
        assert_eq!(dirs, ["/b/bin/../lib", "/b/bin", "/abs"].map(PathBuf::from));
    }

    proptest! {
        #[test]
        fn any_output_is_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_ld_search_dirs(&bytes, None);
            let _ = parse_gcc_search_dirs(&bytes, Path::new("/"));
        }

        #[test]
        fn a_star_matches_what_it_is_made_from(a in "[a-z.]{0,4}", b in "[a-z.]{0,4}", c in "[a-z.]{0,4}") {
            let (pattern, name) = (format!("{a}*{c}"), format!("{a}{b}{c}"));
            prop_assert!(matches_star(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
