// SPDX-License-Identifier: Apache-2.0
//! Programs that do unusual things to themselves, to their memory, to others or to the file system: recorded in every way, they
//! end as they do without a recorder, and say the same. What the trace says of them is in `observed`.

#![allow(clippy::unwrap_used, reason = "a test")]

use tests::TestSpace;
use thunk::trace::Trace;

/// Compiles a program of the tree plainly.
pub fn compiled(files: &[(&str, &str)], command: &str) -> TestSpace {
    let space = TestSpace::with(files);
    space.sh(command).ok();
    space
}

/// Runs a script plainly and in every way of recording, each time in the same tree: exit code and both streams are the same.
#[track_caller]
pub fn the_same_recorded(space: &TestSpace, script: &str) {
    the_same_recorded_by(space, script, &[&[], &["--run"], &["--method", "ptrace"]]);
}

#[track_caller]
fn the_same_recorded_by(space: &TestSpace, script: &str, ways: &[&[&str]]) {
    space.keep();
    let plain = space.run(&["sh", "-c", script]);
    for way in ways {
        space.restore();
        let trace = space.outside().join("trace");
        let recorded = space.ggtrace(&[*way, &["-o", trace.to_str().unwrap(), "sh", "-c", script]].concat());
        Trace::read(&trace).unwrap();
        assert_eq!(
            (recorded.code(), recorded.out(), recorded.err()),
            (plain.code(), plain.out(), plain.err()),
            "{way:?}"
        );
    }
    space.restore();
}

/// Blocks of its own allocator are told by a word before them: memory of another one is not taken back.
const ALLOCATOR: &str = "#define _GNU_SOURCE\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n\
    static _Alignas(16) char heap[1 << 22]; static size_t used;\n\
    void *malloc(size_t n) { size_t *block = (size_t *)(heap + used); used += (n + 31) & ~(size_t)15;\n\
    if (used > sizeof heap) abort(); block[0] = n; block[1] = 0x600d; return block + 2; }\n\
    void free(void *p) { if (p && ((size_t *)p)[-1] != 0x600d) { write(2, \"not mine\\n\", 9); _exit(9); } }\n\
    void *calloc(size_t n, size_t m) { return memset(malloc(n * m), 0, n * m); }\n\
    void *realloc(void *p, size_t n) { void *q = malloc(n); if (p) { size_t old = ((size_t *)p)[-2];\n\
    memcpy(q, p, old < n ? old : n); free(p); } return q; }\n\
    int main(void) {\n\
    free(realpath(\".\", 0)); free(canonicalize_file_name(\"/bin/sh\")); free(getcwd(0, 0));\n\
    FILE *in = fopen(\"in\", \"r\"); char *line = 0; size_t room = 0; getline(&line, &room, in);\n\
    fputs(line, stdout); free(line); fclose(in); fflush(stdout);\n\
    return system(\"cat in\") + pclose(popen(\"cat in\", \"r\")); }\n";

#[test]
fn a_program_with_an_allocator_of_its_own() {
    let space = compiled(&[("a.c", ALLOCATOR), ("in", "text\n")], "gcc -w -fno-builtin -o a a.c");
    the_same_recorded(&space, "./a");
    assert_eq!(space.run(&["./a"]).code(), 0);
}

/// AddressSanitizer ends programs in which another library than its own comes first.
#[test]
fn programs_with_a_sanitizer() {
    const PROGRAM: &str = "#include <stdio.h>\n#include <stdlib.h>\nint main(void) { char text[9]; FILE *in = fopen(\"in\", \"r\");\n\
        fputs(fgets(text, 9, in), stdout); fclose(in); fflush(stdout); return system(\"cat in; gcc -c b.c && nm b.o\"); }\n";
    let files = [
        ("a.c", PROGRAM),
        ("b.c", "int b;\n"),
        ("in", "text\n"),
        ("Makefile", "all:\n\t./a\n\tgcc -c b.c -o c.o\n"),
    ];
    for options in ["-fsanitize=address", "-fsanitize=undefined", "-fsanitize=thread"] {
        let space = TestSpace::with(&files);
        if space.sh(&format!("gcc {options} -o a a.c && ./a && rm b.o")).code() != 0 {
            println!("skipped: no {options} here");
            continue;
        }
        // Its search for leaks is a tracer, of which there can be one only.
        let ways: [&[&str]; 3] = [&[], &["--run"], &["--method", "preload"]];
        the_same_recorded_by(&space, "make; ./a; exec ./a", &ways);
        the_same_recorded_by(&space, "./a", &ways);
    }
}

