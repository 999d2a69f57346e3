// SPDX-License-Identifier: Apache-2.0
//! The dependency file that gcc writes for a command (`-MD`), from what the preprocessor here reads: which names it
//! lists, in what order, and how it spells them, lines and all. As gcc's `libcpp/files.cc` and `mkdeps.cc` do it since
//! gcc 11 (tried with 12); other compilers have other ways. Unaware of conditions and macros.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::super::directives::{NameId, name_id};
use super::super::intern::Fast;
use super::super::search::{List, Start};
use super::super::tree::{Trail, View};
use super::{Lost, Way};
use crate::{IncludeSearch, Rule};

/// The versions of gcc whose way this is.
pub(super) const VERSIONS: RangeInclusive<u32> = 11..=14;

/// A line gets no longer, unless by a single name.
const WIDTH: usize = 72;

/// How a file is called, and whether gcc takes it for a system header.
#[derive(Clone, Debug, Default)]
pub(super) struct Called {
    path: Arc<[u8]>,
    pub system: bool,
    pub is_source: bool,
}

impl Called {
    /// What includes a forced header: for gcc it is in `./`.
    pub(super) fn command_line() -> Self {
        Self { path: (*b"./").into(), ..Self::default() }
    }

    /// The directory in which it looks for what it includes in quotes, as it is put before a name.
    fn directory(&self) -> &[u8] {
        self.path.iter().rposition(|&c| c == b'/').map_or(b"", |end| &self.path[..=end])
    }
}

/// Where a search begins, for gcc.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Begin {
    /// Nowhere: an absolute name, or the source.
    Direct,
    /// In the directory of an including file.
    Beside(Box<[u8]>),
    /// In this place of the search order.
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
    /// Where the search for `<…>` begins.
    angle: usize,
    names: Vec<Arc<[u8]>>,
    /// Where searches led. gcc lists files, not paths: it takes two for the same if a search for the same name began at
    /// the same place, or came by one of the two heads of the order (for quotes, and for `<…>`) and another one did,
    /// too.
    found: HashMap<(NameId, Begin), usize, Fast>,
    /// Whether each of these files is listed.
    listed: Vec<bool>,
    /// Directories of including files, and whether gcc takes what is in them for system headers: whoever looked there first decides.
    beside: HashMap<Box<[u8]>, bool, Fast>,
}

impl<'a> Listing<'a> {
    pub(super) fn new(
        rule: &'a Rule,
        search: &'a IncludeSearch,
        list: &List,
        cwd: &'a Path,
        view: View<'a>,
    ) -> Self {
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
            angle: list.angle(),
            names: Vec::new(),
            found: HashMap::default(),
            listed: Vec::new(),
            beside: HashMap::default(),
        }
    }

    /// The source.
    pub(super) fn source(&mut self) -> Called {
        let source = self.rule.source.as_os_str().as_bytes();
        let called = Called { path: source.into(), is_source: true, ..Called::default() };
        self.names.push(Arc::clone(&called.path));
        self.found.insert((name_id(&self.view.tree.names, source), Begin::Direct), 0);
        self.listed.push(true);
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
        Ok(Called { path: path.into(), system: system || from.system, is_source: false })
    }

    /// gcc gives system headers their real path where that is shorter.
    fn shorter(&self, path: &[u8]) -> Option<Vec<u8>> {
        let real = self.view.files.real(&self.cwd.join(OsStr::from_bytes(path)))?.into_os_string();
        (real.len() < path.len()).then(|| real.as_bytes().to_vec())
    }

    /// A search has led somewhere: the number of the file that gcc takes it for.
    pub(super) fn found(&mut self, way: Way, name: NameId, start: Start, from: &Called) -> usize {
        let begin = match (way, start) {
            (Way::Direct | Way::Unclear, _) => Begin::Direct,
            (_, Start::Beside) => Begin::Beside(from.directory().into()),
            (_, Start::Angle) => Begin::Order(self.angle),
            (_, Start::From(place)) => Begin::Order(place),
        };
        if let Some(&file) = self.found.get(&(name, begin.clone())) {
            return file;
        }
        // The heads that it comes by after its beginning.
        let after = match begin {
            Begin::Order(place) => place + 1,
            Begin::Direct | Begin::Beside(_) => 0,
        };
        let heads = match way {
            Way::Order(place) => [0, self.angle].map(|head| (after..=place).contains(&head).then_some(head)),
            _ => [None, None],
        };
        let mut passed = Vec::new();
        let mut known = None;
        for head in heads.into_iter().flatten() {
            known = self.found.get(&(name, Begin::Order(head))).copied();
            if known.is_some() {
                break;
            }
            passed.push(head);
        }
        let file = known.unwrap_or_else(|| {
            self.listed.push(false);
            self.listed.len() - 1
        });
        self.found.insert((name, begin), file);
        for head in passed {
            self.found.insert((name, Begin::Order(head)), file);
        }
        file
    }

    /// This file is read.
    pub(super) fn read(&mut self, file: usize, called: &Called) {
        let is_new = self.listed.get_mut(file).is_some_and(|listed| !std::mem::replace(listed, true));
        if is_new && (self.rule.system_headers || !called.system) {
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
