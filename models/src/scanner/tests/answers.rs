// SPDX-License-Identifier: Apache-2.0
//! Answers that outlive a scanner: given again where they hold, and only there.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::{Keeping, Shelf};
use super::*;

/// A shelf that several scanners have.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<HashMap<String, Vec<u8>>>>);

impl Shelf for Shared {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(name).cloned()
    }

    fn put(&self, name: &str, content: &[u8]) {
        self.0.lock().unwrap().insert(name.to_owned(), content.to_vec());
    }
}

/// A recording of the project at this place.
struct Recording<'a> {
    scanner: Scanner,
    project: &'a str,
    files: &'a Fake,
}

impl<'a> Recording<'a> {
    fn new(shelf: &Shared, project: &'a str, files: &'a Fake) -> Self {
        let keeping = Keeping { shelf: Box::new(shelf.clone()), project: project.into() };
        Self { scanner: Scanner::default().keeping(keeping), project, files }
    }

    /// `a.c` of the project, with its `inc` and then others in the search order.
    fn command(&self, source: &str, others: &[&str]) -> IncludeSearch {
        let inside = |name: &str| format!("{}/{name}", self.project);
        IncludeSearch {
            sources: vec![inside(source).into()],
            bracket: [inside("inc").into()].into_iter().chain(paths(others)).collect(),
            ..IncludeSearch::default()
        }
    }

    fn scan(&self, source: &str, others: &[&str]) -> Closure {
        let search = self.command(source, others);
        self.scanner.scan(&search, Path::new(self.project), self.files, self.scanner.now()).unwrap()
    }

    /// What a scan finds, and how many files it reads for that.
    fn found(&self, source: &str, others: &[&str]) -> (Vec<String>, u64) {
        let before = self.files.reads.load(SeqCst);
        let mut found = names(&self.scan(source, others));
        found.sort();
        (found, self.files.reads.load(SeqCst) - before)
    }

    fn end(self) {
        self.scanner.keep(self.files, self.scanner.now());
    }
}

const FILES: &[(&str, &str)] = &[
    ("/w/a.c", "#include <x.h>\n#include \"b.h\"\n"),
    ("/w/b.h", "#include <y.h>\n"),
    ("/w/inc/other.h", ""),
    ("/i/x.h", "#define NAME <z.h>\n#include NAME\n"),
    ("/i/y.h", ""),
    ("/i/z.h", ""),
];
const ALL: [&str; 5] = ["/i/x.h", "/i/y.h", "/i/z.h", "/w/a.c", "/w/b.h"];

/// A shelf with the answer for `a.c`.
fn recorded(files: &Fake) -> Shared {
    let shelf = Shared::default();
    let first = Recording::new(&shelf, "/w", files);
    assert_eq!(first.found("a.c", &["/i"]).0, ALL);
    first.end();
    shelf
}

#[test]
fn a_later_recording_reads_nothing() {
    let files = Fake::with(FILES);
    let shelf = recorded(&files);
    let second = Recording::new(&shelf, "/w", &files);
    assert_eq!(second.found("a.c", &["/i"]), (ALL.map(String::from).to_vec(), 0));
    // Another search order is another question.
    assert_ne!(second.found("a.c", &["/i", "/j"]).1, 0);
}

#[test]
fn one_recording_asks_once() {
    let files = Fake::with(FILES);
    let only = Recording::new(&Shared::default(), "/w", &files);
    let first = only.scan("a.c", &["/i"]);
    let looks = files.looks.load(SeqCst);
    assert_eq!(only.scan("a.c", &["/i"]), first);
    // Five files and three directories; the compiler is not asked about.
    assert_eq!(files.looks.load(SeqCst) - looks, 8);
}

#[test]
fn another_copy_of_the_project_is_the_same_project() {
    let files = Fake::with(FILES);
    let shelf = recorded(&files);
    for (path, text) in FILES.iter().filter(|(path, _)| path.starts_with("/w/")) {
        files.write(&path.replace("/w/", "/v/copy/"), text);
    }
    let second = Recording::new(&shelf, "/v/copy", &files);
    let (found, reads) = second.found("a.c", &["/i"]);
    assert_eq!(found, ["/i/x.h", "/i/y.h", "/i/z.h", "/v/copy/a.c", "/v/copy/b.h"]);
    // The two of the project: what is in them is compared.
    assert_eq!(reads, 2);
}

