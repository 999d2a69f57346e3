// SPDX-License-Identifier: Apache-2.0
//! Replays of commands that make symbolic links, and of those that find something by way of these.

use std::fs;
use std::path::Path;

use tests::TestSpace;

use super::names::run_recorded;
use super::{built, is_as_made, replay, replayed};

/// How many commands a replay runs: each has a reduction of its own, also those whose results are needed to go on.
fn run_by(space: &TestSpace, trace: &Path) -> usize {
    let count = || {
        space.sh("find \"$GG_DIR/reductions\" -type f | wc -l").ok().out().trim().parse::<usize>().unwrap()
    };
    let before = count();
    replay(space, trace, &[]).ok();
    count() - before
}

/// As libtool's script does it.
const LIBRARY: &str = "all: out\n\
    %.o: %.c\n\tgcc -fPIC -c $< -o $@\n\
    liba.la: a.o b.o\n\
    \trm -fr .libs/liba.so .libs/liba.so.1; test -d .libs || mkdir .libs; \\\n\
    \tgcc -shared -Wl,-soname,liba.so.1 -o .libs/liba.so.1.0 a.o b.o && \\\n\
    \t(cd .libs && rm -f liba.so.1 && ln -s liba.so.1.0 liba.so.1) && \\\n\
    \t(cd .libs && rm -f liba.so && ln -s liba.so.1.0 liba.so) && \\\n\
    \tar rc .libs/liba.a a.o b.o && echo '# liba.la' >liba.la && \\\n\
    \t(cd .libs && rm -f liba.la && ln -s ../liba.la liba.la)\n\
    main: main.o liba.la\n\tgcc main.o -L.libs -la -Wl,-rpath,'$$ORIGIN/.libs' -o main\n\
    out: main\n\t./main >out\n";

fn library() -> TestSpace {
    TestSpace::with(&[
        ("Makefile", LIBRARY),
        ("a.c", "int a(void) { return 1; }\n"),
        ("b.c", "int b(void) { return 2; }\n"),
        (
            "main.c",
            "#include <stdio.h>\nint a(void), b(void);\nint main(void) { printf(\"%d\\n\", a() + b()); return 0; }\n",
        ),
    ])
}

#[test]
fn a_shared_library_is_linked_again() {
    for fresh in [false, true] {
        let space = library();
        if fresh {
            space.keep();
        }
        let trace = run_recorded(&space);
        assert_eq!(replayed(&space, &trace).run, 0);
        if !fresh {
            space.keep();
        }
        for (source, from, to, run) in [
            ("a.c", "return 1", "return 10", 4),
            ("main.c", "a() + b()", "a() * b()", 3),
            // Says the same: the compile alone.
            ("b.c", "return 2", "return /* two */ 2", 1),
        ] {
            space.restore();
            let edit = || space.replace(source, from, to);
            edit();
            assert_eq!(run_by(&space, &trace), run, "{source}, fresh: {fresh}");
            assert_eq!(
                space.run(&["make", "-q", "out"]).code(),
                0,
                "make would still build something: {source}"
            );
            assert_eq!(replayed(&space, &trace).run, 0, "all is known");
            is_as_made(&space, edit);
        }
    }
}

/// What the command finds there, the command, which leaves its links and `out` for what is in `in`.
const FORMS: [(&str, &str); 12] = [
    ("", "cp in out; ln -s out link"),
    ("", "cp in out; ln -s nowhere dangling; ln -s /nowhere/at/all far"),
    ("", "cp in out; ln -s $$PWD/out absolute; cat absolute >copy"),
    ("", "cp in out; ln -s out l1; ln -s l1 l2; ln -s $$PWD/l2 l3; cat l3 >copy"),
    ("", "mkdir d-1; ln -s d-1 d; cp in d/x; ln -s x d/y; cat d/y >out; echo >d/z"),
    (
        "",
        "mkdir -p deep/er; cd deep; ln -s er e; cd e; cp ../../in x; ln -s ../../out out; cp x ../../out; cp out y",
    ),
    ("", "ln -s out t; mv t link; cp in out; ln -s gone gone; rm gone"),
    ("", "cp in out; ln -s out link; ln link other; test -h link && test -h other"),
    ("ln -s elsewhere was; echo old >file", "cp in out; ln -sf out was; ln -sf out file"),
    ("ln -s elsewhere was; echo old >file", "cp in out; rm was file; ln -s out was; ln -s out file"),
    ("mkdir e-1 e-2; ln -s e-1 e", "ln -sfn e-2 e; cp in e/x; cat e/x >out"),
    ("mkdir real; ln -s real s", "cp in s/out; cd s; ln -s out link; ln -s s/link ../up"),
];

