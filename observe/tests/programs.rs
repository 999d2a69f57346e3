// SPDX-License-Identifier: Apache-2.0
//! Observes real programs: shell scripts, a compiler, and `odd.c`, which reaches files in unusual ways.

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use observe::{Command, Error, Observation, Options, Rest, Touches, Transfer, Use, observe};
use support::{Space, inputs, with};

/// `odd WAY ARGUMENT…`, compiled once, observed in a space.
fn odd(space: &Space, way: &str, arguments: &[&str]) -> Observation {
    static PROGRAM: OnceLock<Space> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let space = Space::new();
        space.compile("odd", include_str!("odd.c"), &["-static", "-pthread", "-Wall"]);
        space
    });
    let mut all = vec![way];
    all.extend(arguments);
    let seen = space.run(&space.command(program.at("odd"), &all));
    assert!(seen.status.success(), "odd {way}: {}", seen.status);
    seen
}

fn read(touches: &Touches, path: impl AsRef<Path>) -> bool {
    touches.get(path).is_some_and(|touch| touch.has(Use::Read))
}

#[test]
fn a_shell_script_and_what_it_touches() {
    let space = Space::new();
    fs::create_dir(space.at("d")).unwrap();
    space.write("d/in", "hello\n");
    let seen = space.sh("cd d && cat in >../out; test -e none; echo bye >&2; exit 3");
    assert_eq!(seen.status.code(), Some(3));
    assert_eq!((&seen.stdout[..], &seen.stderr[..]), (&b""[..], &b"bye\n"[..]));
    let t = &seen.touches;
    let input = t.get(space.at("d/in")).unwrap();
    assert!(input.input && input.has(Use::Read) && input.existed == Some(true));
    let out = t.get(space.at("d/../out")).unwrap();
    assert!(out.has(Use::Created) && out.has(Use::Written) && !out.input && out.existed == Some(false));
    assert_eq!(out.real.as_deref(), Some(&*space.at("out")));
    assert!(t.missing().any(|path| path == space.at("d/none")));
    assert!(t.get("/bin/sh").unwrap().has(Use::Executed));
    assert!(t.iter().any(|(path, touch)| path.ends_with("ld-linux-x86-64.so.2") && touch.input));
    assert!(!t.network && !t.foreign && t.gaps == 0);
}

#[test]
fn names_come_and_go() {
    let space = Space::new();
    space.write("old", "1");
    space.write("kept", "2");
    space.write("gone", "3");
    let seen = space.sh("mv old new; cat new; ln kept hard; ln -s kept soft; rm gone; mkdir dir; echo x >dir/a; mv dir dir2; cat dir2/a; chmod 600 kept; cat soft; ls . >/dev/null");
    assert!(seen.status.success(), "{seen:?}");
    assert_eq!(seen.stdout, b"1x\n2");
    let t = &seen.touches;
    let here = |what: Use| -> Vec<String> {
        with(t, what)
            .iter()
            .filter_map(|path| path.strip_prefix(&space.path).ok())
            .map(|path| path.display().to_string())
            .filter(|path| !path.is_empty())
            .collect()
    };
    assert_eq!(here(Use::MovedAway), ["dir", "old"]);
    assert_eq!(here(Use::MovedHere), ["dir2", "new"]);
    assert_eq!(here(Use::Linked), ["kept"]);
    assert_eq!(here(Use::Created), ["dir", "dir/a", "hard", "soft"]);
    assert_eq!(here(Use::Removed), ["gone"]);
    assert_eq!(here(Use::Attributes), ["kept"]);
    assert!(t.get(&space.path).unwrap().has(Use::Listed));
    // What was read under a name of the command's own making, or behind a link that it made, is no input; where it came from is.
    let mine: Vec<_> = inputs(t).into_iter().filter(|path| path.starts_with(&space.path)).collect();
    assert_eq!(mine, [space.at("kept"), space.at("old")]);
    // `mv` first tries not to replace anything.
    let transfers: Vec<_> = t.transfers.iter().map(|(how, ..)| *how).collect();
    assert_eq!(transfers, [Transfer::RenameToNew, Transfer::Link, Transfer::RenameToNew]);
}

