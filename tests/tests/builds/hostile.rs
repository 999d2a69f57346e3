// SPDX-License-Identifier: Apache-2.0
//! Forged objects, hostile trees and outputs, files and disks that refuse: what is asked for is refused in one line, nothing
//! is written where no placeholder stands, and once the cause is gone the same commands give the right result. What a
//! bit flipped by chance does is in `bad_input`.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User};
use tests::{Forced, Ran, Snapshot, TestSpace};
use thunk::trace::{Command, Disposition, Writer};
use thunk::{
    ObjectKind, ObjectName, OutputRef, Placeholder, Reduction, Store, Thunk, ThunkInput, Tree, TreeEntry,
    TreeNode,
};

/// One plain line of complaint beside the closing counts, nothing that only a programmer understands.
#[track_caller]
fn one_line(ran: Ran) -> Ran {
    let ran = ran.fails();
    let lines = complaints(&ran);
    assert_eq!(lines.len(), 1, "one line was expected:\n{ran}");
    let twice = lines[0].matches("(os error").count() > 1;
    assert!(!twice && !lines[0].contains("Error {"), "not a line for people:\n{ran}");
    ran
}

fn complaints(ran: &Ran) -> Vec<String> {
    ran.err().lines().filter(|l| !l.contains(" thunks: ")).map(Into::into).collect()
}

pub fn recorded() -> TestSpace {
    let space = TestSpace::with(&[("a.c", "int a = 1;\n"), ("b.c", "int b = 2;\n")]);
    space.ggtrace_sh("gcc -c a.c; gcc -c b.c").ok();
    space
}

pub fn store(space: &TestSpace) -> Store {
    Store::open(&space.store()).expect("the store is there")
}

pub fn thunk_of(space: &TestSpace, path: &str) -> ObjectName {
    Placeholder::read(&space.path(path)).expect("readable").expect("a placeholder").output.thunk
}

/// Puts a placeholder at `path` for this thunk, which is put into the store.
pub fn plant(space: &TestSpace, path: &str, thunk: &Thunk) {
    let thunk = store(space).put_thunk(thunk).expect("the store can be written to");
    let placeholder = Placeholder { output: OutputRef { thunk, output: None }, store: space.store() };
    space.write(path, placeholder.encode(&TestSpace::program("gg")).expect("short paths"));
}

/// The thunk of `a.o` with a shell script in the compiler's place.
pub fn scripted(space: &TestSpace, script: &str, output: &Path) -> Thunk {
    let store = store(space);
    let mut thunk = store.thunk(&thunk_of(space, "a.o")).expect("recorded");
    let shell = fs::canonicalize("/bin/sh").expect("there is a shell");
    let (value, _) = store.put_file(&shell).expect("readable");
    thunk.function = Some(value);
    thunk.executables.push(thunk::Input { path: shell.clone(), value });
    thunk.program = Some(shell);
    thunk.args = ["sh", "-c", script].map(Into::into).into();
    thunk.outputs = vec![output.into()];
    thunk.optional_outputs.clear();
    thunk
}

#[track_caller]
fn is_elf(space: &TestSpace, path: &str) {
    assert!(space.read(path).starts_with(b"\x7fELF"), "{path} was not made");
}

#[test]
fn an_object_under_the_name_of_another_is_refused() {
    let space = recorded();
    let source = |text: &[u8]| ObjectName::of(ObjectKind::Value, text);
    let pairs = [
        (thunk_of(&space, "a.o"), thunk_of(&space, "b.o")),
        (source(b"int a = 1;\n"), source(b"int b = 2;\n")),
    ];
    for (name, other) in pairs {
        let store = store(&space);
        let path = store.find(&name).expect("recorded");
        let good = fs::read(&path).expect("readable");
        fs::write(&path, store.read(&other).expect("recorded")).expect("our own store");
        one_line(space.ggforce(&["a.o"])).says(&name.to_string());
        assert!(space.is_placeholder("a.o"), "made from something else");
        fs::write(&path, good).expect("our own store");
    }
    space.force_all();
    is_elf(&space, "a.o");
}

