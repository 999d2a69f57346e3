// SPDX-License-Identifier: Apache-2.0
//! What make read and the build makes anew: dependency files tell it only what to do again, all else may be other commands.

use super::names::run_recorded;
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
    let trace = run_recorded(&space);
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

/// Automake's makefiles go where they work themselves, and have headers beside that.
#[test]
fn a_dependency_file_of_where_make_has_gone_itself_with_names_that_lead_back() {
    let compile = COMPILE.replace("gcc", "gcc -I../inc -I$(CURDIR)/../inc/more");
    let space = TestSpace::with(&[
        ("Makefile", "all:\n\t$(MAKE) -C sub\n"),
        ("sub/Makefile", &format!("a.o: a.c\n\t{compile}\ninclude .deps/a.Po\n")),
        ("sub/.deps/a.Po", "# dummy\n"),
        ("inc/a.h", "#define A 1\n"),
        ("inc/more/b.h", "#define B 1\n"),
        ("sub/a.c", "#include <a.h>\n#include <b.h>\nint a(void) { return A + B; }\n"),
    ]);
    let trace = run_recorded(&space);
    space.keep();
    let edit = || space.replace("sub/a.c", "return A", "return 1 + A");
    edit();
    replay(&space, &trace, &[]).ok();
    is_as_made(&space, edit);
}

/// What is not of the maker's own outputs and inputs, is empty, or is read by a script, may mean anything.
#[test]
fn a_part_that_a_recipe_made_anew_may_change_commands() {
    let prerequisites = "all: prog.txt\ninclude parts.d\nprog.txt:\n\tcat $^ >prog.txt\n\
        parts.d: list\n\t(printf 'prog.txt:'; while read l; do printf ' %s' $$l; done <list; echo) >parts.d\n";
    let empty =
        "all: out\ninclude part.mk\nout:\n\techo $(X) >out\npart.mk: list\n\tgrep = list >part.mk; true\n";
    let variable =
        "all: out\ninclude part.mk\nout:\n\techo $(X) >out\npart.mk: list\n\tsed s/^/X=/ list >part.mk\n";
    for (makefile, before, after) in
        [(prerequisites, "a\n", "a\nb\n"), (empty, "1\n", "X=2\n"), (variable, "1\n", "2\n")]
    {
        let space = TestSpace::with(&[("Makefile", makefile), ("list", before), ("a", "A\n"), ("b", "B\n")]);
        let trace = run_recorded(&space);
        space.write("list", after);
        replay(&space, &trace, &[]).fails().says("record the build again");
    }
    let script = "make -s part\nread x <part\nif [ -n \"$x\" ]; then make b; else make a; fi\n";
    let space = TestSpace::with(&[
        ("build.sh", script),
        ("Makefile", "part: list\n\tgrep = list >part; true\na b: part\n\techo $@ >$@\n"),
        ("list", "1\n"),
    ]);
    let trace = space.outside().join("trace");
    space.ggtrace(&["--run", "-o", trace.to_str().expect("our own path"), "sh", "build.sh"]).ok();
    space.write("list", "x=2\n");
    replay(&space, &trace, &[]).fails().says("record the build again");
}
