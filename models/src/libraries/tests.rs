// SPDX-License-Identifier: Apache-2.0
//! Tests on the real libraries of this machine and on an in-memory world.

use super::*;
use crate::testing::{Disk, Memory};
use crate::{Answer, Question};
use proptest::prelude::*;
use std::sync::Arc;

fn paths(list: &[&str]) -> BTreeSet<PathBuf> {
    list.iter().map(PathBuf::from).collect()
}

fn search(dirs: &[&str]) -> LibrarySearch {
    LibrarySearch {
        dirs: dirs.iter().map(PathBuf::from).collect(),
        system_dirs: vec!["/usr/lib".into()],
        cwd: "/w".into(),
        ..LibrarySearch::default()
    }
}

fn found(search: &LibrarySearch, name: &str, world: &Memory) -> Option<(String, bool)> {
    let found = search.find(OsStr::new(name), world)?;
    Some((found.path.to_str().unwrap().to_owned(), found.in_system))
}

#[test]
fn a_shared_library_comes_first_in_each_directory_not_in_all_of_them() {
    let world =
        Memory::with(&["/w/a/libz.a", "/w/b/libz.so", "/w/b/libz.a", "/usr/lib/libm.so", "/usr/lib/libm.a"])
            .placeholder("/w/b/libp.so", &[]);
    let mut both = search(&["/w/a", "/w/b"]);
    assert_eq!(found(&both, "z", &world), Some(("/w/a/libz.a".into(), false)));
    assert_eq!(found(&both, "m", &world), Some(("/usr/lib/libm.so".into(), true)));
    assert_eq!(found(&both, "p", &world), Some(("/w/b/libp.so".into(), false)));
    assert_eq!(found(&both, ":libz.so", &world), Some(("/w/b/libz.so".into(), false)));
    assert_eq!(found(&both, "none", &world), None);
    both.is_static = true;
    assert_eq!(found(&both, "m", &world), Some(("/usr/lib/libm.a".into(), true)));
    assert_eq!(found(&both, "p", &world), None);
}

#[test]
fn a_library_for_another_machine_is_passed_over() {
    let object = |machine: u8| {
        let mut elf = vec![0u8; 64];
        elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        elf[16] = 1;
        elf[18] = machine;
        elf
    };
    let mut archive = b"!<arch>\nx.o/            0           0     0     644     64        `\n".to_vec();
    archive.extend(object(3));
    let world = Memory::default()
        .file("/w/32/libz.so", &object(3))
        .file("/w/32/liba.a", &archive)
        .file("/w/32/libs.so", b"OUTPUT_FORMAT(elf32-i386) INPUT(x.so)")
        .file("/w/64/libz.so", &object(62))
        .file("/w/64/liba.a", b"!<arch>\n")
        .file("/w/64/libs.so", b"INPUT(x.so)");
    let search =
        LibrarySearch { target: Some(Target { is_64: true, machine: 62 }), ..search(&["/w/32", "/w/64"]) };
    for name in ["z", "a", "s"] {
        assert!(found(&search, name, &world).unwrap().0.starts_with("/w/64/"), "{name}");
    }
}

/// A world in which nothing is read as a whole but what has this suffix.
struct Frugal<'a>(Memory, &'a str);

impl World for Frugal<'_> {
    fn node(&self, path: &Path) -> Option<Node> {
        self.0.node(path)
    }

    fn read(&self, path: &Path) -> std::io::Result<Arc<Vec<u8>>> {
        assert!(path.to_str().unwrap().ends_with(self.1), "{} is read", path.display());
        self.0.read(path)
    }

    fn head(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        self.0.head(path)
    }

    fn elf(&self, path: &Path) -> Option<Arc<ElfFacts>> {
        self.0.elf(path)
    }

    fn linked_with(&self, path: &Path) -> Vec<PathBuf> {
        self.0.linked_with(path)
    }

    fn ask(&self, question: &Question) -> std::io::Result<Arc<Answer>> {
        self.0.ask(question)
    }
}

#[test]
fn libraries_are_not_read_as_a_whole() {
    let libc = std::fs::read("/lib/x86_64-linux-gnu/libc.so.6").unwrap();
    let world = Memory::default()
        .file("/w/libz.so", &libc)
        .file("/w/libz.a", b"!<arch>\n")
        .file("/w/thin.a", b"!<thin>\nx.o/            0           0     0     644     64        `\n")
        .file("/w/x.o", b"\0")
        .file("/w/libs.so", b"INPUT(libz.so)");
    let target = ElfFacts::read(&libc).unwrap().target;
    let search = LibrarySearch { target: Some(target), ..search(&["/w"]) };
    let libraries = Frugal(world, "s.so");
    assert_eq!(search.find(OsStr::new("z"), &libraries).unwrap().path, Path::new("/w/libz.so"));
    let closure = search.closure(&["/w/libs.so".into(), "/w/libz.a".into()], &libraries).unwrap();
    assert_eq!(closure, paths(&["/w/libs.so", "/w/libz.a", "/w/libz.so"]));
    assert_eq!(thin_archive(Path::new("/w/libz.a"), &libraries).unwrap(), None);
    let thin = Frugal(libraries.0, "thin.a");
    let closure = search.closure(&["/w/thin.a".into()], &thin).unwrap();
    assert_eq!(closure, paths(&["/w/thin.a", "/w/x.o"]));
}

