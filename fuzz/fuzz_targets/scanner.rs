// SPDX-License-Identifier: Apache-2.0
//! The include scanner on three files, divided by zero bytes: the first time and the second give the same, the source is
//! always among the files, and a plain `#include "a.h"` is never overlooked. The compiler has two macros built in, and says yes to
//! whatever else it is asked.
#![no_main]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use models::scanner::{Closure, Files, Kind, Scanner, Stamp};
use models::{Answer, IncludeSearch, Question};

struct Tree(BTreeMap<&'static str, Option<Arc<Vec<u8>>>>);

impl Tree {
    fn node(&self, path: &Path) -> Option<(u64, &Option<Arc<Vec<u8>>>)> {
        let mut clean = PathBuf::new();
        for part in path.components() {
            match part {
                std::path::Component::ParentDir => drop(clean.pop()),
                other => clean.push(other),
            }
        }
        let at = self.0.keys().position(|p| Path::new(p) == clean)?;
        self.0.values().nth(at).map(|node| (at as u64 + 1, node))
    }
}

impl Files for Tree {
    fn look(&self, path: &Path, _follow: bool) -> Option<(Kind, Stamp)> {
        let (ino, node) = self.node(path)?;
        let kind = if node.is_some() { Kind::File } else { Kind::Directory };
        let size = node.as_ref().map_or(0, |n| n.len() as u64);
        Some((kind, Stamp { dev: 1, ino, size, mtime: 1, ctime: 1, mode: 0, shared: false }))
    }

    fn read(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
        let (_, node) = self.node(path).ok_or(io::ErrorKind::NotFound)?;
        node.clone().ok_or_else(|| io::ErrorKind::IsADirectory.into())
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let inside = self.0.keys().map(Path::new).filter(|p| p.parent() == Some(path));
        Ok(inside.filter_map(Path::file_name).map(Into::into).collect())
    }

    fn ask(&self, question: &Question) -> io::Result<Arc<Answer>> {
        let text = String::from_utf8_lossy(&question.input);
        let marks = text.lines().filter(|line| line.starts_with("__gg_answer__ "));
        let mut stdout: String = marks.map(|mark| format!("{mark}\n1\n")).collect();
        if question.argv.contains(&"-dM".into()) {
            stdout = "#define __STDC__ 1\n#define S(x) #x\n".into();
        }
        Ok(Arc::new(Answer { code: 0, stdout: stdout.into_bytes(), stderr: vec![] }))
    }
}

fn has(closure: &Closure, path: &str) -> bool {
    closure.files().any(|f| &*f.path == Path::new(path))
}

fuzz_target!(|data: &[u8]| {
    let mut texts = data.splitn(3, |&b| b == 0).map(|t| Some(Arc::new(t.to_vec())));
    let mut next = || texts.next().unwrap_or_default().or_else(|| Some(Arc::default()));
    let source = next();
    let mut tree = BTreeMap::from([("/", None), ("/w", None), ("/w/sub", None)]);
    tree.insert("/w/a.h", next());
    tree.insert("/w/sub/b.h", next());
    for name in ["/w/a.c", "/w/a.cc", "/w/a.S"] {
        tree.insert(name, source.clone());
    }
    let tree = Tree(tree);
    let text = source.unwrap_or_default();
    // Without what can hide a directive or make one of something else.
    let hiding: [&[u8]; 4] = [b"/*", b"\\", b"??", b"R\""];
    let is_plain = !hiding.iter().any(|h| text.windows(h.len()).any(|w| w == *h));
    let includes = text.split(|&b| b == b'\n').any(|line| line == b"#include \"a.h\"");
    for name in ["/w/a.c", "/w/a.cc", "/w/a.S"] {
        let search = IncludeSearch {
            sources: vec![name.into()],
            bracket: vec!["/w/sub".into()],
            assembler: vec!["/w".into()],
            front: Some(Question::default()),
            ..IncludeSearch::default()
        };
        let scanner = Scanner::default();
        let first = scanner.scan(&search, Path::new("/w"), &tree, scanner.now());
        let second = scanner.scan(&search, Path::new("/w"), &tree, scanner.now());
        match (&first, &second) {
            (Ok(first), Ok(second)) => assert_eq!(first, second),
            (Err(first), Err(second)) => assert_eq!((first.why, &first.known), (second.why, &second.known)),
            _ => panic!("{first:?} and then {second:?}"),
        }
        if let Ok(closure) = &first {
            assert!(has(closure, name));
            assert!(!(is_plain && includes) || has(closure, "/w/a.h"), "{closure:?}");
        }
    }
});
