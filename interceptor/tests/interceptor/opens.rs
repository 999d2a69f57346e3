// SPDX-License-Identifier: Apache-2.0
//! Every way to open a file, to create one and to give it another name: placeholders are forced or told about, other files are left
//! alone.

use std::fs;
use std::path::Path;

use crate::support::{Asked, Tracer, fail, program, run, text, write_placeholder};
use wire::{reply_flags, request_flags, request_kind};

/// A tracer that puts a real file in the place of what is opened, as a rename does it.
fn forcing() -> Tracer {
    Tracer::new(|asked| {
        if asked.head.kind == request_kind::OPEN {
            let path = Path::new(&asked.cwd).join(&asked.path);
            let beside = path.with_extension("new");
            fs::write(&beside, "the real content\n").unwrap();
            fs::rename(beside, path).unwrap();
        }
        run()
    })
}

fn opened(tracer: &Tracer) -> Vec<Asked> {
    tracer.of_kind(request_kind::OPEN)
}

const READS: [&str; 8] =
    ["open", "open64", "openat", "__open_2", "__openat_2", "fopen", "fopen64", "freopen"];

#[test]
fn reading_a_placeholder_gives_the_forced_file() {
    for way in READS {
        let tracer = forcing();
        write_placeholder(&tracer.folder().join("x.o"));
        let output = tracer.program("opens", &[way, "x.o"]);
        let expected = if way.contains("fo") || way.contains("fre") {
            "stream: the real content"
        } else {
            "fd 3: the real content"
        };
        assert_eq!(text(&output.stdout).trim_end(), expected, "{way}: {output:?}");
        let asked = opened(&tracer);
        assert_eq!(asked.len(), 1, "{way}");
        assert_eq!((asked[0].path.to_str(), asked[0].head.flags), (Some("x.o"), 0));
        assert_eq!(asked[0].cwd, tracer.folder().canonicalize().unwrap());
    }
}

#[test]
fn a_path_below_a_descriptor_is_sent_absolute() {
    let tracer = forcing();
    let below = tracer.folder().join("below");
    fs::create_dir(&below).unwrap();
    write_placeholder(&below.join("x.o"));
    let output = tracer.program("opens", &["openat-dir", "x.o", "below"]);
    assert!(text(&output.stdout).contains("the real content"), "{output:?}");
    assert_eq!(opened(&tracer)[0].path, below.canonicalize().unwrap().join("x.o"));
}

#[test]
fn a_library_is_forced_before_it_is_loaded() {
    let tracer = Tracer::new(|asked| {
        if asked.head.kind == request_kind::OPEN {
            let path = Path::new(&asked.cwd).join(&asked.path);
            fs::remove_file(&path).unwrap();
            fs::copy("/lib/x86_64-linux-gnu/libm.so.6", path).unwrap();
        }
        run()
    });
    write_placeholder(&tracer.folder().join("plugin.so"));
    let output = tracer.program("opens", &["dlopen", "./plugin.so"]);
    assert_eq!(text(&output.stdout), "dlopen ok\n");
    assert_eq!(opened(&tracer).len(), 1);
    // By name it is searched for in the system's own folders.
    assert_eq!(text(&tracer.program("opens", &["dlopen", "libm.so.6"]).stdout), "dlopen ok\n");
    assert_eq!(opened(&tracer).len(), 1);
}

#[test]
fn other_files_are_not_asked_about() {
    let tracer = forcing();
    // As long as a placeholder, with an interpreter line, but none.
    let mut script = b"#!/bin/sh\n".to_vec();
    script.resize(wire::PLACEHOLDER_REST as usize, b' ');
    fs::write(tracer.folder().join("script"), script).unwrap();
    fs::write(tracer.folder().join("short"), "#!/usr/bin/gg run\n# gg-placeholder 1\n").unwrap();
    for way in READS {
        for file in ["script", "short"] {
            assert!(text(&tracer.program("opens", &[way, file]).stdout).contains("#!/"), "{way} {file}");
        }
        assert_eq!(text(&tracer.program("opens", &[way, "missing"]).stdout), "errno 2\n", "{way}");
    }
    assert!(opened(&tracer).is_empty(), "{:?}", tracer.asked());
}

#[test]
fn a_successful_open_leaves_errno_alone() {
    let tracer = forcing();
    fs::write(tracer.folder().join("file"), "").unwrap();
    write_placeholder(&tracer.folder().join("x.o"));
    for file in ["file", "x.o"] {
        assert_eq!(text(&tracer.program("opens", &["errno", file]).stdout), "fd 1 errno 77\n", "{file}");
    }
}

#[test]
fn what_does_not_read_does_not_force() {
    let tracer = forcing();
    let path = tracer.folder().join("x.o");
    for way in ["path", "truncate", "creat", "fopen-w"] {
        write_placeholder(&path);
        assert!(tracer.program("opens", &[way, "x.o"]).status.success(), "{way}");
    }
    write_placeholder(&path);
    assert!(!tracer.program("opens", &["exclusive", "x.o"]).status.success());
    assert!(tracer.asked().is_empty(), "{:?}", tracer.asked());
}

