// SPDX-License-Identifier: Apache-2.0
//! What the scanner finds against what this machine's compilers read, on the system's own headers.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use super::*;
use crate::scanner::Disk;

const C: &[&str] = &[
    "assert.h",
    "complex.h",
    "ctype.h",
    "errno.h",
    "fenv.h",
    "float.h",
    "inttypes.h",
    "iso646.h",
    "limits.h",
    "locale.h",
    "math.h",
    "setjmp.h",
    "signal.h",
    "stdalign.h",
    "stdarg.h",
    "stdatomic.h",
    "stdbool.h",
    "stddef.h",
    "stdint.h",
    "stdio.h",
    "stdlib.h",
    "stdnoreturn.h",
    "string.h",
    "tgmath.h",
    "threads.h",
    "time.h",
    "uchar.h",
    "wchar.h",
    "wctype.h",
    "arpa/inet.h",
    "dirent.h",
    "dlfcn.h",
    "fcntl.h",
    "netdb.h",
    "netinet/in.h",
    "poll.h",
    "pthread.h",
    "pwd.h",
    "regex.h",
    "sched.h",
    "semaphore.h",
    "spawn.h",
    "sys/epoll.h",
    "sys/ioctl.h",
    "sys/mman.h",
    "sys/resource.h",
    "sys/socket.h",
    "sys/stat.h",
    "sys/types.h",
    "sys/wait.h",
    "syslog.h",
    "termios.h",
    "unistd.h",
    "linux/fs.h",
    "linux/if.h",
    "linux/input.h",
    "linux/io_uring.h",
    "linux/netlink.h",
    "linux/perf_event.h",
    "linux/seccomp.h",
    "linux/videodev2.h",
    "immintrin.h",
    "omp.h",
    "unwind.h",
];

const CXX: &[&str] = &[
    "algorithm",
    "any",
    "array",
    "atomic",
    "bitset",
    "chrono",
    "charconv",
    "complex",
    "condition_variable",
    "deque",
    "exception",
    "filesystem",
    "forward_list",
    "fstream",
    "functional",
    "future",
    "iomanip",
    "iostream",
    "iterator",
    "limits",
    "list",
    "locale",
    "map",
    "memory",
    "mutex",
    "numeric",
    "optional",
    "queue",
    "random",
    "ranges",
    "regex",
    "set",
    "shared_mutex",
    "span",
    "sstream",
    "stack",
    "string",
    "string_view",
    "thread",
    "tuple",
    "type_traits",
    "unordered_map",
    "utility",
    "variant",
    "vector",
    "cmath",
    "cstdlib",
    "stdlib.h",
    "math.h",
];

/// The directories that the compiler says it searches; `None` if there is no such compiler here.
fn system(compiler: &str, language: &str) -> Option<Vec<PathBuf>> {
    let mut command = Command::new(compiler);
    let output = command.args(["-E", "-v", "-x", language, "/dev/null"]).env("LC_ALL", "C").output().ok()?;
    let text = String::from_utf8(output.stderr).unwrap();
    let (_, list) = text.split_once("#include <...> search starts here:\n").unwrap();
    let (list, _) = list.split_once("End of search list.").unwrap();
    Some(list.lines().map(|l| PathBuf::from(l.trim())).collect())
}

