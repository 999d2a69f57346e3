// SPDX-License-Identifier: Apache-2.0
//! Dependency files of links (`-Wl,--dependency-file=FILE`, which CMake asks for) for ninja, which reads one as soon as the link has
//! ended, keeps what is in it, and removes it. The true one takes the link, and with it all that goes into it. So when ninja opens its
//! placeholder, it finds a rule there that names more: all that the link could read. Where that stands there still when the build is
//! over, the placeholder comes back. Who else opens it waits for the link. Does not know what makes a link read a file.

use std::collections::{BTreeSet, HashMap};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use thunk::{AtomicFile, ObjectKind, ObjectName, OutputRef, Placeholder};

use crate::early;
use crate::recorder::{Recorder, lock};
use crate::toolchain::Toolchain;

/// What is known of the dependency files that deferred links give.
#[derive(Debug, Default)]
pub struct Linked {
    /// The rule that ninja finds in place of each.
    rules: Mutex<HashMap<OutputRef, Vec<u8>>>,
    /// Where one stands, as a value, and what is to be there.
    given: Mutex<HashMap<PathBuf, (ObjectName, OutputRef)>>,
}

impl Linked {
    /// A deferred link gives this file, and ninja, if it reads it, this rule.
    pub fn note(&self, output: OutputRef, rule: Vec<u8>) {
        lock(&self.rules).insert(output, rule);
    }

    /// Ninja is about to read this file: puts the rule there, if it is the placeholder of such a one.
    pub fn give(recorder: &Recorder, path: &Path) -> bool {
        let linked = &recorder.linked_files;
        let placeholder = Placeholder::read(path).ok().flatten();
        let Some(output) = placeholder.map(|placeholder| placeholder.output) else { return false };
        let Some(rule) = lock(&linked.rules).get(&output).cloned() else { return false };
        recorder.puts(path);
        // Where it cannot be put, the link gives it.
        let is_put = put(path, &rule).is_ok();
        if is_put {
            let value = ObjectName::of(ObjectKind::Value, &rule);
            lock(&linked.rules).remove(&output);
            lock(&linked.given).insert(path.to_path_buf(), (value, output));
        }
        is_put
    }

    /// Puts the placeholders of those back that nobody has removed.
    pub fn take_back(recorder: &Recorder) {
        for (path, (value, output)) in std::mem::take(&mut *lock(&recorder.linked_files.given)) {
            let content = std::fs::read(&path);
            if content.is_ok_and(|content| ObjectName::of(ObjectKind::Value, &content) == value)
                && let Err(error) = early::replace(recorder, &path, output)
            {
                recorder.complain(&error);
            }
        }
    }
}

/// In place of a placeholder, with its mode and time.
fn put(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let there = early::there(path)?;
    let mut file = AtomicFile::nameless_in(path.parent().unwrap_or(Path::new("/")), 0o600)?;
    file.write_all(text)?;
    file.file().set_permissions(there.permissions())?;
    Ok(early::take_place(file, path, &there)?)
}

/// A rule that names all that a link may read: what its model says, and the objects and libraries of its toolchains. Nothing where
/// it is not known how ninja and the linker write a name.
pub fn rule(linked: &models::Linked, cwd: &Path, toolchains: &[Arc<Toolchain>]) -> Option<Vec<u8>> {
    let own = toolchains.iter().flat_map(|toolchain| toolchain.contents.keys().map(Path::new));
    let all = linked.inputs.iter().map(PathBuf::as_path).chain(own.filter(|path| is_linked(path)));
    // As build files have them: from where the build is on.
    let names = all.map(|path| path.strip_prefix(cwd).unwrap_or(path).as_os_str().as_bytes());
    let names: BTreeSet<&[u8]> = names.collect();
    let target = linked.target.as_os_str().as_bytes();
    if !names.iter().chain([&target]).all(|name| is_plain(name)) {
        return None;
    }
    let mut text = [target, b":"].concat();
    names.into_iter().for_each(|name| text.extend([b" \\\n  ", name].concat()));
    text.push(b'\n');
    Some(text)
}

/// Is it what linkers read, and not what they are made of or say? Not the loader's cache, which changes with each package.
fn is_linked(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let is_version = |rest: &[u8]| rest.first().is_some_and(u8::is_ascii_digit);
    [&b".o"[..], b".a", b".so"].iter().any(|suffix| name.ends_with(suffix))
        || memchr::memmem::find(name, b".so.").is_some_and(|at| is_version(&name[at + 4..]))
}

/// Is it written the same everywhere?
fn is_plain(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+,=@~".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_inputs_as_build_files_do() {
        let told = |target: &str, inputs: &[&str]| {
            let inputs = inputs.iter().map(PathBuf::from).collect();
            let linked = models::Linked { file: "/b/link.d".into(), target: target.into(), inputs };
            rule(&linked, Path::new("/b"), &[]).map(|text| String::from_utf8(text).unwrap())
        };
        let text = told("lib/x.so", &["/b/o/a.o", "/usr/lib/libz.so"]);
        assert_eq!(text.unwrap(), "lib/x.so: \\\n  /usr/lib/libz.so \\\n  o/a.o\n");
        assert_eq!(told("x", &["/b/a b.o"]), None);
        assert_eq!(told("x$", &[]), None);
    }

    #[test]
    fn parts_of_the_toolchain_that_are_linked() {
        for (name, linked) in [
            ("/l/crt1.o", true),
            ("/l/libc.so.6", true),
            ("/l/libgcc.a", true),
            ("/b/ld", false),
            ("/etc/ld.so.cache", false),
        ] {
            assert_eq!(is_linked(Path::new(name)), linked, "{name}");
        }
    }
}
