// SPDX-License-Identifier: Apache-2.0
//! Dependency files of links (`-Wl,--dependency-file=FILE`, which CMake asks for), for who reads one as soon as the link has ended:
//! ninja does, keeps what is in it, and removes it. The true one takes the link, and with it all that goes into it. So ninja is
//! given one that names more: all that the thunk's link could read. Where it stands there still when the build is over,
//! the true one's placeholder takes its place. Does not know who reads.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use models::{Decline, Plan};
use thunk::{AtomicFile, OutputRef};

use crate::early;
use crate::recorder::{Recorder, lock};
use crate::toolchain::Toolchain;

/// The files that were given in place of true ones.
#[derive(Debug, Default)]
pub struct Linked(Mutex<Vec<Given>>);

#[derive(Debug)]
struct Given {
    path: PathBuf,
    text: Vec<u8>,
    /// What stands for the true one.
    output: OutputRef,
}

impl Linked {
    /// This text is about to be put at this path, where else a placeholder of that output would stand.
    pub fn note(&self, path: PathBuf, text: Vec<u8>, output: OutputRef) {
        lock(&self.0).push(Given { path, text, output });
    }

    /// Puts the placeholders of those that nobody has removed.
    pub fn take_back(recorder: &Recorder) {
        for Given { path, text, output } in std::mem::take(&mut *lock(&recorder.linked_files.0)) {
            if std::fs::read(&path).is_ok_and(|there| there == text)
                && let Err(error) = early::replace(recorder, &path, output)
            {
                recorder.complain(&error);
            }
        }
    }
}

/// A rule that names all that a link may read: what its model says, and the objects and libraries of its toolchains. Nothing where
/// it is not known how ninja and the linker write a name.
pub fn rule(plan: &Plan, cwd: &Path, toolchains: &[Arc<Toolchain>]) -> Option<Vec<u8>> {
    let target = &plan.linked.as_ref()?.target;
    let own = toolchains.iter().flat_map(|toolchain| toolchain.contents.keys().map(Path::new));
    let own = own.filter(|path| is_linked(path) && !path.starts_with(cwd));
    // As build files have them: from where the build is on.
    let inputs = plan.inputs.iter().map(|path| path.strip_prefix(cwd).unwrap_or(path));
    let names: BTreeSet<&[u8]> = inputs.chain(own).map(|path| path.as_os_str().as_bytes()).collect();
    let mut text = Vec::new();
    let mut push = |name: &[u8], before: &[u8], after: &[u8]| {
        text.extend_from_slice(before);
        text.extend_from_slice(name);
        text.extend_from_slice(after);
        is_plain(name).then_some(())
    };
    push(target.as_os_str().as_bytes(), b"", b":")?;
    for name in names {
        push(name, b" \\\n  ", b"")?;
    }
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

/// A file with this text that has no name yet, for a place in this directory.
pub fn file(text: &[u8], place: &Path, umask: u32) -> Result<AtomicFile, Decline> {
    let cannot = |e: std::io::Error| Decline(format!("{}: {e}", place.display()));
    let directory = place.parent().unwrap_or(Path::new("/"));
    let mut file = AtomicFile::nameless_in(directory, 0o600).map_err(|e| Decline(e.to_string()))?;
    file.write_all(text).map_err(cannot)?;
    file.file().set_permissions(Permissions::from_mode(0o666 & !umask)).map_err(cannot)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(target: &str, inputs: &[&str]) -> Plan {
        Plan {
            inputs: inputs.iter().map(PathBuf::from).collect(),
            linked: Some(models::Linked { file: "/b/link.d".into(), target: target.into() }),
            ..Plan::default()
        }
    }

    #[test]
    fn a_rule_names_inputs_as_build_files_do() {
        let told =
            |plan: &Plan| rule(plan, Path::new("/b"), &[]).map(|text| String::from_utf8(text).unwrap());
        let text = told(&plan("lib/x.so", &["/b/o/a.o", "/usr/lib/libz.so"]));
        assert_eq!(text.unwrap(), "lib/x.so: \\\n  /usr/lib/libz.so \\\n  o/a.o\n");
        assert_eq!(told(&plan("x", &["/b/a b.o"])), None);
        assert_eq!(told(&plan("x$", &[])), None);
        assert_eq!(told(&Plan::default()), None);
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