#[test]
fn links_of_each_form_are_made_again() {
    for (before, recipe) in FORMS {
        let makefile = format!("all:\n\t{recipe}\n");
        let space = TestSpace::with(&[("Makefile", &makefile), ("in", "1\n")]);
        space.sh(before).ok();
        space.keep();
        let trace = run_recorded(&space);
        let edit = || space.write("in", "2\n");
        edit();
        assert_eq!(replayed(&space, &trace).run, 1, "{recipe}");
        is_as_made(&space, edit);
        // In a fresh copy; and where there is none of them.
        space.restore();
        edit();
        for change in ["true", "find . -type l -delete"] {
            space.sh(if before.is_empty() { change } else { "true" }).ok();
            assert_eq!(replayed(&space, &trace).run, 0, "{recipe}: it is known");
        }
        is_as_made(&space, edit);
    }
}

/// By way of links of commands that are done again, and of such as are not.
#[test]
fn who_reads_through_a_link_is_run_again() {
    for (makefile, run) in [
        ("all: y\nreal: in\n\tcp in real; ln -sf real l\ny: real\n\tcat l >y\n", 2),
        ("all: y\nreal: in\n\tcp in real\nl: real\n\tln -sf real l\ny: l\n\tcat l >y\n", 2),
        ("all: y\nreal: in\n\tln -sf real l; cp in real\nz: real\n\tln -sf l z\ny: z\n\tcat z >y\n", 2),
        ("all: y\nd:\n\tmkdir d-1; ln -s d-1 d\nd/x: in | d\n\tcp in d/x\ny: d/x\n\tcat d/x >y\n", 2),
        ("all: y\nd-1/x: in\n\tmkdir -p d-1; ln -sfn d-1 d; cp in d/x\ny: d-1/x\n\tcd d; cat x >../y\n", 2),
    ] {
        for fresh in [false, true] {
            let space = TestSpace::with(&[("Makefile", makefile), ("in", "1\n")]);
            if fresh {
                space.keep();
            }
            let trace = run_recorded(&space);
            if !fresh {
                space.keep();
            }
            space.restore();
            let edit = || space.write("in", "2\n");
            edit();
            assert_eq!(run_by(&space, &trace), run, "{makefile}, fresh: {fresh}");
            assert_eq!(space.read("y"), b"2\n");
            is_as_made(&space, edit);
        }
    }
}

/// A link that is another one by now, or is missing, or is one more, is told, and what was there stays.
#[test]
fn other_links_than_then_are_told() {
    for (recipe, said) in [
        ("cp in out; ln -s `cat in` link", "it made another link of"),
        ("cp in out; ln -s out link; ! grep -q two in || ln -s out more", "it made a link of"),
        ("cp in out; grep -q two in || ln -s out link", "did not make the link"),
        ("cp in out; if grep -q two in; then cp in link; else ln -s out link; fi", "it wrote"),
        ("cp in out; if grep -q two in; then mkdir link; else ln -s out link; fi", "it made the directory"),
    ] {
        let makefile = format!("out: in\n\t{recipe}\n");
        let space = TestSpace::with(&[("Makefile", &makefile), ("in", "one\n")]);
        let trace = run_recorded(&space);
        let link = || fs::read_link(space.path("link")).unwrap();
        let was = link();
        space.write("in", "two\n");
        replay(&space, &trace, &[]).fails().says(said).says(if said.contains("write") { "" } else { "link" });
        assert_eq!(link(), was, "{recipe}");
        assert!(!space.path("more").is_symlink());
        // Where it does as it did, it is done.
        space.write("in", "one\n");
        replay(&space, &trace, &[]).ok();
        assert_eq!((space.read("out"), link()), (b"one\n".to_vec(), was), "{recipe}");
    }
}

/// A link takes the place of a file, of which there is no other copy, when its command has ended well.
#[test]
fn what_a_link_is_to_replace_stays_where_the_command_fails() {
    const MAKEFILE: &str =
        "out: in\n\tgrep -v bad in >out && ln -sf out config && ln -sfn d-2 d && cp in d/x\n";
    let space =
        TestSpace::with(&[("Makefile", MAKEFILE), ("in", "1\n"), ("config", "mine\n"), ("d-2/keep", "")]);
    space.keep();
    let trace = run_recorded(&space);
    space.restore();
    space.write("in", "bad\n");
    replay(&space, &trace, &[]).fails();
    assert_eq!(space.read("config"), b"mine\n");
    assert!(!space.path("config").is_symlink());
    space.restore();
    let edit = || space.write("in", "2\n");
    edit();
    assert_eq!(replayed(&space, &trace).run, 1);
    is_as_made(&space, edit);
}

