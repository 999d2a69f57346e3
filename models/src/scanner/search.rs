// SPDX-License-Identifier: Apache-2.0
//! Search paths: which file a name means, seen from a file, and so which files one file may include. Kept for as
//! long as the directories that the answers rest on give the same answers. Unaware of macros and of the walk.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::answers::Answers;
use super::directives::{Form, NameId, Parsed, name_id};
use super::intern::{Bits, Fast, Packed};
use super::tree::{Calm, DirId, FileId, NO_CALM, Trail, View};
use crate::IncludeSearch;

/// The header that gcc includes before everything else, where it finds one.
pub(super) const IMPLIED: &[u8] = b"stdc-predef.h";

/// The directories of one kind of command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Order {
    cwd: DirId,
    /// `-iquote`, `-I`, `-isystem`, `-idirafter`, in the order of the search.
    all: Box<[DirId]>,
    /// Where `<…>` begins in it.
    angle: usize,
    assembler: Box<[DirId]>,
}

/// A search order and what was found in it.
pub(super) struct List {
    order: Order,
    /// For each directory, whether it comes again later in the order, perhaps by another name. Compilers drop one
    /// of the two, by rules of their own, so that a match in it does not end the search.
    repeated: Mutex<Arc<[bool]>>,
    changed_at: AtomicU64,
    names: RwLock<HashMap<(NameId, Form), Arc<Edges>, Fast>>,
    edges: RwLock<HashMap<(FileId, bool), Arc<Edges>, Fast>>,
    /// Where files lead, and where that leads, to the end.
    reaches: RwLock<HashMap<FileId, Reach, Fast>>,
    /// Where exactly names are found, and what that rests on.
    places: RwLock<HashMap<(DirId, NameId, Start), Placed, Fast>>,
    /// Answers for commands with this search order.
    pub answers: Answers,
    /// Precompiled forms of what a name means in a file of a directory.
    precompiled: RwLock<HashMap<(DirId, NameId), Arc<Edges>, Fast>>,
}

/// Where one file leads, or one name.
#[derive(Default)]
pub(super) struct Edges {
    /// When it was beyond doubt last.
    calm: AtomicU64,
    /// Number of the newest change when this was found out.
    at: u64,
    /// Good for one use only.
    pub fleeting: bool,
    /// [`Parsed::content`] of the file.
    content: u64,
    /// Files whose own directives count.
    pub follow: Box<[FileId]>,
    /// Files that are only tested for or read as data.
    pub touch: Box<[FileId]>,
    /// What it rests on.
    pub trail: Trail,
}

impl Edges {
    fn weight(&self) -> usize {
        size_of::<Self>()
            + 48
            + 4 * (self.follow.len() + self.touch.len() + self.trail.through.len() + self.trail.watch.len())
    }
}

/// All files to which one leads, itself included, as long as nothing changes.
#[derive(Clone)]
pub(super) struct Reach {
    /// When it was found out.
    calm: Calm,
    /// How often it was tried in that time.
    tries: u8,
    all: Option<Arc<Reached>>,
}

/// See [`Reach`].
#[derive(Default)]
pub(super) struct Reached {
    /// Files whose own directives count.
    pub follow: Packed,
    /// Files that are only tested for or read as data.
    pub touch: Vec<FileId>,
    /// Directories that must exist.
    pub through: Vec<DirId>,
    /// Directories of which the answers led there.
    pub watch: Packed,
    /// By an absolute path, for one.
    pub absolute: bool,
}

/// From where on a name is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Start {
    /// The directory of the including file, then all others.
    Beside,
    /// The directories for `<…>`.
    Angle,
    /// The directory in this place of the order.
    From(usize),
}

/// Where the compiler finds a header: exactly there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Nowhere,
    /// By an absolute name.
    Direct(FileId),
    /// In the directory of the including file.
    Beside(FileId),
    /// In the directory in this place of the order.
    Order(FileId, usize),
    /// In a directory that comes twice in the order.
    Unclear(FileId),
    /// It depends on which of two names of a directory the compiler drops.
    Several,
}