#[test]
fn scripts_are_followed() {
    let world = Memory::default()
        .file("/usr/lib/libncurses.so", b"INPUT(libncurses.so.6 -ltinfo)")
        .file("/usr/lib/libncurses.so.6", b"\x7fELF")
        .file("/usr/lib/libtinfo.so", b"\x7fELF")
        .file("/w/loop.ld", b"INCLUDE loop.ld INPUT(part.o)")
        .file("/w/part.o", b"x\0");
    let closure = search(&[]).closure(&["/usr/lib/libncurses.so".into()], &world).unwrap();
    assert_eq!(
        closure,
        paths(&["/usr/lib/libncurses.so", "/usr/lib/libncurses.so.6", "/usr/lib/libtinfo.so"])
    );
    let closure = search(&[]).closure(&["/w/loop.ld".into()], &world).unwrap();
    assert_eq!(closure, paths(&["/w/loop.ld", "/w/part.o"]));
    let world = Memory::default().file("/w/x.ld", b"GROUP(gone.a)");
    let decline = search(&[]).closure(&["/w/x.ld".into()], &world).unwrap_err();
    assert_eq!(decline.0, "gone.a of /w/x.ld does not exist");
}

#[test]
fn names_in_scripts_can_be_below_the_system_root() {
    let world = Memory::default()
        .file("/sys/usr/lib/libc.so", b"GROUP(/lib/libc.so.6 =/lib/ld.so)")
        .file("/sys/lib/libc.so.6", b"\0")
        .file("/sys/lib/ld.so", b"\0");
    let rooted = LibrarySearch { sysroot: Some("/sys".into()), ..search(&[]) };
    let closure = rooted.closure(&["/sys/usr/lib/libc.so".into()], &world).unwrap();
    assert_eq!(closure, paths(&["/sys/usr/lib/libc.so", "/sys/lib/libc.so.6", "/sys/lib/ld.so"]));
    assert_eq!(rooted.directory(OsStr::new("=/usr/lib")), Path::new("/sys/usr/lib"));
    assert_eq!(rooted.directory(OsStr::new("lib")), Path::new("/w/lib"));
}

#[test]
fn placeholders_need_what_they_were_linked_with() {
    let world = Memory::default()
        .placeholder("/w/liba.so", &["/w/libb.so"])
        .placeholder("/w/libb.so", &["/w/libc.so", "/w/gone.so"])
        .file("/w/libc.so", b"\0");
    let closure = search(&[]).closure(&["/w/liba.so".into()], &world).unwrap();
    assert_eq!(closure, paths(&["/w/liba.so", "/w/libb.so", "/w/libc.so"]));
}

#[test]
fn members_of_thin_archives_are_read() {
    let names = b"sub/long-name-of-a-member.o/\n";
    let mut thin = b"!<thin>\n".to_vec();
    let header =
        |name: &str, size: usize| format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 644);
    thin.extend(header("//", names.len()).as_bytes());
    thin.extend(names);
    thin.push(b'\n');
    thin.extend(header("/0             /", 1000).as_bytes());
    thin.extend(header("b.o/", 1000).as_bytes());
    let world = Memory::default()
        .file("/w/lib/x.a", &thin)
        .file("/w/lib/sub/long-name-of-a-member.o", b"\0")
        .file("/w/lib/b.o", b"\0");
    let closure = search(&[]).closure(&["/w/lib/x.a".into()], &world).unwrap();
    assert_eq!(closure, paths(&["/w/lib/x.a", "/w/lib/sub/long-name-of-a-member.o", "/w/lib/b.o"]));
    let world = Memory::default().thin("/w/t.a", &["/w/a.o", "/w/gone.rsp"]).placeholder("/w/a.o", &[]);
    assert_eq!(search(&[]).closure(&["/w/t.a".into()], &world).unwrap(), paths(&["/w/t.a", "/w/a.o"]));
    let world = Memory::default().file("/w/lib/x.a", &thin);
    assert!(search(&[]).closure(&["/w/lib/x.a".into()], &world).is_err());
}

#[test]
fn missing_roots_are_told() {
    let decline = search(&[]).closure(&["/w/none.o".into()], &Memory::default()).unwrap_err();
    assert_eq!(decline.to_string(), "/w/none.o does not exist");
}

#[test]
fn the_c_library_of_this_machine() {
    let dirs = linker_search_dirs(Path::new("/usr/bin/ld"), None, None, &[], &Disk::default()).unwrap().dirs;
    let search = LibrarySearch { system_dirs: dirs, cwd: "/".into(), ..LibrarySearch::default() };
    let libc = search.find(OsStr::new("c"), &Disk::default()).unwrap();
    assert!(libc.in_system);
    let closure = search.closure(&[libc.path], &Disk::default()).unwrap();
    let named = |name: &str| closure.iter().any(|p| p.file_name() == Some(OsStr::new(name)));
    assert!(named("libc.so") && named("libc.so.6") && named("libc_nonshared.a"), "{closure:?}");
}

