// SPDX-License-Identifier: Apache-2.0
//! A scanner that is told which names change, and looks nowhere else.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A file system whose changes are told by name, as a recorder does it.
struct Told {
    fake: Fake,
    names: Mutex<BTreeSet<Vec<u8>>>,
}

impl Told {
    fn with(files: &[(&str, &str)]) -> Self {
        Self { fake: Fake::with(files), names: Mutex::default() }
    }

    fn note(&self, path: &str) {
        let name = path.rsplit('/').next().unwrap().as_bytes().to_vec();
        self.names.lock().unwrap().insert(name);
    }

    fn write(&self, path: &str, text: &str) {
        // What a link leads to has its own name.
        let real = self.fake.walk(Path::new(path), true).unwrap_or_else(|| path.into());
        let real = real.to_str().unwrap();
        let is_directory = |node: Option<&(Node, Stamp)>| matches!(node, Some((Node::Directory, _)));
        if is_directory(self.fake.nodes.lock().unwrap().get(Path::new(real))) {
            return;
        }
        let parents: Vec<_> =
            Path::new(real).ancestors().skip(1).map(|p| p.to_str().unwrap().to_owned()).collect();
        if parents.iter().any(|p| {
            self.fake.nodes.lock().unwrap().get(Path::new(p)).is_some_and(|n| !matches!(n.0, Node::Directory))
        }) {
            return;
        }
        // Directories that are made on the way.
        for parent in
            parents.iter().filter(|p| !self.fake.nodes.lock().unwrap().contains_key(Path::new(p.as_str())))
        {
            self.note(parent);
        }
        self.note(path);
        self.note(real);
        self.fake.write(real, text);
    }

    fn link(&self, path: &str, target: &str) {
        let parent = Path::new(path).parent().unwrap();
        let is_free = {
            let nodes = self.fake.nodes.lock().unwrap();
            matches!(nodes.get(parent), Some((Node::Directory, _)))
                && !matches!(nodes.get(Path::new(path)), Some((Node::Directory, _)))
        };
        if is_free {
            self.note(path);
            self.fake.link(path, target);
        }
    }

    fn remove(&self, path: &str) {
        let whole = Path::new(path);
        let has_more = self.fake.nodes.lock().unwrap().keys().any(|p| p.parent() == Some(whole));
        if !has_more && self.fake.nodes.lock().unwrap().contains_key(whole) {
            self.note(path);
            self.fake.remove(path);
        }
    }

    /// Inodes and times stay as they are, but for the directories in which the names are.
    fn rename(&self, old: &str, new: &str) {
        let (old, new) = (Path::new(old), Path::new(new));
        let mut nodes = self.fake.nodes.lock().unwrap();
        if !nodes.contains_key(old)
            || new.starts_with(old)
            || nodes.contains_key(new)
            || !matches!(nodes.get(new.parent().unwrap()), Some((Node::Directory, _)))
        {
            return;
        }
        let moved: Vec<_> = nodes.keys().filter(|p| p.starts_with(old)).cloned().collect();
        for path in moved {
            let node = nodes.remove(&path).unwrap();
            nodes.insert(new.join(path.strip_prefix(old).unwrap()).components().collect(), node);
        }
        let time = self.fake.clock.fetch_add(1, SeqCst) as i64 * 1_000_000 + 1_000_001;
        for parent in [old, new].map(|p| p.parent().unwrap()) {
            nodes.get_mut(parent).unwrap().1.mtime = time;
        }
        drop(nodes);
        self.note(old.to_str().unwrap());
        self.note(new.to_str().unwrap());
    }
}

impl Files for Told {
    fn look(&self, path: &Path, follow: bool) -> Option<(Kind, Stamp)> {
        self.fake.look(path, follow)
    }

    fn read(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
        self.fake.read(path)
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.fake.names(path)
    }

    fn changes(&self, name: &[u8]) -> bool {
        self.names.lock().unwrap().contains(name)
    }

    fn extent(&self) -> u64 {
        self.names.lock().unwrap().len() as u64
    }
}

const FILES: &[(&str, &str)] = &[
    ("/w/a.c", "#include <x.h>\n#include \"gen.h\"\n#include <sys/y.h>\n#include <../i/z.h>\n"),
    ("/i/other", ""),
    ("/j/x.h", "#include <sys/y.h>\n"),
    ("/j/sys/y.h", "#include \"x.h\"\n"),
];