#[test]
fn two_thunks_that_claim_to_need_each_other() {
    let space = recorded();
    let names = ["a.o", "b.o"].map(|path| thunk_of(&space, path));
    let store = store(&space);
    let paths = names.map(|name| store.find(&name).expect("recorded"));
    let good = paths.clone().map(|path| fs::read(path).expect("readable"));
    for at in [0, 1] {
        let mut forged = store.thunk(&names[at]).expect("recorded");
        let from = OutputRef { thunk: names[1 - at], output: None };
        forged.thunks.push(ThunkInput { path: space.path("other.o"), from });
        fs::write(&paths[at], forged.encode()).expect("our own store");
    }
    one_line(space.ggforce(&["a.o"]));
    one_line(space.ggforce(&["b.o"]));
    for at in [0, 1] {
        fs::write(&paths[at], &good[at]).expect("our own store");
    }
    space.force_all();
}

#[test]
fn a_damaged_reduction_is_as_good_as_none() {
    let space = recorded();
    let reduction = space.store().join("reductions").join(thunk_of(&space, "a.o").to_string());
    space.ggforce(&["a.o"]).ok();
    let (made, good) = (space.read("a.o"), fs::read(&reduction).expect("it was forced"));
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for bad in [&b""[..], b"garbage", &good[..good.len() - 1], &flipped, &[&good[..], b"more"].concat()] {
        fs::remove_file(space.path("a.o")).expect("our own file");
        space.ggtrace_sh("gcc -c a.c").ok();
        fs::write(&reduction, bad).expect("our own store");
        let ran = space.ggforce(&["a.o"]).ok();
        assert_eq!((Forced::of(&ran).run, complaints(&ran).len()), (1, 0), "{ran}");
        assert!(made == space.read("a.o"), "another result: {ran}");
        let mended = fs::read(&reduction).expect("our own store");
        Reduction::decode("mended", &mended).expect("the damaged one was replaced");
    }
}

#[test]
fn a_damaged_result_is_reported_and_never_used() {
    let space = recorded();
    space.ggforce(&["a.o"]).ok();
    let made = space.read("a.o");
    let name = ObjectName::of(ObjectKind::Value, &made);
    let path = store(&space).find(&name).expect("it was forced");
    let mut flipped = made.clone();
    flipped[made.len() / 2] ^= 1;
    fs::write(&path, flipped).expect("our own store");
    fs::remove_file(space.path("a.o")).expect("our own file");
    space.ggtrace_sh("gcc -c a.c; gcc -r -nostdlib -o ab.o a.o b.o").ok();
    for target in ["a.o", "ab.o"] {
        let ran = space.ggforce(&[target]);
        // Either it is told, or the thunk was run again and the object replaced.
        if ran.status.success() {
            assert!(target != "a.o" || made == space.read("a.o"), "the damaged object was used: {ran}");
        } else {
            one_line(ran).says(&name.to_string());
            assert!(space.is_placeholder(target));
        }
    }
    drop(fs::remove_file(&path));
    space.force_all();
    assert!(made == space.read("a.o"));
    is_elf(&space, "ab.o");
}

#[test]
fn trees_that_no_file_system_could_hold() {
    let space = recorded();
    let good = store(&space).thunk(&thunk_of(&space, "a.o")).expect("recorded");
    let value = good.values.first().expect("a compile has inputs").value;
    let file = || TreeNode::File { value, executable: false };
    let huge = ObjectName::new(ObjectKind::Value, *value.digest(), 10 << 30);
    let entry = |path: &str, node| TreeEntry { path: path.into(), node };
    let trees = [
        Tree::new(vec![entry("/", file())]),
        Tree::new(vec![entry("/", TreeNode::Link("/etc".into()))]),
        Tree::new(vec![entry("/x", file()), entry("/x/y", file())]),
        Tree::new(vec![entry("/x", TreeNode::Link("x".into())), entry("/x/y", file())]),
        Tree::new(vec![entry("/up", TreeNode::Link("../../../../etc".into())), entry("/up/gotcha", file())]),
        Tree::new(vec![entry("/proc/self/exe", file()), entry("/dev/null", file())]),
        Tree::new(vec![entry("/huge", TreeNode::File { value: huge, executable: false })]),
    ];
    let forge = |tree: ObjectName| Thunk { trees: vec![tree], ..good.clone() };
    for tree in &trees {
        plant(&space, "evil.o", &forge(store(&space).put_tree(tree).expect("the store can be written to")));
        one_line(space.ggforce(&["evil.o"]));
        assert!(!Path::new("/etc/gotcha").exists() && space.is_placeholder("evil.o"), "{tree:?}");
    }
    // What is no tree, and what is not there.
    for tree in [value, huge] {
        plant(&space, "evil.o", &forge(tree));
        one_line(space.ggforce(&["evil.o"]));
    }
    fs::remove_file(space.path("evil.o")).expect("our own file");
    space.force_all();
}