#[test]
fn names_behind_a_link_of_its_own_are_those_of_where_it_leads() {
    let space = Space::new();
    fs::create_dir(space.at("d")).unwrap();
    for name in ["d/in", "d/gone", "d/kept", "d/there"] {
        space.write(name, name);
    }
    let seen = space.sh(
        "ln -s d t; test -e t/there; test -e t/none || mv t/in t/moved; rm t/gone; chmod 600 t/kept; mkdir t/new; rm t",
    );
    assert!(seen.status.success(), "{seen:?}");
    let t = &seen.touches;
    let touch = |name: &str| t.get(space.at(name)).unwrap_or_else(|| panic!("{name} was not touched"));
    assert!(touch("d/there").has(Use::Found) && touch("d/none").has(Use::Missing));
    assert!(touch("d/in").has(Use::MovedAway) && touch("d/in").input && touch("d/moved").has(Use::MovedHere));
    assert!(touch("d/gone").has(Use::Removed) && touch("d/gone").existed == Some(true));
    assert!(touch("d/kept").has(Use::Attributes) && touch("d/new").has(Use::Created));
    // What is looked for in vain is missing under the other name, too.
    assert!(touch("t/none").has(Use::Missing));
    let behind = t.iter().find(|(path, touch)| {
        path.starts_with(space.at("t")) && **path != *space.at("t") && !touch.has(Use::Missing)
    });
    assert_eq!(behind, None);
}

#[test]
fn an_update_in_place_depends_on_what_was_there() {
    let space = Space::new();
    for name in ["appended", "replaced"] {
        space.write(name, "old\n");
    }
    let seen =
        space.sh("echo new >>appended; echo new >replaced; echo new >>fresh; cat replaced fresh appended");
    assert_eq!(seen.stdout, b"new\nnew\nold\nnew\n");
    let t = &seen.touches;
    let mine: Vec<_> = inputs(t).into_iter().filter(|path| path.starts_with(&space.path)).collect();
    assert_eq!(mine, [space.at("appended")]);
    assert_eq!(t.get(space.at("replaced")).unwrap().existed, Some(true));
    assert_eq!(t.get(space.at("fresh")).unwrap().existed, Some(false));
}

#[test]
fn scripts_are_followed_to_their_interpreters() {
    let space = Space::new();
    let inner = space.script("inner", "#! /bin/sh\necho run by inner: \"$@\"\n");
    let outer = space.script("outer", &format!("#!{} -x\n", inner.display()));
    let broken = space.script("broken", "#!/no/such/interpreter\n");
    let seen = space.run(&space.command(&outer, &[]));
    assert!(seen.stdout.starts_with(b"run by inner: -x"), "{seen:?}");
    for program in [&outer, &inner, Path::new("/bin/sh")] {
        let touch = seen.touches.get(program).unwrap();
        assert!(touch.has(Use::Executed) && touch.has(Use::Read) && touch.input, "{program:?}");
    }
    let seen = space.sh("./broken");
    assert_eq!(seen.status.code(), Some(127));
    assert!(seen.touches.missing().any(|path| path == Path::new("/no/such/interpreter")));
    assert!(read(&seen.touches, &broken));
}

