// SPDX-License-Identifier: Apache-2.0
//! Which libraries a link reads: `-lNAME` and `-l:FILE`, linker scripts, thin archives, and the shared libraries
//! that shared libraries need.
//!
//! Follows GNU ld; gold, lld and mold read the same files or fewer. The order in which GNU ld looks for a library
//! that a shared library needs (`DT_NEEDED`): `-rpath-link`, `-rpath`, `LD_RUN_PATH` where neither was given,
//! `LD_LIBRARY_PATH`, the needing library's own `DT_RUNPATH` or `DT_RPATH`, the directories of `/etc/ld.so.conf`, the
//! linker's own directories. `-L` does not count there.
//!
//! Does not know what a placeholder's `DT_SONAME` will be: the libraries that its link was given are taken by
//! the names that were given.

mod directories;
mod runtime;
pub mod script;

pub(crate) use directories::{linker_search_dirs, parse_gcc_search_dirs, parse_ld_search_dirs};
pub use runtime::runtime_libraries;

use crate::elf::{ElfFacts, ElfKind, Target, split_colons};
use crate::{Decline, Invocation, Node, World};
use directories::{LoaderConfiguration, expand_origin};
use script::Input;
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Where one link looks for libraries. All directories are absolute.
#[derive(Clone, Debug, Default)]
pub(crate) struct LibrarySearch {
    /// `-L`, in order; see [`LibrarySearch::directory`].
    pub dirs: Vec<PathBuf>,
    /// Where the driver and the linker look by themselves, after `dirs`.
    pub system_dirs: Vec<PathBuf>,
    /// `-static`, `-Bstatic`: only `libNAME.a` is looked for.
    pub is_static: bool,
    /// `-rpath-link`.
    pub rpath_link: Vec<PathBuf>,
    /// `-rpath`, as far as its directories mean something on this machine (no `$ORIGIN`).
    pub rpath: Vec<PathBuf>,
    /// `LD_RUN_PATH`.
    pub run_path: Vec<PathBuf>,
    /// `LD_LIBRARY_PATH`.
    pub library_path: Vec<PathBuf>,
    /// `--sysroot`.
    pub sysroot: Option<PathBuf>,
    /// The link is for Windows, where libraries have other names.
    pub is_windows: bool,
    /// The machine that is linked for, if it is known: libraries for others are passed over, as the linker does.
    pub target: Option<Target>,
    /// Where relative names in linker scripts are looked for.
    pub cwd: PathBuf,
}

/// A library that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its path: absolute, not normalised, symbolic links not resolved.
    pub path: PathBuf,
    /// It was found in one of [`LibrarySearch::system_dirs`].
    pub in_system: bool,
}

impl Target {
    /// The machine that this program was built for.
    #[must_use]
    pub const fn host() -> Target {
        let machine = if cfg!(target_arch = "aarch64") {
            goblin::elf::header::EM_AARCH64
        } else {
            goblin::elf::header::EM_X86_64
        };
        Target { is_64: true, machine }
    }
}

/// What stands around a library's name where only archives are looked for.
const ARCHIVE: (&str, &str) = ("lib", ".a");

/// The same for Windows, in the order in which ld tries them: import libraries before archives before the libraries themselves.
const WINDOWS: &[(&str, &str)] = &[
    ("lib", ".dll.a"),
    ("", ".dll.a"),
    ARCHIVE,
    ("", ".lib"),
    ("lib", ".lib"),
    ("lib", ".dll"),
    ("", ".dll"),
];

/// More files than this in one closure are a mistake of the search, or an attack.
const MAX_FILES: usize = 20_000;

