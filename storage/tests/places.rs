// SPDX-License-Identifier: Apache-2.0
//! Every kind of place, as a real server: the same things hold for all.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use storage::{Error, Key, Storage};
use tests::Server;
use thunk::{ObjectKind, ObjectName};

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn object(content: &[u8]) -> Key {
    Key::Object(ObjectName::of(ObjectKind::Value, content))
}

/// What holds everywhere.
async fn check(uri: &str) {
    let storage = Storage::open(uri).await.unwrap();
    let contents: Vec<Vec<u8>> = (0..150u32).map(|i| vec![i as u8; (i * i) as usize]).collect();
    let keys: Vec<Key> = contents.iter().map(|content| object(content)).collect();
    assert_eq!(storage.has(&keys).await.unwrap(), vec![false; keys.len()]);
    assert_eq!(storage.get(&keys[7]).await.unwrap(), None);
    for (key, content) in keys.iter().zip(&contents).take(100) {
        storage.put(key, content.clone()).await.unwrap();
    }
    // And again, by somebody else.
    let other = Storage::open(uri).await.unwrap();
    other.put(&keys[0], contents[0].clone()).await.unwrap();
    let there = other.has(&keys).await.unwrap();
    assert!(there[..100].iter().all(|there| *there) && !there[100..].iter().any(|there| *there));
    for (key, content) in keys.iter().zip(&contents).take(100) {
        assert_eq!(other.get(key).await.unwrap().as_ref(), Some(content));
    }
    // What is told at a glance is true, and of so few keys in so small a place it is told.
    let glance = other.has_at_a_glance(&keys).await.unwrap();
    assert!(glance.iter().zip(&there).all(|(glance, there)| *glance == Some(*there)));
    let before = other.traffic().requests;
    other.has(&keys).await.unwrap();
    assert!(other.traffic().requests - before <= 2, "{} keys are asked for together", keys.len());
    // Of two facts the first counts.
    let fact = Key::Fact(ObjectName::of(ObjectKind::Thunk, b"t"));
    storage.put(&fact, b"first".to_vec()).await.unwrap();
    other.put(&fact, b"second".to_vec()).await.unwrap();
    assert_eq!(other.get(&fact).await.unwrap().unwrap(), b"first");
    // What no compression makes smaller: a linear congruential generator's upper bits.
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let large: Vec<u8> = (0..3_000_000).map(|_| random()).collect();
    storage.put(&object(&large), large.clone()).await.unwrap();
    assert!(other.get(&object(&large)).await.unwrap().unwrap() == large);
    assert!(storage.traffic().up >= 3_000_000 && other.traffic().down >= 3_000_000);
}

#[test]
fn a_directory_and_what_is_damaged_there() {
    let dir = tempfile::tempdir().unwrap();
    let uri = format!("file://{}", dir.path().display());
    run(async {
        check(&uri).await;
        let storage = Storage::open(&uri).await.unwrap();
        let content = b"what was stored".to_vec();
        let (key, fact) = (object(&content), Key::Fact(ObjectName::of(ObjectKind::Thunk, b"u")));
        let file = |key: &Key| dir.path().join(key.to_string());
        for key in [key, fact] {
            storage.put(&key, content.clone()).await.unwrap();
            let good = std::fs::read(file(&key)).unwrap();
            let other = std::fs::read(file(&object(&[9; 81]))).unwrap();
            let changed: Vec<u8> = good.iter().map(|b| if *b == b'w' { b'W' } else { *b }).collect();
            for bad in [&b""[..], &good[..good.len() - 1], b"junk\n", &changed] {
                std::fs::write(file(&key), bad).unwrap();
                assert!(matches!(storage.get(&key).await, Err(Error::Damaged { .. })), "{bad:?}");
            }
            if key != fact {
                std::fs::write(file(&key), &other).unwrap();
                assert!(matches!(storage.get(&key).await, Err(Error::Damaged { .. })));
            }
            // What was found damaged is replaced.
            storage.put(&key, content.clone()).await.unwrap();
            assert_eq!(storage.get(&key).await.unwrap().unwrap(), content);
        }
    });
    // What is no file is not waited for, and replaced.
    run(async {
        let storage = Storage::open(&uri).await.unwrap();
        let key = object(b"in a pipe");
        let path = dir.path().join(key.to_string());
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(matches!(storage.get(&key).await, Err(Error::Damaged { .. })));
        assert_eq!(storage.has(&[key]).await.unwrap(), [false]);
        storage.put(&key, b"in a pipe".to_vec()).await.unwrap();
        assert_eq!(storage.get(&key).await.unwrap().unwrap(), b"in a pipe");
        // What nothing can be put in the place of is told at once.
        let key = object(b"a directory");
        std::fs::create_dir_all(dir.path().join(key.to_string()).join("below")).unwrap();
        assert!(matches!(storage.get(&key).await, Err(Error::Damaged { .. })));
    });
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    let inside = dir.path().join("objects/x");
    std::fs::write(&inside, "").unwrap();
    let refused = run(Storage::open(&format!("file://{}", inside.display()))).err();
    assert!(matches!(refused, Some(Error::Refused { .. } | Error::Unavailable { .. })));
    assert!(Path::new(&inside).is_file());
}

#[test]
fn a_redis_server() {
    let server = Server::redis();
    let uri = format!("redis://127.0.0.1:{}", server.port);
    run(check(&uri));
    // One that is gone.
    let storage = run(async {
        drop(server);
        let storage = Storage::open(&uri).await.unwrap();
        storage.get(&object(b"x")).await
    });
    assert!(matches!(storage, Err(Error::Unavailable { .. })), "{storage:?}");
}

#[cfg(feature = "s3")]
#[test]
fn an_s3_server() {
    let server = Server::aws();
    server.make_bucket("bucket");
    // SAFETY: the only test of this program that looks at or changes these variables, before its threads start.
    unsafe {
        std::env::set_var("AWS_ACCESS_KEY_ID", "test");
        std::env::set_var("AWS_SECRET_ACCESS_KEY", "test");
    }
    let endpoint = format!("endpoint=http://127.0.0.1:{}&region=us-east-1", server.port);
    run(async {
        check(&format!("s3://bucket/some/where?{endpoint}")).await;
        let none = Storage::open(&format!("s3://no-such-bucket?{endpoint}")).await.unwrap();
        let refused = none.put(&object(b"x"), b"x".to_vec()).await;
        assert!(matches!(&refused, Err(Error::Refused { .. })), "{refused:?}");
    });
}

#[cfg(not(feature = "s3"))]
#[test]
fn without_s3_that_is_said() {
    let error = run(Storage::open("s3://b")).err().unwrap();
    assert!(error.to_string().contains("--features engine/s3"), "{error}");
}
