// SPDX-License-Identifier: Apache-2.0
//! What make read and the build makes anew: dependency files tell it only what to do again, all else may be other commands.

use super::{is_as_made, replay};
use tests::TestSpace;

/// Automake's way to compile, in a shell.
const COMPILE: &str = "depbase=`echo .deps/a`; \\\n\
    \tgcc -MT $@ -MD -MP -MF $$depbase.Tpo -c -o $@ a.c && \\\n\tmv -f $$depbase.Tpo $$depbase.Po";

#[test]
fn a_dependency_file_that_a_recipe_made_anew_changes_no_command() {
    let makefile = format!("a.o: a.c\n\t{COMPILE}\ninclude .deps/a.Po\n");
    let space = TestSpace::with(&[
        ("Makefile", &makefile),
        (".deps/a.Po", "# dummy\n"),
        ("a.h", "#define A 1\n"),
        ("b.h", "#define B 2\n"),
        ("a.c", "#include \"a.h\"\nint a(void) { return A; }\n"),
    ]);
    let trace = space.outside().join("trace");
    space.ggtrace(&["--run", "-o", trace.to_str().expect("our own path"), "make"]).ok();
    space.keep();
    for (old, new) in
        [("return A", "return A + 1"), ("#include \"a.h\"", "#include \"a.h\"\n#include \"b.h\"")]
    {
        let edit = || space.replace("a.c", old, new);
        edit();
        replay(&space, &trace, &[]).ok();
        is_as_made(&space, edit);
        space.restore();
    }
}

#[test]
fn a_part_of_the_makefile_that_a_recipe_made_anew_may_change_commands() {
    let space = TestSpace::with(&[
        (
            "Makefile",
            "out: in part.mk\n\tcp in out\n\techo $(X) >>out\npart.mk: in\n\tsed s/^/X=/ in >part.mk\ninclude part.mk\n",
        ),
        ("in", "1\n"),
    ]);
    let trace = space.outside().join("trace");
    space.run(&["make"]).ok();
    space.sh("rm out; touch -d '1 hour ago' in").ok();
    space
        .ggtrace(&["--run", "-o", trace.to_str().expect("our own path"), "sh", "-c", "rm part.mk; make"])
        .ok();
    space.write("in", "2\n");
    replay(&space, &trace, &[]).fails().says("record the build again");
}