#[test]
fn an_output_that_is_no_file_gives_nothing() {
    let space = recorded();
    let out = space.path("out");
    for script in [
        "mkdir \"$0\"",
        "ln -s /etc/passwd \"$0\"",
        "ln -s out2 \"$0\"",
        "mkfifo \"$0\"",
        ":",
        "ln -s \"$0\" \"$0\"",
    ] {
        let script = script.replace("$0", &out.to_string_lossy());
        let tools = std::env::var("PATH").unwrap_or_default();
        let mut thunk = scripted(&space, &format!("PATH={tools}; {script}"), &out);
        // The tools that the script calls.
        let store = store(&space);
        for tool in ["/bin/mkdir", "/bin/ln", "/usr/bin/mkfifo"] {
            let path = fs::canonicalize(tool).expect("coreutils are there");
            let (value, _) = store.put_file(&path).expect("readable");
            thunk.executables.push(thunk::Input { path, value });
        }
        plant(&space, "out", &thunk);
        let ran = space.ggforce(&["out"]).fails();
        assert!(space.is_placeholder("out"), "{script}: {ran}");
    }
}

#[test]
fn an_output_outside_of_the_tree_is_written_nowhere_but_at_its_placeholder() {
    let space = recorded();
    let victim = PathBuf::from("/etc/gg-hostile-output");
    let script = format!("echo gotcha > {}", victim.display());
    plant(&space, "out", &scripted(&space, &script, &victim));
    drop(space.ggforce(&["out"]));
    assert!(!victim.exists(), "it was written where no placeholder stood");
}

#[test]
fn a_trace_that_names_files_of_others() {
    let space = recorded();
    let victim = space.outside().join("victim");
    fs::write(&victim, "untouched").expect("our own folder");
    let command = |outputs: Vec<PathBuf>| Command {
        id: 1,
        parent: 0,
        cwd: space.tree(),
        argv: vec!["gcc".into()],
        program: "/usr/bin/gcc".into(),
        kind: "compile".into(),
        disposition: Disposition::Deferred,
        reason: String::new(),
        thunk: Some(thunk_of(&space, "a.o")),
        outputs,
        at_us: 0,
        took_us: 0,
    };
    let path = space.outside().join("forged.trace");
    let given = path.to_str().expect("a path of ours");
    let forge = |outputs| {
        // In the store of somebody else: one in ours would be the last recording.
        let theirs = Store::open(&space.outside().join("forger")).expect("our own folder");
        let writer = Writer::create(&theirs, Some(&path), &space.tree(), &[], &[]).expect("our own folder");
        writer.command(&command(outputs)).expect("our own folder");
        writer.end(0, 1).expect("our own folder");
    };
    // Nothing but placeholders is replaced, and what is not there is not made.
    forge(vec![
        victim.clone(),
        space.outside().join("new"),
        "/etc/passwd".into(),
        "/dev/null".into(),
        "/".into(),
    ]);
    let ran = space.ggforce(&["--trace", given]);
    assert!(!ran.err().contains("panicked"), "{ran}");
    assert_eq!(fs::read(&victim).expect("still there"), b"untouched");
    assert!(!space.outside().join("new").exists());
    // Paths that lead elsewhere than they say make the trace no trace.
    for bad in ["../x", "/a/../x", "relative", "/a//b"] {
        forge(vec![bad.into()]);
        one_line(space.ggforce(&["--trace", given])).says("forged.trace");
    }
    one_line(space.ggforce(&["--trace", "nowhere.trace"])).says("nowhere.trace");
    space.force_all();
}