type Placed = (Place, Arc<Edges>);

/// Something that may not be calm yet is tried so often.
const TRIES: u8 = 4;

/// [`Edges`] in the making.
#[derive(Default)]
pub(super) struct Found {
    pub follow: Vec<FileId>,
    pub touch: Vec<FileId>,
    pub trail: Trail,
    /// Rests on more than the trail says.
    pub fleeting: bool,
}

impl Found {
    pub fn add(&mut self, files: &[FileId], leaf: bool) {
        if leaf { &mut self.touch } else { &mut self.follow }.extend_from_slice(files);
    }

    fn finish(mut self, at: u64, content: u64) -> Edges {
        for ids in [&mut self.trail.watch, &mut self.trail.through] {
            ids.sort_unstable();
            ids.dedup();
        }
        let mut seen = std::collections::HashSet::<_, Fast>::default();
        self.follow.retain(|&f| seen.insert((f, false)));
        self.touch.retain(|&f| seen.insert((f, true)));
        self.trail.watch.shrink_to_fit();
        self.trail.through.shrink_to_fit();
        Edges {
            calm: AtomicU64::new(NO_CALM),
            at,
            fleeting: self.fleeting,
            content,
            follow: self.follow.into(),
            touch: self.touch.into(),
            trail: self.trail,
        }
    }
}

/// All lists of a recording.
#[derive(Default)]
pub(super) struct Lists(RwLock<HashMap<Order, Arc<List>, Fast>>);

impl Lists {
    /// All of them.
    pub fn all(&self) -> Vec<Arc<List>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The list for a search, and the directories on the way to its directories.
    pub fn get(
        &self,
        view: View<'_>,
        search: &IncludeSearch,
        cwd: &Path,
        through: &mut Vec<DirId>,
    ) -> Arc<List> {
        let mut trail = Trail::default();
        let mut ids = |paths: &[PathBuf], into: &mut Vec<DirId>| {
            into.extend(paths.iter().filter_map(|p| view.directory(p.as_os_str().as_bytes(), &mut trail)));
        };
        let mut all = vec![];
        ids(&search.quote, &mut all);
        let angle = all.len();
        ids(&search.bracket, &mut all);
        ids(&search.system, &mut all);
        ids(&search.after, &mut all);
        // gcc looks for `<…>` where it looks for `"…"` if it has nothing else.
        let angle = if angle == all.len() { 0 } else { angle };
        let mut assembler = vec![];
        ids(&search.assembler, &mut assembler);
        let mut here = vec![];
        ids(std::slice::from_ref(&cwd.to_path_buf()), &mut here);
        let cwd = here.first().copied().or_else(|| view.directory(b"/", &mut trail)).unwrap_or(0);
        through.append(&mut trail.through);
        let order = Order { cwd, all: all.into(), angle, assembler: assembler.into() };
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&order).cloned();
        let list = known.unwrap_or_else(|| {
            let mut lists = self.0.write().unwrap_or_else(PoisonError::into_inner);
            view.tree.add_weight(512 + 4 * order.all.len());
            let list = || Arc::new(List::new(order.clone()));
            lists.entry(order.clone()).or_insert_with(list).clone()
        });
        list.mark_repeated(view);
        list
    }
}

impl List {
    fn new(order: Order) -> Self {
        Self {
            repeated: Mutex::new(order.all.iter().map(|_| false).collect()),
            order,
            changed_at: AtomicU64::new(0),
            names: RwLock::default(),
            edges: RwLock::default(),
            reaches: RwLock::default(),
            places: RwLock::default(),
            answers: Answers::default(),
            precompiled: RwLock::default(),
        }
    }