/// Whoever copies the libraries that a program loads must not find one of ours among them.
#[test]
fn programs_that_ask_which_libraries_are_loaded() {
    let space = compiled(&[("a.c", "int main(void) { return 0; }\n")], "gcc -o a a.c");
    let loader = "$(readelf -l a | sed -n 's/.*interpreter: \\(.*\\)]/\\1/p')";
    let ways: [&[&str]; 4] = [&[], &["--run"], &["--method", "preload"], &["--method", "ptrace"]];
    for list in ["ldd ./a", "LD_TRACE_LOADED_OBJECTS=1 ./a", &format!("{loader} --list ./a")] {
        the_same_recorded_by(&space, &format!("{list} | sed 's/ (0x.*//'"), &ways);
    }
}

#[test]
fn programs_of_another_word_size() {
    const PROGRAM: &str = "#include <stdio.h>\n#include <stdlib.h>\nint main(void) { char b[9]; FILE *f = fopen(\"in\", \"r\");\n\
        puts(fgets(b, 9, f)); fflush(stdout); return system(\"cat in; gcc -c x.c; nm x.o; exit 3\") >> 8; }\n";
    let space = TestSpace::with(&[("a.c", PROGRAM), ("x.c", "int x;\n"), ("in", "text\n")]);
    if !space.run(&["gcc", "-m32", "-o", "a", "a.c"]).status.success() {
        return eprintln!("no 32-bit C library here");
    }
    the_same_recorded(&space, "./a");
}

/// The source of a program without a C library, with a function `call` for calls by i386's numbers.
pub fn program_32(rest: &str) -> String {
    const CALL: &str = "static int call(int nr, int a, const void *b, int c) {\n\
        int result; __asm__ volatile(\"int $0x80\" : \"=a\"(result) : \"a\"(nr), \"b\"(a), \"c\"(b), \"d\"(c) : \"memory\"); return result; }\n";
    format!("{CALL}{rest}")
}

/// How such a program is linked.
pub const OPTIONS_32: &str = "-m32 -w -nostdlib -static -fno-pie -no-pie -fno-stack-protector";

/// It waits for what it opens, and for all that is pending only before a call that is not understood.
#[test]
fn what_32_bit_programs_do_not_look_at_stays_deferred() {
    const PROGRAM: &str = "void _start(void) { char b[512]; int fd;\n\
        if (STAT) call(195, (int)\"x.o\", b, 0);\n\
        fd = call(295, -100, \"x.o\", 0); call(3, fd, b, 4); call(4, 1, b, 4); call(252, 0, 0, 0); }\n";
    let rules = "all:\n\tgcc -c x.c\n\tgcc -c y.c\n\t./a >out\n";
    let space = TestSpace::with(&[
        ("a.c", &program_32(PROGRAM)),
        ("x.c", "int x;\n"),
        ("y.c", "int y;\n"),
        ("Makefile", rules),
    ]);
    for (stat, way) in [(0, "net"), (1, "net"), (0, "ptrace"), (1, "ptrace")] {
        let macros = format!("-DSTAT={stat}");
        space.sh(&format!("rm -f *.o out && gcc {macros} {OPTIONS_32} -o a a.c")).ok();
        let method: &[&str] = if way == "ptrace" { &["--method", "ptrace"] } else { &[] };
        space.ggtrace(&[method, &["make"]].concat()).ok();
        assert_eq!(space.read("out"), b"\x7fELF", "{stat} {way}");
        assert!(!space.is_placeholder("x.o"), "{stat} {way}");
        assert_eq!(space.is_placeholder("y.o"), stat == 0, "{stat} {way}");
    }
}

