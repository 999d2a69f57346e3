// SPDX-License-Identifier: Apache-2.0
//! The model against the real compilers: which files appear, with which modes, and what stands in dependency files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::Vendor;
use super::plan;
use crate::testing::Disk;
use crate::{Invocation, Plan, Verdict};

struct Workplace {
    dir: tempfile::TempDir,
}

impl Workplace {
    fn new() -> Workplace {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("d")).unwrap();
        std::fs::create_dir_all(root.join("o")).unwrap();
        let source = "#include <stdio.h>\n#include \"h.h\"\nint main(void) { return 0; }\n";
        for (name, text) in [
            ("a.c", source),
            ("d/x.y.c", source),
            ("h.h", "#define H 1\n"),
            ("d/h.h", "#define H 1\n"),
            ("b.c", "int b;\n"),
            ("c.cc", "#include <vector>\nint c;\n"),
            ("p.S", "#include \"h.h\"\n\t.text\n"),
            ("q.s", "\t.text\n"),
            ("i.i", "int i;\n"),
            ("odd$name#.c", "#include \"h.h\"\nint o;\n"),
        ] {
            std::fs::write(root.join(name), text).unwrap();
        }
        Workplace { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    fn invocation(&self, line: &str) -> Invocation {
        let argv: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let program = Path::new("/usr/bin").join(&argv[0]);
        let env = [("PATH", std::env::var_os("PATH").unwrap_or_default())].into_iter().collect();
        Invocation { program, argv, env, cwd: self.root() }
    }

    /// All files with their mode and content.
    fn files(&self) -> BTreeMap<PathBuf, (bool, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut todo = vec![self.root()];
        while let Some(dir) = todo.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    todo.push(path);
                } else {
                    let executable = path.metadata().unwrap().permissions().mode() & 0o111 != 0;
                    found.insert(path.clone(), (executable, std::fs::read(path).unwrap()));
                }
            }
        }
        found
    }
}