    fn mark_repeated(&self, view: View<'_>) {
        let mut seen = std::collections::HashSet::<_, Fast>::default();
        let again = |&dir: &DirId| view.identity(dir).is_some_and(|identity| !seen.insert(identity));
        let mut repeated: Vec<bool> = self.order.all.iter().rev().map(again).collect();
        repeated.reverse();
        let mut known = self.repeated.lock().unwrap_or_else(PoisonError::into_inner);
        if **known != *repeated {
            *known = repeated.into();
            self.changed_at.store(view.tree.next_change(), SeqCst);
        }
    }

    fn holds(&self, view: View<'_>, edges: &Edges) -> bool {
        !edges.fleeting
            && self.changed_at.load(SeqCst) <= edges.at
            && edges.trail.watch.iter().all(|&dir| view.is_unchanged(dir, edges.at))
    }

    /// The files that a name can mean in the search order, for a form other than an assembler's.
    fn search(&self, view: View<'_>, name: NameId, form: Form) -> Arc<Edges> {
        let known = self.names.read().unwrap_or_else(PoisonError::into_inner).get(&(name, form)).cloned();
        if let Some(edges) = known.filter(|edges| self.holds(view, edges)) {
            return edges;
        }
        let at = view.tree.now();
        let repeated = self.repeated();
        let mut found = Found::default();
        let from = if form == Form::Angle { self.order.angle } else { 0 };
        for (&dir, &repeated) in self.order.all.iter().zip(&*repeated).skip(from) {
            if let Some(file) = view.find(dir, name, &mut found.trail) {
                found.follow.push(file);
                if !repeated && form != Form::Any {
                    break;
                }
            }
        }
        let edges = Arc::new(found.finish(at, 0));
        view.tree.add_weight(edges.weight());
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.insert((name, form), edges.clone());
        edges
    }

    /// Adds the files that a name can mean in a file of directory `here`.
    pub fn resolve(
        &self,
        view: View<'_>,
        here: DirId,
        name: NameId,
        form: Form,
        leaf: bool,
        found: &mut Found,
    ) {
        if view.tree.names.get(name).first() == Some(&b'/') {
            let file = view.find(here, name, &mut found.trail);
            found.add(file.as_slice(), leaf);
            return;
        }
        if form == Form::Line {
            let file = view.find(self.order.cwd, name, &mut found.trail);
            found.add(file.as_slice(), leaf);
            return;
        }
        if form != Form::Angle {
            let beside = view.find(here, name, &mut found.trail);
            found.add(beside.as_slice(), leaf);
            if form == Form::Quote && beside.is_some() {
                return;
            }
        }
        if form == Form::Assembler {
            for &dir in [self.order.cwd].iter().chain(&self.order.assembler) {
                let file = view.find(dir, name, &mut found.trail);
                found.add(file.as_slice(), leaf);
            }
            return;
        }
        let edges = self.search(view, name, form);
        found.add(&edges.follow, leaf);
        found.trail.extend(&edges.trail);
    }

    /// Where a compiler finds a name in a file of directory `here`; adds to the trail what that rests on.
    pub fn place(&self, view: View<'_>, here: DirId, name: NameId, start: Start, trail: &mut Trail) -> Place {
        let key = (if start == Start::Beside { here } else { self.order.cwd }, name, start);
        let known = self.places.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let known = known.filter(|(_, rests_on)| self.holds(view, rests_on));
        let (place, rests_on) = known.unwrap_or_else(|| {
            let at = view.tree.now();
            let mut found = Found::default();
            let place = self.look_for_place(view, here, name, start, &mut found.trail);
            let rests_on = Arc::new(found.finish(at, 0));
            view.tree.add_weight(rests_on.weight() + 48);
            let mut all = self.places.write().unwrap_or_else(PoisonError::into_inner);
            all.insert(key, (place, Arc::clone(&rests_on)));
            (place, rests_on)
        });
        trail.extend(&rests_on.trail);
        place
    }