/// All processes of such a program wait for what is pending, also where it asks about a file through a descriptor that is for nothing else;
/// and where that cannot be had none of them is told something else.
#[test]
fn no_32_bit_process_sees_the_size_of_a_placeholder() {
    const PROGRAM: &str = "static void print(unsigned n) { char t[16]; int i = 16; t[--i] = '\\n'; do t[--i] = '0' + n % 10; while (n /= 10); call(4, 1, t + i, 16 - i); }\n\
        void _start(void) { unsigned b[64]; int pid, failed;\n\
        if (NAMED) { failed = call(197, call(295, -100, \"x.o\", 010000000), b, 0); print(failed ? 7 : b[11]); }\n\
        else { pid = call(2, 0, 0, 0); failed = call(195, (int)\"x.o\", b, 0); print(failed ? 7 : b[11]); if (pid) call(7, pid, 0, 0); }\n\
        call(252, 0, 0, 0); }\n";
    let rules = "all:\n\tgcc -c x.c\n\t./a >out\n";
    let space = TestSpace::with(&[("a.c", &program_32(PROGRAM)), ("Makefile", rules)]);
    for (named, method) in [(0, "auto"), (1, "auto"), (0, "ptrace"), (1, "ptrace")] {
        space.sh(&format!("rm -f *.o out && gcc -DNAMED={named} {OPTIONS_32} -o a a.c")).ok();
        space.write("x.c", "int x;\n");
        space.ggtrace(&["--method", method, "make"]).ok();
        let size = space.path("x.o").metadata().unwrap().len();
        assert_eq!(space.read("out"), format!("{size}\n").repeat(2 - named).as_bytes(), "{named} {method}");
        space.write("x.c", "no C\n");
        space.ggtrace(&["--method", method, "make"]).fails().says("cannot be forced");
        // It does not live to see anything.
        assert_eq!(space.read("out"), b"", "{named} {method}");
        // Where no make is to be told, it does.
        let _ = space.ggtrace(&["--method", method, "sh", "-c", "gcc -c x.c; ./a >out"]);
        assert_eq!(space.read("out"), "7\n".repeat(2 - named).as_bytes(), "{named} {method}");
    }
}

#[test]
fn programs_with_a_filter_of_their_own() {
    const PROGRAM: &str = "#include <linux/filter.h>\n#include <linux/seccomp.h>\n#include <stddef.h>\n#include <stdio.h>\n\
        #include <stdlib.h>\n#include <sys/prctl.h>\n#include <sys/stat.h>\n#include <sys/syscall.h>\n#include <sys/wait.h>\n\
        #include <unistd.h>\n#include <errno.h>\nint main(void) { struct sock_filter f[] = {\n\
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),\n\
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),\n\
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdirat, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),\n\
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };\n\
        struct sock_fprog p = { sizeof f / sizeof *f, f };\n\
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p)) perror(\"seccomp\");\n\
        if (mkdir(\"m\", 0755)) perror(\"mkdir\");\n\
        int result = system(\"cat in; gcc -c x.c; nm x.o; mkdir n\");\n\
        if (!fork()) { prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0); write(1, \"strict\\n\", 7); syscall(SYS_exit, 0); }\n\
        wait(0); return result != 0; }\n";
    let files = [("a.c", PROGRAM), ("x.c", "int x;\n"), ("in", "text\n")];
    the_same_recorded(&compiled(&files, "gcc -w -o a a.c"), "./a");
}

/// A process has one tracer, so none of these can be had under `--method ptrace`, which is told.
#[test]
fn debuggers_and_tracers() {
    let space = compiled(
        &[("a.c", "#include <stdio.h>\nint main(void) { puts(\"x\"); return 7; }\n"), ("x.c", "int x;\n")],
        "gcc -g -o a a.c",
    );
    let ways: [&[&str]; 2] = [&[], &["--run"]];
    if space.run(&["strace", "-V"]).status.success() {
        for (method, told) in [("auto", false), ("ptrace", true)] {
            let ran = space.ggtrace(&["--run", "--method", method, "strace", "-o", "log", "true"]);
            assert_eq!(
                (ran.status.success(), ran.err().contains("fails under --method ptrace")),
                (!told, told),
                "{ran}"
            );
        }
        the_same_recorded_by(
            &space,
            "strace -f -o log sh -c 'gcc -c x.c; exit 4'; echo $?; nm x.o; grep -c exited log >/dev/null",
            &ways,
        );
    }
    if space.run(&["gdb", "-v"]).status.success() {
        let script = "gdb -q -batch -ex run -ex 'p $_exitcode' ./a 2>&1 | grep -v -i 'debuginfo\\|process\\|thread\\|warning'";
        the_same_recorded_by(&space, script, &ways);
    }
}

#[test]
fn owners_that_another_library_makes_up() {
    let space = TestSpace::with(&[("x.c", "int x;\n")]);
    if !space.run(&["fakeroot", "true"]).status.success() {
        return eprintln!("no fakeroot here");
    }
    the_same_recorded(
        &space,
        "fakeroot sh -c 'mkdir d; gcc -c x.c; gcc -c x.c -o d/y.o; chown 7:8 x.o; chown -R 9 d; cp -p x.o z.o
            install -o 3 -m 600 x.o w.o; nm x.o d/y.o; stat -c \"%n %u %g %a %s\" *.o d/*.o'",
    );
}

