// SPDX-License-Identifier: Apache-2.0

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use proptest::prelude::*;

use super::*;

/// What is in a directory: by path, the link target, the content and executability, or neither.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Directory,
    Link(PathBuf),
    File(Vec<u8>, bool),
}

fn walk(root: &Path) -> BTreeMap<PathBuf, Found> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let what = if meta.is_symlink() {
                Found::Link(fs::read_link(&path).unwrap())
            } else if meta.is_dir() {
                pending.push(path.clone());
                Found::Directory
            } else {
                Found::File(fs::read(&path).unwrap(), meta.mode() & 0o111 != 0)
            };
            found.insert(Path::new("/").join(path.strip_prefix(root).unwrap()), what);
        }
    }
    found
}

/// What [`walk`] must find: the obvious way.
fn model(wanted: &BTreeMap<PathBuf, Entry>) -> BTreeMap<PathBuf, Found> {
    let mut found = BTreeMap::new();
    for (path, entry) in wanted {
        for parent in path.ancestors().skip(1).filter(|p| p.parent().is_some()) {
            found.insert(parent.to_owned(), Found::Directory);
        }
        let what = match entry {
            Entry::Directory => Found::Directory,
            Entry::Symlink(target) => Found::Link(target.clone()),
            Entry::File { source, executable } => Found::File(fs::read(source).unwrap(), *executable),
        };
        found.insert(path.clone(), what);
    }
    for always in ["/dev", "/proc", "/tmp", "/var", "/var/tmp"] {
        let above =
            Path::new(always).ancestors().any(|p| found.get(p).is_some_and(|f| *f != Found::Directory));
        if !above {
            found.entry(always.into()).or_insert(Found::Directory);
        }
    }
    found
}

struct Space {
    directory: tempfile::TempDir,
    tree: Tree,
}

