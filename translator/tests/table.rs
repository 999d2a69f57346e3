// SPDX-License-Identifier: Apache-2.0
//! The table of hooks against that of the interceptor, which is checked against C libraries: what takes a path there does so here.

use std::collections::BTreeSet;

/// The rows of a table: name, and whether the row names a path.
fn rows(source: &str) -> Vec<(String, bool)> {
    let table = &source[source.find("\nhooks! {\n").expect("the table is there")..];
    let row = |line: &str| {
        let line = line.trim_start();
        let row =
            ["fn ", "list fn ", "call fn ", "before fn "].iter().find_map(|kind| line.strip_prefix(kind))?;
        let name = row.split(['(', ' ']).next()?.to_owned();
        let names_path = ["Path", "Text", "list fn"].iter().any(|word| line.contains(word));
        Some((name, names_path))
    };
    table.lines().filter_map(row).collect()
}

#[test]
fn what_takes_a_path_is_hooked() {
    let here: BTreeSet<String> =
        rows(include_str!("../src/hooks.rs")).into_iter().map(|(name, _)| name).collect();
    let there = rows(include_str!("../../interceptor/src/hooks.rs"));
    assert!(there.len() > 100);
    // Which name attributes by a word that is no path.
    let by_descriptor = ["fsetxattr", "fremovexattr"];
    let missing: Vec<&String> = there
        .iter()
        .filter(|(name, names_path)| *names_path && !by_descriptor.contains(&name.as_str()))
        .map(|(name, _)| name)
        .filter(|name| !here.contains(*name))
        .collect();
    assert!(missing.is_empty(), "no hook here: {missing:?}");
}

#[test]
fn no_hook_is_there_twice() {
    let mut seen = BTreeSet::new();
    for (name, _) in rows(include_str!("../src/hooks.rs")) {
        assert!(seen.insert(name.clone()), "{name} is there twice");
    }
}
