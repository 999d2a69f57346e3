// SPDX-License-Identifier: Apache-2.0
//! Which processes there are, as `/proc` shows them. Knows nothing of how they came to be.

use std::fs;

use crate::Pid;

/// The kernel's flag of a process that was forked and has not executed a program since.
const FORKED: u64 = 0x40;

/// A process, at the moment of looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub pid: Pid,
    pub parent: Pid,
    flags: u64,
    /// When it was started, which no other process with this id has in common with it.
    start: u64,
}

impl Running {
    /// The process that has this id.
    pub(crate) fn look(pid: Pid) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The name before it may contain anything.
        let end = stat.iter().rposition(|&byte| byte == b')')?;
        let mut fields = std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace();
        // As counted in proc(5), the state is the third.
        let parent = fields.nth(1)?.parse().ok()?;
        let flags = fields.nth(4)?.parse().ok()?;
        let start = fields.nth(12)?.parse().ok()?;
        Some(Self { pid, parent, flags, start })
    }

    /// Has its id not been given to another?
    pub(crate) fn is_still_there(&self) -> bool {
        Self::look(self.pid).is_some_and(|now| now.start == self.start)
    }

    /// What it was started with; nothing of one that has ended, or is somebody else's.
    pub(crate) fn environment(&self) -> Vec<u8> {
        fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default()
    }
}

/// All that can be seen.
pub(crate) fn all() -> Vec<Running> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Running::look(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// Does it do something of its own when it is told to end? What was forked only does what another is to do, and if by `vfork`, in
/// that one's memory.
pub(crate) fn tidies(pid: Pid) -> bool {
    if Running::look(pid).is_none_or(|process| process.flags & FORKED != 0) {
        return false;
    }
    let status = fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut lines = status.split(|&byte| byte == b'\n');
    let caught = lines.find_map(|line| line.strip_prefix(b"SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(std::str::from_utf8(mask).ok()?.trim(), 16).ok());
    caught.is_some_and(|mask| mask & 1 << (libc::SIGTERM - 1) != 0)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn who_tidies_up_is_told_from_who_would_die() {
        for (script, expected) in [
            ("echo; read x", false),
            ("trap : TERM; echo; read x", true),
            ("trap '' TERM; echo; read x", false),
        ] {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).env("MARK", "x y");
            let mut child = shell.spawn().unwrap();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
            let pid = child.id().cast_signed();
            assert_eq!(tidies(pid), expected, "{script}");
            let found = *all().iter().find(|one| one.pid == pid).unwrap();
            assert_eq!(found.parent, std::process::id().cast_signed());
            assert!(found.environment().split(|&byte| byte == 0).any(|entry| entry == b"MARK=x y"));
            assert!(found.is_still_there() && !Running { start: 1, ..found }.is_still_there());
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }

    #[test]
    fn what_was_forked_only_does_not() {
        let mut shell = Command::new("perl");
        // The child has its parent's handler.
        let script =
            "$| = 1; $SIG{TERM} = sub {}; $p = fork; if (!$p) { <STDIN>; exit } print \"$p\\n\"; wait";
        shell.args(["-e", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(tidies(child.id().cast_signed()));
        assert!(!tidies(line.trim().parse().unwrap()));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
