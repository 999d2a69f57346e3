// SPDX-License-Identifier: Apache-2.0
//! The shared log: processes of the build can write anything into it. The data is a chunk's records, each given the
//! seal that makes it count: a size, a head, strings.
#![no_main]

#[allow(dead_code)]
#[path = "../../tracer/src/log.rs"]
mod log;

use std::os::unix::fs::FileExt as _;

use libfuzzer_sys::fuzz_target;
use wire::Plain as _;
use wire::log::{Chunk, Record, chunk_seal, record_seal, record_size, unit_offset};

fuzz_target!(|data: &[u8]| {
    let mut chunk = vec![0; size_of::<Chunk>()];
    let mut rest = data;
    while let Some((&[first, second], after)) = rest.split_first_chunk::<2>() {
        let mut record = Record::default();
        let head = record.as_bytes_mut();
        let (given, strings) = after.split_at(after.len().min(head.len()));
        head[..given.len()].copy_from_slice(given);
        let strings = &strings[..strings.len().min(usize::from(first) + usize::from(second))];
        let (first, second) = strings.split_at(strings.len().min(usize::from(first)));
        record.kind %= 20;
        (record.first, record.second) = (first.len() as u16, second.len() as u16);
        record.size = record_size(first.len(), second.len()) as u32;
        record.seal = record_seal(0, chunk.len() as u32, record.size);
        let end = chunk.len() + record.size as usize;
        for part in [record.as_bytes(), first, second] {
            chunk.extend_from_slice(part);
        }
        chunk.resize(end, 0);
        rest = &after[(given.len() + strings.len()).min(after.len())..];
    }
    let head = [chunk_seal(0), 4, 1, 7, chunk.len() as u32];
    for (to, word) in chunk.chunks_exact_mut(4).zip(head) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    chunk.truncate(64 * 1024);
    let log = log::Log::create().expect("a log");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(log.path()).expect("the log's file");
    file.write_all_at(&chunk, unit_offset(0)).expect("room");
    file.write_all_at(&4u64.to_ne_bytes(), 16).expect("the header");
    for entry in log.take(|_| true, None).expect("the log can be read") {
        assert!(entry.process >= 0);
    }
    assert!(log.take(|_| true, None).expect("the log can be read").is_empty());
});
