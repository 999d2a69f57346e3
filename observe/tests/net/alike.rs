// SPDX-License-Identifier: Apache-2.0
//! Whatever a program does, net and tracer tell the same of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use observe::{Touches, Use};

use crate::support::{Caught, Space};
use crate::{is_root, odd, prepare};

const USES: [Use; 13] = [
    Use::Read,
    Use::Executed,
    Use::Found,
    Use::Missing,
    Use::Denied,
    Use::Listed,
    Use::Written,
    Use::Created,
    Use::Removed,
    Use::MovedAway,
    Use::MovedHere,
    Use::Linked,
    Use::Attributes,
];

/// What was done to each path, comparable between runs in different directories.
fn summary(touches: &Touches, space: &Space) -> BTreeMap<String, String> {
    let name = |path: &Path| match path.strip_prefix(&space.path) {
        Ok(rest) => format!("./{}", rest.display()),
        Err(_) => path.display().to_string(),
    };
    let of = |touch: &observe::Touch| {
        let uses: Vec<_> = USES.iter().filter(|&&what| touch.has(what)).collect();
        let real = touch.real.as_deref().map(name);
        format!(
            "{uses:?} input {} existed {:?} special {} = {real:?}",
            touch.input, touch.existed, touch.special
        )
    };
    touches
        .iter()
        // What describes a process itself has its number in its path.
        .filter(|(path, _)| !path.starts_with("/proc"))
        .map(|(path, touch)| (name(path), of(touch)))
        .collect()
}

/// Runs the same under both, each in a directory of its own.
fn same(prepare: impl Fn(&Space), program: impl AsRef<Path>, arguments: &[&str]) -> Caught {
    let run = |space: &Space| {
        prepare(space);
        space.command(program.as_ref(), arguments)
    };
    let (traced_in, caught_in) = (Space::new(), Space::new());
    let traced = traced_in.run(&run(&traced_in));
    let caught = caught_in.catch(&run(&caught_in));
    assert_eq!(caught.output.status, traced.status, "{arguments:?}");
    assert_eq!(
        String::from_utf8_lossy(&caught.output.stdout),
        String::from_utf8_lossy(&traced.stdout),
        "{arguments:?}"
    );
    let (ours, theirs) = (summary(&caught.touches, &caught_in), summary(&traced.touches, &traced_in));
    for (path, touch) in &theirs {
        assert_eq!(ours.get(path), Some(touch), "{arguments:?}: {path} (left: net, right: tracer)");
    }
    let invented: Vec<_> = ours.iter().filter(|(path, _)| !theirs.contains_key(*path)).collect();
    assert!(invented.is_empty(), "{arguments:?}: only in the net: {invented:#?}");
    let told = |t: &Touches| (t.gaps, t.network, t.foreign, t.transfers.len());
    assert_eq!(told(&caught.touches), told(&traced.touches), "{arguments:?}");
    caught
}

#[test]
fn odd_programs_look_the_same() {
    for linked in ["static", "dynamic"] {
        for (way, arguments) in [
            ("raw", &["dir/file"][..]),
            ("dirfd", &["dir", "file"]),
            ("dirfd", &["dir", "../soft"]),
            ("empty-path", &["dir", "file"]),
            ("fchdir", &["dir", "file"]),
            ("openat2", &["made"]),
            ("openat2", &["dangling"]),
            ("in-root", &["dir"]),
            ("bounded", &["dir"]),
            ("attributes", &["dir/file"]),
            ("threads", &["dir/file"]),
            ("stop", &["dir/file"]),
            ("orphan", &["dir/file"]),
            ("vfork", &["/bin/cat", "two"]),
            ("clone", &["/bin/cat", "two"]),
            ("thread-exec", &["/bin/cat", "two"]),
            ("leader-exits", &["/bin/cat", "two"]),
            ("fexecve", &["/bin/cat", "two"]),
            ("vfork", &["./script"]),
            ("vfork", &["./broken"]),
            ("vfork", &["./none"]),
            ("vfork", &["two"]),
            ("handler", &[]),
            ("interrupted", &[]),
            ("refused", &["dir/file"]),
            ("network", &[]),
            ("socket", &[]),
            ("bad-pointers", &[]),
            ("foreign", &[]),
        ] {
            if (linked, way) == ("dynamic", "leader-exits") {
                // Loads a library to end its first thread, or not, if the exec of the other comes first.
                continue;
            }
            let all: Vec<_> = [way].iter().chain(arguments).copied().collect();
            same(prepare, odd(linked), &all);
        }
    }
}