fn run(argv: &[OsString], dir: &Path) -> (bool, String) {
    let output = Command::new(&argv[0]).args(&argv[1..]).current_dir(dir).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Compilers without which there is nothing to compare with.
fn present(name: &str) -> bool {
    let there = Path::new("/usr/bin").join(name).exists();
    if !there {
        eprintln!("skipped: no /usr/bin/{name} here");
    }
    there
}

/// Plans the command, runs it, and compares; then runs what the plan would have run.
fn compare(line: &str) -> Option<Plan> {
    compare_in(&Workplace::new(), line)
}

fn compare_in(place: &Workplace, line: &str) -> Option<Plan> {
    let invocation = place.invocation(line);
    if !present(&invocation.argv[0].to_string_lossy()) {
        return None;
    }
    let vendor = if line.starts_with("clang") { Vendor::Clang } else { Vendor::Gnu };
    let plan = match plan(vendor, &invocation, &Disk::default()) {
        (_, Verdict::Defer(plan)) => *plan,
        (_, Verdict::Decline(reason)) => panic!("{line}: {reason}"),
    };
    let before = place.files();
    let (ok, errors) = run(&invocation.argv, &place.root());
    assert!(ok, "{line}: {errors}");
    let mut after = place.files();
    after.retain(|path, _| !before.contains_key(path));
    let real: BTreeMap<PathBuf, bool> = after.iter().map(|(path, file)| (path.clone(), file.0)).collect();
    let ours = plan.outputs.iter().map(|output| (output.path.clone(), output.executable)).collect();
    assert_eq!(real, ours, "{line}");

    if let Some(search) = &plan.includes {
        if !search.write_dependencies.is_empty() {
            let role = |output: &&crate::Output| output.role == crate::Role::Dependencies;
            let written = plan.outputs.iter().find(role).unwrap();
            let mut argv = search.write_dependencies.clone();
            argv.push("again.d".into());
            let (ok, errors) = run(&argv, &place.root());
            assert!(ok && errors.is_empty(), "{argv:?}: {errors}");
            let again = std::fs::read_to_string(place.root().join("again.d")).unwrap();
            assert_eq!(String::from_utf8_lossy(&after[&written.path].1), again, "{line}");
        }
        if !search.ask_compiler.is_empty() {
            let (ok, errors) = run(&search.ask_compiler, &place.root());
            assert!(ok, "{:?}: {errors}", search.ask_compiler);
        }
    }
    for probe in &plan.probes {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in &probe.files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let (ok, errors) = run(&probe.argv, dir.path());
        assert!(ok && errors.is_empty(), "{:?}: {errors}", probe.argv);
    }
    Some(plan)
}

fn compare_all(lines: &[&str]) {
    for line in lines {
        compare(line);
    }
}

#[test]
fn names_of_objects() {
    compare_all(&[
        "gcc -c d/x.y.c",
        "gcc -c d/x.y.c a.c",
        "gcc -S d/x.y.c",
        "gcc -E d/x.y.c -o o/x",
        "gcc -E -dM -P a.c -o o/x",
        "gcc -c p.S q.s",
        "gcc -c i.i",
        "gcc -x c++ -c b.c",
        "g++ -c c.cc -O2 -g",
        "clang -c d/x.y.c a.c",
        "clang -S d/x.y.c",
        "clang++ -c c.cc",
        "clang -c p.S q.s",
    ]);
}

#[test]
fn dependency_files() {
    compare_all(&[
        "gcc -MMD -c d/x.y.c",
        "gcc -MD -c d/x.y.c -o o/z.lo.o",
        "gcc -MMD -c d/x.y.c -o o/z",
        "gcc -MMD -c d/x.y.c -o o/.z",
        "gcc -MMD -S d/x.y.c -o o/z.q.s",
        "gcc -MMD -E d/x.y.c -o o/z.q.i",
        "gcc -MMD d/x.y.c -o o/z.exe",
        "gcc -MMD -MP -MF o/f.d -c a.c",
        "gcc -MMD -MT foo -MQ a$b -MP -c a.c -o o/r.o",
        "gcc -MD -MTjoined -MFo/f.d -c a.c -o o/r.o -O2 -Wall -g",
        "gcc -Wp,-MMD,o/.q.d -c a.c -o o/r.o",
        "gcc -Wp,-MD,o/.q.d,-MT,foo -c a.c -o o/r.o -DX -Wp,-DY",
        "gcc -MMD -c i.i -o o/i.o",
        "gcc -MMD -c q.s -o o/q.o",
        "gcc -MMD -c p.S -o o/p.o",
        "gcc -MD -c odd$name#.c",
        "gcc -MD -c odd$name#.c -o o/odd$name#.o",
        "g++ -MD -MP -c c.cc -o o/c.o",
        "gcc -MMD q.s a.c -o o/z",
        "clang -MMD -c d/x.y.c",
        "clang -MD -c d/x.y.c -o o/z.lo.o",
        "clang -MMD -c d/x.y.c -o o/.z",
        "clang -MMD -E d/x.y.c -o o/z.q.i",
        "clang -MMD d/x.y.c -o o/z.exe",
        "clang -MMD d/x.y.c",
        "clang -MMD -MP -MT foo -MQ a$b -MF o/f.d -c a.c",
        "clang -Wp,-MMD,o/x.d -c a.c -o o/i.o",
        "clang -MD -c odd$name#.c -o o/odd$name#.o",
        "clang -MMD -c q.s -o o/q.o",
        "clang++ -MD -MP -c c.cc -o o/c.o",
    ]);
}

#[test]
fn long_spellings() {
    compare_all(&[
        "gcc --include-directory=d --compile a.c --output=o/b.o -MD -MF o/b.d",
        "gcc --include-directory d --include-directory-after o -c a.c --output o/b.o",
        "gcc --define-macro=X --define-macro Y=1 --undefine-macro Z -c b.c",
        "gcc --include=h.h --imacros h.h -c b.c -MMD",
        "clang --include-directory=d --compile a.c --output=o/b.o -MD -MF o/b.d",
        "clang --include=h.h --define-macro=X --include-directory d -c b.c",
    ]);
}

#[test]
fn code_of_llvm_and_parts_of_a_compilation_database() {
    compare_all(&[
        "clang -emit-llvm -c d/x.y.c",
        "clang -emit-llvm -c a.c i.i",
        "clang -emit-llvm -S a.c -MD",
        "clang -emit-llvm -flto=thin -c a.c -o o/b.bc",
        "clang -emit-llvm --coverage -c a.c",
        "clang -MJ o/b.json -c a.c -o o/b.o",
        "clang -MJo/b.json -S a.c b.c",
    ]);
}

#[test]
fn rules_in_place_of_text() {
    compare_all(&[
        "gcc -MM a.c -o o/q.d",
        "gcc -M -MF o/q.d a.c",
        "gcc -MM -MT x -MP a.c -MF o/q.d",
        "clang -MM a.c -o o/q.d",
        "clang -M -MF o/q.d a.c",
    ]);
}

#[test]
fn side_outputs() {
    compare_all(&[
        "gcc --coverage -c a.c -o o/b.lo.o",
        "gcc --coverage -c a.c -o o/b",
        "gcc -ftest-coverage -c d/x.y.c",
        "gcc -fprofile-arcs -c a.c",
        "gcc --coverage a.c b.c -o o/b.x",
        "gcc --coverage -c p.S",
        "gcc -g -gsplit-dwarf -c a.c -o o/b.x.lo",
        "gcc -g -gsplit-dwarf a.c -o o/b",
        "gcc -g -gsplit-dwarf -S a.c -o o/b.s",
        "gcc -fstack-usage -c a.c -o o/b.o",
        "gcc -fstack-usage -S a.c -o o/b.s",
        "gcc -fcallgraph-info -c a.c -o o/b.o",
        "gcc a.c -o o/p -Wl,-Map,o/p.map",
        "clang --coverage -c a.c -o o/b.lo.o",
        "clang --coverage -c d/x.y.c",
        "clang -g -gsplit-dwarf -c a.c -o o/b.x.lo",
        "clang -g -gsplit-dwarf -c d/x.y.c",
        "clang -g -gsplit-dwarf=single -c a.c -o o/b.o",
        "clang -fstack-usage -c a.c -o o/b.x.o",
    ]);
}

#[test]
fn programs_and_libraries() {
    compare_all(&[
        "gcc a.c",
        "gcc a.c b.c -o o/prog -lm -lpthread",
        "gcc -static a.c -o o/prog -lm",
        "gcc -no-pie -pthread -rdynamic -s a.c -o o/prog -Wl,-z,now,-z,relro -Wl,--as-needed",
        "gcc -static-pie a.c -o o/prog",
        "gcc -r -nostdlib b.c -o o/r.o",
        "gcc -shared -fPIC b.c -o o/r.so -Wl,-soname,r.so.1",
        "gcc -flto -O2 a.c b.c -o o/prog",
        "gcc -fopenmp a.c -o o/prog -Ofast",
        "gcc -nostdlib -shared -fPIC b.c -o o/x.so",
        "gcc -pg a.c -o o/prog",
        "gcc -fsanitize=address,undefined a.c -o o/prog",
        "gcc a.c -o o/prog -Wl,-Bstatic -lm -Wl,-Bdynamic",
        "g++ c.cc a.c -o o/prog -static-libstdc++ -static-libgcc",
        "clang a.c -o o/prog -lm",
        "clang -shared -fPIC b.c -o o/r.so",
        "clang -static a.c -o o/prog",
    ]);
}

#[test]
fn a_dependency_file_where_a_precompiled_header_is_used() {
    let place = Workplace::new();
    for header in ["gcc -c h.h", "gcc -O2 -c d/h.h"] {
        assert!(run(&place.invocation(header).argv, &place.root()).0);
    }
    // The first one's is used, the second one's was made with other options and is passed over.
    for line in
        ["gcc -include h.h -MD -c b.c -o o/b.o", "gcc -include d/h.h -MD -MP -c b.c", "gcc -MMD -c d/x.y.c"]
    {
        compare_in(&place, line);
    }
}

#[test]
fn precompiled_headers() {
    compare_all(&["gcc -c h.h", "gcc -c d/h.h", "gcc -x c-header d/h.h -o o/h.h.gch -MMD", "g++ -c h.h"]);
}

#[test]
fn the_directories_of_the_real_compiler_are_found() {
    let Some(plan) = compare("g++ -c c.cc") else { return };
    let search = plan.includes.unwrap();
    assert!(search.system.iter().any(|dir| dir.join("vector").exists()), "{:?}", search.system);
    assert!(search.system.iter().any(|dir| dir.join("stdio.h").exists()));
}
