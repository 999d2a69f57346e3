// SPDX-License-Identifier: Apache-2.0
//! Files that come, change and go between scans of one scanner.

use std::time::{Duration, SystemTime};

use super::*;

struct Session {
    scanner: Scanner,
    fake: Fake,
    search: IncludeSearch,
}

impl Session {
    fn new(files: &[(&str, &str)], bracket: &[&str]) -> Self {
        Self { scanner: Scanner::default(), fake: Fake::with(files), search: search(bracket) }
    }

    fn scan(&self) -> Vec<String> {
        names(&self.scanner.scan(&self.search, Path::new("/w"), &self.fake, self.scanner.now()).unwrap())
    }

    /// Looks and reads of one scan.
    fn cost(&self) -> (u64, u64) {
        let before = (self.fake.looks.load(SeqCst), self.fake.reads.load(SeqCst));
        self.scan();
        (self.fake.looks.load(SeqCst) - before.0, self.fake.reads.load(SeqCst) - before.1)
    }
}

const FILES: &[(&str, &str)] = &[
    ("/w/a.c", "#include <x.h>\n#include \"gen.h\"\n"),
    ("/i/other", ""),
    ("/j/x.h", "#include <sys/y.h>\n"),
    ("/j/sys/y.h", ""),
];

#[test]
fn a_header_that_is_generated_later_is_found() {
    let s = Session::new(FILES, &["/i", "/j", "/k"]);
    assert_eq!(s.scan(), ["/w/a.c", "/j/x.h", "/j/sys/y.h"]);
    s.fake.write("/w/gen.h", "#include <k.h>\n");
    assert_eq!(s.scan(), ["/w/a.c", "/j/x.h", "/w/gen.h", "/j/sys/y.h"]);
    s.fake.write("/k/k.h", "");
    assert_eq!(s.scan(), ["/w/a.c", "/j/x.h", "/w/gen.h", "/j/sys/y.h", "/k/k.h"]);
    // In an earlier directory, in a new subdirectory of it.
    s.fake.write("/i/sys/y.h", "");
    assert_eq!(s.scan(), ["/w/a.c", "/j/x.h", "/w/gen.h", "/i/sys/y.h", "/k/k.h"]);
    s.fake.remove("/i/sys/y.h");
    s.fake.remove("/i/sys");
    s.fake.remove("/w/gen.h");
    assert_eq!(s.scan(), ["/w/a.c", "/j/x.h", "/j/sys/y.h"]);
}

#[test]
fn a_file_that_changes_is_read_again() {
    let s = Session::new(FILES, &["/i", "/j"]);
    s.scan();
    s.fake.write("/j/x.h", "");
    assert_eq!(s.scan(), ["/w/a.c", "/j/x.h"]);
    s.fake.write("/w/a.c", "#include <sys/y.h>\n");
    assert_eq!(s.scan(), ["/w/a.c", "/j/sys/y.h"]);
}

#[test]
fn a_link_to_nothing_may_begin_to_lead_somewhere() {
    let s = Session::new(FILES, &["/i", "/j"]);
    s.fake.link("/i/x.h", "/far/real.h");
    assert_eq!(s.scan(), ["/w/a.c", "/j/x.h", "/j/sys/y.h"]);
    s.fake.write("/far/real.h", "");
    assert_eq!(s.scan(), ["/w/a.c", "/i/x.h"]);
    s.fake.remove("/far/real.h");
    assert_eq!(s.scan(), ["/w/a.c", "/j/x.h", "/j/sys/y.h"]);
}

#[test]
fn a_directory_link_may_point_elsewhere() {
    let s = Session::new(&[("/w/a.c", "#include <x.h>\n"), ("/v1/x.h", ""), ("/v2/y", "")], &["/cur"]);
    s.fake.link("/cur", "/v1");
    assert_eq!(s.scan(), ["/w/a.c", "/cur/x.h"]);
    s.fake.link("/cur", "/v2");
    assert_eq!(s.scan(), ["/w/a.c"]);
}

#[test]
fn a_warm_scan_looks_once_at_what_matters_and_reads_nothing() {
    let s = Session::new(FILES, &["/i", "/j"]);
    s.scan();
    s.scan();
    // Three files, three search directories (with /w), /j/sys: and not /i/sys, which /i says is not there.
    assert_eq!(s.cost(), (7, 0));
    // An object file appears beside the source: the names that were missing there are asked for again.
    s.fake.write("/w/a.o", "");
    let (looks, reads) = s.cost();
    assert!(looks > 7 && looks < 16 && reads == 0, "{looks} {reads}");
    assert_eq!(s.cost(), (7, 0));
}

