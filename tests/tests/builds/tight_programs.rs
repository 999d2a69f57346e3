// SPDX-License-Identifier: Apache-2.0
//! Programs that have room for what they do themselves and for little besides: small stacks, filters of system calls that kill, arguments
//! as long as the kernel takes, another root. Recorded in every way, they end as they do without a recorder.

use std::collections::BTreeMap;

use crate::odd_programs::{compiled, the_same_recorded};
use crate::strace::commands_in;

/// A thread with the smallest stack that there is does all that a hook stands before.
#[test]
fn threads_with_small_stacks() {
    const PROGRAM: &str = r#"
        #define _GNU_SOURCE
        #include <dirent.h>
        #include <fcntl.h>
        #include <limits.h>
        #include <pthread.h>
        #include <spawn.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/mman.h>
        #include <sys/stat.h>
        #include <sys/wait.h>
        #include <unistd.h>
        enum { SIZE = 16384, PAGE = 4096 };
        extern char **environ;
        static int ended(pid_t child) { int status; waitpid(child, &status, 0); return status; }
        static int act(int what) {
            char room[9], *list[] = { "true", 0 };
            int here = what < 4 ? open(".", O_RDONLY) : -1;
            struct stat stat_;
            pid_t child;
            switch (what) {
            case 0: return openat(here, "in", O_RDONLY) < 0;
            case 1: return renameat(here, "a", here, "b");
            case 2: mkdirat(here, "q", 0777); return renameat2(here, "q", here, "d", RENAME_EXCHANGE);
            case 3: return linkat(here, "in", here, "l", 0);
            case 4: return symlink("in", "s") || readlink("s", room, 9) < 0 || unlink("s");
            case 5: return stat("in", &stat_) || chmod("in", 0600);
            case 6: return !readdir(opendir("."));
            case 7: return open("new", O_WRONLY | O_CREAT | O_TRUNC, 0666) < 0;
            case 8: return chdir("d") || chdir("..");
            case 9: return !fgets(room, 9, fopen("in", "r"));
            case 10: if (!(child = vfork())) { execl("/bin/true", "true", (char *)0); _exit(1); } return ended(child);
            case 11: if (!(child = vfork())) { execvp("true", list); _exit(1); } return ended(child);
            case 12: if (!(child = fork())) { execv("/bin/true", list); _exit(1); } return ended(child);
            case 13: return posix_spawn(&child, "/bin/true", 0, 0, list, environ) || ended(child);
            case 14: return posix_spawnp(&child, "true", 0, 0, list, environ) || ended(child);
            case 15: { static char path[PATH_MAX]; return !realpath("d/../link", path); }
            default: return -1;
            }
        }
        static void *run(void *what) { return (void *)(long)act((int)(long)what); }
        int main(void) {
            for (long what = 0; what < 16; what++) {
                char *stack = mmap(0, SIZE + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                mprotect(stack + PAGE, SIZE, PROT_READ | PROT_WRITE);
                pthread_attr_t small;
                pthread_attr_init(&small);
                pthread_t thread;
                void *failed;
                if (pthread_attr_setstack(&small, stack + PAGE, SIZE) || pthread_create(&thread, &small, run, (void *)what)) return 2;
                pthread_join(thread, &failed);
                printf("%ld: %ld\n", what, (long)failed);
                fflush(stdout);
            }
            return 0;
        }"#;
    let files = [("a.c", PROGRAM), ("in", "text\n"), ("a", ""), ("d/x", "")];
    let space = compiled(&files, "gcc -w -o p a.c -lpthread; ln -s in link");
    assert!(!space.run(&["./p"]).ok().out().contains(": 1"), "it works by itself");
    space.sh("rm -r b l new q d; mkdir d; touch a d/x").ok();
    the_same_recorded(&space, "./p; ls; ls d");
}

/// The filter lets the program make its own calls, and kills it for any other.
#[test]
fn a_filter_that_kills() {
    const PROGRAM: &str = r#"
        #include <fcntl.h>
        #include <linux/filter.h>
        #include <linux/seccomp.h>
        #include <stddef.h>
        #include <stdio.h>
        #include <sys/prctl.h>
        #include <sys/stat.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        #define MAY(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
        int main(int argc, char **argv) {
            struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                MAY(SYS_read), MAY(SYS_write), MAY(SYS_openat), MAY(SYS_close), MAY(SYS_newfstatat), MAY(SYS_rename),
                MAY(SYS_exit_group), MAY(SYS_execve), MAY(SYS_brk), MAY(SYS_mmap), MAY(SYS_mprotect), MAY(SYS_munmap),
                MAY(SYS_arch_prctl), MAY(SYS_access), MAY(SYS_pread64), MAY(SYS_set_tid_address), MAY(SYS_rseq),
                MAY(SYS_set_robust_list), MAY(SYS_prlimit64), MAY(SYS_getrandom),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS) };
            struct sock_fprog all = { sizeof code / sizeof *code, code };
            char text[9];
            if (argc > 2) close(open("in", O_RDONLY));
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if (argc > 1 ? syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &all) : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all)) return 3;
            int in = open("in", O_RDONLY), out = open("out", O_WRONLY | O_CREAT, 0644), size = read(in, text, 9);
            struct stat stat_;
            if (write(out, text, size) != size || stat("out", &stat_) || rename("out", "kept")) return 4;
            if (argc == 2) return 0;
            execl("./next", "next", (char *)0);
            return 5;
        }"#;
    const NEXT: &str = "#include <fcntl.h>\n#include <unistd.h>\nint main(void) { char b[9]; int in = open(\"kept\", O_RDONLY);\n\
        write(1, b, read(in, b, 9)); _exit(0); }\n";
    let files = [("a.c", PROGRAM), ("next.c", NEXT), ("in", "text\n")];
    let space = compiled(&files, "gcc -w -o p a.c; gcc -w -o next next.c");
    assert_eq!(space.run(&["./p"]).ok().out(), "text\n");
    space.sh("rm kept").ok();
    for script in ["./p; echo $?; cat kept", "./p 1; echo $?; cat kept", "./p 1 2; echo $?; cat kept"] {
        the_same_recorded(&space, script);
    }
    // And it is seen.
    space.write("Makefile", "all:\n\t./p 1\n");
    for method in ["auto", "ptrace"] {
        let trace = space.outside().join("trace");
        space.ggtrace(&["--run", "--method", method, "-o", &trace.to_string_lossy(), "make"]).ok();
        let commands: BTreeMap<_, _> = commands_in(&trace);
        let did = &commands[&vec!["./p".to_owned(), "1".to_owned()]];
        assert!(did["read"].contains(&space.path("in")), "{method}: {did:?}");
        assert!(did["moved here"].contains(&space.path("kept")), "{method}: {did:?}");
    }
}