    fn look_for_place(
        &self,
        view: View<'_>,
        here: DirId,
        name: NameId,
        start: Start,
        trail: &mut Trail,
    ) -> Place {
        if view.tree.names.get(name).first() == Some(&b'/') {
            return view.find(here, name, trail).map_or(Place::Nowhere, Place::Direct);
        }
        let from = match start {
            Start::Beside => match view.find(here, name, trail) {
                Some(file) => return Place::Beside(file),
                None => 0,
            },
            Start::Angle => self.order.angle,
            Start::From(place) => place,
        };
        let repeated = self.repeated();
        let mut found: Option<(FileId, usize)> = None;
        for (place, &dir) in self.order.all.iter().enumerate().skip(from) {
            let Some(file) = view.find(dir, name, trail) else { continue };
            match found {
                Some((_, first)) if view.identity(dir) != view.identity(self.order.all[first]) => {
                    return Place::Several;
                }
                Some(_) => {}
                None => found = Some((file, place)),
            }
            if !repeated[place] {
                break;
            }
        }
        let Some((file, place)) = found else { return Place::Nowhere };
        let identity = view.identity(self.order.all[place]);
        let same = self.order.all.iter().filter(|&&dir| view.identity(dir) == identity).count();
        if same > 1 { Place::Unclear(file) } else { Place::Order(file, place) }
    }

    /// The directories that are searched, the assembler's, and the working directory.
    pub fn directories(&self) -> [&[DirId]; 3] {
        [&self.order.all, &self.order.assembler, std::slice::from_ref(&self.order.cwd)]
    }

