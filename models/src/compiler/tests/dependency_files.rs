// SPDX-License-Identifier: Apache-2.0
//! Dependency files that are written without the compiler, against those that gcc writes, to the letter.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::super::Vendor;
use super::plan;
use crate::scanner::Scanner;
use crate::testing::Disk;
use crate::{Invocation, Verdict};

const FILES: [(&str, &str); 31] = [
    (
        "src/a.c",
        "#include <stdio.h>\n#include \"a.h\"\n#include <a.h>\n#include \"sub/b.h\"\n#include <deep/one.h>\n\
         #if __has_include(<tested.h>) && !defined NOTHING\n#include <linked.h>\n#else\n#include <tested.h>\n#endif\n\
         #include \"once.h\"\n#include \"once.h\"\n#include \"../src/once.h\"\n#include MACRO\nint main(void) { return 0; }\n",
    ),
    ("src/b.cc", "#include <vector>\n#include <string>\n#include \"a.h\"\nint b;\n"),
    ("src/a.h", "#ifndef A\n#define A\n#include \"guarded.h\"\n#endif\n"),
    ("src/guarded.h", "#pragma once\n#include \"sub/../no/guard.h\"\n"),
    ("src/no/guard.h", ""),
    ("src/sub/b.h", "#include \"../a.h\"\n#include \"c.h\"\n#include_next <limits.h>\n"),
    ("src/sub/c.h", "#pragma GCC system_header\n#include \"d.h\"\n#include \"../sub/../sub/e.h\"\n"),
    ("src/sub/d.h", ""),
    ("src/sub/e.h", ""),
    ("src/once.h", "#pragma once\nint once;\n"),
    ("sys/deep/one.h", "#include \"../deep/two.h\"\n#include <stddef.h>\n"),
    ("sys/deep/two.h", ""),
    ("sys/a_rather_long_name_that_is_linked.h", "#include \"tested.h\"\n"),
    ("sys/tested.h", ""),
    ("forced.h", "#include \"src/sub/d.h\"\n"),
    ("src/.hidden.h", ""),
    // Where there is nothing but the directories for quotes.
    ("src/n.c", "#if __has_include(<only.h>)\n#include <only.h>\n#endif\n#include \"sub/d.h\"\nint n;\n"),
    ("quoted/only.h", ""),
    // In place of the C library's.
    ("pre/stdc-predef.h", "#include \"more.h\"\n"),
    ("pre/more.h", "#define FROM_PRE 1\n"),
    ("src/p.c", "#ifdef FROM_PRE\n#include \"sub/d.h\"\n#endif\nint p;\n"),
    // A macro that a warning takes away.
    ("src/v.cc", "#ifdef __cpp_runtime_arrays\n#include \"sub/d.h\"\n#endif\nint v;\n"),
    // Copies of the same second.
    ("copies/one/e.h", "#pragma once\n#include \"f.h\"\n"),
    ("copies/two/e.h", "#pragma once\n#include \"f.h\"\n"),
    ("copies/one/f.h", ""),
    ("copies/two/f.h", ""),
    ("src/o.c", "#include \"../copies/one/e.h\"\n#include \"../copies/two/e.h\"\nint o;\n"),
    ("src/itself.c", "#ifndef I\n#define I\n#include SELF\nint i;\n#endif\n"),
    ("src/m.c", "#import \"sub/d.h\"\nint m;\n"),
    ("src/x.c", "#include \"sub/b.h\"\n#include <limits.h>\nint x;\n"),
    // A pragma changes what is built in.
    ("src/t.c", "#pragma GCC target(\"avx2\")\n#ifdef __AVX2__\n#include \"sub/d.h\"\n#endif\nint t;\n"),
];