#[test]
fn a_placeholder_behind_links() {
    let space = recorded();
    symlink("a.o", space.path("link.o")).expect("our own folder");
    symlink("loop.o", space.path("loop.o")).expect("our own folder");
    symlink("nowhere.o", space.path("dangling.o")).expect("our own folder");
    one_line(space.ggforce(&["loop.o"])).says("loop.o");
    one_line(space.ggforce(&["dangling.o"])).says("dangling.o");
    space.ggforce(&["link.o"]).ok();
    assert!(space.path("link.o").is_symlink(), "the link is still one");
    is_elf(&space, "a.o");
}

/// Somebody who may not do everything: who runs the tests, or `nobody` in a space that was made over to them, with programs
/// that they can reach.
struct Ordinary {
    space: TestSpace,
    bin: PathBuf,
}

impl Ordinary {
    fn new(files: &[(&str, &str)]) -> Self {
        let space = TestSpace::with(files);
        let bin = space.outside().join("bin");
        fs::create_dir(&bin).expect("our own folder");
        for name in ["ggtrace", "ggforce", "gg", "gg-standin", "libgginterceptor.so"] {
            TestSpace::copy_program(&TestSpace::program(name), &bin.join(name));
        }
        let ordinary = Self { space, bin };
        ordinary.make_over();
        ordinary
    }

    fn nobody() -> Option<(Uid, Gid)> {
        let nobody = User::from_name("nobody").ok().flatten().filter(|_| Uid::effective().is_root())?;
        Some((nobody.uid, nobody.gid))
    }

    /// Makes all files of the space theirs.
    fn make_over(&self) {
        let Some((uid, gid)) = Self::nobody() else { return };
        let mut left = vec![self.space.outside().to_path_buf()];
        while let Some(path) = left.pop() {
            chown(&path, Some(uid.as_raw()), Some(gid.as_raw())).expect("root may");
            if path.is_dir() {
                left.extend(
                    fs::read_dir(&path).expect("our own folder").map(|e| e.expect("an entry").path()),
                );
            }
        }
    }

