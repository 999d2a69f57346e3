// SPDX-License-Identifier: Apache-2.0
//! Where paths lead: looked at once, and again only when the build may have changed something on the way. Commands of a build
//! name the same programs, directories and libraries over and over. Rests on what [`Changed`] tells, as the include
//! scanner does; knows no commands, and nothing of what is in files.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::HashMap;
use thunk::{FileFacts, Footprint, Led};
use wire::log::{Changed, name_hash};

/// When this many ways are remembered, all are forgotten.
const MANY: usize = 1 << 16;

/// Is nothing there? What may not be looked at is there.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A path that was followed.
#[derive(Debug)]
pub struct Way {
    /// Where it led, or the error.
    led: Result<Led, i32>,
    /// What must exist for it to lead there, beside what its directory needs.
    footprint: Footprint,
    /// The way to its directory, where that is the same for all that is in there.
    lead: Option<Arc<Way>>,
    /// The names on the way, hashed: of nothing else can a change make it lead elsewhere.
    names: Box<[u64]>,
    /// The age in which it was followed.
    age: u64,
    /// It led to a file that has other names, by which it may be written to: that is looked at each time.
    shared: bool,
}

impl Way {
    fn new(path: &Path, age: u64, follow: impl FnOnce(&mut Footprint) -> io::Result<Led>) -> Self {
        let mut footprint = Footprint::default();
        let led = follow(&mut footprint);
        Self::from(path, age, footprint, led)
    }

    fn from(path: &Path, age: u64, footprint: Footprint, led: io::Result<Led>) -> Self {
        let mut names = HashSet::new();
        let end = led.as_ref().ok().map(Led::end);
        let links = footprint.links.iter().flat_map(|(link, target)| [&**link, &**target]);
        for component in [path].into_iter().chain(links).chain(end).flat_map(Path::components) {
            if let Component::Normal(name) = component {
                names.insert(name_hash(name.as_bytes()));
            }
        }
        let led = led.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO));
        Self { led, footprint, lead: None, names: names.into_iter().collect(), age, shared: false }
    }

    fn nowhere(path: &Path, age: u64, lead: &Self, errno: i32) -> Self {
        Self::from(path, age, lead.footprint.clone(), Err(io::Error::from_raw_os_error(errno)))
    }

    /// The way to `name` in the directory to which `lead` leads.
    fn of_entry(path: &Path, name: &OsStr, lead: Arc<Self>, age: u64) -> Self {
        let real = match &lead.led {
            Ok(Led::Directory(real)) => real,
            Ok(_) => return Self::nowhere(path, age, &lead, libc::ENOTDIR),
            Err(errno) => return Self::nowhere(path, age, &lead, *errno),
        };
        let mut footprint = Footprint::default();
        let led = footprint.add_entry(real, name);
        if !footprint.links.is_empty() {
            footprint.absorb(&lead.footprint);
            return Self::from(path, age, footprint, led);
        }
        let led = led.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO));
        let names = lead.names.iter().copied().chain([name_hash(name.as_bytes())]).collect();
        Self { led, footprint, lead: Some(lead), names, age, shared: false }
    }

    /// Are there links on the way?
    fn has_links(&self) -> bool {
        !self.footprint.links.is_empty() || self.lead.as_ref().is_some_and(|lead| lead.has_links())
    }

    /// Where it leads.
    ///
    /// # Errors
    /// Nowhere.
    pub fn led(&self) -> io::Result<&Led> {
        self.led.as_ref().map_err(|errno| io::Error::from_raw_os_error(*errno))
    }

    /// The real path of what it leads to, if that is anything.
    pub fn end(&self) -> Option<&Path> {
        self.led.as_ref().ok().map(Led::end)
    }

    /// The file at its end, at its real path, if one is there.
    pub fn file(&self) -> Option<(&Path, &FileFacts)> {
        match &self.led {
            Ok(Led::File(real)) => Some((real, self.footprint.files.get(real)?)),
            _ => None,
        }
    }

    /// If it led to a file: is it the same one, unchanged?
    fn is_still_file(&self) -> bool {
        self.file().is_none_or(|(real, facts)| {
            std::fs::symlink_metadata(real).is_ok_and(|now| *facts == FileFacts::of(&now))
        })
    }

    /// Can it be told when it leads elsewhere? Not where it was not allowed to look.
    fn can_be_remembered(&mut self) -> bool {
        match &self.led {
            Ok(Led::File(real)) => {
                let facts = self.footprint.files.get(real);
                let now = std::fs::symlink_metadata(real);
                self.shared = now.as_ref().is_ok_and(|now| now.nlink() > 1);
                now.is_ok_and(|now| facts == Some(&FileFacts::of(&now)))
            }
            Ok(Led::Directory(_)) => true,
            Ok(Led::Special(_)) => false,
            // Behind links it is not known which name would have to appear.
            Err(errno) => *errno == libc::ENOENT && !self.has_links(),
        }
    }
}