/// What it has read by way of a link that it then replaces is not known.
#[test]
fn who_replaces_the_link_through_which_it_reads_is_not_run_again() {
    for recipe in ["cat in l >y; ln -sf y l", "cat in e/x >y; ln -sfn e-2 e"] {
        let makefile = format!("y: in\n\t{recipe}\n");
        let space =
            TestSpace::with(&[("Makefile", &makefile), ("in", "1\n"), ("e-1/x", "x\n"), ("e-2/x", "y\n")]);
        space.sh("ln -s e-1/x l; ln -s e-1 e").ok();
        let trace = run_recorded(&space);
        space.write("in", "2\n");
        replay(&space, &trace, &[]).fails().says("where it has used another one");
        assert_eq!(space.read("y"), b"1\nx\n");
    }
}

/// A replay that cannot be done leaves the links as they were.
#[test]
fn a_replay_that_ends_early_puts_links_back() {
    const MAKEFILE: &str = "all: out last\nout: in\n\tcp in out; ln -sf out link; ln -sf out file\n\
        last: out\n\tcat out link >last; cat /proc/uptime >/dev/null\n";
    let space = TestSpace::with(&[("Makefile", MAKEFILE), ("in", "1\n")]);
    let trace = run_recorded(&space);
    space.sh("ln -sfn mine link; rm file; echo mine >file").ok();
    space.write("in", "2\n");
    replay(&space, &trace, &[]).fails().says("no replay can do");
    assert_eq!(fs::read_link(space.path("link")).unwrap().to_str(), Some("mine"));
    assert_eq!((space.read("file"), space.read("out")), (b"mine\n".to_vec(), b"1\n".to_vec()));
}

/// The link is gone when the command has ended, and nobody could follow it any more.
#[test]
fn what_is_read_and_written_through_a_link_of_the_command_s_own_counts() {
    for recipe in [
        "ln -s in l; cat l > out; rm l",
        "ln -s d l; cat l/in > out; rm l",
        "ln -s out l; cat in > l; rm l",
        "ln -s in k; ln -s k l; cat l > out; rm k l",
        "mkdir t; ln -s ../in t/in; cat t/in > out; rm -r t",
    ] {
        for method in ["auto", "ptrace"] {
            let space = TestSpace::with(&[
                ("in", "1\n"),
                ("d/in", "1\n"),
                ("Makefile", &format!("out:\n\t{recipe}\n")),
            ]);
            let trace = space.outside().join("trace");
            space.ggtrace(&["--method", method, "-o", trace.to_str().expect("our own path"), "make"]).ok();
            space.sh("echo 22 > in; echo 22 > d/in").ok();
            replay(&space, &trace, &[]).ok();
            assert_eq!(space.read("out"), b"22\n", "{recipe} {method}");
            space.sh("rm out; echo 333 > in; echo 333 > d/in").ok();
            space.ggtrace(&["--method", method, "make"]).ok();
            space.force_all();
            assert_eq!(space.read("out"), b"333\n", "{recipe} {method}");
        }
    }
}

/// A makefile that a command makes which was observed in an earlier recording, and is deferred in this one.
/// Nothing is behind it, but it is there.
#[test]
fn a_link_that_leads_nowhere_counts() {
    let space = TestSpace::with(&[(
        "Makefile",
        "out:\n\tset -e; readlink link > $@; test -e link || echo nowhere >> $@\n",
    )]);
    space.sh("ln -s one link").ok();
    let trace = built(&space);
    assert_eq!(space.read("out"), b"one\nnowhere\n");
    assert_eq!(replayed(&space, &trace).run, 0);
    space.sh("ln -sfn two link").ok();
    replay(&space, &trace, &[]).fails().says("link now leads elsewhere");
}

/// The linker reads a library by the name of a link that leads to it.
#[test]
fn a_library_is_made_anew_and_is_read_through_links() {
    for method in [&["--run"][..], &[]] {
        let space = TestSpace::with(&[
            (
                "Makefile",
                "prog: main.o libx.so\n\t$(CC) -o $@ main.o -L. -lx -Wl,-rpath,'$$ORIGIN'\n\
                libx.so: libx.so.1\n\tln -sf libx.so.1 libx.so\n\
                libx.so.1: x.c\n\t$(CC) -shared -fPIC -o $@ x.c\n",
            ),
            ("main.c", "int x(void);\nint main(void) { return x(); }\n"),
            ("x.c", "int x(void) { return 1; }\n"),
        ]);
        let trace = space.outside().join("trace");
        space.ggtrace(&[method, &["-o", trace.to_str().unwrap(), "make"]].concat()).ok();
        space.force_all();
        let edit =
            || space.write("x.c", "int more(void) { return 2; }\nint x(void) { return more() - 2; }\n");
        space.keep();
        edit();
        replayed(&space, &trace);
        space.run(&["./prog"]).ok();
        is_as_made(&space, edit);
    }
}