#[test]
fn file_tools_look_the_same() {
    for script in [
        "cp -p two three; mv three four; ln two five; ln -s two six; cat six/x two/x",
        "mkdir dir; mkdir -p new/deep; touch new/deep/file; rmdir new; rm -r new; rmdir missing dir/full two",
        "rm dir; rm missing; rm -f missing two soft dangling",
        "mv dir/full/one dir; mv dir dir/full; mv missing x; mv dir moved; mv two moved; mv two moved/file",
        "ln two soft; ln dir hard; ln missing hard; ln -s x two; ln soft hard; ln -L soft hard2",
        "chmod 600 two; chmod 600 missing; touch -h soft; touch dangling; touch new; chown 0 two",
        "echo x >dangling; echo x >>two; echo x >dir; echo x >missing/new; echo x >soft; : <missing",
        "ls dir dangling soft missing dir/; ls -lR . >/dev/null; find . -name x",
        "./script; ./broken; ./two; ./dir; missing; sh ./script; test -x script; test -x two; test -w two",
        "cd dir/full; cat one ../file ../../two ../../soft; cd ..; cat full/one; cd /; pwd",
        "cat /dev/null </dev/null >/dev/null; echo x >/dev/fd/1; cat /dev/stdin; mkfifo f; test -p f",
        "tar cf t.tar dir two; mkdir out; tar xf t.tar -C out; sed s/2/3/ two >three; install -m 755 two eight",
    ] {
        // The same applets, all in one static program, and each a dynamic program of its own.
        same(prepare, "/bin/busybox", &["sh", "-c", script]);
        same(prepare, "/bin/sh", &["-c", script]);
    }
}

#[test]
fn what_the_loader_looks_for_is_told_also_where_nobody_asks_about_it() {
    let loader = "/lib64/ld-linux-x86-64.so.2";
    if !Path::new(loader).exists() {
        println!("skipped: there is no such loader");
        return;
    }
    let prepare = |space: &Space| {
        fs::copy(loader, space.at("ld.so")).unwrap();
        space.compile("near", "int main(void) { return 3; }", &["-Wl,--dynamic-linker=./ld.so"]);
    };
    for script in [
        "/bin/true",
        &format!("{loader} /bin/true"),
        "./ld.so /bin/true",
        "./near",
        "cp ld.so two; echo >>two; ./two /bin/true; rm two",
        "LD_LIBRARY_PATH=$PWD /bin/true",
    ] {
        // A static shell: nothing else has this loader.
        let caught = same(prepare, "/bin/busybox", &["sh", "-c", script]);
        assert!(caught.touches.get(Path::new("/etc/ld.so.cache")).is_some(), "{script}");
    }
}

#[test]
fn what_another_user_may_not_do() {
    if !is_root() {
        println!("skipped: only root can be somebody else");
        return;
    }
    let script = "cat secret; echo x >theirs; test -r secret; rm theirs/x; mkdir closed/new; cat closed/x; touch theirs; chmod 600 theirs; mv theirs mine; ./secret";
    let space = Space::new();
    let prepared = |space: &Space| {
        for (name, mode) in [("secret", 0o600), ("theirs", 0o644)] {
            let file = space.write(name, "x");
            fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        }
        fs::create_dir(space.at("closed")).unwrap();
        fs::set_permissions(space.at("closed"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        fs::set_permissions(&space.path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    prepared(&space);
    // Both halves as another user: a tracer that is one cannot be root, and neither can who foresees.
    let program = std::env::current_exe().unwrap();
    let status = std::process::Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(program)
        .args(["--ignored", "--exact", "alike::as_somebody_else", "--nocapture"])
        .env("NET_SCRIPT", script)
        .current_dir(&space.path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success(), "{text}\n{}", String::from_utf8_lossy(&status.stderr));
    assert!(text.contains("alike"), "{text}");
}

#[test]
#[ignore = "a part of what_another_user_may_not_do"]
fn as_somebody_else() {
    let Some(script) = std::env::var_os("NET_SCRIPT") else { return };
    let script = script.into_string().unwrap();
    let space = Space::new();
    let here = std::env::current_dir().unwrap();
    let mut command = space.command("/bin/busybox", &["sh", "-c", &script]);
    command.cwd.clone_from(&here);
    let traced = space.run(&command);
    let caught = space.catch(&command);
    let theirs = summary(&traced.touches, &space);
    assert_eq!(summary(&caught.touches, &space), theirs);
    assert!(theirs.values().any(|touch| touch.contains("Denied")), "{theirs:?}");
    println!("alike");
}
