// SPDX-License-Identifier: Apache-2.0
// Asks for files that are not there, from several processes or threads: processes WAY [COUNT].
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void ask(const char *name)
{
    if (access(name, F_OK) == 0)
        _exit(3);
}

static int in_child(void *name)
{
    if (chdir("below") != 0)
        _exit(4);
    ask(name);
    _exit(0);
}

static void *in_thread(void *argument)
{
    long thread = (long)argument % 100, count = (long)argument / 100;
    for (long i = 0; i < count; i++) {
        char name[64];
        sprintf(name, "thread/%ld/%ld", thread, i);
        ask(name);
    }
    return NULL;
}

static void handler(int signal)
{
    ask("in-handler");
}

static int walk(const char *path, const struct stat *status, int type, struct FTW *where)
{
    if (type == FTW_DP)
        ask("x");
    return 0;
}

int main(int argc, char **argv)
{
    const char *way = argv[1];
    int status = 0;
    pid_t child = 0;
    if (!strcmp(way, "fork") || !strcmp(way, "fork-first")) {
        if (!strcmp(way, "fork"))
            ask("a");
        if ((child = fork()) == 0)
            in_child("b");
    } else if (!strcmp(way, "vfork") || !strcmp(way, "vfork-first")) {
        if (!strcmp(way, "vfork"))
            ask("a");
        if ((child = vfork()) == 0)
            in_child("b");
    } else if (!strcmp(way, "clone")) {
        static char stack[1 << 16];
        ask("a");
        child = clone(in_child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, "b");
    } else if (!strcmp(way, "nftw")) {
        // The C library changes the directory by itself.
        nftw("below", walk, 10, FTW_CHDIR | FTW_DEPTH);
    } else if (!strcmp(way, "close")) {
        ask("a");
        for (int fd = 0; fd < 1000; fd++)
            close(fd);
    } else if (!strcmp(way, "environment")) {
        ask("a");
        for (char **entry = environ; *entry; entry++)
            memset(*entry, 'x', strlen(*entry));
        environ = NULL;
    } else if (!strcmp(way, "signal")) {
        signal(SIGUSR1, handler);
        raise(SIGUSR1);
    } else if (!strcmp(way, "threads")) {
        pthread_t threads[4];
        for (long i = 0; i < 4; i++)
            pthread_create(&threads[i], NULL, in_thread, (void *)(i + 100 * atol(argv[2])));
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
    } else if (!strcmp(way, "wait") || !strcmp(way, "moved")) {
        ask("a");
        char none;
        if (write(1, "a\n", 2) != 2 || read(0, &none, 1) != 0)
            return 5;
        if (!strcmp(way, "moved"))
            syscall(SYS_chdir, "below");
    }
    if (child > 0 && (waitpid(child, &status, 0) != child || status != 0))
        return 6;
    ask("c");
    return 0;
}
