// SPDX-License-Identifier: Apache-2.0

use std::format;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const ROOT: &[u8] = b"/t/root";

#[test]
fn paths_go_below_the_root() {
    assert_eq!(place(ROOT, b"/usr/include/stdio.h", 7), Place::Below(b"/usr/include/stdio.h"));
    assert_eq!(place(ROOT, b"/", 7), Place::Below(b"/"));
    assert_eq!(place(ROOT, b"a/b", 7), Place::Same);
    assert_eq!(place(ROOT, b"", 7), Place::Same);
    assert_eq!(place(ROOT, b"../a", 7), Place::Climbs);
    assert_eq!(place(ROOT, b"/a/../b", 7), Place::Climbs);
    assert_eq!(place(ROOT, b"/a/..b/c..", 7), Place::Below(b"/a/..b/c.."));
    // As a program may have got it from where nothing is cut off.
    assert_eq!(place(ROOT, b"/t/root/a", 7), Place::Below(b"/a"));
    assert_eq!(place(ROOT, b"/t/rooted", 7), Place::Below(b"/t/rooted"));
}

#[test]
fn devices_and_the_own_process_are_as_they_are() {
    for same in [
        &b"/dev/null"[..],
        b"//dev/./null",
        b"/dev/fd/3",
        b"/proc/self/fd/3",
        b"/proc/7/maps",
        b"/proc/cpuinfo",
    ] {
        assert_eq!(place(ROOT, same, 7), Place::Same, "{}", String::from_utf8_lossy(same));
    }
    for below in [
        &b"/dev/sda"[..],
        b"/dev/shm/x",
        b"/proc/1/environ",
        b"/proc/self/root/etc",
        b"/proc/self/task/9/root",
    ] {
        assert_eq!(place(ROOT, below, 7), Place::Below(below), "{}", String::from_utf8_lossy(below));
    }
    for program in [&b"/proc/self/exe"[..], b"/proc/7/exe", b"/proc//thread-self/exe"] {
        assert_eq!(place(ROOT, program, 7), Place::Program);
    }
}

/// A tree with links of all sorts, and something beside it that must not be reached.
fn tree() -> (tempfile::TempDir, PathBuf) {
    let base = tempfile::tempdir().unwrap();
    let base_path = base.path().canonicalize().unwrap();
    let root = base_path.join("up/root");
    std::fs::create_dir_all(root.join("a/b/c")).unwrap();
    std::fs::create_dir_all(root.join("d")).unwrap();
    std::fs::write(base_path.join("secret"), "").unwrap();
    std::fs::write(base_path.join("up/secret"), "").unwrap();
    std::fs::write(root.join("d/file"), "").unwrap();
    for (link, target) in [("a/b/c/shallow", "d"), ("a/top", ""), ("d/deep", "a/b/c")] {
        symlink(root.join(target), root.join(link)).unwrap();
    }
    symlink("../a", root.join("d/relative")).unwrap();
    (base, root)
}

fn follow(path: &[u8], buffer: &mut [u8]) -> Result<usize, i32> {
    let real = Path::new(std::ffi::OsStr::from_bytes(path))
        .canonicalize()
        .map_err(|e| e.raw_os_error().unwrap_or(5))?;
    if !real.is_dir() {
        return Err(20);
    }
    let bytes = real.as_os_str().as_bytes();
    buffer[..bytes.len()].copy_from_slice(bytes);
    Ok(bytes.len())
}

fn climbed(root: &Path, path: &str) -> Result<String, ClimbError> {
    let mut buffer = [0; crate::PATH_MAX];
    let length = climb(root.as_os_str().as_bytes(), path.as_bytes(), &mut buffer, follow)?;
    Ok(String::from_utf8(buffer[..length].to_vec()).unwrap())
}

#[test]
fn parents_are_those_of_where_links_lead() {
    let (_base, root) = tree();
    let check = |path: &str, wanted: &str| assert_eq!(climbed(&root, path).as_deref(), Ok(wanted), "{path}");
    check("/a/b/../x", "/a/x");
    check("/a/b/c/shallow/../x", "/x");
    check("/d/deep/../x/y", "/a/b/x/y");
    check("/../../../../secret", "/secret");
    check("/a/top/../../secret", "/secret");
    check("/d/relative/b/.././c", "/a/c");
    check("/..", "/");
    check("/a/b/..", "/a");
    check("/a/b/../", "/a");
    check("/a/b/../b/../../d/file", "/d/file");
    assert_eq!(climbed(&root, "/missing/../a"), Err(ClimbError::System(2)));
    assert_eq!(climbed(&root, "/d/file/../file"), Err(ClimbError::System(20)));
}

fn reference(root: &Path, path: &str) -> Option<PathBuf> {
    // Name by name, as the kernel does it below a root directory.
    let mut at: Vec<String> = Vec::new();
    let mut rest: Vec<String> = path.split('/').rev().map(Into::into).collect();
    while let Some(name) = rest.pop() {
        match name.as_str() {
            "" | "." => continue,
            ".." => {
                at.pop();
                continue;
            }
            _ => at.push(name),
        }
        let here = root.join(at.join("/"));
        if let Ok(target) = std::fs::read_link(&here) {
            at.pop();
            let target = target.to_str()?;
            let target = match target.strip_prefix(root.to_str()?) {
                Some(inside) => {
                    at.clear();
                    inside
                }
                None => target,
            };
            rest.extend(target.split('/').rev().map(Into::into));
        } else if !here.exists() || (!rest.is_empty() && !here.is_dir()) {
            return None;
        }
    }
    Some(root.join(at.join("/")))
}

proptest! {
    /// What is put below the root and cut off again is what it was.
    #[test]
    fn stripping_undoes_placing(path in "(/[a-z.]{1,3}){0,6}/?") {
        let path = if path.is_empty() { "/" } else { &path };
        if let Place::Below(inside) = place(ROOT, path.as_bytes(), 7) {
            let outside = [ROOT, inside].concat();
            prop_assert_eq!(strip(ROOT, &outside), Some(path.as_bytes()));
            // And once more is no different.
            prop_assert_eq!(place(ROOT, &outside, 7), Place::Below(inside));
        }
    }

    /// No way of names, links and `..` leads out, and it leads where it would below a root directory.
    #[test]
    fn nothing_leads_out(names in prop::collection::vec(
        prop::sample::select(&["a", "b", "c", "d", "top", "shallow", "deep", "relative", "..", "..", ".", "secret"][..]), 1..12,
    )) {
        let (_base, root) = tree();
        let path = format!("/{}", names.join("/"));
        if let Ok(inside) = climbed(&root, &path) {
            prop_assert!(!climbs(inside.as_bytes()));
            let outside = format!("{}{inside}", root.display());
            if let Ok(real) = Path::new(&outside).canonicalize() {
                prop_assert!(real.starts_with(&root), "{} leads to {}", path, real.display());
                prop_assert_eq!(reference(&root, &path), Some(real));
            }
        } else {
            prop_assert_eq!(reference(&root, &path), None);
        }
    }
}