#[test]
fn what_has_changed_is_found_out() {
    type Change = (fn(&Fake), &'static [&'static str]);
    let changes: [Change; 6] = [
        (|f| f.write("/w/b.h", ""), &["/i/x.h", "/i/z.h", "/w/a.c", "/w/b.h"]),
        (|f| f.write("/i/x.h", ""), &["/i/x.h", "/i/y.h", "/w/a.c", "/w/b.h"]),
        (|f| f.write("/w/inc/y.h", ""), &["/i/x.h", "/i/z.h", "/w/a.c", "/w/b.h", "/w/inc/y.h"]),
        (|f| f.remove("/i/z.h"), &["/i/x.h", "/i/y.h", "/w/a.c", "/w/b.h"]),
        (|f| f.remove("/w/b.h"), &["/i/x.h", "/i/z.h", "/w/a.c"]),
        (|f| f.link("/i/y.h", "z.h"), &ALL),
    ];
    for (number, (change, expected)) in changes.into_iter().enumerate() {
        let files = Fake::with(FILES);
        let shelf = recorded(&files);
        change(&files);
        let second = Recording::new(&shelf, "/w", &files);
        assert_eq!(second.found("a.c", &["/i"]).0, expected, "change {number}");
        let linked = second.scan("a.c", &["/i"]).files().filter(|file| file.linked).count();
        assert_eq!(linked, usize::from(number == 5));
        second.end();
        let third = Recording::new(&shelf, "/w", &files);
        assert_eq!(third.found("a.c", &["/i"]), (expected.iter().map(ToString::to_string).collect(), 0));
    }
}

#[test]
fn answers_that_nobody_asks_for_again_are_kept() {
    let files = Fake::with(FILES);
    files.write("/w/c.c", "#include <y.h>\n");
    let shelf = recorded(&files);
    // A recording of one file, after a change; and another one that has not asked for either.
    files.write("/w/new.o", "");
    for source in ["c.c", "b.h"] {
        let next = Recording::new(&shelf, "/w", &files);
        assert_ne!(next.found(source, &["/i"]).1, 0);
        next.end();
    }
    let last = Recording::new(&shelf, "/w", &files);
    assert_eq!(last.found("a.c", &["/i"]), (ALL.map(String::from).to_vec(), 0));
    assert_eq!(last.found("c.c", &["/i"]).1, 0);
}

#[test]
fn a_link_that_leads_nowhere_any_more_is_no_file() {
    let files = Fake::with(FILES);
    files.write("/w/c.c", "");
    files.link("/w/l.c", "/i/x.h");
    let shelf = recorded(&files);
    let first = Recording::new(&shelf, "/w", &files);
    first.scan("l.c", &["/i"]);
    first.end();
    let second = Recording::new(&shelf, "/w", &files);
    second.scan("c.c", &["/i"]);
    files.remove("/i/x.h");
    let search = second.command("l.c", &["/i"]);
    let unsure = second.scanner.scan(&search, Path::new("/w"), &files, second.scanner.now()).unwrap_err();
    assert_eq!(unsure.to_string(), "/w/l.c:0 cannot be read");
}

#[test]
fn a_file_in_the_place_of_a_link_that_led_nowhere_is_no_link() {
    let files = Fake::with(FILES);
    let only = Recording::new(&Shared::default(), "/w", &files);
    let linked = || only.scan("a.c", &["/i"]).files().filter(|file| file.linked).count();
    assert_eq!(linked(), 0);
    files.link("/i/y.h", "/i/y.h");
    assert_eq!(linked(), 0);
    files.write("/i/y.h", "");
    assert_eq!(linked(), 0);
}

#[test]
fn a_forced_header_is_found_where_the_command_says() {
    let files = Fake::with(FILES);
    for (path, text) in FILES.iter().filter(|(path, _)| path.starts_with("/w/")) {
        files.write(&path.replace("/w/", "/v/copy/"), text);
    }
    let shelf = Shared::default();
    for (project, most) in [("/w", 6), ("/v/copy", 3)] {
        let recording = Recording::new(&shelf, project, &files);
        let mut search = recording.command("a.c", &["/i"]);
        search.forced = vec![format!("{project}/inc/other.h").into()];
        let before = files.reads.load(SeqCst);
        let closure =
            recording.scanner.scan(&search, Path::new(project), &files, recording.scanner.now()).unwrap();
        assert!(names(&closure).contains(&format!("{project}/inc/other.h")));
        assert_eq!(files.reads.load(SeqCst) - before, most);
        recording.end();
    }
}

#[test]
fn what_leads_out_of_the_project_belongs_to_its_place() {
    for name in ["../out.h", "/w/inc/abs.h"] {
        let text = format!("#include \"{name}\"\n");
        let files =
            Fake::with(&[("/w/a.c", &text), ("/out.h", ""), ("/w/inc/abs.h", ""), ("/v/copy/a.c", &text)]);
        files.write("/v/copy/inc/abs.h", "");
        files.write("/v/out.h", "");
        let shelf = Shared::default();
        let first = Recording::new(&shelf, "/w", &files);
        let here = first.found("a.c", &[]).0;
        first.end();
        let second = Recording::new(&shelf, "/v/copy", &files);
        let expected =
            if name.starts_with('.') { ["/v/copy/a.c", "/v/out.h"] } else { ["/v/copy/a.c", "/w/inc/abs.h"] };
        assert_eq!(second.found("a.c", &[]).0, expected);
        second.end();
        assert_eq!(Recording::new(&shelf, "/w", &files).found("a.c", &[]), (here, 0));
    }
}