impl Space {
    fn new() -> Space {
        let directory = tempfile::tempdir().unwrap();
        for (name, mode) in [("0", 0o644), ("1", 0o755), ("2", 0o444)] {
            let path = directory.path().join(name);
            fs::write(&path, format!("content of {name}")).unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        let tree = Tree::create(&directory.path().join("tree")).unwrap();
        Space { directory, tree }
    }

    fn file(&self, source: usize, executable: bool) -> Entry {
        Entry::File { source: self.directory.path().join(source.to_string()), executable }
    }

    fn holds(&self, wanted: &BTreeMap<PathBuf, Entry>) {
        assert_eq!(walk(self.tree.path()), model(wanted));
        let links = model(wanted).into_iter().filter(|(_, f)| matches!(f, Found::Link(_)));
        assert!(links.map(|(p, _)| p).eq(self.tree.shape.links.keys().cloned()));
        let directories = model(wanted).into_iter().filter(|(_, f)| *f == Found::Directory);
        assert!(directories.map(|(p, _)| p).eq(self.tree.shape.directories.iter().cloned()));
    }
}

fn wanted<const N: usize>(entries: [(&str, Entry); N]) -> BTreeMap<PathBuf, Entry> {
    entries.into_iter().map(|(p, e)| (p.into(), e)).collect()
}

#[test]
fn only_the_difference_is_touched() {
    let mut space = Space::new();
    let mut files = wanted([
        ("/usr/include/stdio.h", space.file(0, false)),
        ("/usr/lib", Entry::Symlink("../lib".into())),
        ("/build/a.c", space.file(2, false)),
    ]);
    let stats = space.tree.sync(&files).unwrap();
    assert_eq!(stats, SyncStats { added: 3, removed: 0, kept: 0 });
    space.holds(&files);
    let inode = |path: &str| fs::metadata(space.directory.path().join(path)).unwrap().ino();
    assert_eq!(inode("tree/usr/include/stdio.h"), inode("0"), "a hard link");
    let changed = fs::metadata(space.directory.path().join("tree/usr/include")).unwrap().ctime_nsec();

    files.remove(Path::new("/build/a.c"));
    files.insert("/build/b.c".into(), space.file(0, false));
    let stats = space.tree.sync(&files).unwrap();
    assert_eq!(stats, SyncStats { added: 1, removed: 1, kept: 2 });
    space.holds(&files);
    let meta = fs::metadata(space.directory.path().join("tree/usr/include")).unwrap();
    assert_eq!(meta.ctime_nsec(), changed);
}

#[test]
fn mode_and_source_make_an_entry_another_one() {
    let mut space = Space::new();
    for entry in [(0, false), (1, true), (0, true), (1, false), (2, false), (2, true)] {
        let files = wanted([("/bin/x", space.file(entry.0, entry.1))]);
        let stats = space.tree.sync(&files).unwrap();
        assert_eq!((stats.added, stats.kept), (1, 0), "{entry:?}");
        space.holds(&files);
    }
    let mode = fs::metadata(space.directory.path().join("0")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o644, "the source keeps its mode");
}

#[test]
fn hostile_paths_are_refused_and_change_nothing() {
    let mut space = Space::new();
    let before = wanted([("/a/b", space.file(0, false))]);
    space.tree.sync(&before).unwrap();
    let long = format!("/{}", "x".repeat(256));
    let deep = "/x".repeat(2048);
    for path in [
        "",
        "a",
        "../a",
        "/",
        "//a",
        "/a/",
        "/a//b",
        "/a/./b",
        "/a/../b",
        "/..",
        "/.",
        "/a\0b",
        "/dev",
        "/dev/null",
        "/proc/1/mem",
        &long,
        &deep,
    ] {
        let hostile = wanted([(path, space.file(0, false))]);
        space.tree.sync(&hostile).expect_err(path);
        space.holds(&before);
    }
    for (above, below) in [("/a/b", "/a/b/c"), ("/x", "/x/y/z"), ("/a", "/a/b")] {
        for leaf in [space.file(0, false), Entry::Symlink("elsewhere".into())] {
            let hostile =
                wanted([(above, leaf), (below, space.file(0, false)), ("/x.y", space.file(0, false))]);
            let error = space.tree.sync(&hostile).expect_err(below);
            assert!(error.to_string().contains("above it"), "{error}");
            space.holds(&before);
        }
    }
    for target in ["", "a\0b"] {
        space.tree.sync(&wanted([("/l", Entry::Symlink(target.into()))])).expect_err(target);
    }
    let relative = Entry::File { source: "0".into(), executable: false };
    space.tree.sync(&wanted([("/f", relative)])).expect_err("a relative source");
    space.holds(&before);
}

#[test]
fn a_failed_sync_is_made_good() {
    let mut space = Space::new();
    let good = wanted([("/a/b", space.file(0, false)), ("/c", Entry::Symlink("x".into()))]);
    space.tree.sync(&good).unwrap();
    for source in ["/nowhere/at/all", "/", "/dev/null"] {
        let missing = Entry::File { source: source.into(), executable: false };
        let error =
            space.tree.sync(&wanted([("/d/e", space.file(0, false)), ("/z", missing)])).expect_err(source);
        assert!(error.to_string().contains(source), "{error}");
        let stats = space.tree.sync(&good).unwrap();
        assert_eq!((stats.added, stats.kept), (2, 0), "built anew");
        space.holds(&good);
    }
}

#[test]
fn links_out_of_the_tree_are_not_followed() {
    let mut space = Space::new();
    let victim = space.directory.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("file"), "x").unwrap();
    space.tree.sync(&wanted([("/a", Entry::Symlink(victim.clone()))])).unwrap();
    let files = wanted([("/a/file", space.file(0, false))]);
    space.tree.sync(&files).unwrap();
    space.holds(&files);
    space.tree.sync(&wanted([("/a", Entry::Symlink(victim.clone()))])).unwrap();
    drop(Tree::create(space.tree.path()).unwrap());
    assert_eq!(fs::read(victim.join("file")).unwrap(), b"x");
}

#[test]
fn temporary_directories_give_way() {
    let mut space = Space::new();
    for files in [
        wanted([("/var", Entry::Symlink("private/var".into())), ("/private/var/x", space.file(0, false))]),
        wanted([("/tmp", Entry::Symlink("private/tmp".into()))]),
        wanted([("/tmp/build/a.c", space.file(0, false)), ("/var", Entry::Directory)]),
        wanted([("/var/tmp", space.file(0, false))]),
        wanted([]),
    ] {
        space.tree.sync(&files).unwrap();
        space.holds(&files);
    }
    let mode = fs::metadata(space.tree.path().join("tmp")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o1777);
}

