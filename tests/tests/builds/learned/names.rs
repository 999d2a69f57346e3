// SPDX-License-Identifier: Apache-2.0
//! What is a command's own is so by whatever name it calls it: a file that it makes, the list of its descriptors.

use tests::{Snapshot, TestSpace};

#[test]
fn what_it_makes_and_takes_away_under_several_names_is_its_own() {
    let becomes = |recipe: &str| {
        let makefile = format!("out: data\n\t{recipe}\n");
        let files = [("Makefile", &*makefile), ("data", "one\n"), ("d/was", "old\n"), ("e/in", "")];
        let space = TestSpace::with(&files);
        std::os::unix::fs::symlink(".", space.path("l")).unwrap();
        space.ggtrace(&["make"]).ok();
        let tree = Snapshot::of(&space.tree());
        std::fs::remove_file(space.path("out")).unwrap();
        space.write("d/was", "old\n");
        space.ggtrace(&["make"]).ok();
        let deferred = space.is_placeholder("out");
        space.force_all();
        let deviations = tree.deviations_but(&Snapshot::of(&space.tree()), &["d/was"]);
        assert!(deviations.is_empty(), "{recipe}: {deviations}");
        // What it does with other inputs is foretold, too.
        std::fs::remove_file(space.path("out")).unwrap();
        space.write("d/was", "old\n");
        space.write("data", "two\n");
        space.ggtrace(&["make"]).ok();
        assert_eq!(space.is_placeholder("out"), deferred, "{recipe}");
        space.force_all();
        assert_eq!(space.read("out"), b"two\n", "{recipe}");
        deferred
    };
    for recipe in [
        "cd d && cat ../data > t && cd ../e && mv ../d/t ../out",
        "(cd d && cat ../data > t$$$$) && cd e && mv ../d/t$$$$ ../out",
        "cat data > d/t && mv l/d/t out",
        "cat data > d/t && cat l/d/t > t && mv t out && mv d/t out",
        "cat data > d/s && mv d/s l/d/t && mv e/../d/t out",
    ] {
        assert!(becomes(recipe), "{recipe}");
    }
    for recipe in [
        "rm l/d/was && cat data > d/was && cat d/was > out && rm d/was",
        "cat data > l/d/was && cat d/was > out && rm d/was",
        "cat data > t && mv -f t l/d/was && cat d/was > out && rm d/was",
    ] {
        assert!(!becomes(recipe), "{recipe}");
    }
}

#[test]
fn what_looks_which_descriptors_it_has_is_deferred() {
    for method in ["auto", "ptrace"] {
        let makefile = "out: data\n\techo data | xargs cat > out\n";
        let space = TestSpace::with(&[("Makefile", makefile), ("data", "one\n")]);
        for _ in 0..2 {
            let _ = std::fs::remove_file(space.path("out"));
            space.ggtrace(&["--method", method, "make"]).ok();
        }
        assert!(space.is_placeholder("out"), "{method}");
        space.force_all();
        assert_eq!(space.read("out"), b"one\n");
    }
}