#[test]
fn changing_in_place_forces_first() {
    for way in ["append", "fopen-a", "update"] {
        let tracer = forcing();
        let path = tracer.folder().join("x.o");
        write_placeholder(&path);
        assert!(tracer.program("opens", &[way, "x.o"]).status.success(), "{way}");
        let expected = if way == "update" { "the real content\n" } else { "the real content\nmore\n" };
        assert_eq!(fs::read_to_string(&path).unwrap(), expected, "{way}");
        assert_eq!(opened(&tracer).len(), 1, "{way}");
        assert_eq!(opened(&tracer)[0].head.flags, request_flags::WRITE, "{way}");
    }
}

#[test]
fn a_file_that_cannot_be_forced_cannot_be_opened() {
    for way in READS.into_iter().chain(["update"]) {
        let tracer = Tracer::new(|_| fail(5, "why\n"));
        write_placeholder(&tracer.folder().join("x.o"));
        let output = tracer.program("opens", &[way, "x.o"]);
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("errno 5\n", "why\n"), "{way}");
    }
}

#[test]
fn without_a_tracer_a_placeholder_is_not_taken_for_the_file() {
    let tracer = Tracer::new(|_| run());
    write_placeholder(&tracer.folder().join("x.o"));
    for way in READS {
        let mut command = tracer.command(program("cc", "opens"), 0);
        command.env(wire::SESSION_VARIABLE, "5:0:0000000000000000:/none::/nowhere/socket").args([way, "x.o"]);
        let output = command.current_dir(tracer.folder()).output().unwrap();
        assert_eq!(text(&output.stdout), "errno 5\n", "{way}");
    }
}

#[test]
fn a_carrying_program_reads_placeholders_and_tells_what_it_creates() {
    let tracer = forcing();
    write_placeholder(&tracer.folder().join("x.o"));
    let carry = |args: &[&str]| {
        tracer.command(program("cc", "opens"), reply_flags::CARRY).args(args).output().unwrap()
    };
    for way in READS.into_iter().chain(["update"]) {
        assert!(text(&carry(&[way, "x.o"]).stdout).contains("#!/usr/bin/gg"), "{way}");
    }
    assert!(tracer.asked().is_empty(), "{:?}", tracer.asked());
    for way in ["truncate", "creat", "fopen-w"] {
        assert!(carry(&[way, "new.o"]).status.success());
    }
    let placed = tracer.of_kind(request_kind::PLACED);
    assert_eq!(placed.len(), 3, "{:?}", tracer.asked());
    let new = tracer.folder().canonicalize().unwrap().join("new.o");
    let is_new = |path: &std::ffi::OsString| Path::new(path) == new;
    assert!(placed.iter().all(|asked| is_new(&asked.path) && asked.old.is_empty() && asked.head.flags == 0));
    // The real cp and install, through the session's variable.
    for args in [&["cp", "x.o", "copy.o"][..], &["install", "-m644", "x.o", "copy.o"]] {
        let done =
            tracer.command(Path::new("/usr/bin").join(args[0]), reply_flags::CARRY).args(&args[1..]).output();
        assert!(done.unwrap().status.success());
        let last = tracer.of_kind(request_kind::PLACED).pop().unwrap();
        assert!(Path::new(&last.path).ends_with("copy.o"), "{last:?}");
        assert!(fs::read(tracer.folder().join("copy.o")).unwrap().starts_with(b"#!/usr/bin/gg"));
    }
    assert!(opened(&tracer).is_empty());
}

#[test]
fn renames_and_links_of_placeholders_and_directories_are_told() {
    for way in ["rename", "renameat", "link", "linkat", "exchange"] {
        let tracer = forcing();
        let folder = tracer.folder().canonicalize().unwrap();
        write_placeholder(&folder.join("a.o"));
        fs::write(folder.join("b.o"), "ordinary").unwrap();
        let new = if way == "exchange" { "b.o" } else { "c.o" };
        let output = tracer.program("opens", &[way, "a.o", new, "."]);
        assert!(output.status.success(), "{way}: {output:?}");
        let asked = tracer.asked();
        assert_eq!(asked.len(), 1, "{way}: {asked:?}");
        let (kind, flags) = (asked[0].head.kind, asked[0].head.flags);
        assert_eq!((kind, flags), (request_kind::PLACED, 0), "{way}");
        let (path, old) = (Path::new(&asked[0].path), Path::new(&asked[0].old));
        let was = if way == "renameat" { folder.join("a.o") } else { "a.o".into() };
        assert_eq!((path, old), (&*folder.join(new), &*was), "{way}");
    }
    let tracer = forcing();
    fs::create_dir(tracer.folder().join("d")).unwrap();
    fs::write(tracer.folder().join("f"), "ordinary").unwrap();
    assert!(tracer.program("opens", &["rename", "f", "g"]).status.success());
    assert!(!tracer.program("opens", &["rename", "missing", "g"]).status.success());
    assert!(tracer.asked().is_empty());
    assert!(tracer.program("opens", &["rename", "d", "e"]).status.success());
    let asked = tracer.asked();
    assert_eq!((asked.len(), asked[0].head.flags), (1, request_flags::DIRECTORY));
}
