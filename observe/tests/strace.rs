// SPDX-License-Identifier: Apache-2.0
//! The same command under `strace -f`, under the tracer and in the net touches the same paths in the same ways.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use observe::{Touches, Use};
use support::Space;
use tests::strace::Line;

type Sets = BTreeMap<&'static str, BTreeSet<PathBuf>>;

/// Adds what the output of strace shows of one process that started in `cwd`.
fn expect(sets: &mut Sets, output: &str, cwd: &Path) {
    let mut cwd = cwd.to_owned();
    let mut add = |set, path: PathBuf| {
        sets.entry(set).or_default().insert(normal(&path));
    };
    for line in output.lines().filter_map(Line::parse) {
        // The position of the first path: after a descriptor in the newer calls.
        let first = match line.name {
            "stat" | "lstat" | "creat" => 0,
            "statx" | "faccessat2" | "openat2" | "renameat2" => 1,
            name => usize::from(name.ends_with("at")),
        };
        let (missing, failed) = (line.is_missing(), line.failed());
        let path = |at, cwd: &Path| line.path(at, cwd).map(|path| path.components().collect::<PathBuf>());
        let open = || line.open(0);
        match line.name {
            "getdents64" => open().into_iter().for_each(|path| add("listed", path)),
            "fchmod" | "fchown" if !failed => open().into_iter().for_each(|path| add("attributes", path)),
            "utimensat" if !failed && line.args[1] == "NULL" => {
                open().into_iter().for_each(|path| add("attributes", path));
            }
            "connect" => {
                let path = line.args[1].split_once("sun_path=\"").and_then(|(_, path)| path.split_once('"'));
                let set = if missing { "missing" } else { "found" };
                path.into_iter().for_each(|(path, _)| add(set, path.into()));
            }
            "fchdir" if !failed => cwd = open().unwrap_or(cwd),
            _ => {}
        }
        let two = matches!(line.name, "rename" | "renameat" | "renameat2" | "link" | "linkat");
        let from = if two { path(first, &cwd) } else { None };
        let at = match line.name {
            "rename" | "link" | "symlink" => 1,
            "renameat" | "renameat2" | "linkat" => 3,
            "symlinkat" => 2,
            _ => first,
        };
        let Some(named) = path(at, &cwd) else { continue };
        if missing && !two {
            add("missing", named);
            continue;
        }
        if line.name == "chdir" && !failed {
            cwd.clone_from(&named);
        }
        match line.name {
            "open" | "openat" | "creat" if !failed => {
                let flags = if line.name == "creat" { "O_WRONLY" } else { line.args[first + 1] };
                if named.is_dir() || flags.contains("O_PATH") || flags.contains("O_DIRECTORY") {
                    add("found", named);
                } else {
                    if flags.contains("O_RDONLY") || flags.contains("O_RDWR") {
                        add("read", named.clone());
                    }
                    if flags.contains("O_WRONLY") || flags.contains("O_RDWR") {
                        add("written", named);
                    }
                }
            }
            "execve" | "execveat" if !failed => add("executed", named),
            "unlink" | "unlinkat" | "rmdir" if !failed => add("removed", named),
            "mkdir" | "mkdirat" | "symlink" | "symlinkat" | "mknod" | "mknodat" if !failed => {
                add("made", named)
            }
            "rename" | "renameat" | "renameat2" | "link" | "linkat" if !failed => {
                add("transferred", from.unwrap_or_default());
                add("transferred", named);
            }
            name if ["chmod", "chown", "utime"].iter().any(|part| name.contains(part)) && !failed => {
                add("attributes", named);
            }
            _ if !failed || matches!(line.errno(), Some("EINVAL" | "EEXIST" | "ENODATA" | "ENOTEMPTY")) => {
                add("found", named);
            }
            _ => {}
        }
    }
}

/// The same sets, as observed.
fn observed(touches: &Touches) -> Sets {
    let mut sets = Sets::new();
    let mut add = |set, path: &Path| {
        sets.entry(set).or_default().insert(normal(path));
    };
    for (set, what) in [
        ("read", Use::Read),
        ("written", Use::Written),
        ("executed", Use::Executed),
        ("missing", Use::Missing),
        ("found", Use::Found),
        ("removed", Use::Removed),
        ("listed", Use::Listed),
        ("attributes", Use::Attributes),
    ] {
        touches.with(what).for_each(|(path, _)| add(set, path));
    }
    for (_, from, to) in &touches.transfers {
        add("transferred", from);
        add("transferred", to);
    }
    // strace does not tell whether an open made the file: only what is made otherwise can be compared.
    for (path, _) in touches.with(Use::Created).filter(|(_, touch)| !touch.has(Use::Written)) {
        if !touches.transfers.iter().any(|(_, _, to)| to == path) {
            add("made", path);
        }
    }
    sets
}

