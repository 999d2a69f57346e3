// SPDX-License-Identifier: Apache-2.0
//! What `strace` sees of a build, command by command, and the same of a trace: sets of paths by what was done to them.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tests::TestSpace;
use tests::strace::{Line, split};
use thunk::trace::{Trace, Uses};

/// What was done → the paths to which it was done.
pub type Sets = BTreeMap<&'static str, BTreeSet<PathBuf>>;
/// A command's arguments → what it did.
pub type Commands = BTreeMap<Vec<String>, Sets>;

/// Runs a build under strace: what each child of its first process did, with its descendants, by what it executed. All of it
/// in the tree's directory.
pub fn commands_under_strace(space: &TestSpace, argv: &[&str]) -> Commands {
    let logs = space.outside().join("strace");
    fs::create_dir_all(&logs).unwrap();
    let log = logs.join("log").display().to_string();
    let calls = "trace=%file,%process,getdents64,connect,fchdir,fchmod,fchown";
    let options =
        ["strace", "-ff", "-y", "-qq", "-v", "-s", "4096", "-e", "signal=none", "-e", calls, "-o", &log];
    space.run(&[&options, argv].concat()).ok();
    let mut outputs = BTreeMap::new();
    for entry in fs::read_dir(&logs).unwrap() {
        let path = entry.unwrap().path();
        let pid: u32 = path.extension().unwrap().to_str().unwrap().parse().unwrap();
        outputs.insert(pid, String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned());
    }
    let children = |pid: u32| -> Vec<u32> {
        let forks = |line: &Line| matches!(line.name, "fork" | "vfork" | "clone" | "clone3");
        let lines = outputs.get(&pid).into_iter().flat_map(|output| output.lines());
        let forked = lines.filter_map(Line::parse).filter(|line| forks(line));
        forked.filter_map(|line| line.result.split('<').next()?.trim().parse().ok()).collect()
    };
    let all: BTreeSet<u32> = outputs.keys().flat_map(|&pid| children(pid)).collect();
    let root = *outputs.keys().find(|pid| !all.contains(pid)).unwrap();
    let mut commands = Commands::new();
    for command in children(root) {
        let mut sets = Sets::new();
        let mut name = Vec::new();
        let mut pending = vec![command];
        while let Some(pid) = pending.pop() {
            pending.extend(children(pid));
            let output = outputs.get(&pid).map_or("", String::as_str);
            if pid == command {
                let executed = |line: &Line| line.name == "execve" && !line.failed();
                let line = output.lines().filter_map(Line::parse).find(executed).unwrap();
                name = strings(line.args[1]);
            }
            expect(&mut sets, output, &space.tree());
        }
        commands.insert(name, sets);
    }
    commands
}

/// `["sh", "-c", "a b"]`
fn strings(list: &str) -> Vec<String> {
    let list = list.trim_start_matches('[').trim_end_matches(']');
    let unquoted = |text: &str| text.trim_matches('"').replace("\\\"", "\"").replace("\\n", "\n");
    split(list).into_iter().map(unquoted).collect()
}

/// Adds what the output of strace shows of one process.
fn expect(sets: &mut Sets, output: &str, tree: &Path) {
    let mut cwd = tree.to_owned();
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
        match line.name {
            "getdents64" => line.open(0).into_iter().for_each(|path| add("listed", path)),
            "fchmod" | "fchown" if !line.failed() => {
                line.open(0).into_iter().for_each(|path| add("attributes", path));
            }
            "utimensat" if !line.failed() && line.args[1] == "NULL" => {
                line.open(0).into_iter().for_each(|path| add("attributes", path));
            }
            "fchdir" if !line.failed() => cwd = line.open(0).unwrap_or(cwd),
            _ => {}
        }
        let two = matches!(line.name, "rename" | "renameat" | "renameat2" | "link" | "linkat");
        let from = if two { line.path(first, &cwd) } else { None };
        let at = match line.name {
            "rename" | "link" | "symlink" => 1,
            "renameat" | "renameat2" | "linkat" => 3,
            "symlinkat" => 2,
            _ => first,
        };
        let Some(named) = line.path(at, &cwd).filter(|_| line.name != "getcwd") else { continue };
        if line.is_missing() {
            if !two {
                add("missing", named);
            }
            continue;
        }
        if line.name == "chdir" && !line.failed() {
            cwd.clone_from(&named);
        }
        match line.name {
            "open" | "openat" | "creat" if !line.failed() => {
                let flags = if line.name == "creat" { "O_WRONLY" } else { line.args[first + 1] };
                if named.is_dir() || flags.contains("O_PATH") || flags.contains("O_DIRECTORY") {
                    add("found", named);
                } else {
                    let reads = flags.contains("O_RDONLY") || flags.contains("O_RDWR");
                    if reads && !is_loader(&named) {
                        add("read", named.clone());
                    }
                    if flags.contains("O_WRONLY") || flags.contains("O_RDWR") {
                        add("written", named);
                    }
                }
            }
            "execve" | "execveat" if !line.failed() => add("executed", named),
            "unlink" | "unlinkat" | "rmdir" if !line.failed() => add("removed", named),
            "mkdir" | "mkdirat" | "symlink" | "symlinkat" | "mknod" | "mknodat" if !line.failed() => {
                add("made", named)
            }
            "rename" | "renameat" | "renameat2" if !line.failed() => {
                add("moved away", from.unwrap_or_default());
                add("moved here", named);
            }
            name if ["chmod", "chown", "utime"].iter().any(|part| name.contains(part)) && !line.failed() => {
                add("attributes", named);
            }
            _ if !line.failed()
                || ["EINVAL", "EEXIST", "ENOTEMPTY"].iter().any(|e| line.result.contains(e)) =>
            {
                add("found", named);
            }
            _ => {}
        }
    }
}

