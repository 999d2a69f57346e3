// SPDX-License-Identifier: Apache-2.0
//! Traces: a trace that is read and written again command by command is read the same; a cut one is never read as whole.
//! The data is a list of records, each with a length of two bytes.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use fuzz::{TRACE, frame, is_clean};
use libfuzzer_sys::fuzz_target;
use thunk::Store;
use thunk::trace::{Trace, Writer};

/// Where traces are written to be read again.
static PLACE: LazyLock<Store> = LazyLock::new(|| {
    let base = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    let directory = base.join(format!("gg-fuzz-trace-{}", std::process::id()));
    Store::open(&directory).expect("a temporary store can be made")
});

fuzz_target!(|data: &[u8]| {
    let _ = Trace::decode("raw", data);
    let mut content = TRACE.to_vec();
    let mut rest = data;
    while let Some((head, tail)) = rest.split_first_chunk::<2>() {
        let (body, tail) = tail.split_at(usize::from(u16::from_le_bytes(*head)).min(tail.len()));
        content.extend_from_slice(&frame(body));
        rest = tail;
    }
    let Ok(trace) = Trace::decode("fuzzed", &content) else { return };
    assert!(trace.outputs().iter().all(|p| is_clean(p)));
    if let Ok(cut) = Trace::decode("cut", &content[..content.len() - 1]) {
        assert!(cut.cut.is_some() || cut.end.is_none() && trace.cut.is_none());
    }
    let writer = Writer::create(&PLACE, None, &trace.cwd, &trace.argv, &[]).expect("it can be written");
    trace.commands.iter().for_each(|c| writer.command(c).expect("it can be written"));
    trace.observed.iter().for_each(|o| writer.observed(o).expect("it can be written"));
    trace.placed.iter().for_each(|p| writer.placed(p).expect("it can be written"));
    if let Some(standing) = &trace.standing {
        let standing = standing.iter().map(|(path, output)| (path.as_path(), output));
        writer.standing(standing).expect("it can be written");
    }
    if let Some((code, wall)) = trace.end {
        writer.end(code, wall).expect("it can be written");
    }
    let again = Trace::read(writer.path()).expect("what was written is a trace");
    std::fs::remove_file(writer.path()).expect("it is ours");
    // Nobody but a pack writes that it is one.
    assert_eq!(
        Trace { started_us: trace.started_us, packed: trace.packed, ..again },
        Trace { cut: None, ..trace }
    );
});