#[test]
fn only_what_is_told_is_looked_at() {
    let told = Told::with(FILES);
    let (scanner, search) = (Scanner::default(), search(&["/i", "/j"]));
    let moment = scanner.now();
    let scan = || names(&scanner.scan(&search, Path::new("/w"), &told, moment).unwrap());
    let first = scan();
    scan();
    let before = told.fake.looks.load(SeqCst);
    // Untold: an object file, which no source includes.
    told.fake.write("/w/a.o", "");
    assert_eq!(scan(), first);
    assert_eq!(told.fake.looks.load(SeqCst), before);
    // By the files' side, and by the scanner's.
    told.write("/w/gen.h", "");
    assert!(scan().contains(&"/w/gen.h".to_owned()));
    told.fake.write("/i/x.h", "");
    assert!(!scan().contains(&"/i/x.h".to_owned()));
    scanner.changes(b"x.h");
    assert!(scan().contains(&"/i/x.h".to_owned()));
    // Whatever happens to it later.
    told.fake.remove("/i/x.h");
    assert!(scan().contains(&"/j/x.h".to_owned()));
    // A name that the scanner has not heard of.
    scanner.changes(b"new.h");
    told.write("/w/gen.h", "#include <new.h>\n");
    scan();
    told.fake.write("/j/new.h", "");
    assert!(scan().contains(&"/j/new.h".to_owned()));
}

#[derive(Clone, Debug)]
enum Change {
    Write(&'static str, &'static str),
    Link(&'static str, &'static str),
    Remove(&'static str),
    Rename(&'static str, &'static str),
}

const PATHS: &[&str] = &[
    "/i",
    "/i/x.h",
    "/i/sys",
    "/i/sys/y.h",
    "/i/z.h",
    "/j",
    "/j/x.h",
    "/j/sys",
    "/j/sys/y.h",
    "/k",
    "/k/x.h",
    "/k/sys",
    "/w/gen.h",
    "/w/l.h",
    "/w/a.c",
    "/far",
    "/far/x.h",
    "/far/t.h",
];
const TEXTS: &[&str] =
    &["", "#include <x.h>\n", "#include \"l.h\"\n#include <sys/y.h>\n", "#include \"../k/x.h\"\n"];

fn change() -> impl Strategy<Value = Change> {
    let path = || prop::sample::select(PATHS);
    prop_oneof![
        3 => (path(), prop::sample::select(TEXTS)).prop_map(|(path, text)| Change::Write(path, text)),
        2 => (path(), path()).prop_map(|(path, target)| Change::Link(path, target)),
        2 => path().prop_map(Change::Remove),
        3 => (path(), path()).prop_map(|(old, new)| Change::Rename(old, new)),
    ]
}

proptest! {
    /// A scanner that is told sees the same as one that sees everything for the first time.
    #[test]
    fn what_is_told_is_enough(changes in prop::collection::vec(change(), 1..30)) {
        let told = Told::with(FILES);
        let (scanner, search) = (Scanner::default(), search(&["/i", "/j", "/k"]));
        let moment = scanner.now();
        let result = |scanner: &Scanner, moment| match scanner.scan(&search, Path::new("/w"), &told, moment) {
            // Marks are each scanner's own.
            Ok(closure) => {
                let mut files: Vec<_> =
                    closure.files().map(|f| (f.path.clone(), f.directory.clone(), f.stamp, f.linked)).collect();
                files.sort_by(|a, b| a.0.cmp(&b.0));
                Ok((files, closure.directories))
            }
            Err(unsure) => Err(unsure.why),
        };
        let _ = result(&scanner, moment);
        for change in changes {
            match change {
                Change::Write(path, text) => told.write(path, text),
                Change::Link(path, target) if path != target => told.link(path, target),
                Change::Link(..) => {}
                Change::Remove(path) => told.remove(path),
                Change::Rename(old, new) => told.rename(old, new),
            }
            let fresh = Scanner::default();
            let expected = result(&fresh, fresh.now());
            // The first finds out what is beyond doubt, the second where that leads, the third goes by it.
            for _ in 0..3 {
                prop_assert_eq!(&result(&scanner, moment), &expected);
            }
        }
    }
}