/// The same of a trace: the commands that were observed, but for those that only start others.
pub fn commands_in(trace: &Path) -> Commands {
    let trace = Trace::read(trace).unwrap();
    let mut commands = Commands::new();
    for observed in &trace.observed {
        if observed.obstacles.iter().any(|why| why == "runs other commands") {
            continue;
        }
        let mut sets = Sets::new();
        for touch in &observed.touches {
            for (set, uses) in [
                ("read", Uses::READ),
                ("written", Uses::WRITTEN),
                ("executed", Uses::EXECUTED),
                ("missing", Uses::MISSING),
                ("found", Uses::FOUND),
                ("removed", Uses::REMOVED),
                ("listed", Uses::LISTED),
                ("moved away", Uses::MOVED_AWAY),
                ("moved here", Uses::MOVED_HERE),
                ("attributes", Uses::ATTRIBUTES),
            ] {
                let by_kernel = touch.uses.has(Uses::EXECUTED) || is_loader(&touch.path);
                let by_kernel = set == "read" && by_kernel;
                if touch.uses.has(uses) && !by_kernel {
                    sets.entry(set).or_default().insert(normal(&touch.path));
                }
            }
            // What is made otherwise than by writing it: strace does not tell whether an open made a file.
            let made = touch.uses.has(Uses::CREATED) && !touch.uses.has(Uses::WRITTEN);
            if made && !touch.uses.has(Uses::MOVED_HERE) {
                sets.entry("made").or_default().insert(normal(&touch.path));
            }
        }
        let command = trace.commands.iter().find(|command| command.id == observed.id).unwrap();
        let argv = command.argv.iter().map(|a| a.to_string_lossy().into_owned()).collect();
        commands.insert(argv, sets);
    }
    commands
}

/// What the kernel reads to execute a program, which no call shows; the linker may read it, too.
fn is_loader(path: &Path) -> bool {
    path.ends_with("ld-linux-x86-64.so.2")
}

/// The temporary files of gcc and sed have another name in each run; `..` is resolved.
fn normal(path: &Path) -> PathBuf {
    let path = match path.parent().map(fs::canonicalize) {
        Some(Ok(parent)) if path.components().any(|part| part.as_os_str() == "..") => {
            path.file_name().map_or(parent.clone(), |name| parent.join(name))
        }
        _ => thunk::trace::clean(path).unwrap_or_else(|| path.to_owned()),
    };
    let random = |rest: &str| rest.len() == 6 && rest.bytes().all(|b| b.is_ascii_alphanumeric());
    path.components()
        .map(|part| {
            let text = part.as_os_str().to_string_lossy().into_owned();
            let (stem, extension) = text.split_once('.').unwrap_or((&text, ""));
            match ["cc", "st", "sed"].iter().find(|tool| stem.strip_prefix(**tool).is_some_and(random)) {
                Some(tool) => format!("{tool}RANDOM.{extension}"),
                None => text,
            }
        })
        .collect()
}

/// Both must tell the same of the same commands.
#[track_caller]
pub fn assert_same(expected: &Commands, found: &Commands) {
    let names = |commands: &Commands| commands.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(expected), names(found));
    for (name, expected) in expected {
        let found = &found[name];
        for set in expected.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
            let empty = BTreeSet::new();
            let (theirs, ours) = (expected.get(set).unwrap_or(&empty), found.get(set).unwrap_or(&empty));
            let lost: Vec<_> = theirs.difference(ours).collect();
            let invented: Vec<_> = ours.difference(theirs).collect();
            assert!(
                lost.is_empty() && invented.is_empty(),
                "{name:?} {set}: only strace: {lost:#?}, only we: {invented:#?}"
            );
        }
    }
}