/// Takes what is a hash already, or an address, for its hash.
#[derive(Debug, Default)]
pub struct Given(u64);

/// Builds [`Given`]s.
pub type Fast = BuildHasherDefault<Given>;

impl Hasher for Given {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// All that were followed.
#[derive(Debug, Default)]
pub struct Looks {
    paths: RwLock<HashMap<OsString, Arc<Way>>>,
    leads: RwLock<HashMap<OsString, Arc<Way>>>,
    /// Names at which the recorder itself has put something.
    told: RwLock<HashSet<u64, Fast>>,
    /// Grows when anything may have changed.
    age: AtomicU64,
}

impl Looks {
    /// Something of this name changes from now on.
    pub fn changes(&self, name: &[u8]) {
        self.told.write().unwrap_or_else(PoisonError::into_inner).insert(name_hash(name));
    }

    /// Does something with a name that is hashed so change?
    pub fn was_told(&self, name: u64) -> bool {
        self.told.read().unwrap_or_else(PoisonError::into_inner).contains(&name)
    }

    /// Anything may have changed.
    pub fn forget(&self) {
        self.age.fetch_add(1, Ordering::SeqCst);
    }

    /// Follows an absolute path. `changed`: what the build changes, where all that it changes is known.
    pub fn path(&self, path: &Path, changed: Option<&Changed>) -> Arc<Way> {
        self.way(&self.paths, path, changed, |age| {
            let (Some(parent), Some(Component::Normal(name))) =
                (path.parent(), path.components().next_back())
            else {
                return Way::new(path, age, |footprint| footprint.add(path));
            };
            Way::of_entry(path, name, self.lead(parent, changed), age)
        })
    }

    /// Follows the path of a directory, as [`Footprint::lead`] does.
    pub fn lead(&self, directory: &Path, changed: Option<&Changed>) -> Arc<Way> {
        let lead = |footprint: &mut Footprint| footprint.lead(directory).map(Led::Directory);
        self.way(&self.leads, directory, changed, |age| Way::new(directory, age, lead))
    }

    fn way(
        &self,
        known: &RwLock<HashMap<OsString, Arc<Way>>>,
        path: &Path,
        changed: Option<&Changed>,
        follow: impl FnOnce(u64) -> Way,
    ) -> Arc<Way> {
        // Before it is looked: what changes later makes a later age.
        let age = self.age.load(Ordering::SeqCst);
        let Some(changed) = changed else { return Arc::new(follow(age)) };
        let found = known.read().unwrap_or_else(PoisonError::into_inner).get(path.as_os_str()).cloned();
        if let Some(way) = found.filter(|way| way.age == age && !self.has_changed(way, changed))
            && (!way.shared || way.is_still_file())
        {
            return way;
        }
        let mut way = follow(age);
        let remembered = way.can_be_remembered() && !self.has_changed(&way, changed);
        let way = Arc::new(way);
        if remembered {
            let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MANY {
                known.clear();
            }
            known.insert(path.as_os_str().to_os_string(), Arc::clone(&way));
        }
        way
    }