    /// Runs one of the programs, or another command, as them.
    fn run(&self, program: &str, args: &[&str]) -> Ran {
        let program = match self.bin.join(program) {
            ours if ours.is_file() => ours.to_string_lossy().into_owned(),
            _ => program.to_owned(),
        };
        let ids = Self::nobody().map(|(uid, gid)| [format!("--reuid={uid}"), format!("--regid={gid}")]);
        let mut argv: Vec<&str> = Vec::new();
        if let Some([uid, gid]) = &ids {
            argv.extend(["setpriv", uid, gid, "--clear-groups"]);
        }
        argv.push(&program);
        argv.extend(args);
        self.space.run(&argv)
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own file");
}

#[test]
fn an_unreadable_source_is_the_compiler_s_to_complain_of() {
    let ordinary = Ordinary::new(&[("a.c", "int a;\n"), ("b.c", "int b;\n")]);
    set_mode(&ordinary.space.path("a.c"), 0);
    let plain = ordinary.run("gcc", &["-c", "a.c"]).fails();
    let traced = ordinary.run("ggtrace", &["gcc", "-c", "a.c"]);
    assert_eq!((plain.code(), plain.err()), (traced.code(), traced.err()), "{traced}");
    set_mode(&ordinary.space.path("a.c"), 0o644);
    ordinary.run("ggtrace", &["gcc", "-c", "a.c"]).ok();
    ordinary.run("ggforce", &[]).ok();
    is_elf(&ordinary.space, "a.o");
}

/// What the recorder may do is nothing to a build that runs as somebody else.
#[test]
fn a_build_of_another_user_does_what_that_user_may() {
    let Some((uid, gid)) = Ordinary::nobody() else { return };
    let makefile = "all:\n\tcc -c a.c\n\t-cc -c a.c -o ours/b.o\n\t-rm -f ours/file\n\tmv -f a.o b.o\n\t-mv -f b.o ours/b.o\n";
    let ordinary = Ordinary::new(&[("a.c", "int a;\n"), ("Makefile", makefile)]);
    let space = &ordinary.space;
    fs::create_dir(space.path("ours")).expect("our own folder");
    space.write("ours/file", "");
    let (uid, gid) = (format!("--reuid={uid}"), format!("--regid={gid}"));
    let build = ["setpriv", &uid, &gid, "--clear-groups", "make"];
    space.keep();
    let plain = space.run(&build).ok();
    let tree = Snapshot::of(&space.tree());
    space.restore();
    let program = ordinary.bin.join("ggtrace").to_string_lossy().into_owned();
    let traced = space.run(&[&[&*program], &build[..]].concat()).ok();
    assert_eq!((traced.out(), traced.err()), (plain.out(), plain.err()));
    assert_eq!(tree.deviations(&Snapshot::of(&space.tree())), "", "nothing is left to be forced");
    let owner = |name: &str| fs::metadata(space.path(name)).expect("it is there").uid();
    assert!(owner("b.o") != 0 && owner("ours/file") == 0);
}

#[test]
fn what_may_not_be_moved_is_told_by_mv() {
    let makefile = "all:\n\t-cc -c a.c -o common/a.o; mv -f common/a.o common/file\n";
    let ordinary = Ordinary::new(&[("a.c", "int a;\n"), ("Makefile", makefile)]);
    let common = ordinary.space.path("common");
    fs::create_dir(&common).expect("our own folder");
    ordinary.space.write("common/file", "");
    set_mode(&common, 0o1777);
    let plain = ordinary.run("make", &[]).ok();
    let traced = ordinary.run("ggtrace", &["make"]).ok();
    assert_eq!((traced.out(), traced.err()), (plain.out(), plain.err()));
    ordinary.run("ggforce", &[]).ok();
    is_elf(&ordinary.space, if Uid::effective().is_root() { "common/a.o" } else { "common/file" });
}

/// As `install -m 4711` makes programs, and `umask 777` everything.
#[test]
fn files_that_their_owner_must_not_read_are_forced() {
    let ordinary = Ordinary::new(&[("a.c", "int main(void) { return 7; }\n"), ("secret", "not for us\n")]);
    let space = &ordinary.space;
    set_mode(&space.path("secret"), 0);
    let build = "gcc -c a.c; gcc -o a a.o; gcc -o unread a.o; chmod 0 a.o; install -m 4711 a installed; chmod 311 unread";
    let modes = || {
        let mode = |path: &str| fs::metadata(space.path(path)).expect("it is there").mode() & 0o7777;
        ["a.o", "a", "installed", "unread", "secret"].map(mode)
    };
    ordinary.run("sh", &["-c", build]).ok();
    let plain = modes();
    let made = ["a.o", "a", "installed", "unread"];
    made.iter().for_each(|path| fs::remove_file(space.path(path)).expect("it is there"));
    ordinary.run("ggtrace", &["sh", "-c", build]).ok();
    assert_eq!(modes(), plain);
    ordinary.run("ggforce", &["."]).ok();
    assert_eq!(modes(), plain);
    for path in made {
        is_elf(space, path);
    }
    assert_eq!(ordinary.run("./installed", &[]).code(), 7);
}

#[test]
fn a_store_whose_parts_cannot_be_written_to() {
    for part in ["blobs", "exec", "reductions", "traces", "tmp", "sandbox", "cache", "."] {
        let ordinary = Ordinary::new(&[("a.c", "int a;\n"), ("b.c", "int b;\n")]);
        let space = &ordinary.space;
        ordinary.run("ggtrace", &["gcc", "-c", "a.c"]).ok();
        let before = space.read("a.o");
        set_mode(&space.store().join(part), 0o555);
        let forced = ordinary.run("ggforce", &["a.o"]);
        if forced.status.success() {
            is_elf(space, "a.o");
        } else {
            one_line(forced);
            assert!(before == space.read("a.o"), "{part}: what is not forced stays as it was");
        }
        // Either it is recorded, or it ran, or it is told.
        let traced = ordinary.run("ggtrace", &["gcc", "-c", "b.c"]);
        if !traced.status.success() {
            one_line(traced);
            assert!(!space.path("b.o").exists(), "{part}");
        }
        set_mode(&space.store().join(part), 0o755);
        ordinary.run("ggtrace", &["sh", "-c", "gcc -c a.c; gcc -c b.c"]).ok();
        ordinary.run("ggforce", &[]).ok();
        for path in ["a.o", "b.o"] {
            is_elf(space, path);
        }
    }
}

#[test]
fn a_tree_that_cannot_be_written_to() {
    let ordinary = Ordinary::new(&[("a.c", "int a;\n"), ("b.c", "int b;\n")]);
    let space = &ordinary.space;
    ordinary.run("ggtrace", &["gcc", "-c", "a.c"]).ok();
    set_mode(&space.tree(), 0o555);
    one_line(ordinary.run("ggforce", &["a.o"])).says("a.o").says("Permission denied");
    let plain = ordinary.run("gcc", &["-c", "b.c"]).fails();
    let traced = ordinary.run("ggtrace", &["gcc", "-c", "b.c"]);
    assert_eq!(plain.code(), traced.code(), "{traced}");
    set_mode(&space.tree(), 0o755);
    assert_eq!(Forced::of(&ordinary.run("ggforce", &["a.o"]).ok()).run, 0, "it had been computed already");
    is_elf(space, "a.o");
}

/// Runs a script in a mount namespace of its own, with a small file system at `place`, which the script may fill.
fn on_a_small_disk(space: &TestSpace, place: &Path, size: &str, script: &str) -> Ran {
    fs::create_dir_all(place).expect("our own folder");
    let script = format!(
        "set -e; mount -t tmpfs -o size={size} tmpfs '{}'; fill() {{ cat /dev/zero > \"$1/filler\" 2>/dev/null || :; }}\n{script}",
        place.display()
    );
    let user: &[&str] = if Uid::effective().is_root() { &[] } else { &["--user", "--map-root-user"] };
    space.run(&[&["unshare", "--mount"], user, &["sh", "-c", &script]].concat())
}

/// The script's `$T`, `$F`: recorder and engine; `$1` of `expect` is the exit code that is meant: `0`, or `!` for any other.
fn with_programs(script: &str) -> String {
    let [ggtrace, ggforce] = ["ggtrace", "ggforce"].map(|n| TestSpace::program(n).display().to_string());
    format!(
        "T={ggtrace}; F={ggforce}\nexpect() {{ want=$1; shift; code=0; \"$@\" || code=$?; \
         case $want$code in 00|![1-9]*) ;; *) echo \"WRONG: $* ended with $code\"; exit 9 ;; esac; }}\n{script}"
    )
}

#[test]
fn a_disk_full_under_the_tree() {
    let space = TestSpace::with(&[]);
    let disk = space.path("disk");
    let script = with_programs(
        "cd disk; printf 'const char big[100000] = {1};\\n' > a.c; gcc -c a.c; mv a.o ../plain.o
         expect 0 $T gcc -c a.c; fill .; expect ! $F; grep -q gg-placeholder a.o; rm filler
         expect 0 $F; cmp a.o ../plain.o
         rm a.o; fill .; expect ! $T gcc -c a.c; rm -f filler a.o
         expect 0 $T gcc -c a.c; expect 0 $F; cmp a.o ../plain.o; ls -A > ../left",
    );
    let ran = on_a_small_disk(&space, &disk, "300k", &script).ok();
    assert!(!ran.err().contains("panicked"), "{ran}");
    assert!(ran.err().contains("ggforce: ") && ran.err().contains("No space left on device"), "{ran}");
    assert_eq!(String::from_utf8_lossy(&space.read("left")), "a.c\na.o\n", "something half-written is left");
}

#[test]
fn a_disk_full_under_the_store_while_forcing_and_recording() {
    let space = TestSpace::with(&[("a.c", "const char big[300000] = {1};\n"), ("b.c", "int b;\n")]);
    let script = with_programs(
        "gcc -c a.c; mv a.o plain.o; expect 0 $T gcc -c a.c; cp a.o before.o
         fill \"$GG_DIR\"; expect ! $F; cmp a.o before.o; expect ! $T gcc -c b.c; test ! -e b.o; rm \"$GG_DIR/filler\"
         expect 0 $F; cmp a.o plain.o
         expect 0 $T gcc -c b.c; expect 0 $F b.o",
    );
    let ran = on_a_small_disk(&space, &space.store(), "160m", &script).ok();
    assert!(!ran.err().contains("panicked"), "{ran}");
    let told: Vec<_> =
        complaints(&ran).into_iter().filter(|l| l.contains("No space left on device")).collect();
    assert_eq!(told.len(), 2, "a line of ggforce and one of ggtrace:\n{ran}");
    is_elf(&space, "b.o");
}