#[test]
fn programs_that_take_the_rights_of_their_owner() {
    if !nix::unistd::Uid::effective().is_root() {
        return eprintln!("only root can make such a program");
    }
    let space = TestSpace::with(&[("x.c", "int x;\n"), ("in", "text\n")]);
    space.sh("cp /bin/cat /usr/bin/id .; chown nobody cat id; chmod 4755 cat id").ok();
    the_same_recorded(&space, "./id -u; ./id -ru; ./cat in; gcc -c x.c; ./cat x.o | wc -c");
}

#[test]
fn thousands_of_processes_at_once() {
    const PROGRAM: &str = "#include <fcntl.h>\n#include <stdio.h>\n#include <sys/wait.h>\n#include <unistd.h>\n\
        int main(void) { int p[2], good = 0, status; char b; pipe(p); for (int i = 0; i < 2000; i++) if (!fork()) {\n\
        char name[30]; close(p[1]); sprintf(name, \"out/%d\", i); int fd = open(name, O_CREAT | O_WRONLY, 0644);\n\
        write(fd, name, 5); close(fd); read(p[0], &b, 1); open(\"in\", O_RDONLY);\n\
        if (i % 100 == 0) execlp(\"cat\", \"cat\", \"in\", (char *)0); _exit(0); }\n\
        close(p[1]); while (wait(&status) > 0) good += status == 0; return good != 2000; }\n";
    for link in ["", "-static"] {
        let files = [("a.c", PROGRAM), ("in", "text\n"), ("out/0", "")];
        let space = compiled(&files, &format!("gcc -w {link} -o a a.c"));
        the_same_recorded(&space, "./a; echo $?; ls out | wc -l");
    }
}

#[test]
fn paths_at_every_limit() {
    const SCRIPT: &str = r#"
set -f
ln -s b a; ln -s a b; cat a; gcc -c a -o a.o
i=0; while [ $i -lt 45 ]; do ln -s l$((i + 1)) l$i; i=$((i + 1)); done; echo 'int l;' >l45
cat l0; cat l10; gcc -xc -c l0 -o l0.o; gcc -xc -c l10 -o l10.o; nm l10.o
mkdir d; ln -s . d/self; printf '#include "d/self/self/self/../l45"\n' >s.c; gcc -c s.c; nm s.o
name=$(printf '%0200d' 0); (n=0; while [ $n -lt 19 ]; do mkdir $name; cd $name; n=$((n + 1)); done
    echo 'int deep;' >x.c; gcc -c x.c; nm x.o; cp x.c y.c; cat y.c; ls)
printf 'int odd;\n' >"$(printf 'a\nb\377.c')"; gcc -c "$(printf 'a\nb\377.c')" -o "$(printf 'o\n\377.o')"; nm "$(printf 'o\n\377.o')" | cut -d' ' -f3
(exec 0<&- 1>&- 2>&-; gcc -c s.c -o t.o); nm t.o
long=$(printf '%0300d' 0); cat $long; gcc -c $long.c -o n.o
"#;
    the_same_recorded(&TestSpace::new(), SCRIPT);
}

/// 220 KB of arguments, one of almost 128 KB, and an environment as large. gcc itself takes about half, for it hands
/// them on in one variable.
#[test]
fn arguments_at_every_limit() {
    const SCRIPT: &str = r#"
flags=$(i=0; while [ $i -lt 2500 ]; do echo "-DNAME_THAT_IS_LONG_ENOUGH_$i=$i"; i=$((i + 1)); done)
gcc $flags -c x.c; objdump -s -j .data x.o | tail -n 1
printf '%s\n' $flags >args; gcc @args -c x.c -o z.o; cmp x.o z.o
name=$(printf '%0200d' 0 | sed 's,00,./,g')x.o
names=$(i=0; while [ $i -lt 1000 ]; do echo $name; i=$((i + 1)); done)
ar qc l.a $names; ar t l.a | cksum; /bin/echo $names | wc -c
one=$(printf '%0131000d' 0); /bin/echo $one | wc -c
export one; env flags="$one" sh -c 'gcc -c x.c -DNAME_THAT_IS_LONG_ENOUGH_2499=1 -o v.o; nm v.o; echo ${#one} ${#flags}'
"#;
    the_same_recorded(&TestSpace::with(&[("x.c", "int x = NAME_THAT_IS_LONG_ENOUGH_2499 + 0;\n")]), SCRIPT);
}