impl LibrarySearch {
    /// A search without `-L`, with what the environment and the working directory of the command say.
    #[must_use]
    pub fn new(invocation: &Invocation) -> LibrarySearch {
        let list = |name| -> Vec<PathBuf> {
            let parts = invocation.var(name).map(split_colons).unwrap_or_default();
            parts.iter().map(|part| invocation.absolute(part)).collect()
        };
        LibrarySearch {
            run_path: list("LD_RUN_PATH"),
            library_path: list("LD_LIBRARY_PATH"),
            cwd: invocation.cwd.clone(),
            ..LibrarySearch::default()
        }
    }

    /// The directory that a `-L`, `-rpath-link` or `SEARCH_DIR` names: `=` and `$SYSROOT` at its start stand for the
    /// system root.
    #[must_use]
    pub fn directory(&self, written: &OsStr) -> PathBuf {
        match after_sysroot_mark(written) {
            Some(rest) => self.in_sysroot(rest),
            None => self.cwd.join(written),
        }
    }

    fn in_sysroot(&self, path: &OsStr) -> PathBuf {
        let Some(root) = &self.sysroot else { return self.cwd.join(path) };
        let relative = path.as_bytes().iter().position(|&b| b != b'/').unwrap_or(path.len());
        root.join(OsStr::from_bytes(&path.as_bytes()[relative..]))
    }

    /// Looks for what follows `-l`: `NAME`, or `:FILE`.
    #[must_use]
    pub fn find(&self, name: &OsStr, world: &dyn World) -> Option<Found> {
        let named = |(before, after): &(&str, &str)| {
            let mut file = OsString::from(before);
            file.push(name);
            file.push(after);
            file
        };
        let files: Vec<OsString> = match name.as_bytes().strip_prefix(b":") {
            Some(exact) => vec![OsStr::from_bytes(exact).to_os_string()],
            None if self.is_static => vec![named(&ARCHIVE)],
            None if self.is_windows => WINDOWS.iter().map(named).collect(),
            None => vec![named(&("lib", ".so")), named(&ARCHIVE)],
        };
        let own = self.dirs.iter().map(|dir| (dir, false));
        let system = self.system_dirs.iter().map(|dir| (dir, true));
        for (dir, in_system) in own.chain(system) {
            for file in &files {
                let path = dir.join(file);
                if is_file(&path, world) && self.fits(&path, world) {
                    return Some(Found { path, in_system });
                }
            }
        }
        None
    }

    /// The path of a `-T` script: as written, else along `-L` and the linker's own directories.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn find_script(&self, name: &OsStr, world: &dyn World) -> Result<PathBuf, Decline> {
        let here = self.cwd.join(name);
        let dirs = self.dirs.iter().chain(&self.system_dirs).map(|dir| dir.join(name));
        let mut candidates = std::iter::once(here.clone()).chain(dirs);
        candidates.find(|path| world.node(path).is_some()).ok_or_else(|| Decline::missing(&here))
    }

    /// Is the library for the machine that is linked for? What cannot be told fits.
    fn fits(&self, path: &Path, world: &dyn World) -> bool {
        let Some(target) = self.target else { return true };
        if world.node(path) == Some(Node::Placeholder) {
            return true;
        }
        if let Some(facts) = world.elf(path) {
            return facts.target == target;
        }
        let Ok(bytes) = world.read(path) else { return true };
        if let Some(found) = archive_target(&bytes) {
            return found == target;
        }
        if script::may_be_script(&bytes) {
            let format = script::parse(&bytes).output_format;
            return format.and_then(|f| target_of_format(&f)).is_none_or(|found| found == target);
        }
        true
    }

    /// All files that the linker reads when it is given `roots` (objects, archives, shared libraries, scripts:
    /// what a command line names and what [`LibrarySearch::find`] found): the roots, what scripts name, the members of
    /// thin archives, and what shared libraries need.
    ///
    /// # Errors
    /// A root, or a file that a script or a thin archive names, does not exist or cannot be read. A needed library
    /// that is not found is no error: the linker only warns, if at all.
    pub fn closure(&self, roots: &[PathBuf], world: &dyn World) -> Result<BTreeSet<PathBuf>, Decline> {
        let mut walk = Walk {
            search: self,
            world,
            found: BTreeSet::new(),
            queue: Vec::new(),
            sonames: BTreeSet::new(),
            needs: Vec::new(),
            configuration: OnceCell::new(),
        };
        for root in roots {
            walk.add(root.clone())?;
        }
        walk.run()?;
        Ok(walk.found)
    }
}

