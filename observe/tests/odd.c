// SPDX-License-Identifier: Apache-2.0
// A program that reaches files in every unusual way: `odd WAY ARGUMENT…`. Exits 0 if the way worked.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char **arguments;

static void *execute(void *unused) {
    (void)unused;
    execv(arguments[0], arguments);
    exit(9);
}

static void *open_it(void *path) {
    return (void *)(long)(open(path, O_RDONLY) < 0);
}

static void handler(int signal) {
    (void)signal;
    close(open("from-handler", O_RDONLY));
}

static int status_of(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child) return 8;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 7;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    const char *way = argv[1];
    arguments = argv + 2;
    if (!strcmp(way, "raw")) {
        long fd;
        __asm__ volatile("syscall" : "=a"(fd) : "a"(SYS_open), "D"(argv[2]), "S"(O_RDONLY) : "rcx", "r11", "memory");
        return fd < 0;
    }
    if (!strcmp(way, "dirfd")) {
        int dir = open(argv[2], O_PATH | O_DIRECTORY);
        return openat(dir, argv[3], O_RDONLY) < 0;
    }
    if (!strcmp(way, "empty-path")) {
        // Of these only the last names a path, and only the first is asked as the C library itself asks.
        struct stat file;
        int dir = open(argv[2], O_PATH | O_DIRECTORY);
        return fstat(dir, &file) || syscall(SYS_newfstatat, dir, "", &file, AT_EMPTY_PATH) ||
               fstatat(dir, argv[3], &file, AT_EMPTY_PATH);
    }
    if (!strcmp(way, "openat2")) {
        struct open_how how = {.flags = O_WRONLY | O_CREAT, .mode = 0644};
        return syscall(SYS_openat2, AT_FDCWD, argv[2], &how, sizeof how) < 0;
    }
    if (!strcmp(way, "in-root")) {
        // Paths that begin at the directory, and stay within it.
        struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_IN_ROOT};
        struct open_how make = {.flags = O_WRONLY | O_CREAT, .mode = 0644, .resolve = RESOLVE_IN_ROOT};
        int dir = open(argv[2], O_PATH | O_DIRECTORY);
        symlinkat("/file", dir, "within");
        return syscall(SYS_openat2, dir, "/file", &how, sizeof how) < 0 || syscall(SYS_openat2, dir, "../../file", &how, sizeof how) < 0 ||
               syscall(SYS_openat2, dir, "within", &how, sizeof how) < 0 || syscall(SYS_openat2, dir, "/made", &make, sizeof make) < 0 ||
               syscall(SYS_openat2, dir, "/none", &how, sizeof how) >= 0;
    }
    if (!strcmp(way, "bounded")) {
        // Paths that lead out of what is asked for are refused, others are not.
        struct open_how beneath = {.flags = O_RDONLY, .resolve = RESOLVE_BENEATH}, straight = {.flags = O_RDONLY, .resolve = RESOLVE_NO_SYMLINKS};
        int dir = open(argv[2], O_PATH | O_DIRECTORY);
        symlinkat("file", dir, "within");
        return syscall(SYS_openat2, dir, "file", &beneath, sizeof beneath) < 0 || syscall(SYS_openat2, dir, "../two", &beneath, sizeof beneath) >= 0 ||
               syscall(SYS_openat2, dir, "within", &straight, sizeof straight) >= 0 || syscall(SYS_openat2, dir, "none", &beneath, sizeof beneath) >= 0;
    }
    if (!strcmp(way, "fchdir")) {
        return fchdir(open(argv[2], O_RDONLY)) || open(argv[3], O_RDONLY) < 0;
    }
    if (!strcmp(way, "fexecve")) {
        int fd = open(argv[2], O_PATH | O_CLOEXEC);
        return syscall(SYS_execveat, fd, "", arguments, environ, AT_EMPTY_PATH);
    }
    if (!strcmp(way, "vfork")) {
        pid_t child = vfork();
        if (!child) { execv(arguments[0], arguments); _exit(9); }
        return status_of(child);
    }
    if (!strcmp(way, "clone")) {
        pid_t child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (!child) { execv(arguments[0], arguments); _exit(9); }
        return status_of(child);
    }
    if (!strcmp(way, "thread-exec")) {
        pthread_t thread, sleeper;
        pthread_create(&sleeper, 0, (void *(*)(void *))pause, 0);
        pthread_create(&thread, 0, execute, 0);
        pause();
    }
    if (!strcmp(way, "threads")) {
        for (int round = 0; round < 20; round++) {
            pthread_t threads[8];
            for (int i = 0; i < 8; i++) pthread_create(&threads[i], 0, open_it, argv[2]);
            for (int i = 0; i < 8; i++) {
                void *failed;
                pthread_join(threads[i], &failed);
                if (failed) return 1;
            }
        }
        return 0;
    }
    if (!strcmp(way, "leader-exits")) {
        pthread_t thread;
        pthread_create(&thread, 0, execute, 0);
        pthread_exit(0);
    }
    if (!strcmp(way, "handler")) {
        signal(SIGUSR1, handler);
        return kill(getpid(), SIGUSR1);
    }
    if (!strcmp(way, "interrupted")) {
        // A fifo that nobody opens: the open is interrupted, its handler opens a file, then it is entered anew.
        struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
        sigaction(SIGALRM, &action, 0);
        mkfifo("fifo", 0600);
        pid_t child = fork();
        if (!child) { usleep(300000); return open("fifo", O_WRONLY) < 0; }
        ualarm(100000, 0);
        return open("fifo", O_RDONLY) < 0 || status_of(child);
    }
    if (!strcmp(way, "stop")) {
        pid_t child = fork();
        if (!child) { raise(SIGSTOP); return open(argv[2], O_RDONLY) < 0; }
        int status;
        if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status)) return 6;
        usleep(50000);
        if (waitpid(child, &status, WNOHANG | WUNTRACED) != 0) return 5;
        kill(child, SIGCONT);
        return status_of(child);
    }
    if (!strcmp(way, "killed")) {
        // The last one has been there when it is killed, however busy the machine is.
        int there[2];
        char byte = 0;
        if (pipe(there)) return 2;
        for (int i = 0; i < 50; i++) {
            pid_t child = fork();
            if (!child) for (int n = 0;; n = 1) {
                access(argv[2], F_OK);
                if (i == 49 && !n && write(there[1], &byte, 1) != 1) _exit(1);
            }
            if (i == 49 && read(there[0], &byte, 1) != 1) return 3;
            usleep(i * 37);
            kill(child, SIGKILL);
            if (status_of(child) != 7) return 1;
        }
        return 0;
    }
    if (!strcmp(way, "orphan")) {
        if (!fork()) { setsid(); usleep(200000); return open(argv[2], O_RDONLY) < 0; }
        return 0;
    }
    if (!strcmp(way, "sleeper")) {
        if (!fork()) for (;;) pause();
        return 0;
    }
    if (!strcmp(way, "refused")) {
        struct { struct file_handle handle; char bytes[128]; } h = {.handle.handle_bytes = 128};
        int mount;
        if (syscall(425, 8, 0) != -1 || errno != ENOSYS) return 1;
        if (name_to_handle_at(AT_FDCWD, argv[2], &h.handle, &mount, 0) && errno != EOPNOTSUPP) return 2;
        return open_by_handle_at(AT_FDCWD, &h.handle, O_RDONLY) != -1 || errno != EPERM;
    }
    if (!strcmp(way, "foreign")) {
        long mask;
        __asm__ volatile("int $0x80" : "=a"(mask) : "a"(60 /* umask */), "b"(027) : "memory");
        return umask(0) != 027;
    }
    if (!strcmp(way, "socket")) {
        struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "socket"}, b = {.sun_family = AF_UNIX, .sun_path = "none"};
        int s = socket(AF_UNIX, SOCK_STREAM, 0);
        return bind(s, (void *)&a, sizeof a) || connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&b, sizeof b) != -1;
    }
    if (!strcmp(way, "network")) return socket(AF_INET, SOCK_DGRAM, 0) < 0;
    if (!strcmp(way, "attributes")) {
        int fd = open(argv[2], O_RDONLY);
        return fchmod(fd, 0640) || futimens(fd, 0) || truncate(argv[2], 1);
    }
    if (!strcmp(way, "marked")) {
        // An access that bears a cookie, and another that bears a wrong one.
        syscall(SYS_access, argv[2], F_OK, 0, 0, 0, strtoull(argv[4], 0, 16));
        syscall(SYS_access, argv[3], F_OK, 0, 0, 0, strtoull(argv[4], 0, 16) + 1);
        return 0;
    }
    if (!strcmp(way, "forks")) {
        int count = atoi(argv[2]);
        for (int i = 0; i < count;) {
            for (int batch = 0; batch < 50; batch++, i++) {
                pid_t child = fork();
                if (child < 0) return 1;
                if (!child) _exit(access(argv[3], F_OK) ? i % 100 : 101);
            }
            for (int batch = 0, code; batch < 50; batch++) {
                int status;
                if (wait(&status) < 0 || !WIFEXITED(status)) return 2;
                code = WEXITSTATUS(status);
                if (code > 99) return 3;
            }
        }
        return 0;
    }
    if (!strcmp(way, "too-long")) {
        // Fails only once the kernel has taken the program.
        char *text = malloc(200000);
        memset(text, 'x', 199999);
        text[199999] = 0;
        char *argv2[] = {argv[2], text, 0};
        return execv(argv[2], argv2) != -1 || errno != E2BIG;
    }
    if (!strcmp(way, "bad-pointers")) {
        syscall(SYS_open, 8, 0);
        syscall(SYS_open, 0, 0);
        syscall(SYS_openat, 77, "relative", 0);
        syscall(SYS_execve, -1L, 0, 0);
        syscall(SYS_rename, "a", -4095L);
        char *unterminated = malloc(8192);
        memset(unterminated, 'x', 8192);
        return open(unterminated, 0) != -1 || errno != ENAMETOOLONG;
    }
    return 2;
}
