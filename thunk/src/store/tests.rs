// SPDX-License-Identifier: Apache-2.0
//! One store, from objects to reductions, and what is wrong with it.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::name::ObjectKind;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    (dir, store)
}

#[test]
fn objects_come_back_as_they_were_put() {
    let (_dir, store) = store();
    let name = store.put(ObjectKind::Value, b"content").unwrap();
    assert_eq!(store.read(&name).unwrap(), b"content");
    assert!(store.contains(&name));
    let absent = ObjectName::of(ObjectKind::Value, b"other");
    assert!(matches!(store.read(&absent), Err(Error::Missing { .. })));
    assert_eq!(store.complete(&name.to_string()[..6], 9).unwrap(), [name]);
}

#[test]
fn a_file_has_both_forms_and_a_known_file_is_not_read_again() {
    let (dir, store) = store();
    let path = dir.path().join("tool");
    fs::write(&path, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let (name, executable) = store.put_file(&path).unwrap();
    assert!(executable);
    for (wanted, mode) in [(true, 0o755), (false, 0o644)] {
        let file = store.file(&name, wanted).unwrap();
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, mode);
    }
    fs::write(&path, "#!/bin/zsh\n").unwrap();
    assert_ne!(store.put_file(&path).unwrap().0, name);
}

#[test]
fn damage_is_found_and_a_cut_object_counts_as_absent() {
    let (dir, store) = store();
    let name = store.put(ObjectKind::Value, b"content").unwrap();
    let path = store.find(&name).unwrap();
    fs::write(&path, "contenT").unwrap();
    assert!(matches!(store.read(&name), Err(Error::Corrupt { .. })));
    assert!(matches!(store.file(&name, false), Err(Error::Corrupt { .. })));
    assert!(matches!(store.file(&name, true), Err(Error::Corrupt { .. })));
    assert!(matches!(store.verify(&name), Err(Error::Corrupt { .. })));
    fs::write(&path, "con").unwrap();
    let again = Store::open(&dir.path().join("store")).unwrap();
    assert!(!again.contains(&name));
    again.put(ObjectKind::Value, b"content").unwrap();
    assert_eq!(again.read(&name).unwrap(), b"content");
}

#[test]
fn what_is_computed_again_replaces_what_was_damaged() {
    let (dir, store) = store();
    let name = store.put(ObjectKind::Value, b"content").unwrap();
    fs::write(store.find(&name).unwrap(), "contenT").unwrap();
    let made = dir.path().join("made");
    fs::write(&made, "content").unwrap();
    assert_eq!(store.adopt(&made, false).unwrap(), name);
    assert_eq!(store.read(&name).unwrap(), b"content");
}

#[test]
fn a_reduction_counts_only_while_its_outputs_are_there() {
    let (dir, store) = store();
    let value = store.put(ObjectKind::Value, b"object").unwrap();
    let thunk = ObjectName::of(ObjectKind::Thunk, b"t");
    let output = crate::ReducedOutput { path: "/a.o".into(), value, executable: false };
    store.put_reduction(&thunk, &Reduction { outputs: vec![output], ..Reduction::default() }).unwrap();
    assert!(store.reduction(&thunk).is_some());
    fs::remove_file(store.find(&value).unwrap()).unwrap();
    let again = Store::open(&dir.path().join("store")).unwrap();
    assert!(again.reduction(&thunk).is_none());
}

#[test]
fn another_reduction_replaces_one_and_so_does_a_whole_one_what_was_damaged() {
    let (_dir, store) = store();
    let thunk = ObjectName::of(ObjectKind::Thunk, b"t");
    let path = store.root().join("reductions").join(thunk.to_string());
    let gives = |content: &[u8], wall| {
        let value = store.put(ObjectKind::Value, content).unwrap();
        let output = crate::ReducedOutput { path: "/a.o".into(), value, executable: false };
        Reduction { outputs: vec![output], wall, ..Reduction::default() }
    };
    let [first, again, other] = [(b"1", 1), (b"1", 2), (b"2", 3)]
        .map(|(content, seconds)| gives(content, std::time::Duration::from_secs(seconds)));
    store.put_reduction(&thunk, &first).unwrap();
    store.put_reduction(&thunk, &again).unwrap();
    assert_eq!(store.reduction(&thunk), Some(first), "the same but for the time");
    store.put_reduction(&thunk, &other).unwrap();
    assert_eq!(store.reduction(&thunk).as_ref(), Some(&other));
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(store.reduction(&thunk), None);
    store.put_reduction(&thunk, &other).unwrap();
    assert_eq!(store.reduction(&thunk), Some(other));
}

#[test]
fn a_store_of_another_version_is_left_alone() {
    let (dir, _store) = store();
    fs::write(dir.path().join("store/version"), "gg-store 999\n").unwrap();
    let path = dir.path().join("store");
    assert!(matches!(Store::open(&path), Err(Error::StoreVersion { .. })));
    assert!(matches!(Store::open_existing(&path), Err(Error::StoreVersion { .. })));
}

#[test]
fn a_store_that_is_only_looked_at_is_not_made() {
    let (dir, store) = store();
    let name = store.put(ObjectKind::Value, b"abc").unwrap();
    fs::remove_dir(store.root().join("sandbox")).unwrap();
    let there = Store::open_existing(store.root()).unwrap();
    assert_eq!(there.read(&name).unwrap(), b"abc");
    assert!(!store.root().join("sandbox").exists());
    fs::write(dir.path().join("file"), "").unwrap();
    for name in ["none", "file"] {
        let path = dir.path().join(name);
        assert!(matches!(Store::open_existing(&path), Err(Error::NoSuchStore(_))));
    }
    assert!(!dir.path().join("none").exists());
}
