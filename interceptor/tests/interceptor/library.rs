// SPDX-License-Identifier: Apache-2.0
//! The library as a file: what it exports, what it needs from others, how large it is. And the stand-in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use crate::support::{built, text};

/// Lines of `readelf` or `nm`.
fn lines(tool: &str, args: &[&str], file: &Path) -> Vec<String> {
    let output = Command::new(tool).args(args).arg(file).output().expect("binutils are installed");
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).lines().map(str::to_owned).collect()
}

fn last_words(lines: &[String]) -> BTreeSet<String> {
    let words = lines.iter().filter_map(|line| line.split_whitespace().last());
    words.map(|word| word.split('@').next().unwrap_or(word).to_owned()).collect()
}

/// The rows of the table of hooks: hooked names, and skipped ones with their reason.
fn table() -> (BTreeSet<String>, BTreeMap<String, String>) {
    let source = include_str!("../../src/hooks.rs");
    let rows = &source[source.find("\nhooks! {\n").expect("the table is there")..];
    let (mut hooked, mut skipped) = (BTreeSet::new(), BTreeMap::new());
    for line in rows.lines().map(str::trim_start) {
        let function =
            ["fn ", "list fn ", "call fn ", "before fn "].iter().find_map(|kind| line.strip_prefix(kind));
        if let Some(row) = function {
            let name = row.split(['(', ' ']).next().unwrap();
            assert!(hooked.insert(name.to_owned()), "{name} is there twice");
        } else if let Some(row) = line.strip_prefix("skip ") {
            let (name, reason) = row.split_once(": ").expect("a reason");
            assert!(skipped.insert(name.to_owned(), reason.to_owned()).is_none(), "{name} is there twice");
        }
    }
    assert!(hooked.len() > 30 && hooked.is_disjoint(&skipped.keys().cloned().collect()));
    (hooked, skipped)
}

#[test]
fn exports_are_the_table_and_the_version() {
    let mut expected = table().0;
    expected.insert(wire::VERSION_SYMBOL.to_owned());
    assert_eq!(last_words(&lines("nm", &["-D", "--defined-only"], &built().library)), expected);
}

#[test]
fn the_version_can_be_read_from_the_file() {
    let bytes = std::fs::read(&built().library).unwrap();
    let version = [wire::VERSION.as_bytes(), b"\0"].concat();
    assert!(bytes.windows(version.len()).any(|window| window == version));
}

#[test]
fn every_hooked_name_is_one_of_libc_and_no_sibling_is_forgotten() {
    let libc =
        last_words(&lines("nm", &["-D", "--defined-only"], Path::new("/lib/x86_64-linux-gnu/libc.so.6")));
    let (hooked, skipped) = table();
    let unknown: Vec<_> = hooked.difference(&libc).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let families = [
        "open",
        "openat",
        "openat2",
        "creat",
        "fopen",
        "freopen",
        "popen",
        "system",
        "dlopen",
        "dlmopen",
        "rename",
        "renameat",
        "renameat2",
        "link",
        "linkat",
        "pidfd_spawn",
        "pidfd_spawnp",
        "posix_spawn",
        "posix_spawnp",
        "fexecve",
    ];
    let of_family = |name: &str| {
        let stem = name.trim_start_matches('_').trim_start_matches("libc_").trim_start_matches("IO_");
        let stem = ["_2", "64", "_chk", "_nocancel", "_mode"]
            .iter()
            .fold(stem, |stem, end| stem.trim_end_matches(end));
        stem.starts_with("exec") || families.contains(&stem)
    };
    let missing: Vec<_> = libc
        .iter()
        .filter(|name| of_family(name) && !hooked.contains(*name) && !skipped.contains_key(*name))
        .collect();
    assert!(missing.is_empty(), "neither hooked nor skipped: {missing:?}");
}

#[test]
fn it_needs_no_library_and_only_what_every_libc_has() {
    let dynamic = lines("readelf", &["-dW"], &built().library);
    assert!(!dynamic.iter().any(|line| line.contains("(NEEDED)")), "{dynamic:?}");
    let allowed = ["__errno_location", "environ", "memcpy", "memmove", "memset", "memcmp", "bcmp", "strlen"];
    let weak = [
        "dlsym",
        "gnu_get_libc_version",
        "__libc_dlopen_mode",
        "__libc_dlsym",
        "__libc_single_threaded",
        "malloc",
        "__read",
        "__write",
    ];
    for line in lines("nm", &["-D", "--undefined-only"], &built().library) {
        let words: Vec<_> = line.split_whitespace().collect();
        let [kind, name] = words[..] else { panic!("{line}") };
        assert!(kind == "w" && weak.contains(&name) || kind == "U" && allowed.contains(&name), "{line}");
    }
    // No version of a symbol is asked for: any C library's will do.
    assert!(!dynamic.iter().any(|line| line.contains("VERNEED")), "{dynamic:?}");
}

#[test]
fn it_is_small() {
    assert!(std::fs::metadata(&built().library).unwrap().len() < 168 * 1024);
    assert!(std::fs::metadata(&built().stand_in).unwrap().len() < 10 * 1024);
}

#[test]
fn the_stand_in_exits_with_what_it_is_told_and_is_static() {
    for (args, code) in [(&[][..], 0), (&["0"], 0), (&["7"], 7), (&["255"], 255), (&["42", "1"], 42)] {
        let status = Command::new(&built().stand_in).args(args).status().unwrap();
        assert_eq!(status.code(), Some(code), "{args:?}");
    }
    let headers = lines("readelf", &["-lW"], &built().stand_in);
    assert!(!headers.iter().any(|line| line.contains("INTERP") || line.contains("DYNAMIC")), "{headers:?}");
}
