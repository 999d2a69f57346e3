// SPDX-License-Identifier: Apache-2.0

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};

use observe::{Access, Kind, Place, Transfer};
use proptest::prelude::*;
use wire::Plain as _;
use wire::log::{Record, bits, kind, record_seal, record_size};

use super::*;

/// Takes and fills chunks as a process does.
struct Writer<'a> {
    log: &'a Log,
    process: u32,
    unit: u64,
    bytes: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn new(log: &'a Log, command: u32, process: u32) -> Self {
        let unit = log.header().next.fetch_add(1, Ordering::Relaxed);
        let mut bytes = vec![0; size_of::<Chunk>()];
        for (index, word) in [chunk_seal(unit), 1, process, command, 0, unit as u32].into_iter().enumerate() {
            bytes[4 * index..][..4].copy_from_slice(&word.to_ne_bytes());
        }
        Self { log, process, unit, bytes }
    }

    fn record(&mut self, record: Record, first: impl AsRef<OsStr>, second: impl AsRef<OsStr>) -> &mut Self {
        let (first, second) = (first.as_ref().as_bytes(), second.as_ref().as_bytes());
        let size = record_size(first.len(), second.len()) as u32;
        let head = Record {
            seal: record_seal(self.unit, self.bytes.len() as u32, size),
            size,
            sequence: if record.sequence == 0 { self.log.next_sequence() } else { record.sequence },
            process: self.process,
            first: first.len() as u16,
            second: second.len() as u16,
            ..record
        };
        let end = self.bytes.len() + size as usize;
        for part in [head.as_bytes(), first, second] {
            self.bytes.extend_from_slice(part);
        }
        self.bytes.resize(end, 0);
        self
    }

    fn call(&mut self, kind: u16, result: i32, first: &str, second: &str) -> &mut Self {
        self.record(Record { kind, result, ..Record::default() }, first, second)
    }

    fn done(&mut self) {
        let used = self.bytes.len() as u32;
        self.bytes[16..20].copy_from_slice(&used.to_ne_bytes());
        self.log.file.write_all_at(&self.bytes, unit_offset(self.unit)).unwrap();
    }
}

fn take(log: &Log, command: u32) -> io::Result<Vec<Entry>> {
    log.take(|owner| owner.command == command, None)
}

fn commands(log: &Log) -> Vec<u32> {
    let commands: BTreeSet<u32> = log.owners().unwrap().iter().map(|owner| owner.command).collect();
    commands.into_iter().collect()
}

fn events(log: &Log, command: u32) -> Vec<Event> {
    take(log, command).unwrap().into_iter().map(|entry| entry.event).collect()
}

#[test]
fn relative_paths_start_where_their_process_is() {
    let log = Log::create().unwrap();
    let mut first = Writer::new(&log, 1, 10);
    let mut second = Writer::new(&log, 1, 11);
    first.call(kind::LOOKUP, -2, "lost", "").call(kind::START, 0, "/a", "").call(
        kind::LOOKUP,
        -2,
        "x/./y",
        "",
    );
    second.call(kind::START, 0, "/b", "").call(kind::LOOKUP, -2, "x", "");
    first.call(kind::CHDIR, 0, "../c", "/c").call(kind::LOOKUP, -13, "x", "").call(kind::CHDIR, -2, "d", "");
    first.call(kind::FCHDIR, 0, "", "/e").call(kind::LOOKUP, 0, "x", "").call(kind::START, 0, "", "");
    first.call(kind::LOOKUP, 0, "x", "").call(kind::LOOKUP, 0, "/x", "").done();
    second.call(kind::LOOKUP, 0, "z", "").done();
    let path = PathBuf::from;
    let expected = [
        Event::Gap,
        Event::Missing(path("/a/x/y")),
        Event::Missing(path("/b/x")),
        Event::Found(path("/a/../c")),
        Event::Denied(path("/c/x")),
        Event::Missing(path("/c/d")),
        Event::Found(path("/e/x")),
        Event::Gap,
        Event::Found(path("/x")),
        Event::Found(path("/b/z")),
    ];
    assert_eq!(events(&log, 1), expected);
    assert_eq!(events(&log, 1), [], "they are given once");
}

