// SPDX-License-Identifier: Apache-2.0
//! Which variables of an environment go into a thunk: all but secrets, what belongs to this session, and what
//! belongs to the login that the build was started from.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Mutex;

use foldhash::HashMap;
use models::Environment;
use thunk::{ObjectName, Store};

use crate::recorder::lock;

/// Of agents that hold keys, of this session, and where we find a storage, perhaps with a password.
const NEVER: [&str; 8] = [
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "SSH_ASKPASS",
    "GPG_AGENT_INFO",
    "GPG_TTY",
    "GNUPGHOME",
    "GG_STORAGE_URI",
    wire::SESSION_VARIABLE,
];
/// Names that begin so are secrets of a cloud.
const SECRET_HEADS: [&str; 1] = ["AWS_"];
/// Names that end so are secrets.
const SECRET_TAILS: [&str; 3] = ["_TOKEN", "_PASSWORD", "_KEY"];
/// Names with this are secrets.
const SECRET_PARTS: [&str; 1] = ["_SECRET"];
/// What changes from login to login, without meaning anything to a command that does not name it.
const LOGIN: [&str; 9] = [
    "TERM",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "WINDOWID",
    "DISPLAY",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_TTY",
];
/// What changes from command to command, and how forcing is done.
const OF_COMMANDS: [&str; 9] = [
    "_",
    "OLDPWD",
    "SHLVL",
    "MAKE_TERMOUT",
    "MAKE_TERMERR",
    "GG_DIR",
    "GG_LAMBDA_ROLE",
    "GG_MANNER",
    "GG_REPORT",
];

/// What the environment tells of the terminal, and of how it was come to.
pub fn login(env: &Environment) -> Vec<(&OsStr, &OsStr)> {
    let mut login: Vec<_> = env.iter().filter(|(name, _)| LOGIN.iter().any(|n| name == n)).collect();
    login.sort_unstable();
    login
}

/// Is this a secret by its name?
fn is_secret(name: &OsStr) -> bool {
    let name = name.as_bytes();
    NEVER.iter().any(|n| name == n.as_bytes())
        || SECRET_HEADS.iter().any(|head| name.starts_with(head.as_bytes()))
        || SECRET_TAILS.iter().any(|tail| name.ends_with(tail.as_bytes()))
        || SECRET_PARTS.iter().any(|part| name.windows(part.len()).any(|w| w == part.as_bytes()))
}

/// The environment as a thunk has it: `NAME=VALUE`, sorted. `own` is our preload library.
pub fn kept(env: &Environment, own: &OsStr) -> Vec<OsString> {
    let mut kept: Vec<OsString> = env
        .iter()
        .filter(|(name, _)| !is_secret(name) && !LOGIN.iter().chain(&OF_COMMANDS).any(|n| name == n))
        .filter_map(|(name, value)| {
            Some(match name.as_bytes() {
                b"LD_PRELOAD" => variable(name, &without_item(value, own)?),
                b"MAKEFLAGS" | b"MFLAGS" => variable(name, &without_jobserver(value)),
                _ => variable(name, value),
            })
        })
        .collect();
    kept.sort_unstable();
    kept
}

/// `NAME=VALUE`
pub fn variable(name: &OsStr, value: &OsStr) -> OsString {
    let mut text = OsString::with_capacity(name.len() + 1 + value.len());
    text.push(name);
    text.push("=");
    text.push(value);
    text
}

/// The names of secrets in an environment, but for those of agents, of this session and of storages.
pub fn secrets(env: &Environment) -> impl Iterator<Item = &OsStr> {
    let is_one = |name: &&OsStr| is_secret(name) && !NEVER.iter().any(|never| name == never);
    env.iter().map(|(name, _)| name).filter(is_one)
}

/// Which contents have which words in them, as far as that was looked for.
#[derive(Debug, Default)]
pub struct Mentions(Mutex<HashMap<OsString, HashMap<ObjectName, Named>>>);

/// Of some words, those that a text has: a bit for each.
pub type Named = u32;

impl Mentions {
    /// Is this word in this content? What cannot be read may have any.
    pub fn are_in(&self, store: &Store, value: ObjectName, word: &OsStr) -> bool {
        self.of(store, value, word, |text| mentions(text, word).into()) != 0
    }

    /// Which of these names are in this content? `all`: the names as one word, by which these are told from others.
    pub fn names_in(&self, store: &Store, value: ObjectName, all: &OsStr, names: &[&OsStr]) -> Named {
        self.of(store, value, all, |text| named(text, names))
    }