/// A library that `by` needs.
struct Need {
    name: OsString,
    by: PathBuf,
    own_path: Vec<OsString>,
}

struct Walk<'a> {
    search: &'a LibrarySearch,
    world: &'a dyn World,
    found: BTreeSet<PathBuf>,
    queue: Vec<PathBuf>,
    /// `DT_SONAME`s of the libraries that are already part of the link: the linker does not look for those.
    sonames: BTreeSet<OsString>,
    needs: Vec<Need>,
    configuration: OnceCell<LoaderConfiguration>,
}

impl Walk<'_> {
    fn add(&mut self, path: PathBuf) -> Result<(), Decline> {
        if !is_file(&path, self.world) {
            return Err(Decline::missing(&path));
        }
        if self.found.insert(path.clone()) {
            if self.found.len() > MAX_FILES {
                return Err(Decline(format!("more than {MAX_FILES} files in one link")));
            }
            self.queue.push(path);
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), Decline> {
        loop {
            while let Some(path) = self.queue.pop() {
                self.visit(&path)?;
            }
            // Only when all that is named is there does the linker look for what else is needed.
            let Some(need) = self.needs.pop() else { return Ok(()) };
            if !self.sonames.contains(&need.name)
                && let Some(path) = self.find_needed(&need)
            {
                self.add(path)?;
            }
        }
    }

    fn visit(&mut self, path: &Path) -> Result<(), Decline> {
        if self.world.node(path) == Some(Node::Placeholder) {
            for file in self.world.linked_with(path).into_iter().chain(self.world.thin_members(path)) {
                if is_file(&file, self.world) {
                    self.add(file)?;
                }
            }
            return Ok(());
        }
        // A library may be large, and many programs are linked with it: no more of it is read than what counts.
        if let Some(facts) = self.world.elf(path) {
            if facts.kind == ElfKind::Shared {
                self.needs_of(path, &facts)?;
            }
            return Ok(());
        }
        let cannot = |e| Decline(format!("{} cannot be read: {e}", path.display()));
        let head = self.world.head(path).map_err(cannot)?;
        if head.starts_with(THIN) {
            for member in members_of_thin(path, &self.world.read(path).map_err(cannot)?)? {
                self.add(member)?;
            }
        } else if script::may_be_script(&head) {
            self.visit_script(path, &self.world.read(path).map_err(cannot)?)?;
        }
        Ok(())
    }

    /// What a shared library needs.
    fn needs_of(&mut self, path: &Path, facts: &ElfFacts) -> Result<(), Decline> {
        self.sonames.extend(facts.soname.clone());
        self.needs.extend(facts.needed.iter().map(|name| Need {
            name: name.clone(),
            by: path.to_path_buf(),
            own_path: facts.own_search_path().to_vec(),
        }));
        // A placeholder has no DT_NEEDED yet, but a library linked against one may have been forced already.
        for library in self.world.linked_with(path) {
            if is_file(&library, self.world) {
                self.add(library)?;
            }
        }
        Ok(())
    }

    fn visit_script(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Decline> {
        let script = script::parse(bytes);
        // `-o` has the last word, if it is there.
        if let Some(name) = script.written {
            let (by, name) = (path.display(), Path::new(&name).display());
            return Err(Decline(format!("{by} names {name} to be written")));
        }
        for input in script.inputs {
            match input {
                Input::Library(name) => match self.search.find(&name, self.world) {
                    Some(found) => self.add(found.path)?,
                    None => {
                        return Err(Decline(format!(
                            "-l{} of {} is not found",
                            name.to_string_lossy(),
                            path.display()
                        )));
                    }
                },
                Input::File(name) => self.add_named(path, &name)?,
            }
        }
        for name in script.includes {
            self.add_named(path, &name)?;
        }
        for name in script.mentioned {
            let file = self.search.cwd.join(name);
            if is_file(&file, self.world) {
                self.add(file)?;
            }
        }
        Ok(())
    }

    /// A file that a script names. Newer linkers look beside the script first, older ones only in the working
    /// directory, then all of them along the search path: where both exist, both are taken.
    fn add_named(&mut self, by: &Path, name: &OsStr) -> Result<(), Decline> {
        if let Some(rest) = after_sysroot_mark(name) {
            return self.add(self.search.in_sysroot(rest));
        }
        if name.as_bytes().starts_with(b"/") {
            // A script inside of the system root means paths inside of it.
            return self.add(match &self.search.sysroot {
                Some(root) if by.starts_with(root) => self.search.in_sysroot(name),
                _ => PathBuf::from(name),
            });
        }
        let mut any = false;
        for dir in [by.parent().unwrap_or(Path::new("/")), self.search.cwd.as_path()] {
            let path = dir.join(name);
            if is_file(&path, self.world) {
                self.add(path)?;
                any = true;
            }
        }
        if any {
            return Ok(());
        }
        let dirs = self.search.dirs.iter().chain(&self.search.system_dirs);
        match dirs.map(|dir| dir.join(name)).find(|path| is_file(path, self.world)) {
            Some(path) => self.add(path),
            None => Err(Decline(format!("{} of {} does not exist", Path::new(name).display(), by.display()))),
        }
    }

    fn find_needed(&mut self, need: &Need) -> Option<PathBuf> {
        let search = self.search;
        let world = self.world;
        let usable = |path: PathBuf| (is_file(&path, world) && search.fits(&path, world)).then_some(path);
        if need.name.as_bytes().contains(&b'/') {
            return usable(search.cwd.join(&need.name));
        }
        let run_path: &[PathBuf] =
            if search.rpath_link.is_empty() && search.rpath.is_empty() { &search.run_path } else { &[] };
        let own = expand_origin(&need.own_path, &need.by);
        let given = search.rpath_link.iter().chain(&search.rpath).chain(run_path).chain(&search.library_path);
        if let Some(path) = given.chain(&own).find_map(|dir| usable(dir.join(&need.name))) {
            return Some(path);
        }
        let configuration =
            self.configuration.get_or_init(|| LoaderConfiguration::read(search.sysroot.as_deref(), world));
        let dirs = configuration.dirs.iter().chain(&search.system_dirs);
        let path = dirs.filter_map(|dir| usable(dir.join(&need.name))).next();
        // The linker has read these by now.
        self.found.extend(configuration.files.iter().cloned());
        path
    }
}

/// How a thin archive begins.
pub const THIN: &[u8; 8] = b"!<thin>\n";

/// The files that a thin archive refers to, if the file or placeholder at `archive` is one.
///
/// # Errors
/// It cannot be read, or is damaged.
pub(crate) fn thin_archive(archive: &Path, world: &dyn World) -> Result<Option<Vec<PathBuf>>, Decline> {
    match world.node(archive) {
        Some(Node::Placeholder) => {
            Ok(Some(world.thin_members(archive)).filter(|members| !members.is_empty()))
        }
        Some(Node::File) => {
            let cannot = |e| Decline(format!("{} cannot be read: {e}", archive.display()));
            if !world.head(archive).map_err(cannot)?.starts_with(THIN) {
                return Ok(None);
            }
            members_of_thin(archive, &world.read(archive).map_err(cannot)?).map(Some)
        }
        _ => Ok(None),
    }
}

fn members_of_thin(archive: &Path, bytes: &[u8]) -> Result<Vec<PathBuf>, Decline> {
    let base = archive.parent().unwrap_or(Path::new("/"));
    let names =
        thin_members(bytes).ok_or_else(|| Decline(format!("{} is a damaged archive", archive.display())))?;
    Ok(names.into_iter().map(|name| base.join(name)).collect())
}

/// Is there a regular file, computed or not?
pub(crate) fn is_file(path: &Path, world: &dyn World) -> bool {
    matches!(world.node(path), Some(Node::File | Node::Placeholder))
}

fn after_sysroot_mark(path: &OsStr) -> Option<&OsStr> {
    let bytes = path.as_bytes();
    bytes.strip_prefix(b"=").or_else(|| bytes.strip_prefix(b"$SYSROOT")).map(OsStr::from_bytes)
}

/// BFD's names of the formats that are most likely to stand side by side on one machine.
fn target_of_format(format: &OsStr) -> Option<Target> {
    use goblin::elf::header::{EM_386, EM_AARCH64, EM_ARM, EM_X86_64};
    let (is_64, machine) = match format.as_bytes() {
        b"elf64-x86-64" => (true, EM_X86_64),
        b"elf32-x86-64" => (false, EM_X86_64),
        b"elf32-i386" => (false, EM_386),
        b"elf64-littleaarch64" => (true, EM_AARCH64),
        b"elf32-littlearm" => (false, EM_ARM),
        _ => return None,
    };
    Some(Target { is_64, machine })
}

/// One member of a `!<arch>` or `!<thin>` archive.
struct Member<'a> {
    name: &'a [u8],
    data: &'a [u8],
}