/// The files that the compiler reads for a source; `None` if it does not accept it (a header may be missing here).
fn reference(compiler: &str, arguments: &[&str], source: &Path) -> Option<Vec<PathBuf>> {
    let mut command = Command::new(compiler);
    let output = command.args(arguments).arg("-M").arg(source).stderr(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap().replace("\\\n", " ");
    let (_, list) = text.split_once(": ").filter(|_| output.status.success())?;
    Some(list.split_whitespace().map(PathBuf::from).collect())
}

/// A file by its directory and the name in it: what different spellings of a path have in common.
fn key(path: &Path) -> (u64, u64, OsString) {
    let dir = path.parent().unwrap().metadata().unwrap();
    (dir.dev(), dir.ino(), path.file_name().unwrap().to_owned())
}

fn compare(compiler: &str, language: &str, extension: &str, headers: &[&str]) {
    let Some(system) = system(compiler, language) else { return };
    let dir = tempfile::tempdir().unwrap();
    let scanner = Scanner::default();
    let (mut compared, mut listed, mut scanned) = (0, 0, 0);
    for header in headers {
        let source = dir.path().join(format!("t.{extension}"));
        std::fs::write(&source, format!("#include <{header}>\n")).unwrap();
        let Some(expected) = reference(compiler, &["-x", language], &source) else { continue };
        let search =
            IncludeSearch { sources: vec![source], system: system.clone(), ..IncludeSearch::default() };
        let closure = scanner.scan(&search, dir.path(), &Disk, scanner.now()).unwrap();
        let found: BTreeSet<_> = closure.files().map(|f| key(&f.path)).collect();
        for path in &expected {
            assert!(found.contains(&key(path)), "{compiler}: <{header}> reads {}", path.display());
        }
        compared += 1;
        listed += expected.len();
        scanned += found.len();
    }
    println!(
        "{compiler}: {compared} headers, {listed} files, scanner {:.2} times as many",
        scanned as f64 / listed as f64
    );
    // Most of them are here, and the superset is no dragnet.
    assert!(compared * 2 > headers.len(), "{compared}");
    assert!(scanned < listed * 3, "{scanned} {listed}");
}

#[test]
fn nothing_that_gcc_reads_is_missed() {
    compare("gcc", "c", "c", C);
}

#[test]
fn nothing_that_gxx_reads_is_missed() {
    compare("g++", "c++", "cc", CXX);
}

#[test]
fn nothing_that_clang_reads_is_missed() {
    compare("clang", "c", "c", C);
    compare("clang++", "c++", "cc", CXX);
}

/// Where search rules are subtle, what gcc does decides.
#[test]
fn subtle_orders_are_covered() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (name, text) in [
        ("a.c", "#include <x.h>\n#include \"q.h\"\n#include \"sub/../up.h\"\n#include <n.h>\n"),
        ("one/x.h", ""),
        ("two/x.h", "#include \"up.h\"\n"),
        ("two/up.h", ""),
        ("up.h", "#define H <m.h>\n#include H\n"),
        ("two/m.h", ""),
        ("quote/q.h", ""),
        ("one/q.h", ""),
        ("sub/z.h", ""),
        ("one/n.h", "#include_next <n.h>\n"),
        ("two/n.h", "#include_next <n.h>\n"),
        ("sys/n.h", ""),
    ] {
        std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
        std::fs::write(at(name), text).unwrap();
    }
    // -I of a system directory is ignored; of -I directories the first counts.
    std::os::unix::fs::symlink("one", at("alias")).unwrap();
    let full = |list: &[&str]| -> Vec<PathBuf> { list.iter().map(|n| at(n)).collect() };
    for (bracket, system) in [
        (full(&["alias", "two", "one"]), full(&["sys"])),
        (full(&["alias", "two"]), full(&["one", "sys"])),
        (full(&["one", "two"]), full(&["sys", "alias"])),
        (full(&["missing", "two", "two", "sys"]), full(&["one", "sys"])),
    ] {
        let mut arguments = vec!["-iquote".to_owned(), at("quote").display().to_string()];
        for (flag, dirs) in [("-I", &bracket), ("-isystem", &system)] {
            dirs.iter().for_each(|d| arguments.extend([flag.to_owned(), d.display().to_string()]));
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let Some(expected) = reference("gcc", &arguments, &at("a.c")) else { panic!("gcc refuses the test") };
        let search = IncludeSearch {
            sources: vec![at("a.c")],
            quote: full(&["quote"]),
            bracket,
            system,
            ..IncludeSearch::default()
        };
        let scanner = Scanner::default();
        let closure = scanner.scan(&search, dir.path(), &Disk, scanner.now()).unwrap();
        let found: BTreeSet<_> = closure.files().map(|f| key(&f.path)).collect();
        let local = expected.iter().filter(|p| p.starts_with(dir.path()));
        for path in local {
            assert!(found.contains(&key(path)), "{arguments:?} reads {}", path.display());
        }
    }
}