/// The kernel bounds arguments and environment together, and the recorder's two variables are in there.
#[test]
fn arguments_that_just_fit() {
    const PROGRAM: &str = r#"
        #include <errno.h>
        #include <spawn.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/resource.h>
        #include <sys/wait.h>
        #include <unistd.h>
        static char *vector[30], *none[] = { 0 }, pad[100000], rest[100001];
        static int fits(int spawns, int size) {
            memset(rest, 'y', size);
            rest[size] = 0;
            pid_t child;
            int status;
            if (spawns) {
                int failed = posix_spawn(&child, "/bin/true", 0, 0, vector, none);
                if (failed) return failed == E2BIG ? 0 : -1;
            } else if (!(child = vfork())) {
                execve("/bin/true", vector, none);
                _exit(errno == E2BIG ? 100 : 101);
            }
            waitpid(child, &status, 0);
            return WEXITSTATUS(status) == 0 ? 1 : WEXITSTATUS(status) == 100 ? 0 : -1;
        }
        int main(void) {
            struct rlimit limit = { 8 << 20, 8 << 20 };
            setrlimit(RLIMIT_STACK, &limit);
            memset(pad, 'x', sizeof pad - 1);
            vector[0] = "true";
            for (int i = 1; i < 21; i++) vector[i] = pad;
            vector[21] = rest;
            for (int spawns = 0; spawns < 2; spawns++) {
                int low = 0, high = 100000;
                while (low < high) {
                    int middle = (low + high + 1) / 2, is = fits(spawns, middle);
                    if (is < 0) return 2;
                    if (is) low = middle; else high = middle - 1;
                }
                printf("%d\n", low);
                fflush(stdout);
            }
            return 0;
        }"#;
    the_same_recorded(&compiled(&[("a.c", PROGRAM)], "gcc -w -o p a.c"), "./p");
}

/// Where the loader does not find the recorder's library it would say so.
#[test]
fn programs_in_another_root() {
    if !nix::unistd::Uid::effective().is_root() {
        return eprintln!("only root can change its root");
    }
    let space = compiled(&[("in", "text\n")], PREPARE);
    the_same_recorded(
        &space,
        "chroot root /bin/sh -c 'cat /in; cat in; echo made >made; (cat made); cat <made; exec cat made' && cat root/made",
    );
    // A program that changes its root and then has the C library start a shell, or spawns.
    const PROGRAM: &str = "#include <spawn.h>\n#include <stdlib.h>\n#include <sys/wait.h>\n#include <unistd.h>\n\
        int main(void) { char *cat[] = { \"cat\", \"in\", 0 }; pid_t child; int status; extern char **environ;\n\
        if (chroot(\"root\") || chdir(\"/\") || system(\"cat in\")) return 1;\n\
        return posix_spawn(&child, \"/bin/cat\", 0, 0, cat, environ) || waitpid(child, &status, 0) != child || status; }\n";
    let space = compiled(&[("in", "text\n"), ("a.c", PROGRAM)], &format!("{PREPARE}; gcc -w -o p a.c"));
    the_same_recorded(&space, "./p; echo $?");
}

/// A root with a shell, `cat` and their libraries.
const PREPARE: &str = "mkdir -p root/bin; cp /bin/sh /bin/cat root/bin; cp in root\n\
    for file in $(ldd /bin/sh /bin/cat | grep -o '/[^ :]*' | sort -u); do mkdir -p root${file%/*}; cp -L $file root$file; done";