    fn has_changed(&self, way: &Way, changed: &Changed) -> bool {
        let told = self.told.read().unwrap_or_else(PoisonError::into_inner);
        way.names.iter().any(|name| changed.has_hashed(*name) || told.contains(name))
    }
}

/// A footprint of ways that may be known already.
pub struct Steps<'a> {
    looks: &'a Looks,
    changed: Option<&'a Changed>,
    /// Are files looked at each time, whatever is known of them?
    looks_at_files: bool,
    /// Ways to directories of which the footprint has all, by their addresses, which they keep.
    leads: std::collections::HashMap<usize, Arc<Way>, Fast>,
    /// What they need so far.
    pub footprint: Footprint,
}

impl<'a> Steps<'a> {
    /// None yet.
    pub fn new(looks: &'a Looks, changed: Option<&'a Changed>) -> Self {
        Self {
            looks,
            changed,
            looks_at_files: false,
            leads: Default::default(),
            footprint: Footprint::default(),
        }
    }

    /// The same, with each file as it is now: for who must know whether somebody from outside of the build has changed it.
    pub fn with_files_looked_at(self) -> Self {
        Self { looks_at_files: true, ..self }
    }

    /// As [`Footprint::add`].
    ///
    /// # Errors
    /// The path leads nowhere.
    pub fn add(&mut self, path: &Path) -> io::Result<Led> {
        let mut way = self.looks.path(path, self.changed);
        // One that has other names was looked at just now.
        if self.looks_at_files && !way.shared && !way.is_still_file() {
            way = self.looks.path(path, None);
        }
        let led = way.led()?.clone();
        if let Some(lead) = &way.lead {
            self.absorb_lead(lead);
        }
        self.footprint.absorb(&way.footprint);
        Ok(led)
    }

    /// Adds a link, which may lead nowhere; tells where it leads.
    ///
    /// # Errors
    /// It is none, or there is no such directory.
    pub fn add_link(&mut self, path: &Path) -> io::Result<PathBuf> {
        let target = std::fs::read_link(path)?;
        let place = self.add_place(path)?;
        self.footprint.links.insert(place, target.clone());
        Ok(target)
    }

    /// A command opens hundreds of files in a few directories.
    fn absorb_lead(&mut self, lead: &Arc<Way>) {
        if self.leads.insert(Arc::as_ptr(lead).addr(), Arc::clone(lead)).is_none() {
            self.footprint.absorb(&lead.footprint);
        }
    }

    /// As [`Footprint::lead`].
    ///
    /// # Errors
    /// There is no such directory.
    pub fn lead(&mut self, directory: &Path) -> io::Result<PathBuf> {
        let way = self.looks.lead(directory, self.changed);
        let Led::Directory(real) = way.led()? else { return Err(io::ErrorKind::NotADirectory.into()) };
        self.absorb_lead(&way);
        Ok(real.clone())
    }

    /// As [`Footprint::add_place`].
    ///
    /// # Errors
    /// There is no such directory.
    pub fn add_place(&mut self, path: &Path) -> io::Result<PathBuf> {
        let (Some(parent), Some(Component::Normal(name))) = (path.parent(), path.components().next_back())
        else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let real = self.lead(parent)?;
        let place = real.join(name);
        self.footprint.directories.insert(real);
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Space {
        _dir: tempfile::TempDir,
        root: PathBuf,
        looks: Looks,
        changed: Box<Changed>,
    }

    impl Space {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = fs::canonicalize(dir.path()).unwrap();
            // SAFETY: it is made of atomic integers, for which zero is a value.
            let changed = Box::new(unsafe { std::mem::zeroed() });
            Self { _dir: dir, root, looks: Looks::default(), changed }
        }

        fn size(&self, name: &str) -> Option<u64> {
            let way = self.looks.path(&self.root.join(name), Some(&self.changed));
            way.file().map(|(_, facts)| facts.id.size)
        }
    }