/// What ld opens, by its own account (`--trace`), is in the closure.
#[test]
fn the_linker_opens_no_more_than_the_closure() {
    let dirs = linker_search_dirs(Path::new("/usr/bin/ld"), None, None, &[], &Disk::default()).unwrap().dirs;
    let search = LibrarySearch {
        system_dirs: dirs,
        cwd: "/".into(),
        target: Some(Target::host()),
        ..LibrarySearch::default()
    };
    let roots: Vec<PathBuf> =
        ["c", "m"].iter().map(|l| search.find(OsStr::new(l), &Disk::default()).unwrap().path).collect();
    let closure = search.closure(&roots, &Disk::default()).unwrap();
    let output = std::process::Command::new("ld")
        .args(["-shared", "--trace", "-o", "/dev/null", "--no-as-needed", "-lc", "-lm"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let real = |path: &Path| std::fs::canonicalize(path).unwrap();
    let closure: BTreeSet<PathBuf> = closure.iter().map(|p| real(p)).collect();
    let mut seen = 0;
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        assert!(closure.contains(&real(Path::new(line))), "{line}");
        seen += 1;
    }
    assert!(seen >= 2);
}

/// The dynamic loader loads what we say, by its own account (`LD_TRACE_LOADED_OBJECTS`).
#[test]
fn the_loader_agrees() {
    for program in
        ["/usr/bin/make", "/usr/bin/ld", "/usr/bin/git", "/usr/bin/python3", "/usr/bin/cmake", "/bin/sh"]
    {
        let Ok(elf) = std::fs::read(program) else { continue };
        let real = |path: &Path| std::fs::canonicalize(path).unwrap();
        let facts = ElfFacts::read(&elf).unwrap();
        let path = real(Path::new(program));
        let ours: BTreeSet<PathBuf> =
            runtime_libraries(&facts, &path, None, Path::new("/"), &Disk::default())
                .iter()
                .map(|p| real(p))
                .collect();
        let output = std::process::Command::new(&path)
            .env_clear()
            .env("LD_TRACE_LOADED_OBJECTS", "1")
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let loader = facts.interpreter.clone().map(PathBuf::from);
        let theirs: BTreeSet<PathBuf> = stdout
            .lines()
            .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
            .map(|path| real(Path::new(path)))
            .collect();
        let without = |set: &BTreeSet<PathBuf>| {
            let mut set = set.clone();
            if let Some(loader) = &loader {
                set.remove(&real(loader));
            }
            set
        };
        assert_eq!(without(&ours), without(&theirs), "{program}");
        assert!(!theirs.is_empty(), "{program}: {stdout}");
    }
}

#[test]
fn a_program_that_was_just_built_needs_placeholders() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("x.c"), "int f(void){return 0;}").unwrap();
    std::fs::write(at("m.c"), "int f(void); int main(void){return f();}").unwrap();
    for args in [
        &["-shared", "-fPIC", "-Wl,-soname,libx.so.1", "-o", "libx.so", "x.c"][..],
        &["-o", "m", "m.c", "-L.", "-lx", "-Wl,-rpath,$ORIGIN"],
    ] {
        assert!(
            std::process::Command::new("gcc").args(args).current_dir(dir.path()).status().unwrap().success()
        );
    }
    let facts = ElfFacts::read(&std::fs::read(at("m")).unwrap()).unwrap();
    let library = at("libx.so.1");
    let other = at("liby.so");
    let world = Memory::default()
        .placeholder(library.to_str().unwrap(), &[other.to_str().unwrap()])
        .placeholder(other.to_str().unwrap(), &[]);
    assert_eq!(runtime_libraries(&facts, &at("m"), None, Path::new("/"), &world), [library, other]);
    // By LD_LIBRARY_PATH, when the program has moved away.
    let world = Memory::default().placeholder("/l/libx.so.1", &[]);
    let moved = runtime_libraries(
        &facts,
        Path::new("/elsewhere/m"),
        Some(OsStr::new("k:/l")),
        Path::new("/"),
        &world,
    );
    assert_eq!(moved, [PathBuf::from("/l/libx.so.1")]);
}

proptest! {
    #[test]
    fn damaged_archives_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), thin in any::<bool>()) {
        let mut archive = if thin { b"!<thin>\n".to_vec() } else { b"!<arch>\n".to_vec() };
        archive.extend(b"x.o/            0           0     0     644     ");
        archive.extend(&bytes);
        let _ = thin_members(&archive);
        let _ = archive_target(&archive);
    }

    #[test]
    fn thin_headers_never_panic(name in "[/0-9:a]{1,16}", size in "[ 0-9]{10}", rest in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut archive = format!("!<thin>\n{name:<16}{:<12}{:<6}{:<6}{:<8}{size}`\n", 0, 0, 0, 644).into_bytes();
        archive.extend(&rest);
        let _ = thin_members(&archive);
    }
}