#[test]
fn records_of_all_chunks_are_in_order_and_of_their_command() {
    let log = Log::create().unwrap();
    let mut one = Writer::new(&log, 1, 10);
    let mut other = Writer::new(&log, 2, 20);
    let mut again = Writer::new(&log, 1, 10);
    again.call(kind::LOOKUP, 0, "/first", "");
    one.call(kind::LOOKUP, 0, "/second", "");
    other.call(kind::LOOKUP, 0, "/other", "").done();
    again.call(kind::LOOKUP, 0, "/third", "").done();
    // Taken, and never written to.
    log.header().next.fetch_add(1, Ordering::Relaxed);
    assert_eq!(commands(&log), [1, 2]);
    one.done();
    let found: Vec<_> = events(&log, 1);
    assert_eq!(found, ["/first", "/second", "/third"].map(|path| Event::Found(path.into())));
    assert_eq!(commands(&log), [2]);
    assert_eq!(take(&log, 2).unwrap()[0].process, 20);
    let mut late = Writer::new(&log, 1, 10);
    late.call(kind::LOOKUP, 0, "/late", "").done();
    assert_eq!(events(&log, 1), [Event::Found("/late".into())]);
}

#[test]
fn what_is_asked_again_is_told_once() {
    let log = Log::create().unwrap();
    let mut writer = Writer::new(&log, 1, 10);
    writer.call(kind::START, 0, "/w", "");
    for result in [0, 0, -libc::ENOENT, -libc::ENOENT, 0] {
        writer.call(kind::LOOKUP, result, "/a", "");
    }
    // The same name is another path in another directory.
    writer
        .call(kind::LOOKUP, 0, "a", "")
        .call(kind::START, 0, "/v", "")
        .call(kind::LOOKUP, 0, "a", "")
        .done();
    let found = |path: &str| Event::Found(path.into());
    assert_eq!(events(&log, 1), [found("/a"), Event::Missing("/a".into()), found("/w/a"), found("/v/a")]);
}

#[test]
fn memory_is_given_back() {
    let log = Log::create().unwrap();
    let blocks = || log.file.metadata().unwrap().blocks();
    let (header, mut most) = (2 * 4096 / 512, 0);
    for round in 0..20 {
        for process in 0..50 {
            let path = format!("/{process}{}", "/x".repeat(1900));
            Writer::new(&log, round, process).call(kind::LOOKUP, 0, &path, "").done();
        }
        most = most.max(blocks());
        assert_eq!(take(&log, round).unwrap().len(), 50);
        assert!(blocks() < KEPT * UNIT / 512 + header);
        // Not taken again, though it may still be there.
        assert_eq!(take(&log, round).unwrap().len(), 0);
    }
    assert!(most > 50 * 4096 / 512 && most < 3 * KEPT * UNIT / 512, "{most}");
}

#[test]
fn ranges_that_touch_are_one() {
    assert_eq!(joined(vec![4..6, 0..1, 6..7, 2..4]), [0..1, 2..7]);
    assert_eq!(joined(vec![]), []);
}

#[test]
fn what_was_opened_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().canonicalize().unwrap().join(name);
    fs::create_dir(at("real")).unwrap();
    fs::write(at("real/file"), "").unwrap();
    symlink("real", at("link")).unwrap();
    symlink("../real/file", at("real/alias")).unwrap();
    let log = Log::create().unwrap();
    let mut writer = Writer::new(&log, 1, 1);
    let open = |flags: i32, bits: u16| Record {
        kind: kind::OPEN,
        result: 3,
        value: flags as u32,
        bits,
        ..Record::default()
    };
    writer
        .record(open(libc::O_RDONLY, bits::KNOWN), at("link/alias"), "")
        .record(open(libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC, bits::CREATED), at("link/gone"), "")
        .record(open(libc::O_RDONLY, 0), at("link"), "")
        .record(open(libc::O_RDONLY, bits::KNOWN | bits::SPECIAL), at("pipe"), "")
        .record(open(libc::O_RDWR, 0), "/dev/null", "")
        .record(open(libc::O_PATH, 0), at("real"), "")
        .done();
    let place = |named: &str, real: Option<&str>| Place { named: at(named), real: real.map(at) };
    let access = |reads, writes, created, emptied| Access { reads, writes, created, emptied };
    let read = access(true, false, false, false);
    let expected = [
        Event::Opened(place("link/alias", Some("real/file")), Kind::File, read),
        Event::Opened(place("link/gone", Some("real/gone")), Kind::File, access(false, true, true, true)),
        Event::Opened(place("link", Some("real")), Kind::Directory, read),
        Event::Opened(place("pipe", None), Kind::Special, read),
        Event::Opened(
            Place { named: "/dev/null".into(), real: None },
            Kind::Special,
            access(true, true, false, false),
        ),
        Event::Found(at("real")),
    ];
    assert_eq!(events(&log, 1), expected);
}