#[test]
fn a_compiler_and_its_parts() {
    let space = Space::new();
    space.write("tiny.h", "#define ANSWER 42\n");
    space.write(
        "tiny.c",
        "#include <stdio.h>\n#include \"tiny.h\"\nint main(void) { return printf(\"%d\", ANSWER); }\n",
    );
    let command = space.command("/usr/bin/gcc", &["-O2", "-c", "tiny.c", "-o", "tiny.o"]);
    let plain = |_| {
        let start = Instant::now();
        let mut command = std::process::Command::new("/usr/bin/gcc");
        command.args(["-O2", "-c", "tiny.c", "-o", "tiny.o"]).current_dir(&space.path);
        assert!(command.status().unwrap().success());
        start.elapsed()
    };
    let observed = |_| {
        let start = Instant::now();
        let seen = space.run(&command);
        (start.elapsed(), seen)
    };
    let mut alone: Vec<_> = (0..7).map(plain).collect();
    fs::remove_file(space.at("tiny.o")).unwrap();
    let (first, seen) = observed(0);
    let mut traced: Vec<_> = (1..7).map(|i| observed(i).0).chain([first]).collect();
    alone.sort();
    traced.sort();
    println!(
        "gcc -O2 -c: {:?} alone, {:?} observed, {} stops (medians of 7)",
        alone[3], traced[3], seen.stops
    );

    assert!(seen.status.success(), "{seen:?}");
    let t = &seen.touches;
    for name in ["cc1", "as", "gcc", "tiny.c", "tiny.h", "stdio.h", "libc.so.6", "ld-linux-x86-64.so.2"] {
        assert!(t.inputs().any(|(path, _)| path.ends_with(name)), "{name} is not among the inputs");
    }
    for name in ["cc1", "as", "gcc"] {
        assert!(t.with(Use::Executed).any(|(path, _)| path.ends_with(name)), "{name} was not executed");
    }
    let object = t.get(space.at("tiny.o")).unwrap();
    assert!(object.has(Use::Created) && !object.input);
    // The temporary assembler file is read again, but is the command's own.
    assert!(
        t.with(Use::Removed).any(|(path, touch)| path.extension().is_some_and(|e| e == "s") && !touch.input)
    );
    assert_eq!((t.gaps, t.foreign, t.network), (0, false, false));
}

#[test]
fn unusual_ways_to_a_file() {
    let space = Space::new();
    fs::create_dir(space.at("dir")).unwrap();
    space.write("dir/file", "x");
    let absolute = space.at("dir/file");
    let absolute = absolute.to_str().unwrap();
    for (way, arguments) in [
        ("raw", &["dir/file"][..]),
        ("raw", &[absolute]),
        ("dirfd", &["dir", "file"]),
        ("dirfd", &["/", absolute]),
        ("fchdir", &["dir", "file"]),
        ("threads", &["dir/file"]),
        ("stop", &["dir/file"]),
        ("orphan", &["dir/file"]),
    ] {
        let seen = odd(&space, way, arguments);
        assert!(read(&seen.touches, absolute), "{way} {arguments:?}: {:?}", seen.touches);
        assert_eq!(seen.touches.gaps, 0, "{way}");
    }
    let seen = odd(&space, "openat2", &["made"]);
    assert!(seen.touches.get(space.at("made")).unwrap().has(Use::Created));
    let seen = odd(&space, "in-root", &["dir"]);
    assert!(
        read(&seen.touches, absolute) && with(&seen.touches, Use::Missing).contains(&space.at("dir/none"))
    );
    assert!(seen.touches.get(space.at("dir/made")).unwrap().has(Use::Created), "{:?}", seen.touches);
    let seen = odd(&space, "attributes", &["dir/file"]);
    let touch = seen.touches.get(absolute).unwrap();
    assert!(touch.has(Use::Attributes) && touch.has(Use::Written) && touch.has(Use::Read));
}

#[test]
fn unusual_ways_to_a_program() {
    let space = Space::new();
    for way in ["vfork", "clone", "thread-exec", "leader-exits", "fexecve"] {
        let seen = odd(&space, way, &["/bin/cat", "/etc/passwd"]);
        assert!(seen.touches.with(Use::Executed).any(|(path, _)| path.ends_with("bin/cat")), "{way}");
        assert!(read(&seen.touches, "/etc/passwd"), "{way}: {seen:?}");
        assert!(seen.stdout.starts_with(b"root:"), "{way}");
    }
}

#[test]
fn signals_reach_the_program() {
    let space = Space::new();
    for way in ["handler", "interrupted"] {
        let seen = odd(&space, way, &[]);
        assert!(seen.touches.missing().any(|path| path == space.at("from-handler")), "{way}");
    }
    assert!(odd(&space, "killed", &["x"]).touches.missing().any(|path| path == space.at("x")));
    let seen = space.sh("kill -TERM $$");
    assert_eq!(seen.status.signal(), Some(libc::SIGTERM));
}