#[test]
fn within_one_moment_nothing_is_looked_at_twice() {
    let s = Session::new(FILES, &["/i", "/j"]);
    let scan = |moment| names(&s.scanner.scan(&s.search, Path::new("/w"), &s.fake, moment).unwrap());
    let moment = s.scanner.now();
    let first = scan(moment);
    let before = s.fake.looks.load(SeqCst);
    s.fake.write("/w/gen.h", "");
    assert_eq!(scan(moment), first);
    assert_eq!(s.fake.looks.load(SeqCst), before);
    assert_ne!(scan(s.scanner.now()), first);
    // Not even an older moment brings the old answer back.
    assert_ne!(scan(moment), first);
}

#[test]
fn what_is_fixed_is_looked_at_once() {
    struct Fixed(Fake);
    impl Files for Fixed {
        fn look(&self, path: &Path, follow: bool) -> Option<(Kind, Stamp)> {
            self.0.look(path, follow)
        }
        fn read(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
            self.0.read(path)
        }
        fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
            self.0.names(path)
        }
        fn fixed(&self, directory: &Path) -> bool {
            directory.starts_with("/j")
        }
    }
    let (files, scanner) = (Fixed(Fake::with(FILES)), Scanner::default());
    let scan = || scanner.scan(&search(&["/i", "/j"]), Path::new("/w"), &files, scanner.now()).unwrap();
    let first = scan();
    let before = files.0.looks.load(SeqCst);
    assert_eq!(scan(), first);
    // /w, /i and the source.
    assert_eq!(files.0.looks.load(SeqCst) - before, 3);
}

#[test]
fn a_young_stamp_proves_nothing() {
    let now = SystemTime::now();
    let nanoseconds = |t: SystemTime| t.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as i64;
    let stamp = |time| Stamp { mtime: time, ctime: time, ..Stamp::default() };
    let time = nanoseconds(now) | 1;
    assert!(!stamp(time).settled(now));
    assert!(stamp(time).settled(now + Duration::from_millis(100)));
    // Without fractions of a second, two seconds are needed.
    let whole = time / 1_000_000_000 * 1_000_000_000;
    assert!(!stamp(whole).settled(now + Duration::from_millis(900)));
    assert!(stamp(whole).settled(now + Duration::from_secs(3)));
}

#[test]
fn many_threads_agree() {
    let mut files = vec![("/w/a.c".to_owned(), String::new())];
    for n in 0..60 {
        let next = |k: usize| format!("#include <d{}/h{}.h>\n", (n + k) % 7, (n * 3 + k) % 60);
        files.push((format!("/i/d{}/h{n}.h", n % 7), (1..20).map(next).collect()));
        files[0].1.push_str(&format!("#include <d{}/h{n}.h>\n", n % 7));
    }
    let files: Vec<_> = files.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
    let s = Session::new(&files, &["/none", "/i"]);
    let expected = found(&files, &s.search);
    assert_eq!(expected.len(), 61);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..20).for_each(|_| assert_eq!(s.scan(), expected)));
        }
    });
}

#[test]
fn memory_is_bounded() {
    let mut s = Session::new(FILES, &["/i", "/j"]);
    s.scanner = Scanner::new(1000);
    for _ in 0..3 {
        assert_eq!(s.scan(), ["/w/a.c", "/j/x.h", "/j/sys/y.h"]);
        // It forgot what it had read: it was over the limit.
        assert!(s.cost().1 > 0);
    }
}

/// As a placeholder does, which is forced.
#[test]
fn of_a_file_that_changes_by_being_read_a_scan_tells_what_was_read() {
    struct Forced(Fake);
    impl Files for Forced {
        fn look(&self, path: &Path, follow: bool) -> Option<(Kind, Stamp)> {
            self.0.look(path, follow)
        }
        fn read(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
            if path == Path::new("/w/gen.h") && self.0.read(path)?.starts_with(b"placeholder") {
                self.0.write("/w/gen.h", "#include <y.h>\n");
            }
            self.0.read(path)
        }
        fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
            self.0.names(path)
        }
        fn fixed(&self, directory: &Path) -> bool {
            directory.starts_with("/w")
        }
    }
    let files = Forced(Fake::with(&[
        ("/w/a.c", "#if __has_include(\"gen.h\")\n#endif\n"),
        ("/w/b.c", "#include \"gen.h\"\n"),
        ("/w/gen.h", "placeholder"),
        ("/i/y.h", ""),
    ]));
    let scanner = Scanner::default();
    let scan = |source: &str| {
        let search = IncludeSearch { sources: paths(&[source]), ..search(&["/i"]) };
        scanner.scan(&search, Path::new("/w"), &files, scanner.now()).unwrap()
    };
    assert_eq!(names(&scan("/w/a.c")), ["/w/a.c", "/w/gen.h"]);
    let told = scan("/w/b.c");
    assert_eq!(names(&told), ["/w/b.c", "/w/gen.h", "/i/y.h"]);
    let (_, now) = files.look(Path::new("/w/gen.h"), true).unwrap();
    assert!(told.files().all(|file| !file.path.ends_with("gen.h") || file.stamp == now));
    // And the other command, of the same set.
    assert!(scan("/w/a.c").files().all(|file| !file.path.ends_with("gen.h") || file.stamp == now));
}