    fn of(&self, store: &Store, value: ObjectName, key: &OsStr, look: impl Fn(&[u8]) -> Named) -> Named {
        if let Some(known) = lock(&self.0).get(key).and_then(|known| known.get(&value)) {
            return *known;
        }
        // Not checked against its name, which takes longer than looking through it: what is damaged is found out by who uses it.
        let content = store.find(&value).and_then(|path| std::fs::read(path).ok());
        let found = content.map_or(Named::MAX, |content| look(&content));
        lock(&self.0).entry(key.to_os_string()).or_default().insert(value, found);
        found
    }
}

/// Which of these names are in this text, and no part of a longer one there?
pub fn named(text: &[u8], names: &[&OsStr]) -> Named {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let is_in = |name: &OsStr| {
        memchr::memmem::find_iter(text, name.as_bytes()).any(|at| {
            let (before, after) = (text[..at].last(), text.get(at + name.len()));
            !before.is_some_and(is_of_name) && !after.is_some_and(is_of_name)
        })
    };
    names.iter().enumerate().fold(0, |found, (bit, name)| found | Named::from(is_in(name)) << bit)
}

/// Is this word in this text?
pub fn mentions(text: &[u8], word: &OsStr) -> bool {
    memchr::memmem::find(text, word.as_bytes()).is_some()
}

/// A list of libraries without ours; nothing if none is left.
pub fn without_item(list: &OsStr, own: &OsStr) -> Option<OsString> {
    let items =
        list.as_bytes().split(|&b| b == b':' || b == b' ').filter(|i| !i.is_empty() && *i != own.as_bytes());
    let left = items.collect::<Vec<_>>().join(&b':');
    (!left.is_empty()).then(|| OsStr::from_bytes(&left).to_os_string())
}

/// The flags without those that name this make's job server, or say how many jobs there may be.
fn without_jobserver(flags: &OsStr) -> OsString {
    let is_jobs = |word: &&[u8]| {
        word.starts_with(b"--jobserver-")
            || word.strip_prefix(b"-j").is_some_and(|n| n.iter().all(u8::is_ascii_digit))
    };
    let words: Vec<&[u8]> = flags.as_bytes().split(|&b| b == b' ').filter(|w| !is_jobs(w)).collect();
    OsStr::from_bytes(&words.join(&b' ')).to_os_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_agents_and_of_this_session_are_no_command_s() {
        let env =
            [("A_TOKEN", "x"), ("AWS_REGION", "x"), ("SSH_AUTH_SOCK", "x"), ("TERM", "x"), ("PATH", "x")];
        let env = env.into_iter().collect();
        assert_eq!(secrets(&env).collect::<Vec<_>>(), ["A_TOKEN", "AWS_REGION"]);
    }

    #[test]
    fn names_are_no_parts_of_others() {
        let names = ["TERM", "LINES"].map(OsStr::new);
        for (text, found) in
            [("$TERM", 1), ("a LINES=${TERM}", 3), ("DETERMINE TERMS _LINES", 0), ("TERM", 1)]
        {
            assert_eq!(named(text.as_bytes(), &names), found, "{text}");
        }
    }

    #[test]
    fn secrets_and_what_is_of_the_session_stay_out() {
        let env = [
            ("PATH", "/usr/bin"),
            ("AWS_REGION", "x"),
            ("GITHUB_TOKEN", "x"),
            ("MY_SECRET_NAME", "x"),
            ("DB_PASSWORD", "x"),
            ("API_KEY", "x"),
            ("SSH_AUTH_SOCK", "x"),
            ("KEYBOARD", "kept"),
            ("LD_PRELOAD", "/own.so:/usr/lib/fakeroot.so"),
            ("MAKEFLAGS", " -j2 --jobserver-auth=3,4 V=1"),
            ("GGTRACE_SESSION", "x"),
            ("GG_STORAGE_URI", "redis://user:hunter2@host"),
            ("GG_REPORT", "x"),
        ];
        let env = env.into_iter().collect();
        let expected =
            ["KEYBOARD=kept", "LD_PRELOAD=/usr/lib/fakeroot.so", "MAKEFLAGS= V=1", "PATH=/usr/bin"];
        assert_eq!(kept(&env, OsStr::new("/own.so")), expected.map(OsString::from));
        let own = [("LD_PRELOAD", "/own.so")].into_iter().collect();
        assert!(kept(&own, OsStr::new("/own.so")).is_empty());
    }
}