/// Lines, and whether they are to be written here at all.
const LINES: [(&str, bool); 30] = [
    ("-MD -MT o/a.o -MF o/a.d -Isrc -isystem sys -o o/a.o -c src/a.c", true),
    ("-MD -MT ./o/a.o -MF o/a.d -I src -I./sys -o o/a.o -c ./src/a.c", true),
    ("-MD -MQ o/a.o -MP -MF o/a.d -Isrc -idirafter sys/ -o o/a.o -c src/a.c", true),
    ("-MMD -MF o/a.d -Isrc -isystem ./sys -o o/a.o -c src/a.c", true),
    ("-MMD -MP -Isrc -isystem sys/../sys -o o/a.o -c src/a.c", true),
    ("-MD -MF o/a.d -iquote src/sub -Isrc -Isys -DNOTHING -include ./forced.h -o o/a.o -c src/a.c", true),
    ("-MD -MF o/a.d -Isrc -Isys -include src/sub/c.h -include stdlib.h -o o/a.o -c src/a.c", true),
    ("-MD -MF o/a.d -ffreestanding -Isrc -Isys -o o/a.o -c src/a.c", true),
    ("-MD -MF o/a.d -std=c89 -Isrc -Isys -o o/a.o -c src/a.c", true),
    ("-MD -MF o/a.d -Isys/. -I ROOT/src -o o/a.o -c ROOT/src/a.c", true),
    ("-MD -MF o/a.d -Isrc -Isys -S -o o/a.s src/a.c", true),
    ("-MMD -MF o/b.d -Isrc -o o/b.o -c -x c++ src/b.cc", true),
    ("-MD -MF o/b.d -iquote src -o o/b.o -c -x c++ src/b.cc", true),
    ("-MD -MF o/b.d -Isrc -std=c++20 -O2 -g -o o/b.o -c -x c++ src/b.cc", true),
    ("-MD -MF o/n.d -nostdinc -iquote quoted -o o/n.o -c src/n.c", true),
    (
        "-MD -MF o/x.d -nostdinc -iwithprefix include -Isrc -I/usr/include -I/usr/include/x86_64-linux-gnu -o o/x.o -c src/x.c",
        true,
    ),
    ("-MD -MF o/p.d -Ipre -o o/p.o -c src/p.c", true),
    ("-MD -MF o/p.d -Ipre -nostdinc -o o/p.o -c src/p.c", true),
    ("-MD -MF o/p.d -Ipre -ffreestanding -o o/p.o -c src/p.c", true),
    ("-MD -MF o/v.d -Wvla -o o/v.o -c -x c++ src/v.cc", true),
    ("-MMD -MF o/n.d -include ROOT/src/sub/c.h -o o/n.o -c src/n.c", true),
    ("-MD -MF o/o.d -o o/o.o -c src/o.c", true),
    ("-MD -MF o/i.d -DSELF=\"ROOT/src/itself.c\" -o o/i.o -c ROOT/src/itself.c", true),
    ("-MD -MF o/t.d -o o/t.o -c src/t.c", false),
    ("-MD -MF o/m.d -w -o o/m.o -c src/m.c", false),
    ("-MD -MF o/x.d -Isrc -o o/x.o -c src/x.c", true),
    ("-MD -MF o/a.d -fno-canonical-system-headers -Isrc -isystem sys/../sys -o o/a.o -c src/a.c", false),
    // A name that is quoted, several targets, and a directory that gcc drops for another name of it.
    ("-MD -MT o/$a.o -MF o/a.d -Isrc -Isys -o o/a.o -c src/a.c", false),
    ("-MD -MT a -MT b -MF o/a.d -Isrc -Isys -o o/a.o -c src/a.c", false),
    ("-MD -MF o/a.d -Isrc -I./src -Isys -o o/a.o -c src/a.c", false),
];

#[test]
fn what_gcc_writes_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for (name, text) in FILES {
        std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        let mut file = std::fs::File::create(root.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        // Not within a second that ends meanwhile.
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    }
    std::fs::create_dir(root.join("o")).unwrap();
    std::os::unix::fs::symlink("a_rather_long_name_that_is_linked.h", root.join("sys/linked.h")).unwrap();
    std::os::unix::fs::symlink("tested.h", root.join("sys/a_link_that_is_longer.h")).unwrap();
    let machine = Disk::default();
    for (line, is_written) in LINES {
        let line =
            format!("gcc -DMACRO=<a_link_that_is_longer.h> {}", line.replace("ROOT", root.to_str().unwrap()));
        let argv: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let env = [("PATH", std::env::var_os("PATH").unwrap_or_default())].into_iter().collect();
        let program = Path::new("/usr/bin/gcc").to_owned();
        let invocation = Invocation { program, argv, env, cwd: root.clone() };
        let (_, Verdict::Defer(plan)) = plan(Vendor::Gnu, &invocation, &machine) else { panic!("{line}") };
        let search = plan.includes.as_ref().unwrap();
        let scanner = Scanner::default();
        let ours = scanner.dependencies(search, &root, &machine, scanner.now());
        let done = Command::new("gcc").args(&invocation.argv[1..]).current_dir(&root).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        let file = plan.outputs.iter().find(|output| output.role == crate::Role::Dependencies).unwrap();
        let theirs = std::fs::read_to_string(&file.path).unwrap();
        match ours {
            Ok(ours) => {
                let ours = String::from_utf8_lossy(&ours);
                let differs = ours.lines().zip(theirs.lines()).find(|(ours, theirs)| ours != theirs);
                assert_eq!(differs, None, "{line}");
                assert_eq!(ours, theirs, "{line}");
            }
            Err(reason) => assert!(!is_written, "{line}: {reason}"),
        }
    }
}
