// SPDX-License-Identifier: Apache-2.0
//! What `strace` sees of a build, command by command, and the same of a trace: sets of paths by what was done to them. Commands with the
//! same arguments are one here.

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

/// Runs a build under strace: what each child of a build driver did, with its descendants but for other drivers, by what it
/// executed. The first process is a driver.
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
    let of =
        |pid: u32| outputs.get(&pid).into_iter().flat_map(|output| output.lines()).filter_map(Line::parse);
    let forked = |line: &Line| -> Option<u32> {
        let forks = matches!(line.name, "fork" | "vfork" | "clone" | "clone3");
        line.result.split('<').next().filter(|_| forks)?.trim().parse().ok()
    };
    let all: BTreeSet<u32> =
        outputs.keys().flat_map(|&pid| of(pid).filter_map(|line| forked(&line))).collect();
    let root = *outputs.keys().find(|pid| !all.contains(pid)).unwrap();
    let mut commands = Commands::new();
    // Each process, on whose record it begins (nobody's: it begins a command), and where it starts.
    let mut pending = vec![(root, None, space.tree(), true)];
    while let Some((pid, mut command, mut cwd, mut drives)) = pending.pop() {
        let mut own = Vec::new();
        for line in of(pid) {
            let before = cwd.clone();
            cwd = moved(&line, &cwd).unwrap_or(cwd);
            if let Some(child) = forked(&line) {
                pending.push((child, command.clone().filter(|_| !drives), cwd.clone(), false));
            }
            if drives {
                continue;
            }
            let executed = (line.name == "execve" && !line.failed()).then(|| strings(line.args[1]));
            if let Some(argv) = executed {
                drives = is_driver(&argv);
                if command.is_none() && !drives {
                    command = Some(without_random(&argv));
                }
                // What it becomes is a command of its own, and so is its being executed.
                if drives {
                    continue;
                }
            }
            // What a driver's child does before it executes something, such as opening its standard input, is the driver's.
            if command.is_none() {
                continue;
            }
            own.push((line, before));
        }
        if let Some(command) = command {
            expect(commands.entry(command).or_default(), &own);
        }
    }
    // What is executed is read by the kernel; whether by others, too, is not told of it.
    for sets in commands.values_mut() {
        let executed = sets.get("executed").cloned().unwrap_or_default();
        sets.entry("read").or_default().retain(|path| !executed.contains(path));
    }
    commands
}

/// Does this start the commands of a build?
fn is_driver(argv: &[String]) -> bool {
    let program = argv.first().map(|program| program.rsplit('/').next().unwrap_or(program));
    matches!(program, Some("make" | "gmake" | "ninja"))
}

/// Where the process is after this call.
fn moved(line: &Line, cwd: &Path) -> Option<PathBuf> {
    match line.name {
        "chdir" if !line.failed() => line.path(0, cwd),
        "fchdir" if !line.failed() => line.open(0),
        // It says so itself.
        _ => line.args.first()?.strip_prefix("AT_FDCWD<")?.strip_suffix('>').map(PathBuf::from),
    }
}

/// `["sh", "-c", "a b"]`
fn strings(list: &str) -> Vec<String> {
    let list = list.trim_start_matches('[').trim_end_matches(']');
    let bare = |text: &str| {
        text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).to_owned()
    };
    let unquoted = |text: &str| {
        // Marked first: a backslash is none that something else begins with.
        let text = bare(text).replace("\\\\", "\0");
        text.replace("\\\"", "\"").replace("\\n", "\n").replace("\\t", "\t").replace('\0', "\\")
    };
    split(list).into_iter().map(unquoted).collect()
}

