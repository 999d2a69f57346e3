// SPDX-License-Identifier: Apache-2.0
//! Programs that move files rather than look into them: may placeholders stay what they are where this one goes about
//! them? Knows what programs do by their names and arguments; what they are was found out before.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use models::Invocation;
use models::recognise::Program;
use thunk::has_no_content;

use crate::programs::Facts;
use crate::recorder::Recorder;
use crate::watch::environment;

/// May placeholders stay what they are where this program goes about them?
pub fn carries(recorder: &Recorder, facts: &Facts, invocation: &Invocation) -> bool {
    moves(facts, invocation)
        && !looks_into(facts, invocation)
        && !owns_before_others(recorder, facts, invocation)
        && !writes_through_links(facts, invocation)
}

/// Does the program do no more with files than move, name or remove them?
fn moves(facts: &Facts, invocation: &Invocation) -> bool {
    const MOVES: [&str; 10] = [
        "cmake_symlink_executable",
        "cmake_symlink_library",
        "copy",
        "create_hardlink",
        "create_symlink",
        "remove",
        "rename",
        "rm",
        "touch",
        "touch_nocreate",
    ];
    let argument = |n: usize| invocation.argv.get(n).and_then(|a| a.to_str()).unwrap_or_default();
    match facts.program {
        program if program.is_carrier() => true,
        Program::CMake => argument(1) == "-E" && MOVES.contains(&argument(2)),
        _ => false,
    }
}

/// The name of the tool that a program is: where there are several in one, that which it is called by.
fn tool<'a>(facts: &'a Facts, invocation: &'a Invocation) -> &'a OsStr {
    let own = facts.real.file_name().unwrap_or_default();
    let has_several = |name: &OsStr| name == "coreutils" || name.as_bytes().starts_with(b"busybox");
    if !has_several(own) {
        return own;
    }
    let called = |argument: &'a OsString| Path::new(argument).file_name();
    // `busybox cp …`
    invocation.argv.iter().take(2).filter_map(called).find(|name| !has_several(name)).unwrap_or(own)
}

/// Does a program that mostly moves files look into them this time? `install -C` leaves alone what is the same already,
/// `test -s` asks for a size, and what is copied onto a pipe or a device is read there.
fn looks_into(facts: &Facts, invocation: &Invocation) -> bool {
    let arguments = invocation.argv.get(1..).unwrap_or_default();
    let called = tool(facts, invocation).to_str().unwrap_or_default();
    let compares = |argument: &OsString| match argument.as_bytes() {
        [b'-', b'-', name @ ..] => name.starts_with(b"c") && b"compare".starts_with(name),
        [b'-', letters @ ..] => letters.contains(&b'C'),
        _ => false,
    };
    let is_stream = |path: &Path| {
        let leads_to_one = |to: std::fs::Metadata| !to.is_file() && !to.is_dir();
        path != Path::new("/dev/null")
            && (has_no_content(path) || std::fs::metadata(path).is_ok_and(leads_to_one))
    };
    let last = arguments.iter().rfind(|argument| !argument.as_bytes().starts_with(b"-"));
    called == "install" && arguments.iter().any(compares)
        || ["test", "["].contains(&called) && arguments.iter().any(|argument| argument == "-s")
        || last.is_some_and(|to| is_stream(&invocation.absolute(to)))
}

/// Does the program give files an owner or a mode, with another preloaded library beside ours? Such a library may remember what
/// they are given by their inode, as fakeroot's does, and the file behind a placeholder has another one.
pub fn owns_before_others(recorder: &Recorder, facts: &Facts, invocation: &Invocation) -> bool {
    const GIVES: [&str; 5] = ["chgrp", "chmod", "chown", "cp", "install"];
    facts.program == Program::Carrier
        && GIVES.iter().any(|gives| tool(facts, invocation) == *gives)
        && has_others_preloaded(recorder, invocation)
}

/// Is another preloaded library in it than ours?
pub fn has_others_preloaded(recorder: &Recorder, invocation: &Invocation) -> bool {
    let own = recorder.install.interceptor.as_os_str();
    invocation.var("LD_PRELOAD").is_some_and(|list| environment::without_item(list, own).is_some())
}

/// Is it a `cp` onto a file that has several names? What it writes is seen under all of them, and nobody knows these: a placeholder
/// would stay there.
fn writes_through_links(facts: &Facts, invocation: &Invocation) -> bool {
    if facts.program != Program::Carrier || tool(facts, invocation) != "cp" {
        return false;
    }
    let operands: Vec<&OsString> =
        invocation.argv.iter().skip(1).filter(|a| !a.as_bytes().starts_with(b"-")).collect();
    let has_others = |path: &Path| std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.nlink() > 1);
    // The last one, or the directory that an option names, wherever it stands.
    operands.iter().enumerate().any(|(number, to)| {
        let to = invocation.absolute(to);
        let into = |from: &&OsString| Path::new(from).file_name().map(|name| to.join(name));
        number + 1 == operands.len() && has_others(&to)
            || to.is_dir() && operands.iter().filter_map(into).any(|path| has_others(&path))
    })
}

/// Is it one of the small tools that cmake has in it, but for those that only start others? They look at what they are given, as
/// `compare_files` and `copy_if_different` at sizes before anything else.
pub fn is_tool_of_cmake(invocation: &Invocation) -> bool {
    const STARTS_OTHERS: [&str; 4] = ["__run_co_compile", "chdir", "env", "time"];
    let argument = |n: usize| invocation.argv.get(n).and_then(|a| a.to_str()).unwrap_or_default();
    argument(1) == "-E" && !STARTS_OTHERS.contains(&argument(2))
}