    #[test]
    fn a_path_is_followed_again_once_a_name_on_the_way_was_changed() {
        let space = Space::new();
        fs::create_dir_all(space.root.join("a/b")).unwrap();
        fs::write(space.root.join("a/b/f"), "1").unwrap();
        symlink("a", space.root.join("l")).unwrap();
        assert_eq!(space.size("l/b/f"), Some(1));
        // Nobody has told of this: the first look counts.
        fs::write(space.root.join("a/b/f"), "22").unwrap();
        assert_eq!(space.size("l/b/f"), Some(1));
        space.changed.note(b"elsewhere/g");
        assert_eq!(space.size("l/b/f"), Some(1));
        // The file; and from now on it is looked at each time.
        space.changed.note(b"x/f");
        assert_eq!(space.size("l/b/f"), Some(2));
        fs::write(space.root.join("a/b/f"), "333").unwrap();
        assert_eq!(space.size("l/b/f"), Some(3));
    }

    #[test]
    fn links_and_directories_on_the_way_count() {
        for told in ["l", "a", "b"] {
            let space = Space::new();
            for (tree, content) in [("a/b", "1"), ("new/b", "22")] {
                fs::create_dir_all(space.root.join(tree)).unwrap();
                fs::write(space.root.join(tree).join("f"), content).unwrap();
            }
            symlink("a", space.root.join("l")).unwrap();
            assert_eq!(space.size("l/b/f"), Some(1));
            fs::remove_file(space.root.join("l")).unwrap();
            symlink("new", space.root.join("l")).unwrap();
            assert_eq!(space.size("l/b/f"), Some(1));
            space.looks.changes(told.as_bytes());
            assert_eq!(space.size("l/b/f"), Some(2), "{told}");
        }
    }

    #[test]
    fn what_was_missing_is_found_once_it_was_told_of() {
        let space = Space::new();
        assert_eq!(space.size("x/f"), None);
        fs::create_dir(space.root.join("x")).unwrap();
        fs::write(space.root.join("x/f"), "1").unwrap();
        assert_eq!(space.size("x/f"), None);
        space.changed.note(b"x");
        assert_eq!(space.size("x/f"), Some(1));
    }

    #[test]
    fn files_with_other_names_are_looked_at_and_so_is_all_in_another_age_and_without_the_net() {
        let space = Space::new();
        fs::write(space.root.join("f"), "1").unwrap();
        fs::write(space.root.join("g"), "1").unwrap();
        fs::hard_link(space.root.join("f"), space.root.join("other")).unwrap();
        assert_eq!((space.size("f"), space.size("g")), (Some(1), Some(1)));
        fs::write(space.root.join("f"), "22").unwrap();
        fs::write(space.root.join("g"), "22").unwrap();
        assert_eq!((space.size("f"), space.size("g")), (Some(2), Some(1)));
        let seen = space.looks.path(&space.root.join("g"), None);
        assert_eq!(seen.file().map(|(_, facts)| facts.id.size), Some(2));
        space.looks.forget();
        assert_eq!(space.size("g"), Some(2));
    }

    #[test]
    fn steps_give_what_a_footprint_gives() {
        let space = Space::new();
        fs::create_dir_all(space.root.join("a/b")).unwrap();
        fs::write(space.root.join("a/f"), "1").unwrap();
        symlink("a", space.root.join("l")).unwrap();
        for _ in 0..2 {
            let mut steps = Steps::new(&space.looks, Some(&space.changed));
            let mut footprint = Footprint::default();
            let paths = ["l/b/../f", "l", "a/b"].map(|path| space.root.join(path));
            for path in &paths {
                assert_eq!(steps.add(path).unwrap(), footprint.add(path).unwrap());
            }
            assert_eq!(steps.lead(&paths[1]).unwrap(), footprint.lead(&paths[1]).unwrap());
            let place = space.root.join("l/b/new.o");
            assert_eq!(steps.add_place(&place).unwrap(), footprint.add_place(&place).unwrap());
            let Footprint { files, links, directories, .. } = &footprint;
            let same = &steps.footprint;
            assert_eq!((files, links, directories), (&same.files, &same.links, &same.directories));
        }
        let mut steps = Steps::new(&space.looks, Some(&space.changed));
        assert!(steps.add(&space.root.join("none")).is_err() && steps.lead(&space.root.join("a/f")).is_err());
    }
}