/// Adds what the output of strace shows of one process: calls, and where it was before each.
fn expect(sets: &mut Sets, calls: &[(Line, PathBuf)]) {
    let mut add = |set, path: PathBuf| {
        sets.entry(set).or_default().insert(normal(&path));
    };
    for (line, cwd) in calls {
        // The position of the first path: after a descriptor in the newer calls.
        let first = match line.name {
            "stat" | "lstat" | "creat" => 0,
            "statx" | "faccessat2" | "openat2" | "renameat2" => 1,
            name => usize::from(name.ends_with("at")),
        };
        match line.name {
            "connect" if line.is_missing() => {
                let named = line.args[1].split_once("sun_path=\"").and_then(|(_, rest)| rest.split_once('"'));
                named.into_iter().for_each(|(path, _)| add("missing", cwd.join(path)));
            }
            "getdents64" => line.open(0).into_iter().for_each(|path| add("listed", path)),
            "fchmod" | "fchown" if !line.failed() => {
                line.open(0).into_iter().for_each(|path| add("attributes", path));
            }
            "utimensat" if !line.failed() && line.args[1] == "NULL" => {
                line.open(0).into_iter().for_each(|path| add("attributes", path));
            }
            _ => {}
        }
        let two = matches!(line.name, "rename" | "renameat" | "renameat2" | "link" | "linkat");
        let from = if two { line.path(first, cwd) } else { None };
        let at = match line.name {
            "rename" | "link" | "symlink" => 1,
            "renameat" | "renameat2" | "linkat" => 3,
            "symlinkat" => 2,
            _ => first,
        };
        let Some(named) = line.path(at, cwd).filter(|_| line.name != "getcwd") else { continue };
        // The path begins at the directory, links and all: only where it has led tells.
        let in_root = line.args.iter().any(|arg| arg.contains("RESOLVE_IN_ROOT"));
        let below = in_root || named.starts_with("/dev/fd");
        let opened = line.opened().filter(|_| below && !line.failed());
        let own = named.strip_prefix("/proc/self/cwd").map(|rest| cwd.join(rest));
        let own =
            own.or_else(|_| named.strip_prefix("/proc/self/root").map(|rest| Path::new("/").join(rest)));
        let named = opened.or(own.ok()).unwrap_or(named);
        // It is there, and no directory.
        if line.errno() == Some("ENOTDIR") && line.args.iter().any(|arg| arg.contains("O_DIRECTORY")) {
            add("found", named);
            continue;
        }
        if line.is_missing() {
            if !two {
                add("missing", named);
            }
            continue;
        }
        match line.name {
            "open" | "openat" | "openat2" | "creat" if !line.failed() => {
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
            "execve" | "execveat" if !line.failed() => {
                interpreter(&named).into_iter().for_each(|program| add("executed", program));
                add("executed", named);
            }
            "unlink" | "unlinkat" | "rmdir" if !line.failed() => add("removed", named),
            "mkdir" | "mkdirat" | "symlink" | "symlinkat" | "mknod" | "mknodat" | "link" | "linkat"
                if !line.failed() =>
            {
                add("made", named)
            }
            "rename" | "renameat" | "renameat2" if !line.failed() => {
                let from = from.unwrap_or_default();
                if line.args.iter().any(|arg| arg.contains("RENAME_EXCHANGE")) {
                    add("moved away", named.clone());
                    add("moved here", from.clone());
                }
                add("moved away", from);
                add("moved here", named);
            }
            name if ["chmod", "chown", "utime"].iter().any(|part| name.contains(part)) && !line.failed() => {
                add("attributes", named);
            }
            _ if !line.failed()
                || ["EINVAL", "EEXIST", "ENOTEMPTY", "ENXIO"].iter().any(|e| line.result.contains(e)) =>
            {
                add("found", named);
            }
            _ => {}
        }
    }
}

/// The same of a trace: the commands that were observed, but for build drivers, the first process among them.
pub fn commands_in(trace: &Path) -> Commands {
    let trace = Trace::read(trace).unwrap();
    let mut commands = Commands::new();
    for observed in &trace.observed {
        let command = trace.commands.iter().find(|command| command.id == observed.id).unwrap();
        let argv: Vec<String> = command.argv.iter().map(|a| a.to_string_lossy().into_owned()).collect();
        if command.parent == 0 || is_driver(&argv) {
            continue;
        }
        let sets: &mut Sets = commands.entry(without_random(&argv)).or_default();
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
    }
    commands
}

/// What the kernel reads to execute a program, which no call shows; the linker may read it, too.
fn is_loader(path: &Path) -> bool {
    path.ends_with("ld-linux-x86-64.so.2")
}

/// The temporary files of gcc, sed and configure scripts have another name in each run, and scripts name theirs after their process; `..` is resolved.
fn normal(path: &Path) -> PathBuf {
    let path = match path.parent().map(fs::canonicalize) {
        _ if path.ends_with("..") => fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
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
            match ["cc", "st", "sed", "cg", "cs", "conf", "conftest"]
                .iter()
                .find(|tool| stem.strip_prefix(**tool).is_some_and(random))
            {
                Some(tool) => format!("{tool}RANDOM.{extension}"),
                None => without_numbers(&without_random_names(&text)),
            }
        })
        .collect()
}

/// What CMake calls the directories and programs with which it tries the compiler is random.
fn without_random_names(text: &str) -> String {
    let mut all = text.to_owned();
    for prefix in ["TryCompile-", "cmTC_", ".tmp"] {
        let parts: Vec<_> = all.split(prefix).collect();
        let rest = |part: &&str| part.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).to_owned();
        all = [vec![parts[0].to_owned()], parts[1..].iter().map(rest).collect()].concat().join(prefix);
    }
    all
}

fn without_random(argv: &[String]) -> Vec<String> {
    argv.iter().map(|word| without_random_names(word)).collect()
}

/// What may be the id of a process is one and the same.
fn without_numbers(name: &str) -> String {
    let mut text = String::new();
    for part in name.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        text.push_str(if digits < 4 { part } else { "PROCESS" });
        text.push_str(if digits < 4 { "" } else { &part[digits..] });
    }
    text
}

/// The interpreter of a script.
fn interpreter(path: &Path) -> Option<PathBuf> {
    let content = fs::read(path).ok()?;
    let line = content.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    Some(String::from_utf8_lossy(line).split_ascii_whitespace().next()?.into())
}

/// In what the two differ: a line for each path that only one of them has, with the command and what was done.
pub fn differences(expected: &Commands, found: &Commands) -> Vec<String> {
    let mut lines = Vec::new();
    let none = Sets::new();
    for name in expected.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
        let [theirs, ours] = [expected, found].map(|commands| commands.get(name));
        if let (None, _) | (_, None) = (theirs, ours) {
            lines.push(format!(
                "{name:?} is a command of {} only",
                if ours.is_none() { "strace" } else { "ours" }
            ));
            continue;
        }
        let (theirs, ours) = (theirs.unwrap_or(&none), ours.unwrap_or(&none));
        for set in theirs.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
            let empty = BTreeSet::new();
            let [theirs, ours] = [theirs, ours].map(|sets| sets.get(set).unwrap_or(&empty));
            let only = |who: &str, paths: Vec<&PathBuf>| -> Vec<String> {
                paths.iter().map(|path| format!("{name:?} {set}, only {who}: {}", path.display())).collect()
            };
            lines.extend(only("strace", theirs.difference(ours).collect()));
            lines.extend(only("ours", ours.difference(theirs).collect()));
        }
    }
    lines
}

/// Both must tell the same of the same commands.
#[track_caller]
pub fn assert_same(expected: &Commands, found: &Commands) {
    let differences = differences(expected, found);
    assert!(differences.is_empty(), "{differences:#?}");
}
