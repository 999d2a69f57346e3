// SPDX-License-Identifier: Apache-2.0
//! Thunks as gg's own programs make them: without directories, and with outputs that are thunks.

use std::path::Path;
use std::process::Command;

use tests::{Forced, TestSpace};
use thunk::{Input, ObjectKind, ObjectName, OutputRef, Placeholder, Store, Thunk, ThunkInput};

/// Copies its first argument to its second: a thunk can give any file that is among its inputs, also another thunk. The third is how many
/// seconds it takes.
const COPY: &str = r"
    #include <fcntl.h>
    #include <stdlib.h>
    #include <unistd.h>
    int main(int argc, char **argv) {
        if (argc > 3) sleep(atoi(argv[3]));
        char buffer[4096];
        int from = open(argv[1], O_RDONLY), to = creat(argv[2], 0644);
        if (from < 0) return 3;
        for (long n; (n = read(from, buffer, sizeof buffer)) > 0;)
            if (write(to, buffer, n) != n) return 4;
        return 0;
    }";

struct Maker {
    space: TestSpace,
    store: Store,
    copy: ObjectName,
}

impl Maker {
    fn new() -> Self {
        let space = TestSpace::with(&[("copy.c", COPY)]);
        let copy = space.path("copy");
        let made = Command::new("cc").arg("-static").arg("-o").arg(&copy).arg(space.path("copy.c")).status();
        assert!(made.expect("cc starts").success());
        let store = Store::open(&space.store()).expect("a store");
        let (copy, _) = store.put_file(&copy).expect("the program");
        Self { space, store, copy }
    }

    fn thunk(&self) -> Thunk {
        Thunk {
            function: Some(self.copy),
            args: ["copy", "in", "out"].map(Into::into).to_vec(),
            executables: vec![Input { path: "".into(), value: self.copy }],
            outputs: vec!["out".into()],
            ..Thunk::default()
        }
    }

    /// A thunk that gives these bytes.
    fn gives(&self, content: &[u8]) -> Thunk {
        let value = self.store.put(ObjectKind::Value, content).expect("stored");
        Thunk { values: vec![Input { path: "in".into(), value }], ..self.thunk() }
    }

    /// A thunk that copies what this one gives.
    fn copies(&self, thunk: &Thunk) -> Thunk {
        let from = OutputRef { thunk: self.store.put_thunk(thunk).expect("stored"), output: None };
        Thunk { thunks: vec![ThunkInput { path: "in".into(), from }], ..self.thunk() }
    }

    fn place(&self, path: &str, thunk: &Thunk) {
        let thunk = self.store.put_thunk(thunk).expect("stored");
        let output = OutputRef { thunk, output: None };
        let placeholder = Placeholder { output, store: self.store.root().to_path_buf() };
        let bytes = placeholder.encode(Path::new("/usr/bin/env")).expect("it fits");
        self.space.write(path, bytes);
    }
}

#[test]
fn a_thunk_may_return_a_thunk_until_a_value_remains() {
    let maker = Maker::new();
    let third = maker.gives(b"value\n");
    let second = maker.gives(&third.encode());
    let first = maker.gives(&second.encode());
    maker.place("user", &maker.copies(&first));
    maker.place("itself", &first);
    let forced = Forced::of(&maker.space.ggforce(&["user", "itself"]).ok());
    assert_eq!((forced.run, forced.failed), (3, 0), "its user has the same content to copy as the third");
    assert_eq!(maker.space.read("user"), b"value\n");
    assert_eq!(maker.space.read("itself"), b"value\n");
    maker.place("again", &first);
    let forced = Forced::of(&maker.space.ggforce(&["again"]).ok());
    assert_eq!((forced.run, forced.failed), (0, 0));
    assert_eq!(maker.space.read("again"), b"value\n");
}

#[test]
fn a_returned_thunk_that_fails_blocks_what_needs_it() {
    let maker = Maker::new();
    let failing = Thunk { values: Vec::new(), ..maker.gives(b"") };
    maker.place("user", &maker.copies(&maker.gives(&failing.encode())));
    maker.place("other", &maker.gives(b"other\n"));
    let forced = maker.space.ggforce(&["-k", "user", "other"]).fails();
    assert_eq!(Forced::of(&forced).failed, 1);
    assert!(maker.space.is_placeholder("user"));
    assert_eq!(maker.space.read("other"), b"other\n");
    maker.place("malformed", &maker.gives(b"##GGTHUNK##\xff\xff"));
    maker.space.ggforce(&["malformed"]).fails().says("its output out is no value");
}

/// Workers are given the next of short ones before they have answered.
#[test]
fn nothing_begins_after_a_failure_but_what_another_worker_runs_already() {
    let failing = 60usize;
    for (jobs, keep_going) in [("-j1", false), ("-j1", true), ("-j3", true)] {
        let maker = Maker::new();
        let names: Vec<String> = (0..100).map(|number| format!("short{number}")).collect();
        for (number, name) in names.iter().enumerate() {
            let gives = maker.gives(name.as_bytes());
            let values = if number == failing { Vec::new() } else { gives.values.clone() };
            maker.place(name, &Thunk { values, ..gives });
        }
        let options = if keep_going { vec![jobs, "-k"] } else { vec![jobs] };
        let words: Vec<&str> = options.into_iter().chain(names.iter().map(String::as_str)).collect();
        let ran = maker.space.ggforce(&words).fails();
        let forced = Forced::of(&ran);
        let expected = if keep_going { names.len() - 1 } else { failing };
        assert_eq!((forced.run as usize, forced.failed), (expected, 1), "{ran}");
        for (number, name) in names.iter().enumerate() {
            if number == failing || number > failing && !keep_going {
                assert!(maker.space.is_placeholder(name));
            } else {
                assert_eq!(maker.space.read(name), name.as_bytes());
            }
        }
    }
}

/// Nor do they keep it, where what they do takes longer than it seemed.
#[test]
fn what_was_put_behind_a_long_one_does_not_wait_for_it() {
    let (maker, long) = (Maker::new(), 100usize);
    let mut thunks = Vec::new();
    for number in 0..300 {
        let mut thunk = maker.gives(format!("short{number}").as_bytes());
        if number == long {
            thunk.args.push("3".into());
        }
        maker.place(&format!("short{number}"), &thunk);
        thunks.push(maker.store.put_thunk(&thunk).expect("stored"));
    }
    let names: Vec<String> = (0..thunks.len()).map(|number| format!("short{number}")).collect();
    let words: Vec<&str> = ["-j2"].into_iter().chain(names.iter().map(String::as_str)).collect();
    maker.space.ggforce(&words).ok();
    let reductions = maker.space.store().join("reductions");
    let done = |number: usize| {
        let reduction = reductions.join(thunks[number].to_string()).metadata().expect("it was forced");
        reduction.modified().expect("a time")
    };
    for number in long + 1..long + 8 {
        assert!(done(number) < done(number + 100), "{number} waited");
    }
}