    /// For each directory, whether it comes again later in the order.
    pub fn repeated(&self) -> Arc<[bool]> {
        self.repeated.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where the search for `<…>` begins.
    pub fn angle(&self) -> usize {
        self.order.angle
    }

    /// The working directory.
    pub fn cwd(&self) -> DirId {
        self.order.cwd
    }

    /// The file with an absolute name.
    pub fn file(&self, view: View<'_>, name: NameId) -> Option<FileId> {
        view.find(self.order.cwd, name, &mut Trail::default())
    }

    /// The files that `-include NAME` means: the working directory stands where an including file's would.
    pub fn forced(&self, view: View<'_>, name: &[u8], found: &mut Found) {
        let names = &view.tree.names;
        self.resolve(view, self.order.cwd, name_id(names, name), Form::Quote, false, found);
        self.precompiled(view, self.order.cwd, name_id(names, name), found);
    }

    /// The header that gcc includes before everything else, where the C library has it.
    pub fn implied(&self, view: View<'_>, found: &mut Found) {
        let name = name_id(&view.tree.names, IMPLIED);
        self.resolve(view, self.order.cwd, name, Form::Angle, false, found);
    }

    /// Precompiled forms of a header, which a compiler prefers to the header itself.
    pub fn precompiled(&self, view: View<'_>, here: DirId, name: NameId, found: &mut Found) {
        let known =
            self.precompiled.read().unwrap_or_else(PoisonError::into_inner).get(&(here, name)).cloned();
        let edges = known.filter(|edges| self.holds(view, edges)).unwrap_or_else(|| {
            let at = view.tree.now();
            let mut found = Found::default();
            self.look_for_precompiled(view, here, name, &mut found);
            let edges = Arc::new(found.finish(at, 0));
            view.tree.add_weight(edges.weight());
            let mut all = self.precompiled.write().unwrap_or_else(PoisonError::into_inner);
            all.insert((here, name), Arc::clone(&edges));
            edges
        });
        found.fleeting |= edges.fleeting;
        found.add(&edges.touch, true);
        found.trail.extend(&edges.trail);
    }

    fn look_for_precompiled(&self, view: View<'_>, here: DirId, name: NameId, found: &mut Found) {
        for suffix in [&b".gch"[..], b".pch"] {
            let name = name_id(&view.tree.names, &[view.tree.names.get(name), suffix].concat());
            self.resolve(view, here, name, Form::Any, true, found);
            // gcc tries all files in a directory of that name. Which there are, no directory's answers tell.
            for &dir in [here].iter().chain(&self.order.all) {
                let files = view.files_in(dir, name, &mut found.trail);
                found.fleeting |= !files.is_empty();
                found.add(&files, true);
            }
        }
    }

    /// Where a file leads. `first`: it is what the command compiles, so that what it includes may be precompiled.
    pub fn edges(&self, view: View<'_>, file: FileId, parsed: &Parsed, first: bool) -> Arc<Edges> {
        let known = self.edges.read().unwrap_or_else(PoisonError::into_inner).get(&(file, first)).cloned();
        if let Some(edges) = known.filter(|e| e.content == parsed.content && self.holds(view, e)) {
            if edges.trail.watch.iter().all(|&dir| view.is_calm_directory(dir)) {
                edges.calm.store(view.calm, SeqCst);
            }
            return edges;
        }
        let at = view.tree.now();
        let here = view.tree.file(file).dir;
        let mut found = Found::default();
        for include in &parsed.includes {
            self.resolve(view, here, include.name, include.form, include.leaf, &mut found);
            if first && !include.leaf {
                self.precompiled(view, here, include.name, &mut found);
            }
        }
        let edges = Arc::new(found.finish(at, parsed.content));
        view.tree.add_weight(edges.weight());
        let mut all = self.edges.write().unwrap_or_else(PoisonError::into_inner);
        all.insert((file, first), edges.clone());
        edges
    }

    /// All files to which a file leads, where each was beyond doubt, and all that led there, for as long as this scan's calm lasts;
    /// and where no macro decides. A scan then need not go from file to file.
    pub fn reach(&self, view: View<'_>, file: FileId) -> Option<Arc<Reached>> {
        let known = self.reaches.read().unwrap_or_else(PoisonError::into_inner).get(&file).cloned();
        let known = known.filter(|reach| reach.calm == view.calm);
        let tries = match known {
            Some(Reach { all: Some(all), .. }) => return Some(all),
            Some(Reach { tries: TRIES.., .. }) => return None,
            Some(Reach { tries, .. }) => tries,
            None => 0,
        };
        let all = self.follow_calmly(view, file).map(Arc::new);
        let weight = all.as_ref().map_or(0, |all| {
            all.follow.weight() + all.watch.weight() + 4 * (all.touch.len() + all.through.len())
        });
        let reach = Reach { calm: view.calm, tries: tries + 1, all: all.clone() };
        let mut reaches = self.reaches.write().unwrap_or_else(PoisonError::into_inner);
        if reaches.insert(file, reach).is_none_or(|old| old.all.is_none()) {
            view.tree.add_weight(weight + 64);
        }
        all
    }

    fn follow_calmly(&self, view: View<'_>, file: FileId) -> Option<Reached> {
        let mut reached = Reached::default();
        let mut follow = vec![file];
        let (mut seen, mut watched, mut watch) = (Bits::default(), Bits::default(), Vec::new());
        seen.add(file);
        let all = self.edges.read().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while let Some(&file) = follow.get(done) {
            let parsed = view.calm_directives(file)?;
            if parsed.unsure.is_some() || !parsed.computed.is_empty() {
                return None;
            }
            let edges = all.get(&(file, false))?;
            if edges.content != parsed.content || edges.fleeting || edges.calm.load(SeqCst) != view.calm {
                return None;
            }
            follow.extend(edges.follow.iter().filter(|&&file| seen.add(file)));
            reached.touch.extend_from_slice(&edges.touch);
            reached.through.extend_from_slice(&edges.trail.through);
            watch.extend(edges.trail.watch.iter().filter(|&&dir| watched.add(dir)));
            reached.absolute |= edges.trail.absolute;
            done += 1;
        }
        for ids in [&mut reached.touch, &mut reached.through] {
            ids.sort_unstable();
            ids.dedup();
        }
        (reached.follow, reached.watch) = (Packed::new(follow), Packed::new(watch));
        Some(reached)
    }
}