/// The members of an archive in order, symbol and name tables included; ends where the archive is damaged.
fn members<'a>(bytes: &'a [u8], is_thin: bool) -> impl Iterator<Item = Member<'a>> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let header = rest.get(..60).filter(|h| h.ends_with(b"`\n"))?;
        let name = header[..16].trim_ascii_end();
        let size: usize = std::str::from_utf8(&header[48..58]).ok()?.trim().parse().ok()?;
        let stored = if is_thin && !is_special(name) { 0 } else { size };
        let data = rest[60..].get(..stored)?;
        // Members begin at even offsets.
        rest = rest[60 + stored..].get(stored % 2..).unwrap_or_default();
        Some(Member { name, data })
    })
}

fn is_special(name: &[u8]) -> bool {
    name == b"/" || name == b"//" || name == b"/SYM64/"
}

/// What machine the first object of an archive is for.
fn archive_target(bytes: &[u8]) -> Option<Target> {
    bytes.strip_prefix(b"!<arch>\n")?;
    let object =
        members(bytes, false).filter(|m| !is_special(m.name)).find_map(|m| ElfFacts::read(m.data))?;
    Some(object.target)
}

/// The files that a thin archive consists of, as written: relative to its own directory.
fn thin_members(bytes: &[u8]) -> Option<Vec<PathBuf>> {
    let names = members(bytes, true).find(|m| m.name == b"//").map(|m| m.data).unwrap_or_default();
    let mut files = Vec::new();
    for member in members(bytes, true).filter(|m| !is_special(m.name)) {
        let name = match member.name.strip_prefix(b"/") {
            Some(offset) => {
                // `/OFFSET`, or `/OFFSET:ORIGIN` for a member of a nested archive. GNU ar leaves the slash that ended the name
                // behind the number where the name filled the field.
                let digits = offset.split(|b| !b.is_ascii_digit()).next()?;
                let offset: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
                let name = names.get(offset..)?;
                name[..memchr::memchr(b'\n', name)?].strip_suffix(b"/")?
            }
            None => member.name.strip_suffix(b"/").unwrap_or(member.name),
        };
        files.push(PathBuf::from(OsString::from_vec(name.to_vec())));
    }
    Some(files)
}

#[cfg(test)]
mod tests;