/// A set of entries none of which is below a file: few names, so that sets have much in common.
fn entries() -> impl Strategy<Value = BTreeMap<PathBuf, (u8, bool)>> {
    let name = prop::sample::select(vec!["a", "a.b", "a-b", "b", "tmp", "var", "c c", "\u{e4}"]);
    let path =
        prop::collection::vec(name, 1..5).prop_map(|names| PathBuf::from(format!("/{}", names.join("/"))));
    prop::collection::btree_map(path, (0u8..8, any::<bool>()), 0..60).prop_map(|mut map| {
        let mut leaf: Option<PathBuf> = None;
        map.retain(|path, (kind, _)| {
            if leaf.as_ref().is_some_and(|leaf| path.starts_with(leaf)) {
                return false;
            }
            leaf = (*kind > 1).then(|| path.clone());
            true
        });
        map
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_sequence_of_syncs_gives_what_is_wanted(sequence in prop::collection::vec(entries(), 1..6)) {
        let mut space = Space::new();
        let mut before: BTreeMap<PathBuf, Entry> = BTreeMap::new();
        for map in sequence {
            let files: BTreeMap<PathBuf, Entry> = map.into_iter().map(|(path, (kind, flag))| {
                let entry = match kind {
                    0 | 1 => Entry::Directory,
                    2 => Entry::Symlink(if flag { "/outside".into() } else { "../..".into() }),
                    kind => space.file(usize::from(kind) % 3, flag),
                };
                (path, entry)
            }).collect();
            let stats = space.tree.sync(&files).unwrap();
            let kept = files.iter().filter(|(p, e)| before.get(*p) == Some(e)).count();
            prop_assert_eq!(stats, SyncStats { added: files.len() - kept, removed: before.len() - kept, kept });
            space.holds(&files);
            before = files;
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]
    #[test]
    fn a_thousand_entries(changes in prop::collection::vec((0usize..1000, 0usize..5), 0..100)) {
        let mut space = Space::new();
        let path = |i: usize| PathBuf::from(format!("/usr/d{}/e{}/f{i}", i % 7, i % 31));
        let mut files: BTreeMap<_, _> = (0..1000).map(|i| (path(i), space.file(i % 3, i % 3 == 1))).collect();
        space.tree.sync(&files).unwrap();
        for (i, change) in changes {
            match change {
                0 => { files.remove(&path(i)); }
                1 => { files.insert(path(i), Entry::Symlink(format!("f{}", i + 1).into())); }
                n => { files.insert(path(i), space.file(n - 2, false)); }
            }
        }
        space.tree.sync(&files).unwrap();
        space.holds(&files);
    }
}

#[test]
fn links_of_an_open_tree_lead_to_where_they_would_below_a_root() {
    let root = Path::new("/t");
    for (path, target, outside) in [
        ("/lib", "usr/lib", "usr/lib"),
        ("/a/b/c", "../../d", "../../d"),
        ("/a/b/c", "../../../d", "/t/d"),
        ("/a/b/c", "../../x/../../../d/e", "/t/d/e"),
        ("/a", "/usr//lib/", "/t/usr//lib/"),
        ("/a", "/", "/t/"),
        ("/a", "/usr/../..", "/t/"),
    ] {
        assert_eq!(target_below(root, Path::new(path), Path::new(target)).to_str(), Some(outside), "{path}");
    }
}

#[test]
fn an_open_tree_shares_nothing_with_its_sources() {
    let space = tempfile::tempdir().unwrap();
    let source = space.path().join("source");
    fs::write(&source, "content").unwrap();
    let mut tree = Tree::create_open(&space.path().join("tree")).unwrap();
    let wanted = BTreeMap::from([
        (PathBuf::from("/a/file"), Entry::File { source: source.clone(), executable: false }),
        (PathBuf::from("/link"), Entry::Symlink("/a".into())),
    ]);
    let layer = space.path().join("layer");
    fs::create_dir(&layer).unwrap();
    let layer_fd = sys::open_dir(&layer).unwrap();
    tree.sync(&wanted).unwrap();
    let file = tree.path().join("link/file");
    fs::write(&file, "changed").unwrap();
    fs::create_dir_all(tree.path().join("new/deep")).unwrap();
    fs::write(tree.path().join("new/deep/made"), "made").unwrap();
    tree.harvest(layer_fd.as_fd()).unwrap();
    assert_eq!(fs::read_to_string(&source).unwrap(), "content");
    assert_eq!(fs::read_to_string(layer.join("a/file")).unwrap(), "changed");
    assert_eq!(fs::read_to_string(layer.join("new/deep/made")).unwrap(), "made");
    // What was changed is made again, and nothing else.
    let stats = tree.sync(&wanted).unwrap();
    assert_eq!((stats.added, stats.kept), (1, 1));
    assert_eq!(fs::read_to_string(&file).unwrap(), "content");
    assert!(!tree.path().join("new").exists());
    // An input that is gone comes again, too.
    fs::remove_file(&file).unwrap();
    tree.harvest(layer_fd.as_fd()).unwrap();
    tree.sync(&wanted).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "content");
}