#[test]
fn an_execution_that_fails_is_none() {
    let log = Log::create().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().canonicalize().unwrap().join("script");
    fs::write(&script, "true\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut writer = Writer::new(&log, 1, 1);
    let exec = |result| Record { kind: kind::EXEC, result, value: 9, ..Record::default() };
    writer.record(exec(0), &script, "").record(exec(-libc::ENOEXEC), &script, "");
    let gone = script.with_file_name("gone");
    writer.record(exec(0), "/bin/sh", "").record(exec(0), &gone, "").done();
    let mut entries = take(&log, 1).unwrap();
    let begins: Vec<_> = entries.iter().map(|entry| entry.begins).collect();
    assert_eq!(begins[0], None);
    assert!(begins[1..].iter().all(|begins| *begins == Some(9)), "{begins:?}");
    let last = entries.pop().unwrap().event;
    assert!(
        matches!(&last, Event::Executed(place, observe::Role::Program) if place.named == gone),
        "{last:?}"
    );
    let events: Vec<_> = entries.into_iter().map(|entry| entry.event).collect();
    let read = Access { reads: true, writes: false, created: false, emptied: false };
    assert_eq!(events[0], Event::Opened(Place { named: script, real: None }, Kind::File, read));
    assert!(
        matches!(&events[1..], [Event::Executed(shell, observe::Role::Program), Event::Executed(..), looks @ ..]
        if shell.named == Path::new("/bin/sh") && !looks.iter().any(|event| matches!(event, Event::Executed(..)))),
        "{events:?}"
    );
}

#[test]
fn an_interpreter_may_be_named_from_the_directory_on_in_which_the_process_is() {
    let log = Log::create().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    fs::create_dir(folder.join("bin")).unwrap();
    symlink("/bin/sh", folder.join("bin/tool")).unwrap();
    let script = folder.join("script");
    fs::write(&script, "#!bin/tool\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut writer = Writer::new(&log, 1, 1);
    writer.call(kind::START, 0, folder.to_str().unwrap(), "");
    writer.record(Record { kind: kind::EXEC, value: 9, ..Record::default() }, &script, "").done();
    let events: Vec<_> = take(&log, 1).unwrap().into_iter().map(|entry| entry.event).collect();
    let named = |event: &Event| match event {
        Event::Executed(place, role) => Some((place.named.clone(), *role)),
        _ => None,
    };
    let executed: Vec<_> = events.iter().filter_map(named).collect();
    let [program, interpreter, _loader] = &executed[..] else { panic!("{events:?}") };
    assert_eq!(*program, (script, observe::Role::Program));
    assert_eq!(*interpreter, (folder.join("bin/tool"), observe::Role::Interpreter));
}

#[test]
fn realpath_looks_at_every_name_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().canonicalize().unwrap();
    let at = |name: &str| base.join(name);
    fs::create_dir_all(at("real/sub")).unwrap();
    symlink("real/./", at("link")).unwrap();
    let log = Log::create().unwrap();
    let mut writer = Writer::new(&log, 1, 1);
    let ends = |result| Record { kind: kind::REALPATH, result, ..Record::default() };
    writer.record(ends(0), at("link/sub/../sub/file"), at("real/sub/file"));
    writer.record(ends(-libc::ENOENT), at("real/none/x"), at("real/none"));
    writer.done();
    let found: Vec<_> = events(&log, 1)
        .into_iter()
        .filter(|event| !matches!(event, Event::Found(path) if base.starts_with(path)))
        .collect();
    let expected = ["link", "real", "real/sub", "real/sub/file"].map(|name| Event::Found(at(name)));
    assert_eq!(found[..4], expected);
    assert_eq!(found[4..], [Event::Missing(at("real/none"))]);
}

#[test]
fn links_and_renames_have_two_paths() {
    let log = Log::create().unwrap();
    let mut writer = Writer::new(&log, 1, 1);
    writer.call(kind::START, 0, "/nowhere", "").call(kind::RENAME, 0, "a", "b");
    let bits = bits::SECOND_EXISTS;
    writer.record(Record { kind: kind::LINK, result: -libc::ENOENT, bits, ..Record::default() }, "a", "/");
    writer.call(kind::LOOKUP, -libc::ENOTDIR, "f/x", "");
    let bits = bits::FIRST_EXISTS;
    writer.record(Record { kind: kind::OPEN, result: -libc::ENOTDIR, bits, ..Record::default() }, "f", "");
    writer.call(kind::SYMLINK, 0, "s", "target").done();
    let place = |path: &str| Place { named: path.into(), real: None };
    let expected = [
        Event::Transferred(Transfer::Rename, place("/nowhere/a"), place("/nowhere/b")),
        Event::Missing("/nowhere/a".into()),
        Event::Found("/".into()),
        Event::Missing("/nowhere/f/x".into()),
        Event::Found("/nowhere/f".into()),
        Event::Symlinked(place("/nowhere/s"), "target".into()),
    ];
    assert_eq!(events(&log, 1), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever processes write into the file, reading comes to an end.
    #[test]
    fn any_bytes_can_be_read(
        scribbles in proptest::collection::vec((0..80_000u64, proptest::collection::vec(any::<u8>(), 0..200)), 0..20),
        records in proptest::collection::vec(any::<(u16, u16, i32, u32, u32, Vec<u8>, Vec<u8>)>(), 0..40),
        next in any::<u64>(),
    ) {
        let log = Log::create().unwrap();
        let mut writer = Writer::new(&log, 1, 1);
        for (kind, bits, result, value, process, first, second) in records {
            writer.process = process % 3;
            let record = Record { kind: kind % 20, bits, result, value, ..Record::default() };
            let slash = [b"/".as_slice(), &first].concat();
            let first = if kind % 2 == 0 { &first } else { &slash };
            writer.record(record, OsStr::from_bytes(first), OsStr::from_bytes(&second));
        }
        writer.bytes.truncate(UNIT as usize);
        writer.done();
        for (offset, bytes) in scribbles {
            // The header's first two words are only looked at by interceptors.
            log.file.write_all_at(&bytes, 16 + offset).unwrap();
        }
        let _ = commands(&log).into_iter().map(|command| take(&log, command).unwrap().len()).sum::<usize>();
        log.header().next.store(next, Ordering::Relaxed);
        for command in commands(&log) {
            take(&log, command).unwrap();
        }
    }

    /// What somebody who goes on has changed is what it will be known to have changed when it has ended.
    #[test]
    fn changes_are_the_same_before_the_end(
        records in proptest::collection::vec((0..19_u16, -3..3_i32, any::<u32>(), 0..3_u32, "/?[ab/.]{0,4}", "/?[ab/.]{0,4}"), 0..60),
        numbers in (0..60_u64, 0..60_u64),
    ) {
        let log = Log::create().unwrap();
        let mut writer = Writer::new(&log, 1, 1);
        for (kind, result, value, process, first, second) in records {
            writer.process = process;
            // `/w` is where a process is that says so.
            let first = if kind == kind::START { "/w" } else { first.as_str() };
            writer.record(Record { kind, result, value, ..Record::default() }, first, second);
        }
        writer.done();
        let numbers = numbers.0..numbers.1;
        let is_change = |event: &Event| match event {
            Event::Opened(_, _, access) => access.writes || access.created,
            Event::Made(_) | Event::Symlinked(..) | Event::Removed(_) | Event::Transferred(..) => true,
            _ => false,
        };
        let changes = |entries: Vec<Entry>| {
            let is_one = |entry: &Entry| numbers.contains(&entry.sequence) && is_change(&entry.event);
            entries.into_iter().filter(is_one).collect::<Vec<_>>()
        };
        let before = changes(log.changes(|_| true, &numbers, None).unwrap());
        prop_assert_eq!(before, changes(take(&log, 1).unwrap()));
    }
}