/// The temporary files of gcc, ar and sed have another name in each run.
fn normal(path: &Path) -> PathBuf {
    path.components()
        .map(|part| {
            let text = part.as_os_str().to_string_lossy().into_owned();
            let (stem, extension) = text.split_once('.').unwrap_or((&text, ""));
            let random = |rest: &str| rest.len() == 6 && rest.bytes().all(|b| b.is_ascii_alphanumeric());
            if stem.strip_prefix("cc").is_some_and(random) {
                format!("ccRANDOM.{extension}")
            } else if ["st", "sed"].iter().any(|program| stem.strip_prefix(program).is_some_and(random)) {
                "RANDOM".into()
            } else {
                text
            }
        })
        .collect()
}

/// Runs `script` in each way, in the same directory, prepared anew. `shell` is its shell with what is needed to say so;
/// `interpreters` are those of the scripts in it.
fn compare(prepare: impl Fn(&Space), shell: &[&str], script: &str, interpreters: &[&str]) {
    if Command::new("strace").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: there is no strace here");
        return;
    }
    let space = Space::new();
    let logs = Space::new();
    prepare(&space);
    let status = Command::new("strace")
        .args([
            "-ff",
            "-y",
            "-qq",
            "-s",
            "4096",
            "-e",
            "signal=none",
            "-e",
            "trace=%file,getdents64,connect,fchdir,fchmod,fchown",
            "-o",
        ])
        .arg(logs.at("log"))
        .args(shell)
        .args(["-c", script])
        .env_clear()
        .envs(space.env())
        .current_dir(&space.path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{script}: {status} under strace");
    let mut expected = Sets::new();
    for entry in fs::read_dir(&logs.path).unwrap() {
        let output = fs::read(entry.unwrap().path()).unwrap();
        expect(&mut expected, &String::from_utf8_lossy(&output), &space.path);
    }
    // What the kernel opens to execute a program is not a system call, so strace does not show it.
    let executed = expected.entry("executed").or_default();
    executed.extend(interpreters.iter().map(PathBuf::from));
    let mut read = executed.clone();
    read.insert("/lib64/ld-linux-x86-64.so.2".into());
    expected.entry("read").or_default().extend(read);
    expected.retain(|_, paths| !paths.is_empty());

    let mut arguments = shell[1..].to_vec();
    arguments.extend(["-c", script]);
    for caught in [false, true] {
        clear(&space.path);
        prepare(&space);
        let command = space.command(shell[0], &arguments);
        let (status, touches) = if caught {
            let caught = space.catch(&command);
            (caught.output.status, caught.touches)
        } else {
            let seen = space.run(&command);
            (seen.status, seen.touches)
        };
        let who = if caught { "net" } else { "tracer" };
        assert!(status.success(), "{script}: {status}, {who}");
        let mut observed = observed(&touches);
        observed.retain(|_, paths| !paths.is_empty());
        for set in expected.keys().chain(observed.keys()).collect::<BTreeSet<_>>() {
            let empty = BTreeSet::new();
            let (theirs, ours) = (expected.get(set).unwrap_or(&empty), observed.get(set).unwrap_or(&empty));
            let lost: Vec<_> = theirs.difference(ours).collect();
            let invented: Vec<_> = ours.difference(theirs).collect();
            assert!(
                lost.is_empty() && invented.is_empty(),
                "{who}: {set}: only strace: {lost:#?}, only we: {invented:#?}"
            );
        }
        println!("{who}: {} paths alike", touches.iter().count());
    }
}

fn clear(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            fs::remove_dir_all(entry.path()).unwrap();
        } else {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

#[test]
fn a_compile_and_a_link() {
    let prepare = |space: &Space| {
        space.write("a.h", "int f(void);\n");
        space.write(
            "a.c",
            "#include <stdlib.h>\n#include \"a.h\"\nint main(void) { return f() + abs(-1); }\n",
        );
        space.write("b.c", "#include \"a.h\"\nint f(void) { return -1; }\n");
    };
    let script =
        "gcc -O2 -MD -c a.c && gcc -c b.c && /usr/bin/ar cr lib.a b.o && gcc -o a a.o lib.a -lm && ./a";
    compare(prepare, &["/bin/sh"], script, &[]);
    compare(prepare, &["/bin/busybox", "sh"], script, &[]);
}

#[test]
fn file_tools() {
    let prepare = |space: &Space| {
        fs::create_dir(space.at("dir")).unwrap();
        space.write("dir/one", "1\n");
        space.write("two", "2\n");
        space.script("script", "#!/bin/sh\ncat two missing 2>/dev/null\n");
    };
    let script = "cp -p two three; mv three four; ln two five; ln -s two six; ln -sf one dir/seven; cat six/x two/x; \
                  mkdir -p new/deep; touch new/deep/file; chmod 600 two; rm -r new; ls dir >/dev/null; find . -name x; \
                  install -m 755 two eight; sed -i s/2/3/ four; ./script; rmdir missing; cat dir/../two; \
                  tar cf t.tar dir two; mkdir out; tar xf t.tar -C out; test -x eight; no-such-command; true";
    compare(prepare, &["/bin/sh"], script, &["/bin/sh"]);
    // One static program; the file that its sed writes to has a name that cannot be told from others.
    let script = script.replace("sed -i s/2/3/ four; ", "");
    compare(prepare, &["/bin/busybox", "sh"], &script, &["/bin/sh"]);
}
