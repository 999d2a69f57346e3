// SPDX-License-Identifier: Apache-2.0
//! Builds that try whether something compiles: whoever looks at a compiler's words or exit code gets the real ones.

use tests::{Expect, TestSpace};

fn space() -> TestSpace {
    TestSpace::with(&[
        ("good.c", "#include <stdio.h>\nint main(void) { return 0; }\n"),
        ("bad.c", "#include <no/such/header.h>\nint main(void) { return 0; }\n"),
        ("wrong.c", "int main(void) { return no_such_name; }\n"),
        ("nosym.c", "int no_such_function(void);\nint main(void) { return no_such_function(); }\n"),
    ])
}

#[test]
fn a_probe_whose_messages_go_elsewhere_is_not_deferred() {
    for redirected in [
        "gcc -c {}.c -o t.o >/dev/null 2>&1",
        "gcc -c {}.c -o t.o 2>/dev/null",
        "gcc -c {}.c -o t.o 2>t.err",
        "gcc -c {}.c -o t.o 2>>log",
        "gcc -c {}.c -o t.o >&5 2>&5",
        "gcc {}.c -o t 2>/dev/null",
        "gcc {}.c -lm -o t >t.out 2>&1",
        "gcc -c {}.c -o t.o 2>&1 | grep -q error && false",
        "test -z \"$(gcc -c {}.c -o t.o 2>&1)\"",
        "echo 'int main(void) { return nothing; }' | gcc -x c - -o t 2>/dev/null",
    ] {
        let mut script = String::from("exec 5>config.log; umask 022\n");
        for source in ["good", "wrong"] {
            let command = redirected.replace("{}", source);
            script.push_str(&format!("rm -f t t.o; if {command}; then echo {source} yes; else echo {source} no; fi; ls t t.o 2>/dev/null || :\n"));
        }
        space().script_same_as_plain(&script, 0);
    }
}

#[test]
fn a_configure_script_within_the_build() {
    let space = space();
    space.write(
        "configure.sh",
        "#!/bin/sh\n# What autoconf's tests do, in short.\nexec 5>config.log\necho '/* config.h */' >config.h\n\
         try() {\n  name=$1; shift\n  if { echo \"+ $*\" >&5; (eval \"$*\") 2>conftest.err; status=$?; cat conftest.err >&5; test $status = 0; } && test -s conftest.o\n\
         \x20 then echo \"#define HAVE_$name 1\" >>config.h; else echo \"/* no $name */\" >>config.h; fi\n  rm -f conftest.o conftest.err\n}\n\
         try GOOD 'gcc -c good.c -o conftest.o >&5'\ntry BAD 'gcc -c bad.c -o conftest.o >&5'\ntry WRONG 'gcc -c wrong.c -o conftest.o >&5'\n\
         if gcc nosym.c -o conftest >&5 2>&5; then echo '#define HAVE_NOSYM 1' >>config.h; fi\nrm -f conftest\n",
    );
    space.write("main.c", "#include \"config.h\"\nint main(void) { return !HAVE_GOOD; }\n");
    space.write("Makefile", "prog: main.o\n\t$(CC) -o $@ $^\nmain.o: main.c config.h\n\t$(CC) -c main.c\nconfig.h: configure.sh\n\t./configure.sh\n");
    space.same_as_plain(&["make"], Expect::make(2).varying(&["config.log"]));
    let config = String::from_utf8(space.read("config.h")).expect("text");
    assert_eq!(config, "/* config.h */\n#define HAVE_GOOD 1\n/* no BAD */\n/* no WRONG */\n");
}

#[test]
fn a_makefile_that_asks_the_compiler() {
    let space = space();
    space.write(
        "Makefile",
        "try = $(shell $(CC) $(1) -c -x c /dev/null -o /dev/null 2>/dev/null && echo $(1))\n\
         CFLAGS := $(call try,-fno-such-flag) $(call try,-fno-plt) $(if $(shell $(CC) -c wrong.c -o x.o 2>&1),,-DWRONG)\n\
         VERSION := $(shell $(CC) -dumpversion)\n\
         good: good.o\n\t$(CC) -o $@ $^\ngood.o: good.c\n\t$(CC) $(CFLAGS) -DV=$(VERSION) -c $<\n",
    );
    let seen = space.same_as_plain(&["make"], Expect::make(2));
    assert!(seen.plain.out().contains("-fno-plt") && !seen.plain.out().contains("such"), "{}", seen.plain);
}

#[test]
fn a_command_that_is_allowed_to_fail() {
    // Its exit code is looked at: whatever the recorder does, what follows must be as plainly built.
    space().script_same_as_plain(
        "gcc -c good.c; gcc -fsyntax-only wrong.c 2>/dev/null || echo failed > mark; test -f mark",
        1,
    );
}

#[test]
fn outputs_to_devices_are_not_deferred() {
    space().script_same_as_plain("gcc -c good.c -o /dev/null; gcc -S good.c -o - | grep -c main; gcc -E good.c | grep -c main; test -c /dev/null", 0);
}