/// It is refused, as many sandboxes do: who asks for it must have another way.
#[test]
fn a_program_that_would_read_by_io_uring() {
    const PROGRAM: &str = "#include <fcntl.h>\n#include <stdio.h>\n#include <string.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
        int main(void) { char params[120] = {0}; long ring = syscall(425, 8, params); char text[9] = {0};\n\
        fprintf(stderr, \"%s\\n\", ring < 0 ? \"refused\" : \"given\"); close(ring);\n\
        int fd = open(\"in\", O_RDONLY); read(fd, text, 8); return printf(\"%s\", text) < 0; }\n";
    for link in ["", "-static"] {
        let space = compiled(&[("a.c", PROGRAM), ("in", "text\n")], &format!("gcc -w {link} -o a a.c"));
        for way in [&["--run"][..], &["--run", "--method", "ptrace"]] {
            let ran = space.ggtrace(&[way, &["./a"]].concat()).ok();
            assert_eq!((ran.out().as_str(), ran.err().as_str()), ("text\n", "refused\n"), "{link} {way:?}");
        }
    }
}

/// The child of `vfork` runs in its parent's memory until it executes, and no library is in either.
#[test]
fn static_parents_that_share_their_memory_with_a_child() {
    const PROGRAM: &str = "#define _GNU_SOURCE\n#include <sched.h>\n#include <signal.h>\n#include <spawn.h>\n#include <stdio.h>\n#include <sys/wait.h>\n#include <unistd.h>\n\
        extern char **environ; static char stack[1 << 16];\n\
        static int run(void *argv) { execvp(*(char **)argv, argv); _exit(9); }\n\
        int main(int n, char **v) { int status, bad = 0; pid_t pid;\n\
        char *one[] = { \"gcc\", \"-c\", \"x.c\", \"-o\", \"one.o\", 0 }, *two[] = { \"gcc\", \"-c\", \"x.c\", \"-o\", \"two.o\", 0 };\n\
        char *three[] = { \"gcc\", \"-c\", \"x.c\", \"-o\", \"three.o\", 0 }, *nm[] = { \"nm\", \"one.o\", \"two.o\", \"three.o\", 0 };\n\
        if (!(pid = vfork())) run(one); waitpid(pid, &status, 0); bad += status != 0;\n\
        posix_spawnp(&pid, two[0], 0, 0, two, environ); waitpid(pid, &status, 0); bad += status != 0;\n\
        pid = clone(run, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, three); waitpid(pid, &status, 0); bad += status != 0;\n\
        if (!(pid = vfork())) { chdir(\"d\"); execlp(\"pwd\", \"pwd\", (char *)0); _exit(1); } waitpid(pid, &status, 0);\n\
        if (!(pid = vfork())) { execl(\"/none\", \"none\", (char *)0); _exit(7); } waitpid(pid, &status, 0); printf(\"%d\\n\", status >> 8); fflush(stdout);\n\
        if (!(pid = vfork())) run(nm); waitpid(pid, &status, 0); return bad + (status != 0); }\n";
    for link in ["-static", ""] {
        let files = [("a.c", PROGRAM), ("x.c", "int x;\n"), ("d/x", "")];
        let space = compiled(&files, &format!("gcc -w {link} -o a a.c"));
        the_same_recorded(&space, "./a; echo $?");
        space.ggtrace(&["./a"]).ok();
        assert_eq!(space.shown().deferred, 3, "{link}");
    }
}

/// To the recorder they lead elsewhere.
#[test]
fn files_reached_by_links_of_proc() {
    const SCRIPT: &str = "(cd d; for x in a b c e f; do gcc -c x.c -o $x.o; done; gcc -o p p.c)\n\
        cd d; nm /proc/self/cwd/a.o; exec 5<.; nm /dev/fd/5/b.o; wc -c </proc/$$/cwd/c.o; cat /proc/self/cwd/e.o >g.o; nm g.o\n\
        mv /proc/self/cwd/f.o /proc/self/cwd/h.o; nm h.o; ls; exec /proc/self/cwd/p";
    let files = [("d/x.c", "int x;\n"), ("d/p.c", "int main(void) { return 7; }\n")];
    the_same_recorded(&TestSpace::with(&files), SCRIPT);
}