#[test]
fn what_is_no_answer_is_passed_over() {
    let files = Fake::with(FILES);
    let shelf = recorded(&files);
    for content in shelf.0.lock().unwrap().values_mut() {
        content[20] ^= 1;
    }
    let second = Recording::new(&shelf, "/w", &files);
    let (found, reads) = second.found("a.c", &["/i"]);
    assert_eq!((found, reads), (ALL.map(String::from).to_vec(), 5));
}

/// What random steps of a random history do.
#[derive(Clone, Debug)]
enum Step {
    Write(usize, usize),
    Remove(usize),
    Link(usize, usize),
    /// Scans a source in the project or its copy, in this recording or in a new one.
    Scan {
        source: usize,
        copy: bool,
        new: bool,
    },
}

const PLACES: &[&str] = &[
    "/w/a.c",
    "/w/b.c",
    "/w/h.h",
    "/w/inc/h.h",
    "/w/inc/g.h",
    "/w/inc/s/h.h",
    "/i/h.h",
    "/i/g.h",
    "/i/s/g.h",
    "/h.h",
];
const TEXTS: &[&str] = &[
    "",
    "#include <h.h>\n#include \"g.h\"\n",
    "#include \"h.h\"\n#include <s/h.h>\n",
    "#include <s/g.h>\n#include_next <h.h>\n",
    "#include \"../h.h\"\n",
    "#define N <g.h>\n#include N\n",
    "#include N\n#if __has_include(<s/h.h>)\n#endif\n",
    "#include \"/w/inc/g.h\"\n",
    "#include <s/../g.h>\n",
];

fn step() -> impl Strategy<Value = Step> {
    let place = 0..PLACES.len();
    prop_oneof![
        3 => (place.clone(), 0..TEXTS.len()).prop_map(|(place, text)| Step::Write(place, text)),
        1 => place.clone().prop_map(Step::Remove),
        1 => (place.clone(), place).prop_map(|(place, to)| Step::Link(place, to)),
        5 => (0..2usize, any::<bool>(), any::<bool>()).prop_map(|(source, copy, new)| Step::Scan { source, copy, new }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Whatever was found out before, by this scanner or by others: the answer is that of a scanner which knows nothing.
    #[test]
    fn what_is_remembered_is_what_is_found_out(
        told in any::<bool>(), texts in proptest::collection::vec(0..TEXTS.len(), PLACES.len()), steps in proptest::collection::vec(step(), 1..30)) {
        let first: Vec<_> = PLACES.iter().zip(&texts).map(|(place, &text)| (*place, TEXTS[text])).collect();
        let files = Fake::with(&first);
        for (place, text) in &first {
            files.write(&format!("/v/copy{}", place.strip_prefix("/w").unwrap_or("/other")), text);
        }
        let shelf = Shared::default();
        let mut recordings: [Option<(Recording<'_>, super::super::Moment)>; 2] = [None, None];
        for step in steps {
            if let (true, Step::Write(place, _) | Step::Remove(place) | Step::Link(place, _)) = (told, &step) {
                let name = PLACES[*place].rsplit('/').next().unwrap().as_bytes();
                recordings.iter().flatten().for_each(|(recording, _)| recording.scanner.changes(name));
            }
            match step {
                Step::Write(place, text) => files.write(PLACES[place], TEXTS[text]),
                Step::Remove(place) => files.remove(PLACES[place]),
                Step::Link(place, to) => files.link(PLACES[place], PLACES[to]),
                Step::Scan { source, copy, new } => {
                    let project = if copy { "/v/copy" } else { "/w" };
                    let current = &mut recordings[usize::from(copy)];
                    if let Some((last, _)) = current.take_if(|_| new) {
                        Recording::end(last);
                    }
                    let (current, began) = current.get_or_insert_with(|| {
                        let recording = Recording::new(&shelf, project, &files);
                        let now = recording.scanner.now();
                        (recording, now)
                    });
                    let fresh = Recording { scanner: Scanner::default(), project, files: &files };
                    let source = ["a.c", "b.c"][source];
                    let result = |recording: &Recording<'_>| {
                        let search = recording.command(source, &["/i"]);
                        let scanner = &recording.scanner;
                        let since = if told { *began } else { scanner.now() };
                        let closure = scanner.scan(&search, Path::new(project), &files, since).map_err(|e| e.to_string())?;
                        let mut told: Vec<_> = closure.files().map(|f| (f.path.clone(), f.stamp, f.linked)).collect();
                        told.sort_by(|a, b| a.0.cmp(&b.0));
                        Ok::<_, String>((told, closure.directories))
                    };
                    prop_assert_eq!(result(current), result(&fresh));
                }
            }
        }
    }
}
