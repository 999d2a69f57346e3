// SPDX-License-Identifier: Apache-2.0
//! The dependency file that gcc writes for a command (`-MD`), from what the preprocessor here reads: which names it lists, in what order, and
//! how it spells them, lines and all. As gcc's `libcpp/files.cc` and `mkdeps.cc` do it, versions 8 to 14; other compilers have
//! other ways. Unaware of conditions and macros.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::super::directives::NameId;
use super::super::intern::Fast;
use super::super::tree::{Trail, View};
use super::{Lost, Way};
use crate::{IncludeSearch, Rule};

/// A line gets no longer, unless by a single name.
const WIDTH: usize = 72;

/// How a file is called, and whether gcc takes it for a system header.
#[derive(Clone, Debug, Default)]
pub(super) struct Called {
    path: Arc<[u8]>,
    pub system: bool,
}

impl Called {
    /// What includes a forced header: for gcc it is in `./`.
    pub(super) fn command_line() -> Self {
        Self { path: (*b"./").into(), system: false }
    }

    /// The directory in which it looks for what it includes in quotes, as it is put before a name.
    fn directory(&self) -> &[u8] {
        self.path.iter().rposition(|&c| c == b'/').map_or(b"", |end| &self.path[..=end])
    }
}

/// Where gcc thinks that it found a file. It takes files for different ones that it found by the same name in different places, though they
/// have the same path, and lists each.
#[derive(PartialEq, Eq, Hash)]
enum Found {
    Direct,
    Beside(Box<[u8]>),
    Order(usize),
}

/// What is listed so far.
pub(super) struct Listing<'a> {
    rule: &'a Rule,
    view: View<'a>,
    cwd: &'a Path,
    /// The directories of the search order, as they are put before a name; the others that were given are not there.
    order: Vec<Vec<u8>>,
    /// From which on they hold system headers.
    system: usize,
    names: Vec<Arc<[u8]>>,
    seen: HashSet<(Found, NameId), Fast>,
    /// Directories of including files, and whether gcc takes what is in them for system headers: whoever looked there first decides.
    beside: HashMap<Box<[u8]>, bool, Fast>,
}

impl<'a> Listing<'a> {
    pub(super) fn new(rule: &'a Rule, search: &'a IncludeSearch, cwd: &'a Path, view: View<'a>) -> Self {
        let user = search.quote.len() + search.bracket.len();
        let all = search.quote.iter().chain(&search.bracket).chain(&search.system).chain(&search.after);
        let (mut order, mut system) = (Vec::new(), 0);
        for (number, (path, written)) in all.zip(&rule.directories).enumerate() {
            // As the search order itself is made.
            if view.directory(path.as_os_str().as_bytes(), &mut Trail::default()).is_none() {
                continue;
            }
            let mut written = written.as_os_str().as_bytes().to_vec();
            if written.last().is_some_and(|&last| last != b'/') {
                written.push(b'/');
            }
            order.push(written);
            system += usize::from(number < user);
        }
        Self {
            rule,
            view,
            cwd,
            order,
            system,
            names: Vec::new(),
            seen: HashSet::default(),
            beside: HashMap::default(),
        }
    }

    /// The source.
    pub(super) fn source(&mut self) -> Called {
        let called = Called { path: self.rule.source.as_os_str().as_bytes().into(), system: false };
        self.names.push(Arc::clone(&called.path));
        called
    }

    /// A file includes something in quotes.
    pub(super) fn looks_beside(&mut self, from: &Called) {
        self.beside.entry(from.directory().into()).or_insert(from.system);
    }

    /// What a file is called that is read, or would be if it were not read once only.
    pub(super) fn called(&self, way: Way, name: NameId, from: &Called) -> Result<Called, Lost> {
        let text = self.view.tree.names.get(name);
        let (directory, system) = match way {
            Way::Direct => (&b""[..], false),
            Way::Beside => {
                let directory = from.directory();
                (directory, self.beside.get(directory).copied().unwrap_or(from.system))
            }
            Way::Order(place) => (self.order.get(place).map_or(&b""[..], |d| d), place >= self.system),
            Way::Unclear => return Err(Lost("a directory that is searched twice")),
        };
        let mut path = [directory, text].concat();
        if system && let Some(shorter) = self.shorter(&path) {
            path = shorter;
        }
        Ok(Called { path: path.into(), system: system || from.system })
    }

    /// gcc gives system headers their real path where that is shorter.
    fn shorter(&self, path: &[u8]) -> Option<Vec<u8>> {
        let real = self.view.files.real(&self.cwd.join(OsStr::from_bytes(path)))?.into_os_string();
        (real.len() < path.len()).then(|| real.as_bytes().to_vec())
    }

    /// A file is read.
    pub(super) fn read(&mut self, called: &Called, way: Way, name: NameId, from: &Called) {
        let found = match way {
            Way::Direct | Way::Unclear => Found::Direct,
            Way::Beside => Found::Beside(from.directory().into()),
            Way::Order(place) => Found::Order(place),
        };
        if self.seen.insert((found, name)) && (self.rule.system_headers || !called.system) {
            self.names.push(Arc::clone(&called.path));
        }
    }

    /// The file.
    pub(super) fn text(&self) -> Result<Vec<u8>, Lost> {
        let mut text = Vec::new();
        let target = plain(self.rule.target.as_bytes())?;
        text.extend_from_slice(target);
        text.push(b':');
        let mut column = text.len();
        let names = self.names.iter().map(|name| plain(name)).collect::<Result<Vec<_>, _>>()?;
        for name in &names {
            if column + name.len() > WIDTH {
                text.extend_from_slice(b" \\\n");
                column = 0;
            }
            text.push(b' ');
            text.extend_from_slice(name);
            column += 1 + name.len();
        }
        text.push(b'\n');
        for name in names.iter().skip(1).filter(|_| self.rule.phony) {
            text.extend_from_slice(name);
            text.extend_from_slice(b":\n");
        }
        Ok(text)
    }
}

/// A name as it is written. What would be quoted, by rules that differ from version to version, is left to the compiler.
fn plain(mut name: &[u8]) -> Result<&[u8], Lost> {
    while let Some(rest) = name.strip_prefix(b"./") {
        name = rest;
        while let Some(rest) = name.strip_prefix(b"/") {
            name = rest;
        }
    }
    let is_plain = |c: &u8| c.is_ascii_alphanumeric() || b"/._-+,=@~".contains(c);
    if !name.is_empty() && name.iter().all(is_plain) { Ok(name) } else { Err(Lost("a name that is quoted")) }
}