#[test]
fn what_cannot_be_seen_is_refused_or_told() {
    let space = Space::new();
    space.write("file", "x");
    odd(&space, "refused", &["file"]);
    assert!(odd(&space, "network", &[]).touches.network);
    assert!(odd(&space, "bad-pointers", &[]).touches.gaps == 0);
    let seen = odd(&space, "socket", &[]);
    assert!(seen.touches.get(space.at("socket")).unwrap().has(Use::Created));
    assert!(seen.touches.missing().any(|path| path == space.at("none")));
    assert!(!seen.touches.network);
    let seen = space.run(&{
        let program = space.compile("odd", include_str!("odd.c"), &["-pthread"]);
        space.command(program, &["foreign"])
    });
    // A kernel without 32-bit calls kills the program instead.
    assert!(seen.touches.foreign || !seen.status.success(), "{seen:?}");
}

#[test]
fn time_runs_out_for_everybody() {
    let space = Space::new();
    let command = space.command("/bin/sh", &["-c", "sleep 100 & sleep 100 & cat missing; wait"]);
    let start = Instant::now();
    let options = Options { timeout: Some(Duration::from_millis(300)), rest: Rest::Wait };
    let seen = observe(&command, &options).unwrap();
    assert!(seen.timed_out && seen.status.signal() == Some(libc::SIGKILL));
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(seen.touches.missing().any(|path| path == space.at("missing")));
}

#[test]
fn those_who_stay_behind_are_killed_if_wanted() {
    let space = Space::new();
    let program = space.compile("odd", include_str!("odd.c"), &["-pthread"]);
    let options = Options { timeout: Some(Duration::from_secs(30)), rest: Rest::Kill };
    let seen = observe(&space.command(program, &["sleeper"]), &options).unwrap();
    assert!(seen.status.success() && !seen.timed_out);
}

#[test]
fn what_cannot_be_started_is_an_error() {
    let space = Space::new();
    let options = Options::default();
    let start = |command: &Command| observe(command, &options).unwrap_err();
    let error = start(&space.command("/no/such/program", &[]));
    assert!(matches!(&error, Error::Start(source) if source.raw_os_error() == Some(libc::ENOENT)), "{error}");
    let error = start(&space.command(space.write("text", "not executable"), &[]));
    assert!(matches!(&error, Error::Start(source) if source.raw_os_error() == Some(libc::EACCES)), "{error}");
    let error = start(&Command { cwd: "/no/such/directory".into(), ..Command::new("/bin/true") });
    assert!(matches!(&error, Error::Start(source) if source.raw_os_error() == Some(libc::ENOENT)), "{error}");
    assert!(matches!(start(&space.command("/bin/true", &["a\0b"])), Error::Nul(_)));
}

#[test]
fn other_children_of_the_caller_are_left_alone() {
    let space = Space::new();
    let mut other = std::process::Command::new("/bin/sh").args(["-c", "exit 5"]).spawn().unwrap();
    let threads: Vec<_> =
        (0..4).map(|_| std::thread::spawn(|| Space::new().sh("cat /etc/passwd | wc -l"))).collect();
    assert!(space.sh("true").status.success());
    for thread in threads {
        let seen = thread.join().unwrap();
        assert!(seen.status.success() && read(&seen.touches, "/etc/passwd"));
    }
    assert_eq!(other.wait().unwrap().code(), Some(5));
}

#[test]
fn much_output_does_not_block() {
    let seen = Space::new().sh("head -c 1000000 /dev/zero; head -c 300000 /dev/zero >&2");
    assert_eq!((seen.stdout.len(), seen.stderr.len()), (1_000_000, 300_000));
    assert!(seen.touches.get("/dev/zero").unwrap().special);
}

#[test]
fn names_that_are_not_text() {
    let space = Space::new();
    let seen = space.sh(r#"n=$(printf 'a\377\nb'); echo x >"$n"; cat "$n""#);
    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"a\xff\nb");
    assert!(seen.touches.get(space.path.join(name)).unwrap().has(Use::Created));
}
